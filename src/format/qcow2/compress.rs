//! A whole disk, written as a qcow2 with compressed clusters.

use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::ops::Range;

use flate2::{Compress, Compression, FlushCompress, Status};
use zerocopy::IntoBytes;

use super::ondisk::{COMPRESSED, COPIED, SECTOR, sectors_shift};
use super::plan::{self, CLUSTER, CLUSTER_BITS, ENTRIES};
use super::write::{big_endian, header};
use crate::base::ordered::ordered;
use crate::base::{ReadAt, bytes};
use crate::error::{Error, Result};

/// How many clusters a thread takes at once.
const PIECE: u64 = 16;

/// zlib's own default, and so qemu's.
const LEVEL: Compression = Compression::new(6);

/// Writes `disk` to `out`, which is empty, and gives the length of the file.
///
/// What [`ReadAt::next_data`] says to be absent is not read, and clusters of zeros are left out. `progress` is told how far in the disk
/// the writing is, and how long the disk; its error ends it. The bytes do not depend on the number of threads.
///
/// Fails as [`Layout::new`](super::Layout::new) does, and as reading and writing do.
pub fn write_compressed<W: Write + Seek>(
    disk: &dyn ReadAt,
    threads: NonZeroUsize,
    out: &mut W,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<u64> {
    plan::check_len(disk.len())?;
    let mut packer = Packer::new(disk.len(), out);
    let mut pieces = Pieces { disk, next: 0, rest: 0..0 };
    let next = || pieces.next();
    let worker = || {
        let mut deflate = Compress::new(LEVEL, false);
        move |piece| pack(disk, &mut deflate, piece)
    };
    ordered(threads, next, worker, |Piece { end, clusters }| {
        clusters.iter().try_for_each(|(number, cluster)| packer.add(*number, cluster))?;
        progress(end, disk.len())
    })?;
    packer.finish()
}

/// The parts of a disk that are to be read, in clusters.
struct Pieces<'d> {
    disk: &'d dyn ReadAt,
    /// The first cluster that no piece was given of.
    next: u64,
    rest: Range<u64>,
}

impl Pieces<'_> {
    fn next(&mut self) -> Result<Option<Range<u64>>> {
        if self.rest.is_empty() {
            let Some(data) = self.disk.next_data(self.next * CLUSTER)? else { return Ok(None) };
            self.rest = data.start / CLUSTER..data.end.div_ceil(CLUSTER);
        }
        let end = ((self.rest.start / PIECE + 1) * PIECE).min(self.rest.end);
        let piece = self.rest.start..end;
        (self.rest.start, self.next) = (end, end);
        Ok(Some(piece))
    }
}

/// A cluster as it goes into the file.
enum Packed {
    Plain(Vec<u8>),
    Deflated(Vec<u8>),
}

/// What came of a piece.
struct Piece {
    /// Where in the disk it ends.
    end: u64,
    /// Its clusters that are not all zeros, with their numbers.
    clusters: Vec<(u64, Packed)>,
}

fn pack(disk: &dyn ReadAt, deflate: &mut Compress, piece: Range<u64>) -> Result<Piece> {
    let (start, end) = (piece.start * CLUSTER, (piece.end * CLUSTER).min(disk.len()));
    // The disk may end within its last cluster, which is filled up with zeros.
    let mut data = vec![0; ((piece.end - piece.start) * CLUSTER) as usize];
    disk.read_at(start, &mut data[..(end - start) as usize])?;
    let clusters = data.chunks(CLUSTER as usize).zip(piece).filter(|(cluster, _)| !bytes::is_zero(cluster));
    let clusters = clusters.map(|(cluster, number)| (number, Packed::new(cluster, deflate))).collect();
    Ok(Piece { end, clusters })
}

impl Packed {
    /// What would not become shorter by a sector is not worth the work of unpacking.
    fn new(cluster: &[u8], deflate: &mut Compress) -> Self {
        deflate.reset();
        let mut shorter = vec![0; (CLUSTER - SECTOR) as usize];
        match deflate.compress(cluster, &mut shorter, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => {
                shorter.truncate(deflate.total_out() as usize);
                shorter.shrink_to_fit();
                Self::Deflated(shorter)
            }
            _ => Self::Plain(cluster.to_vec()),
        }
    }
}

/// Puts clusters into the file, in the order of the disk, with all that describes them.
struct Packer<'w, W> {
    out: Output<'w, W>,
    disk_len: u64,
    /// How often each cluster of the file is in use, as far as they are given out.
    counts: Vec<u16>,
    /// The cluster of the file that compressed ones go into.
    open: Option<Open>,
    l1: Vec<u64>,
    /// The L2 table that is being filled, with its number.
    l2: Option<(u64, Vec<u64>)>,
}

/// A cluster of the file that is not full yet.
struct Open {
    number: u64,
    bytes: Vec<u8>,
}

impl<'w, W: Write + Seek> Packer<'w, W> {
    fn new(disk_len: u64, out: &'w mut W) -> Self {
        let l1 = vec![0; plan::l1_entries(disk_len) as usize];
        // The first cluster is the header's.
        Self { out: Output { out, at: 0 }, disk_len, counts: vec![1], open: None, l1, l2: None }
    }

    /// Gives out the next `count` clusters of the file, each in use once.
    fn allocate(&mut self, count: u64) -> Range<u64> {
        let start = self.counts.len() as u64;
        self.counts.resize((start + count) as usize, 1);
        start..start + count
    }

    /// Adds the next cluster of the disk.
    fn add(&mut self, number: u64, cluster: &Packed) -> Result<()> {
        let table = number / ENTRIES;
        if self.l2.as_ref().is_none_or(|(filling, _)| *filling != table) {
            self.end_table()?;
        }
        let entry = match cluster {
            Packed::Plain(bytes) => self.put_plain(bytes)?,
            Packed::Deflated(bytes) => self.put_packed(bytes)?,
        };
        let (_, entries) = self.l2.get_or_insert_with(|| (table, vec![0; ENTRIES as usize]));
        entries[(number % ENTRIES) as usize] = entry;
        Ok(())
    }

    fn put_plain(&mut self, bytes: &[u8]) -> Result<u64> {
        let place = self.allocate(1).start * CLUSTER;
        self.out.write_at(place, bytes)?;
        Ok(place | COPIED)
    }

    /// Puts compressed bytes behind the last ones: into the rest of the open cluster, if that is enough or the next one follows it.
    fn put_packed(&mut self, bytes: &[u8]) -> Result<u64> {
        let end = self.counts.len() as u64;
        let fits = |open: &Open| open.bytes.len() + bytes.len() <= CLUSTER as usize || open.number + 1 == end;
        let mut open = match self.open.take() {
            Some(open) if fits(&open) => open,
            other => {
                self.close(other)?;
                Open { number: self.allocate_shared(), bytes: Vec::with_capacity(CLUSTER as usize) }
            }
        };
        let place = open.number * CLUSTER + open.bytes.len() as u64;
        let (here, behind) = bytes.split_at(bytes.len().min(CLUSTER as usize - open.bytes.len()));
        open.bytes.extend_from_slice(here);
        self.count_use(open.number)?;
        if open.bytes.len() as u64 == CLUSTER {
            let number = if behind.is_empty() { None } else { Some(self.allocate_shared()) };
            self.close(Some(open))?;
            self.open = number.map(|number| Open { number, bytes: behind.to_vec() });
            number.map_or(Ok(()), |number| self.count_use(number))?;
        } else {
            self.open = Some(open);
        }
        let last = place + bytes.len() as u64 - 1;
        let sectors = last / SECTOR - place / SECTOR;
        Ok(COMPRESSED | sectors << sectors_shift(CLUSTER_BITS) | place)
    }

    /// Gives out a cluster for compressed ones, which are counted as they come.
    fn allocate_shared(&mut self) -> u64 {
        self.counts.push(0);
        self.counts.len() as u64 - 1
    }

    fn count_use(&mut self, cluster: u64) -> Result<()> {
        // Deflate makes no cluster shorter than 64 bytes: there are no more than 1024 in one.
        let count = self.counts.get_mut(cluster as usize).and_then(|count| {
            *count = count.checked_add(1)?;
            Some(())
        });
        count.ok_or_else(|| Error::invalid("qcow2: reference count of a cluster").at(cluster * CLUSTER))
    }

    /// Writes a cluster of compressed ones, filled up with zeros.
    fn close(&mut self, open: Option<Open>) -> Result<()> {
        let Some(mut open) = open else { return Ok(()) };
        open.bytes.resize(CLUSTER as usize, 0);
        self.out.write_at(open.number * CLUSTER, &open.bytes)
    }

    /// Writes the L2 table that is complete.
    fn end_table(&mut self) -> Result<()> {
        let Some((number, entries)) = self.l2.take() else { return Ok(()) };
        let place = self.allocate(1).start * CLUSTER;
        self.l1[number as usize] = place | COPIED;
        self.out.write_at(place, &big_endian(&entries))
    }

    /// Writes what describes it all, the header last, and gives the length of the file.
    fn finish(mut self) -> Result<u64> {
        self.end_table()?;
        let open = self.open.take();
        self.close(open)?;
        let l1 = self.allocate(plan::l1_clusters(self.disk_len));
        self.out.write_padded(l1.start * CLUSTER, &big_endian(&self.l1))?;
        let (blocks, table) = self.allocate_counts();
        for (block, counts) in blocks.clone().zip(self.counts.chunks(plan::COUNTS as usize)) {
            let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
            self.out.write_padded(block * CLUSTER, &counts)?;
        }
        let entries: Vec<u64> = blocks.map(|block| block * CLUSTER).collect();
        self.out.write_padded(table.start * CLUSTER, &big_endian(&entries))?;
        self.out.write_at(0, header(self.disk_len, l1.start, &table).as_bytes())?;
        self.out.flush()?;
        Ok(self.counts.len() as u64 * CLUSTER)
    }

    /// Gives out clusters for the reference counts, their own included: refcount blocks, and the table of them.
    fn allocate_counts(&mut self) -> (Range<u64>, Range<u64>) {
        let (table, blocks) = plan::refcount_clusters(self.counts.len() as u64);
        (self.allocate(blocks), self.allocate(table))
    }
}

/// Writes at places, which mostly follow each other.
struct Output<'w, W> {
    out: &'w mut W,
    at: u64,
}

impl<W: Write + Seek> Output<'_, W> {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::io("the qcow2 cannot be written", e).at(at);
        if at != self.at {
            self.out.seek(SeekFrom::Start(at)).map_err(failed)?;
        }
        self.out.write_all(bytes).map_err(failed)?;
        self.at = at + bytes.len() as u64;
        Ok(())
    }

    /// Writes whole clusters, what follows the bytes being zeros.
    fn write_padded(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write_at(at, bytes)?;
        let rest = bytes.len().next_multiple_of(CLUSTER as usize) - bytes.len();
        self.write_at(at + bytes.len() as u64, &vec![0; rest])
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| Error::io("the qcow2 cannot be written", e))
    }
}
