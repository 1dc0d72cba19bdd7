//! Faults in VDI files.

use nanovhd::base::{Disk, MemoryDisk};
use nanovhd::format::vdi::{Layout, Params, Writer};
use nanovhd::verify::Rule;
use uuid::Uuid;

use super::Where;
use super::containers::{Chain, Faults, fault, try_all};
use crate::support::surgeon::{int, put};

const MIB: u64 = 1 << 20;

/// Where the block map and the data are.
const MAP: usize = 1 << 20;
const DATA: usize = 2 << 20;

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    [BOTH, DYNAMIC, FIXED].into_iter().flatten().map(|fault| fault.rule)
}

fn vdi(layout: &Layout) -> Chain {
    let params = Params { id: Uuid::from_u128(1 << 70), modification: Uuid::from_u128(2 << 70) };
    let writer = Writer::new(layout.clone(), params, MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    for at in [0, 9 * MIB] {
        writer.write_at(at, &[0xA5; 4096]).unwrap();
    }
    vec![writer.finish().unwrap().into_bytes()]
}

fn header(chain: &mut Chain, at: usize, len: usize, value: u64) -> Where {
    put(&mut chain[0], at, len, value);
    Where::Offset(at as u64, len as u64)
}

fn entry(chain: &mut Chain, number: usize, value: u64) -> Where {
    put(&mut chain[0], MAP + 4 * number, 4, value);
    Where::Offset((MAP + 4 * number) as u64, 4)
}

const BOTH: Faults = &[
    fault(Rule::VdiHeader, "another version", |c| header(c, 0x44, 4, 0x0002_0000)),
    fault(Rule::VdiHeader, "a short header", |c| header(c, 0x48, 4, 0x100)),
    fault(Rule::VdiHeader, "an unknown type", |c| header(c, 0x4C, 4, 5)),
    fault(Rule::VdiHeader, "unknown flags", |c| header(c, 0x50, 4, 2)),
    fault(Rule::VdiHeader, "sectors of another length", |c| header(c, 0x1D4, 4, 4096)),
    fault(Rule::VdiHeader, "no UUID", |c| {
        c[0][0x188..0x198].fill(0);
        Where::Offset(0x188, 16)
    }),
    fault(Rule::VdiHeader, "no modification UUID", |c| {
        c[0][0x198..0x1A8].fill(0);
        Where::Offset(0x198, 16)
    }),
    fault(Rule::VdiHeader, "blocks of no power of two", |c| header(c, 0x178, 4, 3 << 20)),
    fault(Rule::VdiHeader, "an odd block extra", |c| header(c, 0x17C, 4, 3)).also(&[Rule::VdiMap]),
    fault(Rule::VdiHeader, "a disk longer than its blocks", |c| header(c, 0x170, 8, 21 * MIB)),
    fault(Rule::VdiHeader, "no disk", |c| header(c, 0x170, 8, 0)),
    fault(Rule::VdiHeader, "cut short", |c| {
        c[0].truncate(0x100);
        Where::Whole
    }),
    fault(Rule::VdiSize, "half a sector", |c| header(c, 0x170, 8, 20 * MIB - 100)),
    fault(Rule::VdiSize, "half a block", |c| header(c, 0x170, 8, 20 * MIB - 512)).note(),
    fault(Rule::VdiMap, "over the header", |c| header(c, 0x154, 4, 0x100)),
    fault(Rule::VdiMap, "behind the data", |c| header(c, 0x154, 4, DATA as u64)),
    fault(Rule::VdiMap, "a block past the end", |c| entry(c, 0, 1000)),
    fault(Rule::VdiMap, "the last number", |c| entry(c, 0, 0xFFFF_FFFD)),
    fault(Rule::VdiMap, "more allocated blocks", |c| {
        let allocated = int(&c[0], 0x184, 4);
        header(c, 0x184, 4, allocated + 1)
    }),
    fault(Rule::VdiMap, "a block cut short", |c| {
        let len = c[0].len();
        c[0].truncate(len - 512);
        Where::Offset(MAP as u64, 80)
    }),
    fault(Rule::VdiBlockOverlap, "two blocks in one place", |c| {
        let first = int(&c[0], MAP, 4);
        entry(c, 9, first)
    }),
    fault(Rule::VdiAlignment, "data half a page on", |c| {
        c[0].splice(DATA..DATA, [0; 512]);
        header(c, 0x158, 4, DATA as u64 + 512)
    }),
];

const DYNAMIC: Faults = &[fault(Rule::VdiMap, "a block that is not counted", |c| {
    entry(c, 9, 0xFFFF_FFFF);
    Where::Offset(0x184, 4)
})];

const FIXED: Faults = &[fault(Rule::VdiMap, "a block is not there", |c| {
    entry(c, 9, 0xFFFF_FFFE);
    header(c, 0x184, 4, 19);
    Where::Offset(0x4C, 4)
})];

#[test]
fn faults_of_vdis_are_found() {
    let dynamic = vdi(&Layout::dynamic(20 * MIB, &[0..1, 9 * MIB..11 * MIB]).unwrap());
    let fixed = vdi(&Layout::fixed(20 * MIB).unwrap());
    try_all("a dynamic VDI", &dynamic, BOTH);
    try_all("a dynamic VDI", &dynamic, DYNAMIC);
    try_all("a fixed VDI", &fixed, BOTH);
    try_all("a fixed VDI", &fixed, FIXED);
}
