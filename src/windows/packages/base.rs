//! The base manifest: what packed manifests (DCM) are packed against.
//!
//! It is a resource of `wcp.dll`, of the servicing stack: type 614, name 1, an XML document of 9 KB with the parts that manifests have in common. It is the same in all
//! versions of Windows 10 and 11 whose servicing stack has been looked into, but a matter of the version: the newest stack's is taken.

use std::sync::Arc;

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, PeFile, PeFile32, PeFile64, ResourceDirectory, ResourceDirectoryEntryData};

use crate::error::{Context, Error, Result};
use crate::format::assembly::Version;
use crate::format::delta;
use crate::tree::Tree;

/// Where the component store is.
const STORE: &str = r"\Windows\WinSxS";
/// In the names of the folders of servicing stacks, behind the processor. It is short enough that nothing of it is left out.
const STACK: &str = "_microsoft-windows-servicingstack_";
const FILE: &str = "wcp.dll";
/// Where it was before Windows had it in the store alone.
const IN_SYSTEM: &str = r"\Windows\System32\wcp.dll";

/// The resource.
const TYPE: u16 = 614;
const NAME: u16 = 1;

/// A `wcp.dll` has 2 to 3 MB.
const MAX_FILE_LEN: usize = 64 << 20;
/// A base manifest has 9 KB.
const MAX_BASE_LEN: usize = 1 << 20;

/// The base manifest of a Windows: that of its newest servicing stack which has one. `None` if it has no servicing stack.
///
/// # Errors
/// Those of [`of_file`] for the newest, if none has one; those of reading.
pub fn find(tree: &Tree) -> Result<Option<Arc<[u8]>>> {
    let mut first = None;
    for path in candidates(tree) {
        let Some(bytes) = tree.read_file(&path)? else { continue };
        match of_file(&bytes).context(|| path) {
            Ok(base) => return Ok(Some(base)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(None), Err)
}

/// The files that may have it, the newest stack's first.
fn candidates(tree: &Tree) -> Vec<String> {
    let store = tree.find(STORE).map(|id| tree.node(id).children()).unwrap_or_default();
    let mut stacks: Vec<(Version, String)> =
        store.iter().map(|link| link.name.to_string()).filter_map(|name| Some((stack_version(&name)?, name))).collect();
    stacks.sort();
    let paths = stacks.into_iter().rev().map(|(_, name)| format!("{STORE}\\{name}\\{FILE}"));
    paths.chain([IN_SYSTEM.to_owned()]).collect()
}

/// The version of the servicing stack of which this is the folder: `processor_name_token_version_culture_hash`.
fn stack_version(folder: &str) -> Option<Version> {
    let folder = folder.to_ascii_lowercase();
    let (_, rest) = folder.split_once(STACK)?;
    Version::parse(rest.split('_').nth(1)?)
}

/// The base manifest in a `wcp.dll`, packed (DCS) or not; or `bytes` themselves if they are one.
///
/// # Errors
/// [`Corrupt`](crate::error::Kind::Corrupt) or [`Unsupported`](crate::error::Kind::Unsupported) for other files.
pub fn of_file(bytes: &[u8]) -> Result<Arc<[u8]>> {
    let bytes = delta::unpack(bytes, None, MAX_FILE_LEN)?;
    let base = if bytes.starts_with(b"MZ") {
        let found = match PeFile64::parse(&*bytes) {
            Ok(file) => resource(&file),
            Err(_) => PeFile32::parse(&*bytes).ok().and_then(|file| resource(&file)),
        };
        found.ok_or_else(|| {
            Error::corrupt("a program without a base manifest")
                .allowed("wcp.dll of a servicing stack: resource 1 of type 614")
        })?
    } else {
        &bytes
    };
    if !is_document(base) {
        return Err(Error::corrupt("no base manifest").allowed("wcp.dll of a servicing stack, or the document in it"));
    }
    if base.len() > MAX_BASE_LEN {
        return Err(Error::unsupported("size of a base manifest").found(base.len()).allowed(MAX_BASE_LEN));
    }
    Ok(base.into())
}

/// It begins like a document; all of it is none, since what manifests have in common follows in pieces.
fn is_document(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).starts_with(b"<?xml")
}

/// The first resource of its type and name, whatever its language.
fn resource<'data, Pe: ImageNtHeaders>(file: &PeFile<'data, Pe>) -> Option<&'data [u8]> {
    let (data, sections) = (file.data(), file.section_table());
    let resources: ResourceDirectory<'data> = file.data_directories().resource_directory(data, &sections).ok()??;
    let mut table = resources.root().ok()?;
    for id in [TYPE, NAME] {
        let entry = table.entries.iter().find(|entry| entry.name_or_id().id() == Some(id))?;
        table = entry.data(resources).ok()?.table()?;
    }
    let ResourceDirectoryEntryData::Data(entry) = table.entries.first()?.data(resources).ok()? else { return None };
    let bytes = sections.pe_data_at(data, entry.offset_to_data.get(LE))?;
    bytes.get(..entry.size.get(LE) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{FileTime, Name};
    use crate::error::Kind;
    use crate::tree::{Content, Link, Node, Times};
    use crate::windows::program_sample::with_resource;

    const BASE: &[u8] = b"<?xml version=\"1.0\"?><assembly>";

    /// A stack with nothing but a base manifest.
    fn wcp(base: &[u8]) -> Vec<u8> {
        with_resource(614, 1, base)
    }

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let times = Times::all(FileTime(0));
        let mut tree = Tree::new(Node::directory(0, times));
        for (path, bytes) in files {
            let mut folder = tree.root();
            for (name, is_last) in path.split('\\').zip(1..).map(|(name, n)| (name, n == path.split('\\').count())) {
                let units: Vec<u16> = name.encode_utf16().collect();
                if let Some(link) = tree.child(folder, &units) {
                    folder = link.node;
                    continue;
                }
                let node = match is_last {
                    true => Node::file(0, times, Content::Bytes((*bytes).into())),
                    false => Node::directory(0, times),
                };
                let node = tree.add_node(node).unwrap();
                tree.add_link(folder, Link { name: Name::from(name), short: None, node }).unwrap();
                folder = node;
            }
        }
        tree
    }

    fn stack(version: &str) -> String {
        format!(
            r"Windows\WinSxS\amd64_microsoft-windows-servicingstack_31bf3856ad364e35_{version}_none_0123456789abcdef\wcp.dll"
        )
    }

    #[test]
    fn the_resource_is_found() {
        assert_eq!(*of_file(&wcp(BASE)).unwrap(), *BASE);
        assert_eq!(*of_file(BASE).unwrap(), *BASE);
        for wrong in [&b""[..], b"MZ", b"text", &wcp(b"not a document")] {
            assert_eq!(of_file(wrong).unwrap_err().kind(), Kind::Corrupt);
        }
    }

    #[test]
    fn the_newest_stack_counts() {
        let newer = wcp(b"<?xml newer");
        let (old, new, newest) = (stack("10.0.9000.1"), stack("10.0.14393.0"), stack("10.0.14393.2000"));
        let file = wcp(BASE);
        assert!(find(&tree(&[])).unwrap().is_none());
        let one = tree(&[(&old, &file)]);
        assert_eq!(*find(&one).unwrap().unwrap(), *BASE);
        let two = tree(&[(&new, &newer), (&old, &file)]);
        assert_eq!(*find(&two).unwrap().unwrap(), *b"<?xml newer");
        let three = tree(&[(&newest, b"DCD\x01"), (&new, &newer), (&old, &file)]);
        assert_eq!(*find(&three).unwrap().unwrap(), *b"<?xml newer");
        let broken = tree(&[(&newest, b"DCD\x01"), (&new, b"MZ")]);
        let error = find(&broken).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("14393.2000"), "{error}");
        let system = tree(&[(r"Windows\System32\wcp.dll", &file)]);
        assert_eq!(*find(&system).unwrap().unwrap(), *BASE);
    }

    #[test]
    fn hostile_programs_are_survived() {
        let good = wcp(BASE);
        // The section is filled up behind its data.
        let end = good.iter().rposition(|byte| *byte != 0).unwrap();
        for len in 0..=end {
            assert!(of_file(&good[..len]).is_err(), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = of_file(&bytes);
        }
    }
}
