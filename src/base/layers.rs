//! What differencing disks have in common: sectors of one file over those of another.

use std::ops::Range;

use super::{ReadAt, blocks};
use crate::error::Result;

/// Reads from `below`, which may be shorter than what lies on it: past its end there are zeros.
pub fn read_or_zero(below: &dyn ReadAt, at: u64, buf: &mut [u8]) -> Result<()> {
    let there = below.len().saturating_sub(at).min(buf.len() as u64) as usize;
    let (data, zeros) = buf.split_at_mut(there);
    zeros.fill(0);
    if data.is_empty() { Ok(()) } else { below.read_at(at, data) }
}

/// [`ReadAt::next_data`] of a disk of `len` bytes whose own first stretch from `at` on is `own`, over what may lie below.
pub fn next_data(own: Option<Range<u64>>, below: Option<&dyn ReadAt>, at: u64, len: u64) -> Result<Option<Range<u64>>> {
    let below = below.map_or(Ok(None), |below| below.next_data(at))?;
    let below = below.map(|data| data.start..data.end.min(len)).filter(|data| data.start < len);
    Ok(match (own, below) {
        (Some(own), Some(below)) if below.start < own.start => Some(below),
        (own, below) => own.or(below),
    })
}

/// The parts of a differencing disk that are its own, not its parent's: whole sectors, in order and apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own(Vec<Range<u64>>);

impl Own {
    /// The sectors of `sector` bytes that the ranges of bytes in `used` touch. They may overlap, come in any order and be empty; the
    /// disk has whole sectors.
    ///
    /// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if one ends past the disk.
    pub fn new(disk_len: u64, sector: u64, used: &[Range<u64>]) -> Result<Self> {
        let mut whole = Vec::with_capacity(used.len());
        for range in used.iter().filter(|range| !range.is_empty()) {
            blocks::check_range(disk_len, range)?;
            whole.push(range.start / sector * sector..range.end.next_multiple_of(sector));
        }
        whole.sort_unstable_by_key(|range| range.start);
        let mut own: Vec<Range<u64>> = Vec::new();
        for range in whole {
            match own.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => own.push(range),
            }
        }
        Ok(Self(own))
    }

    /// All of them.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// What of them is in `window`.
    pub fn within(&self, window: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.0.partition_point(|range| range.end <= window.start);
        let touching = self.0[first..].iter().take_while(move |range| range.start < window.end);
        touching.map(move |range| range.start.max(window.start)..range.end.min(window.end))
    }

    /// Whether all of `window`, which is not empty, is the disk's own.
    pub fn holds(&self, window: &Range<u64>) -> bool {
        self.within(window.clone()).next().is_some_and(|range| range == *window)
    }
}

/// The stretches of `range` on which `is_set` does not change, in order, each with what it is.
pub fn runs(range: Range<u64>, is_set: impl Fn(u64) -> bool) -> impl Iterator<Item = (Range<u64>, bool)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let set = is_set(at);
        let start = at;
        at = (start + 1..range.end).find(|index| is_set(*index) != set).unwrap_or(range.end);
        Some((start..at, set))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_range() {
        let found: Vec<_> = runs(2..9, |index| index % 4 < 2).collect();
        assert_eq!(found, [(2..4, false), (4..6, true), (6..8, false), (8..9, true)]);
        assert_eq!(runs(3..3, |_| true).count(), 0);
    }

    #[test]
    fn what_is_a_disks_own_is_joined() {
        let own = Own::new(4096, 512, &[1024..1025, 0..0, 1500..1600, 3584..4096, 2048..2049]).unwrap();
        assert_eq!(own.ranges(), [1024..2560, 3584..4096]);
        assert_eq!(own.bytes(), 2048);
        assert_eq!(own.within(0..4096).collect::<Vec<_>>(), own.ranges());
        assert_eq!(own.within(2000..3600).collect::<Vec<_>>(), [2000..2560, 3584..3600]);
        assert_eq!(own.within(2560..3584).count(), 0);
        assert!(own.holds(&(1024..2560)) && own.holds(&(4095..4096)));
        assert!(!own.holds(&(1023..1025)) && !own.holds(&(2559..2561)) && !own.holds(&(2560..2561)));
        assert!(Own::new(4096, 512, std::slice::from_ref(&(4000..4097))).is_err());
        assert_eq!(Own::new(4096, 512, &[]).unwrap(), Own::default());
    }

    #[test]
    fn past_the_end_are_zeros() {
        let below = vec![7u8; 4];
        for (at, expected) in [(0, [7, 7, 7]), (2, [7, 7, 0]), (4, [0; 3]), (u64::MAX, [0; 3])] {
            let mut buf = [9; 3];
            read_or_zero(&below, at, &mut buf).unwrap();
            assert_eq!(buf, expected, "{at}");
        }
    }
}
