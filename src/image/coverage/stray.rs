//! INF files in `\Windows\INF` that the database does not list: of images whose DRIVERS hive is not there, Windows makes it of them.

use crate::base::{FileTime, Version};
use crate::format::inf::{self, Inf, MAX_FILE};
use crate::tree::Tree;
use crate::windows::drivers::{Database, INF_FOLDER, IdKind, TargetOs};

/// How many are read.
const MOST: usize = 4096;
/// `AddService` flags: the service is the device's function driver.
const SPSVCINST_ASSOCSERVICE: u32 = 2;

/// An INF that is for this Windows.
pub(super) struct Stray {
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) date: FileTime,
    pub(super) version: Version,
    pub(super) class: uuid::Uuid,
    pub(super) claims: Vec<Claim>,
}

/// An id of a model.
pub(super) struct Claim {
    pub(super) id: String,
    pub(super) kind: IdKind,
    pub(super) index: u16,
    pub(super) install: Install,
}

/// What an install section comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Install {
    pub(super) feature: u8,
    pub(super) service: Function,
}

/// A device's function driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Function {
    /// This service.
    Service(String),
    /// There is to be none.
    None,
    /// What included INFs say.
    Unknown,
}

/// The INFs of an image, in the order of their names. Those that are no INFs of drivers, or for others, are no business of ours.
pub(super) fn read(tree: &Tree, database: &Database, windows: &TargetOs) -> Vec<Stray> {
    let Some(folder) = tree.find(INF_FOLDER) else { return Vec::new() };
    let links = tree.node(folder).children().iter();
    let names = links.map(|link| (link.name.to_string(), link.node));
    let mut names: Vec<_> = names
        .filter(|(name, _)| name.to_ascii_lowercase().ends_with(".inf") && database.published(name).is_none())
        .collect();
    names.sort_by_cached_key(|(name, _)| name.to_lowercase());
    let read = |(name, node): (String, _)| {
        let content = tree.node(node).main()?;
        let inf = (content.len() <= MAX_FILE as u64).then(|| tree.read(content).ok()).flatten()?;
        of(&Inf::parse(&inf).ok()?, name, windows)
    };
    names.into_iter().take(MOST).filter_map(read).collect()
}

fn of(inf: &Inf, name: String, windows: &TargetOs) -> Option<Stray> {
    let header = inf.header(windows.machine).ok()?;
    let mut claims = Vec::new();
    for model in inf.models(windows) {
        let install = install(inf, &model.install, windows);
        for (place, id) in model.ids.into_iter().enumerate().filter(|(_, id)| !id.is_empty()) {
            let kind = if place == 0 { IdKind::Hardware } else { IdKind::Compatible };
            let index = u16::try_from(place.saturating_sub(1)).unwrap_or(u16::MAX);
            claims.push(Claim { id, kind, index, install: install.clone() });
        }
    }
    let (date, version, class) = (header.date, header.version, header.class_guid);
    (!claims.is_empty()).then_some(Stray { name, provider: header.provider, date, version, class, claims })
}

/// What an INF makes of an id, for a package that the database knows by its ids alone.
pub(super) fn install_of(bytes: &[u8], id: &str, windows: &TargetOs) -> Option<Install> {
    let inf = Inf::parse(bytes).ok()?;
    let models = inf.models(windows);
    let model = models.iter().find(|model| model.ids.iter().any(|own| own.eq_ignore_ascii_case(id)))?;
    Some(install(&inf, &model.install, windows))
}

fn install(inf: &Inf, section: &str, windows: &TargetOs) -> Install {
    let name = inf.actual_section(section, windows).unwrap_or_else(|| section.to_owned());
    let own = inf.section(&name);
    let feature = own.and_then(|own| inf::feature_score(&inf.expand(own.get("FeatureScore")?.field(0))));
    let feature = feature.unwrap_or(u8::MAX);
    let services = inf.section(&format!("{name}.Services"));
    let includes = [own, services].into_iter().flatten().any(|section| section.get("Needs").is_some());
    let added = services
        .into_iter()
        .flat_map(|services| services.all("AddService"))
        .find(|entry| number(&inf.expand(entry.field(1))).is_some_and(|flags| flags & SPSVCINST_ASSOCSERVICE != 0));
    let service = match added.map(|entry| inf.expand(entry.field(0)).trim().to_owned()) {
        Some(name) if !name.is_empty() => Function::Service(name),
        None if includes => Function::Unknown,
        _ => Function::None,
    };
    Install { feature, service }
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
