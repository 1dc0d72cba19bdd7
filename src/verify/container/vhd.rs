//! The rules of VHD, from the "Virtual Hard Disk Image Format Specification" 1.0.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::{Layer, Report, structure, used};
use crate::base::ReadAt;
use crate::format::vhd::ondisk::{self, FOOTER_LEN, Footer, Header, SECTOR};
use crate::verify::{Finding, Level, Rule};

const MIB: u64 = 1 << 20;
/// The limit of Hyper-V: 2040 GiB.
const MAX_DISK: u64 = 2040 << 30;
/// The limit of Windows: 3 MiB.
const MIN_DISK: u64 = 3 * MIB;
/// So many entries of a BAT are looked at: four times as many as the largest disk has blocks of 512 KiB.
const MAX_BLOCKS: u64 = 1 << 24;
/// Sectors that are not marked are read, to see whether they hold something, up to so many bytes in all.
const UNMARKED_BUDGET: u64 = 256 * MIB;

/// Where the locators are in the header.
const LOCATORS_AT: u64 = 576;
/// The kinds of paths that the specification knows.
const PLATFORMS: [[u8; 4]; 6] = [*b"W2ru", *b"W2ku", *b"Wi2r", *b"Wi2k", *b"Mac ", *b"MacX"];

pub(super) fn check(file: &dyn ReadAt, below: Option<&Layer<'_>>, report: &mut Report<'_>) {
    let last = last_footer(file);
    let copy = structure::<Footer>(file, 0).filter(|copy| copy.cookie == ondisk::COOKIE);
    match &last {
        Some((footer, at)) => check_footer(footer, *at, report),
        None => {
            let at = file.len().saturating_sub(FOOTER_LEN);
            report.field(Rule::VhdFooter, "footer", at, "no footer at the end of the file", "\"conectix\"");
        }
    }
    let whole = |footer: &Footer| checksum(footer.as_bytes(), 64) == footer.checksum.get();
    let footer = last.as_ref().map(|(footer, _)| footer);
    let Some(footer) = footer.filter(|footer| whole(footer)).or(copy.as_ref().filter(|copy| whole(copy))) else {
        return;
    };
    check_size(file, footer, report);
    check_geometry(footer, report);
    if [ondisk::TYPE_DYNAMIC, ondisk::TYPE_DIFFERENCING].contains(&footer.disk_type.get()) {
        check_copy(footer, copy.as_ref(), last.is_some(), report);
        check_blocks(file, footer, below, report);
    }
}

/// The footer at the end and where it is. Those of Virtual PC before 2004 lack their last byte, a zero.
fn last_footer(file: &dyn ReadAt) -> Option<(Footer, u64)> {
    let at = file.len().checked_sub(FOOTER_LEN)?;
    let footer = structure::<Footer>(file, at)?;
    if footer.cookie == ondisk::COOKIE {
        return Some((footer, at));
    }
    let mut short = footer.clone();
    file.read_at(at + 1, &mut short.as_mut_bytes()[..FOOTER_LEN as usize - 1]).ok()?;
    short.as_mut_bytes()[FOOTER_LEN as usize - 1] = 0;
    (short.cookie == ondisk::COOKIE).then_some((short, at + 1))
}

/// The complement of the sum of all bytes but the checksum's own four.
fn checksum(bytes: &[u8], own: usize) -> u32 {
    let others = bytes.iter().enumerate().filter(|(index, _)| !(own..own + 4).contains(index));
    !others.fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)))
}

fn check_footer(footer: &Footer, at: u64, report: &mut Report<'_>) {
    let mut field = |name: &str, offset: u64, found: String, allowed: &str| {
        report.field(Rule::VhdFooter, &format!("footer: {name}"), at + offset, found, allowed);
    };
    let right = checksum(footer.as_bytes(), 64);
    if footer.checksum != right {
        field("checksum", 64, format!("{:#010x}", footer.checksum), &format!("{right:#010x}"));
    }
    if footer.features & !1 != ondisk::FEATURES {
        field("features", 8, format!("{:#x}", footer.features), "2, or 3 for a temporary disk");
    }
    if footer.version != ondisk::VERSION {
        field("version", 12, format!("{:#x}", footer.version), "0x10000");
    }
    let kind = footer.disk_type.get();
    if ![ondisk::TYPE_FIXED, ondisk::TYPE_DYNAMIC, ondisk::TYPE_DIFFERENCING].contains(&kind) {
        field("disk type", 60, kind.to_string(), "2 (fixed), 3 (dynamic) or 4 (differencing)");
    }
    // Some old writers have 32 bits of ones only, or zero; Windows does not look.
    let data = footer.data_offset.get();
    if kind == ondisk::TYPE_FIXED && ![ondisk::NOWHERE, 0xFFFF_FFFF, 0].contains(&data) {
        field("data offset", 16, format!("{data:#x}"), "all ones in a fixed disk");
    }
    if footer.saved_state > 1 {
        field("saved state", 84, footer.saved_state.to_string(), "0 or 1");
    }
    if used(&footer.reserved) > 0 {
        field("reserved bytes", 85, format!("{} of them used", used(&footer.reserved)), "zeros");
    }
}

fn check_copy(footer: &Footer, copy: Option<&Footer>, has_last: bool, report: &mut Report<'_>) {
    let Some(copy) = copy else {
        report.field(Rule::VhdFooterCopy, "copy of the footer", 0, "none", "the same as the footer");
        return;
    };
    if !has_last {
        return check_footer(copy, 0, report);
    }
    let differing = footer.as_bytes().iter().zip(copy.as_bytes()).position(|(one, other)| one != other);
    if let Some(at) = differing {
        let found = format!("differs from the footer from byte {at} on");
        report.field(Rule::VhdFooterCopy, "copy of the footer", at as u64, found, "the same as the footer");
    }
}

fn check_size(file: &dyn ReadAt, footer: &Footer, report: &mut Report<'_>) {
    let (size, original) = (footer.current_size.get(), footer.original_size.get());
    let mut add = |level, found: String, allowed: &str| {
        let finding = Finding::new(Rule::VhdSize, found).allowed(allowed).part("footer: current size").level(level);
        report.add(finding);
    };
    if size == 0 || !size.is_multiple_of(SECTOR) || size > MAX_DISK {
        add(Level::Error, format!("{size} bytes"), "whole sectors, at most 2040 GiB");
    } else if size < MIN_DISK {
        add(Level::Warning, format!("{size} bytes"), "at least 3 MiB");
    } else if !size.is_multiple_of(MIB) {
        // Virtual PC and qemu-img make such disks, of whole cylinders, and Hyper-V attaches them.
        add(Level::Note, format!("{size} bytes"), "whole MiB, for Azure");
    }
    if original > size {
        add(Level::Note, format!("{size} bytes, less than the original {original}"), "grown, if changed");
    }
    let held = file.len().saturating_sub(FOOTER_LEN);
    if footer.disk_type == ondisk::TYPE_FIXED && held != size {
        // A footer of 511 bytes leaves the file one byte short.
        let level = if held + 1 == size { Level::Note } else { Level::Error };
        add(level, format!("{size} bytes, in a file that holds {held}"), "as much as the file holds before the footer");
    }
}

/// The algorithm of the specification's appendix.
fn geometry(size: u64) -> (u64, u64, u64) {
    let sectors = (size / SECTOR).min(65535 * 16 * 255);
    if sectors >= 65535 * 16 * 63 {
        return (sectors / 255 / 16, 16, 255);
    }
    let mut per_track = 17;
    let mut tracks = sectors / per_track;
    let mut heads = tracks.div_ceil(1024).max(4);
    if tracks >= heads * 1024 || heads > 16 {
        (per_track, heads) = (31, 16);
        tracks = sectors / per_track;
    }
    if tracks >= heads * 1024 {
        (per_track, heads) = (63, 16);
        tracks = sectors / per_track;
    }
    (tracks / heads, heads, per_track)
}

fn check_geometry(footer: &Footer, report: &mut Report<'_>) {
    let found = (u64::from(footer.cylinders.get()), u64::from(footer.heads), u64::from(footer.sectors));
    let right = geometry(footer.current_size.get());
    // qemu-img writes the largest one where it is told to keep the exact size.
    if found != right && found != (65535, 16, 255) {
        let words = |(cylinders, heads, sectors): (u64, u64, u64)| format!("{cylinders}/{heads}/{sectors}");
        let finding = Finding::new(Rule::VhdGeometry, words(found)).allowed(words(right));
        report.add(finding.part("footer: cylinders/heads/sectors"));
    }
}

/// The dynamic header with what follows from it.
struct Blocks<'f> {
    file: &'f dyn ReadAt,
    disk_len: u64,
    block_size: u64,
    bitmap_len: u64,
    table: Range<u64>,
    header: Range<u64>,
    /// Where the footer begins, or the file ends.
    end: u64,
}

fn check_blocks(file: &dyn ReadAt, footer: &Footer, below: Option<&Layer<'_>>, report: &mut Report<'_>) {
    let at = footer.data_offset.get();
    let Some(header) = structure::<Header>(file, at) else {
        let found = format!("at {at:#x}, in a file of {} bytes", file.len());
        return report.field(Rule::VhdHeader, "footer: data offset", 16, found, "inside the file");
    };
    let is_differencing = footer.disk_type == ondisk::TYPE_DIFFERENCING;
    if !check_header(&header, at, is_differencing, report) {
        return;
    }
    if is_differencing {
        check_parent(&header, at, below, report);
    }
    let header_at = at;
    let block_size = u64::from(header.block_size.get());
    let disk_len = footer.current_size.get();
    let needed = disk_len.div_ceil(block_size);
    if u64::from(header.max_entries.get()) < needed {
        let allowed = format!("at least {needed}");
        return report.field(Rule::VhdBat, "header: entries of the BAT", at + 28, header.max_entries, allowed);
    }
    let table_at = header.table_offset.get();
    let end = file.len().saturating_sub(FOOTER_LEN);
    let header_range = at..at.saturating_add(ondisk::HEADER_LEN);
    let table = table_at..table_at.saturating_add(needed * 4);
    let over_header = table.start < header_range.end && table.end > header_range.start;
    if table.end > end || !table_at.is_multiple_of(SECTOR) || table_at < FOOTER_LEN || over_header {
        let found = format!("{needed} entries at {table_at:#x}");
        let allowed = format!("a whole sector, beside the header and the footers, before {end:#x}");
        return report.field(Rule::VhdBat, "header: table offset", at + 16, found, allowed);
    }
    let bitmap_len = (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
    let blocks = Blocks { file, disk_len, block_size, bitmap_len, table, header: header_range, end };
    let starts = blocks.check_table(needed, report);
    if is_differencing {
        blocks.check_locators(&header, header_at, &starts, report);
    }
    blocks.check_overlaps(&starts, report);
    blocks.check_alignment(&starts, report);
    if !is_differencing {
        blocks.check_bitmaps(&starts, report);
    }
}

/// Whether the block size is one that blocks can have.
fn check_header(header: &Header, at: u64, is_differencing: bool, report: &mut Report<'_>) -> bool {
    let mut field = |name: &str, offset: u64, found: String, allowed: &str| {
        report.field(Rule::VhdHeader, &format!("header: {name}"), at + offset, found, allowed);
    };
    if header.cookie != ondisk::HEADER_COOKIE {
        field("cookie", 0, format!("{:?}", String::from_utf8_lossy(&header.cookie)), "\"cxsparse\"");
        return false;
    }
    let right = checksum(header.as_bytes(), 36);
    if header.checksum != right {
        field("checksum", 36, format!("{:#010x}", header.checksum), &format!("{right:#010x}"));
    }
    if header.data_offset != ondisk::NOWHERE {
        field("data offset", 8, format!("{:#x}", header.data_offset), "all ones");
    }
    if header.version != ondisk::VERSION {
        field("version", 24, format!("{:#x}", header.version), "0x10000");
    }
    let reserved = used(header.reserved.as_bytes()) + used(&header.reserved_end);
    if reserved > 0 {
        field("reserved bytes", 60, format!("{reserved} of them used"), "zeros");
    }
    if !is_differencing && used(&header.parent_id) > 0 {
        field("parent's unique id", 40, "not zero".to_owned(), "zeros in a disk without a parent");
    }
    let block_size = header.block_size.get();
    let possible = block_size.is_power_of_two() && u64::from(block_size) >= SECTOR;
    if !possible {
        field("block size", 32, block_size.to_string(), "512 KiB or 2 MiB");
    } else if ![512 << 10, 2 << 20].contains(&block_size) {
        let finding = Finding::new(Rule::VhdHeader, block_size).allowed("512 KiB or 2 MiB, as Hyper-V has them");
        report.add(finding.part("header: block size").at(at + 32).level(Level::Warning));
    }
    possible
}

fn check_parent(header: &Header, at: u64, below: Option<&Layer<'_>>, report: &mut Report<'_>) {
    let id = |bytes: [u8; 16]| uuid::Uuid::from_bytes(bytes).to_string();
    let wanted = id(header.parent_id);
    let Some(below) = below else {
        return report.field(Rule::VhdParent, "header: parent", at + 40, "the parent was not found", wanted);
    };
    match last_footer(below.file) {
        Some((footer, _)) if footer.id == header.parent_id => {}
        Some((footer, _)) => {
            let found = format!("{} has {}", below.name, id(footer.id));
            report.field(Rule::VhdParent, "header: parent's unique id", at + 40, found, wanted);
        }
        None => {
            let found = format!("{} is no VHD", below.name);
            report.field(Rule::VhdParent, "header: parent", at + 40, found, wanted);
        }
    }
}

impl Blocks<'_> {
    /// Length of a block with its bitmap, in sectors.
    fn span(&self) -> u64 {
        (self.bitmap_len + self.block_size) / SECTOR
    }

    /// The blocks' sectors and numbers, as far as they lie where blocks can be, in the order of the file.
    fn check_table(&self, entries: u64, report: &mut Report<'_>) -> Vec<u32> {
        const PIECE: u64 = 0x4000;
        let looked_at = entries.min(MAX_BLOCKS);
        let mut starts = Vec::new();
        let mut bytes = vec![0; PIECE as usize * 4];
        for first in (0..looked_at).step_by(PIECE as usize) {
            let count = PIECE.min(looked_at - first);
            let bytes = &mut bytes[..count as usize * 4];
            if let Err(error) = self.file.read_at(self.table.start + first * 4, bytes) {
                report.field(Rule::VhdBat, "BAT", self.table.start + first * 4, error, "readable");
                break;
            }
            for (block, entry) in (first..).zip(bytes.as_chunks::<4>().0) {
                let sector = u32::from_be_bytes(*entry);
                if sector == ondisk::NO_BLOCK {
                    continue;
                }
                match self.fault_of_place(u64::from(sector)) {
                    None => starts.push(sector),
                    Some((rule, allowed)) if !report.is_enough(rule) => {
                        let at = self.table.start + block * 4;
                        report.field(rule, &format!("BAT entry {block}"), at, format!("sector {sector}"), allowed);
                    }
                    Some(_) => {}
                }
            }
            if report.is_enough(Rule::VhdBat) || report.is_enough(Rule::VhdBlockOverlap) {
                break;
            }
        }
        starts.sort_unstable();
        starts
    }

    /// Why no block can be at that sector: the rule, and what is allowed.
    fn fault_of_place(&self, sector: u64) -> Option<(Rule, String)> {
        let range = sector * SECTOR..(sector + self.span()) * SECTOR;
        let overlaps = |other: &Range<u64>| range.end > other.start && range.start < other.end;
        let taken = [(&(0..FOOTER_LEN), "copy of the footer"), (&self.header, "header"), (&self.table, "BAT")];
        if let Some((other, what)) = taken.into_iter().find(|(other, _)| overlaps(other)) {
            let allowed = format!("a block beside the {what}, which is at {:#x} to {:#x}", other.start, other.end);
            return Some((Rule::VhdBlockOverlap, allowed));
        }
        let outside = range.end > self.end;
        outside.then(|| (Rule::VhdBat, format!("a block that ends at {:#x} or before", self.end)))
    }

    /// The paths of the parent; `starts` are the sectors of the blocks, in order.
    fn check_locators(&self, header: &Header, header_at: u64, starts: &[u32], report: &mut Report<'_>) {
        let mut paths = 0;
        for (number, locator) in (0..).zip(&header.parent_locators) {
            let at = header_at + LOCATORS_AT + number * size_of::<ondisk::Locator>() as u64;
            let mut fault = |found: String, allowed: &str| {
                report.field(Rule::VhdLocator, &format!("parent locator {number}"), at, found, allowed);
            };
            if used(&locator.platform) == 0 {
                if used(locator.as_bytes()) > 0 {
                    fault("a place, and no kind".to_owned(), "zeros, or a kind of path");
                }
                continue;
            }
            if !PLATFORMS.contains(&locator.platform) {
                fault(
                    format!("{:?}", String::from_utf8_lossy(&locator.platform)),
                    "W2ru, W2ku, Wi2r, Wi2k, Mac or MacX",
                );
            }
            let (start, len) = (locator.data_offset.get(), u64::from(locator.data_length.get()));
            // In sectors by the specification, in bytes as Windows has it.
            let space = u64::from(locator.data_space.get()) * SECTOR;
            let range = start..start.saturating_add(len);
            if len == 0 || len > space {
                fault(format!("{len} bytes in a room of {}", locator.data_space), "1 byte or more, and room for them");
            } else if range.end > self.end || self.is_taken(&range, starts) {
                fault(format!("{len} bytes at {start:#x}"), "inside the file, apart from tables and blocks");
            } else if locator.reserved != 0 {
                fault(format!("reserved {:#x}", locator.reserved), "zero");
            } else if locator.platform.starts_with(b"W2") && !len.is_multiple_of(2) {
                fault(format!("{len} bytes"), "whole units of UTF-16");
            } else {
                paths += 1;
            }
        }
        if paths == 0 {
            let at = header_at + LOCATORS_AT;
            report.field(Rule::VhdLocator, "parent locators", at, "none that leads anywhere", "a path of the parent");
        }
    }

    /// Whether something else lies in a range of the file.
    fn is_taken(&self, range: &Range<u64>, starts: &[u32]) -> bool {
        let overlaps = |other: &Range<u64>| range.end > other.start && range.start < other.end;
        let blocks_before = starts.partition_point(|start| u64::from(*start) * SECTOR < range.end);
        let last = starts[..blocks_before].last().map(|start| u64::from(*start));
        let last = last.map(|start| start * SECTOR..(start + self.span()) * SECTOR);
        [Some(0..FOOTER_LEN), Some(self.header.clone()), Some(self.table.clone()), last].iter().flatten().any(overlaps)
    }

    fn check_overlaps(&self, starts: &[u32], report: &mut Report<'_>) {
        for pair in starts.windows(2) {
            let (first, second) = (u64::from(pair[0]), u64::from(pair[1]));
            if second < first + self.span() && !report.is_enough(Rule::VhdBlockOverlap) {
                let found = format!("blocks at sectors {first} and {second}");
                let allowed = format!("{} sectors apart", self.span());
                report.field(Rule::VhdBlockOverlap, "BAT", second * SECTOR, found, allowed);
            }
        }
    }

    fn check_alignment(&self, starts: &[u32], report: &mut Report<'_>) {
        let data = |start: &u32| u64::from(*start) * SECTOR + self.bitmap_len;
        let unaligned = starts.iter().filter(|start| !data(start).is_multiple_of(4096));
        let count = unaligned.clone().count();
        if let Some(first) = unaligned.map(data).next() {
            let found = format!("{count} of {} blocks lie across them", starts.len());
            report.field(Rule::VhdAlignment, "BAT", first, found, "data on boundaries of 4 KiB");
        }
    }

    fn check_bitmaps(&self, starts: &[u32], report: &mut Report<'_>) {
        let mut budget = UNMARKED_BUDGET;
        let mut bitmap = vec![0; self.bitmap_len as usize];
        for start in starts {
            let at = u64::from(*start) * SECTOR;
            if report.is_enough(Rule::VhdBitmap) || self.file.read_at(at, &mut bitmap).is_err() {
                return;
            }
            let sectors = self.block_size.min(self.disk_len) / SECTOR;
            let is_marked = |sector: u64| bitmap[(sector / 8) as usize] & (0x80 >> (sector % 8)) != 0;
            if bitmap[..(sectors / 8) as usize].iter().all(|byte| *byte == 0xFF) {
                continue;
            }
            let mut used_sectors = 0;
            for sector in (0..sectors).filter(|sector| !is_marked(*sector)) {
                let Some(left) = budget.checked_sub(SECTOR) else {
                    let note =
                        Finding::new(Rule::VhdBitmap, "so many sectors are not marked that the rest was not looked at");
                    return report.add(note.part("sector bitmap").at(at).level(Level::Note));
                };
                budget = left;
                let mut data = [0; SECTOR as usize];
                let read = self.file.read_at(at + self.bitmap_len + sector * SECTOR, &mut data);
                used_sectors += u64::from(read.is_ok() && used(&data) > 0);
            }
            if used_sectors > 0 {
                let found = format!("{used_sectors} sectors that hold something are not marked");
                report.field(Rule::VhdBitmap, "sector bitmap", at, found, "a mark on each");
            }
        }
    }
}
