//! What is kept of each file while the volume is checked.

use super::context::{number_of, sequence_of};
use crate::verify::Finding;

/// A file or directory in use.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// Created, modified, record changed, accessed.
    pub(super) times: [u64; 4],
    /// Of the main stream, as entries of directories have it.
    pub(super) allocated: u64,
    pub(super) size: u64,
    pub(super) number: u32,
    /// As entries of directories have them.
    pub(super) attributes: u32,
    /// The reparse tag, or the packed length of extended attributes.
    pub(super) tag: u32,
    pub(super) security: u32,
    /// Its names are `first_name..first_name + names` of [`Facts::names`].
    pub(super) first_name: u32,
    pub(super) names: u16,
    pub(super) sequence: u16,
    /// Of the record's header.
    pub(super) record_flags: u16,
    /// See [`state`].
    pub(super) state: u8,
}
const _: () = assert!(size_of::<File>() <= 80);

/// Bits of [`File::state`].
pub(super) mod state {
    /// Something about its attributes is wrong already: what follows from them is not to be trusted.
    pub(in super::super) const DAMAGED: u8 = 1;
    /// Has a `$I30` index.
    pub(in super::super) const DIRECTORY: u8 = 2;
    /// Its index was read to the end: names that were not met are missing.
    pub(in super::super) const LISTED: u8 = 4;
    /// Names in it may differ in case only.
    pub(in super::super) const CASE_SENSITIVE: u8 = 8;
    /// Has a security descriptor of its own.
    pub(in super::super) const OWN_DESCRIPTOR: u8 = 16;
}

impl File {
    pub(super) fn is(&self, bit: u8) -> bool {
        self.state & bit != 0
    }

    pub(super) fn reference(&self) -> u64 {
        u64::from(self.sequence) << 48 | u64::from(self.number)
    }
}

/// A name of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileName {
    /// The directory's reference.
    pub(super) parent: u64,
    /// Of parent, namespace and name.
    pub(super) hash: u64,
    pub(super) namespace: u8,
    /// An entry of the directory was found for it.
    pub(super) seen: bool,
}
const _: () = assert!(size_of::<FileName>() == 24);

/// A run of clusters in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Extent {
    pub(super) lcn: u32,
    pub(super) len: u32,
    /// The record that holds the run.
    pub(super) record: u32,
}

/// A record that extends another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension {
    /// The reference to it that it holds.
    pub(super) base: u64,
    pub(super) number: u32,
    pub(super) sequence: u16,
    /// It was understood to the end.
    pub(super) whole: bool,
}

/// A base record with an attribute list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) head: super::record::Head,
    pub(super) whole: bool,
}

/// An object id of a file.
#[derive(Debug, Clone)]
pub(super) struct ObjectId {
    pub(super) id: [u8; 16],
    pub(super) reference: u64,
    /// The birth ids, where the attribute has them.
    pub(super) birth: Option<Box<[u8]>>,
    pub(super) seen: bool,
}

/// A reparse point of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReparseTag {
    pub(super) reference: u64,
    pub(super) tag: u32,
    pub(super) seen: bool,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// In the order of their numbers, once the attribute lists were checked.
    pub(super) files: Vec<File>,
    pub(super) names: Vec<FileName>,
    pub(super) extents: Vec<Extent>,
    /// In the order of their bases, once the attribute lists are checked.
    pub(super) extensions: Vec<Extension>,
    pub(super) listed: Vec<Listed>,
    pub(super) object_ids: Vec<ObjectId>,
    pub(super) reparse: Vec<ReparseTag>,
    /// Owner ids for quotas, with the first file of each.
    pub(super) owners: std::collections::BTreeMap<u32, u32>,
    /// Records of files with streams that NTFS compresses.
    pub(super) compressed: Vec<u32>,
    /// Records of files that the overlay filter compresses.
    pub(super) overlaid: Vec<u32>,
    pub(super) slots: Slots,
    /// Some record could not be read, so that it is not known which clusters, names and references it has.
    pub(super) gaps: bool,
    /// Copies of a file's information that are older than the file in the way in which Windows leaves them: the first of each rule,
    /// and how many there are.
    pub(super) stale: Vec<(Finding, usize)>,
}

impl Facts {
    /// Counts a copy that is older than its file.
    pub(super) fn note_stale(&mut self, finding: Finding) {
        match self.stale.iter_mut().find(|(first, _)| first.rule == finding.rule) {
            Some((_, count)) => *count += 1,
            None => self.stale.push((finding, 1)),
        }
    }

    /// The file in a record.
    pub(super) fn file(&self, number: u32) -> Option<&File> {
        match self.slots.get(number) {
            SlotState::File(index) => self.files.get(index as usize),
            _ => None,
        }
    }

    /// The index of the file that a reference leads to.
    pub(super) fn resolve(&self, reference: u64) -> Resolved {
        let Some(number) = number_of(reference) else { return Resolved::Missing };
        match self.slots.get(number) {
            SlotState::File(index) => match self.files.get(index as usize) {
                Some(file) if file.sequence == sequence_of(reference) => Resolved::File(index),
                Some(file) => Resolved::Stale(file.sequence),
                None => Resolved::Missing,
            },
            SlotState::Damaged => Resolved::Unknown,
            SlotState::Free => Resolved::Missing,
            SlotState::Extension => Resolved::Extension,
        }
    }

    /// The records that extend a base record.
    pub(super) fn extensions_of(&self, number: u32) -> &[Extension] {
        let of = |extension: &Extension| number_of(extension.base).unwrap_or(u32::MAX);
        let first = self.extensions.partition_point(|extension| of(extension) < number);
        let len = self.extensions[first..].partition_point(|extension| of(extension) == number);
        &self.extensions[first..first + len]
    }

    /// The names of a file.
    pub(super) fn names_of(&self, file: &File) -> &[FileName] {
        let first = file.first_name as usize;
        self.names.get(first..first + usize::from(file.names)).unwrap_or_default()
    }
}

/// Where a reference leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolved {
    /// To the file of that index.
    File(u32),
    /// To a record whose sequence number is this one by now.
    Stale(u16),
    /// To a record that is not in use.
    Missing,
    /// To a record that extends another.
    Extension,
    /// To a record that cannot be read.
    Unknown,
}

/// What is in a slot of `$MFT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    Free,
    Damaged,
    Extension,
    /// The file of that index.
    File(u32),
}

/// The states of all slots: four bytes for each, in pages that are there only where something is in use.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Option<Box<[u32; Slots::PAGE]>>>);

impl Slots {
    /// Slots in a page.
    pub(super) const PAGE: usize = 1024;
    const EXTENSION: u32 = u32::MAX;
    const DAMAGED: u32 = u32::MAX - 1;

    pub(super) fn get(&self, number: u32) -> SlotState {
        let (page, slot) = (number as usize / Self::PAGE, number as usize % Self::PAGE);
        match self.0.get(page).and_then(Option::as_ref).map_or(0, |page| page[slot]) {
            0 => SlotState::Free,
            Self::EXTENSION => SlotState::Extension,
            Self::DAMAGED => SlotState::Damaged,
            index => SlotState::File(index - 1),
        }
    }

    pub(super) fn set(&mut self, number: u32, state: SlotState) {
        let (page, slot) = (number as usize / Self::PAGE, number as usize % Self::PAGE);
        if self.0.len() <= page {
            self.0.resize_with(page + 1, || None);
        }
        let page = self.0[page].get_or_insert_with(|| Box::new([0; Self::PAGE]));
        page[slot] = match state {
            SlotState::Free => 0,
            SlotState::Damaged => Self::DAMAGED,
            SlotState::Extension => Self::EXTENSION,
            SlotState::File(index) => index + 1,
        };
    }

    /// Whether nothing is in use in the page of that slot.
    pub(super) fn is_page_free(&self, number: u32) -> bool {
        self.0.get(number as usize / Self::PAGE).is_none_or(Option::is_none)
    }
}
