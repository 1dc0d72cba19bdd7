//! The machines that a disk can be made for: profiles that are data, in `drivers/`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Format;
use super::layout::Firmware;
use crate::base::near;
use crate::error::{Error, Result};

const MIB: u64 = 1 << 20;

/// One file of `drivers/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    name: String,
    machine: Vec<Target>,
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
    /// Hardware and compatible ids, the most specific first.
    pub ids: Vec<String>,
    /// The service that serves it.
    pub driver: String,
    /// Whether Windows needs it to find its disk.
    pub boot: bool,
    /// Where the driver comes from.
    pub from: Origin,
    /// The setting that makes the machine show it; none if it does by default.
    pub option: Option<String>,
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
    let mut targets = Vec::new();
    for (name, text) in FILES {
        let platform: Platform = toml::from_str(text).map_err(|e| format!("drivers/{name}.toml: {e}"))?;
        targets
            .extend(platform.machine.into_iter().map(|machine| Target { platform: platform.name.clone(), ..machine }));
    }
    Ok(targets)
});

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
            let shown = |role| target.devices.iter().any(|device| device.role == role && device.option.is_none());
            assert!(target.name == "raw" || shown(DeviceRole::Disk) && shown(DeviceRole::Network), "{}", target.name);
            for device in &target.devices {
                let ids = &device.ids;
                assert!(!ids.is_empty() && ids.iter().all(|id| !id.contains(char::is_whitespace)), "{}", device.what);
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
