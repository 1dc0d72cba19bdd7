//! A VMDK file, read as the disk that it holds.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::descriptor::{Descriptor, NO_PARENT, Variant};
use super::ondisk::{self, GrainMarker, Header, SECTOR, TABLE_ENTRIES, TABLE_LEN};
use crate::base::ReadAt;
use crate::base::io::range_within;
use crate::error::{Context, Error, Result};

/// The largest disk that is read: 64 TiB.
const MAX_DISK: u64 = 64 << 40;
/// The sizes of grains that are read, in sectors: VMware's own tools take 1 to 128, qemu's more.
const GRAINS: Range<u64> = 1..2049;
/// The longest descriptor that is read, in sectors: 64 KiB. Real ones are below 2 KiB, in 10 KiB.
const MAX_DESCRIPTOR: u64 = 128;
/// How much of a grain directory is read at once where it is searched.
const PIECE: u64 = 0x1000;
/// How many bytes of grains are kept, once they are decompressed.
const KEPT: u64 = 4 << 20;

/// The disk in a VMDK file. Holds no tables, but the last few compressed grains that were read, at most 4 MiB.
pub struct Vmdk<R> {
    file: R,
    descriptor: Descriptor,
    disk_len: u64,
    /// In bytes.
    grain: u64,
    directory_at: u64,
    zero_grains: bool,
    unclean: bool,
    variant: Variant,
    kept: Mutex<Vec<(u64, Arc<[u8]>)>>,
}

impl<R> fmt::Debug for Vmdk<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vmdk")
            .field("variant", &self.variant)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

/// Where a grain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: it is zeros.
    Nothing,
    /// In this sector of the file.
    Sector(u64),
}

impl<R: ReadAt> Vmdk<R> {
    /// Reads the header, of a stream the footer, and the descriptor.
    ///
    /// Fails with [`Kind::Corrupt`](crate::error::Kind::Corrupt) or [`Kind::Truncated`](crate::error::Kind::Truncated) if it is no
    /// VMDK or a damaged one, [`Kind::Unsupported`](crate::error::Kind::Unsupported) if it is one of several files, one of ESX's own or
    /// a snapshot's delta.
    pub fn open(file: R) -> Result<Self> {
        refuse_others(&file)?;
        let front = header(&file, 0)?;
        let disk_len = check_sizes(&front)?;
        let is_stream = front.flags.get() & ondisk::FLAG_COMPRESSED != 0;
        let descriptor = read_descriptor(&file, &front)?;
        check_descriptor(&descriptor)?;
        let directory = match front.grain_directory.get() {
            ondisk::AT_END => footer(&file, &front)?.grain_directory.get(),
            here => here,
        };
        let grain = front.grain.get() * SECTOR;
        let directory_len = disk_len.div_ceil(grain * TABLE_ENTRIES) * 4;
        let directory_end = directory.checked_mul(SECTOR).and_then(|at| at.checked_add(directory_len));
        if directory == 0 || directory_end.is_none_or(|end| end > file.len()) {
            return Err(Error::corrupt("VMDK: place of the grain directory")
                .at(56)
                .found(format_args!("sector {directory}, {directory_len} bytes"))
                .allowed(format_args!("inside the file of {} bytes", file.len())));
        }
        Ok(Self {
            file,
            descriptor,
            disk_len,
            grain,
            directory_at: directory * SECTOR,
            zero_grains: front.flags.get() & ondisk::FLAG_ZERO_GRAINS != 0,
            unclean: front.unclean != 0,
            variant: if is_stream { Variant::StreamOptimized } else { Variant::Sparse },
            kept: Mutex::default(),
        })
    }

    /// Whether a file means to be a VMDK of any kind. What it says may still be wrong, or [`open`](Self::open) may refuse the kind.
    pub fn is_vmdk(file: &R) -> bool {
        [&ondisk::MAGIC[..], &ondisk::MAGIC_COWD, &ondisk::MAGIC_DESCRIPTOR]
            .iter()
            .any(|magic| begins_with(file, magic))
    }

    /// Sparse or a stream.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// What the descriptor says.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Bytes per grain.
    pub fn grain_size(&self) -> u64 {
        self.grain
    }

    /// Whether a machine has the disk open, or had when it died.
    pub fn is_unclean(&self) -> bool {
        self.unclean
    }

    /// How many bytes of the disk a grain table is about.
    fn reach(&self) -> u64 {
        self.grain * TABLE_ENTRIES
    }

    /// Where the table is that has the `table`th entry in the directory; `None` where there is none, and all its grains are zeros.
    fn table_at(&self, table: u64, entry: [u8; 4]) -> Result<Option<u64>> {
        let sector = u64::from(u32::from_le_bytes(entry));
        if sector * SECTOR + TABLE_LEN > self.file.len() {
            return Err(Error::corrupt("VMDK: grain directory entry")
                .at(self.directory_at + table * 4)
                .found(format_args!("sector {sector}"))
                .allowed(format_args!("a table in the file's {} sectors", self.file.len() / SECTOR)));
        }
        Ok((sector != 0).then_some(sector * SECTOR))
    }

    fn place(&self, entry: [u8; 4]) -> Place {
        match u32::from_le_bytes(entry) {
            0 => Place::Nothing,
            ondisk::ZERO_GRAIN if self.zero_grains => Place::Nothing,
            sector => Place::Sector(sector.into()),
        }
    }

    /// Reads what is in the reach of one table.
    fn read_reach(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let table = at / self.reach();
        let mut entry = [0; 4];
        self.file.read_at(self.directory_at + table * 4, &mut entry).context(|| "VMDK: grain directory")?;
        let Some(table_at) = self.table_at(table, entry)? else {
            buf.fill(0);
            return Ok(());
        };
        let first = at % self.reach() / self.grain;
        let count = (at % self.grain + buf.len() as u64).div_ceil(self.grain);
        let mut entries = vec![0; count as usize * 4];
        self.file.read_at(table_at + first * 4, &mut entries).context(|| "VMDK: grain table")?;
        let (mut at, mut rest) = (at, buf);
        for (entry, entry_at) in entries.as_chunks::<4>().0.iter().zip((table_at + first * 4..).step_by(4)) {
            let left = (self.grain - at % self.grain).min(rest.len() as u64) as usize;
            let (piece, behind) = rest.split_at_mut(left);
            match self.place(*entry) {
                Place::Nothing => piece.fill(0),
                Place::Sector(sector) => self.read_grain(sector, at, piece).context(|| named(entry_at, sector))?,
            }
            at += left as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Reads a part of the grain that is in a sector of the file.
    fn read_grain(&self, sector: u64, at: u64, buf: &mut [u8]) -> Result<()> {
        let within = at % self.grain;
        if self.variant == Variant::Sparse {
            return self.file.read_at(sector * SECTOR + within, buf);
        }
        let number = at / self.grain;
        let grain = match self.kept(number) {
            Some(grain) => grain,
            None => self.keep(number, self.decompress(sector, number)?),
        };
        let range = within as usize..within as usize + buf.len();
        let data = grain.get(range).ok_or_else(|| {
            Error::corrupt("VMDK: a compressed grain that is too short").at(sector * SECTOR).found(grain.len())
        })?;
        buf.copy_from_slice(data);
        Ok(())
    }

    fn decompress(&self, sector: u64, number: u64) -> Result<Vec<u8>> {
        let at = sector * SECTOR;
        let mut marker = GrainMarker::new_zeroed();
        self.file.read_at(at, marker.as_mut_bytes())?;
        let wanted = number * self.grain / SECTOR;
        if marker.sector != wanted {
            return Err(Error::corrupt("VMDK: marker of a grain: sector").at(at).found(marker.sector).allowed(wanted));
        }
        // qemu reads no more than twice the grain either.
        let len = u64::from(marker.len.get());
        if len == 0 || len > 2 * self.grain {
            return Err(Error::corrupt("VMDK: marker of a grain: length")
                .at(at + 8)
                .found(len)
                .allowed(format_args!("1 to {}", 2 * self.grain)));
        }
        range_within(at + size_of::<GrainMarker>() as u64, len as usize, self.file.len())?;
        let mut packed = vec![0; len as usize];
        self.file.read_at(at + size_of::<GrainMarker>() as u64, &mut packed)?;
        let mut grain = Vec::with_capacity(self.grain as usize);
        let outcome = Decompress::new(true).decompress_vec(&packed, &mut grain, FlushDecompress::Finish);
        if !matches!(outcome, Ok(Status::StreamEnd)) || grain.len() as u64 > self.grain {
            return Err(Error::corrupt("VMDK: a compressed grain")
                .at(at)
                .allowed(format_args!("zlib data of at most {} bytes", self.grain)));
        }
        Ok(grain)
    }

    fn kept(&self, number: u64) -> Option<Arc<[u8]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(kept, _)| *kept == number).map(|(_, grain)| Arc::clone(grain))
    }

    /// Keeps a grain, in the place of the one that was kept for the longest time.
    fn keep(&self, number: u64, grain: Vec<u8>) -> Arc<[u8]> {
        let grain: Arc<[u8]> = grain.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() as u64 >= KEPT / self.grain {
            kept.remove(0);
        }
        kept.push((number, Arc::clone(&grain)));
        grain
    }

    /// The first row of grains from `first` on that are there.
    fn next_present(&self, first: u64) -> Result<Option<Range<u64>>> {
        let end = self.disk_len.div_ceil(self.grain);
        let tables = end.div_ceil(TABLE_ENTRIES);
        let mut found: Option<u64> = None;
        let mut directory = vec![0; PIECE as usize];
        let mut entries = [0; TABLE_LEN as usize];
        for piece in (first / TABLE_ENTRIES..tables).step_by(PIECE as usize / 4) {
            let directory = &mut directory[..PIECE.min((tables - piece) * 4) as usize];
            self.file.read_at(self.directory_at + piece * 4, directory).context(|| "VMDK: grain directory")?;
            for (table, entry) in (piece..).zip(directory.as_chunks::<4>().0) {
                match self.table_at(table, *entry)? {
                    Some(at) => self.file.read_at(at, &mut entries).context(|| "VMDK: grain table")?,
                    None if found.is_none() => continue,
                    None => entries.fill(0),
                }
                for (grain, entry) in (table * TABLE_ENTRIES..end).zip(entries.as_chunks::<4>().0) {
                    let there = self.place(*entry) != Place::Nothing;
                    match found {
                        None if there && grain >= first => found = Some(grain),
                        Some(start) if !there => return Ok(Some(start..grain)),
                        _ => {}
                    }
                }
            }
        }
        Ok(found.map(|start| start..end))
    }
}

fn named(entry_at: u64, sector: u64) -> String {
    format!("VMDK: grain in sector {sector}, by the grain table's entry at {entry_at:#x}")
}

fn begins_with(file: &dyn ReadAt, magic: &[u8]) -> bool {
    let mut found = vec![0; magic.len()];
    file.read_at(0, &mut found).is_ok() && found == magic
}

const CONVERT: &str = "convert it first: qemu-img convert -f vmdk -O vhdx FILE.vmdk FILE.vhdx";

/// Refuses the kinds that are not one file, or of another format.
fn refuse_others(file: &dyn ReadAt) -> Result<()> {
    if begins_with(file, &ondisk::MAGIC_DESCRIPTOR) {
        let mut text = vec![0; file.len().min(MAX_DESCRIPTOR * SECTOR) as usize];
        file.read_at(0, &mut text)?;
        let kind = Descriptor::parse(&text).create_type.unwrap_or_else(|| "no type".to_owned());
        return Err(Error::unsupported("a VMDK of several files").found(kind).allowed(ALLOWED).hint(CONVERT));
    }
    if begins_with(file, &ondisk::MAGIC_COWD) {
        return Err(Error::unsupported("a part of an ESX disk (COWD)").at(0).allowed(ALLOWED).hint(CONVERT));
    }
    Ok(())
}

const ALLOWED: &str = "monolithicSparse, streamOptimized";

fn header(file: &dyn ReadAt, at: u64) -> Result<Header> {
    let mut header = Header::new_zeroed();
    file.read_at(at, header.as_mut_bytes()).context(|| "VMDK header")?;
    if header.magic != ondisk::MAGIC {
        return Err(Error::corrupt("VMDK header: magic").at(at).allowed("\"KDMV\""));
    }
    let version = header.version.get();
    if !(ondisk::VERSION..=ondisk::VERSION_STREAM).contains(&version) {
        return Err(Error::unsupported("VMDK header: version").at(at + 4).found(version).allowed("1 to 3"));
    }
    let flags = header.flags.get();
    if flags & ondisk::FLAG_LINE_ENDS != 0 && header.line_ends != ondisk::LINE_ENDS {
        return Err(Error::corrupt("VMDK header: line ends changed, as by a transfer as text").at(at + 73));
    }
    let packed = ondisk::FLAG_COMPRESSED | ondisk::FLAG_MARKERS;
    let known = [0, packed].contains(&(flags & ondisk::FLAGS_INCOMPATIBLE));
    if !known || (flags & packed != 0 && header.compression != ondisk::DEFLATE) {
        return Err(Error::unsupported("VMDK header: flags and compression")
            .at(at + 8)
            .found(format_args!("{flags:#x}, {}", header.compression))
            .allowed("no compression, or deflate with markers"));
    }
    Ok(header)
}

/// The length of the disk, if that and its grains are what can be read.
fn check_sizes(header: &Header) -> Result<u64> {
    let capacity = header.capacity.get();
    if capacity == 0 || capacity > MAX_DISK / SECTOR {
        return Err(Error::corrupt("VMDK header: capacity")
            .at(12)
            .found(format_args!("{capacity} sectors"))
            .allowed(format_args!("1 to {} (64 TiB)", MAX_DISK / SECTOR)));
    }
    let grain = header.grain.get();
    if !grain.is_power_of_two() || !GRAINS.contains(&grain) {
        return Err(Error::corrupt("VMDK header: sectors of a grain")
            .at(20)
            .found(grain)
            .allowed("a power of two up to 2048"));
    }
    if u64::from(header.table_entries.get()) != TABLE_ENTRIES {
        return Err(Error::unsupported("VMDK header: entries of a grain table")
            .at(44)
            .found(header.table_entries)
            .allowed(TABLE_ENTRIES));
    }
    Ok(capacity * SECTOR)
}

/// The last header of a stream, before the end-of-stream marker.
fn footer(file: &dyn ReadAt, front: &Header) -> Result<Header> {
    let at = file.len().checked_sub(2 * SECTOR).ok_or_else(|| Error::truncated("VMDK: no footer"))?;
    let footer = header(file, at).context(|| "VMDK footer: the stream may have been cut short")?;
    let sizes = |header: &Header| (header.capacity, header.grain, header.flags);
    if sizes(&footer) != sizes(front) {
        return Err(Error::corrupt("VMDK footer: other sizes than in the header").at(at));
    }
    Ok(footer)
}

fn read_descriptor(file: &dyn ReadAt, header: &Header) -> Result<Descriptor> {
    let (sector, len) = (header.descriptor.get(), header.descriptor_len.get());
    if sector == 0 || len == 0 {
        return Err(no_descriptor());
    }
    if len > MAX_DESCRIPTOR || sector > file.len() / SECTOR {
        return Err(Error::corrupt("VMDK header: place of the descriptor")
            .at(28)
            .found(format_args!("sector {sector}, {len} sectors"))
            .allowed(format_args!("inside the file, at most {MAX_DESCRIPTOR}")));
    }
    let mut text = vec![0; (len * SECTOR) as usize];
    file.read_at(sector * SECTOR, &mut text).context(|| "VMDK descriptor")?;
    Ok(Descriptor::parse(&text))
}

fn no_descriptor() -> Error {
    Error::unsupported("a part of a VMDK of several files: it has no descriptor")
        .allowed(ALLOWED)
        .hint("name the descriptor's file, the small one: qemu-img convert -f vmdk -O vhdx FILE.vmdk FILE.vhdx")
}

fn check_descriptor(descriptor: &Descriptor) -> Result<()> {
    if descriptor.parent_cid.is_some_and(|parent| parent != NO_PARENT) {
        return Err(Error::unsupported("a VMDK that holds a snapshot's changes only")
            .hint("name the last file of the chain: qemu-img convert -f vmdk -O vhdx FILE.vmdk FILE.vhdx"));
    }
    // qemu leaves room for one in such parts.
    if descriptor.create_type.is_none() && descriptor.extents.is_empty() {
        return Err(no_descriptor());
    }
    let known = [Variant::Sparse, Variant::StreamOptimized].map(Variant::create_type);
    let kind = descriptor.create_type.as_deref().unwrap_or_default();
    if !known.iter().any(|known| known.eq_ignore_ascii_case(kind)) || descriptor.extents.len() > 1 {
        return Err(Error::unsupported("kind of VMDK")
            .found(format_args!("'{kind}' of {} files", descriptor.extents.len()))
            .allowed(ALLOWED)
            .hint(CONVERT));
    }
    Ok(())
}

impl<R: ReadAt> ReadAt for Vmdk<R> {
    fn len(&self) -> u64 {
        self.disk_len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = range_within(at, buf.len(), self.len())?.start;
        let mut rest = buf;
        while !rest.is_empty() {
            let left = self.reach() - at % self.reach();
            let (piece, behind) = rest.split_at_mut(left.min(rest.len() as u64) as usize);
            self.read_reach(at, piece)?;
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        if at >= self.disk_len {
            return Ok(None);
        }
        let grains = self.next_present(at / self.grain)?;
        Ok(grains.map(|grains| (grains.start * self.grain).max(at)..(grains.end * self.grain).min(self.disk_len)))
    }
}
