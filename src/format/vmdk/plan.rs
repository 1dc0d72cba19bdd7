//! Where everything will be in a sparse file, before any of it is written.

use std::ops::Range;

use super::ondisk::{SECTOR, TABLE_ENTRIES, TABLE_LEN};
use crate::error::{Error, Result};

/// The length of a grain, as every known writer has it.
pub const GRAIN: u64 = 64 << 10;

/// The largest disk: 62 TiB, the limit of vSphere.
pub const MAX_DISK: u64 = 62 << 40;

pub(super) const GRAIN_SECTORS: u64 = GRAIN / SECTOR;
pub(super) const DESCRIPTOR_AT: u64 = SECTOR;
/// Room for the descriptor: 20 sectors by custom.
pub(super) const DESCRIPTOR_LEN: u64 = 20 * SECTOR;
const DIRECTORY_AT: u64 = DESCRIPTOR_AT + DESCRIPTOR_LEN;

// Tables in a row are one array of entries, by the number of the grain.
const _: () = assert!(TABLE_LEN == TABLE_ENTRIES * 4);
const _: () = assert!(MAX_DISK.is_multiple_of(GRAIN));

/// How many grain tables a disk has.
pub(super) fn tables(disk_len: u64) -> u64 {
    disk_len.div_ceil(GRAIN * TABLE_ENTRIES)
}

/// The length of a grain directory in the file.
pub(super) fn directory_len(tables: u64) -> u64 {
    (tables * 4).next_multiple_of(SECTOR)
}

pub(super) fn check_len(disk_len: u64) -> Result<()> {
    if disk_len == 0 || !disk_len.is_multiple_of(SECTOR) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a VMDK")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("512 to {MAX_DISK} bytes (62 TiB), in whole sectors of 512")));
    }
    Ok(())
}

/// The number of a sector in the file, as tables hold it.
pub(super) fn sector_number(at: u64) -> Result<u32> {
    u32::try_from(at / SECTOR).map_err(|_| {
        Error::unsupported("a VMDK file of more than 2 TiB")
            .hint("what the disk holds is too much for one VMDK: choose VHDX or qcow2")
    })
}

/// Neighbouring grains that are in the file, where they are neighbours too.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Their numbers.
    pub(super) grains: Range<u64>,
    /// Where the first of them is in the file.
    at: u64,
}

impl Run {
    /// The sector numbers of its grains.
    pub(super) fn sectors(&self) -> impl Iterator<Item = u32> {
        let first = (self.at / SECTOR) as u32; // checked when it was laid out, as the last one was
        (0..self.grains.end - self.grains.start).map(move |grain| first + (grain * GRAIN_SECTORS) as u32)
    }
}

/// The layout of a monolithicSparse file: which grains of the disk are in it, and where.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    file_len: u64,
    /// In the order of the disk, and of the file.
    runs: Vec<Run>,
}

impl Layout {
    /// The layout of a disk of `disk_len` bytes that has those grains which the ranges of bytes in `used` touch, in the order of the
    /// disk.
    ///
    /// The ranges may overlap, come in any order and be empty. Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if one ends
    /// past the disk, or unless the length is 1 sector to [`MAX_DISK`] in whole sectors; with
    /// [`Kind::Unsupported`](crate::error::Kind::Unsupported) if the file would be longer than 2 TiB, which its sector numbers cannot
    /// tell. Takes memory for the ranges, not for the disk.
    pub fn sparse(disk_len: u64, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len)?;
        let mut end = Self::data_at(disk_len);
        let mut runs = grains(disk_len, used)?;
        for run in &mut runs {
            run.at = end;
            end += (run.grains.end - run.grains.start) * GRAIN;
            sector_number(end - 1)?;
        }
        Ok(Self { disk_len, file_len: end, runs })
    }

    /// The length of the disk.
    pub fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file, exactly.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// How many grains of [`GRAIN`] bytes the file has.
    pub fn grains(&self) -> u64 {
        self.runs.iter().map(|run| run.grains.end - run.grains.start).sum()
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Where the redundant and the first grain directory are; the tables follow each.
    pub(super) fn directories(&self) -> [u64; 2] {
        let tables = tables(self.disk_len);
        [DIRECTORY_AT, DIRECTORY_AT + directory_len(tables) + tables * TABLE_LEN]
    }

    /// Where the grains begin.
    pub(super) fn overhead(&self) -> u64 {
        Self::data_at(self.disk_len)
    }

    fn data_at(disk_len: u64) -> u64 {
        let tables = tables(disk_len);
        (DIRECTORY_AT + 2 * (directory_len(tables) + tables * TABLE_LEN)).next_multiple_of(GRAIN)
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A grain that is not there is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        let grain = at / GRAIN;
        let index = self.runs.partition_point(|run| run.grains.end <= grain);
        match self.runs.get(index) {
            Some(run) if run.grains.contains(&grain) => {
                let left = run.grains.end * GRAIN - at;
                Ok((run.at + (at - run.grains.start * GRAIN), left.min(len as u64) as usize))
            }
            _ => Err(Error::invalid("write into a part of the VMDK that was planned as unused").at(at)),
        }
    }
}

/// The grains that ranges of bytes touch, in order, neighbours joined; without their places.
fn grains(disk_len: u64, used: &[Range<u64>]) -> Result<Vec<Run>> {
    if let Some(range) = used.iter().find(|range| !range.is_empty() && range.end > disk_len) {
        return Err(Error::invalid("used part of a disk")
            .at(range.start)
            .found(format_args!("end {}", range.end))
            .allowed(format_args!("{disk_len} bytes in all")));
    }
    let touched = used.iter().filter(|range| !range.is_empty());
    let mut grains: Vec<Range<u64>> = touched.map(|range| range.start / GRAIN..range.end.div_ceil(GRAIN)).collect();
    grains.sort_unstable_by_key(|range| range.start);
    let mut runs: Vec<Run> = Vec::new();
    for grains in grains {
        match runs.last_mut() {
            Some(last) if grains.start <= last.grains.end => last.grains.end = last.grains.end.max(grains.end),
            _ => runs.push(Run { grains, at: 0 }),
        }
    }
    Ok(runs)
}
