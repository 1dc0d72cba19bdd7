//! Sound files, and damage that must neither stop the checks nor pass unseen.

use uuid::Uuid;

use super::*;
use crate::base::{Disk, FileTime, MemoryDisk};
use crate::format::{
    qcow2 as qcow2_format, vdi as vdi_format, vhd as vhd_format, vhdx as vhdx_format, vmdk as vmdk_format,
};
use crate::verify::Level;

const MIB: u64 = 1 << 20;
const LEN: u64 = 12 * MIB;

fn vhd(fixed: bool) -> Vec<u8> {
    let layout = match fixed {
        true => vhd_format::Layout::fixed(LEN),
        false => vhd_format::Layout::dynamic(LEN, &[0..1, 6 * MIB..7 * MIB]),
    };
    let layout = layout.unwrap();
    let params = vhd_format::Params { created: FileTime::from_vhd(1), id: Uuid::from_u128(1) };
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = vhd_format::Writer::new(layout, params, file).unwrap();
    writer.write_at(6 * MIB, &[9; 4096]).unwrap();
    writer.finish().unwrap().into_bytes()
}

fn vhdx() -> Vec<u8> {
    let layout = vhdx_format::Layout::dynamic(LEN, 512, std::slice::from_ref(&(0..1))).unwrap();
    let params = vhdx_format::Params {
        file_write: Uuid::from_u128(1),
        data_write: Uuid::from_u128(2),
        disk_id: Uuid::from_u128(3),
    };
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    vhdx_format::Writer::new(layout, params, file).unwrap().finish().unwrap().into_bytes()
}

fn vmdk() -> Vec<u8> {
    let layout = vmdk_format::Layout::sparse(LEN, &[0..1, 6 * MIB..7 * MIB]).unwrap();
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = vmdk_format::Writer::new(layout, &vmdk_params(), file).unwrap();
    writer.write_at(6 * MIB, &[9; 4096]).unwrap();
    writer.finish().unwrap().into_bytes()
}

fn vmdk_params() -> vmdk_format::Params {
    vmdk_format::Params { id: Uuid::from_u128(1 << 100), adapter: vmdk_format::Adapter::Ide, name: "a.vmdk".into() }
}

fn vmdk_stream() -> Vec<u8> {
    let mut disk = vec![0; LEN as usize];
    disk[6 << 20..(6 << 20) + 70_000].fill(9);
    let mut file = Vec::new();
    vmdk_format::write_stream(&disk, &vmdk_params(), std::num::NonZeroUsize::MIN, &mut file, &mut |_, _| Ok(()))
        .unwrap();
    file
}

fn vdi() -> Vec<u8> {
    let layout = vdi_format::Layout::dynamic(LEN, &[0..1, 6 * MIB..7 * MIB]).unwrap();
    let params = vdi_format::Params { id: Uuid::from_u128(1 << 100), modification: Uuid::from_u128(2 << 100) };
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    vdi_format::Writer::new(layout, params, file).unwrap().finish().unwrap().into_bytes()
}

fn qcow2() -> Vec<u8> {
    let layout = qcow2_format::Layout::new(LEN, &[0..1, 6 * MIB..7 * MIB]).unwrap();
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    qcow2_format::Writer::new(layout, file).unwrap().finish().unwrap().into_bytes()
}

fn qcow2_compressed() -> Vec<u8> {
    let mut disk = vec![0; LEN as usize];
    disk[6 << 20..7 << 20].fill(9);
    let mut file = std::io::Cursor::new(Vec::new());
    qcow2_format::write_compressed(&disk, std::num::NonZeroUsize::MIN, &mut file, &mut |_, _| Ok(())).unwrap();
    file.into_inner()
}

fn check_all(files: &[&[u8]]) -> Findings {
    let files: Vec<&&[u8]> = files.iter().collect();
    let layers: Vec<Bytes<'_>> = files.iter().map(|file| Bytes(file)).collect();
    let layers: Vec<Layer<'_>> = layers.iter().map(|file| Layer { name: "a file".to_owned(), file }).collect();
    let mut findings = Findings::default();
    check(&layers, &mut findings);
    findings
}

struct Bytes<'b>(&'b [u8]);

impl ReadAt for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> crate::error::Result<()> {
        self.0.read_at(at, buf)
    }
}

#[test]
fn what_we_write_is_clean() {
    for file in
        [vhd(false), vhd(true), vhdx(), vmdk(), vmdk_stream(), vdi(), qcow2(), qcow2_compressed(), vec![0; 1024]]
    {
        assert_eq!(check_all(&[&file]).kept(), []);
    }
}

#[test]
fn every_flipped_bit_of_a_structure_is_seen() {
    // Bytes without a rule: an unused path and the names of creators, times and ids, and what is between structures.
    let stream = vmdk_stream();
    let (end, table) = (stream.len(), stream.len() - 8 * 512);
    let structures: [(Vec<u8>, &[std::ops::Range<usize>]); 8] = [
        (vhd(false), &[0..512, 512..1536]),
        // Without its cookie a fixed VHD is a raw disk with an odd last sector.
        (vhd(true), &[(12 << 20) + 8..(12 << 20) + 256, (12 << 20) + 256..(12 << 20) + 512]),
        // The flags of a sparse VMDK are hints.
        (vmdk(), &[4..8, 12..28, 44..64, 73..512, 10752..10756, 11264..11268, 13312..13316]),
        // A stream without its magic is a raw disk; what fills sectors up is of no matter.
        (stream, &[4..28, 44..48, 56..64, 73..512, 0x1_0000..0x1_0030, table..table + 16, end - 1024..end - 1008]),
        // Without its signature a VDI is a raw disk. A longer header or disk, another id or comment break no rule.
        (vdi(), &[0x44..0x48, 0x4C..0x50, 0x51..0x54, 0x155..0x158, 0x178..0x188, 0x10_0000..0x10_0004]),
        // Nor do a longer qcow2 disk, L1 table or header.
        (
            qcow2(),
            &[
                4..8,
                20..28,
                32..39,
                40..64,
                72..80,
                96..103,
                0x1_0000..0x1_0008,
                0x2_0000..0x2_002C,
                0x3_0000..0x3_0008,
                0x4_0001..0x4_0007,
            ],
        ),
        (qcow2_compressed(), &[4..8, 20..28, 32..39, 40..64, 72..80, 96..103]),
        (vhdx(), &[0..8, 0x1_0000..0x1_1000, 0x2_0000..0x2_1000, 0x3_0000..0x3_0100, 0x4_0000..0x4_0100]),
    ];
    for (sound, ranges) in structures {
        let mut bytes = sound;
        for byte in ranges.iter().cloned().flatten().step_by(7) {
            bytes[byte] ^= 1 << (byte % 8);
            let findings = check_all(&[&bytes]);
            assert!(findings.count(Level::Error) + findings.count(Level::Warning) > 0, "byte {byte:#x}");
            bytes[byte] ^= 1 << (byte % 8);
        }
    }
}

#[test]
fn no_damage_stops_the_checks() {
    let mut number = 1u64;
    let mut random = move || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number
    };
    for mut bytes in [vhd(false), vhd(true), vhdx(), vmdk(), vmdk_stream(), vdi(), qcow2(), qcow2_compressed()] {
        for _ in 0..1000 {
            let at = match random() % 3 {
                0 => random() % 4096,
                1 => bytes.len() as u64 - 1 - random() % 4096,
                _ => [0x1_0000, 0x3_0000, 0x20_0000, 0x21_0000, 0x30_0000][(random() % 5) as usize] + random() % 64,
            };
            let at = (at as usize).min(bytes.len() - 1);
            let old = std::mem::replace(&mut bytes[at], random() as u8);
            check_all(&[&bytes]);
            if random() % 4 > 0 {
                bytes[at] = old;
            }
        }
        for len in [0, 1, 511, 512, 513, 1024, 4096, 0x1_0000, 0x3_0010, 0x20_0001] {
            check_all(&[&bytes[..len.min(bytes.len())]]);
        }
    }
}

#[test]
fn sectors_that_hold_something_are_marked() {
    let mut bytes = vhd(false);
    let entry: [u8; 4] = bytes[1536 + 12..1536 + 16].try_into().unwrap();
    let bitmap = u32::from_be_bytes(entry) as usize * 512;
    bytes[bitmap + 1] = 0; // sectors 8 to 15 of the block, which hold nothing
    assert_eq!(check_all(&[&bytes]).kept(), []);
    bytes[bitmap] = 0; // sectors 0 to 7, which do
    let findings = check_all(&[&bytes]);
    assert_eq!(findings.count_of(Rule::VhdBitmap), 1);
    assert!(findings.kept()[0].found.starts_with("8 sectors"), "{:?}", findings.kept());
}

#[test]
fn a_table_full_of_nonsense_ends_early() {
    let mut bytes = vhdx();
    let entry = (u64::MAX << 20 | 6).to_le_bytes();
    for at in (3 << 20..4 << 20).step_by(8) {
        bytes[at..at + 8].copy_from_slice(&entry);
    }
    // A disk of 4 TiB, whose table is all of the region.
    bytes[0x21_0008..0x21_0010].copy_from_slice(&(4u64 << 40).to_le_bytes());
    let findings = check_all(&[&bytes]);
    assert!(
        (ENOUGH..=ENOUGH + 0x2000).contains(&findings.count_of(Rule::VhdxBat)),
        "{}",
        findings.count_of(Rule::VhdxBat)
    );
}
