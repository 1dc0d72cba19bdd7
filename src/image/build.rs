//! From a source and a recipe to a plan, and from the plan to a disk.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use super::disk_file::{DiskFile, Identity};
use super::edits::Step;
use super::host::{self, OutputFile};
use super::seed::Seed;
use super::source::refuse_lost;
use super::{Control, Format, Recipe, Source, verify};
use crate::base::{Disk, FileTime, Name, Slice, bytes};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs;
use crate::format::partitions::mbr;
use crate::tree::Tree;
use crate::windows::{Machine, Windows, boot};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The size of a disk when nobody says otherwise, as Microsoft's New-NanoServerImage has it.
const NANO_DISK: u64 = 4 * GIB;

/// Partitions start on a whole MiB, as Windows has placed them since Vista.
const PARTITION_START: u64 = MIB;
/// Windows leaves the last MiB of an MBR disk free, for the database of a dynamic disk.
const RESERVE_AT_END: u64 = MIB;
const SECTOR: u64 = 512;

/// A disk that is laid out to the last byte, with nothing written yet.
pub struct ImagePlan<'r> {
    recipe: &'r Recipe,
    source: String,
    tree: Tree,
    mbr: [u8; mbr::MBR_LEN],
    volume: ntfs::Plan,
    partition: Range<u64>,
    file: DiskFile,
    summary: Summary,
}

/// What a plan comes to, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The image that was chosen.
    pub image: ImageSummary,
    /// The file.
    pub output: OutputSummary,
    /// The disk in it.
    pub disk: DiskSummary,
    /// The volume on it.
    pub volume: ntfs::Summary,
    /// What was put in place so that it boots.
    pub boot: boot::Installed,
    /// What was changed on request, in its order.
    pub steps: Vec<Step>,
    /// What the disk will not carry although the source has it.
    pub losses: Vec<String>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

/// See [`Summary::image`].
#[derive(Debug, Clone, Serialize)]
pub struct ImageSummary {
    /// Its index in the source.
    pub index: usize,
    /// Its name.
    pub name: Option<String>,
    /// Its edition id.
    pub edition: Option<String>,
    /// The version of its Windows.
    pub version: Option<String>,
    /// The processor.
    pub machine: Machine,
}

/// See [`Summary::output`].
#[derive(Debug, Clone, Serialize)]
pub struct OutputSummary {
    /// Where it goes.
    pub path: String,
    /// The container.
    pub format: Format,
    /// The length of the file in bytes, holes included.
    pub file_bytes: u64,
}

/// See [`Summary::disk`].
#[derive(Debug, Clone, Serialize)]
pub struct DiskSummary {
    /// The size that a machine sees.
    pub bytes: u64,
    /// The MBR disk signature.
    pub signature: String,
    /// The partitions, in their order.
    pub partitions: Vec<PartitionSummary>,
}

/// A partition of [`DiskSummary`].
#[derive(Debug, Clone, Serialize)]
pub struct PartitionSummary {
    /// Where it starts, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its type.
    pub kind: String,
    /// Whether the firmware boots from it.
    pub active: bool,
    /// The label of its volume.
    pub label: String,
}

impl<'r> ImagePlan<'r> {
    /// Lays everything out. What does not fit, or cannot be, is said here, before anything is written.
    pub fn new(source: Source, recipe: &'r Recipe) -> Result<Self> {
        host::check_target(&recipe.output, recipe.force)?;
        let Source { tree, info, guid, name, warnings, lost } = source;
        if !recipe.accept_dirty {
            refuse_lost(lost, &warnings).context(|| &name)?;
        }
        let of_source = |error| of_source(&name, error);
        let timestamp = recipe.timestamp.or(info.modified).or(info.created).unwrap_or_else(|| newest(&tree));
        let seed = seed_of(recipe, guid, info.index);

        let mut windows = Windows::recognise(tree).map_err(of_source)?;
        let boot = boot::install_bios(
            &mut windows,
            &boot::Options {
                loader_id: seed.guid("BCD loader"),
                resume_id: seed.guid("BCD resume"),
                created: timestamp,
            },
        )
        .map_err(of_source)?;
        let machine = windows.machine();
        let steps = recipe.edits.apply(windows.tree_mut(), timestamp)?;
        let tree = windows.into_tree();

        let options = ntfs::Options {
            cluster_size: recipe.cluster_size,
            sector_size: SECTOR as u32,
            hidden_sectors: PARTITION_START / SECTOR,
            serial: seed.number("volume serial"),
            label: Name::from(recipe.label.as_str()),
            created: timestamp,
            boot_code: Cow::Borrowed(ntfs::BOOT_CODE),
        };
        recipe.size.map_or(Ok(()), check_size)?;
        let mut disk_len = 0;
        let volume = ntfs::Plan::with_len(&tree, &options, |needed| {
            disk_len = disk_size(recipe.size, needed)?;
            Ok(disk_len - PARTITION_START - RESERVE_AT_END)
        })
        .map_err(of_source)?;
        let partition = PARTITION_START..disk_len - RESERVE_AT_END;

        let signature = seed.disk_signature();
        let mbr = master_boot_record(signature, &partition, disk_len)?;
        let used = used_ranges(&volume, &partition);
        let identity = Identity::derived(recipe.format, &seed, timestamp, SECTOR as u32);
        let file = DiskFile::new(identity, disk_len, &used)?;
        let volume_summary = volume.summary().clone();
        let summary = Summary {
            image: ImageSummary {
                index: info.index,
                name: info.name.clone(),
                edition: info.edition.clone(),
                version: info.version.map(|version| version.to_string()),
                machine,
            },
            output: OutputSummary {
                path: recipe.output.display().to_string(),
                format: recipe.format,
                file_bytes: file.len(),
            },
            disk: DiskSummary {
                bytes: disk_len,
                signature: format!("{signature:08x}"),
                partitions: vec![PartitionSummary {
                    start: partition.start,
                    bytes: partition.end - partition.start,
                    kind: "NTFS (7)".into(),
                    active: true,
                    label: recipe.label.clone(),
                }],
            },
            losses: volume_summary.losses.clone(),
            warnings: warnings.into_iter().chain(boot.warnings.iter().cloned()).collect(),
            volume: volume_summary,
            boot,
            steps,
        };
        Ok(Self { recipe, source: name, tree, mbr, volume, partition, file, summary })
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What it comes to, for who wants no more than that.
    pub fn into_summary(self) -> Summary {
        self.summary
    }

    /// Writes the file: under a temporary name, and under its own once it is complete. Tells what it came to.
    pub fn build(self, threads: NonZeroUsize, control: &Control) -> Result<Summary> {
        control.expect(self.volume.summary().data_bytes);
        let output = OutputFile::create(&self.recipe.output, self.file.len(), self.recipe.force, control)?;
        self.file.write(&output, |disk| self.write_disk(disk, threads, control))?;
        drop((self.tree, self.volume)); // the check reads a tree of its own from what was written
        if self.recipe.verify {
            verify::made(&output).map_err(|error| error.context(self.recipe.output.display()))?;
        }
        output.keep()?;
        Ok(self.summary)
    }

    fn write_disk(&self, disk: &dyn Disk, threads: NonZeroUsize, control: &Control) -> Result<()> {
        disk.write_at(0, &self.mbr)?;
        let volume = Slice::of_disk(disk, self.partition.clone())?;
        let written = self.volume.write(&self.tree, &volume, threads, &|bytes| control.advance(bytes));
        written.map_err(|error| of_source(&self.source, error))
    }
}

/// The first sector, with one partition, from which a BIOS boots.
fn master_boot_record(signature: u32, partition: &Range<u64>, disk_len: u64) -> Result<[u8; mbr::MBR_LEN]> {
    let sectors = |bytes: u64| {
        u32::try_from(bytes / SECTOR).map_err(|_| {
            Error::unsupported("disk size")
                .found(format_args!("{disk_len} bytes"))
                .allowed("2 TiB, which is all that an MBR can describe")
        })
    };
    let only = mbr::Partition {
        active: true,
        kind: mbr::TYPE_NTFS,
        first_lba: sectors(partition.start)?,
        sectors: sectors(partition.end - partition.start)?,
    };
    mbr::Mbr { signature, partitions: [Some(only), None, None, None] }.to_bytes(disk_len / SECTOR)
}

/// All that will be written to the disk, as byte ranges.
fn used_ranges(volume: &ntfs::Plan, partition: &Range<u64>) -> Vec<Range<u64>> {
    let in_volume = volume.used().into_iter().map(|range| partition.start + range.start..partition.start + range.end);
    std::iter::once(0..SECTOR).chain(in_volume).collect()
}

/// The ids follow from what the image is: its source and the options that shape it. The file's name and its container are not
/// among them, so that a disk has one identity in every container.
fn seed_of(recipe: &Recipe, guid: Uuid, index: usize) -> Seed {
    if let Some(seed) = recipe.seed {
        return Seed::from_parts([&b"chosen"[..], &seed.to_le_bytes()]);
    }
    let number = |value: u64| value.to_le_bytes();
    let (index, cluster_size) = (number(index as u64), number(u64::from(recipe.cluster_size)));
    let size = number(recipe.size.unwrap_or(0));
    let edits = recipe.edits.fingerprint();
    let parts = [&b"derived"[..], guid.as_bytes(), &index, recipe.label.as_bytes(), &cluster_size, &size];
    Seed::from_parts(parts.into_iter().chain(edits.iter().map(Vec::as_slice)))
}

/// The latest modification in a tree: the stand-in for an image's own time where its source does not tell it.
pub(super) fn newest(tree: &Tree) -> FileTime {
    tree.nodes().iter().map(|node| node.times.modified).max().unwrap_or_default()
}

/// Names the source in errors that are its fault.
fn of_source(name: &str, error: Error) -> Error {
    match error.kind() {
        Kind::Corrupt | Kind::Truncated | Kind::Unsupported => error.context(name),
        Kind::NotWindows | Kind::NotBootable | Kind::WrongMachine => error.context(name),
        _ => error,
    }
}

/// Refuses a size that no disk of a hypervisor has.
fn check_size(size: u64) -> Result<()> {
    if size.is_multiple_of(MIB) {
        return Ok(());
    }
    let down = size / MIB;
    Err(Error::invalid("disk size")
        .found(format_args!("{size} bytes"))
        .allowed("whole MiB, as Hyper-V and Azure demand")
        .hint(format_args!("say --size {}M or --size {}M", down.max(1), down + 1)))
}

/// The size that was asked for; or 4 GiB, Nano Server's default, if that leaves a quarter free; or else twice the need in whole
/// GiB, since a Windows needs room to live in and a growing file does not pay for it.
fn disk_size(asked: Option<u64>, needed_volume: u64) -> Result<u64> {
    let beyond = || Error::unsupported("an image larger than any disk");
    let needed = needed_volume.checked_add(PARTITION_START + RESERVE_AT_END);
    let needed = needed.and_then(|needed| bytes::round_up(needed, MIB)).ok_or_else(beyond)?;
    match asked {
        Some(size) if size < needed => Err(Error::no_space("the disk is too small for the image", needed, size)
            .hint(format_args!("say --size {}M or more", needed / MIB))),
        Some(size) => Ok(size),
        None if needed <= NANO_DISK / 4 * 3 => Ok(NANO_DISK),
        None => needed.checked_mul(2).and_then(|twice| bytes::round_up(twice, GIB)).ok_or_else(beyond),
    }
}
