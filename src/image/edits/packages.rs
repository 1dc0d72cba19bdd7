//! Packages among the edits.
//!
//! ```text
//! what is named --parts for the image's languages--> bundles --read, verified--> plan --> what can be carried out here  --apply--> Tree, hives
//!                                                                                    \--> what cannot: for the first start of the Windows
//! ```
//!
//! With [`Route::Auto`] a package goes to the first start if something of it is not carried out, or cannot be read (express packages); with it
//! go its parts for languages, and packages that need it. What is damaged, not signed as it should be or not for this Windows is an error,
//! whatever the route.

mod preview;

pub use preview::{Fit, Judged, Preview, Terms, preview};

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::{Edits, Step};
use crate::base::extents::Extents;
use crate::base::words::some;
use crate::base::{FileTime, ReadAt};
use crate::error::{Context, Error, Result};
use crate::format::assembly::Identity;
use crate::image::host;
use crate::image::package_source::{Part, Raw};
use crate::tree::medium::Builder;
use crate::tree::{Link, Times, Tree, attributes};
use crate::windows::packages::{
    self, Installed, LeftOut, Options, Plan, Problem, ProblemKind, Verified, base, first_boot,
};
use crate::windows::regedit;
use crate::windows::setup::complete;

/// A `wcp.dll` has some 3 MiB.
const MAX_STACK: u64 = 64 << 20;
/// Reasons that are shown to people; data has all.
const SHOWN_REASONS: usize = 2;

/// Which way packages go into an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Here, as far as that can be done in full; else at the first start.
    #[default]
    Auto,
    /// Here, or not at all.
    Strict,
    /// At the first start.
    FirstBoot,
}

/// What a servicing stack's manifests are packed against, from elsewhere than the image.
#[derive(Clone)]
pub struct ServicingStack(Arc<[u8]>);

impl fmt::Debug for ServicingStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServicingStack({} bytes)", self.0.len())
    }
}

impl ServicingStack {
    /// The base manifest.
    pub fn base(&self) -> &[u8] {
        &self.0
    }

    /// Reads a `wcp.dll`, or the base manifest that is in one.
    ///
    /// # Errors
    /// Those of the file; [`Corrupt`](crate::error::Kind::Corrupt) if it is neither.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = host::read_small(path, MAX_STACK)?;
        base::of_file(&bytes).map(Self).context(|| path.display())
    }
}

/// What became of one cabinet, or of an unpacked package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageStep {
    /// Where it is from.
    pub source: String,
    /// The ids of its packages, those that were asked for first; empty if it could not be read.
    pub packages: Vec<String>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What became of it.
    pub way: Way,
    /// Why it is left to the first start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What became of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It is installed.
    Installed,
    /// It was there before.
    Already,
    /// Another one that was given has the same packages.
    Repeated,
    /// It waits for the first start.
    FirstBoot {
        /// Where.
        path: String,
    },
}

impl fmt::Display for PackageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "package {}: ", self.source)?;
        match &self.way {
            Way::Installed => f.write_str("installed")?,
            Way::Already => f.write_str("was there already")?,
            Way::Repeated => f.write_str("the same as another one that was given")?,
            Way::FirstBoot { path } => write!(f, "left to the first start, in {path}")?,
        }
        match self.packages.as_slice() {
            [] => {}
            [only] => write!(f, ", {only}")?,
            [first, others @ ..] => write!(f, ", {first} and {} within", others.len())?,
        }
        if let Some(signer) = &self.signer {
            write!(f, ", signed by {signer}")?;
        }
        if self.reasons.is_empty() { Ok(()) } else { write!(f, ": {}", some(&self.reasons, SHOWN_REASONS)) }
    }
}

/// What came of the packages.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
    /// What the first start has to do.
    pub(super) first_start: Option<complete::Step>,
    /// How many bytes it takes for that.
    pub(super) first_start_bytes: u64,
}

/// A cabinet on its way.
struct Candidate {
    part: Part,
    /// Those of one name, in all languages.
    group: usize,
    /// Its place among those that were asked for.
    place: usize,
    packages: Vec<String>,
    /// Those of them that are not nested in others.
    top: Vec<String>,
    signer: Option<String>,
    /// Why it is left to the first start.
    reasons: Vec<String>,
    /// Which packages and components it has, as far as that is known.
    identities: Vec<Identity>,
    /// The places of others that have to go in before it, where that is not seen from the plan.
    needs: Vec<usize>,
}

/// Those whose way is not decided yet, and what is in them: both in one order.
#[derive(Default)]
struct Here {
    candidates: Vec<Candidate>,
    verified: Vec<Verified>,
}

impl Edits {
    pub(super) fn has_packages(&self) -> bool {
        !self.packages.is_empty() || !self.remove_packages.is_empty()
    }

    pub(super) fn packages_fingerprint(&self) -> Vec<Vec<u8>> {
        let removed = self.remove_packages.iter().map(|name| [b"remove package ", name.as_bytes()].concat());
        let added = self.packages.iter().map(|source| [b"package ", source.fingerprint().as_slice()].concat());
        let options = format!("packages {:?} {} {}", self.package_route, self.ignore_check, self.allow_unsigned);
        let options = (!self.packages.is_empty()).then(|| options.into_bytes());
        removed.chain(added).chain(options).collect()
    }

    /// Takes packages out, then puts packages in.
    pub(super) fn apply_packages(&self, tree: &mut Tree, now: FileTime) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        if !self.has_packages() {
            return Ok(outcome);
        }
        let base = match &self.servicing_stack {
            Some(stack) => Some(Arc::clone(&stack.0)),
            None => base::find(tree)?,
        };
        for name in &self.remove_packages {
            let removed = packages::remove::remove(tree, name, base.as_deref(), now)?;
            outcome.warnings.extend(removed.warnings.iter().map(|warning| format!("{name}: {warning}")));
            outcome.steps.extend(removed.waited.into_iter().map(Step::PackageUnqueued));
            if removed.packages.is_empty() {
                continue;
            }
            outcome.steps.push(Step::PackageRemoved {
                packages: removed.packages,
                components: removed.components.len(),
                drivers: removed.drivers,
                files: removed.files,
                hives: removed.hives,
            });
        }
        if self.packages.is_empty() {
            return Ok(outcome);
        }
        let image = Installed::read(tree)?;
        outcome.warnings.extend(image.notes().iter().cloned());
        let (here, later) = self.sort(&image, base.as_deref(), &mut outcome)?;
        self.put_in(tree, here, later, now, &mut outcome)?;
        Ok(outcome)
    }

    /// Opens what was named, and decides for each which way it goes.
    fn sort(&self, image: &Installed, base: Option<&[u8]>, outcome: &mut Outcome) -> Result<(Sorted, Vec<Candidate>)> {
        let mut here = Here::default();
        let mut later = Vec::new();
        for (place, (group, part)) in self.parts(image, &mut outcome.warnings).into_iter().enumerate() {
            let mut candidate = Candidate::new(part, group, place);
            let verified = candidate.read(base, &mut outcome.warnings)?;
            verified.verdict(self.allow_unsigned).context(|| candidate.part.origin.clone())?;
            outcome.warnings.extend(verified.issues.iter().map(|issue| format!("{}: {issue}", candidate.part.origin)));
            if !verified.unread.is_empty() {
                outcome.warnings.push(format!(
                    "{}: not all of its files can be checked here: Windows does that when it installs it",
                    candidate.part.origin
                ));
            }
            candidate.know(&verified);
            here.candidates.push(candidate);
            here.verified.push(verified);
        }
        let sorted = self.decide(image, here, &mut later)?;
        outcome.warnings.extend(sorted.warnings.iter().cloned());
        let later = in_order(later, &sorted.order);
        Ok((sorted, later))
    }

    /// The cabinets for the image's languages, each with the number of the title that it belongs to.
    fn parts(&self, image: &Installed, warnings: &mut Vec<String>) -> Vec<(usize, Part)> {
        let languages = image.languages();
        let mut parts = Vec::new();
        let mut group = 0;
        for source in &self.packages {
            let picked = source.parts(languages);
            warnings.extend(picked.warnings);
            for part in picked.parts {
                group += usize::from(part.language.is_none());
                parts.push((group, part));
            }
            group += 1;
        }
        parts
    }

    /// Plans with all that can go in here, and once more without what cannot, until nothing is left that has to wait.
    fn decide(&self, image: &Installed, mut here: Here, later: &mut Vec<Candidate>) -> Result<Sorted> {
        let options = options(self.ignore_check);
        let mut order: Option<Vec<usize>> = None;
        loop {
            let planned = packages::resolve::plan(&here.verified, image, &options)?;
            let order = order.get_or_insert_with(|| {
                planned.plan.packages.iter().map(|package| here.candidates[package.bundle].place).collect()
            });
            let waiting = self.must_wait(&planned.problems, &planned.plan, &here, later)?;
            if waiting.is_empty() {
                let order = std::mem::take(order);
                return Ok(Sorted { here, plan: planned.plan, order, warnings: planned.warnings });
            }
            here.wait(waiting, later);
        }
    }

    /// Which of those that are planned have to wait for the first start, and why.
    fn must_wait(&self, problems: &[Problem], plan: &Plan, here: &Here, later: &[Candidate]) -> Result<Vec<Waits>> {
        let mut waiting = Vec::new();
        for problem in problems {
            let candidate = &here.candidates[problem.bundle];
            let Some(needed) = later.iter().find(|other| other.brings(problem)) else {
                return Err(problem.error().context(&candidate.part.origin));
            };
            let reason = format!("it needs {}, which is left to the first start", needed.part.name);
            waiting.push(Waits { candidate: problem.bundle, reasons: vec![reason], needs: Some(needed.place) });
        }
        for (place, candidate) in here.candidates.iter().enumerate() {
            let base = later.iter().find(|other| other.group == candidate.group && other.part.language.is_none());
            if let Some(base) = base.filter(|_| candidate.part.language.is_some()) {
                let reasons = vec![format!("it belongs to {}", base.part.name)];
                waiting.push(Waits { candidate: place, reasons, needs: Some(base.place) });
            }
        }
        if self.package_route == Route::FirstBoot {
            let missing = (0..here.candidates.len()).filter(|place| !is_there(plan, *place));
            let reason = || "that is what was asked for".to_owned();
            waiting.extend(missing.map(|place| Waits { candidate: place, reasons: vec![reason()], needs: None }));
            return Ok(waiting);
        }
        let left_out = plan.bundles_with_left_out();
        if self.package_route == Route::Strict && !left_out.is_empty() {
            let of_one = |place: &usize| {
                let name = &here.candidates[*place].part.name;
                reasons(plan, *place).into_iter().map(move |reason| format!("{name}: {reason}"))
            };
            let all: Vec<String> = left_out.iter().flat_map(of_one).collect();
            return Err(Error::unsupported("packages of which something cannot be carried out")
                .found(all.join("; "))
                .hint("--packages auto leaves those packages to the first start of the Windows"));
        }
        let waits = |place| Waits { candidate: place, reasons: reasons(plan, place), needs: None };
        waiting.extend(left_out.into_iter().map(waits));
        Ok(waiting)
    }

    /// Carries the plan out, and puts the rest where the first start finds it.
    fn put_in(
        &self,
        tree: &mut Tree,
        sorted: Sorted,
        later: Vec<Candidate>,
        now: FileTime,
        outcome: &mut Outcome,
    ) -> Result<()> {
        if let Some(first) = later.first() {
            first_boot::check(tree).map_err(|error| {
                let error = error.hint(format_args!("{}: {}", first.part.name, first.reasons.join("; ")));
                error.context(&first.part.origin)
            })?;
        }
        let Sorted { here, plan, .. } = sorted;
        let applied = packages::apply::apply(tree, &plan, &here.verified, now)?;
        for (place, candidate) in here.candidates.into_iter().enumerate() {
            let way = match plan.packages.iter().any(|package| package.bundle == place) {
                true if is_there(&plan, place) => Way::Already,
                true => Way::Installed,
                false => Way::Repeated,
            };
            outcome.steps.push(candidate.step(way));
        }
        if applied.components > 0 || applied.files > 0 || !applied.hives.is_empty() {
            outcome.steps.push(Step::Packages {
                components: applied.components,
                drivers: applied.drivers,
                files: applied.files,
                hives: applied.hives,
            });
        }
        outcome.warnings.extend(applied.warnings);
        let here: Vec<String> = applied.packages.into_iter().map(|package| package.id).collect();
        let unqueued = first_boot::take_installed(tree, &here, now)?;
        outcome.steps.extend(unqueued.into_iter().map(Step::PackageUnqueued));
        if later.is_empty() {
            return Ok(());
        }
        let mut waiting = Vec::new();
        for candidate in &later {
            let (files, is_folder) = raw(&candidate.part)?;
            let name = candidate.part.name.clone();
            let packages = candidate.top.clone();
            waiting.push(first_boot::Waiting { name, packages, files, is_folder, ignore_check: self.ignore_check });
        }
        let queued = first_boot::queue(tree, &waiting, now)?;
        let unpacked = later.iter().map(|candidate| candidate.part.unpacked_len()).collect::<Result<Vec<_>>>()?;
        outcome.first_start_bytes = first_boot::space_of_all(unpacked.into_iter());
        let steps = later.into_iter().zip(queued.paths);
        outcome.steps.extend(steps.map(|(candidate, path)| candidate.step(Way::FirstBoot { path })));
        outcome.first_start = Some(queued.step);
        Ok(())
    }
}

/// What is to be done here.
struct Sorted {
    here: Here,
    plan: Plan,
    /// Places of candidates in the order in which packages go in.
    order: Vec<usize>,
    warnings: Vec<String>,
}

impl Here {
    /// Lets some of them wait.
    fn wait(&mut self, waiting: Vec<Waits>, later: &mut Vec<Candidate>) {
        for waits in &waiting {
            let candidate = &mut self.candidates[waits.candidate];
            candidate.reasons.extend(waits.reasons.iter().cloned());
            candidate.needs.extend(waits.needs);
        }
        let candidates = std::mem::take(&mut self.candidates).into_iter().zip(std::mem::take(&mut self.verified));
        for (candidate, verified) in candidates {
            if candidate.reasons.is_empty() {
                self.candidates.push(candidate);
                self.verified.push(verified);
            } else {
                later.push(candidate);
            }
        }
    }
}

/// One that has to wait for the first start.
struct Waits {
    /// Which, by its place among those whose way is not decided.
    candidate: usize,
    reasons: Vec<String>,
    /// The place of one that has to go in before it.
    needs: Option<usize>,
}

/// Those that wait, in the order in which they go in: as the plan of all of them has it, those that it does not know last, and each behind
/// what it needs.
fn in_order(mut later: Vec<Candidate>, order: &[usize]) -> Vec<Candidate> {
    let known = |place: usize| order.iter().position(|own| *own == place).unwrap_or(usize::MAX);
    later.sort_by_key(|candidate| (known(candidate.place), candidate.place));
    let mut sorted = Vec::with_capacity(later.len());
    while !later.is_empty() {
        let is_free = |candidate: &Candidate| {
            !candidate.needs.iter().any(|needed| later.iter().any(|other| other.place == *needed))
        };
        let next = later.iter().position(is_free).unwrap_or(0);
        sorted.push(later.remove(next));
    }
    sorted
}

impl Candidate {
    fn new(part: Part, group: usize, place: usize) -> Self {
        let (packages, top, reasons) = (Vec::new(), Vec::new(), Vec::new());
        Self { part, group, place, packages, top, signer: None, reasons, identities: Vec::new(), needs: Vec::new() }
    }

    /// Reads all of it, and checks its hashes.
    fn read(&self, base: Option<&[u8]>, warnings: &mut Vec<String>) -> Result<Verified> {
        let (verified, remarks) = self.part.verified(base)?;
        warnings.extend(remarks.iter().map(|remark| format!("{}: {remark}", self.part.origin)));
        Ok(verified)
    }

    fn know(&mut self, verified: &Verified) {
        let mut packages: Vec<_> = verified.packages.iter().collect();
        packages.sort_by_key(|package| !package.is_top);
        self.packages = packages.iter().map(|package| package.id.clone()).collect();
        self.top = packages.iter().filter(|package| package.is_top).map(|package| package.id.clone()).collect();
        let components = verified.manifests.values().map(|manifest| &manifest.manifest.identity);
        let all = packages.iter().map(|package| &package.manifest.identity).chain(components);
        self.identities = all.cloned().collect();
        self.signer = packages.first().and_then(|package| package.signer.clone());
    }

    /// Whether it has what another one lacks.
    fn brings(&self, problem: &Problem) -> bool {
        let wanted = match &problem.kind {
            ProblemKind::NotApplicable { wanted } => wanted.as_slice(),
            ProblemKind::MissingPackage { identity }
            | ProblemKind::MissingComponent { identity }
            | ProblemKind::MissingPrerequisite { identity } => std::slice::from_ref(identity),
            _ => return false,
        };
        wanted.iter().any(|wanted| self.identities.iter().any(|own| own.is_same_but_version(wanted)))
    }

    fn step(self, way: Way) -> Step {
        let Self { part, packages, signer, reasons, .. } = self;
        Step::Package(PackageStep { source: part.origin, packages, signer, way, reasons })
    }
}

fn options(ignore_check: bool) -> Options {
    Options { ignore_check, threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN) }
}

/// Whether all that a bundle was asked for is in the image.
fn is_there(plan: &Plan, bundle: usize) -> bool {
    let mut own = plan.packages.iter().filter(|package| package.bundle == bundle).peekable();
    own.peek().is_some() && own.all(|package| package.is_there)
}

/// What of a bundle is not carried out; if nothing of its own is, what it brings from others.
fn reasons(plan: &Plan, bundle: usize) -> Vec<String> {
    let packages = plan.packages.iter().filter(|package| package.bundle == bundle);
    let packages = packages.map(|package| (format!("{}.mum", package.identity.package_id()), &package.left_out));
    let components = plan.components.iter().filter(|component| component.bundle == bundle);
    let components = components.map(|component| (format!("{}.manifest", component.keyform), &component.left_out));
    let own: Vec<String> = packages
        .chain(components)
        .flat_map(|(file, left_out)| left_out.iter().map(move |left| reason(&file, left)))
        .collect();
    if own.is_empty() { plan.left_out().map(|(file, left)| reason(&file, left)).collect() } else { own }
}

fn reason(file: &str, left: &LeftOut) -> String {
    format!("{file}, line {}: {}: {}", left.line, left.what, left.why)
}

/// A part as it is, as a tree; and whether it is an unpacked one.
fn raw(part: &Part) -> Result<(Arc<Tree>, bool)> {
    let file = match part.raw() {
        Raw::Folder(tree) => return Ok((Arc::clone(tree), true)),
        Raw::File(file) => Arc::clone(file),
    };
    let mut extents = Extents::default();
    let len = file.len();
    extents.push(Some(0), len).ok_or_else(|| Error::unsupported("length of a cabinet").found(len))?;
    let mut builder = Builder::new(file, Times::default());
    let node = builder.add(attributes::ARCHIVE, Times::default(), Some(extents))?;
    builder.fill(builder.root(), vec![Link { name: "package.cab".into(), short: None, node }]);
    Ok((Arc::new(builder.finish().tree), false))
}

/// What packages changed, for people.
pub(super) fn changes(
    f: &mut fmt::Formatter<'_>,
    drivers: &[String],
    files: usize,
    hives: &[regedit::Changed],
) -> fmt::Result {
    write!(f, "{files} {}", if files == 1 { "name of a file" } else { "names of files" })?;
    if !drivers.is_empty() {
        write!(f, ", drivers {}", drivers.join(", "))?;
    }
    if !hives.is_empty() {
        f.write_str(";")?;
    }
    self::hives(f, hives)
}

/// Hives that changed, for people.
pub(super) fn hives(f: &mut fmt::Formatter<'_>, hives: &[regedit::Changed]) -> fmt::Result {
    hives.iter().try_for_each(|hive| {
        write!(
            f,
            " {} (keys +{} -{}, values +{} -{})",
            hive.hive, hive.keys_made, hive.keys_deleted, hive.values_set, hive.values_deleted
        )
    })
}
