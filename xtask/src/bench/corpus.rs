//! A WIM like Nano Server's, made of packaged Windows binaries: so many files, links, short names and descriptors, of that
//! size, compressed with LZX.
//!
//! The files are laid into an NTFS volume by ntfs-3g and captured from there by wimlib, since that keeps short names and
//! descriptors. Made once, under `target/bench`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::windows::{DESCRIPTORS, descriptor, short_name};
use crate::shell::{self, Failure, Result};

/// Changed with everything that changes the WIM.
const VERSION: &str = "1";

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

const VOLUME_LEN: u64 = 1 << 30;

/// What an image has to have to be taken for a Windows. (The benchmark boots nothing.)
const STAND_INS: &[&str] =
    &["Windows/System32/config/SYSTEM", "Windows/System32/winload.exe", "Windows/Boot/PCAT/bootmgr"];

/// What the benchmark works on.
pub(super) struct Corpus {
    /// The WIM.
    pub(super) wim: PathBuf,
    /// The files in it, as a folder.
    pub(super) files: PathBuf,
    /// How many bytes the files have, each counted once.
    pub(super) bytes: u64,
}

/// A file of the volume: where it comes from, and its names with `/` from the root.
struct Entry {
    source: PathBuf,
    name: String,
    link: Option<String>,
}

impl Corpus {
    /// The corpus in `folder`, made now if it is not there yet.
    pub(super) fn get(folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("corpus-{VERSION}"));
        let corpus = Self { wim: folder.join("nano.wim"), files: folder.join("files"), bytes: 0 };
        if !corpus.wim.is_file() {
            fs::create_dir_all(&folder)?;
            fetch(&folder, &corpus.files)?;
            println!("making {}", corpus.wim.display());
            let partial = folder.join("partial.wim");
            capture(&arrange(&corpus.files)?, &partial)?;
            fs::rename(partial, &corpus.wim)?;
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
    for wheel in files_below(&wheels)? {
        let package = wheel.file_name().unwrap_or_default().to_string_lossy();
        let target = files.join(package.split('-').next().unwrap_or_default());
        shell::run(shell::command("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(target))?;
    }
    Ok(())
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

/// The volume's files: those that are linked lie in a folder of WinSxS for each folder of the source, the others below System32.
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
    format!("amd64_{short}_31bf3856ad364e35_10.0.14393.0_none_{:016x}", fnv(parent))
}

/// FNV-1a, 64 bits.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

fn capture(entries: &[Entry], wim: &Path) -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let volume = scratch.path().join("volume.img");
    fs::File::create(&volume)?.set_len(VOLUME_LEN)?;
    shell::output(shell::command("mkntfs").args(["-Q", "-F"]).arg(&volume))?;
    let mounted = Mount::new(&volume, scratch.path().join("mount"))?;
    fill(entries, &mounted.0)?;
    set_attributes(entries, &mounted.0)?;
    link(entries, &mounted.0)?;
    drop(mounted);
    let mut wimlib = shell::command("wimlib-imagex");
    wimlib.arg("capture").arg(&volume).arg(wim).args(["Nano", "--compress=LZX"]);
    shell::output(&mut wimlib).map(drop)
}

/// A volume mounted by ntfs-3g, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(volume: &Path, at: PathBuf) -> Result<Self> {
        fs::create_dir(&at)?;
        shell::output(shell::command("ntfs-3g").arg(volume).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(failure) = shell::output(shell::command("fusermount3").arg("-u").arg(&self.0)) {
            println!("{failure}");
        }
    }
}

/// A path in the mounted volume, whose folder is made.
fn place(mount: &Path, name: &str) -> Result<PathBuf> {
    let path = mount.join(name);
    fs::create_dir_all(path.parent().unwrap_or(mount))?;
    Ok(path)
}

fn fill(entries: &[Entry], mount: &Path) -> Result<()> {
    for entry in entries {
        fs::copy(&entry.source, place(mount, &entry.name)?)?;
    }
    STAND_INS.iter().try_for_each(|name| Ok(fs::write(place(mount, name)?, name)?))
}

/// Gives files their second names: last, as ntfs-3g sets no short name where there are two.
fn link(entries: &[Entry], mount: &Path) -> Result<()> {
    for entry in entries {
        if let Some(link) = &entry.link {
            fs::hard_link(mount.join(&entry.name), place(mount, link)?)?;
        }
    }
    Ok(())
}

/// Gives every file a descriptor, by its folder, and a short name where its name is not one itself.
fn set_attributes(entries: &[Entry], mount: &Path) -> Result<()> {
    let mut folders: HashMap<&str, BTreeMap<String, u32>> = HashMap::new();
    let mut list = String::new();
    for entry in entries {
        let (parent, file) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
        let taken = folders.entry(parent).or_default();
        let _ = writeln!(list, "# file: {}", entry.name);
        let _ = write!(list, "system.ntfs_acl=0x");
        for byte in descriptor((fnv(parent) % DESCRIPTORS) as u32) {
            let _ = write!(list, "{byte:02x}");
        }
        list.push('\n');
        if let Some(short) = short_name(file, taken) {
            let _ = writeln!(list, "system.ntfs_dos_name=\"{short}\"");
        }
        list.push('\n');
    }
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), list)?;
    let mut restore = std::ffi::OsString::from("--restore=");
    restore.push(file.path());
    shell::output(shell::command("setfattr").arg(restore).current_dir(mount)).map(drop)
}
