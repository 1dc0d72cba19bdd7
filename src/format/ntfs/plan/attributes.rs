//! What the records of one file hold: which attributes, resident or not, and in which record.
//!
//! A pure function of the tree and the census: the plan calls it for the sizes, the writer again for the bytes.

use std::cmp::Ordering;

use super::census::{self, Census, Entry};
use super::index::{self, Shape};
use crate::base::{name::Name, upcase};
use crate::error::{Error, Result};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    FileName, I30, INDEX_BLOCK, ListEntry, MAX_ATTRIBUTE_LIST, MAX_EA, MAX_REPARSE, NonResidentHeader, ReparseHeader,
    ResidentHeader, StandardInformation, kind, namespace, value_offset,
};
use crate::format::ntfs::runs;
use crate::tree::{Content, ExtendedAttribute, Node, Stream, Tree};

/// Longest attribute list that stays in the base record, where it competes with the attributes that it lists.
const MAX_RESIDENT_LIST: u64 = 256;

/// What an attribute is, and where its value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum What {
    StandardInformation,
    AttributeList,
    /// Of the file's places, by index, the long or the short name; the root has its one name by index 0.
    FileName {
        place: u32,
        dos: bool,
    },
    ObjectId,
    /// By index in the node's streams; `None` for the empty main stream that a file must have.
    Data(Option<u32>),
    IndexRoot,
    IndexAllocation,
    IndexBitmap,
    ReparsePoint,
    EaInformation,
    Ea,
}

/// Where the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// In the record.
    Resident,
    /// In clusters, some of which may be a hole at the end.
    NonResident { clusters: u64, hole: u64 },
}

/// An attribute of a file.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Attribute {
    pub(in super::super) what: What,
    /// Length of the value.
    pub(in super::super) size: u64,
    pub(in super::super) form: Form,
    pub(in super::super) sparse: bool,
    /// Which of the file's records holds it; 0 is the base record.
    pub(in super::super) holder: u16,
    pub(in super::super) instance: u16,
}

/// The attributes of a file, in the order of their records.
#[derive(Debug)]
pub(in super::super) struct Layout {
    pub(in super::super) attributes: Vec<Attribute>,
    /// How many records the file takes.
    pub(in super::super) records: u32,
    /// The shape of a directory's index that is not in its record.
    pub(in super::super) shape: Option<Shape>,
}

impl What {
    pub(in super::super) fn kind(self) -> u32 {
        match self {
            Self::StandardInformation => kind::STANDARD_INFORMATION,
            Self::AttributeList => kind::ATTRIBUTE_LIST,
            Self::FileName { .. } => kind::FILE_NAME,
            Self::ObjectId => kind::OBJECT_ID,
            Self::Data(_) => kind::DATA,
            Self::IndexRoot => kind::INDEX_ROOT,
            Self::IndexAllocation => kind::INDEX_ALLOCATION,
            Self::IndexBitmap => kind::BITMAP,
            Self::ReparsePoint => kind::REPARSE_POINT,
            Self::EaInformation => kind::EA_INFORMATION,
            Self::Ea => kind::EA,
        }
    }

    pub(in super::super) fn name(self, node: &Node) -> &[u16] {
        match self {
            Self::Data(Some(stream)) => node.streams[stream as usize].name.units(),
            Self::IndexRoot | Self::IndexAllocation | Self::IndexBitmap => I30,
            _ => &[],
        }
    }

    /// Whether the value may leave the record.
    fn may_leave(self) -> bool {
        matches!(self, Self::Data(_) | Self::IndexRoot | Self::IndexBitmap | Self::ReparsePoint | Self::Ea)
    }

    /// Whether the attribute has to be in the base record.
    fn stays(self) -> bool {
        matches!(self, Self::StandardInformation | Self::AttributeList | Self::IndexRoot)
    }
}

impl Attribute {
    fn new(what: What, size: u64) -> Self {
        Self { what, size, form: Form::Resident, sparse: false, holder: 0, instance: 0 }
    }

    /// Most bytes that it takes in its record, wherever its clusters will be.
    fn record_len(&self, node: &Node) -> usize {
        let name = self.what.name(node).len();
        match self.form {
            Form::Resident => {
                let size = usize::try_from(self.size).unwrap_or(usize::MAX / 4);
                (value_offset(size_of::<ResidentHeader>(), name) + size).next_multiple_of(8)
            }
            Form::NonResident { clusters, hole } => {
                let header = size_of::<NonResidentHeader>() + if self.sparse { 8 } else { 0 };
                (value_offset(header, name) + runs::max_len(clusters, hole)).next_multiple_of(8)
            }
        }
    }

    /// How many clusters it owns, holes not counted.
    pub(in super::super) fn clusters(&self) -> u64 {
        match self.form {
            Form::Resident => 0,
            Form::NonResident { clusters, .. } => clusters,
        }
    }
}

/// Clusters that sparse streams are allocated in multiples of, as a binary logarithm.
pub(in super::super) const COMPRESSION_UNIT: u8 = 4;

/// The form of a value outside of the record.
pub(in super::super) fn outside(geometry: &Geometry, size: u64, sparse: bool, zero: bool) -> Form {
    let clusters = geometry.clusters(size);
    if !sparse {
        return Form::NonResident { clusters, hole: 0 };
    }
    let all = clusters.next_multiple_of(1 << COMPRESSION_UNIT);
    let clusters = if zero { 0 } else { clusters };
    Form::NonResident { clusters, hole: all - clusters }
}

/// The sum of the lengths of a file's extended attributes as OS/2 packed them, and as `$EA` keeps them.
pub(in super::super) fn extended_lens(extended: &[ExtendedAttribute]) -> (u64, u64) {
    let lens = extended.iter().map(|ea| (ea.name.len() + ea.value.len()) as u64);
    lens.fold((0, 0), |(packed, unpacked), len| (packed + 5 + len, unpacked + (9 + len).next_multiple_of(4)))
}

/// Length of a `$FILE_NAME`.
pub(in super::super) fn file_name_len(units: usize) -> usize {
    size_of::<FileName>() + 2 * units
}

/// The length of an entry of a directory.
pub(in super::super) fn entry_len(directory: &Node, entry: Entry) -> usize {
    census::with_name(directory, entry, |name| index::entry_len(file_name_len(name.len())))
}

/// Lays out the file of that rank.
pub(in super::super) fn lay_out(tree: &Tree, census: &Census, geometry: &Geometry, rank: u32) -> Result<Layout> {
    let node = tree.node(census.node(rank));
    check(node)?;
    let mut work = Work { node, geometry, attributes: Vec::with_capacity(6), index_lens: Vec::new(), shape: None };
    work.collect(tree, census, rank);
    work.attributes.sort_by(|a, b| order(node, a, b)); // stable: names stay in the order of their places
    work.move_out();
    let records = work.distribute()?;
    work.number(records);
    Ok(Layout { attributes: work.attributes, records, shape: work.shape })
}

/// The order of attributes in a record and in an attribute list.
fn order(node: &Node, a: &Attribute, b: &Attribute) -> Ordering {
    let name = || upcase::compare(a.what.name(node), b.what.name(node));
    a.what.kind().cmp(&b.what.kind()).then_with(name)
}

/// The attribute has the id alone. The birth ids of a tracked file are in `$ObjId:$O`, where Windows looks for them; libntfs-3g
/// takes an attribute that has them too for one that it cannot read.
pub(in super::super) const OBJECT_ID_LEN: usize = 16;

/// Refuses what NTFS cannot hold.
pub(in super::super) fn check(node: &Node) -> Result<()> {
    if node.attributes & crate::tree::attributes::ENCRYPTED != 0 {
        return Err(Error::unsupported("a file encrypted by EFS").hint("decrypt it before the image is captured"));
    }
    check_parts(node)
}

/// The same for a file that is encrypted already, and stays so.
pub(in super::super) fn check_parts(node: &Node) -> Result<()> {
    check_streams(node)?;
    if let Some(id) = &node.object_id
        && !matches!(id.len(), 16 | 64)
    {
        return Err(Error::corrupt("length of an object id").found(id.len()).allowed("16 or 64"));
    }
    if let Some(reparse) = &node.reparse {
        let max = MAX_REPARSE - size_of::<ReparseHeader>() as u64;
        if reparse.data.len() > max {
            return Err(Error::unsupported("length of a reparse point")
                .found(reparse.data.len())
                .allowed(format_args!("at most {max}")));
        }
    }
    if node.extended.iter().any(|ea| ea.name.is_empty() || ea.name.len() > 254 || ea.value.len() > 0xFFFF) {
        return Err(
            Error::corrupt("extended attribute").allowed("a name of 1 to 254 bytes and at most 65535 bytes of value")
        );
    }
    let (_, unpacked) = extended_lens(&node.extended);
    if unpacked > MAX_EA {
        return Err(Error::unsupported("length of all extended attributes")
            .found(unpacked)
            .allowed(format_args!("at most {MAX_EA}")));
    }
    Ok(())
}

fn check_streams(node: &Node) -> Result<()> {
    let illegal =
        |name: &Name| name.len() > 255 || name.units().iter().any(|unit| matches!(*unit, 0 | 0x2F | 0x3A | 0x5C));
    if let Some(stream) = node.streams.iter().find(|stream| illegal(&stream.name)) {
        return Err(Error::unsupported("stream name")
            .found(&stream.name)
            .allowed("at most 255 UTF-16 units without NUL, '/', ':' and '\\'"));
    }
    if node.streams.len() > 1 {
        let mut names: Vec<&[u16]> = node.streams.iter().map(|stream| stream.name.units()).collect();
        names.sort_by(|a, b| upcase::compare_ignoring_case(a, b));
        if let Some(pair) = names.windows(2).find(|pair| upcase::same(pair[0], pair[1])) {
            return Err(Error::unsupported("two streams of one name").found(String::from_utf16_lossy(pair[1])));
        }
    }
    if node.is_directory() && node.main().is_some_and(|content| !content.is_empty()) {
        return Err(Error::unsupported("a directory with an unnamed stream"));
    }
    if let Some(stream) = node.streams.iter().find(|stream| stream.content.len() > i64::MAX as u64) {
        return Err(Error::unsupported("length of a stream").found(stream.content.len()).allowed(i64::MAX));
    }
    Ok(())
}

/// The layout of a file in the making.
struct Work<'t> {
    node: &'t Node,
    geometry: &'t Geometry,
    attributes: Vec<Attribute>,
    index_lens: Vec<u16>,
    shape: Option<Shape>,
}

impl Work<'_> {
    fn collect(&mut self, tree: &Tree, census: &Census, rank: u32) {
        let node = self.node;
        self.push(What::StandardInformation, size_of::<StandardInformation>() as u64);
        self.collect_names(tree, census, rank);
        if node.object_id.is_some() {
            self.push(What::ObjectId, OBJECT_ID_LEN as u64);
        }
        self.collect_streams(rank);
        if node.is_directory() {
            self.index_lens.extend(census.entries(rank).map(|entry| entry_len(node, entry) as u16));
            let entries = self.index_lens.iter().map(|len| u64::from(*len)).sum();
            self.push(What::IndexRoot, index::small_root_len(entries));
        }
        if let Some(reparse) = &node.reparse {
            let size = size_of::<ReparseHeader>() as u64 + reparse.data.len();
            let form = self.first_form(rank, &reparse.data, size);
            self.attributes.push(Attribute { form, ..Attribute::new(What::ReparsePoint, size) });
        }
        if !node.extended.is_empty() {
            let (_, unpacked) = extended_lens(&node.extended);
            self.push(What::EaInformation, size_of::<crate::format::ntfs::ondisk::EaInformation>() as u64);
            self.push(What::Ea, unpacked);
        }
    }

    fn push(&mut self, what: What, size: u64) {
        self.attributes.push(Attribute::new(what, size));
    }

    fn collect_names(&mut self, tree: &Tree, census: &Census, rank: u32) {
        if rank == 0 {
            return self.push(What::FileName { place: 0, dos: false }, file_name_len(1) as u64);
        }
        for (at, place) in census.places(rank).iter().enumerate() {
            let link = census.link(tree, *place);
            let mut push = |dos, name: &Name| {
                self.attributes
                    .push(Attribute::new(What::FileName { place: at as u32, dos }, file_name_len(name.len()) as u64));
            };
            push(false, &link.name);
            if census.namespace(*place) == namespace::WIN32
                && let Some(short) = &link.short
            {
                push(true, short);
            }
        }
    }

    fn collect_streams(&mut self, rank: u32) {
        let node = self.node;
        if node.main().is_none() && !node.is_directory() {
            self.push(What::Data(None), 0);
        }
        for (at, stream) in node.streams.iter().enumerate() {
            if node.is_directory() && stream.name.is_empty() {
                continue;
            }
            let size = stream.content.len();
            let sparse = stream.sparse;
            let form = if sparse {
                outside(self.geometry, size, true, is_zero(stream))
            } else {
                self.first_form(rank, &stream.content, size)
            };
            self.attributes.push(Attribute { form, sparse, ..Attribute::new(What::Data(Some(at as u32)), size) });
        }
    }

    /// Resident, unless it cannot be. The root's record is copied to the mirror, so that blobs stay out of it.
    fn first_form(&self, rank: u32, content: &Content, size: u64) -> Form {
        let blob_in_root = rank == 0 && size > 0 && matches!(content, Content::Blob { .. });
        if blob_in_root || size > self.geometry.record_capacity() as u64 {
            outside(self.geometry, size, false, false)
        } else {
            Form::Resident
        }
    }

    fn record_len(&self) -> usize {
        self.attributes.iter().map(|attribute| attribute.record_len(self.node)).sum()
    }

    /// Moves values out of the record, the longest first, until the rest fits or nothing is left to move.
    fn move_out(&mut self) {
        let capacity = self.geometry.record_capacity();
        let mut used = self.record_len();
        if used <= capacity {
            return;
        }
        let mut candidates: Vec<(usize, usize)> = Vec::new();
        for (at, attribute) in self.attributes.iter().enumerate() {
            if attribute.form == Form::Resident && attribute.what.may_leave() {
                let gain = attribute.record_len(self.node).saturating_sub(self.len_outside(attribute));
                if gain > 0 {
                    candidates.push((gain, at));
                }
            }
        }
        candidates.sort_by_key(|(gain, at)| (std::cmp::Reverse(*gain), *at));
        let mut large_index = false;
        for (gain, at) in candidates {
            if used <= capacity {
                break;
            }
            used -= gain;
            if self.attributes[at].what == What::IndexRoot {
                large_index = true;
            } else {
                self.attributes[at].form = outside(self.geometry, self.attributes[at].size, false, false);
            }
        }
        if large_index {
            self.enlarge_index();
        }
    }

    /// What a resident attribute would take in the record if its value were elsewhere.
    fn len_outside(&self, attribute: &Attribute) -> usize {
        if attribute.what == What::IndexRoot {
            let bitmap = value_offset(size_of::<ResidentHeader>(), I30.len()) + 8;
            let allocation = value_offset(size_of::<NonResidentHeader>(), I30.len()) + 16;
            return value_offset(size_of::<ResidentHeader>(), I30.len())
                + index::LARGE_ROOT_LEN as usize
                + allocation
                + bitmap;
        }
        let form = outside(self.geometry, attribute.size, false, false);
        Attribute { form, ..*attribute }.record_len(self.node)
    }

    /// Puts the directory's entries into blocks.
    fn enlarge_index(&mut self) {
        let shape = Shape::new(&self.index_lens);
        let blocks = shape.blocks();
        if let Some(root) = self.attributes.iter_mut().find(|attribute| attribute.what == What::IndexRoot) {
            root.size = index::LARGE_ROOT_LEN;
        }
        let size = blocks * INDEX_BLOCK as u64;
        let form = outside(self.geometry, size, false, false);
        self.attributes.push(Attribute { form, ..Attribute::new(What::IndexAllocation, size) });
        let bitmap = index::bitmap_len(blocks);
        let form = if bitmap > 64 { outside(self.geometry, bitmap, false, false) } else { Form::Resident };
        self.attributes.push(Attribute { form, ..Attribute::new(What::IndexBitmap, bitmap) });
        let node = self.node;
        self.attributes.sort_by(|a, b| order(node, a, b));
        self.shape = Some(shape);
    }

    /// Spreads the attributes over as many records as they need and returns their number.
    fn distribute(&mut self) -> Result<u32> {
        let capacity = self.geometry.record_capacity();
        if self.record_len() <= capacity {
            return Ok(1);
        }
        self.add_list()?;
        let node = self.node;
        let base: usize = self.attributes.iter().filter(|a| a.what.stays()).map(|a| a.record_len(node)).sum();
        let mut used = vec![base];
        // The main stream comes first, so that simple readers (boot code) find it without the list.
        let main =
            |attribute: &Attribute| matches!(attribute.what, What::Data(_)) && attribute.what.name(node).is_empty();
        for pass in [true, false] {
            for attribute in self.attributes.iter_mut().filter(|a| !a.what.stays() && main(a) == pass) {
                let len = attribute.record_len(node);
                let last = used.len() - 1;
                let holder = if used[0] + len <= capacity {
                    0
                } else if last > 0 && used[last] + len <= capacity {
                    last
                } else {
                    used.push(0);
                    last + 1
                };
                used[holder] += len;
                attribute.holder = holder as u16;
            }
        }
        Ok(used.len() as u32)
    }

    fn add_list(&mut self) -> Result<()> {
        let size: u64 = self.attributes.iter().map(|a| list_entry_len(a.what.name(self.node).len()) as u64).sum();
        if size > MAX_ATTRIBUTE_LIST {
            return Err(Error::unsupported("a file with too many names and streams: length of its attribute list")
                .found(size)
                .allowed(format_args!("at most {MAX_ATTRIBUTE_LIST}")));
        }
        let form = if size > MAX_RESIDENT_LIST { outside(self.geometry, size, false, false) } else { Form::Resident };
        self.attributes.insert(1, Attribute { form, ..Attribute::new(What::AttributeList, size) });
        Ok(())
    }

    fn number(&mut self, records: u32) {
        let mut next = vec![0; records as usize];
        for attribute in &mut self.attributes {
            let next = &mut next[usize::from(attribute.holder)];
            attribute.instance = *next;
            *next += 1;
        }
    }
}

/// Length of an entry of an attribute list.
pub(in super::super) fn list_entry_len(name_units: usize) -> usize {
    (size_of::<ListEntry>() + 2 * name_units).next_multiple_of(8)
}

/// What directories say about the length that is allocated to a stream.
pub(in super::super) fn allocated(geometry: &Geometry, stream: &Stream, resident: bool) -> u64 {
    let size = stream.content.len();
    match outside(geometry, size, stream.sparse, stream.sparse && is_zero(stream)) {
        Form::NonResident { clusters, .. } if !resident => geometry.bytes(clusters),
        _ => size.next_multiple_of(8),
    }
}

/// Whether a stream is known to be all zero.
pub(in super::super) fn is_zero(stream: &Stream) -> bool {
    matches!(&stream.content, Content::Bytes(bytes) if bytes.iter().all(|byte| *byte == 0))
}
