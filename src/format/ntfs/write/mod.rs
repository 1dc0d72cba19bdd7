//! Writes a plan: metadata first, then the blobs of each store as they come.
//!
//! Work is cut into runs of files whose records lie together, which threads take one after the other. Records that hold a
//! small blob are written with zeros in its place; when the blob comes, it is written over them, around the update sequence.

pub(super) mod files;
pub(super) mod index;
mod place;
pub(super) mod record;
mod system;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use self::files::FileWriter;
use self::place::{Destination, Placement, Sink};
use super::plan::Plan;
use crate::base::Disk;
use crate::error::{Error, Result};
use crate::tree::{BlobId, BlobStore, StoreId, Tree};

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
        write_all(&[Target { plan: self, tree, disk }], threads, progress)
    }
}

/// A volume that is to be written.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// What it is to be.
    pub plan: &'a Plan,
    /// The tree that the plan was made from.
    pub tree: &'a Tree,
    /// Where it goes: the partition.
    pub disk: &'a dyn Disk,
}

/// Writes several volumes at once. A store that several of their trees share is read, and decoded, once for all of them.
///
/// # Errors
///
/// Those of [`Plan::write`].
pub fn write_all(targets: &[Target<'_>], threads: NonZeroUsize, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
    let mut writers = Vec::new();
    for target in targets {
        let Target { plan, tree, disk } = *target;
        if disk.len() < plan.volume_len {
            return Err(Error::no_space("partition for the NTFS volume", plan.volume_len, disk.len()));
        }
        writers.push(Writer { plan, tree, disk, progress });
    }
    let mut stores = Stores::default();
    for (number, writer) in (0..).zip(&writers) {
        for placement in writer.write_metadata(threads)? {
            stores.add(number, writer, placement);
        }
    }
    stores.shared.iter_mut().try_for_each(|shared| shared.write(&writers, threads))
}

/// The stores of all volumes' trees, each once, with what is wanted of it.
#[derive(Default)]
struct Stores<'a> {
    shared: Vec<Shared<'a>>,
    /// By volume and store id: where in `shared`.
    known: HashMap<(u32, StoreId), usize>,
}

/// One store, and the places that want its blobs.
struct Shared<'a> {
    store: &'a Arc<dyn BlobStore>,
    /// Which tree knows it by which id, for words about what cannot be had.
    tree: &'a Tree,
    id: StoreId,
    placements: Vec<(u32, Placement)>,
}

impl<'a> Stores<'a> {
    fn add(&mut self, volume: u32, writer: &Writer<'a>, placement: Placement) {
        let index = *self.known.entry((volume, placement.store)).or_insert_with(|| {
            let store = &writer.tree.stores()[placement.store.index()];
            let found = self.shared.iter().position(|shared| Arc::ptr_eq(shared.store, store));
            found.unwrap_or_else(|| {
                self.shared.push(Shared { store, tree: writer.tree, id: placement.store, placements: Vec::new() });
                self.shared.len() - 1
            })
        });
        self.shared[index].placements.push((volume, placement));
    }
}

impl Shared<'_> {
    /// Has the store give its blobs, each once, and writes each to all its places.
    fn write(&mut self, writers: &[Writer<'_>], threads: NonZeroUsize) -> Result<()> {
        self.placements.sort_unstable_by_key(|(volume, placement)| (placement.blob, *volume, placement.to));
        let mut wanted: Vec<BlobId> = self.placements.iter().map(|(_, placement)| placement.blob).collect();
        wanted.dedup();
        let of_each = self.placements.chunk_by(|(_, a), (_, b)| a.blob == b.blob);
        let promised: u64 = of_each.map(|of_blob| of_blob[0].1.len).sum();
        wanted.sort_by_key(|blob| self.store.position(*blob));
        let sink = Sink { writers, placements: &self.placements, received: AtomicU64::new(0) };
        self.store.stream(&wanted, threads, &sink).map_err(|failure| self.tree.blame(self.id, failure))?;
        let received = sink.received.into_inner();
        if received != promised {
            return Err(Error::corrupt("blobs that are shorter than their table says")
                .found(received)
                .allowed(promised));
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

    /// Writes bytes and zeros up to the end of the cluster.
    fn write_padded(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write_piece(at, bytes, true)
    }
}
