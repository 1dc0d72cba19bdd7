//! The indexes in `$Extend`: object ids, reparse points and quotas, each against what the files have.

use std::collections::BTreeMap;

use super::attributes::{self, Attribute};
use super::context::{Context, NAME_AT, number_of};
use super::facts::{Facts, ObjectId, ReparseTag};
use super::index::{self, Entry, Wanted};
use super::system;
use crate::base::Name;
use crate::base::bytes::{u32_at, u64_at};
use crate::format::ntfs::ondisk::{collation, file, kind, record_flag};
use crate::verify::{Finding, Rule};

/// The files of `$Extend` that every volume of version 3.1 has, and their indexes.
const FILES: &[(&str, &[Wanted])] = &[
    ("$Quota", &[Wanted::view("$O", collation::SID), Wanted::view("$Q", collation::ULONG)]),
    ("$ObjId", &[Wanted::view("$O", collation::ULONGS)]),
    ("$Reparse", &[Wanted::view("$R", collation::ULONGS)]),
];

/// Checks all of them, and indexes of other system files by their form.
pub(super) fn check(context: &mut Context<'_>, facts: &mut Facts) {
    let found = find(context, facts);
    for (name, wanted) in FILES {
        let Some(number) = found.get(*name).copied() else {
            if facts.file(file::EXTEND).is_some() && !facts.gaps {
                let finding = Finding::new(Rule::SystemFile, format!("no {name}")).allowed("it is there");
                context.add(finding.record(u64::from(file::EXTEND)));
            }
            continue;
        };
        let Some(mut loaded) = context.volume.load(number) else { continue };
        let all = loaded.attributes();
        for view in wanted.iter().filter(|view| attributes::find(&all, kind::INDEX_ROOT, view.name).is_none()) {
            let finding = Finding::new(Rule::SystemFile, "none").allowed("it is there").record(u64::from(number));
            context.add(finding.part(format_args!("$INDEX_ROOT:{}", view.name)));
        }
        if let Some(found) = system::fault_of_attributes(&all) {
            let finding = Finding::new(Rule::SystemFile, found).allowed(system::ATTRIBUTES);
            context.add(finding.record(u64::from(number)).part("$STANDARD_INFORMATION"));
        }
        match *name {
            "$Quota" => quotas(context, facts, number, &all, wanted),
            "$ObjId" => object_ids(context, facts, number, &all, wanted[0]),
            _ => reparse_points(context, facts, number, &all, wanted[0]),
        }
    }
}

/// The records of the files in `$Extend`, by name. They are those of a high flag, so that few records are looked at.
fn find(context: &Context<'_>, facts: &Facts) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let in_extend = |parent: u64| number_of(parent) == Some(file::EXTEND);
    let candidates = facts.files.iter().filter(|one| {
        one.record_flags & record_flag::VIEW_INDEX != 0 && facts.names_of(one).iter().any(|name| in_extend(name.parent))
    });
    for one in candidates {
        let Some(mut loaded) = context.volume.load(one.number) else { continue };
        for value in loaded.attributes().iter().filter(|a| a.kind == kind::FILE_NAME).filter_map(Attribute::resident) {
            let name = Name::from_le_bytes(value.get(NAME_AT..).unwrap_or_default()).to_string();
            found.entry(name).or_insert(one.number);
        }
    }
    found
}

/// A fault of an entry, or of an index as a whole.
fn fault(
    context: &mut Context<'_>,
    rule: Rule,
    number: u32,
    part: &str,
    entry: Option<&Entry<'_>>,
    found: String,
    allowed: &str,
) {
    let mut finding = Finding::new(rule, found).allowed(allowed).record(u64::from(number)).part(part);
    finding.place.offset = entry.and_then(|entry| entry.at);
    context.add(finding);
}

fn reparse_points(context: &mut Context<'_>, facts: &mut Facts, number: u32, all: &[Attribute<'_>], wanted: Wanted) {
    let rule = Rule::ReparseIndex;
    let gaps = facts.gaps;
    let points = &mut facts.reparse;
    points.sort_unstable_by_key(|point| (point.tag, point.reference));
    let whole = index::walk(context, number, all, wanted, &mut |context, entry| {
        let (Some(tag), Some(reference), 12, []) =
            (u32_at(entry.key, 0), u64_at(entry.key, 4), entry.key.len(), entry.data)
        else {
            let found = format!("a key of {} bytes and {} of data", entry.key.len(), entry.data.len());
            return fault(context, rule, number, "$R", Some(entry), found, "a tag and a reference, and no data");
        };
        match points.binary_search_by_key(&(tag, reference), |point| (point.tag, point.reference)) {
            Ok(index) => points[index].seen = true,
            Err(_) if gaps => {}
            Err(_) => {
                let found = format!("tag {tag:#x} of reference {reference:#x}");
                fault(context, rule, number, "$R", Some(entry), found, "reparse points that files have");
            }
        }
    });
    for ReparseTag { reference, tag, .. } in facts.reparse.iter().filter(|point| whole && !point.seen) {
        let finding = Finding::new(rule, format!("its reparse point, tag {tag:#x}, is not in $Extend\\$Reparse"));
        context
            .add(finding.allowed("an entry").record(number_of(*reference).map_or(0, u64::from)).part("$REPARSE_POINT"));
    }
}

fn object_ids(context: &mut Context<'_>, facts: &mut Facts, number: u32, all: &[Attribute<'_>], wanted: Wanted) {
    const DATA: usize = 56;
    let rule = Rule::ObjectId;
    let gaps = facts.gaps;
    let ids = &mut facts.object_ids;
    ids.sort_by_key(|id| (id.id, id.reference));
    let whole = index::walk(context, number, all, wanted, &mut |context, entry| {
        let (Some(reference), 16, DATA) = (u64_at(entry.data, 0), entry.key.len(), entry.data.len()) else {
            let found = format!("a key of {} bytes and {} of data", entry.key.len(), entry.data.len());
            return fault(context, rule, number, "$O", Some(entry), found, "16 and 56");
        };
        let key = |id: &ObjectId| (id.id.as_slice().cmp(entry.key)).then(id.reference.cmp(&reference));
        match ids.binary_search_by(key).ok().map(|index| &mut ids[index]) {
            Some(known) => {
                known.seen = true;
                if known.birth.as_deref().is_some_and(|birth| entry.data.get(8..) != Some(birth)) {
                    let found = format!("birth ids of reference {reference:#x} that are not the file's");
                    fault(context, rule, number, "$O", Some(entry), found, "those of $OBJECT_ID");
                }
            }
            None if gaps => {}
            None => {
                let found = format!("an id of reference {reference:#x} that it does not have");
                fault(context, rule, number, "$O", Some(entry), found, "object ids that files have");
            }
        }
    });
    // That of the volume itself is in the index on no volume that mkntfs made.
    let volume = |id: &&ObjectId| number_of(id.reference) != Some(file::VOLUME);
    for id in facts.object_ids.iter().filter(|id| whole && !id.seen).filter(volume) {
        let finding = Finding::new(rule, "its object id is not in $Extend\\$ObjId").allowed("an entry");
        context.add(finding.record(number_of(id.reference).map_or(0, u64::from)).part("$OBJECT_ID"));
    }
}

fn quotas(context: &mut Context<'_>, facts: &Facts, number: u32, all: &[Attribute<'_>], wanted: &[Wanted]) {
    /// Version, flags, bytes used, time of change, threshold, limit, time of exceeding.
    const HEAD: usize = 48;
    let rule = Rule::Quota;
    let mut by_sid: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let whole = index::walk(context, number, all, wanted[0], &mut |context, entry| match (
        u32_at(entry.data, 0),
        entry.data.len(),
    ) {
        (Some(id), 4) => _ = by_sid.insert(entry.key.to_vec(), id),
        _ => {
            let found = format!("{} bytes of data", entry.data.len());
            fault(context, rule, number, "$O", Some(entry), found, "4: an owner id");
        }
    });
    let mut owners = BTreeMap::new();
    let whole = whole
        & index::walk(context, number, all, wanted[1], &mut |context, entry| {
            let (Some(id), 4, Some(sid)) = (u32_at(entry.key, 0), entry.key.len(), entry.data.get(HEAD..)) else {
                let found = format!("a key of {} bytes and {} of data", entry.key.len(), entry.data.len());
                return fault(context, rule, number, "$Q", Some(entry), found, "4, and 48 and an identifier");
            };
            if u32_at(entry.data, 0) != Some(2) {
                let found = format!("version {:?} of owner {id:#x}", u32_at(entry.data, 0));
                fault(context, rule, number, "$Q", Some(entry), found, "2");
            }
            owners.insert(id, sid.to_vec());
        });
    if !whole {
        return;
    }
    // Owner 1 is the default for those who have no entry yet, and has no identifier.
    for (id, sid) in owners.iter().filter(|(_, sid)| !sid.is_empty()) {
        if by_sid.get(sid) != Some(id) {
            fault(context, rule, number, "$O", None, format!("no entry for owner {id:#x}"), "one for each owner of $Q");
        }
    }
    for (_, id) in by_sid.iter().filter(|(_, id)| !owners.contains_key(id)) {
        fault(context, rule, number, "$Q", None, format!("no entry for owner {id:#x}"), "one for each owner of $O");
    }
    for (owner, record) in facts.owners.iter().filter(|(owner, _)| !owners.contains_key(owner)) {
        let finding = Finding::new(rule, format!("owner id {owner:#x}")).allowed("an owner of $Quota:$Q, or 0");
        context.add(finding.record(u64::from(*record)).part("$STANDARD_INFORMATION"));
    }
}
