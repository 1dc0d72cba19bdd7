//! PA30: the deltas of `msdelta.dll`, of which Windows' component store makes packed manifests and updates.
//!
//! | | supported |
//! |---|---|
//! | apply, file type RAW | yes |
//! | apply, programs (i386, IA64, AMD64, CLI), which are transformed first | no: named |
//! | reverse deltas; PA19 and PA31, its predecessor and successor | no: named |
//! | hash of the target | SHA-1 and SHA-256 checked; others, MD5 among them, are handed on ([`Header::hash`]) |
//! | make | no: wherever Windows takes a delta, it takes plain files too |
//!
//! A delta makes a *target* out of a *source*:
//!
//! ```text
//! 0   "PA30"
//! 4   file time of the target, 64 bits
//! 12  bits: numbers (set of file types, file type, flags, size of the target, algorithm of its hash), then
//!           buffers (its hash, what is to be done with the source before, the patch)
//! ```
//!
//! A row of bits (`bits`) is read from the lowest bit of its first byte on. Three bits say how many of the last byte are no part of it. A *number*
//! is as many zeros as it has hexadecimal digits after its first, a one, and the digits. A *buffer* is a number, its length; then come
//! whole bytes.
//!
//! The patch is a row of bits of its own: a rift table (`rift`), the codes (`tables`), and items (`decode`) until the target is whole. An item is
//! a byte or a match, which is a distance and a length. Source and target make up one space, the target behind the source, and a match copies from
//! its distance before the end of what there is of it. The codes are canonical Huffman codes of up to 16 bits, in which the *longest* codewords
//! come first (`huffman`).
//!
//! | slot of a match | distance |
//! |---|---|
//! | 0, 1, 2 | from the same place of the source (after the rift table): 14, 16 or 18 bits, signed; each range begins where the one before it ends |
//! | 3 | the same place of the source, from one segment of the rift table to the next |
//! | 4, 5, 6 | one of the last three distances |
//! | 7 | a slot past 42 follows: 2, 3 or 4 bits |
//! | 8 and more | like LZX: the top bits by the slot, then bits as they are, the last four by a code of their own |
//!
//! # Limits
//! The caller's, for the target; [`MAX_BLOCKS`] and [`MAX_RIFTS`]. The time is linear in the lengths of the delta and the target: each item takes
//! a bit at least and gives a byte at least. Memory grows with what has been decoded, not with what the header promises.
//!
//! # Sources
//! Microsoft describes what deltas are for ("About Delta Compression"), not how they are made. The format is that of the description
//! msdelta-pa30-format by Tobias Hoffmann, with the findings of msdelta by J. Levere and of Winter by Stefano Moioli on places of the source and on rift
//! tables. Manifests of Windows 10 decode to what their packages' catalogs have the SHA-256 of. They have neither hashes nor rift tables: how
//! those are read is as the sources have it.

mod bits;
mod decode;
mod header;
mod huffman;
mod rift;
#[cfg(test)]
mod samples;
mod tables;
#[cfg(test)]
mod tests;

pub use decode::apply;
pub use header::Header;
pub use rift::MAX_RIFTS;
pub use tables::MAX_BLOCKS;

/// What a delta begins with.
pub const MAGIC: &[u8; 4] = b"PA30";
