//! Faults in the division of a disk.

use std::fs;
use std::sync::LazyLock;

use nanovhd::verify::{Findings, Rule};

use super::{Fault, Where, assert_clean, assert_none, failures, volumes};
use crate::support::crc32::crc32;
use crate::support::surgeon::{int, put};
use crate::support::tools::{Tools, text};

type Faults = &'static [Fault<Vec<u8>>];

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;
/// Where the entries of an MBR are.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const ALL: Where = Where::Whole;

const fn fault(rule: Rule, name: &'static str, inject: fn(&mut Vec<u8>) -> Where) -> Fault<Vec<u8>> {
    super::fault(rule, name, inject)
}

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    MBR.iter().chain(GPT).map(|fault| fault.rule)
}

fn check(disk: &[u8]) -> Findings {
    let mut findings = Findings::default();
    nanovhd::verify::partitions::check(&disk, &mut findings);
    findings
}

static VOLUME: LazyLock<Vec<u8>> = LazyLock::new(|| volumes::ours(4096, 512).bytes);

/// A disk with one active partition, which our writer's volume fills, and a MiB behind it.
fn mbr_disk() -> Vec<u8> {
    let mut disk = vec![0; MIB];
    disk.extend(&*VOLUME);
    disk.resize(disk.len().next_multiple_of(MIB) + MIB, 0);
    put(&mut disk, 440, 4, 0x4E41_4E4F);
    let entry = [(0, 1, 0x80), (4, 1, 7), (8, 4, MIB / SECTOR), (12, 4, VOLUME.len() / SECTOR)];
    for (at, len, value) in entry {
        put(&mut disk, ENTRIES + at, len, value as u64);
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk
}

/// Changes a field of an entry of the MBR.
fn mbr(disk: &mut [u8], entry: usize, at: usize, len: usize, value: usize) -> Where {
    let at = ENTRIES + ENTRY * entry + at;
    put(disk, at, len, value as u64);
    Where::Any(vec![
        Where::Offset(0, 512),
        Where::Named("entry"),
        Where::Named("partition"),
        Where::Partition(entry as u32 + 1),
    ])
}

/// Puts an entry into the MBR.
fn mbr_entry(disk: &mut [u8], entry: usize, status: u8, kind: u8, first: usize, sectors: usize) -> Where {
    mbr(disk, entry, 0, 1, status.into());
    mbr(disk, entry, 4, 1, kind.into());
    mbr(disk, entry, 8, 4, first);
    mbr(disk, entry, 12, 4, sectors)
}

const MBR: Faults = &[
    fault(Rule::NoPartitions, "no signature", |d| {
        d[510] = 0;
        ALL
    }),
    fault(Rule::NoPartitions, "something else", |d| {
        d[..512].fill(0xD1);
        ALL
    })
    .also(&[Rule::MbrEntry]),
    fault(Rule::MbrDiskSignature, "none", |d| {
        d[440..444].fill(0);
        ALL
    }),
    fault(Rule::MbrEntry, "an unknown status", |d| mbr(d, 0, 0, 1, 0x81)).also(&[Rule::NoPartitions, Rule::MbrActive]),
    fault(Rule::MbrEntry, "no type", |d| mbr_entry(d, 1, 0, 0, 100, 100)).also(&[Rule::NoPartitions]),
    fault(Rule::MbrEntry, "no length", |d| mbr_entry(d, 1, 0, 7, 100, 0)).also(&[Rule::NoPartitions]),
    fault(Rule::MbrEntry, "over the MBR", |d| mbr_entry(d, 1, 0, 7, 0, 100)).also(&[Rule::NoPartitions]),
    fault(Rule::MbrEntry, "past the end of the disk", |d| {
        let sectors = d.len() / SECTOR;
        mbr(d, 0, 12, 4, sectors)
    })
    .also(&[Rule::NoPartitions]),
    fault(Rule::MbrEntry, "far past the end of the disk", |d| mbr_entry(d, 3, 0, 7, 0xFFFF_FFFF, 0xFFFF_FFFF))
        .also(&[Rule::NoPartitions]),
    fault(Rule::PartitionOverlap, "the last sector", |d| {
        let end = (MIB + VOLUME.len()) / SECTOR;
        mbr_entry(d, 1, 0, 7, end - 1, 100)
    }),
    fault(Rule::PartitionOverlap, "one in another", |d| mbr_entry(d, 2, 0, 7, 4096, 100)),
    fault(Rule::PartitionAlignment, "one behind another", |d| {
        let end = (MIB + VOLUME.len()) / SECTOR;
        mbr_entry(d, 1, 0, 7, end + 1, 100)
    }),
    fault(Rule::PartitionType, "of Linux", |d| mbr(d, 0, 4, 1, 0x83)),
    fault(Rule::PartitionType, "of FAT", |d| mbr(d, 0, 4, 1, 0x0C)),
    fault(Rule::MbrActive, "two", |d| {
        let end = ((MIB + VOLUME.len()) / SECTOR).next_multiple_of(2048);
        mbr_entry(d, 1, 0x80, 7, end, 100)
    })
    .also(&[Rule::NoPartitions]),
];

/// A disk that sgdisk divided: EFI system partition, reserved partition, our writer's volume. `None` where this machine cannot.
pub(super) fn gpt_disk() -> Option<Vec<u8>> {
    let tools = Tools::find(&["sgdisk", "mkdosfs"])?;
    let folder = tempfile::tempdir().unwrap();
    let (path, fat) = (folder.path().join("disk"), folder.path().join("fat"));
    fs::write(&fat, vec![0; 2 * MIB]).unwrap();
    tools.run("mkdosfs", &[text(&fat)]);
    let mut disk = vec![0; 4 * MIB];
    disk[MIB..3 * MIB].copy_from_slice(&fs::read(&fat).unwrap());
    disk.extend(&*VOLUME);
    let end = disk.len() / SECTOR - 1;
    disk.resize(disk.len().next_multiple_of(MIB) + MIB, 0);
    fs::write(&path, &disk).unwrap();
    let last = format!("-n3:8192:{end}");
    let make = ["-n1:2048:6143", "-t1:EF00", "-n2:6144:8191", "-t2:0C01", &last, "-t3:0700", text(&path)];
    tools.run("sgdisk", &make);
    Some(fs::read(&path).unwrap())
}

/// Where a GPT header is.
#[derive(Clone, Copy)]
enum Copy {
    Primary,
    Backup,
}

impl Copy {
    fn at(self, disk: &[u8]) -> usize {
        match self {
            Self::Primary => SECTOR,
            Self::Backup => disk.len() - SECTOR,
        }
    }
}

/// Changes a header, and gives it the right checksum.
fn header(disk: &mut [u8], copy: Copy, change: impl FnOnce(&mut [u8])) -> Where {
    let at = copy.at(disk);
    let header = &mut disk[at..at + SECTOR];
    change(header);
    header[16..20].fill(0);
    let sum = crc32(&header[..92]);
    put(header, 16, 4, sum.into());
    Where::Any(vec![Where::Offset(at as u64, SECTOR as u64), Where::Named("header")])
}

/// Changes the table of a copy, and puts the right checksum of it into the header.
fn table(disk: &mut [u8], copy: Copy, change: impl FnOnce(&mut [u8])) -> Where {
    let head = copy.at(disk);
    let start = int(disk, head + 72, 8) as usize * SECTOR;
    let len = (int(disk, head + 80, 4) * int(disk, head + 84, 4)) as usize;
    change(&mut disk[start..start + len]);
    let sum = crc32(&disk[start..start + len]);
    header(disk, copy, |header| put(header, 88, 4, sum.into()));
    Where::Any(vec![
        Where::Offset(start as u64, len as u64),
        Where::Offset(head as u64, SECTOR as u64),
        Where::Named("partition"),
        Where::Named("entry"),
        Where::AnyPartition,
    ])
}

/// The same in both.
pub(super) fn tables(disk: &mut [u8], change: impl Fn(&mut [u8])) -> Where {
    table(disk, Copy::Backup, &change);
    table(disk, Copy::Primary, &change)
}

const fn entry(number: usize) -> usize {
    128 * number
}

const GPT: Faults = &[
    fault(Rule::GptProtective, "none", |d| {
        d[ENTRIES..ENTRIES + ENTRY].fill(0);
        Where::Offset(0, 512)
    })
    .also(&[Rule::NoPartitions]),
    fault(Rule::GptProtective, "of another type", |d| mbr(d, 0, 4, 1, 7)).also(&[
        Rule::NoPartitions,
        Rule::MbrEntry,
        Rule::MbrDiskSignature,
    ]),
    fault(Rule::GptProtective, "over a part of the disk", |d| mbr(d, 0, 12, 4, 4096)),
    fault(Rule::GptProtective, "no signature", |d| {
        d[510] = 0;
        Where::Offset(0, 512)
    })
    .also(&[Rule::NoPartitions]),
    fault(Rule::GptHeader, "no signature", |d| {
        d[SECTOR] = b'e';
        Where::Offset(SECTOR as u64, SECTOR as u64)
    }),
    fault(Rule::GptHeader, "another checksum", |d| {
        d[SECTOR + 16] ^= 1;
        Where::Offset(SECTOR as u64, SECTOR as u64)
    }),
    fault(Rule::GptHeader, "another revision", |d| header(d, Copy::Primary, |header| put(header, 8, 4, 0x0002_0000))),
    fault(Rule::GptHeader, "another place of its own", |d| header(d, Copy::Primary, |header| put(header, 24, 8, 5))),
    fault(Rule::GptHeader, "the table among the usable sectors", |d| {
        header(d, Copy::Primary, |header| put(header, 40, 8, 3))
    })
    .also(&[Rule::GptBackup, Rule::GptEntries]),
    fault(Rule::GptHeader, "usable sectors past the end", |d| {
        header(d, Copy::Primary, |header| put(header, 48, 8, 1 << 40))
    })
    .also(&[Rule::GptBackup]),
    fault(Rule::GptHeader, "a reserved field", |d| header(d, Copy::Primary, |header| put(header, 20, 4, 1))),
    fault(Rule::GptBackup, "none", |d| {
        let at = Copy::Backup.at(d);
        d[at..].fill(0);
        Where::Offset(at as u64, SECTOR as u64)
    }),
    fault(Rule::GptBackup, "another checksum", |d| {
        let at = Copy::Backup.at(d);
        d[at + 16] ^= 1;
        Where::Offset(at as u64, SECTOR as u64)
    }),
    fault(Rule::GptBackup, "another disk GUID", |d| header(d, Copy::Backup, |header| header[60] ^= 1)),
    fault(Rule::GptBackup, "other entries", |d| table(d, Copy::Backup, |table| table[entry(2) + 56] ^= 1)),
    fault(Rule::GptBackup, "not at the end", |d| {
        let len = d.len() + MIB;
        d.resize(len, 0);
        ALL
    })
    .also(&[Rule::GptProtective, Rule::GptHeader]),
    fault(Rule::GptEntries, "another checksum", |d| {
        d[2 * SECTOR + 56] ^= 1;
        Where::Offset(2 * SECTOR as u64, 128 * 128)
    })
    .also(&[Rule::GptBackup]),
    fault(Rule::GptEntries, "before the usable sectors", |d| tables(d, |table| put(table, entry(0) + 32, 8, 3)))
        .also(&[Rule::PartitionType]),
    fault(Rule::GptEntries, "past the usable sectors", |d| tables(d, |table| put(table, entry(2) + 40, 8, 1 << 40))),
    fault(Rule::GptEntries, "an end before the start", |d| tables(d, |table| put(table, entry(1) + 40, 8, 100))),
    fault(Rule::GptGuid, "no disk GUID", |d| {
        header(d, Copy::Backup, |header| header[56..72].fill(0));
        header(d, Copy::Primary, |header| header[56..72].fill(0))
    }),
    fault(Rule::GptGuid, "no partition GUID", |d| tables(d, |table| table[entry(2) + 16..][..16].fill(0))),
    fault(Rule::GptGuid, "a GUID twice", |d| {
        tables(d, |table| table.copy_within(entry(0) + 16..entry(0) + 32, entry(1) + 16))
    }),
    fault(Rule::PartitionOverlap, "in a GPT", |d| tables(d, |table| put(table, entry(1) + 40, 8, 9000))),
    fault(Rule::PartitionType, "an EFI system partition with NTFS", |d| {
        tables(d, |table| table.copy_within(entry(0)..entry(0) + 16, entry(2)))
    }),
    fault(Rule::PartitionType, "a reserved partition with NTFS", |d| {
        tables(d, |table| table.copy_within(entry(1)..entry(1) + 16, entry(2)))
    }),
];

#[test]
fn faults_of_an_mbr_are_found() {
    let disk = mbr_disk();
    assert_clean("a disk with an MBR", &check(&disk));
    assert_none(&failures("an MBR", &disk, MBR, |disk| check(disk)));
}

#[test]
fn faults_of_a_gpt_are_found() {
    let Some(disk) = gpt_disk() else { return };
    assert_clean("a disk with a GPT", &check(&disk));
    assert_none(&failures("a GPT", &disk, GPT, |disk| check(disk)));
}
