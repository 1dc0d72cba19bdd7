//! The master boot record: sector 0 of a disk with up to four primary partitions.
//!
//! | | read | write |
//! |---|---|---|
//! | boot code | ignored | ours (`templates/boot/mbr.asm`): starts the active partition's boot record |
//! | disk signature | yes | yes, never zero |
//! | primary partitions | yes | yes |
//! | extended partitions (types 05h, 0Fh) | as an entry; the logical drives inside are not followed | as an entry |
//! | the protective MBR of a GPT disk (type EEh) | as an entry | no: it has no active partition and its own rules |
//!
//! Sectors are those that the disk addresses, 512 bytes where a BIOS boots. The CHS fields count 255 heads and 63 sectors,
//! as Windows, every current BIOS and the BPB of our volumes do; an address beyond cylinder 1023 saturates. Nobody reads
//! them who can read LBAs.
//!
//! Layout: boot code at 0, disk signature (u32) at 440, 0 (u16) at 444, four entries of 16 bytes at 446, 55h AAh at 510.
//! Windows keeps the signature in its registry and in the boot configuration, and replaces it when two disks share one.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Error, Result};

/// The length of a master boot record.
pub const MBR_LEN: usize = 512;

/// The partition type of NTFS (and of HPFS and exFAT, to which nobody puts it here).
pub const TYPE_NTFS: u8 = 0x07;

/// The partition type of FAT32, addressed by LBA.
pub const TYPE_FAT32: u8 = 0x0C;

/// The partition type of a recovery partition: NTFS that gets no drive letter.
pub const TYPE_RECOVERY: u8 = 0x27;

const CODE_LEN: usize = 440;
const ENTRIES_AT: u64 = 446;
const BOOT_SIGNATURE_AT: u64 = 510;
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xAA];
const ACTIVE: u8 = 0x80;

const HEADS: u32 = 255;
const SECTORS_PER_TRACK: u32 = 63;
/// What stands for every address beyond the last cylinder: cylinder 1023, head 254, sector 63.
const CHS_BEYOND: [u8; 3] = [0xFE, 0xFF, 0xFF];

/// The boot code, without table and signature.
static CODE: &[u8] = include_bytes!("../../../templates/boot/mbr.bin");
const _: () = assert!(CODE.len() <= CODE_LEN);

#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Sector {
    code: [u8; CODE_LEN],
    signature: U32,
    /// 5A5Ah marks a disk as read-only to some programs.
    reserved: U16,
    entries: [Entry; 4],
    boot_signature: [u8; 2],
}
const _: () = assert!(size_of::<Sector>() == MBR_LEN);

#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_lba: U32,
    sectors: U32,
}
const _: () = assert!(size_of::<Entry>() == 16);

/// A primary partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Whether a BIOS boots from it.
    pub active: bool,
    /// The type byte, such as [`TYPE_NTFS`]; never zero, which means that there is no partition.
    pub kind: u8,
    /// The first sector of the disk that belongs to it; never zero, where this record is.
    pub first_lba: u32,
    /// How many sectors it has; never zero.
    pub sectors: u32,
}

impl Partition {
    /// The sectors of the disk that belong to it.
    pub fn extent(&self) -> Range<u64> {
        let first = u64::from(self.first_lba);
        first..first + u64::from(self.sectors)
    }
}

/// A master boot record as a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mbr {
    /// The disk signature, by which Windows knows the disk; zero means that it has none.
    pub signature: u32,
    /// The table, in the order of its entries.
    pub partitions: [Option<Partition>; 4],
}

impl Mbr {
    /// The 512 bytes for a disk of `disk_sectors` sectors, with our boot code.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) where [`check`](Self::check) finds fault or the signature is zero.
    pub fn to_bytes(&self, disk_sectors: u64) -> Result<[u8; MBR_LEN]> {
        self.check(disk_sectors).map_err(|reason| Error::invalid(format_args!("MBR: {reason}")))?;
        if self.signature == 0 {
            return Err(Error::invalid("MBR: disk signature").found(0).allowed("anything else"));
        }
        let mut code = [0; CODE_LEN];
        code[..CODE.len()].copy_from_slice(CODE);
        let sector = Sector {
            code,
            signature: self.signature.into(),
            reserved: 0.into(),
            entries: self.partitions.each_ref().map(|partition| Entry::new(partition.as_ref())),
            boot_signature: BOOT_SIGNATURE,
        };
        Ok(zerocopy::transmute!(sector))
    }

    /// Reads the first 512 bytes of a disk. What lies where is left to [`check`](Self::check), because a damaged table can
    /// still be worth showing.
    ///
    /// # Errors
    /// [`Kind::Truncated`](crate::error::Kind::Truncated) for fewer bytes, [`Kind::Corrupt`](crate::error::Kind::Corrupt)
    /// without 55h AAh at its end, and for an entry's status other than 00h and 80h: that is how a volume's boot record
    /// that lies where an MBR was expected is told apart.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (sector, _) = Sector::ref_from_prefix(bytes)
            .map_err(|_| Error::truncated("MBR").found(bytes.len()).allowed(format_args!("{MBR_LEN} bytes")))?;
        if sector.boot_signature != BOOT_SIGNATURE {
            let [low, high] = sector.boot_signature;
            let found = format!("{low:02x} {high:02x}");
            return Err(Error::corrupt("MBR: boot signature").at(BOOT_SIGNATURE_AT).found(found).allowed("55 aa"));
        }
        let mut partitions = [const { None }; 4];
        for ((index, entry), partition) in (0u64..).zip(&sector.entries).zip(&mut partitions) {
            *partition = entry.parse(ENTRIES_AT + index * size_of::<Entry>() as u64)?;
        }
        Ok(Self { signature: sector.signature.get(), partitions })
    }

    /// Whether there is no partition in it.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(Option::is_none)
    }

    /// Whether it keeps old programs off a GPT disk.
    pub fn is_protective(&self) -> bool {
        self.partitions.iter().flatten().any(|partition| partition.kind == super::TYPE_PROTECTIVE)
    }

    /// The one active partition, if there is just one.
    pub fn active(&self) -> Option<&Partition> {
        let mut active = self.partitions.iter().flatten().filter(|partition| partition.active);
        active.next().filter(|_| active.next().is_none())
    }

    /// Whether the table makes sense on a disk of `disk_sectors` sectors: at most one active partition, no type, start or
    /// length of zero, none past the end, none overlapping another. The error is the reason, as a clause.
    pub fn check(&self, disk_sectors: u64) -> Result<(), String> {
        let present: Vec<(usize, &Partition)> =
            self.partitions.iter().enumerate().filter_map(|(i, p)| Some((i + 1, p.as_ref()?))).collect();
        for (number, partition) in &present {
            if partition.kind == 0 || partition.first_lba == 0 || partition.sectors == 0 {
                return Err(format!("partition {number} has a type, a start or a length of zero"));
            }
            let end = partition.extent().end;
            if end > disk_sectors {
                return Err(format!("partition {number} ends at sector {end}, the disk at {disk_sectors}"));
            }
        }
        for (at, (number, a)) in present.iter().enumerate() {
            for (other, b) in &present[at + 1..] {
                if a.active && b.active {
                    return Err(format!("partitions {number} and {other} are both active"));
                }
                let (a, b) = (a.extent(), b.extent());
                if a.start < b.end && b.start < a.end {
                    return Err(format!("partitions {number} and {other} overlap"));
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    const EMPTY: Self =
        Self { status: 0, first_chs: [0; 3], kind: 0, last_chs: [0; 3], first_lba: U32::ZERO, sectors: U32::ZERO };

    fn new(partition: Option<&Partition>) -> Self {
        let Some(partition) = partition else { return Self::EMPTY };
        let extent = partition.extent();
        Self {
            status: if partition.active { ACTIVE } else { 0 },
            first_chs: chs(extent.start),
            kind: partition.kind,
            last_chs: chs(extent.end.saturating_sub(1)),
            first_lba: partition.first_lba.into(),
            sectors: partition.sectors.into(),
        }
    }

    fn parse(&self, at: u64) -> Result<Option<Partition>> {
        if self.status & !ACTIVE != 0 {
            let found = format!("{:#04x}", self.status);
            return Err(Error::corrupt("MBR: status of a partition").at(at).found(found).allowed("0x00 or 0x80"));
        }
        Ok((self.kind != 0).then(|| Partition {
            active: self.status == ACTIVE,
            kind: self.kind,
            first_lba: self.first_lba.get(),
            sectors: self.sectors.get(),
        }))
    }
}

/// Head, then sector (from 1; its top two bits are bits 8 and 9 of the cylinder), then cylinder.
fn chs(lba: u64) -> [u8; 3] {
    let track = lba / u64::from(SECTORS_PER_TRACK);
    let cylinder = track / u64::from(HEADS);
    if cylinder > 1023 {
        return CHS_BEYOND;
    }
    let head = track % u64::from(HEADS);
    let sector = lba % u64::from(SECTORS_PER_TRACK) + 1;
    [head as u8, sector as u8 | (cylinder >> 8 << 6) as u8, cylinder as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const DISK: u64 = 8 << 21; // 8 GiB

    fn one() -> Mbr {
        let ntfs = Partition { active: true, kind: TYPE_NTFS, first_lba: 2048, sectors: (DISK - 2048) as u32 };
        Mbr { signature: 0x4E41_4E4F, partitions: [Some(ntfs), None, None, None] }
    }

    fn with(change: impl FnOnce(&mut [Option<Partition>; 4])) -> Mbr {
        let mut mbr = one();
        change(&mut mbr.partitions);
        mbr
    }

    #[test]
    fn writes_what_windows_writes() {
        let bytes = one().to_bytes(DISK).unwrap();
        assert_eq!(&bytes[..CODE.len()], CODE);
        assert!(bytes[CODE.len()..440].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[440..446], [0x4F, 0x4E, 0x41, 0x4E, 0, 0]);
        assert_eq!(bytes[446..454], [0x80, 0x20, 0x21, 0x00, 0x07, 0xFE, 0xFF, 0xFF]);
        assert_eq!(bytes[454..462], [0x00, 0x08, 0x00, 0x00, 0x00, 0xF8, 0xFF, 0x00]);
        assert!(bytes[462..510].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[510..], [0x55, 0xAA]);
    }

    #[test]
    fn reads_back() {
        let mbr = with(|partitions| {
            let first = partitions[0].as_mut().unwrap();
            first.sectors = 100;
            partitions[3] = Some(Partition { active: false, kind: 0x0F, first_lba: 2148, sectors: 1 });
        });
        let parsed = Mbr::parse(&mbr.to_bytes(DISK).unwrap()).unwrap();
        assert_eq!(parsed, mbr);
        assert_eq!(parsed.active(), mbr.partitions[0].as_ref());
        assert_eq!(Mbr::default().active(), None);
    }

    #[test]
    fn addresses_by_cylinder() {
        assert_eq!(chs(0), [0, 1, 0]);
        assert_eq!(chs(62), [0, 63, 0]);
        assert_eq!(chs(63), [1, 1, 0]);
        assert_eq!(chs(63 * 255 * 256), [0, 0x41, 0]);
        assert_eq!(chs(63 * 255 * 1024 - 1), [254, 0xFF, 0xFF]);
        assert_eq!(chs(63 * 255 * 1024), CHS_BEYOND);
        assert_eq!(chs(u64::MAX), CHS_BEYOND);
    }

    #[test]
    fn refuses_to_write_nonsense() {
        let second = |first_lba, sectors| Some(Partition { active: false, kind: 7, first_lba, sectors });
        let wrong = [
            with(|partitions| partitions[0].as_mut().unwrap().sectors += 1),
            with(|partitions| partitions[0].as_mut().unwrap().first_lba = 0),
            with(|partitions| partitions[0].as_mut().unwrap().kind = 0),
            with(|partitions| partitions[0].as_mut().unwrap().first_lba = u32::MAX),
            with(|partitions| partitions[1] = second(3000, 1)),
            with(|partitions| partitions[1] = second(1, 0)),
            with(|partitions| partitions[1] = Some(Partition { active: true, kind: 7, first_lba: 1, sectors: 1 })),
            Mbr { signature: 0, ..one() },
        ];
        for mbr in wrong {
            assert_eq!(mbr.to_bytes(DISK).unwrap_err().kind(), Kind::Invalid, "{mbr:?}");
        }
        assert!(with(|partitions| partitions[1] = second(1, 2047)).to_bytes(DISK).is_ok());
    }

    #[test]
    fn survives_hostile_sectors() {
        let good = one().to_bytes(DISK).unwrap();
        for len in 0..MBR_LEN {
            assert_eq!(Mbr::parse(&good[..len]).unwrap_err().kind(), Kind::Truncated);
        }
        let refused = (0..MBR_LEN * 8).filter(|bit| {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            Mbr::parse(&bytes).and_then(|mbr| mbr.check(DISK).map_err(Error::corrupt)).is_err()
        });
        assert!(refused.count() >= 16 + 7 * 4, "boot signature and status bytes");
        let evil = Mbr::parse(&[0xFF; MBR_LEN]).unwrap_err().to_string();
        assert!(evil.contains("boot signature"), "{evil}");
        let everywhere = Partition { active: true, kind: 0xEE, first_lba: u32::MAX, sectors: u32::MAX };
        let mbr = Mbr { signature: 0, partitions: [const { None }; 4].map(|_: Option<()>| Some(everywhere.clone())) };
        assert!(mbr.check(u64::MAX).is_err());
        assert_eq!(mbr.active(), None);
    }
}
