//! Boot files in place, and what is missing for them.

use super::*;
use crate::format::hive::Value;
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
