//! Rows of bits, from the lowest bit of the first byte on.

use crate::codec::Damaged;

/// What follows where there is nothing more.
pub(super) const TRUNCATED: Damaged = Damaged("a delta that ends too early");

/// The longest run of bits that [`Bits::peek`] can see.
const MAX_PEEK: u32 = 57;
/// Bits before a row's first value, which say how many of the last byte are no part of it.
const PADDING_BITS: u64 = 3;

/// Reads a row of bits.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: u64,
    /// The first bit that is no part of the row.
    end: u64,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let padding = bytes.first().ok_or(TRUNCATED)? & 7;
        let end = bytes.len() as u64 * 8 - u64::from(padding);
        if end < PADDING_BITS {
            return Err(TRUNCATED);
        }
        Ok(Self { bytes, at: PADDING_BITS, end })
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The next bits, the first of them lowest; [`MAX_PEEK`] of them are sure, and behind the end there are zeros.
    pub(super) fn peek(&self) -> u64 {
        let from = usize::try_from(self.at / 8).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let word = rest.first_chunk().map_or_else(
            || {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                word
            },
            |word| *word,
        );
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    /// Goes past `count` bits.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Damaged> {
        if u64::from(count) > self.left() {
            return Err(TRUNCATED);
        }
        self.at += u64::from(count);
        Ok(())
    }

    /// Up to 32 bits.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, Damaged> {
        debug_assert!(count <= 32 && 32 <= MAX_PEEK);
        let value = self.peek() & ((1 << count) - 1);
        self.skip(count)?;
        Ok(value as u32)
    }

    /// How many zeros come before the next one, which is read too; fewer than `limit`.
    pub(super) fn zeros(&mut self, limit: u32) -> Result<u32, Damaged> {
        let zeros = self.peek().trailing_zeros();
        if zeros >= limit {
            return Err(if self.left() < u64::from(limit) { TRUNCATED } else { Damaged("a number without an end") });
        }
        self.skip(zeros + 1)?;
        Ok(zeros)
    }

    /// How many ones come before the next zero, which is read too; two ones end it.
    pub(super) fn ones(&mut self) -> Result<u32, Damaged> {
        let ones = self.peek().trailing_ones().min(2);
        self.skip((ones + 1).min(2))?;
        Ok(ones)
    }

    /// A number: up to 16 hexadecimal digits.
    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let bits = 4 * (self.zeros(16)? + 1);
        let low = u64::from(self.read(bits.min(32))?);
        let high = u64::from(self.read(bits.saturating_sub(32))?);
        Ok(high << 32 | low)
    }

    /// A number, then as many whole bytes.
    pub(super) fn buffer(&mut self) -> Result<&'a [u8], Damaged> {
        let len = usize::try_from(self.number()?).map_err(|_| TRUNCATED)?;
        let from = usize::try_from(self.at.div_ceil(8)).map_err(|_| TRUNCATED)?;
        let to = from.checked_add(len).filter(|to| *to as u64 * 8 <= self.end).ok_or(TRUNCATED)?;
        self.at = to as u64 * 8;
        self.bytes.get(from..to).ok_or(TRUNCATED)
    }
}
