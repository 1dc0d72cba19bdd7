//! Files that an installation gets.

use std::sync::Arc;

use crate::base::security::{Descriptor, Sid, mask};
use crate::base::{FileTime, Name, inherit};
use crate::error::{Error, Result};
use crate::tree::{Content, DescriptorId, Link, Node, NodeId, StoreId, Times, Tree, attributes};

/// Who can read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever may read what is in its directory.
    Inherited,
    /// SYSTEM and Administrators, whatever its directory says.
    Protected,
    /// Whoever may read another file.
    As(DescriptorId),
}

/// Puts a file at a path, with the directories on the way to it, in the place of any that is there.
pub(super) fn put(
    tree: &mut Tree,
    path: &str,
    content: impl Into<Content>,
    access: Access,
    now: FileTime,
) -> Result<()> {
    let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let directory = ensure_folder(tree, folder, now)?;
    let mut node = Node::file(attributes::ARCHIVE, Times::all(now), content.into());
    node.descriptor = match access {
        Access::As(descriptor) => Some(descriptor),
        Access::Inherited | Access::Protected => inherited(tree, directory, false),
    };
    let name = Name::from(name);
    if let Some(old) = tree.child(directory, name.units()).map(|link| tree.node(link.node)) {
        refuse_unless(!old.is_directory(), "a directory stands where a file must go", path)?;
        refuse_unless(old.reparse.is_none(), "a link stands where a file must go", path)?;
        (node.descriptor, node.times.created) = (old.descriptor, old.times.created);
        tree.remove_link(directory, name.units())?; // not written over: it may have other names, under which nobody would look
    }
    if access == Access::Protected {
        node.descriptor = Some(tree.add_descriptor(&protected()));
    }
    let node = tree.add_node(node)?;
    tree.add_link(directory, Link { name, short: None, node })
}

/// Takes away what is at a path, with all below it, if there is anything.
pub(super) fn remove(tree: &mut Tree, path: &str) -> Result<()> {
    let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let name = Name::from(name);
    let Some(folder) = tree.find(folder).filter(|folder| tree.child(*folder, name.units()).is_some()) else {
        return Ok(());
    };
    tree.remove_tree(folder, name.units()).map(|_| ())
}

/// Gives a file another name in its directory.
pub(super) fn rename(tree: &mut Tree, path: &str, to: &str) -> Result<()> {
    let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let to = to.rsplit('\\').next().unwrap_or(to);
    let Some(directory) = tree.find(folder) else { return Ok(()) };
    refuse_unless(tree.child(directory, Name::from(to).units()).is_none(), "the name is taken", to)?;
    let node = tree.remove_link(directory, Name::from(name).units())?;
    tree.add_link(directory, Link { name: to.into(), short: None, node })
}

/// A content of another tree as one of this tree, unread.
pub(super) fn graft(tree: &mut Tree, from: &Tree, content: &Content) -> Content {
    let Content::Blob { store, blob, len } = content else { return content.clone() };
    let theirs = &from.stores()[store.index()];
    let known = tree.store_ids().find(|own| Arc::ptr_eq(&tree.stores()[own.index()], theirs));
    let store = known.unwrap_or_else(|| tree.add_store(Arc::clone(theirs)));
    Content::Blob { store, blob: *blob, len: *len }
}

/// Whether two contents of a tree are the same bytes. What is not known by a hash or by where it comes from is read.
pub(super) fn is_same(tree: &Tree, a: &Content, b: &Content) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let (Content::Blob { store, blob, .. }, Content::Blob { store: other_store, blob: other, .. }) = (a, b) {
        if (store, blob) == (other_store, other) {
            return Ok(true);
        }
        let hash = |store: &StoreId, blob| tree.stores()[store.index()].sha1(blob);
        if let (Some(a), Some(b)) = (hash(store, *blob), hash(other_store, *other)) {
            return Ok(a == b);
        }
    }
    Ok(tree.read(a)? == tree.read(b)?)
}

/// The descriptor that most of a few nodes have; of equally many, the first.
pub(super) fn most_common(tree: &Tree, nodes: impl Iterator<Item = NodeId>) -> Option<DescriptorId> {
    let mut counts: Vec<(DescriptorId, usize)> = Vec::new();
    for descriptor in nodes.filter_map(|node| tree.node(node).descriptor) {
        match counts.iter_mut().find(|(known, _)| *known == descriptor) {
            Some((_, count)) => *count += 1,
            None => counts.push((descriptor, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(descriptor, _)| descriptor)
}

/// The directory at a path, made where it is not there.
pub(super) fn ensure_folder(tree: &mut Tree, path: &str, now: FileTime) -> Result<NodeId> {
    let mut parts = path.split('\\').filter(|part| !part.is_empty());
    parts.try_fold(tree.root(), |directory, part| ensure_directory(tree, directory, part, now))
}

/// The directory of a name in another, made where it is not there.
pub(super) fn ensure_directory(tree: &mut Tree, parent: NodeId, name: &str, now: FileTime) -> Result<NodeId> {
    if let Some(node) = tree.child(parent, Name::from(name).units()).map(|link| link.node) {
        let is_plain = tree.node(node).is_directory() && tree.node(node).reparse.is_none();
        refuse_unless(is_plain, "a file or link stands where a directory must be", name)?;
        return Ok(node);
    }
    let mut node = Node::directory(0, Times::all(now));
    node.descriptor = inherited(tree, parent, true);
    let node = tree.add_node(node)?;
    tree.add_link(parent, Link { name: name.into(), short: None, node })?;
    Ok(node)
}

/// What a directory hands down to a new file or directory in it.
pub(super) fn inherited(tree: &mut Tree, parent: NodeId, is_directory: bool) -> Option<DescriptorId> {
    let parent = Arc::clone(&tree.descriptors()[tree.node(parent).descriptor?.index()]);
    inherit::inherit(&parent, is_directory).map(|bytes| tree.add_descriptor(&bytes))
}

fn protected() -> Vec<u8> {
    let allow = [(Sid::LOCAL_SYSTEM, mask::FULL, 0), (Sid::ADMINISTRATORS, mask::FULL, 0)];
    Descriptor { owner: Sid::ADMINISTRATORS, group: Sid::LOCAL_SYSTEM, protected: true, allow: &allow }.to_bytes()
}

fn refuse_unless(fine: bool, what: &str, name: &str) -> Result<()> {
    if fine { Ok(()) } else { Err(Error::invalid(what).found(name)) }
}
