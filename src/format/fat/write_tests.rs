//! Volumes that we write, through our own reader; foreign tools read them in the integration tests.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::*;
use crate::base::{FileTime, MemoryDisk};
use crate::error::{Kind, Result};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, Content, Link, Node, NodeId, Times, Tree, attributes};

const NOW: FileTime = FileTime(131_193_288_015_000_000); // 2016-09-26 02:00:01.5

fn options(sector_size: u64) -> Options {
    Options { sector_size, hidden_sectors: 2048, serial: 0x1234_ABCD, label: None, created: NOW, starts_bios: false }
}

fn add(tree: &mut Tree, directory: NodeId, name: &str, node: Node) -> NodeId {
    let node = tree.add_node(node).unwrap();
    tree.add_link(directory, Link { name: name.into(), short: None, node }).unwrap();
    node
}

fn file(content: &[u8]) -> Node {
    Node::file(attributes::ARCHIVE, Times::default(), content.to_vec().into())
}

fn directory() -> Node {
    Node::directory(0, Times::default())
}

fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251 + 1) as u8).collect()
}

fn sample() -> Tree {
    let mut tree = Tree::new(directory());
    let root = tree.root();
    let efi = add(&mut tree, root, "EFI", directory());
    let microsoft = add(&mut tree, efi, "Microsoft", directory());
    let boot = add(&mut tree, microsoft, "Boot", directory());
    add(&mut tree, microsoft, "Recovery", directory());
    add(&mut tree, boot, "bootmgfw.efi", file(&filler(1_234_567)));
    let bcd = add(&mut tree, boot, "BCD", file(&filler(32_768)));
    tree.node_mut(bcd).attributes = attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE;
    tree.node_mut(bcd).times = Times::all(FileTime(NOW.0 + 2 * 86_400 * 10_000_000));
    add(&mut tree, boot, "empty", file(&[]));
    let languages = add(&mut tree, boot, "qps-ploc", directory());
    for number in 0..150 {
        add(&mut tree, languages, &format!("A name with Ümläuts, number {number}.mui"), file(&filler(number)));
    }
    tree
}

fn read(image: &Image, len: u64) -> Tree {
    let disk = MemoryDisk::new(len as usize, 0);
    image.write(&disk).unwrap();
    let bytes = disk.into_bytes();
    let mut rest = bytes.clone();
    for range in image.used() {
        rest[range.start as usize..range.end as usize].fill(0);
    }
    assert!(rest.iter().all(|byte| *byte == 0), "all that is not zero is among the used ranges");
    let contents = Volume::open(Arc::new(bytes)).unwrap().read().unwrap();
    assert!(contents.notes.is_empty(), "{:?}", contents.notes);
    contents.tree
}

#[test]
fn reads_back_with_every_width_and_sector() {
    let sizes =
        [(512, 2 << 20), (512, 8 << 20), (512, 100 << 20), (512, 300 << 20), (4096, 8 << 20), (4096, 260 << 20)];
    let kinds = ["FAT12", "FAT16", "FAT32", "FAT32", "FAT12", "FAT32"];
    let tree = sample();
    for ((sector, len), kind) in sizes.into_iter().zip(kinds) {
        let image = Image::new(&tree, len, &options(sector)).unwrap();
        assert_eq!(image.summary().kind, kind, "{sector} {len}");
        assert_eq!((image.summary().files, image.summary().directories), (153, 5));
        let back = read(&image, len);
        let mut count = 0;
        tree.visit(|path, link| {
            count += 1;
            let made = tree.node(link.node);
            let found = back.node(back.find(path).unwrap_or_else(|| panic!("{path}")));
            assert_eq!(found.attributes, made.attributes, "{path}");
            assert_eq!(tree.read_file(path).unwrap(), back.read_file(path).unwrap(), "{path}");
            let modified = if made.times == Times::default() { NOW } else { made.times.modified };
            assert_eq!(found.times.modified.to_unix(), modified.to_unix() / 2 * 2, "{path}");
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!((count, back.walk().count()), (158, 158));
    }
}

#[test]
fn same_in_same_out() {
    let make = || {
        let disk = MemoryDisk::new(40 << 20, 0);
        let mut options = options(512);
        options.label = Some("System".into());
        Image::new(&sample(), 40 << 20, &options).unwrap().write(&disk).unwrap();
        disk.into_bytes()
    };
    let bytes = make();
    assert!(bytes == make());
    assert_eq!(bytes[0x1C..0x20], 2048_u32.to_le_bytes());
    assert_eq!(bytes[0x43..0x47], 0x1234_ABCD_u32.to_le_bytes());
    assert_eq!(&bytes[0x47..0x52], b"SYSTEM     ");
    assert!(bytes[..1024] == bytes[6 * 512..8 * 512], "the backup");
    let free = u32::from_le_bytes(bytes[512 + 488..512 + 492].try_into().unwrap());
    assert!((60_000..90_000).contains(&free), "{free}");
}

/// Every length from the least on, in steps that hit the gaps between the kinds.
#[test]
fn any_length_is_formatted_or_refused() {
    let tree = Tree::new(directory());
    let make = |len: u64, sector: u64| Image::new(&tree, len, &options(sector)).map(|image| image.summary().clone());
    for sector in [512, 4096] {
        let around = |clusters: u64| (clusters - 40) * sector..(clusters + 1400) * sector;
        let lengths =
            (0..64).map(|number| number * 4096).chain(around(4085).step_by(4096)).chain(around(65_525).step_by(65_536));
        for len in lengths {
            match make(len, sector) {
                Ok(summary) => assert!(summary.free < len),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Invalid, "{len} {error}");
                    assert!(len < 64 << 10 || (sector == 4096 && len < 256 << 10), "{len} {error}");
                }
            }
        }
    }
    assert!(make(MAX_LEN, 512).is_ok());
    for (len, sector) in [(MAX_LEN + 512, 512), (u64::MAX, 512), ((1 << 20) + 512, 4096), (1 << 20, 1024), (0, 512)] {
        assert!(make(len, sector).is_err(), "{len}");
    }
}

#[test]
fn needed_is_the_least_that_does() {
    for sector in [512, 4096] {
        let mut tree = sample();
        let small = Image::needed(&tree, sector);
        assert_eq!(small, if sector == 512 { 33 << 20 } else { 257 << 20 });
        assert_eq!(Image::new(&tree, small, &options(sector)).unwrap().summary().kind, "FAT32");
        let root = tree.root();
        // Just more than fits with the smallest clusters, which a volume gets that is just long enough for larger ones.
        add(&mut tree, root, "large", file(&vec![1; 258 << 20]));
        let large = Image::needed(&tree, sector);
        assert_eq!(Image::new(&tree, large, &options(sector)).unwrap().summary().kind, "FAT32");
        let error = Image::new(&tree, large - (2 << 20), &options(sector)).err().unwrap();
        assert_eq!(error.kind(), Kind::NoSpace, "{error}");
        let root = tree.root();
        let beyond = Content::Blob { store: tree.add_store(Arc::new(Nothing)), blob: BlobId(0), len: u64::MAX };
        add(&mut tree, root, "beyond", Node::file(0, Times::default(), beyond));
        assert_eq!(Image::needed(&tree, sector), u64::MAX);
        let error = Image::new(&tree, large, &options(sector)).err().unwrap();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    }
}

/// A store that is not to be asked.
struct Nothing;

impl BlobStore for Nothing {
    fn position(&self, _: BlobId) -> u64 {
        unreachable!()
    }

    fn stream(&self, _: &[BlobId], _: NonZeroUsize, _: &dyn BlobSink) -> Result<(), BlobError> {
        unreachable!()
    }

    fn read(&self, _: BlobId) -> Result<Vec<u8>> {
        unreachable!()
    }
}

#[test]
fn a_file_with_two_names_becomes_two_files() {
    let mut tree = sample();
    let node = tree.find(r"\EFI\Microsoft\Boot\BCD").unwrap();
    tree.add_link(tree.root(), Link { name: "other name".into(), short: None, node }).unwrap();
    let image = Image::new(&tree, 8 << 20, &options(512)).unwrap();
    assert_eq!(image.summary().files, 154);
    let back = read(&image, 8 << 20);
    assert_eq!(back.read_file("other name").unwrap().unwrap(), filler(32_768));
    assert_ne!(back.find("other name"), back.find(r"\EFI\Microsoft\Boot\BCD"));
}

#[test]
fn refuses_what_fat_cannot_hold() {
    let attempt = |change: &dyn Fn(&mut Tree)| -> Result<Image> {
        let mut tree = sample();
        change(&mut tree);
        Image::new(&tree, 40 << 20, &options(512))
    };
    assert!(attempt(&|_| ()).is_ok());
    let kind = |change: &dyn Fn(&mut Tree)| attempt(change).err().map(|error| error.kind());
    for name in ["a:b", "trailing.", "trailing ", "CON", "\u{1F600}", "a*", "tab\t"] {
        let add = |tree: &mut Tree| _ = add(tree, tree.root(), name, file(b"x"));
        assert_eq!(kind(&add), Some(Kind::Unsupported), "{name}");
    }
    // One file's name is another one's short name.
    let same = |tree: &mut Tree| {
        add(tree, tree.root(), "A longer name", file(b"x"));
        add(tree, tree.root(), "ALONGE~1", file(b"y"));
    };
    assert_eq!(kind(&same), Some(Kind::Unsupported));
    let cases = |tree: &mut Tree| {
        let nodes = ["name", "NAME"].map(|name| (name, tree.add_node(file(b"")).unwrap()));
        let below = add(tree, tree.root(), "case", directory());
        let links = nodes.map(|(name, node)| Link { name: name.into(), short: None, node });
        tree.set_children(below, links.into()).unwrap();
    };
    assert_eq!(kind(&cases), Some(Kind::Unsupported));
    let reparse = |tree: &mut Tree| {
        let node = add(tree, tree.root(), "link", file(b""));
        tree.node_mut(node).reparse = Some(crate::tree::Reparse { tag: 1, data: Content::empty() });
    };
    assert_eq!(kind(&reparse), Some(Kind::Unsupported));
    let large = |tree: &mut Tree| _ = add(tree, tree.root(), "large", file(&vec![0; 41 << 20]));
    assert_eq!(kind(&large), Some(Kind::NoSpace));
    let many =
        |tree: &mut Tree| (0..MAX_FILES).for_each(|number| _ = add(tree, tree.root(), &number.to_string(), file(b"")));
    assert_eq!(kind(&many), Some(Kind::Unsupported));
    for label in ["", "twelve chars", "a.b", " x", "Ü"] {
        let options = Options { label: Some(label.into()), ..options(512) };
        assert_eq!(Image::new(&sample(), 40 << 20, &options).err().unwrap().kind(), Kind::Invalid, "{label:?}");
    }
}

#[test]
fn reads_contents_from_their_stores_once() {
    let image = Image::new(&sample(), 8 << 20, &options(512)).unwrap();
    let stored = read(&image, 8 << 20);
    let again = Image::new(&stored, 8 << 20, &options(512)).unwrap();
    assert_eq!(again.summary(), image.summary());
    let path = r"\EFI\Microsoft\Boot\bootmgfw.efi";
    assert_eq!(read(&again, 8 << 20).read_file(path).unwrap().unwrap(), filler(1_234_567));
    let mut all = vec![0; 8 << 20];
    again.reader().read_at(0, &mut all).unwrap();
    assert!(is_fat(&all));
}
