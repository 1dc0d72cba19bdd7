//! What was done, in words and as data.

use std::fmt;

use serde::Serialize;

use super::packages::{self, PackageStep};
use crate::windows::drivers::apply::NewPackage;
use crate::windows::packages::first_boot::InQueue;
use crate::windows::regedit;

/// What was done to a tree: one for each edit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "edit")]
pub enum Step {
    /// A path was deleted.
    Deleted {
        /// The path.
        path: String,
        /// How many names went, those below included.
        names: u64,
    },
    /// Something was copied.
    Copied {
        /// Where from.
        source: String,
        /// Where to.
        target: String,
        /// Files.
        files: u64,
        /// Directories made.
        directories: u64,
        /// Bytes.
        bytes: u64,
        /// Files of the image whose contents were replaced.
        replaced: u64,
        /// How many further names replaced files have, which show the new contents too.
        other_names: u64,
    },
    /// A `.reg` file was applied.
    Registry {
        /// The file.
        source: String,
        /// The hives that it changed.
        hives: Vec<regedit::Changed>,
    },
    /// A package was taken out.
    PackageRemoved {
        /// The ids of the packages that went with it, its own first.
        packages: Vec<String>,
        /// Components that went.
        components: usize,
        /// Drivers that went, by their published names.
        drivers: Vec<String>,
        /// Names of files and directories that went, or lead elsewhere now.
        files: usize,
        /// The hives that changed.
        hives: Vec<regedit::Changed>,
    },
    /// A package that waited for the first start does so no more.
    PackageUnqueued(InQueue),
    /// A package was put in, or waits for the first start.
    Package(PackageStep),
    /// What those packages that were put in came to.
    Packages {
        /// Components that are new.
        components: usize,
        /// Drivers that came, by their published names.
        drivers: Vec<String>,
        /// Names of files and directories that came, or lead elsewhere now.
        files: usize,
        /// The hives that changed.
        hives: Vec<regedit::Changed>,
    },
    /// A driver package was taken out.
    DriverRemoved {
        /// The name that it had: `oem3.inf`.
        published: String,
        /// Its folders in the driver store.
        packages: Vec<String>,
        /// Its services that went.
        services: Vec<String>,
    },
    /// A driver package was put in.
    Driver(NewPackage),
    /// The machine was set up.
    SetUp {
        /// What of it, in words.
        what: String,
    },
    /// The volume was given another label.
    Labelled {
        /// The old one.
        from: String,
        /// The new one.
        to: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        match self {
            Self::Deleted { path, names: 1 } => write!(f, "delete {path}"),
            Self::Deleted { path, names } => {
                write!(f, "delete {path} and the {} in it", plural(names - 1, "name", "names"))
            }
            Self::Copied { source, target, files, directories, bytes, replaced, other_names } => {
                let files = plural(*files, "file", "files");
                write!(f, "copy {source} to {target}: {files}, {bytes} bytes")?;
                if *directories > 0 {
                    write!(f, ", {}", plural(*directories, "new directory", "new directories"))?;
                }
                if *replaced > 0 {
                    write!(f, ", {replaced} replaced")?;
                }
                if *other_names > 0 {
                    write!(
                        f,
                        " (which changes {} of hard links too)",
                        plural(*other_names, "other name", "other names")
                    )?;
                }
                Ok(())
            }
            Self::Registry { source, hives } if hives.is_empty() => write!(f, "registry {source}: all is so already"),
            Self::Registry { source, hives } => {
                write!(f, "registry {source}:")?;
                packages::hives(f, hives)
            }
            Self::PackageRemoved { packages, components, drivers, files, hives } => {
                let components = plural(*components as u64, "component", "components");
                write!(f, "remove package {}: {components}, ", packages.join(", "))?;
                packages::changes(f, drivers, *files, hives)
            }
            Self::PackageUnqueued(package) => write!(f, "no longer left to the first start: {package}"),
            Self::Package(package) => package.fmt(f),
            Self::Packages { components, drivers, files, hives } => {
                write!(f, "packages: {}, ", plural(*components as u64, "new component", "new components"))?;
                packages::changes(f, drivers, *files, hives)
            }
            Self::DriverRemoved { published, packages, services } => {
                write!(f, "remove driver {published} ({})", packages.join(", "))?;
                if services.is_empty() { Ok(()) } else { write!(f, ", services {}", services.join(", ")) }
            }
            Self::Driver(package) => package.fmt(f),
            Self::SetUp { what } => f.write_str(what),
            Self::Labelled { from, to } => write!(f, "label {from:?} to {to:?}"),
        }
    }
}
