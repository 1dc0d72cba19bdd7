//! What `nanovhd info` says of a disk.

use serde::Serialize;

use super::{Env, bcd, output};
use crate::error::Result;
use crate::format::bcd::Store;
use crate::format::partitions::{
    self, Kind, Partition, Scheme, TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, TYPE_EFI_SYSTEM_MBR, TYPE_MICROSOFT_RESERVED,
    TYPE_PROTECTIVE, TYPE_RECOVERY, TYPES_EXTENDED, Table,
};
use crate::format::{fat, ntfs, vdi, vhd, vhdx, vmdk};
use crate::image::opened::{self, Container, Opened};
use crate::tree::Tree;
use crate::windows::boot::STORES;
use crate::windows::{About, registry};

#[derive(Serialize)]
struct Report {
    container: &'static str,
    /// The file, and those below it if it is a differencing disk.
    files: Vec<File>,
    /// The id that the container has for the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The size of the disk, as a machine sees it.
    bytes: u64,
    sector_size: u32,
    /// `MBR`, `GPT`, `none` where it is one volume, or `empty` where nothing is on it.
    scheme: &'static str,
    /// The MBR's signature or the GPT's GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_id: Option<String>,
    partitions: Vec<Part>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct File {
    path: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Part {
    number: u32,
    start: u64,
    bytes: u64,
    #[serde(rename = "type")]
    kind: String,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<VolumeFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<About>,
    /// What its boot menu shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    boot: Vec<String>,
}

#[derive(Serialize)]
struct VolumeFacts {
    file_system: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ntfs: Option<NtfsFacts>,
}

#[derive(Serialize)]
struct NtfsFacts {
    label: String,
    serial: String,
    cluster_size: u32,
    sector_size: u32,
    bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
    dirty: bool,
    created: String,
}

/// Prints what the disk is; with `only`, no other partition than that.
pub(super) fn info(disk: &Opened, only: Option<u32>, json: bool, env: &mut Env<'_>) -> Result<()> {
    let report = Report::new(disk, only)?;
    if json { output::json(env, &report) } else { report.print(env) }
}

impl Report {
    fn new(disk: &Opened, only: Option<u32>) -> Result<Self> {
        let table = match disk.table() {
            Err(_) if is_blank(disk) => Table { scheme: Scheme::None, partitions: Vec::new() },
            table => table?,
        };
        let (scheme, disk_id) = match table.scheme {
            Scheme::None if table.partitions.is_empty() => ("empty", None),
            Scheme::None => ("none", None),
            Scheme::Mbr { signature } => ("MBR", Some(format!("{signature:08x}"))),
            Scheme::Gpt { disk } => ("GPT", Some(disk.braced().to_string())),
        };
        let mut warnings = Vec::new();
        let wanted = match only {
            Some(number) => std::slice::from_ref(opened::numbered(&table, number)?),
            None => &table.partitions,
        };
        let partitions = wanted.iter().map(|partition| Part::new(disk, partition, &mut warnings)).collect();
        let file = |layer: &crate::image::opened::Layer| File {
            path: layer.path.display().to_string(),
            bytes: layer.file.len(),
        };
        Ok(Self {
            container: container(disk.container),
            files: disk.layers.iter().map(file).collect(),
            id: disk.id.map(|id| id.braced().to_string()),
            bytes: disk.disk.len(),
            sector_size: disk.sector_size,
            scheme,
            disk_id,
            partitions,
            warnings,
        })
    }

    fn print(&self, env: &mut Env<'_>) -> Result<()> {
        let out = &mut *env.stdout;
        let mut say = |name: &str, text: String| output::line(out, format_args!("{name:<10} {text}"));
        for (index, file) in self.files.iter().enumerate() {
            say(if index == 0 { "file" } else { "parent" }, format!("{}, {}", file.path, output::bytes(file.bytes)))?;
        }
        let id = self.id.as_deref().map_or_else(String::new, |id| format!(", id {id}"));
        say("container", format!("{}{id}", self.container))?;
        let disk_id = self.disk_id.as_deref().map_or_else(String::new, |id| format!(", id {id}"));
        let table = match self.scheme {
            "empty" => "empty, without a partition table".to_owned(),
            "none" => "one volume, without a partition table".to_owned(),
            scheme => format!("{}, {scheme} table{disk_id}", output::count(self.partitions.len(), "partition")),
        };
        say("disk", format!("{}, {table}, sectors of {}", output::bytes(self.bytes), self.sector_size))?;
        for part in &self.partitions {
            output::line(out, format_args!(""))?;
            let mut say = |name: &str, text: String| output::line(out, format_args!("{name:<10} {text}"));
            part.rows().into_iter().try_for_each(|(name, text)| say(name, text))?;
        }
        output::warnings(env, &self.warnings)
    }
}

/// Whether nothing is where a partition table or a volume begins: a new disk.
fn is_blank(disk: &Opened) -> bool {
    let mut start = [0; 4096];
    let start = &mut start[..disk.disk.len().min(4096) as usize];
    !start.is_empty() && disk.disk.read_at(0, start).is_ok() && start.iter().all(|byte| *byte == 0)
}

impl Part {
    fn new(disk: &Opened, partition: &Partition, warnings: &mut Vec<String>) -> Self {
        let mut part = Self {
            number: partition.number,
            start: partition.range.start,
            bytes: partition.range.end.saturating_sub(partition.range.start),
            kind: kind(partition.kind),
            active: partition.active,
            id: partition.id.map(|id| id.braced().to_string()),
            volume: None,
            windows: None,
            boot: Vec::new(),
        };
        let mut note = |text: String| warnings.push(format!("partition {}: {text}", partition.number));
        match part.look(disk, partition) {
            Ok(notes) => notes.into_iter().for_each(&mut note),
            Err(error) => note(error.to_string()),
        }
        part
    }

    /// Looks at the volume and what is on it. Gives what is odd.
    fn look(&mut self, disk: &Opened, partition: &Partition) -> Result<Vec<String>> {
        let window = disk.partition(partition)?;
        let mut sector = vec![0; 512.min(window.len() as usize)];
        window.read_at(0, &mut sector)?;
        if sector.get(3..11) == Some(b"NTFS    ") {
            let volume = ntfs::read::Volume::open(window)?;
            self.volume = Some(VolumeFacts::of_ntfs(volume.facts()));
            let contents = volume.read()?;
            return Ok([contents.notes, self.look_at_files(&contents.tree)].concat());
        }
        if fat::is_fat(&sector) {
            self.volume = Some(VolumeFacts { file_system: "FAT".into(), ntfs: None });
            let contents = fat::Volume::open(window)?.read()?;
            return Ok([contents.notes, self.look_at_files(&contents.tree)].concat());
        }
        Ok(Vec::new())
    }

    fn look_at_files(&mut self, tree: &Tree) -> Vec<String> {
        let mut notes = Vec::new();
        self.windows = About::read(tree);
        if let Some(about) = &mut self.windows {
            notes.append(&mut about.notes);
        }
        for path in STORES {
            let store = registry::read_hive(tree, path).and_then(|hive| hive.as_ref().map(Store::read).transpose());
            match store {
                Ok(Some(store)) => self.boot.extend(bcd::menu(&store)),
                Ok(None) => {}
                Err(error) => notes.push(format!("{path}: {error}")),
            }
        }
        notes
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let active = if self.active { ", active" } else { "" };
        let id = self.id.as_deref().map_or_else(String::new, |id| format!(", id {id}"));
        let place = format!(
            "{}: {} at {}, {}{active}{id}",
            self.number,
            output::bytes(self.bytes),
            output::bytes(self.start),
            self.kind
        );
        let mut rows = vec![("partition", place)];
        if let Some(volume) = &self.volume {
            rows.push(("  volume", volume.words()));
        }
        if let Some(about) = &self.windows {
            rows.push(("  windows", windows(about)));
            if let Some(name) = &about.computer_name {
                rows.push(("  computer", name.clone()));
            }
        }
        rows.extend(self.boot.iter().map(|entry| ("  boot", entry.clone())));
        rows
    }
}

impl VolumeFacts {
    fn of_ntfs(facts: &ntfs::read::Facts) -> Self {
        let (major, minor) = facts.version;
        let ntfs = NtfsFacts {
            label: facts.label.to_string(),
            serial: format!("{:016x}", facts.serial),
            cluster_size: facts.cluster_size,
            sector_size: facts.sector_size,
            bytes: facts.len,
            used_bytes: facts.len.saturating_sub(facts.free_bytes),
            free_bytes: facts.free_bytes,
            dirty: facts.dirty,
            created: facts.created.to_string(),
        };
        Self { file_system: format!("NTFS {major}.{minor}"), ntfs: Some(ntfs) }
    }

    fn words(&self) -> String {
        let Some(ntfs) = &self.ntfs else { return self.file_system.clone() };
        format!(
            "{}, label {:?}, serial {}, clusters of {}, {} used, {} free{}",
            self.file_system,
            ntfs.label,
            ntfs.serial,
            output::bytes(ntfs.cluster_size.into()),
            output::bytes(ntfs.used_bytes),
            output::bytes(ntfs.free_bytes),
            if ntfs.dirty { ", marked as dirty" } else { "" }
        )
    }
}

/// An installation in a line.
fn windows(about: &About) -> String {
    let parts = [
        about.product_name.clone(),
        about.edition.clone(),
        about.version.map(|version| version.to_string()),
        about.machine.map(|machine| machine.to_string()),
        about.installation_type.clone(),
        Some(about.languages.join(" ")).filter(|languages| !languages.is_empty()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "of an unknown kind".into() } else { parts.join(", ") }
}

fn container(container: Container) -> &'static str {
    match container {
        Container::Raw => "raw",
        Container::Vhd(vhd::Variant::Fixed) => "VHD, fixed",
        Container::Vhd(vhd::Variant::Dynamic { .. }) => "VHD, dynamic",
        Container::Vhd(vhd::Variant::Differencing { .. }) => "VHD, differencing",
        Container::Vhdx(vhdx::Variant::Fixed { .. }) => "VHDX, fixed",
        Container::Vhdx(vhdx::Variant::Dynamic { .. }) => "VHDX, dynamic",
        Container::Vhdx(vhdx::Variant::Differencing { .. }) => "VHDX, differencing",
        Container::Vdi(vdi::Variant::Fixed) => "VDI, fixed",
        Container::Vdi(vdi::Variant::Dynamic) => "VDI, dynamic",
        Container::Qcow2 { snapshots: 0 } => "qcow2",
        Container::Qcow2 { .. } => "qcow2 with internal snapshots",
        Container::Vmdk(vmdk::Variant::Sparse) => "VMDK, sparse",
        Container::Vmdk(vmdk::Variant::StreamOptimized) => "VMDK, stream-optimized",
    }
}

/// What a partition is said to hold.
fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bare => "the volume is all there is".into(),
        Kind::Mbr(byte) => match byte {
            partitions::mbr::TYPE_NTFS => "NTFS (07)".into(),
            0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => format!("FAT ({byte:02x})"),
            0x27 => "recovery (27)".into(),
            TYPE_EFI_SYSTEM_MBR => "EFI system (ef)".into(),
            TYPE_PROTECTIVE => "GPT, protected (ee)".into(),
            _ if TYPES_EXTENDED.contains(&byte) => format!("extended ({byte:02x})"),
            _ => format!("type {byte:02x}"),
        },
        Kind::Gpt(id) => {
            let names = [
                (TYPE_EFI_SYSTEM, "EFI system"),
                (TYPE_MICROSOFT_RESERVED, "Microsoft reserved"),
                (TYPE_BASIC_DATA, "basic data"),
                (TYPE_RECOVERY, "recovery"),
            ];
            let known = names.iter().find(|(known, _)| *known == id);
            known.map_or_else(|| format!("type {}", id.braced()), |(_, name)| (*name).to_owned())
        }
    }
}
