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

#[cfg(test)]
mod tests {
    use super::super::{Hive, Value};
    use super::*;
    use crate::base::FileTime;

    /// Hives of the same size: one with the value 1, one with 2 and so on.
    fn states(count: u32) -> Vec<Vec<u8>> {
        let mut hive = Hive::new("ROOT", FileTime(5)).unwrap();
        let mut states = Vec::new();
        for i in 1..=count {
            hive.set_value(hive.root(), "number", Value::dword(i)).unwrap();
            hive.set_value(hive.root(), "data", Value::binary(vec![i as u8; 9000])).unwrap();
            states.push(hive.to_bytes().unwrap());
        }
        states
    }

    fn number(hive: &Hive) -> u32 {
        hive.value(hive.root(), "number").and_then(|value| value.as_dword()).unwrap()
    }

    fn with_base(bytes: &[u8], change: impl FnOnce(&mut BaseBlock)) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let (base, _) = BaseBlock::mut_from_prefix(&mut bytes).unwrap();
        change(base);
        base.checksum.set(base.expected_checksum());
        bytes
    }

    /// A primary file whose last write did not end.
    fn dirty(state: &[u8], stands_at: u32) -> Vec<u8> {
        with_base(state, |base| {
            base.primary_sequence.set(stands_at + 1);
            base.secondary_sequence.set(stands_at);
        })
    }

    /// A new log with these entries: each a sequence number and the state that it leads to.
    fn log(entries: &[(u32, &[u8])]) -> Vec<u8> {
        let mut log = with_base(entries[0].1, |base| {
            base.file_type.set(TYPE_NEW_LOG);
            base.primary_sequence.set(entries[0].0);
            base.secondary_sequence.set(entries[0].0);
        });
        log.truncate(SECTOR);
        for (sequence, state) in entries {
            log.extend(entry_of(*sequence, (state.len() - BLOCK) as u32, &[(0, &state[BLOCK..])]));
        }
        log
    }

    fn entry_of(sequence: u32, bins_size: u32, pages: &[(u32, &[u8])]) -> Vec<u8> {
        let mut body: Vec<u8> = Vec::new();
        for (offset, page) in pages {
            body.extend(offset.to_le_bytes());
            body.extend((page.len() as u32).to_le_bytes());
        }
        pages.iter().for_each(|(_, page)| body.extend_from_slice(page));
        body.resize((LOG_ENTRY_SIZE + body.len()).next_multiple_of(SECTOR) - LOG_ENTRY_SIZE, 0);
        let mut entry = HVLE.to_vec();
        for word in [(LOG_ENTRY_SIZE + body.len()) as u32, 0, sequence, bins_size, pages.len() as u32] {
            entry.extend(word.to_le_bytes());
        }
        entry.extend(marvin32(&body).to_le_bytes());
        entry.extend(marvin32(&entry).to_le_bytes());
        entry.extend(body);
        entry
    }

    fn read(primary: &[u8], logs: &[&[u8]]) -> Result<Hive> {
        Hive::read_with(primary.to_vec(), ReadOptions { logs, accept_dirty: false })
    }

    #[test]
    fn entries_are_replayed_in_the_order_of_their_numbers() {
        let states = states(5);
        let primary = dirty(&states[0], 7);
        let first = log(&[(7, &states[1]), (8, &states[2])]);
        let second = log(&[(9, &states[3]), (10, &states[4])]);
        for logs in [[&first[..], &second[..]], [&second[..], &first[..]]] {
            let hive = read(&primary, &logs).unwrap();
            assert_eq!((number(&hive), hive.recovery()), (5, Recovery::Entries(4)));
        }
        assert_eq!(number(&read(&primary, &[&first]).unwrap()), 3);
        // The older log was started anew after a partial write: what is missing is in the primary file.
        assert_eq!(number(&read(&primary, &[&second]).unwrap()), 5);
        // A log of before, and a clean hive.
        let old = log(&[(5, &states[1]), (6, &states[2])]);
        assert!(read(&primary, &[&old, b"", &[0; 700]]).is_err());
        let hive = read(&states[0], &[&first]).unwrap();
        assert_eq!((number(&hive), hive.recovery()), (1, Recovery::Clean));
        let mixed = log(&[(6, &states[3]), (7, &states[4])]);
        assert_eq!(read(&primary, &[&mixed]).unwrap().recovery(), Recovery::Entries(1));
    }

    #[test]
    fn a_gap_or_a_damaged_entry_ends_the_replay() {
        let states = states(4);
        let primary = dirty(&states[0], 7);
        let entries = log(&[(7, &states[1]), (9, &states[3])]);
        assert_eq!(number(&read(&primary, &[&entries]).unwrap()), 2);
        let (first, after) = (log(&[(7, &states[1])]), log(&[(9, &states[3])]));
        assert_eq!(number(&read(&primary, &[&first, &after]).unwrap()), 2);
        let good = log(&[(7, &states[1]), (8, &states[2]), (9, &states[3])]);
        let second = SECTOR + (good.len() - SECTOR) / 3;
        for at in [0, 5, 9, 13, 17, 21, 25, 33, 41, 60, 2000].map(|at| second + at) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let hive = read(&primary, &[&bad]).unwrap();
            assert_eq!((number(&hive), hive.recovery()), (2, Recovery::Entries(1)), "byte {at:#x}");
        }
        for len in (0..good.len()).step_by(97) {
            match read(&primary, &[&good[..len]]) {
                Ok(hive) => assert!(number(&hive) >= 2 && number(&hive) < 4),
                Err(error) => assert!(len < second, "{error}"),
            }
        }
    }

    #[test]
    fn a_broken_base_block_comes_from_the_log() {
        let states = states(3);
        let mut primary = dirty(&states[0], 7);
        primary[..64].fill(0xFF);
        let hive = read(&primary, &[&log(&[(7, &states[1]), (8, &states[2])])]).unwrap();
        assert_eq!((number(&hive), hive.minor_version()), (3, 5));
        assert!(read(&primary, &[]).is_err());
    }

    #[test]
    fn logs_that_lie_neither_crash_nor_fill_the_memory() {
        let states = states(2);
        let primary = dirty(&states[0], 7);
        let bins = (states[0].len() - BLOCK) as u32;
        let head = log(&[(7, &states[1])])[..SECTOR].to_vec();
        let page = &states[1][BLOCK..2 * BLOCK];
        for evil in [
            entry_of(7, 0x7FFF_F000, &[(0, page)]),
            entry_of(7, bins, &[(bins, page)]),
            entry_of(7, bins, &[(0xFFFF_F000, page)]),
            entry_of(7, 0, &[(0, page)]),
            entry_of(7, 100, &[]),
        ] {
            assert!(read(&primary, &[&[&head[..], &evil].concat()]).is_err());
        }
    }

    /// An old log that leads from one state to another.
    fn old_log(from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut log = with_base(to, |base| {
            base.file_type.set(TYPE_OLD_LOGS[0]);
            base.primary_sequence.set(8);
            base.secondary_sequence.set(8);
        });
        log.truncate(SECTOR);
        let mut vector = DIRT.to_vec();
        vector.resize((DIRT.len() + (to.len() - BLOCK) / SECTOR / 8).next_multiple_of(SECTOR), 0);
        let mut pages = Vec::new();
        for (i, page) in to[BLOCK..].chunks(SECTOR).enumerate() {
            if from.get(BLOCK + i * SECTOR..BLOCK + (i + 1) * SECTOR) != Some(page) {
                vector[DIRT.len() + i / 8] |= 1 << (i % 8);
                pages.extend_from_slice(page);
            }
        }
        [log, vector, pages].concat()
    }

    #[test]
    fn old_logs_are_replayed_by_pages() {
        let states = states(2);
        let primary = dirty(&states[0], 7);
        let log = old_log(&states[0], &states[1]);
        let hive = read(&primary, &[b"", &log]).unwrap();
        assert_eq!(number(&hive), 2);
        assert!(matches!(hive.recovery(), Recovery::Pages(1..)));
        let mut broken = primary.clone();
        broken[100] ^= 1;
        assert_eq!(number(&read(&broken, &[&log]).unwrap()), 2, "the first bin has the time");
        let other_time = with_base(&log, |base| base.last_written.set(6));
        assert!(read(&primary, &[&other_time]).is_err());
        let unfinished = with_base(&log, |base| base.secondary_sequence.set(7));
        assert!(read(&primary, &[&unfinished]).is_err());
        let huge = with_base(&log, |base| base.bins_size.set(0x7FFF_F000));
        assert!(read(&primary, &[&huge]).is_err());
        for len in (0..log.len()).step_by(53) {
            assert!(read(&primary, &[&log[..len]]).is_err());
        }
        let mut grown = Hive::read(states[1].clone()).unwrap();
        grown.set_value(grown.root(), "more", Value::binary(vec![1; 16_000])).unwrap();
        let grown = grown.to_bytes().unwrap();
        assert!(grown.len() > primary.len());
        let hive = read(&primary, &[&old_log(&primary, &grown)]).unwrap();
        assert_eq!(hive.value(hive.root(), "more").unwrap().data.len(), 16_000);
    }
}
