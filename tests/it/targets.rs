//! Disks as each machine wants them: layouts, sizes, several targets in one run; by other people's tools.

use std::fs;
use std::path::{Path, PathBuf};

use nanovhd::base::ReadAt;
use nanovhd::format::vhd::{Variant, Vhd};
use nanovhd::image::host::InputFile;
use serde_json::Value;

use crate::support::program::{fail, succeed};
use crate::support::qemu::{self, QEMU};
use crate::support::tools::{Tools, text};

const MIB: u64 = 1 << 20;

fn demo(options: &[&str]) -> String {
    succeed([&["demo"], options].concat())
}

/// Every size that Azure takes, and none that it does not: whole MiB, and a footer that says so whatever its geometry comes to.
#[test]
fn azure_gets_whole_mib_and_a_footer() {
    let Some(tools) = Tools::find(&["qemu-img", "vhdiinfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    // 127.5 GiB is where the geometry ends; 1023 and 1025 are beside a power of two; 100 is one that qemu's own rounding changes.
    for (size, mib) in
        [("64M", 64), ("100M", 100), ("1023M", 1023), ("1025M", 1025), ("127.5G", 130_560), ("2040G", 2_088_960)]
    {
        let disk = folder.path().join("azure.vhd");
        demo(&["--target=azure-gen1", "--force", "--no-verify", "--size", size, "--output", text(&disk)]);
        assert_eq!(fs::metadata(&disk).unwrap().len(), mib * MIB + 512, "{size}");
        let vhd = Vhd::open(InputFile::open(&disk).unwrap()).unwrap();
        assert_eq!(
            (vhd.variant(), vhd.footer().current_size, vhd.len()),
            (Variant::Fixed, mib * MIB, mib * MIB),
            "{size}"
        );
        let mut footer = [0; 512];
        InputFile::open(&disk).unwrap().read_at(mib * MIB, &mut footer).unwrap();
        assert_eq!((&footer[..8], &footer[28..32], &footer[36..40]), (&b"conectix"[..], &b"win "[..], &b"Wi2k"[..]));
        let info = tools.run("qemu-img", &["info", "--output=json", "-f", "vpc", text(&disk)]);
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], mib * MIB, "{size}");
        assert!(tools.run("vhdiinfo", &[text(&disk)]).contains(&format!("{} bytes", mib * MIB)), "{size}");
    }
    let output = folder.path().join("x.vhd");
    for (size, words) in [
        ("104857601", "say --size 100M or --size 101M"),
        ("67108863", "say --size 63M or --size 64M"),
        ("2041G", "2088960 MiB"),
        ("19M", "say --size"),
    ] {
        let (_, complaint) = fail(["demo", "--target=azure-gen2", "--size", size, "--output", text(&output)]);
        assert!(complaint.contains(words), "{size}: {complaint}");
    }
    let (_, complaint) = fail(["demo", "--target=azure-gen1", "--format=vhd", "--output", text(&output)]);
    assert!(complaint.contains("vhd-fixed"), "{complaint}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only what was made");
}

/// The boot settings of Azure's guide.
#[test]
fn azure_gets_a_serial_console() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("azure.vhd");
    demo(&["--target=azure-gen1", "--size=64M", "--output", text(&disk)]);
    let store = succeed(["bcd", text(&disk)]);
    for line in ["bootems", "displaybootmenu", "bootstatuspolicy", "emsport", "recoveryenabled"] {
        assert!(store.contains(line), "{line}: {store}");
    }
}

/// Sharing the source changes nothing about what is made of it.
#[test]
fn several_targets_give_what_each_gives_alone() {
    let folder = tempfile::tempdir().unwrap();
    let together = folder.path().join("all");
    let targets = ["hyperv-gen1", "hyperv-gen2", "virtualbox", "azure-gen1", "kvm", "vmware"];
    let named: Vec<String> = targets.iter().map(|target| format!("--target={target}")).collect();
    let mut options: Vec<&str> = named.iter().map(String::as_str).collect();
    options.extend(["--size=512M", "--output", text(&together)]);
    let told = demo(&options);
    let apart = folder.path().join("apart");
    fs::create_dir(&apart).unwrap();
    for (target, end) in targets.iter().zip(["vhdx", "vhdx", "vdi", "vhd", "qcow2", "vmdk"]) {
        let name = format!("all-{target}.{end}");
        let alone = apart.join(&name);
        demo(&[&format!("--target={target}"), "--size=512M", "--output", text(&alone)]);
        let shared = folder.path().join(&name);
        assert!(told.contains(text(&shared)), "{told}");
        assert!(fs::read(&shared).unwrap() == fs::read(&alone).unwrap(), "{target}");
    }
}

#[test]
fn targets_are_checked_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x");
    let disk = folder.path().join("x.vhd");
    for (options, words) in [
        (&["--target=hyperv-gen3", "--output", text(&output)][..], "did you mean hyperv-gen"),
        (&["--target=kvm", "--target=kvm", "--output", text(&output)], "twice"),
        (&["--target=kvm", "--target=azure-gen1", "--output", text(&disk)], "say --output"),
        (&["--target=hyperv-gen2", "--output", text(&disk)], "allowed: vhdx"),
        (&["--target=raw", "--pack=ova", "--output", text(&output)], "virtualbox"),
        (&["--pack=box", "--output", text(&output)], "--target"),
        (&["--target=azure-gen1", "--pack=box", "--output", text(&output)], "no boxes"),
        (&["--sector-size=4096", "--output", text(&disk)], "--firmware uefi"),
        (&["--firmware=uefi", "--system-size=10M", "--output", text(&disk)], "--system-size 36M"),
        (&["--firmware=uefi", "--size=200M", "--output", text(&disk)], "--size"),
    ] {
        let (_, complaint) = fail([&["demo"], options].concat());
        assert!(complaint.contains(words), "{options:?}: {complaint}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{options:?}");
    }
}

fn starts(disk: &Path, format: &str) {
    let outcome = qemu::boot(disk, format);
    assert!(outcome.is_ok(), "{}: {outcome:#?}", disk.display());
}

/// No errors and no warnings.
fn is_clean(disk: &Path) {
    let told = succeed(["verify", "--level=warning", text(disk)]);
    assert!(told.contains("0 errors, 0 warnings"), "{told}");
}

fn made(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let disk = folder.join(name);
    demo(&[options, &["--output", text(&disk)]].concat());
    disk
}

#[test]
fn a_bios_starts_from_a_system_partition() {
    let Some(tools) = Tools::find(&[QEMU, "sfdisk"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk =
        made(folder.path(), "x.img", &["--separate-system", "--system-size=64M", "--recovery-size=32M", "--size=256M"]);
    is_clean(&disk);
    starts(&disk, "raw");
    let table = tools.run("sfdisk", &["--json", text(&disk)]);
    let table: Value = serde_json::from_str(&table).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let told: Vec<_> = partitions
        .iter()
        .map(|part| (part["type"].as_str().unwrap(), part["bootable"].as_bool().unwrap_or(false)))
        .collect();
    assert_eq!(told, [("7", true), ("7", false), ("27", false)]);
    assert!(succeed(["ls", "--partition=1", text(&disk)]).contains("bootmgr"));
    assert!(!succeed(["ls", "--partition=2", text(&disk)]).contains("bootmgr"));
}

#[test]
fn a_disk_that_nothing_starts_has_no_boot_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, scheme) in [("x.vhd", "MBR"), ("x.vhdx", "GPT")] {
        let disk = made(folder.path(), name, &["--firmware=none", "--size=64M"]);
        assert!(!succeed(["ls", text(&disk)]).contains("bootmgr"), "{name}");
        assert!(succeed(["info", text(&disk)]).contains(scheme), "{name}");
    }
}
