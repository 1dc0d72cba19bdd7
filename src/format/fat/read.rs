//! A volume, read into a [`Tree`].

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use zerocopy::FromBytes;

use super::ondisk::{self, ENTRY_LEN, Entry, Geometry, MAX_ENTRIES, Width};
use crate::base::bytes::{u16_at, u32_at};
use crate::base::{FileTime, Name, ReadAt};
use crate::error::{Error, Result};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, Content, Link, Node, StoreId, Times, Tree, attributes};

/// Files of one volume that are read; far more than firmware needs.
const MAX_FILES: usize = 1 << 20;
/// A piece that is given to a sink at once.
const PIECE: u64 = 256 << 10;

/// A FAT volume whose boot sector has been read.
pub struct Volume {
    volume: Arc<dyn ReadAt>,
    geometry: Geometry,
}

/// All files of a volume.
pub struct Contents {
    /// The files, still unread.
    pub tree: Tree,
    /// What could not be read, in words.
    pub notes: Vec<String>,
}

impl Volume {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if it is none of FAT; [`Truncated`](crate::error::Kind::Truncated) if the volume is longer than
    /// what it lies in.
    pub fn open(volume: Arc<dyn ReadAt>) -> Result<Self> {
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector)?;
        let geometry = Geometry::parse(&sector)?;
        if geometry.len > volume.len() {
            return Err(Error::truncated("FAT volume")
                .found(format_args!("{} bytes", volume.len()))
                .allowed(format_args!("{} bytes", geometry.len)));
        }
        Ok(Self { volume, geometry })
    }

    /// Reads all directories. What is damaged is left out, with a note.
    ///
    /// # Errors
    /// Only if the root directory cannot be read.
    pub fn read(&self) -> Result<Contents> {
        let chains = Chains { volume: Arc::clone(&self.volume), geometry: self.geometry.clone() };
        Walk::new(chains).all()
    }
}

/// Chains of clusters.
pub(super) struct Chains {
    pub(super) volume: Arc<dyn ReadAt>,
    pub(super) geometry: Geometry,
}

impl Chains {
    /// The cluster behind another one; nothing at the end of a chain.
    pub(super) fn next(&self, cluster: u32) -> Result<Option<u32>> {
        let cluster_at = u64::from(cluster);
        let (offset, len) = match self.geometry.width {
            Width::Twelve => (cluster_at + cluster_at / 2, 2),
            Width::Sixteen => (cluster_at * 2, 2),
            Width::ThirtyTwo => (cluster_at * 4, 4),
        };
        let bad = |what: &str| Error::corrupt(format_args!("FAT: {what}")).at(self.geometry.fat_at + offset);
        if offset + len as u64 > self.geometry.fat_len {
            return Err(bad("a cluster without an entry").found(cluster));
        }
        let mut bytes = [0; 4];
        self.volume.read_at(self.geometry.fat_at + offset, &mut bytes[..len])?;
        let (value, end) = match (self.geometry.width, u32_at(&bytes, 0).unwrap_or_default()) {
            (Width::Twelve, word) if cluster % 2 == 1 => (word >> 4 & 0xFFF, 0xFF8),
            (Width::Twelve, word) => (word & 0xFFF, 0xFF8),
            (Width::Sixteen, word) => (word & 0xFFFF, 0xFFF8),
            (Width::ThirtyTwo, word) => (word & 0x0FFF_FFFF, 0x0FFF_FFF8),
        };
        match value {
            _ if value >= end => Ok(None),
            _ if self.geometry.place(value).is_some() => Ok(Some(value)),
            _ => Err(bad("next cluster of a file").found(format_args!("{value:#x}"))),
        }
    }

    /// Follows a chain for `len` bytes, and shows where each piece of it lies: offset in the file, place, length.
    fn pieces(&self, first: u32, len: u64, mut show: impl FnMut(u64, u64, u64) -> Result<()>) -> Result<()> {
        let cluster_len = self.geometry.cluster;
        let mut cluster = first;
        let mut at = 0;
        while at < len {
            let place = self.geometry.place(cluster).ok_or_else(|| {
                Error::corrupt("FAT: cluster of a file")
                    .found(cluster)
                    .allowed(format_args!("2 to {}", u64::from(self.geometry.clusters) + 1))
            })?;
            // Clusters in a row are one piece.
            let mut piece = cluster_len.min(len - at);
            let mut last = cluster;
            let mut next = None;
            while at + piece < len {
                next = self.next(last)?;
                match next {
                    Some(found) if last.checked_add(1) == Some(found) && piece < PIECE => {
                        piece += cluster_len.min(len - at - piece);
                        last = found;
                    }
                    _ => break,
                }
            }
            show(at, place, piece)?;
            at += piece;
            if at < len {
                cluster = next.ok_or_else(|| {
                    let found = format!("{at} bytes");
                    Error::corrupt("FAT: a file whose chain ends early")
                        .found(found)
                        .allowed(format_args!("{len} bytes"))
                })?;
            }
        }
        Ok(())
    }

    /// The entries of a directory, whose length its chain tells. Each of its clusters must be `fresh`.
    fn directory(&self, first: u32, mut fresh: impl FnMut(u32) -> bool) -> Result<Vec<u8>> {
        let limit = (MAX_ENTRIES * ENTRY_LEN) as u64;
        let mut bytes = Vec::new();
        let mut cluster = Some(first);
        while let Some(found) = cluster.filter(|_| (bytes.len() as u64) < limit) {
            let place = self.geometry.place(found);
            let place = place.ok_or_else(|| Error::corrupt("FAT: cluster of a directory").found(found))?;
            if !fresh(found) {
                return Err(Error::corrupt("FAT: a cluster of two directories, or twice of one").found(found));
            }
            let start = bytes.len();
            bytes.resize(start + self.geometry.cluster as usize, 0);
            self.volume.read_at(place, &mut bytes[start..])?;
            // An entry that begins with zero ends the directory, whatever its chain says.
            let ended = bytes[start..].chunks_exact(ENTRY_LEN).any(|entry| entry[0] == 0);
            cluster = if ended { None } else { self.next(found)? };
        }
        Ok(bytes)
    }
}

/// What has content: the blobs of a volume.
struct Store {
    chains: Chains,
    /// First cluster and length.
    files: Vec<(u32, u32)>,
}

impl Store {
    fn file(&self, blob: BlobId) -> Result<(u32, u32)> {
        self.files.get(blob.0 as usize).copied().ok_or_else(|| Error::invalid("no such file").found(blob.0))
    }

    fn pieces(&self, blob: BlobId, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let (first, len) = self.file(blob)?;
        let mut buffer = Vec::new();
        self.chains.pieces(first, len.into(), |at, place, piece| {
            buffer.resize(piece as usize, 0);
            self.chains.volume.read_at(place, &mut buffer)?;
            take(at, &buffer)
        })
    }
}

impl BlobStore for Store {
    fn position(&self, blob: BlobId) -> u64 {
        self.file(blob).map_or(0, |(first, _)| first.into())
    }

    fn stream(&self, wanted: &[BlobId], _threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        for &blob in wanted {
            let mut refused = false;
            let streamed = self.pieces(blob, |at, data| {
                let taken = sink.write(blob, at, data);
                refused = taken.is_err();
                taken
            });
            let blobs = if refused { Vec::new() } else { vec![blob] };
            streamed.map_err(|error| BlobError { blobs, error })?;
        }
        Ok(())
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.pieces(blob, |_, data| {
            bytes.extend_from_slice(data);
            Ok(())
        })?;
        Ok(bytes)
    }
}

/// A file as its directory has it.
struct Found {
    name: Name,
    short: Name,
    attributes: u8,
    times: Times,
    first: u32,
    len: u32,
    /// What is in it, by index.
    children: Vec<usize>,
}

/// The way through all directories.
struct Walk {
    chains: Chains,
    found: Vec<Found>,
    notes: Vec<String>,
    /// Clusters of directories that have been read, by which circles are known, and chains that run into each other.
    seen: HashSet<u32>,
    /// Whether there are more files than are read.
    is_full: bool,
}

impl Walk {
    fn new(chains: Chains) -> Self {
        Self { chains, found: Vec::new(), notes: Vec::new(), seen: HashSet::new(), is_full: false }
    }

    fn all(mut self) -> Result<Contents> {
        let root = self.root()?;
        let top = self.entries(&root);
        let mut work = top.clone();
        while let Some(index) = work.pop() {
            let Found { attributes, first, name, .. } = &self.found[index];
            if attributes & ondisk::DIRECTORY == 0 {
                continue;
            }
            if self.seen.contains(first) {
                self.notes.push(format!("{name}: a directory that another name leads to as well"));
                continue;
            }
            match self.chains.directory(*first, |cluster| self.seen.insert(cluster)) {
                Ok(bytes) => {
                    let children = self.entries(&bytes);
                    work.extend(&children);
                    self.found[index].children = children;
                }
                Err(error) => self.notes.push(format!("{name}: {error}")),
            }
        }
        if self.is_full {
            self.notes.push(format!("more than {MAX_FILES} files: the rest is left out"));
        }
        self.build(top)
    }

    fn root(&mut self) -> Result<Vec<u8>> {
        let geometry = &self.chains.geometry;
        if geometry.width == Width::ThirtyTwo {
            return self.chains.directory(geometry.root_cluster, |cluster| self.seen.insert(cluster));
        }
        let mut bytes = vec![0; geometry.root_len as usize]; // of a 16-bit number of entries
        self.chains.volume.read_at(geometry.root_at, &mut bytes)?;
        Ok(bytes)
    }

    /// Takes the entries of a directory in; gives their indexes.
    fn entries(&mut self, directory: &[u8]) -> Vec<usize> {
        let first = self.found.len();
        let mut long = LongName::default();
        for bytes in directory.chunks_exact(ENTRY_LEN) {
            let Ok(entry) = Entry::ref_from_bytes(bytes) else { continue };
            match entry.name[0] {
                0 => break,
                0xE5 => long = LongName::default(),
                _ if entry.attributes & ondisk::LONG_NAME_MASK == ondisk::LONG_NAME => long.add(bytes),
                _ => {
                    let name = std::mem::take(&mut long).finish(&entry.name);
                    if entry.attributes & ondisk::VOLUME_LABEL != 0 || entry.name[0] == b'.' {
                        continue;
                    }
                    if self.found.len() == MAX_FILES {
                        self.is_full = true;
                        break;
                    }
                    self.found.push(Found::new(entry, name));
                }
            }
        }
        (first..self.found.len()).collect()
    }

    fn build(mut self, top: Vec<usize>) -> Result<Contents> {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let files = self.found.iter().map(|found| (found.first, found.len)).collect();
        let store = tree.add_store(Arc::new(Store { chains: self.chains, files }));
        let mut work = vec![(tree.root(), top)];
        while let Some((directory, children)) = work.pop() {
            let mut links = Vec::new();
            for index in children {
                let found = &mut self.found[index];
                let node = tree.add_node(found.node(store, index))?;
                work.push((node, std::mem::take(&mut found.children)));
                links.push(Link { name: found.name.clone(), short: Some(found.short.clone()), node });
            }
            // Only directories have anything, and no fresh node hangs on two names.
            if !links.is_empty() {
                tree.set_children(directory, links).unwrap_or_else(|error| self.notes.push(error.to_string()));
            }
        }
        Ok(Contents { tree, notes: self.notes })
    }
}

impl Found {
    fn new(entry: &Entry, long: Option<Name>) -> Self {
        let short = short_name(entry, 0);
        Self {
            name: long.unwrap_or_else(|| short_name(entry, entry.case)),
            short,
            attributes: entry.attributes,
            times: Times {
                created: time(entry.created_date.get(), entry.created_time.get()),
                modified: time(entry.modified_date.get(), entry.modified_time.get()),
                changed: time(entry.modified_date.get(), entry.modified_time.get()),
                accessed: time(entry.accessed_date.get(), 0),
            },
            first: entry.cluster(),
            len: entry.size.get(),
            children: Vec::new(),
        }
    }

    fn node(&self, store: StoreId, index: usize) -> Node {
        const KEPT: u32 = attributes::READ_ONLY | attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE;
        let kept = u32::from(self.attributes) & KEPT;
        if self.attributes & ondisk::DIRECTORY != 0 {
            return Node::directory(kept, self.times);
        }
        let content = match self.len {
            0 => Content::empty(),
            len => Content::Blob { store, blob: BlobId(index as u32), len: len.into() },
        };
        Node::file(kept, self.times, content)
    }
}

/// A long name, piece by piece: the last one comes first.
#[derive(Default)]
pub(super) struct LongName {
    /// In reverse order.
    pieces: Vec<[u16; 13]>,
    checksum: u8,
    expected: u8,
}

impl LongName {
    pub(super) fn add(&mut self, entry: &[u8]) {
        const LAST: u8 = 0x40;
        let order = entry[0];
        if order & LAST != 0 {
            *self = Self { pieces: Vec::new(), checksum: entry[13], expected: order & 0x1F };
        }
        if self.expected == 0 || order & 0x1F != self.expected || entry[13] != self.checksum {
            *self = Self::default();
            return;
        }
        self.expected -= 1;
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
        let mut piece = [0; 13];
        for (unit, at) in piece.iter_mut().zip(places) {
            *unit = u16_at(entry, at).unwrap_or_default();
        }
        self.pieces.push(piece);
    }

    /// The name, if it is whole and belongs to this short one.
    pub(super) fn finish(self, short: &[u8; 11]) -> Option<Name> {
        let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.pieces.is_empty() || self.expected != 0 || checksum != self.checksum {
            return None;
        }
        let units: Vec<u16> = self.pieces.iter().rev().flatten().copied().take_while(|unit| *unit != 0).collect();
        (1..=255).contains(&units.len()).then(|| Name::new(units))
    }
}

pub(super) fn short_name(entry: &Entry, case: u8) -> Name {
    const LOWER_BASE: u8 = 0x08;
    const LOWER_EXTENSION: u8 = 0x10;
    let part = |bytes: &[u8], lower: bool| -> Vec<u16> {
        let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
        bytes[..end].iter().map(|byte| u16::from(if lower { byte.to_ascii_lowercase() } else { *byte })).collect()
    };
    let mut bytes = entry.name;
    if bytes[0] == 0x05 {
        bytes[0] = 0xE5;
    }
    let mut name = part(&bytes[..8], case & LOWER_BASE != 0);
    let extension = part(&bytes[8..], case & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        name.push(u16::from(b'.'));
        name.extend(extension);
    }
    Name::new(name)
}

/// Date: years since 1980 in 7 bits, month, day; time: hours, minutes, half seconds. Nonsense gives no time.
fn time(date: u16, time: u16) -> FileTime {
    let (year, month, day) = (1980 + i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    if !(1..=12).contains(&month) || day == 0 {
        return FileTime::default();
    }
    // Days since 1970-03-01 in years that begin in March, so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2;
    FileTime::from_unix(days * 86_400 + seconds).unwrap_or_default()
}
