//! The files of a volume, into a tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::icb::Icb;
use super::ondisk::{
    self, FILE_DELETED, FILE_DIRECTORY, FILE_HIDDEN, FILE_PARENT, FileId, LbAddr, TAG_FILE_ID, TYPE_DIRECTORY,
    TYPE_FILE, TYPE_REAL_TIME, TYPE_UNKNOWN,
};
use super::volume::Volume;
use crate::base::Name;
use crate::base::extents::Extents;
use crate::error::{Context, Error, Result};
use crate::tree::medium::{Builder, Files};
use crate::tree::{Link, NodeId, attributes};

impl Volume {
    /// Reads all directories. What is damaged is left out, with a note.
    ///
    /// # Errors
    /// Only if the root directory cannot be read.
    pub fn read(&self) -> Result<Files> {
        let mut walk = Walk::new(self)?;
        if self.end() > self.medium.len() {
            walk.builder.note(format!(
                "the medium has {} bytes, and its volume goes on to {}: it is cut off",
                self.medium.len(),
                self.end()
            ));
        }
        while let Some((directory, name, extents)) = walk.work.pop() {
            if let Err(error) = walk.directory(directory, &extents) {
                walk.builder.note(format!("{name}: {error}"));
            }
        }
        Ok(walk.builder.finish())
    }
}

/// The way through all directories.
struct Walk<'v> {
    volume: &'v Volume,
    builder: Builder,
    /// Directories to read.
    work: Vec<(NodeId, Name, Extents)>,
    /// Files by the places of their ICBs, which several names may lead to; `None` for directories, to which only one may.
    known: HashMap<(u16, u32), Option<NodeId>>,
    /// Blocks of allocation descriptors that have been read.
    seen: HashSet<(u16, u32)>,
}

/// A file identifier.
struct Entry {
    name: Name,
    characteristics: u8,
    icb: LbAddr,
}

impl<'v> Walk<'v> {
    fn new(volume: &'v Volume) -> Result<Self> {
        let mut seen = HashSet::new();
        let at = volume.root.at;
        let root = Icb::read(volume, at, &mut seen).context(|| "UDF: root directory")?;
        if root.file_type != TYPE_DIRECTORY {
            return Err(Error::corrupt("UDF: a root that is no directory").found(root.file_type));
        }
        let builder = Builder::new(Arc::clone(&volume.medium), root.times);
        let work = vec![(builder.root(), Name::from("root directory"), root.extents)];
        let known = HashMap::from([(key(at), None)]);
        Ok(Self { volume, builder, work, known, seen })
    }

    fn directory(&mut self, directory: NodeId, extents: &Extents) -> Result<()> {
        self.builder.admit_directory(extents.len())?;
        let mut bytes = vec![0; extents.len() as usize]; // of those that were admitted
        extents.read_at(&self.volume.medium, 0, &mut bytes)?;
        let mut links = Vec::new();
        let listed = self.entries(&bytes, &mut links);
        self.builder.fill(directory, links);
        listed
    }

    /// The files of a directory, up to the end or to the first identifier that is damaged: what follows cannot be found.
    fn entries(&mut self, mut bytes: &[u8], links: &mut Vec<Link>) -> Result<()> {
        while !bytes.is_empty() {
            let (entry, len) = Entry::parse(bytes)?;
            bytes = bytes.get(len..).unwrap_or_default();
            if entry.characteristics & (FILE_DELETED | FILE_PARENT) != 0 {
                continue;
            }
            match self.file(&entry) {
                Ok(node) => links.push(Link { name: entry.name, short: None, node }),
                Err(error) => self.builder.note(format!("{}: {error}", entry.name)),
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry) -> Result<NodeId> {
        match self.known.get(&key(entry.icb)) {
            Some(Some(node)) => return Ok(*node),
            Some(None) => return Err(Error::corrupt("UDF: a directory that another name leads to as well")),
            None => {}
        }
        let icb = Icb::read(self.volume, entry.icb, &mut self.seen)?;
        let is_directory = icb.file_type == TYPE_DIRECTORY;
        if !is_directory && !matches!(icb.file_type, TYPE_UNKNOWN | TYPE_FILE | TYPE_REAL_TIME) {
            let found = if icb.file_type == 12 { "a symbolic link".into() } else { format!("type {}", icb.file_type) };
            return Err(Error::unsupported("UDF: kind of a file").found(found));
        }
        if is_directory != (entry.characteristics & FILE_DIRECTORY != 0) {
            return Err(Error::corrupt("UDF: a file to its directory, and a directory to itself, or the reverse"));
        }
        if icb.has_streams {
            self.builder.note(format!("{}: its named streams are left out", entry.name));
        }
        let hidden = if entry.characteristics & FILE_HIDDEN != 0 { attributes::HIDDEN } else { 0 };
        let extents = (!is_directory).then(|| icb.extents.clone());
        let node = self.builder.add(icb.attributes | hidden, icb.times, extents)?;
        if is_directory {
            self.work.push((node, entry.name.clone(), icb.extents));
        }
        self.known.insert(key(entry.icb), (!is_directory).then_some(node));
        Ok(node)
    }
}

impl Entry {
    /// The identifier at the beginning of `bytes`, and its length.
    fn parse(bytes: &[u8]) -> Result<(Self, usize)> {
        let id: FileId = ondisk::descriptor(bytes, TAG_FILE_ID, None, 0).context(|| "UDF: file identifier")?;
        let start = size_of::<FileId>() + usize::from(id.implementation_len.get());
        let end = start + usize::from(id.name_len);
        let name = bytes.get(start..end).ok_or_else(|| Error::corrupt("UDF: a name that is cut off"))?;
        let name = ondisk::name(name)?;
        Ok((Self { name, characteristics: id.characteristics, icb: id.icb.at }, end.next_multiple_of(4)))
    }
}

fn key(at: LbAddr) -> (u16, u32) {
    (at.partition.get(), at.block.get())
}
