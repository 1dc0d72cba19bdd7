//! A disk image that exists: its container, its disk, its partitions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host::InputFile;
use crate::base::{ReadAt, Slice};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs::read::Volume;
use crate::format::partitions::{Partition, Table};
use crate::format::vhd::{Variant, Vhd};

/// What kind of file a disk is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The sectors alone.
    Raw,
    /// A VHD.
    Vhd(Variant),
}

/// A disk that can be read.
pub struct Opened {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub container: Container,
    /// The disk in it.
    pub disk: Arc<dyn ReadAt>,
}

impl Opened {
    /// Opens a file by what it holds, whatever its name is.
    pub fn open(path: &Path) -> Result<Self> {
        let file: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
        let (container, disk): (_, Arc<dyn ReadAt>) = match Vhd::open(Arc::clone(&file)) {
            Ok(vhd) => (Container::Vhd(vhd.variant()), Arc::new(vhd)),
            Err(error) if error.kind() == Kind::Unsupported => return Err(error).context(|| path.display()),
            Err(_) => (Container::Raw, file),
        };
        Ok(Self { path: path.to_owned(), container, disk })
    }

    /// How the disk is divided.
    pub fn table(&self) -> Result<Table> {
        Table::read(&self.disk).context(|| self.path.display())
    }

    /// The window onto one partition.
    pub fn partition(&self, partition: &Partition) -> Result<Arc<dyn ReadAt>> {
        let window = Slice::of_reader(Arc::clone(&self.disk), partition.range.clone());
        Ok(Arc::new(window.context(|| format!("partition {}", partition.number)).context(|| self.path.display())?))
    }

    /// The volume that a user means: of partition `number`, or else the one that holds a Windows, or else the only NTFS one.
    pub fn volume(&self, number: Option<u32>) -> Result<(Partition, Volume)> {
        let table = self.table()?;
        let mut found = Vec::new();
        for partition in table.partitions.into_iter().filter(|partition| number.is_none_or(|n| n == partition.number)) {
            match Volume::open(self.partition(&partition)?) {
                Ok(volume) => found.push((partition, volume)),
                Err(error) if number.is_some() => return Err(error).context(|| self.path.display()),
                Err(_) => {}
            }
        }
        found
            .pop()
            .ok_or_else(|| Error::new(Kind::NotWindows, "no NTFS volume on the disk").context(self.path.display()))
    }
}
