//! Attributes put together: the segments of a stream that lie in several records become one.

use crate::base::Name;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{NonResidentHeader, attribute_flag, kind};

use super::record::{Form, Raw};
use super::runs::{self, Clusters, Run};

/// An attribute of a file.
pub(super) struct Attribute {
    pub(super) kind: u32,
    pub(super) name: Name,
    /// See [`attribute_flag`].
    pub(super) flags: u16,
    /// That of its first segment.
    pub(super) instance: u16,
    pub(super) value: Value,
}

/// What an attribute holds.
pub(super) enum Value {
    /// Bytes in the record.
    Resident(Box<[u8]>),
    /// Clusters.
    Outside(Extents),
    /// It is there, but not to be had.
    Damaged(Error),
}

/// A stream outside of the record.
#[derive(Clone, Default)]
pub(super) struct Extents {
    pub(super) runs: Vec<Run>,
    pub(super) size: u64,
    /// What is beyond reads as zero.
    pub(super) initialized: u64,
    /// See [`attribute_flag`].
    pub(super) flags: u16,
    /// Binary logarithm of the clusters that are compressed together.
    pub(super) unit: u8,
}

impl Extents {
    /// How many bytes of clusters of `size` the runs have, holes included.
    pub(super) fn held(&self, size: u64) -> u64 {
        self.runs.last().map_or(0, |run| run.end.saturating_mul(size))
    }

    /// Whether the bytes on the volume are the stream's own.
    pub(super) fn is_plain(&self) -> bool {
        self.flags & (attribute_flag::COMPRESSION | attribute_flag::ENCRYPTED) == 0
    }

    /// A small stream that must be plain, whole.
    pub(super) fn read_all(&self, clusters: &Clusters, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(Error::corrupt("length of the attribute")
                .found(self.size)
                .allowed(format_args!("up to {limit}")));
        }
        let mut bytes = vec![0; self.size as usize];
        self.read(clusters, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// A part of a stream that must be plain.
    pub(super) fn read(&self, clusters: &Clusters, at: u64, buf: &mut [u8]) -> Result<()> {
        if !self.is_plain() {
            return Err(Error::unsupported("metadata that is compressed or encrypted").found(self.flags));
        }
        clusters.read_valid(&self.runs, self.initialized, at, buf)
    }
}

impl Attribute {
    /// The bytes, if there are at most `limit`.
    pub(super) fn bytes(&self, clusters: &Clusters, limit: u64) -> Result<std::borrow::Cow<'_, [u8]>> {
        match &self.value {
            Value::Resident(bytes) => Ok((&**bytes).into()),
            Value::Outside(extents) => extents.read_all(clusters, limit).map(Into::into),
            Value::Damaged(error) => Err(Error::new(error.kind(), error)),
        }
    }
}

/// A part of an attribute: from a record, or the cause for which the record could not be had.
pub(super) struct Part<'a> {
    pub(super) kind: u32,
    pub(super) name: &'a [u8],
    pub(super) lowest_vcn: u64,
    pub(super) raw: Result<Raw<'a>>,
}

impl<'a> From<Raw<'a>> for Part<'a> {
    fn from(raw: Raw<'a>) -> Self {
        let lowest_vcn = match raw.form {
            Form::Resident(_) => 0,
            Form::NonResident { header, .. } => header.lowest_vcn.get(),
        };
        Self { kind: raw.kind, name: raw.name, lowest_vcn, raw: Ok(raw) }
    }
}

/// Makes attributes of their parts, on a volume of so many `clusters` of `size` bytes.
pub(super) fn join(mut parts: Vec<Part<'_>>, clusters: u64, size: u64) -> Vec<Attribute> {
    parts.sort_by(|a, b| (a.kind, a.name, a.lowest_vcn).cmp(&(b.kind, b.name, b.lowest_vcn)));
    let mut joined: Vec<Attribute> = Vec::with_capacity(parts.len());
    for part in parts {
        let goes_on = part.lowest_vcn != 0;
        let earlier = joined.last_mut().filter(|last| last.kind == part.kind && last.name.is(part.name));
        let (flags, instance) = part.raw.as_ref().map_or((0, 0), |raw| (raw.flags, raw.instance));
        let value = match (part.raw, earlier) {
            (Err(error), Some(last)) if goes_on => {
                last.value = Value::Damaged(error);
                continue;
            }
            (Err(error), _) => Value::Damaged(error),
            (Ok(raw), earlier) => match raw.form {
                Form::Resident(bytes) => Value::Resident(bytes.into()),
                Form::NonResident { header, pairs } => match earlier {
                    Some(last) if goes_on => {
                        last.continue_with(&header, pairs, clusters);
                        continue;
                    }
                    _ => {
                        Extents::begin(raw.flags, &header, pairs, clusters).map_or_else(Value::Damaged, Value::Outside)
                    }
                },
            },
        };
        joined.push(Attribute { kind: part.kind, name: Name::from_le_bytes(part.name), flags, instance, value });
    }
    for attribute in &mut joined {
        let checked = match &attribute.value {
            Value::Outside(extents) => extents.check(clusters, size),
            _ => Ok(()),
        };
        if let Err(error) = checked {
            attribute.value = Value::Damaged(error);
        }
    }
    joined
}

impl Attribute {
    /// Appends the next segment.
    fn continue_with(&mut self, header: &NonResidentHeader, pairs: &[u8], clusters: u64) {
        let Value::Outside(extents) = &mut self.value else { return };
        if let Err(error) = extents.extend(header, pairs, clusters) {
            self.value = Value::Damaged(error);
        }
    }
}

impl Extents {
    pub(super) fn begin(flags: u16, header: &NonResidentHeader, pairs: &[u8], clusters: u64) -> Result<Self> {
        let mut extents = Self {
            runs: Vec::new(),
            size: header.size.get(),
            initialized: header.initialized.get(),
            flags,
            unit: header.compression_unit,
        };
        extents.extend(header, pairs, clusters)?;
        Ok(extents)
    }

    pub(super) fn extend(&mut self, header: &NonResidentHeader, pairs: &[u8], clusters: u64) -> Result<()> {
        let next = |runs: &[Run]| runs.last().map_or(0, |run| run.end);
        let (lowest, highest) = (header.lowest_vcn.get(), header.highest_vcn.get());
        if lowest != next(&self.runs) {
            return Err(Error::corrupt("a part of the stream is missing")
                .found(format_args!("VCN {lowest}"))
                .allowed(format_args!("VCN {}", next(&self.runs))));
        }
        runs::decode(pairs, clusters, &mut self.runs)?;
        self.runs.shrink_to_fit();
        // Of a stream in one part, older drivers leave the highest VCN at 0.
        let end = next(&self.runs);
        if highest.wrapping_add(1) != end && (lowest, highest) != (0, 0) {
            return Err(Error::corrupt("highest VCN")
                .found(highest)
                .allowed(format_args!("{}, as the data runs end", end.wrapping_sub(1))));
        }
        Ok(())
    }

    /// Whether the runs hold all of the stream, and no more clusters than the volume has.
    pub(super) fn check(&self, clusters: u64, size: u64) -> Result<()> {
        let held = self.held(size);
        if self.size > held || self.initialized > self.size {
            return Err(Error::corrupt("sizes of the stream")
                .found(format_args!("{} bytes, {} initialized", self.size, self.initialized))
                .allowed(format_args!("at most the {held} bytes of its data runs")));
        }
        let allocated = runs::allocated(&self.runs);
        if allocated > clusters {
            return Err(Error::corrupt("data runs hold more clusters than the volume")
                .found(allocated)
                .allowed(clusters));
        }
        Ok(())
    }
}

/// Names compared with what stands on the volume.
trait Is {
    fn is(&self, bytes: &[u8]) -> bool;
}

impl Is for Name {
    fn is(&self, bytes: &[u8]) -> bool {
        self.units().iter().flat_map(|unit| unit.to_le_bytes()).eq(bytes.iter().copied())
    }
}

impl std::fmt::Display for Attribute {
    /// As Windows names it, with the stream's name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            kind::DATA => f.write_str("$DATA")?,
            other => write!(f, "attribute {other:#x}")?,
        }
        if self.name.is_empty() { Ok(()) } else { write!(f, ":{}", self.name) }
    }
}
