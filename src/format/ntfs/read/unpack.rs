//! Streams that are compressed, by NTFS or by the overlay filter (WOF, "CompactOS").
//!
//! NTFS compresses units of 16 clusters, each by itself: a unit that lies in fewer clusters than it has is compressed, one without
//! clusters is all zero, and one that has all of them is as it is. The rest of a compressed unit is a hole.
//!
//! The overlay filter keeps the contents of a file in its stream `WofCompressedData`, which is laid out as a compressed resource
//! of a WIM: a table of where each chunk but the first begins, counted from the table's end (`u32`, or `u64` where the file has 4 GiB and
//! more), then the chunks. A chunk that is as long as what it unpacks to is not compressed. Source: wimlib's documentation of the
//! formats that WOF reads.

use crate::base::bytes::{u32_at, u64_at};
use crate::codec::{lznt1, lzx, xpress};
use crate::error::{Error, Result};

use super::attribute::{Extents, Value};
use super::mft::again;
use super::runs::{Clusters, HOLE, Run};
use super::store::PIECE;

/// How the overlay filter compressed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// XPRESS with Huffman codes, in chunks of 4, 8 or 16 KiB.
    Xpress(u32),
    /// LZX in chunks of 32 KiB.
    Lzx,
}

impl Algorithm {
    fn chunk_size(self) -> u64 {
        match self {
            Self::Xpress(size) => size.into(),
            Self::Lzx => 1 << 15,
        }
    }
}

/// Where the compressed bytes are.
enum Packed {
    Resident(Box<[u8]>),
    Outside(Extents),
}

/// A file that the overlay filter compressed.
pub(super) struct Wof {
    algorithm: Algorithm,
    packed: Packed,
}

impl Wof {
    /// By the number that the reparse point gives the algorithm, and the value of the stream.
    pub(super) fn new(algorithm: u32, packed: Value) -> Result<Self> {
        let algorithm = match algorithm {
            0 => Algorithm::Xpress(1 << 12),
            1 => Algorithm::Lzx,
            2 => Algorithm::Xpress(1 << 13),
            3 => Algorithm::Xpress(1 << 14),
            other => {
                return Err(Error::unsupported("algorithm of a file compressed by WOF").found(other).allowed("0 to 3"));
            }
        };
        let packed = match packed {
            Value::Resident(bytes) => Packed::Resident(bytes),
            Value::Outside(extents) if extents.is_plain() => Packed::Outside(extents),
            Value::Outside(extents) => {
                return Err(Error::unsupported("WofCompressedData that is itself compressed or encrypted")
                    .found(format_args!("{:#x}", extents.flags)));
            }
            Value::Damaged(error) => return Err(again(&error)),
        };
        Ok(Self { algorithm, packed })
    }

    /// Where the packed bytes lie.
    pub(super) fn runs(&self) -> &[Run] {
        match &self.packed {
            Packed::Resident(_) => &[],
            Packed::Outside(extents) => &extents.runs,
        }
    }

    fn packed_len(&self) -> u64 {
        match &self.packed {
            Packed::Resident(bytes) => bytes.len() as u64,
            Packed::Outside(extents) => extents.size,
        }
    }

    fn read(&self, clusters: &Clusters, at: u64, buf: &mut [u8]) -> Result<()> {
        match &self.packed {
            Packed::Outside(extents) => extents.read(clusters, at, buf),
            Packed::Resident(bytes) => {
                let bytes = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buf.len()));
                buf.copy_from_slice(bytes.ok_or_else(|| Error::corrupt("end of WofCompressedData").at(at))?);
                Ok(())
            }
        }
    }
}

/// Where the chunks of a file of `size` bytes lie in the packed stream.
struct Chunks {
    count: u64,
    entry: u64,
    table: u64,
    end: u64,
}

impl Chunks {
    fn new(wof: &Wof, size: u64) -> Result<Self> {
        let count = size.div_ceil(wof.algorithm.chunk_size());
        let entry = if size > u64::from(u32::MAX) { 8 } else { 4 };
        let table = count.saturating_sub(1) * entry;
        let end = wof.packed_len();
        if table > end {
            return Err(Error::corrupt("WofCompressedData is shorter than its chunk table").found(end).allowed(table));
        }
        Ok(Self { count, entry, table, end })
    }

    /// Where the chunks `first..last` begin, and the last one ends, in the packed stream.
    fn bounds(&self, wof: &Wof, clusters: &Clusters, first: u64, last: u64) -> Result<Vec<u64>> {
        let (from, to) = (first.max(1) - 1, last.min(self.count - 1));
        let mut bytes = vec![0; (to.saturating_sub(from) * self.entry) as usize];
        wof.read(clusters, from * self.entry, &mut bytes)?;
        let mut bounds = Vec::with_capacity((last - first) as usize + 1);
        bounds.extend((first == 0).then_some(self.table));
        bounds.extend(bytes.chunks_exact(self.entry as usize).map(|entry| {
            let offset = u64_at(entry, 0).or_else(|| u32_at(entry, 0).map(u64::from));
            self.table.saturating_add(offset.unwrap_or(u64::MAX))
        }));
        bounds.extend((last == self.count).then_some(self.end));
        Ok(bounds)
    }
}

/// Unpacks streams; keeps its buffers and tables between pieces.
#[derive(Default)]
pub(super) struct Unpacker {
    input: Vec<u8>,
    xpress: Option<xpress::Decoder>,
    lzx: Option<lzx::Decoder>,
}

impl Unpacker {
    /// A piece of a stream that NTFS compressed in units of so many bytes; zeros from `valid` on.
    pub(super) fn lznt1(
        &mut self,
        clusters: &Clusters,
        runs: &[Run],
        (unit, valid): (u32, u64),
        at: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        for (start, out) in (at..).step_by(unit as usize).zip(buf.chunks_mut(unit as usize)) {
            let len = usize::try_from(valid.saturating_sub(start)).unwrap_or(usize::MAX).min(out.len());
            let (out, zeros) = out.split_at_mut(len);
            zeros.fill(0);
            if !out.is_empty() {
                self.unit(clusters, runs, unit, start, out)
                    .map_err(|error| error.context(format_args!("LZNT1 unit at offset {start:#x}")))?;
            }
        }
        Ok(())
    }

    fn unit(&mut self, clusters: &Clusters, runs: &[Run], unit: u32, at: u64, out: &mut [u8]) -> Result<()> {
        let first = at / clusters.size;
        let last = first + u64::from(unit) / clusters.size;
        let mut held = first;
        let mut hole = None;
        for run in &runs[runs.partition_point(|run| run.end <= first)..] {
            if held >= last {
                break;
            }
            let end = run.end.min(last);
            match (run.lcn == HOLE, hole) {
                (true, None) => hole = Some(held),
                (false, Some(hole)) => {
                    return Err(Error::corrupt("clusters behind a hole")
                        .found(format_args!("a hole at VCN {hole}, clusters at {held}")));
                }
                _ => {}
            }
            held = end;
        }
        let packed_end = hole.unwrap_or(held);
        let packed = (packed_end - first) * clusters.size;
        if packed_end == last || (hole.is_none() && packed >= out.len() as u64) {
            return clusters.read(runs, at, out);
        }
        if packed == 0 {
            out.fill(0);
            return Ok(());
        }
        self.input.resize(packed as usize, 0);
        clusters.read(runs, at, &mut self.input)?;
        Ok(lznt1::decode(&self.input, out)?)
    }

    /// A piece of a file of `size` bytes that the overlay filter compressed.
    pub(super) fn wof(&mut self, clusters: &Clusters, wof: &Wof, size: u64, at: u64, buf: &mut [u8]) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let chunk_size = wof.algorithm.chunk_size();
        let chunks = Chunks::new(wof, size)?;
        let first = at / chunk_size;
        let last = (at + buf.len() as u64).div_ceil(chunk_size);
        let bounds = chunks.bounds(wof, clusters, first, last)?;
        for ((number, pair), out) in (first..).zip(bounds.windows(2)).zip(buf.chunks_mut(chunk_size as usize)) {
            let len = pair[1].checked_sub(pair[0]).filter(|len| (1..=out.len() as u64).contains(len));
            let wrong = || {
                Error::corrupt("length of a chunk of WofCompressedData")
                    .at(pair[0])
                    .found(format_args!("chunk {number} from {:#x} to {:#x}", pair[0], pair[1]))
                    .allowed(format_args!("1 to {} bytes before {:#x}", out.len(), chunks.end))
            };
            let len = len.filter(|_| pair[1] <= chunks.end).ok_or_else(wrong)?;
            if len == out.len() as u64 {
                wof.read(clusters, pair[0], out)?;
                continue;
            }
            self.input.resize(len as usize, 0);
            wof.read(clusters, pair[0], &mut self.input)?;
            let unpacked = match wof.algorithm {
                Algorithm::Xpress(_) => self.xpress.get_or_insert_default().decode(&self.input, out),
                Algorithm::Lzx => {
                    let lzx = self.lzx.get_or_insert_with(|| lzx::Decoder::new(lzx::Window::SMALLEST));
                    lzx.decode(&self.input, out)
                }
            };
            unpacked.map_err(|error| Error::from(error).at(pair[0]).context(format_args!("WOF chunk {number}")))?;
        }
        Ok(())
    }
}

const _: () = assert!(PIECE.is_multiple_of(1 << 15));
