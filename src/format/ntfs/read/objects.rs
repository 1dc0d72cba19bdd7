//! Birth ids of files, from `$Extend\$ObjId:$O`.

use std::collections::HashMap;

use zerocopy::FromBytes;

use crate::base::bytes::{u32_at, u64_at};
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{BlockHeader, IndexEntry, IndexRoot, NodeHeader, entry_flag, kind};

use super::attribute::{Attribute, Value};
use super::mft::{File, Mft, again};
use super::record::fix_up;

/// The name of the index.
const INDEX: &str = "$O";
/// Volume, object and domain of birth.
const BIRTH: usize = 48;
/// Longest bitmap and root that are read.
const SMALL: u64 = 1 << 24;

/// An object id, and the ids of birth.
type Ids = ([u8; 16], [u8; BIRTH]);

/// What the index says of each file, by its reference.
#[derive(Default)]
pub(super) struct BirthIds(HashMap<u64, Ids>);

impl BirthIds {
    /// Reads the whole index, leaf by leaf as they lie.
    pub(super) fn read(mft: &Mft, file: &File) -> Result<Self> {
        let mut found = Self::default();
        let root = file.find(kind::INDEX_ROOT, INDEX).ok_or_else(|| Error::corrupt("no index $O"))?;
        let root = root.bytes(&mft.clusters, SMALL)?;
        let (head, node) = IndexRoot::read_from_prefix(&root).map_err(|_| Error::corrupt("the root of the index"))?;
        found.add_node(node);
        if let Some(allocation) = file.find(kind::INDEX_ALLOCATION, INDEX) {
            let bitmap = file.find(kind::BITMAP, INDEX).ok_or_else(|| Error::corrupt("no bitmap of the index"))?;
            let bitmap = bitmap.bytes(&mft.clusters, SMALL)?;
            found.add_blocks(mft, allocation, &bitmap, head.block_size.get() as usize)?;
        }
        Ok(found)
    }

    fn add_blocks(&mut self, mft: &Mft, allocation: &Attribute, bitmap: &[u8], size: usize) -> Result<()> {
        let blocks = match &allocation.value {
            Value::Outside(extents) => extents,
            Value::Resident(_) => return Err(Error::corrupt("$INDEX_ALLOCATION is resident")),
            Value::Damaged(error) => return Err(again(error)),
        };
        if !size.is_power_of_two() || !(512..=1 << 16).contains(&size) {
            return Err(Error::corrupt("size of index blocks").found(size).allowed("512 to 65536"));
        }
        let mut block = vec![0; size];
        for number in 0..blocks.size.min(mft.clusters.volume.len()) / size as u64 {
            let byte = bitmap.get(usize::try_from(number / 8).unwrap_or(usize::MAX)).copied().unwrap_or(0);
            if byte >> (number % 8) & 1 == 0 {
                continue;
            }
            blocks.read(&mft.clusters, number * size as u64, &mut block)?;
            fix_up(&mut block, b"INDX").map_err(|error| error.context(format_args!("index block {number}")))?;
            self.add_node(&block[size_of::<BlockHeader>()..]);
        }
        Ok(())
    }

    /// Takes the entries of a node; it ends where they cease to make sense.
    fn add_node(&mut self, node: &[u8]) {
        let Ok((head, _)) = NodeHeader::read_from_prefix(node) else { return };
        let mut at = head.entries_offset.get() as usize;
        while let Some((entry, _)) = node.get(at..).and_then(|rest| IndexEntry::read_from_prefix(rest).ok()) {
            let len = usize::from(entry.len.get());
            if entry.flags.get() & entry_flag::END != 0 || len < size_of::<IndexEntry>() {
                return;
            }
            let bytes = node.get(at..at + len).unwrap_or_default();
            self.0.extend(birth(bytes));
            at += len;
        }
    }

    /// Object id and birth ids of the file with that reference: 64 bytes, or just the 16 of `id` where the index has nothing to add.
    /// Where the id was given at birth, it repeats itself, and that adds nothing.
    pub(super) fn complete(&self, reference: u64, id: &[u8]) -> Box<[u8]> {
        let Some((indexed, births)) = self.0.get(&reference) else { return id.into() };
        let own = births[..16] == [0; 16] && births[16..32] == *indexed && births[32..] == [0; 16];
        if indexed != id || own { id.into() } else { [id, births].concat().into() }
    }
}

/// Reference, object id and birth ids of an entry.
fn birth(entry: &[u8]) -> Option<(u64, Ids)> {
    let id = entry.get(16..32)?.try_into().ok()?;
    let data = usize::from(u32_at(entry, 0)? as u16);
    let births = entry.get(data + 8..)?.first_chunk::<BIRTH>()?;
    Some((u64_at(entry, data)?, (id, *births)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(births: [u8; BIRTH]) -> Vec<u8> {
        let mut node = [16u32, 16 + 88 + 16, 16 + 88 + 16, 0].map(u32::to_le_bytes).concat();
        node.extend([32, 0, 56, 0, 0, 0, 0, 0, 88, 0, 16, 0, 0, 0, 0, 0]);
        node.extend([7; 16]);
        node.extend((1u64 << 48 | 99).to_le_bytes());
        node.extend(births);
        node.extend([0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0]);
        node
    }

    #[test]
    fn birth_ids_count_where_they_say_something() {
        let mut own = [0; BIRTH];
        own[16..32].fill(7);
        for (births, len) in [([9; BIRTH], 64), (own, 16), ([0; BIRTH], 64)] {
            let mut found = BirthIds::default();
            found.add_node(&node(births));
            assert_eq!(found.complete(1 << 48 | 99, &[7; 16]).len(), len);
            assert_eq!(found.complete(1 << 48 | 99, &[8; 16]).len(), 16, "an id that the index does not have");
            assert_eq!(found.complete(99, &[7; 16]).len(), 16);
        }
    }

    #[test]
    fn cut_nodes_do_no_harm() {
        let node = node([1; BIRTH]);
        for len in 0..node.len() {
            BirthIds::default().add_node(&node[..len]);
            let mut damaged = node.clone();
            damaged[len] ^= 0xFF;
            BirthIds::default().add_node(&damaged);
        }
    }
}
