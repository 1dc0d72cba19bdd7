//! An image with all that it needs to start: what its disk's firmware looks for, each tree for a partition of its own.

use super::Recipe;
use super::layout::{Division, Firmware, Role};
use crate::base::{FileTime, Name};
use crate::error::{Kind, Result};
use crate::format::bcd::{self, Device};
use crate::format::partitions::Scheme;
use crate::image::seed::Seed;
use crate::tree::{Link, Node, Times, Tree};
use crate::windows::{Machine, Windows, boot};

/// What WinRE is, in an image: Windows moves it to the recovery partition when it sets that up.
const WINRE: &str = r"\Windows\System32\Recovery\Winre.wim";

/// The trees of a disk's partitions.
pub(super) struct Prepared {
    /// The image.
    pub(super) tree: Tree,
    /// What the firmware starts, where that has a partition of its own.
    pub(super) system: Option<Tree>,
    /// What is on a recovery partition.
    pub(super) recovery: Option<Tree>,
    /// The processor that the image is for.
    pub(super) machine: Option<Machine>,
    /// What was put in place so that it starts.
    pub(super) boot: Option<boot::Installed>,
}

impl Prepared {
    /// Makes an image start as the recipe wants it. One that no firmware is to start need not be a Windows.
    ///
    /// `division` tells where partitions start and which ids they have, which does not depend on the size of the disk.
    pub(super) fn new(tree: Tree, recipe: &Recipe, division: &Division, seed: &Seed, now: FileTime) -> Result<Self> {
        let firmware = recipe.layout.firmware;
        if firmware == Firmware::None && Windows::recognise(tree.clone()).is_err_and(|e| e.kind() == Kind::NotWindows) {
            return Ok(Self { tree, system: None, recovery: None, machine: None, boot: None });
        }
        let mut windows = Windows::recognise(tree)?;
        let chain = boot::Options {
            loader_id: seed.guid("BCD loader"),
            resume_id: seed.guid("BCD resume"),
            created: now,
            boot_device: device(division, Role::System),
            os_device: device(division, Role::Windows),
            settings: recipe.boot_settings(),
        };
        let uefi = |chain| boot::UefiOptions {
            chain,
            generation: recipe.generation,
            secure_boot: recipe.target.is_some_and(|target| target.secure_boot),
        };
        let (system, boot) = match firmware {
            Firmware::None => (None, None),
            Firmware::Bios if !recipe.layout.separate_system => (None, Some(boot::install_bios(&mut windows, &chain)?)),
            Firmware::Bios => split(boot::install_bios_to(&mut windows, &chain)?),
            Firmware::Uefi => split(boot::install_uefi(&mut windows, &uefi(chain))?),
            Firmware::Both => split(boot::install_both(&mut windows, &uefi(chain))?),
        };
        let machine = Some(windows.machine());
        let tree = windows.into_tree();
        let recovery = recipe.layout.recovery_bytes.map(|_| recovery(&tree, now)).transpose()?;
        Ok(Self { tree, system, recovery, machine, boot })
    }
}

fn split((tree, boot): (Tree, boot::Installed)) -> (Option<Tree>, Option<boot::Installed>) {
    (Some(tree), Some(boot))
}

/// How the boot store names a partition.
///
/// On a disk with one partition it is found by what lies on it, not by a signature: Windows gives a disk a new one when two are the
/// same. Microsoft's Convert-WindowsImage sets these elements too, after bcdboot.
fn device(division: &Division, role: Role) -> Device {
    let located = Device::Locate { element: bcd::code::PATH };
    let Some(slot) = division.slot(role).filter(|_| division.slot(Role::System).is_some()) else { return located };
    match division.scheme {
        Scheme::Gpt { disk } => Device::GptPartition { disk, partition: slot.id },
        Scheme::Mbr { signature } => Device::MbrPartition { signature, offset: slot.range.start },
        Scheme::None => located,
    }
}

/// The files of a recovery partition: the recovery environment, if the image carries one, where `reagentc` looks for it.
fn recovery(image: &Tree, now: FileTime) -> Result<Tree> {
    let mut tree = empty(now);
    for store in image.stores() {
        tree.add_store(std::sync::Arc::clone(store));
    }
    let Some(winre) = image.find(WINRE) else { return Ok(tree) };
    let mut folder = tree.root();
    for name in ["Recovery", "WindowsRE"] {
        let node = tree.add_node(Node::directory(0, Times::all(now)))?;
        tree.add_link(folder, Link { name: name.into(), short: None, node })?;
        folder = node;
    }
    let mut file = image.node(winre).copy();
    file.descriptor = None;
    let node = tree.add_node(file)?;
    tree.add_link(folder, Link { name: Name::from("Winre.wim"), short: None, node })?;
    Ok(tree)
}

/// A tree with nothing in it.
pub(super) fn empty(now: FileTime) -> Tree {
    Tree::new(Node::directory(0, Times::all(now)))
}
