//! What `regedit` does with a `.reg` file, to the hives of an installation that does not run.
//!
//! Keys lie where [`registry`](super::registry) finds them; each is named from its root, and `CurrentControlSet` is the one
//! that the next start will have. Users have hives of their own, which are nobody's "current" one while nobody is logged on.
//!
//! As with regedit, deleting what is not there is no error. Keys that are symbolic links, `CurrentControlSet` apart, are not followed
//! but refused. So are hives that were not left clean and that no log mends: what they lack might be what is to be changed.

pub use super::hive_files::Changed;

use super::hive_files::{HiveFile, HiveFiles};
use crate::base::FileTime;
use crate::error::{Context, Result};
use crate::format::hive::{KeyId, Value};
use crate::format::reg::{Action, Assignment, Section};
use crate::tree::Tree;

/// Applies the sections of a `.reg` file in their order and puts the hives that change back, written at `now`.
///
/// A hive in which everything already is as asked keeps its bytes. When anything fails, the tree is as it was.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) for keys that no hive of the image holds; errors of the hives, by their paths.
pub fn apply(tree: &mut Tree, sections: &[Section], now: FileTime) -> Result<Vec<Changed>> {
    let mut hives = HiveFiles::new(now);
    for section in sections {
        let found = hives.locate(tree, &section.key);
        found
            .and_then(|(hive, path)| act(hive, &path, &section.action))
            .context(|| format!("[{}] (line {})", section.key, section.line))?;
    }
    hives.write(tree)
}

fn act(hive: &mut HiveFile, path: &str, action: &Action) -> Result<()> {
    hive.refuse_links(path)?;
    match action {
        Action::DeleteKey => hive.hive().open(path).map_or(Ok(()), |key| hive.delete_key(key)),
        Action::Set(assignments) => {
            let key = hive.make(path)?;
            assignments.iter().try_for_each(|assignment| assign(hive, key, assignment))
        }
    }
}

fn assign(hive: &mut HiveFile, key: KeyId, assignment: &Assignment) -> Result<()> {
    let name = assignment.name.as_str();
    match &assignment.data {
        None => hive.delete_value(key, name).map(|_| ()),
        Some((kind, data)) => hive.set(key, name, Value::new(*kind, data.as_slice())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::format::hive::Hive;
    use crate::format::reg;
    use crate::windows::registry;
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
