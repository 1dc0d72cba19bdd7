//! Files of the host as contents of a tree: read when they are written into the image, never held in memory.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::host::{InputFile, Stamp};
use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::tree::{BlobError, BlobId, BlobSink, BlobStore, give_each};

/// How much of a file is in memory at a time, for each thread.
const PIECE: usize = 1 << 20;

/// A [`BlobStore`] over files of the host. Each is opened when its turn comes, and refused if it is not the file any more that it
/// was when it was [added](HostFiles::add): another length or modification time, before or after it is read.
#[derive(Debug, Default)]
pub struct HostFiles {
    files: Vec<(PathBuf, Stamp)>,
}

impl HostFiles {
    /// Makes a file known; gives its id and its length.
    pub fn add(&mut self, path: &Path) -> Result<(BlobId, u64)> {
        let stamp = InputFile::open(path)?.stamp()?;
        let id = u32::try_from(self.files.len()).map_err(|_| Error::unsupported("more than 2^32 files"))?;
        self.files.push((path.to_owned(), stamp));
        Ok((BlobId(id), stamp.len))
    }

    fn file(&self, blob: BlobId) -> Result<(InputFile, &Path, Stamp)> {
        let (path, stamp) = self.files.get(blob.0 as usize).ok_or_else(|| Error::invalid("a blob of no file"))?;
        let file = InputFile::open(path)?;
        check(&file, path, *stamp)?;
        Ok((file, path, *stamp))
    }

    /// Gives one file to `give`, piece by piece.
    fn pieces<G>(&self, blob: BlobId, mut give: G) -> Result<(), BlobError>
    where
        G: FnMut(u64, &[u8]) -> Result<(), BlobError>,
    {
        let own = |error| BlobError { blobs: vec![blob], error };
        let (file, path, stamp) = self.file(blob).map_err(own)?;
        let mut buffer = vec![0; PIECE.min(stamp.len.try_into().unwrap_or(PIECE))];
        let mut at = 0;
        while at < stamp.len {
            let len = (buffer.len() as u64).min(stamp.len - at) as usize;
            file.read_at(at, &mut buffer[..len]).map_err(own)?;
            give(at, &buffer[..len])?;
            at += len as u64;
        }
        check(&file, path, stamp).map_err(own)
    }
}

fn check(file: &InputFile, path: &Path, stamp: Stamp) -> Result<()> {
    let now = file.stamp()?;
    if now == stamp {
        return Ok(());
    }
    Err(Error::new(Kind::Io, "the file changed while it was being copied")
        .hint("run it again when nothing writes to it"))
    .context(|| path.display())
}

impl BlobStore for HostFiles {
    fn position(&self, blob: BlobId) -> u64 {
        u64::from(blob.0)
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        give_each(wanted, threads, |blob| self.pieces(blob, |at, piece| Ok(sink.write(blob, at, piece)?)))
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.pieces(blob, |_, piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        read.map_err(|failure| failure.error)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Collect(Mutex<Vec<(BlobId, u64, usize)>>);

    impl BlobSink for Collect {
        fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
            self.0.lock().unwrap().push((blob, at, data.len()));
            Ok(())
        }
    }

    #[test]
    fn gives_files_in_pieces_and_notices_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("long"), vec![7; PIECE + 5]).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        let mut files = HostFiles::default();
        let (long, len) = files.add(&path("long")).unwrap();
        let (empty, _) = files.add(&path("empty")).unwrap();
        assert_eq!(len, PIECE as u64 + 5);
        let sink = Collect(Mutex::default());
        files.stream(&[long, empty], NonZeroUsize::MIN, &sink).unwrap();
        assert_eq!(sink.0.into_inner().unwrap(), [(long, 0, PIECE), (long, PIECE as u64, 5)]);
        assert_eq!(files.read(long).unwrap(), vec![7; PIECE + 5]);

        std::fs::write(path("empty"), "no more").unwrap();
        let failure =
            files.stream(&[long, empty], NonZeroUsize::new(2).unwrap(), &Collect(Mutex::default())).unwrap_err();
        assert_eq!(failure.blobs, [empty]);
        assert!(failure.error.to_string().contains("changed while"), "{}", failure.error);
        std::fs::remove_file(path("empty")).unwrap();
        assert_eq!(files.read(empty).unwrap_err().kind(), Kind::Io);
    }
}
