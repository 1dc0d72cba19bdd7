//! A disk's file that is to be: its container, laid out.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::host::OutputFile;
use super::seed::Seed;
use super::{Control, Format};
use crate::base::{Disk, FileTime};
use crate::error::{Error, Result};
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
    pub(super) fn derived(format: Format, seed: &Seed, created: FileTime, sector: u32) -> Result<Self> {
        let vhd = || vhd::Params { created, id: seed.guid("VHD") };
        let vhdx = || vhdx::Params {
            file_write: seed.guid("VHDX file"),
            data_write: seed.guid("VHDX data"),
            disk_id: seed.guid("VHDX disk"),
        };
        Ok(match format {
            Format::Raw => Self::Raw,
            Format::Vhd | Format::VhdFixed => Self::Vhd { fixed: format == Format::VhdFixed, params: vhd() },
            Format::Vhdx | Format::VhdxFixed => {
                Self::Vhdx { fixed: format == Format::VhdxFixed, sector, params: vhdx() }
            }
            Format::Vmdk
            | Format::VmdkStream
            | Format::Vdi
            | Format::VdiFixed
            | Format::Qcow2
            | Format::Qcow2Compressed => {
                return Err(Error::unsupported(format_args!("writing {}", format.name())));
            }
        })
    }

    /// The container.
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Raw => Format::Raw,
            Self::Vhd { fixed: false, .. } => Format::Vhd,
            Self::Vhd { fixed: true, .. } => Format::VhdFixed,
            Self::Vhdx { fixed: false, .. } => Format::Vhdx,
            Self::Vhdx { fixed: true, .. } => Format::VhdxFixed,
        }
    }
}

/// What a differencing disk says of the disk that it lies on.
pub(super) enum Parent {
    Vhd(vhd::Parent),
    Vhdx { parent: vhdx::Parent, physical_sector: u32 },
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

    /// Lays out a differencing disk of `disk_len` bytes that has the sectors in `own`; identity and parent are of one kind.
    pub(super) fn differencing(identity: Identity, disk_len: u64, own: &[Range<u64>], parent: Parent) -> Result<Self> {
        match (identity, parent) {
            (Identity::Vhd { params, .. }, Parent::Vhd(parent)) => {
                Ok(Self::Vhd(vhd::Layout::differencing(disk_len, own, parent)?, params))
            }
            (Identity::Vhdx { sector, params, .. }, Parent::Vhdx { parent, physical_sector }) => {
                let layout = vhdx::Layout::differencing(disk_len, sector, physical_sector, own, parent)?;
                Ok(Self::Vhdx(layout, params))
            }
            _ => Err(Error::invalid("a differencing disk over another kind of container")),
        }
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Raw(len) => *len,
            Self::Vhd(layout, _) => layout.file_len(),
            Self::Vhdx(layout, _) => layout.file_len(),
        }
    }

    /// Begins to write into a file that is as long as [`len`](Self::len).
    pub(super) fn open<'o, 'c>(&self, output: &'o OutputFile<'c>) -> Result<OpenDisk<'o, 'c>> {
        Ok(match self {
            Self::Raw(_) => OpenDisk::Raw(output),
            Self::Vhd(layout, params) => OpenDisk::Vhd(vhd::Writer::new(layout.clone(), *params, output)?),
            Self::Vhdx(layout, params) => OpenDisk::Vhdx(Box::new(vhdx::Writer::new(layout.clone(), *params, output)?)),
        })
    }

    /// Writes the disk through `fill`, and what the container needs around it.
    pub(super) fn write(&self, output: &OutputFile<'_>, fill: impl FnOnce(&dyn Disk) -> Result<()>) -> Result<()> {
        let disk = self.open(output)?;
        fill(disk.disk())?;
        disk.finish()
    }

    /// Makes the container of a finished disk, from its start to its end, where it is one that can be made in no other way: then
    /// what was written so far is the disk's sectors only.
    pub(super) fn pack<'c>(
        &self,
        written: OutputFile<'c>,
        _threads: NonZeroUsize,
        _control: &'c Control,
    ) -> Result<OutputFile<'c>> {
        match self {
            Self::Raw(_) | Self::Vhd(..) | Self::Vhdx(..) => Ok(written),
        }
    }
}

/// A disk that is being written.
pub(super) enum OpenDisk<'o, 'c> {
    Raw(&'o OutputFile<'c>),
    Vhd(vhd::Writer<&'o OutputFile<'c>>),
    Vhdx(Box<vhdx::Writer<&'o OutputFile<'c>>>),
}

impl OpenDisk<'_, '_> {
    /// The sectors.
    pub(super) fn disk(&self) -> &dyn Disk {
        match self {
            Self::Raw(file) => *file,
            Self::Vhd(writer) => writer,
            Self::Vhdx(writer) => &**writer,
        }
    }

    /// Writes what the container needs around them.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Raw(_) => Ok(()),
            Self::Vhd(writer) => writer.finish().map(drop),
            Self::Vhdx(writer) => writer.finish().map(drop),
        }
    }
}
