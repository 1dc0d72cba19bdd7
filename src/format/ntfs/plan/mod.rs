//! The whole volume, settled before anything is written: record numbers, extents, sizes.

pub(super) mod attributes;
pub(super) mod census;
pub(super) mod index;
pub(super) mod secure;
pub(super) mod views;

use std::ops::Range;

use serde::Serialize;

use self::attributes::{Form, Layout, What};
use self::census::Census;
use self::secure::Secure;
use self::views::View;
use super::Options;
use super::geometry::Geometry;
use super::ondisk::{BOOT_LEN, MAX_CLUSTERS, STRIDE, file, reference};
use crate::base::bytes::u32_at;
use crate::error::{Error, Result};
use crate::tree::{Content, NodeId, Tree, attributes as bits};

/// Length of `$UpCase`.
pub(super) const UPCASE_LEN: u64 = 0x2_0000;
/// Length of `$AttrDef`.
pub(super) const DEFINITIONS_LEN: u64 = 16 * 160;
/// Records are laid out in multiples of this, so that the MFT's bitmap has whole words and the MFT whole clusters.
const RECORDS_UNIT: u32 = 64;
/// Windows formats the MFT with that many records.
const MIN_RECORDS: u32 = 256;

/// The shortest journal, which Windows gives a volume of 10 MB.
const MIN_LOG: u64 = 2 * MIB;
/// Journals come in multiples of this, which are whole clusters of any size.
const LOG_UNIT: u64 = 64 * KIB;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A stretch of clusters that belongs to one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) lcn: u64,
    pub(super) clusters: u64,
    /// Length of the stream in bytes.
    pub(super) size: u64,
}

/// Hands out clusters, one after the other.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    next: u64,
}

impl Cursor {
    fn take(&mut self, geometry: &Geometry, size: u64) -> Extent {
        Extent { lcn: self.take_clusters(geometry.clusters(size)), clusters: geometry.clusters(size), size }
    }

    fn take_clusters(&mut self, clusters: u64) -> u64 {
        let lcn = self.next;
        self.next = self.next.saturating_add(clusters);
        lcn
    }
}

/// The system files' extents.
pub(super) struct System {
    pub(super) boot: Extent,
    pub(super) mirror: Extent,
    pub(super) upcase: Extent,
    pub(super) definitions: Extent,
    pub(super) descriptors: Extent,
    pub(super) by_hash: View,
    pub(super) by_id: View,
    pub(super) object_ids: View,
    pub(super) reparse: View,
    pub(super) log: Extent,
    pub(super) bitmap: Extent,
    pub(super) mft_bitmap: Extent,
    pub(super) mft: Extent,
}

/// What the source says that the volume will not, each with how often and who is the first.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) short_names: Loss,
    pub(super) compressed: Loss,
    pub(super) uncompressed: Loss,
    pub(super) holes: Loss,
    pub(super) reparse: Loss,
}

#[derive(Default)]
pub(super) struct Loss {
    count: u64,
    first: Option<NodeId>,
}

impl Loss {
    pub(super) fn add(&mut self, count: usize, node: NodeId) {
        if count > 0 {
            self.count += count as u64;
            self.first.get_or_insert(node);
        }
    }
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files, hard links counted once.
    pub files: u64,
    /// Directories, with the root.
    pub directories: u64,
    /// Names in directories, short names not counted.
    pub links: u64,
    /// Data streams that hold anything.
    pub streams: u64,
    /// FILE records in use.
    pub records: u64,
    /// Distinct security descriptors.
    pub descriptors: u64,
    /// Bytes in a cluster.
    pub cluster_size: u64,
    /// Clusters of the volume.
    pub clusters: u64,
    /// Bytes in all data streams.
    pub data_bytes: u64,
    /// Bytes of clusters that hold anything but data streams.
    pub metadata_bytes: u64,
    /// Bytes of free clusters.
    pub free_bytes: u64,
    /// What the source says that this volume will not carry.
    pub losses: Vec<String>,
}

/// A volume, settled to the last byte. It belongs to the tree that it was made from.
pub struct Plan {
    pub(super) options: Options,
    pub(super) volume_len: u64,
    pub(super) files: Files,
    pub(super) system: System,
    /// The clusters from here on are free.
    pub(super) end: u64,
    summary: Summary,
}

/// The part of a plan that does not depend on the volume's length: a few integers for each file.
pub(super) struct Files {
    pub(super) geometry: Geometry,
    pub(super) census: Census,
    pub(super) secure: Secure,
    /// The first record of each rank, and one more for the end. The root's base record is another: see [`Files::record`].
    records: Vec<u32>,
    /// Where the extents of each rank begin in `lcns`, and one more for the end.
    lcn_starts: Vec<u32>,
    /// Where each non-resident attribute begins, from the start of the files' area.
    lcns: Vec<u32>,
    /// Clusters of the files' area.
    clusters: u64,
    /// The cluster at which the files' area begins.
    start: u64,
    /// By rank: whether the main stream is in the record.
    main_resident: Vec<bool>,
    /// Files with an object id, in the order of `$ObjId:$O`.
    pub(super) object_ids: Vec<u32>,
    /// Files with a reparse point, in the order of `$Reparse:$R`.
    pub(super) reparse: Vec<u32>,
    losses: Losses,
    data_bytes: u64,
    data_clusters: u64,
    streams: u64,
}

/// A stream that waits for its place among the contents: from memory first, then the stores' blobs in their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    store: u32,
    position: u64,
    slot: u32,
    clusters: u64,
}

impl Plan {
    /// Settles a volume of `volume_len` bytes, which include the last sector with the copy of the boot sector.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::error::Kind::NoSpace) when it does not fit; `Unsupported` or `Corrupt`, with the path, for what NTFS
    /// cannot hold; `Invalid` for options that make no volume.
    pub fn new(tree: &Tree, volume_len: u64, options: &Options) -> Result<Self> {
        Self::with_len(tree, options, |_| Ok(volume_len))
    }

    /// The same for a length that `choose` derives from the smallest one that would do, so that the tree is gone through once.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and those of `choose`.
    pub fn with_len(tree: &Tree, options: &Options, choose: impl FnOnce(u64) -> Result<u64>) -> Result<Self> {
        check_options(options)?;
        let mut files = Files::collect(tree, options)?;
        let volume_len = choose(files.needed())?;
        let geometry = files.geometry;
        let clusters = geometry.volume_clusters(volume_len);
        if clusters > MAX_CLUSTERS {
            return Err(Error::unsupported("clusters of an NTFS volume")
                .found(clusters)
                .allowed(format_args!("at most {MAX_CLUSTERS}"))
                .hint("use larger clusters"));
        }
        let (_, least) = files.place(volume_len, MIN_LOG);
        let Some(spare) = clusters.checked_sub(least) else {
            return Err(Error::no_space("NTFS volume", files.needed(), volume_len));
        };
        let room = MIN_LOG + geometry.bytes(spare) / LOG_UNIT * LOG_UNIT;
        let (system, end) = files.place(volume_len, log_len(volume_len).min(room));
        let summary = files.summary(tree, clusters, end);
        Ok(Self { options: options.clone(), volume_len, files, system, end, summary })
    }

    /// The smallest length of a volume that would hold the tree, in bytes.
    pub fn needed(tree: &Tree, options: &Options) -> Result<u64> {
        check_options(options)?;
        Ok(Files::collect(tree, options)?.needed())
    }

    /// The byte ranges of the volume that [`write`](Self::write) writes: sorted, apart from each other.
    pub fn used(&self) -> Vec<Range<u64>> {
        let geometry = &self.files.geometry;
        let backup = geometry.total_sectors(self.volume_len) * geometry.sector;
        let end = geometry.bytes(self.end);
        let mut used = vec![0..end, backup..backup + geometry.sector];
        if end == backup {
            used.truncate(1);
            used[0].end += geometry.sector;
        }
        used
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

fn check_options(options: &Options) -> Result<()> {
    if options.label.len() > 32 {
        return Err(Error::invalid("length of the volume label")
            .found(options.label.len())
            .allowed("at most 32 UTF-16 units"));
    }
    if options.boot_code.len() > BOOT_LEN {
        return Err(Error::invalid("length of the boot code").found(options.boot_code.len()).allowed(BOOT_LEN));
    }
    if u32::try_from(options.hidden_sectors).is_err() && !options.boot_code.is_empty() {
        return Err(Error::invalid("first sector of a partition that boots from a BIOS")
            .found(options.hidden_sectors)
            .allowed(format_args!("at most {}", u32::MAX)));
    }
    Ok(())
}

/// How long the journal of a volume is, unless space is short.
fn log_len(volume_len: u64) -> u64 {
    match volume_len {
        ..=0x3FF_FFFF => MIN_LOG,
        _ => (volume_len / 658 / LOG_UNIT * LOG_UNIT).clamp(4 * MIB, 64 * MIB),
    }
}

impl Files {
    fn collect(tree: &Tree, options: &Options) -> Result<Self> {
        let geometry = Geometry::new(options)?;
        let mut losses = Losses::default();
        let census = Census::take(tree, &mut losses)?;
        let secure = Secure::collect(tree, &census)?;
        let mut files = Self {
            geometry,
            census,
            secure,
            records: Vec::new(),
            lcn_starts: Vec::new(),
            lcns: Vec::new(),
            clusters: 0,
            start: 0,
            main_resident: Vec::new(),
            object_ids: Vec::new(),
            reparse: Vec::new(),
            losses,
            data_bytes: 0,
            data_clusters: 0,
            streams: 0,
        };
        files.lay_out_all(tree)?;
        files.sort_views(tree)?;
        Ok(files)
    }

    fn lay_out_all(&mut self, tree: &Tree) -> Result<()> {
        let mut waiting = Vec::new();
        let mut cursor = Cursor::default();
        let mut next_record = file::FIRST_USER;
        for rank in 0..self.census.len() as u32 {
            let node = self.census.node(rank);
            let layout = self.layout(tree, rank).map_err(|error| census::blame(tree, node, error))?;
            self.records.push(next_record);
            let own = if rank == 0 { layout.records - 1 } else { layout.records };
            next_record = next_record
                .checked_add(own)
                .filter(|next| *next < u32::MAX - RECORDS_UNIT)
                .ok_or_else(|| Error::unsupported("more than 2^32 FILE records"))?;
            self.lcn_starts.push(self.lcns.len() as u32);
            self.take_extents(tree, rank, &layout, &mut cursor, &mut waiting);
            self.note(tree, rank, &layout);
        }
        self.records.push(next_record);
        self.lcn_starts.push(self.lcns.len() as u32);

        waiting.sort_unstable();
        for stream in &waiting {
            self.lcns[stream.slot as usize] = cursor.take_clusters(stream.clusters) as u32;
        }
        self.clusters = cursor.next;
        if self.clusters > MAX_CLUSTERS {
            let (needed, most) = (self.geometry.bytes(self.clusters), self.geometry.bytes(MAX_CLUSTERS));
            return Err(Error::no_space("NTFS volume with clusters of this size", needed, most));
        }
        Ok(())
    }

    /// Gives metadata its clusters at once and lets data wait.
    fn take_extents(
        &mut self,
        tree: &Tree,
        rank: u32,
        layout: &Layout,
        cursor: &mut Cursor,
        waiting: &mut Vec<Waiting>,
    ) {
        let node = tree.node(self.census.node(rank));
        for attribute in &layout.attributes {
            let clusters = attribute.clusters();
            let What::Data(stream) = attribute.what else {
                if clusters > 0 {
                    self.lcns.push(cursor.take_clusters(clusters) as u32);
                }
                continue;
            };
            self.streams += u64::from(attribute.size > 0);
            self.data_bytes = self.data_bytes.saturating_add(attribute.size);
            self.data_clusters = self.data_clusters.saturating_add(clusters);
            if clusters == 0 {
                continue;
            }
            let slot = self.lcns.len() as u32;
            self.lcns.push(0);
            let content = stream.map(|stream| &node.streams[stream as usize].content);
            let (store, position) = match content {
                Some(Content::Blob { store, blob, .. }) => {
                    (store.index() as u32 + 1, tree.stores()[store.index()].position(*blob))
                }
                _ => (0, 0),
            };
            waiting.push(Waiting { store, position, slot, clusters });
        }
    }

    /// Keeps what directories and views will want to know, and what is lost.
    fn note(&mut self, tree: &Tree, rank: u32, layout: &Layout) {
        let id = self.census.node(rank);
        let node = tree.node(id);
        let main = layout.attributes.iter().find(|attribute| is_main(attribute.what, node));
        self.main_resident.push(main.is_none_or(|attribute| attribute.form == Form::Resident));
        if node.object_id.is_some() {
            self.object_ids.push(rank);
        }
        if node.reparse.is_some() {
            self.reparse.push(rank);
        }
        let compressed = node.attributes & bits::COMPRESSED != 0;
        self.losses.compressed.add(usize::from(compressed && self.keeps_compressed() && !node.is_directory()), id);
        self.losses.uncompressed.add(usize::from(compressed && !self.keeps_compressed()), id);
        let allocated = |attribute: &&attributes::Attribute| attribute.sparse && attribute.clusters() > 0;
        self.losses.holes.add(layout.attributes.iter().filter(allocated).count(), id);
        let lost = node.attributes & bits::REPARSE_POINT != 0 && node.reparse.is_none();
        self.losses.reparse.add(usize::from(lost), id);
    }

    /// Whether NTFS compresses with clusters of this size.
    pub(super) fn keeps_compressed(&self) -> bool {
        self.geometry.cluster <= 4 * KIB
    }

    fn sort_views(&mut self, tree: &Tree) -> Result<()> {
        let id = |rank: u32| tree.node(self.census.node(rank)).object_id.as_deref().unwrap_or_default();
        let words = |rank: u32| -> [u32; 4] { std::array::from_fn(|word| u32_at(id(rank), 4 * word).unwrap_or(0)) };
        self.object_ids.sort_by_key(|rank| words(*rank));
        if let Some(pair) = self.object_ids.windows(2).find(|pair| words(pair[0]) == words(pair[1])) {
            let error = Error::unsupported("two files with one object id");
            return Err(census::blame(tree, self.census.node(pair[1]), error));
        }
        let tag = |rank: u32| tree.node(self.census.node(rank)).reparse.as_ref().map_or(0, |reparse| reparse.tag);
        self.reparse.sort_by_key(|rank| (tag(*rank), *rank)); // ranks and record numbers have one order
        Ok(())
    }

    /// What the records of the file of that rank hold.
    pub(super) fn layout(&self, tree: &Tree, rank: u32) -> Result<Layout> {
        attributes::lay_out(tree, &self.census, &self.geometry, rank)
    }

    /// The record that is the `holder`-th of a file; the 0th is its base record.
    pub(super) fn record(&self, rank: u32, holder: u16) -> u32 {
        let first = self.records[rank as usize];
        match (rank, u32::from(holder)) {
            (0, 0) => file::ROOT,
            (0, holder) => first + holder - 1,
            (_, holder) => first + holder,
        }
    }

    /// The records of the files of these ranks, without the root's base record.
    pub(super) fn records(&self, ranks: Range<u32>) -> Range<u32> {
        self.records[ranks.start as usize]..self.records[ranks.end as usize]
    }

    /// The reference to a file's base record.
    pub(super) fn reference(&self, rank: u32) -> u64 {
        let sequence = if rank == 0 { file::ROOT as u16 } else { 1 };
        reference(self.record(rank, 0), sequence)
    }

    /// Where the non-resident attributes of a file begin, in the order of its layout, those without clusters left out.
    pub(super) fn lcns(&self, rank: u32) -> impl Iterator<Item = u64> {
        let range = self.lcn_starts[rank as usize] as usize..self.lcn_starts[rank as usize + 1] as usize;
        self.lcns[range].iter().map(|lcn| self.start + u64::from(*lcn))
    }

    /// Whether the main stream is in the record.
    pub(super) fn main_is_resident(&self, rank: u32) -> bool {
        self.main_resident[rank as usize]
    }

    /// The record after the last one in use.
    pub(super) fn end_record(&self) -> u32 {
        self.records.last().copied().unwrap_or(file::FIRST_USER)
    }

    /// How many records the MFT has.
    pub(super) fn mft_records(&self) -> u32 {
        self.end_record().max(MIN_RECORDS).next_multiple_of(RECORDS_UNIT)
    }

    /// Places everything on a volume of that length, with a journal of that length, and returns the end of it.
    fn place(&mut self, volume_len: u64, log_len: u64) -> (System, u64) {
        let geometry = self.geometry;
        let geometry = &geometry;
        let mut cursor = Cursor::default();
        let descriptors = self.secure.len();
        let records = self.mft_records();
        let system = System {
            boot: cursor.take(geometry, BOOT_LEN as u64),
            mirror: cursor.take(geometry, u64::from(geometry.mirrored()) * geometry.record as u64),
            upcase: cursor.take(geometry, UPCASE_LEN),
            definitions: cursor.take(geometry, DEFINITIONS_LEN),
            descriptors: cursor.take(geometry, self.secure.stream_len()),
            by_hash: View::new(geometry, &mut cursor, descriptors, 48),
            by_id: View::new(geometry, &mut cursor, descriptors, 40),
            object_ids: View::new(geometry, &mut cursor, self.object_ids.len(), 88),
            reparse: View::new(geometry, &mut cursor, self.reparse.len(), 32),
            log: cursor.take(geometry, log_len),
            bitmap: cursor.take(geometry, geometry.volume_clusters(volume_len).div_ceil(64) * 8),
            mft_bitmap: {
                self.start = cursor.take_clusters(self.clusters);
                cursor.take(geometry, u64::from(records).div_ceil(64) * 8)
            },
            mft: cursor.take(geometry, u64::from(records) * geometry.record as u64),
        };
        (system, cursor.next)
    }

    /// The smallest volume: what has to be placed grows with the volume's length, so its length is approached from below.
    fn needed(&mut self) -> u64 {
        let mut len = 0;
        loop {
            let (_, end) = self.place(len, MIN_LOG);
            let needed = self.geometry.bytes(end).saturating_add(self.geometry.sector);
            if needed <= len {
                return len;
            }
            len = needed;
        }
    }

    fn summary(&self, tree: &Tree, clusters: u64, end: u64) -> Summary {
        let nodes = (0..self.census.len() as u32).map(|rank| tree.node(self.census.node(rank)));
        let directories = nodes.filter(|node| node.is_directory()).count();
        let user_records = self.end_record() - file::FIRST_USER;
        Summary {
            files: (self.census.len() - directories) as u64,
            directories: directories as u64,
            links: self.census.link_count() as u64,
            streams: self.streams,
            records: u64::from(user_records) + 19, // 0 to 15 and 24 to 26
            descriptors: self.secure.len() as u64,
            cluster_size: self.geometry.cluster,
            clusters,
            data_bytes: self.data_bytes,
            metadata_bytes: self.geometry.bytes(end - self.data_clusters),
            free_bytes: self.geometry.bytes(clusters - end),
            losses: self.losses.describe(tree),
        }
    }
}

/// Whether an attribute is the stream that directories give the length of.
pub(super) fn is_main(what: What, node: &crate::tree::Node) -> bool {
    matches!(what, What::Data(_)) && what.name(node).is_empty()
}

impl Losses {
    pub(super) fn describe(&self, tree: &Tree) -> Vec<String> {
        let all = [
            (
                &self.short_names,
                "short names dropped: a file has one, in a directory that ignores case, and of the form 8.3",
            ),
            (&self.compressed, "compressed files stored plain; the attribute is kept"),
            (
                &self.uncompressed,
                "compressed files or directories stored plain and without the attribute: clusters are too large",
            ),
            (&self.holes, "sparse streams stored in full: the source does not say where their holes are"),
            (&self.reparse, "reparse attributes dropped: the source has no reparse data for them"),
        ];
        let given = all.into_iter().filter(|(loss, _)| loss.count > 0);
        given.map(|(loss, what)| format!("{} {what}{}", loss.count, loss.example(tree))).collect()
    }
}

impl Loss {
    fn example(&self, tree: &Tree) -> String {
        let path = self.first.and_then(|node| tree.paths(1, |id, _| id == node).pop());
        path.map_or_else(String::new, |path| format!(" (first: {path})"))
    }
}

const _: () = assert!(RECORDS_UNIT as usize * 1024 >= 65536 && STRIDE == 512);

#[cfg(test)]
mod tests;
