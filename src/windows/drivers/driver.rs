//! The value between the compiler of INF files and the driver store.

use uuid::Uuid;

use crate::base::{FileTime, Machine, Version};
use crate::format::hive::Value;

/// What an INF file comes to for one Windows.
#[derive(Debug, Clone)]
pub struct Driver {
    /// The name of the INF file as the package has it: `netkvm.inf`.
    pub inf_name: String,
    /// The name of the package in the driver store: `netkvm.inf_amd64_0123456789abcdef`.
    pub package_name: String,
    /// The class: `Net`.
    pub class: String,
    /// The class as an id.
    pub class_guid: Uuid,
    /// Who gives it out.
    pub provider: String,
    /// The name of its catalog.
    pub catalog: Option<String>,
    /// The processor that it is for.
    pub machine: Machine,
    /// Its date, at midnight UTC.
    pub date: FileTime,
    /// Its version.
    pub version: Version,
    /// `PnpLockdown`, where it is said.
    pub lockdown: Option<bool>,
    /// The id of an extension INF.
    pub extension: Option<Uuid>,
    /// How its devices are installed: one for each install section that a model of the target leads to.
    pub configurations: Vec<Configuration>,
    /// Its devices, one for each id of each model.
    pub devices: Vec<Device>,
    /// The strings that descriptions are made of: token in lower case, text. `DriverPackages\...\Strings` has these and no others.
    pub strings: Vec<(String, String)>,
    /// The strings of the names and descriptions of services, in the same way.
    pub service_strings: Vec<(String, String)>,
    /// Every file of the package, the INF and the catalog among them: paths within it, with `\`.
    pub files: Vec<String>,
    /// Files that are copied to where they run.
    pub copies: Vec<CopyOut>,
    /// The services of all configurations, each once.
    pub services: Vec<Service>,
    /// Changes of the registry outside devices and services (`HKLM`, `HKCR`, ...).
    pub registry: Vec<RegistryChange>,
    /// What was found and is not done, or is done otherwise: nothing is left out without a word here.
    pub notes: Vec<Note>,
}

impl Driver {
    /// The text of a token in lower case, of those of devices and services.
    pub fn string(&self, token: &str) -> Option<&str> {
        let mut all = self.strings.iter().chain(&self.service_strings);
        all.find(|(own, _)| own == token).map(|(_, text)| text.as_str())
    }

    /// A text of a service as Windows keeps it: one that is a token as `@oem3.inf,%token%;text`, so that Windows can look it up in the
    /// INF file again, others as they are.
    pub fn indirect(&self, text: &str, published: &str) -> String {
        let token = text.strip_prefix('%').and_then(|text| text.strip_suffix('%'));
        match token.and_then(|token| self.string(&token.to_lowercase())) {
            Some(resolved) => format!("@{published},{text};{resolved}"),
            None => text.to_owned(),
        }
    }
}

/// A remark on an INF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line that it is about, from 1.
    pub line: usize,
    /// What there is, and what was made of it.
    pub text: String,
    /// Whether Windows does it itself when it finds the device, as it would after DISM: nothing is lost.
    pub later: bool,
}

/// `CONFIGFLAG_FINISH_INSTALL` of regstr.h: Windows has to go through the INF file once more when the device is there. Seen with packages
/// that have co-installers or whose class has an installer.
pub const FINISH_INSTALL: u32 = 0x400;

/// How a device is installed: `DriverPackages\...\Configurations\NAME`.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// The install section as the database names it.
    pub name: String,
    /// The function driver: absent where none is named, empty where the INF says that there is none.
    pub service: Option<String>,
    /// `ConfigFlags`: 0, or [`FINISH_INSTALL`].
    pub flags: u32,
    /// `ConfigScope`.
    pub scope: u32,
    /// The INF files that it included.
    pub included: Vec<String>,
    /// Filters above the function driver.
    pub upper_filters: Vec<String>,
    /// Filters below the function driver.
    pub lower_filters: Vec<String>,
    /// `ExcludeIds`: devices with one of these ids are not for it.
    pub exclude_ids: Vec<String>,
    /// `Reboot`: a restart is wanted after it.
    pub reboot: bool,
    /// Values that devices get, by where.
    pub values: Vec<ConfigurationValue>,
}

/// What the database puts into the upper half of a value's type (seen in the hive of Windows 10 1709, all 238 packages).
pub mod database_flag {
    /// The value does not replace one that a device has (`FLG_ADDREG_NOCLOBBER`).
    pub const NO_CLOBBER: u32 = 0x0002_0000;
    /// The texts join those that a device has (`FLG_ADDREG_APPEND`).
    pub const APPEND: u32 = 0x0004_0000;
    /// The key of that name goes before anything else: `Device` has such a `WUDF` beside the key `Device\WUDF`.
    pub const DELETE_KEY: u32 = 0x0010_0000;
    /// The value of that name goes (`DelReg`, `FLG_ADDREG_DELVAL`).
    pub const DELETE_VALUE: u32 = 0x0020_0000;
    /// A property: the lower half is its `DEVPROP_TYPE`.
    pub const PROPERTY: u32 = 0xFFFF_0000;
}

/// A key or value below a configuration, a service or the source of an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationValue {
    /// The key below the configuration: `Device\Interrupt Management`, `Driver\Ndi`, `Services\netkvm\Parameters`, ...; below a service
    /// or source: `Parameters`, empty for its own key.
    pub key: String,
    /// The value's name, and the value, in a configuration with [flags](database_flag) in its type as the database keeps them; `None`
    /// for a key alone.
    pub value: Option<(String, Value)>,
}

/// What tells a device: `DeviceIds` and `Descriptors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The id: `PCI\VEN_1AF4&DEV_1000`.
    pub id: String,
    /// Whether it is the hardware id of its model, or one of the compatible ids.
    pub kind: IdKind,
    /// The feature score: FFh unless the INF says another.
    pub feature: u8,
    /// The index among the compatible ids.
    pub index: u16,
    /// The configuration.
    pub configuration: String,
    /// The description, with its `%token%`s in lower case.
    pub description: String,
    /// The manufacturer, in the same way.
    pub manufacturer: String,
}

/// The first byte that the database keeps of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// The first id of a model.
    Hardware = 1,
    /// The ids after it.
    Compatible = 2,
}

/// A file of the package and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOut {
    /// The path within the package.
    pub source: String,
    /// The path in the image: `\Windows\System32\drivers\netkvm.sys`.
    pub target: String,
    /// The line that asks for it.
    pub line: usize,
}

/// A service: `ControlSet00N\Services\NAME`.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `Type`: 1 for a driver of the kernel.
    pub kind: u32,
    /// `Start`: 0 at boot, 3 on demand.
    pub start: u32,
    /// `ErrorControl`.
    pub error_control: u32,
    /// `ImagePath` as Windows has it: `System32\drivers\viostor.sys` for what starts at boot, `\SystemRoot\System32\...` for other drivers.
    pub image_path: String,
    /// `DisplayName`, the token in it left: `%netkvm.service.dispname%`.
    pub display_name: Option<String>,
    /// `Description`, the token in it left.
    pub description: Option<String>,
    /// `Group`.
    pub group: Option<String>,
    /// `Tag`, where the INF chooses one, which none can: a service of a group gets the next tag of that group that is free among the
    /// services of an image when it is made there (`viostor` of "SCSI miniport" has 33 in images that DISM serviced).
    pub tag: Option<u32>,
    /// The flags of its AddService (`SPSVCINST_*`): 1 wants the tag at the front of its group's order.
    pub flags: u32,
    /// The INF file of the image that it comes from: such a service is there already, or left to Windows. None for the package's own.
    pub included_from: Option<String>,
    /// `DependOnService` and, with a `+` before the name, `DependOnGroup`.
    pub dependencies: Vec<String>,
    /// `ObjectName`.
    pub start_name: Option<String>,
    /// A security descriptor in SDDL.
    pub security: Option<String>,
    /// Keys and values below the service's key, their types as the registry knows them.
    pub values: Vec<ConfigurationValue>,
    /// Values and keys that go: the key below the service's, and the value's name, or none for the key itself.
    pub deletions: Vec<(String, Option<String>)>,
    /// Its event log: the log's name, the source's name, the values.
    pub event_log: Option<EventLog>,
    /// The line of its AddService.
    pub line: usize,
}

/// What a service tells the event log: `Services\EventLog\LOG\SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// The log: `System`.
    pub log: String,
    /// The source, usually the service's name.
    pub source: String,
    /// Its values.
    pub values: Vec<ConfigurationValue>,
}

/// A change of the registry outside devices and services. Windows carries these out when it installs a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryChange {
    /// The key as Windows shows it: `HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\...`, `HKEY_CLASSES_ROOT\...`, `HKEY_USERS\...`; what an
    /// INF has under HKCU is `HKEY_CURRENT_USER`: the account of whoever installs.
    pub key: String,
    /// What is done.
    pub action: RegistryAction,
    /// The line that asks for it.
    pub line: usize,
}

/// See [`RegistryChange::action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryAction {
    /// The key is made.
    Make,
    /// A value is set.
    Set(String, Value),
    /// A value is set where there is none of that name.
    SetIfAbsent(String, Value),
    /// Texts join the REG_MULTI_SZ of that name, as far as they are not in it.
    Append(String, Vec<String>),
    /// A value goes.
    DeleteValue(String),
    /// The key goes, with all below it.
    DeleteKey,
}

/// Who vouches for a package, as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `SignerName`: none if nobody does.
    pub signer: Option<String>,
    /// `SignerScore`: 0D000005h for a signature of Microsoft's hardware programme, 80000000h for none.
    pub score: u32,
}
