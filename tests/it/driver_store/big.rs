//! A hive of 100 MB, of which little is changed.

use nanovhd::format::hive::{Hive, KeyId, Value};
use nanovhd::windows::drivers::Store;

use super::{NOW, compiled, described, hive, image, keys, package, signature};
use crate::support::tools::{Tools, text};

const INF: &str = r#"[Version]
Signature="$Windows NT$"
Class=SCSIAdapter
ClassGUID={4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider=%Maker%
DriverVer=07/21/2023,1.2.3.4
PnpLockdown=1
[SourceDisksNames]
1=%Maker%
[SourceDisksFiles]
disk1.sys=1
[DestinationDirs]
Files=12
[Manufacturer]
%Maker%=Models,NTamd64
[Models.NTamd64]
%Disk%=Install,PCI\VEN_1234&DEV_5678
[Install]
CopyFiles=Files
[Files]
disk1.sys
[Install.Services]
AddService=disk1,2,Service
[Service]
ServiceType=1
StartType=0
ErrorControl=1
ServiceBinary=%12%\disk1.sys
LoadOrderGroup=SCSI miniport
[Strings]
Maker="Maker"
Disk="A disk"
"#;

/// Keys with classes, descriptors and values of all sizes, until there are 100 MB of them.
fn fill(hive: &mut Hive) {
    const SIZES: [usize; 8] = [0, 3, 4, 5, 300, 5_000, 16_344, 60_000];
    let descriptor = |number: usize| {
        let mut bytes = nanovhd::format::hive::ADMIN_DESCRIPTOR.to_vec();
        // Another mask in the first entry: the descriptors of the hive are many.
        bytes[60..62].copy_from_slice(&(number as u16 | 1).to_le_bytes());
        bytes
    };
    let parent = hive.create_key(r"ControlSet001\Enum\MADE").unwrap();
    let mut total = 0;
    let mut number = 0;
    while total < 100_000_000 {
        let key: KeyId = hive.create_key_at(parent, &format!(r"G{:03}\K{number:05}", number / 50)).unwrap();
        if number % 3 == 0 {
            hive.set_class(key, Some(&format!("class {number}"))).unwrap();
        }
        if number % 5 == 0 {
            hive.set_descriptor(key, &descriptor(number % 200)).unwrap();
        }
        for (at, size) in SIZES.into_iter().enumerate() {
            let data: Vec<u8> = (0..size).map(|byte| (byte * 31 + number * 7 + at) as u8).collect();
            hive.set_value(key, format!("value {at}").as_str(), Value::new((number + at) as u32 % 12, data)).unwrap();
            total += size;
        }
        number += 1;
    }
}

#[test]
fn a_large_hive_keeps_what_is_not_touched() {
    let mut system = Hive::new("SYSTEM", NOW).unwrap();
    for (path, name, value) in [
        ("Select", "Current", Value::dword(1)),
        (r"ControlSet001\Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
        (r"ControlSet001\Services\disk", "Start", Value::dword(0)),
        (r"DriverDatabase\DeviceIds", "", Value::sz("")),
        (r"DriverDatabase\DriverInfFiles", "", Value::sz("")),
        (r"DriverDatabase\DriverPackages", "", Value::sz("")),
    ] {
        let key = system.create_key(path).unwrap();
        system.set_value(key, name, value).unwrap();
    }
    fill(&mut system);
    let mut tree = image(&system);
    drop(system);
    let before = hive(&tree, "SYSTEM");
    let files = [("disk1.inf", INF.as_bytes()), ("disk1.sys", b"driver")]
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    let package = package("disk1.inf", files);
    let mut store = Store::open(&mut tree, NOW).unwrap();
    let driver = compiled(&store, &package);
    store.add(&package, &driver, &signature()).unwrap();
    store.commit().unwrap();

    let bytes = tree.read_file(r"\Windows\System32\config\SYSTEM").unwrap().unwrap();
    assert!(bytes.len() > 100_000_000, "{}", bytes.len());
    let after = Hive::read(bytes.clone()).unwrap();
    let (old, new) = (keys(&before, ""), keys(&after, ""));
    let mut touched = Vec::new();
    for (path, key) in &old {
        let other = new.get(path).unwrap_or_else(|| panic!("{path} is gone"));
        let same_time = before.last_written(*key) == after.last_written(*other);
        if !same_time || described(&before, *key) != described(&after, *other) {
            touched.push(path.as_str());
        }
    }
    // The root of the database has a number and a date more; the others were written at the time at which they were made before.
    assert_eq!(touched, [r"\DriverDatabase"]);
    let made: Vec<&String> = new.keys().filter(|path| !old.contains_key(*path)).collect();
    let is_ours = |path: &&&String| {
        ["disk1", "oem0.inf", "VEN_1234", r"DeviceIds\PCI", "4d36e97b"].iter().any(|word| path.contains(word))
    };
    assert!(made.len() > 10 && made.iter().all(|path| is_ours(&path)), "{made:?}");

    let Some(tools) = Tools::find(&["regfinfo", "hivexsh"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("SYSTEM");
    std::fs::write(&path, bytes).unwrap();
    assert!(tools.run("regfinfo", &[text(&path)]).contains("Version"));
    let script = folder.path().join("script");
    std::fs::write(&script, "cd ControlSet001\\Services\\disk1\nlsval\n").unwrap();
    assert!(tools.run("hivexsh", &["-f", text(&script), text(&path)]).contains("ImagePath"));
}
