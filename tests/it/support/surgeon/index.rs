//! Index nodes and their entries.

use std::ops::Range;

use super::{Surgeon, int, kind, put, redo_fixups, undo_fixups, units};

/// Length of an index block.
pub(crate) const BLOCK: usize = 4096;
/// Where the node header stands in a block.
const BLOCK_HEADER: usize = 24;
const ROOT_HEADER: usize = 16;

/// A node of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    /// By its place in $INDEX_ALLOCATION, in blocks.
    Block(usize),
}

/// Which entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'a> {
    /// A file name in a directory, as it is written.
    Name(&'a str),
    /// A key that begins so.
    Bytes(&'a [u8]),
}

impl Key<'_> {
    fn is(&self, key: &[u8]) -> bool {
        match self {
            Key::Name(name) => key.len() > 66 && key[66..] == units(name),
            Key::Bytes(bytes) => key.starts_with(bytes),
        }
    }
}

/// An entry where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    /// In the node, from its header.
    pub(crate) range: Range<usize>,
    directory: u64,
    index: &'static str,
}

impl Entry {
    /// The file reference that it has, in a directory.
    pub(crate) fn reference(&self, volume: &Surgeon) -> u64 {
        int(&volume.node(self.directory, self.index, self.node), self.range.start, 8)
    }
}

/// The entries of a node, the closing one too.
pub(crate) fn entries(node: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = int(node, 0, 4) as usize;
    loop {
        let end = at + int(node, at + 8, 2) as usize;
        found.push(at..end);
        if int(node, at + 12, 2) & 2 == 2 {
            return found;
        }
        at = end;
    }
}

/// The key of an entry.
pub(crate) fn key(entry: &[u8]) -> &[u8] {
    &entry[16..16 + int(entry, 10, 2) as usize]
}

impl Surgeon {
    /// A block of an index, without fixups.
    pub(crate) fn block(&self, record: u64, index: &str, number: usize) -> Vec<u8> {
        let mut block = self.raw_block(record, index, number);
        assert!(block.starts_with(b"INDX"), "no index block {number}");
        undo_fixups(&mut block);
        block
    }

    /// The same as it lies on the volume.
    pub(crate) fn raw_block(&self, record: u64, index: &str, number: usize) -> Vec<u8> {
        self.read_runs(&self.runs(record, kind::INDEX_ALLOCATION, index), number * BLOCK, BLOCK)
    }

    pub(crate) fn put_raw_block(&mut self, record: u64, index: &str, number: usize, raw: &[u8]) {
        self.write_runs(&self.runs(record, kind::INDEX_ALLOCATION, index), number * BLOCK, raw);
    }

    /// Changes a block of an index: `change` sees it without fixups.
    pub(crate) fn edit_block(&mut self, record: u64, index: &str, number: usize, change: impl FnOnce(&mut [u8])) {
        let mut block = self.block(record, index, number);
        change(&mut block);
        redo_fixups(&mut block);
        self.put_raw_block(record, index, number, &block);
    }

    /// A node from its header on.
    pub(crate) fn node(&self, record: u64, index: &str, node: Node) -> Vec<u8> {
        match node {
            Node::Root => self.value(record, kind::INDEX_ROOT, index)[ROOT_HEADER..].to_vec(),
            Node::Block(number) => self.block(record, index, number)[BLOCK_HEADER..].to_vec(),
        }
    }

    /// Changes a node, without changing its length.
    pub(crate) fn edit_node(&mut self, record: u64, index: &str, node: Node, change: impl FnOnce(&mut [u8])) {
        match node {
            Node::Root => {
                let mut value = self.node(record, index, node);
                change(&mut value);
                self.patch(record, kind::INDEX_ROOT, index, ROOT_HEADER, &value);
            }
            Node::Block(number) => self.edit_block(record, index, number, |block| change(&mut block[BLOCK_HEADER..])),
        }
    }

    /// All nodes of an index that are in use, the root first.
    pub(crate) fn nodes(&self, record: u64, index: &str) -> Vec<Node> {
        let mut nodes = vec![Node::Root];
        if self.attributes(record).iter().any(|a| a.kind == kind::INDEX_ALLOCATION && a.name == index) {
            let blocks = self.size(record, kind::INDEX_ALLOCATION, index) / BLOCK as u64;
            let used = (0..blocks).filter(|block| self.bit(record, kind::BITMAP, index, *block));
            nodes.extend(used.map(|block| Node::Block(block as usize)));
        }
        nodes
    }

    /// Whether a node has no children.
    pub(crate) fn is_leaf(&self, record: u64, index: &str, node: Node) -> bool {
        int(&self.node(record, index, node), 12, 4) & 1 == 0
    }

    /// The leaves of an index that are blocks.
    pub(crate) fn leaves(&self, record: u64, index: &str) -> Vec<usize> {
        let leaf = |node| match node {
            Node::Block(number) if self.is_leaf(record, index, node) => Some(number),
            _ => None,
        };
        self.nodes(record, index).into_iter().filter_map(leaf).collect()
    }

    /// The entry with that key in a view index.
    #[track_caller]
    pub(crate) fn view_entry(&self, record: u64, index: &'static str, wanted: Key<'_>) -> Entry {
        for node in self.nodes(record, index) {
            let bytes = self.node(record, index, node);
            for range in entries(&bytes) {
                let entry = &bytes[range.clone()];
                if int(entry, 12, 2) & 2 == 0 && wanted.is(key(entry)) {
                    return Entry { node, range, directory: record, index };
                }
            }
        }
        panic!("record {record} {index} has no entry {wanted:?}")
    }

    /// The entry of a directory.
    #[track_caller]
    pub(crate) fn entry(&self, directory: u64, wanted: Key<'_>) -> Entry {
        self.view_entry(directory, "$I30", wanted)
    }

    /// Changes bytes of an entry of a directory.
    #[track_caller]
    pub(crate) fn patch_entry(&mut self, directory: u64, wanted: Key<'_>, at: usize, bytes: &[u8]) {
        let entry = self.entry(directory, wanted);
        self.patch_entry_at(&entry, at, bytes);
    }

    /// Changes bytes of an entry.
    pub(crate) fn patch_entry_at(&mut self, entry: &Entry, at: usize, bytes: &[u8]) {
        let start = entry.range.start + at;
        self.edit_node(entry.directory, entry.index, entry.node, |node| {
            node[start..start + bytes.len()].copy_from_slice(bytes);
        });
    }

    /// The bytes of an entry.
    pub(crate) fn entry_bytes(&self, entry: &Entry) -> Vec<u8> {
        self.node(entry.directory, entry.index, entry.node)[entry.range.clone()].to_vec()
    }

    /// Takes an entry out of a leaf (or of a root without children), and gives it back.
    #[track_caller]
    pub(crate) fn remove_entry(&mut self, entry: &Entry) -> Vec<u8> {
        let bytes = self.entry_bytes(entry);
        self.splice_node(entry, entry.range.clone(), &[]);
        bytes
    }

    /// Puts `new` before an entry of a leaf (or of a root without children).
    #[track_caller]
    pub(crate) fn insert_entry(&mut self, before: &Entry, new: &[u8]) {
        self.splice_node(before, before.range.start..before.range.start, new);
    }

    #[track_caller]
    fn splice_node(&mut self, entry: &Entry, place: Range<usize>, new: &[u8]) {
        let (record, index, at) = (entry.directory, entry.index, entry.node);
        let mut node = self.node(record, index, at);
        assert_eq!(int(&node, 12, 4) & 1, 0, "an entry that has children");
        let used = int(&node, 4, 4) as usize;
        let now = used + new.len() - place.len();
        node.truncate(used);
        node.splice(place, new.iter().copied());
        put(&mut node, 4, 4, now as u64);
        match at {
            Node::Root => {
                put(&mut node, 8, 4, now as u64);
                let mut value = self.value(record, kind::INDEX_ROOT, index)[..ROOT_HEADER].to_vec();
                value.extend(node);
                self.set_value(record, kind::INDEX_ROOT, index, &value);
            }
            Node::Block(number) => {
                node.resize(BLOCK - BLOCK_HEADER, 0);
                assert!(now <= node.len(), "no room in the block");
                self.edit_block(record, index, number, |block| block[BLOCK_HEADER..].copy_from_slice(&node));
            }
        }
    }

    /// The closing entry of a node.
    pub(crate) fn end_entry(&self, record: u64, index: &'static str, node: Node) -> Entry {
        let range = entries(&self.node(record, index, node)).pop().expect("a closing entry");
        Entry { node, range, directory: record, index }
    }

    /// Entry number `at` of a node.
    pub(crate) fn entry_of(&self, record: u64, index: &'static str, node: Node, at: usize) -> Entry {
        let range = entries(&self.node(record, index, node)).swap_remove(at);
        Entry { node, range, directory: record, index }
    }
}
