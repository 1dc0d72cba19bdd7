//! The demo's image with one thing changed in each.

use super::*;
use crate::error::Result as Outcome;
use crate::format::hive::{Hive, Value};
use crate::image::demo;
use crate::image::package::{Controller, Nic};
use crate::tree::{Content, Link, Node, Times};
use crate::windows::drivers::database::layout::{VersionBlob, device_id_bytes};
use crate::windows::registry::{self, CONFIG};

const HDC: uuid::Uuid = uuid::uuid!("4d36e96a-e325-11ce-bfc1-08002be10318");
const SERVICES: &str = r"ControlSet001\Services";
const PACKAGES: &str = r"DriverDatabase\DriverPackages";
const AHCI: &str = "SATA controller";
const E1000: &str = "network adapter (Intel PRO/1000 MT Desktop";

fn image() -> Tree {
    demo::tree(demo::IMAGE).unwrap()
}

fn try_judge(tree: &Tree, target: &str, setting: Setting<'_>) -> Outcome<std::result::Result<Vec<Coverage>, String>> {
    let about = About::read(tree).unwrap_or_default();
    judge(tree, &about, &[Target::named(target).unwrap()], setting)
}

fn judged_with(tree: &Tree, target: &str, setting: Setting<'_>) -> Coverage {
    try_judge(tree, target, setting).unwrap().unwrap().remove(0)
}

fn judged(tree: &Tree, target: &str) -> Coverage {
    judged_with(tree, target, Setting::default())
}

fn device<'c>(coverage: &'c Coverage, what: &str) -> &'c Covered {
    coverage.devices.iter().find(|covered| covered.device.starts_with(what)).unwrap()
}

fn set_file(tree: &mut Tree, path: &str, bytes: Vec<u8>) {
    let id = tree.find(path).unwrap();
    tree.node_mut(id).streams[0].content = Content::from(bytes);
}

fn change(tree: &mut Tree, hive: &str, change: impl FnOnce(&mut Hive)) {
    let path = format!(r"{CONFIG}\{hive}");
    let mut hive = registry::read_hive(tree, &path).unwrap().unwrap();
    change(&mut hive);
    let bytes = hive.to_bytes().unwrap();
    set_file(tree, &path, bytes);
}

fn set(hive: &mut Hive, key: &str, name: &str, value: Value) {
    let key = hive.create_key(key).unwrap();
    hive.set_value(key, name, value).unwrap();
}

fn delete_key(hive: &mut Hive, path: &str) {
    let key = hive.open(path).unwrap();
    hive.delete_key(key).unwrap();
}

fn remove(tree: &mut Tree, path: &str) {
    let (folder, name) = path.rsplit_once('\\').unwrap();
    let folder = tree.find(folder).unwrap();
    tree.remove_tree(folder, &name.encode_utf16().collect::<Vec<_>>()).unwrap();
}

fn add(tree: &mut Tree, folder: &str, name: &str, bytes: &[u8]) {
    let folder = tree.find(folder).unwrap();
    let node = tree.add_node(Node::file(0, Times::default(), Content::Bytes(bytes.into()))).unwrap();
    tree.add_link(folder, Link { name: name.into(), short: None, node }).unwrap();
}

#[test]
fn the_demo_is_for_hyperv() {
    for target in ["hyperv-gen1", "hyperv-gen2", "azure-gen1", "azure-gen2"] {
        let coverage = judged(&image(), target);
        assert_eq!((coverage.at(Level::Error).count(), coverage.at(Level::Warning).count()), (0, 0), "{target}");
        assert_eq!(coverage.notes, [""; 0]);
        assert_eq!(coverage.warnings().count(), 0);
    }
    let coverage = judged(&image(), "hyperv-gen2");
    let disk = device(&coverage, "SCSI controller").driver.as_ref().unwrap();
    assert_eq!(
        (disk.inf.as_str(), disk.service.as_deref(), disk.start),
        ("wstorvsc.inf", Some("storvsc"), Start::Boot)
    );
    assert_eq!((disk.version.to_string().as_str(), disk.rank.as_str()), ("10.0.14393.0", "00FF0000"));
    let bus = device(&coverage, "VMBus").driver.as_ref().unwrap();
    assert_eq!((bus.matching_id.as_str(), bus.rank.as_str()), (r"ACPI\VMBus", "00FF2000"), "a compatible id");
}

#[test]
fn what_is_missing_is_named() {
    for target in ["virtualbox", "kvm", "vmware"] {
        let coverage = judged(&image(), target);
        assert_eq!((coverage.at(Level::Error).count(), coverage.at(Level::Warning).count()), (0, 1), "{target}");
        let warning = coverage.warnings().next().unwrap();
        for word in ["will have no network", "network adapter (Intel", "OEM-Drivers-Package.cab", "--driver"] {
            assert!(warning.contains(word), "{word}: {warning}");
        }
    }
    let packages = ["Microsoft-NanoServer-OEM-Drivers-Package.cab".to_owned()];
    let setting = Setting { packages: &packages, wishes: None };
    let coverage = judged_with(&image(), "virtualbox", setting);
    assert!(device(&coverage, E1000).hint.as_ref().unwrap().contains("--package OEM-Drivers, of the medium's"));
}

/// A boot driver, and all that can be wrong with it.
#[test]
fn boot_drivers_have_to_start() {
    let ahci = format!(r"{SERVICES}\storahci");
    type Change<'c> = &'c dyn Fn(&mut Hive);
    let cases: [(&str, Change<'_>, Verdict, &str); 8] = [
        ("late", &|hive| set(hive, &ahci, "Start", Value::dword(3)), Verdict::WrongStart, "on demand"),
        ("off", &|hive| set(hive, &ahci, "Start", Value::dword(4)), Verdict::Disabled, "disabled"),
        (
            "overridden",
            &|hive| set(hive, &format!(r"{ahci}\StartOverride"), "0", Value::dword(3)),
            Verdict::WrongStart,
            "StartOverride of 3",
        ),
        ("no service", &|hive| delete_key(hive, &ahci), Verdict::MissingService, "no service storahci"),
        (
            "no file",
            &|hive| set(hive, &ahci, "ImagePath", Value::expand_sz(r"System32\drivers\other.sys")),
            Verdict::MissingFile,
            r"\Windows\System32\drivers\other.sys",
        ),
        (
            "no helper",
            &|hive| set(hive, &ahci, "DependOnService", Value::multi_sz(["helper"])),
            Verdict::MissingService,
            "helper, on which storahci depends,",
        ),
        (
            "no filter of the class",
            &|hive| {
                let class = format!(r"ControlSet001\Control\Class\{}", HDC.braced());
                set(hive, &class, "LowerFilters", Value::multi_sz(["filter"]));
            },
            Verdict::MissingService,
            "filter filter",
        ),
        (
            "no claim",
            &|hive| delete_key(hive, r"DriverDatabase\DeviceIds\PCI\CC_010601"),
            Verdict::MissingDriver,
            "no driver",
        ),
    ];
    for (name, change_of, verdict, word) in cases {
        let mut tree = image();
        change(&mut tree, "SYSTEM", change_of);
        let coverage = judged(&tree, "virtualbox");
        let covered = device(&coverage, AHCI);
        assert_eq!((covered.verdict, covered.level), (verdict, Some(Level::Error)), "{name}");
        assert!(covered.problems[0].contains(word), "{name}: {:?}", covered.problems);
        assert!(covered.hint.is_some(), "{name}");
        assert!(coverage.warnings().next().unwrap().contains("will not start"), "{name}");
    }
}

/// What starts on demand is made and copied by Plug and Play, from its package.
#[test]
fn drivers_on_demand_may_wait_in_their_package() {
    let network = |tree: &Tree| {
        let coverage = judged(tree, "hyperv-gen2");
        let covered = device(&coverage, "network adapter").clone();
        (covered.verdict, covered.level, covered.driver.unwrap().start)
    };
    let no_service = |tree: &mut Tree| change(tree, "SYSTEM", |hive| delete_key(hive, &format!(r"{SERVICES}\netvsc")));
    let mut tree = image();
    remove(&mut tree, r"\Windows\System32\drivers\netvsc.sys");
    assert_eq!(network(&tree), (Verdict::Ok, None, Start::Demand));
    no_service(&mut tree);
    assert_eq!(network(&tree), (Verdict::Ok, None, Start::PlugAndPlay));
    remove(&mut tree, r"\Windows\System32\DriverStore\FileRepository");
    assert_eq!(network(&tree), (Verdict::MissingService, Some(Level::Warning), Start::PlugAndPlay));

    let mut tree = image();
    remove(&mut tree, r"\Windows\System32\drivers\netvsc.sys");
    remove(&mut tree, r"\Windows\System32\DriverStore\FileRepository");
    assert_eq!(network(&tree), (Verdict::MissingFile, Some(Level::Warning), Start::Demand));
}

/// Another driver for VirtualBox's disk controller.
fn rival(hive: &mut Hive, id: &str, score: u32, architecture: u16) {
    let version = VersionBlob {
        is_inbox: false,
        architecture,
        class: HDC,
        date: FileTime(130_000_000_000_000_000),
        version: Version([1, 2, 3, 4]),
        tail: 0,
    };
    let package = format!(r"{PACKAGES}\rival.inf_amd64_0");
    set(hive, &package, "", Value::sz("oem7.inf"));
    set(hive, &package, "InfName", Value::sz("rival.inf"));
    set(hive, &package, "SignerScore", Value::dword(score));
    set(hive, &package, "Version", Value::binary(version.to_bytes()));
    set(hive, &format!(r"{package}\Configurations\Rival"), "Service", Value::sz("rival"));
    set(hive, &format!(r"{package}\Descriptors\{id}"), "Configuration", Value::sz("Rival"));
    set(hive, &format!(r"DriverDatabase\DeviceIds\{id}"), "oem7.inf", Value::binary(device_id_bytes(1, 0xFF, 0)));
    set(hive, r"DriverDatabase\DriverInfFiles\oem7.inf", "Active", Value::sz("rival.inf_amd64_0"));
}

#[test]
fn the_best_driver_counts() {
    let hardware = r"PCI\VEN_8086&DEV_2829&CC_0106";
    let compatible = r"PCI\CC_0106";
    for (id, score, architecture, wins) in [
        (hardware, 0x0D00_0005, 9, true),
        (hardware, 0x8000_0000, 9, false),
        (hardware, 0x0D00_0005, 0, false),
        (compatible, 0x0D00_0005, 9, false),
        (r"PCI\CC_010601", 0x0D00_0005, 9, true), // the same id, a newer date
        (r"PCI\VEN_8086&DEV_2828", 0x0D00_0005, 9, false),
    ] {
        let mut tree = image();
        change(&mut tree, "SYSTEM", |hive| rival(hive, id, score, architecture));
        let coverage = judged(&tree, "virtualbox");
        let covered = device(&coverage, AHCI);
        let inf = if wins { "oem7.inf" } else { "mshdc.inf" };
        assert_eq!(covered.driver.as_ref().unwrap().inf, inf, "{id} {score:x} {architecture}");
        assert_eq!(covered.verdict == Verdict::Ok, !wins, "it has no service");
        assert!(!wins || covered.hint.as_ref().unwrap().contains("rival.inf"), "{:?}", covered.hint);
    }
}

#[test]
fn infs_stand_in_for_a_database() {
    let mut tree = image();
    remove(&mut tree, r"\Windows\System32\config\DRIVERS");
    add(&mut tree, r"\Windows\INF", "a.inf", b"no INF at all");
    add(&mut tree, r"\Windows\INF", "b.inf", b"[Version]\nSignature=\"$Windows NT$\"\n[Manufacturer\x00]");
    let coverage = judged(&tree, "hyperv-gen2");
    let covered = device(&coverage, "network adapter");
    let driver = covered.driver.as_ref().unwrap();
    assert_eq!(
        (covered.verdict, driver.inf.as_str(), driver.service.as_deref()),
        (Verdict::Ok, "wnetvsc.inf", Some("netvsc"))
    );
    assert_eq!(driver.version.to_string(), "10.0.14393.0");
    remove(&mut tree, r"\Windows\INF\wnetvsc.inf");
    assert_eq!(device(&judged(&tree, "hyperv-gen2"), "network adapter").verdict, Verdict::MissingDriver);
}

/// As Windows 10 leaves packages that it never used.
#[test]
fn packages_that_are_staged_say_it_by_their_inf() {
    let mut tree = image();
    change(&mut tree, "SYSTEM", |hive| {
        let packages = hive.open(PACKAGES).unwrap();
        let names: Vec<String> = hive.subkeys(packages).map(|key| hive.name(key).to_string()).collect();
        for name in names.iter().filter(|name| name.starts_with("wstorvsc")) {
            delete_key(hive, &format!(r"{PACKAGES}\{name}\Configurations"));
            delete_key(hive, &format!(r"{PACKAGES}\{name}\Descriptors"));
        }
    });
    let coverage = judged(&tree, "hyperv-gen2");
    let covered = device(&coverage, "SCSI controller");
    assert_eq!(covered.driver.as_ref().unwrap().service.as_deref(), Some("storvsc"));
    assert_eq!(covered.verdict, Verdict::Ok);
}

#[test]
fn packages_say_which_devices_there_are() {
    let wishes = Wishes { nic: Some(Nic::Virtio), controller: Some(Controller::Virtio), ..Wishes::default() };
    let coverage = judged_with(&image(), "kvm", Setting { packages: &[], wishes: Some(&wishes) });
    assert!(!device(&coverage, "network adapter (Intel PRO").shown && !device(&coverage, AHCI).shown);
    let network = device(&coverage, "network adapter (virtio-net)");
    assert_eq!((network.shown, network.level), (true, Some(Level::Warning)));
    assert!(network.hint.as_ref().unwrap().contains("virtio-win.iso"));
    let disk = device(&coverage, "disk (virtio-blk)");
    assert_eq!((disk.shown, disk.level), (true, Some(Level::Error)));
    let hint = disk.hint.as_ref().unwrap();
    assert!(hint.contains("let the machine show") && hint.contains("Intel ICH9 AHCI"), "{hint}");
}

#[test]
fn what_cannot_be_judged_is_said() {
    let mut tree = image();
    change(&mut tree, "SYSTEM", |hive| delete_key(hive, "DriverDatabase"));
    remove(&mut tree, r"\Windows\System32\config\DRIVERS");
    let reason = try_judge(&tree, "kvm", Setting::default()).unwrap().unwrap_err();
    assert_eq!(reason, "drivers cannot be judged: no DriverDatabase");
    remove(&mut tree, r"\Windows\System32\config\SYSTEM");
    assert!(try_judge(&tree, "kvm", Setting::default()).unwrap().unwrap_err().contains("no Windows"));
}

/// Hives and INFs come from strangers.
#[test]
fn damage_is_survived() {
    let path = format!(r"{CONFIG}\SYSTEM");
    let sound = image();
    let hive = sound.read_file(&path).unwrap().unwrap();
    let mut refused = 0;
    for at in (0..hive.len()).step_by(hive.len() / 150) {
        let mut bytes = hive.clone();
        bytes[at] ^= 0x55;
        for bytes in [bytes, hive[..at].to_vec()] {
            let mut tree = sound.clone();
            set_file(&mut tree, &path, bytes);
            refused += usize::from(try_judge(&tree, "virtualbox", Setting::default()).is_err());
        }
    }
    assert!(refused > 100, "a hive that ends early is an error, {refused}");
    let inf = r"\Windows\INF\wnetvsc.inf";
    let text = sound.read_file(inf).unwrap().unwrap();
    let mut tree = sound.clone();
    remove(&mut tree, r"\Windows\System32\config\DRIVERS");
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone();
        bytes[at] ^= 0x15;
        set_file(&mut tree, inf, bytes);
        assert!(!device(&judged(&tree, "hyperv-gen2"), "network adapter").device.is_empty());
    }
}
