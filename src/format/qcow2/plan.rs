//! Where everything will be in the file, before any of it is written.

use std::ops::Range;

use super::ondisk::{COPIED, SECTOR};
use crate::error::{Error, Result};

/// The length of a cluster, qemu's own choice.
pub const CLUSTER: u64 = 1 << CLUSTER_BITS;
pub(super) const CLUSTER_BITS: u32 = 16;

/// The largest disk: 64 TiB, as much as a VHDX has.
pub const MAX_DISK: u64 = 64 << 40;

/// Entries of a table that is one cluster long.
pub(super) const ENTRIES: u64 = CLUSTER / 8;
/// How much of a disk an L2 table describes.
pub(super) const REACH: u64 = ENTRIES * CLUSTER;
/// Reference counts in a refcount block.
pub(super) const COUNTS: u64 = CLUSTER / 2;

/// The layout of a qcow2 file: which bytes of the disk are in it, and where. It takes memory for the stretches that are used, not for
/// the disk's clusters.
#[derive(Debug, Clone)]
pub struct Layout {
    disk_len: u64,
    /// Clusters of the disk that are in the file, apart from each other and in order; the file has them in a row.
    runs: Vec<Run>,
    places: Places,
}

/// Neighbouring clusters of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    clusters: Range<u64>,
    /// How many clusters are in the file before these.
    before: u64,
}

/// Where the parts of the file are, in clusters. The header is in the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) refcount_table: Range<u64>,
    pub(super) refcount_blocks: Range<u64>,
    pub(super) l1: Range<u64>,
    pub(super) l2: Range<u64>,
    pub(super) data: Range<u64>,
}

impl Layout {
    /// The layout of a disk of `disk_len` bytes that has those clusters which the ranges of bytes in `used` touch, in the disk's order.
    ///
    /// The ranges may overlap, come in any order and be empty. Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if one ends past
    /// the disk, and unless the length is 1 sector to [`MAX_DISK`] in whole sectors.
    pub fn new(disk_len: u64, used: &[Range<u64>]) -> Result<Self> {
        check_len(disk_len)?;
        let runs = runs(disk_len, used)?;
        let l2 = tables_of(&runs).count() as u64;
        let data = runs.last().map_or(0, |last| last.before + last.clusters.end - last.clusters.start);
        let places = Places::new(l1_clusters(disk_len), l2, data);
        Ok(Self { disk_len, runs, places })
    }

    /// The length of the disk.
    pub fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file, exactly.
    pub fn file_len(&self) -> u64 {
        self.places.data.end * CLUSTER
    }

    /// How many clusters of [`CLUSTER`] bytes hold data.
    pub fn clusters(&self) -> u64 {
        self.places.data.end - self.places.data.start
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The L2 tables that there are, by their numbers in the L1 table, in order.
    pub(super) fn tables(&self) -> impl Iterator<Item = u64> {
        tables_of(&self.runs)
    }

    /// The entries of an L2 table.
    pub(super) fn table(&self, number: u64) -> Vec<u64> {
        let mut entries = vec![0; ENTRIES as usize];
        let (first, end) = (number * ENTRIES, (number + 1) * ENTRIES);
        let start = self.runs.partition_point(|run| run.clusters.end <= first);
        for run in self.runs[start..].iter().take_while(|run| run.clusters.start < end) {
            for cluster in run.clusters.start.max(first)..run.clusters.end.min(end) {
                entries[(cluster - first) as usize] = self.place(run, cluster) | COPIED;
            }
        }
        entries
    }

    /// The place in the file of a cluster of the disk.
    fn place(&self, run: &Run, cluster: u64) -> u64 {
        (self.places.data.start + run.before + (cluster - run.clusters.start)) * CLUSTER
    }

    /// The part of `at..at + len` that is in one piece in the file: its place there and its length, at least 1.
    ///
    /// `at` is within the disk and `len` is not 0. A cluster that is not there is [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub(super) fn locate(&self, at: u64, len: usize) -> Result<(u64, usize)> {
        let cluster = at / CLUSTER;
        let index = self.runs.partition_point(|run| run.clusters.end <= cluster);
        match self.runs.get(index).filter(|run| run.clusters.start <= cluster) {
            None => Err(Error::invalid("write into a part of the qcow2 that was planned as unused").at(at)),
            Some(run) => {
                let left = run.clusters.end * CLUSTER - at;
                Ok((self.place(run, cluster) + at % CLUSTER, left.min(len as u64) as usize))
            }
        }
    }
}

impl Places {
    fn new(l1: u64, l2: u64, data: u64) -> Self {
        let (table, blocks) = refcount_clusters(1 + l1 + l2 + data);
        let mut end = 1;
        let mut next = |len: u64| {
            end += len;
            end - len..end
        };
        Self {
            refcount_table: next(table),
            refcount_blocks: next(blocks),
            l1: next(l1),
            l2: next(l2),
            data: next(data),
        }
    }
}

/// How many clusters the refcount table and its blocks have in a file of so many clusters besides. They count themselves too: their
/// number grows until it is enough.
pub(super) fn refcount_clusters(others: u64) -> (u64, u64) {
    let (mut table, mut blocks) = (0, 0);
    loop {
        let needed = (others + table + blocks).div_ceil(COUNTS);
        if needed == blocks {
            return (table, blocks);
        }
        (table, blocks) = (needed.div_ceil(ENTRIES), needed);
    }
}

/// How many entries the L1 table has.
pub(super) fn l1_entries(disk_len: u64) -> u64 {
    disk_len.div_ceil(REACH)
}

/// How many clusters the L1 table takes.
pub(super) fn l1_clusters(disk_len: u64) -> u64 {
    l1_entries(disk_len).div_ceil(ENTRIES)
}

/// The clusters that the ranges touch, neighbours joined.
fn runs(disk_len: u64, used: &[Range<u64>]) -> Result<Vec<Run>> {
    let mut ranges: Vec<&Range<u64>> = used.iter().filter(|range| !range.is_empty()).collect();
    if let Some(outside) = ranges.iter().find(|range| range.end > disk_len) {
        return Err(Error::invalid("used part of a disk")
            .at(outside.start)
            .found(format_args!("end {}", outside.end))
            .allowed(format_args!("{disk_len} bytes in all")));
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut runs: Vec<Run> = Vec::new();
    let mut before = 0;
    for range in ranges {
        let clusters = range.start / CLUSTER..range.end.div_ceil(CLUSTER);
        match runs.last_mut() {
            Some(last) if clusters.start <= last.clusters.end => {
                before += clusters.end.saturating_sub(last.clusters.end);
                last.clusters.end = last.clusters.end.max(clusters.end);
            }
            _ => {
                runs.push(Run { clusters: clusters.clone(), before });
                before += clusters.end - clusters.start;
            }
        }
    }
    Ok(runs)
}

/// The numbers of the L2 tables that the runs need, each once.
fn tables_of(runs: &[Run]) -> impl Iterator<Item = u64> {
    let mut next = 0;
    runs.iter().flat_map(move |run| {
        let tables = next.max(run.clusters.start / ENTRIES)..run.clusters.end.div_ceil(ENTRIES);
        next = tables.end;
        tables
    })
}

pub(super) fn check_len(disk_len: u64) -> Result<()> {
    if disk_len == 0 || !disk_len.is_multiple_of(SECTOR) || disk_len > MAX_DISK {
        return Err(Error::invalid("size of a qcow2")
            .found(format_args!("{disk_len} bytes"))
            .allowed(format_args!("512 to {MAX_DISK} bytes (64 TiB), in whole sectors of 512")));
    }
    Ok(())
}
