//! The parts of a WIM: their headers and blob tables, put together into a [`Store`].

use std::sync::{Arc, Mutex};

use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::ondisk::{
    BlobEntry, Header, MAGIC, MAGIC_PIPABLE, ResourceHeader, SOLID_RESOURCE, VERSION, VERSION_SOLID, header_flags,
    resource_flags,
};
use super::resource::{Codec, Compression, Resource, load};
use super::store::{Blob, Sha1Hash, Store};
use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::tree::BlobId;

/// The largest blob table that is read: ten million blobs.
const TABLE_LIMIT: u64 = 512 << 20;

/// The header of one part, checked.
pub(super) struct Part {
    pub(super) header: Header,
    pub(super) codec: Option<Codec>,
    pub(super) reader: Arc<dyn ReadAt>,
}

impl Part {
    pub(super) fn open(reader: Arc<dyn ReadAt>) -> Result<Self> {
        let header = read_header(&*reader)?;
        let codec = compression(header.flags.get())?
            .map(|compression| Codec::new(compression, header.chunk_size.get()).map_err(|e| e.at(0x14)))
            .transpose()?;
        Ok(Self { header, codec, reader })
    }

    /// A resource that the header points to, or `None` if there is none.
    pub(super) fn resource(&self, header: &ResourceHeader) -> Result<Option<Resource>> {
        if header.offset.get() == 0 || header.size.get() == 0 {
            return Ok(None);
        }
        Resource::new(0, header, self.codec, &*self.reader).map(Some)
    }

    pub(super) fn load(&self, header: &ResourceHeader, limit: u64) -> Result<Vec<u8>> {
        self.resource(header)?.map_or_else(|| Ok(Vec::new()), |resource| load(&*self.reader, &resource, limit))
    }
}

fn read_header(reader: &dyn ReadAt) -> Result<Header> {
    let mut header = Header::new_zeroed();
    reader.read_at(0, header.as_mut_bytes()).map_err(|e| match e.kind() {
        Kind::Truncated => {
            Error::truncated("WIM header").found(reader.len()).allowed(format_args!("{} bytes", size_of::<Header>()))
        }
        _ => e,
    })?;
    check_identity(&header)?;
    check_end(&header, reader.len())?;
    Ok(header)
}

/// Whether the file is as long as its header says. What is last is often the integrity table, which nobody may ask for.
fn check_end(header: &Header, len: u64) -> Result<()> {
    let resources = [&header.blob_table, &header.xml, &header.boot_metadata, &header.integrity];
    let end = resources.map(|resource| resource.offset.get().saturating_add(resource.stored())).into_iter().max();
    match end.filter(|end| *end > len) {
        Some(end) => Err(Error::truncated("WIM")
            .found(format_args!("{len} bytes"))
            .allowed(format_args!("at least {end}"))
            .hint("the file was not copied or downloaded whole: fetch it again")),
        None => Ok(()),
    }
}

fn check_identity(header: &Header) -> Result<()> {
    if header.magic == MAGIC_PIPABLE {
        return Err(Error::unsupported("a pipable WIM, which only wimlib reads")
            .hint("convert it: wimlib-imagex export PIPABLE.wim all NORMAL.wim"));
    }
    if header.magic != MAGIC {
        return Err(Error::corrupt("WIM header: magic")
            .at(0)
            .found(format_args!("\"{}\"", header.magic.escape_ascii()))
            .allowed("\"MSWIM\\0\\0\\0\"")
            .hint("this is no WIM, ESD or SWM file"));
    }
    if header.header_size.get() as usize != size_of::<Header>() {
        return Err(Error::corrupt("WIM header: its size")
            .at(8)
            .found(header.header_size)
            .allowed(size_of::<Header>()));
    }
    if !matches!(header.version.get(), VERSION | VERSION_SOLID) {
        return Err(Error::unsupported("WIM version")
            .at(12)
            .found(format_args!("{:#x}", header.version.get()))
            .allowed(format_args!("{VERSION:#x} and {VERSION_SOLID:#x}")));
    }
    if header.flags.get() & header_flags::WRITE_IN_PROGRESS != 0 {
        return Err(Error::corrupt("an unfinished WIM: whatever wrote it was interrupted (flag WRITE_IN_PROGRESS)")
            .at(16)
            .hint("make it or fetch it again"));
    }
    let (part, parts) = (header.part.get(), header.parts.get());
    if part == 0 || part > parts {
        return Err(Error::corrupt("WIM header: part number").at(0x28).found(format_args!("{part} of {parts}")));
    }
    Ok(())
}

/// The compression that the header's flags name. Solid resources have their own.
fn compression(flags: u32) -> Result<Option<Compression>> {
    if flags & header_flags::COMPRESSED == 0 {
        return Ok(None);
    }
    let known = [
        (header_flags::LZX, Compression::Lzx),
        (header_flags::XPRESS | header_flags::XPRESS_2, Compression::Xpress),
        (header_flags::LZMS, Compression::Lzms),
    ];
    let found = known.into_iter().find(|(bits, _)| flags & bits != 0);
    let unknown = || Error::unsupported("WIM header: compression flags").at(16).found(format_args!("{flags:#x}"));
    found.map(|(_, compression)| Some(compression)).ok_or_else(unknown)
}

/// Which part of which WIM a file is: enough to find the parts of a split WIM before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartId {
    /// The same in all parts.
    pub guid: Uuid,
    /// From 1.
    pub part: u16,
    /// How many there are.
    pub parts: u16,
}

impl PartId {
    /// Reads it from the header of a file, which is checked.
    pub fn read(reader: &dyn ReadAt) -> Result<Self> {
        let header = read_header(reader)?;
        Ok(Self { guid: Uuid::from_bytes_le(header.guid), part: header.part.get(), parts: header.parts.get() })
    }
}

/// Puts the parts in order: all of them are there, once, and belong together.
pub(super) fn arrange(parts: Vec<Arc<dyn ReadAt>>) -> Result<Vec<Part>> {
    let mut readers = parts.into_iter();
    let first = Part::open(readers.next().ok_or_else(|| Error::invalid("no WIM file"))?)?;
    let total = usize::from(first.header.parts.get());
    if first.header.part.get() != 1 {
        return Err(Error::invalid("a later part of a split WIM")
            .found(format_args!("part {} of {total}", first.header.part))
            .hint("give the first part (the .swm file without a number, or with 1)"));
    }
    let guid = first.header.guid;
    let mut found: Vec<Option<Part>> = (0..total).map(|_| None).collect();
    found[0] = Some(first);
    for (index, reader) in readers.enumerate() {
        let part = Part::open(reader).context(|| format!("file {}", index + 2))?;
        let number = part.header.part.get();
        if part.header.guid != guid || usize::from(part.header.parts.get()) != total {
            return Err(Error::invalid(format_args!("file {} belongs to another WIM", index + 2)));
        }
        let place = found.get_mut(usize::from(number) - 1).filter(|place| place.is_none());
        *place.ok_or_else(|| Error::invalid(format_args!("part {number} is given twice")))? = Some(part);
    }
    let missing: Vec<usize> = (1..).zip(&found).filter(|(_, part)| part.is_none()).map(|(n, _)| n).collect();
    if !missing.is_empty() {
        return Err(Error::invalid(format_args!("a split WIM of {total} parts without part {}", list(&missing)))
            .hint("put all of its .swm files beside the first one"));
    }
    Ok(found.into_iter().flatten().collect())
}

/// The first few numbers, and how many there are if that is not all of them.
fn list(numbers: &[usize]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(usize::to_string).collect();
    let rest = if numbers.len() > SHOWN { format!(", ... ({} in all)", numbers.len()) } else { String::new() };
    shown.join(", ") + &rest
}

/// An entry that was read from a part's blob table.
struct Entry {
    blob: Blob,
    metadata: bool,
    /// For the order of images, which is that of the table.
    place: u32,
}

/// What the blob tables of all parts hold.
pub(super) struct Table {
    pub(super) store: Store,
    /// The metadata resources of the images, in their order.
    pub(super) metadata: Vec<BlobId>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn read(parts: &[Part]) -> Result<Table> {
    let mut reading = Reading::default();
    for (index, part) in parts.iter().enumerate() {
        let context =
            || if parts.len() > 1 { format!("blob table of part {}", index + 1) } else { "blob table".into() };
        reading.part(index as u16, part).context(context)?;
    }
    Ok(reading.finish(parts))
}

#[derive(Default)]
struct Reading {
    resources: Vec<Resource>,
    entries: Vec<Entry>,
    foreign: u64,
    unused_metadata: u64,
}

impl Reading {
    fn part(&mut self, index: u16, part: &Part) -> Result<()> {
        let bytes = part.load(&part.header.blob_table, TABLE_LIMIT)?;
        let (entries, rest) = <[BlobEntry]>::ref_from_prefix_with_elems(&bytes, bytes.len() / size_of::<BlobEntry>())
            .map_err(|_| Error::truncated("WIM blob table"))?;
        if !rest.is_empty() {
            return Err(Error::corrupt("WIM blob table: its length").found(bytes.len()).allowed("a multiple of 50"));
        }
        // Version 0x10D00 knows no solid resources; the flag means nothing there.
        let solid = |entry: &&BlobEntry| {
            part.header.version.get() == VERSION_SOLID && entry.resource.flags & resource_flags::SOLID != 0
        };
        let mut entries = entries.iter().peekable();
        while let Some(entry) = entries.peek() {
            if solid(entry) {
                let run: Vec<&BlobEntry> = std::iter::from_fn(|| entries.next_if(solid)).collect();
                self.solid_run(index, part, &run)?;
            } else {
                self.entry(index, part, entry)?;
                entries.next();
            }
        }
        Ok(())
    }

    fn entry(&mut self, index: u16, part: &Part, entry: &BlobEntry) -> Result<()> {
        if entry.sha1 == [0; 20] || entry.resource.size.get() == 0 {
            return Ok(()); // a place that was left empty
        }
        let resource = Resource::new(index, &entry.resource, part.codec, &*part.reader)?;
        let resource_index = self.add_resource(resource)?;
        self.add(part, entry, Blob { sha1: Sha1Hash(entry.sha1), resource: resource_index, at: 0, len: resource.size });
        Ok(())
    }

    fn add_resource(&mut self, resource: Resource) -> Result<u32> {
        self.resources.push(resource);
        u32::try_from(self.resources.len() - 1).map_err(|_| Error::unsupported("WIM: more than 2^32 resources"))
    }

    fn add(&mut self, part: &Part, entry: &BlobEntry, blob: Blob) {
        let metadata = entry.resource.flags & resource_flags::METADATA != 0;
        if entry.part != part.header.part {
            self.foreign += 1;
        } else if metadata && (entry.references.get() == 0 || part.header.part.get() != 1) {
            // Metadata without references is a leftover: the boot.wim files of the Windows AIK have some.
            self.unused_metadata += 1;
        } else {
            self.entries.push(Entry { blob, metadata, place: self.entries.len() as u32 });
        }
    }

    /// A run of entries with the flag SOLID: some are resources; all others are blobs in the concatenation of what these
    /// unpack to. Their "offset" counts from the start of the concatenation, their "stored size" is the blob's length.
    fn solid_run(&mut self, index: u16, part: &Part, run: &[&BlobEntry]) -> Result<()> {
        let is_resource = |entry: &&&BlobEntry| entry.resource.size.get() == SOLID_RESOURCE;
        let mut starts = Vec::new();
        let mut total = 0u64;
        for entry in run.iter().filter(is_resource) {
            let resource = Resource::solid(index, &entry.resource, &*part.reader)?;
            starts.push((total, self.add_resource(resource)?));
            let too_long = || Error::corrupt("WIM: solid resources of more than 2^64 bytes").at(resource.offset);
            total = total.checked_add(resource.size).ok_or_else(too_long)?;
        }
        let mut placed = Vec::new();
        for entry in run.iter().filter(|entry| !is_resource(entry)) {
            let (offset, len) = (entry.resource.offset.get(), entry.resource.stored());
            if entry.sha1 == [0; 20] || len == 0 {
                continue;
            }
            let outside =
                || Error::corrupt("WIM: blob outside of its solid resource").at(offset).found(len).allowed(total);
            let after = starts.partition_point(|(start, _)| *start <= offset);
            let (start, resource) = *starts.get(after.wrapping_sub(1)).ok_or_else(outside)?;
            let at = offset - start;
            let size = self.resources[resource as usize].size;
            at.checked_add(len).filter(|end| *end <= size).ok_or_else(outside)?;
            placed.push((resource, at, len));
            self.add(part, entry, Blob { sha1: Sha1Hash(entry.sha1), resource, at, len });
        }
        placed.sort_unstable();
        let overlap = placed.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].1 + pair[0].2 > pair[1].1);
        match overlap {
            Some(pair) => Err(Error::corrupt("WIM: overlapping blobs in a solid resource").at(pair[1].1)),
            None => Ok(()),
        }
    }

    fn finish(mut self, parts: &[Part]) -> Table {
        let mut warnings = Vec::new();
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                warnings.push(format!("blob table: {count} {what}"));
            }
        };
        warn(self.foreign, "entries of other parts were ignored");
        warn(self.unused_metadata, "metadata resources that no image uses were ignored");
        // Of blobs that are there twice, the first counts.
        let key = |entry: &Entry| (entry.metadata, entry.blob.sha1);
        self.entries.sort_by_key(|entry| (key(entry), entry.place));
        self.entries.dedup_by(|later, earlier| !later.metadata && key(later) == key(earlier));
        let resources = &self.resources;
        self.entries.sort_by_key(|entry| {
            let resource = &resources[entry.blob.resource as usize];
            (resource.part, resource.offset, entry.blob.at, entry.place)
        });
        let mut metadata: Vec<(u32, BlobId)> = Vec::new();
        let mut by_hash: Vec<u32> = Vec::new();
        for (index, entry) in (0..).zip(&self.entries) {
            if entry.metadata { metadata.push((entry.place, BlobId(index))) } else { by_hash.push(index) }
        }
        metadata.sort_unstable();
        by_hash.sort_unstable_by_key(|index| self.entries[*index as usize].blob.sha1);
        let store = Store {
            parts: parts.iter().map(|part| Arc::clone(&part.reader)).collect(),
            resources: self.resources,
            blobs: self.entries.iter().map(|entry| entry.blob).collect(),
            by_hash,
            last_chunk: Mutex::default(),
            landmarks: Mutex::default(),
        };
        Table { store, metadata: metadata.into_iter().map(|(_, id)| id).collect(), warnings }
    }
}
