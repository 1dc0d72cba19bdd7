//! Floor 1: compression, bytes to bytes. No container, no I/O.
//!
//! A decoder knows how long its output is to be (WIM stores it) and either fills it exactly or says [`Damaged`]. Decoders
//! and encoders are values that keep their tables, so that a thread reuses one for all of its chunks.

mod copy;
mod huffman;
pub mod lzms;
pub mod lznt1;
pub mod lzx;
mod matchfinder;
pub mod pa30;
mod parse;
#[cfg(test)]
mod samples;
pub mod xpress;

use crate::error::Error;

/// Compressed data that no compressor writes: what about it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Error::corrupt(format_args!("compressed data: {}", damaged.0))
    }
}
