//! The installation: its hives, its services and drivers, its processor.
//!
//! # What a genuine one looks like
//! Images of Microsoft have services whose files are not there: of features that are not installed, or removed for an edition, and
//! drivers for hardware. So a missing file is an error only where the loader itself stops over it (a driver that starts at boot
//! and is critical); it is a warning for what starts by itself, and nothing for what starts on demand or not at all. Services of
//! no start (`Start` absent) are other things: performance counters, network bindings.

mod hives;
mod services;

use super::{Finding, Findings, Rule};
use crate::error::{Kind, Result};
use crate::tree::Tree;
use crate::windows::registry::{self, CONFIG};
use crate::windows::{About, Machine, SYSTEM_ROOT};

pub(super) use services::boot_drivers;
pub(crate) use services::{Service, is_file};

/// An installation that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The processor that most of its programs are for.
    pub machine: Option<Machine>,
}

/// Checks the installation that a tree holds, if there is one.
pub fn check(tree: &Tree, findings: &mut Findings) -> Option<Installed> {
    let mut about = About::read(tree)?;
    let programs = programs(tree);
    about.machine = machine_of(tree, &programs).or(about.machine);
    findings.add(Finding::new(Rule::Installation, describe(&about)).path(SYSTEM_ROOT));
    let system = hives::check(tree, findings);
    for (path, found) in programs {
        check_program(&path, found, about.machine, Rule::MachineMismatch, findings);
    }
    if let Some(system) = system {
        services::check(tree, &system, about.machine, findings);
    }
    Some(Installed { machine: about.machine })
}

fn describe(about: &About) -> String {
    let version = about.version.map(|version| version.to_string());
    let machine = about.machine.map(|machine| machine.to_string());
    let languages = (!about.languages.is_empty()).then(|| about.languages.join(", "));
    let parts = [&about.product_name, &about.edition, &about.installation_type, &version, &machine, &languages];
    let known: Vec<&str> = parts.iter().filter_map(|part| part.as_deref()).collect();
    if known.is_empty() { "an installation that says nothing about itself".into() } else { known.join(", ") }
}

/// The programs that everything else stands on, as far as they are there, the kernel first, with the processor of each.
fn programs(tree: &Tree) -> Vec<(String, Result<Machine>)> {
    const NAMES: [&str; 12] = [
        "ntoskrnl.exe",
        "hal.dll",
        "ntdll.dll",
        "kernel32.dll",
        "smss.exe",
        "csrss.exe",
        "services.exe",
        "lsass.exe",
        "winload.exe",
        "winload.efi",
        r"boot\winload.exe",
        r"boot\winload.efi",
    ];
    let paths = NAMES.iter().map(|name| format!(r"{SYSTEM_ROOT}\System32\{name}"));
    paths.filter_map(|path| Some((machine_at(tree, &path)?, path))).map(|(machine, path)| (path, machine)).collect()
}

/// The processor of the program at a path, if there is a file.
fn machine_at(tree: &Tree, path: &str) -> Option<Result<Machine>> {
    tree.read_file(path).and_then(|bytes| bytes.map(|bytes| Machine::of_pe(&bytes)).transpose()).transpose()
}

/// The processor of an installation: what most of its programs are for, of which one may be wrong. Where they do not agree, the
/// drivers that start at boot are asked too; then the kernel decides.
fn machine_of(tree: &Tree, programs: &[(String, Result<Machine>)]) -> Option<Machine> {
    const MOST_ASKED: usize = 64;
    let mut votes: Vec<Machine> = programs.iter().filter_map(|(_, found)| found.as_ref().ok().copied()).collect();
    let first = *votes.first()?;
    if votes.iter().any(|vote| *vote != first) {
        let system = registry::read_hive(tree, &format!(r"{CONFIG}\SYSTEM")).ok().flatten();
        let drivers = system.as_ref().map(boot_drivers).unwrap_or_default();
        votes.extend(drivers.iter().take(MOST_ASKED).filter_map(|path| machine_at(tree, path)?.ok()));
    }
    let count = |machine: &Machine| votes.iter().filter(|vote| *vote == machine).count();
    votes.iter().rev().max_by_key(|machine| count(machine)).copied() // of several, the last one: the kernel's
}

/// Whether a program is one, and for the processor.
fn check_program(path: &str, found: Result<Machine>, machine: Option<Machine>, rule: Rule, findings: &mut Findings) {
    let finding = match (found, machine) {
        (Ok(found), Some(machine)) if found != machine => {
            Finding::new(rule, format_args!("for {found}")).allowed(format_args!("for {machine}"))
        }
        (Err(error), _) if error.kind() == Kind::Unsupported => {
            Finding::new(rule, error).allowed("one that can be read, for a known processor")
        }
        (Err(error), _) => Finding::new(rule, error).allowed("a program"),
        _ => return,
    };
    findings.add(finding.path(path));
}

#[cfg(test)]
mod tests;
