//! A volume with some of its files changed, on the layout that it has.

use std::num::NonZeroUsize;
use std::ops::Range;

use serde::Serialize;

use super::read::{Contents, Volume};
use crate::base::{Disk, Name};
use crate::error::{Error, Result};
use crate::tree::Tree;

/// A volume as it lies: what a [`Revision`] starts from. Made once, it serves any number of them.
///
/// It keeps a copy of the tree, against which edited ones are compared: an edited tree is a clone of [`Contents::tree`] with changes.
pub struct Base {
    tree: Tree,
}

/// What has to be written so that a volume holds an edited tree: settled to the last byte, with nothing written yet.
pub struct Revision {
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
    pub fn read(_volume: &Volume, contents: &Contents) -> Result<Self> {
        Ok(Self { tree: contents.tree.clone() })
    }
}

impl Revision {
    /// Settles how `tree`, a clone of the base's with changes, gets onto the volume; with another label, if one is given.
    ///
    /// # Errors
    ///
    /// As those of [`Plan::new`](super::Plan::new).
    pub fn new(base: &Base, _tree: &Tree, _label: Option<&Name>) -> Result<Self> {
        let _ = &base.tree;
        Err(Error::unsupported("changes on the layout that a volume has"))
    }

    /// The byte ranges of the volume that [`write`](Self::write) writes: sorted, apart from each other, whole sectors. Everything else
    /// stays what it is on the base.
    pub fn used(&self) -> Vec<Range<u64>> {
        Vec::new()
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
        _tree: &Tree,
        _disk: &dyn Disk,
        _threads: NonZeroUsize,
        _progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        Ok(())
    }
}
