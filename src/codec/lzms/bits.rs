//! The two bit streams of a chunk: range-coded decisions from its front, Huffman codes and plain bits from its back.

/// Both streams of a chunk. It goes by value into and out of what is rarely called, so that it stays in registers where
/// it matters.
#[derive(Clone, Copy)]
pub(super) struct Streams<'a> {
    pub(super) range: RangeDecoder<'a>,
    pub(super) bits: BackwardBits<'a>,
}

impl<'a> Streams<'a> {
    /// `None` if the input has no first 32 bits.
    pub(super) fn new(input: &'a [u8]) -> Option<Self> {
        Some(Self { range: RangeDecoder::new(input)?, bits: BackwardBits::new(input) })
    }

    /// Whether more was consumed than the input holds.
    pub(super) fn overran(&self) -> bool {
        self.range.overran() || self.bits.overran()
    }
}

use std::hint::cold_path;

/// Bits read backwards: the last byte of the input comes first, and within it its highest bit.
///
/// The format speaks of little-endian 16-bit units that are read from the end, highest bit first. The high byte of such a
/// unit is its second one, so that is the same as reading bytes backwards.
#[derive(Clone, Copy)]
pub(super) struct BackwardBits<'a> {
    /// Bytes that are not yet counted in `count`.
    rest: &'a [u8],
    /// The next bits, from the top. Below the `count` valid ones there may be more that are right but not yet counted.
    buffer: u64,
    count: u32,
    /// Zero bits that were made up after the input had run out.
    padding: usize,
}

impl<'a> BackwardBits<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input, buffer: 0, count: 0, padding: 0 }
    }

    /// Makes at least 56 bits available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        // The rare case goes by value, so that the common one stays in registers.
        let Some(next) = self.rest.last_chunk::<8>() else {
            *self = self.refilled_at_front();
            return;
        };
        self.buffer |= u64::from_le_bytes(*next) >> self.count;
        self.rest = &self.rest[..self.rest.len() - self.missing_bytes()];
        self.count |= 56;
    }

    #[cold]
    #[inline(never)]
    fn refilled_at_front(mut self) -> Self {
        let mut next = [0; 8];
        next[8 - self.rest.len()..].copy_from_slice(self.rest);
        self.buffer |= u64::from_le_bytes(next) >> self.count;
        let real = self.missing_bytes().min(self.rest.len());
        self.padding += (self.missing_bytes() - real) * 8;
        self.rest = &self.rest[..self.rest.len() - real];
        self.count |= 56;
        self
    }

    /// How many whole bytes can be counted on top of `count` bits, up to 63 bits in all.
    #[inline(always)]
    fn missing_bytes(&self) -> usize {
        ((self.count ^ 63) / 8 % 8) as usize
    }

    /// The next 64 bits, of which as many are valid as were refilled and not yet consumed.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.buffer
    }

    /// Drops `bits` bits, at most the valid ones.
    #[inline(always)]
    pub(super) fn consume(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Whether bits were consumed that the input does not hold.
    pub(super) fn overran(&self) -> bool {
        (self.count as usize) < self.padding
    }
}

/// A probability is a number of 64ths.
const ONE_BITS: u32 = 6;
const ONE: u32 = 1 << ONE_BITS;

/// How likely the next bit in one context is 0: as likely as it was in the last 64 bits in this context.
#[derive(Clone, Copy)]
pub(super) struct Probability {
    /// The last 64 bits, the newest lowest.
    recent: u64,
    /// How many of them are 0. Kept, because counting bits is slow on processors of the x86-64 baseline.
    zeros: u32,
}

impl Probability {
    pub(super) const INITIAL: Self = Self { recent: 0x5555_5555, zeros: 48 };

    /// Certainty is not allowed: it would leave one of the two outcomes without a code.
    #[inline(always)]
    fn of_zero(self) -> u32 {
        self.zeros - self.zeros / ONE + u32::from(self.zeros == 0)
    }

    #[inline(always)]
    fn learn(&mut self, bit: u32) {
        let forgotten = (self.recent >> 63) as u32;
        self.zeros = self.zeros + forgotten - bit;
        self.recent = self.recent << 1 | u64::from(bit);
    }
}

/// One kind of decision: its probabilities by the last bits that were decided in it. `N` is 2 to the number of those bits.
pub(super) struct Decision<const N: usize> {
    history: usize,
    probabilities: [Probability; N],
}

impl<const N: usize> Decision<N> {
    pub(super) const INITIAL: Self = Self { history: 0, probabilities: [Probability::INITIAL; N] };
}

/// The range decoder, over 16-bit units from the front of the input.
#[derive(Clone, Copy)]
pub(super) struct RangeDecoder<'a> {
    rest: &'a [u8],
    range: u32,
    code: u32,
    /// Units that were made up after the input had run out.
    padding: usize,
}

impl<'a> RangeDecoder<'a> {
    /// `None` if there is not even the first 32 bits.
    pub(super) fn new(input: &'a [u8]) -> Option<Self> {
        let (&[a, b, c, d], rest) = input.split_first_chunk()?;
        Some(Self { rest, range: u32::MAX, code: u32::from_le_bytes([c, d, a, b]), padding: 0 })
    }

    /// Decodes one bit and lets `decision` learn from it.
    #[inline(always)]
    pub(super) fn decide<const N: usize>(&mut self, decision: &mut Decision<N>) -> bool {
        let probability = &mut decision.probabilities[decision.history & (N - 1)];
        if self.range >> 16 == 0 {
            cold_path();
            self.range <<= 16;
            self.code = self.code << 16 | self.next_unit();
        }
        let bound = (self.range >> ONE_BITS) * probability.of_zero();
        if self.code < bound {
            self.range = bound;
            probability.learn(0);
            decision.history <<= 1;
            false
        } else {
            self.range -= bound;
            self.code -= bound;
            probability.learn(1);
            decision.history = decision.history << 1 | 1;
            true
        }
    }

    #[inline(always)]
    fn next_unit(&mut self) -> u32 {
        let Some((&unit, rest)) = self.rest.split_first_chunk() else {
            self.padding += 1;
            return 0;
        };
        self.rest = rest;
        u32::from(u16::from_le_bytes(unit))
    }

    /// Whether more was consumed than the decoder's look-ahead of 32 bits beyond the input.
    pub(super) fn overran(&self) -> bool {
        self.padding > 2
    }
}
