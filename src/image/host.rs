//! The host's files: the only place that opens, writes and renames them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use super::Control;
use crate::base::{Disk, ReadAt};
use crate::error::{Context, Error, Kind, Result};

#[cfg(unix)]
pub(super) mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(in crate::image) fn read(file: &File, buf: &mut [u8], at: u64) -> io::Result<()> {
        file.read_exact_at(buf, at)
    }

    pub(in crate::image) fn write(file: &File, data: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(data, at)
    }
}

#[cfg(windows)]
pub(super) mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(in crate::image) fn read(file: &File, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match file.seek_read(buf, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => (buf, at) = (&mut buf[n..], at + n as u64),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(in crate::image) fn write(file: &File, mut data: &[u8], mut at: u64) -> io::Result<()> {
        while !data.is_empty() {
            match file.seek_write(data, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => (data, at) = (&data[n..], at + n as u64),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A file that is read.
#[derive(Debug)]
pub struct InputFile {
    file: File,
    len: u64,
    path: PathBuf,
}

impl InputFile {
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        // Asked before opening: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("cannot be opened", e)).context(name)?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a directory" } else { "a pipe or device" };
            return Err(Error::invalid("not a file that can be read at any position")
                .found(found)
                .allowed("a regular file")
                .hint("name the image's file itself; what a pipe or device holds, copy into a file first")
                .context(name()));
        }
        let file = File::open(path).map_err(|e| Error::io("cannot be opened", e)).context(name)?;
        Ok(Self { file, len: metadata.len(), path: path.to_owned() })
    }
}

/// What tells whether a file is still what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its length.
    pub len: u64,
    /// When it was last written, where the host knows.
    pub modified: Option<SystemTime>,
}

impl InputFile {
    /// What the file is like at this moment.
    pub fn stamp(&self) -> Result<Stamp> {
        let metadata = self.file.metadata().map_err(|e| Error::io("cannot be looked at", e));
        let metadata = metadata.context(|| self.path.display())?;
        Ok(Stamp { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl ReadAt for InputFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        crate::base::io::range_within(at, buf.len(), self.len)
            .and_then(|_| positioned::read(&self.file, buf, at).map_err(|e| Error::io("cannot be read", e).at(at)))
            .context(|| self.path.display())
    }
}

/// A file that comes into being: it lies under a temporary name beside its target until [`keep`](OutputFile::keep), and is
/// gone if that never happens.
///
/// A program that is killed leaves only the temporary file, whose name says what it was: `.NAME.XXXXXX.nanovhd-partial`.
#[derive(Debug)]
pub struct OutputFile<'c> {
    file: NamedTempFile,
    len: u64,
    target: PathBuf,
    force: bool,
    guard: Guard<'c>, // dropped after the file
}

/// Refuses a target that cannot become a file, before any work is done.
pub fn check_target(target: &Path, force: bool) -> Result<()> {
    let bad = |what: &str| Error::new(Kind::BadOutput, what).context(target.display());
    match std::fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => return Err(bad("the output is a directory").hint("name a file in it")),
        Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
            return Err(
                bad("the output is a device or pipe").hint("name a regular file; write it to the device afterwards")
            );
        }
        Ok(_) if !force => {
            return Err(bad("the output exists already").hint("give another name, or --force to replace it"));
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => {
            return Err(
                Error::new(Kind::BadOutput, format_args!("the output cannot be made: {e}")).context(target.display())
            );
        }
    }
    if target.file_name().is_none() {
        return Err(bad("the output has no file name").hint("name a file"));
    }
    let folder = folder_of(target);
    if !folder.is_dir() {
        return Err(bad("the output's folder does not exist")
            .found(folder.display())
            .hint("make the folder first, or name another"));
    }
    Ok(())
}

/// Only an administrator may give files away, so that it is no error if the file stays ours.
#[cfg(unix)]
fn take_owner(file: &File, of: &std::fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    if fchown(file, Some(of.uid()), Some(of.gid())).is_err() {
        let _ = fchown(file, None, Some(of.gid()));
    }
}

#[cfg(not(unix))]
fn take_owner(_: &File, _: &std::fs::Metadata) {}

#[cfg(unix)]
fn for_the_owner(permissions: &mut std::fs::Permissions) {
    use std::os::unix::fs::PermissionsExt;
    permissions.set_mode(permissions.mode() & 0o700);
}

#[cfg(not(unix))]
fn for_the_owner(_: &mut std::fs::Permissions) {}

/// All of a small file, which may be a pipe too.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io("cannot be opened", e));
    file.and_then(|file| read_up_to(file, limit)).context(|| path.display())
}

/// All that a reader has to give, which has to be less than a limit.
pub fn read_up_to(reader: impl io::Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(reader, limit + 1), &mut bytes);
    read.map_err(|e| Error::io("cannot be read", e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::unsupported("size of the file").found("more").allowed(format_args!("{limit} bytes")));
    }
    Ok(bytes)
}

/// Refuses to replace a file that is marked as read-only: a rename would get round what the mark is for.
pub fn check_unprotected(target: &Path) -> Result<()> {
    let metadata = std::fs::metadata(target).map_err(|e| Error::io("cannot be looked at", e));
    if metadata.context(|| target.display())?.permissions().readonly() {
        return Err(Error::new(Kind::BadOutput, "the image is read-only")
            .hint("make it writable, or name a new one with --output")
            .context(target.display()));
    }
    Ok(())
}

pub(super) fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl<'c> OutputFile<'c> {
    /// Starts a file of `len` bytes, all zero, that is to become `target`.
    pub fn create(target: &Path, len: u64, force: bool, control: &'c Control) -> Result<Self> {
        check_target(target, force)?;
        let guard = Guard::new(control);
        // Shortened, because the temporary name must not be too long where the target's is not.
        let name: String = target.file_name().unwrap_or_default().to_string_lossy().chars().take(50).collect();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".nanovhd-partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = if control.is_private() { 0o600 } else { 0o666 }; // less the umask, as any tool's output
            builder.permissions(std::fs::Permissions::from_mode(mode));
        }
        let file = builder.tempfile_in(folder_of(target)).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull => Error::io("the output cannot be made", e),
            _ => Error::new(Kind::BadOutput, format_args!("the output's folder is not writable: {e}"))
                .hint("choose a folder that you may write to"),
        });
        let file = file.context(|| target.display())?;
        file.as_file()
            .set_len(len)
            .map_err(|e| Error::io("the output cannot be given its size", e))
            .context(|| target.display())?;
        Ok(Self { file, len, target: target.to_owned(), force, guard })
    }

    /// The name that it will have, in its folder.
    pub fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Starts another file that is to become the same target in this one's place.
    pub fn successor(&self, control: &'c Control) -> Result<OutputStream<'c>> {
        OutputStream::create(&self.target, self.force, control)
    }

    /// What has been written so far, to be read back through a handle of its own.
    pub fn reader(&self) -> Result<InputFile> {
        let file = self.file.as_file().try_clone();
        let file = file.map_err(|e| Error::io("the output cannot be read back", e));
        Ok(InputFile { file: file.context(|| self.target.display())?, len: self.len, path: self.target.clone() })
    }

    /// Gives the file the permissions that another one has, which it is to replace, and its owner where the host lets us. One that
    /// holds secrets gets no more than those of the owner.
    pub fn take_permissions(&self, of: &Path) -> Result<()> {
        let file = self.file.as_file();
        std::fs::metadata(of)
            .and_then(|metadata| {
                take_owner(file, &metadata);
                let mut permissions = metadata.permissions();
                if self.guard.0.is_private() {
                    for_the_owner(&mut permissions);
                }
                file.set_permissions(permissions) // last, since a change of the owner takes some away
            })
            .map_err(|e| Error::io("the output cannot be given the permissions of the file that it replaces", e))
            .context(|| self.target.display())
    }

    /// Gives the file its own name, now that it is complete.
    pub fn keep(self) -> Result<()> {
        self.guard.0.check()?;
        let name = self.target.display();
        self.file.as_file().sync_data().map_err(|e| Error::io("the output cannot be written out", e).context(&name))?;
        let kept = if self.force { self.file.persist(&self.target) } else { self.file.persist_noclobber(&self.target) };
        kept.map_err(|e| {
            Error::new(Kind::BadOutput, format_args!("the finished output cannot be given its name: {}", e.error))
                .context(&name)
        })?;
        Ok(())
    }
}

/// An [`OutputFile`] that is written as a stream and grows as it is.
#[derive(Debug)]
pub struct OutputStream<'c>(OutputFile<'c>);

impl<'c> OutputStream<'c> {
    /// Starts a file that is to become `target`.
    pub fn create(target: &Path, force: bool, control: &'c Control) -> Result<Self> {
        OutputFile::create(target, 0, force, control).map(Self)
    }

    /// The name that it will have, in its folder.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The file, now that all has been written.
    pub fn finish(mut self) -> Result<OutputFile<'c>> {
        let failed = |e| Error::io("the output cannot be written", e);
        let end =
            io::Seek::seek(&mut self, io::SeekFrom::End(0)).map_err(failed).context(|| self.0.target.display())?;
        self.0.len = end;
        Ok(self.0)
    }

    /// Gives the file its own name, now that it is complete.
    pub fn keep(self) -> Result<()> {
        self.0.keep()
    }
}

impl io::Write for OutputStream<'_> {
    /// An interruption is an error of no kind that callers would try again after; [`Control::check`] tells it.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.guard.0.check().map_err(io::Error::other)?;
        self.0.file.as_file().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.as_file().flush()
    }
}

impl io::Read for OutputStream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.file.as_file().read(buf)
    }
}

impl io::Seek for OutputStream<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.file.as_file().seek(to)
    }
}

/// Lets a signal know that there is a temporary file, for as long as there is one.
#[derive(Debug)]
pub(super) struct Guard<'c>(&'c Control);

impl<'c> Guard<'c> {
    pub(super) fn new(control: &'c Control) -> Self {
        control.begin_output();
        Self(control)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.end_output();
    }
}

impl Disk for OutputFile<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        self.guard.0.check()?;
        let name = || self.target.display();
        crate::base::io::range_within(at, data.len(), self.len).context(name)?;
        positioned::write(self.file.as_file(), data, at)
            .map_err(|e| Error::io("the output cannot be written", e).at(at))
            .context(name)
    }
}

impl ReadAt for OutputFile<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        positioned::read(self.file.as_file(), buf, at)
            .map_err(|e| Error::io("the output cannot be read back", e).at(at))
            .context(|| self.target.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_appears_only_when_kept() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.vhd");
        let control = Control::default();
        let output = OutputFile::create(&target, 4, false, &control).unwrap();
        output.write_at(1, &[7]).unwrap();
        assert!(output.write_at(4, &[7]).is_err());
        assert!(!target.exists());
        output.keep().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), [0, 7, 0, 0]);
        assert_eq!(OutputFile::create(&target, 4, false, &control).unwrap_err().kind(), Kind::BadOutput);
        drop(OutputFile::create(&target, 9, true, &control).unwrap());
        assert_eq!(std::fs::read(&target).unwrap().len(), 4, "an output that was given up leaves the old file");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "and no temporary file");
    }

    #[test]
    fn refuses_impossible_targets() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none").join("a.vhd");
        for target in [folder.path(), &missing] {
            assert_eq!(check_target(target, true).unwrap_err().kind(), Kind::BadOutput);
        }
        assert_eq!(InputFile::open(folder.path()).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(InputFile::open(&missing).unwrap_err().kind(), Kind::Io);
    }

    #[test]
    fn an_interruption_stops_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::default();
        let output = OutputFile::create(&folder.path().join("a.vhd"), 4, false, &control).unwrap();
        control.interrupt();
        assert_eq!(output.write_at(0, &[1]).unwrap_err().kind(), Kind::Interrupted);
        assert_eq!(output.keep().unwrap_err().kind(), Kind::Interrupted);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
