//! Our MBR, our NTFS boot record and the stand-in BOOTMGR under a real BIOS (SeaBIOS in QEMU), on volumes by mkntfs and ntfs-3g.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nanovhd::format::mbr::Mbr;

use crate::support::qemu::{self, Outcome, QEMU};
use crate::support::tools::Tools;
use crate::support::volume::{Disk, Volume, u32_at};

const MIB: u64 = 1 << 20;
const DATA: u32 = 0x80;
const INDEX_ROOT: u32 = 0x90;
const INDEX_ALLOCATION: u32 = 0xA0;
const ROOT: usize = 5;

static STAND_IN: &[u8] = include_bytes!("../../templates/boot/standin.bin");

/// The stand-in, lengthened to `len` bytes that depend on their position.
fn stand_in(len: usize) -> Vec<u8> {
    let mut program = STAND_IN.to_vec();
    program.extend((program.len()..len).map(|at| (at as u32).wrapping_mul(0x9E37_79B1).to_be_bytes()[0]));
    seal(&mut program);
    program
}

/// Puts the length and the CRC-32 of a lengthened stand-in into its header.
fn seal(program: &mut [u8]) {
    let len = program.len() as u32;
    program[8..12].copy_from_slice(&len.to_le_bytes());
    program[12..16].fill(0);
    let crc = !program.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    });
    program[12..16].copy_from_slice(&crc.to_le_bytes());
}

fn tools() -> Option<Tools> {
    Tools::find(&[&Volume::TOOLS[..], &[QEMU]].concat())
}

fn boot(disk: &Disk) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = folder.path().join("disk.raw");
    disk.write(&image);
    qemu::boot(&image, "raw")
}

#[track_caller]
fn assert_starts(disk: &Disk) {
    let outcome = boot(disk);
    assert!(outcome.is_ok(), "{outcome:#?}");
}

#[track_caller]
fn assert_says(disk: &Disk, message: &str) {
    let outcome = boot(disk);
    assert!(outcome.screen.contains(message), "not '{message}': {outcome:#?}");
    assert_eq!(outcome.serial, "", "BOOTMGR was started");
}

/// A fresh volume with `bootmgr` as Windows writes the name.
fn simple(tools: &Tools, cluster: usize, bootmgr: &[u8]) -> (Disk, usize) {
    let volume = Volume::format(tools, cluster, 16 * MIB, &[]);
    volume.copy("bootmgr", bootmgr);
    let number = volume.record_number("bootmgr");
    (volume.into_disk(), number)
}

fn write_small(folder: &Path, names: impl Iterator<Item = String>) {
    names.for_each(|name| fs::write(folder.join(name), "").expect("a file"));
}

/// How many runs ntfsinfo counted.
fn runs(info: &str) -> usize {
    let count = info.split_once("Total runs: ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    count.expect("ntfsinfo counts runs")
}

/// The lowest VCNs of the segments of an attribute, in clusters.
fn segments(info: &str, attribute: &str) -> Vec<u64> {
    let parts = info.split("Dumping attribute ").filter(|part| part.starts_with(attribute));
    let number = |part: &str| part.split_once("Lowest VCN")?.1.split_whitespace().next()?.parse().ok();
    parts.filter_map(number).collect()
}

#[test]
fn hands_over_what_bootmgr_expects() {
    let Some(tools) = tools() else { return };
    let outcome = boot(&simple(&tools, 4096, STAND_IN).0);
    assert!(outcome.is_ok(), "{outcome:#?}");
    for line in [
        "nanovhd: stand-in BOOTMGR reached",
        "CS:IP 2000:0000, DL 80",
        "bytes per sector 0200h, hidden sectors 00000800h, OEM name 'NTFS    '",
        "the one at that LBA is the one at 0:7C00",
        "is intact",
    ] {
        assert!(outcome.serial.contains(line), "no '{line}': {outcome:#?}");
    }
    assert!(outcome.screen.contains("nanovhd: boot chain ok"), "{outcome:#?}");
}

#[test]
fn the_stand_in_notices_a_damaged_file() {
    let Some(tools) = tools() else { return };
    let mut damaged = STAND_IN.to_vec();
    damaged[90_000] ^= 1;
    let outcome = boot(&simple(&tools, 4096, &damaged).0);
    assert!(outcome.serial.contains("nanovhd: boot chain FAILED: its own file is damaged\n"), "{outcome:#?}");
}

#[test]
fn starts_from_clusters_of_any_size() {
    let Some(tools) = tools() else { return };
    for cluster in [512, 1024, 2048, 65_536, 131_072, 2 << 20] {
        let volume = Volume::format(&tools, cluster, 64 * MIB, &[]);
        volume.copy("BootMgr", STAND_IN);
        let disk = volume.into_disk();
        assert_eq!(disk.cluster(), cluster);
        assert_starts(&disk);
    }
}

/// Real BOOTMGRs have some 400 KB; 520,192 bytes are all that lies between 20000h and 9F000h.
#[test]
fn starts_a_bootmgr_of_any_length() {
    let Some(tools) = tools() else { return };
    for len in [413_690, 0x7F000] {
        assert_starts(&simple(&tools, 4096, &stand_in(len)).0);
    }
}

/// COM1 says `nanovhd: boot chain ok`: a program so small that NTFS keeps it in its FILE record.
#[test]
fn starts_a_resident_bootmgr() {
    let Some(tools) = tools() else { return };
    #[rustfmt::skip]
    let program = [
        &[
            0x0E, 0x1F,       // push cs; pop ds
            0xBE, 0x10, 0x00, // mov si, text
            0xBA, 0xF8, 0x03, // mov dx, 3F8h
            0xAC,             // next: lodsb
            0xEE,             // out dx, al
            0x84, 0xC0,       // test al, al
            0x75, 0xFA,       // jnz next
            0xEB, 0xFE,       // jmp $
        ][..],
        b"nanovhd: boot chain ok\n\0",
    ]
    .concat();
    let (mut disk, number) = simple(&tools, 4096, &program);
    assert_eq!(disk.attribute(number, DATA)[8], 0, "resident");
    let outcome = boot(&disk);
    assert!(outcome.serial.starts_with("nanovhd: boot chain ok\n"), "{outcome:#?}");
}

/// What lies behind the initialized size is garbage on the disk and zero to a reader.
#[test]
fn zeroes_what_was_never_written() {
    let Some(tools) = tools() else { return };
    const ZEROS: usize = 10_000;
    let mut program = [STAND_IN, &[0; ZEROS]].concat();
    seal(&mut program);
    let (mut disk, number) = simple(&tools, 4096, &program);
    let initialized = STAND_IN.len() as u64;
    disk.attribute(number, DATA)[0x38..0x40].copy_from_slice(&initialized.to_le_bytes());
    let clusters: Vec<usize> = (0..disk.volume.len()).step_by(4096).collect();
    let first = clusters.into_iter().find(|at| disk.volume[*at..].starts_with(&program[..4096])).expect("the file");
    let tail = first + STAND_IN.len()..first + program.len();
    assert!(disk.volume[tail.clone()].iter().all(|byte| *byte == 0), "the file is in one piece");
    disk.volume[tail].fill(0xD1);
    assert_starts(&disk);
}

/// Fills the volume, frees every other piece and makes files: their records go where $MFT finds room.
///
/// BOOTMGR's record is the last one that a full volume had room for, in the last pieces.
#[test]
fn reads_a_fragmented_mft() {
    let Some(tools) = tools() else { return };
    for (cluster, piece) in [(4096, 16_384), (512, 16_384)] {
        let volume = Volume::format(&tools, cluster, 48 * MIB, &[]);
        let filled = volume.mounted(|root| {
            let (fill, small) = (root.join("fill"), root.join("small"));
            fs::create_dir(&fill).expect("a folder");
            fs::create_dir(&small).expect("a folder");
            let piece = vec![0x78; piece];
            let pieces = (0..).find(|n| fs::write(fill.join(n.to_string()), &piece).is_err()).expect("a full volume");
            let mut names = 0..;
            for n in (1..pieces).step_by(2).take(600) {
                fs::remove_file(fill.join(n.to_string())).expect("a file to remove");
                let full = names.find(|name| File::create(small.join(name.to_string())).is_err());
                full.expect("the room of one piece for records");
            }
            // Files keep their records until here, so this one's is among the last.
            let last = (0..names.start).rev().map(|name| small.join(name.to_string())).find(|path| path.exists());
            fs::rename(last.expect("a file"), root.join("bootmgr")).expect("a free name");
            for n in (0..pieces).step_by(2).skip(100).take(40) {
                fs::remove_file(fill.join(n.to_string())).expect("a file to remove");
            }
            let mut bootmgr = File::options().write(true).open(root.join("bootmgr")).expect("the empty file");
            bootmgr.write_all(STAND_IN).expect("room for it");
        });
        if filled.is_none() {
            return;
        }
        let mft = volume.info(&["-i", "0"]);
        let segments = segments(&mft, "$DATA");
        assert!(runs(&mft) > 100 && segments.len() > 1, "not fragmented: {} runs, {segments:?}", runs(&mft));
        assert!(mft.contains("Dumping attribute $ATTRIBUTE_LIST"), "no attribute list");
        let vcn = (volume.record_number("bootmgr") * 1024 / cluster) as u64;
        assert!(vcn >= segments[1], "BOOTMGR's record, at VCN {vcn}, is not in a later segment: {segments:?}");
        assert_starts(&volume.into_disk());
    }
}

/// 20,000 names, and files with data among them, so that the index lies in hundreds of pieces and needs an attribute list.
/// Then whole blocks of it are given up again.
#[test]
fn searches_a_large_root_directory() {
    let Some(tools) = tools() else { return };
    for cluster in [512, 4096] {
        let volume = Volume::format(&tools, cluster, 128 * MIB, &[]);
        let filled = volume.mounted(|root| {
            for group in 0..200 {
                let name = |n| format!("{:05} {}", (group * 100 + n) * 7919 % 20_000, "a name of some length");
                write_small(root, (0..50).map(name));
                fs::write(root.join(format!("data {group}")), [0x78; 20_000]).expect("a file with clusters");
                write_small(root, (50..100).map(name));
                if group == 120 {
                    fs::write(root.join("bootmgr"), STAND_IN).expect("BOOTMGR");
                }
            }
            for n in 3000..6000 {
                let name = format!("{n:05} a name of some length");
                fs::remove_file(root.join(name)).expect("a file to remove");
            }
            write_small(root, (0..3000).map(|n| format!("z{n}")));
        });
        if filled.is_none() {
            return;
        }
        let info = volume.info(&["-i", "5"]);
        assert!(runs(&info) > 20, "the index is in {} runs", runs(&info));
        if cluster == 512 {
            assert!(info.contains("Dumping attribute $ATTRIBUTE_LIST"), "no attribute list");
        }
        assert_starts(&volume.into_disk());
    }
}

/// Two files that grow by turns. The longer one needs several records for its runs, which only a list can name.
#[test]
fn loads_a_fragmented_bootmgr() {
    let Some(tools) = tools() else { return };
    for (cluster, len, listed) in [(512, STAND_IN.len(), true), (512, 413_690, true), (4096, 413_690, false)] {
        let volume = Volume::format(&tools, cluster, 32 * MIB, &[]);
        let program = if len == STAND_IN.len() { STAND_IN.to_vec() } else { stand_in(len) };
        let filled = volume.mounted(|root| {
            let mut bootmgr = File::create(root.join("BOOTMGR")).expect("BOOTMGR");
            let mut other = File::create(root.join("other")).expect("a file");
            for piece in program.chunks(cluster) {
                bootmgr.write_all(piece).and_then(|()| bootmgr.sync_all()).expect("a piece of BOOTMGR");
                other.write_all(&vec![0x78; cluster]).and_then(|()| other.sync_all()).expect("a piece of the other");
            }
        });
        if filled.is_none() {
            return;
        }
        let info = volume.info(&["-F", "BOOTMGR"]);
        assert!(runs(&info) >= 50, "{} runs", runs(&info));
        assert_eq!(info.contains("Dumping attribute $ATTRIBUTE_LIST"), listed, "{info}");
        assert_starts(&volume.into_disk());
    }
}

#[test]
fn says_what_is_wrong_with_bootmgr() {
    let Some(tools) = tools() else { return };
    let (disk, number) = simple(&tools, 4096, STAND_IN);
    let with = |change: &dyn Fn(&mut Disk)| {
        let mut disk = disk.clone();
        change(&mut disk);
        disk
    };
    let data = |offset: usize, value: u8| with(&|disk| disk.attribute(number, DATA)[offset] = value);
    let record = |offset: usize, value: u8| with(&|disk| disk.record(number)[offset] = value);

    assert_says(&data(0x0D, 0x40), "BOOTMGR: it is encrypted");
    assert_says(&data(0x33, 1), "BOOTMGR: it is too large for low memory, bytes 00000000010181CD");
    assert_says(&data(0x36, 1), "BOOTMGR: it is too large for low memory, bytes 00010000000181CD");
    assert_says(&data(0x40, 0x99), "BOOTMGR: damaged run list");
    assert_says(&record(0x16, 3), "BOOTMGR: it is a directory");
    assert_says(&record(0x16, 0), "BOOTMGR: damaged FILE record");
    assert_says(&record(0x10, 99), "BOOTMGR: damaged FILE record");
    assert_says(&record(510, 0xFF), "BOOTMGR: damaged FILE record");
    assert_says(&record(0, b'B'), "BOOTMGR: damaged FILE record");
    assert_says(&data(4, 0xFF), &format!("BOOTMGR: damaged attribute in FILE record {number:016X}"));

    let empty = Volume::format(&tools, 4096, 16 * MIB, &[]);
    empty.copy("bootmgr2", STAND_IN);
    assert_says(&empty.into_disk(), "nanovhd: BOOTMGR is missing");
    assert_says(&simple(&tools, 4096, &stand_in(0x7FC01)).0, "BOOTMGR: it is too large for low memory");
}

#[test]
fn refuses_a_bootmgr_that_is_not_stored_plain() {
    let Some(tools) = tools() else { return };
    let compressed = Volume::format(&tools, 4096, 16 * MIB, &["-C"]);
    let Some(()) = compressed.mounted(|root| fs::write(root.join("bootmgr"), STAND_IN).expect("BOOTMGR")) else {
        return;
    };
    assert!(compressed.info(&["-F", "bootmgr"]).contains("COMPRESSED"), "mkntfs -C compresses");
    assert_says(&compressed.into_disk(), "BOOTMGR: it is compressed");

    let sparse = Volume::format(&tools, 4096, 16 * MIB, &[]);
    let Some(()) = sparse.mounted(|root| {
        let file = File::create(root.join("bootmgr")).expect("BOOTMGR");
        file.set_len(100_000).expect("a hole");
    }) else {
        return;
    };
    assert!(sparse.info(&["-F", "bootmgr"]).contains("SPARSE"), "ntfs-3g makes holes");
    assert_says(&sparse.into_disk(), "BOOTMGR: it is sparse");

    let empty = Volume::format(&tools, 4096, 16 * MIB, &[]);
    let Some(()) = empty.mounted(|root| fs::write(root.join("bootmgr"), "").expect("BOOTMGR")) else { return };
    assert_says(&empty.into_disk(), "BOOTMGR: it is empty");
}

#[test]
fn says_what_is_wrong_with_the_volume() {
    let Some(tools) = tools() else { return };
    let (disk, _) = simple(&tools, 4096, STAND_IN);
    let cases: [(&str, &dyn Fn(&mut Disk)); 13] = [
        ("no boot record in the active partition", &|disk| disk.volume[510] = 0),
        ("sector size not 512", &|disk| disk.volume[0x0C] = 0x10),
        ("$Boot damaged", &|disk| disk.volume[0x1C..0x20].fill(0)),
        ("$Boot damaged", &|disk| disk.volume[0x201] ^= 1),
        ("disk read error", &|disk| disk.volume[0x1C..0x20].fill(0xFF)),
        ("the BIOS parameter block is damaged", &|disk| disk.volume[0x0D] = 3),
        ("the BIOS parameter block is damaged", &|disk| disk.volume[0x0D] = 0xF3),
        ("the BIOS parameter block is damaged", &|disk| disk.volume[0x40] = 0),
        ("the BIOS parameter block is damaged", &|disk| disk.volume[0x44] = 0x7F),
        ("$MFT: damaged run list", &|disk| disk.volume[0x37] = 0x80),
        ("$MFT: damaged FILE record 0000000000000000", &|disk| disk.record(0)[510] ^= 1),
        ("$MFT: damaged attribute in FILE record 0000000000000000", &|disk| disk.attribute(0, DATA)[0] = 0x81),
        ("root directory: damaged FILE record 0000000000000005", &|disk| disk.record(ROOT)[1022] ^= 1),
    ];
    for (message, damage) in cases {
        let mut disk = disk.clone();
        damage(&mut disk);
        assert_says(&disk, message);
    }
}

#[test]
fn says_what_is_wrong_with_the_directory() {
    let Some(tools) = tools() else { return };
    let (mut disk, _) = simple(&tools, 4096, STAND_IN);
    let mut cases = vec![("root directory: damaged: not a directory", disk.clone())];
    cases[0].1.attribute(ROOT, INDEX_ROOT)[0] = 0x91;

    let runs = disk.attribute(ROOT, INDEX_ALLOCATION);
    let at = usize::from(runs[0x20]);
    assert_eq!(runs[at], 0x11, "one run of one byte each");
    let block = usize::from(runs[at + 2]) * 4096;
    assert!(disk.volume[block..].starts_with(b"INDX"), "the index block");
    let mut with = |message, offset: usize, value: u8| {
        let mut disk = disk.clone();
        disk.volume[block + offset] = value;
        cases.push((message, disk));
    };
    with("root directory: damaged index block 0000000000000000", 0, b'B');
    with("root directory: damaged index block 0000000000000000", 4094, 0xFF);
    with("root directory: damaged index node", 0x18 + 5, 0xFF);
    with("root directory: damaged index node", 0x18 + 1, 0xFF);
    let first = 0x18 + u32_at(&disk.volume, block + 0x18) as usize;
    with("root directory: damaged index node", first + 8, 0);
    with("root directory: damaged index node", first + 0x50, 0xFF);
    for (message, disk) in cases {
        assert_says(&disk, message);
    }
}

#[test]
fn says_what_is_wrong_with_the_partition_table() {
    let Some(tools) = tools() else { return };
    let (disk, _) = simple(&tools, 4096, STAND_IN);
    let cases: [(&str, &dyn Fn(&mut Vec<u8>)); 4] = [
        ("no active partition", &|mbr| mbr[446] = 0),
        ("several active partitions", &|mbr| mbr[462] = 0x80),
        ("invalid partition table", &|mbr| mbr[478] = 0x12),
        ("disk read error", &|mbr| mbr[457] = 0x7F),
    ];
    for (message, damage) in cases {
        let mut disk = disk.clone();
        damage(&mut disk.mbr);
        assert_says(&disk, &format!("nanovhd MBR: {message}"));
    }
    assert!(Mbr::parse(&disk.mbr).expect("our own MBR").active().is_some());
}

/// Single bytes of the records on the way, changed at random (but the same ones every time): whatever comes of it, it comes to
/// an end.
#[test]
fn comes_to_an_end_on_damaged_volumes() {
    let Some(tools) = tools() else { return };
    let (disk, number) = simple(&tools, 4096, STAND_IN);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for record in [0, ROOT, number] {
        for _ in 0..8 {
            let mut disk = disk.clone();
            for _ in 0..3 {
                let bytes = disk.record(record);
                let used = u32_at(bytes, 0x18).min(1024) as usize;
                bytes[4 + random(used - 4)] = random(256) as u8;
            }
            boot(&disk);
        }
    }
}
