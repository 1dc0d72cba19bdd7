//! What becomes of one file: its attributes, and its entries in directories and views.

use zerocopy::IntoBytes;

use super::changes::{same_reparse, same_stream};
use super::draft::{self, Draft, OwnName};
use super::planner::{Edit, Planner, without};
use crate::base::{Name, upcase};
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{
    CASE_SENSITIVE, FileName, I30, MAX_REPARSE, StandardInformation, WOF_TAG, attribute_flag, collation, file, kind,
    name_flag, namespace, record_flag, record_of, sequence_of,
};
use crate::format::ntfs::plan::attributes::{self, COMPRESSION_UNIT, Form, OBJECT_ID_LEN};
use crate::format::ntfs::plan::census::{SYSTEM_NAMES, check_name, separate_short, serves_both};
use crate::format::ntfs::plan::index::entry_len;
use crate::format::ntfs::read::raw::{Attribute, File, Outside, Run, Value};
use crate::format::ntfs::write::files::{KEPT, ea_information, extended_attributes, reparse_header, times};
use crate::format::ntfs::write::index::{head, push_view, small_root};
use crate::tree::{Content, Node, NodeId, Stream, attributes as bits};

/// Where the overlay filter keeps the contents of a file.
const WOF_STREAM: &str = "WofCompressedData";
/// Where EFS keeps the keys of a file.
const EFS_STREAM: &str = "$EFS";
/// Longest blob that is read to be put into a record.
const MAX_RESIDENT_BLOB: u64 = 1024;
/// Length of an entry of `$ObjId:$O`.
const OBJECT_ID_ENTRY: usize = 88;
/// Length of an entry of `$Reparse:$R`.
const REPARSE_ENTRY: usize = 32;

/// A name's key in the index of its directory, as far as the order of keys depends on it.
pub(super) fn entry_key(name: &OwnName) -> Vec<u8> {
    let head = FileName {
        parent: 0.into(),
        times: [0; 4].map(Into::into),
        allocated: 0.into(),
        size: 0.into(),
        attributes: 0.into(),
        tag: 0.into(),
        name_len: 0,
        namespace: 0,
    };
    name_value(name, head)
}

/// The value of a `$FILE_NAME` whose head says the rest of what there is to say about the file.
fn name_value(name: &OwnName, rest: FileName) -> Vec<u8> {
    let (name_len, namespace) = (name.name.len() as u8, name.namespace);
    let mut value = FileName { parent: name.parent.into(), name_len, namespace, ..rest }.as_bytes().to_vec();
    value.extend(name.name.iter().flat_map(|unit| unit.to_le_bytes()));
    value
}

/// Puts the names of a file in the place of those that it has. They keep their numbers, as far as they stay.
fn replace_names(draft: &mut Draft, old: &[OwnName], names: &[OwnName]) {
    let attributes = &mut draft.file.attributes;
    let place = attributes.iter().position(|attribute| attribute.kind == kind::FILE_NAME).unwrap_or(attributes.len());
    let gone: Vec<Attribute> = attributes.extract_if(.., |attribute| attribute.kind == kind::FILE_NAME).collect();
    let instance = |name: &OwnName| {
        let of_name = old.iter().zip(&gone).find(|(other, _)| *other == name);
        of_name.and_then(|(_, attribute)| attribute.instance)
    };
    let new = names.iter().map(|name| Attribute {
        kind: kind::FILE_NAME,
        name: Vec::new(),
        flags: 0,
        instance: instance(name),
        value: Value::Resident(entry_key(name)),
    });
    attributes.splice(place..place, new.collect::<Vec<_>>());
}

/// A file's name in a tree that is not among the names that it has on the base.
struct NewName {
    parent: NodeId,
    child: usize,
}

impl Planner<'_> {
    /// Brings a file on the volume to what it is in the tree.
    pub(super) fn revise(&mut self, id: NodeId) -> Result<()> {
        let tree = self.tree;
        let node = tree.node(id);
        let reference = self.references[id.index()];
        let base = self.base;
        let old = base.references.get(id.index()).filter(|old| **old != 0).map(|_| base.tree.node(id));
        let mut draft = match old {
            Some(_) => self.take_draft(record_of(reference) as u32)?,
            None => Draft { file: new_file(reference, node), before: None },
        };
        if old.is_some_and(|old| old.attributes & node.attributes & bits::ENCRYPTED != 0) {
            attributes::check_parts(node)?;
        } else {
            attributes::check(node)?;
        }
        if old.is_some_and(|old| old.is_directory() != node.is_directory()) {
            return Err(Error::unsupported("a file that becomes a directory, or the other way round"));
        }
        let old_tag = self.tag(&draft)?;
        self.revise_streams(&mut draft, old, node, old_tag)?;
        self.revise_reparse(&mut draft, old, node)?;
        self.revise_extended(&mut draft, old, node);
        let tag = self.tag(&draft)?;
        self.revise_tag(old_tag, tag, reference);
        if old.is_none_or(|old| old.object_id != node.object_id) {
            draft.take(kind::OBJECT_ID, &[]);
            if let Some(object_id) = &node.object_id {
                draft.add(kind::OBJECT_ID, &[], 0, Value::Resident(object_id[..OBJECT_ID_LEN].to_vec()));
            }
            self.revise_object_id(old.and_then(|old| old.object_id.as_deref()), node.object_id.as_deref(), reference);
        }
        if old.is_none() && node.is_directory() {
            let root = small_root(&self.geometry, collation::FILE_NAME, &[]);
            draft.add(kind::INDEX_ROOT, I30, 0, Value::Resident(root));
        }
        self.revise_information(&mut draft, old, node)?;
        self.revise_names(&mut draft, id, node, tag)?;
        self.note_losses(id, old, node);
        self.drafts.insert(draft.file.number, draft);
        Ok(())
    }

    /// Takes a file that goes out of the views.
    pub(super) fn forget(&mut self, draft: &Draft, reference: u64) -> Result<()> {
        let tag = self.tag(draft)?;
        self.revise_tag(tag, None, reference);
        let object_id = draft.resident(kind::OBJECT_ID, &[]).map(<[u8]>::to_vec);
        self.revise_object_id(object_id.as_deref(), None, reference);
        Ok(())
    }

    /// The tag of a file's reparse point, be it as on the base or new and still in the record.
    fn tag(&self, draft: &Draft) -> Result<Option<u32>> {
        let value = draft.find(kind::REPARSE_POINT, &[]).map(|attribute| self.bytes_of(&attribute.value));
        Ok(value.transpose()?.map(|value| word(&value, 0)))
    }

    fn revise_tag(&mut self, old: Option<u32>, new: Option<u32>, reference: u64) {
        if old == new {
            return;
        }
        let key = |tag: u32| [tag.as_bytes(), reference.as_bytes()].concat();
        self.reparse.extend(old.map(|tag| Edit::Remove(key(tag))));
        self.reparse.extend(new.map(|tag| {
            let mut entry = Vec::new();
            push_view(&mut entry, &key(tag), &[], REPARSE_ENTRY);
            Edit::Insert(entry)
        }));
    }

    /// Without birth ids, the id itself is the one of its birth, as Windows has it.
    fn revise_object_id(&mut self, old: Option<&[u8]>, new: Option<&[u8]>, reference: u64) {
        self.object_ids.extend(old.and_then(|id| id.get(..16)).map(|id| Edit::Remove(id.to_vec())));
        self.object_ids.extend(new.map(|id| {
            let mut id = id.to_vec();
            if id.len() < 64 {
                id.resize(64, 0);
                id.copy_within(0..16, 32);
            }
            let mut entry = Vec::new();
            push_view(&mut entry, &id[..16], &[&reference.to_le_bytes(), &id[16..]].concat(), OBJECT_ID_ENTRY);
            Edit::Insert(entry)
        }));
    }

    fn revise_streams(&mut self, draft: &mut Draft, old: Option<&Node>, node: &Node, tag: Option<u32>) -> Result<()> {
        let before = old.map_or(&[][..], |old| &old.streams);
        let twin = |stream: &Stream| before.iter().find(|other| other.name == stream.name);
        if tag == Some(WOF_TAG) && !node.is_directory() {
            let main = node.streams.iter().find(|stream| stream.name.is_empty());
            let stays = main.zip(before.iter().find(|stream| stream.name.is_empty()));
            if node.reparse.is_some() || !stays.is_some_and(|(now, then)| same_stream(now, then)) {
                return self.unpack(draft, before, node);
            }
        }
        for gone in before.iter().filter(|old| node.streams.iter().all(|stream| stream.name != old.name)) {
            let attribute = draft.take(kind::DATA, gone.name.units());
            attribute.iter().for_each(|attribute| self.release_value(&attribute.value));
        }
        for stream in &node.streams {
            let is_shown = !(node.is_directory() && stream.name.is_empty());
            if is_shown && !twin(stream).is_some_and(|twin| same_stream(twin, stream)) {
                self.put_stream(draft, stream)?;
            }
        }
        if !node.is_directory() && draft.find(kind::DATA, &[]).is_none() {
            draft.add(kind::DATA, &[], 0, Value::Resident(Vec::new()));
        }
        Ok(())
    }

    /// A file behind the overlay filter whose contents change becomes a plain one.
    fn unpack(&mut self, draft: &mut Draft, before: &[Stream], node: &Node) -> Result<()> {
        let doomed = draft.file.attributes.extract_if(.., |attribute| {
            let is_known = || before.iter().any(|stream| stream.name.units() == attribute.name);
            let is_packed = || Name::new(attribute.name.clone()) == WOF_STREAM.into();
            attribute.kind == kind::REPARSE_POINT
                || attribute.kind == kind::DATA && (attribute.name.is_empty() || is_packed() || is_known())
        });
        let doomed: Vec<Attribute> = doomed.collect();
        doomed.iter().for_each(|attribute| self.release_value(&attribute.value));
        for stream in &node.streams {
            self.put_stream(draft, stream)?;
        }
        if draft.find(kind::DATA, &[]).is_none() {
            draft.add(kind::DATA, &[], 0, Value::Resident(Vec::new()));
        }
        if let Some(reparse) = &node.reparse {
            self.put_reparse(draft, reparse)?;
        }
        Ok(())
    }

    /// Gives a stream its new content: in the clusters that it has, if it is a plain one.
    fn put_stream(&mut self, draft: &mut Draft, stream: &Stream) -> Result<()> {
        let (content, size) = (&stream.content, stream.content.len());
        let old =
            draft.find(kind::DATA, stream.name.units()).map(|attribute| (attribute.flags, attribute.value.clone()));
        let mut runs = Vec::new();
        match old {
            Some((0, Value::Outside(outside)))
                if !stream.sparse && size > 0 && outside.runs.iter().all(|run| run.lcn.is_some()) =>
            {
                runs = outside.runs;
            }
            Some((_, value)) => self.release_value(&value),
            None => {}
        }
        let is_small = size <= self.geometry.record_capacity() as u64
            && (size <= MAX_RESIDENT_BLOB || matches!(content, Content::Bytes(_)));
        let (flags, value) = if stream.sparse {
            (attribute_flag::SPARSE, self.sparse(stream)?)
        } else if runs.is_empty() && is_small {
            let bytes = self.tree.read(content)?;
            if bytes.len() as u64 != size {
                return Err(Error::corrupt("length of a blob").found(bytes.len()).allowed(size));
            }
            (0, Value::Resident(bytes))
        } else {
            let runs = self.store_content(content, runs, self.geometry.clusters(size))?;
            (0, Value::Outside(Outside { runs, size, initialized: size, unit: 0 }))
        };
        draft.put(kind::DATA, stream.name.units(), flags, value);
        Ok(())
    }

    fn sparse(&mut self, stream: &Stream) -> Result<Value> {
        let size = stream.content.len();
        let Form::NonResident { clusters, hole } =
            attributes::outside(&self.geometry, size, true, attributes::is_zero(stream))
        else {
            return Err(Error::unsupported("a sparse stream in a record"));
        };
        let mut runs = Vec::new();
        if clusters > 0 {
            runs = self.store_content(&stream.content, runs, clusters)?;
        }
        runs.extend((hole > 0).then_some(Run { lcn: None, clusters: hole }));
        Ok(Value::Outside(Outside { runs, size, initialized: size, unit: COMPRESSION_UNIT }))
    }

    fn revise_reparse(&mut self, draft: &mut Draft, old: Option<&Node>, node: &Node) -> Result<()> {
        if old.is_some_and(|old| same_reparse(old, node)) || old.is_none() && node.reparse.is_none() {
            return Ok(());
        }
        let gone = draft.take(kind::REPARSE_POINT, &[]);
        gone.iter().for_each(|gone| self.release_value(&gone.value));
        node.reparse.as_ref().map_or(Ok(()), |reparse| self.put_reparse(draft, reparse))
    }

    fn revise_extended(&mut self, draft: &mut Draft, old: Option<&Node>, node: &Node) {
        if old.map_or(&[][..], |old| &old.extended) == node.extended {
            return;
        }
        draft.take(kind::EA_INFORMATION, &[]);
        let gone = draft.take(kind::EA, &[]);
        gone.iter().for_each(|gone| self.release_value(&gone.value));
        if !node.extended.is_empty() {
            let information = ea_information(&node.extended).as_bytes().to_vec();
            draft.add(kind::EA_INFORMATION, &[], 0, Value::Resident(information));
            draft.add(kind::EA, &[], 0, Value::Resident(extended_attributes(&node.extended)));
        }
    }

    fn put_reparse(&mut self, draft: &mut Draft, reparse: &crate::tree::Reparse) -> Result<()> {
        let mut value = reparse_header(reparse).as_bytes().to_vec();
        value.extend(self.tree.read(&reparse.data)?);
        if value.len() as u64 > MAX_REPARSE {
            return Err(Error::unsupported("length of a reparse point").found(value.len()).allowed(MAX_REPARSE));
        }
        draft.put(kind::REPARSE_POINT, &[], 0, Value::Resident(value));
        Ok(())
    }

    fn revise_information(&mut self, draft: &mut Draft, old: Option<&Node>, node: &Node) -> Result<()> {
        let mut value = match draft.resident(kind::STANDARD_INFORMATION, &[]) {
            Some(value) => value.to_vec(),
            None => vec![0; size_of::<StandardInformation>()],
        };
        if value.len() < INFORMATION_OF_OLD {
            return Err(Error::corrupt("length of $STANDARD_INFORMATION").found(value.len()).allowed("48 or 72"));
        }
        value[..32].copy_from_slice(times(&node.times).as_bytes());
        let attributes = self.attributes(draft, old, node, word(&value, 32));
        value[32..36].copy_from_slice(&attributes.to_le_bytes());
        if old.is_some_and(|old| old.case_sensitive) != node.case_sensitive {
            value[40] =
                (value[40] & !(CASE_SENSITIVE as u8)) | if node.case_sensitive { CASE_SENSITIVE as u8 } else { 0 };
        }
        if old.is_none_or(|old| old.descriptor != node.descriptor) {
            let id = self.security_id(node)?;
            value.resize(value.len().max(size_of::<StandardInformation>()), 0);
            value[52..56].copy_from_slice(&id.to_le_bytes());
            let own = draft.take(kind::SECURITY_DESCRIPTOR, &[]);
            own.iter().for_each(|own| self.release_value(&own.value));
        }
        draft.put(kind::STANDARD_INFORMATION, &[], 0, Value::Resident(value));
        Ok(())
    }

    /// Attributes as `$STANDARD_INFORMATION` keeps them: those that it had, changed as the node's changed. Some follow from the streams.
    fn attributes(&self, draft: &mut Draft, old: Option<&Node>, node: &Node, raw: u32) -> u32 {
        let changed = old.map_or(0, |old| old.attributes) ^ node.attributes;
        let mut settable = KEPT;
        if self.geometry.cluster <= 4096 {
            settable |= bits::COMPRESSED;
        }
        let mut attributes = raw ^ changed & settable;
        let has = |draft: &Draft, flag: u16| {
            draft.file.attributes.iter().any(|attribute| attribute.kind == kind::DATA && attribute.flags & flag != 0)
        };
        let mut follow = |bit: u32, value: bool| attributes = attributes & !bit | if value { bit } else { 0 };
        follow(bits::SPARSE, has(draft, attribute_flag::SPARSE));
        follow(bits::REPARSE_POINT, draft.find(kind::REPARSE_POINT, &[]).is_some());
        if !node.is_directory() && !has(draft, attribute_flag::ENCRYPTED) {
            follow(bits::ENCRYPTED, false);
            let keys: Vec<u16> = EFS_STREAM.encode_utf16().collect();
            draft.take(kind::LOGGED_UTILITY_STREAM, &keys);
        }
        attributes
    }

    /// Gives a file its names, and directories the entries for them.
    fn revise_names(&mut self, draft: &mut Draft, id: NodeId, node: &Node, tag: Option<u32>) -> Result<()> {
        let old = draft.names()?;
        let names = if id == self.tree.root() { old.clone() } else { self.names(id, &old)? };
        let reference = self.references[id.index()];
        for gone in without(&old, &names) {
            self.edit_entry(gone.parent, Edit::Remove(entry_key(gone)));
        }
        replace_names(draft, &old, &names);
        self.fit(draft)?; // what directories say about the main stream depends on where it is
        let (allocated, size) = if node.is_directory() { (0, 0) } else { draft::main_sizes(draft, &self.geometry) };
        let information = draft.resident(kind::STANDARD_INFORMATION, &[]).unwrap_or_default();
        let directory = if node.is_directory() { name_flag::DIRECTORY } else { 0 };
        let attributes = word(information, 32) | directory;
        let packed = draft.resident(kind::EA_INFORMATION, &[]).map_or(0, |value| word(value, 0) & 0xFFFF);
        let head_of = FileName {
            parent: 0.into(),
            times: times(&node.times).map(Into::into),
            allocated: allocated.into(),
            size: size.into(),
            attributes: attributes.into(),
            tag: tag.unwrap_or(packed).into(),
            name_len: 0,
            namespace: 0,
        };
        let stored = draft.file.attributes.iter_mut().filter(|attribute| attribute.kind == kind::FILE_NAME);
        let mut entries = Vec::with_capacity(names.len());
        for (name, attribute) in names.iter().zip(stored) {
            let value = name_value(name, head_of);
            let len = entry_len(value.len());
            let mut entry = head(reference, len, value.len(), 0).as_bytes().to_vec();
            entry.extend_from_slice(&value);
            entry.resize(len, 0);
            attribute.value = Value::Resident(value);
            entries.push(entry);
        }
        for (name, entry) in names.iter().zip(entries) {
            let is_known = old.iter().any(|other| other.parent == name.parent && other.name == name.name);
            self.edit_entry(name.parent, if is_known { Edit::Update(entry) } else { Edit::Insert(entry) });
        }
        Ok(())
    }

    /// The names of a file in the tree. Those that it has stay as they are, and a file has one name that serves DOS.
    fn names(&mut self, id: NodeId, old: &[OwnName]) -> Result<Vec<OwnName>> {
        let (tree, places) = (self.tree, self.places.get(&id).cloned().unwrap_or_default());
        let mut names: Vec<OwnName> = Vec::new();
        let mut fresh = Vec::new();
        for (parent, child) in places {
            let link = &tree.node(parent).children()[child];
            let reference = self.references[parent.index()];
            let of_directory = |name: &&OwnName| name.parent == reference;
            let long = old.iter().filter(of_directory);
            let long = long.clone().find(|own| own.namespace != namespace::DOS && own.name == link.name.units());
            let short = old.iter().filter(of_directory).find(|own| own.namespace == namespace::DOS);
            let short = short.filter(|_| long.is_some_and(|long| long.namespace == namespace::WIN32));
            let same = match (link.other_short(), short) {
                (None, None) => true,
                (Some(new), Some(old)) => new.units() == old.name,
                _ => false,
            };
            match long.filter(|_| same) {
                Some(long) => names.extend([long].into_iter().chain(short).cloned()),
                None => fresh.push(NewName { parent, child }),
            }
        }
        let mut serves_dos = names.iter().any(|name| name.namespace != namespace::POSIX);
        for NewName { parent, child } in fresh {
            let link = &tree.node(parent).children()[child];
            check_name(link.name.units())?;
            if parent == tree.root() {
                check_no_system_name(link.name.units())?;
            }
            let may_serve = !serves_dos && !tree.node(parent).case_sensitive;
            let parent = self.references[parent.index()];
            let name = |namespace, name: &Name| OwnName { parent, namespace, name: name.units().to_vec() };
            if may_serve && separate_short(link) {
                let short = link.short.iter().map(|short| name(namespace::DOS, short));
                names.extend([name(namespace::WIN32, &link.name)].into_iter().chain(short));
                serves_dos = true;
            } else if may_serve && serves_both(link) {
                names.push(name(namespace::WIN32_AND_DOS, &link.name));
                serves_dos = true;
            } else {
                names.push(name(namespace::POSIX, &link.name));
                self.losses.short_names.add(usize::from(link.other_short().is_some()), id);
            }
        }
        Ok(names)
    }

    /// What the tree says of a file that is new, or changed in that, and the volume will not carry.
    fn note_losses(&mut self, id: NodeId, old: Option<&Node>, node: &Node) {
        let news = node.attributes & !old.map_or(0, |old| old.attributes);
        let compressed = usize::from(news & bits::COMPRESSED != 0);
        if self.geometry.cluster > 4096 {
            self.losses.uncompressed.add(compressed, id);
        } else if !node.is_directory() {
            self.losses.compressed.add(compressed, id);
        }
        let lost = news & bits::REPARSE_POINT != 0 && node.reparse.is_none();
        self.losses.reparse.add(usize::from(lost), id);
        let before = old.map_or(&[][..], |old| &old.streams);
        let is_full = |stream: &&Stream| {
            stream.sparse && !attributes::is_zero(stream) && !before.iter().any(|old| same_stream(old, stream))
        };
        self.losses.holes.add(node.streams.iter().filter(is_full).count(), id);
    }
}

/// The shortest `$STANDARD_INFORMATION`, that of volumes before NTFS 3.0 and of some system files.
const INFORMATION_OF_OLD: usize = 48;

fn word(bytes: &[u8], at: usize) -> u32 {
    crate::base::bytes::u32_at(bytes, at).unwrap_or(0)
}

fn new_file(reference: u64, node: &Node) -> File {
    File {
        number: record_of(reference) as u32,
        sequence: sequence_of(reference),
        flags: if node.is_directory() { record_flag::DIRECTORY } else { 0 },
        extensions: Vec::new(),
        list: Vec::new(),
        attributes: Vec::new(),
    }
}

fn check_no_system_name(units: &[u16]) -> Result<()> {
    let is_same = |name: &str| upcase::same(&name.encode_utf16().collect::<Vec<_>>(), units);
    match SYSTEM_NAMES.iter().find(|(number, name)| *number != file::ROOT && is_same(name)) {
        None => Ok(()),
        Some((_, name)) => Err(Error::unsupported("a file with the name of an NTFS system file").found(name)),
    }
}
