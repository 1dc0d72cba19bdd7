//! Attributes as they lie in records, and the streams that they make up together.

use std::borrow::Cow;

use super::kinds;
use super::runs::{self, Run};
use crate::base::Name;

/// An attribute of a record.
#[derive(Debug, Clone)]
pub(super) struct Attribute<'a> {
    /// The record that holds it, in a list of the attributes of a whole file.
    pub(super) holder: u32,
    /// Its offset in the record.
    pub(super) at: usize,
    pub(super) kind: u32,
    pub(super) flags: u16,
    pub(super) instance: u16,
    /// In little-endian units.
    pub(super) name: &'a [u8],
    pub(super) body: Body<'a>,
}

/// What is behind the head of an attribute.
#[derive(Debug, Clone)]
pub(super) enum Body<'a> {
    Resident(&'a [u8]),
    /// A piece of a stream.
    NonResident {
        lowest: u64,
        highest: u64,
        allocated: u64,
        size: u64,
        initialized: u64,
        /// What is allocated without the holes, of streams that may have them.
        total: Option<u64>,
        /// Binary logarithm.
        unit: u8,
        /// Mapping pairs.
        pairs: &'a [u8],
    },
}

/// A stream as a whole.
#[derive(Debug, Clone)]
pub(super) enum Stream<'a> {
    Resident(&'a [u8]),
    NonResident(Extents),
}

/// A stream that lies in clusters.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    pub(super) runs: Vec<Run>,
    pub(super) allocated: u64,
    pub(super) size: u64,
    pub(super) initialized: u64,
    pub(super) total: Option<u64>,
    pub(super) unit: u8,
    pub(super) flags: u16,
}

impl Extents {
    /// Clusters of the volume, holes not counted.
    pub(super) fn real_clusters(&self) -> u64 {
        self.runs.iter().filter(|run| run.lcn.is_some()).fold(0, |sum, run| sum.saturating_add(run.len))
    }

    /// Clusters of the stream, holes included.
    pub(super) fn clusters(&self) -> u64 {
        self.runs.last().map_or(0, Run::end)
    }

    pub(super) fn has_holes(&self) -> bool {
        self.runs.iter().any(|run| run.lcn.is_none())
    }
}

impl Stream<'_> {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Resident(value) => value.len() as u64,
            Self::NonResident(extents) => extents.size,
        }
    }
}

impl<'a> Attribute<'a> {
    pub(super) fn units(&self) -> Cow<'a, [u16]> {
        if self.name.is_empty() { Cow::Borrowed(&[]) } else { Cow::Owned(units(self.name)) }
    }

    /// Whether its name is this one, in ASCII.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.len() == 2 * name.len()
            && self.name.chunks_exact(2).zip(name.bytes()).all(|(unit, byte)| *unit == [byte, 0])
    }

    pub(super) fn is(&self, kind: u32, name: &str) -> bool {
        self.kind == kind && self.is_named(name)
    }

    pub(super) fn resident(&self) -> Option<&'a [u8]> {
        match self.body {
            Body::Resident(value) => Some(value),
            Body::NonResident { .. } => None,
        }
    }

    pub(super) fn lowest_vcn(&self) -> u64 {
        match self.body {
            Body::Resident(_) => 0,
            Body::NonResident { lowest, .. } => lowest,
        }
    }

    /// How people call it: `$DATA:stream`.
    pub(super) fn part(&self) -> String {
        part(self.kind, self.name)
    }
}

/// How people call an attribute of that type and name (in little-endian units).
pub(super) fn part(kind: u32, name: &[u8]) -> String {
    if name.is_empty() { kinds::name(kind) } else { format!("{}:{}", kinds::name(kind), Name::from_le_bytes(name)) }
}

/// Little-endian bytes as code units.
pub(super) fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The first attribute of that type and name.
pub(super) fn find<'r, 'a>(attributes: &'r [Attribute<'a>], kind: u32, name: &str) -> Option<&'r Attribute<'a>> {
    attributes.iter().find(|attribute| attribute.is(kind, name))
}

/// The stream whose first piece `first` is, put together from all pieces among `attributes`.
///
/// `None` where a piece is missing or wrong, which is a finding elsewhere.
pub(super) fn stream<'a>(attributes: &[Attribute<'a>], first: &Attribute<'a>, clusters: u64) -> Option<Stream<'a>> {
    let (allocated, size, initialized, total, unit) = match first.body {
        Body::Resident(value) => return Some(Stream::Resident(value)),
        Body::NonResident { lowest: 0, allocated, size, initialized, total, unit, .. } => {
            (allocated, size, initialized, total, unit)
        }
        Body::NonResident { .. } => return None,
    };
    let mut extents = Extents { runs: Vec::new(), allocated, size, initialized, total, unit, flags: first.flags };
    let mut pieces: Vec<(u64, &[u8])> = attributes
        .iter()
        .filter(|attribute| attribute.kind == first.kind && attribute.name == first.name)
        .filter_map(|attribute| match attribute.body {
            Body::NonResident { lowest, pairs, .. } => Some((lowest, pairs)),
            Body::Resident(_) => None,
        })
        .collect();
    pieces.sort_by_key(|(lowest, _)| *lowest);
    for (lowest, pairs) in pieces {
        if lowest != extents.clusters() {
            return None;
        }
        runs::decode(pairs, lowest, clusters, &mut extents.runs).ok()?;
    }
    Some(Stream::NonResident(extents))
}

/// The stream of that type and name.
pub(super) fn stream_of<'a>(attributes: &[Attribute<'a>], kind: u32, name: &str, clusters: u64) -> Option<Stream<'a>> {
    let first = attributes.iter().find(|attribute| attribute.is(kind, name) && attribute.lowest_vcn() == 0)?;
    stream(attributes, first, clusters)
}
