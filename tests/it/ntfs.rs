//! NTFS volumes against a strict check of their bytes, and against tools that other people wrote.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use nanovhd::base::MemoryDisk;
use nanovhd::error::Kind;
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::{Content, Link, Node, NodeId, Times, Tree, attributes};

use crate::support::ntfs_check::{self, Value, Volume};
use crate::support::random_tree::{Maker, Random, random_tree};

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
    for (file, expected) in [("ntfs/windows10-formatted-10MB.img.xz", 0), ("ntfs/windows10-lastaccess.ntfs.xz", 0)] {
        let Some(bytes) = crate::support::tools::windows_file(file) else { return };
        let volume = ntfs_check::check(&bytes);
        println!("{:#?}", volume.problems);
        assert_eq!(volume.problems.len(), expected);
    }
}
