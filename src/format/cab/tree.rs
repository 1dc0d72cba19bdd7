//! A cabinet as a tree: its files are blobs, which are unpacked when they are wanted.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::read::Cabinet;
use crate::error::{Context, Error, Result};
use crate::tree::paths::Builder;
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, Content, READ_LIMIT, Tree, give_each};

impl Cabinet {
    /// The files that are `wanted`, by their names, as a tree; and what is to be said about it. Names are taken as
    /// [`paths`](crate::tree::paths) takes them: those that Windows could not have are left out, with a remark.
    ///
    /// Nothing is unpacked yet. Whoever wants many files [streams](BlobStore::stream) them: each folder is unpacked once then. To read one by itself
    /// is to unpack its folder up to it.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if a file and a folder have one name.
    pub fn into_tree(self, wanted: impl Fn(&str) -> bool) -> Result<(Tree, Vec<String>)> {
        let cabinet = Arc::new(self);
        let mut builder = Builder::default();
        let store = builder.add_store(Arc::new(Store::new(Arc::clone(&cabinet))));
        for (number, file) in (0..).zip(cabinet.files()).filter(|(_, file)| wanted(&file.name)) {
            let content = match file.len {
                0 => Content::empty(),
                len => Content::Blob { store, blob: BlobId(number), len },
            };
            builder.add(&file.name, file.modified, content);
        }
        builder.finish()
    }
}

/// The files of a cabinet as blobs, by their places in its directory.
struct Store {
    cabinet: Arc<Cabinet>,
    /// The folder that each file is in, and where it begins in it.
    places: Vec<(usize, u64)>,
}

impl Store {
    fn new(cabinet: Arc<Cabinet>) -> Self {
        let mut places = vec![(0, 0); cabinet.files().len()];
        for (number, folder) in cabinet.folders.iter().enumerate() {
            for index in &folder.files {
                places[*index] = (number, cabinet.files()[*index].offset);
            }
        }
        Self { cabinet, places }
    }

    fn place(&self, blob: BlobId) -> Result<(usize, u64)> {
        self.places.get(blob.0 as usize).copied().ok_or_else(|| Error::invalid("a blob of another cabinet"))
    }

    /// Gives files of one folder, in its order, to `give`, piece by piece. A failure is that of the file that was on its way.
    fn folder<G>(&self, blobs: &[BlobId], mut give: G) -> Result<(), BlobError>
    where
        G: FnMut(BlobId, u64, &[u8]) -> Result<()>,
    {
        let Some(first) = blobs.first() else { return Ok(()) };
        let (folder, _) = self.place(*first)?;
        let files: Vec<usize> = blobs.iter().map(|blob| blob.0 as usize).collect();
        let (mut on_the_way, mut at) = (0, 0); // which of the files, and how much of it has come
        let mut taken = true;
        let unpacked = self.cabinet.unpack_folder(folder, &files, &mut |index, piece| {
            let given = give(BlobId(index as u32), at, piece);
            taken = given.is_ok();
            at += piece.len() as u64;
            if at == self.cabinet.files()[index].len {
                (on_the_way, at) = (on_the_way + 1, 0);
            }
            given
        });
        unpacked.map_err(|error| match blobs.get(on_the_way).filter(|_| taken) {
            Some(blob) => BlobError { blobs: vec![*blob], error },
            None => error.into(),
        })
    }
}

impl BlobStore for Store {
    fn position(&self, blob: BlobId) -> u64 {
        self.place(blob).map_or(0, |(folder, offset)| (folder as u64) << 32 | offset) // both have 32 bits at most
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        let mut order = wanted.to_vec();
        order.sort_by_key(|blob| self.position(*blob));
        let folder = |blob: &BlobId| self.place(*blob).map_or(usize::MAX, |(folder, _)| folder);
        let folders: Vec<&[BlobId]> = order.chunk_by(|a, b| folder(a) == folder(b)).collect();
        let firsts: Vec<BlobId> = folders.iter().filter_map(|blobs| blobs.first().copied()).collect();
        give_each(&firsts, threads, |first| {
            let blobs = folders.iter().find(|blobs| blobs.first() == Some(&first)).copied().unwrap_or_default();
            self.folder(blobs, |blob, at, piece| sink.write(blob, at, piece))
        })
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        self.place(blob)?;
        let file = &self.cabinet.files()[blob.0 as usize];
        if file.len > READ_LIMIT {
            return Err(Error::unsupported("a file too large for memory").found(file.len).allowed(READ_LIMIT));
        }
        // It grows with what is there: the length alone is no more than a claim.
        let mut bytes = Vec::new();
        let unpacked = self.folder(&[blob], |_, _, piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        unpacked.map_err(|failure| failure.error).context(|| file.name.clone())?;
        Ok(bytes)
    }
}
