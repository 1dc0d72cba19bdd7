//! Tables that the crate `gpt` wrote, whole and damaged.

use std::collections::BTreeMap;
use std::io::Cursor;

use ::gpt::disk::LogicalBlockSize;
use ::gpt::{GptConfig, partition_types};

use super::gpt::Gpt;
use super::{Kind, Mbr, Scheme, TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, Table, Uuid, bytes, mbr};
use crate::error::Kind as ErrorKind;

const DISK: usize = 8 << 20;

/// A disk with an EFI system partition and a data partition, made by the crate `gpt`.
fn gpt_disk(size: LogicalBlockSize) -> Vec<u8> {
    let sector = u64::from(size);
    let mut device = Cursor::new(vec![0; DISK]);
    let protective = ::gpt::mbr::ProtectiveMBR::with_lb_size((DISK as u64 / sector - 1) as u32);
    protective.overwrite_lba0(&mut device).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(size);
    let mut disk = config.create_from_device(device, Some(Uuid::from_u128(7))).unwrap();
    disk.update_partitions(BTreeMap::new()).unwrap();
    let align = Some((1 << 20) / sector);
    disk.add_partition("system", 1 << 20, partition_types::EFI, 0, align).unwrap();
    disk.add_partition("Windows", 4 << 20, partition_types::BASIC, 0, align).unwrap();
    disk.write().unwrap().into_inner()
}

fn is_right(table: &Table) {
    assert_eq!(table.scheme, Scheme::Gpt { disk: Uuid::from_u128(7) });
    let found: Vec<_> = table.partitions.iter().map(|p| (p.number, p.kind, p.range.clone())).collect();
    assert_eq!(
        found,
        [(1, Kind::Gpt(TYPE_EFI_SYSTEM), 1 << 20..2 << 20), (2, Kind::Gpt(TYPE_BASIC_DATA), 2 << 20..6 << 20)]
    );
    assert!(table.partitions.iter().all(|partition| partition.id.is_some_and(|id| !id.is_nil())));
}

#[test]
fn reads_tables_of_the_gpt_crate() {
    for size in [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096] {
        let disk = gpt_disk(size);
        is_right(&Table::read(&disk).unwrap());
        assert_eq!(Gpt::read(&disk).unwrap().sector, u64::from(size));
    }
}

#[test]
fn takes_the_backup_where_the_primary_copy_is_broken() {
    for size in [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096] {
        let sector = u64::from(size) as usize;
        let good = gpt_disk(size);
        for at in [sector, sector + 24, sector + 56, 2 * sector, 2 * sector + 40] {
            let mut disk = good.clone();
            disk[at] ^= 1;
            is_right(&Table::read(&disk).unwrap());
            let backup = DISK - sector;
            disk[backup + 16] ^= 1;
            assert_eq!(Table::read(&disk).unwrap_err().kind(), ErrorKind::Corrupt, "both are broken");
        }
        let mut longer = good.clone();
        longer[2 * sector] ^= 1;
        longer.resize(DISK + (1 << 20), 0);
        is_right(&Table::read(&longer).unwrap());
        let mut unprotected = good;
        unprotected[..512].fill(0);
        is_right(&Table::read(&unprotected).unwrap());
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let change = |change: &dyn Fn(&mut [u8])| {
        let mut disk = gpt_disk(LogicalBlockSize::Lb512);
        disk[DISK - 512..].fill(0);
        let header = &mut disk[512..1024];
        change(header);
        let size = (bytes::u32_at(header, 12).unwrap() as usize).min(512);
        header[16..20].fill(0);
        let sum = super::gpt::crc32(&header[..size]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        Table::read(&disk).map_err(|error| error.kind())
    };
    assert!(change(&|_| ()).is_ok());
    assert_eq!(change(&|header| header[8] = 9), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[12] = 91), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[12..16].fill(0xFF)), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[24] = 2), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[72..80].fill(0xFF)), Err(ErrorKind::Corrupt));
    assert_eq!(
        change(&|header| header[72..80].copy_from_slice(&(DISK as u64).to_le_bytes())),
        Err(ErrorKind::Truncated)
    );
    assert_eq!(change(&|header| header[80..84].fill(0xFF)), Err(ErrorKind::Unsupported));
    assert_eq!(change(&|header| header[84..88].fill(0)), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[84] = 129), Err(ErrorKind::Corrupt));
    assert_eq!(change(&|header| header[88] ^= 1), Err(ErrorKind::Corrupt));
}

#[test]
fn survives_any_byte_of_the_tables() {
    let good = gpt_disk(LogicalBlockSize::Lb512);
    for at in (0..512).chain(512..1024 + 512).chain(DISK - 512..DISK) {
        for value in [0, 0xFF, good[at] ^ 0x10] {
            let mut disk = good.clone();
            disk[at] = value;
            let _ = Table::read(&disk); // whatever comes of it
        }
    }
    for len in [0, 1, 511, 512, 1023, 1024, 40_000] {
        let _ = Table::read(&good[..len].to_vec());
    }
}

#[test]
fn mbr_of_large_sectors() {
    let partition = mbr::Partition { active: true, kind: mbr::TYPE_NTFS, first_lba: 16, sectors: 100 };
    let mut disk = vec![0; 1 << 20];
    let mbr = Mbr { signature: 1, partitions: [Some(partition), None, None, None] };
    disk[..512].copy_from_slice(&mbr.to_bytes(2048).unwrap());
    assert_eq!(Table::read(&disk).unwrap().partitions[0].range, 16 * 512..116 * 512);
    disk[16 * 4096 + 0x0C] = 0x10;
    disk[16 * 4096 + 510..16 * 4096 + 512].copy_from_slice(&[0x55, 0xAA]);
    assert_eq!(Table::read(&disk).unwrap().partitions[0].range, 16 * 4096..116 * 4096);
}
