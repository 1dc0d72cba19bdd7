//! Metadata resources: from security descriptors and dentries to a [`Tree`].

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;
use zerocopy::FromBytes;

use super::ondisk::{Attribute, Dentry, NO_DESCRIPTOR, SecurityHeader, StreamEntry, TaggedItem, tags};
use super::store::{Sha1Hash, Store};
use crate::base::bytes::{round_up, u64_at};
use crate::base::{FileTime, Name};
use crate::error::{Context, Error, Result};
use crate::tree::{
    BlobError, BlobId, BlobSink, BlobStore, Content, DescriptorId, ExtendedAttribute, Link, Node, NodeId, Reparse,
    StoreId, Stream, Times, Tree, attributes,
};

/// How many UTF-16 units a path may have, each name with a separator before it: the limit of Windows. A deeper tree than that
/// allows has no use either.
const PATH_LIMIT: usize = 32_767;
/// The bit of a reparse tag that says that no GUID comes before the data (MS-FSCC 2.1.2.1).
const MICROSOFT_TAG: u32 = 0x8000_0000;
/// Reparse tags whose data is empty: sockets, FIFOs and devices of the Windows Subsystem for Linux (MS-FSCC 2.1.2.1:
/// `IO_REPARSE_TAG_AF_UNIX`, `_LX_FIFO`, `_LX_CHR`, `_LX_BLK`).
const NO_DATA_TAGS: [u32; 4] = [0x8000_0023, 0x8000_0024, 0x8000_0025, 0x8000_0026];
/// The SHA-1 of no bytes; dentries have zeros instead, as a rule.
const SHA1_OF_NOTHING: [u8; 20] = [
    0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90, 0xaf, 0xd8, 0x07,
    0x09,
];

/// An image's files, and what is to be said about them.
pub struct Volume {
    /// The files.
    pub tree: Tree,
    /// What the tree does not show.
    pub notes: Notes,
}

/// What is odd about an image, or lost on the way into a [`Tree`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// Files encrypted by EFS: reading one's content is an error that names it.
    #[serde(skip)]
    pub encrypted: Vec<NodeId>,
    /// Links of a hard link group that turned out to be files of their own.
    pub split_links: u64,
    /// Security ids without a descriptor; these files have none now.
    pub lost_descriptors: u64,
    /// Unnamed streams that no file can have; they were left out.
    pub lost_streams: u64,
    /// Files with owners, modes or extended attributes of Unix, which were left out.
    pub unix_metadata: u64,
    /// Tagged items that nobody has documented; they were left out.
    pub unknown_items: u64,
    /// Files with a tagged item that ends outside of its dentry; it was left out, with all that may follow it.
    pub broken_items: u64,
    /// Files that are marked as reparse points but have no reparse data; they are no reparse points now.
    pub empty_reparse_points: u64,
}

impl Notes {
    /// A line for each note that there is.
    pub fn lines(&self) -> Vec<String> {
        let notes = [
            (self.encrypted.len() as u64, "files are encrypted by EFS; their contents cannot be read"),
            (self.split_links, "hard links were to different files and are files of their own now"),
            (self.lost_descriptors, "files name security descriptors that the image lacks"),
            (self.lost_streams, "unnamed streams that no file can have were left out"),
            (self.unix_metadata, "files have Unix metadata, which was left out"),
            (self.unknown_items, "metadata items of unknown kinds were left out"),
            (self.broken_items, "files have metadata items that end outside of their dentries, which were left out"),
            (
                self.empty_reparse_points,
                "files are reparse points without reparse data and are plain files or directories now",
            ),
        ];
        notes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Parses a metadata resource; `store` has the blobs.
pub(super) fn read(bytes: &[u8], store: &Arc<Store>) -> Result<Volume> {
    let (descriptors, root_at) = descriptors(bytes)?;
    let parser = Parser { bytes, store };
    let root_entry = parser.entry(root_at).context(|| "root directory")?;
    let root = match root_entry {
        Some(entry) if entry.dentry.attributes.get() & attributes::DIRECTORY != 0 => entry,
        _ => return Err(Error::corrupt("WIM metadata: the root is no directory").at(root_at)),
    };
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let blobs = tree.add_store(Arc::clone(store) as Arc<dyn BlobStore>);
    let ids: Vec<DescriptorId> = descriptors.iter().map(|bytes| tree.add_descriptor(bytes)).collect();
    let mut builder = Builder {
        parser,
        descriptors: ids,
        blobs,
        encrypted: None,
        empty: Content::empty(),
        groups: HashMap::new(),
        split_groups: HashMap::new(),
        listed: Vec::new(),
        listed_bytes: 0,
        notes: Notes::default(),
        tree,
    };
    builder.root(&root).context(|| "root directory")?;
    builder.directories(root.dentry.subdir_offset.get())?;
    Ok(Volume { tree: builder.tree, notes: builder.notes })
}

/// The security descriptors, and where the root's dentry is.
fn descriptors(bytes: &[u8]) -> Result<(Vec<&[u8]>, u64)> {
    let wrong = |what: &str| Error::corrupt(format_args!("WIM metadata: security data: {what}")).at(0);
    let (header, rest) = SecurityHeader::read_from_prefix(bytes).map_err(|_| wrong("too short").found(bytes.len()))?;
    let total = u64::from(header.total_length.get()).max(size_of::<SecurityHeader>() as u64);
    let end = round_up(total, 8).filter(|end| *end <= bytes.len() as u64);
    let end = end.ok_or_else(|| wrong("total length").found(total).allowed(bytes.len()))?;
    let count = header.entries.get() as usize;
    let data = &rest[..rest.len().min(total as usize - size_of::<SecurityHeader>())];
    let sizes = count.checked_mul(8).and_then(|len| data.split_at_checked(len));
    let (sizes, mut data) = sizes.ok_or_else(|| wrong("number of descriptors").found(count))?;
    let mut found = Vec::with_capacity(count);
    for (index, size) in sizes.chunks_exact(8).enumerate() {
        let size = u64_at(size, 0).and_then(|size| usize::try_from(size).ok());
        let split = size.and_then(|size| data.split_at_checked(size));
        let (descriptor, later) =
            split.ok_or_else(|| wrong("size of a descriptor").found(format_args!("number {index}")))?;
        found.push(descriptor);
        data = later;
    }
    Ok((found, end))
}

/// A dentry with what follows it.
struct Entry<'a> {
    at: u64,
    dentry: &'a Dentry,
    name: Name,
    short: Option<Name>,
    tagged: &'a [u8],
    /// Name and SHA-1 of the stream entries.
    streams: Vec<(Name, Sha1Hash)>,
    /// Where the next dentry is.
    end: u64,
}

#[derive(Clone, Copy)]
struct Parser<'a> {
    bytes: &'a [u8],
    store: &'a Arc<Store>,
}

impl<'a> Parser<'a> {
    fn from(&self, at: u64) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(at).ok()?..)
    }

    /// The dentry at `at`, or `None` for the end of a directory.
    fn entry(&self, at: u64) -> Result<Option<Entry<'a>>> {
        let wrong = |what: &str| Error::corrupt(format_args!("WIM metadata: dentry: {what}")).at(at);
        let available = self.from(at).unwrap_or_default();
        let length = u64_at(available, 0).ok_or_else(|| wrong("beyond the end").allowed(self.bytes.len()))?;
        if length <= 8 {
            return Ok(None);
        }
        let whole = usize::try_from(length).ok().and_then(|length| available.get(..length));
        let whole = whole.ok_or_else(|| wrong("length").found(length).allowed(available.len()))?;
        let (dentry, names) = Dentry::ref_from_prefix(whole).map_err(|_| wrong("length").found(length))?;
        let (name, rest) = take_name(names, dentry.name_bytes.get()).ok_or_else(|| wrong("length of the name"))?;
        let (short, rest) =
            take_name(rest, dentry.short_bytes.get()).ok_or_else(|| wrong("length of the short name"))?;
        let padding = (whole.len() - rest.len()).wrapping_neg() % 8;
        let tagged = rest.get(padding..).unwrap_or_default();
        let mut end = round_up(length, 8).and_then(|length| at.checked_add(length)).ok_or_else(|| wrong("length"))?;
        let mut streams = Vec::new();
        for _ in 0..dentry.streams.get() {
            let (stream, after) = self.stream(end)?;
            streams.push(stream);
            end = after;
        }
        // Windows has one name for both where they are the same.
        let short = Some(short).filter(|short| !short.is_empty());
        Ok(Some(Entry { at, dentry, name, short, tagged, streams, end }))
    }

    fn stream(&self, at: u64) -> Result<((Name, Sha1Hash), u64)> {
        let wrong = |what: &str| Error::corrupt(format_args!("WIM metadata: stream entry: {what}")).at(at);
        let available = self.from(at).unwrap_or_default();
        let (entry, rest) = StreamEntry::ref_from_prefix(available).map_err(|_| wrong("beyond the end"))?;
        let length = entry.length.get();
        let name =
            usize::try_from(length).ok().and_then(|length| rest.get(..length.checked_sub(size_of::<StreamEntry>())?));
        let name = name.ok_or_else(|| wrong("length").found(length).allowed(available.len()))?;
        let (name, _) = take_name(name, entry.name_bytes.get()).ok_or_else(|| wrong("length of the name"))?;
        let end = round_up(length, 8).and_then(|length| at.checked_add(length)).ok_or_else(|| wrong("length"))?;
        Ok(((name, Sha1Hash(entry.sha1)), end))
    }
}

/// A name of `len` bytes at the front of `bytes`, and what comes after it and its NUL. The NUL may be missing at the end.
fn take_name(bytes: &[u8], len: u16) -> Option<(Name, &[u8])> {
    let len = usize::from(len);
    if len % 2 != 0 {
        return None;
    }
    let (name, rest) = bytes.split_at_checked(len)?;
    let skip = if len > 0 { rest.len().min(2) } else { 0 };
    Some((Name::from_le_bytes(name), &rest[skip..]))
}

/// A directory whose children are still to be read.
struct Pending {
    node: NodeId,
    /// Of the directory itself, for messages; shared by its children.
    path: Arc<Path>,
    children_at: u64,
}

/// A directory's name, and that of the one that it is in.
struct Path {
    parent: Option<Arc<Path>>,
    name: Name,
    /// UTF-16 units of the whole path, with a separator before each name.
    units: usize,
}

impl Path {
    fn with(&self, name: &Name) -> String {
        let mut names = vec![name.to_string()];
        let mut directory = Some(self);
        while let Some(path) = directory {
            names.push(path.name.to_string());
            directory = path.parent.as_deref();
        }
        names.reverse();
        names.join("\\")
    }
}

impl Drop for Path {
    /// Without recursion, which a deep tree could not afford.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut path) = parent.and_then(Arc::into_inner) {
            parent = path.parent.take();
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a>,
    descriptors: Vec<DescriptorId>,
    blobs: StoreId,
    /// The store of contents that EFS encrypted, once there is one.
    encrypted: Option<StoreId>,
    /// Shared by all empty streams.
    empty: Content,
    /// The first node of each hard link group, with the SHA-1 of its main stream.
    groups: HashMap<u64, (Sha1Hash, NodeId)>,
    /// Further nodes of groups whose members are not one file.
    split_groups: HashMap<(u64, Sha1Hash), NodeId>,
    /// Where the lists of dentries of the directories lie, for the proof that they do not overlap.
    listed: Vec<(u64, u64)>,
    listed_bytes: u64,
    notes: Notes,
    tree: Tree,
}

impl Builder<'_> {
    fn root(&mut self, entry: &Entry<'_>) -> Result<()> {
        let node = self.node(entry)?;
        let id = self.tree.root();
        *self.tree.node_mut(id) = node;
        Ok(())
    }

    /// Reads all directories below the root, depth first.
    fn directories(&mut self, root_children: u64) -> Result<()> {
        let path = Arc::new(Path { parent: None, name: Name::default(), units: 0 });
        let mut pending = vec![Pending { node: self.tree.root(), path, children_at: root_children }];
        while let Some(directory) = pending.pop() {
            let first = pending.len();
            let links = self.directory(&directory, &mut pending)?;
            pending[first..].reverse();
            self.tree.set_children(directory.node, links).context(|| directory.path.with(&Name::default()))?;
        }
        self.listed.sort_unstable();
        match self.listed.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => Err(overlap(pair[1].0)),
            None => Ok(()),
        }
    }

    /// Reads one directory's list of dentries; directories in it become pending.
    fn directory(&mut self, directory: &Pending, pending: &mut Vec<Pending>) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        let start = directory.children_at;
        if start == 0 {
            return Ok(links);
        }
        let path = &directory.path;
        let mut at = start;
        while let Some(entry) = self.parser.entry(at).context(|| path.with(&Name::default()))? {
            // Every byte belongs to one list, so that the whole work is bounded even if offsets form circles.
            self.listed_bytes += entry.end - at;
            if self.listed_bytes > self.parser.bytes.len() as u64 {
                return Err(overlap(start).context(path.with(&Name::default())));
            }
            at = entry.end;
            let units = path.units + 1 + entry.name.len();
            if units > PATH_LIMIT {
                return Err(Error::corrupt("WIM metadata: length of a path")
                    .at(entry.at)
                    .found(units)
                    .allowed(format_args!("{PATH_LIMIT} UTF-16 units")));
            }
            let node = self.file(&entry).context(|| path.with(&entry.name))?;
            if self.tree.node(node).is_directory() {
                pending.push(Pending {
                    node,
                    path: Arc::new(Path { parent: Some(Arc::clone(path)), name: entry.name.clone(), units }),
                    children_at: entry.dentry.subdir_offset.get(),
                });
            }
            links.push(Link { name: entry.name, short: entry.short, node });
        }
        if at > start {
            self.listed.push((start, at));
        }
        links.shrink_to_fit();
        Ok(links)
    }

    /// The node of an entry: a new one, or that of its hard link group.
    fn file(&mut self, entry: &Entry<'_>) -> Result<NodeId> {
        let attributes = entry.dentry.attributes.get();
        let group = entry.dentry.link_or_reparse.get();
        if group == 0 || attributes & (attributes::DIRECTORY | attributes::REPARSE_POINT) != 0 {
            return self.add(entry);
        }
        let unnamed = entry.streams.iter().find(|(name, _)| name.is_empty()).map(|(_, sha1)| *sha1);
        let main = Some(Sha1Hash(entry.dentry.sha1)).filter(|sha1| sha1.0 != [0; 20]).or(unnamed).unwrap_or_default();
        let first = self.groups.get(&group).copied();
        let known = first.filter(|(sha1, _)| *sha1 == main).map(|(_, node)| node);
        if let Some(node) = known.or_else(|| self.split_groups.get(&(group, main)).copied()) {
            return Ok(node);
        }
        let node = self.add(entry)?;
        if first.is_some() {
            self.notes.split_links += 1;
            self.split_groups.insert((group, main), node);
        } else {
            self.groups.insert(group, (main, node));
        }
        Ok(node)
    }

    fn add(&mut self, entry: &Entry<'_>) -> Result<NodeId> {
        let node = self.node(entry)?;
        let is_encrypted = !node.is_directory() && node.attributes & attributes::ENCRYPTED != 0;
        let id = self.tree.add_node(node)?;
        self.notes.encrypted.extend(is_encrypted.then_some(id));
        Ok(id)
    }

    fn node(&mut self, entry: &Entry<'_>) -> Result<Node> {
        let dentry = entry.dentry;
        let kept = dentry.attributes.get() & !(attributes::DIRECTORY | attributes::NORMAL);
        let modified = FileTime(dentry.modified.get());
        let times = Times {
            created: FileTime(dentry.created.get()),
            modified,
            changed: modified,
            accessed: FileTime(dentry.accessed.get()),
        };
        let is_directory = dentry.attributes.get() & attributes::DIRECTORY != 0;
        let mut node = match is_directory {
            true => Node::directory(kept, times),
            false => Node::file(kept, times, self.empty.clone()),
        };
        node.streams.clear();
        node.descriptor = self.descriptor(dentry.security_id.get());
        if kept & attributes::ENCRYPTED != 0 && !is_directory {
            self.encrypted_stream(entry, &mut node);
        } else {
            self.streams(entry, &mut node)?;
        }
        self.tagged(entry, &mut node)?;
        Ok(node)
    }

    fn descriptor(&mut self, id: u32) -> Option<DescriptorId> {
        let descriptor = self.descriptors.get(id as usize).copied();
        self.notes.lost_descriptors += u64::from(descriptor.is_none() && id != NO_DESCRIPTOR);
        descriptor
    }

    /// All unnamed streams in the order that decides what they are: the dentry's, unless it is zeros, then the entries'.
    fn unnamed<'e>(entry: &'e Entry<'_>) -> impl Iterator<Item = Sha1Hash> + 'e {
        let main = Some(Sha1Hash(entry.dentry.sha1)).filter(|sha1| sha1.0 != [0; 20]);
        main.into_iter().chain(entry.streams.iter().filter(|(name, _)| name.is_empty()).map(|(_, sha1)| *sha1))
    }

    /// EFS packs all streams of a file into one, which is not what the file contains.
    fn encrypted_stream(&mut self, entry: &Entry<'_>, node: &mut Node) {
        let store = match self.encrypted {
            Some(store) => store,
            None => self.tree.add_store(Arc::new(EncryptedStore)),
        };
        self.encrypted = Some(store);
        let packed = Self::unnamed(entry).find(|sha1| sha1.0 != [0; 20]);
        let len = packed.and_then(|sha1| self.parser.store.find(&sha1)).map_or(0, |(_, len)| len);
        let content = Content::Blob { store, blob: BlobId(self.notes.encrypted.len() as u32), len };
        node.streams.push(Stream { name: Name::default(), content, sparse: false });
    }

    fn streams(&mut self, entry: &Entry<'_>, node: &mut Node) -> Result<()> {
        let sparse = node.attributes & attributes::SPARSE != 0;
        let mut reparse = None;
        let mut main = None;
        let wants_reparse = node.attributes & attributes::REPARSE_POINT != 0;
        for sha1 in Self::unnamed(entry) {
            if wants_reparse && reparse.is_none() {
                reparse = Some(sha1);
            } else if main.is_none() && (!node.is_directory() || sha1.0 == [0; 20]) {
                main = Some(sha1);
            } else {
                self.notes.lost_streams += 1;
            }
        }
        if wants_reparse {
            let data = self.content(&reparse.unwrap_or_default())?;
            node.reparse = reparse_point(entry, data)?;
            if node.reparse.is_none() {
                node.attributes &= !attributes::REPARSE_POINT;
                self.notes.empty_reparse_points += 1;
            }
        }
        if !node.is_directory() {
            let content = self.content(&main.unwrap_or_default())?;
            node.streams.push(Stream { name: Name::default(), content, sparse });
        }
        let mut names = HashSet::new();
        for (name, sha1) in entry.streams.iter().filter(|(name, _)| !name.is_empty()) {
            if name.len() > 255 || !names.insert(name) {
                return Err(Error::corrupt("WIM metadata: name of a stream").at(entry.at).found(name));
            }
            let content = self.content(sha1).context(|| format!("stream {name}"))?;
            node.streams.push(Stream { name: name.clone(), content, sparse });
        }
        node.streams.shrink_to_fit();
        Ok(())
    }

    fn content(&self, sha1: &Sha1Hash) -> Result<Content> {
        if sha1.0 == [0; 20] || sha1.0 == SHA1_OF_NOTHING {
            return Ok(self.empty.clone());
        }
        let (blob, len) = self.parser.store.find(sha1).ok_or_else(|| {
            Error::unsupported("its contents are not in this WIM, which is a delta WIM or incomplete").found(sha1).hint(
                "join it with the WIM that it was made from: wimlib-imagex export DELTA.wim all FULL.wim --ref=BASE.wim",
            )
        })?;
        Ok(Content::Blob { store: self.blobs, blob, len })
    }

    fn tagged(&mut self, entry: &Entry<'_>, node: &mut Node) -> Result<()> {
        let mut rest = entry.tagged;
        let mut has_unix = false;
        // What is no item at the end is padding.
        while let Ok((head, data)) = TaggedItem::read_from_prefix(rest) {
            let len = head.length.get() as usize;
            if head.tag.get() == 0 {
                break;
            }
            let Some(item) = data.get(..len) else {
                // wimlib passes over such bytes; so it may be that nobody ever noticed that a writer leaves them there.
                self.notes.broken_items += 1;
                break;
            };
            match head.tag.get() {
                tags::OBJECT_ID if matches!(len, 16 | 64) => node.object_id = Some(item.into()),
                tags::EXTENDED_ATTRIBUTES => node.extended = extended(item).map_err(|e| e.at(entry.at))?,
                tags::UNIX | tags::LINUX_ATTRIBUTES => has_unix = true,
                _ => self.notes.unknown_items += 1,
            }
            rest = data.get(len.next_multiple_of(8)..).unwrap_or_default();
        }
        self.notes.unix_metadata += u64::from(has_unix);
        Ok(())
    }
}

/// What the data of a reparse point makes of an entry, if it makes anything of it.
fn reparse_point(entry: &Entry<'_>, data: Content) -> Result<Option<Reparse>> {
    let tag = entry.dentry.link_or_reparse.get() as u32;
    let wrong = |what: &str| Error::corrupt(format_args!("WIM metadata: reparse point: {what}")).at(entry.at);
    if data.is_empty() {
        return Ok(NO_DATA_TAGS.contains(&tag).then_some(Reparse { tag, data }));
    }
    if tag == 0 {
        return Err(wrong("tag").found(0).allowed("any but 0, which is reserved"));
    }
    if tag & MICROSOFT_TAG == 0 && data.len() < 16 {
        return Err(wrong("length of the data of a tag that is not Microsoft's")
            .found(data.len())
            .allowed("at least 16 bytes, for its GUID"));
    }
    Ok(Some(Reparse { tag, data }))
}

fn overlap(at: u64) -> Error {
    Error::corrupt("WIM metadata: a directory's children overlap with another's, or it is inside of itself").at(at)
}

fn extended(mut bytes: &[u8]) -> Result<Vec<ExtendedAttribute>> {
    let wrong = || Error::corrupt("WIM metadata: extended attributes");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = Attribute::read_from_prefix(bytes).map_err(|_| wrong())?;
        let (name, rest) = rest.split_at_checked(usize::from(head.name_bytes)).ok_or_else(wrong)?;
        let (&nul, rest) = rest.split_first().ok_or_else(wrong)?;
        let (value, rest) = rest.split_at_checked(usize::from(head.value_bytes.get())).ok_or_else(wrong)?;
        if name.is_empty() || name.len() > 254 || nul != 0 {
            return Err(wrong().found(format_args!("a name of {} bytes", name.len())).allowed("1 to 254 and a NUL"));
        }
        found.push(ExtendedAttribute { flags: head.flags, name: name.into(), value: value.into() });
        bytes = rest;
    }
    Ok(found)
}

/// Where the contents of files that EFS encrypted are not.
struct EncryptedStore;

impl EncryptedStore {
    fn refuse(&self) -> Error {
        Error::unsupported("the file is encrypted by EFS; its contents cannot be read")
            .hint("decrypt it (cipher /d) and capture the image again, or remove it from the image")
    }
}

impl BlobStore for EncryptedStore {
    fn position(&self, blob: BlobId) -> u64 {
        u64::from(blob.0)
    }

    fn stream(&self, wanted: &[BlobId], _: NonZeroUsize, _: &dyn BlobSink) -> Result<(), BlobError> {
        match wanted {
            [] => Ok(()),
            blobs => Err(BlobError { blobs: blobs.to_vec(), error: self.refuse() }),
        }
    }

    fn read(&self, _: BlobId) -> Result<Vec<u8>> {
        Err(self.refuse())
    }
}
