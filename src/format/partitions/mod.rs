//! Partition tables: where the volumes of a disk are.
//!
//! | | read | written |
//! |---|---|---|
//! | MBR, primary partitions | yes | yes |
//! | MBR, logical partitions | no: named in the table as an extended one | no |
//! | GPT, either copy | yes | yes, both |
//! | none (a volume right at the start, as `mkntfs FILE` makes it) | yes | no |
//!
//! Sectors have 512 or 4096 bytes. Where a GPT header lies tells which. An MBR does not tell it, and disks with 4096-byte sectors
//! and an MBR are rare: they are known by a boot sector that lies where only such sectors put it.

pub mod gpt;
mod gpt_write;
pub mod mbr;

use std::ops::Range;

use uuid::{Uuid, uuid};

use self::gpt::Gpt;
use self::mbr::Mbr;
use crate::base::{ReadAt, bytes};
use crate::error::Result;

/// Length of the sectors that an MBR counts in; a GPT counts in those of its disk.
pub const SECTOR: u64 = 512;

/// How a disk is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all: one volume is all there is.
    None,
    /// By a master boot record.
    Mbr {
        /// The disk signature.
        signature: u32,
    },
    /// By a GUID partition table.
    Gpt {
        /// The GUID of the disk.
        disk: Uuid,
    },
}

/// What a partition says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing says it: the volume is all there is.
    Bare,
    /// A partition of an MBR.
    Mbr(u8),
    /// A partition of a GPT.
    Gpt(Uuid),
}

impl Kind {
    /// Whether the firmware of a UEFI machine looks here for what to start.
    pub fn is_efi_system(self) -> bool {
        matches!(self, Self::Gpt(TYPE_EFI_SYSTEM) | Self::Mbr(TYPE_EFI_SYSTEM_MBR))
    }
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Where it is, in bytes.
    pub range: Range<u64>,
    /// What it is said to hold.
    pub kind: Kind,
    /// Whether a BIOS boots from it.
    pub active: bool,
    /// Its own GUID, in a GPT.
    pub id: Option<Uuid>,
}

/// The partitions of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// The parts, in the order of the table.
    pub partitions: Vec<Partition>,
}

/// The type of an EFI system partition.
pub const TYPE_EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// The same in an MBR.
pub const TYPE_EFI_SYSTEM_MBR: u8 = 0xEF;
/// The type of the partition that Windows reserves for itself.
pub const TYPE_MICROSOFT_RESERVED: Uuid = uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae");
/// The type of what has a drive letter.
pub const TYPE_BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
/// The type of a recovery partition.
pub const TYPE_RECOVERY: Uuid = uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac");

/// Partition types of an MBR that hold logical drives.
pub const TYPES_EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// The partition type in an MBR that protects a GPT.
pub const TYPE_PROTECTIVE: u8 = 0xEE;

impl Table {
    /// Reads the table of a disk, or finds that it is one volume. Fails if it is neither.
    ///
    /// A GPT counts where the MBR protects it, and where the MBR is broken or empty. Its primary copy is read, or the backup if
    /// that is not whole. Ranges are those of the table, and may lie beyond the disk.
    pub fn read(disk: &dyn ReadAt) -> Result<Self> {
        let mut sector = [0; mbr::MBR_LEN];
        disk.read_at(0, &mut sector)?;
        if is_ntfs(&sector) {
            let all = Partition { number: 1, range: 0..disk.len(), kind: Kind::Bare, active: false, id: None };
            return Ok(Self { scheme: Scheme::None, partitions: vec![all] });
        }
        match Mbr::parse(&sector) {
            Ok(mbr) if mbr.is_protective() => Gpt::read(disk).map(|gpt| Self::of_gpt(&gpt)),
            Ok(mbr) if !mbr.is_empty() => Ok(Self::of_mbr(&mbr, mbr_sector_size(disk, &mbr))),
            mbr => Gpt::read(disk).map(|gpt| Self::of_gpt(&gpt)).or_else(|_| Ok(Self::of_mbr(&mbr?, SECTOR))),
        }
    }

    fn of_mbr(mbr: &Mbr, sector: u64) -> Self {
        let partitions = (1..).zip(&mbr.partitions).filter_map(|(number, entry)| {
            let entry = entry.as_ref()?;
            let extent = entry.extent();
            Some(Partition {
                number,
                range: extent.start * sector..extent.end * sector, // of 33 bits at most
                kind: Kind::Mbr(entry.kind),
                active: entry.active,
                id: None,
            })
        });
        Self { scheme: Scheme::Mbr { signature: mbr.signature }, partitions: partitions.collect() }
    }

    fn of_gpt(gpt: &Gpt) -> Self {
        let partitions = gpt.entries.iter().map(|entry| Partition {
            number: entry.number,
            range: entry.first_lba.saturating_mul(gpt.sector)
                ..entry.last_lba.saturating_add(1).saturating_mul(gpt.sector),
            kind: Kind::Gpt(entry.kind),
            active: false,
            id: Some(entry.id),
        });
        Self { scheme: Scheme::Gpt { disk: gpt.header.disk }, partitions: partitions.collect() }
    }
}

/// Whether these are the first bytes of an NTFS volume.
pub fn is_ntfs(boot_sector: &[u8]) -> bool {
    boot_sector.get(3..11) == Some(b"NTFS    ")
}

/// The size of the sectors in which an MBR counts: 4096 where its first partition has a boot sector only if that is so.
fn mbr_sector_size(disk: &dyn ReadAt, mbr: &Mbr) -> u64 {
    let boots_at = |sector: u64| {
        let first = mbr.partitions.iter().flatten().find(|partition| !TYPES_EXTENDED.contains(&partition.kind));
        let mut bytes = [0; mbr::MBR_LEN];
        let read = first.map(|partition| disk.read_at(partition.extent().start * sector, &mut bytes));
        matches!(read, Some(Ok(())))
            && bytes[510..] == [0x55, 0xAA]
            && bytes::u16_at(&bytes, 0x0B) == Some(sector as u16)
    };
    if !boots_at(SECTOR) && boots_at(4096) { 4096 } else { SECTOR }
}

#[cfg(test)]
mod tests;
