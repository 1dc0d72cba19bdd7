//! What will be made, and whether it can be.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::Notes;
use super::names::{Rules, host_name};
use crate::base::Name;
use crate::error::{Context, Error, Kind, Result};
use crate::image::lookup::{Found, sorted};
use crate::image::reparse::Target;
use crate::tree::{Content, Link, NodeId, Tree, attributes};

/// No path of Windows is longer, in UTF-16 units.
const LONGEST_PATH: usize = 32_767;

/// A file or folder that will be made.
pub(super) struct Item {
    /// The folder that it is in; nothing for the output folder.
    pub(super) parent: Option<u32>,
    pub(super) name: OsString,
    pub(super) node: NodeId,
    pub(super) what: What,
}

pub(super) enum What {
    Directory,
    /// A stream of the node, by its place among them; nothing for a file that has no main stream.
    File(Option<usize>),
    /// A named stream, to be put behind an earlier item where the host has such.
    Stream(usize, u32),
    /// Another name of an earlier item.
    HardLink(u32),
    /// A symbolic link to a path within the output folder, relative to the link's own.
    Symlink(PathBuf),
}

/// All of it, folders before what is in them.
pub(super) struct Plan<'t> {
    pub(super) tree: &'t Tree,
    pub(super) items: Vec<Item>,
    pub(super) notes: Notes,
}

/// What is still to be looked at: a link in a folder of the output.
struct Pending<'t> {
    link: &'t Link,
    parent: Option<u32>,
    /// The path in the image, for messages.
    path: String,
}

struct Planner<'t> {
    plan: Plan<'t>,
    /// The first item of each file that has several links.
    firsts: HashMap<NodeId, u32>,
    /// The names that are taken in each folder, as the host compares them.
    taken: HashSet<(Option<u32>, OsString)>,
    streams: bool,
    ignores_case: bool,
    /// Whether all of the image is copied, so that absolute links can be followed.
    whole: bool,
}

impl<'t> Plan<'t> {
    pub(super) fn new(tree: &'t Tree, found: &[Found<'t>], streams: bool, ignores_case: bool) -> Result<Self> {
        let plan = Self { tree, items: Vec::new(), notes: Notes::default() };
        let whole = found.iter().any(|found| found.link.is_none());
        let mut planner = Planner { plan, firsts: HashMap::new(), taken: HashSet::new(), streams, ignores_case, whole };
        for top in found {
            match top.link {
                Some(link) => planner.below(Pending { link, parent: None, path: top.path.clone() }, true)?,
                None => {
                    for link in sorted(tree, top.node) {
                        planner.below(Pending { link, parent: None, path: format!(r"\{}", link.name) }, false)?;
                    }
                }
            }
        }
        Ok(planner.plan)
    }

    /// How many bytes will be written.
    pub(super) fn bytes(&self) -> u64 {
        self.items.iter().filter_map(|item| self.content(item)).map(Content::len).fold(0, u64::saturating_add)
    }

    /// The stream that goes into a file.
    pub(super) fn content(&self, item: &Item) -> Option<&'t Content> {
        match item.what {
            What::File(Some(stream)) | What::Stream(stream, _) => {
                self.tree.node(item.node).streams.get(stream).map(|stream| &stream.content)
            }
            _ => None,
        }
    }

    /// Where an item goes.
    pub(super) fn path(&self, output: &Path, item: &Item) -> PathBuf {
        let mut names: Vec<&OsStr> = vec![&item.name];
        let mut parent = item.parent;
        while let Some(folder) = parent.and_then(|index| self.items.get(index as usize)) {
            names.push(&folder.name);
            parent = folder.parent;
        }
        let mut path = output.to_owned();
        path.extend(names.into_iter().rev());
        path
    }

    /// Looks for what is in the way, before anything is written.
    pub(super) fn check(&self, output: &Path, force: bool) -> Result<()> {
        let mut exists = vec![false; self.items.len()];
        for (index, item) in self.items.iter().enumerate() {
            // What is in a folder that is not there cannot be there either.
            if item.parent.is_some_and(|parent| !exists[parent as usize]) {
                continue;
            }
            let path = self.path(output, item);
            let in_the_way = |what: &str| Error::new(Kind::BadOutput, what).context(path.display());
            let metadata = match std::fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("cannot be looked at", e)).context(|| path.display()),
            };
            let wants_directory = matches!(item.what, What::Directory);
            match (wants_directory, metadata.is_dir()) {
                (true, true) => exists[index] = true,
                (true, false) => {
                    return Err(in_the_way("a file or symbolic link is where a folder has to go")
                        .hint("remove it, or choose another output"));
                }
                (false, true) => {
                    return Err(
                        in_the_way("a folder is where a file has to go").hint("remove it, or choose another output")
                    );
                }
                (false, false) if !force => {
                    return Err(
                        in_the_way("the output exists already").hint("choose another, or --force to replace it")
                    );
                }
                (false, false) => {}
            }
        }
        Ok(())
    }
}

impl<'t> Planner<'t> {
    /// Adds a link and all that is below it. `asked` says that a user named it, who is to be told if it cannot be had.
    fn below(&mut self, top: Pending<'t>, asked: bool) -> Result<()> {
        let mut pending = vec![top];
        let mut asked = asked;
        while let Some(next) = pending.pop() {
            let node = next.link.node;
            let added = self.add(&next, asked)?;
            asked = false;
            let Some(folder) = added else { continue };
            let children = sorted(self.plan.tree, node).into_iter().rev();
            pending.extend(children.map(|link| Pending {
                link,
                parent: Some(folder),
                path: format!(r"{}\{}", next.path, link.name),
            }));
        }
        Ok(())
    }

    /// Adds one item, and says which it is if it is a folder to be filled.
    fn add(&mut self, next: &Pending<'t>, asked: bool) -> Result<Option<u32>> {
        let tree = self.plan.tree;
        let node = tree.node(next.link.node);
        let Some(name) = self.name(next, asked)? else { return Ok(None) };
        if next.path.len() > LONGEST_PATH {
            self.plan.notes.add("left out, as its path is longer than any of Windows", || shortened(&next.path));
            return Ok(None);
        }
        if node.attributes & attributes::ENCRYPTED != 0 && !node.is_directory() {
            self.plan.notes.add("left out, as it is encrypted (EFS)", || next.path.clone());
            return Ok(None);
        }
        if let Some(reparse) = &node.reparse {
            match Target::read(tree, reparse).context(|| &next.path)? {
                Target::Other(tag) => {
                    let what = "its reparse point was left out";
                    self.plan.notes.add(what, || format!("{} ({})", next.path, Target::Other(tag)));
                }
                _ if !node.children().is_empty() => {
                    self.plan.notes.add("a link with files in it became a folder", || next.path.clone());
                }
                target => return self.link(next, name, &target).map(|()| None),
            }
        }
        if node.is_directory() {
            let folder = self.push(next, name.clone(), What::Directory)?;
            self.named_streams(next, &name, folder)?;
            return Ok(Some(folder));
        }
        if let Some(first) = self.firsts.get(&next.link.node) {
            let what = What::HardLink(*first);
            self.push(next, name, what)?;
            return Ok(None);
        }
        let main = node.streams.iter().position(|stream| stream.name.is_empty());
        let item = self.push(next, name.clone(), What::File(main))?;
        if node.links() > 1 {
            self.firsts.insert(next.link.node, item);
        }
        self.named_streams(next, &name, item)?;
        Ok(None)
    }

    fn push(&mut self, next: &Pending<'t>, name: OsString, what: What) -> Result<u32> {
        let index = u32::try_from(self.plan.items.len()).map_err(|_| Error::unsupported("more than 2^32 files"))?;
        self.plan.items.push(Item { parent: next.parent, name, node: next.link.node, what });
        Ok(index)
    }

    /// The name on the host, if it is free.
    fn name(&mut self, next: &Pending<'t>, asked: bool) -> Result<Option<OsString>> {
        let (name, changed) = host_name(&next.link.name, Rules::HOST);
        if !self.take(next.parent, &name) {
            if asked {
                return Err(Error::invalid("two files of one name for one folder")
                    .found(&next.path)
                    .hint("copy them one after the other into folders of their own"));
            }
            let what = "left out, as the host takes its name for that of another file of its folder";
            self.plan.notes.add(what, || next.path.clone());
            return Ok(None);
        }
        if changed {
            let what = "renamed, as the host cannot have its name";
            self.plan.notes.add(what, || format!("{} -> {}", next.path, name.display()));
        }
        Ok(Some(name))
    }

    fn take(&mut self, parent: Option<u32>, name: &OsStr) -> bool {
        let compared = match name.to_str() {
            Some(text) if self.ignores_case => text.to_uppercase().into(),
            _ => name.to_owned(),
        };
        self.taken.insert((parent, compared))
    }

    fn named_streams(&mut self, next: &Pending<'t>, name: &OsStr, owner: u32) -> Result<()> {
        let node = self.plan.tree.node(next.link.node);
        for (index, stream) in node.streams.iter().enumerate().filter(|(_, stream)| !stream.name.is_empty()) {
            let path = || format!("{}:{}", next.path, stream.name);
            if !self.streams {
                self.plan.notes.add("a named stream, left out (--streams copies them)", path);
                continue;
            }
            let mut whole = name.to_owned();
            whole.push(":");
            // On Windows this is the name of a stream, elsewhere that of a file.
            let rules =
                if cfg!(windows) { stream.name.to_string().into() } else { host_name(&stream.name, Rules::HOST).0 };
            whole.push(rules);
            let (whole, _) = if cfg!(windows) {
                (whole, false)
            } else {
                host_name(&Name::from(&*whole.to_string_lossy()), Rules::HOST)
            };
            if !self.take(next.parent, &whole) {
                self.plan.notes.add("a named stream, left out, as there is a file of that name", path);
                continue;
            }
            self.push(next, whole, What::Stream(index, owner))?;
        }
        Ok(())
    }

    /// A symbolic link, if it leads to a place in the output folder.
    fn link(&mut self, next: &Pending<'t>, name: OsString, target: &Target) -> Result<()> {
        match self.within(next, target) {
            Some(path) => self.push(next, name, What::Symlink(path)).map(|_| ()),
            None => {
                let what = "a link that leads out of the folder, left out";
                self.plan.notes.add(what, || format!("{} -> {target}", next.path));
                Ok(())
            }
        }
    }

    /// The target, relative to the link's folder, if it is in the output folder.
    fn within(&self, next: &Pending<'t>, target: &Target) -> Option<PathBuf> {
        let mut depth = 0usize;
        let mut parent = next.parent;
        while let Some(folder) = parent {
            depth += 1;
            parent = self.plan.items.get(folder as usize)?.parent;
        }
        let (text, from_root) = match target {
            Target::Relative(text) => (text.as_str(), text.starts_with('\\')),
            Target::Absolute(text) => match text.as_bytes() {
                [letter, b':', b'\\', ..] if letter.is_ascii_alphabetic() => (&text[2..], true),
                _ => return None, // a volume, or a share of the network
            },
            Target::Other(_) => return None,
        };
        if (from_root && !self.whole) || text.starts_with(r"\\") {
            return None;
        }
        // Names that `..` takes back are left out: one of them may be a link, from which the host would go up elsewhere.
        let mut up = if from_root { depth } else { 0 };
        let mut names = Vec::new();
        for part in text.split('\\').filter(|part| !part.is_empty() && *part != ".") {
            if part != ".." {
                names.push(host_name(&Name::from(part), Rules::HOST).0);
            } else if names.pop().is_none() {
                up += 1;
            }
        }
        if up > depth {
            return None;
        }
        let path: PathBuf = (0..up).map(|_| OsString::from("..")).chain(names).collect();
        Some(if path.as_os_str().is_empty() { PathBuf::from(".") } else { path })
    }
}

fn shortened(path: &str) -> String {
    let start: String = path.chars().take(100).collect();
    format!("{start}...")
}
