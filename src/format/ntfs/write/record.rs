//! FILE records and what all structures that span sectors share: the update sequence.

use zerocopy::IntoBytes;

use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    FIRST_USN, NonResidentHeader, RecordHeader, ResidentHeader, STRIDE, attribute_flag, kind, record_flag, value_offset,
};
use crate::format::ntfs::plan::attributes::COMPRESSION_UNIT;
use crate::format::ntfs::runs;

/// Where the update sequence of a FILE record is.
pub(super) const RECORD_USA: usize = size_of::<RecordHeader>();

/// What stands in the head of a record.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Head {
    pub(in super::super) number: u32,
    pub(in super::super) sequence: u16,
    /// Without [`record_flag::IN_USE`], which is set.
    pub(in super::super) flags: u16,
    pub(in super::super) links: u16,
    /// The reference to the base record, if this is not one.
    pub(in super::super) base: u64,
}

/// The name and numbers that any attribute has.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Title<'a> {
    pub(in super::super) kind: u32,
    pub(in super::super) name: &'a [u16],
    pub(in super::super) instance: u16,
    /// See [`attribute_flag`].
    pub(in super::super) flags: u16,
}

/// A segment of a stream outside of the record. The sizes stand in the first one alone.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Segment<'a> {
    pub(in super::super) lowest_vcn: u64,
    pub(in super::super) clusters: u64,
    /// Mapping pairs, with their end.
    pub(in super::super) pairs: &'a [u8],
    pub(in super::super) compression_unit: u8,
    /// Clusters, holes included.
    pub(in super::super) allocated: u64,
    pub(in super::super) size: u64,
    pub(in super::super) initialized: u64,
    /// Clusters without the holes, of a stream that may have them.
    pub(in super::super) total: Option<u64>,
}

/// The extents and lengths of a stream outside of the record: one run, perhaps with a hole behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outside {
    pub(super) lcn: u64,
    pub(super) clusters: u64,
    pub(super) hole: u64,
    pub(super) size: u64,
    pub(super) initialized: u64,
    pub(super) sparse: bool,
}

/// Fills one record, attribute by attribute. The caller knows that they fit.
pub(in super::super) struct RecordWriter<'b> {
    buf: &'b mut [u8],
    cluster: u64,
    head: Head,
    at: usize,
    next_instance: u16,
}

impl<'b> RecordWriter<'b> {
    /// Starts on a zeroed buffer of the length of a record.
    pub(in super::super) fn new(buf: &'b mut [u8], geometry: &Geometry, head: Head) -> Self {
        Self { buf, cluster: geometry.cluster, head, at: geometry.attributes_offset(), next_instance: 0 }
    }

    /// Adds a resident attribute and returns its value's offset in the record.
    pub(in super::super) fn resident(&mut self, title: Title<'_>, value: &[u8]) -> usize {
        let at = self.reserve(title, value.len());
        self.buf[at..at + value.len()].copy_from_slice(value);
        at
    }

    /// Adds a resident attribute whose value stays zero and returns the value's offset in the record.
    fn reserve(&mut self, title: Title<'_>, value_len: usize) -> usize {
        let offset = value_offset(size_of::<ResidentHeader>(), title.name.len());
        let len = (offset + value_len).next_multiple_of(8);
        let header = ResidentHeader {
            kind: title.kind.into(),
            len: (len as u32).into(),
            non_resident: 0,
            name_len: title.name.len() as u8,
            name_offset: (size_of::<ResidentHeader>() as u16).into(),
            flags: title.flags.into(),
            instance: title.instance.into(),
            value_len: (value_len as u32).into(),
            value_offset: (offset as u16).into(),
            indexed: u8::from(title.kind == kind::FILE_NAME),
            zero_23: 0,
        };
        self.head_and_name(header.as_bytes(), title);
        let value = self.at + offset;
        self.at += len;
        value
    }

    /// Adds a resident attribute of `prefix` and `len` bytes that stay zero for now, and returns their offset in the record.
    pub(super) fn reserve_after(&mut self, title: Title<'_>, prefix: &[u8], len: usize) -> usize {
        let at = self.reserve(title, prefix.len() + len);
        self.put(at, prefix);
        at + prefix.len()
    }

    /// Adds a non-resident attribute.
    pub(super) fn non_resident(&mut self, title: Title<'_>, outside: Outside) {
        let clusters = outside.clusters + outside.hole;
        let flags = if outside.sparse { attribute_flag::SPARSE } else { 0 };
        let segment = Segment {
            lowest_vcn: 0,
            clusters,
            pairs: &outside.mapping_pairs(),
            compression_unit: if outside.sparse { COMPRESSION_UNIT } else { 0 },
            allocated: clusters * self.cluster,
            size: outside.size,
            initialized: outside.initialized,
            total: outside.sparse.then_some(outside.clusters * self.cluster),
        };
        self.segment(Title { flags, ..title }, &segment);
    }

    /// Adds a segment of a non-resident attribute.
    pub(in super::super) fn segment(&mut self, title: Title<'_>, segment: &Segment<'_>) {
        let name_offset = size_of::<NonResidentHeader>() + if segment.total.is_some() { 8 } else { 0 };
        let header_len = value_offset(name_offset, title.name.len());
        let len = (header_len + segment.pairs.len()).next_multiple_of(8);
        let header = NonResidentHeader {
            kind: title.kind.into(),
            len: (len as u32).into(),
            non_resident: 1,
            name_len: title.name.len() as u8,
            name_offset: (name_offset as u16).into(),
            flags: title.flags.into(),
            instance: title.instance.into(),
            lowest_vcn: segment.lowest_vcn.into(),
            highest_vcn: (segment.lowest_vcn + segment.clusters).wrapping_sub(1).into(),
            runs_offset: (header_len as u16).into(),
            compression_unit: segment.compression_unit,
            zero_35: [0; 5],
            allocated: segment.allocated.into(),
            size: segment.size.into(),
            initialized: segment.initialized.into(),
        };
        self.head_and_name(header.as_bytes(), Title { name: &[], ..title });
        if let Some(total) = segment.total {
            self.put(self.at + size_of::<NonResidentHeader>(), &total.to_le_bytes());
        }
        self.put(self.at + name_offset, title.name.as_bytes_le().as_slice());
        self.put(self.at + header_len, segment.pairs);
        self.at += len;
    }

    fn head_and_name(&mut self, header: &[u8], title: Title<'_>) {
        self.put(self.at, header);
        self.put(self.at + header.len(), title.name.as_bytes_le().as_slice());
        self.next_instance = self.next_instance.max(title.instance + 1);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.buf[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes the end mark, the head and the update sequence.
    pub(in super::super) fn finish(mut self) {
        let flags = self.head.flags | record_flag::IN_USE;
        self.end(flags);
    }

    /// Likewise, for a record that is not in use.
    pub(in super::super) fn finish_unused(mut self) {
        self.end(0);
    }

    fn end(&mut self, flags: u16) {
        self.put(self.at, &kind::END.to_le_bytes());
        let header = RecordHeader {
            magic: *b"FILE",
            usa_offset: (RECORD_USA as u16).into(),
            usa_count: ((self.buf.len() / STRIDE + 1) as u16).into(),
            lsn: 0.into(),
            sequence: self.head.sequence.into(),
            links: self.head.links.into(),
            attributes_offset: ((RECORD_USA + 2 * (self.buf.len() / STRIDE + 1)).next_multiple_of(8) as u16).into(),
            flags: flags.into(),
            used: (self.at as u32 + 8).into(),
            allocated: (self.buf.len() as u32).into(),
            base: self.head.base.into(),
            next_instance: self.next_instance.into(),
            number_high: 0.into(),
            number_low: self.head.number.into(),
        };
        self.put(0, header.as_bytes());
        protect(self.buf, RECORD_USA);
    }
}

impl Outside {
    fn mapping_pairs(&self) -> Vec<u8> {
        let mut pairs = Vec::with_capacity(16);
        if self.clusters > 0 {
            runs::push(&mut pairs, self.clusters, Some(self.lcn as i64));
        }
        if self.hole > 0 {
            runs::push(&mut pairs, self.hole, None);
        }
        pairs.push(0);
        pairs
    }
}

/// Puts the update sequence number at the end of each stride and what stood there into the array.
pub(super) fn protect(buf: &mut [u8], usa: usize) {
    buf[usa..usa + 2].copy_from_slice(&FIRST_USN.to_le_bytes());
    for stride in 0..buf.len() / STRIDE {
        let end = (stride + 1) * STRIDE - 2;
        let saved = usa + 2 + 2 * stride;
        buf.copy_within(end..end + 2, saved);
        buf[end..end + 2].copy_from_slice(&FIRST_USN.to_le_bytes());
    }
}

/// The same for a record that was read, its update sequence undone.
pub(in super::super) fn protect_again(buf: &mut [u8]) {
    let usa = usize::from(u16::from_le_bytes([buf[4], buf[5]]));
    protect(buf, usa);
}

/// Code units as they lie on disk.
pub(in super::super) trait AsBytesLe {
    fn as_bytes_le(&self) -> Vec<u8>;
}

impl AsBytesLe for [u16] {
    fn as_bytes_le(&self) -> Vec<u8> {
        self.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }
}
