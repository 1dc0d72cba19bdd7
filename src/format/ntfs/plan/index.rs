//! The shape of an index: which entries share a block, computed from their lengths alone.
//!
//! An index that does not fit into its file's record is loaded in bulk, level by level. The sorted entries fill leaves; the
//! entry that no longer fits a leaf becomes the separator between it and the next and moves up; the separators fill the next
//! level in the same way, until a level is one block. `$INDEX_ROOT` then holds nothing but the way to that block. Blocks
//! are numbered level by level, leaves first:
//!
//! ```text
//! entries    a b c d e f g h i j k l m n          level 1   [ d       h       l   ]   block 4
//! leaves     0: a b c | 1: e f g | 2: i j k | 3: m n        0 /   1 /     2 /     \ 3
//! ```
//!
//! So entry `i` of a level's list has block `i` of the level below as its child, and the end mark of a block whose
//! entries stop at `i` has it too.

use std::ops::Range;

use crate::format::ntfs::ondisk::{BlockHeader, INDEX_BLOCK, IndexEntry, IndexRoot, NodeHeader};

/// Where entries begin in a block: after both heads and the update sequence.
pub(in super::super) const ENTRIES_OFFSET: usize = 64;
/// Length of the mark that ends a node without children.
pub(in super::super) const END_LEN: usize = size_of::<IndexEntry>();
/// Length of the number of a child block.
pub(in super::super) const CHILD_LEN: usize = 8;
/// Length of the value of `$INDEX_ROOT` without any entry.
const ROOT_LEN: usize = size_of::<IndexRoot>() + size_of::<NodeHeader>();

const _: () =
    assert!(size_of::<BlockHeader>() + size_of::<NodeHeader>() + 2 * (INDEX_BLOCK / 512 + 1) <= ENTRIES_OFFSET);

/// Length of an entry without child.
pub(in super::super) fn entry_len(key_and_data: usize) -> usize {
    (size_of::<IndexEntry>() + key_and_data).next_multiple_of(8)
}

/// Length of the value of an `$INDEX_ROOT` that holds all entries itself.
pub(in super::super) fn small_root_len(entries: u64) -> u64 {
    (ROOT_LEN + END_LEN) as u64 + entries
}

/// Length of the value of an `$INDEX_ROOT` that only leads to blocks.
pub(in super::super) const LARGE_ROOT_LEN: u64 = (ROOT_LEN + END_LEN + CHILD_LEN) as u64;

/// One level: which entries stand on it, and after how many of them each block ends.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Level {
    /// Indices into all entries; `None` for the leaves' level, which deals with all of them.
    pub(in super::super) list: Option<Vec<u32>>,
    /// Positions in the list that end a block and are the next level's entries.
    pub(in super::super) cuts: Vec<u32>,
    /// The number of the level's first block.
    pub(in super::super) first_block: u64,
}

impl Level {
    /// The index of the entry at a position of the level's list.
    pub(in super::super) fn entry(&self, position: u32) -> usize {
        self.list.as_ref().map_or(position, |list| list[position as usize]) as usize
    }

    /// The positions of the entries in a block.
    pub(in super::super) fn block(&self, block: usize, entries: usize) -> Range<u32> {
        let len = self.list.as_ref().map_or(entries, Vec::len) as u32;
        let start = block.checked_sub(1).map_or(0, |before| self.cuts[before] + 1);
        start..self.cuts.get(block).copied().unwrap_or(len)
    }

    /// How many blocks the level has.
    pub(in super::super) fn blocks(&self) -> usize {
        self.cuts.len() + 1
    }
}

/// The levels of an index, leaves first.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Shape {
    pub(in super::super) levels: Vec<Level>,
    /// How many entries there are.
    pub(in super::super) entries: usize,
}

impl Shape {
    /// The shape for entries of these lengths (without child), of which there is at least one.
    pub(in super::super) fn new(lens: &[u16]) -> Self {
        let mut shape = Self { levels: Vec::new(), entries: lens.len() };
        let mut cuts = cut(lens.iter().map(|len| usize::from(*len)), END_LEN);
        let mut list: Option<Vec<u32>> = None;
        let mut first_block = 0;
        loop {
            let level = Level { list, cuts, first_block };
            first_block += level.blocks() as u64;
            let up: Vec<u32> = level.cuts.iter().map(|position| level.entry(*position) as u32).collect();
            shape.levels.push(level);
            if up.is_empty() {
                return shape;
            }
            cuts = cut(up.iter().map(|index| usize::from(lens[*index as usize]) + CHILD_LEN), END_LEN + CHILD_LEN);
            list = Some(up);
        }
    }

    /// How many blocks there are; the last is the top.
    pub(in super::super) fn blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks() as u64).sum()
    }
}

/// Fills blocks greedily and returns the positions of the entries that separate them. No block stays without entries.
fn cut(lens: impl ExactSizeIterator<Item = usize>, end: usize) -> Vec<u32> {
    let room = INDEX_BLOCK - ENTRIES_OFFSET - end;
    let last = lens.len().saturating_sub(1);
    let mut cuts = Vec::new();
    let mut used = 0;
    for (position, len) in lens.enumerate() {
        if used + len <= room {
            used += len;
        } else if position == last {
            // It would separate a full block from nothing: the one before it separates, and this one stands alone. A block
            // holds six of even the longest names, so that the one before it is not alone in its block.
            cuts.push(position as u32 - 1);
        } else {
            cuts.push(position as u32);
            used = 0;
        }
    }
    cuts
}

/// Length of the value of an index's `$BITMAP`.
pub(in super::super) fn bitmap_len(blocks: u64) -> u64 {
    blocks.div_ceil(64) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lens: &[u16]) -> Shape {
        let shape = Shape::new(lens);
        let mut seen = vec![0; lens.len()];
        for (depth, level) in shape.levels.iter().enumerate() {
            for block in 0..level.blocks() {
                let positions = level.block(block, lens.len());
                assert!(!positions.is_empty(), "empty block at level {depth}");
                let child = if depth > 0 { CHILD_LEN } else { 0 };
                let used: usize = positions.clone().map(|p| usize::from(lens[level.entry(p)]) + child).sum();
                assert!(ENTRIES_OFFSET + used + END_LEN + child <= INDEX_BLOCK);
                positions.for_each(|p| seen[level.entry(p)] += 1);
            }
            if depth > 0 {
                let below = &shape.levels[depth - 1];
                assert_eq!(level.list.as_ref().unwrap().len() + 1, below.blocks());
                assert_eq!(level.first_block, below.first_block + below.blocks() as u64);
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "each entry stands once");
        assert_eq!(shape.levels.last().unwrap().blocks(), 1);
        shape
    }

    #[test]
    fn every_count_of_entries_has_a_sound_shape() {
        for len in [24u16, 88, 104, 592] {
            for count in 1..400 {
                check(&vec![len; count]);
            }
        }
        let deep = check(&vec![592; 30_000]);
        assert!(deep.levels.len() >= 5, "{}", deep.levels.len());
        let mixed: Vec<u16> = (0..50_000u32).map(|i| (88 + i.wrapping_mul(2_654_435_761) % 64 * 8) as u16).collect();
        check(&mixed);
    }

    #[test]
    fn bitmaps_come_in_eight_bytes() {
        assert_eq!((bitmap_len(1), bitmap_len(64), bitmap_len(65)), (8, 8, 16));
    }
}
