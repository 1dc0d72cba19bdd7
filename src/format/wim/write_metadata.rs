//! Metadata resources: from a [`Tree`] to security descriptors and dentries, as DISM lays them out.

use zerocopy::IntoBytes;

use super::ondisk::{Attribute, Dentry, NO_DESCRIPTOR, SecurityHeader, StreamEntry, TaggedItem, tags};
use super::store::Sha1Hash;
use crate::base::bytes::round_up;
use crate::base::{Name, upcase};
use crate::error::{Error, Result};
use crate::tree::{Content, Link, Node, NodeId, Tree, attributes};

/// What the XML says about an image's size.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) directories: u64,
    pub(super) files: u64,
    pub(super) total_bytes: u64,
    pub(super) hard_link_bytes: u64,
}

/// The metadata resource of `tree`; `sha1` knows the hash of each content.
pub(super) fn render(tree: &Tree, sha1: &dyn Fn(&Content) -> Sha1Hash) -> Result<(Vec<u8>, Counts)> {
    let mut writer = Writer {
        tree,
        sha1,
        bytes: Vec::new(),
        descriptors: Vec::new(),
        counts: Counts::default(),
        seen: vec![false; tree.nodes().len()],
    };
    writer.security()?;
    writer.directories()?;
    Ok((writer.bytes, writer.counts))
}

struct Writer<'a> {
    tree: &'a Tree,
    sha1: &'a dyn Fn(&Content) -> Sha1Hash,
    bytes: Vec<u8>,
    /// The security ids of the tree's descriptors.
    descriptors: Vec<u32>,
    counts: Counts,
    /// Nodes with several links of which one was written, by index.
    seen: Vec<bool>,
}

impl Writer<'_> {
    /// The descriptors that are in use.
    fn security(&mut self) -> Result<()> {
        let mut used = vec![false; self.tree.descriptors().len()];
        for (index, node) in self.tree.nodes().iter().enumerate() {
            if let Some(id) = node.descriptor.filter(|_| index == 0 || node.links() > 0) {
                used[id.index()] = true;
            }
        }
        self.descriptors = vec![NO_DESCRIPTOR; used.len()];
        let kept: Vec<usize> = (0..used.len()).filter(|index| used[*index]).collect();
        let mut sizes = Vec::new();
        let mut data = Vec::new();
        for (id, index) in kept.iter().enumerate() {
            let descriptor = &self.tree.descriptors()[*index];
            self.descriptors[*index] = id as u32;
            sizes.extend_from_slice(&(descriptor.len() as u64).to_le_bytes());
            data.extend_from_slice(descriptor);
        }
        let total = round_up((size_of::<SecurityHeader>() + sizes.len() + data.len()) as u64, 8).unwrap_or(u64::MAX);
        let total_length =
            u32::try_from(total).map_err(|_| Error::unsupported("WIM: more than 4 GiB of descriptors"))?;
        let header = SecurityHeader { total_length: total_length.into(), entries: (kept.len() as u32).into() };
        self.bytes = [header.as_bytes(), &sizes, &data].concat();
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    /// The root's dentry, then the children of all directories, parents first.
    fn directories(&mut self) -> Result<()> {
        let root = self.tree.root();
        let unnamed = Link { name: Name::default(), short: None, node: root };
        let root_at = self.dentry(&unnamed)?;
        self.end_directory();
        let mut pending = vec![(root, root_at)];
        while let Some((directory, dentry_at)) = pending.pop() {
            let children_at = self.bytes.len() as u64;
            self.bytes[dentry_at + 16..dentry_at + 24].copy_from_slice(&children_at.to_le_bytes());
            let mut links: Vec<&Link> = self.tree.node(directory).children().iter().collect();
            links.sort_unstable_by(|a, b| upcase::compare(a.name.units(), b.name.units()));
            let first = pending.len();
            for link in links {
                let at = self.dentry(link)?;
                // An empty junction has no list of children, unlike any other empty directory.
                let node = self.tree.node(link.node);
                if node.is_directory() && (node.reparse.is_none() || !node.children().is_empty()) {
                    pending.push((link.node, at));
                }
            }
            pending[first..].reverse();
            self.end_directory();
        }
        Ok(())
    }

    fn end_directory(&mut self) {
        self.bytes.extend_from_slice(&[0; 8]);
    }

    /// A dentry with all that follows it. Returns where it starts.
    fn dentry(&mut self, link: &Link) -> Result<usize> {
        let node = self.tree.node(link.node);
        let start = self.bytes.len();
        self.count(node, link.node);
        let streams = self.streams(node);
        let dentry = Dentry {
            length: 0.into(),
            attributes: file_attributes(node).into(),
            security_id: node.descriptor.map_or(NO_DESCRIPTOR, |id| self.descriptors[id.index()]).into(),
            subdir_offset: 0.into(),
            unused: [0; 16],
            created: node.times.created.0.into(),
            accessed: node.times.accessed.0.into(),
            modified: node.times.modified.0.into(),
            sha1: streams.main.0,
            unknown: 0.into(),
            link_or_reparse: link_or_reparse(node, link)?.into(),
            streams: u16::try_from(streams.entries.len())
                .map_err(|_| Error::unsupported("WIM: number of streams of a file").found(streams.entries.len()))?
                .into(),
            short_bytes: link.short.as_ref().map_or(Ok(0), name_bytes)?.into(),
            name_bytes: name_bytes(&link.name)?.into(),
        };
        self.bytes.extend_from_slice(dentry.as_bytes());
        self.name(&link.name);
        if let Some(short) = &link.short {
            self.name(short);
        }
        self.align();
        self.tagged(node)?;
        let length = (self.bytes.len() - start) as u64;
        self.bytes[start..start + 8].copy_from_slice(&length.to_le_bytes());
        for (name, sha1) in &streams.entries {
            self.stream(name, sha1)?;
        }
        Ok(start)
    }

    fn count(&mut self, node: &Node, id: NodeId) {
        let bytes: u64 = node.streams.iter().map(|stream| stream.content.len()).sum();
        let bytes = bytes + node.reparse.as_ref().map_or(0, |reparse| reparse.data.len());
        self.counts.total_bytes += bytes;
        if node.is_directory() {
            self.counts.directories += 1;
        } else {
            self.counts.files += 1;
        }
        if node.links() > 1 && std::mem::replace(&mut self.seen[id.index()], true) {
            self.counts.hard_link_bytes += bytes;
        }
    }

    fn name(&mut self, name: &Name) {
        if !name.is_empty() {
            self.bytes.extend_from_slice(&name.to_le_bytes());
            self.bytes.extend_from_slice(&[0; 2]);
        }
    }

    /// DISM's rule: a single unnamed stream is named by the dentry; of several streams, all have entries, unnamed ones first,
    /// the reparse point before the data.
    fn streams(&self, node: &Node) -> Streams {
        let reparse = node.reparse.iter().map(|reparse| (Name::default(), (self.sha1)(&reparse.data)));
        let (mut main, mut named) = (Vec::new(), Vec::new());
        for stream in &node.streams {
            let list = if stream.name.is_empty() { &mut main } else { &mut named };
            list.push((stream.name.clone(), (self.sha1)(&stream.content)));
        }
        // A file has a main stream, empty if need be, a directory has none.
        match node.is_directory() {
            true => main.clear(),
            false if main.is_empty() => main.push((Name::default(), Sha1Hash::default())),
            false => {}
        }
        let unnamed: Vec<_> = reparse.chain(main).collect();
        match (unnamed.as_slice(), named.as_slice()) {
            ([], []) => Streams { main: Sha1Hash::default(), entries: Vec::new() },
            ([(_, only)], []) => Streams { main: *only, entries: Vec::new() },
            _ => Streams { main: Sha1Hash::default(), entries: [unnamed, named].concat() },
        }
    }

    fn stream(&mut self, name: &Name, sha1: &Sha1Hash) -> Result<()> {
        let start = self.bytes.len();
        let name_bytes = name_bytes(name)?.into();
        let entry = StreamEntry { length: 0.into(), unused: 0.into(), sha1: sha1.0, name_bytes };
        self.bytes.extend_from_slice(entry.as_bytes());
        self.name(name);
        self.align();
        let length = (self.bytes.len() - start) as u64;
        self.bytes[start..start + 8].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn tagged(&mut self, node: &Node) -> Result<()> {
        if let Some(id) = &node.object_id {
            self.item(tags::OBJECT_ID, id)?;
        }
        if !node.extended.is_empty() {
            let mut item = Vec::new();
            for attribute in &node.extended {
                let too_long =
                    || Error::unsupported("WIM: length of an extended attribute").found(attribute.value.len());
                let head = Attribute {
                    value_bytes: u16::try_from(attribute.value.len()).map_err(|_| too_long())?.into(),
                    name_bytes: u8::try_from(attribute.name.len()).map_err(|_| too_long())?,
                    flags: attribute.flags,
                };
                item.extend_from_slice(head.as_bytes());
                item.extend_from_slice(&attribute.name);
                item.push(0);
                item.extend_from_slice(&attribute.value);
            }
            self.item(tags::EXTENDED_ATTRIBUTES, &item)?;
        }
        Ok(())
    }

    fn item(&mut self, tag: u32, data: &[u8]) -> Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| Error::unsupported("WIM: length of a metadata item"))?;
        self.bytes.extend_from_slice(TaggedItem { tag: tag.into(), length: length.into() }.as_bytes());
        self.bytes.extend_from_slice(data);
        self.align();
        Ok(())
    }
}

struct Streams {
    main: Sha1Hash,
    entries: Vec<(Name, Sha1Hash)>,
}

fn name_bytes(name: &Name) -> Result<u16> {
    let bytes = u16::try_from(name.len()).ok().and_then(|len| len.checked_mul(2));
    bytes.ok_or_else(|| Error::unsupported("WIM: length of a name").found(name.len()).allowed("32767 UTF-16 units"))
}

fn file_attributes(node: &Node) -> u32 {
    let directory = if node.is_directory() { attributes::DIRECTORY } else { 0 };
    let reparse = if node.reparse.is_some() { attributes::REPARSE_POINT } else { 0 };
    match node.attributes & !attributes::REPARSE_POINT | directory | reparse {
        0 => attributes::NORMAL,
        some => some,
    }
}

/// What shares its place in a dentry: the hard link group, here the number of the node, or the reparse tag, with the flag that
/// says that targets are as they are.
fn link_or_reparse(node: &Node, link: &Link) -> Result<u64> {
    match &node.reparse {
        Some(_) if node.links() > 1 => Err(Error::unsupported("WIM: hard links to a reparse point").found(&link.name)),
        Some(reparse) => Ok(u64::from(reparse.tag) | 1 << 48),
        None if node.links() > 1 => Ok(link.node.index() as u64 + 1),
        None => Ok(0),
    }
}
