//! What differs between two images: files with all their metadata, registry values, boot stores, disks.
//!
//! | | how it is compared |
//! |---|---|
//! | names | ignoring case, as Windows finds them; another case is a difference of its own |
//! | contents | by length, then by SHA-1: the store's own where it knows one, else the stream is read and hashed |
//! | files of several names | once, under the first of the names; a name that leads to another file than before is said |
//! | security descriptors | by what they mean: another order of the parts in memory is no difference |
//! | hives (files that begin with `regf`) | by keys and values; sequence numbers, layout and times of keys are no difference |
//! | BCD stores | by objects and elements; by keys, if that shows nothing |
//! | disks | partition table, the facts of the compared volume, boot code, boot stores on the EFI system partition |
//!
//! A renamed file is one that was removed and one that was added.
//!
//! # What is no difference
//! What one of the two sides cannot carry is not compared, and the [`Summary`] names it: a WIM has no time of the last change
//! of metadata, no sparse flag for each stream and no mark for case-sensitive directories; an image without any security
//! descriptor was made without them. Besides, of the attributes "sparse" and "reparse point" follow from the rest, and a short
//! name that is the long one in capitals is the same as none.
//!
//! # Memory and order
//! Both trees are walked side by side, sorted by name, twice: first to see which contents have to be read (each blob once, in
//! the order of its store, both sides at the same time), then to tell what differs, in the order of names. Beside the trees
//! themselves that takes 8 bytes for each node, about 60 for each blob to be read, and the links of the directories that are
//! open. Two hives are in memory at a time, each of at most [`HIVE_LIMIT`] bytes; larger ones are compared as bytes.

mod boot;
mod contents;
mod difference;
mod disk;
mod files;
mod filter;
mod hives;
mod registry;
mod walk;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

use crate::error::{Context, Kind, Result};
use crate::image::Control;
use crate::image::source::{Choice, Input};
use crate::tree::Tree;
use contents::Digests;
use files::Files;
use filter::Within;
use walk::walk;

pub use difference::{Area, Aspect, Aspects, Change, Detail, Difference, Fact, Summary};
pub use disk::DiskFacts;
pub use filter::Filter;
pub use hives::HIVE_LIMIT;

/// One of the two that are compared.
pub struct Side {
    /// What the user calls it.
    pub name: String,
    /// Its files.
    pub tree: Tree,
    /// What its format cannot carry.
    pub lacks: Aspects,
    /// The disk around it, if it is on one.
    pub disk: Option<DiskFacts>,
    /// How many things of it could not be read into the tree, so that a comparison is incomplete.
    pub lost: u64,
}

impl Side {
    /// Opens the image or volume that is meant; also gives what is odd about it, in words.
    pub fn open(input: &Input, name: &str, choice: Choice<'_>) -> Result<(Self, Vec<String>)> {
        let Input::Disk(disk) = input else {
            let source = input.source(name, choice)?;
            return Ok((Self { lost: source.lost, ..Self::of_wim(name, source.tree) }, source.warnings));
        };
        choice.refuse_image().context(|| name)?;
        let table = disk.table()?;
        let (partition, volume) = disk.volume(choice.partition)?;
        let contents = volume.read().context(|| format!("partition {}", partition.number)).context(|| name)?;
        let mut facts =
            DiskFacts::read(&disk.disk, table, partition.number, volume.facts().clone()).context(|| name)?;
        let mut warnings = contents.notes;
        warnings.extend(facts.find_stores(input, name));
        Ok((Self { lost: contents.lost, ..Self::of_volume(name, contents.tree, Some(facts)) }, warnings))
    }

    /// An image of a WIM.
    pub fn of_wim(name: impl Into<String>, tree: Tree) -> Self {
        let mut lacks = Aspects::of(&[Aspect::Changed, Aspect::Sparse, Aspect::CaseSensitivity]);
        if tree.nodes().iter().all(|node| node.descriptor.is_none()) {
            lacks.insert(Aspect::Security);
        }
        Self { name: name.into(), tree, lacks, disk: None, lost: 0 }
    }

    /// A volume, with the disk that it is on.
    pub fn of_volume(name: impl Into<String>, tree: Tree, disk: Option<DiskFacts>) -> Self {
        Self { name: name.into(), tree, lacks: Aspects::default(), disk, lost: 0 }
    }
}

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is not to be compared.
    pub ignore: Aspects,
    /// Which files are to be compared.
    pub filter: Filter,
    /// Whether times of registry keys count.
    pub key_times: bool,
}

/// Two sides of which all is known that takes long to find out.
pub struct Comparison<'s> {
    sides: [&'s Side; 2],
    filter: Within,
    key_times: bool,
    ignore: Aspects,
    digests: Digests<'s>,
}

impl<'s> Comparison<'s> {
    /// Reads the contents that have to be read. `control` shows how far it is.
    ///
    /// # Errors
    /// An interruption, a filter that names a file that neither side has, and a failure of a store that is not about a blob.
    pub fn new(a: &'s Side, b: &'s Side, options: &Options, threads: NonZeroUsize, control: &Control) -> Result<Self> {
        let filter = options.filter.within([&a.tree, &b.tree])?;
        let ignore = options.ignore.union(a.lacks).union(b.lacks);
        let digests = contents::digests([&a.tree, &b.tree], ignore, &filter, threads, control)?;
        Ok(Self { sides: [a, b], filter, key_times: options.key_times, ignore, digests })
    }

    /// Gives `report` each difference, in order: the disk's first, then the files' by name, each with what differs within it
    /// behind it. What cannot be read is reported as such ([`Change::Unknown`]) and stops nothing.
    ///
    /// # Errors
    /// Whatever `report` fails with, and an interruption.
    pub fn tell(&self, control: &Control, report: &mut dyn FnMut(&Difference) -> Result<()>) -> Result<Summary> {
        let [a, b] = self.sides;
        let mut summary = Summary { not_compared: self.ignore.names(), ..Summary::default() };
        let mut tell = |difference: Difference| {
            summary.count(&difference);
            report(&difference)
        };
        if let (Some(a), Some(b), false) = (&a.disk, &b.disk, self.ignore.contains(Aspect::Disk)) {
            disk::compare(a, b, &mut tell)?;
        }
        let mut compared = 0;
        let mut files = Files::new(self.sides, self.ignore, self.key_times, &self.digests);
        walk([&a.tree, &b.tree], &self.filter, control, &mut |met| {
            compared += 1;
            files.met(met, &mut tell)
        })?;
        let lost = (a.lost > 0 || b.lost > 0).then_some(Kind::Corrupt);
        Ok(Summary { compared, trouble: files.trouble().or(lost), ..summary })
    }
}

/// What makes a comparison incomplete: the first thing that could not be read.
type Trouble = Option<Kind>;
