//! What Azure asks of a disk that is uploaded (Microsoft, "Prepare a Windows VHD or VHDX to upload to Azure"), as far as it is registry.
//!
//! | setting | why |
//! |---|---|
//! | `RealTimeIsUniversal` = 1 | the clock of the machine is UTC |
//! | `SanPolicy` = 1, OnlineAll | data disks that are attached come online |
//! | `CrashDumpEnabled` = 2, `DumpFile`, `NMICrashDump` = 1 | a dump of the kernel, also when the platform asks for one by an NMI |
//! | the power scheme "High performance" | the machine never sleeps |
//! | `fDenyTSConnections` = 0, and the firewall's group for it | Remote Desktop, where the image has it |

use super::changes::Hives;
use super::firewall::Firewall;
use super::{Changes, Report};
use crate::format::hive::Value;

const HIGH_PERFORMANCE: &str = "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c";
const TERMINAL_SERVER: &str = r"Control\Terminal Server";
/// "Remote Desktop", the group of firewall rules.
const REMOTE_DESKTOP: &str = "@FirewallAPI.dll,-28752";
const SAN_POLICY_ONLINE_ALL: u32 = 1;
const KERNEL_DUMP: u32 = 2;

pub(super) fn write(hives: &Hives, changes: &mut Changes, report: &mut Report) {
    changes.system(r"Control\TimeZoneInformation", "RealTimeIsUniversal", Value::dword(1));
    changes.system(r"Services\partmgr\Parameters", "SanPolicy", Value::dword(SAN_POLICY_ONLINE_ALL));
    let crash = r"Control\CrashControl";
    changes.system(crash, "CrashDumpEnabled", Value::dword(KERNEL_DUMP));
    changes.system(crash, "DumpFile", Value::expand_sz(r"%SystemRoot%\MEMORY.DMP"));
    changes.system(crash, "NMICrashDump", Value::dword(1));
    let mut done = "Azure: the clock is UTC, disks come online, kernel dumps, also by NMI".to_owned();
    let schemes = r"Control\Power\User\PowerSchemes";
    if hives.control_set(schemes).is_some() {
        changes.system(schemes, "ActivePowerScheme", Value::sz(HIGH_PERFORMANCE));
        done.push_str(", no sleep");
    }
    if hives.control_set(TERMINAL_SERVER).is_some() {
        changes.system(TERMINAL_SERVER, "fDenyTSConnections", Value::dword(0));
        let rules = Firewall::of(hives).map_or(0, |firewall| firewall.enable(changes, REMOTE_DESKTOP));
        done.push_str(&format!(", Remote Desktop with {rules} firewall rules"));
    }
    report.done.push(done);
}
