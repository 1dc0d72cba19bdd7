//! A disk image that exists: its container, its disk, its partitions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::chain;
use crate::base::{ReadAt, Slice};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs::read::Volume;
use crate::format::partitions::{self, Partition, Table};
use crate::format::{vdi, vhd, vhdx, vmdk};

/// What kind of file a disk is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The sectors alone.
    Raw,
    /// A VHD.
    Vhd(vhd::Variant),
    /// A VHDX.
    Vhdx(vhdx::Variant),
    /// A VDI.
    Vdi(vdi::Variant),
    /// A qcow2.
    Qcow2 {
        /// How many states of the disk the file has besides the active one, which alone is read.
        snapshots: u32,
    },
    /// A VMDK.
    Vmdk(vmdk::Variant),
}

/// One file of a chain of differencing disks.
#[derive(Clone)]
pub struct Layer {
    /// Where it is.
    pub path: PathBuf,
    /// The file as it is, container and all.
    pub file: Arc<dyn ReadAt>,
}

/// A disk that can be read.
pub struct Opened {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub container: Container,
    /// The disk in it.
    pub disk: Arc<dyn ReadAt>,
    /// The file, and the files below it if it is a differencing disk: the child first.
    pub layers: Vec<Layer>,
    /// The size of the disk's sectors as its machine sees them, 512 or 4096.
    pub sector_size: u32,
    /// The id that the container has for the disk; none for a raw one.
    pub id: Option<Uuid>,
}

impl Opened {
    /// Opens a file by what it holds, whatever its name is, with the parents of a differencing disk.
    ///
    /// Parents are looked for where the child says: by the path from its folder first, then by the absolute ones, and last under their
    /// names in its folder. They have to be those that the child was made for.
    pub fn open(path: &Path) -> Result<Self> {
        chain::open(path)
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

    /// The volume that a user means: of partition `number`, or else the only NTFS one, or of several the one that holds a
    /// Windows, or else the largest.
    pub fn volume(&self, number: Option<u32>) -> Result<(Partition, Volume)> {
        let table = self.table()?;
        if let Some(number) = number {
            let partition = numbered(&table, number).context(|| self.path.display())?;
            let volume = self.partition(partition).and_then(Volume::open);
            let frame = || format!("partition {number}");
            return Ok((partition.clone(), volume.context(frame).context(|| self.path.display())?));
        }
        let volume = |partition: &Partition| Volume::open(self.partition(partition)?);
        let (mut found, mut complaint) = (Vec::new(), None);
        for partition in &table.partitions {
            match volume(partition) {
                Ok(volume) => found.push((partition.clone(), volume)),
                // Of what says that it is NTFS, it matters why it is not; of an EFI system partition it does not.
                Err(error) if self.is_marked_ntfs(partition) => complaint = complaint.or(Some(error)),
                Err(_) => {}
            }
        }
        found.sort_by_key(|(partition, _)| std::cmp::Reverse(partition.range.end - partition.range.start));
        if found.len() > 1 {
            let windows = found.iter().position(|(_, volume)| holds_windows(volume)).unwrap_or(0);
            return Ok(found.swap_remove(windows));
        }
        let none = || {
            Error::new(Kind::NotWindows, "no NTFS volume on the disk")
                .found(describe(&table.partitions))
                .hint("choose an image that has a Windows volume")
        };
        found.pop().ok_or_else(|| complaint.unwrap_or_else(none).context(self.path.display()))
    }

    /// Refuses an output that is one of the files that are read: on some hosts that fails late, and of a chain others may need them.
    pub fn refuse_output(&self, output: &Path) -> Result<()> {
        let Ok(file) = output.canonicalize() else { return Ok(()) };
        if self.layers.iter().any(|layer| layer.path.canonicalize().is_ok_and(|path| path == file)) {
            return Err(Error::invalid("the output is a file that the disk is read from")
                .hint("name another output, and rename it afterwards")
                .context(output.display()));
        }
        Ok(())
    }

    fn is_marked_ntfs(&self, partition: &Partition) -> bool {
        let mut mark = [0; 8];
        let window = self.partition(partition);
        window.is_ok_and(|window| window.read_at(3, &mut mark).is_ok() && &mark == b"NTFS    ")
    }
}

/// Whether a volume has the hive without which no Windows is one.
fn holds_windows(volume: &Volume) -> bool {
    let contents = volume.read();
    contents.is_ok_and(|contents| contents.tree.find(r"\Windows\System32\config\SYSTEM").is_some())
}

/// The partition of that number.
pub fn numbered(table: &Table, number: u32) -> Result<&Partition> {
    let found = table.partitions.iter().find(|partition| partition.number == number);
    found.ok_or_else(|| {
        Error::invalid(format_args!("the disk has no partition {number}")).allowed(describe(&table.partitions))
    })
}

/// The partitions that there are, for somebody who has to choose one.
fn describe(partitions: &[Partition]) -> String {
    let words = partitions.iter().map(|partition| {
        let kind = match partition.kind {
            partitions::Kind::Bare => "no type".to_owned(),
            partitions::Kind::Mbr(kind) => format!("type {kind:02x}"),
            partitions::Kind::Gpt(kind) => format!("type {kind}"),
        };
        let mib = (partition.range.end - partition.range.start) >> 20;
        format!("{} ({kind}, {mib} MiB)", partition.number)
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "no partitions".to_owned() } else { format!("partitions {}", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_there_is() {
        let partition =
            Partition { number: 2, range: 0..5 << 20, kind: partitions::Kind::Mbr(0x0C), active: false, id: None };
        assert_eq!(describe(&[partition]), "partitions 2 (type 0c, 5 MiB)");
        assert_eq!(describe(&[]), "no partitions");
    }
}
