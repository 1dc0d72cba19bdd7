//! Hives of a tree that are being changed: each is read once, and those that changed are written once.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::registry::{self, Address, KEY_SYM_LINK};
use crate::base::FileTime;
use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Recovery, Value};
use crate::tree::{Content, NodeId, Tree};

/// Different security descriptors of siblings that are counted.
const MOST_DESCRIPTORS: usize = 64;

/// What became of one hive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its path.
    pub hive: String,
    /// Keys made.
    pub keys_made: usize,
    /// Keys deleted, those below them not counted.
    pub keys_deleted: usize,
    /// Values set to what they were not.
    pub values_set: usize,
    /// Values deleted.
    pub values_deleted: usize,
    /// Security descriptors of keys that were set to what they were not.
    #[serde(skip_serializing_if = "is_zero")]
    pub descriptors_set: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Changed {
    /// Adds what changed in the same hive later.
    pub(super) fn add(&mut self, later: &Self) {
        self.keys_made += later.keys_made;
        self.keys_deleted += later.keys_deleted;
        self.values_set += later.values_set;
        self.values_deleted += later.values_deleted;
        self.descriptors_set += later.descriptors_set;
    }

    fn is_nothing(&self) -> bool {
        self.keys_made + self.keys_deleted + self.values_set + self.values_deleted + self.descriptors_set == 0
    }
}

/// The hives that were asked for.
pub(super) struct HiveFiles {
    /// By path.
    open: BTreeMap<String, HiveFile>,
    /// The path of the hive that Windows shows under a key: looking that up may mean reading another hive.
    paths: BTreeMap<String, String>,
    now: FileTime,
}

impl HiveFiles {
    /// None yet; what changes is written at `now`.
    pub(super) fn new(now: FileTime) -> Self {
        Self { open: BTreeMap::new(), paths: BTreeMap::new(), now }
    }

    /// The hive of a path.
    ///
    /// # Errors
    /// [`Invalid`](Kind::Invalid) where there is none; [`Corrupt`](Kind::Corrupt) for one that was not left clean and that no log
    /// mends: what it lacks might be what is to be changed.
    pub(super) fn open(&mut self, tree: &Tree, path: &str) -> Result<&mut HiveFile> {
        if !self.open.contains_key(path) {
            self.open.insert(path.to_owned(), HiveFile::open(tree, path, self.now)?);
        }
        // Just put in, or in there before.
        self.open.get_mut(path).ok_or_else(|| Error::invalid("no such hive").found(path))
    }

    /// The hive of a path, if it was opened before.
    pub(super) fn opened(&self, path: &str) -> Option<&HiveFile> {
        self.open.get(path)
    }

    /// The hive of a key as Windows shows it, and the path within.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Invalid`](Kind::Invalid) for keys that no hive holds.
    pub(super) fn locate(&mut self, tree: &Tree, key: &str) -> Result<(&mut HiveFile, String)> {
        let address = Address::parse(tree, key)?;
        let shown = address.shown();
        let path = match self.paths.get(&shown) {
            Some(path) => path.clone(),
            None => self.paths.entry(shown.clone()).or_insert(address.file(tree)?).clone(),
        };
        let mut rest = address.rest;
        let hive = self.open(tree, &path)?;
        if shown.ends_with(r"\SYSTEM") {
            hive.name_control_set(&mut rest)?;
        }
        Ok((hive, rest.join("\\")))
    }

    /// Puts the hives that changed back; tells which those were. Either all of them are, or none.
    pub(super) fn write(mut self, tree: &mut Tree) -> Result<Vec<Changed>> {
        self.open.retain(|_, hive| !hive.changed.is_nothing());
        let written =
            self.open.values().map(|hive| Ok((hive.node, hive.hive.to_bytes().context(|| &hive.changed.hive)?)));
        for (node, bytes) in written.collect::<Result<Vec<_>>>()? {
            let node = tree.node_mut(node);
            if let Some(main) = node.streams.iter_mut().find(|stream| stream.name.is_empty()) {
                main.content = Content::from(bytes);
                main.sparse = false;
            }
            node.times.modified = self.now;
            node.times.changed = self.now;
        }
        Ok(self.open.into_values().map(|hive| hive.changed).collect())
    }
}

/// A hive that is being changed. What is so already is no change.
pub(super) struct HiveFile {
    node: NodeId,
    hive: Hive,
    changed: Changed,
    /// The descriptor that most subkeys of a key have, where new ones were made like them.
    usual: HashMap<KeyId, Option<Box<[u8]>>>,
}

impl HiveFile {
    fn open(tree: &Tree, path: &str, now: FileTime) -> Result<Self> {
        let missing = || Error::invalid("the hive of this key is not in the image").allowed(path);
        let node = tree.find(path).filter(|node| !tree.node(*node).is_directory()).ok_or_else(missing)?;
        let mut hive = registry::read_hive(tree, path)?.ok_or_else(missing)?;
        if hive.recovery() == Recovery::Ignored {
            return Err(Error::new(Kind::Corrupt, "the hive was not left clean, and no log mends it")
                .hint("start its Windows and shut it down first")
                .context(path));
        }
        hive.set_now(now);
        let changed = Changed { hive: path.to_owned(), ..Changed::default() };
        Ok(Self { node, hive, changed, usual: HashMap::new() })
    }

    /// Its path in the tree.
    pub(super) fn path(&self) -> &str {
        &self.changed.hive
    }

    /// The hive, to look at.
    pub(super) fn hive(&self) -> &Hive {
        &self.hive
    }

    /// Puts the control set that is the current one in the place of `CurrentControlSet`, which no file has.
    fn name_control_set(&self, path: &mut [String]) -> Result<()> {
        let Some(first) = path.first_mut().filter(|name| name.eq_ignore_ascii_case("CurrentControlSet")) else {
            return Ok(());
        };
        *first = self.hive.name(self.control_set()?).to_string();
        Ok(())
    }

    /// The control set that is the current one, of a SYSTEM hive.
    pub(super) fn control_set(&self) -> Result<KeyId> {
        registry::current_control_set(&self.hive).ok_or_else(|| {
            Error::corrupt(r"the SYSTEM hive does not say which control set is the current one (Select\Current)")
        })
    }

    /// The key at a path, made with those on the way to it where they are not there.
    pub(super) fn make(&mut self, path: &str) -> Result<KeyId> {
        path.split('\\').try_fold(self.hive.root(), |at, name| self.make_subkey(at, name))
    }

    /// The subkey of that name, made where it is not there.
    pub(super) fn make_subkey(&mut self, at: KeyId, name: &str) -> Result<KeyId> {
        match self.hive.subkey(at, name) {
            Some(key) => Ok(key),
            None => {
                self.changed.keys_made += 1;
                self.hive.create_subkey(at, name)
            }
        }
    }

    /// The key at a path below another, made where it is not there; each new key has the security descriptor that most of its
    /// siblings have, or its parent's where it has none.
    pub(super) fn make_alike(&mut self, at: KeyId, path: &str) -> Result<KeyId> {
        path.split('\\').filter(|name| !name.is_empty()).try_fold(at, |at, name| self.make_sibling(at, name))
    }

    /// The same for one name, in which a `\` is an error.
    pub(super) fn make_sibling(&mut self, at: KeyId, name: &str) -> Result<KeyId> {
        if let Some(key) = self.hive.subkey(at, name) {
            return Ok(key);
        }
        let usual = self.usual.entry(at).or_insert_with(|| usual_descriptor(&self.hive, at)).clone();
        let key = self.make_subkey(at, name)?;
        match usual.filter(|usual| self.hive.descriptor(key) != Some(usual)) {
            Some(usual) => self.hive.set_descriptor(key, &usual).map(|()| key),
            None => Ok(key),
        }
    }

    /// Sets a value.
    pub(super) fn set(&mut self, key: KeyId, name: &str, value: Value) -> Result<()> {
        let known = self.hive.value(key, name);
        if known.is_some_and(|known| known.kind == value.kind && *known.data == *value.data) {
            return Ok(());
        }
        self.hive.set_value(key, name, value)?;
        self.changed.values_set += 1;
        Ok(())
    }

    /// Sets a key's security descriptor.
    pub(super) fn set_descriptor(&mut self, key: KeyId, descriptor: &[u8]) -> Result<()> {
        if self.hive.descriptor(key) == Some(descriptor) {
            return Ok(());
        }
        self.hive.set_descriptor(key, descriptor)?;
        self.changed.descriptors_set += 1;
        Ok(())
    }

    /// Deletes a value; whether there was one.
    pub(super) fn delete_value(&mut self, key: KeyId, name: &str) -> Result<bool> {
        let was_there = self.hive.delete_value(key, name)?;
        self.changed.values_deleted += usize::from(was_there);
        Ok(was_there)
    }

    /// Deletes a key with all that is below it.
    pub(super) fn delete_key(&mut self, key: KeyId) -> Result<()> {
        self.hive.delete_key(key)?;
        self.changed.keys_deleted += 1;
        Ok(())
    }

    /// Deletes a key and those above it, up to `top`, as far as there is nothing in them.
    pub(super) fn prune(&mut self, key: KeyId, top: KeyId) -> Result<()> {
        let mut at = key;
        while at != top && self.hive.subkey_count(at) == 0 && self.hive.values(at).next().is_none() {
            let Some(parent) = self.hive.parent(at) else { break };
            self.delete_key(at)?;
            at = parent;
        }
        Ok(())
    }

    /// A link leads to another key, which in another hive nobody could follow.
    pub(super) fn refuse_links(&self, path: &str) -> Result<()> {
        let mut at = self.hive.root();
        for name in path.split('\\') {
            match self.hive.subkey(at, name) {
                Some(key) if self.hive.flags(key) & KEY_SYM_LINK != 0 => {
                    return Err(Error::unsupported("a key that is a symbolic link")
                        .found(self.hive.path(key))
                        .hint("name the key that it leads to"));
                }
                Some(key) => at = key,
                None => break,
            }
        }
        Ok(())
    }
}

/// The descriptor that most subkeys have; of equally many, the one that comes first.
fn usual_descriptor(hive: &Hive, parent: KeyId) -> Option<Box<[u8]>> {
    let mut counts: Vec<(&[u8], usize)> = Vec::new();
    for descriptor in hive.subkeys(parent).filter_map(|key| hive.descriptor(key)) {
        match counts.iter().position(|(known, _)| *known == descriptor) {
            Some(at) => counts[at].1 += 1,
            // Of many different ones, those that are looked at are enough.
            None if counts.len() < MOST_DESCRIPTORS => counts.push((descriptor, 1)),
            None => {}
        }
    }
    counts.iter().rev().max_by_key(|(_, count)| *count).map(|(descriptor, _)| (*descriptor).into())
}
