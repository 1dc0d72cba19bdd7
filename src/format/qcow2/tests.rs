//! Layouts, writing and reading against each other, hostile files.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::ops::Range;

use super::*;
use crate::base::{Disk, MemoryDisk, ReadAt};
use crate::error::{Error, Kind, Result};

const MIB: u64 = 1 << 20;
const KIB: usize = 1 << 10;

/// A finished qcow2; the file was full of `fill`, and `writes` are (place, length, byte).
fn build(layout: &Layout, fill: u8, writes: &[(u64, usize, u8)]) -> Vec<u8> {
    let file = MemoryDisk::new(layout.file_len() as usize, fill);
    let writer = Writer::new(layout.clone(), file).unwrap();
    for &(at, len, byte) in writes {
        writer.write_at(at, &vec![byte; len]).unwrap();
    }
    writer.finish().unwrap().into_bytes()
}

/// Data at the start, across two clusters, across two L2 tables, and in the last sector.
fn sample() -> (Vec<u8>, u64) {
    let len = 513 * MIB + 512;
    let used = [512 * MIB - 1..512 * MIB + 1, len - 512..len, 0..1, 7 * MIB - 2..7 * MIB + 2];
    let layout = Layout::new(len, &used).unwrap();
    let writes = [(0, 3, 1), (7 * MIB - 700, 1400, 2), (512 * MIB - 5, 10, 3), (len - 512, 512, 4)];
    (build(&layout, 0, &writes), len)
}

fn reads(disk: &impl ReadAt, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xEE; (range.end - range.start) as usize];
    disk.read_at(range.start, &mut bytes).unwrap();
    bytes
}

fn stretches(disk: &impl ReadAt) -> Vec<Range<u64>> {
    let (mut at, mut found): (u64, Vec<Range<u64>>) = (0, Vec::new());
    while let Some(data) = disk.next_data(at).unwrap() {
        assert!(data.start >= at && data.end > data.start);
        at = data.end;
        match found.last_mut() {
            Some(last) if last.end == data.start => last.end = data.end,
            _ => found.push(data),
        }
    }
    found
}

/// Bytes that deflate cannot shorten.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut number = seed | 1;
    let mut next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        (number >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn lengths_outside_the_format_are_refused() {
    for len in [0, 511, 513, MAX_DISK + 512, u64::MAX] {
        assert_eq!(Layout::new(len, &[]).unwrap_err().kind(), Kind::Invalid, "{len}");
    }
    for range in [0..MIB + 1, u64::MAX - 1..u64::MAX] {
        assert_eq!(Layout::new(MIB, &[range]).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(Layout::new(MIB, &[MIB..MIB, 9 * MIB..9 * MIB]).unwrap().clusters(), 0);
}

#[test]
fn ranges_become_clusters_in_order() {
    let used = [5 * CLUSTER..6 * CLUSTER, 0..1, 3 * CLUSTER - 1..5 * CLUSTER, 4 * CLUSTER..4 * CLUSTER + 1];
    let layout = Layout::new(MIB, &used).unwrap();
    assert_eq!(layout.clusters(), 5);
    // Header, refcount table, refcount block, L1 table, L2 table.
    assert_eq!(layout.file_len(), (5 + 5) * CLUSTER);
    assert_eq!(layout.locate(7, 1 << 30).unwrap(), (5 * CLUSTER + 7, CLUSTER as usize - 7));
    assert_eq!(layout.locate(2 * CLUSTER, 1 << 30).unwrap(), (6 * CLUSTER, 4 * CLUSTER as usize));
    assert_eq!(layout.locate(5 * CLUSTER + 1, 9).unwrap(), (9 * CLUSTER + 1, 9));
    for at in [CLUSTER, 6 * CLUSTER] {
        assert_eq!(layout.locate(at, 1).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn reference_counts_count_themselves() {
    for others in [1, 32_766, 32_767, 32_768, 65_533, 65_534, 8192 * 32_768 - 8193, 8192 * 32_768, 1 << 30] {
        let (table, blocks) = plan::refcount_clusters(others);
        let all = others + table + blocks;
        assert!(blocks * plan::COUNTS >= all && table * plan::ENTRIES >= blocks, "{others}");
        assert!((blocks - 1) * plan::COUNTS < all && (table - 1) * plan::ENTRIES < blocks, "{others}");
    }
}

#[test]
fn the_largest_disk_can_be_full() {
    let layout = Layout::new(MAX_DISK, std::slice::from_ref(&(0..MAX_DISK))).unwrap();
    assert_eq!(layout.clusters(), MAX_DISK / CLUSTER);
    assert_eq!(layout.tables().count() as u64, MAX_DISK / plan::REACH);
    assert_eq!(layout.locate(MAX_DISK - 1, 5).unwrap(), (layout.file_len() - 1, 1));
    let last = layout.table(MAX_DISK / plan::REACH - 1);
    assert_eq!(last[8191], (layout.file_len() - CLUSTER) | 1 << 63);
}

#[test]
fn what_is_written_is_read_and_the_rest_is_zero() {
    let (bytes, len) = sample();
    let disk = Qcow2::open(&bytes).unwrap();
    assert_eq!((ReadAt::len(&disk), disk.version(), disk.cluster_size()), (len, 3, 1 << 16));
    assert!(!disk.is_dirty() && disk.internal_snapshots() == 0);
    let mut expected = vec![0; len as usize];
    for (at, count, byte) in [(0, 3, 1), (7 * MIB - 700, 1400, 2), (512 * MIB - 5, 10, 3), (len - 512, 512, 4)] {
        expected[at as usize..at as usize + count].fill(byte);
    }
    assert!(reads(&disk, 0..len) == expected);
    assert_eq!(reads(&disk, 7 * MIB + 699..7 * MIB + 701), [2, 0]);
    assert_eq!(disk.read_at(len - 1, &mut [0; 2]).unwrap_err().kind(), Kind::Truncated);
    let around = |at: u64| at - CLUSTER..at + CLUSTER;
    assert_eq!(stretches(&disk), [0..CLUSTER, around(7 * MIB), around(512 * MIB), 513 * MIB..len]);
    assert_eq!(disk.next_data(7 * MIB - 5).unwrap(), Some(7 * MIB - 5..7 * MIB + CLUSTER));
    assert_eq!(disk.next_data(len).unwrap(), None);
}

/// A file full of 0xD1 shows what is never written: gaps, all of them zero in a fresh file.
#[test]
fn structures_are_written_whole() {
    let layout = Layout::new(MIB, std::slice::from_ref(&(CLUSTER..2 * CLUSTER))).unwrap();
    let bytes = build(&layout, 0xD1, &[(CLUSTER, CLUSTER as usize, 5)]);
    let cluster = |number: usize| &bytes[number * 64 * KIB..(number + 1) * 64 * KIB];
    assert!(cluster(0)[..112].iter().all(|byte| *byte != 0xD1) && cluster(0)[112..].iter().all(|byte| *byte == 0xD1));
    assert_eq!(cluster(1)[..9], [0, 0, 0, 0, 0, 2, 0, 0, 0xD1]);
    assert_eq!(cluster(2)[..13], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0xD1]);
    assert_eq!(cluster(3)[..9], [0x80, 0, 0, 0, 0, 4, 0, 0, 0xD1]);
    assert_eq!(cluster(4)[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 5, 0, 0]);
    assert!(cluster(4).iter().all(|byte| *byte != 0xD1));
    assert!(cluster(5).iter().all(|byte| *byte == 5));
}

#[test]
fn writes_outside_the_plan_are_bugs_that_show() {
    let layout = Layout::new(MIB, std::slice::from_ref(&(CLUSTER..2 * CLUSTER))).unwrap();
    let writer = Writer::new(layout.clone(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    for at in [0, CLUSTER - 1, 2 * CLUSTER - 1] {
        assert_eq!(writer.write_at(at, &[1, 2]).unwrap_err().kind(), Kind::Invalid, "{at}");
    }
    assert_eq!(writer.write_at(MIB - 1, &[1, 2]).unwrap_err().kind(), Kind::Truncated);
    assert_eq!(Writer::new(layout, MemoryDisk::new(512, 0)).unwrap_err().kind(), Kind::Invalid);
}

/// A disk of text, noise, zeros, and a cluster with a single byte, in no good order; it ends within a cluster.
fn mixed() -> Vec<u8> {
    let mut disk = vec![0; 200 * 64 * KIB + 512];
    for cluster in 0..200 {
        let bytes = &mut disk[cluster * 64 * KIB..(cluster + 1) * 64 * KIB];
        match cluster * 7 % 5 {
            0 => bytes.copy_from_slice(&noise(64 * KIB, cluster as u64)),
            1 => bytes[cluster * 100] = 9,
            2 => bytes[..40 * KIB].copy_from_slice(&noise(40 * KIB, cluster as u64)),
            3 => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 3 % 251) as u8),
            _ => {}
        }
    }
    disk.last_mut().into_iter().for_each(|byte| *byte = 7);
    disk
}

fn compressed(disk: &dyn ReadAt, threads: usize) -> Vec<u8> {
    let (mut out, mut last) = (Cursor::new(Vec::new()), 0);
    let len = write_compressed(disk, NonZeroUsize::new(threads).unwrap(), &mut out, &mut |at, all| {
        assert!(at > last && at <= all && all == disk.len());
        last = at;
        Ok(())
    });
    assert_eq!(len.unwrap(), out.get_ref().len() as u64);
    out.into_inner()
}

#[test]
fn compressed_clusters_are_read_as_they_were() {
    let raw = mixed();
    let bytes = compressed(&raw, 1);
    for threads in [2, 5] {
        assert!(compressed(&raw, threads) == bytes, "{threads} threads");
    }
    assert!(bytes.len() < raw.len() / 2 && bytes.len().is_multiple_of(CLUSTER as usize), "{}", bytes.len());
    let disk = Qcow2::open(&bytes).unwrap();
    assert!(reads(&disk, 0..raw.len() as u64) == raw);
    for at in (0..raw.len() as u64 - 1000).step_by(33_333) {
        assert_eq!(reads(&disk, at..at + 1000), raw[at as usize..at as usize + 1000]);
    }
    assert!(stretches(&disk).iter().all(|range| range.start.is_multiple_of(CLUSTER)));
    assert!(stretches(&disk).len() > 30, "zeros are left out");
    // What is compressed already can be compressed again, and what is not.
    assert!(compressed(&disk, 2) == bytes);
}

#[test]
fn holes_are_not_read() {
    struct Holes;
    impl ReadAt for Holes {
        fn len(&self) -> u64 {
            40 << 40
        }
        fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
            match at >> 40 {
                30 => buf.fill(5),
                _ => return Err(Error::invalid("read of a hole").at(at)),
            }
            Ok(())
        }
        fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
            let end = (30 << 40) + 3 * MIB;
            Ok((at < end).then(|| at.max(30 << 40)..end))
        }
    }
    let bytes = compressed(&Holes, 2);
    assert!((bytes.len() as u64) < 24 * CLUSTER, "{}", bytes.len());
    let disk = Qcow2::open(&bytes).unwrap();
    assert!(matches!(stretches(&disk).as_slice(), [only] if *only == (30 << 40..(30 << 40) + 3 * MIB)));
    assert_eq!(reads(&disk, (30 << 40) - 1..(30 << 40) + 1), [0, 5]);
}

#[test]
fn failures_of_both_sides_are_told() {
    let raw = vec![1; 1 << 20];
    let mut stop = |_, _| Err(Error::new(Kind::Interrupted, "stop"));
    let stopped = write_compressed(&raw, NonZeroUsize::MIN, &mut Cursor::new(Vec::new()), &mut stop);
    assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
    let mut small = [0; 1000];
    let full = write_compressed(&raw, NonZeroUsize::MIN, &mut Cursor::new(&mut small[..]), &mut |_, _| Ok(()));
    assert_eq!(full.unwrap_err().kind(), Kind::Io);
    let odd = write_compressed(&vec![1; 700], NonZeroUsize::MIN, &mut Cursor::new(Vec::new()), &mut |_, _| Ok(()));
    assert_eq!(odd.unwrap_err().kind(), Kind::Invalid);
}

fn patched(at: usize, value: &[u8]) -> Vec<u8> {
    let layout = Layout::new(MIB, std::slice::from_ref(&(0..CLUSTER))).unwrap();
    let mut bytes = build(&layout, 0, &[(0, 100, 5)]);
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn evil_headers_are_refused() {
    let cases: [(usize, &[u8], Kind); 22] = [
        (0, b"q", Kind::Corrupt),
        (4, &[0, 0, 0, 1], Kind::Unsupported),
        (4, &[0, 0, 0, 4], Kind::Unsupported),
        (8, &[0, 0, 0, 0, 0, 0, 1, 0], Kind::Unsupported), // a backing file
        (20, &[0, 0, 0, 8], Kind::Corrupt),
        (20, &[0, 0, 0, 22], Kind::Corrupt),
        (20, &[0xFF; 4], Kind::Corrupt),
        (20, &[0, 0, 0, 17], Kind::Corrupt), // the L1 table is on an odd cluster then
        (24, &[0xFF; 8], Kind::Unsupported),
        (24, &[0, 0, 1, 0, 0, 0, 0, 0], Kind::Corrupt), // more than the L1 table has entries for
        (32, &[0, 0, 0, 2], Kind::Unsupported),
        (36, &[0; 4], Kind::Corrupt),
        (40, &[0; 8], Kind::Corrupt),
        (40, &[0, 0, 0, 0, 0, 1, 2, 0], Kind::Corrupt),
        (40, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0], Kind::Truncated),
        (79, &[2], Kind::Unsupported),
        (79, &[4], Kind::Unsupported),
        (79, &[0x20], Kind::Unsupported),
        (72, &[0x80], Kind::Unsupported),
        (100, &[0, 0, 0, 72], Kind::Corrupt),
        (100, &[0, 0, 0, 105], Kind::Corrupt),
        (100, &[0, 0, 0, 112, 2], Kind::Unsupported), // compression
    ];
    for (at, value, kind) in cases {
        assert_eq!(Qcow2::open(&patched(at, value)).unwrap_err().kind(), kind, "{at} {value:?}");
    }
    for at in [79, 8, 32] {
        let bytes = patched(at, &if at == 79 { [2] } else { [1] });
        assert!(Qcow2::open(&bytes).unwrap_err().hint_text().unwrap().contains("qemu-img"));
    }
    assert!(Qcow2::open(&patched(79, &[1])).unwrap().is_dirty());
    // Small clusters need a long L1 table.
    let mut long = patched(20, &[0, 0, 0, 9]);
    long[24..32].copy_from_slice(&(32u64 << 40).to_be_bytes());
    assert_eq!(Qcow2::open(&long).unwrap_err().kind(), Kind::Unsupported);
}

const L1: usize = 3 << 16;
const L2: usize = 4 << 16;

#[test]
fn evil_tables_are_refused_when_read() {
    let compressed = |place: u64| (1 << 62 | place).to_be_bytes();
    let cases: [(usize, [u8; 8]); 7] = [
        (L1, [0x80, 0, 0, 0, 0, 4, 2, 0]),
        (L1, [0x80, 0, 0, 0, 0, 6, 0, 0]),
        (L1, [0xFF; 8]),
        (L2, [0x80, 0, 0, 0, 0, 5, 2, 0]),
        (L2, [0x80, 0, 0, 0, 0, 6, 0, 0]),
        (L2, compressed(5 << 16)),
        (L2, compressed(1 << 53)),
    ];
    for (at, entry) in cases {
        let bytes = patched(at, &entry);
        let error = Qcow2::open(&bytes).unwrap().read_at(9, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{at:#x} {entry:x?}");
        assert!(error.to_string().contains("at offset"), "{error}");
    }
    // Zeros, with and without a place.
    for entry in [[0; 8], [0, 0, 0, 0, 0, 0, 0, 1], [0x80, 0, 0, 0, 0, 5, 0, 1]] {
        let bytes = patched(L2, &entry);
        let disk = Qcow2::open(&bytes).unwrap();
        assert_eq!((reads(&disk, 0..3), stretches(&disk)), (vec![0; 3], vec![]));
    }
    // An L2 table that is an L1 table too leads nowhere for ever: tables are of two kinds, and are followed once.
    let bytes = patched(L1, &[0x80, 0, 0, 0, 0, 3, 0, 0]);
    Qcow2::open(&bytes).unwrap().read_at(0, &mut [0; 8]).unwrap();
}

#[test]
fn version_2_has_no_zero_flag_and_a_short_file_is_filled_up() {
    let mut bytes = patched(4, &[0, 0, 0, 2]);
    bytes[L2 + 7] = 1;
    bytes.truncate((5 << 16) + 50);
    let disk = Qcow2::open(&bytes).unwrap();
    assert_eq!(disk.version(), 2);
    assert_eq!(reads(&disk, 49..52), [5, 0, 0]);
}

#[test]
fn subclusters_are_there_or_not() {
    let mut bytes = patched(79, &[0x10]);
    bytes[L2..L2 + 16].copy_from_slice(&[0x80, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 4, 0, 0, 0, 6]);
    bytes[5 << 16..].fill(8);
    let disk = Qcow2::open(&bytes).unwrap();
    // Of 2 KiB each; the third is marked as zeros, too.
    let mut expected = vec![0; 8 * KIB];
    expected[2 * KIB..4 * KIB].fill(8);
    assert_eq!(reads(&disk, 0..8 * KIB as u64), expected);
    assert_eq!(reads(&disk, 3000..5000), expected[3000..5000]);
}

#[test]
fn damage_of_compressed_clusters_is_seen_or_harmless() {
    let raw = mixed();
    let bytes = compressed(&raw, 1);
    let mut damaged = bytes.clone();
    for bit in (CLUSTER as usize * 8..CLUSTER as usize * 24).step_by(1009) {
        damaged[bit / 8] ^= 1 << (bit % 8);
        let disk = Qcow2::open(&damaged).unwrap();
        if let Err(error) = disk.read_at(0, &mut vec![0; 4 << 20]) {
            assert_eq!(error.kind(), Kind::Corrupt);
        }
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn truncations_and_flips_never_panic() {
    let packed = compressed(&mixed(), 1);
    let (plain, _) = sample();
    for bytes in [packed, plain] {
        for len in (0..200).chain((0..bytes.len()).step_by(40_000)) {
            if let Ok(disk) = Qcow2::open(&bytes[..len].to_vec()) {
                let _ = disk.read_at(0, &mut vec![0; 1 << 20]);
                let _ = disk.next_data(0);
            }
        }
        let mut damaged = bytes.clone();
        let tables = [L1, L2, bytes.len() - 4 * CLUSTER as usize, bytes.len() - 3 * CLUSTER as usize];
        let structures = (0..120).chain(tables.into_iter().flat_map(|at| at..at + 24));
        for bit in structures.flat_map(|byte| byte * 8..byte * 8 + 8) {
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(disk) = Qcow2::open(&damaged) {
                let len = disk.len().min(1 << 18);
                let _ = disk.read_at(0, &mut vec![0; len as usize]);
                let _ = disk.read_at(disk.len() - len, &mut vec![0; len as usize]);
                let _ = disk.next_data(disk.len() / 2);
            }
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
