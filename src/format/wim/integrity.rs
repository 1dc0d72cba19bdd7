//! The integrity table: SHA-1s of the file itself, from the end of the header to the end of the blob table.

use sha1::{Digest, Sha1};
use zerocopy::{FromBytes, IntoBytes};

use super::ondisk::{Header, IntegrityHeader};
use super::store::Sha1Hash;
use super::table::Part;
use crate::error::{Error, Result};

/// The piece size that Microsoft and wimlib use.
pub(super) const PIECE: u32 = 10 << 20;
const READ: usize = 1 << 20;
/// The largest table that is read: a file of 33 TB.
const LIMIT: u64 = 64 << 20;

/// Checks one part against its table. `progress` gets the bytes checked and the bytes in all, and may stop it by an error.
/// Returns whether there is a table.
pub(super) fn check(part: &Part, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<bool> {
    let (header, table) = (&part.header.integrity, &part.header.blob_table);
    let at = header.offset.get();
    let bytes = part.load(header, LIMIT)?;
    if bytes.is_empty() {
        return Ok(false);
    }
    let wrong = |what: &str| Error::corrupt(format_args!("WIM integrity table: {what}")).at(at);
    let (head, hashes) =
        IntegrityHeader::read_from_prefix(&bytes).map_err(|_| wrong("its length").found(bytes.len()))?;
    let start = size_of::<Header>() as u64;
    let total = table.offset.get().checked_add(table.stored()).and_then(|end| end.checked_sub(start));
    let total = total.ok_or_else(|| wrong("the end of the blob table"))?;
    let piece = u64::from(head.chunk_size.get());
    if piece == 0 {
        return Err(wrong("piece size").found(0));
    }
    let pieces = total.div_ceil(piece);
    if u64::from(head.entries.get()) != pieces || hashes.len() as u64 != pieces * 20 {
        return Err(wrong("number of entries").found(head.entries).allowed(pieces));
    }
    let mut buffer = vec![0; READ];
    for (index, wanted) in (0..pieces).zip(hashes.chunks_exact(20)) {
        let (from, to) = (start + index * piece, start + ((index + 1) * piece).min(total));
        let mut hash = Sha1::new();
        let mut next = from;
        while next < to {
            let len = (to - next).min(READ as u64) as usize;
            part.reader.read_at(next, &mut buffer[..len])?;
            hash.update(&buffer[..len]);
            next += len as u64;
            progress(next - start, total)?;
        }
        let found = Sha1Hash(hash.finalize().into());
        if found.0 != *wanted {
            let mut allowed = Sha1Hash::default();
            allowed.0.copy_from_slice(wanted);
            return Err(Error::corrupt("WIM: the file is damaged, its integrity table shows: SHA-1 of a piece")
                .at(from)
                .found(found)
                .allowed(allowed));
        }
    }
    Ok(true)
}

/// The table of a file that is written from front to back.
pub(super) struct Summing {
    hash: Sha1,
    filled: u32,
    hashes: Vec<u8>,
}

impl Summing {
    pub(super) fn new() -> Self {
        Self { hash: Sha1::new(), filled: 0, hashes: Vec::new() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min((PIECE - self.filled) as usize));
            self.hash.update(now);
            self.filled += now.len() as u32;
            if self.filled == PIECE {
                self.end_piece();
            }
            bytes = later;
        }
    }

    fn end_piece(&mut self) {
        self.hashes.extend_from_slice(&self.hash.finalize_reset());
        self.filled = 0;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.end_piece();
        }
        let size = size_of::<IntegrityHeader>() + self.hashes.len();
        let entries = self.hashes.len() / 20;
        let header =
            IntegrityHeader { size: (size as u32).into(), entries: (entries as u32).into(), chunk_size: PIECE.into() };
        [header.as_bytes(), &self.hashes].concat()
    }
}
