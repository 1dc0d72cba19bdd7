//! The blobs of a WIM, streamed from all of its parts on all cores.
//!
//! Work is handed out in storage order, in pieces of about [`PIECE`] unpacked bytes: many small resources, which one read
//! fetches, or some chunks of one large or solid resource. A worker reads, decodes, gives each blob's bytes to the sink and
//! hashes them. SHA-1 has to see a blob's bytes in order, so a blob that spans pieces has a [`Flow`], which passes its hash
//! from piece to piece: who comes too early leaves a copy of its bytes there, or waits when too many lie there already. As
//! pieces are handed out in order, whoever is waited for is at work, so that there is no deadlock; a worker that fails marks
//! its flows, so that nobody waits for it in vain.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use sha1::{Digest, Sha1};

use super::resource::{Landmarks, Resource, Span, Unpacker};
use crate::base::ReadAt;
use crate::error::{Context, Error, Result};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, READ_LIMIT};

/// How many unpacked bytes a worker takes at once; more only where a single chunk is larger.
const PIECE: u64 = 256 << 10;
/// Up to how many unneeded bytes between two small resources are read along with them.
const GAP: u64 = 32 << 10;
/// How many bytes are read at once for small resources.
const SPAN: u64 = 4 * PIECE;
/// How many bytes may lie in a flow, waiting for their turn.
const PARKED: usize = 4 << 20;
/// How many bytes the buffers of all workers may take for unpacked chunks, unless one alone takes more. A chunk has at most
/// 1 GiB; solid chunks usually have 64 MiB.
const BUFFERS: u64 = 256 << 20;

/// A SHA-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sha1Hash(pub [u8; 20]);

impl Sha1Hash {
    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha1::digest(bytes).into())
    }
}

impl fmt::Display for Sha1Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha1Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A blob: a stretch of what a resource unpacks to; all of it unless the resource is solid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob {
    pub(super) sha1: Sha1Hash,
    /// An index into [`Store::resources`].
    pub(super) resource: u32,
    pub(super) at: u64,
    pub(super) len: u64,
}

/// All blobs of a WIM. A [`BlobId`] is a blob's place in storage order.
pub(super) struct Store {
    pub(super) parts: Vec<Arc<dyn ReadAt>>,
    pub(super) resources: Vec<Resource>,
    pub(super) blobs: Vec<Blob>,
    /// Indices of blobs that are not metadata, by SHA-1.
    pub(super) by_hash: Vec<u32>,
    pub(super) last_chunk: Mutex<Option<SolidChunk>>,
    /// The landmarks of the resource that was read last: blobs come in storage order, so that no other is needed for long.
    pub(super) landmarks: Mutex<Option<(u32, Arc<Landmarks>)>>,
}

/// The chunk of a solid resource that was read last: whoever reads some small files of an ESD, one by one, finds them in few
/// chunks, each of which takes a quarter of a second. It is dropped when blobs are streamed.
pub(super) struct SolidChunk {
    resource: u32,
    chunk: u64,
    bytes: Vec<u8>,
}

impl Store {
    /// The blob of that hash, with its length.
    pub(super) fn find(&self, sha1: &Sha1Hash) -> Option<(BlobId, u64)> {
        let hash = |index: &u32| self.blobs[*index as usize].sha1;
        let found = self.by_hash.binary_search_by(|index| hash(index).cmp(sha1)).ok()?;
        let index = self.by_hash[found];
        Some((BlobId(index), self.blobs[index as usize].len))
    }

    fn resource_of(&self, blob: &Blob) -> &Resource {
        &self.resources[blob.resource as usize]
    }

    fn part_of(&self, resource: &Resource) -> &dyn ReadAt {
        &*self.parts[usize::from(resource.part)]
    }

    /// An error's frame, where there are several parts.
    fn name_part(&self, resource: &Resource, error: Error) -> Error {
        if self.parts.len() > 1 { error.context(format_args!("part {}", resource.part + 1)) } else { error }
    }

    /// The landmarks of the resource with that index.
    fn landmarks(&self, index: u32) -> Result<Arc<Landmarks>> {
        let resource = &self.resources[index as usize];
        if !resource.is_solid() {
            return Ok(Arc::default());
        }
        let mut last = lock(&self.landmarks);
        if let Some((_, landmarks)) = last.as_ref().filter(|(known, _)| *known == index) {
            return Ok(Arc::clone(landmarks));
        }
        let landmarks = Arc::new(resource.landmarks(self.part_of(resource))?);
        *last = Some((index, Arc::clone(&landmarks)));
        Ok(landmarks)
    }

    /// A blob of a solid resource, unverified.
    fn read_solid(&self, blob: &Blob) -> Result<Vec<u8>> {
        let resource = self.resource_of(blob);
        let size = resource.chunk_size();
        let end = blob.at + blob.len;
        let landmarks = self.landmarks(blob.resource)?;
        let mut bytes = Vec::new();
        let mut last = lock(&self.last_chunk);
        for chunk in blob.at / size..end.div_ceil(size) {
            let kept = last.take().filter(|last| (last.resource, last.chunk) == (blob.resource, chunk));
            let unpacked = match kept {
                Some(kept) => kept.bytes,
                None => Unpacker::unpack_once(self.part_of(resource), resource, &landmarks, chunk..chunk + 1)?,
            };
            let within = blob.at.max(chunk * size)..end.min((chunk + 1).saturating_mul(size));
            let within = (within.start - chunk * size) as usize..(within.end - chunk * size) as usize;
            bytes.extend_from_slice(unpacked.get(within).unwrap_or_default());
            if size <= BUFFERS {
                *last = Some(SolidChunk { resource: blob.resource, chunk, bytes: unpacked });
            }
        }
        Ok(bytes)
    }

    fn wrong_hash(&self, blob: &Blob, found: Sha1Hash) -> Error {
        let resource = self.resource_of(blob);
        let error = Error::corrupt("WIM: SHA-1 of the blob").at(resource.offset).found(found).allowed(blob.sha1);
        self.name_part(resource, error)
    }

    /// How many workers may have buffers for what is wanted.
    fn workers(&self, wanted: &[u32], threads: NonZeroUsize) -> usize {
        let resources = wanted.iter().map(|index| self.resource_of(&self.blobs[*index as usize]));
        let largest = resources.map(|resource| resource.chunk_size().min(resource.size)).max().unwrap_or(1);
        threads.get().min(usize::try_from(BUFFERS / largest.max(1)).unwrap_or(usize::MAX)).max(1)
    }
}

impl BlobStore for Store {
    fn position(&self, blob: BlobId) -> u64 {
        u64::from(blob.0)
    }

    fn sha1(&self, blob: BlobId) -> Option<[u8; 20]> {
        self.blobs.get(blob.0 as usize).map(|blob| blob.sha1.0)
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        let mut order: Vec<u32> = wanted.iter().map(|blob| blob.0).collect();
        order.sort_unstable();
        order.dedup();
        if order.last().is_some_and(|last| *last as usize >= self.blobs.len()) {
            return Err(Error::invalid("a blob id of another WIM").into());
        }
        let workers = self.workers(&order, threads);
        *lock(&self.last_chunk) = None;
        let run = Run {
            store: self,
            wanted: &order,
            sink,
            dispenser: Mutex::new(Dispenser { store: self, wanted: &order, next: 0, chunk: 0, carry: None }),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        thread::scope(|scope| {
            for _ in 1..workers {
                // A host that refuses another thread only makes it slower.
                let _ = thread::Builder::new().spawn_scoped(scope, || run.work());
            }
            run.work();
        });
        run.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        let known = self.blobs.get(blob.0 as usize).ok_or_else(|| Error::invalid("a blob id of another WIM"))?;
        let len = known.len;
        if len > READ_LIMIT {
            return Err(Error::unsupported("WIM: a blob too large for memory").found(len).allowed(READ_LIMIT));
        }
        if self.resource_of(known).is_solid() {
            let bytes = self.read_solid(known).map_err(|error| self.name_part(self.resource_of(known), error))?;
            let found = Sha1Hash::of(&bytes);
            return if found == known.sha1 { Ok(bytes) } else { Err(self.wrong_hash(known, found)) };
        }
        let collector = Collector(Mutex::new(Vec::new()));
        self.stream(&[blob], NonZeroUsize::MIN, &collector).map_err(|failure| failure.error)?;
        let bytes = collector.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert_eq!(bytes.len() as u64, len);
        Ok(bytes)
    }
}

/// Takes the pieces of one blob from one thread, which come in order.
struct Collector(Mutex<Vec<u8>>);

impl BlobSink for Collector {
    fn write(&self, _: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut bytes = lock(&self.0);
        debug_assert_eq!(bytes.len() as u64, at);
        bytes.extend_from_slice(data);
        Ok(())
    }
}

/// A poisoned lock means that a worker panicked: the panic reaches the caller when the workers are joined.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hash of a blob that spans several pieces.
#[derive(Default)]
pub(super) struct Flow {
    state: Mutex<FlowState>,
    turn: Condvar,
}

#[derive(Default)]
struct FlowState {
    /// Where in the blob the next bytes to be hashed start.
    next: u64,
    hash: Sha1,
    parked: BTreeMap<u64, Vec<u8>>,
    parked_bytes: usize,
    /// A piece of this blob will never come.
    broken: bool,
}

impl Flow {
    /// Hashes `data` when its turn has come; up to `park` bytes may wait here for theirs. Returns the hash if that was all of
    /// the blob's `len` bytes, or `None` if more is to come.
    pub(super) fn feed(&self, at: u64, data: &[u8], len: u64, park: usize) -> Result<Option<Sha1Hash>, Stop> {
        let mut state = lock(&self.state);
        while state.next != at {
            if state.broken {
                return Err(Stop::Abandoned);
            }
            if state.parked_bytes.saturating_add(data.len()) <= park {
                state.park(at, data);
                return Ok(None);
            }
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hash(data);
        self.turn.notify_all();
        Ok(state.finished(len))
    }

    /// As [`Flow::feed`], but never waits. `waiting` counts the bytes that wait in this and other flows.
    pub(super) fn leave(&self, at: u64, data: &[u8], len: u64, waiting: &AtomicUsize) -> Option<Sha1Hash> {
        let mut state = lock(&self.state);
        let before = state.parked_bytes;
        if state.next == at {
            state.hash(data)
        } else {
            state.park(at, data)
        }
        // Its own share of the count is the flow's to change while it is locked; the sum wraps like the difference.
        waiting.fetch_add(state.parked_bytes.wrapping_sub(before), Ordering::Relaxed);
        state.finished(len)
    }

    fn break_off(&self) {
        lock(&self.state).broken = true;
        self.turn.notify_all();
    }
}

impl FlowState {
    fn park(&mut self, at: u64, data: &[u8]) {
        let replaced = self.parked.insert(at, data.into());
        self.parked_bytes = self.parked_bytes + data.len() - replaced.map_or(0, |bytes| bytes.len());
    }

    /// Hashes what comes next, and what waited for it.
    fn hash(&mut self, data: &[u8]) {
        self.hash.update(data);
        self.next += data.len() as u64;
        while let Some(bytes) = self.parked.remove(&self.next) {
            self.hash.update(&bytes);
            self.next += bytes.len() as u64;
            self.parked_bytes -= bytes.len();
        }
    }

    fn finished(&mut self, len: u64) -> Option<Sha1Hash> {
        (self.next == len).then(|| Sha1Hash(std::mem::take(&mut self.hash).finalize().into()))
    }
}

/// Why a worker stops before the end.
pub(super) enum Stop {
    /// It found something wrong.
    Failed(BlobError),
    /// Another one did.
    Abandoned,
}

impl<E: Into<BlobError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Chunks of one resource and the wanted blobs in them.
struct Stretch {
    resource: u32,
    chunks: Range<u64>,
    /// Indices into the wanted blobs.
    blobs: Range<usize>,
    /// Of the first blob, if it started in an earlier piece.
    head: Option<Arc<Flow>>,
    /// Of the last blob, if it goes on in a later piece; the same as `head` if it is the same blob.
    tail: Option<Arc<Flow>>,
}

/// What a worker takes at once.
#[derive(Default)]
struct Piece {
    stretches: Vec<Stretch>,
    /// The bytes of the part that hold all the stretches' resources whole, if they are small.
    span: Option<Range<u64>>,
}

/// Marks a piece's flows as broken unless the piece was finished, also when the sink panics.
struct Lease<'a> {
    piece: &'a Piece,
    finished: bool,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let flows = self.piece.stretches.iter().flat_map(|stretch| stretch.head.iter().chain(&stretch.tail));
            flows.for_each(|flow| flow.break_off());
        }
    }
}

/// Hands out the pieces.
struct Dispenser<'a> {
    store: &'a Store,
    wanted: &'a [u32],
    /// The first wanted blob that is not yet handed out to its end.
    next: usize,
    /// Where that blob goes on, if there is a `carry`.
    chunk: u64,
    /// The flow of that blob, if it is handed out in part.
    carry: Option<Arc<Flow>>,
}

impl Dispenser<'_> {
    fn blob(&self, index: usize) -> Option<&Blob> {
        self.wanted.get(index).map(|blob| &self.store.blobs[*blob as usize])
    }

    /// Fills `piece` with the next piece of work; `false` at the end.
    fn take(&mut self, piece: &mut Piece) -> bool {
        piece.stretches.clear();
        piece.span = None;
        self.take_small(piece);
        if piece.stretches.is_empty() {
            piece.stretches.extend(self.take_stretch());
        }
        !piece.stretches.is_empty()
    }

    /// Small resources that lie close together. They and the gaps between them take at most [`SPAN`] bytes; the first one alone
    /// stays below that, since a resource takes no more bytes than it unpacks to and a table of its chunks.
    fn take_small(&mut self, piece: &mut Piece) {
        let mut unpacked = 0u64;
        while let (Some(blob), None) = (self.blob(self.next), &self.carry) {
            let resource = *self.store.resource_of(blob);
            let end = resource.offset + resource.stored;
            unpacked = unpacked.saturating_add(resource.size);
            if resource.is_solid() || unpacked > PIECE {
                return;
            }
            match (&mut piece.span, piece.stretches.first()) {
                (Some(span), Some(first)) => {
                    let same_part = self.store.resources[first.resource as usize].part == resource.part;
                    let near = (span.end..=span.end.saturating_add(GAP)).contains(&resource.offset)
                        && end - span.start <= SPAN;
                    if !same_part || !near {
                        return;
                    }
                    span.end = end;
                }
                (span, _) => *span = Some(resource.offset..end),
            }
            let blobs = self.next..self.next + 1;
            let chunks = 0..resource.chunks();
            piece.stretches.push(Stretch { resource: blob.resource, chunks, blobs, head: None, tail: None });
            self.next += 1;
        }
    }

    /// Some chunks of a large or solid resource.
    fn take_stretch(&mut self) -> Option<Stretch> {
        let first = self.blob(self.next)?;
        let index = first.resource;
        let resource = self.store.resource_of(first);
        let size = resource.chunk_size();
        let start = if self.carry.is_some() { self.chunk } else { first.at / size };
        let most = (start + (PIECE / size).max(1)).min(resource.chunks());
        let mut end = start;
        let mut blobs = self.next..self.next;
        let mut goes_on = false;
        while let Some(blob) = self.blob(blobs.end) {
            if blob.resource != index || blob.at >= most.saturating_mul(size) {
                break;
            }
            let needed = (blob.at + blob.len).div_ceil(size);
            goes_on = needed > most;
            end = end.max(needed.min(most));
            blobs.end += 1;
        }
        let head = self.carry.take();
        self.carry = goes_on.then(|| match &head {
            Some(head) if blobs.len() == 1 => Arc::clone(head),
            _ => Arc::default(),
        });
        self.chunk = end;
        self.next = blobs.end - usize::from(goes_on);
        Some(Stretch { resource: index, chunks: start..end, blobs, head, tail: self.carry.clone() })
    }
}

/// One call of [`BlobStore::stream`].
struct Run<'a> {
    store: &'a Store,
    wanted: &'a [u32],
    sink: &'a dyn BlobSink,
    dispenser: Mutex<Dispenser<'a>>,
    stop: AtomicBool,
    failure: Mutex<Option<BlobError>>,
}

impl Run<'_> {
    fn work(&self) {
        let mut unpacker = Unpacker::default();
        let mut piece = Piece::default();
        while !self.stop.load(Ordering::Relaxed) && lock(&self.dispenser).take(&mut piece) {
            let mut lease = Lease { piece: &piece, finished: false };
            match self.process(&piece, &mut unpacker) {
                Ok(()) => lease.finished = true,
                Err(stop) => {
                    if let Stop::Failed(failure) = stop {
                        lock(&self.failure).get_or_insert(failure);
                    }
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn process(&self, piece: &Piece, unpacker: &mut Unpacker) -> Result<(), Stop> {
        let Some(first) = piece.stretches.first() else { return Ok(()) };
        let resource = &self.store.resources[first.resource as usize];
        let reader = self.store.part_of(resource);
        let Some(span) = &piece.span else {
            let data = self
                .store
                .landmarks(first.resource)
                .and_then(|landmarks| unpacker.unpack(reader, resource, &landmarks, first.chunks.clone()));
            return self.deliver(first, data.map_err(|error| self.affected(first, error))?);
        };
        let all = |unpacker: &mut Unpacker, span: &Span<'_>| {
            piece.stretches.iter().try_for_each(|stretch| {
                let resource = &self.store.resources[stretch.resource as usize];
                let data = unpacker.unpack_whole(resource, span);
                self.deliver(stretch, data.map_err(|error| self.affected(stretch, error))?)
            })
        };
        let read = unpacker.with_span(reader, span.clone(), all);
        read.map_err(|error| {
            let mut failure = self.affected(first, error);
            failure.blobs = piece.stretches.iter().flat_map(|stretch| self.ids(stretch)).collect();
            failure
        })?
    }

    fn ids(&self, stretch: &Stretch) -> impl Iterator<Item = BlobId> {
        self.wanted[stretch.blobs.clone()].iter().map(|index| BlobId(*index))
    }

    fn affected(&self, stretch: &Stretch, error: Error) -> BlobError {
        let resource = &self.store.resources[stretch.resource as usize];
        BlobError { blobs: self.ids(stretch).collect(), error: self.store.name_part(resource, error) }
    }

    /// Gives a stretch's blobs to the sink and hashes them; the one that may have to wait comes last.
    fn deliver(&self, stretch: &Stretch, data: &[u8]) -> Result<(), Stop> {
        let resource = &self.store.resources[stretch.resource as usize];
        let base = resource.unpacked(&stretch.chunks);
        let ids = &self.wanted[stretch.blobs.clone()];
        let head = usize::from(stretch.head.is_some());
        for (place, index) in ids.iter().enumerate().skip(head).chain(ids.iter().enumerate().take(head)) {
            let blob = &self.store.blobs[*index as usize];
            let (start, end) = (blob.at.max(base.start), (blob.at + blob.len).min(base.end));
            let within = (start - base.start) as usize..(end - base.start) as usize;
            let data = data
                .get(within)
                .ok_or_else(|| Error::corrupt("WIM: blob outside of its resource").at(resource.offset))?;
            let at = start - blob.at;
            self.sink.write(BlobId(*index), at, data)?;
            let first = if place == 0 { stretch.head.as_ref() } else { None };
            let last = if place + 1 == ids.len() { stretch.tail.as_ref() } else { None };
            let hash = match first.or(last) {
                Some(flow) => flow.feed(at, data, blob.len, PARKED)?,
                None => Some(Sha1Hash::of(data)),
            };
            if let Some(found) = hash.filter(|found| *found != blob.sha1) {
                let error =
                    Error::corrupt("WIM: SHA-1 of the blob").at(resource.offset).found(found).allowed(blob.sha1);
                let error = self.store.name_part(resource, error);
                return Err(BlobError { blobs: vec![BlobId(*index)], error }.into());
            }
        }
        Ok(())
    }
}

/// Reads a blob that is known to be small, naming what it is.
pub(super) fn read_named(store: &Store, blob: BlobId, what: &str) -> Result<Vec<u8>> {
    store.read(blob).context(|| what)
}
