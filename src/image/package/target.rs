//! The platforms that a disk can be for, as far as packages and the commands that take them go.

use serde::Serialize;

use super::super::Format;
use super::super::layout::Firmware;

/// A platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Hyper-V, a machine with a BIOS.
    HypervGen1,
    /// Hyper-V, a machine with UEFI.
    HypervGen2,
    /// VirtualBox.
    #[serde(rename = "virtualbox")]
    VirtualBox,
    /// Azure, a machine with a BIOS.
    AzureGen1,
    /// Azure, a machine with UEFI.
    AzureGen2,
    /// QEMU and KVM, through libvirt.
    Kvm,
    /// VMware's ESXi, Workstation and Fusion.
    Vmware,
    /// Whatever takes sectors.
    Raw,
}

/// A provider of Vagrant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// `hyperv`.
    HyperV,
    /// `virtualbox`.
    VirtualBox,
    /// `libvirt`, of the plugin vagrant-libvirt.
    Libvirt,
}

impl Provider {
    /// Its name in Vagrant.
    pub fn name(self) -> &'static str {
        match self {
            Self::HyperV => "hyperv",
            Self::VirtualBox => "virtualbox",
            Self::Libvirt => "libvirt",
        }
    }
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HypervGen1,
        Self::HypervGen2,
        Self::VirtualBox,
        Self::AzureGen1,
        Self::AzureGen2,
        Self::Kvm,
        Self::Vmware,
        Self::Raw,
    ];

    /// Its name, as `--target` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HypervGen1 => "hyperv-gen1",
            Self::HypervGen2 => "hyperv-gen2",
            Self::VirtualBox => "virtualbox",
            Self::AzureGen1 => "azure-gen1",
            Self::AzureGen2 => "azure-gen2",
            Self::Kvm => "kvm",
            Self::Vmware => "vmware",
            Self::Raw => "raw",
        }
    }

    /// The container that it takes a bare disk in.
    pub fn format(self) -> Format {
        match self {
            Self::HypervGen1 => Format::Vhd,
            Self::HypervGen2 => Format::Vhdx,
            Self::VirtualBox => Format::Vdi,
            Self::AzureGen1 | Self::AzureGen2 => Format::VhdFixed,
            Self::Kvm => Format::Qcow2,
            Self::Vmware => Format::Vmdk,
            Self::Raw => Format::Raw,
        }
    }

    /// Vagrant's name for it, if it has one.
    pub fn provider(self) -> Option<Provider> {
        match self {
            Self::HypervGen1 | Self::HypervGen2 => Some(Provider::HyperV),
            Self::VirtualBox => Some(Provider::VirtualBox),
            Self::Kvm => Some(Provider::Libvirt),
            Self::AzureGen1 | Self::AzureGen2 | Self::Vmware | Self::Raw => None,
        }
    }

    /// The firmware, where it has only one.
    pub fn firmware(self) -> Option<Firmware> {
        match self {
            Self::HypervGen1 | Self::AzureGen1 => Some(Firmware::Bios),
            Self::HypervGen2 | Self::AzureGen2 => Some(Firmware::Uefi),
            Self::VirtualBox | Self::Kvm | Self::Vmware | Self::Raw => None,
        }
    }

    /// Whether it is a machine in Azure.
    pub fn is_azure(self) -> bool {
        matches!(self, Self::AzureGen1 | Self::AzureGen2)
    }
}
