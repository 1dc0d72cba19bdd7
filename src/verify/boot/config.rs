//! The boot configuration: its store, its objects and elements, and where the default entry leads.

use uuid::Uuid;

use super::{Chain, Volume, stored};
use crate::format::bcd::{Device, Element, Firmware, Object, Store, code, element_name, id_of_name, object_name};
use crate::format::hive::{Hive, Recovery, kind};
use crate::format::partitions::{Partition, Scheme};
use crate::verify::{Finding, Findings, Level, Rule};
use crate::windows::{Machine, registry};

const BOOT_MANAGER: u32 = 0x1010_0002;
const OS_LOADER: u32 = 0x1020_0003;
const DEFAULT: u32 = 0x2300_0003;
const DISPLAY_ORDER: u32 = 0x2400_0001;
const INHERIT: u32 = 0x1400_0006;
const KERNEL: u32 = 0x2200_0011;
const WINPE: u32 = 0x2600_0022;
/// The class of objects that others inherit from.
const CLASS_INHERIT: u32 = 2;
/// The class of elements that only templates have.
const CLASS_TEMPLATE: u32 = 4;

/// The store, as seen from the boot manager in `manager`.
struct Config<'c> {
    chain: &'c Chain<'c>,
    firmware: Firmware,
    manager: &'c Volume<'c>,
    path: &'static str,
    store: Store,
}

pub(super) fn check(chain: &Chain<'_>, firmware: Firmware, manager: &Volume<'_>, findings: &mut Findings) {
    let path = match firmware {
        Firmware::Bios => r"\Boot\BCD",
        Firmware::Uefi => r"\EFI\Microsoft\Boot\BCD",
    };
    let Some(tree) = manager.tree else { return }; // said already
    let mut bad = |found: String, allowed: &str, level: Level| {
        findings.add(Finding::new(Rule::BcdStore, found).allowed(allowed).path(path).level(level));
    };
    let error = Rule::BcdStore.level();
    let hive = match registry::read_hive(tree, path) {
        Ok(Some(hive)) => hive,
        Ok(None) => return bad("nothing".into(), "a boot configuration", error),
        Err(problem) => return bad(problem.to_string(), "a sound hive", error),
    };
    match hive.recovery() {
        Recovery::Clean => {}
        Recovery::Ignored => bad("a dirty hive that no log mends".into(), "a clean one", error),
        _ => bad("a dirty hive, which its logs mend".into(), "a clean one", Level::Warning),
    }
    let store = match Store::read(&hive) {
        Ok(store) => store,
        Err(problem) => return bad(problem.to_string(), "a boot configuration", error),
    };
    if !store.description.contains_key("KeyName") {
        bad("a Description without KeyName".into(), "BCD00000000 or the like", Level::Warning);
    }
    let config = Config { chain, firmware, manager, path, store };
    config.check_elements_without_value(&hive, findings);
    for (id, object) in &config.store.objects {
        config.check_object(id, object, findings);
    }
    config.check_manager(findings);
}

/// How an object is named in findings: by what bcdedit calls it, or by its GUID.
fn named(id: &Uuid) -> String {
    object_name(id).map_or_else(|| id.braced().to_string(), |name| format!("{{{name}}}"))
}

/// An element by its code and bcdedit's name.
fn element(object: &Object, code: u32) -> String {
    element_name(object.kind, code).map_or_else(|| format!("{code:08x}"), |name| format!("{code:08x} {name}"))
}

impl Config<'_> {
    fn finding(&self, rule: Rule, id: &Uuid, found: impl std::fmt::Display) -> Finding {
        Finding::new(rule, found).path(self.path).part(named(id))
    }

    fn about(&self, rule: Rule, id: &Uuid, code: u32, found: impl std::fmt::Display) -> Finding {
        let place = self.store.objects.get(id).map_or_else(|| format!("{code:08x}"), |object| element(object, code));
        Finding::new(rule, found).path(self.path).part(format_args!("{} {place}", named(id)))
    }

    /// Keys of elements without anything in them, which the reader passes over.
    fn check_elements_without_value(&self, hive: &Hive, findings: &mut Findings) {
        let Some(objects) = hive.open("Objects") else { return };
        for object in hive.subkeys(objects) {
            let Some(elements) = hive.open_at(object, "Elements") else { continue };
            for element in hive.subkeys(elements).filter(|key| hive.value(*key, "Element").is_none()) {
                let finding = Finding::new(Rule::BcdElement, "a key without the value Element").path(self.path);
                findings.add(finding.part(hive.path(element)).allowed("the value").level(Level::Warning));
            }
        }
    }

    fn check_object(&self, id: &Uuid, object: &Object, findings: &mut Findings) {
        let class = object.kind >> 28;
        if !(1..=3).contains(&class) {
            let finding = self.finding(Rule::BcdObject, id, format_args!("type {:#010x}", object.kind));
            findings.add(finding.allowed("1 an application, 2 settings to inherit, 3 a device, in the first digit"));
        }
        if let Some(right) = kind_of_known(id).filter(|right| *right != object.kind) {
            let finding = self.finding(Rule::BcdObject, id, format_args!("type {:#010x}", object.kind));
            findings.add(finding.allowed(format_args!("{right:#010x}")));
        }
        for (code, value) in &object.elements {
            self.check_element(id, object, *code, value, findings);
        }
    }

    fn check_element(&self, id: &Uuid, object: &Object, code: u32, value: &Element, findings: &mut Findings) {
        let form = code >> 24 & 0xF;
        if let Element::Raw(raw) = value {
            let level = if (1..=7).contains(&form) { Rule::BcdElement.level() } else { Level::Warning };
            let found = format!("{} bytes of registry type {}", raw.data.len(), raw.kind);
            let finding = self.about(Rule::BcdElement, id, code, found);
            findings.add(finding.allowed(form_of(form)).level(level));
        }
        let class = code >> 28;
        if class == CLASS_TEMPLATE || class == 0 || class > 5 {
            let finding = self.about(Rule::BcdElement, id, code, "an element that no store in use has");
            findings
                .add(finding.allowed("1 of the library, 2 of the application, 3 of a device").level(Level::Warning));
        }
        match value {
            Element::Object(target) => self.check_reference(id, code, target, findings),
            Element::Objects(targets) => {
                targets.iter().for_each(|target| self.check_reference(id, code, target, findings));
            }
            // The two that decide are followed from the boot manager on.
            Element::Device(device) if object.kind != OS_LOADER && object.kind != BOOT_MANAGER => {
                self.check_device(id, object, code, device, Level::Warning, findings);
            }
            _ => {}
        }
    }

    fn check_reference(&self, id: &Uuid, code: u32, target: &Uuid, findings: &mut Findings) {
        match self.store.objects.get(target) {
            None => {
                // An entry that is gone is not shown, an unknown one to inherit from is passed over; neither stops the start.
                let level = if code == DEFAULT { Rule::BcdObject.level() } else { Level::Warning };
                let finding =
                    self.about(Rule::BcdObject, id, code, format_args!("{}, which is not there", named(target)));
                findings.add(finding.allowed("an object of the store").level(level));
            }
            Some(object) if code == INHERIT && object.kind >> 28 != CLASS_INHERIT => {
                let found = format!("{} of type {:#010x}", named(target), object.kind);
                findings.add(self.about(Rule::BcdObject, id, code, found).allowed("settings to inherit, 0x2..."));
            }
            Some(_) => {}
        }
    }

    /// The boot manager's own object, and the entry that it starts.
    fn check_manager(&self, findings: &mut Findings) {
        let Some((id, manager)) = id_of_name("bootmgr").and_then(|id| Some((id, self.store.objects.get(&id)?))) else {
            let finding = Finding::new(Rule::BcdObject, "no object of the boot manager").path(self.path);
            findings.add(finding.allowed("{bootmgr}"));
            return;
        };
        // The boot manager runs by then: it starts even with a wrong one.
        if let Some(Element::Device(device)) = manager.elements.get(&code::DEVICE) {
            self.check_device(&id, manager, code::DEVICE, device, Level::Warning, findings);
        }
        let chosen = match (manager.elements.get(&DEFAULT), manager.elements.get(&DISPLAY_ORDER)) {
            (Some(Element::Object(default)), _) => Some(*default),
            (_, Some(Element::Objects(order))) => order.first().copied(),
            _ => None,
        };
        let Some(chosen) = chosen else {
            findings.add(self.about(Rule::BcdObject, &id, DEFAULT, "no default entry").allowed("a loader of Windows"));
            return;
        };
        for (id, object) in self.store.objects.iter().filter(|(_, object)| object.kind == OS_LOADER) {
            let level = if *id == chosen { Level::Error } else { Level::Warning };
            self.check_loader(id, object, level, findings);
        }
        if let Some(object) = self.store.objects.get(&chosen).filter(|object| object.kind != OS_LOADER) {
            let found = format!("{} of type {:#010x}", named(&chosen), object.kind);
            let finding = self.about(Rule::BcdObject, &id, DEFAULT, found);
            findings.add(finding.allowed(format_args!("a loader of Windows, {OS_LOADER:#010x}")));
        }
    }

    /// Follows an entry to its loader and its installation. What is wrong with one that is not the default is a warning.
    fn check_loader(&self, id: &Uuid, object: &Object, level: Level, findings: &mut Findings) {
        let device = |code: u32, findings: &mut Findings| match object.elements.get(&code) {
            Some(Element::Device(device)) => self.check_device(id, object, code, device, level, findings),
            Some(_) => None, // said already
            None => {
                let finding = self.about(Rule::BcdElement, id, code, "nothing");
                findings.add(finding.allowed("a device").level(level));
                None
            }
        };
        let on = device(code::DEVICE, findings);
        let os = device(code::OS_DEVICE, findings);
        for needed in [code::PATH, code::SYSTEM_ROOT] {
            if !object.elements.contains_key(&needed) {
                let finding = self.about(Rule::BcdElement, id, needed, "nothing");
                findings.add(finding.allowed("a path").level(level));
            }
        }
        if let (Some(volume), Some(path)) = (on, object.text(code::PATH)) {
            self.check_program(volume, path, level, findings);
            stored::check(volume, &[path.to_owned()], level, findings);
        }
        if let (Some(volume), Some(root)) = (os, object.text(code::SYSTEM_ROOT)) {
            check_installation(volume, root.trim_end_matches('\\'), object, level, findings);
        }
    }

    fn check_program(&self, volume: &Volume<'_>, path: &str, level: Level, findings: &mut Findings) {
        let mut bad = |rule: Rule, found: String, allowed: &str| {
            let mut finding = Finding::new(rule, found).allowed(allowed).path(path).level(level);
            finding.place.partition = Some(volume.partition.number);
            findings.add(finding);
        };
        let ending = match self.firmware {
            Firmware::Bios => ".exe",
            Firmware::Uefi => ".efi",
        };
        if !path.to_ascii_lowercase().ends_with(ending) {
            bad(Rule::Loader, format!("{path}, a program for another firmware"), &format!("winload{ending}"));
        }
        let Some((tree, _)) = volume.file(path) else {
            return bad(Rule::Loader, "no such file".into(), "the loader");
        };
        let found = tree.read_file(path).and_then(|bytes| Machine::of_pe(&bytes.unwrap_or_default()));
        let can_run = |machine: Machine| match (self.chain.machine, self.firmware) {
            (Some(installed), _) => machine == installed,
            (None, Firmware::Bios) => matches!(machine, Machine::X86 | Machine::Amd64),
            (None, Firmware::Uefi) => true,
        };
        match found {
            Err(problem) => bad(Rule::Loader, problem.to_string(), "a program"),
            Ok(machine) if !can_run(machine) => {
                let allowed = self.chain.machine.map_or("x86, amd64".into(), |machine| format!("for {machine}"));
                bad(Rule::Loader, format!("for {machine}"), &allowed);
            }
            Ok(Machine::Arm | Machine::Arm64) if self.firmware == Firmware::Bios => {
                bad(Rule::Loader, "for ARM".into(), "for x86 or amd64: there is no BIOS for others");
            }
            Ok(_) => {}
        }
    }

    /// The volume that a device element leads to; a finding if it leads nowhere.
    fn check_device(
        &self,
        id: &Uuid,
        object: &Object,
        code: u32,
        device: &Device,
        level: Level,
        findings: &mut Findings,
    ) -> Option<&Volume<'_>> {
        let bad = |found: String, allowed: &str, level: Level| {
            self.about(Rule::BcdDevice, id, code, found).allowed(allowed).level(level)
        };
        let at =
            |wanted: &dyn Fn(&Partition) -> bool| self.chain.volumes.iter().find(|volume| wanted(volume.partition));
        let table = self.chain.table;
        match device {
            Device::Boot => Some(self.manager),
            // The boot manager is the one that was started, and one for a BIOS has no path.
            Device::Locate { .. } if object.kind == BOOT_MANAGER => Some(self.manager),
            Device::Locate { element } => {
                let Some(path) = object.text(*element) else {
                    findings.add(bad(format!("located by {element:08x}, which is not there"), "a path", level));
                    return None;
                };
                let found = self.chain.volumes.iter().find(|volume| volume.has(path));
                if found.is_none() {
                    findings.add(bad(format!("located by {path}"), "a file or folder on a volume of the disk", level));
                }
                found
            }
            Device::MbrPartition { signature, offset } => {
                let here = Scheme::Mbr { signature: *signature };
                if table.scheme != here {
                    let allowed = match table.scheme {
                        Scheme::Mbr { signature } => format!("{signature:08x}, this disk"),
                        _ => "a partition of a GPT, as this disk has".into(),
                    };
                    findings.add(bad(format!("disk signature {signature:08x}"), &allowed, level));
                    return None;
                }
                let found = at(&|partition| partition.range.start == *offset);
                if found.is_none() {
                    findings.add(bad(format!("a partition at {offset:#x}"), "where one begins", level));
                }
                found
            }
            Device::GptPartition { disk, partition } => {
                let found = at(&|candidate| candidate.id == Some(*partition));
                if found.is_none() {
                    findings.add(bad(format!("partition {partition}"), "a partition of this disk", level));
                } else if table.scheme != (Scheme::Gpt { disk: *disk }) {
                    // Seen to be found nevertheless.
                    findings.add(bad(format!("disk {disk}"), "this disk", Level::Warning));
                }
                found
            }
            Device::Raw(bytes) => {
                let found = format!("{} bytes of a device that is not followed (a file, a RAM disk)", bytes.len());
                let level = if object.kind == OS_LOADER { level.min(Level::Warning) } else { Level::Note };
                findings.add(bad(found, "a partition, to be sure", level));
                None
            }
        }
    }
}

/// What the loader reads first.
fn check_installation(volume: &Volume<'_>, root: &str, object: &Object, level: Level, findings: &mut Findings) {
    let Some(tree) = volume.tree else { return };
    let hive = format!(r"{root}\System32\config\SYSTEM");
    let mut bad = |rule: Rule, path: &str, found: String, allowed: &str, level: Level| {
        let mut finding = Finding::new(rule, found).allowed(allowed).path(path).level(level);
        finding.place.partition = Some(volume.partition.number);
        findings.add(finding);
    };
    let system = registry::read_hive(tree, &hive);
    match &system {
        Ok(None) => bad(Rule::LoaderHive, &hive, "no such file".into(), "the hive", level),
        Err(problem) => bad(Rule::LoaderHive, &hive, problem.to_string(), "a sound hive", level),
        Ok(Some(system)) => {
            match system.recovery() {
                Recovery::Clean => {}
                Recovery::Ignored => {
                    bad(Rule::LoaderHive, &hive, "dirty, and no log mends it".into(), "a clean hive", level);
                }
                _ => {
                    let level = level.min(Level::Warning);
                    bad(Rule::LoaderHive, &hive, "dirty, which its logs mend".into(), "a clean hive", level);
                }
            }
            // Windows PE has a control set as well.
            if registry::current_control_set(system).is_none() {
                bad(Rule::LoaderHive, &hive, "no current control set".into(), r"Select\Current, and its key", level);
            }
        }
    }
    let winpe = matches!(object.elements.get(&WINPE), Some(Element::Boolean(true)));
    let name = object.text(KERNEL).unwrap_or("ntoskrnl.exe");
    let kernel = format!(r"{root}\System32\{name}");
    if volume.file(&kernel).is_none() && !winpe {
        bad(Rule::Loader, &kernel, "no such file".into(), "the kernel", level);
    }
    let paths = stored::read_by_loader(tree, root, system.ok().flatten().as_ref());
    stored::check(volume, &paths, level, findings);
}

/// The type that an object of a well-known name has.
fn kind_of_known(id: &Uuid) -> Option<u32> {
    Some(match object_name(id)? {
        "bootmgr" => BOOT_MANAGER,
        "fwbootmgr" => 0x1010_0001,
        "memdiag" => 0x1020_0005,
        "ntldr" => 0x1030_0006,
        "globalsettings" | "dbgsettings" | "emssettings" | "badmemory" => 0x2010_0000,
        "bootloadersettings" | "hypervisorsettings" => 0x2020_0003,
        "resumeloadersettings" => 0x2020_0004,
        "ramdiskoptions" => 0x3000_0000,
        _ => return None,
    })
}

/// What an element of that format has to be.
fn form_of(form: u32) -> String {
    let (what, registry) = match form {
        1 => ("a device", kind::BINARY),
        2 => ("a text", kind::SZ),
        3 => ("an object's {GUID}", kind::SZ),
        4 => ("a list of {GUID}s", kind::MULTI_SZ),
        5 => ("an integer of up to 8 bytes", kind::BINARY),
        6 => ("one byte, 0 or 1", kind::BINARY),
        7 => ("integers of 8 bytes", kind::BINARY),
        _ => return "a format from 1 to 7".into(),
    };
    format!("{what}, of registry type {registry}")
}
