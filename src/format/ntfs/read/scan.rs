//! All records, in one pass over the table.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::Name;
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs::ondisk::{FIRST_ORDINARY, file, kind, record_of, reference};
use crate::tree::{Content, Node, NodeId, Times, Tree};

use super::mft::{File, ListBudget, Mft};
use super::node::{Kinds, Nodes, OwnName};
use super::notes::Notes;
use super::objects::BirthIds;
use super::record::{Record, fix_up};
use super::secure::Descriptors;
use super::store::{Store, Table};
use super::{Contents, directories};

/// A `$FILE_NAME` of a node; 40 bytes and the name.
pub(super) struct FoundName {
    /// A file reference.
    pub(super) parent: u64,
    /// The record that has it.
    pub(super) owner: u32,
    pub(super) namespace: u8,
    pub(super) name: Name,
}

/// What was found at a record number.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) node: NodeId,
    pub(super) sequence: u16,
}

/// What was found, by record number; 12 bytes for each.
#[derive(Default)]
pub(super) struct Slots(Vec<(u32, Slot)>);

impl Slots {
    /// Adds a record. The pass goes up the table, so that it belongs at the end.
    pub(super) fn insert(&mut self, number: u32, slot: Slot) {
        match self.0.last() {
            Some((last, _)) if *last >= number => {
                let place = self.0.partition_point(|(other, _)| *other < number);
                self.0.insert(place, (number, slot));
            }
            _ => self.0.push((number, slot)),
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<Slot> {
        let place = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.0[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Slot)> {
        self.0.iter().copied()
    }
}

/// What the pass has found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) slots: Slots,
    pub(super) names: Vec<FoundName>,
    /// Records of what is in `$Extend`.
    pub(super) system: HashSet<u32>,
    /// `$Extend\$ObjId`.
    object_ids: Option<u32>,
}

/// Reads all files of a volume.
pub(super) fn read(mft: &Mft, mut notes: Notes) -> Result<Contents> {
    let store = Arc::new(Store::new(mft.clusters.clone()));
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let store_id = tree.add_store(Arc::clone(&store) as _);
    let mut pass = Pass {
        nodes: Nodes {
            mft,
            store: store_id,
            descriptors: or_note(Descriptors::read(mft), "$Secure", &mut notes)?,
            table: Table::default(),
            kinds: Kinds::default(),
            empty: Content::empty(),
        },
        in_use: or_note(in_use(mft).map(Some), "$MFT:$BITMAP", &mut notes)?,
        budget: mft.list_budget(),
        tree,
        found: Found::default(),
        notes,
    };
    pass.root().context(|| "root directory")?;
    mft.each(|number, bytes| pass.record(number, bytes))?;
    let Pass { nodes, mut tree, mut found, mut notes, .. } = pass;
    complete_object_ids(mft, &found, &mut tree, &mut notes)?;
    directories::build(&mut tree, &mut found, &mut notes)?;
    nodes.kinds.note(&mut notes);
    store.fill(nodes.table);
    let mut references = vec![0; tree.nodes().len()];
    for (number, slot) in found.slots.iter() {
        references[slot.node.index()] = reference(number, slot.sequence);
    }
    let (notes, lost) = notes.finish();
    Ok(Contents { tree, notes, lost, references })
}

/// Goes without what is damaged, but says so. A host that fails to read is another matter.
pub(super) fn or_note<T: Default>(result: Result<T>, what: &str, notes: &mut Notes) -> Result<T> {
    result.or_else(|error| match error.kind() {
        Kind::Io => Err(error.context(what)),
        _ => {
            notes.lost(format_args!("{what}: {error}"));
            Ok(T::default())
        }
    })
}

/// Which records are in use, a bit for each.
fn in_use(mft: &Mft) -> Result<Vec<u8>> {
    let table = mft.system_file(file::MFT)?;
    let bitmap = table.find(kind::BITMAP, "").ok_or_else(|| Error::corrupt("the attribute is missing"))?;
    Ok(bitmap.bytes(&mft.clusters, mft.clusters.volume.len())?.into_owned())
}

/// Birth ids are in an index, not in the files.
fn complete_object_ids(mft: &Mft, found: &Found, tree: &mut Tree, notes: &mut Notes) -> Result<()> {
    let Some(index) = found.object_ids else { return Ok(()) };
    let births = mft.system_file(index).and_then(|file| BirthIds::read(mft, &file));
    let births = or_note(births, "$ObjId", notes)?;
    for (number, slot) in found.slots.iter() {
        if let Some(id) = &mut tree.node_mut(slot.node).object_id {
            *id = births.complete(reference(number, slot.sequence), id);
        }
    }
    Ok(())
}

struct Pass<'a> {
    nodes: Nodes<'a>,
    in_use: Option<Vec<u8>>,
    budget: ListBudget,
    tree: Tree,
    found: Found,
    notes: Notes,
}

impl Pass<'_> {
    fn root(&mut self) -> Result<()> {
        let root = self.nodes.mft.system_file(file::ROOT)?;
        let sequence = root.sequence;
        let node = self.nodes.node(root, &mut self.tree, &mut self.notes)?;
        if !node.is_directory() {
            return Err(Error::corrupt("it is no directory").at(22));
        }
        let id = self.tree.root();
        *self.tree.node_mut(id) = node;
        self.found.slots.insert(file::ROOT, Slot { node: id, sequence });
        Ok(())
    }

    /// Whether the table's bitmap has the record as in use, if it can be told.
    fn is_marked(&self, number: u32) -> Option<bool> {
        let byte = self.in_use.as_ref()?.get(number as usize / 8)?;
        Some(byte >> (number % 8) & 1 == 1)
    }

    /// Takes a record as it lies on the volume.
    fn record(&mut self, number: u32, bytes: &mut [u8]) -> Result<()> {
        if number < FIRST_ORDINARY {
            return Ok(());
        }
        // Records that were never used are zeros.
        let marked = self.is_marked(number).unwrap_or(!bytes.starts_with(&[0; 4]));
        if !marked && !bytes.starts_with(b"FILE") {
            return Ok(());
        }
        let file = fix_up(bytes, b"FILE").and_then(|()| self.file(number, bytes, marked));
        let added = file.and_then(|file| file.map_or(Ok(()), |file| self.add(file)));
        match added {
            Err(error) if error.kind() == Kind::Io => Err(error.context(format_args!("record {number}"))),
            Err(error) if marked => {
                self.notes.lost(format_args!("record {number}: {error}"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, number: u32, bytes: &[u8], marked: bool) -> Result<Option<File>> {
        let used = Record::new(bytes, number)?;
        if used.is_none() && marked && self.in_use.is_some() {
            self.notes.lost(format_args!("record {number}: $MFT:$BITMAP has it as in use, but not the record itself"));
        }
        self.nodes.mft.file(number, bytes, &mut self.budget)
    }

    fn add(&mut self, file: File) -> Result<()> {
        let (owner, sequence) = (file.number, file.sequence);
        let names = self.nodes.names(&file, &mut self.notes);
        if let Some(name) = names.iter().find(|name| record_of(name.parent) == u64::from(file::EXTEND)) {
            self.system(owner, name);
            return Ok(());
        }
        if names.is_empty() {
            self.notes.lost(format_args!("record {owner}: a file without a name"));
            return Ok(());
        }
        let name = |error: Error| error.context(format_args!("\"{}\"", names[0].name));
        let node = self.nodes.node(file, &mut self.tree, &mut self.notes).map_err(name)?;
        let node = self.tree.add_node(node)?;
        self.found.slots.insert(owner, Slot { node, sequence });
        self.found.names.extend(names.into_iter().map(|own| FoundName {
            parent: own.parent,
            owner,
            namespace: own.namespace,
            name: own.name,
        }));
        Ok(())
    }

    /// A file in `$Extend`.
    fn system(&mut self, number: u32, name: &OwnName) {
        self.found.system.insert(number);
        let is = |text: &str| name.name.units().iter().copied().eq(text.encode_utf16());
        if is("$ObjId") {
            self.found.object_ids = Some(number);
        } else if is("$UsnJrnl") {
            self.notes.say("the volume has a change journal ($UsnJrnl), which the tree does not carry");
        }
    }
}
