//! One content, from its store to whoever wants its bytes in order.

use std::num::NonZeroUsize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::tree::{BlobId, BlobSink, Content, Tree};

/// So many pieces may wait for the receiver. A store's pieces have some hundred KiB.
const WAITING: usize = 4;

/// Gives a content to `out`, piece by piece and in order, until it is at its end or `out` says that it is enough (`false`).
///
/// Pieces come before the store has checked the whole: only `Ok` says that they were right.
pub fn copy(tree: &Tree, content: &Content, out: &mut dyn FnMut(&[u8]) -> Result<bool>) -> Result<()> {
    let (store, blob) = match content {
        Content::Bytes(bytes) => return out(bytes).map(|_| ()),
        Content::Blob { store, blob, .. } => (*store, *blob),
    };
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        let sink = Pipe(sender);
        let reader = scope.spawn(move || {
            let streamed = tree.stores()[store.index()].stream(&[blob], NonZeroUsize::MIN, &sink);
            drop(sink); // ends the loop below
            streamed
        });
        let mut enough = Ok(true);
        for piece in &receiver {
            enough = out(&piece);
            if !matches!(enough, Ok(true)) {
                break;
            }
        }
        drop(receiver); // what still comes finds nobody, which stops the store
        let streamed = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (enough?, streamed) {
            (true, Err(failure)) => Err(tree.blame(store, failure)),
            _ => Ok(()),
        }
    })
}

struct Pipe(SyncSender<Vec<u8>>);

impl BlobSink for Pipe {
    fn write(&self, _: BlobId, _: u64, data: &[u8]) -> Result<()> {
        self.0.send(data.to_vec()).map_err(|_| Error::new(Kind::Interrupted, "nobody reads on"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::wim::Wim;
    use crate::image::demo;

    #[test]
    fn pieces_come_in_order_and_stop_on_request() {
        let wim = demo::wim(NonZeroUsize::MIN).unwrap();
        let tree = Wim::open(vec![Arc::new(wim)]).unwrap().tree(1).unwrap().tree;
        let content = tree.node(tree.find(r"ProgramData\nanovhd\read-only.bin").unwrap()).main().unwrap().clone();
        let expected = tree.read(&content).unwrap();
        let (mut bytes, mut pieces) = (Vec::new(), 0);
        copy(&tree, &content, &mut |piece| {
            bytes.extend_from_slice(piece);
            pieces += 1;
            Ok(true)
        })
        .unwrap();
        assert!(bytes == expected && pieces > 1, "{pieces} pieces");
        let mut calls = 0;
        copy(&tree, &content, &mut |_| {
            calls += 1;
            Ok(false)
        })
        .unwrap();
        assert_eq!(calls, 1);
        let error = copy(&tree, &content, &mut |_| Err(Error::invalid("mine"))).unwrap_err();
        assert_eq!(error.to_string(), "mine");
    }
}
