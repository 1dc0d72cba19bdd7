//! `$MFT`: where it is, the pass over all of its records, and its bitmap.

use super::attributes::{self, Attribute, Body, Extents, Stream};
use super::context::{Context, number_of};
use super::facts::{Extension, Extent, Facts, Listed, SlotState, Slots};
use super::file;
use super::record::{self, Record, Slot};
use super::runs::{self, Run};
use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::format::ntfs::ondisk::{MAX_ATTRIBUTE_LIST, file as number, kind, record_flag};
use crate::verify::{Finding, Rule};

/// The pass reads pieces of this length.
const PIECE: usize = 1 << 20;

/// Finds `$MFT` from its own first record, or from that of the mirror, and gives the number of records to look at.
pub(super) fn find(context: &mut Context<'_>) -> Option<u32> {
    let geometry = context.volume.geometry;
    for (lcn, part) in [(geometry.mft_lcn, "$MFT"), (geometry.mirror_lcn, "$MFTMirr")] {
        let mut raw = vec![0; geometry.record];
        let at = geometry.offset(lcn);
        let mut faults = Vec::new();
        let mut found = None;
        match context.volume.read_at(at, &mut raw) {
            Err(error) => faults.push(Finding::new(Rule::MftRuns, error).at(0)),
            Ok(()) => {
                if let Slot::Used(record) = record::parse(&mut raw, number::MFT, &mut |finding| faults.push(finding)) {
                    found = runs_of_mft(context, &record);
                }
            }
        }
        if let Some(extents) = found {
            return settle(context, extents);
        }
        for mut finding in faults {
            finding.place.offset = finding.place.offset.map(|offset| offset.saturating_add(at));
            context.add(finding.record(0).path(part));
        }
    }
    let finding = Finding::new(Rule::MftRuns, "no record 0 that says where $MFT is").part("$MFT, $MFTMirr");
    context.add(finding.at(geometry.offset(geometry.mft_lcn)).allowed("a whole record with a $DATA in clusters"));
    None
}

/// The runs of `$MFT`, pieces in other records included, as far as they can be followed.
fn runs_of_mft(context: &mut Context<'_>, record: &Record<'_>) -> Option<Extents> {
    let clusters = context.volume.geometry.clusters;
    let first = find_piece(&record.attributes, 0)?;
    let Body::NonResident { allocated, size, initialized, total, unit, pairs, .. } = first.body else { return None };
    let mut extents = Extents { runs: Vec::new(), allocated, size, initialized, total, unit, flags: first.flags };
    runs::decode(pairs, 0, clusters, &mut extents.runs).ok()?;
    if extents.runs.is_empty() {
        return None;
    }
    context.volume.mft = extents;
    if let Some(list) = attributes::stream_of(&record.attributes, kind::ATTRIBUTE_LIST, "", clusters)
        && let Ok(list) = context.volume.value(&list, MAX_ATTRIBUTE_LIST)
    {
        follow(context, &list);
    }
    Some(std::mem::take(&mut context.volume.mft))
}

fn find_piece<'r, 'a>(attributes: &'r [Attribute<'a>], lowest: u64) -> Option<&'r Attribute<'a>> {
    attributes.iter().find(|attribute| {
        attribute.is(kind::DATA, "")
            && matches!(attribute.body, Body::NonResident { lowest: found, .. } if found == lowest)
    })
}

/// Follows the attribute list of record 0 to further pieces; each lies in records that the pieces before it hold.
fn follow(context: &mut Context<'_>, list: &[u8]) {
    let mut at = 0;
    while let Some(len) = u16_at(list, at + 4).map(usize::from).filter(|len| *len >= 24) {
        let lowest = u64_at(list, at + 8).unwrap_or(0);
        let holder = u64_at(list, at + 16).and_then(number_of);
        if u32_at(list, at) == Some(kind::DATA)
            && list.get(at + 6) == Some(&0)
            && lowest == context.volume.mft.clusters()
        {
            let Some(mut raw) = holder.and_then(|holder| context.volume.raw_record(holder)) else { return };
            let Slot::Used(record) = record::parse(&mut raw, holder.unwrap_or(0), &mut |_| {}) else { return };
            let Some(Body::NonResident { pairs, .. }) = find_piece(&record.attributes, lowest).map(|a| &a.body) else {
                return;
            };
            let clusters = context.volume.geometry.clusters;
            if runs::decode(pairs, lowest, clusters, &mut context.volume.mft.runs).is_err() {
                return;
            }
        }
        at += len;
    }
}

/// Checks where `$MFT` lies and how long it is, and gives the number of its records.
fn settle(context: &mut Context<'_>, mut extents: Extents) -> Option<u32> {
    let geometry = context.volume.geometry;
    let mut fault = |found: String, allowed: &str| {
        context.add(Finding::new(Rule::MftRuns, found).allowed(allowed).record(0).path("\\$MFT").part("$DATA"));
    };
    if extents.runs.first().and_then(|run| run.lcn) != Some(geometry.mft_lcn) {
        let first = extents.runs.first().and_then(|run| run.lcn);
        fault(format!("it begins at cluster {first:?}"), "the cluster that the boot sector names");
    }
    if let Some(hole) = extents.runs.iter().position(|run| run.lcn.is_none()) {
        fault("a hole".to_owned(), "clusters for all of it");
        extents.runs.truncate(hole);
    }
    if extents.real_clusters() > geometry.clusters {
        fault(format!("{} clusters", extents.real_clusters()), "no more than the volume has");
        extents.runs.truncate(1);
    }
    let record = geometry.record as u64;
    let held = extents.clusters() * geometry.cluster;
    if held < extents.size {
        fault(format!("{held} bytes in clusters, and {} in all", extents.size), "clusters for all of it");
    }
    if !extents.size.is_multiple_of(record) || extents.initialized > extents.size {
        fault(format!("{} bytes, {} of them initialised", extents.size, extents.initialized), "whole records");
    }
    let records = extents.initialized.min(extents.size).min(held) / record;
    extents.initialized = held;
    context.volume.mft = extents;
    u32::try_from(records).ok().filter(|records| *records > 0)
}

/// The pass over the first `records` records.
pub(super) fn pass(context: &mut Context<'_>, records: u32) -> Facts {
    let mut facts = Facts::default();
    let size = context.volume.geometry.record;
    let in_piece = (PIECE / size) as u32;
    let runs = context.volume.mft.runs.clone();
    let mut buf = vec![0; PIECE];
    let mut number = 0;
    while number < records {
        let count = in_piece.min(records - number);
        let piece = &mut buf[..count as usize * size];
        let readable = read_piece(context, &runs, number, piece);
        for (raw, number) in piece.chunks_exact_mut(size).zip(number..).take(readable) {
            slot(context, &mut facts, number, raw);
        }
        if readable < count as usize {
            facts.gaps = true;
            break;
        }
        number += count;
    }
    facts
}

/// Reads records from `number` on, and says how many could be read.
fn read_piece(context: &mut Context<'_>, runs: &[Run], number: u32, piece: &mut [u8]) -> usize {
    let size = context.volume.geometry.record;
    let at = u64::from(number) * size as u64;
    if context.volume.read_runs(runs, at, piece).is_ok() {
        return piece.len() / size;
    }
    for (index, raw) in piece.chunks_exact_mut(size).enumerate() {
        let number = number + index as u32;
        if let Err(error) = context.volume.read_runs(runs, u64::from(number) * size as u64, raw) {
            let finding =
                Finding::new(Rule::MftRuns, format!("record {number} and those after it cannot be read: {error}"));
            context.add(finding.allowed("records that can be read").part("$MFT"));
            return index;
        }
    }
    piece.len() / size
}

fn slot(context: &mut Context<'_>, facts: &mut Facts, number: u32, raw: &mut [u8]) {
    let record = match record::parse(raw, number, &mut |finding| context.add_in_record(number, finding)) {
        Slot::Empty | Slot::Free => return,
        Slot::Damaged => {
            facts.slots.set(number, SlotState::Damaged);
            facts.gaps = true;
            return;
        }
        Slot::Used(record) => record,
    };
    facts.slots.set(number, SlotState::Damaged); // until it turns out to be something better
    let sound = pieces(context, facts, &record) && record.whole;
    facts.gaps |= !sound;
    let head = record.head;
    if head.base != 0 {
        facts.slots.set(number, SlotState::Extension);
        extension(context, &record);
        let extension = Extension { base: head.base, number, sequence: head.sequence, whole: sound };
        facts.extensions.push(extension);
    } else if attributes::find(&record.attributes, kind::ATTRIBUTE_LIST, "").is_some() {
        facts.listed.push(Listed { head, whole: sound });
    } else {
        file::check(context, facts, &head, &record.attributes, sound);
    }
}

/// What a record must be that extends another.
fn extension(context: &mut Context<'_>, record: &Record<'_>) {
    let head = record.head;
    if head.links != 0 || head.flags != record_flag::IN_USE {
        let found = format!("an extension with {} links and flags {:#x}", head.links, head.flags);
        let finding = Finding::new(Rule::ExtentRecord, found).allowed("0 links, and no flag but \"in use\"");
        context.add_in_record(head.number, finding.part("record header").at(18));
    }
    let only_in_base = [kind::STANDARD_INFORMATION, kind::ATTRIBUTE_LIST];
    for attribute in record.attributes.iter().filter(|attribute| only_in_base.contains(&attribute.kind)) {
        let finding =
            Finding::new(Rule::AttributeKind, "in a record that extends another").allowed("in the base record");
        context.add_in_record(head.number, finding.part(attribute.part()).at(attribute.at as u64));
    }
}

/// Decodes the runs of a record and keeps them; says whether all could be.
fn pieces(context: &mut Context<'_>, facts: &mut Facts, record: &Record<'_>) -> bool {
    let clusters = context.volume.geometry.clusters;
    let mut sound = true;
    let mut runs = Vec::new();
    for attribute in &record.attributes {
        let Body::NonResident { lowest, highest, pairs, .. } = attribute.body else { continue };
        runs.clear();
        let decoded = runs::decode(pairs, lowest, clusters, &mut runs);
        let end = runs.last().map_or(lowest, Run::end);
        let fault = match decoded {
            Err(found) => Some((found, "runs inside of the volume".to_owned())),
            Ok(()) if highest.wrapping_add(1) != end => {
                let allowed = format!("{} to {}", lowest, highest as i64);
                Some((format!("runs for VCNs {lowest} to {}", end as i64 - 1), allowed))
            }
            Ok(()) => None,
        };
        if let Some((found, allowed)) = fault {
            let finding = Finding::new(Rule::Runs, found).allowed(allowed).part(attribute.part());
            context.add_in_record(record.head.number, finding.at(attribute.at as u64));
            sound = false;
        }
        for run in &runs {
            if let Some(lcn) = run.lcn {
                let extent = Extent { lcn: lcn as u32, len: run.len as u32, record: record.head.number };
                facts.extents.push(extent);
            }
        }
    }
    sound
}

/// Compares `$MFT:$BITMAP` with the records that are in use.
pub(super) fn check_bitmap(context: &mut Context<'_>, facts: &Facts) {
    let Some(mut loaded) = context.volume.load(number::MFT) else { return };
    let attributes = loaded.attributes();
    let Some(attribute) = attributes::find(&attributes, kind::BITMAP, "") else {
        return; // said by the checks of system files
    };
    let part = attribute.part();
    let clusters = context.volume.geometry.clusters;
    let Some(stream) = attributes::stream(&attributes, attribute, clusters) else { return };
    let records = context.volume.mft.size / context.volume.geometry.record as u64;
    let mut fault = |context: &mut Context<'_>, found: String, allowed: &str| {
        let finding = Finding::new(Rule::MftBitmap, found).allowed(allowed).part(&part);
        context.add(finding.record(0).path("\\$MFT"));
    };
    let size = stream.size();
    if !size.is_multiple_of(8) || size.saturating_mul(8) < records {
        fault(context, format!("{size} bytes for {records} records"), "a multiple of 8 with a bit for each record");
    }
    let resident;
    let extents = match &stream {
        Stream::Resident(value) => {
            resident = value.to_vec();
            None
        }
        Stream::NonResident(extents) => {
            resident = Vec::new();
            Some(extents)
        }
    };
    let mut page = [0; Slots::PAGE / 8];
    let mut at = 0;
    while at < size {
        let len = (size - at).min(page.len() as u64) as usize;
        let bits = match extents {
            None => &resident[at as usize..at as usize + len],
            Some(extents) => {
                if let Err(error) = context.volume.read_stream(extents, at, &mut page[..len]) {
                    return fault(context, error.to_string(), "a bitmap that can be read");
                }
                &page[..len]
            }
        };
        let Ok(first) = u32::try_from(at * 8) else {
            return; // no record has such a number
        };
        if bits.iter().any(|byte| *byte != 0) || !facts.slots.is_page_free(first) {
            for (index, byte) in bits.iter().enumerate() {
                compare_byte(context, facts, first + index as u32 * 8, *byte, &mut fault);
            }
        }
        at += len as u64;
    }
}

fn compare_byte(
    context: &mut Context<'_>,
    facts: &Facts,
    first: u32,
    byte: u8,
    fault: &mut impl FnMut(&mut Context<'_>, String, &str),
) {
    for bit in 0..8 {
        let record = first + bit;
        let marked = byte >> bit & 1 == 1;
        match (marked, facts.slots.get(record)) {
            (true, SlotState::Free) => {
                fault(context, format!("record {record} is marked as in use, and is not"), "a clear bit")
            }
            (false, SlotState::File(_) | SlotState::Extension) => {
                fault(context, format!("record {record} is in use, and not marked"), "a set bit");
            }
            _ => {}
        }
    }
}
