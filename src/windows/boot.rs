//! What `bcdboot` does: puts the boot manager, its data and a BCD store where the firmware's chain looks for them.
//!
//! For a BIOS: `\Windows\Boot\PCAT` to `\Boot`, its `bootmgr` and `bootnxt` to the root, `\Windows\Boot\Fonts` and
//! `\Windows\Boot\Resources` below `\Boot`, and a new store at `\Boot\BCD`. Which files bcdboot copies, with which attributes, is
//! described by the BCD-SYS project, which does the same from bash.

use serde::Serialize;
use uuid::Uuid;

use super::{Machine, SYSTEM_ROOT, Windows};
use crate::base::{FileTime, Name, upcase};
use crate::error::{Context, Error, Kind, Result};
use crate::format::bcd;
use crate::format::hive::{Hive, Recovery};
use crate::tree::{Content, Link, Node, NodeId, Times, attributes};

/// What the caller decides about the chain.
#[derive(Debug, Clone)]
pub struct Options {
    /// The id of the loader's object.
    pub loader_id: Uuid,
    /// The id of the object that resumes from hibernation.
    pub resume_id: Uuid,
    /// The moment at which the store is made.
    pub created: FileTime,
}

/// What was put in place.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Installed {
    /// The program that the boot manager will start.
    pub loader: String,
    /// How many files were copied.
    pub files: usize,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

/// Makes the image bootable by a BIOS from its one partition.
pub fn install_bios(windows: &mut Windows, options: &Options) -> Result<Installed> {
    if !matches!(windows.machine, Machine::X86 | Machine::Amd64) {
        return Err(Error::new(
            Kind::WrongMachine,
            "a BIOS cannot boot this image: its Windows is for another processor",
        )
        .found(windows.machine)
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
    let store = new_store(windows, options, &mut installed)?;

    let boot = ensure_child(windows, windows.tree.root(), "Boot".into(), pcat)?;
    windows.tree.node_mut(boot).attributes |= attributes::HIDDEN | attributes::SYSTEM;
    const ROOT_FILES: [(&str, &str, u32); 2] = [
        ("bootmgr", "bootmgr", attributes::READ_ONLY | attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE),
        ("bootnxt", "BOOTNXT", attributes::HIDDEN | attributes::SYSTEM | attributes::ARCHIVE),
    ];
    for (source, target, attributes) in ROOT_FILES {
        let Some(node) = windows.tree.child(pcat, Name::from(source).units()).map(|link| link.node) else { continue };
        let mut copy = windows.tree.node(node).copy();
        copy.attributes = attributes;
        copy.streams.iter_mut().for_each(|stream| stream.sparse = false); // boot records refuse what is not stored plain
        if windows.tree.child(windows.tree.root(), Name::from(target).units()).is_some() {
            installed
                .warnings
                .push(format!(r"the image's own \{target} was replaced by the one in \Windows\Boot\PCAT"));
        }
        put(windows, windows.tree.root(), target.into(), copy)?;
        installed.files += 1;
    }
    installed.files += copy_directory(windows, pcat, boot, &ROOT_FILES.map(|(source, ..)| source.into()))?;
    for part in ["Fonts", "Resources"] {
        if let Some(source) = windows.directory(&format!(r"\Windows\Boot\{part}")) {
            let target = ensure_child(windows, boot, part.into(), source)?;
            installed.files += copy_directory(windows, source, target, &[])?;
        }
    }
    put_store(windows, boot, store, options.created)?;
    Ok(installed)
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

/// The store, made as bcdboot makes it: from the image's own template where it has one.
fn new_store(windows: &Windows, options: &Options, installed: &mut Installed) -> Result<bcd::Store> {
    const TEMPLATE: &str = r"\Windows\System32\config\BCD-Template";
    let template = match windows.tree.read_file(TEMPLATE)? {
        Some(bytes) => Some(Hive::read(bytes).and_then(|hive| bcd::Store::read(&hive)).context(|| TEMPLATE)?),
        None => {
            installed.warnings.push(format!("the image has no {TEMPLATE}: the boot store has default settings"));
            None
        }
    };
    let firmware = bcd::Firmware::Bios;
    let candidates = match template.as_ref().and_then(|template| template.loader_path(firmware, SYSTEM_ROOT)) {
        Some(named) => vec![named],
        None => [r"\system32\winload.exe", r"\system32\boot\winload.exe"]
            .map(|path| format!("{SYSTEM_ROOT}{path}"))
            .to_vec(),
    };
    let resume = template.as_ref().and_then(|template| template.resume_path(firmware, SYSTEM_ROOT));
    let exists = |path: &str| windows.tree.find(path).is_some();
    let loader = candidates.iter().find(|path| exists(path)).ok_or_else(|| {
        Error::new(Kind::NotBootable, "the image has no WINLOAD for a BIOS: the file is missing")
            .allowed(candidates.join(" or "))
            .hint("the image may be for UEFI machines only; `nanovhd ls -R` shows what is in it")
    })?;
    installed.loader.clone_from(loader);
    let system = windows.hive("SYSTEM")?;
    if system.recovery() == Recovery::Ignored {
        let warning = "the SYSTEM hive was not left clean, and no log mends it: Windows may refuse to start from it";
        installed.warnings.push(warning.into());
    }
    let menu = Menu::of(&system);
    bcd::new_store(&bcd::NewStore {
        firmware,
        loader_path: loader,
        system_root: SYSTEM_ROOT,
        description: &menu.description,
        locale: &menu.locale,
        // By what lies on it, not by a signature: Windows gives a disk a new one when two are the same. Microsoft's
        // Convert-WindowsImage sets these three too, after bcdboot.
        boot_device: bcd::Device::Locate { element: bcd::code::PATH },
        os_device: bcd::Device::Locate { element: bcd::code::SYSTEM_ROOT },
        loader_id: options.loader_id,
        resume_id: options.resume_id,
        resume: exists(&resume.unwrap_or_else(|| format!(r"{SYSTEM_ROOT}\system32\winresume.exe"))),
        memdiag: exists(r"\Windows\Boot\PCAT\memtest.exe"),
        template: template.as_ref(),
    })
}

/// What the boot menu says, and in which language.
///
/// It comes out of the installation's own registry and not from the XML of a WIM, which no hash protects.
struct Menu {
    description: String,
    locale: String,
}

impl Menu {
    fn of(system: &Hive) -> Self {
        let current = system.open("Select").and_then(|key| system.value(key, "Current")?.as_dword()).unwrap_or(1);
        let control = |path: &str| system.open(&format!(r"ControlSet{current:03}\Control\{path}"));
        let product = control("ProductOptions").and_then(|key| system.value(key, "ProductType")?.as_text());
        let server = product.is_some_and(|product| product != "WinNT");
        // The languages that the installation itself has; en-US is in every boot manager.
        let languages = control(r"MUI\UILanguages");
        let language = languages.and_then(|key| system.subkeys(key).next()).map(|key| system.name(key).to_string());
        Self {
            description: if server { "Windows Server" } else { "Windows" }.into(),
            locale: language.unwrap_or_else(|| "en-US".into()),
        }
    }
}

fn put_store(windows: &mut Windows, boot: NodeId, store: bcd::Store, created: FileTime) -> Result<()> {
    let hive = store.to_hive(created)?.to_bytes()?;
    let mut node = Node::file(attributes::ARCHIVE, Times::all(created), Content::from(hive));
    // The hives' own folder allows SYSTEM and administrators only, which is what the store of a running system has.
    let sibling = windows
        .tree
        .find(r"\Windows\System32\config\BCD-Template")
        .or_else(|| windows.tree.find(r"\Windows\System32\config\SYSTEM"));
    node.descriptor = sibling.and_then(|sibling| windows.tree.node(sibling).descriptor);
    put(windows, boot, "BCD".into(), node)
}

/// Puts a file into a directory in the place of any that has its name.
fn put(windows: &mut Windows, directory: NodeId, name: Name, node: Node) -> Result<()> {
    if let Some(old) = windows.tree.child(directory, name.units()) {
        if windows.tree.node(old.node).is_directory() {
            return Err(Error::new(Kind::NotBootable, "a directory stands where a boot file must go").found(name));
        }
        windows.tree.remove_link(directory, name.units())?;
    }
    let node = windows.tree.add_node(node)?;
    windows.tree.add_link(directory, Link { name, short: None, node })
}

/// The directory of that name, made with the metadata of `like` if it is not there.
fn ensure_child(windows: &mut Windows, parent: NodeId, name: Name, like: NodeId) -> Result<NodeId> {
    if let Some(link) = windows.tree.child(parent, name.units()) {
        if !windows.tree.node(link.node).is_directory() {
            return Err(Error::new(Kind::NotBootable, "a file stands where a boot directory must go").found(name));
        }
        return Ok(link.node);
    }
    let node = windows.tree.add_node(windows.tree.node(like).copy())?;
    windows.tree.add_link(parent, Link { name, short: None, node })?;
    Ok(node)
}

/// Copies what is in a directory, apart from the names in `except` at its top; tells how many files that were.
fn copy_directory(windows: &mut Windows, source: NodeId, target: NodeId, except: &[Name]) -> Result<usize> {
    let mut files = 0;
    let mut work = vec![(source, target)];
    while let Some((from, to)) = work.pop() {
        let mut links = windows.tree.node(from).children().to_vec();
        links.retain(|link| from != source || !except.iter().any(|name| upcase::same(name.units(), link.name.units())));
        let fresh = windows.tree.node(to).children().is_empty();
        let mut copies = Vec::new();
        for link in links {
            let is_directory = windows.tree.node(link.node).is_directory();
            files += usize::from(!is_directory);
            if fresh {
                let node = windows.tree.add_node(windows.tree.node(link.node).copy())?;
                copies.push(Link { name: link.name, short: None, node });
                if is_directory {
                    work.push((link.node, node));
                }
            } else if is_directory {
                let below = ensure_child(windows, to, link.name, link.node)?;
                work.push((link.node, below));
            } else {
                put(windows, to, link.name, windows.tree.node(link.node).copy())?;
            }
        }
        if fresh {
            windows.tree.set_children(to, copies)?; // at once: one by one takes quadratic time
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hive::Value;
    use crate::windows::tests::{executable, system_hive, tree_of};

    const HIVE: &str = r"\Windows\System32\config\SYSTEM";

    fn options() -> Options {
        Options {
            loader_id: Uuid::from_u128(1),
            resume_id: Uuid::from_u128(2),
            created: FileTime(131_000_000_000_000_000),
        }
    }

    #[test]
    fn puts_every_piece_in_its_place() {
        let loader = executable(0x8664);
        let hive = system_hive(&[
            (r"Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
            (r"Control\MUI\UILanguages\de-DE", "Type", Value::dword(1)),
        ]);
        let tree = tree_of(&[
            (HIVE, &hive),
            (r"\Windows\System32\winload.exe", &loader),
            (r"\Windows\Boot\PCAT\bootmgr", b"manager"),
            (r"\Windows\Boot\PCAT\bootnxt", b"\0"),
            (r"\Windows\Boot\PCAT\memtest.exe", b"memtest"),
            (r"\Windows\Boot\PCAT\en-US\bootmgr.exe.mui", b"words"),
            (r"\Windows\Boot\Fonts\wgl4_boot.ttf", b"font"),
            (r"\bootmgr", b"an old one"),
        ]);
        let mut windows = Windows::recognise(tree).unwrap();
        let installed = install_bios(&mut windows, &options()).unwrap();
        assert_eq!(installed.loader, r"\Windows\system32\winload.exe");
        assert_eq!(installed.files, 5);
        assert_eq!(installed.warnings.len(), 2, "no template, and an old bootmgr: {:?}", installed.warnings);
        let tree = windows.tree();
        for (path, content) in [
            (r"\bootmgr", &b"manager"[..]),
            (r"\BOOTNXT", b"\0"),
            (r"\Boot\memtest.exe", b"memtest"),
            (r"\Boot\en-US\bootmgr.exe.mui", b"words"),
            (r"\Boot\Fonts\wgl4_boot.ttf", b"font"),
        ] {
            assert_eq!(tree.read_file(path).unwrap().as_deref(), Some(content), "{path}");
        }
        assert_eq!(tree.find(r"\Boot\bootmgr"), None);
        assert_eq!(tree.node(tree.find(r"\bootmgr").unwrap()).attributes, 0x27);
        assert_eq!(tree.node(tree.find(r"\BOOTNXT").unwrap()).attributes, 0x26);
        assert_eq!(tree.node(tree.find(r"\Boot").unwrap()).attributes & 6, 6);
        let hive = Hive::read(tree.read_file(r"\Boot\BCD").unwrap().unwrap()).unwrap();
        let store = bcd::Store::read(&hive).unwrap();
        let loader = &store.objects[&Uuid::from_u128(1)];
        assert_eq!(loader.text(bcd::code::PATH), Some(r"\Windows\system32\winload.exe"));
        assert_eq!(loader.text(bcd::code::DESCRIPTION), Some("Windows Server"));
        assert_eq!(loader.text(bcd::code::LOCALE), Some("de-DE"));
    }

    #[test]
    fn says_what_is_missing() {
        let hive = system_hive(&[]);
        let hive = (HIVE, &hive[..]);
        let amd64 = executable(0x8664);
        let arm64 = executable(0xAA64);
        let winload = r"\Windows\System32\winload.exe";
        let manager = (r"\Windows\Boot\PCAT\bootmgr", &b"manager"[..]);
        let large = vec![0; 0x8_0000];
        type Files<'f> = &'f [(&'f str, &'f [u8])];
        let cases: [(Files<'_>, Kind); 4] = [
            (&[hive, (winload, &arm64), manager], Kind::WrongMachine),
            (&[hive, (winload, &amd64)], Kind::NotBootable),
            (&[hive, (r"\Windows\System32\ntdll.dll", &amd64), manager], Kind::NotBootable),
            (&[hive, (winload, &amd64), (r"\Windows\Boot\PCAT\bootmgr", &large)], Kind::NotBootable),
        ];
        for (files, kind) in cases {
            let mut windows = Windows::recognise(tree_of(files)).unwrap();
            assert_eq!(install_bios(&mut windows, &options()).unwrap_err().kind(), kind);
        }
    }
}
