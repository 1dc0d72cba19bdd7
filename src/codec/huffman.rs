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
        for length in 1..=Self::DIRECT_BITS {
            let stride = 1 << (Self::DIRECT_BITS - length);
            let (these, rest) = slots.split_at_mut(usize::from(counts[length]) * stride);
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
