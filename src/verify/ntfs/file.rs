//! One file: its attributes among each other, and what is kept of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use zerocopy::FromBytes;

use super::attributes::{self, Attribute, Body, Extents, Stream};
use super::context::{Context, NAME_AT, NAMESPACE_AT};
use super::descriptor;
use super::facts::{Facts, File, FileName, ObjectId, ReparseTag, SlotState, state};
use super::kinds::{self, Residence};
use super::names;
use super::record::{COMPRESSED, Head};
use crate::base::bytes::u64_at;
use crate::format::ntfs::ondisk::{
    CASE_SENSITIVE, EaInformation, FileName as NameHeader, MAX_EA, MAX_REPARSE, StandardInformation, attribute_flag,
    file as number, kind, name_flag, record_flag,
};
use crate::tree::attributes as file_flag;
use crate::verify::{Finding, Level, Rule};

/// The tag of files that the overlay filter compresses (`IO_REPARSE_TAG_WOF`).
pub(super) const WOF_TAG: u32 = 0x8000_0017;

/// Longest security descriptor that a file may have of its own (as access control lists end at 64 KiB each).
const MAX_DESCRIPTOR: u64 = 0x4_0000;

/// Attributes of files that Windows knows, as `$STANDARD_INFORMATION` keeps them. The directory bit (0x10) is not kept; 0x40 is
/// "device"; from 0x8000 on: integrity, virtual, no scrub, extended attributes, pinned, unpinned, recall on access, strictly sequential.
/// 0x80000000 is on `$Txf` of volumes of Windows 10.
const KNOWN_ATTRIBUTES: u32 = 0x7 | 0x20 | 0xFFC0 | 0x007F_0000 | name_flag::VIEW_INDEX | 0x8000_0000;

/// Bits of [`StandardInformation::version`] with a meaning: case-sensitive, tag of known folders, reserve of storage.
const KNOWN_VERSION: u32 = 0xF0F;

/// A hash of what makes a name: directory, namespace, name.
pub(super) fn hash_name(parent: u64, namespace: u8, name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (parent, namespace, name).hash(&mut hasher);
    hasher.finish()
}

/// Checks a file by all of its attributes and keeps what others need; `whole` if no attribute is missing from them.
pub(super) fn check(
    context: &mut Context<'_>,
    facts: &mut Facts,
    head: &Head,
    attributes: &[Attribute<'_>],
    whole: bool,
) {
    let file = File { number: head.number, sequence: head.sequence, record_flags: head.flags, ..File::default() };
    let mut checker = Checker { context, facts, head, attributes, whole, file };
    checker.kinds();
    checker.standard_information();
    checker.streams();
    checker.indexes();
    checker.reparse_point();
    checker.extended_attributes();
    checker.names();
    checker.object_id();
    checker.own_descriptor();
    checker.keep();
}

struct Checker<'c, 'v, 'a> {
    context: &'c mut Context<'v>,
    facts: &'c mut Facts,
    head: &'c Head,
    attributes: &'c [Attribute<'a>],
    whole: bool,
    file: File,
}

impl<'a> Checker<'_, '_, 'a> {
    fn add(&mut self, attribute: &Attribute<'_>, finding: Finding) {
        let holder = if attribute.holder == 0 { self.head.number } else { attribute.holder };
        let finding = finding.part(attribute.part()).at(attribute.at as u64);
        if holder == self.head.number {
            self.context.add_in_record(holder, finding);
        } else {
            // The path is that of the base record.
            let path = self.context.path(self.head.number);
            let mut finding = finding;
            finding.place.path = path;
            self.context.add_in_record(holder, finding);
        }
    }

    fn add_to_record(&mut self, finding: Finding) {
        self.context.add_in_record(self.head.number, finding);
    }

    fn find(&self, kind: u32) -> Option<&Attribute<'a>> {
        attributes::find(self.attributes, kind, "")
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Attribute<'a>> + use<'_, 'a> {
        self.attributes.iter().filter(move |attribute| attribute.kind == kind)
    }

    fn stream(&self, attribute: &Attribute<'a>) -> Option<Stream<'a>> {
        attributes::stream(self.attributes, attribute, self.context.volume.geometry.clusters)
    }

    /// The value of the attribute of that kind, wherever it lies; at most `limit` bytes.
    fn value(&mut self, kind: u32, limit: u64) -> Option<Vec<u8>> {
        let attribute = self.find(kind)?;
        self.context.volume.value(&self.stream(attribute)?, limit).ok()
    }

    fn is_reserved(&self) -> bool {
        number::RESERVED.contains(&self.head.number)
    }

    /// Type, residence and number of attributes.
    fn kinds(&mut self) {
        let all = self.attributes;
        for (index, attribute) in all.iter().enumerate() {
            if let Some((found, allowed)) = self.fault_of_kind(attribute) {
                self.add(attribute, Finding::new(Rule::AttributeKind, found).allowed(allowed));
            }
            let twin = |other: &&Attribute<'_>| {
                other.kind == attribute.kind && other.name == attribute.name && attribute.kind != kind::FILE_NAME
            };
            let is_first_piece = attribute.lowest_vcn() == 0;
            if is_first_piece && all[..index].iter().filter(|other| other.lowest_vcn() == 0).any(|other| twin(&other)) {
                self.add(attribute, Finding::new(Rule::AttributeKind, "there twice").allowed("once"));
            }
        }
        if !self.whole {
            return;
        }
        // Files with indexes of their own have no main stream, nor does $Extend\$UsnJrnl: flag 4 says that a file is of that sort.
        let has_index = self.of_kind(kind::INDEX_ROOT).next().is_some();
        if !has_index && self.find(kind::DATA).is_none() && self.head.flags & record_flag::EXTEND == 0 {
            let finding =
                Finding::new(Rule::AttributeKind, "a file without a main stream").allowed("$DATA without a name");
            self.add_to_record(finding.part("$DATA"));
        }
        if has_index && self.find(kind::DATA).is_some() && self.of_kind(kind::INDEX_ROOT).any(|a| a.is_named("$I30")) {
            let finding =
                Finding::new(Rule::AttributeKind, "a directory with a main stream").allowed("named streams only");
            self.add_to_record(finding.part("$DATA"));
        }
    }

    fn fault_of_kind(&self, attribute: &Attribute<'_>) -> Option<(String, String)> {
        let Some(kind) = kinds::of(attribute.kind) else {
            return Some((format!("type {:#x}", attribute.kind), "one of $AttrDef".to_owned()));
        };
        if !kind.named && !attribute.name.is_empty() {
            return Some((format!("{} with a name", kind.name), "no name".to_owned()));
        }
        let size = match attribute.body {
            Body::Resident(_) if kind.residence == Residence::NonResident => {
                return Some((format!("{} in the record", kind.name), "in clusters".to_owned()));
            }
            Body::NonResident { .. } if kind.residence == Residence::Resident => {
                return Some((format!("{} in clusters", kind.name), "in the record".to_owned()));
            }
            Body::Resident(value) => value.len() as u64,
            Body::NonResident { lowest: 0, size, .. } => size,
            Body::NonResident { .. } => return None,
        };
        // Lengths of these have rules of their own; a label of no length is what Windows writes for none.
        let own_rule = [kind::STANDARD_INFORMATION, kind::FILE_NAME].contains(&attribute.kind);
        let no_label = attribute.kind == kind::VOLUME_NAME && size == 0;
        if !own_rule && !no_label && !(kind.min..=kind.max).contains(&size) {
            return Some((format!("{size} bytes"), format!("{} to {}", kind.min, kind.max)));
        }
        None
    }

    fn standard_information(&mut self) {
        let Some(attribute) = self.find(kind::STANDARD_INFORMATION).cloned() else {
            self.file.state |= state::DAMAGED;
            if self.whole {
                let finding = Finding::new(Rule::StandardInformation, "none").allowed("the first attribute");
                self.add_to_record(finding.part("$STANDARD_INFORMATION"));
            }
            return;
        };
        let Some(value) = attribute.resident() else { return self.file.state |= state::DAMAGED };
        let mut padded = [0; size_of::<StandardInformation>()];
        if !matches!(value.len(), 48 | 72) {
            self.file.state |= state::DAMAGED;
            let finding = Finding::new(Rule::StandardInformation, format!("{} bytes", value.len())).allowed("48 or 72");
            return self.add(&attribute, finding);
        }
        padded[..value.len()].copy_from_slice(value);
        let Ok(information) = StandardInformation::read_from_bytes(&padded) else { return };
        self.file.times = information.times.map(|time| time.get());
        self.file.attributes = information.attributes.get();
        self.file.security = information.security.get();
        if information.version.get() & CASE_SENSITIVE != 0 {
            self.file.state |= state::CASE_SENSITIVE;
        }
        let owner = information.owner.get();
        if owner != 0 {
            self.facts.owners.entry(owner).or_insert(self.head.number);
        }
        let unknown = self.file.attributes & !KNOWN_ATTRIBUTES;
        let fault = if unknown != 0 {
            Some((
                32,
                format!("attributes {:#x}, of which {unknown:#x} is unknown", self.file.attributes),
                "known ones",
            ))
        } else if information.max_versions.get() != 0 || information.version.get() & !KNOWN_VERSION != 0 {
            let (max, version) = (information.max_versions.get(), information.version.get());
            Some((36, format!("versions {max:#x} and {version:#x}"), "0, and known bits"))
        } else if information.class.get() != 0 {
            Some((44, format!("class {:#x}", information.class.get()), "0"))
        } else if information.quota.get() != 0 && owner == 0 {
            Some((56, format!("{} bytes charged to nobody", information.quota.get()), "0 without an owner"))
        } else {
            None
        };
        if let Some((_, found, allowed)) = fault {
            self.add(&attribute, Finding::new(Rule::StandardInformation, found).allowed(allowed));
        }
    }

    fn streams(&mut self) {
        let all = self.attributes;
        let mut sparse = false;
        for attribute in all.iter().filter(|attribute| attribute.lowest_vcn() == 0) {
            let is_data = attribute.kind == kind::DATA;
            let Body::NonResident { .. } = attribute.body else {
                if is_data && attribute.name.is_empty() {
                    let len = attribute.resident().map_or(0, <[u8]>::len) as u64;
                    // Windows rounds the allocated size of what is in the record up to whole attributes.
                    (self.file.allocated, self.file.size) = (len.next_multiple_of(8), len);
                }
                continue;
            };
            sparse |= is_data && attribute.flags & attribute_flag::SPARSE != 0;
            let Some(Stream::NonResident(extents)) = self.stream(attribute) else {
                self.file.state |= if is_data && attribute.name.is_empty() { state::DAMAGED } else { 0 };
                continue;
            };
            if is_data && attribute.name.is_empty() {
                (self.file.allocated, self.file.size) = (extents.total.unwrap_or(extents.allocated), extents.size);
            }
            if attribute.flags & COMPRESSED != 0 && self.facts.compressed.last() != Some(&self.head.number) {
                self.facts.compressed.push(self.head.number);
            }
            self.sizes(attribute, &extents);
            self.stream_flags(attribute);
        }
        if self.file.attributes & file_flag::SPARSE != 0 && !sparse && self.whole && !self.file.is(state::DAMAGED) {
            let finding = Finding::new(Rule::SparseFlag, "a sparse file without a sparse stream");
            self.add_to_record(finding.allowed("a sparse stream, or no such flag").part("$STANDARD_INFORMATION"));
        }
    }

    fn sizes(&mut self, attribute: &Attribute<'_>, extents: &Extents) {
        let cluster = self.context.volume.geometry.cluster;
        let Extents { allocated, size, initialized, .. } = *extents;
        let with_holes = attribute.flags & (COMPRESSED | attribute_flag::SPARSE) != 0;
        let unit_allowed = match (attribute.flags & COMPRESSED != 0, with_holes) {
            (true, _) => extents.unit == 4,
            // Windows gives sparse streams the unit of compressed ones, ntfs-3g none.
            (false, true) => matches!(extents.unit, 0 | 4),
            (false, false) => extents.unit == 0,
        };
        let held = extents.clusters().saturating_mul(cluster);
        let real = extents.real_clusters().saturating_mul(cluster);
        let unit = cluster << if unit_allowed { extents.unit } else { 0 };
        // The list of bad clusters has holes for the good ones, and is not called sparse.
        let is_bad_list = self.head.number == number::BAD_CLUSTERS && attribute.is_named("$Bad");
        let fault = if initialized > size || size > allocated {
            Some((
                format!("{initialized} bytes initialised of {size}, {allocated} allocated"),
                "each no more than the next".to_owned(),
            ))
        } else if allocated != held {
            Some((format!("{allocated} bytes allocated"), format!("{held}, what the runs cover")))
        } else if extents.total.is_some_and(|total| total != real) {
            Some((
                format!("{} bytes allocated in total", extents.total.unwrap_or(0)),
                format!("{real}, what the runs hold"),
            ))
        } else if !unit_allowed {
            Some((
                format!("a compression unit of 2^{} clusters", extents.unit),
                "2^4 for compressed streams, or none".to_owned(),
            ))
        } else if extents.has_holes() && !with_holes && !is_bad_list {
            Some(("a hole".to_owned(), "clusters for all of a stream that is neither sparse nor compressed".to_owned()))
        } else if attribute.flags & COMPRESSED != 0 && cluster > 4096 {
            Some((format!("compressed with clusters of {cluster} bytes"), "clusters up to 4096 bytes".to_owned()))
        } else {
            None
        };
        if let Some((found, allowed)) = fault {
            self.add(attribute, Finding::new(Rule::AttributeSizes, found).allowed(allowed));
        } else if !allocated.is_multiple_of(unit) {
            // ntfs-3g lets the last unit of a stream with holes end where the data does, and Windows reads it.
            let finding = Finding::new(Rule::AttributeSizes, format!("{allocated} bytes allocated"))
                .allowed(format!("a multiple of {unit}"))
                .record(u64::from(self.head.number))
                .part(attribute.part());
            self.facts.note_stale(finding);
        }
    }

    /// Flags of a stream that those of the file must say too.
    fn stream_flags(&mut self, attribute: &Attribute<'_>) {
        if self.file.is(state::DAMAGED) {
            return;
        }
        let has = |flag| self.file.attributes & flag != 0;
        let sparse = attribute.flags & attribute_flag::SPARSE != 0;
        // "Compressed" on a file says what is to become of new data, and only the main stream's flag follows it.
        let main = attribute.is(kind::DATA, "");
        let found = if sparse && !has(file_flag::SPARSE) {
            "a sparse stream of a file that is not sparse"
        } else if main && attribute.flags & COMPRESSED != 0 && !has(file_flag::COMPRESSED) {
            "a compressed stream of a file that is not compressed"
        } else {
            return;
        };
        self.add(attribute, Finding::new(Rule::SparseFlag, found).allowed("flags of the file that say so"));
    }

    fn indexes(&mut self) {
        let directory = self.of_kind(kind::INDEX_ROOT).any(|attribute| attribute.is_named("$I30"));
        let view = self.of_kind(kind::INDEX_ROOT).any(|attribute| !attribute.is_named("$I30"));
        if directory {
            self.file.state |= state::DIRECTORY;
            self.file.attributes |= name_flag::DIRECTORY;
        }
        if !self.whole {
            return;
        }
        let flags = self.head.flags;
        let mut fault = |found: String, allowed: &str| {
            let finding = Finding::new(Rule::RecordFlags, found).allowed(allowed).part("record header").at(22);
            self.context.add_in_record(self.head.number, finding);
        };
        let known = record_flag::IN_USE | record_flag::DIRECTORY | record_flag::EXTEND | record_flag::VIEW_INDEX;
        if flags & !known != 0 {
            fault(format!("flags {flags:#x}"), "1, 2, 4 and 8");
        }
        if (flags & record_flag::DIRECTORY != 0) != directory {
            fault(
                format!("flags {flags:#x}"),
                if directory { "2, as it has an index of names" } else { "not 2, without an index of names" },
            );
        }
        if (flags & record_flag::VIEW_INDEX != 0) != view {
            fault(
                format!("flags {flags:#x}"),
                if view { "8, as it has an index other than of names" } else { "not 8, without such an index" },
            );
        }
        if self.file.is(state::CASE_SENSITIVE) && !directory && !self.file.is(state::DAMAGED) {
            let finding = Finding::new(Rule::StandardInformation, "a case-sensitive file");
            let finding = finding.allowed("directories only").part("$STANDARD_INFORMATION");
            self.add_to_record(finding);
        }
        if (self.file.attributes & name_flag::VIEW_INDEX != 0) != view && !self.file.is(state::DAMAGED) {
            let found = format!("attributes {:#x}", self.file.attributes);
            let finding = Finding::new(Rule::StandardInformation, found)
                .allowed("0x20000000 for files with a view index, and no others");
            self.add_to_record(finding.part("$STANDARD_INFORMATION"));
        }
    }

    fn names(&mut self) {
        self.file.first_name = self.facts.names.len() as u32;
        let mut names = Vec::new();
        for attribute in self.attributes.iter().filter(|attribute| attribute.kind == kind::FILE_NAME) {
            let Some(value) = attribute.resident() else { continue };
            names.push(value);
            if let Some((rule, found, allowed)) = names::fault(value, self.head.number == number::ROOT) {
                self.add(attribute, Finding::new(rule, found).allowed(allowed));
            }
            let (Some(parent), Some(name)) = (u64_at(value, 0), value.get(NAME_AT..)) else { continue };
            let namespace = value.get(NAMESPACE_AT).copied().unwrap_or(0);
            let hash = hash_name(parent, namespace, name);
            self.facts.names.push(FileName { parent, hash, namespace, seen: false });
            self.note_stale(value);
        }
        self.file.names = (self.facts.names.len() as u32 - self.file.first_name) as u16;
        if !self.whole {
            return;
        }
        if usize::from(self.head.links) != names.len() {
            let finding = Finding::new(Rule::LinkCount, format!("{} links", self.head.links));
            let allowed = format!("{}, as it has names", names.len());
            self.add_to_record(finding.allowed(allowed).part("record header").at(18));
        }
        if names.is_empty() && !self.is_reserved() {
            let finding = Finding::new(Rule::FileName, "a file without a name").allowed("one at least");
            self.add_to_record(finding.part("$FILE_NAME"));
        }
        if let Some(found) = names::fault_of_pairs(&names) {
            let allowed = "one long name and its short name in one directory, or none";
            self.add_to_record(Finding::new(Rule::NamePair, found).allowed(allowed).part("$FILE_NAME"));
        }
    }

    /// Counts names whose copy of times, sizes, flags and tag is not up to date. Windows does not keep those in `$FILE_NAME` attributes up
    /// to date (only those in directories), so that it is worth no more than a note.
    fn note_stale(&mut self, value: &[u8]) {
        let Ok((header, _)) = NameHeader::read_from_prefix(value) else { return };
        let file = &self.file;
        let same = header.times.map(|time| time.get()) == file.times
            && (header.allocated.get(), header.size.get()) == (file.allocated, file.size)
            && (header.attributes.get(), header.tag.get()) == (file.attributes, file.tag);
        if !same && !file.is(state::DAMAGED) {
            let finding = Finding::new(Rule::FileName, "times, sizes, flags or tag are older than the file's");
            self.facts.note_stale(finding.record(u64::from(self.head.number)).part("$FILE_NAME"));
        }
    }

    fn reparse_point(&mut self) {
        let flagged = self.file.attributes & file_flag::REPARSE_POINT != 0;
        let Some(attribute) = self.find(kind::REPARSE_POINT).cloned() else {
            if flagged && self.whole {
                let finding = Finding::new(Rule::ReparsePoint, "a file that says it has a reparse point, without one");
                self.add_to_record(finding.allowed("$REPARSE_POINT").part("$STANDARD_INFORMATION"));
            }
            return;
        };
        if !flagged && !self.file.is(state::DAMAGED) {
            let finding = Finding::new(Rule::ReparsePoint, "a reparse point that the file's attributes do not show");
            self.add(&attribute, finding.allowed("the attribute 0x400"));
        }
        let Some(value) = self.value(kind::REPARSE_POINT, MAX_REPARSE) else {
            self.file.state |= state::DAMAGED;
            return;
        };
        if let Some((found, allowed)) = names::fault_of_reparse_data(&value) {
            self.add(&attribute, Finding::new(Rule::ReparsePoint, found).allowed(allowed));
        } else if let Some((found, allowed)) = names::fault_of_link(&value) {
            // The volume is sound, and the link leads nowhere: so it was in the image, perhaps.
            let finding = Finding::new(Rule::ReparsePoint, found).allowed(allowed);
            self.add(&attribute, finding.level(Level::Warning));
        }
        let Some(tag) = crate::base::bytes::u32_at(&value, 0) else { return };
        self.file.tag = tag;
        self.facts.reparse.push(ReparseTag { reference: self.file.reference(), tag, seen: false });
        if tag == WOF_TAG {
            self.facts.overlaid.push(self.head.number);
        }
    }

    fn extended_attributes(&mut self) {
        let (information, values) = (self.find(kind::EA_INFORMATION).cloned(), self.find(kind::EA).cloned());
        let (information, values) = match (information, values) {
            (None, None) => return,
            (Some(information), Some(values)) => (information, values),
            (one, other) => {
                if let Some(alone) = one.or(other).filter(|_| self.whole) {
                    let finding =
                        Finding::new(Rule::ExtendedAttributes, "alone").allowed("$EA_INFORMATION and $EA together");
                    self.add(&alone, finding);
                }
                return;
            }
        };
        let counted = information.resident().and_then(|value| EaInformation::read_from_bytes(value).ok());
        let Some(counted) = counted else { return };
        if self.find(kind::REPARSE_POINT).is_none() {
            self.file.tag = u32::from(counted.packed.get());
        }
        let Some(value) = self.value(kind::EA, MAX_EA + 1) else { return };
        match names::count_extended_attributes(&value) {
            Err(found) => self.add(&values, Finding::new(Rule::ExtendedAttributes, found).allowed("whole entries")),
            Ok((packed, need)) => {
                let found =
                    (u64::from(counted.packed.get()), u64::from(counted.need.get()), u64::from(counted.unpacked.get()));
                let allowed = (packed, need, value.len() as u64);
                if found != allowed {
                    let finding =
                        Finding::new(Rule::ExtendedAttributes, format!("(packed, needed, unpacked) {found:?}"));
                    self.add(&information, finding.allowed(format!("{allowed:?}, as $EA has it")));
                }
            }
        }
    }

    fn object_id(&mut self) {
        let Some(attribute) = self.find(kind::OBJECT_ID).cloned() else { return };
        let Some(value) = attribute.resident() else { return };
        let Some(id) =
            value.get(..16).and_then(|id| <[u8; 16]>::try_from(id).ok()).filter(|_| matches!(value.len(), 16 | 64))
        else {
            let finding = Finding::new(Rule::ObjectId, format!("{} bytes", value.len()));
            return self.add(&attribute, finding.allowed("16 or 64"));
        };
        let birth = value.get(16..).filter(|birth| !birth.is_empty()).map(Into::into);
        self.facts.object_ids.push(ObjectId { id, reference: self.file.reference(), birth, seen: false });
    }

    fn own_descriptor(&mut self) {
        let Some(attribute) = self.find(kind::SECURITY_DESCRIPTOR).cloned() else { return };
        self.file.state |= state::OWN_DESCRIPTOR;
        let Some(value) = self.value(kind::SECURITY_DESCRIPTOR, MAX_DESCRIPTOR) else { return };
        if let Some(found) = descriptor::fault(&value) {
            let finding =
                Finding::new(Rule::SecurityDescriptor, found).allowed("a well-formed, self-relative descriptor");
            self.add(&attribute, finding);
        }
    }

    fn keep(mut self) {
        if !self.whole {
            self.file.state |= state::DAMAGED;
        }
        let Ok(index) = u32::try_from(self.facts.files.len()) else { return };
        self.facts.slots.set(self.head.number, SlotState::File(index));
        self.facts.files.push(self.file);
    }
}

/// Tells once for each rule what is older than it should be, as Windows leaves it.
pub(super) fn tell_stale(context: &mut Context<'_>, facts: &mut Facts) {
    for (mut finding, count) in std::mem::take(&mut facts.stale) {
        if count > 1 {
            finding.found = format!("{} (and {} more like it)", finding.found, count - 1);
        }
        context.add(finding.level(Level::Note));
    }
}
