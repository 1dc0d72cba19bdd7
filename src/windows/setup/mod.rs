//! A machine that can be reached: its name, its administrator's password, its time zone, remote management, and what it does on its
//! first start.
//!
//! What can be written offline is; the rest stands in the answer file ([`unattend`]), which Windows reads on its first start, and
//! in the script that Windows runs when that is through ([`complete`]).
//!
//! # Secrets
//!
//! A password is in one place of the image: in the answer file, whose descriptor lets SYSTEM and Administrators in and nobody else,
//! and which the first start removes. The same goes for the certificate's key. Neither prints, and neither is part of a disk's ids.

mod azure;
mod changes;
pub mod complete;
mod firewall;
mod name;
mod secret;
mod time_zone;
pub mod unattend;
mod winrm;

pub use complete::SetupComplete;
pub use name::ComputerName;
pub use secret::Secret;
pub use unattend::Unattend;
pub use winrm::WinRm;

use self::changes::{Changes, Hives};
use super::machine_of;
use crate::base::FileTime;
use crate::error::{Context, Result};
use crate::tree::Tree;
use crate::windows::place::{self, Access};

/// What is wanted. Nothing, by default.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The machine's name.
    pub computer_name: Option<ComputerName>,
    /// The built-in administrator's password.
    pub admin_password: Option<Secret>,
    /// An answer file to start from; else the image's own, if it has one.
    pub unattend: Option<Unattend>,
    /// The time zone, by the name that Windows has for it.
    pub time_zone: Option<String>,
    /// Remote management.
    pub winrm: Option<WinRm>,
    /// What Azure asks for.
    pub azure: bool,
    /// Steps of the first start.
    pub first_start: Vec<complete::Step>,
}

/// What was done, for people.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In words, one for each thing that was asked for.
    pub done: Vec<String>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
    /// Whether the image has something in it now that not everybody may read.
    pub holds_secrets: bool,
}

impl Setup {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        !self.answers() && self.winrm.is_none() && !self.azure && self.first_start.is_empty()
    }

    /// Whether there has to be an answer file.
    fn answers(&self) -> bool {
        self.computer_name.is_some()
            || self.admin_password.is_some()
            || self.unattend.is_some()
            || self.time_zone.is_some()
    }

    /// What tells this from others, without secrets: part of a disk's identity.
    pub fn fingerprint(&self) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut part = |text: String| parts.push(text.into_bytes());
        self.computer_name.iter().for_each(|name| part(format!("computer name {name}")));
        self.admin_password.iter().for_each(|_| part("password".into()));
        self.unattend.iter().for_each(|unattend| part(format!("unattend {}", unattend.public_text())));
        self.time_zone.iter().for_each(|zone| part(format!("time zone {zone}")));
        self.winrm.iter().for_each(|winrm| part(format!("winrm {} {}", winrm.basic, winrm.https.is_some())));
        if self.azure {
            part("azure".into());
        }
        self.first_start.iter().for_each(|step| part(format!("step {} {}", step.title, step.commands.join("\n"))));
        parts
    }

    /// Does it all to the installation in a tree; what is made is made at `now`.
    ///
    /// # Errors
    /// [`NotWindows`](crate::error::Kind::NotWindows) for a tree that holds no installation; errors of the answer file and of the
    /// hives, by their paths. Nothing is changed then.
    pub fn apply(&self, tree: &mut Tree, now: FileTime) -> Result<Report> {
        let mut report = Report::default();
        if self.is_empty() {
            return Ok(report);
        }
        let hives = Hives::read(tree)?;
        let mut changes = Changes::default();
        let mut script = SetupComplete::default();
        let unattend =
            if self.answers() { Some(self.answer_file(tree, &hives, &mut changes, &mut report)?) } else { None };
        if let Some(winrm) = &self.winrm {
            script.steps.extend(winrm::write(winrm, &hives, &mut changes, &mut report));
        }
        if self.azure {
            azure::write(&hives, &mut changes, &mut report);
        }
        script.steps.extend(self.first_start.iter().cloned());
        let pfx = self.winrm.as_ref().and_then(|winrm| winrm.https.as_ref()).map(winrm::pfx).transpose()?;
        if unattend.as_ref().is_some_and(Unattend::holds_secrets) {
            script.secrets.push(unattend::PATH.into());
        }
        if pfx.is_some() {
            script.secrets.push(winrm::PFX.into());
        }

        if !script.is_empty() && hives.is_set_up() {
            report.warnings.push(
                "this Windows has been set up (its ImageState is IMAGE_STATE_COMPLETE): it runs SetupComplete.cmd only after `sysprep \
                 /generalize`; until then, run it by hand"
                    .into(),
            );
        }
        report.holds_secrets = !script.secrets.is_empty();
        changes.apply(tree, now)?;
        if let Some(unattend) = unattend {
            place::put(tree, unattend::PATH, unattend.to_bytes(), Access::Protected, now)?;
        }
        if let Some(pfx) = pfx {
            place::put(tree, winrm::PFX, pfx, Access::Protected, now)?;
        }
        put_script(tree, script, now, &mut report)?;
        Ok(report)
    }

    /// The answer file: what there is, and over it what is wanted. What can be offline is put into the registry too.
    fn answer_file(&self, tree: &Tree, hives: &Hives, changes: &mut Changes, report: &mut Report) -> Result<Unattend> {
        let machine = machine_of(tree)?;
        let own = || -> Result<Option<Unattend>> {
            let bytes = tree.read_file(unattend::PATH)?;
            bytes.map(|bytes| Unattend::parse(&bytes)).transpose().context(|| unattend::PATH).map_err(|error| {
                error.hint("the image's own answer file is in the way: delete it with --delete, or give another with --unattend")
            })
        };
        let mut unattend = match &self.unattend {
            Some(given) => {
                let replaced =
                    if tree.find(unattend::PATH).is_some() { ", in the place of the image's own" } else { "" };
                report.done.push(format!("answer file at {}{replaced}", unattend::PATH));
                given.clone()
            }
            None => own()?.unwrap_or_default(),
        };
        report.warnings.extend(unattend.check(machine, tree)?);
        if let Some(name) = &self.computer_name {
            name.write(changes);
            report.warnings.extend(unattend.set_computer_name(name, machine));
            report.done.push(match name.fixed() {
                Some(name) => format!("computer name {name}, in the registry and in the answer file (specialize)"),
                None => "computer name of Windows' own making, by the answer file (specialize)".into(),
            });
        }
        if let Some(zone) = &self.time_zone {
            let name = match time_zone::write(zone, hives, changes)? {
                time_zone::Written::Offline(name) => {
                    report.done.push(format!("time zone {name}, in the registry and in the answer file (oobeSystem)"));
                    name
                }
                time_zone::Written::Unknown => {
                    report.done.push(format!("time zone {zone}, in the answer file (oobeSystem)"));
                    report
                        .warnings
                        .push("the image does not describe its time zones: the name could not be checked".into());
                    zone.clone()
                }
            };
            report.warnings.extend(unattend.set_time_zone(&name, machine));
        }
        if let Some(password) = &self.admin_password {
            report.warnings.extend(unattend.set_admin_password(password, machine));
            if password.is_weak() {
                report.warnings.push(
                    "a Windows server with its default policy refuses the administrator's password: it wants three of lower case, \
                     upper case, digits and others, and not the account's name"
                        .into(),
                );
            }
            report.done.push(format!(
                "the administrator's password, in {} (SYSTEM and Administrators can read it), which the first start removes",
                unattend::PATH
            ));
        }
        Ok(unattend)
    }
}

/// Writes the script, joined with what the image has.
fn put_script(tree: &mut Tree, new: SetupComplete, now: FileTime, report: &mut Report) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let mut script = SetupComplete::default();
    if let Some(own) = tree.read_file(complete::PATH)? {
        script = SetupComplete::read(&own).unwrap_or_default();
        if script.is_empty() && !own.is_empty() {
            place::rename(tree, complete::PATH, complete::KEPT)?;
            script.steps.push(complete::Step::new("The image's own script", vec![complete::kept_call()]));
            report.done.push(format!("the image's own SetupComplete.cmd is kept as {} and runs first", complete::KEPT));
        }
    }
    script.join(new);
    place::put(tree, complete::PATH, script.to_bytes(), Access::Inherited, now)?;
    let steps = if script.steps.len() == 1 { "1 step".into() } else { format!("{} steps", script.steps.len()) };
    let secrets = match script.secrets.len() {
        0 => String::new(),
        1 => ", and removes a file with a secret".into(),
        files => format!(", and removes {files} files with secrets"),
    };
    report.done.push(format!("{} does {steps} on the first start{secrets}", complete::PATH));
    Ok(())
}

#[cfg(test)]
mod tests;
