//! The codes of deltas: canonical, the longest codewords first.
//!
//! Codewords of one length are consecutive in the order of symbols, as everywhere; but the numerically smallest belong to the greatest length. They are stored from their
//! top bit on, each bit in the next free one of the row.

use super::bits::Bits;
use crate::codec::Damaged;

/// The longest codeword.
pub(super) const MAX_LENGTH: usize = 16;

/// A code.
pub(super) struct Code {
    /// Its lengths, the greatest first.
    lengths: Vec<Group>,
    /// The symbols, the longest codewords first.
    symbols: Vec<u16>,
}

/// The codewords of one length.
struct Group {
    length: u32,
    /// The first 16-bit prefix past them.
    limit: u32,
    /// The first prefix that is theirs.
    start: u32,
    /// The place of their first symbol.
    first: usize,
}

impl Code {
    /// The code with these lengths of codewords; 0 is for symbols that do not occur. Without any symbol it is empty.
    ///
    /// A code that leaves prefixes unused is taken as long as no codeword is the start of another: a lone symbol is coded so.
    pub(super) fn new(of_symbols: &[u8]) -> Result<Self, Damaged> {
        let mut counts = [0u32; MAX_LENGTH + 1];
        for length in of_symbols {
            *counts.get_mut(usize::from(*length)).ok_or(Damaged("a codeword of more than 16 bits"))? += 1;
        }
        let (mut lengths, mut symbols) = (Vec::new(), Vec::new());
        let mut codeword = 0;
        for length in (1..=MAX_LENGTH).rev() {
            let count = counts[length];
            if count > 0 {
                let shift = MAX_LENGTH - length;
                let (start, limit) = (codeword << shift, (codeword + count) << shift);
                lengths.push(Group { length: length as u32, limit, start, first: symbols.len() });
                symbols.extend((0u16..).zip(of_symbols).filter(|(_, l)| usize::from(**l) == length).map(|(s, _)| s));
            }
            let next = codeword + count;
            if next % 2 != 0 && length > 1 || next > 1 << length {
                return Err(Damaged("a Huffman code of which one codeword starts another"));
            }
            codeword = next / 2;
        }
        Ok(Self { lengths, symbols })
    }

    /// The lengths of a code in which `symbols` symbols are equally frequent: the first have the shorter codewords.
    pub(super) fn flat(symbols: usize) -> Vec<u8> {
        let longer = usize::BITS - (symbols - 1).leading_zeros();
        let shorter = (1 << longer) - symbols;
        (0..symbols).map(|symbol| longer as u8 - u8::from(symbol < shorter)).collect()
    }

    /// Reads a symbol.
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Result<u16, Damaged> {
        let prefix = u32::from((bits.peek() as u16).reverse_bits());
        let group = self.lengths.iter().find(|group| prefix < group.limit).ok_or(Damaged("a codeword of no symbol"))?;
        bits.skip(group.length)?;
        let rank = (prefix - group.start) >> (MAX_LENGTH as u32 - group.length);
        self.symbols.get(group.first + rank as usize).copied().ok_or(Damaged("a codeword of no symbol"))
    }
}
