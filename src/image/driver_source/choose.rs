//! Which INF files of a tree are drivers for one Windows, and which of those that are for the same devices is taken.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use super::place::Place;
use super::{Collected, LeftOut, Why};
use crate::base::{FileTime, Version};
use crate::error::{Context, Result};
use crate::format::inf::{self, Decoration, Inf, ProductType, TargetOs};
use crate::image::lookup::{self, Found};
use crate::tree::{NodeId, Tree};
use crate::windows::drivers::Package;

/// A package that is for the target.
struct Candidate {
    package: Package,
    /// The INF file's path in the source.
    path: String,
    place: Place,
    fit: Fit,
}

/// What an INF file that is for the target says of itself.
struct Fit {
    /// In lower case.
    class: String,
    date: FileTime,
    version: Version,
    /// The first ids of its models, in upper case.
    hardware: HashSet<String>,
    /// All ids.
    ids: HashSet<String>,
}

/// The packages of a tree for a target; with `only`, what there is to say of that INF file in the root.
pub(super) fn choose(tree: &Arc<Tree>, only: Option<&str>, origin: &str, target: &TargetOs) -> Result<Collected> {
    let mut found = Collected::default();
    let mut candidates = Vec::new();
    for (folder, path) in inf_files(tree, only)? {
        match candidate(tree, folder, &path, origin, target)? {
            Ok(candidate) => candidates.push(candidate),
            Err((why, detail)) => found.left_out.push(LeftOut { path, why, detail }),
        }
    }
    candidates.sort_by_cached_key(|one| {
        (one.place.rank(target), Reverse((one.fit.date, one.fit.version)), one.path.to_lowercase(), one.path.clone())
    });
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match kept.iter().find(|better| better.replaces(&candidate)) {
            Some(better) => {
                let mut detail = format!("{} is for the same devices and fits better", better.path);
                let mut alone: Vec<&str> = candidate.fit.ids.difference(&better.fit.ids).map(String::as_str).collect();
                if !alone.is_empty() {
                    alone.sort_unstable();
                    detail = format!(
                        "{}: left out for {}, although it alone has {}",
                        candidate.path,
                        better.path,
                        alone.join(", ")
                    );
                    found.notes.push(detail.clone());
                }
                found.left_out.push(LeftOut { path: candidate.path, why: Why::Superseded, detail });
            }
            None => kept.push(candidate),
        }
    }
    kept.sort_by(|a, b| (a.path.to_lowercase(), &a.path).cmp(&(b.path.to_lowercase(), &b.path)));
    found.left_out.sort_by(|a, b| (a.path.to_lowercase(), &a.path).cmp(&(b.path.to_lowercase(), &b.path)));
    let later = kept.iter().filter(|one| one.place.is_later(target));
    found.notes.extend(
        later.map(|one| format!("{}: for a later Windows by its folder, for this one too by itself", one.path)),
    );
    found.packages = kept.into_iter().map(|one| one.package).collect();
    Ok(found)
}

/// All INF files with their folders, in Windows' order of names.
fn inf_files(tree: &Tree, only: Option<&str>) -> Result<Vec<(NodeId, String)>> {
    if let Some(name) = only {
        return Ok(vec![(tree.root(), format!(r"\{name}"))]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(0, tree.root())]; // with the lengths of their paths
    lookup::walk(tree, &Found::root(tree), |path, link| {
        let depth = path.len() - link.name.to_string().len() - 1;
        while folders.len() > 1 && folders.last().is_some_and(|(len, _)| *len > depth) {
            folders.pop();
        }
        if tree.node(link.node).is_directory() {
            folders.push((path.len(), link.node));
        } else if is_inf(path)
            && let Some((_, folder)) = folders.last()
        {
            found.push((*folder, path.to_owned()));
        }
        Ok::<(), crate::error::Error>(())
    })?;
    Ok(found)
}

pub(super) fn is_inf(path: &str) -> bool {
    path.len() > 4 && path.get(path.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(".inf"))
}

/// A package for the target, or why it is none. Fails only where the source cannot be read.
fn candidate(
    tree: &Arc<Tree>,
    folder: NodeId,
    path: &str,
    origin: &str,
    target: &TargetOs,
) -> Result<Result<Candidate, (Why, String)>> {
    let (folders, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let units: Vec<u16> = name.encode_utf16().collect();
    let content = tree.child(folder, &units).and_then(|link| tree.node(link.node).main());
    if content.is_some_and(|content| content.len() > inf::MAX_FILE as u64) {
        return Ok(Err((Why::Damaged, "larger than INF files are".into())));
    }
    let package =
        Package::new(Arc::clone(tree), folder, name, format!("{origin}{folders}")).context(|| origin.to_owned())?;
    Ok(Inf::parse(package.inf_bytes()).map_err(|error| (Why::Damaged, error.to_string())).and_then(|inf| {
        let fit = fit(&inf, target)?;
        Ok(Candidate { path: path.to_owned(), place: Place::of(folders), package, fit })
    }))
}

/// What an INF file is to the target, or why it is nothing.
fn fit(inf: &Inf, target: &TargetOs) -> Result<Fit, (Why, String)> {
    let class = inf.section("Version").and_then(|section| section.get("Class").or(section.get("ClassGuid")));
    if class.is_none() {
        return Err((Why::NoDriver, "no class of devices".into()));
    }
    if inf.manufacturers().next().is_none() {
        return Err((Why::NoDriver, "no devices".into()));
    }
    let header = inf.header(target.machine).map_err(|error| (Why::Damaged, error.to_string()))?;
    let models = inf.models(target);
    let models: Vec<_> = models.iter().filter(|model| model.ids.iter().any(|id| !id.is_empty())).collect();
    if models.is_empty() {
        return Err(for_others(inf, target));
    }
    let upper = |id: &String| id.to_uppercase();
    Ok(Fit {
        class: header.class.to_lowercase(),
        date: header.date,
        version: header.version,
        hardware: models.iter().filter_map(|model| model.ids.first()).filter(|id| !id.is_empty()).map(upper).collect(),
        ids: models.iter().flat_map(|model| &model.ids).filter(|id| !id.is_empty()).map(upper).collect(),
    })
}

/// Whom an INF file is for that has no models for the target.
fn for_others(inf: &Inf, target: &TargetOs) -> (Why, String) {
    let targets = inf.targets();
    let decorations = targets.iter().map(|text| (text, Decoration::parse(text)));
    let same_machine = decorations.clone().any(|(text, decoration)| match decoration {
        Some(decoration) => decoration.machine.is_none_or(|machine| machine == target.machine) && !text.is_empty(),
        None => false,
    });
    let admitted = decorations.clone().any(|(_, decoration)| decoration.is_some_and(|one| one.admits(target)));
    let listed: Vec<&str> =
        targets.iter().map(|text| if text.is_empty() { "x86 alone (no decoration)" } else { text }).collect();
    let listed = listed.join(", ");
    match (admitted, same_machine) {
        (true, _) => (Why::OtherSystem, format!("no devices for {}, although it lists {listed}", words(target))),
        (false, true) => (Why::OtherSystem, format!("for {listed}")),
        (false, false) => (Why::OtherProcessor, format!("for {listed}")),
    }
}

impl Candidate {
    /// Whether nothing is lost if a package that fits less well is left out.
    fn replaces(&self, other: &Self) -> bool {
        let same_name = self.package.inf_name().eq_ignore_ascii_case(other.package.inf_name());
        let (own, others) = (&self.fit, &other.fit);
        own.class == others.class
            && (same_name && !own.hardware.is_disjoint(&others.hardware)
                || others.hardware.is_subset(&own.hardware) && others.ids.is_subset(&own.ids))
    }
}

/// A Windows in words.
pub(super) fn words(target: &TargetOs) -> String {
    let product = match target.product {
        ProductType::Workstation => "client",
        ProductType::DomainController => "domain controller",
        ProductType::Server => "server",
    };
    format!("Windows {}.{}.{} ({product}, {})", target.major, target.minor, target.build, target.machine)
}
