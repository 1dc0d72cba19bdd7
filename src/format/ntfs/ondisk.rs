//! What lies on the disk: structures and constants of NTFS 3.1, byte for byte. No I/O.
//!
//! All integers are little-endian and unaligned. Offsets in comments are from the start of the structure.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Type codes of attributes, in the order in which they stand in a record.
pub mod kind {
    /// `$STANDARD_INFORMATION`
    pub const STANDARD_INFORMATION: u32 = 0x10;
    /// `$ATTRIBUTE_LIST`
    pub const ATTRIBUTE_LIST: u32 = 0x20;
    /// `$FILE_NAME`
    pub const FILE_NAME: u32 = 0x30;
    /// `$OBJECT_ID`
    pub const OBJECT_ID: u32 = 0x40;
    /// `$SECURITY_DESCRIPTOR`
    pub const SECURITY_DESCRIPTOR: u32 = 0x50;
    /// `$VOLUME_NAME`
    pub const VOLUME_NAME: u32 = 0x60;
    /// `$VOLUME_INFORMATION`
    pub const VOLUME_INFORMATION: u32 = 0x70;
    /// `$DATA`
    pub const DATA: u32 = 0x80;
    /// `$INDEX_ROOT`
    pub const INDEX_ROOT: u32 = 0x90;
    /// `$INDEX_ALLOCATION`
    pub const INDEX_ALLOCATION: u32 = 0xA0;
    /// `$BITMAP`
    pub const BITMAP: u32 = 0xB0;
    /// `$REPARSE_POINT`
    pub const REPARSE_POINT: u32 = 0xC0;
    /// `$EA_INFORMATION`
    pub const EA_INFORMATION: u32 = 0xD0;
    /// `$EA`
    pub const EA: u32 = 0xE0;
    /// `$LOGGED_UTILITY_STREAM`
    pub const LOGGED_UTILITY_STREAM: u32 = 0x100;
    /// The end of the attributes of a record.
    pub const END: u32 = 0xFFFF_FFFF;
}

/// Record numbers that are the same on every volume.
pub mod file {
    /// The table of all records.
    pub const MFT: u32 = 0;
    /// A copy of its first records.
    pub const MFT_MIRROR: u32 = 1;
    /// The journal.
    pub const LOG_FILE: u32 = 2;
    /// Label, version and state.
    pub const VOLUME: u32 = 3;
    /// The table of attribute types.
    pub const ATTRIBUTE_DEFINITIONS: u32 = 4;
    /// The root directory.
    pub const ROOT: u32 = 5;
    /// Which clusters are taken.
    pub const BITMAP: u32 = 6;
    /// Boot sector and boot code.
    pub const BOOT: u32 = 7;
    /// Which clusters are bad.
    pub const BAD_CLUSTERS: u32 = 8;
    /// All security descriptors.
    pub const SECURE: u32 = 9;
    /// The upper-case table.
    pub const UPCASE: u32 = 10;
    /// The directory of the files below.
    pub const EXTEND: u32 = 11;
    /// 12 to 15 are in use, without a name, for later versions of NTFS.
    pub const RESERVED: std::ops::Range<u32> = 12..16;
    /// Quotas, the first record that Windows itself hands out after format.
    pub const QUOTA: u32 = 24;
    /// Object ids.
    pub const OBJECT_IDS: u32 = 25;
    /// Reparse points.
    pub const REPARSE: u32 = 26;
    /// The first record for files of the user, as ntfs-3g numbers them. Windows puts its own `$Extend` files in between.
    pub const FIRST_USER: u32 = 64;
}

/// Records from here on may be files of the user; those below are the volume's own, or kept free for it.
pub const FIRST_ORDINARY: u32 = 24;
/// `VolumeInformation::flags` bit: the volume is to be checked.
pub const VOLUME_DIRTY: u16 = 1;
/// The reparse tag of files whose contents the overlay filter keeps elsewhere (`IO_REPARSE_TAG_WOF`).
pub const WOF_TAG: u32 = 0x8000_0017;
/// `WofReparse::provider`: the contents are in a WIM file.
pub const WOF_PROVIDER_WIM: u32 = 1;
/// `WofReparse::provider`: the contents are in the stream `WofCompressedData`.
pub const WOF_PROVIDER_FILE: u32 = 2;
/// The name of the index of a directory.
pub const I30: &[u16] = &[0x24, 0x49, 0x33, 0x30];
/// Update sequences protect strides of this length, whatever the sector size is.
pub const STRIDE: usize = 512;
/// The first update sequence number of a structure.
pub const FIRST_USN: u16 = 1;
/// Length of an index block, at any cluster size.
pub const INDEX_BLOCK: usize = 4096;
/// Index blocks in clusters larger than a block are numbered in units of this length.
pub const INDEX_UNIT: u64 = 512;
/// Length of `$Boot`.
pub const BOOT_LEN: usize = 8192;
/// The first security id of `$Secure`.
pub const FIRST_SECURITY_ID: u32 = 0x100;
/// `$SDS` consists of pairs of blocks of this length, the second of each pair a copy of the first.
pub const SDS_BLOCK: u64 = 0x4_0000;
/// `$SDS` entries begin at multiples of this.
pub const SDS_ALIGN: u64 = 16;
/// Longest value of `$REPARSE_POINT`, header included.
pub const MAX_REPARSE: u64 = 0x4000;
/// Longest value of `$EA` that its own counters can describe.
pub const MAX_EA: u64 = 0xFFFF;
/// Longest value of `$ATTRIBUTE_LIST`.
pub const MAX_ATTRIBUTE_LIST: u64 = 0x4_0000;
/// Most clusters that Windows' implementation of NTFS takes.
pub const MAX_CLUSTERS: u64 = u32::MAX as u64;

/// How the keys of an index are ordered.
pub mod collation {
    /// `COLLATION_FILE_NAME`
    pub const FILE_NAME: u32 = 1;
    /// `COLLATION_NTOFS_ULONG`
    pub const ULONG: u32 = 0x10;
    /// `COLLATION_NTOFS_SID`
    pub const SID: u32 = 0x11;
    /// `COLLATION_NTOFS_SECURITY_HASH`: by hash, then by id.
    pub const SECURITY_HASH: u32 = 0x12;
    /// `COLLATION_NTOFS_ULONGS`: word by word.
    pub const ULONGS: u32 = 0x13;
}

/// Bits of [`RecordHeader::flags`].
pub mod record_flag {
    /// The record is in use.
    pub const IN_USE: u16 = 1;
    /// It has a `$I30` index: it is a directory.
    pub const DIRECTORY: u16 = 2;
    /// It lives in `$Extend`.
    pub const EXTEND: u16 = 4;
    /// It has indexes other than `$I30`.
    pub const VIEW_INDEX: u16 = 8;
}

/// Bits of the flags in an attribute's header.
pub mod attribute_flag {
    /// How the stream is compressed: 0 not at all, 1 by LZNT1.
    pub const COMPRESSION: u16 = 0xFF;
    /// Encrypted by EFS.
    pub const ENCRYPTED: u16 = 0x4000;
    /// May have holes.
    pub const SPARSE: u16 = 0x8000;
}

/// Bits that [`FileName::attributes`] has beyond those of `$STANDARD_INFORMATION`.
pub mod name_flag {
    /// A directory.
    pub const DIRECTORY: u32 = 0x1000_0000;
    /// A file with view indexes; this one is kept in `$STANDARD_INFORMATION` too.
    pub const VIEW_INDEX: u32 = 0x2000_0000;
}

/// Bits of [`IndexEntry::flags`].
pub mod entry_flag {
    /// The last eight bytes are the number of a child block.
    pub const HAS_CHILD: u16 = 1;
    /// Ends a node; has no key.
    pub const END: u16 = 2;
}

/// Values of [`FileName::namespace`].
pub mod namespace {
    /// Case matters, or there is no short name.
    pub const POSIX: u8 = 0;
    /// The long one of a pair.
    pub const WIN32: u8 = 1;
    /// The short one of a pair.
    pub const DOS: u8 = 2;
    /// Both at once.
    pub const WIN32_AND_DOS: u8 = 3;
}

/// `StandardInformation::version` bit: names in the directory may differ in case only.
pub const CASE_SENSITIVE: u32 = 1;

macro_rules! ondisk {
    ($($(#[$doc:meta])* $size:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

ondisk! {
    /// The BIOS parameter block, from offset 3 of the boot sector to the boot code at 0x54.
    81 BiosParameterBlock {
        /// `"NTFS    "`
        oem: [u8; 8],
        /// 0x0B
        bytes_per_sector: U16,
        /// 0x0D
        sectors_per_cluster: u8,
        /// 0x0E: must be zero.
        zero_0e: [u8; 7],
        /// 0x15: 0xF8.
        media: u8,
        /// 0x16
        zero_16: U16,
        /// 0x18
        sectors_per_track: U16,
        /// 0x1A
        heads: U16,
        /// 0x1C: where the partition begins on the disk, in sectors.
        hidden_sectors: U32,
        /// 0x20
        zero_20: U32,
        /// 0x24: 0x0080_0080; the low byte is the BIOS drive.
        drive: U32,
        /// 0x28: not counting the last sector, which keeps the copy of this one.
        total_sectors: U64,
        /// 0x30
        mft_lcn: U64,
        /// 0x38
        mft_mirror_lcn: U64,
        /// 0x40: clusters if positive, else the binary logarithm of bytes, negated.
        record_size: i8,
        /// 0x41
        zero_41: [u8; 3],
        /// 0x44: likewise.
        index_block_size: i8,
        /// 0x45
        zero_45: [u8; 3],
        /// 0x48
        serial: U64,
        /// 0x50: unused.
        checksum: U32,
    }

    /// The head of a FILE record; the update sequence follows at 48.
    48 RecordHeader {
        /// `FILE`
        magic: [u8; 4],
        /// 4
        usa_offset: U16,
        /// 6: one for the number itself and one for each stride.
        usa_count: U16,
        /// 8: in the journal.
        lsn: U64,
        /// 16: of this use of the record.
        sequence: U16,
        /// 18: `$FILE_NAME` attributes, DOS names included.
        links: U16,
        /// 20
        attributes_offset: U16,
        /// 22: see [`record_flag`].
        flags: U16,
        /// 24: up to and including the end marker and the word after it.
        used: U32,
        /// 28
        allocated: U32,
        /// 32: the reference to the base record, or 0.
        base: U64,
        /// 40
        next_instance: U16,
        /// 42
        number_high: U16,
        /// 44
        number_low: U32,
    }

    /// The head that all attributes share, and that of resident ones.
    24 ResidentHeader {
        /// See [`kind`].
        kind: U32,
        /// 4: of the whole attribute, a multiple of 8.
        len: U32,
        /// 8
        non_resident: u8,
        /// 9: in code units.
        name_len: u8,
        /// 10
        name_offset: U16,
        /// 12: see [`attribute_flag`].
        flags: U16,
        /// 14: unique in the record.
        instance: U16,
        /// 16
        value_len: U32,
        /// 20
        value_offset: U16,
        /// 22: 1 for `$FILE_NAME`.
        indexed: u8,
        /// 23
        zero_23: u8,
    }

    /// The head of a non-resident attribute.
    64 NonResidentHeader {
        /// See [`kind`].
        kind: U32,
        /// 4: of the whole attribute, a multiple of 8.
        len: U32,
        /// 8
        non_resident: u8,
        /// 9: in code units.
        name_len: u8,
        /// 10
        name_offset: U16,
        /// 12: see [`attribute_flag`].
        flags: U16,
        /// 14: unique in the record.
        instance: U16,
        /// 16
        lowest_vcn: U64,
        /// 24: inclusive; -1 when there is none.
        highest_vcn: U64,
        /// 32: of the mapping pairs.
        runs_offset: U16,
        /// 34: binary logarithm of the clusters that are compressed together.
        compression_unit: u8,
        /// 35
        zero_35: [u8; 5],
        /// 40: whole clusters, holes included.
        allocated: U64,
        /// 48
        size: U64,
        /// 56: what is beyond reads as zero.
        initialized: U64,
    }

    /// `$STANDARD_INFORMATION`; volumes before NTFS 3.0 end at 48.
    72 StandardInformation {
        /// Four times: created, modified, record changed, accessed.
        times: [U64; 4],
        /// 32
        attributes: U32,
        /// 36
        max_versions: U32,
        /// 40: see [`CASE_SENSITIVE`].
        version: U32,
        /// 44
        class: U32,
        /// 48
        owner: U32,
        /// 52: of the descriptor in `$Secure`.
        security: U32,
        /// 56
        quota: U64,
        /// 64: in the change journal.
        usn: U64,
    }

    /// `$FILE_NAME`, and the key of a directory's index; the name follows.
    66 FileName {
        /// Of the directory.
        parent: U64,
        /// 8: created, modified, record changed, accessed.
        times: [U64; 4],
        /// 40: of the main stream.
        allocated: U64,
        /// 48
        size: U64,
        /// 56: see [`name_flag`].
        attributes: U32,
        /// 60: the reparse tag, or else the packed length of extended attributes.
        tag: U32,
        /// 64: in code units.
        name_len: u8,
        /// 65: see [`namespace`].
        namespace: u8,
    }

    /// An entry of `$ATTRIBUTE_LIST`; the name follows.
    26 ListEntry {
        /// See [`kind`].
        kind: U32,
        /// 4: a multiple of 8.
        len: U16,
        /// 6: in code units.
        name_len: u8,
        /// 7: 26.
        name_offset: u8,
        /// 8
        lowest_vcn: U64,
        /// 16: of the record that holds the attribute.
        holder: U64,
        /// 24: in that record.
        instance: U16,
    }

    /// The head of `$INDEX_ROOT`; a [`NodeHeader`] follows.
    16 IndexRoot {
        /// Of the indexed attribute: `$FILE_NAME`, or 0 for a view.
        kind: U32,
        /// 4: see [`collation`].
        collation: U32,
        /// 8: of a block.
        block_size: U32,
        /// 12: clusters, or 512-byte units where clusters are larger than blocks.
        units_per_block: u8,
        /// 13
        zero_13: [u8; 3],
    }

    /// The head of a node of an index, in `$INDEX_ROOT` and in blocks; offsets count from its own start.
    16 NodeHeader {
        /// Of the first entry.
        entries_offset: U32,
        /// 4: end of the last entry.
        used: U32,
        /// 8
        allocated: U32,
        /// 12: 1 if there are children.
        flags: U32,
    }

    /// The head of an index block; a [`NodeHeader`] follows, then the update sequence at 40.
    24 BlockHeader {
        /// `INDX`
        magic: [u8; 4],
        /// 4
        usa_offset: U16,
        /// 6
        usa_count: U16,
        /// 8
        lsn: U64,
        /// 16: its own number.
        vcn: U64,
    }

    /// The head of an index entry; key and data follow, and the child's number at the very end.
    16 IndexEntry {
        /// The file reference in directories; in views the offset (u16) and length (u16) of the data, and a zero u32.
        reference: U64,
        /// 8: of the whole entry, a multiple of 8.
        len: U16,
        /// 10
        key_len: U16,
        /// 12: see [`entry_flag`].
        flags: U16,
        /// 14
        zero_14: U16,
    }

    /// The head of an entry of `$Secure:$SDS`, and the data of its two indexes.
    20 SdsHeader {
        /// See `plan::secure::hash`.
        hash: U32,
        /// 4
        id: U32,
        /// 8: its own offset in the stream.
        offset: U64,
        /// 16: with this head.
        len: U32,
    }

    /// An entry of `$AttrDef`, after the 128 bytes of its name.
    32 Definition {
        /// See [`kind`].
        kind: U32,
        /// 4
        display_rule: U32,
        /// 8
        collation_rule: U32,
        /// 12: 2 indexed, 0x40 always resident, 0x80 may be non-resident.
        flags: U32,
        /// 16
        min: U64,
        /// 24
        max: U64,
    }

    /// `$VOLUME_INFORMATION`.
    12 VolumeInformation {
        /// 0
        zero_0: U64,
        /// 8
        major: u8,
        /// 9
        minor: u8,
        /// 10: see [`VOLUME_DIRTY`].
        flags: U16,
    }

    /// The data of a reparse point with [`WOF_TAG`] and [`WOF_PROVIDER_FILE`]; that of other providers begins likewise.
    16 WofReparse {
        /// 1
        version: U32,
        /// 4: see [`WOF_PROVIDER_FILE`].
        provider: U32,
        /// 8: 1
        provider_version: U32,
        /// 12: 0 XPRESS, 1 LZX, 2 and 3 XPRESS with chunks of 8 and 16 KiB.
        algorithm: U32,
    }

    /// The head of an extended attribute in `$EA`; name, NUL and value follow.
    8 EaHeader {
        /// Of the whole entry, a multiple of 4.
        len: U32,
        /// 4: 0x80 if a program has to understand it.
        flags: u8,
        /// 5: in bytes, without the NUL.
        name_len: u8,
        /// 6
        value_len: U16,
    }

    /// `$EA_INFORMATION`.
    8 EaInformation {
        /// As OS/2 counted them.
        packed: U16,
        /// 2: with the flag 0x80.
        need: U16,
        /// 4: of `$EA`.
        unpacked: U32,
    }

    /// The head of `$REPARSE_POINT`.
    8 ReparseHeader {
        /// Who understands it.
        tag: U32,
        /// 4: of the data after this head (without the GUID of third-party tags).
        len: U16,
        /// 6
        zero_6: U16,
    }
}

/// A file reference: record number and sequence number.
pub fn reference(record: u32, sequence: u16) -> u64 {
    u64::from(sequence) << 48 | u64::from(record)
}

/// The record number of a file reference.
pub fn record_of(reference: u64) -> u64 {
    reference & 0xFFFF_FFFF_FFFF
}

/// The sequence number of a file reference.
pub fn sequence_of(reference: u64) -> u16 {
    (reference >> 48) as u16
}

/// Length of an attribute's header and name: where the value or the mapping pairs begin.
pub fn value_offset(header: usize, name_units: usize) -> usize {
    (header + 2 * name_units).next_multiple_of(8)
}
