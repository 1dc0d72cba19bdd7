//! From the anchor to the root directory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::ondisk::{
    self, Anchor, ExtentAd, FileSet, LogicalVolume, LongAd, Partition, Pointer, PrimaryVolume, RegId, TAG_ANCHOR,
    TAG_END, TAG_FILE_SET, TAG_LOGICAL_VOLUME, TAG_PARTITION, TAG_POINTER, TAG_PRIMARY_VOLUME,
};
use crate::base::bytes::u16_at;
use crate::base::{Name, ReadAt};
use crate::error::{Error, Result};

/// The recognition sequence begins here, in structures of 2 KiB, or of a block where that is larger.
const RECOGNITION: u64 = 32 << 10;
/// How much of it is looked through.
const RECOGNITION_LEN: usize = 64 << 10;
/// Descriptors of one sequence that are looked at.
const MAX_DESCRIPTORS: usize = 1024;

/// Whether there is a UDF volume: by the recognition sequence, in which a bridge has an ISO 9660 volume as well.
pub fn is_udf(medium: &dyn ReadAt) -> Result<bool> {
    let len = medium.len().saturating_sub(RECOGNITION).min(RECOGNITION_LEN as u64) as usize;
    let mut bytes = vec![0; len];
    medium.read_at(RECOGNITION.min(medium.len()), &mut bytes)?;
    Ok(bytes.chunks(2048).any(|structure| matches!(structure.get(1..6), Some(b"NSR02" | b"NSR03"))))
}

/// A UDF volume whose descriptors have been read.
pub struct Volume {
    pub(super) medium: Arc<dyn ReadAt>,
    pub(super) block: u32,
    /// By partition reference, in bytes of the medium.
    pub(super) partitions: Vec<Range<u64>>,
    pub(super) root: LongAd,
    label: Name,
    revision: u16,
}

impl Volume {
    /// Reads the descriptors of the volume and of its file set.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if neither the main nor the reserve descriptors make sense;
    /// [`Unsupported`](crate::error::Kind::Unsupported) for kinds of partitions that are not read.
    pub fn open(medium: Arc<dyn ReadAt>) -> Result<Self> {
        let (block, anchor) = anchor(&medium)?;
        let main = Sequence::read(&medium, block, anchor.main).and_then(|sequence| sequence.volume());
        let found = main.or_else(|error| {
            let reserve = Sequence::read(&medium, block, anchor.reserve).and_then(|sequence| sequence.volume());
            reserve.map_err(|_| error)
        })?;
        let (logical, partitions, label) = found;
        let at = logical.file_set.at;
        let mut volume = Self {
            medium,
            block,
            partitions,
            root: logical.file_set,
            label,
            revision: u16_at(&logical.domain.suffix, 0).unwrap_or_default(),
        };
        let (bytes, place) = volume.block(at)?;
        let set: FileSet = ondisk::descriptor(&bytes, TAG_FILE_SET, Some(at.block.get()), place)?;
        volume.root = set.root;
        Ok(volume)
    }

    /// The volume's label.
    pub fn label(&self) -> &Name {
        &self.label
    }

    /// The revision of UDF that its writer followed, as text: `1.02`.
    pub fn revision(&self) -> String {
        format!("{:x}.{:02x}", self.revision >> 8, self.revision & 0xFF)
    }

    /// Where the last partition ends: a medium that is shorter was cut off.
    pub fn end(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.end).max().unwrap_or(0)
    }

    /// Where `len` bytes from a block on lie; they have to be within their partition.
    pub(super) fn place(&self, at: ondisk::LbAddr, len: u64) -> Result<u64> {
        let (block, reference) = (at.block.get(), at.partition.get());
        let partition = self.partitions.get(usize::from(reference)).ok_or_else(|| {
            Error::corrupt("UDF: reference of a partition").found(reference).allowed(self.partitions.len())
        })?;
        let start = partition.start + u64::from(block) * u64::from(self.block);
        if start.checked_add(len).is_none_or(|end| end > partition.end) {
            return Err(Error::corrupt("UDF: an extent outside of its partition")
                .found(format_args!("{len} bytes from block {block} on"))
                .allowed(format_args!("{} bytes in all", partition.end - partition.start)));
        }
        Ok(start)
    }

    /// One block, and where it lies.
    pub(super) fn block(&self, at: ondisk::LbAddr) -> Result<(Vec<u8>, u64)> {
        let place = self.place(at, self.block.into())?;
        let mut bytes = vec![0; self.block as usize];
        self.medium.read_at(place, &mut bytes)?;
        Ok((bytes, place))
    }
}

/// The size of blocks, and the anchor, which tells it by where it lies.
fn anchor(medium: &dyn ReadAt) -> Result<(u32, Anchor)> {
    const BLOCKS: [u32; 7] = [2048, 512, 4096, 1024, 8192, 16384, 32768];
    let mut first = None;
    for block in BLOCKS {
        let blocks = medium.len() / u64::from(block);
        // Two of these three have to be there; 512 is for media that cannot be written at 256.
        for number in [Some(256), blocks.checked_sub(1), blocks.checked_sub(257), Some(512)].into_iter().flatten() {
            match read_anchor(medium, block, number) {
                Ok(anchor) => return Ok((block, anchor)),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
    }
    let none = || Error::corrupt("UDF: no anchor");
    Err(first.map_or_else(none, |error| error.context("UDF: no anchor that makes sense; the first")))
}

fn read_anchor(medium: &dyn ReadAt, block: u32, number: u64) -> Result<Anchor> {
    let at = number * u64::from(block);
    let number = u32::try_from(number).map_err(|_| Error::corrupt("UDF: a medium of more than 2^32 blocks"))?;
    let mut bytes = vec![0; block as usize];
    medium.read_at(at, &mut bytes)?;
    ondisk::descriptor(&bytes, TAG_ANCHOR, Some(number), at)
}

/// The volume descriptors that prevail: of each kind the one with the highest number.
#[derive(Default)]
struct Sequence {
    block: u32,
    primary: Option<PrimaryVolume>,
    logical: Option<(LogicalVolume, Vec<u8>)>,
    /// By number.
    partitions: BTreeMap<u16, Partition>,
}

impl Sequence {
    fn read(medium: &dyn ReadAt, block: u32, extent: ExtentAd) -> Result<Self> {
        let mut sequence = Self { block, ..Self::default() };
        let mut next = Some(extent);
        let mut left = MAX_DESCRIPTORS;
        while let Some(extent) = next.take() {
            for offset in 0..extent.len.get() / block {
                left = left.checked_sub(1).ok_or_else(|| Error::corrupt("UDF: volume descriptors without an end"))?;
                let number = extent.location.get().checked_add(offset);
                let number = number.ok_or_else(|| Error::corrupt("UDF: place of the volume descriptors"))?;
                let at = u64::from(number) * u64::from(block);
                let mut bytes = vec![0; block as usize];
                medium.read_at(at, &mut bytes)?;
                if u16_at(&bytes, 0) == Some(0) {
                    break; // what was never recorded ends it too
                }
                match ondisk::tag(&bytes, Some(number), at)?.id.get() {
                    TAG_END => break,
                    TAG_POINTER => {
                        next = Some(ondisk::body::<Pointer>(&bytes, at)?.next);
                        break;
                    }
                    id => sequence.take(id, bytes, at)?,
                }
            }
        }
        Ok(sequence)
    }

    fn take(&mut self, id: u16, bytes: Vec<u8>, at: u64) -> Result<()> {
        match id {
            TAG_PRIMARY_VOLUME => {
                let found: PrimaryVolume = ondisk::body(&bytes, at)?;
                if self.primary.is_none_or(|known| known.sequence <= found.sequence) {
                    self.primary = Some(found);
                }
            }
            TAG_LOGICAL_VOLUME => {
                let found: LogicalVolume = ondisk::body(&bytes, at)?;
                if self.logical.as_ref().is_none_or(|(known, _)| known.sequence <= found.sequence) {
                    self.logical = Some((found, bytes));
                }
            }
            TAG_PARTITION => {
                let found: Partition = ondisk::body(&bytes, at)?;
                let known = self.partitions.entry(found.number.get()).or_insert(found);
                if known.sequence <= found.sequence {
                    *known = found;
                }
            }
            _ => {} // free space, and what is for those who write
        }
        Ok(())
    }

    /// The logical volume, its partitions in the order of its maps, and its label.
    fn volume(&self) -> Result<(LogicalVolume, Vec<Range<u64>>, Name)> {
        let (logical, bytes) = self.logical.as_ref().ok_or_else(|| Error::corrupt("UDF: no logical volume"))?;
        if logical.block.get() != self.block {
            return Err(Error::corrupt("UDF: size of blocks").found(logical.block.get()).allowed(self.block));
        }
        let maps = bytes.get(size_of::<LogicalVolume>()..).unwrap_or_default();
        let maps = maps.get(..logical.maps_len.get() as usize);
        let mut maps = maps.ok_or_else(|| Error::corrupt("UDF: length of the partition maps"))?;
        let mut partitions = Vec::new();
        for _ in 0..logical.maps.get() {
            let len = usize::from(maps.get(1).copied().unwrap_or_default());
            let map = maps.get(..len).filter(|map| map.len() >= 6);
            let map = map.ok_or_else(|| Error::corrupt("UDF: a partition map that is cut off"))?;
            partitions.push(self.partition(map)?);
            maps = &maps[len..];
        }
        let label = ondisk::fixed_name(&logical.id);
        let label = match &self.primary {
            Some(primary) if label.is_empty() => ondisk::fixed_name(&primary.id),
            _ => label,
        };
        Ok((*logical, partitions, label))
    }

    fn partition(&self, map: &[u8]) -> Result<Range<u64>> {
        if map[0] != 1 {
            let kind = map.get(4..36).and_then(|id| ondisk::body::<RegId>(id, 0).ok());
            let kind = kind.map(|kind| String::from_utf8_lossy(&kind.id).trim_end_matches('\0').to_owned());
            return Err(Error::unsupported("UDF: kind of a partition")
                .found(kind.unwrap_or_else(|| format!("type {}", map[0])))
                .allowed("plain ones, of type 1, as on installation media")
                .hint("copy its files to a folder, and name that"));
        }
        let number = u16_at(map, 4).unwrap_or_default();
        let partition = self.partitions.get(&number);
        let partition = partition.ok_or_else(|| Error::corrupt("UDF: no such partition").found(number))?;
        let bytes = |blocks: u32| u64::from(blocks) * u64::from(self.block);
        let start = bytes(partition.start.get());
        Ok(start..start + bytes(partition.len.get()))
    }
}
