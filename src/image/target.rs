//! The machines that a disk can be made for: profiles that are data, in `drivers/`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Format;
use super::layout::Firmware;
use super::package::{Controller, Nic, Wishes};
use crate::base::near;
use crate::error::{Error, Result};
use crate::windows::drivers::{DeviceIds, Pci, TargetOs};

const MIB: u64 = 1 << 20;

/// One file of `drivers/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    name: String,
    machine: Vec<Target>,
}

/// `drivers/common.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    set: Vec<Set>,
}

/// Devices that several machines show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    device: Vec<Device>,
}

/// A machine, as its profile describes it; `drivers/README.md` explains the keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name for `--target`.
    #[serde(rename = "target")]
    pub name: String,
    /// The hypervisor.
    #[serde(skip_deserializing)]
    pub platform: String,
    /// The machine in words.
    pub what: String,
    /// What starts it, unless somebody says otherwise.
    pub firmware: Firmware,
    /// The container, unless somebody says otherwise.
    pub format: Format,
    /// The containers that it takes.
    pub accepts: Vec<Format>,
    /// Whether its firmware checks who signed the boot manager.
    pub secure_boot: bool,
    /// The smallest disk in MiB.
    #[serde(default)]
    pub min_disk: u64,
    /// The largest disk in MiB.
    pub max_disk: u64,
    /// Whether the boot programs and Windows are to talk on the first serial port.
    #[serde(default)]
    pub ems: bool,
    /// Whether the settings of Azure's guide are to be made.
    #[serde(default)]
    pub azure: bool,
    /// The Vagrant provider of its boxes.
    #[serde(rename = "box")]
    pub provider: Option<String>,
    /// The sets of `drivers/common.toml` that it shows beside its own devices.
    #[serde(default, skip_serializing)]
    shows: Vec<String>,
    /// What it shows to Windows.
    #[serde(default, rename = "device")]
    pub devices: Vec<Device>,
}

/// A device that a machine shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The device in words.
    pub what: String,
    /// What it is for.
    pub role: DeviceRole,
    /// What its configuration space says, if it is a PCI device: the ids follow from it.
    pub pci: Option<Pci>,
    /// The hardware ids of any other, the most specific first.
    #[serde(default)]
    pub hardware: Vec<String>,
    /// The compatible ids of any other, the most specific first.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// The service that usually serves it.
    pub driver: String,
    /// Whether Windows needs it to find its disk.
    pub boot: bool,
    /// Where the driver comes from.
    pub from: Origin,
    /// The setting that makes the machine show it; none if it does by default.
    pub option: Option<String>,
    /// The network adapter of a package that it is.
    pub nic: Option<Nic>,
    /// The disk controller of a package that it is.
    pub controller: Option<Controller>,
}

impl Device {
    /// The ids under which it is reported to a Windows.
    pub fn ids(&self, windows: &TargetOs) -> DeviceIds {
        match &self.pci {
            Some(pci) => pci.ids(windows),
            None => DeviceIds { hardware: self.hardware.clone(), compatible: self.compatible.clone() },
        }
    }

    /// Whether a machine shows it without being asked to.
    pub fn is_default(&self) -> bool {
        self.option.is_none()
    }

    /// Whether a machine shows it whose package says which adapter and controller it has.
    pub fn is_shown(&self, wishes: Option<&Wishes>) -> bool {
        let nic = self.nic.zip(wishes.and_then(|wishes| wishes.nic)).map(|(own, wished)| own == wished);
        let controller = self.controller.zip(wishes.and_then(|wishes| wishes.controller));
        let controller = controller.map(|(own, wished)| own == wished);
        nic.or(controller).unwrap_or(self.is_default())
    }
}

/// See [`Device::role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceRole {
    /// What disks hang on.
    Disk,
    /// A network adapter.
    Network,
    /// What other devices hang on.
    Bus,
    /// Keyboard, mouse.
    Input,
    /// A display.
    Display,
    /// Something else.
    Other,
}

/// See [`Device::from`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Every Windows has it.
    #[serde(rename = "inbox")]
    Inbox,
    /// The package for guests of Hyper-V, on Nano Server's media.
    Guest,
    /// The package with Server Core's drivers, on Nano Server's media.
    #[serde(rename = "OEM-Drivers")]
    OemDrivers,
    /// The virtio-win drivers.
    #[serde(rename = "virtio-win")]
    VirtioWin,
    /// What the hypervisor's maker gives for its guests.
    #[serde(rename = "guest additions")]
    GuestAdditions,
    /// The maker of the device itself.
    #[serde(rename = "maker")]
    Maker,
    /// Nobody gives one for a Windows of today.
    #[serde(rename = "none")]
    Nobody,
}

static TARGETS: LazyLock<Result<Vec<Target>, String>> = LazyLock::new(|| {
    const FILES: [(&str, &str); 6] = [
        ("hyperv", include_str!("../../drivers/hyperv.toml")),
        ("virtualbox", include_str!("../../drivers/virtualbox.toml")),
        ("azure", include_str!("../../drivers/azure.toml")),
        ("kvm", include_str!("../../drivers/kvm.toml")),
        ("vmware", include_str!("../../drivers/vmware.toml")),
        ("raw", include_str!("../../drivers/raw.toml")),
    ];
    let common: Common = toml::from_str(include_str!("../../drivers/common.toml"))
        .map_err(|error| format!("drivers/common.toml: {error}"))?;
    let mut targets = Vec::new();
    for (name, text) in FILES {
        let platform: Platform = toml::from_str(text).map_err(|e| format!("drivers/{name}.toml: {e}"))?;
        for machine in platform.machine {
            let mut devices =
                shown(&common, &machine.shows).map_err(|error| format!("drivers/{name}.toml: {error}"))?;
            devices.extend(machine.devices);
            targets.push(Target { platform: platform.name.clone(), devices, ..machine });
        }
    }
    Ok(targets)
});

/// The devices of sets.
fn shown(common: &Common, sets: &[String]) -> Result<Vec<Device>, String> {
    let mut devices = Vec::new();
    for name in sets {
        let set = common.set.iter().find(|set| set.name == *name).ok_or_else(|| format!("no set '{name}'"))?;
        devices.extend(set.device.iter().cloned());
    }
    Ok(devices)
}

impl Target {
    /// All machines that there are profiles of.
    pub fn all() -> Result<&'static [Self]> {
        TARGETS.as_deref().map_err(Error::invalid)
    }

    /// The machine of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        let all = Self::all()?;
        all.iter().find(|target| target.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
            let error = Error::invalid("no such target").found(format_args!("'{name}'")).allowed(names.join(", "));
            let near = near::nearest(name, names.iter().map(|name| (*name).to_owned()));
            match near::did_you_mean(&near) {
                Some(question) => error.hint(question),
                None => error,
            }
        })
    }

    /// Refuses a container that the machine does not take.
    pub fn check_format(&self, format: Format) -> Result<()> {
        if self.accepts.contains(&format) {
            return Ok(());
        }
        let names: Vec<&str> = self.accepts.iter().map(|format| format.name()).collect();
        Err(Error::invalid(format_args!("{} takes no such container", self.what))
            .found(format.name())
            .allowed(names.join(", "))
            .hint("leave --format out to get the usual one"))
    }

    /// Refuses a disk that the machine does not take.
    pub fn check_size(&self, bytes: u64) -> Result<()> {
        let (least, most) = (self.min_disk * MIB, self.max_disk.saturating_mul(MIB));
        if (least..=most).contains(&bytes) {
            return Ok(());
        }
        let allowed = format_args!("{} to {} MiB", self.min_disk.max(1), self.max_disk).to_string();
        Err(Error::unsupported(format_args!("size of a disk for {}", self.what))
            .found(format_args!("{} MiB", bytes / MIB))
            .allowed(allowed)
            .hint("say another --size"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_whole() {
        for target in Target::all().unwrap() {
            assert!(target.accepts.contains(&target.format), "{}", target.name);
            assert!(target.min_disk < target.max_disk, "{}", target.name);
            assert!(matches!(target.firmware, Firmware::Bios | Firmware::Uefi), "{}", target.name);
            let shows = |role, boot| {
                let of_role = |device: &&Device| device.role == role && device.boot == boot && device.is_default();
                target.devices.iter().any(|device| of_role(&device))
            };
            let whole = shows(DeviceRole::Disk, true) && shows(DeviceRole::Network, false);
            assert!(target.name == "raw" || whole && shows(DeviceRole::Bus, true), "{}", target.name);
            for device in &target.devices {
                let ids = device.ids(&SERVER_2016);
                assert!(ids.all().count() > 0, "{}: {}", target.name, device.what);
                assert!(ids.all().all(|id| !id.contains(char::is_whitespace)), "{}", device.what);
                assert_eq!(
                    device.pci.is_some(),
                    device.hardware.is_empty() && device.compatible.is_empty(),
                    "{}",
                    device.what
                );
                assert!(device.pci.is_none_or(|pci| pci.vendor != 0 && pci.class >> 24 == 0), "{}", device.what);
            }
        }
    }

    const SERVER_2016: TargetOs = TargetOs {
        machine: crate::base::Machine::Amd64,
        major: 10,
        minor: 0,
        build: 14393,
        product: crate::windows::drivers::ProductType::Server,
        suites: 0,
    };

    /// What is listed twice would be judged twice.
    #[test]
    fn no_device_is_listed_twice() {
        for target in Target::all().unwrap() {
            let mut seen = Vec::new();
            for device in &target.devices {
                let known = (device.ids(&SERVER_2016), &device.option);
                assert!(!seen.contains(&known), "{}: {}", target.name, device.what);
                seen.push(known);
            }
        }
    }

    #[test]
    fn targets_are_found_by_name() {
        assert_eq!(Target::named("Hyperv-Gen2").unwrap().format, Format::Vhdx);
        let error = Target::named("hyperv-gen3").unwrap_err();
        assert!(error.to_string().contains("azure-gen1"), "{error}");
        assert!(error.hint_text().unwrap().contains("hyperv-gen"), "{error:?}");
    }

    #[test]
    fn refuses_what_a_machine_does_not_take() {
        let azure = Target::named("azure-gen1").unwrap();
        assert!(azure.check_format(Format::VhdFixed).is_ok());
        assert!(azure.check_format(Format::Vhd).is_err());
        assert!(azure.check_size(20 * MIB).is_ok());
        assert!(azure.check_size(19 * MIB).is_err());
        assert!(azure.check_size(3 << 40).is_err());
    }
}
