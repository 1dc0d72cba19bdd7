//! What the database keeps of a package.

use std::collections::BTreeSet;

use super::services::set_value;
use super::set_if_absent;
use crate::base::FileTime;
use crate::error::{Context, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::windows::drivers::database::DATABASE;
use crate::windows::drivers::database::layout::{OemInfMap, VersionBlob, architecture, device_id_bytes, oem_number};
use crate::windows::drivers::{Configuration, Device, Driver, FINISH_INSTALL, Signature};
use crate::windows::hive_files::HiveFile;

/// `StatusFlags` of most packages, whether or not their install sections are in the database.
const STATUS: u32 = 0x12;
/// What is added where a configuration is not finished (seen: viorng, usbcir and tsgenericusbdriver have 1Ah).
const STATUS_UNFINISHED: u32 = 0x8;

/// Bytes of an OemInfMap that are looked at: every number that [`Store`](super::Store) gives out.
const LONGEST_MAP: usize = 0x2000;

/// A package on its way into a database.
pub(super) struct Record<'a> {
    pub(super) driver: &'a Driver,
    pub(super) signature: &'a Signature,
    pub(super) published: &'a str,
    /// Whether what the INF file comes to is noted beside the package. In DRIVERS it is not: devices of those classes are installed by
    /// what runs in user mode, which reads the INF file itself (seen in what DISM wrote for netkvm and viogpudo, captured by distrobuilder).
    /// A configuration there would be taken for a finished one, and the class installer of the network would never see the device.
    pub(super) configured: bool,
    pub(super) origin: &'a str,
    /// The sum of its files, where this Windows notes it.
    pub(super) file_size: Option<u64>,
    pub(super) now: FileTime,
}

/// All numbers of oemN.inf that a database knows of.
pub(super) fn taken_numbers(hive: &Hive, taken: &mut BTreeSet<u32>) {
    let Some(root) = hive.open(DATABASE) else { return };
    if let Some(map) = hive.value(root, "OemInfMap") {
        let map = OemInfMap::new(map.data.get(..LONGEST_MAP).unwrap_or(&map.data));
        taken.extend(map.numbers());
    }
    let subkeys = |name: &str| hive.subkey(root, name).into_iter().flat_map(|key| hive.subkeys(key));
    let names = subkeys("DriverInfFiles").map(|key| hive.name(key).to_string());
    let published = subkeys("DriverPackages").filter_map(|key| hive.value(key, "")?.as_text());
    taken.extend(names.chain(published).filter_map(|name| oem_number(&name)));
}

impl Record<'_> {
    pub(super) fn write(&self, hive: &mut HiveFile) -> Result<()> {
        let root = hive.make_alike(hive.hive().root(), DATABASE)?;
        self.write_package(hive, root)?;
        self.write_inf(hive, root)?;
        self.write_devices(hive, root)
    }

    fn write_package(&self, hive: &mut HiveFile, root: KeyId) -> Result<()> {
        let driver = self.driver;
        let packages = hive.make_alike(root, "DriverPackages")?;
        let package = hive.make_sibling(packages, &driver.package_name)?;
        for (name, value) in self.values() {
            // Of a package that is there already, what Windows made of it since stays.
            set_if_absent(hive, package, name, value)?;
        }
        // INF files without devices, such as those of classes, have none of the keys below (seen).
        if driver.configurations.is_empty() || !self.configured {
            return Ok(());
        }
        let configurations = hive.make_alike(package, "Configurations")?;
        for configuration in &driver.configurations {
            let key = hive.make_sibling(configurations, &configuration.name)?;
            write_configuration(hive, key, configuration).context(|| &configuration.name)?;
        }
        let descriptors = hive.make_alike(package, "Descriptors")?;
        for device in self.devices() {
            let key = hive.make_alike(descriptors, &device.id).context(|| &device.id)?;
            hive.set(key, "Configuration", Value::sz(&device.configuration))?;
            hive.set(key, "Description", Value::sz(&device.description))?;
            hive.set(key, "Manufacturer", Value::sz(&device.manufacturer))?;
        }
        let strings = hive.make_alike(package, "Strings")?;
        for (token, text) in &driver.strings {
            hive.set(strings, token, Value::sz(text))?;
        }
        Ok(())
    }

    /// The values of the package itself.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let driver = self.driver;
        let version = VersionBlob {
            is_inbox: false,
            architecture: architecture(driver.machine),
            class: driver.class_guid,
            date: driver.date,
            version: driver.version,
            tail: 0,
        };
        let unfinished = self.configured && driver.configurations.iter().any(|own| own.flags & FINISH_INSTALL != 0);
        let mut values = vec![
            ("", Value::sz(self.published)),
            ("ImportDate", Value::binary(self.now.0.to_le_bytes())),
            ("InfName", Value::sz(&driver.inf_name)),
            ("OemPath", Value::sz(self.origin)),
            ("Provider", Value::sz(&driver.provider)),
            // Empty where nobody signed (seen).
            ("SignerName", Value::sz(self.signature.signer.as_deref().unwrap_or_default())),
            ("SignerScore", Value::dword(self.signature.score)),
            ("StatusFlags", Value::dword(if unfinished { STATUS | STATUS_UNFINISHED } else { STATUS })),
            ("Version", Value::binary(version.to_bytes())),
        ];
        let catalog = driver.catalog.as_ref().map(|catalog| ("Catalog", Value::sz(catalog)));
        let size = self.file_size.map(|size| ("FileSize", Value::qword(size)));
        let extension = driver.extension.map(|id| ("ExtensionId", Value::binary(id.to_bytes_le())));
        values.extend([catalog, size, extension].into_iter().flatten());
        values
    }

    fn write_inf(&self, hive: &mut HiveFile, root: KeyId) -> Result<()> {
        let files = hive.make_alike(root, "DriverInfFiles")?;
        let inf = hive.make_sibling(files, self.published)?;
        let package = &self.driver.package_name;
        hive.set(inf, "", Value::multi_sz([package]))?;
        hive.set(inf, "Active", Value::sz(package))?;
        if !self.configured {
            return Ok(());
        }
        // In the order in which the models name them, each once (seen: 32 of 203 lists are not sorted).
        let mut names: Vec<&str> = Vec::new();
        for configuration in &self.driver.configurations {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(&configuration.name)) {
                names.push(&configuration.name);
            }
        }
        if names.is_empty() { Ok(()) } else { hive.set(inf, "Configurations", Value::multi_sz(names)) }
    }

    fn write_devices(&self, hive: &mut HiveFile, root: KeyId) -> Result<()> {
        let ids = hive.make_alike(root, "DeviceIds")?;
        for device in self.devices() {
            let key = hive.make_alike(ids, &device.id).context(|| &device.id)?;
            let bytes = device_id_bytes(device.kind as u8, device.feature, device.index);
            hive.set(key, self.published, Value::binary(bytes))?;
        }
        let class = hive.make_sibling(ids, &self.driver.class_guid.braced().to_string())?;
        hive.set(class, self.published, Value::new(crate::format::hive::kind::NONE, []))
    }

    /// The devices, each id once: where several models have it, as the one that it fits best.
    fn devices(&self) -> Vec<&Device> {
        let mut devices: Vec<&Device> = self.driver.devices.iter().collect();
        let rank = |device: &Device| (device.id.to_uppercase(), device.kind as u8, device.feature, device.index);
        devices.sort_by_cached_key(|device| rank(device));
        devices.dedup_by(|a, b| a.id.eq_ignore_ascii_case(&b.id));
        devices
    }
}

fn write_configuration(hive: &mut HiveFile, key: KeyId, configuration: &Configuration) -> Result<()> {
    hive.set(key, "ConfigFlags", Value::dword(configuration.flags))?;
    hive.set(key, "ConfigScope", Value::dword(configuration.scope))?;
    if let Some(service) = &configuration.service {
        hive.set(key, "Service", Value::sz(service))?;
    }
    for (name, texts) in [
        ("IncludedInfs", &configuration.included),
        ("UpperFilters", &configuration.upper_filters),
        ("LowerFilters", &configuration.lower_filters),
        ("ExcludeIds", &configuration.exclude_ids),
    ] {
        if !texts.is_empty() {
            hive.set(key, name, Value::multi_sz(texts))?;
        }
    }
    if configuration.reboot {
        hive.set(key, "Reboot", Value::dword(1))?;
    }
    configuration.values.iter().try_for_each(|value| set_value(hive, key, value))
}
