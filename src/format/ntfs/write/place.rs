//! Where blobs go: every piece straight to every place that wants it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Writer;
use super::record::RECORD_USA;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::STRIDE;
use crate::tree::{BlobId, BlobSink, Content, StoreId};

/// How a blob lies in the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    /// In clusters, from this offset in the volume.
    Clusters(u64),
    /// In a FILE record, from this offset in the MFT: the last two bytes of each stride belong into the update sequence array.
    Record(u64),
}

/// One place that wants a blob.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub(super) store: StoreId,
    pub(super) blob: BlobId,
    pub(super) len: u64,
    pub(super) to: Destination,
}

impl Placement {
    /// Of a content that is a blob and holds anything.
    pub(super) fn of(content: &Content, to: Destination) -> Option<Self> {
        match content {
            Content::Blob { store, blob, len } if *len > 0 => Some(Self { store: *store, blob: *blob, len: *len, to }),
            _ => None,
        }
    }
}

/// Receives the blobs of one store.
pub(super) struct Sink<'a> {
    pub(super) writers: &'a [Writer<'a>],
    /// Sorted by blob, each with the number of its volume's writer.
    pub(super) placements: &'a [(u32, Placement)],
    /// Bytes received of the blobs that are wanted.
    pub(super) received: AtomicU64,
}

impl Sink<'_> {
    fn of(&self, blob: BlobId) -> &[(u32, Placement)] {
        let start = self.placements.partition_point(|(_, placement)| placement.blob < blob);
        let len = self.placements[start..].partition_point(|(_, placement)| placement.blob == blob);
        &self.placements[start..start + len]
    }
}

impl BlobSink for Sink<'_> {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let len = data.len() as u64;
        for (volume, placement) in self.of(blob) {
            let writer = &self.writers[*volume as usize];
            let end = at.checked_add(len).filter(|end| *end <= placement.len);
            let Some(end) = end else {
                return Err(Error::corrupt("a blob that is longer than its table says")
                    .found(at.saturating_add(len))
                    .allowed(placement.len));
            };
            match placement.to {
                Destination::Clusters(start) => writer.write_piece(start + at, data, end == placement.len)?,
                Destination::Record(start) => writer.write_into_record(start + at, data)?,
            }
            (writer.progress)(len);
        }
        self.received.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }
}

impl Writer<'_> {
    /// Writes a piece of a stream, and with the last one the zeros up to the end of the cluster.
    pub(super) fn write_piece(&self, at: u64, data: &[u8], last: bool) -> Result<()> {
        let cluster = self.plan.files.geometry.cluster;
        let beyond = (at + data.len() as u64) % cluster;
        if !last || beyond == 0 {
            return self.disk.write_at(at, data);
        }
        let split = data.len() - (beyond as usize).min(data.len());
        let (head, tail) = data.split_at(split);
        if !head.is_empty() {
            self.disk.write_at(at, head)?;
        }
        let mut filled = Vec::with_capacity(cluster as usize);
        filled.extend_from_slice(tail);
        filled.resize(tail.len() + (cluster - beyond) as usize, 0);
        self.disk.write_at(at + split as u64, &filled)
    }

    /// Writes into a record that has its update sequence already.
    fn write_into_record(&self, at: u64, data: &[u8]) -> Result<()> {
        let mft = self.plan.files.geometry.bytes(self.plan.system.mft.lcn);
        let record = self.plan.files.geometry.record as u64;
        for (place, piece) in split_strides(at, data.len(), record) {
            self.disk.write_at(mft + place, &data[piece])?;
        }
        Ok(())
    }
}

/// Splits `len` bytes at offset `at` of the MFT into what stands where it belongs and what stands in the update sequence array.
fn split_strides(at: u64, len: usize, record: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let place = at + done as u64;
        let in_stride = (place % STRIDE as u64) as usize;
        let saved = in_stride.checked_sub(STRIDE - 2);
        let room = if saved.is_some() { STRIDE } else { STRIDE - 2 } - in_stride;
        let piece = done..done + room.min(len - done);
        done = piece.end;
        let to = saved.map_or(place, |saved| {
            let stride = place % record / STRIDE as u64;
            place / record * record + (RECORD_USA + 2 + saved) as u64 + 2 * stride
        });
        Some((to, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_strides_go_into_the_update_sequence() {
        let pieces: Vec<_> = split_strides(3 * 1024 + 500, 20, 1024).collect();
        assert_eq!(pieces, [(3572, 0..10), (3 * 1024 + 50, 10..12), (3 * 1024 + 512, 12..20)]);
        let pieces: Vec<_> = split_strides(1023, 1, 1024).collect();
        assert_eq!(pieces, [(53, 0..1)]);
        let pieces: Vec<_> = split_strides(4096 + 7 * 512 + 510, 2, 4096).collect();
        assert_eq!(pieces, [(4096 + 50 + 14, 0..2)]);
    }
}
