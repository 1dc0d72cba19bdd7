//! LZMS: the compression of ESD files and of WIM files made with `/Compress:recovery`, the strongest in Windows.
//!
//! | | supported |
//! |---|---|
//! | decode, chunks of up to 1 GiB ([`MAX_CHUNK`]) | yes |
//! | encode | no |
//! | the container with headers of Windows' compression API | no: WIM and ESD files hold bare chunks |
//!
//! A chunk is a row of 16-bit little-endian units that two streams share. From the front comes a range coder's stream,
//! whose adaptive binary decisions say what each item is; from the back, highest bits first, come Huffman codes and plain bits,
//! which say the rest. The items:
//!
//! ```text
//! match? 0 ───────────────────────────────────────────── literal code
//!        1 ── delta? 0 ── recent? 0 ──────────────────── LZ offset code, extra bits ─────────┐
//!                                 1 ── which of 3? ───────────────────────────────────────────┤
//!                    1 ── recent? 0 ── delta power code, delta offset code, extra bits ──────┤
//!                                 1 ── which of 3? ───────────────────────────────────────────┴─ length code, extra bits
//! ```
//!
//! * A decision's probability is that of the last 64 bits decided in its context; the context is the last 4 (match?), 5
//!   (delta?) or 6 bits decided of this kind (`bits`).
//! * A Huffman code starts with all symbols equally frequent and is rebuilt after every 1024 symbols (lengths and powers:
//!   512); then the frequencies are halved (`huffman`). Offset codes have as many symbols as the chunk's length needs.
//! * An LZ match copies from an offset. A delta match (span 2^power, offset a multiple of it) adds up differences; it is for
//!   tables and pictures (`delta`).
//! * Each kind of match remembers its latest sources (`Recent`).
//! * At last a filter turns the absolute targets of x86 code back into relative ones (`x86`).
//!
//! Microsoft has not published the format; the facts are those of wimlib's documentation of its decompressor. The decoder was
//! compared with wimlib's, chunk by chunk, also on damaged chunks: both give the same bytes or both refuse, but that wimlib
//! reads zeros where the input has run out, and this one then refuses (`bits`).

mod bits;
mod delta;
mod huffman;
#[cfg(test)]
mod samples;
mod slots;
#[cfg(test)]
mod tests;
mod x86;

use std::hint::cold_path;

use self::bits::{BackwardBits, Decision, RangeDecoder, Streams};
use self::huffman::Code;
use super::{Damaged, copy};

/// The longest output of one chunk: 1 GiB, as in wimlib.
pub const MAX_CHUNK: usize = 1 << 30;

const BEFORE_START: Damaged = Damaged("LZMS match from before the start of the chunk");
const PAST_END: Damaged = Damaged("LZMS match past the end of the chunk");

/// Decodes LZMS chunks, one after the other; keeps its tables (0.4 MB) in between.
pub struct Decoder {
    model: Box<Model>,
    filter: x86::Filter,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with its tables.
    pub fn new() -> Self {
        Self { model: Box::new(Model::new()), filter: x86::Filter::new() }
    }

    /// Decodes one chunk into `output`, which is as long as the chunk was before it was compressed.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if `input` is not what a compressor made of that many bytes, which is not always noticed, or if `output` is
    /// longer than [`MAX_CHUNK`]. What is in `output` then is of no use. The time is linear in the output's length.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
        if output.len() > MAX_CHUNK {
            return Err(Damaged("LZMS chunk longer than 1 GiB"));
        }
        if !input.len().is_multiple_of(2) {
            return Err(Damaged("LZMS chunk of an odd number of bytes"));
        }
        self.model.reset(output.len());
        self.model.decode(input, output)?;
        self.filter.undo(output);
        Ok(())
    }
}

type LengthCode = Code<64, 1024>;

/// All that adapts while a chunk is decoded.
struct Model {
    choices: Choices,
    literals: Code<256, 1024>,
    lengths: LengthCode,
    lz_offsets: Code<1024, 2048>,
    delta_offsets: Code<1024, 1024>,
    delta_powers: Code<8, 256>,
    lz_sources: Recent<u32>,
    delta_sources: Recent<DeltaSource>,
}

/// The decisions about the kind of an item.
struct Choices {
    is_match: Decision<16>,
    is_delta: Decision<32>,
    lz_is_recent: Decision<64>,
    lz_recent: [Decision<64>; 2],
    delta_is_recent: Decision<64>,
    delta_recent: [Decision<64>; 2],
}

impl Choices {
    const INITIAL: Self = Self {
        is_match: Decision::INITIAL,
        is_delta: Decision::INITIAL,
        lz_is_recent: Decision::INITIAL,
        lz_recent: [Decision::INITIAL; 2],
        delta_is_recent: Decision::INITIAL,
        delta_recent: [Decision::INITIAL; 2],
    };
}

/// Where a delta match takes its bytes from.
#[derive(Clone, Copy)]
struct DeltaSource {
    /// The span is 2 to this power.
    power: u32,
    /// The offset in spans.
    raw_offset: u32,
}

impl DeltaSource {
    const fn new(power: u32, raw_offset: u32) -> Self {
        Self { power, raw_offset }
    }
}

/// The latest sources of one kind of match. Three can be used again; the fourth moves up when one of them is.
struct Recent<T> {
    /// A ring: the newest source is at `newest`, older ones follow.
    ring: [T; 4],
    newest: usize,
    /// Where the latest match of this kind ended in the output.
    end: usize,
}

impl<T: Copy> Recent<T> {
    const fn new(newest_first: [T; 4]) -> Self {
        Self { ring: newest_first, newest: 0, end: 0 }
    }

    #[inline(always)]
    fn push(&mut self, source: T) {
        self.newest = self.newest.wrapping_sub(1);
        self.ring[self.newest % 4] = source;
    }

    /// Moves the source at `index` to the front. The newest does not count if it is that of the very item before, which
    /// ended `at` the present position: to use the same source again, that match would have been made longer.
    #[inline(always)]
    fn reuse(&mut self, index: usize, at: usize) -> T {
        let index = index + usize::from(self.end == at);
        let place = |i: usize| self.newest.wrapping_add(i) % 4;
        let source = self.ring[place(index)];
        for i in (0..index).rev() {
            self.ring[place(i + 1)] = self.ring[place(i)];
        }
        self.ring[place(0)] = source;
        source
    }
}

const LZ_SOURCES: Recent<u32> = Recent::new([1, 2, 3, 4]);
const DELTA_SOURCES: Recent<DeltaSource> =
    Recent::new([DeltaSource::new(0, 1), DeltaSource::new(0, 2), DeltaSource::new(0, 3), DeltaSource::new(0, 4)]);

impl Model {
    fn new() -> Self {
        let offset_extra = slots::OFFSET.extra();
        Self {
            choices: Choices::INITIAL,
            literals: Code::new(1024, &[]),
            lengths: Code::new(512, slots::LENGTH.extra()),
            lz_offsets: Code::new(1024, offset_extra),
            delta_offsets: Code::new(1024, offset_extra),
            delta_powers: Code::new(512, &[]),
            lz_sources: LZ_SOURCES,
            delta_sources: DELTA_SOURCES,
        }
    }

    /// Back to the start of a chunk of `length` bytes.
    fn reset(&mut self, length: usize) {
        let offsets = slots::OFFSET.needed_below(length as u32);
        self.choices = Choices::INITIAL;
        self.literals.reset(256);
        self.lengths.reset(slots::LENGTHS);
        self.lz_offsets.reset(offsets);
        self.delta_offsets.reset(offsets);
        self.delta_powers.reset(8);
        self.lz_sources = LZ_SOURCES;
        self.delta_sources = DELTA_SOURCES;
    }

    /// Decodes all items of a chunk.
    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), Damaged> {
        let Some(Streams { mut range, mut bits }) = Streams::new(input) else {
            return Err(Damaged("LZMS chunk shorter than 4 bytes"));
        };
        let mut at = 0;
        while at < out.len() {
            bits.refill();
            if !range.decide(&mut self.choices.is_match) {
                out[at] = self.literals.decode(&mut bits).0 as u8;
                at += 1;
            } else if !range.decide(&mut self.choices.is_delta) {
                let offset = if !range.decide(&mut self.choices.lz_is_recent) {
                    let (slot, extra) = self.lz_offsets.decode(&mut bits);
                    let offset = slots::OFFSET.base(slot) + extra;
                    self.lz_sources.push(offset);
                    offset
                } else {
                    let index = recent_index(&mut range, &mut self.choices.lz_recent);
                    self.lz_sources.reuse(index, at)
                };
                let length = decode_length(&mut self.lengths, &mut bits);
                copy_lz(out, at, offset as usize, length)?;
                at += length;
                self.lz_sources.end = at;
            } else {
                cold_path();
                let source = if !range.decide(&mut self.choices.delta_is_recent) {
                    let power = self.delta_powers.decode(&mut bits).0 as u32;
                    bits.refill();
                    let (slot, extra) = self.delta_offsets.decode(&mut bits);
                    let source = DeltaSource::new(power, slots::OFFSET.base(slot) + extra);
                    self.delta_sources.push(source);
                    source
                } else {
                    let index = recent_index(&mut range, &mut self.choices.delta_recent);
                    self.delta_sources.reuse(index, at)
                };
                let length = decode_length(&mut self.lengths, &mut bits);
                copy_delta(out, at, source, length)?;
                at += length;
                self.delta_sources.end = at;
            }
        }
        match (Streams { range, bits }).overran() {
            false => Ok(()),
            true => Err(Damaged("LZMS chunk ends too early")),
        }
    }
}

#[inline(always)]
fn decode_length(lengths: &mut LengthCode, bits: &mut BackwardBits) -> usize {
    bits.refill();
    let (slot, extra) = lengths.decode(bits);
    (slots::LENGTH.base(slot) + extra) as usize
}

/// Which of the recent sources is meant.
#[inline(always)]
fn recent_index(range: &mut RangeDecoder, [first, second]: &mut [Decision<64>; 2]) -> usize {
    if !range.decide(first) {
        return 0;
    }
    cold_path();
    if !range.decide(second) { 1 } else { 2 }
}

/// Copies an LZ match, if it lies within the output.
#[inline(always)]
fn copy_lz(out: &mut [u8], at: usize, offset: usize, length: usize) -> Result<(), Damaged> {
    let room = out.len() - at;
    if offset > at {
        return Err(BEFORE_START);
    }
    if length <= room.saturating_sub(copy::OVERSHOOT) {
        copy::overshooting(out, at, offset, length);
    } else if length <= room {
        copy::exact(out, at, offset, length);
    } else {
        return Err(PAST_END);
    }
    Ok(())
}

/// Copies a delta match, if it lies within the output.
#[inline(always)]
fn copy_delta(out: &mut [u8], at: usize, source: DeltaSource, length: usize) -> Result<(), Damaged> {
    let span = 1 << source.power;
    let offset = u64::from(source.raw_offset) << source.power;
    if offset + span > at as u64 {
        return Err(BEFORE_START);
    }
    delta::copy(out, at - offset as usize, at, span as usize, length).ok_or(PAST_END)
}
