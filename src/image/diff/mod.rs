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
//! | disks | partition table, the facts of the compared volume, boot code |
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

use std::num::NonZeroUsize;

use crate::error::{Error, Kind, Result};
use crate::image::Control;
use crate::tree::Tree;

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
}

impl Side {
    /// An image of a WIM.
    pub fn of_wim(name: impl Into<String>, tree: Tree) -> Self {
        let lacks = Aspects::of(&[Aspect::Changed, Aspect::Sparse, Aspect::CaseSensitivity]);
        Self::new(name.into(), tree, lacks, None)
    }

    /// A volume, with the disk that it is on.
    pub fn of_volume(name: impl Into<String>, tree: Tree, disk: Option<DiskFacts>) -> Self {
        Self::new(name.into(), tree, Aspects::default(), disk)
    }

    fn new(name: String, tree: Tree, mut lacks: Aspects, disk: Option<DiskFacts>) -> Self {
        if tree.nodes().iter().all(|node| node.descriptor.is_none()) {
            lacks.insert(Aspect::Security);
        }
        Self { name, tree, lacks, disk }
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

/// Compares two images; `report` gets each difference, in order: the disk's first, then the files' by name, each with what
/// differs within it behind it.
///
/// What cannot be read is reported as such ([`Change::Unknown`]) and stops nothing.
///
/// # Errors
/// Whatever `report` fails with, an interruption, a filter that names a file that neither side has, and a failure of the host.
pub fn compare(
    a: &Side,
    b: &Side,
    options: &Options,
    threads: NonZeroUsize,
    control: &Control,
    report: &mut dyn FnMut(&Difference) -> Result<()>,
) -> Result<Summary> {
    if let Some(path) = options.filter.only_paths().find(|path| a.tree.find(path).or(b.tree.find(path)).is_none()) {
        return Err(Error::invalid("neither of the two has such a file").found(path));
    }
    let lacking = a.lacks.union(b.lacks);
    let ignore = options.ignore.union(lacking);
    let mut summary = Summary { not_compared: ignore.names(), ..Summary::default() };
    let mut tell = |difference: Difference| {
        summary.count(&difference);
        report(&difference)
    };
    if let (Some(a), Some(b), false) = (&a.disk, &b.disk, ignore.contains(Aspect::Disk)) {
        disk::compare(a, b, &mut tell)?;
    }
    let digests = contents::digests([&a.tree, &b.tree], ignore, &options.filter, threads, control)?;
    let mut files = files::Files::new([a, b], ignore, options.key_times, &digests);
    walk::walk([&a.tree, &b.tree], &options.filter, control, &mut |met| files.met(met, &mut tell))?;
    let trouble = files.trouble();
    summary.trouble = trouble;
    Ok(summary)
}

/// What makes a comparison incomplete: the first thing that could not be read.
type Trouble = Option<Kind>;
