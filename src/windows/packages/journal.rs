//! What was there before packages changed it: noted in the image itself, so that taking them out again gives it back.
//!
//! A manifest tells what a component sets, not what was there before. Windows keeps no account of that either: it asks the manifests of all
//! other components, which do not know what others than components have set. Here it is written down:
//!
//! | where | what |
//! |---|---|
//! | `HKLM\SOFTWARE\nanovhd\Packages`, value `Components` | REG_MULTI_SZ: keyforms of the components that were put in by this program |
//! | the same, value `Made` | REG_MULTI_SZ: keys (`hive:path`), values (`hive:path\\\\name`) and directories that were not there; what is in them is not named |
//! | the same, keys `Was\N` | `Key` (`hive:path`), and in `Values` what its values were; `Descriptor`, if the whole key went |
//! | `\Windows\servicing\nanovhd\PATH` | the file that was at `PATH` and belonged to no component |
//!
//! The account is of the state before the first package touched a thing, whichever it was: later ones change nothing about that. It goes
//! with the last package that it is for, and Windows has no part in it.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Result;
use crate::format::hive::{Hive, KeyId, Value};
use crate::windows::hive_files::HiveFile;

/// The key in SOFTWARE.
const KEY: &str = r"nanovhd\Packages";
/// Where files wait that were replaced.
pub(super) const FILES: &str = r"\Windows\servicing\nanovhd";

const COMPONENTS: &str = "Components";
const MADE: &str = "Made";
const WAS: &str = "Was";

/// Where something is: a key in a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The path of the hive.
    pub(super) hive: String,
    /// The path of the key within.
    pub(super) path: String,
}

impl Place {
    pub(super) fn new(hive: &str, path: &str) -> Self {
        Self { hive: hive.to_owned(), path: path.to_owned() }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        text.split_once(':').map(|(hive, path)| Self::new(hive, path))
    }

    /// What a value of it is called in the account: no key has an empty name, so that this is no key.
    pub(super) fn value(&self, name: &str) -> String {
        format!(r"{self}\\{name}")
    }

    /// What tells places apart, without regard to case.
    pub(super) fn id(&self) -> String {
        self.to_string().to_lowercase()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hive, self.path)
    }
}

/// What a key was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Former {
    pub(super) place: Place,
    /// Whether the key itself went; with the security descriptor that it had.
    pub(super) gone: Option<Box<[u8]>>,
    /// Values as they were, by their names in lower case.
    pub(super) values: BTreeMap<String, (String, Value)>,
}

/// The account of one image.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// By keyform in lower case.
    components: BTreeMap<String, String>,
    /// By the place's id, or the directory's path in lower case.
    made: BTreeMap<String, String>,
    /// By the place's id.
    former: BTreeMap<String, Former>,
    is_changed: bool,
}

impl Journal {
    /// Reads the account; an empty one where there is none.
    pub(super) fn read(software: &Hive) -> Self {
        let mut journal = Self::default();
        let Some(key) = software.open(KEY) else { return journal };
        let texts =
            |name: &str| software.value(key, name).and_then(|value| value.as_texts()).unwrap_or_default().into_iter();
        journal.components = texts(COMPONENTS).map(|text| (text.to_lowercase(), text)).collect();
        journal.made = texts(MADE).map(|text| (text.to_lowercase(), text)).collect();
        let was = software.subkey(key, WAS).into_iter().flat_map(|was| software.subkeys(was));
        let former = was.filter_map(|key| Former::read(software, key));
        journal.former = former.map(|former| (former.place.id(), former)).collect();
        journal
    }

    /// Writes the account, if it changed.
    pub(super) fn write(&self, software: &mut HiveFile) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let root = software.hive().root();
        let key = software.make_alike(root, KEY)?;
        for (name, texts) in [(COMPONENTS, &self.components), (MADE, &self.made)] {
            if texts.is_empty() {
                software.delete_value(key, name)?;
            } else {
                software.set(key, name, Value::multi_sz(texts.values()))?;
            }
        }
        if let Some(was) = software.hive().subkey(key, WAS) {
            software.delete_key(was)?;
        }
        for (number, former) in self.former.values().enumerate() {
            let key = software.make_alike(key, &format!(r"{WAS}\{number:06}"))?;
            former.write(software, key)?;
        }
        software.prune(key, root)
    }

    /// Whether a component was put in by this program.
    pub(super) fn has_component(&self, keyform: &str) -> bool {
        self.components.contains_key(&keyform.to_lowercase())
    }

    pub(super) fn add_component(&mut self, keyform: &str) {
        self.is_changed |= self.components.insert(keyform.to_lowercase(), keyform.to_owned()).is_none();
    }

    pub(super) fn remove_component(&mut self, keyform: &str) {
        self.is_changed |= self.components.remove(&keyform.to_lowercase()).is_some();
    }

    /// Notes a key, value or directory that was not there.
    pub(super) fn add_made(&mut self, what: &str) {
        if !self.is_made(what) {
            self.made.insert(what.to_lowercase(), what.to_owned());
            self.is_changed = true;
        }
    }

    /// Whether a key, value or directory was not there before the packages, or is in one that was not.
    pub(super) fn is_made(&self, what: &str) -> bool {
        let what = what.to_lowercase();
        // Names of values may have backslashes, too; what is above ends before the name.
        let key = what.find(r"\\").unwrap_or(what.len());
        let ends = what[..key].match_indices('\\').map(|(at, _)| at).chain([key, what.len()]);
        ends.into_iter().any(|end| self.made.contains_key(&what[..end]))
    }

    /// What was not there.
    pub(super) fn made(&self) -> impl Iterator<Item = &str> {
        self.made.values().map(String::as_str)
    }

    /// Forgets keys, values and directories that are not there any more.
    pub(super) fn retain_made(&mut self, mut is_there: impl FnMut(&str) -> bool) {
        let before = self.made.len();
        self.made.retain(|_, what| is_there(what));
        self.is_changed |= self.made.len() != before;
    }

    /// Notes what a value was before it is changed; nothing for one that the packages themselves have made.
    pub(super) fn note_value(&mut self, place: &Place, name: &str, value: Value) {
        if self.is_made(&place.value(name)) {
            return;
        }
        let former = self.former.entry(place.id()).or_insert_with(|| Former::of(place));
        let name_id = name.to_lowercase();
        if let std::collections::btree_map::Entry::Vacant(entry) = former.values.entry(name_id) {
            entry.insert((name.to_owned(), value));
            self.is_changed = true;
        }
    }

    /// Notes that a key went.
    pub(super) fn note_key(&mut self, place: &Place, descriptor: &[u8]) {
        let former = self.former.entry(place.id()).or_insert_with(|| Former::of(place));
        if former.gone.is_none() {
            former.gone = Some(descriptor.into());
            self.is_changed = true;
        }
    }

    /// What a value was.
    pub(super) fn value(&self, place: &Place, name: &str) -> Option<&Value> {
        self.former.get(&place.id())?.values.get(&name.to_lowercase()).map(|(_, value)| value)
    }

    /// What a value was; it is noted no longer.
    pub(super) fn take_value(&mut self, place: &Place, name: &str) -> Option<Value> {
        let former = self.former.get_mut(&place.id())?;
        let (_, value) = former.values.remove(&name.to_lowercase())?;
        self.is_changed = true;
        self.forget_empty(place);
        Some(value)
    }

    /// What was noted of a key that went and of those below it, outermost first; it is noted no longer.
    pub(super) fn take_keys(&mut self, place: &Place) -> Vec<Former> {
        let (id, below) = (place.id(), format!(r"{}\", place.id()));
        let ids: Vec<String> =
            self.former.keys().filter(|other| **other == id || other.starts_with(&below)).cloned().collect();
        let gone: Vec<String> = ids.into_iter().filter(|id| self.former[id].gone.is_some()).collect();
        self.is_changed |= !gone.is_empty();
        gone.iter().filter_map(|id| self.former.remove(id)).collect()
    }

    fn forget_empty(&mut self, place: &Place) {
        if self.former.get(&place.id()).is_some_and(|former| former.gone.is_none() && former.values.is_empty()) {
            self.former.remove(&place.id());
        }
    }
}

impl Former {
    fn of(place: &Place) -> Self {
        Self { place: place.clone(), gone: None, values: BTreeMap::new() }
    }

    fn read(hive: &Hive, key: KeyId) -> Option<Self> {
        let place = Place::parse(&hive.value(key, "Key")?.as_text()?)?;
        let gone = hive.value(key, "Descriptor").map(|value| value.data.into_owned().into_boxed_slice());
        let values = hive.subkey(key, "Values").into_iter().flat_map(|values| hive.values(values));
        let values = values.map(|value| {
            let name = value.name.to_string();
            (name.to_lowercase(), (name, value.to_value()))
        });
        Some(Self { place, gone, values: values.collect() })
    }

    fn write(&self, hive: &mut HiveFile, key: KeyId) -> Result<()> {
        hive.set(key, "Key", Value::sz(&self.place.to_string()))?;
        if let Some(descriptor) = &self.gone {
            hive.set(key, "Descriptor", Value::binary(&descriptor[..]))?;
        }
        if !self.values.is_empty() {
            let values = hive.make_alike(key, "Values")?;
            self.values.values().try_for_each(|(name, value)| hive.set(values, name, value.clone()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileTime;
    use crate::tree::Tree;
    use crate::windows::hive_files::HiveFiles;
    use crate::windows::tests::tree_of;

    const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";

    fn written(journal: &Journal, tree: &mut Tree) -> Journal {
        let mut hives = HiveFiles::new(FileTime(5));
        journal.write(hives.open(tree, SOFTWARE).unwrap()).unwrap();
        hives.write(tree).unwrap();
        Journal { is_changed: true, ..Journal::read(HiveFiles::new(FileTime(5)).open(tree, SOFTWARE).unwrap().hive()) }
    }

    #[test]
    fn what_is_written_is_read_again_and_goes_with_the_last_entry() {
        let software = Hive::new("SOFTWARE", FileTime(1)).unwrap().to_bytes().unwrap();
        let mut tree = tree_of(&[(SOFTWARE, &software)]);
        let (place, below) = (Place::new(SOFTWARE, r"A\B"), Place::new(SOFTWARE, r"A\B\C"));
        let mut journal = Journal::default();
        journal.add_component("amd64_a");
        journal.add_made(r"\Windows\New");
        journal.add_made(r"\Windows\new\deeper");
        journal.note_value(&place, "", Value::new(0x2_0001, [1]));
        journal.note_value(&place, "", Value::dword(2));
        journal.note_key(&below, &[9]);
        assert_eq!(journal.made.len(), 1);
        assert!(journal.is_made(r"\WINDOWS\new\x") && !journal.is_made(r"\Windows\Newer"));
        let mut other = Journal::default();
        other.add_made(&place.value(r"C:\A"));
        assert!(other.is_made(&place.value(r"c:\a")) && !other.is_made(&place.value(r"C:\A\b")));
        other.add_made(&below.to_string());
        assert!(other.is_made(&below.value(r"C:\A\b")) && other.is_made(&below.value("")));
        let mut journal = same_as(written(&journal, &mut tree), &journal);
        assert_eq!(journal.value(&place, ""), Some(&Value::new(0x2_0001, [1])), "the first one counts");

        assert_eq!(journal.take_value(&place, "").unwrap().kind, 0x2_0001);
        assert_eq!(journal.take_keys(&place).len(), 1);
        journal.remove_component("AMD64_A");
        journal.retain_made(|_| false);
        assert_eq!(written(&journal, &mut tree), Journal { is_changed: true, ..Journal::default() });
        let left = HiveFiles::new(FileTime(5)).open(&tree, SOFTWARE).unwrap().hive().key_count();
        assert_eq!(left, 1, "nothing is left of the account");
    }

    fn same_as(read: Journal, expected: &Journal) -> Journal {
        assert_eq!(read, *expected);
        read
    }
}
