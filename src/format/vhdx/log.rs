//! The log: found, checked, and laid over the file.

use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;
use zerocopy::FromBytes;

use super::ondisk::{self, LOG_SECTOR};
use crate::base::ReadAt;
use crate::base::crc32c::crc32c_without;
use crate::base::io::range_within;
use crate::error::{Context, Error, Result};

/// The longest log that is replayed.
const MAX_LOG: u32 = 64 << 20;

const SECTOR: u64 = LOG_SECTOR as u64;

/// Where the checksum is in an entry.
const CHECKSUM_AT: usize = 4;

/// A file with what its log has for it.
pub(crate) struct Replayed<R> {
    file: R,
    len: u64,
    /// By where in the file it begins; no two overlap.
    pieces: BTreeMap<u64, Piece>,
    state: State,
}

/// What there was to do for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: the file was closed.
    Empty,
    /// So many entries were replayed.
    Replayed(usize),
}

enum Piece {
    Zeros(u64),
    Data(Box<[u8; LOG_SECTOR]>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Zeros(len) => *len,
            Self::Data(_) => SECTOR,
        }
    }
}

impl<R: ReadAt> Replayed<R> {
    /// The file as it will be when the log that `header` names, if it does, has been replayed.
    pub(crate) fn new(file: R, header: &ondisk::Header) -> Result<Self> {
        let len = file.len();
        let mut replayed = Self { file, len, pieces: BTreeMap::new(), state: State::Empty };
        let id = header.log.get();
        if !id.is_nil() {
            let log = read_log(&replayed.file, header)?;
            let active = active_sequence(&log, id).context(|| "VHDX log")?;
            replayed.replay(&log, &active)?;
        }
        Ok(replayed)
    }

    /// What there was to do.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    fn replay(&mut self, log: &Log, active: &[Entry]) -> Result<()> {
        let Some(head) = active.last() else { return Ok(()) };
        if self.len < head.flushed_len {
            return Err(Error::truncated("VHDX log: the file was longer when the log was written")
                .found(self.len)
                .allowed(head.flushed_len));
        }
        for entry in active {
            self.len = self.len.max(entry.last_len);
            let mut data = entry.descriptor_sectors()..entry.sectors;
            for descriptor in entry.descriptors(log) {
                let piece = match descriptor.signature {
                    ondisk::LOG_ZERO_SIGNATURE => Piece::Zeros(u64::from_le_bytes(descriptor.leading)),
                    _ => Piece::Data(whole_sector(log.sector(entry.start + data.next().unwrap_or(0)), &descriptor)),
                };
                self.lay(descriptor.at.get(), piece)?;
            }
        }
        self.state = State::Replayed(active.len());
        Ok(())
    }

    fn lay(&mut self, at: u64, piece: Piece) -> Result<()> {
        let end = at.checked_add(piece.len()).ok_or_else(|| Error::corrupt("VHDX log: place in the file").found(at))?;
        if end > at {
            self.clear(at..end);
            self.len = self.len.max(end);
            self.pieces.insert(at, piece);
        }
        Ok(())
    }

    /// Forgets what earlier entries have for a range. All ends are whole sectors, so that only zeros are ever cut.
    fn clear(&mut self, range: Range<u64>) {
        let before = self.pieces.range(..range.start).next_back().map(|(at, piece)| (*at, at + piece.len()));
        if let Some((at, end)) = before.filter(|(_, end)| *end > range.start) {
            self.pieces.insert(at, Piece::Zeros(range.start - at));
            if end > range.end {
                self.pieces.insert(range.end, Piece::Zeros(end - range.end));
            }
        }
        while let Some((at, end)) = self.pieces.range(range.clone()).next().map(|(at, piece)| (*at, at + piece.len())) {
            self.pieces.remove(&at);
            if end > range.end {
                self.pieces.insert(range.end, Piece::Zeros(end - range.end));
            }
        }
    }
}

impl<R: ReadAt> ReadAt for Replayed<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        if self.pieces.is_empty() && self.len == self.file.len() {
            return self.file.read_at(at, buf);
        }
        let range = range_within(at, buf.len(), self.len)?;
        let there = self.file.len().saturating_sub(at).min(buf.len() as u64) as usize;
        self.file.read_at(at.min(self.file.len()), &mut buf[..there])?;
        buf[there..].fill(0);
        let first = self.pieces.range(..=at).next_back().map_or(at, |(start, _)| *start);
        for (start, piece) in self.pieces.range(first..range.end) {
            let part = (*start).max(range.start)..(start + piece.len()).min(range.end);
            if part.is_empty() {
                continue;
            }
            let target = &mut buf[(part.start - at) as usize..(part.end - at) as usize];
            match piece {
                Piece::Zeros(_) => target.fill(0),
                Piece::Data(data) => {
                    target.copy_from_slice(&data[(part.start - start) as usize..(part.end - start) as usize]);
                }
            }
        }
        Ok(())
    }
}

/// The bytes of a log, a ring of sectors.
struct Log(Vec<u8>);

impl Log {
    fn sectors(&self) -> usize {
        self.0.len() / LOG_SECTOR
    }

    fn sector(&self, index: usize) -> &[u8] {
        let start = index % self.sectors() * LOG_SECTOR;
        &self.0[start..start + LOG_SECTOR]
    }
}

fn read_log(file: &impl ReadAt, header: &ondisk::Header) -> Result<Log> {
    let (at, len) = (header.log_at.get(), header.log_len.get());
    if header.log_version != ondisk::LOG_VERSION {
        return Err(Error::unsupported("VHDX header: version of the log").found(header.log_version).allowed(0));
    }
    if len == 0 || !u64::from(len).is_multiple_of(ondisk::UNIT) || !at.is_multiple_of(ondisk::UNIT) || at == 0 {
        return Err(Error::corrupt("VHDX header: place of the log")
            .found(format_args!("{len} bytes at {at:#x}"))
            .allowed("whole MiB, past the first"));
    }
    if len > MAX_LOG {
        return Err(Error::unsupported("VHDX header: length of the log").found(len).allowed(MAX_LOG));
    }
    range_within(at, len as usize, file.len()).context(|| "VHDX log")?;
    let mut bytes = vec![0; len as usize];
    file.read_at(at, &mut bytes).context(|| "VHDX log")?;
    Ok(Log(bytes))
}

/// A whole entry.
struct Entry {
    /// In sectors from the log's start on.
    start: usize,
    sectors: usize,
    tail: usize,
    sequence: u64,
    descriptors: usize,
    flushed_len: u64,
    last_len: u64,
}

impl Entry {
    /// The entry that begins in a sector, if one does that is whole and of this log.
    fn parse(log: &Log, start: usize, id: Uuid) -> Option<Self> {
        let (header, _) = ondisk::LogEntry::read_from_prefix(log.sector(start)).ok()?;
        let len = header.len.get() as usize;
        let tail = header.tail.get() as usize;
        let known = header.signature == ondisk::LOG_ENTRY_SIGNATURE && header.log.get() == id && header.sequence != 0;
        let fits = len > 0 && len.is_multiple_of(LOG_SECTOR) && len <= log.0.len();
        if !known || !fits || !tail.is_multiple_of(LOG_SECTOR) || tail >= log.0.len() {
            return None;
        }
        let entry = Self {
            start,
            sectors: len / LOG_SECTOR,
            tail: tail / LOG_SECTOR,
            sequence: header.sequence.get(),
            descriptors: header.descriptors.get() as usize,
            flushed_len: header.flushed_len.get(),
            last_len: header.last_len.get(),
        };
        (entry.is_in_shape(log) && entry.checksum(log) == header.checksum.get()).then_some(entry)
    }

    /// How many sectors the header and the descriptors take.
    fn descriptor_sectors(&self) -> usize {
        let bytes = size_of::<ondisk::LogEntry>() + self.descriptors * size_of::<ondisk::LogDescriptor>();
        bytes.div_ceil(LOG_SECTOR)
    }

    /// Whether descriptors and data sectors are what they have to be. Asked before the checksum, which costs more: because no
    /// sector can be the first of one entry and inside another, all entries of a log are looked through in linear time.
    fn is_in_shape(&self, log: &Log) -> bool {
        if self.descriptor_sectors() > self.sectors {
            return false;
        }
        let are_right = self.descriptors(log).all(|descriptor| {
            let right = match descriptor.signature {
                ondisk::LOG_ZERO_SIGNATURE => u64::from_le_bytes(descriptor.leading).is_multiple_of(SECTOR),
                signature => signature == ondisk::LOG_DATA_SIGNATURE,
            };
            right && descriptor.sequence == self.sequence && descriptor.at.get().is_multiple_of(SECTOR)
        });
        let is_data = |descriptor: &ondisk::LogDescriptor| descriptor.signature == ondisk::LOG_DATA_SIGNATURE;
        are_right
            && self.descriptor_sectors() + self.descriptors(log).filter(is_data).count() == self.sectors
            && self.data_is_in_shape(log)
    }

    fn data_is_in_shape(&self, log: &Log) -> bool {
        (self.descriptor_sectors()..self.sectors).all(|index| {
            ondisk::LogSector::ref_from_bytes(log.sector(self.start + index)).is_ok_and(|sector| {
                let sequence = u64::from(sector.sequence_high.get()) << 32 | u64::from(sector.sequence_low.get());
                sector.signature == ondisk::LOG_SECTOR_SIGNATURE && sequence == self.sequence
            })
        })
    }

    fn checksum(&self, log: &Log) -> u32 {
        let bytes: Vec<u8> = (0..self.sectors).flat_map(|index| log.sector(self.start + index)).copied().collect();
        crc32c_without(&bytes, CHECKSUM_AT)
    }

    fn descriptors(&self, log: &Log) -> impl Iterator<Item = ondisk::LogDescriptor> {
        let size = size_of::<ondisk::LogDescriptor>();
        let first = size_of::<ondisk::LogEntry>();
        (0..self.descriptors).map_while(move |index| {
            let at = first + index * size; // never across two sectors
            let sector = log.sector(self.start + at / LOG_SECTOR);
            ondisk::LogDescriptor::read_from_prefix(&sector[at % LOG_SECTOR..]).ok().map(|(descriptor, _)| descriptor)
        })
    }

    /// Where the next entry begins.
    fn end(&self, log: &Log) -> usize {
        (self.start + self.sectors) % log.sectors()
    }
}

/// A data sector with the bytes that its descriptor keeps.
fn whole_sector(stored: &[u8], descriptor: &ondisk::LogDescriptor) -> Box<[u8; LOG_SECTOR]> {
    let mut sector = Box::new([0; LOG_SECTOR]);
    sector.copy_from_slice(stored);
    sector[..8].copy_from_slice(&descriptor.leading);
    sector[LOG_SECTOR - 4..].copy_from_slice(&descriptor.trailing);
    sector
}

/// The entries to be replayed, the oldest first.
///
/// Entries follow each other with sequence numbers that rise by one. The last of such a row, the head, names its tail, from which
/// on they count. Of several rows the one with the highest head does.
fn active_sequence(log: &Log, id: Uuid) -> Result<Vec<Entry>> {
    let mut entries: BTreeMap<usize, Entry> =
        (0..log.sectors()).filter_map(|start| Entry::parse(log, start, id).map(|entry| (start, entry))).collect();
    let next = |entry: &Entry| {
        let next = entries.get(&entry.end(log))?;
        (Some(next.sequence) == entry.sequence.checked_add(1)).then_some(next)
    };
    let mut falling: Vec<&Entry> = entries.values().collect();
    falling.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
    // Where the row ends that an entry is in: what follows it has a higher number, and so is known by then.
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    for entry in &falling {
        let end = next(entry).and_then(|next| ends.get(&next.start).copied()).unwrap_or(entry.start);
        ends.insert(entry.start, end);
    }
    let is_head = |entry: &&&Entry| next(entry).is_none() && ends.get(&entry.tail) == Some(&entry.start);
    let head = falling.iter().find(is_head);
    let head =
        head.ok_or_else(|| Error::corrupt("no whole row of entries, although the header says that there is one"))?;
    let row = std::iter::successors(entries.get(&head.tail), |entry| next(entry)).map(|entry| entry.start);
    let row: Vec<usize> = row.collect();
    Ok(row.iter().filter_map(|start| entries.remove(start)).collect())
}
