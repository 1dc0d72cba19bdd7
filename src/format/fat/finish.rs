//! What the crate `fatfs` does not set, or not right: hidden sectors, attributes, times, the second copy of what precedes the tables, and the first two
//! entries of directories, which it gives long names, and the root's cluster for their parent (version 0.3.6; `fsck.vfat` complains).

use std::sync::Arc;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::boot_code::boot_code;
use super::ondisk::{self, ENTRY_LEN, Entry, Geometry, Width};
use super::read::{Chains, LongName, short_name};
use super::write::Options;
use crate::base::{FileTime, ReadAt, Sparse};
use crate::error::{Error, Result};
use crate::tree::{Link, Node, NodeId, Tree, attributes};

/// Offset of the hidden sectors in a boot sector.
const HIDDEN_SECTORS_AT: u64 = 0x1C;
/// Where a FAT32 volume has the backup of its first sectors.
const BACKUP_SECTOR: u64 = 6;
/// How many: the boot sector, and the counts of free clusters.
const BACKUP_SECTORS: u64 = 2;

/// Finishes a volume that the crate has filled from a tree.
pub(super) fn finish(disk: &mut Sparse, tree: &Tree, geometry: &Geometry, options: &Options) -> Result<()> {
    // The reader takes a share of what it reads.
    let shared = Arc::new(std::mem::replace(disk, Sparse::new(0)));
    let chains = Chains { volume: Arc::<Sparse>::clone(&shared), geometry: geometry.clone() };
    let entries = entries(&chains, tree, options.created)?;
    drop(chains);
    *disk = Arc::unwrap_or_clone(shared);
    for (at, entry) in entries {
        disk.put(at, entry.as_bytes())?;
    }
    disk.put(HIDDEN_SECTORS_AT, U32::new(options.hidden_sectors).as_bytes())?;
    if options.starts_bios {
        if geometry.width != Width::ThirtyTwo || options.sector_size != 512 {
            return Err(Error::unsupported("a FAT volume from which a BIOS starts")
                .found(format_args!("{} with sectors of {} bytes", geometry.width.name(), options.sector_size))
                .allowed("FAT32 with sectors of 512 bytes"));
        }
        boot_code().into_iter().try_for_each(|(at, code)| disk.put(at, code))?;
    }
    if geometry.width == Width::ThirtyTwo {
        let mut first = vec![0; (BACKUP_SECTORS * options.sector_size) as usize];
        disk.read_at(0, &mut first)?;
        disk.put(BACKUP_SECTOR * options.sector_size, &first)?;
    }
    Ok(())
}

/// The entries of all directories as they are to be, with their places.
fn entries(chains: &Chains, tree: &Tree, created: FileTime) -> Result<Vec<(u64, Entry)>> {
    let mut done = Vec::new();
    let mut work = vec![(tree.root(), tree.root(), places(chains, None)?)];
    while let Some((id, parent, places)) = work.pop() {
        let mut links = tree.node(id).children().iter();
        let mut long = LongName::default();
        for (index, &at) in places.iter().enumerate() {
            let mut bytes = [0; ENTRY_LEN];
            chains.volume.read_at(at, &mut bytes)?;
            let Ok(mut entry) = Entry::read_from_bytes(&bytes) else { break };
            if entry.name[0] == 0 {
                break;
            }
            if entry.attributes & ondisk::LONG_NAME_MASK == ondisk::LONG_NAME {
                long.add(&bytes);
                continue;
            }
            let name = std::mem::take(&mut long).finish(&entry.name).unwrap_or_else(|| short_name(&entry, entry.case));
            if entry.attributes & ondisk::VOLUME_LABEL != 0 {
                stamp(&mut entry, [created; 3]);
            } else if entry.name[0] == b'.' {
                stamp(&mut entry, times(tree.node(id), created));
                // The crate gives them long names, which they must not have: they are the first two entries.
                let is_parent = entry.name[1] == b'.';
                if is_parent {
                    if parent == tree.root() {
                        (entry.cluster_high, entry.cluster_low) = (0.into(), 0.into());
                    }
                    done.extend((2..=index).map(|index| (places[index], deleted())));
                }
                done.push((places[usize::from(is_parent)], entry));
                continue;
            } else {
                let link = links.next().filter(|link| link.name == name).ok_or_else(|| indistinct(tree, id))?;
                let node = tree.node(link.node);
                entry.attributes = attributes_of(node);
                stamp(&mut entry, times(node, created));
                if node.is_directory() {
                    work.push((link.node, id, self::places(chains, Some(entry.cluster()))?));
                }
            }
            done.push((at, entry));
        }
        if links.next().is_some() {
            return Err(indistinct(tree, id));
        }
    }
    Ok(done)
}

/// An entry that is free.
fn deleted() -> Entry {
    let mut entry = Entry::new_zeroed();
    entry.name[0] = 0xE5;
    entry
}

/// The crate opens a file where it should make one, if it takes the two names for the same.
fn indistinct(tree: &Tree, directory: NodeId) -> Error {
    let path = tree.paths(1, |id, _| id == directory).pop().unwrap_or_else(|| "\\".into());
    let names: Vec<String> = tree.node(directory).children().iter().map(|link: &Link| link.name.to_string()).collect();
    Error::unsupported("names in a directory that are the same to FAT").found(names.join(", ")).context(path)
}

/// Where the entries of a directory are: of the root, or of that which begins with a cluster.
fn places(chains: &Chains, first: Option<u32>) -> Result<Vec<u64>> {
    let geometry = &chains.geometry;
    let within = |start: u64, len: u64| (start..start + len).step_by(ENTRY_LEN);
    let first = match (first, geometry.width) {
        (Some(first), _) => first,
        (None, Width::ThirtyTwo) => geometry.root_cluster,
        (None, _) => return Ok(within(geometry.root_at, geometry.root_len).collect()),
    };
    let mut places = Vec::new();
    let mut cluster = Some(first);
    while let Some(found) = cluster {
        let start = geometry.place(found).ok_or_else(|| Error::corrupt("FAT: cluster of a directory").found(found))?;
        places.extend(within(start, geometry.cluster));
        if places.len() > ondisk::MAX_ENTRIES {
            return Err(Error::corrupt("FAT: a directory without an end").found(first));
        }
        cluster = chains.next(found)?;
    }
    Ok(places)
}

fn attributes_of(node: &Node) -> u8 {
    const KEPT: u32 = attributes::READ_ONLY | attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE;
    let kind = if node.is_directory() { ondisk::DIRECTORY } else { 0 };
    (node.attributes & KEPT) as u8 | kind
}

/// Created, modified, read.
fn times(node: &Node, created: FileTime) -> [FileTime; 3] {
    [node.times.created, node.times.modified, node.times.accessed]
        .map(|time| if time == FileTime::default() { created } else { time })
}

fn stamp(entry: &mut Entry, [created, modified, accessed]: [FileTime; 3]) {
    let (date, time, tenths) = dos(created);
    entry.created_date = date;
    entry.created_time = time;
    entry.created_tenths = tenths;
    (entry.modified_date, entry.modified_time, _) = dos(modified);
    (entry.accessed_date, ..) = dos(accessed);
}

/// A moment as FAT has it: date, time, and hundredths of a second above the two seconds that the time counts in. From 1980 to 2107; what is
/// beyond becomes the nearest of them.
fn dos(time: FileTime) -> (U16, U16, u8) {
    const FIRST: i64 = 315_532_800; // 1980-01-01
    const LAST: i64 = 4_354_819_199; // 2107-12-31 23:59:59
    let seconds = time.to_unix().clamp(FIRST, LAST);
    let hundredths = if seconds == time.to_unix() { (time.0 % 10_000_000 / 100_000) as u8 } else { 0 };
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let moment = jiff::tz::Offset::UTC.to_datetime(moment);
    let date = (moment.year() as u16).saturating_sub(1980) << 9 | (moment.month() as u16) << 5 | moment.day() as u16;
    let second = moment.second() as u16;
    let time = (moment.hour() as u16) << 11 | (moment.minute() as u16) << 5 | (second / 2);
    (date.into(), time.into(), (second % 2) as u8 * 100 + hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_dos() {
        let of = |seconds: i64, hundredths: u64| {
            let (date, time, tenths) = dos(FileTime(FileTime::from_unix(seconds).unwrap().0 + hundredths * 100_000));
            (date.get(), time.get(), tenths)
        };
        // 2016-09-26 12:00:01.5
        assert_eq!(of(1_474_891_201, 50), (36 << 9 | 9 << 5 | 26, 12 << 11, 150));
        assert_eq!(of(0, 7), (1 << 5 | 1, 0, 0), "before 1980");
        assert_eq!(of(1 << 40, 7).0, 127 << 9 | 12 << 5 | 31, "beyond 2107");
        assert_eq!(dos(FileTime(u64::MAX)).0.get(), 127 << 9 | 12 << 5 | 31);
    }
}
