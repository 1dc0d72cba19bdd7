//! A blob store in memory that is as awkward as its contract allows: pieces out of order, of odd lengths, from several threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nanovhd::error::{Error, Result};
use nanovhd::tree::{BlobError, BlobId, BlobSink, BlobStore};

/// Blobs in memory, numbered in steps of three, lying in the reverse order of their numbers.
#[derive(Default)]
pub(crate) struct Scattered {
    blobs: Vec<Arc<[u8]>>,
    /// This one cannot be read.
    pub(crate) broken: Option<BlobId>,
}

impl Scattered {
    pub(crate) fn add(&mut self, bytes: &[u8]) -> BlobId {
        self.blobs.push(bytes.into());
        BlobId(3 * (self.blobs.len() as u32 - 1) + 1)
    }

    fn blob(&self, id: BlobId) -> Result<&Arc<[u8]>, BlobError> {
        if self.broken == Some(id) {
            return Err(BlobError { blobs: vec![id], error: Error::corrupt("a broken blob") });
        }
        Ok(&self.blobs[(id.0 / 3) as usize])
    }
}

/// Gives a blob in pieces: every other one first, then the rest backwards; in order if that was promised.
fn give(sink: &dyn BlobSink, id: BlobId, bytes: &[u8], ordered: bool) -> Result<()> {
    let len = [1, 7, 509, 4096, 65_537, 300_000][id.0 as usize % 6].max(bytes.len() / 50 + 1);
    let pieces: Vec<(u64, &[u8])> = bytes.chunks(len).enumerate().map(|(i, piece)| ((i * len) as u64, piece)).collect();
    if ordered {
        return pieces.iter().try_for_each(|(at, piece)| sink.write(id, *at, piece));
    }
    let even = pieces.iter().step_by(2);
    let odd = pieces.iter().skip(1).step_by(2).rev();
    even.chain(odd).try_for_each(|(at, piece)| sink.write(id, *at, piece))
}

impl BlobStore for Scattered {
    fn position(&self, blob: BlobId) -> u64 {
        u64::MAX - u64::from(blob.0)
    }

    fn stream(&self, wanted: &[BlobId], threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        assert!(wanted.is_sorted_by_key(|blob| self.position(*blob)), "asked for in the order of the store");
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                while let Some(id) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    give(sink, *id, self.blob(*id)?, threads == NonZeroUsize::MIN)?;
                }
                Ok(())
            };
            let helpers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
            helpers.into_iter().try_for_each(|helper| helper.join().expect("no panic"))
        })
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        self.blob(blob).map(|bytes| bytes.to_vec()).map_err(|failure| failure.error)
    }
}
