//! Disks put into other containers, compared by qemu with what they were.

use std::path::{Path, PathBuf};

use nanovhd::base::{Disk, FileTime, MemoryDisk};
use nanovhd::format::vhd::{BLOCK, Layout, Params, Writer};
use nanovhd::verify::Rule;
use uuid::Uuid;

use crate::support::program::{fail, succeed};
use crate::support::tools::{Tools, text};
use crate::vhdx::{assert_clean, findings};

const MIB: u64 = 1 << 20;

/// The formats, with the name that qemu has for each.
const FORMATS: [(&str, &str); 11] = [
    ("raw", "raw"),
    ("vhd", "vpc"),
    ("vhd-fixed", "vpc"),
    ("vhdx", "vhdx"),
    ("vhdx-fixed", "vhdx"),
    ("vdi", "vdi"),
    ("vdi-fixed", "vdi"),
    ("qcow2", "qcow2"),
    ("qcow2-compressed", "qcow2"),
    ("vmdk", "vmdk"),
    ("vmdk-stream", "vmdk"),
];

fn demo(folder: &Path) -> PathBuf {
    let disk = folder.join("demo.img");
    succeed(["demo", "--size=96M", "--output", text(&disk)]);
    disk
}

fn convert(from: &Path, to: &Path, format: &str) -> String {
    succeed(["convert", text(from), "--output", text(to), "--format", format])
}

#[test]
fn every_format_holds_the_same_disk_whatever_it_comes_from() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = demo(folder.path());
    for (index, (source, _)) in FORMATS.into_iter().enumerate() {
        let from = folder.path().join(source);
        convert(&raw, &from, source);
        // What is read does not know what is written: three of each are as good as all.
        for (target, name) in FORMATS.into_iter().cycle().skip(index).step_by(4).take(3) {
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
            // A VMDK holds its own name.
            let to = folder.path().join(name).join("disk");
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
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
    let most = [
        ("vhd", 3 * MIB),
        ("vhdx", 36 * MIB),
        ("vmdk", MIB / 4),
        ("vmdk-stream", MIB / 8),
        ("vdi", 3 * MIB),
        ("qcow2", 6 * (64 << 10)),
        ("qcow2-compressed", 6 * (64 << 10)),
    ];
    for (format, most) in most {
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
    for (format, name, size) in [
        ("vhd", "vpc", 5 * MIB),
        ("vhd-fixed", "vpc", 5 * MIB),
        ("vhdx", "vhdx", 4 * MIB + 1024),
        ("vdi", "vdi", 5 * MIB),
        ("qcow2", "qcow2", 4 * MIB + 1024),
        ("qcow2-compressed", "qcow2", 4 * MIB + 1024),
        ("vmdk", "vmdk", 5 * MIB),
    ] {
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
    for (format, name) in [("qed", "QED"), ("parallels", "Parallels")] {
        let foreign = folder.path().join(format);
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", format, text(&raw), text(&foreign)]);
        let (code, words) = fail(["convert", text(&foreign), "--output", text(&to)]);
        assert_eq!(code, 22, "{words}");
        assert!(words.contains(name) && words.contains("qemu-img convert"), "{words}");
    }
    let (code, words) = fail(["convert", text(&raw), "--output", text(&raw), "--force", "--format=vhd"]);
    assert_eq!(code, 30, "{words}");
    assert_eq!(fail(["convert", text(&raw), "--output", text(&folder.path().join("x.hdd"))]).0, 30);
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
    succeed(["demo", "--firmware=bios", "--size=96M", "--output", text(&built)]);
    tools.run("qemu-img", &["compare", "-f", "raw", "-F", "vhdx", text(&raw), text(&built)]);
    assert_clean(&built);
}

/// A VHD of 4 MiB with such an id: a dynamic one full of `fill`, or a differencing one that has the sectors of its first block for which
/// `own` says so, over a parent of that id and name.
fn vhd(id: u8, fill: u8, parent: Option<(u8, &str)>, own: impl Fn(usize) -> bool) -> Vec<u8> {
    let used = if parent.is_some() { 0..1 } else { 0..4 * MIB };
    let layout = Layout::dynamic(4 * MIB, std::slice::from_ref(&used)).unwrap();
    let params = Params { created: FileTime::from_vhd(1), id: Uuid::from_bytes([id; 16]) };
    let writer = Writer::new(layout.clone(), params, MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    writer.write_at(0, &vec![fill; if parent.is_some() { BLOCK } else { 4 * MIB } as usize]).unwrap();
    let mut bytes = writer.finish().unwrap().into_bytes();
    let Some((parent, name)) = parent else { return bytes };
    let bitmap = u32::from_be_bytes(bytes[1536..1540].try_into().unwrap()) as usize * 512;
    bytes[bitmap..bitmap + 512].fill(0);
    for sector in (0..4096).filter(|sector| own(*sector)) {
        bytes[bitmap + sector / 8] |= 0x80 >> (sector % 8);
    }
    let path: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes[2048..2048 + path.len()].copy_from_slice(&path);
    let header = &mut bytes[512..1536];
    header[40..56].fill(parent);
    header[576..580].copy_from_slice(b"W2ru");
    header[580..584].copy_from_slice(&512u32.to_be_bytes());
    header[584..588].copy_from_slice(&(path.len() as u32).to_be_bytes());
    header[592..600].copy_from_slice(&2048u64.to_be_bytes());
    sum(header, 36);
    let end = bytes.len();
    for footer in [0..512, end - 512..end] {
        let footer = &mut bytes[footer];
        footer[63] = 4;
        sum(footer, 64);
    }
    bytes
}

/// Sets the checksum of a footer or header.
fn sum(structure: &mut [u8], at: usize) {
    structure[at..at + 4].fill(0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn a_chain_becomes_one_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("base")).unwrap();
    std::fs::write(path("base/base.vhd"), vhd(1, 0x11, None, |_| true)).unwrap();
    std::fs::write(path("middle.vhd"), vhd(2, 0x22, Some((1, r".\base\base.vhd")), |sector| sector % 2 == 0)).unwrap();
    std::fs::write(path("top.vhd"), vhd(3, 0x33, Some((2, r"..\elsewhere\middle.vhd")), |sector| sector % 3 == 0))
        .unwrap();
    assert_clean(&path("top.vhd"));
    for (target, name) in FORMATS {
        let to = path(target);
        let report = succeed(["convert", text(&path("top.vhd")), "--output", text(&to), "--format", target, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["layers"].as_array().unwrap().len(), 3);
        let raw = path("raw-again");
        succeed(["convert", text(&to), "--output", text(&raw), "--format", "raw", "--force"]);
        let disk = std::fs::read(&raw).unwrap();
        assert_eq!(disk.len() as u64, 4 * MIB);
        for (sector, bytes) in disk.chunks(512).enumerate() {
            let expected = match sector {
                4096.. => 0x11,
                _ if sector % 3 == 0 => 0x33,
                _ if sector % 2 == 0 => 0x22,
                _ => 0x11,
            };
            assert!(bytes.iter().all(|byte| *byte == expected), "{name}: sector {sector}");
        }
    }
}

#[test]
fn chains_that_are_broken_are_refused_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let child = path("child.vhd");
    std::fs::write(&child, vhd(2, 0x22, Some((1, r".\base.vhd")), |_| true)).unwrap();
    let refused = |words: &str| {
        let (_, complaint) = fail(["convert", text(&child), "--output", text(&path("out.img"))]);
        assert!(complaint.contains(words), "{complaint}");
        assert!(!path("out.img").exists());
        let found = findings(&child);
        assert_eq!(found.count_of(Rule::VhdParent), 1, "{:?}", found.kept());
    };
    refused("the parent of the differencing disk is not there");
    std::fs::write(path("base.vhd"), vhd(9, 0x11, None, |_| true)).unwrap();
    refused("not the disk that the differencing disk was made for");
    std::fs::write(path("base.vhd"), "no VHD at all").unwrap();
    refused("not the disk that the differencing disk was made for");
    std::fs::write(&child, vhd(1, 0x22, Some((1, r".\child.vhd")), |_| true)).unwrap();
    refused("lie on each other");
}
