//! Free clusters and free records of a volume, and what of them is taken and given back.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::file;
use crate::format::ntfs::read::raw::{Outside, Records, Run};

/// So many stretches of free clusters are known; what lies beyond is left alone.
const MOST_STRETCHES: usize = 1 << 20;
/// Bytes of `$Bitmap` that are read at once.
const PIECE: usize = 1 << 16;
/// Records are added to the table by so many at once, so that its bitmap has whole words.
const RECORDS_UNIT: u32 = 64;

/// The free clusters of a volume.
#[derive(Clone, Default)]
pub(super) struct Space {
    /// Where stretches begin, and end. None touches the next.
    free: BTreeMap<u64, u64>,
    /// What became taken or free, in its order.
    changes: Vec<(Range<u64>, bool)>,
}

impl Space {
    /// Reads which of so many clusters are free.
    pub(super) fn read(records: &Records, bitmap: &Outside) -> Result<Self> {
        let clusters = records.clusters();
        let mut space = Self::default();
        let mut buf = vec![0; PIECE];
        let mut open: Option<u64> = None;
        let mut at = 0;
        while at < clusters && space.free.len() < MOST_STRETCHES {
            let bits = (clusters - at).min(8 * PIECE as u64);
            let bytes = &mut buf[..bits.div_ceil(8) as usize];
            records.read(bitmap, at / 8, bytes)?;
            for bit in 0..bits {
                let byte = bytes[(bit / 8) as usize];
                if bit % 8 == 0 && (byte == 0 && open.is_some() || byte == 0xFF && open.is_none()) {
                    continue; // and the seven after it come to the same
                }
                let is_free = byte >> (bit % 8) & 1 == 0;
                match open {
                    None if is_free => open = Some(at + bit),
                    Some(start) if !is_free => {
                        space.free.insert(start, at + bit);
                        open = None;
                    }
                    _ => {}
                }
            }
            at += bits;
        }
        if let Some(start) = open {
            space.free.insert(start, at);
        }
        Ok(space)
    }

    /// How many clusters are free.
    pub(super) fn free_clusters(&self) -> u64 {
        self.free.iter().map(|(start, end)| end - start).sum()
    }

    /// What became taken (`true`) or free, in its order.
    pub(super) fn changes(&self) -> &[(Range<u64>, bool)] {
        &self.changes
    }

    /// Gives clusters back.
    pub(super) fn release(&mut self, runs: &[Run]) {
        for run in runs.iter().filter(|run| run.clusters > 0) {
            let Some(lcn) = run.lcn else { continue };
            let (mut start, mut end) = (lcn, lcn.saturating_add(run.clusters));
            self.changes.push((start..end, false));
            while let Some((before, before_end)) = self.free.range(..=end).next_back().map(|(s, e)| (*s, *e)) {
                if before_end < start {
                    break;
                }
                self.free.remove(&before);
                (start, end) = (start.min(before), end.max(before_end));
            }
            self.free.insert(start, end);
        }
    }

    /// Adds clusters to runs, right behind them if those are free, else where they lie together, else wherever there are any.
    pub(super) fn extend(&mut self, runs: &mut Vec<Run>, clusters: u64) -> Result<()> {
        let mut wanted = clusters;
        let behind = runs.last().and_then(|run| Some(run.lcn? + run.clusters));
        if let Some(end) = behind.and_then(|behind| self.free.get(&behind).copied()) {
            let start = behind.unwrap_or_default();
            wanted -= self.take(runs, start..end, wanted);
        }
        while wanted > 0 {
            let whole = self.free.iter().find(|(start, end)| *end - *start >= wanted);
            let longest = || self.free.iter().max_by_key(|(start, end)| (*end - *start, std::cmp::Reverse(*start)));
            let Some((start, end)) = whole.or_else(longest).map(|(start, end)| (*start, *end)) else {
                return Err(Error::no_space(
                    "clusters for what is new on the NTFS volume",
                    clusters,
                    clusters - wanted,
                ));
            };
            wanted -= self.take(runs, start..end, wanted);
        }
        Ok(())
    }

    fn take(&mut self, runs: &mut Vec<Run>, from: Range<u64>, wanted: u64) -> u64 {
        let len = wanted.min(from.end - from.start);
        if len == 0 {
            return 0;
        }
        let taken = from.start..from.start + len;
        self.free.remove(&from.start);
        if taken.end < from.end {
            self.free.insert(taken.end, from.end);
        }
        match runs.last_mut() {
            Some(last) if last.lcn.map(|lcn| lcn + last.clusters) == Some(taken.start) => last.clusters += len,
            _ => runs.push(Run { lcn: Some(taken.start), clusters: len }),
        }
        self.changes.push((taken, true));
        len
    }
}

/// Cuts runs to so many clusters, and gives those that are left over.
pub(super) fn cut(runs: &mut Vec<Run>, clusters: u64) -> Vec<Run> {
    let mut left = clusters;
    let mut over = Vec::new();
    for run in runs.iter_mut() {
        let kept = run.clusters.min(left);
        if kept < run.clusters {
            over.push(Run { lcn: run.lcn.map(|lcn| lcn + kept), clusters: run.clusters - kept });
        }
        run.clusters = kept;
        left -= kept;
    }
    runs.retain(|run| run.clusters > 0);
    over
}

/// Which records are in use.
#[derive(Clone)]
pub(super) struct Numbers {
    /// As in `$MFT:$BITMAP`.
    bits: Vec<u8>,
    /// How many records there are on the base.
    there: u32,
    /// How many there will be.
    count: u32,
    /// No record before this one is free.
    next: u32,
    /// Sequence numbers of records that were given back.
    released: HashMap<u32, u16>,
}

impl Numbers {
    pub(super) fn new(bits: Vec<u8>, records: &Records) -> Self {
        let there = records.count();
        Self { bits, there, count: there, next: file::FIRST_USER, released: HashMap::new() }
    }

    fn bit(&self, number: u32) -> bool {
        self.bits.get(number as usize / 8).is_some_and(|byte| byte >> (number % 8) & 1 == 1)
    }

    fn set(&mut self, number: u32, value: bool) {
        let byte = number as usize / 8;
        if byte >= self.bits.len() {
            self.bits.resize((byte + 1).next_multiple_of(8), 0);
        }
        let mask = 1 << (number % 8);
        self.bits[byte] = if value { self.bits[byte] | mask } else { self.bits[byte] & !mask };
    }

    /// A free record, and its sequence number.
    pub(super) fn take(&mut self, records: &Records) -> Result<(u32, u16)> {
        loop {
            let number = self.next;
            if number >= u32::MAX - RECORDS_UNIT {
                return Err(Error::unsupported("more than 2^32 FILE records"));
            }
            self.next += 1;
            if self.bit(number) {
                continue;
            }
            let sequence = match self.released.get(&number) {
                Some(sequence) => Some(*sequence),
                None if number < self.there => records.free_sequence(number)?,
                None => Some(1),
            };
            let Some(sequence) = sequence else { continue };
            self.set(number, true);
            while number >= self.count {
                self.count += RECORDS_UNIT - self.count % RECORDS_UNIT;
            }
            return Ok((number, sequence.max(1)));
        }
    }

    /// Gives a record back; its next use will have another sequence number, which is returned.
    pub(super) fn release(&mut self, number: u32, sequence: u16) -> u16 {
        let next = sequence.checked_add(1).unwrap_or(1);
        self.set(number, false);
        self.released.insert(number, next);
        if number >= file::FIRST_USER {
            self.next = self.next.min(number);
        }
        next
    }

    /// The bitmap as it is to be.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// The records that are new to the table.
    pub(super) fn grown(&self) -> Range<u32> {
        self.there..self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free: &[Range<u64>]) -> Space {
        Space { free: free.iter().map(|range| (range.start, range.end)).collect(), changes: Vec::new() }
    }

    #[test]
    fn takes_what_lies_together_and_joins_what_comes_back() {
        let mut space = space(&[2..4, 10..20, 30..33]);
        let mut runs = vec![Run { lcn: Some(28), clusters: 2 }];
        space.extend(&mut runs, 5).unwrap();
        assert_eq!(runs, [Run { lcn: Some(28), clusters: 5 }, Run { lcn: Some(2), clusters: 2 }]);
        let mut runs = Vec::new();
        space.extend(&mut runs, 10).unwrap();
        assert_eq!(space.free_clusters(), 0);
        assert!(space.extend(&mut Vec::new(), 1).is_err());
        space.release(&[Run { lcn: Some(12), clusters: 2 }, Run { lcn: None, clusters: 9 }]);
        space.release(&[Run { lcn: Some(10), clusters: 2 }, Run { lcn: Some(14), clusters: 6 }]);
        assert_eq!(space.free.iter().collect::<Vec<_>>(), [(&10, &20)]);
    }

    #[test]
    fn gathers_pieces_where_nothing_lies_together() {
        let mut space = space(&[1..3, 5..9, 20..21]);
        let mut runs = Vec::new();
        space.extend(&mut runs, 7).unwrap();
        assert_eq!(runs.iter().map(|run| run.clusters).sum::<u64>(), 7);
        assert_eq!(runs.len(), 3);
    }

    #[test]
    fn cuts_runs() {
        let run = |lcn, clusters| Run { lcn, clusters };
        let mut runs = vec![run(Some(5), 4), run(None, 3), run(Some(20), 2)];
        assert_eq!(cut(&mut runs, 5), [run(None, 2), run(Some(20), 2)]);
        assert_eq!(runs, [run(Some(5), 4), run(None, 1)]);
        assert_eq!(cut(&mut runs, 0), [run(Some(5), 4), run(None, 1)]);
        assert!(runs.is_empty());
    }
}
