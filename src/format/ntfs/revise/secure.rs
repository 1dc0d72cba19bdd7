//! Security descriptors that the base does not have yet.

use std::collections::HashMap;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::draft::Draft;
use super::planner::{Edit, Planner, outside_of};
use crate::error::{Context, Error, Result};
use crate::format::ntfs::ondisk::{FIRST_SECURITY_ID, SDS_ALIGN, SDS_BLOCK, SdsHeader, file, kind};
use crate::format::ntfs::plan::secure::{check, default, hash};
use crate::format::ntfs::read::raw::{Records, Value};
use crate::format::ntfs::write::index::push_view;
use crate::tree::Node;

const SDS: &[u16] = &[0x24, 0x53, 0x44, 0x53];
const SDH: &[u16] = &[0x24, 0x53, 0x44, 0x48];
const SII: &[u16] = &[0x24, 0x53, 0x49, 0x49];

/// The descriptors of a volume, read when the first one is asked for.
#[derive(Default)]
pub(super) struct Security {
    ids: Option<HashMap<Arc<[u8]>, u32>>,
    next: u32,
    added: Vec<(u32, Arc<[u8]>)>,
}

impl Security {
    /// The id of a descriptor, which may be a new one.
    fn id(&mut self, records: &Records, bytes: &Arc<[u8]>) -> Result<u32> {
        if self.ids.is_none() {
            let mut ids = HashMap::new();
            self.next = FIRST_SECURITY_ID;
            for (id, bytes) in records.descriptors()? {
                self.next = self.next.max(id.saturating_add(1));
                ids.entry(bytes.into()).and_modify(|known: &mut u32| *known = id.min(*known)).or_insert(id);
            }
            self.ids = Some(ids);
        }
        let ids = self.ids.get_or_insert_default();
        if let Some(id) = ids.get(bytes) {
            return Ok(*id);
        }
        check(bytes)?;
        let id = self.next;
        self.next = id.checked_add(1).ok_or_else(|| Error::unsupported("more than 2^32 security descriptors"))?;
        ids.insert(Arc::clone(bytes), id);
        self.added.push((id, Arc::clone(bytes)));
        Ok(id)
    }
}

impl Planner<'_> {
    /// The security id of a node.
    pub(super) fn security_id(&mut self, node: &Node) -> Result<u32> {
        let given = node.descriptor.and_then(|id| self.tree.descriptors().get(id.index()));
        let bytes = match given.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Arc::clone(bytes),
            None => default(node.is_directory()).into(),
        };
        self.security.id(&self.base.records, &bytes)
    }

    /// Puts the new descriptors behind those that are there, and into both indexes.
    pub(super) fn add_descriptors(&mut self) -> Result<()> {
        let added = std::mem::take(&mut self.security.added);
        if added.is_empty() {
            return Ok(());
        }
        let mut draft = self.take_draft(file::SECURE)?;
        self.append(&mut draft, &added).context(|| "$Secure")?;
        self.drafts.insert(file::SECURE, draft);
        Ok(())
    }

    fn append(&mut self, draft: &mut Draft, added: &[(u32, Arc<[u8]>)]) -> Result<()> {
        let stream = draft.find(kind::DATA, SDS).map(|attribute| attribute.value.clone());
        let stream = stream.ok_or_else(|| Error::corrupt("no stream $SDS"))?;
        let was = self.bytes_of(&stream)?;
        let mut bytes = was.clone();
        let (mut by_id, mut by_hash) = (Vec::new(), Vec::new());
        for (id, descriptor) in added {
            let header = append_entry(&mut bytes, *id, descriptor)?;
            let mut entry = Vec::new();
            push_view(&mut entry, header.id.as_bytes(), header.as_bytes(), 40);
            by_id.push(Edit::Insert(entry));
            let mut entry = Vec::new();
            let key = [header.hash.as_bytes(), header.id.as_bytes()].concat();
            // Windows fills the last four bytes so, and does not count them.
            push_view(&mut entry, &key, &[header.as_bytes(), &[b'I', 0, b'I', 0]].concat(), 48);
            entry[2..4].copy_from_slice(&(size_of::<SdsHeader>() as u16).to_le_bytes());
            by_hash.push(Edit::Insert(entry));
        }
        let stored = self.store(outside_of(Some(stream)), &was, &bytes)?;
        draft.put(kind::DATA, SDS, 0, Value::Outside(stored));
        self.edit_index(draft, SII, by_id)?;
        self.edit_index(draft, SDH, by_hash)
    }

    /// Brings the views of `$Extend` up to date.
    pub(super) fn edit_views(&mut self) -> Result<()> {
        let (reparse, object_ids) = (std::mem::take(&mut self.reparse), std::mem::take(&mut self.object_ids));
        for (file, view, edits) in [("$Reparse", "$R", reparse), ("$ObjId", "$O", object_ids)] {
            if edits.is_empty() {
                continue;
            }
            let Some(number) = self.in_extend(file)? else {
                if edits.iter().all(|edit| matches!(edit, Edit::Remove(_))) {
                    continue;
                }
                return Err(Error::unsupported(format_args!("a volume without $Extend\\{file}")));
            };
            let view: Vec<u16> = view.encode_utf16().collect();
            let mut draft = self.take_draft(number)?;
            self.edit_index(&mut draft, &view, edits).context(|| format!("$Extend\\{file}"))?;
            self.drafts.insert(number, draft);
        }
        Ok(())
    }

    /// The record of a file in `$Extend`.
    fn in_extend(&self, name: &str) -> Result<Option<u32>> {
        let known = self.base.extend.iter().find(|(known, _)| known.to_string() == name);
        Ok(known.map(|(_, number)| *number))
    }
}

/// Adds an entry behind the last one, and its copy.
fn append_entry(bytes: &mut Vec<u8>, id: u32, descriptor: &[u8]) -> Result<SdsHeader> {
    let len = (size_of::<SdsHeader>() + descriptor.len()) as u64;
    let end = (bytes.len() as u64).checked_sub(SDS_BLOCK).ok_or_else(|| Error::corrupt("length of $SDS"))?;
    let mut at = end.next_multiple_of(SDS_ALIGN);
    if at / SDS_BLOCK % 2 == 1 {
        at = at.next_multiple_of(SDS_BLOCK); // the last block is full
    } else if at % SDS_BLOCK + len > SDS_BLOCK {
        // What is left of the block, and of its copy, is nobody's from now on.
        let block_end = at.next_multiple_of(SDS_BLOCK);
        bytes.resize((block_end + SDS_BLOCK) as usize, 0);
        for from in [end, end + SDS_BLOCK] {
            bytes[from as usize..(from + block_end - end) as usize].fill(0);
        }
        at = block_end + SDS_BLOCK;
    }
    let header =
        SdsHeader { hash: hash(descriptor).into(), id: id.into(), offset: at.into(), len: (len as u32).into() };
    bytes.resize((at + SDS_BLOCK + len) as usize, 0);
    for place in [at, at + SDS_BLOCK] {
        let body = place as usize + size_of::<SdsHeader>();
        // What lies between two entries is stale on volumes of Windows.
        let gap = (place - (at - end.min(at)).min(SDS_ALIGN)) as usize;
        bytes[gap.min(place as usize)..place as usize].fill(0);
        bytes[place as usize..body].copy_from_slice(header.as_bytes());
        bytes[body..body + descriptor.len()].copy_from_slice(descriptor);
    }
    Ok(header)
}

/// What is in `$Extend`, with its records.
pub(super) fn read_extend(records: &Records) -> Result<Vec<(crate::base::Name, u32)>> {
    use super::btree::{Index, Values, key};
    use crate::base::Name;
    use crate::base::bytes::u64_at;
    use crate::format::ntfs::ondisk::{FileName, I30, record_of};
    let draft = Draft::of(records.file(file::EXTEND)?);
    let Values { root, .. } = draft.root(I30)?;
    let value = |kind: u32| draft.find(kind, I30).map(|attribute| attribute.value.clone());
    let blocks = match (value(kind::INDEX_ALLOCATION), value(kind::BITMAP)) {
        (Some(Value::Outside(allocation)), Some(Value::Resident(bitmap))) => {
            Some((records.read_all(&allocation, 1 << 24)?, bitmap))
        }
        _ => None,
    };
    let index = Index::load(&records.geometry(), Values { root, blocks }, usize::MAX)?;
    let found = index.all().map(|entry| {
        let key = key(entry);
        let units = key.get(size_of::<FileName>()..).unwrap_or_default();
        let len = 2 * key.get(64).map_or(0, |len| usize::from(*len));
        (Name::from_le_bytes(&units[..len.min(units.len())]), record_of(u64_at(entry, 0).unwrap_or(0)) as u32)
    });
    Ok(found.collect())
}
