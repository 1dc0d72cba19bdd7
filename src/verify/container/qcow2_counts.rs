//! The rules of qcow2: what uses each cluster of the file, and the reference counts.

use std::ops::Range;

use super::Report;
use crate::base::ReadAt;
use crate::format::qcow2::ondisk::Header;
use crate::verify::{Finding, Level, Rule};

/// So many clusters of a file are accounted for, at 5 bytes each: 1 TiB in clusters of 64 KiB.
const MAX_CLUSTERS: u64 = 1 << 24;

/// In entries of the refcount table.
const RESERVED: u64 = 0x1FF;

/// What a cluster is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Nothing,
    /// The header and all tables that nothing shares.
    Table,
    /// L2 tables: snapshots share them.
    L2,
    /// Data: snapshots share them, and compressed ones each other's clusters.
    Data,
}

/// The clusters of a file: what uses them, how often, and how often they are counted.
pub(super) struct Counts<'f> {
    file: &'f dyn ReadAt,
    cluster: u64,
    uses: Vec<Use>,
    /// Neither goes beyond what 16 bits hold.
    used: Vec<u16>,
    counted: Vec<u16>,
    /// Whether there are more clusters than are accounted for.
    is_cut: bool,
}

impl<'f> Counts<'f> {
    /// Reads all reference counts. The numbers of the header are sound.
    pub(super) fn read(file: &'f dyn ReadAt, header: &Header, report: &mut Report<'_>) -> Self {
        let cluster = 1 << header.cluster_bits.get();
        let clusters = file.len().div_ceil(cluster);
        let accounted = clusters.min(MAX_CLUSTERS) as usize;
        let mut counts = Self {
            file,
            cluster,
            uses: vec![Use::Nothing; accounted],
            used: vec![0; accounted],
            counted: vec![0; accounted],
            is_cut: clusters > MAX_CLUSTERS,
        };
        if counts.is_cut {
            let found = format!("{clusters} clusters, of which the first {MAX_CLUSTERS} are accounted for");
            report.add(Finding::new(Rule::Qcow2Refcount, found).part("reference counts").level(Level::Note));
        }
        counts.add(0..cluster, Use::Table, "header", 0, report);
        let table = header.refcounts_at.get();
        let table = table..table + u64::from(header.refcount_clusters.get()) * cluster;
        counts.add(table.clone(), Use::Table, "refcount table", table.start, report);
        counts.read_blocks(table, header.refcount_order.get(), report);
        counts
    }

    fn read_blocks(&mut self, table: Range<u64>, order: u32, report: &mut Report<'_>) {
        let mut entries = vec![0; (table.end - table.start) as usize];
        if let Err(error) = self.file.read_at(table.start, &mut entries) {
            return report.field(Rule::Qcow2Table, "refcount table", table.start, error, "readable");
        }
        let per_block = (self.cluster * 8) >> order;
        for ((index, entry), at) in entries.as_chunks::<8>().0.iter().enumerate().zip((table.start..).step_by(8)) {
            let entry = u64::from_be_bytes(*entry);
            if entry == 0 {
                continue;
            }
            let part = format!("refcount table, entry {index}");
            let end = entry.checked_add(self.cluster).filter(|end| *end <= self.file.len());
            if entry & RESERVED != 0 || !entry.is_multiple_of(self.cluster) || end.is_none() {
                let allowed = format!("a whole cluster of the file's {:#x} bytes", self.file.len());
                report.field(Rule::Qcow2Table, &part, at, format!("{entry:#x}"), allowed);
            } else {
                self.add(entry..entry + self.cluster, Use::Table, &part, at, report);
                self.read_block(entry, index as u64 * per_block, order, report);
            }
            if report.is_enough(Rule::Qcow2Table) || report.is_enough(Rule::Qcow2Overlap) {
                return;
            }
        }
    }

    /// The counts of a block, from that of cluster `first` on.
    fn read_block(&mut self, at: u64, first: u64, order: u32, report: &mut Report<'_>) {
        let Some(counted) = self.counted.get_mut(first as usize..) else { return };
        let mut bytes = vec![0; self.cluster as usize];
        if let Err(error) = self.file.read_at(at, &mut bytes) {
            return report.field(Rule::Qcow2Table, "refcount block", at, error, "readable");
        }
        if let Some(width) = (1usize << order).checked_div(8).filter(|width| *width > 0) {
            for (counted, count) in counted.iter_mut().zip(bytes.chunks_exact(width)) {
                let count = count.iter().fold(0u64, |count, byte| count << 8 | u64::from(*byte));
                *counted = count.min(u16::MAX.into()) as u16;
            }
        } else {
            // Of several in a byte the first has the lowest bits.
            let (bits, in_byte) = (1 << order, 8 >> order);
            for (index, counted) in counted.iter_mut().enumerate().take(bytes.len() * in_byte) {
                *counted = u16::from(bytes[index / in_byte] >> (index % in_byte * bits)) & ((1 << bits) - 1);
            }
        }
    }

    /// Counts a use of the clusters that a range touches, by the part whose entry is at `at`.
    pub(super) fn add(&mut self, range: Range<u64>, new: Use, part: &str, at: u64, report: &mut Report<'_>) {
        let clusters = range.start / self.cluster..range.end.div_ceil(self.cluster);
        let mut shared = None;
        for cluster in clusters.start..clusters.end.min(self.uses.len() as u64) {
            let index = cluster as usize;
            let (old, used) = (&mut self.uses[index], &mut self.used[index]);
            if *old != Use::Nothing && (*old != new || new == Use::Table) {
                shared = shared.or(Some(cluster * self.cluster));
            }
            *old = if *old == Use::Nothing { new } else { *old };
            *used = used.saturating_add(1);
        }
        if let Some(place) = shared {
            let found = format!("the cluster at {place:#x}, which something else has too");
            report.field(Rule::Qcow2Overlap, part, at, found, "a cluster of its own");
        }
    }

    /// How often the cluster at a place is counted.
    pub(super) fn of(&self, place: u64) -> Option<u16> {
        self.counted.get((place / self.cluster) as usize).copied()
    }

    /// Whether each cluster is counted as often as it is used. `has_others` says that some are used by what is not known.
    pub(super) fn compare(&self, has_others: bool, report: &mut Report<'_>) {
        let mut leaked = None;
        let mut leaks = 0u64;
        for (place, (used, counted)) in (0..).step_by(self.cluster as usize).zip(self.used.iter().zip(&self.counted)) {
            if counted < used {
                let allowed = format!("{used}, as often as it is used");
                report.field(Rule::Qcow2Refcount, "reference count of the cluster", place, counted, allowed);
            } else if counted > used {
                leaks += 1;
                leaked = leaked.or(Some((place, counted, used)));
            }
            if report.is_enough(Rule::Qcow2Refcount) {
                return;
            }
        }
        // What lies beyond what is accounted for may use any cluster.
        if let Some((place, counted, used)) = leaked.filter(|_| !has_others && !self.is_cut) {
            let found = format!("{counted} ({leaks} such clusters)");
            let allowed = format!("{used}, as often as it is used");
            report.field(Rule::Qcow2Leak, "reference count of the cluster", place, found, allowed);
        }
    }
}
