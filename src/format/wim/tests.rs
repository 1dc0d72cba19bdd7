//! Hostile metadata, hard links that are none, files that EFS encrypted: what no writer at hand makes.

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

fn plain_options() -> Options {
    Options {
        compression: Compression::None,
        chunk_size: 0,
        guid: Uuid::nil(),
        boot_index: None,
        integrity: false,
        threads: NonZeroUsize::MIN,
    }
}

/// A WIM of two images with one file each, `first` and `second`; and where its blob table starts, whose last two entries are
/// the images'.
fn two_images() -> (Vec<u8>, usize) {
    let trees = ["first", "second"].map(|name| {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let content = Content::from(name.as_bytes().to_vec());
        let file = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: name.into(), short: None, node: file }).unwrap();
        tree
    });
    let named = |name: &str| ImageInfo { name: Some(name.into()), ..ImageInfo::default() };
    let images = [(&trees[0], named("Core")), (&trees[1], named("Core Full"))];
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &images, &plain_options()).unwrap();
    let bytes = out.into_inner();
    let table = u64::from_le_bytes(bytes[0x38..0x40].try_into().unwrap()) as usize;
    (bytes, table)
}

fn open(bytes: &[u8]) -> Result<Wim> {
    Wim::open(vec![Arc::new(bytes.to_vec())])
}

#[test]
fn an_image_never_answers_to_the_index_of_another() {
    let (sound, table) = two_images();
    let (file, first, second) = (table, table + 2 * 50, table + 3 * 50);
    assert!(open(&sound).unwrap().tree(1).unwrap().tree.find("first").is_some());
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = sound.clone();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        open(&bytes)
    };
    let refused = |changes: &[(usize, u8)]| {
        let error = with(changes).err().expect("an error");
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.to_string().contains("number of metadata resources"), "{error}");
    };
    for entry in [first, second] {
        refused(&[(entry + 7, 0)]); // no longer metadata
        refused(&[(entry + 24, 2)]); // of another part
        refused(&[(entry + 26, 0)]); // without references
        refused(&[(entry + 16, 0), (entry + 17, 0)]); // a place that was left empty
    }
    refused(&[(file + 7, 2)]); // metadata that is none
    refused(&[(0x2C, 1)]);
    refused(&[(0x2C, 3)]);
    // A leftover, as the header's count confirms.
    let wim = with(&[(first + 26, 0), (0x2C, 1)]).unwrap();
    assert!(wim.warnings().iter().any(|warning| warning.contains("1 metadata resources that no image uses")));
    assert!(wim.tree(1).unwrap().tree.find("second").is_some());
    assert_eq!((wim.images().len(), wim.summary().image_count), (1, 1));
}

#[test]
fn an_odd_index_makes_names_no_guide() {
    let (sound, _) = two_images();
    let wim = open(&sound).unwrap();
    assert_eq!(wim.select("core").unwrap(), 1);
    assert_eq!(wim.select("full").unwrap(), 2);
    let index: Vec<u8> = units("INDEX=\"2\"").into_iter().flat_map(u16::to_le_bytes).collect();
    let at = sound.windows(index.len()).position(|window| window == index).unwrap() + 14;
    for odd in [b'1', b'3', b'0', b'x'] {
        let mut bytes = sound.clone();
        bytes[at] = odd;
        let wim = open(&bytes).unwrap();
        assert_eq!(wim.warnings().len(), 1);
        let error = wim.select("core").unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.hint_text().unwrap().contains("index"), "{error}");
        assert_eq!(wim.select("2").unwrap(), 2);
    }
}

#[test]
fn a_reparse_point_has_a_tag_and_data() {
    const JUNCTION: u64 = 0xA000_0003;
    let name = units("link");
    let attributes = attributes::REPARSE_POINT;
    let item = |tag: u64, sha1: [u8; 20]| Item { name: &name, attributes, group: tag, sha1, ..Item::default() };
    let read = |tag, data: Option<&[u8]>| flat(&[item(tag, data.map_or([0; 20], sha1))]);
    let found = |volume: Volume| {
        let node = volume.tree.node(volume.tree.find("link").unwrap()).clone();
        (node.reparse.map(|reparse| (reparse.tag, reparse.data.len())), node.attributes, volume.notes)
    };
    let (reparse, bits, notes) = found(read(JUNCTION, Some(b"first")).unwrap());
    assert_eq!((reparse, bits, notes), (Some((0xA000_0003, 5)), attributes, Notes::default()));
    for (tag, data) in [(JUNCTION, None), (JUNCTION, Some(b"".as_slice())), (0, None)] {
        let (reparse, bits, notes) = found(read(tag, data).unwrap());
        assert_eq!((reparse, bits), (None, 0));
        assert_eq!(notes, Notes { empty_reparse_points: 1, ..Notes::default() });
        assert_eq!(notes.lines().len(), 1);
    }
    // A FIFO of the Windows Subsystem for Linux.
    assert_eq!(found(read(0x8000_0024, None).unwrap()).0, Some((0x8000_0024, 0)));
    assert!(refusal(read(0, Some(b"first"))).contains("tag"));
    assert!(refusal(read(0x2000_0003, Some(b"first"))).contains("GUID"));
}

#[test]
fn notes_tagged_items_that_end_outside() {
    let name = units("file");
    let mut tagged = TAGGED.to_vec();
    tagged[4] = 0xFF;
    let volume = flat(&[Item { name: &name, tagged: &tagged, ..Item::default() }]).unwrap();
    assert_eq!(volume.notes, Notes { broken_items: 1, ..Notes::default() });
    assert_eq!(volume.notes.lines().len(), 1);
    // Zeros are padding.
    let volume = flat(&[Item { name: &name, tagged: &[0; 24], ..Item::default() }]).unwrap();
    assert_eq!(volume.notes, Notes::default());
}

#[test]
fn missing_parts_are_named_in_few_words_and_none_twice() {
    let (mut bytes, _) = two_images();
    bytes[0x2A..0x2C].fill(0xFF);
    let error = open(&bytes).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("without part 2, 3, 4, 5, 6, 7, 8, 9, ... (65534 in all)"), "{error}");
    bytes[0x2A..0x2C].copy_from_slice(&[2, 0]);
    let mut other = bytes.clone();
    other[0x28] = 2;
    let mut different = other.clone();
    different.push(0);
    let parts = [bytes, other, different].map(|bytes| Arc::new(bytes) as Arc<dyn ReadAt>);
    assert!(Wim::open(parts.to_vec()).err().unwrap().to_string().contains("part 2 is given twice"));
}

/// Notes how much is read, and at once.
#[derive(Default)]
struct Meter {
    bytes: Vec<u8>,
    total: std::sync::atomic::AtomicU64,
    largest: std::sync::atomic::AtomicU64,
}

impl ReadAt for Meter {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        self.total.fetch_add(buffer.len() as u64, Relaxed);
        self.largest.fetch_max(buffer.len() as u64, Relaxed);
        self.bytes.read_at(at, buffer)
    }
}

#[test]
fn small_blobs_with_gaps_take_small_reads() {
    const STEP: u64 = 30 << 10;
    let mut store = store(&[]);
    let bytes: Vec<u8> = (0..200 * STEP).map(|at| (at / STEP) as u8).collect();
    for index in 0..200u32 {
        let offset = u64::from(index) * STEP;
        store.resources.push(resource::Resource {
            part: 0,
            coding: resource::Coding::Plain,
            offset,
            stored: 1,
            size: 1,
        });
        store.blobs.push(Blob { sha1: Sha1Hash::of(&[index as u8]), resource: index, at: 0, len: 1 });
    }
    let meter = Arc::new(Meter { bytes, ..Meter::default() });
    store.parts = vec![Arc::clone(&meter) as Arc<dyn ReadAt>];
    let all: Vec<BlobId> = (0..200).map(BlobId).collect();
    let count = Count(0.into());
    store.stream(&all, NonZeroUsize::MIN, &count).unwrap();
    assert_eq!(count.0.into_inner(), 200);
    assert!(meter.largest.load(std::sync::atomic::Ordering::Relaxed) <= 1 << 20);
}

/// A store of a solid resource of `chunks` chunks of 4 KiB, not compressed, and one blob for all of it and for each `step`.
fn solid(chunks: u32, step: u64) -> (Store, Arc<Meter>) {
    let size = u64::from(chunks) * 4096;
    let header = ondisk::SolidHeader { size: size.into(), chunk_size: 4096.into(), compression: 0.into() };
    let mut bytes = header.as_bytes().to_vec();
    (0..chunks).for_each(|_| bytes.extend_from_slice(&4096u32.to_le_bytes()));
    let data: Vec<u8> = (0..size).map(|at| (at / 4096 * 31 + at) as u8).collect();
    bytes.extend_from_slice(&data);
    let entry = ondisk::ResourceHeader::new(0x10, 0, bytes.len() as u64, ondisk::SOLID_RESOURCE);
    let mut store = store(&[]);
    store.resources.push(resource::Resource::solid(0, &entry, &bytes).unwrap());
    for (at, data) in (0..).step_by(step as usize).zip(data.chunks(step as usize)) {
        store.blobs.push(Blob { sha1: Sha1Hash::of(data), resource: 0, at, len: data.len() as u64 });
    }
    let meter = Arc::new(Meter { bytes, ..Meter::default() });
    store.parts = vec![Arc::clone(&meter) as Arc<dyn ReadAt>];
    (store, meter)
}

#[test]
fn the_table_of_a_solid_resource_is_not_read_for_every_chunk() {
    use std::sync::atomic::Ordering::Relaxed;
    let chunks = 3 * 4096 + 100;
    let (store, meter) = solid(chunks, 150_000);
    let all: Vec<BlobId> = (0..store.blobs.len() as u32).map(BlobId).collect();
    for threads in [1, 3].map(|threads| NonZeroUsize::new(threads).unwrap()) {
        let count = Count(0.into());
        store.stream(&all, threads, &count).unwrap();
        assert_eq!(count.0.into_inner(), u64::from(chunks) * 4096);
    }
    let overhead = meter.total.load(Relaxed) - 2 * u64::from(chunks) * 4096;
    let pieces = 2 * u64::from(chunks).div_ceil(64);
    assert!(overhead <= (pieces + 4) * 16384, "{overhead} bytes of tables for {pieces} pieces");
    for blob in [0, 111, 112, 113, 224, all.len() - 1] {
        assert_eq!(store.read(BlobId(blob as u32)).unwrap().len() as u64, store.blobs[blob].len);
    }
    // A chunk that ends outside, far before the one that is wanted.
    let mut bytes = meter.bytes.clone();
    bytes[16 + 3 * 4 + 3] = 0x7F;
    let damaged = Store { parts: vec![Arc::new(bytes)], landmarks: std::sync::Mutex::default(), ..store };
    assert_eq!(damaged.read(BlobId(200)).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn sizes_beyond_all_bounds_do_not_overflow() {
    let codec = resource::Codec::new(Compression::Lzms, 1 << 30).unwrap();
    let huge =
        resource::Resource { part: 0, coding: resource::Coding::Chunked(codec), offset: 3, stored: 7, size: u64::MAX };
    let last = huge.chunks() - 1;
    assert_eq!(huge.unpacked(&(last..last + 1)), last << 30..u64::MAX);
    let mut store = store(&[b"one", b"0123456"]);
    store.resources[1] = huge;
    store.blobs[1].len = u64::MAX;
    let failure = store.stream(&[BlobId(0), BlobId(1)], NonZeroUsize::MIN, &Count(0.into())).unwrap_err();
    assert_eq!(failure.blobs, [BlobId(1)]);
    let (bytes, table) = two_images();
    let wim = open(&bytes).unwrap();
    let Ok(mut shared) = Arc::try_unwrap(wim.store) else { panic!("the store is shared") };
    shared.blobs.iter_mut().for_each(|blob| blob.len = u64::MAX);
    let wim = Wim { store: Arc::new(shared), ..open(&bytes).unwrap() };
    assert_eq!(wim.summary().unpacked_bytes, u64::MAX, "{table}");
}

/// A store of one blob of 3,000,000 zeros that gives other pieces than it should.
struct Unruly {
    known: bool,
    pieces: &'static [(u64, usize)],
}

impl crate::tree::BlobStore for Unruly {
    fn position(&self, _: BlobId) -> u64 {
        0
    }

    fn sha1(&self, _: BlobId) -> Option<[u8; 20]> {
        self.known.then_some([1; 20])
    }

    fn stream(
        &self,
        wanted: &[BlobId],
        _: NonZeroUsize,
        sink: &dyn crate::tree::BlobSink,
    ) -> Result<(), crate::tree::BlobError> {
        for blob in wanted {
            self.pieces.iter().try_for_each(|(at, len)| sink.write(*blob, *at, &vec![0; *len]))?;
        }
        Ok(())
    }

    fn read(&self, _: BlobId) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_store_that_gives_too_little_or_too_much_is_noticed() {
    let written = |known, pieces| {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let store = tree.add_store(Arc::new(Unruly { known, pieces }));
        let content = Content::Blob { store, blob: BlobId(0), len: 3_000_000 };
        let file = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: "file".into(), short: None, node: file }).unwrap();
        write(&mut Cursor::new(Vec::new()), &[(&tree, ImageInfo::default())], &plain_options())
    };
    let sound: &[(u64, usize)] = &[(2_000_000, 1_000_000), (0, 2_000_000)];
    let unruly: [&'static [(u64, usize)]; 4] =
        [&[], &[(0, 1 << 20)], &[(0, 2_000_000), (2_500_000, 500_000)], &[(0, 3_000_000), (0, 1 << 20)]];
    for known in [true, false] {
        assert!(written(known, sound).is_ok());
        for pieces in unruly {
            assert_eq!(written(known, pieces).unwrap_err().kind(), Kind::Invalid, "{pieces:?}");
        }
        assert!(written(known, &[(0, 3_000_001)]).is_err());
    }
}
