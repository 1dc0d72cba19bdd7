//! One package as it lies there.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::base::ReadAt;
use crate::error::{Context, Error, Result};
use crate::format::cab::{self, Cabinet};
use crate::image::driver_source::folder;
use crate::image::lookup::{self, Found};
use crate::tree::{Content, Tree};

/// How much of each end of a cabinet tells it from others: the directory, and a signature.
const END: u64 = 1 << 16;
/// Documents are some KiB; this is far beyond.
const MAX_DOCUMENT: u64 = 16 << 20;

/// A cabinet, or a folder with what was in one.
#[derive(Clone)]
pub struct Part {
    /// Where it is, for messages.
    pub origin: String,
    /// The name of its file or folder.
    pub name: String,
    /// The language that it is for, by the folder that it is in; none if by that it is for all.
    pub language: Option<String>,
    /// Its length; of a folder that of all its files.
    pub bytes: u64,
    place: Place,
    fingerprint: [u8; 32],
}

#[derive(Clone)]
enum Place {
    Cabinet(Arc<dyn ReadAt>),
    Folder(Arc<Tree>),
}

/// A part as it is, to be copied.
pub enum Raw<'p> {
    /// A cabinet's bytes.
    File(&'p Arc<dyn ReadAt>),
    /// An unpacked package's files.
    Folder(&'p Arc<Tree>),
}

impl Part {
    /// A cabinet.
    pub(super) fn cabinet(origin: String, name: &str, language: Option<&str>, file: Arc<dyn ReadAt>) -> Result<Self> {
        let bytes = file.len();
        let mut hash = Sha256::new();
        hash.update(name.to_lowercase());
        hash.update(bytes.to_le_bytes());
        for range in [0..bytes.min(END), bytes.saturating_sub(END)..bytes] {
            let mut end = vec![0; (range.end - range.start) as usize];
            file.read_at(range.start, &mut end).context(|| origin.clone())?;
            hash.update(&end);
        }
        let language = language.map(str::to_owned);
        let fingerprint = hash.finalize().into();
        Ok(Self { origin, name: name.to_owned(), language, bytes, place: Place::Cabinet(file), fingerprint })
    }

    /// An unpacked package in a folder of the host, and what of it was left out.
    pub(super) fn folder(path: &Path) -> Result<(Self, Vec<String>)> {
        let (tree, notes) = folder::all(path)?;
        let mut hash = Sha256::new();
        let mut bytes = 0u64;
        lookup::walk(&tree, &Found::root(&tree), |path, link| {
            let Some(content) = tree.node(link.node).main() else { return Ok::<(), Error>(()) };
            bytes = bytes.saturating_add(content.len());
            hash.update(path.to_lowercase());
            hash.update(content.len().to_le_bytes());
            let is_document = ["cat", "mum"].iter().any(|end| has_extension(path, end));
            if is_document && content.len() <= MAX_DOCUMENT {
                hash.update(tree.read(content).context(|| path.to_owned())?);
            }
            Ok(())
        })?;
        let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let part = Self {
            origin: path.display().to_string(),
            name: name.unwrap_or_else(|| "package".into()),
            language: None,
            bytes,
            place: Place::Folder(Arc::new(tree)),
            fingerprint: hash.finalize().into(),
        };
        Ok((part, notes))
    }

    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Its files, unread, and what of them was left out. Nothing is unpacked for that.
    ///
    /// # Errors
    /// Those of [`Cabinet::open`].
    pub fn files(&self) -> Result<(Arc<Tree>, Vec<String>)> {
        match &self.place {
            Place::Folder(tree) => Ok((Arc::clone(tree), Vec::new())),
            Place::Cabinet(file) => {
                if !cab::is_cabinet(file)? {
                    return Err(Error::corrupt("not a cabinet, although its name says so").context(&self.origin));
                }
                let opened = Cabinet::open(Arc::clone(file)).and_then(|cabinet| cabinet.into_tree(|_| true));
                let (tree, notes) = opened.context(|| self.origin.clone())?;
                Ok((Arc::new(tree), notes))
            }
        }
    }

    /// How much its files hold.
    pub fn unpacked_len(&self) -> Result<u64> {
        let (tree, _) = self.files()?;
        Ok(tree.contents().map(|(_, content)| Content::len(content)).fold(0, u64::saturating_add))
    }

    /// As it is, to be copied.
    pub fn raw(&self) -> Raw<'_> {
        match &self.place {
            Place::Cabinet(file) => Raw::File(file),
            Place::Folder(tree) => Raw::Folder(tree),
        }
    }
}

/// Whether a path ends in a dot and that.
pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case(extension))
}
