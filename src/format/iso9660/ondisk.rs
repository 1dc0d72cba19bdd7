//! What lies on the medium: volume descriptors and the records of directories.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::base::{FileTime, Name};

/// Descriptors are in sectors of so many bytes, and no record of a directory crosses one.
pub(super) const SECTOR: usize = 2048;
/// Where the volume descriptors begin.
pub(super) const DESCRIPTORS: u64 = 16 * SECTOR as u64;

/// A number twice, in both orders of bytes; the little-endian half is read.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Both32 {
    pub(super) value: U32,
    pub(super) big: [u8; 4],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Both16 {
    pub(super) value: U16,
    pub(super) big: [u8; 2],
}

/// A primary or supplementary volume descriptor, as far as it is read.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) kind: u8,
    pub(super) id: [u8; 5],
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) system: [u8; 32],
    /// 0x28
    pub(super) volume: [u8; 32],
    pub(super) unused: [u8; 8],
    /// 0x50: in logical blocks.
    pub(super) space: Both32,
    /// 0x58: which character set names are in; of supplementary descriptors only.
    pub(super) escapes: [u8; 32],
    pub(super) set: [u8; 8],
    /// 0x80
    pub(super) block: Both16,
    pub(super) path_tables: [u8; 24],
    /// 0x9C
    pub(super) root: Record,
}
const _: () = assert!(size_of::<Descriptor>() == 0x9C + RECORD_LEN);

pub(super) const STANDARD_ID: &[u8; 5] = b"CD001";
pub(super) const KIND_PRIMARY: u8 = 1;
pub(super) const KIND_SUPPLEMENTARY: u8 = 2;
pub(super) const KIND_END: u8 = 255;
/// Joliet's character sets: UCS-2 levels 1 to 3.
pub(super) const JOLIET: [&[u8; 3]; 3] = [b"%/@", b"%/C", b"%/E"];

/// A record of a directory; its name follows.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Record {
    /// Of all of it; 0 where no more follow in this sector.
    pub(super) len: u8,
    /// Blocks before the data.
    pub(super) attributes_len: u8,
    pub(super) extent: Both32,
    pub(super) data_len: Both32,
    /// 0x12: years since 1900, month, day, hour, minute, second, quarters of an hour east of UTC.
    pub(super) recorded: [u8; 7],
    pub(super) flags: u8,
    pub(super) interleave_unit: u8,
    pub(super) interleave_gap: u8,
    pub(super) volume: Both16,
    pub(super) name_len: u8,
}
/// Length of a record without its name.
pub(super) const RECORD_LEN: usize = 33;
const _: () = assert!(size_of::<Record>() == RECORD_LEN);

pub(super) const FLAG_HIDDEN: u8 = 1;
pub(super) const FLAG_DIRECTORY: u8 = 1 << 1;
pub(super) const FLAG_ASSOCIATED: u8 = 1 << 2;
/// The file goes on in the next record.
pub(super) const FLAG_MORE: u8 = 1 << 7;

impl Record {
    /// The moment of recording; nonsense gives none.
    pub(super) fn time(&self) -> FileTime {
        let [years, month, day, hour, minute, second, zone] = self.recorded;
        let small = |value: u8| i8::try_from(value).unwrap_or(-1);
        let date = (1900 + i16::from(years), small(month), small(day));
        let local = FileTime::from_civil(date, (small(hour), small(minute), small(second)));
        local.map_or(FileTime::default(), |local| local.plus_minutes(i64::from(zone as i8) * -15))
    }
}

/// A name of Joliet: UCS-2, big-endian.
pub(super) fn joliet(bytes: &[u8]) -> Name {
    Name::new(bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>())
}

/// A name of the primary tree, which should be of a few ASCII characters. Those of writers that think little of this are UTF-8
/// (`genisoimage -iso-level 4`), or else are taken as Latin-1.
pub(super) fn plain(bytes: &[u8]) -> Name {
    let latin = || Name::new(bytes.iter().map(|byte| u16::from(*byte)).collect::<Vec<_>>());
    std::str::from_utf8(bytes).map_or_else(|_| latin(), Name::from)
}

/// A file's name without its version (`;1`) and without the dot before an empty extension.
pub(super) fn without_version(name: &Name) -> Name {
    const DOT: u16 = b'.' as u16;
    let units = name.units();
    let end = units.iter().rposition(|unit| *unit == u16::from(b';'));
    let is_version = |from: usize| units[from..].iter().all(|unit| (u16::from(b'0')..=u16::from(b'9')).contains(unit));
    let units = end.filter(|end| is_version(end + 1)).map_or(units, |end| &units[..end]);
    Name::new(units.strip_suffix(&[DOT]).filter(|rest| !rest.is_empty()).unwrap_or(units))
}

/// A text in a field, which spaces fill.
pub(super) fn padded(name: &Name) -> Name {
    let units = name.units();
    let end = units.iter().rposition(|unit| !matches!(unit, 0 | 0x20)).map_or(0, |at| at + 1);
    Name::new(&units[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_dos_needed() {
        for (recorded, name) in [
            ("INSTALL.WIM;1", "INSTALL.WIM"),
            ("BOOTMGR.;1", "BOOTMGR"),
            ("README", "README"),
            ("a;b.txt", "a;b.txt"),
            ("x;32767", "x"),
            (".", "."),
            ("..;1", "."),
        ] {
            assert_eq!(without_version(&recorded.into()).to_string(), name, "{recorded}");
        }
        assert_eq!(padded(&plain(b"NANO    ")), "NANO".into());
        assert_eq!((plain("Grüße".as_bytes()), plain(b"Gr\xFC\xDFe")), ("Grüße".into(), "Grüße".into()));
    }

    #[test]
    fn times_have_zones() {
        let mut bytes = [0; RECORD_LEN];
        bytes[0x12..0x19].copy_from_slice(&[116, 9, 26, 14, 0, 0, 8]);
        assert_eq!(Record::read_from_bytes(&bytes).unwrap().time().to_unix(), 1_474_891_200);
        bytes[0x13] = 200;
        assert_eq!(Record::read_from_bytes(&bytes).unwrap().time(), FileTime::default());
    }
}
