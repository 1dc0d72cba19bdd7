//! `cargo xtask docs`: the pages that are made from the code.

use std::fmt::Write;
use std::fs;

use nanovhd::verify::{Area, Rule};

use crate::shell::{Failure, Result, root};

/// The list of all rules that `nanovhd verify` checks.
const FINDINGS: &str = "docs/findings.md";

const AREAS: [(Area, &str); 5] = [
    (Area::Container, "Container: the file around the disk"),
    (Area::Partitions, "Partitions: the division of the disk"),
    (Area::Ntfs, "NTFS: the volumes"),
    (Area::Boot, "Boot: the way from the firmware to the loader"),
    (Area::Windows, "Windows: the installation"),
];

/// Writes the pages, or only checks that they are what the code gives.
pub(crate) fn run(check: bool) -> Result<()> {
    let (path, text) = (root().join(FINDINGS), findings());
    if check {
        let found = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        return if found == text { Ok(()) } else { Err(stale()) };
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, text)?)
}

fn stale() -> Failure {
    Failure::new(format_args!("{FINDINGS} is not what src/verify/rules.rs gives: run `cargo xtask docs`"))
}

/// A table for each area.
fn findings() -> String {
    let mut page = String::from(
        "# What `nanovhd verify` finds\n\n\
         This page is made by `cargo xtask docs` from `src/verify/rules.rs`. `nanovhd verify --list` prints the same.\n\n\
         An *error* is what Windows, or the firmware, refuses, repairs or goes wrong over; a *warning* is sound, but not as it should \
         be; a *note* is worth knowing. The level is that of the rule: a milder case of it has a lower one. The code never changes.\n",
    );
    for (area, title) in AREAS {
        let _ = write!(
            page,
            "\n## {title}\n\n| code | level | what is demanded | what happens else |\n|---|---|---|---|\n"
        );
        for rule in Rule::ALL.iter().filter(|rule| rule.area() == area) {
            let (about, then) = (cell(rule.about()), cell(rule.consequence()));
            let _ = writeln!(page, "| `{}` | {} | {about} | {then} |", rule.code(), rule.level());
        }
    }
    page
}

/// Text that does not end a cell, and is not taken for markup.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('$', "\\$").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_findings_is_current() {
        run(true).unwrap();
    }

    #[test]
    fn every_rule_has_a_row() {
        let page = findings();
        assert!(Rule::ALL.iter().all(|rule| page.contains(&format!("| `{}` |", rule.code()))));
    }
}
