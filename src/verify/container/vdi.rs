//! The rules of VDI, from the description of version 1.1 and from what VirtualBox refuses.

use super::claims::Claims;
use super::{Report, structure};
use crate::base::ReadAt;
use crate::format::vdi::ondisk::{self, FREE, Header, SECTOR, ZERO};
use crate::verify::{Finding, Level, Rule};

const MIB: u64 = 1 << 20;
/// How many entries of the map are read at once.
const PIECE: u64 = 0x4000;
/// So many entries of a map are looked at: 64 TiB in blocks of 1 MiB.
const MAX_BLOCKS: u64 = 1 << 26;

pub(super) fn check(file: &dyn ReadAt, report: &mut Report<'_>) {
    let Some(header) = structure::<Header>(file, 0) else {
        return report.field(Rule::VdiHeader, "header", 0, "cut short", "472 bytes");
    };
    if !check_header(&header, report) {
        return;
    }
    let map = Map {
        file,
        at: header.map_at.get().into(),
        data_at: header.data_at.get().into(),
        entries: header.blocks.get().into(),
        block: u64::from(header.block_size.get()) + u64::from(header.block_extra.get()),
    };
    check_size(&header, report);
    if map.is_placed(report) {
        check_alignment(&header, report);
        map.check(&header, report);
    }
}

/// Whether the numbers are such that the map can be looked at.
fn check_header(header: &Header, report: &mut Report<'_>) -> bool {
    let mut field = |name: &str, offset: u64, found: String, allowed: &str| {
        report.field(Rule::VdiHeader, &format!("header: {name}"), offset, found, allowed);
    };
    let version = header.version.get();
    if version != ondisk::VERSION {
        field("version", 0x44, format!("{version:#x}"), "0x10001");
        return false;
    }
    let len = header.header_len.get();
    if len < ondisk::MIN_HEADER_LEN {
        field("length", 0x48, len.to_string(), "at least 384");
    }
    let kind = header.kind.get();
    if !(ondisk::TYPE_DYNAMIC..=ondisk::TYPE_DIFFERENCING).contains(&kind) {
        field("type", 0x4C, kind.to_string(), "1 to 4");
    }
    if header.flags.get() > 1 {
        field("flags", 0x50, format!("{:#x}", header.flags), "0, or 1 for a disk whose new blocks are zeroed");
    }
    let sector = header.geometry.sector_size.get();
    if len >= ondisk::HEADER_LEN && u64::from(sector) != SECTOR {
        field("bytes per sector", 0x1D4, sector.to_string(), "512");
    }
    for (name, at, id) in [("UUID", 0x188, header.id), ("modification UUID", 0x198, header.modification)] {
        if id.get().is_nil() {
            field(name, at, "zero".to_owned(), "another one for each disk");
        }
    }
    let (block, extra) = (header.block_size.get(), header.block_extra.get());
    if extra != 0 && !extra.is_power_of_two() {
        field("block extra", 0x17C, extra.to_string(), "0 or a power of two");
    }
    let possible = block.is_power_of_two() && u64::from(block) >= SECTOR;
    if !possible {
        field("block size", 0x178, block.to_string(), "a power of two, as a rule 1 MiB");
    }
    let room = u64::from(header.blocks.get()) * u64::from(block);
    let disk_len = header.disk_len.get();
    if disk_len == 0 || disk_len > room {
        field("size of the disk", 0x170, disk_len.to_string(), &format!("1 to {room}, what its blocks hold"));
    }
    if possible && u64::from(block) != MIB {
        let finding = Finding::new(Rule::VdiHeader, block).allowed("1 MiB, as QEMU wants it");
        report.add(finding.part("header: block size").at(0x178).level(Level::Warning));
    }
    possible
}

fn check_size(header: &Header, report: &mut Report<'_>) {
    let disk_len = header.disk_len.get();
    let mut add = |level, allowed: &str| {
        let finding = Finding::new(Rule::VdiSize, format_args!("{disk_len} bytes")).allowed(allowed);
        report.add(finding.part("header: size of the disk").at(0x170).level(level));
    };
    if !disk_len.is_multiple_of(SECTOR) {
        add(Level::Warning, "whole sectors of 512");
    } else if !disk_len.is_multiple_of(header.block_size.get().into()) {
        // qemu-img and VirtualBox's own conversion make such disks, and VirtualBox attaches them.
        add(Level::Note, "whole blocks");
    }
}

fn check_alignment(header: &Header, report: &mut Report<'_>) {
    let data_at = header.data_at.get();
    if !data_at.is_multiple_of(4096) {
        let found = format!("data from {data_at:#x} on");
        report.field(Rule::VdiAlignment, "header: place of the data", 0x158, found, "a boundary of 4 KiB");
    }
}

/// The block map and what has to be known to read it.
struct Map<'f> {
    file: &'f dyn ReadAt,
    at: u64,
    data_at: u64,
    entries: u64,
    /// What a block takes in the file.
    block: u64,
}

impl Map<'_> {
    fn is_placed(&self, report: &mut Report<'_>) -> bool {
        let header_end = ondisk::HEADER_LEN_FROM + u64::from(ondisk::MIN_HEADER_LEN);
        let end = self.at + self.entries * 4;
        let is_placed = self.at >= header_end && end <= self.data_at && end <= self.file.len();
        if !is_placed {
            let found = format!("{} entries at {:#x}, data at {:#x}", self.entries, self.at, self.data_at);
            let allowed = format!("behind the header, before the data and the file's end at {:#x}", self.file.len());
            report.field(Rule::VdiMap, "header: place of the block map", 0x154, found, allowed);
        }
        is_placed
    }

    fn check(&self, header: &Header, report: &mut Report<'_>) {
        let held = self.file.len().saturating_sub(self.data_at).div_ceil(self.block);
        // Blocks have numbers, and each is accounted for as one unit.
        let mut claims = Claims::new(held.saturating_mul(MIB));
        let mut present = 0;
        let mut bytes = vec![0; PIECE as usize * 4];
        for first in (0..self.entries.min(MAX_BLOCKS)).step_by(PIECE as usize) {
            let bytes = &mut bytes[..PIECE.min(self.entries - first) as usize * 4];
            if let Err(error) = self.file.read_at(self.at + first * 4, bytes) {
                return report.field(Rule::VdiMap, "block map", self.at + first * 4, error, "readable");
            }
            for (index, entry) in (first..).zip(bytes.as_chunks::<4>().0) {
                let number = u32::from_le_bytes(*entry);
                if ![FREE, ZERO].contains(&number) {
                    present += 1;
                    self.check_entry(index, number, &mut claims, report);
                }
            }
            if report.is_enough(Rule::VdiMap) || report.is_enough(Rule::VdiBlockOverlap) {
                return;
            }
        }
        if self.entries <= MAX_BLOCKS {
            check_allocated(header, present, report);
        }
    }

    fn check_entry(&self, index: u64, number: u32, claims: &mut Claims, report: &mut Report<'_>) {
        let (part, at) = (format!("block map entry {index}"), self.at + index * 4);
        let number = u64::from(number);
        let end = number.checked_mul(self.block).and_then(|start| start.checked_add(self.data_at + self.block));
        if end.is_none_or(|end| end > self.file.len()) {
            let allowed = format!("a block before the file's end at {:#x}", self.file.len());
            report.field(Rule::VdiMap, &part, at, format!("block {number} of the file"), allowed);
        } else if claims.claim(&(number * MIB..(number + 1) * MIB)).is_some() {
            let found = format!("block {number} of the file, which another entry has too");
            report.field(Rule::VdiBlockOverlap, &part, at, found, "a block of its own");
        }
    }
}

fn check_allocated(header: &Header, present: u32, report: &mut Report<'_>) {
    let (allocated, blocks) = (header.allocated.get(), header.blocks.get());
    if allocated != present {
        let allowed = format!("{present}, as the block map has them");
        report.field(Rule::VdiMap, "header: allocated blocks", 0x184, allocated, allowed);
    } else if header.kind == ondisk::TYPE_FIXED && present != blocks {
        report.field(
            Rule::VdiMap,
            "header: type",
            0x4C,
            format!("fixed, with {present} of {blocks} blocks"),
            "all of them",
        );
    }
}
