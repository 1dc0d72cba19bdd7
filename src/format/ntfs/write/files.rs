//! The records and the values of the tree's files, and the entries of its directories.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::index::{self, Entries};
use super::record::{AsBytesLe, Head, Outside, RecordWriter, Title};
use super::{Destination, Placement, Writer};
use crate::error::Result;
use crate::format::ntfs::ondisk::{
    CASE_SENSITIVE, EaInformation, FileName, ListEntry, ReparseHeader, StandardInformation, collation, file, name_flag,
    namespace, record_flag, reference,
};
use crate::format::ntfs::plan::attributes::{
    self, Attribute, Form, Layout, OBJECT_ID_LEN, What, entry_len, extended_lens, list_entry_len,
};
use crate::format::ntfs::plan::census::{Entry, Place, with_name};
use crate::tree::{Content, ExtendedAttribute, Node, Reparse, Times, attributes as bits};

/// Attributes that are kept as the source has them; the others follow from the node, or mean nothing on NTFS.
pub(in super::super) const KEPT: u32 = bits::READ_ONLY
    | bits::HIDDEN
    | bits::SYSTEM
    | bits::ARCHIVE
    | 0x100 // temporary
    | 0x1000 // offline
    | bits::NOT_CONTENT_INDEXED
    | 0x2_0000 // no scrub
    | 0x4_0000 // recall on open
    | 0x8_0000 // pinned
    | 0x10_0000 // unpinned
    | 0x40_0000; // recall on data access

/// A file that is being written.
pub(super) struct FileWriter<'a> {
    writer: &'a Writer<'a>,
    rank: u32,
    node: &'a Node,
    layout: Layout,
    /// Where each attribute's clusters are; 0 for those without.
    lcns: Vec<u64>,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(writer: &'a Writer<'a>, rank: u32) -> Result<Self> {
        let files = &writer.plan.files;
        let layout = files.layout(writer.tree, rank)?;
        let mut next = files.lcns(rank);
        let own = |attribute: &Attribute| if attribute.clusters() > 0 { next.next() } else { None };
        let lcns = layout.attributes.iter().map(own).map(Option::unwrap_or_default).collect();
        Ok(Self { writer, rank, node: writer.tree.node(files.census.node(rank)), layout, lcns })
    }

    /// Which of the file's records there are.
    pub(super) fn holders(&self) -> Range<u16> {
        0..self.layout.records as u16
    }

    /// Fills the zeroed records of these holders in a buffer that begins with the record `first`.
    pub(super) fn write_records(
        &self,
        holders: Range<u16>,
        buf: &mut [u8],
        first: u32,
        placements: &mut Vec<Placement>,
    ) {
        let files = &self.writer.plan.files;
        for holder in holders {
            let number = files.record(self.rank, holder);
            let len = files.geometry.record;
            let start = (number - first) as usize * len;
            let base = holder == 0;
            let head = Head {
                number,
                sequence: if base && self.rank == 0 { file::ROOT as u16 } else { 1 },
                flags: if base && self.node.is_directory() { record_flag::DIRECTORY } else { 0 },
                links: if base { files.census.name_count(self.rank) as u16 } else { 0 },
                base: if base { 0 } else { files.reference(self.rank) },
            };
            let mut record = RecordWriter::new(&mut buf[start..start + len], &files.geometry, head);
            for (attribute, lcn) in self.layout.attributes.iter().zip(&self.lcns).filter(|(a, _)| a.holder == holder) {
                self.write_attribute(&mut record, attribute, *lcn, number, placements);
            }
            record.finish();
        }
    }

    fn write_attribute(
        &self,
        record: &mut RecordWriter<'_>,
        attribute: &Attribute,
        lcn: u64,
        number: u32,
        placements: &mut Vec<Placement>,
    ) {
        let title = Title {
            kind: attribute.what.kind(),
            name: attribute.what.name(self.node),
            instance: attribute.instance,
            flags: 0,
        };
        if let Form::NonResident { clusters, hole } = attribute.form {
            let size = attribute.size;
            return record.non_resident(
                title,
                Outside { lcn, clusters, hole, size, initialized: size, sparse: attribute.sparse },
            );
        }
        let (prefix, content) = self.value(attribute);
        match content {
            None => {
                record.resident(title, &prefix);
            }
            Some(Content::Bytes(bytes)) if prefix.is_empty() => {
                record.resident(title, bytes);
            }
            Some(Content::Bytes(bytes)) => {
                record.resident(title, &[&prefix, &**bytes].concat());
            }
            Some(blob) => {
                let at = record.reserve_after(title, &prefix, blob.len() as usize);
                let in_mft = u64::from(number) * self.writer.plan.files.geometry.record as u64 + at as u64;
                placements.extend(Placement::of(blob, Destination::Record(in_mft)));
            }
        }
    }

    /// Writes what is outside of the records, and returns how much of that is data from memory.
    pub(super) fn write_outside(&self, placements: &mut Vec<Placement>) -> Result<u64> {
        let writer = self.writer;
        let mut data = 0;
        for (attribute, lcn) in self.layout.attributes.iter().zip(&self.lcns).filter(|(a, _)| a.clusters() > 0) {
            let at = writer.plan.files.geometry.bytes(*lcn);
            if let (What::IndexAllocation, Some(shape)) = (attribute.what, &self.layout.shape) {
                let entries = DirectoryEntries { writer, rank: self.rank, node: self.node };
                index::write_blocks(&writer.plan.files.geometry, shape, &entries, |offset, piece| {
                    writer.disk.write_at(at + offset, piece)
                })?;
                continue;
            }
            let (prefix, content) = self.value(attribute);
            match content {
                None => writer.write_padded(at, &prefix)?,
                Some(Content::Bytes(bytes)) if prefix.is_empty() => {
                    writer.write_padded(at, bytes)?;
                    data += bytes.len() as u64;
                }
                Some(Content::Bytes(bytes)) => writer.write_padded(at, &[&prefix, &**bytes].concat())?,
                Some(blob) => {
                    if !prefix.is_empty() {
                        writer.disk.write_at(at, &prefix)?;
                    }
                    let at = at + prefix.len() as u64;
                    placements.extend(Placement::of(blob, Destination::Clusters(at)));
                }
            }
        }
        Ok(data)
    }

    /// An attribute's value: bytes, then a content.
    fn value(&self, attribute: &Attribute) -> (Vec<u8>, Option<&'a Content>) {
        let writer = self.writer;
        let bytes = match attribute.what {
            What::StandardInformation => writer.standard_information(self.node).as_bytes().to_vec(),
            What::AttributeList => self.attribute_list(),
            What::FileName { place, dos } => self.file_name(place, dos),
            What::ObjectId => self.node.object_id.iter().flat_map(|id| &id[..OBJECT_ID_LEN]).copied().collect(),
            What::Data(stream) => {
                return (Vec::new(), stream.map(|stream| &self.node.streams[stream as usize].content));
            }
            What::IndexRoot => self.index_root(),
            What::IndexAllocation => Vec::new(), // never small enough for a record
            What::IndexBitmap => index::bitmap(self.layout.shape.as_ref().map_or(0, |shape| shape.blocks())),
            What::ReparsePoint => return self.reparse_point(),
            What::EaInformation => ea_information(&self.node.extended).as_bytes().to_vec(),
            What::Ea => extended_attributes(&self.node.extended),
        };
        (bytes, None)
    }

    fn attribute_list(&self) -> Vec<u8> {
        let files = &self.writer.plan.files;
        let mut list = Vec::new();
        for attribute in self.layout.attributes.iter().filter(|attribute| attribute.what != What::AttributeList) {
            let name = attribute.what.name(self.node);
            let holder = match attribute.holder {
                0 => files.reference(self.rank),
                holder => reference(files.record(self.rank, holder), 1),
            };
            let entry = ListEntry {
                kind: attribute.what.kind().into(),
                len: (list_entry_len(name.len()) as u16).into(),
                name_len: name.len() as u8,
                name_offset: size_of::<ListEntry>() as u8,
                lowest_vcn: 0.into(),
                holder: holder.into(),
                instance: attribute.instance.into(),
            };
            let end = list.len() + list_entry_len(name.len());
            list.extend_from_slice(entry.as_bytes());
            list.extend_from_slice(&name.as_bytes_le());
            list.resize(end, 0);
        }
        list
    }

    fn file_name(&self, place: u32, dos: bool) -> Vec<u8> {
        let writer = self.writer;
        let census = &writer.plan.files.census;
        if self.rank == 0 {
            return writer.name_value(0, 0, namespace::WIN32_AND_DOS, &[u16::from(b'.')]);
        }
        let place = census.places(self.rank)[place as usize];
        let link = census.link(writer.tree, place);
        let (name, space) = match &link.short {
            Some(short) if dos => (short, namespace::DOS),
            _ => (&link.name, census.namespace(place)),
        };
        writer.name_value(self.rank, place.parent, space, name.units())
    }

    fn index_root(&self) -> Vec<u8> {
        let geometry = &self.writer.plan.files.geometry;
        if let Some(shape) = &self.layout.shape {
            return index::large_root(geometry, collation::FILE_NAME, shape);
        }
        let source = DirectoryEntries { writer: self.writer, rank: self.rank, node: self.node };
        let mut entries = Vec::new();
        for entry in 0..self.writer.plan.files.census.entries(self.rank).len() {
            source.write(entry, &mut entries);
        }
        index::small_root(geometry, collation::FILE_NAME, &entries)
    }

    fn reparse_point(&self) -> (Vec<u8>, Option<&'a Content>) {
        let Some(reparse) = &self.node.reparse else { return (Vec::new(), None) };
        (reparse_header(reparse).as_bytes().to_vec(), Some(&reparse.data))
    }
}

impl Writer<'_> {
    /// Attributes as `$STANDARD_INFORMATION` keeps them.
    fn attributes(&self, node: &Node) -> u32 {
        let mut attributes = node.attributes & KEPT;
        if self.plan.files.keeps_compressed() {
            attributes |= node.attributes & bits::COMPRESSED;
        }
        if node.streams.iter().any(|stream| stream.sparse) {
            attributes |= bits::SPARSE;
        }
        if node.reparse.is_some() {
            attributes |= bits::REPARSE_POINT;
        }
        attributes
    }

    fn standard_information(&self, node: &Node) -> StandardInformation {
        let security = self.plan.files.secure.id(self.tree, node.descriptor, node.is_directory());
        StandardInformation {
            times: times(&node.times).map(Into::into),
            attributes: self.attributes(node).into(),
            max_versions: 0.into(),
            version: if node.case_sensitive { CASE_SENSITIVE } else { 0 }.into(),
            class: 0.into(),
            owner: 0.into(),
            security: security.into(),
            quota: 0.into(),
            usn: 0.into(),
        }
    }

    /// The value of a `$FILE_NAME`, which also is the key of an entry in the directory.
    fn name_value(&self, rank: u32, parent: u32, space: u8, name: &[u16]) -> Vec<u8> {
        let files = &self.plan.files;
        let node = self.tree.node(files.census.node(rank));
        let main = node.streams.iter().find(|stream| stream.name.is_empty() && !node.is_directory());
        let directory = if node.is_directory() { name_flag::DIRECTORY } else { 0 };
        let tag = match &node.reparse {
            Some(reparse) => reparse.tag,
            None => extended_lens(&node.extended).0 as u32,
        };
        let head = FileName {
            parent: files.reference(parent).into(),
            times: times(&node.times).map(Into::into),
            allocated: main
                .map_or(0, |main| attributes::allocated(&files.geometry, main, files.main_is_resident(rank)))
                .into(),
            size: main.map_or(0, |main| main.content.len()).into(),
            attributes: (self.attributes(node) | directory).into(),
            tag: tag.into(),
            name_len: name.len() as u8,
            namespace: space,
        };
        [head.as_bytes(), &name.as_bytes_le()].concat()
    }
}

/// The value of `$EA_INFORMATION`.
pub(in super::super) fn ea_information(extended: &[ExtendedAttribute]) -> EaInformation {
    let (packed, unpacked) = extended_lens(extended);
    let need = extended.iter().filter(|ea| ea.flags & 0x80 != 0).count();
    EaInformation { packed: (packed as u16).into(), need: (need as u16).into(), unpacked: (unpacked as u32).into() }
}

/// The value of `$EA`. Each entry begins with its own length, the last one too.
pub(in super::super) fn extended_attributes(extended: &[ExtendedAttribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for ea in extended {
        let len = (9 + ea.name.len() + ea.value.len()).next_multiple_of(4);
        let end = out.len() + len;
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&[ea.flags, ea.name.len() as u8]);
        out.extend_from_slice(&(ea.value.len() as u16).to_le_bytes());
        out.extend_from_slice(&ea.name);
        out.push(0);
        out.extend_from_slice(&ea.value);
        out.resize(end, 0);
    }
    out
}

/// The head of the value of `$REPARSE_POINT`. The length does not count the GUID that precedes the data of tags that are not Microsoft's.
pub(in super::super) fn reparse_header(reparse: &Reparse) -> ReparseHeader {
    let guid = if reparse.tag & 0x8000_0000 == 0 { 16 } else { 0 };
    let len = (reparse.data.len() as u16).saturating_sub(guid);
    ReparseHeader { tag: reparse.tag.into(), len: len.into(), zero_6: 0.into() }
}

pub(in super::super) fn times(times: &Times) -> [u64; 4] {
    [times.created.0, times.modified.0, times.changed.0, times.accessed.0]
}

/// The entries of a directory's index.
struct DirectoryEntries<'a> {
    writer: &'a Writer<'a>,
    rank: u32,
    node: &'a Node,
}

impl Entries for DirectoryEntries<'_> {
    fn write(&self, index: usize, out: &mut Vec<u8>) {
        let files = &self.writer.plan.files;
        let entry = files.census.entry(self.rank, index);
        let (reference, key) = match entry {
            Entry::System(index) => self.writer.system_entry(index),
            Entry::Long(child) | Entry::Short(child) => {
                let target = files.census.rank(self.node.children()[child as usize].node);
                let space = match entry {
                    Entry::Short(_) => namespace::DOS,
                    _ => files.census.namespace(Place { parent: self.rank, child }),
                };
                let key = with_name(self.node, entry, |name| self.writer.name_value(target, self.rank, space, name));
                (files.reference(target), key)
            }
        };
        let end = out.len() + entry_len(self.node, entry);
        out.extend_from_slice(index::head(reference, end - out.len(), key.len(), 0).as_bytes());
        out.extend_from_slice(&key);
        out.resize(end, 0);
    }
}

impl Writer<'_> {
    /// The entry of a system file in the root directory, and its key.
    fn system_entry(&self, index: usize) -> (u64, Vec<u8>) {
        let (number, name) = crate::format::ntfs::plan::census::SYSTEM_NAMES[index];
        if number == file::ROOT {
            return (self.plan.files.reference(0), self.name_value(0, 0, namespace::WIN32_AND_DOS, &[u16::from(b'.')]));
        }
        let system = self.system_file(number, name);
        (system.reference(), system.name_value())
    }
}
