//! Plans of volumes: sizes, places, and what is refused.

use super::*;
use crate::base::MemoryDisk;
use crate::base::io::Disk;
use crate::error::Kind;
use crate::tree::{BlobId, ExtendedAttribute, Link, Node, Reparse, Stream, Times};

fn tree_of(nodes: Vec<(&str, Node)>) -> Tree {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    for (name, node) in nodes {
        let node = tree.add_node(node).unwrap();
        tree.add_link(tree.root(), Link { name: name.into(), short: None, node }).unwrap();
    }
    tree
}

fn file() -> Node {
    Node::file(0, Times::default(), vec![1, 2, 3].into())
}

/// A file with a change.
fn odd_file(change: impl FnOnce(&mut Node)) -> Node {
    let mut node = file();
    change(&mut node);
    node
}

fn refusal(node: Node) -> Error {
    Plan::needed(&tree_of(vec![("odd", node)]), &Options::default()).unwrap_err()
}

fn plan(tree: &Tree, len: u64, options: &Options) -> Plan {
    Plan::new(tree, len, options).unwrap()
}

#[test]
fn what_ntfs_cannot_hold_is_refused_with_its_path() {
    let stream = |name: &str| Stream { name: name.into(), content: Content::empty(), sparse: false };
    let ea = |name: &[u8], len| ExtendedAttribute { flags: 0, name: name.into(), value: vec![0; len].into() };
    let mut odd = vec![
        odd_file(|node| node.attributes = bits::ENCRYPTED),
        odd_file(|node| node.object_id = Some([1; 17].into())),
        odd_file(|node| node.reparse = Some(Reparse { tag: 0xA000_000C, data: vec![0; 16_377].into() })),
        odd_file(|node| node.extended = vec![ea(b"EA", 65_530)]),
        odd_file(|node| node.extended = vec![ea(b"", 1)]),
        odd_file(|node| node.streams = vec![stream("a"), stream("A")]),
        odd_file(|node| node.streams = vec![stream("a:b")]),
        odd_file(|node| node.streams = vec![stream(&"x".repeat(256))]),
    ];
    let mut directory = Node::directory(0, Times::default());
    directory.streams.push(Stream { content: vec![1].into(), ..stream("") });
    odd.push(directory);
    for node in odd {
        let error = refusal(node);
        assert!(matches!(error.kind(), Kind::Unsupported | Kind::Corrupt), "{error}");
        assert!(error.to_string().starts_with("\\odd: "), "{error}");
    }
}

#[test]
fn names_of_system_files_and_impossible_names_are_refused() {
    for name in ["$MFT", "$bitmap", "$EXTEND", "a:b", "what?", "tab\t"] {
        let error = Plan::needed(&tree_of(vec![(name, file())]), &Options::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains('\\'), "{error}");
    }
    assert!(Plan::needed(&tree_of(vec![("$MFTX", file())]), &Options::default()).is_ok());
}

#[test]
fn broken_descriptors_are_refused() {
    for bytes in [&[1u8, 0, 4][..], &[0; 20], &[1, 0, 4, 0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut tree = tree_of(vec![("odd", file())]);
        let id = tree.add_descriptor(bytes);
        let odd = tree.find("odd").unwrap();
        tree.node_mut(odd).descriptor = Some(id);
        let error = Plan::needed(&tree, &Options::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().starts_with("\\odd: security descriptor"), "{error}");
    }
}

#[test]
fn two_files_cannot_share_an_object_id() {
    let node = || odd_file(|node| node.object_id = Some([7; 16].into()));
    let error = Plan::needed(&tree_of(vec![("a", node()), ("b", node())]), &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("\\b: "), "{error}");
}

#[test]
fn options_that_make_no_volume_are_refused() {
    let tree = tree_of(vec![]);
    let bad = [
        Options { label: "x".repeat(33).as_str().into(), ..Options::default() },
        Options { boot_code: vec![0; 8193].into(), ..Options::default() },
        Options { boot_code: vec![0; 1].into(), hidden_sectors: 1 << 32, ..Options::default() },
        Options { cluster_size: 100, ..Options::default() },
    ];
    for options in bad {
        assert_eq!(Plan::new(&tree, 1 << 30, &options).err().map(|error| error.kind()), Some(Kind::Invalid));
    }
    let error = Plan::new(&tree, 17 << 40, &Options::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(Plan::new(&tree, 17 << 40, &Options { cluster_size: 8192, ..Options::default() }).is_ok());
}

#[test]
fn lengths_beyond_reason_are_a_lack_of_space() {
    let mut tree = tree_of(vec![]);
    struct None;
    impl crate::tree::BlobStore for None {
        fn position(&self, _: BlobId) -> u64 {
            0
        }
        fn stream(
            &self,
            _: &[BlobId],
            _: std::num::NonZeroUsize,
            _: &dyn crate::tree::BlobSink,
        ) -> Result<(), crate::tree::BlobError> {
            Ok(())
        }
        fn read(&self, _: BlobId) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }
    let store = tree.add_store(std::sync::Arc::new(None));
    for at in 0..3 {
        let content = Content::Blob { store, blob: BlobId(at), len: i64::MAX as u64 };
        let node = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: format!("{at}").as_str().into(), short: Option::None, node }).unwrap();
    }
    assert_eq!(Plan::needed(&tree, &Options::default()).unwrap_err().kind(), Kind::NoSpace);
}

#[test]
fn a_store_that_gives_too_little_or_too_much_is_noticed() {
    struct Liar(usize);
    impl crate::tree::BlobStore for Liar {
        fn position(&self, _: BlobId) -> u64 {
            0
        }
        fn stream(
            &self,
            wanted: &[BlobId],
            _: std::num::NonZeroUsize,
            sink: &dyn crate::tree::BlobSink,
        ) -> Result<(), crate::tree::BlobError> {
            Ok(wanted.iter().try_for_each(|blob| sink.write(*blob, 0, &vec![1; self.0]))?)
        }
        fn read(&self, _: BlobId) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }
    for (given, sound) in [(4999, false), (5000, true), (5001, false), (50_000, false)] {
        let mut tree = tree_of(vec![]);
        let store = tree.add_store(std::sync::Arc::new(Liar(given)));
        let content = Content::Blob { store, blob: BlobId(0), len: 5000 };
        let node = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: "f".into(), short: None, node }).unwrap();
        let disk = MemoryDisk::new(16 << 20, 0);
        let threads = std::num::NonZeroUsize::MIN;
        let outcome = plan(&tree, 16 << 20, &Options::default()).write(&tree, &disk, threads, &|_| {});
        assert_eq!(outcome.is_ok(), sound, "{given}");
    }
}

#[test]
fn losses_are_told() {
    let compressed = odd_file(|node| node.attributes = bits::COMPRESSED);
    let sparse = Stream { name: "s".into(), content: vec![1].into(), sparse: true };
    let zero = Stream { name: "z".into(), content: vec![0].into(), sparse: true };
    let mut holes = file();
    holes.streams.extend([sparse, zero]);
    let lost = odd_file(|node| node.attributes = bits::REPARSE_POINT);
    let mut tree = tree_of(vec![("compressed", compressed), ("holes", holes), ("lost", lost)]);
    let twice = tree.add_node(file()).unwrap();
    let root = tree.root();
    for (name, short) in [("first long name", "FIRST~1"), ("second long name", "SECOND~1")] {
        tree.add_link(root, Link { name: name.into(), short: Some(short.into()), node: twice }).unwrap();
    }
    let told = |cluster_size| {
        let options = Options { cluster_size, ..Options::default() };
        plan(&tree, 64 << 20, &options).summary().losses.clone()
    };
    let small = told(4096);
    assert_eq!(small.len(), 4, "{small:#?}");
    assert!(
        small[0].starts_with("1 short names dropped") && small[0].ends_with("(first: \\first long name)"),
        "{small:#?}"
    );
    assert!(small[1].contains("the attribute is kept"));
    assert!(small[2].starts_with("1 sparse streams stored in full"));
    assert!(told(8192)[1].contains("without the attribute"));
}

#[test]
fn summary_counts() {
    let mut tree = tree_of(vec![("small", file()), ("large", Node::file(0, Times::default(), vec![1; 10_000].into()))]);
    let directory = tree.add_node(Node::directory(0, Times::default())).unwrap();
    let root = tree.root();
    let small = tree.find("small").unwrap();
    tree.add_link(root, Link { name: "d".into(), short: None, node: directory }).unwrap();
    tree.add_link(directory, Link { name: "again".into(), short: None, node: small }).unwrap();
    let plan = plan(&tree, 100 << 20, &Options::default());
    let summary = plan.summary();
    assert_eq!((summary.files, summary.directories, summary.links, summary.streams), (2, 2, 4, 2));
    assert_eq!((summary.records, summary.data_bytes), (3 + 19, 10_003));
    assert_eq!(summary.descriptors, 4, "two of the system, two defaults");
    let used: u64 = plan.used().iter().map(|range| range.end - range.start).sum();
    assert_eq!(used, summary.metadata_bytes + 12_288 + 512);
    assert_eq!(summary.clusters * 4096, used - 512 + summary.free_bytes);
    assert!(summary.losses.is_empty());
}

/// A disk that keeps nothing but the number of bytes.
struct Count(u64, std::sync::atomic::AtomicU64);

impl Disk for Count {
    fn len(&self) -> u64 {
        self.0
    }
    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        assert!(data.len() <= 2 << 20 && at + data.len() as u64 <= self.0);
        self.1.fetch_add(data.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn the_largest_volume_is_written_in_pieces() {
    let tree = tree_of(vec![("f", file())]);
    let len = MAX_CLUSTERS * 4096 + 512;
    let plan = plan(&tree, len, &Options::default());
    let disk = Count(len, Default::default());
    plan.write(&tree, &disk, std::num::NonZeroUsize::MIN, &|_| {}).unwrap();
    let used: u64 = plan.used().iter().map(|range| range.end - range.start).sum();
    assert!(used > 512 * MIB, "its bitmap alone is that long");
    assert_eq!(disk.1.into_inner(), used, "each byte is written once");
}

#[test]
fn a_disk_shorter_than_the_volume_is_refused() {
    let tree = tree_of(vec![]);
    let plan = plan(&tree, 16 << 20, &Options::default());
    let disk = MemoryDisk::new((16 << 20) - 1, 0);
    let error = plan.write(&tree, &disk, std::num::NonZeroUsize::MIN, &|_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
}

#[test]
fn journals_are_as_long_as_windows_makes_them() {
    assert_eq!(log_len(10 * MIB), 2 * MIB);
    assert_eq!(log_len(4096 * MIB), 6 * MIB + 192 * KIB);
    assert_eq!(log_len(1 << 40), 64 * MIB);
}

#[test]
fn a_disk_that_fails_ends_the_writing() {
    struct Full(std::sync::atomic::AtomicI64);
    impl Disk for Full {
        fn len(&self) -> u64 {
            16 << 20
        }
        fn write_at(&self, _: u64, _: &[u8]) -> Result<()> {
            match self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
                ..=0 => Err(Error::new(Kind::HostFull, "no more")),
                _ => Ok(()),
            }
        }
    }
    let tree = tree_of(vec![("f", Node::file(0, Times::default(), vec![1; 5000].into()))]);
    let plan = plan(&tree, 16 << 20, &Options::default());
    let threads = std::num::NonZeroUsize::new(3).unwrap();
    let write = |count: i64| plan.write(&tree, &Full(count.into()), threads, &|_| {});
    let enough = (0..100).find(|count| write(*count).is_ok()).expect("some number is enough");
    assert!(enough > 10);
    assert_eq!(write(enough - 1).unwrap_err().kind(), Kind::HostFull);
}
