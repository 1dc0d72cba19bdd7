//! A VDI file, read as the disk that it holds.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, Header};
use crate::base::io::range_within;
use crate::base::{ReadAt, blocks};
use crate::error::{Context, Error, Result};

/// The largest blocks that are read; all known programs have 1 MiB.
const MAX_BLOCK: u64 = 1 << 30;

/// The kinds of VDI that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Every block is in the file.
    Fixed,
    /// Blocks that hold nothing are left out.
    Dynamic,
}

/// The disk in a VDI file. Holds no tables: the map's entries are read as they are needed.
#[derive(Debug)]
pub struct Vdi<R> {
    file: R,
    variant: Variant,
    disk_len: u64,
    block_size: u64,
    block_extra: u64,
    map_at: u64,
    data_at: u64,
    id: Uuid,
    modification: Uuid,
}

impl<R: ReadAt> Vdi<R> {
    /// Reads the header.
    ///
    /// Fails with [`Kind::Corrupt`](crate::error::Kind::Corrupt) or [`Kind::Truncated`](crate::error::Kind::Truncated) if it is no
    /// VDI or a damaged one, [`Kind::Unsupported`](crate::error::Kind::Unsupported) for differencing disks and other versions.
    pub fn open(file: R) -> Result<Self> {
        let mut header = Header::new_zeroed();
        file.read_at(0, header.as_mut_bytes()).context(|| "VDI header")?;
        let variant = check(&header)?;
        let (map_at, blocks) = (u64::from(header.map_at.get()), u64::from(header.blocks.get()));
        if map_at + blocks * 4 > file.len() {
            return Err(Error::truncated("VDI: the block map is past the end of the file").at(map_at));
        }
        Ok(Self {
            file,
            variant,
            disk_len: header.disk_len.get(),
            block_size: header.block_size.get().into(),
            block_extra: header.block_extra.get().into(),
            map_at,
            data_at: header.data_at.get().into(),
            id: header.id.get(),
            modification: header.modification.get(),
        })
    }

    /// Whether a file means to be a VDI: it has the signature. What it says may still be wrong.
    pub fn is_vdi(file: &R) -> bool {
        let mut found = [0; ondisk::SIGNATURE.len()];
        file.read_at(ondisk::SIGNATURE_AT, &mut found).is_ok() && found == ondisk::SIGNATURE
    }

    /// Fixed or dynamic.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// By which VirtualBox knows the disk.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What changes when the disk's data do.
    pub fn modification(&self) -> Uuid {
        self.modification
    }

    /// Bytes per block, a power of two.
    pub fn block_size(&self) -> u32 {
        self.block_size as u32
    }

    /// Where in the file the `len` bytes at `at`, which are of one block, are; `None` where the block is not there.
    fn locate(&self, at: u64, len: usize) -> Result<Option<u64>> {
        let entry_at = self.map_at + at / self.block_size * 4;
        let mut entry = [0; 4];
        self.file.read_at(entry_at, &mut entry).context(|| "VDI: block map")?;
        if !is_there(entry) {
            return Ok(None);
        }
        let number = u32::from_le_bytes(entry);
        let block = self.data_at + u64::from(number) * (self.block_extra + self.block_size);
        let place = block + self.block_extra + at % self.block_size;
        if place + len as u64 > self.file.len() {
            return Err(Error::corrupt("VDI: entry of the block map")
                .at(entry_at)
                .found(number)
                .allowed(format_args!("a block of the file's {} bytes", self.file.len())));
        }
        Ok(Some(place))
    }
}

/// Whether an entry of the map leads to a block.
fn is_there(entry: [u8; 4]) -> bool {
    u32::from_le_bytes(entry) < ondisk::ZERO
}

/// Refuses a header whose numbers cannot be worked with. After it, no sum or product of them overflows.
fn check(header: &Header) -> Result<Variant> {
    let corrupt = |what: &str, at: u64, found: u64, allowed: &str| {
        Err(Error::corrupt(format_args!("VDI header: {what}")).at(at).found(found).allowed(allowed))
    };
    if header.signature != ondisk::SIGNATURE {
        return Err(Error::corrupt("VDI header: signature").at(ondisk::SIGNATURE_AT).allowed("7f 10 da be"));
    }
    if header.version.get() >> 16 != ondisk::VERSION >> 16 {
        return Err(Error::unsupported("VDI header: version")
            .at(0x44)
            .found(format_args!("{:#010x}", header.version))
            .allowed("0x00010001"));
    }
    if header.header_len.get() < ondisk::MIN_HEADER_LEN {
        return corrupt("length", 0x48, header.header_len.get().into(), "0x180 or more");
    }
    let variant = match header.kind.get() {
        ondisk::TYPE_DYNAMIC => Variant::Dynamic,
        ondisk::TYPE_FIXED => Variant::Fixed,
        ondisk::TYPE_UNDO => return Err(Error::unsupported("a VDI of the kind \"undo\"").at(0x4C)),
        ondisk::TYPE_DIFFERENCING => {
            return Err(Error::unsupported(
                "a differencing VDI, which holds a snapshot's changes to another file only",
            )
            .at(0x4C)
            .hint("make a disk of its own of it: VBoxManage clonemedium disk UUID-OR-FILE whole.vdi"));
        }
        other => return corrupt("type", 0x4C, other.into(), "1 to 4"),
    };
    let (block_size, extra) = (header.block_size.get(), header.block_extra.get());
    if !block_size.is_power_of_two() || !(ondisk::SECTOR..=MAX_BLOCK).contains(&u64::from(block_size)) {
        return corrupt("block size", 0x178, block_size.into(), "a power of two from 512 bytes to 1 GiB");
    }
    if extra > block_size {
        return corrupt("block extra", 0x17C, extra.into(), "at most the block size");
    }
    let (disk_len, blocks) = (header.disk_len.get(), u64::from(header.blocks.get()));
    if disk_len == 0 || disk_len > blocks * u64::from(block_size) {
        return corrupt("size of the disk", 0x170, disk_len, &format!("1 to {blocks} blocks of {block_size}"));
    }
    let (map_at, data_at) = (u64::from(header.map_at.get()), u64::from(header.data_at.get()));
    if map_at < ondisk::HEADER_LEN_FROM + u64::from(ondisk::MIN_HEADER_LEN) {
        return corrupt("place of the block map", 0x154, map_at, "behind the header");
    }
    if data_at < map_at + blocks * 4 {
        return corrupt("place of the data", 0x158, data_at, "behind the block map");
    }
    Ok(variant)
}

impl<R: ReadAt> ReadAt for Vdi<R> {
    fn len(&self) -> u64 {
        self.disk_len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = range_within(at, buf.len(), self.len())?.start;
        let mut rest = buf;
        while !rest.is_empty() {
            let left_in_block = self.block_size - at % self.block_size;
            let (piece, behind) = rest.split_at_mut(left_in_block.min(rest.len() as u64) as usize);
            match self.locate(at, piece.len())? {
                Some(place) => self.file.read_at(place, piece)?,
                None => piece.fill(0),
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        let len = self.len();
        if at >= len {
            return Ok(None);
        }
        let blocks = at / self.block_size..len.div_ceil(self.block_size);
        let row = blocks::next_row(&self.file, self.map_at, blocks, is_there).context(|| "VDI: block map")?;
        Ok(row.map(|row| (row.start * self.block_size).max(at)..(row.end * self.block_size).min(len)))
    }
}
