//! What lies in the file: the header, and the records of folders, files and blocks of data.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const SIGNATURE: &[u8; 4] = b"MSCF";
/// `CFHEADER.version`, minor and major.
pub(super) const VERSION: [u8; 2] = [3, 1];

/// `CFHEADER`. If [`FLAG_RESERVE`] is set, a [`Reserve`] and so many bytes follow.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signature: [u8; 4],
    pub(super) reserved1: U32,
    /// 0x08: of the whole cabinet. What comes after it (a signature) is none of its business.
    pub(super) len: U32,
    pub(super) reserved2: U32,
    /// 0x10: where the records of files begin.
    pub(super) files: U32,
    pub(super) reserved3: U32,
    /// 0x18
    pub(super) version: [u8; 2],
    pub(super) folder_count: U16,
    pub(super) file_count: U16,
    pub(super) flags: U16,
    /// 0x20
    pub(super) set_id: U16,
    pub(super) index: U16,
}
const _: () = assert!(size_of::<Header>() == 0x24);

pub(super) const FLAG_PREVIOUS: u16 = 1;
pub(super) const FLAG_NEXT: u16 = 2;
pub(super) const FLAG_RESERVE: u16 = 4;

/// How many bytes of each kind of record are the business of whoever made the cabinet.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Reserve {
    pub(super) header: U16,
    pub(super) folder: u8,
    pub(super) data: u8,
}
const _: () = assert!(size_of::<Reserve>() == 4);

/// `CFFOLDER`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Folder {
    /// Where its first block of data is.
    pub(super) data: U32,
    pub(super) blocks: U16,
    pub(super) compression: U16,
}
const _: () = assert!(size_of::<Folder>() == 8);

pub(super) const COMPRESSION_MASK: u16 = 0x000F;
/// Where the window of LZX is, as a power of two.
pub(super) const WINDOW_SHIFT: u16 = 8;
pub(super) const WINDOW_MASK: u16 = 0x1F;

/// `CFFILE`; its name follows, up to a NUL.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct File {
    pub(super) len: U32,
    /// Where it begins in what its folder unpacks to.
    pub(super) offset: U32,
    pub(super) folder: U16,
    /// Years since 1980, month, day: in 7, 4 and 5 bits.
    pub(super) date: U16,
    /// Hours, minutes, pairs of seconds: in 5, 6 and 5 bits. Of which place is not said.
    pub(super) time: U16,
    pub(super) attributes: U16,
}
const _: () = assert!(size_of::<File>() == 16);

/// Folders from here on are shared with another cabinet.
pub(super) const FIRST_SHARED_FOLDER: u16 = 0xFFFD;
pub(super) const ATTRIBUTE_NAME_IS_UTF8: u16 = 0x80;
/// The longest name, without its NUL.
pub(super) const MAX_NAME: usize = 255;

/// `CFDATA`; as many reserved bytes as the header says and the packed bytes follow.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Data {
    /// 0 for none.
    pub(super) checksum: U32,
    pub(super) packed: U16,
    /// 0 if the block goes on in the next cabinet.
    pub(super) unpacked: U16,
}
pub(super) const DATA_LEN: usize = 8;
const _: () = assert!(size_of::<Data>() == DATA_LEN);
