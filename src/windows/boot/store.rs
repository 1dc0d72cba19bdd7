//! The BCD store.

use super::copy::put;
use super::settings::Settings;
use super::{Installed, Options};
use crate::error::{Context, Error, Kind, Result};
use crate::format::bcd::{self, Firmware};
use crate::format::hive::{Hive, Recovery};
use crate::tree::{Content, Node, NodeId, Times, Tree, attributes};
use crate::windows::{SYSTEM_ROOT, Windows, registry};

const TEMPLATE: &str = r"\Windows\System32\config\BCD-Template";

/// What is different for each firmware.
struct Programs {
    loaders: [&'static str; 2],
    resume: &'static str,
    memdiag: &'static str,
    name: &'static str,
}

fn programs(firmware: Firmware) -> Programs {
    match firmware {
        Firmware::Bios => Programs {
            loaders: [r"\system32\winload.exe", r"\system32\boot\winload.exe"],
            resume: r"\system32\winresume.exe",
            memdiag: r"\Boot\PCAT\memtest.exe",
            name: "a BIOS",
        },
        Firmware::Uefi => Programs {
            loaders: [r"\system32\winload.efi", r"\system32\boot\winload.efi"],
            resume: r"\system32\winresume.efi",
            memdiag: r"\Boot\EFI\memtest.efi",
            name: "UEFI",
        },
    }
}

/// The store, made as bcdboot makes it: from the image's own template where it has one. The settings are in both afterwards.
pub(super) fn new_store(
    windows: &mut Windows,
    firmware: Firmware,
    options: &Options,
    installed: &mut Installed,
) -> Result<bcd::Store> {
    set_in_template(&mut windows.tree, &options.settings, options)?;
    let template = match registry::read_hive(&windows.tree, TEMPLATE)? {
        Some(hive) => Some(bcd::Store::read(&hive).context(|| TEMPLATE)?),
        None => {
            installed.warnings.push(format!("the image has no {TEMPLATE}: the boot store has default settings"));
            None
        }
    };
    let programs = programs(firmware);
    let candidates = match template.as_ref().and_then(|template| template.loader_path(firmware, SYSTEM_ROOT)) {
        Some(named) => vec![named],
        None => programs.loaders.map(|path| format!("{SYSTEM_ROOT}{path}")).to_vec(),
    };
    let resume = template.as_ref().and_then(|template| template.resume_path(firmware, SYSTEM_ROOT));
    let exists = |path: &str| windows.tree.find(path).is_some();
    let loader = candidates.iter().find(|path| exists(path)).ok_or_else(|| {
        let other = if firmware == Firmware::Bios { "UEFI machines" } else { "a BIOS" };
        let what = format_args!("the image has no WINLOAD for {}: the file is missing", programs.name).to_string();
        Error::new(Kind::NotBootable, what)
            .allowed(candidates.join(" or "))
            .hint(format_args!("the image may be for {other} only; `nanovhd ls -R` shows what is in it"))
    })?;
    installed.loader.clone_from(loader);
    let system = windows.hive("SYSTEM")?;
    if system.recovery() == Recovery::Ignored {
        let warning = "the SYSTEM hive was not left clean, and no log mends it: Windows may refuse to start from it";
        installed.warnings.push(warning.into());
    }
    let menu = Menu::of(&system);
    let mut store = bcd::new_store(&bcd::NewStore {
        firmware,
        loader_path: loader,
        system_root: SYSTEM_ROOT,
        description: &menu.description,
        locale: &menu.locale,
        boot_device: options.boot_device.clone(),
        os_device: options.os_device.clone(),
        loader_id: options.loader_id,
        resume_id: options.resume_id,
        resume: exists(&resume.unwrap_or_else(|| format!("{SYSTEM_ROOT}{}", programs.resume))),
        memdiag: exists(&format!("{SYSTEM_ROOT}{}", programs.memdiag)),
        template: template.as_ref(),
    })?;
    options.settings.set_in(&mut store, options.loader_id);
    Ok(store)
}

/// Makes the settings in the image's template too, as Microsoft's NanoServerImageGenerator does, so that they outlive a bcdboot of Windows'
/// own.
fn set_in_template(tree: &mut Tree, settings: &Settings, options: &Options) -> Result<()> {
    if settings.is_nothing() {
        return Ok(());
    }
    let Some(id) = tree.find(TEMPLATE) else { return Ok(()) };
    let Some(mut hive) = registry::read_hive(tree, TEMPLATE)? else { return Ok(()) };
    hive.set_now(options.created);
    settings.set_in_template(&mut hive).context(|| TEMPLATE)?;
    let bytes = hive.to_bytes().context(|| TEMPLATE)?;
    let node = tree.node_mut(id);
    if let Some(main) = node.streams.iter_mut().find(|stream| stream.name.is_empty()) {
        main.content = Content::from(bytes);
        main.sparse = false;
    }
    node.times.modified = options.created;
    node.times.changed = options.created;
    Ok(())
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

/// Puts a store into a directory of the tree for the system partition.
pub(super) fn put_store(
    windows: &Windows,
    to: &mut Tree,
    boot: NodeId,
    store: &bcd::Store,
    options: &Options,
) -> Result<()> {
    let hive = store.to_hive(options.created)?.to_bytes()?;
    let mut node = Node::file(attributes::ARCHIVE, Times::all(options.created), Content::from(hive));
    // The hives' own folder allows SYSTEM and administrators only, which is what the store of a running system has.
    let tree = windows.tree();
    let sibling = tree.find(TEMPLATE).or_else(|| tree.find(r"\Windows\System32\config\SYSTEM"));
    let descriptor = sibling.and_then(|sibling| tree.descriptors().get(tree.node(sibling).descriptor?.index()));
    node.descriptor = descriptor.map(|bytes| to.add_descriptor(bytes));
    put(to, boot, "BCD".into(), node).map(drop)
}
