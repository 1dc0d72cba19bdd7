//! The GUID partition table: a header and a table of entries, at the start of the disk and again at its end.
//!
//! ```text
//! | protective MBR | header | entries ... | partitions ... | entries ... | header |
//!   LBA 0            1        2                                            last
//! ```
//!
//! All integers are little-endian, addresses are in the disk's sectors (512 or 4096 bytes), GUIDs have their first three fields
//! little-endian. Header (92 bytes, the rest of its sector zero): `EFI PART` at 0, revision 1.0 at 8, its own size at 12, CRC-32 of
//! itself with this field zero at 16, zero at 20, its own LBA at 24, that of the other copy at 32, first and last LBA for
//! partitions at 40 and 48, GUID of the disk at 56, LBA, number and size of the entries at 72, 80, 84, their CRC-32 at 88. Entry:
//! type at 0 (zero: unused), GUID at 16, first and last LBA (inclusive) at 32 and 40, attributes at 48, name in UTF-16 at 56.
//!
//! The crate `gpt` writes our tables, but does not read them: version 4.1 panics at entries that are not 128 bytes long and takes memory for as many
//! as the header says, which its checksum does not keep from being 512 GiB; and it does not fall back to the second table where only
//! the first one is damaged.
//!
//! Source: UEFI specification 2.10, chapter 5.

use uuid::Uuid;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{Immutable, KnownLayout, Unaligned};

pub use super::gpt_write::{ATTRIBUTE_NO_DRIVE_LETTER, ATTRIBUTE_REQUIRED, NewPartition, to_sectors, usable};
use crate::base::ReadAt;
use crate::error::{Context, Error, Result};

/// The sector sizes that disks have.
pub const SECTOR_SIZES: [u64; 2] = [512, 4096];
/// Where the primary header is.
pub const PRIMARY_LBA: u64 = 1;

const SIGNATURE: [u8; 8] = *b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_LEN: usize = 92;
const CHECKSUM_AT: usize = 16;
/// Entries are this long, or a power of two times as long.
const ENTRY_LEN: u32 = 128;
/// More entries than this are refused, so that no header can ask for much memory: 8192 entries of 128 bytes. All known
/// programs make 128 entries.
pub const MAX_TABLE: u64 = 1 << 20;
/// More partitions than this are refused: Windows takes no more, and each is looked into.
pub const MAX_PARTITIONS: usize = 128;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 8],
    revision: U32,
    size: U32,
    checksum: U32,
    reserved: U32,
    lba: U64,
    other_lba: U64,
    first_usable: U64,
    last_usable: U64,
    disk: [u8; 16],
    entries_lba: U64,
    entry_count: U32,
    entry_size: U32,
    entries_checksum: U32,
}
const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    kind: [u8; 16],
    id: [u8; 16],
    first_lba: U64,
    last_lba: U64,
    attributes: U64,
    name: [u8; 72],
}
const _: () = assert!(size_of::<RawEntry>() == ENTRY_LEN as usize);

/// A header whose signature, revision, size, place and checksum are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its own LBA.
    pub lba: u64,
    /// Where it says that the other copy is.
    pub other_lba: u64,
    /// The first LBA that partitions may have.
    pub first_usable: u64,
    /// The last one, inclusive.
    pub last_usable: u64,
    /// The GUID of the disk.
    pub disk: Uuid,
    /// Where its table of entries begins.
    pub entries_lba: u64,
    /// How many entries the table has.
    pub entry_count: u32,
    /// How long each is.
    pub entry_size: u32,
    /// The checksum of the table.
    pub entries_checksum: u32,
    /// The field that has to be zero.
    pub reserved: u32,
}

/// An entry in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the table, from 1.
    pub number: u32,
    /// What it holds.
    pub kind: Uuid,
    /// Its own GUID.
    pub id: Uuid,
    /// Its first LBA.
    pub first_lba: u64,
    /// Its last one, inclusive.
    pub last_lba: u64,
    /// Bit 0: required, bit 2: legacy BIOS bootable, bits 48 to 63: of the type.
    pub attributes: u64,
}

/// One copy of a table: its header and its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// Bytes in a sector.
    pub sector: u64,
    /// The header.
    pub header: Header,
    /// The entries in use.
    pub entries: Vec<Entry>,
}

impl Header {
    /// Reads the header at `lba` of a disk with sectors of `sector` bytes.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for anything that makes firmware and Windows refuse the header, apart from where it
    /// says that other things are.
    pub fn read(disk: &dyn ReadAt, sector: u64, lba: u64) -> Result<Self> {
        let at = lba.checked_mul(sector).ok_or_else(|| Error::corrupt("GPT header: place").found(lba))?;
        let mut bytes = vec![0; sector as usize];
        disk.read_at(at, &mut bytes).context(|| "GPT header")?;
        let bad = |field: &str, offset: u64| Error::corrupt(format_args!("GPT header: {field}")).at(at + offset);
        let (raw, _) = RawHeader::ref_from_prefix(&bytes).map_err(|_| Error::truncated("GPT header").at(at))?;
        if raw.signature != SIGNATURE {
            return Err(bad("signature", 0).found(raw.signature.escape_ascii()).allowed("EFI PART"));
        }
        if raw.revision.get() != REVISION {
            return Err(bad("revision", 8).found(format_args!("{:#x}", raw.revision)).allowed("0x10000"));
        }
        let size = raw.size.get() as usize;
        let Some(covered) = bytes.get(..size).filter(|_| size >= HEADER_LEN) else {
            return Err(bad("size", 12).found(size).allowed(format_args!("{HEADER_LEN} to {sector}")));
        };
        let mut covered = covered.to_vec();
        covered[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        let right = crc32(&covered);
        if raw.checksum.get() != right {
            let (found, allowed) = (format!("{:#010x}", raw.checksum), format!("{right:#010x}"));
            return Err(bad("checksum", CHECKSUM_AT as u64).found(found).allowed(allowed));
        }
        if raw.lba.get() != lba {
            return Err(bad("its own LBA", 24).found(raw.lba).allowed(lba));
        }
        Ok(Self {
            lba,
            other_lba: raw.other_lba.get(),
            first_usable: raw.first_usable.get(),
            last_usable: raw.last_usable.get(),
            disk: Uuid::from_bytes_le(raw.disk),
            entries_lba: raw.entries_lba.get(),
            entry_count: raw.entry_count.get(),
            entry_size: raw.entry_size.get(),
            entries_checksum: raw.entries_checksum.get(),
            reserved: raw.reserved.get(),
        })
    }

    /// The length of the table of entries in bytes.
    pub fn entries_len(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_size)
    }

    /// Reads the table of entries, whose checksum has to be right.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for odd sizes and a wrong checksum, [`Unsupported`](crate::error::Kind::Unsupported) for
    /// more than [`MAX_TABLE`] bytes or [`MAX_PARTITIONS`] partitions.
    pub fn entries(&self, disk: &dyn ReadAt, sector: u64) -> Result<Vec<Entry>> {
        let at = self.entries_lba.checked_mul(sector);
        let at = at.ok_or_else(|| Error::corrupt("GPT entries: place").found(self.entries_lba))?;
        if self.entry_size < ENTRY_LEN || !self.entry_size.is_power_of_two() {
            let allowed = "128, or a power of two times that";
            return Err(Error::corrupt("GPT header: size of an entry").found(self.entry_size).allowed(allowed));
        }
        if self.entries_len() > MAX_TABLE {
            let found = format!("{} of {} bytes", self.entry_count, self.entry_size);
            return Err(Error::unsupported("GPT entries: how many").found(found).allowed("1 MiB of them"));
        }
        let mut table = vec![0; self.entries_len() as usize];
        disk.read_at(at, &mut table).context(|| "GPT entries")?;
        let sum = crc32(&table);
        if sum != self.entries_checksum {
            return Err(Error::corrupt("GPT entries: checksum")
                .at(at)
                .found(format_args!("{sum:#010x}"))
                .allowed(format_args!("{:#010x}, as the header has it", self.entries_checksum)));
        }
        let entries = (1..).zip(table.chunks_exact(self.entry_size as usize));
        let entries: Vec<Entry> = entries.filter_map(|(number, bytes)| Entry::parse(number, bytes)).collect();
        if entries.len() > MAX_PARTITIONS {
            return Err(Error::unsupported("GPT entries: partitions").found(entries.len()).allowed(MAX_PARTITIONS));
        }
        Ok(entries)
    }
}

impl Entry {
    fn parse(number: u32, bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawEntry::ref_from_prefix(bytes).ok()?;
        (raw.kind != [0; 16]).then(|| Self {
            number,
            kind: Uuid::from_bytes_le(raw.kind),
            id: Uuid::from_bytes_le(raw.id),
            first_lba: raw.first_lba.get(),
            last_lba: raw.last_lba.get(),
            attributes: raw.attributes.get(),
        })
    }
}

impl Gpt {
    /// Reads one copy.
    pub fn read_at(disk: &dyn ReadAt, sector: u64, lba: u64) -> Result<Self> {
        let header = Header::read(disk, sector, lba)?;
        let entries = header.entries(disk, sector)?;
        Ok(Self { sector, header, entries })
    }

    /// Reads the primary copy, or else the backup: where the primary header says that it is, or at the end of the disk.
    ///
    /// # Errors
    /// That of the primary copy, if neither is whole.
    pub fn read(disk: &dyn ReadAt) -> Result<Self> {
        let sector = sector_size(disk).ok_or_else(|| {
            Error::corrupt("GPT: no header").found("nothing").allowed("EFI PART at LBA 1 or in the last sector")
        })?;
        Self::read_at(disk, sector, PRIMARY_LBA).or_else(|primary| {
            let named = Header::read(disk, sector, PRIMARY_LBA).ok().map(|header| header.other_lba);
            let places = [named, last_lba(disk, sector)];
            let mut backups = places.into_iter().flatten().map(|lba| Self::read_at(disk, sector, lba));
            backups.find_map(Result::ok).ok_or(primary)
        })
    }
}

/// The last sector of a disk.
pub fn last_lba(disk: &dyn ReadAt, sector: u64) -> Option<u64> {
    (disk.len() / sector).checked_sub(1)
}

/// The size of a disk's sectors, as its GPT headers tell it by where they are; nothing if there are none.
pub fn sector_size(disk: &dyn ReadAt) -> Option<u64> {
    let has_header = |at: Option<u64>| {
        let mut signature = [0; SIGNATURE.len()];
        at.is_some_and(|at| disk.read_at(at, &mut signature).is_ok() && signature == SIGNATURE)
    };
    let primary = SECTOR_SIZES.into_iter().find(|sector| has_header(Some(*sector)));
    let backup = |sector: &u64| has_header(last_lba(disk, *sector).map(|lba| lba * sector));
    primary.or_else(|| SECTOR_SIZES.into_iter().find(backup))
}

/// CRC-32 as Ethernet has it: reflected polynomial 0xEDB88320, start and final xor all ones.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
