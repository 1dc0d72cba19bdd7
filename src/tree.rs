//! What a Windows volume holds, apart from how any format stores it.
//!
//! A [`Tree`] is directory → [`Link`] (name and short name) → [`Node`] (metadata, streams) → [`Content`], which is either
//! bytes that are known already or a blob that still lies, unread, in a [`BlobStore`]. Hard links are links to one node.
//! Nothing that a writer needs on its way (record numbers, extents) lives here: writers index their own tables by
//! [`NodeId`].
//!
//! Invariants, kept by the methods that build a tree and relied upon by all that read one:
//! * the root is a directory, and every other directory hangs on exactly one link, so that there are no cycles;
//! * no directory holds two links of one name, nor two names that differ in case only unless it is
//!   [`case_sensitive`](Node::case_sensitive), nor a short name that is also another link's name;
//! * every blob id lies in a store of this tree.

pub mod medium;
pub mod paths;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{FileTime, Name, upcase};
use crate::error::{Context, Error, Result};

/// Bits of [`Node::attributes`]: the `FILE_ATTRIBUTE_*` constants of Windows.
pub mod attributes {
    /// Cannot be written.
    pub const READ_ONLY: u32 = 0x1;
    /// Not shown.
    pub const HIDDEN: u32 = 0x2;
    /// Belongs to the system.
    pub const SYSTEM: u32 = 0x4;
    /// A directory; follows from the node and is not kept in trees.
    pub const DIRECTORY: u32 = 0x10;
    /// Changed since the last backup.
    pub const ARCHIVE: u32 = 0x20;
    /// No other attribute is set.
    pub const NORMAL: u32 = 0x80;
    /// Has sparse streams.
    pub const SPARSE: u32 = 0x200;
    /// Has a reparse point.
    pub const REPARSE_POINT: u32 = 0x400;
    /// New data is to be compressed by NTFS.
    pub const COMPRESSED: u32 = 0x800;
    /// Left out by the indexing service.
    pub const NOT_CONTENT_INDEXED: u32 = 0x2000;
    /// Encrypted by EFS.
    pub const ENCRYPTED: u32 = 0x4000;
}

/// The four times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Times {
    /// Made.
    pub created: FileTime,
    /// Data last written.
    pub modified: FileTime,
    /// Metadata last changed. Formats that lack it (WIM) give the modification time.
    pub changed: FileTime,
    /// Last read.
    pub accessed: FileTime,
}

impl Times {
    /// All four at one moment.
    pub fn all(time: FileTime) -> Self {
        Self { created: time, modified: time, changed: time, accessed: time }
    }
}

/// A node of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The place of this node in [`Tree::nodes`], for tables of one's own.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A security descriptor of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DescriptorId(u32);

impl DescriptorId {
    /// The place of this descriptor in [`Tree::descriptors`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A blob store of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(u16);

impl StoreId {
    /// The place of this store in [`Tree::stores`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A blob of one [`BlobStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u32);

/// Where the bytes of a stream are.
#[derive(Debug, Clone)]
pub enum Content {
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a store, unread.
    Blob {
        /// The store.
        store: StoreId,
        /// The blob in it.
        blob: BlobId,
        /// Its length, known from the store's own tables.
        len: u64,
    },
}

impl Content {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Bytes(Arc::new([]))
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// A data stream of a node.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Empty for the main stream.
    pub name: Name,
    /// Its bytes.
    pub content: Content,
    /// Whether the source keeps it sparse.
    pub sparse: bool,
}

/// A reparse point, without the header that NTFS puts before its data.
#[derive(Debug, Clone)]
pub struct Reparse {
    /// Who understands it (`IO_REPARSE_TAG_*`).
    pub tag: u32,
    /// What it says, GUID included where the tag is not Microsoft's.
    pub data: Content,
}

/// An extended attribute (`FILE_FULL_EA_INFORMATION`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedAttribute {
    /// 0x80: a program that does not understand it must not open the file.
    pub flags: u8,
    /// Its name, in bytes, at most 254, without the NUL.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

/// A file or directory.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// See [`attributes`]; without `DIRECTORY` and `NORMAL`, which follow from the rest.
    pub attributes: u32,
    /// The four times.
    pub times: Times,
    /// The security descriptor, if the source has one.
    pub descriptor: Option<DescriptorId>,
    /// 16 bytes, or 64 with the three birth ids.
    pub object_id: Option<Box<[u8]>>,
    /// The reparse point.
    pub reparse: Option<Reparse>,
    /// Extended attributes in the source's order.
    pub extended: Vec<ExtendedAttribute>,
    /// Data streams, at most one of each name. A file without a main stream has an empty one.
    pub streams: Vec<Stream>,
    /// `Some` for a directory.
    children: Option<Vec<Link>>,
    /// Names in this directory may differ in case only.
    pub case_sensitive: bool,
    /// How many links lead here.
    links: u32,
}

impl Node {
    /// A file, with its main stream.
    pub fn file(attributes: u32, times: Times, content: Content) -> Self {
        let main = Stream { name: Name::default(), content, sparse: false };
        Self { attributes, times, streams: vec![main], ..Self::default() }
    }

    /// A directory without children.
    pub fn directory(attributes: u32, times: Times) -> Self {
        Self { attributes, times, children: Some(Vec::new()), ..Self::default() }
    }

    /// A node of its own with the same metadata and streams: no more links, no children, and no object id, of which a volume
    /// holds each only once.
    pub fn copy(&self) -> Self {
        let children = self.is_directory().then(Vec::new);
        Self { object_id: None, children, links: 0, ..self.clone() }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.children.is_some()
    }

    /// What is in the directory; nothing for a file.
    pub fn children(&self) -> &[Link] {
        self.children.as_deref().unwrap_or_default()
    }

    /// How many links lead here: more than one for hard links; 0 for the root.
    pub fn links(&self) -> u32 {
        self.links
    }

    /// The main stream's content, if it has one.
    pub fn main(&self) -> Option<&Content> {
        self.streams.iter().find(|stream| stream.name.is_empty()).map(|stream| &stream.content)
    }
}

/// A name of a node in a directory.
#[derive(Debug, Clone)]
pub struct Link {
    /// The (long) name.
    pub name: Name,
    /// The 8.3 name, where the source knows of one; the same as `name`, but for case, where one name serves as both.
    pub short: Option<Name>,
    /// What it names.
    pub node: NodeId,
}

impl Link {
    /// The 8.3 name, if it is another than the long one.
    pub fn other_short(&self) -> Option<&Name> {
        self.short.as_ref().filter(|short| !upcase::same(short.units(), self.name.units()))
    }

    /// The names under which it is found.
    fn names(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.name).chain(self.other_short())
    }
}

/// Why a blob could not be had.
#[derive(Debug)]
pub struct BlobError {
    /// The blobs that are affected; empty if it is not about any one of them (a failure of the receiver, an interruption).
    pub blobs: Vec<BlobId>,
    /// What is wrong.
    pub error: Error,
}

impl From<Error> for BlobError {
    fn from(error: Error) -> Self {
        Self { blobs: Vec::new(), error }
    }
}

/// Receives blobs from a store, piece by piece, from several threads.
pub trait BlobSink: Sync {
    /// Bytes of `blob` from `at` on. The pieces of one blob come from several threads and in any order, each byte once.
    /// An error ends the stream.
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()>;
}

/// A source of contents: many ids in, pieces out, in the order and on as many threads as suit the store.
pub trait BlobStore: Send + Sync {
    /// Where the blob lies in the store: blobs are cheapest to read in ascending order of this.
    fn position(&self, blob: BlobId) -> u64;

    /// The blob's SHA-1, if the store knows it without reading the blob.
    fn sha1(&self, _blob: BlobId) -> Option<[u8; 20]> {
        None
    }

    /// Gives each of the `wanted` blobs (without duplicates) to `sink`, once, verified: it returns `Ok` only if all of them
    /// were whole. With one thread, the pieces of each blob come in ascending order.
    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError>;

    /// One whole blob, verified, for a blob that is known to be small.
    fn read(&self, blob: BlobId) -> Result<Vec<u8>>;
}

/// Gives blobs one by one, on several threads, in this order: for stores that read each blob by itself. The first failure ends it.
pub fn give_each(
    order: &[BlobId],
    threads: NonZeroUsize,
    give: impl Fn(BlobId) -> Result<(), BlobError> + Sync,
) -> Result<(), BlobError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        while let Some(blob) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = give(*blob) {
                failed.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.get().min(order.len()) {
            // A host that refuses a thread leaves more work for this one.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The longest content that [`Tree::read`] takes into memory: no hive, catalog or loader comes near.
pub const READ_LIMIT: u64 = 1 << 30;

/// A whole volume's worth of files. See the [module](self) for the invariants.
#[derive(Clone)]
pub struct Tree {
    nodes: Vec<Node>,
    descriptors: Vec<Arc<[u8]>>,
    descriptor_ids: HashMap<Arc<[u8]>, DescriptorId>,
    stores: Vec<Arc<dyn BlobStore>>,
}

impl Tree {
    /// A tree that has nothing but its root.
    pub fn new(root: Node) -> Self {
        debug_assert!(root.is_directory());
        Self { nodes: vec![root], descriptors: Vec::new(), descriptor_ids: HashMap::new(), stores: Vec::new() }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// All nodes, by [`NodeId::index`]. Nodes that were removed stay as files without links.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The ids of all nodes, in their order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// One node, to be changed; its links and children are changed by the tree's own methods.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// All security descriptors, by [`DescriptorId::index`]; some may be in no node's use.
    pub fn descriptors(&self) -> &[Arc<[u8]>] {
        &self.descriptors
    }

    /// The id of a self-relative security descriptor; equal bytes have one id.
    pub fn add_descriptor(&mut self, bytes: &[u8]) -> DescriptorId {
        if let Some(id) = self.descriptor_ids.get(bytes) {
            return *id;
        }
        let id = DescriptorId(self.descriptors.len() as u32);
        let bytes: Arc<[u8]> = bytes.into();
        self.descriptors.push(Arc::clone(&bytes));
        self.descriptor_ids.insert(bytes, id);
        id
    }

    /// All stores, by [`StoreId::index`].
    pub fn stores(&self) -> &[Arc<dyn BlobStore>] {
        &self.stores
    }

    /// The ids of all stores, in their order.
    pub fn store_ids(&self) -> impl Iterator<Item = StoreId> + use<> {
        (0..self.stores.len() as u16).map(StoreId)
    }

    /// Makes a store's blobs known to this tree.
    pub fn add_store(&mut self, store: Arc<dyn BlobStore>) -> StoreId {
        self.stores.push(store);
        StoreId((self.stores.len() - 1) as u16)
    }

    /// Puts another store in the place of each, which gives the same blobs: one that counts, for example.
    pub fn map_stores(&mut self, wrap: impl FnMut(Arc<dyn BlobStore>) -> Arc<dyn BlobStore>) {
        self.stores = std::mem::take(&mut self.stores).into_iter().map(wrap).collect();
    }

    /// Adds a node that no link leads to yet.
    pub fn add_node(&mut self, node: Node) -> Result<NodeId> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| Error::unsupported("more than 2^32 files"))?;
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// Fills a directory that is still empty with all of its links at once, checking names and the one-link rule of directories.
    ///
    /// Long names that differ in case only make the directory [`case_sensitive`](Node::case_sensitive).
    pub fn set_children(&mut self, directory: NodeId, links: Vec<Link>) -> Result<()> {
        for link in &links {
            check_name(&link.name)?;
            link.short.as_ref().map_or(Ok(()), check_name)?;
        }
        let mut names: Vec<(&Name, bool)> = links.iter().map(|link| (&link.name, false)).collect();
        names.extend(links.iter().filter_map(Link::other_short).map(|short| (short, true)));
        names.sort_by(|a, b| upcase::compare(a.0.units(), b.0.units()));
        let mut case_sensitive = false;
        for pair in names.windows(2) {
            let [(a, a_is_short), (b, b_is_short)] = [pair[0], pair[1]];
            let same = upcase::same(a.units(), b.units());
            if a == b || (same && (a_is_short || b_is_short)) {
                return Err(Error::corrupt("two files of one name in a directory").found(b));
            }
            case_sensitive |= same;
        }
        for link in &links {
            let node = &mut self.nodes[link.node.index()];
            if node.is_directory() && (node.links > 0 || link.node == NodeId(0)) {
                return Err(Error::corrupt("a directory that hangs on two names").found(&link.name));
            }
            node.links += 1;
        }
        let node = &mut self.nodes[directory.index()];
        debug_assert!(node.children.as_ref().is_some_and(Vec::is_empty));
        node.case_sensitive |= case_sensitive;
        node.children = Some(links);
        Ok(())
    }

    /// Adds one link to a directory; refused when the name is taken.
    pub fn add_link(&mut self, directory: NodeId, link: Link) -> Result<()> {
        check_name(&link.name)?;
        link.short.as_ref().map_or(Ok(()), check_name)?;
        if !self.node(directory).is_directory() {
            return Err(Error::invalid("a name in something that is no directory").found(&link.name));
        }
        for name in link.names() {
            if self.child(directory, name.units()).is_some() {
                return Err(Error::invalid("a name that is already taken").found(name));
            }
        }
        let node = &mut self.nodes[link.node.index()];
        if node.is_directory() && (node.links > 0 || link.node == NodeId(0)) {
            return Err(Error::invalid("a directory that hangs on two names").found(&link.name));
        }
        node.links += 1;
        self.nodes[directory.index()].children.get_or_insert_default().push(link);
        Ok(())
    }

    /// Takes a name out of a directory; the node stays, with one link less. A directory must be empty.
    pub fn remove_link(&mut self, directory: NodeId, name: &[u16]) -> Result<NodeId> {
        let children = self.node(directory).children();
        let case_sensitive = self.node(directory).case_sensitive;
        let index = children
            .iter()
            .position(|link| matches(link, name, case_sensitive))
            .ok_or_else(|| Error::invalid("no such file").found(Name::new(name)))?;
        let node = children[index].node;
        if !self.node(node).children().is_empty() {
            return Err(Error::invalid("a directory that is not empty").found(Name::new(name)));
        }
        self.nodes[directory.index()].children.get_or_insert_default().remove(index);
        self.nodes[node.index()].links -= 1;
        Ok(node)
    }

    /// Takes a name out of a directory, and all that is below it if it is a directory's; gives how many names that were. Files that
    /// have names elsewhere stay under those.
    pub fn remove_tree(&mut self, directory: NodeId, name: &[u16]) -> Result<u64> {
        let node = self.node(directory);
        let index = node
            .children()
            .iter()
            .position(|link| matches(link, name, node.case_sensitive))
            .ok_or_else(|| Error::invalid("no such file").found(Name::new(name)))?;
        let mut doomed = vec![self.nodes[directory.index()].children.get_or_insert_default().remove(index)];
        let mut removed = 0;
        while let Some(link) = doomed.pop() {
            removed += 1;
            let node = &mut self.nodes[link.node.index()];
            node.links -= 1;
            doomed.append(node.children.as_mut().unwrap_or(&mut Vec::new()));
        }
        Ok(removed)
    }

    /// The link of that long or short name in a directory.
    pub fn child(&self, directory: NodeId, name: &[u16]) -> Option<&Link> {
        let node = self.node(directory);
        node.children().iter().find(|link| matches(link, name, node.case_sensitive))
    }

    /// The node at a path from the root, with `\` or `/` between names; the empty path is the root.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        path.split(['\\', '/']).filter(|part| !part.is_empty()).try_fold(self.root(), |directory, part| {
            let units: Vec<u16> = part.encode_utf16().collect();
            self.child(directory, &units).map(|link| link.node)
        })
    }

    /// All of a content, checked, in memory; refused beyond [`READ_LIMIT`].
    pub fn read(&self, content: &Content) -> Result<Vec<u8>> {
        if content.len() > READ_LIMIT {
            return Err(Error::unsupported("a file too large to be held in memory")
                .found(content.len())
                .allowed(READ_LIMIT));
        }
        match content {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            Content::Blob { store, blob, .. } => self.stores[store.index()].read(*blob),
        }
    }

    /// The main stream of the file at a path, or `None` if there is no such file.
    pub fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let content = self.find(path).and_then(|id| self.node(id).main());
        content.map(|content| self.read(content).context(|| path)).transpose()
    }

    /// Every link below the root, parents before their children, with the directory that it is in.
    pub fn walk(&self) -> impl Iterator<Item = (NodeId, &Link)> {
        let mut stack = vec![(self.root(), self.node(self.root()).children().iter())];
        std::iter::from_fn(move || {
            loop {
                let (directory, links) = stack.last_mut()?;
                let directory = *directory;
                if let Some(link) = links.next() {
                    if self.node(link.node).is_directory() {
                        stack.push((link.node, self.node(link.node).children().iter()));
                    }
                    return Some((directory, link));
                }
                stack.pop();
            }
        })
    }

    /// Shows every link below the root with its path, which has a leading `\`, parents before their children, until `visit` breaks off.
    pub fn visit(&self, mut visit: impl FnMut(&str, &Link) -> ControlFlow<()>) {
        // One path that grows and shrinks on the way: holding one for each directory would let a deep tree take gigabytes.
        let mut path = String::new();
        let mut open: Vec<(NodeId, usize)> = vec![(self.root(), 0)];
        for (directory, link) in self.walk() {
            while open.pop_if(|(id, _)| *id != directory).is_some() {} // directories that are done with
            path.truncate(open.last().map_or(0, |(_, len)| *len));
            let _ = write!(path, "\\{}", link.name);
            if visit(&path, link).is_break() {
                return;
            }
            if self.node(link.node).is_directory() {
                open.push((link.node, path.len()));
            }
        }
    }

    /// The paths of the nodes that `wanted` picks, hard links included; at most `limit` of them.
    ///
    /// Costs a walk over the tree: it is for messages.
    pub fn paths(&self, limit: usize, mut wanted: impl FnMut(NodeId, &Node) -> bool) -> Vec<String> {
        let mut paths = Vec::new();
        self.visit(|path, link| {
            if wanted(link.node, self.node(link.node)) {
                paths.push(path.to_owned());
            }
            if paths.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        paths
    }

    /// Every content of the tree that a writer will want: of nodes that are linked (and the root), streams and reparse data.
    pub fn contents(&self) -> impl Iterator<Item = (NodeId, &Content)> {
        let linked = self.nodes.iter().enumerate().filter(|(index, node)| *index == 0 || node.links > 0);
        linked.flat_map(|(index, node)| {
            let streams = node.streams.iter().map(|stream| &stream.content);
            let reparse = node.reparse.iter().map(|reparse| &reparse.data);
            streams.chain(reparse).map(move |content| (NodeId(index as u32), content))
        })
    }

    /// Puts the paths that a blob's failure affects in front of its error.
    pub fn blame(&self, store: StoreId, failure: BlobError) -> Error {
        let blobs: HashSet<BlobId> = failure.blobs.into_iter().collect();
        let affected = |content: &Content| matches!(content, Content::Blob { store: s, blob, .. } if *s == store && blobs.contains(blob));
        let paths = self.paths(2, |_, node| {
            node.streams.iter().any(|stream| affected(&stream.content))
                || node.reparse.iter().any(|reparse| affected(&reparse.data))
        });
        match paths.as_slice() {
            [] => failure.error,
            [only] => failure.error.context(only),
            [first, ..] => failure.error.context(format_args!("{first} (and other files)")),
        }
    }
}

fn matches(link: &Link, name: &[u16], case_sensitive: bool) -> bool {
    let same =
        |candidate: &Name| candidate.units() == name || (!case_sensitive && upcase::same(candidate.units(), name));
    same(&link.name) || link.short.as_ref().is_some_and(same)
}

/// What NTFS and Windows can hold as a name: 1 to 255 code units, no separators, NULs or dots alone.
pub(crate) fn check_name(name: &Name) -> Result<()> {
    let units = name.units();
    let slash = |unit: &u16| matches!(*unit, 0 | 0x2F | 0x5C);
    if units.is_empty() || units.len() > 255 {
        return Err(Error::corrupt("length of a file name").found(units.len()).allowed("1 to 255 UTF-16 units"));
    }
    if units.iter().any(slash) || units == [0x2E] || units == [0x2E, 0x2E] {
        return Err(Error::corrupt("file name")
            .found(format_args!("{name:?}"))
            .allowed("no '/', '\\' or NUL, and not '.' or '..'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn link(name: &str, node: NodeId) -> Link {
        Link { name: name.into(), short: None, node }
    }

    fn sample() -> (Tree, NodeId, NodeId) {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let windows = tree.add_node(Node::directory(0, Times::default())).unwrap();
        let file = tree.add_node(Node::file(0, Times::default(), vec![1, 2, 3].into())).unwrap();
        tree.add_link(tree.root(), link("Windows", windows)).unwrap();
        let long = Link { name: "Long name.txt".into(), short: Some("LONGNA~1.TXT".into()), node: file };
        tree.set_children(windows, vec![long, link("other", file)]).unwrap();
        (tree, windows, file)
    }

    #[test]
    fn finds_by_long_and_short_name_without_case() {
        let (tree, _, file) = sample();
        for path in [r"\windows\LONG NAME.txt", "Windows/longna~1.txt", r"Windows\\OTHER"] {
            assert_eq!(tree.find(path), Some(file), "{path}");
        }
        assert_eq!(tree.find(r"Windows\none"), None);
        assert_eq!(tree.read_file(r"Windows\other").unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(tree.node(file).links(), 2);
        assert_eq!(tree.paths(9, |id, _| id == file), [r"\Windows\Long name.txt", r"\Windows\other"]);
    }

    #[test]
    fn one_name_may_serve_as_both() {
        let (mut tree, windows, file) = sample();
        let both = Link { name: "both".into(), short: Some("BOTH".into()), node: file };
        assert!(both.other_short().is_none());
        tree.add_link(windows, both.clone()).unwrap();
        assert!(tree.add_link(windows, both.clone()).is_err());
        let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
        tree.set_children(directory, vec![both]).unwrap();
        assert!(!tree.node(directory).case_sensitive);
    }

    #[test]
    fn refuses_what_is_no_tree() {
        let (mut tree, windows, file) = sample();
        let taken = tree.add_link(windows, link("LONGNA~1.txt", file)).unwrap_err();
        assert_eq!(taken.kind(), Kind::Invalid);
        assert!(tree.add_link(windows, link("loop", windows)).is_err());
        assert!(tree.add_link(windows, link("root", tree.root())).is_err());
        assert!(tree.add_link(file, link("child", file)).is_err());
        for evil in ["", ".", "..", "a/b", "a\\b", "nul\0", &"x".repeat(256)] {
            assert!(tree.add_link(windows, link(evil, file)).is_err(), "{evil:?}");
        }
        let empty = tree.add_node(Node::directory(0, Times::default())).unwrap();
        assert!(tree.set_children(empty, vec![link("twice", file), link("twice", file)]).is_err());
    }

    #[test]
    fn a_short_name_belongs_to_one_file() {
        let (mut tree, _, file) = sample();
        let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
        let long = Link { name: "long name".into(), short: Some("LONGNA~1".into()), node: file };
        let clash = tree.set_children(directory, vec![long, link("longna~1", file)]).unwrap_err();
        assert_eq!(clash.kind(), Kind::Corrupt);
    }

    #[test]
    fn names_that_differ_in_case_only_make_a_directory_case_sensitive() {
        let (mut tree, _, file) = sample();
        let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
        let other = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
        tree.set_children(directory, vec![link("a", file), link("A", other)]).unwrap();
        assert!(tree.node(directory).case_sensitive);
        let found = tree.child(directory, &[0x41]).unwrap();
        assert_eq!(found.node, other);
    }

    #[test]
    fn removing_keeps_counts() {
        let (mut tree, windows, file) = sample();
        assert!(tree.remove_link(tree.root(), &"Windows".encode_utf16().collect::<Vec<_>>()).is_err());
        assert_eq!(tree.remove_link(windows, &"other".encode_utf16().collect::<Vec<_>>()).unwrap(), file);
        assert_eq!(tree.node(file).links(), 1);
        assert_eq!(tree.walk().count(), 2);
    }

    #[test]
    fn removing_a_tree_leaves_other_names() {
        let (mut tree, windows, file) = sample();
        tree.add_link(tree.root(), link("outside", file)).unwrap();
        assert_eq!(tree.remove_tree(tree.root(), Name::from("WINDOWS").units()).unwrap(), 3);
        assert_eq!((tree.node(file).links(), tree.node(windows).links()), (1, 0));
        assert_eq!(tree.walk().count(), 1);
        assert!(tree.remove_tree(tree.root(), Name::from("Windows").units()).is_err());
    }

    #[test]
    fn equal_descriptors_are_one() {
        let (mut tree, ..) = sample();
        assert_eq!(tree.add_descriptor(&[1]), tree.add_descriptor(&[1]));
        assert_ne!(tree.add_descriptor(&[1]), tree.add_descriptor(&[2]));
    }
}
