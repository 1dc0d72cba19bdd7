//! What growing disk containers have in common: blocks that are there or not, each at a place of its own.

use std::ops::Range;

use super::io::range_within;
use super::{Disk, ReadAt};
use crate::error::{Error, Result};

/// How much of a table is read at once where it is searched.
const TABLE_PIECE: u64 = 0x1000;

/// For each block of a disk, whether one of the ranges of bytes touches it. They may overlap, come in any order and be empty.
///
/// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if one ends past the disk.
pub fn touched(disk_len: u64, block: u64, used: &[Range<u64>]) -> Result<Vec<bool>> {
    let mut blocks = vec![false; disk_len.div_ceil(block) as usize];
    for range in used.iter().filter(|range| !range.is_empty()) {
        check_range(disk_len, range)?;
        blocks[(range.start / block) as usize..range.end.div_ceil(block) as usize].fill(true);
    }
    Ok(blocks)
}

/// Refuses a range of bytes that ends past the disk.
pub(super) fn check_range(disk_len: u64, range: &Range<u64>) -> Result<()> {
    if range.end > disk_len {
        return Err(Error::invalid("used part of a disk")
            .at(range.start)
            .found(format_args!("end {}", range.end))
            .allowed(format_args!("{disk_len} bytes in all")));
    }
    Ok(())
}

/// Writes to a disk of `disk_len` bytes that lies in `file` piece by piece: `locate` says where what is at a place of the disk goes in
/// the file, and how much of the length it is given goes there.
pub fn write(
    file: &impl Disk,
    disk_len: u64,
    at: u64,
    data: &[u8],
    locate: impl Fn(u64, usize) -> Result<(u64, usize)>,
) -> Result<()> {
    let mut at = range_within(at, data.len(), disk_len)?.start;
    let mut rest = data;
    while !rest.is_empty() {
        let (place, len) = locate(at, rest.len())?;
        let (piece, behind) = rest.split_at(len);
        file.write_at(place, piece)?;
        at += len as u64;
        rest = behind;
    }
    Ok(())
}

/// The first row of entries among those of a table in `file` that `is_there` takes: of the entries in `range`, of `N` bytes each, the
/// first of which is at `table_at` in the file.
pub fn next_row<const N: usize>(
    file: &impl ReadAt,
    table_at: u64,
    range: Range<u64>,
    is_there: impl Fn([u8; N]) -> bool,
) -> Result<Option<Range<u64>>> {
    let mut start = None;
    let mut bytes = vec![0; TABLE_PIECE as usize * N];
    let mut index = range.start;
    while index < range.end {
        let bytes = &mut bytes[..TABLE_PIECE.min(range.end - index) as usize * N];
        file.read_at(table_at + index * N as u64, bytes)?;
        for entry in bytes.as_chunks::<N>().0 {
            match start {
                None if is_there(*entry) => start = Some(index),
                Some(start) if !is_there(*entry) => return Ok(Some(start..index)),
                _ => {}
            }
            index += 1;
        }
    }
    Ok(start.map(|start| start..range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_table_are_found() {
        let mut table = vec![0u8; 3 + 2 * 3 * TABLE_PIECE as usize];
        let row = |table: &Vec<u8>, range| next_row(table, 3, range, |entry: [u8; 2]| entry != [0; 2]).unwrap();
        assert_eq!(row(&table, 0..3 * TABLE_PIECE), None);
        for entry in [5, 6, TABLE_PIECE as usize - 1, TABLE_PIECE as usize, 3 * TABLE_PIECE as usize - 1] {
            table[3 + 2 * entry] = 1;
        }
        assert_eq!(row(&table, 0..3 * TABLE_PIECE), Some(5..7));
        assert_eq!(row(&table, 6..7), Some(6..7));
        assert_eq!(row(&table, 7..3 * TABLE_PIECE), Some(TABLE_PIECE - 1..TABLE_PIECE + 1));
        assert_eq!(row(&table, TABLE_PIECE + 1..3 * TABLE_PIECE), Some(3 * TABLE_PIECE - 1..3 * TABLE_PIECE));
        assert_eq!(row(&table, 9..9), None);
        assert!(next_row(&table, 3, 0..3 * TABLE_PIECE + 1, |_: [u8; 2]| false).is_err());
    }
}
