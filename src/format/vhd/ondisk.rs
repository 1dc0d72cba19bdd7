//! The structures of a VHD file.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of addresses: VHD knows sectors of 512 bytes only.
pub const SECTOR: u64 = 512;

/// The length of a footer.
pub const FOOTER_LEN: u64 = 512;

/// What a footer begins with, and so every dynamic disk.
pub const COOKIE: [u8; 8] = *b"conectix";

pub(crate) const HEADER_COOKIE: [u8; 8] = *b"cxsparse";
pub(crate) const HEADER_LEN: u64 = 1024;

/// Version 1.0 of both structures; a reader is to refuse another major version.
pub(crate) const VERSION: u32 = 0x0001_0000;

/// The reserved bit of `features`, which is always set.
pub(crate) const FEATURES: u32 = 2;

pub(crate) const CREATOR_HYPER_V: [u8; 4] = *b"win ";
pub(crate) const CREATOR_VERSION: u32 = 0x000A_0000;
pub(crate) const CREATOR_OS_WINDOWS: [u8; 4] = *b"Wi2k";

/// A `data_offset` that leads nowhere: of a fixed disk's footer, and of every dynamic header.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// The BAT's entry for a block that is not there.
pub(crate) const NO_BLOCK: u32 = u32::MAX;

pub(crate) const TYPE_FIXED: u32 = 2;
pub(crate) const TYPE_DYNAMIC: u32 = 3;
pub(crate) const TYPE_DIFFERENCING: u32 = 4;

/// How many paths of a parent a header has room for.
pub(crate) const LOCATORS: usize = 8;
/// How long the parent's name may be, in UTF-16 units.
pub(crate) const NAME_UNITS: usize = 256;

/// A path from the child's folder, in UTF-16.
pub(crate) const PLATFORM_RELATIVE: [u8; 4] = *b"W2ru";
/// An absolute path, in UTF-16.
pub(crate) const PLATFORM_ABSOLUTE: [u8; 4] = *b"W2ku";

/// "Hard Disk Footer Format".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Footer {
    pub(crate) cookie: [u8; 8],
    pub(crate) features: U32,
    pub(crate) version: U32,
    /// Of the dynamic header.
    pub(crate) data_offset: U64,
    /// Seconds since 2000-01-01 00:00 UTC.
    pub(crate) timestamp: U32,
    pub(crate) creator: [u8; 4],
    pub(crate) creator_version: U32,
    pub(crate) creator_os: [u8; 4],
    pub(crate) original_size: U64,
    pub(crate) current_size: U64,
    pub(crate) cylinders: U16,
    pub(crate) heads: u8,
    pub(crate) sectors: u8,
    pub(crate) disk_type: U32,
    pub(crate) checksum: U32,
    pub(crate) id: [u8; 16],
    pub(crate) saved_state: u8,
    pub(crate) reserved: [u8; 427],
}

/// "Dynamic Disk Header Format". The parent fields are those of differencing disks and zero elsewhere.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) cookie: [u8; 8],
    pub(crate) data_offset: U64,
    pub(crate) table_offset: U64,
    pub(crate) version: U32,
    pub(crate) max_entries: U32,
    pub(crate) block_size: U32,
    pub(crate) checksum: U32,
    pub(crate) parent_id: [u8; 16],
    pub(crate) parent_timestamp: U32,
    pub(crate) reserved: U32,
    pub(crate) parent_name: [u8; 2 * NAME_UNITS],
    pub(crate) parent_locators: [Locator; LOCATORS],
    pub(crate) reserved_end: [u8; 256],
}

/// "Parent Locator": where in the file a path of the parent is.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Locator {
    /// What kind of path; all zeros where there is none.
    pub(crate) platform: [u8; 4],
    /// Room for the path: in sectors by the specification, in bytes as Windows writes it.
    pub(crate) data_space: U32,
    /// Length of the path in bytes.
    pub(crate) data_length: U32,
    pub(crate) reserved: U32,
    pub(crate) data_offset: U64,
}

const _: () = assert!(size_of::<Locator>() == 24);
const _: () = assert!(size_of::<Footer>() as u64 == FOOTER_LEN);
const _: () = assert!(size_of::<Header>() as u64 == HEADER_LEN);

/// The complement of the sum of a structure's bytes, those of its own checksum field left out.
fn checksum(bytes: &[u8], field: U32) -> U32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    U32::new(!sum(bytes).wrapping_sub(sum(field.as_bytes())))
}

impl Footer {
    pub(crate) fn right_checksum(&self) -> U32 {
        checksum(self.as_bytes(), self.checksum)
    }
}

impl Header {
    pub(crate) fn right_checksum(&self) -> U32 {
        checksum(self.as_bytes(), self.checksum)
    }
}
