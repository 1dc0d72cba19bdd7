//! The decoder.

use super::{HEADER_BYTES, LONG_LENGTH, MIN_MATCH, SYMBOLS};
use crate::codec::huffman::{Code, LENGTH_MASK};
use crate::codec::{Damaged, copy};

/// Table entries: this bit for literals, which have their byte at [`VALUE_SHIFT`]. Matches have the length header there
/// and the number of offset bits at [`OFFSET_BITS_SHIFT`].
const LITERAL: u32 = 1 << 31;
const VALUE_SHIFT: u32 = 8;
const OFFSET_BITS_SHIFT: u32 = 16;

static PAYLOADS: [u32; SYMBOLS] = {
    let mut payloads = [0; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let value = symbol as u32 & 0xFF;
        payloads[symbol] = if symbol < 256 {
            LITERAL | value << VALUE_SHIFT
        } else {
            (value >> 4) << OFFSET_BITS_SHIFT | (value & 0xF) << VALUE_SHIFT
        };
        symbol += 1;
    }
    payloads
};

/// Output that must be left for a turn of the fast loop: two literals and the longest match without length bytes.
const FAST_OUTPUT: usize = 2 + LONG_LENGTH - 1 + MIN_MATCH + copy::OVERSHOOT;

const TOO_FAR: Damaged = Damaged("a match that starts before the output");
const TOO_LONG: Damaged = Damaged("a match that passes the end of the output");
const TOO_SHORT: Damaged = Damaged("the compressed data ends too early");

/// Decodes XPRESS chunks; keeps its table between them.
pub struct Decoder {
    code: Box<Code<SYMBOLS, 2048>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for chunks of any size.
    pub fn new() -> Self {
        Self { code: Box::new(Code::new()) }
    }

    /// Fills `output` exactly from the chunk `input`; what `output` holds after an error is of no use.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
        let (header, stream) = input.split_first_chunk::<HEADER_BYTES>().ok_or(TOO_SHORT)?;
        let mut lengths = [0; SYMBOLS];
        for (pair, byte) in lengths.as_chunks_mut::<2>().0.iter_mut().zip(header) {
            *pair = [byte & 0xF, byte >> 4];
        }
        self.code.build(&lengths, &PAYLOADS)?;
        let mut bits = Bits { stream, rest: stream, missing: 0, buffer: 0, count: 0 };
        let at = self.fast(&mut bits, output)?;
        self.careful(&mut bits, output, at)?;
        if bits.overran() { Err(TOO_SHORT) } else { Ok(()) }
    }

    /// Decodes until the output's end is near, and returns how much there is.
    #[inline(never)]
    fn fast(&self, bits: &mut Bits<'_>, output: &mut [u8]) -> Result<usize, Damaged> {
        let code = &*self.code;
        let fast_end = output.len().saturating_sub(FAST_OUTPUT);
        let mut local = *bits;
        let mut at = 0;
        // 48 bits: enough for three literals, or for a match
        local.refill();
        let mut entry = code.entry(local.buffer);
        while at < fast_end {
            if entry & LITERAL != 0 {
                local.literal(entry, output, &mut at);
                entry = code.entry(local.buffer);
                if entry & LITERAL != 0 {
                    local.literal(entry, output, &mut at);
                    entry = code.entry(local.buffer);
                    if entry & LITERAL != 0 {
                        local.literal(entry, output, &mut at);
                        local.refill();
                        entry = code.entry(local.buffer);
                        continue;
                    }
                }
                local.refill();
            }
            if entry & LENGTH_MASK == 0 {
                entry = code.long(local.buffer, &PAYLOADS)?;
                if entry & LITERAL != 0 {
                    local.literal(entry, output, &mut at);
                    local.refill();
                    entry = code.entry(local.buffer);
                    continue;
                }
            }
            local.skip(entry);
            let header = (entry >> VALUE_SHIFT) as usize & 0xF;
            if header == LONG_LENGTH {
                let length = local.long_length()?;
                let offset = local.offset(entry);
                check_match(output, at, offset, length)?;
                if output.len() - at >= length + copy::OVERSHOOT {
                    copy::overshooting(output, at, offset, length);
                } else {
                    copy::exact(output, at, offset, length);
                }
                at += length;
                local.refill();
                entry = code.entry(local.buffer);
                continue;
            }
            let offset = local.offset(entry);
            local.refill();
            entry = code.entry(local.buffer);
            if offset > at {
                return Err(TOO_FAR);
            }
            copy::overshooting(output, at, offset, header + MIN_MATCH);
            at += header + MIN_MATCH;
        }
        *bits = local;
        Ok(at)
    }

    /// Decodes the rest of the output, writing nothing past its end.
    fn careful(&self, bits: &mut Bits<'_>, output: &mut [u8], mut at: usize) -> Result<(), Damaged> {
        while at < output.len() {
            bits.refill();
            let mut entry = self.code.entry(bits.buffer);
            if entry & LENGTH_MASK == 0 {
                entry = self.code.long(bits.buffer, &PAYLOADS)?;
            }
            if entry & LITERAL != 0 {
                bits.literal(entry, output, &mut at);
                continue;
            }
            bits.skip(entry);
            let header = (entry >> VALUE_SHIFT) as usize & 0xF;
            let length = if header == LONG_LENGTH { bits.long_length()? } else { header + MIN_MATCH };
            let offset = bits.offset(entry);
            check_match(output, at, offset, length)?;
            copy::exact(output, at, offset, length);
            at += length;
        }
        Ok(())
    }
}

fn check_match(output: &[u8], at: usize, offset: usize, length: usize) -> Result<(), Damaged> {
    if offset > at {
        Err(TOO_FAR)
    } else if length > output.len() - at {
        Err(TOO_LONG)
    } else {
        Ok(())
    }
}

/// The stream: units of 16 bits with bytes between them.
#[derive(Clone, Copy)]
struct Bits<'a> {
    stream: &'a [u8],
    /// What is not in the buffer yet.
    rest: &'a [u8],
    /// How many zero bytes were supplied past the end.
    missing: usize,
    /// The next bits, from the top down. What lies below `count` bits is part of the next units, or zero.
    buffer: u64,
    /// How many bits the buffer holds: its six low bits count, the others are of no meaning.
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 48 bits available; past the end they are zero.
    #[inline(always)]
    fn refill(&mut self) {
        let whole = ((!self.count & LENGTH_MASK) >> 4 << 1) as usize;
        let units = match self.rest.first_chunk() {
            Some(units) => {
                self.rest = &self.rest[whole..];
                u64::from_le_bytes(*units)
            }
            None => {
                let units = last_units(self.rest);
                self.missing += whole.saturating_sub(self.rest.len());
                self.rest = self.rest.get(whole..).unwrap_or_default();
                units
            }
        };
        let bytes_swapped = (units & 0x00FF_00FF_00FF_00FF) << 8 | units >> 8 & 0x00FF_00FF_00FF_00FF;
        self.buffer |= bytes_swapped.swap_bytes() >> (self.count & LENGTH_MASK);
        self.count |= 48;
    }

    /// Takes a literal and appends it to the output.
    #[inline(always)]
    fn literal(&mut self, entry: u32, output: &mut [u8], at: &mut usize) {
        output[*at] = (entry >> VALUE_SHIFT) as u8;
        *at += 1;
        self.skip(entry);
    }

    /// Takes as many bits as the low bits of `entry` say.
    #[inline(always)]
    fn skip(&mut self, entry: u32) {
        self.buffer <<= entry & LENGTH_MASK;
        self.count = self.count.wrapping_sub(entry);
    }

    /// Reads the offset of a match.
    #[inline(always)]
    fn offset(&mut self, entry: u32) -> usize {
        let extra = entry >> OFFSET_BITS_SHIFT & 0xF;
        let offset = (self.buffer >> 1 | 1 << 63) >> (63 - extra);
        self.skip(extra);
        offset as usize
    }

    /// Reads the bytes of a long length, which lie behind the unit that leaves 16 to 31 bits in the buffer.
    #[inline(always)]
    fn long_length(&mut self) -> Result<usize, Damaged> {
        let count = self.count & LENGTH_MASK;
        let ahead = (count - 16) >> 4;
        self.count = count - 16 * ahead;
        self.buffer &= !(u64::MAX >> self.count);
        let at = self.stream.len() - self.rest.len() + self.missing - 2 * ahead as usize;
        let (&byte, mut rest) = self.stream.get(at..).and_then(|rest| rest.split_first()).ok_or(TOO_SHORT)?;
        let mut length = usize::from(byte) + LONG_LENGTH;
        if byte == u8::MAX {
            let (long, behind) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
            length = usize::from(u16::from_le_bytes(*long));
            rest = behind;
        }
        self.rest = rest;
        self.missing = 0;
        Ok(length + MIN_MATCH)
    }

    /// Whether more bits were taken than there are.
    fn overran(&self) -> bool {
        let units = (self.count & LENGTH_MASK) as usize / 16;
        self.missing.div_ceil(2) > units
    }
}

/// The units at the end of the stream, followed by zeros.
#[cold]
#[inline(never)]
fn last_units(rest: &[u8]) -> u64 {
    let mut units = [0; 8];
    units[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(units)
}
