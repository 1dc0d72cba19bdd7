//! The demo's disk, with one thing wrong in each: what the firmware and the boot programs need is missed where it is not.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use super::*;
use crate::base::{FileTime, MemoryDisk};
use crate::format::bcd::{self, Device, Element, NewStore, Store, code};
use crate::format::hive::{Hive, Value};
use crate::format::ntfs::{self, BOOT_CODE};
use crate::format::partitions::mbr::{self, Mbr};
use crate::tree::Content as Bytes;
use crate::verify::{Level, image};
use crate::windows::tests::{executable, system_hive, tree_of};

const DISK: u64 = 32 << 20;
const START: u64 = 1 << 20;
const LOADER: uuid::Uuid = uuid::Uuid::from_u128(1);

/// A store for a BIOS, to be changed.
fn store(change: impl FnOnce(&mut Store)) -> Vec<u8> {
    let mut store = bcd::new_store(&NewStore {
        firmware: Firmware::Bios,
        loader_path: r"\Windows\system32\winload.exe",
        system_root: r"\Windows",
        description: "Windows Server",
        locale: "en-US",
        boot_device: Device::Locate { element: code::PATH },
        os_device: Device::Locate { element: code::SYSTEM_ROOT },
        loader_id: LOADER,
        resume_id: uuid::Uuid::from_u128(2),
        resume: false,
        memdiag: false,
        template: None,
    })
    .unwrap();
    change(&mut store);
    store.to_hive(FileTime(5)).unwrap().to_bytes().unwrap()
}

fn files(store: &[u8]) -> Tree {
    let program = executable(0x8664);
    let system = system_hive(&[(r"Services\x", "Start", Value::dword(4))]);
    let empty = |name: &str| Hive::new(name, FileTime(5)).unwrap().to_bytes().unwrap();
    let hives = ["SOFTWARE", "SAM", "SECURITY", "DEFAULT"]
        .map(|name| (format!(r"\Windows\System32\config\{name}"), empty(name)));
    let mut all: Vec<(&str, &[u8])> = hives.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let manager = vec![0x90; 50_000];
    all.extend([
        (r"\bootmgr", &manager[..]),
        (r"\Boot\BCD", store),
        (SYSTEM_HIVE, &system),
        (r"\Windows\System32\winload.exe", &program),
        (r"\Windows\System32\ntoskrnl.exe", &program),
    ]);
    tree_of(&all)
}

fn volume_of(tree: &Tree, len: u64, hidden_sectors: u64) -> Vec<u8> {
    let options = ntfs::Options { hidden_sectors, boot_code: BOOT_CODE.into(), ..ntfs::Options::default() };
    let plan = ntfs::Plan::new(tree, len, &options).unwrap();
    let disk = MemoryDisk::new(len as usize, 0);
    plan.write(tree, &disk, NonZeroUsize::MIN, &|_| ()).unwrap();
    disk.into_bytes()
}

/// A disk with an MBR and one active partition.
fn disk_of(tree: &Tree) -> Vec<u8> {
    let sectors = ((DISK - START) / 512) as u32;
    let partition = mbr::Partition { active: true, kind: mbr::TYPE_NTFS, first_lba: (START / 512) as u32, sectors };
    let mbr = Mbr { signature: 0x4E41_4E4F, partitions: [Some(partition), None, None, None] };
    let mut disk = mbr.to_bytes(DISK / 512).unwrap().to_vec();
    disk.resize(START as usize, 0);
    disk.extend(volume_of(tree, DISK - START, START / 512));
    disk
}

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| disk_of(&files(&store(|_| ()))));

/// Rules of booting that are broken, above note.
fn found(disk: Vec<u8>) -> Vec<(Rule, Level)> {
    let mut findings = Findings::default();
    image::check(&(Arc::new(disk) as Arc<dyn ReadAt>), None, &mut findings);
    let of_boot = findings.kept().iter().filter(|finding| {
        finding.level > Level::Note && matches!(finding.rule.area(), crate::verify::Area::Boot)
            || finding.rule == Rule::MbrActive && finding.level == Level::Error
    });
    let mut found: Vec<_> = of_boot.map(|finding| (finding.rule, finding.level)).collect();
    found.dedup();
    found
}

fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<(Rule, Level)> {
    let mut disk = GOOD.clone();
    change(&mut disk);
    found(disk)
}

fn with_files(change: impl FnOnce(&mut Tree)) -> Vec<(Rule, Level)> {
    let mut tree = files(&store(|_| ()));
    change(&mut tree);
    found(disk_of(&tree))
}

fn with_store(change: impl FnOnce(&mut Store)) -> Vec<(Rule, Level)> {
    found(disk_of(&files(&store(change))))
}

fn remove(tree: &mut Tree, path: &str) {
    let (folder, name) = path.rsplit_once('\\').unwrap();
    let folder = tree.find(folder).unwrap();
    tree.remove_link(folder, &name.encode_utf16().collect::<Vec<_>>()).unwrap();
}

fn replace(tree: &mut Tree, path: &str, bytes: Vec<u8>) {
    let id = tree.find(path).unwrap();
    tree.node_mut(id).streams[0].content = Bytes::from(bytes);
}

const ERROR: Level = Level::Error;
const WARNING: Level = Level::Warning;

#[test]
fn a_disk_that_boots_is_clean() {
    assert_eq!(found(GOOD.clone()), []);
}

#[test]
fn every_step_of_a_bios_is_followed() {
    let volume = START as usize;
    assert_eq!(with(|disk| disk[..440].fill(0)), [(Rule::MbrCode, ERROR)]);
    assert_eq!(with(|disk| disk[446] = 0), [(Rule::MbrActive, ERROR)]);
    assert_eq!(with(|disk| disk[volume..volume + 3].fill(0)), [(Rule::BootRecord, ERROR)]);
    assert_eq!(with(|disk| disk[volume + 0x54..volume + 0x1FE].fill(0)), [(Rule::BootRecord, ERROR)]);
    assert_eq!(with(|disk| disk[volume + 512..volume + 8192].fill(0)), [(Rule::BootRecord, ERROR)]);
    assert_eq!(with(|disk| disk[volume + 0x1C..volume + 0x20].fill(0)), [(Rule::HiddenSectors, ERROR)]);
    assert_eq!(with_files(|tree| remove(tree, r"\bootmgr")), [(Rule::Bootmgr, ERROR)]);
    assert_eq!(with_files(|tree| replace(tree, r"\bootmgr", vec![0; 0x7_F001])), [(Rule::Bootmgr, ERROR)]);
    assert_eq!(with_files(|tree| replace(tree, r"\bootmgr", Vec::new())), [(Rule::Bootmgr, ERROR)]);
    let sparse = |tree: &mut Tree| {
        let id = tree.find(r"\bootmgr").unwrap();
        tree.node_mut(id).streams[0].sparse = true;
    };
    assert_eq!(with_files(sparse), [(Rule::Bootmgr, ERROR)]);
}

#[test]
fn the_store_is_found_and_sound() {
    assert_eq!(with_files(|tree| remove(tree, r"\Boot\BCD")), [(Rule::BcdStore, ERROR)]);
    assert_eq!(with_files(|tree| replace(tree, r"\Boot\BCD", b"regf".to_vec())), [(Rule::BcdStore, ERROR)]);
    let hive = Hive::new("NewStoreRoot", FileTime(5)).unwrap().to_bytes().unwrap();
    assert_eq!(with_files(|tree| replace(tree, r"\Boot\BCD", hive)), [(Rule::BcdStore, ERROR)]);
    let mut dirty = store(|_| ());
    dirty[4] += 1;
    assert_eq!(with_files(|tree| replace(tree, r"\Boot\BCD", dirty)), [(Rule::BcdStore, ERROR)]);
}

#[test]
fn objects_and_elements_are_what_they_should_be() {
    let manager = bcd::id_of_name("bootmgr").unwrap();
    let default = 0x2300_0003;
    assert_eq!(with_store(|store| drop(store.objects.remove(&manager))), [(Rule::BcdObject, ERROR)]);
    let gone = with_store(|store| drop(store.objects.remove(&LOADER)));
    assert_eq!(gone, [(Rule::BcdObject, ERROR), (Rule::BcdObject, WARNING)]);
    let element = |id, code, value: Element| {
        with_store(|store| drop(store.objects.get_mut(&id).unwrap().elements.insert(code, value)))
    };
    let raw = || Element::Raw(Value::dword(1));
    assert_eq!(element(LOADER, 0x2500_0020, raw()), [(Rule::BcdElement, ERROR)]);
    assert_eq!(element(manager, 0x1400_0006, Element::Objects(vec![LOADER])), [(Rule::BcdObject, ERROR)]);
    assert_eq!(with_store(|store| store.objects.get_mut(&manager).unwrap().kind += 1)[..1], [(Rule::BcdObject, ERROR)]);
    let settings = bcd::id_of_name("globalsettings").unwrap();
    assert_eq!(element(manager, default, Element::Object(settings))[..1], [(Rule::BcdObject, ERROR)]);
    assert_eq!(element(LOADER, 0x4200_0002, Element::String("x".into())), [(Rule::BcdElement, WARNING)]);
    let no_device = with_store(|store| drop(store.objects.get_mut(&LOADER).unwrap().elements.remove(&code::DEVICE)));
    assert_eq!(no_device, [(Rule::BcdElement, ERROR)]);
}

#[test]
fn devices_lead_to_partitions() {
    let device = |device: Device| {
        with_store(|store| {
            drop(store.objects.get_mut(&LOADER).unwrap().elements.insert(code::DEVICE, Element::Device(device)))
        })
    };
    let here = |signature, offset| Device::MbrPartition { signature, offset };
    assert_eq!(device(Device::Boot), []);
    assert_eq!(device(here(0x4E41_4E4F, START)), []);
    assert_eq!(device(here(0x4E41_4E4E, START)), [(Rule::BcdDevice, ERROR)]);
    assert_eq!(device(here(0x4E41_4E4F, START + 512)), [(Rule::BcdDevice, ERROR)]);
    let elsewhere = Device::GptPartition { disk: LOADER, partition: LOADER };
    assert_eq!(device(elsewhere), [(Rule::BcdDevice, ERROR)]);
    assert_eq!(device(Device::Locate { element: 0x1200_0099 }), [(Rule::BcdDevice, ERROR)]);
    assert_eq!(device(Device::Raw(vec![1; 30])), [(Rule::BcdDevice, WARNING)]);
}

#[test]
fn the_loader_and_what_it_reads_are_there() {
    let winload = r"\Windows\System32\winload.exe";
    let gone = with_files(|tree| remove(tree, winload));
    assert_eq!(gone, [(Rule::BcdDevice, ERROR)], "it is located by the loader");
    assert_eq!(with_files(|tree| replace(tree, winload, executable(0x014C))), [(Rule::Loader, ERROR)]);
    assert_eq!(with_files(|tree| replace(tree, winload, b"text".to_vec())), [(Rule::Loader, ERROR)]);
    assert_eq!(with_files(|tree| remove(tree, r"\Windows\System32\ntoskrnl.exe")), [(Rule::Loader, ERROR)]);
    assert_eq!(with_files(|tree| replace(tree, SYSTEM_HIVE, b"regf".to_vec())), [(Rule::LoaderHive, ERROR)]);
    let efi = |store: &mut Store| {
        let path = Element::String(r"\Windows\system32\winload.efi".into());
        store.objects.get_mut(&LOADER).unwrap().elements.insert(code::PATH, path);
    };
    assert!(with_store(efi).contains(&(Rule::BcdDevice, ERROR)));
}

#[test]
fn data_disks_are_left_alone() {
    let data = disk_of(&tree_of(&[(r"\a.txt", b"text")]));
    assert_eq!(found(data), []);
    let volume = volume_of(&files(&store(|_| ())), 16 << 20, 0);
    assert_eq!(found(volume), [], "a volume without a disk");
}

/// The first sectors, and the store, with bytes changed at random: an answer each time.
#[test]
fn survives_damage() {
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut below = |end: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % end as u64) as usize
    };
    let bcd = store(|_| ());
    for _ in 0..60 {
        let mut disk = GOOD.clone();
        for _ in 0..3 {
            let at = below(512);
            disk[at] = below(256) as u8;
            disk[START as usize + below(8192)] = below(256) as u8;
        }
        found(disk);
        let mut bad = bcd.clone();
        for _ in 0..4 {
            let at = below(bad.len());
            bad[at] = below(256) as u8;
        }
        let tree = files(&bad);
        let window: &dyn ReadAt = &*GOOD;
        let partition =
            Partition { number: 1, range: 0..GOOD.len() as u64, kind: Kind::Mbr(7), active: true, id: None };
        let volume =
            Volume { partition: &partition, window, content: Content::Unknown, tree: Some(&tree), machine: None };
        let table = Table { scheme: Scheme::Mbr { signature: 1 }, partitions: vec![partition.clone()] };
        check(&*GOOD, &table, &[volume], &mut Findings::default());
    }
}
