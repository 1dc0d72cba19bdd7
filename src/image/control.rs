//! What a long piece of work tells, and how it is stopped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Kind, Result};

/// Shared by the one who waits and the ones who work: how much is done, and whether to stop.
#[derive(Debug, Default)]
pub struct Control {
    interrupted: AtomicBool,
    private: AtomicBool,
    outputs: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Control {
    /// Asks the work to stop at its next write. Safe to call from a signal handler's thread.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Fails once the work has been asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "stopped on request; nothing was left behind"));
        }
        Ok(())
    }

    /// Begins a piece of work of that many bytes.
    pub fn expect(&self, bytes: u64) {
        self.at(0, bytes);
    }

    /// Says that what is made from now on holds secrets: files are for their owner only, from their first byte on.
    pub fn keep_private(&self) {
        self.private.store(true, Ordering::Relaxed);
    }

    /// Whether what is made is for its owner only.
    pub fn is_private(&self) -> bool {
        self.private.load(Ordering::Relaxed)
    }

    /// Says that there is a temporary file now that has to be removed when the work is stopped.
    pub(super) fn begin_output(&self) {
        self.outputs.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that it is gone, one way or the other.
    pub(super) fn end_output(&self) {
        self.outputs.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is anything to clean up when the work is stopped.
    pub fn has_outputs(&self) -> bool {
        self.outputs.load(Ordering::Relaxed) > 0
    }

    /// Says that some more bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says how many bytes are done of how many.
    pub fn at(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// Bytes done, and bytes to do (0 while unknown).
    pub fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}
