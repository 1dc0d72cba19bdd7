//! Which packages, updates and components it takes to put some bundles into an image, in which order: the [`Plan`].
//!
//! ```text
//! bundle -> package -> update -> nested package -> ...
//!                             -> deployment, driver -> component -> component -> ...
//! ```
//!
//! * A package is put in if one of its parents is in the image, or comes with a bundle that is put in before it. Where a manifest names
//!   several parents, each is one way, with `disposition="detect"` and without: those of OpenSSH name the editions Nano, client and server, of which no
//!   Windows is more than one. A nested package whose parents are not there is passed over, which is how an update serves many editions.
//! * Bundles go in after those that have their parents, language packages after the neutral ones of the same name, otherwise as given.
//! * Of a package, those updates are on whose conditions hold and which a user need not choose, or which are chosen unless somebody else does
//!   (`detectNone@default`).
//! * A deployment brings the components that it asks for, and those that they ask for. What has to be there (a prerequisite) must be
//!   in the image or in the plan. Components that nothing asks for stay out.
//! * Of several versions of one component, the newest wins.
//! * A bundle that lacks something contributes nothing and is a [`Problem`]; the others are planned without it.
//!
//! Nothing here calls itself: a package may be nested in ten thousand others.
//!
//! Where the facts come from: the packages of OpenSSH for Windows 10 2004 and Windows 11 24H2, of WinPE's and BitLocker's languages, of Hyper-V,
//! of updates for Windows 7 and 8.1; CBSInternals; trex's planner.

mod assemble;
mod components;
mod index;
mod parents;
mod round;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::Serialize;

use super::compile::{Compiled, Target, compile};
use super::installed::Installed;
use super::plan::Plan;
use super::verify::Verified;
use crate::error::{Error, Kind, Result};
use crate::format::assembly::{Element, Identity, Manifest, Version};
use index::Index;
pub(super) use parents::is_named;
use round::Round;
pub(super) use round::neutral;

/// How to plan.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A package whose parents are not there goes in nevertheless, as with DISM's `/IgnoreCheck`; so does what lacks something else.
    pub ignore_check: bool,
    /// Threads that read manifests.
    pub threads: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self { ignore_check: false, threads: NonZeroUsize::MIN }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// All that is to be done for the bundles that have no problem.
    pub plan: Plan,
    /// Why the others stay out, in the order in which that was found.
    pub problems: Vec<Problem>,
    /// What is worth knowing.
    pub warnings: Vec<String>,
}

/// Why a bundle stays out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which one, by its place.
    pub bundle: usize,
    /// What it is.
    pub kind: ProblemKind,
    /// The same in words, with the package that it is about.
    pub text: String,
}

/// Why a bundle stays out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It has no package that is not nested in another.
    NoPackage,
    /// It is for another processor.
    WrongProcessor,
    /// None of its parents is there.
    NotApplicable {
        /// They.
        wanted: Vec<Identity>,
    },
    /// It is of a language that the image does not have.
    LanguageMissing {
        /// The language.
        language: String,
    },
    /// The image has a newer version of it.
    Superseded {
        /// Which.
        by: Version,
    },
    /// A package that is nested in one of its packages is nowhere.
    MissingPackage {
        /// Which.
        identity: Identity,
    },
    /// A deployment, component or driver is nowhere.
    MissingComponent {
        /// Which.
        identity: Identity,
    },
    /// A file of a component is nowhere.
    MissingPayload {
        /// Which.
        file: String,
    },
    /// A component has to be there that is not.
    MissingPrerequisite {
        /// Which.
        identity: Identity,
    },
}

impl Problem {
    /// The error that it is where all bundles have to go in.
    pub fn error(&self) -> Error {
        let kind = match self.kind {
            ProblemKind::WrongProcessor => Kind::WrongMachine,
            ProblemKind::NoPackage => Kind::Corrupt,
            _ => Kind::Invalid,
        };
        let error = Error::new(kind, &self.text);
        match self.kind {
            ProblemKind::NotApplicable { .. } => error.hint(
                "take the package that was made for this edition and version; --ignore-check puts it in nevertheless",
            ),
            ProblemKind::LanguageMissing { .. } => error.hint("leave it out, or --ignore-check"),
            ProblemKind::MissingPackage { .. }
            | ProblemKind::MissingComponent { .. }
            | ProblemKind::MissingPrerequisite { .. } => {
                error.hint("give the package that has it as well, or --ignore-check")
            }
            ProblemKind::Superseded { .. } => error.hint(
                "leave it out: nothing of it would count; to go back to it, take the newer one out first with --remove-package",
            ),
            ProblemKind::MissingPayload { .. } => {
                error.hint("take the package as its maker gives it out: this one lacks files that its manifests name")
            }
            ProblemKind::WrongProcessor => error.hint("take the package for the image's processor"),
            ProblemKind::NoPackage => error.hint("each package in it is said to be a part of another one: take the whole"),
        }
    }
}

/// Makes a manifest into what it changes.
type Compiler<'c> = dyn Fn(&Element, &Manifest) -> Result<Compiled> + Sync + 'c;

/// Plans what it takes to put bundles into an image.
///
/// # Errors
/// Those of manifests that cannot be read, with their names (one for another processor is left out); [`NotWindows`](Kind::NotWindows) for an image whose processor is not known. What keeps
/// a bundle out is no error but a [`Problem`].
pub fn plan(bundles: &[Verified], image: &Installed, options: &Options) -> Result<Planned> {
    let machine = image.machine().ok_or_else(|| {
        Error::new(Kind::NotWindows, "nobody knows which processor the image is for: it has neither loader nor kernel")
    })?;
    let language = image.about().default_language.as_ref().or(image.languages().first());
    let language = language.map_or_else(|| "en-US".to_owned(), Clone::clone);
    let target = Target { machine, language, lacks: image.lacks().clone() };
    plan_with(bundles, image, options, &|document, manifest| compile(document, manifest, &target))
}

/// The same with another compiler.
fn plan_with(bundles: &[Verified], image: &Installed, options: &Options, compiler: &Compiler<'_>) -> Result<Planned> {
    let index = Index::new(bundles);
    let mut warnings: Vec<String> = image.notes().to_vec();
    let mut problems: Vec<Problem> = Vec::new();
    let left_aside = index.left_aside(&mut warnings);
    loop {
        let excluded: BTreeSet<usize> =
            problems.iter().map(|problem| problem.bundle).chain(left_aside.iter().copied()).collect();
        let round = Round::run(&index, image, *options, &excluded);
        // Each round that has problems leaves fewer bundles to the next.
        if round.problems.is_empty() {
            warnings.extend(round.warnings.iter().cloned());
            let plan = assemble::assemble(&round, &index, image, options.threads, compiler)?;
            return Ok(Planned { plan, problems, warnings });
        }
        problems.extend(round.problems);
    }
}
