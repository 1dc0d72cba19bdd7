//! Registries and boot stores in images, against hivex, reglookup and real hives.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{demo_wim, nanovhd, output, succeed};
use crate::support::tools::{Tools, text, windows_file};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args.iter().chain(&["--json"]))).expect("JSON")
}

#[test]
fn reads_the_values_that_hivexget_reads() {
    let Some(tools) = Tools::find(&["hivexget"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let hive = folder.path().join("SYSTEM");
    let bytes = output(nanovhd(["cat", text(&wim), "--image=2", r"Windows\System32\config\SYSTEM"])).stdout;
    fs::write(&hive, bytes).unwrap();
    let report = json(&["reg", text(&wim), "--image=2", r"HKLM\SYSTEM\CurrentControlSet\Services\Ntfs"]);
    let values = report["keys"][0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 4);
    for value in values {
        let name = value["name"].as_str().unwrap();
        let theirs = tools.run("hivexget", &[text(&hive), r"\ControlSet001\Services\Ntfs", name]);
        let ours = &value["data"];
        let ours = ours.as_str().map_or_else(|| ours.to_string(), str::to_owned);
        let theirs = theirs.trim();
        let number = u64::from_str_radix(theirs.trim_start_matches("0x"), 16).map(|n| n.to_string());
        assert!(theirs == ours || number.as_deref() == Ok(&ours), "{name}: {theirs} {ours}");
    }
    // The same by file, in an image and on the host.
    let within = succeed(["reg", text(&wim), "--image=2", "--hive=Windows/System32/config/SYSTEM", "Select"]);
    assert_eq!(within, succeed(["reg", text(&hive), "Select"]));
    assert!(within.starts_with("HKEY_LOCAL_MACHINE\\SYSTEM\\Select\n    Current    REG_DWORD    0x1\n"), "{within}");
}

/// Every key and value of a hive by reglookup's list: `PATH,TYPE,VALUE,MTIME`.
fn count_by_reglookup(tools: &Tools, hive: &Path) -> (usize, BTreeMap<String, usize>) {
    let listing = tools.run("reglookup", &["-H", text(hive)]);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in listing.lines() {
        let kind = line.split(',').nth(1).unwrap_or_default();
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    let keys = kinds.remove("KEY").unwrap_or_default();
    (keys, kinds)
}

#[test]
fn a_real_hive_is_listed_in_full() {
    let (Some(tools), Some(bytes)) = (Tools::find(&["reglookup", "xz"]), windows_file("hives/SYSTEM-win10-1709.xz"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let hive = folder.path().join("SYSTEM");
    fs::write(&hive, bytes).unwrap();
    let report = json(&["reg", text(&hive), "--recursive"]);
    let keys = report["keys"].as_array().unwrap();
    let values: usize = keys.iter().map(|key| key["values"].as_array().unwrap().len()).sum();
    let (their_keys, their_values) = count_by_reglookup(&tools, &hive);
    assert!(keys.len() > 10_000, "{}", keys.len());
    assert_eq!(keys.len(), their_keys);
    assert_eq!(values, their_values.values().sum::<usize>());
    for (ours, theirs) in
        [("REG_SZ", "SZ"), ("REG_DWORD", "DWORD"), ("REG_BINARY", "BINARY"), ("REG_MULTI_SZ", "MULTI_SZ")]
    {
        let all = keys.iter().flat_map(|key| key["values"].as_array().unwrap());
        assert_eq!(all.filter(|value| value["type"] == ours).count(), their_values[theirs], "{ours}");
    }
    let name = succeed(["reg", text(&hive), r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName"]);
    assert!(name.contains("REG_SZ"), "{name}");
}

#[test]
fn an_export_is_read_back_by_others() {
    let Some(tools) = Tools::find(&["hivexregedit", "hivexsh", "iconv"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let exported = output(nanovhd(["reg", text(&wim), "--image=2", "--export", r"HKLM\SYSTEM\ControlSet001"])).stdout;
    assert!(exported.starts_with(&[0xFF, 0xFE]));
    let (utf16, utf8, hive) = (folder.path().join("x16.reg"), folder.path().join("x8.reg"), folder.path().join("new"));
    fs::write(&utf16, exported).unwrap();
    fs::write(&utf8, tools.run_for_bytes("iconv", &["-f", "UTF-16", "-t", "UTF-8", text(&utf16)])).unwrap();
    let empty = nanovhd::format::hive::Hive::new("ROOT", nanovhd::base::FileTime(1)).unwrap();
    fs::write(&hive, empty.to_bytes().unwrap()).unwrap();
    tools.run("hivexregedit", &["--merge", "--prefix", r"HKEY_LOCAL_MACHINE\SYSTEM", text(&hive), text(&utf8)]);
    let values = |report: Value| -> Vec<Value> {
        report["keys"].as_array().unwrap().iter().map(|key| key["values"].clone()).collect()
    };
    let back = values(json(&["reg", text(&hive), "ControlSet001", "-r"]));
    let there = values(json(&["reg", text(&wim), "--image=2", r"HKLM\SYSTEM\ControlSet001", "-r"]));
    assert!(there.len() > 10);
    let sorted = |keys: Vec<Value>| -> Vec<Vec<String>> {
        keys.iter()
            .map(|values| {
                let mut lines: Vec<String> = values.as_array().unwrap().iter().map(Value::to_string).collect();
                lines.sort();
                lines
            })
            .collect()
    };
    assert_eq!(sorted(back), sorted(there));
}

#[test]
fn logs_beside_a_hive_are_replayed() {
    let names = ["UsrClass.dat", "UsrClass.dat.LOG1", "UsrClass.dat.LOG2"];
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let Some(bytes) = windows_file(format!("hives/{name}.xz")) else { return };
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let hive = folder.path().join(names[0]);
    let report = json(&["reg", text(&hive)]);
    assert!(report["recovery"].as_str().unwrap().starts_with("replayed"), "{}", report["recovery"]);
}

#[test]
fn a_real_boot_store_reads_as_in_bcdedit() {
    let Some(bytes) = windows_file("hives/BCD-Template-win10.xz") else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("BCD-Template");
    fs::write(&store, bytes).unwrap();
    let listing = succeed(["bcd", text(&store)]);
    for line in [
        "Windows Boot Manager\n--------------------\nidentifier              {bootmgr}\n",
        "\nlocale                  en-US\n",
        "\nGlobal Settings\n---------------\n",
    ] {
        assert!(listing.contains(line), "{line:?} is not in\n{listing}");
    }
    assert!(!listing.contains("custom:12"), "{listing}");
    let report = json(&["bcd", text(&store), "--verbose"]);
    assert_eq!(report["objects"].as_array().unwrap().len(), 16);
    assert_eq!(report["objects"][0]["id"], "{9dea862c-5cdd-4e70-acc1-f32b344d4795}");
}
