//! What lies on the disk: the boot sector and the entries of directories.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Error, Result};

/// Length of an entry of a directory.
pub(super) const ENTRY_LEN: usize = 32;
/// Entries that a directory can have.
pub(super) const MAX_ENTRIES: usize = 1 << 16;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BootSector {
    pub(super) jump: [u8; 3],
    pub(super) oem: [u8; 8],
    /// 0x0B
    pub(super) bytes_per_sector: U16,
    pub(super) sectors_per_cluster: u8,
    pub(super) reserved_sectors: U16,
    /// 0x10
    pub(super) fats: u8,
    /// Zero for FAT32.
    pub(super) root_entries: U16,
    /// Zero where the 32-bit field counts.
    pub(super) total_sectors_16: U16,
    pub(super) media: u8,
    /// 0x16: zero for FAT32.
    pub(super) fat_sectors_16: U16,
    pub(super) sectors_per_track: U16,
    pub(super) heads: U16,
    pub(super) hidden_sectors: U32,
    /// 0x20
    pub(super) total_sectors_32: U32,
    /// 0x24: from here on of FAT32 only.
    pub(super) fat_sectors_32: U32,
    pub(super) flags: U16,
    pub(super) version: U16,
    /// 0x2C
    pub(super) root_cluster: U32,
}
const _: () = assert!(size_of::<BootSector>() == 0x30);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Entry {
    /// 0: no entry here, nor behind; E5h: free; 05h stands for E5h.
    pub(super) name: [u8; 11],
    pub(super) attributes: u8,
    /// 08h: the base name is lower case, 10h: the extension.
    pub(super) case: u8,
    pub(super) created_tenths: u8,
    pub(super) created_time: U16,
    pub(super) created_date: U16,
    pub(super) accessed_date: U16,
    pub(super) cluster_high: U16,
    pub(super) modified_time: U16,
    pub(super) modified_date: U16,
    pub(super) cluster_low: U16,
    pub(super) size: U32,
}
const _: () = assert!(size_of::<Entry>() == ENTRY_LEN);

impl Entry {
    /// The first cluster.
    pub(super) fn cluster(&self) -> u32 {
        u32::from(self.cluster_high.get()) << 16 | u32::from(self.cluster_low.get())
    }
}

pub(super) const VOLUME_LABEL: u8 = 0x08;
pub(super) const DIRECTORY: u8 = 0x10;
/// The attributes of an entry that holds a piece of a long name.
pub(super) const LONG_NAME: u8 = 0x0F;
pub(super) const LONG_NAME_MASK: u8 = 0x3F;

/// Which of the three it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// Where everything lies, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) cluster: u64,
    pub(super) clusters: u32,
    pub(super) fat_at: u64,
    pub(super) fat_len: u64,
    /// The root directory of FAT12 and FAT16.
    pub(super) root_at: u64,
    pub(super) root_len: u64,
    /// That of FAT32.
    pub(super) root_cluster: u32,
    pub(super) data_at: u64,
    pub(super) len: u64,
}

/// Whether these are the first bytes of a FAT volume: its fields make sense, and no other file system has its name there.
pub fn is_fat(boot_sector: &[u8]) -> bool {
    Geometry::parse(boot_sector).is_ok()
}

impl Geometry {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |what: &str| Error::corrupt(format_args!("FAT boot sector: {what}"));
        let (boot, _) = BootSector::ref_from_prefix(bytes).map_err(|_| Error::truncated("FAT boot sector"))?;
        if bytes.get(510..512) != Some(&[0x55, 0xAA]) {
            return Err(bad("signature").at(510).allowed("55 aa"));
        }
        if !matches!(boot.jump, [0xEB, _, 0x90] | [0xE9, ..]) {
            return Err(bad("jump").at(0).allowed("eb .. 90, or e9"));
        }
        let sector = u64::from(boot.bytes_per_sector.get());
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(bad("bytes per sector").at(0x0B).found(sector).allowed("512 to 4096"));
        }
        let per_cluster = u64::from(boot.sectors_per_cluster);
        if !per_cluster.is_power_of_two() {
            return Err(bad("sectors per cluster").at(0x0D).found(per_cluster).allowed("a power of two"));
        }
        if !matches!(boot.fats, 1..=4) || boot.reserved_sectors.get() == 0 || boot.media < 0xF0 {
            return Err(bad("number of tables, reserved sectors or media"));
        }
        let either = |short: U16, long: U32| if short.get() == 0 { long.get() } else { short.get().into() };
        let total = u64::from(either(boot.total_sectors_16, boot.total_sectors_32));
        let fat = u64::from(either(boot.fat_sectors_16, boot.fat_sectors_32));
        let root_len = (u64::from(boot.root_entries.get()) * ENTRY_LEN as u64).next_multiple_of(sector);
        let fat_at = u64::from(boot.reserved_sectors.get());
        let root_at = fat_at + u64::from(boot.fats) * fat;
        let data_at = root_at + root_len / sector;
        let clusters = total.checked_sub(data_at).map_or(0, |sectors| sectors / per_cluster);
        if fat == 0 || clusters == 0 {
            return Err(bad("sizes").found(format_args!("{total} sectors, {fat} for each table")));
        }
        // 28 bits of a FAT32 entry count, and some values of it mean other things.
        let clusters = u32::try_from(clusters).ok().filter(|clusters| *clusters < 0x0FFF_FFF0);
        let clusters = clusters.ok_or_else(|| bad("number of clusters"))?;
        let width = match clusters {
            0..4085 => Width::Twelve,
            4085..65525 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        Ok(Self {
            width,
            cluster: sector * per_cluster,
            clusters,
            fat_at: fat_at * sector,
            fat_len: fat * sector,
            root_at: root_at * sector,
            root_len,
            root_cluster: boot.root_cluster.get(),
            data_at: data_at * sector,
            len: total * sector,
        })
    }

    /// Where a cluster is.
    pub(super) fn place(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data_at + u64::from(index) * self.cluster)
    }
}
