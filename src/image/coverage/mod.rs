//! Whether the machine will find its devices: each device of a [`Target`]'s profile against the drivers of an image.
//!
//! ```text
//! profile --ids--> DriverDatabase of both hives, or INFs that it does not list --rank--> the driver that Plug and Play will take
//!   its service   --> in the current control set; or made by Plug and Play from its package, for what is not needed to boot
//!   its file      --> where ImagePath says; or in its package, from which Plug and Play copies it
//!   its start     --> at boot for what Windows needs to find its disk, and kept from it by nothing
//!   its helpers   --> filters of the device and of its class, services that it depends on
//! ```
//!
//! What a machine shows by default counts: a device that is needed to boot and lacks its driver is an error, a network adapter or a bus
//! is a warning, everything else a note. What it shows on request is judged too, and is no fault.
//!
//! # Limits
//! 4096 INF files outside the database are read, and only if a device has no driver in it; 1000 files of a package are looked at.

mod evidence;
mod hint;
mod judge;
mod stray;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::Target;
use super::package::Wishes;
use super::target::{Device, DeviceRole, Origin};
use crate::base::{FileTime, Version};
use crate::error::Result;
use crate::tree::Tree;
use crate::verify::Level;
use crate::windows::About;

use evidence::Evidence;

/// What came of judging an image for a machine.
#[derive(Debug, Clone, Serialize)]
pub struct Coverage {
    /// The machine's name for `--target`.
    pub target: String,
    /// The machine in words.
    pub what: String,
    /// Its devices: those that it shows by default first.
    pub devices: Vec<Covered>,
    /// What was odd about the databases, and may have hidden drivers.
    pub notes: Vec<String>,
}

/// A device and its driver.
#[derive(Debug, Clone, Serialize)]
pub struct Covered {
    /// The device in words.
    pub device: String,
    /// What it is for.
    pub role: DeviceRole,
    /// Whether Windows needs it to find its disk.
    pub boot: bool,
    /// Where its driver usually comes from.
    pub from: Origin,
    /// Whether the machine shows it by default, or because its package asks for it.
    pub shown: bool,
    /// The setting that makes the machine show it; none if it does by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// The first hardware id.
    pub id: String,
    /// Whether the driver is there and will start.
    pub verdict: Verdict,
    /// How bad that is; nothing if all is well, or the machine does not show the device by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The driver that Plug and Play will take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Chosen>,
    /// What is wrong, in words; the first is what the verdict says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The driver that Plug and Play will take for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The INF in `\Windows\INF`: `mshdc.inf`, `oem3.inf`.
    pub inf: String,
    /// The INF's name as its maker has it.
    pub inf_name: String,
    /// Who gives it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its version.
    pub version: Version,
    /// Its date.
    pub date: FileTime,
    /// The function driver; none if the device gets none, or only Plug and Play can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// When it starts.
    pub start: Start,
    /// The id that matched.
    pub matching_id: String,
    /// The rank: SSGGTHHH as Windows' logs have it, the least is the best.
    pub rank: String,
}

/// When a driver starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The loader reads it.
    Boot,
    /// With the kernel.
    System,
    /// With the services.
    Automatic,
    /// When its device is found.
    Demand,
    /// Never.
    Disabled,
    /// Its service will be made when its device is found.
    PlugAndPlay,
    /// It has no service of its own.
    None,
}

impl Start {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::System => "system",
            Self::Automatic => "automatic",
            Self::Demand => "demand",
            Self::Disabled => "disabled",
            Self::PlugAndPlay => "when found",
            Self::None => "-",
        }
    }
}

impl From<u32> for Start {
    fn from(start: u32) -> Self {
        match start {
            0 => Self::Boot,
            1 => Self::System,
            2 => Self::Automatic,
            3 => Self::Demand,
            _ => Self::Disabled,
        }
    }
}

/// Whether a driver is there and will start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It will.
    Ok,
    /// No driver claims the device.
    MissingDriver,
    /// The driver's service, or one that it needs, is not there.
    MissingService,
    /// A service is there, its file is not.
    MissingFile,
    /// It starts too late.
    WrongStart,
    /// It is kept from starting.
    Disabled,
}

impl Verdict {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::MissingDriver => "no driver",
            Self::MissingService => "service missing",
            Self::MissingFile => "file missing",
            Self::WrongStart => "wrong start",
            Self::Disabled => "disabled",
        }
    }
}

/// What is known beside the image and the machine's profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting<'s> {
    /// The packages of the medium that the image is from, by the names of their files.
    pub packages: &'s [String],
    /// What the machine's package asks for, in place of what the machine shows by default.
    pub wishes: Option<&'s Wishes>,
}

/// Judges an image for several machines.
///
/// # Errors
/// Those of hives that cannot be read. `Ok(Err(reason))` if there is nothing to judge: no Windows, or one that lists no drivers.
pub fn judge(
    tree: &Tree,
    about: &About,
    targets: &[&Target],
    setting: Setting<'_>,
) -> Result<Result<Vec<Coverage>, String>> {
    let evidence = match Evidence::read(tree, about)? {
        Ok(evidence) => evidence,
        Err(reason) => return Ok(Err(reason)),
    };
    let coverages = targets.iter().filter(|target| !target.devices.is_empty());
    Ok(Ok(coverages.map(|target| Coverage::of(&evidence, target, setting)).collect()))
}

impl Coverage {
    fn of(evidence: &Evidence<'_>, target: &Target, setting: Setting<'_>) -> Self {
        let covered = |device| judge::device(evidence, device, setting.wishes);
        let mut devices: Vec<(&Device, Covered)> =
            target.devices.iter().map(|device| (device, covered(device))).collect();
        devices.sort_by_key(|(_, covered)| !covered.shown);
        let hints: Vec<Option<String>> =
            devices.iter().map(|(device, covered)| hint::of(device, covered, &devices, setting)).collect();
        let devices = devices.into_iter().zip(hints).map(|((_, covered), hint)| Covered { hint, ..covered }).collect();
        Self { target: target.name.clone(), what: target.what.clone(), devices, notes: evidence.notes() }
    }

    /// The devices that are of a level.
    pub fn at(&self, level: Level) -> impl Iterator<Item = &Covered> {
        self.devices.iter().filter(move |covered| covered.level == Some(level))
    }

    /// The devices that the machine shows by default, or that its package asks for.
    pub fn shown(&self) -> impl Iterator<Item = &Covered> {
        self.devices.iter().filter(|covered| covered.shown)
    }

    /// What is wrong in a sentence each, for who makes the image: errors first, then warnings; notes are left out.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.at(Level::Error).chain(self.at(Level::Warning)).map(|covered| {
            let consequence = match (covered.role, covered.boot) {
                (_, true) => "will not start, or not find its disk",
                (DeviceRole::Network, false) => "will have no network",
                (_, false) => "will not find what hangs on it",
            };
            let problem = covered.problems.first().map_or("", String::as_str);
            let hint = covered.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{} {consequence}: {}: {problem}{hint}", self.what, covered.device)
        })
    }
}
