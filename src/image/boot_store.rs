//! The boot store that the firmware's chain would find.

use std::sync::Arc;

use super::opened::{self, Opened};
use super::source::{Choice, Input};
use crate::error::{Context, Error, Result};
use crate::format::bcd::Store;
use crate::format::fat;
use crate::format::ntfs;
use crate::format::partitions::{Partition, Table};
use crate::tree::Tree;
use crate::windows::boot::STORES;
use crate::windows::registry;

/// What stores are made from.
const TEMPLATE: &str = r"\Windows\System32\config\BCD-Template";

/// A store, and where it was found.
pub struct BootStore {
    /// What it holds.
    pub store: Store,
    /// Its path in the image.
    pub path: String,
    /// The number of its partition.
    pub partition: Option<u32>,
    /// How its disk is divided.
    pub table: Option<Table>,
}

/// Finds the store of an image, or reads the one at `path` in it.
///
/// On a disk that is the store of the active partition, or that of the EFI system partition, or that of the first partition that
/// has one. In a WIM without a store it is the template from which one would be made.
pub fn find(input: &Input, name: &str, choice: Choice<'_>, path: Option<&str>) -> Result<BootStore> {
    match input {
        Input::Wim(_) | Input::Media(_) => {
            let tree = input.source(name, choice)?.tree;
            let candidates = path.map_or_else(|| vec![STORES[0], STORES[1], TEMPLATE], |path| vec![path]);
            let found = read(&tree, &candidates).context(|| name)?;
            let (store, path) = found.ok_or_else(|| missing(&candidates).context(name))?;
            Ok(BootStore { store, path, partition: None, table: None })
        }
        Input::Disk(disk) => {
            choice.refuse_image().context(|| name)?;
            let candidates = path.map_or_else(|| STORES.to_vec(), |path| vec![path]);
            on_disk(disk, choice.partition, &candidates)
                .context(|| name)?
                .ok_or_else(|| missing(&candidates).context(name))
        }
    }
}

fn missing(candidates: &[&str]) -> Error {
    Error::invalid("no boot store").allowed(candidates.join(", ")).hint("--store names one that lies elsewhere")
}

fn on_disk(disk: &Opened, number: Option<u32>, candidates: &[&str]) -> Result<Option<BootStore>> {
    let table = disk.table()?;
    let mut partitions: Vec<&Partition> = match number {
        Some(number) => vec![opened::numbered(&table, number)?],
        None => table.partitions.iter().collect(),
    };
    partitions.sort_by_key(|partition| match partition.kind {
        _ if partition.active => 0,
        kind if kind.is_efi_system() => 1,
        _ => 2,
    });
    for partition in partitions {
        let place = || format!("partition {}", partition.number);
        let tree = match files(disk, partition) {
            Ok(tree) => tree,
            Err(error) if number.is_some() => return Err(error.context(place())),
            // What holds no files that can be read holds no store either.
            Err(_) => continue,
        };
        if let Some((store, path)) = read(&tree, candidates).context(place)? {
            return Ok(Some(BootStore { store, path, partition: Some(partition.number), table: Some(table) }));
        }
    }
    Ok(None)
}

/// The files of a partition, whether its volume is NTFS or FAT.
fn files(disk: &Opened, partition: &Partition) -> Result<Tree> {
    let window = disk.partition(partition)?;
    match fat::Volume::open(Arc::clone(&window)) {
        Ok(volume) => Ok(volume.read()?.tree),
        Err(_) => Ok(ntfs::read::Volume::open(window)?.read()?.tree),
    }
}

/// The first of the candidates that is there.
fn read(tree: &Tree, candidates: &[&str]) -> Result<Option<(Store, String)>> {
    for path in candidates {
        if let Some(hive) = registry::read_hive(tree, path)? {
            return Ok(Some((Store::read(&hive).context(|| path)?, (*path).to_owned())));
        }
    }
    Ok(None)
}
