//! `nanovhd ls`.

use std::fmt::Write as _;
use std::io::Write;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::args::Ls;
use super::{Env, output};
use crate::base::sddl;
use crate::error::{Context, Error, Result};
use crate::image::Source;
use crate::image::lookup::{self, Found};
use crate::image::reparse::Target;
use crate::tree::{Content, Link, NodeId, Tree, attributes};

/// Behind `nanovhd ls --help`.
pub(super) const HELP: &str = "\
A long listing has a line for each name: attributes, size, modification time (UTC), links, short name, name. Letters of attributes:
  D directory       R read-only    H hidden         S system       A archive      I not content indexed
  L reparse point   C compressed   P sparse         E encrypted    O offline      T temporary
Named streams follow on lines of their own. Sizes are of the main stream.";

/// The letters of a long listing, in their columns, as Windows' own tools have them.
const LETTERS: [(u32, char); 12] = [
    (attributes::DIRECTORY, 'D'),
    (attributes::READ_ONLY, 'R'),
    (attributes::HIDDEN, 'H'),
    (attributes::SYSTEM, 'S'),
    (attributes::ARCHIVE, 'A'),
    (attributes::NOT_CONTENT_INDEXED, 'I'),
    (attributes::REPARSE_POINT, 'L'),
    (attributes::COMPRESSED, 'C'),
    (attributes::SPARSE, 'P'),
    (attributes::ENCRYPTED, 'E'),
    (0x1000, 'O'),
    (0x100, 'T'),
];

pub(super) fn run(command: &Ls, json: bool, env: &mut Env<'_>) -> Result<()> {
    let source = command.source.open(env)?;
    let paths: Vec<&str> =
        if command.paths.is_empty() { vec![""] } else { command.paths.iter().map(String::as_str).collect() };
    let find = |path: &&str| lookup::find_all(&source.tree, path).context(|| source.name.clone());
    let found: Vec<Found<'_>> = paths.iter().map(find).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let listing = Listing { source: &source, found: &found, command };
    if json {
        return output::json(env, &listing);
    }
    listing.print(env.stdout)
}

struct Listing<'a> {
    source: &'a Source,
    found: &'a [Found<'a>],
    command: &'a Ls,
}

enum Item<'a> {
    /// Whose contents come next.
    Directory(&'a Found<'a>),
    Name(Entry<'a>),
}

/// What is listed: a name at a path.
struct Entry<'a> {
    path: &'a str,
    link: Option<&'a Link>,
    node: NodeId,
}

impl Listing<'_> {
    /// Shows all that is to be listed: a file itself, of a directory what is in it.
    fn visit<E>(&self, mut show: impl FnMut(Item<'_>) -> std::result::Result<(), E>) -> std::result::Result<(), E> {
        let tree = &self.source.tree;
        let is_directory = |found: &&Found<'_>| tree.node(found.node).is_directory();
        for found in self.found.iter().filter(|found| !is_directory(found)) {
            show(Item::Name(Entry { path: &found.path, link: found.link, node: found.node }))?;
        }
        for found in self.found.iter().filter(is_directory) {
            show(Item::Directory(found))?;
            if self.command.recursive {
                lookup::walk(tree, found, |path, link| {
                    show(Item::Name(Entry { path, link: Some(link), node: link.node }))
                })?;
                continue;
            }
            for link in lookup::sorted(tree, found.node) {
                let child = found.child(link);
                show(Item::Name(Entry { path: &child.path, link: Some(link), node: link.node }))?;
            }
        }
        Ok(())
    }

    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let several = self.found.len() > 1 && !self.command.recursive;
        let mut text = String::new();
        // What ends the listing: an error, or (`None`) a reader who went away.
        let ended = self.visit::<Option<Error>>(|item| {
            text.clear();
            match item {
                Item::Name(entry) => self.entry(&entry, &mut text),
                Item::Directory(found) if several => text = format!("\n{}:\n", found.path),
                Item::Directory(_) => {}
            }
            match output::raw(out, text.as_bytes()) {
                Ok(true) => Ok(()),
                Ok(false) => Err(None),
                Err(error) => Err(Some(error)),
            }
        });
        match ended {
            Err(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn entry(&self, entry: &Entry<'_>, text: &mut String) {
        // What was asked for by its path, and what lies deeper, is named by its path.
        let name = match entry.link {
            Some(link) if !self.command.recursive => link.name.to_string(),
            _ => entry.path.to_owned(),
        };
        if !self.command.long && !self.command.security {
            let _ = writeln!(text, "{name}");
            return;
        }
        let file = File::new(self.source, entry, self.command.security);
        let size = if file.directory { "-".into() } else { file.bytes.to_string() };
        let short = file.short_name.as_deref().unwrap_or("");
        let modified = output::time(self.source.tree.node(entry.node).times.modified);
        let _ = write!(text, "{} {size:>13} {modified} {:>3} {short:<12} {name}", file.letters, file.links);
        if let Some(target) = &file.target {
            let _ = write!(text, " -> {target}");
        }
        text.push('\n');
        for stream in &file.streams {
            let _ = writeln!(text, "{:26} {name}:{}", stream.bytes, stream.name);
        }
        if let Some(security) = &file.security {
            let _ = writeln!(text, "{:12} {}", "", security.words());
        }
    }
}

/// Everything that JSON tells of a name.
#[derive(Serialize)]
struct File {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_name: Option<String>,
    directory: bool,
    bytes: u64,
    attributes: u32,
    letters: String,
    created: String,
    modified: String,
    changed: String,
    accessed: String,
    links: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reparse_tag: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    streams: Vec<NamedStream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<Security>,
}

#[derive(Serialize)]
struct NamedStream {
    name: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Security {
    /// The owner's identifier.
    owner: Option<String>,
    /// The whole descriptor.
    sddl: Option<String>,
}

impl Security {
    fn of(tree: &Tree, node: NodeId) -> Self {
        let descriptor = tree.node(node).descriptor.map(|id| &*tree.descriptors()[id.index()]);
        Self { owner: descriptor.and_then(sddl::owner), sddl: descriptor.and_then(sddl::to_text) }
    }

    fn words(&self) -> String {
        let owner = self.owner.as_deref().map_or("no owner", |owner| sddl::account(owner).unwrap_or(owner));
        format!("{owner}  {}", self.sddl.as_deref().unwrap_or("no security descriptor that makes sense"))
    }
}

impl File {
    fn new(source: &Source, entry: &Entry<'_>, security: bool) -> Self {
        let tree = &source.tree;
        let node = tree.node(entry.node);
        let set = node.attributes | if node.is_directory() { attributes::DIRECTORY } else { 0 };
        let target = node.reparse.as_ref().map(|reparse| match Target::read(tree, reparse) {
            Ok(target) => target.to_string(),
            Err(error) => format!("(unreadable: {error})"),
        });
        let named = node.streams.iter().filter(|stream| !stream.name.is_empty());
        Self {
            path: entry.path.to_owned(),
            short_name: entry.link.and_then(|link| link.short.as_ref()).map(ToString::to_string),
            directory: node.is_directory(),
            bytes: node.main().map_or(0, Content::len),
            attributes: set,
            letters: LETTERS.iter().map(|(bit, letter)| if set & bit != 0 { *letter } else { '-' }).collect(),
            created: node.times.created.to_string(),
            modified: node.times.modified.to_string(),
            changed: node.times.changed.to_string(),
            accessed: node.times.accessed.to_string(),
            links: node.links(),
            reparse_tag: node.reparse.as_ref().map(|reparse| reparse.tag),
            target,
            streams: named.map(|s| NamedStream { name: s.name.to_string(), bytes: s.content.len() }).collect(),
            security: security.then(|| Security::of(tree, entry.node)),
        }
    }
}

impl Serialize for Listing<'_> {
    /// A list of files, written as the walk comes to them: a whole Windows has some hundred thousand.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        self.visit(|item| match item {
            Item::Name(entry) => list.serialize_element(&File::new(self.source, &entry, self.command.security)),
            Item::Directory(_) => Ok(()),
        })?;
        list.end()
    }
}
