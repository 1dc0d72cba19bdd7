//! Canonical Huffman codes: tables to decode them, and lengths to encode with.
//!
//! In all of Microsoft's formats a code is given by the length of each symbol's codeword; codewords of one length are
//! consecutive in symbol order, and a shorter one sorts before a longer one. A code is complete, or empty (no symbol at
//! all): wimlib demands the same of every image, so no compressor writes anything else.

use super::Damaged;

/// The longest codeword that any format here allows.
pub(super) const MAX_LENGTH: usize = 16;

/// Bits of a table entry that hold the codeword's length; formats keep what a symbol means from bit 8 on. As many bits as
/// count in a shift of 64 bits, so that a shift by an entry needs no masking.
pub(super) const LENGTH_MASK: u32 = 0x3F;

/// A decoder for one code of up to `SYMBOLS` symbols.
///
/// Codewords that are no longer than `log2(SLOTS)` bits are found in one look-up. The rare longer ones are found by
/// comparing with the last codeword of each length, which costs less than building second-level tables for each block.
pub(super) struct Code<const SYMBOLS: usize, const SLOTS: usize> {
    /// By the next bits of the stream: the symbol's payload and its codeword length; 0 if the codeword is longer.
    slots: [u32; SLOTS],
    /// For each length: the first 16-bit prefix past the codewords of this length.
    limits: [u32; MAX_LENGTH + 1],
    /// For each length: how many codewords are shorter.
    shorter: [u16; MAX_LENGTH + 1],
    /// The symbols in codeword order.
    sorted: [u16; SYMBOLS],
}

impl<const SYMBOLS: usize, const SLOTS: usize> Code<SYMBOLS, SLOTS> {
    const DIRECT_BITS: usize = {
        assert!(SLOTS.is_power_of_two());
        SLOTS.ilog2() as usize
    };

    /// An empty code.
    pub(super) const fn new() -> Self {
        Self { slots: [0; SLOTS], limits: [0; MAX_LENGTH + 1], shorter: [0; MAX_LENGTH + 1], sorted: [0; SYMBOLS] }
    }

    /// Takes the code over from `lengths` (0: symbol not used; at most [`MAX_LENGTH`]); `payloads` holds what each symbol
    /// means, above [`LENGTH_MASK`].
    pub(super) fn build(&mut self, lengths: &[u8], payloads: &[u32]) -> Result<(), Damaged> {
        debug_assert!(lengths.len() <= SYMBOLS && lengths.len() <= payloads.len());
        let mut counts = [0u16; 32];
        for &length in lengths {
            counts[usize::from(length) % 32] += 1;
        }
        let mut used = 0;
        let mut end = 0;
        let mut next = [0u16; 32];
        for length in 1..=MAX_LENGTH {
            next[length] = used;
            self.shorter[length] = used;
            used += counts[length];
            end += u32::from(counts[length]) << (MAX_LENGTH - length);
            self.limits[length] = end;
        }
        if end != 1 << MAX_LENGTH {
            self.slots.fill(0);
            self.limits = [0; MAX_LENGTH + 1];
            return if usize::from(counts[0]) == lengths.len() {
                Ok(())
            } else {
                Err(Damaged("a Huffman code that is not complete"))
            };
        }
        for (symbol, &length) in lengths.iter().enumerate() {
            if length != 0 {
                let place = &mut next[usize::from(length) % 32];
                if let Some(sorted) = self.sorted.get_mut(usize::from(*place)) {
                    *sorted = symbol as u16;
                }
                *place += 1;
            }
        }
        self.fill(&counts, payloads);
        Ok(())
    }

    fn fill(&mut self, counts: &[u16; 32], payloads: &[u32]) {
        let mut slots = &mut self.slots[..];
        let mut symbols = self.sorted.iter();
        for (length, &count) in counts.iter().enumerate().take(Self::DIRECT_BITS + 1).skip(1) {
            let stride = 1 << (Self::DIRECT_BITS - length);
            let (these, rest) = slots.split_at_mut(usize::from(count) * stride);
            slots = rest;
            for (run, &symbol) in these.chunks_exact_mut(stride).zip(&mut symbols) {
                run.fill(payloads[usize::from(symbol)] | length as u32);
            }
        }
        slots.fill(0);
    }

    /// The entry for a stream whose next bits are the top bits of `bits`; its length is 0 if [`long`](Self::long) has to find it.
    #[inline(always)]
    pub(super) fn entry(&self, bits: u64) -> u32 {
        self.slots[(bits >> (64 - Self::DIRECT_BITS)) as usize]
    }

    /// The entry of a codeword that is longer than the direct table's index.
    #[cold]
    #[inline(never)]
    pub(super) fn long(&self, bits: u64, payloads: &[u32]) -> Result<u32, Damaged> {
        let prefix = (bits >> (64 - MAX_LENGTH)) as u32;
        for length in Self::DIRECT_BITS + 1..=MAX_LENGTH {
            if prefix < self.limits[length] {
                let rank = (prefix - self.limits[length - 1]) >> (MAX_LENGTH - length);
                let symbol = self.sorted[usize::from(self.shorter[length]) + rank as usize];
                return Ok(payloads[usize::from(symbol)] | length as u32);
            }
        }
        Err(Damaged("a symbol of an empty Huffman code"))
    }
}

/// Codeword lengths of an optimal code for symbols that occur `frequencies` times, none longer than `limit`.
///
/// Without any symbol the code is empty. A lone symbol gets a companion, since a code has to be complete.
pub(super) fn lengths_for(frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut used: Vec<(u32, usize)> =
        frequencies.iter().enumerate().filter(|(_, f)| **f != 0).map(|(symbol, &f)| (f, symbol)).collect();
    if let [(_, symbol)] = used[..] {
        lengths[symbol] = 1;
        lengths[usize::from(symbol == 0)] = 1;
        return;
    }
    used.sort_unstable();
    let mut counts = limited(&depth_counts(&used), limit);
    // the rarest symbols take the longest codewords
    let mut length = limit;
    for &(_, symbol) in &used {
        while counts[length] == 0 {
            length -= 1;
        }
        counts[length] -= 1;
        lengths[symbol] = length as u8;
    }
}

/// How many leaves a Huffman tree has at each depth; `used` is sorted by frequency.
fn depth_counts(used: &[(u32, usize)]) -> Vec<u32> {
    let leaves = used.len();
    // Inner nodes come into being in the order of their weight, so that both queues stay sorted.
    let mut weights: Vec<u64> = used.iter().map(|&(frequency, _)| u64::from(frequency)).collect();
    let mut parents = vec![0; leaves];
    let (mut leaf, mut inner) = (0, leaves);
    while weights.len() + 1 < 2 * leaves {
        let parent = weights.len();
        let mut weight = 0;
        for _ in 0..2 {
            let next = if leaf < leaves && (inner == parent || weights[leaf] <= weights[inner]) {
                &mut leaf
            } else {
                &mut inner
            };
            weight += weights[*next];
            parents[*next] = parent;
            *next += 1;
        }
        weights.push(weight);
        parents.push(0);
    }
    let mut depths = vec![0; weights.len()];
    let mut counts = vec![0; leaves.max(1)];
    for node in (0..weights.len()).rev() {
        if node + 1 < weights.len() {
            depths[node] = depths[parents[node]] + 1;
        }
        if node < leaves {
            counts[depths[node]] += 1;
        }
    }
    counts
}

/// Moves leaves that lie deeper than `limit` up, and as few others as possible down to make room.
fn limited(counts: &[u32], limit: usize) -> [u32; MAX_LENGTH + 1] {
    let mut result = [0; MAX_LENGTH + 1];
    for (depth, &count) in counts.iter().enumerate() {
        result[depth.min(limit)] += count;
    }
    let space = |counts: &[u32]| (1..=limit).map(|length| counts[length] << (limit - length)).sum::<u32>();
    let mut excess = space(&result).saturating_sub(1 << limit);
    while excess > 0 {
        let Some(longest) = (1..limit).rev().find(|&length| result[length] > 0) else { break };
        result[limit] -= 1;
        result[longest] -= 1;
        result[longest + 1] += 2;
        excess -= 1;
    }
    result
}

/// The codewords of a code, right-aligned.
pub(super) fn codewords(lengths: &[u8], codewords: &mut [u16]) {
    let mut next = 0u32;
    for length in 1..=MAX_LENGTH {
        next <<= 1;
        for (codeword, _) in codewords.iter_mut().zip(lengths).filter(|(_, l)| usize::from(**l) == length) {
            *codeword = next as u16;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(lengths: &[u8]) -> u32 {
        lengths.iter().filter(|l| **l != 0).map(|&l| 1 << (MAX_LENGTH - usize::from(l))).sum()
    }

    #[test]
    fn lengths_are_complete_and_limited() {
        let fibonacci: Vec<u32> = (0..40)
            .scan((1, 1), |s, _| {
                *s = (s.1, s.0 + s.1);
                Some(s.0)
            })
            .collect();
        for limit in [7, 15, 16] {
            let mut lengths = [0; 40];
            lengths_for(&fibonacci, limit, &mut lengths);
            assert_eq!(space(&lengths), 1 << MAX_LENGTH);
            assert_eq!(usize::from(lengths[0]), limit);
            assert!(lengths.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn lengths_are_optimal() {
        let mut lengths = [9; 5];
        lengths_for(&[45, 0, 13, 12, 16], 16, &mut lengths);
        assert_eq!(lengths, [1, 0, 3, 3, 2]);
    }

    #[test]
    fn few_symbols() {
        let mut lengths = [9; 4];
        lengths_for(&[0; 4], 16, &mut lengths);
        assert_eq!(lengths, [0; 4]);
        lengths_for(&[5, 0, 0, 0], 16, &mut lengths);
        assert_eq!(lengths, [1, 1, 0, 0]);
        lengths_for(&[0, 0, 0, 5], 16, &mut lengths);
        assert_eq!(lengths, [1, 0, 0, 1]);
        lengths_for(&[0, 1, 0, 5], 16, &mut lengths);
        assert_eq!(lengths, [0, 1, 0, 1]);
    }

    #[test]
    fn decodes_short_and_long_codewords() {
        let frequencies: Vec<u32> = (0..30).map(|i| 1 << i).collect();
        let mut lengths = [0; 30];
        lengths_for(&frequencies, 16, &mut lengths);
        let mut words = [0; 30];
        codewords(&lengths, &mut words);
        let payloads: Vec<u32> = (0..30).map(|symbol| symbol << 8).collect();
        let mut code = Code::<30, 64>::new();
        code.build(&lengths, &payloads).unwrap();
        for symbol in 0..30 {
            let bits = (u64::from(words[symbol]) << (64 - lengths[symbol])) | 0x5A5A;
            let mut entry = code.entry(bits);
            if entry & LENGTH_MASK == 0 {
                entry = code.long(bits, &payloads).unwrap();
            }
            assert_eq!(entry, payloads[symbol] | u32::from(lengths[symbol]));
        }
    }

    #[test]
    fn refuses_codes_that_are_not_complete() {
        let mut code = Code::<4, 64>::new();
        assert!(code.build(&[1, 2, 0, 0], &[0; 4]).is_err());
        assert!(code.build(&[1, 1, 1, 0], &[0; 4]).is_err());
        assert!(code.build(&[1, 0, 0, 0], &[0; 4]).is_err());
        assert!(code.build(&[0; 4], &[0; 4]).is_ok());
        assert_eq!(code.entry(0), 0);
        assert!(code.long(0, &[0; 4]).is_err());
    }
}
