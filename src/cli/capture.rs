//! `nanovhd capture`.

use std::time::Instant;

use serde::Serialize;

use super::args::Capture;
use super::{Env, build, output, progress};
use crate::error::Result;
use crate::image::capture::{CapturePlan, Request, Summary};

pub(super) fn run(command: &Capture, json: bool, env: &mut Env<'_>) -> Result<()> {
    let start = Instant::now();
    let request = Request {
        image: command.image.clone(),
        output: command.output.clone(),
        force: command.force,
        partition: command.partition,
        compression: command.compress.into(),
        name: command.name.clone(),
        description: command.description.clone(),
        all: command.all,
        accept_dirty: command.accept_dirty,
        timestamp: build::timestamp(command.timestamp, env)?,
    };
    let plan = CapturePlan::new(&request)?;
    let summary = plan.summary().clone();
    output::warnings(env, &summary.warnings)?;
    let mut wim_bytes = None;
    if !command.dry_run {
        let (threads, control) = (env.threads, &env.control);
        wim_bytes = Some(progress::with_bar("Capturing", env, || plan.run(threads, control))?);
    }
    let report = Report { wim_bytes, seconds: start.elapsed().as_secs_f64(), summary: &summary };
    if json { output::json(env, &report) } else { print(&report, env) }
}

/// What a capture or a dry run tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    /// The length of the WIM; `null` for a dry run.
    wim_bytes: Option<u64>,
    seconds: f64,
    #[serde(flatten)]
    summary: &'s Summary,
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let Summary { image, output: target, info, names, bytes, left_out, .. } = report.summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    let version = info.version.map(|version| version.to_string());
    let details = [info.architecture_name(), info.edition.as_deref(), version.as_deref()];
    let details: Vec<&str> = details.into_iter().flatten().collect();
    say("image", format!("{image}: {} ({})", info.name.as_deref().unwrap_or("(no name)"), details.join(", ")))?;
    say("files", format!("{names} names, {} of data", output::bytes(*bytes)))?;
    for path in left_out {
        say("left out", path.clone())?;
    }
    match report.wim_bytes {
        Some(len) => say("output", format!("{target}, {} in {:.2} s", output::bytes(len), report.seconds)),
        None => say("output", format!("{target}: not made (dry run)")),
    }
}
