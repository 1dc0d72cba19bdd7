//! The way from the firmware to the loader of Windows, step by step, as the firmware and the boot programs go it.
//!
//! ```text
//! BIOS  MBR code -> active partition -> boot record -> \BOOTMGR -> \Boot\BCD ----------------.
//! UEFI  EFI system partition -> \EFI\Boot\boot<arch>.efi -> \EFI\Microsoft\Boot\BCD ----------+-> default entry -> loader, SYSTEM hive
//! ```
//!
//! # Who is meant to boot
//! A disk that holds a Windows, BOOTMGR or an EFI system partition is. A disk with none of these is a data disk, even where a
//! partition is active: a note says so, and nothing is demanded of it. Nor is anything of a Windows on a disk without an active
//! partition and without any boot manager, which is what native boot wants: that is a warning. Which firmware is meant follows from the disk: an MBR is for
//! a BIOS unless it has an EFI system partition, a GPT is for UEFI. A FAT volume with `\EFI\Boot` on a disk with an MBR is taken for an
//! EFI system partition as well, which firmware does too. A volume without a disk around it is not started by any
//! firmware.
//!
//! # Sources
//! What Microsoft's boot programs were seen to demand and to report; the UEFI specification, 3.5.1.1, for where the firmware looks.

mod bios;
mod config;
mod lookup;
mod stored;
mod uefi;

use super::partitions::Content;
use super::{Finding, Findings, Level, Rule};
use crate::base::ReadAt;
use crate::format::bcd::Firmware;
use crate::format::partitions::{Kind, Partition, Scheme, TYPE_EFI_SYSTEM, Table};
use crate::tree::{NodeId, Tree};
use crate::windows::Machine;

/// The hive by which an installation is known.
pub(super) const SYSTEM_HIVE: &str = r"\Windows\System32\config\SYSTEM";
/// An EFI system partition on a disk with an MBR.
const MBR_TYPE_EFI_SYSTEM: u8 = 0xEF;

/// A partition and what it holds.
pub struct Volume<'v> {
    /// Its place in the table.
    pub partition: &'v Partition,
    /// Its bytes.
    pub window: &'v dyn ReadAt,
    /// What it holds.
    pub content: Content,
    /// Its files, where they could be read.
    pub tree: Option<&'v Tree>,
    /// The processor of the Windows on it.
    pub machine: Option<Machine>,
}

impl Volume<'_> {
    /// The file at a path, if it is one.
    fn file(&self, path: &str) -> Option<(&Tree, NodeId)> {
        let tree = self.tree?;
        tree.find(path).filter(|id| !tree.node(*id).is_directory()).map(|id| (tree, id))
    }

    fn has(&self, path: &str) -> bool {
        self.tree.is_some_and(|tree| tree.find(path).is_some())
    }

    fn is_efi_system(&self) -> bool {
        matches!(self.partition.kind, Kind::Gpt(TYPE_EFI_SYSTEM) | Kind::Mbr(MBR_TYPE_EFI_SYSTEM))
    }
}

/// What all steps know.
struct Chain<'c> {
    disk: &'c dyn ReadAt,
    table: &'c Table,
    volumes: &'c [Volume<'c>],
    /// The processor of the Windows on the disk.
    machine: Option<Machine>,
}

/// Checks all that is between the firmware and the loader. `volumes` are all partitions of the table that lie on the disk.
pub fn check(disk: &dyn ReadAt, table: &Table, volumes: &[Volume<'_>], findings: &mut Findings) {
    let windows = volumes.iter().find(|volume| volume.has(SYSTEM_HIVE));
    let machine = windows.and_then(|volume| volume.machine);
    let chain = Chain { disk, table, volumes, machine };
    let on_mbr = matches!(table.scheme, Scheme::Mbr { .. });
    // Windows To Go has one partition for both firmwares, with the type of a FAT volume.
    let shared = |volume: &&Volume<'_>| on_mbr && volume.content == Content::Fat && volume.has(r"\EFI\Boot");
    let system = volumes.iter().find(|volume| volume.is_efi_system()).or_else(|| volumes.iter().find(shared));
    let manager = on_mbr.then(|| volumes.iter().find(|volume| volume.has(bios::MANAGER))).flatten();
    let started =
        |volume: &Volume<'_>| volume.partition.active || volume.has(bios::MANAGER) || volume.has(r"\EFI\Boot");
    let on_disk = table.scheme != Scheme::None;
    let native = on_disk && windows.is_some() && system.is_none() && !volumes.iter().any(started);
    let bios = on_mbr && !native && (manager.is_some() || (windows.is_some() && system.is_none()));
    let uefi = on_disk && !native && (system.is_some() || (windows.is_some() && !bios));

    let firmware = match (bios, uefi, windows.is_some()) {
        (true, true, _) => "a BIOS, and UEFI",
        (true, false, _) => "a BIOS",
        (false, true, _) => "UEFI",
        (false, false, true) => "none: this is a volume without a disk around it",
        (false, false, false) => "none is meant to: there is no Windows, no BOOTMGR and no EFI system partition",
    };
    if native {
        let finding = Finding::new(Rule::BootFirmware, "none: there is a Windows, but nothing that starts it");
        findings.add(finding.allowed("so for native boot, by another disk's boot manager").level(Level::Warning));
        return;
    }
    findings.add(Finding::new(Rule::BootFirmware, firmware));
    if bios {
        bios::check(&chain, findings);
    }
    if uefi {
        uefi::check(&chain, system, findings);
    }
    findings.set_partition(None);
}

impl Chain<'_> {
    /// The step that both ways end with.
    fn check_store(&self, firmware: Firmware, manager: &Volume<'_>, findings: &mut Findings) {
        config::check(self, firmware, manager, findings);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod uefi_tests;
