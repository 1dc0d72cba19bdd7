//! Changing a hive.
//!
//! The first change to a key copies what is known about it (not the data of its values) into a [`Node`]; all else stays
//! in the file. Whatever changes gets the time that [`Hive::set_now`] gave.

use zerocopy::FromZeros;

use super::ondisk::*;
use super::read::{MAX_DEPTH, MAX_KEY_NAME};
use super::store::{Bytes, Hive, Key, KeyId, Node, SetValue, Slot};
use super::{Text, Value};
use crate::base::{FileTime, Name};
use crate::error::{Error, Result};

/// Code units of a value's name that the registry allows.
pub const MAX_VALUE_NAME: usize = 16383;
/// Bytes of data that a value can have: as many segments as their list can count.
pub const MAX_DATA: usize = SEGMENT * u16::MAX as usize;

/// Owned by Administrators, group SYSTEM; both of them may do everything, here and in all subkeys:
/// `O:BAG:SYD:P(A;CI;KA;;;SY)(A;CI;KA;;;BA)`.
#[rustfmt::skip]
pub const ADMIN_DESCRIPTOR: &[u8; 100] = &[
    1, 0, 0x04, 0x90, 20, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
    1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
    1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
    2, 0, 52, 0, 2, 0, 0, 0,
    0, 2, 20, 0, 0x3F, 0, 0x0F, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
    0, 2, 24, 0, 0x3F, 0, 0x0F, 0, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
];

impl Hive {
    /// A hive of minor version 5 with nothing but its root key, which has the [`ADMIN_DESCRIPTOR`].
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a name that no key can have.
    pub fn new(root: &str, now: FileTime) -> Result<Self> {
        let root = Name::from(root);
        check_key_name(&root)?;
        let mut base = BaseBlock::new_zeroed();
        base.signature = REGF;
        base.primary_sequence.set(1);
        base.secondary_sequence.set(1);
        base.major.set(1);
        base.minor.set(5);
        base.file_format.set(FORMAT_MEMORY);
        base.clustering.set(1);
        base.last_written.set(now.0);
        let node =
            Node { name: root.units().into(), written: now, flags: KEY_HIVE_ENTRY | KEY_NO_DELETE, ..Node::default() };
        let key = Key { cell: NOWHERE, parent: NOWHERE, first: 0, count: 0, security: 0, edit: Some(Box::new(node)) };
        let descriptors = vec![Bytes::Own((*ADMIN_DESCRIPTOR).into())];
        let recovery = super::Recovery::Clean;
        Ok(Self { bytes: Vec::new(), base, keys: vec![key], descriptors, root: 0, now, recovery })
    }

    /// The time that every later change leaves in what it changes. Until it is set: when the hive was last written.
    pub fn set_now(&mut self, now: FileTime) {
        self.now = now;
    }

    /// The minor version: 3 and 4 have lists with name hints, 5 and 6 with hashes; 3 has no segmented data.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) outside 3 to 6.
    pub fn set_minor_version(&mut self, minor: u32) -> Result<()> {
        if !(3..=6).contains(&minor) {
            return Err(Error::invalid("hive: minor version").found(minor).allowed("3 to 6"));
        }
        self.base.minor.set(minor);
        Ok(())
    }

    /// The path in the base block, of which the last 31 code units are kept.
    pub fn set_file_name(&mut self, path: &str) {
        let units: Vec<u16> = path.encode_utf16().collect();
        self.base.file_name = [0; 64];
        let tail = &units[units.len().saturating_sub(31)..];
        for (pair, unit) in self.base.file_name.chunks_exact_mut(2).zip(tail) {
            pair.copy_from_slice(&unit.to_le_bytes());
        }
    }

    /// The key at `path` below the root, made if it is not there, with all keys on the way.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a name that no key can have, and beyond 512 levels.
    pub fn create_key(&mut self, path: &str) -> Result<KeyId> {
        self.create_key_at(self.root(), path)
    }

    /// The key at `path` below `key`, made if it is not there, with all keys on the way.
    ///
    /// # Errors
    /// As [`create_key`](Hive::create_key).
    pub fn create_key_at(&mut self, key: KeyId, path: &str) -> Result<KeyId> {
        if path.is_empty() {
            return self.get(key).map(|_| key).ok_or_else(gone);
        }
        path.split('\\').try_fold(key, |key, name| self.create_subkey(key, name))
    }

    /// The subkey of that name, made if it is not there. A new key shares its parent's security descriptor.
    ///
    /// # Errors
    /// As [`create_key`](Hive::create_key).
    pub fn create_subkey(&mut self, parent: KeyId, name: impl Into<Name>) -> Result<KeyId> {
        let name = name.into();
        check_key_name(&name)?;
        let at = match self.position(parent, Text::units_of(name.units())) {
            Ok(at) => return self.child(parent, at).ok_or_else(gone),
            Err(at) => at,
        };
        let depth = std::iter::successors(Some(parent), |key| self.parent(*key)).count();
        if depth > MAX_DEPTH {
            return Err(Error::invalid("depth of the tree of keys").found(depth).allowed(MAX_DEPTH));
        }
        let security = self.get(parent).ok_or_else(gone)?.security;
        let id = u32::try_from(self.keys.len()).ok().filter(|id| *id != NOWHERE);
        let id = id.ok_or_else(|| Error::invalid("number of keys"))?;
        let node = Node { name: name.units().into(), written: self.now, ..Node::default() };
        self.change(parent)?.children.insert(at, id);
        self.keys.push(Key {
            cell: NOWHERE,
            parent: parent.0,
            first: 0,
            count: 0,
            security,
            edit: Some(Box::new(node)),
        });
        Ok(KeyId(id))
    }

    /// Deletes a key with all its subkeys and values; identifiers of them are dead from then on.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for the root and for a key that is deleted already.
    pub fn delete_key(&mut self, key: KeyId) -> Result<()> {
        let Some(parent) = self.parent(key) else {
            return Err(if self.get(key).is_some() {
                Error::invalid("the root key cannot be deleted")
            } else {
                gone()
            });
        };
        let name = self.name(key).to_name();
        let at = self.position(parent, Text::units_of(name.units())).map_err(|_| gone())?;
        self.change(parent)?.children.remove(at);
        let mut doomed = vec![key];
        while let Some(key) = doomed.pop() {
            doomed.extend(self.subkeys(key));
            let entry = &mut self.keys[key.0 as usize];
            *entry = Key { cell: NOWHERE, parent: NOWHERE, first: 0, count: 0, security: NOWHERE, edit: None };
        }
        Ok(())
    }

    /// Sets the value of that name (the empty name is the default value): replaces one that is there, else adds it at the end.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a name or data longer than the registry allows, for a key that is deleted,
    /// and for one that stands for a predefined handle.
    pub fn set_value(&mut self, key: KeyId, name: impl Into<Name>, value: Value) -> Result<()> {
        let name = name.into();
        if name.len() > MAX_VALUE_NAME || value.data.len() > MAX_DATA {
            return Err(Error::invalid(format_args!("value {name}: lengths of name and data"))
                .found(format_args!("{} and {}", name.len(), value.data.len()))
                .allowed(format_args!("up to {MAX_VALUE_NAME} code units and {MAX_DATA} bytes")));
        }
        if self.flags(key) & KEY_PREDEF_HANDLE != 0 {
            return Err(Error::invalid("a key that stands for a predefined handle has no values"));
        }
        let at = self.value_position(key, &name);
        let set = |name: Box<[u16]>| Slot::Set(Box::new(SetValue { name, kind: value.kind, data: value.data.into() }));
        match at {
            Some((at, name)) => self.change(key)?.values[at] = set(name),
            None => self.change(key)?.values.push(set(name.units().into())),
        }
        Ok(())
    }

    /// Deletes the value of that name; whether there was one.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a key that is deleted.
    pub fn delete_value(&mut self, key: KeyId, name: impl Into<Name>) -> Result<bool> {
        self.get(key).ok_or_else(gone)?;
        match self.value_position(key, &name.into()) {
            Some((at, _)) => self.change(key)?.values.remove(at),
            None => return Ok(false),
        };
        Ok(true)
    }

    /// Where among the values the name is, and how it is spelled there.
    fn value_position(&self, key: KeyId, name: &Name) -> Option<(usize, Box<[u16]>)> {
        let name = Text::units_of(name.units());
        self.slots(key)
            .map(|slot| self.slot_name(slot))
            .enumerate()
            .find(|(_, other)| other.compare(&name).is_eq())
            .map(|(at, text)| (at, text.units().collect()))
    }

    /// Sets or removes the class of a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a key that is deleted, or for more than 32767 code units.
    pub fn set_class(&mut self, key: KeyId, class: Option<&str>) -> Result<()> {
        let class = Name::from(class.unwrap_or_default()).to_le_bytes();
        if class.len() > usize::from(u16::MAX) {
            return Err(Error::invalid("length of a class").found(class.len() / 2).allowed(u16::MAX / 2));
        }
        self.change(key)?.class = class.into();
        Ok(())
    }

    /// Sets the flags of a key node, apart from those that say how its name is stored and that it is the root.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a key that is deleted.
    pub fn set_flags(&mut self, key: KeyId, flags: u16) -> Result<()> {
        const OWN: u16 = KEY_COMP_NAME | KEY_HIVE_ENTRY | KEY_PREDEF_HANDLE;
        let node = self.change(key)?;
        node.flags = node.flags & OWN | flags & !OWN;
        Ok(())
    }

    /// Sets when a key was last written, to something else than the time of [`set_now`](Hive::set_now).
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a key that is deleted.
    pub fn set_last_written(&mut self, key: KeyId, written: FileTime) -> Result<()> {
        self.change(key)?.written = written;
        Ok(())
    }

    /// Gives a key, and only this one, a security descriptor. Equal ones are stored once.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) if these bytes are no self-relative descriptor.
    pub fn set_descriptor(&mut self, key: KeyId, descriptor: &[u8]) -> Result<()> {
        // Revision, padding, control (SE_SELF_RELATIVE is its top bit), then four offsets.
        if descriptor.len() < 20 || descriptor[0] != 1 || descriptor[3] & 0x80 == 0 {
            return Err(Error::invalid("security descriptor").allowed("revision 1, self-relative"));
        }
        let known = (0..self.descriptors.len() as u32).find(|i| self.descriptor_bytes(*i) == Some(descriptor));
        let index = match known {
            Some(index) => index,
            None => {
                self.descriptors.push(Bytes::Own(descriptor.into()));
                self.descriptors.len() as u32 - 1
            }
        };
        self.change(key)?;
        self.keys[key.0 as usize].security = index;
        Ok(())
    }

    /// The node of a key that is about to change, made if it is the first time.
    fn change(&mut self, key: KeyId) -> Result<&mut Node> {
        if self.get(key).ok_or_else(gone)?.edit.is_none() {
            let node = self.node_from_file(key).ok_or_else(gone)?;
            self.keys[key.0 as usize].edit = Some(Box::new(node));
        }
        self.base.last_written.set(self.now.0);
        let now = self.now;
        let node = self.keys[key.0 as usize].edit.as_mut().ok_or_else(gone)?;
        node.written = now;
        Ok(node)
    }

    fn node_from_file(&self, key: KeyId) -> Option<Node> {
        let (entry, view) = (self.get(key)?, self.view(key)?);
        Some(Node {
            name: view.name.units().collect(),
            class: view.class.into(),
            written: view.written,
            flags: view.flags,
            control: view.control,
            access: view.access,
            handle: view.handle,
            children: (entry.first..entry.first + entry.count).collect(),
            values: self.stored_values(entry).map(Slot::Stored).collect(),
        })
    }
}

fn gone() -> Error {
    Error::invalid("the key was deleted")
}

fn check_key_name(name: &Name) -> Result<()> {
    if name.is_empty() || name.len() > MAX_KEY_NAME || name.units().contains(&u16::from(b'\\')) {
        return Err(Error::invalid("name of a key")
            .found(format_args!("{name:?}"))
            .allowed(format_args!("1 to {MAX_KEY_NAME} code units without \\")));
    }
    Ok(())
}
