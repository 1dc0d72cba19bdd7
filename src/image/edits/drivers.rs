//! Drivers among the edits.

use super::{Edits, Step};
use crate::base::FileTime;
use crate::error::Result;
use crate::tree::Tree;
use crate::windows::drivers::apply::{self, Request};
use crate::windows::drivers::{Package, TargetOs};

/// What came of the drivers.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
    pub(super) needs_test_signing: bool,
}

impl Edits {
    pub(super) fn has_drivers(&self) -> bool {
        !self.drivers.is_empty() || !self.remove_drivers.is_empty()
    }

    pub(super) fn drivers_fingerprint(&self) -> Vec<Vec<u8>> {
        let removed = self.remove_drivers.iter().map(|name| [b"remove driver ", name.as_bytes()].concat());
        let added = self.drivers.iter().map(|source| [b"driver ", source.fingerprint()].concat());
        let unsigned = (self.allow_unsigned && !self.drivers.is_empty()).then(|| b"allow unsigned".to_vec());
        removed.chain(added).chain(unsigned).collect()
    }

    /// Takes drivers out, then puts drivers in.
    pub(super) fn apply_drivers(&self, tree: &mut Tree, now: FileTime) -> Result<Outcome> {
        if !self.has_drivers() {
            return Ok(Outcome::default());
        }
        let mut warnings = Vec::new();
        let report = apply::apply(
            tree,
            Request {
                remove: &self.remove_drivers,
                packages: &mut |target| self.packages(target, &mut warnings),
                allow_unsigned: self.allow_unsigned,
            },
            now,
        )?;
        warnings.extend(report.warnings);
        let removed = report.removed.into_iter().map(|removed| {
            warnings.extend(removed.notes.iter().map(|note| format!("{}: {note}", removed.published)));
            Step::DriverRemoved { published: removed.published, packages: removed.packages, services: removed.services }
        });
        let mut steps: Vec<Step> = removed.collect();
        steps.extend(report.added.into_iter().map(Step::Driver));
        Ok(Outcome { steps, warnings, needs_test_signing: report.needs_test_signing })
    }

    /// The packages of all sources for a Windows, each once.
    fn packages(&self, target: &TargetOs, warnings: &mut Vec<String>) -> Result<Vec<Package>> {
        let mut packages: Vec<Package> = Vec::new();
        for source in &self.drivers {
            let found = source.collect(target)?;
            let name = source.path().display();
            warnings.extend(found.notes.iter().map(|note| format!("{name}: {note}")));
            warnings.extend(found.worries().map(|left| format!("{name}: {left}")));
            if !found.left_out.is_empty() {
                warnings.push(format!("{name}: left out: {}", found.summary()));
            }
            packages.extend(found.packages);
        }
        Ok(packages)
    }
}
