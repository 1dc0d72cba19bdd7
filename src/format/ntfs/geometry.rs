//! The sizes of a volume's units.

use super::Options;
use super::ondisk::{INDEX_BLOCK, INDEX_UNIT, STRIDE};
use crate::error::{Error, Result};

/// Sector, cluster and record size, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) sector: u64,
    pub(super) cluster: u64,
    /// Length of a FILE record.
    pub(super) record: usize,
}

impl Geometry {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let (sector, cluster) = (options.sector_size, options.cluster_size);
        if !matches!(sector, 512 | 4096) {
            return Err(Error::invalid("NTFS sector size").found(sector).allowed("512 or 4096"));
        }
        if !cluster.is_power_of_two() || !(sector..=65536).contains(&cluster) {
            return Err(Error::invalid("NTFS cluster size")
                .found(cluster)
                .allowed(format_args!("a power of two from {sector} to 65536")));
        }
        let record = if sector == 4096 { 4096 } else { 1024 };
        Ok(Self { sector: u64::from(sector), cluster: u64::from(cluster), record })
    }

    /// How many clusters `len` bytes take.
    pub(super) fn clusters(&self, len: u64) -> u64 {
        len.div_ceil(self.cluster)
    }

    /// The length of that many clusters.
    pub(super) fn bytes(&self, clusters: u64) -> u64 {
        clusters.saturating_mul(self.cluster)
    }

    /// Whole clusters of a volume of `len` bytes, whose last sector is not part of it.
    pub(super) fn volume_clusters(&self, len: u64) -> u64 {
        self.total_sectors(len) * self.sector / self.cluster
    }

    /// The sectors that the boot sector counts.
    pub(super) fn total_sectors(&self, len: u64) -> u64 {
        (len / self.sector).saturating_sub(1)
    }

    /// The field that the boot sector has for the size of records and of index blocks.
    pub(super) fn size_code(&self, len: usize) -> i8 {
        let len = len as u64;
        if len >= self.cluster { (len / self.cluster) as i8 } else { -(len.trailing_zeros() as i8) }
    }

    /// By how much the numbers of successive index blocks differ.
    pub(super) fn index_units(&self) -> u64 {
        let unit = if self.cluster > INDEX_BLOCK as u64 { INDEX_UNIT } else { self.cluster };
        INDEX_BLOCK as u64 / unit
    }

    /// Where the attributes of a record begin.
    pub(super) fn attributes_offset(&self) -> usize {
        (48 + 2 * (self.record / STRIDE + 1)).next_multiple_of(8)
    }

    /// How many bytes of attributes a record holds, without the end mark.
    pub(super) fn record_capacity(&self) -> usize {
        self.record - self.attributes_offset() - 8
    }

    /// How many records the mirror holds: four, or a cluster full of them.
    pub(super) fn mirrored(&self) -> u32 {
        (self.cluster as usize / self.record).max(4) as u32
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn geometry(sector: u32, cluster: u32) -> Geometry {
        Geometry::new(&Options { sector_size: sector, cluster_size: cluster, ..Options::default() }).unwrap()
    }

    #[test]
    fn codes_are_those_of_windows() {
        assert_eq!(geometry(512, 4096).size_code(1024), 0xF6_u8 as i8);
        assert_eq!(geometry(512, 4096).size_code(4096), 1);
        assert_eq!(geometry(512, 65536).size_code(4096), 0xF4_u8 as i8);
        assert_eq!(geometry(512, 512).size_code(4096), 8);
        assert_eq!(geometry(512, 512).size_code(1024), 2);
        assert_eq!(geometry(4096, 4096).size_code(4096), 1);
        assert_eq!((geometry(512, 512).index_units(), geometry(512, 4096).index_units()), (8, 1));
        assert_eq!(geometry(512, 65536).index_units(), 8);
    }

    #[test]
    fn refuses_other_sizes() {
        for (sector, cluster) in [(512, 256), (512, 131_072), (512, 3000), (1024, 4096), (4096, 2048), (0, 4096)] {
            assert!(
                Geometry::new(&Options { sector_size: sector, cluster_size: cluster, ..Options::default() }).is_err()
            );
        }
    }

    #[test]
    fn last_sector_is_not_part_of_the_volume() {
        assert_eq!(geometry(512, 4096).volume_clusters(10 << 20), 2559);
        assert_eq!(geometry(512, 512).volume_clusters(0), 0);
    }
}
