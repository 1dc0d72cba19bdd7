//! `nanovhd convert`.

use std::time::Instant;

use serde::Serialize;

use super::args::Convert;
use super::{Env, build, output, progress};
use crate::error::Result;
use crate::image::Format;
use crate::image::convert::{Conversion, Request, Summary};

/// What a conversion tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    seconds: f64,
    #[serde(flatten)]
    summary: &'s Summary,
}

pub(super) fn run(command: &Convert, json: bool, env: &mut Env<'_>) -> Result<()> {
    let start = Instant::now();
    let request = Request {
        image: command.image.clone(),
        output: command.output.clone(),
        format: command.format.map_or_else(|| Format::of_path(&command.output), |format| Ok(format.into()))?,
        created: build::timestamp(command.timestamp, env)?,
        force: command.force,
    };
    let (threads, control) = (env.threads, &env.control);
    let mut conversion = progress::with_bar("Looking", env, || Conversion::new(&request, control))?;
    progress::with_bar("Writing", env, || conversion.run(threads, control))?;
    let summary = conversion.summary();
    let report = Report { seconds: start.elapsed().as_secs_f64(), summary };
    if json {
        output::json(env, &report)?;
    } else {
        print(&report, env)?;
    }
    output::warnings(env, &summary.warnings)
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let Summary { layers, output: file, new_disk_bytes, file_bytes, .. } = report.summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    for (index, layer) in layers.iter().enumerate() {
        say(if index == 0 { "image" } else { "parent" }, layer.clone())?;
    }
    say("disk", output::bytes(*new_disk_bytes))?;
    say("output", format!("{file}, {} in {:.2} s", output::bytes(*file_bytes), report.seconds))
}
