//! Boot files in place, and what is missing for them.

use super::*;
use crate::error::Kind;
use crate::format::hive::{Hive, Value};
use crate::tree::Tree;
use crate::windows::Windows;
use crate::windows::tests::{executable, system_hive, tree_of};

const HIVE: &str = r"\Windows\System32\config\SYSTEM";

fn options() -> Options {
    Options::located(Uuid::from_u128(1), Uuid::from_u128(2), FileTime(131_000_000_000_000_000))
}

#[test]
fn puts_every_piece_in_its_place() {
    let loader = executable(0x8664);
    let hive = system_hive(&[
        (r"Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
        (r"Control\MUI\UILanguages\de-DE", "Type", Value::dword(1)),
    ]);
    let tree = tree_of(&[
        (HIVE, &hive),
        (r"\Windows\System32\winload.exe", &loader),
        (r"\Windows\Boot\PCAT\bootmgr", b"manager"),
        (r"\Windows\Boot\PCAT\bootnxt", b"\0"),
        (r"\Windows\Boot\PCAT\memtest.exe", b"memtest"),
        (r"\Windows\Boot\PCAT\en-US\bootmgr.exe.mui", b"words"),
        (r"\Windows\Boot\Fonts\wgl4_boot.ttf", b"font"),
        (r"\bootmgr", b"an old one"),
    ]);
    let mut windows = Windows::recognise(tree).unwrap();
    let installed = install_bios(&mut windows, &options()).unwrap();
    assert_eq!(installed.loader, r"\Windows\system32\winload.exe");
    assert_eq!(installed.files, 5);
    assert_eq!(installed.warnings.len(), 2, "no template, and an old bootmgr: {:?}", installed.warnings);
    let tree = windows.tree();
    for (path, content) in [
        (r"\bootmgr", &b"manager"[..]),
        (r"\BOOTNXT", b"\0"),
        (r"\Boot\memtest.exe", b"memtest"),
        (r"\Boot\en-US\bootmgr.exe.mui", b"words"),
        (r"\Boot\Fonts\wgl4_boot.ttf", b"font"),
    ] {
        assert_eq!(tree.read_file(path).unwrap().as_deref(), Some(content), "{path}");
    }
    assert_eq!(tree.find(r"\Boot\bootmgr"), None);
    assert_eq!(tree.node(tree.find(r"\bootmgr").unwrap()).attributes, 0x27);
    assert_eq!(tree.node(tree.find(r"\BOOTNXT").unwrap()).attributes, 0x26);
    assert_eq!(tree.node(tree.find(r"\Boot").unwrap()).attributes & 6, 6);
    let hive = Hive::read(tree.read_file(r"\Boot\BCD").unwrap().unwrap()).unwrap();
    let store = bcd::Store::read(&hive).unwrap();
    let loader = &store.objects[&Uuid::from_u128(1)];
    assert_eq!(loader.text(bcd::code::PATH), Some(r"\Windows\system32\winload.exe"));
    assert_eq!(loader.text(bcd::code::DESCRIPTION), Some("Windows Server"));
    assert_eq!(loader.text(bcd::code::LOCALE), Some("de-DE"));
}

#[test]
fn says_what_is_missing() {
    let hive = system_hive(&[]);
    let hive = (HIVE, &hive[..]);
    let amd64 = executable(0x8664);
    let arm64 = executable(0xAA64);
    let winload = r"\Windows\System32\winload.exe";
    let manager = (r"\Windows\Boot\PCAT\bootmgr", &b"manager"[..]);
    let large = vec![0; 0x8_0000];
    type Files<'f> = &'f [(&'f str, &'f [u8])];
    let cases: [(Files<'_>, Kind); 4] = [
        (&[hive, (winload, &arm64), manager], Kind::WrongMachine),
        (&[hive, (winload, &amd64)], Kind::NotBootable),
        (&[hive, (r"\Windows\System32\ntdll.dll", &amd64), manager], Kind::NotBootable),
        (&[hive, (winload, &amd64), (r"\Windows\Boot\PCAT\bootmgr", &large)], Kind::NotBootable),
    ];
    for (files, kind) in cases {
        let mut windows = Windows::recognise(tree_of(files)).unwrap();
        assert_eq!(install_bios(&mut windows, &options()).unwrap_err().kind(), kind);
    }
}

/// A program with a certificate table that has these words in it.
fn signed(machine: u16, words: &str) -> Vec<u8> {
    let mut image = executable(machine);
    image.resize(0x200, 0);
    image[0x58..0x5A].copy_from_slice(&0x20B_u16.to_le_bytes());
    image[0x58 + 108..0x58 + 112].copy_from_slice(&16_u32.to_le_bytes());
    image[0x58 + 112 + 32..][..4].copy_from_slice(&0x200_u32.to_le_bytes());
    image[0x58 + 112 + 36..][..4].copy_from_slice(&(words.len() as u32).to_le_bytes());
    image.extend(words.as_bytes());
    image
}

fn uefi(generation: Generation) -> UefiOptions {
    let partition =
        |number: u128| bcd::Device::GptPartition { disk: Uuid::from_u128(9), partition: Uuid::from_u128(number) };
    let [boot_device, os_device] = [partition(10), partition(11)];
    UefiOptions { chain: Options { boot_device, os_device, ..options() }, generation, secure_boot: true }
}

const PCA_2011: &str = "..Microsoft Windows Production PCA 2011..";
const CA_2023: &str = "..Windows UEFI CA 2023..";

#[test]
fn uefi_has_every_piece_in_its_place() {
    let loader = executable(0x8664);
    let hive = system_hive(&[]);
    let manager = signed(0x8664, PCA_2011);
    let tree = tree_of(&[
        (HIVE, &hive),
        (r"\Windows\System32\winload.efi", &loader),
        (r"\Windows\System32\winresume.efi", &loader),
        (r"\Windows\Boot\EFI\bootmgfw.efi", &manager),
        (r"\Windows\Boot\EFI\memtest.efi", b"memtest"),
        (r"\Windows\Boot\EFI\en-US\bootmgfw.efi.mui", b"words"),
        (r"\Windows\Boot\EFI_EX\bootmgfw_EX.efi", &signed(0x8664, CA_2023)),
        (r"\Windows\Boot\Fonts\wgl4_boot.ttf", b"font"),
        (r"\Windows\Boot\Fonts_EX\wgl4_boot_EX.ttf", b"new font"),
        (r"\Windows\Boot\Resources\bootres.dll", b"picture"),
    ]);
    let mut windows = Windows::recognise(tree).unwrap();
    let before = windows.tree().walk().count();
    let (tree, installed) = install_uefi(&mut windows, &uefi(Generation::Auto)).unwrap();
    assert_eq!(windows.tree().walk().count(), before, "the image stays as it is");
    assert_eq!(installed.loader, r"\Windows\system32\winload.efi");
    assert_eq!(installed.signed_by, [Authority::Pca2011]);
    assert_eq!(installed.warnings.len(), 2, "no template, and the certificate: {:?}", installed.warnings);
    let expected = [
        (r"\EFI\Microsoft\Boot\bootmgfw.efi", &manager[..]),
        (r"\EFI\Microsoft\Boot\memtest.efi", b"memtest"),
        (r"\EFI\Microsoft\Boot\en-US\bootmgfw.efi.mui", b"words"),
        (r"\EFI\Microsoft\Boot\Fonts\wgl4_boot.ttf", b"font"),
        (r"\EFI\Microsoft\Boot\Resources\bootres.dll", b"picture"),
        (r"\EFI\Boot\bootx64.efi", &manager),
    ];
    assert_eq!(installed.files, expected.len());
    for (path, content) in expected {
        assert_eq!(tree.read_file(path).unwrap().as_deref(), Some(content), "{path}");
    }
    assert!(tree.node(tree.find(r"\EFI\Microsoft\Recovery").unwrap()).is_directory());
    let hive = Hive::read(tree.read_file(r"\EFI\Microsoft\Boot\BCD").unwrap().unwrap()).unwrap();
    let store = bcd::Store::read(&hive).unwrap();
    let loader = &store.objects[&Uuid::from_u128(1)];
    assert_eq!(loader.text(bcd::code::PATH), Some(r"\Windows\system32\winload.efi"));
    let partition = |number: u128| {
        bcd::Element::Device(bcd::Device::GptPartition { disk: Uuid::from_u128(9), partition: Uuid::from_u128(number) })
    };
    assert_eq!(loader.elements[&bcd::code::OS_DEVICE], partition(11));
    let manager = store.boot_manager().unwrap();
    assert_eq!(manager.elements[&bcd::code::DEVICE], partition(10));
    assert_eq!(manager.text(bcd::code::PATH), Some(r"\EFI\Microsoft\Boot\bootmgfw.efi"));
    // The same with the other boot manager.
    let (tree, installed) = install_uefi(&mut windows, &uefi(Generation::Ca2023)).unwrap();
    assert_eq!(installed.signed_by, [Authority::Ca2023]);
    assert_eq!(installed.files, expected.len());
    let read = |path: &str| tree.read_file(path).unwrap().unwrap();
    assert_eq!(read(r"\EFI\Microsoft\Boot\Fonts\wgl4_boot.ttf"), b"new font");
    for path in [r"\EFI\Microsoft\Boot\bootmgfw.efi", r"\EFI\Boot\bootx64.efi"] {
        assert_eq!(read(path), signed(0x8664, CA_2023));
    }
    assert!(tree.find(r"\EFI\Microsoft\Boot\bootmgfw_EX.efi").is_none());
}

#[test]
fn boot_managers_are_chosen_by_who_signed_them() {
    let both = format!("{PCA_2011}{CA_2023}");
    type Case<'c> = (&'c str, Option<&'c str>, Generation, Result<usize, Kind>);
    let cases: [Case<'_>; 9] = [
        (PCA_2011, None, Generation::Auto, Ok(1)),
        (PCA_2011, None, Generation::Ca2023, Err(Kind::NotBootable)),
        (CA_2023, None, Generation::Ca2023, Ok(1)),
        (CA_2023, None, Generation::Ca2011, Err(Kind::NotBootable)),
        (&both, None, Generation::Ca2023, Ok(0)),
        (&both, Some(CA_2023), Generation::Ca2011, Ok(0)),
        ("nobody", None, Generation::Auto, Ok(1)),
        ("nobody", None, Generation::Ca2023, Err(Kind::NotBootable)),
        (PCA_2011, Some(CA_2023), Generation::Ca2023, Ok(1)),
    ];
    let hive = system_hive(&[]);
    let template = template();
    for (number, (words, ex, generation, expected)) in cases.into_iter().enumerate() {
        let (manager, other) = (signed(0xAA64, words), signed(0xAA64, ex.unwrap_or_default()));
        let mut files = vec![
            (HIVE, &hive[..]),
            (TEMPLATE, &template),
            (r"\Windows\System32\boot\winload.efi", &manager),
            (r"\Windows\Boot\EFI\bootmgfw.efi", &manager),
        ];
        files.extend(ex.map(|_| (r"\Windows\Boot\EFI_EX\bootmgfw_EX.efi", &other[..])));
        let mut windows = Windows::recognise(tree_of(&files)).unwrap();
        let installed = install_uefi(&mut windows, &uefi(generation));
        let found = installed.map(|(tree, installed)| {
            assert!(tree.find(r"\EFI\Boot\bootaa64.efi").is_some());
            installed.warnings.len()
        });
        assert_eq!(found.map_err(|error| error.kind()), expected, "{number}");
    }
}

#[test]
fn hostile_boot_managers_are_no_trouble() {
    let good = signed(0x8664, PCA_2011);
    let hive = system_hive(&[]);
    let attempt = |manager: &[u8]| {
        let files = [
            (HIVE, &hive[..]),
            (r"\Windows\System32\winload.efi", &good),
            (r"\Windows\Boot\EFI\bootmgfw.efi", manager),
        ];
        let mut windows = Windows::recognise(tree_of(&files)).unwrap();
        install_uefi(&mut windows, &uefi(Generation::Auto)).map(|(_, installed)| installed.signed_by)
    };
    assert_eq!(attempt(&good).unwrap(), [Authority::Pca2011]);
    assert_eq!(attempt(&signed(0xAA64, "")).unwrap_err().kind(), Kind::NotBootable);
    assert!(attempt(b"").is_err());
    for len in (0..good.len()).step_by(9) {
        let _ = attempt(&good[..len]);
    }
    for at in (0x3C..0x40).chain(0x58..0x5A).chain(0xC4..0xC8).chain(0xE8..0xF0) {
        let mut bad = good.clone();
        bad[at] = 0xFF;
        let _ = attempt(&bad);
    }
}

const TEMPLATE: &str = r"\Windows\System32\config\BCD-Template";
const LOADERS: [Uuid; 2] =
    [uuid::uuid!("a1943bbc-ea85-487c-97c7-c9ede908a38a"), uuid::uuid!("b012b84d-c47c-4ed5-b722-c0c42163e569")];

/// A template with both loaders and EMS settings, but no boot manager.
fn template() -> Vec<u8> {
    let mut store = bcd::Store { root: "System".into(), ..bcd::Store::default() };
    for (id, ending) in LOADERS.into_iter().zip(["exe", "efi"]) {
        let mut loader = bcd::Object::new(0x1020_0003);
        let path = format!(r"\system32\boot\winload.{ending}");
        loader.elements.insert(bcd::code::APPLICATION_RELATIVE_PATH, bcd::Element::String(path));
        store.objects.insert(id, loader);
    }
    store.objects.insert(bcd::id_of_name("emssettings").unwrap(), bcd::Object::new(0x2010_0000));
    store.to_hive(FileTime(0)).unwrap().to_bytes().unwrap()
}

#[test]
fn settings_are_in_the_store_and_in_the_template() {
    use bcd::Element::{Boolean, Integer};
    let (loader, hive) = (executable(0x8664), system_hive(&[]));
    let files = [
        (HIVE, &hive[..]),
        (TEMPLATE, &template()),
        (r"\Windows\System32\boot\winload.exe", &loader),
        (r"\Windows\System32\boot\winload.efi", &loader),
        (r"\Windows\Boot\EFI\bootmgfw.efi", &loader),
        (r"\Windows\Boot\PCAT\bootmgr", b"manager"),
    ];
    let settings = Settings { test_signing: true, ..Settings::azure() };
    let chain = Options { settings, ..options() };
    let read = |tree: &Tree, path: &str| {
        bcd::Store::read(&Hive::read(tree.read_file(path).unwrap().unwrap()).unwrap()).unwrap()
    };
    let on_loader = [
        (0x2600_00B0, Boolean(true)),
        (0x1600_0020, Boolean(true)),
        (0x1600_0049, Boolean(true)),
        (0x1600_0009, Boolean(false)),
        (0x2500_00E0, Integer(1)),
        (0x1500_004B, Integer(2)),
    ];
    let on_manager = [
        (0x1600_0020, Boolean(true)),
        (0x2600_0020, Boolean(true)),
        (0x2500_0004, Integer(5)),
        (0x1500_004B, Integer(2)),
    ];
    let on_ems = [(0x1500_0022, Integer(1)), (0x1500_0023, Integer(115_200)), (0x1600_0020, Boolean(true))];
    let has = |store: &bcd::Store, id: Uuid, elements: &[(u32, bcd::Element)]| {
        for (code, element) in elements {
            assert_eq!(store.objects[&id].elements.get(code), Some(element), "{id} {code:08x}");
        }
    };
    let ems = bcd::id_of_name("emssettings").unwrap();
    for firmware in [bcd::Firmware::Bios, bcd::Firmware::Uefi] {
        let mut windows = Windows::recognise(tree_of(&files)).unwrap();
        let (system, path) = match firmware {
            bcd::Firmware::Bios => (install_bios_to(&mut windows, &chain).unwrap().0, r"\Boot\BCD"),
            bcd::Firmware::Uefi => {
                let options = UefiOptions { chain: chain.clone(), ..uefi(Generation::Auto) };
                (install_uefi(&mut windows, &options).unwrap().0, r"\EFI\Microsoft\Boot\BCD")
            }
        };
        let store = read(&system, path);
        has(&store, Uuid::from_u128(1), &on_loader);
        has(&store, bcd::id_of_name("bootmgr").unwrap(), &on_manager);
        has(&store, ems, &on_ems);
        let template = read(windows.tree(), TEMPLATE);
        LOADERS.into_iter().for_each(|id| has(&template, id, &on_loader));
        has(&template, ems, &on_ems);
        assert_eq!(template.objects.len(), 3, "no object is added to a template");
    }
    let mut windows = Windows::recognise(tree_of(&files)).unwrap();
    install_bios(&mut windows, &options()).unwrap();
    assert_eq!(windows.tree().read_file(TEMPLATE).unwrap().unwrap(), template(), "nothing is asked for");
}

#[test]
fn both_firmwares_can_share_a_partition() {
    let (loader, hive) = (executable(0x8664), system_hive(&[]));
    let files = [
        (HIVE, &hive[..]),
        (TEMPLATE, &template()),
        (r"\Windows\System32\boot\winload.exe", &loader),
        (r"\Windows\System32\boot\winload.efi", &loader),
        (r"\Windows\Boot\EFI\bootmgfw.efi", &loader),
        (r"\Windows\Boot\PCAT\bootmgr", b"manager"),
        (r"\Windows\Boot\Fonts\wgl4_boot.ttf", b"font"),
    ];
    let mut windows = Windows::recognise(tree_of(&files)).unwrap();
    let (tree, installed) = install_both(&mut windows, &uefi(Generation::Auto)).unwrap();
    assert_eq!(installed.files, 5);
    assert_eq!(installed.warnings.len(), 1, "{:?}", installed.warnings);
    for path in [
        r"\bootmgr",
        r"\Boot\BCD",
        r"\Boot\Fonts\wgl4_boot.ttf",
        r"\EFI\Boot\bootx64.efi",
        r"\EFI\Microsoft\Boot\BCD",
        r"\EFI\Microsoft\Boot\Fonts\wgl4_boot.ttf",
    ] {
        assert!(tree.find(path).is_some(), "{path}");
    }
}
