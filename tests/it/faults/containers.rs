//! Faults in VHD and VHDX files.

use std::fs;

use nanovhd::base::{Disk, FileTime, MemoryDisk};
use nanovhd::format::vhd::{BLOCK, Layout, Params, Writer};
use nanovhd::verify::container::{self, Layer};
use nanovhd::verify::{Findings, Rule};
use uuid::Uuid;

use super::{Fault, Where, assert_clean, assert_none, failures};
use crate::support::crc32::crc32c;
use crate::support::surgeon::{int, put, units};
use crate::support::tools::{Tools, text};

/// A chain of files, the one on top first.
pub(super) type Chain = Vec<Vec<u8>>;
pub(super) type Faults = &'static [Fault<Chain>];

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;

pub(super) const fn fault(rule: Rule, name: &'static str, inject: fn(&mut Chain) -> Where) -> Fault<Chain> {
    super::fault(rule, name, inject)
}

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    [RAW, FIXED, DYNAMIC, DIFFERENCING, VHDX, DIFFERENCING_VHDX].into_iter().flatten().map(|fault| fault.rule)
}

fn check(chain: &Chain) -> Findings {
    let layers: Vec<_> =
        chain.iter().zip(0..).map(|(file, number)| Layer { name: format!("layer {number}"), file }).collect();
    let mut findings = Findings::default();
    container::check(&layers, &mut findings);
    findings
}

pub(super) fn try_all(on: &str, good: &Chain, faults: Faults) {
    assert_clean(on, &check(good));
    assert_none(&failures(on, good, faults, check));
}

// Raw files.

const RAW: Faults = &[
    fault(Rule::RawSize, "half a sector", |c| {
        let len = c[0].len() + 100;
        c[0].resize(len, 0);
        Where::Whole
    }),
    fault(Rule::Unreadable, "nothing", |c| {
        c[0].clear();
        Where::Whole
    }),
    fault(Rule::Unreadable, "a disk in a container that is not known", |c| {
        c[0][..4].copy_from_slice(b"QED\0");
        Where::Whole
    }),
];

// VHD, which is big-endian.

const FOOTER_CHECKSUM: usize = 64;
const HEADER_CHECKSUM: usize = 36;
const HEADER: usize = 512;
const HEADER_LEN: usize = 1024;
const TABLE: usize = 1536;

pub(super) fn big(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) fn put_big(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    bytes[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
}

/// Gives a structure the complement of the sum of its bytes.
fn sum(bytes: &mut [u8], field: usize) {
    bytes[field..field + 4].fill(0);
    let sum = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
    put_big(bytes, field, 4, (!sum).into());
}

fn vhd(layout: &Layout) -> Chain {
    let params = Params {
        created: FileTime::from_unix(1_500_000_000).unwrap(),
        id: Uuid::from_u128(0x0123_4567_89AB_4DEF_8123_4567_89AB_CDEF),
    };
    let file = MemoryDisk::new(layout.file_len() as usize, 0);
    let writer = Writer::new(layout.clone(), params, file).unwrap();
    for at in [0, 9 * MIB as u64] {
        writer.write_at(at, &[0xA5; 4096]).unwrap();
    }
    vec![writer.finish().unwrap().into_bytes()]
}

fn dynamic() -> Chain {
    let used = [0..2 * BLOCK, 9 << 20..12 << 20];
    vhd(&Layout::dynamic(20 << 20, &used).unwrap())
}

/// Changes the footer, and gives it the right checksum; its copy too.
fn footer(chain: &mut Chain, change: impl Fn(&mut [u8])) -> Where {
    let file = &mut chain[0];
    let end = file.len() - SECTOR;
    change(&mut file[end..]);
    sum(&mut file[end..], FOOTER_CHECKSUM);
    if file.starts_with(b"conectix") {
        file.copy_within(end.., 0);
    }
    Where::Any(vec![Where::Offset(end as u64, SECTOR as u64), Where::Offset(0, SECTOR as u64), Where::Named("footer")])
}

/// Changes the dynamic header, and gives it the right checksum.
fn header(chain: &mut Chain, change: impl Fn(&mut [u8])) -> Where {
    let header = &mut chain[0][HEADER..HEADER + HEADER_LEN];
    change(header);
    sum(header, HEADER_CHECKSUM);
    Where::Any(vec![Where::Offset(HEADER as u64, HEADER_LEN as u64), Where::Named("header")])
}

/// Changes an entry of the block allocation table.
fn block(chain: &mut Chain, entry: usize, change: impl Fn(u64) -> u64) -> Where {
    let at = TABLE + 4 * entry;
    let sector = change(big(&chain[0], at, 4));
    put_big(&mut chain[0], at, 4, sector);
    Where::Any(vec![Where::Offset(TABLE as u64, 512), Where::Named("BAT"), Where::Named("block")])
}

const FIXED: Faults = &[
    fault(Rule::VhdFooter, "another checksum", |c| {
        let at = c[0].len() - SECTOR;
        c[0][at + FOOTER_CHECKSUM] ^= 1;
        Where::Any(vec![Where::Offset(at as u64, 512), Where::Named("footer")])
    }),
    fault(Rule::VhdFooter, "another version", |c| footer(c, |footer| footer[13] = 9)),
    fault(Rule::VhdFooter, "an unknown type", |c| footer(c, |footer| put_big(footer, 60, 4, 7))),
    fault(Rule::VhdFooter, "no reserved bit", |c| footer(c, |footer| put_big(footer, 8, 4, 0))),
    fault(Rule::VhdFooter, "reserved bytes", |c| footer(c, |footer| footer[200] = 1)),
    fault(Rule::VhdFooter, "a header that a fixed disk has not", |c| footer(c, |footer| put_big(footer, 16, 8, 512))),
    fault(Rule::VhdGeometry, "another cylinder", |c| footer(c, |footer| footer[57] ^= 1)),
    // Virtual PC makes disks of no whole MiB: it is not for everybody that these are wrong.
    fault(Rule::VhdSize, "half a MiB", |c| {
        let end = c[0].len() - SECTOR;
        let half: Vec<u8> = vec![0; MIB / 2];
        c[0].splice(end..end, half);
        let size = c[0].len() - SECTOR;
        footer(c, |footer| {
            put_big(footer, 40, 8, size as u64);
            put_big(footer, 48, 8, size as u64);
        })
    })
    .note(),
    fault(Rule::VhdSize, "smaller than it was made", |c| footer(c, |footer| put_big(footer, 40, 8, 1 << 40))).note(),
];

const DYNAMIC: Faults = &[
    fault(Rule::VhdFooter, "none at the end", |c| {
        let at = c[0].len() - SECTOR;
        c[0][at..].fill(0);
        Where::Any(vec![Where::Offset(at as u64, 512), Where::Named("footer")])
    })
    .also(&[Rule::VhdFooterCopy]),
    fault(Rule::VhdFooterCopy, "another id", |c| {
        c[0][70] ^= 1;
        sum(&mut c[0][..SECTOR], FOOTER_CHECKSUM);
        Where::Any(vec![Where::Offset(0, 512), Where::Named("copy")])
    }),
    fault(Rule::VhdFooterCopy, "another checksum", |c| {
        c[0][FOOTER_CHECKSUM] ^= 1;
        Where::Any(vec![Where::Offset(0, 512), Where::Named("copy")])
    }),
    fault(Rule::VhdFooterCopy, "none", |c| {
        c[0][..SECTOR].fill(0);
        Where::Any(vec![Where::Offset(0, 512), Where::Named("copy")])
    }),
    fault(Rule::VhdHeader, "another name", |c| header(c, |header| header[0] = b'C')),
    fault(Rule::VhdHeader, "another checksum", |c| {
        c[0][HEADER + HEADER_CHECKSUM] ^= 1;
        Where::Any(vec![Where::Offset(HEADER as u64, 1024), Where::Named("header")])
    }),
    fault(Rule::VhdHeader, "another version", |c| header(c, |header| header[25] = 9)),
    fault(Rule::VhdHeader, "blocks of no power of two", |c| header(c, |header| put_big(header, 32, 4, 3 << 20)))
        .also(&[Rule::VhdBat, Rule::VhdBlockOverlap]),
    fault(Rule::VhdHeader, "blocks of no length", |c| header(c, |header| put_big(header, 32, 4, 0)))
        .also(&[Rule::VhdBat]),
    fault(Rule::VhdHeader, "reserved bytes", |c| header(c, |header| header[900] = 1)),
    fault(Rule::VhdBat, "past the end", |c| header(c, |header| put_big(header, 16, 8, 1 << 40))),
    fault(Rule::VhdBat, "too few entries", |c| header(c, |header| put_big(header, 28, 4, 4))),
    fault(Rule::VhdBat, "a block past the end", |c| block(c, 0, |_| 0x00FF_FFFF)),
    fault(Rule::VhdBlockOverlap, "two blocks in one place", |c| {
        let first = big(&c[0], TABLE, 4);
        block(c, 1, |_| first)
    }),
    fault(Rule::VhdBlockOverlap, "half of a block", |c| block(c, 1, |sector| sector - 8)),
    fault(Rule::VhdBlockOverlap, "a block on the table", |c| block(c, 0, |_| 3)).also(&[Rule::VhdBat]),
    fault(Rule::VhdBitmap, "a sector is not there", |c| {
        let at = big(&c[0], TABLE, 4) as usize * SECTOR;
        c[0][at] = 0x7F;
        Where::Any(vec![Where::Offset(at as u64, 512), Where::Named("block"), Where::Named("bitmap")])
    }),
    fault(Rule::VhdAlignment, "a block half a page on", |c| {
        let last = (0..10).rev().find(|entry| big(&c[0], TABLE + 4 * entry, 4) != 0xFFFF_FFFF).unwrap();
        let at = big(&c[0], TABLE + 4 * last, 4) as usize * SECTOR;
        c[0].splice(at..at, [0; SECTOR]);
        block(c, last, |sector| sector + 1);
        Where::Whole
    }),
    fault(Rule::VhdGeometry, "another cylinder", |c| footer(c, |footer| footer[57] ^= 1)),
    fault(Rule::VhdSize, "a sector less", |c| footer(c, |footer| put_big(footer, 48, 8, (20 << 20) - 512))).note(),
];

/// A disk that holds changes to another. Its parent is the second of the chain.
fn differencing() -> Chain {
    let mut chain = dynamic();
    let parent = chain[0].clone();
    let end = parent.len() - SECTOR;
    footer(&mut chain, |footer| {
        put_big(footer, 60, 4, 4);
        footer[68] ^= 0xFF;
    });
    let name: Vec<u8> = "parent.vhd".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let locator: Vec<u8> = r".\parent.vhd".encode_utf16().flat_map(u16::to_le_bytes).collect();
    // The locator's data lies in a sector of its own before the footer.
    let at = chain[0].len() - SECTOR;
    let mut sector = locator.clone();
    sector.resize(SECTOR, 0);
    chain[0].splice(at..at, sector);
    header(&mut chain, |header| {
        header[40..56].copy_from_slice(&parent[end + 68..end + 84]);
        header[56..60].copy_from_slice(&parent[end + 24..end + 28]);
        header[64..64 + name.len()].copy_from_slice(&name);
        header[576..580].copy_from_slice(b"W2ru");
        put_big(header, 580, 4, 512);
        put_big(header, 584, 4, locator.len() as u64);
        put_big(header, 592, 8, at as u64);
    });
    chain.push(parent);
    chain
}

const DIFFERENCING: Faults = &[
    fault(Rule::VhdParent, "another one", |c| {
        let end = c[1].len() - SECTOR;
        c[1][end + 68] ^= 1;
        sum(&mut c[1][end..], FOOTER_CHECKSUM);
        c[1].copy_within(end.., 0);
        Where::Whole
    }),
    fault(Rule::VhdParent, "none", |c| {
        c.truncate(1);
        Where::Whole
    }),
    fault(Rule::VhdLocator, "none", |c| header(c, |header| header[576..600].fill(0))),
    fault(Rule::VhdLocator, "of an unknown kind", |c| header(c, |header| header[576] = b'X')),
    fault(Rule::VhdLocator, "without a kind", |c| header(c, |header| header[600 + 7] = 1)),
    fault(Rule::VhdLocator, "past the end", |c| header(c, |header| header[592] = 1)),
    fault(Rule::VhdLocator, "on the table", |c| header(c, |header| put_big(header, 592, 8, TABLE as u64))),
    fault(Rule::VhdLocator, "on a block", |c| {
        let sector = (0..10).map(|block| big(&c[0], TABLE + 4 * block, 4)).find(|sector| *sector != 0xFFFF_FFFF);
        header(c, |header| put_big(header, 592, 8, (sector.unwrap() + 100) * 512))
    }),
    fault(Rule::VhdLocator, "of no length", |c| header(c, |header| put_big(header, 584, 4, 0))),
    fault(Rule::VhdLocator, "longer than its room", |c| header(c, |header| put_big(header, 580, 4, 0))),
    fault(Rule::VhdLocator, "half a unit", |c| header(c, |header| header[587] -= 1)),
    fault(Rule::VhdLocator, "reserved bytes", |c| header(c, |header| header[591] = 1)),
];

// VHDX, which is little-endian.

const HEADERS: [usize; 2] = [0x1_0000, 0x2_0000];
const REGIONS: [usize; 2] = [0x3_0000, 0x4_0000];
const REGION_TABLE_LEN: usize = 0x1_0000;

/// A dynamic disk of 16 MiB with blocks of 1 MiB, as qemu-img makes it. `None` where there is none.
fn vhdx() -> Option<Chain> {
    let tools = Tools::find(&["qemu-img"])?;
    let folder = tempfile::tempdir().unwrap();
    let (raw, vhdx) = (folder.path().join("raw"), folder.path().join("vhdx"));
    let mut disk = vec![0; 16 * MIB];
    for at in [0, 5, 6] {
        disk[at * MIB..][..MIB].fill(0xA5);
    }
    fs::write(&raw, disk).unwrap();
    let options =
        ["convert", "-f", "raw", "-O", "vhdx", "-o", "block_size=1M,subformat=dynamic", text(&raw), text(&vhdx)];
    tools.run("qemu-img", &options);
    Some(vec![fs::read(&vhdx).unwrap()])
}

fn checksum(bytes: &mut [u8]) {
    put(bytes, 4, 4, 0);
    let sum = crc32c(bytes);
    put(bytes, 4, 4, sum.into());
}

/// Changes a header, or both, and gives it the right checksum.
fn headers(chain: &mut Chain, which: &[usize], change: impl Fn(&mut [u8])) -> Where {
    for at in which {
        let header = &mut chain[0][*at..at + 4096];
        change(header);
        checksum(header);
    }
    Where::Any(vec![
        Where::Offset(which[0] as u64, 4096),
        Where::Offset(which[which.len() - 1] as u64, 4096),
        Where::Named("header"),
    ])
}

/// Changes both region tables, or the second alone.
fn regions(chain: &mut Chain, which: &[usize], change: impl Fn(&mut [u8])) -> Where {
    for at in which {
        let table = &mut chain[0][*at..at + REGION_TABLE_LEN];
        change(table);
        checksum(table);
    }
    Where::Any(vec![
        Where::Offset(which[0] as u64, REGION_TABLE_LEN as u64),
        Where::Offset(which[which.len() - 1] as u64, REGION_TABLE_LEN as u64),
        Where::Named("region"),
    ])
}

/// The number and the place of the region whose GUID begins so.
fn region(chain: &Chain, guid: u32) -> (usize, usize) {
    let entry = |number: usize| REGIONS[0] + 16 + 32 * number;
    let number = (0..2).find(|number| int(&chain[0], entry(*number), 4) == u64::from(guid)).unwrap();
    (number, int(&chain[0], entry(number) + 16, 8) as usize)
}

const BAT: u32 = 0x2DC2_7766;
const METADATA: u32 = 0x8B7C_A206;
/// The first words of the items' ids.
const FILE_PARAMETERS: u32 = 0xCAA1_6737;
const VIRTUAL_SIZE: u32 = 0x2FA5_4224;
const LOGICAL_SECTOR: u32 = 0x8141_BF1D;
const PARENT_LOCATOR: u32 = 0xA8D3_5F2D;

/// Where an entry of the metadata table is, and where its item.
fn item(chain: &Chain, id: u32) -> (usize, usize) {
    let (_, start) = region(chain, METADATA);
    let count = int(&chain[0], start + 10, 2) as usize;
    let entry = (0..count).map(|n| start + 32 + 32 * n).find(|at| int(&chain[0], *at, 4) == u64::from(id)).unwrap();
    (entry, start + int(&chain[0], entry + 16, 4) as usize)
}

fn metadata(chain: &Chain) -> Where {
    let (_, start) = region(chain, METADATA);
    Where::Any(vec![
        Where::Offset(start as u64, MIB as u64),
        Where::Named("metadata"),
        Where::Named("item"),
        Where::Named("size"),
    ])
}

/// Changes the value of an item.
fn set_item(chain: &mut Chain, id: u32, len: usize, value: u64) -> Where {
    let (_, at) = item(chain, id);
    put(&mut chain[0], at, len, value);
    metadata(chain)
}

/// Changes an entry of the block allocation table.
fn bat(chain: &mut Chain, entry: usize, change: impl Fn(u64) -> u64) -> Where {
    let (_, start) = region(chain, BAT);
    let at = start + 8 * entry;
    let value = change(int(&chain[0], at, 8));
    put(&mut chain[0], at, 8, value);
    Where::Any(vec![Where::Offset(start as u64, MIB as u64), Where::Named("BAT"), Where::Named("block")])
}

/// Adds a parent locator to the metadata: the GUID of the parent's data, and a path.
fn name_parent(chain: &mut Chain) {
    const LOCATOR_AT: usize = 0x2_0000;
    let ids = ["a8d35f2d-b30b-454d-abf7-d3d84834ab0c", "b04aefb7-d19e-4a81-b789-25b8e9445913"];
    let ids = ids.map(|id| Uuid::parse_str(id).unwrap().to_bytes_le());
    let pairs = [("parent_linkage", "{01234567-89ab-4def-8123-456789abcdef}"), ("relative_path", r".\parent.vhdx")];
    let mut locator = ids[1].to_vec();
    locator.extend([0, 0, pairs.len() as u8, 0]);
    locator.resize(20 + 12 * pairs.len(), 0);
    for (number, (key, value)) in pairs.into_iter().enumerate() {
        let (key, value) = (units(key), units(value));
        let (at, entry) = (locator.len(), 20 + 12 * number);
        for (field, len, number) in [(0, 4, at), (4, 4, at + key.len()), (8, 2, key.len()), (10, 2, value.len())] {
            put(&mut locator, entry + field, len, number as u64);
        }
        locator.extend(key);
        locator.extend(value);
    }
    let (_, start) = region(chain, METADATA);
    let count = int(&chain[0], start + 10, 2) as usize;
    let entry = start + 32 + 32 * count;
    chain[0][entry..entry + 16].copy_from_slice(&ids[0]);
    // The flag: required.
    for (at, len, value) in [(16, 4, LOCATOR_AT), (20, 4, locator.len()), (24, 4, 4)] {
        put(&mut chain[0], entry + at, len, value as u64);
    }
    put(&mut chain[0], start + 10, 2, count as u64 + 1);
    chain[0][start + LOCATOR_AT..][..locator.len()].copy_from_slice(&locator);
}

/// Changes the parent locator.
fn locator(chain: &mut Chain, change: impl Fn(&mut [u8])) -> Where {
    let (_, at) = item(chain, PARENT_LOCATOR);
    change(&mut chain[0][at..at + 1000]);
    Where::Named("locator")
}

/// Replaces a text in UTF-16 by one that is as long.
fn replace(bytes: &mut [u8], old: &str, new: &str) {
    let (old, new) = (units(old), units(new));
    assert_eq!(old.len(), new.len());
    let at = bytes.windows(old.len()).position(|window| window == old).expect("the text is there");
    bytes[at..at + new.len()].copy_from_slice(&new);
}

const VHDX: Faults = &[
    fault(Rule::VhdxIdentifier, "another one", |c| {
        c[0][0] = b'V';
        Where::Whole
    }),
    fault(Rule::VhdxHeader, "a checksum", |c| {
        c[0][HEADERS[0] + 4] ^= 1;
        Where::Any(vec![Where::Offset(HEADERS[0] as u64, 4096), Where::Named("header")])
    }),
    fault(Rule::VhdxHeader, "no header", |c| {
        for at in HEADERS {
            c[0][at + 4] ^= 1;
        }
        Where::Whole
    }),
    fault(Rule::VhdxHeader, "no signature", |c| headers(c, &HEADERS[1..], |header| header[0] = b'H')),
    fault(Rule::VhdxHeader, "another version", |c| headers(c, &HEADERS, |header| put(header, 66, 2, 9))),
    fault(Rule::VhdxHeader, "a log at an odd place", |c| {
        headers(c, &HEADERS, |header| put(header, 72, 8, MIB as u64 + 4096))
    })
    .also(&[Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxHeader, "a log over the headers", |c| headers(c, &HEADERS, |header| put(header, 72, 8, 0)))
        .also(&[Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxHeader, "one sequence number", |c| headers(c, &HEADERS, |header| put(header, 8, 8, 7))),
    fault(Rule::VhdxLog, "a log without entries", |c| {
        headers(c, &HEADERS, |header| header[48..64].fill(0xAB));
        Where::Named("log")
    }),
    fault(Rule::VhdxRegion, "a checksum", |c| {
        c[0][REGIONS[1] + 4] ^= 1;
        Where::Any(vec![Where::Offset(REGIONS[1] as u64, 4096), Where::Named("region")])
    }),
    fault(Rule::VhdxRegion, "copies that differ", |c| {
        regions(c, &REGIONS[1..], |table| put(table, 16 + 16, 8, 99 << 20))
    })
    .also(&[Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxRegion, "an unknown one that is required", |c| {
        regions(c, &REGIONS, |table| {
            table.copy_within(16..48, 80);
            table[80] ^= 1;
            put(table, 80 + 16, 8, 64 << 20);
            put(table, 8, 4, 3);
        })
    })
    .also(&[Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxRegion, "past the end", |c| regions(c, &REGIONS, |table| put(table, 16 + 16, 8, 1 << 40)))
        .also(&[Rule::VhdxBat, Rule::VhdxMetadata]),
    fault(Rule::VhdxRegion, "at an odd place", |c| {
        regions(c, &REGIONS, |table| put(table, 16 + 16, 8, (2 << 20) + 512))
    })
    .also(&[Rule::VhdxBat, Rule::VhdxMetadata, Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxMetadata, "no table", |c| {
        let (_, start) = region(c, METADATA);
        c[0][start] = b'M';
        metadata(c)
    }),
    fault(Rule::VhdxMetadata, "no virtual size", |c| {
        let (entry, _) = item(c, VIRTUAL_SIZE);
        c[0][entry] ^= 1;
        metadata(c)
    }),
    fault(Rule::VhdxMetadata, "an item past the end", |c| {
        let (entry, _) = item(c, VIRTUAL_SIZE);
        put(&mut c[0], entry + 16, 4, 0xFFFF_FF00);
        metadata(c)
    }),
    fault(Rule::VhdxMetadata, "blocks of no power of two", |c| set_item(c, FILE_PARAMETERS, 4, 3 << 20))
        .also(&[Rule::VhdxBat, Rule::VhdxBlockOverlap]),
    fault(Rule::VhdxMetadata, "blocks of no length", |c| set_item(c, FILE_PARAMETERS, 4, 0)).also(&[Rule::VhdxBat]),
    fault(Rule::VhdxMetadata, "sectors of another length", |c| set_item(c, LOGICAL_SECTOR, 4, 1000))
        .also(&[Rule::VhdxSize]),
    fault(Rule::VhdxBat, "an unknown state", |c| bat(c, 0, |entry| entry & !7 | 5)),
    fault(Rule::VhdxBat, "a block past the end", |c| bat(c, 0, |entry| entry | 1 << 40)),
    fault(Rule::VhdxBat, "reserved bits", |c| bat(c, 0, |entry| entry | 8)),
    fault(Rule::VhdxBlockOverlap, "two blocks in one place", |c| {
        let (_, start) = region(c, BAT);
        let first = int(&c[0], start, 8);
        bat(c, 5, |_| first)
    }),
    fault(Rule::VhdxBlockOverlap, "a block on the table", |c| {
        let (_, start) = region(c, BAT);
        bat(c, 0, |_| start as u64 | 6)
    }),
    fault(Rule::VhdxRegion, "the log on the metadata", |c| {
        let (_, start) = region(c, METADATA);
        headers(c, &HEADERS, |header| put(header, 72, 8, start as u64));
        Where::Whole
    }),
    fault(Rule::VhdxSize, "half a sector", |c| set_item(c, VIRTUAL_SIZE, 8, (16 << 20) - 100)),
    fault(Rule::VhdxSize, "no length", |c| set_item(c, VIRTUAL_SIZE, 8, 0)).also(&[Rule::VhdxBat]),
    fault(Rule::VhdxSize, "128 TiB", |c| set_item(c, VIRTUAL_SIZE, 8, 128 << 40))
        .also(&[Rule::VhdxBat, Rule::VhdxRegion]),
    fault(Rule::VhdxSize, "a file of no whole MiB", |c| {
        let len = c[0].len() + 512;
        c[0].resize(len, 0);
        Where::Whole
    }),
    fault(Rule::VhdxMetadata, "a parent that it does not name", |c| {
        let (_, at) = item(c, FILE_PARAMETERS);
        c[0][at + 4] |= 2;
        Where::Whole
    })
    .also(&[Rule::VhdxParent, Rule::VhdxBat, Rule::VhdxRegion]),
    fault(Rule::VhdxParent, "that is not there", |c| {
        let (_, at) = item(c, FILE_PARAMETERS);
        c[0][at + 4] |= 2;
        name_parent(c);
        Where::Whole
    })
    .also(&[Rule::VhdxBat, Rule::VhdxRegion]),
];

/// A VHDX that holds changes to another, which is the second of the chain.
fn differencing_vhdx() -> Option<Chain> {
    const DATA_WRITE_GUID: usize = 32;
    let mut chain = vhdx()?;
    let mut parent = chain.clone();
    let linkage = Uuid::parse_str("01234567-89ab-4def-8123-456789abcdef").unwrap().to_bytes_le();
    headers(&mut parent, &HEADERS, |header| header[DATA_WRITE_GUID..][..16].copy_from_slice(&linkage));
    let (_, at) = item(&chain, FILE_PARAMETERS);
    chain[0][at + 4] |= 2;
    name_parent(&mut chain);
    chain.append(&mut parent);
    Some(chain)
}

/// Which entry of the table is the first sector bitmap: that behind 2^23 sectors in blocks of 1 MiB.
const SECTOR_BITMAP: usize = 4096;

const DIFFERENCING_VHDX: Faults = &[
    fault(Rule::VhdxParent, "another one", |c| {
        c.swap(0, 1);
        headers(c, &HEADERS, |header| header[32] ^= 1);
        c.swap(0, 1);
        Where::Whole
    }),
    fault(Rule::VhdxParent, "none", |c| {
        c.truncate(1);
        Where::Whole
    }),
    fault(Rule::VhdxParent, "a VHD", |c| {
        c[1] = dynamic().remove(0);
        Where::Whole
    }),
    fault(Rule::VhdxParent, "of other sectors", |c| {
        c.swap(0, 1);
        set_item(c, LOGICAL_SECTOR, 4, 4096);
        c.swap(0, 1);
        Where::Whole
    }),
    fault(Rule::VhdxLocator, "no path", |c| locator(c, |text| replace(text, "relative_path", "relative_patH"))),
    fault(Rule::VhdxLocator, "a key twice", |c| {
        locator(c, |text| text.copy_within(20..32, 32));
        locator(c, |_| ())
    }),
    fault(Rule::VhdxLocator, "an empty text", |c| locator(c, |text| text[32 + 10..32 + 12].fill(0))),
    fault(Rule::VhdxLocator, "reserved bytes", |c| locator(c, |text| text[16] = 1)),
    fault(Rule::VhdxLocator, "an absolute path of another form", |c| {
        locator(c, |text| replace(text, "relative_path", "volume_path\0\0"));
        // The key without the two units that are too many.
        locator(c, |text| text[32 + 8] -= 4)
    }),
    fault(Rule::VhdxBat, "a part of a block, and no sector bitmap", |c| bat(c, 0, |entry| entry | 7)),
    fault(Rule::VhdxBat, "a sector bitmap in an unknown state", |c| bat(c, SECTOR_BITMAP, |_| 7)),
    fault(Rule::VhdxBat, "a sector bitmap past the end", |c| bat(c, SECTOR_BITMAP, |_| 1 << 40 | 6)),
    fault(Rule::VhdxBlockOverlap, "a sector bitmap on a block", |c| {
        let (_, start) = region(c, BAT);
        let first = int(&c[0], start, 8);
        bat(c, SECTOR_BITMAP, |_| first)
    }),
];

#[test]
fn faults_of_differencing_vhdx_are_found() {
    let Some(good) = differencing_vhdx() else { return };
    try_all("a differencing VHDX", &good, DIFFERENCING_VHDX);
}

#[test]
fn faults_of_raw_files_are_found() {
    try_all("a raw file", &vec![vec![1; MIB]], RAW);
}

#[test]
fn faults_of_fixed_vhds_are_found() {
    try_all("a fixed VHD", &vhd(&Layout::fixed(20 << 20).unwrap()), FIXED);
}

#[test]
fn faults_of_dynamic_vhds_are_found() {
    try_all("a dynamic VHD", &dynamic(), DYNAMIC);
}

#[test]
fn faults_of_differencing_vhds_are_found() {
    try_all("a differencing VHD", &differencing(), DIFFERENCING);
}

#[test]
fn faults_of_vhdx_are_found() {
    let Some(good) = vhdx() else { return };
    try_all("a VHDX", &good, VHDX);
}
