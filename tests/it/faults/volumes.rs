//! Good volumes: what the faults are put into.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use nanovhd::base::{FileTime, MemoryDisk, Name};
use nanovhd::codec::xpress;
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::{Content, ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes};

use crate::support::random_tree::{Random, descriptor, symbolic_link};
use crate::support::surgeon::Surgeon;
use crate::support::tools::Tools;
use crate::support::volume::Volume;

/// How many files there are in `\many`.
pub(super) const MANY: usize = 420;
/// How many names the file in `\links` has: more than its record can hold.
pub(super) const LINKS: usize = 40;
/// How many descriptors of nearly 64 KiB there are: more than a block of $SDS can hold.
const LARGE_DESCRIPTORS: u32 = 6;

const WOF_TAG: u32 = 0x8000_0017;
/// Length of the file that the overlay filter keeps.
pub(super) const WOF_LEN: usize = 30_000;
/// The chunks of XPRESS4K.
pub(super) const WOF_CHUNK: usize = 4096;

/// A volume of our own writer, with one of everything.
pub(crate) fn ours(cluster_size: u32, sector_size: u32) -> Surgeon {
    let tree = everything();
    let options = Options {
        cluster_size,
        sector_size,
        serial: 0x1234_5678,
        label: "faults".into(),
        hidden_sectors: 2048,
        ..Options::default()
    };
    // So that $Bitmap has bits after the last cluster, and some sectors are left over.
    let spare = 37 * u64::from(cluster_size.max(4096));
    let len = (Plan::needed(&tree, &options).unwrap() + spare).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0);
    let threads = NonZeroUsize::new(2).unwrap();
    Plan::new(&tree, len, &options).unwrap().write(&tree, &disk, threads, &|_| {}).unwrap();
    let volume = Surgeon::new(disk.into_bytes());
    assert_ne!(volume.clusters() % 64, 0, "no bits after the last cluster");
    volume
}

struct Maker {
    tree: Tree,
    random: Random,
    clock: u64,
}

impl Maker {
    fn times(&mut self) -> Times {
        self.clock += 10_000_000;
        let at = |more| FileTime(self.clock + more);
        Times { created: at(0), modified: at(1), changed: at(2), accessed: at(3) }
    }

    fn noise(&mut self, len: usize) -> Content {
        self.random.bytes(len).into()
    }

    fn directory(&mut self, parent: NodeId, name: &str) -> NodeId {
        let times = self.times();
        self.add(parent, name, None, Node::directory(0, times))
    }

    fn file(&mut self, parent: NodeId, name: &str, content: Content) -> NodeId {
        let node = self.node(content);
        self.add(parent, name, None, node)
    }

    fn node(&mut self, content: Content) -> Node {
        let times = self.times();
        Node::file(attributes::ARCHIVE, times, content)
    }

    fn add(&mut self, parent: NodeId, name: &str, short: Option<&str>, node: Node) -> NodeId {
        let id = self.tree.add_node(node).unwrap();
        self.tree.add_link(parent, Link { name: name.into(), short: short.map(Name::from), node: id }).unwrap();
        id
    }
}

/// One of everything that a tree can have.
fn everything() -> Tree {
    let tree = Tree::new(Node::directory(attributes::HIDDEN | attributes::SYSTEM, Times::all(FileTime(1 << 56))));
    let mut maker = Maker { tree, random: Random::new(5), clock: 130_000_000_000_000_000 };
    let root = maker.tree.root();
    let content = maker.noise(20_000);
    maker.file(root, "plain.bin", content);
    names(&mut maker, root);
    streams(&mut maker, root);
    attached(&mut maker, root);
    overlay(&mut maker, root);
    descriptors(&mut maker, root);
    maker.tree
}

/// Directories of two levels, pairs of names, hard links, names that differ in case only.
fn names(maker: &mut Maker, root: NodeId) {
    let many = maker.directory(root, "many");
    for at in 0..MANY {
        let node = maker.node(vec![at as u8; 10].into());
        let id = maker.tree.add_node(node).unwrap();
        maker
            .tree
            .add_link(many, Link { name: format!("name {at:05}").as_str().into(), short: None, node: id })
            .unwrap();
    }
    let pair = maker.directory(root, "pair");
    let node = maker.node(vec![1; 100].into());
    maker.add(pair, "long name with a short one.txt", Some("LONGNA~1.TXT"), node);
    let node = maker.node(vec![2; 100].into());
    maker.add(pair, "ZBOTH.TXT", Some("ZBOTH.TXT"), node);
    let both = maker.directory(pair, "zz one");
    let other = maker.directory(pair, "zz other");
    let apart = maker.file(both, "Apart.txt", vec![3; 100].into());
    maker.tree.add_link(other, Link { name: "APART.TXT".into(), short: None, node: apart }).unwrap();
    let links = maker.directory(root, "links");
    let node = maker.node(vec![4; 100].into());
    let linked = maker.tree.add_node(node).unwrap();
    for at in 0..LINKS {
        let name = format!("a hard link with quite a long name {at:03}");
        maker.tree.add_link(links, Link { name: name.as_str().into(), short: None, node: linked }).unwrap();
    }
    let deep = maker.directory(root, "deep");
    let er = maker.directory(deep, "er");
    maker.file(er, "only", vec![5; 100].into());
    maker.directory(root, "empty");
    let case = maker.directory(root, "case");
    maker.tree.node_mut(case).case_sensitive = true;
    maker.file(case, "A", vec![6; 10].into());
    maker.file(case, "a", vec![7; 10].into());
}

/// Named streams, sparse ones, more than a record can hold.
fn streams(maker: &mut Maker, root: NodeId) {
    let mut node = maker.node(vec![8; 50].into());
    for (name, len) in [("first", 30), ("large", 50_000), ("second", 40)] {
        node.streams.push(Stream { name: name.into(), content: maker.noise(len), sparse: false });
    }
    maker.add(root, "streams", None, node);
    let mut node = maker.node(vec![9; 50].into());
    for at in 0..40 {
        let name = format!("stream number {at:03}");
        node.streams.push(Stream { name: name.as_str().into(), content: maker.noise(100), sparse: false });
    }
    maker.add(root, "many streams", None, node);
    let mut node = maker.node(Content::empty());
    node.streams = vec![Stream { name: Name::default(), content: vec![0; 300_000].into(), sparse: true }];
    maker.add(root, "sparse", None, node);
}

/// Reparse points, object ids, extended attributes.
fn attached(maker: &mut Maker, root: NodeId) {
    for (name, target) in [("link one", "plain.bin"), ("link two", "many")] {
        let mut node = maker.node(Content::empty());
        node.streams.clear();
        node.reparse = Some(Reparse { tag: 0xA000_000C, data: symbolic_link(target).into() });
        maker.add(root, name, None, node);
    }
    let mut node = maker.node(vec![10; 10].into());
    node.reparse = Some(Reparse { tag: 0x0000_0042, data: maker.noise(9000) });
    maker.add(root, "third party", None, node);
    for (name, len) in [("object one", 16), ("object two", 64)] {
        let mut node = maker.node(vec![11; 10].into());
        node.object_id = Some(maker.random.bytes(len).into());
        maker.add(root, name, None, node);
    }
    for (name, len) in [("extended", 20), ("extended more", 5000)] {
        let mut node = maker.node(vec![12; 10].into());
        for (flags, name) in [(0, "FIRST"), (0x80, "SECOND")] {
            let value = maker.random.bytes(len).into();
            node.extended.push(ExtendedAttribute { flags, name: name.as_bytes().into(), value });
        }
        maker.add(root, name, None, node);
    }
}

/// A file as the overlay filter keeps it (CompactOS), with XPRESS in chunks of 4 KiB.
fn overlay(maker: &mut Maker, root: NodeId) {
    let text: Vec<u8> = maker.random.bytes(WOF_LEN).iter().map(|byte| b'a' + byte % 16).collect();
    let (mut table, mut chunks) = (Vec::new(), Vec::new());
    let mut encoder = xpress::Encoder::new();
    for chunk in text.chunks(WOF_CHUNK) {
        if !chunks.is_empty() {
            table.extend((chunks.len() as u32).to_le_bytes());
        }
        let mut encoded = Vec::new();
        let smaller = encoder.encode(chunk, &mut encoded);
        chunks.extend(if smaller { &encoded } else { chunk });
    }
    let compressed = [table, chunks].concat();
    let mut node = maker.node(Content::empty());
    node.streams = vec![
        Stream { name: Name::default(), content: vec![0; text.len()].into(), sparse: true },
        Stream { name: "WofCompressedData".into(), content: compressed.into(), sparse: false },
    ];
    let payload = [1u32, 2, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    node.reparse = Some(Reparse { tag: WOF_TAG, data: payload.into() });
    maker.add(root, "overlay.txt", None, node);
}

/// Descriptors: many small ones, so that $SII and $SDH have blocks, and large ones, so that $SDS has two pairs of blocks.
fn descriptors(maker: &mut Maker, root: NodeId) {
    let secured = maker.directory(root, "secured");
    for at in 0..180 {
        let mut node = maker.node(vec![13; 10].into());
        node.descriptor = Some(maker.tree.add_descriptor(&descriptor(0x10_0000 | at)));
        maker.add(secured, &format!("file {at:03}"), None, node);
    }
    for at in 0..LARGE_DESCRIPTORS {
        let mut node = maker.node(vec![14; 10].into());
        node.descriptor = Some(maker.tree.add_descriptor(&large_descriptor(at)));
        maker.add(secured, &format!("large {at:03}"), None, node);
    }
}

/// A descriptor with some thousand entries, the first of which has this mask.
fn large_descriptor(mask: u32) -> Vec<u8> {
    const ENTRIES: usize = 2500;
    let sid: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
    let list_len = 8 + 24 * ENTRIES;
    let mut bytes = vec![1, 0, 4, 0x80];
    for offset in [20 + list_len, 36 + list_len, 0, 20] {
        bytes.extend((offset as u32).to_le_bytes());
    }
    bytes.extend([2, 0]);
    bytes.extend((list_len as u16).to_le_bytes());
    bytes.extend((ENTRIES as u32).to_le_bytes());
    for at in 0..ENTRIES {
        bytes.extend([0, 0, 24, 0]);
        bytes.extend((if at == 0 { mask } else { 1 + at as u32 }).to_le_bytes());
        bytes.extend(sid);
    }
    bytes.extend([sid, sid].concat());
    bytes
}

/// A volume that mkntfs formatted and ntfs-3g filled, with compressed and fragmented files. `None` where this machine cannot.
pub(crate) fn foreign() -> Option<Surgeon> {
    let tools = Tools::find(&[&Volume::TOOLS[..], &["setfattr"]].concat())?;
    let volume = Volume::format(&tools, 4096, 16 << 20, &["-L", "foreign"]);
    volume.mounted(|root| fill(&tools, root))?;
    Some(Surgeon::new(volume.bytes()))
}

/// Marks a directory so that new files in it are compressed.
fn compress(folder: &Path) {
    let status = Command::new("setfattr")
        .args(["-h", "-n", "system.ntfs_attrib_be", "-v", "0x00000810"])
        .arg(folder)
        .status()
        .expect("setfattr starts");
    assert!(status.success());
}

fn fill(_tools: &Tools, root: &Path) {
    let mut random = Random::new(9);
    let compressed = root.join("compressed");
    fs::create_dir(&compressed).unwrap();
    compress(&compressed);
    let text: Vec<u8> = (0..40_000u32).flat_map(|at| format!("{} ", at / 9).into_bytes()).take(200_000).collect();
    fs::write(compressed.join("text"), &text).unwrap();
    let mixed = [&text[..65_536], &random.bytes(65_536), &vec![0; 65_536], &text[..20_000]].concat();
    fs::write(compressed.join("mixed"), mixed).unwrap();
    fs::write(compressed.join("small"), "resident").unwrap();
    // One file between many that are taken away again.
    for at in 0..60 {
        fs::write(root.join(format!("gap {at}")), random.bytes(9000)).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(root.join("fragmented")).unwrap();
        std::io::Write::write_all(&mut file, &random.bytes(9000)).unwrap();
    }
    for at in (0..60).filter(|at| at % 3 > 0) {
        fs::remove_file(root.join(format!("gap {at}"))).unwrap();
    }
    let directory = root.join("directory");
    fs::create_dir(&directory).unwrap();
    for at in 0..300 {
        fs::write(directory.join(format!("a file with a name that is not short {at}")), "x").unwrap();
    }
    for at in (0..300).filter(|at| at % 5 == 0) {
        fs::remove_file(directory.join(format!("a file with a name that is not short {at}"))).unwrap();
    }
    for at in 0..20 {
        fs::hard_link(root.join("fragmented"), root.join(format!("a link to the fragmented file, number {at}")))
            .unwrap();
    }
}
