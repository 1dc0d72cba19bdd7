//! A folder of the host as a tree: what of it may belong to drivers, unread.
//!
//! What an archive of somebody else left in a folder is not trusted: links are not followed, as they may lead anywhere on the host, and
//! what is no file, or has a name that Windows does not take, is left out with a word.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::name::windows_fault;
use crate::base::{FileTime, Name, upcase};
use crate::error::{Context, Error, Kind, Result};
use crate::format::inf::Inf;
use crate::image::host_files::HostFiles;
use crate::tree::{BlobId, Content, Link, Node, NodeId, Times, Tree, attributes};

/// The deepest folder that is looked into.
const MAX_DEPTH: usize = 64;

/// All of a folder; the tree, and what was left out.
pub(in crate::image) fn all(folder: &Path) -> Result<(Tree, Vec<String>)> {
    read(folder, None)
}

/// The folder of one INF file: the files beside it, and the folders that it names.
pub(super) fn of_inf(folder: &Path, inf: &Inf) -> Result<(Tree, Vec<String>)> {
    let mut named = HashSet::new();
    for section in inf.sections() {
        let name = section.name.to_lowercase();
        let field = match name.split('.').next() {
            Some("sourcedisksfiles") => 1,
            Some("sourcedisksnames") => 3,
            _ => continue,
        };
        let paths = section.entries.iter().map(|entry| inf.expand(entry.field(field)).to_lowercase());
        named.extend(paths.filter_map(|path| Some(path.split(['\\', '/']).find(|part| !part.is_empty())?.to_owned())));
    }
    read(folder, Some(named))
}

fn read(folder: &Path, named: Option<HashSet<String>>) -> Result<(Tree, Vec<String>)> {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let root = tree.root();
    let mut reader = Reader { tree: &mut tree, files: HostFiles::default(), waiting: Vec::new(), notes: Vec::new() };
    reader.folder(folder, root, named.as_ref(), 0)?;
    let Reader { files, waiting, notes, .. } = reader;
    let store = tree.add_store(Arc::new(files));
    for (node, blob, len) in waiting {
        for stream in &mut tree.node_mut(node).streams {
            stream.content = Content::Blob { store, blob, len };
        }
    }
    Ok((tree, notes))
}

struct Reader<'t> {
    tree: &'t mut Tree,
    files: HostFiles,
    /// Contents that wait for the store's id.
    waiting: Vec<(NodeId, BlobId, u64)>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn folder(
        &mut self,
        folder: &Path,
        directory: NodeId,
        named: Option<&HashSet<String>>,
        depth: usize,
    ) -> Result<()> {
        let mut links: Vec<Link> = Vec::new();
        for (name, path) in listing(folder)? {
            let Some(text) = name.to_str().filter(|text| windows_fault(text).is_none()) else {
                self.leave(&path, "not a name that Windows takes");
                continue;
            };
            if links.last().is_some_and(|last| upcase::same(last.name.units(), Name::from(text).units())) {
                self.leave(&path, "a name that is one with another to Windows");
                continue;
            }
            let kind = fs::symlink_metadata(&path);
            let kind = kind.map_err(|e| Error::io("cannot be looked at", e)).context(|| path.display())?.file_type();
            let node = if kind.is_dir() {
                if named.is_some_and(|named| !named.contains(&text.to_lowercase())) {
                    continue;
                }
                if depth >= MAX_DEPTH {
                    self.leave(&path, "too deep a folder");
                    continue;
                }
                let node = self.tree.add_node(Node::directory(0, Times::default()))?;
                self.folder(&path, node, None, depth + 1)?;
                node
            } else if kind.is_file() {
                let (blob, len) = self.files.add(&path)?;
                let file = Node::file(attributes::ARCHIVE, Times::all(FileTime::default()), Content::empty());
                let node = self.tree.add_node(file)?;
                if len > 0 {
                    self.waiting.push((node, blob, len));
                }
                node
            } else {
                let what = if kind.is_symlink() { "a link, which is not followed" } else { "no file" };
                self.leave(&path, what);
                continue;
            };
            links.push(Link { name: text.into(), short: None, node });
        }
        self.tree.set_children(directory, links)
    }

    fn leave(&mut self, path: &Path, why: &str) {
        self.notes.push(format!("{}: left out: {why}", path.display()));
    }
}

/// What is in a folder, in the order of Windows, so that every host gives the same.
fn listing(folder: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>> {
    let failed = |e| Error::new(Kind::Io, format_args!("the folder cannot be listed: {e}")).context(folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        found.push((entry.file_name(), entry.path()));
    }
    let units = |name: &std::ffi::OsString| name.to_string_lossy().encode_utf16().collect::<Vec<u16>>();
    found.sort_by(|a, b| upcase::compare(&units(&a.0), &units(&b.0)).then_with(|| a.0.cmp(&b.0)));
    Ok(found)
}
