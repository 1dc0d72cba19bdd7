//! The files of one cabinet with packages, or of a folder with what was in one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::tree::{Content, Tree};

/// All that comes in one file: an `update.mum` with its packages, manifests and payload.
#[derive(Clone)]
pub struct Bundle {
    /// Where it is from, for messages: `Microsoft-NanoServer-Containers-Package.cab`.
    pub origin: String,
    /// The files, unread.
    pub tree: Arc<Tree>,
    /// Documents at its top, by their names in lower case, as they are stored (a manifest may be packed): `.mum`, `.cat`, `.manifest`.
    pub documents: BTreeMap<String, Arc<[u8]>>,
    /// All other files, by their paths in lower case, with `\`.
    pub payload: BTreeMap<String, File>,
}

/// A file of the payload.
#[derive(Debug, Clone)]
pub struct File {
    /// Its contents, in the bundle's tree. What is packed in itself (DCS) is unpacked.
    pub content: Content,
    /// The SHA-256 of its contents.
    pub sha256: [u8; 32],
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({:?})", self.origin)
    }
}
