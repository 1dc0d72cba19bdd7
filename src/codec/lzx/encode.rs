//! The encoder.

use super::*;
use crate::codec::huffman::{codewords, lengths_for};
use crate::codec::parse::{BIT, Costs, Parser, Recent, Step, symbol_costs, use_offset};
use std::ops::Range;

/// How often a block is parsed, each time with better costs.
const PASSES: usize = 2;
const MAX_CODEWORD: usize = 16;
const MAX_ALIGNED_CODEWORD: usize = 7;
const MAX_PRECODEWORD: usize = 15;

/// Encodes LZX chunks; keeps its memory between them. The same input always gives the same output.
pub struct Encoder {
    window: Window,
    parser: Parser,
    steps: Vec<Step>,
    /// The input with absolute operands of calls.
    data: Vec<u8>,
    main_lengths: [u8; MAX_MAIN_SYMBOLS],
    length_lengths: [u8; LENGTH_SYMBOLS],
    /// How the size of a block is written.
    write_size: fn(&mut Bits<'_>, Window, usize),
}

impl Encoder {
    /// An encoder for chunks of a WIM file with this chunk size.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            parser: Parser::default(),
            steps: Vec::new(),
            data: Vec::new(),
            main_lengths: [0; MAX_MAIN_SYMBOLS],
            length_lengths: [0; LENGTH_SYMBOLS],
            write_size,
        }
    }

    /// The frames of a cabinet, for tests: one block in each, calls as they are. `input` is no longer than the window.
    #[cfg(test)]
    pub(super) fn encode_frames(&mut self, input: &[u8]) -> Vec<Vec<u8>> {
        self.write_size = |bits, _, size| {
            bits.write((size >> 16) as u32, 8);
            bits.write(size as u32 & 0xFFFF, 16);
        };
        self.data = input.to_vec();
        self.parser.reset(input.len());
        let mut recent = [1; RECENT_OFFSETS];
        let mut costs = BlockCosts::default();
        let mut frames = Vec::new();
        for start in (0..input.len()).step_by(DEFAULT_BLOCK_SIZE) {
            let mut frame = Vec::new();
            let mut bits = Bits { output: &mut frame, buffer: 0, count: 0 };
            if start == 0 {
                bits.write(0, 1);
            }
            self.block(&mut bits, &mut costs, &mut recent, start..input.len().min(start + DEFAULT_BLOCK_SIZE));
            bits.finish();
            frames.push(frame);
        }
        frames
    }

    /// Replaces what `output` holds by the encoded `input`. Returns false if that is not smaller, or if `input` is longer
    /// than the window; `output` is then of no use.
    pub fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        if input.len() > self.window.size() {
            return false;
        }
        output.clear();
        self.data.clear();
        self.data.extend_from_slice(input);
        e8::to_absolute(&mut self.data);
        self.parser.reset(input.len());
        self.main_lengths.fill(0);
        self.length_lengths.fill(0);
        let mut bits = Bits { output, buffer: 0, count: 0 };
        let mut recent = [1; RECENT_OFFSETS];
        let mut costs = BlockCosts::default();
        for start in (0..input.len()).step_by(DEFAULT_BLOCK_SIZE) {
            let place = start..input.len().min(start + DEFAULT_BLOCK_SIZE);
            self.block(&mut bits, &mut costs, &mut recent, place);
        }
        bits.finish();
        output.len() < input.len()
    }

    fn block(&mut self, bits: &mut Bits<'_>, costs: &mut BlockCosts, recent: &mut Recent, place: Range<usize>) {
        self.parser.find::<BlockCosts>(&self.data, place.clone());
        let mut symbols = Vec::new();
        for pass in 1..=PASSES {
            self.parser.parse(costs, &self.data, place.clone(), *recent, &mut self.steps);
            let mut after = *recent;
            symbols.clear();
            let mut at = place.start;
            for step in &self.steps {
                symbols.push(Symbol::of(step, self.data[at], &mut after));
                at += step.length as usize;
            }
            costs.update(&symbols);
            if pass == PASSES {
                *recent = after;
            }
        }
        self.write(bits, &Frequencies::of(&symbols), &symbols, place.len());
    }

    fn write(&mut self, bits: &mut Bits<'_>, frequencies: &Frequencies, symbols: &[Symbol], size: usize) {
        let mut aligned = Huffman::<ALIGNED_SYMBOLS>::of(&frequencies.aligned, MAX_ALIGNED_CODEWORD);
        let is_aligned = aligned.cost(&frequencies.aligned) + 3 * ALIGNED_SYMBOLS
            < 3 * frequencies.aligned.iter().sum::<u32>() as usize;
        bits.write(if is_aligned { BLOCK_ALIGNED } else { BLOCK_VERBATIM }, 3);
        (self.write_size)(bits, self.window, size);
        if is_aligned {
            for length in aligned.lengths {
                bits.write(length.into(), 3);
            }
        } else {
            // three bits as they are
            aligned = Huffman { lengths: [3; ALIGNED_SYMBOLS], words: [0, 1, 2, 3, 4, 5, 6, 7] };
        }
        let main_symbols = self.window.main_symbols();
        let main = Huffman::<MAX_MAIN_SYMBOLS>::of(&frequencies.main, MAX_CODEWORD);
        let length = Huffman::<LENGTH_SYMBOLS>::of(&frequencies.length, MAX_CODEWORD);
        write_lengths(bits, &self.main_lengths[..LITERALS], &main.lengths[..LITERALS]);
        write_lengths(bits, &self.main_lengths[LITERALS..main_symbols], &main.lengths[LITERALS..main_symbols]);
        write_lengths(bits, &self.length_lengths, &length.lengths);
        self.main_lengths = main.lengths;
        self.length_lengths = length.lengths;
        for symbol in symbols {
            main.write(bits, symbol.main.into());
            if let Some(more) = symbol.length {
                length.write(bits, more.into());
            }
            if symbol.extra_bits < 3 {
                bits.write(symbol.extra, symbol.extra_bits);
            } else {
                bits.write(symbol.extra >> 3, symbol.extra_bits - 3);
                aligned.write(bits, symbol.extra as usize & 7);
            }
        }
    }
}

/// Writes the size of a block as WIM has it.
fn write_size(bits: &mut Bits<'_>, window: Window, size: usize) {
    if size == DEFAULT_BLOCK_SIZE {
        return bits.write(1, 1);
    }
    bits.write(0, 1);
    if window.has_wide_block_sizes() {
        bits.write((size >> 16) as u32, 8);
    }
    bits.write(size as u32 & 0xFFFF, 16);
}

/// What is written of a literal or match.
struct Symbol {
    main: u16,
    length: Option<u8>,
    extra: u32,
    extra_bits: u32,
}

impl Symbol {
    fn of(step: &Step, literal: u8, recent: &mut Recent) -> Self {
        if step.offset == 0 {
            return Self { main: literal.into(), length: None, extra: 0, extra_bits: 0 };
        }
        let (slot, extra, extra_bits) = match use_offset(recent, step.offset) {
            Some(which) => (which, 0, 0),
            None => {
                let slot = slot_of(step.offset);
                let (extra_bits, base) = SLOTS[slot];
                (slot, step.offset + OFFSET_BIAS - base, extra_bits.into())
            }
        };
        let length = step.length as usize - MIN_MATCH;
        Self {
            main: (LITERALS + SLOT_HEADERS * slot + length.min(LONG_LENGTH)) as u16,
            length: length.checked_sub(LONG_LENGTH).map(|more| more as u8),
            extra,
            extra_bits,
        }
    }
}

/// The slot of an offset that is not a recent one.
fn slot_of(offset: u32) -> usize {
    let biased = offset + OFFSET_BIAS;
    let log = biased.ilog2() as usize;
    if log < 18 {
        // two slots for each power of two
        2 * log + (biased >> (log - 1) & 1) as usize
    } else {
        34 + (biased >> 17) as usize
    }
}

struct Frequencies {
    main: [u32; MAX_MAIN_SYMBOLS],
    length: [u32; LENGTH_SYMBOLS],
    aligned: [u32; ALIGNED_SYMBOLS],
}

impl Frequencies {
    fn of(symbols: &[Symbol]) -> Self {
        let mut frequencies =
            Self { main: [0; MAX_MAIN_SYMBOLS], length: [0; LENGTH_SYMBOLS], aligned: [0; ALIGNED_SYMBOLS] };
        for symbol in symbols {
            frequencies.main[usize::from(symbol.main)] += 1;
            if let Some(length) = symbol.length {
                frequencies.length[usize::from(length)] += 1;
            }
            if symbol.extra_bits >= 3 {
                frequencies.aligned[symbol.extra as usize & 7] += 1;
            }
        }
        frequencies
    }
}

struct BlockCosts {
    main: [u32; MAX_MAIN_SYMBOLS],
    length: [u32; LENGTH_SYMBOLS],
}

impl Default for BlockCosts {
    fn default() -> Self {
        Self { main: [8 * BIT; MAX_MAIN_SYMBOLS], length: [6 * BIT; LENGTH_SYMBOLS] }
    }
}

impl BlockCosts {
    fn update(&mut self, symbols: &[Symbol]) {
        let frequencies = Frequencies::of(symbols);
        symbol_costs(&frequencies.main, &mut self.main);
        symbol_costs(&frequencies.length, &mut self.length);
    }

    fn of_slot(&self, slot: usize, extra: u32) -> impl Fn(usize) -> u32 {
        let headers = &self.main[LITERALS + SLOT_HEADERS * slot..][..SLOT_HEADERS];
        move |length| {
            let length = length - MIN_MATCH;
            let more = length.checked_sub(LONG_LENGTH).map_or(0, |more| self.length[more]);
            headers[length.min(LONG_LENGTH)] + more + extra
        }
    }
}

impl Costs for BlockCosts {
    const MIN_MATCH: usize = MIN_MATCH;
    const MAX_MATCH: usize = MAX_MATCH;
    const RECENT: usize = RECENT_OFFSETS;

    fn literal(&self, byte: u8) -> u32 {
        self.main[usize::from(byte)]
    }

    fn explicit(&self, offset: u32) -> impl Fn(usize) -> u32 {
        let slot = slot_of(offset);
        self.of_slot(slot, BIT * u32::from(SLOTS[slot].0))
    }

    fn recent(&self, which: usize) -> impl Fn(usize) -> u32 {
        self.of_slot(which, 0)
    }
}

/// A code to write with.
struct Huffman<const SYMBOLS: usize> {
    lengths: [u8; SYMBOLS],
    words: [u16; SYMBOLS],
}

impl<const SYMBOLS: usize> Huffman<SYMBOLS> {
    fn of(frequencies: &[u32; SYMBOLS], limit: usize) -> Self {
        let mut code = Self { lengths: [0; SYMBOLS], words: [0; SYMBOLS] };
        lengths_for(frequencies, limit, &mut code.lengths);
        codewords(&code.lengths, &mut code.words);
        code
    }

    /// How many bits the symbols take together.
    fn cost(&self, frequencies: &[u32; SYMBOLS]) -> usize {
        self.lengths.iter().zip(frequencies).map(|(&length, &f)| usize::from(length) * f as usize).sum()
    }

    fn write(&self, bits: &mut Bits<'_>, symbol: usize) {
        bits.write(self.words[symbol].into(), self.lengths[symbol].into());
    }
}

/// Writes codeword lengths as differences to those `before`.
fn write_lengths(bits: &mut Bits<'_>, before: &[u8], lengths: &[u8]) {
    let items = length_items(before, lengths);
    let mut frequencies = [0; PRECODE_SYMBOLS];
    for item in &items {
        frequencies[usize::from(item.symbol)] += 1;
        if let Some(repeated) = item.repeated {
            frequencies[usize::from(repeated)] += 1;
        }
    }
    let code = Huffman::<PRECODE_SYMBOLS>::of(&frequencies, MAX_PRECODEWORD);
    for length in code.lengths {
        bits.write(length.into(), 4);
    }
    for item in items {
        code.write(bits, item.symbol.into());
        bits.write(item.extra, item.extra_bits);
        if let Some(repeated) = item.repeated {
            code.write(bits, repeated.into());
        }
    }
}

/// A symbol of the precode, its extra bits, and the symbol after them.
struct LengthItem {
    symbol: u8,
    extra: u32,
    extra_bits: u32,
    repeated: Option<u8>,
}

fn length_items(before: &[u8], lengths: &[u8]) -> Vec<LengthItem> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < lengths.len() {
        let length = lengths[at];
        let delta = (17 + before[at] - length) % 17;
        let run = lengths[at..].iter().take_while(|l| **l == length).count();
        let (taken, item) = match (length, run) {
            (0, 20..) => {
                let taken = run.min(20 + 31);
                (taken, LengthItem { symbol: 18, extra: taken as u32 - 20, extra_bits: 5, repeated: None })
            }
            (0, 4..) => (run, LengthItem { symbol: 17, extra: run as u32 - 4, extra_bits: 4, repeated: None }),
            (_, 4..) => {
                let taken = run.min(5);
                (taken, LengthItem { symbol: 19, extra: taken as u32 - 4, extra_bits: 1, repeated: Some(delta) })
            }
            _ => (1, LengthItem { symbol: delta, extra: 0, extra_bits: 0, repeated: None }),
        };
        items.push(item);
        at += taken;
    }
    items
}

/// Writes bits into 16-bit units.
struct Bits<'a> {
    output: &'a mut Vec<u8>,
    /// Bits of the unit being filled, right-aligned.
    buffer: u32,
    count: u32,
}

impl Bits<'_> {
    /// Writes the `count` low bits of `bits`, up to 16.
    fn write(&mut self, bits: u32, count: u32) {
        self.buffer = self.buffer << count | bits;
        self.count += count;
        if self.count >= 16 {
            self.count -= 16;
            self.output.extend(((self.buffer >> self.count) as u16).to_le_bytes());
        }
    }

    fn finish(mut self) {
        if self.count > 0 {
            self.write(0, 16 - self.count);
        }
    }
}
