//! What lies on the medium. All integers are little-endian; the layouts are those of ECMA-167, parts 3 and 4.

use zerocopy::little_endian::{I16, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::base::{FileTime, Name};
use crate::error::{Error, Result};

macro_rules! on_disk {
    ($($(#[$doc:meta])* $name:ident: $len:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
        #[repr(C)]
        pub(super) struct $name { $($(#[$field_doc])* pub(super) $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $len);
    )*};
}

on_disk! {
    /// What every descriptor begins with.
    Tag: 16 {
        id: U16,
        /// 2 for UDF 1.x, 3 for 2.x.
        version: U16,
        /// The sum of the other bytes of the tag.
        checksum: u8,
        reserved: u8,
        serial: U16,
        /// Of the bytes behind the tag.
        crc: U16,
        crc_len: U16,
        /// The number of the block that it is in.
        location: U32,
    }
    /// Blocks of the medium itself.
    ExtentAd: 8 { len: U32, location: U32, }
    /// A block of a partition.
    LbAddr: 6 { block: U32, partition: U16, }
    ShortAd: 8 { len: U32, block: U32, }
    LongAd: 16 { len: U32, at: LbAddr, implementation: [u8; 6], }
    Timestamp: 12 {
        /// Upper 4 bits: 1 for local time. Lower 12: minutes east of UTC, signed; -2047 for unknown.
        kind_and_zone: U16,
        year: I16,
        month: i8,
        day: i8,
        hour: i8,
        minute: i8,
        second: i8,
        hundredths: [u8; 3],
    }
    RegId: 32 { flags: u8, id: [u8; 23], suffix: [u8; 8], }
    Anchor: 32 { tag: Tag, main: ExtentAd, reserve: ExtentAd, }
    Pointer: 28 { tag: Tag, sequence: U32, next: ExtentAd, }
    PrimaryVolume: 56 { tag: Tag, sequence: U32, number: U32, id: [u8; 32], }
    Partition: 196 {
        tag: Tag,
        sequence: U32,
        flags: U16,
        number: U16,
        contents: RegId,
        contents_use: [u8; 128],
        access: U32,
        start: U32,
        len: U32,
    }
    /// The partition maps follow.
    LogicalVolume: 440 {
        tag: Tag,
        sequence: U32,
        charset: [u8; 64],
        id: [u8; 128],
        block: U32,
        domain: RegId,
        file_set: LongAd,
        maps_len: U32,
        maps: U32,
        implementation: RegId,
        implementation_use: [u8; 128],
        integrity: ExtentAd,
    }
    FileSet: 416 {
        tag: Tag,
        recorded: Timestamp,
        interchange: [u8; 12],
        numbers: [u8; 8],
        volume_charset: [u8; 64],
        volume_id: [u8; 128],
        charset: [u8; 64],
        id: [u8; 32],
        copyright: [u8; 32],
        summary: [u8; 32],
        root: LongAd,
    }
    IcbTag: 20 {
        prior_entries: U32,
        strategy: U16,
        parameter: [u8; 2],
        max_entries: U16,
        reserved: u8,
        file_type: u8,
        parent: LbAddr,
        flags: U16,
    }
    /// Extended attributes and allocation descriptors follow.
    FileEntry: 176 {
        tag: Tag,
        icb: IcbTag,
        owners: [u8; 12],
        links: U16,
        record: [u8; 6],
        len: U64,
        blocks: U64,
        accessed: Timestamp,
        modified: Timestamp,
        changed: Timestamp,
        checkpoint: U32,
        attributes: LongAd,
        implementation: RegId,
        unique: U64,
        attributes_len: U32,
        descriptors_len: U32,
    }
    ExtendedFileEntry: 216 {
        tag: Tag,
        icb: IcbTag,
        owners: [u8; 12],
        links: U16,
        record: [u8; 6],
        len: U64,
        all_streams: U64,
        blocks: U64,
        accessed: Timestamp,
        modified: Timestamp,
        created: Timestamp,
        changed: Timestamp,
        checkpoint: U32,
        reserved: U32,
        attributes: LongAd,
        streams: LongAd,
        implementation: RegId,
        unique: U64,
        attributes_len: U32,
        descriptors_len: U32,
    }
    /// Allocation descriptors follow.
    AllocationExtent: 24 { tag: Tag, previous: U32, descriptors_len: U32, }
    /// Implementation use and the name follow, and zeros up to a multiple of 4.
    FileId: 38 {
        tag: Tag,
        version: U16,
        characteristics: u8,
        name_len: u8,
        icb: LongAd,
        implementation_len: U16,
    }
}

pub(super) const TAG_PRIMARY_VOLUME: u16 = 1;
pub(super) const TAG_ANCHOR: u16 = 2;
pub(super) const TAG_POINTER: u16 = 3;
pub(super) const TAG_PARTITION: u16 = 5;
pub(super) const TAG_LOGICAL_VOLUME: u16 = 6;
pub(super) const TAG_END: u16 = 8;
pub(super) const TAG_FILE_SET: u16 = 256;
pub(super) const TAG_FILE_ID: u16 = 257;
pub(super) const TAG_ALLOCATION_EXTENT: u16 = 258;
pub(super) const TAG_FILE_ENTRY: u16 = 261;
pub(super) const TAG_EXTENDED_FILE_ENTRY: u16 = 266;

/// [`IcbTag::file_type`].
pub(super) const TYPE_UNKNOWN: u8 = 0;
pub(super) const TYPE_DIRECTORY: u8 = 4;
pub(super) const TYPE_FILE: u8 = 5;
/// A file of audio or video, which is to be played without pauses.
pub(super) const TYPE_REAL_TIME: u8 = 249;

/// [`IcbTag::flags`]: which descriptors there are.
pub(super) const FLAGS_DESCRIPTORS: u16 = 7;
pub(super) const FLAG_ARCHIVE: u16 = 1 << 5;
pub(super) const FLAG_SYSTEM: u16 = 1 << 10;
pub(super) const FLAG_TRANSFORMED: u16 = 1 << 11;

/// [`FileId::characteristics`].
pub(super) const FILE_HIDDEN: u8 = 1;
pub(super) const FILE_DIRECTORY: u8 = 1 << 1;
pub(super) const FILE_DELETED: u8 = 1 << 2;
pub(super) const FILE_PARENT: u8 = 1 << 3;

/// An extent's length has its kind in the upper two bits.
pub(super) const EXTENT_LEN: u32 = 0x3FFF_FFFF;

/// The descriptor at the beginning of `bytes`, whose tag makes sense; `location` is the block that it is in, or `None` where the
/// tag does not have to know. `at` is where it lies, for messages.
pub(super) fn tag(bytes: &[u8], location: Option<u32>, at: u64) -> Result<Tag> {
    let bad = |what: &str| Error::corrupt(format_args!("UDF descriptor: {what}")).at(at);
    let (tag, rest) = Tag::read_from_prefix(bytes).map_err(|_| Error::truncated("UDF descriptor").at(at))?;
    let sum = bytes[..16].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_sub(tag.checksum);
    if sum != tag.checksum {
        return Err(bad("checksum of the tag").found(tag.checksum).allowed(sum));
    }
    if !matches!(tag.version.get(), 2 | 3) {
        return Err(bad("version").found(tag.version.get()).allowed("2 or 3"));
    }
    let covered = rest.get(..usize::from(tag.crc_len.get()));
    let covered = covered.ok_or_else(|| bad("length of what the CRC covers").found(tag.crc_len.get()))?;
    let crc = crc16(covered);
    if crc != tag.crc.get() {
        return Err(bad("CRC").found(format_args!("{:#06x}", tag.crc.get())).allowed(format_args!("{crc:#06x}")));
    }
    if let Some(location) = location.filter(|location| *location != tag.location.get()) {
        return Err(bad("block number").found(tag.location.get()).allowed(location));
    }
    Ok(tag)
}

/// A descriptor that has to be of one kind.
pub(super) fn descriptor<T: FromBytes>(bytes: &[u8], id: u16, location: Option<u32>, at: u64) -> Result<T> {
    let tag = tag(bytes, location, at)?;
    if tag.id.get() != id {
        return Err(Error::corrupt("UDF: kind of a descriptor").at(at).found(tag.id.get()).allowed(id));
    }
    body(bytes, at)
}

/// The fields of a descriptor whose tag was checked.
pub(super) fn body<T: FromBytes>(bytes: &[u8], at: u64) -> Result<T> {
    T::read_from_prefix(bytes).map(|(body, _)| body).map_err(|_| Error::truncated("UDF descriptor").at(at))
}

/// CRC-16 with the polynomial 0x1021, from 0 (ITU-T V.41).
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = (index as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from(crc >> 8 ^ u16::from(*byte))])
}

/// A name in OSTA compressed Unicode: 8 or 16 (big-endian) bits for each unit, which the first byte says.
pub(super) fn name(bytes: &[u8]) -> Result<Name> {
    match bytes {
        [] => Ok(Name::default()),
        [8 | 254, units @ ..] => Ok(Name::new(units.iter().map(|byte| u16::from(*byte)).collect::<Vec<_>>())),
        [16 | 255, units @ ..] if units.len() % 2 == 0 => {
            Ok(Name::new(units.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()))
        }
        [compression, ..] => {
            Err(Error::corrupt("UDF: compression of a name").found(compression).allowed("8, or 16 with an even length"))
        }
    }
}

/// A name in a field of a fixed length, whose last byte has the length; a damaged one is none.
pub(super) fn fixed_name(field: &[u8]) -> Name {
    let Some((len, bytes)) = field.split_last() else { return Name::default() };
    bytes.get(..usize::from(*len)).and_then(|bytes| name(bytes).ok()).unwrap_or_default()
}

impl Timestamp {
    /// The moment; nonsense gives none.
    pub(super) fn time(&self) -> FileTime {
        const UNKNOWN: i64 = -2047;
        let zone = i64::from((self.kind_and_zone.get() << 4) as i16 >> 4);
        let minutes = if zone == UNKNOWN { 0 } else { zone };
        let date = (self.year.get(), self.month, self.day);
        let local = FileTime::from_civil(date, (self.hour, self.minute, self.second));
        local.map_or(FileTime::default(), |local| local.plus_minutes(-minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_the_standard() {
        // ECMA-167, 7.2.6: the bytes 70h 6Ah 77h have the CRC 3299h.
        assert_eq!(crc16(&[0x70, 0x6A, 0x77]), 0x3299);
    }

    #[test]
    fn names_are_of_8_or_16_bits() {
        assert_eq!(name(b"\x08Gr\xFC\xDFe").unwrap(), Name::from("Grüße"));
        assert_eq!(name(&[16, 0x30, 0x42, 0x00, 0x61]).unwrap(), Name::from("\u{3042}a"));
        assert!(name(&[16, 0]).is_err() && name(&[9, 0x61]).is_err());
        assert_eq!(fixed_name(b"\x08NANO\0\0\0\x05"), Name::from("NANO"));
        assert_eq!(fixed_name(b"\x08NANO\0\0\0\xFF"), Name::default());
    }

    #[test]
    fn times_have_zones() {
        let stamp = |zone: i16, hour| Timestamp {
            kind_and_zone: U16::new(1 << 12 | zone as u16 & 0xFFF),
            year: I16::new(2016),
            month: 9,
            day: 26,
            hour,
            minute: 0,
            second: 0,
            hundredths: [0; 3],
        };
        for (zone, hour) in [(0, 12), (120, 14), (-120, 10), (-2047, 12)] {
            assert_eq!(stamp(zone, hour).time().to_unix(), 1_474_891_200, "{zone}");
        }
        assert_eq!(stamp(0, 24).time(), FileTime::default());
    }
}
