//! Files that lie, as they are, in pieces of something else.

use std::sync::Arc;

use super::ReadAt;
use super::io::range_within;
use crate::error::Result;

/// Stands for bytes that are nowhere, and read as zeros.
const HOLE: u64 = u64::MAX;

/// Where the bytes of a file lie: an ordered list of pieces, without gaps. 16 bytes for each piece; neighbours are one.
#[derive(Debug, Clone, Default)]
pub struct Extents {
    /// Where each begins, in the file and in what it lies in.
    pieces: Vec<(u64, u64)>,
    len: u64,
}

impl Extents {
    /// Adds a piece at the end: from `at` on, or zeros. `None` if the file becomes longer than any can be.
    pub fn push(&mut self, at: Option<u64>, len: u64) -> Option<()> {
        let end = self.len.checked_add(len)?;
        let at = at.unwrap_or(HOLE);
        if at != HOLE {
            at.checked_add(len).filter(|end| *end < HOLE)?;
        }
        let goes_on = self.pieces.last().is_some_and(|(start, place)| match (*place, at) {
            (HOLE, HOLE) => true,
            (HOLE, _) | (_, HOLE) => false,
            (place, at) => place + (self.len - start) == at,
        });
        if len > 0 && !goes_on {
            self.pieces.push((self.len, at));
        }
        self.len = end;
        Some(())
    }

    /// The length of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Where the first byte lies that lies anywhere.
    pub fn first(&self) -> Option<u64> {
        self.pieces.iter().map(|(_, at)| *at).find(|at| *at != HOLE)
    }

    /// Behind the last byte of what the file lies in that belongs to it.
    pub fn end(&self) -> u64 {
        let lens = self.pieces.iter().skip(1).map(|(start, _)| *start).chain([self.len]);
        let ends = self.pieces.iter().zip(lens).filter(|((_, at), _)| *at != HOLE);
        ends.map(|((start, at), end)| at + (end - start)).max().unwrap_or(0)
    }

    /// Fills `buf` from offset `at` of the file, which lies in `medium`.
    pub fn read_at(&self, medium: &dyn ReadAt, at: u64, buf: &mut [u8]) -> Result<()> {
        range_within(at, buf.len(), self.len)?;
        let mut index = self.pieces.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let (start, place) = self.pieces[index];
            let end = self.pieces.get(index + 1).map_or(self.len, |(start, _)| *start);
            let here = (end - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(here);
            match place {
                HOLE => now.fill(0),
                place => medium.read_at(place + (at - start), now)?,
            }
            at += here as u64;
            rest = later;
            index += 1;
        }
        Ok(())
    }
}

/// A file in pieces, to be read by itself.
#[derive(Clone)]
pub struct ExtentFile {
    /// What it lies in.
    pub medium: Arc<dyn ReadAt>,
    /// Where.
    pub extents: Extents,
}

impl ReadAt for ExtentFile {
    fn len(&self) -> u64 {
        self.extents.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.extents.read_at(&self.medium, at, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn pieces_are_one_file() {
        let medium: Vec<u8> = (0..100).collect();
        let mut extents = Extents::default();
        for (at, len) in [(Some(10), 5), (Some(15), 5), (None, 3), (None, 2), (Some(0), 4), (Some(50), 0)] {
            extents.push(at, len).unwrap();
        }
        assert_eq!((extents.len(), extents.pieces(), extents.first(), extents.end()), (19, 3, Some(10), 20));
        let expected = [&medium[10..20], &[0; 5], &medium[..4]].concat();
        let file = ExtentFile { medium: Arc::new(medium), extents };
        for start in 0..19 {
            for end in start..=19 {
                let mut buf = vec![0xD1; end - start];
                file.read_at(start as u64, &mut buf).unwrap();
                assert_eq!(buf, expected[start..end]);
            }
        }
        assert_eq!(file.read_at(18, &mut [0; 2]).unwrap_err().kind(), Kind::Truncated);
        assert_eq!(file.read_at(u64::MAX, &mut [0; 2]).unwrap_err().kind(), Kind::Truncated);
    }

    #[test]
    fn lengths_do_not_overflow() {
        let mut extents = Extents::default();
        assert!(extents.push(Some(u64::MAX - 1), 2).is_none());
        assert!(extents.push(None, u64::MAX).is_some());
        assert!(extents.push(None, 1).is_none());
        assert_eq!(extents.end(), 0);
    }
}
