//! The manifests of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::choose::Chosen;
use crate::error::{Context, Error, Result};
use crate::format::assembly::{DependencyKind, Element, Identity, Manifest, Version};
use crate::format::delta;
use crate::format::hive::{Hive, KeyId};
use crate::windows::packages::image::{COMPONENTS, Image};
use crate::windows::packages::installed::MANIFESTS;
use crate::windows::packages::plan::{Effect, LeftOut};
use crate::windows::packages::records::{self, DEPLOYMENTS, DERIVED, manifest_path};

/// The longest manifest.
const MAX_MANIFEST: usize = 64 << 20;

/// From a manifest to what it changes, and what of it is left out.
pub(in crate::windows::packages) type Compile<'c> =
    &'c dyn Fn(&Element, &Manifest) -> Result<(Vec<Effect>, Vec<LeftOut>)>;

/// The manifests, with their headers.
pub(super) struct Library<'c> {
    /// By keyform, as the files are called.
    headers: BTreeMap<String, Manifest>,
    /// Those that cannot be read, and why.
    unreadable: BTreeMap<String, Error>,
    base: Option<&'c [u8]>,
    compile: Compile<'c>,
    /// Components that stay and that could not be compiled.
    unsaid: usize,
}

impl<'c> Library<'c> {
    pub(super) fn read(image: &Image<'_>, base: Option<&'c [u8]>, compile: Compile<'c>) -> Result<Self> {
        let folder = image.tree.find(MANIFESTS);
        let names = folder.into_iter().flat_map(|folder| image.tree.node(folder).children()).filter_map(|link| {
            let name = link.name.to_string();
            let stem = name.len().checked_sub(".manifest".len())?;
            let is_it = name.get(stem..)?.eq_ignore_ascii_case(".manifest");
            is_it.then(|| name[..stem].to_owned())
        });
        let mut library = Self { headers: BTreeMap::new(), unreadable: BTreeMap::new(), base, compile, unsaid: 0 };
        for name in names.collect::<Vec<_>>() {
            match library.open(image, &name) {
                Ok((_, manifest)) => drop(library.headers.insert(name, manifest)),
                Err(error) => drop(library.unreadable.insert(name, error)),
            }
        }
        Ok(library)
    }

    fn open(&self, image: &Image<'_>, keyform: &str) -> Result<(Element, Manifest)> {
        let path = manifest_path(keyform);
        let bytes = image.tree.read_file(&path)?.unwrap_or_default();
        let read = || {
            let document = Element::parse(&delta::unpack(&bytes, self.base, MAX_MANIFEST)?)?;
            let manifest = Manifest::read(&document)?;
            Ok((document, manifest))
        };
        read().context(|| path)
    }

    /// What a manifest changes, and what of it is left out.
    pub(super) fn compiled(&self, image: &Image<'_>, keyform: &str) -> Result<(Vec<Effect>, Vec<LeftOut>)> {
        let (document, manifest) = self.open(image, keyform)?;
        (self.compile)(&document, &manifest).context(|| manifest_path(keyform))
    }

    /// Who a component is.
    pub(super) fn identity(&self, keyform: &str) -> Option<&Identity> {
        self.find(keyform).map(|(_, manifest)| &manifest.identity)
    }

    fn find(&self, keyform: &str) -> Option<(&String, &Manifest)> {
        self.headers
            .get_key_value(keyform)
            .or_else(|| self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(keyform)))
    }

    /// The names of deployments in `COMPONENTS`, of those that are among components.
    pub(super) fn deployments_of(&self, keyforms: &BTreeSet<String>) -> Vec<String> {
        keyforms.iter().filter_map(|keyform| self.identity(keyform)).map(Identity::deployment_keyform).collect()
    }

    /// The components that go with packages: those that no deployment brings but theirs.
    pub(super) fn doomed(&self, image: &Image<'_>, chosen: &Chosen) -> BTreeSet<String> {
        let deployments: Vec<&Identity> =
            chosen.brought.iter().filter(|identity| !is_tied_elsewhere(image, identity, chosen)).collect();
        let mut doomed: BTreeSet<String> = deployments
            .iter()
            .filter_map(|identity| self.find(&identity.keyform()).map(|(name, _)| name.clone()))
            .collect();
        match image.hive(COMPONENTS) {
            Some(hive) => {
                let installed = records::installed_deployments(image).unwrap_or_default();
                doomed.extend(self.by_ties(hive, &installed, &deployments));
            }
            None => self.add_dependencies(&mut doomed),
        }
        doomed
    }

    /// The components that `COMPONENTS` ties to these deployments, and to no other that is installed.
    fn by_ties(&self, hive: &Hive, installed: &BTreeSet<String>, deployments: &[&Identity]) -> Vec<String> {
        let gone: BTreeSet<String> =
            deployments.iter().map(|identity| identity.deployment_keyform().to_lowercase()).collect();
        let components = hive.open(DERIVED).into_iter().flat_map(|key| hive.subkeys(key));
        let is_installed = |deployment: &String| installed.contains(deployment);
        let is_doomed = |key: &_| {
            let ties: Vec<String> = deployments_in(hive, *key).collect();
            let is_gone = |deployment: &String| gone.contains(deployment);
            ties.iter().any(is_gone) && ties.iter().filter(|tie| is_installed(tie)).all(is_gone)
        };
        let names = components.filter(is_doomed).map(|key| hive.name(key).to_string());
        names.map(|name| self.find(&name).map_or(name.clone(), |(own, _)| own.clone())).collect()
    }

    /// Those of the doomed that others still stage: they are installed no longer, but stay in the store.
    pub(super) fn staged(&self, image: &Image<'_>, chosen: &Chosen, doomed: &BTreeSet<String>) -> BTreeSet<String> {
        let Some(hive) = image.hive(COMPONENTS) else { return BTreeSet::new() };
        let gone: BTreeSet<String> = self.deployments_of(doomed).iter().map(|name| name.to_lowercase()).collect();
        let deployments = hive.open(DEPLOYMENTS);
        let is_staged = |deployment: &str| {
            let key = deployments.and_then(|key| hive.subkey(key, deployment));
            key.is_some_and(|key| !gone.contains(deployment) || is_tied(hive, key, &["p!", "s!", "i!"], chosen))
        };
        let components = hive.open(DERIVED);
        let stays = |keyform: &&String| {
            let own = self.identity(keyform).is_some_and(|own| is_staged(&own.deployment_keyform().to_lowercase()));
            let key = components.and_then(|key| hive.subkey(key, keyform.as_str()));
            own || key.is_some_and(|key| deployments_in(hive, key).any(|deployment| is_staged(&deployment)))
        };
        doomed.iter().filter(stays).cloned().collect()
    }

    /// Without that hive: what the doomed bring, and nothing else does.
    fn add_dependencies(&self, doomed: &mut BTreeSet<String>) {
        let mut wanted: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut named: HashMap<String, Vec<&String>> = HashMap::new();
        for (keyform, manifest) in &self.headers {
            named.entry(manifest.identity.name.to_lowercase()).or_default().push(keyform);
        }
        for (keyform, manifest) in &self.headers {
            for dependency in
                manifest.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Install)
            {
                let candidates = named.get(&dependency.identity.name.to_lowercase()).map_or(&[][..], Vec::as_slice);
                for candidate in candidates.iter().filter(|candidate| {
                    self.headers.get(**candidate).is_some_and(|own| is_meant(&dependency.identity, &own.identity))
                }) {
                    wanted.entry(candidate.as_str()).or_default().push(keyform);
                }
            }
        }
        loop {
            let next: Vec<String> = wanted
                .iter()
                .filter(|(keyform, by)| !doomed.contains(**keyform) && by.iter().all(|by| doomed.contains(*by)))
                .map(|(keyform, _)| (*keyform).to_owned())
                .collect();
            if next.is_empty() {
                return;
            }
            doomed.extend(next);
        }
    }

    /// Whether a manifest can be read; else why it cannot.
    pub(super) fn check(&mut self, keyform: &str) -> Result<()> {
        let name = self.unreadable.keys().find(|name| name.eq_ignore_ascii_case(keyform)).cloned();
        match name.and_then(|name| self.unreadable.remove(&name)) {
            Some(error) => Err(error),
            None if self.find(keyform).is_some() => Ok(()),
            None => {
                Err(Error::unsupported("a component whose manifest is not in the image").found(manifest_path(keyform)))
            }
        }
    }

    /// Whether a newer version of a component stays: that one counts already.
    pub(super) fn is_beaten(&self, keyform: &str, doomed: &BTreeSet<String>) -> bool {
        let Some(own) = self.identity(keyform) else { return false };
        let staying =
            self.headers.iter().filter(|(name, _)| !doomed.contains(*name)).map(|(_, manifest)| &manifest.identity);
        staying.into_iter().any(|other| other.version > own.version && other.is_same_but_version(own))
    }

    /// The components that stay and are installed, of each the highest version.
    pub(super) fn staying(&self, image: &Image<'_>, doomed: &BTreeSet<String>) -> Vec<String> {
        let installed = records::installed_deployments(image);
        let mut winners: HashMap<String, (Version, &String)> = HashMap::new();
        for (keyform, manifest) in &self.headers {
            let is_out = manifest.is_deployment || doomed.contains(keyform);
            if is_out || !records::is_installed(image, keyform, installed.as_ref()) {
                continue;
            }
            let version = manifest.identity.version;
            let winner = winners.entry(manifest.identity.winners_keyform()).or_insert((version, keyform));
            if winner.0 < version {
                *winner = (version, keyform);
            }
        }
        let mut keyforms: Vec<String> = winners.into_values().map(|(_, keyform)| keyform.clone()).collect();
        keyforms.sort_unstable();
        keyforms
    }

    /// What a component that stays changes; nothing is known of one that cannot be compiled, which is counted.
    pub(super) fn effects_of_staying(&mut self, image: &Image<'_>, keyform: &str) -> Option<Vec<Effect>> {
        let compiled = self.compiled(image, keyform);
        self.unsaid += usize::from(compiled.is_err());
        compiled.ok().map(|(effects, _)| effects)
    }

    /// What could not be asked.
    pub(super) fn remarks(&self) -> Option<String> {
        let count = self.unsaid + self.unreadable.len();
        let first = self.unreadable.iter().next();
        let first = first.map(|(_, error)| format!(" (the first: {error})")).unwrap_or_default();
        (count > 0).then(|| {
            format!("{count} manifests of components that stay cannot be read{first}: what they share with the removed ones is not known")
        })
    }
}

/// The deployments that a component is tied to, in lower case.
fn deployments_in(hive: &Hive, component: KeyId) -> impl Iterator<Item = String> {
    let names = hive.values(component).map(|value| value.name.to_string().to_lowercase());
    names.filter_map(|name| name.strip_prefix("c!").map(str::to_owned))
}

/// Whether another package than those that go has a deployment installed.
fn is_tied_elsewhere(image: &Image<'_>, identity: &Identity, chosen: &Chosen) -> bool {
    let Some(hive) = image.hive(COMPONENTS) else { return false };
    let key = hive.open(DEPLOYMENTS).and_then(|key| hive.subkey(key, identity.deployment_keyform().as_str()));
    key.is_some_and(|key| is_tied(hive, key, &["i!"], chosen))
}

/// Whether another package than those that go ties a deployment to the image by one of these values.
fn is_tied(hive: &Hive, deployment: KeyId, prefixes: &[&str], chosen: &Chosen) -> bool {
    let ties = hive.values(deployment).filter(|value| {
        let name = value.name.to_string().to_lowercase();
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    ties.filter_map(|value| records::tied_package(&value.data)).any(|id| !chosen.has(&id))
}

/// Whether a dependency means an assembly; `*` is any language.
fn is_meant(wanted: &Identity, there: &Identity) -> bool {
    let any = |wanted: &str| wanted == "*";
    let mut wanted = wanted.clone();
    if any(&wanted.language) {
        wanted.language.clone_from(&there.language);
    }
    wanted.is_same_but_version(there) && (wanted.version == there.version || wanted.version == Version::default())
}
