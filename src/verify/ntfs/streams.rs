//! Streams that are compressed, by NTFS or by the overlay filter, and whether they can be decoded.

use super::attributes::{self, Attribute, Extents, Stream};
use super::context::Context;
use super::facts::Facts;
use super::file::WOF_TAG;
use super::record::COMPRESSED;
use crate::base::bytes::{u32_at, u64_at};
use crate::codec::{lznt1, lzx, xpress};

use crate::format::ntfs::ondisk::{MAX_REPARSE, kind};
use crate::verify::{Finding, Level, Rule};

/// Clusters that NTFS compresses together.
const UNIT: u64 = 16;
/// So many bytes for each byte of the volume are decoded, and then no more: an honest volume stays far below that, and one that
/// is made to keep a decoder busy stops here.
const MOST_DECODED: u64 = 16;
/// That many in any case.
const LEAST_DECODED: u64 = 64 << 20;

/// Decodes all compressed streams.
pub(super) fn check(context: &mut Context<'_>, facts: &Facts) {
    let left = context.volume.len().saturating_mul(MOST_DECODED).saturating_add(LEAST_DECODED);
    let mut decoder = Decoder { left, buf: Vec::new(), out: Vec::new(), xpress: xpress::Decoder::new(), lzx: None };
    for number in &facts.compressed {
        decoder.compressed_file(context, *number);
    }
    for number in &facts.overlaid {
        decoder.overlaid_file(context, *number);
    }
    if decoder.left == 0 {
        let found = "compressed streams are far longer than the volume: not all were decoded";
        context.add(Finding::new(Rule::CompressedStream, found).level(Level::Note));
    }
}

struct Decoder {
    /// Bytes that may still be decoded.
    left: u64,
    buf: Vec<u8>,
    out: Vec<u8>,
    xpress: xpress::Decoder,
    lzx: Option<lzx::Decoder>,
}

fn fault(context: &mut Context<'_>, rule: Rule, number: u32, part: &str, found: String, allowed: &str) {
    context.add(Finding::new(rule, found).allowed(allowed).record(u64::from(number)).part(part));
}

impl Decoder {
    /// Takes from what may be decoded; says whether there is enough.
    fn charge(&mut self, len: u64) -> bool {
        self.left = self.left.saturating_sub(len);
        self.left > 0
    }

    fn compressed_file(&mut self, context: &mut Context<'_>, number: u32) {
        let Some(mut loaded) = context.volume.load(number) else { return };
        let all = loaded.attributes();
        for attribute in all.iter().filter(|attribute| attribute.flags & COMPRESSED != 0 && attribute.lowest_vcn() == 0)
        {
            let clusters = context.volume.geometry.clusters;
            let Some(Stream::NonResident(extents)) = attributes::stream(&all, attribute, clusters) else { continue };
            if extents.unit != 4 || context.volume.geometry.cluster > 4096 {
                continue; // said with the sizes
            }
            if let Err(found) = self.units(context, &extents) {
                let allowed = "units of 16 clusters that can be decoded";
                fault(context, Rule::CompressedStream, number, &attribute.part(), found, allowed);
            }
        }
    }

    /// Decodes the units of a stream that are compressed: those with fewer clusters than 16.
    fn units(&mut self, context: &Context<'_>, extents: &Extents) -> Result<(), String> {
        let cluster = context.volume.geometry.cluster;
        let end = extents.initialized.div_ceil(cluster).min(extents.clusters());
        let mut vcn = 0;
        let mut index = 0;
        while vcn < end {
            while extents.runs.get(index).is_some_and(|run| run.end() <= vcn) {
                index += 1;
            }
            let Some(run) = extents.runs.get(index) else { return Ok(()) };
            if run.end() >= vcn + UNIT {
                vcn = run.end() / UNIT * UNIT; // whole units of one run are plain, or holes
                continue;
            }
            let unit = vcn..vcn + UNIT;
            let within = extents.runs[index..].iter().take_while(|run| run.vcn < unit.end);
            let pieces: Vec<(bool, u64)> =
                within.map(|run| (run.lcn.is_some(), run.end().min(unit.end) - run.vcn.max(unit.start))).collect();
            let real: u64 = pieces.iter().filter(|(real, _)| *real).map(|(_, len)| len).sum();
            if pieces.windows(2).any(|pair| !pair[0].0 && pair[1].0) {
                return Err(format!("a hole before clusters in the unit at VCN {vcn}"));
            }
            if real > 0 && real < UNIT {
                self.unit(context, extents, vcn, real)?;
            }
            vcn += UNIT;
        }
        Ok(())
    }

    fn unit(&mut self, context: &Context<'_>, extents: &Extents, vcn: u64, clusters: u64) -> Result<(), String> {
        let cluster = context.volume.geometry.cluster;
        if !self.charge(UNIT * cluster) {
            return Ok(());
        }
        self.buf.resize((clusters * cluster) as usize, 0);
        self.out.resize((UNIT * cluster) as usize, 0);
        context.volume.read_compressed(extents, vcn * cluster, &mut self.buf).map_err(|error| error.to_string())?;
        lznt1::decode(&self.buf, &mut self.out).map_err(|damaged| format!("{} in the unit at VCN {vcn}", damaged.0))
    }

    fn overlaid_file(&mut self, context: &mut Context<'_>, number: u32) {
        const PART: &str = "$DATA:WofCompressedData";
        let Some(mut loaded) = context.volume.load(number) else { return };
        let all = loaded.attributes();
        match self.overlay(context, &all) {
            Ok(Overlay::Checked) => {}
            Ok(Overlay::InWim) => {
                let found = "its contents lie in a WIM file beside it (WIMBoot)";
                context.add(Finding::new(Rule::WofStream, found).level(Level::Note).record(u64::from(number)));
            }
            Err(found) => fault(context, Rule::WofStream, number, PART, found, "chunks that can be decoded"),
        }
    }

    fn overlay(&mut self, context: &Context<'_>, all: &[Attribute<'_>]) -> Result<Overlay, String> {
        const PROVIDER_WIM: u32 = 1;
        const PROVIDER_FILE: u32 = 2;
        let text = |error: crate::error::Error| error.to_string();
        let reparse = context.volume.stream(all, kind::REPARSE_POINT, "").ok_or("no reparse point")?;
        let reparse = context.volume.value(&reparse, MAX_REPARSE).map_err(text)?;
        let word = |index: usize| u32_at(&reparse, 4 * index).unwrap_or(0);
        if word(0) != WOF_TAG || word(2) != 1 {
            return Err(format!("version {} of the overlay's data", word(2)));
        }
        match word(3) {
            PROVIDER_WIM => return Ok(Overlay::InWim),
            PROVIDER_FILE if word(4) == 1 => {}
            provider => return Err(format!("provider {provider} of version {}", word(4))),
        }
        let coding = match word(5) {
            0 => Coding { chunk: 4096, lzx: false },
            1 => Coding { chunk: 32768, lzx: true },
            2 => Coding { chunk: 8192, lzx: false },
            3 => Coding { chunk: 16384, lzx: false },
            other => return Err(format!("algorithm {other}")),
        };
        let main = context.volume.stream(all, kind::DATA, "").ok_or("no main stream")?;
        let data = context.volume.stream(all, kind::DATA, "WofCompressedData").ok_or("no such stream")?;
        self.chunks(context, &data, main.size(), coding)?;
        Ok(Overlay::Checked)
    }

    /// A table of where each chunk but the first begins (counted from the table's end), then the chunks.
    fn chunks(&mut self, context: &Context<'_>, data: &Stream<'_>, size: u64, coding: Coding) -> Result<(), String> {
        let chunks = size.div_ceil(coding.chunk);
        let wide = size > u64::from(u32::MAX);
        let entry = if wide { 8 } else { 4 };
        let table_len = chunks.saturating_sub(1).saturating_mul(entry);
        let stored = data.size();
        if table_len > stored {
            return Err(format!("{stored} bytes for {chunks} chunks"));
        }
        let table = read(context, data, 0, table_len)?;
        let mut start = 0;
        for chunk in 0..chunks {
            let at = (chunk * entry) as usize;
            let end = match chunk + 1 == chunks {
                true => Some(stored - table_len),
                false if wide => u64_at(&table, at),
                false => u32_at(&table, at).map(u64::from),
            };
            let unpacked = (size - chunk * coding.chunk).min(coding.chunk);
            let packed = end.and_then(|end| end.checked_sub(start)).filter(|len| (1..=unpacked).contains(len));
            let Some(packed) = packed.filter(|len| start + len <= stored - table_len) else {
                return Err(format!("chunk {chunk} of {chunks} from {start} to {}", end.unwrap_or(0)));
            };
            if packed < unpacked {
                if !self.charge(unpacked) {
                    return Ok(());
                }
                let bytes = read(context, data, table_len + start, packed)?;
                self.out.resize(unpacked as usize, 0);
                self.chunk(&bytes, coding).map_err(|what| format!("{what} in chunk {chunk} of {chunks}"))?;
            }
            start += packed;
        }
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8], coding: Coding) -> Result<(), &'static str> {
        let decoded = if coding.lzx {
            let window = lzx::Window::of_chunk_size(coding.chunk as u32).ok_or("a window of no size")?;
            self.lzx.get_or_insert_with(|| lzx::Decoder::new(window)).decode(bytes, &mut self.out)
        } else {
            self.xpress.decode(bytes, &mut self.out)
        };
        decoded.map_err(|damaged| damaged.0)
    }
}

/// How the chunks of a file are compressed.
#[derive(Debug, Clone, Copy)]
struct Coding {
    chunk: u64,
    lzx: bool,
}

enum Overlay {
    Checked,
    /// The contents are not on this volume alone.
    InWim,
}

/// A part of a stream.
fn read(context: &Context<'_>, stream: &Stream<'_>, at: u64, len: u64) -> Result<Vec<u8>, String> {
    match stream {
        Stream::Resident(value) => {
            let range = at as usize..(at + len) as usize;
            value.get(range).map(<[u8]>::to_vec).ok_or_else(|| "a stream that ends too early".to_owned())
        }
        Stream::NonResident(extents) => {
            if at + len > extents.clusters().saturating_mul(context.volume.geometry.cluster).min(context.volume.len()) {
                return Err("a stream that ends too early".to_owned());
            }
            let mut bytes = vec![0; len as usize];
            context.volume.read_stream(extents, at, &mut bytes).map_err(|error| error.to_string())?;
            Ok(bytes)
        }
    }
}
