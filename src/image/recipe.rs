//! What is asked for.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::edits::Edits;
use crate::base::FileTime;
use crate::error::{Error, Result};

/// The container of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A VHD that grows: only blocks that hold something are in the file.
    Vhd,
    /// A VHD that has every sector in the file.
    VhdFixed,
    /// A VHDX that grows.
    Vhdx,
    /// A VHDX that has every sector in the file.
    VhdxFixed,
    /// The sectors alone.
    Raw,
}

impl Format {
    /// The format that a file name asks for.
    pub fn of_path(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match extension.as_str() {
            "vhd" => Ok(Self::Vhd),
            "vhdx" => Ok(Self::Vhdx),
            "img" | "raw" => Ok(Self::Raw),
            _ => Err(Error::invalid("the output's extension names no format that can be written")
                .found(format_args!("'{extension}'"))
                .allowed("vhd, vhdx, img, raw")
                .hint("rename the output, or say --format")
                .context(path.display())),
        }
    }
}

/// An image that is to be built, resolved: nothing in it is a default any more that could change from run to run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Where it goes.
    pub output: PathBuf,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// The container.
    pub format: Format,
    /// The disk's size in bytes; chosen by the contents if absent.
    pub size: Option<u64>,
    /// The volume's label.
    pub label: String,
    /// The volume's cluster size in bytes.
    pub cluster_size: u32,
    /// A seed of the user's own; else the ids follow from the source and the options.
    pub seed: Option<u64>,
    /// The moment that is written wherever a build writes "now"; else the image's own modification time.
    pub timestamp: Option<FileTime>,
    /// Whether the disk is checked before it gets its name.
    pub verify: bool,
    /// Whether to go on without what cannot be read of a source that is a disk.
    pub accept_dirty: bool,
    /// What is to be changed about the image's files, once its boot files are in place.
    pub edits: Edits,
}

impl Recipe {
    /// A recipe with the defaults of the program.
    pub fn new(output: impl Into<PathBuf>) -> Self {
        Self {
            output: output.into(),
            force: false,
            format: Format::Vhd,
            size: None,
            label: String::new(),
            cluster_size: 4096,
            seed: None,
            timestamp: None,
            verify: true,
            accept_dirty: false,
            edits: Edits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_name_formats() {
        assert_eq!(Format::of_path(Path::new("a.VHD")).unwrap(), Format::Vhd);
        assert_eq!(Format::of_path(Path::new("a.img")).unwrap(), Format::Raw);
        assert_eq!(Format::of_path(Path::new("a.vhdx")).unwrap(), Format::Vhdx);
        let error = Format::of_path(Path::new("a.vmdk")).unwrap_err().to_string();
        assert_eq!(
            error,
            "a.vmdk: the output's extension names no format that can be written: found 'vmdk', allowed: vhd, vhdx, img, raw"
        );
        assert!(Format::of_path(Path::new("a")).is_err());
    }
}
