//! The files of one cabinet with packages, or of a folder with what was in one.
//!
//! ```text
//! update.mum, update.cat                   the package that it is, and who has signed it
//! <package id>.mum, <package id>.cat       the same once more, and the packages nested in it
//! <keyform>.manifest                       components and deployments
//! <keyform>\<file>                         payload
//! $filehashes$.dat                         hashes of all of these, as they are stored
//! ```
//!
//! Names are compared without regard to case, and have `\` or `/` in them: in real cabinets they differ in both from what manifests say.
//!
//! # Limits
//! 64 MiB for a document, 512 MiB for all of them; as much for payload that is packed in itself, which is unpacked to 1 GiB in all at most. Other
//! payload is hashed as it comes by and not kept.

mod gather;
mod hashes;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use gather::{Gathered, Wanted};

use crate::error::{Error, Kind, Result};
use crate::tree::{Content, Tree};

/// The list of hashes that some cabinets have.
const HASHES: &str = "$filehashes$.dat";

/// All that comes in one file: an `update.mum` with its packages, manifests and payload.
#[derive(Clone)]
pub struct Bundle {
    /// Where it is from, for messages: `Microsoft-NanoServer-Containers-Package.cab`.
    pub origin: String,
    /// The files, unread.
    pub tree: Arc<Tree>,
    /// Documents at its top, by their names in lower case, as they are stored (a manifest may be packed): `.mum`, `.cat`, `.manifest`.
    pub documents: BTreeMap<String, Arc<[u8]>>,
    /// All other files but the list of hashes, by their paths in lower case, with `\`.
    pub payload: BTreeMap<String, File>,
    /// Why there is no payload, where that is nothing to be read here: differences to files that only a running Windows finds (express, PSF).
    pub unread: Option<String>,
}

/// A file of the payload.
#[derive(Debug, Clone)]
pub struct File {
    /// Its contents, in the bundle's tree. What is packed in itself (DCS) is unpacked.
    pub content: Content,
    /// The SHA-1 of its contents.
    pub sha1: [u8; 20],
    /// The SHA-256 of its contents.
    pub sha256: [u8; 32],
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({:?})", self.origin)
    }
}

/// A file on its way into the bundle.
struct Entry {
    /// In lower case.
    path: String,
    content: Content,
}

impl Entry {
    fn is_document(&self) -> bool {
        let is_one = |extension: &str| self.path.strip_suffix(extension).is_some_and(|stem| !stem.is_empty());
        !self.path.contains('\\') && [".mum", ".cat", ".manifest"].into_iter().any(is_one)
    }

    fn is_kept(&self) -> bool {
        self.is_document() || self.path == HASHES
    }
}

impl Bundle {
    /// Reads all files of a tree, once, in the order in which they are stored. Hashes that the bundle itself lists (`$filehashes$.dat`) are checked
    /// on the way; whether it is what was signed is for [`verify`](super::verify()).
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) if there is no package in it, [`Unsupported`](crate::error::Kind::Unsupported) for documents beyond
    /// the limits, [`Corrupt`](crate::error::Kind::Corrupt) for two files of one name and for one that does not have its hash; each names the file.
    pub fn read(origin: String, tree: Arc<Tree>) -> Result<Self> {
        Self::read_tree(&origin, &tree).map_err(|error| error.context(&origin)).map(|files| files.bundle(origin, tree))
    }

    fn read_tree(origin: &str, tree: &Tree) -> Result<Files> {
        let mut entries = entries(tree);
        if !entries.iter().any(|entry| entry.is_document() && entry.path.ends_with(".mum")) {
            return Err(no_package(origin, &entries));
        }
        let wanted = |entry: &Entry| Wanted {
            path: entry.path.clone(),
            content: entry.content.clone(),
            is_kept: entry.is_kept(),
        };
        let express = entries.iter().find(|entry| is_express(&entry.path)).map(|entry| express_error(&entry.path));
        let whole = match express {
            Some(express) => Err(express),
            None => gather::gather(tree, entries.iter().map(wanted).collect()),
        };
        let mut files = Files::default();
        let gathered = match whole {
            // The documents still say what it is, and who has signed it.
            Err(error) if error.kind() == Kind::Unsupported => {
                files.unread = Some(error.to_string());
                entries.retain(Entry::is_kept);
                gather::gather(tree, entries.iter().map(wanted).collect())?
            }
            gathered => gathered?,
        };
        let mut stored = BTreeMap::new();
        for (entry, gathered) in entries.into_iter().zip(gathered) {
            if stored.contains_key(&entry.path) {
                return Err(Error::corrupt("two files of one name").found(&entry.path));
            }
            stored.insert(entry.path.clone(), gathered.stored.clone());
            files.add(entry, gathered);
        }
        if let Some(list) = &files.hashes {
            hashes::check(list, &stored, files.unread.is_none()).map_err(|error| error.context(HASHES))?;
        }
        Ok(files)
    }
}

#[derive(Default)]
struct Files {
    documents: BTreeMap<String, Arc<[u8]>>,
    payload: BTreeMap<String, File>,
    hashes: Option<Arc<[u8]>>,
    unread: Option<String>,
}

impl Files {
    fn add(&mut self, entry: Entry, gathered: Gathered) {
        let is_kept = entry.is_kept();
        let Gathered { stored, bytes, unpacked } = gathered;
        match bytes {
            Some(bytes) if entry.path == HASHES => self.hashes = Some(bytes),
            Some(bytes) if is_kept => drop(self.documents.insert(entry.path, bytes)),
            bytes => {
                let content = bytes.map_or(entry.content, Content::Bytes);
                let digest = unpacked.unwrap_or(stored);
                self.payload.insert(entry.path, File { content, sha1: digest.sha1, sha256: digest.sha256 });
            }
        }
    }

    fn bundle(self, origin: String, tree: Arc<Tree>) -> Bundle {
        Bundle { origin, tree, documents: self.documents, payload: self.payload, unread: self.unread }
    }
}

/// All files, by their paths.
fn entries(tree: &Tree) -> Vec<Entry> {
    let mut entries = Vec::new();
    tree.visit(|path, link| {
        let node = tree.node(link.node);
        if !node.is_directory() {
            let path = path.trim_start_matches('\\').replace('/', "\\").to_lowercase();
            entries.push(Entry { path, content: node.main().cloned().unwrap_or_else(Content::empty) });
        }
        ControlFlow::Continue(())
    });
    entries
}

/// Whether a file says that the payload is not whole: differences in numbered files with their list, or in one large file beside the cabinet.
fn is_express(path: &str) -> bool {
    path == "_manifest_.cix.xml" || path.ends_with(".psf") || path.ends_with(".psf.cix.xml")
}

/// What is said of payload that is differences.
pub(super) fn express_error(found: &str) -> Error {
    Error::unsupported("a package whose files are differences to those of a running Windows (express, PSF)")
        .found(found)
        .hint("--packages first-boot has the image itself install it; what needs no differences (the package of a feature, not of an update) is put in here")
}

/// What it is instead, if that can be told.
fn no_package(origin: &str, entries: &[Entry]) -> Error {
    let first =
        |extension: &str| entries.iter().find(|entry| entry.path.ends_with(extension)).map(|entry| entry.path.as_str());
    let error = Error::invalid("there is no package in it: no update.mum");
    if let Some(inf) = first(".inf") {
        return error.found(inf).hint(format_args!("this has drivers: --driver {origin:?}"));
    }
    match first(".msu").or_else(|| first(".cab")) {
        Some(cabinet) => error.found(cabinet).hint("it has other files with packages in them: name those"),
        None => error,
    }
}

#[cfg(test)]
pub(super) mod tests;
