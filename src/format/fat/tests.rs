//! Volumes that the crate `fatfs` wrote, whole and damaged.

use std::io::{Cursor, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use super::*;
use crate::error::{Kind, Result};
use crate::tree::{BlobId, BlobSink, Content, Tree};

const LONG: &str = r"\EFI\Microsoft\Boot\A longer name than DOS knew, Grüße.txt";

fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn volume(kind: FatType, mib: usize) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; mib << 20]);
    fatfs::format_volume(&mut disk, FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512)).unwrap();
    disk.set_position(0);
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        let boot = volume.root_dir().create_dir("EFI").unwrap().create_dir("Microsoft").unwrap();
        let boot = boot.create_dir("Boot").unwrap();
        boot.create_file("bootmgfw.efi").unwrap().write_all(&filler(100_000)).unwrap();
        boot.create_file("EMPTY.TXT").unwrap();
        boot.create_file(LONG.rsplit('\\').next().unwrap()).unwrap().write_all(b"long").unwrap();
        for number in 0..100 {
            boot.create_file(&format!("file number {number}")).unwrap().write_all(&filler(number)).unwrap();
        }
    }
    disk.into_inner()
}

fn read(volume: &[u8]) -> Result<Contents> {
    Volume::open(Arc::new(volume.to_vec()))?.read()
}

#[test]
fn reads_what_the_fatfs_crate_writes() {
    for (kind, mib) in [(FatType::Fat12, 2), (FatType::Fat16, 8), (FatType::Fat32, 36)] {
        let contents = read(&volume(kind, mib)).unwrap();
        assert!(contents.notes.is_empty(), "{:?}", contents.notes);
        let tree = contents.tree;
        let file = |path: &str| tree.read_file(path).unwrap().unwrap();
        assert_eq!(file(r"\efi\microsoft\boot\BOOTMGFW.EFI"), filler(100_000), "{kind:?}");
        assert_eq!(file(LONG), b"long");
        assert_eq!(file(r"\EFI\Microsoft\Boot\EMPTY.TXT"), b"");
        for number in 0..100 {
            assert_eq!(file(&format!(r"\EFI\Microsoft\Boot\file number {number}")), filler(number));
        }
        assert_eq!(streamed(&tree, r"\EFI\Microsoft\Boot\bootmgfw.efi"), filler(100_000));
        assert!(is_fat(&volume(kind, mib)[..512]));
    }
}

struct Collect(Mutex<Vec<u8>>);

impl BlobSink for Collect {
    fn write(&self, _: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.lock().unwrap();
        assert_eq!(at, bytes.len() as u64);
        bytes.extend_from_slice(data);
        Ok(())
    }
}

fn streamed(tree: &Tree, path: &str) -> Vec<u8> {
    let Some(Content::Blob { store, blob, .. }) = tree.find(path).and_then(|id| tree.node(id).main()) else {
        panic!("{path}")
    };
    let sink = Collect(Mutex::default());
    tree.stores()[store.index()].stream(&[*blob], NonZeroUsize::MIN, &sink).map_err(|e| e.error).unwrap();
    sink.0.into_inner().unwrap()
}

#[test]
fn dates_are_dates() {
    // 2016-09-26 12:00:00 is 1474891200 in Unix time.
    let mut disk = volume(FatType::Fat12, 2);
    let entry = disk.windows(11).position(|name| name == b"EFI        ").unwrap();
    disk[entry + 22..entry + 26].copy_from_slice(&[0, 12 << 3, 26 | (9 & 7) << 5, 36 << 1 | 9 >> 3]);
    let tree = read(&disk).unwrap().tree;
    assert_eq!(tree.node(tree.find(r"\EFI").unwrap()).times.modified.to_unix(), 1_474_891_200);
}

/// Every byte of boot sector, table and directories, wrong: no panic, no endless walk.
#[test]
fn survives_any_damage() {
    let good = volume(FatType::Fat12, 2);
    let used = 40 * 512;
    for at in (0..64).chain((64..used).step_by(7)) {
        for value in [0, 0xFF, good[at] ^ 0x01] {
            let mut bad = good.clone();
            bad[at] = value;
            let Ok(contents) = read(&bad) else { continue };
            for path in [LONG, r"\EFI\Microsoft\Boot\bootmgfw.efi"] {
                let _ = contents.tree.read_file(path);
            }
        }
    }
    for len in [0, 511, 512, 4096, 100_000] {
        assert_eq!(read(&good[..len]).err().map(|error| error.kind()), Some(Kind::Truncated), "{len}");
    }
}

#[test]
fn circles_end() {
    let good = volume(FatType::Fat16, 8);
    // The directory "Microsoft" becomes one that leads to "EFI".
    let cluster_of = |name: &[u8; 11]| {
        let at = good.windows(11).position(|found| found == name).unwrap();
        (at + 26, [good[at + 26], good[at + 27]])
    };
    let (_, efi) = cluster_of(b"EFI        ");
    let (at, _) = cluster_of(b"MICROS~1   ");
    let mut circle = good.clone();
    circle[at..at + 2].copy_from_slice(&efi);
    let contents = read(&circle).unwrap();
    assert_eq!(contents.notes.len(), 1, "{:?}", contents.notes);
    // A directory of deleted names only, whose chain runs in a circle, ends where it comes back.
    let word = |at: usize| usize::from(u16::from_le_bytes([good[at], good[at + 1]]));
    let (fat, efi_cluster) = (512 * word(14), usize::from(u16::from_le_bytes(efi)));
    let data = fat + 512 * usize::from(good[16]) * word(22) + 32 * word(17);
    let mut deleted = good.clone();
    deleted[fat + efi_cluster * 2..][..2].copy_from_slice(&efi);
    deleted[data + (efi_cluster - 2) * 8 * 512..][..8 * 512].fill(0xE5);
    let notes = read(&deleted).unwrap().notes;
    assert!(matches!(notes.as_slice(), [note] if note.contains("twice")), "{notes:?}");
    // A file whose chain runs in a circle is as long as it says, and no longer.
    let (_, first) = cluster_of(b"BOOTMGFWEFI");
    let cluster = u16::from_le_bytes(first) as usize;
    let mut chain = good;
    chain[fat + cluster * 2..][..2].copy_from_slice(&first);
    let tree = read(&chain).unwrap().tree;
    assert_eq!(tree.read_file(r"\EFI\Microsoft\Boot\bootmgfw.efi").unwrap().unwrap().len(), 100_000);
}
