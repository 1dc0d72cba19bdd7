//! Positioned reads and writes: the seams between formats and the host.

use std::io;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use crate::error::{Error, Result};

/// Bytes that can be read at any position, from several threads.
pub trait ReadAt: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Fills `buf` from offset `at`, or fails; a read past the end is [`Kind::Truncated`](crate::error::Kind::Truncated).
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first stretch from `at` on that may hold anything but zeros, as far as that is known without reading it. What is
    /// between `at` and the stretch reads as zeros; `None` means that nothing else follows.
    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        Ok((at < self.len()).then(|| at..self.len()))
    }
}

/// Bytes that can be written at any position, from several threads.
///
/// What is never written reads as zero: a fresh disk is all zeros.
pub trait Disk: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Writes all of `data` at offset `at`.
    fn write_at(&self, at: u64, data: &[u8]) -> Result<()>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bounds check of every reader: `at..at + len` within `total`, as indices.
pub fn range_within(at: u64, len: usize, total: u64) -> Result<Range<u64>> {
    match at.checked_add(len as u64) {
        Some(end) if end <= total => Ok(at..end),
        _ => Err(Error::truncated("read past the end")
            .at(at)
            .found(format_args!("{len} bytes wanted"))
            .allowed(format_args!("{total} bytes in all"))),
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let range = range_within(at, buf.len(), ReadAt::len(self))?;
        buf.copy_from_slice(&self[range.start as usize..range.end as usize]);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        ReadAt::len(self.as_slice())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.as_slice().read_at(at, buf)
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }
            fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
                (**self).read_at(at, buf)
            }
            fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
                (**self).next_data(at)
            }
        }
        impl<T: Disk + ?Sized> Disk for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }
            fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
                (**self).write_at(at, data)
            }
        }
    )*};
}
forward!(&T, Arc<T>, Box<T>);

/// A window onto a part of something: a partition of a disk, a resource of a file.
#[derive(Debug, Clone)]
pub struct Slice<T> {
    inner: T,
    start: u64,
    len: u64,
}

impl<T> Slice<T> {
    /// The window `range` of `inner`, whose own length is `total`.
    fn within(inner: T, range: Range<u64>, total: u64) -> Result<Self> {
        if range.start > range.end || range.end > total {
            return Err(Error::truncated("window past the end")
                .at(range.start)
                .found(format_args!("end {}", range.end))
                .allowed(format_args!("{total} bytes in all")));
        }
        Ok(Self { inner, start: range.start, len: range.end - range.start })
    }

    fn position(&self, at: u64, len: usize) -> Result<u64> {
        Ok(self.start + range_within(at, len, self.len)?.start)
    }
}

impl<T: ReadAt> Slice<T> {
    /// The window `range` of something readable.
    pub fn of_reader(inner: T, range: Range<u64>) -> Result<Self> {
        let total = inner.len();
        Self::within(inner, range, total)
    }
}

impl<T: Disk> Slice<T> {
    /// The window `range` of something writable.
    pub fn of_disk(inner: T, range: Range<u64>) -> Result<Self> {
        let total = inner.len();
        Self::within(inner, range, total)
    }
}

impl<T: ReadAt> ReadAt for Slice<T> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(self.position(at, buf.len())?, buf)
    }
}

impl<T: Disk> Disk for Slice<T> {
    fn len(&self) -> u64 {
        self.len
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        self.inner.write_at(self.position(at, data.len())?, data)
    }
}

/// Something readable as a stream with a position, for other people's readers.
#[derive(Debug, Clone)]
pub struct Cursor<T> {
    inner: T,
    at: u64,
}

impl<T: ReadAt> Cursor<T> {
    /// A stream from the start.
    pub fn new(inner: T) -> Self {
        Self { inner, at: 0 }
    }
}

impl<T: ReadAt> io::Read for Cursor<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.len().saturating_sub(self.at).min(buf.len() as u64) as usize;
        if len > 0 {
            self.inner.read_at(self.at, &mut buf[..len]).map_err(io::Error::other)?;
            self.at += len as u64;
        }
        Ok(len)
    }
}

impl<T: ReadAt> io::Seek for Cursor<T> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => self.inner.len().checked_add_signed(by),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A disk in memory, for small outputs and for tests.
#[derive(Debug)]
pub struct MemoryDisk(RwLock<Vec<u8>>);

impl MemoryDisk {
    /// A disk of `len` bytes, each of them `fill` (a test fills with something else than zero, to see what was never written).
    pub fn new(len: usize, fill: u8) -> Self {
        Self(RwLock::new(vec![fill; len]))
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).len() as u64
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let range = range_within(at, data.len(), bytes.len() as u64)?;
        bytes[range.start as usize..range.end as usize].copy_from_slice(data);
        Ok(())
    }
}

impl ReadAt for MemoryDisk {
    fn len(&self) -> u64 {
        Disk::len(self)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).read_at(at, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn cursors_go_anywhere_and_read_what_is_there() {
        use io::{Read, Seek, SeekFrom};
        let mut cursor = Cursor::new(vec![1u8, 2, 3, 4]);
        assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 1);
        let mut buf = [0; 8];
        assert_eq!((cursor.read(&mut buf).unwrap(), &buf[..3]), (3, &[2, 3, 4][..]));
        assert_eq!(cursor.seek(SeekFrom::Current(6)).unwrap(), 10);
        assert_eq!(cursor.read(&mut buf).unwrap(), 0);
        assert!(cursor.seek(SeekFrom::Current(-11)).is_err());
        assert!(cursor.seek(SeekFrom::Start(u64::MAX)).is_ok() && cursor.seek(SeekFrom::Current(1)).is_err());
    }

    #[test]
    fn slices_stay_inside() {
        let disk = MemoryDisk::new(16, 0);
        let window = Slice::of_disk(&disk, 4..8).unwrap();
        window.write_at(1, &[7, 8]).unwrap();
        assert_eq!(window.write_at(3, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
        assert_eq!(window.write_at(u64::MAX, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
        assert!(Slice::of_disk(&disk, 4..17).is_err());
        let bytes = disk.into_bytes();
        assert_eq!(&bytes[4..8], &[0, 7, 8, 0]);
        let mut two = [0; 2];
        Slice::of_reader(&bytes, 5..9).unwrap().read_at(0, &mut two).unwrap();
        assert_eq!(two, [7, 8]);
    }
}
