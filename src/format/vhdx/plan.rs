//! Where everything will be in the file, before any of it is written.

use std::ops::Range;

use super::ondisk::{BITMAP_LEN, Chunks, Entry, MAX_DISK, MIB};
use super::parent::Parent;
use crate::base::blocks;
use crate::base::layers::Own;
use crate::error::{Error, Result};

/// The length of a block, as Hyper-V has it.
pub const BLOCK: u64 = 32 << 20;
/// The length of a block of a differencing disk: what is changed is scattered, and a block costs its length.
pub const CHILD_BLOCK: u64 = 2 << 20;

/// The log, which nobody has written to yet.
pub(super) const LOG: Range<u64> = MIB..2 * MIB;
/// The metadata region.
pub(super) const METADATA: Range<u64> = 2 * MIB..3 * MIB;
/// The sectors that a disk says to be made of, as Hyper-V has it.
const PHYSICAL_SECTOR: u32 = 4096;

/// Where the BAT begins.
pub(super) const BAT_AT: u64 = 3 * MIB;

/// The layout of a VHDX file: which bytes of the disk are in it, and where.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    file_len: u64,
    fixed: bool,
    sector: u32,
    physical_sector: u32,
    block: u64,
    /// The place of each block in the file; 0 for one that is not there.
    blocks: Vec<u64>,
    child: Option<Child>,
}

/// What a differencing disk has beside a dynamic one.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) parent: Parent,
    pub(super) own: Own,
    /// The place of the sector bitmap of each chunk; 0 for one that needs none.
    pub(super) bitmaps: Vec<u64>,
}

impl Layout {
    /// The layout of a fixed disk of `disk_len` bytes, whose machine sees sectors of `sector` bytes.
    ///
    /// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) unless sectors have 512 or 4096 bytes and the length is 1 sector to
    /// [`MAX_DISK`](super::MAX_DISK) in whole sectors.
    pub fn fixed(disk_len: u64, sector: u32) -> Result<Self> {
        check_len(disk_len, sector)?;
        Ok(Self::new(disk_len, sector, true, |_| true))
    }

    /// The layout of a dynamic disk that has those blocks which the ranges of bytes in `used` touch, in the disk's order.
    ///
    /// Fails as [`fixed`](Self::fixed) does, and where a range is not within the disk.
    pub fn dynamic(disk_len: u64, sector: u32, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len, sector)?;
        let touched = blocks::touched(disk_len, BLOCK, used)?;
        Ok(Self::new(disk_len, sector, false, |block| touched[block]))
    }

    fn new(disk_len: u64, sector: u32, fixed: bool, is_there: impl Fn(usize) -> bool) -> Self {
        let mut at = BAT_AT + bat_len(chunks(disk_len, BLOCK, sector).entries(false));
        let blocks = (0..disk_len.div_ceil(BLOCK) as usize).map(|block| {
            let place = if is_there(block) { at } else { 0 };
            at += if place == 0 { 0 } else { BLOCK };
            place
        });
        let blocks = blocks.collect();
        let physical_sector = PHYSICAL_SECTOR;
        Self { disk_len, file_len: at, fixed, sector, physical_sector, block: BLOCK, blocks, child: None }
    }

    /// The layout of a differencing disk of `disk_len` bytes, with blocks of [`CHILD_BLOCK`], whose own sectors are those that the
    /// ranges of bytes in `used` touch; all others are the parent's. `sector` and `physical_sector` have to be the parent's.
    ///
    /// Fails as [`dynamic`](Self::dynamic) does, and with [`Kind::Invalid`](crate::error::Kind::Invalid) for a parent without
    /// linkage or paths, or with paths of more than 32,767 UTF-16 units.
    pub fn differencing(
        disk_len: u64,
        sector: u32,
        physical_sector: u32,
        used: &[Range<u64>],
        parent: Parent,
    ) -> Result<Self> {
        check_len(disk_len, sector)?;
        check_sector("physical sector size of a VHDX", physical_sector)?;
        parent.check()?;
        let own = Own::new(disk_len, u64::from(sector), used)?;
        let chunks = chunks(disk_len, CHILD_BLOCK, sector);
        let mut blocks = vec![0; chunks.blocks as usize];
        let mut bitmaps = vec![0; chunks.blocks.div_ceil(chunks.ratio) as usize];
        let mut at = BAT_AT + bat_len(chunks.entries(true));
        for (block, touched) in blocks::touched(disk_len, CHILD_BLOCK, used)?.into_iter().enumerate() {
            if !touched {
                continue;
            }
            let bitmap = &mut bitmaps[block / chunks.ratio as usize];
            if *bitmap == 0 && !own.holds(&block_range(block as u64, CHILD_BLOCK, disk_len)) {
                *bitmap = at;
                at += BITMAP_LEN;
            }
            blocks[block] = at;
            at += CHILD_BLOCK;
        }
        let child = Some(Child { parent, own, bitmaps });
        Ok(Self { disk_len, file_len: at, fixed: false, sector, physical_sector, block: CHILD_BLOCK, blocks, child })
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

    /// The size of the sectors that the disk says to be made of.
    pub fn physical_sector_size(&self) -> u32 {
        self.physical_sector
    }

    /// How many blocks the file has, sector bitmaps not counted.
    pub fn blocks(&self) -> usize {
        self.blocks.iter().filter(|place| **place != 0).count()
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    pub(super) fn child(&self) -> Option<&Child> {
        self.child.as_ref()
    }

    pub(super) fn block(&self) -> u64 {
        self.block
    }

    fn chunks(&self) -> Chunks {
        chunks(self.disk_len, self.block, self.sector)
    }

    /// The region of the BAT.
    pub(super) fn bat(&self) -> Range<u64> {
        BAT_AT..BAT_AT + bat_len(self.chunks().entries(self.child.is_some()))
    }

    /// The entries of the BAT.
    pub(super) fn table(&self) -> Vec<u64> {
        let chunks = self.chunks();
        let mut table = vec![Entry::NOT_PRESENT; chunks.entries(self.child.is_some()) as usize];
        for (block, place) in (0..).zip(&self.blocks).filter(|(_, place)| **place != 0) {
            let range = block_range(block, self.block, self.disk_len);
            let entry = match &self.child {
                Some(child) if !child.own.holds(&range) => Entry::partial(*place),
                _ => Entry::present(*place),
            };
            table[chunks.of_block(block) as usize] = entry.0;
        }
        let bitmaps = self.child.iter().flat_map(|child| &child.bitmaps);
        for (chunk, place) in (0..).zip(bitmaps).filter(|(_, place)| **place != 0) {
            table[chunks.of_bitmap(chunk * chunks.ratio) as usize] = Entry::present(*place).0;
        }
        table
    }

    /// The sector bitmaps: where each goes, and what of the disk it is about.
    pub(super) fn bitmaps(&self) -> impl Iterator<Item = (u64, Range<u64>)> {
        let chunk_len = self.chunks().ratio * self.block;
        let places = self.child.iter().flat_map(|child| &child.bitmaps);
        let there = (0..).zip(places).filter(|(_, place)| **place != 0);
        there.map(move |(chunk, place)| (*place, chunk * chunk_len..(chunk + 1) * chunk_len))
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A part that was not planned is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        match self.blocks.get((at / self.block) as usize) {
            None | Some(0) => Err(Error::invalid("write into a part of the VHDX that was planned as unused").at(at)),
            Some(place) => {
                let within = at % self.block;
                let len = len.min((self.block - within) as usize);
                if self.child.as_ref().is_some_and(|child| !child.own.holds(&(at..at + len as u64))) {
                    return Err(Error::invalid("write into a part of the VHDX that was planned as its parent's").at(at));
                }
                Ok((place + within, len))
            }
        }
    }
}

fn chunks(disk_len: u64, block: u64, sector: u32) -> Chunks {
    Chunks::new(disk_len, block, u64::from(sector))
}

/// What of the disk is in a block.
fn block_range(index: u64, block: u64, disk_len: u64) -> Range<u64> {
    index * block..((index + 1) * block).min(disk_len)
}

/// The length of the BAT's region, in whole MiB.
fn bat_len(entries: u64) -> u64 {
    (entries * 8).next_multiple_of(MIB)
}

fn check_len(disk_len: u64, sector: u32) -> Result<()> {
    check_sector("sector size of a VHDX", sector)?;
    if disk_len == 0 || !disk_len.is_multiple_of(u64::from(sector)) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a VHDX")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("{sector} to {MAX_DISK} bytes (64 TiB), in whole sectors of {sector}")));
    }
    Ok(())
}

fn check_sector(what: &str, sector: u32) -> Result<()> {
    if ![512, 4096].contains(&sector) {
        return Err(Error::invalid(what).found(sector).allowed("512 or 4096"));
    }
    Ok(())
}
