//! What can be done about a device that does not work.

use super::{Covered, Setting, Verdict};
use crate::image::target::{Device, DeviceRole, Origin};

/// Devices that are named as a way around.
const MOST_NAMED: usize = 2;

/// What to do, if there is something to be done.
pub(super) fn of(
    device: &Device,
    covered: &Covered,
    all: &[(&Device, Covered)],
    setting: Setting<'_>,
) -> Option<String> {
    let first = match covered.verdict {
        Verdict::Ok => return None,
        Verdict::MissingDriver => add(device, setting),
        Verdict::MissingService | Verdict::MissingFile => again(device, covered),
        Verdict::WrongStart | Verdict::Disabled => start(device, covered),
    };
    Some(match around(device, all) {
        Some(around) if covered.shown => format!("{first}; or {around}"),
        _ => first,
    })
}

/// What to add, and where to get it.
fn add(device: &Device, setting: Setting<'_>) -> String {
    let package = |name: &str| {
        let file = format!("Microsoft-NanoServer-{name}-Package.cab");
        match setting.packages.iter().any(|own| own.eq_ignore_ascii_case(&file)) {
            true => format!("add it with --package {name}, of the medium's NanoServer\\Packages"),
            false => format!(
                "every full Windows Server has it; for Nano Server, add {file} of Windows Server 2016's medium with --package"
            ),
        }
    };
    match device.from {
        Origin::Inbox => {
            format!("Windows itself has it ({}); take an image from which it was not removed", device.driver)
        }
        Origin::Guest => package("Guest"),
        Origin::OemDrivers => format!("{}, or add the maker's own with --driver FOLDER", package("OEM-Drivers")),
        Origin::VirtioWin => {
            "add it with --driver virtio-win.iso (virtio-win-pkg-scripts on GitHub says where it is)".into()
        }
        Origin::GuestAdditions => {
            format!("add {} with --driver, from the guest tools of the hypervisor's maker", device.driver)
        }
        Origin::Maker => format!("add {} of the device's maker with --driver FOLDER", device.driver),
        Origin::Nobody => "nobody gives a driver of 64 bits for it: choose another device".into(),
    }
}

fn again(device: &Device, covered: &Covered) -> String {
    match &covered.driver {
        Some(driver) if driver.inf.to_ascii_lowercase().starts_with("oem") => {
            format!("add {} once more with --driver", driver.inf_name)
        }
        _ => format!("the driver {} is there in parts; add a whole one with --driver", device.driver),
    }
}

fn start(device: &Device, covered: &Covered) -> String {
    let service = covered.driver.as_ref().and_then(|driver| driver.service.as_deref()).unwrap_or(&device.driver);
    let start = if device.boot { 0 } else { 3 };
    format!(
        r"set Start of HKLM\SYSTEM\CurrentControlSet\Services\{service} to {start} with --reg, and delete its key StartOverride"
    )
}

/// Other devices of the kind for which the image has a driver.
fn around(device: &Device, all: &[(&Device, Covered)]) -> Option<String> {
    if !matches!(device.role, DeviceRole::Network | DeviceRole::Disk) || device.pci.is_none() {
        return None;
    }
    let others = all.iter().filter(|(other, covered)| {
        other.role == device.role && other.pci.is_some() && covered.verdict == Verdict::Ok && !covered.shown
    });
    let named: Vec<String> = others
        .map(|(other, _)| match &other.option {
            Some(option) => format!("{} ({option})", other.what),
            None => other.what.clone(),
        })
        .take(MOST_NAMED)
        .collect();
    (!named.is_empty()).then(|| format!("let the machine show what the image has a driver for: {}", named.join(", ")))
}
