//! Resources: a stretch of the file that unpacks to bytes, whole or in chunks that are compressed one by one.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use zerocopy::FromBytes;

use super::ondisk::{ResourceHeader, SolidHeader, resource_flags};
use crate::base::ReadAt;
use crate::base::bytes::{u32_at, u64_at};
use crate::codec::{Damaged, lzms, lzx, xpress};
use crate::error::{Error, Result};

/// How the chunks of a resource are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// XPRESS with Huffman codes.
    Xpress,
    /// LZX as WIM has it.
    Lzx,
    /// LZMS.
    Lzms,
}

impl Compression {
    /// Binary logarithms of the chunk sizes that exist: the limits of wimlib, which are those of the codecs' windows.
    fn orders(self) -> Range<u32> {
        match self {
            Self::None => 12..31,
            Self::Xpress => 12..17,
            Self::Lzx => 15..22,
            Self::Lzms => 15..31,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Xpress => "XPRESS",
            Self::Lzx => "LZX",
            Self::Lzms => "LZMS",
        })
    }
}

/// A compression with its chunk size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Codec {
    pub(super) compression: Compression,
    order: u8,
}

impl Codec {
    pub(super) fn new(compression: Compression, chunk_size: u32) -> Result<Self> {
        let orders = compression.orders();
        let order = chunk_size.checked_ilog2().filter(|order| chunk_size.is_power_of_two() && orders.contains(order));
        let order =
            order.ok_or_else(|| {
                Error::corrupt(format_args!("WIM: chunk size for {compression}")).found(chunk_size).allowed(
                    format_args!("a power of two from {} to {}", 1u32 << orders.start, 1u32 << (orders.end - 1)),
                )
            })?;
        Ok(Self { compression, order: order as u8 })
    }

    pub(super) fn chunk_size(self) -> u64 {
        1 << self.order
    }
}

/// How a resource is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is. It is handled in chunks all the same, see [`PLAIN`].
    Plain,
    /// A table of the ends of all chunks but the last (u32, or u64 for resources beyond 4 GiB), then the chunks.
    Chunked(Codec),
    /// [`SolidHeader`], a table of the lengths (u32) of all chunks, then the chunks.
    Solid(Codec),
}

/// Where every [`STRIDE`]th chunk of a solid resource starts, from the second such chunk on. Its table has lengths, not offsets,
/// and need not be added up from its start for every chunk that is read.
#[derive(Default)]
pub(super) struct Landmarks(Vec<u64>);

/// So many entries of a solid resource's table are read at once (16 KiB). Landmarks take 8 bytes for each of these pieces.
const STRIDE: u64 = 4096;

/// The imagined chunks of plain resources.
const PLAIN: Codec = Codec { compression: Compression::None, order: 16 };

/// Where a resource is and what it unpacks to. A value of this type has passed [`Resource::check`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource {
    /// An index into the parts.
    pub(super) part: u16,
    pub(super) coding: Coding,
    pub(super) offset: u64,
    pub(super) stored: u64,
    pub(super) size: u64,
}

impl Resource {
    /// A resource that is no solid one. `codec` is that of the part's header.
    pub(super) fn new(part: u16, header: &ResourceHeader, codec: Option<Codec>, reader: &dyn ReadAt) -> Result<Self> {
        let coding = match (header.flags & resource_flags::COMPRESSED != 0, codec) {
            (false, _) => Coding::Plain,
            (true, Some(codec)) => Coding::Chunked(codec),
            (true, None) => {
                return Err(
                    Error::corrupt("WIM: compressed resource in a WIM without compression").at(header.offset.get())
                );
            }
        };
        let (offset, stored, size) = (header.offset.get(), header.stored(), header.size.get());
        Self { part, coding, offset, stored, size }.check(reader.len())
    }

    /// A solid resource, whose size and codec are in its own header.
    pub(super) fn solid(part: u16, header: &ResourceHeader, reader: &dyn ReadAt) -> Result<Self> {
        let (offset, stored) = (header.offset.get(), header.stored());
        let mut bytes = [0; size_of::<SolidHeader>()];
        reader.read_at(offset, &mut bytes)?;
        let solid = SolidHeader::read_from_bytes(&bytes).map_err(|_| Error::truncated("WIM: solid resource"))?;
        let compression = match solid.compression.get() {
            0 => Compression::None,
            1 => Compression::Xpress,
            2 => Compression::Lzx,
            3 => Compression::Lzms,
            other => {
                return Err(Error::corrupt("WIM: compression of a solid resource")
                    .at(offset + 12)
                    .found(other)
                    .allowed("0 to 3"));
            }
        };
        let codec = Codec::new(compression, solid.chunk_size.get()).map_err(|e| e.at(offset + 8))?;
        Self { part, coding: Coding::Solid(codec), offset, stored, size: solid.size.get() }.check(reader.len())
    }

    /// What holds for every resource: it lies in the file, and its chunks, none of them empty nor larger than what it unpacks
    /// to, fit beside their table. So the resource's end, the length of its table and the offset of any chunk in the file do not
    /// overflow. What it unpacks to is bounded by a chunk for each byte of the file only: the end of its last chunk may lie beyond
    /// 2^64, and the sizes of several resources may add up to more than that, so that both are computed with saturation.
    fn check(self, file: u64) -> Result<Self> {
        let wrong = |what: &str| Error::corrupt(format_args!("WIM: {what} of a resource")).at(self.offset);
        if self.offset.checked_add(self.stored).is_none_or(|end| end > file) {
            return Err(Error::truncated("WIM: resource ends beyond the file")
                .at(self.offset)
                .found(format_args!("{} bytes", self.stored))
                .allowed(format_args!("{file} bytes in all")));
        }
        if self.coding == Coding::Plain && self.stored != self.size {
            return Err(wrong("stored size").found(self.stored).allowed(self.size));
        }
        // A chunk takes at least a byte, so this bounds the table before it is computed.
        if self.coding != Coding::Plain && self.size.div_ceil(self.chunk_size()) > self.stored {
            return Err(wrong("unpacked size")
                .found(self.size)
                .allowed(format_args!("{} chunks at most", self.stored)));
        }
        let table = self.table_len();
        let least = table.saturating_add(self.chunks());
        let most = table.saturating_add(self.size);
        if self.coding != Coding::Plain && !(least..=most).contains(&self.stored) {
            return Err(wrong("stored size").found(self.stored).allowed(format_args!("{least} to {most}")));
        }
        Ok(self)
    }

    fn codec(&self) -> Codec {
        match self.coding {
            Coding::Plain => PLAIN,
            Coding::Chunked(codec) | Coding::Solid(codec) => codec,
        }
    }

    pub(super) fn is_solid(&self) -> bool {
        matches!(self.coding, Coding::Solid(_))
    }

    pub(super) fn chunk_size(&self) -> u64 {
        self.codec().chunk_size()
    }

    pub(super) fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_size())
    }

    /// What the chunks `range` unpack to.
    pub(super) fn unpacked(&self, range: &Range<u64>) -> Range<u64> {
        let at = |chunk: u64| chunk.saturating_mul(self.chunk_size()).min(self.size);
        at(range.start)..at(range.end)
    }

    fn entry_size(&self) -> u64 {
        if self.size > u64::from(u32::MAX) && !self.is_solid() { 8 } else { 4 }
    }

    fn table_len(&self) -> u64 {
        match self.coding {
            Coding::Plain => 0,
            Coding::Chunked(_) => self.chunks().saturating_sub(1) * self.entry_size(),
            Coding::Solid(_) => size_of::<SolidHeader>() as u64 + self.chunks() * 4,
        }
    }

    /// The landmarks of a solid resource; none for any other, and for those with few chunks.
    pub(super) fn landmarks(&self, reader: &dyn ReadAt) -> Result<Landmarks> {
        let mut landmarks = Landmarks::default();
        if !self.is_solid() {
            return Ok(landmarks);
        }
        let (mut at, mut end) = (self.offset + size_of::<SolidHeader>() as u64, self.table_len());
        let mut buffer = vec![0; STRIDE as usize * 4];
        for _ in 1..self.chunks().div_ceil(STRIDE) {
            reader.read_at(at, &mut buffer)?;
            let lengths = (0..STRIDE as usize).map_while(|index| u32_at(&buffer, index * 4));
            end = lengths.fold(end, |end, length| end.saturating_add(u64::from(length)));
            if end > self.stored {
                return Err(Error::corrupt("WIM: table of a solid resource: end of a chunk")
                    .at(at)
                    .found(end)
                    .allowed(self.stored));
            }
            landmarks.0.push(end);
            at += buffer.len() as u64;
        }
        Ok(landmarks)
    }

    /// The bytes of the chunk table, from the start of the resource, that say where the chunks `range` lie.
    pub(super) fn table(&self, range: &Range<u64>) -> Range<u64> {
        match self.coding {
            Coding::Plain => 0..0,
            Coding::Chunked(_) => {
                let entry = self.entry_size();
                range.start.saturating_sub(1) * entry..range.end.min(self.chunks() - 1) * entry
            }
            Coding::Solid(_) => {
                let entry = |chunk: u64| size_of::<SolidHeader>() as u64 + chunk * 4;
                entry(range.start - range.start % STRIDE)..entry(range.end)
            }
        }
    }

    /// Where the chunks `range` start, and where the last one ends, from the start of the resource; `table` is what
    /// [`Resource::table`] names. Each chunk has at least one byte and no more than it unpacks to.
    pub(super) fn bounds(
        &self,
        range: &Range<u64>,
        table: &[u8],
        landmarks: &Landmarks,
        bounds: &mut Vec<u64>,
    ) -> Result<()> {
        let first = self.table_len();
        bounds.clear();
        match self.coding {
            Coding::Plain => bounds
                .extend((range.start..=range.end).map(|chunk| chunk.saturating_mul(self.chunk_size()).min(self.size))),
            Coding::Chunked(_) => {
                let wide = self.entry_size() == 8;
                let entries = (0..).map_while(|index: usize| {
                    if wide { u64_at(table, index * 8) } else { u32_at(table, index * 4).map(u64::from) }
                });
                bounds.extend((range.start == 0).then_some(first));
                bounds.extend(entries.map(|end| first.saturating_add(end)));
                bounds.extend((range.end == self.chunks()).then_some(self.stored));
            }
            Coding::Solid(_) => {
                let passed = (range.start / STRIDE) as usize;
                let mut end = match passed.checked_sub(1) {
                    None => first,
                    Some(last) => landmarks.0.get(last).copied().unwrap_or(u64::MAX), // fails the check below
                };
                let base = range.start - range.start % STRIDE;
                bounds.extend((range.start == base).then_some(end));
                for (chunk, index) in (base..range.end).zip(0..) {
                    let entry = u32_at(table, index * 4).unwrap_or(0);
                    end = end.saturating_add(u64::from(entry));
                    bounds.extend((chunk + 1 >= range.start).then_some(end));
                }
            }
        }
        self.check_bounds(range, bounds)
    }

    fn check_bounds(&self, range: &Range<u64>, bounds: &[u64]) -> Result<()> {
        let wrong = |chunk: u64| {
            Error::corrupt(format_args!("WIM: table entry of chunk {chunk} of a resource")).at(self.offset)
        };
        if bounds.len() as u64 != range.end - range.start + 1 {
            return Err(wrong(range.start).found(format_args!("{} entries", bounds.len())));
        }
        for (chunk, pair) in range.clone().zip(bounds.windows(2)) {
            let unpacked = self.unpacked(&(chunk..chunk + 1));
            let most = unpacked.end - unpacked.start;
            let found = pair[1].checked_sub(pair[0]).filter(|stored| (1..=most).contains(stored));
            if found.is_none() || pair[1] > self.stored {
                return Err(wrong(chunk)
                    .found(format_args!("{} to {}", pair[0], pair[1]))
                    .allowed(format_args!("1 to {most} bytes, up to {}", self.stored)));
            }
        }
        Ok(())
    }
}

/// One thread's decoders, made when they are first needed.
#[derive(Default)]
struct Decoders {
    xpress: Option<xpress::Decoder>,
    lzx: Option<(lzx::Window, lzx::Decoder)>,
    lzms: Option<lzms::Decoder>,
}

impl Decoders {
    /// A chunk that takes as many bytes as it unpacks to is stored as it is.
    fn decode(&mut self, codec: Codec, input: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
        if input.len() == output.len() {
            output.copy_from_slice(input);
            return Ok(());
        }
        match codec.compression {
            Compression::None => Err(Damaged("an uncompressed chunk of the wrong length")),
            Compression::Xpress => self.xpress.get_or_insert_with(xpress::Decoder::new).decode(input, output),
            Compression::Lzx => {
                let window = lzx::Window::of_chunk_size(1 << codec.order);
                let window = window.ok_or(Damaged("an LZX chunk size that does not exist"))?;
                let (_, decoder) = match self.lzx.take() {
                    Some(kept) if kept.0 == window => self.lzx.insert(kept),
                    _ => self.lzx.insert((window, lzx::Decoder::new(window))),
                };
                decoder.decode(input, output)
            }
            Compression::Lzms => self.lzms.get_or_insert_with(lzms::Decoder::new).decode(input, output),
        }
    }
}

/// One thread's encoders, made when they are first needed.
#[derive(Default)]
pub(super) struct Encoders {
    xpress: Option<xpress::Encoder>,
    lzx: Option<(lzx::Window, lzx::Encoder)>,
}

impl Encoders {
    /// Whether `input` became shorter; then `output` has it.
    pub(super) fn encode(&mut self, codec: Codec, input: &[u8], output: &mut Vec<u8>) -> bool {
        match codec.compression {
            Compression::None | Compression::Lzms => false,
            Compression::Xpress => self.xpress.get_or_insert_with(xpress::Encoder::new).encode(input, output),
            Compression::Lzx => {
                let Some(window) = lzx::Window::of_chunk_size(1 << codec.order) else { return false };
                let (_, encoder) = match self.lzx.take() {
                    Some(kept) if kept.0 == window => self.lzx.insert(kept),
                    _ => self.lzx.insert((window, lzx::Encoder::new(window))),
                };
                encoder.encode(input, output)
            }
        }
    }
}

/// One thread's decoders and buffers.
#[derive(Default)]
pub(super) struct Unpacker {
    decoders: Decoders,
    input: Vec<u8>,
    output: Vec<u8>,
    table: Vec<u8>,
    bounds: Vec<u64>,
}

/// Bytes read ahead, so that many small resources take one read.
pub(super) struct Span<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl Unpacker {
    /// Reads `range` of a part, then gives it to `each` together with an unpacker for the resources in it.
    pub(super) fn with_span<T>(
        &mut self,
        reader: &dyn ReadAt,
        range: Range<u64>,
        each: impl FnOnce(&mut Self, &Span<'_>) -> T,
    ) -> Result<T> {
        let mut input = std::mem::take(&mut self.input);
        let read = fill(reader, range.clone(), &mut input);
        let result = read.map(|bytes| each(self, &Span { start: range.start, bytes }));
        self.input = input;
        result
    }

    /// All of a resource that lies in a span.
    pub(super) fn unpack_whole<'a>(&'a mut self, resource: &Resource, span: &'a Span<'_>) -> Result<&'a [u8]> {
        let short = || Error::truncated("WIM: resource in a span").at(resource.offset);
        let start = resource.offset.checked_sub(span.start).ok_or_else(short)?;
        let within = |range: Range<u64>| {
            let (from, to) = (start.checked_add(range.start)?, start.checked_add(range.end)?);
            span.bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
        };
        let chunks = 0..resource.chunks();
        let table = within(resource.table(&chunks)).ok_or_else(short)?;
        resource.bounds(&chunks, table, &Landmarks::default(), &mut self.bounds)?;
        let data = within(self.bounds[0]..resource.stored).ok_or_else(short)?;
        decode(&mut self.decoders, resource, chunks, &self.bounds, data, &mut self.output)
    }

    /// The chunks `range` of a resource, whose landmarks these are.
    pub(super) fn unpack(
        &mut self,
        reader: &dyn ReadAt,
        resource: &Resource,
        landmarks: &Landmarks,
        range: Range<u64>,
    ) -> Result<&[u8]> {
        let table = resource.table(&range);
        let table = fill(reader, resource.offset + table.start..resource.offset + table.end, &mut self.table)?;
        resource.bounds(&range, table, landmarks, &mut self.bounds)?;
        let (Some(first), Some(last)) = (self.bounds.first(), self.bounds.last()) else { return Ok(&[]) };
        let data = fill(reader, resource.offset + first..resource.offset + last, &mut self.input)?;
        decode(&mut self.decoders, resource, range, &self.bounds, data, &mut self.output)
    }

    /// The chunks `range` of a compressed or solid resource, in memory of their own.
    pub(super) fn unpack_once(
        reader: &dyn ReadAt,
        resource: &Resource,
        landmarks: &Landmarks,
        range: Range<u64>,
    ) -> Result<Vec<u8>> {
        let mut unpacker = Self::default();
        let unpacked = unpacker.unpack(reader, resource, landmarks, range)?;
        if resource.coding == Coding::Plain {
            return Ok(unpacked.to_vec());
        }
        let len = unpacked.len();
        unpacker.output.truncate(len);
        Ok(unpacker.output)
    }
}

/// Reads a range into a buffer that only ever grows.
fn fill<'a>(reader: &dyn ReadAt, range: Range<u64>, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    let len =
        usize::try_from(range.end - range.start).map_err(|_| Error::unsupported("a read beyond the address space"))?;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    reader.read_at(range.start, &mut buffer[..len])?;
    Ok(&buffer[..len])
}

fn decode<'a>(
    decoders: &mut Decoders,
    resource: &Resource,
    chunks: Range<u64>,
    bounds: &[u64],
    data: &'a [u8],
    output: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    let codec = match resource.coding {
        Coding::Plain => return Ok(data),
        Coding::Chunked(codec) | Coding::Solid(codec) => codec,
    };
    let unpacked = resource.unpacked(&chunks);
    let len = (unpacked.end - unpacked.start) as usize;
    if output.len() < len {
        output.resize(len, 0);
    }
    let output = &mut output[..len];
    let pieces = output.chunks_mut(codec.chunk_size() as usize);
    for ((chunk, bound), output) in chunks.zip(bounds.windows(2)).zip(pieces) {
        let input = &data[(bound[0] - bounds[0]) as usize..(bound[1] - bounds[0]) as usize];
        decoders.decode(codec, input, output).map_err(|damaged| {
            Error::from(damaged)
                .at(resource.offset + bound[0])
                .context(format_args!("{} chunk {chunk} of the resource at {:#x}", codec.compression, resource.offset))
        })?;
    }
    Ok(output)
}

/// All of a resource, in memory; refused beyond `limit`.
pub(super) fn load(reader: &dyn ReadAt, resource: &Resource, limit: u64) -> Result<Vec<u8>> {
    if resource.size > limit {
        return Err(Error::unsupported("WIM: size of a table").at(resource.offset).found(resource.size).allowed(limit));
    }
    let step = (1 << 20 >> resource.codec().order).max(1);
    let mut unpacker = Unpacker::default();
    let landmarks = resource.landmarks(reader)?;
    let mut bytes = Vec::new();
    for start in (0..resource.chunks()).step_by(step) {
        let range = start..(start + step as u64).min(resource.chunks());
        bytes.extend_from_slice(unpacker.unpack(reader, resource, &landmarks, range)?);
    }
    Ok(bytes)
}
