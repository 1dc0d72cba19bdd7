//! What Windows keeps of packages and components: the keys of Component Based Servicing, the `COMPONENTS` hive, the winners of the side-by-side
//! store, and the documents beside them.
//!
//! ```text
//! SOFTWARE\...\Component Based Servicing\Packages\PKG        state, visibility, who put it in and when; Owners, Updates
//!                                        PackageIndex\PKG with version 0.0.0.0   the versions that there are
//! SOFTWARE\...\SideBySide\Winners\COMPONENT\10.0             which version counts: where this Windows has it
//! COMPONENTS\DerivedData\Components\KEYFORM                  identity, S256H (hash of the manifest), f!FILE, c!DEPLOYMENT
//!            CanonicalData\Deployments\DEPLOYMENT            appid, CatalogThumbprint, p! s! i! (package and update that pin, stage, install it)
//!            CanonicalData\Catalogs\SHA256                   c!DEPLOYMENT
//! \Windows\servicing\Packages\PKG.mum, .cat                  the package
//! \Windows\WinSxS\Catalogs\SHA256.cat                        the catalog, for the store
//! \Windows\System32\CatRoot\{F750E6C3-...}\PKG.cat           the catalog, for code integrity
//! ```
//!
//! `DerivedData\VersionedIndex` is an index of the components that Windows' servicing stack makes anew where it is missing; one that is there
//! does not know of new components, so it goes. That is also what people do who enter components by hand (abbodi1406's BypassESU).
//! `SessionsPending`, `PackagesPending`, `RebootPending` and `pending.xml` are never made: nothing is left to be done.
//!
//! Where the facts come from: gowim's notes on the `COMPONENTS` hive; Winter on states; `.reg` files that enter editions by hand (WindowsAddict
//! and others: a package that stands for itself is its own owner, 0x20070); the scripts of BypassESU on components and winners.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::image::{COMPONENTS, Image, SOFTWARE, STORE, check_path};
use super::installed::{MANIFESTS, PACKAGES, SERVICING as CBS, state};
use super::journal::Place;
use super::plan::{ComponentPlan, PackagePlan, Plan};
use crate::error::Result;
use crate::format::assembly::{Version, cbs_value_name, file_value_name};
use crate::format::catalog::hex;
use crate::format::hive::{KeyId, Value};
use crate::windows::hive_files::HiveFile;

/// The catalogs of the store.
pub(super) const CATALOGS: &str = r"\Windows\WinSxS\Catalogs";
/// The catalogs that code integrity asks, by the subsystem's id (`DRIVER_ACTION_VERIFY`'s).
pub(super) const CODE_INTEGRITY: &str = r"\Windows\System32\CatRoot\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";

pub(super) const WINNERS: &str = r"Microsoft\Windows\CurrentVersion\SideBySide\Winners";
pub(super) const DERIVED: &str = r"DerivedData\Components";
pub(super) const DEPLOYMENTS: &str = r"CanonicalData\Deployments";
pub(super) const KNOWN_CATALOGS: &str = r"CanonicalData\Catalogs";
pub(super) const INDEX: &str = r"DerivedData\VersionedIndex";

/// What an owner's value has besides the state.
const OWNER_FLAG: u32 = 0x0002_0000;
/// `Visibility` of packages that users see, and of those that are parts of others.
const VISIBLE: u32 = 1;
const HIDDEN: u32 = 2;

/// Writes all records of a plan.
pub(super) fn write(image: &mut Image<'_>, plan: &Plan) -> Result<()> {
    for (package, owners) in plan.packages.iter().zip(owners(plan)) {
        write_documents(image, package)?;
        write_package(image, package, &owners)?;
    }
    write_components(image, plan)?;
    plan.components.iter().try_for_each(|component| write_winner(image, component))
}

fn write_documents(image: &mut Image<'_>, package: &PackagePlan) -> Result<()> {
    let id = package.identity.package_id();
    check_path(&id)?;
    image.put_document(&format!(r"{PACKAGES}\{id}.mum"), &package.manifest)?;
    if let Some(catalog) = &package.catalog {
        image.put_document(&format!(r"{PACKAGES}\{id}.cat"), catalog)?;
        image.put_document(&format!(r"{CODE_INTEGRITY}\{id}.cat"), catalog)?;
        image.put_document(&format!(r"{CATALOGS}\{}.cat", thumbprint(catalog)), catalog)?;
    }
    Ok(())
}

/// What a catalog is called: its SHA-256.
fn thumbprint(catalog: &[u8]) -> String {
    hex(&Sha256::digest(catalog)).to_lowercase()
}

/// The subkey of a record, made in a container whose making is noted.
fn record<'i>(image: &'i mut Image<'_>, hive: &str, container: &str, name: &str) -> Result<(&'i mut HiveFile, KeyId)> {
    let place = Place::new(hive, container);
    let container = image.make_key(&place, None)?;
    let hive = image.open_hive(&place)?;
    let key = hive.make_sibling(container, name)?;
    Ok((hive, key))
}

fn set_if_absent(hive: &mut HiveFile, key: KeyId, name: &str, value: Value) -> Result<()> {
    if hive.hive().value(key, name).is_some() { Ok(()) } else { hive.set(key, name, value) }
}

fn write_package(image: &mut Image<'_>, package: &PackagePlan, owners: &BTreeSet<String>) -> Result<()> {
    let id = package.identity.package_id();
    let now = image.now.0;
    let (hive, key) = record(image, SOFTWARE, &format!(r"{CBS}\Packages"), &id)?;
    let was = hive.hive().value(key, "CurrentState").and_then(|value| value.as_dword());
    let is_there = was.is_some_and(state::is_whole);
    let was_installed = was.is_some_and(state::is_installed);
    let values = [
        ("InstallClient", Value::sz("DISM Package Manager Provider")),
        ("InstallName", Value::sz(&format!("{id}.mum"))),
        // Where its files were when it was put in; these are still there.
        ("InstallLocation", Value::sz(r"\\?\C:\Windows\servicing\Packages\")),
        ("CurrentState", Value::dword(state::INSTALLED)),
        ("Visibility", Value::dword(if package.within.is_some() { HIDDEN } else { VISIBLE })),
        ("SelfUpdate", Value::dword(0)),
        ("InstallTimeHigh", Value::dword((now >> 32) as u32)),
        ("InstallTimeLow", Value::dword(now as u32)),
        ("InstallUser", Value::sz("S-1-5-18")),
    ];
    for (name, value) in values {
        if is_there { set_if_absent(hive, key, name, value)? } else { hive.set(key, name, value)? }
    }
    let had_owners =
        hive.hive().subkey(key, "Owners").is_some_and(|owners| hive.hive().values(owners).next().is_some());
    // One that was there and that nobody owns must not go with the first that has it.
    if had_owners || !was_installed {
        let owned_by = hive.make_alike(key, "Owners")?;
        for owner in owners {
            set_if_absent(hive, owned_by, owner, Value::dword(OWNER_FLAG | state::INSTALLED))?;
        }
    }
    let mut selectable = package.updates.iter().filter(|update| update.is_selectable).peekable();
    if selectable.peek().is_some() {
        let updates = hive.make_alike(key, "Updates")?;
        for update in selectable {
            let state = if update.is_on { state::INSTALLED } else { state::RESOLVED };
            if was_installed && !update.is_on {
                set_if_absent(hive, updates, &update.name, Value::dword(state))?;
            } else {
                hive.set(updates, &update.name, Value::dword(state))?;
            }
        }
    }
    for older in &package.supersedes {
        let place = Place::new(SOFTWARE, &format!(r"{CBS}\Packages\{older}"));
        if image.value(&place, "CurrentState")?.is_some_and(|state| state == Value::dword(state::INSTALLED)) {
            image.set_value(&place, "CurrentState", Value::dword(state::SUPERSEDED))?;
        }
    }
    write_index(image, package, &id)
}

/// Of each package those that it is a part of; itself, if it is none.
fn owners(plan: &Plan) -> Vec<BTreeSet<String>> {
    let mut owners = vec![BTreeSet::new(); plan.packages.len()];
    for (at, package) in plan.packages.iter().enumerate() {
        let id = package.identity.package_id();
        for part in package.updates.iter().flat_map(|update| &update.packages) {
            if let Some(owners) = owners.get_mut(*part) {
                owners.insert(id.clone());
            }
        }
        let outer = package.within.and_then(|outer| plan.packages.get(outer));
        owners[at].insert(outer.map_or(id, |outer| outer.identity.package_id()));
    }
    owners
}

/// `PackageIndex`: its values are of the type that this Windows gives to them, the state as a number where it has none yet.
fn write_index(image: &mut Image<'_>, package: &PackagePlan, id: &str) -> Result<()> {
    let index = format!(r"{CBS}\PackageIndex");
    let (hive, key) = record(image, SOFTWARE, &index, &package.identity.versionless_package_id())?;
    let known = hive.hive();
    let siblings = known.open(&index).into_iter().flat_map(|index| known.subkeys(index));
    let usual = siblings.take(8).find_map(|sibling| known.values(sibling).next().map(|value| value.to_value()));
    set_if_absent(hive, key, id, usual.unwrap_or_else(|| Value::dword(state::INSTALLED)))
}

/// Who ties a deployment to the image.
#[derive(Default)]
struct Ties<'p> {
    /// Package ids and names of updates.
    updates: Vec<(String, &'p str)>,
    catalog: Option<String>,
}

/// The deployments of a plan, by their places. A driver that an update names is a deployment of its own.
fn ties(plan: &Plan) -> BTreeMap<usize, Ties<'_>> {
    let mut ties: BTreeMap<usize, Ties<'_>> = BTreeMap::new();
    for package in &plan.packages {
        let catalog = package.catalog.as_deref().map(thumbprint);
        for update in package.updates.iter().filter(|update| update.is_on) {
            for deployment in update.deployments.iter().chain(&update.drivers) {
                let own = ties.entry(*deployment).or_default();
                own.updates.push((package.identity.package_id(), &update.name));
                own.catalog = own.catalog.take().or_else(|| catalog.clone());
            }
        }
    }
    ties
}

fn write_components(image: &mut Image<'_>, plan: &Plan) -> Result<()> {
    if plan.components.is_empty() {
        return Ok(());
    }
    if image.hive(COMPONENTS).is_none() {
        image.warnings.push(format!(
            "the image has no {COMPONENTS}: its Windows will know of the packages, not of their components"
        ));
        return Ok(());
    }
    let ties = ties(plan);
    for (at, component) in plan.components.iter().enumerate() {
        write_component(image, plan, at, component, ties.contains_key(&at))?;
    }
    for (at, ties) in &ties {
        if let Some(component) = plan.components.get(*at) {
            write_deployment(image, component, ties)?;
        }
    }
    if plan.components.iter().any(|component| !component.is_there) {
        forget_index(image)?;
    }
    Ok(())
}

fn write_component(
    image: &mut Image<'_>,
    plan: &Plan,
    at: usize,
    component: &ComponentPlan,
    is_tied: bool,
) -> Result<()> {
    let mut deployments: BTreeSet<usize> = component.deployments.iter().copied().collect();
    if is_tied {
        deployments.insert(at);
    }
    let (hive, key) = record(image, COMPONENTS, DERIVED, &component.keyform)?;
    set_if_absent(hive, key, "identity", Value::binary(component.identity.store_text().into_bytes()))?;
    set_if_absent(hive, key, "S256H", Value::binary(Sha256::digest(&component.manifest).to_vec()))?;
    for file in &component.payload {
        set_if_absent(hive, key, &file_value_name(&file.name), Value::dword(1))?;
    }
    for deployment in deployments.iter().filter_map(|place| plan.components.get(*place)) {
        set_if_absent(hive, key, &deployment_value(&deployment.identity.deployment_keyform()), Value::binary([]))?;
    }
    Ok(())
}

/// The value that ties a component, or a catalog, to a deployment.
pub(super) fn deployment_value(keyform: &str) -> String {
    format!("c!{keyform}")
}

fn write_deployment(image: &mut Image<'_>, component: &ComponentPlan, ties: &Ties<'_>) -> Result<()> {
    let keyform = component.identity.deployment_keyform();
    let (hive, key) = record(image, COMPONENTS, DEPLOYMENTS, &keyform)?;
    set_if_absent(hive, key, "appid", Value::binary(component.identity.store_text().into_bytes()))?;
    if let Some(catalog) = &ties.catalog {
        set_if_absent(hive, key, "CatalogThumbprint", Value::sz(catalog))?;
    }
    for (package, update) in &ties.updates {
        for prefix in ['p', 's', 'i'] {
            let name = cbs_value_name(prefix, package, update);
            set_if_absent(hive, key, &name, Value::binary(tie_bytes(package, update)))?;
        }
    }
    if let Some(catalog) = &ties.catalog {
        let (hive, key) = record(image, COMPONENTS, KNOWN_CATALOGS, catalog)?;
        set_if_absent(hive, key, &deployment_value(&keyform), Value::binary([]))?;
    }
    Ok(())
}

/// The length of the package's id, a flag, the id, and behind a dot the name of the update.
fn tie_bytes(package: &str, update: &str) -> Vec<u8> {
    let mut bytes = (package.len() as u32).to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(format!("{package}.{update}").into_bytes());
    bytes
}

/// The package in such bytes.
pub(super) fn tied_package(bytes: &[u8]) -> Option<String> {
    let length = usize::try_from(crate::base::bytes::u32_at(bytes, 0)?).ok()?;
    let text = bytes.get(8..8usize.checked_add(length)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Takes the index away, of which the servicing stack makes a new one.
pub(super) fn forget_index(image: &mut Image<'_>) -> Result<()> {
    let place = Place::new(COMPONENTS, INDEX);
    let Some(index) = image.key(&place)? else { return Ok(()) };
    let hive = image.open_hive(&place)?;
    let versions: Vec<KeyId> = hive.hive().subkeys(index).collect();
    versions.into_iter().try_for_each(|version| hive.delete_key(version))
}

/// The winner of a component's versions, where this Windows keeps it: of all those that programs bind to by manifest (`type="win32"`), and of
/// those of which it has another version there.
fn write_winner(image: &mut Image<'_>, component: &ComponentPlan) -> Result<()> {
    let Some(hive) = image.hive(SOFTWARE) else { return Ok(()) };
    let Some(winners) = hive.open(WINNERS) else { return Ok(()) };
    let name = component.identity.winners_keyform();
    let is_bound = component.identity.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("win32"));
    if component.is_deployment || !(is_bound || hive.subkey(winners, name.as_str()).is_some()) {
        return Ok(());
    }
    let is_new = hive.subkey(winners, name.as_str()).is_none();
    let (hive, key) = record(image, SOFTWARE, WINNERS, &name)?;
    let [major, minor, ..] = component.identity.version.0;
    let branch = hive.make_alike(key, &format!("{major}.{minor}"))?;
    set_if_absent(hive, branch, &component.identity.version.to_string(), Value::binary([1]))?;
    choose_winner(hive, key, is_new)
}

/// Sets the defaults of a component's key among the winners by the versions in it; a branch without any goes. Not every key has a default
/// of its own: one that has none only gets it if it `is_new`.
pub(super) fn choose_winner(hive: &mut HiveFile, key: KeyId, is_new: bool) -> Result<()> {
    let mut highest: Option<(Version, String)> = None;
    let branches: Vec<KeyId> = hive.hive().subkeys(key).collect();
    for branch in branches {
        let name = hive.hive().name(branch).to_string();
        let versions = hive.hive().values(branch).filter_map(|value| Version::parse(&value.name.to_string()));
        // The default value has no name, and is no version.
        let Some(newest) = versions.filter(|version| *version != Version::default()).max() else {
            hive.delete_key(branch)?;
            continue;
        };
        hive.set(branch, "", Value::sz(&newest.to_string()))?;
        if highest.as_ref().is_none_or(|(version, _)| *version < newest) {
            highest = Some((newest, name));
        }
    }
    match highest {
        Some((_, branch)) if is_new || hive.hive().value(key, "").is_some() => hive.set(key, "", Value::sz(&branch)),
        Some(_) => Ok(()),
        None => hive.delete_key(key),
    }
}

/// The deployments of the image that are installed: `i!` values, by names in lower case; nothing where there is no `COMPONENTS` hive.
pub(super) fn installed_deployments(image: &Image<'_>) -> Option<BTreeSet<String>> {
    let hive = image.hive(COMPONENTS)?;
    let deployments = hive.open(DEPLOYMENTS).into_iter().flat_map(|key| hive.subkeys(key));
    let installed = deployments
        .filter(|key| hive.values(*key).any(|value| value.name.to_string().to_lowercase().starts_with("i!")));
    Some(installed.map(|key| hive.name(key).to_string().to_lowercase()).collect())
}

/// Whether a component of the image's store is installed, and not only waiting there.
pub(super) fn is_installed(image: &Image<'_>, keyform: &str, installed: Option<&BTreeSet<String>>) -> bool {
    let (Some(hive), Some(installed)) = (image.hive(COMPONENTS), installed) else { return true };
    let key = hive.open(DERIVED).and_then(|key| hive.subkey(key, keyform));
    key.is_some_and(|key| {
        let names = hive.values(key).map(|value| value.name.to_string().to_lowercase());
        names.into_iter().any(|name| name.strip_prefix("c!").is_some_and(|deployment| installed.contains(deployment)))
    })
}

/// The path of a component's manifest.
pub(super) fn manifest_path(keyform: &str) -> String {
    format!(r"{MANIFESTS}\{keyform}.manifest")
}

/// The path of a component's folder in the store.
pub(super) fn folder_path(keyform: &str) -> String {
    format!(r"{STORE}\{keyform}")
}
