//! A disk's file that is to be: its container, laid out.

use std::ops::Range;

use super::Format;
use super::host::OutputFile;
use crate::base::Disk;
use crate::error::Result;
use crate::format::vhd;

/// A container that is laid out for the parts of a disk that will be written.
pub(super) enum DiskFile {
    Vhd(vhd::Layout, vhd::Params),
    Raw(u64),
}

impl DiskFile {
    /// Lays a file out for a disk of `disk_len` bytes of which the ranges in `used` will be written. `params` are its identity, where
    /// the container has one.
    pub(super) fn new(format: Format, disk_len: u64, used: &[Range<u64>], params: vhd::Params) -> Result<Self> {
        Ok(match format {
            Format::Vhd => Self::Vhd(vhd::Layout::dynamic(disk_len, used)?, params),
            Format::VhdFixed => Self::Vhd(vhd::Layout::fixed(disk_len)?, params),
            Format::Raw => Self::Raw(disk_len),
        })
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Vhd(layout, _) => layout.file_len(),
            Self::Raw(len) => *len,
        }
    }

    /// Writes the disk through `fill`, and what the container needs around it.
    pub(super) fn write(&self, output: &OutputFile<'_>, fill: impl FnOnce(&dyn Disk) -> Result<()>) -> Result<()> {
        match self {
            Self::Vhd(layout, params) => {
                let writer = vhd::Writer::new(layout.clone(), *params, output)?;
                fill(&writer)?;
                writer.finish().map(drop)
            }
            Self::Raw(_) => fill(output),
        }
    }
}
