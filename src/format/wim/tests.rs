//! Hostile metadata, hard links that are none, files that EFS encrypted: what no writer at hand makes.

mod damage;

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::ondisk::{Dentry, SecurityHeader, StreamEntry};
use super::store::{Blob, Store};
use super::*;
use crate::base::{FileTime, Name};
use crate::tree::{Content, Link, Node, Times, Tree, attributes};

const ROOT: u64 = 8;

/// A metadata resource in the making.
struct Metadata(Vec<u8>);

/// What differs from one dentry to the next.
#[derive(Default, Clone)]
struct Item<'a> {
    name: &'a [u16],
    short: &'a [u16],
    attributes: u32,
    subdir: u64,
    sha1: [u8; 20],
    group: u64,
    tagged: &'a [u8],
    streams: &'a [(&'a str, [u8; 20])],
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

impl Metadata {
    fn new() -> Self {
        Self(SecurityHeader { total_length: 8.into(), entries: 0.into() }.as_bytes().to_vec())
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    /// Adds a dentry; returns where it starts.
    fn add(&mut self, item: Item<'_>) -> u64 {
        let start = self.0.len();
        let dentry = Dentry {
            length: 0.into(),
            attributes: item.attributes.into(),
            security_id: u32::MAX.into(),
            subdir_offset: item.subdir.into(),
            unused: [0; 16],
            created: 1.into(),
            accessed: 2.into(),
            modified: 3.into(),
            sha1: item.sha1,
            unknown: 0.into(),
            link_or_reparse: item.group.into(),
            streams: (item.streams.len() as u16).into(),
            short_bytes: (item.short.len() as u16 * 2).into(),
            name_bytes: (item.name.len() as u16 * 2).into(),
        };
        self.0.extend_from_slice(dentry.as_bytes());
        for name in [item.name, item.short].iter().filter(|name| !name.is_empty()) {
            self.0.extend(name.iter().flat_map(|unit| unit.to_le_bytes()).chain([0, 0]));
        }
        self.align();
        self.0.extend_from_slice(item.tagged);
        let length = (self.0.len() - start) as u64;
        self.0[start..start + 8].copy_from_slice(&length.to_le_bytes());
        for (name, sha1) in item.streams {
            let start = self.0.len();
            let name = units(name);
            let name_bytes = (name.len() as u16 * 2).into();
            let entry = StreamEntry { length: 0.into(), unused: 0.into(), sha1: *sha1, name_bytes };
            self.0.extend_from_slice(entry.as_bytes());
            self.0.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
            self.align();
            let length = (self.0.len() - start) as u64;
            self.0[start..start + 8].copy_from_slice(&length.to_le_bytes());
        }
        start as u64
    }

    fn end(&mut self) {
        self.0.extend_from_slice(&[0; 8]);
    }

    /// The root, and where its children go.
    fn root(&mut self) -> u64 {
        let children = ROOT + 104 + 8;
        assert_eq!(self.add(Item { attributes: attributes::DIRECTORY, subdir: children, ..Item::default() }), ROOT);
        self.end();
        children
    }

    fn read(&self) -> Result<Volume> {
        metadata::read(&self.0, &Arc::new(store(&[b"first", b"second"])))
    }
}

/// A store of blobs that lie one after another, uncompressed.
fn store(blobs: &[&[u8]]) -> Store {
    let mut bytes = Vec::new();
    let mut store = Store {
        parts: Vec::new(),
        resources: Vec::new(),
        blobs: Vec::new(),
        by_hash: Vec::new(),
        last_chunk: std::sync::Mutex::default(),
        landmarks: std::sync::Mutex::default(),
    };
    for (index, blob) in (0..).zip(blobs) {
        let len = blob.len();
        let (coding, offset) = (resource::Coding::Plain, bytes.len() as u64);
        store.resources.push(resource::Resource { part: 0, coding, offset, stored: len, size: len });
        store.blobs.push(Blob { sha1: Sha1Hash::of(blob), resource: index, at: 0, len });
        store.by_hash.push(index);
        bytes.extend_from_slice(blob);
    }
    store.by_hash.sort_by_key(|index| store.blobs[*index as usize].sha1);
    store.parts.push(Arc::new(bytes));
    store
}

fn sha1(bytes: &[u8]) -> [u8; 20] {
    Sha1Hash::of(bytes).0
}

/// An image whose root has `items`.
fn flat(items: &[Item<'_>]) -> Result<Volume> {
    let mut metadata = Metadata::new();
    metadata.root();
    for item in items {
        metadata.add(item.clone());
    }
    metadata.end();
    metadata.read()
}

fn refusal(result: Result<Volume>) -> String {
    let error = result.err().expect("an error");
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    error.to_string()
}

#[test]
fn reads_a_main_stream_wherever_it_is_named() {
    let names: Vec<Vec<u16>> = ["dentry", "entry", "both"].map(units).to_vec();
    let first = sha1(b"first");
    let entry = [("", first), ("named", sha1(b"second"))];
    let items = [
        Item { name: &names[0], sha1: first, ..Item::default() },
        Item { name: &names[1], streams: &entry, ..Item::default() },
        Item { name: &names[2], sha1: first, streams: &entry, ..Item::default() },
    ];
    let volume = flat(&items).unwrap();
    for name in ["dentry", "entry", "both"] {
        assert_eq!(volume.tree.read_file(name).unwrap().unwrap(), b"first", "{name}");
    }
    let node = volume.tree.node(volume.tree.find("entry").unwrap());
    assert_eq!(volume.tree.read(&node.streams[1].content).unwrap(), b"second");
    assert_eq!(node.times.changed, FileTime(3));
    assert_eq!(volume.notes, Notes { lost_streams: 1, ..Notes::default() });
}

#[test]
fn links_only_what_has_the_same_main_stream() {
    let names: Vec<Vec<u16>> = ["a", "b", "c", "d"].map(units).to_vec();
    let hashes = [sha1(b"first"), sha1(b"second"), sha1(b"first"), sha1(b"second")];
    let items: Vec<Item<'_>> =
        names.iter().zip(hashes).map(|(name, sha1)| Item { name, sha1, group: 5, ..Item::default() }).collect();
    let volume = flat(&items).unwrap();
    let node = |name| volume.tree.find(name).unwrap();
    assert_eq!(node("a"), node("c"));
    assert_eq!(node("b"), node("d"));
    assert_ne!(node("a"), node("b"));
    assert_eq!(volume.notes.split_links, 1);
    assert_eq!(volume.notes.lines().len(), 1);
}

#[test]
fn one_name_may_serve_as_long_and_short_name() {
    let (long, short) = (units("readme.txt"), units("README.TXT"));
    let volume = flat(&[Item { name: &long, short: &short, ..Item::default() }]).unwrap();
    let root = volume.tree.node(volume.tree.root());
    assert!(root.children()[0].short.is_some() && root.children()[0].other_short().is_none());
    assert!(!root.case_sensitive);
}

#[test]
fn a_file_that_efs_encrypted_can_be_seen_but_not_read() {
    let name = units("secret");
    let attributes = attributes::ENCRYPTED | attributes::ARCHIVE;
    let volume = flat(&[Item { name: &name, attributes, sha1: sha1(b"first"), ..Item::default() }]).unwrap();
    assert_eq!(volume.notes.encrypted, [volume.tree.find("secret").unwrap()]);
    let error = volume.tree.read_file("secret").unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("secret"), "{error}");
}

/// What wimlib 1.13.5 wrote for a file with the attributes `user.nano` and `user.two` on Linux: owner and mode, then the
/// attributes.
const TAGGED: &[u8] = b"\x73\xd8\x7d\x33\x10\0\0\0\0\0\0\0\0\0\0\0\xa4\x81\0\0\0\0\0\0\
    \x02\0\0\0\x1f\0\0\0\x02\0\x09\0user.nano\0hi\x02\0\x08\0user.two\0\0\xff\0";

#[test]
fn reads_extended_attributes_of_wimlib() {
    let name = units("file");
    let volume = flat(&[Item { name: &name, tagged: TAGGED, ..Item::default() }]).unwrap();
    let node = volume.tree.node(volume.tree.find("file").unwrap());
    let found: Vec<_> = node.extended.iter().map(|e| (e.flags, &*e.name, &*e.value)).collect();
    assert_eq!(found, [(0, b"user.nano".as_slice(), b"hi".as_slice()), (0, b"user.two", &[0, 0xFF])]);
    assert_eq!(volume.notes, Notes { unix_metadata: 1, ..Notes::default() });
    let (bytes, _) = write_metadata::render(&volume.tree, &|_| Sha1Hash::default()).unwrap();
    assert!(bytes.windows(40).any(|window| window == &TAGGED[24..64]), "it is written in the same form");
    // A name, and an attribute, that end outside of the item.
    for at in [34, 32] {
        let mut tagged = TAGGED.to_vec();
        tagged[at] = 0xFF;
        refusal(flat(&[Item { name: &name, tagged: &tagged, ..Item::default() }]));
    }
}

#[test]
fn refuses_evil_names() {
    let evil = ["..", ".", "", "a\\b", "a/b", "nul\0", &"x".repeat(256)];
    for name in evil.map(units) {
        refusal(flat(&[Item { name: &name, ..Item::default() }]));
    }
    let twice = units("twice");
    let item = Item { name: &twice, ..Item::default() };
    assert!(refusal(flat(&[item.clone(), item])).contains("one name"));
    let stream = [("s", [0; 20]), ("s", [0; 20])];
    assert!(refusal(flat(&[Item { name: &twice, streams: &stream, ..Item::default() }])).contains("twice"));
}

#[test]
fn refuses_directories_in_circles() {
    let name = units("loop");
    let directory = Item { name: &name, attributes: attributes::DIRECTORY, ..Item::default() };
    // Its own parent's list; and that of the root, which has no name.
    assert!(refusal(flat(&[Item { subdir: ROOT + 104 + 8, ..directory.clone() }])).contains("overlap"));
    assert!(refusal(flat(&[Item { subdir: ROOT, ..directory.clone() }])).contains("length of a file name"));
    // Two directories with one list, and with lists that overlap.
    for shift in [0, 112] {
        let mut metadata = Metadata::new();
        let children = metadata.root();
        let other = units("more");
        let list = children + 2 * 112 + 8;
        metadata.add(Item { subdir: list, ..directory.clone() });
        metadata.add(Item { name: &other, subdir: list + shift, ..directory.clone() });
        metadata.end();
        for file in ["x", "y", "z"].map(units) {
            metadata.add(Item { name: &file, ..Item::default() });
        }
        metadata.end();
        assert!(refusal(metadata.read()).contains("overlap"));
    }
    // Empty lists may be shared: nothing is in them.
    let mut metadata = Metadata::new();
    let children = metadata.root();
    let other = units("more");
    let list = children + 2 * 112;
    metadata.add(Item { subdir: list, ..directory.clone() });
    metadata.add(Item { name: &other, subdir: list, ..directory });
    metadata.end();
    assert_eq!(metadata.read().unwrap().tree.walk().count(), 2);
}

#[test]
fn refuses_what_ends_outside() {
    let name = units("file");
    let mut metadata = Metadata::new();
    metadata.root();
    let at = metadata.add(Item { name: &name, ..Item::default() }) as usize;
    metadata.end();
    let with = |offset: usize, value: &[u8]| {
        let mut bytes = metadata.0.clone();
        bytes[offset..offset + value.len()].copy_from_slice(value);
        Metadata(bytes).read()
    };
    assert!(with(0, &[]).is_ok());
    for length in [9, 101, 200, u64::MAX, u64::MAX - 6] {
        refusal(with(at, &length.to_le_bytes()));
    }
    refusal(with(at + 96, &[0xFF, 0xFF])); // streams
    refusal(with(at + 98, &[0xFF, 0xFE])); // short name
    refusal(with(at + 100, &[3, 0])); // long name, odd
    for total in [17, u32::MAX] {
        refusal(with(0, &total.to_le_bytes()));
    }
    refusal(with(4, &u32::MAX.to_le_bytes()));
    refusal(with(ROOT as usize + 16, &u64::MAX.to_le_bytes()));
    refusal(with(ROOT as usize + 8, &[0; 4])); // the root a file
    for len in 0..metadata.0.len() {
        refusal(Metadata(metadata.0[..len].to_vec()).read());
    }
}

#[test]
fn reads_and_writes_deep_trees_without_a_deep_stack() {
    let name = units("d");
    let deep = |depth: usize| {
        let mut metadata = Metadata::new();
        let mut next = metadata.root();
        for _ in 0..depth {
            next += 112 + 8;
            metadata.add(Item { name: &name, attributes: attributes::DIRECTORY, subdir: next, ..Item::default() });
            metadata.end();
        }
        metadata.end();
        metadata.read()
    };
    let volume = deep(16_000).unwrap();
    assert_eq!(volume.tree.walk().count(), 16_000);
    let (bytes, counts) = write_metadata::render(&volume.tree, &|_| Sha1Hash::default()).unwrap();
    assert_eq!(counts.directories, 16_001);
    assert_eq!(metadata::read(&bytes, &Arc::new(store(&[]))).unwrap().tree.walk().count(), 16_000);
    assert!(deep(16_383).is_ok());
    assert!(refusal(deep(16_384)).contains("length of a path: found 32768"));
}

#[test]
fn refuses_paths_that_windows_could_not_name() {
    let (long, file) = (units(&"x".repeat(254)), units("f"));
    let below = |depth: usize, last: &[u16]| {
        let mut metadata = Metadata::new();
        let mut next = metadata.root();
        for _ in 0..depth {
            next += 616 + 8;
            let at =
                metadata.add(Item { name: &long, attributes: attributes::DIRECTORY, subdir: next, ..Item::default() });
            metadata.end();
            assert_eq!(metadata.0.len() as u64, next, "{at}");
        }
        metadata.add(Item { name: last, ..Item::default() });
        metadata.end();
        metadata.read()
    };
    // 128 names of 254 units and a separator are 32,640 units.
    assert!(below(128, &file).is_ok());
    assert!(below(128, &units(&"y".repeat(126))).is_ok());
    assert!(refusal(below(128, &units(&"y".repeat(127)))).contains("length of a path"));
}

/// Counts bytes, from several threads.
struct Count(std::sync::atomic::AtomicU64);

impl crate::tree::BlobSink for Count {
    fn write(&self, _: BlobId, _: u64, data: &[u8]) -> Result<()> {
        self.0.fetch_add(data.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn damage_names_the_blob_and_a_sink_can_stop() {
    struct Full;
    impl crate::tree::BlobSink for Full {
        fn write(&self, _: BlobId, _: u64, _: &[u8]) -> Result<()> {
            Err(Error::new(Kind::HostFull, "full"))
        }
    }
    let large = vec![7; 3 << 20];
    let mut store = store(&[b"one", &large, b"three"]);
    let all = [BlobId(0), BlobId(1), BlobId(2)];
    for threads in [1, 4].map(|threads| NonZeroUsize::new(threads).unwrap()) {
        let count = Count(0.into());
        store.stream(&all, threads, &count).unwrap();
        assert_eq!(count.0.into_inner(), large.len() as u64 + 8);
        let failure = store.stream(&all, threads, &Full).unwrap_err();
        assert!(failure.blobs.is_empty());
        assert_eq!(failure.error.kind(), Kind::HostFull);
    }
    for damaged in all {
        let right = std::mem::take(&mut store.blobs[damaged.0 as usize].sha1);
        let failure = store.stream(&all, NonZeroUsize::new(3).unwrap(), &Count(0.into())).unwrap_err();
        assert_eq!(failure.blobs, [damaged]);
        assert!(failure.error.to_string().contains(&right.to_string()), "{}", failure.error);
        store.blobs[damaged.0 as usize].sha1 = right;
    }
    assert_eq!(store.stream(&[BlobId(3)], NonZeroUsize::MIN, &Full).unwrap_err().error.kind(), Kind::Invalid);
}

#[test]
fn names_the_files_that_a_damaged_blob_is_in() {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let content = Content::from(vec![5; 100_000]);
    let file = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
    tree.add_link(tree.root(), Link { name: Name::from("file"), short: None, node: file }).unwrap();
    let options = Options {
        compression: Compression::None,
        chunk_size: 0,
        guid: Uuid::nil(),
        boot_index: None,
        integrity: false,
        threads: NonZeroUsize::MIN,
    };
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &[(&tree, ImageInfo::default())], &options).unwrap();
    let mut bytes = out.into_inner();
    bytes[50_000] ^= 1;
    let wim = Wim::open(vec![Arc::new(bytes)]).unwrap();
    let tree = wim.tree(1).unwrap().tree;
    let mut copy = Cursor::new(Vec::new());
    let error = write(&mut copy, &[(&tree, ImageInfo::default())], &options).unwrap_err();
    assert!(error.to_string().starts_with("\\file: WIM: SHA-1 of the blob: found "), "{error}");
}

/// A WIM of an empty image, with another XML document.
fn with_xml(xml: &str) -> Vec<u8> {
    let tree = Tree::new(Node::directory(0, Times::default()));
    let options = Options {
        compression: Compression::Xpress,
        chunk_size: 32768,
        guid: Uuid::nil(),
        boot_index: None,
        integrity: false,
        threads: NonZeroUsize::MIN,
    };
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &[(&tree, ImageInfo::default())], &options).unwrap();
    let mut bytes = out.into_inner();
    let xml: Vec<u8> = units(xml).into_iter().flat_map(u16::to_le_bytes).collect();
    let header = ondisk::ResourceHeader::new(0, bytes.len() as u64, xml.len() as u64, xml.len() as u64);
    bytes[0x48..0x60].copy_from_slice(header.as_bytes());
    bytes.extend_from_slice(&xml);
    bytes
}

#[test]
fn an_encrypted_esd_is_refused_and_odd_xml_is_not() {
    let open = |xml| Wim::open(vec![Arc::new(with_xml(xml)) as Arc<dyn ReadAt>]);
    let error = open("<WIM><ESD><ENCRYPTED Count=\"0\"/></ESD></WIM>").err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("encrypted ESD"), "{error}");
    let two = "<WIM><IMAGE INDEX=\"2\"/><IMAGE INDEX=\"1\"><NAME>right</NAME></IMAGE></WIM>";
    for (xml, name) in [("<", None), ("<WIM/>", None), (two, Some("right"))] {
        let wim = open(xml).unwrap();
        assert_eq!(wim.warnings().len(), 1, "{xml}: {:?}", wim.warnings());
        assert_eq!(wim.images().len(), 1);
        assert_eq!((wim.images()[0].index, wim.images()[0].name.as_deref()), (1, name));
        assert_eq!(wim.tree(1).unwrap().tree.walk().count(), 0);
    }
}
