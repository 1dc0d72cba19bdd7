//! EFI system partitions and GUID partition tables: as other people's tools read them, and as real firmware (OVMF in QEMU) starts from them.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use nanovhd::base::io::Slice;
use nanovhd::base::{Disk, FileTime, MemoryDisk};
use nanovhd::format::bcd::Device;
use nanovhd::format::fat;
use nanovhd::format::ntfs;
use nanovhd::format::partitions::gpt::{self, ATTRIBUTE_NO_DRIVE_LETTER, NewPartition};
use nanovhd::format::partitions::{TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, TYPE_MICROSOFT_RESERVED};
use nanovhd::format::wim::Wim;
use nanovhd::image::{Source, demo};
use nanovhd::tree::{Link, Node, NodeId, Times, Tree, attributes};
use nanovhd::windows::Windows;
use nanovhd::windows::boot::{self, Generation, UefiOptions};
use uuid::Uuid;

use crate::support::program::succeed;
use crate::support::qemu::{self, OVMF, QEMU};
use crate::support::tools::{Tools, text};

const MIB: u64 = 1 << 20;
const NOW: FileTime = FileTime(131_193_288_015_000_000); // 2016-09-26 02:00:01.5

fn options(sector_size: u64, label: Option<&str>) -> fat::Options {
    fat::Options {
        sector_size,
        hidden_sectors: (MIB / sector_size) as u32,
        serial: 0x1234_ABCD,
        label: label.map(str::to_owned),
        created: NOW,
        starts_bios: false,
    }
}

fn add(tree: &mut Tree, directory: NodeId, name: &str, node: Node) -> NodeId {
    let node = tree.add_node(node).unwrap();
    tree.add_link(directory, Link { name: name.into(), short: None, node }).unwrap();
    node
}

fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 13 + at / 253) as u8).collect()
}

/// What an EFI system partition has, and names of all lengths.
fn sample() -> Tree {
    let directory = || Node::directory(0, Times::default());
    let file = |len: usize| Node::file(attributes::ARCHIVE, Times::default(), filler(len).into());
    let mut tree = Tree::new(directory());
    let root = tree.root();
    let efi = add(&mut tree, root, "EFI", directory());
    let boot = add(&mut tree, efi, "Boot", directory());
    add(&mut tree, boot, "bootx64.efi", file(1_500_000));
    let microsoft = add(&mut tree, efi, "Microsoft", directory());
    add(&mut tree, microsoft, "Recovery", directory());
    let names = add(&mut tree, microsoft, "A longer name than DOS knew", directory());
    for len in 1..=120 {
        add(&mut tree, names, &"x".repeat(len), file(len * 17));
        add(&mut tree, names, &format!("{len}. Grüße.{len}"), file(0));
    }
    let bcd = add(&mut tree, microsoft, "BCD", file(40_000));
    tree.node_mut(bcd).attributes = attributes::HIDDEN | attributes::SYSTEM | attributes::READ_ONLY;
    tree
}

/// Writes only what the image says that it uses.
fn write(image: &fat::Image, path: &Path, len: u64) {
    let disk = MemoryDisk::new(len as usize, 0);
    image.write(&disk).unwrap();
    fs::write(path, disk.into_bytes()).unwrap();
}

#[test]
fn fat_volumes_are_what_dosfstools_and_mtools_read() {
    let Some(tools) = Tools::find(&["fsck.vfat", "mdir", "mtype", "mattrib", "minfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("esp.img");
    let tree = sample();
    let volumes = [
        (512, 4, None),
        (512, 16, Some("boot")),
        (512, 33, None),
        (512, 200, Some("System")),
        (512, 300, None),
        (4096, 260, None),
    ];
    for (sector, mib, label) in volumes {
        let image = fat::Image::new(&tree, mib * MIB, &options(sector, label)).unwrap();
        write(&image, &path, mib * MIB);
        let report = tools.run("fsck.vfat", &["-n", "-v", text(&path)]);
        let counted = image.summary().files + image.summary().directories + usize::from(label.is_some());
        assert!(report.contains(&format!(": {counted} files")), "{counted}: {report}");
        for complaint in ["differ", "Dirty bit", "wrong", "Bad", "Reclaimed", "Free cluster summary"] {
            assert!(!report.contains(complaint), "{sector} {mib}: {report}");
        }
        if sector == 512 {
            read_with_mtools(&tools, &tree, &path, label);
        }
    }
}

fn read_with_mtools(tools: &Tools, tree: &Tree, path: &Path, label: Option<&str>) {
    let image = ["-i", text(path)];
    let listed = tools.run("mdir", &[&image[..], &["-/", "-a", "-b", "::"]].concat());
    let mut listed: Vec<String> =
        listed.lines().map(|line| line.trim_start_matches("::/").replace('/', r"\")).collect();
    let mut expected = Vec::new();
    tree.visit(|path, link| {
        let slash = if tree.node(link.node).is_directory() { r"\" } else { "" };
        expected.push(format!("{}{slash}", &path[1..]));
        std::ops::ControlFlow::Continue(())
    });
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    let head = tools.run("mdir", &[&image[..], &["::"]].concat());
    match label {
        Some(label) => assert!(head.contains(&format!("is {}", label.to_uppercase())), "{head}"),
        None => assert!(head.contains("has no label"), "{head}"),
    }
    assert!(head.contains("1234-ABCD") && head.contains("2016-09-26   2:00"), "{head}");
    for file in ["::/EFI/Boot/bootx64.efi", "::/EFI/Microsoft/BCD"] {
        let bytes = tools.run_for_bytes("mtype", &[&image[..], &[file]].concat());
        assert_eq!(Some(bytes), tree.read_file(&file[3..]).unwrap());
    }
    let attributes = tools.run("mattrib", &[&image[..], &["::/EFI/Microsoft/BCD"]].concat());
    assert!(attributes.contains("SHR") && !attributes.contains('A'), "{attributes}");
    let info = tools.run("minfo", &[&image[..], &["::"]].concat());
    assert!(info.contains("hidden sectors: 2048") || info.contains("hiddenSectors: 2048"), "{info}");
}

fn partition(kind: Uuid, id: u128, range: std::ops::Range<u64>, attributes: u64, name: &str) -> NewPartition {
    NewPartition { kind, id: Uuid::from_u128(id), range, attributes, name: name.into() }
}

const DISK_ID: Uuid = Uuid::from_u128(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00);

fn partitions(disk_len: u64, esp: u64) -> [NewPartition; 3] {
    let [first, second] = [MIB + esp, MIB + esp + 16 * MIB];
    [
        partition(TYPE_EFI_SYSTEM, 0xE5, MIB..first, ATTRIBUTE_NO_DRIVE_LETTER, "EFI system partition"),
        partition(
            TYPE_MICROSOFT_RESERVED,
            0xE6,
            first..second,
            ATTRIBUTE_NO_DRIVE_LETTER,
            "Microsoft reserved partition",
        ),
        partition(TYPE_BASIC_DATA, 0xE7, second..disk_len - MIB, 0, "Basic data partition"),
    ]
}

fn write_tables(path: &Path, disk_len: u64, sector: u64, partitions: &[NewPartition]) {
    let mut file = File::create(path).unwrap();
    file.set_len(disk_len).unwrap();
    for (at, bytes) in gpt::to_sectors(disk_len, sector, DISK_ID, partitions).unwrap() {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&bytes).unwrap();
    }
}

#[test]
fn partition_tables_are_what_gdisk_and_util_linux_read() {
    let Some(tools) = Tools::find(&["sgdisk", "sfdisk", "partx"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    for disk_len in [300 * MIB, 3 << 40] {
        write_tables(&path, disk_len, 512, &partitions(disk_len, 100 * MIB));
        let report = tools.run("sgdisk", &["-v", text(&path)]);
        assert!(report.contains("No problems found"), "{report}");
        let shown = tools.run("sgdisk", &["-i", "1", text(&path)]);
        for words in [
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            "First sector: 2048 ",
            "8000000000000000",
            "'EFI system partition'",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let table: serde_json::Value = serde_json::from_str(&tools.run("sfdisk", &["--json", text(&path)])).unwrap();
        let table = &table["partitiontable"];
        assert_eq!(table["label"], "gpt");
        assert_eq!(table["id"], DISK_ID.to_string().to_uppercase());
        assert_eq!(table["partitions"][2]["uuid"], Uuid::from_u128(0xE7).to_string().to_uppercase());
        assert_eq!(table["partitions"].as_array().unwrap().len(), 3);
        tools.run("sfdisk", &["--verify", text(&path)]);
    }
    write_tables(&path, 300 * MIB, 4096, &partitions(300 * MIB, 100 * MIB));
    let options = ["-S", "4096", "-r", "-g", "-o", "START,END,UUID,NAME"];
    // It counts in sectors of 512 bytes, whatever the table counts in.
    let shown = tools.run("partx", &[&options[..], &[text(&path)]].concat());
    let first = shown.lines().next().unwrap_or_default();
    assert_eq!(
        first.split(' ').take(3).collect::<Vec<_>>(),
        ["2048", "206847", "00000000-0000-0000-0000-0000000000e5"]
    );
    assert_eq!(shown.lines().count(), 3);
}

/// Writes what a disk for UEFI has around the demo's image: a table, an EFI system partition, the volume of Windows.
fn build(path: &Path, sector: u64) {
    let esp = if sector == 512 { 40 * MIB } else { 260 * MIB };
    let len = esp + 96 * MIB;
    let threads = NonZeroUsize::new(2).unwrap();
    let wim = Wim::open(vec![Arc::new(demo::wim(threads).unwrap())]).unwrap();
    let source = Source::of_wim(&wim, "demo.wim", demo::IMAGE).unwrap();
    let mut windows = Windows::recognise(source.tree).unwrap();
    let parts = partitions(len, esp);
    let device = |part: &NewPartition| Device::GptPartition { disk: DISK_ID, partition: part.id };
    let chain = boot::Options {
        boot_device: device(&parts[0]),
        os_device: device(&parts[2]),
        ..boot::Options::located(Uuid::from_u128(1), Uuid::from_u128(2), NOW)
    };
    let request = UefiOptions { chain, generation: Generation::Auto, secure_boot: false };
    let (system, installed) = boot::install_uefi(&mut windows, &request).unwrap();
    assert!(installed.warnings.is_empty(), "{:?}", installed.warnings);

    let disk = MemoryDisk::new(len as usize, 0);
    for (at, bytes) in gpt::to_sectors(len, sector, DISK_ID, &parts).unwrap() {
        disk.write_at(at, &bytes).unwrap();
    }
    let range = parts[0].range.clone();
    let esp = fat::Image::new(&system, range.end - range.start, &options(sector, None)).unwrap();
    assert_eq!(esp.summary().kind, "FAT32");
    esp.write(&Slice::of_disk(&disk, range).unwrap()).unwrap();
    let range = parts[2].range.clone();
    let options = ntfs::Options {
        sector_size: sector as u32,
        hidden_sectors: range.start / sector,
        created: NOW,
        ..ntfs::Options::default()
    };
    let tree = windows.into_tree();
    let plan = ntfs::Plan::new(&tree, range.end - range.start, &options).unwrap();
    plan.write(&tree, &Slice::of_disk(&disk, range).unwrap(), threads, &|_| {}).unwrap();
    fs::write(path, disk.into_bytes()).unwrap();
}

#[track_caller]
fn is_clean(path: &Path) {
    let report: serde_json::Value = serde_json::from_str(&succeed(["verify", "--json", text(path)])).unwrap();
    assert_eq!((&report["errors"], &report["warnings"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["looked"]["boot"], true);
}

#[test]
fn firmware_finds_the_boot_manager() {
    let Some(_tools) = Tools::find(&[QEMU, OVMF[0], OVMF[1]]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    for sector in [512, 4096] {
        build(&path, sector);
        is_clean(&path);
        let outcome = qemu::boot_uefi(&path, "raw", sector as u32);
        assert!(outcome.is_ok(), "{outcome:#?}");
        let place = format!("partition 1, GPT {}", Uuid::from_u128(0xE5));
        assert!(outcome.serial.contains(&place), "{outcome:#?}");
        assert!(outcome.serial.to_lowercase().contains(r"file \efi\boot\bootx64.efi"), "{outcome:#?}");
    }
    // The same firmware with a damaged chain, so that "ok" means something.
    let damaged: [(&str, &[u8], &str); 2] =
        [("BCD        ", b"NOTHERE    ", "there is no"), ("BOOTX64 EFI", b"BOOTX65 EFI", "")];
    for (name, other, words) in damaged {
        build(&path, 512);
        let mut disk = fs::read(&path).unwrap();
        let esp = MIB as usize..41 * MIB as usize;
        let at = esp.start + disk[esp].windows(11).position(|bytes| bytes == name.as_bytes()).unwrap();
        disk[at..at + 11].copy_from_slice(other);
        fs::write(&path, disk).unwrap();
        let outcome = qemu::boot_uefi(&path, "raw", 512);
        assert!(!outcome.is_ok() && outcome.serial.contains(words), "{outcome:#?}");
    }
}

fn demo(output: &Path, options: &[&str]) {
    succeed([&["demo", "--output", text(output)], options].concat());
}

/// What the program builds, in every container that QEMU starts from.
#[test]
fn built_disks_start_under_uefi() {
    let Some(tools) = Tools::find(&[QEMU, OVMF[0], OVMF[1], "sgdisk", "fsck.vfat", "mdir"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let small = ["--firmware=uefi", "--system-size=40M", "--reserved-size=16M", "--size=128M"];
    let large = ["--firmware=uefi", "--sector-size=4096", "--format=raw", "--size=512M"];
    let cases: [(&str, &str, u32, &[&str]); 5] = [
        ("demo.vhdx", "vhdx", 512, &small),
        ("demo.vhd", "vpc", 512, &small),
        ("demo.qcow2", "qcow2", 512, &small),
        ("demo.img", "raw", 512, &small),
        ("demo4k.img", "raw", 4096, &large),
    ];
    for (name, format, sector, options) in cases {
        let disk = folder.path().join(name);
        demo(&disk, options);
        is_clean(&disk);
        let outcome = qemu::boot_uefi(&disk, format, sector);
        assert!(outcome.is_ok() && outcome.serial.contains("partition 1, GPT"), "{name}: {outcome:#?}");
    }
    let disk = folder.path().join("demo.img");
    let report = tools.run("sgdisk", &["-v", text(&disk)]);
    assert!(report.contains("No problems found"), "{report}");
    let listed = tools.run("mdir", &["-i", &format!("{}@@1M", text(&disk)), "-/", "-b", "::"]);
    for path in ["::/EFI/Boot/bootx64.efi", "::/EFI/Microsoft/Boot/BCD", "::/EFI/Microsoft/Boot/Fonts/wgl4_boot.ttf"] {
        assert!(listed.lines().any(|line| line == path), "{path}: {listed}");
    }
    let volume = folder.path().join("esp.img");
    let bytes = fs::read(&disk).unwrap();
    fs::write(&volume, &bytes[MIB as usize..41 * MIB as usize]).unwrap();
    tools.run("fsck.vfat", &["-n", text(&volume)]);
    // The store names partitions of this disk: that of the system first, that of Windows behind the reserved one.
    let store = succeed(["bcd", text(&disk)]);
    for line in ["device                  partition=1", "osdevice                partition=3"] {
        assert!(store.lines().any(|found| found == line), "{line}: {store}");
    }
}

/// Windows To Go: one disk with an MBR, for a BIOS and for UEFI.
#[test]
fn one_disk_starts_under_either_firmware() {
    let Some(tools) = Tools::find(&[QEMU, OVMF[0], OVMF[1], "fsck.vfat"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("togo.img");
    demo(&disk, &["--firmware=both", "--system-size=40M", "--size=128M"]);
    is_clean(&disk);
    let volume = folder.path().join("system.img");
    fs::write(&volume, &fs::read(&disk).unwrap()[MIB as usize..41 * MIB as usize]).unwrap();
    tools.run("fsck.vfat", &["-n", text(&volume)]);
    let outcome = qemu::boot_uefi(&disk, "raw", 512);
    assert!(outcome.is_ok() && outcome.serial.contains("partition 1, MBR"), "UEFI: {outcome:#?}");
    let outcome = qemu::boot(&disk, "raw");
    assert!(outcome.is_ok(), "BIOS: {outcome:#?}");
}

/// What was asked of the boot programs, as `bcd` prints it.
#[test]
fn settings_are_printed_as_bcdedit_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("azure.img");
    demo(
        &disk,
        &[
            "--firmware=uefi",
            "--system-size=40M",
            "--size=128M",
            "--reserved-size=1M",
            "--ems=2,57600",
            "--test-signing",
        ],
    );
    let store = succeed(["bcd", text(&disk)]);
    for line in [
        "ems                     Yes",
        "bootems                 Yes",
        "emsport                 2",
        "emsbaudrate             57600",
        "testsigning             Yes",
    ] {
        assert!(store.lines().any(|found| found == line), "{line}: {store}");
    }
}
