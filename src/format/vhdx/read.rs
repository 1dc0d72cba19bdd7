//! A VHDX file, read as the disk that it holds.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::log::Replayed;
use super::metadata::{self, Metadata};
use super::ondisk::{self, Chunks, Entry};
use super::parent::Parent;
use crate::base::io::range_within;
use crate::base::{ReadAt, layers};
use crate::error::{Context, Error, Result};

/// The kinds of VHDX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Blocks of this many bytes that stay in the file.
    Fixed {
        /// Bytes per block, a power of two.
        block_size: u32,
    },
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

/// The disk in a VHDX file. Holds no tables but what a log has for them: the BAT's entries are read as they are needed.
pub struct Vhdx<R> {
    file: Replayed<R>,
    metadata: Metadata,
    data_write: Uuid,
    bat_at: u64,
    chunks: Chunks,
    block_size: u64,
    sector: u64,
    below: Option<Arc<dyn ReadAt>>,
}

impl<R> fmt::Debug for Vhdx<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vhdx").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl<R: ReadAt> Vhdx<R> {
    /// Reads headers, log, region table and metadata.
    ///
    /// Fails with [`Kind::Corrupt`](crate::error::Kind::Corrupt) or [`Kind::Truncated`](crate::error::Kind::Truncated) if it is no
    /// VHDX or a damaged one, [`Kind::Unsupported`](crate::error::Kind::Unsupported) if it demands what is not known here. A differencing
    /// disk opens, but what is the parent's can be read only once the parent's disk has been given to [`on`](Self::on).
    pub fn open(file: R) -> Result<Self> {
        let mut signature = [0; 8];
        file.read_at(0, &mut signature).context(|| "VHDX file identifier")?;
        if signature != ondisk::SIGNATURE {
            return Err(Error::corrupt("VHDX file identifier").at(0).allowed("\"vhdxfile\""));
        }
        let header = metadata::current_header(&file)?;
        let file = Replayed::new(file, &header)?;
        let regions = metadata::regions(&file)?;
        let metadata = Metadata::read(&file, &regions.metadata)?;
        let block_size = u64::from(metadata.block_size);
        let sector = u64::from(metadata.logical_sector);
        let chunks = Chunks::new(metadata.disk_len, block_size, sector);
        let needed = chunks.entries(metadata.parent.is_some()) * 8;
        let held = regions.bat.end - regions.bat.start;
        if held < needed {
            return Err(Error::corrupt("VHDX: length of the BAT")
                .at(regions.bat.start)
                .found(held)
                .allowed(format_args!("at least {needed}")));
        }
        let data_write = header.data_write.get();
        Ok(Self { file, metadata, data_write, bat_at: regions.bat.start, chunks, block_size, sector, below: None })
    }

    /// Whether a file means to be a VHDX: it has the identifier, or the signatures of both headers. What it says may still be wrong.
    pub fn is_vhdx(file: &R) -> bool {
        let has = |at: u64, signature: &[u8]| {
            let mut found = [0; 8];
            let found = &mut found[..signature.len()];
            file.read_at(at, found).is_ok() && found == signature
        };
        has(0, &ondisk::SIGNATURE) || ondisk::HEADERS_AT.iter().all(|at| has(*at, &ondisk::HEADER_SIGNATURE))
    }

    /// Fixed, dynamic or differencing.
    pub fn variant(&self) -> Variant {
        let block_size = self.metadata.block_size;
        match (&self.metadata.parent, self.metadata.fixed) {
            (Some(_), _) => Variant::Differencing { block_size },
            (None, true) => Variant::Fixed { block_size },
            (None, false) => Variant::Dynamic { block_size },
        }
    }

    /// What a differencing disk lies on; `None` for the other kinds.
    pub fn parent(&self) -> Option<&Parent> {
        self.metadata.parent.as_ref()
    }

    /// By what a differencing disk knows this one as its parent.
    pub fn data_write_id(&self) -> Uuid {
        self.data_write
    }

    /// The id that the disk shows to its machine (SCSI page 83h).
    pub fn disk_id(&self) -> Uuid {
        self.metadata.disk_id
    }

    /// The size of the disk's sectors as its machine sees them, 512 or 4096.
    pub fn sector_size(&self) -> u32 {
        self.metadata.logical_sector
    }

    /// The size of the sectors that the disk says to be made of, 512 or 4096.
    pub fn physical_sector_size(&self) -> u32 {
        self.metadata.physical_sector
    }

    /// Puts a differencing disk on its parent's disk. That it is the right one, by [`Parent::linkage`], is for the caller to see.
    #[must_use]
    pub fn on(mut self, below: Arc<dyn ReadAt>) -> Self {
        self.below = Some(below);
        self
    }

    fn entry(&self, index: u64) -> Result<Entry> {
        let mut entry = [0; 8];
        self.file.read_at(self.bat_at + index * 8, &mut entry).context(|| "VHDX: BAT")?;
        Ok(Entry(u64::from_le_bytes(entry)))
    }

    /// Where a block or bitmap of `len` bytes is, from its entry.
    fn place(&self, entry: Entry, index: u64, len: u64) -> Result<u64> {
        let place = entry.place();
        let end = place.checked_add(len).filter(|end| *end <= self.file.len());
        if place == 0 || end.is_none() {
            return Err(Error::corrupt("VHDX: BAT entry")
                .at(self.bat_at + index * 8)
                .found(format_args!("{:#018x}", entry.0))
                .allowed(format_args!("a place past the first MiB, inside the file of {} bytes", self.file.len())));
        }
        Ok(place)
    }

    /// Reads a part of one block.
    fn read_block(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let block = at / self.block_size;
        let within = at % self.block_size;
        let index = self.chunks.of_block(block);
        let entry = self.entry(index)?;
        let is_differencing = self.metadata.parent.is_some();
        match entry.state() {
            Entry::NOT_PRESENT => self.read_missing(at, buf),
            Entry::UNDEFINED | Entry::ZERO | Entry::UNMAPPED => {
                buf.fill(0);
                Ok(())
            }
            // As long as what is asked for: the last block of a file may be cut short behind it.
            Entry::FULLY_PRESENT => {
                let place = self.place(entry, index, within + buf.len() as u64)?;
                self.file.read_at(place + within, buf)
            }
            Entry::PARTIALLY_PRESENT if is_differencing => {
                let place = self.place(entry, index, within + buf.len() as u64)?;
                self.read_partial(at, place + within, buf)
            }
            state => Err(Error::corrupt("VHDX: BAT entry: state")
                .at(self.bat_at + index * 8)
                .found(state)
                .allowed("0 to 3 or 6, or 7 in a differencing disk")),
        }
    }

    /// Reads a part of a block of which some sectors are the parent's; `place` is where the part is in the file.
    fn read_partial(&self, at: u64, place: u64, buf: &mut [u8]) -> Result<()> {
        let block = at / self.block_size;
        let index = self.chunks.of_bitmap(block);
        let entry = self.entry(index)?;
        if entry.state() != Entry::FULLY_PRESENT {
            return Err(Error::corrupt("VHDX: BAT entry of a sector bitmap: state")
                .at(self.bat_at + index * 8)
                .found(entry.state())
                .allowed("6, since a block needs it"));
        }
        let bitmap_at = self.place(entry, index, ondisk::BITMAP_LEN)?;
        let end = at + buf.len() as u64;
        let chunk_start = block / self.chunks.ratio * self.chunks.ratio * self.block_size;
        let sectors = (at - chunk_start) / self.sector..(end - chunk_start).div_ceil(self.sector);
        let first_byte = sectors.start / 8;
        let mut bitmap = vec![0; (sectors.end.div_ceil(8) - first_byte) as usize];
        self.file.read_at(bitmap_at + first_byte, &mut bitmap).context(|| "VHDX: sector bitmap")?;
        // The first sector of a byte is its lowest bit.
        let is_own = |sector: u64| bitmap[(sector / 8 - first_byte) as usize] & (1 << (sector % 8)) != 0;
        for (run, own) in layers::runs(sectors, is_own) {
            let part = (chunk_start + run.start * self.sector).max(at)..(chunk_start + run.end * self.sector).min(end);
            let piece = &mut buf[(part.start - at) as usize..(part.end - at) as usize];
            if own {
                self.file.read_at(place + (part.start - at), piece)?;
            } else {
                self.read_missing(part.start, piece)?;
            }
        }
        Ok(())
    }

    fn read_missing(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        match (&self.metadata.parent, &self.below) {
            (None, _) => buf.fill(0),
            (Some(_), Some(below)) => layers::read_or_zero(below, at, buf)?,
            (Some(_), None) => return Err(Error::unsupported("a differencing VHDX without its parent").at(at)),
        }
        Ok(())
    }

    /// The first row of blocks from `first` on that may hold something of their own, zeros over a parent included.
    fn next_present(&self, first: u64) -> Result<Option<Range<u64>>> {
        let over_parent = self.metadata.parent.is_some();
        let mut found = None;
        let mut bytes = vec![0; TABLE_PIECE];
        let end_index = self.chunks.entries(over_parent);
        for piece in (self.chunks.of_block(first)..end_index).step_by(TABLE_PIECE / 8) {
            let bytes = &mut bytes[..TABLE_PIECE.min((end_index - piece) as usize * 8)];
            self.file.read_at(self.bat_at + piece * 8, bytes).context(|| "VHDX: BAT")?;
            for (index, entry) in (piece..).zip(bytes.as_chunks::<8>().0) {
                let group = index / (self.chunks.ratio + 1);
                if index % (self.chunks.ratio + 1) == self.chunks.ratio {
                    continue; // a sector bitmap
                }
                let block = index - group;
                let there = match Entry(u64::from_le_bytes(*entry)).state() {
                    Entry::NOT_PRESENT => false,
                    Entry::UNDEFINED | Entry::ZERO | Entry::UNMAPPED => over_parent,
                    _ => true,
                };
                match found {
                    _ if block >= self.chunks.blocks => return Ok(found.map(|start| start..self.chunks.blocks)),
                    None if there => found = Some(block),
                    Some(start) if !there => return Ok(Some(start..block)),
                    _ => {}
                }
            }
        }
        Ok(found.map(|start| start..self.chunks.blocks))
    }
}

/// How much of a BAT is read at once where it is searched.
const TABLE_PIECE: usize = 0x1000;

impl<R: ReadAt> ReadAt for Vhdx<R> {
    fn len(&self) -> u64 {
        self.metadata.disk_len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = range_within(at, buf.len(), self.len())?.start;
        let mut rest = buf;
        while !rest.is_empty() {
            let left_in_block = self.block_size - at % self.block_size;
            let (piece, behind) = rest.split_at_mut(left_in_block.min(rest.len() as u64) as usize);
            self.read_block(at, piece)?;
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
        let own = self
            .next_present(at / self.block_size)?
            .map(|blocks| (blocks.start * self.block_size).max(at)..(blocks.end * self.block_size).min(len));
        layers::next_data(own, self.below.as_deref(), at, len)
    }
}
