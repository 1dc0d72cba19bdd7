//! The rules of VHDX, from \[MS-VHDX\]: identifier, headers, log, region tables, parent.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::{FromBytes, IntoBytes};

use super::claims::Claims;
use super::vhdx_blocks::{self, Bat};
use super::vhdx_metadata::{self, Metadata};
use super::{Layer, Report, structure, used};
use crate::base::ReadAt;
use crate::base::crc32c::crc32c_without;
use crate::format::vhdx::ondisk::{self, Header, MIB, Region, RegionTable, TABLE_LEN};
use crate::format::vhdx::{LogState, Parent, Replayed};
use crate::verify::{Finding, Findings, Level, Rule};

/// A file longer than that is not looked through: four times the largest disk.
const MAX_FILE: u64 = 256 << 40;

pub(super) fn check(file: &dyn ReadAt, below: Option<&Layer<'_>>, report: &mut Report<'_>) {
    check_identifier(file, report);
    check_file_size(file.len(), report);
    let headers = check_headers(file, report);
    let Some(header) = current(&headers) else { return };
    let log = check_log_place(header, file.len(), report);
    // A log that cannot be replayed has been told of; the tables are then looked at as they are.
    let replayed = replay(file, header, report);
    let view: &dyn ReadAt = replayed.as_ref().map_or(file, |replayed| replayed as &dyn ReadAt);
    let mut claims = Claims::new(view.len());
    claims.claim(&(0..MIB));
    if let Some(log) = log.filter(|log| claims.claim(log).is_some()) {
        let found = format!("{} bytes at {:#x}", log.end - log.start, log.start);
        report.field(Rule::VhdxHeader, "header: place of the log", log.start, found, "past the first MiB");
    }
    let Some(regions) = check_regions(view, &mut claims, report) else { return };
    let Some(metadata) = regions.metadata.and_then(|region| vhdx_metadata::check(view, &region, report)) else {
        return;
    };
    if let Some(parent) = &metadata.parent {
        check_parent(parent, below, report);
        below.iter().for_each(|below| check_sectors(metadata.sector, below, report));
    }
    if let Some(bat) = regions.bat {
        let Metadata { disk_len, block_size, sector, is_differencing, .. } = metadata;
        let bat = Bat { file: view, region: bat, disk_len, block_size, sector, is_differencing };
        vhdx_blocks::check(&bat, &mut claims, report);
    }
}

fn check_identifier(file: &dyn ReadAt, report: &mut Report<'_>) {
    let found: [u8; 8] = structure(file, 0).unwrap_or_default();
    if found != ondisk::SIGNATURE {
        let found = format!("{:?}", String::from_utf8_lossy(&found));
        report.field(Rule::VhdxIdentifier, "file identifier", 0, found, "\"vhdxfile\"");
    }
}

fn check_file_size(len: u64, report: &mut Report<'_>) {
    if !len.is_multiple_of(MIB) {
        let finding = Finding::new(Rule::VhdxSize, format_args!("{len} bytes")).allowed("whole MiB");
        report.add(finding.part("length of the file"));
    }
    if len > MAX_FILE {
        let finding =
            Finding::new(Rule::VhdxSize, format_args!("{len} bytes, of which blocks past 256 TiB are not compared"));
        report.add(
            finding.allowed("not much more than the disk's size").part("length of the file").level(Level::Warning),
        );
    }
}

/// Both headers, those that are whole.
fn check_headers(file: &dyn ReadAt, report: &mut Report<'_>) -> [Option<Header>; 2] {
    let headers = ondisk::HEADERS_AT.map(|at| structure::<Header>(file, at));
    let is_whole = |header: &Header| {
        header.signature == ondisk::HEADER_SIGNATURE && crc32c_without(header.as_bytes(), 4) == header.checksum.get()
    };
    let any_whole = headers.iter().flatten().any(is_whole);
    for (number, (header, at)) in (1..).zip(headers.iter().zip(ondisk::HEADERS_AT)) {
        // One that was torn while it was written is what there are two for.
        let level = if any_whole { Level::Warning } else { Level::Error };
        let mut add = |found: String, allowed: String| {
            let finding = Finding::new(Rule::VhdxHeader, found).allowed(allowed).at(at).level(level);
            report.add(finding.part(format_args!("header {number}")));
        };
        match header {
            None => add("past the end of the file".to_owned(), "a header".to_owned()),
            Some(header) if header.signature != ondisk::HEADER_SIGNATURE => {
                add(format!("signature {:?}", String::from_utf8_lossy(&header.signature)), "\"head\"".to_owned());
            }
            Some(header) if !is_whole(header) => {
                let right = crc32c_without(header.as_bytes(), 4);
                add(format!("checksum {:#010x}", header.checksum), format!("{right:#010x}"));
            }
            Some(header) => check_header(header, number, at, report),
        }
    }
    let headers = headers.map(|header| header.filter(is_whole));
    if let [Some(first), Some(second)] = &headers
        && first.sequence == second.sequence
        && first.as_bytes() != second.as_bytes()
    {
        let found = format!("{} in both", first.sequence);
        report.field(Rule::VhdxHeader, "headers: sequence number", ondisk::HEADERS_AT[1], found, "two that differ");
    }
    headers
}

fn check_header(header: &Header, number: u32, at: u64, report: &mut Report<'_>) {
    let mut field = |name: &str, offset: u64, found: String, allowed: &str| {
        report.field(Rule::VhdxHeader, &format!("header {number}: {name}"), at + offset, found, allowed);
    };
    if header.version != ondisk::VERSION {
        field("version", 66, header.version.to_string(), "1");
    }
    if header.log_version != ondisk::LOG_VERSION {
        field("version of the log", 64, header.log_version.to_string(), "0");
    }
    if used(&header.reserved) > 0 {
        field("reserved bytes", 80, format!("{} of them used", used(&header.reserved)), "zeros");
    }
}

/// The whole header with the higher sequence number.
fn current(headers: &[Option<Header>; 2]) -> Option<&Header> {
    headers.iter().flatten().max_by_key(|header| header.sequence.get())
}

fn check_log_place(header: &Header, file_len: u64, report: &mut Report<'_>) -> Option<Range<u64>> {
    let (at, len) = (header.log_at.get(), u64::from(header.log_len.get()));
    let end = at.checked_add(len).filter(|end| *end <= file_len);
    if !at.is_multiple_of(MIB) || at == 0 || !len.is_multiple_of(MIB) || len == 0 || end.is_none() {
        let found = format!("{len} bytes at {at:#x}");
        let allowed = "whole MiB past the first, inside the file";
        report.field(Rule::VhdxHeader, "header: place of the log", ondisk::HEADERS_AT[0] + 68, found, allowed);
        return None;
    }
    end.map(|end| at..end)
}

fn replay<'f>(file: &'f dyn ReadAt, header: &Header, report: &mut Report<'_>) -> Option<Replayed<&'f dyn ReadAt>> {
    match Replayed::new(file, header) {
        Ok(replayed) => {
            if let LogState::Replayed(entries) = replayed.state() {
                // Sound: the next to attach the file replays it. Whoever copies or reads it as it is has to know.
                let finding = Finding::new(Rule::VhdxLog, format_args!("{entries} entries that were not replayed yet"));
                let finding = finding.allowed("an empty log, after the disk was detached");
                report.add(finding.part("log").at(header.log_at.get()).level(Level::Warning));
            }
            Some(replayed)
        }
        Err(error) => {
            report.field(Rule::VhdxLog, "log", header.log_at.get(), error, "one that can be replayed");
            None
        }
    }
}

/// The two regions that are known, as far as they lie where they can.
#[derive(Default)]
struct Regions {
    bat: Option<Range<u64>>,
    metadata: Option<Range<u64>>,
}

fn check_regions(file: &dyn ReadAt, claims: &mut Claims, report: &mut Report<'_>) -> Option<Regions> {
    let tables = ondisk::REGION_TABLES_AT.map(|at| {
        let mut bytes = vec![0; TABLE_LEN];
        file.read_at(at, &mut bytes).is_ok().then_some(bytes)
    });
    let complaints = [0, 1].map(|index: usize| region_table_complaint(tables[index].as_deref()));
    let any_whole = complaints.iter().any(Option::is_none);
    for ((complaint, at), number) in complaints.iter().zip(ondisk::REGION_TABLES_AT).zip(1..) {
        if let Some((found, allowed)) = complaint {
            let level = if any_whole { Level::Warning } else { Level::Error };
            let finding = Finding::new(Rule::VhdxRegion, found).allowed(allowed).at(at).level(level);
            report.add(finding.part(format_args!("region table {number}")));
        }
    }
    if complaints.iter().all(Option::is_none) && tables[0] != tables[1] {
        let at = ondisk::REGION_TABLES_AT[1];
        report.field(Rule::VhdxRegion, "region table 2", at, "not as the first one", "the same");
    }
    let whole = complaints.iter().position(Option::is_none)?;
    let bytes = tables[whole].as_deref()?;
    Some(check_region_entries(file, bytes, ondisk::REGION_TABLES_AT[whole], claims, report))
}

/// What is wrong with a region table as such: found and allowed.
fn region_table_complaint(bytes: Option<&[u8]>) -> Option<(String, String)> {
    let Some((bytes, (table, _))) = bytes.and_then(|bytes| Some((bytes, RegionTable::ref_from_prefix(bytes).ok()?)))
    else {
        return Some(("past the end of the file".to_owned(), "a region table".to_owned()));
    };
    let right = crc32c_without(bytes, 4);
    if table.signature != ondisk::REGION_TABLE_SIGNATURE {
        let found = format!("signature {:?}", String::from_utf8_lossy(&table.signature));
        return Some((found, "\"regi\"".to_owned()));
    }
    if table.checksum != right {
        return Some((format!("checksum {:#010x}", table.checksum), format!("{right:#010x}")));
    }
    if table.entries.get() > ondisk::MAX_ENTRIES {
        return Some((format!("{} entries", table.entries), format!("at most {}", ondisk::MAX_ENTRIES)));
    }
    None
}

fn check_region_entries(
    file: &dyn ReadAt,
    bytes: &[u8],
    table_at: u64,
    claims: &mut Claims,
    report: &mut Report<'_>,
) -> Regions {
    let mut regions = Regions::default();
    let Ok((table, rest)) = RegionTable::ref_from_prefix(bytes) else { return regions };
    if table.reserved != 0 {
        report.field(Rule::VhdxRegion, "region table: reserved", table_at + 12, table.reserved, 0);
    }
    let Ok((entries, _)) = <[Region]>::ref_from_prefix_with_elems(rest, table.entries.get() as usize) else {
        return regions;
    };
    for (index, region) in (0..).zip(entries) {
        let at = table_at + 16 + index * 32;
        let known = match region.id.get() {
            ondisk::REGION_BAT => Some((&mut regions.bat, "BAT")),
            ondisk::REGION_METADATA => Some((&mut regions.metadata, "metadata")),
            _ => None,
        };
        let name = known.as_ref().map_or_else(|| region.id.get().to_string(), |(_, name)| format!("{name} region"));
        let place = check_region_place(file.len(), region, &name, at, claims, report);
        match known {
            Some((slot, _)) if slot.is_none() => *slot = place,
            Some(_) => report.field(Rule::VhdxRegion, &name, at, "twice in the table", "once"),
            None if region.flags.get() & ondisk::REGION_REQUIRED != 0 => {
                report.field(Rule::VhdxRegion, &name, at, "unknown, and required", "BAT and metadata");
            }
            None => {}
        }
    }
    for (region, id, name) in [
        (&regions.bat, ondisk::REGION_BAT, "BAT region"),
        (&regions.metadata, ondisk::REGION_METADATA, "metadata region"),
    ] {
        if region.is_none() && !entries.iter().any(|entry| entry.id.get() == id) {
            report.field(Rule::VhdxRegion, name, table_at, "not in the table", "one");
        }
    }
    regions
}

fn check_region_place(
    file_len: u64,
    region: &Region,
    name: &str,
    at: u64,
    claims: &mut Claims,
    report: &mut Report<'_>,
) -> Option<Range<u64>> {
    let (start, len) = (region.at.get(), u64::from(region.len.get()));
    let end = start.checked_add(len).filter(|end| *end <= file_len);
    let is_whole = start.is_multiple_of(MIB) && start > 0 && len.is_multiple_of(MIB) && len > 0;
    let Some(range) = end.map(|end| start..end).filter(|_| is_whole) else {
        let allowed = "whole MiB past the first, inside the file";
        report.field(Rule::VhdxRegion, name, at, format!("{len} bytes at {start:#x}"), allowed);
        return None;
    };
    if region.flags.get() & !ondisk::REGION_REQUIRED != 0 {
        report.field(Rule::VhdxRegion, name, at + 28, format!("flags {:#x}", region.flags), "0 or 1");
    }
    if let Some(taken) = claims.claim(&range) {
        let found = format!("{len} bytes at {start:#x}, of which {taken:#x} is in use");
        report.field(Rule::VhdxRegion, name, at, found, "apart from the log and other regions");
    }
    Some(range)
}

fn check_parent(parent: &Parent, below: Option<&Layer<'_>>, report: &mut Report<'_>) {
    let wanted: Vec<String> = parent.linkage.iter().map(Uuid::to_string).collect();
    let mut add = |found: String| {
        let finding = Finding::new(Rule::VhdxParent, found).allowed(wanted.join(" or "));
        report.add(finding.part("parent locator"));
    };
    let Some(below) = below else { return add("the parent was not found".to_owned()) };
    let headers = ondisk::HEADERS_AT.map(|at| structure::<Header>(below.file, at));
    let whole =
        headers.map(|header| header.filter(|header| crc32c_without(header.as_bytes(), 4) == header.checksum.get()));
    match current(&whole).map(|header| header.data_write.get()) {
        None => add(format!("{} is no VHDX", below.name)),
        Some(id) if !parent.linkage.contains(&id) => add(format!("{} has {id}", below.name)),
        Some(_) => {}
    }
}

/// The sectors that the machine sees have to be the same in both.
fn check_sectors(sector: u64, below: &Layer<'_>, report: &mut Report<'_>) {
    let mut findings = Findings::default(); // it is looked through when its own turn comes
    let mut quiet = Report { findings: &mut findings, name: None };
    let mut claims = Claims::new(below.file.len());
    let regions = check_regions(below.file, &mut claims, &mut quiet);
    let region = regions.and_then(|regions| regions.metadata);
    let metadata = region.and_then(|region| vhdx_metadata::check(below.file, &region, &mut quiet));
    if let Some(other) = metadata.map(|metadata| metadata.sector).filter(|other| *other != sector) {
        let finding = Finding::new(Rule::VhdxParent, format_args!("{} has sectors of {other} bytes", below.name));
        report.add(finding.allowed(sector).part("logical sector size"));
    }
}
