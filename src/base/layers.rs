//! What differencing disks have in common: sectors of one file over those of another.

use std::ops::Range;

use super::ReadAt;
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
    fn past_the_end_are_zeros() {
        let below = vec![7u8; 4];
        for (at, expected) in [(0, [7, 7, 7]), (2, [7, 7, 0]), (4, [0; 3]), (u64::MAX, [0; 3])] {
            let mut buf = [9; 3];
            read_or_zero(&below, at, &mut buf).unwrap();
            assert_eq!(buf, expected, "{at}");
        }
    }
}
