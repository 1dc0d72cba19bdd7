//! The GUID partition table, written: through the crate `gpt`, over a disk in memory.
//!
//! The layout is that of the reader's [module](super::gpt). 128 entries of 128 bytes, as every known program makes them. The crate takes
//! the partitions as they are, so that what it is given is checked here.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;

use ::gpt::GptConfig;
use ::gpt::disk::LogicalBlockSize;
use ::gpt::mbr::ProtectiveMBR;
use ::gpt::partition::Partition;
use ::gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use super::gpt::{MAX_PARTITIONS, SECTOR_SIZES};
use crate::base::{ReadAt, Sparse};
use crate::error::{Error, Result};

/// Bytes in a table of entries.
const TABLE_LEN: u64 = 128 * 128;
/// UTF-16 units that an entry has room for.
const NAME_LEN: usize = 36;

/// A partition that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartition {
    /// What it holds: one of the types in [`partitions`](super).
    pub kind: Uuid,
    /// Its own GUID.
    pub id: Uuid,
    /// Where it is, in bytes; whole sectors.
    pub range: Range<u64>,
    /// [`ATTRIBUTE_REQUIRED`], and what the type defines in bits 48 to 63, such as [`ATTRIBUTE_NO_DRIVE_LETTER`].
    pub attributes: u64,
    /// What partition editors show, at most 36 UTF-16 units.
    pub name: String,
}

/// The machine does not work without this partition (UEFI, "Defined GPT Partition Entry Attributes").
pub const ATTRIBUTE_REQUIRED: u64 = 1;
/// Windows gives the partition no drive letter (Microsoft, `CREATE_PARTITION_PARAMETERS`, "GPT_BASIC_DATA_ATTRIBUTE_NO_DRIVE_LETTER").
pub const ATTRIBUTE_NO_DRIVE_LETTER: u64 = 1 << 63;

/// The part of a disk of `disk_len` bytes that partitions can have: between the tables at its start and its end.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) for another sector size than 512 and 4096, for a disk that does not end with a sector, and for one
/// that has no room for the tables.
pub fn usable(disk_len: u64, sector: u64) -> Result<Range<u64>> {
    if !SECTOR_SIZES.contains(&sector) {
        return Err(Error::invalid("GPT: size of a sector").found(sector).allowed("512 or 4096"));
    }
    let table = TABLE_LEN.next_multiple_of(sector);
    let front = 2 * sector + table;
    if !disk_len.is_multiple_of(sector) || disk_len <= front + table + sector {
        return Err(Error::invalid("GPT: length of the disk")
            .found(disk_len)
            .allowed(format_args!("a multiple of {sector}, with room for two tables")));
    }
    Ok(front..disk_len - table - sector)
}

/// The sectors of a disk that hold its protective MBR and both copies of the table: what to write, and where, in the order of the disk.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) for what [`usable`] refuses, and for partitions that overlap, leave the usable part or their sectors'
/// bounds, lack a type or GUID, or share one, or have too long a name.
pub fn to_sectors(disk_len: u64, sector: u64, disk: Uuid, partitions: &[NewPartition]) -> Result<Vec<(u64, Vec<u8>)>> {
    let usable = usable(disk_len, sector)?;
    check(partitions, sector, &usable)?;
    if disk.is_nil() {
        return Err(Error::invalid("GPT: a disk without a GUID"));
    }
    let device = write(disk_len, sector, disk, partitions)
        .map_err(|error| Error::invalid("GPT: the table cannot be made").found(error))?;
    [0..usable.start, usable.end..disk_len]
        .into_iter()
        .map(|range| {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            device.read_at(range.start, &mut bytes)?;
            Ok((range.start, bytes))
        })
        .collect()
}

fn check(partitions: &[NewPartition], sector: u64, usable: &Range<u64>) -> Result<()> {
    let bad = |number: usize, what: &str| Error::invalid(format_args!("GPT: partition {}: {what}", number + 1));
    if partitions.len() > MAX_PARTITIONS {
        return Err(Error::invalid("GPT: partitions").found(partitions.len()).allowed(MAX_PARTITIONS));
    }
    let mut ids = HashSet::new();
    for (number, partition) in partitions.iter().enumerate() {
        let Range { start, end } = partition.range;
        if partition.kind.is_nil() || partition.id.is_nil() || !ids.insert(partition.id) {
            return Err(bad(number, "its type or GUID").found(partition.id).allowed("neither zero nor another's"));
        }
        if start >= end || start < usable.start || end > usable.end {
            return Err(bad(number, "its place")
                .found(format_args!("{start} to {end}"))
                .allowed(format_args!("within {} to {}", usable.start, usable.end)));
        }
        if !start.is_multiple_of(sector) || !end.is_multiple_of(sector) {
            let allowed = format!("multiples of {sector}");
            return Err(bad(number, "its place").found(format_args!("{start} to {end}")).allowed(allowed));
        }
        let overlaps = |other: &&NewPartition| start < other.range.end && other.range.start < end;
        if let Some(other) = partitions[..number].iter().find(overlaps) {
            return Err(bad(number, "it overlaps another").at(start).found(&other.name));
        }
        let units = partition.name.encode_utf16().count();
        if units > NAME_LEN {
            return Err(bad(number, "its name").found(format_args!("{units} units")).allowed(NAME_LEN));
        }
    }
    Ok(())
}

/// The crate's part.
fn write(disk_len: u64, sector: u64, disk: Uuid, partitions: &[NewPartition]) -> io::Result<Sparse> {
    let block = LogicalBlockSize::try_from(sector)?;
    let mut device = Sparse::new(disk_len);
    // The size in the MBR is that of all behind it, or as much of that as its field holds.
    let protected = u32::try_from(disk_len / sector - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(protected).overwrite_lba0(&mut device).map_err(io::Error::other)?;
    let config = GptConfig::new().writable(true).logical_block_size(block);
    let mut table = config.create_from_device(device, Some(disk)).map_err(io::Error::other)?;
    let entries = (1..).zip(partitions).map(|(number, partition)| (number, entry(partition, sector)));
    table.update_partitions(entries.collect::<BTreeMap<u32, Partition>>()).map_err(io::Error::other)?;
    table.write().map_err(io::Error::other)
}

fn entry(partition: &NewPartition, sector: u64) -> Partition {
    Partition {
        part_type_guid: Type { guid: partition.kind, os: OperatingSystem::None },
        part_guid: partition.id,
        first_lba: partition.range.start / sector,
        last_lba: partition.range.end / sector - 1,
        flags: partition.attributes,
        name: partition.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bytes::u64_at;
    use crate::error::Kind as ErrorKind;
    use crate::format::partitions::gpt::Gpt;
    use crate::format::partitions::{Kind, Scheme, TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, Table};

    const DISK: u64 = 64 << 20;
    const MIB: u64 = 1 << 20;

    fn partition(kind: Uuid, id: u128, range: Range<u64>, name: &str) -> NewPartition {
        let attributes = ATTRIBUTE_NO_DRIVE_LETTER | ATTRIBUTE_REQUIRED;
        NewPartition { kind, id: Uuid::from_u128(id), range, attributes, name: name.into() }
    }

    fn two() -> Vec<NewPartition> {
        vec![
            partition(TYPE_EFI_SYSTEM, 1, MIB..33 * MIB, "EFI system partition"),
            partition(TYPE_BASIC_DATA, 2, 33 * MIB..63 * MIB, "Windows: Grüße"),
        ]
    }

    fn on_disk(disk_len: u64, sector: u64, partitions: &[NewPartition]) -> Sparse {
        let mut disk = Sparse::new(disk_len);
        for (at, bytes) in to_sectors(disk_len, sector, Uuid::from_u128(7), partitions).unwrap() {
            disk.put(at, &bytes).unwrap();
        }
        disk
    }

    #[test]
    fn reads_back_from_either_copy() {
        for sector in SECTOR_SIZES {
            for disk_len in [DISK, 1 << 45] {
                let mut disk = on_disk(disk_len, sector, &two());
                for _ in 0..2 {
                    let table = Table::read(&disk).unwrap();
                    assert_eq!(table.scheme, Scheme::Gpt { disk: Uuid::from_u128(7) });
                    let found: Vec<_> = table.partitions.iter().map(|p| (p.kind, p.id, p.range.clone())).collect();
                    let made = two().into_iter().map(|p| (Kind::Gpt(p.kind), Some(p.id), p.range));
                    assert_eq!(found, made.collect::<Vec<_>>());
                    let gpt = Gpt::read(&disk).unwrap();
                    assert_eq!(gpt.entries[1].attributes, ATTRIBUTE_NO_DRIVE_LETTER | ATTRIBUTE_REQUIRED);
                    disk.put(sector, &vec![0; sector as usize]).unwrap(); // now from the backup
                }
            }
        }
    }

    #[test]
    fn same_in_same_out() {
        let make = || to_sectors(DISK, 512, Uuid::from_u128(7), &two()).unwrap();
        let sectors = make();
        assert_eq!(sectors, make());
        assert_eq!(
            sectors.iter().map(|(at, bytes)| (*at, bytes.len())).collect::<Vec<_>>(),
            [(0, 34 * 512), (DISK - 33 * 512, 33 * 512)]
        );
        let header = &sectors[0].1[512..];
        assert_eq!((u64_at(header, 40), u64_at(header, 48)), (Some(34), Some(DISK / 512 - 34)));
    }

    #[test]
    fn refuses_what_no_disk_can_have() {
        let refused = |sector: u64, change: &dyn Fn(&mut Vec<NewPartition>)| {
            let mut partitions = two();
            change(&mut partitions);
            to_sectors(DISK, sector, Uuid::from_u128(7), &partitions).map_err(|error| error.kind())
        };
        assert!(refused(512, &|_| ()).is_ok());
        type Change<'c> = &'c dyn Fn(&mut Vec<NewPartition>);
        let changes: [Change<'_>; 10] = [
            &|p| p[1].range.start -= 512,
            &|p| p[1].range = 32 * MIB..40 * MIB,
            &|p| p[0].range = 33 * 512..MIB,
            &|p| p[1].range.end = DISK - 16 * 512,
            &|p| p[1].range.end = u64::MAX,
            &|p| p[1].range = 40 * MIB..40 * MIB,
            &|p| p[1].range.end -= 1,
            &|p| p[1].id = p[0].id,
            &|p| p[1].kind = Uuid::nil(),
            &|p| p[1].name = "x".repeat(37),
        ];
        for (number, change) in changes.iter().enumerate() {
            assert_eq!(refused(512, change), Err(ErrorKind::Invalid), "{number}");
        }
        assert_eq!(refused(1024, &|_| ()), Err(ErrorKind::Invalid));
        assert_eq!(refused(4096, &|p| p[1].range.end -= 512), Err(ErrorKind::Invalid));
        for disk_len in [0, 512, 67 * 512, DISK + 1, u64::MAX] {
            assert!(to_sectors(disk_len, 512, Uuid::from_u128(7), &[]).is_err(), "{disk_len}");
        }
        assert!(to_sectors(68 * 512, 512, Uuid::from_u128(7), &[]).is_ok());
        assert!(to_sectors(DISK, 512, Uuid::nil(), &[]).is_err());
    }
}
