//! One try: the bundles that are not excluded, each put in when what it needs is there.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::installed::{Installed, package_family, state};
use super::super::plan::LeftOut;
use super::index::{Index, ManifestRef, PackageRef};
use super::{Options, Problem, ProblemKind, parents, updates};
use crate::format::assembly::{Condition, Identity, Item, PackageManifest, Parent, Version};

/// A package that goes in, or is there already.
pub(super) struct PackageNode {
    pub(super) at: PackageRef,
    pub(super) within: Option<usize>,
    pub(super) parent: Option<String>,
    pub(super) is_there: bool,
    pub(super) supersedes: Vec<String>,
    /// As many as its manifest has.
    pub(super) updates: Vec<UpdateNode>,
}

#[derive(Default)]
pub(super) struct UpdateNode {
    pub(super) is_on: bool,
    pub(super) deployments: Places,
    pub(super) packages: Places,
    pub(super) drivers: Places,
}

/// Places of packages or components, once each, in the order in which they came.
#[derive(Default)]
pub(super) struct Places {
    in_order: Vec<usize>,
    known: HashSet<usize>,
}

impl Places {
    pub(super) fn add(&mut self, place: usize) {
        if self.known.insert(place) {
            self.in_order.push(place);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<usize> {
        self.in_order.clone()
    }
}

/// A component, deployment or driver that goes in.
pub(super) struct ComponentNode<'v> {
    pub(super) found: ManifestRef<'v>,
    pub(super) dependencies: Vec<usize>,
    /// Whether an update asks for it.
    pub(super) is_root: bool,
    pub(super) left_out: Vec<LeftOut>,
}

pub(super) struct Round<'r, 'v> {
    pub(super) index: &'r Index<'v>,
    pub(super) image: &'r Installed,
    pub(super) options: Options,
    pub(super) excluded: &'r BTreeSet<usize>,
    pub(super) packages: Vec<PackageNode>,
    package_at: HashMap<PackageRef, usize>,
    /// Packages of the plan by what all versions of one have in common.
    package_families: HashMap<String, Vec<usize>>,
    pub(super) components: Vec<ComponentNode<'v>>,
    pub(super) component_at: HashMap<String, usize>,
    pub(super) component_families: HashMap<String, Vec<usize>>,
    /// What was brought for components of any language, by their names and versions.
    pub(super) languages: HashMap<(String, Version), Vec<usize>>,
    /// Components up to here have what they ask for.
    pub(super) closed: usize,
    /// What has to be there: for which component.
    pub(super) needed: Vec<(usize, &'v Identity)>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// A package that is to be looked at.
#[derive(Clone)]
struct Visit {
    at: PackageRef,
    /// The update that it is nested in.
    asked_by: Option<(usize, usize)>,
    parent: Option<String>,
    /// Whether it was put off before.
    again: bool,
}

/// What is passed over while a bundle is put in.
#[derive(Default)]
struct PassedOver {
    /// Nested packages that want parents which are not there, by the families of those.
    put_off: HashMap<String, Vec<Visit>>,
    inapplicable: BTreeSet<PackageRef>,
    languages: BTreeSet<String>,
    absent: usize,
}

enum ParentFound {
    NotWanted,
    Is(String),
    Missing,
}

enum Nested {
    In(PackageRef),
    InImage,
    OfLanguage(String),
    Absent,
    Missing,
}

impl<'r, 'v> Round<'r, 'v> {
    pub(super) fn run(
        index: &'r Index<'v>,
        image: &'r Installed,
        options: Options,
        excluded: &'r BTreeSet<usize>,
    ) -> Self {
        let mut round = Self {
            index,
            image,
            options,
            excluded,
            packages: Vec::new(),
            package_at: HashMap::new(),
            package_families: HashMap::new(),
            components: Vec::new(),
            component_at: HashMap::new(),
            component_families: HashMap::new(),
            languages: HashMap::new(),
            closed: 0,
            needed: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let usable = (0..index.bundles.len()).filter(|bundle| !excluded.contains(bundle));
        let mut waiting: Vec<usize> = usable.filter(|bundle| round.check_alone(*bundle)).collect();
        while !waiting.is_empty() {
            let next = round.next(&waiting);
            match next {
                Some(at) => round.place(waiting.remove(at)),
                None if options.ignore_check => {
                    let bundle = waiting.remove(0);
                    round.warn_of_parents(bundle);
                    round.place(bundle);
                }
                None => {
                    waiting.iter().for_each(|bundle| round.no_parents(*bundle));
                    break;
                }
            }
        }
        round.check_needed();
        round
    }

    pub(super) fn manifest(&self, at: PackageRef) -> &'v PackageManifest {
        &self.index.package(at).manifest
    }

    pub(super) fn problem(&mut self, bundle: usize, kind: ProblemKind, text: String) {
        self.problems.push(Problem { bundle, kind, text });
    }

    /// A problem, or a warning where checks are ignored.
    pub(super) fn lack(&mut self, bundle: usize, kind: ProblemKind, text: String) {
        if self.options.ignore_check {
            self.warnings.push(format!("{text}: ignored"));
        } else {
            self.problem(bundle, kind, text);
        }
    }

    pub(super) fn is_usable(&self, bundle: usize) -> bool {
        !self.excluded.contains(&bundle)
    }

    /// Whether a bundle may go in, whatever else does.
    fn check_alone(&mut self, bundle: usize) -> bool {
        let before = self.problems.len();
        let tops: Vec<PackageRef> = self.index.tops(bundle).collect();
        if tops.is_empty() {
            let text = format!("{}: no package in it is of its own", self.index.bundles[bundle].bundle.origin);
            self.problem(bundle, ProblemKind::NoPackage, text);
        }
        for top in tops {
            let identity = &self.manifest(top).identity;
            let id = identity.package_id();
            let machine = self.image.machine().map(|machine| machine.to_string());
            let is_for = |machine: &str| {
                ["neutral", "*", machine].iter().any(|fine| identity.architecture.eq_ignore_ascii_case(fine))
            };
            if let Some(machine) = machine.filter(|machine| !is_for(machine)) {
                let text = format!("{id}: the package is for {}, the image for {machine}", identity.architecture);
                self.problem(bundle, ProblemKind::WrongProcessor, text);
            }
            let there = self.image.versions_of(identity).filter(|package| package.is_installed());
            let newer = there.map(|package| package.identity.version).filter(|there| *there > identity.version).max();
            if let Some(by) = newer {
                let text = format!("{id}: the image has version {by} of it, which is newer");
                self.problem(bundle, ProblemKind::Superseded { by }, text);
            }
            let languages = self.image.languages();
            if !identity.is_neutral() && !languages.is_empty() && !self.image.speaks(&identity.language) {
                let language = identity.language.clone();
                let known = parents::listed(languages.iter().cloned(), ", ");
                let text = format!("{id}: the package is for {language}, the image speaks {known}");
                self.lack(bundle, ProblemKind::LanguageMissing { language }, text);
            }
        }
        self.problems.len() == before
    }

    /// The next bundle to be put in, by its place among those that wait: one whose parents are there, and better one for whose neutral
    /// package it need not wait.
    fn next(&self, waiting: &[usize]) -> Option<usize> {
        let tops = |bundle: usize| self.index.tops(bundle).map(|top| self.manifest(top));
        let ready: Vec<usize> = (0..waiting.len())
            .filter(|at| tops(waiting[*at]).all(|manifest| !matches!(self.parent_of(manifest), ParentFound::Missing)))
            .collect();
        let bases: HashSet<String> = waiting
            .iter()
            .flat_map(|bundle| tops(*bundle))
            .map(|manifest| package_family(&manifest.identity))
            .collect();
        let waits = |bundle: usize| {
            tops(bundle)
                .filter_map(|manifest| neutral(&manifest.identity))
                .any(|base| bases.contains(&package_family(&base)))
        };
        ready.iter().copied().find(|at| !waits(waiting[*at])).or_else(|| ready.first().copied())
    }

    /// The parent of a package that is not nested: in the image, or put in before. One of a language belongs to the neutral one of its name as well, where
    /// that was given or nothing else is named.
    fn parent_of(&self, manifest: &PackageManifest) -> ParentFound {
        let named = self.named_parent(&manifest.parents);
        let Some(base) = neutral(&manifest.identity) else { return named };
        if matches!(named, ParentFound::Missing) {
            return named;
        }
        if let Some(id) = self.base_there(&base) {
            return if let ParentFound::Is(_) = named { named } else { ParentFound::Is(id) };
        }
        if manifest.parents.is_empty() || self.index.is_given(&base) { ParentFound::Missing } else { named }
    }

    fn named_parent(&self, named: &[Parent]) -> ParentFound {
        if named.is_empty() {
            return ParentFound::NotWanted;
        }
        let found =
            named.iter().find_map(|parent| parents::in_image(parent, self.image).or_else(|| self.in_plan(parent)));
        found.map_or(ParentFound::Missing, ParentFound::Is)
    }

    /// The parent that is in the plan, by its id.
    fn in_plan(&self, parent: &Parent) -> Option<String> {
        let identity = |node: &PackageNode| &self.manifest(node.at).identity;
        parent.identities.iter().find_map(|wanted| {
            let fits = |node: &&PackageNode| parents::holds(parent, wanted.version, identity(node).version);
            let found = if parents::is_wild(wanted) {
                self.packages.iter().filter(|node| parents::is_named(wanted, identity(node))).find(fits)
            } else {
                self.planned_versions(wanted).find(fits)
            };
            found.map(|node| identity(node).package_id())
        })
    }

    fn planned_versions(&self, identity: &Identity) -> impl Iterator<Item = &PackageNode> {
        let places = self.package_families.get(&package_family(identity)).map_or(&[][..], Vec::as_slice);
        places.iter().map(|at| &self.packages[*at])
    }

    fn base_there(&self, base: &Identity) -> Option<String> {
        let in_image =
            self.image.versions_of(base).find(|package| package.is_installed()).map(|package| package.id.clone());
        in_image.or_else(|| self.planned_versions(base).next().map(|node| self.manifest(node.at).identity.package_id()))
    }

    /// What a package wants that is not there: the identities, and all in words.
    fn wanted(&self, manifest: &PackageManifest) -> (Vec<Identity>, String) {
        let named: Vec<Identity> = manifest.parents.iter().flat_map(|parent| &parent.identities).cloned().collect();
        match neutral(&manifest.identity) {
            Some(base) if !matches!(self.named_parent(&manifest.parents), ParentFound::Missing) => {
                let words =
                    format!("{} {}, of which it is the {} part", base.name, base.version, manifest.identity.language);
                (vec![base], words)
            }
            _ => (named, parents::wanted(&manifest.parents)),
        }
    }

    fn no_parents(&mut self, bundle: usize) {
        for top in self.index.tops(bundle) {
            let manifest = self.manifest(top);
            if !matches!(self.parent_of(manifest), ParentFound::Missing) {
                continue;
            }
            let (wanted, words) = self.wanted(manifest);
            let image = self.image.description();
            let near =
                parents::near(&manifest.parents, self.image).map(|near| format!(" and has {near}")).unwrap_or_default();
            let given = self
                .holder(&wanted)
                .map(|origin| format!("; {origin} has it, but does not go in itself"))
                .unwrap_or_default();
            let text = format!(
                "{}: the package does not apply to this image (0x800f081e): it wants {words}; the image is {image}{near}{given}",
                manifest.identity.package_id()
            );
            self.problem(bundle, ProblemKind::NotApplicable { wanted }, text);
        }
    }

    /// The bundle that has one of these packages.
    fn holder(&self, wanted: &[Identity]) -> Option<&'v str> {
        let tops = (0..self.index.bundles.len()).flat_map(|bundle| self.index.tops(bundle));
        let holder = tops.into_iter().find(|top| {
            let identity = &self.manifest(*top).identity;
            wanted.iter().any(|wanted| parents::is_named(wanted, identity))
        });
        holder.map(|top| self.index.bundles[top.bundle].bundle.origin.as_str())
    }

    fn warn_of_parents(&mut self, bundle: usize) {
        for top in self.index.tops(bundle) {
            let manifest = self.manifest(top);
            if let ParentFound::Missing = self.parent_of(manifest) {
                let (_, words) = self.wanted(manifest);
                self.warnings
                    .push(format!("{}: it wants {words}, which is not there: ignored", manifest.identity.package_id()));
            }
        }
    }

    /// Puts a bundle in: its packages, with all that is nested in them, and their components.
    fn place(&mut self, bundle: usize) {
        let first = self.packages.len();
        let mut passed_over = PassedOver::default();
        for top in self.index.tops(bundle) {
            let manifest = self.manifest(top);
            if self.image.package(&manifest.identity.package_id()).is_none_or(|package| !package.is_installed()) {
                self.warn_of_versions(manifest);
            }
            let parent = match self.parent_of(self.manifest(top)) {
                ParentFound::Is(id) => Some(id),
                ParentFound::NotWanted | ParentFound::Missing => None,
            };
            self.add(top, parent, &mut passed_over);
        }
        // Of one that cannot be read here nothing is carried out: its packages say so.
        if self.index.bundles[bundle].unread.is_empty() {
            for package in first..self.packages.len() {
                self.bring_components(package);
            }
        }
        self.warn_of_passed_over(bundle, first, &passed_over);
    }

    fn warn_of_versions(&mut self, manifest: &PackageManifest) {
        let id = manifest.identity.package_id();
        let [major, minor, build, _] = manifest.identity.version.0.map(u32::from);
        // Updates have versions of their own, which say nothing of builds.
        if let Some(version) = self.image.about().version
            && (major, minor) == (version.major, version.minor)
            && build >= 6000
            && build != version.build
        {
            self.warnings.push(format!("{id}: the package is of build {build}, the image of {}", version.build));
        }
        if let Some(stack) = &manifest.stack {
            let newest = self.image.store().versions_of(stack).last().copied();
            if let Some(newest) = newest.filter(|newest| *newest < stack.version) {
                let text = format!(
                    "{id}: the package asks for servicing stack {} (0x800f0823), the image has {newest}",
                    stack.version
                );
                self.warnings.push(text);
            }
        }
    }

    fn add(&mut self, top: PackageRef, parent: Option<String>, passed_over: &mut PassedOver) {
        let mut stack = vec![Visit { at: top, asked_by: None, parent, again: false }];
        let top_language = &self.manifest(top).identity.language;
        while let Some(mut visit) = stack.pop() {
            if let Some(known) = self.package_at.get(&visit.at).copied() {
                self.link(visit.asked_by, known);
                continue;
            }
            let manifest = self.manifest(visit.at);
            if visit.asked_by.is_some() {
                visit.parent = match self.named_parent(&manifest.parents) {
                    ParentFound::Is(id) => Some(id),
                    ParentFound::NotWanted => None,
                    ParentFound::Missing => {
                        passed_over.put_off(visit, manifest);
                        continue;
                    }
                };
            }
            passed_over.inapplicable.remove(&visit.at);
            let node = self.push_package(visit);
            if !self.packages[node].is_there {
                let mut nested = self.nested(node, top_language, passed_over);
                nested.reverse();
                stack.append(&mut nested);
            }
            stack.extend(passed_over.put_off.remove(&package_family(&manifest.identity)).unwrap_or_default());
        }
    }

    fn link(&mut self, asked_by: Option<(usize, usize)>, package: usize) {
        if let Some((node, update)) = asked_by {
            self.packages[node].updates[update].packages.add(package);
        }
    }

    fn push_package(&mut self, visit: Visit) -> usize {
        let manifest = self.manifest(visit.at);
        let node = self.packages.len();
        let mut is_there = false;
        let mut supersedes = Vec::new();
        for package in self.image.versions_of(&manifest.identity).filter(|package| package.is_installed()) {
            if package.identity.version == manifest.identity.version {
                is_there = state::is_whole(package.state);
            } else {
                supersedes.push(package.id.clone());
            }
        }
        let on = if is_there {
            Vec::new()
        } else {
            updates::switched_on(&manifest.updates, |condition| self.condition_holds(condition))
        };
        let mut updates = Vec::new();
        updates.resize_with(manifest.updates.len(), UpdateNode::default);
        updates.iter_mut().zip(on).for_each(|(update, is_on)| update.is_on = is_on);
        let within = visit.asked_by.map(|(within, _)| within);
        self.packages.push(PackageNode { at: visit.at, within, parent: visit.parent, is_there, supersedes, updates });
        self.package_at.insert(visit.at, node);
        self.package_families.entry(package_family(&manifest.identity)).or_default().push(node);
        self.link(visit.asked_by, node);
        node
    }

    /// Whether something holds that an update of another package, or a component, has to do with.
    fn condition_holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Update { packages, name } => packages.iter().any(|identity| {
                let in_plan = self.planned_versions(identity).any(|node| {
                    let updates = self.manifest(node.at).updates.iter().zip(&node.updates);
                    updates.into_iter().any(|(update, node)| node.is_on && update.name.eq_ignore_ascii_case(name))
                });
                in_plan
                    || self
                        .image
                        .versions_of(identity)
                        .filter(|package| package.is_installed())
                        .any(|package| package.has_on(name))
            }),
            Condition::Component { identity, .. } => {
                self.component_families.contains_key(&identity.winners_keyform())
                    || !self.image.store().versions_of(identity).is_empty()
            }
        }
    }

    /// The packages that are nested in a package and go in with it.
    fn nested(&mut self, node: usize, top_language: &str, passed_over: &mut PassedOver) -> Vec<Visit> {
        let at = self.packages[node].at;
        let manifest = self.manifest(at);
        let mut visits = Vec::new();
        for (update, said) in manifest.updates.iter().enumerate() {
            if !self.packages[node].updates[update].is_on {
                continue;
            }
            for item in &said.items {
                let Item::Package { identity, .. } = item else { continue };
                match self.find_nested(identity, at.bundle, top_language) {
                    Nested::In(at) => {
                        visits.push(Visit { at, asked_by: Some((node, update)), parent: None, again: false });
                    }
                    Nested::InImage => {}
                    Nested::OfLanguage(language) => {
                        passed_over.languages.insert(language);
                    }
                    Nested::Absent => passed_over.absent += 1,
                    Nested::Missing => {
                        let text = format!(
                            "{}: the package {} is nested in it, and is neither among those that were given nor in the image",
                            manifest.identity.package_id(),
                            identity.package_id()
                        );
                        let kind = ProblemKind::MissingPackage { identity: identity.clone() };
                        self.lack(at.bundle, kind, text);
                    }
                }
            }
        }
        visits
    }

    /// Where a nested package is. `contained` does not tell: those of OpenSSH say no and come along. Of the languages that a package names, cabinets have
    /// those that they are for.
    fn find_nested(&self, identity: &Identity, bundle: usize, top_language: &str) -> Nested {
        let language = &identity.language;
        let is_spoken = identity.is_neutral()
            || language.eq_ignore_ascii_case(top_language)
            || self.image.speaks(language)
            || self.image.languages().is_empty();
        let newest = self.image.versions_of(identity).filter(|package| package.is_installed());
        if newest.map(|package| package.identity.version).max() > Some(identity.version) {
            return Nested::InImage;
        }
        let found = self.index.find(identity, bundle).into_iter().find(|at| self.is_usable(at.bundle));
        match found {
            Some(_) if !is_spoken => Nested::OfLanguage(language.clone()),
            Some(at) => Nested::In(at),
            None if self.image.package(&identity.package_id()).is_some_and(|package| package.is_installed()) => {
                Nested::InImage
            }
            None if identity.is_neutral() => Nested::Missing,
            None => Nested::Absent,
        }
    }

    fn warn_of_passed_over(&mut self, bundle: usize, first: usize, passed_over: &PassedOver) {
        let origin = &self.index.bundles[bundle].bundle.origin;
        let mut is_whole = true;
        if let Some(one) = passed_over.inapplicable.iter().next() {
            let id = self.manifest(*one).identity.package_id();
            let number = passed_over.inapplicable.len();
            self.warnings
                .push(format!("{origin}: {number} nested packages do not apply to this image, among them {id}"));
            is_whole = false;
        }
        if !passed_over.languages.is_empty() {
            let languages = parents::listed(passed_over.languages.iter().cloned(), ", ");
            self.warnings.push(format!("{origin}: the image does not speak {languages}: packages of it stay out"));
            is_whole = false;
        }
        if passed_over.absent > 0 {
            let number = passed_over.absent;
            self.warnings.push(format!("{origin}: {number} nested packages of other languages are not in it"));
        }
        for node in first..self.packages.len() {
            let node = &self.packages[node];
            let manifest = self.manifest(node.at);
            let off = manifest.updates.iter().zip(&node.updates).filter(|(_, node)| !node.is_on);
            let off: Vec<String> = off.map(|(update, _)| update.name.clone()).collect();
            is_whole &= !node.is_there && off.is_empty();
            if !node.is_there && !off.is_empty() {
                let id = manifest.identity.package_id();
                let off = parents::listed(off.into_iter(), ", ");
                self.warnings.push(format!(
                    "{id}: features that are not on by themselves, or not for this image, stay off: {off}"
                ));
            }
        }
        if is_whole {
            let known = &self.component_at;
            let manifests = self.index.bundles[bundle].manifests.values();
            let mut left =
                manifests.filter(|manifest| !known.contains_key(&manifest.keyform.to_lowercase())).peekable();
            if let Some(one) = left.peek().map(|manifest| manifest.keyform.clone()) {
                let number = left.count();
                self.warnings.push(format!("{origin}: nothing asks for {number} of its components, among them {one}"));
            }
        }
    }
}

impl PassedOver {
    /// Puts a nested package off until one of its parents goes in, if it was not put off before.
    fn put_off(&mut self, visit: Visit, manifest: &PackageManifest) {
        self.inapplicable.insert(visit.at);
        if visit.again {
            return;
        }
        let wanted = manifest.parents.iter().flat_map(|parent| &parent.identities);
        let families: BTreeSet<String> = wanted.map(package_family).collect();
        for family in families {
            self.put_off.entry(family).or_default().push(Visit { again: true, ..visit.clone() });
        }
    }
}

/// The neutral package of a name; nothing for a neutral one.
pub(in crate::windows::packages) fn neutral(identity: &Identity) -> Option<Identity> {
    (!identity.is_neutral()).then(|| Identity { language: "neutral".into(), ..identity.clone() })
}
