//! Cabinets made by crate `cab`, by hand, and damaged.

use std::io::{Cursor, Write};
use std::sync::Arc;

use super::*;
use crate::base::FileTime;
use crate::error::{Error, Kind, Result};
use proptest::prelude::*;

type Contents = Vec<(String, Vec<u8>)>;

fn open(bytes: &[u8]) -> Result<Cabinet> {
    Cabinet::open(Arc::new(bytes.to_vec()))
}

fn unpack(cabinet: &Cabinet, wanted: impl Fn(&File) -> bool) -> Result<Contents> {
    let mut files: Contents = Vec::new();
    cabinet.unpack(wanted, |file, piece| {
        assert!(piece.len() <= 1 << 15);
        match files.last_mut().filter(|(name, _)| *name == file.name) {
            Some((_, bytes)) => bytes.extend_from_slice(piece),
            None => files.push((file.name.clone(), piece.to_vec())),
        }
        Ok(())
    })?;
    for (name, bytes) in &files {
        assert_eq!(cabinet.files().iter().find(|file| file.name == *name).unwrap().len, bytes.len() as u64, "{name}");
    }
    Ok(files)
}

fn sample(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * at / (seed + 97)) ^ (at >> 9)) as u8).collect()
}

/// A cabinet with two folders, by somebody else's code.
fn made(compression: cab::CompressionType) -> (Vec<u8>, Contents) {
    let files: Contents =
        [("a.inf", 700), (r"sub\big.sys", 150_000), ("empty", 0), ("grün/x.cat", 32_768), ("last", 1)]
            .iter()
            .enumerate()
            .map(|(seed, (name, len))| ((*name).to_owned(), sample(seed, *len)))
            .collect();
    let mut builder = cab::CabinetBuilder::new();
    for folder in files.chunks(3) {
        let folder_builder = builder.add_folder(compression);
        for (name, _) in folder {
            folder_builder.add_file(name.as_str());
        }
    }
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    let mut contents = files.iter();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(&contents.next().unwrap().1).unwrap();
    }
    (writer.finish().unwrap().into_inner(), files)
}

fn sorted(mut files: Contents) -> Contents {
    files.sort();
    files
}

#[test]
fn gives_what_was_put_in() {
    for kind in [cab::CompressionType::None, cab::CompressionType::MsZip] {
        let (mut bytes, files) = made(kind);
        bytes.extend([0x30; 500]); // a signature
        let cabinet = open(&bytes).unwrap();
        assert_eq!(cabinet.files().len(), 5);
        assert_eq!(cabinet.unpacked_len(), files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        assert_eq!(sorted(unpack(&cabinet, |_| true).unwrap()), sorted(files.clone()));
        let one = unpack(&cabinet, |file| file.name == "last").unwrap();
        assert_eq!(one, [("last".to_owned(), files[4].1.clone())]);
        assert!(unpack(&cabinet, |_| false).unwrap().is_empty());
        let expected = if kind == cab::CompressionType::None { Compression::None } else { Compression::MsZip };
        assert!(cabinet.compressions().all(|found| found == expected) && cabinet.compressions().count() == 2);
    }
    assert!(is_cabinet(&made(cab::CompressionType::None).0).unwrap());
    assert!(!is_cabinet(&b"MSCF".to_vec()).unwrap() && !is_cabinet(&vec![0; 100]).unwrap());
}

/// A stored cabinet with one folder, one block and some files, by hand.
struct Crafted {
    flags: u16,
    compression: u16,
    data: Vec<u8>,
    files: Vec<(u32, u32, u16, u16, Vec<u8>)>,
    reserve: Option<(u16, u8, u8)>,
}

impl Crafted {
    fn new() -> Self {
        let file = |len, at, name: &str| (len, at, 0, 0x20, name.as_bytes().to_vec());
        let files = vec![file(5, 6, "b"), file(6, 0, "a")];
        Self { flags: 0, compression: 0, data: b"Hello world".to_vec(), files, reserve: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let (header, folder, block) = self.reserve.unwrap_or_default();
        let mut out = b"MSCF\0\0\0\0".to_vec();
        out.extend([0; 12]);
        out.extend([0; 4]);
        out.extend([3, 1, 1, 0]);
        out.extend((self.files.len() as u16).to_le_bytes());
        out.extend((self.flags | if self.reserve.is_some() { 4 } else { 0 }).to_le_bytes());
        out.extend([0; 4]);
        if self.reserve.is_some() {
            out.extend(header.to_le_bytes());
            out.extend([folder, block]);
            out.extend(vec![0xAB; header.into()]);
        }
        let folder_at = out.len();
        out.extend([0; 4]);
        out.extend(1u16.to_le_bytes());
        out.extend(self.compression.to_le_bytes());
        out.extend(vec![0xCD; folder.into()]);
        let files_at = out.len() as u32;
        out[16..20].copy_from_slice(&files_at.to_le_bytes());
        for (len, at, folder, attributes, name) in &self.files {
            out.extend(len.to_le_bytes());
            out.extend(at.to_le_bytes());
            out.extend(folder.to_le_bytes());
            out.extend((36u16 << 9 | 9 << 5 | 26).to_le_bytes());
            out.extend((12u16 << 11 | 30 << 5 | 15).to_le_bytes());
            out.extend(attributes.to_le_bytes());
            out.extend(name);
            out.push(0);
        }
        let data_at = out.len() as u32;
        out[folder_at..folder_at + 4].copy_from_slice(&data_at.to_le_bytes());
        out.extend([0; 4]);
        out.extend((self.data.len() as u16).to_le_bytes());
        out.extend((self.data.len() as u16).to_le_bytes());
        out.extend(vec![0xEF; block.into()]);
        out.extend(&self.data);
        let len = out.len() as u32;
        out[8..12].copy_from_slice(&len.to_le_bytes());
        out
    }
}

#[test]
fn files_in_any_order_and_reserved_areas() {
    for reserve in [None, Some((0, 0, 0)), Some((20, 3, 5)), Some((60_000, 255, 255))] {
        let crafted = Crafted { reserve, ..Crafted::new() };
        let cabinet = open(&crafted.bytes()).unwrap();
        assert_eq!(
            unpack(&cabinet, |_| true).unwrap(),
            [("a".into(), b"Hello ".to_vec()), ("b".into(), b"world".to_vec())]
        );
        assert_eq!(cabinet.files()[0].modified, FileTime::from_civil((2016, 9, 26), (12, 30, 30)));
    }
}

#[test]
fn names_in_their_code_pages() {
    let mut crafted = Crafted::new();
    crafted.files =
        vec![(1, 0, 0, 0x80, "ü\\あ".into()), (1, 1, 0, 0, vec![b'g', 0xFC]), (1, 2, 0, 0x80, vec![b'x', 0xFC])];
    let names: Vec<String> = open(&crafted.bytes()).unwrap().files().iter().map(|file| file.name.clone()).collect();
    assert_eq!(names, ["ü\\あ", "gü", "x\u{FFFD}"]);
}

fn refusal(crafted: &Crafted) -> Error {
    match open(&crafted.bytes()) {
        Ok(cabinet) => unpack(&cabinet, |_| true).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (crafted, word, kind) in [
        (Crafted { compression: 0x1472, ..Crafted::new() }, "Quantum", Kind::Unsupported),
        (Crafted { compression: 0x1603, ..Crafted::new() }, "window of LZX", Kind::Corrupt),
        (Crafted { compression: 4, ..Crafted::new() }, "compression", Kind::Corrupt),
        (Crafted { flags: 1, ..Crafted::new() }, "set", Kind::Unsupported),
        (Crafted { flags: 2, ..Crafted::new() }, "set", Kind::Unsupported),
    ] {
        let error = refusal(&crafted);
        assert!(error.to_string().contains(word) && error.kind() == kind, "{word}: {error}");
    }
    let with = |files| Crafted { files, ..Crafted::new() };
    let file = |len, at, folder| (len, at, folder, 0u16, b"x".to_vec());
    for (crafted, word) in [
        (with(vec![file(5, 0, 0xFFFE)]), "set"),
        (with(vec![file(5, 0, 1)]), "folder of a file"),
        (with(vec![file(5, 0, 0), file(5, 4, 0)]), "overlap"),
        (with(vec![file(12, 0, 0)]), "past the end of its folder"),
        (with(vec![file(u32::MAX, u32::MAX, 0)]), "past the end of its folder"),
        (with(vec![(1, 0, 0, 0, Vec::new())]), "name of a file"),
        (with(vec![(1, 0, 0, 0, vec![b'n'; 300])]), "name of a file"),
        (Crafted { data: vec![0; 40_000], ..Crafted::new() }, "unpacked block"),
        (Crafted { compression: 1, ..Crafted::new() }, "MSZIP"),
    ] {
        let error = refusal(&crafted).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn damaged_data_is_noticed() {
    let (bytes, _) = made(cab::CompressionType::MsZip);
    let last = bytes.len() - 3;
    let mut damaged = bytes.clone();
    damaged[last] ^= 0x10;
    let error = unpack(&open(&damaged).unwrap(), |_| true).unwrap_err();
    assert!(error.to_string().starts_with("cabinet, folder 1: checksum of a block"), "{error}");
    assert_eq!(open(&bytes[..last]).err().unwrap().kind(), Kind::Truncated);
}

/// Sets all checksums to zero, so that damage gets through to the decoders.
fn without_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    for folder in 0..2 {
        let mut at = u32_at(&bytes, 0x24 + 8 * folder);
        let blocks = u16::from_le_bytes([bytes[0x28 + 8 * folder], bytes[0x29 + 8 * folder]]);
        for _ in 0..blocks {
            bytes[at..at + 4].fill(0);
            at += 8 + usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        }
    }
    bytes
}

#[test]
fn cut_anywhere() {
    let bytes = Crafted { reserve: Some((4, 1, 1)), ..Crafted::new() }.bytes();
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "{len}");
        // The same with a length that says so.
        let mut cut = bytes[..len].to_vec();
        if let Some(field) = cut.get_mut(8..12) {
            field.copy_from_slice(&(len as u32).to_le_bytes());
            assert!(open(&cut).is_err_and(|_| true) || unpack(&open(&cut).unwrap(), |_| true).is_err(), "{len}");
        }
    }
}

proptest! {
    #[test]
    fn damage_does_no_harm(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8), early in any::<bool>()) {
        for kind in [cab::CompressionType::None, cab::CompressionType::MsZip] {
            let mut bytes = without_checksums(made(kind).0);
            let reach = if early { 200 } else { bytes.len() };
            for (index, value) in &changes {
                bytes[index.index(reach)] = *value;
            }
            let mut total = 0;
            if let Ok(cabinet) = open(&bytes) {
                let limit = cabinet.unpacked_len();
                let _ = cabinet.unpack(|_| true, |_, piece| {
                    total += piece.len() as u64;
                    Ok(())
                });
                prop_assert!(total <= limit);
            }
        }
    }
}

/// What a store gives, by blobs.
#[derive(Default)]
struct Collected(std::sync::Mutex<std::collections::BTreeMap<u32, Vec<u8>>>);

impl crate::tree::BlobSink for Collected {
    fn write(&self, blob: crate::tree::BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut all = self.0.lock().unwrap();
        let bytes = all.entry(blob.0).or_default();
        assert_eq!(bytes.len() as u64, at, "pieces of a blob come in their order");
        bytes.extend_from_slice(data);
        Ok(())
    }
}

/// The blobs of a tree, with the paths of their files.
fn blobs(tree: &crate::tree::Tree) -> Vec<(String, crate::tree::BlobId)> {
    let mut found = Vec::new();
    tree.visit(|path, link| {
        if let Some(crate::tree::Content::Blob { blob, .. }) = tree.node(link.node).main() {
            found.push((path.to_owned(), *blob));
        }
        std::ops::ControlFlow::Continue(())
    });
    found
}

#[test]
fn as_a_tree_it_gives_the_same() {
    for kind in [cab::CompressionType::None, cab::CompressionType::MsZip] {
        let (bytes, files) = made(kind);
        let (tree, notes) = open(&bytes).unwrap().into_tree(|name| name != "a.inf").unwrap();
        assert!(notes.is_empty() && tree.find("a.inf").is_none());
        assert_eq!(tree.read_file("empty").unwrap().unwrap(), b"");
        let blobs = blobs(&tree);
        assert_eq!(blobs.len(), 3);
        for (path, _) in &blobs {
            let expected = files.iter().find(|(name, _)| format!("\\{}", name.replace('/', "\\")) == *path).unwrap();
            assert!(tree.read_file(path).unwrap().unwrap() == expected.1, "{path}");
        }
        for threads in [1, 3] {
            let sink = Collected::default();
            let mut wanted: Vec<_> = blobs.iter().map(|(_, blob)| *blob).collect();
            wanted.reverse();
            let threads = std::num::NonZeroUsize::new(threads).unwrap();
            tree.stores()[0].stream(&wanted, threads, &sink).map_err(|failure| failure.error).unwrap();
            for (index, bytes) in sink.0.into_inner().unwrap() {
                assert!(files[index as usize].1 == bytes, "{}", files[index as usize].0);
            }
        }
    }
}

#[test]
fn a_damaged_block_is_told_by_its_file() {
    let (mut bytes, _) = made(cab::CompressionType::MsZip);
    let last = bytes.len() - 3;
    bytes[last] ^= 0x10;
    let (tree, _) = open(&bytes).unwrap().into_tree(|_| true).unwrap();
    let wanted: Vec<_> = blobs(&tree).into_iter().map(|(_, blob)| blob).collect();
    let store = tree.stores()[0].clone();
    let failure = store.stream(&wanted, std::num::NonZeroUsize::MIN, &Collected::default()).unwrap_err();
    let error = tree.blame(tree.store_ids().next().unwrap(), failure).to_string();
    assert!(error.starts_with(r"\last: cabinet, folder 1: checksum of a block"), "{error}");
    assert!(tree.read_file("last").unwrap_err().to_string().contains("last: cabinet, folder 1"));
    assert!(store.read(crate::tree::BlobId(99)).is_err());
}
