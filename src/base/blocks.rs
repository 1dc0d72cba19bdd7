//! What growing disk containers have in common when they are written: blocks that are there or not, each at a place of its own.

use std::ops::Range;

use super::Disk;
use super::io::range_within;
use crate::error::{Error, Result};

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
