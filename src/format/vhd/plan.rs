//! Where everything will be in the file, before any of it is written.

use std::ops::Range;

use super::ondisk::{self, FOOTER_LEN, HEADER_LEN, NO_BLOCK, SECTOR};
use super::parent::{MAX_PATH, Parent};
use crate::base::blocks;
use crate::base::layers::Own;
use crate::error::{Error, Result};

/// The length of a dynamic disk's block, as every known writer but Microsoft's converter (512 KiB) has it.
pub const BLOCK: u64 = 2 << 20;

/// The largest disk: 2040 GiB, the limit of Hyper-V.
pub const MAX_DISK: u64 = 2040 << 30;

/// Where data begins and the file ends; see the [module](super).
const ALIGN: u64 = 4096;

pub(super) const HEADER_AT: u64 = FOOTER_LEN;
pub(super) const TABLE_AT: u64 = HEADER_AT + HEADER_LEN;

/// The sector bitmap of a block: one bit for each sector.
pub(super) const BITMAP_LEN: u64 = BLOCK / SECTOR / 8;

const _: () = assert!(BITMAP_LEN == SECTOR);
// The last sector number of the largest disk, all blocks and all paths of a parent there, has to fit into the BAT.
const _: () = assert!(
    (MAX_DISK + MAX_DISK / BLOCK * (ALIGN + 4) + ondisk::LOCATORS as u64 * MAX_PATH as u64) / SECTOR + 64
        < NO_BLOCK as u64
);

/// Cylinders, heads and sectors per track, for the BIOS interfaces of another age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// How many cylinders.
    pub cylinders: u16,
    /// Heads per cylinder.
    pub heads: u8,
    /// Sectors per track.
    pub sectors: u8,
}

impl Geometry {
    /// The geometry that the specification's appendix gives to a disk of `disk_len` bytes: it covers at most the disk, and
    /// nearly all of it up to 127.5 GiB.
    pub fn of(disk_len: u64) -> Self {
        let total = (disk_len / SECTOR).min(65535 * 16 * 255);
        let (tracks, heads, sectors) =
            if total >= 65535 * 16 * 63 { (total / 255, 16, 255) } else { Self::small(total) };
        Self { cylinders: (tracks / heads) as u16, heads: heads as u8, sectors }
    }

    /// Tracks, heads and sectors per track of disks that fit 63 sectors per track.
    fn small(total: u64) -> (u64, u64, u8) {
        let tracks = total / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads * 1024 {
            (tracks, heads, 17)
        } else if total / 31 < 16 * 1024 {
            (total / 31, 16, 31)
        } else {
            (total / 63, 16, 63)
        }
    }

    /// The bytes that it covers.
    pub fn capacity(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors) * SECTOR
    }
}

/// The layout of a VHD file: which bytes of the disk are in it, and where.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    file_len: u64,
    /// The BAT, host order; `None` for a fixed disk.
    table: Option<Vec<u32>>,
    child: Option<Child>,
}

/// What a differencing disk has beside a dynamic one.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) parent: Parent,
    pub(super) own: Own,
    pub(super) locators: Vec<Locator>,
}

/// A path of the parent, and its place in the file.
#[derive(Debug, Clone)]
pub(super) struct Locator {
    pub(super) platform: [u8; 4],
    pub(super) at: u64,
    /// In whole sectors.
    pub(super) space: u64,
    /// UTF-16, little-endian.
    pub(super) path: Vec<u8>,
}

impl Layout {
    /// The layout of a fixed disk of `disk_len` bytes.
    ///
    /// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) unless the length is 1 sector to [`MAX_DISK`] in whole sectors.
    pub fn fixed(disk_len: u64) -> Result<Self> {
        check_len(disk_len)?;
        Ok(Self { disk_len, file_len: disk_len + FOOTER_LEN, table: None, child: None })
    }

    /// The layout of a dynamic disk of `disk_len` bytes that has those blocks which the ranges of bytes in `used` touch, in the
    /// order of the disk.
    ///
    /// The ranges may overlap, come in any order and be empty. Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if one
    /// ends past the disk, or on a length that [`fixed`](Self::fixed) refuses.
    pub fn dynamic(disk_len: u64, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len)?;
        Self::growing(disk_len, used, behind_table(disk_len), None)
    }

    /// The layout of a differencing disk of `disk_len` bytes, as long as its parent's, whose own sectors are those that the ranges of
    /// bytes in `used` touch; all others are the parent's.
    ///
    /// Fails as [`dynamic`](Self::dynamic) does, and with [`Kind::Invalid`](crate::error::Kind::Invalid) for a parent whose name or
    /// paths have no room: a name of 256 UTF-16 units, and 1 to 8 paths of 32,768.
    pub fn differencing(disk_len: u64, used: &[Range<u64>], parent: Parent) -> Result<Self> {
        check_len(disk_len)?;
        parent.check()?;
        let own = Own::new(disk_len, SECTOR, used)?;
        let mut at = behind_table(disk_len);
        let locators: Vec<Locator> = parent
            .paths()
            .map(|(platform, path)| {
                let path = path.to_le_bytes();
                let space = (path.len() as u64).next_multiple_of(SECTOR);
                let locator = Locator { platform, at, space, path };
                at += space;
                locator
            })
            .collect();
        Self::growing(disk_len, used, at, Some(Child { parent, own, locators }))
    }

    /// A disk whose blocks begin at `at` or behind.
    fn growing(disk_len: u64, used: &[Range<u64>], mut at: u64, child: Option<Child>) -> Result<Self> {
        let mut table = vec![NO_BLOCK; disk_len.div_ceil(BLOCK) as usize];
        for (entry, used) in table.iter_mut().zip(blocks::touched(disk_len, BLOCK, used)?) {
            if used {
                at = before_boundary(at);
                *entry = (at / SECTOR) as u32;
                at += BITMAP_LEN + BLOCK;
            }
        }
        Ok(Self { disk_len, file_len: before_boundary(at) + FOOTER_LEN, table: Some(table), child })
    }

    /// The length of the disk.
    pub fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file, exactly.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// How many blocks of [`BLOCK`] bytes the file has; 0 for a fixed disk, which has none.
    pub fn blocks(&self) -> usize {
        self.table.iter().flatten().filter(|entry| **entry != NO_BLOCK).count()
    }

    pub(super) fn child(&self) -> Option<&Child> {
        self.child.as_ref()
    }

    pub(super) fn table(&self) -> Option<&[u32]> {
        self.table.as_deref()
    }

    pub(super) fn footer_at(&self) -> u64 {
        self.file_len - FOOTER_LEN
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A block that is not there is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        let Some(table) = &self.table else {
            return Ok((at, len));
        };
        match table.get((at / BLOCK) as usize) {
            None | Some(&NO_BLOCK) => {
                Err(Error::invalid("write into a part of the VHD that was planned as unused").at(at))
            }
            Some(&sector) => {
                let within = at % BLOCK;
                let start = u64::from(sector) * SECTOR + BITMAP_LEN + within;
                let len = len.min((BLOCK - within) as usize);
                if self.child.as_ref().is_some_and(|child| !child.own.holds(&(at..at + len as u64))) {
                    return Err(Error::invalid("write into a part of the VHD that was planned as its parent's").at(at));
                }
                Ok((start, len))
            }
        }
    }
}

/// Where a dynamic disk's first block may be.
fn behind_table(disk_len: u64) -> u64 {
    TABLE_AT + padded_table_len(disk_len.div_ceil(BLOCK) as usize)
}

/// The length of a BAT in the file: whole sectors with at least one entry to spare, as in Hyper-V's files.
pub(super) fn padded_table_len(entries: usize) -> u64 {
    (entries as u64 * 4 + 1).next_multiple_of(SECTOR)
}

/// The first place from `at` on where a sector ends on an [`ALIGN`] boundary.
fn before_boundary(at: u64) -> u64 {
    (at + SECTOR).next_multiple_of(ALIGN) - SECTOR
}

fn check_len(disk_len: u64) -> Result<()> {
    if disk_len == 0 || !disk_len.is_multiple_of(SECTOR) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a VHD")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("512 to {MAX_DISK} bytes (2040 GiB), in whole sectors of 512")));
    }
    Ok(())
}
