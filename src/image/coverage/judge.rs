//! One device, its best driver, and what keeps that from working.

use uuid::{Uuid, uuid};

use super::evidence::Evidence;
use super::stray::{self, Function, Stray};
use super::{Chosen, Covered, Start, Verdict};
use crate::base::{FileTime, Version};
use crate::image::package::Wishes;
use crate::image::target::{Device, DeviceRole};
use crate::tree::{NodeId, Tree};
use crate::verify::Level;
use crate::verify::windows::{Service, is_file};
use crate::windows::drivers::rank::{self, Offer};
use crate::windows::drivers::{Candidate, DeviceIds, IdKind, REPOSITORY};

/// Files of a package that are looked at.
const MOST_FILES: usize = 1000;
/// The class of extension INFs, which add to a driver and are none.
const EXTENSION: Uuid = uuid!("e2f84ce7-8efa-411c-aa69-97454ca4cb57");
/// `SIGNERSCORE_INBOX` and `SIGNERSCORE_UNKNOWN` of the Windows SDK's `setupapi.h`.
const SIGNED_INBOX: u32 = 0x0D00_0003;
const SIGNED_UNKNOWN: u32 = 0xFF00_0000;

/// A driver that claims the device.
struct Claim<'e> {
    inf: &'e str,
    inf_name: &'e str,
    provider: Option<&'e str>,
    date: FileTime,
    version: Version,
    class: Option<Uuid>,
    /// The folder of the driver store.
    package: Option<&'e str>,
    id: &'e str,
    function: Function,
    /// The filters of the device alone.
    filters: Vec<&'e str>,
}

/// Something that is wrong.
struct Problem(Verdict, String);

pub(super) fn device(evidence: &Evidence<'_>, device: &Device, wishes: Option<&Wishes>) -> Covered {
    let ids = device.ids(&evidence.windows);
    let mut covered = Covered {
        device: device.what.clone(),
        role: device.role,
        boot: device.boot,
        from: device.from,
        shown: device.is_shown(wishes),
        option: device.option.clone(),
        id: ids.all().next().unwrap_or_default().to_owned(),
        verdict: Verdict::MissingDriver,
        level: None,
        driver: None,
        problems: Vec::new(),
        hint: None,
    };
    let problems = match best(evidence, &ids) {
        None => vec![Problem(Verdict::MissingDriver, "no driver in the image claims it".into())],
        Some((rank, claim)) => {
            let (start, problems) = check(evidence, device, &claim);
            covered.driver = Some(chosen(&claim, start, rank.number));
            problems
        }
    };
    covered.verdict = problems.first().map_or(Verdict::Ok, |problem| problem.0);
    covered.level = (!problems.is_empty() && covered.shown).then(|| level(device));
    covered.problems = problems.into_iter().map(|problem| problem.1).collect();
    covered
}

/// How bad it is if a device that a machine shows by default does not work.
fn level(device: &Device) -> Level {
    match device.role {
        _ if device.boot => Level::Error,
        DeviceRole::Network | DeviceRole::Bus => Level::Warning,
        _ => Level::Note,
    }
}

fn chosen(claim: &Claim<'_>, start: Start, rank: u32) -> Chosen {
    let service = match &claim.function {
        Function::Service(name) => Some(name.clone()),
        Function::None | Function::Unknown => None,
    };
    Chosen {
        inf: claim.inf.to_owned(),
        inf_name: claim.inf_name.to_owned(),
        provider: claim.provider.map(str::to_owned),
        version: claim.version,
        date: claim.date,
        service,
        start,
        matching_id: claim.id.to_owned(),
        rank: format!("{rank:08X}"),
    }
}

/// The driver that Plug and Play takes: of the database; where that has none, of the INFs that it does not list.
fn best<'e>(evidence: &'e Evidence<'_>, ids: &DeviceIds) -> Option<(rank::Rank, Claim<'e>)> {
    let candidates = ids.all().flat_map(|id| evidence.database.candidates(id));
    let usable = candidates.filter(|candidate| is_usable(evidence, candidate, ids));
    let of_database = rank::ranked(ids, usable.map(|candidate| (offer(&candidate), candidate))).into_iter().next();
    if let Some((rank, candidate)) = of_database {
        return Some((rank, claim(evidence, &candidate)));
    }
    let strays = evidence.stray().iter().flat_map(|stray| stray.claims.iter().map(move |claim| (stray, claim)));
    let offers = strays.map(|(stray, claim)| (stray_offer(stray, claim), (stray, claim)));
    let (rank, (stray, found)) = rank::ranked(ids, offers).into_iter().next()?;
    let claim = Claim {
        inf: &stray.name,
        inf_name: &stray.name,
        provider: Some(stray.provider.as_str()).filter(|name| !name.is_empty()),
        date: stray.date,
        version: stray.version,
        class: Some(stray.class),
        package: None,
        id: &found.id,
        function: found.install.service.clone(),
        filters: Vec::new(),
    };
    Some((rank, claim))
}

/// Whether a package takes part: one for this processor that does not exclude the device, and is a driver of its own.
fn is_usable(evidence: &Evidence<'_>, candidate: &Candidate<'_>, ids: &DeviceIds) -> bool {
    let package = candidate.package;
    let excluded = candidate.configuration.map(|configuration| configuration.excluded.as_slice()).unwrap_or_default();
    package.machine.is_none_or(|machine| machine == evidence.windows.machine)
        && package.class_guid != Some(EXTENSION)
        && !ids.all().any(|id| excluded.iter().any(|other| other.eq_ignore_ascii_case(id)))
}

fn offer<'e>(candidate: &Candidate<'e>) -> Offer<'e> {
    let Candidate { package, device, .. } = *candidate;
    Offer {
        id: &device.id,
        kind: if candidate.is_hardware_id() { IdKind::Hardware } else { IdKind::Compatible },
        index: device.index,
        feature: device.feature,
        signer_score: package.score,
        date: package.date,
        version: package.version,
    }
}

fn stray_offer<'e>(stray: &'e Stray, claim: &'e stray::Claim) -> Offer<'e> {
    let is_oem = stray.name.to_ascii_lowercase().starts_with("oem");
    Offer {
        id: &claim.id,
        kind: claim.kind,
        index: claim.index,
        feature: claim.install.feature,
        signer_score: if is_oem { SIGNED_UNKNOWN } else { SIGNED_INBOX },
        date: stray.date,
        version: stray.version,
    }
}

fn claim<'e>(evidence: &'e Evidence<'_>, candidate: &Candidate<'e>) -> Claim<'e> {
    let Candidate { package, device, configuration } = *candidate;
    let function = match configuration.map(|configuration| configuration.service.as_deref()) {
        Some(Some(name)) if !name.is_empty() => Function::Service(name.to_owned()),
        Some(_) => Function::None,
        None => staged(evidence, &package.package_name, &package.inf_name, &device.id),
    };
    let filters = configuration.map(|own| own.upper_filters.iter().chain(&own.lower_filters));
    Claim {
        inf: &package.published,
        inf_name: &package.inf_name,
        provider: package.provider.as_deref(),
        date: package.date,
        version: package.version,
        class: package.class_guid,
        package: Some(&package.package_name),
        id: &device.id,
        function,
        filters: filters.into_iter().flatten().map(String::as_str).collect(),
    }
}

/// The function driver of a package that was put into the store and configured for nothing yet, by its INF.
fn staged(evidence: &Evidence<'_>, package: &str, inf: &str, id: &str) -> Function {
    let read = evidence.tree.read_file(&format!(r"{REPOSITORY}\{package}\{inf}"));
    let install = read.ok().flatten().and_then(|bytes| stray::install_of(&bytes, id, &evidence.windows));
    install.map_or(Function::Unknown, |install| install.service)
}

/// When the driver starts, and all that keeps the device from working.
fn check(evidence: &Evidence<'_>, device: &Device, claim: &Claim<'_>) -> (Start, Vec<Problem>) {
    let package = claim.package.and_then(|name| evidence.tree.find(&format!(r"{REPOSITORY}\{name}")));
    let mut problems = Vec::new();
    let start = match &claim.function {
        Function::Service(name) => check_service(evidence, device, name, package, &mut problems),
        Function::Unknown => Start::PlugAndPlay,
        Function::None if device.boot => {
            let found = format!("{} gives the device no service", claim.inf);
            problems.push(Problem(Verdict::MissingService, found));
            Start::None
        }
        Function::None => Start::None,
    };
    let class = claim.class.map(|class| evidence.class_filters(class)).unwrap_or_default();
    let filters = claim.filters.iter().copied().chain(class.iter().map(String::as_str));
    for filter in filters {
        let of = format!("filter {filter}");
        check_helper(evidence, filter, &of, package, device.boot, &mut problems);
    }
    (start, problems)
}

/// Checks the function driver's service; tells when it starts.
fn check_service(
    evidence: &Evidence<'_>,
    device: &Device,
    name: &str,
    package: Option<NodeId>,
    problems: &mut Vec<Problem>,
) -> Start {
    let Some(service) = evidence.service(name) else {
        // Plug and Play makes the service when it finds the device, and it finds none before Windows has its disk.
        if package.is_none() || device.boot {
            problems.push(Problem(Verdict::MissingService, format!("no service {name}")));
        }
        return Start::PlugAndPlay;
    };
    let start = Start::from(service.start);
    match (start, service.start_override()) {
        (Start::Disabled, _) => problems.push(Problem(Verdict::Disabled, format!("service {name} is disabled"))),
        (Start::Boot, None) => {}
        (Start::Boot, Some(instead)) if device.boot => {
            let found =
                format!("service {name} has a StartOverride of {instead}, which keeps it from starting at boot");
            problems.push(Problem(Verdict::WrongStart, found));
        }
        (other, _) if device.boot => {
            let found = format!("service {name} starts on {}, not at boot", other.name());
            problems.push(Problem(Verdict::WrongStart, found));
        }
        _ => {}
    }
    check_file(evidence.tree, &service, name, package, device.boot, problems);
    for helper in service.depends_on() {
        check_helper(evidence, &helper, &format!("{helper}, on which {name} depends,"), package, device.boot, problems);
    }
    start
}

/// Checks a service without which the driver does not work.
fn check_helper(
    evidence: &Evidence<'_>,
    name: &str,
    what: &str,
    package: Option<NodeId>,
    boot: bool,
    problems: &mut Vec<Problem>,
) {
    match evidence.service(name) {
        None if package.is_none() || boot => {
            problems.push(Problem(Verdict::MissingService, format!("{what} has no service")));
        }
        None => {}
        Some(service) if Start::from(service.start) == Start::Disabled => {
            problems.push(Problem(Verdict::Disabled, format!("{what} is disabled")));
        }
        Some(service) => check_file(evidence.tree, &service, what, package, boot, problems),
    }
}

/// Checks that a service's file is there; or in the package, from which it is copied when the device is found.
fn check_file(
    tree: &Tree,
    service: &Service<'_>,
    what: &str,
    package: Option<NodeId>,
    boot: bool,
    problems: &mut Vec<Problem>,
) {
    let Some(path) = service.driver_path().filter(|path| !is_file(tree, path)) else { return };
    let name = path.rsplit('\\').next().unwrap_or_default();
    // Where CopyFiles of drivers go: what is elsewhere comes by nobody.
    let is_usual = path.to_ascii_lowercase() == format!(r"\windows\system32\drivers\{}", name.to_ascii_lowercase());
    let is_packed = || is_usual && package.is_some_and(|package| has_file(tree, package, name));
    if boot || !is_packed() {
        problems.push(Problem(Verdict::MissingFile, format!("{what}: there is no {path}")));
    }
}

/// Whether a folder has a file of that name, in itself or below.
fn has_file(tree: &Tree, folder: NodeId, name: &str) -> bool {
    let mut open = vec![folder];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        for link in tree.node(folder).children() {
            seen += 1;
            if seen > MOST_FILES {
                return false;
            }
            if tree.node(link.node).is_directory() {
                open.push(link.node);
            } else if link.name.to_string().eq_ignore_ascii_case(name) {
                return true;
            }
        }
    }
    false
}
