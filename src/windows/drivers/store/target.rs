//! Which Windows it is.

use crate::error::{Error, Kind, Result};
use crate::format::hive::Hive;
use crate::tree::Tree;
use crate::windows::drivers::{ProductType, TargetOs};
use crate::windows::{About, registry};

/// Names in `ProductSuite` and their bits in `wSuiteMask` (Microsoft, "OSVERSIONINFOEXW"; winnt.h).
const SUITES: [(&str, u16); 16] = [
    ("Small Business", 0x0001),
    ("Enterprise", 0x0002),
    ("BackOffice", 0x0004),
    ("CommunicationServer", 0x0008),
    ("Terminal Server", 0x0010),
    ("Small Business(Restricted)", 0x0020),
    ("EmbeddedNT", 0x0040),
    ("DataCenter", 0x0080),
    ("Single User TS", 0x0100),
    ("Personal", 0x0200),
    ("Blade", 0x0400),
    ("Embedded(Restricted)", 0x0800),
    ("Security Appliance", 0x1000),
    ("Storage Server", 0x2000),
    ("Compute Server", 0x4000),
    ("WH Server", 0x8000),
];

/// What an installation says of itself, as far as INF files ask.
pub(super) fn target(tree: &Tree, system: Option<&Hive>, software: Option<&Hive>) -> Result<TargetOs> {
    let about = About::of_hives(tree, system, software);
    let silent = |what: &str| Error::new(Kind::NotWindows, format!("the image does not say {what}"));
    let version =
        about.version.ok_or_else(|| silent(r"which version it is (SOFTWARE\Microsoft\Windows NT\CurrentVersion)"))?;
    let machine = about.machine.ok_or_else(|| silent("which processor it is for"))?;
    let product = match about.product_type.as_deref() {
        Some("WinNT") => ProductType::Workstation,
        Some("LanmanNT") => ProductType::DomainController,
        Some("ServerNT") => ProductType::Server,
        _ => return Err(silent(r"whether it is a server (Control\ProductOptions\ProductType)")),
    };
    let suites = system.map(suites).unwrap_or_default();
    Ok(TargetOs { machine, major: version.major, minor: version.minor, build: version.build, product, suites })
}

fn suites(system: &Hive) -> u16 {
    let options = registry::current_control_set(system).and_then(|set| system.open_at(set, r"Control\ProductOptions"));
    let names = options.and_then(|key| system.value(key, "ProductSuite")?.as_texts()).unwrap_or_default();
    let bits = names.iter().filter_map(|name| SUITES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)));
    bits.fold(0, |mask, (_, bit)| mask | bit)
}
