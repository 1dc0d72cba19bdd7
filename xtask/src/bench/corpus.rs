//! A WIM like Nano Server's, made of packaged Windows binaries: so many files, links, short names and descriptors, of that
//! size, compressed with LZX.
//!
//! Our own writer puts the files into a WIM; wimlib compresses it, since streams of its making are what the benchmark is to
//! decode. Made once, under `target/bench`, and once more when the demo's image changes, which it is built on.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nanovhd::base::FileTime;
use nanovhd::format::wim::{self, Compression, ImageInfo, Wim};
use nanovhd::image::demo;
use nanovhd::tree::{Link, Node, NodeId, Times, Tree, attributes};
use uuid::Uuid;

use super::windows::{DESCRIPTORS, descriptor, short_name};
use crate::shell::{self, Failure, Result};

/// Changed with everything that changes the WIM.
const VERSION: &str = "3";

/// Packages with Windows binaries, pinned: what they hold is what the benchmark measures.
const WHEELS: &[&str] = &[
    "PyQt5-Qt5==5.15.2",
    "grpcio==1.60.0",
    "lxml==5.1.0",
    "matplotlib==3.8.2",
    "numpy==1.26.4",
    "pandas==2.1.4",
    "pillow==10.2.0",
    "pyarrow==14.0.2",
    "scikit-learn==1.3.2",
    "scipy==1.11.4",
];

/// Files that have a second name, as most of Windows' have one in WinSxS and one where programs look.
const LINKED: usize = 600;

/// 2016-09-26 12:00 UTC.
const MADE: FileTime = FileTime(131_193_648_000_000_000);

/// What the benchmark works on.
pub(super) struct Corpus {
    /// The WIM.
    pub(super) wim: PathBuf,
    /// The files in it, as a folder.
    pub(super) files: PathBuf,
    /// How many bytes the files have, each counted once.
    pub(super) bytes: u64,
}

/// A file of the image: where it comes from, and its names with `/` from the root.
struct Entry {
    source: PathBuf,
    name: String,
    link: Option<String>,
}

impl Corpus {
    /// The corpus in `folder`, made now if it is not there yet.
    pub(super) fn get(folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("corpus-{VERSION}"));
        let base = demo::wim(thread::available_parallelism()?)?;
        let wim = folder.join(format!("nano-{:016x}.wim", fnv(&base)));
        let corpus = Self { wim, files: folder.join("files"), bytes: 0 };
        if !corpus.files.is_dir() {
            fs::create_dir_all(&folder)?;
            fetch(&folder, &corpus.files)?;
        }
        if !corpus.wim.is_file() {
            println!("making {}", corpus.wim.display());
            make(base, &arrange(&corpus.files)?, &corpus.wim)?;
        }
        let bytes =
            files_below(&corpus.files)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum::<Result<u64>>()?;
        Ok(Self { bytes, ..corpus })
    }
}

/// Downloads and unpacks the wheels.
fn fetch(folder: &Path, files: &Path) -> Result<()> {
    let wheels = folder.join("wheels");
    println!("downloading packages: {}", WHEELS.join(" "));
    let mut pip = shell::command("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--platform", "win_amd64", "--python-version", "3.11", "-d"]).arg(&wheels).args(WHEELS);
    shell::run(&mut pip)?;
    let partial = files.with_extension("partial");
    for wheel in files_below(&wheels)? {
        let package = wheel.file_name().unwrap_or_default().to_string_lossy();
        let target = partial.join(package.split('-').next().unwrap_or_default());
        shell::run(shell::command("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(target))?;
    }
    Ok(fs::rename(partial, files)?)
}

/// All files below a folder, in the order of their paths.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    Ok(files)
}

/// The image's files: those that are linked lie in a folder of WinSxS for each folder of the source, the others below System32.
fn arrange(folder: &Path) -> Result<Vec<Entry>> {
    let mut sources = files_below(folder)?;
    let is_program = |path: &Path| path.extension().is_some_and(|end| ["dll", "exe", "pyd"].iter().any(|e| end == *e));
    sources.sort_by_key(|path| !is_program(path));
    let mut entries = Vec::new();
    for (index, source) in sources.into_iter().enumerate() {
        let relative = source.strip_prefix(folder).map_err(Failure::new)?.to_string_lossy().replace('\\', "/");
        let plain = format!("Windows/System32/{relative}");
        let (parent, file) = relative.rsplit_once('/').unwrap_or(("", &relative));
        let (name, link) = match index < LINKED {
            true => (format!("Windows/WinSxS/{}/{file}", component(parent)), Some(plain)),
            false => (plain, None),
        };
        entries.push(Entry { source, name, link });
    }
    Ok(entries)
}

/// The name of a component's folder in WinSxS.
fn component(parent: &str) -> String {
    let short: String = parent.to_lowercase().chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    format!("amd64_{short}_31bf3856ad364e35_10.0.14393.0_none_{:016x}", fnv(parent.as_bytes()))
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

fn make(base: Vec<u8>, entries: &[Entry], wim: &Path) -> Result<()> {
    let (mut builder, image) = Builder::new(base)?;
    for entry in entries {
        let node = builder.file(&entry.name, fs::read(&entry.source)?)?;
        if let Some(link) = &entry.link {
            builder.link(link, node)?;
        }
    }
    let (plain, compressed) = (wim.with_extension("plain"), wim.with_extension("partial"));
    let options = wim::Options {
        compression: Compression::None,
        chunk_size: 1 << 15,
        guid: Uuid::from_bytes(*b"nanovhd benchWIM"),
        boot_index: None,
        integrity: false,
        threads: thread::available_parallelism()?,
    };
    let mut file = fs::File::options().read(true).write(true).create(true).truncate(true).open(&plain)?;
    wim::write(&mut file, &[(&builder.tree, image)], &options)?;
    let mut wimlib = shell::command("wimlib-imagex");
    shell::output(wimlib.arg("export").arg(&plain).arg("1").arg(&compressed).arg("--compress=LZX"))?;
    fs::remove_file(plain)?;
    Ok(fs::rename(compressed, wim)?)
}

/// An image in the making. Everything that is added gets a descriptor by its folder.
struct Builder {
    tree: Tree,
    folders: HashMap<String, NodeId>,
    /// For each folder, how often its short names begin alike.
    short: HashMap<NodeId, BTreeMap<String, u32>>,
}

impl Builder {
    /// Begins with the demo's image, which has what makes an image a Windows.
    fn new(base: Vec<u8>) -> Result<(Self, ImageInfo)> {
        let wim = Wim::open(vec![Arc::new(base)])?;
        let index = wim.select(demo::IMAGE)?;
        let tree = wim.tree(index)?.tree;
        let folders = HashMap::from([(String::new(), tree.root())]);
        Ok((Self { tree, folders, short: HashMap::new() }, wim.images()[index - 1].clone()))
    }

    fn folder(&mut self, path: &str) -> Result<NodeId> {
        if let Some(known) = self.folders.get(path) {
            return Ok(*known);
        }
        let node = match self.tree.find(path) {
            Some(node) => node,
            None => self.add(path, Node::directory(0, Times::all(MADE)))?,
        };
        self.folders.insert(path.to_string(), node);
        Ok(node)
    }

    fn file(&mut self, path: &str, content: Vec<u8>) -> Result<NodeId> {
        self.add(path, Node::file(attributes::ARCHIVE, Times::all(MADE), content.into()))
    }

    fn add(&mut self, path: &str, mut node: Node) -> Result<NodeId> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        node.descriptor = Some(self.tree.add_descriptor(&descriptor((fnv(parent.as_bytes()) % DESCRIPTORS) as u32)));
        let (parent, node) = (self.folder(parent)?, self.tree.add_node(node)?);
        let short = short_name(name, self.short.entry(parent).or_default()).map(|short| short.as_str().into());
        self.tree.add_link(parent, Link { name: name.into(), short, node })?;
        Ok(node)
    }

    /// A second name, which has no short name: NTFS gives a file one in all.
    fn link(&mut self, path: &str, node: NodeId) -> Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.folder(parent)?;
        Ok(self.tree.add_link(parent, Link { name: name.into(), short: None, node })?)
    }
}
