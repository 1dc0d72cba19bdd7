//! The streams of a volume as blobs: plain, sparse, compressed by NTFS, or compressed by the overlay filter.
//!
//! Work is handed out in the order in which the streams lie on the volume, in pieces of at most [`PIECE`] bytes; each piece can be read by
//! itself, so that several threads share a long stream.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, READ_LIMIT};

use super::attribute::Extents;
use super::runs::{Clusters, HOLE, Run};
use super::unpack::{Unpacker, Wof};

/// How much of a stream a worker takes at once: a multiple of every unit that is compressed together.
pub(super) const PIECE: u64 = 256 << 10;

/// How the bytes of a stream follow from its clusters.
pub(super) enum Coding {
    /// They are in them.
    Plain,
    /// Compressed by NTFS in units of so many bytes, at most [`PIECE`].
    Lznt1(u32),
    /// Compressed by the overlay filter, in another stream.
    Wof(Box<Wof>),
    /// They cannot be had.
    Refused(Box<(Kind, String)>),
}

impl Coding {
    /// For what cannot be had, and why.
    pub(super) fn refused(error: &Error) -> Self {
        Self::Refused(Box::new((error.kind(), error.to_string())))
    }
}

/// A stream; 56 bytes, and 16 for each of its runs.
pub(super) struct Blob {
    /// Indices into [`Table::runs`].
    runs: (u32, u32),
    /// Whose it is, for messages.
    record: u32,
    pub(super) size: u64,
    pub(super) initialized: u64,
    pub(super) coding: Coding,
}

/// All streams outside of records.
#[derive(Default)]
pub(super) struct Table {
    runs: Vec<Run>,
    blobs: Vec<Blob>,
}

impl Table {
    /// Adds a stream of the file in `record`.
    pub(super) fn add(&mut self, record: u32, size: u64, coding: Coding, extents: Option<&Extents>) -> Result<BlobId> {
        let full = |_| Error::unsupported("more than 2^32 streams or data runs");
        let start = u32::try_from(self.runs.len()).map_err(full)?;
        self.runs.extend_from_slice(extents.map_or(&[], |extents| &extents.runs));
        let end = u32::try_from(self.runs.len()).map_err(full)?;
        let initialized = extents.map_or(0, |extents| extents.initialized);
        let id = BlobId(u32::try_from(self.blobs.len()).map_err(full)?);
        self.blobs.push(Blob { runs: (start, end), record, size, initialized, coding });
        Ok(id)
    }
}

/// The store. Its table is put in when all records have been read: ids are given out before.
pub(super) struct Store {
    clusters: Clusters,
    table: OnceLock<Table>,
}

impl Store {
    pub(super) fn new(clusters: Clusters) -> Self {
        Self { clusters, table: OnceLock::new() }
    }

    /// Puts the table in, once.
    pub(super) fn fill(&self, table: Table) {
        let first = self.table.set(table);
        debug_assert!(first.is_ok());
    }

    fn blob(&self, id: BlobId) -> Option<(&Blob, &[Run])> {
        let table = self.table.get()?;
        let blob = table.blobs.get(id.0 as usize)?;
        Some((blob, table.runs.get(blob.runs.0 as usize..blob.runs.1 as usize)?))
    }

    fn known(&self, id: BlobId) -> Result<(&Blob, &[Run])> {
        self.blob(id).ok_or_else(|| Error::invalid("a blob id of another volume"))
    }

    /// A piece of a blob, which begins at a multiple of [`PIECE`].
    fn read_piece(&self, id: BlobId, at: u64, unpacker: &mut Unpacker, buf: &mut [u8]) -> Result<()> {
        let (blob, runs) = self.known(id)?;
        let read = match &blob.coding {
            Coding::Plain => self.clusters.read_valid(runs, blob.initialized, at, buf),
            Coding::Lznt1(unit) => unpacker.lznt1(&self.clusters, runs, (*unit, blob.initialized), at, buf),
            Coding::Wof(wof) => unpacker.wof(&self.clusters, wof, blob.size, at, buf),
            Coding::Refused(why) => Err(Error::new(why.0, &why.1)),
        };
        read.map_err(|error| error.context(format_args!("NTFS record {}", blob.record)))
    }
}

impl BlobStore for Store {
    fn position(&self, id: BlobId) -> u64 {
        let Some((blob, runs)) = self.blob(id) else { return 0 };
        let first = |runs: &[Run]| runs.iter().map(|run| run.lcn).find(|lcn| *lcn != HOLE).unwrap_or(0);
        match &blob.coding {
            Coding::Wof(wof) => first(wof.runs()),
            _ => first(runs),
        }
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        let mut order = wanted.to_vec();
        order.sort_by_cached_key(|id| (self.position(*id), *id));
        order.dedup();
        let work: u64 = order.iter().filter_map(|id| self.blob(*id)).map(|(blob, _)| blob.size.div_ceil(PIECE)).sum();
        let run = Session {
            store: self,
            order: &order,
            sink,
            next: Mutex::new((0, 0)),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        let helpers = u64::try_from(threads.get()).unwrap_or(u64::MAX).min(work);
        thread::scope(|scope| {
            for _ in 1..helpers {
                // A host that refuses another thread only makes it slower.
                let _ = thread::Builder::new().spawn_scoped(scope, || run.work());
            }
            run.work();
        });
        run.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn read(&self, id: BlobId) -> Result<Vec<u8>> {
        let size = self.known(id)?.0.size;
        if size > READ_LIMIT {
            return Err(Error::unsupported("a stream too large for memory").found(size).allowed(READ_LIMIT));
        }
        let mut unpacker = Unpacker::default();
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size || bytes.is_empty() {
            let at = bytes.len();
            bytes.resize((at as u64 + PIECE).min(size) as usize, 0);
            self.read_piece(id, at as u64, &mut unpacker, &mut bytes[at..])?;
            if size == 0 {
                break;
            }
        }
        Ok(bytes)
    }
}

/// One call of [`BlobStore::stream`].
struct Session<'a> {
    store: &'a Store,
    order: &'a [BlobId],
    sink: &'a dyn BlobSink,
    /// The place in `order` and the offset in that blob of the next piece.
    next: Mutex<(usize, u64)>,
    stop: AtomicBool,
    failure: Mutex<Option<BlobError>>,
}

impl Session<'_> {
    fn work(&self) {
        let mut unpacker = Unpacker::default();
        let mut buf = Vec::new();
        while !self.stop.load(Ordering::Relaxed)
            && let Some((id, range)) = self.take()
        {
            if let Err(failure) = self.process(id, range, &mut unpacker, &mut buf) {
                lock(&self.failure).get_or_insert(failure);
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The next piece of work. An empty blob is one too, which may yet be refused.
    fn take(&self) -> Option<(BlobId, Range<u64>)> {
        let mut next = lock(&self.next);
        let (place, at) = *next;
        let id = *self.order.get(place)?;
        let size = self.store.blob(id).map_or(0, |(blob, _)| blob.size);
        let end = at.saturating_add(PIECE).min(size);
        *next = if end == size { (place + 1, 0) } else { (place, end) };
        Some((id, at..end))
    }

    fn process(
        &self,
        id: BlobId,
        range: Range<u64>,
        unpacker: &mut Unpacker,
        buf: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        buf.resize((range.end - range.start) as usize, 0);
        let read = self.store.read_piece(id, range.start, unpacker, buf);
        read.map_err(|error| BlobError { blobs: vec![id], error })?;
        if !buf.is_empty() {
            self.sink.write(id, range.start, buf)?;
        }
        Ok(())
    }
}

/// A poisoned lock means that a worker panicked: the panic reaches the caller when the workers are joined.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
