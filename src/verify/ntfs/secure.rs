//! `$Secure`: descriptors, their copies, their two indexes, and who uses them.

use std::collections::BTreeMap;

use zerocopy::{FromBytes, IntoBytes};

use super::attributes::{Extents, Stream};
use super::context::Context;
use super::descriptor;
use super::facts::{Facts, File, state};
use super::index::{self, Wanted};
use crate::base::bytes::u32_at;
use crate::format::ntfs::ondisk::{FIRST_SECURITY_ID, SDS_ALIGN, SDS_BLOCK, SdsHeader, collation, file, kind};
use crate::verify::{Finding, Level, Rule};

const HEAD: usize = size_of::<SdsHeader>();

/// What is known of the descriptors.
#[derive(Default)]
pub(super) struct Descriptors {
    by_id: BTreeMap<u32, Descriptor>,
    /// All of `$SDS` could be read.
    whole: bool,
}

struct Descriptor {
    head: [u8; HEAD],
    in_id_index: bool,
    in_hash_index: bool,
}

/// Checks `$Secure`, and gives its descriptors.
pub(super) fn check(context: &mut Context<'_>) -> Descriptors {
    let mut descriptors = Descriptors::default();
    let Some(mut loaded) = context.volume.load(file::SECURE) else { return descriptors };
    let attributes = loaded.attributes();
    let Some(stream) = context.volume.stream(&attributes, kind::DATA, "$SDS") else {
        return descriptors; // said by the checks of system files
    };
    let Stream::NonResident(extents) = stream else {
        fault(context, Rule::SecurityStream, "$SDS in the record".to_owned(), "in clusters", 0);
        return descriptors;
    };
    descriptors.whole = read_descriptors(context, &extents, &mut descriptors.by_id);
    let whole = check_indexes(context, &attributes, &mut descriptors);
    if descriptors.whole {
        for (id, descriptor) in &descriptors.by_id {
            let missing = [
                (whole[0] && !descriptor.in_id_index, Rule::SecurityIdIndex, "$SII"),
                (whole[1] && !descriptor.in_hash_index, Rule::SecurityHashIndex, "$SDH"),
            ];
            for (_, rule, name) in missing.into_iter().filter(|(missing, ..)| *missing) {
                let finding =
                    Finding::new(rule, format!("descriptor {id:#x} has no entry")).allowed("an entry for each");
                context.add(finding.record(u64::from(file::SECURE)).part(name));
            }
        }
    }
    descriptors
}

fn fault(context: &mut Context<'_>, rule: Rule, found: String, allowed: &str, at: u64) {
    let part = format!("$DATA:$SDS, byte {at:#x}");
    context.add(Finding::new(rule, found).allowed(allowed).record(u64::from(file::SECURE)).part(part));
}

/// Goes through the blocks of `$SDS`; says whether all entries were understood.
fn read_descriptors(context: &mut Context<'_>, extents: &Extents, by_id: &mut BTreeMap<u32, Descriptor>) -> bool {
    let size = extents.size;
    if size <= SDS_BLOCK {
        fault(context, Rule::SecurityStream, format!("{size} bytes"), "a block of 256 KiB and a copy", 0);
        return false;
    }
    let mut whole = true;
    let mut pair = vec![0; 2 * SDS_BLOCK as usize];
    let mut start = 0;
    while start < size {
        let len = (size - start).min(2 * SDS_BLOCK) as usize;
        if let Err(error) = context.volume.read_stream(extents, start, &mut pair[..len]) {
            fault(context, Rule::SecurityStream, error.to_string(), "blocks that can be read", start);
            return false;
        }
        // The stream ends with the last entry of the last copy, and so do the entries of the last block: what Windows left behind them is
        // nobody's.
        let data_len = len.saturating_sub(SDS_BLOCK as usize);
        if data_len == 0 {
            fault(context, Rule::SecurityStream, format!("{len} bytes without a copy"), "a copy of each block", start);
            return false;
        }
        let (block, copy) = pair[..len].split_at(SDS_BLOCK as usize);
        let block = Block { start, bytes: &block[..data_len], copy };
        whole &= block.check(context, by_id);
        start += 2 * SDS_BLOCK;
    }
    whole
}

struct Block<'a> {
    start: u64,
    bytes: &'a [u8],
    copy: &'a [u8],
}

impl Block<'_> {
    fn check(&self, context: &mut Context<'_>, by_id: &mut BTreeMap<u32, Descriptor>) -> bool {
        let mut at = 0;
        let mut end = 0;
        let mut whole = true;
        if let Some(differs) = self.bytes.iter().zip(self.copy).position(|(byte, copy)| byte != copy) {
            self.check_copy(context, differs);
        }
        while let Some(head) = self.bytes.get(at..at + HEAD) {
            if head.iter().all(|byte| *byte == 0) {
                break; // the rest of the block is free
            }
            let place = self.start + at as u64;
            let Ok(header) = SdsHeader::read_from_bytes(head) else { break };
            let len = header.len.get() as usize;
            let Some(entry) = self.bytes.get(at..at + len).filter(|_| len > HEAD) else {
                let allowed = "21 and more, up to the end of the block";
                fault(context, Rule::SecurityStream, format!("an entry of {len} bytes"), allowed, place);
                return false;
            };
            // chkdsk zeroes hash, id and offset of entries that it frees, and keeps their length.
            let is_freed = (header.hash.get(), header.id.get(), header.offset.get()) == (0, 0, 0);
            if !is_freed {
                whole &= self.check_entry(context, place, &header, &entry[HEAD..], by_id);
            }
            end = at + len;
            at = end.next_multiple_of(SDS_ALIGN as usize);
        }
        let free = self.bytes.len() - end;
        if self.bytes.len() < SDS_BLOCK as usize && free > 0 {
            let finding = Finding::new(Rule::SecurityStream, format!("{free} bytes behind the last entry"));
            let finding = finding.allowed("an end where the last entry's copy ends").level(Level::Warning);
            context.add(finding.record(u64::from(file::SECURE)).part("$DATA:$SDS"));
        }
        whole
    }

    /// Only entries count in a copy: what lies between them may be stale.
    fn check_copy(&self, context: &mut Context<'_>, differs: usize) {
        let mut at = 0;
        while let Some(head) = self.bytes.get(at..at + HEAD).and_then(|head| SdsHeader::read_from_bytes(head).ok()) {
            let len = (head.len.get() as usize).max(HEAD);
            let end = (at + len).min(self.bytes.len());
            if head.id.get() == 0 && head.len.get() == 0 {
                return;
            }
            if self.bytes[at..end] != self.copy[at..end] {
                let place = self.start + SDS_BLOCK + at.max(differs.min(end)) as u64;
                let found = format!("it differs from the entry at {:#x}", self.start + at as u64);
                return fault(context, Rule::SecurityMirror, found, "a copy", place);
            }
            at = end.next_multiple_of(SDS_ALIGN as usize);
        }
    }

    fn check_entry(
        &self,
        context: &mut Context<'_>,
        place: u64,
        header: &SdsHeader,
        descriptor: &[u8],
        by_id: &mut BTreeMap<u32, Descriptor>,
    ) -> bool {
        let (id, hash) = (header.id.get(), header.hash.get());
        if header.offset.get() != place {
            let found = format!("entry {id:#x} says that it lies at {:#x}", header.offset.get());
            fault(context, Rule::SecurityStream, found, "its own place", place);
        }
        if id < FIRST_SECURITY_ID {
            fault(context, Rule::SecurityStream, format!("id {id:#x}"), "0x100 and more", place);
            return false;
        }
        let computed = hash_of(descriptor);
        if hash != computed {
            let found = format!("hash {hash:#010x} of descriptor {id:#x}");
            fault(context, Rule::SecurityHash, found, &format!("{computed:#010x}"), place);
        }
        if let Some(found) = descriptor::fault(descriptor) {
            let allowed = "a well-formed, self-relative descriptor";
            fault(context, Rule::SecurityDescriptor, format!("descriptor {id:#x}: {found}"), allowed, place);
        }
        let mut head = [0; HEAD];
        head.copy_from_slice(header.as_bytes());
        let known = Descriptor { head, in_id_index: false, in_hash_index: false };
        if by_id.insert(id, known).is_some() {
            fault(context, Rule::SecurityStream, format!("id {id:#x} a second time"), "each id once", place);
        }
        true
    }
}

/// Little-endian words, each added to the sum of those before it, rotated left by three bits.
fn hash_of(descriptor: &[u8]) -> u32 {
    let whole = descriptor.chunks_exact(4);
    let rest = whole.remainder();
    let sum = whole.fold(0u32, |hash, word| {
        hash.rotate_left(3).wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    });
    if rest.is_empty() {
        return sum;
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum.rotate_left(3).wrapping_add(u32::from_le_bytes(last))
}

/// Compares both indexes with the descriptors; says which of them could be read to the end.
fn check_indexes(
    context: &mut Context<'_>,
    attributes: &[super::attributes::Attribute<'_>],
    descriptors: &mut Descriptors,
) -> [bool; 2] {
    let whole = descriptors.whole;
    let views = [
        (Rule::SecurityIdIndex, Wanted::view("$SII", collation::ULONG)),
        (Rule::SecurityHashIndex, Wanted::view("$SDH", collation::SECURITY_HASH)),
    ];
    views.map(|(rule, wanted)| {
        index::walk(context, file::SECURE, attributes, wanted, &mut |context, entry| {
            let id_at = if rule == Rule::SecurityIdIndex { 0 } else { 4 };
            let id = u32_at(entry.key, id_at).filter(|_| entry.key.len() == id_at + 4).unwrap_or(0);
            let hash = (id_at == 4).then(|| u32_at(entry.key, 0)).flatten();
            let fault = match descriptors.by_id.get_mut(&id) {
                None if !whole => None, // $SDS is the cause
                None => Some((format!("an entry for descriptor {id:#x}"), "entries for those in $SDS".to_owned())),
                Some(descriptor) => {
                    let known = if id_at == 0 { &mut descriptor.in_id_index } else { &mut descriptor.in_hash_index };
                    *known = true;
                    let same_hash = hash.is_none() || hash == u32_at(&descriptor.head, 0);
                    (entry.data != descriptor.head || !same_hash).then(|| {
                        let found = format!("the entry for descriptor {id:#x} is not that of $SDS");
                        (found, "a copy of the head in $SDS".to_owned())
                    })
                }
            };
            if let Some((found, allowed)) = fault {
                let mut finding =
                    Finding::new(rule, found).allowed(allowed).record(u64::from(file::SECURE)).part(wanted.name);
                finding.place.offset = entry.at;
                context.add(finding);
            }
        })
    })
}

/// Checks that each file has a descriptor, and each descriptor a file.
pub(super) fn check_users(context: &mut Context<'_>, facts: &Facts, descriptors: &Descriptors) {
    if !descriptors.whole {
        return; // $SDS is the cause
    }
    let mut used = std::collections::BTreeSet::new();
    for one in facts.files.iter().filter(|one| !one.is(state::DAMAGED)) {
        if one.security != 0 {
            used.insert(one.security);
        }
        if let Some((found, level)) = fault_of(one, descriptors) {
            let mut finding = Finding::new(Rule::SecurityId, found).allowed("the id of a descriptor in $Secure");
            finding.level = level.unwrap_or(finding.level);
            context.add(finding.record(u64::from(one.number)).part("$STANDARD_INFORMATION"));
        }
    }
    if facts.gaps {
        return;
    }
    for id in descriptors.by_id.keys().filter(|id| !used.contains(id)) {
        let finding = Finding::new(Rule::SecurityUnused, format!("descriptor {id:#x} is no file's"))
            .allowed("descriptors in use");
        context.add(finding.record(u64::from(file::SECURE)).part("$DATA:$SDS"));
    }
}

fn fault_of(one: &File, descriptors: &Descriptors) -> Option<(String, Option<Level>)> {
    match one.security {
        0 if one.is(state::OWN_DESCRIPTOR) => None,
        // libntfs-3g loses the id of record 0 when it lets $MFT grow; Windows takes it.
        0 if one.number == file::MFT => Some(("none".to_owned(), Some(Level::Note))),
        0 => Some(("none, and no descriptor of its own".to_owned(), None)),
        id if !descriptors.by_id.contains_key(&id) => {
            Some((format!("security id {id:#x}, which $Secure does not have"), None))
        }
        _ => None,
    }
}
