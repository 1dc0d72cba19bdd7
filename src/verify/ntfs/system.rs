//! The files that every volume has, and what is in them.

use std::cmp::Ordering;

use super::attributes::{self, Attribute, Extents, Stream};
use super::context::{Context, NAME_AT};
use super::facts::{Facts, SlotState};
use super::kinds::KINDS;
use super::log;
use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::base::{Name, upcase};
use crate::format::ntfs::ondisk::{BOOT_LEN, file, kind};
use crate::tree::attributes as file_flag;
use crate::verify::{Finding, Level, Rule};

/// Type and name.
type Named = (u32, &'static str);

/// Record, name, and the attributes that it has to have beside name and standard information.
const FILES: &[(u32, &str, &[Named])] = &[
    (file::MFT, "$MFT", &[(kind::DATA, ""), (kind::BITMAP, "")]),
    (file::MFT_MIRROR, "$MFTMirr", &[(kind::DATA, "")]),
    (file::LOG_FILE, "$LogFile", &[(kind::DATA, "")]),
    (file::VOLUME, "$Volume", &[(kind::VOLUME_INFORMATION, ""), (kind::DATA, "")]),
    (file::ATTRIBUTE_DEFINITIONS, "$AttrDef", &[(kind::DATA, "")]),
    (file::ROOT, ".", &[(kind::INDEX_ROOT, "$I30")]),
    (file::BITMAP, "$Bitmap", &[(kind::DATA, "")]),
    (file::BOOT, "$Boot", &[(kind::DATA, "")]),
    (file::BAD_CLUSTERS, "$BadClus", &[(kind::DATA, ""), (kind::DATA, "$Bad")]),
    (file::SECURE, "$Secure", &[(kind::DATA, "$SDS"), (kind::INDEX_ROOT, "$SDH"), (kind::INDEX_ROOT, "$SII")]),
    (file::UPCASE, "$UpCase", &[(kind::DATA, "")]),
    (file::EXTEND, "$Extend", &[(kind::INDEX_ROOT, "$I30")]),
];

/// Length of an entry of `$AttrDef`, and of the name in it.
const DEFINITION: usize = 160;
const DEFINITION_NAME: usize = 128;
/// `$AttrDef` of Windows 2000 was 36,000 bytes long; nobody's is longer.
const LONGEST_DEFINITIONS: u64 = 64 << 10;
/// Units of the upper-case table.
const UPCASE_LEN: u64 = 2 * 0x10000;
/// Units of a label.
const LONGEST_LABEL: usize = 32;

/// Checks all system files but `$Secure`.
pub(super) fn check(context: &mut Context<'_>, facts: &Facts) {
    for (number, name, needed) in FILES {
        check_file(context, facts, *number, name, needed);
    }
    for number in file::RESERVED {
        reserved(context, facts, number);
    }
    mirror(context);
    boot_file(context);
    bitmap(context);
    volume_information(context);
    definitions(context);
    upcase_table(context);
    bad_clusters(context);
    log::check(context);
}

/// A record that is kept for later versions: it is in use, and has no name.
fn reserved(context: &mut Context<'_>, facts: &Facts, number: u32) {
    if facts.slots.get(number) == SlotState::Free {
        return missing(context, number, "a reserved record is free");
    }
    let Some(mut loaded) = context.volume.load(number) else { return };
    if let Some(found) = fault_of_attributes(&loaded.attributes()) {
        let finding = Finding::new(Rule::SystemFile, found).allowed(ATTRIBUTES);
        context.add(finding.record(u64::from(number)).part("$STANDARD_INFORMATION"));
    }
}

fn missing(context: &mut Context<'_>, number: u32, found: &str) {
    let finding = Finding::new(Rule::SystemFile, found).allowed("a system file in use");
    context.add(finding.record(u64::from(number)));
}

fn check_file(context: &mut Context<'_>, facts: &Facts, number: u32, name: &str, needed: &[(u32, &str)]) {
    let known = match facts.slots.get(number) {
        SlotState::File(_) => facts.file(number),
        SlotState::Damaged => return, // the record is the cause
        SlotState::Free => return missing(context, number, &format!("{name} is not in use")),
        SlotState::Extension => {
            return missing(context, number, &format!("in place of {name}, a record that extends another"));
        }
    };
    if known.is_none_or(|known| known.is(super::facts::state::DAMAGED)) {
        return;
    }
    let Some(mut loaded) = context.volume.load(number) else { return };
    let all = loaded.attributes();
    let root = u64::from(file::ROOT) << 48 | u64::from(file::ROOT);
    let names: Vec<_> = all.iter().filter(|a| a.kind == kind::FILE_NAME).filter_map(Attribute::resident).collect();
    let is_named = names.iter().any(|value| {
        u64_at(value, 0) == Some(root)
            && Name::from_le_bytes(value.get(NAME_AT..).unwrap_or_default()).to_string() == name
    });
    let mut fault = |part: &str, found: String, allowed: &str| {
        let finding = Finding::new(Rule::SystemFile, found).allowed(allowed).record(u64::from(number)).part(part);
        context.add(finding);
    };
    if !is_named && !names.is_empty() {
        fault("$FILE_NAME", "another name or directory".to_owned(), &format!("{name} in the root directory"));
    }
    // Those of the root are whoever's who was at it: of a WIM's root directory, for one.
    if number != file::ROOT
        && let Some(found) = fault_of_attributes(&all)
    {
        fault("$STANDARD_INFORMATION", found, ATTRIBUTES);
    }
    for (kind, stream) in needed {
        if attributes::find(&all, *kind, stream).is_none() {
            let part = if stream.is_empty() {
                super::kinds::name(*kind)
            } else {
                format!("{}:{stream}", super::kinds::name(*kind))
            };
            fault(&part, "none".to_owned(), "it is there");
        }
    }
}

/// What is allowed as the attributes of a system file.
pub(super) const ATTRIBUTES: &str = "those of hidden files of the system, 0x6, among them";

/// What is wrong with the attributes of a system file: all of them are hidden, and files of the system.
pub(super) fn fault_of_attributes(all: &[Attribute<'_>]) -> Option<String> {
    const NEEDED: u32 = file_flag::HIDDEN | file_flag::SYSTEM;
    let found = u32_at(attributes::find(all, kind::STANDARD_INFORMATION, "")?.resident()?, 32)?;
    (found & NEEDED != NEEDED).then(|| format!("attributes {found:#x}"))
}

/// The stream of a system file in clusters, for which a resident one is a fault of the rule.
fn extents_of(context: &mut Context<'_>, number: u32, stream: &str, rule: Rule) -> Option<Extents> {
    let mut loaded = context.volume.load(number)?;
    let all = loaded.attributes();
    match context.volume.stream(&all, kind::DATA, stream)? {
        Stream::NonResident(extents) => Some(extents),
        Stream::Resident(_) => {
            fault(context, rule, number, "it lies in its record".to_owned(), "in clusters");
            None
        }
    }
}

fn fault(context: &mut Context<'_>, rule: Rule, number: u32, found: String, allowed: &str) {
    context.add(Finding::new(rule, found).allowed(allowed).record(u64::from(number)).part("$DATA"));
}

/// The mirror of the first records of `$MFT`: four, or a cluster full.
fn mirror(context: &mut Context<'_>) {
    let rule = Rule::MftMirror;
    let Some(extents) = extents_of(context, file::MFT_MIRROR, "", rule) else { return };
    let geometry = context.volume.geometry;
    let first = extents.runs.first().and_then(|run| run.lcn);
    if first != Some(geometry.mirror_lcn) {
        let found = format!("it begins at cluster {}", first.map_or_else(|| "none".to_owned(), |lcn| lcn.to_string()));
        fault(context, rule, file::MFT_MIRROR, found, &format!("{}, which the boot sector names", geometry.mirror_lcn));
    }
    let expected = (4 * geometry.record as u64).max(geometry.cluster);
    if extents.size != expected {
        fault(context, rule, file::MFT_MIRROR, format!("{} bytes", extents.size), &expected.to_string());
    }
    let len = extents.size.min(expected).min(context.volume.mft.size) as usize;
    let (mut first, mut copy) = (vec![0; len], vec![0; len]);
    let mft = &context.volume.mft.runs;
    let read =
        context.volume.read_runs(mft, 0, &mut first).and_then(|()| context.volume.read_stream(&extents, 0, &mut copy));
    if let Err(error) = read {
        return fault(context, rule, file::MFT_MIRROR, error.to_string(), "a mirror that can be read");
    }
    for (number, (record, copy)) in first.chunks(geometry.record).zip(copy.chunks(geometry.record)).enumerate() {
        if let Some(differs) = record.iter().zip(copy).position(|(a, b)| a != b) {
            let found = format!("the copy of record {number} differs from it at byte {differs:#x}");
            fault(context, rule, file::MFT_MIRROR, found, "the same bytes");
        }
    }
}

fn boot_file(context: &mut Context<'_>) {
    let rule = Rule::BootFile;
    let Some(extents) = extents_of(context, file::BOOT, "", rule) else { return };
    let in_one_piece = matches!(extents.runs.as_slice(), [run] if run.lcn == Some(0));
    if !in_one_piece || extents.size != BOOT_LEN as u64 {
        let first = extents.runs.first().and_then(|run| run.lcn);
        let found = format!("{} bytes in {} runs from cluster {first:?}", extents.size, extents.runs.len());
        fault(context, rule, file::BOOT, found, "8192 bytes from cluster 0 on");
    }
}

/// Windows refuses a volume whose bitmap lies in its record; what it says is checked with the clusters.
fn bitmap(context: &mut Context<'_>) {
    let Some(extents) = extents_of(context, file::BITMAP, "", Rule::SystemFile) else { return };
    if extents.initialized != extents.size {
        let found = format!("{} bytes, {} of them initialised", extents.size, extents.initialized);
        fault(context, Rule::SystemFile, file::BITMAP, found, "all of them");
    }
}

/// Bits of the volume's flags. 0x80 says that short names are not made; the others are work that Windows left undone.
mod volume_flag {
    pub(super) const DIRTY: u16 = 0x0001;
    pub(super) const PENDING: u16 = 0x0002 | 0x0004 | 0x0010 | 0x0020 | 0x4000;
    pub(super) const HARMLESS: u16 = 0x0008 | 0x0080 | 0x8000;
}

fn volume_information(context: &mut Context<'_>) {
    let Some(mut loaded) = context.volume.load(file::VOLUME) else { return };
    let all = loaded.attributes();
    let resident = |kind| attributes::find(&all, kind, "").and_then(Attribute::resident);
    let mut fault = |rule, part: &str, found: String, allowed: &str, level: Option<Level>| {
        let mut finding = Finding::new(rule, found).allowed(allowed).record(u64::from(file::VOLUME)).part(part);
        finding.level = level.unwrap_or(finding.level);
        context.add(finding);
    };
    let rule = Rule::VolumeInformation;
    if let Some(value) = resident(kind::VOLUME_INFORMATION).filter(|value| value.len() == 12) {
        let part = "$VOLUME_INFORMATION";
        if value[8..10] != [3, 1] {
            fault(rule, part, format!("version {}.{}", value[8], value[9]), "3.1", None);
        }
        if value[..8] != [0; 8] {
            fault(rule, part, format!("{:02x?} in front of the version", &value[..8]), "zeros", None);
        }
        let flags = u16_at(value, 10).unwrap_or(0);
        if flags & volume_flag::DIRTY != 0 {
            fault(Rule::VolumeDirty, part, format!("flags {flags:#06x}: dirty"), "not 1", None);
        }
        if flags & volume_flag::PENDING != 0 {
            let level = Some(Level::Warning);
            fault(rule, part, format!("flags {flags:#06x}: Windows has work left to do"), "none of 0x4036", level);
        }
        let known = volume_flag::DIRTY | volume_flag::PENDING | volume_flag::HARMLESS;
        if flags & !known != 0 {
            fault(rule, part, format!("flags {flags:#06x}"), "known flags", None);
        }
    }
    if let Some(label) = resident(kind::VOLUME_NAME) {
        let name = attributes::units(label);
        if name.len() > LONGEST_LABEL || label.len() % 2 != 0 || name.iter().any(|unit| *unit < 0x20) {
            let found = format!("a label of {} bytes, {:?}", label.len(), Name::new(name));
            fault(rule, "$VOLUME_NAME", found, "at most 32 characters, none of them control characters", None);
        }
    }
}

/// The value of the main stream of a system file.
fn content(context: &mut Context<'_>, rule: Rule, number: u32, limit: u64) -> Option<Vec<u8>> {
    let mut loaded = context.volume.load(number)?;
    let all = loaded.attributes();
    let stream = context.volume.stream(&all, kind::DATA, "")?;
    match context.volume.value(&stream, limit) {
        Ok(value) => Some(value),
        Err(error) => {
            fault(context, rule, number, error.to_string(), "content that can be read");
            None
        }
    }
}

/// `$AttrDef` has the 15 types that Windows writes, and zeros after them.
fn definitions(context: &mut Context<'_>) {
    let rule = Rule::AttributeDefinitions;
    let Some(value) = content(context, rule, file::ATTRIBUTE_DEFINITIONS, LONGEST_DEFINITIONS) else { return };
    let expected: Vec<u8> = KINDS
        .iter()
        .flat_map(|kind| {
            let mut name: Vec<u8> = kind.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            name.resize(DEFINITION_NAME, 0);
            let numbers = [kind.code, 0, 0, kind.flags].map(u32::to_le_bytes).concat();
            [name, numbers, kind.min.to_le_bytes().to_vec(), kind.max.to_le_bytes().to_vec()].concat()
        })
        .collect();
    let differs = match value.len().cmp(&(expected.len() + DEFINITION)) {
        Ordering::Less => Some(value.len()),
        _ => value.iter().enumerate().position(|(at, byte)| *byte != expected.get(at).copied().unwrap_or(0)),
    };
    if let Some(at) = differs {
        let entry = KINDS.get(at / DEFINITION).map_or("the end", |kind| kind.name);
        let found = format!("{} bytes, which differ from byte {at:#x} on ({entry})", value.len());
        fault(context, rule, file::ATTRIBUTE_DEFINITIONS, found, "the table that Windows writes");
    }
}

fn upcase_table(context: &mut Context<'_>) {
    let rule = Rule::UpCase;
    let Some(value) = content(context, rule, file::UPCASE, UPCASE_LEN) else { return };
    if value.len() as u64 != UPCASE_LEN {
        return fault(context, rule, file::UPCASE, format!("{} bytes", value.len()), "131072");
    }
    let table = upcase::table();
    let mut differ =
        (0..=u16::MAX).filter(|unit| u16_at(&value, 2 * usize::from(*unit)) != Some(table[usize::from(*unit)]));
    if let Some(first) = differ.next() {
        let found = format!("{} units differ, the first of them {first:#06x}", differ.count() + 1);
        fault(context, rule, file::UPCASE, found, "the table of Windows 7 and later");
    }
    upcase_info(context, &value);
}

/// `$UpCase:$Info` is 32 bytes long: its length, the checksum of the table, and the version of the Windows that wrote it.
fn upcase_info(context: &mut Context<'_>, table: &[u8]) {
    let Some(mut loaded) = context.volume.load(file::UPCASE) else { return };
    let all = loaded.attributes();
    let info = attributes::find(&all, kind::DATA, "$Info").and_then(Attribute::resident);
    let crc = crc64(table);
    let found = match info {
        None => "none".to_owned(),
        Some(info) if info.len() != 32 || u32_at(info, 0) != Some(32) || u32_at(info, 4) != Some(0) => {
            format!("{} bytes", info.len())
        }
        Some(info) if u64_at(info, 8) != Some(crc) => format!("checksum {:#018x}", u64_at(info, 8).unwrap_or(0)),
        Some(_) => return,
    };
    let finding = Finding::new(Rule::UpCaseInfo, found).allowed(format!("32 bytes with the checksum {crc:#018x}"));
    context.add(finding.record(u64::from(file::UPCASE)).part("$DATA:$Info"));
}

/// The checksum of `$UpCase:$Info`: reflected polynomial 0x9A6C9329AC4BC9B5, start and final xor all ones.
fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut crc, mut bit) = (index as u64, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ (if crc & 1 == 1 { 0x9A6C_9329_AC4B_C9B5 } else { 0 });
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(u64::MAX, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

fn bad_clusters(context: &mut Context<'_>) {
    let rule = Rule::BadClusters;
    let Some(extents) = extents_of(context, file::BAD_CLUSTERS, "$Bad", rule) else { return };
    let geometry = context.volume.geometry;
    let expected = geometry.clusters * geometry.cluster;
    let bad = extents.real_clusters();
    if bad > 0 {
        return fault(context, rule, file::BAD_CLUSTERS, format!("{bad} bad clusters"), "none");
    }
    let sizes = (extents.allocated, extents.size, extents.initialized);
    let flags = extents.flags;
    if extents.clusters() != geometry.clusters || sizes != (expected, expected, 0) || flags != 0 {
        let found = format!(
            "{} clusters, {} bytes allocated, {} in all, {} initialised, flags {flags:#x}",
            extents.clusters(),
            sizes.0,
            sizes.1,
            sizes.2
        );
        let allowed =
            format!("a hole of {} clusters, {expected} bytes, none of them initialised, flags 0", geometry.clusters);
        fault(context, rule, file::BAD_CLUSTERS, found, &allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_checksum_that_windows_writes() {
        let bytes: Vec<u8> = upcase::table().iter().flat_map(|unit| unit.to_le_bytes()).collect();
        assert_eq!(crc64(&bytes), 0xDADC_7E77_6B1B_690C);
    }
}
