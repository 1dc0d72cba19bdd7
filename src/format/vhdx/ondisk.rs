//! The structures of a VHDX file.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// What a VHDX begins with.
pub const SIGNATURE: [u8; 8] = *b"vhdxfile";

/// The largest disk: 64 TiB.
pub const MAX_DISK: u64 = 64 << 40;

/// Where the two headers are.
pub(crate) const HEADERS_AT: [u64; 2] = [64 * KIB, 128 * KIB];
pub(crate) const HEADER_SIGNATURE: [u8; 4] = *b"head";
pub(crate) const HEADER_LEN: usize = 4096;
pub(crate) const VERSION: u16 = 1;
pub(crate) const LOG_VERSION: u16 = 0;

/// Where the two region tables are.
pub(crate) const REGION_TABLES_AT: [u64; 2] = [192 * KIB, 256 * KIB];
pub(crate) const REGION_TABLE_SIGNATURE: [u8; 4] = *b"regi";
/// Region tables and metadata tables are that long.
pub(crate) const TABLE_LEN: usize = 64 << 10;
/// As many entries as fit into either.
pub(crate) const MAX_ENTRIES: u32 = 2047;

/// Regions, the log and blocks are placed in such units.
pub(crate) const UNIT: u64 = MIB;

pub(crate) const REGION_BAT: Uuid = Uuid::from_u128(0x2DC27766_F623_4200_9D64_115E9BFD4A08);
pub(crate) const REGION_METADATA: Uuid = Uuid::from_u128(0x8B7CA206_4790_4B9A_B8FE_575F050F886E);

pub(crate) const METADATA_SIGNATURE: [u8; 8] = *b"metadata";
/// No item is longer.
pub(crate) const MAX_ITEM: u32 = 1 << 20;

pub(crate) const FILE_PARAMETERS: Uuid = Uuid::from_u128(0xCAA16737_FA36_4D43_B3B6_33F0AA44E76B);
pub(crate) const DISK_SIZE: Uuid = Uuid::from_u128(0x2FA54224_CD1B_4876_B211_5DBED83BF4B8);
pub(crate) const DISK_ID: Uuid = Uuid::from_u128(0xBECA12AB_B2E6_4523_93EF_C309E000C746);
pub(crate) const LOGICAL_SECTOR: Uuid = Uuid::from_u128(0x8141BF1D_A96F_4709_BA47_F233A8FAAB5F);
pub(crate) const PHYSICAL_SECTOR: Uuid = Uuid::from_u128(0xCDA348C7_445D_4471_9CC9_E9885251C556);
pub(crate) const PARENT_LOCATOR: Uuid = Uuid::from_u128(0xA8D35F2D_B30B_454D_ABF7_D3D84834AB0C);

/// An item that a user's program put there.
pub(crate) const ITEM_USER: u32 = 1;
/// An item about the disk, else about the file.
pub(crate) const ITEM_DISK: u32 = 2;
/// An item without whose understanding the file is not to be opened.
pub(crate) const ITEM_REQUIRED: u32 = 4;

/// A region without whose understanding the file is not to be opened.
pub(crate) const REGION_REQUIRED: u32 = 1;

/// Blocks stay in the file when they are emptied: the disk is a fixed one.
pub(crate) const LEAVE_BLOCKS: u32 = 1;
/// The disk is a differencing one.
pub(crate) const HAS_PARENT: u32 = 2;

pub(crate) const MIN_BLOCK: u32 = 1 << 20;
pub(crate) const MAX_BLOCK: u32 = 256 << 20;

/// The type of a parent locator that is a VHDX's.
pub(crate) const LOCATOR_VHDX: Uuid = Uuid::from_u128(0xB04AEFB7_D19E_4A81_B789_25B8E9445913);

/// So many sectors have one sector bitmap.
pub(crate) const SECTORS_PER_BITMAP: u64 = 1 << 23;
/// A sector bitmap's length.
pub(crate) const BITMAP_LEN: u64 = SECTORS_PER_BITMAP / 8;

pub(crate) const LOG_SECTOR: usize = 4096;
pub(crate) const LOG_ENTRY_SIGNATURE: [u8; 4] = *b"loge";
pub(crate) const LOG_ZERO_SIGNATURE: [u8; 4] = *b"zero";
pub(crate) const LOG_DATA_SIGNATURE: [u8; 4] = *b"desc";
pub(crate) const LOG_SECTOR_SIGNATURE: [u8; 4] = *b"data";

/// A GUID as it is stored: the first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Guid([u8; 16]);

impl From<Uuid> for Guid {
    fn from(id: Uuid) -> Self {
        Self(id.to_bytes_le())
    }
}

impl Guid {
    pub(crate) fn get(self) -> Uuid {
        Uuid::from_bytes_le(self.0)
    }
}

/// "Header".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) signature: [u8; 4],
    pub(crate) checksum: U32,
    pub(crate) sequence: U64,
    /// Changes with every opening for writing.
    pub(crate) file_write: Guid,
    /// Changes when the disk's data do: what a differencing disk knows its parent by.
    pub(crate) data_write: Guid,
    /// Which entries of the log are to be replayed; zero for none.
    pub(crate) log: Guid,
    pub(crate) log_version: U16,
    pub(crate) version: U16,
    pub(crate) log_len: U32,
    pub(crate) log_at: U64,
    pub(crate) reserved: [u8; 4016],
}

/// What a region table begins with.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RegionTable {
    pub(crate) signature: [u8; 4],
    /// Over all 64 KiB.
    pub(crate) checksum: U32,
    pub(crate) entries: U32,
    pub(crate) reserved: U32,
}

/// "Region Table Entry".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Region {
    pub(crate) id: Guid,
    pub(crate) at: U64,
    pub(crate) len: U32,
    pub(crate) flags: U32,
}

/// What a metadata table begins with.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct MetadataTable {
    pub(crate) signature: [u8; 8],
    pub(crate) reserved: U16,
    pub(crate) entries: U16,
    pub(crate) reserved_end: [u8; 20],
}

/// "Metadata Table Entry".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Item {
    pub(crate) id: Guid,
    /// From the region's start on.
    pub(crate) at: U32,
    pub(crate) len: U32,
    pub(crate) flags: U32,
    pub(crate) reserved: U32,
}

/// "Parent Locator Header".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LocatorHeader {
    pub(crate) kind: Guid,
    pub(crate) reserved: U16,
    pub(crate) pairs: U16,
}

/// "Parent Locator Entry": UTF-16 without a NUL; offsets from the locator's start on.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LocatorPair {
    pub(crate) key_at: U32,
    pub(crate) value_at: U32,
    pub(crate) key_len: U16,
    pub(crate) value_len: U16,
}

/// "Log Entry Header".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LogEntry {
    pub(crate) signature: [u8; 4],
    /// Over the whole entry.
    pub(crate) checksum: U32,
    pub(crate) len: U32,
    /// Where the oldest entry begins that had not reached its place when this one was written, from the log's start on.
    pub(crate) tail: U32,
    pub(crate) sequence: U64,
    pub(crate) descriptors: U32,
    pub(crate) reserved: U32,
    pub(crate) log: Guid,
    /// The file was at least so long.
    pub(crate) flushed_len: U64,
    /// The file has to be at least so long.
    pub(crate) last_len: U64,
}

/// "Zero Descriptor" and "Data Descriptor", which have the same length.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LogDescriptor {
    pub(crate) signature: [u8; 4],
    /// Of data: the last four bytes of the sector. Of zeros: reserved.
    pub(crate) trailing: [u8; 4],
    /// Of data: the first eight bytes of the sector. Of zeros: how many.
    pub(crate) leading: [u8; 8],
    /// Where in the file.
    pub(crate) at: U64,
    pub(crate) sequence: U64,
}

/// "Data Sector": a sector without its first eight and last four bytes, which are in the descriptor.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LogSector {
    pub(crate) signature: [u8; 4],
    pub(crate) sequence_high: U32,
    pub(crate) data: [u8; 4084],
    pub(crate) sequence_low: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(size_of::<RegionTable>() == 16);
const _: () = assert!(size_of::<Region>() == 32);
const _: () = assert!(size_of::<MetadataTable>() == 32);
const _: () = assert!(size_of::<Item>() == 32);
const _: () = assert!(size_of::<LocatorHeader>() == 20);
const _: () = assert!(size_of::<LocatorPair>() == 12);
const _: () = assert!(size_of::<LogEntry>() == 64);
const _: () = assert!(size_of::<LogDescriptor>() == 32);
const _: () = assert!(size_of::<LogSector>() == LOG_SECTOR);

/// An entry of the BAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) const NOT_PRESENT: u64 = 0;
    pub(crate) const UNDEFINED: u64 = 1;
    pub(crate) const ZERO: u64 = 2;
    pub(crate) const UNMAPPED: u64 = 3;
    pub(crate) const FULLY_PRESENT: u64 = 6;
    pub(crate) const PARTIALLY_PRESENT: u64 = 7;

    /// An entry of a block that is there.
    pub(crate) fn present(place: u64) -> Self {
        Self(place | Self::FULLY_PRESENT)
    }

    /// An entry of a block of which some sectors are the parent's.
    pub(crate) fn partial(place: u64) -> Self {
        Self(place | Self::PARTIALLY_PRESENT)
    }

    pub(crate) fn state(self) -> u64 {
        self.0 & 7
    }

    /// Where in the file.
    pub(crate) fn place(self) -> u64 {
        self.0 & !(UNIT - 1)
    }
}

/// How payload blocks and sector bitmaps alternate in the BAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Payload blocks to a sector bitmap.
    pub(crate) ratio: u64,
    /// Payload blocks in all.
    pub(crate) blocks: u64,
}

impl Chunks {
    /// For a disk whose sizes have been checked: the block size is a power of two, the logical sector 512 or 4096.
    pub(crate) fn new(disk_len: u64, block_size: u64, sector: u64) -> Self {
        Self { ratio: SECTORS_PER_BITMAP * sector / block_size, blocks: disk_len.div_ceil(block_size) }
    }

    /// The index of a payload block's entry.
    pub(crate) fn of_block(self, block: u64) -> u64 {
        block + block / self.ratio
    }

    /// The index of the entry of a payload block's sector bitmap.
    pub(crate) fn of_bitmap(self, block: u64) -> u64 {
        (block / self.ratio + 1) * (self.ratio + 1) - 1
    }

    /// How many entries there are: up to the last payload block's or, of a differencing disk, the last bitmap's.
    pub(crate) fn entries(self, differencing: bool) -> u64 {
        match self.blocks.checked_sub(1) {
            None => 0,
            Some(last) if differencing => self.of_bitmap(last) + 1,
            Some(last) => self.of_block(last) + 1,
        }
    }
}
