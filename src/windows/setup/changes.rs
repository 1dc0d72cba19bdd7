//! Values on their way into the registry, and what there is already.

use crate::base::FileTime;
use crate::error::{Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::format::reg::{Action, Assignment, Section};
use crate::tree::Tree;
use crate::windows::regedit;
use crate::windows::registry::{self, CONFIG};

/// The hives of an installation, to look things up.
pub(super) struct Hives {
    pub(super) system: Hive,
    pub(super) software: Option<Hive>,
    set: KeyId,
}

impl Hives {
    pub(super) fn read(tree: &Tree) -> Result<Self> {
        let missing = |what: &str| Error::new(Kind::NotWindows, what.to_owned());
        let system = registry::read_hive(tree, &format!(r"{CONFIG}\SYSTEM"))?;
        let system = system.ok_or_else(|| missing("the image has no SYSTEM hive"))?;
        let set = registry::current_control_set(&system).ok_or_else(|| {
            Error::corrupt(r"the SYSTEM hive does not say which control set is the current one (Select\Current)")
        })?;
        Ok(Self { software: registry::read_hive(tree, &format!(r"{CONFIG}\SOFTWARE"))?, system, set })
    }

    /// A key of the current control set.
    pub(super) fn control_set(&self, path: &str) -> Option<KeyId> {
        self.system.open_at(self.set, path)
    }

    /// Whether this Windows is set up already, and not prepared to be so once more (Microsoft, "Windows Setup States"): it runs no
    /// `SetupComplete.cmd` then.
    pub(super) fn is_set_up(&self) -> bool {
        let state = |software: &Hive| {
            let key = software.open(r"Microsoft\Windows\CurrentVersion\Setup\State")?;
            software.value(key, "ImageState")?.as_text()
        };
        self.software.as_ref().and_then(state).is_some_and(|state| state == "IMAGE_STATE_COMPLETE")
    }
}

/// Values that are to be set, by keys.
#[derive(Default)]
pub(super) struct Changes(Vec<Section>);

impl Changes {
    /// A value of the current control set.
    pub(super) fn system(&mut self, path: &str, name: &str, value: Value) {
        self.set(format!(r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\{path}"), name, value);
    }

    /// A value of the SOFTWARE hive.
    pub(super) fn software(&mut self, path: &str, name: &str, value: Value) {
        self.set(format!(r"HKEY_LOCAL_MACHINE\SOFTWARE\{path}"), name, value);
    }

    fn set(&mut self, key: String, name: &str, value: Value) {
        let assignment = Assignment { name: name.to_owned(), data: Some((value.kind, value.data)) };
        match self.0.last_mut() {
            Some(Section { key: last, action: Action::Set(assignments), .. }) if *last == key => {
                assignments.push(assignment);
            }
            _ => self.0.push(Section { key, line: 0, action: Action::Set(vec![assignment]) }),
        }
    }

    /// Puts them into the hives; tells which those were.
    pub(super) fn apply(&self, tree: &mut Tree, now: FileTime) -> Result<Vec<regedit::Changed>> {
        regedit::apply(tree, &self.0, now)
    }
}
