//! Directories: each entry against the file that it leads to.

use zerocopy::FromBytes;

use super::attributes::units;
use super::context::{Context, NAME_AT, NAMESPACE_AT, number_of, sequence_of};
use super::facts::{Facts, File, Resolved, state};
use super::file::hash_name;
use super::index::{self, Entry, Wanted};
use crate::base::{FileTime, Name, upcase};
use crate::format::ntfs::ondisk::{FileName as NameHeader, file, namespace, record_flag};
use crate::verify::{Finding, Level, Rule};

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
        let name = Name::from_le_bytes(entry.key.get(NAME_AT..).unwrap_or_default());
        let mut finding = finding.record(u64::from(self.number)).part(format_args!("$I30, entry {name:?}"));
        finding.place.offset = entry.at;
        context.add(finding);
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
            Resolved::File(index) => &facts.files[index as usize],
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
        let found = facts.names_of(file).iter().position(|name| name.hash == hash);
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
            self.compare(context, facts, entry, &header, file);
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
    fn compare(&self, context: &mut Context<'_>, facts: &Facts, entry: &Entry<'_>, header: &NameHeader, file: &File) {
        let leniency = Leniency::of(facts, file);
        let times = header.times.map(|time| time.get());
        if times != file.times {
            // Windows writes the time of the last access down an hour late at the most, and not everywhere at once.
            let only_access = times[..3] == file.times[..3];
            let level = if only_access { Some(Level::Note) } else { leniency.level() };
            let differs = (0..4).find(|index| times[*index] != file.times[*index]).unwrap_or(0);
            let which = ["created", "modified", "record changed", "accessed"][differs];
            let found = format!("{which} {}", FileTime(times[differs]));
            let allowed = format!("{}, as record {} has it", FileTime(file.times[differs]), file.number);
            self.differs(context, entry, Rule::EntryTimes, level, found, allowed);
        }
        let sizes = (header.allocated.get(), header.size.get());
        if sizes != (file.allocated, file.size) && !file.is(state::DIRECTORY) {
            let found = format!("{} bytes, {} allocated", sizes.1, sizes.0);
            let allowed =
                format!("{} bytes, {} allocated, as record {} has it", file.size, file.allocated, file.number);
            self.differs(context, entry, Rule::EntrySizes, leniency.level(), found, allowed);
        } else if file.is(state::DIRECTORY) && sizes != (0, 0) {
            let found = format!("{} bytes, {} allocated", sizes.1, sizes.0);
            self.differs(context, entry, Rule::EntrySizes, leniency.level(), found, "0 for a directory".to_owned());
        }
        if header.attributes.get() != file.attributes {
            let found = format!("attributes {:#x}", header.attributes.get());
            let allowed = format!("{:#x}, as record {} has them", file.attributes, file.number);
            self.differs(context, entry, Rule::EntryFlags, leniency.level(), found, allowed);
        }
        if header.tag.get() != file.tag {
            let found = format!("tag or length of extended attributes {:#x}", header.tag.get());
            let allowed = format!("{:#x}, as record {} has it", file.tag, file.number);
            self.differs(context, entry, Rule::EntryTag, leniency.level(), found, allowed);
        }
    }

    fn differs(
        &self,
        context: &mut Context<'_>,
        entry: &Entry<'_>,
        rule: Rule,
        level: Option<Level>,
        found: String,
        allowed: String,
    ) {
        let mut finding = Finding::new(rule, found).allowed(allowed);
        finding.level = level.unwrap_or(finding.level);
        self.add(context, entry, finding);
    }
}

/// Why an entry may be older than its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leniency {
    None,
    /// Windows leaves what the format wrote, zeros among them, in the entries of system files (seen on volumes of Windows 10:
    /// $AttrDef has no size in the root directory).
    SystemFile,
    /// Windows brings the entry of the link up to date through which the file was changed, and leaves the others.
    HardLinks,
}

impl Leniency {
    fn of(facts: &Facts, file: &File) -> Self {
        let below_extend = || {
            facts.names_of(file).iter().all(|name| {
                number_of(name.parent).is_some_and(|parent| {
                    parent == file::EXTEND || facts.file(parent).is_some_and(|parent| is_below_extend(facts, parent))
                })
            })
        };
        if file.number < file::QUOTA
            || file.record_flags & record_flag::EXTEND != 0
            || file.number < file::FIRST_USER && below_extend()
        {
            return Self::SystemFile;
        }
        let links = facts.names_of(file).iter().filter(|name| name.namespace != namespace::DOS).count();
        if links > 1 { Self::HardLinks } else { Self::None }
    }

    fn level(self) -> Option<Level> {
        (self != Self::None).then_some(Level::Note)
    }
}

/// Whether a directory lies in `$Extend`, at most a few levels deep (`$RmMetadata\$TxfLog`).
fn is_below_extend(facts: &Facts, directory: &File) -> bool {
    const LEVELS: usize = 4;
    let mut at = directory;
    for _ in 0..LEVELS {
        let Some(parent) = facts.names_of(at).first().and_then(|name| number_of(name.parent)) else { return false };
        if parent == file::EXTEND {
            return true;
        }
        let Some(next) = facts.file(parent) else { return false };
        at = next;
    }
    false
}
