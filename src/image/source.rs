//! Where the files of an image come from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::base::ReadAt;
use crate::error::{Context, Error, Result};
use crate::format::wim::{ImageInfo, PartId, Wim};
use crate::image::host::InputFile;
use crate::tree::Tree;

/// One image of a source, chosen, with its files still unread.
pub struct Source {
    /// Its files.
    pub tree: Tree,
    /// What the source says about it.
    pub info: ImageInfo,
    /// The source as the user knows it: the path of a file.
    pub name: String,
    /// What tells this source from every other.
    pub guid: Uuid,
    /// What is odd about the source, but no obstacle.
    pub warnings: Vec<String>,
}

impl Source {
    /// The image that `selector` chooses: an index, or a name or edition. See [`Wim::select`]. Errors speak of the WIM by `name`.
    pub fn of_wim(wim: &Wim, name: &str, selector: &str) -> Result<Self> {
        let index = wim.select(selector).context(|| name)?;
        let volume = wim.tree(index).context(|| name)?;
        let info = wim.images().iter().find(|info| info.index == index).cloned().unwrap_or_default();
        let warnings = wim.warnings().iter().cloned().chain(volume.notes.lines()).collect();
        Ok(Self { tree: volume.tree, info, name: name.into(), guid: wim.guid(), warnings })
    }
}

/// Opens a WIM, ESD or the parts of a split WIM.
///
/// `path` may be any part of a split WIM, whose other parts are looked for beside it, or a pattern (`install*.swm`);
/// `parts` is a further pattern for parts that lie elsewhere.
pub fn open_wim(path: &Path, parts: Option<&str>) -> Result<Wim> {
    if path == Path::new("-") {
        return Err(Error::invalid(
            "a WIM cannot be read from standard input: its parts are needed in another order than they are stored",
        )
        .hint("save it to a file first"));
    }
    let mut files = match path.to_str().filter(|text| text.contains(['*', '?']) && !path.exists()) {
        Some(pattern) => matching(pattern)?,
        None => vec![path.to_owned()],
    };
    let first = open(&files[0])?;
    if first.1.parts > 1 && files.len() == 1 {
        files.extend(siblings(path)?);
    }
    if let Some(pattern) = parts {
        files.extend(matching(pattern)?);
    }
    let mut seen = vec![same_file(&files[0])];
    let mut found = vec![first];
    for file in &files[1..] {
        let part = open(file)?;
        if part.1.guid != found[0].1.guid {
            tracing::info!("{} belongs to another WIM", file.display());
        } else if !seen.contains(&same_file(file)) {
            seen.push(same_file(file));
            found.push(part);
        }
    }
    found.sort_by_key(|(_, id)| id.part);
    Wim::open(found.into_iter().map(|(reader, _)| reader).collect()).context(|| path.display())
}

fn open(path: &Path) -> Result<(Arc<dyn ReadAt>, PartId)> {
    let reader: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
    let id = PartId::read(&reader).context(|| path.display())?;
    Ok((reader, id))
}

/// A path by which to tell whether two names are of one file.
fn same_file(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The files that a pattern names, sorted.
fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let invalid =
        |e: &dyn std::fmt::Display| Error::invalid("file name pattern").found(format_args!("'{pattern}'")).allowed(e);
    let paths = glob::glob(pattern).map_err(|e| invalid(&e))?;
    let found: Vec<PathBuf> = paths.collect::<std::result::Result<_, _>>().map_err(|e| invalid(&e))?;
    if found.is_empty() {
        return Err(Error::invalid("no file matches the pattern").found(format_args!("'{pattern}'")));
    }
    Ok(found)
}

/// What may be the other parts of a split WIM: files beside it with its extension, and its name apart from the number
/// (`install.swm`, `install2.swm`, …).
fn siblings(path: &Path) -> Result<Vec<PathBuf>> {
    let stem = |path: &Path| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().trim_end_matches(|c: char| c.is_ascii_digit()).to_lowercase())
    };
    let extension = |path: &Path| path.extension().map(OsStr::to_ascii_lowercase);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e| Error::io("cannot look for the other parts of the split WIM", e).context(folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let candidate = entry.map_err(failed)?.path();
        let same = candidate.file_name() == path.file_name();
        if !same && stem(&candidate) == stem(path) && extension(&candidate) == extension(path) && candidate.is_file() {
            found.push(candidate);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn finds_the_parts_beside_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["install.swm", "install2.SWM", "install10.swm", "other.swm", "install.wim", "installer.swm"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |found: Vec<PathBuf>| {
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(siblings(&folder.path().join("install.swm")).unwrap()), ["install10.swm", "install2.SWM"]);
        assert_eq!(names(siblings(&folder.path().join("install10.swm")).unwrap()), ["install.swm", "install2.SWM"]);
        let pattern = folder.path().join("install*.swm");
        assert_eq!(matching(pattern.to_str().unwrap()).unwrap().len(), 3);
    }

    #[test]
    fn refuses_what_cannot_be_opened() {
        assert_eq!(open_wim(Path::new("-"), None).err().unwrap().kind(), Kind::Invalid);
        assert_eq!(open_wim(Path::new("no/such/file.wim"), None).err().unwrap().kind(), Kind::Io);
        assert_eq!(open_wim(Path::new("no/such/*.swm"), None).err().unwrap().kind(), Kind::Invalid);
    }
}
