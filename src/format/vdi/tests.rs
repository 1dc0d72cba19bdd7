//! Layouts, writing and reading against each other, hostile files.

use std::ops::Range;

use uuid::Uuid;

use super::*;
use crate::base::{Disk, MemoryDisk, ReadAt};
use crate::error::Kind;

const MIB: u64 = 1 << 20;

fn params() -> Params {
    Params { id: Uuid::from_u128(0x0123_4567_89AB_4DEF_8123_4567_89AB_CDEF), modification: Uuid::from_u128(2) }
}

/// A finished VDI; the file was full of `fill`, and `writes` are (place, length, byte).
fn build(layout: &Layout, fill: u8, writes: &[(u64, usize, u8)]) -> Vec<u8> {
    let file = MemoryDisk::new(layout.file_len() as usize, fill);
    let writer = Writer::new(layout.clone(), params(), file).unwrap();
    for &(at, len, byte) in writes {
        writer.write_at(at, &vec![byte; len]).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

fn sample() -> Vec<u8> {
    let layout = Layout::dynamic(7 * MIB + 512, &[0..1, 4 * MIB - 1..4 * MIB + 1, 7 * MIB..7 * MIB + 512]).unwrap();
    build(&layout, 0, &[(0, 3, 1), (4 * MIB - 700, 1400, 2), (7 * MIB, 512, 3)])
}

fn reads(vdi: &impl ReadAt, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xEE; (range.end - range.start) as usize];
    vdi.read_at(range.start, &mut bytes).unwrap();
    bytes
}

#[test]
fn lengths_outside_the_format_are_refused() {
    for len in [0, 511, 513, MAX_DISK + 512, u64::MAX] {
        assert_eq!(Layout::fixed(len).unwrap_err().kind(), Kind::Invalid, "{len}");
        assert_eq!(Layout::dynamic(len, &[]).unwrap_err().kind(), Kind::Invalid, "{len}");
    }
    for range in [0..MIB + 1, u64::MAX - 1..u64::MAX] {
        assert_eq!(Layout::dynamic(MIB, &[range]).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(Layout::dynamic(MIB, &[MIB..MIB, 9 * MIB..9 * MIB]).unwrap().blocks(), 0);
}

#[test]
fn everything_lies_on_whole_mib() {
    for (disk_len, map_len) in [(512, 1), (MIB, 1), (1 << 38, 1), ((1 << 38) + 512, 2), (MAX_DISK, 64)] {
        let layout = Layout::dynamic(disk_len, std::slice::from_ref(&(disk_len - 1..disk_len))).unwrap();
        assert_eq!(layout.file_len(), (1 + map_len + 1) * MIB, "{disk_len}");
        assert_eq!(layout.locate(disk_len - 512, 512).unwrap().0, (1 + map_len) * MIB + (disk_len - 512) % MIB);
    }
    assert_eq!(Layout::fixed(7 * MIB + 512).unwrap().file_len(), 10 * MIB);
}

#[test]
fn what_is_written_is_read_and_the_rest_is_zero() {
    let bytes = sample();
    assert_eq!(bytes.len() as u64, 2 * MIB + 4 * MIB);
    let vdi = Vdi::open(&bytes).unwrap();
    assert_eq!((ReadAt::len(&vdi), vdi.variant()), (7 * MIB + 512, Variant::Dynamic));
    assert_eq!((vdi.id(), vdi.modification(), vdi.block_size()), (params().id, params().modification, 1 << 20));
    let mut expected = vec![0; 7 * MIB as usize + 512];
    expected[..3].fill(1);
    expected[4 * MIB as usize - 700..4 * MIB as usize + 700].fill(2);
    expected[7 * MIB as usize..].fill(3);
    assert!(reads(&vdi, 0..7 * MIB + 512) == expected);
    assert_eq!(vdi.read_at(7 * MIB, &mut [0; 513]).unwrap_err().kind(), Kind::Truncated);
    let fixed = build(&Layout::fixed(2 * MIB).unwrap(), 0, &[(2 * MIB - 1, 1, 9)]);
    let vdi = Vdi::open(&fixed).unwrap();
    assert_eq!(vdi.variant(), Variant::Fixed);
    assert_eq!(reads(&vdi, 2 * MIB - 2..2 * MIB), [0, 9]);
    assert_eq!(vdi.next_data(5).unwrap(), Some(5..2 * MIB));
}

#[test]
fn a_dynamic_disk_knows_where_its_data_are() {
    let bytes = sample();
    let vdi = Vdi::open(&bytes).unwrap();
    assert_eq!(vdi.next_data(0).unwrap(), Some(0..MIB));
    assert_eq!(vdi.next_data(MIB).unwrap(), Some(3 * MIB..5 * MIB));
    assert_eq!(vdi.next_data(4 * MIB + 7).unwrap(), Some(4 * MIB + 7..5 * MIB));
    assert_eq!(vdi.next_data(5 * MIB).unwrap(), Some(7 * MIB..7 * MIB + 512));
    assert_eq!(vdi.next_data(7 * MIB + 512).unwrap(), None);
}

/// The fields by their offsets, as the format's description has them.
#[test]
fn the_header_is_the_formats() {
    let bytes = sample();
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!(bytes.starts_with(b"<<< nanovhd VirtualBox Disk Image >>>\n\0"));
    assert_eq!((field(0x40), field(0x44), field(0x48), field(0x4C)), (0xBEDA_107F, 0x0001_0001, 0x190, 1));
    assert_eq!((field(0x154), field(0x158)), (0x10_0000, 0x20_0000));
    assert_eq!((field(0x170), field(0x174)), (0x70_0200, 0));
    assert_eq!((field(0x178), field(0x17C), field(0x180), field(0x184)), (0x10_0000, 0, 8, 4));
    assert_eq!((field(0x168), field(0x1D4)), (512, 512), "bytes per sector of both geometries");
    assert_eq!(field(0x188), 0x0123_4567);
    let map: Vec<u32> = (0..8).map(|entry| field(0x10_0000 + 4 * entry)).collect();
    const FREE: u32 = u32::MAX;
    assert_eq!(map, [0, FREE, FREE, 1, 2, FREE, FREE, 3]);
}

/// A file full of 0xD1 shows what is never written: the gaps and the unwritten parts of blocks, all of them zero in a fresh file.
#[test]
fn structures_are_written_whole() {
    let layout = Layout::dynamic(2 * MIB, std::slice::from_ref(&(MIB..2 * MIB))).unwrap();
    let bytes = build(&layout, 0xD1, &[(MIB, MIB as usize, 5)]);
    assert!(bytes[..0x1D8].iter().all(|byte| *byte != 0xD1));
    assert!(bytes[0x1D8..MIB as usize].iter().all(|byte| *byte == 0xD1));
    assert_eq!(bytes[MIB as usize..][..9], [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xD1]);
    assert!(bytes[2 * MIB as usize..].iter().all(|byte| *byte == 5));
}

#[test]
fn writes_outside_the_plan_are_bugs_that_show() {
    let layout = Layout::dynamic(7 * MIB, std::slice::from_ref(&(2 * MIB..3 * MIB))).unwrap();
    let file = || MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = Writer::new(layout.clone(), params(), file()).unwrap();
    for at in [0, 2 * MIB - 1, 3 * MIB - 1, 6 * MIB] {
        assert_eq!(writer.write_at(at, &[1, 2]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
    assert_eq!(writer.write_at(7 * MIB - 1, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
    writer.write_at(7 * MIB, &[]).unwrap();
    assert_eq!(Writer::new(layout.clone(), params(), MemoryDisk::new(512, 0)).unwrap_err().kind(), Kind::Invalid);
    for params in [Params { id: Uuid::nil(), ..params() }, Params { modification: Uuid::nil(), ..params() }] {
        assert_eq!(Writer::new(layout.clone(), params, file()).unwrap_err().kind(), Kind::Invalid);
    }
}

fn patched(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = sample();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn evil_headers_are_refused() {
    let cases: [(usize, &[u8], Kind); 17] = [
        (0x40, &[0], Kind::Corrupt),
        (0x46, &[0, 0], Kind::Unsupported),
        (0x48, &[0, 1], Kind::Corrupt),
        (0x4C, &[0], Kind::Corrupt),
        (0x4C, &[3], Kind::Unsupported),
        (0x4C, &[4], Kind::Unsupported),
        (0x154, &[0; 4], Kind::Corrupt),
        (0x154, &[0xFF; 4], Kind::Corrupt),
        (0x158, &[0; 4], Kind::Corrupt),
        (0x170, &[0; 8], Kind::Corrupt),
        (0x170, &[0xFF; 8], Kind::Corrupt),
        (0x178, &[0; 4], Kind::Corrupt),
        (0x178, &[0, 0, 0x30, 0], Kind::Corrupt),
        (0x178, &[0, 0, 0, 0x80], Kind::Corrupt),
        (0x17C, &[0xFF; 4], Kind::Corrupt),
        (0x180, &[0; 4], Kind::Corrupt),
        (0x180, &[0xFF; 4], Kind::Corrupt),
    ];
    for (at, value, kind) in cases {
        assert_eq!(Vdi::open(&patched(at, value)).unwrap_err().kind(), kind, "{at:#x} {value:?}");
    }
    let mut beyond = patched(0x154, &[0, 0, 0, 0x40]);
    beyond[0x158..0x15C].copy_from_slice(&[0, 0, 0, 0x50]);
    assert_eq!(Vdi::open(&beyond).unwrap_err().kind(), Kind::Truncated);
}

#[test]
fn evil_blocks_are_refused_when_read() {
    for number in [4u32, 1000, u32::MAX - 2] {
        let bytes = patched(0x10_0000, &number.to_le_bytes());
        let error = Vdi::open(&bytes).unwrap().read_at(0, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{number}");
        assert!(error.to_string().contains("0x100000"), "{error}");
    }
    for zeros in [u32::MAX, u32::MAX - 1] {
        let bytes = patched(0x10_0000, &zeros.to_le_bytes());
        assert_eq!(reads(&Vdi::open(&bytes).unwrap(), 0..3), [0; 3]);
    }
}

/// Sums of the largest numbers that a header may have stay within 64 bits.
#[test]
fn the_largest_numbers_do_not_overflow() {
    let mut bytes = patched(0x178, &[0, 0, 0, 0x40]);
    bytes[0x17C..0x180].copy_from_slice(&[0, 0, 0, 0x40]);
    bytes[0x158..0x15C].copy_from_slice(&[0xFF; 4]);
    bytes[0x10_0000..0x10_0004].copy_from_slice(&(u32::MAX - 2).to_le_bytes());
    let vdi = Vdi::open(&bytes).unwrap();
    assert_eq!(vdi.read_at(7 * MIB, &mut [0; 512]).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn truncations_and_flips_never_panic() {
    let bytes = sample();
    for len in (0..1024).chain([MIB as usize, MIB as usize + 31, 2 * MIB as usize, 3 * MIB as usize]) {
        if let Ok(vdi) = Vdi::open(&bytes[..len].to_vec()) {
            let _ = vdi.read_at(4 * MIB - 2048, &mut [0; 4096]);
            let _ = vdi.next_data(0);
        }
    }
    let (mut damaged, map) = (bytes.clone(), MIB as usize);
    for bit in (0..0x1D8 * 8).chain(map * 8..(map + 32) * 8) {
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(vdi) = Vdi::open(&damaged) {
            let _ = vdi.read_at(0, &mut [0; 4096]);
            let _ = vdi.next_data(MIB);
        }
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}
