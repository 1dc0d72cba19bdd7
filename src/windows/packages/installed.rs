//! The packages and components that an image has.
//!
//! ```text
//! SOFTWARE\...\Component Based Servicing\Packages   the packages, with their states
//! \Windows\servicing\Packages\*.mum                 the same in an image that has no such key
//! \Windows\WinSxS\Manifests\<keyform>.manifest      the components and deployments, of all versions
//! ```
//!
//! Where the facts come from: Winter's notes on `CurrentState`; the keys of Windows 10 and Server images.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::super::registry::{self, CONFIG};
use super::super::{About, Machine};
use super::compile::lacking;
use crate::base::FileTime;
use crate::error::Result;
use crate::format::assembly::{Identity, Version};
use crate::format::hive::{Hive, KeyId};
use crate::tree::Tree;

/// The key of the SOFTWARE hive that all packages are below.
pub(super) const SERVICING: &str = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";
/// The manifests of the packages, and their catalogs.
pub(super) const PACKAGES: &str = r"\Windows\servicing\Packages";
/// The manifests of the components.
pub(super) const MANIFESTS: &str = r"\Windows\WinSxS\Manifests";

/// What the next start is to do; the running Windows renames it when it is done.
const PENDING: &str = r"\Windows\WinSxS\pending.xml";

/// Values of `CurrentState` of a package and of its updates.
pub mod state {
    /// Not there.
    pub const ABSENT: u32 = 0;
    /// Known, its payload not.
    pub const RESOLVED: u32 = 0x20;
    /// Its payload is in the store, and nothing else of it.
    pub const STAGED: u32 = 0x40;
    /// A newer one has taken its place.
    pub const SUPERSEDED: u32 = 0x50;
    /// Installed when Windows starts the next time.
    pub const INSTALL_PENDING: u32 = 0x60;
    /// Some of its updates are installed.
    pub const PARTIALLY_INSTALLED: u32 = 0x65;
    /// Installed.
    pub const INSTALLED: u32 = 0x70;
    /// Installed, and not to be removed.
    pub const PERMANENT: u32 = 0x80;

    /// What a state is called.
    pub fn word(state: u32) -> &'static str {
        match state {
            ABSENT => "absent",
            0x4 => "uninstall pending",
            0x10 => "resolving",
            RESOLVED => "resolved",
            0x30 => "staging",
            STAGED => "staged",
            SUPERSEDED => "superseded",
            INSTALL_PENDING => "install pending",
            PARTIALLY_INSTALLED => "partially installed",
            INSTALLED => "installed",
            PERMANENT => "permanent",
            _ => "in a state that is not known",
        }
    }

    /// Whether what has this state works, or does so from the next start on.
    pub fn is_installed(state: u32) -> bool {
        is_whole(state) || state == PARTIALLY_INSTALLED
    }

    /// Whether nothing of what has this state is left to be put in. A package of which only a part is installed is completed.
    pub fn is_whole(state: u32) -> bool {
        matches!(state, INSTALL_PENDING | INSTALLED | PERMANENT)
    }
}

/// A package of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledPackage {
    /// `name~token~architecture~language~version`, as the image spells it.
    pub id: String,
    /// The same in its parts.
    pub identity: Identity,
    /// `CurrentState`: see [`state`].
    pub state: u32,
    /// Whether a user is shown it; others are parts of those.
    pub visible: bool,
    /// The file that it was installed from: `update.mum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_name: Option<String>,
    /// The program that installed it: `DISM Package Manager Provider`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When it was installed.
    #[serde(skip)]
    pub time: Option<FileTime>,
    /// Its updates (features) that have a state of their own, by their names.
    pub updates: Vec<(String, u32)>,
    /// The packages that have brought it, by their ids.
    pub owners: Vec<String>,
}

impl InstalledPackage {
    /// Whether it works, or does so from the next start on.
    pub fn is_installed(&self) -> bool {
        state::is_installed(self.state)
    }

    /// Whether one of its updates is on: those that have no state of their own are with the package.
    pub fn has_on(&self, update: &str) -> bool {
        let own = self.updates.iter().find(|(name, _)| name.eq_ignore_ascii_case(update));
        self.is_installed() && own.is_none_or(|(_, state)| state::is_installed(*state))
    }
}

/// What an image has.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    about: About,
    packages: Vec<InstalledPackage>,
    /// Packages by their ids in lower case.
    by_id: HashMap<String, usize>,
    /// Packages by their families.
    by_family: HashMap<String, Vec<usize>>,
    languages: Vec<String>,
    store: ComponentStore,
    /// Hives that manifests may name and no file holds.
    lacks: BTreeSet<String>,
    /// What could not be read, in words.
    notes: Vec<String>,
}

impl Installed {
    /// Reads it out of a tree. Of the component store, only the names are looked at.
    ///
    /// # Errors
    /// Those of a SOFTWARE hive that cannot be read.
    pub fn read(tree: &Tree) -> Result<Self> {
        let hive = |name: &str| registry::read_hive(tree, &format!(r"{CONFIG}\{name}"));
        // What SYSTEM says is worth having; nothing of packages is in it.
        let (system, note) = match hive("SYSTEM") {
            Ok(system) => (system, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let software = hive("SOFTWARE")?;
        let about = About::of_hives(tree, system.as_ref(), software.as_ref());
        let mut notes: Vec<String> = note.into_iter().chain(about.notes.iter().cloned()).collect();
        let key = format!(r"{SERVICING}\Packages");
        if tree.find(PENDING).is_some() {
            notes.push(
                "servicing was left unfinished (pending.xml): it ends when the Windows is started the next time".into(),
            );
        }
        let packages = match software.as_ref().and_then(|hive| Some((hive, hive.open(&key)?))) {
            Some((hive, key)) => of_hive(hive, key, &mut notes),
            None => of_files(tree),
        };
        Ok(Self { notes, lacks: lacking(tree), ..Self::new(about, packages, ComponentStore::read(tree)) })
    }

    /// The same, put together.
    pub(super) fn new(about: About, packages: Vec<InstalledPackage>, store: ComponentStore) -> Self {
        let mut by_family: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, package) in packages.iter().enumerate() {
            by_family.entry(package_family(&package.identity)).or_default().push(at);
        }
        let by_id = packages.iter().enumerate().map(|(at, package)| (package.id.to_lowercase(), at)).collect();
        let languages = languages(&about, &packages);
        Self { about, packages, by_id, by_family, languages, store, lacks: BTreeSet::new(), notes: Vec::new() }
    }

    /// What the installation says of itself: edition, version, processor, languages.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// All packages, in the order of the registry.
    pub fn packages(&self) -> &[InstalledPackage] {
        &self.packages
    }

    /// The components and deployments of the store.
    pub fn store(&self) -> &ComponentStore {
        &self.store
    }

    /// The hives that manifests may name and the image has no file of, as keys.
    pub fn lacks(&self) -> &BTreeSet<String> {
        &self.lacks
    }

    /// What could not be read, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A package by its id.
    pub fn package(&self, id: &str) -> Option<&InstalledPackage> {
        self.by_id.get(&id.to_lowercase()).and_then(|at| self.packages.get(*at))
    }

    /// The packages that are the same but for their versions, whatever their states.
    pub fn versions_of<'i>(&'i self, identity: &Identity) -> impl Iterator<Item = &'i InstalledPackage> + use<'i> {
        let places = self.by_family.get(&package_family(identity)).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|at| self.packages.get(*at))
    }

    /// Its processor, if it is known.
    pub fn machine(&self) -> Option<Machine> {
        self.about.machine
    }

    /// Its languages: by its own list, and by its packages.
    pub fn languages(&self) -> &[String] {
        &self.languages
    }

    /// Whether it speaks a language.
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.iter().any(|known| known.eq_ignore_ascii_case(language))
    }

    /// What it is, for messages: `ServerDatacenterNano 10.0.14393.1066 (amd64)`.
    pub fn description(&self) -> String {
        let about = &self.about;
        let name = about.edition.as_deref().or(about.product_name.as_deref()).unwrap_or("a Windows of unknown edition");
        let version = about.version.map(|version| format!(" {version}")).unwrap_or_default();
        let machine = about.machine.map(|machine| format!(" ({machine})")).unwrap_or_default();
        format!("{name}{version}{machine}")
    }
}

fn languages(about: &About, packages: &[InstalledPackage]) -> Vec<String> {
    let mut found = about.languages.clone();
    let of_packages = packages.iter().filter(|package| package.is_installed() && !package.identity.is_neutral());
    for language in of_packages.map(|package| &package.identity.language) {
        if !found.iter().any(|known| known.eq_ignore_ascii_case(language)) {
            found.push(language.clone());
        }
    }
    found
}

/// What packages that differ in their versions only have in common.
pub(super) fn package_family(identity: &Identity) -> String {
    let language = if identity.is_neutral() { "" } else { &identity.language };
    format!("{}~{}~{}~{language}", identity.name, identity.public_key_token, identity.architecture).to_lowercase()
}

/// The identity of a package by its id; nothing for what is no such id.
pub(super) fn identity_of_id(id: &str) -> Option<Identity> {
    let parts: Vec<&str> = id.split('~').collect();
    let [name, token, architecture, language, version] = parts.as_slice() else { return None };
    Some(Identity {
        name: (*name).to_owned(),
        version: Version::parse(version)?,
        architecture: (*architecture).to_owned(),
        language: if language.is_empty() { "neutral".into() } else { (*language).to_owned() },
        public_key_token: (*token).to_owned(),
        ..Identity::default()
    })
    .filter(|identity| !identity.name.is_empty())
}

fn of_hive(hive: &Hive, packages: KeyId, notes: &mut Vec<String>) -> Vec<InstalledPackage> {
    let mut found = Vec::new();
    let mut odd = 0usize;
    for key in hive.subkeys(packages) {
        match of_key(hive, key) {
            Some(package) => found.push(package),
            None => odd += 1,
        }
    }
    if odd > 0 {
        notes.push(format!("{odd} of the packages in the registry have names that are no package's"));
    }
    found
}

fn of_key(hive: &Hive, key: KeyId) -> Option<InstalledPackage> {
    let id = hive.name(key).to_string();
    let identity = identity_of_id(&id)?;
    let number = |name: &str| hive.value(key, name).and_then(|value| value.as_dword());
    let text = |name: &str| hive.value(key, name).and_then(|value| value.as_text()).filter(|text| !text.is_empty());
    let time = number("InstallTimeHigh").zip(number("InstallTimeLow"));
    let values = |name: &str| {
        let values = hive.subkey(key, name).into_iter().flat_map(|key| hive.values(key));
        values.map(|value| (value.name.to_string(), value.as_dword().unwrap_or(0))).collect::<Vec<_>>()
    };
    Some(InstalledPackage {
        identity,
        state: number("CurrentState").unwrap_or(state::ABSENT),
        visible: number("Visibility").is_none_or(|visibility| visibility == 1),
        install_name: text("InstallName"),
        client: text("InstallClient"),
        time: time.map(|(high, low)| FileTime(u64::from(high) << 32 | u64::from(low))),
        updates: values("Updates"),
        owners: values("Owners").into_iter().map(|(owner, _)| owner).collect(),
        id,
    })
}

/// An image whose registry knows nothing of packages: those whose manifests are there count as installed.
fn of_files(tree: &Tree) -> Vec<InstalledPackage> {
    let names = names_in(tree, PACKAGES, ".mum");
    let package = |id: String| {
        Some(InstalledPackage {
            identity: identity_of_id(&id)?,
            state: state::INSTALLED,
            visible: true,
            install_name: Some(format!("{id}.mum")),
            client: None,
            time: None,
            updates: Vec::new(),
            owners: Vec::new(),
            id,
        })
    };
    names.filter_map(package).collect()
}

/// The files of a directory whose names end so, without that end.
fn names_in(tree: &Tree, folder: &str, ending: &'static str) -> impl Iterator<Item = String> {
    let children = tree.find(folder).map(|node| tree.node(node).children()).unwrap_or_default();
    children.iter().filter(|link| !tree.node(link.node).is_directory()).filter_map(move |link| {
        let name = link.name.to_string();
        let stem = name.len().checked_sub(ending.len())?;
        let is_it = name.get(stem..)?.eq_ignore_ascii_case(ending);
        is_it.then(|| name[..stem].to_owned())
    })
}

/// The names of the manifests in a component store.
///
/// A name says who the component is, but for long names and languages, which are shortened, and its type and scope, which are only in the
/// hash at its end. So one asks for a component, not for what a name means: the names of all of its versions that might be there are computed.
#[derive(Debug, Clone, Default)]
pub struct ComponentStore {
    /// In lower case.
    keyforms: HashSet<String>,
    /// The versions that names have which are the same but for the version and the hash.
    versions: HashMap<String, Vec<Version>>,
}

impl ComponentStore {
    fn read(tree: &Tree) -> Self {
        Self::of_names(names_in(tree, MANIFESTS, ".manifest"))
    }

    /// The store that has manifests of these names.
    pub(super) fn of_names(names: impl Iterator<Item = String>) -> Self {
        let mut store = Self::default();
        for name in names.map(|name| name.to_ascii_lowercase()) {
            if let Some((family, version)) = divide(&name) {
                store.versions.entry(family).or_default().push(version);
                store.keyforms.insert(name);
            }
        }
        store
    }

    /// How many manifests it has.
    pub fn len(&self) -> usize {
        self.keyforms.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.keyforms.is_empty()
    }

    /// Whether it has the manifest of that name.
    pub fn has(&self, keyform: &str) -> bool {
        self.keyforms.contains(&keyform.to_ascii_lowercase())
    }

    /// The versions of a component that it has, in their order.
    pub fn versions_of(&self, identity: &Identity) -> Vec<Version> {
        let family = divide(&identity.keyform().to_ascii_lowercase()).map(|(family, _)| family);
        let candidates = family.and_then(|family| self.versions.get(&family)).map_or(&[][..], Vec::as_slice);
        let mut candidate = identity.clone();
        let mut found: Vec<Version> = candidates
            .iter()
            .copied()
            .filter(|version| {
                candidate.version = *version;
                self.has(&candidate.keyform())
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// `architecture_name_token_version_language_hash`: the version, and what is around it but for the hash. Names may have `_` in them.
fn divide(keyform: &str) -> Option<(String, Version)> {
    let mut parts = keyform.rsplitn(4, '_');
    let (_hash, language, version, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{rest}_{language}"), Version::parse(version)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::hive::Value;
    use crate::windows::tests::tree_of;

    pub(in crate::windows::packages) fn identity(id: &str) -> Identity {
        identity_of_id(id).unwrap()
    }

    pub(in crate::windows::packages) fn package(id: &str, state: u32) -> InstalledPackage {
        InstalledPackage {
            id: id.into(),
            identity: identity(id),
            state,
            visible: true,
            install_name: None,
            client: None,
            time: None,
            updates: Vec::new(),
            owners: Vec::new(),
        }
    }

    const EDITION: &str = "Microsoft-NanoServer-Edition-Core-Package~31bf3856ad364e35~amd64~~10.0.14393.0";
    const OLD: &str = "Microsoft-NanoServer-Guest-Package~31bf3856ad364e35~amd64~en-US~10.0.14393.0";

    fn software() -> Vec<u8> {
        let mut hive = Hive::new("SOFTWARE", FileTime(1)).unwrap();
        hive.create_key(&format!(r"{SERVICING}\Packages\no package")).unwrap();
        for (id, number) in [(EDITION, state::PERMANENT), (OLD, state::SUPERSEDED)] {
            let key = hive.create_key(&format!(r"{SERVICING}\Packages\{id}")).unwrap();
            hive.set_value(key, "CurrentState", Value::dword(number)).unwrap();
            hive.set_value(key, "Visibility", Value::dword(2)).unwrap();
            hive.set_value(key, "InstallClient", Value::sz("DISM Package Manager Provider")).unwrap();
            hive.set_value(key, "InstallTimeHigh", Value::dword(30_000_000)).unwrap();
            hive.set_value(key, "InstallTimeLow", Value::dword(5)).unwrap();
            let updates = hive.create_key_at(key, "Updates").unwrap();
            hive.set_value(updates, "Feature", Value::dword(state::STAGED)).unwrap();
        }
        hive.to_bytes().unwrap()
    }

    #[test]
    fn reads_states_out_of_the_registry() {
        let software = software();
        let mum = format!(r"{PACKAGES}\Other~31bf3856ad364e35~amd64~~1.0.0.0.mum");
        let installed = Installed::read(&tree_of(&[
            (r"\Windows\System32\config\SOFTWARE", &software),
            (&mum, b""),
            (PENDING, b""),
        ]))
        .unwrap();
        assert_eq!(installed.packages().len(), 2, "the registry knows better than the files");
        let edition = installed.package(&EDITION.to_uppercase()).unwrap();
        assert!(edition.is_installed() && !edition.visible);
        assert_eq!(edition.time, Some(FileTime((30_000_000 << 32) + 5)));
        assert_eq!(edition.updates, [("Feature".to_owned(), state::STAGED)]);
        assert!(!installed.package(OLD).unwrap().is_installed());
        assert_eq!(state::word(installed.package(OLD).unwrap().state), "superseded");
        let newer = identity(&EDITION.replace("14393.0", "14393.999"));
        assert_eq!(installed.versions_of(&newer).count(), 1);
        assert!(!installed.speaks("en-US"), "a superseded package speaks no more");
        assert!(installed.notes().iter().any(|note| note.contains("left unfinished")), "{:?}", installed.notes());
        assert!(installed.notes().iter().any(|note| note.contains("1 of the packages")), "{:?}", installed.notes());
    }

    #[test]
    fn manifests_count_where_the_registry_is_silent() {
        let mum = format!(r"{PACKAGES}\{OLD}.MUM");
        let odd = format!(r"{PACKAGES}\odd.mum");
        let installed = Installed::read(&tree_of(&[(&mum, b""), (&odd, b"")])).unwrap();
        assert_eq!(installed.packages().iter().map(|package| &package.id).collect::<Vec<_>>(), [OLD]);
        assert!(installed.packages()[0].is_installed() && installed.speaks("EN-us"));
        assert_eq!(installed.languages(), ["en-US"]);
    }

    #[test]
    fn finds_the_versions_of_a_component() {
        let mut component = Identity {
            name: "Microsoft-Windows-A_Component-With-A-Name-That-Is-Longer-Than-Forty".into(),
            public_key_token: "31bf3856ad364e35".into(),
            architecture: "amd64".into(),
            language: "neutral".into(),
            version_scope: Some("nonSxS".into()),
            ..Identity::default()
        };
        let versions = [[10, 0, 14393, 1066], [10, 0, 14393, 0], [6, 3, 9600, 17000]].map(Version);
        let mut names = Vec::new();
        for version in versions {
            component.version = version;
            names.push(component.keyform());
        }
        // The same in short, but another component: its hash tells.
        let other = Identity { version_scope: None, version: Version([10, 0, 1, 0]), ..component.clone() };
        names.push(other.keyform());
        names.push("odd".into());
        let store = ComponentStore::of_names(names.into_iter());
        assert_eq!(store.len(), 4);
        let mut sorted = versions;
        sorted.sort_unstable();
        assert_eq!(store.versions_of(&component), sorted);
        assert!(store.has(&component.keyform().to_uppercase()));
        component.name.push('s');
        assert_eq!(store.versions_of(&component), []);
    }
}
