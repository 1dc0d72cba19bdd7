//! The drivers of the made image: stand-ins for those that Nano Server has with the package for guests of Hyper-V, and without the one
//! with Server Core's drivers. So it finds its devices in a machine of Hyper-V, and no network adapter elsewhere.
//!
//! Each package is an INF file, in `\Windows\INF` and with its files in the driver store, and a record of it in the database of the hive
//! that its class belongs to.

use std::fmt::Write;

use uuid::{Uuid, uuid};

use super::MADE;
use crate::base::{FileTime, Machine, Version};
use crate::error::Result;
use crate::format::hive::{Hive, Value, kind};
use crate::windows::drivers::database::layout::{VersionBlob, device_id_bytes};
use crate::windows::drivers::{Home, store_name};

/// 2006-06-21, the date of all drivers that come with Windows.
const DATE: FileTime = FileTime(127_953_216_000_000_000);
const VERSION: Version = Version([10, 0, 14393, 0]);
const PROVIDER: &str = "nanovhd demo";
/// `SIGNERSCORE_INBOX` of the Windows SDK's `setupapi.h`.
const SIGNED_INBOX: u32 = 0x0D00_0003;
const AMD64: u16 = 9;

/// A class of devices.
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) guid: Uuid,
    pub(super) upper_filters: &'static [&'static str],
}

const SYSTEM: Class = class("System", uuid!("4d36e97d-e325-11ce-bfc1-08002be10318"), &[]);
const HDC: Class = class("hdc", uuid!("4d36e96a-e325-11ce-bfc1-08002be10318"), &[]);
const SCSI_ADAPTER: Class = class("SCSIAdapter", uuid!("4d36e97b-e325-11ce-bfc1-08002be10318"), &[]);
const DISK_DRIVE: Class = class("DiskDrive", uuid!("4d36e967-e325-11ce-bfc1-08002be10318"), &["partmgr"]);
const NET: Class = class("Net", uuid!("4d36e972-e325-11ce-bfc1-08002be10318"), &[]);
const KEYBOARD: Class = class("Keyboard", uuid!("4d36e96b-e325-11ce-bfc1-08002be10318"), &[]);

pub(super) const CLASSES: [&Class; 6] = [&SYSTEM, &HDC, &SCSI_ADAPTER, &DISK_DRIVE, &NET, &KEYBOARD];

const fn class(name: &'static str, guid: Uuid, upper_filters: &'static [&'static str]) -> Class {
    Class { name, guid, upper_filters }
}

/// A package: an INF's name, a class, and services with the ids of their devices.
pub(super) struct Package {
    inf: &'static str,
    class: &'static Class,
    drivers: &'static [(&'static str, &'static [&'static str])],
}

pub(super) const PACKAGES: [Package; 10] = [
    Package { inf: "acpi.inf", class: &SYSTEM, drivers: &[("ACPI", &["*PNP0C08"])] },
    Package { inf: "disk.inf", class: &DISK_DRIVE, drivers: &[("disk", &["GenDisk"])] },
    Package { inf: "keyboard.inf", class: &KEYBOARD, drivers: &[("i8042prt", &["*PNP0303"])] },
    Package {
        inf: "mshdc.inf",
        class: &HDC,
        drivers: &[
            ("intelide", &[r"PCI\VEN_8086&DEV_7010", r"PCI\VEN_8086&DEV_7111"]),
            ("atapi", &["Internal_IDE_Channel"]),
            ("storahci", &[r"PCI\CC_010601"]),
        ],
    },
    Package { inf: "pci.inf", class: &SYSTEM, drivers: &[("pci", &["*PNP0A03", "*PNP0A08"])] },
    Package { inf: "stornvme.inf", class: &SCSI_ADAPTER, drivers: &[("stornvme", &[r"PCI\CC_010802"])] },
    Package { inf: "volmgr.inf", class: &SYSTEM, drivers: &[("volmgr", &[r"ROOT\volmgr"])] },
    Package {
        inf: "wnetvsc.inf",
        class: &NET,
        drivers: &[("netvsc", &[r"VMBUS\{f8615163-df3e-46c5-913f-f2d2f965ed0e}"])],
    },
    Package {
        inf: "wstorvsc.inf",
        class: &SCSI_ADAPTER,
        drivers: &[("storvsc", &[r"VMBUS\{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}"])],
    },
    Package { inf: "wvmbus.inf", class: &SYSTEM, drivers: &[("vmbus", &[r"ACPI\VMBus"])] },
];

/// When a service of the made image starts: at boot, but for what the loader itself loads and what waits for its device.
pub(super) fn start(service: &str) -> u32 {
    match service {
        "Ntfs" | "netvsc" | "i8042prt" => 3,
        _ => 0,
    }
}

impl Package {
    /// The name of the INF file.
    pub(super) fn inf_name(&self) -> &'static str {
        self.inf
    }

    /// Its services.
    pub(super) fn services(&self) -> impl Iterator<Item = &'static str> {
        self.drivers.iter().map(|(service, _)| *service)
    }

    /// The hive that its class belongs to: `SYSTEM` has what Windows needs to find its disk.
    fn home(&self) -> Home {
        if self.class.name == NET.name { Home::Drivers } else { Home::System }
    }

    /// The folder in the driver store.
    pub(super) fn folder(&self) -> String {
        store_name(self.inf, Machine::Amd64, self.inf_text().as_bytes())
    }

    /// The text of the INF file.
    pub(super) fn inf_text(&self) -> String {
        let (class, guid) = (self.class.name, self.class.guid.braced());
        let mut text = format!(
            "; A stand-in, made by nanovhd.\r\n[Version]\r\nSignature=\"$Windows NT$\"\r\nClass={class}\r\nClassGuid={guid}\r\n\
             Provider=%maker%\r\nDriverVer=06/21/2006,{VERSION}\r\nPnpLockdown=1\r\n\r\n[DestinationDirs]\r\nDefaultDestDir=12\r\n\r\n\
             [Manufacturer]\r\n%maker%=Models,NTamd64\r\n\r\n[Models.NTamd64]\r\n"
        );
        let mut sections = String::from("[SourceDisksNames]\r\n1=%maker%\r\n\r\n[SourceDisksFiles]\r\n");
        let mut strings = format!("[Strings]\r\nmaker=\"{PROVIDER}\"\r\n");
        for (service, ids) in self.drivers {
            for id in *ids {
                let _ = write!(text, "%{service}%={service}_Inst,{id}\r\n");
            }
            let _ = write!(sections, "{service}.sys=1\r\n");
            let _ = write!(strings, "{service}=\"{}\"\r\n", description(service));
        }
        for (service, _) in self.drivers {
            let start = start(service);
            let _ = write!(
                sections,
                "\r\n[{service}_Inst]\r\nCopyFiles={service}_Files\r\n\r\n[{service}_Files]\r\n{service}.sys\r\n\r\n\
                 [{service}_Inst.Services]\r\nAddService={service},2,{service}_Service\r\n\r\n\
                 [{service}_Service]\r\nServiceType=1\r\nStartType={start}\r\nErrorControl=3\r\nServiceBinary=%12%\\{service}.sys\r\n"
            );
        }
        text + "\r\n" + &sections + "\r\n" + &strings
    }

    /// Puts the package into the database.
    fn record(&self, hive: &mut Hive) -> Result<()> {
        let folder = self.folder();
        let package = format!(r"DriverDatabase\DriverPackages\{folder}");
        let version = VersionBlob {
            is_inbox: true,
            architecture: AMD64,
            class: self.class.guid,
            date: DATE,
            version: VERSION,
            tail: 0,
        };
        let mut set = |key: &str, name: &str, value: Value| {
            let key = hive.create_key(key)?;
            hive.set_value(key, name, value)
        };
        set(&package, "", Value::sz(self.inf))?;
        set(&package, "Provider", Value::sz(PROVIDER))?;
        set(&package, "SignerScore", Value::dword(SIGNED_INBOX))?;
        set(&package, "StatusFlags", Value::dword(0x12))?;
        set(&package, "Version", Value::binary(version.to_bytes()))?;
        set(&format!(r"{package}\Strings"), "maker", Value::sz(PROVIDER))?;
        for (service, ids) in self.drivers {
            let configuration = format!(r"{package}\Configurations\{service}_Inst");
            set(&configuration, "ConfigFlags", Value::dword(0))?;
            set(&configuration, "ConfigScope", Value::dword(7))?;
            set(&configuration, "Service", Value::sz(service))?;
            set(&format!(r"{package}\Strings"), &service.to_lowercase(), Value::sz(&description(service)))?;
            for id in *ids {
                let descriptor = format!(r"{package}\Descriptors\{id}");
                set(&descriptor, "Configuration", Value::sz(&format!("{service}_Inst")))?;
                set(&descriptor, "Description", Value::sz(&format!("%{}%", service.to_lowercase())))?;
                set(&descriptor, "Manufacturer", Value::sz("%maker%"))?;
                let claim = device_id_bytes(1, u8::MAX, 0);
                set(&format!(r"DriverDatabase\DeviceIds\{id}"), self.inf, Value::binary(claim))?;
            }
        }
        let class = format!(r"DriverDatabase\DeviceIds\{}", self.class.guid.braced());
        set(&class, self.inf, Value::new(kind::NONE, []))?;
        let file = format!(r"DriverDatabase\DriverInfFiles\{}", self.inf);
        set(&file, "", Value::multi_sz([&folder]))?;
        set(&file, "Active", Value::sz(&folder))?;
        set(&file, "Configurations", Value::multi_sz(self.services().map(|service| format!("{service}_Inst"))))
    }
}

fn description(service: &str) -> String {
    format!("A stand-in for {service}")
}

/// Gives a hive its database.
pub(super) fn record(hive: &mut Hive, home: Home) -> Result<()> {
    let root = hive.create_key("DriverDatabase")?;
    let values = [
        ("Architecture", Value::dword(u32::from(AMD64))),
        ("SchemaVersion", Value::dword(0x0001_0000)),
        ("UpdateDate", Value::binary(MADE.0.to_le_bytes())),
        ("Version", Value::dword(0x0A00_0000)),
    ];
    for (name, value) in values {
        hive.set_value(root, name, value)?;
    }
    hive.create_key(r"DriverDatabase\DriverFiles")?;
    PACKAGES.iter().filter(|package| package.home() == home).try_for_each(|package| package.record(hive))
}
