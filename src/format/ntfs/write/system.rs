//! The system files: their records and their contents.

use zerocopy::IntoBytes;

use super::files::FileWriter;
use super::index::{self, Entries, Fixed};
use super::record::{AsBytesLe, Head, Outside, RecordWriter, Title};
use super::{PIECE, Writer};
use crate::base::security::{Sid, mask};
use crate::base::upcase;
use crate::error::Result;
use crate::format::ntfs::boot;
use crate::format::ntfs::ondisk::{
    Definition, FileName, I30, StandardInformation, collation, file, kind, name_flag, namespace, record_flag, reference,
};
use crate::format::ntfs::plan::census::SYSTEM_NAMES;
use crate::format::ntfs::plan::index::{LARGE_ROOT_LEN, entry_len};
use crate::format::ntfs::plan::secure::of_system_file;
use crate::format::ntfs::plan::views::View;
use crate::format::ntfs::plan::{DEFINITIONS_LEN, Extent};
use crate::tree::attributes::{HIDDEN, SYSTEM};

/// `$AttrDef`: name, type, flags, least and most length.
const DEFINITIONS: [(&str, u32, u32, u64, u64); 15] = [
    ("$STANDARD_INFORMATION", kind::STANDARD_INFORMATION, 0x40, 0x30, 0x48),
    ("$ATTRIBUTE_LIST", kind::ATTRIBUTE_LIST, 0x80, 0, u64::MAX),
    ("$FILE_NAME", kind::FILE_NAME, 0x42, 0x44, 0x242),
    ("$OBJECT_ID", kind::OBJECT_ID, 0x40, 0, 0x100),
    ("$SECURITY_DESCRIPTOR", kind::SECURITY_DESCRIPTOR, 0x80, 0, u64::MAX),
    ("$VOLUME_NAME", kind::VOLUME_NAME, 0x40, 2, 0x100),
    ("$VOLUME_INFORMATION", kind::VOLUME_INFORMATION, 0x40, 0xC, 0xC),
    ("$DATA", kind::DATA, 0, 0, u64::MAX),
    ("$INDEX_ROOT", kind::INDEX_ROOT, 0x40, 0, u64::MAX),
    ("$INDEX_ALLOCATION", kind::INDEX_ALLOCATION, 0x80, 0, u64::MAX),
    ("$BITMAP", kind::BITMAP, 0x80, 0, u64::MAX),
    ("$REPARSE_POINT", kind::REPARSE_POINT, 0x80, 0, 0x4000),
    ("$EA_INFORMATION", kind::EA_INFORMATION, 0x40, 8, 8),
    ("$EA", kind::EA, 0, 0, 0x1_0000),
    ("$LOGGED_UTILITY_STREAM", kind::LOGGED_UTILITY_STREAM, 0x80, 0, 0x1_0000),
];

/// `$UpCase:$Info`: length, zero, CRC64 of the table, and the version of the Windows whose table it is (10.0.19041).
const UPCASE_INFO: [u32; 8] = [0x20, 0, 0x6B1B_690C, 0xDADC_7E77, 10, 0, 19041, 0];

/// The files of `$Extend`.
const EXTEND_NAMES: [(u32, &str); 3] =
    [(file::OBJECT_IDS, "$ObjId"), (file::QUOTA, "$Quota"), (file::REPARSE, "$Reparse")];

/// A system file other than the root, as its directory sees it.
pub(super) struct SystemFile {
    number: u32,
    name: Vec<u16>,
    time: u64,
    size: u64,
    allocated: u64,
}

impl SystemFile {
    fn in_extend(&self) -> bool {
        self.number >= file::QUOTA
    }

    fn sequence(&self) -> u16 {
        if self.in_extend() { 1 } else { self.number.max(1) as u16 }
    }

    pub(super) fn reference(&self) -> u64 {
        reference(self.number, self.sequence())
    }

    fn has_views(&self) -> bool {
        self.in_extend() || self.number == file::SECURE
    }

    fn attributes(&self) -> u32 {
        HIDDEN | SYSTEM | if self.has_views() { name_flag::VIEW_INDEX } else { 0 }
    }

    fn record_flags(&self) -> u16 {
        let views = if self.has_views() { record_flag::VIEW_INDEX } else { 0 };
        let extend = if self.in_extend() { record_flag::EXTEND } else { 0 };
        let directory = if self.number == file::EXTEND { record_flag::DIRECTORY } else { 0 };
        views | extend | directory
    }

    pub(super) fn name_value(&self) -> Vec<u8> {
        let parent = if self.in_extend() { file::EXTEND } else { file::ROOT };
        let directory = if self.number == file::EXTEND { name_flag::DIRECTORY } else { 0 };
        let head = FileName {
            parent: reference(parent, parent as u16).into(),
            times: [self.time; 4].map(Into::into),
            allocated: self.allocated.into(),
            size: self.size.into(),
            attributes: (self.attributes() | directory).into(),
            tag: 0.into(),
            name_len: self.name.len() as u8,
            namespace: if self.in_extend() { namespace::POSIX } else { namespace::WIN32_AND_DOS },
        };
        [head.as_bytes(), &self.name.as_bytes_le()].concat()
    }
}

/// A view index with its entries.
struct Filled<'a> {
    name: &'static [u16],
    order: u32,
    view: Option<&'a View>,
    entries: Vec<u8>,
}

/// The record of a system file in the making: numbers its attributes as they come.
struct Builder<'b> {
    record: RecordWriter<'b>,
    next: u16,
}

impl Builder<'_> {
    fn title<'n>(&mut self, kind: u32, name: &'n [u16]) -> Title<'n> {
        self.next += 1;
        Title { kind, name, instance: self.next - 1, flags: 0 }
    }

    fn resident(&mut self, kind: u32, name: &[u16], value: &[u8]) {
        let title = self.title(kind, name);
        self.record.resident(title, value);
    }

    fn outside(&mut self, kind: u32, name: &[u16], extent: &Extent) {
        let title = self.title(kind, name);
        let Extent { lcn, clusters, size } = *extent;
        self.record.non_resident(title, Outside { lcn, clusters, hole: 0, size, initialized: size, sparse: false });
    }
}

impl Writer<'_> {
    /// A system file, by number and name.
    pub(super) fn system_file(&self, number: u32, name: &str) -> SystemFile {
        let main = self.main_extent(number);
        SystemFile {
            number,
            name: name.encode_utf16().collect(),
            time: self.plan.options.created.0,
            size: main.map_or(0, |extent| extent.size),
            allocated: main.map_or(0, |extent| self.plan.files.geometry.bytes(extent.clusters)),
        }
    }

    /// The unnamed stream of a system file, if it has one outside of its record.
    fn main_extent(&self, number: u32) -> Option<&Extent> {
        let system = &self.plan.system;
        match number {
            file::MFT => Some(&system.mft),
            file::MFT_MIRROR => Some(&system.mirror),
            file::LOG_FILE => Some(&system.log),
            file::ATTRIBUTE_DEFINITIONS => Some(&system.definitions),
            file::BITMAP => Some(&system.bitmap),
            file::BOOT => Some(&system.boot),
            file::UPCASE => Some(&system.upcase),
            _ => None,
        }
    }

    /// Writes everything that no file of the tree owns, with the first records of the MFT.
    pub(super) fn write_system(&self) -> Result<()> {
        let files = &self.plan.files;
        let system = &self.plan.system;
        let geometry = &files.geometry;
        self.write_records()?;

        let total = geometry.total_sectors(self.plan.volume_len);
        let boot = boot::image(&self.plan.options, geometry, total, system.mft.lcn, system.mirror.lcn);
        self.write_extent(&system.boot, &boot)?;
        self.disk.write_at(total * geometry.sector, &boot[..geometry.sector as usize])?;

        self.write_extent(&system.upcase, &upcase::table().as_slice().as_bytes_le())?;
        self.write_extent(&system.definitions, &definitions())?;
        self.write_extent(&system.descriptors, &self.descriptor_stream())?;
        for filled in self.secure_views().iter().chain([&self.object_ids(), &self.reparse_points()]) {
            self.write_view(filled)?;
        }
        self.write_pieces(&system.log, |_, piece| piece.fill(0xFF))?;
        self.write_bitmap()?;
        let mut records = vec![0; system.mft_bitmap.size as usize];
        for range in [0..16, u64::from(file::QUOTA)..27, u64::from(file::FIRST_USER)..u64::from(files.end_record())] {
            index::set_bits(&mut records, range);
        }
        self.write_extent(&system.mft_bitmap, &records)
    }

    fn write_extent(&self, extent: &Extent, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(bytes.len() as u64, extent.size);
        self.write_padded(self.plan.files.geometry.bytes(extent.lcn), bytes)
    }

    /// Writes a long extent, whose pieces `fill` makes out of zeros by their offset.
    fn write_pieces(&self, extent: &Extent, mut fill: impl FnMut(u64, &mut [u8])) -> Result<()> {
        let geometry = &self.plan.files.geometry;
        let (start, len) = (geometry.bytes(extent.lcn), geometry.bytes(extent.clusters));
        let mut piece = vec![0; PIECE.min(len as usize)];
        let mut at = 0;
        while at < len {
            let piece = &mut piece[..(len - at).min(PIECE as u64) as usize];
            piece.fill(0);
            let inside = extent.size.saturating_sub(at).min(piece.len() as u64) as usize;
            fill(at, &mut piece[..inside]);
            self.disk.write_at(start + at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// `$Bitmap`: everything up to the end of the MFT is taken, and so is what is beyond the last cluster.
    fn write_bitmap(&self) -> Result<()> {
        let clusters = self.plan.files.geometry.volume_clusters(self.plan.volume_len);
        let bits = self.plan.system.bitmap.size * 8;
        self.write_pieces(&self.plan.system.bitmap, |at, piece| {
            let first = at * 8;
            let end = first + piece.len() as u64 * 8;
            for taken in [0..self.plan.end, clusters..bits] {
                let (from, to) = (taken.start.clamp(first, end), taken.end.clamp(first, end));
                index::set_bits(piece, from - first..to - first);
            }
        })
    }

    /// The records before the first user file, the copy of the first of them, and the unused ones at the end.
    fn write_records(&self) -> Result<()> {
        let files = &self.plan.files;
        let system = &self.plan.system;
        let (geometry, len) = (&files.geometry, files.geometry.record);
        let mut records = vec![0; file::FIRST_USER as usize * len];
        for (number, buf) in (0..).zip(records.chunks_exact_mut(len)) {
            if number != file::ROOT {
                self.write_system_record(number, buf);
            }
        }
        let root = FileWriter::new(self, 0)?;
        root.write_records(0..1, &mut records, 0, &mut Vec::new()); // no blob is in it: see `first_form`
        let mft = geometry.bytes(system.mft.lcn);
        self.disk.write_at(mft, &records)?;
        self.write_extent(&system.mirror, &records[..system.mirror.size as usize])?;

        let unused = files.end_record()..files.mft_records();
        let mut tail = vec![0; unused.len() * len];
        for (number, buf) in unused.clone().zip(tail.chunks_exact_mut(len)) {
            self.unused_record(number, buf);
        }
        self.disk.write_at(mft + u64::from(unused.start) * len as u64, &tail)
    }

    fn unused_record(&self, number: u32, buf: &mut [u8]) {
        let sequence = if (16..24).contains(&number) { number as u16 } else { 1 };
        RecordWriter::new(buf, &self.plan.files.geometry, Head { number, sequence, ..Head::default() }).finish_unused();
    }

    fn write_system_record(&self, number: u32, buf: &mut [u8]) {
        let named = SYSTEM_NAMES.iter().chain(&EXTEND_NAMES).find(|(of, _)| *of == number);
        if let Some((_, name)) = named {
            self.write_named_record(&self.system_file(number, name), buf);
        } else if file::RESERVED.contains(&number) {
            let mut builder = self.builder(buf, Head { number, sequence: number as u16, ..Head::default() });
            self.own_security(&mut builder, None, true);
            builder.resident(kind::DATA, &[], &[]);
            builder.record.finish();
        } else {
            self.unused_record(number, buf);
        }
    }

    fn builder<'b>(&self, buf: &'b mut [u8], head: Head) -> Builder<'b> {
        Builder { record: RecordWriter::new(buf, &self.plan.files.geometry, head), next: 0 }
    }

    /// `$STANDARD_INFORMATION` as before NTFS 3.0 and a descriptor in the record, for what is read before `$Secure` is.
    fn own_security(&self, builder: &mut Builder<'_>, system: Option<&SystemFile>, write: bool) {
        let value = self.system_information(HIDDEN | SYSTEM, 0);
        builder.resident(kind::STANDARD_INFORMATION, &[], &value.as_bytes()[..48]);
        if let Some(system) = system {
            builder.resident(kind::FILE_NAME, &[], &system.name_value());
        }
        let mask = if write { mask::READ_AND_WRITE } else { mask::READ };
        builder.resident(kind::SECURITY_DESCRIPTOR, &[], &of_system_file(mask));
    }

    fn system_information(&self, attributes: u32, security: u32) -> StandardInformation {
        StandardInformation {
            times: [self.plan.options.created.0; 4].map(Into::into),
            attributes: attributes.into(),
            max_versions: 0.into(),
            version: 0.into(),
            class: 0.into(),
            owner: 0.into(),
            security: security.into(),
            quota: 0.into(),
            usn: 0.into(),
        }
    }

    fn write_named_record(&self, system: &SystemFile, buf: &mut [u8]) {
        let number = system.number;
        let head = Head { number, sequence: system.sequence(), flags: system.record_flags(), links: 1, base: 0 };
        let mut builder = self.builder(buf, head);
        if number == file::BOOT {
            self.own_security(&mut builder, Some(system), false);
        } else {
            let written = matches!(number, file::VOLUME | file::SECURE | file::EXTEND) || system.in_extend();
            let security = self.plan.files.secure.system[usize::from(written)];
            let value = self.system_information(system.attributes(), security);
            builder.resident(kind::STANDARD_INFORMATION, &[], value.as_bytes());
            builder.resident(kind::FILE_NAME, &[], &system.name_value());
        }
        match number {
            file::VOLUME => self.volume_attributes(&mut builder),
            file::BAD_CLUSTERS => self.bad_cluster_attributes(&mut builder),
            file::SECURE => {
                builder.outside(kind::DATA, SDS, &self.plan.system.descriptors);
                self.view_attributes(&mut builder, &self.secure_views());
            }
            file::EXTEND => self.extend_attributes(&mut builder),
            file::QUOTA => self.view_attributes(&mut builder, &self.quota_views()),
            file::OBJECT_IDS => self.view_attributes(&mut builder, &[self.object_ids()]),
            file::REPARSE => self.view_attributes(&mut builder, &[self.reparse_points()]),
            _ => {}
        }
        if let Some(extent) = self.main_extent(number) {
            builder.outside(kind::DATA, &[], extent);
        }
        match number {
            file::MFT => builder.outside(kind::BITMAP, &[], &self.plan.system.mft_bitmap),
            file::UPCASE => builder.resident(kind::DATA, INFO, UPCASE_INFO.map(u32::to_le_bytes).as_flattened()),
            _ => {}
        }
        builder.record.finish();
    }

    /// Label; version 3.1, clean.
    fn volume_attributes(&self, builder: &mut Builder<'_>) {
        builder.resident(kind::VOLUME_NAME, &[], &self.plan.options.label.to_le_bytes());
        builder.resident(kind::VOLUME_INFORMATION, &[], &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0]);
        builder.resident(kind::DATA, &[], &[]);
    }

    /// `$Bad` is as long as the volume and all hole; its flags do not call it sparse.
    fn bad_cluster_attributes(&self, builder: &mut Builder<'_>) {
        builder.resident(kind::DATA, &[], &[]);
        let geometry = &self.plan.files.geometry;
        let hole = geometry.volume_clusters(self.plan.volume_len);
        let title = builder.title(kind::DATA, BAD);
        let size = geometry.bytes(hole);
        builder.record.non_resident(title, Outside { lcn: 0, clusters: 0, hole, size, initialized: 0, sparse: false });
    }

    fn extend_attributes(&self, builder: &mut Builder<'_>) {
        let mut entries = Vec::new();
        for (number, name) in EXTEND_NAMES {
            let system = self.system_file(number, name);
            let key = system.name_value();
            let end = entries.len() + entry_len(key.len());
            entries.extend_from_slice(index::head(system.reference(), end - entries.len(), key.len(), 0).as_bytes());
            entries.extend_from_slice(&key);
            entries.resize(end, 0);
        }
        let root = index::small_root(&self.plan.files.geometry, collation::FILE_NAME, &entries);
        builder.resident(kind::INDEX_ROOT, I30, &root);
    }

    fn view_attributes(&self, builder: &mut Builder<'_>, views: &[Filled<'_>]) {
        let geometry = &self.plan.files.geometry;
        for filled in views {
            let root = match filled.blocks() {
                None => index::small_root(geometry, filled.order, &filled.entries),
                Some(blocks) => index::large_root(geometry, filled.order, &blocks.shape),
            };
            debug_assert!(filled.blocks().is_none() || root.len() as u64 == LARGE_ROOT_LEN);
            builder.resident(kind::INDEX_ROOT, filled.name, &root);
        }
        for (filled, blocks) in views.iter().filter_map(|filled| Some((filled, filled.blocks()?))) {
            builder.outside(kind::INDEX_ALLOCATION, filled.name, &blocks.extent);
        }
        for (filled, blocks) in views.iter().filter_map(|filled| Some((filled, filled.blocks()?))) {
            match &blocks.bitmap {
                Some(extent) => builder.outside(kind::BITMAP, filled.name, extent),
                None => builder.resident(kind::BITMAP, filled.name, &index::bitmap(blocks.shape.blocks())),
            }
        }
    }

    fn write_view(&self, filled: &Filled<'_>) -> Result<()> {
        let (Some(blocks), Some(view)) = (filled.blocks(), filled.view) else { return Ok(()) };
        let geometry = &self.plan.files.geometry;
        let start = geometry.bytes(blocks.extent.lcn);
        let entries: &dyn Entries = &Fixed { bytes: &filled.entries, len: usize::from(view.entry_len) };
        index::write_blocks(geometry, &blocks.shape, entries, |at, piece| self.disk.write_at(start + at, piece))?;
        match &blocks.bitmap {
            Some(extent) => self.write_extent(extent, &index::bitmap(blocks.shape.blocks())),
            None => Ok(()),
        }
    }

    /// `$SDS`: each block and its copy.
    fn descriptor_stream(&self) -> Vec<u8> {
        use crate::format::ntfs::ondisk::SDS_BLOCK;
        let secure = &self.plan.files.secure;
        let mut stream = vec![0; secure.stream_len() as usize];
        for (header, descriptor) in secure.headers().zip(secure.descriptors()) {
            for at in [header.offset.get(), header.offset.get() + SDS_BLOCK] {
                let at = at as usize;
                let body = at + size_of_val(&header);
                stream[at..body].copy_from_slice(header.as_bytes());
                stream[body..body + descriptor.len()].copy_from_slice(descriptor);
            }
        }
        stream
    }

    fn secure_views(&self) -> [Filled<'_>; 2] {
        let system = &self.plan.system;
        let by_id: Vec<_> = self.plan.files.secure.headers().collect();
        let mut by_hash = by_id.clone();
        by_hash.sort_by_key(|header| (header.hash.get(), header.id.get()));

        let mut hashes = Vec::new();
        for header in &by_hash {
            let key = [header.hash.as_bytes(), header.id.as_bytes()].concat();
            // Windows fills the last four bytes so.
            let data = [header.as_bytes(), &[b'I', 0, b'I', 0]].concat();
            let start = hashes.len();
            index::push_view(&mut hashes, &key, &data, usize::from(system.by_hash.entry_len));
            hashes[start + 2..start + 4].copy_from_slice(&20u16.to_le_bytes());
        }
        let mut ids = Vec::new();
        for header in &by_id {
            index::push_view(&mut ids, header.id.as_bytes(), header.as_bytes(), usize::from(system.by_id.entry_len));
        }
        [
            Filled { name: SDH, order: collation::SECURITY_HASH, view: Some(&system.by_hash), entries: hashes },
            Filled { name: SII, order: collation::ULONG, view: Some(&system.by_id), entries: ids },
        ]
    }

    /// `$ObjId:$O`: the id leads to the file and its birth ids. Without such, the id itself is the one of its birth, as
    /// Windows has it.
    fn object_ids(&self) -> Filled<'_> {
        let files = &self.plan.files;
        let mut entries = Vec::new();
        for rank in &files.object_ids {
            let mut id = self.tree.node(files.census.node(*rank)).object_id.as_deref().unwrap_or_default().to_vec();
            if id.len() < 64 {
                id.resize(64, 0);
                id.copy_within(0..16, 32);
            }
            let data = [&files.reference(*rank).to_le_bytes(), &id[16..]].concat();
            index::push_view(&mut entries, &id[..16], &data, usize::from(self.plan.system.object_ids.entry_len));
        }
        Filled { name: O, order: collation::ULONGS, view: Some(&self.plan.system.object_ids), entries }
    }

    /// `$Reparse:$R`: the key is all there is.
    fn reparse_points(&self) -> Filled<'_> {
        let files = &self.plan.files;
        let mut entries = Vec::new();
        for rank in &files.reparse {
            let node = self.tree.node(files.census.node(*rank));
            let tag = node.reparse.as_ref().map_or(0, |reparse| reparse.tag);
            let key = [tag.as_bytes(), files.reference(*rank).as_bytes()].concat();
            index::push_view(&mut entries, &key, &[], usize::from(self.plan.system.reparse.entry_len));
        }
        Filled { name: R, order: collation::ULONGS, view: Some(&self.plan.system.reparse), entries }
    }

    /// Quotas are off, and Administrators have none: what Windows writes into every volume.
    fn quota_views(&self) -> [Filled<'_>; 2] {
        const ADMINISTRATORS_ID: u32 = 0x100;
        let administrators = Sid::ADMINISTRATORS.to_bytes();
        let mut owners = Vec::new();
        index::push_view(&mut owners, &administrators, &ADMINISTRATORS_ID.to_le_bytes(), 40);
        let mut limits = Vec::new();
        limits.extend_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]); // version, "default limits"
        for value in [0, self.plan.options.created.0, u64::MAX, u64::MAX, 0] {
            limits.extend_from_slice(&value.to_le_bytes()); // used, changed, threshold, limit, exceeded since
        }
        let mut quotas = Vec::new();
        index::push_view(&mut quotas, &1u32.to_le_bytes(), &limits, 72);
        index::push_view(&mut quotas, &ADMINISTRATORS_ID.to_le_bytes(), &[&limits[..], &administrators].concat(), 88);
        [
            Filled { name: O, order: collation::SID, view: None, entries: owners },
            Filled { name: Q, order: collation::ULONG, view: None, entries: quotas },
        ]
    }
}

impl Filled<'_> {
    fn blocks(&self) -> Option<&crate::format::ntfs::plan::views::Blocks> {
        self.view.and_then(|view| view.blocks.as_ref())
    }
}

const SDS: &[u16] = &[0x24, 0x53, 0x44, 0x53];
const SDH: &[u16] = &[0x24, 0x53, 0x44, 0x48];
const SII: &[u16] = &[0x24, 0x53, 0x49, 0x49];
const O: &[u16] = &[0x24, 0x4F];
const Q: &[u16] = &[0x24, 0x51];
const R: &[u16] = &[0x24, 0x52];
const BAD: &[u16] = &[0x24, 0x42, 0x61, 0x64];
const INFO: &[u16] = &[0x24, 0x49, 0x6E, 0x66, 0x6F];

/// The content of `$AttrDef`.
fn definitions() -> Vec<u8> {
    let mut table = Vec::with_capacity(DEFINITIONS_LEN as usize);
    for (name, kind, flags, min, max) in DEFINITIONS {
        let end = table.len() + 128;
        table.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        table.resize(end, 0);
        let definition = Definition {
            kind: kind.into(),
            display_rule: 0.into(),
            collation_rule: 0.into(),
            flags: flags.into(),
            min: min.into(),
            max: max.into(),
        };
        table.extend_from_slice(definition.as_bytes());
    }
    table.resize(DEFINITIONS_LEN as usize, 0);
    table
}
