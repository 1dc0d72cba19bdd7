//! A streamOptimized file, written from start to end: every grain compressed, tables behind what they are about, the footer last.

use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::Range;

use flate2::{Compress, Compression, FlushCompress, Status};
use zerocopy::IntoBytes;

use super::descriptor::{self, Params, Variant};
use super::ondisk::{self, GrainMarker, Header, Marker, SECTOR, TABLE_ENTRIES, TABLE_LEN};
use super::plan::{DESCRIPTOR_LEN, GRAIN, GRAIN_SECTORS, check_len, directory_len, sector_number, tables};
use super::write::header;
use crate::base::ReadAt;
use crate::base::bytes::is_zero;
use crate::base::ordered::ordered;
use crate::error::{Error, Result};

/// How much of the disk is one piece of work.
const UNIT: u64 = 16 * GRAIN;

/// Where the grains of a stream begin, in sectors: where VMware lets them.
const OVERHEAD: u64 = 128;

/// The level of zlib's scale that VMware's converter and qemu have by default too.
const LEVEL: u32 = 6;

const _: () = assert!(SECTOR + DESCRIPTOR_LEN <= OVERHEAD * SECTOR);

/// Writes a disk as a streamOptimized VMDK and returns its length.
///
/// Grains are read and compressed on `threads` threads, and written in the order of the disk: the same disk gives the same bytes,
/// whatever the number of threads. What the disk knows to be zero is not read; what turns out to be is left out. At most 8 MiB for each
/// thread are in memory, and 4 bytes for each 32 MiB of the disk. `progress` is told how far it is, and can end it.
///
/// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) unless the disk has 1 sector to [`MAX_DISK`](super::MAX_DISK) in whole
/// sectors, or if the file's name is too long for a descriptor; with [`Kind::Unsupported`](crate::error::Kind::Unsupported) if the file
/// would be longer than 2 TiB, which its sector numbers cannot tell.
pub fn write_stream(
    disk: &dyn ReadAt,
    params: &Params,
    threads: NonZeroUsize,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<u64> {
    let disk_len = disk.len();
    check_len(disk_len)?;
    let descriptor = descriptor::render(params, Variant::StreamOptimized, disk_len)?;
    let mut stream = Stream::begin(out, disk_len, &descriptor)?;
    let mut units = Units { disk, at: 0 };
    ordered(
        threads,
        || units.next(),
        || {
            let mut packer = Packer::new(disk);
            move |unit| packer.pack(unit)
        },
        |packed: Packed| {
            progress(packed.end, disk_len)?;
            packed.grains.iter().try_for_each(|(grain, bytes)| stream.grain(*grain, bytes))
        },
    )?;
    stream.finish()
}

/// The parts of a disk that may hold something, in whole grains and in order.
struct Units<'d> {
    disk: &'d dyn ReadAt,
    at: u64,
}

impl Units<'_> {
    fn next(&mut self) -> Result<Option<Range<u64>>> {
        let Some(data) = self.disk.next_data(self.at)? else { return Ok(None) };
        let start = data.start / GRAIN * GRAIN;
        let end = (start / UNIT + 1) * UNIT;
        self.at = end.min(data.end.next_multiple_of(GRAIN));
        Ok(Some(start..self.at.min(self.disk.len())))
    }
}

/// Grains with their numbers, each with its marker, up to the end of a sector.
struct Packed {
    grains: Vec<(u64, Vec<u8>)>,
    end: u64,
}

/// What one thread compresses with.
struct Packer<'d> {
    disk: &'d dyn ReadAt,
    deflate: Compress,
    data: Vec<u8>,
}

impl<'d> Packer<'d> {
    fn new(disk: &'d dyn ReadAt) -> Self {
        Self { disk, deflate: Compress::new(Compression::new(LEVEL), true), data: vec![0; UNIT as usize] }
    }

    fn pack(&mut self, unit: Range<u64>) -> Result<Packed> {
        let len = (unit.end - unit.start) as usize;
        // The last grain of a disk may be cut short; it is stored whole.
        let padded = len.next_multiple_of(GRAIN as usize);
        self.disk.read_at(unit.start, &mut self.data[..len])?;
        self.data[len..padded].fill(0);
        let mut grains = Vec::new();
        for (number, grain) in (unit.start / GRAIN..).zip(self.data[..padded].chunks(GRAIN as usize)) {
            if !is_zero(grain) {
                grains.push((number, marked(&mut self.deflate, number, grain)?));
            }
        }
        Ok(Packed { grains, end: unit.end })
    }
}

/// A grain compressed, behind its marker.
fn marked(deflate: &mut Compress, number: u64, grain: &[u8]) -> Result<Vec<u8>> {
    const MARKER: usize = size_of::<GrainMarker>();
    // What cannot be compressed grows by 5 bytes for each block of at least 16 KiB, and 6 around all.
    let mut bytes = Vec::with_capacity(MARKER + grain.len() + 512);
    bytes.resize(MARKER, 0);
    deflate.reset();
    match deflate.compress_vec(grain, &mut bytes, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => {}
        _ => {
            return Err(
                Error::unsupported("a grain that grows beyond measure when it is compressed").at(number * GRAIN)
            );
        }
    }
    let len = bytes.len() - MARKER;
    let marker = GrainMarker { sector: (number * GRAIN_SECTORS).into(), len: (len as u32).into() };
    bytes[..MARKER].copy_from_slice(marker.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
    Ok(bytes)
}

/// The file, as far as it is written.
struct Stream<'o> {
    out: &'o mut dyn Write,
    at: u64,
    header: Header,
    /// Sectors of the tables that are written.
    directory: Vec<u32>,
    /// The table that is being filled, and its number.
    table: Vec<u32>,
    number: u64,
}

impl<'o> Stream<'o> {
    fn begin(out: &'o mut dyn Write, disk_len: u64, descriptor: &[u8]) -> Result<Self> {
        let flags = ondisk::FLAG_LINE_ENDS | ondisk::FLAG_COMPRESSED | ondisk::FLAG_MARKERS;
        let header = Header {
            flags: flags.into(),
            grain_directory: ondisk::AT_END.into(),
            overhead: OVERHEAD.into(),
            compression: ondisk::DEFLATE.into(),
            ..header(ondisk::VERSION_STREAM, disk_len)
        };
        let directory = vec![0; tables(disk_len) as usize];
        let table = vec![0; TABLE_ENTRIES as usize];
        let mut stream = Self { out, at: 0, header, directory, table, number: 0 };
        let mut front = [stream.header.as_bytes(), descriptor].concat();
        front.resize((OVERHEAD * SECTOR) as usize, 0);
        stream.append(&front)?;
        Ok(stream)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::io("writing the VMDK", e).at(self.at))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn marker(&mut self, kind: u32, len: u64) -> Result<()> {
        let marker = Marker { sectors: (len / SECTOR).into(), len: 0.into(), kind: kind.into(), reserved: [0; 496] };
        self.append(marker.as_bytes())
    }

    fn grain(&mut self, grain: u64, bytes: &[u8]) -> Result<()> {
        if grain / TABLE_ENTRIES != self.number {
            self.end_table()?;
            self.number = grain / TABLE_ENTRIES;
        }
        self.table[(grain % TABLE_ENTRIES) as usize] = sector_number(self.at)?;
        self.append(bytes)
    }

    /// Writes the table, unless nothing is in it: then the directory's entry stays 0.
    fn end_table(&mut self) -> Result<()> {
        if self.table.iter().all(|entry| *entry == 0) {
            return Ok(());
        }
        self.marker(ondisk::MARKER_TABLE, TABLE_LEN)?;
        self.directory[self.number as usize] = sector_number(self.at)?;
        let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.table.fill(0);
        self.append(&bytes)
    }

    fn finish(mut self) -> Result<u64> {
        self.end_table()?;
        let len = directory_len(self.directory.len() as u64);
        self.marker(ondisk::MARKER_DIRECTORY, len)?;
        let mut footer = self.header.clone();
        footer.grain_directory = (self.at / SECTOR).into();
        let mut bytes: Vec<u8> = self.directory.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        bytes.resize(len as usize, 0);
        self.append(&bytes)?;
        self.marker(ondisk::MARKER_FOOTER, SECTOR)?;
        self.append(footer.as_bytes())?;
        self.marker(ondisk::MARKER_END, 0)?;
        self.out.flush().map_err(|e| Error::io("writing the VMDK", e))?;
        Ok(self.at)
    }
}
