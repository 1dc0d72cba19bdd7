//! A driver package as its maker gives it out: an INF file and the files beside and below it.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::format::inf::Inf;
use crate::tree::{Content, NodeId, Tree};

/// An INF file in a folder of a tree: that of a folder of the host, an archive, a cabinet or a medium.
#[derive(Clone)]
pub struct Package {
    tree: Arc<Tree>,
    folder: NodeId,
    inf_name: String,
    inf: Arc<[u8]>,
    /// Where it comes from, for messages.
    pub origin: String,
    /// The same for `OemPath`: without the host's folders, which differ from host to host and are nobody's business in the image.
    pub oem_path: String,
}

impl Package {
    /// The package of an INF file in a folder of a tree.
    pub fn new(tree: Arc<Tree>, folder: NodeId, inf_name: &str, origin: impl Into<String>) -> Result<Self> {
        let origin = origin.into();
        let content = content(&tree, folder, inf_name);
        let missing = || Error::invalid("no such file").found(inf_name).context(&origin);
        let inf = tree.read(content.ok_or_else(missing)?).context(|| inf_name)?.into();
        let oem_path = origin.clone();
        Ok(Self { tree, folder, inf_name: inf_name.to_owned(), inf, origin, oem_path })
    }

    /// The name of the INF file.
    pub fn inf_name(&self) -> &str {
        &self.inf_name
    }

    /// The bytes of the INF file.
    pub fn inf_bytes(&self) -> &[u8] {
        &self.inf
    }

    /// The INF file, parsed.
    pub fn inf(&self) -> Result<Inf> {
        Inf::parse(&self.inf).context(|| format!(r"{}\{}", self.origin, self.inf_name))
    }

    /// The tree that it is in.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// What a file contains, unread; its path is within the package, without regard to case.
    pub fn content(&self, path: &str) -> Option<&Content> {
        content(&self.tree, self.folder, path)
    }

    /// Reads a file of the package.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.content(path).map(|content| self.tree.read(content).context(|| path.to_owned())).transpose()
    }

    /// The folder that the INF file is in, in the package's tree.
    pub fn folder(&self) -> NodeId {
        self.folder
    }
}

fn content<'t>(tree: &'t Tree, folder: NodeId, path: &str) -> Option<&'t Content> {
    let found = path.split(['\\', '/']).filter(|part| !part.is_empty() && *part != ".").try_fold(folder, |at, part| {
        let units: Vec<u16> = part.encode_utf16().collect();
        match tree.child(at, &units) {
            Some(link) => ControlFlow::Continue(link.node),
            None => ControlFlow::Break(()),
        }
    });
    let ControlFlow::Continue(node) = found else { return None };
    tree.node(node).main().filter(|_| !tree.node(node).is_directory())
}
