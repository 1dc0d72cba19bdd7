//! Whole volumes: clean ones, ones with a fault, and ones that are damaged at random.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::check;
use crate::base::{FileTime, MemoryDisk};
use crate::format::ntfs::{Options, Plan};
use crate::tree::{ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times, Tree};
use crate::verify::{Findings, Level, Rule};

/// Longer than this no check of a small volume may take, on a machine that does other things too.
const LONGEST: Duration = Duration::from_secs(20);

/// A tree with some of everything.
fn tree() -> Tree {
    let times = Times::all(FileTime(1 << 56));
    let mut tree = Tree::new(Node::directory(0, times));
    let root = tree.root();
    let add = |tree: &mut Tree, directory: NodeId, name: &str, short: Option<&str>, node: Node| {
        let node = tree.add_node(node).unwrap();
        tree.add_link(directory, Link { name: name.into(), short: short.map(Into::into), node }).unwrap();
        node
    };
    let many = add(&mut tree, root, "many", None, Node::directory(0, times));
    for index in 0..150 {
        let content = vec![0; index * 37];
        let short = format!("ALONGN~{index}");
        let short = (index < 10).then_some(short.as_str());
        add(&mut tree, many, &format!("a long name of file {index}"), short, Node::file(0x20, times, content.into()));
    }
    let mut odd = Node::file(0x2, times, vec![7; 5000].into());
    odd.object_id = Some([9; 16].into());
    odd.extended = vec![ExtendedAttribute { flags: 0, name: (*b"EA").into(), value: vec![1; 300].into() }];
    for name in ["one", "two", "three"] {
        odd.streams.push(Stream { name: name.into(), content: vec![5; 900].into(), sparse: name == "two" });
    }
    let odd = add(&mut tree, root, "odd", None, odd);
    for index in 0..40 {
        let name = format!("a hard link with a name that takes its space {index}");
        tree.add_link(root, Link { name: name.as_str().into(), short: None, node: odd }).unwrap();
    }
    let mut link = Node::file(0x400, times, Vec::new().into());
    link.reparse = Some(Reparse { tag: 0x8000_0123, data: vec![1; 100].into() });
    add(&mut tree, root, "link", None, link);
    tree
}

fn volume(cluster_size: u32) -> Vec<u8> {
    let (tree, options) = (tree(), Options { cluster_size, ..Options::default() });
    let len = (Plan::needed(&tree, &options).unwrap() + (256 << 10)).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    Plan::new(&tree, len, &options).unwrap().write(&tree, &disk, NonZeroUsize::MIN, &|_| {}).unwrap();
    disk.into_bytes()
}

fn findings(volume: &[u8]) -> Findings {
    let mut findings = Findings::default();
    let start = Instant::now();
    check(&volume, &mut findings);
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    findings
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Places in a volume where metadata is: non-zero bytes of records in use and of index blocks, and the boot sector.
fn metadata(volume: &[u8]) -> Vec<usize> {
    let is_head = |sector: &[u8]| sector.starts_with(b"FILE") && sector[22] & 1 == 1 || sector.starts_with(b"INDX");
    let mut places: Vec<usize> = (0..512).collect();
    for (index, sector) in volume.chunks(512).enumerate() {
        let before = index.checked_sub(1).map(|before| &volume[before * 512..index * 512]);
        if is_head(sector) || before.is_some_and(is_head) {
            places.extend((0..512).filter(|at| sector[*at] != 0).map(|at| index * 512 + at));
        }
    }
    places
}

#[test]
fn good_volumes_are_clean() {
    for cluster_size in [512, 4096, 65536] {
        let found = findings(&volume(cluster_size));
        assert_eq!(found.kept(), [], "clusters of {cluster_size}");
    }
}

#[test]
fn changed_bytes_are_found_without_a_panic() {
    let good = volume(4096);
    let places = metadata(&good);
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let (mut found, mut all) = (0, 0);
    let mut bytes = good.clone();
    for _ in 0..1500 {
        let at = places[random.below(places.len())];
        bytes[at] ^= 1 << random.below(8);
        all += 1;
        found += usize::from(findings(&bytes).worst() >= Some(Level::Note));
        bytes[at] = good[at];
    }
    // A floor against getting worse, measured, not derived: what is stored once (times of reserved records, sizes of named streams,
    // reparse data, entries of quotas) may be anything.
    assert!(found * 100 > all * 95, "{found} of {all}");
}

#[test]
fn evil_fields_and_swapped_sectors_do_no_harm() {
    let good = volume(512);
    let places = metadata(&good);
    let mut random = Random(0xFEDC_BA98_7654_3210);
    for _ in 0..600 {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(3) {
            let at = places[random.below(places.len())] & !3;
            let evil = [0, 0xFF, 0x7F, 0x80, 1][random.below(5)];
            let len = [1, 2, 4, 8][random.below(4)];
            bytes[at..at + len].fill(evil);
        }
        findings(&bytes);
    }
    for _ in 0..300 {
        let mut bytes = good.clone();
        let (a, b) = (places[random.below(places.len())] / 512 * 512, places[random.below(places.len())] / 512 * 512);
        let sector = bytes[a..a + 512].to_vec();
        bytes.copy_within(b..b + 512, a);
        bytes[b..b + 512].copy_from_slice(&sector);
        findings(&bytes);
    }
}

#[test]
fn volumes_cut_short_do_no_harm() {
    let good = volume(4096);
    for part in 0..60 {
        let len = good.len() * part / 60 + part;
        let found = findings(&good[..len]);
        assert!(found.worst() >= Some(Level::Warning), "{len} bytes");
    }
}

#[test]
fn a_fault_in_a_record_is_named() {
    let good = volume(4096);
    let name: Vec<u8> = "a long name of file 77".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let record = good
        .chunks(1024)
        .position(|record| record.starts_with(b"FILE") && record.windows(name.len()).any(|bytes| bytes == name));
    let record = record.unwrap() * 1024;
    let with = |offset: usize, bytes: &[u8]| {
        let mut volume = good.clone();
        volume[record + offset..record + offset + bytes.len()].copy_from_slice(bytes);
        findings(&volume)
    };
    for (offset, bytes, rule) in [
        (0, &b"BAAD"[..], Rule::RecordMagic),
        (6, &[9], Rule::Fixup),
        (16, &[0, 0], Rule::RecordSequence),
        (18, &[5], Rule::LinkCount),
        (20, &[48], Rule::RecordHeader),
        (22, &[3], Rule::RecordFlags),
        (24, &[8], Rule::RecordHeader),
        (28, &[8], Rule::RecordHeader),
        (40, &[1], Rule::NextInstance),
        (44, &[1], Rule::RecordNumber),
        (60, &[61], Rule::AttributeHeader),
        (56 + 24, &[1], Rule::EntryTimes),
        (56 + 24 + 32, &[1], Rule::EntryFlags),
        (56 + 24 + 52, &[77], Rule::SecurityId),
    ] {
        let found = with(offset, bytes);
        assert!(found.count_of(rule) > 0, "{rule:?} at {offset}: {:#?}", found.kept());
        assert!(found.kept().iter().all(|finding| finding.place.record.is_some()));
    }
    let found = with(18, &[5]);
    assert_eq!(found.kept().len(), 1, "{:#?}", found.kept());
    let place = &found.kept()[0].place;
    assert_eq!(place.path.as_deref(), Some("\\many\\a long name of file 77"));
    assert_eq!(place.offset, Some(record as u64 + 18));
}
