//! The hive as a value: which keys there are, and what can be asked about them.
//!
//! The bytes that were read stay as they are. A [`Key`] of the arena costs 32 bytes and points to its key node; what is
//! edited gets a [`Node`] of its own. The reader has checked every offset that is followed here, so that queries need not
//! fail; an identifier of a deleted key, or of another hive, answers like a key without anything.

use std::borrow::Cow;
use std::fmt;

use zerocopy::FromBytes;

use super::log::Recovery;
use super::ondisk::*;
use super::{Text, ValueRef};
use crate::base::bytes::u32_at;
use crate::base::{FileTime, Name};

/// Names a key of one [`Hive`]; stays valid until that key is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) u32);

/// A registry hive: a tree of keys with values, read from a file or made from nothing, to be edited and written.
///
/// Names ignore case as the registry does. Paths are relative to the root key, with `\` between names; the empty path is
/// the root. Symbolic links (`CurrentControlSet` and the like exist only in a running system) are not followed.
pub struct Hive {
    /// The whole primary file; empty for a new hive.
    pub(super) bytes: Vec<u8>,
    pub(super) base: BaseBlock,
    pub(super) keys: Vec<Key>,
    pub(super) descriptors: Vec<Bytes>,
    pub(super) root: u32,
    pub(super) now: FileTime,
    pub(super) recovery: Recovery,
}

/// A key of the arena. Unedited subkeys lie side by side in it.
pub(super) struct Key {
    /// Its key node in the file, or [`NOWHERE`].
    pub(super) cell: u32,
    /// [`NOWHERE`] for the root, and for deleted keys.
    pub(super) parent: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    /// Index among the descriptors, or [`NOWHERE`].
    pub(super) security: u32,
    /// What counts instead of all that the file says, once the key was edited.
    pub(super) edit: Option<Box<Node>>,
}

/// All about an edited key.
#[derive(Default)]
pub(super) struct Node {
    pub(super) name: Box<[u16]>,
    pub(super) class: Box<[u8]>,
    pub(super) written: FileTime,
    pub(super) flags: u16,
    pub(super) control: u16,
    pub(super) access: u32,
    /// The handle of a key with [`KEY_PREDEF_HANDLE`].
    pub(super) handle: u32,
    pub(super) children: Vec<u32>,
    pub(super) values: Vec<Slot>,
}

/// A value of an edited key: still in the file (the offset of its cell), or set since.
pub(super) enum Slot {
    Stored(u32),
    Set(Box<SetValue>),
}

/// A [`Slot`] of an edited key, or the like of an unedited one.
#[derive(Clone, Copy)]
pub(super) enum SlotRef<'a> {
    Stored(u32),
    Set(&'a SetValue),
}

pub(super) struct SetValue {
    pub(super) name: Box<[u16]>,
    pub(super) kind: u32,
    pub(super) data: Box<[u8]>,
}

/// Bytes of the file (offset and length in the payload of a cell), or own ones.
pub(super) enum Bytes {
    Stored { cell: u32, at: u32, len: u32 },
    Own(Box<[u8]>),
}

/// The scalar facts about a key, wherever they are.
pub(super) struct View<'a> {
    pub(super) name: Text<'a>,
    pub(super) class: &'a [u8],
    pub(super) written: FileTime,
    pub(super) flags: u16,
    pub(super) control: u16,
    pub(super) access: u32,
    pub(super) handle: u32,
}

/// A stored value and where its parts are.
pub(super) struct StoredValue<'a> {
    pub(super) head: &'a KeyValue,
    pub(super) name: Text<'a>,
}

/// The file's cells by offset. Nothing for an offset at which no allocated cell can be.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a>(pub(super) &'a [u8]);

impl<'a> Cells<'a> {
    /// The bytes of an allocated cell behind its size field.
    pub(super) fn payload(self, cell: u32) -> Option<&'a [u8]> {
        let start = (cell as usize).checked_add(BLOCK)?;
        let size = u32_at(self.0, start)?.cast_signed();
        let len = usize::try_from(size.checked_neg()?).ok()?;
        self.0.get(start + CELL_HEADER..start.checked_add(len)?)
    }

    /// A key node and its name.
    pub(super) fn key(self, cell: u32) -> Option<(&'a KeyNode, Text<'a>)> {
        let (head, rest) = KeyNode::ref_from_prefix(self.payload(cell)?).ok()?;
        let name = rest.get(..usize::from(head.name_length.get()))?;
        (head.signature == KEY_NODE).then(|| (head, Text::stored(name, head.flags.get() & KEY_COMP_NAME != 0)))
    }

    /// The class of a key; empty where it has none.
    pub(super) fn class(self, head: &KeyNode) -> Option<&'a [u8]> {
        match (head.class.get(), usize::from(head.class_length.get())) {
            (NOWHERE, _) | (_, 0) => Some(&[]),
            (cell, len) => self.payload(cell)?.get(..len),
        }
    }

    /// A value and its name.
    pub(super) fn value(self, cell: u32) -> Option<StoredValue<'a>> {
        let (head, rest) = KeyValue::ref_from_prefix(self.payload(cell)?).ok()?;
        let name = rest.get(..usize::from(head.name_length.get()))?;
        let name = Text::stored(name, head.flags.get() & VALUE_COMP_NAME != 0);
        (head.signature == KEY_VALUE).then_some(StoredValue { head, name })
    }

    /// The data of a value: in the value itself, in one cell, or in segments.
    ///
    /// Windows takes all longer than 16344 bytes as segmented in hives of minor version 4 and later. hivex writes one cell
    /// there, which cannot be mistaken: the cell of a segmented value is too short to hold the data.
    pub(super) fn data(self, head: &'a KeyValue) -> Option<Cow<'a, [u8]>> {
        let size = head.data_size.get();
        if size & INLINE != 0 {
            return head.data.get(..(size & !INLINE) as usize).map(Cow::Borrowed);
        }
        if size == 0 {
            return Some(Cow::Borrowed(&[]));
        }
        let size = size as usize;
        let payload = self.payload(u32::from_le_bytes(head.data))?;
        match payload.get(..size) {
            Some(data) => Some(Cow::Borrowed(data)),
            None => self.segmented(payload, size).map(Cow::Owned),
        }
    }

    fn segmented(self, payload: &[u8], size: usize) -> Option<Vec<u8>> {
        let list = self.segment_list(payload, size)?;
        let mut data = Vec::new();
        for segment in list {
            let wanted = SEGMENT.min(size - data.len());
            data.extend_from_slice(self.payload(segment)?.get(..wanted)?);
        }
        (data.len() == size).then_some(data)
    }

    /// The cells of the segments of `size` bytes of data, whose big data cell is given.
    pub(super) fn segment_list(self, payload: &[u8], size: usize) -> Option<impl Iterator<Item = u32> + 'a> {
        let (head, _) = BigData::ref_from_prefix(payload).ok()?;
        let segments = usize::from(head.segments.get());
        if head.signature != BIG_DATA || segments != size.div_ceil(SEGMENT) {
            return None;
        }
        offsets(self.payload(head.list.get())?, segments)
    }
}

/// The first `count` offsets of a list.
pub(super) fn offsets(list: &[u8], count: usize) -> Option<impl Iterator<Item = u32> + '_> {
    let list = list.get(..count.checked_mul(4)?)?;
    Some(list.chunks_exact(4).map(word))
}

/// The word at the start of an element of a list.
pub(super) fn word(element: &[u8]) -> u32 {
    u32_at(element, 0).unwrap_or(NOWHERE)
}

impl Hive {
    pub(super) fn cells(&self) -> Cells<'_> {
        Cells(&self.bytes)
    }

    pub(super) fn get(&self, key: KeyId) -> Option<&Key> {
        self.keys.get(key.0 as usize).filter(|k| k.parent != NOWHERE || key.0 == self.root)
    }

    pub(super) fn view(&self, key: KeyId) -> Option<View<'_>> {
        let entry = self.get(key)?;
        if let Some(node) = &entry.edit {
            return Some(View {
                name: Text::units_of(&node.name),
                class: &node.class,
                written: node.written,
                flags: node.flags,
                control: node.control,
                access: node.access,
                handle: node.handle,
            });
        }
        let (head, name) = self.cells().key(entry.cell)?;
        Some(View {
            name,
            class: self.cells().class(head)?,
            written: FileTime(head.last_written.get()),
            flags: head.flags.get(),
            control: head.control.get(),
            access: head.access.get(),
            handle: head.values.get(),
        })
    }

    /// Where the values of an unedited key are.
    pub(super) fn stored_values(&self, entry: &Key) -> impl ExactSizeIterator<Item = u32> + '_ {
        let list = || {
            let (head, _) = self.cells().key(entry.cell)?;
            if head.flags.get() & KEY_PREDEF_HANDLE != 0 || head.values.get() == 0 {
                return None;
            }
            self.cells().payload(head.value_list.get())?.get(..(head.values.get() as usize).checked_mul(4)?)
        };
        list().unwrap_or_default().chunks_exact(4).map(word)
    }

    /// The values of a key, wherever they are.
    pub(super) fn slots(&self, key: KeyId) -> impl Iterator<Item = SlotRef<'_>> {
        let entry = self.get(key);
        let stored = entry.filter(|entry| entry.edit.is_none()).map(|entry| self.stored_values(entry));
        let edited = entry.and_then(|entry| entry.edit.as_deref()).map_or(&[][..], |node| &node.values);
        stored.into_iter().flatten().map(SlotRef::Stored).chain(edited.iter().map(|slot| match slot {
            Slot::Stored(cell) => SlotRef::Stored(*cell),
            Slot::Set(value) => SlotRef::Set(value),
        }))
    }

    pub(super) fn slot_name<'a>(&'a self, slot: SlotRef<'a>) -> Text<'a> {
        match slot {
            SlotRef::Stored(cell) => self.cells().value(cell).map_or(Text::units_of(&[]), |value| value.name),
            SlotRef::Set(value) => Text::units_of(&value.name),
        }
    }

    fn slot_value<'a>(&'a self, slot: SlotRef<'a>) -> Option<ValueRef<'a>> {
        let (kind, data) = match slot {
            SlotRef::Set(value) => (value.kind, Cow::Borrowed(&*value.data)),
            SlotRef::Stored(cell) => {
                let head = self.cells().value(cell)?.head;
                (head.kind.get(), self.cells().data(head)?)
            }
        };
        Some(ValueRef { name: self.slot_name(slot), kind, data })
    }

    /// The root key.
    pub fn root(&self) -> KeyId {
        KeyId(self.root)
    }

    /// The key at `path` below the root, or nothing.
    pub fn open(&self, path: &str) -> Option<KeyId> {
        self.open_at(self.root(), path)
    }

    /// The key at `path` below `key`, or nothing.
    pub fn open_at(&self, key: KeyId, path: &str) -> Option<KeyId> {
        if path.is_empty() {
            return self.get(key).map(|_| key);
        }
        path.split('\\').try_fold(key, |key, name| self.subkey(key, name))
    }

    /// The subkey of that name, or nothing.
    pub fn subkey(&self, key: KeyId, name: impl Into<Name>) -> Option<KeyId> {
        let at = self.position(key, Text::units_of(name.into().units())).ok()?;
        self.child(key, at)
    }

    /// Where among the subkeys the name is, or would have to go.
    pub(super) fn position(&self, key: KeyId, name: Text<'_>) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.subkey_count(key));
        while low < high {
            let middle = low.midpoint(high);
            match self.child(key, middle).map(|child| self.name(child).compare(&name)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                Some(std::cmp::Ordering::Greater) | None => high = middle,
            }
        }
        Err(low)
    }

    /// How many subkeys a key has.
    pub fn subkey_count(&self, key: KeyId) -> usize {
        self.get(key).map_or(0, |entry| entry.edit.as_ref().map_or(entry.count as usize, |node| node.children.len()))
    }

    pub(super) fn child(&self, key: KeyId, at: usize) -> Option<KeyId> {
        let entry = self.get(key)?;
        match &entry.edit {
            Some(node) => node.children.get(at).copied(),
            None => u32::try_from(at).ok().filter(|at| *at < entry.count).map(|at| entry.first + at),
        }
        .map(KeyId)
    }

    /// The subkeys, sorted by name.
    pub fn subkeys(&self, key: KeyId) -> impl DoubleEndedIterator<Item = KeyId> + '_ {
        (0..self.subkey_count(key)).filter_map(move |at| self.child(key, at))
    }

    /// The key that this one is a subkey of; nothing for the root.
    pub fn parent(&self, key: KeyId) -> Option<KeyId> {
        self.get(key).map(|entry| KeyId(entry.parent)).filter(|parent| parent.0 != NOWHERE)
    }

    /// The key's own name.
    pub fn name(&self, key: KeyId) -> Text<'_> {
        self.view(key).map_or(Text::units_of(&[]), |view| view.name)
    }

    /// The path from the root (which is not named), for messages: lossy.
    pub fn path(&self, key: KeyId) -> String {
        let mut names = Vec::new();
        let mut at = key;
        while let Some(parent) = self.parent(at) {
            names.push(self.name(at).to_string());
            at = parent;
        }
        names.reverse();
        names.join("\\")
    }

    /// The values, in stored order.
    pub fn values(&self, key: KeyId) -> impl Iterator<Item = ValueRef<'_>> {
        self.slots(key).filter_map(|slot| self.slot_value(slot))
    }

    /// The value of that name (the empty name is the default value), or nothing.
    pub fn value(&self, key: KeyId, name: impl Into<Name>) -> Option<ValueRef<'_>> {
        let name = name.into();
        let name = Text::units_of(name.units());
        self.slot_value(self.slots(key).find(|slot| self.slot_name(*slot).compare(&name).is_eq())?)
    }

    /// The class of a key, where it has one.
    pub fn class(&self, key: KeyId) -> Option<Name> {
        self.view(key).filter(|view| !view.class.is_empty()).map(|view| Name::from_le_bytes(view.class))
    }

    /// The flags of the key node (0x10 is a symbolic link, 0x40 a predefined handle, ...), apart from the one that says how
    /// the name is stored.
    pub fn flags(&self, key: KeyId) -> u16 {
        self.view(key).map_or(0, |view| view.flags & !KEY_COMP_NAME)
    }

    /// When the key, its values or the list of its subkeys last changed.
    pub fn last_written(&self, key: KeyId) -> FileTime {
        self.view(key).map_or(FileTime(0), |view| view.written)
    }

    /// The key's security descriptor, self-relative; nothing if the hive gives it none.
    pub fn descriptor(&self, key: KeyId) -> Option<&[u8]> {
        self.descriptor_bytes(self.get(key)?.security)
    }

    pub(super) fn descriptor_bytes(&self, index: u32) -> Option<&[u8]> {
        match self.descriptors.get(index as usize)? {
            Bytes::Own(bytes) => Some(bytes),
            Bytes::Stored { cell, at, len } => {
                self.cells().payload(*cell)?.get(*at as usize..at.checked_add(*len)? as usize)
            }
        }
    }

    /// The minor version of the format: 3 to 6.
    pub fn minor_version(&self) -> u32 {
        self.base.minor.get()
    }

    /// When the hive was last written.
    pub fn hive_last_written(&self) -> FileTime {
        FileTime(self.base.last_written.get())
    }

    /// The end of the hive's path, as Windows left it in the base block.
    pub fn file_name(&self) -> Name {
        let name = Name::from_le_bytes(&self.base.file_name);
        let end = name.units().iter().position(|unit| *unit == 0).unwrap_or(name.len());
        Name::new(&name.units()[..end])
    }

    /// What had to be done to read it.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// How many keys there are or have been since it was read: a bound for progress displays.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }
}

impl fmt::Debug for Hive {
    /// The facts of the base block, not the tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hive")
            .field("minor", &self.minor_version())
            .field("file_name", &self.file_name())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
