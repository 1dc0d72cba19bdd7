//! Dirty hives: whether one is, and what its logs change.
//!
//! Windows 8.1 and later append entries (`HvLE`) to two logs in turn and bring the primary file up to date much later. Older
//! ones write one set of dirty pages (`DIRT`) before the primary file. Both are replayed into the bytes of the primary file.
//!
//! A log may start after the sequence number at which the primary file stands: when both logs were filled before the primary
//! file was finished, Windows writes back all pages so far without touching the base block, and starts the older log anew.
//! So only a gap *between* entries ends the replay.

use std::fmt;

use zerocopy::{FromBytes, IntoBytes};

use super::ondisk::*;
use super::read::ReadOptions;
use crate::base::bytes::{round_up, u32_at};
use crate::error::{Error, Result};

const SECTOR: usize = 512;

/// What had to be done to a hive before it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// Nothing: it was clean, or is new.
    #[default]
    Clean,
    /// So many entries of new logs were replayed.
    Entries(u32),
    /// So many pages of 512 bytes of an old log were replayed.
    Pages(u32),
    /// It is dirty, no log applies, and the caller accepted that.
    Ignored,
}

/// Brings the primary file up to date and returns its base block, which says so.
pub(super) fn recover(bytes: &mut Vec<u8>, options: ReadOptions<'_>) -> Result<(BaseBlock, Recovery)> {
    if bytes.len() < BLOCK {
        return Err(Error::truncated("hive: base block")
            .found(format_args!("{} bytes", bytes.len()))
            .allowed(format_args!("{BLOCK} bytes")));
    }
    let (base, _) = BaseBlock::read_from_prefix(bytes).map_err(|_| Error::truncated("hive: base block"))?;
    let sound = base.signature == REGF && base.checksum.get() == base.expected_checksum();
    if sound && base.primary_sequence == base.secondary_sequence {
        return Ok((base, Recovery::Clean));
    }
    let logs: Vec<Log<'_>> = options.logs.iter().filter_map(|log| Log::read(log)).collect();
    let limit = options.logs.iter().fold(bytes.len() - BLOCK, |sum, log| sum.saturating_add(log.len()));
    let mut target = Target { bytes, base: base.clone(), sound, limit };
    if let Some(done) = replay_entries(&mut target, &logs).or_else(|| replay_pages(&mut target, &logs)) {
        let base = target.base;
        bytes[..SECTOR].copy_from_slice(base.as_bytes());
        return Ok((base, done));
    }
    if base.signature != REGF {
        return Err(Error::corrupt("hive: signature").at(0).found(Bytes4(base.signature)).allowed("regf"));
    }
    if options.accept_dirty {
        return Ok((base, Recovery::Ignored));
    }
    let dirty = if sound {
        Error::corrupt("hive is dirty: sequence numbers")
            .at(4)
            .found(format_args!("{} and {}", base.primary_sequence, base.secondary_sequence))
            .allowed("twice the same, or logs that apply")
    } else {
        Error::corrupt("hive is dirty: checksum of the base block")
            .at(508)
            .found(format_args!("{:#010x}", base.checksum))
            .allowed(format_args!("{:#010x}, or logs that apply", base.expected_checksum()))
    };
    Err(dirty.hint("read it together with the .LOG1 and .LOG2 files that lie beside it"))
}

/// Four bytes for a message.
struct Bytes4([u8; 4]);

impl fmt::Display for Bytes4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The primary file under repair.
struct Target<'a> {
    bytes: &'a mut Vec<u8>,
    base: BaseBlock,
    /// Whether the base block of the primary file can be believed.
    sound: bool,
    /// What the bins may grow to: no log can have more pages than it has bytes.
    limit: usize,
}

impl Target<'_> {
    fn may_grow_to(&self, bins_size: u32) -> bool {
        (bins_size as usize).is_multiple_of(BLOCK) && bins_size as usize <= self.limit
    }

    fn resize(&mut self, bins_size: u32) {
        let size = BLOCK + bins_size as usize;
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        self.base.bins_size.set(bins_size);
    }

    /// The base block out of a log, made one of a primary file.
    fn adopt(&mut self, base: &BaseBlock) {
        self.base = base.clone();
        self.base.file_type.set(TYPE_PRIMARY);
        self.sound = true;
    }

    fn finish(&mut self, sequence: u32) {
        self.base.primary_sequence.set(sequence);
        self.base.secondary_sequence.set(sequence);
        self.base.checksum.set(self.base.expected_checksum());
    }
}

/// A log with a base block that can be believed.
struct Log<'a> {
    bytes: &'a [u8],
    base: BaseBlock,
    /// The valid entries of a new log, each with the next sequence number.
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    head: &'a LogEntry,
    references: &'a [u8],
    pages: &'a [u8],
}

impl<'a> Log<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (base, _) = BaseBlock::read_from_prefix(bytes).ok()?;
        let new = base.file_type.get() == TYPE_NEW_LOG;
        let believable = base.signature == REGF
            && base.checksum.get() == base.expected_checksum()
            && base.primary_sequence == base.secondary_sequence
            && (new || TYPE_OLD_LOGS.contains(&base.file_type.get()));
        believable.then(|| Self { bytes, base, entries: if new { entries(bytes) } else { Vec::new() } })
    }
}

/// The entries up to the first one that is damaged, or older than the one before it.
fn entries(log: &[u8]) -> Vec<Entry<'_>> {
    let mut found: Vec<Entry<'_>> = Vec::new();
    let mut at = SECTOR;
    while let Some(entry) = log.get(at..).and_then(entry) {
        let sequence = entry.head.sequence.get();
        if found.last().is_some_and(|last| last.head.sequence.get().checked_add(1) != Some(sequence)) {
            break;
        }
        at += entry.head.size.get() as usize;
        found.push(entry);
    }
    found
}

/// The entry at the start of these bytes, if its hashes and sizes are right.
fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let (head, _) = LogEntry::ref_from_prefix(bytes).ok()?;
    let size = head.size.get() as usize;
    if head.signature != HVLE || !size.is_multiple_of(SECTOR) || !head.bins_size.get().is_multiple_of(BLOCK as u32) {
        return None;
    }
    let body = bytes.get(LOG_ENTRY_SIZE..size)?;
    if marvin32(&bytes[..32]) != head.header_hash.get() || marvin32(body) != head.body_hash.get() {
        return None;
    }
    let (references, pages) = body.split_at_checked((head.pages.get() as usize).checked_mul(8)?)?;
    let entry = Entry { head, references, pages };
    let total: u64 = entry.references().map(|(_, size)| u64::from(size)).sum();
    let inside = entry
        .references()
        .all(|(offset, size)| u64::from(offset) + u64::from(size) <= u64::from(head.bins_size.get()) && size != 0);
    (inside && total <= pages.len() as u64).then_some(entry)
}

impl Entry<'_> {
    /// Offset in the bins and size of each page.
    fn references(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.references.chunks_exact(8).filter_map(|r| Some((u32_at(r, 0)?, u32_at(r, 4)?)))
    }

    fn apply(&self, target: &mut Target<'_>) {
        target.resize(self.head.bins_size.get());
        target.base.flags = self.head.flags;
        let mut pages = self.pages;
        for (offset, size) in self.references() {
            let (page, rest) = pages.split_at(size as usize);
            let start = BLOCK + offset as usize;
            target.bytes[start..start + size as usize].copy_from_slice(page);
            pages = rest;
        }
    }
}

fn replay_entries(target: &mut Target<'_>, logs: &[Log<'_>]) -> Option<Recovery> {
    let mut logs: Vec<&Log<'_>> = logs.iter().filter(|log| !log.entries.is_empty()).collect();
    logs.sort_by_key(|log| log.entries[0].head.sequence.get());
    if !target.sound {
        target.adopt(&logs.first()?.base);
    }
    let stands_at = target.base.secondary_sequence.get();
    let mut last = None;
    let mut count = 0;
    for entry in logs.iter().flat_map(|log| &log.entries) {
        let sequence = entry.head.sequence.get();
        if sequence < stands_at || last.is_some_and(|last| sequence <= last) {
            continue;
        }
        let gap = last.is_some_and(|last: u32| last.checked_add(1) != Some(sequence));
        if gap || !target.may_grow_to(entry.head.bins_size.get()) {
            break;
        }
        entry.apply(target);
        last = Some(sequence);
        count += 1;
    }
    target.finish(last?);
    Some(Recovery::Entries(count))
}

/// Applies the newest old log that belongs to the primary file: one with the same time.
fn replay_pages(target: &mut Target<'_>, logs: &[Log<'_>]) -> Option<Recovery> {
    let time = match target.sound {
        true => target.base.last_written,
        // The first bin keeps a copy of the time.
        false => BinHeader::ref_from_prefix(target.bytes.get(BLOCK..)?).ok()?.0.timestamp,
    };
    let old = logs.iter().filter(|log| log.base.file_type.get() != TYPE_NEW_LOG && log.base.last_written == time);
    let log = old.max_by_key(|log| log.base.primary_sequence.get())?;
    let bins_size = log.base.bins_size.get();
    if !target.may_grow_to(bins_size) {
        return None;
    }
    let pages = dirty_pages(log)?;
    target.adopt(&log.base);
    target.resize(bins_size);
    for (index, page) in &pages {
        let start = BLOCK + index * SECTOR;
        target.bytes[start..start + SECTOR].copy_from_slice(page);
    }
    target.finish(log.base.primary_sequence.get());
    Some(Recovery::Pages(pages.len().try_into().unwrap_or(u32::MAX)))
}

/// The pages that an old log's dirty vector names, by their index in the bins; nothing if the log is cut short.
fn dirty_pages<'a>(log: &Log<'a>) -> Option<Vec<(usize, &'a [u8])>> {
    let sector = SECTOR.checked_mul(log.base.clustering.get().clamp(1, 8) as usize)?;
    let vector = log.bytes.get(sector..)?;
    let bits = log.base.bins_size.get() as usize / SECTOR;
    let bitmap = vector.strip_prefix(&DIRT)?.get(..bits.div_ceil(8))?;
    let vector_size = round_up((DIRT.len() + bitmap.len()) as u64, sector as u64)? as usize;
    let mut pages = vector.get(vector_size..)?.chunks_exact(SECTOR);
    let dirty = (0..bits).filter(|bit| bitmap[bit / 8] >> (bit % 8) & 1 != 0);
    dirty.map(|bit| pages.next().map(|page| (bit, page))).collect()
}

/// The keyed hash of log entries: Marvin32 with the registry's seed, 0x82EF4D887A4E55C5.
fn marvin32(bytes: &[u8]) -> u64 {
    let mut state = (0x7A4E_55C5_u32, 0x82EF_4D88_u32);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        mix(&mut state, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    mix(&mut state, u32::from_le_bytes(last));
    mix(&mut state, 0);
    u64::from(state.1) << 32 | u64::from(state.0)
}

fn mix((low, high): &mut (u32, u32), word: u32) {
    *low = low.wrapping_add(word);
    *high ^= *low;
    *low = low.rotate_left(20).wrapping_add(*high);
    *high = high.rotate_left(9) ^ *low;
    *low = low.rotate_left(27).wrapping_add(*high);
    *high = high.rotate_left(19);
}
