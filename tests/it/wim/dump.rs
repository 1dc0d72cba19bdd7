//! What is in a tree, in a form that can be compared: with another tree, a folder, wimlib's listing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use nanovhd::base::Name;
use nanovhd::error::Result;
use nanovhd::format::wim::Sha1Hash;
use nanovhd::tree::{BlobId, BlobSink, Content, ExtendedAttribute, NodeId, Times, Tree, attributes};

use super::Place;

/// All that a tree says about a link, contents as SHA-1s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) is_directory: bool,
    pub(super) attributes: u32,
    pub(super) times: Times,
    pub(super) descriptor: Option<Vec<u8>>,
    pub(super) short: Option<String>,
    pub(super) object_id: Option<Vec<u8>>,
    pub(super) reparse: Option<(u32, Sha1Hash)>,
    pub(super) extended: Vec<ExtendedAttribute>,
    pub(super) streams: BTreeMap<String, (u64, Sha1Hash)>,
    /// The first path of the node.
    pub(super) first_link: String,
    pub(super) links: u32,
}

/// Collects blobs in memory.
pub(super) struct Gather(Mutex<HashMap<BlobId, Vec<u8>>>);

impl BlobSink for Gather {
    fn write(&self, blob: BlobId, at: u64, data: &[u8]) -> Result<()> {
        let mut blobs = self.0.lock().unwrap();
        let bytes = blobs.entry(blob).or_default();
        let end = at as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// The SHA-1 of every blob of the tree's first store that it uses, computed from what the store streams.
pub(super) fn hashes(tree: &Tree, threads: usize) -> Result<HashMap<BlobId, Sha1Hash>> {
    let mut wanted: Vec<BlobId> = tree
        .contents()
        .filter_map(|(_, content)| match content {
            Content::Blob { store, blob, .. } if store.index() == 0 => Some(*blob),
            _ => None,
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    let sink = Gather(Mutex::default());
    if let Some(store) = tree.stores().first() {
        store.stream(&wanted, NonZeroUsize::new(threads).unwrap(), &sink).map_err(|failure| failure.error)?;
    }
    let blobs = sink.0.into_inner().unwrap();
    assert_eq!(blobs.len(), wanted.len());
    Ok(blobs.into_iter().map(|(blob, bytes)| (blob, Sha1Hash::of(&bytes))).collect())
}

pub(super) fn dump(tree: &Tree, threads: usize) -> Result<BTreeMap<String, Entry>> {
    let hashes = hashes(tree, threads)?;
    let sha1 = |content: &Content| match content {
        Content::Bytes(bytes) => Sha1Hash::of(bytes),
        Content::Blob { blob, .. } => hashes[blob],
    };
    let mut paths: HashMap<NodeId, String> = HashMap::from([(tree.root(), String::new())]);
    let mut first: HashMap<NodeId, String> = HashMap::new();
    let mut links = vec![(String::from("\\"), None, tree.root())];
    for (directory, link) in tree.walk() {
        let path = format!("{}\\{}", paths[&directory], link.name);
        paths.insert(link.node, path.clone());
        links.push((path, link.short.as_ref().map(Name::to_string), link.node));
    }
    links.sort();
    for (path, _, node) in &links {
        first.entry(*node).or_insert_with(|| path.clone());
    }
    let describe = |(path, short, id): (String, Option<String>, NodeId)| {
        let node = tree.node(id);
        let streams = node.streams.iter();
        let streams = streams.map(|s| (s.name.to_string(), (s.content.len(), sha1(&s.content)))).collect();
        let entry = Entry {
            is_directory: node.is_directory(),
            attributes: node.attributes,
            times: node.times,
            descriptor: node.descriptor.map(|id| tree.descriptors()[id.index()].to_vec()),
            short,
            object_id: node.object_id.as_ref().map(|id| id.to_vec()),
            reparse: node.reparse.as_ref().map(|reparse| (reparse.tag, sha1(&reparse.data))),
            extended: node.extended.clone(),
            streams,
            first_link: first[&id].clone(),
            links: node.links(),
        };
        (path, entry)
    };
    Ok(links.into_iter().map(describe).collect())
}

/// The files of a dump are those of a folder, byte for byte.
pub(super) fn assert_same_files(dump: &BTreeMap<String, Entry>, folder: &Path) {
    let mut count = 0;
    let mut pending = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}\\{}", entry.file_name().to_str().unwrap());
            let found = dump.get(&path).unwrap_or_else(|| panic!("{path} is missing"));
            count += 1;
            if entry.file_type().unwrap().is_dir() {
                assert!(found.is_directory);
                pending.push((entry.path(), path));
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                assert_eq!(found.streams[""], (bytes.len() as u64, Sha1Hash::of(&bytes)), "{path}");
            }
        }
    }
    assert_eq!(dump.len(), count + 1);
}

/// What `wimlib-imagex dir --detailed` says about each path.
pub(super) fn listing(place: &Place, wim: &str, index: usize) -> BTreeMap<String, Vec<String>> {
    let text = place.wimlib(&["dir", wim, &index.to_string(), "--detailed"]);
    let blocks = text.split("----------------------------------------------------------------------------\n");
    let mut found = BTreeMap::new();
    for block in blocks.filter(|block| block.contains("Full Path")) {
        let lines: Vec<String> = block.lines().map(|line| line.trim().to_owned()).collect();
        let path = lines[0].split_once('"').unwrap().1.trim_end_matches('"').replace('/', "\\");
        found.insert(path, lines);
    }
    found
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A dump says what wimlib's listing says.
pub(super) fn assert_same_listing(dump: &BTreeMap<String, Entry>, listing: &BTreeMap<String, Vec<String>>) {
    assert_eq!(dump.keys().collect::<Vec<_>>(), listing.keys().collect::<Vec<_>>());
    for (path, lines) in listing {
        let entry = &dump[path];
        let value = |key: &str| {
            let line = lines.iter().find(|line| line.starts_with(key))?;
            Some(line.split_once("= ")?.1.trim_matches('"').to_owned())
        };
        let attributes = entry.attributes
            | if entry.is_directory { attributes::DIRECTORY } else { 0 }
            | if entry.attributes == 0 && !entry.is_directory { attributes::NORMAL } else { 0 };
        assert_eq!(value("Attributes"), Some(format!("{attributes:#010x}")), "{path}");
        assert_eq!(value("Short Name"), Some(entry.short.clone().unwrap_or_default()), "{path}");
        assert_eq!(value("Security Descriptor"), entry.descriptor.as_deref().map(hex), "{path}");
        assert_eq!(value("Link Count"), Some(entry.links.max(1).to_string()), "{path}");
        assert_eq!(value("Reparse Tag"), entry.reparse.map(|(tag, _)| format!("{tag:#x}")), "{path}");
        let object_id = lines.iter().position(|line| line.starts_with("Object ID"));
        assert_eq!(object_id.is_some(), entry.object_id.is_some(), "{path}: {lines:?}");
        let mut streams = BTreeMap::new();
        let mut name = None;
        for line in lines {
            if line == "Unnamed data stream:" {
                name = Some(String::new());
            } else if let Some(rest) = line.strip_prefix("Named data stream \"") {
                name = Some(rest.trim_end_matches("\":").to_owned());
            } else if line == "Reparse point stream:" {
                name = Some("reparse".into());
            } else if let (Some(hash), Some(name)) = (line.strip_prefix("Hash              = 0x"), name.take()) {
                streams.insert(name, hash.to_owned());
            }
        }
        let nothing = Sha1Hash::of(&[]);
        let shown = |sha1: Sha1Hash| if sha1 == nothing { "0".repeat(40) } else { sha1.to_string() };
        let mut expected: BTreeMap<String, String> =
            entry.streams.iter().map(|(name, (_, sha1))| (name.clone(), shown(*sha1))).collect();
        expected.extend(entry.reparse.map(|(_, sha1)| ("reparse".into(), shown(sha1))));
        if entry.reparse.is_some() {
            expected.remove(""); // wimlib does not list it beside a reparse point
        }
        if entry.is_directory {
            // wimlib gives directories an empty main stream.
            assert!(streams.remove("").is_none_or(|hash| hash == "0".repeat(40)), "{path}");
        }
        assert_eq!(streams, expected, "{path}");
    }
}
