//! The OVA: descriptor, disk, manifest.
//!
//! The order is that of DSP0243: the descriptor first, so that it is found without reading on; then the files in the order of its
//! references; the manifest, which has their hashes, right behind the descriptor or at the end. Here it is at the end: then the
//! disk is read once.

use std::fmt::Write as _;
use std::io::Write;

use super::super::Control;
use super::archive::{Archive, Member};
use super::template::fill_xml;
use super::{Controller, Disk, MachineFacts, Nic, Platform};
use crate::error::{Error, Result};

const VIRTUALBOX: &str = include_str!("../../../templates/box/virtualbox.ovf");
const VMWARE: &str = include_str!("../../../templates/box/vmware.ovf");

/// Hardware of ESXi 6.0, the first that serves Windows Server 2016.
const HARDWARE: &str = "vmx-11";
/// That of ESXi 6.5, the first with Secure Boot.
const SECURE_HARDWARE: &str = "vmx-13";

pub(super) fn write(
    disk: &Disk<'_>,
    facts: &MachineFacts,
    out: &mut dyn Write,
    control: &Control,
) -> Result<Vec<Member>> {
    let name = facts.file_name();
    let file = format!("{name}-disk1.vmdk");
    let descriptor = descriptor(facts, &file, disk)?;
    let mut archive = Archive::new(out, facts.timestamp, control);
    archive.text(&format!("{name}.ovf"), &descriptor)?;
    archive.file(&file, disk.file)?;
    let manifest = manifest(archive.members());
    archive.text(&format!("{name}.mf"), &manifest)?;
    archive.finish()
}

/// `SHA256(name)= digest`, a line for each file.
fn manifest(members: &[Member]) -> String {
    members.iter().fold(String::new(), |mut text, member| {
        let _ = writeln!(text, "SHA256({})= {}", member.name, member.sha256);
        text
    })
}

/// The descriptor of the machine, whose disk is in `file`.
pub(super) fn descriptor(facts: &MachineFacts, file: &str, disk: &Disk<'_>) -> Result<String> {
    match Platform::of(facts.target) {
        Platform::Vmware => vmware(facts, file, disk),
        _ => virtualbox(facts, file, disk),
    }
}

fn virtualbox(facts: &MachineFacts, file: &str, disk: &Disk<'_>) -> Result<String> {
    let (nic, nic_chip) = match facts.nic {
        Nic::E1000 => ("E1000", "82540EM"),
        Nic::Virtio => ("virtio", "virtio"),
        Nic::E1000e | Nic::Vmxnet3 => return Err(no_device(facts, "network adapter", "e1000, virtio")),
    };
    if facts.controller != Controller::Sata {
        return Err(no_device(facts, "disk controller", "sata"));
    }
    if facts.secure_boot {
        return Err(Error::invalid("an OVA for VirtualBox cannot ask for Secure Boot: its keys are not in the descriptor")
            .hint("leave it out, and turn it on after the import: VBoxManage modifynvram NAME inituefivarstore, enrollmssignatures"));
    }
    let os = facts.os.names();
    let disk_id = facts.seed.guid("VirtualBox disk").to_string();
    Ok(fill_xml(
        VIRTUALBOX,
        &[
            ("name", &facts.name),
            ("file", file),
            ("file_bytes", &disk.file.len().to_string()),
            ("disk_bytes", &disk.disk_bytes.to_string()),
            ("disk_id", &disk_id),
            ("disk_ref", &format!("{{{disk_id}}}")),
            ("machine_id", &format!("{{{}}}", facts.seed.guid("VirtualBox machine"))),
            ("os_id", &os.cim.to_string()),
            ("os_type", os.virtualbox),
            ("cpus", &facts.cpus.to_string()),
            ("memory_mib", &facts.memory_mib.to_string()),
            ("nic", nic),
            ("nic_chip", nic_chip),
            ("mac", &facts.mac()),
            ("long_mode", "true"),
            ("firmware", if facts.uefi() { "EFI" } else { "BIOS" }),
            ("time", &seconds(facts)),
        ],
    ))
}

/// The time to the second, as VirtualBox writes it.
fn seconds(facts: &MachineFacts) -> String {
    let time = facts.timestamp.to_string();
    format!("{}Z", time.split('.').next().unwrap_or_default())
}

fn vmware(facts: &MachineFacts, file: &str, disk: &Disk<'_>) -> Result<String> {
    let nic = match facts.nic {
        Nic::E1000 => "E1000",
        Nic::E1000e => "E1000e",
        Nic::Vmxnet3 => "VmxNet3",
        Nic::Virtio => return Err(no_device(facts, "network adapter", "e1000, e1000e, vmxnet3")),
    };
    let (controller, kind, controller_name) = match facts.controller {
        Controller::Sata => ("vmware.sata.ahci", "20", "SATA Controller"),
        Controller::LsiLogicSas => ("lsilogicsas", "6", "SCSI Controller"),
        Controller::PvScsi => ("VirtualSCSI", "6", "SCSI Controller"),
        Controller::Virtio => return Err(no_device(facts, "disk controller", "sata, lsi-logic-sas, pv-scsi")),
    };
    let os = facts.os.names();
    Ok(fill_xml(
        VMWARE,
        &[
            ("name", &facts.name),
            ("file", file),
            ("file_bytes", &disk.file.len().to_string()),
            ("disk_bytes", &disk.disk_bytes.to_string()),
            ("os_id", &os.cim.to_string()),
            ("os_type", os.vmware),
            ("os_name", facts.os.name.as_deref().unwrap_or("Windows")),
            ("hardware", if facts.secure_boot { SECURE_HARDWARE } else { HARDWARE }),
            ("cpus", &facts.cpus.to_string()),
            ("memory_mib", &facts.memory_mib.to_string()),
            ("controller", controller),
            ("controller_type", kind),
            ("controller_name", controller_name),
            ("nic", nic),
            ("firmware", if facts.uefi() { "efi" } else { "bios" }),
            ("secure_boot", if facts.secure_boot { "true" } else { "false" }),
        ],
    ))
}

pub(super) fn no_device(facts: &MachineFacts, what: &str, allowed: &str) -> Error {
    let name = &facts.target.name;
    Error::invalid(format_args!("a {what} that {name} does not have")).allowed(allowed)
}
