//! A VHD file, written as the disk that it holds.

use uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, SECTOR};
use super::plan::{BITMAP_LEN, BLOCK, Child, Geometry, HEADER_AT, Layout, TABLE_AT, padded_table_len};
use crate::base::{Disk, FileTime, blocks};
use crate::error::{Error, Result};

/// What a footer says beside sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// When the disk was made; kept in whole seconds from the year 2000 on.
    pub created: FileTime,
    /// The disk's unique id, stored with its fields big-endian.
    pub id: Uuid,
}

/// The disk in a VHD file. Writes go to their places in the file at once, without a lock and from any thread; what describes
/// them is written by [`finish`](Self::finish), so that a file that was given up has no footer and is no VHD.
#[derive(Debug)]
pub struct Writer<D> {
    layout: Layout,
    params: Params,
    file: D,
}

impl<D: Disk> Writer<D> {
    /// Begins a VHD in `file`, which is fresh (all zeros) and as long as [`Layout::file_len`] says, else the error is
    /// [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub fn new(layout: Layout, params: Params, file: D) -> Result<Self> {
        if file.len() != layout.file_len() {
            return Err(Error::invalid("length of the file for a VHD").found(file.len()).allowed(layout.file_len()));
        }
        Ok(Self { layout, params, file })
    }

    /// Writes everything that is not the disk's own data, the footer last, and gives the file back.
    pub fn finish(self) -> Result<D> {
        let footer = self.footer();
        if let Some(table) = self.layout.table() {
            self.write_bitmaps(table)?;
            self.write_table(table)?;
            for locator in self.layout.child().iter().flat_map(|child| &child.locators) {
                self.file.write_at(locator.at, &locator.path)?;
            }
            self.file.write_at(HEADER_AT, header(table.len(), self.layout.child()).as_bytes())?;
            self.file.write_at(0, footer.as_bytes())?;
        }
        self.file.write_at(self.layout.footer_at(), footer.as_bytes())?;
        Ok(self.file)
    }

    fn write_bitmaps(&self, table: &[u32]) -> Result<()> {
        for (block, sector) in (0..).zip(table).filter(|(_, sector)| **sector != ondisk::NO_BLOCK) {
            let bitmap = match self.layout.child() {
                None => [0xFF; BITMAP_LEN as usize],
                Some(child) => bitmap_of(child, block),
            };
            self.file.write_at(u64::from(*sector) * SECTOR, &bitmap)?;
        }
        Ok(())
    }

    fn write_table(&self, table: &[u32]) -> Result<()> {
        let mut bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bytes.resize(padded_table_len(table.len()) as usize, 0xFF);
        self.file.write_at(TABLE_AT, &bytes)
    }

    fn footer(&self) -> ondisk::Footer {
        let disk_len = self.layout.disk_len();
        let geometry = Geometry::of(disk_len);
        let (disk_type, data_offset) = match (self.layout.table(), self.layout.child()) {
            (Some(_), Some(_)) => (ondisk::TYPE_DIFFERENCING, HEADER_AT),
            (Some(_), None) => (ondisk::TYPE_DYNAMIC, HEADER_AT),
            (None, _) => (ondisk::TYPE_FIXED, ondisk::NOWHERE),
        };
        let mut footer = ondisk::Footer {
            cookie: ondisk::COOKIE,
            features: ondisk::FEATURES.into(),
            version: ondisk::VERSION.into(),
            data_offset: data_offset.into(),
            timestamp: self.params.created.to_vhd().into(),
            creator: ondisk::CREATOR_HYPER_V,
            creator_version: ondisk::CREATOR_VERSION.into(),
            creator_os: ondisk::CREATOR_OS_WINDOWS,
            original_size: disk_len.into(),
            current_size: disk_len.into(),
            cylinders: geometry.cylinders.into(),
            heads: geometry.heads,
            sectors: geometry.sectors,
            disk_type: disk_type.into(),
            id: *self.params.id.as_bytes(),
            ..FromZeros::new_zeroed()
        };
        footer.checksum = footer.right_checksum();
        footer
    }
}

/// Marks the sectors of a block that are not the parent's; the first one of a byte is its highest bit.
fn bitmap_of(child: &Child, block: u64) -> [u8; BITMAP_LEN as usize] {
    let mut bitmap = [0; BITMAP_LEN as usize];
    for range in child.own.within(block * BLOCK..(block + 1) * BLOCK) {
        for sector in range.start % BLOCK / SECTOR..(range.end - block * BLOCK).div_ceil(SECTOR) {
            bitmap[(sector / 8) as usize] |= 0x80 >> (sector % 8);
        }
    }
    bitmap
}

fn header(entries: usize, child: Option<&Child>) -> ondisk::Header {
    let mut header = ondisk::Header {
        cookie: ondisk::HEADER_COOKIE,
        data_offset: ondisk::NOWHERE.into(),
        table_offset: TABLE_AT.into(),
        version: ondisk::VERSION.into(),
        max_entries: (entries as u32).into(),
        block_size: (BLOCK as u32).into(),
        ..FromZeros::new_zeroed()
    };
    if let Some(Child { parent, locators, .. }) = child {
        header.parent_id = *parent.id.as_bytes();
        header.parent_timestamp = parent.timestamp.into();
        header.parent_name = parent.stored_name();
        for (stored, locator) in header.parent_locators.iter_mut().zip(locators) {
            stored.platform = locator.platform;
            stored.data_space = (locator.space as u32).into();
            stored.data_length = (locator.path.len() as u32).into();
            stored.data_offset = locator.at.into();
        }
    }
    header.checksum = header.right_checksum();
    header
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
