//! Faults on the way from the firmware to Windows, and in what is installed.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use nanovhd::base::{FileTime, MemoryDisk, ReadAt};
use nanovhd::format::bcd::{self, Device, Firmware, NewStore};
use nanovhd::format::hive::{Hive, Value};
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::{Link, Node, NodeId, Times, Tree};
use nanovhd::verify::{Findings, Rule, image};
use uuid::Uuid;

use super::partitions::{gpt_disk, tables};
use super::{Fault, Where, assert_clean, assert_none, failures};
use crate::support::program::succeed;
use crate::support::surgeon::{Surgeon, int, kind, put, units};
use crate::support::tools::{Tools, text};

type Faults = &'static [Fault<Vec<u8>>];

const MIB: usize = 1 << 20;
const SYSTEM: &str = r"Windows\System32\config\SYSTEM";
const SOFTWARE: &str = r"Windows\System32\config\SOFTWARE";
const BCD: &str = r"Boot\BCD";
const LOADER: &str = r"Windows\System32\boot\winload.exe";

const fn fault(rule: Rule, name: &'static str, inject: fn(&mut Vec<u8>) -> Where) -> Fault<Vec<u8>> {
    super::fault(rule, name, inject)
}

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    DEMO.iter().chain(UEFI).chain(WHOLE_UEFI).map(|fault| fault.rule)
}

/// The demo's disk.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("demo.img");
    succeed(["demo", "--size=40M", "--output", text(&disk)]);
    fs::read(&disk).unwrap()
});

fn check(disk: &[u8]) -> Findings {
    let disk: Arc<dyn ReadAt> = Arc::new(disk.to_vec());
    let mut findings = Findings::default();
    image::check(&disk, None, &mut findings);
    findings
}

/// Cuts into the volume of the disk.
fn volume<R>(disk: &mut [u8], cut: impl FnOnce(&mut Surgeon) -> R) -> R {
    let sectors = int(disk, 446 + 12, 4) as usize;
    let range = MIB..MIB + 512 * sectors;
    let mut volume = Surgeon::new(disk[range.clone()].to_vec());
    let result = cut(&mut volume);
    disk[range].copy_from_slice(&volume.bytes);
    result
}

/// Changes the content of a file in place.
fn file(disk: &mut [u8], path: &'static str, change: impl FnOnce(&mut Vec<u8>)) -> Where {
    volume(disk, |volume| {
        let record = volume.find(path);
        let mut bytes = volume.value(record, kind::DATA, "");
        let len = bytes.len();
        change(&mut bytes);
        assert_eq!(bytes.len(), len, "{path} has another length");
        volume.patch(record, kind::DATA, "", 0, &bytes);
    });
    let (_, name) = path.rsplit_once('\\').unwrap_or(("", path));
    Where::Named(name)
}

/// Edits a hive, which keeps its length.
fn hive(disk: &mut [u8], path: &'static str, edit: impl FnOnce(&mut Hive)) -> Where {
    file(disk, path, |bytes| {
        let mut hive = Hive::read(bytes.clone()).unwrap();
        edit(&mut hive);
        *bytes = hive.to_bytes().unwrap();
    })
}

/// Changes a character of a file's name.
fn rename(disk: &mut [u8], path: &'static str, at: usize, character: &str) -> Where {
    volume(disk, |volume| {
        let record = volume.find(path);
        let (_, name) = path.rsplit_once('\\').unwrap_or(("", path));
        volume.patch_name(record, name, 66 + 2 * at, &units(character));
    });
    Where::Whole
}

/// Replaces all of a text in UTF-16 by another of the same length.
fn replace(bytes: &mut [u8], old: &str, new: &str) {
    let (old, new) = (units(old), units(new));
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> =
        bytes.windows(old.len()).enumerate().filter(|(_, at)| *at == old).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "it is not there");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(&new);
    }
}

/// Makes a hive one that was not closed: its sequence numbers differ.
fn leave_open(bytes: &mut [u8]) {
    let (one, sum) = (int(bytes, 4, 4), int(bytes, 508, 4));
    put(bytes, 4, 4, one + 1);
    put(bytes, 508, 4, sum ^ one ^ (one + 1));
}

/// The first key below `Objects` that has an element of that code, and the value of it.
fn element(hive: &Hive, code: &str) -> (nanovhd::format::hive::KeyId, Value) {
    let objects = hive.open("Objects").unwrap();
    let found = hive.subkeys(objects).find_map(|object| {
        let key = hive.open_at(object, &format!("Elements\\{code}"))?;
        Some((key, hive.value(key, "Element")?.to_value()))
    });
    found.expect("an element of that code")
}

fn set_element(disk: &mut [u8], code: &'static str, value: Value) -> Where {
    hive(disk, BCD, |hive| {
        let (key, _) = element(hive, code);
        hive.set_value(key, "Element", value).unwrap();
    });
    Where::Any(vec![Where::Named(code), Where::Named("BCD"), Where::Named("{")])
}

/// A device element: the partition at `offset` of the MBR disk with this signature.
fn partition(signature: u32, offset: u64) -> Value {
    let mut bytes = vec![0; 88];
    for (at, len, value) in
        [(0x10, 4, 6), (0x18, 4, 0x48), (0x20, 8, offset), (0x34, 4, 1), (0x38, 4, u64::from(signature))]
    {
        put(&mut bytes, at, len, value);
    }
    Value::binary(bytes)
}

/// Makes every device of the store the disk's partition.
fn set_devices(disk: &mut [u8]) {
    let signature = int(disk, 440, 4) as u32;
    hive(disk, BCD, |hive| {
        let objects = hive.open("Objects").unwrap();
        let found: Vec<_> = hive.subkeys(objects).collect();
        for object in found {
            for code in ["11000001", "21000001"] {
                if let Some(key) = hive.open_at(object, &format!("Elements\\{code}")) {
                    hive.set_value(key, "Element", partition(signature, MIB as u64)).unwrap();
                }
            }
        }
    });
}

/// What breaks with a store that cannot be read.
const NO_STORE: &[Rule] = &[Rule::BcdObject, Rule::BcdElement, Rule::Loader];

const DEMO: Faults = &[
    fault(Rule::BootFirmware, "is always said", |_| Where::Whole),
    fault(Rule::Installation, "is always said", |_| Where::Whole),
    fault(Rule::MbrCode, "none", |d| {
        d[..440].fill(0);
        Where::Offset(0, 512)
    }),
    fault(Rule::BootRecord, "no code", |d| {
        volume(d, |volume| volume.patch_boot(0x54, &[0; 0x1FE - 0x54]));
        Where::Whole
    }),
    fault(Rule::BootRecord, "no jump", |d| {
        volume(d, |volume| volume.patch_boot(0, &[0; 3]));
        Where::Whole
    })
    .also(&[Rule::BootSector]),
    fault(Rule::BootRecord, "no code behind it", |d| {
        volume(d, |volume| volume.bytes[512..8192].fill(0));
        Where::Whole
    }),
    fault(Rule::HiddenSectors, "another partition's", |d| {
        volume(d, |volume| volume.patch_boot(0x1C, &[63, 0, 0, 0]));
        Where::Whole
    }),
    fault(Rule::HiddenSectors, "none", |d| {
        volume(d, |volume| volume.patch_boot(0x1C, &[0; 4]));
        Where::Whole
    }),
    fault(Rule::Bootmgr, "under another name", |d| rename(d, "bootmgr", 6, "x")),
    fault(Rule::Bootmgr, "marked as compressed", |d| {
        volume(d, |volume| {
            let record = volume.find("bootmgr");
            volume.set_field(record, kind::DATA, "", 12, 2, 1);
        });
        Where::Named("bootmgr")
    })
    .also(&[
        Rule::SparseFlag,
        Rule::AttributeHeader,
        Rule::AttributeSizes,
        Rule::CompressedStream,
        Rule::EntrySizes,
    ]),
    fault(Rule::Bootmgr, "longer than low memory", |d| {
        const CLUSTERS: u64 = 160;
        volume(d, |volume| {
            let record = volume.find("bootmgr");
            let lcn = volume.free_clusters(CLUSTERS);
            volume.set_runs(record, kind::DATA, "", &[(Some(lcn), CLUSTERS)]);
            let len = CLUSTERS * volume.cluster as u64;
            for (at, value) in [(24, CLUSTERS - 1), (40, len), (48, len), (56, len)] {
                volume.set_field(record, kind::DATA, "", at, 8, value);
            }
            volume.patch_name(record, "bootmgr", 40, &[len.to_le_bytes(), len.to_le_bytes()].concat());
        });
        Where::Named("bootmgr")
    }),
    fault(Rule::BootmgrFragmented, "in two pieces", |d| {
        volume(d, |volume| {
            let record = volume.find("bootmgr");
            let (lcn, clusters) = volume.runs(record, kind::DATA, "")[0];
            let (lcn, bytes) = (lcn.unwrap(), volume.value(record, kind::DATA, ""));
            assert!(clusters > 1, "{clusters} clusters");
            let other = volume.free_clusters(clusters - 1);
            volume.set_runs(record, kind::DATA, "", &[(Some(lcn), 1), (Some(other), clusters - 1)]);
            volume.patch(record, kind::DATA, "", 0, &bytes);
        });
        Where::Named("bootmgr")
    }),
    fault(Rule::MbrActive, "none, on a disk with Windows", |d| {
        d[446] = 0;
        Where::Whole
    })
    .also(&[Rule::BootRecord]),
    fault(Rule::BcdStore, "no hive", |d| file(d, BCD, |bytes| bytes[0] = b'R')).also(NO_STORE),
    fault(Rule::BcdStore, "not closed", |d| file(d, BCD, |bytes| leave_open(bytes))).also(NO_STORE),
    fault(Rule::BcdStore, "under another name", |d| rename(d, BCD, 2, "E")).also(NO_STORE),
    fault(Rule::BcdObject, "a default entry that is not there", |d| {
        set_element(d, "23000003", Value::sz("{11111111-2222-3333-4444-555555555555}"))
    })
    .also(&[Rule::Loader]),
    fault(Rule::BcdElement, "a device that is a text", |d| set_element(d, "11000001", Value::sz("C:")))
        .also(&[Rule::BcdDevice]),
    fault(Rule::BcdElement, "a path that is a number", |d| set_element(d, "22000002", Value::dword(7)))
        .also(&[Rule::BcdDevice]),
    fault(Rule::BcdDevice, "another disk", |d| set_element(d, "21000001", partition(0x1234_5678, MIB as u64)))
        .also(&[Rule::Loader, Rule::LoaderHive]),
    fault(Rule::BcdDevice, "another partition", |d| {
        let signature = int(d, 440, 4) as u32;
        set_element(d, "21000001", partition(signature, 2 << 30))
    })
    .also(&[Rule::Loader, Rule::LoaderHive]),
    fault(Rule::Loader, "under another name", |d| {
        set_devices(d);
        rename(d, LOADER, 6, "x")
    }),
    // The demo's devices are the volumes that have these files.
    fault(Rule::BcdDevice, "a loader that is not there", |d| rename(d, LOADER, 6, "x")).also(&[Rule::Loader]),
    fault(Rule::Loader, "for another processor", |d| file(d, LOADER, |bytes| put(bytes, 0x84, 2, 0x014C)))
        .also(&[Rule::MachineMismatch]),
    fault(Rule::Loader, "that the store does not find", |d| {
        set_devices(d);
        file(d, BCD, |bytes| replace(bytes, "winload.exe", "winloax.exe"));
        Where::Named("winloax.exe")
    }),
    fault(Rule::LoaderHive, "no hive", |d| file(d, SYSTEM, |bytes| bytes[0] = b'R')).also(&[Rule::HiveDamaged]),
    fault(Rule::LoaderHive, "under another name", |d| rename(d, SYSTEM, 5, "X")).also(&[
        Rule::HiveMissing,
        Rule::Loader,
        Rule::BcdDevice,
    ]),
    fault(Rule::BootFileCompressed, "encrypted", |d| {
        volume(d, |volume| {
            let record = volume.find(r"Windows\System32\ntoskrnl.exe");
            volume.set_file_attributes(record, |attributes| attributes | 0x4000);
            volume.set_field(record, kind::DATA, "", 12, 2, 0x4000);
        });
        Where::Named("ntoskrnl")
    })
    .also(&[Rule::MachineMismatch]),
    fault(Rule::HiveMissing, "SOFTWARE", |d| rename(d, SOFTWARE, 7, "X")),
    fault(Rule::HiveDamaged, "the checksum of SOFTWARE", |d| file(d, SOFTWARE, |bytes| bytes[508] ^= 1)),
    fault(Rule::HiveDamaged, "the first bin of SOFTWARE", |d| file(d, SOFTWARE, |bytes| bytes[4096] = b'H')),
    fault(Rule::HiveDirty, "SOFTWARE", |d| file(d, SOFTWARE, |bytes| leave_open(bytes))),
    fault(Rule::ServiceImage, "of a service that starts by itself", |d| {
        rename(d, r"Windows\System32\drivers\volmgr.sys", 5, "x");
        hive(d, SYSTEM, |hive| {
            let key = hive.open(r"ControlSet001\Services\volmgr").unwrap();
            hive.set_value(key, "Start", Value::dword(2)).unwrap();
        });
        Where::Whole
    }),
    fault(Rule::BootDriver, "that is not there", |d| {
        rename(d, r"Windows\System32\drivers\volmgr.sys", 5, "x");
        Where::Named("volmgr")
    }),
    fault(Rule::BootDriver, "for another processor", |d| {
        file(d, r"Windows\System32\drivers\volmgr.sys", |bytes| put(bytes, 0x84, 2, 0x014C))
    }),
    fault(Rule::StartOverride, "of a boot driver", |d| {
        hive(d, SYSTEM, |hive| {
            let key = hive.create_key(r"ControlSet001\Services\volmgr\StartOverride").unwrap();
            hive.set_value(key, "0", Value::dword(3)).unwrap();
        });
        Where::Named("volmgr")
    }),
    fault(Rule::MachineMismatch, "the kernel", |d| {
        file(d, r"Windows\System32\ntoskrnl.exe", |bytes| put(bytes, 0x84, 2, 0x014C))
    })
    .also(&[Rule::Loader]),
];

/// Faults of a disk that is for UEFI, with an EFI system partition that has a FAT volume without files.
const UEFI: Faults = &[
    fault(Rule::EfiBootManager, "none", |_| Where::Whole).also(&[Rule::BcdStore, Rule::HiddenSectors]),
    fault(Rule::EfiSystem, "without a FAT volume", |d| {
        d[MIB..3 * MIB].fill(0);
        Where::Whole
    })
    .also(&[Rule::BcdStore, Rule::EfiBootManager, Rule::HiddenSectors]),
];

/// A program for amd64, as far as it is looked at.
fn program() -> Vec<u8> {
    let mut bytes = vec![0x90; 0x400];
    bytes[..2].copy_from_slice(b"MZ");
    put(&mut bytes, 0x3C, 4, 0x80);
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    put(&mut bytes, 0x84, 2, 0x8664);
    bytes
}

/// An installation with nothing but what the checks look for.
fn installation() -> Tree {
    let empty = |name: &str| Hive::new(name, FileTime(5)).unwrap();
    let mut system = empty("SYSTEM");
    let select = system.create_key("Select").unwrap();
    system.set_value(select, "Current", Value::dword(1)).unwrap();
    system.create_key(r"ControlSet001\Services").unwrap();
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let root = tree.root();
    let mut add = |directory: NodeId, name: &str, node: Node| {
        let node = tree.add_node(node).unwrap();
        tree.add_link(directory, Link { name: name.into(), short: None, node }).unwrap();
        node
    };
    let folder = || Node::directory(0, Times::default());
    let file = |bytes: Vec<u8>| Node::file(0, Times::default(), bytes.into());
    let windows = add(root, "Windows", folder());
    let system32 = add(windows, "System32", folder());
    add(system32, "ntoskrnl.exe", file(program()));
    add(system32, "winload.efi", file(program()));
    let config = add(system32, "config", folder());
    add(config, "SYSTEM", file(system.to_bytes().unwrap()));
    for name in ["SOFTWARE", "SAM", "SECURITY", "DEFAULT"] {
        add(config, name, file(empty(name).to_bytes().unwrap()));
    }
    tree
}

/// Where the volume with the installation begins on the disk for UEFI.
const OS: usize = 6 * MIB;

/// A disk that starts by UEFI: its EFI system partition by mkdosfs and mtools, its division by sgdisk. `None` where this machine cannot.
fn uefi_disk() -> Option<Vec<u8>> {
    let tools = Tools::find(&["sgdisk", "mkdosfs", "mmd", "mcopy"])?;
    let store = bcd::new_store(&NewStore {
        firmware: Firmware::Uefi,
        loader_path: r"\Windows\system32\winload.efi",
        system_root: r"\Windows",
        description: "Windows Server",
        locale: "en-US",
        boot_device: Device::Boot,
        os_device: Device::Locate { element: bcd::code::SYSTEM_ROOT },
        loader_id: Uuid::from_u128(1),
        resume_id: Uuid::from_u128(2),
        resume: false,
        memdiag: false,
        template: None,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let manager = file("manager", &program());
    let store = file("store", &store.unwrap().to_hive(FileTime(5)).unwrap().to_bytes().unwrap());
    let fat = file("fat", &vec![0; 4 * MIB]);
    tools.run("mkdosfs", &[&fat]);
    tools.run("mmd", &["-i", &fat, "::/EFI", "::/EFI/BOOT", "::/EFI/MICROSOFT", "::/EFI/MICROSOFT/BOOT"]);
    tools.run("mcopy", &["-i", &fat, &manager, "::/EFI/BOOT/BOOTX64.EFI"]);
    tools.run("mcopy", &["-i", &fat, &store, "::/EFI/MICROSOFT/BOOT/BCD"]);

    let options = Options { hidden_sectors: (OS / 512) as u64, ..Options::default() };
    let tree = installation();
    let os = MemoryDisk::new(16 * MIB, 0);
    let plan = Plan::new(&tree, 16 * MIB as u64, &options).unwrap();
    plan.write(&tree, &os, NonZeroUsize::MIN, &|_| {}).unwrap();
    let disk = [vec![0; MIB], fs::read(&fat).unwrap(), vec![0; MIB], os.into_bytes(), vec![0; MIB]].concat();
    let path = file("disk", &disk);
    let make = ["-n1:2048:10239", "-t1:EF00", "-n2:10240:12287", "-t2:0C01", "-n3:12288:45055", "-t3:0700", &path];
    tools.run("sgdisk", &make);
    Some(fs::read(&path).unwrap())
}

/// Replaces the only place on the EFI system partition with these bytes.
fn replace_on_esp(disk: &mut [u8], old: &[u8], new: &[u8]) -> Where {
    let esp = &mut disk[MIB..5 * MIB];
    let places: Vec<usize> = (0..esp.len() - old.len()).filter(|at| esp[*at..].starts_with(old)).collect();
    let [place] = places[..] else { panic!("{old:?} at {places:?}") };
    esp[place..place + new.len()].copy_from_slice(new);
    Where::Partition(1)
}

/// Faults of a disk that starts by UEFI.
const WHOLE_UEFI: Faults = &[
    fault(Rule::EfiBootManager, "under another name", |d| replace_on_esp(d, b"BOOTX64 EFI", b"BOOTX65 EFI")),
    fault(Rule::EfiBootManager, "for another processor", |d| replace_on_esp(d, b"PE\0\0\x64\x86", b"PE\0\0\x4C\x01")),
    fault(Rule::EfiBootManager, "no program", |d| replace_on_esp(d, b"PE\0\0", b"XX")),
    fault(Rule::BcdStore, "under another name, for UEFI", |d| replace_on_esp(d, b"BCD        ", b"BCE")),
    fault(Rule::BcdStore, "no hive, for UEFI", |d| replace_on_esp(d, b"regf", b"REGF")),
    fault(Rule::EfiSystem, "of another type", |d| {
        tables(d, |table| table.copy_within(2 * 128..2 * 128 + 16, 0));
        Where::Whole
    }),
    fault(Rule::EfiSystem, "no boot sector", |d| {
        d[MIB..MIB + 512].fill(0);
        Where::Whole
    }),
    fault(Rule::BcdDevice, "an installation that is not there", |d| {
        let mut os = Surgeon::new(d[OS..OS + 16 * MIB].to_vec());
        let record = os.find("Windows");
        os.patch_name(record, "Windows", 66, &units("X"));
        d[OS..OS + 16 * MIB].copy_from_slice(&os.bytes);
        Where::Named("BCD")
    })
    .also(&[Rule::Loader]),
];

#[test]
fn faults_of_a_disk_that_starts_by_uefi_are_found() {
    let Some(disk) = uefi_disk() else { return };
    assert_clean("a disk that starts by UEFI", &check(&disk));
    assert_none(&failures("a disk that starts by UEFI", &disk, WHOLE_UEFI, |disk| check(disk)));
}

#[test]
fn faults_of_the_demo_are_found() {
    assert_clean("the demo", &check(&GOOD));
    assert_none(&failures("the demo", &*GOOD, DEMO, |disk| check(disk)));
}

#[test]
fn faults_of_a_disk_for_uefi_are_found() {
    let Some(disk) = gpt_disk() else { return };
    assert_none(&failures("a disk for UEFI", &disk, UEFI, |disk| check(disk)));
}
