//! What `bcdboot` does: puts the boot manager, its data and a BCD store where the firmware's chain looks for them.
//!
//! | firmware | what | where |
//! |---|---|---|
//! | BIOS | `\Windows\Boot\PCAT`, without the two below | `\Boot` |
//! | BIOS | its `bootmgr`, `bootnxt` | `\bootmgr`, `\BOOTNXT` |
//! | BIOS | `\Windows\Boot\Fonts`, `Resources` | `\Boot\Fonts`, `Resources` |
//! | BIOS | a new store | `\Boot\BCD` |
//! | UEFI | `\Windows\Boot\EFI` | `\EFI\Microsoft\Boot` |
//! | UEFI | `\Windows\Boot\Fonts`, `Resources` | below it |
//! | UEFI | its `bootmgfw.efi` | `\EFI\Boot\bootx64.efi`, or what firmware of another processor looks for |
//! | UEFI | an empty folder | `\EFI\Microsoft\Recovery` |
//! | UEFI | a new store | `\EFI\Microsoft\Boot\BCD` |
//!
//! Which files bcdboot copies, with which attributes, is described by the BCD-SYS project, which does the same from bash.
//!
//! Everything is put into a tree of its own, for a system partition; where there is none, that tree is laid over the image's.

mod bios;
mod both;
mod copy;
mod settings;
mod store;
mod uefi;

pub use bios::{install_bios, install_bios_to};
pub use both::install_both;
pub use settings::{Ems, STORES, Settings};
pub use uefi::{Authority, Generation, UefiOptions, fallback_path, install_uefi};

use serde::Serialize;
use uuid::Uuid;

use crate::base::FileTime;
use crate::format::bcd;

/// What the caller decides about the chain.
#[derive(Debug, Clone)]
pub struct Options {
    /// The id of the loader's object.
    pub loader_id: Uuid,
    /// The id of the object that resumes from hibernation.
    pub resume_id: Uuid,
    /// The moment at which the store is made.
    pub created: FileTime,
    /// The partition of the boot manager, as its store names it.
    pub boot_device: bcd::Device,
    /// The partition of Windows. A [`bcd::Device::Locate`], here and above, finds it by what lies on it.
    pub os_device: bcd::Device,
    /// What is asked of the boot programs.
    pub settings: Settings,
}

impl Options {
    /// The usual settings, with partitions that are found by what lies on them, and not by a disk's signature: Windows gives a disk a
    /// new one when two are the same. Microsoft's Convert-WindowsImage sets these too, after bcdboot, for a disk with one partition.
    pub fn located(loader_id: Uuid, resume_id: Uuid, created: FileTime) -> Self {
        let located = bcd::Device::Locate { element: bcd::code::PATH };
        let [boot_device, os_device] = [located.clone(), located];
        Self { loader_id, resume_id, created, boot_device, os_device, settings: Settings::default() }
    }
}

/// What was put in place.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Installed {
    /// The program that the boot manager will start.
    pub loader: String,
    /// How many files were copied.
    pub files: usize,
    /// Who signed the boot manager for UEFI; nobody that is known, if it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<Authority>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests;
