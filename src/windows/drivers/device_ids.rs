//! The ids under which a bus reports a device to Plug and Play.
//!
//! A bus gives two lists, each from the particular to the general: hardware ids, which say what the device is, and compatible ids,
//! which say what it is like. A driver that names a hardware id is a better one than a driver that names a compatible id
//! (see [`rank`](super::rank)).
//!
//! # Sources
//! Microsoft, "Identifiers for PCI devices"; which of them are in which list since Windows 10 ("some IDs that previously appeared in
//! the Hardware IDs list now appear in the list of Compatible IDs") as its device manager shows them.

use serde::{Deserialize, Serialize};

use super::TargetOs;

/// The ids of a device, each list the best first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeviceIds {
    /// What the device is.
    pub hardware: Vec<String>,
    /// What it is like.
    pub compatible: Vec<String>,
}

impl DeviceIds {
    /// All of them, the hardware ids first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.hardware.iter().chain(&self.compatible).map(String::as_str)
    }
}

/// What the configuration space of a PCI device says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pci {
    /// Offset 00h: who made the chip.
    pub vendor: u16,
    /// Offset 02h: which chip.
    pub device: u16,
    /// Offsets 2Eh (id, the upper half) and 2Ch (vendor): which card.
    #[serde(default)]
    pub subsystem: u32,
    /// Offset 08h.
    #[serde(default)]
    pub revision: u8,
    /// Offset 09h: base class, subclass and programming interface, from the upper byte to the lower.
    pub class: u32,
    /// The device type of a PCI Express capability, if there is one: 0 for an endpoint.
    pub express: Option<u8>,
}

impl Pci {
    /// The ids that Windows' PCI driver derives from it.
    pub fn ids(&self, target: &TargetOs) -> DeviceIds {
        let Self { vendor, device, subsystem, revision, class, express } = *self;
        let class = class & 0xFF_FFFF;
        let chip = format!(r"PCI\VEN_{vendor:04X}&DEV_{device:04X}");
        let (interface, subclass) = (format!("CC_{class:06X}"), format!("CC_{:04X}", class >> 8));
        let card = format!("{chip}&SUBSYS_{subsystem:08X}");
        let mut hardware = vec![format!("{card}&REV_{revision:02X}"), card];
        let chips = [format!("{chip}&REV_{revision:02X}"), chip.clone()];
        if target.major < 10 {
            hardware.extend(chips.clone());
        }
        hardware.extend([&interface, &subclass].map(|class| format!("{chip}&{class}")));

        let maker = format!(r"PCI\VEN_{vendor:04X}");
        let mut compatible = Vec::from(chips);
        compatible.extend([&interface, &subclass].map(|class| format!("{maker}&{class}")));
        compatible.push(maker);
        for class in [interface, subclass] {
            compatible.extend(express.map(|kind| format!(r"PCI\{class}&DT_{kind:X}")));
            compatible.push(format!(r"PCI\{class}"));
        }
        DeviceIds { hardware, compatible }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ProductType;
    use super::*;
    use crate::base::Machine;

    fn windows(major: u32, build: u32) -> TargetOs {
        TargetOs { machine: Machine::Amd64, major, minor: 0, build, product: ProductType::Server, suites: 0 }
    }

    const NETWORK: Pci =
        Pci { vendor: 0x8086, device: 0x100E, subsystem: 0x001E_8086, revision: 2, class: 0x02_0000, express: None };

    /// As the device manager of Windows 10 shows them for VirtualBox's network adapter.
    #[test]
    fn pci_ids_are_in_windows_order() {
        let ids = NETWORK.ids(&windows(10, 14393));
        assert_eq!(
            ids.hardware,
            [
                r"PCI\VEN_8086&DEV_100E&SUBSYS_001E8086&REV_02",
                r"PCI\VEN_8086&DEV_100E&SUBSYS_001E8086",
                r"PCI\VEN_8086&DEV_100E&CC_020000",
                r"PCI\VEN_8086&DEV_100E&CC_0200",
            ]
        );
        assert_eq!(
            ids.compatible,
            [
                r"PCI\VEN_8086&DEV_100E&REV_02",
                r"PCI\VEN_8086&DEV_100E",
                r"PCI\VEN_8086&CC_020000",
                r"PCI\VEN_8086&CC_0200",
                r"PCI\VEN_8086",
                r"PCI\CC_020000",
                r"PCI\CC_0200",
            ]
        );
        assert_eq!(ids.all().count(), 11);
    }

    /// The documented order, before Windows 10.
    #[test]
    fn older_systems_have_the_chip_among_the_hardware_ids() {
        let ids = NETWORK.ids(&windows(6, 9600));
        assert_eq!(ids.hardware[2..4], [r"PCI\VEN_8086&DEV_100E&REV_02", r"PCI\VEN_8086&DEV_100E"]);
        assert_eq!(ids.hardware.len(), 6);
    }

    #[test]
    fn express_devices_have_a_type_too() {
        let nvme = Pci { vendor: 0x1B36, device: 0x10, class: 0xFF01_0802, express: Some(0), ..NETWORK };
        let ids = nvme.ids(&windows(10, 14393));
        let classes = [r"PCI\CC_010802&DT_0", r"PCI\CC_010802", r"PCI\CC_0108&DT_0", r"PCI\CC_0108"];
        assert_eq!(ids.compatible[5..], classes);
    }
}
