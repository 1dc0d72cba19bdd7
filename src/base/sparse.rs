//! A disk in memory of which only what is not zero takes any: for writers that want something to read, write and seek in.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::io::range_within;
use super::{Disk, ReadAt, bytes};
use crate::error::Result;

/// Bytes in a block: none of a disk's is there until something else than zeros is written to it.
const BLOCK: u64 = 4096;

/// A disk of zeros, and the blocks that have been written to.
///
/// The caller bounds how much is written: each block with anything but zeros takes its length in memory.
#[derive(Clone)]
pub struct Sparse {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
    /// Where [`io::Read`] and [`io::Write`] go on.
    position: u64,
}

impl std::fmt::Debug for Sparse {
    /// Without the contents, which crates that trace what they do would print.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sparse({} bytes, {} blocks)", self.len, self.blocks.len())
    }
}

impl Sparse {
    /// A disk of `len` zeros.
    pub fn new(len: u64) -> Self {
        Self { len, blocks: BTreeMap::new(), position: 0 }
    }

    /// The ranges that hold anything but zeros, in whole blocks, in order and without touching each other.
    pub fn used(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for block in self.blocks.keys() {
            let start = block * BLOCK;
            let end = self.len.min(start + BLOCK);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// Writes all that is not zero to the same places of another disk.
    pub fn copy_to(&self, disk: &dyn Disk) -> Result<()> {
        self.blocks.iter().try_for_each(|(block, bytes)| {
            let start = block * BLOCK;
            let len = BLOCK.min(self.len - start) as usize;
            disk.write_at(start, &bytes[..len])
        })
    }

    /// Puts bytes at a place.
    pub fn put(&mut self, at: u64, data: &[u8]) -> Result<()> {
        let range = range_within(at, data.len(), self.len)?;
        for (block, within, piece) in pieces(range) {
            let data = &data[piece];
            match self.blocks.get_mut(&block) {
                Some(bytes) => bytes[within..within + data.len()].copy_from_slice(data),
                None if bytes::is_zero(data) => (),
                None => {
                    let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
                    bytes[within..within + data.len()].copy_from_slice(data);
                    self.blocks.insert(block, bytes);
                }
            }
        }
        Ok(())
    }

    /// How much of a buffer lies before the end of the disk.
    fn room(&self, len: usize) -> usize {
        self.len.saturating_sub(self.position).min(len as u64) as usize
    }
}

/// A range block by block: which block, where in it, which part of the range's own bytes.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let within = at % BLOCK;
        let len = (BLOCK - within).min(range.end - at);
        let begin = (at - range.start) as usize;
        let piece = (at / BLOCK, within as usize, begin..begin + len as usize);
        at += len;
        (len > 0).then_some(piece)
    })
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let range = range_within(at, buf.len(), self.len)?;
        for (block, within, piece) in pieces(range) {
            let target = &mut buf[piece];
            match self.blocks.get(&block) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + target.len()]),
                None => target.fill(0),
            }
        }
        Ok(())
    }
}

impl io::Read for Sparse {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.room(buf.len());
        self.read_at(self.position.min(self.len), &mut buf[..len]).map_err(io::Error::other)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl io::Write for Sparse {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.room(data.len());
        self.put(self.position.min(self.len), &data[..len]).map_err(io::Error::other)?;
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Sparse {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            io::SeekFrom::Start(at) => (at, 0),
            io::SeekFrom::End(offset) => (self.len, offset),
            io::SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;
    use crate::base::MemoryDisk;

    #[test]
    fn only_what_is_not_zero_is_there() {
        let mut disk = Sparse::new(10_000);
        disk.put(0, &[0; 10_000]).unwrap();
        assert!(disk.used().is_empty());
        disk.put(4090, &[1; 10]).unwrap();
        disk.put(9999, &[2]).unwrap();
        assert!(matches!(disk.used().as_slice(), [all] if *all == (0..10_000)));
        assert!(disk.put(9999, &[0; 2]).is_err());
        let copy = MemoryDisk::new(10_000, 0);
        disk.copy_to(&copy).unwrap();
        let bytes = copy.into_bytes();
        assert_eq!(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 12);
        let mut read = vec![9; 10_000];
        disk.read_at(0, &mut read).unwrap();
        assert_eq!(read, bytes);
        let mut apart = Sparse::new(1 << 40);
        apart.put(0, &[1]).unwrap();
        apart.put(1 << 39, &[1]).unwrap();
        assert_eq!(apart.used(), [0..4096, 1 << 39..(1 << 39) + 4096]);
    }

    #[test]
    fn reads_and_writes_end_with_the_disk() {
        let mut disk = Sparse::new(5000);
        disk.seek(SeekFrom::End(-2)).unwrap();
        assert_eq!(disk.write(&[7; 4]).unwrap(), 2);
        assert_eq!(disk.write(&[7; 4]).unwrap(), 0);
        disk.seek(SeekFrom::End(-3)).unwrap();
        let mut end = Vec::new();
        disk.read_to_end(&mut end).unwrap();
        assert_eq!(end, [0, 7, 7]);
        assert!(disk.seek(SeekFrom::Current(-5001)).is_err());
        assert_eq!(disk.seek(SeekFrom::Start(9000)).unwrap(), 9000);
        assert_eq!(disk.read(&mut [0; 4]).unwrap(), 0);
    }
}
