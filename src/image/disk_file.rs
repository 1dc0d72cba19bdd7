//! A disk's file that is to be: its container, laid out.

use std::num::NonZeroUsize;
use std::ops::Range;

use uuid::Uuid;

use super::host::{OutputFile, OutputStream};
use super::seed::Seed;
use super::{Control, Format};
use crate::base::{Disk, FileTime, ReadAt};
use crate::error::{Error, Result};
use crate::format::{qcow2, vdi, vhd, vhdx, vmdk};

/// Which container, and the identity that a disk has in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Identity {
    Raw,
    Vhd { fixed: bool, params: vhd::Params },
    Vhdx { fixed: bool, sector: u32, params: vhdx::Params },
    Vmdk { stream: bool, id: Uuid, adapter: vmdk::Adapter },
    Vdi { fixed: bool, params: vdi::Params },
    Qcow2 { compressed: bool },
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
            // What VMware's machines for Windows have; VirtualBox does not look.
            Format::Vmdk | Format::VmdkStream => Self::Vmdk {
                stream: format == Format::VmdkStream,
                id: seed.guid("VMDK"),
                adapter: vmdk::Adapter::LsiLogic,
            },
            Format::Vdi | Format::VdiFixed => Self::Vdi {
                fixed: format == Format::VdiFixed,
                params: vdi::Params { id: seed.guid("VDI"), modification: seed.guid("VDI data") },
            },
            Format::Qcow2 | Format::Qcow2Compressed => Self::Qcow2 { compressed: format == Format::Qcow2Compressed },
        }
    }

    /// The container.
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Raw => Format::Raw,
            Self::Vhd { fixed: false, .. } => Format::Vhd,
            Self::Vhd { fixed: true, .. } => Format::VhdFixed,
            Self::Vhdx { fixed: false, .. } => Format::Vhdx,
            Self::Vhdx { fixed: true, .. } => Format::VhdxFixed,
            Self::Vmdk { stream: false, .. } => Format::Vmdk,
            Self::Vmdk { stream: true, .. } => Format::VmdkStream,
            Self::Vdi { fixed: false, .. } => Format::Vdi,
            Self::Vdi { fixed: true, .. } => Format::VdiFixed,
            Self::Qcow2 { compressed: false } => Format::Qcow2,
            Self::Qcow2 { compressed: true } => Format::Qcow2Compressed,
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
    Vmdk(vmdk::Layout, Uuid, vmdk::Adapter),
    VmdkStream { disk_len: u64, used: Vec<Range<u64>>, id: Uuid, adapter: vmdk::Adapter },
    Vdi(vdi::Layout, vdi::Params),
    Qcow2(qcow2::Layout),
    Qcow2Compressed { disk_len: u64, used: Vec<Range<u64>> },
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
            Identity::Vmdk { stream: false, id, adapter } => {
                Self::Vmdk(vmdk::Layout::sparse(disk_len, used)?, id, adapter)
            }
            Identity::Vmdk { stream: true, id, adapter } => {
                Self::VmdkStream { disk_len, used: joined(used), id, adapter }
            }
            Identity::Vdi { fixed: false, params } => Self::Vdi(vdi::Layout::dynamic(disk_len, used)?, params),
            Identity::Vdi { fixed: true, params } => Self::Vdi(vdi::Layout::fixed(disk_len)?, params),
            Identity::Qcow2 { compressed: false } => Self::Qcow2(qcow2::Layout::new(disk_len, used)?),
            Identity::Qcow2 { compressed: true } => Self::Qcow2Compressed { disk_len, used: joined(used) },
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

    /// The length of the file; of one that is packed, that of the disk.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Raw(len) => *len,
            Self::Vhd(layout, _) => layout.file_len(),
            Self::Vhdx(layout, _) => layout.file_len(),
            Self::Vmdk(layout, ..) => layout.file_len(),
            Self::Vdi(layout, _) => layout.file_len(),
            Self::Qcow2(layout) => layout.file_len(),
            Self::VmdkStream { disk_len, .. } | Self::Qcow2Compressed { disk_len, .. } => *disk_len,
        }
    }

    /// Whether [`pack`](Self::pack) makes another file of what is written.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Self::VmdkStream { .. } | Self::Qcow2Compressed { .. })
    }

    /// Begins to write into a file that is as long as [`len`](Self::len).
    pub(super) fn open<'o, 'c>(&self, output: &'o OutputFile<'c>) -> Result<OpenDisk<'o, 'c>> {
        Ok(match self {
            Self::Raw(_) | Self::VmdkStream { .. } | Self::Qcow2Compressed { .. } => OpenDisk::Raw(output),
            Self::Vhd(layout, params) => OpenDisk::Vhd(vhd::Writer::new(layout.clone(), *params, output)?),
            Self::Vhdx(layout, params) => OpenDisk::Vhdx(Box::new(vhdx::Writer::new(layout.clone(), *params, output)?)),
            Self::Vmdk(layout, id, adapter) => {
                let params = vmdk::Params { id: *id, adapter: *adapter, name: output.name() };
                OpenDisk::Vmdk(vmdk::Writer::new(layout.clone(), &params, output)?)
            }
            Self::Vdi(layout, params) => OpenDisk::Vdi(vdi::Writer::new(layout.clone(), *params, output)?),
            Self::Qcow2(layout) => OpenDisk::Qcow2(qcow2::Writer::new(layout.clone(), output)?),
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
        threads: NonZeroUsize,
        control: &'c Control,
    ) -> Result<OutputFile<'c>> {
        match self {
            Self::Raw(_) | Self::Vhd(..) | Self::Vhdx(..) | Self::Vmdk(..) | Self::Vdi(..) | Self::Qcow2(_) => {
                Ok(written)
            }
            Self::VmdkStream { used, .. } | Self::Qcow2Compressed { used, .. } => {
                let disk = Known { disk: &written.reader()?, used };
                self.pack_disk(&disk, written.successor(control)?, threads, control)
            }
        }
    }

    /// Makes such a container of a disk that can be read.
    pub(super) fn pack_disk<'c>(
        &self,
        disk: &dyn ReadAt,
        mut output: OutputStream<'c>,
        threads: NonZeroUsize,
        control: &'c Control,
    ) -> Result<OutputFile<'c>> {
        let mut progress = |done, total| {
            control.at(done, total);
            control.check()
        };
        let written = match self {
            Self::VmdkStream { id, adapter, .. } => {
                let params = vmdk::Params { id: *id, adapter: *adapter, name: output.name() };
                vmdk::write_stream(disk, &params, threads, &mut output, &mut progress)
            }
            Self::Qcow2Compressed { .. } => qcow2::write_compressed(disk, threads, &mut output, &mut progress),
            Self::Raw(_) | Self::Vhd(..) | Self::Vhdx(..) | Self::Vmdk(..) | Self::Vdi(..) | Self::Qcow2(_) => {
                Err(Error::invalid("a container that is not packed"))
            }
        };
        // A write that was interrupted is told as an error of the host.
        written.map_err(|error| control.check().err().unwrap_or(error))?;
        output.finish()
    }
}

/// A disk that is being written.
pub(super) enum OpenDisk<'o, 'c> {
    Raw(&'o OutputFile<'c>),
    Vhd(vhd::Writer<&'o OutputFile<'c>>),
    Vhdx(Box<vhdx::Writer<&'o OutputFile<'c>>>),
    Vmdk(vmdk::Writer<&'o OutputFile<'c>>),
    Vdi(vdi::Writer<&'o OutputFile<'c>>),
    Qcow2(qcow2::Writer<&'o OutputFile<'c>>),
}

impl OpenDisk<'_, '_> {
    /// The sectors.
    pub(super) fn disk(&self) -> &dyn Disk {
        match self {
            Self::Raw(file) => *file,
            Self::Vhd(writer) => writer,
            Self::Vhdx(writer) => &**writer,
            Self::Vmdk(writer) => writer,
            Self::Vdi(writer) => writer,
            Self::Qcow2(writer) => writer,
        }
    }

    /// Writes what the container needs around them.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Raw(_) => Ok(()),
            Self::Vhd(writer) => writer.finish().map(drop),
            Self::Vhdx(writer) => writer.finish().map(drop),
            Self::Vmdk(writer) => writer.finish().map(drop),
            Self::Vdi(writer) => writer.finish().map(drop),
            Self::Qcow2(writer) => writer.finish().map(drop),
        }
    }
}

/// Ranges in order, those that touch joined.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// A disk of which it is known what was written to it, in order.
struct Known<'d> {
    disk: &'d dyn ReadAt,
    used: &'d [Range<u64>],
}

impl ReadAt for Known<'_> {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(at, buf)
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        let next = self.used.get(self.used.partition_point(|range| range.end <= at));
        Ok(next.map(|range| range.start.max(at)..range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_disk_is_in_order() {
        let used = joined(&[10..20, 0..0, 30..40, 18..25, 40..41]);
        let disk = vec![0u8; 50];
        let known = Known { disk: &disk, used: &used };
        let next = |at| known.next_data(at).unwrap();
        assert_eq!((next(0), next(12), next(25)), (Some(10..25), Some(12..25), Some(30..41)));
        assert_eq!((next(40), next(41)), (Some(40..41), None));
    }
}
