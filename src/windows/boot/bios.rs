//! The chain of a BIOS.

use super::copy::{beside, copy, copy_directory, ensure_child, put};
use super::store::{new_store, put_store};
use super::{Installed, Options};
use crate::base::Name;
use crate::error::{Error, Kind, Result};
use crate::format::bcd::Firmware;
use crate::tree::{Content, NodeId, Tree, attributes};
use crate::windows::{Machine, Windows};

/// What goes from `\Windows\Boot\PCAT` to the root, under which name, with which attributes.
const ROOT_FILES: [(&str, &str, u32); 2] = [
    ("bootmgr", "bootmgr", attributes::READ_ONLY | attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE),
    ("bootnxt", "BOOTNXT", attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE),
];

/// Makes the image bootable by a BIOS from its one partition.
pub fn install_bios(windows: &mut Windows, options: &Options) -> Result<Installed> {
    let (boot, mut installed) = install_bios_to(windows, options)?;
    let tree = &mut windows.tree;
    for (_, name, _) in ROOT_FILES {
        let is_new = boot.child(boot.root(), Name::from(name).units()).is_some();
        if is_new && tree.child(tree.root(), Name::from(name).units()).is_some() {
            let warning = format!(r"the image's own \{name} was replaced by the one in \Windows\Boot\PCAT");
            installed.warnings.push(warning);
        }
    }
    let root = tree.root();
    copy_directory(&boot, boot.root(), tree, root, &[])?;
    if let Some(folder) = tree.find(r"\Boot") {
        tree.node_mut(folder).attributes |= attributes::HIDDEN | attributes::SYSTEM; // it may have been there without
    }
    Ok(installed)
}

/// Makes the files of a system partition from which a BIOS boots the image, and the settings in the image's template.
pub fn install_bios_to(windows: &mut Windows, options: &Options) -> Result<(Tree, Installed)> {
    if !matches!(windows.machine(), Machine::X86 | Machine::Amd64) {
        return Err(Error::new(
            Kind::WrongMachine,
            "a BIOS cannot boot this image: its Windows is for another processor",
        )
        .found(windows.machine())
        .allowed("x86, amd64")
        .hint("ARM machines boot by UEFI only"));
    }
    let pcat = windows.directory(r"\Windows\Boot\PCAT");
    let manager =
        pcat.and_then(|folder| windows.tree.child(folder, Name::from("bootmgr").units()).map(|link| link.node));
    let (Some(pcat), Some(manager)) = (pcat, manager) else {
        return Err(Error::new(
            Kind::NotBootable,
            r"the image has no BOOTMGR for a BIOS: \Windows\Boot\PCAT\bootmgr is missing",
        )
        .hint("the image may be for UEFI machines or containers only; `nanovhd ls -R` shows what is in it"));
    };
    check_manager(windows, manager)?;

    let mut installed = Installed::default();
    let store = new_store(windows, Firmware::Bios, options, &mut installed)?;

    let from = &windows.tree;
    let mut made = beside(from);
    let root = made.root();
    let mut folder = copy(from, pcat, &mut made);
    folder.attributes |= attributes::HIDDEN | attributes::SYSTEM;
    let boot = ensure_child(&mut made, root, "Boot".into(), folder)?;
    for (source, target, attributes) in ROOT_FILES {
        let Some(node) = from.child(pcat, Name::from(source).units()).map(|link| link.node) else { continue };
        let mut file = copy(from, node, &mut made);
        file.attributes = attributes;
        file.streams.iter_mut().for_each(|stream| stream.sparse = false); // boot records refuse what is not stored plain
        put(&mut made, root, target.into(), file)?;
        installed.files += 1;
    }
    installed.files += copy_directory(from, pcat, &mut made, boot, &ROOT_FILES.map(|(source, ..)| source.into()))?;
    for part in ["Fonts", "Resources"] {
        if let Some(source) = windows.directory(&format!(r"\Windows\Boot\{part}")) {
            let like = copy(from, source, &mut made);
            let target = ensure_child(&mut made, boot, part.into(), like)?;
            installed.files += copy_directory(from, source, &mut made, target, &[])?;
        }
    }
    put_store(windows, &mut made, boot, &store, options)?;
    Ok((made, installed))
}

/// The loader is read through INT 13h into a window of memory, so its size has a limit that no installer would meet.
fn check_manager(windows: &Windows, manager: NodeId) -> Result<()> {
    const ROOM: u64 = 0x9_F000 - 0x2_0000; // from where BOOTMGR is loaded to the BIOS's own data
    let found = windows.tree.node(manager).main().map_or(0, Content::len);
    if found == 0 || found > ROOM {
        return Err(Error::new(
            Kind::NotBootable,
            r"\Windows\Boot\PCAT\bootmgr cannot be loaded by a BIOS boot record",
        )
        .found(format_args!("{found} bytes"))
        .allowed(format_args!("1 to {ROOM} bytes")));
    }
    Ok(())
}
