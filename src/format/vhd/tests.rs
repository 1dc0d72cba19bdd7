//! Layouts, writing and reading against each other, hostile files.

use std::ops::Range;

use uuid::Uuid;

use super::*;
use crate::base::{Disk, FileTime, MemoryDisk, ReadAt};
use crate::error::Kind;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn params() -> Params {
    Params {
        created: FileTime::from_unix(1_500_000_000).unwrap(),
        id: Uuid::from_u128(0x0123_4567_89AB_4DEF_8123_4567_89AB_CDEF),
    }
}

/// A finished VHD; the file was full of `fill`, and `writes` are (place, length, byte).
fn build(layout: &Layout, fill: u8, writes: &[(u64, usize, u8)]) -> Vec<u8> {
    let file = MemoryDisk::new(layout.file_len() as usize, fill);
    let writer = Writer::new(layout.clone(), params(), file).unwrap();
    for &(at, len, byte) in writes {
        writer.write_at(at, &vec![byte; len]).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

fn sample() -> Vec<u8> {
    let layout = Layout::dynamic(7 * MIB, &[0..1, 4 * MIB - 1..4 * MIB + 1]).unwrap();
    build(&layout, 0, &[(0, 3, 1), (4 * MIB - 700, 1400, 2)])
}

fn reads(vhd: &impl ReadAt, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xEE; (range.end - range.start) as usize];
    vhd.read_at(range.start, &mut bytes).unwrap();
    bytes
}

#[test]
fn geometry_is_the_specifications() {
    let geometry = |len| {
        let Geometry { cylinders, heads, sectors } = Geometry::of(len);
        (cylinders, heads, sectors)
    };
    assert_eq!(geometry(100 * MIB), (1003, 12, 17));
    assert_eq!(geometry(GIB), (2080, 16, 63));
    assert_eq!(geometry(127 * GIB), (0xFEFE, 16, 255), "as Hyper-V and Virtual PC write it");
    assert_eq!(geometry(2040 * GIB), (65535, 16, 255));
    assert_eq!(geometry(512), (0, 4, 17));
    for len in (0..60).map(|shift| (1 << shift) + 1234 * 512) {
        assert!(Geometry::of(len).capacity() <= len);
    }
}

#[test]
fn lengths_outside_the_format_are_refused() {
    for len in [0, 511, 513, MAX_DISK + 512, u64::MAX] {
        assert_eq!(Layout::fixed(len).unwrap_err().kind(), Kind::Invalid, "{len}");
        assert_eq!(Layout::dynamic(len, &[]).unwrap_err().kind(), Kind::Invalid, "{len}");
    }
    for range in [0..MIB + 1, MIB..MIB + 1, u64::MAX - 1..u64::MAX, 3 * BLOCK..3 * BLOCK + 1] {
        assert_eq!(Layout::dynamic(MIB, &[range]).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(Layout::dynamic(MIB, &[MIB..MIB, 9 * MIB..9 * MIB]).unwrap().blocks(), 0);
}

#[test]
fn an_empty_disk_is_as_long_as_hyper_vs() {
    assert_eq!(Layout::dynamic(127 * GIB, &[]).unwrap().file_len(), 0x41000);
    assert_eq!(Layout::fixed(100 * MIB).unwrap().file_len(), 100 * MIB + 512);
}

#[test]
fn the_largest_disk_can_be_full() {
    let layout = Layout::dynamic(MAX_DISK, std::slice::from_ref(&(0..MAX_DISK))).unwrap();
    assert_eq!(layout.blocks() as u64, MAX_DISK / BLOCK);
    let table = layout.table().unwrap();
    assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(u64::from(*table.last().unwrap()) * SECTOR + SECTOR + BLOCK < layout.file_len());
}

#[test]
fn data_and_the_end_are_aligned_and_nothing_overlaps() {
    for megabytes in [1, 2, 3, 511, 512, 1025] {
        let len = megabytes * MIB + 512;
        let every_other: Vec<_> = (0..len / BLOCK).step_by(2).map(|block| block * BLOCK..block * BLOCK + 1).collect();
        let layout = Layout::dynamic(len, &every_other).unwrap();
        let mut end = 1536 + layout.table().unwrap().len() as u64 * 4;
        for range in &every_other {
            let (place, _) = layout.locate(range.start, 1).unwrap();
            assert_eq!(place % 4096, 0);
            assert!(place - SECTOR >= end);
            end = place + BLOCK;
        }
        assert!(layout.footer_at() >= end);
        assert_eq!(layout.file_len() % 4096, 0);
    }
}

#[test]
fn what_is_written_is_read_and_the_rest_is_zero() {
    let bytes = sample();
    let vhd = Vhd::open(&bytes).unwrap();
    assert_eq!(ReadAt::len(&vhd), 7 * MIB);
    assert_eq!(vhd.variant(), Variant::Dynamic { block_size: 2 << 20 });
    let mut expected = vec![0; 7 * MIB as usize];
    expected[..3].fill(1);
    expected[4 * MIB as usize - 700..4 * MIB as usize + 700].fill(2);
    assert!(reads(&vhd, 0..7 * MIB) == expected);
    assert_eq!(reads(&vhd, 4 * MIB + 699..4 * MIB + 701), [2, 0]);
    assert_eq!(vhd.read_at(7 * MIB, &mut [0]).unwrap_err().kind(), Kind::Truncated);

    let fixed = build(&Layout::fixed(MIB).unwrap(), 0, &[(MIB - 1, 1, 9)]);
    let vhd = Vhd::open(&fixed).unwrap();
    assert_eq!(vhd.variant(), Variant::Fixed);
    assert_eq!(reads(&vhd, MIB - 2..MIB), [0, 9]);
}

#[test]
fn the_footer_says_who_when_and_how_much() {
    let bytes = sample();
    let vhd = Vhd::open(&bytes).unwrap();
    let footer = vhd.footer();
    assert_eq!((footer.current_size, footer.original_size), (7 * MIB, 7 * MIB));
    assert_eq!((&footer.creator, footer.creator_version), (b"win ", 0x000A_0000));
    assert_eq!(footer.timestamp, params().created.to_vhd());
    assert_eq!(footer.id, params().id);
    assert_eq!(footer.geometry, Geometry::of(7 * MIB));
    assert!(!footer.saved_state && !vhd.is_repaired());
    assert_eq!(&bytes[36..40], b"Wi2k");
    assert_eq!(bytes[..512], bytes[bytes.len() - 512..]);
}

/// A file full of 0xD1 shows what is never written: the gaps and the unwritten parts of blocks, all of them zero in a fresh file.
#[test]
fn structures_are_written_whole() {
    let layout = Layout::dynamic(7 * MIB, std::slice::from_ref(&(2 * MIB..3 * MIB))).unwrap();
    let bytes = build(&layout, 0xD1, &[(2 * MIB, 2 * MIB as usize, 5)]);
    let table_end = 1536 + 512;
    let (data, _) = layout.locate(2 * MIB, 1).unwrap();
    let bitmap = data as usize - 512;
    let block_end = (data + BLOCK) as usize;
    assert_eq!(bytes[1536..1552], [[0xFF; 4], ((bitmap / 512) as u32).to_be_bytes(), [0xFF; 4], [0xFF; 4]].concat());
    assert!(bytes[1552..table_end].iter().all(|byte| *byte == 0xFF));
    assert!(bytes[..1536].iter().filter(|byte| **byte == 0xD1).count() < 4);
    assert!(bytes[table_end..bitmap].iter().all(|byte| *byte == 0xD1));
    assert!(bytes[bitmap..bitmap + 512].iter().all(|byte| *byte == 0xFF));
    assert!(bytes[bitmap + 512..block_end].iter().all(|byte| *byte == 5));
    assert!(bytes[block_end..bytes.len() - 512].iter().all(|byte| *byte == 0xD1));
    Vhd::open(&bytes).unwrap();
}

#[test]
fn writes_outside_the_plan_are_bugs_that_show() {
    let layout = Layout::dynamic(7 * MIB, std::slice::from_ref(&(2 * MIB..3 * MIB))).unwrap();
    let writer = Writer::new(layout.clone(), params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    for at in [0, 2 * MIB - 1, 4 * MIB - 1, 6 * MIB] {
        assert_eq!(writer.write_at(at, &[1, 2]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
    assert_eq!(writer.write_at(7 * MIB - 1, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
    writer.write_at(7 * MIB, &[]).unwrap();
    assert_eq!(Writer::new(layout, params(), MemoryDisk::new(512, 0)).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_lost_footer_is_replaced_by_its_copy() {
    let mut bytes = sample();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    let vhd = Vhd::open(&bytes).unwrap();
    assert!(vhd.is_repaired());
    assert_eq!(reads(&vhd, 0..4), [1, 1, 1, 0]);
    bytes[0] ^= 1;
    assert_eq!(Vhd::open(&bytes).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_footer_of_511_bytes_is_read() {
    let mut bytes = build(&Layout::fixed(MIB).unwrap(), 0, &[]);
    assert_eq!(bytes.pop(), Some(0));
    assert_eq!(ReadAt::len(&Vhd::open(&bytes).unwrap()), MIB);
}

/// Puts a big-endian field into the footers or the header and makes its checksum right again.
fn patch(bytes: &mut [u8], structure: Range<usize>, checksum: usize, field: usize, value: &[u8]) {
    let structure = &mut bytes[structure];
    structure[field..field + value.len()].copy_from_slice(value);
    structure[checksum..checksum + 4].fill(0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    structure[checksum..checksum + 4].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn evil_footers_are_refused() {
    let cases: [(usize, &[u8], Kind); 7] = [
        (12, &[0, 2, 0, 0], Kind::Unsupported),
        (16, &[0xFF; 8], Kind::Truncated),
        (16, &[0, 0, 0, 0, 0, 0, 6, 0], Kind::Corrupt),
        (48, &[0; 8], Kind::Corrupt),
        (48, &[0xFF; 8], Kind::Corrupt),
        (48, &[0, 0, 1, 0, 0, 0, 0, 0], Kind::Corrupt),
        (60, &[0, 0, 0, 9], Kind::Corrupt),
    ];
    for (field, value, kind) in cases {
        let mut bytes = sample();
        let end = bytes.len();
        patch(&mut bytes, end - 512..end, 64, field, value);
        patch(&mut bytes, 0..512, 64, field, value);
        assert_eq!(Vhd::open(&bytes).unwrap_err().kind(), kind, "{field} {value:?}");
    }
    let mut fixed = build(&Layout::fixed(MIB).unwrap(), 0, &[]);
    patch(&mut fixed, MIB as usize..MIB as usize + 512, 64, 48, &(MIB + 512).to_be_bytes());
    assert_eq!(Vhd::open(&fixed).unwrap_err().kind(), Kind::Truncated);
}

#[test]
fn evil_headers_are_refused() {
    let cases: [(usize, &[u8], Kind); 8] = [
        (0, b"d", Kind::Corrupt),
        (16, &[0xFF; 8], Kind::Truncated),
        (16, &[0, 0, 0, 1], Kind::Truncated),
        (24, &[0, 0], Kind::Unsupported),
        (28, &[0, 0, 0, 3], Kind::Corrupt),
        (32, &[0; 4], Kind::Corrupt),
        (32, &[0, 0x30, 0, 0], Kind::Corrupt),
        (32, &[0, 0, 0, 1], Kind::Corrupt),
    ];
    for (field, value, kind) in cases {
        let mut bytes = sample();
        patch(&mut bytes, 512..1536, 36, field, value);
        assert_eq!(Vhd::open(&bytes).unwrap_err().kind(), kind, "{field} {value:?}");
    }
    let mut bytes = sample();
    bytes[600] ^= 1;
    assert_eq!(Vhd::open(&bytes).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn evil_blocks_are_refused_when_read() {
    for sector in [0u32, 1, 3, 0xFFFF_FFFE, 1 << 20] {
        let mut bytes = sample();
        bytes[1536..1540].copy_from_slice(&sector.to_be_bytes());
        let vhd = Vhd::open(&bytes).unwrap();
        let error = vhd.read_at(0, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{sector}");
        assert!(error.to_string().contains("0x600"), "{error}");
    }
}

/// The sample as a differencing disk whose first block has sectors of its own where `own` says so.
fn differencing(own: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut bytes = sample();
    let end = bytes.len();
    patch(&mut bytes, end - 512..end, 64, 60, &[0, 0, 0, 4]);
    patch(&mut bytes, 0..512, 64, 60, &[0, 0, 0, 4]);
    let bitmap = u32::from_be_bytes(bytes[1536..1540].try_into().unwrap()) as usize * 512;
    for sector in 0..4096 {
        let (byte, bit) = (bitmap + sector / 8, 0x80 >> (sector % 8));
        bytes[byte] = if own(sector) { bytes[byte] | bit } else { bytes[byte] & !bit };
    }
    bytes[bitmap + 512..][..BLOCK as usize].fill(5);
    // Paths in the gap behind the table, which the layout leaves free.
    let (relative_at, absolute_at) = (2048, 2148);
    let locator = |platform: &[u8; 4], at: usize, len: usize| {
        let numbers = [512, len as u32, 0].map(u32::to_be_bytes).concat();
        [&platform[..], &numbers, &(at as u64).to_be_bytes()].concat()
    };
    for (at, path) in [(relative_at, r".\base.vhd"), (absolute_at, r"C:\base.vhd")] {
        let path: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        bytes[at..at + path.len()].copy_from_slice(&path);
    }
    let name: Vec<u8> = "base.vhd".encode_utf16().flat_map(u16::to_be_bytes).collect();
    patch(&mut bytes, 512..1536, 36, 40, &[7; 16]);
    patch(&mut bytes, 512..1536, 36, 64, &name);
    patch(&mut bytes, 512..1536, 36, 576, &locator(b"W2ru", relative_at, 20));
    patch(&mut bytes, 512..1536, 36, 600, &locator(b"W2ku", absolute_at, 22));
    patch(&mut bytes, 512..1536, 36, 624, &locator(b"W2ku", usize::MAX, 22));
    patch(&mut bytes, 512..1536, 36, 648, &locator(b"MacX", 0, 5));
    bytes
}

#[test]
fn a_differencing_disk_lies_on_its_parent() {
    let bytes = differencing(|sector| sector % 3 == 1);
    let vhd = Vhd::open(&bytes).unwrap();
    assert_eq!(vhd.variant(), Variant::Differencing { block_size: 2 << 20 });
    let parent = vhd.parent().unwrap();
    assert_eq!(parent.id, Uuid::from_bytes([7; 16]));
    assert_eq!((parent.name.to_string(), parent.relative.len()), ("base.vhd".to_owned(), 1));
    assert_eq!(parent.relative[0].to_string(), r".\base.vhd");
    assert_eq!(parent.absolute.iter().map(ToString::to_string).collect::<Vec<_>>(), [r"C:\base.vhd"]);
    assert_eq!(vhd.read_at(0, &mut [0]).unwrap_err().kind(), Kind::Unsupported);
    // The parent is shorter than the child.
    let vhd = vhd.on(std::sync::Arc::new(vec![3u8; 3 << 20]));
    assert_eq!(reads(&vhd, 511..513), [3, 5]);
    assert_eq!(reads(&vhd, 1023..1025), [5, 3]);
    for (sector, bytes) in reads(&vhd, 0..20 * 512).chunks(512).enumerate() {
        assert!(bytes.iter().all(|byte| *byte == if sector % 3 == 1 { 5 } else { 3 }), "{sector}");
    }
    assert_eq!(reads(&vhd, 6 * MIB..6 * MIB + 2), [0, 0]);
    assert_eq!(vhd.next_data(0).unwrap(), Some(0..6 * MIB));
    assert_eq!(vhd.next_data(6 * MIB).unwrap(), None);
}

#[test]
fn a_dynamic_disk_knows_where_its_data_are() {
    let layout = Layout::dynamic(7 * MIB, &[4 * MIB..4 * MIB + 1, 6 * MIB..7 * MIB]).unwrap();
    let bytes = build(&layout, 0, &[]);
    let vhd = Vhd::open(&bytes).unwrap();
    assert_eq!(vhd.next_data(0).unwrap(), Some(4 * MIB..7 * MIB));
    assert_eq!(vhd.next_data(5 * MIB).unwrap(), Some(5 * MIB..7 * MIB));
    assert_eq!(vhd.next_data(7 * MIB).unwrap(), None);
}

#[test]
fn truncations_and_flips_never_panic() {
    let bytes = sample();
    for len in (0..4096).chain(bytes.len() - 1024..bytes.len()) {
        let mut buf = [0; 4096];
        if let Ok(vhd) = Vhd::open(&bytes[..len].to_vec()) {
            let _ = vhd.read_at(4 * MIB - 2048, &mut buf);
        }
    }
    for bit in 0..2048 * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let vhd = Vhd::open(&damaged);
        if (512..1536).contains(&(bit / 8)) {
            assert!(vhd.is_err(), "bit {bit} of the header");
        } else if let Ok(vhd) = vhd {
            let _ = vhd.read_at(0, &mut [0; 4096]);
        }
    }
}

fn parent() -> Parent {
    Parent {
        id: Uuid::from_u128(7),
        timestamp: 12345,
        name: "Bäse.vhd".into(),
        relative: vec![r".\Bäse.vhd".into()],
        absolute: vec![r"C:\disks\Bäse.vhd".into()],
    }
}

#[test]
fn a_child_has_the_sectors_that_were_planned() {
    // Sectors at both ends of a block, one that lies in two blocks, and the disk's last one.
    let used = [0..512, 4 * MIB - 512..4 * MIB + 512, 3 * MIB + 700..3 * MIB + 701, 7 * MIB - 512..7 * MIB];
    let layout = Layout::differencing(7 * MIB, &used, parent()).unwrap();
    let writes = [(0, 512, 1), (4 * MIB - 512, 1024, 2), (3 * MIB + 512, 512, 3), (7 * MIB - 512, 512, 4)];
    let bytes = build(&layout, 0, &writes);
    let vhd = Vhd::open(&bytes).unwrap();
    assert_eq!(vhd.variant(), Variant::Differencing { block_size: BLOCK as u32 });
    assert_eq!(vhd.parent(), Some(&parent()));
    let mut expected = vec![9u8; 7 << 20];
    for (at, len, byte) in writes {
        expected[at as usize..][..len].fill(byte);
    }
    let vhd = vhd.on(std::sync::Arc::new(vec![9u8; 7 << 20]));
    assert!(reads(&vhd, 0..7 * MIB) == expected);
}

#[test]
fn a_childs_sector_that_is_never_written_hides_the_parents() {
    let layout = Layout::differencing(7 * MIB, std::slice::from_ref(&(512..1024)), parent()).unwrap();
    let bytes = build(&layout, 0, &[]);
    let vhd = Vhd::open(&bytes).unwrap().on(std::sync::Arc::new(vec![9u8; 7 << 20]));
    assert_eq!(reads(&vhd, 511..513), [9, 0]);
    assert_eq!(reads(&vhd, 1023..1025), [0, 9]);
}

#[test]
fn a_child_writes_nothing_that_is_its_parents() {
    let layout = Layout::differencing(7 * MIB, std::slice::from_ref(&(512..1024)), parent()).unwrap();
    let writer = Writer::new(layout.clone(), params(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    writer.write_at(600, &[1; 10]).unwrap();
    for (at, len) in [(511, 2), (1023, 2), (1024, 1), (2 * MIB, 1)] {
        assert_eq!(writer.write_at(at, &vec![1; len]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
}

#[test]
fn parents_that_have_no_room_are_refused() {
    let refused = |parent| Layout::differencing(MIB, &[], parent).unwrap_err().kind() == Kind::Invalid;
    assert!(refused(Parent { relative: vec![], absolute: vec![], ..parent() }));
    assert!(refused(Parent { relative: vec!["a".into(); 8], ..parent() }));
    assert!(refused(Parent { relative: vec!["".into()], ..parent() }));
    assert!(refused(Parent { name: "x".repeat(257).as_str().into(), ..parent() }));
    assert!(refused(Parent { relative: vec!["x".repeat(32769).as_str().into()], ..parent() }));
    assert_eq!(Layout::differencing(MIB, &[0..1, MIB..MIB + 1], parent()).unwrap_err().kind(), Kind::Invalid);
    let longest = Parent { relative: vec!["x".repeat(32768).as_str().into(); 7], ..parent() };
    let bytes = build(&Layout::differencing(7 * MIB, std::slice::from_ref(&(0..1)), longest.clone()).unwrap(), 0, &[]);
    assert_eq!(Vhd::open(&bytes).unwrap().parent(), Some(&longest));
}
