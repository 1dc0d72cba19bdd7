//! What the bundles have, to be found by identity.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::installed::package_family;
use super::super::verify::{Verified, VerifiedManifest, VerifiedPackage};
use crate::format::assembly::{Identity, Version};

/// A package of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PackageRef {
    pub(super) bundle: usize,
    pub(super) package: usize,
}

/// A manifest of a bundle.
#[derive(Clone, Copy)]
pub(super) struct ManifestRef<'v> {
    pub(super) bundle: usize,
    pub(super) manifest: &'v VerifiedManifest,
}

impl<'v> ManifestRef<'v> {
    pub(super) fn identity(self) -> &'v Identity {
        &self.manifest.manifest.identity
    }
}

pub(super) struct Index<'v> {
    pub(super) bundles: &'v [Verified],
    /// By their ids in lower case.
    packages: HashMap<String, Vec<PackageRef>>,
    /// By what all versions of a component are called.
    families: HashMap<String, Vec<ManifestRef<'v>>>,
    /// By name, processor and token: for those of any language.
    languages: HashMap<String, Vec<ManifestRef<'v>>>,
    /// What all versions have in common of the packages that are not nested.
    tops: HashSet<String>,
}

impl<'v> Index<'v> {
    pub(super) fn new(bundles: &'v [Verified]) -> Self {
        let (packages, families, languages) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut index = Self { bundles, packages, families, languages, tops: HashSet::new() };
        for (bundle, verified) in bundles.iter().enumerate() {
            for (package, found) in verified.packages.iter().enumerate() {
                let id = found.manifest.identity.package_id().to_lowercase();
                index.packages.entry(id).or_default().push(PackageRef { bundle, package });
                if found.is_top {
                    index.tops.insert(package_family(&found.manifest.identity));
                }
            }
            for manifest in verified.manifests.values() {
                let found = ManifestRef { bundle, manifest };
                index.families.entry(found.identity().winners_keyform()).or_default().push(found);
                index.languages.entry(of_any_language(found.identity())).or_default().push(found);
            }
        }
        index
    }

    pub(super) fn package(&self, at: PackageRef) -> &'v VerifiedPackage {
        &self.bundles[at.bundle].packages[at.package]
    }

    /// The packages of a bundle that are not nested in others.
    pub(super) fn tops(&self, bundle: usize) -> impl Iterator<Item = PackageRef> + use<'v> {
        let packages = self.bundles[bundle].packages.iter().enumerate();
        packages.filter(|(_, found)| found.is_top).map(move |(package, _)| PackageRef { bundle, package })
    }

    /// Whether some bundle has a package that is not nested, in whatever version.
    pub(super) fn is_given(&self, identity: &Identity) -> bool {
        self.tops.contains(&package_family(identity))
    }

    /// Packages by identity, those of a bundle first.
    pub(super) fn find(&self, identity: &Identity, near: usize) -> Vec<PackageRef> {
        let mut found = self.packages.get(&identity.package_id().to_lowercase()).cloned().unwrap_or_default();
        found.sort_by_key(|at| (at.bundle != near, *at));
        found
    }

    /// The manifest that serves for an identity: that very one, or else the newest of its branch; one of the same bundle rather than another's.
    pub(super) fn serving(
        &self,
        identity: &Identity,
        near: usize,
        is_usable: impl Fn(usize) -> bool,
    ) -> Option<ManifestRef<'v>> {
        let candidates = self.families.get(&identity.winners_keyform())?.iter().copied();
        candidates
            .filter(|found| is_usable(found.bundle) && serves(identity.version, found.identity().version))
            .max_by_key(|found| {
                let version = found.identity().version;
                (version == identity.version, version, found.bundle == near, std::cmp::Reverse(found.bundle))
            })
    }

    /// The same for any language.
    pub(super) fn in_any_language(&self, identity: &Identity) -> impl Iterator<Item = ManifestRef<'v>> + '_ {
        let found = self.languages.get(&of_any_language(identity)).map_or(&[][..], Vec::as_slice);
        let wanted = identity.version;
        found.iter().copied().filter(move |found| serves(wanted, found.identity().version))
    }

    /// Bundles that are not planned at all: those that were given twice, and those of which there is a newer version.
    pub(super) fn left_aside(&self, warnings: &mut Vec<String>) -> BTreeSet<usize> {
        let mut best: BTreeMap<String, PackageRef> = BTreeMap::new();
        let mut aside = BTreeSet::new();
        for top in (0..self.bundles.len()).flat_map(|bundle| self.tops(bundle)) {
            let identity = &self.package(top).manifest.identity;
            let Some(known) = best.insert(package_family(identity), top) else { continue };
            let known_version = self.package(known).manifest.identity.version;
            let (stays, goes) = if identity.version > known_version { (top, known) } else { (known, top) };
            best.insert(package_family(identity), stays);
            if stays.bundle == goes.bundle || !aside.insert(goes.bundle) {
                continue;
            }
            let id = self.package(goes).manifest.identity.package_id();
            let origin = |at: PackageRef| &self.bundles[at.bundle].bundle.origin;
            warnings.push(if known_version == identity.version {
                format!("{id} was given twice ({} and {}): once is enough", origin(stays), origin(goes))
            } else {
                let newer = self.package(stays).manifest.identity.version;
                format!("{id} ({}) stays out: {} has version {newer} of it", origin(goes), origin(stays))
            });
        }
        aside
    }
}

/// What a component is called, whatever its language and version.
pub(super) fn of_any_language(identity: &Identity) -> String {
    format!("{}~{}~{}", identity.name, identity.architecture, identity.public_key_token).to_lowercase()
}

/// Whether a version serves where another one is asked for: that one, or a later revision of the same build.
pub(super) fn serves(wanted: Version, there: Version) -> bool {
    wanted.0[..3] == there.0[..3] && there >= wanted
}

/// Whether a version serves where another one has to be there: that one or any later one.
pub(super) fn suffices(wanted: Version, there: Version) -> bool {
    wanted.0[..2] == there.0[..2] && there >= wanted
}
