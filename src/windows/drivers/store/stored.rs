//! What a package in the store comes to, compiled anew from its own files.

use std::sync::Arc;

use super::{Store, folder_of};
use crate::error::Result;
use crate::tree::{Content, Link, Node, NodeId, Times, Tree};
use crate::windows::drivers::{Driver, Package};

/// Folders within folders of a package that are looked at.
const MAX_DEPTH: usize = 64;

impl Store<'_> {
    /// The driver of a published name; none if its files are not all there, or no longer come to anything.
    pub(super) fn stored(&self, published: &str) -> Result<Option<Driver>> {
        let Some((hive, key)) = self.package_of(published) else { return Ok(None) };
        let inf_name = hive.value(key, "InfName").and_then(|value| value.as_text());
        let Some(inf_name) = inf_name else { return Ok(None) };
        let Some(folder) = self.tree.find(&folder_of(&hive.name(key).to_string())) else { return Ok(None) };
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let root = tree.root();
        self.names_of(folder, &mut tree, root, &inf_name, 0)?;
        let Ok(package) = Package::new(Arc::new(tree), root, &inf_name, published) else { return Ok(None) };
        Ok(self.compile(&package).ok())
    }

    /// The names of a package's files; of the INF file the contents too: compiling asks for no others.
    fn names_of(&self, from: NodeId, tree: &mut Tree, to: NodeId, inf_name: &str, depth: usize) -> Result<()> {
        let mut links = Vec::new();
        for link in self.tree.node(from).children() {
            let node = self.tree.node(link.node);
            let copy = if node.is_directory() {
                if depth >= MAX_DEPTH {
                    continue;
                }
                let copy = tree.add_node(Node::directory(0, Times::default()))?;
                self.names_of(link.node, tree, copy, inf_name, depth + 1)?;
                copy
            } else {
                let is_inf = link.name.to_string().eq_ignore_ascii_case(inf_name);
                let content = match node.main().filter(|_| is_inf) {
                    Some(content) => Content::from(self.tree.read(content)?),
                    None => Content::empty(),
                };
                tree.add_node(Node::file(0, Times::default(), content))?
            };
            links.push(Link { name: link.name.clone(), short: None, node: copy });
        }
        tree.set_children(to, links)
    }
}
