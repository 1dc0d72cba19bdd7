//! NTFS volumes changed on the layout that they have: our own, ntfs-3g's and Windows'.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use nanovhd::base::{Disk, FileTime, MemoryDisk};
use nanovhd::error::Kind;
use nanovhd::format::ntfs::read::{Contents, Volume};
use nanovhd::format::ntfs::{Base, Options, Plan, Revision, RevisionSummary};
use nanovhd::tree::{Content, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes};
use nanovhd::verify::{Findings, Level, ntfs};

use crate::support::blobs::Scattered;
use crate::support::random_tree::{Maker, Random, descriptor, random_tree, symbolic_link};
use crate::support::tools::{Tools, text, windows_file};
use crate::support::trees::{Leniency, compare};
use crate::support::volume;

fn threads() -> NonZeroUsize {
    NonZeroUsize::new(3).unwrap()
}

/// A volume of ours with some free space, in which leftovers lie.
fn build(tree: &Tree, options: &Options, extra: u64) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + extra).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    Plan::new(tree, len, options).unwrap().write(tree, &disk, threads(), &|_| {}).unwrap();
    disk.into_bytes()
}

/// What came of a revision.
struct Revised {
    bytes: Vec<u8>,
    /// As it was edited.
    tree: Tree,
    summary: RevisionSummary,
    /// Sectors that differ from those of the base, in bytes.
    differing: usize,
}

/// Changes a volume, and checks that nothing but what was announced is written.
fn revise(base: &[u8], edit: impl FnOnce(&mut Tree)) -> Revised {
    let volume = Volume::open(Arc::new(base.to_vec())).unwrap();
    let contents = volume.read().unwrap();
    assert_eq!(contents.lost, 0, "{:?}", contents.notes);
    let read = Base::read(&volume, &contents).unwrap();
    let mut tree = contents.tree;
    edit(&mut tree);
    let revision = Revision::new(&read, &tree, None).unwrap_or_else(|error| panic!("{error}"));
    let disk = MemoryDisk::new(base.len(), 0);
    disk.write_at(0, base).unwrap();
    revision.write(&tree, &disk, threads(), &|_| {}).unwrap();
    let bytes = disk.into_bytes();
    check_untouched(base, &bytes, &revision.used());
    let differing = base.chunks(512).zip(bytes.chunks(512)).filter(|(a, b)| a != b).count() * 512;
    Revised { bytes, tree, summary: revision.summary().clone(), differing }
}

fn check_untouched(base: &[u8], bytes: &[u8], used: &[Range<u64>]) {
    let mut at = 0;
    for range in used {
        assert!(range.start % 512 == 0 && range.end % 512 == 0 && range.start < range.end);
        let untouched = at..range.start as usize;
        assert!(base[untouched.clone()] == bytes[untouched], "something outside of used() was written");
        at = range.end as usize;
    }
    assert!(base[at..] == bytes[at..]);
}

/// What the strict checker finds from `least` on, but for links that lead nowhere.
fn findings(volume: &[u8], least: Level) -> Vec<String> {
    let mut findings = Findings::default();
    ntfs::check(&volume, &mut findings);
    let mut found: Vec<String> =
        findings.kept().iter().filter(|finding| finding.level >= least).map(ToString::to_string).collect();
    found.retain(|finding| !finding.starts_with("warning[ntfs-reparse-point]"));
    found
}

fn read(volume: &[u8]) -> Contents {
    Volume::open(Arc::new(volume.to_vec())).unwrap().read().unwrap()
}

/// The volume is clean, and holds the tree.
fn check(revised: &Revised, seed: u64) {
    let found = findings(&revised.bytes, Level::Warning);
    assert!(found.is_empty(), "seed {seed}: {found:#?}");
    let contents = read(&revised.bytes);
    assert_eq!((contents.lost, contents.notes), (0, Vec::<String>::new()));
    compare(&revised.tree, &contents.tree, Leniency { written: true, ..Leniency::default() });
}

#[test]
fn a_volume_on_its_own_layout_is_not_written_at_all() {
    for (seed, shift) in (9..=16).enumerate() {
        let options = Options { cluster_size: 1 << shift, ..Options::default() };
        let base = build(&random_tree(seed as u64, 1 << shift), &options, 1 << 20);
        let revised = revise(&base, |_| {});
        assert!(revised.bytes == base);
        assert_eq!((revised.summary.changed, revised.summary.metadata_bytes), (0, 0));
    }
    for file in ["ntfs/windows10-formatted-10MB.img.xz", "ntfs/windows10-lastaccess.ntfs.xz"] {
        let Some(base) = windows_file(file) else { return };
        assert_eq!(revise(&base, |_| {}).differing, 0);
    }
}

/// Random edits of a tree.
struct Editor {
    random: Random,
    store: Option<nanovhd::tree::StoreId>,
    made: u64,
}

impl Editor {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), store: None, made: 0 }
    }

    fn content(&mut self, tree: &mut Tree) -> Content {
        let len = match self.random.below(6) {
            0 => 0,
            1 => self.random.below(700),
            2 => self.random.below(5000),
            3 => 4096 * self.random.below(9),
            _ => self.random.below(200_000),
        };
        let bytes = self.random.bytes(len as usize);
        if self.random.one_in(2) {
            return bytes.into();
        }
        let mut store = Scattered::default();
        let blob = store.add(&bytes);
        let store = *self.store.insert(tree.add_store(Arc::new(store)));
        Content::Blob { store, blob, len }
    }

    fn directories(tree: &Tree) -> Vec<NodeId> {
        let below = tree.walk().map(|(_, link)| link.node).filter(|id| tree.node(*id).is_directory());
        std::iter::once(tree.root()).chain(below).collect()
    }

    fn files(tree: &Tree) -> Vec<NodeId> {
        tree.walk().map(|(_, link)| link.node).filter(|id| !tree.node(*id).is_directory()).collect()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn times(&mut self) -> Times {
        Times::all(FileTime(132_000_000_000_000_000 + self.random.below(1 << 50)))
    }

    fn add(&mut self, tree: &mut Tree) {
        let directory = self.pick(&Self::directories(tree));
        for _ in 0..1 + self.random.below(60) {
            let mut node = Node::file(0x20, self.times(), self.content(tree));
            if self.random.one_in(4) {
                node.descriptor = Some(tree.add_descriptor(&descriptor(self.random.below(500) as u32)));
            }
            if self.random.one_in(6) {
                let content = self.content(tree);
                node.streams.push(Stream { name: "news".into(), content, sparse: self.random.one_in(2) });
            }
            if self.random.one_in(9) {
                node.reparse = Some(Reparse { tag: 0xA000_000C, data: symbolic_link("x").into() });
            }
            if self.random.one_in(9) {
                self.made += 1;
                node.object_id = Some([self.random.bytes(8), self.made.to_le_bytes().to_vec()].concat().into());
            }
            self.made += 1;
            let id = tree.add_node(node).unwrap();
            let name = format!("new {}{}", self.made, "x".repeat(self.random.below(50) as usize));
            let short = (self.random.one_in(3) && !tree.node(directory).case_sensitive)
                .then(|| format!("NEW~{}", self.made).as_str().into());
            let link = Link { name: name.as_str().into(), short, node: id };
            // wimlib takes each link to a reparse point for a file of its own.
            let may_have_two = tree.node(id).reparse.is_none();
            if tree.add_link(directory, link).is_ok() && may_have_two && self.random.one_in(8) {
                let elsewhere = self.pick(&Self::directories(tree));
                let name = format!("hard link {}", self.made).as_str().into();
                tree.add_link(elsewhere, Link { name, short: None, node: id }).unwrap();
            }
        }
    }

    fn make_directory(&mut self, tree: &mut Tree) {
        let directory = self.pick(&Self::directories(tree));
        let id = tree.add_node(Node::directory(0, self.times())).unwrap();
        self.made += 1;
        let name = format!("directory {}", self.made).as_str().into();
        tree.add_link(directory, Link { name, short: None, node: id }).unwrap();
    }

    fn delete(&mut self, tree: &mut Tree) {
        let directory = self.pick(&Self::directories(tree));
        let names: Vec<_> = tree.node(directory).children().iter().map(|link| link.name.clone()).collect();
        let (few, start) = (self.random.below(names.len() as u64 + 1) as usize, self.random.below(4) as usize);
        for name in names.iter().skip(start).step_by(1 + self.random.below(3) as usize).take(few) {
            tree.remove_tree(directory, name.units()).unwrap();
        }
    }

    fn rename(&mut self, tree: &mut Tree) {
        let links: Vec<(NodeId, Link)> = tree.walk().map(|(parent, link)| (parent, link.clone())).collect();
        if links.is_empty() {
            return;
        }
        let (parent, link) = links[self.random.below(links.len() as u64) as usize].clone();
        let is_directory = tree.node(link.node).is_directory();
        if is_directory && !tree.node(link.node).children().is_empty() {
            return;
        }
        tree.remove_link(parent, link.name.units()).unwrap();
        self.made += 1;
        let directories = Self::directories(tree);
        let reachable = |id: &NodeId| *id != link.node;
        let directories: Vec<NodeId> = directories.into_iter().filter(reachable).collect();
        let to = self.pick(&directories);
        let name = format!("renamed {}", self.made).as_str().into();
        tree.add_link(to, Link { name, short: None, node: link.node }).unwrap();
    }

    fn change(&mut self, tree: &mut Tree) {
        let files = Self::files(tree);
        if files.is_empty() {
            return;
        }
        for _ in 0..1 + self.random.below(30) {
            let id = self.pick(&files);
            let content = self.content(tree);
            let times = self.times();
            let shared = tree.add_descriptor(&descriptor(1000 + self.random.below(3) as u32));
            let kind = self.random.below(7);
            let node = tree.node_mut(id);
            match kind {
                0 => node.times = times,
                1 => node.attributes ^= 1,
                2 => node.descriptor = Some(shared),
                3 => node.streams.retain(|stream| stream.name.is_empty()),
                4 => node.streams.push(Stream {
                    name: format!("s{}", self.made).as_str().into(),
                    content,
                    sparse: false,
                }),
                _ => {
                    if let Some(stream) = node.streams.first_mut() {
                        stream.content = content;
                    }
                }
            }
            self.made += 1;
        }
    }

    fn edit(&mut self, tree: &mut Tree) {
        for _ in 0..1 + self.random.below(5) {
            match self.random.below(6) {
                0 => self.add(tree),
                1 => self.make_directory(tree),
                2 => self.delete(tree),
                3 => self.rename(tree),
                _ => self.change(tree),
            }
        }
    }
}

/// Each file that did not change has its contents where they were: what it reads does not depend on anything that was written.
fn chain(mut base: Vec<u8>, seed: u64, links: usize) {
    let mut editor = Editor::new(seed);
    for _ in 0..links {
        let revised = revise(&base, |tree| editor.edit(tree));
        check(&revised, seed);
        base = revised.bytes;
    }
}

#[test]
fn random_edits_with_every_cluster_size() {
    for (seed, shift) in (9..=16).enumerate() {
        let options = Options { cluster_size: 1 << shift, ..Options::default() };
        let base = build(&random_tree(seed as u64, 1 << shift), &options, 24 << 20);
        for more in 0..3 {
            chain(base.clone(), 1000 + 10 * seed as u64 + more, 4);
        }
    }
}

#[test]
fn random_edits_with_large_sectors() {
    for (seed, shift) in (12..=16).enumerate() {
        let options = Options { cluster_size: 1 << shift, sector_size: 4096, ..Options::default() };
        let base = build(&random_tree(50 + seed as u64, 1 << shift), &options, 24 << 20);
        chain(base, 2000 + seed as u64, 4);
    }
}

/// A directory with many files in it.
fn crowded(count: usize) -> Tree {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let many = tree.add_node(Node::directory(0, Times::default())).unwrap();
    let file = |tree: &mut Tree| tree.add_node(Node::file(0, Times::default(), vec![7; 3000].into())).unwrap();
    let links = (0..count)
        .map(|at| Link { name: format!("a file of many, {at:05}").as_str().into(), short: None, node: file(&mut tree) })
        .collect();
    tree.set_children(many, links).unwrap();
    let root = tree.root();
    tree.add_link(root, Link { name: "many".into(), short: None, node: many }).unwrap();
    tree
}

#[test]
fn little_changes_write_little() {
    let base = build(&crowded(5000), &Options::default(), 16 << 20);
    let added = revise(&base, |tree| {
        let many = tree.find("many").unwrap();
        let node = tree.add_node(Node::file(0, Times::default(), vec![1; 100].into())).unwrap();
        tree.add_link(many, Link { name: "a file of many, 02500 and a half".into(), short: None, node }).unwrap();
    });
    check(&added, 0);
    let hive = build(
        &{
            let mut tree = crowded(50);
            let node = tree.add_node(Node::file(0, Times::default(), vec![3; 10 << 20].into())).unwrap();
            let root = tree.root();
            tree.add_link(root, Link { name: "HIVE".into(), short: None, node }).unwrap();
            tree
        },
        &Options::default(),
        16 << 20,
    );
    let value = revise(&hive, |tree| {
        let id = tree.find("HIVE").unwrap();
        let mut bytes = tree.read_file("HIVE").unwrap().unwrap();
        bytes[5_000_000] = 9;
        tree.node_mut(id).streams[0].content = bytes.into();
        tree.node_mut(id).times.modified = FileTime(1 << 56);
    });
    check(&value, 0);
    println!(
        "one file more in a directory of 5,000: {} KiB; one value of a hive: {} KiB",
        added.differing / 1024,
        value.differing / 1024
    );
    assert!(added.differing <= 24 << 10, "{}", added.differing);
    assert!(value.differing <= 4 << 10, "{}", value.differing);
}

#[test]
fn directories_grow_and_shrink_in_their_blocks() {
    let mut base = build(&crowded(3000), &Options::default(), 64 << 20);
    let mut random = Random::new(5);
    for round in 0..12 {
        let revised = revise(&base, |tree| {
            let many = tree.find("many").unwrap();
            let mut names: Vec<_> = tree.node(many).children().iter().map(|link| link.name.clone()).collect();
            let remove = if round % 4 == 3 { names.len() } else { random.below(names.len() as u64 + 1) as usize };
            for _ in 0..remove {
                let name = names.swap_remove(random.below(names.len() as u64) as usize);
                tree.remove_link(many, name.units()).unwrap();
            }
            for at in 0..random.below(2500) {
                let len = if random.one_in(5) { random.below(200) } else { 5 };
                let name = format!("{}-{round}-{at}{}", random.below(100_000), "y".repeat(len as usize));
                let node = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
                tree.add_link(many, Link { name: name.as_str().into(), short: None, node }).unwrap();
            }
        });
        check(&revised, round);
        base = revised.bytes;
    }
}

/// Volumes that other people's programs wrote to.
fn filled_by_ntfs_3g<'t>(tools: &'t Tools, options: &[&str]) -> Option<volume::Volume<'t>> {
    let made = volume::Volume::format(tools, 4096, 96 << 20, options);
    made.mounted(|root| {
        let many = root.join("many");
        fs::create_dir(&many).unwrap();
        for number in 0..900 {
            fs::write(many.join(format!("a file with a long name, number {number}")), format!("{number}")).unwrap();
        }
        for number in (0..900).step_by(3) {
            fs::remove_file(many.join(format!("a file with a long name, number {number}"))).unwrap();
        }
        for number in 0..40 {
            let first = many.join("a file with a long name, number 1");
            fs::hard_link(first, root.join(format!("a link of many, number {number}"))).unwrap();
        }
        // Two files by turns, so that both are in pieces.
        let (mut a, mut b) = (File::create(root.join("a")).unwrap(), File::create(root.join("b")).unwrap());
        for number in 0..600 {
            for file in [&mut a, &mut b] {
                file.write_all(&[number as u8; 4096]).and_then(|()| file.sync_all()).unwrap();
            }
        }
        let mut sparse = File::create(root.join("sparse")).unwrap();
        sparse.seek(SeekFrom::Start(9_000_000)).and_then(|_| sparse.write_all(&[1; 5000])).unwrap();
        fs::write(root.join("compressed"), "abcdefgh ".repeat(30_000)).unwrap();
    })?;
    Some(made)
}

#[test]
fn random_edits_of_volumes_that_ntfs_3g_wrote_to() {
    let Some(tools) = Tools::find(&volume::Volume::TOOLS) else { return };
    for (number, options) in [&["-C"][..], &[]].into_iter().enumerate() {
        let Some(made) = filled_by_ntfs_3g(&tools, options) else { return };
        let base = made.bytes();
        assert_eq!(revise(&base, |_| {}).differing, 0);
        // What is compressed, sparse or in pieces is kept as it is when other things about the file change.
        let touched = revise(&base, |tree| {
            for name in ["a", "b", "sparse", "compressed"] {
                let id = tree.find(name).unwrap();
                tree.node_mut(id).times = Times::all(FileTime(1 << 56));
                tree.node_mut(id).attributes ^= 1;
                let content = vec![5; 9000].into();
                tree.node_mut(id).streams.push(Stream { name: "more".into(), content, sparse: false });
            }
        });
        check(&touched, 0);
        assert!(touched.differing < 100 << 10, "{}", touched.differing);
        for seed in 0..6 {
            chain(base.clone(), 3000 + 10 * number as u64 + seed, 3);
        }
    }
}

#[test]
fn random_edits_of_volumes_of_windows() {
    for (number, file) in
        ["ntfs/windows10-formatted-10MB.img.xz", "ntfs/windows10-lastaccess.ntfs.xz"].into_iter().enumerate()
    {
        let Some(base) = windows_file(file) else { return };
        for seed in 0..4 {
            let mut editor = Editor::new(4000 + 10 * number as u64 + seed);
            let mut base = base.clone();
            let notes = read(&base).notes;
            for _ in 0..3 {
                let small = base.len() < 20 << 20;
                let revised = revise(&base, |tree| {
                    if small {
                        editor.change(tree)
                    } else {
                        editor.edit(tree)
                    }
                    if small {
                        editor.make_directory(tree);
                    }
                });
                let found = findings(&revised.bytes, Level::Warning);
                assert!(found.is_empty(), "{file}, seed {seed}: {found:#?}");
                let contents = read(&revised.bytes);
                assert_eq!((contents.lost, &contents.notes), (0, &notes));
                compare(&revised.tree, &contents.tree, Leniency { written: true, ..Leniency::default() });
                base = revised.bytes;
            }
        }
    }
}

#[test]
fn other_programs_take_what_comes_out() {
    let Some(tools) = Tools::find(&["ntfsfix", "ntfsinfo", "fsntfsinfo", "wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    for seed in 0..3 {
        let mut maker = Maker::new(seed, 4096);
        maker.tame = true;
        let root = maker.tree.root();
        maker.fill(root, 120, 3);
        let base = build(&maker.tree, &Options::default(), 24 << 20);
        let mut editor = Editor::new(5000 + seed);
        let mut bytes = base;
        for _ in 0..3 {
            let revised = revise(&bytes, |tree| {
                editor.edit(tree);
                for id in Editor::files(tree) {
                    let links = tree.node(id).links();
                    let node = tree.node_mut(id);
                    if node.reparse.is_some() && links > 1 {
                        node.reparse = None; // wimlib takes each name of a link for a link of its own
                        node.attributes &= !attributes::REPARSE_POINT;
                    } else if node.reparse.is_some() {
                        // Links have no data, and wimlib takes none from them.
                        node.streams.retain(|stream| !stream.name.is_empty());
                    }
                }
            });
            fs::write(&path, &revised.bytes).unwrap();
            tools.run("ntfsfix", &["-n", text(&path)]);
            tools.run("ntfsinfo", &["-m", text(&path)]);
            tools.run("fsntfsinfo", &["-H", text(&path)]);
            let wim = folder.path().join("captured.wim");
            let _ = fs::remove_file(&wim);
            tools.run("wimlib-imagex", &["capture", text(&path), text(&wim), "--compress=none", "--quiet"]);
            let wim = nanovhd::format::wim::Wim::open(vec![Arc::new(fs::read(&wim).unwrap())]).unwrap();
            let captured = wim.tree(1).unwrap();
            compare(&revised.tree, &captured.tree, Leniency { wim: true, written: true });
            bytes = revised.bytes;
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let base = build(&crowded(10), &Options::default(), 1 << 20);
    let volume = Volume::open(Arc::new(base)).unwrap();
    let contents = volume.read().unwrap();
    let read = Base::read(&volume, &contents).unwrap();
    let refusal = |edit: &dyn Fn(&mut Tree)| {
        let mut tree = contents.tree.clone();
        edit(&mut tree);
        Revision::new(&read, &tree, None).map(|_| ()).unwrap_err()
    };
    let add = |tree: &mut Tree, name: &str, node: Node| {
        let id = tree.add_node(node).unwrap();
        let root = tree.root();
        tree.add_link(root, Link { name: name.into(), short: None, node: id }).unwrap();
    };
    let file = |len: usize| Node::file(0, Times::default(), vec![1; len].into());
    let full = refusal(&|tree| add(tree, "too long", file(20 << 20)));
    assert_eq!(full.kind(), Kind::NoSpace, "{full}");
    assert!(full.to_string().starts_with("\\too long: "), "{full}");
    for name in ["$mft", "what?", "$Extend"] {
        let error = refusal(&|tree| add(tree, name, file(1)));
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    }
    let mut encrypted = file(1);
    encrypted.attributes = 0x4000;
    assert_eq!(refusal(&|tree| add(tree, "encrypted", encrypted.clone())).kind(), Kind::Unsupported);
    let other = Tree::new(Node::directory(0, Times::default()));
    assert_eq!(Revision::new(&read, &other, None).map(|_| ()).unwrap_err().kind(), Kind::Invalid);
    let long = "x".repeat(33).as_str().into();
    assert_eq!(Revision::new(&read, &contents.tree, Some(&long)).map(|_| ()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_label_changes_a_record_and_its_copy() {
    let base = build(&crowded(10), &Options { label: "before".into(), ..Options::default() }, 1 << 20);
    let volume = Volume::open(Arc::new(base.clone())).unwrap();
    let contents = volume.read().unwrap();
    let read = Base::read(&volume, &contents).unwrap();
    let revision = Revision::new(&read, &contents.tree, Some(&"a longer label".into())).unwrap();
    let disk = MemoryDisk::new(base.len(), 0);
    disk.write_at(0, &base).unwrap();
    revision.write(&contents.tree, &disk, threads(), &|_| {}).unwrap();
    let bytes = disk.into_bytes();
    assert_eq!(findings(&bytes, Level::Note), Vec::<String>::new());
    assert_eq!(Volume::open(Arc::new(bytes)).unwrap().facts().label, "a longer label".into());
    assert_eq!(revision.used().iter().map(|range| range.end - range.start).sum::<u64>(), 2048);
}

/// One base serves many children.
#[test]
fn children_of_one_base_do_not_know_each_other() {
    let base = build(&crowded(100), &Options::default(), 8 << 20);
    let volume = Volume::open(Arc::new(base.clone())).unwrap();
    let contents = volume.read().unwrap();
    let read = Base::read(&volume, &contents).unwrap();
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for child in 0..5 {
        let mut tree = contents.tree.clone();
        let many = tree.find("many").unwrap();
        let content = format!("child {}", child / 2).into_bytes().into();
        let node = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(many, Link { name: "name".into(), short: None, node }).unwrap();
        let disk = MemoryDisk::new(base.len(), 0);
        disk.write_at(0, &base).unwrap();
        Revision::new(&read, &tree, None).unwrap().write(&tree, &disk, threads(), &|_| {}).unwrap();
        *seen.entry(disk.into_bytes()).or_default() += 1;
    }
    let mut counts: Vec<usize> = seen.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2], "the same edit gives the same bytes");
}

/// No damage of a base makes anyone fall over.
#[test]
fn damaged_bases_do_no_harm() {
    let base = build(&random_tree(3, 4096), &Options::default(), 1 << 20);
    let mut random = Random::new(77);
    let mut planned = 0;
    for round in 0..150 {
        let mut evil = base.clone();
        for _ in 0..1 + random.below(20) {
            let at = random.below(evil.len() as u64 / 512) as usize * 512 + random.below(160) as usize;
            evil[at] ^= 1 << random.below(8);
        }
        let Ok(volume) = Volume::open(Arc::new(evil)) else { continue };
        let Ok(contents) = volume.read() else { continue };
        let Ok(read) = Base::read(&volume, &contents) else { continue };
        let mut tree = contents.tree;
        Editor::new(round).edit(&mut tree);
        planned += u32::from(Revision::new(&read, &tree, None).is_ok());
    }
    println!("{planned} of 150 damaged bases could be changed");
}
