use std::collections::BTreeMap;

use uuid::{Uuid, uuid};

use super::*;
use crate::base::FileTime;
use crate::error::Kind;
use crate::format::hive::{Hive, Value, kind};

const NOW: FileTime = FileTime(131_000_000_000_000_000);
const LOADER: Uuid = uuid!("01234567-89ab-11ec-8000-00155d000001");
const RESUME: Uuid = uuid!("01234567-89ab-11ec-8000-00155d000002");

fn request(firmware: Firmware, template: Option<&Store>) -> NewStore<'_> {
    NewStore {
        firmware,
        loader_path: r"\Windows\system32\winload.exe",
        system_root: r"\Windows",
        description: "Windows Server",
        locale: "de-DE",
        boot_device: Device::Locate { element: 0 },
        os_device: Device::Locate { element: 0 },
        loader_id: LOADER,
        resume_id: RESUME,
        resume: true,
        memdiag: true,
        template,
    }
}

fn id(name: &str) -> Uuid {
    id_of_name(name).unwrap()
}

/// What bcdboot wrote, with codes as in `Elements`.
fn elements(store: &Store, id: Uuid) -> BTreeMap<String, &Element> {
    store.objects[&id].elements.iter().map(|(code, element)| (format!("{code:08x}"), element)).collect()
}

fn codes(store: &Store, id: Uuid) -> Vec<String> {
    elements(store, id).into_keys().collect()
}

/// A template like those of Windows, in a hive like theirs: root `System`, short integers, a code in capitals.
fn template() -> Hive {
    let mut hive = Hive::new("System", NOW).unwrap();
    let description = hive.create_key("Description").unwrap();
    hive.set_value(description, "KeyName", Value::sz("BCD00000000")).unwrap();
    let mut set = |object: &str, kind: u32, code: &str, value: Value| {
        let key = hive.create_key(&format!(r"Objects\{{{object}}}\Description")).unwrap();
        hive.set_value(key, "Type", Value::dword(kind)).unwrap();
        let key = hive.create_key(&format!(r"Objects\{{{object}}}\Elements\{code}")).unwrap();
        hive.set_value(key, "Element", value).unwrap();
    };
    let loader = "a1943bbc-ea85-487c-97c7-c9ede908a38a";
    set(loader, 0x1020_0003, "12000005", Value::sz("en-US"));
    set(loader, 0x1020_0003, "22000002", Value::sz(r"\windows"));
    set(loader, 0x1020_0003, "23000003", Value::sz("{98b02a23-0674-4ce7-bdad-e0a15a8ff97b}"));
    set(loader, 0x1020_0003, "25000020", Value::binary([1]));
    set(loader, 0x1020_0003, "260000B0", Value::binary([1]));
    set(loader, 0x1020_0003, "42000002", Value::sz(r"\system32\winload.exe"));
    set(loader, 0x1020_0003, "47000006", Value::binary([1, 2, 3]));
    let resume = "98b02a23-0674-4ce7-bdad-e0a15a8ff97b";
    set(resume, 0x1020_0004, "42000002", Value::sz(r"\system32\other.exe"));
    let bootmgr = "9dea862c-5cdd-4e70-acc1-f32b344d4795";
    set(bootmgr, 0x1010_0002, "12000002", Value::sz(r"\EFI\Microsoft\Boot\bootmgfw.efi"));
    set(bootmgr, 0x1010_0002, "23000003", Value::sz("{cbd971bf-b7b8-4885-951a-fa03044f5d71}"));
    set(bootmgr, 0x1010_0002, "25000004", Value::binary([5]));
    let ems = "0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9";
    set(ems, 0x2010_0000, "15000022", Value::binary([1]));
    set(ems, 0x2010_0000, "15000023", Value::binary([0x00, 0xC2, 0x01]));
    set(ems, 0x2010_0000, "16000020", Value::binary([1]));
    set("99999999-0000-0000-0000-000000000000", 0x2020_0003, "2500000a", Value::binary([9]));
    set("cbd971bf-b7b8-4885-951a-fa03044f5d71", 0x1020_0003, "42000003", Value::sz(r"\boot.wim"));
    hive
}

#[test]
fn without_a_template_it_is_what_bcdboot_writes_for_a_bios() {
    let store = new_store(&request(Firmware::Bios, None)).unwrap();
    assert_eq!(store.objects.len(), 11);
    let path = Element::Device(Device::Locate { element: 0x1200_0002 });
    let root = Element::Device(Device::Locate { element: 0x2200_0002 });
    let bootmgr = elements(&store, id("bootmgr"));
    let expected = [
        ("11000001", path.clone()),
        ("12000004", Element::String("Windows Boot Manager".into())),
        ("12000005", Element::String("de-DE".into())),
        ("14000006", Element::Objects(vec![id("globalsettings")])),
        ("23000003", Element::Object(LOADER)),
        ("23000006", Element::Object(RESUME)),
        ("24000001", Element::Objects(vec![LOADER])),
        ("24000010", Element::Objects(vec![id("memdiag")])),
        ("25000004", Element::Integer(30)),
    ];
    assert!(bootmgr.into_iter().eq(expected.iter().map(|(code, element)| (code.to_string(), element))));
    let loader = elements(&store, LOADER);
    let expected = [
        ("11000001", path),
        ("12000002", Element::String(r"\Windows\system32\winload.exe".into())),
        ("12000004", Element::String("Windows Server".into())),
        ("12000005", Element::String("de-DE".into())),
        ("14000006", Element::Objects(vec![id("bootloadersettings")])),
        ("17000077", Element::Integers(vec![0x1500_0075])),
        ("21000001", root),
        ("22000002", Element::String(r"\Windows".into())),
        ("23000003", Element::Object(RESUME)),
        ("25000020", Element::Integer(0)),
        ("250000c2", Element::Integer(1)),
    ];
    assert!(loader.into_iter().eq(expected.iter().map(|(code, element)| (code.to_string(), element))));
    assert_eq!(store.objects[&RESUME].text(code::PATH), Some(r"\Windows\system32\winresume.exe"));
    assert_eq!(store.objects[&id("memdiag")].text(code::PATH), Some(r"\boot\memtest.exe"));
    assert_eq!(codes(&store, id("badmemory")), Vec::<String>::new());
}

#[test]
fn uefi_differs_where_bcdboot_does() {
    let store = new_store(&request(Firmware::Uefi, None)).unwrap();
    assert_eq!(store.objects[&id("bootmgr")].text(code::PATH), Some(r"\EFI\Microsoft\Boot\bootmgfw.efi"));
    assert_eq!(store.objects[&id("memdiag")].text(code::PATH), Some(r"\EFI\Microsoft\Boot\memtest.efi"));
    assert_eq!(store.objects[&RESUME].text(code::PATH), Some(r"\Windows\system32\winresume.efi"));
    assert_eq!(store.objects[&LOADER].elements[&0x1600_0060], Element::Boolean(true));
}

#[test]
fn what_is_not_there_is_not_referred_to() {
    let request = NewStore { resume: false, memdiag: false, ..request(Firmware::Bios, None) };
    let store = new_store(&request).unwrap();
    assert!(!store.objects.contains_key(&RESUME) && !store.objects.contains_key(&id("memdiag")));
    for object in store.objects.values() {
        for element in object.elements.values() {
            match element {
                Element::Object(id) => assert!(store.objects.contains_key(id)),
                Element::Objects(ids) => assert!(ids.iter().all(|id| store.objects.contains_key(id))),
                _ => {}
            }
        }
    }
    let bootmgr = codes(&store, id("bootmgr"));
    assert!(!bootmgr.contains(&"24000010".to_owned()) && !bootmgr.contains(&"23000006".to_owned()));
    assert!(!codes(&store, LOADER).contains(&"23000003".to_owned()));
}

#[test]
fn settings_of_the_template_win_but_not_over_the_caller() {
    let template = Store::read(&template()).unwrap();
    assert_eq!(template.root, "System");
    assert_eq!(template.loader_path(Firmware::Bios, r"\Windows").as_deref(), Some(r"\Windows\system32\winload.exe"));
    assert_eq!(template.loader_path(Firmware::Uefi, r"\Windows"), None);
    let store = new_store(&request(Firmware::Bios, Some(&template))).unwrap();
    let loader = &store.objects[&LOADER].elements;
    assert_eq!(loader[&0x2500_0020], Element::Integer(1), "nx");
    assert_eq!(loader[&0x2600_00b0], Element::Boolean(true), "EMS");
    assert_eq!(loader[&0x1200_0005], Element::String("de-DE".into()), "the caller's locale");
    assert_eq!(loader[&0x2200_0002], Element::String(r"\Windows".into()), "the caller's system root");
    assert_eq!(loader[&0x2300_0003], Element::Object(RESUME));
    assert_eq!(store.objects[&RESUME].text(code::PATH), Some(r"\Windows\system32\other.exe"));
    let bootmgr = &store.objects[&id("bootmgr")].elements;
    assert_eq!(bootmgr.get(&code::PATH), None, "no path of the EFI program for a BIOS");
    assert_eq!(bootmgr[&0x2500_0004], Element::Integer(5), "timeout");
    assert_eq!(bootmgr[&0x2300_0003], Element::Object(LOADER));
    let ems = &store.objects[&id("emssettings")].elements;
    assert_eq!(ems[&0x1500_0023], Element::Integer(115_200));
    assert_eq!(ems[&0x1600_0020], Element::Boolean(true));
    assert!(store.objects.contains_key(&uuid!("99999999-0000-0000-0000-000000000000")), "others may inherit it");
    assert!(!store.objects.contains_key(&uuid!("cbd971bf-b7b8-4885-951a-fa03044f5d71")), "no program of a template");
    assert!(store.objects.values().all(|object| object.elements.keys().all(|code| code >> 28 != 4)));
}

#[test]
fn the_hive_has_the_shape_that_the_boot_manager_reads() {
    let template = Store::read(&template()).unwrap();
    let store = new_store(&request(Firmware::Bios, Some(&template))).unwrap();
    let hive = store.to_hive(NOW).unwrap();
    let bytes = hive.to_bytes().unwrap();
    let hive = Hive::read(bytes).unwrap();
    assert_eq!(hive.name(hive.root()).to_string(), "NewStoreRoot");
    assert_eq!(hive.minor_version(), 3);
    let ems = hive.open(r"Objects\{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}").unwrap();
    assert_eq!(hive.name(ems).to_string(), "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}");
    let baud = hive.open_at(ems, r"Elements\15000023").unwrap();
    assert_eq!(hive.value(baud, "Element").unwrap().data, &115_200_u64.to_le_bytes()[..]);
    let kind = hive.open_at(ems, "Description").unwrap();
    assert_eq!(hive.value(kind, "Type").unwrap().as_dword(), Some(0x2010_0000));
    let loader = hive.open(&format!(r"Objects\{{{LOADER}}}\Elements\14000006")).unwrap();
    assert_eq!(hive.value(loader, "Element").unwrap().as_texts().unwrap(), ["{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"]);
    let description = hive.open("Description").unwrap();
    assert_eq!(hive.value(description, "KeyName").unwrap().as_text().as_deref(), Some("BCD00000000"));
    assert_eq!(hive.value(description, "TreatAsSystem").unwrap().as_dword(), Some(1));
    assert_eq!(Store::read(&hive).unwrap(), store);
}

#[test]
fn odd_elements_are_kept_as_they_are() {
    let odd = [
        ("12000004", Value::new(kind::SZ, [0x00, 0xD8, 0, 0])),
        ("12000005", Value::new(kind::SZ, *b"a\0\0\0b\0")),
        ("14000006", Value::multi_sz(["{not a guid}"])),
        ("15000007", Value::binary([0; 9])),
        ("15000008", Value::binary([])),
        ("16000020", Value::binary([2])),
        ("17000077", Value::binary([1, 2, 3])),
        ("18000001", Value::new(0xFFFF_0007, [1])),
        ("25000020", Value::dword(1)),
    ];
    let mut hive = Hive::new("NewStoreRoot", NOW).unwrap();
    hive.create_key("Description").unwrap();
    let object = hive.create_key(&format!(r"Objects\{{{LOADER}}}")).unwrap();
    let description = hive.create_key_at(object, "Description").unwrap();
    hive.set_value(description, "Type", Value::dword(0x1020_0003)).unwrap();
    for (code, value) in &odd {
        let key = hive.create_key_at(object, &format!(r"Elements\{code}")).unwrap();
        hive.set_value(key, "Element", value.clone()).unwrap();
    }
    let store = Store::read(&hive).unwrap();
    let found: Vec<_> = elements(&store, LOADER).into_values().cloned().collect();
    assert_eq!(found, odd.map(|(_, value)| Element::Raw(value)));
    assert_eq!(Store::read(&store.to_hive(NOW).unwrap()).unwrap(), store);
}

#[test]
fn nonsense_is_refused() {
    let empty = Hive::new("NewStoreRoot", NOW).unwrap();
    assert_eq!(Store::read(&empty).unwrap_err().kind(), Kind::Corrupt);
    for (path, found) in [(r"Objects\bootmgr", "bootmgr"), (r"Objects\{9dea862c}", "{9dea862c}")] {
        let mut hive = Hive::new("NewStoreRoot", NOW).unwrap();
        hive.create_key("Description").unwrap();
        hive.create_key(path).unwrap();
        assert!(Store::read(&hive).unwrap_err().to_string().contains(found));
    }
    let same = NewStore { resume_id: LOADER, ..request(Firmware::Bios, None) };
    assert_eq!(new_store(&same).unwrap_err().kind(), Kind::Invalid);
    let mut store = Store::default();
    let mut object = Object::new(0x1020_0003);
    object.elements.insert(0x1200_0004, Element::Integer(1));
    store.objects.insert(LOADER, object);
    assert_eq!(store.to_hive(NOW).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn objects_and_elements_have_the_names_of_bcdedit() {
    assert_eq!(object_name(&id("emssettings")), Some("emssettings"));
    assert_eq!(object_name(&LOADER), None);
    assert_eq!(element_name(0x1020_0003, 0x2200_0002), Some("systemroot"));
    assert_eq!(element_name(0x1020_0004, 0x2200_0002), Some("filepath"));
    assert_eq!(element_name(0x1010_0002, 0x1500_0023), Some("emsbaudrate"));
    assert_eq!(element_name(0x2020_0003, 0x2500_00f5), Some("hypervisorbaudrate"));
    assert_eq!(element_name(0x2010_0000, 0x2500_0020), None);
}
