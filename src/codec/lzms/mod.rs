//! LZMS

mod bits;
mod delta;
mod huffman;
mod slots;
mod x86;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::hint::cold_path;

use self::bits::{BackwardBits, Decision, RangeDecoder};
use self::huffman::Code;
use super::{Damaged, copy};

/// The longest output of one chunk: 1 GiB, which is wimlib's largest solid chunk.
pub const MAX_CHUNK: usize = 1 << 30;

const BEFORE_START: Damaged = Damaged("LZMS match from before the start of the chunk");
const PAST_END: Damaged = Damaged("LZMS match past the end of the chunk");

/// Decodes LZMS chunks, one after the other; keeps its tables in between.
pub struct Decoder {
    model: Box<Model>,
    filter: x86::Filter,
}

struct Model {
    is_match: Decision<16>,
    is_delta: Decision<32>,
    lz_is_recent: Decision<64>,
    lz_recent: [Decision<64>; 2],
    delta_is_recent: Decision<64>,
    delta_recent: [Decision<64>; 2],
    literals: Code<256, 1024>,
    lengths: Code<64, 1024>,
    lz_offsets: Code<1024, 2048>,
    delta_offsets: Code<1024, 1024>,
    delta_powers: Code<8, 256>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Literal,
    Lz,
    Delta,
}

/// The sources of the last matches of one kind.
struct Recent<T>([T; 4], usize);

impl<T: Copy> Recent<T> {
    #[inline(always)]
    fn push(&mut self, source: T) {
        self.1 = self.1.wrapping_sub(1);
        self.0[self.1 % 4] = source;
    }

    #[inline(always)]
    fn reuse(&mut self, index: usize, skip_newest: bool) -> T {
        let index = index + usize::from(skip_newest);
        let place = |i: usize| self.1.wrapping_add(i) % 4;
        let source = self.0[place(index)];
        for i in (0..index).rev() {
            self.0[place(i + 1)] = self.0[place(i)];
        }
        self.0[place(0)] = source;
        source
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with its tables: about 300 KB.
    pub fn new() -> Self {
        let offset_extra = slots::OFFSET.extra();
        Self {
            model: Box::new(Model {
                is_match: Decision::INITIAL,
                is_delta: Decision::INITIAL,
                lz_is_recent: Decision::INITIAL,
                lz_recent: [Decision::INITIAL; 2],
                delta_is_recent: Decision::INITIAL,
                delta_recent: [Decision::INITIAL; 2],
                literals: Code::new(1024, &[]),
                lengths: Code::new(512, slots::LENGTH.extra()),
                lz_offsets: Code::new(1024, offset_extra),
                delta_offsets: Code::new(1024, offset_extra),
                delta_powers: Code::new(512, &[]),
            }),
            filter: x86::Filter::new(),
        }
    }

    /// Decodes one chunk, `output.len()` bytes of it.
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

impl Model {
    fn reset(&mut self, length: usize) {
        self.is_match = Decision::INITIAL;
        self.is_delta = Decision::INITIAL;
        self.lz_is_recent = Decision::INITIAL;
        self.lz_recent = [Decision::INITIAL; 2];
        self.delta_is_recent = Decision::INITIAL;
        self.delta_recent = [Decision::INITIAL; 2];
        let offsets = slots::OFFSET.needed_below(length as u32);
        self.literals.reset(256);
        self.lengths.reset(slots::LENGTHS);
        self.lz_offsets.reset(offsets);
        self.delta_offsets.reset(offsets);
        self.delta_powers.reset(8);
    }

    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), Damaged> {
        let Some(mut range) = RangeDecoder::new(input) else { return Err(Damaged("LZMS chunk shorter than 4 bytes")) };
        let mut bits = BackwardBits::new(input);
        let mut lz = Recent([1u32, 2, 3, 4], 0);
        let mut delta = Recent([(0u32, 1u32), (0, 2), (0, 3), (0, 4)], 0);
        let mut last = Item::Literal;
        let mut at = 0;
        while at < out.len() {
            bits.refill();
            if !range.decide(&mut self.is_match) {
                out[at] = self.literals.decode(&mut bits).0 as u8;
                at += 1;
                last = Item::Literal;
                continue;
            }
            if !range.decide(&mut self.is_delta) {
                let offset = if !range.decide(&mut self.lz_is_recent) {
                    let (slot, extra) = self.lz_offsets.decode(&mut bits);
                    let offset = slots::OFFSET.base(slot) + extra;
                    lz.push(offset);
                    offset
                } else {
                    let index = recent_index(&mut range, &mut self.lz_recent);
                    lz.reuse(index, last == Item::Lz)
                };
                last = Item::Lz;
                let length = self.length(&mut bits);
                let room = out.len() - at;
                if offset as usize > at {
                    return Err(BEFORE_START);
                }
                if length <= room.saturating_sub(copy::OVERSHOOT) {
                    copy::overshooting(out, at, offset as usize, length);
                } else if length <= room {
                    cold_path();
                    copy::exact(out, at, offset as usize, length);
                } else {
                    return Err(PAST_END);
                }
                at += length;
            } else {
                cold_path();
                let (power, raw) = if !range.decide(&mut self.delta_is_recent) {
                    let power = self.delta_powers.decode(&mut bits).0 as u32;
                    bits.refill();
                    let (slot, extra) = self.delta_offsets.decode(&mut bits);
                    let source = (power, slots::OFFSET.base(slot) + extra);
                    delta.push(source);
                    source
                } else {
                    let index = recent_index(&mut range, &mut self.delta_recent);
                    delta.reuse(index, last == Item::Delta)
                };
                last = Item::Delta;
                let length = self.length(&mut bits);
                let span = 1 << power;
                let offset = u64::from(raw) << power;
                if offset + span > at as u64 {
                    return Err(BEFORE_START);
                }
                delta::copy(out, at - offset as usize, at, span as usize, length).ok_or(PAST_END)?;
                at += length;
            }
        }
        if bits.overran() || range.overran() {
            return Err(Damaged("LZMS chunk ends too early"));
        }
        Ok(())
    }

    #[inline(always)]
    fn length(&mut self, bits: &mut BackwardBits) -> usize {
        bits.refill();
        let (slot, extra) = self.lengths.decode(bits);
        (slots::LENGTH.base(slot) + extra) as usize
    }
}

#[inline(always)]
fn recent_index(range: &mut RangeDecoder, decisions: &mut [Decision<64>; 2]) -> usize {
    let [first, second] = decisions;
    if !range.decide(first) {
        return 0;
    }
    cold_path();
    if !range.decide(second) { 1 } else { 2 }
}
