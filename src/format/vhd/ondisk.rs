//! The structures of a VHD file.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of addresses: VHD knows sectors of 512 bytes only.
pub const SECTOR: u64 = 512;

/// The length of a footer.
pub const FOOTER_LEN: u64 = 512;

/// What a footer begins with, and so every dynamic disk.
pub const COOKIE: [u8; 8] = *b"conectix";

pub(super) const HEADER_COOKIE: [u8; 8] = *b"cxsparse";
pub(super) const HEADER_LEN: u64 = 1024;

/// Version 1.0 of both structures; a reader is to refuse another major version.
pub(super) const VERSION: u32 = 0x0001_0000;

/// The reserved bit of `features`, which is always set.
pub(super) const FEATURES: u32 = 2;

pub(super) const CREATOR_HYPER_V: [u8; 4] = *b"win ";
pub(super) const CREATOR_VERSION: u32 = 0x000A_0000;
pub(super) const CREATOR_OS_WINDOWS: [u8; 4] = *b"Wi2k";

/// A `data_offset` that leads nowhere: of a fixed disk's footer, and of every dynamic header.
pub(super) const NOWHERE: u64 = u64::MAX;

/// The BAT's entry for a block that is not there.
pub(super) const NO_BLOCK: u32 = u32::MAX;

pub(super) const TYPE_FIXED: u32 = 2;
pub(super) const TYPE_DYNAMIC: u32 = 3;
pub(super) const TYPE_DIFFERENCING: u32 = 4;

/// "Hard Disk Footer Format".
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Footer {
    pub(super) cookie: [u8; 8],
    pub(super) features: U32,
    pub(super) version: U32,
    /// Of the dynamic header.
    pub(super) data_offset: U64,
    /// Seconds since 2000-01-01 00:00 UTC.
    pub(super) timestamp: U32,
    pub(super) creator: [u8; 4],
    pub(super) creator_version: U32,
    pub(super) creator_os: [u8; 4],
    pub(super) original_size: U64,
    pub(super) current_size: U64,
    pub(super) cylinders: U16,
    pub(super) heads: u8,
    pub(super) sectors: u8,
    pub(super) disk_type: U32,
    pub(super) checksum: U32,
    pub(super) id: [u8; 16],
    pub(super) saved_state: u8,
    pub(super) reserved: [u8; 427],
}

/// "Dynamic Disk Header Format". The parent fields are those of differencing disks and zero elsewhere.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) cookie: [u8; 8],
    pub(super) data_offset: U64,
    pub(super) table_offset: U64,
    pub(super) version: U32,
    pub(super) max_entries: U32,
    pub(super) block_size: U32,
    pub(super) checksum: U32,
    pub(super) parent_id: [u8; 16],
    pub(super) parent_timestamp: U32,
    pub(super) reserved: U32,
    pub(super) parent_name: [u8; 512],
    pub(super) parent_locators: [[u8; 24]; 8],
    pub(super) reserved_end: [u8; 256],
}

const _: () = assert!(size_of::<Footer>() as u64 == FOOTER_LEN);
const _: () = assert!(size_of::<Header>() as u64 == HEADER_LEN);

/// The complement of the sum of a structure's bytes, those of its own checksum field left out.
fn checksum(bytes: &[u8], field: U32) -> U32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    U32::new(!sum(bytes).wrapping_sub(sum(field.as_bytes())))
}

impl Footer {
    pub(super) fn right_checksum(&self) -> U32 {
        checksum(self.as_bytes(), self.checksum)
    }
}

impl Header {
    pub(super) fn right_checksum(&self) -> U32 {
        checksum(self.as_bytes(), self.checksum)
    }
}
