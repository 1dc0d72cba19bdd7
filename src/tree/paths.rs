//! A tree out of paths, as archives have them.
//!
//! Names stay within the tree that is made of them, so that one that leads upwards (`..\x`) can do no harm; it is left out all the same,
//! as is what Windows could not have as a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BlobStore, Content, Link, Node, NodeId, StoreId, Times, Tree, attributes};
use crate::base::name::windows_fault;
use crate::base::{FileTime, upcase};
use crate::error::{Error, Result};

/// The deepest folder.
const MAX_DEPTH: usize = 64;
/// Remarks that are made; the rest is counted.
const MAX_NOTES: usize = 20;

/// A tree in the making, and what is to be said about it.
pub struct Builder {
    tree: Tree,
    root: Folder,
    notes: Vec<String>,
    more_notes: usize,
}

/// Folders and files by name, until they become a tree.
#[derive(Default)]
struct Folder {
    name: String,
    folders: BTreeMap<Vec<u16>, Folder>,
    files: BTreeMap<Vec<u16>, (String, FileTime, Content)>,
}

impl Default for Builder {
    fn default() -> Self {
        let tree = Tree::new(Node::directory(0, Times::default()));
        Self { tree, root: Folder::default(), notes: Vec::new(), more_notes: 0 }
    }
}

impl Builder {
    /// Makes a store's blobs known, before files are made of them.
    pub fn add_store(&mut self, store: Arc<dyn BlobStore>) -> StoreId {
        self.tree.add_store(store)
    }

    /// Puts a file in, unless its name is none. One of the same name goes, with a note.
    pub fn add(&mut self, path: &str, time: Option<FileTime>, content: Content) {
        if self.add_again(path, time, content) {
            self.note(format!("{path:?} is in the archive twice: the last one counts"));
        }
    }

    /// The same where it is usual that a file comes again; tells whether one did.
    pub fn add_again(&mut self, path: &str, time: Option<FileTime>, content: Content) -> bool {
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
        folder.files.insert(key(name), ((*name).to_owned(), time.unwrap_or_default(), content)).is_some()
    }

    /// Says what was left out.
    pub fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES { self.notes.push(note) } else { self.more_notes += 1 }
    }

    /// The tree, and the remarks.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if a file and a folder have one name.
    pub fn finish(mut self) -> Result<(Tree, Vec<String>)> {
        if self.more_notes > 0 {
            self.notes.push(format!("{} more such remarks", self.more_notes));
        }
        let root = self.tree.root();
        self.root.put(&mut self.tree, root)?;
        Ok((self.tree, self.notes))
    }
}

impl Folder {
    /// What is in it, into a directory.
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
        for (name, time, content) in self.files.into_values() {
            let node = tree.add_node(Node::file(attributes::ARCHIVE, Times::all(time), content))?;
            links.push(Link { name: name.as_str().into(), short: None, node });
        }
        tree.set_children(directory, links)
    }
}

/// A name as Windows compares it.
fn key(name: &str) -> Vec<u16> {
    name.encode_utf16().map(upcase::upcase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn names_stay_within() {
        let mut builder = Builder::default();
        for path in [r"a\B.txt", "/a/b.TXT", r"..\x", "c:/y", "", r"sub\.\z", &"d/".repeat(70)] {
            builder.add(path, None, Content::from(path.as_bytes().to_vec()));
        }
        let (tree, notes) = builder.finish().unwrap();
        assert_eq!(tree.paths(9, |_, node| !node.is_directory()), [r"\a\b.TXT", r"\sub\z"]);
        assert_eq!(tree.read_file(r"a\b.txt").unwrap().unwrap(), b"/a/b.TXT");
        assert_eq!(notes.len(), 5, "{notes:?}");
    }

    #[test]
    fn a_file_is_no_folder() {
        let mut builder = Builder::default();
        builder.add("a", None, Content::empty());
        builder.add("A/b", None, Content::empty());
        assert_eq!(builder.finish().err().unwrap().kind(), Kind::Corrupt);
    }

    #[test]
    fn remarks_are_counted() {
        let mut builder = Builder::default();
        (0..MAX_NOTES + 3).for_each(|_| builder.add("..", None, Content::empty()));
        let (_, notes) = builder.finish().unwrap();
        assert_eq!((notes.len(), notes.last().unwrap().as_str()), (MAX_NOTES + 1, "3 more such remarks"));
    }
}
