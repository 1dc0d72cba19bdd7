//! What an installation says about itself: in its hives, and by its programs.

use serde::Serialize;

use super::registry::{self, CONFIG};
use super::{Machine, machine_of};
use crate::error::Kind;
use crate::format::hive::{Hive, KeyId};
use crate::format::wim::{ImageInfo, Version};
use crate::tree::Tree;

/// An installation as its own hives describe it; any part may be missing. DISM writes the same into the XML of a WIM.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct About {
    /// `Windows Server 2016 Datacenter`.
    pub product_name: Option<String>,
    /// `ServerDatacenterNano`.
    pub edition: Option<String>,
    /// `Client`, `Server`, `Server Core`, `Nano Server`, `WindowsPE`.
    pub installation_type: Option<String>,
    /// `WinNT`, `ServerNT`, `LanmanNT`.
    pub product_type: Option<String>,
    /// `Terminal Server`, ...: the first of several.
    pub product_suite: Option<String>,
    /// The version, with the update revision.
    pub version: Option<Version>,
    /// The processor.
    pub machine: Option<Machine>,
    /// The languages of its user interface.
    pub languages: Vec<String>,
    /// The one that it was installed with.
    pub default_language: Option<String>,
    /// Its name in the network.
    pub computer_name: Option<String>,
    /// What could not be read, in words.
    pub notes: Vec<String>,
}

/// The numbers of a WIM's ARCH, which are those of `GetNativeSystemInfo`.
fn architecture(machine: Machine) -> u32 {
    match machine {
        Machine::X86 => 0,
        Machine::Arm => 5,
        Machine::Amd64 => 9,
        Machine::Arm64 => 12,
    }
}

impl About {
    /// Reads it out of a tree; `None` if that has neither a SYSTEM nor a SOFTWARE hive.
    pub fn read(tree: &Tree) -> Option<Self> {
        let paths = ["SYSTEM", "SOFTWARE"].map(|name| format!(r"{CONFIG}\{name}"));
        if paths.iter().all(|path| tree.find(path).is_none()) {
            return None;
        }
        let mut notes = Vec::new();
        let [system, software] = paths.map(|path| match registry::read_hive(tree, &path) {
            Ok(hive) => hive,
            Err(error) => {
                notes.push(error.to_string());
                None
            }
        });
        let mut about = Self::of_hives(tree, system.as_ref(), software.as_ref());
        notes.append(&mut about.notes);
        Some(Self { notes, ..about })
    }

    /// The same of hives that were read before.
    pub(super) fn of_hives(tree: &Tree, system: Option<&Hive>, software: Option<&Hive>) -> Self {
        let mut about = Self::default();
        if let Some(hive) = software {
            about.product(hive);
        }
        about.machine = match machine_of(tree) {
            Ok(machine) => Some(machine),
            Err(error) if error.kind() == Kind::NotWindows => None,
            Err(error) => {
                about.notes.push(error.to_string());
                None
            }
        };
        if let Some(hive) = system {
            about.system(hive);
        }
        about
    }

    /// The key that `winver` reads.
    fn product(&mut self, software: &Hive) {
        let Some(key) = software.open(r"Microsoft\Windows NT\CurrentVersion") else { return };
        self.product_name = text(software, key, "ProductName");
        self.edition = text(software, key, "EditionID");
        self.installation_type = text(software, key, "InstallationType");
        let number = |name: &str| software.value(key, name)?.as_dword();
        let build = text(software, key, "CurrentBuildNumber").or_else(|| text(software, key, "CurrentBuild"));
        // Windows 10 says 6.3 in its old value, and the truth in two numbers.
        let old = text(software, key, "CurrentVersion").unwrap_or_default();
        let mut old = old.split('.').map(|part| part.parse::<u32>().ok());
        let (old_major, old_minor) = (old.next().flatten(), old.next().flatten());
        let service_pack = text(software, key, "CSDVersion");
        self.version = number("CurrentMajorVersionNumber").or(old_major).map(|major| Version {
            major,
            minor: number("CurrentMinorVersionNumber").or(old_minor.filter(|_| old_major == Some(major))).unwrap_or(0),
            build: build.and_then(|build| build.parse().ok()).unwrap_or(0),
            revision: number("UBR").unwrap_or(0),
            service_pack: service_pack.and_then(|pack| pack.rsplit(' ').next()?.parse().ok()).unwrap_or(0),
        });
    }

    fn system(&mut self, system: &Hive) {
        let Some(control) = registry::current_control_set(system).and_then(|set| system.subkey(set, "Control")) else {
            self.notes.push("the SYSTEM hive does not say which control set is the current one".into());
            return;
        };
        let open = |path: &str| system.open_at(control, path);
        let name = open(r"ComputerName\ComputerName").and_then(|key| text(system, key, "ComputerName"));
        self.computer_name = name;
        if let Some(key) = open("ProductOptions") {
            self.product_type = text(system, key, "ProductType");
            let suites = system.value(key, "ProductSuite").and_then(|value| value.as_texts());
            self.product_suite = suites.and_then(|suites| suites.into_iter().next()).map(|suite| printable(&suite));
        }
        self.machine = self.machine.or_else(|| {
            machine_by_name(&text(system, open(r"Session Manager\Environment")?, "PROCESSOR_ARCHITECTURE")?)
        });
        if let Some(languages) = open(r"MUI\UILanguages") {
            let installed = open(r"Nls\Language").and_then(|key| text(system, key, "InstallLanguage"));
            let installed = installed.and_then(|text| u32::from_str_radix(&text, 16).ok());
            for key in system.subkeys(languages) {
                let name = system.name(key).to_string();
                if system.value(key, "LCID").and_then(|value| value.as_dword()).is_some_and(|id| Some(id) == installed)
                {
                    self.default_language = Some(name.clone());
                }
                self.languages.push(name);
            }
            if let [only] = self.languages.as_slice() {
                self.default_language = Some(only.clone());
            }
        }
    }

    /// Puts it into what a WIM says of an image.
    pub fn describe(self, info: &mut ImageInfo) {
        info.product_name = self.product_name;
        info.flags.clone_from(&self.edition);
        info.edition = self.edition;
        info.installation_type = self.installation_type;
        info.product_type = self.product_type;
        info.product_suite = self.product_suite;
        info.version = self.version;
        info.architecture = self.machine.map(architecture);
        info.languages = self.languages;
        info.default_language = self.default_language;
        info.system_root = Some("WINDOWS".into());
    }
}

/// The text of a value, fit to be shown; nothing if it is empty.
fn text(hive: &Hive, key: KeyId, name: &str) -> Option<String> {
    let text = printable(&hive.value(key, name)?.as_text()?);
    (!text.is_empty()).then_some(text)
}

fn printable(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

fn machine_by_name(name: &str) -> Option<Machine> {
    match name.to_ascii_lowercase().as_str() {
        "x86" => Some(Machine::X86),
        "amd64" => Some(Machine::Amd64),
        "arm" => Some(Machine::Arm),
        "arm64" => Some(Machine::Arm64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileTime;
    use crate::format::hive::Value;
    use crate::windows::tests::{executable, system_hive, tree_of};

    const SYSTEM: &str = r"\Windows\System32\config\SYSTEM";
    const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";

    fn software() -> Vec<u8> {
        let mut hive = Hive::new("SOFTWARE", FileTime(1)).unwrap();
        let key = hive.create_key(r"Microsoft\Windows NT\CurrentVersion").unwrap();
        let values = [
            ("ProductName", Value::sz("Windows Server\u{1b} 2016")),
            ("EditionID", Value::sz("ServerDatacenterNano")),
            ("InstallationType", Value::sz("Nano Server")),
            ("CurrentBuildNumber", Value::sz("14393")),
            ("CurrentVersion", Value::sz("6.3")),
            ("CurrentMajorVersionNumber", Value::dword(10)),
            ("CurrentMinorVersionNumber", Value::dword(0)),
            ("UBR", Value::dword(1066)),
        ];
        for (name, value) in values {
            hive.set_value(key, name, value).unwrap();
        }
        hive.to_bytes().unwrap()
    }

    #[test]
    fn tells_what_the_hives_tell() {
        let system = system_hive(&[
            (r"Control\ComputerName\ComputerName", "ComputerName", Value::sz("NANO")),
            (r"Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
            (r"Control\MUI\UILanguages\de-DE", "LCID", Value::dword(0x407)),
            (r"Control\MUI\UILanguages\en-US", "LCID", Value::dword(0x409)),
            (r"Control\Nls\Language", "InstallLanguage", Value::sz("0407")),
        ]);
        let tree = tree_of(&[
            (SYSTEM, &system),
            (SOFTWARE, &software()),
            (r"\Windows\System32\ntoskrnl.exe", &executable(0x8664)),
        ]);
        let about = About::read(&tree).unwrap();
        assert_eq!(about.notes, [""; 0]);
        assert_eq!(about.version.unwrap().to_string(), "10.0.14393.1066");
        assert_eq!(about.product_name.as_deref(), Some("Windows Server  2016"));
        assert_eq!((about.machine, about.computer_name.as_deref()), (Some(Machine::Amd64), Some("NANO")));
        assert_eq!(about.languages, ["de-DE", "en-US"]);
        assert_eq!(about.default_language.as_deref(), Some("de-DE"));
        let mut info = ImageInfo::default();
        about.describe(&mut info);
        assert_eq!((info.architecture_name(), info.product_type.as_deref()), (Some("amd64"), Some("ServerNT")));
    }

    #[test]
    fn damage_is_a_note() {
        let tree = tree_of(&[(SYSTEM, b"regf"), (SOFTWARE, &software())]);
        let about = About::read(&tree).unwrap();
        assert_eq!(about.edition.as_deref(), Some("ServerDatacenterNano"));
        assert!(about.notes.iter().any(|note| note.contains(r"config\SYSTEM")), "{:?}", about.notes);
        assert!(About::read(&tree_of(&[(r"\a", b"")])).is_none());
    }
}
