//! Adding and taking out, in a small made image.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::base::{Machine, Version};
use crate::format::hive::words;
use crate::windows::drivers::{
    Configuration, ConfigurationValue, CopyOut, Device, EventLog, IdKind, RegistryAction, RegistryChange, Service,
};
use crate::windows::registry::read_hive;
use crate::windows::tests::{executable, tree_of};

const NOW: FileTime = FileTime(132_000_000_000_000_000);
const NET: Uuid = uuid!("4d36e972-e325-11ce-bfc1-08002be10318");
const SCSI: Uuid = uuid!("4d36e97b-e325-11ce-bfc1-08002be10318");
const SYS: &str = r"\Windows\System32\drivers\disk1.sys";

/// A hive of the image: paths, names, values.
fn hive(name: &str, values: &[(&str, &str, Value)]) -> Vec<u8> {
    let mut hive = Hive::new(name, FileTime(1)).unwrap();
    for (path, name, value) in values {
        let key = hive.create_key(path).unwrap();
        hive.set_value(key, *name, value.clone()).unwrap();
    }
    hive.to_bytes().unwrap()
}

fn inbox(class: Uuid) -> Value {
    let version = VersionBlob {
        is_inbox: true,
        architecture: 9,
        class,
        date: FileTime(1),
        version: Version([10, 0, 0, 0]),
        tail: 0,
    };
    Value::binary(version.to_bytes())
}

fn image_with(more: &[(&str, &str, Value)]) -> Tree {
    let mut system = vec![
        ("Select", "Current", Value::dword(1)),
        (r"ControlSet001\Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
        (r"ControlSet001\Control\ProductOptions", "ProductSuite", Value::multi_sz(["Enterprise", "DataCenter"])),
        (r"ControlSet001\Services\EventLog\System", "File", Value::sz("x")),
        (r"ControlSet001\Services\stornvme", "Group", Value::sz("SCSI Miniport")),
        (r"ControlSet001\Services\stornvme", "Tag", Value::dword(0x20)),
        (r"ControlSet001\Services\odd", "Group", Value::sz("SCSI miniport")),
        (r"ControlSet001\Services\odd", "Tag", Value::dword(0x103)),
        (r"DriverDatabase", "Version", Value::dword(0x0A00_0000)),
        (r"DriverDatabase\DeviceIds\PCI\VEN_1", "disk.inf", Value::binary([1, 0xFF, 0, 0])),
        (r"DriverDatabase\DriverInfFiles\disk.inf", "Active", Value::sz("disk.inf_amd64_0")),
        (r"DriverDatabase\DriverPackages\disk.inf_amd64_0", "", Value::sz("disk.inf")),
        (r"DriverDatabase\DriverPackages\disk.inf_amd64_0", "Version", inbox(SCSI)),
    ];
    system.extend(more.iter().cloned());
    let software = [
        (r"Microsoft\Windows NT\CurrentVersion", "CurrentMajorVersionNumber", Value::dword(10)),
        (r"Microsoft\Windows NT\CurrentVersion", "CurrentMinorVersionNumber", Value::dword(0)),
        (r"Microsoft\Windows NT\CurrentVersion", "CurrentBuildNumber", Value::sz("14393")),
        (lockdown::FILES, "", Value::sz("")),
    ];
    let drivers = [
        (r"DriverDatabase\DeviceIds\PCI\VEN_8086", "net1.inf", Value::binary([1, 0xFF, 0, 0])),
        (r"DriverDatabase\DriverInfFiles\net1.inf", "Active", Value::sz("net1.inf_amd64_0")),
        (r"DriverDatabase\DriverPackages\net1.inf_amd64_0", "", Value::sz("net1.inf")),
        (r"DriverDatabase\DriverPackages\net1.inf_amd64_0", "Version", inbox(NET)),
    ];
    tree_of(&[
        (SYSTEM, &hive("SYSTEM", &system)),
        (SOFTWARE, &hive("SOFTWARE", &software)),
        (DRIVERS, &hive("DRIVERS", &drivers)),
        (r"\Windows\System32\ntoskrnl.exe", &executable(0x8664)),
        (r"\Windows\System32\drivers\a.sys", b"a"),
        (r"\Windows\INF\disk.inf", b"; disk"),
        (r"\Windows\System32\DriverStore\FileRepository\disk.inf_amd64_0\disk.inf", b"; disk"),
        (r"\Windows\System32\CatRoot\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}\a.cat", b"a"),
    ])
}

fn image() -> Tree {
    image_with(&[])
}

/// A package with a driver file of that content.
fn package(sys: &[u8]) -> Package {
    let inf = b"[Version]\nSignature=\"$Windows NT$\"\n[More]\nHKLM,Software\\Maker,x,,y\n[Strings]\nsvc=\"A disk\"\n";
    let tree = tree_of(&[
        (r"\d\disk1.inf", inf),
        (r"\d\disk1.cat", b"catalog"),
        (r"\d\x64\disk1.sys", sys),
        (r"\d\readme.txt", b"read me"),
    ]);
    let folder = tree.find(r"\d").unwrap();
    Package::new(Arc::new(tree), folder, "disk1.inf", r"C:\drivers").unwrap()
}

fn value(key: &str, name: &str, value: Value) -> ConfigurationValue {
    ConfigurationValue { key: key.into(), value: Some((name.into(), value)) }
}

fn driver() -> Driver {
    let device = |id: &str, kind, index| Device {
        id: id.into(),
        kind,
        feature: 0xFF,
        index,
        configuration: "disk_inst.NT".into(),
        description: "%disk.desc%".into(),
        manufacturer: "%maker%".into(),
    };
    let parameters = value("Parameters", "BusType", Value::dword(1));
    Driver {
        inf_name: "disk1.inf".into(),
        package_name: "disk1.inf_amd64_1111111111111111".into(),
        class: "SCSIAdapter".into(),
        class_guid: SCSI,
        provider: "Maker".into(),
        catalog: Some("disk1.cat".into()),
        machine: Machine::Amd64,
        date: FileTime(131_000_000_000_000_000),
        version: Version([1, 2, 3, 4]),
        lockdown: Some(true),
        configurations: vec![Configuration {
            name: "disk_inst.NT".into(),
            service: Some("disk1".into()),
            scope: 7,
            values: vec![
                value("Device", "Odd", Value::new(0x2_0004, 5u32.to_le_bytes())),
                value(r"Services\disk1\Parameters", "BusType", Value::dword(1)),
                value(r"Services\disk1", "BootFlags", Value::dword(1)),
            ],
            ..Configuration::default()
        }],
        devices: vec![
            device(r"PCI\VEN_1AF4&DEV_1001&REV_00", IdKind::Hardware, 0),
            device(r"PCI\VEN_1AF4&DEV_1001", IdKind::Compatible, 0),
            device(r"PCI\VEN_1AF4&DEV_1001", IdKind::Compatible, 1),
        ],
        strings: vec![("disk.desc".into(), "A disk".into()), ("maker".into(), "Maker".into())],
        service_strings: vec![("svc".into(), "A disk".into())],
        files: ["disk1.inf", "disk1.cat", r"x64\disk1.sys", "readme.txt"].map(String::from).to_vec(),
        copies: vec![CopyOut { source: r"x64\disk1.sys".into(), target: SYS.into(), line: 9 }],
        services: vec![Service {
            name: "disk1".into(),
            kind: 1,
            start: 0,
            error_control: 1,
            image_path: r"System32\drivers\disk1.sys".into(),
            display_name: Some("%svc%".into()),
            group: Some("SCSI miniport".into()),
            dependencies: vec!["other".into(), "+Group A".into()],
            security: Some("D:P(A;;GA;;;SY)".into()),
            values: vec![parameters, value("", "BootFlags", Value::dword(1))],
            event_log: Some(EventLog {
                log: "System".into(),
                source: "disk1".into(),
                values: vec![value("", "TypesSupported", Value::dword(7))],
            }),
            ..Service::default()
        }],
        extension: None,
        registry: Vec::new(),
        notes: Vec::new(),
    }
}

fn signature() -> Signature {
    Signature { signer: Some("Microsoft Windows Hardware Compatibility Publisher".into()), score: 0x0D00_0005 }
}

/// Adds a package and writes the hives.
fn add(tree: &mut Tree, package: &Package, driver: &Driver) -> (Added, Vec<regedit::Changed>) {
    let mut store = Store::open(tree, NOW).unwrap();
    let added = store.add(package, driver, &signature()).unwrap();
    (added, store.commit().unwrap())
}

/// All that the hives say, times of the database aside.
fn dump(tree: &Tree) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for path in [SYSTEM, SOFTWARE, DRIVERS] {
        let Some(hive) = read_hive(tree, path).unwrap() else { continue };
        words::walk(&hive, hive.root(), path, |key, path| {
            let values = hive.values(key).filter(|value| !value.name.is("UpdateDate"));
            let mut values: Vec<String> =
                values.map(|value| format!("{:?} {:x} {:?}", value.name, value.kind, value.data)).collect();
            values.sort();
            all.insert(path.to_owned(), format!("{:?} {:?} {values:?}", hive.class(key), hive.descriptor(key)));
            Ok::<(), ()>(())
        })
        .unwrap();
    }
    all
}

fn paths(tree: &Tree) -> Vec<String> {
    let mut paths = tree.paths(usize::MAX, |_, _| true);
    paths.sort();
    paths
}

fn get(tree: &Tree, file: &str, key: &str, name: &str) -> Option<Value> {
    let hive = read_hive(tree, file).unwrap().unwrap();
    hive.value(hive.open(key)?, name).map(|value| value.to_value())
}

#[test]
fn leaves_what_dism_leaves() {
    let mut tree = image();
    let before = tree.find(SYSTEM).unwrap();
    let (added, changed) = add(&mut tree, &package(b"driver"), &driver());
    assert_eq!((added.published.as_str(), added.already, added.files), ("oem0.inf", false, 7), "{added:?}");
    assert_eq!(added.notes, [""; 0]);
    assert_eq!(changed.iter().map(|own| own.hive.as_str()).collect::<Vec<_>>(), [SOFTWARE, SYSTEM]);
    assert_eq!(tree.find(SYSTEM), Some(before));
    let folder = r"\Windows\System32\DriverStore\FileRepository\disk1.inf_amd64_1111111111111111";
    assert_eq!(tree.read_file(&format!(r"{folder}\x64\disk1.sys")).unwrap().unwrap(), b"driver");
    assert_eq!(tree.read_file(SYS).unwrap().unwrap(), b"driver");
    assert!(tree.read_file(r"\Windows\INF\oem0.inf").unwrap().unwrap().starts_with(b"[Version]"));
    assert_eq!(tree.read_file(&format!(r"{}\oem0.cat", files::CATALOGS)).unwrap().unwrap(), b"catalog");

    let package = r"DriverDatabase\DriverPackages\disk1.inf_amd64_1111111111111111";
    let system = |key: &str, name: &str| get(&tree, SYSTEM, key, name);
    assert_eq!(system(package, ""), Some(Value::sz("oem0.inf")));
    assert_eq!(system(package, "OemPath"), Some(Value::sz(r"C:\drivers")));
    assert_eq!(system(package, "SignerScore"), Some(Value::dword(0x0D00_0005)));
    assert_eq!(system(package, "FileSize"), None, "no package of this Windows has it");
    let version = system(package, "Version").unwrap();
    assert_eq!(VersionBlob::parse(&version.data).unwrap().version, Version([1, 2, 3, 4]));
    assert_eq!(version.data[..2], [0, 0xFF]);
    let configuration = format!(r"{package}\Configurations\disk_inst.NT");
    assert_eq!(system(&configuration, "Service"), Some(Value::sz("disk1")));
    assert_eq!(system(&format!(r"{configuration}\Device"), "Odd"), Some(Value::new(0x2_0004, 5u32.to_le_bytes())));
    let descriptor = format!(r"{package}\Descriptors\PCI\VEN_1AF4&DEV_1001");
    assert_eq!(system(&descriptor, "Description"), Some(Value::sz("%disk.desc%")));
    let inf = r"DriverDatabase\DriverInfFiles\oem0.inf";
    assert_eq!(system(inf, ""), Some(Value::multi_sz(["disk1.inf_amd64_1111111111111111"])));
    assert_eq!(system(inf, "Configurations"), Some(Value::multi_sz(["disk_inst.NT"])));
    let ids = r"DriverDatabase\DeviceIds";
    assert_eq!(system(&format!(r"{ids}\PCI\VEN_1AF4&DEV_1001"), "oem0.inf"), Some(Value::binary([2, 0xFF, 0, 0])));
    assert_eq!(system(&format!(r"{ids}\{{{SCSI}}}"), "oem0.inf"), Some(Value::new(0, [])));
    assert_eq!(system("DriverDatabase", "OemInfMap"), Some(Value::binary([0x80])));
    assert_eq!(system("DriverDatabase", "UpdateDate"), Some(Value::binary(NOW.0.to_le_bytes())));

    let service = r"ControlSet001\Services\disk1";
    assert_eq!(system(service, "DisplayName"), Some(Value::sz("@oem0.inf,%svc%;A disk")));
    assert_eq!(system(service, "ImagePath"), Some(Value::expand_sz(r"System32\drivers\disk1.sys")));
    assert_eq!(system(service, "Tag"), Some(Value::dword(0x21)), "the next one that Windows deals out");
    assert_eq!(system(service, "DependOnService"), Some(Value::multi_sz(["other"])));
    assert_eq!(system(service, "DependOnGroup"), Some(Value::multi_sz(["Group A"])));
    assert_eq!(system(&format!(r"{service}\Parameters"), "BusType"), Some(Value::dword(1)));
    assert!(system(&format!(r"{service}\Security"), "Security").is_some());
    let log = r"ControlSet001\Services\EventLog\System\disk1";
    assert_eq!(system(log, "TypesSupported"), Some(Value::dword(7)));
    let file = format!(r"{}\%SystemRoot%/System32/drivers/disk1.sys", lockdown::FILES);
    assert_eq!(get(&tree, SOFTWARE, &file, "Class"), Some(Value::dword(4)));
    assert_eq!(get(&tree, SOFTWARE, &file, "Owners"), Some(Value::multi_sz(["oem0.inf"])));
    let source = r"%SystemRoot%\System32\DriverStore\FileRepository\disk1.inf_amd64_1111111111111111\x64\disk1.sys";
    assert_eq!(get(&tree, SOFTWARE, &file, "Source"), Some(Value::expand_sz(source)));
}

#[test]
fn knows_its_windows() {
    let mut tree = image();
    let store = Store::open(&mut tree, NOW).unwrap();
    let target = store.target();
    assert_eq!((target.major, target.build, target.suites), (10, 14393, 0x82));
    assert_eq!((target.machine, target.product), (Machine::Amd64, super::super::ProductType::Server));
    assert!(store.notes()[0].contains("disk.inf_amd64_0"), "{:?}", store.notes());
    for missing in [SYSTEM, SOFTWARE] {
        let mut tree = image();
        let (folder, name) = missing.rsplit_once('\\').unwrap();
        let folder = tree.find(folder).unwrap();
        tree.remove_link(folder, &name.encode_utf16().collect::<Vec<_>>()).unwrap();
        assert_eq!(Store::open(&mut tree, NOW).err().unwrap().kind(), Kind::NotWindows);
    }
}

#[test]
fn twice_is_once_and_removing_leaves_what_was() {
    let mut tree = image();
    let (hives, files) = (dump(&tree), paths(&tree));
    let (package, driver) = (package(b"driver"), driver());
    add(&mut tree, &package, &driver);
    let bytes = [SYSTEM, SOFTWARE, DRIVERS].map(|path| tree.read_file(path).unwrap());
    let (again, changed) = add(&mut tree, &package, &driver);
    assert_eq!((again.already, again.published.as_str(), again.files), (true, "oem0.inf", 0));
    assert_eq!(changed, []);
    assert_eq!([SYSTEM, SOFTWARE, DRIVERS].map(|path| tree.read_file(path).unwrap()), bytes);

    let mut store = Store::open(&mut tree, NOW).unwrap();
    let removed = store.remove("OEM0.INF").unwrap();
    assert_eq!(removed.services, ["disk1"]);
    assert_eq!(removed.notes.len(), 1, "the line of the INF about HKLM: {:?}", removed.notes);
    store.commit().unwrap();
    assert_eq!(dump(&tree), hives);
    assert_eq!(paths(&tree), files);
    let mut store = Store::open(&mut tree, NOW).unwrap();
    assert_eq!(store.add(&package, &driver, &signature()).unwrap().published, "oem0.inf", "the number is free again");
}

#[test]
fn a_newer_one_is_another_package_and_files_are_shared() {
    let mut tree = image();
    let (hives, files) = (dump(&tree), paths(&tree));
    let old = pe_version::tests::executable(Version([1, 2, 3, 4]));
    let new = pe_version::tests::executable(Version([1, 3, 0, 0]));
    add(&mut tree, &package(&old), &driver());
    let newer = Driver {
        package_name: "disk1.inf_amd64_2222222222222222".into(),
        version: Version([1, 3, 0, 0]),
        date: FileTime(131_100_000_000_000_000),
        ..driver()
    };
    let (added, _) = add(&mut tree, &package(&new), &newer);
    assert_eq!(added.published, "oem1.inf");
    assert!(added.notes[0].contains("(1.2.3.4) is replaced by the package's (1.3.0.0)"), "{:?}", added.notes);
    assert_eq!(tree.read_file(SYS).unwrap().unwrap(), new);
    let owners = |tree: &Tree| get(tree, SYSTEM, r"ControlSet001\Services\disk1", "Owners").unwrap();
    assert_eq!(owners(&tree), Value::multi_sz(["oem1.inf", "oem0.inf"]));

    // What is older does not take the place of what is newer, however often it is added.
    let (added, changed) = add(&mut tree, &package(&old), &driver());
    assert!(added.notes.iter().any(|note| note.contains("is kept: it is newer (1.3.0.0)")), "{:?}", added.notes);
    assert!(
        added.notes.iter().any(|note| note.contains("service disk1 stays as oem1.inf has it")),
        "{:?}",
        added.notes
    );
    assert_eq!(changed, []);

    let mut store = Store::open(&mut tree, NOW).unwrap();
    let removed = store.remove("oem1.inf").unwrap();
    assert!(removed.notes.iter().any(|note| note.contains("1111111111111111")), "{:?}", removed.notes);
    store.commit().unwrap();
    assert_eq!(tree.read_file(SYS).unwrap().unwrap(), old, "the other package's is in place again");
    assert_eq!(owners(&tree), Value::multi_sz(["oem0.inf"]));
    let mut store = Store::open(&mut tree, NOW).unwrap();
    store.remove("oem0.inf").unwrap();
    store.commit().unwrap();
    assert_eq!((dump(&tree), paths(&tree)), (hives, files));
}

#[test]
fn numbers_fill_gaps_whoever_took_them() {
    let mut tree = image_with(&[("DriverDatabase", "OemInfMap", Value::binary([0b1001_0000]))]);
    let inf = tree.find(r"\Windows\INF").unwrap();
    for name in ["oem1.PNF", "OEM2.inf"] {
        let node = crate::tree::Node::file(0, crate::tree::Times::default(), vec![1].into());
        let node = tree.add_node(node).unwrap();
        tree.add_link(inf, crate::tree::Link { name: name.into(), short: None, node }).unwrap();
    }
    let (added, _) = add(&mut tree, &package(b"driver"), &driver());
    assert_eq!(added.published, "oem4.inf");
    assert_eq!(get(&tree, SYSTEM, "DriverDatabase", "OemInfMap"), Some(Value::binary([0b1001_1000])));
    let mut store = Store::open(&mut tree, NOW).unwrap();
    store.remove("oem4.inf").unwrap();
    store.commit().unwrap();
    assert_eq!(get(&tree, SYSTEM, "DriverDatabase", "OemInfMap"), Some(Value::binary([0b1001_0000])));
}

#[test]
fn packages_go_into_the_hive_of_their_class() {
    let key = r"DriverDatabase\DriverPackages\disk1.inf_amd64_1111111111111111";
    let display = uuid!("4d36e968-e325-11ce-bfc1-08002be10318");
    let usb = uuid!("36fc9e60-c465-11cf-8056-444553540000");
    let with_start = |class, start| {
        let mut driver = Driver { class_guid: class, ..driver() };
        driver.services.iter_mut().for_each(|service| service.start = start);
        driver
    };
    let mut tree = image();
    add(&mut tree, &package(b"driver"), &with_start(display, 0));
    assert!(get(&tree, SYSTEM, key, "Version").is_some(), "the loader reads SYSTEM alone");
    for (class, home) in [(SCSI, SYSTEM), (usb, SYSTEM), (NET, DRIVERS), (display, DRIVERS)] {
        let mut tree = image();
        add(&mut tree, &package(b"driver"), &with_start(class, 3));
        let configurations = format!(r"{key}\Configurations");
        let is_there = read_hive(&tree, home).unwrap().unwrap().open(&configurations).is_some();
        assert_eq!(is_there, home == SYSTEM, "in DRIVERS there are none");
        assert!(get(&tree, home, key, "Version").is_some(), "{class}");
        assert!(get(&tree, SYSTEM, "DriverDatabase", "OemInfMap").is_some(), "the numbers are in SYSTEM for both");
        assert_eq!(get(&tree, DRIVERS, "DriverDatabase", "OemInfMap"), None);
    }
    let mut tree = image();
    let config = tree.find(r"\Windows\System32\config").unwrap();
    tree.remove_link(config, &"DRIVERS".encode_utf16().collect::<Vec<_>>()).unwrap();
    add(&mut tree, &package(b"driver"), &with_start(NET, 3));
    assert!(get(&tree, SYSTEM, key, "Version").is_some(), "an image without the other hive");
}

#[test]
fn what_was_there_stays() {
    let service = r"ControlSet001\Services\disk1";
    let mut tree = image_with(&[
        (service, "vwdk.installers", Value::multi_sz(["MSI"])),
        (r"ControlSet001\Services\disk1\StartOverride", "0", Value::dword(3)),
    ]);
    let (added, _) = add(&mut tree, &package(b"driver"), &driver());
    assert!(added.notes.iter().any(|note| note.contains("StartOverride")), "{:?}", added.notes);
    assert_eq!(get(&tree, SYSTEM, &format!(r"{service}\StartOverride"), "0"), None);
    assert_eq!(get(&tree, SYSTEM, service, "vwdk.installers"), Some(Value::multi_sz(["MSI"])));
    let mut store = Store::open(&mut tree, NOW).unwrap();
    let removed = store.remove("oem0.inf").unwrap();
    store.commit().unwrap();
    assert!(removed.notes.iter().any(|note| note.contains("no driver put there")), "{:?}", removed.notes);
    let hive = read_hive(&tree, SYSTEM).unwrap().unwrap();
    let names: Vec<String> = hive.values(hive.open(service).unwrap()).map(|value| value.name.to_string()).collect();
    assert_eq!(names, ["vwdk.installers"]);
}

#[test]
fn files_that_nobody_owns_are_not_claimed() {
    let mut tree = image();
    let folder = tree.find(r"\Windows\System32\drivers").unwrap();
    let node = crate::tree::Node::file(0, crate::tree::Times::default(), b"driver".to_vec().into());
    let node = tree.add_node(node).unwrap();
    tree.add_link(folder, crate::tree::Link { name: "DISK1.SYS".into(), short: None, node }).unwrap();
    let files = paths(&tree);
    let (added, _) = add(&mut tree, &package(b"driver"), &driver());
    assert!(added.notes[0].contains("belongs to no package"), "{:?}", added.notes);
    let mut store = Store::open(&mut tree, NOW).unwrap();
    store.remove("oem0.inf").unwrap();
    store.commit().unwrap();
    assert_eq!(paths(&tree), files);
}

#[test]
fn only_what_was_added_can_be_taken_out() {
    let mut tree = image();
    add(&mut tree, &package(b"driver"), &driver());
    let bytes = tree.read_file(SYSTEM).unwrap();
    let mut store = Store::open(&mut tree, NOW).unwrap();
    for (name, word) in [
        ("disk.inf", "came with this Windows"),
        ("oem1.inf", "no such driver package"),
        ("", "no such"),
        (r"..\x", "no such"),
    ] {
        let error = store.remove(name).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(word) && error.to_string().contains("oem0.inf"), "{error}");
    }
    assert_eq!(store.commit().unwrap(), []);
    assert_eq!(tree.read_file(SYSTEM).unwrap(), bytes);
    assert!(Store::open(&mut image(), NOW).unwrap().remove("oem0.inf").unwrap_err().to_string().contains("nothing"));
}

#[test]
fn new_keys_and_files_are_protected_as_their_siblings() {
    let (most, one) = (b"D:(A;;KA;;;SY)", b"D:(A;;KA;;;BA)");
    let descriptor = |text: &[u8]| crate::base::sddl::from_text(std::str::from_utf8(text).unwrap()).unwrap();
    let mut tree = image();
    let mut hive = read_hive(&tree, SYSTEM).unwrap().unwrap();
    let services = hive.open(r"ControlSet001\Services").unwrap();
    for (at, key) in hive.subkeys(services).collect::<Vec<_>>().into_iter().enumerate() {
        hive.set_descriptor(key, &descriptor(if at == 1 { one } else { most })).unwrap();
    }
    let bytes = hive.to_bytes().unwrap();
    let node = tree.find(SYSTEM).unwrap();
    tree.node_mut(node).streams[0].content = bytes.into();
    let usual = tree.add_descriptor(&descriptor(b"D:(A;OICI;FA;;;SY)"));
    for path in [r"\disk.inf_amd64_0", r"\disk.inf_amd64_0\disk.inf"] {
        let node = tree.find(&format!("{}{path}", REPOSITORY)).unwrap();
        tree.node_mut(node).descriptor = Some(usual);
    }
    add(&mut tree, &package(b"driver"), &driver());
    let hive = read_hive(&tree, SYSTEM).unwrap().unwrap();
    let service = hive.open(r"ControlSet001\Services\disk1").unwrap();
    assert_eq!(hive.descriptor(service), Some(&*descriptor(most)));
    let folder = folder_of("disk1.inf_amd64_1111111111111111");
    for path in ["", r"\x64", r"\x64\disk1.sys"] {
        let node = tree.find(&format!("{folder}{path}")).unwrap();
        assert_eq!(tree.node(node).descriptor, Some(usual), "{path}");
    }
}

#[test]
fn the_registry_at_large_is_changed() {
    let change = |key: &str, action| RegistryChange { key: key.into(), action, line: 3 };
    let key = r"HKEY_LOCAL_MACHINE\SOFTWARE\Maker";
    let driver = Driver {
        registry: vec![
            change(key, RegistryAction::Set("a".into(), Value::dword(1))),
            change(key, RegistryAction::SetIfAbsent("a".into(), Value::dword(2))),
            change(key, RegistryAction::Append("list".into(), vec!["x".into(), "y".into(), "X".into()])),
            change(r"HKEY_CLASSES_ROOT\.maker", RegistryAction::Make),
            change(
                r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\odd",
                RegistryAction::DeleteValue("Tag".into()),
            ),
            change(r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\stornvme", RegistryAction::DeleteKey),
            change(r"HKEY_CURRENT_USER\Software\Maker", RegistryAction::Make),
        ],
        ..driver()
    };
    let mut tree = image();
    let (added, _) = add(&mut tree, &package(b"driver"), &driver);
    assert!(
        added.notes.iter().any(|note| note.contains("HKEY_CURRENT_USER") && note.contains("line 3")),
        "{:?}",
        added.notes
    );
    assert_eq!(get(&tree, SOFTWARE, "Maker", "a"), Some(Value::dword(1)));
    assert_eq!(get(&tree, SOFTWARE, "Maker", "list"), Some(Value::multi_sz(["x", "y"])));
    let software = read_hive(&tree, SOFTWARE).unwrap().unwrap();
    assert!(software.open(r"Classes\.maker").is_some());
    assert_eq!(get(&tree, SYSTEM, r"ControlSet001\Services\odd", "Tag"), None);
    assert!(read_hive(&tree, SYSTEM).unwrap().unwrap().open(r"ControlSet001\Services\stornvme").is_none());
    assert_eq!(add(&mut tree, &package(b"driver"), &driver).1, [], "twice is once");
}

#[test]
fn refuses_what_cannot_be() {
    let long = "x".repeat(300);
    let evil: [(&str, Driver); 9] = [
        ("another processor", Driver { machine: Machine::Arm64, ..driver() }),
        ("lacks", Driver { files: vec!["none.sys".into()], ..driver() }),
        ("lacks", Driver { files: vec![r"..\d\disk1.sys".into()], ..driver() }),
        ("name", Driver { package_name: r"..\..\x".into(), ..driver() }),
        ("name", Driver { package_name: String::new(), ..driver() }),
        (
            "name of a key",
            Driver { configurations: vec![Configuration { name: r"a\b".into(), ..Default::default() }], ..driver() },
        ),
        (
            "name of a key",
            Driver { configurations: vec![Configuration { name: long.clone(), ..Default::default() }], ..driver() },
        ),
        ("name of a key", Driver { services: vec![Service { name: r"a\b".into(), ..Default::default() }], ..driver() }),
        (
            "file name",
            Driver {
                copies: vec![CopyOut { source: "readme.txt".into(), target: r"\Windows\..\x".into(), line: 1 }],
                ..driver()
            },
        ),
    ];
    for (word, driver) in evil {
        let mut tree = image();
        let mut store = Store::open(&mut tree, NOW).unwrap();
        let error = store.add(&package(b"driver"), &driver, &signature()).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn hives_of_any_content_are_survived() {
    let mut tree = image_with(&[
        ("DriverDatabase", "OemInfMap", Value::sz(&"\u{FFFF}".repeat(0x9000))),
        (r"ControlSet001\Services\disk1", "Owners", Value::dword(1)),
        (r"ControlSet001\Services\disk1", "Tag", Value::binary([1])),
        (r"ControlSet001\Services\a", "Group", Value::sz("SCSI miniport")),
        (r"ControlSet001\Services\a", "Tag", Value::dword(u32::MAX)),
        (r"ControlSet001\Services\b", "Group", Value::sz("SCSI miniport")),
        (r"ControlSet001\Services\b", "Tag", Value::dword(0xFF)),
        (r"DriverDatabase\DriverPackages\x", "", Value::sz("oem4294967295.inf")),
        (r"DriverDatabase\DriverPackages\x", "Version", Value::binary([])),
    ]);
    let mut store = Store::open(&mut tree, NOW).unwrap();
    let error = store.add(&package(b"driver"), &driver(), &signature()).unwrap_err();
    assert!(error.to_string().contains("no number of oemN.inf is free"), "{error}");
    let mut tree = image_with(&[
        ("DriverDatabase", "OemInfMap", Value::binary([])),
        (r"ControlSet001\Services\b", "Group", Value::sz("SCSI miniport")),
        (r"ControlSet001\Services\b", "Tag", Value::dword(0xFF)),
        (r"ControlSet001\Services\disk1", "Owners", Value::dword(1)),
    ]);
    add(&mut tree, &package(b"driver"), &driver());
    assert_eq!(
        get(&tree, SYSTEM, r"ControlSet001\Services\disk1", "Tag"),
        Some(Value::dword(1)),
        "all above are taken"
    );
}
