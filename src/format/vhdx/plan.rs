//! Where everything will be in the file, before any of it is written.

use std::ops::Range;

use super::ondisk::{Chunks, Entry, MAX_DISK, MIB};
use crate::base::blocks;
use crate::error::{Error, Result};

/// The length of a block, as Hyper-V has it.
pub const BLOCK: u64 = 32 << 20;

/// The log, which nobody has written to yet.
pub(super) const LOG: Range<u64> = MIB..2 * MIB;
/// The metadata region.
pub(super) const METADATA: Range<u64> = 2 * MIB..3 * MIB;
/// Where the BAT begins.
pub(super) const BAT_AT: u64 = 3 * MIB;

/// The layout of a VHDX file: which bytes of the disk are in it, and where.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    file_len: u64,
    fixed: bool,
    sector: u32,
    /// The place of each block in the file; 0 for one that is not there.
    blocks: Vec<u64>,
}

impl Layout {
    /// The layout of a fixed disk of `disk_len` bytes, whose machine sees sectors of `sector` bytes.
    ///
    /// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) unless sectors have 512 or 4096 bytes and the length is 1 sector to
    /// [`MAX_DISK`](super::MAX_DISK) in whole sectors.
    pub fn fixed(disk_len: u64, sector: u32) -> Result<Self> {
        Self::new(disk_len, sector, true, |_| true)
    }

    /// The layout of a dynamic disk that has those blocks which the ranges of bytes in `used` touch, in the disk's order.
    ///
    /// Fails as [`fixed`](Self::fixed) does, and where a range is not within the disk.
    pub fn dynamic(disk_len: u64, sector: u32, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len, sector)?;
        let touched = blocks::touched(disk_len, BLOCK, used)?;
        Self::new(disk_len, sector, false, |block| touched[block])
    }

    fn new(disk_len: u64, sector: u32, fixed: bool, is_there: impl Fn(usize) -> bool) -> Result<Self> {
        check_len(disk_len, sector)?;
        let mut at = BAT_AT + bat_len(disk_len, sector);
        let blocks = (0..disk_len.div_ceil(BLOCK) as usize).map(|block| {
            let place = if is_there(block) { at } else { 0 };
            at += if place == 0 { 0 } else { BLOCK };
            place
        });
        let blocks = blocks.collect();
        Ok(Self { disk_len, file_len: at, fixed, sector, blocks })
    }

    /// The length of the disk.
    pub fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file, exactly.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The size of the sectors that the disk's machine sees.
    pub fn sector_size(&self) -> u32 {
        self.sector
    }

    /// How many blocks of [`BLOCK`] bytes the file has.
    pub fn blocks(&self) -> usize {
        self.blocks.iter().filter(|place| **place != 0).count()
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// The region of the BAT.
    pub(super) fn bat(&self) -> Range<u64> {
        BAT_AT..BAT_AT + bat_len(self.disk_len, self.sector)
    }

    /// The entries of the BAT.
    pub(super) fn table(&self) -> Vec<u64> {
        let chunks = Chunks::new(self.disk_len, BLOCK, u64::from(self.sector));
        let mut table = vec![Entry::NOT_PRESENT; chunks.entries(false) as usize];
        for (block, place) in (0..).zip(&self.blocks).filter(|(_, place)| **place != 0) {
            table[chunks.of_block(block) as usize] = Entry::present(*place).0;
        }
        table
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A block that is not there is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        match self.blocks.get((at / BLOCK) as usize) {
            None | Some(0) => Err(Error::invalid("write into a part of the VHDX that was planned as unused").at(at)),
            Some(place) => {
                let within = at % BLOCK;
                Ok((place + within, len.min((BLOCK - within) as usize)))
            }
        }
    }
}

/// The length of the BAT's region, in whole MiB.
fn bat_len(disk_len: u64, sector: u32) -> u64 {
    let entries = Chunks::new(disk_len, BLOCK, u64::from(sector)).entries(false);
    (entries * 8).next_multiple_of(MIB)
}

fn check_len(disk_len: u64, sector: u32) -> Result<()> {
    if ![512, 4096].contains(&sector) {
        return Err(Error::invalid("sector size of a VHDX").found(sector).allowed("512 or 4096"));
    }
    if disk_len == 0 || !disk_len.is_multiple_of(u64::from(sector)) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a VHDX")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("{sector} to {MAX_DISK} bytes (64 TiB), in whole sectors of {sector}")));
    }
    Ok(())
}
