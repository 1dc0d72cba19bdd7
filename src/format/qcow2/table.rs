//! What the entries of L2 tables say.

use super::ondisk::{COMPRESSED, PLACE, SECTOR, ZERO, sectors_shift};

/// The geometry of a file's tables, from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) cluster_bits: u32,
    /// Whether L2 entries have subclusters, and hence 16 bytes.
    pub(super) extended: bool,
    /// Whether an L2 entry can say "zeros".
    pub(super) has_zeros: bool,
}

/// Where a cluster of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Nowhere: zeros.
    Nothing,
    /// At this place in the file, which is a whole cluster. Of its 32 subclusters those in `present` are; the others are zeros.
    Plain { place: u64, present: u32 },
    /// Compressed, in at most so many bytes from this place on.
    Compressed { place: u64, len: u64 },
}

/// All subclusters.
pub(super) const ALL: u32 = u32::MAX;

impl Shape {
    pub(super) fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// The length of an L2 entry.
    pub(super) fn entry_len(self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// How many entries an L2 table has.
    pub(super) fn entries(self) -> u64 {
        self.cluster() / self.entry_len()
    }

    /// How much of a disk an L2 table describes.
    pub(super) fn reach(self) -> u64 {
        self.entries() << self.cluster_bits
    }

    /// What an entry, and the bits for subclusters where there are any, say.
    pub(super) fn mapping(self, entry: u64, bits: u64) -> Mapping {
        if entry & COMPRESSED != 0 {
            let shift = sectors_shift(self.cluster_bits);
            let place = entry & ((1 << shift) - 1);
            let sectors = ((entry & !(COMPRESSED | 1 << 63)) >> shift) + 1;
            return Mapping::Compressed { place, len: sectors * SECTOR - place % SECTOR };
        }
        let place = entry & PLACE;
        let present = match self.extended {
            true => bits as u32 & !((bits >> 32) as u32),
            false if self.has_zeros && entry & ZERO != 0 => 0,
            false => ALL,
        };
        if place == 0 || present == 0 { Mapping::Nothing } else { Mapping::Plain { place, present } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { cluster_bits: 16, extended: false, has_zeros: true };

    #[test]
    fn entries_are_told_apart() {
        assert_eq!(SHAPE.mapping(0, 0), Mapping::Nothing);
        assert_eq!(SHAPE.mapping(0x8000_0000_0005_0000, 0), Mapping::Plain { place: 0x5_0000, present: ALL });
        assert_eq!(SHAPE.mapping(0x8000_0000_0005_0001, 0), Mapping::Nothing);
        let old = Shape { has_zeros: false, ..SHAPE };
        assert_eq!(old.mapping(0x5_0001, 0), Mapping::Plain { place: 0x5_0000, present: ALL });
        let extended = Shape { extended: true, ..SHAPE };
        assert_eq!(extended.mapping(0x5_0000, 7 | 2 << 32), Mapping::Plain { place: 0x5_0000, present: 5 });
        assert_eq!(extended.mapping(0x5_0000, 0), Mapping::Nothing);
    }

    /// With clusters of 64 KiB the count of sectors begins at bit 54.
    #[test]
    fn compressed_ones_end_with_a_sector() {
        let entry = COMPRESSED | 2 << 54 | 0x12_3456;
        assert_eq!(SHAPE.mapping(entry, 0), Mapping::Compressed { place: 0x12_3456, len: 3 * 512 - 0x56 });
        let largest = SHAPE.mapping(u64::MAX, 0);
        assert_eq!(largest, Mapping::Compressed { place: (1 << 54) - 1, len: 256 * 512 - 511 });
    }
}
