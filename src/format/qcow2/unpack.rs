//! Compressed clusters, and the last few of them in memory.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::StreamingDecoder;

use crate::error::{Error, Result};

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Deflate,
    Zstd,
}

/// The largest window of a zstd frame; qemu's have at most the cluster's length, and so do all whose compressor knows the input.
const MAX_WINDOW: u64 = 8 << 20;

/// A cluster out of its compressed form, behind which other data may follow.
pub(super) fn unpack(method: Method, packed: &[u8], cluster: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; cluster];
    let is_whole = match method {
        Method::Deflate => {
            let mut inflate = Decompress::new(false);
            let outcome = inflate.decompress(packed, &mut bytes, FlushDecompress::Finish);
            outcome.is_ok() && inflate.total_out() == cluster as u64
        }
        Method::Zstd => {
            let stream = StreamingDecoder::new_with_max_window_size(packed, MAX_WINDOW);
            stream.is_ok_and(|mut stream| stream.read_exact(&mut bytes).is_ok())
        }
    };
    if is_whole {
        return Ok(bytes);
    }
    let name = match method {
        Method::Deflate => "deflate",
        Method::Zstd => "zstd",
    };
    Err(Error::corrupt("qcow2: a compressed cluster").allowed(format_args!("{cluster} bytes in {name}")))
}

/// Clusters that were read last: whoever reads a piece of one often wants the next piece.
#[derive(Debug)]
pub(super) struct Cache {
    /// Each with its entry, the newest at the end.
    clusters: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
    room: usize,
}

/// How many bytes of clusters are kept.
const KEPT: usize = 4 << 20;

impl Cache {
    pub(super) fn new(cluster: u64) -> Self {
        Self { clusters: Mutex::default(), room: (KEPT / cluster as usize).clamp(2, 64) }
    }

    /// The cluster of an entry: kept, or made by `make`, which several threads may do at once.
    pub(super) fn get(&self, entry: u64, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<[u8]>> {
        let lock = || self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cluster)) = lock().iter().find(|(kept, _)| *kept == entry) {
            return Ok(Arc::clone(cluster));
        }
        let cluster: Arc<[u8]> = make()?.into();
        let mut clusters = lock();
        if clusters.len() >= self.room {
            clusters.pop_front();
        }
        clusters.push_back((entry, Arc::clone(&cluster)));
        Ok(cluster)
    }
}
