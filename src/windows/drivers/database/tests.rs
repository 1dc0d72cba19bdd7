//! The database, of made hives.

use super::layout::{OemInfMap, VersionBlob, device_id, oem_number};
use super::*;
use crate::format::hive::{Hive, Value};

#[test]
fn version_values() {
    // Of pvscsi.inf by VMware on a Windows 10: SCSIAdapter, 2019-08-02, 1.3.15.0.
    let bytes = [
        0x00, 0xFF, 0x09, 0x00, 0, 0, 0, 0, 0x7B, 0xE9, 0x36, 0x4D, 0x25, 0xE3, 0xCE, 0x11, 0xBF, 0xC1, 0x08, 0x00,
        0x2B, 0xE1, 0x03, 0x18, 0x00, 0x00, 0x3B, 0x3A, 0xC5, 0x48, 0xD5, 0x01, 0, 0, 0x0F, 0, 0x03, 0, 0x01, 0, 0, 0,
        0, 0, 0, 0, 0, 0,
    ];
    let version = VersionBlob::parse(&bytes).unwrap();
    assert_eq!(version.version, Version([1, 3, 15, 0]));
    assert_eq!(version.class.to_string(), "4d36e97b-e325-11ce-bfc1-08002be10318");
    assert_eq!(version.date.to_string(), "2019-08-02T00:00:00.0000000Z");
    assert_eq!((version.is_inbox, layout::machine(version.architecture)), (false, Some(Machine::Amd64)));
    assert_eq!(version.to_bytes(), bytes);
    for len in 0..bytes.len() {
        assert_eq!(VersionBlob::parse(&bytes[..len]), None);
    }
}

#[test]
fn maps_of_numbers() {
    for (bytes, numbers) in [(&[0x80][..], &[0][..]), (&[0xE0], &[0, 1, 2]), (&[0xA0], &[0, 2]), (&[0, 0x80], &[8])] {
        let mut map = OemInfMap::new(bytes);
        assert_eq!(map.numbers(), numbers);
        map.take(17);
        assert_eq!(map.bytes().len(), 3);
        assert_eq!(map.bytes()[2], 0x40);
        map.free(17);
        map.free(99);
        assert_eq!(map.bytes(), bytes);
    }
}

#[test]
fn published_names() {
    assert_eq!(oem_number("OEM17.INF"), Some(17));
    for other in ["oem.inf", "oem-1.inf", "oem+1.inf", "oem1.cat", "disk.inf", "oem99999999999.inf", "é.inf"] {
        assert_eq!(oem_number(other), None, "{other}");
    }
    assert_eq!(device_id(&[2, 0xFF, 1, 0]), Some((2, 0xFF, 1)));
    assert_eq!(device_id(&[2, 0xFF, 1]), None);
}

/// A hive with one package that has everything, and what surrounds it.
fn sample() -> Hive {
    let mut hive = Hive::new("SYSTEM", FileTime(1)).unwrap();
    let version = VersionBlob {
        is_inbox: false,
        architecture: 9,
        class: Uuid::from_u128(0x4d36e972_e325_11ce_bfc1_08002be10318),
        date: FileTime(131_000_000_000_000_000),
        version: Version([1, 2, 3, 4]),
        tail: 0,
    };
    let package = r"DriverDatabase\DriverPackages\nic.inf_amd64_0123456789abcdef";
    let values = [
        (r"Select", "Current", Value::dword(1)),
        (r"ControlSet001\Control\Class\{4D36E972-E325-11CE-BFC1-08002BE10318}", "Class", Value::sz("Net")),
        (r"DriverDatabase\DeviceIds\PCI\VEN_1&DEV_2", "oem0.inf", Value::binary([1, 0xFF, 0, 0])),
        (r"DriverDatabase\DeviceIds\PCI\VEN_1", "oem0.inf", Value::binary([2, 0xFE, 1, 0])),
        (r"DriverDatabase\DeviceIds\{4d36e972-e325-11ce-bfc1-08002be10318}", "oem0.inf", Value::new(0, [])),
        (r"DriverDatabase\DriverInfFiles\oem0.inf", "Active", Value::sz("nic.inf_amd64_0123456789abcdef")),
        (package, "", Value::sz("oem0.inf")),
        (package, "InfName", Value::sz("nic.inf")),
        (package, "SignerScore", Value::dword(0x0d00_0005)),
        (package, "Version", Value::binary(version.to_bytes())),
        (&format!(r"{package}\Configurations\Nic.NT"), "Service", Value::sz("nic")),
        (&format!(r"{package}\Configurations\Nic.NT\Services\nic\Parameters"), "A", Value::dword(1)),
        (&format!(r"{package}\Descriptors\pci\ven_1&dev_2"), "Configuration", Value::sz("NIC.nt")),
        (&format!(r"{package}\Descriptors\pci\ven_1&dev_2"), "Description", Value::sz("%Nic.Desc%")),
        (&format!(r"{package}\Strings"), "nic.desc", Value::sz("A card")),
    ];
    for (path, name, value) in values {
        let key = hive.create_key(path).unwrap();
        hive.set_value(key, name, value).unwrap();
    }
    hive
}

#[test]
fn reads_packages_and_their_devices() {
    let database = Database::of_hives(&sample(), None);
    assert_eq!(database.notes(), [""; 0]);
    let package = database.published("OEM0.inf").unwrap();
    assert_eq!(
        (package.class.as_deref(), package.version, package.is_inbox),
        (Some("Net"), Version([1, 2, 3, 4]), false)
    );
    assert_eq!(package.devices.len(), 2);
    let candidate = database.candidates(r"PCI\ven_1&DEV_2").next().unwrap();
    assert_eq!(candidate.configuration.unwrap().service.as_deref(), Some("nic"));
    assert_eq!(candidate.configuration.unwrap().services, ["nic"]);
    assert_eq!(package.text(candidate.device.description.as_deref().unwrap()), "A card");
    assert!(candidate.is_hardware_id());
    let general = database.candidates(r"PCI\VEN_1").next().unwrap();
    assert_eq!((general.device.kind, general.device.feature, general.device.index), (Some(2), 0xFE, 1));
    assert!(general.configuration.is_none() && !general.is_hardware_id());
    assert_eq!(database.candidates(r"PCI\VEN_3").count(), 0);
}

#[test]
fn damage_is_noted() {
    let mut hive = sample();
    let root = hive.open("DriverDatabase").unwrap();
    let long = "x".repeat(200);
    let changes = [
        (r"DriverPackages\nic.inf_amd64_0123456789abcdef", "Version", Value::binary([0; 47])),
        (r"DriverPackages\nameless", "Version", Value::binary([0; 48])),
        (r"DriverInfFiles\oem1.inf", "Active", Value::sz("nothing")),
        (r"DeviceIds\PCI\VEN_9", "oem9.inf", Value::binary([1, 0xFF, 0, 0])),
        (r"DeviceIds\PCI\VEN_1", "oem0.inf", Value::binary([1, 0xFF, 0])),
        (&format!(r"DeviceIds\{long}\{long}\{long}"), "oem0.inf", Value::binary([1, 0xFF, 0, 0])),
    ];
    for (path, name, value) in changes {
        let key = hive.create_key_at(root, path).unwrap();
        hive.set_value(key, name, value).unwrap();
    }
    let database = Database::of_hives(&hive, Some(&Hive::new("DRIVERS", FileTime(1)).unwrap()));
    for word in ["sound Version", "published name", "'nothing'", "oem9.inf", "3 bytes", "too long", "DRIVERS"] {
        assert!(database.notes().iter().any(|note| note.contains(word)), "{word}: {:?}", database.notes());
    }
    assert_eq!(database.candidates(r"PCI\VEN_1&DEV_2").count(), 1, "the rest counts");
}

#[test]
fn notes_end() {
    let mut hive = sample();
    for number in 0..500 {
        let key = hive.create_key(&format!(r"DriverDatabase\DriverPackages\p{number}")).unwrap();
        hive.set_value(key, "x", Value::dword(0)).unwrap();
    }
    assert_eq!(Database::of_hives(&hive, None).notes().len(), 100);
}
