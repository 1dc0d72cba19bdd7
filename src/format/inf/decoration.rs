//! Decorations: which Windows a section of models is for.

use crate::base::Machine;

/// What a Windows is, as far as INF files ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetOs {
    /// Its processor.
    pub machine: Machine,
    /// Its version: 10 for Windows 10, 11 and Server 2016 to 2025.
    pub major: u32,
    /// The second number of its version.
    pub minor: u32,
    /// The build: 14393 for Server 2016.
    pub build: u32,
    /// What it is for.
    pub product: ProductType,
    /// `OSVERSIONINFOEX.wSuiteMask`.
    pub suites: u16,
}

/// `OSVERSIONINFOEX.wProductType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductType {
    /// A client.
    Workstation = 1,
    /// A server that holds a directory.
    DomainController = 2,
    /// Any other server.
    Server = 3,
}

/// `NT[arch][.[major][.[minor][.[product][.[suites][.[build]]]]]]`, parsed. What is left out does not matter to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decoration {
    /// The processor.
    pub machine: Option<Machine>,
    /// The least version.
    pub version: Option<(u32, u32)>,
    /// The kind of product, exactly.
    pub product: Option<u32>,
    /// Suites, all of which there must be.
    pub suites: Option<u32>,
    /// The least build; it counts only for the version itself, not for later ones.
    pub build: Option<u32>,
}

impl Decoration {
    /// Parses it without the point before it; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let mut parts = text.strip_prefix("nt")?.split('.');
        let machine = match parts.next()? {
            "" => None,
            "x86" => Some(Machine::X86),
            "amd64" => Some(Machine::Amd64),
            "arm" => Some(Machine::Arm),
            "arm64" => Some(Machine::Arm64),
            _ => return None, // Itanium is one of these: no Windows of today is for it
        };
        let mut numbers = [None; 5];
        for number in &mut numbers {
            *number = match parts.next() {
                None | Some("") => None,
                Some(text) => Some(parse_number(text)?),
            };
        }
        if parts.next().is_some() {
            return None;
        }
        let [major, minor, product, suites, build] = numbers;
        let version = major.map(|major| (major, minor.unwrap_or(0)));
        Some(Self { machine, version, product, suites, build })
    }

    /// Whether it lets a target in.
    pub fn admits(&self, target: &TargetOs) -> bool {
        let own = (target.major, target.minor);
        let version = self.version.is_none_or(|version| version <= own);
        // "If the version is the same, the build has to be at least that": an INF for 10.0...14393 is for every later version too.
        let build =
            self.build.is_none_or(|build| build <= target.build || self.version.is_some_and(|version| version < own));
        // "Starting with Windows Server 2003 SP1", what names no processor is for x86 alone (INF Manufacturer section).
        self.machine.unwrap_or(Machine::X86) == target.machine
            && version
            && build
            && self.product.is_none_or(|product| product == target.product as u32)
            && self.suites.is_none_or(|suites| u32::from(target.suites) & suites == suites)
    }

    /// What makes one that admits the target better than another: more, and higher numbers.
    pub fn rank(&self) -> impl Ord + use<> {
        (self.version, self.build, self.product.is_some(), self.suites, self.machine.is_some())
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
