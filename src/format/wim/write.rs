//! Writes a WIM: [`Tree`]s in, one file out.
//!
//! All contents' SHA-1s come first, from the stores that know them, or else by reading. So every blob is written once, in
//! the order of the stores, and the metadata is ready before the first byte is written. Then the stores stream their
//! blobs, on several threads; the chunks of the output are compressed on the thread that completes them, and wait for their
//! turn to be written. The same input gives the same bytes, whatever the number of threads.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use uuid::Uuid;
use zerocopy::IntoBytes;

use super::integrity;
use super::ondisk::{BlobEntry, Header, MAGIC, ResourceHeader, VERSION, header_flags, resource_flags};
use super::resource::{Codec, Compression, Encoders};
use super::store::{Flow, Sha1Hash, lock};
use super::write_metadata::render;
use super::xml::{self, ImageInfo};
use crate::error::{Context, Error, Result};
use crate::tree::{BlobId, BlobSink, BlobStore, Content, StoreId, Tree};

/// How many bytes may wait for their turn, in each of three places: to be hashed, to be a whole chunk, to be written. Stores give
/// their blobs roughly in order, so that it is a few MiB at most, but nothing obliges them to: beyond this, writing is given up.
const WAITING_LIMIT: usize = 1 << 30;
/// How blobs without compression are cut for their way through the writer.
const PLAIN_CHUNK: u64 = 1 << 20;

/// How a WIM is to be written.
#[derive(Debug, Clone)]
pub struct Options {
    /// None, XPRESS or LZX.
    pub compression: Compression,
    /// Bytes per chunk: 32 KiB is what all readers know.
    pub chunk_size: u32,
    /// Random by custom; a writer that is to be reproducible gives one that follows from the contents.
    pub guid: Uuid,
    /// The image to boot from, by its index from 1.
    pub boot_index: Option<u32>,
    /// Whether there is to be an integrity table.
    pub integrity: bool,
    /// How many threads compress.
    pub threads: NonZeroUsize,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The length of the file.
    pub bytes: u64,
    /// How many blobs it has, metadata aside.
    pub blobs: usize,
}

/// Writes `images`, each with what its XML is to say, to `out`, which is empty. Indices and counts of the XML are computed.
pub fn write<W: Read + Write + Seek + Send>(
    out: &mut W,
    images: &[(&Tree, ImageInfo)],
    options: &Options,
) -> Result<Written> {
    let codec = match options.compression {
        Compression::None => None,
        Compression::Lzms => return Err(Error::unsupported("writing a WIM with LZMS").allowed("none, XPRESS, LZX")),
        compression => Some(Codec::new(compression, options.chunk_size)?),
    };
    if images.is_empty() || options.boot_index.is_some_and(|index| !(1..=images.len()).contains(&(index as usize))) {
        return Err(Error::invalid("WIM: the images to be written, or the one to boot from").found(images.len()));
    }
    let plan = Plan::new(images, options.threads)?;
    let mut header = header(images.len() as u32, codec, options);
    let mut emitter = Emitter::new(out, &plan.items, codec);
    header.flags = (header.flags.get() | header_flags::WRITE_IN_PROGRESS).into();
    emitter.append(header.as_bytes())?;
    header.flags = (header.flags.get() & !header_flags::WRITE_IN_PROGRESS).into();
    let packer = Packer {
        codec,
        items: &plan.items,
        emitter: Mutex::new(emitter),
        partial: Mutex::default(),
        encoders: Mutex::default(),
    };
    plan.pack(&packer, options.threads)?;
    let partial = packer.partial.into_inner().unwrap_or_else(PoisonError::into_inner);
    let emitter = packer.emitter.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = plan.items.len() - emitter.resources.len().min(plan.items.len());
    if missing > 0 || !emitter.waiting.is_empty() || !partial.is_empty() {
        return Err(Error::invalid("WIM: a blob store gave less than a whole blob, or a piece of one twice")
            .found(format_args!("{missing} of {} blobs unfinished", plan.items.len())));
    }
    finish(emitter, &plan, header, options)
}

fn header(images: u32, codec: Option<Codec>, options: &Options) -> Header {
    let compression = match codec.map(|codec| codec.compression) {
        None | Some(Compression::None | Compression::Lzms) => 0,
        Some(Compression::Xpress) => header_flags::COMPRESSED | header_flags::XPRESS,
        Some(Compression::Lzx) => header_flags::COMPRESSED | header_flags::LZX,
    };
    Header {
        magic: MAGIC,
        header_size: (size_of::<Header>() as u32).into(),
        version: VERSION.into(),
        flags: compression.into(),
        chunk_size: codec.map_or(0, |codec| codec.chunk_size() as u32).into(),
        guid: options.guid.to_bytes_le(),
        part: 1.into(),
        parts: 1.into(),
        images: images.into(),
        blob_table: ResourceHeader::default(),
        xml: ResourceHeader::default(),
        boot_metadata: ResourceHeader::default(),
        boot_index: options.boot_index.unwrap_or(0).into(),
        integrity: ResourceHeader::default(),
        unused: [0; 60],
    }
}

/// Blob table, XML, integrity table, and the header once more.
fn finish<W: Read + Write + Seek>(
    mut emitter: Emitter<'_, W>,
    plan: &Plan<'_>,
    mut header: Header,
    options: &Options,
) -> Result<Written> {
    let plain = |offset: u64, bytes: &[u8]| ResourceHeader::new(0, offset, bytes.len() as u64, bytes.len() as u64);
    let table: Vec<u8> = plan
        .items
        .iter()
        .zip(&emitter.resources)
        .flat_map(|(item, resource)| {
            let entry = BlobEntry {
                resource: *resource,
                part: 1.into(),
                references: item.references.into(),
                sha1: item.sha1.0,
            };
            entry.as_bytes().to_vec()
        })
        .collect();
    header.blob_table = plain(emitter.end, &table);
    emitter.append(&table)?;
    let summed = emitter.end;
    let xml = xml::render(&plan.infos, emitter.end);
    header.xml = plain(emitter.end, &xml);
    emitter.append(&xml)?;
    if let Some(index) = options.boot_index {
        let metadata = emitter.resources.len() - plan.infos.len() + index as usize - 1;
        header.boot_metadata = emitter.resources[metadata];
    }
    if options.integrity {
        let table = emitter.integrity(summed)?;
        header.integrity = plain(emitter.end, &table);
        emitter.append(&table)?;
    }
    emitter.overwrite(0, header.as_bytes())?;
    emitter.out.flush().map_err(|e| Error::io("writing the WIM", e))?;
    Ok(Written { bytes: emitter.end, blobs: plan.items.len() - plan.infos.len() })
}

/// Where the bytes of an item come from.
enum Source {
    Bytes(Arc<[u8]>),
    Blob { store: usize, blob: BlobId },
}

/// A blob to be written.
struct Item {
    sha1: Sha1Hash,
    len: u64,
    references: u32,
    flags: u8,
    source: Source,
}

/// A store, and who to ask for the paths of its blobs.
struct Origin<'a> {
    store: Arc<dyn BlobStore>,
    tree: &'a Tree,
    id: StoreId,
}

/// All that is to be written, in order: blobs of stores by position, contents in memory, metadata of the images.
struct Plan<'a> {
    origins: Vec<Origin<'a>>,
    items: Vec<Item>,
    infos: Vec<ImageInfo>,
}

/// Contents before it is known which of them are the same.
struct Gathering<'a> {
    origins: Vec<Origin<'a>>,
    /// The index in `origins` of each store of each tree.
    stores: Vec<Vec<usize>>,
    hashes: HashMap<(usize, BlobId), Sha1Hash>,
    items: Vec<Item>,
    known: HashMap<Sha1Hash, usize>,
}

impl<'a> Plan<'a> {
    fn new(images: &[(&'a Tree, ImageInfo)], threads: NonZeroUsize) -> Result<Self> {
        let mut gathering = Gathering::new(images);
        for origin in 0..gathering.origins.len() {
            gathering.store(images, origin, threads)?;
        }
        for (image, (tree, _)) in images.iter().enumerate() {
            gathering.bytes(image, tree);
        }
        let mut infos = Vec::new();
        for (image, (tree, info)) in images.iter().enumerate() {
            let (metadata, counts) = render(tree, &|content| gathering.sha1(image, content))
                .context(|| format!("metadata of image {}", image + 1))?;
            gathering.items.push(Item {
                sha1: Sha1Hash::of(&metadata),
                len: metadata.len() as u64,
                references: 1,
                flags: resource_flags::METADATA,
                source: Source::Bytes(metadata.into()),
            });
            infos.push(ImageInfo {
                index: image + 1,
                directories: Some(counts.directories),
                files: Some(counts.files),
                total_bytes: Some(counts.total_bytes),
                hard_link_bytes: Some(counts.hard_link_bytes),
                ..info.clone()
            });
        }
        Ok(Self { origins: gathering.origins, items: gathering.items, infos })
    }

    /// Sends every item through the packer.
    fn pack<W: Write + Seek + Send>(&self, packer: &Packer<'_, W>, threads: NonZeroUsize) -> Result<()> {
        for (index, origin) in self.origins.iter().enumerate() {
            let mut ids = HashMap::new();
            for (place, item) in self.items.iter().enumerate() {
                match item.source {
                    Source::Blob { store, blob } if store == index => drop(ids.insert(blob, place)),
                    _ => {}
                }
            }
            let mut wanted: Vec<BlobId> = ids.keys().copied().collect();
            wanted.sort_unstable_by_key(|blob| (origin.store.position(*blob), *blob));
            let sink = StoreSink { packer, ids: &ids };
            let streamed = origin.store.stream(&wanted, threads, &sink);
            streamed.map_err(|failure| origin.tree.blame(origin.id, failure))?;
        }
        self.pack_bytes(packer, threads)
    }

    /// Contents in memory, each on one thread.
    fn pack_bytes<W: Write + Seek + Send>(&self, packer: &Packer<'_, W>, threads: NonZeroUsize) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some((place, item)) = {
                let place = next.fetch_add(1, Ordering::Relaxed);
                self.items.get(place).map(|item| (place, item))
            } {
                let Source::Bytes(bytes) = &item.source else { continue };
                if let Err(error) = packer.write(place, 0, bytes) {
                    lock(&failure).get_or_insert(error);
                    next.store(self.items.len(), Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.get() {
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

impl<'a> Gathering<'a> {
    fn new(images: &[(&'a Tree, ImageInfo)]) -> Self {
        let mut origins: Vec<Origin<'a>> = Vec::new();
        let mut stores = Vec::new();
        for (tree, _) in images {
            let ids = tree.store_ids().zip(tree.stores());
            let place = |(id, store): (StoreId, &Arc<dyn BlobStore>)| {
                let known = origins.iter().position(|origin| Arc::ptr_eq(&origin.store, store));
                known.unwrap_or_else(|| {
                    origins.push(Origin { store: Arc::clone(store), tree, id });
                    origins.len() - 1
                })
            };
            stores.push(ids.map(place).collect());
        }
        Self { origins, stores, hashes: HashMap::new(), items: Vec::new(), known: HashMap::new() }
    }

    /// The wanted blobs of one store with their lengths and numbers of references.
    fn store(&mut self, images: &[(&Tree, ImageInfo)], origin: usize, threads: NonZeroUsize) -> Result<()> {
        let mut wanted: HashMap<BlobId, (u64, u32)> = HashMap::new();
        for ((tree, _), stores) in images.iter().zip(&self.stores) {
            for (node, content) in tree.contents() {
                let Content::Blob { store, blob, len } = content else { continue };
                if stores[store.index()] == origin && *len > 0 {
                    wanted.entry(*blob).or_insert((*len, 0)).1 += tree.node(node).links().max(1);
                }
            }
        }
        let Origin { store, tree, id } = &self.origins[origin];
        let mut blobs: Vec<BlobId> = wanted.keys().copied().collect();
        blobs.sort_unstable_by_key(|blob| (store.position(*blob), *blob));
        let unknown: HashMap<BlobId, (u64, Flow)> = blobs
            .iter()
            .filter(|blob| store.sha1(**blob).is_none())
            .map(|blob| (*blob, (wanted[blob].0, Flow::default())))
            .collect();
        let sink = HashSink { flows: &unknown, found: Mutex::default(), waiting: AtomicUsize::new(0) };
        let unhashed: Vec<BlobId> = blobs.iter().copied().filter(|blob| unknown.contains_key(blob)).collect();
        store.stream(&unhashed, threads, &sink).map_err(|failure| tree.blame(*id, failure))?;
        let found = sink.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            let sha1 = store.sha1(blob).map(Sha1Hash).or_else(|| found.get(&blob).copied());
            let sha1 = sha1.ok_or_else(|| Error::invalid("a blob store gave less than the whole blob"))?;
            self.hashes.insert((origin, blob), sha1);
            let (len, references) = wanted[&blob];
            let item = Item { sha1, len, references, flags: 0, source: Source::Blob { store: origin, blob } };
            add(&mut self.items, &mut self.known, item);
        }
        Ok(())
    }

    fn bytes(&mut self, image: usize, tree: &Tree) {
        for (node, content) in tree.contents() {
            let Content::Bytes(bytes) = content else { continue };
            if !bytes.is_empty() {
                let references = tree.node(node).links().max(1);
                let (sha1, len) = (self.sha1(image, content), content.len());
                let item = Item { sha1, len, references, flags: 0, source: Source::Bytes(Arc::clone(bytes)) };
                add(&mut self.items, &mut self.known, item);
            }
        }
    }

    fn sha1(&self, image: usize, content: &Content) -> Sha1Hash {
        match content {
            content if content.is_empty() => Sha1Hash::default(),
            Content::Bytes(bytes) => Sha1Hash::of(bytes),
            Content::Blob { store, blob, .. } => {
                self.hashes.get(&(self.stores[image][store.index()], *blob)).copied().unwrap_or_default()
            }
        }
    }
}

/// Adds an item, or references to the one of the same bytes.
fn add(items: &mut Vec<Item>, known: &mut HashMap<Sha1Hash, usize>, item: Item) {
    let place = *known.entry(item.sha1).or_insert(items.len());
    match items.get_mut(place) {
        Some(same) => same.references = same.references.saturating_add(item.references),
        None => items.push(item),
    }
}

/// Hashes blobs whose store does not know their SHA-1s.
struct HashSink<'a> {
    flows: &'a HashMap<BlobId, (u64, Flow)>,
    found: Mutex<HashMap<BlobId, Sha1Hash>>,
    waiting: AtomicUsize,
}

fn check_waiting(bytes: usize) -> Result<()> {
    if bytes <= WAITING_LIMIT {
        return Ok(());
    }
    Err(Error::unsupported("writing a WIM from blobs that come too far out of order: bytes that wait for their turn")
        .found(bytes)
        .allowed(WAITING_LIMIT)
        .hint("use fewer threads"))
}

impl BlobSink for HashSink<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let Some((len, flow)) = self.flows.get(&blob) else { return Ok(()) };
        // Whoever comes too early leaves the bytes there and goes on: nothing is known about the store's order.
        if let Some(sha1) = flow.leave(at, data, *len, &self.waiting) {
            lock(&self.found).insert(blob, sha1);
        }
        check_waiting(self.waiting.load(Ordering::Relaxed))
    }
}

/// Takes the blobs of one store.
struct StoreSink<'a, 'p, W> {
    packer: &'a Packer<'p, W>,
    ids: &'a HashMap<BlobId, usize>,
}

impl<W: Write + Seek + Send> BlobSink for StoreSink<'_, '_, W> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        self.ids.get(&blob).map_or(Ok(()), |place| self.packer.write(*place, at, data))
    }
}

/// A chunk of which not all bytes are there yet.
struct Partial {
    bytes: Vec<u8>,
    filled: usize,
}

/// Cuts items into chunks and compresses them, on whatever thread they come.
struct Packer<'a, W> {
    codec: Option<Codec>,
    items: &'a [Item],
    emitter: Mutex<Emitter<'a, W>>,
    partial: Mutex<HashMap<(usize, u64), Partial>>,
    /// Encoders that no thread uses now.
    encoders: Mutex<Vec<Encoders>>,
}

impl<W: Write + Seek> Packer<'_, W> {
    fn write(&self, place: usize, at: u64, data: &[u8]) -> Result<()> {
        let size = chunk_size(self.codec);
        let len = self.items[place].len;
        let end = at.checked_add(data.len() as u64).filter(|end| *end <= len);
        let end = end.ok_or_else(|| Error::invalid("a blob store gave more than the whole blob").at(at))?;
        let mut encoders = lock(&self.encoders).pop().unwrap_or_default();
        let result = (at / size..end.div_ceil(size)).try_for_each(|chunk| {
            let bounds = chunk * size..(chunk + 1).saturating_mul(size).min(len);
            let now = bounds.start.max(at)..bounds.end.min(end);
            let bytes = &data[(now.start - at) as usize..(now.end - at) as usize];
            if now == bounds {
                return self.chunk(&mut encoders, place, chunk, bytes);
            }
            match self.complete(place, chunk, &bounds, now.start, bytes)? {
                Some(whole) => self.chunk(&mut encoders, place, chunk, &whole),
                None => Ok(()),
            }
        });
        lock(&self.encoders).push(encoders);
        result
    }

    /// Adds bytes to a chunk; returns it once it is whole.
    fn complete(
        &self,
        place: usize,
        chunk: u64,
        bounds: &Range<u64>,
        at: u64,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let mut partial = lock(&self.partial);
        check_waiting((partial.len() + 1).saturating_mul(chunk_size(self.codec) as usize))?;
        let empty = || Partial { bytes: vec![0; (bounds.end - bounds.start) as usize], filled: 0 };
        let entry = partial.entry((place, chunk)).or_insert_with(empty);
        let start = (at - bounds.start) as usize;
        entry.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        entry.filled += bytes.len();
        if entry.filled < entry.bytes.len() {
            return Ok(None);
        }
        Ok(partial.remove(&(place, chunk)).map(|whole| whole.bytes))
    }

    fn chunk(&self, encoders: &mut Encoders, place: usize, chunk: u64, bytes: &[u8]) -> Result<()> {
        let mut packed = Vec::new();
        let shorter = self.codec.is_some_and(|codec| encoders.encode(codec, bytes, &mut packed));
        let bytes = if shorter { Cow::Owned(packed) } else { Cow::Borrowed(bytes) };
        lock(&self.emitter).chunk(place, chunk, bytes, shorter)
    }
}

fn chunk_size(codec: Option<Codec>) -> u64 {
    codec.map_or(PLAIN_CHUNK, Codec::chunk_size)
}

/// Writes chunks in their order.
struct Emitter<'a, W> {
    out: &'a mut W,
    items: &'a [Item],
    codec: Option<Codec>,
    /// The length of the file so far.
    end: u64,
    /// The item and chunk whose turn it is.
    next: (usize, u64),
    waiting: BTreeMap<(usize, u64), (Vec<u8>, bool)>,
    waiting_bytes: usize,
    /// Where the item whose turn it is starts, and the lengths of its chunks so far.
    start: u64,
    lengths: Vec<u32>,
    /// Of all items that are written.
    resources: Vec<ResourceHeader>,
}

impl<'a, W: Write + Seek> Emitter<'a, W> {
    fn new(out: &'a mut W, items: &'a [Item], codec: Option<Codec>) -> Self {
        Self {
            out,
            items,
            codec,
            end: 0,
            next: (0, 0),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            start: 0,
            lengths: Vec::new(),
            resources: Vec::new(),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::io("writing the WIM", e))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let write = |out: &mut W, end: u64| {
            out.seek(SeekFrom::Start(at))?;
            out.write_all(bytes)?;
            out.seek(SeekFrom::Start(end))
        };
        write(self.out, self.end).map_err(|e| Error::io("writing the WIM", e)).map(drop)
    }

    fn chunk(&mut self, place: usize, chunk: u64, bytes: Cow<'_, [u8]>, packed: bool) -> Result<()> {
        if (place, chunk) != self.next {
            self.waiting_bytes += bytes.len();
            let replaced = self.waiting.insert((place, chunk), (bytes.into_owned(), packed));
            self.waiting_bytes -= replaced.map_or(0, |(bytes, _)| bytes.len());
            return check_waiting(self.waiting_bytes);
        }
        self.write_next(&bytes, packed)?;
        while let Some((bytes, packed)) = self.waiting.remove(&self.next) {
            self.waiting_bytes -= bytes.len();
            self.write_next(&bytes, packed)?;
        }
        Ok(())
    }

    fn write_next(&mut self, bytes: &[u8], packed: bool) -> Result<()> {
        let (place, chunk) = self.next;
        let item = &self.items[place];
        let chunks = item.len.div_ceil(chunk_size(self.codec));
        let entry = if item.len > u64::from(u32::MAX) { 8 } else { 4 };
        let chunked = self.codec.is_some() && (chunks > 1 || packed);
        if chunk == 0 {
            self.start = self.end;
            self.lengths.clear();
            if chunked {
                // The table of where all chunks but the first start is known at the end.
                self.append(&vec![0; (chunks - 1) as usize * entry])?;
            }
        }
        self.append(bytes)?;
        self.lengths.push(bytes.len() as u32);
        self.next.1 += 1;
        if self.next.1 < chunks {
            return Ok(());
        }
        self.next = (place + 1, 0);
        if chunks > 1 && chunked {
            let mut end = 0u64;
            let ends = self.lengths[..self.lengths.len() - 1].iter().flat_map(|len| {
                end += u64::from(*len);
                end.to_le_bytes().into_iter().take(entry)
            });
            let table: Vec<u8> = ends.collect();
            self.overwrite(self.start, &table)?;
        }
        let flags = item.flags | if chunked { resource_flags::COMPRESSED } else { 0 };
        self.resources.push(ResourceHeader::new(flags, self.start, self.end - self.start, item.len));
        Ok(())
    }
}

impl<W: Read + Write + Seek> Emitter<'_, W> {
    /// The integrity table of the file up to `end`.
    fn integrity(&mut self, end: u64) -> Result<Vec<u8>> {
        let start = size_of::<Header>() as u64;
        let mut sums = integrity::Summing::new();
        let mut read = |out: &mut W| {
            out.seek(SeekFrom::Start(start))?;
            let mut buffer = vec![0; PLAIN_CHUNK as usize];
            let mut left = end - start;
            while left > 0 {
                let len = left.min(PLAIN_CHUNK) as usize;
                out.read_exact(&mut buffer[..len])?;
                sums.update(&buffer[..len]);
                left -= len as u64;
            }
            out.seek(SeekFrom::Start(self.end))
        };
        read(self.out).map_err(|e| Error::io("reading the WIM back for its integrity table", e))?;
        Ok(sums.finish())
    }
}
