//! How a child names the file that it lies on.

use std::path::{Component, Path, PathBuf};

use crate::base::Name;
use crate::error::{Context, Error, Result};

/// The paths of a parent, as Windows writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    /// Its file name.
    pub(super) name: Name,
    /// From the child's folder; none where that is on another drive.
    pub(super) relative: Option<Name>,
    /// With the drive, in the form `\\?\C:\...`; on Windows only, since no other path would lead anywhere there.
    pub(super) absolute: Option<Name>,
}

impl Paths {
    /// Of the base, for a child in `folder`; links on the way are followed, so that they may come to lead elsewhere.
    pub(super) fn new(base: &Path, folder: &Path) -> Result<Self> {
        let real = |path: &Path| path.canonicalize().map_err(|e| Error::io("cannot be found", e));
        let base = real(base).context(|| base.display())?;
        let folder = real(folder).context(|| folder.display())?;
        Self::between(&base, &folder).context(|| base.display())
    }

    fn between(base: &Path, folder: &Path) -> Result<Self> {
        let name = text_of(base.file_name().unwrap_or_default())?;
        let relative = relative(base, folder)?;
        let absolute = if cfg!(windows) { Some(text_of(base.as_os_str())?) } else { None };
        let name_of = |text: String| Name::from(text.as_str());
        Ok(Self { name: Name::from(name), relative: relative.map(name_of), absolute: absolute.map(Name::from) })
    }

    /// The absolute path without the prefix, as a VHD has it.
    pub(super) fn plain_absolute(&self) -> Option<Name> {
        let path = self.absolute.as_ref()?.to_string();
        let plain = match (path.strip_prefix(r"\\?\UNC\"), path.strip_prefix(r"\\?\")) {
            (Some(share), _) => format!(r"\\{share}"),
            (None, Some(plain)) => plain.to_owned(),
            (None, None) => path,
        };
        Some(Name::from(plain.as_str()))
    }
}

/// The path of a file from a folder, with backslashes; both are absolute and without links. `None` between two drives.
fn relative(file: &Path, folder: &Path) -> Result<Option<String>> {
    let prefix = |path: &Path| path.components().find(|part| matches!(part, Component::Prefix(_))).map(part_of);
    if prefix(file) != prefix(folder) {
        return Ok(None);
    }
    let (file, folder): (Vec<_>, Vec<_>) = (file.components().collect(), folder.components().collect());
    let common = file.iter().zip(&folder).take_while(|(one, other)| one == other).count();
    let mut parts = vec![".."; folder.len() - common];
    if parts.is_empty() {
        parts.push(".");
    }
    for part in &file[common..] {
        let name = text_of(part.as_os_str())?;
        if name.contains(['\\', '/']) || name.ends_with(':') {
            return Err(Error::invalid(
                "a name that no path of Windows can have, and a child has to name its base by one",
            )
            .found(format_args!("{name:?}"))
            .hint("rename the base, or its folder"));
        }
        parts.push(name);
    }
    Ok(Some(parts.join("\\")))
}

fn part_of(part: Component<'_>) -> PathBuf {
    part.as_os_str().into()
}

fn text_of(name: &std::ffi::OsStr) -> Result<&str> {
    name.to_str().ok_or_else(|| {
        Error::invalid("a name that is not Unicode, and a child has to name its base by it")
            .hint("rename the base, or its folder")
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_named_from_the_childs_folder() {
        for (base, folder, expected) in [
            ("/vms/base.vhd", "/vms", r".\base.vhd"),
            ("/vms/base.vhd", "/vms/lab", r"..\base.vhd"),
            ("/vms/base/b.vhd", "/vms/lab/x", r"..\..\base\b.vhd"),
            ("/vms/base/b.vhd", "/", r".\vms\base\b.vhd"),
            ("/vms/base/b.vhd", "/vms", r".\base\b.vhd"),
            ("/a.vhd", "/x", r"..\a.vhd"),
        ] {
            let found = Paths::between(Path::new(base), Path::new(folder)).unwrap();
            assert_eq!(found.relative, Some(Name::from(expected)), "{base} from {folder}");
            assert_eq!(found.absolute, None);
        }
        for base in ["/a\\b.vhd", "/x:/b.vhd"] {
            assert!(Paths::between(Path::new(base), Path::new("/y")).is_err(), "{base}");
        }
    }

    #[test]
    fn absolute_paths_lose_their_prefix_in_a_vhd() {
        let plain = |path: &str| {
            let paths = Paths { name: Name::default(), relative: None, absolute: Some(path.into()) };
            paths.plain_absolute().unwrap().to_string()
        };
        assert_eq!(plain(r"\\?\C:\a\b.vhd"), r"C:\a\b.vhd");
        assert_eq!(plain(r"\\?\UNC\server\share\b.vhd"), r"\\server\share\b.vhd");
    }
}
