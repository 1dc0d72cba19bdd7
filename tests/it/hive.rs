//! Hives: what is written, read by hivex, reglookup and libregf; what Windows wrote, read and written anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nanovhd::base::FileTime;
use nanovhd::format::hive::{Hive, ReadOptions, Recovery, Value, kind};

use crate::support::tools::{Tools, testdata, text};

const TOOLS: [&str; 4] = ["hivexml", "hivexget", "reglookup", "regfinfo"];
const NOW: FileTime = FileTime(131_000_000_000_000_000);

/// Unpacks a file of the test data.
fn unpacked(folder: &Path, file: &str) -> Option<PathBuf> {
    let packed = testdata(format!("hives/{file}.xz"))?;
    let bytes = Tools::find(&["xz"])?.run_for_bytes("xz", &["-dkc", text(&packed)]);
    let path = folder.join(file);
    fs::write(&path, bytes).expect("room for it");
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
    let bytes = hive.to_bytes().expect("a hive that can be written");
    fs::write(&anew, &bytes).expect("room for it");
    assert!(hivex(tools, path) == hivex(tools, &anew), "hivex sees a difference in {}", path.display());
    assert!(reglookup(tools, path) == reglookup(tools, &anew), "reglookup sees a difference in {}", path.display());
    assert_eq!(
        tools.run("regfinfo", &[text(path)]),
        tools.run("regfinfo", &[text(&anew)]),
        "libregf sees a difference"
    );
    let again = Hive::read(bytes.clone()).expect("what was written can be read");
    assert!(dump(hive) == dump(&again));
    assert!(again.to_bytes().is_ok_and(|again| again == bytes), "writing is not stable");
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

/// A hive with all that is odd, of that minor version.
fn odd_hive(minor: u32) -> Hive {
    let mut hive = Hive::new("ROOT", NOW).expect("a name that is fine");
    let mut build = || -> nanovhd::error::Result<()> {
        hive.set_minor_version(minor)?;
        hive.set_file_name(r"\SystemRoot\System32\Config\ODD");
        let values = hive.create_key("values")?;
        hive.set_value(values, "", Value::sz("the default value"))?;
        hive.set_value(values, "empty", Value::new(kind::NONE, []))?;
        for len in [1, 3, 4, 5, 8, 4000, 16343, 16344, 16345, 32688, 32689, 100_000] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            hive.set_value(values, format!("{len}").as_str(), Value::binary(data))?;
        }
        hive.set_value(values, "\u{df}\u{3a9}\u{4e2d}\u{1f600}", Value::sz("\u{4e2d}\u{6587}"))?;
        hive.set_value(values, "latin \u{fc}\u{ff}", Value::expand_sz("%SystemRoot%"))?;
        hive.set_value(values, "strings", Value::multi_sz(["one", "two"]))?;
        hive.set_value(values, "dword", Value::dword(0x1234_5678))?;
        hive.set_value(values, "qword", Value::qword(0x1234_5678_9ABC_DEF0))?;
        hive.set_value(values, "driver", Value::new(0x20004, 1_u32.to_le_bytes()))?;
        hive.set_value(values, "property", Value::new(0xFFFF_0012, *b"p\0\0\0"))?;
        let names = hive.create_key("names")?;
        for name in [
            "\u{3a9}mega",
            "\u{3b1}",
            "\u{e4}",
            "\u{c5}ngstr\u{f6}m",
            "zz",
            "ZA",
            "a",
            "_",
            "{",
            "A_",
            "AB",
            "\u{1f600}",
        ] {
            let key = hive.create_subkey(names, name)?;
            hive.set_class(key, Some("Class \u{fc}"))?;
        }
        let deep = ["deep"; 100].join(r"\");
        hive.create_key(&deep)?;
        let own = hive.open("deep").expect("it was just made");
        let mut descriptor = nanovhd::format::hive::ADMIN_DESCRIPTOR.to_vec();
        descriptor[2] ^= 0x10;
        hive.set_descriptor(own, &descriptor)?;
        Ok(())
    };
    build().expect("all of it is allowed");
    hive
}

#[test]
fn odd_hives_are_read_by_others() {
    let Some(tools) = Tools::find(&TOOLS) else { return };
    let folder = tempfile::tempdir().unwrap();
    for minor in [3, 5] {
        let hive = odd_hive(minor);
        let path = folder.path().join(format!("odd{minor}"));
        fs::write(&path, hive.to_bytes().unwrap()).unwrap();
        survives_a_rewrite(&tools, &path, &hive);
        let regfinfo = tools.run("regfinfo", &[text(&path)]);
        assert!(regfinfo.contains(&format!("Version:\t1.{minor}")) && !regfinfo.contains("corrupt"));
        let values = hive.open("values").unwrap();
        let raw = |name: &str| tools.run_for_bytes("hivexget", &[text(&path), r"\values", name]);
        assert_eq!(String::from_utf8(raw("strings")).unwrap().trim_end(), "one\ntwo");
        assert_eq!(String::from_utf8(raw("dword")).unwrap().trim_end(), "305419896");
        // hivex shows other types as bytes; a hive of version 1.3 keeps them in one cell, one of 1.5 in segments.
        for len in [1, 5, 16344, 16345, 32689, 100_000] {
            let name = len.to_string();
            assert!(raw(&name) == *hive.value(values, name.as_str()).unwrap().data, "{len} bytes in 1.{minor}");
        }
        let all = reglookup(&tools, &path);
        assert!(all.contains("/values/driver,") && all.contains("/values/property,"));
        let keys = hivex(&tools, &path).matches("<node ").count();
        assert_eq!(keys, regfinfo.lines().filter(|line| line.contains("(key:)")).count());
        assert_eq!(keys, 1 + 1 + 1 + 12 + 100);
    }
}

#[test]
fn fifty_thousand_subkeys_and_a_big_value_are_read_by_others() {
    let Some(tools) = Tools::find(&TOOLS) else { return };
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    let many = hive.create_key("many").unwrap();
    for i in 0..50_000_u32 {
        // Not in order: the list has to be sorted.
        let key = hive.create_subkey(many, format!("key {:05}", i * 7919 % 50_000).as_str()).unwrap();
        hive.set_value(key, "i", Value::dword(i)).unwrap();
    }
    let big: Vec<u8> = (0..16_u32 << 20).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    // hivex takes values of up to 8 MB, reglookup of 1 MB.
    let smaller = &big[..7 << 20];
    hive.set_value(hive.root(), "smaller", Value::binary(smaller)).unwrap();
    hive.set_value(hive.root(), "big", Value::binary(big.clone())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many");
    let bytes = hive.to_bytes().unwrap();
    fs::write(&path, &bytes).unwrap();
    assert!(tools.run_for_bytes("hivexget", &[text(&path), "\\", "smaller"]) == smaller);
    assert_eq!(
        tools.run("hivexget", &[text(&path), r"\many\key 31415", "i"]).trim_end(),
        (0..50_000_u32).find(|i| i * 7919 % 50_000 == 31_415).unwrap().to_string()
    );
    assert_eq!(tools.run("reglookup", &["-t", "KEY", text(&path)]).lines().count(), 1 + 2 + 50_000);
    let again = Hive::read(bytes).unwrap();
    assert_eq!(again.subkey_count(again.open("many").unwrap()), 50_000);
    assert!(*again.value(again.root(), "big").unwrap().data == *big);
}

#[test]
fn what_hivex_writes_is_read() {
    let Some(tools) = Tools::find(&["hivexsh", "reglookup"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hivex");
    let script = folder.path().join("script");
    fs::write(&path, odd_hive(5).to_bytes().unwrap()).unwrap();
    fs::write(&script, "cd names\nadd new\ncd new\nsetval 1\n@\nstring:from hivex\ncd \\deep\ndel\ncommit\n").unwrap();
    tools.run("hivexsh", &["-w", "-f", text(&script), text(&path)]);
    let hive = Hive::read(fs::read(&path).unwrap()).unwrap();
    let new = hive.open(r"names\NEW").unwrap();
    assert_eq!(hive.value(new, "").unwrap().as_text().as_deref(), Some("from hivex"));
    assert!(hive.open("deep").is_none());
    assert_eq!(hive.descriptor(new), hive.descriptor(hive.root()));
    let before = reglookup(&tools, &path);
    fs::write(&path, hive.to_bytes().unwrap()).unwrap();
    assert!(before == reglookup(&tools, &path));
}
