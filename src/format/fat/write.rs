//! A volume, formatted and filled from a [`Tree`]: through the crate `fatfs`, over a disk in memory.
//!
//! What the crate cannot set is put in afterwards, by [`finish`](super::finish).

use std::io::{self, Write};
use std::ops::Range;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use serde::Serialize;

use super::contents::Contents;
use super::finish;
use super::ondisk::{ENTRY_LEN, Geometry, MAX_ENTRIES, Width};
use crate::base::name::windows_fault;
use crate::base::{Disk, FileTime, Name, ReadAt, Sparse};
use crate::error::{Context, Error, Result};
use crate::tree::{Content, NodeId, Tree};

/// The longest volume that is made: Windows formats none that is longer either.
pub const MAX_LEN: u64 = 32 << 30;
/// The most that the files of a volume may have together: they are held in memory. What firmware starts from has a tenth of it.
pub const MAX_BYTES: u64 = 512 << 20;
/// The most files and directories: finding a free name takes a look at all others of its directory.
pub const MAX_FILES: usize = 1 << 13;
/// The shortest volume: less has room for nothing.
const MIN_LEN: u64 = 64 << 10;
/// Clusters that a FAT32 volume has at least (Microsoft's specification, "FAT Type Determination").
const MIN_CLUSTERS_32: u64 = 65_525;
/// The largest cluster that everybody reads.
const MAX_CLUSTER: u32 = 32 << 10;

/// How a volume is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes in a sector of its disk: 512 or 4096.
    pub sector_size: u64,
    /// Sectors of the disk before the volume.
    pub hidden_sectors: u32,
    /// The serial number.
    pub serial: u32,
    /// Up to 11 letters, which become upper case. Microsoft's programs give the EFI system partition none.
    pub label: Option<String>,
    /// The moment at which it is made: the label has it, and what has no time of its own.
    pub created: FileTime,
    /// Whether it gets the boot code with which a BIOS starts BOOTMGR: FAT32 with sectors of 512 bytes only.
    pub starts_bios: bool,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `FAT12`, `FAT16` or `FAT32`.
    pub kind: &'static str,
    /// Bytes in a cluster.
    pub cluster: u64,
    /// How many files.
    pub files: usize,
    /// How many directories, without the root.
    pub directories: usize,
    /// How many bytes the files have.
    pub bytes: u64,
    /// How many bytes are in clusters that nothing uses.
    pub free: u64,
    /// Named streams that were left out, because FAT has none.
    pub streams_left_out: usize,
}

/// A volume that is ready to be written.
pub struct Image {
    disk: Sparse,
    summary: Summary,
}

impl Image {
    /// Formats a volume of `len` bytes and puts all of a tree into it: FAT32, unless it is too short for that (33 MiB with sectors of 512
    /// bytes, 257 MiB with those of 4096), when it is FAT16 or FAT12.
    ///
    /// Kept are names, contents, times (as UTC, to 10 ms and 2 s) and the attributes read-only, hidden, system and archive. Short names are
    /// made anew, files with several names become several files, security descriptors have no place. Reads the contents from their stores, each
    /// once.
    ///
    /// # Errors
    /// [`NoSpace`](crate::error::Kind::NoSpace) if the tree does not fit, [`Invalid`](crate::error::Kind::Invalid) for lengths and labels
    /// that no volume can have, [`Unsupported`](crate::error::Kind::Unsupported) for names that FAT cannot hold or tell apart, reparse points,
    /// and beyond [`MAX_LEN`], [`MAX_BYTES`] and [`MAX_FILES`]; and whatever reading the contents fails with.
    pub fn new(tree: &Tree, len: u64, options: &Options) -> Result<Self> {
        check_tree(tree)?;
        let label = options.label.as_deref().map(label).transpose()?;
        let mut disk = format(len, options, label)?;
        let mut sector = [0; 512];
        disk.read_at(0, &mut sector)?;
        let geometry = Geometry::parse(&sector)?;
        check_room(tree, &geometry, label.is_some())?;
        let contents = Contents::read(tree)?;
        let free = fill(&mut disk, tree, &contents)?;
        finish::finish(&mut disk, tree, &geometry, options)?;
        let directories = tree.walk().filter(|(_, link)| tree.node(link.node).is_directory()).count();
        let summary = Summary {
            kind: geometry.width.name(),
            cluster: geometry.cluster,
            files: tree.walk().count() - directories,
            directories,
            bytes: total(tree),
            free: u64::from(free) * geometry.cluster,
            streams_left_out: tree.walk().map(|(_, link)| named_streams(tree, link.node)).sum(),
        };
        Ok(Self { disk, summary })
    }

    /// The least length of a FAT32 volume that a tree fits into, in whole MiB; [`u64::MAX`] for one that is too large for any.
    pub fn needed(tree: &Tree, sector_size: u64) -> u64 {
        if total(tree) > MAX_BYTES {
            return u64::MAX;
        }
        let length = |cluster: u64| {
            let clusters = clusters(tree, cluster, true).max(MIN_CLUSTERS_32) + 1; // one for what rounding takes
            let table = ((clusters + 2) * 4).next_multiple_of(sector_size);
            (RESERVED * sector_size + 2 * table + clusters * cluster).next_multiple_of(1 << 20)
        };
        // A cluster is as long as the volume makes it. The files that are taken do not fill one with more than 4 KiB.
        let mut cluster = sector_size;
        loop {
            let len = length(cluster);
            match u64::from(default_cluster(len, sector_size)) {
                larger if larger > cluster => cluster = larger,
                // One that is so short would get smaller clusters, and larger tables for them.
                smaller if smaller < cluster => return LONGEST_OF_512 + (1 << 20),
                _ => return len,
            }
        }
    }

    /// The ranges that hold anything but zeros, in order.
    pub fn used(&self) -> Vec<Range<u64>> {
        self.disk.used()
    }

    /// Writes the volume to a disk of zeros that is as long as it.
    pub fn write(&self, disk: &dyn Disk) -> Result<()> {
        self.disk.copy_to(disk)
    }

    /// What is in it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The volume, to be read.
    pub fn reader(&self) -> &dyn ReadAt {
        &self.disk
    }
}

/// The longest FAT32 volume that gets clusters of 512 bytes: 260 MiB.
const LONGEST_OF_512: u64 = 260 << 20;
/// Sectors before the first table that the crate reserves in FAT32 volumes.
const RESERVED: u64 = 8;

impl Width {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Twelve => "FAT12",
            Self::Sixteen => "FAT16",
            Self::ThirtyTwo => "FAT32",
        }
    }
}

fn named_streams(tree: &Tree, node: NodeId) -> usize {
    tree.node(node).streams.iter().filter(|stream| !stream.name.is_empty()).count()
}

/// The bytes of all files, those with several names several times.
fn total(tree: &Tree) -> u64 {
    let lengths = tree.walk().map(|(_, link)| tree.node(link.node).main().map_or(0, Content::len));
    lengths.fold(0, u64::saturating_add)
}

/// Refuses what FAT has no place for, and more than is held in memory.
fn check_tree(tree: &Tree) -> Result<()> {
    let bytes = total(tree);
    if bytes > MAX_BYTES {
        return Err(Error::unsupported("files of a FAT volume, which are held in memory")
            .found(format_args!("{bytes} bytes"))
            .allowed(format_args!("{MAX_BYTES} bytes")));
    }
    let mut files = 0;
    for (_, link) in tree.walk() {
        files += 1;
        if files > MAX_FILES {
            return Err(Error::unsupported("files of a FAT volume").found("more").allowed(MAX_FILES));
        }
        text(&link.name)?;
        if tree.node(link.node).reparse.is_some() {
            return Err(Error::unsupported("a reparse point, which FAT does not have").found(&link.name));
        }
    }
    Ok(())
}

/// A name, as far as FAT can have it.
pub(super) fn text(name: &Name) -> Result<String> {
    let refuse = |allowed: &str| Error::unsupported("file name on a FAT volume").found(name).allowed(allowed);
    let text = String::from_utf16(name.units()).map_err(|_| refuse("whole characters"))?;
    match windows_fault(&text) {
        Some(fault) => Err(refuse(fault)),
        None if text.chars().any(|c| c > '\u{FFFF}') => Err(refuse("characters of the basic plane")),
        None => Ok(text),
    }
}

/// A volume's label, as its boot sector and its root have it.
fn label(label: &str) -> Result<[u8; 11]> {
    let upper = label.to_ascii_uppercase();
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" -_!#$%&'()@^`{}~".contains(&byte);
    if upper.is_empty() || upper.len() > 11 || upper.starts_with(' ') || !upper.bytes().all(fits) {
        let allowed = "1 to 11 ASCII letters, digits, and - _ ! # $ % & ' ( ) @ ^ ` { } ~";
        return Err(Error::invalid("label of a FAT volume").found(label).allowed(allowed));
    }
    let mut padded = [b' '; 11];
    padded[..upper.len()].copy_from_slice(upper.as_bytes());
    Ok(padded)
}

/// The cluster that Windows and the crate give a FAT32 volume of a length: 512 bytes up to 260 MiB, 4 KiB up to 8 GiB, and so on, and no less than
/// a sector.
fn default_cluster(len: u64, sector_size: u64) -> u32 {
    const LONGEST_OF_4096: u64 = 8 << 30;
    let cluster = if len <= LONGEST_OF_512 {
        512
    } else if len <= LONGEST_OF_4096 {
        4096
    } else {
        (len.next_power_of_two() >> 31) << 10
    };
    cluster.max(sector_size).min(MAX_CLUSTER.into()) as u32
}

/// An empty volume.
fn format(len: u64, options: &Options, label: Option<[u8; 11]>) -> Result<Sparse> {
    let sector = options.sector_size;
    if !matches!(sector, 512 | 4096) {
        return Err(Error::invalid("FAT: size of a sector").found(sector).allowed("512 or 4096"));
    }
    if len > MAX_LEN {
        return Err(Error::unsupported("length of a FAT volume").found(len).allowed(MAX_LEN));
    }
    if len < MIN_LEN || !len.is_multiple_of(sector) {
        let allowed = format!("{MIN_LEN} or more, a multiple of {sector}");
        return Err(Error::invalid("length of a FAT volume").found(len).allowed(allowed));
    }
    // Between the kinds there are lengths that fit neither: the tables of the larger kind take the clusters that would make it one. There, larger
    // clusters make it the smaller kind.
    let mut cluster = default_cluster(len, sector);
    loop {
        let mut disk = Sparse::new(len);
        let volume = FormatVolumeOptions::new()
            .bytes_per_sector(sector as u16)
            .bytes_per_cluster(cluster)
            .volume_id(options.serial)
            .sectors_per_track(63)
            .heads(255)
            .drive_num(0x80);
        let volume = label.iter().fold(volume, |volume, label| volume.volume_label(*label));
        match fatfs::format_volume(&mut disk, volume) {
            Ok(()) => return Ok(disk),
            Err(_) if cluster < MAX_CLUSTER => cluster *= 2,
            Err(error) => return Err(Error::invalid("length of a FAT volume").found(len).hint(error)),
        }
    }
}

/// Entries that a directory takes: for each name its own and those of its long name, and two for itself and its parent.
fn entries(tree: &Tree, directory: NodeId, is_root: bool, has_label: bool) -> u64 {
    const UNITS: usize = 13; // of a long name in an entry
    let names = tree.node(directory).children().iter().map(|link| 1 + link.name.len().div_ceil(UNITS) as u64);
    let own = if is_root { u64::from(has_label) } else { 2 };
    names.sum::<u64>() + own
}

/// Clusters that a tree takes; at most, where names are the same.
fn clusters(tree: &Tree, cluster: u64, root_too: bool) -> u64 {
    let directory =
        |id: NodeId, is_root: bool| (entries(tree, id, is_root, true) * ENTRY_LEN as u64).div_ceil(cluster).max(1);
    let below = tree.walk().map(|(_, link)| match tree.node(link.node) {
        node if node.is_directory() => directory(link.node, false),
        node => node.main().map_or(0, Content::len).div_ceil(cluster),
    });
    let root = if root_too { directory(tree.root(), true) } else { 0 };
    below.fold(root, u64::saturating_add)
}

fn check_room(tree: &Tree, geometry: &Geometry, has_label: bool) -> Result<()> {
    let directories = tree.walk().map(|(_, link)| link.node).filter(|id| tree.node(*id).is_directory());
    for directory in directories.chain([tree.root()]) {
        let entries = entries(tree, directory, directory == tree.root(), has_label);
        if entries > MAX_ENTRIES as u64 {
            return Err(Error::unsupported("entries of a FAT directory").found(entries).allowed(MAX_ENTRIES));
        }
    }
    let has_root_cluster = geometry.width == Width::ThirtyTwo;
    let root = entries(tree, tree.root(), true, has_label) * ENTRY_LEN as u64;
    if !has_root_cluster && root > geometry.root_len {
        let what = format_args!("the root directory of a {} volume", geometry.width.name()).to_string();
        return Err(Error::no_space(what, root, geometry.root_len));
    }
    let needed = clusters(tree, geometry.cluster, has_root_cluster);
    if needed > geometry.clusters.into() {
        let [needed, available] = [needed, geometry.clusters.into()].map(|clusters: u64| clusters * geometry.cluster);
        return Err(Error::no_space("the FAT volume is too small for its files", needed, available));
    }
    Ok(())
}

/// The crate's part: puts all files in; tells how many clusters are free.
fn fill(disk: &mut Sparse, tree: &Tree, contents: &Contents) -> Result<u32> {
    let failed = |error: io::Error| Error::unsupported("FAT: what cannot be written").found(error);
    let volume = FileSystem::new(disk, FsOptions::new()).map_err(failed)?;
    let mut work = vec![(volume.root_dir(), tree.root())];
    while let Some((directory, id)) = work.pop() {
        for link in tree.node(id).children() {
            let name = text(&link.name)?;
            let node = tree.node(link.node);
            if node.is_directory() {
                let below = directory.create_dir(&name).map_err(failed).context(|| &link.name)?;
                work.push((below, link.node));
                continue;
            }
            let bytes = node.main().map_or(Ok(&[][..]), |content| contents.get(content)).context(|| &link.name)?;
            let file = directory.create_file(&name);
            file.and_then(|mut file| file.write_all(bytes)).map_err(failed).context(|| &link.name)?;
        }
    }
    drop(work);
    let free = volume.stats().map_err(failed)?.free_clusters();
    volume.unmount().map_err(failed)?;
    Ok(free)
}
