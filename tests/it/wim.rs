//! WIM files against wimlib: what it writes is read, what is written it reads, and damage is found.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nanovhd::base::{FileTime, Name, ReadAt};
use nanovhd::error::{Kind, Result};
use nanovhd::format::wim::{self, Compression, ImageInfo, Options, Sha1Hash, Version, Wim};
use nanovhd::tree::{
    BlobId, BlobSink, Content, ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes,
};
use tempfile::TempDir;

use crate::support::tools::Tools;

/// A folder to work in, and the tools.
struct Place {
    folder: TempDir,
    tools: Tools,
}

impl Place {
    fn with(tools: &[&str]) -> Option<Self> {
        Some(Self { tools: Tools::find(tools)?, folder: TempDir::new().unwrap() })
    }

    fn wimlib(&self, arguments: &[&str]) -> String {
        self.tools.run_in(self.folder.path(), "wimlib-imagex", arguments)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, name: &str) -> Arc<dyn ReadAt> {
        Arc::new(fs::read(self.path(name)).unwrap())
    }

    fn open(&self, name: &str) -> Wim {
        Wim::open(vec![self.load(name)]).unwrap()
    }
}

/// A small generator with a seed (xorshift), so that tests repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Text-like bytes: words that come again.
    fn text(&mut self, len: usize) -> Vec<u8> {
        let words: Vec<Vec<u8>> =
            (0..300).map(|_| (0..2 + self.below(9)).map(|_| b'a' + self.below(26) as u8).collect()).collect();
        let mut text = Vec::with_capacity(len + 16);
        while text.len() < len {
            text.extend_from_slice(&words[self.below(words.len())]);
            text.push(b' ');
        }
        text.truncate(len);
        text
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A folder with all sizes of files around chunk boundaries, duplicates, and links.
fn make_source(folder: &Path) {
    let mut random = Random(1);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    fs::create_dir_all(folder.join("a/b/c/d/empty folder")).unwrap();
    fs::create_dir_all(folder.join("Größe")).unwrap();
    write("empty", b"");
    write("one", b"1");
    for size in [4095, 4096, 4097, 32767, 32768, 32769, 65536, 262_144, 262_145, 300_000, 1_100_000] {
        write(&format!("a/text{size}"), &random.text(size));
        write(&format!("a/b/noise{size}"), &random.noise(size / 3));
    }
    write("a/b/c/zeros", &vec![0; 3_000_000]);
    write("a/b/c/mixed", &[random.text(700_000), random.noise(700_000), vec![7; 700_000]].concat());
    for number in 0..200 {
        write(&format!("Größe/small {number}"), &random.text(number * 37));
    }
    fs::copy(folder.join("a/text32768"), folder.join("Größe/copy")).unwrap();
    fs::hard_link(folder.join("a/text300000"), folder.join("a/b/c/hard link")).unwrap();
}

/// All that a tree says about a link, contents as SHA-1s.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    is_directory: bool,
    attributes: u32,
    times: Times,
    descriptor: Option<Vec<u8>>,
    short: Option<String>,
    object_id: Option<Vec<u8>>,
    reparse: Option<(u32, Sha1Hash)>,
    extended: Vec<ExtendedAttribute>,
    streams: BTreeMap<String, (u64, Sha1Hash)>,
    /// The first path of the node.
    first_link: String,
    links: u32,
}

/// Collects blobs in memory.
struct Gather(Mutex<HashMap<BlobId, Vec<u8>>>);

impl BlobSink for Gather {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut blobs = self.0.lock().unwrap();
        let bytes = blobs.entry(blob).or_default();
        let end = at as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// The SHA-1 of every blob of the tree's first store that it uses, computed from what the store streams.
fn hashes(tree: &Tree, threads: usize) -> Result<HashMap<BlobId, Sha1Hash>> {
    let mut wanted: Vec<BlobId> = tree
        .contents()
        .filter_map(|(_, content)| match content {
            Content::Blob { store, blob, .. } if store.index() == 0 => Some(*blob),
            _ => None,
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    let sink = Gather(Mutex::default());
    if let Some(store) = tree.stores().first() {
        store.stream(&wanted, NonZeroUsize::new(threads).unwrap(), &sink).map_err(|failure| failure.error)?;
    }
    let blobs = sink.0.into_inner().unwrap();
    assert_eq!(blobs.len(), wanted.len());
    Ok(blobs.into_iter().map(|(blob, bytes)| (blob, Sha1Hash::of(&bytes))).collect())
}

fn dump(tree: &Tree, threads: usize) -> Result<BTreeMap<String, Entry>> {
    let hashes = hashes(tree, threads)?;
    let sha1 = |content: &Content| match content {
        Content::Bytes(bytes) => Sha1Hash::of(bytes),
        Content::Blob { blob, .. } => hashes[blob],
    };
    let mut paths: HashMap<NodeId, String> = HashMap::from([(tree.root(), String::new())]);
    let mut first: HashMap<NodeId, String> = HashMap::new();
    let mut links = vec![(String::from("\\"), None, tree.root())];
    for (directory, link) in tree.walk() {
        let path = format!("{}\\{}", paths[&directory], link.name);
        paths.insert(link.node, path.clone());
        links.push((path, link.short.as_ref().map(Name::to_string), link.node));
    }
    links.sort();
    for (path, _, node) in &links {
        first.entry(*node).or_insert_with(|| path.clone());
    }
    let describe = |(path, short, id): (String, Option<String>, NodeId)| {
        let node = tree.node(id);
        let streams = node.streams.iter();
        let streams = streams.map(|s| (s.name.to_string(), (s.content.len(), sha1(&s.content)))).collect();
        let entry = Entry {
            is_directory: node.is_directory(),
            attributes: node.attributes,
            times: node.times,
            descriptor: node.descriptor.map(|id| tree.descriptors()[id.index()].to_vec()),
            short,
            object_id: node.object_id.as_ref().map(|id| id.to_vec()),
            reparse: node.reparse.as_ref().map(|reparse| (reparse.tag, sha1(&reparse.data))),
            extended: node.extended.clone(),
            streams,
            first_link: first[&id].clone(),
            links: node.links(),
        };
        (path, entry)
    };
    Ok(links.into_iter().map(describe).collect())
}

/// The files of a dump are those of a folder, byte for byte.
fn assert_same_files(dump: &BTreeMap<String, Entry>, folder: &Path) {
    let mut count = 0;
    let mut pending = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}\\{}", entry.file_name().to_str().unwrap());
            let found = dump.get(&path).unwrap_or_else(|| panic!("{path} is missing"));
            count += 1;
            if entry.file_type().unwrap().is_dir() {
                assert!(found.is_directory);
                pending.push((entry.path(), path));
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                assert_eq!(found.streams[""], (bytes.len() as u64, Sha1Hash::of(&bytes)), "{path}");
            }
        }
    }
    assert_eq!(dump.len(), count + 1);
}

/// What `wimlib-imagex dir --detailed` says about each path.
fn listing(place: &Place, wim: &str, index: usize) -> BTreeMap<String, Vec<String>> {
    let text = place.wimlib(&["dir", wim, &index.to_string(), "--detailed"]);
    let blocks = text.split("----------------------------------------------------------------------------\n");
    let mut found = BTreeMap::new();
    for block in blocks.filter(|block| block.contains("Full Path")) {
        let lines: Vec<String> = block.lines().map(|line| line.trim().to_owned()).collect();
        let path = lines[0].split_once('"').unwrap().1.trim_end_matches('"').replace('/', "\\");
        found.insert(path, lines);
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A dump says what wimlib's listing says.
fn assert_same_listing(dump: &BTreeMap<String, Entry>, listing: &BTreeMap<String, Vec<String>>) {
    assert_eq!(dump.keys().collect::<Vec<_>>(), listing.keys().collect::<Vec<_>>());
    for (path, lines) in listing {
        let entry = &dump[path];
        let value = |key: &str| {
            let line = lines.iter().find(|line| line.starts_with(key))?;
            Some(line.split_once("= ")?.1.trim_matches('"').to_owned())
        };
        let attributes = entry.attributes
            | if entry.is_directory { attributes::DIRECTORY } else { 0 }
            | if entry.attributes == 0 && !entry.is_directory { attributes::NORMAL } else { 0 };
        assert_eq!(value("Attributes"), Some(format!("{attributes:#010x}")), "{path}");
        assert_eq!(value("Short Name"), Some(entry.short.clone().unwrap_or_default()), "{path}");
        assert_eq!(value("Security Descriptor"), entry.descriptor.as_deref().map(hex), "{path}");
        assert_eq!(value("Link Count"), Some(entry.links.max(1).to_string()), "{path}");
        assert_eq!(value("Reparse Tag"), entry.reparse.map(|(tag, _)| format!("{tag:#x}")), "{path}");
        let object_id = lines.iter().position(|line| line.starts_with("Object ID"));
        assert_eq!(object_id.is_some(), entry.object_id.is_some(), "{path}: {lines:?}");
        let mut streams = BTreeMap::new();
        let mut name = None;
        for line in lines {
            if line == "Unnamed data stream:" {
                name = Some(String::new());
            } else if let Some(rest) = line.strip_prefix("Named data stream \"") {
                name = Some(rest.trim_end_matches("\":").to_owned());
            } else if line == "Reparse point stream:" {
                name = Some("reparse".into());
            } else if let (Some(hash), Some(name)) = (line.strip_prefix("Hash              = 0x"), name.take()) {
                streams.insert(name, hash.to_owned());
            }
        }
        let nothing = Sha1Hash::of(&[]);
        let shown = |sha1: Sha1Hash| if sha1 == nothing { "0".repeat(40) } else { sha1.to_string() };
        let mut expected: BTreeMap<String, String> =
            entry.streams.iter().map(|(name, (_, sha1))| (name.clone(), shown(*sha1))).collect();
        expected.extend(entry.reparse.map(|(_, sha1)| ("reparse".into(), shown(sha1))));
        if entry.reparse.is_some() {
            expected.remove(""); // wimlib does not list it beside a reparse point
        }
        if entry.is_directory {
            // wimlib gives directories an empty main stream.
            streams.remove("").map_or((), |hash| assert_eq!(hash, "0".repeat(40)));
        }
        assert_eq!(streams, expected, "{path}");
    }
}

/// Captures `source` as `name` with further arguments, reads it, and compares it with source and listing.
fn capture_and_compare(place: &Place, name: &str, arguments: &[&str]) -> Wim {
    let mut all = vec!["capture", "source", name, "Test image", "--no-acls"];
    all.extend_from_slice(arguments);
    place.wimlib(&all);
    let wim = place.open(name);
    assert!(wim.warnings().is_empty(), "{name}: {:?}", wim.warnings());
    let volume = wim.tree(1).unwrap();
    assert!(volume.notes.lines().is_empty(), "{:?}", volume.notes);
    let found = dump(&volume.tree, 3).unwrap();
    assert_same_files(&found, &place.path("source"));
    assert_same_listing(&found, &listing(place, name, 1));
    assert_eq!(found, dump(&volume.tree, 1).unwrap());
    wim
}

#[test]
fn reads_every_compression_and_chunk_size_of_wimlib() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    make_source(&place.path("source"));
    let cases: &[(&str, &[&str])] = &[
        ("none", &[]),
        ("XPRESS", &["4096", "8192", "32768", "65536"]),
        ("LZX", &["32768", "65536", "524288", "2097152"]),
        ("LZMS", &["32768", "131072", "1048576", "67108864"]),
    ];
    for (compression, chunk_sizes) in cases {
        let compress = format!("--compress={compression}");
        let wim = capture_and_compare(&place, &format!("{compression}.wim"), &[&compress]);
        assert_eq!(wim.summary().compression.to_string(), *compression);
        for size in *chunk_sizes {
            let chunk = format!("--chunk-size={size}");
            let wim = capture_and_compare(&place, &format!("{compression}{size}.wim"), &[&compress, &chunk]);
            assert_eq!(wim.summary().chunk_size.to_string(), *size);
        }
    }
}

#[test]
fn reads_solid_resources_of_wimlib() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    make_source(&place.path("source"));
    let cases = [
        ("LZMS", "67108864"),
        ("LZMS", "131072"),
        ("LZMS", "1048576"),
        ("LZX", "32768"),
        ("LZX", "2097152"),
        ("XPRESS", "4096"),
    ];
    for (compression, size) in cases {
        let compress = format!("--solid-compress={compression}");
        let chunk = format!("--solid-chunk-size={size}");
        let name = format!("{compression}{size}.esd");
        let wim = capture_and_compare(&place, &name, &["--solid", &compress, &chunk]);
        assert!(wim.summary().solid);
        // One blob alone, wherever it lies.
        let tree = wim.tree(1).unwrap().tree;
        for path in ["a/b/c/mixed", "one", "a/text1100000", "Größe/small 199"] {
            let bytes = tree.read_file(path).unwrap().unwrap();
            assert!(bytes == fs::read(place.path("source").join(path)).unwrap(), "{path}");
        }
    }
}

#[test]
fn reads_split_wims_in_any_order_and_misses_parts() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    make_source(&place.path("source"));
    capture_and_compare(&place, "whole.wim", &["--compress=XPRESS"]);
    place.wimlib(&["split", "whole.wim", "part.swm", "1"]);
    let mut parts = vec![place.load("part.swm")];
    while let Ok(bytes) = fs::read(place.path(&format!("part{}.swm", parts.len() + 1))) {
        parts.push(Arc::new(bytes));
    }
    assert!(parts.len() > 2);
    let reordered: Vec<_> = std::iter::once(parts[0].clone()).chain(parts[1..].iter().rev().cloned()).collect();
    let whole = dump(&place.open("whole.wim").tree(1).unwrap().tree, 2).unwrap();
    let split = Wim::open(reordered).unwrap();
    assert_eq!(split.summary().parts, parts.len());
    assert_eq!(dump(&split.tree(1).unwrap().tree, 3).unwrap(), whole);

    let fails = |parts: Vec<Arc<dyn ReadAt>>| {
        let error = Wim::open(parts).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        error.to_string()
    };
    assert!(fails(parts[..2].to_vec()).contains("without part 3"));
    assert!(fails(parts[1..].to_vec()).contains("part 2 of"));
    assert!(fails([parts.as_slice(), &parts[1..2]].concat()).contains("part 2 is given twice"));
    assert!(fails([parts.as_slice(), &[place.load("whole.wim")]].concat()).contains("belongs to another WIM"));
}

#[test]
fn refuses_by_name_what_it_cannot_read() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    fs::create_dir_all(place.path("source")).unwrap();
    fs::write(place.path("source/base"), b"base").unwrap();
    place.wimlib(&["capture", "source", "base.wim", "Base", "--no-acls"]);
    place.wimlib(&["capture", "source", "pipe.wim", "Pipe", "--no-acls", "--pipable"]);
    fs::write(place.path("source/more"), b"more").unwrap();
    place.wimlib(&["capture", "source", "delta.wim", "Delta", "--no-acls", "--delta-from=base.wim"]);

    let error = Wim::open(vec![place.load("pipe.wim")]).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("pipable"), "{error}");
    let error = place.open("delta.wim").tree(1).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("delta") && error.to_string().contains("\\base"), "{error}");
    assert!(error.hint_text().unwrap().contains("wimlib-imagex export"));

    let mut bytes = fs::read(place.path("base.wim")).unwrap();
    bytes[16] |= 0x40;
    assert!(Wim::open(vec![Arc::new(bytes.clone())]).err().unwrap().to_string().contains("unfinished"));
    bytes[16] &= !0x40;
    bytes[0x2C..0x30].fill(0);
    assert_eq!(Wim::open(vec![Arc::new(bytes)]).err().unwrap().kind(), Kind::NoSuchImage);
    assert_eq!(Wim::open(vec![Arc::new(b"MSWIM\0\0\0".to_vec())]).err().unwrap().kind(), Kind::Truncated);
    assert_eq!(Wim::open(vec![Arc::new(vec![0; 500])]).err().unwrap().kind(), Kind::Corrupt);
    assert_eq!(Wim::open(Vec::new()).err().unwrap().kind(), Kind::Invalid);
}

#[test]
fn checks_the_integrity_table_on_request() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    make_source(&place.path("source"));
    let wim = capture_and_compare(&place, "sound.wim", &["--compress=none", "--check"]);
    let mut last = (0, 0);
    let tables = wim.check_integrity(&mut |done, total| {
        last = (done, total);
        Ok(())
    });
    assert_eq!(tables.unwrap(), 1);
    assert!(last.0 == last.1 && last.0 > 1_000_000, "{last:?}");
    let mut bytes = fs::read(place.path("sound.wim")).unwrap();
    bytes[500_000] ^= 1;
    let damaged = Wim::open(vec![Arc::new(bytes)]).unwrap();
    let error = damaged.check_integrity(&mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("integrity table"), "{error}");
}

#[test]
fn chooses_images_by_index_name_and_edition() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    fs::create_dir_all(place.path("source")).unwrap();
    fs::write(place.path("source/file"), b"1").unwrap();
    place.wimlib(&["capture", "source", "x.wim", "Nano Server Standard", "First", "--no-acls"]);
    fs::write(place.path("source/file"), b"2").unwrap();
    place.wimlib(&["append", "source", "x.wim", "Nano Server Datacenter", "--no-acls"]);
    place.wimlib(&["info", "x.wim", "2", "--image-property", "FLAGS=ServerDatacenterNano"]);
    place.wimlib(&["info", "x.wim", "2", "--boot"]);
    let wim = place.open("x.wim");
    assert_eq!(wim.images().len(), 2);
    assert_eq!(wim.images()[0].description.as_deref(), Some("First"));
    assert_eq!(wim.images()[0].files, Some(1));
    assert_eq!(wim.summary().boot_index, Some(2));
    let info = place.wimlib(&["info", "x.wim"]);
    let guid = wim.guid().to_bytes_le();
    assert!(info.contains(&hex(&guid)), "{info}");
    for (wanted, index) in
        [("1", 1), ("2", 2), ("datacenter", 2), ("NANO SERVER STANDARD", 1), ("ServerDatacenterNano", 2)]
    {
        assert_eq!(wim.select(wanted).unwrap(), index, "{wanted}");
    }
    for wanted in ["3", "0", "", "Nano", "Essentials"] {
        let error = wim.select(wanted).unwrap_err();
        assert_eq!(error.kind(), Kind::NoSuchImage);
        assert!(error.to_string().contains("2: Nano Server Datacenter [ServerDatacenterNano]"), "{error}");
    }
    assert_eq!(wim.tree(2).unwrap().tree.read_file("file").unwrap().unwrap(), b"2");
    assert_eq!(wim.tree(1).unwrap().tree.read_file("file").unwrap().unwrap(), b"1");
    assert!(wim.tree(3).is_err());
}

fn time(seconds: u64) -> FileTime {
    FileTime(131_000_000_000_000_000 + seconds * 10_000_000 + seconds % 10)
}

fn times(seed: u64) -> Times {
    let modified = time(seed * 3 + 1);
    Times { created: time(seed), modified, changed: modified, accessed: time(seed * 5 + 2) }
}

fn link(name: &str, short: Option<&str>, node: NodeId) -> Link {
    Link { name: name.into(), short: short.map(Name::from), node }
}

fn stream(name: &str, bytes: &[u8]) -> Stream {
    Stream { name: name.into(), content: bytes.to_vec().into(), sparse: false }
}

/// Owner and group SYSTEM; one entry in the DACL, with `mask` for Administrators.
fn descriptor(mask: u32) -> Vec<u8> {
    let system = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let administrators = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
    let mut bytes = vec![1, 0, 4, 0x80];
    for offset in [20u32, 32, 0, 44] {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes.extend_from_slice(&system);
    bytes.extend_from_slice(&system);
    bytes.extend_from_slice(&[2, 0, 32, 0, 1, 0, 0, 0, 0, 0, 24, 0]);
    bytes.extend_from_slice(&mask.to_le_bytes());
    bytes.extend_from_slice(&administrators);
    bytes
}

/// A junction to `C:\Windows`, without the header that NTFS puts before it.
fn junction() -> Vec<u8> {
    let target: Vec<u8> = r"\??\C:\Windows".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let print: Vec<u8> = r"C:\Windows".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = Vec::new();
    for value in [0, target.len(), target.len() + 2, print.len()] {
        data.extend_from_slice(&(value as u16).to_le_bytes());
    }
    data.extend_from_slice(&[target.as_slice(), &[0, 0], &print, &[0, 0]].concat());
    data
}

/// A tree that has everything that NTFS and WIM can both hold.
fn rich_tree() -> Tree {
    let mut random = Random(99);
    let mut tree = Tree::new(Node::directory(attributes::HIDDEN | attributes::SYSTEM, times(1)));
    let ids: Vec<_> =
        [0x001F_01FF, 0x0012_00A9, 0x0013_01BF].map(|mask| tree.add_descriptor(&descriptor(mask))).to_vec();
    let root = tree.root();
    tree.node_mut(root).descriptor = Some(ids[0]);
    let mut add = |mut node: Node, number: u64| {
        node.times = times(number);
        node.descriptor = Some(ids[number as usize % 3]);
        tree.add_node(node).unwrap()
    };
    let windows = add(Node::directory(0, Times::default()), 2);
    let mut kernel = Node::file(attributes::READ_ONLY, Times::default(), random.text(500_000).into());
    kernel.streams.push(stream("Zone.Identifier", b"[ZoneTransfer]"));
    kernel.streams.push(stream("empty", b""));
    kernel.object_id = Some((0..16).collect());
    kernel.extended =
        vec![ExtendedAttribute { flags: 0, name: b"NANO".as_slice().into(), value: random.noise(60).into() }];
    let kernel = add(kernel, 3);
    let shared = add(Node::file(attributes::ARCHIVE, Times::default(), random.noise(70_000).into()), 4);
    let empty = add(Node::file(0, Times::default(), Content::empty()), 5);
    let mut users = Node::directory(0, Times::default());
    users.streams.push(stream("on a directory", b"directory stream"));
    let users = add(users, 6);
    let mut mount = Node::directory(0, Times::default());
    mount.attributes = attributes::REPARSE_POINT;
    mount.reparse = Some(Reparse { tag: 0xA000_0003, data: junction().into() });
    let mount = add(mount, 7);
    let mut wof = Node::file(0, Times::default(), b"main stream beside a reparse point".to_vec().into());
    wof.attributes = attributes::REPARSE_POINT;
    wof.reparse = Some(Reparse { tag: 0x8000_0017, data: random.noise(40).into() });
    wof.streams.push(stream("named", b"and a named one"));
    let wof = add(wof, 8);
    let unicode = add(Node::file(0, Times::default(), b"\x01".to_vec().into()), 9);
    tree.set_children(
        windows,
        vec![
            link("kernel with a long name.dll", Some("KERNEL~1.DLL"), kernel),
            link("shared.txt", None, shared),
            link("empty", None, empty),
        ],
    )
    .unwrap();
    tree.set_children(
        users,
        vec![link("second name of shared.txt", Some("SECOND~1.TXT"), shared), link("ß\u{1F600}.bin", None, unicode)],
    )
    .unwrap();
    tree.set_children(
        root,
        vec![
            link("Windows", None, windows),
            link("Users", None, users),
            link("junction", None, mount),
            link("wof.exe", None, wof),
        ],
    )
    .unwrap();
    tree
}

fn options(compression: Compression) -> Options {
    Options {
        compression,
        chunk_size: 32768,
        guid: uuid::Uuid::from_u128(0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF),
        boot_index: Some(1),
        integrity: true,
        threads: NonZeroUsize::new(3).unwrap(),
    }
}

fn info() -> ImageInfo {
    ImageInfo {
        name: Some("Rich & strange".into()),
        description: Some("Everything".into()),
        flags: Some("ServerDatacenterNano".into()),
        edition: Some("ServerDatacenterNano".into()),
        architecture: Some(9),
        version: Some(Version { major: 10, minor: 0, build: 14393, revision: 1, service_pack: 0 }),
        languages: vec!["en-US".into()],
        default_language: Some("en-US".into()),
        created: Some(time(1)),
        modified: Some(time(2)),
        ..ImageInfo::default()
    }
}

fn written(images: &[(&Tree, ImageInfo)], options: &Options) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let written = wim::write(&mut out, images, options).unwrap();
    let bytes = out.into_inner();
    assert_eq!(written.bytes, bytes.len() as u64);
    bytes
}

/// A second image, of a single file.
fn plain_tree() -> Tree {
    let mut tree = Tree::new(Node::directory(0, times(20)));
    let file = tree.add_node(Node::file(0, times(21), Random(5).text(123_456).into())).unwrap();
    tree.add_link(tree.root(), link("only file", None, file)).unwrap();
    tree
}

const WRITABLE: [Compression; 3] = [Compression::None, Compression::Xpress, Compression::Lzx];

#[test]
fn what_is_written_is_read_and_written_again() {
    let (tree, other) = (rich_tree(), plain_tree());
    let wanted = dump(&tree, 1).unwrap();
    for compression in WRITABLE {
        let images = [(&tree, info()), (&other, ImageInfo::default())];
        let bytes = written(&images, &options(compression));
        let single = Options { threads: NonZeroUsize::MIN, ..options(compression) };
        assert!(bytes == written(&images, &single), "the number of threads changes the output");
        let wim = Wim::open(vec![Arc::new(bytes)]).unwrap();
        assert!(wim.warnings().is_empty());
        assert_eq!(wim.check_integrity(&mut |_, _| Ok(())).unwrap(), 1);
        assert_eq!(wim.images()[0].name, info().name);
        assert_eq!(wim.summary().boot_index, Some(1));
        assert_eq!(dump(&wim.tree(1).unwrap().tree, 2).unwrap(), wanted);
        // Now from the store of a WIM, into each compression.
        let volumes = [wim.tree(1).unwrap(), wim.tree(2).unwrap()];
        for next in WRITABLE {
            let images = [(&volumes[0].tree, info()), (&volumes[1].tree, ImageInfo::default())];
            let again = Wim::open(vec![Arc::new(written(&images, &options(next)))]).unwrap();
            assert_eq!(dump(&again.tree(1).unwrap().tree, 2).unwrap(), wanted);
            assert_eq!(dump(&again.tree(2).unwrap().tree, 2).unwrap(), dump(&other, 1).unwrap());
        }
    }
}

#[test]
fn wimlib_reads_what_is_written() {
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    let (tree, other) = (rich_tree(), plain_tree());
    for compression in WRITABLE {
        let chunk_sizes: &[u32] = if compression == Compression::Lzx { &[32768, 1 << 21] } else { &[4096, 65536] };
        for chunk_size in chunk_sizes {
            let options = Options { chunk_size: *chunk_size, ..options(compression) };
            let bytes = written(&[(&tree, info()), (&other, ImageInfo::default())], &options);
            fs::write(place.path("out.wim"), &bytes).unwrap();
            place.wimlib(&["verify", "out.wim"]);
            place.wimlib(&["info", "out.wim", "--check"]);
            assert_same_listing(&dump(&tree, 1).unwrap(), &listing(&place, "out.wim", 1));
            let xml = place.wimlib(&["info", "out.wim", "1"]);
            let lines = [
                "Name:                   Rich & strange",
                "Architecture:           x86_64",
                "Hard Link Bytes:        70000",
            ];
            for line in lines {
                assert!(xml.contains(line), "{line} is not in {xml}");
            }
            let _ = fs::remove_dir_all(place.path("applied"));
            place.wimlib(&["apply", "out.wim", "2", "applied", "--no-acls"]);
            assert_same_files(&dump(&other, 1).unwrap(), &place.path("applied"));
        }
    }
}

#[test]
fn metadata_survives_wimlib_and_an_ntfs_volume() {
    let Some(place) = Place::with(&["wimlib-imagex", "mkntfs"]) else { return };
    let tree = rich_tree();
    fs::write(place.path("out.wim"), written(&[(&tree, info())], &options(Compression::None))).unwrap();
    let volume = fs::File::create(place.path("volume")).unwrap();
    volume.set_len(32 << 20).unwrap();
    place.tools.run_in(place.folder.path(), "mkntfs", &["-Q", "-F", "-q", "volume"]);
    place.wimlib(&["apply", "out.wim", "1", "volume", "--norpfix"]);
    place.wimlib(&["capture", "volume", "back.wim", "Back", "--norpfix"]);
    let back = place.open("back.wim").tree(1).unwrap();
    let found = dump(&back.tree, 2).unwrap();
    assert_same_listing(&found, &listing(&place, "back.wim", 1));
    let mut wanted = dump(&tree, 1).unwrap();
    // Birth ids that NTFS adds to an object id.
    for (path, entry) in &mut wanted {
        let other = &found[path];
        assert_eq!(entry.object_id.as_deref(), other.object_id.as_deref().map(|id| &id[..16]), "{path}");
        entry.object_id.clone_from(&other.object_id);
        entry.extended.clear(); // which wimlib does not put onto NTFS volumes
        assert_eq!(entry, other, "{path}");
    }
    assert_eq!(found.len(), wanted.len());
}

/// Every single-bit flip is found, or does not matter.
fn flip_bits(bytes: &[u8], flips: usize) {
    let reference = Wim::open(vec![Arc::new(bytes.to_vec())]).unwrap();
    let wanted = dump(&reference.tree(1).unwrap().tree, 1).unwrap();
    let mut random = Random(0xF11B);
    let mut refused = 0;
    for flip in 0..flips {
        // The header and the tables at the end are small; each third of the flips goes to one region.
        let at = match flip % 3 {
            0 => random.below(208),
            1 => bytes.len() - 1 - random.below(2500.min(bytes.len())),
            _ => random.below(bytes.len()),
        };
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << random.below(8);
        let read = || dump(&Wim::open(vec![Arc::new(damaged)])?.tree(1)?.tree, 2);
        match read() {
            Ok(found) => assert_eq!(found, wanted, "flip at {at:#x}"),
            Err(error) => {
                refused += 1;
                assert!(error.kind() != Kind::Invalid || at < 208, "flip at {at:#x}: {error}");
            }
        }
    }
    assert!(refused > flips / 3, "{refused} of {flips}");
}

#[test]
fn finds_every_flipped_bit_that_matters() {
    let mut random = Random(7);
    let mut tree = rich_tree();
    for number in 0..20 {
        let node = tree.add_node(Node::file(0, times(number), random.text(100 + number as usize * 90).into())).unwrap();
        tree.add_link(tree.root(), link(&format!("file {number}"), None, node)).unwrap();
    }
    for (compression, flips) in [(Compression::None, 300), (Compression::Xpress, 1000), (Compression::Lzx, 300)] {
        flip_bits(&written(&[(&tree, info())], &options(compression)), flips);
    }
    let Some(place) = Place::with(&["wimlib-imagex"]) else { return };
    fs::create_dir_all(place.path("source/folder")).unwrap();
    for number in 0..30 {
        fs::write(place.path(&format!("source/folder/{number}")), random.text(number * 211)).unwrap();
    }
    for (name, arguments) in [
        ("lzx.wim", ["--compress=LZX", "--check"]),
        ("lzms.wim", ["--compress=LZMS", "--check"]),
        ("solid.esd", ["--solid", "--check"]),
    ] {
        place.wimlib(&[&["capture", "source", name, "--no-acls"], arguments.as_slice()].concat());
        flip_bits(&fs::read(place.path(name)).unwrap(), 600);
    }
}

#[test]
fn truncated_files_are_refused() {
    let bytes = written(&[(&rich_tree(), info())], &options(Compression::Xpress));
    let wanted = dump(&Wim::open(vec![Arc::new(bytes.clone())]).unwrap().tree(1).unwrap().tree, 1).unwrap();
    // Without XML and integrity table, which come last, an image can still be used by its index.
    let table_end = bytes.len() - 4000;
    for len in (0..table_end).step_by(table_end / 97).chain(table_end..bytes.len()) {
        let read = |bytes: Vec<u8>| dump(&Wim::open(vec![Arc::new(bytes)])?.tree(1)?.tree, 2);
        match read(bytes[..len].to_vec()) {
            Ok(found) => assert!(len > table_end && found == wanted, "{len}"),
            Err(error) => assert_ne!(error.kind(), Kind::Invalid, "{len}: {error}"),
        }
    }
}
