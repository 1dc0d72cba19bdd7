//! A disk for UEFI, with one thing wrong in each.

use std::num::NonZeroUsize;
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::base::{Disk, FileTime, MemoryDisk, Slice};
use crate::format::bcd::{self, Device, Firmware, NewStore};
use crate::format::hive::{Hive, Value};
use crate::format::partitions::gpt::{self, NewPartition};
use crate::format::partitions::{TYPE_BASIC_DATA, TYPE_EFI_SYSTEM, mbr};
use crate::format::{fat, ntfs};
use crate::verify::{Level, image};
use crate::windows::tests::{executable, system_hive, tree_of};

const MIB: u64 = 1 << 20;
const DISK: u64 = 34 * MIB;
const SYSTEM: std::ops::Range<u64> = MIB..17 * MIB;
const WINDOWS: std::ops::Range<u64> = 17 * MIB..33 * MIB;
const IDS: [Uuid; 3] = [Uuid::from_u128(10), Uuid::from_u128(11), Uuid::from_u128(12)];
const ERROR: Level = Level::Error;

fn program(machine: u16, subsystem: u16) -> Vec<u8> {
    let mut image = executable(machine);
    image.resize(0x200, 0);
    image[0x58..0x5A].copy_from_slice(&0x20B_u16.to_le_bytes());
    image[0x58 + 68..0x58 + 70].copy_from_slice(&subsystem.to_le_bytes());
    image
}

fn store(os_device: Device) -> Vec<u8> {
    let store = bcd::new_store(&NewStore {
        firmware: Firmware::Uefi,
        loader_path: r"\Windows\system32\winload.efi",
        system_root: r"\Windows",
        description: "Windows Server",
        locale: "en-US",
        boot_device: Device::Boot,
        os_device,
        loader_id: Uuid::from_u128(1),
        resume_id: Uuid::from_u128(2),
        resume: false,
        memdiag: false,
        template: None,
    });
    store.unwrap().to_hive(FileTime(5)).unwrap().to_bytes().unwrap()
}

/// What is on the disk.
struct Made {
    manager: (&'static str, Vec<u8>),
    kind: Uuid,
    volume_sector: u64,
    os: Device,
}

impl Made {
    fn good() -> Self {
        Self {
            manager: (r"\EFI\Boot\bootx64.efi", program(0x8664, 10)),
            kind: TYPE_EFI_SYSTEM,
            volume_sector: 512,
            os: Device::GptPartition { disk: IDS[0], partition: IDS[2] },
        }
    }

    fn volumes(&self, disk: &MemoryDisk) {
        let bcd = store(self.os.clone());
        let system = tree_of(&[(self.manager.0, &self.manager.1), (r"\EFI\Microsoft\Boot\BCD", &bcd)]);
        let options = fat::Options {
            sector_size: self.volume_sector,
            hidden_sectors: 2048,
            serial: 1,
            label: None,
            created: FileTime(5),
            starts_bios: false,
        };
        let volume = fat::Image::new(&system, SYSTEM.end - SYSTEM.start, &options).unwrap();
        volume.write(&Slice::of_disk(disk, SYSTEM).unwrap()).unwrap();
        let loader = program(0x8664, 10);
        let hive = system_hive(&[(r"Services\x", "Start", Value::dword(4))]);
        let empty = |name: &str| Hive::new(name, FileTime(5)).unwrap().to_bytes().unwrap();
        let hives = ["SOFTWARE", "SAM", "SECURITY", "DEFAULT"]
            .map(|name| (format!(r"\Windows\System32\config\{name}"), empty(name)));
        let mut files: Vec<(&str, &[u8])> = hives.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        files.extend([
            (SYSTEM_HIVE, &hive[..]),
            (r"\Windows\System32\winload.efi", &loader),
            (r"\Windows\System32\ntoskrnl.exe", &loader),
        ]);
        let tree = tree_of(&files);
        let options = ntfs::Options { hidden_sectors: WINDOWS.start / 512, ..ntfs::Options::default() };
        let plan = ntfs::Plan::new(&tree, WINDOWS.end - WINDOWS.start, &options).unwrap();
        plan.write(&tree, &Slice::of_disk(disk, WINDOWS).unwrap(), NonZeroUsize::MIN, &|_| ()).unwrap();
    }

    /// Rules that are broken, above note, on a disk with a GPT.
    fn found(self) -> Vec<(Rule, Level)> {
        let disk = MemoryDisk::new(DISK as usize, 0);
        let partition = |kind, id, range| NewPartition { kind, id, range, attributes: 0, name: String::new() };
        let partitions = [partition(self.kind, IDS[1], SYSTEM), partition(TYPE_BASIC_DATA, IDS[2], WINDOWS)];
        for (at, bytes) in gpt::to_sectors(DISK, 512, IDS[0], &partitions).unwrap() {
            disk.write_at(at, &bytes).unwrap();
        }
        self.volumes(&disk);
        found(disk)
    }

    /// The same with an MBR, and without what a BIOS needs.
    fn found_on_mbr(self) -> Vec<(Rule, Level)> {
        let disk = MemoryDisk::new(DISK as usize, 0);
        let partition = |kind, active, range: std::ops::Range<u64>| {
            let [first_lba, sectors] = [range.start / 512, (range.end - range.start) / 512].map(|n| n as u32);
            Some(mbr::Partition { active, kind, first_lba, sectors })
        };
        let partitions = [partition(0x0C, true, SYSTEM), partition(mbr::TYPE_NTFS, false, WINDOWS), None, None];
        let sector = mbr::Mbr { signature: 0x4E41_4E4F, partitions }.to_bytes(DISK / 512).unwrap();
        disk.write_at(0, &sector).unwrap();
        self.volumes(&disk);
        found(disk)
    }
}

fn found(disk: MemoryDisk) -> Vec<(Rule, Level)> {
    let mut findings = Findings::default();
    image::check(&(Arc::new(disk.into_bytes()) as Arc<dyn ReadAt>), None, &mut findings);
    let loud = findings.kept().iter().filter(|finding| finding.level > Level::Note);
    let mut found: Vec<_> = loud.map(|finding| (finding.rule, finding.level)).collect();
    found.dedup();
    found
}

#[test]
fn a_disk_for_uefi_is_clean() {
    assert_eq!(Made::good().found(), []);
    let os = Device::MbrPartition { signature: 0x4E41_4E4F, offset: WINDOWS.start };
    assert_eq!(Made { os, ..Made::good() }.found_on_mbr(), [], "one partition for both, which only UEFI can start");
}

#[test]
fn every_step_of_uefi_is_followed() {
    let other = [(Rule::EfiBootManager, ERROR)];
    let manager = |path, image| Made { manager: (path, image), ..Made::good() }.found();
    assert_eq!(manager(r"\EFI\Boot\bootx64.efi", program(0x014C, 10)), other);
    assert_eq!(manager(r"\EFI\Boot\bootx64.efi", program(0x8664, 2)), other, "a program of Windows");
    assert_eq!(manager(r"\EFI\Boot\bootx64.efi", b"text".to_vec()), other);
    assert_eq!(manager(r"\EFI\Boot\bootaa64.efi", program(0xAA64, 10)), other);
    assert_eq!(manager(r"\EFI\other.efi", program(0x8664, 10)), other);
    assert_eq!(Made { kind: TYPE_BASIC_DATA, ..Made::good() }.found(), [(Rule::EfiSystem, ERROR)]);
    assert_eq!(Made { volume_sector: 4096, ..Made::good() }.found(), [(Rule::EfiSystem, ERROR)]);
    let os = Device::GptPartition { disk: IDS[0], partition: IDS[0] };
    assert_eq!(Made { os, ..Made::good() }.found(), [(Rule::BcdDevice, ERROR)]);
    let os = Device::GptPartition { disk: IDS[0], partition: IDS[2] };
    assert_eq!(Made { os, ..Made::good() }.found_on_mbr(), [(Rule::BcdDevice, ERROR)]);
}
