//! `cargo xtask tidy`: the rules of the project that neither the compiler nor clippy knows.
//!
//! Each rule is a function over all files, tried on small made trees in its tests.

mod code;
mod files;
mod floors;
mod rules;

use std::fmt;

use crate::shell::{self, Failure, Result};
use files::Files;

type Rule = fn(&Files, &mut Findings);

const RULES: &[Rule] = &[
    floors::layering,
    floors::purity,
    rules::unsafe_code,
    rules::length,
    rules::module_documentation,
    rules::unfinished,
    rules::outside,
    rules::whitespace,
    rules::fixtures,
    rules::used_data,
    rules::changelog,
];

/// What the rules found, as `file:line: message`.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &str, line: usize, message: impl fmt::Display) {
        self.0.push(format!("{file}:{line}: {message}"));
    }
}

pub(crate) fn run() -> Result<()> {
    let files = Files::load(shell::root())?;
    let mut findings = Findings::default();
    for rule in RULES {
        rule(&files, &mut findings);
    }
    for finding in &findings.0 {
        println!("{finding}");
    }
    match findings.0.len() {
        0 => Ok(()),
        count => Err(Failure::new(format_args!("{count} breaches of the project's rules"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one rule finds in a made tree.
    pub(super) fn findings<const N: usize>(rule: Rule, files: [(&str, &str); N]) -> Vec<String> {
        let mut findings = Findings::default();
        rule(&Files::from(files), &mut findings);
        findings.0
    }
}
