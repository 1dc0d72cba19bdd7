//! The structures of a VDI file.

use uuid::Uuid;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of disks.
pub(crate) const SECTOR: u64 = 512;

/// What tells that a file is a VDI; the text before it is different for each program.
pub const SIGNATURE: [u8; 4] = [0x7F, 0x10, 0xDA, 0xBE];
/// Where the signature is.
pub const SIGNATURE_AT: u64 = 0x40;

/// Version 1.1, the only one of interest.
pub(crate) const VERSION: u32 = 0x0001_0001;

/// The length of a header of version 1.1, counted from its own field for it.
pub(crate) const HEADER_LEN: u32 = 0x190;
/// The shortest one: older ones lack the last geometry.
pub(crate) const MIN_HEADER_LEN: u32 = 0x180;
/// Where the counting begins.
pub(crate) const HEADER_LEN_FROM: u64 = 0x48;

pub(crate) const TYPE_DYNAMIC: u32 = 1;
pub(crate) const TYPE_FIXED: u32 = 2;
pub(crate) const TYPE_UNDO: u32 = 3;
pub(crate) const TYPE_DIFFERENCING: u32 = 4;

/// The map's entry for a block that was never written.
pub(crate) const FREE: u32 = u32::MAX;
/// The map's entry for a block of zeros.
pub(crate) const ZERO: u32 = u32::MAX - 1;

/// Cylinders, heads, sectors per track; zero for "not known".
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Geometry {
    pub(crate) cylinders: U32,
    pub(crate) heads: U32,
    pub(crate) sectors: U32,
    /// Bytes per sector, which is never zero.
    pub(crate) sector_size: U32,
}

impl Geometry {
    /// As VirtualBox writes it: it calculates one when a machine wants it.
    pub(crate) const UNKNOWN: Self =
        Self { cylinders: U32::ZERO, heads: U32::ZERO, sectors: U32::ZERO, sector_size: U32::new(SECTOR as u32) };
}

/// A UUID, its first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Id([u8; 16]);

impl Id {
    pub(crate) fn get(self) -> Uuid {
        Uuid::from_bytes_le(self.0)
    }
}

impl From<Uuid> for Id {
    fn from(id: Uuid) -> Self {
        Self(id.to_bytes_le())
    }
}

/// What a file begins with, in version 1.1.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    /// A line of text about the program.
    pub(crate) about: [u8; 64],
    pub(crate) signature: [u8; 4],
    pub(crate) version: U32,
    pub(crate) header_len: U32,
    pub(crate) kind: U32,
    pub(crate) flags: U32,
    pub(crate) comment: [u8; 256],
    pub(crate) map_at: U32,
    pub(crate) data_at: U32,
    pub(crate) legacy_geometry: Geometry,
    pub(crate) reserved: U32,
    pub(crate) disk_len: U64,
    pub(crate) block_size: U32,
    /// Bytes in front of each block that are not the disk's.
    pub(crate) block_extra: U32,
    /// Entries of the map.
    pub(crate) blocks: U32,
    /// Blocks that are in the file.
    pub(crate) allocated: U32,
    pub(crate) id: Id,
    /// Changes with the disk's contents.
    pub(crate) modification: Id,
    pub(crate) parent: Id,
    pub(crate) parent_modification: Id,
    pub(crate) geometry: Geometry,
}

const _: () = assert!(size_of::<Header>() as u64 == HEADER_LEN_FROM + HEADER_LEN as u64);
const _: () = assert!(std::mem::offset_of!(Header, map_at) == 0x154);
const _: () = assert!(std::mem::offset_of!(Header, disk_len) == 0x170);
const _: () = assert!(std::mem::offset_of!(Header, id) == 0x188);
