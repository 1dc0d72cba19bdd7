//! What is asked for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::edits::Edits;
use super::layout::Layout;
use super::package::{Package, Wishes};
use super::target::Target;
use crate::base::FileTime;
use crate::error::{Error, Result};
use crate::windows::boot;

/// The container of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A VMDK that grows, in one file (`monolithicSparse`).
    Vmdk,
    /// A compressed VMDK that is read from its start to its end (`streamOptimized`), as OVA files have them.
    VmdkStream,
    /// A VDI that grows.
    Vdi,
    /// A VDI that has every sector in the file.
    VdiFixed,
    /// A qcow2 that grows.
    Qcow2,
    /// A qcow2 with compressed clusters.
    Qcow2Compressed,
    /// The sectors alone.
    Raw,
}

impl Format {
    /// The container's name, as `--format` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vhd => "vhd",
            Self::VhdFixed => "vhd-fixed",
            Self::Vhdx => "vhdx",
            Self::VhdxFixed => "vhdx-fixed",
            Self::Vmdk => "vmdk",
            Self::VmdkStream => "vmdk-stream",
            Self::Vdi => "vdi",
            Self::VdiFixed => "vdi-fixed",
            Self::Qcow2 => "qcow2",
            Self::Qcow2Compressed => "qcow2-compressed",
            Self::Raw => "raw",
        }
    }

    /// The extension that files of this format have.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Vhd | Self::VhdFixed => "vhd",
            Self::Vhdx | Self::VhdxFixed => "vhdx",
            Self::Vmdk | Self::VmdkStream => "vmdk",
            Self::Vdi | Self::VdiFixed => "vdi",
            Self::Qcow2 | Self::Qcow2Compressed => "qcow2",
            Self::Raw => "img",
        }
    }

    /// How qemu calls it.
    pub fn qemu_driver(self) -> &'static str {
        match self {
            Self::Vhd | Self::VhdFixed => "vpc",
            Self::Vhdx | Self::VhdxFixed => "vhdx",
            Self::Vmdk | Self::VmdkStream => "vmdk",
            Self::Vdi | Self::VdiFixed => "vdi",
            Self::Qcow2 | Self::Qcow2Compressed => "qcow2",
            Self::Raw => "raw",
        }
    }

    /// The format that a file name asks for.
    pub fn of_path(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match extension.as_str() {
            "vhd" => Ok(Self::Vhd),
            "vhdx" => Ok(Self::Vhdx),
            "vmdk" => Ok(Self::Vmdk),
            "vdi" => Ok(Self::Vdi),
            "qcow2" => Ok(Self::Qcow2),
            "img" | "raw" => Ok(Self::Raw),
            _ => Err(Error::invalid("the output's extension names no format that can be written")
                .found(format_args!("'{extension}'"))
                .allowed("vhd, vhdx, vmdk, vdi, qcow2, img, raw")
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
    /// Its partitions, and what starts it.
    pub layout: Layout,
    /// The machine that it is for, if one was named.
    pub target: Option<&'static Target>,
    /// What is made of the disk, if it is to be more than a file: for the target, which has to be named then.
    pub package: Option<(Package, Wishes)>,
    /// What is asked of the boot programs, beside what the target asks.
    pub boot: boot::Settings,
    /// Which signer's boot manager is taken where the image has several, for UEFI.
    pub generation: boot::Generation,
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
            layout: Layout::default(),
            target: None,
            package: None,
            boot: boot::Settings::default(),
            generation: boot::Generation::Auto,
            label: String::new(),
            cluster_size: 4096,
            seed: None,
            timestamp: None,
            verify: true,
            accept_dirty: false,
            edits: Edits::default(),
        }
    }

    /// What is asked of the boot programs, by the target or by itself.
    pub(super) fn boot_settings(&self) -> boot::Settings {
        match self.target {
            Some(target) if target.azure => boot::Settings::azure(),
            Some(target) if target.ems => {
                boot::Settings { ems: Some(self.boot.ems.unwrap_or_default()), boot_ems: true, ..self.boot.clone() }
            }
            _ => self.boot.clone(),
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
        assert_eq!(Format::of_path(Path::new("a.qcow2")).unwrap(), Format::Qcow2);
        let error = Format::of_path(Path::new("a.hdd")).unwrap_err().to_string();
        assert_eq!(
            error,
            "a.hdd: the output's extension names no format that can be written: found 'hdd', allowed: vhd, vhdx, vmdk, vdi, \
             qcow2, img, raw"
        );
        assert!(Format::of_path(Path::new("a")).is_err());
    }
}
