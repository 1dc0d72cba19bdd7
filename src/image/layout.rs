//! Which partitions a disk gets, and where.
//!
//! | firmware | table | partitions, in their order |
//! |---|---|---|
//! | BIOS | MBR | Windows, active; with a system partition of its own: system (NTFS, active), Windows |
//! | UEFI | GPT | EFI system (FAT32), Microsoft reserved, Windows |
//! | both (Windows To Go) | MBR | system (FAT32, active), Windows |
//! | none (native boot, data) | MBR, or GPT in a VHDX | Windows |
//!
//! A recovery partition comes last, where Microsoft has wanted it since Windows 10 2004, so that it can grow. Sizes are those of
//! Microsoft's Convert-WindowsImage: 200 MiB for an EFI system partition (260 MiB with sectors of 4096 bytes, the least that
//! FAT32 takes there), 128 MiB reserved, 350 MiB for the system partition of Windows To Go; a system partition for a BIOS has the
//! 500 MiB of Windows Setup.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Format;
use super::seed::Seed;
use crate::base::bytes;
use crate::error::{Error, Result};
use crate::format::partitions::{
    self, Kind, TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, TYPE_MICROSOFT_RESERVED, TYPE_RECOVERY, mbr,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The size of a disk when nobody says otherwise, as Microsoft's New-NanoServerImage has it.
const NANO_DISK: u64 = 4 * GIB;
/// Partitions start on a whole MiB, as Windows has placed them since Vista.
const START: u64 = MIB;
/// Windows leaves the last MiB of an MBR disk free, for the database of a dynamic disk; a GPT has its copy there.
const RESERVE_AT_END: u64 = MIB;
/// No partition can be of use that is smaller; FAT32 needs more.
const MIN_PARTITION: u64 = 16 * MIB;
/// The least that a FAT32 volume of 65,525 clusters can have, with its tables.
const MIN_FAT32: u64 = 36 * MIB;
const MIN_FAT32_4K: u64 = 260 * MIB;

/// Which firmware is to start the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// Either, as Windows To Go does it.
    Both,
    /// None: the disk is started by another one's boot manager (native boot), or holds data.
    None,
}

/// How a disk is to be divided, as far as somebody has said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What starts it.
    pub firmware: Firmware,
    /// Whether what a BIOS starts has a partition of its own.
    pub separate_system: bool,
    /// The size of the system partition.
    pub system_bytes: Option<u64>,
    /// The size of the Microsoft reserved partition; 0 for none.
    pub reserved_bytes: Option<u64>,
    /// The size of a recovery partition.
    pub recovery_bytes: Option<u64>,
    /// The size of the disk's sectors, 512 or 4096.
    pub sector_size: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            firmware: Firmware::Bios,
            separate_system: false,
            system_bytes: None,
            reserved_bytes: None,
            recovery_bytes: None,
            sector_size: 512,
        }
    }
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What the firmware starts.
    System,
    /// Kept free for Windows.
    Reserved,
    /// The image.
    Windows,
    /// What repairs it.
    Recovery,
}

/// The file system of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// FAT32.
    Fat32,
    /// NTFS.
    Ntfs,
    /// None.
    None,
}

/// A partition that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is for.
    pub role: Role,
    /// Where it is, in bytes.
    pub range: Range<u64>,
    /// Its type in the table.
    pub kind: Kind,
    /// Its file system.
    pub file_system: FileSystem,
    /// Whether a BIOS starts from it.
    pub active: bool,
    /// Its GUID, in a GPT.
    pub id: Uuid,
    /// Its attributes, in a GPT.
    pub attributes: u64,
    /// Its name, in a GPT.
    pub name: &'static str,
}

/// A partition before its place is known.
struct Wanted {
    role: Role,
    bytes: Option<u64>,
    kind: Kind,
    file_system: FileSystem,
    active: bool,
    attributes: u64,
    name: &'static str,
}

/// A disk that is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// The size of the disk.
    pub disk_bytes: u64,
    /// Its table.
    pub scheme: partitions::Scheme,
    /// Its partitions, in the order of their places.
    pub slots: Vec<Slot>,
}

impl Division {
    /// The partition with that role.
    pub fn slot(&self, role: Role) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.role == role)
    }
}

/// No drive letter: what the hidden partitions of a GPT have (Microsoft's `GPT_BASIC_DATA_ATTRIBUTE_NO_DRIVE_LETTER`).
const NO_DRIVE_LETTER: u64 = 1 << 63;
/// The platform needs it (`GPT_ATTRIBUTE_PLATFORM_REQUIRED`): Windows' tools leave such partitions alone.
const PLATFORM_REQUIRED: u64 = 1;

impl Layout {
    /// What tells this layout from the usual one: part of a disk's identity, since two disks of one image may meet in one machine.
    pub fn fingerprint(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let firmware = match self.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
            Firmware::Both => "both",
            Firmware::None => "none",
        };
        let sizes = [self.system_bytes, self.reserved_bytes, self.recovery_bytes]
            .map(|size| size.map_or("-".into(), |size| size.to_string()));
        Some(
            format!("layout {firmware} {} {} {}", self.separate_system, sizes.join(" "), self.sector_size).into_bytes(),
        )
    }

    /// Whether the table is a GPT, in this container.
    pub fn is_gpt(&self, format: Format) -> bool {
        match self.firmware {
            Firmware::Uefi => true,
            Firmware::Bios | Firmware::Both => false,
            Firmware::None => matches!(format, Format::Vhdx | Format::VhdxFixed),
        }
    }

    /// Whether what the firmware starts lies on another partition than Windows.
    pub fn has_system(&self) -> bool {
        match self.firmware {
            Firmware::Uefi | Firmware::Both => true,
            Firmware::Bios => self.separate_system,
            Firmware::None => false,
        }
    }

    fn system_default(&self) -> u64 {
        match self.firmware {
            Firmware::Uefi if self.sector_size == 512 => 200 * MIB,
            Firmware::Uefi => 260 * MIB,
            Firmware::Both => 350 * MIB,
            Firmware::Bios | Firmware::None => 500 * MIB,
        }
    }

    /// The partitions in their order; the one without a size takes the rest.
    fn wanted(&self, gpt: bool) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let plain = |role, bytes, file_system| Wanted {
            role,
            bytes,
            kind: if gpt { Kind::Gpt(TYPE_BASIC_DATA) } else { Kind::Mbr(mbr::TYPE_NTFS) },
            file_system,
            active: false,
            attributes: 0,
            name: "Basic data partition",
        };
        if self.has_system() {
            let bytes = Some(self.system_bytes.unwrap_or_else(|| self.system_default()));
            wanted.push(match self.firmware {
                Firmware::Uefi => Wanted {
                    kind: Kind::Gpt(TYPE_EFI_SYSTEM),
                    attributes: NO_DRIVE_LETTER,
                    name: "EFI system partition",
                    ..plain(Role::System, bytes, FileSystem::Fat32)
                },
                Firmware::Both => Wanted {
                    kind: Kind::Mbr(mbr::TYPE_FAT32),
                    active: true,
                    ..plain(Role::System, bytes, FileSystem::Fat32)
                },
                Firmware::Bios | Firmware::None => {
                    Wanted { active: true, ..plain(Role::System, bytes, FileSystem::Ntfs) }
                }
            });
        }
        let reserved = self.reserved_bytes.unwrap_or(128 * MIB);
        if self.firmware == Firmware::Uefi && reserved > 0 {
            wanted.push(Wanted {
                kind: Kind::Gpt(TYPE_MICROSOFT_RESERVED),
                attributes: NO_DRIVE_LETTER,
                name: "Microsoft reserved partition",
                ..plain(Role::Reserved, Some(reserved), FileSystem::None)
            });
        }
        let active = self.firmware == Firmware::Bios && !self.separate_system;
        wanted.push(Wanted { active, ..plain(Role::Windows, None, FileSystem::Ntfs) });
        if let Some(bytes) = self.recovery_bytes {
            wanted.push(Wanted {
                kind: if gpt { Kind::Gpt(TYPE_RECOVERY) } else { Kind::Mbr(mbr::TYPE_RECOVERY) },
                attributes: NO_DRIVE_LETTER | PLATFORM_REQUIRED,
                ..plain(Role::Recovery, Some(bytes), FileSystem::Ntfs)
            });
        }
        wanted
    }

    /// Refuses sizes that no disk has.
    pub fn check(&self, size: Option<u64>) -> Result<()> {
        if !matches!(self.sector_size, 512 | 4096) {
            return Err(Error::invalid("sector size").found(self.sector_size).allowed("512 or 4096"));
        }
        if self.sector_size == 4096 && matches!(self.firmware, Firmware::Bios | Firmware::Both) {
            return Err(Error::unsupported("a BIOS that starts from a disk with sectors of 4096 bytes")
                .hint("there is none: say --firmware uefi"));
        }
        check_size("disk size", "--size", size, MIB)?;
        let fat = match (self.firmware, self.sector_size) {
            (Firmware::Uefi, 4096) => MIN_FAT32_4K,
            (Firmware::Uefi | Firmware::Both, _) => MIN_FAT32,
            _ => MIN_PARTITION,
        };
        check_size("size of the system partition", "--system-size", self.system_bytes, fat)?;
        check_size(
            "size of the reserved partition",
            "--reserved-size",
            self.reserved_bytes.filter(|size| *size > 0),
            MIB,
        )?;
        check_size("size of the recovery partition", "--recovery-size", self.recovery_bytes, MIN_PARTITION)
    }

    /// Divides a disk: one of the size that was asked for, or one that leaves the volume of the image, which needs
    /// `needed` bytes, enough room.
    pub fn divide(&self, format: Format, needed: u64, asked: Option<u64>, ids: &Seed) -> Result<Division> {
        let gpt = self.is_gpt(format);
        let wanted = self.wanted(gpt);
        let others =
            wanted.iter().filter_map(|wanted| wanted.bytes).try_fold(0_u64, |sum, bytes| sum.checked_add(bytes));
        let others = others.and_then(|sum| sum.checked_add(START + RESERVE_AT_END));
        let disk_bytes = disk_size(asked, needed, others)?;
        let mut rest = disk_bytes - others.unwrap_or_default();
        let mut at = START;
        let mut slots = Vec::new();
        for (number, wanted) in (1..).zip(wanted) {
            let bytes = wanted.bytes.unwrap_or_else(|| std::mem::take(&mut rest));
            let range = at..at + bytes;
            at = range.end;
            let Wanted { role, kind, file_system, active, attributes, name, .. } = wanted;
            let id = ids.guid(&format!("partition {number}"));
            slots.push(Slot { role, range, kind, file_system, active, id, attributes, name });
        }
        let scheme = if gpt {
            partitions::Scheme::Gpt { disk: ids.guid("disk") }
        } else {
            partitions::Scheme::Mbr { signature: ids.disk_signature() }
        };
        Ok(Division { disk_bytes, scheme, slots })
    }
}

/// Refuses a size that is not whole MiB, or too small.
fn check_size(what: &str, option: &str, size: Option<u64>, least: u64) -> Result<()> {
    let Some(size) = size else { return Ok(()) };
    if size.is_multiple_of(MIB) && size >= least {
        return Ok(());
    }
    let down = (size / MIB).max(least / MIB);
    let hint = match size {
        _ if size < least => format!("say {option} {}M or more", least / MIB),
        _ => format!("say {option} {}M or {option} {}M", down, size / MIB + 1),
    };
    let allowed = if size < least {
        format!("at least {} MiB", least / MIB)
    } else {
        "whole MiB, as Hyper-V and Azure demand".into()
    };
    Err(Error::invalid(what).found(format_args!("{size} bytes")).allowed(allowed).hint(hint))
}

/// The size that was asked for; or 4 GiB, Nano Server's default, if that leaves a quarter free; or else twice the need in whole
/// GiB, since a Windows needs room to live in and a growing file does not pay for it.
fn disk_size(asked: Option<u64>, needed_volume: u64, others: Option<u64>) -> Result<u64> {
    let beyond = || Error::unsupported("an image larger than any disk");
    let needed = others.and_then(|others| needed_volume.checked_add(others));
    let needed = needed.and_then(|needed| bytes::round_up(needed, MIB)).ok_or_else(beyond)?;
    match asked {
        Some(size) if size < needed => Err(Error::no_space("the disk is too small for the image", needed, size)
            .hint(format_args!("say --size {}M or more", needed / MIB))),
        Some(size) => Ok(size),
        None if needed <= NANO_DISK / 4 * 3 => Ok(NANO_DISK),
        None => needed.checked_mul(2).and_then(|twice| bytes::round_up(twice, GIB)).ok_or_else(beyond),
    }
}
