//! The structures of a VMDK file.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of addresses.
pub(crate) const SECTOR: u64 = 512;

/// What a sparse extent begins with, and so every file that is a whole disk.
pub(crate) const MAGIC: [u8; 4] = *b"KDMV";
/// What extents of ESX and of VMware before 2004 begin with.
pub(crate) const MAGIC_COWD: [u8; 4] = *b"COWD";
/// What a descriptor begins with that lies in a file of its own.
pub(crate) const MAGIC_DESCRIPTOR: [u8; 21] = *b"# Disk DescriptorFile";

/// Version of an extent with nothing special about it.
pub(crate) const VERSION: u32 = 1;
/// Version of a stream, and the highest that there is. Between them is the one with grains that are known to be zero.
pub(crate) const VERSION_STREAM: u32 = 3;

/// The bytes for the detection of changed line ends are there.
pub(crate) const FLAG_LINE_ENDS: u32 = 1;
/// There are a second grain directory and second grain tables.
pub(crate) const FLAG_REDUNDANT: u32 = 2;
/// A grain table's entry of 1 stands for a grain of zeros.
pub(crate) const FLAG_ZERO_GRAINS: u32 = 4;
/// Grains are compressed.
pub(crate) const FLAG_COMPRESSED: u32 = 0x1_0000;
/// There are markers before grains and tables.
pub(crate) const FLAG_MARKERS: u32 = 0x2_0000;
/// Of the upper half, a reader has to know all.
pub(crate) const FLAGS_INCOMPATIBLE: u32 = 0xFFFF_0000;

/// The `grain_directory` of a stream's header: what it is follows from the footer.
pub(crate) const AT_END: u64 = u64::MAX;

/// RFC 1950: zlib around deflate.
pub(crate) const DEFLATE: u16 = 1;

/// What the line ends have to be: a transfer as text would have changed some of them.
pub(crate) const LINE_ENDS: [u8; 4] = *b"\n \r\n";

/// Entries of a grain table; no other number has been seen.
pub(crate) const TABLE_ENTRIES: u64 = 512;
/// Length of a grain table.
pub(crate) const TABLE_LEN: u64 = TABLE_ENTRIES * 4;

/// The grain table's entry for a grain of zeros, where [`FLAG_ZERO_GRAINS`] says so.
pub(crate) const ZERO_GRAIN: u32 = 1;

/// "SparseExtentHeader". Lengths and places are in sectors.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U32,
    pub(crate) flags: U32,
    /// Of the disk.
    pub(crate) capacity: U64,
    pub(crate) grain: U64,
    pub(crate) descriptor: U64,
    pub(crate) descriptor_len: U64,
    pub(crate) table_entries: U32,
    pub(crate) redundant_directory: U64,
    pub(crate) grain_directory: U64,
    /// Where the grains begin.
    pub(crate) overhead: U64,
    /// Whether a machine has the disk open, or had when it died.
    pub(crate) unclean: u8,
    pub(crate) line_ends: [u8; 4],
    pub(crate) compression: U16,
    pub(crate) reserved: [u8; 433],
}

/// What is before each grain of a stream; its compressed bytes follow, up to the end of a sector.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct GrainMarker {
    /// The first sector of the grain on the disk.
    pub(crate) sector: U64,
    /// Bytes of compressed data, never 0.
    pub(crate) len: U32,
}

/// A sector before everything else in a stream.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Marker {
    /// Sectors that follow and belong to it.
    pub(crate) sectors: U64,
    /// 0, which tells it from a grain's.
    pub(crate) len: U32,
    pub(crate) kind: U32,
    pub(crate) reserved: [u8; 496],
}

pub(crate) const MARKER_END: u32 = 0;
pub(crate) const MARKER_TABLE: u32 = 1;
pub(crate) const MARKER_DIRECTORY: u32 = 2;
pub(crate) const MARKER_FOOTER: u32 = 3;

const _: () = assert!(size_of::<Header>() as u64 == SECTOR);
const _: () = assert!(size_of::<GrainMarker>() == 12);
const _: () = assert!(size_of::<Marker>() as u64 == SECTOR);
const _: () = assert!(TABLE_LEN.is_multiple_of(SECTOR));
