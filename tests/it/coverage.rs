//! Whether the machine will find its devices, as a user asks for it; the profiles against QEMU and against a real Windows.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nanovhd::base::{FileTime, Machine};
use nanovhd::format::hive::{Hive, ReadOptions};
use nanovhd::format::wim::Wim;
use nanovhd::image::coverage::{self, Coverage, Covered, Setting, Verdict};
use nanovhd::image::target::DeviceRole;
use nanovhd::image::{Choice, Control, ImagePlan, Input, Recipe, Source, Target, demo};
use nanovhd::tree::{Content, Link, Node, Times, Tree};
use nanovhd::verify::Level;
use nanovhd::windows::About;
use nanovhd::windows::drivers::{Database, Package, ProductType, Signature, Store, TargetOs, compile};
use serde_json::Value;

use crate::support::program::{demo_wim, fail, nanovhd, output, succeed};
use crate::support::qemu::QEMU;
use crate::support::tools::{Tools, text, windows_file};

const SERVER_2016: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

fn demo_source() -> Source {
    let threads = NonZeroUsize::new(2).unwrap();
    let wim = Wim::open(vec![Arc::new(demo::wim(threads).unwrap())]).unwrap();
    Source::of_wim(&wim, "demo.wim", demo::IMAGE).unwrap()
}

fn build(source: Source, target: &str, output: &Path) -> Vec<String> {
    let mut recipe = Recipe::new(output);
    recipe.target = Some(Target::named(target).unwrap());
    recipe.format = recipe.target.unwrap().format;
    recipe.force = true;
    let plan = ImagePlan::new(source, &recipe).unwrap();
    let warnings = plan.summary().warnings.clone();
    plan.build(NonZeroUsize::new(2).unwrap(), &Control::default()).unwrap();
    warnings
}

fn judge(tree: &Tree, target: &str) -> Coverage {
    let about = About::read(tree).unwrap();
    coverage::judge(tree, &about, &[Target::named(target).unwrap()], Setting::default()).unwrap().unwrap().remove(0)
}

fn device<'c>(coverage: &'c Coverage, what: &str) -> &'c Covered {
    coverage.devices.iter().find(|covered| covered.device.starts_with(what)).unwrap()
}

/// The headers of an amd64 program, which is all that is looked at.
fn driver_file() -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x3C] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x44..0x46].copy_from_slice(&0x8664u16.to_le_bytes());
    image
}

/// A package with one device and one service.
fn package(name: &str, class: &str, guid: &str, id: &str, start: u32) -> Package {
    let inf = format!(
        "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass={class}\r\nClassGuid={guid}\r\nProvider=%maker%\r\nCatalogFile={name}.cat\r\n\
         DriverVer=05/20/2024,1.2.3.4\r\nPnpLockdown=1\r\n\r\n[Manufacturer]\r\n%maker%=Models,NTamd64.10.0\r\n\r\n\
         [Models.NTamd64.10.0]\r\n%device%=Dev,{id}\r\n\r\n[Dev.NT]\r\nCopyFiles=Files\r\n\r\n[Dev.NT.Services]\r\n\
         AddService={name},2,Service\r\n\r\n[Service]\r\nServiceType=1\r\nStartType={start}\r\nErrorControl=1\r\n\
         ServiceBinary=%12%\\{name}.sys\r\n\r\n[Files]\r\n{name}.sys\r\n\r\n[DestinationDirs]\r\nDefaultDestDir=12\r\n\r\n\
         [SourceDisksNames]\r\n1=%maker%\r\n\r\n[SourceDisksFiles]\r\n{name}.sys=1\r\n\r\n\
         [Strings]\r\nmaker=\"A test\"\r\ndevice=\"A made device\"\r\n"
    );
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let files = [
        (format!("{name}.inf"), inf.into_bytes()),
        (format!("{name}.sys"), driver_file()),
        (format!("{name}.cat"), b"no catalog".to_vec()),
    ];
    for (file, bytes) in files {
        let node = tree.add_node(Node::file(0, Times::default(), Content::from(bytes))).unwrap();
        let root = tree.root();
        tree.add_link(root, Link { name: file.as_str().into(), short: None, node }).unwrap();
    }
    let root = tree.root();
    Package::new(Arc::new(tree), root, &format!("{name}.inf"), "a folder").unwrap()
}

fn install(tree: &mut Tree, package: &Package) {
    let mut store = Store::open(tree, FileTime(133_000_000_000_000_000)).unwrap();
    let driver = compile(package, store.target(), &|_| Ok(None)).unwrap();
    let signature = Signature { signer: Some("A test".into()), score: 0x0D00_0005 };
    let added = store.add(package, &driver, &signature).unwrap();
    assert!(added.published.starts_with("oem"), "{added:?}");
    store.commit().unwrap();
}

const NET: &str = "{4d36e972-e325-11ce-bfc1-08002be10318}";
const SCSI_ADAPTER: &str = "{4d36e97b-e325-11ce-bfc1-08002be10318}";

/// The complaint of all who put Nano Server into VirtualBox, before they boot it; and how it goes away.
#[test]
fn a_missing_network_driver_is_named_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("nano.vdi");
    let mut source = demo_source();
    let warnings = build(source.clone(), "virtualbox", &disk);
    let warning = warnings.iter().find(|text| text.contains("will have no network")).unwrap();
    assert!(warning.contains("82540EM") && warning.contains("OEM-Drivers"), "{warning}");
    let table = succeed(["verify", text(&disk), "--target=virtualbox", "--level=error"]);
    assert!(
        table.contains("WARNING: no driver") && table.contains("hint: ") && table.contains("0 errors, 1 warning"),
        "{table}"
    );

    install(&mut source.tree, &package("madenic", "Net", NET, r"PCI\VEN_8086&DEV_100E", 3));
    let warnings = build(source.clone(), "virtualbox", &disk);
    assert!(!warnings.iter().any(|text| text.contains("network")), "{warnings:?}");
    let table = succeed(["verify", text(&disk), "--target=virtualbox", "--level=error"]);
    let line = table.lines().find(|line| line.contains("82540EM")).unwrap();
    assert!(line.contains("madenic (oem0.inf)") && line.contains("1.2.3.4") && line.ends_with("ok"), "{line}");
    assert!(table.contains("0 errors, 0 warnings"), "{table}");
}

/// A disk controller that Windows has no driver for: nothing in place of a boot, and then a boot driver.
#[test]
fn a_made_storage_driver_serves_its_controller() {
    let mut tree = demo_source().tree;
    let disk = "SCSI controller (LSI Logic 53C1030)";
    assert_eq!(device(&judge(&tree, "virtualbox"), disk).verdict, Verdict::MissingDriver);
    install(&mut tree, &package("madescsi", "SCSIAdapter", SCSI_ADAPTER, r"PCI\VEN_1000&DEV_0030", 0));
    let coverage = judge(&tree, "virtualbox");
    let covered = device(&coverage, disk);
    assert_eq!(covered.verdict, Verdict::Ok, "{covered:?}");
    let driver = covered.driver.as_ref().unwrap();
    assert_eq!((driver.service.as_deref(), driver.matching_id.as_str()), (Some("madescsi"), r"PCI\VEN_1000&DEV_0030"));

    let mut late = demo_source().tree;
    install(&mut late, &package("madescsi", "SCSIAdapter", SCSI_ADAPTER, r"PCI\VEN_1000&DEV_0030", 3));
    assert_eq!(device(&judge(&late, "virtualbox"), disk).verdict, Verdict::WrongStart);
}

#[test]
fn errors_are_in_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("demo.vhdx");
    succeed(["demo", "--target=hyperv-gen2", "--output", text(&disk)]);
    let table = succeed(["verify", text(&disk), "--target=hyperv-gen2", "--level=error"]);
    for words in ["storvsc (wstorvsc.inf)", "netvsc (wnetvsc.inf)", "vmbus (wvmbus.inf)", "0 errors, 0 warnings"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let reg = folder.path().join("late.reg");
    let key = r"[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\storvsc]";
    fs::write(&reg, format!("Windows Registry Editor Version 5.00\r\n\r\n{key}\r\n\"Start\"=dword:00000003\r\n"))
        .unwrap();
    succeed(["edit", text(&disk), "--reg", text(&reg)]);
    let found = output(nanovhd(["--json", "verify", text(&disk), "--target=hyperv-gen2", "--target=hyperv-gen1"]));
    assert_eq!(found.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(report["errors"], 0, "the image itself is sound");
    let drivers = &report["drivers"];
    assert_eq!((&drivers["errors"], &drivers["warnings"]), (&Value::from(1), &Value::from(0)));
    let devices = drivers["targets"][0]["devices"].as_array().unwrap();
    let bad: Vec<_> = devices.iter().filter(|device| device["level"] == "error").collect();
    assert_eq!(bad.len(), 1);
    assert_eq!((&bad[0]["verdict"], &bad[0]["role"]), (&Value::from("wrong_start"), &Value::from("disk")));
    assert!(bad[0]["hint"].as_str().unwrap().contains(r"Services\storvsc"));
    assert_eq!(drivers["targets"][1]["target"], "hyperv-gen1");

    let (code, complaint) = fail(["verify", text(&disk), "--target=hyperv"]);
    assert!(code != 1 && complaint.contains("hyperv-gen1"), "{code}: {complaint}");
    assert!(fail(["verify", text(&disk), "--target=raw"]).1.contains("no devices are known"));
}

/// Whatever `nanovhd reg` looks into: a WIM; and a medium, whose packages are named.
#[test]
fn images_and_media_are_judged_too() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let table = succeed(["verify", text(&wim), "--image=2", "--target=kvm", "--all-devices"]);
    assert!(table.contains("SATA controller (Intel ICH9 AHCI)") && table.contains("on request:"), "{table}");
    assert!(table.contains("no driver (virtio-win)"), "{table}");
    assert!(fail(["verify", text(&wim), "--target=kvm"]).1.contains("--image"));

    let packages = folder.path().join("medium/NanoServer/Packages");
    fs::create_dir_all(&packages).unwrap();
    fs::rename(&wim, folder.path().join("medium/NanoServer/NanoServer.wim")).unwrap();
    fs::write(packages.join("Microsoft-NanoServer-OEM-Drivers-Package.cab"), "MSCF").unwrap();
    let medium = folder.path().join("medium");
    let disk = folder.path().join("nano.vdi");
    let args = ["build", "--media", text(&medium), "--image=2", "--target=virtualbox", "--output", text(&disk)];
    let built = output(nanovhd(args));
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    assert!(said.contains("--package OEM-Drivers, of the medium's"), "{said}");
}

/// A folder without a Windows has nothing to be judged, and proves nothing.
#[test]
fn what_is_no_windows_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a file"), "text").unwrap();
    let judged = output(nanovhd(["verify", text(folder.path()), "--target=kvm"]));
    assert_eq!(judged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&judged.stdout).contains("cannot be judged: no Windows"));
}

/// The ids of KVM's profile, as QEMU itself shows them.
#[test]
fn qemu_shows_the_devices_of_its_profile() {
    let Some(_) = Tools::find(&[QEMU]) else { return };
    let devices = &Target::named("kvm").unwrap().devices;
    let mut seen = 0;
    for device in devices {
        let Some(pci) = device.pci else { continue };
        let argument = match (device.option.as_deref(), device.what.as_str()) {
            (Some(option), _) => option.strip_prefix("-device ").map(str::to_owned),
            (None, what) if what.starts_with("SATA") => Some("ich9-ahci".into()),
            (None, what) if what.contains("e1000") => Some("e1000".into()),
            (None, what) if what.contains("VGA") => Some("VGA".into()),
            _ => None,
        };
        let Some(argument) = argument else { continue };
        let needs = match argument.split(',').next() {
            Some("nvme") => ",serial=x,drive=d",
            Some("virtio-blk-pci") => ",drive=d",
            _ => "",
        };
        let Some(shown) = query_pci(&format!("{argument}{needs},addr=0x10")) else {
            println!("{argument}: this QEMU has no such device");
            continue;
        };
        let id = |name: &str| shown["id"][name].as_u64().unwrap_or(0);
        assert_eq!((id("vendor"), id("device")), (u64::from(pci.vendor), u64::from(pci.device)), "{argument}");
        let subsystem = id("subsystem") << 16 | id("subsystem-vendor");
        assert_eq!(subsystem, u64::from(pci.subsystem), "{argument}: {subsystem:08X}");
        assert_eq!(shown["class_info"]["class"], pci.class >> 8, "{argument}");
        seen += 1;
    }
    assert!(seen >= 20, "{seen} devices");
}

/// What a machine shows in slot 10h. `None` if this QEMU knows no such device.
fn query_pci(device: &str) -> Option<Value> {
    let mut qemu = Command::new(QEMU)
        .args(["-accel", "tcg", "-M", "q35", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"])
        .args(["-drive", "if=none,id=d,driver=null-co,size=1M", "-device", device])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let commands = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-pci\"}\n{\"execute\":\"quit\"}\n";
    let _ = qemu.stdin.take().unwrap().write_all(commands); // one that refuses the device is gone already
    let said = qemu.wait_with_output().unwrap();
    let answers =
        said.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let buses = answers.filter_map(|answer| answer["return"].as_array().cloned()).next()?;
    let shown = buses[0]["devices"].as_array()?.iter().find(|device| device["slot"] == 0x10)?;
    Some(shown.clone())
}

/// Every device that Windows itself has a driver for, in the database of a real Windows 10: what a machine needs to boot is claimed by
/// an INF of Microsoft's, and installed by the service that the profile names.
#[test]
fn a_real_windows_has_the_drivers_that_profiles_expect() {
    let Some(bytes) = windows_file("hives/SYSTEM-win10-1709.xz") else { return };
    let system = Hive::read_with(bytes, ReadOptions { logs: &[], accept_dirty: true }).unwrap();
    let database = Database::of_hives(&system, None);
    let mut found = HashMap::new();
    for target in Target::all().unwrap() {
        for device in target.devices.iter().filter(|device| device.boot) {
            let ids = device.ids(&SERVER_2016);
            let services: Vec<String> = ids
                .all()
                .flat_map(|id| database.candidates(id))
                .filter_map(|candidate| candidate.configuration?.service.clone())
                .collect();
            let is_there = services.iter().any(|service| service.eq_ignore_ascii_case(&device.driver));
            found.insert((device.what.as_str(), device.from.name()), is_there);
        }
    }
    let missing: Vec<_> =
        found.iter().filter(|((_, from), there)| ["inbox", "Guest"].contains(from) && !**there).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(found.len() > 15, "{found:?}");
    assert!(found.iter().any(|((_, from), there)| *from == "none" && !*there), "{found:?}");
}

/// The same hive as an image: a machine of VMware, which its disk was in, finds its disk; its network's drivers are in the hive DRIVERS,
/// which is not there.
#[test]
fn a_real_windows_is_judged() {
    let Some(bytes) = windows_file("hives/SYSTEM-win10-1709.xz") else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("Windows/System32/config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("SYSTEM"), bytes).unwrap();
    let input = Input::open(folder.path(), None).unwrap();
    let source = input.source("a folder", Choice { image: None, partition: None }).unwrap();
    let coverage = judge(&source.tree, "vmware");
    assert!(coverage.devices.iter().any(|covered| covered.driver.is_some() && covered.role == DeviceRole::Disk));
    let disk = device(&coverage, "SCSI controller (LSI SAS 1068)");
    let driver = disk.driver.as_ref().unwrap();
    assert_eq!((driver.inf.as_str(), driver.service.as_deref()), ("lsi_sas.inf", Some("LSI_SAS")));
    assert_eq!(disk.verdict, Verdict::MissingFile, "there are no files at all: {:?}", disk.problems);
    let pvscsi = device(&coverage, "SCSI controller (PVSCSI)").driver.as_ref().unwrap();
    assert_eq!(
        (pvscsi.inf.as_str(), pvscsi.inf_name.as_str(), pvscsi.version.to_string().as_str()),
        ("oem4.inf", "pvscsi.inf", "1.3.15.0")
    );
    assert_eq!(device(&coverage, "network adapter (Intel 82574L").level, Some(Level::Warning));
}
