//! Where the files of an image come from: anything that holds a Windows, opened by what it holds and not by its name.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::host::InputFile;
use super::media::{self, Media};
use super::opened::Opened;
use super::seed::Seed;
use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::format::fat;
use crate::format::hive::{Hive, ReadOptions};
use crate::format::partitions::{SECTOR, Scheme, Table};
use crate::format::wim::{ImageInfo, PartId, Wim};
use crate::tree::{Content, Tree};
use crate::windows::About;

/// The hint for what is none.
const IMAGES: &str =
    "an image is a WIM, ESD, SWM, an ISO or a folder, VHD, VHDX, or the bare sectors of a disk or an NTFS volume";

/// Which image or volume of a file is meant, as a user says it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// The image of a WIM: see [`Wim::select`]. It may be left out where there is only one.
    pub image: Option<&'a str>,
    /// The number of a disk's partition. It may be left out: see [`Opened::volume`].
    pub partition: Option<u32>,
}

impl Choice<'_> {
    /// Says that a disk has no images, if one was named.
    pub(super) fn refuse_image(&self) -> Result<()> {
        match self.image {
            None => Ok(()),
            Some(_) => Err(Error::invalid("a disk has no images; its volumes are chosen with --partition")),
        }
    }
}

/// A file that was opened by what it holds.
pub enum Input {
    /// A WIM, ESD or all parts of a split WIM.
    Wim(Wim),
    /// A disk in any container that can be read, or a volume by itself.
    Disk(Opened),
    /// An ISO or a folder: of image files, or of anything.
    Media(Media),
}

impl Input {
    /// Opens a file, or several by a pattern. `parts` is as for [`open_wim`], and for WIMs only.
    pub fn open(path: &Path, parts: Option<&str>) -> Result<Self> {
        if path == Path::new("-") || parts.is_some() || is_pattern(path).is_some() {
            return open_wim(path, parts).map(Self::Wim);
        }
        if path.is_dir() {
            return Media::open(path).map(Self::Media);
        }
        let (magic, len) = head(path)?;
        match &magic {
            b"MSWIM\0\0\0" | b"WLPWM\0\0\0" => open_wim(path, parts).map(Self::Wim),
            [b'r', b'e', b'g', b'f', ..] => Err(Error::invalid("a registry hive, and no image")
                .hint("`nanovhd reg` and, for a boot store, `nanovhd bcd` show what is in it")
                .context(path.display())),
            _ if len < SECTOR => Err(Error::corrupt("neither a WIM nor a disk: shorter than a sector")
                .hint(IMAGES)
                .context(path.display())),
            _ if media::is_iso(&InputFile::open(path)?)? => Media::open(path).map(Self::Media),
            _ => Opened::open(path).map(Self::Disk),
        }
    }

    /// The image or volume that is meant, with its files unread. Errors and the source itself speak of it by `name`.
    pub fn source(&self, name: &str, choice: Choice<'_>) -> Result<Source> {
        match self {
            Self::Wim(wim) => {
                if choice.partition.is_some() {
                    return Err(
                        Error::invalid("a WIM has no partitions; its images are chosen with --image").context(name)
                    );
                }
                match choice.image {
                    Some(selector) => Source::of_wim(wim, name, selector),
                    None if wim.images().len() == 1 => Source::of_wim(wim, name, "1"),
                    None => Err(which_image(wim, name)),
                }
            }
            Self::Disk(disk) => {
                choice.refuse_image().context(|| name)?;
                Source::of_disk(disk, name, choice.partition)
            }
            Self::Media(media) => {
                if choice.partition.is_some() {
                    return Err(Error::invalid("an ISO or a folder has no partitions").context(name));
                }
                match choice.image {
                    Some(selector) => Source::of_medium(media, None, selector),
                    None => Source::of_files(media, name),
                }
            }
        }
    }
}

/// That one of several images has to be named.
fn which_image(wim: &Wim, name: &str) -> Error {
    wim.no_such_image(format_args!("the file holds {} images", wim.images().len()))
        .hint("say which with --image INDEX or --image NAME")
        .context(name)
}

/// Whether a file begins as registry hives do.
pub fn is_hive(path: &Path) -> Result<bool> {
    Ok(is_pattern(path).is_none() && path != Path::new("-") && head(path)?.0.starts_with(b"regf"))
}

/// Reads a hive that lies on the host, the logs beside it replayed where it was not left clean.
pub fn host_hive(path: &Path) -> Result<Hive> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let logs = [".LOG1", ".LOG2", ".LOG"].map(beside).into_iter().filter(|log| log.is_file());
    let logs = logs.map(|log| whole(&log)).collect::<Result<Vec<_>>>()?;
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    Hive::read_with(whole(path)?, ReadOptions { logs: &logs, accept_dirty: true }).context(|| path.display())
}

/// All of a file, which has to be of a size that a hive may have.
fn whole(path: &Path) -> Result<Vec<u8>> {
    const LIMIT: u64 = 2 << 30;
    let file = InputFile::open(path)?;
    if file.len() > LIMIT {
        return Err(Error::unsupported("a hive too large").found(file.len()).allowed(LIMIT).context(path.display()));
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// The first bytes of a file, with zeros behind its end, and its length.
fn head(path: &Path) -> Result<([u8; 8], u64)> {
    let file = InputFile::open(path)?;
    let mut bytes = [0; 8];
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX).min(bytes.len());
    file.read_at(0, &mut bytes[..len])?;
    Ok((bytes, file.len()))
}

/// One image of a source, chosen, with its files still unread.
#[derive(Clone)]
pub struct Source {
    /// Its files.
    pub tree: Tree,
    /// What the source says about it.
    pub info: ImageInfo,
    /// The source as the user knows it: the path of a file.
    pub name: String,
    /// What tells this source from every other.
    pub guid: Uuid,
    /// What is odd about the source, but no obstacle.
    pub warnings: Vec<String>,
    /// How many files, names or attributes of a volume could not be read, and are missing.
    pub lost: u64,
    /// The packages on the medium that the image is from, by the names of their files.
    pub packages: Vec<String>,
}

impl Source {
    /// The image that `selector` chooses: an index, or a name or edition. See [`Wim::select`]. Errors speak of the WIM by `name`.
    pub fn of_wim(wim: &Wim, name: &str, selector: &str) -> Result<Self> {
        let index = wim.select(selector).context(|| name)?;
        let volume = wim.tree(index).context(|| name)?;
        let info = wim.images().iter().find(|info| info.index == index).cloned().unwrap_or_default();
        let warnings = wim.warnings().iter().cloned().chain(volume.notes.lines()).collect();
        Ok(Self {
            tree: volume.tree,
            info,
            name: name.into(),
            guid: wim.guid(),
            warnings,
            lost: 0,
            packages: Vec::new(),
        })
    }

    /// The image that `selector` chooses, of an image file on a medium: of the one at that path, or of the one that
    /// [`Media::wim`] takes.
    pub fn of_medium(media: &Media, path: Option<&str>, selector: &str) -> Result<Self> {
        let (path, wim) = media.wim(path)?;
        let mut source = Self::of_wim(&wim, &media.name_of(&path), selector)?;
        source.warnings.extend(media.warnings());
        source.packages = media.package_names()?;
        Ok(source)
    }

    /// The same of the only image in the image file that [`Media::wim`] takes.
    ///
    /// # Errors
    /// [`NoSuchImage`](Kind::NoSuchImage) with the list of images, if there are several.
    pub fn only_of_medium(media: &Media) -> Result<Self> {
        let (path, wim) = media.wim(None)?;
        match wim.images() {
            [_] => Self::of_medium(media, None, "1"),
            _ => Err(which_image(&wim, &media.name_of(&path))),
        }
    }

    /// The files of a medium or a folder themselves. What they are follows from the Windows among them, if there is one.
    pub fn of_files(media: &Media, name: &str) -> Result<Self> {
        let (tree, lost) = media.tree().context(|| name)?;
        let mut info = ImageInfo { index: 1, name: media.label.clone(), ..ImageInfo::default() };
        let mut warnings = media.notes().to_vec();
        if let Some(mut about) = About::read(&tree) {
            warnings.append(&mut about.notes);
            about.describe(&mut info);
        }
        let guid = guid_of_files(&tree, media.label.as_deref().unwrap_or_default());
        Ok(Self { tree, info, name: name.into(), guid, warnings, lost, packages: Vec::new() })
    }

    /// The volume of partition `number` of a disk, or the one that [`Opened::volume`] takes for meant. What it is follows from
    /// the Windows on it, if there is one.
    pub fn of_disk(disk: &Opened, name: &str, number: Option<u32>) -> Result<Self> {
        let table = disk.table().map_err(not_an_image)?;
        let (partition, contents, label, serial, lost) = match fat_volume(disk, &table, number)? {
            Some(files) => files,
            None => {
                let (partition, volume) = disk.volume(number)?;
                let contents = volume.read().context(|| format!("partition {}", partition.number)).context(|| name)?;
                (
                    partition.number,
                    (contents.tree, contents.notes),
                    volume.facts().label.to_string(),
                    volume.facts().serial,
                    contents.lost,
                )
            }
        };
        let (tree, mut warnings) = contents;
        let mut info =
            ImageInfo { index: 1, name: Some(label).filter(|label| !label.is_empty()), ..ImageInfo::default() };
        if let Some(mut about) = About::read(&tree) {
            warnings.append(&mut about.notes);
            about.describe(&mut info);
        }
        let guid = guid_of(&table, partition, serial);
        Ok(Self { tree, info, name: name.into(), guid, warnings, lost, packages: Vec::new() })
    }
}

/// Refuses to make something of a volume of which parts could not be read, and would be missing from what is made.
pub(super) fn refuse_lost(lost: u64, notes: &[String]) -> Result<()> {
    if lost == 0 {
        return Ok(());
    }
    let first = notes.first().map_or("", String::as_str);
    Err(Error::corrupt("parts of the volume cannot be read, and would be lost")
        .found(format_args!("{lost} of them; the first: {first}"))
        .hint("`nanovhd verify` shows what is wrong; say --accept-dirty to go on without what cannot be read"))
}

/// The number of a partition, its files and notes on them, its label, its serial number, and how much of it was lost.
type Files = (u32, (Tree, Vec<String>), String, u64, u64);

/// The files of a partition that was asked for by its number, if it is of FAT: an EFI system partition.
fn fat_volume(disk: &Opened, table: &Table, number: Option<u32>) -> Result<Option<Files>> {
    let Some(partition) = table.partitions.iter().find(|partition| Some(partition.number) == number) else {
        return Ok(None);
    };
    let window = disk.partition(partition)?;
    let mut sector = [0; 512];
    if window.read_at(0, &mut sector).is_err() || !fat::is_fat(&sector) {
        return Ok(None);
    }
    let contents = fat::Volume::open(window)?.read().context(|| format!("partition {}", partition.number))?;
    Ok(Some((partition.number, (contents.tree, contents.notes), String::new(), 0, 0)))
}

/// What tells a volume from every other: the ids of its disk, its place and its serial number.
fn guid_of(table: &Table, partition: u32, serial: u64) -> Uuid {
    let disk = match table.scheme {
        Scheme::None => Uuid::nil(),
        Scheme::Mbr { signature } => Uuid::from_u128(u128::from(signature)),
        Scheme::Gpt { disk } => disk,
    };
    let (partition, serial) = (partition.to_le_bytes(), serial.to_le_bytes());
    Seed::from_parts([&b"volume"[..], disk.as_bytes(), &partition, &serial]).guid("source")
}

/// What tells files from others, apart from their contents, which have not been read: label, names, lengths and times.
fn guid_of_files(tree: &Tree, label: &str) -> Uuid {
    let mut hash = Sha256::new();
    tree.visit(|path, link| {
        let node = tree.node(link.node);
        let len = node.main().map_or(u64::MAX, Content::len);
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update(len.to_le_bytes());
        hash.update(node.times.modified.0.to_le_bytes());
        ControlFlow::Continue(())
    });
    Seed::from_parts([&b"files"[..], label.as_bytes(), hash.finalize().as_slice()]).guid("source")
}

/// Whatever is no WIM is taken for a disk. If it is none, this says so, and not only what a partition table should look like.
fn not_an_image(error: Error) -> Error {
    match error.kind() {
        Kind::Corrupt | Kind::Truncated => error.context("neither a WIM nor a disk").hint(IMAGES),
        _ => error,
    }
}

/// Opens a WIM, ESD or the parts of a split WIM.
///
/// `path` may be any part of a split WIM, whose other parts are looked for beside it, or a pattern (`install*.swm`);
/// `parts` is a further pattern for parts that lie elsewhere.
pub fn open_wim(path: &Path, parts: Option<&str>) -> Result<Wim> {
    if path == Path::new("-") {
        return Err(Error::invalid(
            "a WIM cannot be read from standard input: its parts are needed in another order than they are stored",
        )
        .hint("save it to a file first"));
    }
    let mut files = match is_pattern(path) {
        Some(pattern) => matching(pattern)?,
        None => vec![path.to_owned()],
    };
    let first = open_part(&files[0])?;
    if first.1.parts > 1 && files.len() == 1 {
        files.extend(siblings(path)?);
    }
    if let Some(pattern) = parts {
        files.extend(matching(pattern)?);
    }
    let mut seen = vec![same_file(&files[0])];
    let mut found = vec![first];
    for file in &files[1..] {
        let part = open_part(file)?;
        if !seen.contains(&same_file(file)) {
            seen.push(same_file(file));
            found.push(part);
        }
    }
    assemble(found).context(|| path.display())
}

/// A WIM out of its parts, of which the first tells whose they have to be: others that lie beside them are left out.
pub(super) fn assemble(mut parts: Vec<(Arc<dyn ReadAt>, PartId)>) -> Result<Wim> {
    let guid = parts.first().map(|(_, id)| id.guid);
    parts.retain(|(_, id)| Some(id.guid) == guid);
    parts.sort_by_key(|(_, id)| id.part);
    Wim::open(parts.into_iter().map(|(reader, _)| reader).collect())
}

/// Whether two files may be parts of one split WIM, by their names: `install.swm`, `install2.swm`, …
pub(super) fn may_be_parts(a: &str, b: &str) -> bool {
    let split = |name: &str| {
        let lower = name.to_lowercase();
        let (stem, extension) = lower.rsplit_once('.').unwrap_or((&lower, ""));
        (stem.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), extension.to_owned())
    };
    split(a) == split(b)
}

/// The pattern that a path is, unless there is a file of that very name.
fn is_pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?']) && !path.exists())
}

fn open_part(path: &Path) -> Result<(Arc<dyn ReadAt>, PartId)> {
    let reader: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
    let id = PartId::read(&reader).context(|| path.display())?;
    Ok((reader, id))
}

/// A path by which to tell whether two names are of one file.
fn same_file(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The files that a pattern names, sorted.
fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let invalid =
        |e: &dyn std::fmt::Display| Error::invalid("file name pattern").found(format_args!("'{pattern}'")).allowed(e);
    let paths = glob::glob(pattern).map_err(|e| invalid(&e))?;
    let found: Vec<PathBuf> = paths.collect::<std::result::Result<_, _>>().map_err(|e| invalid(&e))?;
    if found.is_empty() {
        return Err(Error::invalid("no file matches the pattern").found(format_args!("'{pattern}'")));
    }
    Ok(found)
}

/// What may be the other parts of a split WIM: files beside it with its extension, and its name apart from the number
/// (`install.swm`, `install2.swm`, …).
fn siblings(path: &Path) -> Result<Vec<PathBuf>> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e| Error::io("cannot look for the other parts of the split WIM", e).context(folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let candidate = entry.map_err(failed)?.path();
        let same = candidate.file_name() == path.file_name();
        if !same && may_be_parts(&name(&candidate), &name(path)) && candidate.is_file() {
            found.push(candidate);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn finds_the_parts_beside_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["install.swm", "install2.SWM", "install10.swm", "other.swm", "install.wim", "installer.swm"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |found: Vec<PathBuf>| {
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(siblings(&folder.path().join("install.swm")).unwrap()), ["install10.swm", "install2.SWM"]);
        assert_eq!(names(siblings(&folder.path().join("install10.swm")).unwrap()), ["install.swm", "install2.SWM"]);
        let pattern = folder.path().join("install*.swm");
        assert_eq!(matching(pattern.to_str().unwrap()).unwrap().len(), 3);
    }

    #[test]
    fn refuses_what_cannot_be_opened() {
        assert_eq!(open_wim(Path::new("-"), None).err().unwrap().kind(), Kind::Invalid);
        assert_eq!(open_wim(Path::new("no/such/file.wim"), None).err().unwrap().kind(), Kind::Io);
        assert_eq!(open_wim(Path::new("no/such/*.swm"), None).err().unwrap().kind(), Kind::Invalid);
    }
}
