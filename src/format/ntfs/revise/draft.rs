//! A file that is being changed: its attributes, and how they are dealt out to its records.

use super::btree::Values;
use crate::base::upcase;
use crate::error::{Error, Result};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    FileName, ListEntry, NonResidentHeader, ResidentHeader, attribute_flag, kind, namespace, value_offset,
};
use crate::format::ntfs::plan::attributes::list_entry_len;
use crate::format::ntfs::read::raw::{Attribute, File, Outside, Run, Value};
use crate::format::ntfs::runs;

use zerocopy::FromBytes;

/// Flags of streams that have holes, and say how many clusters they have without them.
const HOLES: u16 = attribute_flag::COMPRESSION | attribute_flag::SPARSE;

/// A file that is being changed.
pub(super) struct Draft {
    pub(super) file: File,
    /// As it lies on the base, if it does.
    pub(super) before: Option<File>,
}

/// A name that a file says it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnName {
    /// The reference of the directory.
    pub(super) parent: u64,
    pub(super) namespace: u8,
    pub(super) name: Vec<u16>,
}

impl Draft {
    /// One of a file that is on the base.
    pub(super) fn of(file: File) -> Self {
        Self { before: Some(file.clone()), file }
    }

    pub(super) fn find(&self, kind: u32, name: &[u16]) -> Option<&Attribute> {
        self.file.attributes.iter().find(|attribute| attribute.kind == kind && attribute.name == name)
    }

    pub(super) fn find_mut(&mut self, kind: u32, name: &[u16]) -> Option<&mut Attribute> {
        self.file.attributes.iter_mut().find(|attribute| attribute.kind == kind && attribute.name == name)
    }

    /// The value of an attribute that is always in the record.
    pub(super) fn resident(&self, kind: u32, name: &[u16]) -> Option<&[u8]> {
        match &self.find(kind, name)?.value {
            Value::Resident(bytes) => Some(bytes),
            Value::Outside(_) => None,
        }
    }

    /// Gives an attribute a value, be it there already or not.
    pub(super) fn put(&mut self, kind: u32, name: &[u16], flags: u16, value: Value) {
        match self.find_mut(kind, name) {
            Some(attribute) => (attribute.flags, attribute.value) = (flags, value),
            None => self.add(kind, name, flags, value),
        }
    }

    /// Adds an attribute.
    pub(super) fn add(&mut self, kind: u32, name: &[u16], flags: u16, value: Value) {
        self.file.attributes.push(Attribute { kind, name: name.to_vec(), flags, instance: None, value });
    }

    /// Takes an attribute away, and gives it.
    pub(super) fn take(&mut self, kind: u32, name: &[u16]) -> Option<Attribute> {
        let place = self.file.attributes.iter().position(|one| one.kind == kind && one.name == name)?;
        Some(self.file.attributes.remove(place))
    }

    /// All names that the file says it has.
    pub(super) fn names(&self) -> Result<Vec<OwnName>> {
        let values = self.file.attributes.iter().filter(|attribute| attribute.kind == kind::FILE_NAME);
        values.map(|attribute| own_name(attribute).ok_or_else(|| Error::corrupt("$FILE_NAME"))).collect()
    }

    /// The values of an index of the file, but for what is outside of the record.
    pub(super) fn root(&self, name: &[u16]) -> Result<Values> {
        let root = self.resident(kind::INDEX_ROOT, name);
        let root = root.ok_or_else(|| Error::corrupt("a directory or view without $INDEX_ROOT"))?;
        Ok(Values { root: root.to_vec(), blocks: None })
    }

    /// Puts the attributes in their order. Those of one type and name stay in theirs.
    pub(super) fn sort(&mut self) {
        self.file.attributes.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| upcase::compare(&a.name, &b.name)));
    }
}

fn own_name(attribute: &Attribute) -> Option<OwnName> {
    let Value::Resident(bytes) = &attribute.value else { return None };
    let (head, units) = FileName::read_from_prefix(bytes).ok()?;
    let units = units.get(..2 * usize::from(head.name_len))?;
    let name = units.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    (head.namespace <= namespace::WIN32_AND_DOS).then_some(OwnName {
        parent: head.parent.get(),
        namespace: head.namespace,
        name,
    })
}

/// The mapping pairs of runs.
pub(super) fn mapping_pairs(runs: &[Run]) -> Vec<u8> {
    let mut pairs = Vec::with_capacity(8 * runs.len() + 1);
    let mut last = 0i64;
    for run in runs {
        let delta = run.lcn.map(|lcn| lcn as i64 - last);
        last = run.lcn.map_or(last, |lcn| lcn as i64);
        runs::push(&mut pairs, run.clusters, delta);
    }
    pairs.push(0);
    pairs
}

/// A part of an attribute that stands in one record: all of a resident one, or a segment of a stream.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Which of the attributes.
    pub(super) attribute: usize,
    pub(super) lowest_vcn: u64,
    /// Of a segment.
    pub(super) clusters: u64,
    /// Of a segment.
    pub(super) pairs: Vec<u8>,
    /// What it takes in its record.
    pub(super) len: usize,
    /// Which of the file's records holds it; 0 is the base record.
    pub(super) holder: usize,
    /// Its number there.
    pub(super) instance: u16,
}

/// Whether the header has the field for the clusters without holes.
pub(super) fn has_total(flags: u16) -> bool {
    flags & HOLES != 0
}

/// The parts of an attribute, in their order, none of them much longer than `most` bytes.
pub(super) fn parts(attribute: &Attribute, index: usize, most: usize) -> Vec<Part> {
    let part = |lowest_vcn, clusters, pairs: Vec<u8>, header: usize, value: usize| {
        let len = (value_offset(header, attribute.name.len()) + value).next_multiple_of(8);
        Part { attribute: index, lowest_vcn, clusters, pairs, len, holder: 0, instance: 0 }
    };
    let outside = match &attribute.value {
        Value::Resident(bytes) => return vec![part(0, 0, Vec::new(), size_of::<ResidentHeader>(), bytes.len())],
        Value::Outside(outside) => outside,
    };
    let mut parts = Vec::new();
    let mut lowest = 0;
    let mut rest = outside.runs.as_slice();
    loop {
        let fitting = fitting(rest, most);
        let (runs, behind) = rest.split_at(fitting);
        let pairs = mapping_pairs(runs);
        let total = if lowest == 0 && has_total(attribute.flags) { 8 } else { 0 };
        let clusters = runs.iter().map(|run| run.clusters).sum::<u64>();
        let len = pairs.len();
        parts.push(part(lowest, clusters, pairs, size_of::<NonResidentHeader>() + total, len));
        lowest += clusters;
        rest = behind;
        if rest.is_empty() {
            return parts;
        }
    }
}

/// How many runs go into so many bytes of mapping pairs; at least one, if there is any.
fn fitting(runs: &[Run], most: usize) -> usize {
    /// A byte, a length and a place of eight bytes each.
    const LONGEST: usize = 17;
    if runs.len() * LONGEST < most {
        return runs.len();
    }
    let (mut pairs, mut last) = (Vec::new(), 0i64);
    for (index, run) in runs.iter().enumerate() {
        runs::push(&mut pairs, run.clusters, run.lcn.map(|lcn| lcn as i64 - last));
        last = run.lcn.map_or(last, |lcn| lcn as i64);
        if pairs.len() >= most {
            return index.max(1);
        }
    }
    runs.len()
}

/// Whether a value may lie outside of the record.
pub(super) fn may_leave(attribute: &Attribute) -> bool {
    let kinds = [kind::DATA, kind::REPARSE_POINT, kind::EA, kind::BITMAP];
    matches!(attribute.value, Value::Resident(_)) && kinds.contains(&attribute.kind)
}

/// Whether an attribute has to be in the base record.
fn stays(attribute: &Attribute) -> bool {
    matches!(attribute.kind, kind::STANDARD_INFORMATION | kind::ATTRIBUTE_LIST | kind::INDEX_ROOT)
}

/// Length of the list of these parts.
pub(super) fn list_len(attributes: &[Attribute], parts: &[Part]) -> u64 {
    parts.iter().map(|part| list_entry_len(attributes[part.attribute].name.len()) as u64).sum()
}

/// Deals parts out to records of so many bytes, of which the first has `used` bytes taken, and gives the number of records.
///
/// The main stream comes first, so that simple readers (boot code) find it without the list.
pub(super) fn deal(attributes: &[Attribute], parts: &mut [Part], used: usize, capacity: usize) -> usize {
    let base: usize = parts.iter().filter(|part| stays(&attributes[part.attribute])).map(|part| part.len).sum();
    let mut used = vec![used + base];
    let is_main = |part: &Part| {
        let attribute = &attributes[part.attribute];
        attribute.kind == kind::DATA && attribute.name.is_empty() && part.lowest_vcn == 0
    };
    for pass in [true, false] {
        for part in parts.iter_mut().filter(|part| !stays(&attributes[part.attribute]) && is_main(part) == pass) {
            let last = used.len() - 1;
            part.holder = if used[0] + part.len <= capacity {
                0
            } else if last > 0 && used[last] + part.len <= capacity {
                last
            } else {
                used.push(0);
                last + 1
            };
            used[part.holder] += part.len;
        }
    }
    used.len()
}

/// Numbers the parts: those of a file of one record keep the numbers that they have.
pub(super) fn number(attributes: &[Attribute], parts: &mut [Part], records: usize) -> Result<()> {
    let known = |part: &Part| attributes[part.attribute].instance.filter(|_| records == 1);
    let first = parts.iter().filter_map(known).max().map_or(0, |last| u32::from(last) + 1);
    let is_worn_out = first as usize + parts.len() >= usize::from(u16::MAX);
    let mut next = vec![if is_worn_out { 0 } else { first }; records];
    for part in parts.iter_mut() {
        let number = match known(part).filter(|_| !is_worn_out) {
            Some(number) => u32::from(number),
            None => {
                next[part.holder] += 1;
                next[part.holder] - 1
            }
        };
        part.instance =
            u16::try_from(number).map_err(|_| Error::unsupported("a file with more than 65535 attributes"))?;
    }
    Ok(())
}

/// The value of `$ATTRIBUTE_LIST`; `holders` are the references of the file's records.
pub(super) fn list(attributes: &[Attribute], parts: &[Part], holders: &[u64]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let mut list = Vec::new();
    for part in parts {
        let attribute = &attributes[part.attribute];
        let len = list_entry_len(attribute.name.len());
        let entry = ListEntry {
            kind: attribute.kind.into(),
            len: (len as u16).into(),
            name_len: attribute.name.len() as u8,
            name_offset: size_of::<ListEntry>() as u8,
            lowest_vcn: part.lowest_vcn.into(),
            holder: holders[part.holder].into(),
            instance: part.instance.into(),
        };
        let end = list.len() + len;
        list.extend_from_slice(entry.as_bytes());
        list.extend(attribute.name.iter().flat_map(|unit| unit.to_le_bytes()));
        list.resize(end, 0);
    }
    list
}

/// What directories say about the length of the main stream: what is allocated, and the length itself.
pub(super) fn main_sizes(draft: &Draft, geometry: &Geometry) -> (u64, u64) {
    match draft.find(kind::DATA, &[]).map(|main| (main.flags, &main.value)) {
        None => (0, 0),
        Some((_, Value::Resident(bytes))) => ((bytes.len() as u64).next_multiple_of(8), bytes.len() as u64),
        Some((flags, Value::Outside(outside))) => (geometry.bytes(allocated(flags, outside)), outside.size),
    }
}

fn allocated(flags: u16, outside: &Outside) -> u64 {
    if has_total(flags) { outside.allocated() } else { outside.clusters() }
}
