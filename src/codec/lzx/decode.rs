//! The decoder.
//!
//! [`Codes`] is the part that any framing of LZX shares: it reads codes and decodes symbols between two places of an
//! output that may hold earlier data. [`Decoder`] adds the chunks of WIM.

use super::*;
use crate::codec::huffman::{Code, LENGTH_MASK};
use crate::codec::{Damaged, copy};
use std::hint::select_unpredictable;

const TOO_FAR: Damaged = Damaged("a match that starts before the output");
const TOO_LONG: Damaged = Damaged("a match that passes the end of its block");
pub(super) const TOO_SHORT: Damaged = Damaged("the compressed data ends too early");

/// Decodes LZX chunks; keeps its tables between them.
pub struct Decoder {
    window: Window,
    codes: Box<Codes>,
    /// The input as bytes in the order of its bits, and zeros so that eight bytes can be read at the end.
    stream: Vec<u8>,
}

impl Decoder {
    /// A decoder for chunks of a WIM file with this chunk size.
    pub fn new(window: Window) -> Self {
        Self { window, codes: Box::new(Codes::new(window.main_symbols())), stream: Vec::new() }
    }

    /// Fills `output` exactly from the chunk `input`; what `output` holds after an error is of no use.
    ///
    /// `output` is no longer than the window.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
        if output.len() > self.window.size() {
            return Err(Damaged("a chunk that is larger than the window"));
        }
        put_in_bit_order(input, &mut self.stream);
        self.codes.reset();
        let mut bits = Bits::new(&self.stream);
        let mut recent = [1; RECENT_OFFSETS];
        let mut may_have_calls = false;
        let mut at = 0;
        while at < output.len() {
            bits.refill();
            let kind = bits.read(3);
            let size = self.block_size(&mut bits);
            if size == 0 || size > output.len() - at {
                return Err(Damaged("a block that is empty or passes the end of the output"));
            }
            let place = at..at + size;
            match kind {
                BLOCK_VERBATIM => {
                    self.codes.read(&mut bits, false)?;
                    self.codes.decode::<false>(&mut bits, &mut recent, output, place)?;
                    may_have_calls |= self.codes.has_calls();
                }
                BLOCK_ALIGNED => {
                    self.codes.read(&mut bits, true)?;
                    self.codes.decode::<true>(&mut bits, &mut recent, output, place)?;
                    may_have_calls |= self.codes.has_calls();
                }
                BLOCK_UNCOMPRESSED => {
                    let start = bits.taken(self.stream.len()) / 16 * 2 + 2;
                    let end = read_uncompressed(input, start, &mut recent, &mut output[place])?;
                    bits = Bits::new(self.stream.get(end..).unwrap_or_default());
                    may_have_calls = true;
                }
                _ => return Err(Damaged("a block of an unknown type")),
            }
            let whole_units = input.len() / 2;
            if kind != BLOCK_UNCOMPRESSED && (bits.ran_out || bits.taken(self.stream.len()) > 16 * whole_units) {
                return Err(TOO_SHORT);
            }
            at += size;
        }
        if may_have_calls {
            e8::to_relative(output);
        }
        Ok(())
    }

    fn block_size(&self, bits: &mut Bits<'_>) -> usize {
        if bits.read(1) == 1 {
            return DEFAULT_BLOCK_SIZE;
        }
        bits.read(if self.window.has_wide_block_sizes() { 24 } else { 16 }) as usize
    }
}

/// Reads an uncompressed block, after the padding to a whole unit (a whole unit if there is no need): the recent offsets, the
/// bytes, and one more byte if they are odd in number. Returns where it ends.
fn read_uncompressed(
    input: &[u8],
    start: usize,
    recent: &mut [u32; RECENT_OFFSETS],
    output: &mut [u8],
) -> Result<usize, Damaged> {
    let (offsets, data) = input.get(start..).and_then(|rest| rest.split_first_chunk::<12>()).ok_or(TOO_SHORT)?;
    for (recent, bytes) in recent.iter_mut().zip(offsets.as_chunks::<4>().0) {
        *recent = u32::from_le_bytes(*bytes);
    }
    if recent.contains(&0) {
        return Err(Damaged("a recent offset of zero"));
    }
    output.copy_from_slice(data.get(..output.len()).ok_or(TOO_SHORT)?);
    Ok(start + offsets.len() + output.len().next_multiple_of(2))
}

/// Swaps the bytes of each 16-bit unit, so that the first bit is the top bit of the first byte, and adds zeros. An odd
/// last byte is only ever data of an uncompressed block: its place is zero.
pub(super) fn put_in_bit_order(input: &[u8], stream: &mut Vec<u8>) {
    let (words, rest) = input.as_chunks::<8>();
    stream.resize(8 * words.len() + 8 + PADDING, 0);
    let (swapped, end) = stream.as_chunks_mut::<8>().0.split_at_mut(words.len());
    for (swapped, word) in swapped.iter_mut().zip(words) {
        let word = u64::from_ne_bytes(*word);
        *swapped = ((word & 0x00FF_00FF_00FF_00FF) << 8 | word >> 8 & 0x00FF_00FF_00FF_00FF).to_ne_bytes();
    }
    let end = end.as_flattened_mut();
    end.fill(0);
    for (swapped, unit) in end.as_chunks_mut::<2>().0.iter_mut().zip(rest.as_chunks::<2>().0) {
        *swapped = [unit[1], unit[0]];
    }
}

// Entries of the main code: literals have this bit and their byte at `VALUE_SHIFT`. Matches have their length there,
// the offset slot at `SLOT_SHIFT`, the number of extra bits that come as they are at `EXTRA_SHIFT`, and this bit if three more come
// through the aligned code.
const LITERAL: u32 = 1 << 31;
const ALIGNED: u32 = 1 << 30;
const VALUE_SHIFT: u32 = 8;
const SLOT_SHIFT: u32 = 16;
const EXTRA_SHIFT: u32 = 24;

const fn main_payloads(aligned: bool) -> [u32; MAX_MAIN_SYMBOLS] {
    let mut payloads = [0; MAX_MAIN_SYMBOLS];
    let mut symbol = 0;
    while symbol < MAX_MAIN_SYMBOLS {
        payloads[symbol] = if symbol < LITERALS {
            LITERAL | (symbol as u32) << VALUE_SHIFT
        } else {
            let slot = (symbol - LITERALS) / SLOT_HEADERS;
            let length = (symbol - LITERALS) % SLOT_HEADERS + MIN_MATCH;
            let extra = SLOTS[slot].0 as u32;
            let (extra, flag) = if aligned && extra >= 3 { (extra - 3, ALIGNED) } else { (extra, 0) };
            extra << EXTRA_SHIFT | flag | (slot as u32) << SLOT_SHIFT | (length as u32) << VALUE_SHIFT
        };
        symbol += 1;
    }
    payloads
}

static VERBATIM_PAYLOADS: [u32; MAX_MAIN_SYMBOLS] = main_payloads(false);
static ALIGNED_PAYLOADS: [u32; MAX_MAIN_SYMBOLS] = main_payloads(true);

/// Payloads of the other codes: the symbol.
static PLAIN_PAYLOADS: [u32; LENGTH_SYMBOLS] = {
    let mut payloads = [0; LENGTH_SYMBOLS];
    let mut symbol = 0;
    while symbol < LENGTH_SYMBOLS {
        payloads[symbol] = (symbol as u32) << VALUE_SHIFT;
        symbol += 1;
    }
    payloads
};

/// The offset that a slot starts at, without bias; more slots than there are, so that six bits always hit. Those of recent
/// offsets are not used.
static BASES: [u32; 64] = {
    let mut bases = [0; 64];
    let mut slot = RECENT_OFFSETS;
    while slot < MAX_SLOTS {
        bases[slot] = SLOTS[slot].1 - OFFSET_BIAS;
        slot += 1;
    }
    bases
};

/// The codes of a block, and the lengths that the next block's are told from.
pub(super) struct Codes {
    main_symbols: usize,
    main_lengths: [u8; MAX_MAIN_SYMBOLS],
    length_lengths: [u8; LENGTH_SYMBOLS],
    main: Code<MAX_MAIN_SYMBOLS, 2048>,
    length: Code<LENGTH_SYMBOLS, 1024>,
    aligned: Code<ALIGNED_SYMBOLS, 128>,
    precode: Code<PRECODE_SYMBOLS, 64>,
}

impl Codes {
    pub(super) fn new(main_symbols: usize) -> Self {
        Self {
            main_symbols,
            main_lengths: [0; MAX_MAIN_SYMBOLS],
            length_lengths: [0; LENGTH_SYMBOLS],
            main: Code::new(),
            length: Code::new(),
            aligned: Code::new(),
            precode: Code::new(),
        }
    }

    /// What the first block's codeword lengths are told from.
    fn reset(&mut self) {
        self.main_lengths.fill(0);
        self.length_lengths.fill(0);
    }

    /// Whether the block can hold the opcode of a call.
    fn has_calls(&self) -> bool {
        self.main_lengths[0xE8] != 0
    }

    /// Reads the codes at the start of a block.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, aligned: bool) -> Result<(), Damaged> {
        if aligned {
            let mut lengths = [0; ALIGNED_SYMBOLS];
            bits.refill();
            lengths.fill_with(|| bits.read(3) as u8);
            self.aligned.build(&lengths, &PLAIN_PAYLOADS)?;
        }
        let (literals, headers) = self.main_lengths[..self.main_symbols].split_at_mut(LITERALS);
        read_lengths(&mut self.precode, bits, literals)?;
        read_lengths(&mut self.precode, bits, headers)?;
        read_lengths(&mut self.precode, bits, &mut self.length_lengths)?;
        let payloads = if aligned { &ALIGNED_PAYLOADS } else { &VERBATIM_PAYLOADS };
        self.main.build(&self.main_lengths[..self.main_symbols], payloads)?;
        self.length.build(&self.length_lengths, &PLAIN_PAYLOADS)
    }

    /// Decodes symbols until `place` of `output` is filled. Matches may reach back to the start of `output`.
    #[inline(never)] // each of the two kinds gets the registers to itself
    pub(super) fn decode<const WITH_ALIGNED: bool>(
        &self,
        bits: &mut Bits<'_>,
        recent: &mut [u32; RECENT_OFFSETS],
        output: &mut [u8],
        place: std::ops::Range<usize>,
    ) -> Result<(), Damaged> {
        // As much must be left for a turn of the fast loop: three literals in the block, two and the longest match in the output.
        let room = 2 + MAX_MATCH + copy::OVERSHOOT;
        let fast_end = place.end.saturating_sub(3).min(output.len().saturating_sub(room));
        let payloads = if WITH_ALIGNED { &ALIGNED_PAYLOADS } else { &VERBATIM_PAYLOADS };
        let mut local = *bits;
        let mut offsets = *recent;
        let mut at = place.start;
        local.refill();
        let mut entry = self.main.entry(local.buffer);
        while at < fast_end {
            if entry & LITERAL != 0 {
                local.literal(entry, output, &mut at);
                entry = self.main.entry(local.buffer);
                if entry & LITERAL != 0 {
                    local.literal(entry, output, &mut at);
                    entry = self.main.entry(local.buffer);
                    if entry & LITERAL != 0 {
                        local.literal(entry, output, &mut at);
                        local.refill();
                        entry = self.main.entry(local.buffer);
                        continue;
                    }
                }
                local.refill();
            }
            if entry & LENGTH_MASK == 0 {
                entry = self.main.long(local.buffer, payloads)?;
                if entry & LITERAL != 0 {
                    local.literal(entry, output, &mut at);
                    local.refill();
                    entry = self.main.entry(local.buffer);
                    continue;
                }
            }
            local.skip(entry);
            let (offset, length) = self.read_match::<WITH_ALIGNED>(&mut local, &mut offsets, entry)?;
            local.refill();
            entry = self.main.entry(local.buffer);
            check_match(at, place.end, offset, length)?;
            copy::overshooting(output, at, offset, length);
            at += length;
        }
        *bits = local;
        *recent = offsets;
        self.decode_carefully::<WITH_ALIGNED>(bits, recent, output, at..place.end)
    }

    /// The same one symbol at a time, writing nothing past the end of `place`.
    #[inline(never)]
    fn decode_carefully<const WITH_ALIGNED: bool>(
        &self,
        bits: &mut Bits<'_>,
        recent: &mut [u32; RECENT_OFFSETS],
        output: &mut [u8],
        place: std::ops::Range<usize>,
    ) -> Result<(), Damaged> {
        let payloads = if WITH_ALIGNED { &ALIGNED_PAYLOADS } else { &VERBATIM_PAYLOADS };
        let mut at = place.start;
        while at < place.end {
            bits.refill();
            let mut entry = self.main.entry(bits.buffer);
            if entry & LENGTH_MASK == 0 {
                entry = self.main.long(bits.buffer, payloads)?;
            }
            if entry & LITERAL != 0 {
                bits.literal(entry, output, &mut at);
                continue;
            }
            bits.skip(entry);
            let (offset, length) = self.read_match::<WITH_ALIGNED>(bits, recent, entry)?;
            check_match(at, place.end, offset, length)?;
            copy::exact(output, at, offset, length);
            at += length;
        }
        Ok(())
    }

    /// Reads what follows the main symbol of a match: its offset and length. Takes at most 37 bits.
    #[inline(always)]
    fn read_match<const WITH_ALIGNED: bool>(
        &self,
        bits: &mut Bits<'_>,
        recent: &mut [u32; RECENT_OFFSETS],
        entry: u32,
    ) -> Result<(usize, usize), Damaged> {
        let mut length = (entry >> VALUE_SHIFT & 0xF) as usize;
        if length == LONG_LENGTH + MIN_MATCH {
            let mut more = self.length.entry(bits.buffer);
            if more & LENGTH_MASK == 0 {
                more = self.length.long(bits.buffer, &PLAIN_PAYLOADS)?;
            }
            bits.skip(more);
            length += (more >> VALUE_SHIFT) as usize;
        }
        let slot = entry >> SLOT_SHIFT & 0x3F;
        let offset;
        if slot >= 3 {
            let mut explicit = BASES[slot as usize];
            let extra = bits.read(entry >> EXTRA_SHIFT & 0x1F);
            if WITH_ALIGNED && entry & ALIGNED != 0 {
                let low = self.aligned.entry(bits.buffer);
                if low == 0 {
                    return Err(Damaged("a symbol of an empty Huffman code"));
                }
                bits.skip(low);
                explicit += (extra << 3) + (low >> VALUE_SHIFT);
            } else {
                explicit += extra;
            }
            *recent = [explicit, recent[0], recent[1]];
            offset = explicit;
        } else {
            let [first, second, third] = *recent;
            offset = select_unpredictable(slot == 0, first, select_unpredictable(slot == 1, second, third));
            *recent =
                [offset, select_unpredictable(slot == 1, first, second), select_unpredictable(slot == 2, first, third)];
        }
        Ok((offset as usize, length))
    }
}

#[inline(always)]
fn check_match(at: usize, end: usize, offset: usize, length: usize) -> Result<(), Damaged> {
    if offset > at {
        Err(TOO_FAR)
    } else if length > end - at {
        Err(TOO_LONG)
    } else {
        Ok(())
    }
}

/// Reads codeword lengths, told as differences to what `lengths` holds.
fn read_lengths(
    precode: &mut Code<PRECODE_SYMBOLS, 64>,
    bits: &mut Bits<'_>,
    lengths: &mut [u8],
) -> Result<(), Damaged> {
    let mut precode_lengths = [0; PRECODE_SYMBOLS];
    for half in precode_lengths.chunks_mut(PRECODE_SYMBOLS / 2) {
        bits.refill();
        half.fill_with(|| bits.read(4) as u8);
    }
    precode.build(&precode_lengths, &PLAIN_PAYLOADS)?;
    let mut at = 0;
    while at < lengths.len() {
        bits.refill();
        let mut symbol = precode_symbol(precode, bits)?;
        let mut run = 1;
        let mut zero = false;
        match symbol {
            17 => (run, zero) = (4 + bits.read(4), true),
            18 => (run, zero) = (20 + bits.read(5), true),
            19 => {
                run = 4 + bits.read(1);
                symbol = precode_symbol(precode, bits)?;
                if symbol > 16 {
                    return Err(Damaged("a run of runs among the codeword lengths"));
                }
            }
            _ => {}
        }
        let end = at + run as usize;
        let Some(run) = lengths.get_mut(at..end) else {
            return Err(Damaged("a run that passes the end of the codeword lengths"));
        };
        let length = if zero { 0 } else { (17 + run[0] - symbol as u8) % 17 };
        run.fill(length);
        at = end;
    }
    Ok(())
}

fn precode_symbol(precode: &Code<PRECODE_SYMBOLS, 64>, bits: &mut Bits<'_>) -> Result<u32, Damaged> {
    let mut entry = precode.entry(bits.buffer);
    if entry & LENGTH_MASK == 0 {
        entry = precode.long(bits.buffer, &PLAIN_PAYLOADS)?;
    }
    bits.skip(entry);
    Ok(entry >> VALUE_SHIFT)
}

/// The stream, in the order of its bits.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    /// What is not in the buffer yet.
    rest: &'a [u8],
    /// The next bits, from the top down. What lies below `count` bits is part of the next byte, or zero.
    buffer: u64,
    /// How many bits the buffer holds: its six low bits count, the others are of no meaning.
    count: u32,
    pub(super) ran_out: bool,
}

/// Zeros after the stream: once fewer than eight bytes are left of them, more bits were taken than there were.
const PADDING: usize = 16;

impl<'a> Bits<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream, buffer: 0, count: 0, ran_out: false }
    }

    /// Makes at least 56 bits available; past the end they are zero.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let whole = (!self.count & LENGTH_MASK) >> 3;
        match self.rest.first_chunk() {
            Some(bytes) => {
                self.buffer |= u64::from_be_bytes(*bytes) >> (self.count & LENGTH_MASK);
                self.rest = &self.rest[whole as usize..];
            }
            None => self.ran_out = true,
        }
        self.count |= 56;
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

    /// Takes up to 31 of the available bits.
    #[inline(always)]
    pub(super) fn read(&mut self, count: u32) -> u32 {
        let bits = (self.buffer >> 1 >> (63 - count)) as u32;
        self.skip(count);
        bits
    }

    /// How many bits of a stream of `length` bytes, padding included, were taken.
    pub(super) fn taken(&self, length: usize) -> usize {
        8 * (length - self.rest.len()) - (self.count & LENGTH_MASK) as usize
    }
}
