//! An index that is changed in its blocks: entries are put in, taken out or replaced, and what is not touched stays as it is.
//!
//! A node that overflows is cut in two, its middle entry moving up; a root that no longer fits its record moves into a block. A leaf that
//! loses its last entry goes, and the entry that separated it from its neighbour moves down into that. Only where that would leave an
//! inner node without entries is the whole index laid out afresh, in the blocks that it has.

use std::cmp::Ordering;

use zerocopy::{FromBytes, IntoBytes};

use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::base::upcase;
use crate::error::{Error, Result};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    BlockHeader, FileName, INDEX_BLOCK, IndexEntry, IndexRoot, NodeHeader, collation, entry_flag,
};
use crate::format::ntfs::plan::index::{CHILD_LEN, END_LEN, ENTRIES_OFFSET, Shape, bitmap_len};
use crate::format::ntfs::read::raw::fix_up_block;
use crate::format::ntfs::write::index::{adopt, end_entry, finish_block, node, set_bits};

/// Deeper than an index of 2^32 entries with two in each block is not.
const DEEPEST: usize = 32;
/// The longest name makes an entry of 592 bytes.
const LONGEST_ENTRY: usize = 640;
/// What stands in a root before its entries.
const ROOT_HEAD: usize = size_of::<IndexRoot>() + size_of::<NodeHeader>();
/// The root is a page like any other, but for its place.
const ROOT: usize = 0;

/// The values of the three attributes that an index consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values {
    /// `$INDEX_ROOT`
    pub(super) root: Vec<u8>,
    /// `$INDEX_ALLOCATION` and `$BITMAP`, where there are blocks.
    pub(super) blocks: Option<(Vec<u8>, Vec<u8>)>,
}

/// An entry, without the number of its child.
struct Item {
    bytes: Vec<u8>,
    child: Option<usize>,
}

impl Item {
    fn key(&self) -> &[u8] {
        key(&self.bytes)
    }
}

/// The key of an entry.
pub(super) fn key(entry: &[u8]) -> &[u8] {
    let len = usize::from(u16_at(entry, 10).unwrap_or(0));
    entry.get(size_of::<IndexEntry>()..size_of::<IndexEntry>() + len).unwrap_or_default()
}

/// A node. Of pages that were given up, nothing but the place in the list remains.
#[derive(Default)]
struct Page {
    /// The number of its block; the root has none.
    block: Option<u64>,
    items: Vec<Item>,
    /// The child of the end mark.
    end: Option<usize>,
    changed: bool,
}

/// The way from the root to an entry, or to where it would stand: pages, and the place in each.
type Path = Vec<(usize, usize)>;

/// An index in memory.
pub(super) struct Index {
    geometry: Geometry,
    head: IndexRoot,
    pages: Vec<Page>,
    /// As it was read.
    values: Values,
    /// Which blocks are taken.
    taken: Vec<bool>,
    /// Most bytes that the value of the root may have.
    room: usize,
}

impl Index {
    /// Takes an index apart; its root may come to be `room` bytes long.
    pub(super) fn load(geometry: &Geometry, values: Values, room: usize) -> Result<Self> {
        let (head, node) = IndexRoot::read_from_prefix(&values.root)
            .map_err(|_| Error::corrupt("root of an index").found(values.root.len()))?;
        if head.block_size.get() as usize != INDEX_BLOCK {
            return Err(Error::unsupported("size of index blocks").found(head.block_size).allowed(INDEX_BLOCK));
        }
        let blocks = values.blocks.as_ref().map_or(0, |(allocation, _)| allocation.len() / INDEX_BLOCK);
        let node = node.to_vec();
        let room = room.clamp(ROOT_HEAD + END_LEN + CHILD_LEN, INDEX_BLOCK / 2);
        let mut index = Self { geometry: *geometry, head, pages: Vec::new(), values, taken: vec![false; blocks], room };
        index.load_node(&node, None, 0)?;
        index.check_order()?;
        Ok(index)
    }

    fn load_node(&mut self, bytes: &[u8], block: Option<u64>, depth: usize) -> Result<usize> {
        let wrong = |what: &str| Error::corrupt(format_args!("index: {what}"));
        let (header, _) = NodeHeader::read_from_prefix(bytes).map_err(|_| wrong("length of a node"))?;
        let entries = bytes.get(header.entries_offset.get() as usize..header.used.get() as usize);
        let mut rest = entries.ok_or_else(|| wrong("bounds of a node"))?;
        let page = self.pages.len();
        self.pages.push(Page { block, ..Page::default() });
        loop {
            let (head, _) = IndexEntry::read_from_prefix(rest).map_err(|_| wrong("a node without an end"))?;
            let len = usize::from(head.len.get());
            let entry = rest.get(..len).filter(|_| len >= size_of::<IndexEntry>() && len <= LONGEST_ENTRY);
            let entry = entry.ok_or_else(|| wrong("length of an entry").found(len))?;
            let flags = head.flags.get();
            let (own, child) = if flags & entry_flag::HAS_CHILD == 0 {
                (entry, None)
            } else {
                let (own, number) =
                    entry.split_last_chunk::<CHILD_LEN>().ok_or_else(|| wrong("an entry too short for its child"))?;
                (own, Some(self.load_block(u64::from_le_bytes(*number), depth + 1)?))
            };
            if flags & entry_flag::END != 0 {
                self.pages[page].end = child;
                return Ok(page);
            }
            if own.len() < size_of::<IndexEntry>() + usize::from(head.key_len.get()) {
                return Err(wrong("an entry too short for its key").found(len));
            }
            let mut own = own.to_vec();
            let own_len = own.len() as u16;
            own[8..10].copy_from_slice(&own_len.to_le_bytes());
            own[12] &= !(entry_flag::HAS_CHILD as u8);
            self.pages[page].items.push(Item { bytes: own, child });
            rest = &rest[len..];
        }
    }

    fn load_block(&mut self, vcn: u64, depth: usize) -> Result<usize> {
        let wrong = |what: &str| Error::corrupt(format_args!("index: {what}")).found(vcn);
        let units = self.geometry.index_units();
        let block = (vcn / units) as usize;
        let Some((allocation, _)) = &self.values.blocks else { return Err(wrong("a child without blocks")) };
        let bytes = allocation.get(block.saturating_mul(INDEX_BLOCK)..).and_then(|rest| rest.get(..INDEX_BLOCK));
        let bytes = bytes.filter(|_| vcn.is_multiple_of(units)).ok_or_else(|| wrong("a child beyond the blocks"))?;
        if depth > DEEPEST || std::mem::replace(&mut self.taken[block], true) {
            return Err(wrong("a block that hangs in it twice, or too deep"));
        }
        let mut bytes = bytes.to_vec();
        fix_up_block(&mut bytes)?;
        if u64_at(&bytes, 16) != Some(vcn) {
            return Err(wrong("a block that says it is another"));
        }
        self.load_node(&bytes[size_of::<BlockHeader>()..], Some(block as u64), depth)
    }

    fn check_order(&self) -> Result<()> {
        let all = self.in_order();
        let key = |place: &(usize, usize)| self.pages[place.0].items[place.1].key();
        match all.windows(2).find(|pair| self.compare(key(&pair[0]), key(&pair[1])).is_ge()) {
            None => Ok(()),
            Some(_) => Err(Error::corrupt("index: entries that are not in their order")),
        }
    }

    /// Where all entries stand, in their order.
    fn in_order(&self) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        let mut stack = vec![(ROOT, 0, false)];
        while let Some((page, at, is_below_done)) = stack.pop() {
            if !is_below_done {
                stack.push((page, at, true));
                stack.extend(self.child(page, at).map(|child| (child, 0, false)));
            } else if at < self.pages[page].items.len() {
                all.push((page, at));
                stack.push((page, at + 1, false));
            }
        }
        all
    }

    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        if self.head.collation.get() == collation::FILE_NAME {
            return upcase::compare(&name_of(a), &name_of(b));
        }
        words(a).cmp(words(b))
    }

    fn child(&self, page: usize, at: usize) -> Option<usize> {
        self.pages[page].items.get(at).map_or(self.pages[page].end, |item| item.child)
    }

    /// The way to a key, and whether it is there.
    fn find(&self, key: &[u8]) -> (Path, bool) {
        let mut path = Vec::new();
        let mut page = ROOT;
        loop {
            let found = self.pages[page].items.binary_search_by(|item| self.compare(item.key(), key));
            let (Ok(at) | Err(at)) = found;
            path.push((page, at));
            match self.child(page, at) {
                Some(child) if found.is_err() => page = child,
                _ => return (path, found.is_ok()),
            }
        }
    }

    fn last(path: &Path) -> (usize, usize) {
        path.last().copied().unwrap_or((ROOT, 0))
    }

    fn items(&mut self, page: usize) -> &mut Vec<Item> {
        self.pages[page].changed = true;
        &mut self.pages[page].items
    }

    /// Puts in an entry whose key is not there yet, else gives `false`.
    pub(super) fn insert(&mut self, bytes: Vec<u8>) -> bool {
        let (path, found) = self.find(key(&bytes));
        if !found {
            let (page, at) = Self::last(&path);
            self.items(page).insert(at, Item { bytes, child: None });
            self.relieve(path);
        }
        !found
    }

    /// Puts an entry in the place of the one with its key, or else gives `false`.
    pub(super) fn replace(&mut self, bytes: Vec<u8>) -> bool {
        let (path, found) = self.find(key(&bytes));
        let (page, at) = Self::last(&path);
        if found && self.pages[page].items[at].bytes != bytes {
            self.items(page)[at].bytes = bytes;
            self.relieve(path);
        }
        found
    }

    /// Takes out the entry with that key, or else gives `false`.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let (path, found) = self.find(key);
        let (page, at) = Self::last(&path);
        if !found {
            return false;
        }
        match self.pages[page].items[at].child {
            None => {
                self.items(page).remove(at);
                if page != ROOT && self.pages[page].items.is_empty() {
                    self.fold(path);
                }
            }
            Some(below) => match self.greatest(below) {
                Some(entry) => self.put_down(key, entry),
                None => {
                    let all = self.in_order().into_iter().filter(|place| *place != (page, at)).collect();
                    self.rebuild(all);
                }
            },
        }
        true
    }

    /// The last entry below a page, which is in a leaf.
    fn greatest(&self, page: usize) -> Option<Vec<u8>> {
        let mut page = page;
        while let Some(below) = self.pages[page].end {
            page = below;
        }
        self.pages[page].items.last().map(|item| item.bytes.clone())
    }

    /// Puts the entry from a leaf in the place of one of an inner node.
    fn put_down(&mut self, doomed: &[u8], entry: Vec<u8>) {
        self.remove(key(&entry));
        let (path, _) = self.find(doomed);
        let (page, at) = Self::last(&path);
        if self.pages[page].items[at].child.is_some() {
            self.items(page)[at].bytes = entry;
            self.relieve(path);
        } else {
            // It came down into a leaf when that of the other one went.
            self.remove(doomed);
            self.insert(entry);
        }
    }

    /// Takes out the leaf at the end of a path, which is empty.
    fn fold(&mut self, mut path: Path) {
        let Some((leaf, _)) = path.pop() else { return };
        let (parent, at) = Self::last(&path);
        self.release(leaf);
        let len = self.pages[parent].items.len();
        let separator = match len.checked_sub(1) {
            None => {
                self.pages[parent].end = None;
                self.pages[parent].changed = true;
                if parent != ROOT {
                    self.rebuild(self.in_order());
                }
                return;
            }
            Some(_) if at < len => self.items(parent).remove(at),
            Some(last) => {
                let separator = self.items(parent).remove(last);
                self.pages[parent].end = separator.child;
                separator
            }
        };
        self.insert(separator.bytes);
        if parent != ROOT && self.pages[parent].items.is_empty() {
            self.rebuild(self.in_order());
        }
    }

    /// Cuts pages on the way up that have become too long.
    fn relieve(&mut self, mut path: Path) {
        while let Some((page, _)) = path.pop() {
            if self.fits(page) {
                return;
            }
            if page == ROOT {
                let (items, end) = (std::mem::take(&mut self.pages[ROOT].items), self.pages[ROOT].end.take());
                let below = self.add(items, end);
                self.pages[ROOT].end = Some(below);
                self.pages[ROOT].changed = true;
                path.extend([(ROOT, 0), (below, 0)]);
                continue;
            }
            let middle = self.middle(page);
            let items = self.items(page);
            let right = items.split_off(middle + 1);
            let Some(separator) = items.pop() else { return };
            let left = std::mem::replace(items, right);
            let left = self.add(left, separator.child);
            let (parent, at) = Self::last(&path);
            self.items(parent).insert(at, Item { bytes: separator.bytes, child: Some(left) });
        }
    }

    /// The entry of a page that parts it into halves, neither of them empty.
    fn middle(&self, page: usize) -> usize {
        let items = &self.pages[page].items;
        let half = items.iter().map(|item| item.bytes.len()).sum::<usize>() / 2;
        let mut before = 0;
        let middle = items.iter().position(|item| {
            before += item.bytes.len();
            before > half
        });
        middle.unwrap_or(0).clamp(1, items.len().saturating_sub(2).max(1))
    }

    fn fits(&self, page: usize) -> bool {
        let Page { items, end, .. } = &self.pages[page];
        let child = if end.is_some() { CHILD_LEN } else { 0 };
        let len: usize = items.iter().map(|item| item.bytes.len() + child).sum::<usize>() + END_LEN + child;
        if page == ROOT { ROOT_HEAD + len <= self.room } else { ENTRIES_OFFSET + len <= INDEX_BLOCK }
    }

    /// A page in a free block.
    fn add(&mut self, items: Vec<Item>, end: Option<usize>) -> usize {
        let block = self.taken.iter().position(|taken| !taken).unwrap_or(self.taken.len());
        if block == self.taken.len() {
            self.taken.push(true);
        }
        self.taken[block] = true;
        self.pages.push(Page { block: Some(block as u64), items, end, changed: true });
        self.pages.len() - 1
    }

    fn release(&mut self, page: usize) {
        let page = std::mem::take(&mut self.pages[page]);
        if let Some(block) = page.block {
            self.taken[block as usize] = false;
        }
    }

    /// Lays out these entries afresh.
    fn rebuild(&mut self, all: Vec<(usize, usize)>) {
        let mut entries: Vec<Vec<u8>> =
            all.into_iter().map(|(page, at)| std::mem::take(&mut self.pages[page].items[at].bytes)).collect();
        for page in 1..self.pages.len() {
            self.release(page);
        }
        self.pages.truncate(1);
        self.pages[ROOT] = Page { changed: true, ..Page::default() };
        let len: usize = entries.iter().map(Vec::len).sum();
        let item = |bytes: &mut Vec<u8>, child| Item { bytes: std::mem::take(bytes), child };
        if ROOT_HEAD + len + END_LEN <= self.room {
            self.pages[ROOT].items = entries.iter_mut().map(|bytes| item(bytes, None)).collect();
            return;
        }
        let lens: Vec<u16> = entries.iter().map(|entry| entry.len() as u16).collect();
        let shape = Shape::new(&lens);
        let mut below: Vec<usize> = Vec::new();
        for level in &shape.levels {
            let mut pages = Vec::with_capacity(level.blocks());
            for block in 0..level.blocks() {
                let positions = level.block(block, entries.len());
                let child = |position: u32| below.get(position as usize).copied();
                let items = positions.clone().map(|at| item(&mut entries[level.entry(at)], child(at))).collect();
                pages.push(self.add(items, child(positions.end)));
            }
            below = pages;
        }
        self.pages[ROOT].end = below.first().copied();
    }

    /// The attributes' values, in which blocks that did not change are as they were.
    pub(super) fn finish(mut self) -> Values {
        self.relieve(vec![(ROOT, 0)]);
        if !self.pages.iter().any(|page| page.changed) {
            return self.values;
        }
        let root = self.root();
        if self.pages[ROOT].end.is_none() {
            return Values { root, blocks: None };
        }
        let (mut allocation, old) = self.values.blocks.take().unwrap_or_default();
        allocation.resize(allocation.len().max(self.taken.len() * INDEX_BLOCK), 0);
        for page in self.pages.iter().filter(|page| page.changed) {
            if let Some(block) = page.block {
                let at = block as usize * INDEX_BLOCK;
                allocation[at..at + INDEX_BLOCK].copy_from_slice(&self.block(page, block));
            }
        }
        let mut bitmap = vec![0; old.len().max(bitmap_len(self.taken.len() as u64) as usize)];
        for (block, _) in self.taken.iter().enumerate().filter(|(_, taken)| **taken) {
            set_bits(&mut bitmap, block as u64..block as u64 + 1);
        }
        Values { root, blocks: Some((allocation, bitmap)) }
    }

    fn root(&self) -> Vec<u8> {
        if !self.pages[ROOT].changed {
            return self.values.root.clone();
        }
        let entries = self.entries(&self.pages[ROOT]);
        let len = (size_of::<NodeHeader>() + entries.len()) as u32;
        let node = node(size_of::<NodeHeader>() as u32, len, len, self.pages[ROOT].end.is_some());
        [self.head.as_bytes(), node.as_bytes(), &entries].concat()
    }

    fn block(&self, page: &Page, block: u64) -> Vec<u8> {
        let mut bytes = vec![0; ENTRIES_OFFSET];
        bytes.extend(self.entries(page));
        finish_block(&mut bytes, 0, block * self.geometry.index_units(), page.end.is_some());
        bytes
    }

    /// The entries of a page with their children, and the end mark.
    fn entries(&self, page: &Page) -> Vec<u8> {
        let number = |child: usize| self.pages[child].block.unwrap_or(0) * self.geometry.index_units();
        let mut out = Vec::new();
        for item in &page.items {
            let start = out.len();
            out.extend_from_slice(&item.bytes);
            if let Some(child) = item.child {
                adopt(&mut out, start, number(child));
            }
        }
        out.extend(end_entry(page.end.map(number)));
        out
    }

    /// All entries, in their order.
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.in_order().into_iter().map(|(page, at)| self.pages[page].items[at].bytes.as_slice())
    }
}

/// The name in a key of a directory.
fn name_of(key: &[u8]) -> Vec<u16> {
    let units = key.get(size_of::<FileName>()..).unwrap_or_default();
    let len = key.get(64).map_or(0, |len| usize::from(*len));
    units.as_chunks::<2>().0.iter().take(len).map(|unit| u16::from_le_bytes(*unit)).collect()
}

/// The words of a key, by which views are ordered.
fn words(key: &[u8]) -> impl Iterator<Item = u32> {
    (0..key.len().div_ceil(4)).map(|word| u32_at(key, 4 * word).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::format::ntfs::geometry::tests::geometry;
    use crate::format::ntfs::write::index::{push_view, small_root};

    /// An entry whose key is a number, with so many bytes of data.
    fn entry(number: u32, data: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_view(&mut bytes, &number.to_le_bytes(), &vec![7; data], (20 + data).next_multiple_of(8));
        bytes
    }

    fn numbers(index: &Index) -> Vec<u32> {
        index.all().map(|entry| u32_at(key(entry), 0).unwrap()).collect()
    }

    /// Leaves are of one depth, no node but the root overflows, and none but the root is without entries.
    fn check(index: &Index) {
        let mut stack = vec![(ROOT, 0)];
        let mut leaves = BTreeSet::new();
        while let Some((page, depth)) = stack.pop() {
            assert!(page == ROOT || index.fits(page));
            let Page { items, end, .. } = &index.pages[page];
            assert!(page == ROOT || !items.is_empty(), "an empty page");
            match end {
                None => _ = leaves.insert(depth),
                Some(end) => stack.push((*end, depth + 1)),
            }
            for item in items {
                assert_eq!(item.child.is_some(), end.is_some());
                stack.extend(item.child.map(|child| (child, depth + 1)));
            }
        }
        assert_eq!(leaves.len(), 1, "leaves of several depths");
    }

    #[test]
    fn random_edits_leave_what_a_set_would_hold() {
        for cluster in [512, 4096, 65536] {
            let geometry = geometry(512, cluster);
            let root = small_root(&geometry, collation::ULONG, &[]);
            let mut values = Values { root, blocks: None };
            let mut expected = BTreeSet::new();
            let mut seed = 1u32;
            let mut random = |end: u32| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) % end
            };
            for round in 0..40 {
                let mut index = Index::load(&geometry, values, 300).unwrap();
                let shrinks = round % 8 >= 5;
                for _ in 0..random(600) {
                    let number = random(3000);
                    if random(10) < if shrinks { 9 } else { 3 } {
                        assert_eq!(index.remove(&number.to_le_bytes()), expected.remove(&number));
                    } else {
                        let bytes = entry(number, random(500) as usize);
                        assert_eq!(index.insert(bytes), expected.insert(number));
                    }
                }
                if round % 13 == 12 {
                    for number in std::mem::take(&mut expected) {
                        assert!(index.remove(&number.to_le_bytes()));
                    }
                }
                check(&index);
                assert_eq!(numbers(&index), expected.iter().copied().collect::<Vec<_>>());
                values = index.finish();
                assert!(values.root.len() <= 300);
            }
        }
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let geometry = geometry(512, 4096);
        let values = Values { root: small_root(&geometry, collation::ULONG, &[]), blocks: None };
        let mut index = Index::load(&geometry, values, 300).unwrap();
        (0..2000).for_each(|number| assert!(index.insert(entry(2 * number, 40))));
        let before = index.finish();
        let index = Index::load(&geometry, before.clone(), 300).unwrap();
        assert_eq!(index.finish(), before);
        let mut index = Index::load(&geometry, before.clone(), 300).unwrap();
        assert!(index.replace(entry(2000, 40)) && !index.replace(entry(2001, 40)) && !index.remove(&[1, 0, 0, 0]));
        assert_eq!(index.finish(), before, "the same entry once more");
        let mut index = Index::load(&geometry, before.clone(), 300).unwrap();
        assert!(index.insert(entry(2001, 40)) && !index.insert(entry(2000, 40)));
        let (after, before) = (index.finish().blocks.unwrap().0, before.blocks.unwrap().0);
        let changed = after.chunks(INDEX_BLOCK).zip(before.chunks(INDEX_BLOCK)).filter(|(a, b)| a != b).count();
        assert!(changed <= 2, "{changed}");
    }

    #[test]
    fn damaged_indexes_are_refused_or_taken_but_do_no_harm() {
        let geometry = geometry(512, 4096);
        let values = Values { root: small_root(&geometry, collation::ULONG, &[]), blocks: None };
        let mut index = Index::load(&geometry, values, 300).unwrap();
        (0..300).for_each(|number| assert!(index.insert(entry(number, 40))));
        let good = index.finish();
        let len = good.blocks.as_ref().unwrap().0.len();
        let mut refused = 0;
        for at in (0..good.root.len()).chain((0..len).step_by(3)) {
            let mut evil = good.clone();
            evil.root[at % good.root.len()] ^= if at < good.root.len() { 0x41 } else { 0 };
            evil.blocks.as_mut().unwrap().0[at] ^= 0x81;
            match Index::load(&geometry, evil, 300) {
                Err(_) => refused += 1,
                Ok(mut index) => {
                    index.insert(entry(1000, 400));
                    index.remove(&5u32.to_le_bytes());
                    index.finish();
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
