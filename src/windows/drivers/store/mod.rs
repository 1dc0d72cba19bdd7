//! The driver store of an installation that does not run: packages are added and removed as DISM does it.
//!
//! ```text
//! \Windows\System32\DriverStore\FileRepository\PACKAGE\   all files of the package
//! \Windows\INF\oemN.inf                                   its INF under its published name
//! \Windows\System32\CatRoot\{F750E6C3-...}\oemN.cat       its catalog
//! \Windows\System32\drivers\*.sys, ...                    what its CopyFiles copy
//! SYSTEM or DRIVERS\DriverDatabase                        what PnP matches devices with: see super::database
//! SYSTEM\CurrentControlSet\Services                       its services and their event log sources
//! SOFTWARE\...\Setup\PnpLockdownFiles                     who owns the files in place
//! ```
//!
//! # What is reflected
//! DISM puts files and services into place for drivers that a boot needs, and leaves the rest to PnP, which reads the INF when the device
//! shows up. Here all of them are put into place: what is not there yet does no harm, and an installation as small as Nano Server may
//! lack what it takes to do it later.
//!
//! # Adding twice, and removing
//! Adding what is there already repairs what is missing of it and otherwise changes nothing. Removing takes out what adding put in.
//! What another package owns too stays: services and files have a list of owners. Changes that an INF makes elsewhere in the registry
//! stay as well, as they do in Windows.
//!
//! # Sources
//! Microsoft, "Driver store", "INF AddService directive", "INF CopyFiles directive", "PnpLockdown"; the registry that distrobuilder (lxc)
//! captured from DISM for virtio-win; the findings of drvctl about DISM; SYSTEM hives of Windows 10.

mod files;
mod lockdown;
mod pe_version;
mod records;
mod remove;
mod services;
mod stored;
mod target;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use uuid::{Uuid, uuid};

use super::database::layout::{OemInfMap, VersionBlob, oem_number};
use super::database::{DATABASE, Home};
use super::{Driver, INF_FOLDER, Package, REPOSITORY, RegistryAction, RegistryChange, Signature, TargetOs};
use crate::base::{FileTime, Name};
use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::tree::{Tree, check_name};
use crate::windows::hive_files::{HiveFile, HiveFiles};
use crate::windows::regedit;

pub use remove::Removed;

const SYSTEM: &str = r"\Windows\System32\config\SYSTEM";
const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";
const DRIVERS: &str = r"\Windows\System32\config\DRIVERS";

const CURRENT_USER: &str = "HKEY_CURRENT_USER";

/// Numbers of oemN.inf: no installation comes near.
const MOST_PACKAGES: u32 = 0xFFFF;

/// The classes that a boot needs and whose packages Windows keeps in SYSTEM (all that Windows 10 1709 has there), for images that have
/// no packages to learn it from.
#[rustfmt::skip]
const BOOT_CLASSES: [(&str, Uuid); 33] = [
    ("1394", uuid!("6bdd1fc1-810f-11d0-bec7-08002be2092f")),
    ("Battery", uuid!("72631e54-78a4-11d0-bcf7-00aa00b7b32a")),
    ("CDROM", uuid!("4d36e965-e325-11ce-bfc1-08002be10318")),
    ("Computer", uuid!("4d36e966-e325-11ce-bfc1-08002be10318")),
    ("DiskDrive", uuid!("4d36e967-e325-11ce-bfc1-08002be10318")),
    ("EhStorSilo", uuid!("9da2b80f-f89f-4a49-a5c2-511b085b9e8a")),
    ("Extension", uuid!("e2f84ce7-8efa-411c-aa69-97454ca4cb57")),
    ("FDC", uuid!("4d36e969-e325-11ce-bfc1-08002be10318")),
    ("Firmware", uuid!("f2e7dd72-6468-4e36-b6f1-6488f42c1b52")),
    ("FloppyDisk", uuid!("4d36e980-e325-11ce-bfc1-08002be10318")),
    ("HDC", uuid!("4d36e96a-e325-11ce-bfc1-08002be10318")),
    ("HIDClass", uuid!("745a17a0-74d3-11d0-b6fe-00a0c90f57da")),
    ("Keyboard", uuid!("4d36e96b-e325-11ce-bfc1-08002be10318")),
    ("Memory", uuid!("5099944a-f6b9-4057-a056-8c550228544c")),
    ("Mouse", uuid!("4d36e96f-e325-11ce-bfc1-08002be10318")),
    ("PCMCIA", uuid!("4d36e977-e325-11ce-bfc1-08002be10318")),
    ("Ports", uuid!("4d36e978-e325-11ce-bfc1-08002be10318")),
    ("Processor", uuid!("50127dc3-0f36-415e-a6cc-4cb3be910b65")),
    ("SBP2", uuid!("d48179be-ec20-11d1-b6b8-00c04fa372a7")),
    ("SCSIAdapter", uuid!("4d36e97b-e325-11ce-bfc1-08002be10318")),
    ("SDHost", uuid!("a0a588a4-c46f-4b37-b7ea-c82fe89870c6")),
    ("ScmDisk", uuid!("53966cb1-4d46-4166-bf23-c522403cd495")),
    ("ScmVolume", uuid!("53ccb149-e543-4c84-b6e0-bce4f6b7e806")),
    ("SecurityDevices", uuid!("d94ee5d8-d189-4994-83d2-f68d7d41b0e6")),
    ("SmrDisk", uuid!("53487c23-680f-4585-acc3-1f10d6777e82")),
    ("SmrVolume", uuid!("53b3cf03-8f5a-4788-91b6-d19ed9fcccbf")),
    ("System", uuid!("4d36e97d-e325-11ce-bfc1-08002be10318")),
    ("UCM", uuid!("e6f1aa1c-7f3b-4473-b2e8-c97d8ac71d53")),
    ("USB", uuid!("36fc9e60-c465-11cf-8056-444553540000")),
    ("USBDevice", uuid!("88bae032-5a81-49f0-bc3d-a4ff138216d6")),
    ("USBFunctionController", uuid!("bbbe8734-08fa-4966-b6a6-4e5ad010cdd7")),
    ("Volume", uuid!("71a27cdd-812a-11d0-bec7-08002be2092f")),
    ("VolumeSnapshot", uuid!("533c5b84-ec70-11d2-9505-00c04f79deaf")),
];

/// The driver store of a tree, its hives open.
///
/// Files go into the tree at once, hives when it is [committed](Self::commit): after an error the tree is of no use.
pub struct Store<'t> {
    tree: &'t mut Tree,
    hives: HiveFiles,
    /// The current control set in SYSTEM.
    set: KeyId,
    target: TargetOs,
    now: FileTime,
    homes: Homes,
    /// Numbers of oemN.inf that are taken, whoever says so.
    taken: BTreeSet<u32>,
    usual: Option<files::Usual>,
    /// Tags that are taken, by groups of drivers in lower case: looked up once for each.
    tags: HashMap<String, BTreeSet<u32>>,
    notes: Vec<String>,
}

/// Where packages of a class go.
struct Homes {
    system: BTreeSet<Uuid>,
    drivers: Option<BTreeSet<Uuid>>,
    /// Whether packages note the size of their files.
    with_sizes: bool,
}

/// What became of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The name of its INF in `\Windows\INF`.
    pub published: String,
    /// The name of its folder in the driver store.
    pub package_name: String,
    /// Whether it was there before.
    pub already: bool,
    /// Files put into the tree.
    pub files: usize,
    /// Its services.
    pub services: Vec<String>,
    /// What is worth knowing: what is kept, what is done otherwise, and why.
    pub notes: Vec<String>,
}

impl<'t> Store<'t> {
    /// Opens the hives. What changes is written at `now`.
    ///
    /// # Errors
    /// [`NotWindows`](Kind::NotWindows) for a tree that holds none, or one that does not say which Windows it is;
    /// [`Corrupt`](Kind::Corrupt) for hives that were not left clean.
    pub fn open(tree: &'t mut Tree, now: FileTime) -> Result<Self> {
        let mut hives = HiveFiles::new(now);
        for path in [SYSTEM, SOFTWARE] {
            if tree.find(path).is_none() {
                return Err(
                    Error::new(Kind::NotWindows, "the image has no place for drivers: a hive is missing").found(path)
                );
            }
        }
        hives.open(tree, SOFTWARE)?;
        let set = hives.open(tree, SYSTEM)?.control_set()?;
        if tree.find(DRIVERS).is_some() {
            hives.open(tree, DRIVERS)?;
        }
        let [system, software, drivers] =
            [SYSTEM, SOFTWARE, DRIVERS].map(|path| hives.opened(path).map(HiveFile::hive));
        let target = target::target(tree, system, software)?;
        let homes = Homes::learn(system, drivers);
        let mut taken = files::published_numbers(tree);
        [system, drivers].into_iter().flatten().for_each(|hive| records::taken_numbers(hive, &mut taken));
        let mut store =
            Self { tree, hives, set, target, now, homes, taken, usual: None, tags: HashMap::new(), notes: Vec::new() };
        store.check_names()?;
        Ok(store)
    }

    /// The Windows that packages have to be for.
    pub fn target(&self) -> &TargetOs {
        &self.target
    }

    /// What a package comes to for this Windows, with the INF files of the image that it includes.
    ///
    /// # Errors
    /// Those of [`compile()`](super::compile()).
    pub fn compile(&self, package: &Package) -> Result<Driver> {
        super::compile(package, &self.target, &|name| self.tree.read_file(&format!(r"{INF_FOLDER}\{name}")))
    }

    /// What is worth knowing about the store itself.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Puts a package in. One that is there already is completed where something of it is missing.
    ///
    /// # Errors
    /// [`Invalid`](Kind::Invalid) for a driver of another processor, for files that the package lacks, and for names that cannot be;
    /// errors of the contents that have to be compared.
    pub fn add(&mut self, package: &Package, driver: &Driver, signature: &Signature) -> Result<Added> {
        self.add_checked(package, driver, signature).context(|| format!(r"{}\{}", package.origin, driver.inf_name))
    }

    fn add_checked(&mut self, package: &Package, driver: &Driver, signature: &Signature) -> Result<Added> {
        if driver.machine != self.target.machine {
            return Err(Error::invalid("a driver for another processor")
                .found(driver.machine)
                .allowed(self.target.machine));
        }
        check_name(&Name::from(driver.package_name.as_str())).context(|| "the name of the package")?;
        let known = self.known(&driver.package_name);
        let mut added =
            Added { package_name: driver.package_name.clone(), already: known.is_some(), ..Added::default() };
        let home = match known {
            Some((home, published)) => {
                added.published = published;
                home
            }
            None => {
                added.published = self.free_name()?;
                // The loader reads SYSTEM alone.
                let boots = driver.services.iter().any(|service| service.start == 0 && service.included_from.is_none());
                if boots { Home::System } else { self.homes.of(&driver.class_guid) }
            }
        };
        if oem_number(&added.published).is_none() {
            added.notes.push(format!("{} came with this Windows", driver.inf_name));
            return Ok(added);
        }
        self.put_files(package, driver, &mut added)?;
        self.put_copies(package, driver, signature, &mut added)?;
        self.put_records(package, driver, signature, home, &added)?;
        self.put_services(driver, &mut added)?;
        for change in &driver.registry {
            if change.key.starts_with(CURRENT_USER) {
                added.notes.push(format!("line {}: {}: nobody is logged on to an image", change.line, change.key));
                continue;
            }
            self.change_registry(change).context(|| format!("line {}: {}", change.line, change.key))?;
        }
        Ok(added)
    }

    /// Writes the hives that changed; tells which those were.
    pub fn commit(self) -> Result<Vec<regedit::Changed>> {
        self.hives.write(self.tree)
    }

    /// The hive of a package that is there, and its published name.
    fn known(&self, package_name: &str) -> Option<(Home, String)> {
        let name = format!(r"{DATABASE}\DriverPackages\{package_name}");
        [Home::System, Home::Drivers].into_iter().find_map(|home| {
            let hive = self.hives.opened(path_of(home))?.hive();
            let published = hive.value(hive.open(&name)?, "")?.as_text()?;
            Some((home, published))
        })
    }

    /// The published name with the lowest number that is free: gaps are filled, as DISM does it.
    fn free_name(&mut self) -> Result<String> {
        let number = (0..=MOST_PACKAGES).find(|number| !self.taken.contains(number));
        let number = number.ok_or_else(|| Error::invalid("no number of oemN.inf is free").allowed(MOST_PACKAGES))?;
        self.taken.insert(number);
        Ok(format!("oem{number}.inf"))
    }

    fn put_records(
        &mut self,
        package: &Package,
        driver: &Driver,
        signature: &Signature,
        home: Home,
        added: &Added,
    ) -> Result<()> {
        let sizes = || driver.files.iter().filter_map(|file| package.content(file)).map(|content| content.len()).sum();
        let record = records::Record {
            driver,
            signature,
            published: &added.published,
            configured: home == Home::System,
            origin: &package.oem_path,
            file_size: self.homes.with_sizes.then(sizes),
            now: self.now,
        };
        record.write(self.hives.open(self.tree, path_of(home))?)?;
        let dated = (!added.already).then_some(home);
        self.set_number(&added.published, dated, OemInfMap::take)
    }

    /// Enters a number into the maps, or takes it out of them. SYSTEM's is for both hives (seen: it has the numbers of packages that are
    /// in DRIVERS); where DRIVERS has one too, it is kept alike. The databases that change get the date.
    fn set_number(&mut self, published: &str, dated: Option<Home>, change: fn(&mut OemInfMap, u32)) -> Result<()> {
        let Some(number) = oem_number(published) else { return Ok(()) };
        for path in [SYSTEM, DRIVERS] {
            let Some(open) = self.hives.opened(path) else { continue };
            // DRIVERS is written only for what changes in it.
            let has_map = open.hive().open(DATABASE).is_some_and(|root| open.hive().value(root, "OemInfMap").is_some());
            if path == DRIVERS && !has_map && dated != Some(Home::Drivers) {
                continue;
            }
            let hive = self.hives.open(self.tree, path)?;
            let root = hive.make_alike(hive.hive().root(), DATABASE)?;
            let own = hive.hive().value(root, "OemInfMap").map(|value| OemInfMap::new(&value.data));
            if path == SYSTEM || own.is_some() {
                let mut map = own.unwrap_or_default();
                change(&mut map, number);
                if map.bytes().is_empty() {
                    hive.delete_value(root, "OemInfMap")?;
                } else {
                    hive.set(root, "OemInfMap", Value::binary(map.bytes()))?;
                }
            }
            if dated.is_some_and(|home| path == SYSTEM || path == path_of(home)) {
                hive.set(root, "UpdateDate", Value::binary(self.now.0.to_le_bytes()))?;
            }
        }
        Ok(())
    }

    /// A change outside devices and services.
    fn change_registry(&mut self, change: &RegistryChange) -> Result<()> {
        let (hive, path) = self.hives.locate(self.tree, &change.key)?;
        hive.refuse_links(&path)?;
        let key = match &change.action {
            RegistryAction::DeleteKey => {
                return hive.hive().open(&path).map_or(Ok(()), |key| hive.delete_key(key));
            }
            RegistryAction::DeleteValue(name) => {
                let key = hive.hive().open(&path);
                return key.map_or(Ok(()), |key| hive.delete_value(key, name).map(|_| ()));
            }
            _ => hive.make_alike(hive.hive().root(), &path)?,
        };
        match &change.action {
            RegistryAction::Set(name, value) => hive.set(key, name, value.clone()),
            RegistryAction::SetIfAbsent(name, value) => set_if_absent(hive, key, name, value.clone()),
            RegistryAction::Append(name, texts) => append(hive, key, name, texts),
            RegistryAction::Make | RegistryAction::DeleteValue(_) | RegistryAction::DeleteKey => Ok(()),
        }
    }
}

/// Sets a value where there is none of that name.
fn set_if_absent(hive: &mut HiveFile, key: KeyId, name: &str, value: Value) -> Result<()> {
    if hive.hive().value(key, name).is_some() { Ok(()) } else { hive.set(key, name, value) }
}

/// Enters an owner, before those that are there (seen).
fn own(hive: &mut HiveFile, key: KeyId, published: &str) -> Result<()> {
    let mut owners = texts(hive.hive(), key, "Owners");
    if owners.iter().any(|owner| owner.eq_ignore_ascii_case(published)) {
        return Ok(());
    }
    owners.insert(0, published.to_owned());
    hive.set(key, "Owners", Value::multi_sz(owners))
}

/// Adds texts to a REG_MULTI_SZ, as far as they are not in it.
fn append(hive: &mut HiveFile, key: KeyId, name: &str, texts: &[String]) -> Result<()> {
    let mut all = self::texts(hive.hive(), key, name);
    let before = all.len();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        if !all.iter().any(|own| own.eq_ignore_ascii_case(text)) {
            all.push(text.clone());
        }
    }
    if all.len() == before { Ok(()) } else { hive.set(key, name, Value::multi_sz(all)) }
}

/// The texts of a REG_MULTI_SZ; none where there is no such value.
fn texts(hive: &Hive, key: KeyId, name: &str) -> Vec<String> {
    hive.value(key, name).and_then(|value| value.as_texts()).unwrap_or_default()
}

/// The file of a hive.
fn path_of(home: Home) -> &'static str {
    match home {
        Home::System => SYSTEM,
        Home::Drivers => DRIVERS,
    }
}

impl Homes {
    /// From the packages that came with Windows; third parties' are no witnesses, as tools put those wherever they like.
    fn learn(system: Option<&Hive>, drivers: Option<&Hive>) -> Self {
        let with_sizes = [system, drivers].into_iter().flatten().any(|hive| {
            let packages = packages(hive).map(|key| hive.value(key, "FileSize").is_some());
            packages.into_iter().any(|has| has)
        });
        let classes = |hive: &Hive| -> BTreeSet<Uuid> {
            let versions = packages(hive).filter_map(|key| VersionBlob::parse(&hive.value(key, "Version")?.data));
            versions.filter(|version| version.is_inbox).map(|version| version.class).collect()
        };
        Self { system: system.map(classes).unwrap_or_default(), drivers: drivers.map(classes), with_sizes }
    }

    fn of(&self, class: &Uuid) -> Home {
        // Before 14393 there is one hive only.
        let Some(drivers) = &self.drivers else { return Home::System };
        let usual = || BOOT_CLASSES.iter().any(|(_, known)| known == class);
        if self.system.contains(class) || (!drivers.contains(class) && usual()) { Home::System } else { Home::Drivers }
    }
}

fn packages(hive: &Hive) -> impl Iterator<Item = KeyId> + '_ {
    let key = hive.open(&format!(r"{DATABASE}\DriverPackages"));
    key.into_iter().flat_map(|key| hive.subkeys(key))
}

/// Services and files keep who they belong to in a list of published names. Those that begin with `!` are packages that were (seen beside
/// the name of the one that took their place).
fn is_owner(name: &str) -> bool {
    !name.starts_with('!')
}

/// The folder of a package in the driver store.
fn folder_of(package_name: &str) -> String {
    format!(r"{}\{package_name}", REPOSITORY)
}

/// The key of a service.
fn service_key(hive: &Hive, set: KeyId, name: &str) -> Option<KeyId> {
    hive.subkey(hive.subkey(set, "Services")?, name)
}
