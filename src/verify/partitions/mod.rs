//! How a disk is divided: the MBR, both copies of a GPT, and whether the partitions are what their types say.

mod content;
mod gpt;

use std::ops::Range;

pub use content::{Content, content};

use super::{Finding, Findings, Level, Rule};
use crate::base::{ReadAt, Slice, bytes};
use crate::format::partitions::{self as parts, Kind, Partition, Scheme, Table, mbr};

/// Partitions start on multiples of this, as Windows has placed them since Vista.
const ALIGNMENT: u64 = 1 << 20;
/// Where the entries of an MBR are, and how long each is.
const ENTRIES_AT: usize = 446;
const ENTRY_LEN: usize = 16;
const DISK_SIGNATURE_AT: usize = 440;

/// Checks the division of a disk; gives the table, if there is one that can be read.
///
/// A disk without anything at its start is new, and not damaged: that is a note.
pub fn check(disk: &dyn ReadAt, findings: &mut Findings) -> Option<Table> {
    let mut sector = [0; mbr::MBR_LEN];
    if let Err(error) = disk.read_at(0, &mut sector) {
        findings.add(Finding::new(Rule::NoPartitions, error).allowed("a sector that can be read").at(0));
        return None;
    }
    let has_gpt = parts::gpt::sector_size(disk).is_some();
    let table = match Table::read(disk) {
        Ok(table) => Some(table),
        Err(_) if !has_gpt && sector.iter().all(|byte| *byte == 0) => {
            let finding = Finding::new(Rule::NoPartitions, "nothing: the disk is empty").level(Level::Note);
            findings.add(finding.allowed("a partition table, or a volume").at(0));
            return None;
        }
        Err(error) => {
            findings.add(Finding::new(Rule::NoPartitions, error).allowed("a table or a volume that can be read").at(0));
            None
        }
    };
    match &table {
        Some(Table { scheme: Scheme::None, .. }) => {}
        Some(Table { scheme: Scheme::Gpt { .. }, .. }) => gpt::check(disk, &sector, findings),
        // A partition over the place of the header cannot be one: its type is wrong, and it was meant to protect the GPT.
        Some(Table { scheme: Scheme::Mbr { .. }, .. })
            if has_gpt && Entry::all(&sector).any(|e| e.is_over_header()) =>
        {
            gpt::check(disk, &sector, findings);
        }
        // What is protected, or has a header, was meant to be a GPT.
        None if has_gpt || Entry::all(&sector).any(|entry| entry.kind == parts::TYPE_PROTECTIVE) => {
            gpt::check(disk, &sector, findings);
        }
        // Where neither the signature nor an entry is one of an MBR, none is damaged: there is none.
        None if !sector.ends_with(&[0x55, 0xAA])
            && !Entry::all(&sector).any(|entry| entry.is_plausible(disk.len() / parts::SECTOR)) => {}
        Some(Table { scheme: Scheme::Mbr { .. }, .. }) | None => check_mbr(disk, &sector, findings),
    }
    let table = table?;
    if table.partitions.is_empty() {
        let finding = Finding::new(Rule::NoPartitions, "no partitions").level(Level::Note);
        findings.add(finding.allowed("a partition, for the disk to hold anything"));
    }
    check_places(&table, disk.len(), findings);
    for partition in &table.partitions {
        findings.set_partition(Some(partition.number));
        check_type(disk, partition, findings);
    }
    findings.set_partition(None);
    Some(table)
}

/// An entry of an MBR as it lies there, whatever it says.
struct Entry {
    number: u32,
    at: u64,
    status: u8,
    kind: u8,
    first_lba: u32,
    sectors: u32,
    is_zero: bool,
}

impl Entry {
    fn all(sector: &[u8; mbr::MBR_LEN]) -> impl Iterator<Item = Self> + '_ {
        let bytes = sector[ENTRIES_AT..].chunks_exact(ENTRY_LEN).take(4).zip(1u32..);
        bytes.map(|(entry, number)| Self {
            number,
            at: (ENTRIES_AT + ENTRY_LEN * (number as usize - 1)) as u64,
            status: entry[0],
            kind: entry[4],
            first_lba: bytes::u32_at(entry, 8).unwrap_or_default(),
            sectors: bytes::u32_at(entry, 12).unwrap_or_default(),
            is_zero: entry.iter().all(|byte| *byte == 0),
        })
    }

    /// Whether the header of a GPT would lie in the partition.
    fn is_over_header(&self) -> bool {
        self.kind != 0 && self.first_lba == parts::gpt::PRIMARY_LBA as u32 && self.sectors > 0
    }

    /// Whether it may well be the entry of a partition.
    fn is_plausible(&self, disk_sectors: u64) -> bool {
        let end = u64::from(self.first_lba) + u64::from(self.sectors);
        matches!(self.status, 0 | 0x80) && self.kind != 0 && self.sectors > 0 && end <= disk_sectors
    }
}

fn check_mbr(disk: &dyn ReadAt, sector: &[u8; mbr::MBR_LEN], findings: &mut Findings) {
    if bytes::u32_at(sector, DISK_SIGNATURE_AT) == Some(0) {
        let finding = Finding::new(Rule::MbrDiskSignature, "0").allowed("anything else");
        findings.add(finding.part("disk signature").at(DISK_SIGNATURE_AT as u64));
    }
    let mut active = Vec::new();
    for entry in Entry::all(sector) {
        check_entry(&entry, disk.len() / parts::SECTOR, findings);
        if entry.status == 0x80 {
            active.push(entry.number.to_string());
        }
        if parts::TYPES_EXTENDED.contains(&entry.kind) {
            let finding = Finding::new(Rule::MbrEntry, "logical drives, which are not looked at").level(Level::Note);
            findings.add(finding.part(format_args!("entry {}", entry.number)).at(entry.at));
        }
    }
    match active.as_slice() {
        [_] => {}
        [] => {
            let finding = Finding::new(Rule::MbrActive, "no active partition").level(Level::Note);
            findings.add(finding.allowed("one, for a BIOS to start from the disk").at(ENTRIES_AT as u64));
        }
        _ => {
            let found = format!("partitions {} are active", active.join(" and "));
            findings.add(Finding::new(Rule::MbrActive, found).allowed("one").at(ENTRIES_AT as u64));
        }
    }
}

fn check_entry(entry: &Entry, disk_sectors: u64, findings: &mut Findings) {
    let mut bad = |found: String, allowed: &str, at: u64| {
        let finding = Finding::new(Rule::MbrEntry, found).allowed(allowed);
        findings.add(finding.part(format_args!("entry {}", entry.number)).at(entry.at + at));
    };
    if entry.status & 0x7F != 0 {
        bad(format!("status {:#04x}", entry.status), "0x00, or 0x80 for the active one", 0);
    }
    if entry.kind == 0 {
        if !entry.is_zero {
            bad("an entry without a type that has other fields".into(), "zeros in an unused entry", 4);
        }
        return;
    }
    if entry.first_lba == 0 {
        bad("start 0, where the MBR is".into(), "a sector behind the MBR", 8);
    }
    if entry.sectors == 0 {
        bad("length 0".into(), "at least one sector", 12);
    }
    let end = u64::from(entry.first_lba) + u64::from(entry.sectors);
    if end > disk_sectors {
        bad(format!("end at sector {end}"), &format!("up to {disk_sectors}, where the disk ends"), 8);
    }
}

/// Overlaps and alignment, whatever the table.
fn check_places(table: &Table, disk_len: u64, findings: &mut Findings) {
    let mut by_start: Vec<&Partition> = table.partitions.iter().filter(|p| !p.range.is_empty()).collect();
    by_start.sort_by_key(|partition| partition.range.start);
    let mut furthest: Option<&Partition> = None;
    for partition in by_start {
        if let Some(before) = furthest.filter(|before| partition.range.start < before.range.end) {
            let found = format!("{}, which partition {} holds too", span(&partition.range), before.number);
            let finding = Finding::new(Rule::PartitionOverlap, found);
            let allowed = format!("a start at or behind {:#x}", before.range.end);
            findings.add(finding.allowed(allowed).part(format_args!("partition {}", partition.number)));
        }
        if furthest.is_none_or(|before| partition.range.end > before.range.end) {
            furthest = Some(partition);
        }
    }
    for partition in table.partitions.iter().filter(|partition| partition.kind != Kind::Bare) {
        if !partition.range.start.is_multiple_of(ALIGNMENT) && partition.range.start < disk_len {
            let finding = Finding::new(Rule::PartitionAlignment, format_args!("start {:#x}", partition.range.start));
            findings.add(finding.allowed("a multiple of 1 MiB").part(format_args!("partition {}", partition.number)));
        }
    }
}

fn span(range: &Range<u64>) -> String {
    format!("bytes {:#x} to {:#x}", range.start, range.end)
}

/// What a type promises to be in a partition.
enum Promise {
    /// NTFS, or another file system that Windows' installable ones know by their boot sector.
    Installable,
    /// A FAT volume.
    Fat,
    /// No file system.
    Nothing,
    /// Windows takes what it finds.
    Anything,
    /// A type of other systems.
    Unknown,
}

fn promise(kind: Kind) -> Promise {
    match kind {
        Kind::Bare => Promise::Anything,
        Kind::Mbr(kind) => match kind & !0x10 {
            _ if parts::TYPES_EXTENDED.contains(&kind) => Promise::Unknown,
            0x07 => Promise::Installable, // 17h is hidden, 27h for recovery
            0x27 if kind == 0x27 => Promise::Installable,
            0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => Promise::Fat,
            0xEF => Promise::Fat,
            _ => Promise::Unknown,
        },
        Kind::Gpt(parts::TYPE_EFI_SYSTEM) => Promise::Fat,
        Kind::Gpt(parts::TYPE_MICROSOFT_RESERVED) => Promise::Nothing,
        Kind::Gpt(parts::TYPE_BASIC_DATA | parts::TYPE_RECOVERY) => Promise::Anything,
        Kind::Gpt(_) => Promise::Unknown,
    }
}

fn check_type(disk: &dyn ReadAt, partition: &Partition, findings: &mut Findings) {
    let Ok(window) = Slice::of_reader(disk, partition.range.clone()) else { return }; // its place is said already
    let found = content(&window);
    let kind = match partition.kind {
        Kind::Bare => return,
        Kind::Mbr(kind) => format!("type {kind:02x}"),
        Kind::Gpt(kind) => format!("type {kind}"),
    };
    let wrong = match (promise(partition.kind), found) {
        (Promise::Installable, Content::Fat) => "a FAT type (0c, or ef for an EFI system partition)",
        (Promise::Fat, Content::Ntfs | Content::ReFs | Content::BitLocker) => "the type of NTFS (07, or basic data)",
        (Promise::Nothing, Content::Ntfs | Content::Fat) => "the type of basic data, or no volume in it",
        (Promise::Unknown, Content::Ntfs) => "the type of NTFS (07, or basic data)",
        (Promise::Installable | Promise::Fat, Content::Empty | Content::Unknown) => {
            let finding = Finding::new(Rule::PartitionType, format_args!("{found} in a partition of {kind}"));
            findings.add(finding.allowed("a formatted volume").level(Level::Note));
            return;
        }
        _ => return,
    };
    findings.add(Finding::new(Rule::PartitionType, format_args!("{kind} on {found}")).allowed(wrong));
}

#[cfg(test)]
mod tests;
