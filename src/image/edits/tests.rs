//! Edits of small trees, file by file.

use std::num::NonZeroUsize;

use super::*;
use crate::base::security::{Descriptor, INHERIT, Sid, mask};

const THEN: FileTime = FileTime(131_000_000_000_000_000);
const NOW: FileTime = FileTime(132_000_000_000_000_000);

/// `\Windows\notes.txt` with everything that a file can have, a second name of it, and a junction.
fn image() -> Tree {
    let allow = [(Sid::LOCAL_SYSTEM, mask::FULL, INHERIT), (Sid::USERS, mask::READ, 0)];
    let descriptor = Descriptor { owner: Sid::USERS, group: Sid::USERS, protected: true, allow: &allow }.to_bytes();
    let mut tree = Tree::new(Node::directory(0, Times::all(THEN)));
    let id = tree.add_descriptor(&descriptor);
    tree.node_mut(tree.root()).descriptor = Some(id);
    let mut windows = Node::directory(attributes::NOT_CONTENT_INDEXED, Times::all(THEN));
    windows.descriptor = Some(id);
    let windows = tree.add_node(windows).unwrap();
    let mut notes = Node::file(attributes::HIDDEN, Times::all(THEN), vec![1, 2, 3].into());
    notes.descriptor = Some(id);
    notes.object_id = Some([7; 16].into());
    notes.streams.push(Stream { name: "Zone.Identifier".into(), content: vec![1].into(), sparse: false });
    let notes = tree.add_node(notes).unwrap();
    let mut junction = Node::directory(attributes::REPARSE_POINT, Times::all(THEN));
    junction.reparse = Some(crate::tree::Reparse { tag: 0xA000_0003, data: vec![0; 8].into() });
    let junction = tree.add_node(junction).unwrap();
    let link = |name: &str, short: Option<&str>, node| Link { name: name.into(), short: short.map(Name::from), node };
    let links = [("Windows", None, windows), ("Junction", None, junction), ("other name", None, notes)];
    tree.set_children(tree.root(), links.map(|(name, short, node)| link(name, short, node)).into()).unwrap();
    tree.set_children(windows, vec![link("notes of mine.txt", Some("NOTESO~1.TXT"), notes)]).unwrap();
    tree
}

/// A folder of the host: files with their contents.
pub(in crate::image) fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn copies(folder: &tempfile::TempDir, copies: &[&str]) -> Edits {
    let copy = |text: &&str| CopyIn::parse(&format!("{}/{text}", folder.path().display())).unwrap();
    Edits { copy: copies.iter().map(copy).collect(), ..Edits::default() }
}

fn apply(tree: &mut Tree, edits: &Edits) -> Result<Vec<Step>> {
    edits.apply(tree, NOW).map(|applied| applied.steps)
}

fn names(tree: &Tree) -> Vec<String> {
    let mut names = tree.paths(usize::MAX, |_, _| true);
    names.sort();
    names
}

#[test]
fn a_new_file_is_as_its_directory_makes_it() {
    let mut tree = image();
    let folder = host(&[("a.txt", "hello")]);
    let before = names(&tree).len();
    let steps = apply(&mut tree, &copies(&folder, &[r"a.txt=C:\Windows\new\folder\b.txt"])).unwrap();
    let Step::Copied { files: 1, directories: 2, bytes: 5, replaced: 0, .. } = steps[0] else { panic!("{steps:?}") };
    assert_eq!(names(&tree).len(), before + 3);
    assert_eq!(tree.read_file(r"\windows\NEW\folder\b.txt").unwrap().unwrap(), b"hello");
    let windows = tree.find(r"\Windows").unwrap();
    assert_eq!(tree.node(windows).times, Times::all(THEN), "directories keep their times");
    let file = tree.node(tree.find(r"\Windows\new\folder\b.txt").unwrap());
    assert_eq!(file.times, Times::all(NOW));
    assert_eq!(file.attributes, attributes::ARCHIVE | attributes::NOT_CONTENT_INDEXED);
    let own = |path: &str| {
        let node = tree.node(tree.find(path).unwrap());
        (tree.descriptors()[node.descriptor.unwrap().index()].to_vec(), node.is_directory())
    };
    for (path, parent) in [(r"\Windows\new", r"\Windows"), (r"\Windows\new\folder\b.txt", r"\Windows\new\folder")] {
        let (descriptor, is_directory) = own(path);
        assert_eq!(Some(descriptor), inherit::inherit(&own(parent).0, is_directory), "{path}");
    }
}

#[test]
fn a_file_that_was_there_stays_itself() {
    let mut tree = image();
    let folder = host(&[("notes of mine.txt", "new")]);
    let before = tree.find(r"\Windows\NOTESO~1.TXT").unwrap();
    let old = tree.node(before).clone();
    let steps = apply(&mut tree, &copies(&folder, &[r"notes of mine.txt=\WINDOWS"])).unwrap();
    let Step::Copied { replaced: 1, other_names: 1, .. } = steps[0] else { panic!("{steps:?}") };
    assert!(steps[0].to_string().contains("1 other name"), "{}", steps[0]);
    assert_eq!(tree.find(r"\Windows\noteso~1.txt"), Some(before));
    let new = tree.node(before);
    assert_eq!((new.descriptor, &new.object_id, new.links()), (old.descriptor, &old.object_id, 2));
    assert_eq!(new.attributes, attributes::HIDDEN | attributes::ARCHIVE);
    assert_eq!(new.times, Times { created: THEN, ..Times::all(NOW) });
    assert_eq!(new.streams.len(), 1, "streams of the old contents are gone");
    assert_eq!(tree.read_file(r"\other name").unwrap().unwrap(), b"new");
}

#[test]
fn folders_are_merged_and_sorted() {
    let folder = host(&[("f/b", "1"), ("f/sub/x", "22"), ("f/A", ""), ("notes", "333")]);
    fs::create_dir(folder.path().join("f/empty")).unwrap();
    let mut tree = image();
    apply(&mut tree, &copies(&folder, &["f"])).unwrap();
    assert!(["\\f\\A", "\\f\\b", "\\f\\empty", "\\f\\sub\\x"].iter().all(|path| tree.find(path).is_some()));
    // Into a folder, as a folder, and what is in it.
    for (target, found) in
        [(r"f=\Windows\", r"\Windows\f\b"), (r"f=\Windows\g", r"\Windows\g\sub\x"), (r"f/=\Windows", r"\Windows\sub\x")]
    {
        let steps = apply(&mut tree, &copies(&folder, &[target])).unwrap();
        let Step::Copied { files: 3, .. } = steps[0] else { panic!("{steps:?}") };
        assert!(tree.find(found).is_some(), "{target}");
    }
    let again = apply(&mut tree, &copies(&folder, &[r"f/=\Windows"])).unwrap();
    let Step::Copied { directories: 0, replaced: 3, .. } = again[0] else { panic!("{again:?}") };
    let order: Vec<String> =
        tree.node(tree.find("f").unwrap()).children().iter().map(|link| link.name.to_string()).collect();
    assert_eq!(order, ["A", "b", "empty", "sub"]);
}

#[test]
fn the_last_copy_to_a_place_counts() {
    let folder = host(&[("long", "long"), ("empty", "")]);
    let mut tree = image();
    apply(&mut tree, &copies(&folder, &[r"long=\x", r"empty=\x", r"empty=\y", r"long=\y"])).unwrap();
    assert_eq!(tree.read_file("x").unwrap().unwrap(), b"");
    assert_eq!(tree.read_file("y").unwrap().unwrap(), b"long");
}

#[test]
fn deleting_goes_first_and_says_what_is_not_there() {
    let mut tree = image();
    let folder = host(&[("a", "new")]);
    let edits = Edits { delete: vec![r"\windows".into()], ..copies(&folder, &[r"a=\Windows\a"]) };
    let steps = apply(&mut tree, &edits).unwrap();
    assert_eq!(steps[0].to_string(), r"delete \windows and the 1 name in it");
    assert_eq!(names(&tree), [r"\Junction", r"\Windows", r"\Windows\a", r"\other name"]);
    assert_eq!(tree.read_file(r"\other name").unwrap().unwrap(), [1, 2, 3]);
    for (path, word) in [
        (r"\none\x", r"no \none"),
        (r"C:\Windows\b", r"no \Windows\b"),
        ("/", "root"),
        (r"\Windows\a\x", r"no \Windows\a"),
    ] {
        let error = apply(&mut tree, &Edits { delete: vec![path.into()], ..Edits::default() }).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(word), "{path}: {error}");
    }
}

#[test]
fn impossible_copies_are_refused() {
    let folder = host(&[("f/a", ""), ("two/x", ""), ("two/X", ""), ("bad/aux.txt", "")]);
    let refused = |copy: &str| apply(&mut image(), &copies(&folder, &[copy])).unwrap_err();
    assert_eq!(refused("none").kind(), Kind::Io);
    for (copy, word) in [
        (r"f/a=\Junction\x", "junction"),
        (r"f=\Junction", "junction"),
        (r"f=\other name", "directory must be"),
        ("bad", "device"),
    ] {
        let error = refused(copy).to_string();
        assert!(error.contains(word), "{copy}: {error}");
    }
    for text in ["=x", r"a=\con\x", r"a=\x:y", "a=b*"] {
        assert_eq!(CopyIn::parse(text).unwrap_err().kind(), Kind::Invalid, "{text}");
    }
    // Where the host tells the two apart.
    if fs::read_dir(folder.path().join("two")).unwrap().count() == 2 {
        assert!(refused("two").to_string().contains("one to Windows"));
    }
}

#[cfg(unix)]
#[test]
fn links_of_the_host_are_followed_but_not_for_ever() {
    let folder = host(&[("f/a", "1"), ("elsewhere/b", "2")]);
    let link =
        |from: &str, to: &str| std::os::unix::fs::symlink(folder.path().join(from), folder.path().join(to)).unwrap();
    link("elsewhere", "f/linked");
    let mut tree = image();
    apply(&mut tree, &copies(&folder, &["f"])).unwrap();
    assert_eq!(tree.read_file(r"\f\linked\b").unwrap().unwrap(), b"2");
    link("f", "f/linked/loop");
    assert!(apply(&mut tree, &copies(&folder, &["f"])).unwrap_err().to_string().contains("contains itself"));
    let device = Edits { copy: vec![CopyIn::parse("/dev/null=\\x").unwrap()], ..Edits::default() };
    assert_eq!(apply(&mut tree, &device).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_copied_hive_is_the_one_that_is_changed() {
    let hive = crate::format::hive::Hive::new("SOFTWARE", THEN).unwrap().to_bytes().unwrap();
    let folder = host(&[("a.reg", "Windows Registry Editor Version 5.00\n[HKLM\\SOFTWARE\\A]\n")]);
    fs::write(folder.path().join("SOFTWARE"), hive).unwrap();
    let mut edits = copies(&folder, &[r"SOFTWARE=\Windows\System32\config\"]);
    edits.registry.push(RegFile::open(&folder.path().join("a.reg")).unwrap());
    let mut tree = image();
    let steps = apply(&mut tree, &edits).unwrap();
    assert!(steps[1].to_string().contains("keys +1"), "{}", steps[1]);
    let hive = crate::windows::registry::read_hive(&tree, r"\Windows\System32\config\SOFTWARE").unwrap().unwrap();
    assert!(hive.open("A").is_some());
}

#[test]
fn stores_give_what_was_promised() {
    let folder = host(&[("a", "hello"), ("b", "there")]);
    let mut tree = image();
    apply(&mut tree, &copies(&folder, &["a", "b"])).unwrap();
    fs::write(folder.path().join("b"), "changed").unwrap();
    struct Nowhere;
    impl crate::tree::BlobSink for Nowhere {
        fn write(&self, _: BlobId, _: u64, _: &[u8]) -> Result<()> {
            Ok(())
        }
    }
    let id = tree.store_ids().next().unwrap();
    let failure = tree.stores()[0].stream(&[BlobId(0), BlobId(1)], NonZeroUsize::MIN, &Nowhere).unwrap_err();
    let error = tree.blame(id, failure).to_string();
    assert!(error.starts_with(r"\b: ") && error.contains("changed while"), "{error}");
}
