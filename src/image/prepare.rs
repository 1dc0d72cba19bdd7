//! An image with all that it needs to start: what its disk's firmware looks for, and what the recipe changes.

use super::layout::{Firmware, Role};
use super::seed::Seed;
use super::{Recipe, Source};
use crate::base::FileTime;
use crate::error::{Error, Kind, Result};
use crate::format::bcd::Device;
use crate::tree::{Node, Times, Tree, attributes};
use crate::windows::{Machine, Windows, boot};

/// The trees of a disk's partitions.
pub(super) struct Prepared {
    /// The image.
    pub(super) tree: Tree,
    /// What the firmware starts, where that has a partition of its own.
    pub(super) system: Option<Tree>,
    /// What is to be on a recovery partition.
    pub(super) recovery: Option<Tree>,
    pub(super) machine: Option<Machine>,
    pub(super) boot: Option<boot::Installed>,
}

impl Prepared {
    /// Makes an image bootable as the recipe wants it. One that no firmware is to start need not be a Windows.
    pub(super) fn new(tree: Tree, recipe: &Recipe, seed: &Seed, now: FileTime) -> Result<Self> {
        let layout = &recipe.layout;
        if layout.firmware == Firmware::None && Windows::recognise(tree.clone()).is_err_and(|e| e.kind() == Kind::NotWindows) {
            return Ok(Self { tree, system: None, recovery: None, machine: None, boot: None });
        }
        let mut windows = Windows::recognise(tree)?;
        let devices = Devices::new(recipe, seed);
        let options = |boot_device, os_device| boot::Options {
            loader_id: seed.guid("BCD loader"),
            resume_id: seed.guid("BCD resume"),
            created: now,
            boot_device,
            os_device,
            settings: settings(recipe),
        };
        let (system, boot) = match layout.firmware {
            Firmware::None => (None, None),
            Firmware::Bios if !layout.separate_system => {
                // By what lies on it, not by a signature: Windows gives a disk a new one when two are the same. Microsoft's
                // Convert-WindowsImage sets these too, after bcdboot.
                (None, Some(boot::install_bios(&mut windows, &options(locate(), locate()))?))
            }
            Firmware::Bios => {
                let (tree, boot) = boot::install_bios_to(&mut windows, &options(devices.system, devices.windows))?;
                (Some(tree), Some(boot))
            }
            Firmware::Uefi => {
                let (tree, boot) = boot::install_uefi(&mut windows, &options(devices.system, devices.windows))?;
                (Some(tree), Some(boot))
            }
            Firmware::Both => {
                let (tree, boot) = boot::install_both(&mut windows, &options(devices.system, devices.windows))?;
                (Some(tree), Some(boot))
            }
        };
        let machine = Some(windows.machine());
        let tree = windows.into_tree();
        let recovery = layout.recovery_bytes.map(|_| recovery(&tree, now)).transpose()?;
        Ok(Self { tree, system, recovery, machine, boot })
    }
}
