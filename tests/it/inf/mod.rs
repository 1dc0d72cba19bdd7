//! INF files: what the parser and the compiler make of those of real drivers, of Wine and QEMU, and of our own.

mod collections;
mod fixtures;
mod virtio;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nanovhd::base::{FileTime, Machine, Name};
use nanovhd::tree::{Content, Link, Node, NodeId, Times, Tree};
use nanovhd::windows::drivers::{Package, ProductType, TargetOs};

/// Windows Server 2016.
pub(crate) const SERVER_2016: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

/// A package of files in memory.
pub(crate) fn package(inf: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Package {
    let times = Times::all(FileTime(131_000_000_000_000_000));
    let mut tree = Tree::new(Node::directory(0x10, times));
    for (path, bytes) in files {
        let (folders, name) = path.rsplit_once('\\').unwrap_or(("", &path));
        let mut at = tree.root();
        for folder in folders.split('\\').filter(|folder| !folder.is_empty()) {
            at = match tree.child(at, Name::from(folder).units()) {
                Some(link) => link.node,
                None => add(&mut tree, at, folder, Node::directory(0x10, times)),
            };
        }
        add(&mut tree, at, name, Node::file(0x20, times, Content::from(bytes)));
    }
    let root = tree.root();
    Package::new(Arc::new(tree), root, inf, "memory").unwrap()
}

fn add(tree: &mut Tree, folder: NodeId, name: &str, node: Node) -> NodeId {
    let node = tree.add_node(node).unwrap();
    tree.add_link(folder, Link { name: Name::from(name), short: None, node }).unwrap();
    node
}

/// A package of the files of a folder.
pub(crate) fn package_in(folder: &Path, inf: &str) -> Package {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    package(inf, files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())))
}
