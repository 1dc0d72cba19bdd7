//! From bytes to a [`Hive`], checking everything once.
//!
//! The walk over the bins notes where allocated cells begin; each offset that is then followed must be one of them, and
//! takes it away. So nothing is followed twice: no cycle, no sharing (but of security cells, which is meant), and no more
//! memory than the file has cells for.

use std::collections::HashMap;

use zerocopy::FromBytes;

use super::log;
use super::ondisk::*;
use super::store::{Bytes, Cells, Hive, Key, offsets, word};
use crate::base::FileTime;
use crate::base::bytes::u32_at;
use crate::error::{Error, Result};

/// Levels of keys below the root that the registry allows.
pub const MAX_DEPTH: usize = 512;
/// Code units of a key's name that the registry allows.
pub const MAX_KEY_NAME: usize = 256;

/// How to read a hive that is dirty: written to, but not to the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// The contents of the log files (`.LOG1`, `.LOG2`, or the one `.LOG`), in any order; empty ones do no harm.
    pub logs: &'a [&'a [u8]],
    /// Read the primary file as it is if no log applies, instead of refusing it.
    pub accept_dirty: bool,
}

impl Hive {
    /// Reads a clean hive.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) or [`Truncated`](crate::error::Kind::Truncated) with the offset in the file;
    /// also for a dirty hive, which needs [`read_with`](Hive::read_with) and its logs.
    /// [`Unsupported`](crate::error::Kind::Unsupported) for versions before 1.3 and after 1.6.
    pub fn read(bytes: Vec<u8>) -> Result<Self> {
        Self::read_with(bytes, ReadOptions::default())
    }

    /// Reads a hive and, if it is dirty, replays its logs first (in memory).
    ///
    /// # Errors
    /// As [`read`](Hive::read).
    pub fn read_with(mut bytes: Vec<u8>, options: ReadOptions<'_>) -> Result<Self> {
        let (base, recovery) = log::recover(&mut bytes, options)?;
        check_base(&base)?;
        let size = base.bins_size.get() as usize;
        if size == 0 || !size.is_multiple_of(BLOCK) {
            return Err(Error::corrupt("hive: size of the bins")
                .at(40)
                .found(size)
                .allowed("a positive multiple of 4096"));
        }
        if bytes.len() - BLOCK < size {
            return Err(Error::truncated("hive: bins")
                .found(format_args!("{} bytes", bytes.len() - BLOCK))
                .allowed(format_args!("{size} bytes")));
        }
        bytes.truncate(BLOCK + size);
        let mut reader = Reader::new(&bytes)?;
        reader.tree(base.root.get())?;
        let (keys, descriptors) = (reader.keys, reader.descriptors);
        let now = FileTime(base.last_written.get());
        Ok(Self { bytes, base, keys, descriptors, root: 0, now, recovery })
    }
}

fn check_base(base: &BaseBlock) -> Result<()> {
    let (major, minor) = (base.major.get(), base.minor.get());
    if major != 1 || !(3..=6).contains(&minor) {
        return Err(Error::unsupported("hive: version")
            .at(20)
            .found(format_args!("{major}.{minor}"))
            .allowed("1.3 to 1.6"));
    }
    if base.file_type.get() != TYPE_PRIMARY || base.file_format.get() != FORMAT_MEMORY {
        return Err(Error::corrupt("hive: type and format of the file")
            .at(28)
            .found(format_args!("{}, {}", base.file_type.get(), base.file_format.get()))
            .allowed("0 (a primary file, not a log), 1"));
    }
    Ok(())
}

/// The allocated cells that nothing has pointed to yet: a bit for each 8 bytes.
struct Unclaimed(Vec<u64>);

impl Unclaimed {
    fn new(bins_size: usize) -> Self {
        Self(vec![0; bins_size.div_ceil(CELL_ALIGN * 64)])
    }

    fn add(&mut self, cell: usize) {
        self.0[cell / (CELL_ALIGN * 64)] |= 1 << (cell / CELL_ALIGN % 64);
    }

    /// Whether an allocated cell begins there that was not taken before.
    fn take(&mut self, cell: u32) -> bool {
        let cell = cell as usize;
        if !cell.is_multiple_of(CELL_ALIGN) {
            return false;
        }
        let (word, bit) = (cell / (CELL_ALIGN * 64), 1 << (cell / CELL_ALIGN % 64));
        match self.0.get_mut(word) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                true
            }
            _ => false,
        }
    }
}

struct Reader<'a> {
    cells: Cells<'a>,
    unclaimed: Unclaimed,
    keys: Vec<Key>,
    descriptors: Vec<Bytes>,
    /// Security cell to index among the descriptors.
    securities: HashMap<u32, u32>,
}

/// An error about the cell at `cell`.
fn bad(what: &str, cell: u32) -> Error {
    Error::corrupt(format_args!("hive: {what}")).at(u64::from(cell) + BLOCK as u64)
}

impl<'a> Reader<'a> {
    /// Walks all bins and their cells.
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut unclaimed = Unclaimed::new(bytes.len() - BLOCK);
        let mut bin = BLOCK;
        while bin < bytes.len() {
            let end = bin_end(bytes, bin)?;
            let mut cell = bin + BIN_HEADER;
            while cell < end {
                let size = u32_at(bytes, cell).unwrap_or(0).cast_signed();
                let len = size.unsigned_abs() as usize;
                if len < CELL_ALIGN || !len.is_multiple_of(CELL_ALIGN) || len > end - cell {
                    return Err(Error::corrupt("hive: size of a cell")
                        .at(cell as u64)
                        .found(size)
                        .allowed(format_args!("a multiple of 8, up to the {} bytes left in the bin", end - cell)));
                }
                if size < 0 {
                    unclaimed.add(cell - BLOCK);
                }
                cell += len;
            }
            bin = end;
        }
        Ok(Self {
            cells: Cells(bytes),
            unclaimed,
            keys: Vec::new(),
            descriptors: Vec::new(),
            securities: HashMap::new(),
        })
    }

    fn claim(&mut self, cell: u32, what: &str, from: u32) -> Result<&'a [u8]> {
        let taken = self.unclaimed.take(cell);
        self.cells.payload(cell).filter(|_| taken).ok_or_else(|| {
            bad(&format!("offset of the {what}"), from)
                .found(format_args!("{cell:#x}"))
                .allowed("the start of an allocated cell that nothing else points to")
        })
    }

    /// All keys, level by level, so that the subkeys of each lie side by side.
    fn tree(&mut self, root: u32) -> Result<()> {
        self.add_key(root, NOWHERE, 0)?;
        let (mut next, mut level_end, mut depth) = (0, 1, 0);
        while next < self.keys.len() {
            if next == level_end {
                level_end = self.keys.len();
                depth += 1;
            }
            if depth > MAX_DEPTH {
                return Err(bad("depth of the tree of keys", self.keys[next].cell).allowed(MAX_DEPTH));
            }
            self.fill(next)?;
            next += 1;
        }
        Ok(())
    }

    /// Takes the key node at `cell`, checks what it says of itself, and adds it to the arena.
    fn add_key(&mut self, cell: u32, parent: u32, from: u32) -> Result<()> {
        self.claim(cell, "key node", from)?;
        let (head, name) = self.cells.key(cell).ok_or_else(|| bad("key node", cell))?;
        let compressed = head.flags.get() & KEY_COMP_NAME != 0;
        let whole = compressed || head.name_length.get().is_multiple_of(2);
        let least = usize::from(parent != NOWHERE);
        if !whole || !(least..=MAX_KEY_NAME).contains(&name.len()) {
            return Err(bad("length of a key's name", cell)
                .found(head.name_length)
                .allowed(format_args!("{least} to {MAX_KEY_NAME} code units")));
        }
        self.keys.push(Key { cell, parent, first: 0, count: 0, security: NOWHERE, edit: None });
        Ok(())
    }

    /// Follows everything that the key of that index points to.
    fn fill(&mut self, index: usize) -> Result<()> {
        let cell = self.keys[index].cell;
        let (head, _) = self.cells.key(cell).ok_or_else(|| bad("key node", cell))?;
        if head.class.get() != NOWHERE && head.class_length.get() != 0 {
            self.claim(head.class.get(), "class", cell)?;
            self.cells.class(head).ok_or_else(|| bad("length of a class", cell).found(head.class_length))?;
        }
        self.keys[index].security = self.security(head.security.get(), cell)?;
        if head.flags.get() & KEY_PREDEF_HANDLE == 0 && head.values.get() != 0 {
            self.values(head, cell)?;
        }
        let subkeys = head.subkeys.get();
        if subkeys != 0 {
            let list = self.subkey_list(head.subkey_list.get(), subkeys, cell)?;
            self.keys[index].first = index_of(self.keys.len())?;
            self.keys[index].count = subkeys;
            for subkey in list {
                self.add_key(subkey, index_of(index)?, cell)?;
            }
            self.sort(index)?;
        }
        Ok(())
    }

    /// The key nodes that a list of subkeys names, directly or through an index root.
    fn subkey_list(&mut self, list: u32, count: u32, key: u32) -> Result<Vec<u32>> {
        let payload = self.claim(list, "list of subkeys", key)?;
        let mut found = Vec::new();
        match leaf(payload) {
            Some(Leaf::Keys(keys)) => found.extend(keys),
            Some(Leaf::Lists(lists)) => {
                for leaf_cell in lists {
                    let payload = self.claim(leaf_cell, "leaf of the list of subkeys", list)?;
                    match leaf(payload) {
                        Some(Leaf::Keys(keys)) => found.extend(keys),
                        _ => return Err(bad("leaf of a list of subkeys", leaf_cell).allowed("li, lf or lh")),
                    }
                }
            }
            None => return Err(bad("list of subkeys", list).allowed("li, lf, lh or ri")),
        }
        if found.len() != count as usize {
            return Err(bad("number of subkeys", key).found(count).allowed(format_args!("{}, as listed", found.len())));
        }
        Ok(found)
    }

    /// Sorts the subkeys, should the file's writer not have done so, and refuses two of one name.
    fn sort(&mut self, index: usize) -> Result<()> {
        let cells = self.cells;
        let compare = |a: &Key, b: &Key| match (cells.key(a.cell), cells.key(b.cell)) {
            (Some((_, a)), Some((_, b))) => a.compare(&b),
            _ => std::cmp::Ordering::Equal,
        };
        let (first, count) = (self.keys[index].first as usize, self.keys[index].count as usize);
        let subkeys = &mut self.keys[first..first + count];
        if !subkeys.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            subkeys.sort_by(compare);
            if let Some(pair) = subkeys.windows(2).find(|pair| compare(&pair[0], &pair[1]).is_eq()) {
                return Err(bad("two subkeys of one name", pair[1].cell));
            }
        }
        Ok(())
    }

    /// The index of a descriptor; security cells are shared.
    fn security(&mut self, cell: u32, key: u32) -> Result<u32> {
        if cell == NOWHERE {
            return Ok(NOWHERE);
        }
        if let Some(index) = self.securities.get(&cell) {
            return Ok(*index);
        }
        let payload = self.claim(cell, "security cell", key)?;
        let descriptor = KeySecurity::ref_from_prefix(payload)
            .ok()
            .filter(|(head, rest)| head.signature == KEY_SECURITY && head.size.get() as usize <= rest.len());
        let (head, _) = descriptor.ok_or_else(|| bad("security cell", cell))?;
        let index = index_of(self.descriptors.len())?;
        self.descriptors.push(Bytes::Stored { cell, at: KEY_SECURITY_SIZE as u32, len: head.size.get() });
        self.securities.insert(cell, index);
        Ok(index)
    }

    fn values(&mut self, head: &KeyNode, key: u32) -> Result<()> {
        let payload = self.claim(head.value_list.get(), "list of values", key)?;
        let list = offsets(payload, head.values.get() as usize)
            .ok_or_else(|| bad("number of values", key).found(head.values).allowed(payload.len() / 4))?;
        for cell in list {
            self.claim(cell, "value", key)?;
            let value = self.cells.value(cell).ok_or_else(|| bad("value", cell))?;
            let compressed = value.head.flags.get() & VALUE_COMP_NAME != 0;
            if !compressed && !value.head.name_length.get().is_multiple_of(2) {
                return Err(bad("length of a value's name", cell)
                    .found(value.head.name_length)
                    .allowed("an even number"));
            }
            self.data(value.head, cell)?;
        }
        Ok(())
    }

    /// Takes all cells of a value's data.
    fn data(&mut self, head: &KeyValue, value: u32) -> Result<()> {
        let size = head.data_size.get();
        let wrong = || bad("size of a value's data", value).found(format_args!("{size:#x}"));
        if size & INLINE != 0 {
            return match size & !INLINE {
                0..=4 => Ok(()),
                _ => Err(wrong().allowed("up to 4 bytes without a cell of their own")),
            };
        }
        if size == 0 {
            return Ok(());
        }
        let payload = self.claim(u32::from_le_bytes(head.data), "data", value)?;
        if payload.len() >= size as usize {
            return Ok(());
        }
        let (big, _) = BigData::ref_from_prefix(payload)
            .ok()
            .filter(|(big, _)| big.signature == BIG_DATA)
            .ok_or_else(|| wrong().allowed(format_args!("{} bytes, as the cell holds", payload.len())))?;
        self.claim(big.list.get(), "list of segments", value)?;
        let list = self.cells.segment_list(payload, size as usize).ok_or_else(wrong)?;
        let mut left = size as usize;
        for segment in list {
            let wanted = left.min(SEGMENT);
            if self.claim(segment, "segment", value)?.len() < wanted {
                return Err(bad("segment of a value's data", segment).allowed(format_args!("{wanted} bytes")));
            }
            left -= wanted;
        }
        Ok(())
    }
}

fn index_of(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::unsupported("hive: number of keys"))
}

/// Checks the header of the bin at `bin` and tells its end.
fn bin_end(bytes: &[u8], bin: usize) -> Result<usize> {
    let (head, _) =
        BinHeader::ref_from_prefix(&bytes[bin..]).map_err(|_| Error::truncated("hive bin").at(bin as u64))?;
    if head.signature != HBIN || head.offset.get() as usize != bin - BLOCK {
        return Err(Error::corrupt("hive: header of a bin").at(bin as u64).allowed("hbin and its own offset"));
    }
    let size = head.size.get() as usize;
    if size == 0 || !size.is_multiple_of(BLOCK) || size > bytes.len() - bin {
        return Err(Error::corrupt("hive: size of a bin")
            .at(bin as u64)
            .found(size)
            .allowed(format_args!("a multiple of 4096, up to the {} bytes left", bytes.len() - bin)));
    }
    Ok(bin + size)
}

/// What a list of subkeys lists.
enum Leaf<A, B> {
    Keys(A),
    Lists(B),
}

fn leaf(payload: &[u8]) -> Option<Leaf<impl Iterator<Item = u32> + '_, impl Iterator<Item = u32> + '_>> {
    let (head, rest) = ListHeader::ref_from_prefix(payload).ok()?;
    let count = usize::from(head.count.get());
    match head.signature {
        INDEX_ROOT => Some(Leaf::Lists(offsets(rest, count)?)),
        INDEX_LEAF => Some(Leaf::Keys(elements(rest, count, 4)?)),
        // Each offset is followed by a hint or hash of the name, which is not needed here.
        FAST_LEAF | HASH_LEAF => Some(Leaf::Keys(elements(rest, count, 8)?)),
        _ => None,
    }
}

/// The offsets at the start of `count` elements of `size` bytes.
fn elements(list: &[u8], count: usize, size: usize) -> Option<impl Iterator<Item = u32> + '_> {
    Some(list.get(..count * size)?.chunks_exact(size).map(word))
}
