//! Layouts, both kinds written and read back, and files that nobody means well with.

use std::num::NonZeroUsize;
use std::ops::Range;

use uuid::Uuid;

use super::ondisk::{SECTOR, TABLE_LEN};
use super::*;
use crate::base::{Disk, MemoryDisk, ReadAt};
use crate::error::{Kind, Result};

const MIB: u64 = 1 << 20;
const LEN: u64 = 100 * MIB;

fn params() -> Params {
    Params {
        id: Uuid::from_u128(0x1234_5678_9ABC_4DEF_8123_4567_89AB_CDEF),
        adapter: Adapter::LsiLogic,
        name: "a.vmdk".into(),
    }
}

/// Bytes that cannot be compressed, never zero.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 | 1
    };
    (0..len).map(|_| byte()).collect()
}

/// Writes over the borders of grains and tables, and at both ends.
fn writes() -> Vec<(u64, Vec<u8>)> {
    let text = |at: u64, len: usize| (0..len as u64).map(|i| ((at + i) / 7) as u8 | 1).collect();
    vec![
        (0, text(0, 512)),
        (32 * MIB - 1000, noise(1, 3000)),
        (50 * MIB, text(5, 3 * GRAIN as usize)),
        (LEN - 700, noise(2, 700)),
    ]
}

fn used() -> Vec<Range<u64>> {
    writes().iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect()
}

fn raw() -> Vec<u8> {
    let mut disk = vec![0; LEN as usize];
    for (at, bytes) in writes() {
        disk[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
    }
    disk
}

fn sparse() -> Vec<u8> {
    let layout = Layout::sparse(LEN, &used()).unwrap();
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = Writer::new(layout, &params(), file).unwrap();
    for (at, bytes) in writes() {
        writer.write_at(at, &bytes).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

fn stream_of(disk: &dyn ReadAt, threads: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let threads = NonZeroUsize::new(threads).unwrap();
    let len = write_stream(disk, &params(), threads, &mut out, &mut |_, _| Ok(()))?;
    assert_eq!(len, out.len() as u64);
    Ok(out)
}

fn stream() -> Vec<u8> {
    stream_of(&raw(), 2).unwrap()
}

fn all(disk: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0xD1; disk.len() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

fn stretches(disk: &dyn ReadAt) -> Vec<Range<u64>> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(data) = disk.next_data(at).unwrap() {
        at = data.end;
        found.push(data);
    }
    found
}

#[test]
fn both_kinds_hold_the_disk() {
    for (file, variant) in [(sparse(), Variant::Sparse), (stream(), Variant::StreamOptimized)] {
        assert!(Vmdk::is_vmdk(&file));
        let vmdk = Vmdk::open(&file).unwrap();
        assert_eq!((vmdk.variant(), vmdk.grain_size(), vmdk.is_unclean()), (variant, GRAIN, false));
        assert!(all(&vmdk) == raw(), "{variant:?}");
        assert_eq!(
            stretches(&vmdk),
            [0..GRAIN, 32 * MIB - GRAIN..32 * MIB + GRAIN, 50 * MIB..50 * MIB + 3 * GRAIN, LEN - GRAIN..LEN]
        );
        assert_eq!(vmdk.next_data(GRAIN / 2).unwrap(), Some(GRAIN / 2..GRAIN));
        assert_eq!(vmdk.next_data(LEN).unwrap(), None);
        let mut piece = [0; 600];
        vmdk.read_at(32 * MIB - 300, &mut piece).unwrap();
        assert_eq!(piece, raw()[(32 << 20) - 300..(32 << 20) + 300]);
        assert_eq!(vmdk.read_at(LEN - 1, &mut piece).unwrap_err().kind(), Kind::Truncated);
    }
}

#[test]
fn descriptors_say_what_they_should() {
    for (file, kind) in [(sparse(), "monolithicSparse"), (stream(), "streamOptimized")] {
        let vmdk = Vmdk::open(&file).unwrap();
        let descriptor = vmdk.descriptor();
        assert_eq!(descriptor.create_type.as_deref(), Some(kind));
        assert_eq!((descriptor.cid, descriptor.parent_cid), (Some(0x1234_5678), Some(NO_PARENT)));
        assert_eq!(descriptor.id, Some(params().id));
        assert_eq!(descriptor.adapter.as_deref(), Some("lsilogic"));
        let extent = Extent { sectors: LEN / SECTOR, kind: "SPARSE".into(), name: "a.vmdk".into() };
        assert_eq!(descriptor.extents, [extent]);
    }
    let text =
        |params: &Params, len| String::from_utf8(descriptor::render(params, Variant::Sparse, len).unwrap()).unwrap();
    for reserved in [0u32, 0xFFFF_FFFE, 0xFFFF_FFFF] {
        let id = Uuid::from_fields(reserved, 1, 2, &[3; 8]);
        let cid = Descriptor::parse(text(&Params { id, ..params() }, LEN).as_bytes()).cid.unwrap();
        assert!(![0, 0xFFFF_FFFE, 0xFFFF_FFFF].contains(&cid), "{cid:x}");
    }
    let evil = text(&Params { name: "a\"b\nCID=1\n/ä.vmdk".into(), ..params() }, LEN);
    assert_eq!(Descriptor::parse(evil.as_bytes()).extents[0].name, "a_b_CID=1__ä.vmdk");
    let long = Params { name: "x".repeat(10_240), ..params() };
    assert_eq!(descriptor::render(&long, Variant::Sparse, LEN).unwrap_err().kind(), Kind::Invalid);
    let geometry = |adapter, len| {
        let text = text(&Params { adapter, ..params() }, len);
        let value = |key: &str| {
            let (_, rest) = text.split_once(&format!("ddb.geometry.{key} = \"")).unwrap();
            rest.split('"').next().unwrap().parse::<u64>().unwrap()
        };
        (value("cylinders"), value("heads"), value("sectors"))
    };
    assert_eq!(geometry(Adapter::Ide, 4 << 30), (8322, 16, 63));
    assert_eq!(geometry(Adapter::Ide, MAX_DISK), (16383, 16, 63));
    assert_eq!(geometry(Adapter::LsiLogic, 512), (1, 64, 32));
    assert_eq!(geometry(Adapter::BusLogic, 3 << 29), (768, 128, 32));
    assert_eq!(geometry(Adapter::LsiLogic, 4 << 30), (522, 255, 63));
}

#[test]
fn both_directories_lead_to_the_same_grains() {
    let file = sparse();
    let sector = |at: usize| u64::from(u32::from_le_bytes(file[at..at + 4].try_into().unwrap())) * SECTOR;
    let [redundant, first] = [48, 56].map(|at| sector(at) as usize);
    assert_ne!(redundant, first);
    for table in 0..LEN.div_ceil(32 * MIB) as usize {
        let [one, other] = [redundant, first].map(|directory| sector(directory + table * 4) as usize);
        assert!(one != other && one > 0);
        assert_eq!(file[one..one + TABLE_LEN as usize], file[other..other + TABLE_LEN as usize]);
        for entry in (first_table_entries(&file, other)).filter(|entry| *entry != 0) {
            assert!((u64::from(entry) * SECTOR).is_multiple_of(GRAIN));
        }
    }
}

fn first_table_entries(file: &[u8], at: usize) -> impl Iterator<Item = u32> {
    file[at..at + TABLE_LEN as usize].as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry))
}

#[test]
fn a_stream_is_the_same_on_any_number_of_threads() {
    let disk = noise(3, 5 << 20);
    let one = stream_of(&disk, 1).unwrap();
    assert_eq!(one.len() % 512, 0);
    for threads in [2, 3, 8] {
        assert!(stream_of(&disk, threads).unwrap() == one, "{threads}");
    }
    assert!(all(&Vmdk::open(&one).unwrap()) == disk);
}

#[test]
fn odd_and_empty_disks_are_streams_too() {
    for len in [512, GRAIN - 512, GRAIN + 512, MIB - 512, 32 * MIB, 32 * MIB + 512] {
        let mut disk = vec![0; len as usize];
        let empty = stream_of(&disk, 2).unwrap();
        assert_eq!(stretches(&Vmdk::open(&empty).unwrap()), []);
        disk[len as usize - 1] = 9;
        let file = stream_of(&disk, 2).unwrap();
        assert!(all(&Vmdk::open(&file).unwrap()) == disk, "{len}");
    }
    assert_eq!(stream_of(&vec![0; 513], 1).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(stream_of(&Vec::new(), 1).unwrap_err().kind(), Kind::Invalid);
}

/// A disk that says where its data are, not in whole grains, and counts on not being asked for others.
struct Holes(Vec<Range<u64>>);

impl ReadAt for Holes {
    fn len(&self) -> u64 {
        MAX_DISK
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at + buf.len() as u64;
        assert!(self.0.iter().any(|range| range.start < end && at < range.end), "{at:#x}");
        for (place, byte) in (at..end).zip(buf) {
            *byte = u8::from(self.0.iter().any(|range| range.contains(&place)));
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        Ok(self.0.iter().find(|range| range.end > at).map(|range| range.start.max(at)..range.end))
    }
}

#[test]
fn holes_are_not_read_and_borders_not_written_twice() {
    // Two in one grain, one over the border of two tables, one at the very end.
    let holes = vec![100..200, 300..GRAIN + 5, 64 * MIB - 1..64 * MIB + 1, MAX_DISK - 512..MAX_DISK];
    let disk = Holes(holes.clone());
    let file = stream_of(&disk, 3).unwrap();
    // Little but a directory of 62 TiB.
    assert!((file.len() as u64) < MAX_DISK / (32 * MIB) * 4 + MIB, "{}", file.len());
    let vmdk = Vmdk::open(&file).unwrap();
    assert_eq!(stretches(&vmdk), [0..2 * GRAIN, 64 * MIB - GRAIN..64 * MIB + GRAIN, MAX_DISK - GRAIN..MAX_DISK]);
    for range in holes {
        let at = range.start.saturating_sub(50);
        let mut buf = vec![9; (range.end + 50).min(MAX_DISK) as usize - at as usize];
        vmdk.read_at(at, &mut buf).unwrap();
        let mut expected = vec![9; buf.len()];
        disk.read_at(at, &mut expected).unwrap();
        assert!(buf == expected, "{range:?}");
    }
}

#[test]
fn progress_can_end_it() {
    let disk = noise(4, 5 << 20);
    let mut seen = Vec::new();
    let mut progress = |done: u64, total: u64| {
        seen.push(done);
        assert_eq!(total, 5 * MIB);
        if done < 3 * MIB { Ok(()) } else { Err(crate::error::Error::new(Kind::Interrupted, "enough")) }
    };
    let threads = NonZeroUsize::new(2).unwrap();
    let error = write_stream(&disk, &params(), threads, &mut Vec::new(), &mut progress).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(seen, [MIB, 2 * MIB, 3 * MIB]);
}

#[test]
fn layouts_have_limits() {
    for len in [0, 511, 513, MAX_DISK + 512, u64::MAX] {
        assert_eq!(Layout::sparse(len, &[]).unwrap_err().kind(), Kind::Invalid, "{len}");
    }
    let past = LEN - 1..LEN + 1;
    assert_eq!(Layout::sparse(LEN, std::slice::from_ref(&past)).unwrap_err().kind(), Kind::Invalid);
    let largest = Layout::sparse(MAX_DISK, &[0..1, MAX_DISK - 1..MAX_DISK]).unwrap();
    assert_eq!(largest.grains(), 2);
    // Two copies of 4 bytes for each grain and each table, and the front.
    assert!(largest.file_len() < 2 * (MAX_DISK / GRAIN * 4 + MAX_DISK / (32 * MIB) * 4) + 4 * GRAIN);
    // The last grain that can be told of begins just before 2 TiB.
    let data = 2 * 1024 * 1024 * MIB - largest.file_len() + 2 * GRAIN;
    let fits = |len: u64| Layout::sparse(MAX_DISK, std::slice::from_ref(&(0..len))).map(|layout| layout.file_len());
    assert_eq!(fits(data).unwrap(), 2 << 40);
    assert_eq!(fits(data + 1).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn ranges_come_in_any_order_and_what_is_not_planned_is_refused() {
    let layout =
        Layout::sparse(LEN, &[5 * MIB..6 * MIB, 7..8, 5 * MIB - 1..5 * MIB + 1, 6 * MIB..6 * MIB + 1, 9..9]).unwrap();
    assert_eq!(layout.grains(), 1 + 1 + 16 + 1);
    let writer = Writer::new(layout.clone(), &params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    writer.write_at(5 * MIB - 1, &vec![1; MIB as usize + 2]).unwrap();
    assert_eq!(writer.write_at(GRAIN, &[1]).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(writer.write_at(GRAIN - 1, &[1, 1]).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(writer.write_at(LEN, &[1]).unwrap_err().kind(), Kind::Truncated);
    let short = MemoryDisk::new(layout.file_len() as usize - 1, 0);
    assert_eq!(Writer::new(layout, &params(), short).unwrap_err().kind(), Kind::Invalid);
}

fn changed(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = file.to_vec();
    change(&mut file);
    file
}

/// What is wrong with a file, be it seen when it is opened or when it is read.
fn refusal(file: &Vec<u8>) -> Option<Kind> {
    let read = |vmdk: Vmdk<&Vec<u8>>| {
        vmdk.next_data(0)?;
        vmdk.read_at(0, &mut vec![0; 64 << 20])
    };
    Vmdk::open(file).and_then(read).err().map(|error| error.kind())
}

fn put(file: &mut [u8], at: usize, value: u64, len: usize) {
    file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let file = sparse();
    let descriptor = |from: &str, to: &str| {
        changed(&file, |file| {
            let text = String::from_utf8(file[512..10752].to_vec()).unwrap();
            let mut text = text.replacen(from, to, 1).into_bytes();
            text.resize(10240, 0);
            file[512..10752].copy_from_slice(&text);
        })
    };
    let flat =
        b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"a-flat.vmdk\" 0\n".to_vec();
    let split = "\n\nRW 10 SPARSE \"b.vmdk\"\n";
    for (file, words) in [
        (flat, "monolithicFlat"),
        (changed(&file, |file| file[..4].copy_from_slice(b"COWD")), "ESX"),
        (changed(&file, |file| put(file, 28, 0, 8)), "no descriptor"),
        (changed(&file, |file| put(file, 4, 4, 4)), "version"),
        (changed(&file, |file| put(file, 8, 0x4_0003, 4)), "flags"),
        (changed(&file, |file| put(file, 44, 256, 4)), "entries"),
        (descriptor("parentCID=ffffffff", "parentCID=12345678"), "snapshot"),
        (descriptor("monolithicSparse", "twoGbMaxExtentSparse"), "twoGbMaxExtentSparse"),
        (descriptor("\n\n# The Disk", split), "2 files"),
    ] {
        assert!(Vmdk::is_vmdk(&file), "{words}");
        let error = Vmdk::open(&file).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains(words), "{error}: {words}");
    }
    assert!(!Vmdk::is_vmdk(&vec![0u8; 512]));
    assert_eq!(Vmdk::open(&vec![0u8; 512]).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn evil_fields_are_refused() {
    let sparse = sparse();
    let directory = u32::from_le_bytes(sparse[56..60].try_into().unwrap()) as usize * 512;
    let table = u32::from_le_bytes(sparse[directory..directory + 4].try_into().unwrap()) as usize * 512;
    let corrupt: [(usize, u64, usize); 11] = [
        (12, 0, 8),
        (12, u64::MAX, 8),
        (12, 1 << 40, 8),
        (20, 0, 8),
        (20, 3, 8),
        (20, 1 << 63, 8),
        (28, u64::MAX, 8),
        (36, u64::MAX, 8),
        (56, 1 << 62, 8),
        (73, 0x0A0A_200A, 4),
        (directory, u64::from(u32::MAX), 4),
    ];
    for (at, value, len) in corrupt {
        let file = changed(&sparse, |file| put(file, at, value, len));
        assert_eq!(refusal(&file), Some(Kind::Corrupt), "{at} {value:#x}");
    }
    let past = changed(&sparse, |file| put(file, table, u64::from(u32::MAX), 4));
    assert_eq!(refusal(&past), Some(Kind::Truncated));
    // With the flag for it, 1 is a grain of zeros; without, it is where the descriptor is.
    let zero = changed(&sparse, |file| {
        put(file, 8, 7, 4);
        put(file, table, 1, 4);
    });
    let vmdk = Vmdk::open(&zero).unwrap();
    assert_eq!(vmdk.next_data(0).unwrap().unwrap().start, 32 * MIB - GRAIN);
    let mut start = [9; 512];
    vmdk.read_at(0, &mut start).unwrap();
    assert_eq!(start, [0; 512]);
}

#[test]
fn evil_streams_are_refused() {
    let stream = stream();
    let grain = 65536;
    let footer = stream.len() - 1024;
    for (at, value, len) in [
        (grain, 1, 8),           // another grain
        (grain + 8, 0, 4),       // no length
        (grain + 8, 0x20001, 4), // too long a one
        (grain + 8, 10, 4),      // too short a one
        (grain + 12, 0xFFFF, 2), // no zlib
        (grain + 14, 0xFFFF, 2), // no deflate
        (footer, 0, 4),
        (footer + 12, 8, 8),
        (footer + 56, u64::MAX, 8),
        (footer + 56, 0, 8),
    ] {
        let file = changed(&stream, |file| put(file, at, value, len));
        assert_eq!(refusal(&file), Some(Kind::Corrupt), "{at:#x} {value:#x}");
    }
    // What grows beyond a grain, and what ends before it.
    for len in [GRAIN as usize + 1, 100 << 20, 100] {
        let mut bytes = Vec::with_capacity(1 << 20);
        let mut deflate = flate2::Compress::new(flate2::Compression::new(9), true);
        deflate.compress_vec(&vec![7; len], &mut bytes, flate2::FlushCompress::Finish).unwrap();
        bytes.truncate(2 * GRAIN as usize);
        let file = changed(&stream, |file| {
            // At the end of the file, in front of the footer.
            let at = file.len() - 1536;
            let mut packed = vec![0; 8];
            packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            packed.extend_from_slice(&bytes);
            packed.resize(packed.len().next_multiple_of(512), 0);
            file.splice(at..at, packed);
            let table = table_of_first(file);
            put(file, table, at as u64 / 512, 4);
        });
        assert_eq!(refusal(&file), Some(Kind::Corrupt), "{len}");
    }
    for len in [0, 3, 511, 512, 600, 10752, 65536, 65600, stream.len() - 1024, stream.len() - 512, stream.len() - 1] {
        assert!(refusal(&stream[..len].to_vec()).is_some(), "{len}");
    }
}

/// Where the table of a stream's first grains is.
fn table_of_first(file: &[u8]) -> usize {
    let sector = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize * 512;
    sector(sector(file.len() - 1024 + 56))
}

#[test]
fn flips_and_truncations_never_panic() {
    let small = |sparse: bool| {
        let mut disk = vec![0; 3 * GRAIN as usize];
        disk[5] = 1;
        if !sparse {
            return stream_of(&disk, 1).unwrap();
        }
        let layout = Layout::sparse(disk.len() as u64, std::slice::from_ref(&(0..1))).unwrap();
        let writer = Writer::new(layout.clone(), &params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
        writer.write_at(0, &disk[..GRAIN as usize]).unwrap();
        writer.finish().unwrap().into_bytes()
    };
    let read = |bytes: &[u8]| {
        if let Ok(vmdk) = Vmdk::open(bytes) {
            let mut buf = [0; 1024];
            for at in [0, GRAIN - 512, vmdk.len().saturating_sub(1024)] {
                let _ = vmdk.read_at(at, &mut buf);
            }
            let _ = vmdk.next_data(0);
        }
    };
    for mut bytes in [small(true), small(false)] {
        let tail = bytes.len() - 4096..bytes.len();
        for byte in (0..1400).chain(10_752..16_000).chain(65_536..66_100).chain(tail) {
            for flip in [1, 0x80, 0xFF] {
                bytes[byte] ^= flip;
                read(&bytes);
                bytes[byte] ^= flip;
            }
        }
        for len in (0..bytes.len()).step_by(509) {
            read(&bytes[..len]);
        }
    }
}
