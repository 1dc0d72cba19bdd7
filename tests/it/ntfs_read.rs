//! NTFS volumes read back: our own, ntfs-3g's and Windows', compared with what went in and with what other readers say.
#![allow(clippy::unwrap_used)] // as in tests

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nanovhd::base::{FileTime, MemoryDisk, ReadAt};
use nanovhd::codec::{lzx, xpress};
use nanovhd::error::{Kind, Result};
use nanovhd::format::ntfs::read::{Contents, Volume};
use nanovhd::format::ntfs::{BOOT_CODE, Options, Plan};
use nanovhd::format::wim::Wim;
use nanovhd::tree::{
    BlobId, BlobSink, BlobStore, Content, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes,
};

use crate::support::random_tree::{Maker, Random, random_tree};
use crate::support::tools::{Tools, text, windows_file};
use crate::support::trees::{Leniency, compare};
use crate::support::volume;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Writes a tree to a volume with some free space, over a disk that is all 0xD1.
fn build(tree: &Tree, options: &Options) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + (16 << 20)).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    Plan::new(tree, len, options).unwrap().write(tree, &disk, threads(2), &|_| {}).unwrap();
    disk.into_bytes()
}

fn read(volume: Vec<u8>) -> Contents {
    Volume::open(Arc::new(volume)).unwrap().read().unwrap()
}

#[test]
fn our_own_volumes_give_back_the_tree() {
    let sizes = [(512, 4096), (512, 512), (512, 65536), (4096, 4096), (512, 2048), (4096, 32768)];
    for (seed, (sector_size, cluster_size)) in (1..).zip(sizes) {
        let tree = random_tree(seed, cluster_size.into());
        let options = Options {
            sector_size,
            cluster_size,
            hidden_sectors: 2048,
            serial: 0x1234_5678_9ABC_DEF0,
            label: "Nano Ü".into(),
            created: FileTime(0x01D3_0000_0000_0000),
            boot_code: BOOT_CODE.into(),
        };
        let bytes = build(&tree, &options);
        let len = bytes.len() as u64;
        let volume = Volume::open(Arc::new(bytes)).unwrap();
        let facts = volume.facts();
        assert_eq!((facts.sector_size, facts.cluster_size), (sector_size, cluster_size));
        assert_eq!((facts.hidden_sectors, facts.serial, facts.len), (2048, options.serial, len));
        assert_eq!((&facts.label, facts.created), (&options.label, options.created));
        assert_eq!((facts.version, facts.dirty), ((3, 1), false));
        assert!((10 << 20..17 << 20).contains(&facts.free_bytes), "{} bytes free", facts.free_bytes);
        let contents = volume.read().unwrap();
        assert_eq!((contents.lost, contents.notes), (0, Vec::<String>::new()));
        let leniency = Leniency { written: true, ..Leniency::default() };
        assert!(compare(&tree, &contents.tree, leniency) > 300);
        streams_give_what_reads_give(&contents.tree);
    }
}

/// Puts the pieces of blobs together, in whatever order they come.
#[derive(Default)]
struct Pieces(Mutex<HashMap<BlobId, Vec<Piece>>>);

/// An offset, and the bytes there.
type Piece = (u64, Vec<u8>);

impl BlobSink for Pieces {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        assert!(!data.is_empty() && data.len() <= 1 << 20);
        self.0.lock().unwrap().entry(blob).or_default().push((at, data.to_vec()));
        Ok(())
    }
}

/// All blobs of a tree that was read from a volume.
fn blobs(tree: &Tree) -> Vec<BlobId> {
    let blob = |content: &Content| match content {
        Content::Blob { blob, .. } => Some(*blob),
        Content::Bytes(_) => None,
    };
    let mut blobs: Vec<BlobId> = tree.contents().filter_map(|(_, content)| blob(content)).collect();
    let store = &tree.stores()[0];
    blobs.sort_by_key(|blob| store.position(*blob));
    blobs
}

fn streams_give_what_reads_give(tree: &Tree) {
    let store: &dyn BlobStore = &*tree.stores()[0];
    let wanted = blobs(tree);
    for count in [1, 3] {
        let pieces = Pieces::default();
        store.stream(&wanted, threads(count), &pieces).unwrap();
        let mut pieces = pieces.0.into_inner().unwrap();
        for blob in &wanted {
            let mut found = pieces.remove(blob).unwrap_or_default();
            assert!(count > 1 || found.is_sorted_by_key(|(at, _)| *at), "one thread gives pieces in order");
            found.sort();
            let joined = found.iter().fold(Vec::new(), |mut all: Vec<u8>, (at, bytes)| {
                assert_eq!(all.len() as u64, *at);
                all.extend(bytes);
                all
            });
            assert!(joined == store.read(*blob).unwrap());
        }
        assert!(pieces.is_empty());
    }
}

/// Compressible, and different at each place.
fn prose(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("line {line} of a text that compresses well\r\n").into_bytes())
        .take(len)
        .collect()
}

/// Makes files in a mounted folder until the volume is full, and says how many there are.
fn fill_up(folder: &Path, most: usize, name: &str, content: &[u8]) -> usize {
    let full = |at: &usize| fs::write(folder.join(format!("{name}{at}")), content).is_err();
    (0..most).find(full).unwrap_or(most)
}

/// Files that are compressed, sparse, in many pieces, with many names and streams; `$MFT` in so many pieces that its own record
/// cannot list them.
fn awkward(tools: &Tools, root: &Path, random: &mut Random) {
    let packed = root.join("packed");
    fs::create_dir(&packed).unwrap();
    tools.run("setfattr", &["-n", "system.ntfs_attrib_be", "-v", "0x00000800", text(&packed)]);
    let prose = prose(600_000);
    fs::write(packed.join("text"), &prose).unwrap();
    fs::write(packed.join("noise"), random.bytes(300_000)).unwrap();
    let mixed = [&prose[..100_000], &random.bytes(200_000), &vec![0; 150_000], &prose[7..77_777]].concat();
    fs::write(packed.join("mixed"), mixed).unwrap();
    fs::write(packed.join("short"), &prose[..5000]).unwrap();
    let sparse = |path: &Path, at: u64, len: u64| {
        let mut file = File::create(path).unwrap();
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&prose[..5000])).unwrap();
        file.set_len(len).unwrap();
    };
    sparse(&packed.join("sparse"), 500_000, 1 << 20);
    sparse(&root.join("sparse"), 3 << 20, 9 << 20);
    sparse(&root.join("all hole"), 0, 0);
    File::options().write(true).open(root.join("all hole")).unwrap().set_len(1 << 20).unwrap();

    let links = root.join("links");
    fs::create_dir(&links).unwrap();
    fs::write(root.join("linked"), "many names").unwrap();
    for at in 0..60 {
        fs::hard_link(root.join("linked"), links.join(format!("a hard link with quite a long name, {at}"))).unwrap();
    }
    let streams = root.join("streams");
    fs::write(&streams, "main").unwrap();
    for at in 0..30 {
        let value = format!("0x{}", "5a".repeat(1 + 97 * at));
        tools.run("setfattr", &["-n", &format!("user.stream {at}"), "-v", &value, text(&streams)]);
    }

    let mut fragmented = File::create(root.join("fragmented")).unwrap();
    for at in 0..900 {
        fragmented.seek(SeekFrom::Start(at * 131_072)).unwrap();
        fragmented.write_all(&random.bytes(3000)).unwrap();
    }
    drop(fragmented);

    // Every other cluster is free after this.
    let small = root.join("small");
    fs::create_dir(&small).unwrap();
    let count = fill_up(&small, usize::MAX, "", &random.bytes(4096));
    assert!(count > 500, "{count}");
    for at in (0..count).step_by(2) {
        fs::remove_file(small.join(at.to_string())).unwrap();
    }
    // More records, in what is left.
    fill_up(&small, 2 * count, "tiny ", b"resident");
}

/// Reads `volume`, and compares it with what wimlib captures from it, and each stream with what ntfscat reads.
fn compare_with_others(tools: &Tools, path: &Path, every: usize) -> Contents {
    let contents = read(fs::read(path).unwrap());
    assert_eq!(contents.lost, 0, "{:?}", contents.notes);
    let folder = tempfile::tempdir().unwrap();
    let (wim, config) = (folder.path().join("captured.wim"), folder.path().join("config.ini"));
    fs::write(&config, "[ExclusionList]\n").unwrap(); // by default, it leaves folders out by their names
    let config = format!("--config={}", text(&config));
    tools.run("wimlib-imagex", &["capture", text(path), text(&wim), "--compress=none", &config]);
    let captured = Wim::open(vec![Arc::new(fs::read(&wim).unwrap())]).unwrap().tree(1).unwrap();
    compare(&captured.tree, &contents.tree, Leniency { wim: true, ..Leniency::default() });
    streams_give_what_reads_give(&contents.tree);

    let tree = &contents.tree;
    let mut all = Vec::new();
    tree.visit(|path, link| {
        all.push((path.to_owned(), link.node));
        std::ops::ControlFlow::Continue(())
    });
    let short = all.iter().filter(|(path, _)| path.matches('\\').count() < 2);
    let sample = all.iter().filter(|(path, _)| path.matches('\\').count() >= 2).step_by(every);
    let mut read = 0;
    for (name, id) in short.chain(sample) {
        for stream in &tree.node(*id).streams {
            let (stream_name, inside) = (stream.name.to_string(), name.replace('\\', "/"));
            let named = ["-a", "0x80", "-n", &stream_name];
            let named = if stream.name.is_empty() { &named[..0] } else { &named[..] };
            let bytes = tools.run_for_bytes("ntfscat", &[&["-q"], named, &[text(path), &inside]].concat());
            assert!(bytes == tree.read(&stream.content).unwrap(), "{name}:{stream_name}");
            read += 1;
        }
    }
    println!("{read} streams as ntfscat reads them, {} names as wimlib has them", all.len());
    contents
}

#[test]
fn awkward_volumes_of_ntfs_3g() {
    let names = ["wimlib-imagex", "ntfscat", "setfattr"];
    let Some(tools) = Tools::find(&[&names[..], &volume::Volume::TOOLS].concat()) else { return };
    for (cluster, len) in [(4096, 48 << 20), (1024, 16 << 20)] {
        let mut random = Random::new(cluster as u64);
        let volume = volume::Volume::format(&tools, cluster, len, &["-L", "Awkward"]);
        if volume.mounted(|root| awkward(&tools, root, &mut random)).is_none() {
            return;
        }
        // The volume is what it is meant to be.
        let of = |info: &str, kind: &str| info.matches(&format!("Dumping attribute {kind} ")).count();
        let (table, fragmented) = (volume.info(&["-i", "0"]), volume.info(&["-F", "/fragmented"]));
        assert!(of(&table, "$DATA") > 1 || cluster < 4096, "$MFT is in pieces");
        assert!(of(&fragmented, "$ATTRIBUTE_LIST") == 1 && of(&fragmented, "$DATA") > 1);
        assert!(volume.info(&["-F", "/packed/text"]).contains("COMPRESSED"));
        let contents = compare_with_others(&tools, &volume.path(), 200);
        let node = |path: &str| contents.tree.node(contents.tree.find(path).unwrap());
        assert_eq!((node("linked").links(), node("streams").streams.len()), (61, 31));
        assert!(node("sparse").streams[0].sparse && node("packed").attributes & attributes::COMPRESSED != 0);
        assert!(contents.notes.is_empty(), "{:?}", contents.notes);
        assert_eq!(Volume::open(Arc::new(fs::read(volume.path()).unwrap())).unwrap().facts().label, "Awkward".into());
    }
}

#[test]
fn volumes_of_windows() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "ntfscat"]) else { return };
    for (name, label, files) in
        [("ntfs/windows10-formatted-10MB.img.xz", "", 3), ("ntfs/windows10-lastaccess.ntfs.xz", "Last access", 8)]
    {
        let Some(bytes) = windows_file(name) else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        fs::write(&path, &bytes).unwrap();
        let contents = compare_with_others(&tools, &path, 1);
        assert!(contents.notes.iter().all(|note| note.contains("$UsnJrnl")), "{:?}", contents.notes);
        assert_eq!(contents.tree.walk().count(), files);
        let volume = Volume::open(Arc::new(bytes)).unwrap();
        let facts = volume.facts();
        assert_eq!((&facts.label, facts.version, facts.dirty), (&label.into(), (3, 1), false));
    }
}

/// Algorithm, chunk size, and whether it is LZX.
const WOF: [(u32, usize, bool); 4] = [(0, 4096, false), (1, 32768, true), (2, 8192, false), (3, 16384, false)];

/// `WofCompressedData`: a table of where each chunk but the first begins, then the chunks.
fn overlay(data: &[u8], chunk_size: usize, is_lzx: bool) -> Vec<u8> {
    let (mut table, mut chunks) = (Vec::new(), Vec::new());
    let window = lzx::Window::of_chunk_size(1 << 15).unwrap();
    for chunk in data.chunks(chunk_size) {
        if !chunks.is_empty() {
            table.extend((chunks.len() as u32).to_le_bytes());
        }
        let mut packed = Vec::new();
        let smaller = match is_lzx {
            true => lzx::Encoder::new(window).encode(chunk, &mut packed),
            false => xpress::Encoder::new().encode(chunk, &mut packed),
        };
        chunks.extend(if smaller { &packed } else { chunk });
    }
    [table, chunks].concat()
}

fn overlaid(data: &[u8], algorithm: u32, packed: Vec<u8>) -> Node {
    let mut node = Node::file(attributes::ARCHIVE, Times::default(), vec![0; data.len()].into());
    node.streams[0].sparse = true;
    node.streams.push(Stream { name: "WofCompressedData".into(), content: packed.into(), sparse: false });
    let head = [1u32, 2, 1, algorithm].map(u32::to_le_bytes).concat();
    node.reparse = Some(Reparse { tag: 0x8000_0017, data: head.into() });
    node
}

fn add(tree: &mut Tree, name: &str, node: Node) -> NodeId {
    let id = tree.add_node(node).unwrap();
    tree.add_link(tree.root(), Link { name: name.into(), short: None, node: id }).unwrap();
    id
}

#[test]
fn files_of_the_overlay_filter_are_plain() {
    let mut random = Random::new(7);
    let long = [prose(1_000_000), random.bytes(40_000), vec![7; 99_999]].concat();
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let mut expected = Vec::new();
    for (algorithm, chunk, is_lzx) in WOF {
        for (name, data) in [("long", &long[..]), ("short", &long[..900]), ("even", &long[..4 * chunk]), ("none", &[])]
        {
            let name = format!("{name} {algorithm}");
            let packed = overlay(data, chunk, is_lzx);
            add(&mut tree, &name, overlaid(data, algorithm, packed));
            expected.push((name, data));
        }
    }
    let bytes = build(&tree, &Options::default());
    let contents = read(bytes.clone());
    assert_eq!(contents.lost, 0);
    assert!(contents.notes[0].starts_with("16 files are compressed by the overlay filter"), "{:?}", contents.notes);
    for (name, data) in &expected {
        let node = contents.tree.node(contents.tree.find(name).unwrap());
        assert_eq!((node.attributes, node.reparse.is_none(), node.streams.len()), (attributes::ARCHIVE, true, 1));
        assert!(contents.tree.read_file(name).unwrap().unwrap() == *data, "{name}");
    }
    streams_give_what_reads_give(&contents.tree);
}

/// The only resource of a WIM that unpacks to `len` bytes, as it lies in the file.
fn resource(wim: &[u8], len: u64) -> Vec<u8> {
    let number = |at: usize, bytes: usize| (0..bytes).rev().fold(0, |all, byte| all << 8 | u64::from(wim[at + byte]));
    let (table_len, table) = (number(0x30, 7) as usize, number(0x38, 8) as usize);
    let entries = (table..table + table_len).step_by(50);
    let found: Vec<usize> = entries.filter(|at| number(at + 16, 8) == len).collect();
    assert_eq!(found.len(), 1);
    let (stored, offset) = (number(found[0], 7) as usize, number(found[0] + 8, 8) as usize);
    assert!((stored as u64) < len, "it is compressed");
    wim[offset..offset + stored].to_vec()
}

/// The overlay filter keeps its contents as a WIM keeps resources, so that those of wimlib serve as its streams.
#[test]
fn overlays_that_wimlib_compressed() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, wim) = (folder.path().join("source"), folder.path().join("x.wim"));
    fs::create_dir(&source).unwrap();
    let data = [prose(700_000), Random::new(5).bytes(70_000), vec![0; 50_001]].concat();
    fs::write(source.join("file"), &data).unwrap();
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    for (algorithm, chunk, is_lzx) in WOF {
        let compression = format!("--compress={}", if is_lzx { "LZX" } else { "XPRESS" });
        let chunk = format!("--chunk-size={chunk}");
        tools.run("wimlib-imagex", &["capture", text(&source), text(&wim), "--no-acls", &compression, &chunk]);
        let packed = resource(&fs::read(&wim).unwrap(), data.len() as u64);
        fs::remove_file(&wim).unwrap();
        add(&mut tree, &algorithm.to_string(), overlaid(&data, algorithm, packed));
    }
    let contents = read(build(&tree, &Options::default()));
    for (algorithm, ..) in WOF {
        assert!(contents.tree.read_file(&algorithm.to_string()).unwrap().unwrap() == data, "{algorithm}");
    }
    streams_give_what_reads_give(&contents.tree);
}

#[test]
fn damaged_overlays_say_so() {
    let data = prose(100_000);
    let packed = overlay(&data, 4096, false);
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let mut cases = Vec::new();
    for (name, algorithm, packed, message) in [
        ("short table", 0, packed[..50].to_vec(), "shorter than its chunk table"),
        ("cut", 0, packed[..packed.len() - 10].to_vec(), "compressed data"),
        ("algorithm", 4, packed.clone(), "algorithm of a file compressed by WOF: found 4"),
        ("table", 0, [&[0xFF; 4], &packed[4..]].concat(), "length of a chunk"),
    ] {
        add(&mut tree, name, overlaid(&data, algorithm, packed));
        cases.push((name, message));
    }
    let mut backed = overlaid(&data, 0, Vec::new());
    backed.reparse = Some(Reparse { tag: 0x8000_0017, data: [1u32, 1, 1, 0].map(u32::to_le_bytes).concat().into() });
    add(&mut tree, "wim", backed);
    cases.push(("wim", "in a WIM file elsewhere"));
    let mut alone = overlaid(&data, 0, Vec::new());
    alone.streams.pop();
    add(&mut tree, "alone", alone);
    cases.push(("alone", "no stream WofCompressedData"));
    let contents = read(build(&tree, &Options::default()));
    for (name, message) in cases {
        let error = contents.tree.read_file(name).unwrap_err();
        assert!(error.to_string().starts_with(name) && error.to_string().contains(message), "{error}");
    }
    let failure = contents.tree.stores()[0].stream(&blobs(&contents.tree), threads(2), &Pieces::default()).unwrap_err();
    assert_eq!(failure.blobs.len(), 1);
}

/// A volume some bytes of which are others.
struct Patched {
    volume: Arc<Vec<u8>>,
    patches: Vec<(u64, u8)>,
}

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        self.volume.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.volume.read_at(at, buf)?;
        for (place, value) in &self.patches {
            if let Some(byte) = place.checked_sub(at).and_then(|at| buf.get_mut(at as usize)) {
                *byte = *value;
            }
        }
        Ok(())
    }
}

/// Reads all that there is; gives how many things failed.
fn read_all(volume: Patched) -> Result<u64> {
    let contents = Volume::open(Arc::new(volume))?.read()?;
    let mut failed = contents.lost;
    for (_, content) in contents.tree.contents().filter(|(_, content)| content.len() < 1 << 24) {
        match contents.tree.read(content) {
            Ok(bytes) => assert_eq!(bytes.len() as u64, content.len()),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated | Kind::Unsupported), "{error:?}");
                failed += 1;
            }
        }
    }
    Ok(failed)
}

/// Flips bits in the records and index blocks of a volume, several at once, and reads all of it.
fn flip(volume: &Arc<Vec<u8>>, seed: u64, rounds: usize) {
    let bytes: &[u8] = volume;
    let blocks: Vec<usize> = (0..bytes.len() - 1024)
        .step_by(512)
        .filter(|at| bytes[*at..].starts_with(b"FILE") || bytes[*at..].starts_with(b"INDX"))
        .flat_map(|at| [at, at + 512])
        .collect();
    assert!(blocks.len() > 50);
    let mut random = Random::new(seed);
    let (mut refused, mut partly) = (0, 0);
    for _ in 0..rounds {
        let mut patches = Vec::new();
        for _ in 0..1 + random.below(4) {
            let place = match random.below(10) {
                0 => random.below(512),
                1 => random.below(volume.len()),
                _ => blocks[random.below(blocks.len() as u64) as usize] as u64 + random.below(200),
            };
            let value = match random.below(3) {
                0 => random.next() as u8,
                1 => [0, 0xFF, 0x7F, 0x80][random.below(4) as usize],
                _ => volume[place as usize] ^ 1 << random.below(8),
            };
            patches.push((place, value));
        }
        let start = Instant::now();
        match read_all(Patched { volume: Arc::clone(volume), patches: patches.clone() }) {
            Ok(0) => {}
            Ok(_) => partly += 1,
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated | Kind::Unsupported), "{error:?}");
                refused += 1;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{patches:x?}");
    }
    println!("{rounds} damaged volumes: {refused} refused, {partly} read in part");
    assert!(partly > rounds / 10);
}

#[test]
fn damage_does_no_harm() {
    let mut maker = Maker::new(11, 1024);
    let root = maker.tree.root();
    maker.fill(root, 14, 2);
    maker.many_links(20);
    let packed = overlay(&prose(20_000), 4096, false);
    add(&mut maker.tree, "overlaid", overlaid(&prose(20_000), 0, packed));
    let options = Options { cluster_size: 1024, ..Options::default() };
    flip(&Arc::new(build(&maker.tree, &options)), 1, 3000);
}

#[test]
fn damage_to_compressed_and_listed_files_does_no_harm() {
    let names = ["setfattr"];
    let Some(tools) = Tools::find(&[&names[..], &volume::Volume::TOOLS].concat()) else { return };
    let volume = volume::Volume::format(&tools, 4096, 16 << 20, &[]);
    let mut random = Random::new(3);
    if volume.mounted(|root| awkward(&tools, root, &mut random)).is_some() {
        flip(&Arc::new(fs::read(volume.path()).unwrap()), 2, 150);
    }
}

#[test]
fn truncated_volumes_do_no_harm() {
    let tree = random_tree(3, 4096);
    let bytes = build(&tree, &Options::default());
    for len in (0..60).map(|part| bytes.len() / 60 * part).chain([1, 511, 512, 513, bytes.len() - 1]) {
        let volume = Patched { volume: Arc::new(bytes[..len].to_vec()), patches: Vec::new() };
        match read_all(volume) {
            Ok(failed) => assert!(failed > 0, "{len} bytes of {} are not all", bytes.len()),
            Err(error) => assert!(matches!(error.kind(), Kind::Truncated | Kind::Corrupt), "{error:?}"),
        }
    }
}
