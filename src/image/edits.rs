//! What a user wants changed about the files of an image: the same for `build` and `edit`.
//!
//! Edits are made in one order, whatever the order of the arguments: deletions, then copies, then packages, then the registry, then drivers,
//! each kind in the order in which it was asked for, and last what makes it a [machine of its own](setup). So a file can be deleted and put
//! there afresh, and a hive that was copied is the one that packages, `.reg` files and drivers change. A `.reg` file has the last word on
//! what a package sets; a driver ranks above one that came with a package.
//!
//! # What a copy is like
//!
//! | | a new file or directory | a file that was there |
//! |---|---|---|
//! | times | the timestamp of the recipe, all four: those of the host differ from checkout to checkout | modified, changed and read: the timestamp; made: kept |
//! | security descriptor | what its directory gives to new files ([`base::inherit`](crate::base::inherit)) | kept |
//! | attributes | ARCHIVE for files; what directories hand down (compressed, not indexed) | kept, and ARCHIVE |
//! | short name | none | kept |
//! | named streams, extended attributes | none | gone, as with Windows' `copy` |
//! | object id, other hard links | none | kept: all names show the new contents, as in Windows |
//!
//! A directory that was there is kept as it is and added to. The times of directories in which something comes or goes stay, so
//! that a comparison shows what was asked for and nothing else. Names are compared as Windows does, without regard to case.
//!
//! Nothing is written through reparse points (junctions, symbolic links): where they lead is known to the running system only.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::driver_source::DriverSource;
use super::host::InputFile;
use super::host_files::HostFiles;
use super::package_source::PackageSource;
use crate::base::name::windows_fault;
use crate::base::{FileTime, Name, ReadAt, inherit, upcase};
use crate::error::{Context, Error, Kind, Result};
use crate::format::reg;
use crate::tree::{BlobId, Content, Link, Node, NodeId, StoreId, Stream, Times, Tree, attributes};
use crate::windows::regedit;
use crate::windows::setup::{self, Setup};

mod drivers;
mod packages;
mod step;

pub use packages::{Fit, Judged, PackageStep, Preview, Route, ServicingStack, Terms, Way, preview};
pub use step::Step;

/// The deepest folder of the host that is copied.
const MAX_DEPTH: usize = 256;

/// What drivers without a proper signature come with.
pub(super) const TEST_SIGNING: &str =
    "Windows loads some of these drivers only when it is set to test signing, with Secure Boot off";
/// The same for an image whose boot store stays as it is.
pub(super) const TEST_SIGNING_LATER: &str = "Windows loads some of these drivers only when it is set to test signing, with Secure Boot \
     off: build with --test-signing, or say `bcdedit /set testsigning on` in the machine";

/// All that is to be changed.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Paths of files and directories to delete.
    pub delete: Vec<String>,
    /// Files and folders to put in.
    pub copy: Vec<CopyIn>,
    /// Changes of the registry.
    pub registry: Vec<RegFile>,
    /// Driver packages that go, by the names that Windows gave them: `oem3.inf`.
    pub remove_drivers: Vec<String>,
    /// Where drivers come from.
    pub drivers: Vec<DriverSource>,
    /// Whether drivers are taken that Windows does not load unless it is set to test signing, and packages that Microsoft has not signed.
    pub allow_unsigned: bool,
    /// Packages that go, by their ids or names.
    pub remove_packages: Vec<String>,
    /// Where packages come from.
    pub packages: Vec<PackageSource>,
    /// Which way they go in.
    pub package_route: Route,
    /// Whether packages go in without regard to what they say of their parents.
    pub ignore_check: bool,
    /// What packed manifests are packed against, for images without a servicing stack of their own.
    pub servicing_stack: Option<ServicingStack>,
    /// What makes it a machine of its own.
    pub setup: Setup,
}

/// A file or folder of the host and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyIn {
    source: PathBuf,
    /// Whether it is not the folder but what is in it.
    contents: bool,
    /// The names of the target's path.
    target: Vec<String>,
    /// Whether the target is a directory that the source goes into under its own name.
    into: bool,
}

/// A `.reg` file, read.
#[derive(Debug, Clone)]
pub struct RegFile {
    path: PathBuf,
    bytes: Vec<u8>,
    sections: Vec<reg::Section>,
}

/// What came of [`Edits::apply`].
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// What was done, in its order.
    pub steps: Vec<Step>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
    /// Whether the image holds secrets now: see [`Control::keep_private`](super::Control::keep_private).
    pub private: bool,
    /// Whether drivers were put in that Windows loads only when it is set to test signing.
    pub needs_test_signing: bool,
    /// How many free bytes the first start takes, for the packages that it installs.
    pub first_start_bytes: u64,
}

impl CopyIn {
    /// A copy as it is typed: `SOURCE` or `SOURCE=TARGET`, parted at the last `=`.
    ///
    /// Without a target, or with one that ends in a separator, the source goes into that directory (without: the root) under its
    /// own name; else the target is what the source becomes. A file whose target is a directory that exists goes into it. A
    /// source that ends in a separator is what is in that folder.
    pub fn parse(text: &str) -> Result<Self> {
        let (source, target) = text.rsplit_once('=').unwrap_or((text, "\\"));
        if source.is_empty() {
            return Err(Error::invalid("a copy without a source")
                .found(format_args!("{text:?}"))
                .allowed("SOURCE or SOURCE=TARGET"));
        }
        let target = if target.is_empty() { "\\" } else { target };
        let contents = source.ends_with(std::path::is_separator);
        let into = target.ends_with(['\\', '/']) && !contents;
        Ok(Self { source: source.into(), contents, target: names_of(target)?, into })
    }
}

impl CopyIn {
    /// The same copy with some text replaced in both paths.
    pub fn replaced(&self, what: &str, with: &str) -> Result<Self> {
        let target: Vec<String> = self.target.iter().map(|name| name.replace(what, with)).collect();
        target.iter().try_for_each(|name| check_name(name))?;
        Ok(Self { source: replaced_in_path(&self.source, what, with), target, ..*self })
    }
}

/// A path with some text replaced in it; one that is not Unicode stays as it is.
pub fn replaced_in_path(path: &Path, what: &str, with: &str) -> PathBuf {
    path.to_str().map_or_else(|| path.to_owned(), |text| text.replace(what, with).into())
}

impl RegFile {
    /// Reads a file of the host.
    pub fn open(path: &Path) -> Result<Self> {
        let file = InputFile::open(path)?;
        let len = usize::try_from(file.len()).ok().filter(|len| *len <= reg::MAX_FILE);
        let len = len.ok_or_else(|| {
            Error::unsupported("size of a .reg file").found(file.len()).allowed(reg::MAX_FILE).context(path.display())
        })?;
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)?;
        let sections = reg::parse(&bytes).context(|| path.display())?;
        Ok(Self { path: path.to_owned(), bytes, sections })
    }
}

impl Edits {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty()
            && self.copy.is_empty()
            && self.registry.is_empty()
            && !self.has_packages()
            && !self.has_drivers()
            && self.setup.is_empty()
    }

    /// What tells these edits from others, apart from the contents of files, which have not been read, and from secrets: part of a
    /// disk's identity.
    pub fn fingerprint(&self) -> Vec<Vec<u8>> {
        let deletions = self.delete.iter().map(|path| [b"delete ", path.as_bytes()].concat());
        let copies = self.copy.iter().map(|copy| {
            let name = copy.source.file_name().unwrap_or_default().to_string_lossy();
            format!("copy {name} {} {} {}", copy.contents, copy.into, copy.target.join("\\")).into_bytes()
        });
        let registry = self.registry.iter().map(|file| [b"registry ", file.bytes.as_slice()].concat());
        deletions
            .chain(copies)
            .chain(registry)
            .chain(self.packages_fingerprint())
            .chain(self.drivers_fingerprint())
            .chain(self.setup.fingerprint())
            .collect()
    }

    /// Makes all edits in the tree; what is made is made at `now`. Nothing of the host's files is read yet but their names and lengths.
    pub fn apply(&self, tree: &mut Tree, now: FileTime) -> Result<Applied> {
        let mut steps = Vec::new();
        for path in &self.delete {
            steps.push(delete(tree, path)?);
        }
        if !self.copy.is_empty() {
            let mut copier = Copier::new(tree, Some(now));
            for copy in &self.copy {
                steps.push(copier.copy(copy).context(|| copy.source.display())?);
            }
            copier.finish();
        }
        let of_packages = self.apply_packages(tree, now)?;
        steps.extend(of_packages.steps);
        for file in &self.registry {
            let hives = regedit::apply(tree, &file.sections, now).context(|| file.path.display())?;
            steps.push(Step::Registry { source: file.path.display().to_string(), hives });
        }
        let drivers::Outcome { steps: of_drivers, mut warnings, needs_test_signing } = self.apply_drivers(tree, now)?;
        steps.extend(of_drivers);
        warnings.splice(0..0, of_packages.warnings);
        let mut setup = self.setup.clone();
        setup.first_start.splice(0..0, of_packages.first_start);
        let setup::Report { done, warnings: of_setup, holds_secrets } = setup.apply(tree, now)?;
        warnings.extend(of_setup);
        steps.extend(done.into_iter().map(|what| Step::SetUp { what }));
        if holds_secrets {
            let what =
                "the new file is for its owner only, because it holds secrets until the machine has started once";
            steps.push(Step::SetUp { what: what.into() });
        }
        let first_start_bytes = of_packages.first_start_bytes;
        Ok(Applied { steps, warnings, private: holds_secrets, needs_test_signing, first_start_bytes })
    }
}

/// What is to be said if the first start needs more room than there is.
pub(super) fn little_room(needed: u64, free: u64) -> Option<String> {
    (needed > free).then(|| {
        format!(
            "the packages that are left to the first start need some {} MiB of free space then, and the volume has {} MiB: make the disk \
             larger (--size of `nanovhd build`), or they will fail",
            needed.div_ceil(1 << 20),
            free >> 20
        )
    })
}

/// A tree of all that is in a folder of the host. Files and directories have the time of their last modification, in all four places, and
/// no more metadata; links of the host are followed.
pub fn tree_of(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::new(Node::directory(0, times_of(folder)?));
    let root = tree.root();
    let mut copier = Copier::new(&mut tree, None);
    copier.folder(folder, root, &mut Vec::new())?;
    copier.finish();
    Ok(tree)
}

fn times_of(path: &Path) -> Result<Times> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|e| Error::io("cannot be looked at", e)).context(|| path.display())?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).ok().and_then(FileTime::from_unix);
    let ticks = u64::from(since.subsec_nanos()) / 100;
    Ok(Times::all(seconds.map_or(FileTime::default(), |time| FileTime(time.0.saturating_add(ticks)))))
}

/// The names of a path in the image, with or without `C:`, each one that Windows can have.
fn names_of(path: &str) -> Result<Vec<String>> {
    let below = path.get(..2).filter(|drive| drive.eq_ignore_ascii_case("C:")).map_or(path, |_| &path[2..]);
    let names = below.split(['\\', '/']).filter(|name| !name.is_empty());
    names.map(|name| check_name(name).map(|()| name.to_owned())).collect::<Result<_>>().context(|| path)
}

fn check_name(name: &str) -> Result<()> {
    windows_fault(name).map_or(Ok(()), |why| {
        Err(Error::invalid("not a name that Windows takes").found(format_args!("{name:?}")).allowed(why))
    })
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn joined(names: &[String]) -> String {
    format!("\\{}", names.join("\\"))
}

fn delete(tree: &mut Tree, path: &str) -> Result<Step> {
    let parts: Vec<&str> =
        path.split(['\\', '/']).filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("C:")).collect();
    let [folders @ .., name] = parts.as_slice() else {
        return Err(Error::invalid("the root directory cannot be deleted"));
    };
    let missing = |what: &str| {
        Error::invalid(format_args!("cannot delete {path}: there is no {what}"))
            .hint("`nanovhd ls -R` lists what there is")
    };
    let mut directory = tree.root();
    for (depth, folder) in folders.iter().enumerate() {
        let found = tree.child(directory, &units(folder)).map(|link| link.node);
        directory = found
            .filter(|node| tree.node(*node).is_directory())
            .ok_or_else(|| missing(&format!("\\{}", parts[..=depth].join("\\"))))?;
    }
    let link = tree.child(directory, &units(name)).ok_or_else(|| missing(&format!("\\{}", parts.join("\\"))))?;
    let name = link.name.clone();
    let names = tree.remove_tree(directory, name.units())?;
    Ok(Step::Deleted { path: format!("\\{}", parts.join("\\")), names })
}

/// Puts files of the host into a tree.
struct Copier<'t> {
    tree: &'t mut Tree,
    files: HostFiles,
    /// Contents that wait for the store's id: the store joins the tree when it has all its files.
    waiting: HashMap<NodeId, (BlobId, u64)>,
    /// What is made is made now; without it, it keeps the time that it has on the host.
    now: Option<FileTime>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    files: u64,
    directories: u64,
    bytes: u64,
    replaced: u64,
    other_names: u64,
}

impl<'t> Copier<'t> {
    fn new(tree: &'t mut Tree, now: Option<FileTime>) -> Self {
        Self { tree, files: HostFiles::default(), waiting: HashMap::new(), now, tally: Tally::default() }
    }

    fn copy(&mut self, copy: &CopyIn) -> Result<Step> {
        let is_folder = fs::metadata(&copy.source).map_err(|e| Error::io("cannot be opened", e))?.is_dir();
        if copy.contents && !is_folder {
            return Err(Error::invalid("not a folder, although it ends in a separator"));
        }
        let mut target = copy.target.clone();
        let is_taken =
            |target: &[String]| self.tree.find(&joined(target)).is_some_and(|node| self.tree.node(node).is_directory());
        if copy.into || (!is_folder && is_taken(&target)) {
            target.push(own_name(&copy.source)?);
        }
        self.tally = Tally::default();
        match target.split_last() {
            _ if is_folder => {
                let directory = self.directories(&target)?;
                self.folder(&copy.source, directory, &mut Vec::new())?;
            }
            Some((name, folders)) => {
                let directory = self.directories(folders)?;
                self.file(&copy.source, directory, name)?;
            }
            None => return Err(Error::invalid("a file that is to become the root directory")),
        }
        let Tally { files, directories, bytes, replaced, other_names } = self.tally;
        Ok(Step::Copied {
            source: copy.source.display().to_string(),
            target: joined(&target),
            files,
            directories,
            bytes,
            replaced,
            other_names,
        })
    }

    /// The directory at a path, made where it is not there.
    fn directories(&mut self, names: &[String]) -> Result<NodeId> {
        names.iter().try_fold(self.tree.root(), |parent, name| match self.existing_directory(parent, name)? {
            Some(directory) => Ok(directory),
            None => {
                let node = self.new_directory(parent, Times::all(self.now.unwrap_or_default()))?;
                self.tree.add_link(parent, Link { name: name.as_str().into(), short: None, node })?;
                Ok(node)
            }
        })
    }

    fn existing_directory(&self, parent: NodeId, name: &str) -> Result<Option<NodeId>> {
        let Some(link) = self.tree.child(parent, &units(name)) else { return Ok(None) };
        let node = self.tree.node(link.node);
        if !node.is_directory() {
            return Err(Error::invalid("a file stands where a directory must be").found(&link.name));
        }
        refuse_reparse(node, &link.name)?;
        Ok(Some(link.node))
    }

    /// The times of what is copied from `source`.
    fn times(&self, source: &Path) -> Result<Times> {
        self.now.map_or_else(|| times_of(source), |now| Ok(Times::all(now)))
    }

    fn new_directory(&mut self, parent: NodeId, times: Times) -> Result<NodeId> {
        self.tally.directories += 1;
        let node = Node::directory(self.handed_down(parent), times);
        self.add(parent, node)
    }

    /// Attributes that new files take over from their directory.
    fn handed_down(&self, parent: NodeId) -> u32 {
        self.tree.node(parent).attributes & (attributes::COMPRESSED | attributes::NOT_CONTENT_INDEXED)
    }

    /// Adds a node with the descriptor that its directory gives to new ones.
    fn add(&mut self, parent: NodeId, mut node: Node) -> Result<NodeId> {
        let parent = self.tree.node(parent).descriptor.map(|id| Arc::clone(&self.tree.descriptors()[id.index()]));
        let made = parent.and_then(|parent| inherit::inherit(&parent, node.is_directory()));
        node.descriptor = made.map(|bytes| self.tree.add_descriptor(&bytes));
        self.tree.add_node(node)
    }

    /// What is in a folder of the host, into a directory. `above` are the folders on the way, by which a loop of links is noticed.
    fn folder(&mut self, source: &Path, directory: NodeId, above: &mut Vec<PathBuf>) -> Result<()> {
        let itself =
            source.canonicalize().map_err(|e| Error::io("cannot be opened", e)).context(|| source.display())?;
        if above.contains(&itself) || above.len() >= MAX_DEPTH {
            return Err(Error::invalid("a folder that contains itself through a link, or too deep a one")
                .context(source.display()));
        }
        above.push(itself);
        let fresh = self.tree.node(directory).children().is_empty();
        let mut links = Vec::new();
        for (name, path) in listing(source)? {
            let is_folder =
                fs::metadata(&path).map_err(|e| Error::io("cannot be opened", e)).context(|| path.display())?.is_dir();
            let name = name.as_str();
            match (is_folder, fresh) {
                (true, true) => {
                    let node = self.new_directory(directory, self.times(&path)?)?;
                    links.push(Link { name: name.into(), short: None, node });
                    self.folder(&path, node, above)?;
                }
                (false, true) => {
                    let node = self.new_file(&path, directory)?;
                    links.push(Link { name: name.into(), short: None, node });
                }
                (true, false) => {
                    let known = self.existing_directory(directory, name).context(|| path.display())?;
                    let node = match known {
                        Some(node) => node,
                        None => {
                            let node = self.new_directory(directory, self.times(&path)?)?;
                            self.tree.add_link(directory, Link { name: name.into(), short: None, node })?;
                            node
                        }
                    };
                    self.folder(&path, node, above)?;
                }
                (false, false) => self.file(&path, directory, name).context(|| path.display())?,
            }
        }
        if fresh {
            self.tree.set_children(directory, links)?; // at once: one by one takes quadratic time
        }
        above.pop();
        Ok(())
    }

    fn file(&mut self, source: &Path, directory: NodeId, name: &str) -> Result<()> {
        match self.tree.child(directory, &units(name)).cloned() {
            Some(link) => self.replace(source, &link),
            None => {
                let node = self.new_file(source, directory)?;
                self.tree.add_link(directory, Link { name: name.into(), short: None, node })
            }
        }
    }

    fn new_file(&mut self, source: &Path, directory: NodeId) -> Result<NodeId> {
        let attributes = attributes::ARCHIVE | self.handed_down(directory);
        let node = self.add(directory, Node::file(attributes, self.times(source)?, Content::empty()))?;
        self.fill(node, source)?;
        Ok(node)
    }

    fn replace(&mut self, source: &Path, link: &Link) -> Result<()> {
        let times = self.times(source)?;
        let node = self.tree.node_mut(link.node);
        if node.is_directory() {
            return Err(Error::invalid("a directory stands where a file must go").found(&link.name));
        }
        refuse_reparse(node, &link.name)?;
        node.streams = vec![Stream { name: Name::default(), content: Content::empty(), sparse: false }];
        node.extended.clear();
        node.attributes = node.attributes & !attributes::SPARSE | attributes::ARCHIVE;
        node.times = Times { created: node.times.created, ..times };
        self.tally.replaced += 1;
        self.tally.other_names += u64::from(node.links().saturating_sub(1));
        self.fill(link.node, source)
    }

    fn fill(&mut self, node: NodeId, source: &Path) -> Result<()> {
        let (blob, len) = self.files.add(source)?;
        self.tally.files += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(len);
        match len {
            0 => self.waiting.remove(&node), // of an earlier copy to the same place
            _ => self.waiting.insert(node, (blob, len)),
        };
        Ok(())
    }

    /// Makes the store known to the tree, and what it holds the contents of the nodes.
    fn finish(self) {
        let store: StoreId = self.tree.add_store(Arc::new(self.files));
        for (node, (blob, len)) in self.waiting {
            let streams = &mut self.tree.node_mut(node).streams;
            streams.iter_mut().for_each(|stream| stream.content = Content::Blob { store, blob, len });
        }
    }
}

fn refuse_reparse(node: &Node, name: &Name) -> Result<()> {
    if node.reparse.is_none() {
        return Ok(());
    }
    Err(Error::invalid("a junction or link of the image is in the way")
        .found(name)
        .hint("name the path that it leads to, or delete it first"))
}

/// The last name of a source's path, as a name of the image.
fn own_name(source: &Path) -> Result<String> {
    let name = source.canonicalize().ok().and_then(|path| path.file_name().map(|name| name.to_owned()));
    // What was typed wins where it has a name: a link is copied under the link's.
    let name = source.file_name().map(|name| name.to_owned()).or(name);
    let name =
        name.ok_or_else(|| Error::invalid("a source without a name").hint("say what it is to become: SOURCE=TARGET"))?;
    text_of(&name)
}

fn text_of(name: &std::ffi::OsStr) -> Result<String> {
    let text =
        name.to_str().ok_or_else(|| Error::invalid("a file name that is no text").found(format_args!("{name:?}")))?;
    check_name(text)?;
    Ok(text.to_owned())
}

/// What is in a folder, sorted by name, so that every host gives the same order. Names that are one to Windows are refused.
fn listing(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |e| Error::new(Kind::Io, format_args!("the folder cannot be listed: {e}")).context(folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        found.push((text_of(&entry.file_name()).context(|| folder.display())?, entry.path()));
    }
    let mut keyed: Vec<(Vec<u16>, (String, PathBuf))> =
        found.into_iter().map(|entry| (units(&entry.0), entry)).collect();
    keyed.sort_by(|a, b| upcase::compare(&a.0, &b.0));
    if let Some(pair) = keyed.windows(2).find(|pair| upcase::same(&pair[0].0, &pair[1].0)) {
        return Err(Error::invalid("two names that are one to Windows")
            .found(format_args!("{:?} and {:?}", pair[0].1.0, pair[1].1.0))
            .context(folder.display()));
    }
    Ok(keyed.into_iter().map(|(_, entry)| entry).collect())
}

#[cfg(test)]
pub(super) mod tests;
