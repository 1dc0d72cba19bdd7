//! Bytes that are too many for memory, in a file without a name: it goes when the program does.

use std::fs::File;

use super::host::positioned;
use crate::base::ReadAt;
use crate::base::io::range_within;
use crate::error::{Error, Result};

/// A file that is written from its start to its end, and then read.
pub(super) struct Scratch {
    file: File,
    len: u64,
}

impl Scratch {
    /// An empty one, in the host's folder for temporary files.
    pub(super) fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(|e| Error::io("no temporary file can be made", e))?;
        Ok(Self { file, len: 0 })
    }

    /// Adds to its end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::io("the temporary file for what is unpacked cannot be written", e);
        positioned::write(&self.file, bytes, self.len).map_err(failed)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl ReadAt for Scratch {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        range_within(at, buf.len(), self.len)?;
        let failed = |e| Error::io("the temporary file for what is unpacked cannot be read", e);
        positioned::read(&self.file, buf, at).map_err(failed)
    }
}
