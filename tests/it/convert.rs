//! Disks put into other containers, compared by qemu with what they were.

use std::path::{Path, PathBuf};

use crate::support::program::{fail, succeed};
use crate::support::tools::{Tools, text};
use crate::vhdx::assert_clean;

const MIB: u64 = 1 << 20;

/// The formats, with the name that qemu has for each.
const FORMATS: [(&str, &str); 5] =
    [("raw", "raw"), ("vhd", "vpc"), ("vhd-fixed", "vpc"), ("vhdx", "vhdx"), ("vhdx-fixed", "vhdx")];

fn demo(folder: &Path) -> PathBuf {
    let disk = folder.join("demo.img");
    succeed(["demo", "--size=96M", "--output", text(&disk)]);
    disk
}

fn convert(from: &Path, to: &Path, format: &str) -> String {
    succeed(["convert", text(from), "--output", text(to), "--format", format])
}

#[test]
fn every_pair_of_formats_holds_the_same_disk() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = demo(folder.path());
    for (source, _) in FORMATS {
        let from = folder.path().join(source);
        convert(&raw, &from, source);
        for (target, name) in FORMATS {
            let to = folder.path().join(format!("{source}-{target}"));
            convert(&from, &to, target);
            tools.run("qemu-img", &["compare", "-f", "raw", "-F", name, text(&raw), text(&to)]);
            assert_clean(&to);
            std::fs::remove_file(to).unwrap();
        }
    }
}

#[test]
fn a_conversion_gives_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let raw = demo(folder.path());
    for (format, _) in FORMATS {
        let [first, second] = ["first", "second"].map(|name| {
            let to = folder.path().join(name);
            succeed(["convert", text(&raw), "--output", text(&to), "--format", format, "--force"]);
            std::fs::read(to).unwrap()
        });
        assert!(first == second, "{format}");
    }
}

#[test]
fn a_growing_disk_holds_only_what_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("empty.img");
    let mut disk = vec![0; 96 << 20];
    disk[40 << 20] = 1;
    std::fs::write(&raw, disk).unwrap();
    for (format, most) in [("vhd", 3 * MIB), ("vhdx", 36 * MIB)] {
        let to = folder.path().join(format);
        convert(&raw, &to, format);
        assert!(std::fs::metadata(to).unwrap().len() <= most, "{format}");
    }
}

#[test]
fn odd_sizes_are_padded_with_a_word() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("odd.img");
    std::fs::write(&raw, vec![7; (4 << 20) + 700]).unwrap();
    for (format, name, size) in
        [("vhd", "vpc", 5 * MIB), ("vhd-fixed", "vpc", 5 * MIB), ("vhdx", "vhdx", 4 * MIB + 1024)]
    {
        let to = folder.path().join(format);
        let report = succeed(["convert", text(&raw), "--output", text(&to), "--format", format, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["new_disk_bytes"], size);
        assert_eq!(report["disk_bytes"], 4 * MIB + 700);
        assert!(report["warnings"][0].as_str().unwrap().contains("zeros were added"), "{report}");
        let info = tools.run("qemu-img", &["info", "--output=json", "-f", name, text(&to)]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size);
        assert_clean(&to);
    }
    // The backup of a GPT stays in the last sector.
    let mut gpt = vec![0; (4 << 20) + 512];
    gpt[512..520].copy_from_slice(b"EFI PART");
    std::fs::write(&raw, gpt).unwrap();
    let to = folder.path().join("gpt.vhd");
    let report = succeed(["convert", text(&raw), "--output", text(&to), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["new_disk_bytes"], 4 * MIB + 512);
    assert!(report["warnings"][0].as_str().unwrap().contains("Azure"), "{report}");
}

#[test]
fn what_cannot_be_is_said() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.img");
    std::fs::write(&raw, vec![0; 4 << 20]).unwrap();
    let to = folder.path().join("out.vhdx");
    for (format, name) in [("vmdk", "VMDK"), ("vdi", "VDI"), ("qcow2", "qcow2")] {
        let foreign = folder.path().join(format);
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", format, text(&raw), text(&foreign)]);
        let (code, words) = fail(["convert", text(&foreign), "--output", text(&to)]);
        assert_eq!(code, 22, "{words}");
        assert!(words.contains(name) && words.contains("qemu-img convert"), "{words}");
    }
    let (code, words) = fail(["convert", text(&raw), "--output", text(&raw), "--force", "--format=vhd"]);
    assert_eq!(code, 30, "{words}");
    assert_eq!(fail(["convert", text(&raw), "--output", text(&folder.path().join("x.vmdk"))]).0, 30);
    std::fs::write(&to, "mine").unwrap();
    assert_eq!(fail(["convert", text(&raw), "--output", text(&to)]).0, 12);
    assert_eq!(std::fs::read(&to).unwrap(), b"mine");
}

#[test]
fn a_vhdx_is_built_as_any_other() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = demo(folder.path());
    let built = folder.path().join("demo.vhdx");
    succeed(["demo", "--size=96M", "--output", text(&built)]);
    tools.run("qemu-img", &["compare", "-f", "raw", "-F", "vhdx", text(&raw), text(&built)]);
    assert_clean(&built);
}
