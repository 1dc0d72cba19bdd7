//! Where everything will be in the file, before any of it is written.

use std::ops::Range;

use super::ondisk::{FREE, SECTOR, ZERO};
use crate::base::blocks;
use crate::error::{Error, Result};

const MIB: u64 = 1 << 20;

/// The length of a block, the only one that all programs read.
pub const BLOCK: u64 = MIB;

/// The largest disk that is written: 16 TiB, eight times what VirtualBox's own window offers.
pub const MAX_DISK: u64 = 16 << 40;

/// Where the map begins.
pub(super) const MAP_AT: u64 = MIB;

// The number of the last block, and where the data begins, have to fit into 32 bits.
const _: () = assert!(MAX_DISK / BLOCK < ZERO as u64 && MAP_AT + MAX_DISK / BLOCK * 4 + MIB <= u32::MAX as u64);

/// The layout of a VDI file: which bytes of the disk are in it, and where.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    fixed: bool,
    /// For each block of the disk its number in the file, or [`FREE`].
    map: Vec<u32>,
    allocated: u32,
}

impl Layout {
    /// The layout of a fixed disk of `disk_len` bytes.
    ///
    /// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) unless the length is 1 sector to [`MAX_DISK`] in whole sectors.
    pub fn fixed(disk_len: u64) -> Result<Self> {
        check_len(disk_len)?;
        let blocks = disk_len.div_ceil(BLOCK) as u32;
        Ok(Self { disk_len, fixed: true, map: (0..blocks).collect(), allocated: blocks })
    }

    /// The layout of a dynamic disk that has those blocks which the ranges of bytes in `used` touch, in the disk's order.
    ///
    /// Fails as [`fixed`](Self::fixed) does, and where a range is not within the disk.
    pub fn dynamic(disk_len: u64, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len)?;
        let mut allocated = 0;
        let entry = |used: bool| {
            let number = allocated;
            allocated += u32::from(used);
            if used { number } else { FREE }
        };
        let map = blocks::touched(disk_len, BLOCK, used)?.into_iter().map(entry).collect();
        Ok(Self { disk_len, fixed: false, map, allocated })
    }

    /// The length of the disk.
    pub fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file, exactly.
    pub fn file_len(&self) -> u64 {
        self.data_at() + u64::from(self.allocated) * BLOCK
    }

    /// How many blocks of [`BLOCK`] bytes the file has.
    pub fn blocks(&self) -> u32 {
        self.allocated
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    pub(super) fn map(&self) -> &[u32] {
        &self.map
    }

    pub(super) fn data_at(&self) -> u64 {
        (MAP_AT + self.map.len() as u64 * 4).next_multiple_of(MIB)
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A block that is not there is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        match self.map.get((at / BLOCK) as usize) {
            None | Some(&FREE) => Err(Error::invalid("write into a part of the VDI that was planned as unused").at(at)),
            Some(&number) => {
                let within = at % BLOCK;
                let place = self.data_at() + u64::from(number) * BLOCK + within;
                Ok((place, len.min((BLOCK - within) as usize)))
            }
        }
    }
}

fn check_len(disk_len: u64) -> Result<()> {
    if disk_len == 0 || !disk_len.is_multiple_of(SECTOR) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a VDI")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("512 to {MAX_DISK} bytes (16 TiB), in whole sectors of 512")));
    }
    Ok(())
}
