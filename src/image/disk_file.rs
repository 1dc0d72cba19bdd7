//! A disk's file that is to be: its container, laid out.

use std::ops::Range;

use super::Format;
use super::host::OutputFile;
use super::seed::Seed;
use crate::base::{Disk, FileTime};
use crate::error::Result;
use crate::format::{vhd, vhdx};

/// Which container, and the identity that a disk has in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Identity {
    Raw,
    Vhd { fixed: bool, params: vhd::Params },
    Vhdx { fixed: bool, sector: u32, params: vhdx::Params },
}

impl Identity {
    /// A fresh identity in a container, all ids from a seed; a VHDX has logical sectors of `sector` bytes.
    pub(super) fn derived(format: Format, seed: &Seed, created: FileTime, sector: u32) -> Self {
        let vhd = || vhd::Params { created, id: seed.guid("VHD") };
        let vhdx = || vhdx::Params {
            file_write: seed.guid("VHDX file"),
            data_write: seed.guid("VHDX data"),
            disk_id: seed.guid("VHDX disk"),
        };
        match format {
            Format::Raw => Self::Raw,
            Format::Vhd | Format::VhdFixed => Self::Vhd { fixed: format == Format::VhdFixed, params: vhd() },
            Format::Vhdx | Format::VhdxFixed => {
                Self::Vhdx { fixed: format == Format::VhdxFixed, sector, params: vhdx() }
            }
        }
    }

    /// The container's name, as `--format` has it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Vhd { fixed: false, .. } => "vhd",
            Self::Vhd { fixed: true, .. } => "vhd-fixed",
            Self::Vhdx { fixed: false, .. } => "vhdx",
            Self::Vhdx { fixed: true, .. } => "vhdx-fixed",
        }
    }
}

/// A container that is laid out for the parts of a disk that will be written.
pub(super) enum DiskFile {
    Raw(u64),
    Vhd(vhd::Layout, vhd::Params),
    Vhdx(vhdx::Layout, vhdx::Params),
}

impl DiskFile {
    /// Lays a file out for a disk of `disk_len` bytes of which the ranges in `used` will be written.
    pub(super) fn new(identity: Identity, disk_len: u64, used: &[Range<u64>]) -> Result<Self> {
        Ok(match identity {
            Identity::Raw => Self::Raw(disk_len),
            Identity::Vhd { fixed: false, params } => Self::Vhd(vhd::Layout::dynamic(disk_len, used)?, params),
            Identity::Vhd { fixed: true, params } => Self::Vhd(vhd::Layout::fixed(disk_len)?, params),
            Identity::Vhdx { fixed: false, sector, params } => {
                Self::Vhdx(vhdx::Layout::dynamic(disk_len, sector, used)?, params)
            }
            Identity::Vhdx { fixed: true, sector, params } => {
                Self::Vhdx(vhdx::Layout::fixed(disk_len, sector)?, params)
            }
        })
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Raw(len) => *len,
            Self::Vhd(layout, _) => layout.file_len(),
            Self::Vhdx(layout, _) => layout.file_len(),
        }
    }

    /// Writes the disk through `fill`, and what the container needs around it.
    pub(super) fn write(&self, output: &OutputFile<'_>, fill: impl FnOnce(&dyn Disk) -> Result<()>) -> Result<()> {
        match self {
            Self::Raw(_) => fill(output),
            Self::Vhd(layout, params) => {
                let writer = vhd::Writer::new(layout.clone(), *params, output)?;
                fill(&writer)?;
                writer.finish().map(drop)
            }
            Self::Vhdx(layout, params) => {
                let writer = vhdx::Writer::new(layout.clone(), *params, output)?;
                fill(&writer)?;
                writer.finish().map(drop)
            }
        }
    }
}
