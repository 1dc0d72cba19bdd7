//! Faults in VMDK files.

use std::num::NonZeroUsize;

use nanovhd::base::{Disk, MemoryDisk};
use nanovhd::format::vmdk::{Adapter, Layout, Params, Writer, write_stream};
use nanovhd::verify::container::{self, Layer};
use nanovhd::verify::{Findings, Rule};
use uuid::Uuid;

use super::{Fault, Where, assert_clean, assert_none, failures};
use crate::support::surgeon::{int, put};

type File = Vec<u8>;
type Faults = &'static [Fault<File>];

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;
const GRAIN: usize = 64 << 10;
/// Three tables of 32 MiB and a bit of a fourth.
const LEN: usize = 100 * MIB;

const fn fault(rule: Rule, name: &'static str, inject: fn(&mut File) -> Where) -> Fault<File> {
    super::fault(rule, name, inject)
}

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    [SPARSE, STREAM].into_iter().flatten().map(|fault| fault.rule)
}

fn check(file: &File) -> Findings {
    let mut findings = Findings::default();
    container::check(&[Layer { name: "a file".to_owned(), file }], &mut findings);
    findings
}

fn params() -> Params {
    Params {
        id: Uuid::from_u128(0x0123_4567_89AB_4DEF_8123_4567_89AB_CDEF),
        adapter: Adapter::Ide,
        name: "a.vmdk".into(),
    }
}

/// Two grains next to each other, and one in each of two other tables.
const USED: [usize; 4] = [0, GRAIN, 40 * MIB, 70 * MIB];

fn sparse() -> File {
    let used: Vec<_> = USED.iter().map(|at| *at as u64..*at as u64 + 4096).collect();
    let layout = Layout::sparse(LEN as u64, &used).unwrap();
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = Writer::new(layout, &params(), file).unwrap();
    for at in USED {
        writer.write_at(at as u64, &[0xA5; 4096]).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

fn stream() -> File {
    let mut disk = vec![0; LEN];
    for at in USED {
        disk[at..at + 4096].fill(0xA5);
    }
    let mut file = Vec::new();
    write_stream(&disk, &params(), NonZeroUsize::MIN, &mut file, &mut |_, _| Ok(())).unwrap();
    file
}

// Where things are.

const VERSION: usize = 4;
const FLAGS: usize = 8;
const CAPACITY: usize = 12;
const GRAIN_SECTORS: usize = 20;
const DESCRIPTOR: usize = 28;
const TABLE_ENTRIES: usize = 44;
const REDUNDANT: usize = 48;
const DIRECTORY: usize = 56;
const UNCLEAN: usize = 72;
const LINE_ENDS: usize = 73;
const COMPRESSION: usize = 77;

fn sector(file: &File, at: usize) -> usize {
    int(file, at, 4) as usize * SECTOR
}

/// Where an entry of a grain table is, by the directory that the field at `field` leads to.
fn entry(file: &File, field: usize, grain: usize) -> usize {
    sector(file, sector(file, field) + grain / 512 * 4) + grain % 512 * 4
}

/// Changes a field of the header.
fn header(file: &mut File, at: usize, len: usize, value: u64) -> Where {
    put(file, at, len, value);
    Where::Offset(at as u64, len as u64)
}

/// Changes the text of the descriptor.
fn text(file: &mut File, from: &str, to: &str) -> Where {
    let old = String::from_utf8(file[SECTOR..21 * SECTOR].to_vec()).unwrap();
    assert!(old.contains(from), "{from}");
    let mut new = old.replacen(from, to, 1).into_bytes();
    new.resize(20 * SECTOR, 0);
    file[SECTOR..21 * SECTOR].copy_from_slice(&new);
    Where::Named("descriptor")
}

/// Changes where a grain is, by both tables.
fn grain(file: &mut File, number: usize, change: impl Fn(u64) -> u64) -> Where {
    for field in [REDUNDANT, DIRECTORY] {
        let at = entry(file, field, number);
        let value = change(int(file, at, 4));
        put(file, at, 4, value);
    }
    Where::Named("grain")
}

const SPARSE: Faults = &[
    fault(Rule::VmdkHeader, "a version of the future", |f| header(f, VERSION, 4, 4)),
    fault(Rule::VmdkHeader, "an unknown flag", |f| header(f, FLAGS, 4, 0xB)),
    fault(Rule::VmdkHeader, "a flag that nobody may ignore", |f| header(f, FLAGS, 4, 0x4_0003)),
    fault(Rule::VmdkHeader, "line ends of Unix", |f| header(f, LINE_ENDS, 4, 0x0A0A_200A)),
    fault(Rule::VmdkHeader, "compression without a flag", |f| header(f, COMPRESSION, 2, 1)),
    fault(Rule::VmdkHeader, "a reserved byte", |f| header(f, 79, 1, 1)),
    fault(Rule::VmdkHeader, "no capacity", |f| header(f, CAPACITY, 8, 0)),
    fault(Rule::VmdkHeader, "too much of it", |f| header(f, CAPACITY, 8, 1 << 50)),
    fault(Rule::VmdkHeader, "grains of three sectors", |f| header(f, GRAIN_SECTORS, 8, 3)),
    fault(Rule::VmdkHeader, "small tables", |f| header(f, TABLE_ENTRIES, 4, 256)),
    fault(Rule::VmdkDescriptor, "past the end", |f| {
        header(f, DESCRIPTOR, 8, 1 << 40);
        Where::Named("descriptor")
    }),
    fault(Rule::VmdkDescriptor, "none", |f| {
        header(f, DESCRIPTOR, 8, 0);
        Where::Named("descriptor")
    }),
    fault(Rule::VmdkDescriptor, "a content that was never written", |f| text(f, "\nCID=01234567", "\nCID=fffffffe")),
    fault(Rule::VmdkDescriptor, "no content id", |f| text(f, "\nCID=01234567", "\nFID=01234567")),
    fault(Rule::VmdkDescriptor, "a parent", |f| text(f, "parentCID=ffffffff", "parentCID=12345678")),
    fault(Rule::VmdkDescriptor, "another kind", |f| text(f, "monolithicSparse", "streamOptimized")),
    fault(Rule::VmdkDescriptor, "another length", |f| text(f, "RW 204800", "RW 204801")),
    fault(Rule::VmdkDescriptor, "a second extent", |f| text(f, "RW 204800", "RW 8 ZERO\nRW 204800")),
    fault(Rule::VmdkDescriptor, "a flat one", |f| text(f, "204800 SPARSE", "204800 FLAT")),
    fault(Rule::VmdkDescriptor, "no adapter", |f| text(f, "ddb.adapterType", "ddb.adapterTyp")),
    fault(Rule::VmdkSize, "half a MiB less", |f| {
        text(f, "RW 204800", "RW 203776");
        header(f, CAPACITY, 8, 203_776)
    }),
    fault(Rule::VmdkUnclean, "a machine has it", |f| header(f, UNCLEAN, 1, 1)),
    fault(Rule::VmdkTable, "the directory past the end", |f| header(f, DIRECTORY, 8, 1 << 40)),
    fault(Rule::VmdkTable, "no directory", |f| header(f, DIRECTORY, 8, 0)),
    fault(Rule::VmdkTable, "a table past the end", |f| {
        let at = sector(f, DIRECTORY) + 4;
        put(f, at, 4, 0xFFFF_FFF0);
        Where::Offset(at as u64, 4)
    }),
    fault(Rule::VmdkTable, "a grain past the end", |f| grain(f, 0, |_| 0x00FF_FFFF)),
    fault(Rule::VmdkTable, "a grain in the descriptor", |f| grain(f, 0, |_| 2)),
    fault(Rule::VmdkTable, "a grain past the disk", |f| grain(f, 1601, |_| 4096)),
    fault(Rule::VmdkRedundant, "another grain", |f| {
        let at = entry(f, REDUNDANT, 1);
        f[at] ^= 1;
        Where::Named("redundant")
    }),
    fault(Rule::VmdkRedundant, "a table less", |f| {
        let at = sector(f, REDUNDANT) + 8;
        put(f, at, 4, 0);
        Where::Named("redundant")
    }),
    fault(Rule::VmdkRedundant, "the same table", |f| {
        let (from, to) = (sector(f, DIRECTORY) + 8, sector(f, REDUNDANT) + 8);
        f.copy_within(from..from + 4, to);
        Where::Named("redundant")
    }),
    fault(Rule::VmdkRedundant, "past the end", |f| header(f, REDUNDANT, 8, 1 << 40)),
    fault(Rule::VmdkOverlap, "two grains in one place", |f| {
        let first = int(f, entry(f, DIRECTORY, 0), 4);
        grain(f, 1, |_| first)
    }),
    fault(Rule::VmdkOverlap, "half of a grain", |f| grain(f, 1, |sector| sector - 8)),
    fault(Rule::VmdkOverlap, "one table for two", |f| {
        let at = sector(f, DIRECTORY);
        f.copy_within(at..at + 4, at + 4);
        Where::Whole
    }),
];

/// Where the first grain of a stream is.
const FIRST: usize = 128 * SECTOR;

/// Where the footer is.
fn footer(file: &File) -> usize {
    file.len() - 2 * SECTOR
}

/// Where the directory of a stream is.
fn directory(file: &File) -> usize {
    sector(file, footer(file) + DIRECTORY)
}

fn near(at: usize) -> Where {
    Where::Offset(at as u64, SECTOR as u64)
}

const STREAM: Faults = &[
    fault(Rule::VmdkHeader, "no compression", |f| header(f, COMPRESSION, 2, 0)),
    fault(Rule::VmdkHeader, "no markers", |f| header(f, FLAGS, 4, 0x1_0001)),
    fault(Rule::VmdkDescriptor, "another kind", |f| text(f, "streamOptimized", "monolithicSparse")),
    fault(Rule::VmdkFooter, "another capacity", |f| {
        let at = footer(f) + CAPACITY;
        put(f, at, 8, 204_900);
        near(at - CAPACITY)
    }),
    fault(Rule::VmdkFooter, "another name", |f| {
        let at = footer(f);
        f[at] = b'X';
        near(at)
    }),
    fault(Rule::VmdkFooter, "grains of no length", |f| {
        let at = footer(f) + GRAIN_SECTORS;
        put(f, at, 8, 0);
        near(at - GRAIN_SECTORS)
    }),
    fault(Rule::VmdkFooter, "no end-of-stream marker", |f| {
        let at = f.len() - SECTOR;
        put(f, at + 12, 4, 3);
        near(at)
    })
    .also(&[Rule::VmdkMarkers]),
    fault(Rule::VmdkFooter, "no marker of its own", |f| {
        let at = footer(f) - SECTOR;
        put(f, at + 12, 4, 2);
        near(at)
    }),
    fault(Rule::VmdkFooter, "the directory has no marker", |f| {
        let at = directory(f) - SECTOR;
        put(f, at + 12, 4, 1);
        near(at)
    })
    .also(&[Rule::VmdkMarkers]),
    fault(Rule::VmdkFooter, "half a sector more", |f| {
        let len = f.len() + 100;
        f.resize(len, 0);
        Where::Whole
    }),
    fault(Rule::VmdkTable, "the directory past the end", |f| {
        let at = footer(f) + DIRECTORY;
        put(f, at, 8, 1 << 40);
        Where::Named("directory")
    }),
    fault(Rule::VmdkTable, "a table past the end", |f| {
        let at = directory(f);
        put(f, at, 4, 0xFFFF_FFF0);
        near(at)
    })
    .also(&[Rule::VmdkMarkers]),
    fault(Rule::VmdkTable, "a grain past the end", |f| {
        let at = sector(f, directory(f)) + 4;
        put(f, at, 4, 0xFFFF_FFF0);
        near(at)
    }),
    fault(Rule::VmdkGrain, "of another place", |f| {
        put(f, FIRST, 8, 256);
        near(FIRST)
    })
    .also(&[Rule::VmdkMarkers]),
    fault(Rule::VmdkGrain, "of no length", |f| {
        put(f, FIRST + 8, 4, 0);
        near(FIRST)
    })
    .also(&[Rule::VmdkMarkers]),
    fault(Rule::VmdkGrain, "a flipped bit", |f| {
        f[FIRST + 12 + 20] ^= 4;
        near(FIRST)
    }),
    fault(Rule::VmdkGrain, "cut short", |f| {
        let len = int(f, FIRST + 8, 4);
        put(f, FIRST + 8, 4, len - 5);
        near(FIRST)
    }),
    fault(Rule::VmdkOverlap, "two tables in one place", |f| {
        let at = directory(f);
        f.copy_within(at..at + 4, at + 8);
        Where::Whole
    })
    .also(&[Rule::VmdkGrain, Rule::VmdkMarkers]),
    fault(Rule::VmdkMarkers, "a table has none", |f| {
        let at = sector(f, directory(f)) - SECTOR;
        put(f, at + 12, 4, 7);
        near(at)
    }),
    fault(Rule::VmdkMarkers, "a grain that no table knows", |f| {
        let at = sector(f, directory(f)) + 4;
        put(f, at, 4, 0);
        Where::Whole
    }),
];

#[test]
fn of_sparse_files() {
    let good = sparse();
    assert_clean("a sparse VMDK", &check(&good));
    assert_none(&failures("a sparse VMDK", &good, SPARSE, check));
}

#[test]
fn of_streams() {
    let good = stream();
    assert_clean("a stream", &check(&good));
    assert_none(&failures("a stream", &good, STREAM, check));
}
