//! Volumes made by hand, whole and evil. (Those that tools write are in the integration tests.)

use std::sync::Arc;

use super::*;
use crate::error::{Kind, Result};
use crate::tree::medium::Files;

const SECTOR: usize = 2048;
const SECTORS: usize = 40;
const ROOT: u32 = 20;

/// A volume in the making.
#[derive(Clone)]
struct Image(Vec<u8>);

fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// A record of a directory.
fn record(name: &[u8], extent: u32, len: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; (33 + name.len()).next_multiple_of(2)];
    bytes[0] = bytes.len() as u8;
    bytes[2..10].copy_from_slice(&both(extent));
    bytes[10..18].copy_from_slice(&both(len));
    bytes[18..25].copy_from_slice(&[116, 9, 26, 12, 0, 0, 0]);
    bytes[25] = flags;
    bytes[32] = name.len() as u8;
    bytes[33..33 + name.len()].copy_from_slice(name);
    bytes
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

impl Image {
    fn new() -> Self {
        let mut image = Self(vec![0; SECTORS * SECTOR]);
        image.descriptor(16, 1, b"PLAIN   ", ROOT);
        image.descriptor(17, 255, b"", 0);
        (30..SECTORS).for_each(|sector| image.0[sector * SECTOR..][..SECTOR].fill(sector as u8));
        image
    }

    fn descriptor(&mut self, sector: usize, kind: u8, label: &[u8], root: u32) {
        let bytes = &mut self.0[sector * SECTOR..][..SECTOR];
        bytes[..7].copy_from_slice(&[kind, b'C', b'D', b'0', b'0', b'1', 1]);
        bytes[40..40 + label.len()].copy_from_slice(label);
        bytes[80..88].copy_from_slice(&both(SECTORS as u32));
        bytes[128..132].copy_from_slice(&[0, 8, 8, 0]);
        bytes[156..190].copy_from_slice(&record(&[0], root, SECTOR as u32, 2));
    }

    fn directory(&mut self, sector: u32, records: &[Vec<u8>]) {
        let own = [record(&[0], sector, SECTOR as u32, 2), record(&[1], ROOT, SECTOR as u32, 2)];
        let bytes: Vec<u8> = own.iter().chain(records).flatten().copied().collect();
        self.0[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }

    fn read(&self) -> Result<Files> {
        Volume::open(Arc::new(self.0.clone()))?.read()
    }
}

fn sample() -> Image {
    let mut image = Image::new();
    image.directory(
        ROOT,
        &[
            record(b"BIG.BIN;1", 30, 2048, 0x80),
            record(b"BIG.BIN;1", 35, 2048, 0x80),
            record(b"BIG.BIN;1", 31, 100, 0),
            record(b"EMPTY.;1", 0, 0, 0),
            record(b"SUB", 21, SECTOR as u32, 2),
            record(b"FORK.;1", 33, 10, 4),
        ],
    );
    image.directory(21, &[record(b"FILE.TXT;1", 36, 5, 1)]);
    image
}

#[test]
fn reads_files_in_several_extents() {
    let image = sample();
    assert!(is_iso9660(&image.0).unwrap());
    let volume = Volume::open(Arc::new(image.0.clone())).unwrap();
    assert_eq!((volume.label().to_string().as_str(), volume.is_joliet()), ("PLAIN", false));
    let files = volume.read().unwrap();
    assert!(files.notes.is_empty(), "{:?}", files.notes);
    let file = |path: &str| files.tree.read_file(path).unwrap().unwrap();
    assert_eq!(file("big.bin"), [vec![30; 2048], vec![35; 2048], vec![31; 100]].concat());
    assert_eq!(file("EMPTY"), b"");
    assert_eq!(file(r"sub\file.txt"), [36; 5]);
    assert!(files.tree.find("FORK").is_none());
    let node = files.tree.node(files.tree.find(r"SUB\FILE.TXT").unwrap());
    assert_eq!(node.times.modified.to_unix(), 1_474_891_200);
    assert_eq!(node.attributes, crate::tree::attributes::HIDDEN);
}

#[test]
fn joliet_has_the_better_names() {
    let mut image = sample();
    image.descriptor(17, 2, &ucs2("NANO Grüße"), 22);
    image.0[17 * SECTOR + 88..][..3].copy_from_slice(b"%/E");
    image.descriptor(18, 255, b"", 0);
    image.directory(22, &[record(&ucs2("A longer name.txt;1"), 36, 5, 0), record(&ucs2("あ"), 37, 3, 0)]);
    let volume = Volume::open(Arc::new(image.0)).unwrap();
    assert_eq!((volume.label().to_string().as_str(), volume.is_joliet()), ("NANO Grüße", true));
    let files = volume.read().unwrap();
    assert_eq!(files.tree.read_file("a LONGER name.txt").unwrap().unwrap(), [36; 5]);
    assert_eq!(files.tree.read_file("あ").unwrap().unwrap(), [37; 3]);
    assert!(files.tree.find("SUB").is_none());
}

#[test]
fn what_is_wrong_is_left_out() {
    let mut interleaved = record(b"WOVEN.;1", 30, 10, 0);
    interleaved[26] = 1;
    let mut cut = record(b"CUT.;1", 30, 10, 0);
    cut[32] = 200;
    let evils: [(Vec<Vec<u8>>, &str); 6] = [
        (vec![interleaved], "interleaved"),
        (vec![cut], "cut off"),
        (vec![record(b"MORE.;1", 30, 10, 0x80)], "last extent is missing"),
        (vec![record(b"MORE.;1", 30, 10, 0x80), record(b"OTHER.;1", 30, 10, 0)], "MORE"),
        (vec![record(b"LOOP", ROOT, SECTOR as u32, 2)], "another name leads to"),
        (vec![record(b"TWICE.;1", 30, 10, 0), record(b"TWICE.;2", 30, 10, 0)], "second file"),
    ];
    for (records, words) in evils {
        let mut image = Image::new();
        image.directory(ROOT, &records);
        let notes = image.read().unwrap().notes;
        assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?} is not about {words}");
    }
    // Directories beyond the medium, and beyond what is read.
    let mut image = Image::new();
    let far = [record(b"FAR", 1 << 30, 2048, 2), record(b"HUGE", 22, u32::MAX, 2), record(b"GOOD.;1", 30, 4, 0)];
    image.directory(ROOT, &far);
    let files = image.read().unwrap();
    assert_eq!(files.notes.len(), 2, "{:?}", files.notes);
    assert_eq!(files.tree.read_file("GOOD").unwrap().unwrap(), [30; 4]);
}

#[test]
fn damage_of_descriptors_is_refused() {
    let mut image = sample();
    image.0[16 * SECTOR + 128] = 7;
    assert_eq!(image.read().err().map(|error| error.kind()), Some(Kind::Corrupt));
    let mut image = sample();
    image.0[16 * SECTOR] = 3;
    assert_eq!(image.read().err().map(|error| error.kind()), Some(Kind::Corrupt));
    assert!(!is_iso9660(&sample().0[..16 * SECTOR].to_vec()).unwrap());
}

/// Every byte of descriptors and directories wrong: no panic, no endless walk.
#[test]
fn survives_any_damage() {
    let good = sample();
    let use_up = |image: &Image| {
        let Ok(files) = image.read() else { return };
        for (_, content) in files.tree.contents().filter(|(_, content)| content.len() < 1 << 20) {
            let _ = files.tree.read(content);
        }
    };
    let used = [16 * SECTOR..16 * SECTOR + 200, 17 * SECTOR..17 * SECTOR + 8];
    let directories = [20 * SECTOR..20 * SECTOR + 400, 21 * SECTOR..21 * SECTOR + 150];
    for at in used.into_iter().chain(directories).flatten() {
        for value in [0, 0xFF, good.0[at] ^ 0x01, good.0[at].wrapping_add(1)] {
            let mut bad = good.clone();
            bad.0[at] = value;
            use_up(&bad);
        }
    }
    for len in (0..good.0.len()).step_by(509) {
        use_up(&Image(good.0[..len].to_vec()));
    }
}
