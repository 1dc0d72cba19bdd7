//! Indexes of `$Secure`, `$ObjId` and `$Reparse`: entries of one length each.

use super::index::{self, Shape};
use super::{Cursor, Extent};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::INDEX_BLOCK;

/// Most bytes of entries that stay in the record, so that several indexes fit into one.
const MAX_RESIDENT: u64 = 256;
/// Longest bitmap that stays in the record.
const MAX_RESIDENT_BITMAP: u64 = 64;

/// Where a view index is.
pub(in super::super) struct View {
    /// Length of an entry without child.
    pub(in super::super) entry_len: u16,
    /// `None` when all entries are in the record.
    pub(in super::super) blocks: Option<Blocks>,
}

/// The part of a view index that is outside of the record.
pub(in super::super) struct Blocks {
    pub(in super::super) shape: Shape,
    pub(in super::super) extent: Extent,
    /// `None` when the bitmap is in the record.
    pub(in super::super) bitmap: Option<Extent>,
}

impl View {
    /// Lays out `count` entries of `entry_len` bytes.
    pub(super) fn new(geometry: &Geometry, cursor: &mut Cursor, count: usize, entry_len: u16) -> Self {
        if count as u64 * u64::from(entry_len) <= MAX_RESIDENT {
            return Self { entry_len, blocks: None };
        }
        let shape = Shape::new(&vec![entry_len; count]);
        let extent = cursor.take(geometry, shape.blocks() * INDEX_BLOCK as u64);
        let bitmap_len = index::bitmap_len(shape.blocks());
        let bitmap = (bitmap_len > MAX_RESIDENT_BITMAP).then(|| cursor.take(geometry, bitmap_len));
        Self { entry_len, blocks: Some(Blocks { shape, extent, bitmap }) }
    }
}
