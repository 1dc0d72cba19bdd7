//! Files that are opened as disks: by what they hold, with the files that they lie on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host::InputFile;
use super::opened::{Container, Layer, Opened};
use crate::base::{Name, ReadAt};
use crate::error::{Context, Error, Result};
use crate::format::qcow2::Qcow2;
use crate::format::vdi::Vdi;
use crate::format::vhd::Vhd;
use crate::format::vhdx::Vhdx;
use crate::format::vmdk::Vmdk;

/// So many files a chain may have; a disk of more is slow beyond use, and Hyper-V's own chains are far shorter.
pub(super) const MAX_LAYERS: usize = 64;

type File = Arc<dyn ReadAt>;

/// A file, and what its container says.
enum Disk {
    Raw(File),
    Vhd(Vhd<File>),
    Vhdx(Vhdx<File>),
    Vdi(Vdi<File>),
    Qcow2(Box<Qcow2<File>>),
    Vmdk(Box<Vmdk<File>>),
}

impl Disk {
    fn open(layer: &Layer) -> Result<Self> {
        let file = Arc::clone(&layer.file);
        if is_marked(&file, 0, b"MSWIM\0\0\0") {
            return Err(Error::unsupported("a WIM, not a disk").hint("`nanovhd build --wim FILE` makes a disk of it"));
        }
        if let Some((name, driver)) = foreign(&file) {
            let path = layer.path.display();
            let output = layer.path.with_extension("vhdx");
            return Err(Error::unsupported(format_args!("a disk in a {name} file")).hint(format_args!(
                "convert it first: qemu-img convert -f {driver} -O vhdx \"{path}\" \"{}\"",
                output.display()
            )));
        }
        if Vhdx::is_vhdx(&file) {
            return Vhdx::open(file).map(Self::Vhdx);
        }
        if Vhd::is_vhd(&file) {
            return Vhd::open(file).map(Self::Vhd);
        }
        if Vdi::is_vdi(&file) {
            return Vdi::open(file).map(Self::Vdi);
        }
        if Qcow2::is_qcow2(&file) {
            return Qcow2::open(file).map(|qcow2| Self::Qcow2(Box::new(qcow2)));
        }
        if Vmdk::is_vmdk(&file) {
            return Vmdk::open(file).map(|vmdk| Self::Vmdk(Box::new(vmdk)));
        }
        Ok(Self::Raw(file))
    }

    fn container(&self) -> Container {
        match self {
            Self::Raw(_) => Container::Raw,
            Self::Vhd(vhd) => Container::Vhd(vhd.variant()),
            Self::Vhdx(vhdx) => Container::Vhdx(vhdx.variant()),
            Self::Vdi(vdi) => Container::Vdi(vdi.variant()),
            Self::Qcow2(qcow2) => Container::Qcow2 { snapshots: qcow2.internal_snapshots() },
            Self::Vmdk(vmdk) => Container::Vmdk(vmdk.variant()),
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        match self {
            Self::Raw(_) | Self::Vdi(_) | Self::Qcow2(_) | Self::Vmdk(_) => None,
            Self::Vhd(vhd) => vhd.parent().map(Wanted::of_vhd),
            Self::Vhdx(vhdx) => vhdx.parent().map(Wanted::of_vhdx),
        }
    }

    fn id(&self) -> Option<uuid::Uuid> {
        match self {
            Self::Raw(_) | Self::Qcow2(_) => None,
            Self::Vhd(vhd) => Some(vhd.footer().id),
            Self::Vhdx(vhdx) => Some(vhdx.disk_id()),
            Self::Vdi(vdi) => Some(vdi.id()).filter(|id| !id.is_nil()),
            Self::Vmdk(vmdk) => vmdk.descriptor().id,
        }
    }

    fn sector_size(&self) -> u32 {
        match self {
            Self::Vhdx(vhdx) => vhdx.sector_size(),
            Self::Raw(_) | Self::Vhd(_) | Self::Vdi(_) | Self::Qcow2(_) | Self::Vmdk(_) => 512,
        }
    }

    /// Whether `below` is the parent that this disk was made for; if not, why.
    fn check_parent(&self, below: &Self) -> Result<()> {
        let wrong = |found: &dyn std::fmt::Display, allowed: &dyn std::fmt::Display| {
            Err(Error::corrupt("the parent is not the disk that the differencing disk was made for")
                .found(found)
                .allowed(allowed)
                .hint("put the original parent back, as it was when the differencing disk was made"))
        };
        match (self, below) {
            (Self::Vhd(child), Self::Vhd(below)) => match child.parent() {
                Some(parent) if parent.id != below.footer().id => wrong(&below.footer().id, &parent.id),
                _ => Ok(()),
            },
            (Self::Vhdx(child), Self::Vhdx(below)) => match child.parent() {
                Some(parent) if !parent.linkage.contains(&below.data_write_id()) => {
                    let linkage: Vec<String> = parent.linkage.iter().map(ToString::to_string).collect();
                    wrong(&below.data_write_id(), &linkage.join(" or "))
                }
                _ => Ok(()),
            },
            _ => wrong(&"another kind of container", &"the child's own"),
        }
    }

    fn on(self, below: Option<File>) -> File {
        match (self, below) {
            (Self::Raw(file), _) => file,
            (Self::Vhd(vhd), Some(below)) => Arc::new(vhd.on(below)),
            (Self::Vhd(vhd), None) => Arc::new(vhd),
            (Self::Vhdx(vhdx), Some(below)) => Arc::new(vhdx.on(below)),
            (Self::Vhdx(vhdx), None) => Arc::new(vhdx),
            (Self::Vdi(vdi), _) => Arc::new(vdi),
            (Self::Qcow2(qcow2), _) => Arc::new(*qcow2),
            (Self::Vmdk(vmdk), _) => Arc::new(*vmdk),
        }
    }
}

/// What a container is that others read, by its mark, and how qemu calls it.
fn foreign(file: &File) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(u64, &[u8], &str, &str); 3] = [
        (0, b"QED\0", "QED", "qed"),
        (0, b"WithoutFreeSpace", "Parallels", "parallels"),
        (0, b"WithouFreSpacExt", "Parallels", "parallels"),
    ];
    KNOWN.iter().find(|(at, mark, ..)| is_marked(file, *at, mark)).map(|(_, _, name, driver)| (*name, *driver))
}

fn is_marked(file: &File, at: u64, mark: &[u8]) -> bool {
    let mut found = vec![0; mark.len()];
    file.read_at(at, &mut found).is_ok() && found == mark
}

/// Where a differencing disk says that its parent is.
struct Wanted {
    /// From the child's folder.
    relative: Vec<Name>,
    absolute: Vec<Name>,
    /// Its name, or path, wherever it is.
    name: Option<Name>,
}

impl Wanted {
    fn of_vhd(parent: &crate::format::vhd::Parent) -> Self {
        let name = Some(parent.name.clone()).filter(|name| !name.is_empty());
        Self { relative: parent.relative.clone(), absolute: parent.absolute.clone(), name }
    }

    fn of_vhdx(parent: &crate::format::vhdx::Parent) -> Self {
        let absolute = [&parent.volume, &parent.absolute].into_iter().flatten().cloned().collect();
        Self { relative: parent.relative.iter().cloned().collect(), absolute, name: None }
    }

    /// The paths to try, in order.
    fn paths(&self, child: &Path) -> Vec<PathBuf> {
        let folder = child.parent().unwrap_or(Path::new(""));
        let beside = |name: &Name| name.to_string().rsplit(['\\', '/', ':']).next().map(|last| folder.join(last));
        let relative = self.relative.iter().map(|path| folder.join(native(&path.to_string())));
        let absolute = self.absolute.iter().filter_map(|path| local_absolute(&path.to_string()));
        let names = self.relative.iter().chain(&self.absolute).chain(&self.name);
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in relative.chain(absolute).chain(names.filter_map(beside)) {
            if path != folder && !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    fn words(&self) -> String {
        let names = self.relative.iter().chain(&self.absolute).chain(&self.name);
        let words: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        if words.is_empty() { "no path at all".to_owned() } else { words.join(" or ") }
    }
}

/// A path from a folder, as this host writes it. A drive or root in it is dropped: it is from a folder.
fn native(path: &str) -> PathBuf {
    path.split(['\\', '/']).filter(|part| !part.is_empty() && !part.ends_with(':')).collect()
}

/// An absolute path of Windows, where it can be one of this host's: on Windows itself, with a drive or a volume in front. Nothing
/// else, since whoever made a file is not to have us log on to a server of his.
fn local_absolute(path: &str) -> Option<PathBuf> {
    is_local(path).then(|| PathBuf::from(path)).filter(|_| cfg!(windows))
}

fn is_local(path: &str) -> bool {
    let plain = path.strip_prefix(r"\\?\").unwrap_or(path);
    let on_drive = matches!(plain.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic());
    on_drive || path.starts_with(r"\\?\Volume{")
}

/// The files of a chain, the child first, as far as they are found; and why there are no more if a parent is missing. Containers
/// that cannot be opened end the chain without a complaint: they are looked at by who opens them.
///
/// Fails only if the first file cannot be read at all.
pub fn layers(path: &Path) -> Result<(Vec<Layer>, Option<Error>)> {
    let mut layers = vec![Layer { path: path.to_owned(), file: Arc::new(InputFile::open(path)?) }];
    let mut seen = vec![identity(path)];
    while let Some(child) = layers.last() {
        let Ok(disk) = Disk::open(child) else { break };
        let Some(wanted) = disk.wanted() else { break };
        match find_parent(&disk, &wanted, &child.path) {
            None => {
                let missing = Error::invalid("the parent of the differencing disk is not there")
                    .found(wanted.words())
                    .hint("put the parent where the disk says that it is, or beside it")
                    .context(child.path.display());
                return Ok((layers, Some(missing)));
            }
            Some(parent) if seen.contains(&identity(&parent.path)) => {
                let circle = Error::corrupt("differencing disks that lie on each other").found(parent.path.display());
                return Ok((layers, Some(circle.context(path.display()))));
            }
            Some(_) if layers.len() == MAX_LAYERS => {
                let long =
                    Error::unsupported("a chain of differencing disks").allowed(format_args!("{MAX_LAYERS} files"));
                return Ok((layers, Some(long.context(path.display()))));
            }
            Some(parent) => {
                seen.push(identity(&parent.path));
                layers.push(parent);
            }
        }
    }
    Ok((layers, None))
}

/// Where a path really leads, to tell when it leads to the same file again.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The parent that the child was made for, or else the first file that stands where it should.
fn find_parent(child: &Disk, wanted: &Wanted, path: &Path) -> Option<Layer> {
    let mut first = None;
    for path in wanted.paths(path) {
        let Ok(file) = InputFile::open(&path) else { continue };
        let layer = Layer { path, file: Arc::new(file) };
        let disk = Disk::open(&layer);
        if disk.is_ok_and(|below| child.check_parent(&below).is_ok()) {
            return Some(layer);
        }
        first = first.or(Some(layer));
    }
    first
}

/// See [`Opened::open`].
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (layers, missing) = layers(path)?;
    let open = |layer: &Layer| Disk::open(layer).context(|| layer.path.display());
    let mut disks = layers.iter().map(open).collect::<Result<Vec<Disk>>>()?;
    if let Some(error) = missing {
        return Err(error);
    }
    for (pair, layer) in disks.windows(2).zip(&layers[1..]) {
        pair[0].check_parent(&pair[1]).context(|| layer.path.display())?;
    }
    let (container, sector_size, id) = (disks[0].container(), disks[0].sector_size(), disks[0].id());
    let mut below = None;
    while let Some(disk) = disks.pop() {
        below = Some(disk.on(below));
    }
    let disk = below.ok_or_else(|| Error::invalid("a chain without a file"))?;
    Ok(Opened { path: path.to_owned(), container, disk, layers, sector_size, id })
}

/// The disk that a differencing one makes of the disk below it, which is the right one.
pub(super) fn over(file: &Arc<dyn ReadAt>, below: &Arc<dyn ReadAt>) -> Result<Arc<dyn ReadAt>> {
    let layer = Layer { path: PathBuf::new(), file: Arc::clone(file) };
    Ok(Disk::open(&layer)?.on(Some(Arc::clone(below))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_windows_are_found_anywhere() {
        let wanted = Wanted {
            relative: vec![Name::from(r"..\base\parent.vhd")],
            absolute: vec![Name::from(r"C:\vms\base\parent.vhd"), Name::from(r"\\server\share\other.vhd")],
            name: Some(Name::from("third.vhd")),
        };
        let child = Path::new("vms").join("child.vhd");
        let paths = wanted.paths(&child);
        let here = Path::new("vms");
        assert_eq!(paths[0], here.join("..").join("base").join("parent.vhd"));
        assert_eq!(paths.contains(&PathBuf::from(r"C:\vms\base\parent.vhd")), cfg!(windows));
        assert!(!paths.iter().any(|path| path.to_string_lossy().contains("server")));
        for name in ["parent.vhd", "other.vhd", "third.vhd"] {
            assert!(paths.contains(&here.join(name)), "{name}");
        }
    }

    #[test]
    fn only_drives_and_volumes_are_local() {
        for path in [r"C:\a.vhd", r"\\?\d:\a.vhd", r"\\?\Volume{1}\a.vhd"] {
            assert!(is_local(path), "{path}");
        }
        for path in [r"\\s\a", r"\\?\UNC\s\a", r"\\.\pipe\a", r"\??\UNC\s\a", r"\\?\unc\s", "//s/a", r"C:a", r"\a", ""]
        {
            assert!(!is_local(path), "{path}");
        }
    }

    #[test]
    fn a_relative_path_stays_relative() {
        assert_eq!(native(r".\a\b.vhd"), Path::new(".").join("a").join("b.vhd"));
        assert_eq!(native(r"C:\a.vhd"), Path::new("a.vhd"));
        assert_eq!(native("/etc/a.vhd"), Path::new("etc").join("a.vhd"));
    }
}
