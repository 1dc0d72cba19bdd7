//! What `regedit` does with a `.reg` file, to the hives of an installation that does not run.
//!
//! | key as written | hive |
//! |---|---|
//! | `HKEY_LOCAL_MACHINE\NAME` (`HKLM`) | `\Windows\System32\config\NAME` |
//! | `HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet` | the control set that `Select\Current` names |
//! | `HKEY_LOCAL_MACHINE\BCD00000000` | `\Boot\BCD` |
//! | `HKEY_CLASSES_ROOT` (`HKCR`) | `SOFTWARE`, below `Classes` |
//! | `HKEY_USERS\.DEFAULT` (`HKU`), also as `S-1-5-18` | `\Windows\System32\config\DEFAULT` |
//! | `HKEY_USERS\S-1-5-19`, `S-1-5-20` | `NTUSER.DAT` of `LocalService`, `NetworkService` in `\Windows\ServiceProfiles` |
//!
//! Users have hives of their own, which are nobody's "current" one while nobody is logged on: `HKEY_CURRENT_USER` is refused.
//!
//! As with regedit, deleting what is not there is no error. Keys that are symbolic links, `CurrentControlSet` apart, are not followed
//! but refused.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{SYSTEM_ROOT, read_hive};
use crate::base::FileTime;
use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::format::reg::{Action, Assignment, Section};
use crate::tree::{Content, NodeId, Tree};

/// The flag of a key that is a symbolic link.
const SYMBOLIC_LINK: u16 = 0x10;

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
    for section in sections {
        let outcome = place(tree, &section.key).and_then(|place| {
            if !open.contains_key(&place.hive) {
                open.insert(place.hive.clone(), Opened::open(tree, &place.hive, now)?);
            }
            open.get_mut(&place.hive).map_or(Ok(()), |hive| hive.apply(&place.key, &section.action))
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

/// Where a key is: the path of its hive's file, and its own in the hive.
struct Place {
    hive: String,
    key: String,
}

fn place(tree: &Tree, key: &str) -> Result<Place> {
    let (root, rest) = key.split_once('\\').unwrap_or((key, ""));
    let (name, below) = rest.split_once('\\').unwrap_or((rest, ""));
    let config = |name: &str| format!(r"{SYSTEM_ROOT}\System32\config\{name}");
    let place = |hive: String, key: &str| Ok(Place { hive, key: key.to_owned() });
    match root.to_ascii_uppercase().as_str() {
        "HKEY_LOCAL_MACHINE" | "HKLM" => match name.to_ascii_uppercase().as_str() {
            "" => Err(Error::invalid("a key right below HKEY_LOCAL_MACHINE, where there are hives only")),
            "SYSTEM" => Ok(Place { hive: config("SYSTEM"), key: in_control_set(tree, below)? }),
            "BCD00000000" => place(r"\Boot\BCD".into(), below),
            other => place(config(other), below),
        },
        "HKEY_CLASSES_ROOT" | "HKCR" => {
            place(config("SOFTWARE"), &["Classes", rest].join("\\").trim_end_matches('\\').to_owned())
        }
        "HKEY_USERS" | "HKU" => match name.to_ascii_uppercase().as_str() {
            ".DEFAULT" | "S-1-5-18" => place(config("DEFAULT"), below),
            "S-1-5-19" => place(format!(r"{SYSTEM_ROOT}\ServiceProfiles\LocalService\NTUSER.DAT"), below),
            "S-1-5-20" => place(format!(r"{SYSTEM_ROOT}\ServiceProfiles\NetworkService\NTUSER.DAT"), below),
            _ => Err(Error::invalid("a user whose hive is not known")
                .found(name)
                .allowed(".DEFAULT, S-1-5-18, S-1-5-19, S-1-5-20")),
        },
        "HKEY_CURRENT_USER" | "HKCU" => {
            Err(Error::invalid("HKEY_CURRENT_USER of a Windows that does not run: nobody is logged on")
                .hint(r"use HKEY_USERS\.DEFAULT for the system's own profile"))
        }
        _ => Err(Error::invalid("the root of a key")
            .found(root)
            .allowed("HKEY_LOCAL_MACHINE, HKEY_CLASSES_ROOT, HKEY_USERS")),
    }
}

/// The path in the SYSTEM hive, with the control set that is the current one in place of `CurrentControlSet`.
fn in_control_set(tree: &Tree, key: &str) -> Result<String> {
    let (first, rest) = key.split_once('\\').unwrap_or((key, ""));
    if !first.eq_ignore_ascii_case("CurrentControlSet") {
        return Ok(key.to_owned());
    }
    let path = format!(r"{SYSTEM_ROOT}\System32\config\SYSTEM");
    let hive = read(tree, &path)?.1;
    let current = hive.open("Select").and_then(|key| hive.value(key, "Current")?.as_dword());
    let current = current.filter(|number| (1..=999).contains(number)).ok_or_else(|| {
        Error::new(Kind::Corrupt, r"the SYSTEM hive does not say which control set is the current one (Select\Current)")
            .context(&path)
    })?;
    let set = format!("ControlSet{current:03}");
    Ok(if rest.is_empty() { set } else { format!(r"{set}\{rest}") })
}

/// A hive's node and what it holds, its logs replayed where it was not left clean.
fn read(tree: &Tree, path: &str) -> Result<(NodeId, Hive)> {
    let missing = || Error::invalid("the image has no such hive").found(path);
    let node = tree.find(path).filter(|node| !tree.node(*node).is_directory()).ok_or_else(missing)?;
    Ok((node, read_hive(tree, path, false)?.ok_or_else(missing)?))
}

/// A hive that is being changed.
struct Opened {
    node: NodeId,
    hive: Hive,
    changed: Changed,
}

impl Opened {
    fn open(tree: &Tree, path: &str, now: FileTime) -> Result<Self> {
        let (node, mut hive) = read(tree, path)?;
        hive.set_now(now);
        Ok(Self { node, hive, changed: Changed { hive: path.to_owned(), ..Changed::default() } })
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
                Some(key) if self.hive.flags(key) & SYMBOLIC_LINK != 0 => {
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
        let (node, hive) = read(&tree, SYSTEM).unwrap();
        let disk = hive.open(r"ControlSet002\Services\disk").unwrap();
        assert_eq!(hive.value(disk, "start").unwrap().as_dword(), Some(3));
        assert_eq!(hive.last_written(disk), NOW);
        assert_eq!(tree.node(node).times.modified, NOW);
        let software = read(&tree, r"\Windows\System32\config\SOFTWARE").unwrap().1;
        assert!(software.open(r"Classes\.txt").is_some());

        let gone =
            import(&mut tree, "[-HKLM\\SYSTEM\\ControlSet002\\Services\\disk]\n[-HKLM\\SYSTEM\\none]\n").unwrap();
        assert_eq!(gone[0].keys_deleted, 1);
        assert!(read(&tree, SYSTEM).unwrap().1.open(r"ControlSet002\Services\disk").is_none());
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
