//! What a revision writes: pieces of metadata, and contents that go into runs of clusters.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;

use crate::base::Disk;
use crate::error::{Error, Result};
use crate::format::ntfs::read::raw::Run;
use crate::tree::{BlobId, BlobSink, Content, StoreId, Tree};

/// Long stretches of one byte are written in pieces of this length.
const PIECE: u64 = 1 << 20;

/// Something that is settled already, by its place in the volume.
pub(super) enum Settled {
    Bytes(Vec<u8>),
    /// So many bytes, all ones: an empty journal.
    Ones(u64),
}

impl Settled {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Ones(len) => *len,
        }
    }
}

/// A content, and the clusters that it goes into.
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) runs: Vec<Run>,
}

/// All that is written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) cluster: u64,
    pub(super) settled: BTreeMap<u64, Settled>,
    pub(super) contents: Vec<Stored>,
}

/// Where the bytes `at..at + len` of a stream lie in the volume. Holes are left out.
pub(super) fn spread(runs: &[Run], cluster: u64, at: u64, len: usize) -> Vec<(u64, Range<usize>)> {
    let mut places = Vec::new();
    let (mut start, end) = (0u64, at + len as u64);
    for run in runs {
        let run_end = start + run.clusters * cluster;
        let (from, to) = (start.max(at), run_end.min(end));
        if let Some(lcn) = run.lcn.filter(|_| from < to) {
            places.push((lcn * cluster + (from - start), (from - at) as usize..(to - at) as usize));
        }
        start = run_end;
        if start >= end {
            break;
        }
    }
    places
}

impl Output {
    /// Adds bytes of a stream, from `at` on.
    pub(super) fn put(&mut self, runs: &[Run], at: u64, bytes: &[u8]) {
        for (place, range) in spread(runs, self.cluster, at, bytes.len()) {
            self.settled.insert(place, Settled::Bytes(bytes[range].to_vec()));
        }
    }

    /// The ranges that are written: sorted, apart from each other.
    pub(super) fn used(&self) -> Vec<Range<u64>> {
        let mut used: Vec<Range<u64>> = Vec::new();
        for range in self.claims() {
            match used.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => used.push(range),
            }
        }
        used
    }

    /// Makes sure that nothing is written twice: on a sound base, nothing is.
    pub(super) fn check(&self) -> Result<()> {
        match self.claims().windows(2).find(|pair| pair[0].end > pair[1].start) {
            None => Ok(()),
            Some(pair) => Err(Error::corrupt("clusters that belong to two streams").at(pair[1].start)),
        }
    }

    /// Each piece that is written, in the order of the volume.
    fn claims(&self) -> Vec<Range<u64>> {
        let settled = self.settled.iter().map(|(at, what)| *at..*at + what.len());
        let runs = self.contents.iter().flat_map(|stored| &stored.runs);
        let stored = runs.filter_map(|run| {
            let start = run.lcn? * self.cluster;
            Some(start..start + run.clusters * self.cluster)
        });
        let mut ranges: Vec<Range<u64>> = settled.chain(stored).collect();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        ranges
    }

    pub(super) fn write(
        &self,
        tree: &Tree,
        disk: &dyn Disk,
        threads: NonZeroUsize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        for (at, settled) in &self.settled {
            match settled {
                Settled::Bytes(bytes) => disk.write_at(*at, bytes)?,
                Settled::Ones(len) => {
                    let ones = vec![0xFF; PIECE.min(*len) as usize];
                    for piece in (0..*len).step_by(PIECE as usize) {
                        disk.write_at(*at + piece, &ones[..PIECE.min(*len - piece) as usize])?;
                    }
                }
            }
        }
        let mut blobs: BTreeMap<StoreId, HashMap<BlobId, Vec<&Stored>>> = BTreeMap::new();
        for stored in &self.contents {
            match &stored.content {
                Content::Bytes(bytes) => {
                    self.write_piece(stored, 0, bytes, disk)?;
                    progress(bytes.len() as u64);
                }
                Content::Blob { store, blob, .. } => {
                    blobs.entry(*store).or_default().entry(*blob).or_default().push(stored);
                }
            }
        }
        for (store, wanted) in blobs {
            self.write_blobs(tree, store, wanted, disk, threads, progress)?;
        }
        Ok(())
    }

    fn write_blobs(
        &self,
        tree: &Tree,
        id: StoreId,
        places: HashMap<BlobId, Vec<&Stored>>,
        disk: &dyn Disk,
        threads: NonZeroUsize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let store = &tree.stores()[id.index()];
        let mut wanted: Vec<BlobId> = places.keys().copied().collect();
        wanted.sort_by_key(|blob| (store.position(*blob), *blob));
        let promised: u64 = places.values().filter_map(|stored| stored.first()).map(|one| one.content.len()).sum();
        let sink = Sink { output: self, places, disk, progress, received: Default::default() };
        store.stream(&wanted, threads, &sink).map_err(|failure| tree.blame(id, failure))?;
        let received = sink.received.into_inner();
        if received != promised {
            return Err(Error::corrupt("blobs that are shorter than their table says")
                .found(received)
                .allowed(promised));
        }
        Ok(())
    }

    /// Writes a piece of a content, and behind its end zeros up to that of the cluster.
    fn write_piece(&self, stored: &Stored, at: u64, data: &[u8], disk: &dyn Disk) -> Result<()> {
        let len = stored.content.len();
        let end = at.checked_add(data.len() as u64).filter(|end| *end <= len);
        let end = end.ok_or_else(|| {
            Error::corrupt("a blob that is longer than its table says")
                .found(at.saturating_add(data.len() as u64))
                .allowed(len)
        })?;
        for (place, range) in spread(&stored.runs, self.cluster, at, data.len()) {
            disk.write_at(place, &data[range])?;
        }
        let behind = (end.next_multiple_of(self.cluster) - end) as usize;
        if end == len && behind > 0 {
            for (place, range) in spread(&stored.runs, self.cluster, end, behind) {
                disk.write_at(place, &vec![0; range.len()])?;
            }
        }
        Ok(())
    }
}

/// Receives the blobs of one store.
struct Sink<'a> {
    output: &'a Output,
    places: HashMap<BlobId, Vec<&'a Stored>>,
    disk: &'a dyn Disk,
    progress: &'a (dyn Fn(u64) + Sync),
    received: std::sync::atomic::AtomicU64,
}

impl BlobSink for Sink<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let len = data.len() as u64;
        for stored in self.places.get(&blob).into_iter().flatten() {
            self.output.write_piece(stored, at, data, self.disk)?;
            (self.progress)(len);
        }
        self.received.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}
