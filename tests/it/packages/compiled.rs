//! What the components of a real package come to, beside what Windows itself made of them: the SYSTEM hive is of a Windows 10 that has them.

use nanovhd::base::Machine;
use nanovhd::format::assembly::{Element, Manifest};
use nanovhd::format::hive::{Hive, ReadOptions};
use nanovhd::windows::packages::{Change, Target, compile};

use super::makers::unpacked;
use super::real::manifests;
use crate::support::tools::windows_file;

#[test]
fn values_are_those_that_windows_has() {
    let Some(files) = unpacked() else { return };
    let Some(manifests) = manifests(&files) else { return };
    let Some(bytes) = windows_file("hives/SYSTEM-win10-1709.xz") else { return };
    // It was taken from a running Windows, without its logs.
    let system = Hive::read_with(bytes, ReadOptions { accept_dirty: true, ..ReadOptions::default() }).unwrap();
    let target = Target { machine: Machine::Amd64, language: "en-US".into(), lacks: [].into() };
    let (mut values, mut paths, mut links) = (0, 0, 0);
    for (name, text) in manifests {
        let document = Element::parse(text.as_bytes()).unwrap();
        let manifest = Manifest::read(&document).unwrap();
        let compiled = compile(&document, &manifest, &target).unwrap();
        assert_eq!(compiled.left_out, [], "{name}");
        for change in compiled.effects.into_iter().flat_map(|effect| effect.changes) {
            match change {
                Change::Value { key, name, value, .. } => {
                    let Some(key) = of_system(&key) else { continue };
                    let found = system.open(&key).unwrap_or_else(|| panic!("{key}"));
                    let found = system.value(found, name.as_str()).unwrap_or_else(|| panic!("{key} {name}"));
                    assert_eq!(found.to_value(), value, "{key} {name}");
                    values += 1;
                }
                Change::AppendPath { key, name, part, first } => {
                    let key = system.open(&of_system(&key).unwrap()).unwrap();
                    let path = system.value(key, name.as_str()).unwrap().as_text().unwrap();
                    assert!(!first && path.split(';').any(|found| found == part), "{path}");
                    paths += 1;
                }
                Change::Link { path, .. } => {
                    assert!(path.starts_with(r"\Windows\System32\"), "{path}");
                    links += 1;
                }
                _ => {}
            }
        }
    }
    // Of the service 8, its security, and 6 of the session that listens to its events.
    assert_eq!((values, paths, links), (15, 1, 8));
}

/// A key of the hive that the machine has started with.
fn of_system(key: &str) -> Option<String> {
    Some(format!("ControlSet001{}", key.strip_prefix(r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet")?))
}
