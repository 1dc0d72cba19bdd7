//! The structures of a qcow2 file.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a file begins with.
pub const MAGIC: [u8; 4] = *b"QFI\xFB";

pub(crate) const SECTOR: u64 = 512;

/// The length of a header of version 2, which has no feature bits.
pub(crate) const HEADER_LEN_2: u32 = 72;
/// The length of a header of version 3 without later additions.
pub(crate) const HEADER_LEN_3: u32 = 104;

/// Incompatible features: who does not know a bit must not open the file.
pub(crate) mod incompatible {
    /// Reference counts may be wrong.
    pub(crate) const DIRTY: u64 = 1;
    /// The tables are known to be wrong.
    pub(crate) const CORRUPT: u64 = 1 << 1;
    pub(crate) const EXTERNAL_DATA: u64 = 1 << 2;
    /// Compressed in another way than with deflate.
    pub(crate) const COMPRESSION_TYPE: u64 = 1 << 3;
    /// L2 entries of 16 bytes, with bits for subclusters.
    pub(crate) const EXTENDED_L2: u64 = 1 << 4;
}

pub(crate) const COMPRESSION_DEFLATE: u8 = 0;
pub(crate) const COMPRESSION_ZSTD: u8 = 1;

/// 16 bits for each reference count, as qemu has it.
pub(crate) const REFCOUNT_ORDER: u32 = 4;

/// In L1 and L2 entries: the reference count of what it leads to is 1.
pub(crate) const COPIED: u64 = 1 << 63;
/// In L2 entries.
pub(crate) const COMPRESSED: u64 = 1 << 62;
/// In L2 entries without subclusters, from version 3 on: reads as zeros, wherever it leads to.
pub(crate) const ZERO: u64 = 1;
/// The place in an L1 or L2 entry.
pub(crate) const PLACE: u64 = 0x00FF_FFFF_FFFF_FE00;

/// The header. Version 2 ends before the features.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U32,
    pub(crate) backing_at: U64,
    pub(crate) backing_len: U32,
    pub(crate) cluster_bits: U32,
    pub(crate) disk_len: U64,
    pub(crate) encryption: U32,
    /// Entries of the L1 table.
    pub(crate) l1_entries: U32,
    pub(crate) l1_at: U64,
    pub(crate) refcounts_at: U64,
    /// Length of the refcount table in clusters.
    pub(crate) refcount_clusters: U32,
    pub(crate) snapshots: U32,
    pub(crate) snapshots_at: U64,
    pub(crate) incompatible: U64,
    pub(crate) compatible: U64,
    pub(crate) autoclear: U64,
    /// A reference count has 2 to the power of this bits.
    pub(crate) refcount_order: U32,
    pub(crate) header_len: U32,
    /// Later than the rest; there if the header's length says so.
    pub(crate) compression: u8,
    pub(crate) padding: [u8; 7],
}

const _: () = assert!(size_of::<Header>() as u32 == HEADER_LEN_3 + 8);
const _: () = assert!(std::mem::offset_of!(Header, incompatible) as u32 == HEADER_LEN_2);

/// Where the parts of an L2 entry for a compressed cluster are: the bit that the count of sectors begins with.
pub(crate) fn sectors_shift(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}
