//! The drivers of virtio-win for Windows Server 2016: what their INF files say, read by eye, and the layout of packages that DISM put
//! into images (the database of a Windows 10, and what LXD's distrobuilder has for viostor).

use nanovhd::format::hive::Value;
use nanovhd::windows::drivers::{
    Configuration, ConfigurationValue, CopyOut, Device, Driver, EventLog, IdKind, compile,
};

use super::{SERVER_2016, package_in};
use crate::support::tools::testdata;

fn driver(folder: &str, inf: &str) -> Option<Driver> {
    let path = testdata(format!("drivers/virtio-win-0.1.240/{folder}/2k16/amd64/{inf}"))?;
    let package = package_in(path.parent().unwrap(), inf);
    Some(compile(&package, &SERVER_2016, &|_| Ok(None)).unwrap())
}

fn value(key: &str, name: &str, value: Value) -> ConfigurationValue {
    ConfigurationValue { key: key.into(), value: Some((name.into(), value)) }
}

fn key(key: &str) -> ConfigurationValue {
    ConfigurationValue { key: key.into(), value: None }
}

fn find<'d>(configuration: &'d Configuration, key: &str, name: &str) -> Option<&'d Value> {
    let found = configuration.values.iter().filter(|value| value.key == key);
    found.filter_map(|value| value.value.as_ref()).find(|(own, _)| own == name).map(|(_, value)| value)
}

/// What viostor and vioscsi have in common.
fn check_storage(driver: &Driver, name: &str, description: &str, bus: u32, limit: u32, ids: [&str; 4]) {
    assert_eq!(driver.inf_name, format!("{name}.inf"));
    assert_eq!((driver.class.as_str(), driver.provider.as_str()), ("SCSIAdapter", "Red Hat, Inc."));
    assert_eq!(driver.class_guid.to_string(), "4d36e97b-e325-11ce-bfc1-08002be10318");
    assert_eq!(driver.catalog, Some(format!("{name}.cat")));
    assert_eq!(
        (driver.date.to_string().as_str(), driver.version.0),
        ("2023-07-21T00:00:00.0000000Z", [100, 93, 104, 24000])
    );
    assert_eq!((driver.lockdown, driver.extension), (Some(true), None));
    assert_eq!(driver.files, ["cat", "inf", "sys"].map(|extension| format!("{name}.{extension}")));
    let target = format!(r"\Windows\System32\drivers\{name}.sys");
    assert_eq!(driver.copies.len(), 1);
    assert_eq!((&driver.copies[0].source, &driver.copies[0].target), (&format!("{name}.sys"), &target));

    let [configuration] = driver.configurations.as_slice() else { panic!("one install section") };
    assert_eq!((configuration.name.as_str(), configuration.service.as_deref()), ("scsi_inst", Some(name)));
    assert_eq!((configuration.flags, configuration.scope), (0, 7));
    assert!(configuration.included.is_empty() && configuration.upper_filters.is_empty());
    let interrupts = r"Device\Interrupt Management";
    let messages = r"Device\Interrupt Management\MessageSignaledInterruptProperties";
    assert!(configuration.values.contains(&key(interrupts)));
    assert_eq!(find(configuration, messages, "MSISupported"), Some(&Value::dword(1)));
    assert_eq!(find(configuration, messages, "MessageNumberLimit"), Some(&Value::dword(limit)));
    let affinity = r"Device\Interrupt Management\Affinity Policy";
    assert_eq!(find(configuration, affinity, "DevicePolicy"), Some(&Value::dword(5)));
    let parameters = format!(r"Services\{name}\Parameters");
    assert_eq!(find(configuration, &parameters, "BusType"), Some(&Value::dword(bus)));
    let interface = format!(r"Services\{name}\Parameters\PnpInterface");
    assert_eq!(find(configuration, &interface, "5"), Some(&Value::dword(1)));

    let [service] = driver.services.as_slice() else { panic!("one service") };
    assert_eq!((service.name.as_str(), service.kind, service.start, service.error_control), (name, 1, 0, 1));
    assert_eq!(service.image_path, format!(r"System32\drivers\{name}.sys"));
    assert_eq!((service.group.as_deref(), service.tag, service.flags), (Some("SCSI miniport"), None, 2));
    assert_eq!(
        service.values,
        [value(r"Parameters\PnpInterface", "5", Value::dword(1)), value("Parameters", "BusType", Value::dword(bus))]
    );
    let log = EventLog {
        log: "System".into(),
        source: name.into(),
        values: vec![
            value("", "EventMessageFile", Value::expand_sz(r"%SystemRoot%\System32\IoLogMsg.dll")),
            value("", "TypesSupported", Value::dword(7)),
        ],
    };
    assert_eq!(service.event_log.as_ref(), Some(&log));

    let token = format!("%{description}%");
    let device = |(index, id): (usize, &&str)| Device {
        id: (*id).to_owned(),
        kind: [IdKind::Hardware, IdKind::Compatible][index % 2],
        feature: 0xFF,
        index: 0,
        configuration: "scsi_inst".into(),
        description: token.clone(),
        manufacturer: "%vendor%".into(),
    };
    assert_eq!(driver.devices, ids.iter().enumerate().map(device).collect::<Vec<_>>());
    let tokens: Vec<&str> = driver.strings.iter().map(|(token, _)| token.as_str()).collect();
    assert_eq!(tokens, ["vendor", description], "those of descriptions, and no others");
    assert!(driver.registry.is_empty());
    assert!(driver.notes.is_empty(), "{:?}", driver.notes);
}

#[test]
fn viostor_is_compiled() {
    let Some(driver) = driver("viostor", "viostor.inf") else { return };
    let ids = [
        r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
        r"PCI\VEN_1AF4&DEV_1001",
        r"PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01",
        r"PCI\VEN_1AF4&DEV_1042",
    ];
    check_storage(&driver, "viostor", "viostorscsi.devicedesc", 1, 257, ids);
    assert_eq!(driver.services[0].display_name, None);
    println!("{}", driver.package_name);
}

#[test]
fn vioscsi_is_compiled() {
    let Some(driver) = driver("vioscsi", "vioscsi.inf") else { return };
    let ids = [
        r"PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
        r"PCI\VEN_1AF4&DEV_1004",
        r"PCI\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01",
        r"PCI\VEN_1AF4&DEV_1048",
    ];
    check_storage(&driver, "vioscsi", "virtioscsi.devicedesc", 10, 258, ids);
    assert_eq!(driver.services[0].display_name.as_deref(), Some("%VirtioScsi.SVCDESC%"));
    assert_eq!(
        driver.indirect("%VirtioScsi.SVCDESC%", "oem3.inf"),
        "@oem3.inf,%VirtioScsi.SVCDESC%;Red Hat VirtIO SCSI pass-through Service"
    );
    println!("{}", driver.package_name);
}

#[test]
fn netkvm_is_compiled() {
    let Some(driver) = driver("NetKVM", "netkvm.inf") else { return };
    assert_eq!((driver.class.as_str(), driver.version.0), ("Net", [100, 93, 104, 24000]));
    assert_eq!(driver.files, ["netkvm.cat", "netkvm.inf", "netkvm.sys"], "netkvmco.dll is in no list");
    assert_eq!(
        driver.copies.iter().map(|CopyOut { target, .. }| target.as_str()).collect::<Vec<_>>(),
        [r"\Windows\System32\drivers\netkvm.sys"]
    );
    let [configuration] = driver.configurations.as_slice() else { panic!("one install section") };
    assert_eq!((configuration.name.as_str(), configuration.scope), ("kvmnet6.ndi", 7));
    assert_eq!(configuration.service.as_deref(), Some("netkvm"));
    let at = |key: &str, name: &str| find(configuration, key, name).unwrap_or_else(|| panic!("{key} {name}"));
    assert_eq!(at("Driver", "BusNumber"), &Value::sz("0"));
    assert_eq!(at(r"Driver\Ndi", "Service"), &Value::sz("netkvm"));
    assert_eq!(at(r"Driver\Ndi\Interfaces", "UpperRange"), &Value::sz("ndis5"));
    assert_eq!(at(r"Driver\Ndi\params\*JumboPacket", "default"), &Value::sz("1514"));
    // A comma that comes with a token parts no fields, and the case of tokens is no matter.
    assert_eq!(at(r"Driver\Ndi\Params\OffLoad.TxChecksum\enum", "27"), &Value::sz("TCP/UDP(v4,v6)"));
    assert_eq!(at(r"Driver\Ndi\Params\OffLoad.TxChecksum", "ParamDesc"), &Value::sz("Offload.Tx.Checksum"));
    assert_eq!(at(r"Driver\Ndi\Params\*PriorityVLANTag\enum", "3"), &Value::sz("All"));
    assert_eq!(at(r"Device\Interrupt Management\Affinity Policy", "DevicePriority"), &Value::dword(2));
    assert_eq!(at(r"Services\netkvm", "TextModeFlags"), &Value::dword(1));
    assert_eq!(at(r"Services\netkvm\Parameters", "EarlyDebug"), &Value::sz("3"));
    // 126 lines of [Parameters], 40 of [kvmnet6.Reg], 4 of .HW, 3 of the service; none twice.
    let count = |start: &str| configuration.values.iter().filter(|value| value.key.starts_with(start)).count();
    assert_eq!((count("Driver"), count("Device"), count("Services")), (166, 4, 3));

    let [service] = driver.services.as_slice() else { panic!("one service") };
    assert_eq!((service.kind, service.start, service.error_control), (1, 3, 1));
    assert_eq!(service.image_path, r"\SystemRoot\System32\drivers\netkvm.sys");
    assert_eq!(service.group.as_deref(), Some("NDIS"));
    assert_eq!(driver.service_strings.len(), 1);
    let log = service.event_log.as_ref().unwrap();
    assert_eq!((log.log.as_str(), log.source.as_str(), log.values.len()), ("System", "netkvm", 2));

    let ids: Vec<&str> = driver.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            r"PCI\VEN_1AF4&DEV_1000&SUBSYS_00011AF4&REV_00",
            r"PCI\VEN_1AF4&DEV_1000",
            r"PCI\VEN_1AF4&DEV_1041&SUBSYS_11001AF4&REV_01",
            r"PCI\VEN_1AF4&DEV_1041"
        ]
    );
    // Characteristics, BusType, *IfType, *MediaType and *PhysicalMediaType: said, and nothing else.
    assert_eq!(driver.notes.len(), 5, "{:?}", driver.notes);
    assert!(driver.notes.iter().all(|note| note.text.contains("network setup")));
    println!("{}", driver.package_name);
}
