//! Which packages go.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use crate::base::near;
use crate::error::{Context, Error, Result};
use crate::format::assembly::{Element, Identity, Item, PackageManifest};
use crate::format::catalog::hex;
use crate::windows::packages::image::{COMPONENTS, Image};
use crate::windows::packages::installed::{Installed, InstalledPackage, PACKAGES, package_family, state};
use crate::windows::packages::resolve::{is_named, neutral};

/// Messages name so many packages one by one.
const NAMED: usize = 6;

/// What goes.
pub(super) struct Chosen {
    /// The package that was asked for, and those that go with it.
    pub(super) packages: Vec<InstalledPackage>,
    /// Nested packages that stay for others, by their ids.
    pub(super) shared: Vec<String>,
    /// Older versions that are installed again, by their ids.
    pub(super) superseded: Vec<String>,
    /// Catalogs that no package has any more, by their SHA-256.
    pub(super) catalogs: BTreeSet<String>,
    /// The deployments and drivers that the packages bring and no other does.
    pub(super) brought: Vec<Identity>,
}

impl Chosen {
    pub(super) fn ids(&self) -> Vec<String> {
        self.packages.iter().map(|package| package.id.clone()).collect()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.packages.iter().any(|package| package.id.eq_ignore_ascii_case(id))
    }
}

/// A package that is in the image, and what its manifest says; nothing for one whose manifest is not there.
struct Known<'i> {
    package: &'i InstalledPackage,
    manifest: Option<PackageManifest>,
}

pub(super) fn choose(image: &Image<'_>, installed: &Installed, name: &str) -> Result<Chosen> {
    let asked = find(installed, name)?;
    refuse_states(asked)?;
    let mut ids: BTreeSet<String> = [asked.id.to_lowercase()].into();
    let mut packages = vec![asked.clone()];
    // Those that only these own, and so on.
    loop {
        let is_left = |package: &&InstalledPackage| !ids.contains(&package.id.to_lowercase());
        let is_orphan = |package: &&InstalledPackage| {
            !package.owners.is_empty() && package.owners.iter().all(|owner| ids.contains(&owner.to_lowercase()))
        };
        let Some(next) = installed.packages().iter().filter(is_left).find(is_orphan) else { break };
        ids.insert(next.id.to_lowercase());
        packages.push(next.clone());
    }
    packages.iter().skip(1).try_for_each(|nested| match nested.state {
        state::PERMANENT => {
            Err(Error::invalid("a package with a part that is permanent").found(&nested.id).context(&asked.id))
        }
        _ => Ok(()),
    })?;
    let others: Vec<&InstalledPackage> =
        installed.packages().iter().filter(|other| !ids.contains(&other.id.to_lowercase())).collect();
    let staying: Vec<Known<'_>> = known(image, others.iter().copied())?;
    let going: Vec<Known<'_>> = known(image, packages.iter())?;
    if let Some(missing) = going.iter().find(|known| known.manifest.is_none()) {
        let path = format!(r"{PACKAGES}\{}.mum", missing.package.id);
        return Err(Error::unsupported("a package whose manifest is not in the image").found(path));
    }
    if let Some(manifest) =
        going.iter().filter_map(|known| known.manifest.as_ref()).find(|manifest| manifest.is_permanent)
    {
        return Err(
            Error::invalid("a package that is permanent cannot be taken out").found(manifest.identity.package_id())
        );
    }
    refuse_parents(&packages, &staying)?;
    let shared = others.iter().filter(|other| other.owners.iter().any(|owner| ids.contains(&owner.to_lowercase())));
    let shared = shared.map(|other| other.id.clone()).collect();
    let superseded = superseded(&packages, &others);
    let catalogs = catalogs(image, &packages, &others)?;
    let brought = brought(&going, &staying, image.hive(COMPONENTS).is_some());
    Ok(Chosen { packages, shared, superseded, catalogs, brought })
}

/// A package by its id, or by its name if only one that is installed has it.
fn find<'i>(installed: &'i Installed, name: &str) -> Result<&'i InstalledPackage> {
    if let Some(package) = installed.package(name) {
        return Ok(package);
    }
    let named: Vec<&InstalledPackage> =
        installed.packages().iter().filter(|package| package.identity.name.eq_ignore_ascii_case(name)).collect();
    let on: Vec<&InstalledPackage> = named.iter().copied().filter(|package| package.is_installed()).collect();
    match (on.as_slice(), named.as_slice()) {
        ([one], _) | ([], [one]) => Ok(one),
        ([], []) => {
            let error = Error::invalid("no such package in the image").found(name);
            let names =
                installed.packages().iter().flat_map(|package| [package.identity.name.clone(), package.id.clone()]);
            let near = near::nearest(name, names);
            Err(match near::did_you_mean(&near) {
                Some(hint) => error.hint(hint),
                None => error.hint("`nanovhd packages` lists what an image has"),
            })
        }
        ([], many) | (many, _) => {
            let ids: Vec<&str> = many.iter().map(|package| package.id.as_str()).collect();
            Err(Error::invalid("several packages have that name")
                .found(name)
                .allowed(some(&ids))
                .hint("name one of them by its whole id"))
        }
    }
}

fn some(texts: &[&str]) -> String {
    let named = texts.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn refuse_states(package: &InstalledPackage) -> Result<()> {
    match package.state {
        state::INSTALLED | state::PARTIALLY_INSTALLED => {}
        state::PERMANENT => {
            return Err(Error::invalid("a package that is permanent cannot be taken out")
                .found(&package.id)
                .hint("it is a part of this Windows: take an image without it"));
        }
        other => {
            let found = format!("{} ({})", package.id, state::word(other));
            let hint = match other {
                state::SUPERSEDED => {
                    "a newer version of it has taken its place: take that one out, and this one counts again"
                }
                _ => "there is nothing to take out: `nanovhd packages IMAGE` lists what is installed",
            };
            return Err(Error::invalid("a package that is not installed").found(found).hint(hint));
        }
    }
    let others: Vec<&str> =
        package.owners.iter().filter(|owner| !owner.eq_ignore_ascii_case(&package.id)).map(String::as_str).collect();
    if !others.is_empty() && others.len() == package.owners.len() {
        return Err(Error::invalid("a part of another package, which goes with that")
            .found(&package.id)
            .hint(format_args!("name the whole: {}", some(&others))));
    }
    Ok(())
}

/// The manifests of packages.
fn known<'i>(image: &Image<'_>, packages: impl Iterator<Item = &'i InstalledPackage>) -> Result<Vec<Known<'i>>> {
    let read = |package: &'i InstalledPackage| {
        let path = format!(r"{PACKAGES}\{}.mum", package.id);
        let bytes = image.tree.read_file(&path)?;
        let manifest = bytes.map(|bytes| Element::parse(&bytes).and_then(|document| PackageManifest::read(&document)));
        Ok(Known { package, manifest: manifest.transpose().context(|| path)? })
    };
    packages.map(read).collect()
}

/// A package that stays must keep what it belongs to.
fn refuse_parents(going: &[InstalledPackage], staying: &[Known<'_>]) -> Result<()> {
    let installed = || staying.iter().map(|known| known.package).filter(|package| package.is_installed());
    let (going, others) = (by_name(going.iter()), by_name(installed()));
    for child in staying.iter().filter(|known| known.package.is_installed()) {
        let parents = child.manifest.as_ref().map_or(&[][..], |manifest| &manifest.parents);
        let named: Vec<&Identity> = parents.iter().flat_map(|parent| &parent.identities).collect();
        // As it is put in: one of a language belongs to the neutral one of its name as well.
        let base = neutral(&child.package.identity);
        let lost = lost(&named, &going, &others);
        let lost = lost.or_else(|| base.and_then(|base| self::lost(&[&base], &going, &others)));
        if let Some(lost) = lost {
            return Err(Error::invalid("a package that another one belongs to cannot be taken out before that one")
                .found(&lost.id)
                .hint(format_args!("take out first: {}", child.package.id)));
        }
    }
    Ok(())
}

type ByName<'i> = HashMap<String, Vec<&'i InstalledPackage>>;

fn by_name<'i>(packages: impl Iterator<Item = &'i InstalledPackage>) -> ByName<'i> {
    let mut named = ByName::new();
    packages.for_each(|package| named.entry(package.identity.name.to_lowercase()).or_default().push(package));
    named
}

/// The package among those that go that is the last of those which are named, any of which will do.
fn lost<'i>(named: &[&Identity], going: &ByName<'i>, others: &ByName<'_>) -> Option<&'i InstalledPackage> {
    fn one_of<'i>(wanted: &Identity, known: &ByName<'i>) -> Option<&'i InstalledPackage> {
        let packages = known.get(&wanted.name.to_lowercase()).map_or(&[][..], Vec::as_slice);
        packages.iter().copied().find(|package| is_named(wanted, &package.identity))
    }
    let lost = named.iter().find_map(|wanted| one_of(wanted, going))?;
    named.iter().all(|wanted| one_of(wanted, others).is_none()).then_some(lost)
}

/// Of each family that loses its only installed version, the newest of those whose place that had taken.
fn superseded(going: &[InstalledPackage], others: &[&InstalledPackage]) -> Vec<String> {
    let mut again = Vec::new();
    for gone in going {
        let family = package_family(&gone.identity);
        let versions: Vec<_> = others.iter().filter(|other| package_family(&other.identity) == family).collect();
        if versions.iter().any(|other| other.is_installed()) {
            continue;
        }
        let older = versions.iter().filter(|other| other.state == state::SUPERSEDED);
        again.extend(older.max_by_key(|other| other.identity.version).map(|other| other.id.clone()));
    }
    again
}

fn catalogs(image: &Image<'_>, going: &[InstalledPackage], others: &[&InstalledPackage]) -> Result<BTreeSet<String>> {
    let thumbprint = |package: &InstalledPackage| -> Result<Option<String>> {
        let bytes = image.tree.read_file(&format!(r"{PACKAGES}\{}.cat", package.id))?;
        Ok(bytes.map(|bytes| hex(&Sha256::digest(&bytes)).to_lowercase()))
    };
    let mut gone = BTreeSet::new();
    for package in going {
        gone.extend(thumbprint(package)?);
    }
    if !gone.is_empty() {
        for package in others {
            if let Some(kept) = thumbprint(package)? {
                gone.remove(&kept);
            }
        }
    }
    Ok(gone)
}

/// Deployments and drivers of the packages that go, without those that packages which stay have, too. Where the image says which are only staged,
/// those that are do not count.
fn brought(going: &[Known<'_>], staying: &[Known<'_>], says_staged: bool) -> Vec<Identity> {
    let items = |known: &Known<'_>| -> Vec<Identity> {
        let updates = known.manifest.iter().flat_map(|manifest| &manifest.updates).flat_map(|update| &update.items);
        let identities = updates.filter_map(|item| match item {
            Item::Component(identity) | Item::Driver { identity, .. } => Some(identity.clone()),
            Item::Package { .. } => None,
        });
        identities.collect()
    };
    let has = |known: &&Known<'_>| !says_staged || known.package.is_installed();
    let kept: BTreeSet<String> =
        staying.iter().filter(has).flat_map(items).map(|identity| identity.keyform()).collect();
    let mut seen = BTreeSet::new();
    going
        .iter()
        .flat_map(items)
        .filter(|identity| !kept.contains(&identity.keyform()) && seen.insert(identity.keyform()))
        .collect()
}
