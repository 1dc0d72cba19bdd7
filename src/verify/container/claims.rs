//! Which parts of a file are somebody's already.

use std::ops::Range;

const UNIT: u64 = 1 << 20;

/// Only so much of a file is kept account of, in units: 256 TiB, four times the largest disk.
const MAX_UNITS: u64 = 1 << 28;

/// The MiB of a file, each free or claimed.
pub(super) struct Claims(Vec<u64>);

impl Claims {
    pub(super) fn new(file_len: u64) -> Self {
        Self(vec![0; file_len.div_ceil(UNIT).min(MAX_UNITS).div_ceil(64) as usize])
    }

    /// Claims the units that a range of bytes touches, as far as account is kept; `Some` is where the first of them lies that
    /// somebody had claimed before.
    pub(super) fn claim(&mut self, range: &Range<u64>) -> Option<u64> {
        let end = range.end.div_ceil(UNIT).min(self.0.len() as u64 * 64);
        let mut taken = None;
        let mut unit = range.start / UNIT;
        while unit < end {
            let last = end.min((unit / 64 + 1) * 64);
            let mask = u64::MAX >> (64 - (last - unit)) << (unit % 64);
            if let Some(word) = self.0.get_mut((unit / 64) as usize) {
                if *word & mask != 0 && taken.is_none() {
                    taken = Some((unit / 64 * 64 + u64::from((*word & mask).trailing_zeros())) * UNIT);
                }
                *word |= mask;
            }
            unit = last;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_claimed_once() {
        let mut claims = Claims::new(200 * UNIT);
        assert_eq!(claims.claim(&(3 * UNIT..130 * UNIT)), None);
        assert_eq!(claims.claim(&(0..3 * UNIT)), None);
        assert_eq!(claims.claim(&(129 * UNIT + 5..129 * UNIT + 6)), Some(129 * UNIT));
        assert_eq!(claims.claim(&(130 * UNIT..200 * UNIT)), None);
        assert_eq!(claims.claim(&(63 * UNIT..64 * UNIT)), Some(63 * UNIT));
        assert_eq!(claims.claim(&(1000 * UNIT..u64::MAX)), None, "out of account");
        assert_eq!(claims.claim(&(5 * UNIT..5 * UNIT)), None);
    }
}
