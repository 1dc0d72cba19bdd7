//! The database, out of the hives.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Database, Home, Installed, KnownConfiguration, KnownDevice, layout};
use crate::error::{Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Recovery};
use crate::tree::Tree;
use crate::windows::registry::{self, CONFIG};

/// The key of a hive that everything is below.
pub(in crate::windows::drivers) const DATABASE: &str = "DriverDatabase";

/// Characters of a device id: Windows itself allows 200 (`MAX_DEVICE_ID_LEN`).
const MAX_ID: usize = 512;
const MAX_NOTES: usize = 100;

impl Database {
    /// Reads the databases of both hives.
    ///
    /// # Errors
    /// [`NotWindows`](Kind::NotWindows) for a tree without a SYSTEM hive; errors of the hives, by their paths.
    pub fn read(tree: &Tree) -> Result<Self> {
        let hive = |name: &str| registry::read_hive(tree, &format!(r"{CONFIG}\{name}"));
        let system = hive("SYSTEM")?;
        let system = system.ok_or_else(|| Error::new(Kind::NotWindows, "the image has no SYSTEM hive"))?;
        Ok(Self::of_hives(&system, hive("DRIVERS")?.as_ref()))
    }

    /// The databases of hives that are open.
    pub fn of_hives(system: &Hive, drivers: Option<&Hive>) -> Self {
        let mut database = Self::default();
        database.read_hive(system, Home::System);
        if let Some(drivers) = drivers {
            database.read_hive(drivers, Home::Drivers);
        }
        database.name_classes(system);
        database.index();
        database
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text());
        }
    }

    fn read_hive(&mut self, hive: &Hive, home: Home) {
        if hive.recovery() == Recovery::Ignored {
            self.note(|| format!("{home}: the hive was not left clean, and no log mends it"));
        }
        let Some(root) = hive.open(DATABASE) else {
            // A DRIVERS hive is there for nothing else; before Windows 8 SYSTEM had no database either.
            self.note(|| format!("{home}: the hive has no {DATABASE}"));
            return;
        };
        let first = self.packages.len();
        for key in hive.open_at(root, "DriverPackages").into_iter().flat_map(|key| hive.subkeys(key)) {
            self.read_package(hive, home, key);
        }
        self.name_active(hive, home, root, first);
        let mut claims = Claims { names: HashMap::new(), database: self };
        for (at, package) in claims.database.packages.iter().enumerate().skip(first).filter(|(_, own)| own.is_active) {
            claims.names.insert(package.published.to_lowercase(), at);
        }
        if let Some(ids) = hive.open_at(root, "DeviceIds") {
            claims.read(hive, home, ids);
        }
    }

    fn read_package(&mut self, hive: &Hive, home: Home, key: KeyId) {
        let package_name = hive.name(key).to_string();
        let text = |name: &str| hive.value(key, name).and_then(|value| value.as_text()).filter(|text| !text.is_empty());
        let version = hive.value(key, "Version").and_then(|value| layout::VersionBlob::parse(&value.data));
        if version.is_none() {
            self.note(|| format!("{home}: package {package_name} has no sound Version"));
        }
        let Some(published) = text("") else {
            self.note(|| format!("{home}: package {package_name} has no published name"));
            return;
        };
        let extension = hive.value(key, "ExtensionId").and_then(|value| <[u8; 16]>::try_from(&*value.data).ok());
        let devices = self.read_devices(hive, home, key);
        let score = hive.value(key, "SignerScore").and_then(|value| value.as_dword());
        // Packages that came with Windows have no InfName: it is the published one.
        let inf_name = text("InfName").unwrap_or_else(|| published.clone());
        self.packages.push(Installed {
            home,
            is_inbox: version.map_or(layout::oem_number(&published).is_none(), |version| version.is_inbox),
            is_active: false,
            package_name,
            published,
            inf_name,
            class: None,
            class_guid: version.map(|version| version.class),
            machine: version.and_then(|version| layout::machine(version.architecture)),
            date: version.map(|version| version.date).unwrap_or_default(),
            version: version.map(|version| version.version).unwrap_or_default(),
            provider: text("Provider"),
            catalog: text("Catalog"),
            signer: text("SignerName"),
            score: score.unwrap_or(u32::MAX),
            extension: extension.map(Uuid::from_bytes_le),
            origin: text("OemPath"),
            devices,
            configurations: configurations(hive, key),
            strings: strings(hive, key),
        });
    }

    /// The devices that have descriptors.
    fn read_devices(&mut self, hive: &Hive, home: Home, package: KeyId) -> Vec<KnownDevice> {
        let Some(descriptors) = hive.subkey(package, "Descriptors") else { return Vec::new() };
        let mut devices = Vec::new();
        let too_long = walk_ids(hive, descriptors, &mut |key, id| {
            let text = |name: &str| hive.value(key, name).and_then(|value| value.as_text());
            let configuration = text("Configuration");
            if configuration.is_some() || hive.values(key).next().is_some() {
                devices.push(KnownDevice {
                    id: id.to_owned(),
                    kind: None,
                    feature: u8::MAX,
                    index: 0,
                    configuration,
                    description: text("Description"),
                    manufacturer: text("Manufacturer"),
                });
            }
        });
        if too_long > 0 {
            self.note(|| format!("{home}: {}: {too_long} descriptors of ids that are too long", hive.path(package)));
        }
        devices.sort_by_cached_key(|device| device.id.to_lowercase());
        devices
    }

    /// Which packages count: those that `DriverInfFiles` calls active.
    fn name_active(&mut self, hive: &Hive, home: Home, root: KeyId, first: usize) {
        let names = self.packages.iter().enumerate().skip(first);
        let names: HashMap<String, usize> = names.map(|(at, own)| (own.package_name.to_lowercase(), at)).collect();
        let Some(files) = hive.open_at(root, "DriverInfFiles") else { return };
        for key in hive.subkeys(files) {
            let Some(active) = hive.value(key, "Active").and_then(|value| value.as_text()) else { continue };
            match names.get(&active.to_lowercase()) {
                Some(at) => self.packages[*at].is_active = true,
                None => {
                    self.note(|| format!("{home}: {} says '{active}', and there is no such package", hive.path(key)))
                }
            }
        }
    }

    /// Names of classes, from the control set.
    fn name_classes(&mut self, system: &Hive) {
        let classes = registry::current_control_set(system).and_then(|set| system.open_at(set, r"Control\Class"));
        let Some(classes) = classes else { return };
        let mut known = HashMap::new();
        for package in &mut self.packages {
            let Some(guid) = package.class_guid else { continue };
            let name = known.entry(guid).or_insert_with(|| {
                let key = system.subkey(classes, guid.braced().to_string().as_str())?;
                system.value(key, "Class")?.as_text().filter(|name| !name.is_empty())
            });
            package.class.clone_from(name);
        }
    }

    fn index(&mut self) {
        for (at, package) in self.packages.iter().enumerate() {
            self.by_name.entry(package.package_name.to_lowercase()).or_insert(at);
            if package.is_active {
                self.by_published.entry(package.published.to_lowercase()).or_insert(at);
            }
            // What is staged beside the package that counts does not take part in ranking.
            let claimed = package.devices.iter().enumerate().filter(|_| package.is_active);
            for (device, known) in claimed.filter(|(_, known)| known.kind.is_some()) {
                self.by_id.entry(known.id.to_lowercase()).or_default().push((at, device));
            }
        }
    }
}

/// `DeviceIds` on its way to the packages.
struct Claims<'d> {
    /// The package of each published name in lower case.
    names: HashMap<String, usize>,
    database: &'d mut Database,
}

impl Claims<'_> {
    fn read(&mut self, hive: &Hive, home: Home, ids: KeyId) {
        let mut made: HashMap<usize, Vec<KnownDevice>> = HashMap::new();
        let too_long = walk_ids(hive, ids, &mut |key, id| {
            for value in hive.values(key) {
                // Of a class's id: the package is of that class.
                if value.data.is_empty() {
                    continue;
                }
                let inf = value.name.to_string();
                let Some(&at) = self.names.get(&inf.to_lowercase()) else {
                    self.database.note(|| format!("{home}: {id} is claimed by {inf}, which is no active INF"));
                    continue;
                };
                let Some((kind, feature, index)) = layout::device_id(&value.data) else {
                    self.database.note(|| format!("{home}: {id}: {inf} has {} bytes instead of 4", value.data.len()));
                    continue;
                };
                let devices = &mut self.database.packages[at].devices;
                let place = devices.binary_search_by_key(&id.to_lowercase(), |device| device.id.to_lowercase());
                match place {
                    Ok(place) => {
                        let device = &mut devices[place];
                        (device.kind, device.feature, device.index) = (Some(kind), feature, index);
                    }
                    Err(_) => made.entry(at).or_default().push(KnownDevice {
                        id: id.to_owned(),
                        kind: Some(kind),
                        feature,
                        index,
                        configuration: None,
                        description: None,
                        manufacturer: None,
                    }),
                }
            }
        });
        if too_long > 0 {
            self.database.note(|| format!("{home}: {too_long} device ids that are too long"));
        }
        for (at, more) in made {
            let devices = &mut self.database.packages[at].devices;
            devices.extend(more);
            devices.sort_by_cached_key(|device| device.id.to_lowercase());
        }
    }
}

/// Shows every key below `top` with its path from there; gives how many keys had to be left out for their length, with all below them.
fn walk_ids(hive: &Hive, top: KeyId, visit: &mut impl FnMut(KeyId, &str)) -> usize {
    let mut too_long = 0;
    let mut path = String::new();
    // (key, length of its parent's path)
    let mut open: Vec<(KeyId, usize)> = hive.subkeys(top).rev().map(|key| (key, 0)).collect();
    while let Some((key, parent)) = open.pop() {
        path.truncate(parent);
        if parent > 0 {
            path.push('\\');
        }
        path.push_str(&hive.name(key).to_string());
        if path.len() > MAX_ID {
            too_long += 1;
            continue;
        }
        visit(key, &path);
        let len = path.len();
        open.extend(hive.subkeys(key).rev().map(|key| (key, len)));
    }
    too_long
}

fn configurations(hive: &Hive, package: KeyId) -> Vec<KnownConfiguration> {
    let keys = hive.subkey(package, "Configurations").into_iter().flat_map(|key| hive.subkeys(key));
    let mut configurations: Vec<KnownConfiguration> = keys
        .map(|key| {
            let number = |name: &str| hive.value(key, name).and_then(|value| value.as_dword()).unwrap_or(0);
            let texts = |name: &str| hive.value(key, name).and_then(|value| value.as_texts()).unwrap_or_default();
            let services = hive.subkey(key, "Services").into_iter().flat_map(|key| hive.subkeys(key));
            KnownConfiguration {
                name: hive.name(key).to_string(),
                service: hive.value(key, "Service").and_then(|value| value.as_text()),
                flags: number("ConfigFlags"),
                scope: number("ConfigScope"),
                included: texts("IncludedInfs"),
                upper_filters: texts("UpperFilters"),
                lower_filters: texts("LowerFilters"),
                excluded: texts("ExcludeIds"),
                services: services.map(|key| hive.name(key).to_string()).collect(),
            }
        })
        .collect();
    configurations.sort_by_cached_key(|configuration| configuration.name.to_lowercase());
    configurations
}

fn strings(hive: &Hive, package: KeyId) -> HashMap<String, String> {
    let values = hive.subkey(package, "Strings").into_iter().flat_map(|key| hive.values(key));
    values.filter_map(|value| Some((value.name.to_string().to_lowercase(), value.as_text()?))).collect()
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "SYSTEM",
            Self::Drivers => "DRIVERS",
        })
    }
}
