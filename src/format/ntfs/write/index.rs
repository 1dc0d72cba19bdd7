//! Index roots and index blocks, out of a shape and whatever can write its entries.

use zerocopy::IntoBytes;

use super::PIECE;
use super::record::protect;
use crate::error::Result;
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    BlockHeader, INDEX_BLOCK, IndexEntry, IndexRoot, NodeHeader, STRIDE, collation, entry_flag, kind,
};
use crate::format::ntfs::plan::index::{CHILD_LEN, END_LEN, ENTRIES_OFFSET, Shape};

/// Where the update sequence of an index block is.
const BLOCK_USA: usize = size_of::<BlockHeader>() + size_of::<NodeHeader>();

/// The sorted entries of an index.
pub(super) trait Entries {
    /// Appends the entry at `index`, without child: head, key and data, padded to eight bytes.
    fn write(&self, index: usize, out: &mut Vec<u8>);
}

/// Entries that are there already, all of one length.
pub(super) struct Fixed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) len: usize,
}

impl Entries for Fixed<'_> {
    fn write(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[index * self.len..(index + 1) * self.len]);
    }
}

/// The value of `$INDEX_ROOT` with entries that are all in it.
pub(in super::super) fn small_root(geometry: &Geometry, order: u32, entries: &[u8]) -> Vec<u8> {
    let end = end_entry(None);
    root(geometry, order, &[entries, &end].concat(), false)
}

/// The value of `$INDEX_ROOT` that leads to the top block.
pub(super) fn large_root(geometry: &Geometry, order: u32, shape: &Shape) -> Vec<u8> {
    let top = shape.blocks() - 1;
    root(geometry, order, &end_entry(Some(top * geometry.index_units())), true)
}

fn root(geometry: &Geometry, order: u32, entries: &[u8], children: bool) -> Vec<u8> {
    let head = IndexRoot {
        kind: if order == collation::FILE_NAME { kind::FILE_NAME } else { 0 }.into(),
        collation: order.into(),
        block_size: (INDEX_BLOCK as u32).into(),
        units_per_block: geometry.index_units() as u8,
        zero_13: [0; 3],
    };
    let len = (size_of::<NodeHeader>() + entries.len()) as u32;
    let node = node(size_of::<NodeHeader>() as u32, len, len, children);
    [head.as_bytes(), node.as_bytes(), entries].concat()
}

/// The head of a node.
pub(in super::super) fn node(entries_offset: u32, used: u32, allocated: u32, children: bool) -> NodeHeader {
    NodeHeader {
        entries_offset: entries_offset.into(),
        used: used.into(),
        allocated: allocated.into(),
        flags: u32::from(children).into(),
    }
}

/// The mark at the end of a node.
pub(in super::super) fn end_entry(child: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(END_LEN + CHILD_LEN);
    out.extend_from_slice(head(0, END_LEN, 0, entry_flag::END).as_bytes());
    if let Some(child) = child {
        adopt(&mut out, 0, child);
    }
    out
}

/// The head of an entry.
pub(in super::super) fn head(reference: u64, len: usize, key_len: usize, flags: u16) -> IndexEntry {
    IndexEntry {
        reference: reference.into(),
        len: (len as u16).into(),
        key_len: (key_len as u16).into(),
        flags: flags.into(),
        zero_14: 0.into(),
    }
}

/// Appends an entry of a view.
pub(in super::super) fn push_view(out: &mut Vec<u8>, key: &[u8], data: &[u8], len: usize) {
    let start = out.len();
    let data_offset = size_of::<IndexEntry>() + key.len();
    let place = if data.is_empty() { data_offset as u64 } else { data_offset as u64 | (data.len() as u64) << 16 };
    out.extend_from_slice(head(place, len, key.len(), 0).as_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(data);
    out.resize(start + len, 0);
}

/// Gives the last entry of `out`, which begins at `start`, a child.
pub(in super::super) fn adopt(out: &mut Vec<u8>, start: usize, child: u64) {
    let len = (out.len() - start + CHILD_LEN) as u16;
    out[start + 8..start + 10].copy_from_slice(&len.to_le_bytes());
    out[start + 12] |= entry_flag::HAS_CHILD as u8;
    out.extend_from_slice(&child.to_le_bytes());
}

/// Gives all blocks to `sink`, in pieces, with their offsets in `$INDEX_ALLOCATION`; the last piece is zero-filled to a whole cluster.
pub(super) fn write_blocks(
    geometry: &Geometry,
    shape: &Shape,
    entries: &dyn Entries,
    mut sink: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = Vec::with_capacity(PIECE.min(shape.blocks() as usize * INDEX_BLOCK));
    let mut written = 0;
    for (depth, level) in shape.levels.iter().enumerate() {
        let below = depth.checked_sub(1).map(|below| shape.levels[below].first_block);
        let child = |position: u32| below.map(|first| (first + u64::from(position)) * geometry.index_units());
        for block in 0..level.blocks() {
            if piece.len() + INDEX_BLOCK > PIECE {
                sink(written, &piece)?;
                written += piece.len() as u64;
                piece.clear();
            }
            let start = piece.len();
            piece.resize(start + ENTRIES_OFFSET, 0);
            let positions = level.block(block, shape.entries);
            for position in positions.clone() {
                let at = piece.len();
                entries.write(level.entry(position), &mut piece);
                if let Some(child) = child(position) {
                    adopt(&mut piece, at, child);
                }
            }
            piece.extend_from_slice(&end_entry(child(positions.end)));
            let vcn = (level.first_block + block as u64) * geometry.index_units();
            finish_block(&mut piece, start, vcn, depth > 0);
        }
    }
    piece.resize(piece.len().next_multiple_of(geometry.cluster.min(PIECE as u64) as usize), 0);
    sink(written, &piece)
}

/// Completes the block that begins at `start` of the piece.
pub(in super::super) fn finish_block(piece: &mut Vec<u8>, start: usize, vcn: u64, children: bool) {
    const HEAD: usize = size_of::<BlockHeader>();
    let used = (piece.len() - start - HEAD) as u32;
    piece.resize(start + INDEX_BLOCK, 0);
    let block = &mut piece[start..];
    let header = BlockHeader {
        magic: *b"INDX",
        usa_offset: (BLOCK_USA as u16).into(),
        usa_count: ((INDEX_BLOCK / STRIDE + 1) as u16).into(),
        lsn: 0.into(),
        vcn: vcn.into(),
    };
    let node = node((ENTRIES_OFFSET - HEAD) as u32, used, (INDEX_BLOCK - HEAD) as u32, children);
    block[..HEAD].copy_from_slice(header.as_bytes());
    block[HEAD..BLOCK_USA].copy_from_slice(node.as_bytes());
    protect(block, BLOCK_USA);
}

/// The value of an index's `$BITMAP`: all of its blocks are in use.
pub(super) fn bitmap(blocks: u64) -> Vec<u8> {
    let mut bits = vec![0; crate::format::ntfs::plan::index::bitmap_len(blocks) as usize];
    set_bits(&mut bits, 0..blocks);
    bits
}

/// Sets a range of bits.
pub(in super::super) fn set_bits(bits: &mut [u8], range: std::ops::Range<u64>) {
    let mut next = range.start;
    while next < range.end {
        let byte = (next / 8) as usize;
        if next.is_multiple_of(8) && range.end - next >= 8 {
            let end = (range.end / 8) as usize;
            bits[byte..end].fill(0xFF);
            next = range.end / 8 * 8;
        } else {
            bits[byte] |= 1 << (next % 8);
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_bits() {
        for (start, end) in [(0, 0), (0, 1), (3, 5), (7, 9), (0, 64), (5, 61), (8, 16)] {
            let mut bits = [0; 8];
            set_bits(&mut bits, start..end);
            let expected = (start..end).fold(0u64, |value, bit| value | 1 << bit);
            assert_eq!(u64::from_le_bytes(bits), expected, "{start}..{end}");
        }
    }
}
