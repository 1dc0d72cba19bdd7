//! A VHDX file, written as the disk that it holds.

use uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, TABLE_LEN};
use super::plan::{LOG, Layout, METADATA};
use crate::base::crc32c::crc32c_without;
use crate::base::{Disk, blocks, bytes};
use crate::error::{Error, Result};

/// What the identifier says about who wrote the file.
const CREATOR: &str = "nanovhd";

/// Sector bitmaps are written in such parts, those that are all zero left out: holes on most hosts.
const BITMAP_PART: usize = 4096;

/// Where the items begin in the metadata region: the first place that is allowed.
const ITEMS_AT: usize = TABLE_LEN;

/// The ids of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// What changes with every opening for writing.
    pub file_write: Uuid,
    /// What changes when the disk's data do.
    pub data_write: Uuid,
    /// What the disk shows to its machine (SCSI page 83h).
    pub disk_id: Uuid,
}

/// The disk in a VHDX file. Writes go to their places in the file at once, without a lock and from any thread; what describes
/// them is written by [`finish`](Self::finish), so that a file that was given up has no identifier and is no VHDX.
#[derive(Debug)]
pub struct Writer<D> {
    layout: Layout,
    params: Params,
    file: D,
}

impl<D: Disk> Writer<D> {
    /// Begins a VHDX in `file`, which is fresh (all zeros) and as long as [`Layout::file_len`] says, else the error is
    /// [`Kind::Invalid`](crate::error::Kind::Invalid).
    pub fn new(layout: Layout, params: Params, file: D) -> Result<Self> {
        if file.len() != layout.file_len() {
            return Err(Error::invalid("length of the file for a VHDX").found(file.len()).allowed(layout.file_len()));
        }
        Ok(Self { layout, params, file })
    }

    /// Writes everything that is not the disk's own data, the identifier last, and gives the file back.
    pub fn finish(self) -> Result<D> {
        let table = self.layout.table();
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.file.write_at(self.layout.bat().start, &bytes)?;
        self.write_bitmaps()?;
        self.file.write_at(METADATA.start, &self.metadata())?;
        let regions = self.region_table();
        for at in ondisk::REGION_TABLES_AT {
            self.file.write_at(at, &regions)?;
        }
        for (sequence, at) in (1..).zip(ondisk::HEADERS_AT) {
            self.file.write_at(at, self.header(sequence).as_bytes())?;
        }
        self.file.write_at(0, &identifier())?;
        Ok(self.file)
    }

    /// Marks the sectors that are not the parent's, those of blocks that are wholly there too.
    fn write_bitmaps(&self) -> Result<()> {
        let Some(child) = self.layout.child() else { return Ok(()) };
        let sector = u64::from(self.layout.sector_size());
        for (place, chunk) in self.layout.bitmaps() {
            let mut bitmap = vec![0u8; ondisk::BITMAP_LEN as usize];
            for own in child.own.within(chunk.clone()) {
                for sector in (own.start - chunk.start) / sector..(own.end - chunk.start).div_ceil(sector) {
                    bitmap[(sector / 8) as usize] |= 1 << (sector % 8); // the first one of a byte is its lowest bit
                }
            }
            for (at, part) in (place..).step_by(BITMAP_PART).zip(bitmap.chunks(BITMAP_PART)) {
                if !bytes::is_zero(part) {
                    self.file.write_at(at, part)?;
                }
            }
        }
        Ok(())
    }

    fn header(&self, sequence: u64) -> ondisk::Header {
        let mut header = ondisk::Header {
            signature: ondisk::HEADER_SIGNATURE,
            sequence: sequence.into(),
            file_write: self.params.file_write.into(),
            data_write: self.params.data_write.into(),
            log: Uuid::nil().into(),
            log_version: ondisk::LOG_VERSION.into(),
            version: ondisk::VERSION.into(),
            log_len: ((LOG.end - LOG.start) as u32).into(),
            log_at: LOG.start.into(),
            ..FromZeros::new_zeroed()
        };
        header.checksum = crc32c_without(header.as_bytes(), 4).into();
        header
    }

    fn region_table(&self) -> Vec<u8> {
        let bat = self.layout.bat();
        let regions = [(ondisk::REGION_BAT, bat), (ondisk::REGION_METADATA, METADATA)];
        let mut table = ondisk::RegionTable {
            signature: ondisk::REGION_TABLE_SIGNATURE,
            checksum: 0.into(),
            entries: (regions.len() as u32).into(),
            reserved: 0.into(),
        };
        let entries = regions.map(|(id, range)| ondisk::Region {
            id: id.into(),
            at: range.start.into(),
            len: ((range.end - range.start) as u32).into(),
            flags: ondisk::REGION_REQUIRED.into(),
        });
        let with = |table: &ondisk::RegionTable| {
            let mut bytes = [table.as_bytes(), entries.as_bytes()].concat();
            bytes.resize(TABLE_LEN, 0);
            bytes
        };
        table.checksum = crc32c_without(&with(&table), 4).into();
        with(&table)
    }

    /// The metadata region up to the end of its last item.
    fn metadata(&self) -> Vec<u8> {
        const ABOUT_FILE: u32 = ondisk::ITEM_REQUIRED;
        const ABOUT_DISK: u32 = ondisk::ITEM_REQUIRED | ondisk::ITEM_DISK;
        let flags = match self.layout.child() {
            Some(_) => ondisk::HAS_PARENT,
            None if self.layout.is_fixed() => ondisk::LEAVE_BLOCKS,
            None => 0,
        };
        let parameters = [(self.layout.block() as u32).to_le_bytes(), flags.to_le_bytes()].concat();
        let mut items: Vec<(Uuid, u32, Vec<u8>)> = vec![
            (ondisk::FILE_PARAMETERS, ABOUT_FILE, parameters),
            (ondisk::DISK_SIZE, ABOUT_DISK, self.layout.disk_len().to_le_bytes().to_vec()),
            (ondisk::DISK_ID, ABOUT_DISK, self.params.disk_id.to_bytes_le().to_vec()),
            (ondisk::LOGICAL_SECTOR, ABOUT_DISK, self.layout.sector_size().to_le_bytes().to_vec()),
            (ondisk::PHYSICAL_SECTOR, ABOUT_DISK, self.layout.physical_sector_size().to_le_bytes().to_vec()),
        ];
        let locator = self.layout.child().map(|child| child.parent.to_bytes());
        items.extend(locator.map(|locator| (ondisk::PARENT_LOCATOR, ABOUT_FILE, locator)));
        let table = ondisk::MetadataTable {
            signature: ondisk::METADATA_SIGNATURE,
            reserved: 0.into(),
            entries: (items.len() as u16).into(),
            reserved_end: [0; 20],
        };
        let mut bytes = table.as_bytes().to_vec();
        let mut contents = Vec::new();
        for (id, flags, content) in &items {
            let item = ondisk::Item {
                id: (*id).into(),
                at: ((ITEMS_AT + contents.len()) as u32).into(),
                len: (content.len() as u32).into(),
                flags: (*flags).into(),
                reserved: 0.into(),
            };
            bytes.extend_from_slice(item.as_bytes());
            contents.extend_from_slice(content);
        }
        bytes.resize(ITEMS_AT, 0);
        bytes.extend_from_slice(&contents);
        bytes
    }
}

/// "File Type Identifier": the signature and who wrote the file.
fn identifier() -> Vec<u8> {
    let creator = CREATOR.encode_utf16().flat_map(u16::to_le_bytes);
    ondisk::SIGNATURE.into_iter().chain(creator).collect()
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
