//! The directories that the names of files make.
//!
//! Names are taken from the files, not from the indexes of directories: a damaged index hides nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::take;

use crate::base::{Name, upcase};
use crate::error::Result;
use crate::format::ntfs::ondisk::{file, namespace, record_of, sequence_of};
use crate::tree::{Link, Node, NodeId, Tree, check_name};

use super::notes::Notes;
use super::scan::{Found, FoundName};

/// The longest path that Windows takes, in UTF-16 units.
const PATH_LIMIT: usize = 32_767;
/// What is in `$Extend` is not deeper than this.
const SYSTEM_DEPTH: usize = 16;

/// Links all nodes that can be reached from the root; the others are noted, and emptied.
pub(super) fn build(tree: &mut Tree, found: &mut Found, notes: &mut Notes) -> Result<()> {
    found.names.sort_by_key(|name| (record_of(name.parent), name.owner));
    let mut builder = Builder { linked: vec![false; found.names.len()], found, tree, notes };
    builder.link_all()?;
    builder.leftovers();
    Ok(())
}

struct Builder<'a> {
    found: &'a mut Found,
    /// Whether each of the names became part of a link.
    linked: Vec<bool>,
    tree: &'a mut Tree,
    notes: &'a mut Notes,
}

/// A directory whose children are to be linked.
struct Pending {
    record: u32,
    /// Length of its path.
    units: usize,
}

impl Builder<'_> {
    /// Directory by directory, from the root down.
    fn link_all(&mut self) -> Result<()> {
        let mut pending = VecDeque::from([Pending { record: file::ROOT, units: 0 }]);
        while let Some(directory) = pending.pop_front() {
            let Some(slot) = self.found.slots.get(directory.record) else { continue };
            let links = self.links(&directory, slot.sequence);
            let sound = links.iter().map(|(_, link)| link.clone()).collect();
            if self.tree.set_children(slot.node, sound).is_err() {
                let links = self.weed(links.iter().map(|(_, link)| link.clone()).collect());
                self.tree.set_children(slot.node, links)?;
            }
            // A directory is linked once: what it was weeded out of leads nowhere.
            for (record, link) in &links {
                let node = self.tree.node(link.node);
                if node.is_directory() && node.links() > 0 {
                    pending.push_back(Pending { record: *record, units: directory.units + 1 + link.name.len() });
                }
            }
        }
        Ok(())
    }

    /// The links of a directory, with the records that they lead to. They take the names with them: names are half of what is
    /// in memory by now.
    fn links(&mut self, directory: &Pending, sequence: u16) -> Vec<(u32, Link)> {
        let Found { slots, names, .. } = &mut *self.found;
        let record = u64::from(directory.record);
        let start = names.partition_point(|name| record_of(name.parent) < record);
        let end = start + names[start..].partition_point(|name| record_of(name.parent) == record);
        let mut links = Vec::new();
        let mut entered = HashSet::new();
        let mut at = start;
        for names in names[start..end].chunk_by_mut(|a, b| a.owner == b.owner) {
            let first = at;
            at += names.len();
            let owner = names[0].owner;
            let Some(slot) = slots.get(owner) else { continue };
            let current =
                |name: &FoundName| matches!(sequence_of(name.parent), 0) || sequence_of(name.parent) == sequence;
            for (offset, name) in names.iter().enumerate() {
                self.linked[first + offset] |= current(name);
            }
            for link in pair(names.iter_mut().filter(|name| current(name)), slot.node) {
                let node = self.tree.node(slot.node);
                let wrong = if node.is_directory() && (node.links() > 0 || !entered.insert(owner)) {
                    "a second name of a directory"
                } else if directory.units + 1 + link.name.len() > PATH_LIMIT {
                    "the path is too long"
                } else {
                    links.push((owner, link));
                    continue;
                };
                self.notes.lost(format_args!("record {owner}: name \"{}\": {wrong}", link.name));
            }
        }
        links
    }

    /// Takes out what a tree cannot have: names that are no names, and those that occur twice.
    fn weed(&mut self, links: Vec<Link>) -> Vec<Link> {
        let fold = |name: &Name| name.units().iter().map(|unit| upcase::upcase(*unit)).collect::<Vec<u16>>();
        let mut exact: HashSet<Name> = HashSet::new();
        let mut sound: Vec<Link> = Vec::with_capacity(links.len());
        for link in links {
            if check_name(&link.name).is_ok() && exact.insert(link.name.clone()) {
                sound.push(link);
            } else {
                self.notes.lost(format_args!("name \"{}\" is not allowed, or there twice", link.name));
            }
        }
        let mut folded: HashSet<Vec<u16>> = sound.iter().map(|link| fold(&link.name)).collect();
        for link in &mut sound {
            let Some(short) = &link.short else { continue };
            let is_own = link.other_short().is_none();
            if check_name(short).is_err() || (!is_own && !folded.insert(fold(short))) {
                self.notes
                    .lost(format_args!("short name \"{short}\" of \"{}\" is not allowed, or there twice", link.name));
                link.short = None;
            }
        }
        sound
    }

    /// What cannot be reached from the root.
    fn leftovers(&mut self) {
        let left = self.found.names.iter().zip(&self.linked).filter(|(_, linked)| !**linked).map(|(name, _)| name);
        let parents: HashMap<u32, u64> = left.clone().map(|name| (name.owner, record_of(name.parent))).collect();
        let system = |name: &FoundName| {
            let mut parent = record_of(name.parent);
            (0..SYSTEM_DEPTH).any(|_| match u32::try_from(parent) {
                Ok(record) if self.found.system.contains(&record) => true,
                Ok(record) => {
                    parent = parents.get(&record).copied().unwrap_or(u64::MAX);
                    false
                }
                Err(_) => false,
            })
        };
        for name in left.filter(|name| name.namespace != namespace::DOS && !system(name)) {
            self.notes.lost(format_args!(
                "record {}: name \"{}\": its directory, record {}, is gone",
                name.owner,
                name.name,
                record_of(name.parent)
            ));
        }
        let unreached: Vec<NodeId> = self
            .found
            .slots
            .iter()
            .map(|(_, slot)| slot.node)
            .filter(|id| *id != self.tree.root() && self.tree.node(*id).links() == 0)
            .collect();
        for id in unreached {
            *self.tree.node_mut(id) = Node::default();
        }
    }
}

/// The links that names of one file in one directory make: a long name and a short one are a pair, all others stand alone.
fn pair<'a>(names: impl Iterator<Item = &'a mut FoundName>, node: NodeId) -> Vec<Link> {
    let (short, long): (Vec<_>, Vec<_>) = names.partition(|name| name.namespace == namespace::DOS);
    let mut short = short.into_iter().map(|short| take(&mut short.name));
    let mut links: Vec<Link> = Vec::with_capacity(long.len());
    for long in long {
        let name = take(&mut long.name);
        let short = match long.namespace {
            namespace::WIN32 => short.next(),
            namespace::WIN32_AND_DOS => Some(name.clone()),
            _ => None,
        };
        links.push(Link { name, short, node });
    }
    // A short name that lost its long one is all that the file has.
    links.extend(short.map(|lone| Link { name: lone.clone(), short: Some(lone), node }));
    links
}

#[cfg(test)]
mod tests {
    use super::super::scan::Slot;
    use super::*;
    use crate::format::ntfs::ondisk::reference;
    use crate::tree::{Content, Times};

    const FIRST: u32 = 64;

    /// A file or directory (`d`) at each record from 64 on, all of sequence 1, with names: record, parent, namespace, name.
    fn built(kinds: &str, names: &[(u32, u32, u8, &str)]) -> (Tree, Vec<String>) {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let mut found = Found::default();
        found.slots.insert(file::ROOT, Slot { node: tree.root(), sequence: 5 });
        found.system.insert(30);
        for (record, kind) in (FIRST..).zip(kinds.chars()) {
            let node = match kind {
                'd' => Node::directory(0, Times::default()),
                _ => Node::file(0, Times::default(), Content::empty()),
            };
            let node = tree.add_node(node).unwrap();
            found.slots.insert(record, Slot { node, sequence: 1 });
        }
        for (owner, parent, namespace, name) in names {
            let sequence = if *parent == file::ROOT { 5 } else { 1 };
            let parent = reference(*parent, sequence);
            found.names.push(FoundName { parent, owner: *owner, namespace: *namespace, name: (*name).into() });
        }
        let mut notes = Notes::default();
        build(&mut tree, &mut found, &mut notes).unwrap();
        let (notes, lost) = notes.finish();
        assert_eq!(notes.len() as u64, lost);
        (tree, notes)
    }

    fn links(tree: &Tree) -> Vec<String> {
        let mut links = Vec::new();
        tree.visit(|path, link| {
            let short = link.short.as_ref().map_or_else(String::new, |short| format!(" ({short})"));
            links.push(format!("{path}{short}"));
            std::ops::ControlFlow::Continue(())
        });
        links.sort();
        links
    }

    #[test]
    fn names_of_two_kinds_are_pairs() {
        let names = [
            (64, 5, 3, "DIR"),
            (65, 64, 2, "LONGNA~1"),
            (65, 64, 1, "long name"),
            (65, 64, 0, "hard link"),
            (65, 5, 1, "elsewhere"),
            (66, 5, 2, "LONE~1"),
        ];
        let (tree, notes) = built("dff", &names);
        assert_eq!(
            links(&tree),
            [r"\DIR (DIR)", r"\DIR\hard link", r"\DIR\long name (LONGNA~1)", r"\LONE~1 (LONE~1)", r"\elsewhere"]
        );
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn what_hangs_nowhere_is_noted() {
        let names = [
            (64, 65, 0, "a"), // 64 and 65 are in each other
            (65, 64, 0, "b"),
            (66, 99, 0, "orphan"),
            (67, 5, 0, "kept"),
            (68, 30, 0, "$Repair"),
            (69, 68, 0, "within"),
        ];
        let (tree, notes) = built("ddffdf", &names);
        assert_eq!(links(&tree), [r"\kept"]);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes.iter().any(|note| note == "record 66: name \"orphan\": its directory, record 99, is gone"));
        assert_eq!(tree.nodes().iter().filter(|node| node.is_directory()).count(), 1);
    }

    #[test]
    fn a_directory_has_one_name() {
        let names = [(64, 5, 0, "first"), (64, 5, 0, "second"), (65, 64, 0, "below"), (64, 65, 0, "in itself")];
        let (tree, notes) = built("dd", &names);
        assert_eq!(links(&tree), [r"\first", r"\first\below"]);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn what_a_tree_cannot_have_is_left_out() {
        let names = [
            (64, 5, 0, "twice"),
            (65, 5, 0, "twice"),
            (66, 5, 0, "a/b"),
            (67, 5, 1, "long"),
            (67, 5, 2, "TWICE"),
            (68, 5, 0, "sound"),
            (69, 5, 0, ""),
        ];
        let (tree, notes) = built("ffffff", &names);
        assert_eq!(links(&tree), [r"\long", r"\sound", r"\twice"]);
        assert_eq!(notes.len(), 4, "{notes:?}");
    }

    #[test]
    fn paths_have_an_end() {
        let name = "x".repeat(255);
        let mut names = vec![(64, 5, 0, &*name)];
        names.extend((65..264).map(|record| (record, record - 1, 0, &*name)));
        let (tree, notes) = built(&"d".repeat(200), &names);
        assert_eq!(tree.walk().count(), 32_767 / 256);
        assert!(!notes.is_empty());
    }

    #[test]
    fn a_stale_reference_is_no_directory() {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let node = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
        let mut found = Found::default();
        found.slots.insert(file::ROOT, Slot { node: tree.root(), sequence: 5 });
        found.slots.insert(64, Slot { node, sequence: 1 });
        let parent = reference(file::ROOT, 4);
        found.names.push(FoundName { parent, owner: 64, namespace: 0, name: "stale".into() });
        let mut notes = Notes::default();
        build(&mut tree, &mut found, &mut notes).unwrap();
        assert_eq!((tree.walk().count(), notes.finish().1), (0, 1));
    }
}
