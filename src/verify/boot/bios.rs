//! From the BIOS to BOOTMGR.

use super::lookup::Lookup;
use super::{Chain, Volume};
use crate::base::bytes;
use crate::format::bcd::Firmware;
use crate::format::partitions::{SECTOR, mbr};
use crate::tree::Content as Bytes;
use crate::verify::partitions::Content;
use crate::verify::{Finding, Findings, Level, Rule};

/// Where boot records look for the boot manager.
pub(super) const MANAGER: &str = r"\bootmgr";
/// What a boot record can load: from 20000h, where BOOTMGR has to lie, to the BIOS's own data.
const MAX_MANAGER: u64 = 0x7_F000;
/// Length of the code in an MBR.
const MBR_CODE: usize = 440;
/// Where the code of an NTFS boot sector begins, and that of a FAT32 one.
const NTFS_CODE: usize = 0x54;
const FAT_CODE: usize = 0x5A;
const HIDDEN_SECTORS: usize = 0x1C;
/// Length of `$Boot`: the boot sector and what it reads behind itself.
const BOOT_LEN: usize = 8192;

pub(super) fn check(chain: &Chain<'_>, findings: &mut Findings) {
    let mut sector = [0; mbr::MBR_LEN];
    if chain.disk.read_at(0, &mut sector).is_err() {
        return; // said already
    }
    if sector[..MBR_CODE].iter().all(|byte| *byte == 0) {
        findings.add(Finding::new(Rule::MbrCode, "no code, zeros only").allowed("boot code").at(0));
    }
    let active: Vec<_> = chain.table.partitions.iter().filter(|partition| partition.active).collect();
    let [active] = active.as_slice() else {
        if active.is_empty() {
            let finding = Finding::new(Rule::MbrActive, "no active partition on a disk that has a Windows to start");
            findings.add(finding.allowed("one").at(446));
        }
        return; // several are said already
    };
    findings.set_partition(Some(active.number));
    let Some(volume) = chain.volumes.iter().find(|volume| volume.partition.number == active.number) else {
        findings.add(Finding::new(Rule::BootRecord, "an active partition that is not on the disk"));
        return;
    };
    check_record(volume, findings);
    check_manager(volume, findings);
    chain.check_store(Firmware::Bios, volume, findings);
    findings.set_partition(None);
}

/// The boot record, which the MBR loads and jumps to.
fn check_record(volume: &Volume<'_>, findings: &mut Findings) {
    let mut boot = vec![0; BOOT_LEN];
    let mut bad = |rule: Rule, found: &str, allowed: &str, at: usize| {
        findings.add(Finding::new(rule, found).allowed(allowed).part("boot record").at(at as u64));
    };
    if let Err(error) = volume.window.read_at(0, &mut boot) {
        return bad(Rule::BootRecord, &error.to_string(), "8 KiB that can be read", 0);
    }
    if !matches!(volume.content, Content::Ntfs | Content::Fat) {
        return bad(Rule::BootRecord, &volume.content.to_string(), "an NTFS or FAT volume", 0);
    }
    if boot[510..512] != [0x55, 0xAA] {
        bad(Rule::BootRecord, &format!("{:02x} {:02x}", boot[510], boot[511]), "55 aa", 510);
    }
    let code = if volume.content == Content::Ntfs { NTFS_CODE } else { FAT_CODE };
    if !matches!(boot[0], 0xEB | 0xE9) {
        bad(Rule::BootRecord, &format!("{:02x} {:02x} {:02x}", boot[0], boot[1], boot[2]), "a jump to its code", 0);
    } else if boot[code..510].iter().all(|byte| *byte == 0) {
        bad(Rule::BootRecord, "no code, zeros only", "boot code", code);
    } else if volume.content == Content::Ntfs && boot[512..].iter().all(|byte| *byte == 0) {
        bad(Rule::BootRecord, "no code behind the boot sector, zeros only", "the rest of the boot code", 512);
    }
    let sector_size = bytes::u16_at(&boot, 0x0B).unwrap_or_default();
    if u64::from(sector_size) != SECTOR {
        bad(Rule::BootRecord, &format!("sectors of {sector_size} bytes"), "512: a BIOS starts from no others", 0x0B);
    }
    let hidden = bytes::u32_at(&boot, HIDDEN_SECTORS).unwrap_or_default();
    let right = volume.partition.range.start / SECTOR;
    if u64::from(hidden) != right {
        let allowed = format!("{right}, where the partition begins");
        bad(Rule::HiddenSectors, &format!("{hidden} hidden sectors"), &allowed, HIDDEN_SECTORS);
    }
}

/// BOOTMGR, which the boot record looks for in the root directory and loads as it lies there.
fn check_manager(volume: &Volume<'_>, findings: &mut Findings) {
    let Some(tree) = volume.tree else {
        let found = format!("files that cannot be read, on {}", volume.content);
        findings.add(Finding::new(Rule::Bootmgr, found).allowed("BOOTMGR in the root directory").path(MANAGER));
        return;
    };
    let mut bad = |rule: Rule, level: Level, found: String, allowed: &str| {
        findings.add(Finding::new(rule, found).allowed(allowed).path(MANAGER).level(level));
    };
    let error = Rule::Bootmgr.level();
    let Some(id) = tree.find(MANAGER) else {
        return bad(Rule::Bootmgr, error, "nothing".into(), "the boot manager in the root directory");
    };
    let node = tree.node(id);
    if node.is_directory() {
        return bad(Rule::Bootmgr, error, "a directory".into(), "a file");
    }
    let len = node.main().map_or(0, Bytes::len);
    if len == 0 || len > MAX_MANAGER {
        bad(Rule::Bootmgr, error, format!("{len} bytes"), &format!("1 to {MAX_MANAGER} bytes, what low memory holds"));
    }
    if volume.content != Content::Ntfs {
        return;
    }
    match Lookup::open(volume.window).and_then(|lookup| lookup.find(MANAGER)) {
        Ok(Some(lies)) => {
            let ways = [
                (lies.compressed || lies.wof.is_some(), "compressed"),
                (lies.encrypted, "encrypted"),
                (lies.sparse && lies.wof.is_none(), "sparse"),
            ];
            for (_, how) in ways.iter().filter(|(so, _)| *so) {
                bad(Rule::Bootmgr, error, (*how).into(), "stored plain");
            }
            if lies.pieces > 1 {
                let level = Rule::BootmgrFragmented.level();
                bad(Rule::BootmgrFragmented, level, format!("{} pieces", lies.pieces), "one");
            }
        }
        Ok(None) => bad(Rule::Bootmgr, error, "a file that its directory does not list".into(), "an entry in the root"),
        Err(problem) => bad(Rule::Bootmgr, error, problem.to_string(), "a file that a boot record can find"),
    }
}
