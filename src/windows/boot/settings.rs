//! What is asked of the boot programs, as elements of a BCD store.
//!
//! | setting | object | element | source |
//! |---|---|---|---|
//! | EMS | loader | 260000b0 `ems` | `bcdedit /ems` |
//! | its port | {emssettings} | 15000022 `emsport`, 15000023 `emsbaudrate` | `bcdedit /emssettings` |
//! | EMS of the boot programs | {bootmgr}, loader, {emssettings} | 16000020 `bootems` | `bcdedit /bootems` |
//! | test signing | loader | 16000049 `testsigning` | `bcdedit /set testsigning` |
//! | menu | {bootmgr} | 26000020 `displaybootmenu`, 25000004 `timeout` | Azure's guide for VHDs |
//! | recovery | loader | 16000009 `recoveryenabled` | Azure's guide |
//! | failures | loader | 250000e0 `bootstatuspolicy` = 1 | Azure's guide |
//! | integrity services | {bootmgr}, loader | 1500004b `integrityservices` = 2, or 1 | Azure's guide |
//!
//! Codes are those of Microsoft's BCD reference (`BcdLibraryElementTypes`, `BcdBootMgrElementTypes`, `BcdOSLoaderElementTypes`); that of the integrity
//! services is `BcdLibraryInteger_SiPolicy` of its `bcdsrv` type library. Which of them go into the template is what Microsoft's
//! NanoServerImageGenerator does.

use serde::Serialize;
use uuid::{Uuid, uuid};

use crate::base::FileTime;
use crate::error::{Context, Result};
use crate::format::bcd::{self, Element, id_of_name};
use crate::format::hive::Hive;
use crate::tree::Tree;
use crate::windows::hive_files::{Changed, HiveFiles};

/// A serial port for Emergency Management Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ems {
    /// 1 is COM1.
    pub port: u8,
    /// Bits in a second.
    pub baud: u32,
}

impl Default for Ems {
    /// COM1 with 115200 baud, which all hypervisors and Azure listen to.
    fn default() -> Self {
        Self { port: 1, baud: 115_200 }
    }
}

/// See the module; nothing is changed by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Windows' Emergency Management Services (the Special Administration Console) on a serial port.
    pub ems: Option<Ems>,
    /// The menus and errors of the boot programs on that port, too.
    pub boot_ems: bool,
    /// Whether Windows takes drivers with test signatures.
    pub test_signing: bool,
    /// Whether the menu is shown where there is nothing to choose.
    pub display_boot_menu: bool,
    /// How many seconds the menu waits.
    pub timeout: Option<u32>,
    /// Whether a failed start leads to the recovery environment.
    pub recovery_enabled: Option<bool>,
    /// Whether a failed start or shutdown is passed over, and not shown at the next one.
    pub ignore_all_failures: bool,
    /// Whether the integrity of boot programs is checked, which is what their default comes to.
    pub integrity_services: Option<bool>,
}

/// The object that an element belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Manager,
    Loader,
    Ems,
}

/// The kind of an object that starts a Windows.
const OS_LOADER: u32 = 0x1020_0003;

/// Where boot managers look for their store on their volume: that of a BIOS, that of UEFI.
pub const STORES: [&str; 2] = [r"\Boot\BCD", r"\EFI\Microsoft\Boot\BCD"];

/// The loader objects of a BCD-Template, for a BIOS and for UEFI.
const TEMPLATE_LOADERS: [Uuid; 2] =
    [uuid!("a1943bbc-ea85-487c-97c7-c9ede908a38a"), uuid!("b012b84d-c47c-4ed5-b722-c0c42163e569")];

impl Settings {
    /// What Azure's guide for preparing VHDs asks for, serial console included.
    pub fn azure() -> Self {
        Self {
            ems: Some(Ems::default()),
            boot_ems: true,
            display_boot_menu: true,
            timeout: Some(5),
            recovery_enabled: Some(false),
            ignore_all_failures: true,
            integrity_services: Some(true),
            ..Self::default()
        }
    }

    /// Whether nothing is asked for.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The elements.
    fn elements(&self) -> Vec<(Owner, u32, Element)> {
        use Element::{Boolean, Integer};
        let mut elements = Vec::new();
        if let Some(Ems { port, baud }) = self.ems {
            elements.push((Owner::Ems, 0x1500_0022, Integer(port.into())));
            elements.push((Owner::Ems, 0x1500_0023, Integer(baud.into())));
            elements.push((Owner::Loader, 0x2600_00B0, Boolean(true)));
        }
        if self.boot_ems {
            let owners = [Owner::Manager, Owner::Loader, Owner::Ems];
            elements.extend(owners.map(|owner| (owner, 0x1600_0020, Boolean(true))));
        }
        if self.test_signing {
            elements.push((Owner::Loader, 0x1600_0049, Boolean(true)));
        }
        if self.display_boot_menu {
            elements.push((Owner::Manager, 0x2600_0020, Boolean(true)));
        }
        if let Some(seconds) = self.timeout {
            elements.push((Owner::Manager, 0x2500_0004, Integer(seconds.into())));
        }
        if let Some(enabled) = self.recovery_enabled {
            elements.push((Owner::Loader, 0x1600_0009, Boolean(enabled)));
        }
        if self.ignore_all_failures {
            elements.push((Owner::Loader, 0x2500_00E0, Integer(1)));
        }
        if let Some(enabled) = self.integrity_services {
            let value = if enabled { 2 } else { 1 };
            elements.extend([Owner::Manager, Owner::Loader].map(|owner| (owner, 0x1500_004B, Integer(value))));
        }
        elements
    }

    /// Makes the settings in a store.
    pub(super) fn set_in(&self, store: &mut bcd::Store, loader: Uuid) {
        for (owner, code, element) in self.elements() {
            for id in owner.objects(&[loader]) {
                if let Some(object) = store.objects.get_mut(&id) {
                    object.elements.insert(code, element.clone());
                }
            }
        }
    }

    /// Makes the settings in the stores that a volume has, for every loader of Windows in them; tells which stores changed. Empty where the
    /// volume has no store: it is on another partition then.
    pub fn set_on_volume(&self, tree: &mut Tree, now: FileTime) -> Result<Vec<Changed>> {
        let mut files = HiveFiles::new(now);
        for path in STORES.into_iter().filter(|path| tree.find(path).is_some()) {
            let file = files.open(tree, path)?;
            let store = bcd::Store::read(file.hive()).context(|| path)?;
            let loaders = store.objects.iter().filter(|(_, object)| object.kind == OS_LOADER).map(|(id, _)| *id);
            let loaders: Vec<Uuid> = loaders.collect();
            for (owner, code, element) in self.elements() {
                for id in owner.objects(&loaders).iter().filter(|id| store.objects.contains_key(*id)) {
                    let key = file.make(&format!(r"Objects\{}\Elements\{code:08x}", id.braced()))?;
                    file.set(key, "Element", element.to_value(code)?)?;
                }
            }
        }
        files.write(tree)
    }

    /// Makes the settings in a template, as far as it has the objects: what it lacks, bcdboot makes of its own.
    pub(super) fn set_in_template(&self, hive: &mut Hive) -> Result<()> {
        for (owner, code, element) in self.elements() {
            for id in owner.objects(&TEMPLATE_LOADERS) {
                bcd::set_element(hive, &id, code, &element)?;
            }
        }
        Ok(())
    }
}

impl Owner {
    fn objects(self, loaders: &[Uuid]) -> Vec<Uuid> {
        match self {
            Self::Manager => id_of_name("bootmgr").into_iter().collect(),
            Self::Ems => id_of_name("emssettings").into_iter().collect(),
            Self::Loader => loaders.to_vec(),
        }
    }
}
