//! What bundles are refused, and what is known of those that are not.

use std::num::NonZeroUsize;

use super::*;
use crate::error::Kind;
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, Link, Node, NodeId, Times};

/// A tree of files in memory, with folders where paths have them.
pub(in crate::windows::packages) fn tree(files: &[(&str, &[u8])]) -> Arc<Tree> {
    tree_of(files.iter().map(|(path, bytes)| (*path, Content::from(bytes.to_vec()))), Vec::new())
}

fn tree_of<'f>(files: impl Iterator<Item = (&'f str, Content)>, stores: Vec<Arc<dyn BlobStore>>) -> Arc<Tree> {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    for store in stores {
        tree.add_store(store);
    }
    for (path, content) in files {
        let (folders, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let folder = folders
            .split('\\')
            .filter(|part| !part.is_empty())
            .fold(tree.root(), |at, part| folder(&mut tree, at, part));
        let node = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(folder, Link { name: name.into(), short: None, node }).unwrap();
    }
    Arc::new(tree)
}

fn folder(tree: &mut Tree, at: NodeId, name: &str) -> NodeId {
    let units: Vec<u16> = name.encode_utf16().collect();
    if let Some(link) = tree.child(at, &units) {
        return link.node;
    }
    let node = tree.add_node(Node::directory(0, Times::default())).unwrap();
    tree.add_link(at, Link { name: name.into(), short: None, node }).unwrap();
    node
}

fn read(files: &[(&str, &[u8])]) -> Result<Bundle> {
    Bundle::read("a.cab".into(), tree(files))
}

fn utf16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// `printf abc | sha1sum`, `sha256sum`.
const ABC_SHA1: &str = "A9993E364706816ABA3E25717850C26C9CD0D89D";
const ABC_SHA256: &str = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";

#[test]
fn documents_are_kept_and_payload_is_hashed() {
    let bundle =
        read(&[("Update.MUM", b"mum"), ("update.cat", b"cat"), (r"A_B\Sub\File.dll", b"abc"), ("update.ses", b"x")])
            .unwrap();
    assert_eq!(bundle.documents.keys().collect::<Vec<_>>(), ["update.cat", "update.mum"]);
    assert_eq!(bundle.documents["update.mum"].as_ref(), b"mum");
    assert_eq!(bundle.payload.keys().collect::<Vec<_>>(), [r"a_b\sub\file.dll", "update.ses"]);
    let file = &bundle.payload[r"a_b\sub\file.dll"];
    assert_eq!(crate::format::catalog::hex(&file.sha1), ABC_SHA1);
    assert_eq!(crate::format::catalog::hex(&file.sha256), ABC_SHA256);
    assert_eq!(bundle.tree.read(&file.content).unwrap(), b"abc");
}

#[test]
fn what_is_no_package_is_told() {
    let told = |files: &[(&str, &[u8])]| {
        let error = read(files).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        format!("{error} [{}]", error.hint_text().unwrap_or_default())
    };
    assert!(told(&[(r"net\a.inf", b"")]).contains("--driver"));
    assert!(told(&[("a.msu", b""), ("readme.txt", b"")]).contains("name those"));
    assert!(told(&[("readme.txt", b"")]).starts_with("a.cab: there is no package in it"));
    assert!(told(&[(r"deep\update.mum", b"")]).contains("no update.mum"));
    let unread = |files: &[(&str, &[u8])]| {
        let bundle = read(files).unwrap();
        assert!(bundle.documents.contains_key("update.mum") && bundle.payload.is_empty());
        bundle.unread.unwrap()
    };
    for path in ["_manifest_.cix.xml", "a.psf", "Express.psf.CIX.xml"] {
        assert!(unread(&[("update.mum", b""), (path, b"")]).contains("express"));
    }
    for start in [&b"PA30...."[..], b"DCD\x01...."] {
        assert!(unread(&[("update.mum", b""), (r"k\1", start)]).contains(r"k\1"));
    }
    // Documents are unpacked by those who know what they are packed against, and short files are what they are.
    assert!(read(&[("update.mum", b""), ("k.manifest", b"DCD\x01"), (r"k\1", b"PA3"), (r"k\2", b"")]).is_ok());
}

#[test]
fn packed_payload_is_unpacked() {
    // Blocks that are stored: their data is as long as what comes out.
    let packed: Vec<u8> =
        [&b"DCS\x01"[..], &1u32.to_le_bytes(), &3u32.to_le_bytes(), &7u32.to_le_bytes(), &3u32.to_le_bytes(), b"abc"]
            .concat();
    let bundle = read(&[("update.mum", b""), (r"k\a", &packed)]).unwrap();
    let file = &bundle.payload[r"k\a"];
    assert_eq!(crate::format::catalog::hex(&file.sha256), ABC_SHA256);
    assert_eq!(bundle.tree.read(&file.content).unwrap(), b"abc");
    let error = read(&[("update.mum", b""), (r"k\a", &packed[..packed.len() - 1])]).unwrap_err();
    assert!(error.to_string().contains(r"k\a"), "{error}");
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let mut links = Vec::new();
    for name in ["update.mum", "Update.mum"] {
        let node = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
        links.push(Link { name: name.into(), short: None, node });
    }
    tree.set_children(tree.root(), links).unwrap();
    let error = Bundle::read("a".into(), Arc::new(tree)).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("update.mum")), (Kind::Corrupt, true), "{error}");
}

#[test]
fn listed_hashes_hold() {
    let with = |list: &[u8]| read(&[("update.mum", b"abc"), (r"K\A", b""), ("$filehashes$.dat", list)]);
    let empty = "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709";
    let list = format!(
        "[sha1]\r\n\r\nupdate.mum={ABC_SHA1},3\r\nk/a={empty},0\r\n\r\n[sha256]\r\n\r\nupdate.mum={ABC_SHA256},3\r\n"
    );
    assert!(!with(&utf16(&list)).unwrap().payload.contains_key(HASHES));
    for (from, to, told) in [
        ("A9993E", "A9993F", "SHA-1"),
        ("BA7816", "BA7817", "SHA-256"),
        (",3", ",4", "length"),
        ("k/a", "k/b", r"k\b"),
        ("[sha256]", "[sha257]", "section"),
        ("[sha1]", "", "before the first"),
        ("update.mum=A", "update.mum:A", "line 3"),
        ("\r\n[sha256]", "x\r\n[sha256]", "line"),
    ] {
        let error = with(&utf16(&list.replacen(from, to, 1))).unwrap_err();
        assert!(error.kind() == Kind::Corrupt && error.to_string().contains(told), "{error}");
        assert!(error.to_string().contains(HASHES), "{error}");
    }
    let bytes = utf16(&list);
    for list in [&b""[..], b"\xFF\xFE", &bytes[..bytes.len() - 1], &bytes[2..]] {
        assert_eq!(with(list).unwrap_err().kind(), Kind::Corrupt);
    }
}

/// Gives blobs in pieces of a length, from the last to the first.
struct Backwards(Vec<Vec<u8>>, usize);

impl BlobStore for Backwards {
    fn position(&self, blob: BlobId) -> u64 {
        blob.0.into()
    }

    fn stream(&self, wanted: &[BlobId], _: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        for blob in wanted {
            let pieces: Vec<&[u8]> = self.0[blob.0 as usize].chunks(self.1).collect();
            for (index, piece) in pieces.iter().enumerate().rev() {
                sink.write(*blob, (index * self.1) as u64, piece)?;
            }
        }
        Ok(())
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        Ok(self.0[blob.0 as usize].clone())
    }
}

#[test]
fn pieces_may_come_in_any_order_and_of_any_length() {
    let packed: Vec<u8> =
        [&b"DCS\x01"[..], &1u32.to_le_bytes(), &3u32.to_le_bytes(), &7u32.to_le_bytes(), &3u32.to_le_bytes(), b"abc"]
            .concat();
    let blobs = vec![b"a package manifest".to_vec(), b"abc".to_vec(), packed];
    for piece in 1..8 {
        let store: Arc<dyn BlobStore> = Arc::new(Backwards(blobs.clone(), piece));
        // The same blob may be two files, of which one is kept.
        let names = [("update.mum", 0), (r"k\copy", 0), (r"k\a", 1), (r"k\b", 1), (r"k\packed", 2)];
        let content = |blob: usize| {
            let id = Tree::new(Node::directory(0, Times::default())).add_store(Arc::clone(&store));
            Content::Blob { store: id, blob: BlobId(blob as u32), len: blobs[blob].len() as u64 }
        };
        let tree = tree_of(names.iter().map(|(name, blob)| (*name, content(*blob))), vec![Arc::clone(&store)]);
        let bundle = Bundle::read("a".into(), tree).unwrap();
        assert_eq!(bundle.documents["update.mum"].as_ref(), blobs[0]);
        for name in [r"k\a", r"k\b", r"k\packed"] {
            assert_eq!(crate::format::catalog::hex(&bundle.payload[name].sha256), ABC_SHA256, "{name} {piece}");
        }
    }
}

#[test]
fn blobs_that_end_early_are_refused() {
    let store: Arc<dyn BlobStore> = Arc::new(Backwards(vec![b"abc".to_vec()], 8));
    let id = Tree::new(Node::directory(0, Times::default())).add_store(Arc::clone(&store));
    for len in [2, 4] {
        let content = Content::Blob { store: id, blob: BlobId(0), len };
        let tree = tree_of([("update.mum", content)].into_iter(), vec![Arc::clone(&store)]);
        let error = Bundle::read("a".into(), tree).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("update.mum")), (Kind::Truncated, true), "{error}");
    }
}
