//! The structures of a hive and of its logs, as they lie in the file. All little-endian.
//!
//! Offsets between cells count from the start of the hive bins data, which follows the base block.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a primary file and of a log.
pub(super) const REGF: [u8; 4] = *b"regf";
/// First bytes of a hive bin.
pub(super) const HBIN: [u8; 4] = *b"hbin";
/// First bytes of the dirty vector of an old log.
pub(super) const DIRT: [u8; 4] = *b"DIRT";
/// First bytes of an entry of a new log.
pub(super) const HVLE: [u8; 4] = *b"HvLE";

pub(super) const KEY_NODE: [u8; 2] = *b"nk";
pub(super) const KEY_VALUE: [u8; 2] = *b"vk";
pub(super) const KEY_SECURITY: [u8; 2] = *b"sk";
pub(super) const BIG_DATA: [u8; 2] = *b"db";
pub(super) const INDEX_LEAF: [u8; 2] = *b"li";
pub(super) const FAST_LEAF: [u8; 2] = *b"lf";
pub(super) const HASH_LEAF: [u8; 2] = *b"lh";
pub(super) const INDEX_ROOT: [u8; 2] = *b"ri";

/// An offset that points nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Bytes of the base block, and the unit of hive bins.
pub(super) const BLOCK: usize = 4096;
/// Offsets with this bit belong to volatile storage, which no file has: the limit of a hive's size.
pub(super) const VOLATILE_BIT: u32 = 1 << 31;
/// The size field before the payload of each cell.
pub(super) const CELL_HEADER: usize = 4;
/// Cells begin and end at multiples of this.
pub(super) const CELL_ALIGN: usize = 8;
/// Set in the data size of a value whose data (up to 4 bytes) lie in the data offset field.
pub(super) const INLINE: u32 = 1 << 31;
/// Data longer than this are split into segments of this length, from minor version 4 on.
pub(super) const SEGMENT: usize = 16344;

/// File types in the base block.
pub(super) const TYPE_PRIMARY: u32 = 0;
pub(super) const TYPE_OLD_LOGS: [u32; 2] = [1, 2];
pub(super) const TYPE_NEW_LOG: u32 = 6;
/// File format in the base block: direct memory load.
pub(super) const FORMAT_MEMORY: u32 = 1;

/// The key is the root of its hive.
pub(super) const KEY_HIVE_ENTRY: u16 = 0x0004;
/// The key cannot be deleted.
pub(super) const KEY_NO_DELETE: u16 = 0x0008;
/// The name of the key is stored as one byte for each code unit.
pub(super) const KEY_COMP_NAME: u16 = 0x0020;
/// The number of values is a handle instead, and there are no values.
pub(super) const KEY_PREDEF_HANDLE: u16 = 0x0040;
/// The name of the value is stored as one byte for each code unit.
pub(super) const VALUE_COMP_NAME: u16 = 0x0001;

/// The first 512 bytes of a primary file or of a log; in a primary file, 3584 more follow that this program leaves zero.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BaseBlock {
    pub(super) signature: [u8; 4],
    pub(super) primary_sequence: U32,
    pub(super) secondary_sequence: U32,
    pub(super) last_written: U64,
    pub(super) major: U32,
    pub(super) minor: U32,
    pub(super) file_type: U32,
    pub(super) file_format: U32,
    pub(super) root: U32,
    pub(super) bins_size: U32,
    /// Bytes of a sector over 512.
    pub(super) clustering: U32,
    /// The end of the file's path, UTF-16, for debugging.
    pub(super) file_name: [u8; 64],
    /// Resource manager and its log, for transactions (Windows Vista and later).
    pub(super) rm_id: [u8; 16],
    pub(super) log_id: [u8; 16],
    /// Bit 0: transactions are pending.
    pub(super) flags: U32,
    pub(super) tm_id: [u8; 16],
    /// `rmtm` where the three identifiers are meant.
    pub(super) guid_signature: [u8; 4],
    pub(super) last_reorganized: U64,
    pub(super) reserved: [u8; 332],
    pub(super) checksum: U32,
}
const _: () = assert!(size_of::<BaseBlock>() == 512);

impl BaseBlock {
    /// What the checksum field must hold: all words before it, xored; two values are never used.
    pub(super) fn expected_checksum(&self) -> u32 {
        let words = self.as_bytes()[..508].chunks_exact(4);
        match words.fold(0, |sum, w| sum ^ u32::from_le_bytes([w[0], w[1], w[2], w[3]])) {
            0 => 1,
            u32::MAX => u32::MAX - 1,
            sum => sum,
        }
    }
}

/// The header of a hive bin; cells fill the rest.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BinHeader {
    pub(super) signature: [u8; 4],
    pub(super) offset: U32,
    pub(super) size: U32,
    pub(super) reserved: [u8; 8],
    /// The base block's time again; in the first bin only.
    pub(super) timestamp: U64,
    pub(super) spare: U32,
}
pub(super) const BIN_HEADER: usize = size_of::<BinHeader>();
const _: () = assert!(BIN_HEADER == 32);

/// A key, followed by its name.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KeyNode {
    pub(super) signature: [u8; 2],
    pub(super) flags: U16,
    pub(super) last_written: U64,
    /// Access bits and, in layered hives, how the key covers the one below.
    pub(super) access: U32,
    pub(super) parent: U32,
    pub(super) subkeys: U32,
    pub(super) volatile_subkeys: U32,
    pub(super) subkey_list: U32,
    pub(super) volatile_subkey_list: U32,
    pub(super) values: U32,
    pub(super) value_list: U32,
    pub(super) security: U32,
    pub(super) class: U32,
    /// In bytes as UTF-16.
    pub(super) largest_subkey_name: U16,
    /// Virtualisation flags, user (WOW64) flags and a debug byte.
    pub(super) control: U16,
    pub(super) largest_subkey_class: U32,
    pub(super) largest_value_name: U32,
    pub(super) largest_value_data: U32,
    pub(super) work_var: U32,
    pub(super) name_length: U16,
    pub(super) class_length: U16,
}
pub(super) const KEY_NODE_SIZE: usize = size_of::<KeyNode>();
const _: () = assert!(KEY_NODE_SIZE == 76);

/// A value, followed by its name.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KeyValue {
    pub(super) signature: [u8; 2],
    pub(super) name_length: U16,
    pub(super) data_size: U32,
    pub(super) data: [u8; 4],
    pub(super) kind: U32,
    pub(super) flags: U16,
    pub(super) spare: U16,
}
pub(super) const KEY_VALUE_SIZE: usize = size_of::<KeyValue>();
const _: () = assert!(KEY_VALUE_SIZE == 20);

/// A security descriptor that keys share, followed by its bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KeySecurity {
    pub(super) signature: [u8; 2],
    pub(super) reserved: U16,
    /// The next and the previous one of the ring that all of them form.
    pub(super) forward: U32,
    pub(super) backward: U32,
    /// How many keys point here.
    pub(super) references: U32,
    pub(super) size: U32,
}
pub(super) const KEY_SECURITY_SIZE: usize = size_of::<KeySecurity>();
const _: () = assert!(KEY_SECURITY_SIZE == 20);

/// Data in segments: where the list of them is.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BigData {
    pub(super) signature: [u8; 2],
    pub(super) segments: U16,
    pub(super) list: U32,
}
const _: () = assert!(size_of::<BigData>() == 8);

/// The head of a list of subkeys, or of a list of such lists.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ListHeader {
    pub(super) signature: [u8; 2],
    pub(super) count: U16,
}
const _: () = assert!(size_of::<ListHeader>() == 4);

/// An entry of a new log, followed by references to pages (offset and size, 4 bytes each) and by the pages.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LogEntry {
    pub(super) signature: [u8; 4],
    pub(super) size: U32,
    pub(super) flags: U32,
    pub(super) sequence: U32,
    pub(super) bins_size: U32,
    pub(super) pages: U32,
    /// Of everything behind this header.
    pub(super) body_hash: U64,
    /// Of the 32 bytes before this field.
    pub(super) header_hash: U64,
}
pub(super) const LOG_ENTRY_SIZE: usize = size_of::<LogEntry>();
const _: () = assert!(LOG_ENTRY_SIZE == 40);
