//! Archives as trees: what is beside and below INF files, unpacked into memory.
//!
//! Names are taken as [`paths`](crate::tree::paths) takes them.

use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::choose::is_inf;
use crate::base::io::Cursor;
use crate::base::{FileTime, ReadAt};
use crate::error::{Error, Kind, Result};
use crate::format::cab::Cabinet;
use crate::format::nsis::Installer;
use crate::tree::Tree;
use crate::tree::paths::Builder;

/// The most that is unpacked.
const MAX_BYTES: u64 = 1 << 30;
/// The most files of an archive that are looked at.
const MAX_FILES: usize = 1 << 16;

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
        builder.add(name, time, bytes.into());
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
                builder.add(&file.name, file.modified, std::mem::take(&mut open).into());
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
    let mut unpacked = 0u64;
    for file in installer.files().iter().filter(|file| wanted(&file.path)) {
        let bytes = installer.read(file)?;
        unpacked = unpacked.saturating_add(bytes.len() as u64);
        check_bytes([unpacked].into_iter())?;
        builder.add_again(&file.path, file.modified, bytes.into());
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
