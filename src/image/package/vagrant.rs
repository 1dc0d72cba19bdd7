//! Vagrant boxes.
//!
//! | provider | members |
//! |---|---|
//! | hyperv | `metadata.json`, `Vagrantfile`, `Virtual Machines/NAME.xml`, `Virtual Hard Disks/NAME.vhdx` |
//! | virtualbox | `metadata.json`, `Vagrantfile`, `box.ovf`, `NAME-disk1.vmdk` |
//! | libvirt | `metadata.json`, `Vagrantfile`, `box.img` |
//!
//! Small members come first, so that what looks into a box need not read the disk.

use std::io::Write;

use serde_json::json;

use super::super::{Control, Format};
use super::archive::{Archive, Member};
use super::ova::{self, no_device};
use super::template::{fill, fill_xml};
use super::{Controller, Disk, MachineFacts, Nic, Provider};
use crate::error::{Error, Result};

const GIB: u64 = 1 << 30;

const HYPERV: &str = include_str!("../../../templates/box/hyperv.rb");
const HYPERV_GEN1: &str = include_str!("../../../templates/box/hyperv-gen1.xml");
const HYPERV_GEN2: &str = include_str!("../../../templates/box/hyperv-gen2.xml");
const VIRTUALBOX: &str = include_str!("../../../templates/box/virtualbox.rb");
const LIBVIRT_BIOS: &str = include_str!("../../../templates/box/libvirt-bios.rb");
const LIBVIRT_UEFI: &str = include_str!("../../../templates/box/libvirt-uefi.rb");

pub(super) fn write(
    disk: &Disk<'_>,
    facts: &MachineFacts,
    out: &mut dyn Write,
    control: &Control,
) -> Result<Vec<Member>> {
    let Some(provider) = Provider::of(facts.target) else {
        return Err(Error::invalid(format_args!("there are no boxes for {}", facts.target.name)));
    };
    let vagrantfile = vagrantfile(provider, facts)?;
    let name = facts.file_name();
    let mut archive = Archive::new(out, facts.timestamp, control);
    archive.text("metadata.json", &metadata(provider, disk, facts))?;
    archive.text("Vagrantfile", &vagrantfile)?;
    match provider {
        Provider::HyperV => {
            let file = format!("{name}.{}", disk.format.extension());
            archive.text(&format!("Virtual Machines/{name}.xml"), &hyperv_machine(facts, &file))?;
            archive.file(&format!("Virtual Hard Disks/{file}"), disk.file)?;
        }
        Provider::VirtualBox => {
            let file = format!("{name}-disk1.vmdk");
            archive.text("box.ovf", &ova::descriptor(facts, &file, disk)?)?;
            archive.file(&file, disk.file)?;
        }
        Provider::Libvirt => archive.file("box.img", disk.file)?,
    }
    archive.finish()
}

fn metadata(provider: Provider, disk: &Disk<'_>, facts: &MachineFacts) -> String {
    let mut metadata = json!({ "provider": provider.name(), "architecture": facts.os.architecture() });
    if provider == Provider::Libvirt {
        metadata["format"] = json!(Format::Qcow2.qemu_driver());
        metadata["virtual_size"] = json!(disk.disk_bytes.div_ceil(GIB));
    }
    format!("{metadata:#}\n")
}

fn vagrantfile(provider: Provider, facts: &MachineFacts) -> Result<String> {
    let (memory, cpus) = (facts.memory_mib.to_string(), facts.cpus.to_string());
    let sizes = [("memory_mib", memory.as_str()), ("cpus", &cpus)];
    let filled = |template, more: &[(&str, &str)]| fill(template, &[&sizes, more].concat());
    Ok(match provider {
        Provider::HyperV => filled(HYPERV, &[]),
        Provider::VirtualBox => filled(VIRTUALBOX, &[("mac", &facts.mac())]),
        Provider::Libvirt => {
            let (bus, device) = match facts.controller {
                Controller::Sata => ("sata", "sda"),
                Controller::Virtio => ("virtio", "vda"),
                Controller::LsiLogicSas | Controller::PvScsi => {
                    return Err(no_device(facts, "disk controller", "sata, virtio"));
                }
            };
            let nic = match facts.nic {
                Nic::E1000 => "e1000",
                Nic::E1000e => "e1000e",
                Nic::Vmxnet3 => "vmxnet3",
                Nic::Virtio => "virtio",
            };
            let template = if facts.uefi() { LIBVIRT_UEFI } else { LIBVIRT_BIOS };
            filled(template, &[("disk_bus", bus), ("disk_device", device), ("nic", nic)])
        }
    })
}

/// The machine in the form that Hyper-V exported before Windows Server 2016. Only Vagrant reads it.
fn hyperv_machine(facts: &MachineFacts, file: &str) -> String {
    let template = if facts.uefi() { HYPERV_GEN2 } else { HYPERV_GEN1 };
    fill_xml(
        template,
        &[
            ("name", &facts.name),
            ("notes", facts.os.name.as_deref().unwrap_or("Windows")),
            ("disk", file),
            ("channel", &format!("{{{}}}", facts.seed.guid("Hyper-V channel"))),
            ("memory_mib", &facts.memory_mib.to_string()),
            ("cpus", &facts.cpus.to_string()),
            ("secure_boot", if facts.secure_boot { "True" } else { "False" }),
        ],
    )
}
