//! All levels at once: a disk, its division, its volumes, what boots from it and what is installed on it.

use std::sync::Arc;

use serde::Serialize;

use super::partitions::{Content, content};
use super::{Finding, Findings, Level, Rule, boot, ntfs, partitions, windows};
use crate::base::{ReadAt, Slice};
use crate::format::partitions::{Partition, Scheme};
use crate::format::{fat, ntfs::read};
use crate::tree::Tree;

/// What was looked at, so that silence can be told from blindness.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Looked {
    /// Length of the disk.
    pub bytes: u64,
    /// How it is divided: `MBR`, `GPT`, `one volume`; nothing if no table could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'static str>,
    /// Its partitions.
    pub partitions: Vec<LookedPartition>,
    /// Whether the way from the firmware to the loader was followed.
    pub boot: bool,
}

/// See [`Looked::partitions`].
#[derive(Debug, Clone, Serialize)]
pub struct LookedPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Where it starts, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is in it, in words.
    pub content: String,
    /// Names in its volume, where they could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<usize>,
    /// Whether there is an installation of Windows on it.
    pub windows: bool,
}

/// A partition that lies on the disk, opened as far as it goes.
struct Opened {
    partition: Partition,
    window: Arc<dyn ReadAt>,
    content: Content,
    tree: Option<Tree>,
    windows: Option<windows::Installed>,
}

/// Checks a disk, or a bare volume, from its division to its installation. With `only`, of its volumes just that one, and not
/// what boots, which is a matter of all.
pub fn check(disk: &Arc<dyn ReadAt>, only: Option<u32>, findings: &mut Findings) -> Looked {
    let mut looked = Looked { bytes: disk.len(), ..Looked::default() };
    let Some(table) = partitions::check(disk, findings) else { return looked };
    looked.scheme = Some(match table.scheme {
        Scheme::None => "one volume",
        Scheme::Mbr { .. } => "MBR",
        Scheme::Gpt { .. } => "GPT",
    });
    let chosen = table.partitions.iter().filter(|partition| only.is_none_or(|number| number == partition.number));
    let mut volumes = Vec::new();
    for partition in chosen {
        let Ok(window) = Slice::of_reader(Arc::clone(disk), partition.range.clone()) else { continue };
        findings.set_partition(Some(partition.number));
        volumes.push(Opened::check(partition, Arc::new(window), findings));
    }
    findings.set_partition(None);
    looked.partitions = volumes.iter().map(Opened::looked).collect();
    if only.is_none() {
        let volumes: Vec<boot::Volume<'_>> = volumes.iter().map(Opened::as_volume).collect();
        boot::check(disk, &table, &volumes, findings);
        looked.boot = true;
    }
    looked
}

impl Opened {
    fn check(partition: &Partition, window: Arc<dyn ReadAt>, findings: &mut Findings) -> Self {
        let content = content(&window);
        let tree = match content {
            Content::Ntfs => ntfs_tree(&window, findings),
            Content::Fat => fat_tree(&window, findings),
            _ => None,
        };
        let windows = tree.as_ref().and_then(|tree| windows::check(tree, findings));
        Self { partition: partition.clone(), window, content, tree, windows }
    }

    fn as_volume(&self) -> boot::Volume<'_> {
        boot::Volume {
            partition: &self.partition,
            window: &self.window,
            content: self.content,
            tree: self.tree.as_ref(),
            machine: self.windows.and_then(|windows| windows.machine),
        }
    }

    fn looked(&self) -> LookedPartition {
        LookedPartition {
            number: self.partition.number,
            start: self.partition.range.start,
            bytes: self.window.len(),
            content: self.content.to_string(),
            names: self.tree.as_ref().map(|tree| tree.walk().count()),
            windows: self.windows.is_some(),
        }
    }
}

/// Checks the volume, and reads its files with the reader, which has to agree that they can be read.
fn ntfs_tree(window: &Arc<dyn ReadAt>, findings: &mut Findings) -> Option<Tree> {
    let before = findings.count(Level::Error);
    ntfs::check(window, findings);
    let contents = read::Volume::open(Arc::clone(window)).and_then(|volume| volume.read());
    match contents {
        Ok(contents) => Some(contents.tree),
        Err(error) => {
            if findings.count(Level::Error) == before {
                findings.add(Finding::new(Rule::MftRuns, error).allowed("a volume whose files can be read"));
            }
            None
        }
    }
}

/// There are no rules for FAT beyond those of booting: what is wrong with an EFI system partition is said there.
fn fat_tree(window: &Arc<dyn ReadAt>, findings: &mut Findings) -> Option<Tree> {
    let contents = fat::Volume::open(Arc::clone(window)).and_then(|volume| volume.read());
    let (notes, tree) = match contents {
        Ok(contents) => (contents.notes, Some(contents.tree)),
        Err(error) => (vec![error.to_string()], None),
    };
    for note in notes {
        let finding = Finding::new(Rule::EfiSystem, note).allowed("a FAT volume that can be read");
        findings.add(finding.level(Level::Warning));
    }
    tree
}
