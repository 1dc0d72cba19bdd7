//! What the setup writes, read back.

use super::*;
use crate::base::sddl;
use crate::error::Kind;
use crate::format::certificate::SelfSigned;
use crate::format::hive::{Hive, Value};
use crate::windows::registry::{self, CONFIG};
use crate::windows::tests::{executable, system_hive, tree_of};

const NOW: FileTime = FileTime(132_000_000_000_000_000);
const RULES: &str = r"Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";
const EVENT_LOG: &str =
    "v2.26|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=RPC|EmbedCtxt=@FirewallAPI.dll,-29252|";

/// An installation with services, firewall rules and time zones.
fn image() -> Tree {
    let system = system_hive(&[
        (r"Control\ComputerName\ComputerName", "ComputerName", Value::sz("MINWINPC")),
        (r"Services\Tcpip\Parameters", "HostName", Value::sz("minwinpc")),
        (r"Services\WinRM", "Start", Value::dword(3)),
        (r"Services\SharedAccess\Parameters\FirewallPolicy", "PolicyVersion", Value::dword(0x021B)),
        (RULES, "RemoteEventLogSvc-In-TCP", Value::sz(EVENT_LOG)),
        (RULES, "Other", Value::sz("v2.26|Action=Allow|Active=FALSE|Dir=In|")),
    ]);
    let mut software = Hive::new("SOFTWARE", NOW).unwrap();
    let mut tzi = vec![0; 44];
    tzi[..4].copy_from_slice(&(-60i32).to_le_bytes());
    for (zone, display) in [("UTC", "@tzres.dll,-932"), ("W. Europe Standard Time", "@tzres.dll,-322")] {
        let key = software.create_key(&format!(r"Microsoft\Windows NT\CurrentVersion\Time Zones\{zone}")).unwrap();
        software.set_value(key, "TZI", Value::binary(tzi.clone())).unwrap();
        software.set_value(key, "MUI_Std", Value::sz(display)).unwrap();
    }
    tree_of(&[
        (&format!(r"{CONFIG}\SYSTEM"), &system),
        (&format!(r"{CONFIG}\SOFTWARE"), &software.to_bytes().unwrap()),
        (r"\Windows\System32\ntoskrnl.exe", &executable(0x8664)),
    ])
}

/// The SYSTEM hive of an installation without services or rules.
fn bare_system() -> Vec<u8> {
    system_hive(&[("Control", "SystemBootDevice", Value::sz("multi(0)disk(0)rdisk(0)partition(1)"))])
}

fn value(tree: &Tree, key: &str, name: &str) -> Option<Value> {
    let found = registry::open(tree, key).ok()?;
    found.hive.value(found.key, name).map(|value| value.to_value())
}

fn system(tree: &Tree, key: &str, name: &str) -> Option<Value> {
    value(tree, &format!(r"HKLM\SYSTEM\CurrentControlSet\{key}"), name)
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read_file(path).unwrap().unwrap()).unwrap()
}

fn everything() -> Setup {
    Setup {
        computer_name: Some(ComputerName::parse("web01").unwrap()),
        admin_password: Some(Secret::new("C0rrect horse").unwrap()),
        unattend: None,
        time_zone: Some("w. europe standard time".into()),
        winrm: Some(WinRm { basic: true, https: Some(SelfSigned::new("web01", &[7; 32]).unwrap()), guessable: false }),
        azure: true,
        first_start: vec![complete::Step::command("echo done").unwrap()],
    }
}

#[test]
fn sets_a_machine_up() {
    let mut tree = image();
    let report = everything().apply(&mut tree, NOW).unwrap();
    assert!(report.holds_secrets);
    assert_eq!(system(&tree, r"Control\ComputerName\ComputerName", "ComputerName"), Some(Value::sz("web01")));
    for name in ["Hostname", "NV Hostname"] {
        assert_eq!(system(&tree, r"Services\Tcpip\Parameters", name), Some(Value::sz("web01")));
    }
    let zone = |name: &str| system(&tree, r"Control\TimeZoneInformation", name);
    assert_eq!(zone("TimeZoneKeyName"), Some(Value::sz("W. Europe Standard Time")));
    assert_eq!(
        (zone("Bias"), zone("RealTimeIsUniversal")),
        (Some(Value::dword(60u32.wrapping_neg())), Some(Value::dword(1)))
    );
    assert_eq!(zone("StandardName"), Some(Value::sz("@tzres.dll,-322")));
    assert_eq!(system(&tree, r"Services\WinRM", "Start"), Some(Value::dword(2)));
    assert_eq!(system(&tree, r"Services\partmgr\Parameters", "SanPolicy"), Some(Value::dword(1)));
    let rule = "v2.27|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5986|App=System|Name=WinRM 5986|";
    assert_eq!(system(&tree, RULES, "nanovhd-WinRM-5986-In-TCP"), Some(Value::sz(rule)));
    assert_eq!(system(&tree, RULES, "RemoteEventLogSvc-In-TCP"), Some(Value::sz(&EVENT_LOG.replace("FALSE", "TRUE"))));
    assert_eq!(system(&tree, RULES, "Other"), Some(Value::sz("v2.26|Action=Allow|Active=FALSE|Dir=In|")));
    let wsman = |key: &str, name: &str| {
        value(&tree, &format!(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\{key}"), name)
    };
    assert_eq!(wsman(r"Listener\*+HTTP", "Port"), Some(Value::dword(5985)));
    assert_eq!(wsman(r"Listener\*+HTTPS", "Port"), Some(Value::dword(5986)));
    assert_eq!(wsman("Service", "auth_basic"), Some(Value::dword(1)));
    let thumbprint = SelfSigned::new("web01", &[7; 32]).unwrap().thumbprint();
    let binding = system(&tree, r"Services\HTTP\Parameters\SslBindingInfo\0.0.0.0:5986", "SslCertHash");
    assert_eq!(binding, Some(Value::binary(thumbprint)));

    for path in [unattend::PATH, winrm::PFX] {
        let descriptor = tree.node(tree.find(path).unwrap()).descriptor.unwrap();
        let shown = sddl::to_text(&tree.descriptors()[descriptor.index()]).unwrap();
        assert_eq!(shown, "O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)");
    }
    let script = SetupComplete::read(&tree.read_file(complete::PATH).unwrap().unwrap()).unwrap();
    assert_eq!(script.secrets, [unattend::PATH, winrm::PFX]);
    assert_eq!(script.steps.len(), 2);
    assert!(!text(&tree, complete::PATH).contains("C0rrect"));
    let said = format!("{report:?} {:?} {:?}", everything(), everything().fingerprint());
    assert!(!said.contains("C0rrect") && !said.contains("QwAwAHI"), "{said}");
}

#[test]
fn a_second_time_changes_what_is_asked_and_keeps_the_rest() {
    let mut tree = image();
    everything().apply(&mut tree, NOW).unwrap();
    let again = Setup {
        computer_name: Some(ComputerName::parse("web02").unwrap()),
        first_start: vec![complete::Step::command("echo more").unwrap()],
        ..Setup::default()
    };
    let report = again.apply(&mut tree, NOW).unwrap();
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    assert!(report.holds_secrets, "the password that was there before");
    let answers = text(&tree, unattend::PATH);
    assert!(answers.contains("<ComputerName>web02</ComputerName>") && answers.contains("AdministratorPassword"));
    let script = SetupComplete::read(&tree.read_file(complete::PATH).unwrap().unwrap()).unwrap();
    let titles: Vec<&str> = script.steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(titles, ["Import the certificate of WinRM", "echo done", "echo more"]);
    assert_eq!(script.secrets.len(), 2, "what holds a secret is removed still");
}

#[test]
fn the_images_own_script_runs_first() {
    let own = b"@echo off\r\necho mine\r\nexit\r\n";
    let mut tree = tree_of(&[
        (&format!(r"{CONFIG}\SYSTEM"), &bare_system()),
        (r"\Windows\System32\ntoskrnl.exe", &executable(0x8664)),
        (complete::PATH, own),
    ]);
    let setup = Setup { first_start: vec![complete::Step::command("echo ours").unwrap()], ..Setup::default() };
    setup.apply(&mut tree, NOW).unwrap();
    assert_eq!(tree.read_file(complete::KEPT).unwrap().unwrap(), own);
    let script = text(&tree, complete::PATH);
    assert!(script.contains(r#"call "%SystemRoot%\Setup\Scripts\SetupComplete.image.cmd""#), "{script}");
    setup.apply(&mut tree, NOW).unwrap();
    assert_eq!(text(&tree, complete::PATH), script, "the same again changes nothing");
}

#[test]
fn a_windows_that_is_set_up_runs_no_script() {
    let mut tree = image();
    let mut software = registry::read_hive(&tree, &format!(r"{CONFIG}\SOFTWARE")).unwrap().unwrap();
    let key = software.create_key(r"Microsoft\Windows\CurrentVersion\Setup\State").unwrap();
    software.set_value(key, "ImageState", Value::sz("IMAGE_STATE_COMPLETE")).unwrap();
    place::put(&mut tree, &format!(r"{CONFIG}\SOFTWARE"), software.to_bytes().unwrap(), Access::Inherited, NOW)
        .unwrap();
    let setup = Setup { first_start: vec![complete::Step::command("echo hello").unwrap()], ..Setup::default() };
    let report = setup.apply(&mut tree, NOW).unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("sysprep")), "{:?}", report.warnings);
    assert!(setup.apply(&mut image(), NOW).unwrap().warnings.is_empty());
}

#[test]
fn without_firewall_rules_the_first_start_makes_them() {
    let hives = (format!(r"{CONFIG}\SYSTEM"), bare_system());
    let software = (format!(r"{CONFIG}\SOFTWARE"), Hive::new("SOFTWARE", NOW).unwrap().to_bytes().unwrap());
    let mut tree = tree_of(&[(&hives.0, &hives.1), (&software.0, &software.1)]);
    let setup = Setup { winrm: Some(WinRm::default()), ..Setup::default() };
    let report = setup.apply(&mut tree, NOW).unwrap();
    assert!(report.warnings[0].contains("no WinRM service"), "{report:?}");
    assert!(text(&tree, complete::PATH).contains("netsh advfirewall firewall add rule name=\"WinRM 5985\""));
    assert!(system(&tree, RULES, "nanovhd-WinRM-5985-In-TCP").is_none());
}

#[test]
fn refuses_zones_that_the_image_does_not_know_and_leaves_it_alone() {
    let mut tree = image();
    let before = tree.read_file(&format!(r"{CONFIG}\SYSTEM")).unwrap();
    let setup = Setup { time_zone: Some("W. Europe Standart Time".into()), ..everything() };
    let error = setup.apply(&mut tree, NOW).unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (Kind::Invalid, Some("did you mean W. Europe Standard Time?")));
    assert_eq!(tree.read_file(&format!(r"{CONFIG}\SYSTEM")).unwrap(), before);
    assert!(tree.find(unattend::PATH).is_none() && tree.find(complete::PATH).is_none());
    assert_eq!(everything().apply(&mut tree_of(&[]), NOW).unwrap_err().kind(), Kind::NotWindows);
}

#[test]
fn a_password_is_no_part_of_the_identity() {
    let with = |password: &str| Setup { admin_password: Some(Secret::new(password).unwrap()), ..Setup::default() };
    assert_eq!(with("one").fingerprint(), with("two").fingerprint());
    assert_ne!(with("one").fingerprint(), Setup::default().fingerprint());
}
