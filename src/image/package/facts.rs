//! The machine that a package describes.

use serde::{Deserialize, Serialize};

use super::super::Target;
use super::super::layout::Firmware;
use super::super::seed::Seed;
use super::target::Platform;
use crate::base::FileTime;
use crate::error::{Error, Result};
use crate::format::wim::Version;
use crate::windows::{About, Machine};

/// So long a name may be: VirtualBox and Hyper-V make file names of it.
const MAX_NAME: usize = 80;
/// What some platform takes; more is a slip of the keyboard.
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 256..=12 << 20;
/// Likewise.
const CPUS: std::ops::RangeInclusive<u32> = 1..=2048;

/// What a package says of the machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    /// Its name, and that of the files in the package.
    pub name: String,
    /// The platform.
    pub target: &'static Target,
    /// What starts it: a BIOS or UEFI.
    pub firmware: Firmware,
    /// Whether the firmware starts only what Microsoft has signed.
    pub secure_boot: bool,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// The network adapter.
    pub nic: Nic,
    /// What the disk hangs on.
    pub controller: Controller,
    /// The Windows on the disk.
    pub os: Os,
    /// The time of all members.
    pub timestamp: FileTime,
    /// Where ids come from.
    pub seed: Seed,
}

/// A network adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nic {
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// VMware's own.
    Vmxnet3,
    /// QEMU's own.
    Virtio,
}

/// A disk controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// AHCI.
    Sata,
    /// LSI Logic SAS.
    LsiLogicSas,
    /// VMware's own.
    PvScsi,
    /// QEMU's own.
    Virtio,
}

/// What a Windows is, for those who ask which one it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Os {
    /// `Windows Server 2016 Datacenter`.
    pub name: Option<String>,
    /// Its version; a Windows Server 2016 where it is unknown.
    pub version: Option<Version>,
    /// Whether it is not a server.
    pub client: bool,
    /// Its processor; amd64 where it is unknown.
    pub machine: Option<Machine>,
}

impl From<About> for Os {
    fn from(about: About) -> Self {
        Self {
            client: about.product_type.as_deref() == Some("WinNT"),
            name: about.product_name,
            version: about.version,
            machine: about.machine,
        }
    }
}

/// What platforms call a Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OsNames {
    /// `CIM_OperatingSystem.OSType`.
    pub cim: u16,
    /// VirtualBox's OSType for a 64-bit one.
    pub virtualbox: &'static str,
    /// VMware's guest id for a 64-bit one.
    pub vmware: &'static str,
    /// libosinfo's short id.
    pub osinfo: &'static str,
}

/// The names of servers since some build, the newest first. VMware's "Windows Server 2016 or later" serves all later ones on every
/// version of its hardware; VirtualBox has names for those that it knew when it was made, so that the newest get the one before.
#[rustfmt::skip]
const SERVERS: [(u32, OsNames); 7] = [
    (20348, OsNames { cim: 116, virtualbox: "Windows2022_64", vmware: "windows9Server64Guest", osinfo: "win2k22" }),
    (17763, OsNames { cim: 116, virtualbox: "Windows2019_64", vmware: "windows9Server64Guest", osinfo: "win2k19" }),
    (10240, OsNames { cim: 116, virtualbox: "Windows2016_64", vmware: "windows9Server64Guest", osinfo: "win2k16" }),
    (9600,  OsNames { cim: 115, virtualbox: "Windows2012_64", vmware: "windows8Server64Guest", osinfo: "win2k12r2" }),
    (9200,  OsNames { cim: 112, virtualbox: "Windows2012_64", vmware: "windows8Server64Guest", osinfo: "win2k12" }),
    (7600,  OsNames { cim: 103, virtualbox: "Windows2008_64", vmware: "windows7Server64Guest", osinfo: "win2k8r2" }),
    (0,     OsNames { cim: 1,   virtualbox: "WindowsNT_64",   vmware: "windows7Server64Guest", osinfo: "win2k8r2" }),
];
/// The same of those that are no servers.
#[rustfmt::skip]
const CLIENTS: [(u32, OsNames); 6] = [
    (22000, OsNames { cim: 120, virtualbox: "Windows11_64",   vmware: "windows9_64Guest",      osinfo: "win11" }),
    (10240, OsNames { cim: 120, virtualbox: "Windows10_64",   vmware: "windows9_64Guest",      osinfo: "win10" }),
    (9600,  OsNames { cim: 118, virtualbox: "Windows81_64",   vmware: "windows8_64Guest",      osinfo: "win8.1" }),
    (9200,  OsNames { cim: 114, virtualbox: "Windows8_64",    vmware: "windows8_64Guest",      osinfo: "win8" }),
    (7600,  OsNames { cim: 105, virtualbox: "Windows7_64",    vmware: "windows7_64Guest",      osinfo: "win7" }),
    (0,     OsNames { cim: 1,   virtualbox: "WindowsNT_64",   vmware: "windows7_64Guest",      osinfo: "win7" }),
];

/// The first build of Windows Server 2016.
const SERVER_2016: u32 = 14393;

impl Os {
    /// What platforms call it.
    pub(super) fn names(&self) -> OsNames {
        let build = self.version.map_or(SERVER_2016, |version| version.build);
        let names: &[(u32, OsNames)] = if self.client { &CLIENTS } else { &SERVERS };
        let of_build = names.iter().find(|(since, _)| *since <= build);
        of_build.map_or(SERVERS[2].1, |(_, names)| *names)
    }

    /// The processor, as GNU, Debian and Vagrant call it.
    pub(super) fn architecture(&self) -> &'static str {
        match self.machine.unwrap_or(Machine::Amd64) {
            Machine::X86 => "i386",
            Machine::Amd64 => "amd64",
            Machine::Arm => "arm",
            Machine::Arm64 => "arm64",
        }
    }
}

impl MachineFacts {
    /// A machine with the devices that a Windows has drivers for everywhere: 1 GiB, one processor, SATA and an Intel adapter; with
    /// Secure Boot where the target has it.
    pub fn new(
        name: impl Into<String>,
        target: &'static Target,
        firmware: Firmware,
        seed: Seed,
        timestamp: FileTime,
    ) -> Self {
        let nic = if Platform::of(target) == Platform::Vmware { Nic::E1000e } else { Nic::E1000 };
        Self {
            name: name.into(),
            target,
            firmware,
            secure_boot: target.secure_boot && firmware == Firmware::Uefi,
            memory_mib: 1024,
            cpus: 1,
            nic,
            controller: Controller::Sata,
            os: Os::default(),
            timestamp,
            seed,
        }
    }

    /// Whether it has UEFI.
    pub(super) fn uefi(&self) -> bool {
        self.firmware == Firmware::Uefi
    }

    /// The name as a file's: letters, digits and `._-`, everything else a hyphen.
    pub(super) fn file_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = self.name.chars().map(plain).collect();
        let name = name.trim_matches(['.', '-']);
        if name.is_empty() { "machine".to_owned() } else { name.to_owned() }
    }

    /// An address of the adapter, in VirtualBox's range: twelve digits.
    pub(super) fn mac(&self) -> String {
        format!("080027{:06X}", self.seed.number("network adapter") & 0xFF_FFFF)
    }

    /// Refuses what no platform, or not this one, can have.
    pub(super) fn check(&self) -> Result<()> {
        let length = self.name.chars().count();
        if length == 0 || length > MAX_NAME || self.name.chars().any(char::is_control) {
            return Err(Error::invalid("the machine's name")
                .found(format_args!("{:?}", self.name))
                .allowed(format_args!("1 to {MAX_NAME} characters, none of them a control character"))
                .hint("give another one with --name"));
        }
        if !MEMORY_MIB.contains(&self.memory_mib) {
            return Err(Error::invalid("the machine's memory")
                .found(format_args!("{} MiB", self.memory_mib))
                .allowed(format_args!("{} MiB to {} MiB", MEMORY_MIB.start(), MEMORY_MIB.end())));
        }
        if !CPUS.contains(&self.cpus) {
            return Err(Error::invalid("the machine's processors").found(self.cpus).allowed("1 to 2048"));
        }
        self.check_firmware()
    }

    fn check_firmware(&self) -> Result<()> {
        let (name, platform) = (&self.target.name, Platform::of(self.target));
        let other = |has: &str, found: &str| {
            Err(Error::invalid(format_args!("{name} has {has}, which cannot start this disk"))
                .found(format_args!("a disk for {found}"))
                .hint("choose another target, or build the disk for this one"))
        };
        match self.firmware {
            Firmware::None if platform != Platform::Other => {
                Err(Error::invalid("no firmware can start this disk, so that it makes no machine")
                    .hint("choose a disk that boots, or target raw"))
            }
            Firmware::Uefi if platform.has_generations() && self.target.firmware == Firmware::Bios => {
                other("a BIOS", "UEFI")
            }
            Firmware::Bios if platform.has_generations() && self.target.firmware == Firmware::Uefi => {
                other("UEFI", "a BIOS")
            }
            _ if self.secure_boot && !self.uefi() => {
                Err(Error::invalid("Secure Boot needs UEFI").found("a disk for a BIOS"))
            }
            _ => Ok(()),
        }
    }
}
