//! Packages out of an image.
//!
//! ```text
//! package + those nested in it that nobody else has --> deployments that no other package has
//!     --> components that no other deployment has --> what their manifests set, and nobody else's does
//! ```
//!
//! A deployment that another package only stages is not had by it: what it brings is undone, and stays in the store.
//!
//! A manifest is compiled for that as it is for putting it in, so that both are the same by construction. What a removed component has set is
//! undone as far as it is still so:
//!
//! | what others say of it | what becomes of it |
//! |---|---|
//! | a component that this program has put in sets it too | as that one has it |
//! | the account has it (`packages/journal.rs`) | as it was before |
//! | another component sets it too | as that one has it: the highest version that is left, if it is the same component |
//! | the account has that it was not there | it goes, whatever it is by now; keys and directories when nothing is left in them |
//! | nobody put the component in here | it goes, if it is as the component has it; keys and directories when nothing is left in them |
//! | it was so before | it stays |
//!
//! Of a list or path that components join only their own texts go. What was there before the packages, and what somebody has changed since,
//! stays as it is.
//!
//! # What is not given back
//! `VersionedIndex` of the `COMPONENTS` hive, which Windows makes anew (see `packages/records.rs`); changes of a driver's INF file
//! outside of devices and services, as the driver store has it; what a Windows that ran in between has made of it.

mod choose;
mod library;
mod undo;

use std::collections::BTreeSet;

use serde::Serialize;

use self::choose::Chosen;
pub(super) use self::library::Compile;
use self::library::Library;
use super::compile::{self, Target};
use super::first_boot::{self, InQueue};
use super::image::{COMPONENTS, Image, SOFTWARE};
use super::installed::{Installed, InstalledPackage, PACKAGES, SERVICING, state};
use super::journal::Place;
use super::records::{self, CATALOGS, CODE_INTEGRITY, DEPLOYMENTS, DERIVED, KNOWN_CATALOGS, WINNERS};
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::format::hive::{KeyId, Value};
use crate::tree::Tree;
use crate::windows::drivers::Store;
use crate::windows::hive_files::HiveFile;
use crate::windows::regedit;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The packages that are gone, that which was asked for first.
    pub packages: Vec<String>,
    /// The components that are gone, by their keyforms.
    pub components: Vec<String>,
    /// Names of files and directories that went, or lead elsewhere now.
    pub files: usize,
    /// The hives that changed.
    pub hives: Vec<regedit::Changed>,
    /// Drivers that went, by their published names.
    pub drivers: Vec<String>,
    /// Those that waited for the first start, and do so no more.
    pub waited: Vec<InQueue>,
    /// What stays, and why.
    pub warnings: Vec<String>,
}

/// Takes a package out, by its id, or by its name if only one that is installed has it. What waits for the first start by that id or name goes from
/// the queue. `base` is the base manifest for packed ones. After an error the tree is of no use.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) for a package that the image has not, that is permanent, or that others belong to;
/// [`Unsupported`](crate::error::Kind::Unsupported) for an image in the middle of servicing, for components whose manifests cannot be read, and
/// for those that Windows has put in in ways that cannot be undone here.
pub fn remove(tree: &mut Tree, name: &str, base: Option<&[u8]>, now: FileTime) -> Result<Removed> {
    let installed = Installed::read(tree)?;
    let waited = first_boot::take(tree, name, now)?;
    let has = |text: &str| text.eq_ignore_ascii_case(name);
    let is_asked = |package: &&InstalledPackage| has(&package.id) || has(&package.identity.name);
    if !waited.is_empty() && !installed.packages().iter().filter(is_asked).any(InstalledPackage::is_installed) {
        return Ok(Removed { waited, ..Removed::default() });
    }
    let target = target(&installed)?;
    let compile = |document: &_, manifest: &_| {
        let compiled = compile::compile(document, manifest, &target)?;
        Ok((compiled.effects, compiled.left_out))
    };
    let removed = remove_with(tree, name, base, now, &installed, &compile)?;
    Ok(Removed { waited, ..removed })
}

/// What of the image the variables of manifests need.
fn target(installed: &Installed) -> Result<Target> {
    let machine = installed.machine().ok_or_else(|| {
        Error::new(
            crate::error::Kind::NotWindows,
            "the image does not say which processor it is for, so packages cannot be taken out",
        )
    })?;
    let language = installed.languages().first().cloned().unwrap_or_else(|| "en-US".to_owned());
    Ok(Target { machine, language, lacks: installed.lacks().clone() })
}

/// The same with another compiler.
#[cfg(test)]
pub(super) fn remove_by(tree: &mut Tree, name: &str, now: FileTime, compile: Compile<'_>) -> Result<Removed> {
    let installed = Installed::read(tree)?;
    remove_with(tree, name, None, now, &installed, compile)
}

fn remove_with(
    tree: &mut Tree,
    name: &str,
    base: Option<&[u8]>,
    now: FileTime,
    installed: &Installed,
    compile: Compile<'_>,
) -> Result<Removed> {
    let mut image = Image::open(tree, now)?;
    let chosen = choose::choose(&image, installed, name)?;
    image.refuse_pending()?;
    let mut library = Library::read(&image, base, compile)?;
    let doomed = library.doomed(&image, &chosen);
    let drivers = undo::undo(&mut image, &mut library, &doomed)?;
    forget_packages(&mut image, &chosen)?;
    let staged = library.staged(&image, &chosen, &doomed);
    forget_components(&mut image, &library, &chosen, &doomed, &staged)?;
    forget_made(&mut image)?;
    image.warnings.extend(library.remarks());
    let (files, hives, warnings) = image.commit()?;
    let mut removed = Removed {
        packages: chosen.ids(),
        components: doomed.difference(&staged).cloned().collect(),
        files,
        hives,
        warnings,
        ..Removed::default()
    };
    remove_drivers(tree, &drivers, now, &mut removed)?;
    Ok(removed)
}

/// The records of the packages.
fn forget_packages(image: &mut Image<'_>, chosen: &Chosen) -> Result<()> {
    let packages = Place::new(SOFTWARE, &format!(r"{SERVICING}\Packages"));
    let index = Place::new(SOFTWARE, &format!(r"{SERVICING}\PackageIndex"));
    for package in &chosen.packages {
        let id = &package.id;
        for path in
            [format!(r"{PACKAGES}\{id}.mum"), format!(r"{PACKAGES}\{id}.cat"), format!(r"{CODE_INTEGRITY}\{id}.cat")]
        {
            image.take(&path)?;
        }
        forget(image, &packages, id)?;
        let versions = Place::new(SOFTWARE, &format!(r"{}\{}", index.path, package.identity.versionless_package_id()));
        if let Some(key) = image.key(&versions)? {
            let hive = image.open_hive(&versions)?;
            hive.delete_value(key, id)?;
            if hive.hive().values(key).next().is_none() && hive.hive().subkey_count(key) == 0 {
                hive.delete_key(key)?;
            }
        }
    }
    give_back_owners(image, &packages, chosen)?;
    give_back_superseded(image, &packages, chosen)?;
    for folder in [PACKAGES, CODE_INTEGRITY] {
        image.prune_directories(folder, |_| true)?;
    }
    prune(image, &packages)?;
    prune(image, &index)
}

/// Deletes a record.
fn forget(image: &mut Image<'_>, container: &Place, name: &str) -> Result<()> {
    let Some(key) = image.key(container)? else { return Ok(()) };
    let hive = image.open_hive(container)?;
    hive.hive().subkey(key, name).map_or(Ok(()), |key| hive.delete_key(key))
}

/// Deletes a key and those above it that the packages have made, as far as they are empty.
fn prune(image: &mut Image<'_>, place: &Place) -> Result<()> {
    let mut path = place.path.as_str();
    while image.journal.is_made(&Place::new(&place.hive, path).to_string()) {
        let at = Place::new(&place.hive, path);
        let Some(key) = image.key(&at)? else { break };
        let hive = image.open_hive(&at)?;
        if hive.hive().subkey_count(key) > 0 || hive.hive().values(key).next().is_some() {
            break;
        }
        hive.delete_key(key)?;
        path = super::image::split(path).0;
        if path.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Packages that stay have lost an owner.
fn give_back_owners(image: &mut Image<'_>, packages: &Place, chosen: &Chosen) -> Result<()> {
    for id in &chosen.shared {
        let owners = Place::new(SOFTWARE, &format!(r"{}\{id}\Owners", packages.path));
        let Some(key) = image.key(&owners)? else { continue };
        let hive = image.open_hive(&owners)?;
        for gone in &chosen.packages {
            hive.delete_value(key, &gone.id)?;
        }
    }
    Ok(())
}

/// Older versions whose place the removed ones have taken are installed again.
fn give_back_superseded(image: &mut Image<'_>, packages: &Place, chosen: &Chosen) -> Result<()> {
    for id in &chosen.superseded {
        let place = Place::new(SOFTWARE, &format!(r"{}\{id}", packages.path));
        let Some(key) = image.key(&place)? else { continue };
        let value = image.journal.take_value(&place, "CurrentState").unwrap_or_else(|| Value::dword(state::INSTALLED));
        image.open_hive(&place)?.set(key, "CurrentState", value)?;
    }
    Ok(())
}

/// The records and the folders of the components.
fn forget_components(
    image: &mut Image<'_>,
    library: &Library<'_>,
    chosen: &Chosen,
    doomed: &BTreeSet<String>,
    staged: &BTreeSet<String>,
) -> Result<()> {
    for keyform in doomed {
        if !staged.contains(keyform) {
            image.take(&records::manifest_path(keyform))?;
            image.take(&records::folder_path(keyform))?;
        }
        image.journal.remove_component(keyform);
        forget_winner(image, library, keyform)?;
    }
    if image.hive(COMPONENTS).is_some() {
        let gone: BTreeSet<String> = doomed.difference(staged).cloned().collect();
        untie(image, library, chosen, &gone)?;
        if !doomed.is_empty() {
            records::forget_index(image)?;
        }
    }
    forget_catalogs(image, chosen)?;
    for folder in [super::installed::MANIFESTS, super::image::STORE, CATALOGS] {
        image.prune_directories(folder, |_| true)?;
    }
    Ok(())
}

fn forget_winner(image: &mut Image<'_>, library: &Library<'_>, keyform: &str) -> Result<()> {
    let Some(identity) = library.identity(keyform) else { return Ok(()) };
    let [major, minor, ..] = identity.version.0;
    let place = Place::new(SOFTWARE, &format!(r"{WINNERS}\{}", identity.winners_keyform()));
    let Some(key) = image.key(&place)? else { return Ok(()) };
    let hive = image.open_hive(&place)?;
    let Some(branch) = hive.hive().subkey(key, format!("{major}.{minor}").as_str()) else { return Ok(()) };
    if hive.delete_value(branch, &identity.version.to_string())? {
        records::choose_winner(hive, key, false)?;
    }
    Ok(())
}

/// Takes components and deployments out of the `COMPONENTS` hive, and the ties of the packages off those that stay.
fn untie(image: &mut Image<'_>, library: &Library<'_>, chosen: &Chosen, doomed: &BTreeSet<String>) -> Result<()> {
    let containers = [DERIVED, DEPLOYMENTS, KNOWN_CATALOGS].map(|path| Place::new(COMPONENTS, path));
    let [derived, deployments, catalogs] = &containers;
    let gone: BTreeSet<String> = library.deployments_of(doomed).iter().map(|name| name.to_lowercase()).collect();
    for keyform in doomed {
        forget(image, derived, keyform)?;
    }
    for name in &gone {
        forget(image, deployments, name)?;
    }
    for container in [derived, catalogs] {
        let emptied = drop_values(image, container, |name, _| {
            name.to_lowercase().strip_prefix("c!").is_some_and(|deployment| gone.contains(deployment))
        })?;
        // A component that no deployment brings is no record of anything else; a catalog without deployments is of no use.
        if *container == *catalogs {
            let hive = image.open_hive(container)?;
            emptied.into_iter().try_for_each(|key| hive.delete_key(key))?;
        }
    }
    drop_values(image, deployments, |name, data| {
        let is_tie = ["p!", "s!", "i!"].iter().any(|prefix| name.to_lowercase().starts_with(prefix));
        is_tie && records::tied_package(data).is_some_and(|id| chosen.has(&id))
    })?;
    containers.iter().try_for_each(|container| prune(image, container))
}

/// Deletes values of the keys in a container; gives the keys that have none left and had some.
fn drop_values(
    image: &mut Image<'_>,
    container: &Place,
    is_doomed: impl Fn(&str, &[u8]) -> bool,
) -> Result<Vec<KeyId>> {
    let Some(key) = image.key(container)? else { return Ok(Vec::new()) };
    let hive: &mut HiveFile = image.open_hive(container)?;
    let keys: Vec<KeyId> = hive.hive().subkeys(key).collect();
    let mut emptied = Vec::new();
    for key in keys {
        let values = hive.hive().values(key).map(|value| (value.name.to_string(), value.data.into_owned()));
        let doomed: Vec<String> = values.filter(|(name, data)| is_doomed(name, data)).map(|(name, _)| name).collect();
        for name in &doomed {
            hive.delete_value(key, name)?;
        }
        if !doomed.is_empty() && hive.hive().values(key).next().is_none() {
            emptied.push(key);
        }
    }
    Ok(emptied)
}

/// Catalogs of the store that no package has any more.
fn forget_catalogs(image: &mut Image<'_>, chosen: &Chosen) -> Result<()> {
    for catalog in &chosen.catalogs {
        image.take(&format!(r"{CATALOGS}\{catalog}.cat"))?;
    }
    Ok(())
}

/// Keys, values and directories that are gone are not to be noted any more.
fn forget_made(image: &mut Image<'_>) -> Result<()> {
    let mut gone = BTreeSet::new();
    for what in image.journal.made().map(str::to_owned).collect::<Vec<_>>() {
        let is_there = match Place::parse(&what) {
            None => image.tree.find(&what).is_some(),
            Some(place) => match place.path.split_once(r"\\") {
                Some((path, name)) => image.value(&Place::new(&place.hive, path), name)?.is_some(),
                None => image.key(&place)?.is_some(),
            },
        };
        if !is_there {
            gone.insert(what);
        }
    }
    image.journal.retain_made(|what| !gone.contains(what));
    Ok(())
}

/// Drivers that the components had put into the driver store.
fn remove_drivers(tree: &mut Tree, names: &[String], now: FileTime, removed: &mut Removed) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut store = Store::open(tree, now)?;
    for name in names {
        let database = store.database();
        let own = database.packages().iter().find(|package| package.package_name.eq_ignore_ascii_case(name));
        let Some(published) = own.map(|package| package.published.clone()) else {
            removed.warnings.push(format!("the driver store has no {name} any more"));
            continue;
        };
        let gone = store.remove(&published).context(|| name)?;
        removed.warnings.extend(gone.notes.iter().map(|note| format!("{published}: {note}")));
        removed.files += gone.files;
        removed.drivers.push(published);
    }
    let changed = store.commit()?;
    super::apply::merge(&mut removed.hives, changed);
    Ok(())
}
