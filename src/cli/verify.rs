//! `nanovhd verify`.

use std::io::Write;
use std::sync::LazyLock;

use serde::Serialize;

use super::args::Verify;
use super::values::LevelArg;
use super::{Env, coverage, exit, output, progress};
use crate::error::Result;
use crate::image::Input;
use crate::image::verify::{self, Report};
use crate::verify::image::{Looked, LookedPartition};
use crate::verify::{Finding, Level, Rule};

/// The object that `--json` prints.
#[derive(Serialize)]
struct Json<'r> {
    /// The file.
    image: String,
    /// How many findings there are of each level, shown or not.
    errors: usize,
    warnings: usize,
    notes: usize,
    /// Findings of the chosen level and above, at most 50 of each rule: level, code, place (partition, path, record, part,
    /// offset; what is unknown is left out), found, allowed.
    findings: Vec<JsonFinding<'r>>,
    /// What was looked at.
    looked: &'r Looked,
    /// Whether the machines that were asked for will find their devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    drivers: Option<coverage::Json<'r>>,
}

#[derive(Serialize)]
struct JsonFinding<'r> {
    #[serde(flatten)]
    finding: &'r Finding,
    /// What Windows or the firmware does about it; nothing for a note.
    #[serde(skip_serializing_if = "Option::is_none")]
    consequence: Option<&'static str>,
}

impl<'r> JsonFinding<'r> {
    fn new(finding: &'r Finding) -> Self {
        Self { finding, consequence: consequence(finding) }
    }
}

/// What Windows or the firmware does about a finding; about a note, nothing.
fn consequence(finding: &Finding) -> Option<&'static str> {
    (finding.level > Level::Note).then(|| finding.rule.consequence())
}

/// A rule in the list of `--list --json`.
#[derive(Serialize)]
struct JsonRule {
    code: &'static str,
    area: String,
    level: Level,
    about: &'static str,
    consequence: &'static str,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Error => Self::Error,
            LevelArg::Warning => Self::Warning,
            LevelArg::Note => Self::Note,
        }
    }
}

/// Gives the exit code: 1 if there is an error in the image.
pub(super) fn run(command: &Verify, json: bool, env: &mut Env<'_>) -> Result<u8> {
    let Some(image) = &command.image else { return list(json, env).map(|()| 0) };
    let targets = coverage::targets(&command.target)?;
    // All else than disks has nothing but drivers to be checked.
    let is_disk = targets.is_empty() || matches!(Input::open(image, None), Ok(Input::Disk(_)) | Err(_));
    let check = || if is_disk { verify::file(image, command.partition).map(Some) } else { Ok(None) };
    let report = progress::with_bar("Checking", env, check)?;
    let is_sound = report.as_ref().is_none_or(|report| report.findings.count(Level::Error) == 0);
    let drivers = coverage::judge(command, image, &targets, is_sound)?;
    let level = command.level.into();
    if json {
        let drivers = drivers.as_ref().map(|drivers| coverage::Json::new(drivers, command.all_devices));
        let report = report.as_ref().unwrap_or(&NOTHING);
        output::json(env, &Json { drivers, ..to_json(&image.display().to_string(), report, level) })?;
    } else {
        if let Some(report) = &report {
            print(report, level, env.stdout)?;
        }
        if let Some(drivers) = &drivers {
            coverage::print(drivers, command.all_devices, env.stdout)?;
        }
    }
    let is_covered = drivers.as_ref().is_none_or(coverage::is_ok);
    Ok(if is_sound && is_covered { 0 } else { exit::FOUND })
}

/// The report on what is no disk.
static NOTHING: LazyLock<Report> = LazyLock::new(Report::default);

fn to_json<'r>(image: &str, report: &'r Report, level: Level) -> Json<'r> {
    let findings = &report.findings;
    let shown = findings.kept().iter().filter(|finding| finding.level >= level);
    Json {
        image: image.to_owned(),
        errors: findings.count(Level::Error),
        warnings: findings.count(Level::Warning),
        notes: findings.count(Level::Note),
        findings: shown.map(JsonFinding::new).collect(),
        looked: &report.looked,
        drivers: None,
    }
}

fn print(report: &Report, level: Level, out: &mut dyn Write) -> Result<()> {
    let findings = &report.findings;
    for finding in findings.kept().iter().filter(|finding| finding.level >= level) {
        output::line(out, format_args!("{finding}"))?;
        if let Some(consequence) = consequence(finding) {
            output::line(out, format_args!("    then: {consequence}"))?;
        }
    }
    for rule in Rule::ALL {
        let kept = findings.kept().iter().filter(|finding| finding.rule == *rule).count();
        let more = findings.count_of(*rule) - kept;
        if more > 0 {
            output::line(out, format_args!("... and {more} more of {}", rule.code()))?;
        }
    }
    let counts = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")];
    let counts: Vec<String> = counts.iter().map(|(level, noun)| output::count(findings.count(*level), noun)).collect();
    output::line(out, format_args!("{}; looked at {}", counts.join(", "), looked(&report.looked)))
}

/// What was looked at, in a line.
fn looked(looked: &Looked) -> String {
    let mut parts = vec![format!("a disk of {}", output::bytes(looked.bytes))];
    parts.extend(looked.scheme.map(str::to_owned));
    parts.extend(looked.partitions.iter().map(partition));
    if looked.boot {
        parts.push("the way to boot from it".to_owned());
    }
    parts.join("; ")
}

fn partition(partition: &LookedPartition) -> String {
    let names = partition.names.map(|names| format!(" with {}", output::count(names, "name"))).unwrap_or_default();
    let windows = if partition.windows { ", Windows on it" } else { "" };
    format!(
        "partition {} of {}: {}{names}{windows}",
        partition.number,
        output::bytes(partition.bytes),
        partition.content
    )
}

/// All rules.
fn list(json: bool, env: &mut Env<'_>) -> Result<()> {
    if json {
        let rules = Rule::ALL.iter().map(|rule| JsonRule {
            code: rule.code(),
            area: format!("{:?}", rule.area()).to_lowercase(),
            level: rule.level(),
            about: rule.about(),
            consequence: rule.consequence(),
        });
        return output::json(env, &rules.collect::<Vec<_>>());
    }
    for rule in Rule::ALL {
        output::line(env.stdout, format_args!("{} ({})", rule.code(), rule.level()))?;
        output::line(env.stdout, format_args!("    {}", rule.about()))?;
        output::line(env.stdout, format_args!("    else: {}", rule.consequence()))?;
    }
    Ok(())
}
