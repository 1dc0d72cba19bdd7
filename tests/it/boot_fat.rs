//! Our FAT32 boot record and the stand-in BOOTMGR under a real BIOS (SeaBIOS in QEMU), on volumes by mkfs.vfat and mtools.

use std::fs;
use std::path::PathBuf;

use nanovhd::base::{Disk, MemoryDisk};
use nanovhd::format::fat;
use nanovhd::format::partitions::mbr::{self, Mbr};
use tempfile::TempDir;

use crate::support::qemu::{self, Outcome, QEMU};
use crate::support::tools::{Tools, text};

const MIB: usize = 1 << 20;
const FIRST_LBA: u32 = 2048;

static STAND_IN: &[u8] = include_bytes!("../../templates/boot/standin.bin");

fn tools() -> Option<Tools> {
    Tools::find(&["mkfs.vfat", "mcopy", "mdel", QEMU])
}

struct Volume<'a> {
    tools: &'a Tools,
    folder: TempDir,
}

impl<'a> Volume<'a> {
    fn format(tools: &'a Tools, options: &[&str]) -> Self {
        let volume = Self { tools, folder: tempfile::tempdir().expect("a temporary folder") };
        fs::File::create(volume.path()).and_then(|file| file.set_len(64 * MIB as u64)).unwrap();
        let hidden = FIRST_LBA.to_string();
        let path = volume.path();
        tools.run("mkfs.vfat", &[&["-F", "32", "-h", &hidden], options, &[text(&path)]].concat());
        volume
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn copy(&self, name: &str, content: &[u8]) {
        let file = self.folder.path().join("file");
        fs::write(&file, content).unwrap();
        self.tools.run("mcopy", &["-i", text(&self.path()), text(&file), &format!("::{name}")]);
    }

    fn delete(&self, name: &str) {
        self.tools.run("mdel", &["-i", text(&self.path()), &format!("::{name}")]);
    }

    /// Boots the volume, after `damage`.
    fn boot(&self, damage: impl FnOnce(&mut [u8])) -> Outcome {
        let bytes = fs::read(self.path()).unwrap();
        let volume = MemoryDisk::new(bytes.len(), 0);
        volume.write_at(0, &bytes).unwrap();
        fat::boot_code().iter().for_each(|(at, code)| volume.write_at(*at, code).unwrap());
        let mut volume = volume.into_bytes();
        damage(&mut volume);
        let sectors = (volume.len() / 512) as u32;
        let only = mbr::Partition { active: true, kind: mbr::TYPE_FAT32, first_lba: FIRST_LBA, sectors };
        let record = Mbr { signature: 1, partitions: [Some(only), None, None, None] };
        let mut disk = record.to_bytes(u64::from(FIRST_LBA + sectors)).unwrap().to_vec();
        disk.resize(FIRST_LBA as usize * 512, 0);
        disk.extend(volume);
        let image = self.folder.path().join("disk.raw");
        fs::write(&image, disk).unwrap();
        qemu::boot(&image, "raw")
    }
}

#[test]
fn starts_bootmgr_from_fat32() {
    let Some(tools) = tools() else { return };
    for options in [&["-s", "1"][..], &["-s", "1", "-f", "1", "-R", "16"]] {
        let volume = Volume::format(&tools, options);
        volume.copy("bootmgr", STAND_IN);
        let outcome = volume.boot(|_| ());
        assert!(outcome.is_ok(), "{options:?}: {outcome:#?}");
    }
}

/// In many pieces, by a directory that goes over several clusters.
#[test]
fn starts_a_scattered_bootmgr() {
    let Some(tools) = tools() else { return };
    let volume = Volume::format(&tools, &["-s", "1"]);
    for number in 0..60 {
        volume.copy(&format!("a file with a long name {number}.txt"), &vec![0xA5; 700]);
    }
    for number in (0..60).step_by(2) {
        volume.delete(&format!("a file with a long name {number}.txt"));
    }
    volume.copy("BOOTMGR", STAND_IN);
    let outcome = volume.boot(|_| ());
    assert!(outcome.is_ok(), "{outcome:#?}");
}

/// A FAT that is not copied: only the second one counts.
#[test]
fn follows_the_active_fat() {
    let Some(tools) = tools() else { return };
    let volume = Volume::format(&tools, &["-s", "1"]);
    volume.copy("bootmgr", STAND_IN);
    let outcome = volume.boot(|bytes| {
        bytes[0x28] = 0x81;
        let reserved = usize::from(u16::from_le_bytes([bytes[0x0E], bytes[0x0F]])) * 512;
        bytes[reserved..reserved + 4096].fill(0);
    });
    assert!(outcome.is_ok(), "{outcome:#?}");
}

#[test]
fn says_what_is_wrong() {
    let Some(tools) = tools() else { return };
    let says = |volume: &Volume<'_>, message: &str, damage: fn(&mut [u8])| {
        let outcome = volume.boot(damage);
        assert!(outcome.screen.contains(message), "not '{message}': {outcome:#?}");
        assert_eq!(outcome.serial, "", "BOOTMGR was started");
    };
    let volume = Volume::format(&tools, &["-s", "1"]);
    says(&volume, "root directory: BOOTMGR is missing", |_| ());
    volume.copy("bootmgr", STAND_IN);
    says(&volume, "sector size not 512", |bytes| bytes[0x0C] = 4);
    says(&volume, "the BIOS parameter block is damaged", |bytes| bytes[0x0D] = 3);
    says(&volume, "bad boot record", |bytes| bytes[2 * 512] ^= 1);
    says(&volume, "damaged FAT", |bytes| {
        let reserved = usize::from(u16::from_le_bytes([bytes[0x0E], bytes[0x0F]])) * 512;
        bytes[reserved + 12..reserved + 512].fill(0);
    });
    let volume = Volume::format(&tools, &["-s", "1"]);
    volume.copy("bootmgr", &vec![1; MIB]);
    says(&volume, "BOOTMGR: it is too large for low memory", |_| ());
}
