//! From UEFI firmware to the boot manager.

use super::{Chain, Volume};
use crate::base::bytes::{u16_at, u32_at};
use crate::format::bcd::Firmware;
use crate::format::partitions::{Scheme, gpt};
use crate::verify::partitions::Content;
use crate::verify::{Finding, Findings, Level, Rule};
use crate::windows::Machine;

/// Where bcdboot puts the boot manager, and what it tells the firmware to start.
const MICROSOFTS: &str = r"\EFI\Microsoft\Boot\bootmgfw.efi";
/// Where firmware looks that was told nothing, by processor (UEFI specification, 3.5.1.1).
const FALLBACKS: [(Machine, &str); 4] = [
    (Machine::Amd64, r"\EFI\Boot\bootx64.efi"),
    (Machine::X86, r"\EFI\Boot\bootia32.efi"),
    (Machine::Arm64, r"\EFI\Boot\bootaa64.efi"),
    (Machine::Arm, r"\EFI\Boot\bootarm.efi"),
];

pub(super) fn check(chain: &Chain<'_>, system: Option<&Volume<'_>>, findings: &mut Findings) {
    let Some(volume) = system else {
        let finding = Finding::new(Rule::EfiSystem, "no EFI system partition on a disk that has a Windows to start");
        findings.add(finding.allowed("one, with a FAT volume"));
        return;
    };
    findings.set_partition(Some(volume.partition.number));
    match (volume.content, volume.tree) {
        (Content::Fat, Some(_)) => {
            check_sectors(chain, volume, findings);
            check_manager(chain, volume, findings);
            chain.check_store(Firmware::Uefi, volume, findings);
        }
        (Content::Fat, None) => {
            findings
                .add(Finding::new(Rule::EfiSystem, "a FAT volume that cannot be read").allowed("a whole one").at(0));
        }
        (other, _) => findings.add(Finding::new(Rule::EfiSystem, other).allowed("a FAT volume").at(0)),
    }
    findings.set_partition(None);
}

/// Firmware takes no FAT volume whose sectors are not those of its disk.
fn check_sectors(chain: &Chain<'_>, volume: &Volume<'_>, findings: &mut Findings) {
    const AT: u64 = 0x0B;
    let mut field = [0; 2];
    if !matches!(chain.table.scheme, Scheme::Gpt { .. }) || volume.window.read_at(AT, &mut field).is_err() {
        return;
    }
    let found = u64::from(u16::from_le_bytes(field));
    let Some(right) = gpt::sector_size(chain.disk).filter(|sector| *sector != found) else { return };
    let finding = Finding::new(Rule::EfiSystem, format_args!("a volume with sectors of {found} bytes"));
    findings.add(finding.allowed(format_args!("{right}, as the disk has")).part("boot sector").at(AT));
}

fn check_manager(chain: &Chain<'_>, volume: &Volume<'_>, findings: &mut Findings) {
    let present: Vec<_> = FALLBACKS.iter().filter(|(_, path)| volume.file(path).is_some()).collect();
    let wanted = FALLBACKS.iter().find(|(machine, _)| Some(*machine) == chain.machine);
    let allowed = wanted.map_or(r"\EFI\Boot\boot<processor>.efi".to_owned(), |(_, path)| (*path).to_owned());
    let fits = |machine: Machine| chain.machine.is_none_or(|wanted| wanted == machine);
    if !present.iter().any(|(machine, _)| fits(*machine)) {
        let others: Vec<_> = present.iter().map(|(_, path)| *path).collect();
        let named = volume.file(MICROSOFTS).is_some();
        let found = match others.as_slice() {
            [] if named => format!("{MICROSOFTS} only, which firmware starts when it was told to"),
            [] => "no boot manager".to_owned(),
            _ => format!("{} only, for another processor", others.join(", ")),
        };
        let level = if named { Level::Warning } else { Rule::EfiBootManager.level() };
        findings.add(Finding::new(Rule::EfiBootManager, found).allowed(&allowed).level(level));
    }
    let programs = present.iter().map(|(machine, path)| (*path, Some(*machine)));
    for (path, machine) in programs.chain([(MICROSOFTS, chain.machine)]) {
        check_program(volume, path, machine, findings);
    }
}

/// A program for UEFI has to be there whole, and for the processor that its name says.
fn check_program(volume: &Volume<'_>, path: &str, machine: Option<Machine>, findings: &mut Findings) {
    let Some((tree, _)) = volume.file(path) else { return };
    let image = tree.read_file(path).map(Option::unwrap_or_default);
    let found = image.and_then(|image| Ok((Machine::of_pe(&image)?, subsystem(&image))));
    let (found, allowed) = match (found, machine) {
        (Err(error), _) => (error.to_string(), "a program for UEFI".to_owned()),
        (Ok((found, _)), Some(machine)) if found != machine => (format!("for {found}"), format!("for {machine}")),
        (Ok((_, Some(found))), _) if found != EFI_APPLICATION => {
            (format!("a program of subsystem {found}"), format!("{EFI_APPLICATION}, for UEFI"))
        }
        _ => return,
    };
    findings.add(Finding::new(Rule::EfiBootManager, found).allowed(allowed).path(path));
}

/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`.
const EFI_APPLICATION: u16 = 10;

/// What a PE file says that runs it, if it has an optional header.
fn subsystem(image: &[u8]) -> Option<u16> {
    const OPTIONAL_HEADER: usize = 24;
    const SUBSYSTEM: usize = 68; // in PE32 and PE32+
    let header = (u32_at(image, 0x3C)? as usize).checked_add(OPTIONAL_HEADER)?;
    let magic = u16_at(image, header)?;
    matches!(magic, 0x10B | 0x20B).then(|| u16_at(image, header + SUBSYSTEM))?
}
