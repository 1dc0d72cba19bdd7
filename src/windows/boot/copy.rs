//! Files from one tree into another, whose stores are the same.

use std::sync::Arc;

use crate::base::{Name, upcase};
use crate::error::{Error, Kind, Result};
use crate::tree::{Link, Node, NodeId, Tree};

/// An empty tree with the stores of another one, so that contents of that mean the same here; its root is like that of the other.
pub(super) fn beside(tree: &Tree) -> Tree {
    let mut made = Tree::new(Node::directory(0, tree.node(tree.root()).times));
    for store in tree.stores() {
        made.add_store(Arc::clone(store));
    }
    let root = copy(tree, tree.root(), &mut made);
    *made.node_mut(made.root()) = root;
    made
}

/// A node of one tree, for another: without children and links, and with the other's name for its descriptor.
pub(super) fn copy(from: &Tree, node: NodeId, to: &mut Tree) -> Node {
    let mut copy = from.node(node).copy();
    let descriptor = copy.descriptor.and_then(|id| from.descriptors().get(id.index()));
    copy.descriptor = descriptor.map(|bytes| to.add_descriptor(bytes));
    copy
}

/// Puts a file into a directory in the place of any that has its name; tells whether there was one.
pub(super) fn put(tree: &mut Tree, directory: NodeId, name: Name, node: Node) -> Result<bool> {
    let old = tree.child(directory, name.units()).map(|link| link.node);
    if let Some(old) = old {
        if tree.node(old).is_directory() {
            return Err(Error::new(Kind::NotBootable, "a directory stands where a boot file must go").found(name));
        }
        tree.remove_link(directory, name.units())?;
    }
    let node = tree.add_node(node)?;
    tree.add_link(directory, Link { name, short: None, node })?;
    Ok(old.is_some())
}

/// The directory of that name, made of `like` if it is not there.
pub(super) fn ensure_child(tree: &mut Tree, parent: NodeId, name: Name, like: Node) -> Result<NodeId> {
    if let Some(link) = tree.child(parent, name.units()) {
        if !tree.node(link.node).is_directory() {
            return Err(Error::new(Kind::NotBootable, "a file stands where a boot directory must go").found(name));
        }
        return Ok(link.node);
    }
    let node = tree.add_node(like)?;
    tree.add_link(parent, Link { name, short: None, node })?;
    Ok(node)
}

/// Copies what is in a directory of one tree into one of another, apart from the names in `except` at its top; tells how many files
/// that were.
pub(super) fn copy_directory(
    from: &Tree,
    source: NodeId,
    to: &mut Tree,
    target: NodeId,
    except: &[Name],
) -> Result<usize> {
    let mut files = 0;
    let mut work = vec![(source, target)];
    while let Some((directory, into)) = work.pop() {
        let excepted = |link: &&Link| {
            directory == source && except.iter().any(|name| upcase::same(name.units(), link.name.units()))
        };
        let links: Vec<&Link> = from.node(directory).children().iter().filter(|link| !excepted(link)).collect();
        let fresh = to.node(into).children().is_empty();
        let mut copies = Vec::new();
        for link in links {
            let is_directory = from.node(link.node).is_directory();
            files += usize::from(!is_directory);
            let node = copy(from, link.node, to);
            if fresh {
                let node = to.add_node(node)?;
                copies.push(Link { name: link.name.clone(), short: None, node });
                if is_directory {
                    work.push((link.node, node));
                }
            } else if is_directory {
                let below = ensure_child(to, into, link.name.clone(), node)?;
                work.push((link.node, below));
            } else {
                put(to, into, link.name.clone(), node)?;
            }
        }
        if fresh {
            to.set_children(into, copies)?; // at once: one by one takes quadratic time
        }
    }
    Ok(files)
}
