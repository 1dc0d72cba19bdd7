//! WIM files against wimlib: what it writes is read, what is written it reads, and damage is found.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod dump;
mod fixtures;

use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use nanovhd::base::ReadAt;
use nanovhd::error::Kind;
use nanovhd::format::wim::{self, Compression, ImageInfo, Options, Version, Wim};
use nanovhd::tree::{Node, Tree};
use tempfile::TempDir;

use self::dump::{assert_same_files, assert_same_listing, dump, hex, listing};
use self::fixtures::{Random, link, make_source, plain_tree, rich_tree, time, times};
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

/// Whichever bit of what the images are found by is flipped: each index means the same image as before, or nothing.
#[test]
fn no_bit_of_header_or_table_changes_what_an_image_holds() {
    let (tree, other) = (rich_tree(), plain_tree());
    for compression in WRITABLE {
        let bytes = written(&[(&tree, info()), (&other, ImageInfo::default())], &options(compression));
        let wim = Wim::open(vec![Arc::new(bytes.clone())]).unwrap();
        let wanted = [1, 2].map(|index| dump(&wim.tree(index).unwrap().tree, 1).unwrap());
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let table = field(0x38)..field(0x38) + field(0x40);
        let is_metadata = |entry: &usize| bytes[entry + 7] & 2 != 0;
        let metadata: Vec<usize> = table.clone().step_by(50).filter(is_metadata).collect();
        assert_eq!(metadata.len(), 2);
        let mut refused = [0; 2];
        for at in (0..208).chain(metadata.iter().flat_map(|entry| *entry..entry + 50)) {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let damaged = Wim::open(vec![Arc::new(damaged)]);
                for index in [1, 2] {
                    let read = || dump(&damaged.as_ref().ok()?.tree(index).ok()?.tree, 1).ok();
                    match read() {
                        Some(found) => assert!(found == wanted[index - 1], "image {index}, bit {bit} of {at:#x}"),
                        None => refused[usize::from(at >= 208)] += 1,
                    }
                }
            }
        }
        // Magic, sizes, offsets; the second image is still read when the first one's place or hash is damaged.
        assert!(refused[0] > 400 && refused[1] > 400, "{compression}: {refused:?}");
    }
}

#[test]
fn truncated_files_are_refused() {
    let bytes = written(&[(&rich_tree(), info())], &options(Compression::Xpress));
    let end = bytes.len() - 200;
    for len in (0..end).step_by(end / 97).chain(end..bytes.len()) {
        let read = |bytes: Vec<u8>| dump(&Wim::open(vec![Arc::new(bytes)])?.tree(1)?.tree, 2);
        let error = read(bytes[..len].to_vec()).unwrap_err();
        assert_eq!(error.kind(), Kind::Truncated, "{len}: {error}");
    }
}
