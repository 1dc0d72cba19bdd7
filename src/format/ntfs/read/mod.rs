//! A volume that anyone made, read into a [`Tree`].

use std::sync::Arc;

use crate::base::{FileTime, Name, ReadAt};
use crate::error::{Error, Result};
use crate::tree::Tree;

/// A volume whose boot sector and `$MFT` have been found.
pub struct Volume {
    facts: Facts,
}

/// What a volume is, apart from what it holds: what [`Options`](super::Options) would say of it, and its state.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Bytes in a cluster.
    pub cluster_size: u32,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Where the boot sector says that the partition begins on the disk, in sectors.
    pub hidden_sectors: u64,
    /// The serial number.
    pub serial: u64,
    /// The label.
    pub label: Name,
    /// When `$Volume` was made.
    pub created: FileTime,
    /// The version of NTFS.
    pub version: (u8, u8),
    /// Whether it is marked as dirty.
    pub dirty: bool,
    /// The volume's length in bytes, its last sector (the backup of the boot sector) included.
    pub len: u64,
    /// Bytes in free clusters.
    pub free_bytes: u64,
    /// The content of `$Boot`.
    pub boot_code: Vec<u8>,
}

/// All files of a volume.
pub struct Contents {
    /// The files, still unread.
    pub tree: Tree,
    /// What the volume has that a tree does not carry, or that could not be read, in words.
    pub notes: Vec<String>,
}

impl Volume {
    /// Finds `$MFT` and reads what the volume says about itself.
    pub fn open(_volume: Arc<dyn ReadAt>) -> Result<Self> {
        Err(Error::unsupported("reading NTFS"))
    }

    /// What the volume is.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads all records into a tree whose contents are blobs of a store on this volume.
    pub fn read(&self) -> Result<Contents> {
        Err(Error::unsupported("reading NTFS"))
    }
}
