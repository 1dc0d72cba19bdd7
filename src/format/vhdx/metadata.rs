//! Headers, region tables and metadata, read and checked as far as reading needs it.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::ondisk::{self, TABLE_LEN};
use super::parent::Parent;
use crate::base::ReadAt;
use crate::base::crc32c::crc32c_without;
use crate::error::{Context, Error, Kind, Result};

/// Where the checksum is, in headers and region tables.
const CHECKSUM_AT: usize = 4;

/// The header that counts.
pub(super) fn current_header(file: &impl ReadAt) -> Result<ondisk::Header> {
    let [first, second] = ondisk::HEADERS_AT.map(|at| header(file, at));
    let header = match (first, second) {
        (Ok(first), Ok(second)) if first.sequence == second.sequence => {
            if first.as_bytes() != second.as_bytes() {
                return Err(Error::corrupt("VHDX headers: both have one sequence number").found(first.sequence));
            }
            first
        }
        (Ok(first), Ok(second)) if first.sequence.get() > second.sequence.get() => first,
        (_, Ok(second)) => second,
        (Ok(first), Err(_)) => first,
        (Err(error), Err(_)) => return Err(error),
    };
    if header.version != ondisk::VERSION {
        return Err(Error::unsupported("VHDX header: version").found(header.version).allowed(ondisk::VERSION));
    }
    Ok(header)
}

fn header(file: &impl ReadAt, at: u64) -> Result<ondisk::Header> {
    let mut header = ondisk::Header::new_zeroed();
    file.read_at(at, header.as_mut_bytes()).context(|| "VHDX header")?;
    if header.signature != ondisk::HEADER_SIGNATURE {
        return Err(Error::corrupt("VHDX header: signature").at(at).allowed("\"head\""));
    }
    check_crc("VHDX header: checksum", header.as_bytes(), header.checksum.get(), at)?;
    Ok(header)
}

fn check_crc(what: &str, bytes: &[u8], found: u32, at: u64) -> Result<()> {
    let right = crc32c_without(bytes, CHECKSUM_AT);
    if found != right {
        return Err(Error::corrupt(what)
            .at(at)
            .found(format_args!("{found:#010x}"))
            .allowed(format_args!("{right:#010x}")));
    }
    Ok(())
}

/// The two regions that are needed.
pub(super) struct Regions {
    pub(super) bat: Range<u64>,
    pub(super) metadata: Range<u64>,
}

/// Reads the first region table that is whole.
pub(super) fn regions(file: &impl ReadAt) -> Result<Regions> {
    let [first, second] = ondisk::REGION_TABLES_AT;
    region_table(file, first).or_else(|error| match error.kind() {
        Kind::Unsupported => Err(error),
        _ => region_table(file, second).map_err(|_| error),
    })
}

fn region_table(file: &impl ReadAt, at: u64) -> Result<Regions> {
    let mut bytes = vec![0; TABLE_LEN];
    file.read_at(at, &mut bytes).context(|| "VHDX region table")?;
    let cut = || Error::truncated("VHDX region table").at(at);
    let (table, rest) = ondisk::RegionTable::ref_from_prefix(&bytes).map_err(|_| cut())?;
    if table.signature != ondisk::REGION_TABLE_SIGNATURE {
        return Err(Error::corrupt("VHDX region table: signature").at(at).allowed("\"regi\""));
    }
    check_crc("VHDX region table: checksum", &bytes, table.checksum.get(), at)?;
    if table.entries.get() > ondisk::MAX_ENTRIES {
        return Err(Error::corrupt("VHDX region table: entries")
            .at(at)
            .found(table.entries)
            .allowed(ondisk::MAX_ENTRIES));
    }
    let entries = table.entries.get() as usize;
    let (entries, _) = <[ondisk::Region]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| cut())?;
    let unknown = |region: &&ondisk::Region| {
        let known = [ondisk::REGION_BAT, ondisk::REGION_METADATA].contains(&region.id.get());
        !known && region.flags.get() & ondisk::REGION_REQUIRED != 0
    };
    if let Some(region) = entries.iter().find(unknown) {
        return Err(Error::unsupported("VHDX region table: a required region").at(at).found(region.id.get()));
    }
    Ok(Regions {
        bat: region(file, entries, ondisk::REGION_BAT, "BAT", at)?,
        metadata: region(file, entries, ondisk::REGION_METADATA, "metadata", at)?,
    })
}

fn region(file: &impl ReadAt, entries: &[ondisk::Region], id: Uuid, name: &str, at: u64) -> Result<Range<u64>> {
    let found = entries.iter().find(|region| region.id.get() == id);
    let region = found.ok_or_else(|| Error::corrupt(format_args!("VHDX region table: no {name} region")).at(at))?;
    let (start, len) = (region.at.get(), u64::from(region.len.get()));
    let bad = |allowed: &str| {
        Error::corrupt(format_args!("VHDX region table: place of the {name} region"))
            .at(at)
            .found(format_args!("{len} bytes at {start:#x}"))
            .allowed(allowed)
    };
    if start == 0 || !start.is_multiple_of(ondisk::UNIT) || len == 0 || !len.is_multiple_of(ondisk::UNIT) {
        return Err(bad("whole MiB, past the first"));
    }
    match start.checked_add(len) {
        Some(end) if end <= file.len() => Ok(start..end),
        _ => Err(bad("inside the file")),
    }
}

/// What the metadata says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) block_size: u32,
    pub(super) fixed: bool,
    pub(super) disk_len: u64,
    pub(super) disk_id: Uuid,
    pub(super) logical_sector: u32,
    pub(super) physical_sector: u32,
    pub(super) parent: Option<Parent>,
}

const KNOWN: [Uuid; 6] = [
    ondisk::FILE_PARAMETERS,
    ondisk::DISK_SIZE,
    ondisk::DISK_ID,
    ondisk::LOGICAL_SECTOR,
    ondisk::PHYSICAL_SECTOR,
    ondisk::PARENT_LOCATOR,
];

impl Metadata {
    /// Reads the items of the region.
    pub(super) fn read(file: &impl ReadAt, region: &Range<u64>) -> Result<Self> {
        let items = Items::read(file, region)?;
        let parameters = u64::from_le_bytes(items.fixed(ondisk::FILE_PARAMETERS, "file parameters")?);
        let (block_size, flags) = (parameters as u32, (parameters >> 32) as u32);
        let sector = |id, name| items.fixed(id, name).map(u32::from_le_bytes);
        let metadata = Self {
            block_size,
            fixed: flags & ondisk::LEAVE_BLOCKS != 0,
            disk_len: u64::from_le_bytes(items.fixed(ondisk::DISK_SIZE, "size of the disk")?),
            disk_id: Uuid::from_bytes_le(items.fixed(ondisk::DISK_ID, "id of the disk")?),
            logical_sector: sector(ondisk::LOGICAL_SECTOR, "logical sector size")?,
            physical_sector: sector(ondisk::PHYSICAL_SECTOR, "physical sector size")?,
            parent: match flags & ondisk::HAS_PARENT {
                0 => None,
                _ => Some(Parent::parse(&items.bytes(ondisk::PARENT_LOCATOR, "parent locator")?)?),
            },
        };
        metadata.check(region.start)?;
        Ok(metadata)
    }

    fn check(&self, at: u64) -> Result<()> {
        let block = self.block_size;
        if !block.is_power_of_two() || !(ondisk::MIN_BLOCK..=ondisk::MAX_BLOCK).contains(&block) {
            let allowed = "a power of two from 1 MiB to 256 MiB";
            return Err(Error::corrupt("VHDX metadata: block size").at(at).found(block).allowed(allowed));
        }
        for sector in [self.logical_sector, self.physical_sector] {
            if ![512, 4096].contains(&sector) {
                return Err(Error::corrupt("VHDX metadata: sector size").at(at).found(sector).allowed("512 or 4096"));
            }
        }
        let whole = self.disk_len.is_multiple_of(u64::from(self.logical_sector));
        if self.disk_len == 0 || !whole || self.disk_len > ondisk::MAX_DISK {
            return Err(Error::corrupt("VHDX metadata: size of the disk")
                .at(at)
                .found(self.disk_len)
                .allowed("whole sectors, at most 64 TiB"));
        }
        Ok(())
    }
}

/// The metadata table.
struct Items<'f, R> {
    file: &'f R,
    region: &'f Range<u64>,
    entries: Vec<ondisk::Item>,
}

impl<'f, R: ReadAt> Items<'f, R> {
    fn read(file: &'f R, region: &'f Range<u64>) -> Result<Self> {
        let at = region.start;
        let mut bytes = vec![0; TABLE_LEN];
        file.read_at(at, &mut bytes).context(|| "VHDX metadata table")?;
        let cut = || Error::truncated("VHDX metadata table").at(at);
        let (table, rest) = ondisk::MetadataTable::ref_from_prefix(&bytes).map_err(|_| cut())?;
        if table.signature != ondisk::METADATA_SIGNATURE {
            return Err(Error::corrupt("VHDX metadata table: signature").at(at).allowed("\"metadata\""));
        }
        let entries = usize::from(table.entries.get());
        let (entries, _) = <[ondisk::Item]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| {
            Error::corrupt("VHDX metadata table: entries").at(at).found(entries).allowed(ondisk::MAX_ENTRIES)
        })?;
        let unknown =
            |item: &&ondisk::Item| item.flags.get() & ondisk::ITEM_REQUIRED != 0 && !KNOWN.contains(&item.id.get());
        if let Some(item) = entries.iter().find(unknown) {
            return Err(Error::unsupported("VHDX metadata: a required item").at(at).found(item.id.get()));
        }
        Ok(Self { file, region, entries: entries.to_vec() })
    }

    /// The bytes of an item of any length.
    fn bytes(&self, id: Uuid, name: &str) -> Result<Vec<u8>> {
        let what = || format!("VHDX metadata: {name}");
        let system = |item: &&ondisk::Item| item.id.get() == id && item.flags.get() & ondisk::ITEM_USER == 0;
        let item = self.entries.iter().find(system);
        let item = item.ok_or_else(|| Error::corrupt(what()).at(self.region.start).found("none"))?;
        let (at, len) = (u64::from(item.at.get()), item.len.get());
        if len > ondisk::MAX_ITEM || at + u64::from(len) > self.region.end - self.region.start {
            return Err(Error::corrupt(what())
                .at(self.region.start)
                .found(format_args!("{len} bytes at {at:#x}"))
                .allowed("at most 1 MiB, inside the region"));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_at(self.region.start + at, &mut bytes).context(what)?;
        Ok(bytes)
    }

    /// The bytes of an item whose length is known.
    fn fixed<const N: usize>(&self, id: Uuid, name: &str) -> Result<[u8; N]> {
        let bytes = self.bytes(id, name)?;
        bytes.as_slice().try_into().map_err(|_| {
            Error::corrupt(format_args!("VHDX metadata: length of the {name}"))
                .at(self.region.start)
                .found(bytes.len())
                .allowed(N)
        })
    }
}
