//! The rules of qcow2, from QEMU's description of the format: the header, and the L1 and L2 tables.

use super::qcow2_counts::{Counts, Use};
use super::{Report, structure};
use crate::base::{ReadAt, bytes};
use crate::format::qcow2::ondisk::{self, COMPRESSED, COPIED, Header, PLACE, SECTOR, ZERO, incompatible};
use crate::verify::{Finding, Level, Rule};

/// In entries of L1 tables.
const L1_RESERVED: u64 = 0x7F00_0000_0000_01FF;
/// In entries of L2 tables that are not for compressed clusters.
const L2_RESERVED: u64 = 0x3F00_0000_0000_01FE;
/// The longest L1 table that qemu opens.
const MAX_L1: u64 = 32 << 20;
/// The most snapshots that qemu opens.
const MAX_SNAPSHOTS: u32 = 65_536;
/// So many entries of L2 tables are looked at in all: those of a full disk of 16 TiB in clusters of 64 KiB.
const ENTRIES_BUDGET: u64 = 1 << 28;
/// How many entries are read at once.
const PIECE: u64 = 8192;

pub(super) fn check(file: &dyn ReadAt, report: &mut Report<'_>) {
    let Some(header) = read_header(file) else {
        return report.field(Rule::Qcow2Header, "header", 0, "cut short", "72 bytes, or 104 from version 3 on");
    };
    if !check_header(&header, file, report) {
        return;
    }
    check_marks(&header, report);
    let mut tables = Tables::new(file, &header, report);
    tables.check_active(report);
    tables.check_snapshots(report);
    let dirty = header.incompatible.get() & incompatible::DIRTY != 0;
    if !dirty && tables.budget > 0 {
        tables.counts.compare(tables.has_others, report);
    }
}

/// The header, with zeros for what an older one lacks, and the values that those stand for.
fn read_header(file: &dyn ReadAt) -> Option<Header> {
    use zerocopy::{FromZeros, IntoBytes};
    let mut header = structure::<Header>(file, 0).or_else(|| {
        let mut header = Header::new_zeroed();
        let len = file.len().min(header.as_bytes().len() as u64) as usize;
        file.read_at(0, &mut header.as_mut_bytes()[..len]).ok()?;
        (len >= ondisk::HEADER_LEN_2 as usize).then_some(header)
    })?;
    if header.version == 2 {
        header.as_mut_bytes()[ondisk::HEADER_LEN_2 as usize..].fill(0);
        header.refcount_order = ondisk::REFCOUNT_ORDER.into();
        header.header_len = ondisk::HEADER_LEN_2.into();
    }
    if header.header_len.get() <= ondisk::HEADER_LEN_3 {
        header.compression = ondisk::COMPRESSION_DEFLATE;
    }
    Some(header)
}

/// Whether the numbers are such that tables can be looked at.
fn check_header(header: &Header, file: &dyn ReadAt, report: &mut Report<'_>) -> bool {
    let mut is_usable = true;
    let mut field = |name: &str, offset: u64, found: String, allowed: String| {
        report.field(Rule::Qcow2Header, &format!("header: {name}"), offset, found, allowed);
        is_usable = false;
    };
    let version = header.version.get();
    if ![2, 3].contains(&version) {
        field("version", 4, version.to_string(), "2 or 3".to_owned());
        return false;
    }
    let bits = header.cluster_bits.get();
    let least = if header.incompatible.get() & incompatible::EXTENDED_L2 != 0 { 14 } else { 9 };
    if !(least..=21).contains(&bits) {
        field("bits of a cluster", 20, bits.to_string(), format!("{least} to 21"));
        return false;
    }
    let len = header.header_len.get();
    if version > 2 && (len < ondisk::HEADER_LEN_3 || !len.is_multiple_of(8) || u64::from(len) > 1 << bits) {
        field("length", 100, len.to_string(), "104 or more, in eights, within the first cluster".to_owned());
    }
    let order = header.refcount_order.get();
    if order > 6 {
        field("order of reference counts", 96, order.to_string(), "0 to 6".to_owned());
    }
    let known = incompatible::DIRTY
        | incompatible::CORRUPT
        | incompatible::EXTERNAL_DATA
        | incompatible::COMPRESSION_TYPE
        | incompatible::EXTENDED_L2;
    let unknown = header.incompatible.get() & !known;
    if unknown != 0 {
        field("incompatible features", 72, format!("{unknown:#x} unknown"), "known ones".to_owned());
    }
    let compression = header.compression;
    let other_type = header.incompatible.get() & incompatible::COMPRESSION_TYPE != 0;
    if compression > ondisk::COMPRESSION_ZSTD || (compression != ondisk::COMPRESSION_DEFLATE) != other_type {
        let found = format!("type {compression}, feature bit {}", u8::from(other_type));
        field("compression type", 104, found, "0 without the bit, or 1 with it".to_owned());
    }
    if header.encryption.get() > 2 {
        field("encryption", 32, header.encryption.to_string(), "0 to 2".to_owned());
    }
    let cluster = 1u64 << bits;
    let needed = header.disk_len.get().div_ceil(reach(header));
    let entries = u64::from(header.l1_entries.get());
    if entries < needed || entries * 8 > MAX_L1 {
        let allowed = format!("{needed} to {}", MAX_L1 / 8);
        field("entries of the L1 table", 36, entries.to_string(), allowed);
    }
    let table = u64::from(header.refcount_clusters.get()) * cluster;
    let places = [
        ("place of the L1 table", 40, header.l1_at.get(), entries * 8),
        ("place of the refcount table", 48, header.refcounts_at.get(), table),
    ];
    for (name, offset, at, len) in places {
        let end = at.checked_add(len).filter(|end| *end <= file.len());
        if len > 0 && (at == 0 || !at.is_multiple_of(cluster) || end.is_none()) {
            let allowed = format!("whole clusters of the file's {:#x} bytes", file.len());
            field(name, offset, format!("{len} bytes at {at:#x}"), allowed);
        }
    }
    if table == 0 || table > 8 << 20 {
        field("clusters of the refcount table", 56, header.refcount_clusters.to_string(), "1 to 8 MiB".to_owned());
    }
    let (snapshots, at) = (header.snapshots.get(), header.snapshots_at.get());
    if snapshots > MAX_SNAPSHOTS || (snapshots > 0 && (!at.is_multiple_of(cluster) || at >= file.len())) {
        let allowed = format!("at most {MAX_SNAPSHOTS}, from a whole cluster of the file on");
        field("snapshots", 60, format!("{snapshots} at {at:#x}"), allowed);
    }
    let disk_len = header.disk_len.get();
    if !disk_len.is_multiple_of(SECTOR) {
        let finding = Finding::new(Rule::Qcow2Header, format_args!("{disk_len} bytes")).allowed("whole sectors of 512");
        report.add(finding.part("header: size of the disk").at(24).level(Level::Warning));
    }
    is_usable
}

fn check_marks(header: &Header, report: &mut Report<'_>) {
    let bits = header.incompatible.get();
    let mut add = |level, found: &str| {
        let finding =
            Finding::new(Rule::Qcow2Marks, found).allowed("no such mark").part("header: incompatible features");
        report.add(finding.at(72).level(level));
    };
    if bits & incompatible::CORRUPT != 0 {
        add(Level::Error, "marked as corrupt");
    }
    if bits & incompatible::DIRTY != 0 {
        add(Level::Warning, "marked as dirty: it was not closed");
    }
}

/// How much of the disk an L2 table describes.
fn reach(header: &Header) -> u64 {
    let bits = header.cluster_bits.get();
    ((1 << bits) / entry_len(header)) << bits
}

fn entry_len(header: &Header) -> u64 {
    if header.incompatible.get() & incompatible::EXTENDED_L2 != 0 { 16 } else { 8 }
}

/// What is known while tables are walked through.
struct Tables<'f> {
    file: &'f dyn ReadAt,
    header: &'f Header,
    counts: Counts<'f>,
    /// Whether clusters may be used by what is not known here.
    has_others: bool,
    /// How many entries of L2 tables may still be looked at.
    budget: u64,
}

impl<'f> Tables<'f> {
    fn new(file: &'f dyn ReadAt, header: &'f Header, report: &mut Report<'_>) -> Self {
        let counts = Counts::read(file, header, report);
        let has_others = header.encryption.get() != 0 || has_bitmaps(file, header);
        Self { file, header, counts, has_others, budget: ENTRIES_BUDGET }
    }

    fn cluster(&self) -> u64 {
        1 << self.header.cluster_bits.get()
    }

    fn check_active(&mut self, report: &mut Report<'_>) {
        let (at, entries) = (self.header.l1_at.get(), self.header.l1_entries.get().into());
        self.check_l1("L1 table", at, entries, true, report);
    }

    /// An L1 table, whose place is sound.
    fn check_l1(&mut self, name: &str, at: u64, entries: u64, active: bool, report: &mut Report<'_>) {
        self.counts.add(at..at + entries * 8, Use::Table, name, at, report);
        let mut bytes = vec![0; PIECE as usize * 8];
        for first in (0..entries).step_by(PIECE as usize) {
            let bytes = &mut bytes[..PIECE.min(entries - first) as usize * 8];
            if let Err(error) = self.file.read_at(at + first * 8, bytes) {
                return report.field(Rule::Qcow2Table, name, at + first * 8, error, "readable");
            }
            for (index, entry) in (first..).zip(bytes.as_chunks::<8>().0) {
                let entry = u64::from_be_bytes(*entry);
                if entry != 0 {
                    self.check_l1_entry(&format!("{name}, entry {index}"), at + index * 8, entry, active, report);
                }
                if is_enough(report) {
                    return;
                }
            }
        }
    }

    fn check_l1_entry(&mut self, part: &str, at: u64, entry: u64, active: bool, report: &mut Report<'_>) {
        if entry & L1_RESERVED != 0 {
            report.field(Rule::Qcow2Table, part, at, format!("{entry:#018x}"), "reserved bits zero");
        }
        let place = entry & PLACE;
        if place == 0 {
            return;
        }
        if !self.is_cluster(place) || place + self.cluster() > self.file.len() {
            return self.misplaced(part, at, place, report);
        }
        self.counts.add(place..place + self.cluster(), Use::L2, part, at, report);
        if active {
            self.check_copied(part, at, entry, place, report);
        }
        self.check_l2(place, active, report);
    }

    fn check_l2(&mut self, table: u64, active: bool, report: &mut Report<'_>) {
        let len = entry_len(self.header);
        let entries = self.cluster() / len;
        if self.budget == 0 {
            return;
        }
        self.budget = self.budget.saturating_sub(entries);
        if self.budget == 0 {
            let found = "so many L2 tables that the rest, and the reference counts, were not looked at";
            report.add(Finding::new(Rule::Qcow2Table, found).part("L2 table").at(table).level(Level::Note));
            return;
        }
        let mut bytes = vec![0; self.cluster() as usize];
        if let Err(error) = self.file.read_at(table, &mut bytes) {
            return report.field(Rule::Qcow2Table, "L2 table", table, error, "readable");
        }
        for (at, entry) in (table..).step_by(len as usize).zip(bytes.chunks_exact(len as usize)) {
            let word =
                |at: usize| entry.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_be_bytes);
            if !bytes::is_zero(entry) {
                self.check_l2_entry(at, word(0), word(8), active, report);
            }
            if is_enough(report) {
                return;
            }
        }
    }

    fn check_l2_entry(&mut self, at: u64, entry: u64, bits: u64, active: bool, report: &mut Report<'_>) {
        let part = "L2 entry";
        if entry & COMPRESSED != 0 {
            return self.check_compressed(part, at, entry, active, report);
        }
        let extended = entry_len(self.header) > 8;
        let reserved = if extended || self.header.version == 2 { L2_RESERVED | ZERO } else { L2_RESERVED };
        if entry & reserved != 0 {
            report.field(Rule::Qcow2Table, part, at, format!("{entry:#018x}"), "reserved bits zero");
        }
        if bits as u32 & (bits >> 32) as u32 != 0 {
            let found = format!("subclusters {bits:#018x}");
            report.field(Rule::Qcow2Table, part, at, found, "none that is both there and zero");
        }
        let place = entry & PLACE;
        if place == 0 || self.header.incompatible.get() & incompatible::EXTERNAL_DATA != 0 {
            return;
        }
        if !self.is_cluster(place) || place >= self.file.len() {
            return self.misplaced(part, at, place, report);
        }
        self.counts.add(place..place + self.cluster(), Use::Data, part, at, report);
        if active {
            self.check_copied(part, at, entry, place, report);
        }
    }

    fn check_compressed(&mut self, part: &str, at: u64, entry: u64, active: bool, report: &mut Report<'_>) {
        let shift = ondisk::sectors_shift(self.header.cluster_bits.get());
        let place = entry & ((1 << shift) - 1);
        let sectors = ((entry & !(COMPRESSED | COPIED)) >> shift) + 1;
        let start = place / SECTOR * SECTOR;
        let end = start.saturating_add(sectors * SECTOR);
        // The last cluster of a file may be cut short.
        if end > self.file.len().next_multiple_of(self.cluster()) || start < self.cluster() {
            let found = format!("compressed, {sectors} sectors from {place:#x} on");
            let allowed = format!("a place in the file's {:#x} bytes", self.file.len());
            return report.field(Rule::Qcow2Table, part, at, found, allowed);
        }
        if active && entry & COPIED != 0 {
            report.field(Rule::Qcow2Copied, part, at, "set for a compressed cluster", "clear");
        }
        self.counts.add(start..end, Use::Data, part, at, report);
    }

    fn check_copied(&self, part: &str, at: u64, entry: u64, place: u64, report: &mut Report<'_>) {
        let Some(count) = self.counts.of(place).filter(|_| self.header.incompatible.get() & incompatible::DIRTY == 0)
        else {
            return;
        };
        let is_set = entry & COPIED != 0;
        if is_set != (count == 1) {
            let found = if is_set { "set" } else { "clear" };
            let allowed = format!("{}, as the reference count is {count}", if count == 1 { "set" } else { "clear" });
            report.field(Rule::Qcow2Copied, part, at, found, allowed);
        }
    }

    fn is_cluster(&self, place: u64) -> bool {
        place.is_multiple_of(self.cluster())
    }

    fn misplaced(&self, part: &str, at: u64, place: u64, report: &mut Report<'_>) {
        let allowed = format!("a whole cluster of the file's {:#x} bytes", self.file.len());
        report.field(Rule::Qcow2Table, part, at, format!("{place:#x}"), allowed);
    }

    /// The table of snapshots: 40 bytes each, more that it says the length of, its id and its name, filled up to eights.
    fn check_snapshots(&mut self, report: &mut Report<'_>) {
        let (start, count) = (self.header.snapshots_at.get(), self.header.snapshots.get());
        let mut at = start;
        for number in 0..count {
            let name = format!("snapshot {number}");
            let mut fixed = [0; 40];
            if let Err(error) = self.file.read_at(at, &mut fixed) {
                return report.field(Rule::Qcow2Table, &name, at, error, "readable");
            }
            let u16_at = |at: usize| u64::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
            let u32_at = |at: usize| u16_at(at) << 16 | u16_at(at + 2);
            let (l1_at, entries) = (u32_at(0) << 32 | u32_at(4), u32_at(8));
            let len = 40 + u32_at(36) + u16_at(12) + u16_at(14);
            let end = l1_at.checked_add(entries * 8).filter(|end| *end <= self.file.len());
            if !self.is_cluster(l1_at) || end.is_none() || entries * 8 > MAX_L1 {
                let found = format!("L1 table of {entries} entries at {l1_at:#x}");
                report.field(Rule::Qcow2Table, &name, at, found, "a whole cluster in the file");
            } else if entries > 0 {
                self.check_l1(&format!("{name}, L1 table"), l1_at, entries, false, report);
            }
            at = (at + len).next_multiple_of(8);
            // The last entry is not filled up where the file ends with it.
            if is_enough(report) || at > self.file.len().next_multiple_of(self.cluster()) {
                return;
            }
        }
        if count > 0 {
            self.counts.add(start..at, Use::Table, "snapshot table", start, report);
        }
    }
}

fn is_enough(report: &Report<'_>) -> bool {
    [Rule::Qcow2Table, Rule::Qcow2Overlap, Rule::Qcow2Copied].into_iter().any(|rule| report.is_enough(rule))
}

/// Whether one of the header's extensions is for bitmaps, whose clusters are not followed here.
fn has_bitmaps(file: &dyn ReadAt, header: &Header) -> bool {
    const BITMAPS: u32 = 0x2385_2875;
    let mut at = u64::from(header.header_len.get());
    let end = 1 << header.cluster_bits.get();
    while at + 8 <= end {
        let mut head = [0; 8];
        if file.read_at(at, &mut head).is_err() {
            return false;
        }
        let [kind, len] = [0, 4].map(|at| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        match kind {
            0 => return false,
            BITMAPS => return true,
            _ => at += 8 + u64::from(len).next_multiple_of(8),
        }
    }
    false
}
