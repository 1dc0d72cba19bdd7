//! Made packages, put into the made image and taken out again.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Scene, check_hives, differences, elements, file_of, hive_of, said, volume};
use crate::support::packages::{Component, Id, Package, text_hash};
use crate::support::program::fail;
use crate::support::tools::{Tools, text};

/// Cases of which something is not carried out, or which change the driver store.
const ASIDE: [&str; 4] = ["left-out", "task", "driver-inf", "features"];

/// The cabinets of the cases as files.
fn cabinets(scene: &Scene) -> Vec<(Package, PathBuf)> {
    let cases = elements::cases().into_iter().filter(|(case, _)| !ASIDE.contains(case));
    let packages = cases.flat_map(|(_, packages)| packages);
    packages
        .enumerate()
        .map(|(number, package)| {
            let path = scene.cabinet(&format!("{number:02}.cab"), &package.files().cabinet());
            (package, path)
        })
        .collect()
}

fn edit(disk: &Path, options: &[&str]) -> String {
    said(&[&["edit", text(disk), "--allow-unsigned"], options].concat())
}

#[test]
fn all_at_once_and_out_again() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexsh", "hivexregedit", "hivexget", "wimlib-imagex"]) else { return };
    let scene = Scene::new();
    let (before, disk) = (scene.disk("before.img"), scene.disk("disk.img"));
    let cabinets = cabinets(&scene);
    let options: Vec<&str> = cabinets.iter().flat_map(|(_, path)| ["--package", text(path)]).collect();
    let strict = [&options[..], &["--packages=strict"]].concat();
    edit(&disk, &strict);
    let once = fs::read(&disk).unwrap();
    let volume = volume(&scene, &disk);
    check_hives(&tools, &scene, &volume);
    check_versions(&tools, &volume);
    check_software(&tools, &scene, &volume);
    check_records(&tools, &scene, &volume, &cabinets);
    check_links(&tools, &scene, &volume);

    edit(&disk, &strict);
    assert!(fs::read(&disk).unwrap() == once, "putting them in twice changes something");

    // In the other order, for one may be another's parent.
    let names: Vec<String> = cabinets.iter().map(|(package, _)| package.package_id()).collect();
    let language = |name: &&String| name.contains("~en-US~");
    let order = names.iter().filter(language).chain(names.iter().rev().filter(|name| !language(name)));
    let options: Vec<&str> = order.flat_map(|name| ["--remove-package", name.as_str()]).collect();
    said(&[&["edit", text(&disk)], &options[..]].concat());
    assert_eq!(differences(&before, &disk), [""; 0]);
}

/// The newest version is in force, whichever came last.
fn check_versions(tools: &Tools, volume: &Path) {
    let content = |number: usize| file_of(tools, volume, &format!("/Windows/System32/demo-component-{number:03}.dll"));
    assert_eq!(content(1), b"10.0.14393.9");
    assert_eq!(content(3), b"10.0.14393.8");
    let own = file_of(tools, volume, &stored("10.0.14393.0", 2));
    assert_eq!(content(2), own);
    assert_eq!(file_of(tools, volume, &stored("10.0.10586.0", 2)), b"10.0.10586.0", "kept in the store");
}

/// A file of the made image's component in the store.
fn stored(version: &str, number: usize) -> String {
    let name = format!("nanovhd-demo-component-{number:03}");
    let id = Id { token: "0000000000000000".into(), ..Id::component(&name) }.version(version);
    format!("/Windows/WinSxS/{}/demo-component-{number:03}.dll", id.keyform())
}

/// Values as hivexregedit has them: types and bytes.
fn check_software(tools: &Tools, scene: &Scene, volume: &Path) {
    let software = hive_of(tools, scene, volume, "SOFTWARE");
    let export = |hive: &Path, key: &str| {
        tools.run("hivexregedit", &["--export", "--unsafe-printable-strings", text(hive), key])
    };
    let made = export(&software, r"\Made");
    let lines = [
        "@=str(1):\"the default\"",
        "\"Text\"=str(1):\"C:\\Windows\\System32\\made.dll\"",
        "\"Expand\"=str(2):\"%SystemRoot%\\made\"",
        "\"Number\"=dword:0000002a",
        "\"Long\"=hex(b):0a,88,00,00,00,00,00,00",
        "\"Bytes\"=hex(3):00,ff,10",
        "\"Many\"=hex(7):61,00,00,00,62,00,20,00,63,00,00,00,00,00",
        "\"Odd\"=hex(20001):01,02,03,04",
        r"[\Made\Empty]",
        r"[\Made\Protected]",
    ];
    for line in lines {
        assert!(made.to_lowercase().contains(&line.to_lowercase()), "{line}: {made}");
    }
    let groups = export(&software, r"\Microsoft\Windows NT\CurrentVersion\SvcHost");
    let utf16 = |text: &str| {
        text.encode_utf16().flat_map(u16::to_le_bytes).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(",")
    };
    for (group, services) in [
        ("netsvcs", "Winmgmt\0Schedule\0BITS\0made\0\0"),
        ("LocalService", "EventLog\0nsi\0WinHttpAutoProxySvc\0made\0\0"),
    ] {
        let line = format!("\"{group}\"=hex(7):{}", utf16(services));
        assert!(groups.contains(&line), "{line}: {groups}");
    }
    let system = hive_of(tools, scene, volume, "SYSTEM");
    let get = |key: &str, name: &str| tools.run("hivexget", &[text(&system), key, name]).trim_end().to_owned();
    assert!(
        get(r"\ControlSet001\Control\Session Manager\Environment", "Path")
            .to_lowercase()
            .contains(r";%systemroot%\system32\made")
    );
    let service = r"\ControlSet001\Services\made";
    for (name, expected) in [
        ("Start", "2"),
        ("Type", "32"),
        ("ErrorControl", "1"),
        ("Tag", "2"),
        ("ObjectName", r"NT AUTHORITY\LocalService"),
        ("Group", "Made Group"),
    ] {
        assert_eq!(get(service, name), expected, "{name}");
    }
    assert_eq!(get(r"\ControlSet001\Services\madedrv", "Start"), "0");
    let rules = get(r"\ControlSet001\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules", "Made-In-TCP");
    assert!(rules.contains("|LPort=4711|") && rules.contains("|Action=Allow|"), "{rules}");
    let channel = tools.run(
        "hivexget",
        &[text(&software), r"\Microsoft\Windows\CurrentVersion\WINEVT\Channels\Made-Reports/Operational", "Enabled"],
    );
    assert_eq!(channel.trim(), "1");
}

/// The records of servicing: names by the formulas of the tests.
fn check_records(tools: &Tools, scene: &Scene, volume: &Path, cabinets: &[(Package, PathBuf)]) {
    let (software, components) = (scene.path("SOFTWARE"), hive_of(tools, scene, volume, "COMPONENTS"));
    let get =
        |hive: &Path, key: &str, name: &str| tools.run("hivexget", &[text(hive), key, name]).trim_end().to_owned();
    for (package, _) in cabinets {
        let id = package.package_id();
        let key = format!(r"\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages\{id}");
        assert_eq!(get(&software, &key, "CurrentState"), "112", "{id} is installed");
        assert_eq!(get(&software, &key, "Visibility"), "1");
        assert!(get(&software, &key, "InstallName").to_lowercase().ends_with(".mum"));
        assert!(!file_of(tools, volume, &format!("/Windows/servicing/Packages/{id}.mum")).is_empty());
    }
    // The made image's own, by the same formulas.
    let own = Id { token: "0000000000000000".into(), ..Id::component("nanovhd-demo-component-000") };
    let key = format!(r"\Microsoft\Windows\CurrentVersion\SideBySide\Winners\{}\10.0", own.winners_keyform());
    assert_eq!(get(&software, &key, "@"), "10.0.14393.0");
    // One of them whole.
    let (package, update) = (
        &cabinets
            .iter()
            .find(|(own, _)| own.id.name == "Made-Speaks-Package" && own.id.language == "neutral")
            .unwrap()
            .0,
        "Made-Speaks",
    );
    let deployment = Id::component("Made-Speaks-Deployment");
    let key = format!(r"\CanonicalData\Deployments\{}", deployment.deployment_keyform());
    let full = format!("{}.{update}", package.package_id());
    let cut: String = full.to_lowercase().chars().take(60).collect();
    for prefix in ["p", "s", "i"] {
        let name = format!("{prefix}!CBS_{cut}_{:016x}", text_hash(&full));
        let data = get(&components, &key, &name);
        assert!(!data.is_empty(), "{name}");
    }
    let component = Id::component("Speaks");
    let key = format!(r"\DerivedData\Components\{}", component.keyform());
    assert_eq!(get(&components, &key, "f!speaks.dll"), "1");
    let exported = tools.run("hivexregedit", &["--export", text(&components), &key]);
    assert!(exported.contains(&format!("c!{}", deployment.deployment_keyform())), "{exported}");
}

/// 32-bit parts are where 64-bit Windows keeps them; a file under several names is one file.
fn check_links(tools: &Tools, scene: &Scene, volume: &Path) {
    let captured = scene.path("captured.wim");
    tools.run("wimlib-imagex", &["capture", text(volume), text(&captured), "--compress=none"]);
    let group = |path: &str| {
        let about = tools.run(
            "wimlib-imagex",
            &["dir", text(&captured), "1", "--detailed", "--one-file-only", &format!("--path={path}")],
        );
        let line = about.lines().find(|line| line.trim_start().starts_with("Link Group ID")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{path}: {about}"))
    };
    let guest = Id::component("Guest").architecture("x86").keyform();
    assert_eq!(group("/Windows/SysWOW64/guest.dll"), group(&format!("/Windows/WinSxS/{guest}/guest.dll")));
    group("/Program Files (x86)/Made/guest.txt");
    group("/Program Files/Made/native.txt");
    assert_eq!(group("/Windows/Made/linked.txt"), group("/ProgramData/Made/also.txt"));
}

/// What is not carried out is said, and refused or left to the first start.
#[test]
fn what_is_left_out_is_said() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let package = Package::new("Made-Commands-Package")
        .parent(&elements::edition())
        .update("Made-Commands", &[elements::left_out()]);
    let cab = scene.cabinet("commands.cab", &package.files().cabinet());
    let (_, words) = fail(["edit", text(&disk), "--package", text(&cab), "--allow-unsigned", "--packages=strict"]);
    for word in ["genericCommand", "mof", "networkComponents", "quantumLeap", "newAttribute"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let planned = said(&["packages", text(&cab), "--into", text(&disk), "--plan"]);
    assert!(planned.contains("Not carried out") && planned.contains("quantumLeap"), "{planned}");
}

/// A driver that comes as an INF file goes through the driver store.
#[test]
fn drivers_by_their_inf() {
    let scene = Scene::new();
    let (before, disk) = (scene.disk("before.img"), scene.disk("disk.img"));
    let packages = elements::cases().into_iter().find(|(case, _)| *case == "driver-inf").unwrap().1;
    let cab = scene.cabinet("driver.cab", &packages[0].files().cabinet());
    edit(&disk, &["--package", text(&cab), "--packages=strict", "--test-signing"]);
    let listed = said(&["drivers", text(&disk), "--all"]);
    assert!(listed.contains("made.inf"), "{listed}");
    assert!(!differences(&before, &disk).is_empty());
}

/// A package stays as long as another needs it, and what nobody put in does not go.
#[test]
fn what_must_stay_stays() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let base =
        Package::new("Made-Base-Package").parent(&elements::edition()).update("Made-Base", &[Component::new("Base")]);
    let upon = Package::new("Made-Upon-Package").parent(&base.id).update("Made-Upon", &[Component::new("Upon")]);
    let (one, two) =
        (scene.cabinet("upon.cab", &upon.files().cabinet()), scene.cabinet("base.cab", &base.files().cabinet()));
    edit(&disk, &["--package", text(&one), "--package", text(&two)]);
    let bytes = fs::read(&disk).unwrap();
    for (name, word) in [
        ("Made-Base-Package", "Made-Upon-Package"),
        ("Microsoft-NanoServer-Edition-Core-Package", ""),
        ("Nobody", "Nobody"),
    ] {
        let (_, words) = fail(["edit", text(&disk), "--remove-package", name]);
        assert!(words.contains(word), "{name}: {words}");
        assert!(fs::read(&disk).unwrap() == bytes);
    }
    said(&["edit", text(&disk), "--remove-package", "Made-Upon-Package", "--remove-package", "Made-Base-Package"]);
}
