//! `nanovhd extract`.

use std::collections::HashSet;

use super::args::Extract;
use super::{Env, output, progress};
use crate::error::{Context, Result};
use crate::image::extract::{self, Options, Report};
use crate::image::lookup::{self, Found};

/// Behind `nanovhd extract --help`.
pub(super) const HELP: &str = "\
Contents are checked before any file gets its name. Times, hard links and the read-only bit come across; junctions and symbolic
links become symbolic links if they lead to a place within DIR. Security descriptors, short names and other attributes stay behind.
Nothing is written outside of DIR. A single file may be had by `nanovhd cat SOURCE PATH > FILE` too.";

pub(super) fn run(command: &Extract, json: bool, env: &mut Env<'_>) -> Result<()> {
    let source = command.source.open(env)?;
    let tree = &source.tree;
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut known = HashSet::new();
    for path in &command.paths {
        let all = lookup::find_all(tree, path).context(|| source.name.clone())?;
        // Two patterns may well mean the same file.
        found.extend(all.into_iter().filter(|one| known.insert(one.path.clone())));
    }
    if command.paths.is_empty() {
        found.push(Found::root(tree));
    }
    let options = Options { force: command.force, streams: command.streams, threads: env.threads };
    let control = &env.control;
    let report =
        progress::with_bar("Extracting", env, || extract::extract(tree, &found, &command.output, options, control));
    let report = report.context(|| source.name.clone())?;
    if json {
        output::json(env, &report)?;
    } else {
        output::line(env.stdout, format_args!("{}", words(&report)))?;
    }
    report.notes.iter().try_for_each(|note| output::line(env.stderr, format_args!("note: {note}")))
}

fn words(report: &Report) -> String {
    let count = |number: u64, noun: &str| output::count(usize::try_from(number).unwrap_or(usize::MAX), noun);
    let mut parts = vec![count(report.files, "file")];
    for (number, noun) in [(report.hard_links, "hard link"), (report.symbolic_links, "symbolic link")] {
        if number > 0 {
            parts.push(count(number, noun));
        }
    }
    let folders =
        if report.directories == 1 { "1 directory".into() } else { format!("{} directories", report.directories) };
    format!("{}, {folders}, {}", parts.join(", "), output::bytes(report.bytes))
}
