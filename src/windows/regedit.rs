//! What `regedit` does with a `.reg` file, to the hives of an installation that does not run.
//!
//! Keys lie where [`registry`] finds them; each is named from its root, and `CurrentControlSet` is the one that
//! `Select\Current` names. Users have hives of their own, which are nobody's "current" one while nobody is logged on.
//!
//! As with regedit, deleting what is not there is no error. Keys that are symbolic links, `CurrentControlSet` apart, are not followed
//! but refused. So are hives that were not left clean and that no log mends: what they lack might be what is to be changed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::registry::{self, Address, KEY_SYM_LINK};
use crate::base::FileTime;
use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Recovery, Value};
use crate::format::reg::{Action, Assignment, Section};
use crate::tree::{Content, NodeId, Tree};

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
}

impl Changed {
    fn is_nothing(&self) -> bool {
        self.keys_made + self.keys_deleted + self.values_set + self.values_deleted == 0
    }
}

/// Applies the sections of a `.reg` file in their order and puts the hives that change back, written at `now`.
///
/// A hive in which everything already is as asked keeps its bytes. When anything fails, the tree is as it was.
///
/// # Errors
/// [`Invalid`](Kind::Invalid) for keys that no hive of the image holds; errors of the hives, by their paths.
pub fn apply(tree: &mut Tree, sections: &[Section], now: FileTime) -> Result<Vec<Changed>> {
    let mut open = BTreeMap::new();
    let mut files = BTreeMap::new();
    for section in sections {
        let outcome = Address::parse(tree, &section.key).and_then(|address| {
            let shown = address.shown();
            let file = match files.get(&shown) {
                Some(file) => String::clone(file),
                None => files.entry(shown.clone()).or_insert(address.file(tree)?).clone(),
            };
            let mut rest = address.rest;
            if !open.contains_key(&file) {
                open.insert(file.clone(), Opened::open(tree, &file, now)?);
            }
            let Some(hive) = open.get_mut(&file) else { return Ok(()) };
            if shown.ends_with(r"\SYSTEM") {
                hive.name_control_set(&mut rest)?;
            }
            hive.apply(&rest.join("\\"), &section.action)
        });
        outcome.context(|| format!("[{}] (line {})", section.key, section.line))?;
    }
    open.retain(|_, hive| !hive.changed.is_nothing());
    let written = open.values().map(|hive| Ok((hive.node, hive.hive.to_bytes().context(|| &hive.changed.hive)?)));
    for (node, bytes) in written.collect::<Result<Vec<_>>>()? {
        let node = tree.node_mut(node);
        if let Some(main) = node.streams.iter_mut().find(|stream| stream.name.is_empty()) {
            main.content = Content::from(bytes);
            main.sparse = false;
        }
        node.times.modified = now;
        node.times.changed = now;
    }
    Ok(open.into_values().map(|hive| hive.changed).collect())
}

/// A hive that is being changed.
struct Opened {
    node: NodeId,
    hive: Hive,
    changed: Changed,
}

impl Opened {
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
        Ok(Self { node, hive, changed: Changed { hive: path.to_owned(), ..Changed::default() } })
    }

    /// Puts the control set that is the current one in the place of `CurrentControlSet`, which no file has.
    fn name_control_set(&self, path: &mut [String]) -> Result<()> {
        let Some(first) = path.first_mut().filter(|name| name.eq_ignore_ascii_case("CurrentControlSet")) else {
            return Ok(());
        };
        let set = registry::current_control_set(&self.hive).ok_or_else(|| {
            Error::corrupt(r"the SYSTEM hive does not say which control set is the current one (Select\Current)")
        })?;
        *first = self.hive.name(set).to_string();
        Ok(())
    }

    fn apply(&mut self, key: &str, action: &Action) -> Result<()> {
        self.refuse_links(key)?;
        match action {
            Action::DeleteKey => {
                if let Some(key) = self.hive.open(key) {
                    self.hive.delete_key(key)?;
                    self.changed.keys_deleted += 1;
                }
                Ok(())
            }
            Action::Set(assignments) => {
                let key = match self.hive.open(key) {
                    Some(key) => key,
                    None => self.make(key)?,
                };
                assignments.iter().try_for_each(|assignment| self.assign(key, assignment))
            }
        }
    }

    /// Makes a key and those on the way to it.
    fn make(&mut self, path: &str) -> Result<KeyId> {
        path.split('\\').try_fold(self.hive.root(), |at, name| match self.hive.subkey(at, name) {
            Some(key) => Ok(key),
            None => {
                self.changed.keys_made += 1;
                self.hive.create_subkey(at, name)
            }
        })
    }

    fn assign(&mut self, key: KeyId, assignment: &Assignment) -> Result<()> {
        let name = assignment.name.as_str();
        match &assignment.data {
            None => self.changed.values_deleted += usize::from(self.hive.delete_value(key, name)?),
            Some((kind, data)) => {
                let known =
                    self.hive.value(key, name).is_some_and(|value| value.kind == *kind && *value.data == **data);
                if !known {
                    self.hive.set_value(key, name, Value::new(*kind, data.as_slice()))?;
                    self.changed.values_set += 1;
                }
            }
        }
        Ok(())
    }

    /// A link leads to another key, which in another hive nobody could follow.
    fn refuse_links(&self, path: &str) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::reg;
    use crate::windows::tests::{system_hive, tree_of};

    const SYSTEM: &str = r"\Windows\System32\config\SYSTEM";
    const NOW: FileTime = FileTime(132_000_000_000_000_000);

    fn image() -> Tree {
        let system = system_hive(&[(r"Services\disk", "Start", Value::dword(0))]);
        let software = Hive::new("SOFTWARE", FileTime(1)).unwrap().to_bytes().unwrap();
        tree_of(&[(SYSTEM, &system), (r"\Windows\System32\config\SOFTWARE", &software)])
    }

    fn import(tree: &mut Tree, text: &str) -> Result<Vec<Changed>> {
        let file = format!("Windows Registry Editor Version 5.00\n{text}");
        apply(tree, &reg::parse(file.as_bytes()).unwrap(), NOW)
    }

    #[test]
    fn sets_makes_and_deletes() {
        let mut tree = image();
        let changed = import(
            &mut tree,
            "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\disk]\n\"Start\"=dword:3\n\"New\"=\"x\"\n\
             [HKLM\\Software\\A\\B]\n@=hex:01\n[HKEY_CLASSES_ROOT\\.txt]\n",
        );
        let changed = changed.unwrap();
        assert_eq!(changed.len(), 2);
        assert_eq!((changed[0].keys_made, changed[0].values_set), (4, 1), "{changed:?}");
        assert_eq!((changed[1].hive.as_str(), changed[1].values_set), (SYSTEM, 2));
        let hive = registry::read_hive(&tree, SYSTEM).unwrap().unwrap();
        let disk = hive.open(r"ControlSet002\Services\disk").unwrap();
        assert_eq!(hive.value(disk, "start").unwrap().as_dword(), Some(3));
        assert_eq!(hive.last_written(disk), NOW);
        assert_eq!(tree.node(tree.find(SYSTEM).unwrap()).times.modified, NOW);
        let software = registry::read_hive(&tree, r"\Windows\System32\config\SOFTWARE").unwrap().unwrap();
        assert!(software.open(r"Classes\.txt").is_some());

        let gone =
            import(&mut tree, "[-HKLM\\SYSTEM\\ControlSet002\\Services\\disk]\n[-HKLM\\SYSTEM\\none]\n").unwrap();
        assert_eq!(gone[0].keys_deleted, 1);
        assert!(registry::read_hive(&tree, SYSTEM).unwrap().unwrap().open(r"ControlSet002\Services\disk").is_none());
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        let mut tree = image();
        let before = tree.read_file(SYSTEM).unwrap();
        let again = "[HKLM\\SYSTEM\\CurrentControlSet\\Services\\disk]\n\"Start\"=dword:0\n\"none\"=-\n";
        assert_eq!(import(&mut tree, again).unwrap(), []);
        assert_eq!(tree.read_file(SYSTEM).unwrap(), before);
    }

    #[test]
    fn refuses_what_no_hive_holds_and_leaves_the_tree() {
        let mut tree = image();
        let before = tree.read_file(SYSTEM).unwrap();
        for key in ["HKCU\\Software", "HKLM", "HKLM\\SAM\\x", "HKU\\S-1-5-21-1", "HKEY_DYN_DATA\\x"] {
            let text = format!("[HKLM\\SYSTEM\\ControlSet002]\n\"x\"=\"y\"\n[{key}]\n");
            let error = import(&mut tree, &text).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{key}");
            assert!(error.to_string().contains("line 4"), "{error}");
        }
        assert!(import(&mut tree, "[-HKLM\\SYSTEM]\n").is_err(), "the root of a hive");
        assert_eq!(tree.read_file(SYSTEM).unwrap(), before);
    }
}
