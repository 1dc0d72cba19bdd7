//! Components that are drivers (`type="dualModeDriver"`, `file/infFile`).
//!
//! Those of newer Windows say all that their installation comes to: files of the driver store and keys of the driver database (seen in netvg63a.inf of
//! build 26100). Where a manifest does not, the INF file is installed as any other, and its files go where it says.

use super::variables::sound;
use super::{Change, Compiler, EffectKind, shortened};
use crate::format::assembly::{Element, Identity};

/// Where installed drivers are recorded, in whichever hive.
const DATABASE: &str = r"\DRIVERDATABASE\";
/// The type of components that are a driver and nothing else.
const DRIVER: &str = "dualModeDriver";

/// How the drivers of a component are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// There are none, or its own keys and files are all of it.
    Declared,
    /// By their INF files, beside whatever else the component is.
    Beside,
    /// By its INF file, which says where all of its files go.
    Whole,
}

impl Way {
    pub(super) fn of(document: &Element, identity: &Identity) -> Self {
        let has_inf = document.children("file").any(|file| file.child("infFile").is_some());
        let keys = document.children("registryKeys").flat_map(|keys| keys.all_children());
        let mut names = keys.filter_map(|key| key.attribute("keyName")).map(str::to_uppercase);
        if !has_inf || names.any(|name| name.contains(DATABASE)) {
            Self::Declared
        } else if identity.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(DRIVER)) {
            Self::Whole
        } else {
            Self::Beside
        }
    }
}

impl Compiler<'_> {
    pub(super) fn driver(&mut self, file: &Element) {
        let Some(mark) = file.child("infFile") else { return };
        mark.mark_all();
        if self.drivers == Way::Declared {
            return;
        }
        let name = file.attribute("name").unwrap_or_default();
        let said = sound(name);
        let Some(inf) = self.or_leave(file, format_args!("driver {}", shortened(name)), said) else { return };
        self.add(
            EffectKind::Driver,
            format!("driver {inf}, and the files that it names"),
            vec![Change::Driver { inf }],
        );
    }
}
