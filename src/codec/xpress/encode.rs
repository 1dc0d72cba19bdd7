//! The encoder.

use super::*;
use crate::codec::huffman::{codewords, lengths_for};
use crate::codec::parse::{BIT, Costs, Parser, Step, symbol_costs};

/// How often a chunk is parsed, each time with better costs.
const PASSES: usize = 2;

/// Encodes XPRESS chunks; keeps its memory between them. The same input always gives the same output.
#[derive(Default)]
pub struct Encoder {
    parser: Parser,
    steps: Vec<Step>,
}

impl Encoder {
    /// An encoder for chunks of any size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces what `output` holds by the encoded `input`. Returns false if that is not smaller, or if `input` is longer
    /// than [`MAX_CHUNK`]; `output` is then of no use.
    pub fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        if input.len() > MAX_CHUNK || input.len() <= HEADER_BYTES {
            return false;
        }
        self.parser.reset(input.len());
        self.parser.find::<SymbolCosts>(input, 0..input.len());
        let mut costs = SymbolCosts([8 * BIT; SYMBOLS]);
        let mut frequencies = [0; SYMBOLS];
        for _ in 0..PASSES {
            self.parser.parse(&costs, input, 0..input.len(), [0; 3], &mut self.steps);
            frequencies = count(input, &self.steps);
            symbol_costs(&frequencies, &mut costs.0);
        }
        write(input, &self.steps, &frequencies, output);
        output.len() < input.len()
    }
}

/// The main part of the costs: those of each symbol.
struct SymbolCosts([u32; SYMBOLS]);

impl Costs for SymbolCosts {
    const MIN_MATCH: usize = MIN_MATCH;
    const MAX_MATCH: usize = MAX_CHUNK;
    const RECENT: usize = 0;

    fn literal(&self, byte: u8) -> u32 {
        self.0[usize::from(byte)]
    }

    fn explicit(&self, offset: u32) -> impl Fn(usize) -> u32 {
        let extra = offset.ilog2();
        let symbols = &self.0[LITERALS + 16 * extra as usize..][..16];
        move |length| {
            let length = length - MIN_MATCH;
            let bytes = match length {
                0..15 => 0,
                15..270 => 1,
                _ => 3,
            };
            symbols[length.min(LONG_LENGTH)] + BIT * (extra + 8 * bytes)
        }
    }

    fn recent(&self, _: usize) -> impl Fn(usize) -> u32 {
        |_| u32::MAX
    }
}

/// The symbol of a match.
fn symbol_of(step: &Step) -> usize {
    LITERALS + 16 * step.offset.ilog2() as usize + (step.length as usize - MIN_MATCH).min(LONG_LENGTH)
}

fn count(input: &[u8], steps: &[Step]) -> [u32; SYMBOLS] {
    let mut frequencies = [0; SYMBOLS];
    let mut at = 0;
    for step in steps {
        let symbol = if step.offset == 0 { usize::from(input[at]) } else { symbol_of(step) };
        frequencies[symbol] += 1;
        at += step.length as usize;
    }
    frequencies[END_OF_DATA] += 1;
    frequencies
}

fn write(input: &[u8], steps: &[Step], frequencies: &[u32; SYMBOLS], output: &mut Vec<u8>) {
    let mut lengths = [0; SYMBOLS];
    let mut words = [0; SYMBOLS];
    lengths_for(frequencies, MAX_CODEWORD, &mut lengths);
    codewords(&lengths, &mut words);
    output.clear();
    output.extend(lengths.as_chunks::<2>().0.iter().map(|[low, high]| low | high << 4));
    let mut bits = Bits::new(output);
    let mut at = 0;
    for step in steps {
        if step.offset == 0 {
            let byte = usize::from(input[at]);
            bits.write(words[byte].into(), lengths[byte].into());
        } else {
            let symbol = symbol_of(step);
            bits.write(words[symbol].into(), lengths[symbol].into());
            bits.write_long_length(step.length as usize - MIN_MATCH);
            let extra = step.offset.ilog2();
            bits.write(step.offset & !(1 << extra), extra);
        }
        at += step.length as usize;
    }
    bits.write(words[END_OF_DATA].into(), lengths[END_OF_DATA].into());
    bits.finish();
}

/// Writes units of bits, and bytes between them. The places of the next two units are always taken already, because a
/// decoder reads that far ahead before it looks for a byte.
struct Bits<'a> {
    output: &'a mut Vec<u8>,
    /// Where the unit being filled and the one after it go.
    places: [usize; 2],
    /// Bits of the unit being filled, right-aligned.
    buffer: u32,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(output: &'a mut Vec<u8>) -> Self {
        let start = output.len();
        output.extend([0; 4]);
        Self { output, places: [start, start + 2], buffer: 0, count: 0 }
    }

    /// Writes the `count` low bits of `bits`, up to 16.
    fn write(&mut self, bits: u32, count: u32) {
        self.buffer = self.buffer << count | bits;
        self.count += count;
        if self.count > 16 {
            self.count -= 16;
            self.put_unit((self.buffer >> self.count) as u16);
            self.places = [self.places[1], self.output.len()];
            self.output.extend([0; 2]);
        }
    }

    fn put_unit(&mut self, unit: u16) {
        let place = self.places[0];
        self.output[place..place + 2].copy_from_slice(&unit.to_le_bytes());
    }

    /// Writes what the header of a match does not tell of its length.
    fn write_long_length(&mut self, length: usize) {
        let Some(more) = length.checked_sub(LONG_LENGTH) else { return };
        if more < 255 {
            self.output.push(more as u8);
        } else {
            self.output.push(u8::MAX);
            self.output.extend((length as u16).to_le_bytes());
        }
    }

    fn finish(mut self) {
        self.put_unit((self.buffer << (16 - self.count)) as u16);
    }
}
