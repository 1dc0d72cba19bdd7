//! The hives in `\Windows\System32\config`.

use crate::base::bytes::u32_at;
use crate::format::hive::{Hive, Recovery};
use crate::tree::Tree;
use crate::verify::{Finding, Findings, Level, Rule};
use crate::windows::registry::{self, CONFIG};

/// Without which Windows does not start, and which may be absent: Nano Server has no DRIVERS, a sealed image no COMPONENTS.
const REQUIRED: [&str; 5] = ["SYSTEM", "SOFTWARE", "SAM", "SECURITY", "DEFAULT"];
const OPTIONAL: [&str; 6] = ["DRIVERS", "COMPONENTS", "ELAM", "BBI", "BCD-Template", "VSMIDK"];
/// Hives of the accounts that services run as.
const OF_SERVICES: [&str; 2] =
    [r"\Windows\ServiceProfiles\LocalService\NTUSER.DAT", r"\Windows\ServiceProfiles\NetworkService\NTUSER.DAT"];

/// Reads all hives; gives the one of the system.
pub(super) fn check(tree: &Tree, findings: &mut Findings) -> Option<Hive> {
    let mut system = None;
    let in_config = |name: &&str| format!(r"{CONFIG}\{name}");
    for path in REQUIRED.iter().map(in_config) {
        if tree.find(&path).is_none() {
            findings.add(Finding::new(Rule::HiveMissing, "no such file").allowed("the hive").path(path));
            continue;
        }
        let hive = check_hive(tree, &path, findings);
        if path.ends_with("SYSTEM") {
            system = hive;
        }
    }
    let others = OPTIONAL.iter().map(in_config).chain(OF_SERVICES.map(str::to_owned));
    for path in others.filter(|path| tree.find(path).is_some()) {
        check_hive(tree, &path, findings);
    }
    system
}

fn check_hive(tree: &Tree, path: &str, findings: &mut Findings) -> Option<Hive> {
    let dirty = |found: &str, level: Level| {
        Finding::new(Rule::HiveDirty, found).allowed("one that was closed cleanly").path(path).level(level)
    };
    match registry::read_hive(tree, path) {
        Ok(None) => None, // a directory of that name
        Err(error) => {
            findings.add(Finding::new(Rule::HiveDamaged, error).allowed("a sound hive").path(path));
            None
        }
        Ok(Some(hive)) => {
            match hive.recovery() {
                Recovery::Clean => {}
                Recovery::Ignored if !has_checksum(tree, path) => {
                    let finding =
                        Finding::new(Rule::HiveDamaged, "another checksum in the base block, and no log mends it");
                    findings.add(finding.allowed("that of its bytes").path(path).at(508));
                }
                Recovery::Ignored => findings.add(dirty("a dirty hive that no log mends", Level::Error)),
                _ => findings.add(dirty("a dirty hive, which its logs mend", Rule::HiveDirty.level())),
            }
            Some(hive)
        }
    }
}

/// Whether the checksum of a hive's base block is that of the words before it. A hive that was left open has a right one.
fn has_checksum(tree: &Tree, path: &str) -> bool {
    let Ok(Some(bytes)) = tree.read_file(path) else { return false };
    let words = bytes.get(..508).unwrap_or_default().as_chunks::<4>().0;
    let sum = match words.iter().fold(0, |sum, word| sum ^ u32::from_le_bytes(*word)) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    u32_at(&bytes, 508) == Some(sum)
}
