//! NTFS volumes against a strict check of their bytes, and against tools that other people wrote.
#![allow(clippy::unwrap_used)] // as in tests

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nanovhd::base::{Disk, MemoryDisk};
use nanovhd::error::Kind;
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::{Content, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes};

use crate::support::blobs::Scattered;
use crate::support::ntfs_check::{self, Value, Volume};
use crate::support::random_tree::{Maker, Random, descriptor, random_tree, symbolic_link};
use crate::support::tools::windows_file;

const FILL: u8 = 0xD1;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Writes a tree to a volume of `extra` bytes more than it needs, over a disk that is all 0xD1.
fn build(tree: &Tree, options: &Options, extra: u64) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + extra).next_multiple_of(4096);
    let plan = Plan::new(tree, len, options).unwrap();
    let disk = MemoryDisk::new(len as usize, FILL);
    let done = AtomicU64::new(0);
    plan.write(tree, &disk, threads(4), &|bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    })
    .unwrap();
    let bytes = disk.into_bytes();
    let mut at = 0;
    for range in plan.used() {
        let untouched = &bytes[at as usize..range.start as usize];
        assert!(untouched.iter().all(|byte| *byte == FILL), "something outside of used() was written");
        at = range.end;
    }
    bytes
}

fn text(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

/// Compares every file of a tree with what is in a volume.
struct Comparison<'a> {
    tree: &'a Tree,
    volume: &'a Volume<'a>,
    records: HashMap<NodeId, u64>,
}

impl Comparison<'_> {
    fn run(tree: &Tree, volume: &Volume<'_>) {
        let mut comparison = Comparison { tree, volume, records: HashMap::new() };
        comparison.directory(tree.root(), 5);
        let users = volume.files.keys().filter(|record| **record >= 64).count();
        assert_eq!(users + 1, comparison.records.len(), "files in the volume");
    }

    fn directory(&mut self, id: NodeId, record: u64) {
        self.node(id, record);
        let node = self.tree.node(id);
        let mut found: HashMap<Vec<u16>, (u8, u64)> = HashMap::new();
        for (name, space, target) in &self.volume.entries[&record] {
            if *target >= 64 {
                assert!(found.insert(name.clone(), (*space, *target)).is_none());
            }
        }
        for link in node.children() {
            let (space, target) = found.remove(link.name.units()).unwrap_or_else(|| panic!("{} is missing", link.name));
            assert_ne!(space, 2);
            if space == 1 {
                let short = found.remove(link.short.as_ref().expect("a short name").units());
                assert_eq!(short, Some((2, target)));
            }
            match self.records.get(&link.node) {
                Some(known) => assert_eq!(*known, target, "hard link {}", link.name),
                None if self.tree.node(link.node).is_directory() => self.directory(link.node, target),
                None => self.node(link.node, target),
            }
        }
        assert!(found.is_empty(), "names that are not in the tree: {found:?}");
    }

    fn node(&mut self, id: NodeId, record: u64) {
        self.records.insert(id, record);
        let (node, volume) = (self.tree.node(id), self.volume);
        let information = volume.value(record, 0x10, "").unwrap();
        let word = |at: usize| u32::from_le_bytes(information[at..at + 4].try_into().unwrap());
        let times = [node.times.created, node.times.modified, node.times.changed, node.times.accessed];
        assert_eq!(information[..32], times.map(|time| time.0.to_le_bytes()).concat());
        let kept = attributes::SPARSE | attributes::REPARSE_POINT | attributes::COMPRESSED;
        assert_eq!(word(32) & !kept, node.attributes & !kept);
        assert_eq!(word(40) & 1 == 1, node.case_sensitive);
        if let Some(descriptor) = node.descriptor {
            assert_eq!(volume.descriptors[&word(52)], *self.tree.descriptors()[descriptor.index()]);
        }
        assert_eq!(volume.value(record, 0x40, "").as_deref(), node.object_id.as_deref());
        self.streams(node, record);
        let reparse = node.reparse.as_ref().map(|reparse| {
            let data = self.tree.read(&reparse.data).unwrap();
            let len = data.len() as u16 - if reparse.tag >> 31 == 0 { 16 } else { 0 };
            [&reparse.tag.to_le_bytes()[..], &len.to_le_bytes(), &[0, 0], &data].concat()
        });
        assert!(volume.value(record, 0xC0, "") == reparse);
        self.extended(node, record);
    }

    fn streams(&self, node: &Node, record: u64) {
        let mut expected: HashMap<String, Vec<u8>> = HashMap::new();
        if !node.is_directory() {
            expected.insert(String::new(), Vec::new());
        }
        for stream in &node.streams {
            expected.insert(text(stream.name.units()), self.tree.read(&stream.content).unwrap());
        }
        for attribute in self.volume.files[&record].attributes.iter().filter(|a| a.kind == 0x80) {
            let name = text(&attribute.name);
            let bytes = self.volume.read(attribute);
            assert!(
                expected.remove(&name).as_deref() == Some(&bytes),
                "record {record} stream {name:?}, {} bytes",
                bytes.len()
            );
            let sparse = node.streams.iter().any(|stream| stream.sparse && text(stream.name.units()) == name);
            assert_eq!(attribute.flags, if sparse { 0x8000 } else { 0 });
        }
        assert!(expected.is_empty(), "record {record}: streams {:?}", expected.keys());
    }

    fn extended(&self, node: &Node, record: u64) {
        let mut expected = Vec::new();
        for ea in &node.extended {
            let len = (9 + ea.name.len() + ea.value.len()).next_multiple_of(4);
            let mut entry = (len as u32).to_le_bytes().to_vec();
            entry.extend([ea.flags, ea.name.len() as u8]);
            entry.extend((ea.value.len() as u16).to_le_bytes());
            entry.extend(ea.name.iter().chain([&0]).chain(ea.value.iter()));
            entry.resize(len, 0);
            expected.extend(entry);
        }
        let found = self.volume.value(record, 0xE0, "");
        assert_eq!(found.unwrap_or_default(), expected);
    }
}

fn check_against(tree: &Tree, options: &Options, extra: u64) {
    let bytes = build(tree, options, extra);
    let volume = ntfs_check::check(&bytes);
    assert!(volume.problems.is_empty(), "{:#?}", &volume.problems[..volume.problems.len().min(20)]);
    Comparison::run(tree, &volume);
}

#[test]
fn random_trees_with_every_cluster_size() {
    for (seed, shift) in (9..=16).enumerate() {
        let options = Options { cluster_size: 1 << shift, serial: 7, label: "label".into(), ..Options::default() };
        for seed in [seed as u64, 100 + seed as u64] {
            check_against(&random_tree(seed, 1 << shift), &options, 0);
        }
    }
}

#[test]
fn random_trees_with_large_sectors() {
    for (seed, shift) in (12..=16).enumerate() {
        let options = Options { cluster_size: 1 << shift, sector_size: 4096, ..Options::default() };
        check_against(&random_tree(50 + seed as u64, 1 << shift), &options, 3 << 20);
    }
}

#[test]
fn the_check_reads_what_windows_writes() {
    // What a volume has once Windows has used it: a journal of its own, stale information in directories, blocks set
    // aside for a directory to come, and 8.3 names turned off.
    let known = [
        "duplicated information",
        "name with None entries",
        "index entries for",
        "$LogFile of",
        "$VOLUME_INFORMATION",
        "record 5 index $I30: node header 64",
        "0 blocks, 8 bytes of bitmap",
        "something was not written",
        "fields of $STANDARD_INFORMATION that are not in use",
        "record 6: bytes after the end",
        "record 29: bytes after the end",
    ];
    for file in ["ntfs/windows10-formatted-10MB.img.xz", "ntfs/windows10-lastaccess.ntfs.xz"] {
        let Some(bytes) = windows_file(file) else { return };
        let volume = ntfs_check::check(&bytes);
        let unknown: Vec<_> =
            volume.problems.iter().filter(|text| !known.iter().any(|known| text.contains(known))).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:#?}");
        assert!(volume.files.len() > 25);
    }
}

/// What the system files of a volume are, and what must be in them, compared with a volume that Windows formatted.
#[test]
fn system_files_are_those_of_windows() {
    let Some(theirs) = windows_file("ntfs/windows10-formatted-10MB.img.xz") else { return };
    let options = Options { hidden_sectors: 2048, serial: 0xDE46_EEDE_46EE_B705, ..Options::default() };
    let tree = Tree::new(Node::directory(attributes::HIDDEN | attributes::SYSTEM, Times::default()));
    let ours = {
        let disk = MemoryDisk::new(theirs.len(), FILL);
        Plan::new(&tree, theirs.len() as u64, &options).unwrap().write(&tree, &disk, threads(1), &|_| {}).unwrap();
        disk.into_bytes()
    };
    assert_eq!(ours[0x0B..0x26], theirs[0x0B..0x26]);
    assert_eq!(ours[0x28..0x30], theirs[0x28..0x30]);
    assert_eq!(ours[0x38..0x54], theirs[0x38..0x54], "mirror, sizes, serial");
    let (ours, theirs) = (ntfs_check::check(&ours), ntfs_check::check(&theirs));

    for record in (0..16).chain(24..27) {
        let (our, their) = (&ours.files[&record], &theirs.files[&record]);
        assert_eq!((our.sequence, our.flags, our.links), (their.sequence, their.flags, their.links), "record {record}");
        if record != 5 && record != 9 {
            let titles = |file: &ntfs_check::File| {
                let titles = file
                    .attributes
                    .iter()
                    .map(|a| (a.kind, text(&a.name), matches!(a.value, Value::Resident(_)), a.flags));
                titles.collect::<Vec<_>>()
            };
            assert_eq!(titles(our), titles(their), "record {record}");
        }
        for kind in [0x10, 0x30, 0x50] {
            let (our, their) = (ours.value(record, kind, ""), theirs.value(record, kind, ""));
            let fixed: &[(usize, usize)] = match kind {
                0x10 => &[(32, 48)],         // all but times and security id
                0x30 => &[(0, 8), (56, 66)], // all but times and sizes
                _ => &[(0, usize::MAX)],
            };
            for (start, end) in fixed.iter().copied().filter(|_| record != 5 || kind != 0x50) {
                let part =
                    |value: &Option<Vec<u8>>| value.as_ref().map(|v| v[start.min(v.len())..end.min(v.len())].to_vec());
                assert_eq!(part(&our), part(&their), "record {record} attribute {kind:#x}");
            }
        }
    }
    for (record, kind, name) in
        [(2, 0x30, ""), (4, 0x80, ""), (10, 0x80, ""), (10, 0x80, "$Info"), (25, 0x90, "$O"), (26, 0x90, "$R")]
    {
        let same = |volume: &Volume<'_>| {
            volume.value(record, kind, name).map(|value| if kind == 0x30 { value[40..].to_vec() } else { value })
        };
        assert!(same(&ours) == same(&theirs), "record {record} {name}");
    }
    for (name, len) in [("$SII", 16), ("$SDH", 16)] {
        let head = |volume: &Volume<'_>| volume.value(9, 0x90, name).unwrap()[..len].to_vec();
        assert_eq!(head(&ours), head(&theirs));
    }
    // All but four bytes of padding, and the times at which the quotas were last changed.
    for (name, differs) in [("$O", vec![(68, 72)]), ("$Q", vec![(68, 76), (140, 148)])] {
        let quotas = |volume: &Volume<'_>| {
            let mut value = volume.value(24, 0x90, name).unwrap();
            differs.iter().for_each(|(start, end)| value[*start..*end].fill(0));
            value
        };
        assert_eq!(quotas(&ours), quotas(&theirs), "$Quota:{name}");
    }
}

/// Flips bits of metadata that is in use and counts how many of them the check notices.
#[test]
fn the_check_notices_damage() {
    let options = Options { label: "label".into(), ..Options::default() };
    let tree = random_tree(2, 4096);
    let bytes = build(&tree, &options, 1 << 20);
    let mut spots = vec![(3, 0x54), (bytes.len() - 512, 512)];
    let volume = ntfs_check::check(&bytes);
    let place = |record, kind, name: &str| {
        let name: Vec<u16> = name.encode_utf16().collect();
        match &volume.all(record, kind, &name)[0].value {
            Value::Outside { runs, size, .. } => (runs[0].0.unwrap() as usize * volume.cluster, *size as usize),
            Value::Resident(_) => panic!("resident"),
        }
    };
    let (mft, len) = place(0, 0x80, "");
    for record in (0..len / volume.record).filter(|record| volume.files.contains_key(&(*record as u64))) {
        let at = mft + record * volume.record;
        let used = u32::from_le_bytes(bytes[at + 24..at + 28].try_into().unwrap());
        spots.push((at + 12, used as usize - 16));
    }
    spots.extend([
        place(0, 0xB0, ""),
        place(1, 0x80, ""),
        place(6, 0x80, ""),
        place(9, 0x80, "$SDS"),
        place(5, 0xA0, "$I30"),
    ]);
    let mut random = Random::new(1);
    let (mut noticed, all) = (0, 400);
    const QUIET: &str = "damaged"; // a check that falls over has noticed, too, and need not say so
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(QUIET) {
            usual(info);
        }
    }));
    for _ in 0..all {
        let (start, len) = spots[random.below(spots.len() as u64) as usize];
        let at = start + random.below(len as u64) as usize;
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << random.below(8);
        let sound = std::thread::scope(|scope| {
            let check = || {
                let volume = ntfs_check::check(&damaged);
                assert!(volume.problems.is_empty());
                Comparison::run(&tree, &volume);
            };
            std::thread::Builder::new().name(QUIET.into()).spawn_scoped(scope, check).unwrap().join()
        });
        noticed += usize::from(sound.is_err());
    }
    // Not noticed: fields that nobody reads, padding, quotas, the unused part of $SDS.
    assert!(noticed * 100 > all * 85, "{noticed} of {all} noticed");
}

#[test]
fn unchanged_input_gives_unchanged_output() {
    let options = Options { serial: 3, ..Options::default() };
    let tree = random_tree(11, 4096);
    assert!(build(&tree, &options, 0) == build(&random_tree(11, 4096), &options, 0));
    let len = Plan::needed(&tree, &options).unwrap();
    let plan = Plan::new(&tree, len, &options).unwrap();
    let (one, many) = (MemoryDisk::new(len as usize, 0), MemoryDisk::new(len as usize, 0));
    plan.write(&tree, &one, threads(1), &|_| {}).unwrap();
    plan.write(&tree, &many, threads(7), &|_| {}).unwrap();
    assert!(one.into_bytes() == many.into_bytes());
}

#[test]
fn what_is_needed_is_enough_and_less_is_not() {
    for (seed, shift) in [(20, 9), (21, 12), (22, 16)] {
        let options = Options { cluster_size: 1 << shift, ..Options::default() };
        let tree = random_tree(seed, 1 << shift);
        let needed = Plan::needed(&tree, &options).unwrap();
        let plan = Plan::new(&tree, needed, &options).unwrap();
        assert!(plan.summary().free_bytes < 1 << shift);
        let error = Plan::new(&tree, needed - 512, &options).err().expect("too small");
        assert_eq!(error.kind(), Kind::NoSpace);
        assert!(error.to_string().contains(&format!("{needed} bytes needed")), "{error}");
        assert!(Plan::new(&tree, 0, &options).is_err());
    }
}

#[test]
fn a_directory_of_100_000_names() {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let mut links = Vec::new();
    let mut random = Random::new(9);
    for at in 0..100_000u32 {
        let content = if at % 100 == 0 { vec![at as u8; 1500] } else { vec![at as u8; at as usize % 9] };
        let node = tree.add_node(Node::file(attributes::ARCHIVE, Times::default(), content.into())).unwrap();
        let name = format!("{:08x} a name of some length, so that there are many blocks {at}", random.next() as u32);
        links.push(Link { name: name.as_str().into(), short: None, node });
    }
    let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
    tree.set_children(directory, links).unwrap();
    tree.add_link(tree.root(), Link { name: "many".into(), short: None, node: directory }).unwrap();
    check_against(&tree, &Options::default(), 0);
    check_against(&tree, &Options { cluster_size: 65536, ..Options::default() }, 0);
}

#[test]
fn thousands_of_descriptors_reparse_points_and_object_ids() {
    let mut maker = Maker::new(5, 4096);
    let mut links = Vec::new();
    for at in 0..6000u32 {
        let mut node = Node::file(0, Times::default(), Content::empty());
        let mut bytes = descriptor(at);
        bytes.resize(bytes.len() + at as usize % 300, 0);
        node.descriptor = Some(maker.tree.add_descriptor(&bytes));
        node.object_id = Some(maker.random.bytes(16).into());
        node.reparse = Some(Reparse { tag: 0xA000_000C, data: symbolic_link("x").into() });
        let node = maker.tree.add_node(node).unwrap();
        links.push(Link { name: format!("{at}").as_str().into(), short: None, node });
    }
    let root = maker.tree.root();
    maker.tree.set_children(root, links).unwrap();
    check_against(&maker.tree, &Options::default(), 0);
    check_against(&maker.tree, &Options { cluster_size: 512, ..Options::default() }, 0);
}

#[test]
fn files_with_very_many_names_and_streams() {
    let mut maker = Maker::new(6, 4096);
    for count in [2, 5, 6, 7, 12, 30, 1024, 4000] {
        maker.many_links(count);
    }
    let mut node = Node::file(0, Times::default(), vec![1; 5000].into());
    for at in 0..3000 {
        let content = Content::from(vec![at as u8; at % 50]);
        node.streams.push(Stream { name: format!("stream {at}").as_str().into(), content, sparse: false });
    }
    let file = maker.tree.add_node(node).unwrap();
    let root = maker.tree.root();
    maker.tree.add_link(root, Link { name: "streams".into(), short: None, node: file }).unwrap();
    check_against(&maker.tree, &Options::default(), 0);

    maker.many_links(9000);
    let error = Plan::needed(&maker.tree, &Options::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("9000 links"), "{error}");
}

#[test]
fn a_broken_blob_is_named_by_its_path() {
    let mut store = Scattered::default();
    let (good, bad) = (store.add(&[1; 5000]), store.add(&[2; 5000]));
    store.broken = Some(bad);
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let store = tree.add_store(Arc::new(store));
    for (name, blob) in [("good.bin", good), ("bad.bin", bad)] {
        let node = Node::file(0, Times::default(), Content::Blob { store, blob, len: 5000 });
        let node = tree.add_node(node).unwrap();
        tree.add_link(tree.root(), Link { name: name.into(), short: None, node }).unwrap();
    }
    let plan = Plan::new(&tree, 32 << 20, &Options::default()).unwrap();
    let disk = MemoryDisk::new(32 << 20, 0);
    let error = plan.write(&tree, &disk, threads(2), &|_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert_eq!(error.to_string(), "\\bad.bin: a broken blob");
}

/// Half a million files, and the numbers that go with them: `cargo test --release --test it -- --ignored --nocapture large`.
#[test]
#[ignore = "measures: run it alone, in release"]
#[allow(clippy::print_stdout)]
fn large_trees() {
    for (name, count, len) in [("100,000 files of 3,000 bytes", 100_000u32, 3000), ("500,000 empty files", 500_000, 0)]
    {
        let mut store = Scattered::default();
        let blob = store.add(&vec![7; len]);
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let store = tree.add_store(Arc::new(store));
        let content = || if len == 0 { Content::empty() } else { Content::Blob { store, blob, len: len as u64 } };
        for at in 0..count.div_ceil(1000) {
            let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
            let file = |tree: &mut Tree| tree.add_node(Node::file(0, Times::default(), content())).unwrap();
            let links = (0..1000)
                .map(|at| Link {
                    name: format!("file number {at}").as_str().into(),
                    short: None,
                    node: file(&mut tree),
                })
                .collect();
            tree.set_children(directory, links).unwrap();
            tree.add_link(tree.root(), Link { name: format!("{at}").as_str().into(), short: None, node: directory })
                .unwrap();
        }
        let before = (processor_time(), peak_memory());
        let options = Options::default();
        let len = Plan::needed(&tree, &options).unwrap();
        let plan = Plan::new(&tree, len, &options).unwrap();
        let planned = (processor_time(), peak_memory());
        plan.write(&tree, &Nowhere(len), threads(2), &|_| {}).unwrap();
        let written = (processor_time(), peak_memory());
        println!(
            "{name}: tree {} MB; planned twice in {} ms of processor time, peak {} MB; written in {} ms, peak {} MB; {} MB",
            before.1 >> 10,
            planned.0 - before.0,
            planned.1 >> 10,
            written.0 - planned.0,
            written.1 >> 10,
            len >> 20
        );
    }
}

/// A disk that forgets everything.
struct Nowhere(u64);

impl Disk for Nowhere {
    fn len(&self) -> u64 {
        self.0
    }

    fn write_at(&self, at: u64, data: &[u8]) -> nanovhd::error::Result<()> {
        assert!(at + data.len() as u64 <= self.0);
        Ok(())
    }
}

/// Milliseconds that this process ran on a processor; 0 where the system does not say.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    fields.get(12..14).map_or(0, |ticks| ticks.iter().filter_map(|t| t.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Kilobytes of memory at the peak; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
