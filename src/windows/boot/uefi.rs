//! The chain of UEFI firmware.
//!
//! # Two boot managers
//! Images that were serviced since April 2024 carry the boot manager twice: as `\Windows\Boot\EFI\bootmgfw.efi`, signed below "Microsoft Windows
//! Production PCA 2011", and as `\Windows\Boot\EFI_EX\bootmgfw_EX.efi`, signed below "Windows UEFI CA 2023"; later ones may have both
//! signatures in one file. `bcdboot /bootex` takes the files of `EFI_EX` and `Fonts_EX` in the place of those in `EFI` and `Fonts`, without the
//! `_EX` in their names; Microsoft's Make2023BootableMedia.ps1 and Rufus do the same for installation media.
//!
//! Firmware with Secure Boot starts a program if a certificate above its signature is in the variable `db` and none in `dbx`. Machines from
//! before 2023 have the certificate of 2011 only, until Windows or their maker adds the other; Microsoft's mitigation for CVE-2023-24932
//! (KB5025885) revokes that of 2011. A boot manager from before May 2023, such as that of Windows Server 2016's media, is refused by its
//! policy as well.

use std::fmt;

use serde::Serialize;

use super::copy::{beside, copy, copy_directory, ensure_child, put};
use super::store::{new_store, put_store};
use super::{Installed, Options};
use crate::base::Name;
use crate::base::bytes::{u16_at, u32_at};
use crate::error::{Context, Error, Kind, Result};
use crate::format::bcd::Firmware;
use crate::tree::{Content, Node, NodeId, Times, Tree, attributes};
use crate::windows::{Machine, Windows};

const MANAGER: &str = r"\Windows\Boot\EFI\bootmgfw.efi";
const MANAGER_EX: &str = r"\Windows\Boot\EFI_EX\bootmgfw_EX.efi";
/// The longest boot manager that is looked into: real ones have 2 to 3 MiB.
const MAX_MANAGER: u64 = 64 << 20;

/// Which boot manager is wanted, by the certificate that its signature goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generation {
    /// The one that bcdboot takes by itself: that of `\Windows\Boot\EFI`.
    #[default]
    Auto,
    /// "Microsoft Windows Production PCA 2011".
    Ca2011,
    /// "Windows UEFI CA 2023".
    Ca2023,
}

/// A certificate that Secure Boot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Authority {
    /// In the `db` of every machine, in the `dbx` of those with the mitigation of KB5025885.
    #[serde(rename = "Microsoft Windows Production PCA 2011")]
    Pca2011,
    /// In the `db` of machines from 2024 on, and of those that were updated.
    #[serde(rename = "Windows UEFI CA 2023")]
    Ca2023,
}

impl Authority {
    const ALL: [Self; 2] = [Self::Pca2011, Self::Ca2023];

    /// The certificate's name.
    fn name(self) -> &'static str {
        match self {
            Self::Pca2011 => "Microsoft Windows Production PCA 2011",
            Self::Ca2023 => "Windows UEFI CA 2023",
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the caller decides about the chain.
#[derive(Debug, Clone)]
pub struct UefiOptions {
    /// What is the same for a BIOS.
    pub chain: Options,
    /// Which boot manager is wanted.
    pub generation: Generation,
    /// Whether the machine's Secure Boot is on: then it is said where it may refuse the boot manager.
    pub secure_boot: bool,
}

/// Where firmware looks that was told nothing, by processor (UEFI specification, 3.5.1.1).
pub fn fallback_path(machine: Machine) -> &'static str {
    match machine {
        Machine::Amd64 => r"\EFI\Boot\bootx64.efi",
        Machine::X86 => r"\EFI\Boot\bootia32.efi",
        Machine::Arm64 => r"\EFI\Boot\bootaa64.efi",
        Machine::Arm => r"\EFI\Boot\bootarm.efi",
    }
}

/// Makes the files of the EFI system partition from which UEFI firmware boots the image, and the settings in the image's template.
pub fn install_uefi(windows: &mut Windows, options: &UefiOptions) -> Result<(Tree, Installed)> {
    let machine = windows.machine();
    let Choice { manager, ex, signed_by } = choose(windows, options.generation)?;
    let mut installed = Installed { signed_by, ..Installed::default() };
    if options.secure_boot {
        installed.warnings.extend(doubts(&installed.signed_by));
    }
    let store = new_store(windows, Firmware::Uefi, &options.chain, &mut installed)?;

    let from = &windows.tree;
    let now = Times::all(options.chain.created);
    let mut made = beside(from);
    let root = made.root();
    made.node_mut(root).attributes &= !(attributes::HIDDEN | attributes::SYSTEM); // a FAT volume's root has none
    let folder = || Node::directory(0, now);
    let efi = ensure_child(&mut made, root, "EFI".into(), folder())?;
    let microsoft = ensure_child(&mut made, efi, "Microsoft".into(), folder())?;
    let boot = ensure_child(&mut made, microsoft, "Boot".into(), folder())?;
    ensure_child(&mut made, microsoft, "Recovery".into(), folder())?;
    let sources = [("EFI", boot, ex), ("Fonts", child(&mut made, boot, "Fonts", folder)?, ex)];
    for (part, target, ex) in sources {
        if let Some(source) = windows.directory(&format!(r"\Windows\Boot\{part}")) {
            installed.files += copy_directory(from, source, &mut made, target, &[])?;
        }
        if let Some(source) = windows.directory(&format!(r"\Windows\Boot\{part}_EX")).filter(|_| ex) {
            installed.files += copy_ex(from, source, &mut made, target)?;
        }
    }
    if let Some(source) = windows.directory(r"\Windows\Boot\Resources") {
        let target = child(&mut made, boot, "Resources", folder)?;
        installed.files += copy_directory(from, source, &mut made, target, &[])?;
    }
    let (fallback, name) = fallback_path(machine).rsplit_once('\\').unwrap_or_default();
    debug_assert_eq!(fallback, r"\EFI\Boot");
    let fallback = ensure_child(&mut made, efi, "Boot".into(), folder())?;
    let mut file = copy(from, manager, &mut made);
    put(&mut made, boot, "bootmgfw.efi".into(), file.clone())?;
    file.descriptor = None;
    put(&mut made, fallback, name.into(), file)?;
    installed.files += 1;
    put_store(windows, &mut made, boot, &store, &options.chain)?;
    Ok((made, installed))
}

fn child(tree: &mut Tree, parent: NodeId, name: &str, folder: impl Fn() -> Node) -> Result<NodeId> {
    ensure_child(tree, parent, name.into(), folder())
}

/// Copies files whose names end with `_EX` over those without.
fn copy_ex(from: &Tree, source: NodeId, to: &mut Tree, target: NodeId) -> Result<usize> {
    let mut fresh = 0;
    for link in from.node(source).children() {
        let node = copy(from, link.node, to);
        if node.is_directory() {
            let below = ensure_child(to, target, link.name.clone(), node)?;
            fresh += copy_ex(from, link.node, to, below)?;
        } else {
            fresh += usize::from(!put(to, target, without_ex(&link.name), node)?);
        }
    }
    Ok(fresh)
}

/// `bootmgfw.efi` of `bootmgfw_EX.efi`.
fn without_ex(name: &Name) -> Name {
    let units = name.units();
    let dot = units.iter().rposition(|unit| *unit == u16::from(b'.')).unwrap_or(units.len());
    let (stem, extension) = units.split_at(dot);
    let ending = Name::from("_EX");
    match stem.len().checked_sub(ending.len()).map(|at| stem.split_at(at)) {
        Some((stem, end)) if crate::base::upcase::same(end, ending.units()) && !stem.is_empty() => {
            Name::new([stem, extension].concat())
        }
        _ => name.clone(),
    }
}

/// The boot manager that is taken.
struct Choice {
    manager: NodeId,
    /// Whether the files beside it are those of `EFI_EX` and `Fonts_EX`.
    ex: bool,
    signed_by: Vec<Authority>,
}

fn choose(windows: &Windows, generation: Generation) -> Result<Choice> {
    let candidates = [(MANAGER, false), (MANAGER_EX, true)]
        .into_iter()
        .filter_map(|(path, ex)| Some((path, ex, windows.tree.find(path)?)))
        .map(|(path, ex, manager)| {
            let signed_by = look_at(windows, manager).context(|| path)?;
            Ok((path, Choice { manager, ex, signed_by }))
        })
        .collect::<Result<Vec<_>>>()?;
    if candidates.is_empty() {
        return Err(Error::new(
            Kind::NotBootable,
            format_args!("the image has no boot manager for UEFI: {MANAGER} is missing"),
        )
        .hint("the image may be for a BIOS or containers only; `nanovhd ls -R` shows what is in it"));
    }
    let fits = |choice: &Choice| match generation {
        Generation::Auto => true,
        // What has no signature that is known is taken by the folder that it lies in.
        Generation::Ca2011 => {
            choice.signed_by.contains(&Authority::Pca2011) || (choice.signed_by.is_empty() && !choice.ex)
        }
        Generation::Ca2023 => {
            choice.signed_by.contains(&Authority::Ca2023) || (choice.signed_by.is_empty() && choice.ex)
        }
    };
    let found: Vec<String> = candidates.iter().map(|(path, choice)| format!("{path} {}", signatures(choice))).collect();
    let chosen = candidates.into_iter().map(|(_, choice)| choice).find(fits);
    chosen.ok_or_else(|| {
        let authority = if generation == Generation::Ca2011 { Authority::Pca2011 } else { Authority::Ca2023 };
        let what = format_args!("the image has no boot manager that is signed below \"{authority}\"").to_string();
        Error::new(Kind::NotBootable, what)
            .found(found.join(", "))
            .hint("images serviced in April 2024 or later have both; leave the choice out to take what there is")
    })
}

fn signatures(choice: &Choice) -> String {
    match choice.signed_by.as_slice() {
        [] => "(no signature that is known)".into(),
        some => format!("(\"{}\")", some.iter().map(|authority| authority.name()).collect::<Vec<_>>().join("\", \"")),
    }
}

/// A boot manager must be a program for the image's processor; tells who signed it.
fn look_at(windows: &Windows, manager: NodeId) -> Result<Vec<Authority>> {
    let content = windows.tree.node(manager).main().cloned().unwrap_or_else(Content::empty);
    if content.len() > MAX_MANAGER {
        return Err(Error::unsupported("length of a boot manager").found(content.len()).allowed(MAX_MANAGER));
    }
    let image = windows.tree.read(&content)?;
    let machine = Machine::of_pe(&image)?;
    if machine != windows.machine() {
        return Err(Error::new(Kind::NotBootable, "the image's boot manager is for another processor")
            .found(machine)
            .allowed(windows.machine()));
    }
    Ok(signed_by(&image))
}

/// Whose certificates are among those of a PE file's signatures. They are told by their names, and not verified: that is the firmware's
/// matter.
fn signed_by(image: &[u8]) -> Vec<Authority> {
    let certificates = certificate_table(image).unwrap_or_default();
    let has = |name: &str| certificates.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    Authority::ALL.into_iter().filter(|authority| has(authority.name())).collect()
}

/// The attribute certificates of a PE file (PE/COFF specification, "The Attribute Certificate Table").
fn certificate_table(image: &[u8]) -> Option<&[u8]> {
    const OPTIONAL_HEADER: usize = 24;
    const ENTRY: usize = 4 * 8;
    let header = u32_at(image, 0x3C)? as usize + OPTIONAL_HEADER;
    let directories = match u16_at(image, header)? {
        0x10B => header + 96,
        0x20B => header + 112,
        _ => return None,
    };
    let count = u32_at(image, directories - 4)?;
    if count <= 4 {
        return None;
    }
    let start = u32_at(image, directories + ENTRY)? as usize;
    let len = u32_at(image, directories + ENTRY + 4)? as usize;
    image.get(start..start.checked_add(len)?)
}

/// Where Secure Boot may refuse what is signed so.
fn doubts(signed_by: &[Authority]) -> Option<String> {
    let words = match signed_by {
        [] => "the boot manager has no signature of Microsoft's: Secure Boot will refuse it".to_owned(),
        [Authority::Pca2011] => format!(
            "the boot manager is signed below \"{}\" only: Secure Boot refuses it where that is revoked (KB5025885)",
            Authority::Pca2011
        ),
        [Authority::Ca2023] => format!(
            "the boot manager is signed below \"{}\" only: Secure Boot refuses it where the firmware does not know that yet",
            Authority::Ca2023
        ),
        _ => return None,
    };
    Some(words)
}
