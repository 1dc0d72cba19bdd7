//! The image that packages are put into or taken out of: its tree, its hives, and the account of what was changed.

use std::collections::HashMap;
use std::sync::Arc;

use super::installed::SERVICING as CBS;
use super::journal::{FILES, Journal, Place};
use crate::base::name::windows_fault;
use crate::base::security::{Descriptor, Sid, mask};
use crate::base::{FileTime, Name};
use crate::error::{Context, Error, Result};
use crate::format::hive::{Hive, KeyId, Value, kind};
use crate::tree::{Content, DescriptorId, Link, Node, NodeId, Times, Tree, attributes};
use crate::windows::hive_files::{Changed, HiveFile, HiveFiles};
use crate::windows::place;
use crate::windows::registry::{self, KEY_SYM_LINK};

pub(super) const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";
pub(super) const COMPONENTS: &str = r"\Windows\System32\config\COMPONENTS";
/// The hive that becomes that of every new user.
pub(super) const DEFAULT_USER: &str = r"\Users\Default\NTUSER.DAT";

/// The component store.
pub(super) const STORE: &str = r"\Windows\WinSxS";

/// Folders and files of the store that are looked at for what is usual.
const SAMPLE: usize = 64;
/// Links that lead on to links.
const LINKS_FOLLOWED: usize = 8;
/// Code units of a path, as NT has it.
const MAX_PATH: usize = 32_767;

/// A tree that is being serviced.
pub(super) struct Image<'t> {
    pub(super) tree: &'t mut Tree,
    pub(super) hives: HiveFiles,
    pub(super) journal: Journal,
    pub(super) now: FileTime,
    /// Names in the tree that came, went, or lead elsewhere now.
    pub(super) files: usize,
    pub(super) warnings: Vec<String>,
    usual: Option<Usual>,
    /// The descriptors that files of folders have, by the folders' paths.
    usual_in: HashMap<String, DescriptorId>,
    /// The folders of the store that files are in.
    owners: Option<HashMap<NodeId, String>>,
    /// The keys that were located.
    places: HashMap<String, Place>,
}

/// Security descriptors of the store's folders and files.
#[derive(Clone, Copy)]
struct Usual {
    folder: Option<DescriptorId>,
    file: DescriptorId,
}

impl<'t> Image<'t> {
    /// Opens the hives that every package changes.
    ///
    /// # Errors
    /// [`NotWindows`](crate::error::Kind::NotWindows) for a tree without them; [`Corrupt`](crate::error::Kind::Corrupt) for those that were not left clean.
    pub(super) fn open(tree: &'t mut Tree, now: FileTime) -> Result<Self> {
        if tree.find(SOFTWARE).is_none() {
            let error =
                Error::new(crate::error::Kind::NotWindows, "the image has no place for packages: a hive is missing");
            return Err(error.found(SOFTWARE));
        }
        let mut hives = HiveFiles::new(now);
        let journal = Journal::read(hives.open(tree, SOFTWARE)?.hive());
        if tree.find(COMPONENTS).is_some() {
            hives.open(tree, COMPONENTS)?;
        }
        Ok(Self {
            tree,
            hives,
            journal,
            now,
            files: 0,
            warnings: Vec::new(),
            usual: None,
            usual_in: HashMap::new(),
            owners: None,
            places: HashMap::new(),
        })
    }

    /// Writes the hives; tells which changed.
    pub(super) fn commit(mut self) -> Result<(usize, Vec<Changed>, Vec<String>)> {
        self.journal.write(self.hives.open(self.tree, SOFTWARE)?)?;
        Ok((self.files, self.hives.write(self.tree)?, self.warnings))
    }

    /// A hive that was opened at the beginning, to look at.
    pub(super) fn hive(&self, path: &str) -> Option<&Hive> {
        self.hives.opened(path).map(HiveFile::hive)
    }

    /// Work that Windows has begun and does when it starts next; what it would make of changes in between nobody knows.
    pub(super) fn pending(&self) -> Option<String> {
        let file = format!(r"{STORE}\pending.xml");
        if self.tree.find(&file).is_some() {
            return Some(file);
        }
        let hive = self.hive(SOFTWARE)?;
        let cbs = hive.open(CBS)?;
        let is_empty = |key: KeyId| hive.subkey_count(key) == 0 && hive.values(key).next().is_none();
        let dword = |key: KeyId, name: &str| hive.value(key, name).and_then(|value| value.as_dword()).unwrap_or(0);
        // An image at rest has SessionsPending, too, with Exclusive = 0 (seen).
        let pending = [
            ("RebootPending", hive.subkey(cbs, "RebootPending").is_some()),
            ("RebootInProgress", hive.subkey(cbs, "RebootInProgress").is_some()),
            ("PackagesPending", hive.subkey(cbs, "PackagesPending").is_some_and(|key| !is_empty(key))),
            (
                "SessionsPending",
                hive.subkey(cbs, "SessionsPending")
                    .is_some_and(|key| hive.subkey_count(key) > 0 || dword(key, "Exclusive") != 0),
            ),
        ];
        pending.iter().find(|(_, is_pending)| *is_pending).map(|(name, _)| format!(r"HKLM\SOFTWARE\{CBS}\{name}"))
    }

    /// An error, if there is such work.
    pub(super) fn refuse_pending(&self) -> Result<()> {
        self.pending().map_or(Ok(()), |what| Err(in_the_middle(what)))
    }
}

/// What is said of an image with such work.
pub(super) fn in_the_middle(what: String) -> Error {
    Error::unsupported("the image is in the middle of servicing")
        .found(what)
        .hint("start its Windows once and shut it down, so that it finishes; or take an image that is at rest")
}

/// Keys and values.
impl Image<'_> {
    /// Where a key of a manifest is. Links in the hives are followed.
    ///
    /// `HKEY_CURRENT_USER` and `HKEY_USERS\Default` are the hive that new users start with (`\Users\Default\NTUSER.DAT`); where the image has none,
    /// `config\DEFAULT`. That one is `HKEY_USERS\.DEFAULT`, the hive of the system's own account.
    ///
    /// # Errors
    /// Those of [`HiveFiles::locate`], and [`Corrupt`](crate::error::Kind::Corrupt) for links that lead on and on.
    pub(super) fn locate(&mut self, key: &str) -> Result<Place> {
        if let Some(place) = self.places.get(key) {
            return Ok(place.clone());
        }
        let mut path = key.to_owned();
        for _ in 0..LINKS_FOLLOWED {
            let place = self.located(&path)?;
            let hive = self.hives.open(self.tree, &place.hive)?.hive();
            match link_on(hive, &place.path)? {
                Some(target) => path = target,
                None => {
                    self.places.insert(key.to_owned(), place.clone());
                    return Ok(place);
                }
            }
        }
        Err(Error::corrupt("registry: symbolic links that lead on and on").found(key))
    }

    fn located(&mut self, key: &str) -> Result<Place> {
        let below = ["HKEY_CURRENT_USER", "HKCU", r"HKEY_USERS\Default", r"HKU\Default"]
            .iter()
            .find_map(|root| strip_root(key, root));
        if let Some(below) = below
            && self.tree.find(DEFAULT_USER).is_some()
        {
            return Ok(Place::new(DEFAULT_USER, below));
        }
        let key = below.map_or(key.to_owned(), |below| format!(r"HKEY_USERS\.DEFAULT\{below}"));
        let (hive, path) = self.hives.locate(self.tree, &key)?;
        Ok(Place::new(hive.path(), &path))
    }

    pub(super) fn open_hive(&mut self, place: &Place) -> Result<&mut HiveFile> {
        self.hives.open(self.tree, &place.hive)
    }

    /// The key at a place, if it is there.
    pub(super) fn key(&mut self, place: &Place) -> Result<Option<KeyId>> {
        Ok(self.open_hive(place)?.hive().open(&place.path))
    }

    pub(super) fn value(&mut self, place: &Place, name: &str) -> Result<Option<Value>> {
        let hive = self.open_hive(place)?.hive();
        Ok(hive.open(&place.path).and_then(|key| hive.value(key, name)).map(|value| value.to_value()))
    }

    /// The key at a place, made where it is not there, with the security descriptor that its siblings have unless it has one of its own. One that was
    /// there before the packages keeps what it has.
    pub(super) fn make_key(&mut self, place: &Place, descriptor: Option<&[u8]>) -> Result<KeyId> {
        let hive = self.hives.open(self.tree, &place.hive)?;
        let key = match hive.hive().open(&place.path) {
            Some(key) => key,
            None => {
                let first = Place::new(&place.hive, &first_missing(hive.hive(), &place.path));
                self.journal.add_made(&first.to_string());
                hive.make_alike(hive.hive().root(), &place.path)?
            }
        };
        match descriptor.filter(|_| self.journal.is_made(&place.to_string())) {
            Some(descriptor) => hive.set_descriptor(key, descriptor).map(|()| key),
            None => Ok(key),
        }
    }

    /// The key at a place that was there before, made where it is not there now.
    pub(super) fn make_key_again(&mut self, place: &Place) -> Result<KeyId> {
        let hive = self.open_hive(place)?;
        let root = hive.hive().root();
        hive.make_alike(root, &place.path)
    }

    /// Sets a value, and notes what it was. Gives what it was, if that was something else.
    pub(super) fn set_value(&mut self, place: &Place, name: &str, value: Value) -> Result<Option<Value>> {
        let key = self.make_key(place, None)?;
        let hive = self.hives.open(self.tree, &place.hive)?;
        let before = hive.hive().value(key, name).map(|value| value.to_value());
        match &before {
            Some(before) if *before == value => return Ok(None),
            Some(before) => self.journal.note_value(place, name, before.clone()),
            // It may have been deleted by a component.
            None if self.journal.value(place, name).is_none() => self.journal.add_made(&place.value(name)),
            None => {}
        }
        hive.set(key, name, value)?;
        Ok(before)
    }

    /// Deletes a value, and notes what it was.
    pub(super) fn delete_value(&mut self, place: &Place, name: &str) -> Result<()> {
        let hive = self.hives.open(self.tree, &place.hive)?;
        let Some(key) = hive.hive().open(&place.path) else { return Ok(()) };
        let Some(before) = hive.hive().value(key, name).map(|value| value.to_value()) else { return Ok(()) };
        self.journal.note_value(place, name, before);
        hive.delete_value(key, name).map(|_| ())
    }

    /// Deletes a key with all below it, and notes what that was.
    pub(super) fn delete_key(&mut self, place: &Place) -> Result<()> {
        let hive = self.hives.open(self.tree, &place.hive)?;
        let Some(key) = hive.hive().open(&place.path) else { return Ok(()) };
        let mut waiting = vec![(key, place.clone())];
        while let Some((key, place)) = waiting.pop() {
            if self.journal.is_made(&place.to_string()) {
                continue;
            }
            let hive = hive.hive();
            self.journal.note_key(&place, hive.descriptor(key).unwrap_or_default());
            for value in hive.values(key) {
                self.journal.note_value(&place, &value.name.to_string(), value.to_value());
            }
            let below = hive.subkeys(key).map(|key| {
                let path = format!(r"{}\{}", place.path, hive.name(key));
                (key, Place { hive: place.hive.clone(), path })
            });
            waiting.extend(below);
        }
        hive.delete_key(key)
    }
}

/// The name of a manifest's root, if a key begins with it, taken off.
fn strip_root<'k>(key: &'k str, root: &str) -> Option<&'k str> {
    let (start, rest) = key.split_at_checked(root.len())?;
    if !start.eq_ignore_ascii_case(root) {
        return None;
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('\\') }
}

/// The key that is meant instead, if there is a link on the way.
fn link_on(hive: &Hive, path: &str) -> Result<Option<String>> {
    let mut key = hive.root();
    let mut rest = path.split('\\');
    while let Some(name) = rest.next() {
        let Some(next) = hive.subkey(key, name) else { return Ok(None) };
        key = next;
        if hive.flags(key) & KEY_SYM_LINK != 0 {
            let target = hive.value(key, "SymbolicLinkValue").and_then(|value| value.as_text());
            let target = target
                .ok_or_else(|| Error::corrupt("registry: a symbolic link without a target").found(hive.path(key)))?;
            return Ok(Some(rest.fold(target, |path, name| path + r"\" + name)));
        }
    }
    Ok(None)
}

/// The first key on a path that is not there.
fn first_missing(hive: &Hive, path: &str) -> String {
    let mut key = hive.root();
    let mut so_far = String::new();
    for name in path.split('\\') {
        so_far = if so_far.is_empty() { name.to_owned() } else { format!(r"{so_far}\{name}") };
        match hive.subkey(key, name) {
            Some(next) => key = next,
            None => break,
        }
    }
    so_far
}

/// The texts of a REG_MULTI_SZ, or the one text of another type.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let units: Vec<u16> = Name::from_le_bytes(&value.data).units().to_vec();
    let texts = units.split(|unit| *unit == 0).take_while(|text| !text.is_empty()).map(String::from_utf16_lossy);
    if value.kind == kind::MULTI_SZ { texts.collect() } else { texts.take(1).collect() }
}

/// Files and directories.
impl Image<'_> {
    /// The directory at a path, made where it is not there; those that are made inherit, the last one unless it has a descriptor of its own. One that
    /// was there before the packages keeps what it has.
    pub(super) fn make_directory(&mut self, path: &str, descriptor: Option<&[u8]>, attributes: u32) -> Result<NodeId> {
        check_path(path)?;
        let mut at = self.tree.root();
        let mut so_far = String::new();
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            so_far = format!(r"{so_far}\{name}");
            if self.tree.child(at, Name::from(name).units()).is_none() {
                self.journal.add_made(&so_far);
                self.files += 1;
            }
            at = place::ensure_directory(self.tree, at, name, self.now).context(|| path)?;
        }
        let attributes = attributes & !attributes::DIRECTORY & !attributes::NORMAL;
        if (descriptor.is_some() || attributes != 0) && self.journal.is_made(&so_far) {
            let descriptor = descriptor.map(|bytes| self.tree.add_descriptor(bytes));
            let node = self.tree.node_mut(at);
            node.descriptor = descriptor.or(node.descriptor);
            node.attributes |= attributes;
        }
        Ok(at)
    }

    /// Puts a new file at a path where there is none; whether it did.
    pub(super) fn put_if_absent(
        &mut self,
        path: &str,
        content: Content,
        descriptor: Option<DescriptorId>,
    ) -> Result<bool> {
        if self.tree.find(path).is_some() {
            return Ok(false);
        }
        let (folder, name) = split(path);
        let directory = self.make_directory(folder, None, 0)?;
        check_path(path)?;
        let mut node = Node::file(attributes::ARCHIVE, Times::all(self.now), content);
        node.descriptor = descriptor.or_else(|| place::inherited(self.tree, directory, false));
        let node = self.tree.add_node(node)?;
        self.tree.add_link(directory, Link { name: name.into(), short: None, node }).context(|| path)?;
        self.files += 1;
        Ok(true)
    }

    /// Puts a document of the servicing stack where there is none, with the security descriptor that its siblings have.
    pub(super) fn put_document(&mut self, path: &str, bytes: &Arc<[u8]>) -> Result<()> {
        let descriptor = self.usual_in(split(path).0);
        self.put_if_absent(path, Content::Bytes(Arc::clone(bytes)), Some(descriptor)).map(|_| ())
    }

    /// The descriptor that most files of a folder have.
    fn usual_in(&mut self, folder: &str) -> DescriptorId {
        if let Some(usual) = self.usual_in.get(folder) {
            return *usual;
        }
        let tree = &*self.tree;
        let siblings = tree.find(folder).into_iter().flat_map(|folder| tree.node(folder).children());
        let files = siblings.map(|link| link.node).filter(|node| !tree.node(*node).is_directory()).take(SAMPLE);
        let usual = place::most_common(tree, files).unwrap_or_else(|| self.tree.add_descriptor(&protected_file()));
        self.usual_in.insert(folder.to_owned(), usual);
        usual
    }

    /// The file at a path, if there is one; anything else in its place is an error.
    pub(super) fn file(&self, path: &str) -> Result<Option<NodeId>> {
        let Some(node) = self.tree.find(path) else { return Ok(None) };
        let is_plain = !self.tree.node(node).is_directory() && self.tree.node(node).reparse.is_none();
        if is_plain {
            return Ok(Some(node));
        }
        Err(Error::invalid("a directory or link stands where a file must go").found(path))
    }

    /// Makes a name lead to a file: a new name, or one that there is, which keeps its spelling and its short name.
    pub(super) fn point(&mut self, path: &str, node: NodeId) -> Result<()> {
        check_path(path)?;
        let (folder, name) = split(path);
        let directory = self.make_directory(folder, None, 0)?;
        let units = Name::from(name);
        let there = self.tree.child(directory, units.units()).cloned();
        let link = match there {
            Some(link) => {
                self.tree.remove_link(directory, link.name.units())?;
                Link { node, ..link }
            }
            None => Link { name: name.into(), short: None, node },
        };
        self.files += 1;
        self.tree.add_link(directory, link).context(|| path)
    }

    /// Takes a name away; whether there was one.
    pub(super) fn take(&mut self, path: &str) -> Result<bool> {
        let (folder, name) = split(path);
        let Some(directory) = self.tree.find(folder) else { return Ok(false) };
        let name = Name::from(name);
        if self.tree.child(directory, name.units()).is_none() {
            return Ok(false);
        }
        self.tree.remove_tree(directory, name.units()).context(|| path)?;
        self.files += 1;
        Ok(true)
    }

    /// Keeps a file that belongs to no component and whose name is to lead elsewhere.
    pub(super) fn keep_file(&mut self, path: &str) -> Result<()> {
        let kept = format!("{FILES}{path}");
        let (folder, name) = split(path);
        let directory = self.tree.find(folder);
        let Some(link) = directory.and_then(|node| self.tree.child(node, Name::from(name).units())).cloned() else {
            return Ok(());
        };
        if self.tree.find(&kept).is_some() {
            return Ok(()); // what was there first counts
        }
        let directory = self.make_directory(split(&kept).0, None, 0)?;
        self.files += 1;
        self.tree.add_link(directory, link).context(|| kept)
    }

    /// Puts a file back that was kept; whether there was one.
    pub(super) fn give_back_file(&mut self, path: &str) -> Result<bool> {
        let kept = format!("{FILES}{path}");
        let (folder, name) = split(&kept);
        let Some(directory) = self.tree.find(folder) else { return Ok(false) };
        let Some(link) = self.tree.child(directory, Name::from(name).units()).cloned() else { return Ok(false) };
        self.take(path)?;
        let target = self.make_directory(split(path).0, None, 0)?;
        self.tree.remove_link(directory, link.name.units())?;
        self.tree.add_link(target, link).context(|| path)?;
        self.prune_directories(folder, |_| true)?;
        Ok(true)
    }

    /// Takes a directory and those above it away, as far as there is nothing in them and they may go.
    pub(super) fn prune_directories(&mut self, path: &str, may_go: impl Fn(&str) -> bool) -> Result<()> {
        let mut path = path;
        while let Some(node) = self.tree.find(path).filter(|_| !path.is_empty()) {
            let node = self.tree.node(node);
            if !node.is_directory() || !node.children().is_empty() || !may_go(path) || !self.journal.is_made(path) {
                break;
            }
            self.take(path)?;
            path = split(path).0;
        }
        Ok(())
    }

    /// The component that a file belongs to: the folder of the store that it has a name in.
    pub(super) fn owner(&mut self, node: NodeId) -> Option<&str> {
        let tree = &*self.tree;
        let owners = self.owners.get_or_insert_with(|| {
            let mut owners = HashMap::new();
            let folders = tree.find(STORE).into_iter().flat_map(|store| tree.node(store).children());
            for folder in folders.filter(|link| is_component(&link.name.to_string())) {
                let name = folder.name.to_string();
                let mut waiting = vec![folder.node];
                while let Some(directory) = waiting.pop() {
                    for link in tree.node(directory).children() {
                        if tree.node(link.node).is_directory() {
                            waiting.push(link.node);
                        } else {
                            owners.entry(link.node).or_insert_with(|| name.clone());
                        }
                    }
                }
            }
            owners
        });
        owners.get(&node).map(String::as_str)
    }

    /// Notes that a file is in a folder of the store now.
    pub(super) fn own(&mut self, node: NodeId, keyform: &str) {
        if let Some(owners) = &mut self.owners {
            owners.insert(node, keyform.to_owned());
        }
    }

    /// The descriptor that folders of the store have.
    pub(super) fn store_folder_descriptor(&mut self) -> Option<DescriptorId> {
        self.usual().folder
    }

    /// The descriptor that files of the store have.
    pub(super) fn store_file_descriptor(&mut self) -> DescriptorId {
        self.usual().file
    }

    fn usual(&mut self) -> Usual {
        if let Some(usual) = self.usual {
            return usual;
        }
        let tree = &*self.tree;
        let folders = tree.find(STORE).into_iter().flat_map(|store| tree.node(store).children());
        let folders = folders.filter(|link| is_component(&link.name.to_string())).map(|link| link.node);
        let folders: Vec<NodeId> = folders.filter(|node| tree.node(*node).is_directory()).take(SAMPLE).collect();
        let files = folders.iter().flat_map(|folder| tree.node(*folder).children()).map(|link| link.node);
        let files = files.filter(|node| !tree.node(*node).is_directory()).take(SAMPLE);
        let file = place::most_common(tree, files);
        let folder = place::most_common(tree, folders.iter().copied());
        let file = file.unwrap_or_else(|| self.tree.add_descriptor(&protected_file()));
        *self.usual.insert(Usual { folder, file })
    }
}

/// Whether a name in the store is that of a component's folder (and not `Manifests`, `Backup`, ...).
fn is_component(name: &str) -> bool {
    name.split('_').count() >= 6
}

/// What files of Windows have where there is none to learn it from: TrustedInstaller may do everything, all others may read and run.
pub(super) fn protected_file() -> Vec<u8> {
    let allow = [
        (Sid::TRUSTED_INSTALLER, mask::FULL, 0),
        (Sid::ADMINISTRATORS, mask::READ_AND_RUN, 0),
        (Sid::LOCAL_SYSTEM, mask::READ_AND_RUN, 0),
        (Sid::USERS, mask::READ_AND_RUN, 0),
    ];
    let (owner, group) = (Sid::TRUSTED_INSTALLER, Sid::TRUSTED_INSTALLER);
    Descriptor { owner, group, protected: true, allow: &allow }.to_bytes()
}

/// Folder and name of a path.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('\\').unwrap_or(("", path))
}

/// Paths come from manifests: none may lead where it does not say, and none may be longer than Windows takes.
pub(super) fn check_path(path: &str) -> Result<()> {
    if path.encode_utf16().count() > MAX_PATH {
        return Err(Error::unsupported("length of a path").found(path.len()).allowed(MAX_PATH));
    }
    let names = path.strip_prefix('\\').unwrap_or(path).split('\\').filter(|name| !name.is_empty());
    names.filter_map(|name| windows_fault(name).map(|why| (name, why))).next().map_or(Ok(()), |(name, why)| {
        Err(Error::invalid("not a name that Windows takes").found(format_args!("{name:?}")).allowed(why).context(path))
    })
}

/// The names of hives are no place for files of packages.
pub(super) fn refuse_hives(tree: &Tree, path: &str) -> Result<()> {
    let is_hive = registry::hives(tree).iter().any(|(_, file)| file.eq_ignore_ascii_case(path));
    if is_hive || path.eq_ignore_ascii_case(DEFAULT_USER) {
        return Err(Error::invalid("a hive of the registry, which no package may replace").found(path));
    }
    Ok(())
}
