//! Files as they lie: records and attributes with their clusters, for whoever changes them in their places.

use std::collections::BTreeSet;

use crate::error::{Context, Error, Result};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{kind, record_of, reference, sequence_of};

use super::Volume;
use super::attribute::{self, Extents};
use super::mft::{Mft, again, list_entries};
use super::record::{Form, Record, fix_up};
use super::runs::HOLE;

/// A run of clusters of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Run {
    /// Where it lies; a hole lies nowhere.
    pub(in super::super) lcn: Option<u64>,
    /// Its length.
    pub(in super::super) clusters: u64,
}

/// A stream outside of the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Outside {
    pub(in super::super) runs: Vec<Run>,
    pub(in super::super) size: u64,
    pub(in super::super) initialized: u64,
    /// Binary logarithm of the clusters that are compressed together.
    pub(in super::super) unit: u8,
}

impl Outside {
    /// Clusters of the stream, holes included.
    pub(in super::super) fn clusters(&self) -> u64 {
        self.runs.iter().map(|run| run.clusters).sum()
    }

    /// Clusters that lie somewhere.
    pub(in super::super) fn allocated(&self) -> u64 {
        self.runs.iter().filter(|run| run.lcn.is_some()).map(|run| run.clusters).sum()
    }
}

/// Where the value of an attribute is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Value {
    Resident(Vec<u8>),
    Outside(Outside),
}

/// An attribute, put together from all its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Attribute {
    pub(in super::super) kind: u32,
    pub(in super::super) name: Vec<u16>,
    /// See [`attribute_flag`](crate::format::ntfs::ondisk::attribute_flag).
    pub(in super::super) flags: u16,
    /// Its number in the record, as far as it has one.
    pub(in super::super) instance: Option<u16>,
    pub(in super::super) value: Value,
}

/// A file with all of its attributes but `$ATTRIBUTE_LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct File {
    pub(in super::super) number: u32,
    pub(in super::super) sequence: u16,
    /// See [`record_flag`](crate::format::ntfs::ondisk::record_flag).
    pub(in super::super) flags: u16,
    /// The records that extend the base record, with their sequence numbers.
    pub(in super::super) extensions: Vec<(u32, u16)>,
    /// The clusters of its attribute list, where that is not in the record.
    pub(in super::super) list: Vec<Run>,
    pub(in super::super) attributes: Vec<Attribute>,
}

/// The records and clusters of a volume.
#[derive(Clone)]
pub(in super::super) struct Records(Mft);

impl Records {
    pub(in super::super) fn of(volume: &Volume) -> Self {
        Self(volume.mft.clone())
    }

    pub(in super::super) fn geometry(&self) -> Geometry {
        let boot = &self.0.boot;
        Geometry { sector: boot.sector, cluster: boot.cluster, record: boot.record }
    }

    /// Whole clusters of the volume.
    pub(in super::super) fn clusters(&self) -> u64 {
        self.0.boot.clusters()
    }

    /// The length of the volume in bytes, its last sector included.
    pub(in super::super) fn len(&self) -> u64 {
        self.0.boot.len()
    }

    /// How many records there are.
    pub(in super::super) fn count(&self) -> u32 {
        self.0.records
    }

    /// Sequence number of a record that may be taken, or `None` if it is in use after all. Where no record is to be made out, it is 0.
    pub(in super::super) fn free_sequence(&self, number: u32) -> Result<Option<u16>> {
        let bytes = match self.0.record(number.into()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == crate::error::Kind::Io => return Err(error),
            Err(_) => return Ok(Some(0)),
        };
        if Record::new(&bytes, number).is_ok_and(|used| used.is_none()) {
            return Ok(Some(u16::from_le_bytes([bytes[16], bytes[17]])));
        }
        Ok(None)
    }

    /// The bytes of a record, its update sequence undone.
    pub(in super::super) fn bytes(&self, number: u32) -> Result<Vec<u8>> {
        self.0.record(number.into()).context(|| format!("record {number}"))
    }

    /// Fills `buf` from the clusters of a stream; holes are zeros.
    pub(in super::super) fn read(&self, stream: &Outside, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut end = 0;
        let runs: Vec<_> = stream
            .runs
            .iter()
            .map(|run| {
                end += run.clusters;
                super::runs::Run { end, lcn: run.lcn.unwrap_or(HOLE) }
            })
            .collect();
        self.0.clusters.read_valid(&runs, stream.initialized, at, buf)
    }

    /// All of a stream, which is refused beyond `limit`.
    pub(in super::super) fn read_all(&self, stream: &Outside, limit: u64) -> Result<Vec<u8>> {
        if stream.size > limit.min(self.len()) {
            return Err(Error::unsupported("metadata that is too long to be changed in its place")
                .found(stream.size)
                .allowed(limit.min(self.len())));
        }
        let mut bytes = vec![0; stream.size as usize];
        self.read(stream, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// All security descriptors with their ids.
    pub(in super::super) fn descriptors(&self) -> Result<impl Iterator<Item = (u32, Box<[u8]>)> + use<>> {
        Ok(super::secure::Descriptors::read(&self.0).context(|| "$Secure")?.into_all())
    }

    /// A file in use, by its base record.
    pub(in super::super) fn file(&self, number: u32) -> Result<File> {
        self.load(number).context(|| format!("record {number}"))
    }

    fn load(&self, number: u32) -> Result<File> {
        let bytes = self.0.record(number.into())?;
        let missing = || Error::corrupt("the record is not in use, or extends another");
        let file = self.0.file(number, &bytes, &mut self.0.list_budget())?.ok_or_else(missing)?;
        let record = Record::new(&bytes, number)?.ok_or_else(missing)?;
        let raws = record.attributes()?;
        let base = reference(number, file.sequence);
        let (mut extensions, mut list) = (BTreeSet::new(), Vec::new());
        if let Some(raw) = raws.iter().find(|raw| raw.kind == kind::ATTRIBUTE_LIST) {
            let bytes = self.0.list_bytes(raw, &mut self.0.list_budget())?;
            let holders = list_entries(&bytes)?.into_iter().map(|entry| entry.holder);
            extensions.extend(holders.filter(|holder| *holder != base));
            if let Form::NonResident { header, pairs } = raw.form {
                list = runs(&Extents::begin(raw.flags, &header, pairs, self.clusters())?);
            }
        }
        let is_listed = !extensions.is_empty();
        let attributes = file.attributes.into_iter().map(|attribute| lying(attribute, is_listed));
        Ok(File {
            number,
            sequence: file.sequence,
            flags: file.flags,
            extensions: extensions.into_iter().map(|holder| (record_of(holder) as u32, sequence_of(holder))).collect(),
            list,
            attributes: attributes.collect::<Result<_>>()?,
        })
    }
}

/// Numbers mean nothing in a file of several records, whose attributes are dealt out anew.
fn lying(attribute: attribute::Attribute, is_listed: bool) -> Result<Attribute> {
    let value = match &attribute.value {
        attribute::Value::Resident(bytes) => Value::Resident(bytes.to_vec()),
        attribute::Value::Outside(extents) => Value::Outside(Outside {
            runs: runs(extents),
            size: extents.size,
            initialized: extents.initialized,
            unit: extents.unit,
        }),
        attribute::Value::Damaged(error) => return Err(again(error).context(&attribute)),
    };
    Ok(Attribute {
        kind: attribute.kind,
        name: attribute.name.units().to_vec(),
        flags: attribute.flags,
        instance: (!is_listed).then_some(attribute.instance),
        value,
    })
}

fn runs(extents: &Extents) -> Vec<Run> {
    let mut start = 0;
    let run = |run: &super::runs::Run| {
        let clusters = run.end - start;
        start = run.end;
        Run { lcn: (run.lcn != HOLE).then_some(run.lcn), clusters }
    };
    extents.runs.iter().map(run).collect()
}

/// Undoes the update sequence of an index block.
pub(in super::super) fn fix_up_block(bytes: &mut [u8]) -> Result<()> {
    fix_up(bytes, b"INDX")
}
