//! What packages come to in one Windows: a value that can be printed, tested and carried out.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::format::assembly::{Identity, Version};
use crate::format::hive::Value;
use crate::tree::Content;

/// All that is to be done for some packages.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The packages in the order in which they are put in: a nested one after the one that it is a part of.
    pub packages: Vec<PackagePlan>,
    /// Their components, each once, in the order in which they are put in.
    pub components: Vec<ComponentPlan>,
}

/// A package.
#[derive(Debug, Clone)]
pub struct PackagePlan {
    /// Which of the bundles that were given it is in.
    pub bundle: usize,
    /// Who it is.
    pub identity: Identity,
    /// `Feature Pack`, `Language Pack`, `Update`, ...
    pub release_type: Option<String>,
    /// The package that it is nested in, by its place in the plan; none for one that was asked for.
    pub within: Option<usize>,
    /// The package of the image or of the plan that it belongs to, by its id, where it wants one.
    pub parent: Option<String>,
    /// Older versions of it that the image has installed, by their ids.
    pub supersedes: Vec<String>,
    /// Whether it is in the image already.
    pub is_there: bool,
    /// Its updates (features), by their names.
    pub updates: Vec<UpdatePlan>,
    /// Its `.mum`, as it is stored.
    pub manifest: Arc<[u8]>,
    /// Its `.cat`; none for one that nobody has signed.
    pub catalog: Option<Arc<[u8]>>,
    /// What its manifest says that is not carried out.
    pub left_out: Vec<LeftOut>,
}

/// A feature of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatePlan {
    /// Its name.
    pub name: String,
    /// Whether a user may choose it (`selectable`): such a one has a state of its own.
    pub is_selectable: bool,
    /// Whether it is put in. One that a user may choose and that is not on by itself is only known, and so is one whose condition does not hold.
    pub is_on: bool,
    /// Its deployments, by their places among the plan's components.
    pub deployments: Vec<usize>,
    /// The packages nested in it, by their places in the plan.
    pub packages: Vec<usize>,
    /// Drivers that it names: components, by their places.
    pub drivers: Vec<usize>,
}

/// A component, or a deployment of components.
#[derive(Debug, Clone)]
pub struct ComponentPlan {
    /// Who it is.
    pub identity: Identity,
    /// The name of its manifest and its folder in the store.
    pub keyform: String,
    /// Which of the bundles that were given it is in.
    pub bundle: usize,
    /// Its manifest, unpacked.
    pub manifest: Arc<[u8]>,
    /// Whether it is a deployment.
    pub is_deployment: bool,
    /// The deployments that bring it, by their places among the components; of a deployment itself, its own.
    pub deployments: Vec<usize>,
    /// The components that it asks for, by their places.
    pub dependencies: Vec<usize>,
    /// Whether that very version is in the image's store.
    pub is_there: bool,
    /// Other versions of it that the image has, and newer ones of this plan, in their order. A newer one wins: this one is stored then,
    /// and changes nothing.
    pub others: Vec<Version>,
    /// The files that it brings.
    pub payload: Vec<Payload>,
    /// What it changes.
    pub effects: Vec<Effect>,
    /// What of it cannot be carried out without its Windows running, or is not known.
    pub left_out: Vec<LeftOut>,
}

/// A file in a component's folder of the store.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its path in the folder.
    pub name: String,
    /// Its contents, in the tree of the bundle.
    pub content: Content,
}

/// One thing that a component changes, in words, and the changes that it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// What kind of thing.
    pub kind: EffectKind,
    /// What: a path, a key, `service ssh-agent (demand, own process): ...`.
    pub what: String,
    /// What is done for it, in its order.
    pub changes: Vec<Change>,
}

/// What kind of thing a component changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A directory.
    Directory,
    /// A file of the store under its name.
    File,
    /// A key of the registry with its values.
    Registry,
    /// A service.
    Service,
    /// A service's place in a group that shares a process.
    SvcHost,
    /// A part of an environment variable.
    Environment,
    /// A rule of the firewall.
    Firewall,
    /// A driver.
    Driver,
    /// A publisher of events.
    Publisher,
    /// A channel of events.
    Channel,
    /// A scheduled task.
    Task,
}

/// What is done to the files and the registry. Paths begin with `\`; keys are named as Windows shows them
/// (`HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\...`; `HKEY_USERS\Default` is that of whoever has none yet, `\Users\Default\NTUSER.DAT`).
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A directory is made.
    Directory {
        /// Its path.
        path: String,
        /// Its security descriptor; else what its parent hands down.
        descriptor: Option<Box<[u8]>>,
        /// `FILE_ATTRIBUTE_*` besides DIRECTORY.
        attributes: u32,
    },
    /// A file of the payload gets a name outside the store: a hard link.
    Link {
        /// Its path in the component's folder of the store.
        payload: String,
        /// The path that it gets.
        path: String,
        /// Its security descriptor; else what siblings have.
        descriptor: Option<Box<[u8]>>,
        /// `FILE_ATTRIBUTE_*` besides ARCHIVE.
        attributes: u32,
    },
    /// A file is made that no payload has: the definition of a task.
    File {
        /// Its path.
        path: String,
        /// Its contents.
        bytes: Vec<u8>,
    },
    /// A key is made.
    Key {
        /// The key.
        key: String,
        /// Its security descriptor; else what siblings have.
        descriptor: Option<Box<[u8]>>,
    },
    /// A value is set.
    Value {
        /// The key.
        key: String,
        /// The value's name; none for the key's own.
        name: String,
        /// The value.
        value: Value,
        /// Whether one that is there stays.
        if_absent: bool,
    },
    /// Texts join a REG_MULTI_SZ, as far as they are not in it.
    Append {
        /// The key.
        key: String,
        /// The value's name.
        name: String,
        /// The texts.
        texts: Vec<String>,
        /// Whether they come first.
        first: bool,
    },
    /// A part joins a text in which parts are separated by `;` (`Path`), unless it is in it.
    AppendPath {
        /// The key.
        key: String,
        /// The value's name.
        name: String,
        /// The part.
        part: String,
        /// Whether it comes first.
        first: bool,
    },
    /// A value goes.
    DeleteValue {
        /// The key.
        key: String,
        /// The value's name.
        name: String,
    },
    /// A key goes, with all below it.
    DeleteKey {
        /// The key.
        key: String,
    },
    /// A driver is put into the driver store by its INF file: for components that do not say themselves what that comes to.
    Driver {
        /// The INF file's path in the component's folder.
        inf: String,
    },
}

/// What of a component is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What: `genericCommands/genericCommand`, or an attribute.
    pub what: String,
    /// The line of the manifest.
    pub line: u32,
    /// Why, and what it takes.
    pub why: String,
}

/// How much a plan comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Packages that the image does not have yet.
    pub packages: usize,
    /// Components that it does not have yet, deployments not counted.
    pub components: usize,
    /// Files that get a name outside the store.
    pub files: usize,
    /// Bytes of all files that go into the store.
    pub bytes: u64,
    /// Values of the registry that are set, added to or deleted.
    pub values: usize,
    /// Services.
    pub services: usize,
    /// Things that are not carried out.
    pub left_out: usize,
}

impl Plan {
    /// What is not carried out, with the file whose line it is.
    pub fn left_out(&self) -> impl Iterator<Item = (String, &LeftOut)> {
        let of_packages = self.packages.iter().flat_map(|package| {
            package.left_out.iter().map(|left| (format!("{}.mum", package.identity.package_id()), left))
        });
        of_packages.chain(self.components.iter().flat_map(|component| {
            component.left_out.iter().map(|left| (format!("{}.manifest", component.keyform), left))
        }))
    }

    /// The bundles of which something is not carried out, by their places: those that ask for such a component, and the one that it is in.
    pub fn bundles_with_left_out(&self) -> BTreeSet<usize> {
        let mut asking: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for package in &self.packages {
            for update in package.updates.iter().filter(|update| update.is_on) {
                for asked in update.deployments.iter().chain(&update.drivers) {
                    asking.entry(*asked).or_default().insert(package.bundle);
                }
            }
        }
        let with_left_out = self.components.iter().filter(|component| !component.left_out.is_empty());
        let bundles = with_left_out.flat_map(|component| {
            let asking = component.deployments.iter().filter_map(|deployment| asking.get(deployment)).flatten();
            asking.copied().chain([component.bundle])
        });
        let of_packages = self.packages.iter().filter(|package| !package.left_out.is_empty());
        bundles.chain(of_packages.map(|package| package.bundle)).collect()
    }

    /// How much it comes to.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for package in &self.packages {
            sums.packages += usize::from(!package.is_there);
            sums.left_out += package.left_out.len();
        }
        for component in &self.components {
            if !component.is_there {
                sums.components += usize::from(!component.is_deployment);
                sums.bytes =
                    component.payload.iter().fold(sums.bytes, |sum, file| sum.saturating_add(file.content.len()));
            }
            sums.left_out += component.left_out.len();
            sums.services += component.effects.iter().filter(|effect| effect.kind == EffectKind::Service).count();
            for change in component.effects.iter().flat_map(|effect| &effect.changes) {
                sums.files += usize::from(matches!(change, Change::Link { .. } | Change::File { .. }));
                sums.values += usize::from(change.is_of_a_value());
            }
        }
        sums
    }
}

impl Change {
    fn is_of_a_value(&self) -> bool {
        matches!(self, Self::Value { .. } | Self::Append { .. } | Self::AppendPath { .. } | Self::DeleteValue { .. })
    }
}

impl ComponentPlan {
    /// Whether a newer version of it is in the image or in the plan: that one wins.
    pub fn is_beaten(&self) -> bool {
        self.others.last().is_some_and(|newest| *newest > self.identity.version)
    }
}
