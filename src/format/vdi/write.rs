//! A VDI file, written as the disk that it holds.

use uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, Geometry};
use super::plan::{BLOCK, Layout, MAP_AT};
use crate::base::{Disk, blocks};
use crate::error::{Error, Result};

/// What the header begins with, in the form that all programs have for it.
const ABOUT: &[u8] = b"<<< nanovhd VirtualBox Disk Image >>>\n";

/// The ids of a file, neither of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// By which VirtualBox knows the disk; no two disks of a host may have the same.
    pub id: Uuid,
    /// What changes when the disk's data do.
    pub modification: Uuid,
}

/// The disk in a VDI file. Writes go to their places in the file at once, without a lock and from any thread; what describes
/// them is written by [`finish`](Self::finish), so that a file that was given up has no header and is no VDI.
#[derive(Debug)]
pub struct Writer<D> {
    layout: Layout,
    params: Params,
    file: D,
}

impl<D: Disk> Writer<D> {
    /// Begins a VDI in `file`, which is fresh (all zeros) and as long as [`Layout::file_len`] says, else the error is
    /// [`Kind::Invalid`](crate::error::Kind::Invalid), as it is for an id of zero.
    pub fn new(layout: Layout, params: Params, file: D) -> Result<Self> {
        if file.len() != layout.file_len() {
            return Err(Error::invalid("length of the file for a VDI").found(file.len()).allowed(layout.file_len()));
        }
        if params.id.is_nil() || params.modification.is_nil() {
            return Err(Error::invalid("UUID of a VDI").found("zero"));
        }
        Ok(Self { layout, params, file })
    }

    /// Writes everything that is not the disk's own data, the header last, and gives the file back.
    pub fn finish(self) -> Result<D> {
        let map: Vec<u8> = self.layout.map().iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.file.write_at(MAP_AT, &map)?;
        self.file.write_at(0, self.header().as_bytes())?;
        Ok(self.file)
    }

    fn header(&self) -> ondisk::Header {
        let kind = if self.layout.is_fixed() { ondisk::TYPE_FIXED } else { ondisk::TYPE_DYNAMIC };
        let mut header = ondisk::Header {
            signature: ondisk::SIGNATURE,
            version: ondisk::VERSION.into(),
            header_len: ondisk::HEADER_LEN.into(),
            kind: kind.into(),
            map_at: (MAP_AT as u32).into(),
            data_at: (self.layout.data_at() as u32).into(),
            legacy_geometry: Geometry::UNKNOWN,
            disk_len: self.layout.disk_len().into(),
            block_size: (BLOCK as u32).into(),
            blocks: (self.layout.map().len() as u32).into(),
            allocated: self.layout.blocks().into(),
            id: self.params.id.into(),
            modification: self.params.modification.into(),
            geometry: Geometry::UNKNOWN,
            ..FromZeros::new_zeroed()
        };
        header.about[..ABOUT.len()].copy_from_slice(ABOUT);
        header
    }
}

impl<D: Disk> Disk for Writer<D> {
    fn len(&self) -> u64 {
        self.layout.disk_len()
    }

    /// A write into a block that the [`Layout`] does not have is [`Kind::Invalid`](crate::error::Kind::Invalid): a plan that
    /// did not tell all.
    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        blocks::write(&self.file, self.layout.disk_len(), at, data, |at, len| self.layout.locate(at, len))
    }
}
