//! What lies in a WIM file, byte for byte. All integers are little-endian; offsets count from the start of the part.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First eight bytes of a WIM.
pub(super) const MAGIC: [u8; 8] = *b"MSWIM\0\0\0";
/// First eight bytes of a pipable WIM, an extension of wimlib.
pub(super) const MAGIC_PIPABLE: [u8; 8] = *b"WLPWM\0\0\0";

/// The version of all WIMs whose blobs are compressed one by one.
pub(super) const VERSION: u32 = 0x10D00;
/// The version of WIMs that may hold solid resources (ESD), since Windows 8.
pub(super) const VERSION_SOLID: u32 = 0xE00;

/// Bits of [`Header::flags`].
pub(super) mod header_flags {
    pub(in super::super) const COMPRESSED: u32 = 0x2;
    pub(in super::super) const WRITE_IN_PROGRESS: u32 = 0x40;
    pub(in super::super) const RP_FIX: u32 = 0x80;
    pub(in super::super) const XPRESS: u32 = 0x2_0000;
    pub(in super::super) const LZX: u32 = 0x4_0000;
    pub(in super::super) const LZMS: u32 = 0x8_0000;
    /// Seen together with small chunks; the data is XPRESS like any other.
    pub(in super::super) const XPRESS_2: u32 = 0x20_0000;
}

/// Bits of [`ResourceHeader::flags`].
pub(super) mod resource_flags {
    pub(in super::super) const METADATA: u8 = 0x2;
    pub(in super::super) const COMPRESSED: u8 = 0x4;
    pub(in super::super) const SOLID: u8 = 0x10;
}

/// The "uncompressed size" that marks a blob table entry as a solid resource instead of a blob in one.
pub(super) const SOLID_RESOURCE: u64 = 0x1_0000_0000;

/// Where a resource lies and how long it is.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ResourceHeader {
    /// 56 bits: the bytes that it takes in the file.
    pub(super) stored: [u8; 7],
    pub(super) flags: u8,
    pub(super) offset: U64,
    /// The bytes that it unpacks to.
    pub(super) size: U64,
}

impl ResourceHeader {
    pub(super) fn stored(&self) -> u64 {
        let [a, b, c, d, e, f, g] = self.stored;
        u64::from_le_bytes([a, b, c, d, e, f, g, 0])
    }

    pub(super) fn new(flags: u8, offset: u64, stored: u64, size: u64) -> Self {
        let [a, b, c, d, e, f, g, _] = stored.to_le_bytes();
        Self { stored: [a, b, c, d, e, f, g], flags, offset: offset.into(), size: size.into() }
    }
}

/// The header at offset 0 of every part.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) header_size: U32,
    pub(super) version: U32,
    pub(super) flags: U32,
    /// Bytes per chunk of compressed resources that are not solid.
    pub(super) chunk_size: U32,
    pub(super) guid: [u8; 16],
    /// From 1.
    pub(super) part: U16,
    pub(super) parts: U16,
    pub(super) images: U32,
    pub(super) blob_table: ResourceHeader,
    pub(super) xml: ResourceHeader,
    pub(super) boot_metadata: ResourceHeader,
    /// From 1; 0 for none.
    pub(super) boot_index: U32,
    pub(super) integrity: ResourceHeader,
    pub(super) unused: [u8; 60],
}

/// One entry of the blob table ("lookup table").
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BlobEntry {
    pub(super) resource: ResourceHeader,
    pub(super) part: U16,
    pub(super) references: U32,
    pub(super) sha1: [u8; 20],
}

/// What a solid resource starts with; a table of the stored sizes (u32) of all chunks follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SolidHeader {
    pub(super) size: U64,
    pub(super) chunk_size: U32,
    /// 0 none, 1 XPRESS, 2 LZX, 3 LZMS: independent of the header of the WIM.
    pub(super) compression: U32,
}

/// What the integrity table starts with; SHA-1s of pieces of `chunk_size` bytes follow, from the end of the header to the
/// end of the blob table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct IntegrityHeader {
    pub(super) size: U32,
    pub(super) entries: U32,
    pub(super) chunk_size: U32,
}

/// What a metadata resource starts with; the sizes (u64) of all descriptors follow, then the descriptors, then, at the next
/// multiple of 8, the root's dentry.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SecurityHeader {
    pub(super) total_length: U32,
    pub(super) entries: U32,
}

/// A dentry. The long and the short name follow, each with a NUL if it is not empty, then, at the next multiple of 8, tagged
/// items up to `length`; then, at the next multiple of 8, `streams` of [`StreamEntry`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Dentry {
    /// Without the stream entries; 0 (or at most 8) ends a directory.
    pub(super) length: U64,
    pub(super) attributes: U32,
    /// An index into the security descriptors, or [`NO_DESCRIPTOR`].
    pub(super) security_id: U32,
    /// Where a directory's children are, from the start of the metadata resource; 0 for none.
    pub(super) subdir_offset: U64,
    pub(super) unused: [u8; 16],
    pub(super) created: U64,
    pub(super) accessed: U64,
    pub(super) modified: U64,
    pub(super) sha1: [u8; 20],
    pub(super) unknown: U32,
    /// With a reparse point: its tag (u32), reserved (u16) and flags (u16, bit 0: the target was not fixed). Otherwise the
    /// hard link group, or 0.
    pub(super) link_or_reparse: U64,
    pub(super) streams: U16,
    pub(super) short_bytes: U16,
    pub(super) name_bytes: U16,
}

/// [`Dentry::security_id`] of a file without a descriptor.
pub(super) const NO_DESCRIPTOR: u32 = u32::MAX;

/// A stream of a file, beside the one that its dentry names. The name follows, with a NUL if it is not empty.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct StreamEntry {
    pub(super) length: U64,
    pub(super) unused: U64,
    pub(super) sha1: [u8; 20],
    pub(super) name_bytes: U16,
}

/// The head of a tagged item behind a dentry's names; the next one starts at a multiple of 8.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TaggedItem {
    pub(super) tag: U32,
    pub(super) length: U32,
}

/// Values of [`TaggedItem::tag`].
pub(super) mod tags {
    /// An object id, 16 or 64 bytes.
    pub(in super::super) const OBJECT_ID: u32 = 1;
    /// Extended attributes, a list of [`super::Attribute`]; also written by Windows 10 1607 and later (`dism /EA`).
    pub(in super::super) const EXTENDED_ATTRIBUTES: u32 = 2;
    /// Owner and mode of a Unix file, an extension of wimlib.
    pub(in super::super) const UNIX: u32 = 0x337D_D873;
    /// Extended attributes as early releases of wimlib 1.11 wrote them.
    pub(in super::super) const LINUX_ATTRIBUTES: u32 = 0x337D_D874;
}

/// The head of an extended attribute; its name with a NUL and its value follow, without any alignment.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Attribute {
    pub(super) value_bytes: U16,
    pub(super) name_bytes: u8,
    pub(super) flags: u8,
}

const _: () = {
    assert!(size_of::<ResourceHeader>() == 24);
    assert!(size_of::<Header>() == 208);
    assert!(size_of::<BlobEntry>() == 50);
    assert!(size_of::<SolidHeader>() == 16);
    assert!(size_of::<IntegrityHeader>() == 12);
    assert!(size_of::<SecurityHeader>() == 8);
    assert!(size_of::<Dentry>() == 102);
    assert!(size_of::<StreamEntry>() == 38);
    assert!(size_of::<TaggedItem>() == 8);
    assert!(size_of::<Attribute>() == 4);
};
