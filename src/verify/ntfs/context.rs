//! What every check needs: the volume to read from, and where findings go.

use std::cell::Cell;
use std::collections::HashMap;

use super::attributes::{Attribute, Extents, Stream, units};
use super::boot::Geometry;
use super::record::{self, Slot};
use super::runs::Run;
use crate::base::bytes::u64_at;
use crate::base::{Name, ReadAt};
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{file, kind, namespace};
use crate::verify::{Finding, Findings, KEPT_OF_A_RULE};

/// Offset of the name in `$FILE_NAME`, and of its namespace.
pub(super) const NAME_AT: usize = 66;
pub(super) const NAMESPACE_AT: usize = 65;
/// What of a reference is the record number; the rest is the sequence number.
pub(super) const NUMBER_MASK: u64 = 0xFFFF_FFFF_FFFF;

/// The record number in a reference; `None` for one that no volume has.
pub(super) fn number_of(reference: u64) -> Option<u32> {
    u32::try_from(reference & NUMBER_MASK).ok()
}

/// The sequence number in a reference.
pub(super) fn sequence_of(reference: u64) -> u16 {
    (reference >> 48) as u16
}

/// The volume, and what is known of it so far.
pub(super) struct Volume<'a> {
    bytes: &'a dyn ReadAt,
    pub(super) geometry: Geometry,
    /// The stream of `$MFT`, as far as it could be found.
    pub(super) mft: Extents,
    /// Base record and the record that extends it, sorted.
    pub(super) extensions: Vec<(u32, u32)>,
    /// Bytes that may still be read beside the first pass.
    budget: Cell<u64>,
}

/// A file's records, out of `$MFT` again.
pub(super) struct Loaded(Vec<(u32, Vec<u8>)>);

impl Loaded {
    /// The attributes of all of its records, each with its holder, in the order of type, name and VCN.
    pub(super) fn attributes(&mut self) -> Vec<Attribute<'_>> {
        let several = self.0.len() > 1;
        let mut all = Vec::new();
        for (number, raw) in &mut self.0 {
            if let Slot::Used(record) = record::parse(raw, *number, &mut |_| {}) {
                all.extend(record.attributes.into_iter().map(|attribute| Attribute { holder: *number, ..attribute }));
            }
        }
        if several {
            all.sort_by(|a, b| (a.kind, a.name, a.lowest_vcn()).cmp(&(b.kind, b.name, b.lowest_vcn())));
        }
        all
    }
}

impl<'a> Volume<'a> {
    pub(super) fn new(bytes: &'a dyn ReadAt, geometry: Geometry) -> Self {
        let budget = Cell::new(bytes.len().saturating_mul(2).saturating_add(4 << 20));
        Self { bytes, geometry, mft: Extents::default(), extensions: Vec::new(), budget }
    }

    /// The length of the partition.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len()
    }

    pub(super) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.read_at(at, buf)
    }

    /// Whether what was read beside the first pass is more than an honest volume takes.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget.get() == 0
    }

    /// Fills `buf` from a stream's clusters; holes are zeros. Fails beyond the last run.
    pub(super) fn read_runs(&self, runs: &[Run], mut at: u64, mut buf: &mut [u8]) -> Result<()> {
        let cluster = self.geometry.cluster;
        let mut index = runs.partition_point(|run| run.end().saturating_mul(cluster) <= at);
        while !buf.is_empty() {
            let run = runs.get(index).ok_or_else(|| Error::truncated("a stream without clusters").at(at))?;
            let within = at.saturating_sub(run.vcn * cluster);
            let len = ((run.len * cluster).saturating_sub(within)).min(buf.len() as u64) as usize;
            let (head, rest) = buf.split_at_mut(len);
            match run.lcn {
                Some(lcn) => self.read_at(self.geometry.offset(lcn) + within, head)?,
                None => head.fill(0),
            }
            buf = rest;
            at += len as u64;
            index += 1;
        }
        Ok(())
    }

    /// Fills `buf` from a stream beside the first pass; what is not initialised reads as zeros.
    pub(super) fn read_stream(&self, extents: &Extents, at: u64, buf: &mut [u8]) -> Result<()> {
        self.charge(buf.len())?;
        let filled = extents.initialized.saturating_sub(at).min(buf.len() as u64) as usize;
        let (filled, zeros) = buf.split_at_mut(filled);
        zeros.fill(0);
        self.read_runs(&extents.runs, at, filled)
    }

    /// Fills `buf` from the clusters of a stream whose sizes are those of what is compressed in them.
    pub(super) fn read_compressed(&self, extents: &Extents, at: u64, buf: &mut [u8]) -> Result<()> {
        self.charge(buf.len())?;
        self.read_runs(&extents.runs, at, buf)
    }

    fn charge(&self, len: usize) -> Result<()> {
        let left = self.budget.get().saturating_sub(len as u64);
        self.budget.set(left);
        if left > 0 { Ok(()) } else { Err(Error::corrupt("more is to be read than the volume can hold")) }
    }

    /// All of a stream of at most `limit` bytes.
    pub(super) fn value(&self, stream: &Stream<'_>, limit: u64) -> Result<Vec<u8>> {
        match stream {
            Stream::Resident(value) => Ok(value.to_vec()),
            Stream::NonResident(extents) => {
                // What lies in clusters cannot be longer than they are, so that no length from the volume is allocated unseen.
                let held = extents.clusters().saturating_mul(self.geometry.cluster);
                if extents.size > limit || extents.size > held || extents.size > self.bytes.len() {
                    return Err(Error::corrupt("a value of this length").found(extents.size).allowed(limit));
                }
                let mut value = vec![0; extents.size as usize];
                self.read_stream(extents, 0, &mut value)?;
                Ok(value)
            }
        }
    }

    /// How many records `$MFT` has.
    pub(super) fn records(&self) -> u64 {
        self.mft.size / self.geometry.record as u64
    }

    /// The offset of a record's first byte.
    pub(super) fn record_offset(&self, number: u32) -> Option<u64> {
        let at = u64::from(number) * self.geometry.record as u64;
        let vcn = at / self.geometry.cluster;
        let run = self.mft.runs.get(self.mft.runs.partition_point(|run| run.end() <= vcn))?;
        Some(self.geometry.offset(run.lcn? + (vcn - run.vcn)) + at % self.geometry.cluster)
    }

    /// The bytes of a record, as they are.
    pub(super) fn raw_record(&self, number: u32) -> Option<Vec<u8>> {
        let mut raw = vec![0; self.geometry.record];
        self.read_runs(&self.mft.runs, u64::from(number) * raw.len() as u64, &mut raw).ok()?;
        Some(raw)
    }

    /// All records of a file.
    pub(super) fn load(&self, number: u32) -> Option<Loaded> {
        let mut records = vec![(number, self.raw_record(number)?)];
        let first = self.extensions.partition_point(|(base, _)| *base < number);
        for (_, extension) in self.extensions[first..].iter().take_while(|(base, _)| *base == number) {
            records.push((*extension, self.raw_record(*extension)?));
        }
        Some(Loaded(records))
    }

    /// A stream out of a list of attributes.
    pub(super) fn stream<'r>(&self, attributes: &[Attribute<'r>], kind: u32, name: &str) -> Option<Stream<'r>> {
        super::attributes::stream_of(attributes, kind, name, self.geometry.clusters)
    }

    /// The directory and the name of a file, the long one if there are two.
    fn name_of(&self, number: u32) -> Option<(u32, Name)> {
        let mut loaded = self.load(number)?;
        let attributes = loaded.attributes();
        let names = || attributes.iter().filter(|a| a.kind == kind::FILE_NAME).filter_map(Attribute::resident);
        let is_short = |value: &&[u8]| value.get(NAMESPACE_AT) == Some(&namespace::DOS);
        let value = names().find(|value| !is_short(value)).or_else(|| names().next())?;
        Some((number_of(u64_at(value, 0)?)?, Name::new(units(value.get(NAME_AT..)?))))
    }
}

/// The volume and the findings.
pub(super) struct Context<'a> {
    pub(super) volume: Volume<'a>,
    findings: &'a mut Findings,
    /// Paths that were worked out already.
    paths: HashMap<u32, Option<String>>,
}

/// A path of more directories than this is not worked out.
const DEEPEST_PATH: usize = 64;

impl<'a> Context<'a> {
    pub(super) fn new(volume: Volume<'a>, findings: &'a mut Findings) -> Self {
        Self { volume, findings, paths: HashMap::new() }
    }

    /// Takes a finding in, with the path of its record.
    pub(super) fn add(&mut self, mut finding: Finding) {
        let kept = self.findings.count_of(finding.rule) < KEPT_OF_A_RULE;
        if let Some(number) = finding.place.record.and_then(|number| u32::try_from(number).ok())
            && finding.place.path.is_none()
            && kept
        {
            finding.place.path = self.path(number);
        }
        self.findings.add(finding);
    }

    /// Takes in a finding whose offset is within that record.
    pub(super) fn add_in_record(&mut self, number: u32, mut finding: Finding) {
        let start = self.volume.record_offset(number);
        finding.place.offset = finding.place.offset.and_then(|offset| Some(offset + start?));
        self.add(finding.record(u64::from(number)));
    }

    /// The path of a file from the root, following the first long name of each directory.
    pub(super) fn path(&mut self, number: u32) -> Option<String> {
        let mut names = Vec::new();
        let mut at = number;
        let mut start = None;
        while at != file::ROOT {
            if let Some(known) = self.paths.get(&at) {
                start = Some(known.clone()?);
                break;
            }
            if names.len() == DEEPEST_PATH {
                return None; // too deep, or a circle
            }
            let Some((parent, name)) = self.volume.name_of(at) else {
                if at != number {
                    start = Some(format!("(record {at})"));
                    break;
                }
                return None;
            };
            names.push((at, name));
            at = parent;
        }
        let mut path = start.unwrap_or_default();
        for (record, name) in names.iter().rev() {
            path = format!("{path}\\{name}");
            if *record != number {
                self.paths.insert(*record, Some(path.clone()));
            }
        }
        Some(if path.is_empty() { "\\".to_owned() } else { path })
    }
}
