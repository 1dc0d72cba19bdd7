//! Layouts, writing and reading against each other, logs, parents, hostile files.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, Chunks, Entry};
use super::*;
use crate::base::crc32c::crc32c_without;
use crate::base::{Disk, MemoryDisk, Name, ReadAt};
use crate::error::Kind;

const MIB: u64 = 1 << 20;
const LEN: u64 = 100 * MIB;
const BAT: u64 = 3 * MIB;

fn params() -> Params {
    Params { file_write: Uuid::from_u128(1), data_write: Uuid::from_u128(2), disk_id: Uuid::from_u128(3) }
}

/// A finished VHDX; `writes` are (place, length, byte).
fn build(layout: &Layout, writes: &[(u64, usize, u8)]) -> Vec<u8> {
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = Writer::new(layout.clone(), params(), file).unwrap();
    for &(at, len, byte) in writes {
        writer.write_at(at, &vec![byte; len]).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

fn sample() -> Vec<u8> {
    build(&Layout::dynamic(LEN, 512, &[0..1, 40 * MIB..41 * MIB]).unwrap(), &[(0, 3, 1), (40 * MIB, MIB as usize, 2)])
}

fn reads(disk: &impl ReadAt, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xEE; (range.end - range.start) as usize];
    disk.read_at(range.start, &mut bytes).unwrap();
    bytes
}

/// Changes bytes of both headers or both region tables, and makes their checksums right again.
fn patch(bytes: &mut [u8], places: [u64; 2], len: usize, at: usize, value: &[u8]) {
    for place in places {
        let structure = &mut bytes[place as usize..place as usize + len];
        structure[at..at + value.len()].copy_from_slice(value);
        let sum = crc32c_without(structure, 4);
        structure[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

fn set_entry(bytes: &mut [u8], index: u64, entry: u64) {
    let at = (BAT + index * 8) as usize;
    bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
}

#[test]
fn chunks_are_the_specifications() {
    // 512-byte sectors and blocks of 32 MiB: 128 blocks, 4 GiB, to a bitmap.
    let chunks = Chunks::new(10 << 30, 32 * MIB, 512);
    assert_eq!((chunks.ratio, chunks.blocks), (128, 320));
    assert_eq!((chunks.of_block(127), chunks.of_bitmap(127), chunks.of_block(128)), (127, 128, 129));
    assert_eq!((chunks.entries(false), chunks.entries(true)), (322, 3 * 129));
    assert_eq!(Chunks::new(4 << 30, 32 * MIB, 512).entries(false), 128, "no bitmap behind the last block");
    assert_eq!(Chunks::new(1, 256 * MIB, 4096).ratio, 128);
}

#[test]
fn lengths_outside_the_format_are_refused() {
    for (len, sector) in [(0, 512), (511, 512), (MAX_DISK + 512, 512), (u64::MAX, 512), (512, 4096), (4096, 1024)] {
        assert_eq!(Layout::fixed(len, sector).unwrap_err().kind(), Kind::Invalid, "{len}");
        assert_eq!(Layout::dynamic(len, sector, &[]).unwrap_err().kind(), Kind::Invalid, "{len}");
    }
    assert_eq!(Layout::dynamic(MIB, 512, std::slice::from_ref(&(0..MIB + 1))).unwrap_err().kind(), Kind::Invalid);
    let whole = Layout::fixed(MAX_DISK, 512).unwrap();
    assert_eq!(whole.blocks() as u64, MAX_DISK / BLOCK);
    assert_eq!(whole.file_len() % MIB, 0);
}

#[test]
fn what_is_written_is_read_and_the_rest_is_zero() {
    let bytes = sample();
    let vhdx = Vhdx::open(&bytes).unwrap();
    assert_eq!(vhdx.variant(), Variant::Dynamic { block_size: BLOCK as u32 });
    assert_eq!((vhdx.disk_id(), vhdx.data_write_id()), (Uuid::from_u128(3), Uuid::from_u128(2)));
    assert_eq!((vhdx.sector_size(), vhdx.physical_sector_size()), (512, 4096));
    assert_eq!(reads(&vhdx, 0..5), [1, 1, 1, 0, 0]);
    assert_eq!(reads(&vhdx, 40 * MIB - 1..40 * MIB + 1), [0, 2]);
    assert_eq!(reads(&vhdx, 41 * MIB - 1..41 * MIB + 1), [2, 0]);
    assert_eq!(vhdx.read_at(LEN, &mut [0]).unwrap_err().kind(), Kind::Truncated);
    let mut data = Vec::new();
    let mut at = 0;
    while let Some(range) = vhdx.next_data(at).unwrap() {
        at = range.end;
        data.push(range);
    }
    assert!(matches!(data.as_slice(), [all] if *all == (0..64 * MIB)), "{data:?}");
    let fixed = build(&Layout::fixed(3 * MIB, 4096).unwrap(), &[(3 * MIB - 1, 1, 9)]);
    let fixed = Vhdx::open(&fixed).unwrap();
    assert_eq!((fixed.variant(), fixed.sector_size()), (Variant::Fixed { block_size: BLOCK as u32 }, 4096));
    assert_eq!(reads(&fixed, 3 * MIB - 2..3 * MIB), [0, 9]);
}

#[test]
fn writes_outside_the_plan_are_bugs_that_show() {
    let layout = Layout::dynamic(LEN, 512, std::slice::from_ref(&(40 * MIB..41 * MIB))).unwrap();
    let writer = Writer::new(layout.clone(), params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    for at in [0, 32 * MIB - 1, 64 * MIB - 1] {
        assert_eq!(writer.write_at(at, &[1, 2]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
    assert_eq!(writer.write_at(LEN - 1, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
    assert_eq!(Writer::new(layout, params(), MemoryDisk::new(512, 0)).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn one_header_or_table_is_enough() {
    for lost in [0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000] {
        let mut bytes = sample();
        bytes[lost + 100] ^= 1;
        assert_eq!(reads(&Vhdx::open(&bytes).unwrap(), 0..1), [1], "{lost:#x}");
    }
    for lost in [[0x1_0000, 0x2_0000], [0x3_0000, 0x4_0000]] {
        let mut bytes = sample();
        lost.iter().for_each(|at| bytes[at + 100] ^= 1);
        assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn evil_fields_are_refused() {
    let headers: [(usize, &[u8], Kind); 2] = [(66, &[2, 0], Kind::Unsupported), (8, &[1; 8], Kind::Corrupt)];
    for (at, value, kind) in headers {
        let mut bytes = sample();
        bytes[ondisk::HEADERS_AT[0] as usize + 100] ^= 1; // two that are the same may have one sequence number
        patch(&mut bytes, ondisk::HEADERS_AT, ondisk::HEADER_LEN, at, value);
        assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), kind, "header {at}");
    }
    let regions: [(usize, &[u8], Kind); 5] = [
        (8, &[0xFF; 4], Kind::Corrupt),
        (8, &[1, 0, 0, 0], Kind::Corrupt),
        (16, &[9], Kind::Unsupported),
        (32, &[1], Kind::Corrupt),
        (36, &[0xFF; 4], Kind::Corrupt),
    ];
    for (at, value, kind) in regions {
        let mut bytes = sample();
        patch(&mut bytes, ondisk::REGION_TABLES_AT, ondisk::TABLE_LEN, at, value);
        assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), kind, "region {at}");
    }
    let items = 2 * MIB as usize + 0x1_0000;
    let metadata: [(usize, &[u8]); 7] = [
        (0, &[1]),             // block size
        (0, &[0, 0, 0, 0x20]), // 512 MiB
        (4, &[2]),             // a parent without a locator
        (8, &[0xFF; 8]),       // size of the disk
        (8, &[0; 8]),          // size of the disk
        (32, &[1]),            // logical sector
        (36, &[0, 4, 0, 0]),   // physical sector
    ];
    for (at, value) in metadata {
        let mut bytes = sample();
        bytes[items + at..items + at + value.len()].copy_from_slice(value);
        assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), Kind::Corrupt, "item {at}");
    }
}

#[test]
fn evil_entries_are_refused_when_read() {
    for entry in [6, 7 << 20 | 7, 5, 4, u64::MAX << 20 | 6, LEN << 10 | 6] {
        let mut bytes = sample();
        set_entry(&mut bytes, 0, entry);
        let error = Vhdx::open(&bytes).unwrap().read_at(0, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{entry:#x}");
        assert!(error.to_string().contains("0x300000"), "{error}");
    }
    for state in [Entry::UNDEFINED, Entry::ZERO, Entry::UNMAPPED] {
        let mut bytes = sample();
        set_entry(&mut bytes, 0, (4 * MIB) | state);
        assert_eq!(reads(&Vhdx::open(&bytes).unwrap(), 0..2), [0, 0]);
    }
}

/// A file with a log of such entries: (sequence, tail in bytes, (place, byte)); each of them has one sector of data, from byte 0 on.
fn with_log(entries: &[(u64, u32, (u64, u8))]) -> Vec<u8> {
    let id = Uuid::from_u128(77);
    let mut bytes = sample();
    let file_len = bytes.len() as u64;
    patch(&mut bytes, ondisk::HEADERS_AT, ondisk::HEADER_LEN, 48, &id.to_bytes_le());
    let mut at = MIB as usize;
    for &(sequence, tail, (place, byte)) in entries {
        let header = ondisk::LogEntry {
            signature: ondisk::LOG_ENTRY_SIGNATURE,
            len: 8192.into(),
            tail: tail.into(),
            sequence: sequence.into(),
            descriptors: 1.into(),
            log: id.into(),
            flushed_len: file_len.into(),
            last_len: file_len.into(),
            ..FromZeros::new_zeroed()
        };
        let descriptor = ondisk::LogDescriptor {
            signature: ondisk::LOG_DATA_SIGNATURE,
            trailing: [byte; 4],
            leading: [byte; 8],
            at: place.into(),
            sequence: sequence.into(),
        };
        let sector = ondisk::LogSector {
            signature: ondisk::LOG_SECTOR_SIGNATURE,
            sequence_high: 0.into(),
            data: [byte; 4084],
            sequence_low: (sequence as u32).into(),
        };
        let mut entry = [header.as_bytes(), descriptor.as_bytes()].concat();
        entry.resize(4096, 0);
        entry.extend_from_slice(sector.as_bytes());
        let sum = crc32c_without(&entry, 4);
        entry[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes[at..at + 8192].copy_from_slice(&entry);
        at += 8192;
    }
    bytes
}

/// Where the first block is in the sample.
const FIRST: u64 = 4 * MIB;

#[test]
fn a_log_is_replayed_from_its_tail() {
    // The first entry is older than the tail; the last two write to one place.
    let bytes = with_log(&[(5, 0, (FIRST, 9)), (6, 8192, (FIRST + 4096, 7)), (7, 8192, (FIRST + 4096, 8))]);
    let vhdx = Vhdx::open(&bytes).unwrap();
    assert_eq!(reads(&vhdx, 0..5), [1, 1, 1, 0, 0]);
    assert_eq!(reads(&vhdx, 4095..4098), [0, 8, 8]);
    assert_eq!(reads(&vhdx, 8191..8193), [8, 0]);
    // A row with a higher number counts, wherever it is.
    let bytes = with_log(&[(9, 0, (FIRST, 9)), (6, 8192, (FIRST + 4096, 7))]);
    assert_eq!(reads(&Vhdx::open(&bytes).unwrap(), 4095..4097), [9, 0]);
}

#[test]
fn a_log_that_is_not_whole_is_refused() {
    for damage in [MIB as usize + 8191, MIB as usize + 4, MIB as usize + 70, MIB as usize + 4097] {
        let mut bytes = with_log(&[(5, 0, (FIRST, 9))]);
        bytes[damage] ^= 1;
        assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), Kind::Corrupt, "{damage:#x}");
    }
    // The tail's entry is missing.
    assert_eq!(Vhdx::open(&with_log(&[(6, 8192, (FIRST, 9))])).unwrap_err().kind(), Kind::Corrupt);
    // The file was longer.
    let mut bytes = with_log(&[(5, 0, (FIRST, 9))]);
    bytes.truncate(bytes.len() - MIB as usize);
    assert_eq!(Vhdx::open(&bytes).unwrap_err().kind(), Kind::Truncated);
}

/// A differencing disk of [`LEN`] bytes: its first block has sectors of its own where `own` says so, its second is zero, the rest the parent's.
fn differencing(own: impl Fn(u64) -> bool) -> Vec<u8> {
    let mut bytes =
        build(&Layout::dynamic(LEN, 512, std::slice::from_ref(&(0..1))).unwrap(), &[(0, BLOCK as usize, 5)]);
    let bitmap_at = bytes.len();
    let mut bitmap = vec![0; MIB as usize];
    for sector in (0..BLOCK / 512).filter(|sector| own(*sector)) {
        bitmap[(sector / 8) as usize] |= 1 << (sector % 8);
    }
    bytes.extend_from_slice(&bitmap);
    set_entry(&mut bytes, 0, FIRST | Entry::PARTIALLY_PRESENT);
    set_entry(&mut bytes, 1, Entry::ZERO);
    set_entry(&mut bytes, 128, bitmap_at as u64 | Entry::FULLY_PRESENT);
    let table = 2 * MIB as usize;
    let items = table + 0x1_0000;
    bytes[items + 4] = 2;
    let locator = locator(&[
        ("parent_linkage", "{00000000-0000-0000-0000-00000000002a}"),
        ("relative_path", r".\base.vhdx"),
        ("absolute_win32_path", r"C:\vms\base.vhdx"),
        ("something_new", "x"),
    ]);
    let item = ondisk::Item {
        id: ondisk::PARENT_LOCATOR.into(),
        at: 0x2_0000.into(),
        len: (locator.len() as u32).into(),
        flags: ondisk::ITEM_REQUIRED.into(),
        reserved: 0.into(),
    };
    bytes[table + 10] = 6;
    bytes[table + 6 * 32..table + 7 * 32].copy_from_slice(item.as_bytes());
    bytes[table + 0x2_0000..table + 0x2_0000 + locator.len()].copy_from_slice(&locator);
    bytes
}

fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let header = ondisk::LocatorHeader {
        kind: ondisk::LOCATOR_VHDX.into(),
        reserved: 0.into(),
        pairs: (pairs.len() as u16).into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    let mut texts = Vec::new();
    let texts_at = 20 + pairs.len() * 12;
    for (key, value) in pairs {
        let (key, value) = (utf16(key), utf16(value));
        let pair = ondisk::LocatorPair {
            key_at: ((texts_at + texts.len()) as u32).into(),
            value_at: ((texts_at + texts.len() + key.len()) as u32).into(),
            key_len: (key.len() as u16).into(),
            value_len: (value.len() as u16).into(),
        };
        bytes.extend_from_slice(pair.as_bytes());
        texts.extend([key, value].concat());
    }
    [bytes, texts].concat()
}

#[test]
fn a_differencing_disk_lies_on_its_parent() {
    let bytes = differencing(|sector| sector % 3 == 1);
    let vhdx = Vhdx::open(&bytes).unwrap();
    assert_eq!(vhdx.variant(), Variant::Differencing { block_size: BLOCK as u32 });
    let parent = vhdx.parent().unwrap();
    assert_eq!(parent.linkage, [Uuid::from_u128(42)]);
    assert_eq!(parent.relative, Some(r".\base.vhdx".into()));
    assert_eq!((parent.absolute.clone(), parent.volume.clone()), (Some(r"C:\vms\base.vhdx".into()), None));
    assert_eq!(vhdx.read_at(0, &mut [0]).unwrap_err().kind(), Kind::Unsupported);
    // The parent is shorter than the child.
    let vhdx = vhdx.on(Arc::new(vec![3u8; 70 << 20]));
    assert_eq!(reads(&vhdx, 511..513), [3, 5]);
    assert_eq!(reads(&vhdx, 1023..1025), [5, 3]);
    let all = reads(&vhdx, 0..8 * 512);
    for (sector, bytes) in all.chunks(512).enumerate() {
        assert!(bytes.iter().all(|byte| *byte == if sector % 3 == 1 { 5 } else { 3 }), "{sector}");
    }
    assert_eq!(reads(&vhdx, 32 * MIB - 1..32 * MIB + 1), [3, 0]);
    assert_eq!(reads(&vhdx, 64 * MIB - 1..64 * MIB + 1), [0, 3]);
    assert_eq!(reads(&vhdx, 70 * MIB - 1..70 * MIB + 1), [3, 0]);
    assert_eq!(vhdx.next_data(0).unwrap(), Some(0..64 * MIB));
    assert_eq!(vhdx.next_data(65 * MIB).unwrap(), Some(65 * MIB..70 * MIB));
    assert_eq!(vhdx.next_data(70 * MIB).unwrap(), None);
}

#[test]
fn truncations_and_flips_never_panic() {
    let samples = [differencing(|sector| sector % 2 == 0), with_log(&[(5, 0, (FIRST, 9)), (6, 0, (FIRST, 8))])];
    let read = |bytes: &[u8]| {
        if let Ok(vhdx) = Vhdx::open(bytes) {
            let vhdx = vhdx.on(Arc::new(vec![3u8; 100]));
            let mut buf = [0; 4096];
            for at in [0, 32 * MIB - 2048, 64 * MIB, LEN - 4096] {
                let _ = vhdx.read_at(at, &mut buf);
            }
            let _ = vhdx.next_data(0);
        }
    };
    for mut bytes in samples {
        let places = [0..16, 0x1_0000..0x1_0060, 0x3_0000..0x3_0050, 0x10_0000..0x10_0080, 0x20_0000..0x20_00E0];
        let more = [0x21_0000..0x21_0030, 0x22_0000..0x22_0120, 0x30_0000..0x30_0020];
        for byte in places.into_iter().chain(more).flatten() {
            for flip in [1, 0x80, 0xFF] {
                bytes[byte] ^= flip;
                // With the checksums right again, so that what is behind them is reached.
                for (structure, len) in [(0x1_0000, ondisk::HEADER_LEN), (0x3_0000, ondisk::TABLE_LEN)] {
                    let sum = crc32c_without(&bytes[structure..structure + len], 4);
                    bytes[structure + 4..structure + 8].copy_from_slice(&sum.to_le_bytes());
                }
                read(&bytes);
                bytes[byte] ^= flip;
            }
        }
        for len in [0, 7, 8, 0x1_0000, 0x1_1000, 0x3_0010, 0x20_0000, 0x21_0004, 0x30_0000, 0x40_0000] {
            read(&bytes[..len]);
        }
    }
}

fn parent() -> Parent {
    Parent {
        linkage: vec![Uuid::from_u128(2)],
        relative: Some(r"..\Bäse.vhdx".into()),
        volume: None,
        absolute: Some(r"\\?\C:\disks\Bäse.vhdx".into()),
    }
}

fn child(disk_len: u64, sector: u32, used: &[Range<u64>]) -> Layout {
    Layout::differencing(disk_len, sector, 4096, used, parent()).unwrap()
}

#[test]
fn a_child_has_the_sectors_that_were_planned() {
    for sector in [512u32, 4096] {
        let unit = u64::from(sector);
        // A sector at the start, one in two blocks, a whole block, and the disk's last one.
        let used = [1..2, 4 * MIB - 1..4 * MIB + 1, 6 * MIB..8 * MIB, LEN - 1..LEN];
        let layout = child(LEN, sector, &used);
        assert_eq!(layout.file_len(), (4 + 1 + 5 * 2) * MIB);
        let writes = [(0, unit, 1), (4 * MIB - unit, 2 * unit, 2), (6 * MIB, 2 * MIB, 3), (LEN - unit, unit, 4)];
        let bytes = build(&layout, &writes.map(|(at, len, byte)| (at, len as usize, byte)));
        let vhdx = Vhdx::open(&bytes).unwrap();
        assert_eq!(vhdx.variant(), Variant::Differencing { block_size: CHILD_BLOCK as u32 });
        assert_eq!((vhdx.parent(), vhdx.sector_size()), (Some(&parent()), sector));
        let mut expected = vec![9u8; LEN as usize];
        for (at, len, byte) in writes {
            expected[at as usize..][..len as usize].fill(byte);
        }
        let vhdx = vhdx.on(Arc::new(vec![9u8; LEN as usize]));
        assert!(reads(&vhdx, 0..LEN) == expected, "{sector}");
        let states: Vec<u64> = layout.table().iter().map(|entry| Entry(*entry).state()).filter(|s| *s != 0).collect();
        assert_eq!(states, [7, 7, 7, 6, 7, 6], "the last one is the bitmap's");
    }
}

#[test]
fn each_chunk_has_its_own_bitmap_where_it_needs_one() {
    let chunk = 4 << 30;
    let used = [0..512, chunk - 512..chunk + 512, 2 * chunk..2 * chunk + CHILD_BLOCK];
    let layout = child(3 * chunk, 512, &used);
    assert_eq!(layout.bitmaps().map(|(_, range)| range.start / chunk).collect::<Vec<_>>(), [0, 1]);
    let writes = [(0, 512, 1), (chunk - 512, 1024, 2), (2 * chunk, CHILD_BLOCK as usize, 3)];
    let bytes = build(&layout, &writes);
    let vhdx = Vhdx::open(&bytes).unwrap().on(Arc::new(Vec::new()));
    assert_eq!(reads(&vhdx, chunk - 513..chunk - 511), [0, 2]);
    assert_eq!(reads(&vhdx, chunk + 511..chunk + 513), [2, 0]);
    assert_eq!(reads(&vhdx, 2 * chunk - 1..2 * chunk + 1), [0, 3]);
    assert_eq!(reads(&vhdx, 2 * chunk + CHILD_BLOCK - 1..2 * chunk + CHILD_BLOCK + 1), [3, 0]);
}

#[test]
fn a_disk_that_is_whole_needs_no_bitmap() {
    let layout = child(3 * MIB, 512, std::slice::from_ref(&(0..3 * MIB)));
    assert_eq!(layout.bitmaps().count(), 0);
    let bytes = build(&layout, &[(3 * MIB - 1, 1, 5)]);
    let vhdx = Vhdx::open(&bytes).unwrap().on(Arc::new(vec![9u8; 3 << 20]));
    assert_eq!(reads(&vhdx, 3 * MIB - 2..3 * MIB), [0, 5]);
}

#[test]
fn a_child_writes_nothing_that_is_its_parents() {
    let layout = child(LEN, 512, std::slice::from_ref(&(512..1024)));
    let writer = Writer::new(layout.clone(), params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    writer.write_at(600, &[1; 10]).unwrap();
    for (at, len) in [(511, 2), (1023, 2), (1024, 1), (2 * MIB, 1)] {
        assert_eq!(writer.write_at(at, &vec![1; len]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
}

#[test]
fn parents_that_cannot_be_named_are_refused() {
    let refused = |parent| Layout::differencing(LEN, 512, 4096, &[], parent).unwrap_err().kind() == Kind::Invalid;
    assert!(refused(Parent { linkage: vec![], ..parent() }));
    assert!(refused(Parent { linkage: vec![Uuid::from_u128(1); 3], ..parent() }));
    assert!(refused(Parent { relative: None, absolute: None, ..parent() }));
    assert!(refused(Parent { relative: Some("".into()), ..parent() }));
    assert!(refused(Parent { relative: Some("x".repeat(0x8000).as_str().into()), ..parent() }));
    let path = Name::from("x".repeat(0x7FFF).as_str());
    let longest = Parent {
        linkage: vec![Uuid::from_u128(1), Uuid::from_u128(u128::MAX)],
        relative: Some(path.clone()),
        volume: Some(path.clone()),
        absolute: Some(path),
    };
    let bytes = build(&Layout::differencing(LEN, 512, 512, &[], longest.clone()).unwrap(), &[]);
    let vhdx = Vhdx::open(&bytes).unwrap();
    assert_eq!((vhdx.parent(), vhdx.physical_sector_size()), (Some(&longest), 512));
}
