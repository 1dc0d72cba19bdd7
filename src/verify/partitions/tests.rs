//! Tables that the crate `gpt` wrote and that we write, with one thing wrong in each.

use std::collections::BTreeMap;
use std::io::Cursor;

use ::gpt::disk::LogicalBlockSize;
use ::gpt::{GptConfig, partition_types};
use uuid::Uuid;

use super::*;
use crate::format::partitions::mbr::Mbr;

const DISK: usize = 8 << 20;

fn findings(disk: &[u8]) -> Findings {
    let mut findings = Findings::default();
    check(&disk.to_vec(), &mut findings);
    findings
}

/// Breaks a disk that is clean; expects just these rules to be broken above note.
fn breaks(good: &[u8], change: impl FnOnce(&mut Vec<u8>), rules: &[Rule]) {
    let mut disk = good.to_vec();
    change(&mut disk);
    let findings = findings(&disk);
    let mut found: Vec<Rule> =
        findings.kept().iter().filter(|finding| finding.level > Level::Note).map(|finding| finding.rule).collect();
    found.dedup();
    assert_eq!(found, rules, "{:#?}", findings.kept());
}

fn ntfs_boot_sector() -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

fn mbr_disk() -> Vec<u8> {
    let partition = |active, first_lba| mbr::Partition { active, kind: mbr::TYPE_NTFS, first_lba, sectors: 4096 };
    let mbr = Mbr { signature: 5, partitions: [Some(partition(true, 2048)), Some(partition(false, 8192)), None, None] };
    let mut disk = vec![0; DISK];
    disk[..512].copy_from_slice(&mbr.to_bytes((DISK / 512) as u64).unwrap());
    for at in [2048 * 512, 8192 * 512] {
        disk[at..at + 512].copy_from_slice(&ntfs_boot_sector());
    }
    disk
}

#[test]
fn each_fault_of_an_mbr_is_named() {
    let good = mbr_disk();
    breaks(&good, |_| (), &[]);
    breaks(&good, |disk| disk[440..444].fill(0), &[Rule::MbrDiskSignature]);
    breaks(&good, |disk| disk[446 + 16] = 0x80, &[Rule::MbrActive]);
    breaks(&good, |disk| disk[446 + 16] = 0x12, &[Rule::NoPartitions, Rule::MbrEntry]);
    breaks(&good, |disk| disk[446 + 16 + 4] = 0, &[Rule::MbrEntry]);
    breaks(&good, |disk| disk[446 + 16 + 4] = 0x0C, &[Rule::PartitionType]);
    breaks(&good, |disk| disk[446 + 16 + 4] = 0x83, &[Rule::PartitionType]);
    breaks(&good, |disk| disk[446 + 12..446 + 16].fill(0), &[Rule::MbrEntry]);
    breaks(&good, |disk| disk[446 + 8..446 + 12].fill(0), &[Rule::MbrEntry]);
    breaks(&good, |disk| disk[446 + 16 + 15] = 0x7F, &[Rule::MbrEntry]);
    breaks(&good, |disk| disk[446 + 13] = 0x20, &[Rule::PartitionOverlap]);
    breaks(&good, |disk| disk[510] = 0, &[Rule::NoPartitions]);
    breaks(&good, |disk| disk.truncate(300), &[Rule::NoPartitions]);
    let unaligned = |disk: &mut Vec<u8>| {
        disk[446 + 16 + 8] = 1;
        disk.copy_within(8192 * 512..8193 * 512, 8193 * 512);
    };
    breaks(&good, unaligned, &[]);
    let mut disk = good.clone();
    unaligned(&mut disk);
    assert_eq!(findings(&disk).count_of(Rule::PartitionAlignment), 1);
    let empty = findings(&vec![0; DISK]);
    assert_eq!((empty.count(Level::Note), empty.count(Level::Error)), (1, 0));
}

fn gpt_disk(size: LogicalBlockSize) -> Vec<u8> {
    let sector = u64::from(size);
    let mut device = Cursor::new(vec![0; DISK]);
    let protective = ::gpt::mbr::ProtectiveMBR::with_lb_size((DISK as u64 / sector - 1) as u32);
    protective.overwrite_lba0(&mut device).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(size);
    let mut disk = config.create_from_device(device, Some(Uuid::from_u128(7))).unwrap();
    disk.update_partitions(BTreeMap::new()).unwrap();
    let align = Some((1 << 20) / sector);
    disk.add_partition("one", 1 << 20, partition_types::BASIC, 0, align).unwrap();
    disk.add_partition("two", 1 << 20, partition_types::MICROSOFT_RESERVED, 0, align).unwrap();
    disk.write().unwrap().into_inner()
}

/// Sets the checksums of both copies anew, after a change of their tables or headers.
fn seal(disk: &mut [u8]) {
    use crate::format::partitions::gpt::crc32;
    for header in [512, DISK - 512] {
        let table = bytes::u64_at(disk, header + 72).unwrap() as usize * 512;
        let count = bytes::u32_at(disk, header + 80).unwrap() as usize * 128;
        if let Some(table) = disk.get(table..table + count) {
            let sum = crc32(table);
            disk[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
        }
        disk[header + 16..header + 20].fill(0);
        let sum = crc32(&disk[header..header + 92]);
        disk[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn each_fault_of_a_gpt_is_named() {
    breaks(&gpt_disk(LogicalBlockSize::Lb4096), |_| (), &[]);
    let good = gpt_disk(LogicalBlockSize::Lb512);
    let backup = DISK - 512;
    let backup_table = DISK - 33 * 512;
    breaks(&good, |_| (), &[]);
    breaks(&good, |disk| seal(disk), &[]);
    breaks(&good, |disk| disk[510] = 0, &[Rule::GptProtective]);
    breaks(&good, |disk| disk[..512].fill(0), &[Rule::GptProtective]);
    breaks(&good, |disk| disk[446 + 8] = 2, &[Rule::GptProtective]);
    breaks(&good, |disk| disk[446 + 13] = 0, &[Rule::GptProtective]);
    breaks(&good, |disk| disk[446 + 16 + 4] = 7, &[Rule::GptProtective]);
    breaks(&good, |disk| disk[512 + 57] ^= 1, &[Rule::GptHeader]);
    breaks(&good, |disk| disk[1024 + 40] ^= 1, &[Rule::GptEntries]);
    breaks(&good, |disk| disk[backup] = 0, &[Rule::GptBackup]);
    breaks(&good, |disk| disk[backup_table + 40] ^= 1, &[Rule::GptBackup]);
    breaks(&good, |disk| disk.resize(DISK + 4096, 0), &[Rule::GptProtective, Rule::GptBackup]);
    breaks(&good, |disk| disk.truncate(DISK - 4096), &[Rule::GptProtective, Rule::GptBackup]);
    let sealed = |change: &dyn Fn(&mut [u8]), rules: &[Rule]| {
        breaks(
            &good,
            |disk| {
                change(disk);
                seal(disk);
            },
            rules,
        );
    };
    sealed(&|disk| disk[backup + 57] ^= 1, &[Rule::GptBackup]);
    sealed(&|disk| disk[backup + 32] = 3, &[Rule::GptBackup]);
    sealed(&|disk| disk[512 + 20] = 1, &[Rule::GptHeader]);
    sealed(&|disk| disk[512 + 40] = 3, &[Rule::GptHeader, Rule::GptBackup]);
    let both = |at: usize, bytes: &'static [u8]| {
        move |disk: &mut [u8]| {
            for table in [1024, backup_table] {
                disk[table + at..table + at + bytes.len()].copy_from_slice(bytes);
            }
        }
    };
    sealed(&both(40, &[0xFF, 0xFF, 0, 0]), &[Rule::GptEntries, Rule::PartitionOverlap]);
    sealed(&both(32, &[1, 0]), &[Rule::GptEntries]);
    sealed(&both(16, &[0; 16]), &[Rule::GptGuid]);
    sealed(
        &|disk| {
            for table in [1024, backup_table] {
                disk.copy_within(table + 16..table + 32, table + 128 + 16);
            }
        },
        &[Rule::GptGuid],
    );
    sealed(&|disk| [512 + 56, backup + 56].iter().for_each(|at| disk[*at..at + 16].fill(0)), &[Rule::GptGuid]);
    let reserved = bytes::u64_at(&good, 1024 + 128 + 32).unwrap() as usize * 512;
    breaks(&good, |disk| disk[reserved..reserved + 512].copy_from_slice(&ntfs_boot_sector()), &[Rule::PartitionType]);
}

#[test]
fn survives_any_byte() {
    for good in [mbr_disk(), gpt_disk(LogicalBlockSize::Lb512)] {
        for at in (0..1024 + 256).chain(DISK - 512..DISK - 400) {
            let mut disk = good.clone();
            disk[at] = !disk[at];
            findings(&disk);
        }
    }
}
