//! What components have changed, undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::library::Library;
use super::prune;
use crate::error::{Context, Error, Result};
use crate::format::hive::{Value, kind};
use crate::tree::{Content, NodeId};
use crate::windows::drivers::store_name;
use crate::windows::machine_of;
use crate::windows::packages::apply::{is_same_part, is_version_of, parts, text, with_text};
use crate::windows::packages::image::{Image, split, texts};
use crate::windows::packages::journal::Place;
use crate::windows::packages::plan::{Change, Effect};
use crate::windows::packages::records::folder_path;
use crate::windows::place;

/// Messages name so many values one by one.
const NAMED: usize = 4;

/// What the doomed have changed, each thing once.
#[derive(Default)]
struct Changed {
    values: BTreeMap<String, OfValue>,
    keys: BTreeMap<String, OfKey>,
    deleted_keys: BTreeMap<String, Place>,
    files: BTreeMap<String, OfFile>,
    directories: BTreeMap<String, OfDirectory>,
    /// Packages of the driver store.
    drivers: Vec<String>,
}

/// What became of a value.
struct OfValue {
    place: Place,
    name: String,
    keyform: String,
    /// What it was set to.
    set: Vec<Value>,
    /// Texts that joined a list.
    appended: Vec<String>,
    /// Parts that joined a path.
    parts: Vec<String>,
    /// Whether this program has put in all components that changed it.
    is_ours: bool,
}

struct OfKey {
    place: Place,
    is_ours: bool,
}

struct OfDirectory {
    path: String,
    is_ours: bool,
}

/// What became of a name outside the store.
struct OfFile {
    path: String,
    keyform: String,
    /// The files of the store that it was made to lead to.
    nodes: Vec<NodeId>,
    /// What was written there.
    written: Vec<Vec<u8>>,
}

/// What components that stay have in the same places.
#[derive(Default)]
struct Staying {
    values: HashMap<String, Vec<(String, Change)>>,
    keys: BTreeSet<String>,
    files: HashMap<String, Vec<(String, Change)>>,
    directories: BTreeSet<String>,
}

/// Undoes what the doomed have changed; gives the packages of the driver store that are to go, too.
pub(super) fn undo(image: &mut Image<'_>, library: &mut Library<'_>, doomed: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut changed = Changed::default();
    for keyform in doomed {
        library.check(keyform)?;
        let is_ours = image.journal.has_component(keyform);
        let (effects, left_out) = library.compiled(image, keyform)?;
        if let Some(left) = left_out.first().filter(|_| !is_ours) {
            return Err(Error::unsupported("a component that Windows has put in does more than can be undone here")
                .found(format_args!("{} (line {} of its manifest)", left.what, left.line))
                .hint("take the package out with the image's own Windows: dism /online /remove-package")
                .context(keyform));
        }
        if is_ours || !library.is_beaten(keyform, doomed) {
            changed.add(image, keyform, &effects, is_ours).context(|| keyform)?;
        }
    }
    let staying = Staying::read(image, library, doomed, &changed);
    let mut since = Vec::new();
    for value in changed.values.values() {
        undo_value(image, value, &staying, &mut since)?;
    }
    for place in changed.deleted_keys.values() {
        restore_keys(image, place)?;
    }
    // What is deepest goes first.
    for (id, key) in changed.keys.iter().rev().filter(|(id, _)| !staying.keys.contains(*id)) {
        undo_key(image, key).context(|| id)?;
    }
    for file in changed.files.values() {
        undo_file(image, file, &staying, &mut since).context(|| &file.path)?;
    }
    for (id, directory) in changed.directories.iter().rev().filter(|(id, _)| !staying.directories.contains(*id)) {
        undo_directory(image, directory).context(|| id)?;
    }
    if !since.is_empty() {
        let named = since.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        image
            .warnings
            .push(format!("{} that were changed since the package was put in stay as they are: {named}", since.len()));
    }
    Ok(changed.drivers)
}

impl Changed {
    fn add(&mut self, image: &mut Image<'_>, keyform: &str, effects: &[Effect], is_ours: bool) -> Result<()> {
        for change in effects.iter().flat_map(|effect| &effect.changes) {
            match change {
                Change::Directory { path, .. } => self.add_directories(path, is_ours),
                Change::Link { payload, path, .. } => {
                    let node = image.tree.find(&format!(r"{}\{payload}", folder_path(keyform)));
                    self.file(path, keyform, is_ours).nodes.extend(node);
                }
                Change::File { path, bytes } => self.file(path, keyform, is_ours).written.push(bytes.clone()),
                Change::Key { key, .. } => {
                    let place = image.locate(key)?;
                    self.key(place, is_ours);
                }
                Change::Value { key, name, value, .. } => {
                    self.value(image, key, name, keyform, is_ours)?.set.push(value.clone());
                }
                Change::Append { key, name, texts, .. } => {
                    self.value(image, key, name, keyform, is_ours)?.appended.extend(texts.iter().cloned());
                }
                Change::AppendPath { key, name, part, .. } => {
                    self.value(image, key, name, keyform, is_ours)?.parts.push(part.clone());
                }
                Change::DeleteValue { key, name } => drop(self.value(image, key, name, keyform, is_ours)?),
                Change::DeleteKey { key } => {
                    let place = image.locate(key)?;
                    self.deleted_keys.insert(place.id(), place);
                }
                Change::Driver { inf } => self.drivers.extend(driver(image, keyform, inf)?),
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        image: &mut Image<'_>,
        key: &str,
        name: &str,
        keyform: &str,
        is_ours: bool,
    ) -> Result<&mut OfValue> {
        let place = image.locate(key)?;
        self.key(place.clone(), is_ours);
        let value = self.values.entry(place.value(name).to_lowercase()).or_insert_with(|| OfValue {
            place,
            name: name.to_owned(),
            keyform: keyform.to_owned(),
            set: Vec::new(),
            appended: Vec::new(),
            parts: Vec::new(),
            is_ours,
        });
        value.is_ours &= is_ours;
        Ok(value)
    }

    fn key(&mut self, place: Place, is_ours: bool) {
        let key = self.keys.entry(place.id()).or_insert(OfKey { place, is_ours });
        key.is_ours &= is_ours;
    }

    fn file(&mut self, path: &str, keyform: &str, is_ours: bool) -> &mut OfFile {
        self.add_directories(split(path).0, is_ours);
        self.files.entry(path.to_lowercase()).or_insert_with(|| OfFile {
            path: path.to_owned(),
            keyform: keyform.to_owned(),
            nodes: Vec::new(),
            written: Vec::new(),
        })
    }

    fn add_directories(&mut self, path: &str, is_ours: bool) {
        let entry = OfDirectory { path: path.to_owned(), is_ours };
        let directory = self.directories.entry(path.to_lowercase()).or_insert(entry);
        directory.is_ours &= is_ours;
    }
}

/// The name of a driver's package in the driver store.
fn driver(image: &Image<'_>, keyform: &str, inf: &str) -> Result<Option<String>> {
    let path = format!(r"{}\{inf}", folder_path(keyform));
    let Some(bytes) = image.tree.read_file(&path)? else { return Ok(None) };
    Ok(Some(store_name(split(inf).1, machine_of(image.tree)?, &bytes)))
}

impl Staying {
    fn read(image: &mut Image<'_>, library: &mut Library<'_>, doomed: &BTreeSet<String>, changed: &Changed) -> Self {
        let mut staying = Self::default();
        for keyform in library.staying(image, doomed) {
            let Some(effects) = library.effects_of_staying(image, &keyform) else { continue };
            for change in effects.into_iter().flat_map(|effect| effect.changes) {
                staying.add(image, &keyform, change, changed);
            }
        }
        staying
    }

    fn add(&mut self, image: &mut Image<'_>, keyform: &str, change: Change, changed: &Changed) {
        match &change {
            Change::Directory { path, .. } => drop(self.directories.insert(path.to_lowercase())),
            Change::Link { path, .. } | Change::File { path, .. } => {
                let id = path.to_lowercase();
                if changed.files.contains_key(&id) {
                    self.files.entry(id).or_default().push((keyform.to_owned(), change));
                }
            }
            // A key that is in no hive of the image is in none of these places.
            Change::Key { key, .. } => {
                if let Ok(place) = image.locate(key) {
                    self.keys.insert(place.id());
                }
            }
            Change::Value { key, name, .. }
            | Change::Append { key, name, .. }
            | Change::AppendPath { key, name, .. }
            | Change::DeleteValue { key, name } => {
                let Ok(place) = image.locate(key) else { return };
                let id = place.value(name).to_lowercase();
                if changed.values.contains_key(&id) {
                    self.values.entry(id).or_default().push((keyform.to_owned(), change));
                }
            }
            Change::DeleteKey { .. } | Change::Driver { .. } => {}
        }
    }

    fn of_value(&self, value: &OfValue) -> &[(String, Change)] {
        self.values.get(&value.place.value(&value.name).to_lowercase()).map_or(&[][..], Vec::as_slice)
    }

    /// What components that stay set a value to: one that this program has put in, and whichever it is.
    fn set(&self, image: &Image<'_>, value: &OfValue) -> (Option<Value>, Option<Value>) {
        let set = |(_, change): &(String, Change)| match change {
            Change::Value { value, .. } => Some(value.clone()),
            _ => None,
        };
        let all = self.of_value(value);
        let ours = all.iter().filter(|(keyform, _)| image.journal.has_component(keyform)).filter_map(set).next_back();
        let same = all.iter().filter(|(keyform, _)| is_version_of(keyform, &value.keyform)).find_map(set);
        (ours, same.or_else(|| all.iter().filter_map(set).next_back()))
    }
}

/// One value: see the table of [`super`].
fn undo_value(image: &mut Image<'_>, value: &OfValue, staying: &Staying, since: &mut Vec<String>) -> Result<()> {
    let OfValue { place, name, .. } = value;
    let current = image.value(place, name)?;
    let is_text =
        current.as_ref().is_some_and(|value| matches!(value.kind, kind::SZ | kind::EXPAND_SZ | kind::MULTI_SZ));
    // Others may have joined what was set.
    let joins = |is_it: fn(&Change) -> bool| {
        let others = staying.of_value(value);
        !value.set.is_empty() && is_text && others.iter().any(|(_, change)| is_it(change))
    };
    if !value.appended.is_empty() || joins(|change| matches!(change, Change::Append { .. })) {
        return undo_texts(image, value, current, staying);
    }
    if !value.parts.is_empty() || joins(|change| matches!(change, Change::AppendPath { .. })) {
        return undo_parts(image, value, current, staying);
    }
    let is_so = match &current {
        Some(current) => value.set.contains(current),
        None => value.set.is_empty(), // deleted, and gone
    };
    let is_made = image.journal.is_made(&place.value(name));
    let (ours, any) = staying.set(image, value);
    if let Some(ours) = ours {
        return if is_so { write(image, place, name, Some(ours)) } else { Ok(()) };
    }
    if let Some(former) = image.journal.take_value(place, name) {
        if is_so {
            return write(image, place, name, Some(former));
        }
        since.push(format!(r"{place}\{name}"));
        return Ok(());
    }
    if is_made || (!value.is_ours && is_so) {
        return write(image, place, name, any);
    }
    Ok(())
}

/// Sets or deletes a value.
fn write(image: &mut Image<'_>, place: &Place, name: &str, value: Option<Value>) -> Result<()> {
    match (image.key(place)?, value) {
        (Some(key), Some(value)) => image.open_hive(place)?.set(key, name, value),
        (Some(key), None) => image.open_hive(place)?.delete_value(key, name).map(|_| ()),
        (None, Some(value)) => {
            let key = image.make_key_again(place)?;
            image.open_hive(place)?.set(key, name, value)
        }
        (None, None) => Ok(()),
    }
}

/// Whether what joined a list or a path is to be taken out of it: not if it was there before or is of others, too.
fn may_leave(image: &Image<'_>, value: &OfValue, was_there: impl Fn(&Value) -> bool, is_others: bool) -> bool {
    let OfValue { place, name, .. } = value;
    if is_others {
        return false;
    }
    match image.journal.value(place, name) {
        Some(former) => !was_there(former),
        None => image.journal.is_made(&place.value(name)) || !value.is_ours,
    }
}

/// What a list or path was before it was set, if it was: others may have joined what it was set to.
fn under(image: &Image<'_>, value: &OfValue, staying: &Staying, is_so: impl Fn(&Value) -> bool) -> Option<Value> {
    if !value.set.iter().any(is_so) {
        return None;
    }
    let (ours, any) = staying.set(image, value);
    ours.or_else(|| image.journal.value(&value.place, &value.name).cloned()).or(any)
}

/// Texts that joined a list, or that it was set to.
fn undo_texts(image: &mut Image<'_>, value: &OfValue, current: Option<Value>, staying: &Staying) -> Result<()> {
    let Some(current) = current else { return Ok(()) };
    let has = |list: &[String], text: &str| list.iter().any(|known| known.eq_ignore_ascii_case(text));
    let others = |text: &str| {
        staying.of_value(value).iter().any(|(_, change)| match change {
            Change::Append { texts, .. } => has(texts, text),
            Change::Value { value, .. } => has(&self::texts(value), text),
            _ => false,
        })
    };
    let was = texts(&current);
    let own: Vec<String> = value.appended.iter().cloned().chain(value.set.iter().flat_map(texts)).collect();
    let under = under(image, value, staying, |set| texts(set).iter().all(|text| has(&was, text)));
    let mut list = under.as_ref().map(texts).unwrap_or_default();
    let base = list.len();
    for text in was {
        let leaves = has(&own, &text) && may_leave(image, value, |former| has(&texts(former), &text), others(&text));
        if !leaves && !has(&list[..base], &text) {
            list.push(text);
        }
    }
    let left = (!list.is_empty()).then(|| Value::multi_sz(&list));
    finish(image, value, &current, left)
}

/// Parts that joined a path, or that it was set to.
fn undo_parts(image: &mut Image<'_>, value: &OfValue, current: Option<Value>, staying: &Staying) -> Result<()> {
    let Some(current) = current else { return Ok(()) };
    let has = |list: &str, part: &str| parts(list).any(|known| is_same_part(known, part));
    let others = |part: &str| {
        staying.of_value(value).iter().any(|(_, change)| match change {
            Change::AppendPath { part: own, .. } => is_same_part(own, part),
            Change::Value { value, .. } => has(&text(value), part),
            _ => false,
        })
    };
    let before = text(&current);
    let under = under(image, value, staying, |set| parts(&text(set)).all(|part| has(&before, part)));
    let under = under.as_ref().map(text).unwrap_or_default();
    let left = before.split(';').filter(|part| {
        let is_ours =
            value.parts.iter().any(|own| is_same_part(own, part)) || value.set.iter().any(|set| has(&text(set), part));
        let leaves = is_ours && may_leave(image, value, |former| has(&text(former), part), others(part));
        !leaves && !has(&under, part)
    });
    let left = parts(&under).chain(left).collect::<Vec<_>>().join(";");
    let left = (!left.is_empty()).then(|| with_text(Some(&current), &left));
    finish(image, value, &current, left)
}

/// What is left of a list or path. When that is what there was, it is put back to the byte, and noted no longer.
fn finish(image: &mut Image<'_>, value: &OfValue, current: &Value, left: Option<Value>) -> Result<()> {
    let OfValue { place, name, .. } = value;
    let same = |one: &Value, other: &Value| match one.kind {
        kind::SZ | kind::EXPAND_SZ => parts(&text(one)).eq(parts(&text(other))),
        _ => texts(one) == texts(other),
    };
    let former = image.journal.value(place, name).cloned();
    if let Some(former) = former.filter(|former| same(former, left.as_ref().unwrap_or(&Value::multi_sz::<&str>([])))) {
        image.journal.take_value(place, name);
        return write(image, place, name, Some(former));
    }
    if left.as_ref() == Some(current) { Ok(()) } else { write(image, place, name, left) }
}

/// Keys that a component had deleted.
fn restore_keys(image: &mut Image<'_>, place: &Place) -> Result<()> {
    for former in image.journal.take_keys(place) {
        if image.key(&former.place)?.is_some() {
            continue; // somebody has made it anew
        }
        let key = image.make_key_again(&former.place)?;
        let hive = image.open_hive(&former.place)?;
        if let Some(descriptor) = former.gone.as_deref().filter(|descriptor| !descriptor.is_empty()) {
            hive.set_descriptor(key, descriptor)?;
        }
        for (name, value) in former.values.values() {
            hive.set(key, name, value.clone())?;
        }
    }
    Ok(())
}

/// A key goes when there is nothing left in it, unless it was there before.
fn undo_key(image: &mut Image<'_>, key: &OfKey) -> Result<()> {
    let OfKey { place, is_ours } = key;
    if *is_ours || image.journal.is_made(&place.to_string()) {
        return prune(image, place);
    }
    let Some(id) = image.key(place)? else { return Ok(()) };
    let hive = image.open_hive(place)?;
    let is_empty = hive.hive().subkey_count(id) == 0 && hive.hive().values(id).next().is_none();
    if is_empty && id != hive.hive().root() { hive.delete_key(id) } else { Ok(()) }
}

/// A name outside the store leads to another version's file, or to that which was there before; else it goes.
fn undo_file(image: &mut Image<'_>, file: &OfFile, staying: &Staying, since: &mut Vec<String>) -> Result<()> {
    let path = &file.path;
    let Some(there) = image.tree.find(path) else {
        return image.give_back_file(path).map(|_| ());
    };
    if !is_theirs(image, file, there)? {
        if image.owner(there).is_none() {
            since.push(path.clone());
        }
        return Ok(());
    }
    match next(image, file, staying) {
        Some(Next::File(node)) => image.point(path, node),
        Some(Next::Bytes(bytes)) => {
            image.take(path)?;
            image.put_if_absent(path, Content::Bytes(bytes.into()), None).map(|_| ())
        }
        None if image.give_back_file(path)? => Ok(()),
        None => image.take(path).map(|_| ()),
    }
}

/// Whether a name still is as the removed components have made it. Links may have become copies on the way through archives.
fn is_theirs(image: &Image<'_>, file: &OfFile, there: NodeId) -> Result<bool> {
    if file.nodes.contains(&there) {
        return Ok(true);
    }
    let node = image.tree.node(there);
    let Some(main) = node.main().filter(|_| !node.is_directory() && node.reparse.is_none()) else { return Ok(false) };
    let stored = file.nodes.iter().filter_map(|node| image.tree.node(*node).main().cloned());
    let written = file.written.iter().map(|bytes| Content::Bytes(bytes.as_slice().into()));
    for content in stored.chain(written) {
        if node.links() <= 1 && place::is_same(image.tree, main, &content)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a name leads to next.
enum Next {
    File(NodeId),
    Bytes(Vec<u8>),
}

fn next(image: &Image<'_>, file: &OfFile, staying: &Staying) -> Option<Next> {
    let candidates = staying.files.get(&file.path.to_lowercase())?;
    let of = |(keyform, change): &(String, Change)| match change {
        Change::Link { payload, .. } => {
            image.tree.find(&format!(r"{}\{payload}", folder_path(keyform))).map(Next::File)
        }
        Change::File { bytes, .. } => Some(Next::Bytes(bytes.clone())),
        _ => None,
    };
    let same = candidates.iter().filter(|(keyform, _)| is_version_of(keyform, &file.keyform)).find_map(of);
    same.or_else(|| candidates.iter().rev().find_map(of))
}

fn undo_directory(image: &mut Image<'_>, directory: &OfDirectory) -> Result<()> {
    let OfDirectory { path, is_ours } = directory;
    if *is_ours || image.journal.is_made(path) {
        return image.prune_directories(path, |_| true);
    }
    let Some(node) = image.tree.find(path).filter(|node| *node != image.tree.root()) else { return Ok(()) };
    let node = image.tree.node(node);
    if node.is_directory() && node.children().is_empty() { image.take(path).map(|_| ()) } else { Ok(()) }
}
