//! `nanovhd fork`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::args::{self, Fork};
use super::{Env, build, edit, output, progress, setup, values};
use crate::error::{Context, Error, Result};
use crate::image::Media;
use crate::image::fork::{self, Child, Request, Summary};
use crate::windows::setup::Secret;

pub(super) fn run(command: &Fork, json: bool, env: &mut Env<'_>) -> Result<()> {
    let start = Instant::now();
    // Asked for once, and from a pipe it could be read only once.
    let setup = &command.edits.setup;
    let password = if setup.has_password_of_each() { None } else { setup::password(setup)? };
    let media = edit::media(command.media.as_deref())?;
    let request = Request {
        base: command.base.clone(),
        children: command
            .children
            .iter()
            .map(|output| child(command, output, password.as_ref(), media.as_ref()))
            .collect::<Result<_>>()?,
        force: command.force,
        partition: command.partition,
        timestamp: build::timestamp(command.timestamp, env)?,
        accept_dirty: command.accept_dirty,
        verify: !command.no_verify,
    };
    let (threads, control) = (env.threads, &env.control);
    let write = !command.dry_run;
    let summary = progress::with_bar("Forking", env, || fork::Fork::new(&request)?.run(write, threads, control))?;
    output::warnings(env, &summary.warnings)?;
    for child in &summary.children {
        output::warnings(env, child.warnings.iter().map(|warning| format!("{}: {warning}", child.output)))?;
        output::losses(env, &child.losses)?;
    }
    let report = Report { written: write, seconds: start.elapsed().as_secs_f64(), summary: &summary };
    if json { output::json(env, &report) } else { print(&report, env) }
}

/// A child as the arguments ask for it, with its name in them.
fn child(command: &Fork, output: &Path, password: Option<&Secret>, media: Option<&Media>) -> Result<Child> {
    let child = || -> Result<Child> {
        let name = output.file_stem().unwrap_or_default();
        let name = name.to_str().ok_or_else(|| Error::invalid("a name that is not Unicode"))?;
        let label = command.label.as_ref().map(|label| values::label(&label.replace(args::CHILD_NAME, name)));
        let label = label.transpose().map_err(|why| Error::invalid("the volume's label").found(why))?;
        let mut args = command.edits.for_child(name)?;
        if password.is_some() {
            args.setup.admin_password_file = None;
            args.setup.admin_password_prompt = false;
        }
        let mut edits = edit::edits(&args, None, media)?;
        edits.setup.admin_password = edits.setup.admin_password.or(password.cloned());
        Ok(Child { output: output.to_owned(), edits, label })
    };
    child().context(|| output.display())
}

/// What a fork or a dry run tells a script.
#[derive(Debug, Serialize)]
struct Report<'s> {
    written: bool,
    seconds: f64,
    #[serde(flatten)]
    summary: &'s Summary,
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let Summary { layers, partition, children, .. } = report.summary;
    let mut say = |name: &str, text: String| output::line(env.stdout, format_args!("{name:<10} {text}"));
    for (index, layer) in layers.iter().enumerate() {
        match index {
            0 => say("base", format!("{layer}, partition {partition}"))?,
            _ => say("parent", layer.clone())?,
        }
    }
    for child in children {
        let (changed, file) = (output::bytes(child.changed_bytes), output::bytes(child.file_bytes));
        say("child", format!("{}: {changed} differ, in a file of {file}", child.output))?;
        for step in &child.steps {
            say("edit", step.to_string())?;
        }
    }
    let count = match children.len() {
        1 => "1 child".to_owned(),
        count => format!("{count} children"),
    };
    let total = output::bytes(children.iter().map(|child| child.changed_bytes).sum());
    if !report.written {
        return say("total", format!("{count}, {total}: not made (dry run)"));
    }
    say("total", format!("{count}, {total} in {:.2} s", report.seconds))?;
    say("note", "the base must stay as it is: the children need it".to_owned())
}
