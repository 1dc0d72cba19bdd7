//! Extraction of trees made by hand, evil ones among them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::base::{FileTime, Name};
use crate::error::{Error, Kind};
use crate::format::wim::Wim;
use crate::image::{demo, lookup};
use crate::tree::{
    BlobError, BlobId, BlobSink, BlobStore, Content, Link, Node, NodeId, Reparse, Stream, Times, attributes,
};

const TIME: FileTime = FileTime(131_193_648_000_000_000);

fn options() -> Options {
    Options { force: false, streams: false, threads: NonZeroUsize::MIN }
}

struct Sample(Tree);

impl Sample {
    fn new() -> Self {
        Self(Tree::new(Node::directory(0, Times::all(TIME))))
    }

    fn add(&mut self, parent: NodeId, name: impl Into<Name>, node: Node) -> NodeId {
        let node = self.0.add_node(node).unwrap();
        self.0.add_link(parent, Link { name: name.into(), short: None, node }).unwrap();
        node
    }

    fn folder(&mut self, parent: NodeId, name: &str) -> NodeId {
        self.add(parent, name, Node::directory(0, Times::all(TIME)))
    }

    fn file(&mut self, parent: NodeId, name: &str, bytes: &[u8]) -> NodeId {
        self.add(parent, name, Node::file(0, Times::all(TIME), bytes.to_vec().into()))
    }

    fn symlink(&mut self, parent: NodeId, name: &str, target: &str, relative: bool) -> NodeId {
        let target = Name::from(target).to_le_bytes();
        let mut data = Vec::new();
        for number in [0, target.len() as u16, target.len() as u16, 0] {
            data.extend(number.to_le_bytes());
        }
        data.extend(u32::from(relative).to_le_bytes());
        data.extend(target);
        let mut node = Node::file(attributes::REPARSE_POINT, Times::all(TIME), Content::empty());
        node.reparse = Some(Reparse { tag: crate::image::reparse::SYMLINK, data: data.into() });
        self.add(parent, name, node)
    }

    fn root(&self) -> NodeId {
        self.0.root()
    }

    fn extract(&self, output: &Path, options: Options) -> Result<Report> {
        extract(&self.0, &[Found::root(&self.0)], output, options, &Control::default())
    }
}

/// Every path below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_demo_comes_across() {
    let wim = Wim::open(vec![Arc::new(demo::wim(NonZeroUsize::MIN).unwrap())]).unwrap();
    let tree = wim.tree(1).unwrap().tree;
    let host = tempfile::tempdir().unwrap();
    let output = host.path().join("new").join("folder");
    let both = Options { streams: true, threads: NonZeroUsize::new(2).unwrap(), ..options() };
    let report = extract(&tree, &[Found::root(&tree)], &output, both, &Control::default()).unwrap();
    let mut bytes = 0;
    tree.visit(|path, link| {
        let host = output.join(path.trim_start_matches('\\').replace('\\', std::path::MAIN_SEPARATOR_STR));
        let node = tree.node(link.node);
        let metadata = fs::symlink_metadata(&host).unwrap();
        if node.reparse.is_some() {
            assert!(metadata.is_symlink(), "{path}");
            return std::ops::ControlFlow::Continue(());
        }
        let modified = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(modified.as_nanos(), u128::from(node.times.modified.0 - 116_444_736_000_000_000) * 100, "{path}");
        assert_eq!(metadata.is_dir(), node.is_directory());
        if let Some(content) = node.main() {
            assert!(fs::read(&host).unwrap() == tree.read(content).unwrap(), "{path}");
            bytes += content.len();
            assert_eq!(metadata.permissions().readonly(), node.attributes & attributes::READ_ONLY != 0);
        }
        std::ops::ControlFlow::Continue(())
    });
    assert!(bytes > report.bytes, "hard links are not written twice");
    assert_eq!((report.hard_links, report.symbolic_links), (160, 1));
    assert_eq!(report.notes, [""; 0]);
    assert!(below(&output).iter().all(|path| !path.display().to_string().contains("nanovhd-partial")));
    // A second time it is refused before anything is touched, unless by force.
    let again = extract(&tree, &[Found::root(&tree)], &output, options(), &Control::default()).unwrap_err();
    assert_eq!(again.kind(), Kind::BadOutput);
    let forced = Options { force: true, ..both };
    assert_eq!(extract(&tree, &[Found::root(&tree)], &output, forced, &Control::default()).unwrap(), report);
}

#[test]
fn chosen_files_come_under_their_own_names() {
    let mut sample = Sample::new();
    let root = sample.root();
    let (a, b) = (sample.folder(root, "a"), sample.folder(root, "b"));
    sample.file(a, "x.txt", b"1");
    sample.file(b, "x.txt", b"2");
    sample.folder(b, "deep");
    let host = tempfile::tempdir().unwrap();
    let find = |path: &str| lookup::find(&sample.0, path).unwrap();
    let run = |found: &[Found<'_>]| extract(&sample.0, found, host.path(), options(), &Control::default());
    let report = run(&[find(r"a\x.txt"), find("b")]).unwrap();
    assert_eq!((report.files, report.directories), (2, 2));
    assert_eq!(fs::read(host.path().join("x.txt")).unwrap(), b"1");
    assert_eq!(fs::read(host.path().join("b").join("x.txt")).unwrap(), b"2");
    let clash = run(&[find(r"a\x.txt"), find(r"b\x.txt")]).unwrap_err();
    assert_eq!(clash.kind(), Kind::Invalid);
    assert_eq!(below(host.path()).len(), 4);
}

#[test]
fn streams_come_on_request_and_are_missed_aloud() {
    let mut sample = Sample::new();
    let file = sample.file(sample.root(), "file", b"main");
    sample.0.node_mut(file).streams.push(Stream { name: "side".into(), content: vec![7].into(), sparse: false });
    let host = tempfile::tempdir().unwrap();
    let report = sample.extract(host.path(), options()).unwrap();
    assert_eq!(report.notes, [r"\file:side: a named stream, left out (--streams copies them)"]);
    let with = Options { streams: true, force: true, ..options() };
    assert_eq!(sample.extract(host.path(), with).unwrap().files, 2);
    assert_eq!(fs::read(host.path().join("file:side")).unwrap(), [7]);
}

#[test]
fn what_is_in_the_way_is_refused_before_anything_is_written() {
    let mut sample = Sample::new();
    let root = sample.root();
    let folder = sample.folder(root, "folder");
    sample.file(folder, "file", b"new");
    sample.file(root, "other", b"new");
    let with = |prepare: &dyn Fn(&Path)| {
        let host = tempfile::tempdir().unwrap();
        prepare(host.path());
        let before = below(host.path());
        let error = sample.extract(host.path(), options()).unwrap_err();
        assert_eq!(error.kind(), Kind::BadOutput, "{error}");
        assert_eq!(below(host.path()), before);
        (error.to_string(), sample.extract(host.path(), Options { force: true, ..options() }))
    };
    let (_, forced) = with(&|host| fs::write(host.join("other"), "old").unwrap());
    assert!(forced.is_ok());
    let (_, forced) = with(&|host| fs::write(host.join("folder"), "a file").unwrap());
    assert_eq!(forced.unwrap_err().kind(), Kind::BadOutput);
    let (_, forced) = with(&|host| fs::create_dir(host.join("other")).unwrap());
    assert_eq!(forced.unwrap_err().kind(), Kind::BadOutput);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(sample.extract(file.path(), options()).unwrap_err().kind(), Kind::BadOutput);
}

#[cfg(unix)]
#[test]
fn links_on_the_host_are_not_followed() {
    let mut sample = Sample::new();
    let folder = sample.folder(sample.root(), "folder");
    sample.file(folder, "file", b"new");
    let (host, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), host.path().join("folder")).unwrap();
    for force in [false, true] {
        let error = sample.extract(host.path(), Options { force, ..options() }).unwrap_err();
        assert_eq!(error.kind(), Kind::BadOutput);
    }
    assert!(below(elsewhere.path()).is_empty());
    // A link where a file goes is replaced by force, and what it leads to stays.
    let target = elsewhere.path().join("kept");
    fs::write(&target, "kept").unwrap();
    fs::remove_file(host.path().join("folder")).unwrap();
    fs::create_dir(host.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(&target, host.path().join("folder").join("file")).unwrap();
    sample.extract(host.path(), Options { force: true, ..options() }).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"kept");
    assert_eq!(fs::read(host.path().join("folder").join("file")).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_are_not_made() {
    let mut sample = Sample::new();
    let root = sample.root();
    let folder = sample.folder(root, "folder");
    let cases = [
        ("up", r"..\file", true, Some("../file")),
        ("same", "file", true, Some("file")),
        ("root", r"\folder\x", true, Some("../folder/x")),
        ("drive", r"C:\folder\x", false, Some("../folder/x")),
        ("self", ".", true, Some(".")),
        ("out", r"..\..\etc\passwd", true, None),
        ("around", r"x\..\..\..\file", true, None),
        // Textually within the folder; but "dot" is a link, and whoever follows it goes up from another place.
        ("dots", r"dot\dot\..\..\..\file", true, Some("../file")),
        ("dotted", r"dot\..\..\..\file", true, None),
        ("over", r"C:\..\x", false, None),
        ("share", r"\\server\share", false, None),
        ("volume", r"Volume{1}\", false, None),
    ];
    for (name, target, relative, _) in cases {
        sample.symlink(folder, name, target, relative);
    }
    let host = tempfile::tempdir().unwrap();
    let report = sample.extract(host.path(), options()).unwrap();
    for (name, _, _, expected) in cases {
        let made = fs::read_link(host.path().join("folder").join(name)).ok();
        assert_eq!(made.as_deref(), expected.map(Path::new), "{name}");
    }
    assert_eq!((report.symbolic_links, report.notes.len()), (6, 6));
    // Of a part of an image nobody knows where its root would be.
    let part = tempfile::tempdir().unwrap();
    let found = lookup::find(&sample.0, "folder").unwrap();
    let report = extract(&sample.0, &[found], part.path(), options(), &Control::default()).unwrap();
    assert_eq!(report.symbolic_links, 4);
}

#[cfg(unix)]
#[test]
fn files_in_a_link_do_not_go_through_it() {
    let mut sample = Sample::new();
    let root = sample.root();
    let evil = sample.folder(root, "evil");
    sample.file(evil, "file", b"x");
    let target = Name::from(r"\??\C:\other").to_le_bytes();
    let lens = [0, target.len() as u16, target.len() as u16, 0];
    let data: Vec<u8> = lens.into_iter().flat_map(u16::to_le_bytes).chain(target).collect();
    sample.0.node_mut(evil).reparse = Some(Reparse { tag: crate::image::reparse::MOUNT_POINT, data: data.into() });
    let host = tempfile::tempdir().unwrap();
    let report = sample.extract(host.path(), options()).unwrap();
    assert!(fs::symlink_metadata(host.path().join("evil")).unwrap().is_dir());
    assert_eq!(report.notes, [r"\evil: a link with files in it became a folder"]);
}

#[test]
fn names_that_the_host_cannot_have_are_changed_and_said() {
    let mut sample = Sample::new();
    let root = sample.root();
    for units in [[0x61, 0xD800], [0x61, 0xD801]] {
        sample.add(root, Name::new(units), Node::file(0, Times::all(TIME), Content::empty()));
    }
    let host = tempfile::tempdir().unwrap();
    let report = sample.extract(host.path(), options()).unwrap();
    assert_eq!(report.files, 1);
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
}

#[test]
fn a_host_that_ignores_case_gets_one_of_two() {
    let mut sample = Sample::new();
    let root = sample.root();
    let one = sample.0.add_node(Node::file(0, Times::all(TIME), vec![1].into())).unwrap();
    let two = sample.0.add_node(Node::file(0, Times::all(TIME), vec![2].into())).unwrap();
    let link = |name: &str, node| Link { name: name.into(), short: None, node };
    sample.0.set_children(root, vec![link("File", one), link("file", two)]).unwrap();
    let plan = |ignores| Plan::new(&sample.0, &[Found::root(&sample.0)], false, ignores).unwrap();
    assert_eq!(plan(false).items.len(), 2);
    let folded = plan(true);
    assert_eq!(folded.items.len(), 1);
    assert_eq!(folded.notes.lines().len(), 1);
}

/// A store that gives half of its one blob and then fails, or is interrupted in the middle.
struct Broken(Option<Arc<Control>>);

impl BlobStore for Broken {
    fn position(&self, _: BlobId) -> u64 {
        0
    }

    fn stream(&self, wanted: &[BlobId], _: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        sink.write(wanted[0], 0, b"half")?;
        if let Some(control) = &self.0 {
            control.interrupt();
            sink.write(wanted[0], 4, b"rest")?;
        }
        Err(BlobError { blobs: wanted.to_vec(), error: Error::corrupt("wrong hash") })
    }

    fn read(&self, _: BlobId) -> Result<Vec<u8>> {
        Err(Error::corrupt("wrong hash"))
    }
}

#[test]
fn nothing_half_is_left() {
    for interrupted in [false, true] {
        let control = Arc::new(Control::default());
        let mut sample = Sample::new();
        let store = sample.0.add_store(Arc::new(Broken(interrupted.then(|| Arc::clone(&control)))));
        let content = Content::Blob { store, blob: BlobId(0), len: 8 };
        sample.add(sample.root(), "file", Node::file(0, Times::all(TIME), content));
        sample.file(sample.root(), "other", b"whole");
        let host = tempfile::tempdir().unwrap();
        let output = host.path().join("new");
        let error = extract(&sample.0, &[Found::root(&sample.0)], &output, options(), &control).unwrap_err();
        let expected = if interrupted { Kind::Interrupted } else { Kind::Corrupt };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(interrupted || error.to_string().contains(r"\file"), "{error}");
        assert!(!output.exists() && !control.has_outputs());
    }
}

#[test]
fn notes_are_counted_when_there_are_many() {
    let mut notes = Notes::default();
    (0..100).for_each(|number| notes.add("odd", || number.to_string()));
    let lines = notes.lines();
    assert_eq!((lines.len(), lines[KEPT].as_str()), (KEPT + 1, "80 more: odd"));
}
