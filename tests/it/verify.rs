//! `nanovhd verify`, as a user runs it: on our own disks, on those of other people's tools, on disks that Windows made, and on
//! damaged ones.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{fail, nanovhd, output, succeed};
use crate::support::tools::{Tools, testdata, text, windows_file};

const MIB: usize = 1 << 20;

/// What a check says, whatever it finds.
fn verify(image: &Path) -> Value {
    let output = output(nanovhd(["verify", "--json", text(image)]));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code() == Some(1), report["errors"] != 0, "{report:#}");
    report
}

fn codes(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn assert_clean(image: &Path) -> Value {
    let report = verify(image);
    assert_eq!((&report["errors"], &report["warnings"]), (&0.into(), &0.into()), "{}: {report:#}", image.display());
    report
}

fn demo(folder: &Path, name: &str, options: &[&str]) -> std::path::PathBuf {
    let path = folder.join(name);
    succeed([&["demo", "--output", text(&path), "--size=64M"], options].concat());
    path
}

#[test]
fn our_own_disks_are_clean() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in
        [("a.vhd", &[][..]), ("b.img", &[]), ("c.vhd", &["--format=vhd-fixed"]), ("d.img", &["--cluster-size=512"])]
    {
        let disk = demo(folder.path(), name, options);
        let report = assert_clean(&disk);
        assert!(codes(&report).contains(&"windows") && codes(&report).contains(&"boot-firmware"), "{report:#}");
        assert_eq!(report["looked"]["scheme"], "MBR");
        assert_eq!(report["looked"]["partitions"][0]["windows"], true);
        assert_eq!(report["looked"]["boot"], true);
    }
    let whole = fs::read(folder.path().join("b.img")).unwrap();
    let volume = folder.path().join("volume");
    fs::write(&volume, &whole[MIB..whole.len() - MIB]).unwrap();
    let report = assert_clean(&volume);
    assert_eq!(report["looked"]["scheme"], "one volume");
}

#[test]
fn words_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = demo(folder.path(), "disk.img", &[]);
    let words = succeed(["verify", text(&disk)]);
    assert!(words.lines().last().unwrap().starts_with("0 errors, 0 warnings, "), "{words}");
    assert!(words.contains("Windows on it") && !words.contains("then: "), "{words}");
    let quiet = succeed(["verify", "--level=error", text(&disk)]);
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    let mut bytes = fs::read(&disk).unwrap();
    bytes[..440].fill(0);
    fs::write(&disk, &bytes).unwrap();
    let output = output(nanovhd(["verify", text(&disk)]));
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("error[boot-mbr-code] offset 0x0: no code, zeros only; allowed: boot code"), "{words}");
    assert!(words.contains("    then: the BIOS starts nothing"), "{words}");
    assert_eq!(succeed(["verify", "--partition=1", text(&disk)]).lines().filter(|l| l.starts_with("error")).count(), 0);
    assert_eq!(fail(["verify", "--partition=2", text(&disk)]).0, 30);
    assert_eq!(fail(["verify", "no such file"]).0, 10);
    assert_eq!(fail(["verify"]).0, 2);
    let list = succeed(["verify", "--list"]);
    let rules: Value = serde_json::from_str(&succeed(["verify", "--list", "--json"])).unwrap();
    assert!(rules.as_array().unwrap().iter().all(|rule| list.contains(rule["code"].as_str().unwrap())));
}

#[test]
fn no_file_crashes_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd");
    for bytes in [&b""[..], b"x", b"vhdxfile", b"conectix", &[0; 511], &[0xFF; 4096], &[0; 4096]] {
        fs::write(&file, bytes).unwrap();
        verify(&file);
    }
    fs::write(&file, b"MSWIM\0\0\0").unwrap();
    let (code, complaint) = fail(["verify", text(&file)]);
    assert!(code == 22 && complaint.contains("a WIM, not a disk"), "{code}: {complaint}");
}

/// Bytes of the first MiB and of the boot store, changed at random.
#[test]
fn damage_is_found_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let disk = demo(folder.path(), "disk.img", &[]);
    let good = fs::read(&disk).unwrap();
    let store = good.windows(4).skip(MIB).position(|bytes| bytes == b"regf").unwrap() + MIB;
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut below = |end: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % end as u64) as usize
    };
    for round in 0..40 {
        let mut bytes = good.clone();
        for _ in 0..1 + below(4) {
            let at = if round % 2 == 0 { below(512) } else { store + below(8192) };
            bytes[at] = below(256) as u8;
        }
        fs::write(&disk, &bytes).unwrap();
        verify(&disk);
    }
}

/// A GPT disk of sgdisk's with volumes of mkfs.vfat's and mkntfs's.
#[test]
fn data_disks_of_other_tools_are_clean() {
    let Some(tools) = Tools::find(&["sgdisk", "mkntfs", "mkfs.vfat"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    fs::write(&disk, vec![0; 160 * MIB]).unwrap();
    let partitions = ["-n", "1:2048:+100M", "-t", "1:ef00", "-n", "2:0:0", "-t", "2:0700"];
    tools.run("sgdisk", &[&partitions[..], &[text(&disk)]].concat());
    let mut bytes = fs::read(&disk).unwrap();
    let (fat, ntfs) = (folder.path().join("fat"), folder.path().join("ntfs"));
    fs::write(&fat, vec![0; 100 * MIB]).unwrap();
    tools.run("mkfs.vfat", &["-F", "32", text(&fat)]);
    let fat = fs::read(&fat).unwrap();
    bytes[MIB..101 * MIB].copy_from_slice(&fat);
    let end = 160 * MIB - 33 * 512 - 512 * (160 * MIB / 512 - 33) % 512;
    let len = (end - 101 * MIB) / 512 * 512;
    fs::write(&ntfs, vec![0; len]).unwrap();
    tools.run("mkntfs", &["-F", "-q", "-Q", "-s", "512", "-p", "206848", "-H", "255", "-S", "63", text(&ntfs)]);
    bytes[101 * MIB..101 * MIB + len].copy_from_slice(&fs::read(&ntfs).unwrap());
    fs::write(&disk, &bytes).unwrap();
    let report = verify(&disk);
    let of_boot = ["boot-efi-boot-manager", "boot-bcd"];
    let worse: Vec<_> = report["findings"].as_array().unwrap().iter().filter(|f| f["level"] != "note").collect();
    assert!(
        worse.iter().all(|f| of_boot.contains(&f["code"].as_str().unwrap())),
        "an empty system partition: {report:#}"
    );
    assert_eq!(report["looked"]["scheme"], "GPT");
    assert_eq!(report["looked"]["partitions"].as_array().unwrap().len(), 2);
    // sgdisk's verification agrees about the table, before and after it is broken.
    assert!(tools.run("sgdisk", &["-v", text(&disk)]).contains("No problems found"));
    bytes[512 + 56] ^= 1;
    fs::write(&disk, &bytes).unwrap();
    assert!(codes(&verify(&disk)).contains(&"gpt-header"));
}

#[test]
fn what_windows_made_is_clean() {
    let Some(tools) = Tools::find(&["bzip2"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["windows10-formatted-10MB.img", "windows10-lastaccess.ntfs"] {
        let Some(bytes) = windows_file(format!("ntfs/{name}.xz")) else { return };
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_clean(&path);
        fs::remove_file(&path).unwrap();
    }
    for name in ["hyperv2012r2-dynamic.vhd", "virtualpc-dynamic.vhd", "iotest-dynamic-1G.vhdx"] {
        let Some(packed) = testdata(format!("disks/{name}.bz2")) else { return };
        let path = folder.path().join(name);
        fs::write(&path, tools.run_for_bytes("bzip2", &["-dc", text(&packed)])).unwrap();
        let report = verify(&path);
        let worse: Vec<_> = report["findings"].as_array().unwrap().iter().filter(|f| f["level"] != "note").collect();
        println!("{name}: {worse:#?}");
        // The one from Hyper-V is filled with a pattern, which is no partition table.
        let allowed: &[&str] = if name.ends_with("vhdx") { &["partition-table"] } else { &[] };
        let worse: Vec<_> = worse.iter().map(|finding| finding["code"].as_str().unwrap()).collect();
        assert_eq!(worse, allowed, "{name}: {report:#}");
    }
}
