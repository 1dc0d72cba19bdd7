//! INF files that other people wrote, wherever this machine has some.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nanovhd::base::Machine;
use nanovhd::format::inf::Inf;
use nanovhd::windows::drivers::{ProductType, TargetOs, compile};

use super::{SERVER_2016, package_in};
use crate::support::tools::{testdata, unavailable};

/// Where programs for other systems put INF files on a Unix.
const PLACES: [&str; 3] = ["/usr/share/wine", "/usr/share/doc/qemu-system-data", "/usr/share/virtio-win"];

/// All INF files of a folder and those below it.
fn inf_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            inf_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("inf")) {
            found.push(path);
        }
    }
}

fn targets() -> Vec<TargetOs> {
    let client = TargetOs { build: 22631, product: ProductType::Workstation, ..SERVER_2016 };
    let machines = [Machine::X86, Machine::Amd64, Machine::Arm64];
    machines.into_iter().flat_map(|machine| [SERVER_2016, client].map(|own| TargetOs { machine, ..own })).collect()
}

/// Parses a file and compiles it for several Windows: no panic, and errors that say where they are.
fn try_all(path: &Path, unknown: &mut BTreeMap<String, usize>) {
    let bytes = fs::read(path).unwrap();
    let inf = Inf::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: usize = inf.sections().iter().map(|section| section.entries.len()).sum();
    println!("{}: {} sections, {lines} lines", path.display(), inf.sections().len());
    let name = path.file_name().unwrap().to_string_lossy();
    for target in targets() {
        let package = package_in(path.parent().unwrap(), &name);
        match compile(&package, &target, &|_| Ok(None)) {
            Ok(driver) => {
                println!("  {}: {} devices, {} notes", target.machine, driver.devices.len(), driver.notes.len());
                for note in driver.notes.iter().filter(|note| note.text.contains("not known")) {
                    *unknown.entry(note.text.clone()).or_default() += 1;
                }
            }
            Err(error) => {
                println!("  {}: {error}", target.machine);
                let text = error.to_string();
                assert!(text.contains("line ") || text.contains("no [Version]"), "no line is named: {text}");
            }
        }
    }
}

#[test]
fn drivers_of_the_test_data_are_understood() {
    let Some(one) = testdata("drivers/virtio-win-0.1.240/NetKVM/2k16/amd64/netkvm.inf") else { return };
    let mut found = Vec::new();
    inf_files(one.ancestors().nth(5).unwrap(), &mut found);
    assert!(found.len() >= 3, "{found:?}");
    let mut unknown = BTreeMap::new();
    found.iter().for_each(|path| try_all(path, &mut unknown));
    println!("{} files, unknown directives: {unknown:?}", found.len());
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn inf_files_of_other_packages_are_understood() {
    let mut found = Vec::new();
    PLACES.iter().for_each(|place| inf_files(Path::new(place), &mut found));
    if found.is_empty() {
        return unavailable(&format!("no INF files in {PLACES:?} (packages wine, qemu-system-data)"));
    }
    let mut unknown = BTreeMap::new();
    found.iter().for_each(|path| try_all(path, &mut unknown));
    println!("{} files, unknown directives: {unknown:#?}", found.len());
}

/// Every INF file at hand, cut and altered: an error or another file, but no panic, and in time that grows with the file.
#[test]
fn altered_files_do_no_harm() {
    let mut found = Vec::new();
    PLACES.iter().for_each(|place| inf_files(Path::new(place), &mut found));
    if let Some(one) = testdata("drivers/virtio-win-0.1.240/viostor/2k16/amd64/viostor.inf") {
        inf_files(one.ancestors().nth(4).unwrap(), &mut found);
    }
    let mut state = 1_u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for path in &found {
        let good = fs::read(path).unwrap();
        for round in 0..200 {
            let mut bytes = good.clone();
            for _ in 0..1 + round % 8 {
                let at = next() % bytes.len();
                bytes[at] = [b'"', b'%', b'\n', b',', b';', b'=', b'[', b'\\', 0, 0xFF][next() % 10];
            }
            bytes.truncate(1 + next() % bytes.len());
            if let Ok(inf) = Inf::parse(&bytes) {
                let _ = inf.header(Machine::Amd64);
                let _ = inf.models(&SERVER_2016);
            }
        }
    }
    println!("{} files altered", found.len());
}
