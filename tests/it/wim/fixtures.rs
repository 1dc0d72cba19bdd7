//! What the WIM tests write: folders and trees that have everything.

use std::fs;
use std::path::Path;

use nanovhd::base::{FileTime, Name};
use nanovhd::tree::{Content, ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes};

/// A small generator with a seed (xorshift), so that tests repeat.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Text-like bytes: words that come again.
    pub(super) fn text(&mut self, len: usize) -> Vec<u8> {
        let words: Vec<Vec<u8>> =
            (0..300).map(|_| (0..2 + self.below(9)).map(|_| b'a' + self.below(26) as u8).collect()).collect();
        let mut text = Vec::with_capacity(len + 16);
        while text.len() < len {
            text.extend_from_slice(&words[self.below(words.len())]);
            text.push(b' ');
        }
        text.truncate(len);
        text
    }

    pub(super) fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A folder with all sizes of files around chunk boundaries, duplicates, and links.
pub(super) fn make_source(folder: &Path) {
    let mut random = Random(1);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    fs::create_dir_all(folder.join("a/b/c/d/empty folder")).unwrap();
    fs::create_dir_all(folder.join("Größe")).unwrap();
    write("empty", b"");
    write("one", b"1");
    for size in [4095, 4096, 4097, 32767, 32768, 32769, 65536, 262_144, 262_145, 300_000, 1_100_000] {
        write(&format!("a/text{size}"), &random.text(size));
        write(&format!("a/b/noise{size}"), &random.noise(size / 3));
    }
    write("a/b/c/zeros", &vec![0; 3_000_000]);
    write("a/b/c/mixed", &[random.text(700_000), random.noise(700_000), vec![7; 700_000]].concat());
    for number in 0..200 {
        write(&format!("Größe/small {number}"), &random.text(number * 37));
    }
    fs::copy(folder.join("a/text32768"), folder.join("Größe/copy")).unwrap();
    fs::hard_link(folder.join("a/text300000"), folder.join("a/b/c/hard link")).unwrap();
}

pub(super) fn time(seconds: u64) -> FileTime {
    FileTime(131_000_000_000_000_000 + seconds * 10_000_000 + seconds % 10)
}

pub(super) fn times(seed: u64) -> Times {
    let modified = time(seed * 3 + 1);
    Times { created: time(seed), modified, changed: modified, accessed: time(seed * 5 + 2) }
}

pub(super) fn link(name: &str, short: Option<&str>, node: NodeId) -> Link {
    Link { name: name.into(), short: short.map(Name::from), node }
}

pub(super) fn stream(name: &str, bytes: &[u8]) -> Stream {
    Stream { name: name.into(), content: bytes.to_vec().into(), sparse: false }
}

/// Owner and group SYSTEM; one entry in the DACL, with `mask` for Administrators.
pub(super) fn descriptor(mask: u32) -> Vec<u8> {
    let system = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let administrators = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
    let mut bytes = vec![1, 0, 4, 0x80];
    for offset in [20u32, 32, 0, 44] {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes.extend_from_slice(&system);
    bytes.extend_from_slice(&system);
    bytes.extend_from_slice(&[2, 0, 32, 0, 1, 0, 0, 0, 0, 0, 24, 0]);
    bytes.extend_from_slice(&mask.to_le_bytes());
    bytes.extend_from_slice(&administrators);
    bytes
}

/// A junction to `C:\Windows`, without the header that NTFS puts before it.
pub(super) fn junction() -> Vec<u8> {
    let target: Vec<u8> = r"\??\C:\Windows".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let print: Vec<u8> = r"C:\Windows".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = Vec::new();
    for value in [0, target.len(), target.len() + 2, print.len()] {
        data.extend_from_slice(&(value as u16).to_le_bytes());
    }
    data.extend_from_slice(&[target.as_slice(), &[0, 0], &print, &[0, 0]].concat());
    data
}

/// A tree that has everything that NTFS and WIM can both hold.
pub(super) fn rich_tree() -> Tree {
    let mut random = Random(99);
    let mut tree = Tree::new(Node::directory(attributes::HIDDEN | attributes::SYSTEM, times(1)));
    let ids: Vec<_> =
        [0x001F_01FF, 0x0012_00A9, 0x0013_01BF].map(|mask| tree.add_descriptor(&descriptor(mask))).to_vec();
    let root = tree.root();
    tree.node_mut(root).descriptor = Some(ids[0]);
    let mut add = |mut node: Node, number: u64| {
        node.times = times(number);
        node.descriptor = Some(ids[number as usize % 3]);
        tree.add_node(node).unwrap()
    };
    let windows = add(Node::directory(0, Times::default()), 2);
    let mut kernel = Node::file(attributes::READ_ONLY, Times::default(), random.text(500_000).into());
    kernel.streams.push(stream("Zone.Identifier", b"[ZoneTransfer]"));
    kernel.streams.push(stream("empty", b""));
    kernel.object_id = Some((0..16).collect());
    kernel.extended =
        vec![ExtendedAttribute { flags: 0, name: b"NANO".as_slice().into(), value: random.noise(60).into() }];
    let kernel = add(kernel, 3);
    let shared = add(Node::file(attributes::ARCHIVE, Times::default(), random.noise(70_000).into()), 4);
    let empty = add(Node::file(0, Times::default(), Content::empty()), 5);
    let mut users = Node::directory(0, Times::default());
    users.streams.push(stream("on a directory", b"directory stream"));
    let users = add(users, 6);
    let mut mount = Node::directory(0, Times::default());
    mount.attributes = attributes::REPARSE_POINT;
    mount.reparse = Some(Reparse { tag: 0xA000_0003, data: junction().into() });
    let mount = add(mount, 7);
    let mut wof = Node::file(0, Times::default(), b"main stream beside a reparse point".to_vec().into());
    wof.attributes = attributes::REPARSE_POINT;
    wof.reparse = Some(Reparse { tag: 0x8000_0017, data: random.noise(40).into() });
    wof.streams.push(stream("named", b"and a named one"));
    let wof = add(wof, 8);
    let unicode = add(Node::file(0, Times::default(), b"\x01".to_vec().into()), 9);
    tree.set_children(
        windows,
        vec![
            link("kernel with a long name.dll", Some("KERNEL~1.DLL"), kernel),
            link("shared.txt", None, shared),
            link("empty", None, empty),
        ],
    )
    .unwrap();
    tree.set_children(
        users,
        vec![link("second name of shared.txt", Some("SECOND~1.TXT"), shared), link("ß\u{1F600}.bin", None, unicode)],
    )
    .unwrap();
    tree.set_children(
        root,
        vec![
            link("Windows", None, windows),
            link("Users", None, users),
            link("junction", None, mount),
            link("wof.exe", None, wof),
        ],
    )
    .unwrap();
    tree
}

/// A second image, of a single file.
pub(super) fn plain_tree() -> Tree {
    let mut tree = Tree::new(Node::directory(0, times(20)));
    let file = tree.add_node(Node::file(0, times(21), Random(5).text(123_456).into())).unwrap();
    tree.add_link(tree.root(), link("only file", None, file)).unwrap();
    tree
}
