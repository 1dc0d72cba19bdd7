//! Seeded random trees with everything that a tree can have.

use std::collections::HashSet;
use std::sync::Arc;

use nanovhd::base::{FileTime, Name, upcase};
use nanovhd::tree::{
    Content, ExtendedAttribute, Link, Node, NodeId, Reparse, StoreId, Stream, Times, Tree, attributes,
};

use super::blobs::Scattered;

/// A small generator of numbers (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A self-relative descriptor: owner and group Administrators, one entry with this mask.
pub(crate) fn descriptor(mask: u32) -> Vec<u8> {
    let sid: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
    let mut bytes = vec![1, 0, 4, 0x80];
    for offset in [52u32, 68, 0, 20] {
        bytes.extend(offset.to_le_bytes());
    }
    bytes.extend([2, 0, 32, 0, 1, 0, 0, 0, 0, 0, 24, 0]);
    bytes.extend(mask.to_le_bytes());
    bytes.extend([sid, sid, sid].concat());
    bytes
}

/// The data of a relative symbolic link.
pub(crate) fn symbolic_link(target: &str) -> Vec<u8> {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let len = name.len() as u16;
    let mut data: Vec<u8> = [0, len, len, len].iter().flat_map(|field| field.to_le_bytes()).collect();
    data.extend([1, 0, 0, 0]);
    data.extend([&name[..], &name].concat());
    data
}

/// What a random tree is made with.
pub(crate) struct Maker {
    pub(crate) random: Random,
    pub(crate) tree: Tree,
    pub(crate) store: StoreId,
    cluster: u64,
    blobs: Vec<(nanovhd::tree::BlobId, u64)>,
    object_ids: u64,
    /// Leaves out what is legal but too much for readers: unpaired surrogates, far times, reparse points of no known form.
    pub(crate) tame: bool,
}

impl Maker {
    /// Streams have lengths around the edges of clusters of this size.
    pub(crate) fn new(seed: u64, cluster: u64) -> Self {
        let mut random = Random::new(seed);
        let mut store = Scattered::default();
        let edges = [1, 2, 400, 509, 510, 511, 512, 600, 680, 690, 700, 720, 760, 1024, 4095, 4096, 4097];
        let around = [cluster - 1, cluster, cluster + 1, 3 * cluster - 1, 3 * cluster, 16 * cluster, 70_000];
        let mut blobs = Vec::new();
        for len in edges.into_iter().chain(around) {
            for _ in 0..3 {
                blobs.push((store.add(&random.bytes(len as usize)), len));
            }
        }
        blobs.push((store.add(&[]), 0));
        let mut tree = Tree::new(Node::directory(0x16 & !attributes::DIRECTORY, Times::all(FileTime(1 << 56))));
        let store = tree.add_store(Arc::new(store));
        Self { random, tree, store, cluster, blobs, object_ids: 0, tame: false }
    }

    fn content(&mut self) -> Content {
        let (blob, len) = self.random.pick(&self.blobs);
        match self.random.below(8) {
            0 => Content::empty(),
            1 => {
                let len = self.random.below(2 * self.cluster.min(8192)) as usize;
                self.random.bytes(len).into()
            }
            _ => Content::Blob { store: self.store, blob, len },
        }
    }

    fn name(&mut self, longest: u64) -> Name {
        let alphabets: [&[u16]; 4] = [
            &[0x41, 0x42, 0x43, 0x5F, 0x31],
            &[0x61, 0x42, 0x63, 0x44, 0x65, 0x20, 0x2B, 0x7E],
            &[0xE4, 0xC4, 0xFF, 0x178, 0x3B1, 0x391, 0x10D0, 0x2D00, 0xD83D, 0xDE00, 0xFF41, 0x131],
            &[0x61, 0x41],
        ];
        let mut alphabet = self.random.pick(&alphabets);
        if self.tame && alphabet.contains(&0xD83D) {
            alphabet = &[0xE4, 0xC4, 0xFF, 0x178, 0x3B1, 0x391, 0x10D0, 0x2D00, 0x131];
        }
        let longest = if self.random.one_in(10) { 255 } else { longest };
        let len = 1 + self.random.below(longest);
        (0..len).map(|_| self.random.pick(alphabet)).collect::<Vec<_>>().pipe(Name::new)
    }

    fn times(&mut self) -> Times {
        let tame = self.tame;
        let mut time = || match tame {
            true => FileTime(125_000_000_000_000_000 + self.random.next() % 9_000_000_000_000_000),
            false => FileTime(self.random.next() >> 2),
        };
        Times { created: time(), modified: time(), changed: time(), accessed: time() }
    }

    /// Everything that a file and a directory can both have.
    pub(crate) fn decorate(&mut self, node: &mut Node) {
        node.times = self.times();
        node.attributes = self.random.next() as u32 & 0x2127;
        if self.random.one_in(2) {
            let mask = self.random.below(60) as u32;
            node.descriptor = Some(self.tree.add_descriptor(&descriptor(mask)));
        }
        if self.random.one_in(12) {
            self.object_ids += 1;
            let mut id = self.object_ids.to_be_bytes().repeat(2);
            id.extend(self.random.bytes(if self.random.0 & 1 == 0 { 0 } else { 48 }));
            node.object_id = Some(id.into());
        }
        if self.random.one_in(10) {
            for at in 0..1 + self.random.below(4) {
                let len = self.random.pick(&[0, 1, 5, 300, 5000]);
                let value = self.random.bytes(len).into();
                let flags = self.random.pick(&[0, 0x80]);
                node.extended.push(ExtendedAttribute { flags, name: format!("EA.{at}").into_bytes().into(), value });
            }
        }
        let streams = if self.random.one_in(30) { 40 } else { self.random.below(12).saturating_sub(8) };
        for at in 0..streams {
            let name = Name::from(format!("{}{at}", "s".repeat(self.random.below(40) as usize)).as_str());
            let sparse = self.random.one_in(9);
            let content = if sparse && self.random.one_in(2) {
                vec![0; self.random.below(9 * self.cluster) as usize].into()
            } else {
                self.content()
            };
            node.streams.push(Stream { name, content, sparse });
        }
        if self.tame && !node.is_directory() && self.random.one_in(10) {
            node.reparse = Some(Reparse { tag: 0xA000_000C, data: symbolic_link("some\\where").into() });
            node.streams.retain(|stream| !stream.name.is_empty()); // links have no data, and wimlib takes none from them
        } else if !self.tame && self.random.one_in(10) {
            let third_party = self.random.one_in(3);
            let tag =
                if third_party { 0x0000_0042 } else { self.random.pick(&[0xA000_000C, 0xA000_0003, 0x8000_0013]) };
            let data = if third_party || self.random.one_in(2) {
                let len = self.random.pick(&[16, 20, 700, 16_376]);
                self.random.bytes(len).into()
            } else {
                let small: Vec<_> = self.blobs.iter().filter(|(_, len)| *len <= 4097).copied().collect();
                let (blob, len) = self.random.pick(&small);
                Content::Blob { store: self.store, blob, len }
            };
            node.reparse = Some(Reparse { tag, data });
        }
        self.random.0 |= 1;
    }

    fn file(&mut self) -> Node {
        let content = self.content();
        let mut node = Node::file(0, Times::default(), content);
        if self.random.one_in(20) {
            node.streams.clear();
        }
        self.decorate(&mut node);
        node
    }

    /// Fills a directory with random names, directories below it included.
    pub(crate) fn fill(&mut self, directory: NodeId, count: u64, depth: u32) {
        let mut taken = HashSet::new();
        let mut links: Vec<Link> = Vec::new();
        let mut directories = Vec::new();
        let case_sensitive = self.random.one_in(5);
        self.tree.node_mut(directory).case_sensitive = case_sensitive;
        for _ in 0..count {
            let name = self.name(30);
            let mut free = |name: &Name| {
                let key = if case_sensitive {
                    name.units().to_vec()
                } else {
                    name.units().iter().map(|u| upcase::upcase(*u)).collect()
                };
                name.units().iter().any(|unit| *unit != 0x2E) && taken.insert(key)
            };
            if !free(&name) {
                continue;
            }
            let earlier: Vec<NodeId> =
                links.iter().map(|l| l.node).filter(|n| !self.tree.node(*n).is_directory()).collect();
            let hard = !earlier.is_empty() && self.random.one_in(6);
            let node = if hard {
                self.random.pick(&earlier)
            } else if depth > 0 && self.random.one_in(8) {
                let mut node = Node::directory(0, Times::default());
                self.decorate(&mut node);
                let id = self.tree.add_node(node).unwrap();
                directories.push(id);
                id
            } else {
                let node = self.file();
                self.tree.add_node(node).unwrap()
            };
            // A second short name of a file, or one where case matters, is lost on NTFS: tame trees have none.
            let short = if self.tame && (hard || case_sensitive) {
                None
            } else if name.len() <= 8 && name.units().iter().all(|unit| matches!(*unit, 0x31..0x5B | 0x5F)) {
                self.random.one_in(2).then(|| name.clone())
            } else {
                let short = Name::from(format!("SH{:04}~1.TXT", links.len()).as_str());
                (self.random.one_in(2) && free(&short)).then_some(short)
            };
            links.push(Link { name, short, node });
        }
        self.tree.set_children(directory, links).unwrap();
        for id in directories {
            let count = self.random.pick(&[0, 1, 3, 12, 60]);
            self.fill(id, count, depth - 1);
        }
    }

    /// A file with that many long names in one directory.
    pub(crate) fn many_links(&mut self, count: usize) -> NodeId {
        let node = self.file();
        let file = self.tree.add_node(node).unwrap();
        let directory = self.tree.add_node(Node::directory(0, Times::default())).unwrap();
        let link = |at| Link {
            name: format!("a hard link with quite a long name, number {at:05}").as_str().into(),
            short: None,
            node: file,
        };
        self.tree.set_children(directory, (0..count).map(link).collect()).unwrap();
        let root = self.tree.root();
        self.tree
            .add_link(root, Link { name: format!("{count} links").as_str().into(), short: None, node: directory })
            .unwrap();
        file
    }
}

trait Pipe: Sized {
    fn pipe<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }
}
impl<T> Pipe for T {}

/// A tree of some hundreds of files.
pub(crate) fn random_tree(seed: u64, cluster: u64) -> Tree {
    let mut maker = Maker::new(seed, cluster);
    let root = maker.tree.root();
    maker.fill(root, 120, 3);
    let mut node = maker.tree.node(root).clone();
    if seed.is_multiple_of(2) {
        maker.decorate(&mut node);
        let old = maker.tree.node_mut(root);
        (old.streams, old.descriptor, old.extended) = (node.streams, node.descriptor, node.extended);
    }
    maker.many_links(300);
    maker.tree
}
