//! The demo, as a user runs it: from nothing to a disk that a BIOS starts, and a boot store that others can read.

use std::fs;
use std::path::Path;

use crate::support::program::{demo_wim, succeed};
use crate::support::qemu::{self, QEMU};
use crate::support::tools::{Tools, text};

fn demo(disk: &Path, options: &[&str]) {
    succeed([&["demo", "--output", text(disk)], options].concat());
}

#[test]
fn boots_from_every_container_and_cluster_size() {
    let Some(_) = Tools::find(&[QEMU]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &[&str]); 6] = [
        ("default.vhd", "vpc", &[]),
        ("small-clusters.vhd", "vpc", &["--cluster-size=512", "--size=64M"]),
        ("large-clusters.vhd", "vpc", &["--cluster-size=64K", "--size=1G"]),
        ("fixed.vhd", "vpc", &["--format=vhd-fixed", "--size=64M"]),
        ("raw.img", "raw", &["--size=64M"]),
        ("huge.vhd", "vpc", &["--size=2039G"]),
    ];
    for (name, format, options) in cases {
        let disk = folder.path().join(name);
        demo(&disk, options);
        let outcome = qemu::boot(&disk, format);
        assert!(outcome.is_ok(), "{name}: {outcome:#?}");
    }
}

/// A root directory of many index blocks, laid out by our own writer.
#[test]
fn boots_with_twenty_thousand_files_in_the_root() {
    let Some(tools) = Tools::find(&[QEMU, "wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let crowd = folder.path().join("crowd");
    fs::create_dir(&crowd).unwrap();
    for number in 0..20_000 {
        fs::write(crowd.join(format!("{number:05} one of very many files in the root.txt")), "").unwrap();
    }
    let wim = demo_wim(folder.path());
    tools.run("wimlib-imagex", &["update", text(&wim), "2", "--command", &format!("add '{}' /", text(&crowd))]);
    let disk = folder.path().join("crowded.vhd");
    succeed(["build", "--wim", text(&wim), "--image=2", "--output", text(&disk), "--size=128M"]);
    let outcome = qemu::boot(&disk, "vpc");
    assert!(outcome.is_ok(), "{outcome:#?}");
}

#[test]
fn qemu_reads_our_disks_with_their_exact_size() {
    let Some(tools) = Tools::find(&["qemu-img", "vhdiinfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, size, options) in [
        ("a.vhd", 67 << 20, &[][..]),
        ("b.vhd", 129 << 20, &["--format=vhd-fixed"][..]),
        ("c.vhd", 4_296 << 20, &[][..]),
    ] {
        let disk = folder.path().join(name);
        demo(&disk, &[&[&*format!("--size={size}")], options].concat());
        let info = tools.run("qemu-img", &["info", "-f", "vpc", "--output=json", text(&disk)]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size, "{name}");
        assert!(tools.run("vhdiinfo", &[text(&disk)]).contains(&format!("{size} bytes")), "vhdiinfo on {name}");
    }
}

/// The store that the boot manager will read, through three other people's readers.
#[test]
fn registry_tools_read_the_boot_store() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexget", "hivexsh", "reglookup", "regfinfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    demo(&disk, &["--size=64M"]);
    let bytes = fs::read(&disk).unwrap();
    let volume = folder.path().join("volume.ntfs");
    fs::write(&volume, &bytes[1 << 20..bytes.len() - (1 << 20)]).unwrap();
    let store = folder.path().join("BCD");
    fs::write(&store, tools.run_for_bytes("ntfscat", &[text(&volume), "/Boot/BCD"])).unwrap();

    assert!(tools.run("regfinfo", &[text(&store)]).contains("Windows NT Registry File"));
    let listed = tools.run("reglookup", &[text(&store)]);
    let manager = "/Objects/{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
    assert!(listed.contains(&format!("{manager}/Elements/25000004/Element,BINARY,")), "{listed}");
    let loader_name = "\\Objects\\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\\Elements\\23000003";
    let loader = tools.run("hivexget", &[text(&store), loader_name, "Element"]).trim().to_owned();
    let path = tools.run("hivexget", &[text(&store), &format!("\\Objects\\{loader}\\Elements\\12000002"), "Element"]);
    assert_eq!(path.trim(), r"\Windows\system32\boot\winload.exe", "as the image's own template says");
    let shown = tools.run("hivexsh", &["-f", text(&script(folder.path())), text(&store)]);
    assert!(shown.contains("Description") && shown.contains("Objects"), "{shown}");
}

fn script(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("commands");
    fs::write(&path, "ls\n").unwrap();
    path
}
