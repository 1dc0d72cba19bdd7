//! Writes a plan: metadata first, then the blobs of each store as they come.
//!
//! Work is cut into runs of files whose records lie together, which threads take one after the other. Records that hold a
//! small blob are written with zeros in its place; when the blob comes, it is written over them, around the update sequence.

pub(super) mod files;
pub(super) mod index;
mod place;
pub(super) mod record;
mod system;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use self::files::FileWriter;
use self::place::{Destination, Placement, Sink};
use super::plan::Plan;
use crate::base::Disk;
use crate::error::{Error, Result};
use crate::tree::{BlobId, Tree};

/// Files in one piece of work.
const RUN: u32 = 512;
/// Records and other long things are written in pieces of about this length.
const PIECE: usize = 1 << 20;

/// Everything that writing needs to know.
struct Writer<'a> {
    plan: &'a Plan,
    tree: &'a Tree,
    disk: &'a dyn Disk,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Plan {
    /// Writes the volume to `disk`, which is the partition: all that [`used`](Self::used) names, and nothing else.
    ///
    /// `tree` is the one that the plan was made from. `progress` hears of every piece of data that was written, by its length in
    /// bytes, from several threads.
    ///
    /// # Errors
    ///
    /// Those of the disk and of the tree's stores; a blob that cannot be had is named by a path that wants it.
    pub fn write(
        &self,
        tree: &Tree,
        disk: &dyn Disk,
        threads: NonZeroUsize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        if disk.len() < self.volume_len {
            return Err(Error::no_space("partition for the NTFS volume", self.volume_len, disk.len()));
        }
        let writer = Writer { plan: self, tree, disk, progress };
        let mut placements = writer.write_metadata(threads)?;
        placements.sort_unstable_by_key(|placement| (placement.store, placement.blob, placement.to));
        for of_store in placements.chunk_by(|a, b| a.store == b.store) {
            writer.write_blobs(of_store, threads)?;
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Writes all but the blobs, and returns where those are wanted.
    fn write_metadata(&self, threads: NonZeroUsize) -> Result<Vec<Placement>> {
        let files = self.plan.files.census.len() as u32;
        let runs = files.div_ceil(RUN);
        let next = AtomicU32::new(0);
        let failed = AtomicBool::new(false);
        let collected = Mutex::new(Ok(Vec::new()));
        let work = || {
            let mut placements = Vec::new();
            let mut outcome = Ok(());
            while outcome.is_ok() && !failed.load(Ordering::Relaxed) {
                let run = next.fetch_add(1, Ordering::Relaxed);
                outcome = match run {
                    0 => self.write_system(),
                    run if run <= runs => self.write_run((run - 1) * RUN..(run * RUN).min(files), &mut placements),
                    _ => break,
                };
            }
            let mut collected = collected.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match (outcome, collected.as_mut()) {
                (Ok(()), Ok(all)) => all.append(&mut placements),
                (Err(error), Ok(_)) => {
                    failed.store(true, Ordering::Relaxed);
                    *collected = Err(error);
                }
                (_, Err(_)) => {}
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.get().min(runs as usize + 1) {
                // A host that refuses a thread leaves more work for this one.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        collected.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes the records of these files, and what they own outside of them.
    fn write_run(&self, ranks: Range<u32>, placements: &mut Vec<Placement>) -> Result<()> {
        let files = &self.plan.files;
        let len = files.geometry.record;
        let mut records = Vec::new();
        let mut first = files.records(ranks.clone()).start;
        for rank in ranks {
            let file = FileWriter::new(self, rank)?;
            let mut holders = file.holders();
            if rank == 0 {
                holders.start = 1; // the base record of the root is with the system files
            }
            records.resize(records.len() + holders.len() * len, 0);
            file.write_records(holders, &mut records, first, placements);
            (self.progress)(file.write_outside(placements)?);
            if records.len() >= PIECE {
                self.write_user_records(first, &records)?;
                first += (records.len() / len) as u32;
                records.clear();
            }
        }
        self.write_user_records(first, &records)
    }

    fn write_user_records(&self, first: u32, records: &[u8]) -> Result<()> {
        let geometry = &self.plan.files.geometry;
        let mft = geometry.bytes(self.plan.system.mft.lcn);
        self.disk.write_at(mft + u64::from(first) * geometry.record as u64, records)
    }

    /// Has the blobs of one store written; the placements are sorted by blob.
    fn write_blobs(&self, placements: &[Placement], threads: NonZeroUsize) -> Result<()> {
        let Some(store_id) = placements.first().map(|placement| placement.store) else { return Ok(()) };
        let store = &self.tree.stores()[store_id.index()];
        let mut wanted: Vec<BlobId> = placements.iter().map(|placement| placement.blob).collect();
        wanted.dedup();
        let promised: u64 = placements.chunk_by(|a, b| a.blob == b.blob).map(|of_blob| of_blob[0].len).sum();
        wanted.sort_by_key(|blob| store.position(*blob));
        let sink = Sink { writer: self, placements, received: AtomicU64::new(0) };
        store.stream(&wanted, threads, &sink).map_err(|failure| self.tree.blame(store_id, failure))?;
        let received = sink.received.into_inner();
        if received != promised {
            return Err(Error::corrupt("blobs that are shorter than their table says")
                .found(received)
                .allowed(promised));
        }
        Ok(())
    }

    /// Writes bytes and zeros up to the end of the cluster.
    fn write_padded(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write_piece(at, bytes, true)
    }
}
