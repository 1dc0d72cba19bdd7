//! Everything gets its name, its times and its read-only bit.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Report;
use super::plan::{Item, Plan, What};
use super::stage::Folder;
use crate::base::FileTime;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Control;
use crate::tree::{BlobId, Content, Node, StoreId, attributes};

impl Report {
    fn count(&mut self, content: Option<&Content>) {
        self.files += 1;
        self.bytes += content.map_or(0, Content::len);
    }
}

struct Placing<'a, 't, 'c> {
    plan: &'a Plan<'t>,
    folder: Folder<'c>,
    force: bool,
    control: &'a Control,
    /// The first item of each blob, where it lies whole.
    firsts: HashMap<(StoreId, BlobId), usize>,
    report: Report,
    /// Names that had to become copies, since the host has no hard links.
    copied: u64,
    /// Links that the host did not make, and why not.
    refused: Vec<String>,
}

/// Gives everything its place.
pub(super) fn all(mut plan: Plan<'_>, mut folder: Folder<'_>, force: bool, control: &Control) -> Result<Report> {
    let notes = std::mem::take(&mut plan.notes);
    folder.keep_output();
    let mut placing = Placing {
        plan: &plan,
        folder,
        force,
        control,
        firsts: HashMap::new(),
        report: Report::default(),
        copied: 0,
        refused: Vec::new(),
    };
    let is_link = |item: &Item| matches!(item.what, What::Symlink(_));
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| !is_link(item)) {
        placing.item(index, item)?;
    }
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| is_link(item)) {
        placing.item(index, item)?;
    }
    // Last, as every file that is made in a folder changes the folder's time; folders before the one that they are in.
    for item in plan.items.iter().rev().filter(|item| matches!(item.what, What::Directory)) {
        let path = plan.path(placing.folder.output(), item);
        directory_times(&path, plan.tree.node(item.node))
            .map_err(|e| Error::io("its times cannot be set", e))
            .context(|| path.display())?;
    }
    let Placing { folder, mut report, copied, refused, .. } = placing;
    report.notes = notes.lines();
    report.notes.extend(refused);
    if copied > 0 {
        report.notes.push(format!("{copied} hard links became copies, as the host's file system has none"));
    }
    folder.done()?;
    Ok(report)
}

impl Placing<'_, '_, '_> {
    fn item(&mut self, index: usize, item: &Item) -> Result<()> {
        self.control.check().map_err(|_| {
            let placed = self.report.files + self.report.hard_links;
            Error::new(
                Kind::Interrupted,
                format_args!("stopped on request; {placed} files are in place, and each is whole"),
            )
        })?;
        let path = self.plan.path(self.folder.output(), item);
        self.make(index, item, &path).context(|| path.display())
    }

    fn make(&mut self, index: usize, item: &Item, path: &Path) -> Result<()> {
        let written = |e| Error::io("cannot be written", e);
        match &item.what {
            What::Directory => {
                make_directory(path)?;
                self.report.directories += 1;
            }
            What::Stream(_, owner)
                if cfg!(windows) && !matches!(self.plan.items[*owner as usize].what, What::Directory) =>
            {
                // Written already, behind its file.
            }
            What::Stream(..) if cfg!(windows) => {
                copy_stream(&self.whole(index, item).map_err(written)?, path).map_err(written)?;
                self.report.count(self.plan.content(item));
            }
            What::File(_) | What::Stream(..) => {
                let staged = self.whole(index, item).map_err(written)?;
                if cfg!(windows) {
                    self.streams_behind(index, &staged).map_err(written)?;
                }
                finish(&staged, self.plan.tree.node(item.node)).map_err(written)?;
                self.name(&staged, path)?;
                self.report.count(self.plan.content(item));
            }
            What::HardLink(first) => {
                let first = self.placed(*first as usize);
                let staged = self.folder.staged(index);
                if fs::hard_link(&first, &staged).is_err() {
                    copy_writable(&first, &staged).map_err(written)?;
                    finish(&staged, self.plan.tree.node(item.node)).map_err(written)?;
                    self.copied += 1;
                }
                self.name(&staged, path)?;
                self.report.hard_links += 1;
            }
            What::Symlink(target) => {
                let staged = self.folder.staged(index);
                match symlink(target, &staged, self.plan.tree.node(item.node).is_directory()) {
                    Ok(()) => {
                        self.name(&staged, path)?;
                        self.report.symbolic_links += 1;
                    }
                    Err(e) => {
                        self.refused.push(format!("{}: a link to {}, not made: {e}", path.display(), target.display()))
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the named streams of a file behind it: they come right after it, and move with it when it gets its name.
    fn streams_behind(&mut self, file: usize, staged: &Path) -> io::Result<()> {
        let plan = self.plan;
        let following = plan.items.iter().enumerate().skip(file + 1);
        for (index, item) in
            following.take_while(|(_, item)| matches!(item.what, What::Stream(_, owner) if owner as usize == file))
        {
            let name = item.name.to_string_lossy();
            let Some((_, stream)) = name.split_once(':') else { continue };
            let mut behind = staged.as_os_str().to_owned();
            behind.push(":");
            behind.push(stream);
            copy_stream(&self.whole(index, item)?, Path::new(&behind))?;
            self.report.count(plan.content(item));
        }
        Ok(())
    }

    /// A file with all of an item's content, not yet under its name.
    fn whole(&mut self, index: usize, item: &Item) -> io::Result<PathBuf> {
        let staged = self.folder.staged(index);
        match self.plan.content(item) {
            Some(Content::Blob { store, blob, len }) if *len > 0 => {
                let first = *self.firsts.entry((*store, *blob)).or_insert(index);
                if first != index {
                    copy_writable(&self.placed(first), &staged)?;
                }
            }
            Some(Content::Bytes(_)) => {}
            _ => fs::write(&staged, "")?,
        }
        Ok(staged)
    }

    /// Where an earlier item lies.
    fn placed(&self, index: usize) -> PathBuf {
        self.plan.path(self.folder.output(), &self.plan.items[index])
    }

    fn name(&self, staged: &Path, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !self.force || metadata.is_dir() => {
                return Err(Error::new(Kind::BadOutput, "the output exists already"));
            }
            Ok(_) if cfg!(windows) => {
                // Windows does not replace a file that is read-only; a link is not to be followed here.
                let _ = fs::remove_file(path).or_else(|_| make_writable(path).and_then(|()| fs::remove_file(path)));
            }
            _ => {}
        }
        fs::rename(staged, path).map_err(|e| Error::io("cannot be given its name", e))
    }
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => Err(Error::new(Kind::BadOutput, "something that is no folder is in the way")),
        },
        Err(e) => Err(Error::io("the folder cannot be made", e)),
        Ok(()) => Ok(()),
    }
}

/// Sets times and the read-only bit of a file that is complete.
fn finish(path: &Path, node: &Node) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_times(times(node))?;
    if node.attributes & attributes::READ_ONLY != 0 {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

fn times(node: &Node) -> FileTimes {
    let times = &node.times;
    let mut set = FileTimes::new();
    if let Some(time) = system_time(times.modified) {
        set = set.set_modified(time);
    }
    if let Some(time) = system_time(times.accessed) {
        set = set.set_accessed(time);
    }
    #[cfg(any(windows, target_os = "macos"))]
    if let Some(time) = system_time(times.created) {
        #[cfg(target_os = "macos")]
        use std::os::macos::fs::FileTimesExt;
        #[cfg(windows)]
        use std::os::windows::fs::FileTimesExt;
        set = set.set_created(time);
    }
    set
}

/// Nothing for zero, which means that there is no such time, and for what the host cannot express.
fn system_time(time: FileTime) -> Option<SystemTime> {
    const UNIX_EPOCH: u64 = 116_444_736_000_000_000; // in ticks of 100 ns since 1601
    let span = |ticks: u64| Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100);
    match time.0 {
        0 => None,
        ticks if ticks >= UNIX_EPOCH => SystemTime::UNIX_EPOCH.checked_add(span(ticks - UNIX_EPOCH)),
        ticks => SystemTime::UNIX_EPOCH.checked_sub(span(UNIX_EPOCH - ticks)),
    }
}

#[cfg(windows)]
fn directory_times(path: &Path, node: &Node) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000; // without it no handle of a directory
    let mut options = OpenOptions::new();
    options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    options.open(path)?.set_times(times(node))
}

#[cfg(not(windows))]
fn directory_times(path: &Path, node: &Node) -> io::Result<()> {
    File::open(path)?.set_times(times(node))
}

/// A copy takes the read-only bit of what it was made of.
fn copy_writable(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    make_writable(to)
}

fn make_writable(path: &Path) -> io::Result<()> {
    let mut permissions = fs::symlink_metadata(path)?.permissions();
    if permissions.readonly() {
        #[cfg(unix)]
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        #[cfg(not(unix))]
        permissions.set_readonly(false);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

fn copy_stream(staged: &Path, stream: &Path) -> io::Result<()> {
    io::copy(&mut File::open(staged)?, &mut File::create(stream)?).map(|_| ())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path, _: bool) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path, to_directory: bool) -> io::Result<()> {
    use std::os::windows::fs::{symlink_dir, symlink_file};
    if to_directory { symlink_dir(target, link) } else { symlink_file(target, link) }
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path, _: bool) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the host has no symbolic links"))
}
