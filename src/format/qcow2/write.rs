//! A qcow2 file, written as the disk that it holds.

use std::ops::Range;

use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, COPIED};
use super::plan::{CLUSTER, CLUSTER_BITS, COUNTS, Layout, l1_entries};
use crate::base::{Disk, blocks};
use crate::error::{Error, Result};

/// The disk in a qcow2 file. Writes go to their places in the file at once, without a lock and from any thread; what describes
/// them is written by [`finish`](Self::finish), so that a file that was given up has no header and is no qcow2.
///
/// The format has no ids and no times: the file follows from the disk and the [`Layout`] alone.
#[derive(Debug)]
pub struct Writer<D> {
    layout: Layout,
    file: D,
}

impl<D: Disk> Writer<D> {
    /// Begins a qcow2 in `file`, which is fresh (all zeros) and as long as [`Layout::file_len`] says, else the error is
    /// [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub fn new(layout: Layout, file: D) -> Result<Self> {
        if file.len() != layout.file_len() {
            return Err(Error::invalid("length of the file for a qcow2").found(file.len()).allowed(layout.file_len()));
        }
        Ok(Self { layout, file })
    }

    /// Writes everything that is not the disk's own data, the header last, and gives the file back.
    pub fn finish(self) -> Result<D> {
        let places = self.layout.places();
        let mut l1 = vec![0; l1_entries(self.layout.disk_len()) as usize];
        for (table, place) in self.layout.tables().zip(places.l2.clone()) {
            self.file.write_at(place * CLUSTER, &big_endian(&self.layout.table(table)))?;
            l1[table as usize] = (place * CLUSTER) | COPIED;
        }
        self.file.write_at(places.l1.start * CLUSTER, &big_endian(&l1))?;
        self.write_counts()?;
        let blocks: Vec<u64> = places.refcount_blocks.clone().map(|block| block * CLUSTER).collect();
        self.file.write_at(places.refcount_table.start * CLUSTER, &big_endian(&blocks))?;
        self.file.write_at(0, header(self.layout.disk_len(), places.l1.start, &places.refcount_table).as_bytes())?;
        Ok(self.file)
    }

    /// Every cluster of the file is in use once.
    fn write_counts(&self) -> Result<()> {
        let places = self.layout.places();
        let once = 1u16.to_be_bytes().repeat(COUNTS as usize);
        for (first, block) in (0..places.data.end).step_by(COUNTS as usize).zip(places.refcount_blocks.clone()) {
            let counts = COUNTS.min(places.data.end - first) as usize;
            self.file.write_at(block * CLUSTER, &once[..counts * size_of::<u16>()])?;
        }
        Ok(())
    }
}

/// Entries of a table as they are in the file.
pub(super) fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

/// The header; places in clusters. What follows it in its cluster, zeros, is the end of the header extensions.
pub(super) fn header(disk_len: u64, l1: u64, refcount_table: &Range<u64>) -> ondisk::Header {
    ondisk::Header {
        magic: ondisk::MAGIC,
        version: 3.into(),
        cluster_bits: CLUSTER_BITS.into(),
        disk_len: disk_len.into(),
        l1_entries: (l1_entries(disk_len) as u32).into(),
        l1_at: (l1 * CLUSTER).into(),
        refcounts_at: (refcount_table.start * CLUSTER).into(),
        refcount_clusters: ((refcount_table.end - refcount_table.start) as u32).into(),
        refcount_order: ondisk::REFCOUNT_ORDER.into(),
        header_len: ondisk::HEADER_LEN_3.into(),
        ..FromZeros::new_zeroed()
    }
}

impl<D: Disk> Disk for Writer<D> {
    fn len(&self) -> u64 {
        self.layout.disk_len()
    }

    /// A write into a cluster that the [`Layout`] does not have is [`Kind::Invalid`](crate::error::Kind::Invalid): a plan that
    /// did not tell all.
    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        blocks::write(&self.file, self.layout.disk_len(), at, data, |at, len| self.layout.locate(at, len))
    }
}
