//! Partition tables: where the volumes of a disk are.
//!
//! | | read | written |
//! |---|---|---|
//! | MBR, primary partitions | yes | yes |
//! | MBR, logical partitions | no: named in the table as an extended one | no |
//! | none (a volume right at the start, as `mkntfs FILE` makes it) | yes | no |

pub mod mbr;

use std::ops::Range;

use uuid::Uuid;

use crate::base::ReadAt;
use crate::error::Result;

/// Length of the sectors that an MBR counts in; a GPT counts in those of its disk.
pub const SECTOR: u64 = 512;

/// How a disk is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all: one volume is all there is.
    None,
    /// By a master boot record.
    Mbr {
        /// The disk signature.
        signature: u32,
    },
    /// By a GUID partition table.
    Gpt {
        /// The GUID of the disk.
        disk: Uuid,
    },
}

/// What a partition says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing says it: the volume is all there is.
    Bare,
    /// A partition of an MBR.
    Mbr(u8),
    /// A partition of a GPT.
    Gpt(Uuid),
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Where it is, in bytes.
    pub range: Range<u64>,
    /// What it is said to hold.
    pub kind: Kind,
    /// Whether a BIOS boots from it.
    pub active: bool,
    /// Its own GUID, in a GPT.
    pub id: Option<Uuid>,
}

/// The partitions of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// The parts, in the order of the table.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Reads the table of a disk, or finds that it is one volume. Fails if it is neither.
    pub fn read(disk: &dyn ReadAt) -> Result<Self> {
        let mut sector = [0; mbr::MBR_LEN];
        disk.read_at(0, &mut sector)?;
        if &sector[3..11] == b"NTFS    " {
            let all = Partition { number: 1, range: 0..disk.len(), kind: Kind::Bare, active: false, id: None };
            return Ok(Self { scheme: Scheme::None, partitions: vec![all] });
        }
        let mbr = mbr::Mbr::parse(&sector)?;
        let partitions = (1..).zip(&mbr.partitions).filter_map(|(number, entry)| {
            let entry = entry.as_ref()?;
            let start = u64::from(entry.first_lba) * SECTOR;
            Some(Partition {
                number,
                range: start..start + u64::from(entry.sectors) * SECTOR,
                kind: Kind::Mbr(entry.kind),
                active: entry.active,
                id: None,
            })
        });
        Ok(Self { scheme: Scheme::Mbr { signature: mbr.signature }, partitions: partitions.collect() })
    }
}
