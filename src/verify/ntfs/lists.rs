//! Files of several records: attribute lists and the records that extend a base record.

use std::collections::{HashMap, HashSet};

use zerocopy::FromBytes;

use super::attributes::{self, Attribute, units};
use super::context::{Context, number_of, sequence_of};
use super::facts::{Facts, Listed, SlotState};
use super::file;
use crate::base::upcase;
use crate::format::ntfs::ondisk::{ListEntry, MAX_ATTRIBUTE_LIST, kind};
use crate::verify::{Finding, Rule};

/// Checks all files of several records.
pub(super) fn check(context: &mut Context<'_>, facts: &mut Facts) {
    facts
        .extensions
        .sort_unstable_by_key(|extension| (number_of(extension.base).unwrap_or(u32::MAX), extension.number));
    let known = facts.extensions.iter();
    context.volume.extensions = known.filter_map(|one| Some((number_of(one.base)?, one.number))).collect();
    check_bases(context, facts);
    for listed in std::mem::take(&mut facts.listed) {
        check_file(context, facts, &listed);
        facts.listed.push(listed);
    }
    facts.files.sort_unstable_by_key(|file| file.number);
    for (index, file) in facts.files.iter().enumerate() {
        facts.slots.set(file.number, SlotState::File(index as u32));
    }
}

/// Each record that extends another extends one in use that has an attribute list.
fn check_bases(context: &mut Context<'_>, facts: &Facts) {
    let bases: HashMap<u32, u16> =
        facts.listed.iter().map(|listed| (listed.head.number, listed.head.sequence)).collect();
    for extension in &facts.extensions {
        let number = number_of(extension.base);
        let found = match number.map(|number| (facts.slots.get(number), bases.get(&number))) {
            Some((_, Some(sequence))) if *sequence == sequence_of(extension.base) => continue,
            Some((_, Some(sequence))) => {
                format!("its base's sequence number is {sequence}, not {}", sequence_of(extension.base))
            }
            Some((SlotState::File(_), None)) => "its base has no attribute list".to_owned(),
            Some((SlotState::Damaged, None)) => continue, // the base is the cause
            Some(_) => "its base is not in use, or extends another".to_owned(),
            None => "its base is no record".to_owned(),
        };
        let finding = Finding::new(Rule::ExtentRecord, format!("{found} (base {:#x})", extension.base));
        let allowed = "a base record in use whose attribute list names it";
        context.add_in_record(extension.number, finding.allowed(allowed).part("record header").at(32));
    }
}

fn check_file(context: &mut Context<'_>, facts: &mut Facts, listed: &Listed) {
    let head = listed.head;
    let Some(mut loaded) = context.volume.load(head.number) else { return };
    let all = loaded.attributes();
    let mut whole = listed.whole;
    let holders = Holders::new(facts, listed);
    whole &= holders.whole;
    let list = attributes::find(&all, kind::ATTRIBUTE_LIST, "").and_then(|first| {
        let stream = attributes::stream(&all, first, context.volume.geometry.clusters)?;
        Some((first.at, context.volume.value(&stream, MAX_ATTRIBUTE_LIST)))
    });
    let mut fault = |rule, found: String, allowed: &str, at: usize| {
        let finding = Finding::new(rule, found).allowed(allowed).part("$ATTRIBUTE_LIST").at(at as u64);
        context.add_in_record(head.number, finding);
    };
    let list = match list {
        Some((at, Ok(list))) => Some((at, list)),
        Some((at, Err(error))) => {
            fault(Rule::AttributeList, error.to_string(), "at most 256 KiB that can be read", at);
            None
        }
        None => None,
    };
    match list {
        None => whole = false,
        Some((at, list)) => match entries(&list) {
            Err(found) => {
                fault(Rule::AttributeList, found, "whole entries, in the order of type, name and first VCN", at);
                whole = false;
            }
            Ok(entries) => {
                whole &= compare(&entries, &all, &holders, whole, &mut |found, allowed| {
                    fault(Rule::AttributeList, found, allowed, at);
                });
                check_named(context, &entries, &holders);
            }
        },
    }
    if whole {
        whole = check_pieces(context, &all);
    }
    file::check(context, facts, &head, &all, whole);
}

/// Which records hold attributes of a file, and their references.
struct Holders {
    references: HashMap<u32, u64>,
    /// The reference of the base record.
    base: u64,
    whole: bool,
}

impl Holders {
    fn new(facts: &Facts, listed: &Listed) -> Self {
        let head = listed.head;
        let base = u64::from(head.sequence) << 48 | u64::from(head.number);
        let mut holders = Self { references: HashMap::from([(head.number, base)]), base, whole: true };
        for extension in facts.extensions_of(head.number) {
            holders
                .references
                .insert(extension.number, u64::from(extension.sequence) << 48 | u64::from(extension.number));
            holders.whole &= extension.whole;
        }
        holders
    }

    /// The records that a list names, and the base record, which needs no name.
    fn named(&self, entries: &[Entry<'_>]) -> HashSet<u64> {
        entries.iter().map(|entry| entry.holder).chain([self.base]).collect()
    }
}

/// Each record that extends a file is named by the list, be there attributes in it or not.
fn check_named(context: &mut Context<'_>, entries: &[Entry<'_>], holders: &Holders) {
    let named = holders.named(entries);
    let mut unnamed: Vec<(u32, u64)> =
        holders.references.iter().map(|(number, reference)| (*number, *reference)).collect();
    unnamed.retain(|(_, reference)| !named.contains(reference));
    unnamed.sort_unstable();
    for (number, _) in unnamed {
        let finding =
            Finding::new(Rule::ExtentRecord, format!("its base's list does not name it (base {:#x})", holders.base));
        let allowed = "a base record in use whose attribute list names it";
        context.add_in_record(number, finding.allowed(allowed).part("record header").at(32));
    }
}

/// An entry of a list.
struct Entry<'a> {
    kind: u32,
    name: &'a [u8],
    lowest: u64,
    holder: u64,
    instance: u16,
}

/// The entries of a list, or what is wrong with it.
fn entries(list: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let Ok((head, _)) = ListEntry::read_from_prefix(&list[at..]) else {
            return Err(format!("an entry cut off at {at}"));
        };
        let (len, name_at, name_len) =
            (usize::from(head.len.get()), usize::from(head.name_offset), 2 * usize::from(head.name_len));
        let name = list.get(at + name_at..at + name_at + name_len);
        let Some(name) = name.filter(|_| {
            name_at == size_of::<ListEntry>()
                && len.is_multiple_of(8)
                && len >= name_at + name_len
                && at + len <= list.len()
        }) else {
            return Err(format!("an entry of {len} bytes at {at}, with {name_len} bytes of name at {name_at}"));
        };
        let entry = Entry {
            kind: head.kind.get(),
            name,
            lowest: head.lowest_vcn.get(),
            holder: head.holder.get(),
            instance: head.instance.get(),
        };
        if entries.last().is_some_and(|last| is_after(last, &entry)) {
            return Err(format!("the entry at {at}, {}, out of order", attributes::part(entry.kind, entry.name)));
        }
        entries.push(entry);
        at += len;
    }
    Ok(entries)
}

fn is_after(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    let by_name = || upcase::compare_ignoring_case(&units(a.name), &units(b.name));
    a.kind.cmp(&b.kind).then_with(by_name).then(a.lowest.cmp(&b.lowest)).is_gt()
}

/// Compares the list with the attributes that are there; says whether they agree. Those of records that the list does not name at all
/// are not told one by one.
fn compare(
    entries: &[Entry<'_>],
    all: &[Attribute<'_>],
    holders: &Holders,
    whole: bool,
    fault: &mut dyn FnMut(String, &str),
) -> bool {
    let mut there: HashMap<(u64, u16), &Attribute<'_>> = HashMap::with_capacity(all.len());
    for attribute in all.iter().filter(|attribute| attribute.kind != kind::ATTRIBUTE_LIST) {
        there.insert((holders.references.get(&attribute.holder).copied().unwrap_or(0), attribute.instance), attribute);
    }
    let mut agrees = true;
    for entry in entries {
        let what = attributes::part(entry.kind, entry.name);
        match there.remove(&(entry.holder, entry.instance)) {
            Some(attribute)
                if (attribute.kind, attribute.name, attribute.lowest_vcn())
                    == (entry.kind, entry.name, entry.lowest) => {}
            Some(attribute) => {
                agrees = false;
                fault(
                    format!("{what} from VCN {} listed where {} is", entry.lowest, attribute.part()),
                    "the attribute that is there",
                );
            }
            None if whole => {
                agrees = false;
                let holder = entry.holder & super::context::NUMBER_MASK;
                fault(
                    format!("{what}, instance {} of record {holder}, is listed and not there", entry.instance),
                    "attributes that are there",
                );
            }
            None => agrees = false,
        }
    }
    agrees &= there.is_empty();
    let named = holders.named(entries);
    let mut unlisted: Vec<_> = there.into_iter().filter(|((holder, _), _)| named.contains(holder)).collect();
    unlisted.sort_unstable_by_key(|(key, _)| *key);
    for (_, attribute) in unlisted {
        fault(format!("{} of record {} is not listed", attribute.part(), attribute.holder), "every attribute");
    }
    agrees
}

/// The pieces of each stream follow each other without a gap.
fn check_pieces(context: &mut Context<'_>, all: &[Attribute<'_>]) -> bool {
    let clusters = context.volume.geometry.clusters;
    let mut sound = true;
    for (index, attribute) in all.iter().enumerate() {
        let same = |other: &Attribute<'_>| other.kind == attribute.kind && other.name == attribute.name;
        if attribute.kind == kind::FILE_NAME || all[..index].iter().any(same) {
            continue; // looked at with its first piece
        }
        if attribute.lowest_vcn() != 0 || attributes::stream(all, attribute, clusters).is_none() {
            sound = false;
            let finding = Finding::new(Rule::Runs, "pieces that do not follow each other")
                .allowed("all VCNs from 0 on, once each");
            context.add_in_record(attribute.holder, finding.part(attribute.part()).at(attribute.at as u64));
        }
    }
    sound
}
