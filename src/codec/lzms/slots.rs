//! Slots: an offset or a length is a Huffman symbol (its slot) and as many plain bits as the slot says.

/// Slots of match lengths, for every length up to 0x400108aa.
pub(super) const LENGTHS: usize = 54;
/// Slots of match offsets when every offset up to 0x465be4a4 may occur.
pub(super) const OFFSETS: usize = 799;

/// For every slot its smallest value and its number of extra bits. `N` is a power of two, so that a masked symbol always
/// indexes; slots past the format's own repeat the last one and are never used.
pub(super) struct Slots<const N: usize> {
    base: [u32; N],
    extra: [u8; N],
    /// How many slots the format has.
    count: usize,
}

/// Length slots: how many of them have 0, 1, 2, ... extra bits.
pub(super) static LENGTH: Slots<64> = Slots::new(&[26, 4, 6, 4, 5, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1], LENGTHS);
/// Offset slots, likewise; used for LZ offsets and for the raw offsets of delta matches.
pub(super) static OFFSET: Slots<1024> =
    Slots::new(&[8, 0, 9, 7, 10, 15, 15, 20, 20, 30, 33, 40, 42, 45, 60, 73, 80, 85, 95, 105, 6], OFFSETS);

/// The very last slot of both tables takes 30 extra bits.
const LAST_EXTRA: u8 = 30;

impl<const N: usize> Slots<N> {
    const fn new(runs: &[usize], slots: usize) -> Self {
        assert!(N.is_power_of_two() && slots <= N);
        let mut table = Self { base: [0; N], extra: [LAST_EXTRA; N], count: slots };
        let (mut slot, mut base, mut extra) = (0, 1, 0);
        while extra < runs.len() {
            let mut left = runs[extra];
            while left > 0 {
                table.base[slot] = base;
                table.extra[slot] = extra as u8;
                base += 1 << extra;
                slot += 1;
                left -= 1;
            }
            extra += 1;
        }
        assert!(slot == slots - 1, "all but the last slot come from the runs");
        while slot < N {
            table.base[slot] = base;
            slot += 1;
        }
        table
    }

    /// The number of extra bits of each slot.
    pub(super) fn extra(&self) -> &[u8; N] {
        &self.extra
    }

    /// The smallest value of `slot`.
    #[inline(always)]
    pub(super) fn base(&self, slot: usize) -> u32 {
        self.base[slot & (N - 1)]
    }

    /// How many slots it takes to express every value below `end`.
    pub(super) fn needed_below(&self, end: u32) -> usize {
        self.base[..self.count].partition_point(|&base| base < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_those_of_the_format() {
        assert_eq!(LENGTH.base(26), 0x1b);
        assert_eq!(LENGTH.base(53), 0x108ab);
        assert_eq!((LENGTH.extra[51], LENGTH.extra[52], LENGTH.extra[53]), (10, 16, 30));
        assert_eq!(OFFSET.base(8), 9);
        assert_eq!(OFFSET.base(798), 0x65b_e4a5);
        assert_eq!((OFFSET.extra[797], OFFSET.extra[798]), (20, 30));
    }

    #[test]
    fn slots_needed_follow_the_output_length() {
        assert_eq!(OFFSET.needed_below(1), 0);
        assert_eq!(OFFSET.needed_below(2), 1);
        assert_eq!(OFFSET.needed_below(10), 9);
        assert_eq!(OFFSET.needed_below(14), 10);
        assert_eq!(OFFSET.needed_below(0x65b_e4a5), OFFSETS - 1);
        assert_eq!(OFFSET.needed_below(1 << 30), OFFSETS, "chunks longer than the last slot's base need no more");
        assert_eq!(LENGTH.needed_below(u32::MAX), LENGTHS);
    }
}
