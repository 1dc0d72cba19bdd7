//! The files of a volume, into a tree.

use std::collections::HashSet;
use std::sync::Arc;

use zerocopy::FromBytes;

use super::ondisk::{
    self, DESCRIPTORS, Descriptor, FLAG_ASSOCIATED, FLAG_DIRECTORY, FLAG_HIDDEN, FLAG_MORE, JOLIET, KIND_END,
    KIND_PRIMARY, KIND_SUPPLEMENTARY, RECORD_LEN, Record, SECTOR, STANDARD_ID,
};
use crate::base::extents::Extents;
use crate::base::{Name, ReadAt};
use crate::error::{Context, Error, Result};
use crate::tree::medium::{Builder, Files};
use crate::tree::{Link, NodeId, Times, attributes};

/// Volume descriptors that are looked at.
const MAX_DESCRIPTORS: u64 = 64;

/// Whether there is an ISO 9660 volume; on a bridge there is a UDF one as well.
pub fn is_iso9660(medium: &dyn ReadAt) -> Result<bool> {
    if medium.len() < DESCRIPTORS + SECTOR as u64 {
        return Ok(false);
    }
    let mut id = [0; 5];
    medium.read_at(DESCRIPTORS + 1, &mut id)?;
    Ok(&id == STANDARD_ID)
}

/// An ISO 9660 volume whose descriptors have been read.
pub struct Volume {
    medium: Arc<dyn ReadAt>,
    is_joliet: bool,
    /// Length of a logical block, in which extents are counted.
    block: u64,
    /// Length of all of it.
    len: u64,
    root: Record,
    label: Name,
}

impl Volume {
    /// Reads the volume descriptors.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if there is no primary one that makes sense.
    pub fn open(medium: Arc<dyn ReadAt>) -> Result<Self> {
        let (mut primary, mut joliet) = (None, None);
        for index in 0..MAX_DESCRIPTORS {
            let at = DESCRIPTORS + index * SECTOR as u64;
            let mut bytes = vec![0; SECTOR];
            medium.read_at(at, &mut bytes).context(|| "ISO 9660 volume descriptors")?;
            let (found, _) =
                Descriptor::read_from_prefix(&bytes).map_err(|_| Error::truncated("ISO 9660 volume descriptor"))?;
            if &found.id != STANDARD_ID || found.kind == KIND_END {
                break;
            }
            match found.kind {
                KIND_PRIMARY => _ = primary.get_or_insert((found, at)),
                KIND_SUPPLEMENTARY if JOLIET.iter().any(|escape| found.escapes.starts_with(*escape)) => {
                    _ = joliet.get_or_insert((found, at));
                }
                _ => {}
            }
        }
        let is_joliet = joliet.is_some();
        let chosen = joliet.or(primary);
        let (found, at) = chosen.ok_or_else(|| Error::corrupt("ISO 9660: no primary volume descriptor"))?;
        let block = u64::from(found.block.value.get());
        if !matches!(block, 512 | 1024 | 2048) {
            return Err(Error::corrupt("ISO 9660: size of logical blocks")
                .at(at + 0x80)
                .found(block)
                .allowed("512, 1024, 2048"));
        }
        let label = if is_joliet { ondisk::joliet(&found.volume) } else { ondisk::plain(&found.volume) };
        let len = u64::from(found.space.value.get()) * block;
        Ok(Self { medium, is_joliet, block, len, root: found.root, label: ondisk::padded(&label) })
    }

    /// The volume's label.
    pub fn label(&self) -> &Name {
        &self.label
    }

    /// Whether it has Joliet's names.
    pub fn is_joliet(&self) -> bool {
        self.is_joliet
    }

    /// Reads all directories. What is damaged is left out, with a note.
    ///
    /// # Errors
    /// Only if the root directory cannot be read.
    pub fn read(&self) -> Result<Files> {
        let root = self.extent(&self.root).context(|| "ISO 9660: root directory")?;
        let mut walk = Walk {
            volume: self,
            builder: Builder::new(Arc::clone(&self.medium), Times::all(self.root.time())),
            work: Vec::new(),
            known: HashSet::from([self.root.extent.value.get()]),
        };
        if self.len > self.medium.len() {
            walk.builder.note(format!(
                "the medium has {} bytes, and its volume goes on to {}: it is cut off",
                self.medium.len(),
                self.len
            ));
        }
        walk.directory(walk.builder.root(), &root).context(|| "ISO 9660: root directory")?;
        while let Some((directory, name, extents)) = walk.work.pop() {
            if let Err(error) = walk.directory(directory, &extents) {
                walk.builder.note(format!("{name}: {error}"));
            }
        }
        Ok(walk.builder.finish())
    }

    /// Where the data of a record lies.
    fn extent(&self, record: &Record) -> Result<Extents> {
        let mut extents = Extents::default();
        self.add(&mut extents, record)?;
        Ok(extents)
    }

    fn add(&self, extents: &mut Extents, record: &Record) -> Result<()> {
        if record.interleave_unit != 0 || record.interleave_gap != 0 {
            return Err(Error::unsupported("ISO 9660: an interleaved file"));
        }
        let block = u64::from(record.extent.value.get()) + u64::from(record.attributes_len);
        let pushed = extents.push(Some(block * self.block), record.data_len.value.get().into());
        pushed.ok_or_else(|| Error::corrupt("ISO 9660: length of a file"))
    }
}

/// The way through all directories.
struct Walk<'v> {
    volume: &'v Volume,
    builder: Builder,
    /// Directories to read.
    work: Vec<(NodeId, Name, Extents)>,
    /// Extents of directories that were found, by which circles are known.
    known: HashSet<u32>,
}

/// A file whose records have not all been seen yet.
struct Open {
    name: Name,
    extents: Result<Extents>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: NodeId, extents: &Extents) -> Result<()> {
        self.builder.admit_directory(extents.len())?;
        let mut bytes = vec![0; extents.len() as usize]; // of those that were admitted
        extents.read_at(&self.volume.medium, 0, &mut bytes)?;
        let mut links = Vec::new();
        let mut open: Option<Open> = None;
        for sector in bytes.chunks(SECTOR) {
            let mut rest = sector;
            while let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| *len > 0) {
                let Some((record, name)) = rest.get(..len).and_then(|bytes| self.record(bytes)) else {
                    self.builder.note("a record of a directory that is cut off".into());
                    break; // the next sector begins with a record
                };
                self.take(record, name, &mut open, &mut links);
                rest = &rest[len..];
            }
        }
        if let Some(open) = open {
            self.builder.note(format!("{}: its last extent is missing", open.name));
        }
        self.builder.fill(directory, links);
        Ok(())
    }

    /// A record, and its name; the directory itself and the one above have names of one byte, 0 and 1.
    fn record(&self, bytes: &[u8]) -> Option<(Record, Name)> {
        let (record, rest) = Record::read_from_prefix(bytes).ok()?;
        let name = rest.get(..usize::from(record.name_len))?;
        let name = match name {
            [0 | 1] => Name::default(),
            name if self.volume.is_joliet => ondisk::joliet(name),
            name => ondisk::plain(name),
        };
        debug_assert!(bytes.len() >= RECORD_LEN);
        Some((record, name))
    }

    fn take(&mut self, record: Record, name: Name, open: &mut Option<Open>, links: &mut Vec<Link>) {
        if name.is_empty() || record.flags & FLAG_ASSOCIATED != 0 {
            return;
        }
        let is_directory = record.flags & FLAG_DIRECTORY != 0;
        let mut file = match open.take() {
            Some(open) if open.name == name && !is_directory => open,
            other => {
                if let Some(other) = other {
                    self.builder.note(format!("{}: its last extent is missing", other.name));
                }
                Open { name, extents: Ok(Extents::default()) }
            }
        };
        file.extents = file.extents.and_then(|mut extents| self.volume.add(&mut extents, &record).map(|()| extents));
        if record.flags & FLAG_MORE != 0 && !is_directory {
            *open = Some(file);
            return;
        }
        let name = if is_directory { file.name } else { ondisk::without_version(&file.name) };
        let node = file.extents.and_then(|extents| self.node(&record, &name, extents));
        match node {
            Ok(node) => links.push(Link { name, short: None, node }),
            Err(error) => self.builder.note(format!("{name}: {error}")),
        }
    }

    fn node(&mut self, record: &Record, name: &Name, extents: Extents) -> Result<NodeId> {
        let hidden = if record.flags & FLAG_HIDDEN != 0 { attributes::HIDDEN } else { 0 };
        let times = Times::all(record.time());
        if record.flags & FLAG_DIRECTORY == 0 {
            return self.builder.add(hidden, times, Some(extents));
        }
        if !self.known.insert(record.extent.value.get()) {
            return Err(Error::corrupt("ISO 9660: a directory that another name leads to as well"));
        }
        let node = self.builder.add(hidden, times, None)?;
        self.work.push((node, name.clone(), extents));
        Ok(node)
    }
}
