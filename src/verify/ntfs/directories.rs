//! Directories: each entry against the file that it leads to.

use zerocopy::FromBytes;

use super::attributes::units;
use super::context::{Context, NAME_AT, NAMESPACE_AT, number_of, sequence_of};
use super::facts::{Facts, File, Resolved, state};
use super::file::hash_name;
use super::index::{self, Entry, Wanted};
use crate::base::{FileTime, Name, upcase};
use crate::format::ntfs::ondisk::{FileName as NameHeader, file as number, namespace, record_flag};
use crate::verify::{Finding, Rule};

/// Goes through all directories.
pub(super) fn check(context: &mut Context<'_>, facts: &mut Facts) {
    for index in 0..facts.files.len() {
        let file = &facts.files[index];
        if !file.is(state::DIRECTORY) {
            continue;
        }
        let directory = Directory {
            number: file.number,
            reference: file.reference(),
            case_sensitive: file.is(state::CASE_SENSITIVE),
        };
        let Some(mut loaded) = context.volume.load(directory.number) else { continue };
        let attributes = loaded.attributes();
        let mut last: Option<Vec<u16>> = None;
        let whole = index::walk(context, directory.number, &attributes, Wanted::DIRECTORY, &mut |context, entry| {
            directory.check_entry(context, facts, entry);
            directory.check_twin(context, entry, &mut last);
        });
        if whole {
            facts.files[index].state |= state::LISTED;
        }
    }
}

struct Directory {
    number: u32,
    reference: u64,
    case_sensitive: bool,
}

impl Directory {
    fn add(&self, context: &mut Context<'_>, entry: &Entry<'_>, finding: Finding) {
        context.add(self.place(entry, finding));
    }

    fn place(&self, entry: &Entry<'_>, finding: Finding) -> Finding {
        let name = Name::from_le_bytes(entry.key.get(NAME_AT..).unwrap_or_default());
        let mut finding = finding.record(u64::from(self.number)).part(format_args!("$I30, entry {name:?}"));
        finding.place.offset = entry.at;
        finding
    }

    /// Names that are the same without case. The entries come in order, so that such names come one after the other.
    fn check_twin(&self, context: &mut Context<'_>, entry: &Entry<'_>, last: &mut Option<Vec<u16>>) {
        let name = units(entry.key.get(NAME_AT..).unwrap_or_default());
        if !self.case_sensitive && last.as_ref().is_some_and(|last| upcase::same(last, &name)) {
            let other = Name::new(last.take().unwrap_or_default());
            let finding = Finding::new(Rule::DuplicateName, format!("a name that is {other:?} without case"));
            self.add(context, entry, finding.allowed("names that differ, or a case-sensitive directory"));
        }
        *last = Some(name);
    }

    fn check_entry(&self, context: &mut Context<'_>, facts: &mut Facts, entry: &Entry<'_>) {
        let Ok((header, _)) = NameHeader::read_from_prefix(entry.key) else { return };
        let file = match facts.resolve(entry.reference) {
            Resolved::File(index) => facts.files[index as usize].clone(),
            Resolved::Unknown => return, // the record is the cause
            other => return self.lost(context, facts, entry, other),
        };
        if header.parent.get() != self.reference {
            let found = format!("a name of directory {:#x}", header.parent.get());
            let finding =
                Finding::new(Rule::IndexReference, found).allowed(format_args!("{:#x}, this one", self.reference));
            return self.add(context, entry, finding);
        }
        let space = entry.key.get(NAMESPACE_AT).copied().unwrap_or_default();
        let hash = hash_name(self.reference, space, entry.key.get(NAME_AT..).unwrap_or_default());
        let first = file.first_name as usize;
        let found = facts.names_of(&file).iter().position(|name| name.hash == hash);
        let Some(index) = found.map(|index| first + index) else {
            if !file.is(state::DAMAGED) {
                let found = format!("record {} has no such name (namespace {space}) in this directory", file.number);
                self.add(
                    context,
                    entry,
                    Finding::new(Rule::IndexReference, found).allowed("a $FILE_NAME that is the same"),
                );
            }
            return;
        };
        if !file.is(state::DAMAGED) {
            self.compare(context, facts, entry, &header, &file);
        }
        facts.names[index].seen = true;
    }

    fn lost(&self, context: &mut Context<'_>, facts: &Facts, entry: &Entry<'_>, target: Resolved) {
        let (number, sequence) = (number_of(entry.reference), sequence_of(entry.reference));
        let found = match (number, target) {
            (Some(number), Resolved::Stale(now)) => {
                format!("record {number} of sequence {sequence}, which is {now} by now")
            }
            (Some(number), Resolved::Extension) => format!("record {number}, which extends another"),
            (Some(number), _) if facts.gaps && u64::from(number) >= context.volume.records() => return,
            (Some(number), _) => format!("record {number}, which is not in use"),
            (None, _) => format!("reference {:#x}", entry.reference),
        };
        self.add(context, entry, Finding::new(Rule::IndexReference, found).allowed("a file in use"));
    }

    /// What an entry repeats of its file.
    fn compare(
        &self,
        context: &mut Context<'_>,
        facts: &mut Facts,
        entry: &Entry<'_>,
        header: &NameHeader,
        file: &File,
    ) {
        let times = header.times.map(|time| time.get());
        let is_stale = may_be_stale(facts, file);
        let mut differs = |facts: &mut Facts, rule: Rule, stale: bool, found: String, allowed: String| {
            let allowed = format!("{allowed}, as record {} has it", file.number);
            let finding = self.place(entry, Finding::new(rule, found).allowed(allowed));
            if stale { facts.note_stale(finding) } else { context.add(finding) }
        };
        if let Some(which) = (0..4).find(|which| times[*which] != file.times[*which]) {
            // Windows writes the time of the last access down an hour late at the most, and not everywhere at once. Times of the
            // format (0, or the year 1970) stay in entries that were never brought up to date (seen on volumes of Windows 10).
            let is_stale = is_stale || which == ACCESSED || times.iter().all(|time| matches!(*time, 0 | UNIX_EPOCH));
            let name = ["created", "modified", "record changed", "accessed"][which];
            let found = format!("{name} {}", FileTime(times[which]));
            differs(facts, Rule::EntryTimes, is_stale, found, FileTime(file.times[which]).to_string());
        }
        let sizes = (header.allocated.get(), header.size.get());
        let expected = if file.is(state::DIRECTORY) { (0, 0) } else { (file.allocated, file.size) };
        if sizes != expected {
            let text = |(allocated, size)| format!("{size} bytes, {allocated} allocated");
            differs(facts, Rule::EntrySizes, is_stale, text(sizes), text(expected));
        }
        if header.attributes.get() != file.attributes {
            let found = format!("attributes {:#x}", header.attributes.get());
            differs(facts, Rule::EntryFlags, is_stale, found, format!("{:#x}", file.attributes));
        }
        if header.tag.get() != file.tag {
            let found = format!("tag or length of extended attributes {:#x}", header.tag.get());
            differs(facts, Rule::EntryTag, is_stale, found, format!("{:#x}", file.tag));
        }
    }
}

/// The last of the four times of a file.
const ACCESSED: usize = 3;
/// 1970-01-01.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Whether Windows leaves the entries of a file older than the file.
///
/// * It leaves what the format wrote, zeros among it, in the entries of system files, below `$Extend` too (seen on volumes of Windows 10:
///   `$AttrDef` has no size in the root directory).
/// * It brings that link up to date through which a file was changed, and leaves its other hard links.
fn may_be_stale(facts: &Facts, file: &File) -> bool {
    let parents = || facts.names_of(file).iter().map(|name| number_of(name.parent));
    let below_extend = || {
        parents().all(|parent| {
            parent == Some(number::EXTEND)
                || parent.and_then(|parent| facts.file(parent)).is_some_and(|parent| is_below_extend(facts, parent))
        })
    };
    let is_system = file.number < number::QUOTA || file.record_flags & record_flag::EXTEND != 0 || below_extend();
    is_system || facts.names_of(file).iter().filter(|name| name.namespace != namespace::DOS).count() > 1
}

/// Whether a file or directory lies in `$Extend`, at most a few levels deep (`$RmMetadata\$TxfLog`).
pub(super) fn is_below_extend(facts: &Facts, file: &File) -> bool {
    const LEVELS: usize = 4;
    let mut at = file;
    for _ in 0..LEVELS {
        let Some(parent) = facts.names_of(at).first().and_then(|name| number_of(name.parent)) else { return false };
        if parent == number::EXTEND {
            return true;
        }
        let Some(next) = facts.file(parent) else { return false };
        at = next;
    }
    false
}
