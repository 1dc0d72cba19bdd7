//! Where drivers come from: what a user names is looked through for packages, and those for one Windows are picked.
//!
//! | named | what is looked through |
//! |---|---|
//! | an `.inf` | its folder, for this one package |
//! | a folder | all of it |
//! | a `.zip`, a cabinet | what is beside and below the INF files in it, unpacked into memory: up to 1 GiB in 65536 files |
//! | an ISO (virtio-win) | all of it, unread |
//! | the ISO of VirtualBox' Guest Additions, a folder with its files, or an installer of them | what the installer for the image's processor unpacks |
//!
//! What something is follows from what it holds, not from its name. Archives within folders and archives are not opened.
//!
//! # The choice
//! Every INF file is asked which devices it has for the image's Windows: that is what counts. Collections such as virtio-win have the
//! same package once for each Windows, and their INF files often let in more than the one that they are meant for. So of
//! packages for the same devices one is taken, by the names of the folders that it is in:
//!
//! 1. that of the image's processor, rather than one that names none, rather than that of another;
//! 2. one for this Windows or an earlier one, rather than for a later one;
//! 3. one for the same generation (Windows 10 and 11, Server 2016 to 2025 are one), rather than one that names none, rather than for an
//!    older one;
//! 4. for a server one that names a server, for a client one that names a client;
//! 5. the nearest below: for Server 2022 `2k22`, or else `2k19`, or else `2k16`;
//! 6. the newest `DriverVer`; then the first by its path.
//!
//! Nothing is left out without a word: see [`Collected::left_out`].

mod archive;
mod choose;
pub(in crate::image) mod folder;
mod open;
mod place;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::format::inf::TargetOs;
use crate::tree::Tree;
use crate::windows::drivers::Package;

/// Something that drivers are taken from, opened: its directories are read, and of archives what may matter.
#[derive(Clone)]
pub struct DriverSource {
    path: PathBuf,
    tree: Arc<Tree>,
    /// The one INF file that was named; none if all are looked through.
    only: Option<String>,
    /// What could not be read.
    notes: Vec<String>,
    fingerprint: Vec<u8>,
}

/// What a source has for one Windows.
#[derive(Clone, Default)]
pub struct Collected {
    /// The packages, in the order of their paths.
    pub packages: Vec<Package>,
    /// INF files that are not among them, in the order of their paths.
    pub left_out: Vec<LeftOut>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// An INF file that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the source.
    pub path: String,
    /// Why.
    pub why: Why,
    /// What about it, in words.
    pub detail: String,
}

/// Why an INF file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its models are for other processors.
    OtherProcessor,
    /// Its models are for other versions or kinds of Windows.
    OtherSystem,
    /// Another package has its devices and fits better.
    Superseded,
    /// It installs no devices: `autorun.inf`, settings, old setups.
    NoDriver,
    /// It cannot be read.
    Damaged,
}

impl fmt::Debug for DriverSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriverSource({:?})", self.path)
    }
}

impl Why {
    /// What so many packages are, for people.
    fn words(self, count: usize) -> String {
        let one = count == 1;
        let plural = |single: &str, many: &str| format!("{count} {}", if one { single } else { many });
        match self {
            Self::OtherProcessor => plural("package for other processors", "packages for other processors"),
            Self::OtherSystem => plural("package for other systems", "packages for other systems"),
            Self::Superseded => plural("package that another one replaces", "packages that others replace"),
            Self::NoDriver => plural("INF file that is no driver", "INF files that are no drivers"),
            Self::Damaged => plural("INF file that cannot be read", "INF files that cannot be read"),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.detail)
    }
}

impl Collected {
    /// How many were left out for what, in words; empty if none were.
    pub fn summary(&self) -> String {
        let all = [Why::OtherSystem, Why::OtherProcessor, Why::Superseded, Why::NoDriver, Why::Damaged];
        let counted = all.map(|why| (why, self.left_out.iter().filter(|left| left.why == why).count()));
        let words = counted.iter().filter(|(_, count)| *count > 0).map(|(why, count)| why.words(*count));
        words.collect::<Vec<_>>().join(", ")
    }

    /// Those left out that a user may not expect to be: INF files that cannot be read.
    pub fn worries(&self) -> impl Iterator<Item = &LeftOut> {
        self.left_out.iter().filter(|left| left.why == Why::Damaged)
    }
}

/// The packages that a file or folder of the host has for a Windows.
///
/// # Errors
/// Those of [`DriverSource::open`] and [`DriverSource::collect`].
pub fn collect(path: &Path, target: &TargetOs) -> Result<Collected> {
    DriverSource::open(path)?.collect(target)
}

impl DriverSource {
    /// What was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this source from others, whatever the host calls it: the paths and lengths of its files, and the bytes of INF files and
    /// catalogs, which vouch for the rest.
    pub fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }

    /// The packages for a Windows.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) if there is none, with what there is instead; if the one INF file that was named is for
    /// others, with whom it is for.
    pub fn collect(&self, target: &TargetOs) -> Result<Collected> {
        let name = self.place().display().to_string();
        let Some((installer, tree, notes)) = self.additions(target.machine).context(|| name.clone())? else {
            let found = choose::choose(&self.tree, self.only.as_deref(), &name, target)?;
            return self.checked(found, target);
        };
        let mut found = choose::choose(&Arc::new(tree), None, &format!(r"{name}\{installer}"), target)?;
        found.notes.splice(0..0, notes);
        self.checked(found, target)
    }

    /// What the packages' folders are in: of an INF file that was named its folder.
    fn place(&self) -> &Path {
        if self.only.is_some() { self.path.parent().unwrap_or(Path::new("")) } else { &self.path }
    }

    fn checked(&self, mut found: Collected, target: &TargetOs) -> Result<Collected> {
        found.notes.splice(0..0, self.notes.iter().cloned());
        if !found.packages.is_empty() {
            let host = self.place().display().to_string();
            for package in &mut found.packages {
                let within = package.origin.strip_prefix(&host).unwrap_or_default();
                package.oem_path = format!(r"\{}", within.trim_start_matches('\\'));
            }
            return Ok(found);
        }
        let wanted = choose::words(target);
        let notes = found.notes.join("; ");
        let error = match (&self.only, found.left_out.first()) {
            (Some(_), Some(left)) => Error::invalid(format_args!("no driver for {wanted}")).found(&left.detail),
            _ if found.left_out.is_empty() && notes.is_empty() => Error::invalid("no drivers")
                .found("no INF file")
                .hint("drivers come as an INF file with files beside it"),
            _ if found.left_out.is_empty() => Error::invalid("no drivers").found(notes),
            _ => Error::invalid(format_args!("no drivers for {wanted}"))
                .found(found.summary())
                .hint(found.left_out.first().map(LeftOut::to_string).unwrap_or_default()),
        };
        Err(error.context(self.path.display()))
    }
}
