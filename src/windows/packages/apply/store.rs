//! Files: in the component store, and under the names that they have outside.

use super::{How, Source};
use crate::base::Name;
use crate::error::{Context, Error, Result};
use crate::tree::{Content, DescriptorId, Link, Node, NodeId, Times, attributes};
use crate::windows::packages::image::{Image, STORE, check_path, refuse_hives, split};
use crate::windows::packages::plan::ComponentPlan;
use crate::windows::packages::records::{folder_path, manifest_path};
use crate::windows::place;

/// A name outside the store.
pub(super) struct Target<'p> {
    pub(super) payload: &'p str,
    pub(super) path: &'p str,
    pub(super) descriptor: Option<&'p [u8]>,
    pub(super) attributes: u32,
}

/// The manifest of a component, and the files in its folder.
pub(super) fn put(image: &mut Image<'_>, component: &ComponentPlan, source: &Source<'_>, how: How) -> Result<()> {
    let keyform = &component.keyform;
    if keyform.contains(['\\', '/']) {
        return Err(Error::invalid("the name of a component").found(keyform));
    }
    check_path(keyform)?;
    image.put_document(&manifest_path(keyform), &component.manifest)?;
    if component.payload.is_empty() {
        return Ok(());
    }
    let folder = folder(image, keyform)?;
    let descriptor = image.store_file_descriptor();
    for file in &component.payload {
        check_path(&file.name)?;
        let content = place::graft(image.tree, source.tree, &file.content);
        put_payload(image, keyform, folder, &file.name, content, descriptor, how).context(|| &file.name)?;
    }
    Ok(())
}

/// The folder of a component.
fn folder(image: &mut Image<'_>, keyform: &str) -> Result<NodeId> {
    let store = image.make_directory(STORE, None, 0)?;
    if let Some(link) = image.tree.child(store, Name::from(keyform).units()) {
        return Ok(link.node);
    }
    let usual = image.store_folder_descriptor();
    let node = place::ensure_directory(image.tree, store, keyform, image.now)?;
    image.files += 1;
    let folder = image.tree.node_mut(node);
    folder.descriptor = usual.or(folder.descriptor);
    Ok(node)
}

/// A file in it. What is there of an installed component stays: Windows may keep it packed.
fn put_payload(
    image: &mut Image<'_>,
    keyform: &str,
    folder: NodeId,
    name: &str,
    content: Content,
    descriptor: DescriptorId,
    how: How,
) -> Result<()> {
    let (within, last) = split(name);
    let mut directory = folder;
    for part in within.split('\\').filter(|part| !part.is_empty()) {
        directory = place::ensure_directory(image.tree, directory, part, image.now)?;
    }
    let units = Name::from(last);
    if let Some(there) = image.tree.child(directory, units.units()).map(|link| link.node) {
        let main = image.tree.node(there).main().filter(|_| !image.tree.node(there).is_directory());
        let main = main.ok_or_else(|| Error::invalid("a directory stands where a file must go"))?.clone();
        if how == How::Complete || place::is_same(image.tree, &main, &content)? {
            return Ok(());
        }
        image.tree.remove_link(directory, units.units())?;
    }
    let mut node = Node::file(attributes::ARCHIVE, Times::all(image.now), content);
    node.descriptor = Some(descriptor);
    let node = image.tree.add_node(node)?;
    image.tree.add_link(directory, Link { name: units, short: None, node })?;
    image.own(node, keyform);
    image.files += 1;
    Ok(())
}

/// A name outside the store for a file of the payload.
pub(super) fn link(image: &mut Image<'_>, component: &ComponentPlan, target: &Target<'_>, how: How) -> Result<()> {
    let path = target.path;
    check_path(path)?;
    refuse_hives(image.tree, path)?;
    let stored = format!(r"{}\{}", folder_path(&component.keyform), target.payload);
    let missing = || Error::invalid("a file that the component lacks").found(target.payload);
    let node = image.file(&stored)?.ok_or_else(missing)?;
    let there = image.file(path)?;
    if there == Some(node) || (there.is_some() && how == How::Complete) {
        return Ok(());
    }
    if let Some(there) = there {
        give_way(image, component, path, there)?;
    }
    image.point(path, node)?;
    let descriptor = target.descriptor.map(|bytes| image.tree.add_descriptor(bytes));
    let node = image.tree.node_mut(node);
    node.descriptor = descriptor.or(node.descriptor);
    node.attributes |= target.attributes & !attributes::NORMAL & !attributes::DIRECTORY;
    Ok(())
}

/// What becomes of the file that has a name so far.
fn give_way(image: &mut Image<'_>, component: &ComponentPlan, path: &str, there: NodeId) -> Result<()> {
    let owner = image.owner(there).map(str::to_owned);
    match owner {
        Some(owner) if is_version_of(&owner, &component.keyform) => {}
        Some(owner) => {
            image.warnings.push(format!("{path} was that of {owner}, and is that of {} now", component.keyform))
        }
        None => {
            image.keep_file(path)?;
            image.warnings.push(format!(
                "{path} belonged to no component and is replaced by that of {}: removing the package gives it back",
                component.keyform
            ));
        }
    }
    Ok(())
}

/// Whether two keyforms (`arch_name_token_version_culture_hash`) are the same but for the version, and the hash, which the version is part of.
pub(in crate::windows::packages) fn is_version_of(one: &str, other: &str) -> bool {
    let family = |keyform: &str| {
        let mut parts = keyform.rsplitn(4, '_').skip(1);
        Some((parts.next()?.to_lowercase(), parts.nth(1)?.to_lowercase()))
    };
    family(one).is_some() && family(one) == family(other)
}

/// A file that no payload has.
pub(super) fn put_file(
    image: &mut Image<'_>,
    component: &ComponentPlan,
    path: &str,
    bytes: &[u8],
    how: How,
) -> Result<()> {
    refuse_hives(image.tree, path)?;
    let content = Content::Bytes(bytes.into());
    if let Some(there) = image.file(path)? {
        let main = image.tree.node(there).main().cloned().unwrap_or_else(Content::empty);
        if how == How::Complete || place::is_same(image.tree, &main, &content)? {
            return Ok(());
        }
        give_way(image, component, path, there)?;
        image.take(path)?;
    }
    image.put_if_absent(path, content, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_component_are_told_by_its_keyform() {
        let one = "amd64_my_name_31bf3856ad364e35_10.0.14393.0_none_0123456789abcdef";
        assert!(is_version_of(one, "AMD64_my_name_31bf3856ad364e35_10.0.14393.1_none_ffffffffffffffff"));
        for other in [
            "amd64_my_name_31bf3856ad364e35_10.0.14393.1_en-us_0",
            "amd64_name_31bf3856ad364e35_10.0.14393.1_none_0",
            "x",
        ] {
            assert!(!is_version_of(one, other), "{other}");
        }
        assert!(!is_version_of("x", "x"));
    }
}
