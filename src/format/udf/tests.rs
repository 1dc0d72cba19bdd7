//! Volumes made by hand, whole and evil: what no tool writes. (Those that tools write are in the integration tests.)

use std::sync::Arc;

use super::*;
use crate::base::ReadAt;
use crate::error::{Kind, Result};
use crate::tree::medium::Files;

const BLOCK: usize = 512;
/// Where the partition begins, in blocks.
const START: usize = 300;
const BLOCKS: usize = 700;
/// Blocks of the partition.
const LEN: usize = 380;
const MAIN: usize = 100;
const RESERVE: usize = 120;
/// In the partition.
const ROOT: u32 = 1;

const DIRECTORY: u8 = 4;
const FILE: u8 = 5;
const SHORT: u16 = 0;
const LONG: u16 = 1;
const EMBEDDED: u16 = 3;

/// A volume in the making.
#[derive(Clone)]
struct Image(Vec<u8>);

/// CRC-16 as the standard describes it, bit by bit.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

/// A tag in front of a body, of `id` and in block `location`.
fn sealed(id: u16, location: u32, body: &[u8]) -> Vec<u8> {
    let mut tag = [0; 16];
    tag[..2].copy_from_slice(&id.to_le_bytes());
    tag[2] = 2;
    tag[8..10].copy_from_slice(&crc(body).to_le_bytes());
    tag[10..12].copy_from_slice(&(body.len() as u16).to_le_bytes());
    tag[12..].copy_from_slice(&location.to_le_bytes());
    tag[4] = tag.iter().fold(0, |sum, byte| u8::wrapping_add(sum, *byte));
    [&tag, body].concat()
}

/// A body of zeros with some fields, whose places are counted with the tag.
fn body(len: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; len - 16];
    for (at, field) in fields {
        bytes[at - 16..][..<[u8]>::len(field)].copy_from_slice(field);
    }
    bytes
}

fn short(len: u32, block: u32) -> Vec<u8> {
    [len.to_le_bytes(), block.to_le_bytes()].concat()
}

fn long(len: u32, block: u32) -> Vec<u8> {
    [&short(len, block)[..], &[0; 8]].concat()
}

/// File identifiers: name, characteristics, ICB.
fn ids(entries: &[(&str, u8, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, characteristics, icb) in entries {
        let name = match name.chars().all(|c| (c as u32) < 256) {
            _ if name.is_empty() => Vec::new(),
            true => std::iter::once(8).chain(name.chars().map(|c| c as u8)).collect(),
            false => std::iter::once(16).chain(name.encode_utf16().flat_map(u16::to_be_bytes)).collect::<Vec<_>>(),
        };
        let len = 38 + name.len();
        let fields: [(usize, &[u8]); 4] = [
            (18, &[*characteristics, name.len() as u8]),
            (20, &2048u32.to_le_bytes()),
            (24, &icb.to_le_bytes()),
            (38, &name),
        ];
        bytes.extend(sealed(257, 0, &body(len.next_multiple_of(4), &fields)));
    }
    bytes
}

const PARENT: (&str, u8, u32) = ("", 8 | 2, ROOT);

impl Image {
    /// A volume without a root directory.
    fn new() -> Self {
        let mut image = Self(vec![0; BLOCKS * BLOCK]);
        for (at, id) in [(0, b"BEA01"), (2048, b"NSR02"), (4096, b"TEA01")] {
            image.0[(32 << 10) + at + 1..][..5].copy_from_slice(id);
        }
        let anchor = [short(4 * BLOCK as u32, MAIN as u32), short(4 * BLOCK as u32, RESERVE as u32)].concat();
        image.put(256, 2, 256, &anchor);
        for at in [MAIN, RESERVE] {
            image.put(at, 1, at as u32, &body(512, &[(24, b"\x08primary"), (55, &[8])]));
            let partition: [(usize, &[u8]); 3] =
                [(22, &7u16.to_le_bytes()), (188, &(START as u32).to_le_bytes()), (192, &(LEN as u32).to_le_bytes())];
            image.put(at + 1, 5, at as u32 + 1, &body(512, &partition));
            let logical: [(usize, &[u8]); 7] = [
                (84, b"\x08NANO"),
                (211, &[5]),
                (212, &(BLOCK as u32).to_le_bytes()),
                (240, &0x102u16.to_le_bytes()),
                (248, &long(BLOCK as u32, 0)),
                (264, &[6, 0, 0, 0, 1, 0, 0, 0]),
                (440, &[1, 6, 1, 0, 7, 0]),
            ];
            image.put(at + 2, 6, at as u32 + 2, &body(512, &logical));
            image.put(at + 3, 8, at as u32 + 3, &body(512, &[]));
        }
        image.put(START, 256, 0, &body(512, &[(400, &long(BLOCK as u32, ROOT))]));
        image
    }

    /// A descriptor into a block of the medium.
    fn put(&mut self, at: usize, id: u16, location: u32, body: &[u8]) {
        let bytes = sealed(id, location, body);
        self.0[at * BLOCK..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// A file entry into a block of the partition.
    fn icb(&mut self, block: u32, file_type: u8, form: u16, len: u64, descriptors: &[u8]) {
        let count = (descriptors.len() as u32).to_le_bytes();
        let (len, form) = (len.to_le_bytes(), form.to_le_bytes());
        let fields: [(usize, &[u8]); 6] =
            [(20, &[4]), (27, &[file_type]), (34, &form), (56, &len), (172, &count), (176, descriptors)];
        self.put(START + block as usize, 261, block, &body(176 + descriptors.len(), &fields));
    }

    /// An extended one.
    fn extended(&mut self, block: u32, form: u16, len: u64, descriptors: &[u8]) {
        let count = (descriptors.len() as u32).to_le_bytes();
        let (len, form) = (len.to_le_bytes(), form.to_le_bytes());
        let fields: [(usize, &[u8]); 6] =
            [(20, &[4]), (27, &[FILE]), (34, &form), (56, &len), (212, &count), (216, descriptors)];
        self.put(START + block as usize, 266, block, &body(216 + descriptors.len(), &fields));
    }

    /// Allocation descriptors in a block of their own.
    fn more(&mut self, block: u32, descriptors: &[u8]) {
        let count = (descriptors.len() as u32).to_le_bytes();
        let fields: [(usize, &[u8]); 2] = [(20, &count), (24, descriptors)];
        self.put(START + block as usize, 258, block, &body(24 + descriptors.len(), &fields));
    }

    fn embedded(&mut self, block: u32, file_type: u8, bytes: &[u8]) {
        self.icb(block, file_type, EMBEDDED, bytes.len() as u64, bytes);
    }

    /// Fills a block of the partition with one byte.
    fn fill(&mut self, block: usize, byte: u8) {
        self.0[(START + block) * BLOCK..][..BLOCK].fill(byte);
    }

    fn read(&self) -> Result<Files> {
        Volume::open(Arc::new(self.0.clone()))?.read()
    }

    /// What is left of a volume in which one thing is wrong: the one note.
    fn note(&self) -> String {
        let files = self.read().unwrap();
        assert_eq!(files.notes.len(), 1, "{:?}", files.notes);
        files.notes[0].clone()
    }

    /// A volume with one file, of which all but the file entry is there.
    fn of_one_file() -> Self {
        let mut image = Self::new();
        image.embedded(ROOT, DIRECTORY, &ids(&[PARENT, ("file", 0, 9)]));
        image
    }
}

/// A volume with something of everything.
fn sample() -> Image {
    let mut image = Image::new();
    let names =
        ids(&[PARENT, ("Grüße.txt", 0, 10), ("scattered", 1, 11), ("gone", 4, 99), ("あ", 0, 12), ("folder", 2, 13)]);
    image.0[(START + 2) * BLOCK..][..names.len()].copy_from_slice(&names);
    image.icb(ROOT, DIRECTORY, SHORT, names.len() as u64, &short(names.len() as u32, 2));
    image.embedded(10, FILE, b"hello");
    (20..30).for_each(|block| image.fill(block, block as u8));
    // One block, a hole of one, and half of another; behind the end, one that does not count.
    let extents = [long(512, 20), long(512 | 1 << 30, 0), long(512, 25), long(512, 5000)].concat();
    image.icb(11, FILE, LONG, 1024 + 256, &extents);
    // Extents in a chain of two further blocks.
    image.extended(12, SHORT, 2048, &[short(512, 29), short(512 | 3 << 30, 40)].concat());
    image.more(40, &[short(1024, 21), short(512 | 3 << 30, 41)].concat());
    image.more(41, &short(512, 20));
    image.embedded(13, DIRECTORY, &ids(&[PARENT, ("the same", 0, 10), ("empty", 0, 14)]));
    image.icb(14, FILE, SHORT, 0, &[]);
    image
}

#[test]
fn reads_every_kind_of_file() {
    let image = sample();
    assert!(is_udf(&image.0).unwrap());
    let volume = Volume::open(Arc::new(image.0.clone())).unwrap();
    assert_eq!((volume.label().to_string().as_str(), volume.revision().as_str()), ("NANO", "1.02"));
    let files = volume.read().unwrap();
    assert!(files.notes.is_empty(), "{:?}", files.notes);
    let file = |path: &str| files.tree.read_file(path).unwrap().unwrap();
    assert_eq!(file("grüße.TXT"), b"hello");
    assert_eq!(file(r"folder\the same"), b"hello");
    assert_eq!(files.tree.node(files.tree.find("Grüße.txt").unwrap()).links(), 2);
    assert_eq!(file("scattered"), [[20; 512], [0; 512]].concat().into_iter().chain([25; 256]).collect::<Vec<u8>>());
    assert_eq!(file("あ"), [[29; 512], [21; 512], [22; 512], [20; 512]].concat());
    assert_eq!(file(r"folder\empty"), b"");
    assert!(files.tree.find("gone").is_none());
    let window = files.open(files.tree.find("あ").unwrap()).unwrap();
    let mut two = [0; 2];
    window.read_at(511, &mut two).unwrap();
    assert_eq!(two, [29, 21]);
}

#[test]
fn the_reserve_serves_where_the_main_sequence_is_damaged() {
    let whole = sample();
    let mut main = whole.clone();
    main.0[(MAIN + 2) * BLOCK + 100] ^= 1;
    assert!(main.read().unwrap().notes.is_empty());
    main.0[(RESERVE + 1) * BLOCK + 100] ^= 1;
    let error = main.read().err().unwrap();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("CRC"), "{error}");
    // Of two anchors one is enough.
    let mut moved = whole.clone();
    moved.0.copy_within(256 * BLOCK..257 * BLOCK, (BLOCKS - 1) * BLOCK);
    moved.put(BLOCKS - 1, 2, BLOCKS as u32 - 1, &[short(2048, MAIN as u32), short(2048, RESERVE as u32)].concat());
    moved.0[256 * BLOCK] ^= 1;
    assert!(moved.read().unwrap().notes.is_empty());
    // What prevails is the descriptor with the highest number.
    let mut newer = whole;
    let partition = [(16, &[9u8][..]), (22, &[7]), (188, &[1, 0, 0, 0]), (192, &[1, 0, 0, 0])];
    newer.put(MAIN + 3, 5, MAIN as u32 + 3, &body(512, &partition));
    assert_eq!(newer.read().err().map(|error| error.kind()), Some(Kind::Corrupt));
}

#[test]
fn circles_end() {
    // A directory that holds itself, and one with two names.
    let mut image = Image::new();
    image.embedded(ROOT, DIRECTORY, &ids(&[PARENT, ("root", 2, ROOT), ("a", 2, 8), ("b", 2, 8)]));
    image.embedded(8, DIRECTORY, &ids(&[PARENT, ("up", 2, 8)]));
    let files = image.read().unwrap();
    assert_eq!(files.notes.len(), 3, "{:?}", files.notes);
    assert!(files.notes.iter().all(|note| note.contains("another name leads to")), "{:?}", files.notes);
    // Allocation descriptors that go on in themselves.
    let mut image = Image::of_one_file();
    image.icb(9, FILE, SHORT, 1 << 40, &short(512 | 3 << 30, 40));
    image.more(40, &short(512 | 3 << 30, 40));
    assert!(image.note().contains("or twice of one"), "{}", image.note());
    // Volume descriptors that do.
    let mut image = sample();
    for at in [MAIN, RESERVE] {
        image.put(at, 3, at as u32, &body(512, &[(20, &short(2048, at as u32))]));
    }
    assert!(image.read().err().unwrap().to_string().contains("without an end"));
}

#[test]
fn evil_fields_are_refused() {
    type Evil = (fn(&mut Image), &'static str);
    let evils: [Evil; 12] = [
        (|image| image.icb(9, FILE, SHORT, 100, &short(100, LEN as u32)), "outside of its partition"),
        (|image| image.icb(9, FILE, SHORT, 100, &short(100, u32::MAX)), "outside of its partition"),
        (|image| image.icb(9, FILE, SHORT, u64::MAX, &short(512, 20)), "end early"),
        (
            |image| image.icb(9, FILE, LONG, 512, &[&short(512, 20)[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat()),
            "reference of a partition",
        ),
        (|image| image.icb(9, FILE, EMBEDDED, 400, b"short"), "embedded file"),
        (|image| image.icb(9, FILE, 2, 4, &[0; 20]), "kind of allocation descriptors"),
        (|image| image.icb(9, FILE, 1 << 11, 0, &[]), "transformed"),
        (|image| image.icb(9, 12, EMBEDDED, 4, b"link"), "symbolic link"),
        (|image| image.icb(9, DIRECTORY, EMBEDDED, 0, &[]), "or the reverse"),
        (|image| image.put(START + 9, 261, 8, &body(176, &[(20, &[4])])), "block number"),
        (|image| image.put(START + 9, 261, 9, &body(176, &[(20, &[4]), (168, &u32::MAX.to_le_bytes())])), "lengths"),
        (|image| image.put(START + 9, 261, 9, &body(176, &[(20, &0x1000u16.to_le_bytes())])), "strategy"),
    ];
    for (evil, words) in evils {
        let mut image = Image::of_one_file();
        evil(&mut image);
        assert!(image.note().contains(words), "{} is not about {words}", image.note());
    }
    // A directory of a tebibyte of zeros is not read.
    let mut image = Image::new();
    image.embedded(ROOT, DIRECTORY, &ids(&[("huge", 2, 9), ("zeros", 2, 10)]));
    image.icb(9, DIRECTORY, SHORT, 1 << 40, &vec![0xFF; 3].into_iter().chain([0x7F, 0, 0, 0, 0]).collect::<Vec<_>>());
    image.icb(10, DIRECTORY, SHORT, 64, &short(64 | 1 << 30, 0));
    let files = image.read().unwrap();
    assert_eq!(files.notes.len(), 2, "{:?}", files.notes);
}

#[test]
fn other_partitions_are_refused_by_name() {
    for name in ["*UDF Virtual Partition", "*UDF Sparable Partition", "*UDF Metadata Partition"] {
        let mut image = sample();
        for at in [MAIN, RESERVE] {
            let logical: [(usize, &[u8]); 5] = [
                (212, &(BLOCK as u32).to_le_bytes()),
                (248, &long(BLOCK as u32, 0)),
                (264, &[64, 0, 0, 0, 1, 0, 0, 0]),
                (440, &[2, 64]),
                (445, name.as_bytes()),
            ];
            image.put(at + 2, 6, at as u32 + 2, &body(512, &logical));
        }
        let error = image.read().err().unwrap();
        assert!(error.kind() == Kind::Unsupported && error.to_string().contains(name), "{error}");
    }
}

/// Reads all that can be read.
fn use_up(image: &Image) {
    let Ok(files) = image.read() else { return };
    for (_, content) in files.tree.contents() {
        if content.len() < 1 << 20 {
            let _ = files.tree.read(content);
        }
    }
}

/// Every byte of every descriptor wrong, with and without a checksum that says that it is right: no panic, no endless walk.
#[test]
fn survives_any_damage() {
    let good = sample();
    let descriptors = (0..BLOCKS).filter(|block| good.0[block * BLOCK + 2] == 2);
    let sizes = |at: usize| usize::from(u16::from_le_bytes([good.0[at + 10], good.0[at + 11]]));
    let mut count = 0;
    for at in descriptors.map(|block| block * BLOCK) {
        let len = sizes(at);
        for offset in 0..16 + len {
            for value in [0, 0xFF, good.0[at + offset] ^ 0x01] {
                if good.0[at + offset] == value {
                    continue;
                }
                let mut bad = good.clone();
                bad.0[at + offset] = value;
                if offset % 16 == 0 {
                    use_up(&bad);
                }
                let word = |at: usize| u16::from_le_bytes([bad.0[at], bad.0[at + 1]]);
                let (id, low, high) = (word(at), word(at + 12), word(at + 14));
                let resealed = sealed(id, u32::from(high) << 16 | u32::from(low), &bad.0[at + 16..at + 16 + len]);
                bad.0[at..at + resealed.len()].copy_from_slice(&resealed);
                use_up(&bad);
                count += 1;
            }
        }
    }
    assert!(count > 5000, "{count}");
    for len in (0..good.0.len()).step_by(4093) {
        use_up(&Image(good.0[..len].to_vec()));
    }
}
