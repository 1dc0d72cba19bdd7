//! `nanovhd edit`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::args::{Edit, EditArgs};
use super::{Env, build, output, progress, setup};
use crate::error::Result;
use crate::image::Media;
use crate::image::driver_source::DriverSource;
use crate::image::edit::{EditPlan, Request, Summary};
use crate::image::edits::{Edits, RegFile, ServicingStack};
use crate::image::package_source::PackageSource;

pub(super) fn run(command: &Edit, json: bool, env: &mut Env<'_>) -> Result<()> {
    let start = Instant::now();
    let request = Request {
        image: command.image.clone(),
        output: command.output.clone(),
        force: command.force,
        partition: command.partition,
        edits: edits(&command.edits, None, media(command.media.as_deref())?.as_ref())?,
        test_signing: command.test_signing,
        label: command.label.clone(),
        timestamp: build::timestamp(command.timestamp, env)?,
        accept_dirty: command.accept_dirty,
        verify: !command.no_verify,
    };
    let plan = EditPlan::new(&request)?;
    let mut summary = plan.summary().clone();
    // Before anything is written: what is lost is lost for good once the old image is replaced.
    output::warnings(env, &summary.warnings)?;
    output::losses(env, &summary.losses)?;
    if !command.dry_run {
        let (threads, control) = (env.threads, &env.control);
        summary.file_bytes = progress::with_bar("Writing", env, || plan.run(threads, control))?;
    }
    let report = Report { written: !command.dry_run, seconds: start.elapsed().as_secs_f64(), summary: &summary };
    if json { output::json(env, &report) } else { print(&report, env) }
}

/// The medium on which packages are looked up.
pub(super) fn media(path: Option<&Path>) -> Result<Option<Media>> {
    path.map(Media::open).transpose()
}

/// The edits that the arguments ask for, with the `.reg` files and the answer file read, drivers and packages found and the password asked for.
/// Keys follow from the seed if one was chosen. `media` has the packages that are named by short names.
pub(super) fn edits(args: &EditArgs, seed: Option<u64>, media: Option<&Media>) -> Result<Edits> {
    let registry = args.reg.iter().map(|path| RegFile::open(path)).collect::<Result<_>>()?;
    let drivers = args.drivers.driver.iter().map(|path| DriverSource::open(path)).collect::<Result<_>>()?;
    let packages = &args.packages;
    let stack = packages.servicing_stack.as_deref().map(ServicingStack::open);
    let sources = packages.package.iter().map(|named| PackageSource::open(named, media)).collect::<Result<_>>()?;
    Ok(Edits {
        delete: args.delete.clone(),
        copy: args.copy.clone(),
        registry,
        remove_drivers: args.drivers.remove_driver.clone(),
        drivers,
        allow_unsigned: args.drivers.allow_unsigned,
        remove_packages: packages.remove_package.clone(),
        packages: sources,
        package_route: packages.packages.into(),
        ignore_check: packages.ignore_check,
        servicing_stack: stack.transpose()?,
        setup: setup::setup(&args.setup, seed)?,
    })
}

/// What an edit or a dry run tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    written: bool,
    seconds: f64,
    #[serde(flatten)]
    summary: &'s Summary,
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let Summary { image, output: target, partition, steps, volume, file_bytes, in_place, .. } = report.summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    say("image", format!("{image}, partition {partition}"))?;
    for step in steps {
        say("edit", step.to_string())?;
    }
    if steps.is_empty() {
        say("edit", "nothing: the volume is laid out afresh".into())?;
    }
    say(
        "volume",
        format!(
            "{} files, {} directories, {} of data, {} free",
            volume.files,
            volume.directories,
            output::bytes(volume.data_bytes),
            output::bytes(volume.free_bytes)
        ),
    )?;
    let size = output::bytes(*file_bytes);
    say(
        "output",
        match (report.written, in_place) {
            (false, _) => format!("{target}, {size}: not written (dry run)"),
            (true, true) => format!("{target}, {size}, replaced in {:.2} s", report.seconds),
            (true, false) => format!("{target}, {size} in {:.2} s", report.seconds),
        },
    )
}
