//! Trees compared with trees, all metadata and all bytes.

use std::collections::BTreeMap;
use std::collections::HashMap;

use nanovhd::tree::{Content, Node, NodeId, Times, Tree, attributes};
use sha1::{Digest, Sha1};

/// What a comparison looks away from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Leniency {
    /// The time of the last change of metadata, extended attributes and case sensitivity, which wimlib does not put into WIMs, and
    /// which streams are sparse.
    pub(crate) wim: bool,
    /// What our writer does to a tree: a node without a descriptor gets a default, and a file keeps one short name, unless it
    /// is in a case-sensitive directory.
    pub(crate) written: bool,
}

/// All that there is to say of a node, in words that can be compared.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Described {
    attributes: u32,
    times: [u64; 4],
    descriptor: Option<Vec<u8>>,
    object_id: Option<Vec<u8>>,
    reparse: Option<(u32, String)>,
    extended: Vec<(u8, Vec<u8>, Vec<u8>)>,
    /// Length, hash and whether sparse, by name.
    streams: BTreeMap<String, (u64, String, bool)>,
    case_sensitive: bool,
    directory: bool,
    /// The first path that leads here.
    first_link: String,
    short: Option<String>,
    /// Whether the writer may have dropped the short name.
    short_may_go: bool,
}

fn hash(tree: &Tree, content: &Content) -> String {
    let bytes = tree.read(content).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bytes.len() as u64, content.len());
    Sha1::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every path of a tree, with `\` before each name.
pub(crate) fn describe(tree: &Tree, leniency: Leniency) -> BTreeMap<String, Described> {
    let mut all = BTreeMap::new();
    let mut first: HashMap<NodeId, String> = HashMap::new();
    let mut hashes = HashMap::new();
    let mut add = |path: &str, id: NodeId, short: Option<String>, short_may_go: bool| {
        let first_link = first.entry(id).or_insert_with(|| path.to_owned()).clone();
        let described = hashes.entry(id).or_insert_with(|| node(tree, tree.node(id), leniency)).clone();
        all.insert(path.to_owned(), Described { first_link, short, short_may_go, ..described });
    };
    add("\\", tree.root(), None, false);
    let mut links = Vec::new();
    let mut parents = tree.walk().map(|(parent, _)| parent);
    tree.visit(|path, link| {
        let insensitive = !parents.next().is_some_and(|parent| tree.node(parent).case_sensitive);
        let may_go = leniency.written && !(insensitive && tree.node(link.node).links() == 1);
        links.push((path.to_owned(), link.node, link.other_short().map(ToString::to_string), may_go));
        std::ops::ControlFlow::Continue(())
    });
    links.sort();
    for (path, id, short, may_go) in links {
        add(&path, id, short, may_go);
    }
    all
}

fn node(tree: &Tree, node: &Node, leniency: Leniency) -> Described {
    let Times { created, modified, changed, accessed } = node.times;
    let mut attributes = node.attributes & !(attributes::SPARSE | attributes::REPARSE_POINT);
    attributes |= if node.reparse.is_some() { attributes::REPARSE_POINT } else { 0 };
    let mut streams = BTreeMap::new();
    for stream in &node.streams {
        let sparse = stream.sparse && !leniency.wim;
        let described = (stream.content.len(), hash(tree, &stream.content), sparse);
        assert!(streams.insert(stream.name.to_string(), described).is_none(), "two streams {}", stream.name);
    }
    if !node.is_directory() {
        streams.entry(String::new()).or_insert((0, hash(tree, &Content::empty()), false));
    }
    let extended = node.extended.iter().map(|ea| (ea.flags, ea.name.to_vec(), ea.value.to_vec()));
    Described {
        attributes,
        times: [created.0, modified.0, if leniency.wim { 0 } else { changed.0 }, accessed.0],
        descriptor: node.descriptor.map(|id| tree.descriptors()[id.index()].to_vec()),
        object_id: node.object_id.as_deref().map(|id| id[..if leniency.wim { 16 } else { id.len() }].to_vec()),
        reparse: node.reparse.as_ref().map(|reparse| (reparse.tag, hash(tree, &reparse.data))),
        extended: if leniency.wim { Vec::new() } else { extended.collect() },
        streams,
        case_sensitive: node.case_sensitive && !leniency.wim,
        directory: node.is_directory(),
        first_link: String::new(),
        short: None,
        short_may_go: false,
    }
}

/// Fails at the first path that differs.
pub(crate) fn compare(expected: &Tree, found: &Tree, leniency: Leniency) -> usize {
    let (expected, mut found) = (describe(expected, leniency), describe(found, leniency));
    let count = expected.len();
    for (path, expected) in expected {
        let mut found = found.remove(&path).unwrap_or_else(|| panic!("{path} is missing"));
        if leniency.written && expected.descriptor.is_none() {
            assert!(found.descriptor.take().is_some(), "{path}");
        }
        if expected.short_may_go && found.short.is_none() {
            found.short.clone_from(&expected.short);
        }
        found.short_may_go = expected.short_may_go;
        assert_eq!(found, expected, "{path}");
    }
    assert!(found.is_empty(), "not expected: {:?}", found.keys().collect::<Vec<_>>());
    count
}
