//! Which files of a tree are not what they were.

use std::collections::{HashMap, HashSet};

use crate::tree::{Content, Link, Node, NodeId, Stream, Tree};

/// How a tree differs from the one that it was made from.
pub(super) struct Changes {
    pub(super) removed: Vec<NodeId>,
    pub(super) changed: Vec<NodeId>,
    pub(super) added: Vec<NodeId>,
    /// Where those hang that changed or are new: directories, and which of their children.
    pub(super) places: HashMap<NodeId, Vec<(NodeId, usize)>>,
}

impl Changes {
    /// Compares a tree with the one that it was made from.
    pub(super) fn between(old: &Tree, new: &Tree) -> Self {
        let ids: Vec<NodeId> = new.ids().collect();
        let moved = moved(old, new, &ids);
        let mut changes = Self { removed: Vec::new(), changed: Vec::new(), added: Vec::new(), places: HashMap::new() };
        let is_there = |tree: &Tree, id: NodeId| {
            tree.nodes().get(id.index()).is_some_and(|node| node.links() > 0 || id == tree.root())
        };
        for id in ids.iter().copied() {
            match (is_there(old, id), is_there(new, id)) {
                (true, false) => changes.removed.push(id),
                (false, true) => changes.added.push(id),
                (true, true) if moved.contains(&id) || differs(old.node(id), new.node(id)) => changes.changed.push(id),
                _ => {}
            }
        }
        let of_interest: HashSet<NodeId> = changes.changed.iter().chain(&changes.added).copied().collect();
        for directory in ids.into_iter().filter(|id| is_there(new, *id)) {
            for (at, link) in new.node(directory).children().iter().enumerate() {
                if of_interest.contains(&link.node) {
                    changes.places.entry(link.node).or_default().push((directory, at));
                }
            }
        }
        changes
    }
}

/// Nodes that have a name that they had not, or lack one that they had.
fn moved(old: &Tree, new: &Tree, ids: &[NodeId]) -> HashSet<NodeId> {
    let mut moved = HashSet::new();
    for id in ids {
        let before = old.nodes().get(id.index()).map_or(&[][..], Node::children);
        let after = new.node(*id).children();
        if before.len() == after.len() && before.iter().zip(after).all(|(a, b)| same_link(a, b)) {
            continue;
        }
        let key = |link: &Link| (link.node, link.name.clone(), link.short.clone());
        let (was, is): (HashSet<_>, HashSet<_>) = (before.iter().map(key).collect(), after.iter().map(key).collect());
        moved.extend(was.symmetric_difference(&is).map(|(node, ..)| *node));
    }
    moved
}

fn same_link(a: &Link, b: &Link) -> bool {
    a.node == b.node && a.name == b.name && a.short == b.short
}

/// Whether anything about two nodes differs, but for their names and children.
fn differs(a: &Node, b: &Node) -> bool {
    a.attributes != b.attributes
        || a.times != b.times
        || a.descriptor != b.descriptor
        || a.case_sensitive != b.case_sensitive
        || a.object_id != b.object_id
        || a.extended != b.extended
        || !same_reparse(a, b)
        || a.streams.len() != b.streams.len()
        || !a.streams.iter().zip(&b.streams).all(|(a, b)| same_stream(a, b))
}

/// Whether two nodes have the same reparse point, or none.
pub(super) fn same_reparse(a: &Node, b: &Node) -> bool {
    match (&a.reparse, &b.reparse) {
        (None, None) => true,
        (Some(a), Some(b)) => a.tag == b.tag && same_content(&a.data, &b.data),
        _ => false,
    }
}

/// Whether two streams are the same, as far as can be told without reading them.
pub(super) fn same_stream(a: &Stream, b: &Stream) -> bool {
    a.name == b.name && a.sparse == b.sparse && same_content(&a.content, &b.content)
}

fn same_content(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Bytes(a), Content::Bytes(b)) => a == b,
        (
            Content::Blob { store, blob, len },
            Content::Blob { store: other_store, blob: other_blob, len: other_len },
        ) => (store, blob, len) == (other_store, other_blob, other_len),
        _ => false,
    }
}
