//! What an image has to say about its drivers, opened once.

use std::cell::OnceCell;

use super::stray::{self, Stray};
use crate::base::Machine;
use crate::error::Result;
use crate::format::hive::{Hive, KeyId};
use crate::tree::Tree;
use crate::verify::windows::Service;
use crate::windows::About;
use crate::windows::drivers::{Database, ProductType, TargetOs};
use crate::windows::registry::{self, CONFIG};

/// The drivers of an image.
pub(super) struct Evidence<'t> {
    pub(super) tree: &'t Tree,
    pub(super) windows: TargetOs,
    pub(super) database: Database,
    system: Hive,
    services: Option<KeyId>,
    classes: Option<KeyId>,
    stray: OnceCell<Vec<Stray>>,
}

impl<'t> Evidence<'t> {
    /// Opens the hives; the reason, where there is nothing to judge.
    pub(super) fn read(tree: &'t Tree, about: &About) -> Result<Result<Self, String>> {
        let hive = |name: &str| registry::read_hive(tree, &format!(r"{CONFIG}\{name}"));
        let Some(system) = hive("SYSTEM")? else { return Ok(Err("no Windows, so no drivers".into())) };
        let database = Database::of_hives(&system, hive("DRIVERS")?.as_ref());
        if database.packages().is_empty() {
            return Ok(Err("drivers cannot be judged: no DriverDatabase".into()));
        }
        let set = registry::current_control_set(&system);
        let services = set.and_then(|set| system.subkey(set, "Services"));
        let classes = set.and_then(|set| system.open_at(set, r"Control\Class"));
        let windows = target_os(about);
        Ok(Ok(Self { tree, windows, database, system, services, classes, stray: OnceCell::new() }))
    }

    /// The service of a name.
    pub(super) fn service(&self, name: &str) -> Option<Service<'_>> {
        Service::named(&self.system, self.services?, name)
    }

    /// The filters of a class of devices, above and below.
    pub(super) fn class_filters(&self, class: uuid::Uuid) -> Vec<String> {
        let key = self.classes.and_then(|classes| self.system.subkey(classes, class.braced().to_string().as_str()));
        let texts = |name: &str| self.system.value(key?, name)?.as_texts();
        ["UpperFilters", "LowerFilters"].into_iter().filter_map(texts).flatten().collect()
    }

    /// The INFs that the database does not list, read when first asked for.
    pub(super) fn stray(&self) -> &[Stray] {
        self.stray.get_or_init(|| stray::read(self.tree, &self.database, &self.windows))
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.database.notes().to_vec()
    }
}

/// The Windows that INFs are asked about. Where an image does not say what it is, it is taken for what a database of drivers and the
/// profiles have in common: a Windows 10 or later on amd64.
fn target_os(about: &About) -> TargetOs {
    let version = about.version.unwrap_or_default();
    let major = if version.major == 0 { 10 } else { version.major };
    let product = match about.product_type.as_deref() {
        Some("WinNT") => ProductType::Workstation,
        Some("LanmanNT") => ProductType::DomainController,
        _ => ProductType::Server,
    };
    TargetOs {
        machine: about.machine.unwrap_or(Machine::Amd64),
        major,
        minor: version.minor,
        build: version.build,
        product,
        suites: 0,
    }
}
