//! Rules of the Windows firewall, in a system that does not run.
//!
//! They are values of `SYSTEM\…\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules`, one text for each
//! (MS-GPFAS 2.2.2.19): a version, then fields, each ended by `|`. `PolicyVersion` beside the key says up to which version the system understands them: 0x021E is 2.30.
//!
//! ```text
//! v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5985|App=System|Name=WinRM 5985|
//! ```

use super::Changes;
use super::changes::Hives;
use crate::format::hive::Value;

const POLICY: &str = r"Services\SharedAccess\Parameters\FirewallPolicy";
const RULES: &str = r"Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";

/// That of Windows Server 2016, where the image does not tell its own.
const DEFAULT_VERSION: (u32, u32) = (2, 26);
/// The oldest version that rules are written in: that of Windows 8.
const OLDEST_VERSION: (u32, u32) = (2, 20);

/// The firewall of an image, where it has one.
pub(super) struct Firewall<'h> {
    hives: &'h Hives,
    version: (u32, u32),
}

impl<'h> Firewall<'h> {
    /// `None` if the image has no rules to which others could be added: the running system then has to make its own.
    pub(super) fn of(hives: &'h Hives) -> Option<Self> {
        let rules = hives.control_set(RULES)?;
        let said = hives.control_set(POLICY).and_then(|key| hives.system.value(key, "PolicyVersion")?.as_dword());
        let said = said.map(|version| (version >> 8, version & 0xFF));
        let texts = hives.system.values(rules).filter_map(|value| value.as_text());
        let used = texts.filter_map(|text| version_of(&text)).max();
        let version = said.or(used).filter(|version| (OLDEST_VERSION..(3, 0)).contains(version));
        Some(Self { hives, version: version.unwrap_or(DEFAULT_VERSION) })
    }

    /// Lets TCP connections to a port of the system in, from anywhere and on every network.
    pub(super) fn allow(&self, changes: &mut Changes, id: &str, port: u16, name: &str) {
        let (major, minor) = self.version;
        let rule =
            format!("v{major}.{minor}|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort={port}|App=System|Name={name}|");
        changes.system(RULES, id, Value::sz(&rule));
    }

    /// Puts the rules of a group in force; tells how many there are.
    pub(super) fn enable(&self, changes: &mut Changes, group: &str) -> usize {
        let Some(key) = self.hives.control_set(RULES) else { return 0 };
        let mut found = 0;
        for value in self.hives.system.values(key) {
            let Some(text) = value.as_text().filter(|text| is_of_group(text, group)) else { continue };
            changes.system(RULES, &value.name.to_string(), Value::sz(&enabled(&text)));
            found += 1;
        }
        found
    }
}

/// The version at the start of a rule.
fn version_of(rule: &str) -> Option<(u32, u32)> {
    let (major, minor) = rule.strip_prefix('v')?.split('|').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn is_of_group(rule: &str, group: &str) -> bool {
    rule.split('|').any(|field| field.strip_prefix("EmbedCtxt=") == Some(group))
}

fn enabled(rule: &str) -> String {
    let fields = rule.split('|').map(|field| if field.starts_with("Active=") { "Active=TRUE" } else { field });
    fields.collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rules_as_windows_writes_them() {
        // Out of the SYSTEM hive of a Windows 10 1709.
        let rule = r"v2.30|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Domain|LPort=RPC|App=%SystemRoot%\system32\svchost.exe|Svc=Eventlog|Name=@FirewallAPI.dll,-29253|Desc=@FirewallAPI.dll,-29256|EmbedCtxt=@FirewallAPI.dll,-29252|";
        assert_eq!(version_of(rule), Some((2, 30)));
        assert!(is_of_group(rule, "@FirewallAPI.dll,-29252") && !is_of_group(rule, "@FirewallAPI.dll,-2925"));
        assert_eq!(enabled(rule), rule.replace("Active=FALSE", "Active=TRUE"));
        for odd in ["", "v", "v2", "2.30|", "v2.x|", "v4294967296.1|"] {
            assert_eq!(version_of(odd), None, "{odd}");
        }
    }
}
