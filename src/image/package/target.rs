//! What the code of packages has to know of the machines whose profiles are in `drivers/`.

use serde::Serialize;

use super::super::Target;
use super::super::layout::Firmware;

/// Whose machine a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    HyperV,
    VirtualBox,
    Azure,
    Kvm,
    Vmware,
    /// Whatever takes sectors.
    Other,
}

impl Platform {
    pub(super) fn of(target: &Target) -> Self {
        match target.platform.as_str() {
            "Hyper-V" => Self::HyperV,
            "VirtualBox" => Self::VirtualBox,
            "Azure" => Self::Azure,
            "KVM" => Self::Kvm,
            "VMware" => Self::Vmware,
            _ => Self::Other,
        }
    }

    /// Whether a machine has the firmware of its generation, and no other.
    pub(super) fn has_generations(self) -> bool {
        matches!(self, Self::HyperV | Self::Azure)
    }
}

/// The generation of a machine of Hyper-V or Azure.
pub(super) fn generation(target: &Target) -> u8 {
    if target.firmware == Firmware::Uefi { 2 } else { 1 }
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
    /// The one whose boxes are for a target.
    pub fn of(target: &Target) -> Option<Self> {
        let named = |provider: &Self| target.provider.as_deref() == Some(provider.name());
        [Self::HyperV, Self::VirtualBox, Self::Libvirt].into_iter().find(named)
    }

    /// Its name in Vagrant.
    pub fn name(self) -> &'static str {
        match self {
            Self::HyperV => "hyperv",
            Self::VirtualBox => "virtualbox",
            Self::Libvirt => "libvirt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_profiles_are_known() {
        for target in Target::all().unwrap() {
            assert_eq!(Platform::of(target) == Platform::Other, target.name == "raw", "{}", target.name);
            assert_eq!(Provider::of(target).is_some(), target.provider.is_some(), "{}", target.name);
            assert!(!target.name.ends_with("gen2") || generation(target) == 2, "{}", target.name);
        }
    }
}
