//! `nanovhd build`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::args::{Build, DiskArgs};
use super::{Env, output, progress, values};
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::format::wim::Wim;
use crate::image::layout::{FileSystem, Role};
use crate::image::package::{Compression, Package, Wishes};
use crate::image::{
    Firmware, Format, ImagePlan, Input, Layout, Media, Recipe, Source, Summary, Target, build_all, host,
};
use crate::windows::boot;

pub(super) fn run(command: &Build, json: bool, env: &mut Env<'_>) -> Result<()> {
    let mut recipes = recipes(&command.output, &command.disk, false, env)?;
    // The grammar has it that one of the two is there.
    let wim = command.wim.as_deref().unwrap_or(Path::new(""));
    let input = match &command.media {
        Some(path) => Input::Media(Media::open(path)?),
        None => Input::open(wim, command.parts.as_deref())?,
    };
    let media = if let Input::Media(media) = &input { Some(media) } else { None };
    let edits = super::edit::edits(&command.edits, command.disk.seed, media)?;
    for recipe in &mut recipes {
        let azure = recipe.edits.setup.azure;
        recipe.edits = edits.clone();
        recipe.edits.setup.azure = azure;
        recipe.accept_dirty = command.accept_dirty;
    }
    let source = source(command, &input, &recipes, env)?;
    make(source, &recipes, &command.disk, json, env)?;
    Ok(())
}

/// What is to be built from.
fn source(command: &Build, input: &Input, recipes: &[Recipe], env: &mut Env<'_>) -> Result<Source> {
    let of_wim = |wim: &Wim, name: &str, env: &Env<'_>| {
        if command.check_integrity {
            super::info::check_integrity(wim, env).context(|| name)?;
        }
        Source::of_wim(wim, name, &command.image)
    };
    let no_table = |what: &str| Error::invalid(format_args!("{what} has no integrity table"));
    let name = command.wim.as_deref().unwrap_or(Path::new("")).display().to_string();
    match input {
        Input::Media(media) if command.media.is_some() => of_media(media, command, of_wim, env),
        Input::Wim(wim) => of_wim(wim, &name, env),
        Input::Disk(_) if command.check_integrity => {
            Err(no_table("a disk").hint("`nanovhd verify` checks it").context(name))
        }
        Input::Disk(disk) => {
            recipes.iter().try_for_each(|recipe| disk.refuse_output(&recipe.output))?;
            Source::of_disk(disk, &name, None)
        }
        Input::Media(media) if !media.images()?.is_empty() => of_media(media, command, of_wim, env),
        Input::Media(_) if command.check_integrity => Err(no_table("a folder").context(name)),
        Input::Media(media) => Source::of_files(media, &name),
    }
}

/// An image of an image file on a medium. Which file it is, is told where it was not asked for.
fn of_media<W>(media: &Media, command: &Build, of_wim: W, env: &mut Env<'_>) -> Result<Source>
where
    W: Fn(&Wim, &str, &Env<'_>) -> Result<Source>,
{
    let named = command.media.as_ref().and(command.wim.as_deref());
    let named = named.map(|path| path.to_str().ok_or_else(|| Error::invalid("a path that is no text"))).transpose()?;
    let (path, wim) = media.wim(named)?;
    let others = media.images()?.into_iter().filter(|other| *other != path).collect::<Vec<_>>();
    if named.is_none() && !others.is_empty() {
        let others = others.join(", ");
        output::line(env.stderr, format_args!("note: {path} is taken; --wim takes another on the medium: {others}"))?;
    }
    let mut source = of_wim(&wim, &media.name_of(&path), env)?;
    source.warnings.extend(media.warnings());
    source.packages = media.package_names()?;
    Ok(source)
}

/// The recipes that the arguments amount to: one for each target. `replace` allows an existing output to be replaced even without
/// `--force`.
pub(super) fn recipes(output: &Path, disk: &DiskArgs, replace: bool, env: &Env<'_>) -> Result<Vec<Recipe>> {
    let targets = disk.target.iter().map(|name| Target::named(name)).collect::<Result<Vec<_>>>()?;
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|earlier| earlier.name == target.name) {
            return Err(Error::invalid("a target that is named twice").found(&target.name));
        }
    }
    match targets.as_slice() {
        [] => Ok(vec![recipe(output.to_owned(), disk, None, replace, env)?]),
        [target] => {
            let output = if output.extension().is_some() { output.to_owned() } else { named(output, "", disk, target) };
            Ok(vec![recipe(output, disk, Some(target), replace, env)?])
        }
        several => {
            if Format::of_path(output).is_ok() {
                return Err(Error::invalid("with several targets the output is what their files' names begin with")
                    .found(output.display())
                    .hint(format_args!("say --output {}", output.with_extension("").display())));
            }
            let of_each = several.iter().map(|target| {
                let output = named(output, &format!("-{}", target.name), disk, target);
                recipe(output, disk, Some(target), replace, env)
            });
            of_each.collect()
        }
    }
}

/// An output's name with the extension of what is made.
fn named(output: &Path, suffix: &str, disk: &DiskArgs, target: &Target) -> PathBuf {
    let format = disk.format.map_or(target.format, Format::from);
    let compression = disk.machine.compress.map_or(Compression::None, Compression::from);
    let mut name = output.as_os_str().to_owned();
    match disk.pack.map(Package::from) {
        Some(Package::Ova) => name.push(format!("{suffix}.ova")),
        Some(Package::Box) => name.push(format!("{suffix}.box")),
        Some(Package::Plain) | None => name.push(match compression.extension() {
            Some(end) => format!("{suffix}.{}.{end}", format.extension()),
            None => format!("{suffix}.{}", format.extension()),
        }),
    }
    name.into()
}

fn recipe(
    output: PathBuf,
    disk: &DiskArgs,
    target: Option<&'static Target>,
    replace: bool,
    env: &Env<'_>,
) -> Result<Recipe> {
    let force = disk.force || replace;
    host::check_target(&output, force)?;
    let package = package(&output, disk);
    let target = match (target, &package) {
        (None, Some((Package::Ova, _))) => Some(Target::named("virtualbox")?),
        (None, Some((Package::Box, _))) => {
            return Err(Error::invalid("a box is for one provider of machines")
                .hint("say for which with --target: hyperv-gen1, hyperv-gen2, virtualbox or kvm"));
        }
        (None, Some((Package::Plain, _))) => {
            return Err(Error::invalid(
                "--compress, --checksum and --catalog need a target, whose machine takes the result",
            )
            .hint("say for which machine it is with --target"));
        }
        (target, _) => target,
    };
    if let (Some(target), Some((package, wishes))) = (target, &package) {
        package.check(target, wishes.compression.unwrap_or(package.default_compression()))?;
    }
    let format = match (target, &package) {
        (Some(target), Some((package, _))) if disk.format.is_none() && package.format(target).is_some() => {
            package.format(target).unwrap_or(target.format)
        }
        _ => format(&output, disk, target)?,
    };
    let usual = match format {
        Format::Vhdx | Format::VhdxFixed => Firmware::Uefi,
        _ => Firmware::Bios,
    };
    let firmware = disk.firmware.map(Firmware::from).or(target.map(|target| target.firmware)).unwrap_or(usual);
    let timestamp = timestamp(disk.timestamp, env)?;
    let mut recipe = Recipe {
        force,
        format,
        size: disk.size,
        layout: Layout {
            firmware,
            separate_system: disk.separate_system,
            system_bytes: disk.system_size,
            reserved_bytes: disk.reserved_size,
            recovery_bytes: disk.recovery_size,
            sector_size: disk.sector_size,
        },
        target,
        package,
        boot: boot::Settings {
            ems: disk.ems,
            boot_ems: disk.ems.is_some(),
            test_signing: disk.test_signing,
            ..boot::Settings::default()
        },
        generation: disk.boot_manager.into(),
        label: disk.label.clone(),
        cluster_size: disk.cluster_size,
        seed: disk.seed,
        timestamp,
        verify: !disk.no_verify,
        ..Recipe::new(output)
    };
    recipe.edits.setup.azure = target.is_some_and(|target| target.azure);
    Ok(recipe)
}

/// What is made of the disk, if it is more than a file.
fn package(output: &Path, disk: &DiskArgs) -> Option<(Package, Wishes)> {
    let package = disk.pack.map_or_else(|| super::pack::package(output), Package::from);
    let wishes = super::pack::wishes(&disk.machine);
    let compressed = wishes.compression.is_some_and(|compression| compression != Compression::None);
    let of_machine = wishes.nic.is_some() || wishes.controller.is_some();
    let wanted = package != Package::Plain || compressed || wishes.checksum || wishes.catalog.is_some() || of_machine;
    wanted.then_some((package, wishes))
}

/// The container: as asked for; else, of those that the target takes, its usual one if the output's extension allows it.
fn format(output: &Path, disk: &DiskArgs, target: Option<&Target>) -> Result<Format> {
    let compression = disk.machine.compress.and_then(|compression| Compression::from(compression).extension());
    let plain = match compression {
        Some(end) if output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end)) => {
            output.with_extension("")
        }
        _ => output.to_owned(),
    };
    let format = match (disk.format, target) {
        (Some(format), _) => format.into(),
        (None, None) => Format::of_path(&plain)?,
        (None, Some(target)) => {
            let named = Format::of_path(&plain)?;
            let has_extension = |format: &&Format| format.extension() == named.extension();
            std::iter::once(&target.format).chain(&target.accepts).find(has_extension).copied().unwrap_or(named)
        }
    };
    target.map_or(Ok(()), |target| target.check_format(format))?;
    Ok(format)
}

/// The moment that was asked for: by the argument, else by SOURCE_DATE_EPOCH.
pub(super) fn timestamp(asked: Option<FileTime>, env: &Env<'_>) -> Result<Option<FileTime>> {
    let Some(text) = env.source_date_epoch.as_ref().filter(|_| asked.is_none()) else { return Ok(asked) };
    let invalid = |why| Error::invalid(format_args!("SOURCE_DATE_EPOCH: {why}")).found(format_args!("'{text}'"));
    values::timestamp(text).map(Some).map_err(invalid)
}

/// What a build or a dry run tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    built: bool,
    seconds: f64,
    #[serde(flatten)]
    made: Made<'s>,
}

/// One disk is told as such, several as a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Made<'s> {
    One(&'s Summary),
    Several { disks: &'s [Summary] },
}

/// Plans, and builds unless it is a dry run; tells what came of it. Whether disks were made is the result.
pub(super) fn make(source: Source, recipes: &[Recipe], disk: &DiskArgs, json: bool, env: &mut Env<'_>) -> Result<bool> {
    let start = Instant::now();
    let mut plans = Vec::new();
    if let Some((last, others)) = recipes.split_last() {
        for recipe in others {
            plans.push(ImagePlan::new(source.clone(), recipe)?);
        }
        plans.push(ImagePlan::new(source, last)?); // most builds have one recipe, and copy nothing
    }
    let summaries = if disk.dry_run {
        plans.into_iter().map(ImagePlan::into_summary).collect()
    } else {
        let (threads, control) = (env.threads, &env.control);
        progress::with_bar("Writing", env, || build_all(plans, threads, control))?
    };
    let (built, seconds) = (!disk.dry_run, start.elapsed().as_secs_f64());
    if json {
        let made = match summaries.as_slice() {
            [one] => Made::One(one),
            several => Made::Several { disks: several },
        };
        output::json(env, &Report { built, seconds, made })?;
    } else {
        for (number, summary) in summaries.iter().enumerate() {
            if number > 0 {
                output::line(env.stdout, format_args!(""))?;
            }
            print(summary, built, seconds, env)?;
        }
    }
    let (mut warnings, mut losses) = (Vec::new(), Vec::new());
    for summary in &summaries {
        warnings.extend(summary.warnings.iter().filter(|text| !warnings.contains(*text)).cloned().collect::<Vec<_>>());
        losses.extend(summary.losses.iter().filter(|text| !losses.contains(*text)).cloned().collect::<Vec<_>>());
    }
    output::warnings(env, &warnings)?;
    output::losses(env, &losses)?;
    Ok(built)
}

fn print(summary: &Summary, built: bool, seconds: f64, env: &mut Env<'_>) -> Result<()> {
    let Summary { image, output: file, disk, volume, boot, .. } = summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    let machine = image.machine.map(|machine| machine.to_string());
    let details: Vec<&str> =
        [machine.as_deref(), image.edition.as_deref(), image.version.as_deref()].into_iter().flatten().collect();
    say("source", image.source.clone())?;
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
    for step in &summary.steps {
        say("edit", step.to_string())?;
    }
    if let Some(boot) = boot {
        say("boot", format!("{} boot files and a BCD store; loader {}", boot.files, boot.loader))?;
    }
    if !built {
        return say("output", format!("{}, {}: not made (dry run)", file.path, output::bytes(file.file_bytes)));
    }
    say("output", format!("{}, {} in {:.2} s", file.path, output::bytes(file.file_bytes), seconds))?;
    for (index, step) in summary.next_steps.iter().enumerate() {
        say(if index == 0 { "next" } else { "" }, step.clone())?;
    }
    Ok(())
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
