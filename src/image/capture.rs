//! The volume of an image as a WIM, as `dism /Capture-Image` makes it, from an image that nobody has to mount.
//!
//! The XML says of the Windows what its own hives say. What DISM leaves out is left out here ([`LEFT_OUT`], the default list of its
//! configuration file, and the recycle bin), unless everything is asked for.
//!
//! Contents are read twice, for their hashes and to be compressed, and never held in memory: see [`wim::write`] for its limits.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::host::{self, OutputStream};
use super::seed::Seed;
use super::source::{Choice, Input, refuse_lost};
use super::{Control, Source, build};
use crate::base::{FileTime, Name};
use crate::error::{Context, Result};
use crate::format::wim::{self, Compression, ImageInfo};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, Content, Tree};

/// Names in the root that a capture leaves out: what belongs to the running system or to its machine.
pub const LEFT_OUT: [&str; 8] = [
    "$ntfs.log",
    "hiberfil.sys",
    "pagefile.sys",
    "swapfile.sys",
    "System Volume Information",
    "RECYCLER",
    "$Recycle.Bin",
    r"Windows\CSC",
];

/// Bytes per chunk: what all readers of WIMs know.
const CHUNK: u32 = 1 << 15;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub image: PathBuf,
    /// The WIM to make.
    pub output: PathBuf,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// The partition of the volume; `None` finds the one of Windows.
    pub partition: Option<u32>,
    /// None, XPRESS or LZX.
    pub compression: Compression,
    /// The image's name in the WIM; else the volume's label, or the product's name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Whether nothing is left out.
    pub all: bool,
    /// Whether to go on without what cannot be read of the volume.
    pub accept_dirty: bool,
    /// When the WIM's image was made; else the newest modification time in it.
    pub timestamp: Option<FileTime>,
}

/// A capture that is ready to be written.
pub struct CapturePlan<'r> {
    request: &'r Request,
    tree: Tree,
    info: ImageInfo,
    guid: Uuid,
    summary: Summary,
}

/// What a capture comes to, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The image that is captured.
    pub image: String,
    /// The WIM.
    pub output: String,
    /// What the WIM's XML says, the counts that only writing gives apart.
    pub info: ImageInfo,
    /// Files and directories.
    pub names: u64,
    /// Bytes in all streams, those of hard links counted once.
    pub bytes: u64,
    /// What was left out.
    pub left_out: Vec<String>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

impl<'r> CapturePlan<'r> {
    /// Reads the image.
    pub fn new(request: &'r Request) -> Result<Self> {
        host::check_target(&request.output, request.force)?;
        let choice = Choice { image: None, partition: request.partition };
        let input = Input::open(&request.image, None)?;
        if let Input::Disk(disk) = &input {
            disk.refuse_output(&request.output)?;
        }
        let source = input.source(&request.image.display().to_string(), choice)?;
        let Source { mut tree, info, name, guid, warnings, lost, packages: _ } = source;
        if !request.accept_dirty {
            refuse_lost(lost, &warnings).context(|| &name)?;
        }
        let left_out = if request.all { Vec::new() } else { leave_out(&mut tree)? };
        let now = request.timestamp.unwrap_or_else(|| build::newest(&tree));
        let stem = || request.image.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let label = info.name.clone().or_else(|| info.product_name.clone()).or_else(stem);
        let info = ImageInfo {
            name: request.name.clone().or(label),
            description: request.description.clone(),
            created: Some(now),
            modified: Some(now),
            ..info
        };
        let guid = guid_of(guid, &info, &tree);
        let summary = Summary {
            image: name,
            output: request.output.display().to_string(),
            info: info.clone(),
            names: tree.walk().count() as u64,
            bytes: tree.contents().map(|(_, content)| content.len()).fold(0, u64::saturating_add),
            left_out,
            warnings,
        };
        Ok(Self { request, tree, info, guid, summary })
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes the WIM: under a temporary name, and under its own once it is complete. Gives its length.
    pub fn run(mut self, threads: NonZeroUsize, control: &Arc<Control>) -> Result<u64> {
        control.expect(self.work());
        let counted = Arc::clone(control);
        self.tree.map_stores(|inner| Arc::new(Counted { inner, control: Arc::clone(&counted) }));
        let options = wim::Options {
            compression: self.request.compression,
            chunk_size: CHUNK,
            guid: self.guid,
            boot_index: None,
            integrity: true,
            threads,
        };
        let mut output = OutputStream::create(&self.request.output, self.request.force, control)?;
        let written = wim::write(&mut output, &[(&self.tree, self.info)], &options);
        control.check()?; // what stopped the writer, rather than that it was stopped
        let written = written.context(|| self.request.output.display())?;
        drop(self.tree);
        output.keep()?;
        Ok(written.bytes)
    }

    /// Bytes that will go by: contents of stores twice where their hashes are not known.
    fn work(&self) -> u64 {
        let passes = |content: &Content| match content {
            Content::Bytes(_) => 0,
            Content::Blob { store, blob, len } => {
                let known = self.tree.stores()[store.index()].sha1(*blob).is_some();
                if known { *len } else { len.saturating_mul(2) }
            }
        };
        self.tree.contents().map(|(_, content)| passes(content)).fold(0, u64::saturating_add)
    }
}

/// Takes out what a capture leaves out, and tells what that was.
fn leave_out(tree: &mut Tree) -> Result<Vec<String>> {
    let mut left_out = Vec::new();
    for path in LEFT_OUT {
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let Some(directory) = tree.find(folder) else { continue };
        let units = Name::from(name);
        if tree.child(directory, units.units()).is_some() {
            tree.remove_tree(directory, units.units())?;
            left_out.push(format!("\\{path}"));
        }
    }
    Ok(left_out)
}

/// An id that follows from what is captured: the same image in the same state gives the same WIM.
fn guid_of(source: Uuid, info: &ImageInfo, tree: &Tree) -> Uuid {
    let files: Vec<[u8; 20]> = tree
        .nodes()
        .iter()
        .filter(|node| node.links() > 0)
        .map(|node| {
            let mut facts = [0; 20];
            facts[..8].copy_from_slice(&node.times.modified.0.to_le_bytes());
            facts[8..16].copy_from_slice(&node.main().map_or(0, Content::len).to_le_bytes());
            facts[16..].copy_from_slice(&node.attributes.to_le_bytes());
            facts
        })
        .collect();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (name, description) = (text(&info.name), text(&info.description));
    let fixed = [&b"capture"[..], source.as_bytes(), name.as_bytes(), description.as_bytes()];
    Seed::from_parts(fixed.into_iter().chain(files.iter().map(<[u8; 20]>::as_slice))).guid("WIM")
}

/// A store that tells how far its reading is, and stops when it is asked to.
struct Counted {
    inner: Arc<dyn BlobStore>,
    control: Arc<Control>,
}

struct CountedSink<'a> {
    inner: &'a dyn BlobSink,
    control: &'a Control,
}

impl BlobSink for CountedSink<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        self.control.check()?;
        self.inner.write(blob, at, data)?;
        self.control.advance(data.len() as u64);
        Ok(())
    }
}

impl BlobStore for Counted {
    fn position(&self, blob: BlobId) -> u64 {
        self.inner.position(blob)
    }

    fn sha1(&self, blob: BlobId) -> Option<[u8; 20]> {
        self.inner.sha1(blob)
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        self.inner.stream(wanted, threads, &CountedSink { inner: sink, control: &self.control })
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        self.inner.read(blob)
    }
}
