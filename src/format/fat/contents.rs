//! The contents of a tree's files in memory, each read once, in the order in which its store has it.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::tree::{BlobId, BlobSink, Content, StoreId, Tree};

/// All blobs that the files of a tree have as their main streams.
pub(super) struct Contents(HashMap<(StoreId, BlobId), Vec<u8>>);

impl Contents {
    /// Reads them. The caller has checked how much that is.
    pub(super) fn read(tree: &Tree) -> Result<Self> {
        let mut blobs = HashMap::new();
        for store in tree.store_ids() {
            let wanted = wanted(tree, store);
            let sink = Collect(wanted.iter().map(|(blob, len)| (*blob, Mutex::new(vec![0; *len as usize]))).collect());
            let mut order: Vec<BlobId> = wanted.into_iter().map(|(blob, _)| blob).collect();
            order.sort_unstable();
            if order.is_empty() {
                continue;
            }
            let streamed = tree.stores()[store.index()].stream(&order, NonZeroUsize::MIN, &sink);
            streamed.map_err(|failure| tree.blame(store, failure))?;
            let read = sink
                .0
                .into_iter()
                .map(|(blob, bytes)| ((store, blob), bytes.into_inner().unwrap_or_else(PoisonError::into_inner)));
            blobs.extend(read);
        }
        Ok(Self(blobs))
    }

    /// The bytes of a content.
    pub(super) fn get<'a>(&'a self, content: &'a Content) -> Result<&'a [u8]> {
        match content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Blob { len: 0, .. } => Ok(&[]),
            Content::Blob { store, blob, .. } => {
                let bytes = self.0.get(&(*store, *blob)).map(Vec::as_slice);
                bytes.ok_or_else(|| Error::invalid("a file that was not read"))
            }
        }
    }
}

/// The blobs of a store that are to be read, with their lengths.
fn wanted(tree: &Tree, wanted: StoreId) -> HashSet<(BlobId, u64)> {
    let contents = tree.walk().filter_map(|(_, link)| tree.node(link.node).main());
    let of_store = contents.filter_map(|content| match content {
        Content::Blob { store, blob, len } if *store == wanted && *len > 0 => Some((*blob, *len)),
        _ => None,
    });
    of_store.collect()
}

struct Collect(HashMap<BlobId, Mutex<Vec<u8>>>);

impl BlobSink for Collect {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let bytes = self.0.get(&blob).ok_or_else(|| Error::invalid("a file that was not asked for"))?;
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at..at.checked_add(data.len())?));
        let place = place.ok_or_else(|| Error::corrupt("a file longer than it is said to be").at(at))?;
        place.copy_from_slice(data);
        Ok(())
    }
}
