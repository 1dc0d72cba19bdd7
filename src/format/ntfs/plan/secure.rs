//! `$Secure`: every security descriptor once, each file naming its own by id.

use std::collections::HashMap;
use std::sync::Arc;

use super::census::{Census, blame};
use crate::base::bytes::{u16_at, u32_at};
use crate::base::security::{Descriptor, INHERIT, Sid, mask};
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{FIRST_SECURITY_ID, SDS_ALIGN, SDS_BLOCK, SdsHeader};
use crate::tree::{DescriptorId, Tree};

/// Which descriptor has which id, and where it lies in `$SDS`.
pub(in super::super) struct Secure {
    /// In the order of their ids.
    descriptors: Vec<Arc<[u8]>>,
    /// Offsets in `$SDS`.
    offsets: Vec<u64>,
    /// Ids by the tree's descriptors; 0 for those in nobody's use.
    ids: Vec<u32>,
    /// For files and for directories that have no descriptor.
    defaults: [u32; 2],
    /// For system files that are only read, and for those that are written.
    pub(in super::super) system: [u32; 2],
}

impl Secure {
    pub(super) fn collect(tree: &Tree, census: &Census) -> Result<Self> {
        let mut secure = Self {
            descriptors: Vec::new(),
            offsets: Vec::new(),
            ids: vec![0; tree.descriptors().len()],
            defaults: [0; 2],
            system: [0; 2],
        };
        let mut known = HashMap::new();
        secure.system =
            [mask::READ, mask::READ_AND_WRITE].map(|mask| secure.add(&mut known, of_system_file(mask).into()));
        for rank in 0..census.len() as u32 {
            let node = tree.node(census.node(rank));
            match given(tree, node.descriptor) {
                Some((id, bytes)) if secure.ids[id.index()] == 0 => {
                    check(bytes).map_err(|error| blame(tree, census.node(rank), error))?;
                    secure.ids[id.index()] = secure.add(&mut known, Arc::clone(bytes));
                }
                Some(_) => {}
                None => {
                    let kind = usize::from(node.is_directory());
                    if secure.defaults[kind] == 0 {
                        secure.defaults[kind] = secure.add(&mut known, default(node.is_directory()).into());
                    }
                }
            }
        }
        secure.place();
        Ok(secure)
    }

    /// The security id of a file.
    pub(in super::super) fn id(&self, tree: &Tree, descriptor: Option<DescriptorId>, directory: bool) -> u32 {
        given(tree, descriptor).map_or(self.defaults[usize::from(directory)], |(id, _)| self.ids[id.index()])
    }

    pub(in super::super) fn len(&self) -> usize {
        self.descriptors.len()
    }

    fn add(&mut self, known: &mut HashMap<Arc<[u8]>, u32>, bytes: Arc<[u8]>) -> u32 {
        let next = FIRST_SECURITY_ID + self.descriptors.len() as u32;
        *known.entry(bytes).or_insert_with_key(|bytes| {
            self.descriptors.push(Arc::clone(bytes));
            next
        })
    }

    /// Entries stand one after the other, and skip the rest of a block, and its copy, where they would cross its end.
    fn place(&mut self) {
        let mut next = 0;
        for descriptor in &self.descriptors {
            let len = entry_len(descriptor);
            if next % SDS_BLOCK + len > SDS_BLOCK {
                next = next.next_multiple_of(SDS_BLOCK) + SDS_BLOCK;
            }
            self.offsets.push(next);
            next += len.next_multiple_of(SDS_ALIGN);
            if next % SDS_BLOCK == 0 {
                next += SDS_BLOCK;
            }
        }
    }

    /// Length of `$SDS`: to the end of the last entry's copy.
    pub(in super::super) fn stream_len(&self) -> u64 {
        let last = self.descriptors.last().zip(self.offsets.last());
        last.map_or(0, |(descriptor, offset)| offset + entry_len(descriptor) + SDS_BLOCK)
    }

    /// The heads of the entries, in the order of their ids.
    pub(in super::super) fn headers(&self) -> impl Iterator<Item = SdsHeader> {
        self.descriptors.iter().zip(&self.offsets).zip(FIRST_SECURITY_ID..).map(|((bytes, offset), id)| SdsHeader {
            hash: hash(bytes).into(),
            id: id.into(),
            offset: (*offset).into(),
            len: (entry_len(bytes) as u32).into(),
        })
    }

    /// The descriptors in the order of their ids.
    pub(in super::super) fn descriptors(&self) -> impl Iterator<Item = &[u8]> {
        self.descriptors.iter().map(|bytes| &**bytes)
    }
}

fn entry_len(descriptor: &[u8]) -> u64 {
    (size_of::<SdsHeader>() + descriptor.len()) as u64
}

/// The tree's descriptor, if there is one and it says anything.
fn given(tree: &Tree, descriptor: Option<DescriptorId>) -> Option<(DescriptorId, &Arc<[u8]>)> {
    let id = descriptor?;
    let bytes = tree.descriptors().get(id.index())?;
    (!bytes.is_empty()).then_some((id, bytes))
}

/// The hash by which `$SDH` is ordered: for each word, rotate by three bits and add.
pub(in super::super) fn hash(descriptor: &[u8]) -> u32 {
    descriptor.chunks(4).fold(0u32, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(3).wrapping_add(u32::from_le_bytes(word))
    })
}

/// What Windows gives system files: administrators and the system may do what `mask` says.
pub(in super::super) fn of_system_file(mask: u32) -> Vec<u8> {
    let allow = [Sid::LOCAL_SYSTEM, Sid::ADMINISTRATORS].map(|sid| (sid, mask, 0));
    let (owner, group) = (Sid::ADMINISTRATORS, Sid::ADMINISTRATORS);
    Descriptor { owner, group, protected: false, allow: &allow }.to_bytes()
}

pub(in super::super) fn default(directory: bool) -> Vec<u8> {
    let inherit = if directory { INHERIT } else { 0 };
    let allow = [
        (Sid::LOCAL_SYSTEM, mask::FULL, inherit),
        (Sid::ADMINISTRATORS, mask::FULL, inherit),
        (Sid::USERS, mask::READ_AND_RUN, inherit),
    ];
    Descriptor { owner: Sid::ADMINISTRATORS, group: Sid::LOCAL_SYSTEM, protected: false, allow: &allow }.to_bytes()
}

/// Refuses what is no self-relative security descriptor, on which Windows would report damage.
pub(in super::super) fn check(bytes: &[u8]) -> Result<()> {
    let wrong = |what: &str| Error::corrupt(format_args!("security descriptor: {what}"));
    let max = SDS_BLOCK as usize - size_of::<SdsHeader>();
    if bytes.len() > max {
        return Err(wrong("length").found(bytes.len()).allowed(format_args!("at most {max}")));
    }
    let control = u16_at(bytes, 2).ok_or_else(|| wrong("length").found(bytes.len()).allowed("at least 20"))?;
    if bytes[0] != 1 {
        return Err(wrong("revision").at(0).found(bytes[0]).allowed(1));
    }
    if control & 0x8000 == 0 {
        return Err(wrong("not self-relative").at(2).found(format_args!("{control:#06x}")));
    }
    for (field, present, valid) in [
        (4, true, valid_sid as fn(&[u8], usize) -> bool),
        (8, true, valid_sid),
        (12, control & 0x10 != 0, valid_acl),
        (16, control & 4 != 0, valid_acl),
    ] {
        let offset =
            u32_at(bytes, field).ok_or_else(|| wrong("length").found(bytes.len()).allowed("at least 20"))? as usize;
        if present && offset != 0 && !valid(bytes, offset) {
            return Err(wrong("an owner, group or list that is out of bounds or malformed")
                .at(field as u64)
                .found(offset));
        }
    }
    Ok(())
}

fn valid_sid(bytes: &[u8], at: usize) -> bool {
    let Some([1, count @ 0..=15]) = bytes.get(at..).and_then(|rest| rest.get(..2)) else { return false };
    bytes.get(at..).is_some_and(|rest| rest.len() >= 8 + 4 * usize::from(*count))
}

fn valid_acl(bytes: &[u8], at: usize) -> bool {
    let Some(rest) = bytes.get(at..) else { return false };
    let (Some(len), Some(count)) = (u16_at(rest, 2), u16_at(rest, 4)) else { return false };
    let Some(acl) = rest.get(..usize::from(len)) else { return false };
    let mut next = 8;
    acl.len() >= 8
        && (0..count).all(|_| {
            let len = u16_at(acl, next + 2).map_or(0, usize::from);
            next += len;
            len >= 4 && next <= acl.len()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Times};

    /// Hashes that Windows 10 wrote for the descriptors that it gives to system files.
    #[test]
    fn writes_what_windows_writes() {
        assert_eq!(hash(&of_system_file(mask::READ)), 0xF803_12F0);
        assert_eq!(hash(&of_system_file(mask::READ_AND_WRITE)), 0x00B3_2451);
    }

    #[test]
    fn its_own_descriptors_are_sound() {
        for bytes in [of_system_file(mask::READ), default(true), default(false)] {
            check(&bytes).unwrap();
            for len in 0..bytes.len() {
                assert!(check(&bytes[..len]).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn entries_keep_clear_of_block_ends() {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        for filler in 0..2000u32 {
            let mut bytes = default(false);
            bytes.resize(bytes.len() + filler as usize % 700, 0);
            bytes.extend_from_slice(&filler.to_le_bytes());
            let descriptor = tree.add_descriptor(&bytes);
            let mut file = Node::file(0, Times::default(), Vec::new().into());
            file.descriptor = Some(descriptor);
            let node = tree.add_node(file).unwrap();
            let name = format!("{filler}").as_str().into();
            tree.add_link(tree.root(), crate::tree::Link { name, short: None, node }).unwrap();
        }
        let census = Census::take(&tree, &mut Default::default()).unwrap();
        let secure = Secure::collect(&tree, &census).unwrap();
        let mut end = 0;
        for header in secure.headers() {
            let (offset, len) = (header.offset.get(), u64::from(header.len.get()));
            assert!(offset >= end && offset % SDS_ALIGN == 0);
            assert_eq!(offset / SDS_BLOCK, (offset + len - 1) / SDS_BLOCK, "crosses a block");
            assert_eq!(offset / SDS_BLOCK % 2, 0, "stands in a copy");
            end = offset + len;
        }
        assert!(end > 2 * SDS_BLOCK);
        assert_eq!(secure.stream_len(), end + SDS_BLOCK);
    }
}
