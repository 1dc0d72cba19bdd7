//! NTFS volumes read back: our own, ntfs-3g's and Windows', compared with what went in and with what other readers say.
#![allow(clippy::unwrap_used)] // as in tests

use std::num::NonZeroUsize;
use std::sync::Arc;

use nanovhd::base::{FileTime, MemoryDisk};
use nanovhd::format::ntfs::read::{Contents, Volume};
use nanovhd::format::ntfs::{BOOT_CODE, Options, Plan};
use nanovhd::tree::Tree;

use crate::support::random_tree::random_tree;
use crate::support::trees::{Leniency, compare};

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Writes a tree to a volume with some free space, over a disk that is all 0xD1.
fn build(tree: &Tree, options: &Options) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + (1 << 20)).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    Plan::new(tree, len, options).unwrap().write(tree, &disk, threads(2), &|_| {}).unwrap();
    disk.into_bytes()
}

fn read(volume: Vec<u8>) -> Contents {
    Volume::open(Arc::new(volume)).unwrap().read().unwrap()
}

#[test]
fn our_own_volumes_give_back_the_tree() {
    let sizes = [(512, 4096), (512, 512), (512, 65536), (4096, 4096), (512, 2048), (4096, 32768)];
    for (seed, (sector_size, cluster_size)) in (1..).zip(sizes) {
        let tree = random_tree(seed, cluster_size.into());
        let options = Options {
            sector_size,
            cluster_size,
            hidden_sectors: 2048,
            serial: 0x1234_5678_9ABC_DEF0,
            label: "Nano Ü".into(),
            created: FileTime(0x01D3_0000_0000_0000),
            boot_code: BOOT_CODE.into(),
        };
        let bytes = build(&tree, &options);
        let len = bytes.len() as u64;
        let volume = Volume::open(Arc::new(bytes)).unwrap();
        let facts = volume.facts();
        assert_eq!((facts.sector_size, facts.cluster_size), (sector_size, cluster_size));
        assert_eq!((facts.hidden_sectors, facts.serial, facts.len), (2048, options.serial, len));
        assert_eq!((&facts.label, facts.created), (&options.label, options.created));
        assert_eq!((facts.version, facts.dirty), ((3, 1), false));
        assert!((1 << 19..1 << 21).contains(&facts.free_bytes), "{} bytes free", facts.free_bytes);
        let contents = volume.read().unwrap();
        assert_eq!((contents.lost, contents.notes), (0, Vec::<String>::new()));
        let leniency = Leniency { written: true, ..Leniency::default() };
        assert!(compare(&tree, &contents.tree, leniency) > 300);
    }
}
