//! An image, checked on all levels: one that exists, or one that is just being made.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::chain;
use super::host::{InputFile, OutputFile};
use super::opened::{self, Opened};
use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::format::partitions::Table;
use crate::format::qcow2::Qcow2;
use crate::format::vdi::Vdi;
use crate::format::vhd::Vhd;
use crate::format::vhdx::Vhdx;
use crate::format::vmdk::Vmdk;
use crate::verify::image::{self, Looked};
use crate::verify::{Finding, Findings, Level, Rule, container};

/// Findings that an error names in words; the rest is counted.
const NAMED: usize = 5;

/// What came of a check.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
    /// What was looked at.
    pub looked: Looked,
}

/// Checks the image in a file, and those below it in its chain. With `partition`, of its volumes just that one.
///
/// # Errors
/// Only if the file cannot be read at all, or has no such partition: what is wrong with it is a finding.
pub fn file(path: &Path, partition: Option<u32>) -> Result<Report> {
    let file = InputFile::open(path)?;
    let mut report = Report::default();
    let disk = match Opened::open(path) {
        Ok(opened) => {
            container::check(&layers_of(&opened), &mut report.findings);
            opened.disk
        }
        Err(error) if error.kind() == Kind::Io => return Err(error),
        Err(error) => {
            let alone = container::Layer { name: path.display().to_string(), file: &file };
            container::check(&[alone], &mut report.findings);
            if report.findings.count(Level::Error) == 0 && error.kind() == Kind::Unsupported {
                return Err(error); // not damaged, but no disk
            }
            if report.findings.count(Level::Error) == 0 {
                report.findings.add(Finding::new(Rule::Unreadable, error).allowed("an image that can be read"));
            }
            return Ok(report);
        }
    };
    if let (Some(number), Ok(table)) = (partition, Table::read(&disk)) {
        opened::numbered(&table, number).context(|| path.display())?;
    }
    report.looked = image::check(&disk, partition, &mut report.findings);
    Ok(report)
}

fn layers_of(opened: &Opened) -> Vec<container::Layer<'_>> {
    let layers = opened.layers.iter();
    layers.map(|layer| container::Layer { name: layer.path.display().to_string(), file: &layer.file }).collect()
}

/// What is wrong with the files of a chain.
pub(super) fn of_layers(opened: &Opened) -> Findings {
    let mut findings = Findings::default();
    container::check(&layers_of(opened), &mut findings);
    findings
}

/// Checks a differencing disk that was written, with the chain below it and the disk that they make. What is wrong with the base
/// already is no fault of the child.
pub(super) fn forked(output: &OutputFile<'_>, base: &Opened) -> Result<()> {
    let file: Arc<dyn ReadAt> = Arc::new(output.reader()?);
    let child = container::Layer { name: "the output".into(), file: &file };
    let mut after = Findings::default();
    container::check(&[vec![child], layers_of(base)].concat(), &mut after);
    image::check(&chain::over(&file, &base.disk)?, None, &mut after);
    let mut earlier = Findings::default();
    if after.count(Level::Error) > 0 {
        earlier = of_layers(base);
        image::check(&base.disk, None, &mut earlier);
    }
    refuse(&after, &earlier)
}

/// Checks what was written, before it gets its name; an error-level finding is an error.
pub fn made(output: &OutputFile<'_>) -> Result<()> {
    refuse(&findings_of_output(output)?, &Findings::default())
}

/// The same for what was made of another disk: what is wrong with that one already is no fault of the change. A rule of which there are
/// more errors than before is.
pub fn changed(output: &OutputFile<'_>, before: &Arc<dyn ReadAt>) -> Result<()> {
    let after = findings_of_output(output)?;
    let mut earlier = Findings::default();
    if after.count(Level::Error) > 0 {
        image::check(before, None, &mut earlier);
    }
    refuse(&after, &earlier)
}

/// Checks the container alone of what was converted: the disk in it is as good as it was.
pub fn packed(output: &OutputFile<'_>) -> Result<()> {
    refuse(&findings_of_container(&(Arc::new(output.reader()?) as Arc<dyn ReadAt>)), &Findings::default())
}

fn findings_of_container(file: &Arc<dyn ReadAt>) -> Findings {
    let mut findings = Findings::default();
    container::check(&[container::Layer { name: "the output".into(), file }], &mut findings);
    findings
}

/// What is wrong with a file that is being made, and with the disk in it.
fn findings_of_output(output: &OutputFile<'_>) -> Result<Findings> {
    let file: Arc<dyn ReadAt> = Arc::new(output.reader()?);
    let mut findings = findings_of_container(&file);
    let disk: Arc<dyn ReadAt> = if Vhdx::is_vhdx(&file) {
        Arc::new(Vhdx::open(file)?)
    } else if Vhd::is_vhd(&file) {
        Arc::new(Vhd::open(file)?)
    } else if Vdi::is_vdi(&file) {
        Arc::new(Vdi::open(file)?)
    } else if Qcow2::is_qcow2(&file) {
        Arc::new(Qcow2::open(file)?)
    } else if Vmdk::is_vmdk(&file) {
        Arc::new(Vmdk::open(file)?)
    } else {
        file
    };
    image::check(&disk, None, &mut findings);
    Ok(findings)
}

/// Fails for errors of rules of which there were fewer `before`, and names them.
fn refuse(findings: &Findings, before: &Findings) -> Result<()> {
    let errors = |findings: &Findings, rule: Rule| {
        findings.kept().iter().filter(|finding| finding.level == Level::Error && finding.rule == rule).count()
    };
    let more = |finding: &&Finding| errors(findings, finding.rule) > errors(before, finding.rule);
    let new: Vec<&Finding> =
        findings.kept().iter().filter(|finding| finding.level == Level::Error).filter(more).collect();
    if new.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = new.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match new.len() - named.len() {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    let what = format!("the image that was made is not sound, and was not kept:\n{}{more}", named.join("\n"));
    Err(Error::new(Kind::BadResult, what))
}
