//! A tree of the files of a medium that keeps them as they are, in extents: ISO 9660, UDF.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use super::{
    BlobError, BlobId, BlobSink, BlobStore, Content, Link, Node, NodeId, READ_LIMIT, StoreId, Times, Tree, check_name,
    give_each,
};
use crate::base::ReadAt;
use crate::base::extents::{ExtentFile, Extents};
use crate::error::{Context, Error, Result};

/// Files and directories of one medium; an installation medium has some thousands.
const MAX_FILES: usize = 1 << 20;
/// Pieces of all files together, at 16 bytes.
const MAX_PIECES: usize = 1 << 22;
/// Bytes of all directories together.
const MAX_DIRECTORIES: u64 = 256 << 20;
/// Notes that are kept in words.
const MAX_NOTES: usize = 100;
/// How much of a file is in memory at a time, for each thread.
const PIECE: u64 = 1 << 20;

/// All files of a medium, unread.
pub struct Files {
    /// The files.
    pub tree: Tree,
    /// What could not be read, in words.
    pub notes: Vec<String>,
    /// How many things could not be read: as many as there are notes, or more.
    pub lost: u64,
    store: Arc<Store>,
}

impl Files {
    /// A file, to be read at any position; `None` for a directory.
    pub fn open(&self, node: NodeId) -> Option<Arc<dyn ReadAt>> {
        match self.tree.node(node).main()? {
            Content::Bytes(bytes) => Some(Arc::new(bytes.to_vec())),
            Content::Blob { blob, .. } => {
                let extents = self.store.file(*blob).ok()?.clone();
                Some(Arc::new(ExtentFile { medium: Arc::clone(&self.store.medium), extents }))
            }
        }
    }
}

/// Builds a tree as a reader walks through the directories of a medium, within limits: up to 2^20 files, in 2^22 pieces, and
/// 256 MiB of directories. What is beyond, and what is damaged, is left out with a note.
pub struct Builder {
    tree: Tree,
    store: Arc<Store>,
    id: StoreId,
    files: Vec<Extents>,
    pieces: usize,
    directory_bytes: u64,
    notes: Vec<String>,
    lost: u64,
}

impl Builder {
    /// A tree with nothing but its root.
    pub fn new(medium: Arc<dyn ReadAt>, root: Times) -> Self {
        let mut tree = Tree::new(Node::directory(0, root));
        let store = Arc::new(Store { medium, files: OnceLock::new() });
        let id = tree.add_store(Arc::clone(&store) as Arc<dyn BlobStore>);
        let (files, notes) = (Vec::new(), Vec::new());
        Self { tree, store, id, files, pieces: 0, directory_bytes: 0, notes, lost: 0 }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        self.tree.root()
    }

    /// Takes so many bytes of a directory from those that may be read.
    pub fn admit_directory(&mut self, bytes: u64) -> Result<()> {
        self.directory_bytes = self.directory_bytes.saturating_add(bytes);
        if self.directory_bytes > MAX_DIRECTORIES {
            return Err(Error::unsupported("directories that are too large together").allowed(MAX_DIRECTORIES));
        }
        Ok(())
    }

    /// Adds a file, or a directory, that has no name yet.
    pub fn add(&mut self, attributes: u32, times: Times, file: Option<Extents>) -> Result<NodeId> {
        if self.tree.nodes().len() > MAX_FILES {
            return Err(Error::unsupported("too many files").allowed(MAX_FILES));
        }
        let Some(extents) = file else { return self.tree.add_node(Node::directory(attributes, times)) };
        if extents.is_empty() {
            return self.tree.add_node(Node::file(attributes, times, Content::empty()));
        }
        self.pieces = self.pieces.saturating_add(extents.pieces());
        if self.pieces > MAX_PIECES {
            return Err(Error::unsupported("files in too many pieces").allowed(MAX_PIECES));
        }
        let blob = BlobId(self.files.len() as u32); // fewer than there may be files
        let content = Content::Blob { store: self.id, blob, len: extents.len() };
        self.files.push(extents);
        self.tree.add_node(Node::file(attributes, times, content))
    }

    /// Gives a directory its files. Names that cannot be, or come twice, are left out.
    pub fn fill(&mut self, directory: NodeId, mut links: Vec<Link>) {
        let mut taken = HashSet::new();
        let mut complaints = Vec::new();
        links.retain(|link| match check_name(&link.name) {
            Ok(()) if taken.insert(link.name.clone()) => true,
            Ok(()) => {
                complaints.push(format!("{}: a second file of that name", link.name));
                false
            }
            Err(error) => {
                complaints.push(error.to_string());
                false
            }
        });
        complaints.into_iter().for_each(|complaint| self.note(complaint));
        if let Err(error) = self.tree.set_children(directory, links) {
            self.note(error.to_string());
        }
    }

    /// Says what was left out.
    pub fn note(&mut self, note: String) {
        self.lost += 1;
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    /// The tree.
    pub fn finish(mut self) -> Files {
        let more = self.lost - self.notes.len() as u64;
        if more > 0 {
            self.notes.push(format!("{more} more of the kind"));
        }
        let first = self.store.files.set(self.files);
        debug_assert!(first.is_ok());
        Files { tree: self.tree, notes: self.notes, lost: self.lost, store: self.store }
    }
}

/// The files of a medium as blobs. Its table is put in when all directories have been read: ids are given out before.
struct Store {
    medium: Arc<dyn ReadAt>,
    files: OnceLock<Vec<Extents>>,
}

impl Store {
    fn file(&self, blob: BlobId) -> Result<&Extents> {
        let file = self.files.get().and_then(|files| files.get(blob.0 as usize));
        file.ok_or_else(|| Error::invalid("a blob of another medium"))
    }

    /// Gives one file to `give`, piece by piece.
    fn pieces<G>(&self, blob: BlobId, mut give: G) -> Result<(), BlobError>
    where
        G: FnMut(u64, &[u8]) -> Result<(), BlobError>,
    {
        let own = |error| BlobError { blobs: vec![blob], error };
        let file = self.file(blob).map_err(own)?;
        let mut buffer = vec![0; file.len().min(PIECE) as usize];
        let mut at = 0;
        while at < file.len() {
            let len = (file.len() - at).min(PIECE) as usize;
            file.read_at(&self.medium, at, &mut buffer[..len]).map_err(own)?;
            give(at, &buffer[..len])?;
            at += len as u64;
        }
        Ok(())
    }
}

impl BlobStore for Store {
    fn position(&self, blob: BlobId) -> u64 {
        self.file(blob).ok().and_then(Extents::first).unwrap_or(0)
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        let mut order = wanted.to_vec();
        order.sort_by_key(|blob| self.position(*blob));
        give_each(&order, threads, |blob| self.pieces(blob, |at, piece| Ok(sink.write(blob, at, piece)?)))
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        let len = self.file(blob)?.len();
        if len > READ_LIMIT {
            return Err(Error::unsupported("a file too large for memory").found(len).allowed(READ_LIMIT));
        }
        // It grows with what is there: the length alone is no more than a claim.
        let mut bytes = Vec::new();
        let read = self.pieces(blob, |_, piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        read.map_err(|failure| failure.error).context(|| format!("file at {:#x}", self.position(blob)))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Kind;

    fn link(name: &str, node: NodeId) -> Link {
        Link { name: name.into(), short: None, node }
    }

    #[derive(Default)]
    struct Collect(Mutex<Vec<(BlobId, u64, Vec<u8>)>>);

    impl BlobSink for Collect {
        fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
            self.0.lock().unwrap().push((blob, at, data.to_vec()));
            Ok(())
        }
    }

    #[test]
    fn keeps_what_can_be_kept() {
        let medium: Vec<u8> = (0..=255).collect();
        let mut builder = Builder::new(Arc::new(medium.clone()), Times::default());
        let mut file = |at: u64, len: u64| {
            let mut extents = Extents::default();
            extents.push(Some(at), len).unwrap();
            builder.add(0, Times::default(), Some(extents)).unwrap()
        };
        let (late, early, beyond, empty) = (file(100, 10), file(4, 8), file(250, 10), file(0, 0));
        let links = vec![
            link("late", late),
            link("early", early),
            link("early", late),
            link("a/b", early),
            link("beyond", beyond),
            link("empty", empty),
        ];
        builder.fill(builder.root(), links);
        let files = builder.finish();
        assert_eq!((files.notes.len(), files.lost), (2, 2), "{:?}", files.notes);
        assert_eq!(files.tree.read_file("late").unwrap().unwrap(), &medium[100..110]);
        assert_eq!(files.tree.read_file("beyond").unwrap_err().kind(), Kind::Truncated);
        let mut buf = [0; 3];
        files.open(early).unwrap().read_at(5, &mut buf).unwrap();
        assert_eq!(buf, [9, 10, 11]);
        assert_eq!(files.open(empty).unwrap().len(), 0);
        assert!(files.open(files.tree.root()).is_none());

        let sink = Collect::default();
        let store = &files.tree.stores()[0];
        store.stream(&[BlobId(0), BlobId(1)], NonZeroUsize::MIN, &sink).map_err(|e| e.error).unwrap();
        let order: Vec<u32> = sink.0.into_inner().unwrap().iter().map(|(blob, ..)| blob.0).collect();
        assert_eq!(order, [1, 0], "in the order of the medium");
        let failure = store.stream(&[BlobId(2)], NonZeroUsize::new(3).unwrap(), &Collect::default()).unwrap_err();
        assert_eq!(failure.blobs, [BlobId(2)]);
    }

    #[test]
    fn limits_hold() {
        let mut builder = Builder::new(Arc::new(Vec::new()), Times::default());
        assert!(builder.admit_directory(MAX_DIRECTORIES).is_ok());
        assert_eq!(builder.admit_directory(1).unwrap_err().kind(), Kind::Unsupported);
        (0..MAX_NOTES + 5).for_each(|number| builder.note(number.to_string()));
        let files = builder.finish();
        assert_eq!((files.notes.len(), files.lost), (MAX_NOTES + 1, MAX_NOTES as u64 + 5));
    }
}
