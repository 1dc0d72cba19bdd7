//! `nanovhd pack`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::args::{MachineArgs, Pack};
use super::{Env, build, output, progress};
use crate::error::Result;
use crate::image::Target;
use crate::image::package::pack::{Packing, Request};
use crate::image::package::{Catalog, Compression, Package, Report, Wishes};

/// What packing tells a script.
#[derive(Debug, Serialize)]
struct Told<'r> {
    seconds: f64,
    #[serde(flatten)]
    report: &'r Report,
    warnings: &'r [String],
}

pub(super) fn run(command: &Pack, json: bool, env: &mut Env<'_>) -> Result<()> {
    let start = Instant::now();
    let request = request(command, env)?;
    let (threads, control) = (env.threads, &env.control);
    let packing = progress::with_bar("Looking", env, || Packing::new(&request))?;
    let (report, warnings) = progress::with_bar("Packing", env, || packing.run(threads, control))?;
    let told = Told { seconds: start.elapsed().as_secs_f64(), report: &report, warnings: &warnings };
    if json {
        output::json(env, &told)?;
    } else {
        print(&told, env)?;
    }
    output::warnings(env, &warnings)
}

fn request(command: &Pack, env: &Env<'_>) -> Result<Request> {
    Ok(Request {
        image: command.image.clone(),
        package: command.format.map_or_else(|| package(&command.output), Package::from),
        target: Target::named(&command.target)?,
        output: command.output.clone(),
        force: command.force,
        wishes: wishes(&command.machine),
        timestamp: build::timestamp(command.timestamp, env)?,
    })
}

/// What is said of the machine and the package.
pub(super) fn wishes(machine: &MachineArgs) -> Wishes {
    let catalog = machine.catalog.as_ref().map(|path| Catalog {
        path: path.clone(),
        name: machine.box_name.clone(),
        version: machine.box_version.clone(),
        url: machine.box_url.clone(),
    });
    Wishes {
        name: machine.name.clone(),
        memory_mib: machine.memory,
        cpus: machine.cpus,
        nic: machine.nic.map(Into::into),
        controller: machine.controller.map(Into::into),
        secure_boot: machine.secure_boot,
        compression: machine.compress.map(Into::into),
        checksum: machine.checksum,
        catalog,
    }
}

/// The package that an output's name asks for.
pub(super) fn package(output: &Path) -> Package {
    match output.extension().map(|extension| extension.to_ascii_lowercase()) {
        Some(extension) if extension == "ova" => Package::Ova,
        Some(extension) if extension == "box" => Package::Box,
        _ => Package::Plain,
    }
}

fn print(told: &Told<'_>, env: &mut Env<'_>) -> Result<()> {
    let report = told.report;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    say("disk", format!("{}, {}", output::bytes(report.disk_bytes), report.format))?;
    for member in &report.members {
        say("member", format!("{}, {}", member.name, output::bytes(member.bytes)))?;
    }
    let compressed = match report.compression {
        Compression::None => "",
        Compression::Gzip => ", gzip",
        Compression::Xz => ", xz",
        Compression::Zstd => ", zstd",
    };
    say("output", format!("{}, {}{compressed} in {:.2} s", report.output, output::bytes(report.bytes), told.seconds))?;
    say("sha256", report.sha256.clone())?;
    for (name, file) in [("checksum", &report.checksum), ("catalog", &report.catalog)] {
        if let Some(file) = file {
            say(name, file.clone())?;
        }
    }
    for (index, step) in report.next_steps.iter().enumerate() {
        say(if index == 0 { "next" } else { "" }, step.clone())?;
    }
    Ok(())
}
