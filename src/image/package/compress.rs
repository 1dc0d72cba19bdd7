//! gzip, xz and zstd, written on all cores in memory that does not grow.
//!
//! Data are cut into blocks of a fixed size, which are compressed independently of each other and written in their order. So the
//! result does not depend on the number of threads.
//!
//! | format | block | what they are put together to | level |
//! |---|---|---|---|
//! | gzip (RFC 1952) | 1 MiB | one member, as by pigz: deflate blocks that end on whole bytes | 6 |
//! | xz | 16 MiB | one stream for each block, which `xz`, 7-Zip and libarchive read as one file | 6 |
//! | zstd (RFC 8878) | 4 MiB | one frame for each block, with a checksum | that of the encoder, about `zstd -1` |
//!
//! Memory: as many blocks as there are threads, what they become, and of xz about 100 MiB more for each thread.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use flate2::{Compress, Crc, FlushCompress};
use lzma_rust2::{XzOptions, XzWriter};
use ruzstd::encoding::CompressionLevel;
use serde::Serialize;

use crate::base::ordered::ordered;
use crate::error::{Error, Kind};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// The level of gzip and xz, which is the default of their own programs.
const LEVEL: u32 = 6;

/// Identification, deflate, no flags, no time, level unknown, system unknown.
const GZIP_HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty deflate block that is the last one, of the fixed codes.
const DEFLATE_END: [u8; 2] = [3, 0];

impl Compression {
    /// The extension of its files, if it has any.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gz"),
            Self::Xz => Some("xz"),
            Self::Zstd => Some("zst"),
        }
    }

    /// The program that undoes it, with what makes it keep the file.
    pub fn undone_by(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip -dk"),
            Self::Xz => Some("xz -dk"),
            Self::Zstd => Some("zstd -d"),
        }
    }

    fn block(self) -> usize {
        match self {
            Self::None | Self::Gzip => 1 << 20,
            Self::Zstd => 4 << 20,
            Self::Xz => 16 << 20,
        }
    }

    fn compress(self, data: &[u8]) -> io::Result<Block> {
        let mut crc = Crc::new();
        let bytes = match self {
            Self::None => data.to_vec(),
            Self::Gzip => {
                crc.update(data);
                deflate(data)?
            }
            Self::Xz => xz(data)?,
            Self::Zstd => ruzstd::encoding::compress_to_vec(data, CompressionLevel::Fastest),
        };
        Ok(Block { bytes, crc })
    }
}

/// A block, compressed.
struct Block {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Deflate blocks that end on a whole byte, none of them the last.
fn deflate(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(flate2::Compression::new(LEVEL), false);
    let mut bytes = Vec::with_capacity(data.len() / 2 + 64);
    loop {
        let taken = compress.total_in() as usize;
        compress.compress_vec(&data[taken..], &mut bytes, FlushCompress::Sync).map_err(io::Error::other)?;
        // Room that is left shows that the flush is complete.
        if compress.total_in() as usize == data.len() && bytes.len() < bytes.capacity() {
            return Ok(bytes);
        }
        bytes.reserve(data.len() / 4 + 64);
    }
}

fn xz(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(LEVEL))?;
    writer.write_all(data)?;
    writer.finish()
}

/// Compresses what is written to it.
pub struct Compressor<'w> {
    out: &'w mut dyn Write,
    compression: Compression,
    threads: NonZeroUsize,
    pending: Vec<u8>,
    crc: Crc,
    blocks: u64,
}

impl<'w> Compressor<'w> {
    /// Starts a compressed file.
    pub fn new(out: &'w mut dyn Write, compression: Compression, threads: NonZeroUsize) -> io::Result<Self> {
        if compression == Compression::Gzip {
            out.write_all(&GZIP_HEADER)?;
        }
        Ok(Self { out, compression, threads, pending: Vec::new(), crc: Crc::new(), blocks: 0 })
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.compress_pending()?;
        match self.compression {
            Compression::None => {}
            Compression::Gzip => {
                self.out.write_all(&DEFLATE_END)?;
                self.out.write_all(&self.crc.sum().to_le_bytes())?;
                self.out.write_all(&self.crc.amount().to_le_bytes())?;
            }
            // A file of nothing has to be one of the format all the same.
            Compression::Xz | Compression::Zstd if self.blocks == 0 => {
                self.out.write_all(&self.compression.compress(&[])?.bytes)?;
            }
            Compression::Xz | Compression::Zstd => {}
        }
        self.out.flush()
    }

    /// So much is compressed at once, by all threads.
    fn batch(&self) -> usize {
        self.compression.block().saturating_mul(self.threads.get())
    }

    fn compress_pending(&mut self) -> io::Result<()> {
        let compression = self.compression;
        let mut blocks = self.pending.chunks(compression.block());
        let compress =
            || move |data: &[u8]| compression.compress(data).map_err(|e| Error::io("data cannot be compressed", e));
        let mut failed = None;
        let done = ordered(
            self.threads,
            || Ok(blocks.next()),
            compress,
            |block| {
                self.crc.combine(&block.crc);
                self.blocks += 1;
                self.out.write_all(&block.bytes).map_err(|e| {
                    failed = Some(e);
                    Error::new(Kind::Io, "the output cannot be written")
                })
            },
        );
        self.pending.clear();
        // The host's own error, which tells a full disk from others.
        done.map_err(|error| failed.unwrap_or_else(|| io::Error::other(error)))
    }
}

impl Write for Compressor<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.compression == Compression::None {
            return self.out.write(data);
        }
        let batch = self.batch();
        let taken = data.len().min(batch - self.pending.len());
        self.pending.extend_from_slice(&data[..taken]);
        if self.pending.len() == batch {
            self.compress_pending()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn compressed(data: &[u8], compression: Compression, threads: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut compressor = Compressor::new(&mut bytes, compression, NonZeroUsize::new(threads).unwrap()).unwrap();
        // In pieces that do not fit the blocks.
        for piece in data.chunks(700_001) {
            compressor.write_all(piece).unwrap();
        }
        compressor.finish().unwrap();
        bytes
    }

    /// Something of everything: text, zeros, noise.
    fn sample(len: usize) -> Vec<u8> {
        let mut noise = 1u64;
        let byte = |index: usize| match (index >> 16) % 4 {
            0 => b"the quick brown fox "[index % 20],
            1 => 0,
            2 => (index / 3 % 251) as u8,
            _ => {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            }
        };
        (0..len).map(byte).collect()
    }

    #[test]
    fn gzip_is_one_member() {
        for len in [0, 1, (1 << 20) - 1, 1 << 20, (5 << 20) + 7] {
            let data = sample(len);
            let bytes = compressed(&data, Compression::Gzip, 3);
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut back).unwrap();
            assert!(back == data, "{len}");
        }
    }

    #[test]
    fn zstd_frames_give_the_data_back() {
        for len in [0, 1, 4 << 20, (9 << 20) + 7] {
            let data = sample(len);
            let bytes = compressed(&data, Compression::Zstd, 2);
            let (mut back, mut rest) = (Vec::new(), &*bytes);
            while !rest.is_empty() {
                let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest).unwrap();
                decoder.read_to_end(&mut back).unwrap();
            }
            assert!(back == data, "{len}");
        }
    }

    #[test]
    fn threads_do_not_matter() {
        // Mostly zeros, since this is about the blocks, of which xz has large ones.
        let mut data = sample(1 << 20);
        data.resize((17 << 20) + 5, 0);
        data.extend(sample(1 << 18));
        for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
            let one = compressed(&data, compression, 1);
            assert!(one.len() < data.len() / 2, "{compression:?}: {}", one.len());
            assert!(one == compressed(&data, compression, 4), "{compression:?}");
        }
        assert!(compressed(&data, Compression::None, 2) == data);
    }
}
