//! A monolithicSparse file, written as the disk that it holds.

use zerocopy::{FromZeros, IntoBytes};

use super::descriptor::{self, Params, Variant};
use super::ondisk::{self, SECTOR, TABLE_ENTRIES, TABLE_LEN};
use super::plan::{DESCRIPTOR_AT, DESCRIPTOR_LEN, GRAIN_SECTORS, Layout, directory_len, sector_number, tables};
use crate::base::{Disk, blocks};
use crate::error::{Error, Result};

/// How many entries of grain tables are written at once.
const PIECE: usize = 0x4000;

/// The disk in a monolithicSparse file. Writes go to their places in the file at once, without a lock and from any thread; what
/// describes them is written by [`finish`](Self::finish), so that a file that was given up has no header and is no VMDK.
#[derive(Debug)]
pub struct Writer<D> {
    layout: Layout,
    descriptor: Vec<u8>,
    file: D,
}

impl<D: Disk> Writer<D> {
    /// Begins a VMDK in `file`, which is fresh (all zeros) and as long as [`Layout::file_len`] says, else the error is
    /// [`Kind::Invalid`](crate::error::Kind::Invalid); as it is if the file's name is too long for a descriptor.
    pub fn new(layout: Layout, params: &Params, file: D) -> Result<Self> {
        if file.len() != layout.file_len() {
            return Err(Error::invalid("length of the file for a VMDK").found(file.len()).allowed(layout.file_len()));
        }
        let descriptor = descriptor::render(params, Variant::Sparse, layout.disk_len())?;
        Ok(Self { layout, descriptor, file })
    }

    /// Writes everything that is not the disk's own data, the header last, and gives the file back.
    pub fn finish(self) -> Result<D> {
        for directory in self.layout.directories() {
            self.write_directory(directory)?;
        }
        self.file.write_at(DESCRIPTOR_AT, &self.descriptor)?;
        self.file.write_at(0, self.header().as_bytes())?;
        Ok(self.file)
    }

    /// A grain directory and its tables. All tables are there, in a row, as VMware makes them; those without grains stay zeros.
    fn write_directory(&self, at: u64) -> Result<()> {
        let count = tables(self.layout.disk_len());
        let tables_at = at + directory_len(count);
        let mut entries = Vec::with_capacity(count as usize * 4);
        for table in 0..count {
            entries.extend_from_slice(&sector_number(tables_at + table * TABLE_LEN)?.to_le_bytes());
        }
        self.file.write_at(at, &entries)?;
        for run in self.layout.runs() {
            let mut at = tables_at + run.grains.start * 4;
            let mut sectors = run.sectors().peekable();
            while sectors.peek().is_some() {
                let piece: Vec<u8> = sectors.by_ref().take(PIECE).flat_map(u32::to_le_bytes).collect();
                self.file.write_at(at, &piece)?;
                at += piece.len() as u64;
            }
        }
        Ok(())
    }

    fn header(&self) -> ondisk::Header {
        let [redundant, first] = self.layout.directories();
        ondisk::Header {
            flags: (ondisk::FLAG_LINE_ENDS | ondisk::FLAG_REDUNDANT).into(),
            redundant_directory: (redundant / SECTOR).into(),
            grain_directory: (first / SECTOR).into(),
            overhead: (self.layout.overhead() / SECTOR).into(),
            ..header(ondisk::VERSION, self.layout.disk_len())
        }
    }
}

/// What headers of both variants have in common.
pub(super) fn header(version: u32, disk_len: u64) -> ondisk::Header {
    ondisk::Header {
        magic: ondisk::MAGIC,
        version: version.into(),
        capacity: (disk_len / SECTOR).into(),
        grain: GRAIN_SECTORS.into(),
        descriptor: (DESCRIPTOR_AT / SECTOR).into(),
        descriptor_len: (DESCRIPTOR_LEN / SECTOR).into(),
        table_entries: (TABLE_ENTRIES as u32).into(),
        line_ends: ondisk::LINE_ENDS,
        ..FromZeros::new_zeroed()
    }
}

impl<D: Disk> Disk for Writer<D> {
    fn len(&self) -> u64 {
        self.layout.disk_len()
    }

    /// A write into a grain that the [`Layout`] does not have is [`Kind::Invalid`](crate::error::Kind::Invalid): a plan that did not
    /// tell all.
    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        blocks::write(&self.file, self.layout.disk_len(), at, data, |at, len| self.layout.locate(at, len))
    }
}
