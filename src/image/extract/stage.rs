//! Contents, written into a folder of their own until all of them are whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::plan::{Item, Plan};
use crate::base::bytes;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Control;
use crate::image::host::{Guard, positioned};
use crate::tree::{BlobId, BlobSink, Content, StoreId};

/// The output folder, and the temporary one in it.
pub(super) struct Folder<'c> {
    staging: Option<TempDir>,
    output: PathBuf,
    /// Whether the output folder was made here, so that it goes if nothing comes of it.
    made: bool,
    _guard: Guard<'c>, // dropped after the folder
}

impl<'c> Folder<'c> {
    pub(super) fn make(output: &Path, control: &'c Control) -> Result<Self> {
        let bad = |what: &str, e: io::Error| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::io(what, e),
            _ => Error::new(Kind::BadOutput, format_args!("{what}: {e}")),
        };
        let guard = Guard::new(control);
        let made = match fs::metadata(output) {
            Ok(metadata) if metadata.is_dir() => false,
            Ok(_) => {
                return Err(Error::new(Kind::BadOutput, "the output is a file, and not a folder")
                    .hint("name a folder; `nanovhd cat` writes a single file to standard output")
                    .context(output.display()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(output)
                    .map_err(|e| bad("the output folder cannot be made", e))
                    .context(|| output.display())?;
                true
            }
            Err(e) => return Err(bad("the output folder cannot be looked at", e)).context(|| output.display()),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".extract.").suffix(".nanovhd-partial");
        let staging = fs::canonicalize(output).and_then(|whole| Ok((builder.tempdir_in(&whole)?, whole)));
        let (staging, whole) =
            staging.map_err(|e| bad("the output folder is not writable", e)).context(|| output.display())?;
        Ok(Self { staging: Some(staging), output: whole, made, _guard: guard })
    }

    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Where the content of an item waits.
    pub(super) fn staged(&self, index: usize) -> PathBuf {
        self.staging.as_ref().map_or(&*self.output, TempDir::path).join(format!("{index:x}"))
    }

    /// Whether names that differ in case only are one to the host's file system.
    pub(super) fn ignores_case(&self) -> Result<bool> {
        let probe = self.staged(0).with_file_name("probe");
        let failed = |e| Error::io("cannot be written", e).context(self.output.display());
        fs::write(&probe, "").map_err(failed)?;
        Ok(probe.with_file_name("PROBE").exists())
    }

    /// Removes the temporary folder: everything in it has found its place.
    pub(super) fn done(mut self) -> Result<()> {
        self.made = false;
        match self.staging.take().map(TempDir::close) {
            Some(Err(e)) => Err(Error::io("the temporary folder cannot be removed", e).context(self.output.display())),
            _ => Ok(()),
        }
    }

    /// Says that the output folder has something in it, and stays whatever happens.
    pub(super) fn keep_output(&mut self) {
        self.made = false;
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        drop(self.staging.take());
        if self.made {
            let _ = fs::remove_dir(&self.output); // it stays if somebody else has put something into it
        }
    }
}

/// Writes every content once: of files that share one, for the first of them.
pub(super) fn write(plan: &Plan<'_>, folder: &Folder<'_>, threads: NonZeroUsize, control: &Control) -> Result<()> {
    let mut wanted: HashMap<StoreId, HashMap<BlobId, Wanted>> = HashMap::new();
    for (index, item) in plan.items.iter().enumerate() {
        match plan.content(item) {
            Some(Content::Bytes(bytes)) => {
                control.check()?;
                let path = folder.staged(index);
                fs::write(&path, bytes)
                    .map_err(|e| Error::io("cannot be written", e))
                    .context(|| place(plan, folder, item))?;
                control.advance(bytes.len() as u64);
            }
            Some(Content::Blob { store, blob, len }) if *len > 0 => {
                let sparse = is_sparse(plan, item);
                wanted.entry(*store).or_default().entry(*blob).or_insert(Wanted { index, len: *len, sparse });
            }
            _ => {}
        }
    }
    for store in plan.tree.store_ids() {
        let Some(wanted) = wanted.remove(&store) else { continue };
        let ids: Vec<BlobId> = wanted.keys().copied().collect();
        let stage = Stage { plan, folder, control, wanted, open: Mutex::default() };
        let streamed = plan.tree.stores()[store.index()].stream(&ids, threads, &stage);
        streamed.map_err(|failure| plan.tree.blame(store, failure))?;
    }
    Ok(())
}

fn is_sparse(plan: &Plan<'_>, item: &Item) -> bool {
    plan.tree.node(item.node).streams.iter().any(|stream| stream.sparse)
}

fn place(plan: &Plan<'_>, folder: &Folder<'_>, item: &Item) -> String {
    plan.path(folder.output(), item).display().to_string()
}

struct Wanted {
    /// The item for which it is written.
    index: usize,
    len: u64,
    sparse: bool,
}

/// Puts pieces where they belong, in any order.
struct Stage<'a, 't> {
    plan: &'a Plan<'t>,
    folder: &'a Folder<'a>,
    control: &'a Control,
    wanted: HashMap<BlobId, Wanted>,
    /// The files that have some of their bytes.
    open: Mutex<HashMap<BlobId, Arc<Growing>>>,
}

struct Growing {
    file: File,
    missing: AtomicU64,
}

impl Stage<'_, '_> {
    fn file(&self, blob: BlobId, wanted: &Wanted) -> io::Result<Arc<Growing>> {
        match self.open.lock().unwrap_or_else(PoisonError::into_inner).entry(blob) {
            Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let file = File::create_new(self.folder.staged(wanted.index))?;
                if wanted.sparse {
                    file.set_len(wanted.len)?;
                }
                Ok(Arc::clone(entry.insert(Arc::new(Growing { file, missing: AtomicU64::new(wanted.len) }))))
            }
        }
    }

    fn put(&self, blob: BlobId, wanted: &Wanted, at: u64, data: &[u8]) -> io::Result<()> {
        let growing = self.file(blob, wanted)?;
        // A file that was sparse stays so: a few bytes can stand for terabytes of nothing.
        if !(wanted.sparse && bytes::is_zero(data)) {
            positioned::write(&growing.file, data, at)?;
        }
        let len = data.len() as u64;
        if growing.missing.fetch_sub(len, Ordering::AcqRel) == len {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&blob);
        }
        Ok(())
    }
}

impl BlobSink for Stage<'_, '_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        self.control.check()?;
        let wanted = self.wanted.get(&blob).ok_or_else(|| Error::invalid("a blob that was not asked for"))?;
        let item = &self.plan.items[wanted.index];
        self.put(blob, wanted, at, data)
            .map_err(|e| Error::io("cannot be written", e))
            .context(|| place(self.plan, self.folder, item))?;
        self.control.advance(data.len() as u64);
        Ok(())
    }
}
