//! Which contents are the same: by SHA-1, read only where nothing simpler tells.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sha1::{Digest, Sha1};

use super::difference::{Aspect, Aspects};
use super::filter::Within;
use super::walk::{merge, walk};
use crate::base::upcase;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Control;
use crate::tree::{BlobId, BlobSink, BlobStore, Content, Node, StoreId, Stream, Tree};

type Hash = [u8; 20];

/// Why a blob could not be read.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The hashes of one side's blobs whose store knows none.
type Hashes = HashMap<(StoreId, BlobId), Result<Hash, Broken>>;

/// What is known about the contents of both sides.
pub(super) struct Digests<'t> {
    trees: [&'t Tree; 2],
    hashes: [Hashes; 2],
}

/// Whether two contents are the same.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Same,
    Different,
    /// One of them cannot be read.
    Unknown(Broken),
}

impl Digests<'_> {
    /// Compares two contents that [`counterparts`] named.
    pub(super) fn compare(&self, a: &Content, b: &Content) -> Verdict {
        if let Some(same) = obvious(self.trees, a, b) {
            return if same { Verdict::Same } else { Verdict::Different };
        }
        match (self.sha1(0, a), self.sha1(1, b)) {
            (Ok(a), Ok(b)) if a == b => Verdict::Same,
            (Ok(_), Ok(_)) => Verdict::Different,
            (Err(broken), _) | (_, Err(broken)) => Verdict::Unknown(broken),
        }
    }

    /// The SHA-1 of a content, if it is known by now.
    pub(super) fn known_sha1(&self, side: usize, content: &Content) -> Option<Hash> {
        match content {
            Content::Bytes(bytes) => Some(Sha1::digest(bytes).into()),
            Content::Blob { store, blob, .. } => {
                let own = || self.hashes[side].get(&(*store, *blob))?.as_ref().ok().copied();
                store_of(self.trees[side], *store).sha1(*blob).or_else(own)
            }
        }
    }

    fn sha1(&self, side: usize, content: &Content) -> Result<Hash, Broken> {
        if let Some(known) = self.known_sha1(side, content) {
            return Ok(known);
        }
        let failure = match content {
            Content::Blob { store, blob, .. } => {
                self.hashes[side].get(&(*store, *blob)).and_then(|hash| hash.as_ref().err())
            }
            Content::Bytes(_) => None,
        };
        Err(failure.cloned().unwrap_or_else(|| Broken { kind: Kind::Invalid, text: "it was not read".into() }))
    }
}

fn store_of(tree: &Tree, store: StoreId) -> &Arc<dyn BlobStore> {
    &tree.stores()[store.index()]
}

/// Whether two contents are the same, where that can be told without reading a blob.
fn obvious(trees: [&Tree; 2], a: &Content, b: &Content) -> Option<bool> {
    if a.len() != b.len() {
        return Some(false);
    }
    match (a, b) {
        _ if a.is_empty() => Some(true),
        (Content::Bytes(a), Content::Bytes(b)) => Some(a == b),
        (Content::Blob { store: s, blob: a, .. }, Content::Blob { store: t, blob: b, .. }) => {
            let stores = [store_of(trees[0], *s), store_of(trees[1], *t)];
            if Arc::ptr_eq(stores[0], stores[1]) && a == b {
                return Some(true);
            }
            Some(stores[0].sha1(*a)? == stores[1].sha1(*b)?)
        }
        _ => None,
    }
}

/// The streams of two nodes, the main ones first, side by side; their names ignore case. A file without a main stream has an
/// empty one.
pub(super) fn streams<'n>(a: &'n Node, b: &'n Node) -> Vec<[Option<&'n Stream>; 2]> {
    let sorted = |node: &'n Node| {
        let mut streams: Vec<&Stream> = node.streams.iter().collect();
        streams.sort_by(|a, b| upcase::compare_ignoring_case(a.name.units(), b.name.units()));
        streams.into_iter()
    };
    merge(sorted(a), sorted(b), |a, b| upcase::compare_ignoring_case(a.name.units(), b.name.units()))
}

/// The contents of two nodes that ought to be the same.
fn counterparts<'n>(a: &'n Node, b: &'n Node, ignore: Aspects) -> Vec<(&'n Content, &'n Content)> {
    let mut pairs = Vec::new();
    if !ignore.contains(Aspect::Contents) {
        let wanted = |stream: &Stream| stream.name.is_empty() || !ignore.contains(Aspect::Stream);
        pairs.extend(streams(a, b).into_iter().filter_map(|pair| match pair {
            [Some(a), Some(b)] if wanted(a) => Some((&a.content, &b.content)),
            _ => None,
        }));
    }
    if let (Some(a), Some(b), false) = (&a.reparse, &b.reparse, ignore.contains(Aspect::Reparse)) {
        pairs.push((&a.data, &b.data));
    }
    pairs
}

/// Reads what has to be read, both sides at the same time.
pub(super) fn digests<'t>(
    trees: [&'t Tree; 2],
    ignore: Aspects,
    filter: &Within,
    threads: NonZeroUsize,
    control: &Control,
) -> Result<Digests<'t>> {
    let mut wanted: [HashMap<(StoreId, BlobId), u64>; 2] = Default::default();
    walk(trees, filter, control, &mut |met| {
        let [Some(a), Some(b)] = met.places else { return Ok(()) };
        for (a, b) in counterparts(trees[0].node(a.node), trees[1].node(b.node), ignore) {
            if obvious(trees, a, b).is_some() {
                continue;
            }
            for (side, content) in [a, b].into_iter().enumerate() {
                if let Content::Blob { store, blob, len } = content
                    && store_of(trees[side], *store).sha1(*blob).is_none()
                {
                    wanted[side].insert((*store, *blob), *len);
                }
            }
        }
        Ok(())
    })?;
    control.expect(wanted.iter().flat_map(HashMap::values).copied().fold(0, u64::saturating_add));
    let busy = wanted.iter().filter(|wanted| !wanted.is_empty()).count().max(1);
    let lanes = (threads.get() / busy).max(1);
    let [a, b] = wanted;
    let hashes = thread::scope(|scope| {
        let first = scope.spawn(|| hash(trees[0], a, lanes, control));
        let second = hash(trees[1], b, lanes, control);
        let first = first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, Error>([first?, second?])
    })?;
    Ok(Digests { trees, hashes })
}

/// Hashes blobs of a tree: each store's in its order, as several parts of about the same length at once.
///
/// A part is streamed with one thread, since SHA-1 has to see the bytes in their order.
fn hash(tree: &Tree, wanted: HashMap<(StoreId, BlobId), u64>, lanes: usize, control: &Control) -> Result<Hashes> {
    let mut hashes = Hashes::new();
    for id in tree.store_ids() {
        let store = &**store_of(tree, id);
        let mut blobs: Vec<(BlobId, u64)> =
            wanted.iter().filter(|((store, _), _)| *store == id).map(|((_, blob), len)| (*blob, *len)).collect();
        blobs.sort_by_key(|(blob, _)| (store.position(*blob), *blob));
        let found = thread::scope(|scope| {
            let parts = split(&blobs, lanes).into_iter();
            let workers: Vec<_> = parts.map(|part| scope.spawn(|| hash_part(store, part, control))).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        hashes.extend(found.into_iter().flatten().map(|(blob, hash)| ((id, blob), hash)));
    }
    Ok(hashes)
}

/// Divides blobs into at most `parts` runs of about the same number of bytes.
fn split(mut blobs: &[(BlobId, u64)], parts: usize) -> Vec<&[(BlobId, u64)]> {
    let share = blobs.iter().map(|(_, len)| *len).fold(0, u64::saturating_add) / parts as u64 + 1;
    let mut runs = Vec::new();
    while !blobs.is_empty() {
        let mut bytes = 0u64;
        let full = |(_, len): &(BlobId, u64)| {
            bytes = bytes.saturating_add(*len);
            bytes >= share
        };
        let (run, rest) = blobs.split_at(blobs.iter().position(full).map_or(blobs.len(), |last| last + 1));
        runs.push(run);
        blobs = rest;
    }
    runs
}

/// So many blobs are asked for at once: after each that cannot be read, what is left of them is asked for again.
const RUN: usize = 1024;

fn hash_part(store: &dyn BlobStore, part: &[(BlobId, u64)], control: &Control) -> Result<PartHashes> {
    let mut hashes = HashMap::new();
    for run in part.chunks(RUN) {
        hashes.extend(hash_run(store, run, control)?);
    }
    Ok(hashes)
}

/// The hashes of some blobs of one store.
type PartHashes = HashMap<BlobId, Result<Hash, Broken>>;

fn hash_run(store: &dyn BlobStore, part: &[(BlobId, u64)], control: &Control) -> Result<PartHashes> {
    let mut broken = HashMap::new();
    let sink = Hasher { lengths: part.iter().copied().collect(), state: Mutex::default(), control };
    loop {
        let done = |blob: &BlobId| broken.contains_key(blob) || sink.lock().done.contains_key(blob);
        let left: Vec<BlobId> = part.iter().map(|(blob, _)| *blob).filter(|blob| !done(blob)).collect();
        let Err(failure) = store.stream(&left, NonZeroUsize::MIN, &sink) else { break };
        // Only what the store blames is given up; the rest is read again, from where it stood.
        let blamed: Vec<BlobId> = failure.blobs.into_iter().filter(|blob| left.contains(blob)).collect();
        if blamed.is_empty() || control.check().is_err() {
            return Err(failure.error);
        }
        let why = Broken { kind: failure.error.kind(), text: failure.error.to_string() };
        broken.extend(blamed.into_iter().map(|blob| (blob, Err(why.clone()))));
        sink.lock().open.clear();
    }
    let state = sink.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lost = |(blob, _): &&(BlobId, u64)| !broken.contains_key(blob) && !state.done.contains_key(blob);
    if part.iter().any(|blob| lost(&blob)) {
        return Err(Error::invalid("a blob store gave less than a whole blob"));
    }
    // A blob that was whole before another one failed may be blamed later on: it is not to be trusted then.
    let mut hashes: HashMap<_, _> = state.done.into_iter().map(|(blob, hash)| (blob, Ok(hash))).collect();
    hashes.extend(broken);
    Ok(hashes)
}

/// Takes the pieces of several blobs, those of each one in order.
struct Hasher<'c> {
    lengths: HashMap<BlobId, u64>,
    state: Mutex<HashState>,
    control: &'c Control,
}

#[derive(Default)]
struct HashState {
    /// How far each blob has come that is not done yet.
    open: HashMap<BlobId, (u64, Sha1)>,
    done: HashMap<BlobId, Hash>,
}

impl Hasher<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobSink for Hasher<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        self.control.check()?;
        let len = self.lengths.get(&blob).copied().unwrap_or(0);
        let mut state = self.lock();
        let (mut end, mut hash) = state.open.remove(&blob).unwrap_or_default();
        if at != end {
            return Err(Error::invalid("a blob store gave the pieces of a blob out of order").found(at).allowed(end));
        }
        hash.update(data);
        end += data.len() as u64;
        if end >= len {
            state.done.insert(blob, hash.finalize().into());
        } else {
            state.open.insert(blob, (end, hash));
        }
        self.control.advance(data.len() as u64);
        Ok(())
    }
}

/// The first bytes of a content; fewer if it is shorter.
pub(super) fn beginning<const N: usize>(tree: &Tree, content: &Content) -> Result<Vec<u8>> {
    let (store, blob, len) = match content {
        Content::Bytes(bytes) => return Ok(bytes.iter().take(N).copied().collect()),
        Content::Blob { store, blob, len } => (store_of(tree, *store), *blob, *len),
    };
    let sink = Beginning { wanted: N.min(usize::try_from(len).unwrap_or(N)), bytes: Mutex::default() };
    let streamed = store.stream(&[blob], NonZeroUsize::MIN, &sink);
    let bytes = sink.bytes.into_inner().unwrap_or_else(PoisonError::into_inner);
    match streamed {
        // The sink's own refusal to take more.
        Err(_) if bytes.len() == sink.wanted => Ok(bytes),
        Err(failure) => Err(failure.error).context(|| "its beginning"),
        Ok(()) => Ok(bytes),
    }
}

/// Takes the beginning of one blob, and then no more.
struct Beginning {
    wanted: usize,
    bytes: Mutex<Vec<u8>>,
}

impl BlobSink for Beginning {
    fn write(&self, _blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if at == bytes.len() as u64 {
            let missing = self.wanted - bytes.len();
            bytes.extend(data.iter().take(missing));
        }
        if bytes.len() < self.wanted { Ok(()) } else { Err(Error::invalid("enough")) }
    }
}
