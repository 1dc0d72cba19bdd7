//! What the driver database of an installation says: its packages, and which of them claim a device.
//!
//! ```text
//! DriverDatabase          of the hive SYSTEM for the classes that a boot needs, of DRIVERS for the rest (from build 14393 on)
//!   OemInfMap             which numbers of oemN.inf are taken: bit 80h >> (N % 8) of byte N / 8
//!   DeviceIds\ID          value INF.inf: kind of id, feature score, index as u16; of a class's id: REG_NONE without data
//!   DriverInfFiles\INF    its packages (default), the one that counts (Active), its install sections (Configurations)
//!   DriverPackages\NAME   published name (default), Version, Provider, SignerName, SignerScore, ...
//!     Configurations\X    install section: Service, filters, ConfigFlags, ConfigScope; below it what devices get
//!     Descriptors\ID      install section, description and manufacturer of a device
//!     Strings             what %token% stands for
//! ```
//!
//! A package that was staged and never configured has neither Configurations nor Descriptors (seen on Windows 10 1709): its devices are
//! known from `DeviceIds` alone.
//!
//! What is damaged is left out and becomes a [note](Database::notes); the rest counts.
//!
//! # Limits
//! Device ids of up to 512 characters are read (Windows allows 200), so that memory stays a small multiple of the hives'. One hundred notes.
//!
//! # Sources
//! Seen in SYSTEM hives of Windows 8.1 to 11; the registry that distrobuilder (lxc) captured from DISM; libguestfs's account of what the
//! kernel's PnP manager needs.

pub(crate) mod layout;
mod read;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

pub(super) use read::DATABASE;

use super::IdKind;
use crate::base::{FileTime, Machine, Version};

/// Packages and device ids of an installation.
#[derive(Debug, Clone, Default)]
pub struct Database {
    packages: Vec<Installed>,
    /// By package name in lower case.
    by_name: HashMap<String, usize>,
    /// The package that counts for a published name in lower case.
    by_published: HashMap<String, usize>,
    /// By id in lower case: package, place among its devices.
    by_id: HashMap<String, Vec<(usize, usize)>>,
    notes: Vec<String>,
}

/// The hive of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Home {
    /// `SYSTEM`, which the loader reads.
    System,
    /// `DRIVERS`, which Windows mounts when it looks for a driver.
    Drivers,
}

/// A package of the database.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// The hive that it is in.
    pub home: Home,
    /// The name of its folder in the driver store.
    pub package_name: String,
    /// The name of its INF in `\Windows\INF`: `oem3.inf`, or for one that came with Windows its own.
    pub published: String,
    /// The INF's name as its maker has it.
    pub inf_name: String,
    /// Whether it came with Windows.
    pub is_inbox: bool,
    /// Whether it is the one that counts for its published name.
    pub is_active: bool,
    /// The class as the installation names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The class as an id; none if there is no sound `Version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_guid: Option<Uuid>,
    /// The processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Its date.
    pub date: FileTime,
    /// Its version.
    pub version: Version,
    /// Who gives it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// `SignerScore`; FFFFFFFFh where there is none.
    pub score: u32,
    /// The id of an extension INF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Uuid>,
    /// Where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its devices, by id.
    pub devices: Vec<KnownDevice>,
    /// Its install sections, by name.
    pub configurations: Vec<KnownConfiguration>,
    /// Token in lower case, text.
    #[serde(skip)]
    pub strings: HashMap<String, String>,
}

/// An id that a package claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownDevice {
    /// The id as the database spells it.
    pub id: String,
    /// The first byte, where `DeviceIds` has the id: see [`IdKind`]; others occur.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// The feature score; FFh is the usual one.
    pub feature: u8,
    /// The index among the compatible ids.
    pub index: u16,
    /// The install section, where there is a descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The description, with its `%token%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The manufacturer, with its `%token%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
}

/// An install section of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KnownConfiguration {
    /// Its name.
    pub name: String,
    /// The function driver: absent where none is named, empty where there is to be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `ConfigFlags`.
    pub flags: u32,
    /// `ConfigScope`.
    pub scope: u32,
    /// INF files that it included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<String>,
    /// Filters above the function driver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upper_filters: Vec<String>,
    /// Filters below the function driver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lower_filters: Vec<String>,
    /// Devices that it is not for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// The services that it has values for, the function driver and the filters among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// A package that claims a device id.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'d> {
    /// The package.
    pub package: &'d Installed,
    /// What it says of the id.
    pub device: &'d KnownDevice,
    /// How such a device is installed; none for a package that was staged only.
    pub configuration: Option<&'d KnownConfiguration>,
}

impl Candidate<'_> {
    /// Whether the id is the hardware id of its model; true for kinds that are not known, as PnP ranks those first.
    pub fn is_hardware_id(&self) -> bool {
        self.device.kind != Some(IdKind::Compatible as u8)
    }
}

impl Database {
    /// All packages, in the order of their names, those of SYSTEM first.
    pub fn packages(&self) -> &[Installed] {
        &self.packages
    }

    /// What could not be read, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The package of a folder of the driver store.
    pub fn package(&self, package_name: &str) -> Option<&Installed> {
        self.by_name.get(&package_name.to_lowercase()).map(|at| &self.packages[*at])
    }

    /// The package that counts for a published name: `oem3.inf`, `disk.inf`.
    pub fn published(&self, inf: &str) -> Option<&Installed> {
        self.by_published.get(&inf.to_lowercase()).map(|at| &self.packages[*at])
    }

    /// The packages that claim an id, without regard to case, in the order of [`packages`](Self::packages).
    pub fn candidates(&self, id: &str) -> impl Iterator<Item = Candidate<'_>> {
        let claims = self.by_id.get(&id.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
        claims.iter().map(|(package, device)| {
            let package = &self.packages[*package];
            let device = &package.devices[*device];
            let configuration = device.configuration.as_ref().and_then(|name| package.configuration(name));
            Candidate { package, device, configuration }
        })
    }
}

impl Installed {
    /// An install section, without regard to case.
    pub fn configuration(&self, name: &str) -> Option<&KnownConfiguration> {
        let name = name.to_lowercase();
        let at = self.configurations.binary_search_by_key(&name, |own| own.name.to_lowercase()).ok()?;
        self.configurations.get(at)
    }

    /// A text of the database with its tokens replaced; what is no token of the package stays.
    pub fn text<'t>(&'t self, text: &'t str) -> Cow<'t, str> {
        let Some(token) = text.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) else {
            return Cow::Borrowed(text);
        };
        Cow::Borrowed(self.strings.get(&token.to_lowercase()).map_or(text, String::as_str))
    }
}
