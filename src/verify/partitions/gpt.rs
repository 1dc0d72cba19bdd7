//! A GPT: the MBR that protects it, both copies, and whether they agree.

use std::collections::HashMap;

use uuid::Uuid;

use super::Entry;
use crate::base::ReadAt;
use crate::format::partitions::gpt::{Gpt, Header, PRIMARY_LBA, last_lba, sector_size};
use crate::format::partitions::{TYPE_PROTECTIVE, mbr};
use crate::verify::{Finding, Findings, Level, Rule};

/// Bytes that have to be set aside for entries, whatever their number.
const LEAST_TABLE: u64 = 16 << 10;

pub(super) fn check(disk: &dyn ReadAt, sector_0: &[u8; mbr::MBR_LEN], findings: &mut Findings) {
    let sector = sector_size(disk).unwrap_or(512);
    let Some(last) = last_lba(disk, sector) else { return };
    check_protective(sector_0, last, findings);
    let primary = read(disk, sector, PRIMARY_LBA, Rule::GptHeader, Rule::GptEntries, findings);
    let backup = check_backup(disk, sector, last, primary.as_ref().map(|(header, _)| header), findings);
    for (header, entries) in [&primary, &backup].into_iter().flatten() {
        let rule = if header.lba == PRIMARY_LBA { Rule::GptHeader } else { Rule::GptBackup };
        check_header(disk, sector, header, last, rule, findings);
        // Those of the backup are the same, or it is said that they are not.
        if let Some(gpt) = entries.as_ref().filter(|_| header.lba == PRIMARY_LBA || primary.is_none()) {
            check_entries(gpt, findings);
        }
    }
    if let (Some((a, _)), Some((b, _))) = (&primary, &backup) {
        compare(a, b, sector, findings);
    }
}

type Copy = (Header, Option<Gpt>);

/// A header that can be believed, and its entries if they can be too.
fn read(
    disk: &dyn ReadAt,
    sector: u64,
    lba: u64,
    of_header: Rule,
    of_entries: Rule,
    findings: &mut Findings,
) -> Option<Copy> {
    let at = lba.saturating_mul(sector);
    let header = match Header::read(disk, sector, lba) {
        Ok(header) => header,
        Err(error) => {
            findings.add(Finding::new(of_header, error).allowed("a whole header").at(at));
            return None;
        }
    };
    match header.entries(disk, sector) {
        Ok(entries) => Some((header.clone(), Some(Gpt { sector, header, entries }))),
        Err(error) => {
            let place = header.entries_lba.saturating_mul(sector);
            findings.add(Finding::new(of_entries, error).allowed("a whole table").at(place));
            Some((header, None))
        }
    }
}

/// Zero but for one entry of type EEh from sector 1 on. Windows gives it the length 0xFFFFFFFF, others that of the disk.
fn check_protective(sector_0: &[u8; mbr::MBR_LEN], last: u64, findings: &mut Findings) {
    let mut bad = |found: String, allowed: &str, at: u64, level: Level| {
        findings.add(Finding::new(Rule::GptProtective, found).allowed(allowed).at(at).level(level));
    };
    if sector_0[510..] != [0x55, 0xAA] {
        bad(format!("{:02x} {:02x}", sector_0[510], sector_0[511]), "55 aa", 510, Level::Error);
    }
    let Some(protective) = Entry::all(sector_0).find(|entry| entry.kind == TYPE_PROTECTIVE) else {
        return bad("no entry of type ee".into(), "one", 446, Level::Error);
    };
    if protective.first_lba != 1 {
        bad(format!("start {}", protective.first_lba), "1", protective.at + 8, Level::Error);
    }
    let right = u32::try_from(last).unwrap_or(u32::MAX);
    if ![right, u32::MAX].contains(&protective.sectors) {
        let allowed = format!("{right}, or 4294967295");
        bad(format!("length {}", protective.sectors), &allowed, protective.at + 12, Level::Warning);
    }
    if protective.status != 0 {
        bad(format!("status {:#04x}", protective.status), "0x00", protective.at, Level::Warning);
    }
    for other in Entry::all(sector_0).filter(|entry| entry.number != protective.number && !entry.is_zero) {
        let found = format!("a further entry, of type {:02x}", other.kind);
        bad(found, "one entry (Windows takes a mixed table for an MBR)", other.at, Level::Warning);
    }
}

/// Finds the backup: at the end of the disk, or else where the primary header says that it is.
fn check_backup(
    disk: &dyn ReadAt,
    sector: u64,
    last: u64,
    primary: Option<&Header>,
    findings: &mut Findings,
) -> Option<Copy> {
    let named = primary.map_or(last, |header| header.other_lba);
    if named >= last {
        if named > last {
            let found = format!("the primary header names sector {named}, behind the end of the disk");
            findings.add(Finding::new(Rule::GptBackup, found).allowed(last).at(sector + 32));
        }
        return read(disk, sector, last, Rule::GptBackup, Rule::GptBackup, findings);
    }
    let copy = read(disk, sector, named, Rule::GptBackup, Rule::GptBackup, findings);
    if copy.is_some() {
        let finding = Finding::new(Rule::GptBackup, format_args!("the backup is at sector {named}"));
        let allowed = format!("{last}, the last one (the disk has grown, and Windows will move it)");
        findings.add(finding.allowed(allowed).at(sector + 32).level(Level::Warning));
    }
    copy
}

fn check_header(disk: &dyn ReadAt, sector: u64, header: &Header, last: u64, rule: Rule, findings: &mut Findings) {
    let base = header.lba.saturating_mul(sector);
    let mut bad = |found: String, allowed: String, at: u64, level: Level| {
        findings.add(Finding::new(rule, found).allowed(allowed).at(base + at).level(level));
    };
    if header.reserved != 0 {
        bad(format!("{:#x} in the reserved field", header.reserved), "0".into(), 20, Level::Error);
    }
    let mut rest = vec![0; sector as usize - 92];
    if disk.read_at(base + 92, &mut rest).is_ok() && rest.iter().any(|byte| *byte != 0) {
        bad("data behind the header".into(), "zeros to the end of the sector".into(), 92, Level::Warning);
    }
    let table = header.entries_lba..header.entries_lba.saturating_add(header.entries_len().div_ceil(sector));
    let least = LEAST_TABLE.div_ceil(sector);
    if header.first_usable > header.last_usable || header.last_usable > last {
        let found = format!("usable sectors {} to {}", header.first_usable, header.last_usable);
        bad(found, format!("an ascending range below {last}"), 40, Level::Error);
    }
    let outside = table.end <= header.first_usable || table.start > header.last_usable;
    if table.start < 2 || table.end > last.saturating_add(1) || !outside || table.contains(&last) {
        let found = format!("entries in sectors {} to {}", table.start, table.end);
        bad(found, "a place outside of the usable sectors and of both headers".into(), 72, Level::Error);
    }
    if header.lba == PRIMARY_LBA && header.first_usable < 2 + least {
        let allowed = format!("{} or more: 16 KiB are set aside for entries", 2 + least);
        bad(format!("first usable sector {}", header.first_usable), allowed, 40, Level::Warning);
    }
    if header.disk.is_nil() {
        findings.add(Finding::new(Rule::GptGuid, "no GUID of the disk").allowed("one").at(base + 56));
    }
}

fn check_entries(gpt: &Gpt, findings: &mut Findings) {
    let header = &gpt.header;
    let mut seen: HashMap<Uuid, u32> = HashMap::new();
    for entry in &gpt.entries {
        let at =
            header.entries_lba.saturating_mul(gpt.sector) + u64::from(entry.number - 1) * u64::from(header.entry_size);
        let place = |finding: Finding| finding.part(format_args!("entry {}", entry.number));
        if entry.first_lba > entry.last_lba
            || entry.first_lba < header.first_usable
            || entry.last_lba > header.last_usable
        {
            let finding =
                Finding::new(Rule::GptEntries, format_args!("sectors {} to {}", entry.first_lba, entry.last_lba));
            let allowed = format!("an ascending range in {} to {}", header.first_usable, header.last_usable);
            findings.add(place(finding).allowed(allowed).at(at.saturating_add(32)));
        }
        let guid = |found: String| place(Finding::new(Rule::GptGuid, found)).allowed("a GUID of its own");
        if entry.id.is_nil() {
            findings.add(guid("no GUID".into()).at(at.saturating_add(16)));
        } else if let Some(other) = seen.insert(entry.id, entry.number) {
            findings.add(guid(format!("the GUID of partition {other}: {}", entry.id)).at(at.saturating_add(16)));
        } else if entry.id == header.disk {
            findings.add(guid(format!("the GUID of the disk: {}", entry.id)).at(at.saturating_add(16)));
        }
    }
}

fn compare(primary: &Header, backup: &Header, sector: u64, findings: &mut Findings) {
    let mut differ = |what: &str, a: String, b: String, at: u64| {
        if a != b {
            let finding = Finding::new(Rule::GptBackup, format_args!("{what} {b}"));
            let allowed = format!("{a}, as the primary header has it");
            findings.add(finding.allowed(allowed).at(backup.lba.saturating_mul(sector).saturating_add(at)));
        }
    };
    differ("place of the other copy", PRIMARY_LBA.to_string(), backup.other_lba.to_string(), 32);
    differ("first usable sector", primary.first_usable.to_string(), backup.first_usable.to_string(), 40);
    differ("last usable sector", primary.last_usable.to_string(), backup.last_usable.to_string(), 48);
    differ("GUID of the disk", primary.disk.to_string(), backup.disk.to_string(), 56);
    differ("number of entries", primary.entry_count.to_string(), backup.entry_count.to_string(), 80);
    differ("size of an entry", primary.entry_size.to_string(), backup.entry_size.to_string(), 84);
    let sum = |header: &Header| format!("{:#010x}", header.entries_checksum);
    differ("checksum of the entries", sum(primary), sum(backup), 88);
}
