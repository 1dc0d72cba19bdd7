//! A VHD file, read as the disk that it holds.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::ondisk::{self, FOOTER_LEN, SECTOR};
use super::parent::Parent;
use super::plan::{Geometry, MAX_DISK};
use crate::base::io::range_within;
use crate::base::{ReadAt, layers};
use crate::error::{Context, Error, Result};

/// The kinds of VHD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Every byte is in the file.
    Fixed,
    /// Blocks of this many bytes, those that hold nothing left out.
    Dynamic {
        /// Bytes per block, a power of two.
        block_size: u32,
    },
    /// The same over another disk: what is left out is what the parent has.
    Differencing {
        /// Bytes per block, a power of two.
        block_size: u32,
    },
}

/// What a footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The length of the disk.
    pub current_size: u64,
    /// The length of the disk when it was made.
    pub original_size: u64,
    /// What Virtual PC shows to its guests.
    pub geometry: Geometry,
    /// Seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
    /// The program that made it: `win `, `vpc `, `qemu`, ...
    pub creator: [u8; 4],
    /// That program's version, the major one in the upper half.
    pub creator_version: u32,
    /// The unique id, taken as big-endian fields (Hyper-V stores them little-endian).
    pub id: Uuid,
    /// A suspended machine belongs to the disk.
    pub saved_state: bool,
}

/// The disk in a VHD file. Holds no tables: the BAT's entries are read as they are needed.
pub struct Vhd<R> {
    file: R,
    footer: Footer,
    from_copy: bool,
    blocks: Option<Blocks>,
    parent: Option<Parent>,
    below: Option<Arc<dyn ReadAt>>,
}

/// The dynamic header, checked.
#[derive(Debug)]
struct Blocks {
    table_at: u64,
    table_len: u64,
    block_size: u64,
    bitmap_len: u64,
}

impl<R> fmt::Debug for Vhd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vhd").field("footer", &self.footer).field("parent", &self.parent).finish_non_exhaustive()
    }
}

impl<R: ReadAt> Vhd<R> {
    /// Reads the footer and, of a dynamic disk, the header. A footer that is lost is replaced by its copy.
    ///
    /// Fails with [`Kind::Corrupt`](crate::error::Kind::Corrupt) or [`Kind::Truncated`](crate::error::Kind::Truncated) if it is
    /// no VHD or a damaged one. A differencing disk opens, but what is the parent's can be read only once the parent's disk has been
    /// given to [`on`](Self::on).
    pub fn open(file: R) -> Result<Self> {
        let (footer, from_copy) = find_footer(&file)?;
        let blocks = match footer.disk_type.get() {
            ondisk::TYPE_FIXED => {
                check_fixed(&file, &footer)?;
                None
            }
            ondisk::TYPE_DYNAMIC | ondisk::TYPE_DIFFERENCING => Some(Blocks::open(&file, &footer)?),
            other => return Err(Error::corrupt("VHD footer: disk type").found(other).allowed("2 to 4")),
        };
        let (blocks, header) = blocks.unzip();
        let parent =
            header.filter(|_| footer.disk_type == ondisk::TYPE_DIFFERENCING).map(|header| Parent::read(&file, &header));
        Ok(Self { file, footer: parse(&footer), from_copy, blocks, parent, below: None })
    }

    /// Whether a file means to be a VHD: it ends with a footer, or begins with the copy of one and a dynamic header. What it
    /// says may still be wrong.
    pub fn is_vhd(file: &R) -> bool {
        let has = |at: u64, cookie: [u8; 8]| {
            let mut found = [0; 8];
            file.read_at(at, &mut found).is_ok() && found == cookie
        };
        let ends = |len| file.len().checked_sub(len).is_some_and(|at| has(at, ondisk::COOKIE));
        ends(FOOTER_LEN) || ends(FOOTER_LEN - 1) || (has(0, ondisk::COOKIE) && has(FOOTER_LEN, ondisk::HEADER_COOKIE))
    }

    /// What a differencing disk lies on; `None` for the other kinds.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Puts a differencing disk on its parent's disk. That it is the right one, by [`Parent::id`], is for the caller to see.
    #[must_use]
    pub fn on(mut self, below: Arc<dyn ReadAt>) -> Self {
        self.below = Some(below);
        self
    }

    /// What the footer says.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Whether the footer at the end is damaged and its copy at the beginning was used.
    pub fn is_repaired(&self) -> bool {
        self.from_copy
    }

    /// Fixed, dynamic or differencing.
    pub fn variant(&self) -> Variant {
        match &self.blocks {
            None => Variant::Fixed,
            Some(Blocks { block_size, .. }) if self.parent.is_some() => {
                Variant::Differencing { block_size: *block_size as u32 }
            }
            Some(Blocks { block_size, .. }) => Variant::Dynamic { block_size: *block_size as u32 },
        }
    }

    /// The part of a block that is not there, or not marked as written.
    fn read_missing(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        match (&self.parent, &self.below) {
            (None, _) => buf.fill(0),
            (Some(_), Some(below)) => layers::read_or_zero(below, at, buf)?,
            (Some(_), None) => return Err(Error::unsupported("a differencing VHD without its parent").at(at)),
        }
        Ok(())
    }

    /// The part of a block that is there, from `place` in the file on: of a differencing disk, only the marked sectors.
    fn read_block(&self, blocks: &Blocks, at: u64, place: u64, buf: &mut [u8]) -> Result<()> {
        if self.parent.is_none() {
            return self.file.read_at(place, buf);
        }
        let within = at % blocks.block_size;
        let sectors = within / SECTOR..(within + buf.len() as u64).div_ceil(SECTOR);
        let bitmap_at = place - within - blocks.bitmap_len;
        let first_byte = sectors.start / 8;
        let mut bitmap = vec![0; (sectors.end.div_ceil(8) - first_byte) as usize];
        self.file.read_at(bitmap_at + first_byte, &mut bitmap).context(|| "VHD: sector bitmap")?;
        // The first sector of a byte is its highest bit.
        let is_written = |sector: u64| bitmap[(sector / 8 - first_byte) as usize] & (0x80 >> (sector % 8)) != 0;
        let end = within + buf.len() as u64;
        for (run, written) in layers::runs(sectors, is_written) {
            let part = (run.start * SECTOR).max(within)..(run.end * SECTOR).min(end);
            let piece = &mut buf[(part.start - within) as usize..(part.end - within) as usize];
            let skipped = part.start - within;
            if written {
                self.file.read_at(place + skipped, piece)?;
            } else {
                self.read_missing(at + skipped, piece)?;
            }
        }
        Ok(())
    }
}

impl<R: ReadAt> ReadAt for Vhd<R> {
    fn len(&self) -> u64 {
        self.footer.current_size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = range_within(at, buf.len(), self.len())?.start;
        let Some(blocks) = &self.blocks else {
            return self.file.read_at(at, buf);
        };
        let mut rest = buf;
        while !rest.is_empty() {
            let left_in_block = blocks.block_size - at % blocks.block_size;
            let (piece, behind) = rest.split_at_mut(left_in_block.min(rest.len() as u64) as usize);
            match blocks.locate(&self.file, at, piece.len())? {
                Some(place) => self.read_block(blocks, at, place, piece)?,
                None => self.read_missing(at, piece)?,
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        let len = self.len();
        let Some(blocks) = &self.blocks else {
            return Ok((at < len).then_some(at..len));
        };
        let own = match at < len {
            true => blocks.next_present(&self.file, at / blocks.block_size, len.div_ceil(blocks.block_size))?,
            false => None,
        };
        let own = own.map(|blocks_there| {
            let start = (blocks_there.start * blocks.block_size).max(at);
            start..(blocks_there.end * blocks.block_size).min(len)
        });
        layers::next_data(own, self.below.as_deref(), at, len)
    }
}

impl Blocks {
    fn open(file: &impl ReadAt, footer: &ondisk::Footer) -> Result<(Self, ondisk::Header)> {
        let at = footer.data_offset.get();
        let mut header = ondisk::Header::new_zeroed();
        file.read_at(at, header.as_mut_bytes()).context(|| "VHD header")?;
        if header.cookie != ondisk::HEADER_COOKIE {
            return Err(Error::corrupt("VHD header: cookie").at(at).allowed("\"cxsparse\""));
        }
        if header.checksum != header.right_checksum() {
            return Err(Error::corrupt("VHD header: checksum")
                .at(at)
                .found(format_args!("{:#010x}", header.checksum))
                .allowed(format_args!("{:#010x}", header.right_checksum())));
        }
        check_version("VHD header: version", header.version.get(), at)?;
        let block_size = u64::from(header.block_size.get());
        if !block_size.is_power_of_two() || block_size < SECTOR {
            return Err(Error::corrupt("VHD header: block size")
                .at(at)
                .found(block_size)
                .allowed("a power of two from 512 on"));
        }
        let needed = footer.current_size.get().div_ceil(block_size);
        if u64::from(header.max_entries.get()) < needed {
            return Err(Error::corrupt("VHD header: maximum of BAT entries")
                .at(at)
                .found(header.max_entries)
                .allowed(format_args!("at least {needed}")));
        }
        let table_at = header.table_offset.get();
        let table_len = needed * 4;
        match table_at.checked_add(table_len) {
            Some(end) if end <= file.len() => {}
            _ => return Err(Error::truncated("VHD: the BAT is past the end of the file").at(table_at)),
        }
        let bitmap_len = (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        Ok((Self { table_at, table_len, block_size, bitmap_len }, header))
    }

    /// The first row of blocks in `first..end` that are there.
    fn next_present(&self, file: &impl ReadAt, first: u64, end: u64) -> Result<Option<Range<u64>>> {
        let mut found: Option<u64> = None;
        let mut bytes = vec![0; TABLE_PIECE];
        for piece in (first..end).step_by(TABLE_PIECE / 4) {
            let bytes = &mut bytes[..TABLE_PIECE.min((end - piece) as usize * 4)];
            file.read_at(self.table_at + piece * 4, bytes).context(|| "VHD: BAT")?;
            for (block, entry) in (piece..).zip(bytes.as_chunks::<4>().0) {
                let there = u32::from_be_bytes(*entry) != ondisk::NO_BLOCK;
                match found {
                    None if there => found = Some(block),
                    Some(start) if !there => return Ok(Some(start..block)),
                    _ => {}
                }
            }
        }
        Ok(found.map(|start| start..end))
    }

    /// Where in the file the `len` bytes at `at`, which are of one block, are; `None` where the block is not there.
    fn locate(&self, file: &impl ReadAt, at: u64, len: usize) -> Result<Option<u64>> {
        let entry_at = self.table_at + at / self.block_size * 4;
        let mut entry = [0; 4];
        file.read_at(entry_at, &mut entry).context(|| "VHD: BAT")?;
        let sector = u32::from_be_bytes(entry);
        if sector == ondisk::NO_BLOCK {
            return Ok(None);
        }
        let start = u64::from(sector) * SECTOR;
        let end = start + self.bitmap_len + self.block_size;
        let place = start + self.bitmap_len + at % self.block_size;
        let over_table = start < self.table_at + self.table_len && end > self.table_at;
        if start < FOOTER_LEN || over_table || place + len as u64 > file.len() {
            return Err(Error::corrupt("VHD: BAT entry")
                .at(entry_at)
                .found(format_args!("sector {sector}"))
                .allowed(format_args!("a block of the file's {} sectors, beside the tables", file.len() / SECTOR)));
        }
        Ok(Some(place))
    }
}

/// How much of a BAT is read at once where it is searched.
const TABLE_PIECE: usize = 0x1000;

/// The footer, and whether it is the copy. The complaint is about the one at the end if both are damaged.
fn find_footer(file: &impl ReadAt) -> Result<(ondisk::Footer, bool)> {
    match last_footer(file) {
        Ok(footer) => Ok((footer, false)),
        Err(error) => match footer_at(file, 0, FOOTER_LEN) {
            // A fixed disk may hold a VHD as its content: only the front of a dynamic one is a copy.
            Ok(copy) if copy.disk_type.get() != ondisk::TYPE_FIXED => Ok((copy, true)),
            _ => Err(error),
        },
    }
}

fn last_footer(file: &impl ReadAt) -> Result<ondisk::Footer> {
    let Some(at) = file.len().checked_sub(FOOTER_LEN) else {
        return Err(Error::truncated("VHD: too short for a footer").found(file.len()).allowed("at least 512 bytes"));
    };
    footer_at(file, at, FOOTER_LEN).or_else(|error| footer_at(file, at + 1, FOOTER_LEN - 1).map_err(|_| error))
}

fn footer_at(file: &impl ReadAt, at: u64, len: u64) -> Result<ondisk::Footer> {
    let mut bytes = [0; FOOTER_LEN as usize];
    file.read_at(at, &mut bytes[..len as usize]).context(|| "VHD footer")?;
    let footer = ondisk::Footer::read_from_bytes(&bytes).map_err(|_| Error::truncated("VHD footer").at(at))?;
    if footer.cookie != ondisk::COOKIE {
        return Err(Error::corrupt("VHD footer: cookie").at(at).allowed("\"conectix\""));
    }
    if footer.checksum != footer.right_checksum() {
        return Err(Error::corrupt("VHD footer: checksum")
            .at(at)
            .found(format_args!("{:#010x}", footer.checksum))
            .allowed(format_args!("{:#010x}", footer.right_checksum())));
    }
    check_version("VHD footer: version", footer.version.get(), at)?;
    let size = footer.current_size.get();
    if size == 0 || !size.is_multiple_of(SECTOR) || size > MAX_DISK {
        return Err(Error::corrupt("VHD footer: current size")
            .at(at)
            .found(size)
            .allowed(format_args!("512 to {MAX_DISK} (2040 GiB), in whole sectors of 512")));
    }
    Ok(footer)
}

fn check_version(what: &str, version: u32, at: u64) -> Result<()> {
    if version >> 16 != ondisk::VERSION >> 16 {
        return Err(Error::unsupported(what).at(at).found(format_args!("{version:#010x}")).allowed("0x00010000"));
    }
    Ok(())
}

fn check_fixed(file: &impl ReadAt, footer: &ondisk::Footer) -> Result<()> {
    let size = footer.current_size.get();
    let held = file.len() - (FOOTER_LEN - 1);
    if size > held {
        return Err(Error::truncated("VHD: a fixed disk longer than its file").found(size).allowed(held));
    }
    Ok(())
}

fn parse(footer: &ondisk::Footer) -> Footer {
    Footer {
        current_size: footer.current_size.get(),
        original_size: footer.original_size.get(),
        geometry: Geometry { cylinders: footer.cylinders.get(), heads: footer.heads, sectors: footer.sectors },
        timestamp: footer.timestamp.get(),
        creator: footer.creator,
        creator_version: footer.creator_version.get(),
        id: Uuid::from_bytes(footer.id),
        saved_state: footer.saved_state != 0,
    }
}
