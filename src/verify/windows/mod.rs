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
use crate::error::Kind;
use crate::tree::Tree;
use crate::windows::{About, Machine, SYSTEM_ROOT};

/// Checks the installation that a tree holds; whether there is one is the result.
pub fn check(tree: &Tree, findings: &mut Findings) -> bool {
    let Some(about) = About::read(tree) else { return false };
    findings.add(Finding::new(Rule::Installation, describe(&about)).path(SYSTEM_ROOT));
    let system = hives::check(tree, findings);
    check_machines(tree, about.machine, findings);
    if let Some(system) = system {
        services::check(tree, &system, about.machine, findings);
    }
    true
}

fn describe(about: &About) -> String {
    let version = about.version.map(|version| version.to_string());
    let machine = about.machine.map(|machine| machine.to_string());
    let languages = (!about.languages.is_empty()).then(|| about.languages.join(", "));
    let parts = [&about.product_name, &about.edition, &about.installation_type, &version, &machine, &languages];
    let known: Vec<&str> = parts.iter().filter_map(|part| part.as_deref()).collect();
    if known.is_empty() { "an installation that says nothing about itself".into() } else { known.join(", ") }
}

/// The programs that everything else stands on.
fn check_machines(tree: &Tree, machine: Option<Machine>, findings: &mut Findings) {
    const PROGRAMS: [&str; 8] =
        ["ntoskrnl.exe", "hal.dll", "ntdll.dll", "kernel32.dll", "smss.exe", "csrss.exe", "services.exe", "lsass.exe"];
    for name in PROGRAMS {
        let path = format!(r"{SYSTEM_ROOT}\System32\{name}");
        check_program(tree, &path, machine, Rule::MachineMismatch, findings);
    }
}

/// Whether a program that is there is a program, and for the processor.
fn check_program(tree: &Tree, path: &str, machine: Option<Machine>, rule: Rule, findings: &mut Findings) {
    let found = match tree.read_file(path) {
        Ok(None) => return,
        Ok(Some(bytes)) => Machine::of_pe(&bytes),
        Err(error) => Err(error),
    };
    let finding = match (found, machine) {
        (Ok(found), Some(machine)) if found != machine => {
            Finding::new(rule, format_args!("for {found}")).allowed(format_args!("for {machine}"))
        }
        (Err(error), _) if error.kind() == Kind::Unsupported => Finding::new(rule, error).allowed("a known processor"),
        (Err(error), _) => Finding::new(rule, error).allowed("a program"),
        _ => return,
    };
    findings.add(finding.path(path));
}

#[cfg(test)]
mod tests;
