//! Our MBR, our NTFS boot record and the stand-in BOOTMGR under a real BIOS (SeaBIOS in QEMU), on volumes by mkntfs and ntfs-3g.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nanovhd::format::partitions::mbr::Mbr;

use crate::support::qemu::{self, Outcome, QEMU};
use crate::support::tools::Tools;
use crate::support::volume::{Disk, Volume, u32_at};

const MIB: u64 = 1 << 20;
const ATTRIBUTE_LIST: u32 = 0x20;
const DATA: u32 = 0x80;
const INDEX_ROOT: u32 = 0x90;
const INDEX_ALLOCATION: u32 = 0xA0;
const ROOT: usize = 5;

/// A message, and what provokes it.
type Damage<T> = (&'static str, fn(&mut T));

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

/// Files of equal length that fill a volume to the last cluster.
struct Pieces {
    folder: PathBuf,
    count: usize,
}

impl Pieces {
    fn fill(folder: &Path, len: usize) -> Self {
        let rest = folder.join("rest");
        fs::write(&rest, "").expect("a file");
        let mut pieces = Self { folder: folder.join("pieces"), count: 0 };
        fs::create_dir(&pieces.folder).expect("a folder");
        let content = vec![0x78; len];
        while fs::write(pieces.path(pieces.count), &content).is_ok() {
            pieces.count += 1;
        }
        // What is left may be too little for a piece, or lack a FILE record for one.
        let mut rest = File::create(rest).expect("the empty file");
        while rest.write_all(&content).is_ok() {}
        while rest.write_all(&[0x78; 512]).is_ok() {}
        pieces
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn remove(&self, number: usize) {
        fs::remove_file(self.path(number)).expect("a piece to remove");
    }

    /// Makes gaps of mostly one piece and calls `each` after every one. Which pieces go looks random, because ntfs-3g fills a
    /// volume from several places by turns: every other one would leave no gaps in some, and nothing else in others.
    fn remove_some(&self, mut each: impl FnMut()) {
        for number in (0..self.count).filter(|number| is_gap(*number)) {
            self.remove(number);
            each();
        }
    }

    /// Makes room for `wanted` pieces in gaps far apart.
    fn remove_evenly(&self, wanted: usize) {
        assert!(self.count / wanted > 10, "{wanted} of {} are not far apart", self.count);
        (0..wanted).for_each(|n| self.remove(n * self.count / wanted));
    }
}

/// One number of four.
fn is_gap(number: usize) -> bool {
    let mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 62 == 0
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

/// The LCN of the first run of a run list.
fn first_cluster(runs: &[u8]) -> usize {
    let (length, distance) = (usize::from(runs[0] & 15), usize::from(runs[0] >> 4));
    runs[1 + length..][..distance].iter().rev().fold(0, |lcn, byte| lcn << 8 | usize::from(*byte))
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
            0xBE, 0x12, 0x00, // mov si, text
            0xBA, 0xF8, 0x03, // mov dx, 3F8h
            0xAC,             // next: lodsb
            0x84, 0xC0,       // test al, al
            0x74, 0x03,       // jz end
            0xEE,             // out dx, al
            0xEB, 0xF8,       // jmp next
            0xEB, 0xFE,       // end: jmp end
        ][..],
        b"nanovhd: boot chain ok\n\0",
    ]
    .concat();
    let (mut disk, number) = simple(&tools, 4096, &program);
    assert_eq!(disk.attribute(number, DATA)[8], 0, "resident");
    assert_starts(&disk);
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

/// Fills the volume, frees some pieces and makes files: their records go where $MFT finds room.
///
/// BOOTMGR's record is the last one that there was room for.
fn with_fragmented_mft(tools: &Tools, cluster: usize, piece: usize) -> Option<Disk> {
    let volume = Volume::format(tools, cluster, 48 * MIB, &[]);
    let filled = volume.mounted(|root| {
        let small = root.join("small");
        fs::create_dir(&small).expect("a folder");
        let pieces = Pieces::fill(root, piece);
        let path = |name: usize| small.join(name.to_string());
        let (mut name, mut last) = (0, None);
        pieces.remove_some(|| {
            let first = name;
            while File::create(path(name)).is_ok() {
                name += 1;
            }
            // One takes the record of the piece; more have new ones.
            if name > first + 2 {
                last = Some(path(name - 1));
            }
            name += 1;
        });
        fs::rename(last.expect("a file"), root.join("bootmgr")).expect("a free name");
        (0..pieces.count).filter(|number| !is_gap(*number)).take(60).for_each(|number| pieces.remove(number));
        let mut bootmgr = File::options().write(true).open(root.join("bootmgr")).expect("the empty file");
        bootmgr.write_all(STAND_IN).expect("room for it");
    });
    filled?;
    let mft = volume.info(&["-i", "0"]);
    let segments = segments(&mft, "$DATA");
    assert!(runs(&mft) > 100 && segments.len() > 1, "{cluster}: {} runs, {segments:?}", runs(&mft));
    assert!(mft.contains("Dumping attribute $ATTRIBUTE_LIST"), "no attribute list");
    let vcn = (volume.record_number("bootmgr") * 1024 / cluster) as u64;
    assert!(vcn >= segments[1], "BOOTMGR's record, at VCN {vcn}, is not in a later segment: {segments:?}");
    Some(volume.into_disk())
}

#[test]
fn reads_a_fragmented_mft() {
    let Some(tools) = tools() else { return };
    for (cluster, piece) in [(512, 4096), (4096, 16_384)] {
        let Some(disk) = with_fragmented_mft(&tools, cluster, piece) else { return };
        assert_starts(&disk);
    }
}

/// 20,000 names whose index grows into the gaps of a volume that was full: it lies in hundreds of pieces and needs an
/// attribute list. Then whole blocks of it are given up again.
#[test]
fn searches_a_large_root_directory() {
    let Some(tools) = tools() else { return };
    for cluster in [512, 4096] {
        let volume = Volume::format(&tools, cluster, 96 * MIB, &[]);
        let filled = volume.mounted(|root| {
            let name = |n: usize| format!("{:05} a name of some length", n * 7919 % 20_000);
            let fill = root.join("fill");
            fs::create_dir(&fill).expect("a folder");
            (0..20_000).for_each(|n| fs::write(fill.join(name(n)), "").expect("a file"));
            fs::write(fill.join("bootmgr"), STAND_IN).expect("BOOTMGR");
            let mut big = File::create(fill.join("big")).expect("a file");
            while big.write_all(&[0x78; 1 << 16]).is_ok() {}
            big.set_len(big.metadata().expect("its length").len() - 40 * MIB).expect("a shorter file");
            drop(big);
            Pieces::fill(root, 4096).remove_some(|| ());

            for n in 0..20_000 {
                fs::rename(fill.join(name(n)), root.join(name(n))).expect("room for a name");
                if n == 15_000 {
                    fs::rename(fill.join("bootmgr"), root.join("bootmgr")).expect("room for a name");
                }
            }
            for n in 3000..6000 {
                fs::remove_file(root.join(format!("{n:05} a name of some length"))).expect("a file to remove");
            }
        });
        if filled.is_none() {
            return;
        }
        let info = volume.info(&["-i", "5"]);
        let segments = segments(&info, "$INDEX_ALLOCATION");
        assert!(runs(&info) > 200 && segments.len() > 1, "not fragmented: {} runs, {segments:?}", runs(&info));
        assert_starts(&volume.into_disk());
    }
}

/// In the gaps of a volume that was full. The longer one needs several records for its runs, which only a list can name.
#[test]
fn loads_a_fragmented_bootmgr() {
    let Some(tools) = tools() else { return };
    for (cluster, len, several) in [(512, STAND_IN.len(), false), (512, 413_690, true), (4096, 413_690, false)] {
        let volume = Volume::format(&tools, cluster, 24 * MIB, &[]);
        let filled = volume.mounted(|root| {
            let piece = cluster.max(1024); // less would be resident
            Pieces::fill(root, piece).remove_evenly(2 * len / piece);
            // ntfs-3g refuses to spread one write over such gaps.
            let mut bootmgr = File::create(root.join("BOOTMGR")).expect("BOOTMGR");
            stand_in(len).chunks(cluster).for_each(|chunk| bootmgr.write_all(chunk).expect("room for it"));
        });
        if filled.is_none() {
            return;
        }
        let info = volume.info(&["-F", "BOOTMGR"]);
        let segments = segments(&info, "$DATA");
        assert!(runs(&info) >= 50, "{cluster}, {len}: {} runs", runs(&info));
        assert_eq!(segments.len() > 1, several, "{segments:?}");
        assert_eq!(info.contains("Dumping attribute $ATTRIBUTE_LIST"), several, "{info}");
        assert_starts(&volume.into_disk());
    }
}

/// ntfs-3g makes no attribute list that is resident, so this one is made by hand: both halves of BOOTMGR's $DATA move to records
/// of their own. Then it is spoilt.
#[test]
fn follows_a_resident_attribute_list() {
    let Some(tools) = tools() else { return };
    let (mut disk, number) = simple(&tools, 4096, STAND_IN);
    let halves = [40, 41]; // records that ntfs-3g formats and keeps for the extension of $MFT

    let data = disk.attribute(number, DATA)[..0x40].to_vec();
    let runs = disk.attribute(number, DATA)[usize::from(data[0x20])..][..8].to_vec();
    let (cluster, clusters) = (first_cluster(&runs) as u32, STAND_IN.len().div_ceil(4096) as u32);
    assert_eq!(usize::from(runs[1]), clusters as usize, "one run");
    let half = clusters / 2;
    let segment = |first: u32, end: u32| {
        let mut segment = data.clone();
        segment[4] = 0x50;
        segment[0x10..0x14].copy_from_slice(&first.to_le_bytes());
        segment[0x18..0x1C].copy_from_slice(&(end - 1).to_le_bytes());
        let run = [&[0x44][..], &(end - first).to_le_bytes(), &(cluster + first).to_le_bytes(), &[0; 7]].concat();
        [segment, run].concat()
    };
    let entry = |kind: u32, first: u32, record: usize, sequence: u16| {
        let header = [&kind.to_le_bytes()[..], &[32, 0, 0, 26]].concat();
        let reference = [&(record as u32).to_le_bytes()[..], &[0; 2], &sequence.to_le_bytes()].concat();
        [&header[..], &u64::from(first).to_le_bytes(), &reference, &[0; 8]].concat()
    };
    let sequence = |record: &[u8]| u16::from_le_bytes([record[0x10], record[0x11]]);
    let own = sequence(disk.record(number));
    let mut list = [0x10, 0x30].map(|kind| entry(kind, 0, number, own)).concat();
    for (record, first) in halves.into_iter().zip([0, half]) {
        list.extend(entry(DATA, first, record, sequence(disk.record(record))));
    }
    let header = [&ATTRIBUTE_LIST.to_le_bytes()[..], &(24 + list.len() as u32).to_le_bytes(), &[0; 8]].concat();
    let list = [&header[..], &(list.len() as u32).to_le_bytes(), &[24, 0, 0, 0], &list].concat();

    let mut whole = |kind| {
        let attribute = disk.attribute(number, kind);
        attribute[..u32_at(attribute, 4) as usize].to_vec()
    };
    let [information, name] = [0x10, 0x30].map(&mut whole);
    put_attributes(disk.record(number), &[information, list, name].concat());
    for (record, (first, end)) in halves.into_iter().zip([(0, half), (half, clusters)]) {
        let extension = disk.record(record);
        extension[0x16] = 1;
        extension[0x20..0x24].copy_from_slice(&(number as u32).to_le_bytes());
        put_attributes(extension, &segment(first, end));
    }
    assert_starts(&disk);

    let listed = |offset: usize, value: u8| {
        let mut disk = disk.clone();
        disk.attribute(number, ATTRIBUTE_LIST)[24 + 2 * 32 + offset] = value;
        disk
    };
    assert_says(&listed(0x04, 0), "BOOTMGR: damaged attribute list");
    assert_says(&listed(0x04, 0xF8), "BOOTMGR: damaged attribute list");
    assert_says(&listed(0x00, 0x81), "BOOTMGR: it has no data");
    assert_says(&listed(0x10, 42), "BOOTMGR: damaged FILE record 000000000000002A");
    assert_says(&listed(0x16, 77), "BOOTMGR: damaged FILE record 0000000000000028");
    assert_says(&listed(32 + 0x08, 0xFF), "BOOTMGR: damaged run list, at cluster");
    let mut other_base = disk.clone();
    other_base.record(halves[1])[0x20] ^= 1;
    assert_says(&other_base, "BOOTMGR: damaged FILE record 0000000000000029");
}

/// Makes these the attributes of a record; they end before its first fixup.
fn put_attributes(record: &mut [u8], attributes: &[u8]) {
    let start = usize::from(record[0x14]);
    let end = start + attributes.len();
    assert!(end + 8 < 510, "the attributes fit before the first fixup");
    record[start..end].copy_from_slice(attributes);
    record[end..end + 8].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    record[0x18..0x1C].copy_from_slice(&(end as u32 + 8).to_le_bytes());
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
    let cases: [Damage<Disk>; 13] = [
        ("no boot record in the active partition", |disk| disk.volume[510] = 0),
        ("sector size not 512", |disk| disk.volume[0x0C] = 0x10),
        ("bad $Boot/hidden sectors", |disk| disk.volume[0x1C..0x20].fill(0)),
        ("bad $Boot/hidden sectors", |disk| disk.volume[0x201] ^= 1),
        ("disk read error", |disk| disk.volume[0x1C..0x20].fill(0xFF)),
        ("the BIOS parameter block is damaged", |disk| disk.volume[0x0D] = 3),
        ("the BIOS parameter block is damaged", |disk| disk.volume[0x0D] = 0xF3),
        ("the BIOS parameter block is damaged", |disk| disk.volume[0x40] = 0),
        ("the BIOS parameter block is damaged", |disk| disk.volume[0x44] = 0x7F),
        ("$MFT: damaged run list", |disk| disk.volume[0x37] = 0x80),
        ("$MFT: damaged FILE record 0000000000000000", |disk| disk.record(0)[510] ^= 1),
        ("$MFT: damaged attribute in FILE record 0000000000000000", |disk| disk.attribute(0, DATA)[0] = 0x81),
        ("root directory: damaged FILE record 0000000000000005", |disk| disk.record(ROOT)[1022] ^= 1),
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
    let block = first_cluster(&runs[at..]) * 4096;
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
    let cases: [Damage<Vec<u8>>; 4] = [
        ("no active partition", |mbr| mbr[446] = 0),
        ("several active partitions", |mbr| mbr[462] = 0x80),
        ("invalid partition table", |mbr| mbr[478] = 0x12),
        ("disk read error", |mbr| mbr[457] = 0x7F),
    ];
    for (message, damage) in cases {
        let mut disk = disk.clone();
        damage(&mut disk.mbr);
        assert_says(&disk, &format!("nanovhd MBR: {message}"));
    }
    assert!(Mbr::parse(&disk.mbr).expect("our own MBR").active().is_some());
}

/// Bytes of the structures on the way, changed at random (but the same ones every time): whatever comes of it, it comes to an
/// end, and never to a BOOTMGR that is not the right one.
#[test]
fn comes_to_an_end_on_damaged_volumes() {
    let Some(tools) = tools() else { return };
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let (disk, number) = simple(&tools, 4096, STAND_IN);
    for record in [0, ROOT, number] {
        (0..8).for_each(|_| boot_damaged(&disk, &mut random, |disk| used_part(disk, record)));
    }
    // Here the run list of $MFT continues in records that an attribute list names.
    let Some(mut disk) = with_fragmented_mft(&tools, 512, 4096) else { return };
    let header = disk.attribute(0, ATTRIBUTE_LIST);
    assert_eq!(header[8], 1, "a non-resident list");
    let len = u32_at(header, 0x30) as usize;
    let runs = usize::from(header[0x20]);
    let list = first_cluster(&header[runs..]) * 512;
    let extension = u32_at(&disk.volume, list + len - 64 + 0x10) as usize; // of the last segment of $DATA; $BITMAP follows
    for record in [0, extension] {
        (0..8).for_each(|_| boot_damaged(&disk, &mut random, |disk| used_part(disk, record)));
    }
    (0..8).for_each(|_| boot_damaged(&disk, &mut random, |disk| &mut disk.volume[list..list + len]));
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What a FILE record says, without its magic.
fn used_part(disk: &mut Disk, record: usize) -> &mut [u8] {
    let record = disk.record(record);
    let used = u32_at(record, 0x18) as usize;
    &mut record[4..used]
}

fn boot_damaged(disk: &Disk, random: &mut Random, part: impl Fn(&mut Disk) -> &mut [u8]) {
    let mut disk = disk.clone();
    let bytes = part(&mut disk);
    for _ in 0..3 {
        bytes[random.below(bytes.len())] = random.below(256) as u8;
    }
    let outcome = boot(&disk);
    assert!(outcome.serial.is_empty() || outcome.is_ok(), "{outcome:#?}");
}
