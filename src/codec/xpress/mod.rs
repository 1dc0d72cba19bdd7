//! XPRESS in its Huffman variant ("LZ77+Huffman"): the `fast` compression of WIM files.
//!
//! | | supported |
//! |---|---|
//! | decode, chunks up to 64 KiB | yes |
//! | encode | yes |
//! | plain LZ77 variant, LZNT1 | no: WIM files do not use them |
//!
//! A chunk starts with 256 bytes: the codeword lengths of 512 symbols, four bits each, the even symbol in the low half.
//! Symbols 0 to 255 are literals. Symbol `256 + 16 * b + l` is a match of `l + 3` bytes (for `l` = 15: more, see below) whose
//! offset is a one followed by `b` bits of the stream. The stream is made of 16-bit little-endian units, most
//! significant bit first. Longer lengths are kept in whole bytes between the units: a byte with `length - 18`, and if
//! that is 255, two bytes with `length - 3`. They lie where a decoder stands that reads a unit whenever fewer than
//! 16 bits are left in its buffer.
//!
//! Symbol 256 ends the stream, but only once all output is there; before, it is a match of 3 bytes at offset 1. The output's
//! length is known to WIM, so the decoder does not need it and wimlib ignores its absence.
//!
//! Sources: \[MS-XCA\] sections 2.1 and 2.2; wimlib's documentation; chunks written by wimlib.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;

/// The longest chunk, from the longest offset (65535) that the format can express.
pub const MAX_CHUNK: usize = 1 << 16;

const SYMBOLS: usize = 512;
const LITERALS: usize = 256;
const END_OF_DATA: usize = 256;
const MAX_CODEWORD: usize = 15;
const MIN_MATCH: usize = 3;
/// A length header that says that more of the length follows.
const LONG_LENGTH: usize = 15;
/// The codeword lengths at the start of a chunk.
const HEADER_BYTES: usize = SYMBOLS / 2;
