//! Hives: what is written, read by hivex, reglookup and libregf; what Windows wrote, read and written anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nanovhd::base::{FileTime, Name};
use nanovhd::format::hive::{Hive, KeyId, ReadOptions, Recovery, Value, kind};

use crate::support::tools::{Tools, testdata, text};

const TOOLS: [&str; 4] = ["hivexml", "hivexget", "reglookup", "regfinfo"];
const NOW: FileTime = FileTime(131_000_000_000_000_000);

/// Unpacks a file of the test data.
fn unpacked(folder: &Path, file: &str) -> Option<PathBuf> {
    let packed = testdata(format!("hives/{file}.xz"))?;
    let bytes = Tools::find(&["xz"])?.run_for_bytes("xz", &["-dkc", text(&packed)]);
    let path = folder.join(file);
    fs::write(&path, bytes).unwrap();
    Some(path)
}

/// All that hivex says, but for where it found it.
fn hivex(tools: &Tools, path: &Path) -> String {
    let xml = tools.run("hivexml", &[text(path)]);
    let mut parts = xml.split("<byte_runs>");
    let mut kept = parts.next().unwrap_or_default().to_string();
    for part in parts {
        kept.push_str(part.split_once("</byte_runs>").expect("the end of the byte runs").1);
    }
    kept
}

/// All that reglookup says: types, data, times, owners, access lists, classes.
fn reglookup(tools: &Tools, path: &Path) -> String {
    tools.run("reglookup", &["-s", text(path)])
}

/// All that a hive holds, as this program sees it.
fn dump(hive: &Hive) -> String {
    let mut out = String::new();
    let mut pending = vec![hive.root()];
    while let Some(key) = pending.pop() {
        let _ = writeln!(
            out,
            "{} {:?} {:#x} {} {:?} {:?}",
            hive.path(key),
            hive.name(key),
            hive.flags(key),
            hive.last_written(key),
            hive.class(key),
            hive.descriptor(key)
        );
        for value in hive.values(key) {
            let _ = writeln!(out, "  {value:?}");
        }
        pending.extend(hive.subkeys(key));
    }
    out
}

/// Writes the hive anew and compares what everybody says about before and after.
fn survives_a_rewrite(tools: &Tools, path: &Path, hive: &Hive) {
    let anew = path.with_extension("anew");
    let bytes = hive.to_bytes().unwrap();
    fs::write(&anew, &bytes).unwrap();
    assert!(hivex(tools, path) == hivex(tools, &anew), "hivex sees a difference in {}", path.display());
    assert!(reglookup(tools, path) == reglookup(tools, &anew), "reglookup sees a difference in {}", path.display());
    assert_eq!(
        tools.run("regfinfo", &[text(path)]),
        tools.run("regfinfo", &[text(&anew)]),
        "libregf sees a difference"
    );
    let again = Hive::read(bytes.clone()).unwrap();
    assert!(dump(hive) == dump(&again));
    assert!(again.to_bytes().unwrap() == bytes, "writing is not stable");
}

#[test]
fn hives_of_windows_survive_a_rewrite() {
    let Some(tools) = Tools::find(&TOOLS) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (file, dirty) in [("SYSTEM-win10-1709", true), ("BCD-Template-win10", false)] {
        let Some(path) = unpacked(folder.path(), file) else { return };
        let before = fs::read(&path).unwrap();
        assert_eq!(Hive::read(before.clone()).is_err(), dirty);
        let hive = Hive::read_with(before.clone(), ReadOptions { logs: &[], accept_dirty: true }).unwrap();
        assert_eq!(hive.recovery(), if dirty { Recovery::Ignored } else { Recovery::Clean });
        survives_a_rewrite(&tools, &path, &hive);
        let after = hive.to_bytes().unwrap().len();
        assert!(after <= before.len(), "{file} grew from {} to {after} bytes", before.len());
    }
}

#[test]
fn a_dirty_hive_is_replayed_from_both_logs() {
    let Some(tools) = Tools::find(&TOOLS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = unpacked(folder.path(), "UsrClass.dat") else { return };
    let logs = ["UsrClass.dat.LOG1", "UsrClass.dat.LOG2"]
        .map(|file| fs::read(unpacked(folder.path(), file).expect("the logs are there too")).unwrap());
    let primary = fs::read(&path).unwrap();
    assert!(Hive::read(primary.clone()).unwrap_err().to_string().contains("dirty"));
    let in_order: &[&[u8]] = &[&logs[0], &logs[1]];
    let swapped: &[&[u8]] = &[&logs[1], b"", &logs[0]];
    let [hive, other] = [in_order, swapped]
        .map(|logs| Hive::read_with(primary.clone(), ReadOptions { logs, accept_dirty: false }).unwrap());
    assert_eq!(hive.recovery(), Recovery::Entries(14));
    assert!(dump(&hive) == dump(&other));
    let bytes = hive.to_bytes().unwrap();
    fs::write(&path, &bytes).unwrap();
    survives_a_rewrite(&tools, &path, &Hive::read(bytes).unwrap());
}
