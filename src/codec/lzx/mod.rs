//! LZX as in WIM files: the `maximum` compression of Windows' images. And as in cabinets, to be read.
//!
//! | | supported |
//! |---|---|
//! | decode, windows of 32 KiB to 2 MiB; verbatim, aligned and uncompressed blocks | yes |
//! | encode, the same windows; verbatim and aligned blocks | yes |
//! | decode the framing of cabinets (blocks across frames, header for the call translation) | yes: [`Frames`] |
//!
//! A chunk is a sequence of blocks. Literals and match headers share the *main* code: symbol `256 + 8 * slot + l` is a
//! match of `l + 2` bytes, for `l` = 7 prolonged by a symbol of the *length* code; the offset lies in `slot`, which has up to 17
//! extra bits. The lowest three extra bits come from the *aligned* code in blocks of that type. Slots 0 to 2 name one of the three
//! last offsets, which it changes places with. Codeword lengths are given as differences to those of the block before. The bits
//! come in 16-bit little-endian units, most significant bit first.
//!
//! What WIM changes from the LZX of cabinets: chunks are independent (last offsets 1, 1, 1 and codeword lengths 0 at
//! the start of each), a block's size is one bit for 32768 or else 16 bits (24 with windows from 64 KiB), and the absolute operands of
//! x86 calls are always translated, with 12,000,000 as the file size.
//!
//! Sources: Microsoft's LZX specification, \[MS-PATCH\] section 2, wimlib's documentation, chunks written by wimlib.

mod decode;
mod e8;
mod encode;
mod frames;
#[cfg(test)]
mod frames_tests;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;
pub use frames::Frames;

/// The size of the window, which in WIM files is that of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(u8);

impl Window {
    /// That of 32 KiB, with which Windows compresses WIM files and single files.
    pub const SMALLEST: Self = Self(15);

    /// The window for chunks of `bytes`, a power of two from 32 KiB to 2 MiB.
    pub fn of_chunk_size(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (1 << 15..=1 << 21).contains(&bytes)).then(|| Self(bytes.ilog2() as u8))
    }

    /// The window of 2 to that power of bytes, 15 to 21, as cabinets tell it.
    pub fn of_order(order: u16) -> Option<Self> {
        (15..=21).contains(&order).then_some(Self(order as u8))
    }

    /// Its size in bytes.
    pub fn size(self) -> usize {
        1 << self.0
    }

    /// How many symbols the main code has. Offsets that reach back further than `size - 3` do not occur, so that the last
    /// slot is the one of `size - 1` in biased form.
    fn main_symbols(self) -> usize {
        let slots = match self.0 {
            20 => 42,
            21 => 50,
            order => 2 * usize::from(order),
        };
        LITERALS + SLOT_HEADERS * slots
    }

    /// Whether a block's size has 24 bits instead of 16.
    fn has_wide_block_sizes(self) -> bool {
        self.0 > 15
    }
}

const LITERALS: usize = 256;
/// Length headers of each offset slot.
const SLOT_HEADERS: usize = 8;
const MAX_SLOTS: usize = 50;
const MAX_MAIN_SYMBOLS: usize = LITERALS + SLOT_HEADERS * MAX_SLOTS;
const LENGTH_SYMBOLS: usize = 249;
const ALIGNED_SYMBOLS: usize = 8;
const PRECODE_SYMBOLS: usize = 20;

const MIN_MATCH: usize = 2;
/// A length header that says that a symbol of the length code follows.
const LONG_LENGTH: usize = SLOT_HEADERS - 1;
const MAX_MATCH: usize = MIN_MATCH + LONG_LENGTH + LENGTH_SYMBOLS - 1;

const DEFAULT_BLOCK_SIZE: usize = 1 << 15;
const BLOCK_VERBATIM: u32 = 1;
const BLOCK_ALIGNED: u32 = 2;
const BLOCK_UNCOMPRESSED: u32 = 3;

/// Offset slots that name a recent offset.
const RECENT_OFFSETS: usize = 3;
/// Offsets are coded with this bias, which leaves 0 to 2 to the recent ones.
const OFFSET_BIAS: u32 = 2;

/// For each offset slot: how many extra bits it has, and the first biased offset in it.
const SLOTS: [(u8, u32); MAX_SLOTS] = {
    let mut slots = [(0, 0); MAX_SLOTS];
    let mut base = 0;
    let mut slot = 0;
    while slot < MAX_SLOTS {
        let extra = match slot {
            0..4 => 0,
            4..36 => slot / 2 - 1,
            _ => 17,
        };
        slots[slot] = (extra as u8, base);
        base += 1 << extra;
        slot += 1;
    }
    slots
};
const _: () = assert!(SLOTS[30].1 == 1 << 15 && SLOTS[42].1 == 1 << 20 && SLOTS[49].1 + (1 << 17) == 1 << 21);
