//! Components that are drivers (`type="dualModeDriver"`, `file/infFile`).
//!
//! Those of newer Windows say all that their installation comes to: files of the driver store and keys of the driver database (seen in netvg63a.inf of
//! build 26100). Where a manifest does not, the INF file is installed as any other, and its files go where it says.

use super::{Change, Compiler, EffectKind};
use crate::format::assembly::Element;

/// Where installed drivers are recorded, in whichever hive.
const DATABASE: &str = r"\DRIVERDATABASE\";

/// Whether the drivers of a component are installed by their INF files.
pub(super) fn are_by_inf(document: &Element) -> bool {
    let has_inf = document.children("file").any(|file| file.child("infFile").is_some());
    let keys = document.children("registryKeys").flat_map(|keys| keys.all_children());
    let mut names = keys.filter_map(|key| key.attribute("keyName")).map(str::to_uppercase);
    has_inf && !names.any(|name| name.contains(DATABASE))
}

impl Compiler<'_> {
    pub(super) fn driver(&mut self, file: &Element) {
        file.children("infFile").for_each(Element::mark_all);
        let name = file.attribute("name").unwrap_or_default();
        let is_inf = file.child("infFile").is_some();
        if !self.by_inf || !is_inf {
            return;
        }
        let said = super::variables::sound(name);
        let Some(inf) = self.or_leave(file, format_args!("driver {}", super::shortened(name)), said) else { return };
        self.add(
            EffectKind::Driver,
            format!("driver {inf}, and the files that it names"),
            vec![Change::Driver { inf }],
        );
    }
}
