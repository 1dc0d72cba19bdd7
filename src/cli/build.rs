//! `nanovhd build`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::args::{self, Build, DiskArgs};
use super::{Env, output, progress};
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::image::layout::{FileSystem, Role};
use crate::image::{Format, ImagePlan, Input, Recipe, Source, Summary, host};

pub(super) fn run(command: &Build, json: bool, env: &mut Env<'_>) -> Result<()> {
    let mut recipe = recipe(&command.output, &command.disk, false, env)?;
    recipe.edits = super::edit::edits(&command.edits)?;
    recipe.accept_dirty = command.accept_dirty;
    let name = command.wim.display().to_string();
    let source = match Input::open(&command.wim, command.parts.as_deref())? {
        Input::Wim(wim) => {
            if command.check_integrity {
                super::info::check_integrity(&wim, env).context(|| &name)?;
            }
            Source::of_wim(&wim, &name, &command.image)?
        }
        Input::Disk(_) if command.check_integrity => {
            return Err(Error::invalid("a disk has no integrity table; `nanovhd verify` checks it").context(name));
        }
        Input::Disk(disk) => {
            disk.refuse_output(&command.output)?;
            Source::of_disk(&disk, &name, None)?
        }
    };
    make(source, &recipe, &command.disk, json, env)?;
    Ok(())
}

/// The recipe that the arguments amount to. `replace` allows an existing output to be replaced even without `--force`.
pub(super) fn recipe(output: &Path, disk: &DiskArgs, replace: bool, env: &Env<'_>) -> Result<Recipe> {
    host::check_target(output, disk.force || replace)?;
    let format = disk.format.map_or_else(|| Format::of_path(output), |format| Ok(format.into()))?;
    let timestamp = timestamp(disk.timestamp, env)?;
    Ok(Recipe {
        force: disk.force || replace,
        format,
        size: disk.size,
        label: disk.label.clone(),
        cluster_size: disk.cluster_size,
        seed: disk.seed,
        timestamp,
        verify: !disk.no_verify,
        ..Recipe::new(output)
    })
}

/// The moment that was asked for: by the argument, else by SOURCE_DATE_EPOCH.
pub(super) fn timestamp(asked: Option<FileTime>, env: &Env<'_>) -> Result<Option<FileTime>> {
    let Some(text) = env.source_date_epoch.as_ref().filter(|_| asked.is_none()) else { return Ok(asked) };
    let invalid = |why| Error::invalid(format_args!("SOURCE_DATE_EPOCH: {why}")).found(format_args!("'{text}'"));
    args::timestamp(text).map(Some).map_err(invalid)
}

/// What a build or a dry run tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    built: bool,
    seconds: f64,
    #[serde(flatten)]
    summary: &'s Summary,
}

/// Plans, and builds unless it is a dry run; tells what came of it. Whether a disk was made is the result.
pub(super) fn make(source: Source, recipe: &Recipe, disk: &DiskArgs, json: bool, env: &mut Env<'_>) -> Result<bool> {
    let start = Instant::now();
    let plan = ImagePlan::new(source, recipe)?;
    let summary = if disk.dry_run {
        plan.into_summary()
    } else {
        let (threads, control) = (env.threads, &env.control);
        progress::with_bar("Writing", env, || plan.build(threads, control))?
    };
    let report = Report { built: !disk.dry_run, seconds: start.elapsed().as_secs_f64(), summary: &summary };
    if json {
        output::json(env, &report)?
    } else {
        print(&report, env)?
    };
    output::warnings(env, &report.summary.warnings)?;
    output::losses(env, &report.summary.losses)?;
    Ok(report.built)
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let Summary { image, output: file, disk, volume, boot, .. } = report.summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    let machine = image.machine.map(|machine| machine.to_string());
    let details: Vec<&str> =
        [machine.as_deref(), image.edition.as_deref(), image.version.as_deref()].into_iter().flatten().collect();
    say(
        "image",
        format!("{}: {} ({})", image.index, image.name.as_deref().unwrap_or("(no name)"), details.join(", ")),
    )?;
    let id = if disk.scheme == "MBR" { "signature " } else { "" };
    say("disk", format!("{}, {}, {id}{}", output::bytes(disk.bytes), disk.scheme, disk.id))?;
    for (number, partition) in (1..).zip(&disk.partitions) {
        let active = if partition.active { ", active" } else { "" };
        let label = if partition.label.is_empty() { String::new() } else { format!(", label {:?}", partition.label) };
        let (start, bytes) = (output::bytes(partition.start), output::bytes(partition.bytes));
        let what = words(partition.role, partition.file_system);
        say("partition", format!("{number}: {bytes} at {start}, {what}{active}{label}"))?;
    }
    say(
        "volume",
        format!(
            "{} files, {} directories, {} of data, {} of metadata, {} free, clusters of {}",
            volume.files,
            volume.directories,
            output::bytes(volume.data_bytes),
            output::bytes(volume.metadata_bytes),
            output::bytes(volume.free_bytes),
            output::bytes(volume.cluster_size),
        ),
    )?;
    for step in &report.summary.steps {
        say("edit", step.to_string())?;
    }
    if let Some(boot) = boot {
        say("boot", format!("{} boot files and a BCD store; loader {}", boot.files, boot.loader))?;
    }
    if report.built {
        say("output", format!("{}, {} in {:.2} s", file.path, output::bytes(file.file_bytes), report.seconds))
    } else {
        say("output", format!("{}, {}: not made (dry run)", file.path, output::bytes(file.file_bytes)))
    }
}

fn words(role: Role, file_system: FileSystem) -> String {
    let file_system = match file_system {
        FileSystem::Fat32 => "FAT32",
        FileSystem::Ntfs => "NTFS",
        FileSystem::None => return "Microsoft reserved".into(),
    };
    let role = match role {
        Role::System => "system",
        Role::Reserved => "reserved",
        Role::Windows => return file_system.into(),
        Role::Recovery => "recovery",
    };
    format!("{role}, {file_system}")
}
