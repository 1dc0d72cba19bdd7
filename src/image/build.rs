//! From a source and a recipe to a plan, and from the plan to a disk.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use super::coverage::{self, Coverage, Setting};
use super::disk_file::{DiskFile, Identity, OpenDisk};
use super::edits::{self, Applied, Step};
use super::host::{self, OutputFile};
use super::layout::{Division, FileSystem, Firmware, Role, Slot};
use super::package;
use super::prepare::{self, Prepared};
use super::seed::Seed;
use super::source::refuse_lost;
use super::{Control, Format, Recipe, Source, verify};
use crate::base::{Disk, FileTime, Name, Slice};
use crate::error::{Context, Error, Kind, Result};
use crate::format::partitions::{self, Scheme, gpt, mbr};
use crate::format::{fat, ntfs};
use crate::tree::Tree;
use crate::windows::{About, Machine, boot};

const SECTOR: u64 = 512;

/// A disk that is laid out to the last byte, with nothing written yet.
pub struct ImagePlan<'r> {
    recipe: &'r Recipe,
    source: String,
    /// Pieces of the partition tables, and where they go.
    tables: Vec<(u64, Vec<u8>)>,
    volumes: Vec<Volume>,
    file: DiskFile,
    /// Whether it holds secrets, and is for nobody but its owner.
    private: bool,
    job: Option<package::Job>,
    summary: Summary,
}

/// A volume that is to be written, and the partition that it fills.
struct Volume {
    place: Range<u64>,
    content: Content,
}

enum Content {
    /// Laid out, to be written from the source as it is read.
    Ntfs { tree: Tree, plan: Box<ntfs::Plan> },
    /// Made in memory: what firmware starts is small.
    Fat(Box<fat::Image>),
}

impl Volume {
    /// The ranges of the disk that it writes.
    fn used(&self) -> Vec<Range<u64>> {
        let mut used = match &self.content {
            Content::Ntfs { plan, .. } => plan.used(),
            Content::Fat(image) => image.used(),
        };
        for range in &mut used {
            *range = self.place.start + range.start..self.place.start + range.end;
        }
        used
    }

    fn data_bytes(&self) -> u64 {
        match &self.content {
            Content::Ntfs { plan, .. } => plan.summary().data_bytes,
            Content::Fat(_) => 0,
        }
    }
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
    /// What was made of the disk, if it is more than a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<package::Report>,
    /// The commands to run next, for the target's machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next_steps: Vec<String>,
    /// Whether the target's machine will find its devices; nothing without a target, and if that cannot be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drivers: Option<Coverage>,
    /// What the disk will not carry although the source has it.
    pub losses: Vec<String>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

/// See [`Summary::image`].
#[derive(Debug, Clone, Serialize)]
pub struct ImageSummary {
    /// The source: a file, and on a medium the file on it.
    pub source: String,
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
        let Source { tree, info, guid, name, mut warnings, lost, packages } = source;
        if !recipe.accept_dirty {
            refuse_lost(lost, &warnings).context(|| &name)?;
        }
        let of_source = |error| of_source(&name, error);
        let timestamp = recipe.timestamp.or(info.modified).or(info.created).unwrap_or_else(|| newest(&tree));
        let seed = seed_of(recipe, guid, info.index);

        // Where partitions start, and what they are called, is known before their sizes are.
        let sketch = recipe.layout.divide(recipe.format, 0, recipe.size, &seed)?;
        let prepared = Prepared::new(tree, recipe, &sketch, &seed, timestamp).map_err(of_source)?;
        let Prepared { mut tree, mut system, mut recovery, machine, boot } = prepared;
        warnings.extend(boot.iter().flat_map(|boot| boot.warnings.iter().cloned()));
        let Applied { steps, warnings: of_edits, private, needs_test_signing, first_start_bytes } =
            recipe.edits.apply(&mut tree, timestamp)?;
        warnings.extend(of_edits);
        if needs_test_signing && !recipe.boot_settings().test_signing {
            warnings.push(format!("{}: --test-signing does that", edits::TEST_SIGNING));
        }

        let about = if recipe.target.is_some() { About::read(&tree) } else { None };
        let drivers = about.as_ref().and_then(|about| drivers(&tree, about, recipe, &packages, &mut warnings));
        let start = sketch.slot(Role::Windows).map_or(0, |slot| slot.range.start);
        let options = volume_options(recipe, &seed, timestamp, start, Role::Windows);
        let mut division = None;
        let room = if recipe.size.is_none() { first_start_bytes } else { 0 };
        let plan = ntfs::Plan::with_len(&tree, &options, |needed| {
            let made = recipe.layout.divide(recipe.format, needed.saturating_add(room), recipe.size, &seed)?;
            let place = made.slot(Role::Windows).map_or(0..0, |slot| slot.range.clone());
            division = Some(made);
            Ok(place.end - place.start)
        })
        .map_err(of_source)?;
        let division: Division = division.ok_or_else(|| Error::invalid("a plan of an unknown length"))?;
        recipe.target.map_or(Ok(()), |target| target.check_size(division.disk_bytes))?;

        let volume_summary = plan.summary().clone();
        warnings.extend(edits::little_room(first_start_bytes, volume_summary.free_bytes));
        let mut main = Some((tree, plan));
        let mut volumes = Vec::new();
        for slot in &division.slots {
            let place = slot.range.clone();
            let len = place.end - place.start;
            let tree = match slot.role {
                Role::Windows => {
                    let (tree, plan) = main.take().ok_or_else(|| Error::invalid("two partitions for the image"))?;
                    volumes.push(Volume { place, content: Content::Ntfs { tree, plan: Box::new(plan) } });
                    continue;
                }
                Role::System => system.take(),
                Role::Recovery => recovery.take(),
                Role::Reserved => continue,
            };
            let tree = tree.unwrap_or_else(|| prepare::empty(timestamp));
            let content = match slot.file_system {
                FileSystem::None => continue,
                FileSystem::Ntfs => {
                    let options = volume_options(recipe, &seed, timestamp, place.start, slot.role);
                    let plan = Box::new(ntfs::Plan::new(&tree, len, &options)?);
                    Content::Ntfs { tree, plan }
                }
                FileSystem::Fat32 => Content::Fat(fat_volume(&tree, recipe, slot, &seed, timestamp)?),
            };
            volumes.push(Volume { place, content });
        }
        let id = seed.guid("package");
        let job = job(recipe, id, about.map(package::Os::from).unwrap_or_default(), timestamp)?;
        let tables = tables(&division, recipe.layout.sector_size)?;
        let used = used_ranges(&tables, &volumes);
        let identity = Identity::derived(recipe.format, &seed, timestamp, recipe.layout.sector_size);
        let file = DiskFile::new(identity, division.disk_bytes, &used)?;
        let summary = Summary {
            image: ImageSummary {
                source: name.clone(),
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
            drivers,
            package: None,
            next_steps: Vec::new(),
        };
        Ok(Self { recipe, source: name, tables, volumes, file, private, job, summary })
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
        self.volumes.iter().map(Volume::data_bytes).sum()
    }
}

/// Writes several files from one reading of what their sources share. They get their names when all of them are complete and
/// checked.
pub fn build_all(plans: Vec<ImagePlan<'_>>, threads: NonZeroUsize, control: &Control) -> Result<Vec<Summary>> {
    control.expect(plans.iter().map(ImagePlan::data_bytes).sum());
    if plans.iter().any(|plan| plan.private) {
        control.keep_private();
    }
    let mut outputs = Vec::new();
    for plan in &plans {
        outputs.push(OutputFile::create(&plan.recipe.output, plan.file.len(), plan.recipe.force, control)?);
    }
    write_disks(&plans, &outputs, threads, control)?;

    let mut finished = Vec::new();
    for (plan, output) in plans.into_iter().zip(outputs) {
        let ImagePlan { recipe, volumes, file, job, mut summary, .. } = plan;
        drop(volumes); // the check reads a tree of its own from what was written
        let of_output = |error: Error| error.context(recipe.output.display());
        if recipe.verify {
            verify::made(&output).map_err(of_output)?;
        }
        let output = file.pack(output, threads, control)?;
        if recipe.verify && file.is_packed() {
            verify::packed(&output).map_err(of_output)?;
        }
        summary.output.file_bytes = Disk::len(&output);
        let files = match job {
            None => Files::Disk(output),
            Some(job) if recipe.package.is_none() => {
                let place = package::Place {
                    file: &summary.output.path,
                    bytes: summary.output.file_bytes,
                    catalog: None,
                    format: recipe.format,
                    compression: package::Compression::None,
                };
                summary.next_steps = package::next_steps(package::Package::Plain, &job.facts, &place);
                Files::Disk(output)
            }
            Some(job) => {
                let disk = package::Disk { file: &output, format: recipe.format, disk_bytes: summary.disk.bytes };
                Files::Package(Box::new(job.write(&disk, threads, control)?))
            }
        };
        finished.push((files, summary));
    }
    finished.into_iter().map(|(files, summary)| files.keep(summary)).collect()
}

/// What is complete but for its names.
enum Files<'c> {
    Disk(OutputFile<'c>),
    Package(Box<package::Made<'c>>),
}

impl Files<'_> {
    fn keep(self, mut summary: Summary) -> Result<Summary> {
        match self {
            Self::Disk(file) => file.keep()?,
            Self::Package(package) => {
                let report = package.keep()?;
                summary.output.file_bytes = report.bytes;
                summary.next_steps.clone_from(&report.next_steps);
                summary.package = Some(report);
            }
        }
        Ok(summary)
    }
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
            let window = Slice::of_disk(disk.disk(), volume.place.clone())?;
            match &volume.content {
                Content::Ntfs { tree, plan } => windows.push((tree, plan, window)),
                Content::Fat(image) => image.write(&window)?,
            }
        }
    }
    let targets: Vec<ntfs::Target<'_>> =
        windows.iter().map(|(tree, plan, disk)| ntfs::Target { plan, tree, disk }).collect();
    let written = ntfs::write_all(&targets, threads, &|bytes| control.advance(bytes));
    written.map_err(|error| of_source(plans.first().map_or("", |plan| &plan.source), error))?;
    disks.into_iter().try_for_each(OpenDisk::finish)
}

fn volume_options(recipe: &Recipe, seed: &Seed, created: FileTime, start: u64, role: Role) -> ntfs::Options {
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
        label: Name::from(if role == Role::Windows { recipe.label.as_str() } else { "" }),
        created,
        boot_code: Cow::Borrowed(if boots { ntfs::BOOT_CODE } else { &[] }),
    }
}

/// A partition that firmware reads.
fn fat_volume(tree: &Tree, recipe: &Recipe, slot: &Slot, seed: &Seed, created: FileTime) -> Result<Box<fat::Image>> {
    let sector = u64::from(recipe.layout.sector_size);
    let beyond = || Error::unsupported("a system partition beyond 2 TiB");
    let options = fat::Options {
        sector_size: sector,
        hidden_sectors: u32::try_from(slot.range.start / sector).map_err(|_| beyond())?,
        serial: seed.number("system volume serial") as u32,
        label: None,
        created,
        starts_bios: recipe.layout.firmware == Firmware::Both,
    };
    let len = slot.range.end - slot.range.start;
    let image = fat::Image::new(tree, len, &options).map_err(|error| match error.kind() {
        Kind::NoSpace => error.hint("say a larger --system-size"),
        _ => error,
    });
    image.map(Box::new).context(|| "system partition")
}

/// The sectors of the partition tables.
fn tables(division: &Division, sector: u32) -> Result<Vec<(u64, Vec<u8>)>> {
    match division.scheme {
        Scheme::Mbr { signature } => {
            let record = master_boot_record(signature, &division.slots, division.disk_bytes, u64::from(sector))?;
            Ok(vec![(0, record.to_vec())])
        }
        Scheme::Gpt { disk } => {
            let partitions: Vec<gpt::NewPartition> = division.slots.iter().map(entry).collect();
            gpt::to_sectors(division.disk_bytes, u64::from(sector), disk, &partitions)
        }
        Scheme::None => Ok(Vec::new()),
    }
}

fn entry(slot: &Slot) -> gpt::NewPartition {
    gpt::NewPartition {
        kind: match slot.kind {
            partitions::Kind::Gpt(kind) => kind,
            partitions::Kind::Mbr(_) | partitions::Kind::Bare => partitions::TYPE_BASIC_DATA,
        },
        id: slot.id,
        range: slot.range.clone(),
        attributes: slot.attributes,
        name: slot.name.into(),
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
    let mut entries = [const { None }; 4];
    for (place, slot) in entries.iter_mut().zip(slots) {
        let partitions::Kind::Mbr(kind) = slot.kind else { continue };
        *place = Some(mbr::Partition {
            active: slot.active,
            kind,
            first_lba: sectors(slot.range.start)?,
            sectors: sectors(slot.range.end - slot.range.start)?,
        });
    }
    mbr::Mbr { signature, partitions: entries }.to_bytes(disk_len / sector)
}

/// All that will be written to the disk, as byte ranges.
fn used_ranges(tables: &[(u64, Vec<u8>)], volumes: &[Volume]) -> Vec<Range<u64>> {
    let tables = tables.iter().map(|(at, sectors)| *at..at + sectors.len() as u64);
    let volumes = volumes.iter().flat_map(Volume::used);
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

/// The machine that the target is, and the package for it.
fn job(recipe: &Recipe, id: Uuid, os: package::Os, timestamp: FileTime) -> Result<Option<package::Job>> {
    let Some(target) = recipe.target else {
        return match recipe.package {
            None => Ok(None),
            Some(_) => {
                Err(Error::invalid("a package for no machine in particular").hint("say for which with --target"))
            }
        };
    };
    let plain = (package::Package::Plain, package::Wishes::default());
    let (package, wishes) = recipe.package.as_ref().unwrap_or(&plain);
    let firmware = recipe.layout.firmware;
    let job = wishes.job(*package, target, &recipe.output, recipe.force, firmware, id, os, timestamp);
    if recipe.package.is_some() {
        job.check()?;
    }
    Ok(Some(job))
}

/// Whether the machine will find the devices that it shows. What it will not find, and that this cannot be told, is a warning: drivers
/// may be added to the image later.
fn drivers(
    tree: &Tree,
    about: &About,
    recipe: &Recipe,
    packages: &[String],
    warnings: &mut Vec<String>,
) -> Option<Coverage> {
    let target = recipe.target.filter(|target| !target.devices.is_empty())?;
    let wishes = recipe.package.as_ref().map(|(_, wishes)| wishes);
    let judged = coverage::judge(tree, about, &[target], Setting { packages, wishes });
    match judged.unwrap_or_else(|error| Err(format!("drivers cannot be judged: {error}"))) {
        Ok(mut coverages) => {
            let mut coverage = coverages.pop()?;
            warnings.extend(coverage.warnings());
            coverage.devices.retain(|covered| covered.shown);
            Some(coverage)
        }
        Err(reason) => {
            warnings.push(reason);
            None
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
