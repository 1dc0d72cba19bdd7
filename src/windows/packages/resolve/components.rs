//! The components that packages bring.

use std::collections::HashSet;

use super::super::plan::LeftOut;
use super::ProblemKind;
use super::index::{ManifestRef, of_any_language, serves, suffices};
use super::round::{ComponentNode, Round};
use crate::base::name::windows_fault;
use crate::format::assembly::{DependencyKind, Identity, Item};

/// Components of one name in all languages: Windows has some hundred languages.
const MOST_LANGUAGES: usize = 512;

enum Brought {
    At(usize),
    InImage,
    Missing,
}

impl<'v> Round<'_, 'v> {
    /// The deployments and drivers of a package, and the components that they ask for.
    pub(super) fn bring_components(&mut self, node: usize) {
        let at = self.packages[node].at;
        let manifest = self.manifest(at);
        for (update, said) in manifest.updates.iter().enumerate() {
            if !self.packages[node].updates[update].is_on {
                continue;
            }
            for item in &said.items {
                let (identity, is_driver) = match item {
                    Item::Component(identity) => (identity, false),
                    Item::Driver { identity, .. } => (identity, true),
                    Item::Package { .. } => continue,
                };
                match self.bring(identity, at.bundle) {
                    Brought::At(component) => {
                        self.components[component].is_root = true;
                        let update = &mut self.packages[node].updates[update];
                        let places = if is_driver { &mut update.drivers } else { &mut update.deployments };
                        places.add(component);
                    }
                    Brought::InImage => {}
                    Brought::Missing => self.lack_component(at.bundle, &manifest.identity.package_id(), identity),
                }
                self.close();
            }
        }
    }

    fn lack_component(&mut self, bundle: usize, who: &str, identity: &Identity) {
        let text = format!(
            "{who}: {} is a part of it, and is neither among what was given nor in the image",
            identity.keyform()
        );
        self.lack(bundle, ProblemKind::MissingComponent { identity: identity.clone() }, text);
    }

    fn bring(&mut self, identity: &Identity, near: usize) -> Brought {
        if let Some(found) = self.index.serving(identity, near, |bundle| !self.excluded.contains(&bundle)) {
            return Brought::At(self.component(found));
        }
        let there = self.image.store().versions_of(identity);
        if there.iter().any(|there| serves(identity.version, *there)) { Brought::InImage } else { Brought::Missing }
    }

    fn component(&mut self, found: ManifestRef<'v>) -> usize {
        let keyform = found.manifest.keyform.to_lowercase();
        if let Some(known) = self.component_at.get(&keyform) {
            return *known;
        }
        let at = self.components.len();
        self.component_families.entry(found.identity().winners_keyform()).or_default().push(at);
        self.components.push(ComponentNode { found, dependencies: Vec::new(), is_root: false, left_out: Vec::new() });
        self.component_at.insert(keyform, at);
        at
    }

    /// What the components ask for that were brought since.
    fn close(&mut self) {
        while self.closed < self.components.len() {
            let at = self.closed;
            self.closed += 1;
            let found = self.components[at].found;
            self.check_payload(found);
            let mut asked = HashSet::new();
            for dependency in &found.manifest.manifest.dependencies {
                let identity = &dependency.identity;
                match &dependency.kind {
                    DependencyKind::Install if dependency.is_resource || identity.language == "*" => {
                        asked.extend(self.bring_languages(identity));
                    }
                    DependencyKind::Install => match self.bring(identity, found.bundle) {
                        Brought::At(component) => {
                            asked.insert(component);
                        }
                        Brought::Missing if !dependency.is_optional => {
                            self.lack_component(found.bundle, &found.manifest.keyform, identity);
                        }
                        Brought::InImage | Brought::Missing => {}
                    },
                    DependencyKind::Prerequisite => {
                        if !dependency.is_resource && !dependency.is_optional && identity.language != "*" {
                            self.needed.push((at, identity));
                        }
                    }
                    DependencyKind::Other(kind) => self.components[at].left_out.push(LeftOut {
                        what: format!("dependency/dependentAssembly@dependencyType {kind:?}"),
                        line: dependency.line,
                        why: "what such a dependency means is not known".into(),
                    }),
                }
            }
            let mut asked: Vec<usize> = asked.into_iter().filter(|asked| *asked != at).collect();
            asked.sort_unstable();
            self.components[at].dependencies = asked;
        }
    }

    /// Files that a bundle does not have must be in the store already.
    fn check_payload(&mut self, found: ManifestRef<'_>) {
        let manifest = found.manifest;
        if let Some(file) = manifest.missing.first().filter(|_| !self.image.store().has(&manifest.keyform)) {
            let more = match manifest.missing.len() - 1 {
                0 => String::new(),
                more => format!(", and so are {more} more"),
            };
            // Those who read archives leave such files out.
            let why = match file.split(['\\', '/']).find_map(windows_fault) {
                Some(allowed) => {
                    format!("the file has a name that Windows does not take (allowed: {allowed}) and is left out")
                }
                None => "the file is neither in the package nor in the image (0x800f081f)".into(),
            };
            let text = format!(r"{}\{file}: {why}{more}", manifest.keyform);
            self.problem(found.bundle, ProblemKind::MissingPayload { file: file.clone() }, text);
        }
    }

    /// Components that are the same in the languages of the image: those that are there to be had. The same is asked for many times.
    fn bring_languages(&mut self, identity: &Identity) -> Vec<usize> {
        let key = (of_any_language(identity), identity.version);
        if let Some(known) = self.languages.get(&key) {
            return known.clone();
        }
        let is_any = self.image.languages().is_empty();
        let fits = |found: &ManifestRef<'_>| {
            let there = found.identity();
            self.is_usable(found.bundle) && (there.is_neutral() || is_any || self.image.speaks(&there.language))
        };
        let fit: Vec<ManifestRef<'v>> =
            self.index.in_any_language(identity).filter(fits).take(MOST_LANGUAGES).collect();
        let found: Vec<usize> = fit.into_iter().map(|found| self.component(found)).collect();
        self.languages.insert(key, found.clone());
        found
    }

    /// What has to be there, once all is in.
    pub(super) fn check_needed(&mut self) {
        if self.needed.is_empty() {
            return;
        }
        if self.image.store().is_empty() {
            let number = self.needed.len();
            self.warnings.push(format!("the image has no component store to look for {number} prerequisites in"));
            return;
        }
        let mut said = HashSet::new();
        for (at, identity) in std::mem::take(&mut self.needed) {
            let family = identity.winners_keyform();
            let places = self.component_families.get(&family).map_or(&[][..], Vec::as_slice);
            let planned = places.iter().map(|at| self.components[*at].found.identity().version);
            let mut there = planned.chain(self.image.store().versions_of(identity));
            let found = self.components[at].found;
            if there.any(|there| suffices(identity.version, there)) || !said.insert((found.bundle, family)) {
                continue;
            }
            let text = format!(
                "{}: {} has to be there, and is neither among what was given nor in the image",
                found.manifest.keyform,
                identity.keyform()
            );
            self.lack(found.bundle, ProblemKind::MissingPrerequisite { identity: identity.clone() }, text);
        }
    }
}
