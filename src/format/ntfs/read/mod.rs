//! A volume that anyone made, read into a [`Tree`].
//!
//! | | read | not read |
//! |---|---|---|
//! | volume | clusters of 512 bytes to 2 MiB, sectors of 512 to 4096, records of 512 bytes to 64 KiB, a `$MFT` in pieces | |
//! | streams | resident, sparse, in many records, compressed by NTFS (LZNT1) or by the overlay filter (WOF: XPRESS, LZX) | EFS, files of WIMBoot |
//! | metadata | times, attributes, security descriptors, object ids with birth ids, reparse points, extended attributes, short names, hard links, case-sensitive directories | quotas, change journal, transactions, the pieces of `$LOGGED_UTILITY_STREAM` |
//!
//! # How it is read
//!
//! ```text
//! boot sector -> $MFT -> all records, in one pass -> nodes and names -> directories
//! ```
//!
//! Files are found by their records, and directories are made of the names that the files have: no index is looked at but `$ObjId:$O`.
//! The journal is not replayed: a volume that is [`dirty`](Facts::dirty) is read as it lies.
//!
//! A file that the overlay filter compressed becomes a plain one, without its reparse point and without the stream `WofCompressedData`,
//! as Windows shows it. The volume's own files (records below 24 but the root, and what is in `$Extend`) are left out.
//!
//! # What is damaged
//!
//! Only a volume without `$MFT` or root directory cannot be read. Otherwise, what cannot be read is [noted](Contents::notes) and
//! [counted](Contents::lost); a stream whose clusters are not to be had is a content that fails when it is read.
//!
//! # Limits
//!
//! In memory there are a file's node (about 200 bytes), its streams (56 bytes, and 16 for each run), its names (about
//! 100 bytes and the characters) and what is resident in its record; descriptors as long as `$SDS`; all of which comes from the volume, and none
//! of it is longer than what it was made of by more than a factor of 8. Streams have at most 2^44 bytes. Attribute lists have at most
//! 256 KiB each, and no more bytes than the volume, all together.

use std::sync::Arc;

use zerocopy::FromBytes;

use crate::base::{FileTime, Name, ReadAt};
use crate::error::{Context, Error, Result};
use crate::tree::Tree;

use super::ondisk::{BOOT_LEN, VOLUME_DIRTY, VolumeInformation, file, kind};

mod attribute;
mod boot;
mod directories;
mod mft;
mod node;
mod notes;
mod objects;
pub(super) mod raw;
mod record;
mod runs;
mod scan;
mod secure;
mod store;
mod unpack;

use attribute::Value;
use mft::Mft;
use notes::Notes;

/// A volume whose boot sector and `$MFT` have been found.
pub struct Volume {
    mft: Mft,
    facts: Facts,
    notes: Notes,
}

/// What a volume is, apart from what it holds: what [`Options`](super::Options) would say of it, and its state.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Bytes in a cluster.
    pub cluster_size: u32,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Where the boot sector says that the partition begins on the disk, in sectors.
    pub hidden_sectors: u64,
    /// The serial number.
    pub serial: u64,
    /// The label.
    pub label: Name,
    /// When `$Volume` was made.
    pub created: FileTime,
    /// The version of NTFS.
    pub version: (u8, u8),
    /// Whether it is marked as dirty.
    pub dirty: bool,
    /// The volume's length in bytes, its last sector (the backup of the boot sector) included.
    pub len: u64,
    /// Bytes in free clusters.
    pub free_bytes: u64,
    /// The content of `$Boot`.
    pub boot_code: Vec<u8>,
}

/// All files of a volume.
pub struct Contents {
    /// The files, still unread.
    pub tree: Tree,
    /// What the volume has that a tree does not carry, or that could not be read, in words.
    pub notes: Vec<String>,
    /// How many files, names or attributes could not be read; each has a note, up to a hundred.
    pub lost: u64,
    /// The reference of each node's base record.
    pub(super) references: Vec<u64>,
}

impl Volume {
    /// Finds `$MFT` and reads what the volume says about itself.
    pub fn open(volume: Arc<dyn ReadAt>) -> Result<Self> {
        let mut notes = Notes::default();
        let mft = Mft::open(volume, &mut notes)?;
        let mut facts = Facts {
            cluster_size: mft.boot.cluster as u32,
            sector_size: mft.boot.sector as u32,
            hidden_sectors: mft.boot.hidden_sectors,
            serial: mft.boot.serial,
            len: mft.boot.len(),
            ..Facts::default()
        };
        let volume = &mft.clusters.volume;
        if facts.len > volume.len() {
            notes.lost(format_args!("the volume has {} bytes, of which {} are there", facts.len, volume.len()));
        }
        facts.boot_code = vec![0; (BOOT_LEN as u64).min(volume.len()) as usize];
        volume.read_at(0, &mut facts.boot_code).context(|| "$Boot")?;
        scan::or_note(describe(&mft, &mut facts), "$Volume", &mut notes)?;
        facts.free_bytes = scan::or_note(free_bytes(&mft), "$Bitmap", &mut notes)?;
        Ok(Self { mft, facts, notes })
    }

    /// What the volume is.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads all records into a tree whose contents are blobs of a store on this volume.
    pub fn read(&self) -> Result<Contents> {
        scan::read(&self.mft, self.notes.clone())
    }
}

/// What `$Volume` says.
fn describe(mft: &Mft, facts: &mut Facts) -> Result<()> {
    let volume = mft.system_file(file::VOLUME)?;
    let value = |kind: u32| match volume.all(kind).next().map(|attribute| &attribute.value) {
        Some(Value::Resident(bytes)) => Some(&**bytes),
        _ => None,
    };
    facts.label = Name::from_le_bytes(value(kind::VOLUME_NAME).unwrap_or_default());
    let times = value(kind::STANDARD_INFORMATION).and_then(|bytes| bytes.first_chunk());
    facts.created = FileTime(times.map_or(0, |bytes| u64::from_le_bytes(*bytes)));
    let information = value(kind::VOLUME_INFORMATION).unwrap_or_default();
    let (information, _) = VolumeInformation::read_from_prefix(information)
        .map_err(|_| Error::corrupt("$VOLUME_INFORMATION").found(information.len()).allowed("12 bytes"))?;
    facts.version = (information.major, information.minor);
    facts.dirty = information.flags.get() & VOLUME_DIRTY != 0;
    Ok(())
}

/// Counts the clusters that `$Bitmap` has as free.
fn free_bytes(mft: &Mft) -> Result<u64> {
    let bitmap = mft.system_file(file::BITMAP)?;
    let data = bitmap.find(kind::DATA, "").ok_or_else(|| Error::corrupt("it has no contents"))?;
    let clusters = mft.boot.clusters();
    let mut buf = vec![0; 1 << 16];
    let (mut at, mut free, mut left) = (0, 0u64, clusters.min(mft.clusters.volume.len() / mft.boot.cluster));
    while left > 0 {
        let bits = left.min(8 * buf.len() as u64);
        let bytes = &mut buf[..bits.div_ceil(8) as usize];
        match &data.value {
            Value::Outside(extents) => extents.read(&mft.clusters, at, bytes)?,
            _ => return Err(Error::corrupt("its contents are not outside of the record")),
        }
        let taken: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let behind = bits % 8;
        let beyond = if behind == 0 { 0 } else { u64::from((bytes[bytes.len() - 1] >> behind).count_ones()) };
        free += bits.saturating_sub(taken - beyond);
        at += bytes.len() as u64;
        left -= bits;
    }
    Ok(free * mft.boot.cluster)
}
