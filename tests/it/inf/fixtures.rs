//! INF files of our own: every directive, and everything that can be wrong.

use std::time::{Duration, Instant};

use nanovhd::base::Machine;
use nanovhd::error::{Error, Kind, Result};
use nanovhd::format::hive::{Value, kind};
use nanovhd::windows::drivers::{
    ConfigurationValue, Driver, IdKind, ProductType, RegistryAction, TargetOs, compile, database_flag,
};

use super::{SERVER_2016, package};

/// A network adapter in a multi-function card, with all that an INF file can say about one.
const EVERYTHING: &str = r#"; everything
[Version]
Signature   = "$WINDOWS NT$"
Class       = System
ClassGuid   = {4D36E97D-E325-11CE-BFC1-08002BE10318}
Provider    = %Maker%
CatalogFile.NTamd64 = every.cat
DriverVer   = 02/29/2016, 1.2.3
PnpLockdown = 0

[Manufacturer]
%Maker% = Cards, NTx86, NTamd64.6.1, NTamd64.10.0, NTamd64.10.0...17763

[Cards.NTx86]
%Old% = Old, PCI\VEN_FFFE&DEV_0001
[Cards.NTamd64.6.1]
%Old% = Old, PCI\VEN_FFFE&DEV_0001
[Cards.NTamd64.10.0]
%Card.Desc% = Card, PCI\VEN_FFFE&DEV_0001, PCI\VEN_FFFE&DEV_0002, \
              PCI\VEN_FFFE
"Plain name" = Null, PCI\VEN_FFFE&DEV_0003
%Second% = card, PCI\VEN_FFFE&DEV_0002
[Cards.NTamd64.10.0...17763]

[Old]
[Card]
CopyFiles = NoSuchList ; never looked at: the decorated section comes first
[Card.NTamd64]
Include = Machine.inf
Needs = Shared.Section
CopyFiles = Card.Files, @direct.dat, Store.Files, Elsewhere.Files
AddReg = Card.Reg
DelReg = Card.Del
BitReg = Card.Bits
AddProperty = Card.Properties
FeatureScore = D0
ExcludeID = PCI\VEN_FFFE&DEV_0009, PCI\VEN_FFFE&DEV_000A
Reboot
*IfType = 6
LogConfig = Card.Log
DelFiles = Card.Files
UpdateInis = Card.Ini
Florblify = 1

[Card.Files]
card.sys,,,0x00004002
renamed.dll, source.dll
[Store.Files]
inner.dll
[Elsewhere.Files]
help.chm,,,0x400

[DestinationDirs]
DefaultDestDir = 11
Card.Files = 12
Store.Files = 13
Elsewhere.Files = 10, "help files\\deep"

[SourceDisksNames.amd64]
1 = %Disk%,,,\x64
2 = %Disk%
[SourceDisksFiles.amd64]
card.sys = 1
[SourceDisksFiles]
card.sys = 9,wrong
source.dll = 1,sub
direct.dat = 2
inner.dll = 2
help.chm = 2

[Card.Reg]
HKR,, Text, , "a, ""quoted"" %Maker%"
HKR,, Expand, 0x20000, "%%SystemRoot%%\x;%11%\y"
HKR,, Plain, 0, %12%\z
HKR, Sub\Key, Number, 0x10001, 0xFFFFFFFF
HKR, Sub\Key, Negative, 0x10001, -2
HKR, Sub\Key, FourBytes, 0x10001, 78,56,34,12
HKR, Sub\Key, Bytes, 1, 00,ff, 0x1A, \ ; goes on
  7
HKR, Sub\Key, None, 0x20001
HKR, Sub\Key, Quad, 0x000B0001, 1,0,0,0,0,0,0,0
HKR, Sub\Key, List, 0x10000, one, "", "two, three"
HKR, Sub\Key, Softly, 0x10003, 5
HKR, Sub\Key, More, 0x10008, last
HKR, Sub\Key, Gone, 4
HKR, Made\Key
HKR, Made\Too,, 0x10
HKR,, EnumPropPages32, 0, "card.dll,Pages"
HKR, Sub\Key, OnlyOver, 0x10021, 1
HKLM, Software\Maker, Wide, 0x10001, 1
HKLM, SOFTWARE\Maker, Narrow, 0x14001, 1
HKCR, .card, , , CardFile
HKU, .DEFAULT\Maker, Softly, 0x2, x
HKCU, Maker, More, 0x10008, a, b
HKXX, Maker, x, , y
[Card.Del]
HKR,, Stale
HKR, Stale\Key
HKLM, Software\Maker\Stale
HKLM, Software\Maker, Stale
HKLM, Software\Maker, List, 0x18002, text
[Card.Bits]
HKR,, Bits, 0, 0x08, 1
[Card.Properties]
DeviceModel,,,, "Model %Second%"
{11111111-2222-3333-4444-555555555555}, 10, 7,, 0x12345678
{11111111-2222-3333-4444-555555555555}, 11, 17,, 1
{11111111-2222-3333-4444-555555555555}, 12, 8210,, a, b
{11111111-2222-3333-4444-555555555555}, 13, 13,, {00000001-0002-0003-0405-060708090a0b}
{11111111-2222-3333-4444-555555555555}, 14, 99,, 1

[Card.NTamd64.HW]
AddReg = Card.HW.Reg
[Card.HW.Reg]
HKR,, UpperFilters, 0x10000, "above"
HKR,, UpperFilters, 0x10008, "above", "over"
HKR,, LowerFilters, 0x10008, "below"
HKR,, Security,, "D:P(A;;GA;;;SY)"
HKR,, DeviceCharacteristics, 0x10001, 0x100
HKR,, FriendlyName,, %Second%
HKR,, HwValue, 0x10001, 9

[Card.NTamd64.Services]
AddService = card, 0x2, Card.Service, Card.Log.Section
AddService = helper,, Helper.Service
DelService = ancient
[Card.Service]
DisplayName    = %Card.Name%
Description    = "Moves %Second%"
ServiceType    = %SERVICE_KERNEL_DRIVER%
StartType      = 0x0
ErrorControl   = 1
ServiceBinary  = %12%\card.sys
LoadOrderGroup = System Bus Extender
Dependencies   = pci, +Group
Security       = "D:P(A;;GA;;;SY)"
BootFlags      = 0x10
AddReg         = Card.Service.Reg
DelReg         = Card.Service.Del
AddTrigger     = Card.Trigger
[Card.Service.Reg]
HKR, Parameters, Depth, 0x10003, 3
HKR, Parameters\Made
HKLM, SYSTEM\CurrentControlSet\Control\Card, On, 0x10001, 1
[Card.Service.Del]
HKR, Parameters, Stale
[Helper.Service]
ServiceType = 0x10
StartType = 3
ErrorControl = 0
ServiceBinary = "%13%\helper.exe -k card"
StartName = LocalSystem
[Card.Log.Section]
AddReg = Card.Log.Reg
[Card.Log.Reg]
HKR,, EventMessageFile, 0x20000, "%%SystemRoot%%\System32\drivers\card.sys"
HKR,, TypesSupported, 0x10001, 7

[Card.NTamd64.CoInstallers]
AddReg = Card.Co.Reg
CopyFiles = Card.Co.Files
[Card.Co.Reg]
HKR,, CoInstallers32, 0x10000, "cardco.dll,Entry"
[Card.Co.Files]
direct.dat
[Card.NTamd64.Interfaces]
AddInterface = {AD498944-762F-11D0-8DCA-00C04FC3358C}, %Ref%, Card.Interface
[Card.Interface]
[Card.NTamd64.Wdf]
KmdfService = card, Card.Wdf
UmdfService = umcard, Umcard.Wdf
UmdfServiceOrder = umcard
UmdfKernelModeClientPolicy = AllowKernelModeClients
[Card.Wdf]
KmdfLibraryVersion = 1.15
[Umcard.Wdf]
UmdfLibraryVersion = 2.15.0
[Card.NTamd64.Components]
AddComponent = thing,, Card.Thing
[Card.NTamd64.Software]
AddSoftware = thing,, Card.Thing
[Card.NTamd64.Events]
AddEventProvider = {11111111-2222-3333-4444-555555555555}, Card.Thing
[Card.NTamd64.Filters]
AddFilter = over,, Card.Thing
[Card.NTamd64.LogConfigOverride]
LogConfig = Card.Log
[Card.NTamd64.Zork]
Anything = 1

[Null]
[Null.Services]
AddService = , 2
[ControlFlags]
ExcludeFromSelect = *

[Strings.0407]
Card.Desc = "Karte"
OnlyGerman = "nur hier"
[Strings]
Maker = "Acme, Inc."
Card.Desc = "The card"
Second = "Second card"
Old = "Old card"
Card.Name = "Card service"
Disk = "Disk"
SERVICE_KERNEL_DRIVER = 1
Ref = ""
"#;

const MACHINE_INF: &str = r#"[Version]
Signature = "$Windows NT$"
[Shared.Section]
Include = pci.inf
Needs = Pci.Section
AddReg = Shared.Reg
CopyFiles = Shared.Files
[Shared.Reg]
HKR,, FromMachine,, %Where%
HKR,, Text,, "the card's own text comes after this"
[Strings]
Where = "machine.inf"
"#;

const PCI_INF: &str = "[Pci.Section]\nAddReg = Pci.Reg\n[Pci.Reg]\nHKR, Pci, Depth, 0x10001, 1\n";

const FILES: [&str; 7] =
    ["every.cat", r"x64\card.sys", r"x64\sub\source.dll", "direct.dat", "inner.dll", "help.chm", "readme.txt"];

#[expect(clippy::unnecessary_wraps, reason = "the compiler's callback may fail")]
fn inbox(name: &str) -> Result<Option<Vec<u8>>> {
    let inf = [("machine.inf", MACHINE_INF), ("pci.inf", PCI_INF)];
    Ok(inf.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, text)| text.as_bytes().to_vec()))
}

fn compiled(inf: &str, target: &TargetOs) -> Result<Driver> {
    let files = FILES.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec()));
    compile(&package("Every.inf", files.chain([("Every.inf".to_owned(), inf.as_bytes().to_vec())])), target, &inbox)
}

fn everything() -> Driver {
    compiled(EVERYTHING, &SERVER_2016).unwrap()
}

/// The line that starts with a text, counted from 1.
fn line(start: &str) -> usize {
    1 + EVERYTHING.lines().position(|line| line.starts_with(start)).unwrap()
}

fn value<'v>(values: &'v [ConfigurationValue], key: &str, name: &str) -> &'v Value {
    let found = values.iter().filter(|value| value.key == key).filter_map(|value| value.value.as_ref());
    let mut found = found.filter(|(own, _)| own == name).map(|(_, value)| value);
    let value = found.next().unwrap_or_else(|| panic!("no {key} {name} in {values:#?}"));
    assert!(found.next().is_none(), "{key} {name} is there twice");
    value
}

#[test]
fn the_head_is_read() {
    let driver = everything();
    assert_eq!((driver.class.as_str(), driver.provider.as_str()), ("System", "Acme, Inc."));
    assert_eq!(driver.catalog.as_deref(), Some("every.cat"));
    assert_eq!((driver.date.to_string().as_str(), driver.version.0), ("2016-02-29T00:00:00.0000000Z", [1, 2, 3, 0]));
    assert_eq!((driver.lockdown, driver.extension, driver.machine), (Some(false), None, Machine::Amd64));
    assert!(driver.package_name.starts_with("every.inf_amd64_"));
}

#[test]
fn devices_are_those_of_the_best_models() {
    let driver = everything();
    let devices: Vec<_> = driver
        .devices
        .iter()
        .map(|device| (device.id.as_str(), device.kind, device.feature, device.index, device.description.as_str()))
        .collect();
    assert_eq!(
        devices,
        [
            (r"PCI\VEN_FFFE&DEV_0001", IdKind::Hardware, 0xD0, 0, "%card.desc%"),
            // Two models have this one, and the last of them counts.
            (r"PCI\VEN_FFFE&DEV_0002", IdKind::Hardware, 0xD0, 0, "%second%"),
            (r"PCI\VEN_FFFE", IdKind::Compatible, 0xD0, 1, "%card.desc%"),
            (r"PCI\VEN_FFFE&DEV_0003", IdKind::Hardware, 0xFF, 0, "Plain name"),
        ]
    );
    let names: Vec<_> = driver.configurations.iter().map(|own| (own.name.as_str(), own.scope)).collect();
    assert_eq!(names, [("Card.NTamd64", 0x10F), ("Null", 5)]);
    let strings: Vec<_> = driver.strings.iter().map(|(token, text)| (token.as_str(), text.as_str())).collect();
    assert_eq!(strings, [("card.desc", "The card"), ("maker", "Acme, Inc."), ("second", "Second card")]);
}

#[test]
fn configurations_have_what_their_sections_say() {
    let driver = everything();
    let [card, null] = driver.configurations.as_slice() else { panic!("two configurations") };
    assert_eq!((card.service.as_deref(), null.service.as_deref()), (Some("card"), Some("")));
    assert_eq!(card.included, ["Machine.inf", "pci.inf"]);
    assert_eq!((card.upper_filters.join(" "), card.lower_filters.join(" ")), ("above over".into(), "below".into()));
    assert_eq!(card.exclude_ids, [r"PCI\VEN_FFFE&DEV_0009", r"PCI\VEN_FFFE&DEV_000A"]);
    assert!(card.reboot && !null.reboot && null.values.is_empty());
    let at = |key: &str, name: &str| value(&card.values, key, name);
    assert_eq!(at("Driver", "Text"), &Value::sz("a, \"quoted\" Acme, Inc."));
    assert_eq!(at("Driver", "Expand"), &Value::expand_sz(r"%SystemRoot%\x;%SystemRoot%\System32\y"));
    assert_eq!(at("Driver", "Plain"), &Value::sz(r"C:\Windows\System32\drivers\z"));
    let sub = |name: &str| at(r"Driver\Sub\Key", name);
    assert_eq!(sub("Number"), &Value::dword(u32::MAX));
    assert_eq!(sub("Negative"), &Value::dword(0xFFFF_FFFE));
    assert_eq!(sub("FourBytes"), &Value::dword(0x1234_5678));
    assert_eq!(sub("Bytes"), &Value::binary([0, 0xFF, 0x1A, 7]));
    assert_eq!(sub("None"), &Value::new(kind::NONE, []));
    assert_eq!(sub("Quad"), &Value::qword(1));
    assert_eq!(sub("List"), &Value::multi_sz(["one", "two, three"]));
    assert_eq!(sub("Softly"), &Value::new(kind::DWORD | database_flag::NO_CLOBBER, [5, 0, 0, 0]));
    let more = Value::multi_sz(["last"]);
    assert_eq!(sub("More"), &Value::new(kind::MULTI_SZ | database_flag::APPEND, more.data));
    assert_eq!(sub("Gone"), &Value::new(database_flag::DELETE_VALUE, []));
    assert_eq!(at("Driver", "Stale"), &Value::new(database_flag::DELETE_VALUE, []));
    assert_eq!(at(r"Driver\Stale", "Key"), &Value::new(database_flag::DELETE_KEY, []));
    for key in [r"Driver\Made\Key", r"Driver\Made\Too", r"Services\card\Parameters\Made"] {
        assert!(card.values.contains(&ConfigurationValue { key: key.into(), value: None }), "{key}");
    }
    assert_eq!(at("Driver", "FromMachine"), &Value::sz("machine.inf"));
    assert_eq!(at(r"Driver\Pci", "Depth"), &Value::dword(1));
    assert_eq!(at("Device", "HwValue"), &Value::dword(9));
    let interface = r"Interfaces\{ad498944-762f-11d0-8dca-00c04fc3358c}";
    assert!(card.values.contains(&ConfigurationValue { key: interface.into(), value: None }));
    assert_eq!(at("Device", "WUDF"), &Value::new(database_flag::DELETE_KEY, []));
    assert_eq!(at(r"Device\WUDF", "DriverList"), &Value::multi_sz(["umcard"]));
    assert_eq!(at(r"Device\WUDF", "KernelModeClientPolicy"), &Value::dword(1));
    let depth = Value::new(kind::DWORD | database_flag::NO_CLOBBER, [3, 0, 0, 0]);
    assert_eq!(at(r"Services\card\Parameters", "Depth"), &depth);
    assert!(card.values.iter().all(|value| value.value.as_ref().is_none_or(|(name, _)| name != "CoInstallers32")));
}

#[test]
fn properties_are_properties() {
    let driver = everything();
    let at = |set: &str, id: &str| {
        let value = value(&driver.configurations[0].values, &format!(r"Properties\{set}\{id}"), "");
        (value.kind & 0xFFFF, value.data.clone())
    };
    let device = "{a45c254e-df1c-4efd-8020-67d146a850e0}";
    let security = [&[1, 0, 4, 0x90][..], &[0; 12], &[0x14, 0, 0, 0], &[2, 0, 0x1C, 0, 1, 0, 0, 0]].concat();
    let entry = [0, 0, 0x14, 0, 0, 0, 0, 0x10, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    assert_eq!(at(device, "0019"), (0x13, [security, entry.to_vec()].concat()));
    assert_eq!(at(device, "001D"), (7, vec![0, 1, 0, 0]));
    assert_eq!(at(device, "000E"), (0x12, Value::sz("Second card").data));
    assert_eq!(at("{a8b865dd-2e3d-4094-ad97-e593a70c75d6}", "000A"), (0x12, Value::sz("card.dll,Pages").data));
    assert_eq!(at("{cf73bb51-3abf-44a2-85e0-9a3dc7a12132}", "0002"), (0x12, Value::sz("Model Second card").data));
    let own = "{11111111-2222-3333-4444-555555555555}";
    assert_eq!(at(own, "000A"), (7, vec![0x78, 0x56, 0x34, 0x12]));
    assert_eq!(at(own, "000B"), (0x11, vec![0xFF]));
    assert_eq!(at(own, "000C"), (0x2012, Value::multi_sz(["a", "b"]).data));
    assert_eq!(at(own, "000D"), (0xD, vec![1, 0, 0, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11]));
}

#[test]
fn services_are_complete() {
    let driver = everything();
    let [card, helper] = driver.services.as_slice() else { panic!("two services") };
    assert_eq!((card.kind, card.start, card.error_control, card.flags), (1, 0, 1, 2));
    assert_eq!(card.image_path, r"System32\drivers\card.sys");
    assert_eq!(card.display_name.as_deref(), Some("%Card.Name%"));
    assert_eq!(card.description.as_deref(), Some("Moves %Second%"));
    assert_eq!(driver.indirect("%Card.Name%", "oem7.inf"), "@oem7.inf,%Card.Name%;Card service");
    assert_eq!(driver.indirect("plain", "oem7.inf"), "plain");
    assert_eq!(
        (card.group.as_deref(), card.dependencies.join(" ")),
        (Some("System Bus Extender"), "pci +Group".into())
    );
    assert_eq!((card.security.as_deref(), card.start_name.as_deref()), (Some("D:P(A;;GA;;;SY)"), None));
    assert_eq!(card.line, line("AddService = card"));
    assert_eq!(value(&card.values, "", "BootFlags"), &Value::dword(16));
    assert_eq!(value(&card.values, "Parameters", "Depth"), &Value::dword(3), "without the flags of the database");
    assert_eq!(value(&card.values, r"Parameters\Wdf", "KmdfLibraryVersion"), &Value::sz("1.15"));
    assert_eq!(card.deletions, [("Parameters".to_owned(), Some("Stale".to_owned()))]);
    let log = card.event_log.as_ref().unwrap();
    assert_eq!((log.log.as_str(), log.source.as_str()), ("System", "card"));
    assert_eq!(value(&log.values, "", "TypesSupported"), &Value::dword(7));
    let store = format!(r"%SystemRoot%\System32\DriverStore\FileRepository\{}\helper.exe -k card", driver.package_name);
    assert_eq!((helper.kind, helper.image_path.as_str()), (0x10, store.as_str()));
    assert_eq!(helper.start_name.as_deref(), Some("LocalSystem"));
    for (written, path) in [
        ("%13%\\card.sys", format!(r"System32\DriverStore\FileRepository\{}\card.sys", driver.package_name)),
        ("System32\\drivers\\card.sys", r"System32\drivers\card.sys".to_owned()),
        ("%%SystemRoot%%\\card.sys", r"%SystemRoot%\card.sys".to_owned()),
    ] {
        let inf = EVERYTHING.replacen("%12%\\card.sys\nLoad", &format!("{written}\nLoad"), 1);
        let other = compiled(&inf, &SERVER_2016).unwrap();
        let own = other.services[0].image_path.replace(&other.package_name, &driver.package_name);
        assert_eq!(own, path);
    }
    assert!(driver.services.iter().all(|service| service.included_from.is_none()));
}

#[test]
fn files_are_found_and_copied() {
    let driver = everything();
    assert_eq!(
        driver.files,
        ["direct.dat", "every.cat", "Every.inf", "help.chm", "inner.dll", r"x64\card.sys", r"x64\sub\source.dll"]
    );
    let copies: Vec<_> = driver.copies.iter().map(|copy| (copy.source.as_str(), copy.target.as_str())).collect();
    assert_eq!(
        copies,
        [
            ("direct.dat", r"\Windows\System32\direct.dat"),
            (r"x64\card.sys", r"\Windows\System32\drivers\card.sys"),
            (r"x64\sub\source.dll", r"\Windows\System32\drivers\renamed.dll"),
        ]
    );
    assert_eq!(driver.copies[1].line, line("card.sys,,,"));
}

#[test]
fn the_registry_at_large_is_listed() {
    let driver = everything();
    let changes: Vec<_> = driver.registry.iter().map(|change| (change.key.as_str(), change.action.clone())).collect();
    let set = |name: &str, value: Value| RegistryAction::Set(name.into(), value);
    assert_eq!(
        changes,
        [
            (r"HKEY_LOCAL_MACHINE\Software\Maker", set("Wide", Value::dword(1))),
            (r"HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\Maker", set("Narrow", Value::dword(1))),
            (r"HKEY_CLASSES_ROOT\.card", set("", Value::sz("CardFile"))),
            (r"HKEY_USERS\.DEFAULT\Maker", RegistryAction::SetIfAbsent("Softly".into(), Value::sz("x"))),
            (r"HKEY_CURRENT_USER\Maker", RegistryAction::Append("More".into(), vec!["a".into(), "b".into()])),
            (r"HKEY_LOCAL_MACHINE\Software\Maker\Stale", RegistryAction::DeleteKey),
            (r"HKEY_LOCAL_MACHINE\Software\Maker", RegistryAction::DeleteValue("Stale".into())),
            (r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Card", set("On", Value::dword(1))),
        ]
    );
    assert_eq!(driver.registry[0].line, line("HKLM, Software\\Maker, Wide"));
}

#[test]
fn nothing_is_left_out_without_a_word() {
    let driver = everything();
    for (start, word) in [
        ("*IfType = 6", "network setup"),
        ("LogConfig = Card.Log", "resources"),
        ("DelFiles = Card.Files", "no earlier version"),
        ("UpdateInis", ".ini"),
        ("Florblify", "not known"),
        ("help.chm,,,0x400", "replace a file"),
        ("HKR, Sub\\Key, OnlyOver", "left to Windows"),
        ("HKXX", "no line about the registry"),
        ("HKLM, Software\\Maker, List, 0x18002", "left to Windows"),
        ("HKR,, Bits", "bits"),
        ("{11111111-2222-3333-4444-555555555555}, 14, 99", "type 0x63"),
        ("DelService", "left to Windows"),
        ("AddTrigger", "not known in a service section"),
        ("AddReg = Card.Co.Reg", "co-installer"),
        ("AddInterface", "left to Windows"),
        ("UmdfService = ", "left to Windows"),
        ("AddComponent", "components"),
        ("AddSoftware", "software"),
        ("AddEventProvider", "event providers"),
        ("AddFilter", "does not know filters"),
        ("[Card.NTamd64.Zork]", "not known"),
        ("[ControlFlags]", "left to Windows"),
    ] {
        let line = line(start);
        let said = driver.notes.iter().any(|note| note.line == line && note.text.contains(word));
        assert!(said, "nothing about line {line} ({start}) with {word:?}: {:#?}", driver.notes);
    }
    // What an included file asks for and is not done is said where the model is.
    let included = driver.notes.iter().find(|note| note.text.contains("the image's own")).unwrap();
    assert_eq!(included.line, line("%Card.Desc%"));
    assert!(included.text.starts_with("Machine.inf, line 7:"), "{}", included.text);
    assert_eq!(driver.notes.len(), 24, "{:#?}", driver.notes);
}

#[test]
fn the_target_decides() {
    let client = TargetOs { build: 17763, product: ProductType::Workstation, ..SERVER_2016 };
    // The section for 17763 is empty: the maker keeps the device from it.
    let refused = compiled(EVERYTHING, &client).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    let seven = TargetOs { major: 6, minor: 1, build: 7601, ..SERVER_2016 };
    assert_eq!(compiled(EVERYTHING, &seven).unwrap().configurations[0].name, "Old");
    let arm = TargetOs { machine: Machine::Arm64, ..SERVER_2016 };
    let refused = compiled(EVERYTHING, &arm).unwrap_err();
    assert_eq!(refused.kind(), Kind::WrongMachine);
    let text = refused.to_string();
    for word in [r"memory\Every.inf", "line 11", "NTx86, NTamd64.6.1, NTamd64.10.0", "NTarm64.10.0...14393"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// Compiles everything with one text in the place of another.
fn broken(old: &str, new: &str) -> Error {
    assert!(EVERYTHING.contains(old), "{old}");
    compiled(&EVERYTHING.replacen(old, new, 1), &SERVER_2016).expect_err(new)
}

#[test]
fn mistakes_name_their_lines() {
    for (old, new, start, word) in [
        ("CopyFiles = Card.Files, @direct.dat", "CopyFiles = Nowhere", "CopyFiles = Card.Files", "[Nowhere]"),
        ("AddReg = Card.Reg", "AddReg = Nowhere", "AddReg = Card.Reg", "[Nowhere]"),
        ("card, 0x2, Card.Service", "card, 0x2, Nowhere", "AddService = card", "[Nowhere]"),
        ("card, 0x2, Card.Service", "card, two, Card.Service", "AddService = card", "two"),
        ("Needs = Shared.Section", "Needs = Nowhere", "Needs = Shared", "Nowhere"),
        ("Needs = Shared.Section", "Needs = Card.NTamd64", "Needs = Shared", "circle"),
        ("%Card.Desc% = Card,", "%Card.Desc% = Nowhere,", "%Card.Desc% =", "[Nowhere]"),
        ("inner.dll\n[Else", "missing.dll\n[Else", "inner.dll", "missing.dll"),
        ("renamed.dll, source.dll", "..\\up.dll, source.dll", "renamed.dll", "up.dll"),
        ("Card.Files = 12", "Card.Files = 12, ..\\..", "Card.Files = 12", ".."),
        ("Card.Files = 12", "Card.Files = twelve", "Card.Files = 12", "twelve"),
        ("Number, 0x10001, 0xFFFFFFFF", "Number, 0x10001, many", "HKR, Sub\\Key, Number", "many"),
        ("Bytes, 1, 00,ff", "Bytes, 1, 00,fff", "HKR, Sub\\Key, Bytes", "fff"),
        ("StartType      = 0x0", "StartType      = soon", "StartType      =", "soon"),
        ("%12%\\card.sys\nLoad", "%99%\\card.sys\nLoad", "ServiceBinary  =", "%99%"),
        ("ServiceType    = %SERVICE_KERNEL_DRIVER%\n", "\n", "AddService = card", "ServiceType"),
        ("FeatureScore = D0", "FeatureScore = D00", "FeatureScore", "D00"),
        ("10, 7,, 0x12345678", "ten, 7,, 0", "{11111111-2222-3333-4444-555555555555}, 10", "ten"),
        ("{AD498944-762F-11D0-8DCA-00C04FC3358C}", "{AD498944}", "AddInterface", "{AD498944}"),
        ("02/29/2016", "02/30/2016", "DriverVer", "02/30/2016"),
    ] {
        let error = broken(old, new);
        let text = error.to_string();
        assert!(text.contains(&format!("line {}:", line(start))) && text.contains(word), "{new}: {text}");
        assert!(text.starts_with(r"memory\Every.inf: "), "{text}");
        assert_eq!(error.kind(), Kind::Corrupt, "{text}");
    }
    let error = broken("Include = Machine.inf", "Include = other.inf");
    assert!(error.hint_text().unwrap().contains("other.inf"), "{error}");
}

#[test]
fn an_include_that_nothing_needs_is_no_error() {
    let inf = EVERYTHING.replacen("Include = Machine.inf", "Include = Machine.inf, other.inf", 1);
    let driver = compiled(&inf, &SERVER_2016).unwrap();
    assert!(driver.notes.iter().any(|note| note.text.contains("other.inf") && note.line == line("Include = ")));
    assert_eq!(driver.configurations[0].included, ["Machine.inf", "pci.inf"]);
}

#[test]
fn circles_between_files_end() {
    let loops = |name: &str| -> Result<Option<Vec<u8>>> {
        Ok(match name {
            "Machine.inf" => Some(b"[Shared.Section]\nInclude=b.inf\nNeeds=B\n".to_vec()),
            "b.inf" => Some(b"[B]\nInclude=machine.inf\nNeeds=Shared.Section\n".to_vec()),
            _ => None,
        })
    };
    let files = FILES.iter().map(|name| ((*name).to_owned(), Vec::new()));
    let package = package("Every.inf", files.chain([("Every.inf".to_owned(), EVERYTHING.into())]));
    let error = compile(&package, &SERVER_2016, &loops).unwrap_err().to_string();
    assert!(error.contains("circle") && error.contains("b.inf: line 3"), "{error}");
}

#[test]
fn an_extension_has_no_service_of_its_own() {
    let inf = EVERYTHING
        .replacen(
            "Class       = System",
            "Class       = Extension\nExtensionId = {11111111-2222-3333-4444-555555555555}",
            1,
        )
        .replacen("4D36E97D-E325-11CE-BFC1-08002BE10318", "E2F84CE7-8EFA-411C-AA69-97454CA4CB57", 1);
    let driver = compiled(&inf, &SERVER_2016).unwrap();
    assert_eq!(driver.extension.unwrap().to_string(), "11111111-2222-3333-4444-555555555555");
    assert!(driver.notes.iter().any(|note| note.text.contains("an extension has no function driver")));
}

#[test]
fn what_refers_to_itself_often_ends_soon() {
    let start = Instant::now();
    let list = "Big,".repeat(100_000);
    let big = "HKR,,%Maker%,,x\n".repeat(10_000);
    let inf = EVERYTHING.replacen("AddReg = Card.Reg", &format!("AddReg = {list}"), 1) + "[Big]\n" + &big;
    let error = compiled(&inf, &SERVER_2016).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    // A chain of sections that need each other, and one text that stands for much.
    let chain: String = (0..10_000).map(|at| format!("[C{at}]\nNeeds=C{}\n", at + 1)).collect();
    let inf = EVERYTHING.replacen("Needs = Shared.Section", "Needs = C0", 1) + &chain;
    assert!(compiled(&inf, &SERVER_2016).unwrap_err().to_string().contains("sections that need sections"));
    let doubling: String = (0..30).map(|at| format!("[D{at}]\nNeeds=D{0},D{0}\n", at + 1)).collect();
    let inf = EVERYTHING.replacen("Needs = Shared.Section", "Needs = D0", 1) + &doubling + "[D30]\nAddReg=Card.Reg\n";
    assert_eq!(compiled(&inf, &SERVER_2016).unwrap_err().kind(), Kind::Unsupported);
    let text = format!("[Strings]\na={}\n[x]\n{}", "y".repeat(100_000), "%a%,%a%,%a%\n".repeat(10_000));
    assert_eq!(compiled(&text, &SERVER_2016).unwrap_err().kind(), Kind::Unsupported);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn mutations_do_no_harm() {
    let bytes = EVERYTHING.as_bytes();
    let mut outcomes = [0_usize; 2];
    let mut try_one = |bytes: &[u8]| {
        let files = FILES.iter().map(|name| ((*name).to_owned(), Vec::new()));
        let package = package("Every.inf", files.chain([("Every.inf".to_owned(), bytes.to_vec())]));
        outcomes[usize::from(compile(&package, &SERVER_2016, &inbox).is_ok())] += 1;
    };
    for len in (0..bytes.len()).step_by(11) {
        try_one(&bytes[..len]);
    }
    for (step, byte) in
        [(7, b'"'), (13, b'%'), (17, b'\n'), (19, b','), (23, b'['), (29, b'='), (31, b'\\'), (37, 0xFF)]
    {
        for at in (0..bytes.len()).step_by(step) {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            try_one(&bytes);
        }
    }
    println!("{} refused, {} compiled", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}
