//! B+trees of index entries: `$I30` of directories, and the views of system files.

use std::cmp::Ordering;

use zerocopy::FromBytes;

use super::attributes::{self, Attribute, Extents, Stream, units};
use super::context::{Context, NAME_AT};
use super::record::fix_up;
use crate::base::bytes::{u16_at, u32_at};
use crate::base::upcase;
use crate::format::ntfs::ondisk::{
    BlockHeader, INDEX_BLOCK, IndexEntry, IndexRoot, NodeHeader, collation, entry_flag, kind,
};
use crate::verify::{Finding, Rule};

/// Deeper than an index of 2^32 entries with two in each block is not.
const DEEPEST: usize = 32;
/// Where the node begins in a block, and where its update sequence does.
const NODE: usize = size_of::<BlockHeader>();
const USA: usize = 40;
/// Indexes up to this length are read in one go; of longer ones each block by itself.
const WHOLE: u64 = 16 << 20;
/// Longest bitmap of an index: that of blocks all over the largest volume would be longer, but no directory is.
const MAX_BITMAP: u64 = 64 << 20;

/// What an index is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    /// The type of the attribute that is indexed; 0 for a view.
    pub(super) kind: u32,
    /// `None` for any.
    pub(super) collation: Option<u32>,
}

impl Wanted {
    /// The index of a directory.
    pub(super) const DIRECTORY: Self =
        Self { name: "$I30", kind: kind::FILE_NAME, collation: Some(collation::FILE_NAME) };

    /// A view.
    pub(super) const fn view(name: &'static str, collation: u32) -> Self {
        Self { name, kind: 0, collation: Some(collation) }
    }
}

/// An entry with a key.
pub(super) struct Entry<'a> {
    /// The file in directories.
    pub(super) reference: u64,
    pub(super) key: &'a [u8],
    /// Of entries of views.
    pub(super) data: &'a [u8],
    /// Its offset in the volume, where it is known.
    pub(super) at: Option<u64>,
}

/// Shows every entry of an index in order, and checks its form on the way.
///
/// Says whether all of it was seen, so that what was not seen is not there.
pub(super) fn walk(
    context: &mut Context<'_>,
    record: u32,
    attributes: &[Attribute<'_>],
    wanted: Wanted,
    visit: &mut dyn FnMut(&mut Context<'_>, &Entry<'_>),
) -> bool {
    let Some(root) = attributes::find(attributes, kind::INDEX_ROOT, wanted.name) else { return false };
    let Some(value) = root.resident() else { return false };
    let mut walk = Walk {
        context,
        record,
        wanted,
        order: wanted.collation.unwrap_or_default(),
        blocks: None,
        visited: Vec::new(),
        last: None,
        leaf_depth: None,
        whole: true,
        disordered: false,
        visit,
    };
    walk.find_blocks(attributes);
    walk.root(root, value);
    walk.bitmap(attributes);
    walk.whole
}

/// The blocks of an index.
struct Blocks {
    extents: Extents,
    /// All of them, if they are few.
    bytes: Option<Vec<u8>>,
}

struct Walk<'w, 'c> {
    context: &'w mut Context<'c>,
    record: u32,
    wanted: Wanted,
    /// The collation that counts.
    order: u32,
    blocks: Option<Blocks>,
    /// One bit for each block.
    visited: Vec<u64>,
    last: Option<Vec<u8>>,
    leaf_depth: Option<usize>,
    whole: bool,
    disordered: bool,
    visit: &'w mut dyn FnMut(&mut Context<'_>, &Entry<'_>),
}

/// Where a node is: what to call it, and its first byte's offset in the volume.
#[derive(Clone, Copy)]
struct Node {
    /// `None` for the root.
    vcn: Option<u64>,
    at: Option<u64>,
    depth: usize,
}

impl Node {
    fn offset(&self, within: usize) -> Option<u64> {
        self.at.map(|at| at + within as u64)
    }
}

impl Walk<'_, '_> {
    fn fault(&mut self, rule: Rule, kind: u32, node: Option<Node>, at: Option<u64>, found: String, allowed: &str) {
        let mut part = format!("{}:{}", super::kinds::name(kind), self.wanted.name);
        if let Some(vcn) = node.and_then(|node| node.vcn) {
            part = format!("{part}, block {vcn}");
        }
        let mut finding = Finding::new(rule, found).allowed(allowed).part(part).record(u64::from(self.record));
        finding.place.offset = at;
        self.context.add(finding);
    }

    /// A fault that leaves a part of the index unseen.
    fn broken(&mut self, rule: Rule, node: Node, within: usize, found: String, allowed: &str) {
        self.whole = false;
        let kind = if node.vcn.is_some() { kind::INDEX_ALLOCATION } else { kind::INDEX_ROOT };
        self.fault(rule, kind, Some(node), node.offset(within), found, allowed);
    }

    fn find_blocks(&mut self, attributes: &[Attribute<'_>]) {
        let Some(Stream::NonResident(extents)) =
            self.context.volume.stream(attributes, kind::INDEX_ALLOCATION, self.wanted.name)
        else {
            return;
        };
        let geometry = self.context.volume.geometry;
        if extents.has_holes()
            || extents.clusters() > geometry.clusters
            || extents.clusters() * geometry.cluster < extents.size
        {
            self.whole = false;
            let (found, allowed) = ("holes, or fewer clusters than bytes".to_owned(), "clusters for all blocks");
            return self.fault(Rule::IndexBlock, kind::INDEX_ALLOCATION, None, None, found, allowed);
        }
        if !extents.size.is_multiple_of(INDEX_BLOCK as u64) {
            let found = format!("{} bytes", extents.size);
            self.fault(Rule::IndexBlock, kind::INDEX_ALLOCATION, None, None, found, "whole blocks of 4096 bytes");
        }
        let count = extents.size / INDEX_BLOCK as u64;
        self.visited = vec![0; count.div_ceil(64) as usize];
        let bytes = if extents.size <= WHOLE {
            let mut bytes = vec![0; extents.size as usize];
            self.context.volume.read_stream(&extents, 0, &mut bytes).is_ok().then_some(bytes)
        } else {
            None
        };
        self.blocks = Some(Blocks { extents, bytes });
    }

    fn root(&mut self, root: &Attribute<'_>, value: &[u8]) {
        // Offsets are in the volume: of the record, the attribute and its value.
        let holder = if root.holder == 0 { self.record } else { root.holder };
        let header_len = if root.name.is_empty() { 24 } else { (24 + root.name.len()).next_multiple_of(8) };
        let at = self.context.volume.record_offset(holder).map(|at| at + (root.at + header_len) as u64);
        let node = Node { vcn: None, at, depth: 0 };
        let Ok((header, rest)) = IndexRoot::read_from_prefix(value) else {
            return self.broken(Rule::IndexRoot, node, 0, format!("{} bytes", value.len()), "32 at least");
        };
        let units = INDEX_BLOCK as u64 / self.context.volume.geometry.index_unit();
        let wanted = self.wanted;
        let mut wrong = |at: usize, found: String, allowed: String| {
            self.fault(Rule::IndexRoot, kind::INDEX_ROOT, None, node.offset(at), found, &allowed);
        };
        if header.kind.get() != wanted.kind {
            wrong(0, format!("of attribute {:#x}", header.kind.get()), format!("{:#x}", wanted.kind));
        }
        let order = header.collation.get();
        if let Some(collation) = wanted.collation.filter(|collation| order != *collation) {
            wrong(4, format!("collation {order:#x}"), format!("{collation:#x}"));
        }
        if header.block_size.get() as usize != INDEX_BLOCK {
            wrong(8, format!("blocks of {} bytes", header.block_size.get()), "4096".to_owned());
        }
        if u64::from(header.units_per_block) != units {
            wrong(12, format!("{} clusters or sectors in a block", header.units_per_block), units.to_string());
        }
        if header_reserved(value, 13) {
            wrong(13, "reserved bytes in use".to_owned(), "zeros".to_owned());
        }
        if wanted.collation.is_none() {
            self.order = order;
        }
        self.node(rest, Node { at: node.offset(size_of::<IndexRoot>()), ..node });
    }

    /// A node with its header, and all below it.
    fn node(&mut self, bytes: &[u8], node: Node) {
        let is_root = node.vcn.is_none();
        let rule = if is_root { Rule::IndexRoot } else { Rule::IndexBlock };
        let Ok((header, _)) = NodeHeader::read_from_prefix(bytes) else {
            return self.broken(rule, node, 0, format!("a node of {} bytes", bytes.len()), "16 at least");
        };
        let (first, used, allocated) =
            (header.entries_offset.get() as usize, header.used.get() as usize, header.allocated.get() as usize);
        // Behind the header in a root; in a block behind the update sequence, of which the format leaves room for more.
        let least = if is_root { size_of::<NodeHeader>() } else { USA - NODE + 2 * (INDEX_BLOCK / 512 + 1) };
        if allocated != bytes.len() {
            self.fault(
                rule,
                if is_root { kind::INDEX_ROOT } else { kind::INDEX_ALLOCATION },
                Some(node),
                node.offset(8),
                format!("{allocated} bytes allocated"),
                &format!("{}", bytes.len()),
            );
        }
        if first < least || !first.is_multiple_of(8) || used > bytes.len() || first > used || is_root && first != least
        {
            return self.broken(
                rule,
                node,
                0,
                format!("entries from {first} to {used} of {}", bytes.len()),
                "inside of the node",
            );
        }
        if header_reserved(bytes, 13) {
            let kind = if is_root { kind::INDEX_ROOT } else { kind::INDEX_ALLOCATION };
            let found = "reserved bytes of the node in use".to_owned();
            self.fault(rule, kind, Some(node), node.offset(13), found, "zeros");
        }
        let children = match header.flags.get() {
            0 => false,
            1 => true,
            other => return self.broken(Rule::IndexShape, node, 12, format!("flags {other:#x}"), "0 or 1"),
        };
        if !children {
            let depth = *self.leaf_depth.get_or_insert(node.depth);
            if depth != node.depth {
                let found = format!("a leaf at depth {}, others at {depth}", node.depth);
                let at = node.offset(12);
                self.fault(Rule::IndexShape, kind::INDEX_ALLOCATION, Some(node), at, found, "leaves of one depth");
            }
        }
        self.entries(&bytes[..used], first, children, node);
    }

    fn entries(&mut self, bytes: &[u8], first: usize, children: bool, node: Node) {
        let mut at = first;
        loop {
            let entry = match parse_entry(bytes, at) {
                Ok(entry) => entry,
                Err(found) => {
                    return self.broken(Rule::IndexEntry, node, at, found, "whole entries, the last one without a key");
                }
            };
            if entry.child.is_some() != children {
                let found = if children {
                    "an entry without a child in an inner node"
                } else {
                    "an entry with a child in a leaf"
                };
                let rule = Rule::IndexShape;
                return self.broken(rule, node, at + 12, found.to_owned(), "children as the node's flag says");
            }
            if let Some(vcn) = entry.child {
                self.child(vcn, node, at);
            }
            if entry.is_end {
                let end = at + entry.len;
                if end != bytes.len() {
                    let found = format!("the last entry ends at {end}, and {} bytes are in use", bytes.len());
                    self.broken(Rule::IndexEntry, node, at, found, "the end of the node");
                }
                return;
            }
            match self.wanted.kind {
                0 => self.view_entry(bytes, at, &entry, node),
                _ => self.name_entry(bytes, at, &entry, node),
            }
            at += entry.len;
        }
    }

    fn name_entry(&mut self, bytes: &[u8], at: usize, entry: &Parsed<'_>, node: Node) {
        let expected = (size_of::<IndexEntry>() + entry.key.len()).next_multiple_of(8) + entry.child_len();
        if entry.len != expected {
            let found = format!("{} bytes for a key of {}", entry.len, entry.key.len());
            self.broken(Rule::IndexEntry, node, at + 8, found, &expected.to_string());
        }
        let name_len = entry.key.get(64).map_or(0, |len| 2 * usize::from(*len));
        if entry.key.len() < NAME_AT || entry.key.len() != NAME_AT + name_len || name_len == 0 {
            let found = format!("a key of {} bytes", entry.key.len());
            return self.broken(Rule::IndexEntry, node, at + 10, found, "66 and the name");
        }
        let reference = crate::base::bytes::u64_at(bytes, at).unwrap_or(0);
        self.show(Entry { reference, key: entry.key, data: &[], at: node.offset(at) });
    }

    fn view_entry(&mut self, bytes: &[u8], at: usize, entry: &Parsed<'_>, node: Node) {
        let (offset, len) = (u16_at(bytes, at).map_or(0, usize::from), u16_at(bytes, at + 2).map_or(0, usize::from));
        let key_end = size_of::<IndexEntry>() + entry.key.len();
        let end = entry.len - entry.child_len();
        let data = bytes
            .get(at + offset..at + offset + len)
            .filter(|_| offset + len <= end && (len == 0 || offset >= key_end));
        let Some(data) = data else {
            let found = format!("{len} bytes of data at {offset} in an entry of {}", entry.len);
            return self.broken(Rule::IndexEntry, node, at, found, "behind the key, inside of the entry");
        };
        let expected = key_end.max(if len == 0 { 0 } else { offset + len }).next_multiple_of(8) + entry.child_len();
        if entry.len != expected {
            let found = format!("{} bytes for a key up to {key_end} and {len} bytes of data at {offset}", entry.len);
            self.broken(Rule::IndexEntry, node, at + 8, found, &expected.to_string());
        }
        self.show(Entry { reference: 0, key: entry.key, data, at: node.offset(at) });
    }

    fn show(&mut self, entry: Entry<'_>) {
        let in_order = self.last.as_ref().is_none_or(|last| compare(self.order, last, entry.key).is_lt());
        if !in_order && !self.disordered {
            self.disordered = true;
            let found = format!(
                "{} after {}",
                key_text(self.order, entry.key),
                key_text(self.order, self.last.as_deref().unwrap_or_default())
            );
            self.fault(Rule::IndexOrder, kind::INDEX_ROOT, None, entry.at, found, "keys that ascend");
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(entry.key);
        (self.visit)(self.context, &entry);
    }

    fn child(&mut self, vcn: u64, parent: Node, at: usize) {
        let unit = self.context.volume.geometry.index_unit();
        let offset = vcn.checked_mul(unit).filter(|offset| offset.is_multiple_of(INDEX_BLOCK as u64));
        let count = self.blocks.as_ref().map_or(0, |blocks| blocks.extents.size / INDEX_BLOCK as u64);
        let Some(offset) = offset.filter(|offset| offset / (INDEX_BLOCK as u64) < count) else {
            let found = format!("a child at VCN {}", vcn as i64);
            return self.broken(Rule::IndexShape, parent, at, found, &format!("one of {count} blocks"));
        };
        let index = offset / INDEX_BLOCK as u64;
        let (word, bit) = ((index / 64) as usize, 1 << (index % 64));
        if self.visited[word] & bit != 0 {
            return self.broken(
                Rule::IndexShape,
                parent,
                at,
                format!("block {vcn}, which hangs in the index already"),
                "each block once",
            );
        }
        self.visited[word] |= bit;
        if parent.depth == DEEPEST {
            return self.broken(Rule::IndexShape, parent, at, format!("more than {DEEPEST} levels"), "fewer");
        }
        let position = self.position(offset);
        let node = Node { vcn: Some(vcn), at: position.map(|at| at + NODE as u64), depth: parent.depth + 1 };
        let Some(mut block) = self.read_block(offset) else {
            return self.broken(Rule::IndexBlock, node, 0, "it cannot be read".to_owned(), "blocks that can be read");
        };
        if !block.starts_with(b"INDX") {
            let found = format!("{:?}", block[..4].escape_ascii().to_string());
            return self.broken(Rule::IndexBlock, node, 0, found, "\"INDX\"");
        }
        if let Err((_, found)) = fix_up(&mut block, &[USA]) {
            return self.broken(Rule::Fixup, node, 0, found, "strides that end with the update sequence number");
        }
        let Ok((header, rest)) = BlockHeader::read_from_prefix(&block) else { return };
        if header.vcn.get() != vcn {
            return self.broken(
                Rule::IndexBlock,
                node,
                0,
                format!("it says that it is block {}", header.vcn.get()),
                &vcn.to_string(),
            );
        }
        self.node(rest, node);
    }

    fn read_block(&self, offset: u64) -> Option<Vec<u8>> {
        let blocks = self.blocks.as_ref()?;
        if let Some(bytes) = &blocks.bytes {
            return Some(bytes.get(offset as usize..)?.get(..INDEX_BLOCK)?.to_vec());
        }
        let mut block = vec![0; INDEX_BLOCK];
        self.context.volume.read_stream(&blocks.extents, offset, &mut block).ok()?;
        Some(block)
    }

    /// Where in the volume an offset of the blocks' stream is.
    fn position(&self, offset: u64) -> Option<u64> {
        let geometry = self.context.volume.geometry;
        let runs = &self.blocks.as_ref()?.extents.runs;
        let vcn = offset / geometry.cluster;
        let run = runs.get(runs.partition_point(|run| run.end() <= vcn))?;
        Some(geometry.offset(run.lcn? + (vcn - run.vcn)) + offset % geometry.cluster)
    }

    /// The bitmap of the index against the blocks that hang in it.
    fn bitmap(&mut self, attributes: &[Attribute<'_>]) {
        let stream = self.context.volume.stream(attributes, kind::BITMAP, self.wanted.name);
        let count = self.blocks.as_ref().map_or(0, |blocks| blocks.extents.size / INDEX_BLOCK as u64);
        let Some(stream) = stream else {
            if count > 0 {
                self.wrong_bitmap("none".to_owned(), "a bit for each block");
            }
            return;
        };
        let size = stream.size();
        if size.saturating_mul(8) < count || !size.is_multiple_of(8) {
            self.wrong_bitmap(format!("{size} bytes for {count} blocks"), "a multiple of 8, with a bit for each block");
        }
        let bits = match self.context.volume.value(&stream, MAX_BITMAP) {
            Ok(bits) => bits,
            Err(error) => return self.wrong_bitmap(error.to_string(), "a bitmap that can be read"),
        };
        if !self.whole {
            return;
        }
        let units = INDEX_BLOCK as u64 / self.context.volume.geometry.index_unit();
        let first = (0..size * 8).find_map(|block| {
            let marked = bits[(block / 8) as usize] >> (block % 8) & 1 == 1;
            let visited = self.visited.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1);
            (marked != visited).then_some((block, marked))
        });
        match first {
            Some((block, true)) => {
                let found = format!("block {} is marked, and does not hang in the index", block * units);
                self.wrong_bitmap(found, "a clear bit");
            }
            Some((block, false)) => {
                let found = format!("block {} hangs in the index, and is not marked", block * units);
                self.wrong_bitmap(found, "a set bit");
            }
            None => {}
        }
    }

    fn wrong_bitmap(&mut self, found: String, allowed: &str) {
        self.fault(Rule::IndexBitmap, kind::BITMAP, None, None, found, allowed);
    }
}

/// Whether the three bytes from there on, which are reserved, are used.
fn header_reserved(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 3).is_some_and(|reserved| *reserved != [0; 3])
}

/// An entry by its header.
struct Parsed<'a> {
    len: usize,
    key: &'a [u8],
    child: Option<u64>,
    is_end: bool,
}

impl Parsed<'_> {
    fn child_len(&self) -> usize {
        if self.child.is_some() { 8 } else { 0 }
    }
}

fn parse_entry(bytes: &[u8], at: usize) -> Result<Parsed<'_>, String> {
    let header = bytes.get(at..).and_then(|rest| IndexEntry::read_from_prefix(rest).ok());
    let Some((header, _)) = header else {
        return Err(format!("no last entry before the node ends at {}", bytes.len()));
    };
    let (len, key_len, flags) = (usize::from(header.len.get()), usize::from(header.key_len.get()), header.flags.get());
    let Some(entry) = bytes.get(at..at + len).filter(|_| len >= size_of::<IndexEntry>() && len.is_multiple_of(8))
    else {
        return Err(format!("an entry of {len} bytes, {} before the node ends", bytes.len() - at));
    };
    let (has_child, is_end) = (flags & entry_flag::HAS_CHILD != 0, flags & entry_flag::END != 0);
    if flags & !(entry_flag::HAS_CHILD | entry_flag::END) != 0 {
        return Err(format!("flags {flags:#x}"));
    }
    if u16_at(entry, 14) != Some(0) {
        return Err(format!("{:#x} in a reserved field", u16_at(entry, 14).unwrap_or(0)));
    }
    let child_len = if has_child { 8 } else { 0 };
    let room = len
        .checked_sub(size_of::<IndexEntry>() + child_len)
        .ok_or_else(|| format!("an entry of {len} bytes with a child"))?;
    if key_len > room || is_end && (key_len != 0 || room != 0) || !is_end && key_len == 0 {
        let what = if is_end { "a last entry" } else { "an entry" };
        return Err(format!("{what} of {len} bytes with a key of {key_len}"));
    }
    let key = &entry[size_of::<IndexEntry>()..size_of::<IndexEntry>() + key_len];
    let child = if has_child { crate::base::bytes::u64_at(entry, len - 8) } else { None };
    Ok(Parsed { len, key, child, is_end })
}

/// The order of two keys.
fn compare(order: u32, a: &[u8], b: &[u8]) -> Ordering {
    let word = |key: &[u8], at: usize| u32_at(key, at);
    match order {
        collation::FILE_NAME => {
            upcase::compare(&units(a.get(NAME_AT..).unwrap_or_default()), &units(b.get(NAME_AT..).unwrap_or_default()))
        }
        collation::ULONG => word(a, 0).cmp(&word(b, 0)),
        collation::SECURITY_HASH => (word(a, 0), word(a, 4)).cmp(&(word(b, 0), word(b, 4))),
        collation::ULONGS => words(a).cmp(words(b)),
        // Identifiers differ; how Windows orders them is not known, as volumes have one or two.
        _ if a == b => Ordering::Equal,
        _ => Ordering::Less,
    }
}

fn words(key: &[u8]) -> impl Iterator<Item = u32> {
    key.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// A key in words.
fn key_text(order: u32, key: &[u8]) -> String {
    match order {
        collation::FILE_NAME => {
            format!("{:?}", crate::base::Name::from_le_bytes(key.get(NAME_AT..).unwrap_or_default()))
        }
        _ => words(key).map(|word| format!("{word:x}")).collect::<Vec<_>>().join("-"),
    }
}
