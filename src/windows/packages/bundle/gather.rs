//! All files of a tree in one pass: hashed, and kept where they are wanted whole.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::express_error;
use crate::base::ordered::ordered;
use crate::error::{Context, Error, Result};
use crate::format::delta;
use crate::tree::{BlobId, BlobSink, Content, StoreId, Tree};

/// The largest file that is kept whole.
const MAX_KEPT: u64 = 64 << 20;
/// All that is kept, of documents and of packed payload each.
const MAX_ALL_KEPT: u64 = 512 << 20;
/// What packed payload unpacks to, in all.
const MAX_UNPACKED: u64 = 1 << 30;
/// So many bytes tell whether a file is packed in itself.
const START: usize = 4;
/// Pieces of blobs that come out of order, in all.
const MAX_WAITING: usize = 64 << 20;

/// A file that is wanted.
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) is_kept: bool,
}

/// What became of it.
#[derive(Clone)]
pub(super) struct Gathered {
    /// As it is stored.
    pub(super) stored: Digest,
    /// All of it, if that was wanted; or what it is packed into itself, unpacked.
    pub(super) bytes: Option<Arc<[u8]>>,
    /// The digest of what was unpacked.
    pub(super) unpacked: Option<Digest>,
}

/// Length and hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) len: u64,
    pub(super) sha1: [u8; 20],
    pub(super) sha256: [u8; 32],
}

/// Gathers files, in their order.
pub(super) fn gather(tree: &Tree, wanted: Vec<Wanted>) -> Result<Vec<Gathered>> {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let limits = Limits::default();
    let blobs = gather_blobs(tree, &wanted, threads, &limits)?;
    let mut next = wanted.iter();
    let mut gathered = Vec::with_capacity(wanted.len());
    let one = |wanted: &Wanted| match &wanted.content {
        Content::Bytes(bytes) => {
            let mut flow = Flow::new(&wanted.path, bytes.len() as u64, wanted.is_kept);
            flow.take(0, bytes, &limits).context(|| wanted.path.clone())?;
            flow.gathered().context(|| wanted.path.clone())
        }
        Content::Blob { store, blob, .. } => {
            let known = blobs.get(&(*store, *blob, wanted.is_kept)).cloned();
            known.ok_or_else(|| Error::invalid("a blob store gave less than the whole blob").context(&wanted.path))
        }
    };
    let worker = || one;
    ordered(
        threads,
        || Ok(next.next()),
        worker,
        |one| {
            gathered.push(one);
            Ok(())
        },
    )?;
    Ok(gathered)
}

/// Blobs of one store that are on their way: as payload, and as documents.
type Flows = HashMap<BlobId, [Option<Mutex<Flow>>; 2]>;

type Blobs = HashMap<(StoreId, BlobId, bool), Gathered>;

/// One pass over each store.
fn gather_blobs(tree: &Tree, wanted: &[Wanted], threads: NonZeroUsize, limits: &Limits) -> Result<Blobs> {
    let mut flows: BTreeMap<StoreId, Flows> = BTreeMap::new();
    for file in wanted {
        if let Content::Blob { store, blob, len } = &file.content {
            let flow = &mut flows.entry(*store).or_default().entry(*blob).or_default()[usize::from(file.is_kept)];
            flow.get_or_insert_with(|| Mutex::new(Flow::new(&file.path, *len, file.is_kept)));
        }
    }
    let mut gathered = Blobs::new();
    for (id, flows) in flows {
        let mut order: Vec<BlobId> = flows.keys().copied().collect();
        let store = &tree.stores()[id.index()];
        order.sort_by_key(|blob| (store.position(*blob), *blob));
        let sink = Sink { flows: &flows, limits };
        store.stream(&order, threads, &sink).map_err(|failure| tree.blame(id, failure))?;
        for (blob, flows) in flows {
            for flow in flows.into_iter().flatten() {
                let flow = flow.into_inner().unwrap_or_else(PoisonError::into_inner);
                let key = (id, blob, flow.is_wanted);
                let path = flow.path.clone();
                gathered.insert(key, flow.gathered().context(|| path)?);
            }
        }
    }
    Ok(gathered)
}

struct Sink<'a> {
    flows: &'a Flows,
    limits: &'a Limits,
}

impl BlobSink for Sink<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        for flow in self.flows.get(&blob).into_iter().flatten().flatten() {
            let mut flow = flow.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = flow.take(at, data, self.limits);
            taken.context(|| flow.path.clone())?;
        }
        Ok(())
    }
}

/// How much there is of what is limited.
#[derive(Default)]
struct Limits {
    documents: AtomicU64,
    packed: AtomicU64,
    unpacked: AtomicU64,
    waiting: AtomicUsize,
}

impl Limits {
    fn admit(count: &AtomicU64, bytes: usize, limit: u64, what: &str) -> Result<()> {
        let before = count.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) <= limit {
            return Ok(());
        }
        Err(Error::unsupported(what)
            .found(format_args!("more than {before} bytes"))
            .allowed(format_args!("{limit} bytes")))
    }
}

/// A file on its way.
struct Flow {
    path: String,
    len: u64,
    /// Whether it was asked to be kept.
    is_wanted: bool,
    /// Whether it is packed in itself, and therefore kept.
    is_packed: bool,
    at: u64,
    sha1: Sha1,
    sha256: Sha256,
    /// Its first bytes, by which packed ones are known.
    start: Vec<u8>,
    bytes: Vec<u8>,
    waiting: BTreeMap<u64, Vec<u8>>,
    unpacked: Option<(Arc<[u8]>, Digest)>,
}

impl Flow {
    fn new(path: &str, len: u64, is_wanted: bool) -> Self {
        Self {
            path: path.to_owned(),
            len,
            is_wanted,
            is_packed: false,
            at: 0,
            sha1: Sha1::new(),
            sha256: Sha256::new(),
            start: Vec::new(),
            bytes: Vec::new(),
            waiting: BTreeMap::new(),
            unpacked: None,
        }
    }

    /// Takes a piece, and those that waited for it.
    fn take(&mut self, at: u64, data: &[u8], limits: &Limits) -> Result<()> {
        if at != self.at {
            let waiting = limits.waiting.fetch_add(data.len(), Ordering::Relaxed);
            if waiting.saturating_add(data.len()) > MAX_WAITING {
                return Err(Error::unsupported("files that come too far out of order").allowed(MAX_WAITING));
            }
            self.waiting.insert(at, data.to_vec());
            return Ok(());
        }
        self.next(data, limits)?;
        while let Some(data) = self.waiting.remove(&self.at) {
            limits.waiting.fetch_sub(data.len(), Ordering::Relaxed);
            self.next(&data, limits)?;
        }
        if self.at == self.len && self.is_packed {
            self.unpack(limits)?;
        }
        Ok(())
    }

    fn next(&mut self, data: &[u8], limits: &Limits) -> Result<()> {
        self.sha1.update(data);
        self.sha256.update(data);
        let before = self.at.min(START as u64) as usize;
        self.at = self.at.saturating_add(data.len() as u64);
        if before < START && !self.is_wanted {
            // Pieces end where blocks do, which may be within the first bytes of a file.
            self.start.extend(data.iter().take(START - before));
            self.is_packed = is_packed(&self.start)?;
            if self.is_packed {
                self.keep_start(before, limits)?;
            }
        }
        if self.is_wanted || self.is_packed { self.keep(data, limits) } else { Ok(()) }
    }

    /// What came before it was known that it is to be kept.
    fn keep_start(&mut self, before: usize, limits: &Limits) -> Result<()> {
        let start = self.start.get(..before).unwrap_or_default().to_vec();
        self.keep(&start, limits)
    }

    fn keep(&mut self, data: &[u8], limits: &Limits) -> Result<()> {
        if self.len > MAX_KEPT {
            return Err(Error::unsupported("length of a document, or of a packed file")
                .found(self.len)
                .allowed(MAX_KEPT));
        }
        let count = if self.is_wanted { &limits.documents } else { &limits.packed };
        Limits::admit(count, data.len(), MAX_ALL_KEPT, "documents, or packed files, that are too large together")?;
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn unpack(&mut self, limits: &Limits) -> Result<()> {
        let packed = std::mem::take(&mut self.bytes);
        let room = MAX_UNPACKED.saturating_sub(limits.unpacked.load(Ordering::Relaxed));
        let bytes = delta::unpack(&packed, None, usize::try_from(room).unwrap_or(usize::MAX))?;
        Limits::admit(&limits.unpacked, bytes.len(), MAX_UNPACKED, "packed files that unpack to too much")?;
        let digest = Digest::of(&bytes);
        self.unpacked = Some((bytes.into_owned().into(), digest));
        Ok(())
    }

    /// What became of it, when all has come.
    fn gathered(self) -> Result<Gathered> {
        if self.at != self.len {
            return Err(Error::truncated("a file that is shorter than it was said to be")
                .found(self.at)
                .allowed(self.len));
        }
        let stored = Digest { len: self.len, sha1: self.sha1.finalize().into(), sha256: self.sha256.finalize().into() };
        Ok(match self.unpacked {
            Some((bytes, digest)) => Gathered { stored, bytes: Some(bytes), unpacked: Some(digest) },
            None => Gathered { stored, bytes: self.is_wanted.then(|| self.bytes.into()), unpacked: None },
        })
    }
}

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, sha1: Sha1::digest(bytes).into(), sha256: Sha256::digest(bytes).into() }
    }
}

/// Whether payload that begins so is packed in itself. What is a difference to another file is refused.
fn is_packed(start: &[u8]) -> Result<bool> {
    match start {
        [b'P', b'A', b'3', b'0', ..] => Err(express_error("a difference (PA30)")),
        [b'D', b'C', b'D', 1, ..] => Err(express_error("a difference to another file (DCD)")),
        _ => Ok(delta::is_packed(start)),
    }
}
