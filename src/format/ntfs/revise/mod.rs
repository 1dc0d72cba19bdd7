//! A volume with some of its files changed, on the layout that it has: what a differencing disk over it has to hold.
//!
//! ```text
//! Base (records, free clusters, a tree) + edited tree --changes--> files to be revised --planner--> pieces of metadata, contents --write--> Disk
//! ```
//!
//! | | what becomes of it |
//! |---|---|
//! | a file that is as it was | nothing: not a byte of its record, its contents and its directory is written |
//! | a file that changed | keeps record, sequence number and all attributes that the tree does not speak of; its record is made anew |
//! | a stream that changed | lies in the clusters that it had, cut or extended; compressed, sparse and encrypted ones are kept as long as they do not change, and become plain ones then |
//! | a file that is new | takes the first free record, or one that `$MFT` gets; small contents are in the record, others in free clusters, together where that is possible |
//! | a file that goes | its records are marked as free, with the next sequence number; its clusters are free for what is new |
//! | a directory | entries are put in, taken out and replaced in its blocks, as in any B+tree |
//! | `$Secure` | new descriptors stand behind those that are there; those that nobody has any more stay |
//! | `$Extend` | `$ObjId:$O` and `$Reparse:$R` follow the files; `$Quota`, `$UsnJrnl` and the rest stay as they are |
//! | `$LogFile` | is emptied, if anything changes and if there is anything in it |
//! | `$Volume` | keeps its state; a label can be given |
//!
//! All of that holds for volumes that anyone made, with these limits: blocks of indexes have 4096 bytes; an index, or `$SDS`, that is to be
//! changed is not longer than 256 MiB; and a `$MFT` that is in so many pieces that record 0 does not hold them cannot grow.
//!
//! Entries of `$MFT` itself in the root directory are not brought up to date when it grows, as Windows does not do it either.
//!
//! # What it costs
//!
//! A [`Base`] has the tree once more, 8 bytes for each file, `$MFT:$BITMAP`, and 16 bytes for each stretch of free clusters (the first
//! 2^20 of them are known). A [`Revision`] has the records and index blocks that it writes in memory, and the indexes that it changes one at
//! a time. Small blobs of new files are read while planning, since they become part of records.

mod btree;
mod changes;
mod draft;
mod node;
mod planner;
mod secure;
mod space;
mod write;

use std::num::NonZeroUsize;
use std::ops::Range;

use serde::Serialize;

use self::planner::Planner;
use self::space::{Numbers, Space};
use self::write::Output;
use super::read::raw::{Outside, Records};
use super::read::{Contents, Volume};
use crate::base::{Disk, Name};
use crate::error::{Context, Error, Result};
use crate::tree::Tree;

/// The longest label.
const MAX_LABEL: usize = 32;

/// A volume as it lies: what a [`Revision`] starts from. Made once, it serves any number of them.
///
/// It keeps a copy of the tree, against which edited ones are compared: an edited tree is a clone of [`Contents::tree`] with changes.
pub struct Base {
    records: Records,
    tree: Tree,
    /// The reference of each node's base record.
    references: Vec<u64>,
    space: Space,
    numbers: Numbers,
    /// `$Bitmap`
    bitmap: Outside,
    /// `$LogFile`
    journal: Outside,
    is_journal_empty: bool,
    /// What is in `$Extend`, with its records.
    extend: Vec<(Name, u32)>,
}

/// What has to be written so that a volume holds an edited tree: settled to the last byte, with nothing written yet.
pub struct Revision {
    volume_len: u64,
    output: Output,
    summary: Summary,
}

/// What a [`Revision`] comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files and directories that are new.
    pub added: u64,
    /// Those of which anything changes: contents, names, or metadata.
    pub changed: u64,
    /// Those that are gone.
    pub removed: u64,
    /// Bytes of contents that are written.
    pub data_bytes: u64,
    /// Bytes of everything else that is written.
    pub metadata_bytes: u64,
    /// Bytes of free clusters afterwards.
    pub free_bytes: u64,
    /// What the tree says of changed files that the volume will not carry.
    pub losses: Vec<String>,
}

impl Base {
    /// Takes what there is to know about the volume that `contents` was read from, before its tree is edited.
    ///
    /// # Errors
    ///
    /// A volume of which something could not be read is refused.
    pub fn read(volume: &Volume, contents: &Contents) -> Result<Self> {
        if contents.lost > 0 {
            let first = contents.notes.first().map_or("", String::as_str);
            return Err(
                Error::corrupt("a volume that cannot be read in full cannot be changed in its place").found(first)
            );
        }
        let records = Records::of(volume);
        let parts = planner::read_base(&records)?;
        Ok(Self {
            extend: secure::read_extend(&records).context(|| "$Extend")?,
            records,
            tree: contents.tree.clone(),
            references: contents.references.clone(),
            space: parts.space,
            numbers: parts.numbers,
            bitmap: parts.bitmap,
            journal: parts.journal,
            is_journal_empty: parts.is_journal_empty,
        })
    }
}

impl Revision {
    /// Settles how `tree`, a clone of the base's with changes, gets onto the volume; with another label, if one is given.
    ///
    /// # Errors
    ///
    /// As those of [`Plan::new`](super::Plan::new).
    pub fn new(base: &Base, tree: &Tree, label: Option<&Name>) -> Result<Self> {
        if tree.nodes().len() < base.tree.nodes().len() || tree.stores().len() < base.tree.stores().len() {
            return Err(Error::invalid("a tree that was not made from the base's"));
        }
        if let Some(label) = label.filter(|label| label.len() > MAX_LABEL) {
            return Err(Error::invalid("length of the volume label")
                .found(label.len())
                .allowed(format_args!("at most {MAX_LABEL} UTF-16 units")));
        }
        let (output, summary) = Planner::new(base, tree).run(label)?;
        Ok(Self { volume_len: base.records.len(), output, summary })
    }

    /// The byte ranges of the volume that [`write`](Self::write) writes: sorted, apart from each other, whole sectors. Everything else
    /// stays what it is on the base.
    pub fn used(&self) -> Vec<Range<u64>> {
        self.output.used()
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes what changes to `disk`, which is the partition, and nothing else.
    ///
    /// Contents of the base are read on the way: `disk` must not be the base itself, but a copy, or something that lies over it.
    ///
    /// # Errors
    ///
    /// Those of the disk and of the tree's stores.
    pub fn write(
        &self,
        tree: &Tree,
        disk: &dyn Disk,
        threads: NonZeroUsize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        if disk.len() < self.volume_len {
            return Err(Error::no_space("partition for the NTFS volume", self.volume_len, disk.len()));
        }
        self.output.write(tree, disk, threads, progress)
    }
}
