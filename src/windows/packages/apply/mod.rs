//! A plan into a tree and its hives.
//!
//! ```text
//! \Windows\WinSxS\KEYFORM\*             the files of each component
//! \Windows\WinSxS\Manifests\KEYFORM.manifest
//! their places                          hard links to those
//! hives                                 what the manifests say, and the records: see super::records
//! ```
//!
//! # What is there already
//! A component that is installed is completed where something of it is missing: values and names that are there stay as they are, whatever they
//! are. One that only waits in the store (`staged`) is put into place. So doing it twice changes nothing.
//!
//! A name that leads to a file of another component, an older version mostly, leads to the new one's file from then on; the other file stays
//! in its own folder of the store. A file that belongs to no component is kept, and what a value was before is noted (`packages/journal.rs`): taking the
//! package out gives both back. Of a directory or key that is there, the security descriptor stays.
//!
//! # What Windows does otherwise
//! * Files of an older version that the newer one lacks keep their names.
//! * `WinSxS\FileMaps` and the hashes of `COMPONENTS` that only make things faster are not written.

mod registry;
mod store;
#[cfg(test)]
mod tests;

pub(super) use registry::{is_same_part, parts, text, with_text};
pub(super) use store::is_version_of;

use std::sync::Arc;

use serde::Serialize;

use super::image::Image;
use super::plan::{Change, ComponentPlan, Plan};
use super::records;
use super::verify::Verified;
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::tree::{Link, Node, Times, Tree};
use crate::windows::drivers::trust::score;
use crate::windows::drivers::{self, Signature, Store};
use crate::windows::{place, regedit};

/// What came of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The packages, in the order of the plan.
    pub packages: Vec<NewPackage>,
    /// Components that were not in the store.
    pub components: usize,
    /// Names of files and directories that came, or lead elsewhere now.
    pub files: usize,
    /// The hives that changed.
    pub hives: Vec<regedit::Changed>,
    /// INF files under the names that the driver store gave them.
    pub drivers: Vec<String>,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// A package that is in the image now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewPackage {
    /// Its id.
    pub id: String,
    /// Whether it is a part of another one.
    pub is_nested: bool,
    /// Whether it was there before.
    pub already: bool,
}

/// Where a bundle's contents are, and who vouches for its drivers.
pub(super) struct Source<'b> {
    pub(super) origin: &'b str,
    pub(super) tree: &'b Tree,
    pub(super) signature: Signature,
}

/// Carries a plan out in the Windows of `tree`; what is made is made at `now`. After an error the tree is of no use.
///
/// # Errors
/// [`NotWindows`](crate::error::Kind::NotWindows) for a tree without a registry; [`Invalid`](crate::error::Kind::Invalid) for names and keys that
/// cannot be, and for directories and links that stand where files must go; [`Unsupported`](crate::error::Kind::Unsupported) for an image in the middle of
/// servicing, if anything changes; errors of the hives, by their paths.
pub fn apply(tree: &mut Tree, plan: &Plan, bundles: &[Verified], now: FileTime) -> Result<Applied> {
    let sources: Vec<Source<'_>> = bundles.iter().map(Source::of).collect();
    apply_from(tree, plan, &sources, now)
}

impl<'b> Source<'b> {
    /// A bundle whose drivers whoever has signed the packages vouches for: of several, the one who counts least; nobody, if anything is not signed.
    fn of(bundle: &'b Verified) -> Self {
        let worst = bundle.packages.iter().max_by_key(|package| package.kind.score());
        let worst = worst.filter(|package| bundle.issues.is_empty() && package.kind.score() != score::UNSIGNED);
        let signature = Signature {
            signer: worst.and_then(|package| package.signer.clone()),
            score: worst.map_or(score::UNSIGNED, |package| package.kind.score()),
        };
        Self { origin: &bundle.bundle.origin, tree: &bundle.bundle.tree, signature }
    }
}

/// The same with what it needs of the bundles. What is made is made at `now`. After an error the tree is of no use.
pub(super) fn apply_from(tree: &mut Tree, plan: &Plan, sources: &[Source<'_>], now: FileTime) -> Result<Applied> {
    let mut image = Image::open(tree, now)?;
    let installed = records::installed_deployments(&image);
    let mut drivers = Vec::new();
    for component in &plan.components {
        let source = source_of(sources, component)?;
        let is_installed = component.is_there && records::is_installed(&image, &component.keyform, installed.as_ref());
        let how = if is_installed { How::Complete } else { How::Whole };
        put(&mut image, component, source, how).context(|| &component.keyform)?;
        if !component.is_beaten() {
            drivers.extend(drivers_of(component).map(|inf| (component, source, inf)));
        }
    }
    records::write(&mut image, plan)?;
    let pending = image.pending();
    let (files, hives, warnings) = image.commit()?;
    let mut applied = Applied { files, hives, warnings, ..Applied::default() };
    if let Some(pending) = pending.filter(|_| applied.files > 0 || !applied.hives.is_empty()) {
        return Err(super::image::in_the_middle(pending));
    }
    applied.components = plan.components.iter().filter(|component| !component.is_there).count();
    applied.packages = plan.packages.iter().map(NewPackage::of).collect();
    add_drivers(tree, &drivers, now, &mut applied)?;
    Ok(applied)
}

impl NewPackage {
    fn of(package: &super::PackagePlan) -> Self {
        Self { id: package.identity.package_id(), is_nested: package.within.is_some(), already: package.is_there }
    }
}

fn source_of<'s, 'b>(sources: &'s [Source<'b>], component: &ComponentPlan) -> Result<&'s Source<'b>> {
    let missing = || Error::invalid("a plan for bundles that are not here").found(&component.keyform);
    sources.get(component.bundle).ok_or_else(missing)
}

/// How much of a component is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// All of it.
    Whole,
    /// What is missing.
    Complete,
}

/// A component: its files in the store, and what it changes unless a newer version is there.
fn put(image: &mut Image<'_>, component: &ComponentPlan, source: &Source<'_>, how: How) -> Result<()> {
    store::put(image, component, source, how)?;
    if how == How::Whole {
        image.journal.add_component(&component.keyform);
    }
    if component.is_beaten() {
        return Ok(());
    }
    let mut changed = Vec::new();
    for effect in &component.effects {
        for change in &effect.changes {
            let done = match change {
                Change::Directory { path, descriptor, attributes } => {
                    image.make_directory(path, descriptor.as_deref(), *attributes).map(|_| ())
                }
                Change::Link { payload, path, descriptor, attributes } => {
                    let link =
                        store::Target { payload, path, descriptor: descriptor.as_deref(), attributes: *attributes };
                    store::link(image, component, &link, how)
                }
                Change::File { path, bytes } => store::put_file(image, component, path, bytes, how),
                Change::Driver { .. } => Ok(()), // after the hives
                change => registry::change(image, change, how, &mut changed),
            };
            done.context(|| &effect.what)?;
        }
    }
    // Values of an older version of the component are its own.
    if component.others.is_empty() {
        image.warnings.extend(registry::note(component, &changed));
    }
    Ok(())
}

fn drivers_of(component: &ComponentPlan) -> impl Iterator<Item = &str> {
    let changes = component.effects.iter().flat_map(|effect| &effect.changes);
    changes.filter_map(|change| if let Change::Driver { inf } = change { Some(inf.as_str()) } else { None })
}

/// Drivers whose components leave it to the INF file what they are.
fn add_drivers(
    tree: &mut Tree,
    drivers: &[(&ComponentPlan, &Source<'_>, &str)],
    now: FileTime,
    applied: &mut Applied,
) -> Result<()> {
    if drivers.is_empty() {
        return Ok(());
    }
    let mut store = Store::open(tree, now)?;
    for (component, source, inf) in drivers {
        let package = driver_package(component, source, inf, now)?;
        let driver = store.compile(&package)?;
        let added = store.add(&package, &driver, &source.signature)?;
        applied.warnings.extend(added.notes.iter().map(|note| format!("{inf}: {note}")));
        applied.files += added.files;
        applied.drivers.push(added.published);
    }
    applied.warnings.extend(store.notes().iter().cloned());
    let changed = store.commit()?;
    merge(&mut applied.hives, changed);
    Ok(())
}

/// The payload of a component as a driver package.
fn driver_package(
    component: &ComponentPlan,
    source: &Source<'_>,
    inf: &str,
    now: FileTime,
) -> Result<drivers::Package> {
    let mut tree = Tree::new(Node::directory(0, Times::all(now)));
    for file in &component.payload {
        let content = place::graft(&mut tree, source.tree, &file.content);
        let (folder, name) = super::image::split(&file.name);
        let directory = place::ensure_folder(&mut tree, folder, now)?;
        let node = tree.add_node(Node::file(0, Times::all(now), content))?;
        tree.add_link(directory, Link { name: name.into(), short: None, node })?;
    }
    let (folder, name) = super::image::split(inf);
    let missing = || Error::invalid("an INF file that the component lacks").found(inf).context(&component.keyform);
    let folder = tree.find(folder).ok_or_else(missing)?;
    drivers::Package::new(Arc::new(tree), folder, name, source.origin)
}

/// Adds what changed later in the same hives.
pub(super) fn merge(hives: &mut Vec<regedit::Changed>, later: Vec<regedit::Changed>) {
    for changed in later {
        match hives.iter_mut().find(|hive| hive.hive == changed.hive) {
            Some(hive) => hive.add(&changed),
            None => hives.push(changed),
        }
    }
}
