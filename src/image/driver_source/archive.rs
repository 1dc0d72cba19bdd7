//! Archives as trees: what is beside and below INF files, unpacked into memory.
//!
//! Names stay within the tree that is made of them, so that one that leads upwards (`..\x`) can do no harm; it is left out all the same,
//! as is what Windows could not have as a name.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::choose::is_inf;
use crate::base::io::Cursor;
use crate::base::name::windows_fault;
use crate::base::{FileTime, ReadAt, upcase};
use crate::error::{Error, Kind, Result};
use crate::format::cab::Cabinet;
use crate::format::nsis::Installer;
use crate::tree::{Content, Link, Node, NodeId, Times, Tree, attributes};

/// The most that is unpacked.
const MAX_BYTES: u64 = 1 << 30;
/// The most files of an archive that are looked at.
const MAX_FILES: usize = 1 << 16;
/// The deepest folder.
const MAX_DEPTH: usize = 64;
/// Remarks that are made; the rest is counted.
const MAX_NOTES: usize = 20;

/// Folders and files by name, until they become a tree.
#[derive(Default)]
struct Folder {
    name: String,
    folders: BTreeMap<Vec<u16>, Folder>,
    files: BTreeMap<Vec<u16>, (String, FileTime, Vec<u8>)>,
}

/// A tree in the making, and what is to be said about it.
#[derive(Default)]
struct Builder {
    root: Folder,
    notes: Vec<String>,
    more_notes: usize,
    bytes: u64,
}

/// The files of a ZIP archive.
pub(super) fn zip(reader: &dyn ReadAt) -> Result<(Tree, Vec<String>)> {
    let mut archive = zip::ZipArchive::new(BufReader::new(Cursor::new(reader))).map_err(zip_error)?;
    check_count(archive.len())?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(zip_error)?;
        if !file.is_dir() && !file.is_symlink() {
            let name = file.name().map_err(zip_error)?.into_owned();
            entries.push((index, name, file.size()));
        }
    }
    let mut builder = Builder::default();
    let wanted = wanted(entries.iter().map(|(_, name, _)| name.as_str()));
    check_bytes(entries.iter().filter(|(_, name, _)| wanted(name)).map(|(.., len)| *len))?;
    for (index, name, len) in entries.iter().filter(|(_, name, _)| wanted(name)) {
        let file = archive.by_index(*index).map_err(|error| zip_error(error).context(name))?;
        let time = file.last_modified().and_then(zip_time);
        let mut bytes = Vec::new();
        let read = file.take(len.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Error::corrupt("a file of the archive cannot be unpacked").found(error).context(name))?;
        if bytes.len() as u64 != *len {
            return Err(Error::corrupt("a file of another length than the archive says")
                .found(bytes.len())
                .allowed(len)
                .context(name));
        }
        builder.add(name, time, bytes);
    }
    builder.finish()
}

/// The files of a cabinet.
pub(super) fn cabinet(reader: Arc<dyn ReadAt>) -> Result<(Tree, Vec<String>)> {
    let cabinet = Cabinet::open(reader)?;
    let mut builder = Builder::default();
    let wanted = wanted(cabinet.files().iter().map(|file| file.name.as_str()));
    check_bytes(cabinet.files().iter().filter(|file| wanted(&file.name)).map(|file| file.len))?;
    let mut open: Vec<u8> = Vec::new();
    cabinet.unpack(
        |file| wanted(&file.name),
        |file, piece| {
            open.extend_from_slice(piece);
            if open.len() as u64 == file.len {
                builder.add(&file.name, file.modified, std::mem::take(&mut open));
            }
            Ok(())
        },
    )?;
    builder.finish()
}

/// The files of an installer; `None` if it is a program of another kind.
pub(super) fn installer(reader: &dyn ReadAt) -> Result<Option<(Tree, Vec<String>)>> {
    let Some(installer) = Installer::open(reader)? else { return Ok(None) };
    check_count(installer.files().len())?;
    let mut builder = Builder::default();
    let wanted = wanted(installer.files().iter().map(|file| file.path.as_str()));
    for file in installer.files().iter().filter(|file| wanted(&file.path)) {
        let bytes = installer.read(file)?;
        check_bytes([builder.bytes, bytes.len() as u64].into_iter())?;
        builder.add_again(&file.path, file.modified, bytes);
    }
    builder.finish().map(Some)
}

fn zip_error(error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::UnsupportedArchive(what) => Error::unsupported("ZIP archive").found(what),
        zip::result::ZipError::Io(error) => Error::corrupt("ZIP archive").found(error),
        other => Error::corrupt("ZIP archive").found(other),
    }
}

fn zip_time(time: zip::DateTime) -> Option<FileTime> {
    let date = (i16::try_from(time.year()).ok()?, i8::try_from(time.month()).ok()?, i8::try_from(time.day()).ok()?);
    let clock = (i8::try_from(time.hour()).ok()?, i8::try_from(time.minute()).ok()?, i8::try_from(time.second()).ok()?);
    FileTime::from_civil(date, clock)
}

fn check_count(files: usize) -> Result<()> {
    if files <= MAX_FILES {
        return Ok(());
    }
    Err(too_much("files in the archive", files, MAX_FILES))
}

/// The limit on what is unpacked, before anything is.
fn check_bytes(lengths: impl Iterator<Item = u64>) -> Result<()> {
    let bytes = lengths.fold(0u64, u64::saturating_add);
    if bytes <= MAX_BYTES { Ok(()) } else { Err(too_much("bytes that the archive unpacks to", bytes, MAX_BYTES)) }
}

fn too_much(what: &str, found: impl std::fmt::Display, limit: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unsupported, what)
        .found(found)
        .allowed(format_args!("at most {limit}"))
        .hint("unpack it, and name the folder with the drivers that are wanted")
}

/// Picks what is in or below a folder that has an INF file.
fn wanted<'n>(names: impl Iterator<Item = &'n str>) -> impl Fn(&str) -> bool {
    let folders: HashSet<String> =
        names.filter(|name| is_inf(name)).map(|name| folder_of(&folded(name)).to_owned()).collect();
    move |name| {
        let name = folded(name);
        let mut folder = folder_of(&name);
        loop {
            if folders.contains(folder) {
                return true;
            }
            if folder.is_empty() {
                return false;
            }
            folder = folder_of(folder);
        }
    }
}

fn folded(name: &str) -> String {
    name.replace('/', "\\").trim_start_matches('\\').to_lowercase()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('\\').map_or("", |(folder, _)| folder)
}

impl Builder {
    /// Puts a file in, unless its name is none. One of the same name goes, with a note.
    fn add(&mut self, path: &str, time: Option<FileTime>, bytes: Vec<u8>) {
        if self.add_again(path, time, bytes) {
            self.note(format!("{path:?} is in the archive twice: the last one counts"));
        }
    }

    /// The same where it is usual that a file comes again; tells whether one did.
    fn add_again(&mut self, path: &str, time: Option<FileTime>, bytes: Vec<u8>) -> bool {
        let parts: Vec<&str> = path.split(['\\', '/']).filter(|part| !part.is_empty() && *part != ".").collect();
        let fault = parts.iter().find_map(|part| windows_fault(part));
        let Some((name, folders)) = parts.split_last().filter(|_| fault.is_none() && parts.len() <= MAX_DEPTH) else {
            let why = fault.unwrap_or("a path that is too deep or empty");
            self.note(format!("{path:?} is left out: its name is not one that Windows takes ({why})"));
            return false;
        };
        let mut folder = &mut self.root;
        for part in folders {
            folder = folder.folders.entry(key(part)).or_default();
            if folder.name.is_empty() {
                folder.name = (*part).to_owned();
            }
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        folder.files.insert(key(name), ((*name).to_owned(), time.unwrap_or_default(), bytes)).is_some()
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES { self.notes.push(note) } else { self.more_notes += 1 }
    }

    fn finish(mut self) -> Result<(Tree, Vec<String>)> {
        if self.more_notes > 0 {
            self.notes.push(format!("{} more such remarks", self.more_notes));
        }
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let root = tree.root();
        self.root.put(&mut tree, root)?;
        Ok((tree, self.notes))
    }
}

impl Folder {
    /// What is in it, into a directory. A file that has a folder's name goes before it.
    fn put(self, tree: &mut Tree, directory: NodeId) -> Result<()> {
        let mut links = Vec::new();
        for (key, folder) in self.folders {
            if self.files.contains_key(&key) {
                return Err(Error::corrupt("a file and a folder of one name").found(&folder.name));
            }
            let node = tree.add_node(Node::directory(0, Times::default()))?;
            links.push(Link { name: folder.name.as_str().into(), short: None, node });
            folder.put(tree, node)?;
        }
        for (name, time, bytes) in self.files.into_values() {
            let node = tree.add_node(Node::file(attributes::ARCHIVE, Times::all(time), Content::from(bytes)))?;
            links.push(Link { name: name.as_str().into(), short: None, node });
        }
        tree.set_children(directory, links)
    }
}

/// A name as Windows compares it.
fn key(name: &str) -> Vec<u16> {
    name.encode_utf16().map(upcase::upcase).collect()
}
