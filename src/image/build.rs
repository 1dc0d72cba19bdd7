//! From a source and a recipe to a plan, and from the plan to a disk.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use super::disk_file::{DiskFile, Identity, OpenDisk};
use super::edits::Step;
use super::host::{self, OutputFile};
use super::layout::{Division, FileSystem, Firmware, Role, Slot};
use super::seed::Seed;
use super::source::refuse_lost;
use super::{Control, Format, Recipe, Source, verify};
use crate::base::{Disk, FileTime, Name, Slice};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs;
use crate::format::partitions::{Scheme, mbr};
use crate::tree::{Node, Tree};
use crate::windows::{Machine, Windows, boot};

const SECTOR: u64 = 512;

/// A disk that is laid out to the last byte, with nothing written yet.
pub struct ImagePlan<'r> {
    recipe: &'r Recipe,
    source: String,
    /// Pieces of the partition tables, and where they go.
    tables: Vec<(u64, Vec<u8>)>,
    volumes: Vec<Volume>,
    file: DiskFile,
    summary: Summary,
}

/// A volume that is to be written, and the partition that it fills.
struct Volume {
    place: Range<u64>,
    tree: Tree,
    plan: ntfs::Plan,
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
    /// What was put in place so that it boots; nothing if no firmware starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<boot::Installed>,
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
    /// The processor; none if it is no Windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
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
    /// The size of its sectors.
    pub sector_size: u32,
    /// What starts it.
    pub firmware: Firmware,
    /// How it is divided: `MBR` or `GPT`.
    pub scheme: &'static str,
    /// The MBR's disk signature, or the GPT's GUID.
    pub id: String,
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
    /// What it is for.
    pub role: Role,
    /// Its file system.
    pub file_system: FileSystem,
    /// Whether a BIOS boots from it.
    pub active: bool,
    /// Its GUID, in a GPT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The label of its volume.
    pub label: String,
}

impl<'r> ImagePlan<'r> {
    /// Lays everything out. What does not fit, or cannot be, is said here, before anything is written.
    pub fn new(source: Source, recipe: &'r Recipe) -> Result<Self> {
        host::check_target(&recipe.output, recipe.force)?;
        recipe.layout.check(recipe.size)?;
        let Source { tree, info, guid, name, mut warnings, lost } = source;
        if !recipe.accept_dirty {
            refuse_lost(lost, &warnings).context(|| &name)?;
        }
        let of_source = |error| of_source(&name, error);
        let timestamp = recipe.timestamp.or(info.modified).or(info.created).unwrap_or_else(|| newest(&tree));
        let seed = seed_of(recipe, guid, info.index);

        let Prepared { mut tree, machine, boot } = Prepared::new(tree, recipe, &seed, timestamp).map_err(of_source)?;
        warnings.extend(boot.iter().flat_map(|boot| boot.warnings.iter().cloned()));
        let steps = recipe.edits.apply(&mut tree, timestamp)?;

        let start = recipe.layout.windows_start(recipe.format);
        let options = volume_options(recipe, &seed, timestamp, start, &recipe.label, Role::Windows);
        let mut division = None;
        let plan = ntfs::Plan::with_len(&tree, &options, |needed| {
            let made = recipe.layout.divide(recipe.format, needed, recipe.size, &seed)?;
            let place = made.slot(Role::Windows).map_or(0..0, |slot| slot.range.clone());
            division = Some(made);
            Ok(place.end - place.start)
        })
        .map_err(of_source)?;
        let division: Division = division.ok_or_else(|| Error::invalid("a plan of an unknown length"))?;
        recipe.target.map_or(Ok(()), |target| target.check_size(division.disk_bytes))?;

        let volume_summary = plan.summary().clone();
        let mut main = Some((tree, plan));
        let mut volumes = Vec::new();
        for slot in &division.slots {
            let (tree, plan) = match (slot.role, slot.file_system) {
                (_, FileSystem::None) => continue,
                (Role::Windows, _) => main.take().ok_or_else(|| Error::invalid("two partitions for the image"))?,
                (role, FileSystem::Ntfs) => {
                    let tree = empty(timestamp);
                    let options = volume_options(recipe, &seed, timestamp, slot.range.start, "", role);
                    let plan = ntfs::Plan::new(&tree, slot.range.end - slot.range.start, &options)?;
                    (tree, plan)
                }
                (_, FileSystem::Fat32) => return Err(Error::unsupported("FAT32")),
            };
            volumes.push(Volume { place: slot.range.clone(), tree, plan });
        }
        let tables = tables(&division, recipe.layout.sector_size)?;
        let used = used_ranges(&tables, &volumes);
        let identity = Identity::derived(recipe.format, &seed, timestamp, recipe.layout.sector_size)?;
        let file = DiskFile::new(identity, division.disk_bytes, &used)?;
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
            disk: DiskSummary::new(&division, recipe),
            losses: volume_summary.losses.clone(),
            warnings,
            volume: volume_summary,
            boot,
            steps,
        };
        Ok(Self { recipe, source: name, tables, volumes, file, summary })
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
        let mut summaries = build_all(vec![self], threads, control)?;
        Ok(summaries.remove(0))
    }

    fn data_bytes(&self) -> u64 {
        self.volumes.iter().map(|volume| volume.plan.summary().data_bytes).sum()
    }
}

/// Writes several files from one reading of what their sources share. They get their names when all of them are complete and
/// checked.
pub fn build_all(plans: Vec<ImagePlan<'_>>, threads: NonZeroUsize, control: &Control) -> Result<Vec<Summary>> {
    control.expect(plans.iter().map(ImagePlan::data_bytes).sum());
    let mut outputs = Vec::new();
    for plan in &plans {
        outputs.push(OutputFile::create(&plan.recipe.output, plan.file.len(), plan.recipe.force, control)?);
    }
    write_disks(&plans, &outputs, threads, control)?;

    let mut finished = Vec::new();
    let mut summaries = Vec::new();
    for (plan, output) in plans.into_iter().zip(outputs) {
        let ImagePlan { recipe, volumes, file, mut summary, .. } = plan;
        drop(volumes); // the check reads a tree of its own from what was written
        let of_output = |error: Error| error.context(recipe.output.display());
        if recipe.verify {
            verify::made(&output).map_err(of_output)?;
        }
        let output = file.pack(output, threads, control)?;
        if recipe.verify && recipe.format.is_packed() {
            verify::packed(&output).map_err(of_output)?;
        }
        summary.output.file_bytes = Disk::len(&output);
        finished.push(output);
        summaries.push(summary);
    }
    finished.into_iter().try_for_each(OutputFile::keep)?;
    Ok(summaries)
}

/// Writes all disks, each into its container.
fn write_disks(
    plans: &[ImagePlan<'_>],
    outputs: &[OutputFile<'_>],
    threads: NonZeroUsize,
    control: &Control,
) -> Result<()> {
    let mut disks = Vec::new();
    for (plan, output) in plans.iter().zip(outputs) {
        disks.push(plan.file.open(output)?);
    }
    let mut windows = Vec::new();
    for (plan, disk) in plans.iter().zip(&disks) {
        plan.tables.iter().try_for_each(|(at, sectors)| disk.disk().write_at(*at, sectors))?;
        for volume in &plan.volumes {
            windows.push((volume, Slice::of_disk(disk.disk(), volume.place.clone())?));
        }
    }
    let targets: Vec<ntfs::Target<'_>> =
        windows.iter().map(|(volume, disk)| ntfs::Target { plan: &volume.plan, tree: &volume.tree, disk }).collect();
    let written = ntfs::write_all(&targets, threads, &|bytes| control.advance(bytes));
    written.map_err(|error| of_source(plans.first().map_or("", |plan| &plan.source), error))?;
    disks.into_iter().try_for_each(OpenDisk::finish)
}

/// An image with all that it needs to boot.
struct Prepared {
    tree: Tree,
    machine: Option<Machine>,
    boot: Option<boot::Installed>,
}

impl Prepared {
    fn new(tree: Tree, recipe: &Recipe, seed: &Seed, timestamp: FileTime) -> Result<Self> {
        let mut windows = Windows::recognise(tree)?;
        let options = boot::Options::located(seed.guid("BCD loader"), seed.guid("BCD resume"), timestamp);
        let boot = match recipe.layout.firmware {
            Firmware::Bios if !recipe.layout.separate_system => Some(boot::install_bios(&mut windows, &options)?),
            Firmware::None => None,
            _ => return Err(Error::unsupported("this firmware")),
        };
        Ok(Self { machine: Some(windows.machine()), tree: windows.into_tree(), boot })
    }
}

/// A tree with nothing in it.
fn empty(now: FileTime) -> Tree {
    Tree::new(Node::directory(0, crate::tree::Times::all(now)))
}

fn volume_options(
    recipe: &Recipe,
    seed: &Seed,
    created: FileTime,
    start: u64,
    label: &str,
    role: Role,
) -> ntfs::Options {
    let sector = recipe.layout.sector_size;
    // A BIOS has no sectors of another size, and boot records no use elsewhere.
    let boots = u64::from(sector) == SECTOR && matches!(recipe.layout.firmware, Firmware::Bios);
    ntfs::Options {
        cluster_size: recipe.cluster_size,
        sector_size: sector,
        hidden_sectors: start / u64::from(sector),
        serial: seed.number(match role {
            Role::System => "system volume serial",
            Role::Recovery => "recovery volume serial",
            Role::Windows | Role::Reserved => "volume serial",
        }),
        label: Name::from(label),
        created,
        boot_code: Cow::Borrowed(if boots { ntfs::BOOT_CODE } else { &[] }),
    }
}

/// The sectors of the partition tables.
fn tables(division: &Division, sector: u32) -> Result<Vec<(u64, Vec<u8>)>> {
    match division.scheme {
        Scheme::Mbr { signature } => {
            let record = master_boot_record(signature, &division.slots, division.disk_bytes, u64::from(sector))?;
            Ok(vec![(0, record.to_vec())])
        }
        Scheme::Gpt { .. } | Scheme::None => Err(Error::unsupported("GPT")),
    }
}

/// The first sector of a disk that a BIOS can read.
fn master_boot_record(signature: u32, slots: &[Slot], disk_len: u64, sector: u64) -> Result<[u8; mbr::MBR_LEN]> {
    let sectors = |bytes: u64| {
        u32::try_from(bytes / sector).map_err(|_| {
            Error::unsupported("disk size")
                .found(format_args!("{disk_len} bytes"))
                .allowed("2 TiB, which is all that an MBR can describe")
        })
    };
    let mut partitions = [const { None }; 4];
    for (place, slot) in partitions.iter_mut().zip(slots) {
        let crate::format::partitions::Kind::Mbr(kind) = slot.kind else { continue };
        *place = Some(mbr::Partition {
            active: slot.active,
            kind,
            first_lba: sectors(slot.range.start)?,
            sectors: sectors(slot.range.end - slot.range.start)?,
        });
    }
    mbr::Mbr { signature, partitions }.to_bytes(disk_len / sector)
}

/// All that will be written to the disk, as byte ranges.
fn used_ranges(tables: &[(u64, Vec<u8>)], volumes: &[Volume]) -> Vec<Range<u64>> {
    let tables = tables.iter().map(|(at, sectors)| *at..at + sectors.len() as u64);
    let volumes = volumes.iter().flat_map(|Volume { place, plan, .. }| {
        plan.used().into_iter().map(|range| place.start + range.start..place.start + range.end)
    });
    tables.chain(volumes).collect()
}

impl DiskSummary {
    fn new(division: &Division, recipe: &Recipe) -> Self {
        let (scheme, id) = match &division.scheme {
            Scheme::Mbr { signature } => ("MBR", format!("{signature:08x}")),
            Scheme::Gpt { disk } => ("GPT", disk.to_string()),
            Scheme::None => ("none", String::new()),
        };
        let gpt = matches!(division.scheme, Scheme::Gpt { .. });
        let partitions = division.slots.iter().map(|slot| PartitionSummary {
            start: slot.range.start,
            bytes: slot.range.end - slot.range.start,
            role: slot.role,
            file_system: slot.file_system,
            active: slot.active,
            id: gpt.then_some(slot.id),
            label: if slot.role == Role::Windows { recipe.label.clone() } else { String::new() },
        });
        Self {
            bytes: division.disk_bytes,
            sector_size: recipe.layout.sector_size,
            firmware: recipe.layout.firmware,
            scheme,
            id,
            partitions: partitions.collect(),
        }
    }
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
    let mut edits = recipe.edits.fingerprint();
    edits.extend(recipe.layout.fingerprint());
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
