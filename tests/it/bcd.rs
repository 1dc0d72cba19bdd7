//! Boot configurations, read by hivex, reglookup and libregf; and the template of a real Windows.

use std::fs;
use std::path::Path;

use nanovhd::base::FileTime;
use nanovhd::format::bcd::{Device, Element, Firmware, NewStore, Store, id_of_name, new_store};
use nanovhd::format::hive::{Hive, Value};
use uuid::{Uuid, uuid};

use crate::support::tools::{Tools, testdata, text};

const NOW: FileTime = FileTime(131_000_000_000_000_000);
const LOADER: Uuid = uuid!("01234567-89ab-11ec-8000-00155d000001");
const RESUME: Uuid = uuid!("01234567-89ab-11ec-8000-00155d000002");

fn request<'a>(template: Option<&'a Store>, loader_path: &'a str) -> NewStore<'a> {
    NewStore {
        firmware: Firmware::Bios,
        loader_path,
        system_root: r"\Windows",
        description: "Windows Server",
        locale: "en-US",
        boot_device: Device::Boot,
        os_device: Device::MbrPartition { signature: 0x4E41_4E4F, offset: 1 << 20 },
        loader_id: LOADER,
        resume_id: RESUME,
        resume: true,
        memdiag: false,
        template,
    }
}

fn written(folder: &Path, store: &Store) -> std::path::PathBuf {
    let path = folder.join("BCD");
    let bytes = store.to_hive(NOW).and_then(|hive| hive.to_bytes()).expect("a store that can be written");
    fs::write(&path, bytes).expect("room for it");
    path
}

#[test]
fn a_store_is_read_by_others() {
    let Some(tools) = Tools::find(&["hivexget", "hivexml", "reglookup", "regfinfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&request(None, r"\Windows\system32\winload.exe")).unwrap();
    let path = written(folder.path(), &store);
    let element = |id: Uuid, code: &str| {
        tools.run("hivexget", &[text(&path), &format!(r"\Objects\{{{id}}}\Elements\{code}"), "Element"])
    };
    assert_eq!(element(LOADER, "12000002").trim_end(), r"\Windows\system32\winload.exe");
    assert_eq!(element(LOADER, "23000003").trim_end(), format!("{{{RESUME}}}"));
    let globals = id_of_name("globalsettings").unwrap();
    assert_eq!(
        element(globals, "14000006").trim_end().lines().collect::<Vec<_>>(),
        ["dbgsettings", "emssettings", "badmemory"].map(|name| id_of_name(name).unwrap().braced().to_string())
    );
    let all = tools.run("reglookup", &[text(&path)]);
    assert_eq!(all.lines().filter(|line| line.contains("/Description/Type,DWORD,")).count(), store.objects.len());
    assert!(all.contains(&format!("/Objects/{{{LOADER}}}/Elements/12000004/Element,SZ,Windows Server,")));
    let tree = tools.run("regfinfo", &[text(&path)]);
    assert!(tree.contains("NewStoreRoot") && tree.contains("Version:\t1.3") && !tree.contains("corrupt"));
    let keys = tree.lines().filter(|line| line.contains("(key:)")).count();
    assert_eq!(keys, tools.run("hivexml", &[text(&path)]).matches("<node ").count());
    assert_eq!(keys, all.lines().filter(|line| line.contains(",KEY,")).count());
}

#[test]
fn the_template_of_windows_is_instantiated() {
    let Some(tools) = Tools::find(&["xz", "reglookup"]) else { return };
    let Some(packed) = testdata("hives/BCD-Template-win10.xz") else { return };
    let mut hive = Hive::read(tools.run_for_bytes("xz", &["-dkc", text(&packed)])).unwrap();
    assert_eq!(Store::read(&hive).unwrap().objects.len(), 16);
    // What Nano Server's image builder adds for EMS.
    for (key, data) in [
        (r"Objects\{a1943bbc-ea85-487c-97c7-c9ede908a38a}\Elements\260000b0", &[1][..]),
        (r"Objects\{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}\Elements\15000022", &[1]),
        (r"Objects\{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}\Elements\16000020", &[1]),
    ] {
        let key = hive.create_key(key).unwrap();
        hive.set_value(key, "Element", Value::binary(data)).unwrap();
    }
    let template = Store::read(&hive).unwrap();
    for (firmware, loader) in [(Firmware::Bios, "winload.exe"), (Firmware::Uefi, "winload.efi")] {
        assert_eq!(template.loader_path(firmware, r"\Windows"), Some(format!(r"\Windows\system32\{loader}")));
    }
    let path = template.loader_path(Firmware::Bios, r"\Windows").unwrap();
    let store = new_store(&request(Some(&template), &path)).unwrap();
    let plain = new_store(&request(None, &path)).unwrap();
    assert_eq!(store.objects.keys().collect::<Vec<_>>(), plain.objects.keys().collect::<Vec<_>>());
    for (id, object) in &store.objects {
        for (code, element) in &object.elements {
            match (*id, code) {
                (LOADER, 0x2600_00b0) => assert_eq!(*element, Element::Boolean(true)),
                (_, 0x1500_0022) => assert_eq!(*element, Element::Integer(1)),
                (_, 0x1600_0020) => assert_eq!(*element, Element::Boolean(true)),
                // But for EMS, the list of objects says what the template of Windows 10 says.
                _ => assert_eq!(plain.objects[id].elements.get(code), Some(element), "{id} {code:08x}"),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let all = tools.run("reglookup", &[text(&written(folder.path(), &store))]);
    let baud = "{7ff607e0-4395-11db-b0de-0800200c9a66}/Elements/250000f5/Element,BINARY,%00%C2%01%00%00%00%00%00,";
    assert!(all.contains(baud), "the integer was widened");
    assert!(!all.contains("/Elements/4"), "elements of templates are left out");
}
