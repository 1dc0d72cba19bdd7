//! Installation media: an ISO, read without a mount, or a folder with the same files.
//!
//! A medium is a folder of files on which image files have well-known places. One that has none of them is taken for what it is:
//! a folder of files that may become a volume. Names are looked up as Windows does, without regard to case, whatever the host's
//! own file system thinks of it.
//!
//! | looked for, in this order | on |
//! |---|---|
//! | `NanoServer\NanoServer.wim` | Windows Server 2016 |
//! | `sources\install.wim` | all |
//! | `sources\install.esd` | media from Microsoft's Media Creation Tool |
//! | `sources\install*.swm` | media made for FAT32, which holds no file of 4 GiB |
//!
//! On Windows Server 2016, `NanoServer\Packages` has the packages that can be put into Nano Server, and a folder for each language.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::edits;
use super::host::InputFile;
use super::source::{assemble, may_be_parts};
use crate::base::near::{did_you_mean, nearest};
use crate::base::{Name, ReadAt, upcase};
use crate::error::{Context, Error, Kind, Result};
use crate::format::wim::{PartId, Wim};
use crate::format::{iso9660, udf};
use crate::tree::Tree;
use crate::tree::medium::Files;

/// Where image files are. Names that are cut to 8.3 are those of ISO 9660's first level.
const IMAGES: [&str; 4] =
    [r"NanoServer\NanoServer.wim", r"NANOSERV\NANOSERV.WIM", r"sources\install.wim", r"sources\install.esd"];
/// Where the parts of a split one are, and what their names begin with.
const SPLIT: (&str, &str) = ("sources", "install");
/// Where packages are.
const PACKAGES: [&str; 2] = [r"NanoServer\Packages", r"NANOSERV\PACKAGES"];

/// A medium whose directories have been read.
pub struct Media {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: MediaKind,
    /// Its volume's label; none for a folder.
    pub label: Option<String>,
    files: Place,
}

/// What a medium is kept in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MediaKind {
    /// A UDF volume, or the UDF half of a bridge.
    Udf {
        /// Its revision.
        revision: String,
        /// Whether there is an ISO 9660 volume too, which is not read.
        bridge: bool,
    },
    /// An ISO 9660 volume.
    Iso9660 {
        /// Whether it has Joliet's names.
        joliet: bool,
    },
    /// A folder of the host.
    Folder,
}

enum Place {
    Iso(Files),
    Folder,
}

/// A file or folder on a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// The length of a file.
    pub bytes: u64,
}

/// A package for Nano Server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Where it is on the medium.
    pub file: String,
    /// Its language; none for the part that all languages share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its length.
    pub bytes: u64,
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udf { revision, bridge: false } => write!(f, "UDF {revision}"),
            Self::Udf { revision, bridge: true } => write!(f, "UDF {revision}, and ISO 9660"),
            Self::Iso9660 { joliet: true } => write!(f, "ISO 9660 with Joliet"),
            Self::Iso9660 { joliet: false } => write!(f, "ISO 9660"),
            Self::Folder => write!(f, "folder"),
        }
    }
}

/// Whether a file holds a volume of an optical medium.
pub fn is_iso(file: &dyn ReadAt) -> Result<bool> {
    Ok(udf::is_udf(file)? || iso9660::is_iso9660(file)?)
}

impl Media {
    /// Opens an ISO or a folder.
    ///
    /// # Errors
    /// [`Invalid`](Kind::Invalid) if it is a file of another kind; [`Corrupt`](Kind::Corrupt) if its root directory cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self { path: path.to_owned(), kind: MediaKind::Folder, label: None, files: Place::Folder });
        }
        let file: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
        let bridge = iso9660::is_iso9660(&file)?;
        let (kind, label, files) = if udf::is_udf(&file)? {
            let volume = udf::Volume::open(file).context(|| path.display())?;
            let kind = MediaKind::Udf { revision: volume.revision(), bridge };
            (kind, volume.label().to_string(), volume.read())
        } else if bridge {
            let volume = iso9660::Volume::open(file).context(|| path.display())?;
            (MediaKind::Iso9660 { joliet: volume.is_joliet() }, volume.label().to_string(), volume.read())
        } else {
            return Err(Error::invalid("neither an ISO nor a folder")
                .hint("an image file is named with --wim; a disc's drive, as a folder")
                .context(path.display()));
        };
        let files = Place::Iso(files.context(|| path.display())?);
        Ok(Self { path: path.to_owned(), kind, label: Some(label).filter(|label| !label.is_empty()), files })
    }

    /// What of the medium could not be read, in words.
    pub fn notes(&self) -> &[String] {
        match &self.files {
            Place::Iso(files) => &files.notes,
            Place::Folder => &[],
        }
    }

    /// The same, each with the medium's name.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.notes().iter().map(|note| format!("{}: {note}", self.path.display()))
    }

    /// A file, to be read at any position; `None` if there is none of that name.
    pub fn file(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>> {
        match &self.files {
            Place::Iso(files) => Ok(files.tree.find(path).and_then(|node| files.open(node))),
            Place::Folder => match self.host_path(path)?.filter(|found| found.is_file()) {
                Some(found) => Ok(Some(Arc::new(InputFile::open(&found)?))),
                None => Ok(None),
            },
        }
    }

    /// What is in a folder, in Windows' order of names; `None` if there is no such folder.
    pub fn list(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let mut entries = match &self.files {
            Place::Iso(files) => {
                let Some(node) = files.tree.find(folder).map(|id| files.tree.node(id)).filter(|n| n.is_directory())
                else {
                    return Ok(None);
                };
                let entry = |link: &crate::tree::Link| {
                    let node = files.tree.node(link.node);
                    let bytes = node.main().map_or(0, crate::tree::Content::len);
                    Entry { name: link.name.to_string(), is_folder: node.is_directory(), bytes }
                };
                node.children().iter().map(entry).collect::<Vec<_>>()
            }
            Place::Folder => match self.host_path(folder)?.filter(|found| found.is_dir()) {
                Some(found) => host_entries(&found)?,
                None => return Ok(None),
            },
        };
        entries.sort_by(|a, b| upcase::compare(Name::from(&*a.name).units(), Name::from(&*b.name).units()));
        Ok(Some(entries))
    }

    /// The image files at their well-known places, the one that is taken without more words first. Of a split one the first part.
    pub fn images(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for path in IMAGES {
            if self.file(path)?.is_some() {
                found.push(path.to_owned());
            }
        }
        let (folder, stem) = SPLIT;
        let parts = self.list(folder)?.unwrap_or_default().into_iter();
        let first = format!("{stem}.swm");
        let mut parts = parts.filter(|entry| !entry.is_folder && may_be_parts(&entry.name, &first));
        found.extend(parts.next().map(|part| format!("{folder}\\{}", part.name)));
        Ok(found)
    }

    /// Opens an image file, or the one that is taken where none is named; gives its path too. The other parts of a split one are
    /// looked for beside it.
    pub fn wim(&self, named: Option<&str>) -> Result<(String, Wim)> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => self.images()?.into_iter().next().ok_or_else(|| self.no_images())?,
        };
        let wim = self.open_wim(&path).context(|| self.name_of(&path))?;
        Ok((path, wim))
    }

    /// How a file of the medium is called in messages.
    pub fn name_of(&self, path: &str) -> String {
        format!("{}: {path}", self.path.display())
    }

    fn open_wim(&self, path: &str) -> Result<Wim> {
        let first = self.part(path)?.ok_or_else(|| self.no_such_file(path))?;
        let mut parts = vec![first];
        if parts[0].1.parts > 1 {
            let (folder, name) = path.rsplit_once(['\\', '/']).unwrap_or(("", path));
            for entry in self.list(folder)?.unwrap_or_default() {
                let same = same_name(&entry.name, name);
                if !same && !entry.is_folder && may_be_parts(&entry.name, name) {
                    parts.extend(self.part(&format!("{folder}\\{}", entry.name))?);
                }
            }
        }
        assemble(parts)
    }

    fn part(&self, path: &str) -> Result<Option<(Arc<dyn ReadAt>, PartId)>> {
        let Some(reader) = self.file(path)? else { return Ok(None) };
        let id = PartId::read(&reader).context(|| path)?;
        Ok(Some((reader, id)))
    }

    fn no_images(&self) -> Error {
        let missing = Error::new(Kind::NoSuchImage, "no image file on the medium")
            .allowed(r"NanoServer\NanoServer.wim, sources\install.wim, sources\install.esd, sources\install*.swm")
            .hint("--wim names one that lies elsewhere on it; `nanovhd ls` lists what there is");
        let missing = match self.notes().first() {
            Some(note) => missing.found(format_args!("a damaged medium: {note}")),
            None => missing,
        };
        missing.context(self.path.display())
    }

    fn no_such_file(&self, path: &str) -> Error {
        let (folder, name) = path.rsplit_once(['\\', '/']).unwrap_or(("", path));
        let names = self.list(folder).ok().flatten().unwrap_or_default().into_iter().map(|entry| entry.name);
        let near = did_you_mean(&nearest(name, names));
        Error::new(Kind::NoSuchImage, "no such file on the medium")
            .hint(near.unwrap_or_else(|| "`nanovhd ls` lists what there is".into()))
    }

    /// The packages for Nano Server: those of no language first, each kind in the order of names.
    pub fn packages(&self) -> Result<Vec<Package>> {
        for folder in PACKAGES {
            if let Some(found) = self.packages_in(folder)? {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// The cabinets in a folder: those that are directly in it first, then those in each folder of it, which is taken for that of a
    /// language; each kind in the order of names. `None` if there is no such folder.
    pub fn packages_in(&self, folder: &str) -> Result<Option<Vec<Package>>> {
        let Some(entries) = self.list(folder)? else { return Ok(None) };
        let is_package = |entry: &Entry| {
            let end = entry.name.get(entry.name.len().saturating_sub(4)..);
            !entry.is_folder && end.is_some_and(|end| end.eq_ignore_ascii_case(".cab"))
        };
        let package = |language: Option<&str>, entry: &Entry| {
            let parts = [Some(folder), language, Some(entry.name.as_str())].into_iter().flatten();
            let file = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\\");
            Package { file, language: language.map(str::to_owned), bytes: entry.bytes }
        };
        let mut found: Vec<Package> =
            entries.iter().filter(|entry| is_package(entry)).map(|entry| package(None, entry)).collect();
        for language in entries.iter().filter(|entry| entry.is_folder) {
            let inside = self.list(&join(folder, &language.name))?.unwrap_or_default();
            let inside = inside.iter().filter(|entry| is_package(entry));
            found.extend(inside.map(|entry| package(Some(&language.name), entry)));
        }
        Ok(Some(found))
    }

    /// The names of the files of the packages of no language.
    pub fn package_names(&self) -> Result<Vec<String>> {
        let neutral = self.packages()?.into_iter().filter(|package| package.language.is_none());
        Ok(neutral.filter_map(|package| package.file.rsplit('\\').next().map(str::to_owned)).collect())
    }

    /// All files as a tree, and how many things are missing in it.
    pub fn tree(&self) -> Result<(Tree, u64)> {
        match &self.files {
            Place::Iso(files) => Ok((files.tree.clone(), files.lost)),
            Place::Folder => Ok((edits::tree_of(&self.path)?, 0)),
        }
    }

    /// The file or folder of the host that a path leads to, without regard to case; one that has the very name is preferred.
    fn host_path(&self, path: &str) -> Result<Option<PathBuf>> {
        let mut here = self.path.clone();
        for part in path.split(['\\', '/']).filter(|part| !part.is_empty()) {
            if !here.is_dir() {
                return Ok(None);
            }
            let mut found = None;
            for entry in fs::read_dir(&here).map_err(|e| cannot_list(&here, e))? {
                let name = entry.map_err(|e| cannot_list(&here, e))?.file_name();
                let Some(text) = name.to_str() else { continue };
                if text == part {
                    found = Some(name);
                    break;
                }
                if same_name(text, part) {
                    found = Some(name);
                }
            }
            match found {
                Some(name) => here.push(name),
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }
}

fn host_entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| cannot_list(folder, e))? {
        let entry = entry.map_err(|e| cannot_list(folder, e))?;
        // Of what is no text, or leads nowhere, nothing can be wanted by its name.
        let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), fs::metadata(entry.path())) else { continue };
        let bytes = if metadata.is_file() { metadata.len() } else { 0 };
        entries.push(Entry { name, is_folder: metadata.is_dir(), bytes });
    }
    Ok(entries)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}\\{name}") }
}

fn same_name(a: &str, b: &str) -> bool {
    upcase::same(Name::from(a).units(), Name::from(b).units())
}

fn cannot_list(folder: &Path, error: std::io::Error) -> Error {
    Error::io("the folder cannot be listed", error).context(folder.display())
}
