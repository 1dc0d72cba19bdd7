//! A package out of a disk that exists.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::super::convert::{self, Conversion};
use super::super::host::{Guard, InputFile};
use super::super::layout::Firmware;
use super::super::opened::Opened;
use super::super::{Control, Format, Target};
use super::{Disk, Job, Os, Package, Report, Wishes};
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::format::partitions::{Scheme, Table};
use crate::windows::About;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The disk.
    pub image: PathBuf,
    /// What is made of it.
    pub package: Package,
    /// The platform.
    pub target: &'static Target,
    /// Where it goes.
    pub output: PathBuf,
    /// Whether existing outputs may be replaced.
    pub force: bool,
    /// What is said of the machine and the package.
    pub wishes: Wishes,
    /// The time of what is in it; else the year 2000.
    pub timestamp: Option<FileTime>,
}

/// A package that can be made.
pub struct Packing {
    opened: Opened,
    job: Job,
    format: Format,
    warnings: Vec<String>,
}

impl Packing {
    /// Opens the disk and finds out what machine it is for.
    pub fn new(request: &Request) -> Result<Self> {
        let opened = Opened::open(&request.image)?;
        opened.refuse_output(&request.output)?;
        let mut warnings = Vec::new();
        let wishes = &request.wishes;
        let firmware = firmware(&opened.table()?);
        let id = convert::seed_of(&opened, Format::Raw)?.guid("package");
        let timestamp = request.timestamp.unwrap_or(FileTime::from_vhd(0));
        let os = about(&opened, &mut warnings);
        let job =
            wishes.job(request.package, request.target, &request.output, request.force, firmware, id, os, timestamp);
        job.check()?;
        let format = job.package.format(request.target).map_or_else(|| named_format(&job), Ok)?;
        Ok(Self { opened, job, format, warnings })
    }

    /// Makes it: puts the disk into the container that the package has, in a folder beside the output that is gone afterwards, and
    /// packs that. Gives what is worth knowing, too.
    pub fn run(mut self, threads: NonZeroUsize, control: &Control) -> Result<(Report, Vec<String>)> {
        let format = self.format;
        let _guard = Guard::new(control);
        let folder = scratch(&self.job.output)?;
        let request = convert::Request {
            image: self.opened.path.clone(),
            output: folder.path().join(format!("disk.{}", format.extension())),
            format,
            created: Some(self.job.facts.timestamp),
            force: false,
        };
        let mut conversion = Conversion::new(&request, control)?;
        conversion.run(threads, control)?;
        self.warnings.extend(conversion.summary().warnings.iter().cloned());
        let file = InputFile::open(&request.output)?;
        let disk = Disk { file: &file, format, disk_bytes: conversion.summary().new_disk_bytes };
        let report = self.job.run(&disk, threads, control)?;
        drop(file);
        folder.close().map_err(|e| Error::io("the folder of the disk in between cannot be removed", e))?;
        Ok((report, self.warnings))
    }
}

/// A folder for files that are larger than the system's own folder for such may hold.
fn scratch(output: &Path) -> Result<tempfile::TempDir> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".nanovhd-").suffix(".nanovhd-partial").tempdir_in(folder);
    made.map_err(|e| Error::io("no folder for the disk in between can be made", e)).context(|| folder.display())
}

/// The container of a plain disk: of those that the target takes, its usual one if the output's name allows it.
fn named_format(job: &Job) -> Result<Format> {
    let target = job.facts.target;
    let compressed = job.compression.extension();
    let name = job.output.to_string_lossy().to_ascii_lowercase();
    let plain = match compressed {
        Some(end) => name.strip_suffix(&format!(".{end}")).unwrap_or_default(),
        None => &name,
    };
    let named = |format: &&Format| {
        let end = plain.rsplit('.').next().unwrap_or_default();
        end == format.extension() || (**format == Format::Raw && end == "raw")
    };
    std::iter::once(&target.format).chain(&target.accepts).find(named).copied().ok_or_else(|| {
        let compressed = compressed.map_or(String::new(), |end| format!(".{end}"));
        let mut ends: Vec<String> =
            target.accepts.iter().map(|format| format!("*.{}{compressed}", format.extension())).collect();
        ends.dedup();
        Error::invalid(format_args!("the output's name does not say that it is a disk which {} takes", target.name))
            .found(job.output.display())
            .allowed(ends.join(", "))
            .hint("rename the output, or choose another target or compression")
    })
}

/// What starts a disk, by how it is divided.
fn firmware(table: &Table) -> Firmware {
    match table.scheme {
        Scheme::None => Firmware::None,
        Scheme::Gpt { .. } => Firmware::Uefi,
        Scheme::Mbr { .. } if table.partitions.iter().any(|partition| partition.kind.is_efi_system()) => Firmware::Uefi,
        Scheme::Mbr { .. } => Firmware::Bios,
    }
}

/// The Windows on the disk, as far as it can be read.
fn about(opened: &Opened, warnings: &mut Vec<String>) -> Os {
    let contents = opened.volume(None).and_then(|(_, volume)| volume.read());
    match contents.map(|contents| About::read(&contents.tree)) {
        Ok(Some(about)) => about.into(),
        Ok(None) => {
            warnings.push("no Windows was found on the disk; the package says that it is a Windows Server 2016".into());
            Os::default()
        }
        Err(error) => {
            warnings.push(format!("{error}; the package says that it is a Windows Server 2016"));
            Os::default()
        }
    }
}
