//! A round that left no problem, as a plan.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::super::compile::Compiled;
use super::super::installed::Installed;
use super::super::plan::{ComponentPlan, LeftOut, PackagePlan, Plan, UpdatePlan};
use super::Compiler;
use super::index::{Index, ManifestRef};
use super::round::{ComponentNode, PackageNode, Round};
use crate::base::ordered::ordered;
use crate::error::{Context, Error, Kind, Result};
use crate::format::assembly::{Element, Identity, Manifest, PackageManifest, Version};

/// Pairs of a component and a deployment that brings it; the largest updates have some ten thousand.
const MOST_PAIRS: usize = 1 << 22;

pub(super) fn assemble(
    round: &Round<'_, '_>,
    index: &Index<'_>,
    image: &Installed,
    threads: NonZeroUsize,
    compiler: &Compiler<'_>,
) -> Result<Plan> {
    let packages = round.packages.iter().map(|node| package(node, index)).collect();
    let deployments = deployments(&round.components)?;
    let newest = newest(&round.components);
    let mut components = Vec::with_capacity(round.components.len());
    for (node, deployments) in round.components.iter().zip(deployments) {
        let ManifestRef { bundle, manifest } = node.found;
        let identity = node.found.identity();
        components.push(ComponentPlan {
            identity: identity.clone(),
            keyform: manifest.keyform.clone(),
            bundle,
            manifest: Arc::clone(&manifest.bytes),
            is_deployment: manifest.manifest.is_deployment,
            deployments,
            dependencies: node.dependencies.clone(),
            is_there: image.store().has(&manifest.keyform),
            others: others(identity, image, newest.get(&identity.winners_keyform()).copied()),
            payload: manifest.payload.clone(),
            effects: Vec::new(),
            left_out: node.left_out.clone(),
        });
    }
    compile(&mut components, threads, compiler)?;
    Ok(Plan { packages, components })
}

fn package(node: &PackageNode, index: &Index<'_>) -> PackagePlan {
    let found = index.package(node.at);
    let manifest = &found.manifest;
    let unread = if node.within.is_none() { &index.bundles[node.at.bundle].unread[..] } else { &[] };
    let update = |(said, node): (&crate::format::assembly::Update, &super::round::UpdateNode)| UpdatePlan {
        name: said.name.clone(),
        is_selectable: said.selectable,
        is_on: node.is_on,
        deployments: node.deployments.to_vec(),
        packages: node.packages.to_vec(),
        drivers: node.drivers.to_vec(),
    };
    PackagePlan {
        bundle: node.at.bundle,
        identity: manifest.identity.clone(),
        release_type: manifest.release_type.clone(),
        within: node.within,
        parent: node.parent.clone(),
        supersedes: node.supersedes.clone(),
        is_there: node.is_there,
        updates: if node.is_there {
            Vec::new()
        } else {
            manifest.updates.iter().zip(&node.updates).map(update).collect()
        },
        manifest: Arc::clone(&found.mum),
        catalog: found.catalog.clone(),
        left_out: if node.is_there { Vec::new() } else { [unread, &left_out(manifest)].concat() },
    }
}

/// What a package manifest says that nobody here carries out.
fn left_out(manifest: &PackageManifest) -> Vec<LeftOut> {
    let unread = manifest.unread.iter().map(|unread| LeftOut {
        what: match &unread.value {
            Some(value) => format!("{}={value:?}", unread.path),
            None => unread.path.clone(),
        },
        line: unread.line,
        why: "what it means is not known".into(),
    });
    let online = manifest.is_online_only.then(|| LeftOut {
        what: "packageExtended@allowedOffline".into(),
        line: 0,
        why: "its maker wants it to be installed by the Windows that it is for".into(),
    });
    unread.chain(online).collect()
}

/// For each component, the deployments and drivers that bring it: of such a one, itself.
fn deployments(components: &[ComponentNode<'_>]) -> Result<Vec<Vec<usize>>> {
    let is_head = |at: usize| components[at].is_root || components[at].found.manifest.manifest.is_deployment;
    let mut found: Vec<Vec<usize>> = vec![Vec::new(); components.len()];
    let mut pairs = 0usize;
    let mut seen_by: Vec<usize> = vec![usize::MAX; components.len()];
    for head in (0..components.len()).filter(|at| is_head(*at)) {
        let mut open = vec![head];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen_by[at], head) == head {
                continue;
            }
            if at != head && is_head(at) {
                continue;
            }
            found[at].push(head);
            pairs += 1;
            if pairs > MOST_PAIRS {
                return Err(Error::unsupported("components that deployments bring").allowed(MOST_PAIRS));
            }
            open.extend(&components[at].dependencies);
        }
    }
    Ok(found)
}

/// The newest version of each component in the plan.
fn newest(components: &[ComponentNode<'_>]) -> HashMap<String, Version> {
    let mut newest: HashMap<String, Version> = HashMap::new();
    for identity in components.iter().map(|node| node.found.identity()) {
        let version = newest.entry(identity.winners_keyform()).or_default();
        *version = identity.version.max(*version);
    }
    newest
}

/// Other versions of a component. What programs bind to by its version (not `nonSxS`) is a component of its own for each major and minor one.
fn others(identity: &Identity, image: &Installed, newest: Option<Version>) -> Vec<Version> {
    let is_alone = identity.version_scope.as_deref().is_some_and(|scope| scope.eq_ignore_ascii_case("nonSxS"));
    let newer = newest.filter(|newest| *newest > identity.version);
    let mut others: Vec<Version> = image.store().versions_of(identity).into_iter().chain(newer).collect();
    others.retain(|other| *other != identity.version && (is_alone || other.0[..2] == identity.version.0[..2]));
    others.sort_unstable();
    others.dedup();
    others
}

/// Finds out what the components change: all but those that a newer version beats.
fn compile(components: &mut [ComponentPlan], threads: NonZeroUsize, compiler: &Compiler<'_>) -> Result<()> {
    let work: Vec<(usize, Arc<[u8]>, String)> = components
        .iter()
        .enumerate()
        .filter(|(_, component)| !component.is_beaten())
        .map(|(at, component)| (at, Arc::clone(&component.manifest), component.keyform.clone()))
        .collect();
    let mut work = work.into_iter();
    let worker = || {
        |(at, bytes, keyform): (usize, Arc<[u8]>, String)| {
            let compiled = compile_one(&bytes, compiler).context(|| format!("{keyform}.manifest"))?;
            Ok((at, compiled))
        }
    };
    let take = |(at, compiled): (usize, Compiled)| {
        components[at].effects = compiled.effects;
        components[at].left_out.extend(compiled.left_out);
        Ok(())
    };
    ordered(threads, || Ok(work.next()), worker, take)
}

/// What a manifest changes. One that is for something else than the image, such as another processor, is left out whole: Windows may know better.
fn compile_one(bytes: &[u8], compiler: &Compiler<'_>) -> Result<Compiled> {
    let document = Element::parse(bytes)?;
    // The header counts as read then.
    let manifest = Manifest::read(&document)?;
    match compiler(&document, &manifest) {
        Err(error) if error.kind() == Kind::Unsupported => {
            let line = document.child("assemblyIdentity").map_or(0, Element::line);
            let left = LeftOut { what: "the component".into(), line, why: error.to_string() };
            Ok(Compiled { effects: Vec::new(), left_out: vec![left] })
        }
        compiled => compiled,
    }
}
