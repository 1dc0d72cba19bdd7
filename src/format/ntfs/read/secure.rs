//! Security descriptors, from `$Secure:$SDS`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use zerocopy::FromBytes;

use crate::base::bytes::round_up;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{SDS_ALIGN, SDS_BLOCK, SdsHeader, file, kind};

use super::attribute::Value;
use super::mft::Mft;

/// Where each security descriptor lies.
///
/// The stream is gone through from its start rather than by the index `$SII`: its entries say themselves who they are, so that a
/// damaged index costs nothing. An entry whose hash is wrong is taken from its copy.
#[derive(Default)]
pub(super) struct Descriptors(HashMap<u32, Box<[u8]>>);

impl Descriptors {
    /// Reads all of them: as many bytes of memory as the stream has, which is no longer than the volume.
    pub(super) fn read(mft: &Mft) -> Result<Self> {
        let secure = mft.system_file(file::SECURE)?;
        let Some(sds) = secure.find(kind::DATA, "$SDS") else {
            return Err(Error::corrupt("no stream $SDS"));
        };
        let extents = match &sds.value {
            Value::Outside(extents) => extents,
            Value::Resident(_) => return Err(Error::corrupt("$SDS is resident")),
            Value::Damaged(error) => return Err(super::mft::again(error)),
        };
        if extents.size > mft.clusters.volume.len() {
            return Err(Error::corrupt("length of $SDS").found(extents.size).allowed("the volume's length"));
        }
        let mut found = Self::default();
        let mut blocks = [vec![0; SDS_BLOCK as usize], vec![0; SDS_BLOCK as usize]];
        let mut at = 0;
        while at < extents.size {
            for (block, at) in blocks.iter_mut().zip([at, at + SDS_BLOCK]) {
                let len = extents.size.saturating_sub(at).min(SDS_BLOCK) as usize;
                extents.read(&mft.clusters, at, &mut block[..len])?;
                block[len..].fill(0);
            }
            // What lies in the last block behind the end of its copy is left over from earlier times.
            let end = extents.size.saturating_sub(at + SDS_BLOCK).min(SDS_BLOCK) as usize;
            let [block, copy] = &blocks;
            found.add_block(at, block, copy, if end == 0 { block.len() } else { end });
            at += 2 * SDS_BLOCK;
        }
        Ok(found)
    }

    /// The descriptor of that id.
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        self.0.get(&id).map(|bytes| &**bytes)
    }

    /// All of them, with their ids.
    pub(super) fn into_all(self) -> impl Iterator<Item = (u32, Box<[u8]>)> {
        self.0.into_iter()
    }

    /// Takes the entries of a block that begins at `start` in the stream. Entries begin at every 16th byte, but where one is damaged,
    /// nothing says where the next is: there, all such places are tried.
    fn add_block(&mut self, start: u64, block: &[u8], copy: &[u8], end: usize) {
        let mut at = 0;
        while at < end {
            let entry = entry(start, block, at).or_else(|| entry(start, copy, at));
            let len = match entry {
                Some((id, bytes)) => {
                    if let Entry::Vacant(place) = self.0.entry(id) {
                        place.insert(bytes.into());
                    }
                    size_of::<SdsHeader>() + bytes.len()
                }
                None => 1,
            };
            at = round_up((at + len) as u64, SDS_ALIGN).map_or(end, |at| at as usize);
        }
    }
}

/// Id and descriptor of the entry at `at`, if it is whole.
fn entry(start: u64, block: &[u8], at: usize) -> Option<(u32, &[u8])> {
    let (head, rest) = SdsHeader::read_from_prefix(block.get(at..)?).ok()?;
    if head.id.get() == 0 || head.offset.get() != start + at as u64 {
        return None;
    }
    let bytes = rest.get(..(head.len.get() as usize).checked_sub(size_of::<SdsHeader>())?)?;
    (!bytes.is_empty() && hash(bytes) == head.hash.get()).then_some((head.id.get(), bytes))
}

/// The hash of a descriptor: each word is added after a rotation by three bits.
fn hash(descriptor: &[u8]) -> u32 {
    let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    descriptor.as_chunks::<4>().0.iter().fold(0u32, |hash, bytes| hash.rotate_left(3).wrapping_add(word(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_bytes(id: u32, at: u64, descriptor: &[u8]) -> Vec<u8> {
        let mut bytes = [hash(descriptor).to_le_bytes(), id.to_le_bytes()].concat();
        bytes.extend(at.to_le_bytes());
        bytes.extend((20 + descriptor.len() as u32).to_le_bytes());
        bytes.extend(descriptor);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        bytes
    }

    #[test]
    fn finds_entries_also_behind_damaged_ones() {
        let mut block: Vec<u8> = Vec::new();
        for id in 0..8 {
            let entry = entry_bytes(0x100 + id, 0x8_0000 + block.len() as u64, &[id as u8 + 1; 44]);
            block.extend(entry);
        }
        let whole = block.clone();
        block[64 + 20] ^= 1; // a descriptor: its copy is whole
        block[2 * 64 + 16] = 0xFF; // a length
        let mut copy = whole.clone();
        copy[2 * 64 + 4] = 9; // no copy either
        copy[2 * 64 + 8] = 9;
        let mut found = Descriptors::default();
        found.add_block(0x8_0000, &block, &copy, block.len());
        for id in 0..8u32 {
            let expected = (id != 2).then_some([id as u8 + 1; 44]);
            assert_eq!(found.get(0x100 + id), expected.as_ref().map(|bytes| &bytes[..]), "{id}");
        }
        let mut found = Descriptors::default();
        found.add_block(0x8_0000, &whole, &whole, 3 * 64);
        assert_eq!(found.0.len(), 3, "what is behind the end is left over");
    }
}
