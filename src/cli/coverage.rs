//! The table of `nanovhd verify --target`: each device of a machine, and its driver.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::args::Verify;
use super::output;
use crate::error::{Error, Result};
use crate::image::coverage::{self, Coverage, Covered, Setting, Verdict};
use crate::image::{Choice, Input, Target};
use crate::verify::Level;
use crate::windows::About;

/// Behind `nanovhd verify --help`.
pub(super) const HELP: &str = r"Drivers (--target):
  Each device of the machine is matched against the image's DriverDatabase and INFs as Plug and Play ranks them; then the driver's
  service, file and start, its filters and what it depends on are looked at. A device that the machine shows by default and needs to
  boot has to have its driver: that is an error. A network adapter without one is a warning, other devices are listed.
  The exit code is 1 if there are errors, and if nothing can be judged.";

/// What came of judging: one coverage for each machine, or why there is none.
pub(super) type Judged = std::result::Result<Vec<Coverage>, String>;

/// The object `drivers` of `nanovhd verify --json`.
#[derive(Serialize)]
pub(super) struct Json<'r> {
    /// How many devices that machines show by default, and need to boot, do not work.
    errors: usize,
    /// How many network adapters that machines show by default do not work.
    warnings: usize,
    /// Why nothing could be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    unjudged: Option<&'r str>,
    /// One for each machine: target, what, devices, notes.
    targets: Vec<Coverage>,
}

impl<'r> Json<'r> {
    pub(super) fn new(judged: &'r Judged, all: bool) -> Self {
        let coverages = judged.as_deref().unwrap_or_default();
        let shown = |coverage: &Coverage| {
            let mut coverage = coverage.clone();
            coverage.devices.retain(|covered| all || covered.shown);
            coverage
        };
        Self {
            errors: count(coverages, Level::Error),
            warnings: count(coverages, Level::Warning),
            unjudged: judged.as_ref().err().map(String::as_str),
            targets: coverages.iter().map(shown).collect(),
        }
    }
}

fn count(coverages: &[Coverage], level: Level) -> usize {
    coverages.iter().map(|coverage| coverage.at(level).count()).sum()
}

/// Whether the machines will find what they need to boot.
pub(super) fn is_ok(judged: &Judged) -> bool {
    judged.as_ref().is_ok_and(|coverages| count(coverages, Level::Error) == 0)
}

/// The machines of these names; each once, and with devices.
pub(super) fn targets(names: &[String]) -> Result<Vec<&'static Target>> {
    let mut targets: Vec<&'static Target> = Vec::new();
    for name in names {
        let target = Target::named(name)?;
        if target.devices.is_empty() {
            return Err(Error::invalid("a target of which no devices are known").found(&target.name));
        }
        if !targets.iter().any(|known| known.name == target.name) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Judges the Windows in a file; nothing if no machine is asked for. What cannot be read of an image that is not sound, is a reason.
pub(super) fn judge(command: &Verify, path: &Path, targets: &[&Target], is_sound: bool) -> Result<Option<Judged>> {
    if targets.is_empty() {
        return Ok(None);
    }
    let name = path.display().to_string();
    let choice = Choice { image: command.select.as_deref(), partition: command.partition };
    let source = Input::open(path, None).and_then(|input| input.source(&name, choice));
    let judged = source.and_then(|source| match About::read(&source.tree) {
        Some(about) => {
            coverage::judge(&source.tree, &about, targets, Setting { packages: &source.packages, wishes: None })
        }
        None => Ok(Err("drivers cannot be judged: no Windows".into())),
    });
    match judged {
        Err(error) if !is_sound => Ok(Some(Err(format!("drivers cannot be judged: {error}")))),
        judged => judged.map(Some),
    }
}

/// Prints a table for each machine, and below it what is wrong and what can be done.
pub(super) fn print(judged: &Judged, all: bool, out: &mut dyn Write) -> Result<()> {
    let coverages = match judged {
        Ok(coverages) => coverages,
        Err(reason) => return output::line(out, format_args!("{reason}")),
    };
    for coverage in coverages {
        output::line(out, format_args!(""))?;
        table(coverage, all, out)?;
    }
    Ok(())
}

fn table(coverage: &Coverage, all: bool, out: &mut dyn Write) -> Result<()> {
    let shown: Vec<&Covered> = coverage.devices.iter().filter(|covered| all || covered.shown).collect();
    let rows: Vec<[String; 5]> = shown.iter().map(|covered| row(covered)).collect();
    let heading = ["device", "driver", "version", "start", ""].map(str::to_owned);
    let mut widths = [0; 4];
    for row in std::iter::once(&heading).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |[device, driver, version, start, verdict]: &[String; 5], out: &mut dyn Write| {
        let [a, b, c, d] = widths;
        let line = format!("  {device:a$}  {driver:b$}  {version:c$}  {start:d$}  {verdict}");
        output::line(out, format_args!("{}", line.trim_end()))
    };
    output::line(out, format_args!("{} ({})", coverage.what, coverage.target))?;
    print(&heading, out)?;
    let mut optional = false;
    for (covered, row) in shown.iter().zip(&rows) {
        if !covered.shown && !std::mem::replace(&mut optional, true) {
            output::line(out, format_args!("  on request:"))?;
        }
        print(row, out)?;
        let is_told = covered.verdict == Verdict::MissingDriver;
        for problem in covered.problems.iter().filter(|_| !is_told) {
            output::line(out, format_args!("      {problem}"))?;
        }
        // What matters little needs no more than the word for where a driver comes from.
        let matters = covered.level.is_some_and(|level| level > Level::Note);
        if let Some(hint) = covered.hint.as_ref().filter(|_| matters || !is_told) {
            output::line(out, format_args!("      hint: {hint}"))?;
        }
    }
    for note in &coverage.notes {
        output::line(out, format_args!("  note: {note}"))?;
    }
    let (errors, warnings) = (coverage.at(Level::Error).count(), coverage.at(Level::Warning).count());
    let ok = shown.iter().filter(|covered| covered.verdict == Verdict::Ok).count();
    output::line(
        out,
        format_args!(
            "  {} of {} ok; {}, {}",
            ok,
            output::count(shown.len(), "device"),
            output::count(errors, "error"),
            output::count(warnings, "warning")
        ),
    )
}

fn row(covered: &Covered) -> [String; 5] {
    let option = covered.option.as_ref().map(|option| format!(" [{option}]")).unwrap_or_default();
    let device = format!("{}{option}", covered.device);
    let verdict = match covered.level {
        Some(level @ (Level::Error | Level::Warning)) => {
            format!("{}: {}", level.to_string().to_uppercase(), covered.verdict.name())
        }
        _ if covered.verdict == Verdict::MissingDriver => format!("no driver ({})", covered.from.name()),
        _ => covered.verdict.name().to_owned(),
    };
    let Some(driver) = &covered.driver else { return [device, "-".into(), "-".into(), "-".into(), verdict] };
    let name = match &driver.service {
        Some(service) => format!("{service} ({})", driver.inf),
        None => driver.inf.clone(),
    };
    [device, name, driver.version.to_string(), driver.start.name().to_owned(), verdict]
}
