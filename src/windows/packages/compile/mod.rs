//! A component's manifest, and what it changes in one Windows.
//!
//! | element | becomes |
//! |---|---|
//! | `file`, `directories` | hard links to the store, directories, with their descriptors |
//! | `registryKeys` | keys and values; those of 32-bit components of a 64-bit Windows where WOW64 has them |
//! | `memberships`: services | what the service control manager reads: values, triggers, failure actions, security |
//! | `memberships`: groups of svchost, the search path | texts that join those that are there |
//! | `firewallRule` | a rule, in the words of the firewall |
//! | `instrumentation/events` | publishers, channels, sessions that start with the system |
//! | `file/infFile` | a driver, unless the component says itself what its installation comes to |
//! | `trustInfo`, `localization` | descriptors and texts that the others name |
//! | what the two tables in `known.rs` have | nothing, or what only a running Windows can do |
//!
//! Whatever else is in a manifest nobody asked for, and that is what makes it [`LeftOut`]. A value that cannot be understood is left out too, with
//! the reason: its package can still be installed by Windows itself. Nothing that a manifest says leads out of the image: paths are put
//! together from known folders and sound names.
//!
//! Sources: the manifests of Windows 10 and Server; seven-mile's UFCase (`docs/manifests`), a collection of them by what they use; the manifests that
//! Microsoft publishes with its own sources (Windows Terminal, ESE); what such components have left behind in the SYSTEM hive of a Windows 10.

mod drivers;
mod events;
mod files;
mod firewall;
mod known;
mod memberships;
mod registry;
mod security;
mod services;
mod triggers;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

pub(super) use self::registry::lacking;
use super::image::DEFAULT_USER;
use super::{Change, Effect, EffectKind, LeftOut};
use crate::base::Machine;
use crate::error::{Error, Result};
use crate::format::assembly::{Element, Manifest};

/// What a manifest is compiled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The processor of the image.
    pub machine: Machine,
    /// The language in which Windows speaks: that of texts that a manifest has in several.
    pub language: String,
    /// The hives that a manifest may name and the image has no file of, as keys: `HKEY_USERS\S-1-5-19`.
    pub lacks: BTreeSet<String>,
}

/// What a manifest comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compiled {
    /// What it changes, in the order in which that is done.
    pub effects: Vec<Effect>,
    /// What is not carried out, in the order of the lines.
    pub left_out: Vec<LeftOut>,
}

/// What was understood, or why not.
type Said<T> = std::result::Result<T, String>;

/// Compiles a manifest. Its header was read before, and counts as read.
///
/// # Errors
/// [`Unsupported`](crate::error::Kind::Unsupported) for a component of another processor than the image's.
pub fn compile(document: &Element, manifest: &Manifest, target: &Target) -> Result<Compiled> {
    let mut compiler = Compiler::new(document, manifest, target)?;
    compiler.directories();
    compiler.files();
    compiler.memberships();
    compiler.registry_keys();
    compiler.firewall_rules();
    compiler.events();
    compiler.known();
    let mut left_out = compiler.left_out;
    left_out.extend(document.unread().into_iter().map(|left| LeftOut {
        what: left.value.map_or(left.path.clone(), |value| format!("{}: {}", left.path, shortened(&value))),
        line: left.line,
        why: "not known here, so nobody can say what it takes".to_owned(),
    }));
    left_out.sort_by_key(|left| left.line);
    Ok(Compiled { effects: compiler.effects, left_out })
}

struct Compiler<'d> {
    document: &'d Element,
    target: &'d Target,
    /// Whether it is a 32-bit component of a 64-bit Windows.
    is_guest: bool,
    /// Texts by their ids, in lower case.
    strings: BTreeMap<String, &'d str>,
    /// `securityDescriptorDefinition`s by their names, in lower case.
    descriptors: BTreeMap<String, security::Definition<'d>>,
    /// How its drivers are installed.
    drivers: drivers::Way,
    effects: Vec<Effect>,
    left_out: Vec<LeftOut>,
}

impl<'d> Compiler<'d> {
    fn new(document: &'d Element, manifest: &'d Manifest, target: &'d Target) -> Result<Self> {
        Ok(Self {
            document,
            target,
            is_guest: is_guest(&manifest.identity.architecture, target.machine)?,
            strings: variables::strings(document, &target.language),
            descriptors: security::definitions(document),
            drivers: drivers::Way::of(document, &manifest.identity),
            effects: Vec::new(),
            left_out: Vec::new(),
        })
    }

    fn add(&mut self, kind: EffectKind, what: String, changes: Vec<Change>) {
        self.effects.push(Effect { kind, what, changes });
    }

    /// An element that is not carried out, with all that is in it.
    fn leave(&mut self, element: &Element, what: impl Display, why: impl Into<String>) {
        element.mark_all();
        self.leave_part(element, what, why);
    }

    /// A part of an element that is not carried out, where the rest is.
    fn leave_part(&mut self, element: &Element, what: impl Display, why: impl Into<String>) {
        self.left_out.push(LeftOut { what: what.to_string(), line: element.line(), why: why.into() });
    }

    /// What was understood; else it is left out.
    fn or_leave<T>(&mut self, element: &Element, what: impl Display, said: Said<T>) -> Option<T> {
        said.map_err(|why| self.leave(element, what, why)).ok()
    }

    fn is_64_bit(&self) -> bool {
        is_64_bit(self.target.machine)
    }
}

fn is_64_bit(machine: Machine) -> bool {
    matches!(machine, Machine::Amd64 | Machine::Arm64)
}

fn is_guest(architecture: &str, machine: Machine) -> Result<bool> {
    let architecture = architecture.to_ascii_lowercase();
    let own = machine.to_string();
    match architecture.as_str() {
        "neutral" | "msil" | "none" | "" => Ok(false),
        _ if architecture == own => Ok(false),
        "x86" | "wow64" if is_64_bit(machine) => Ok(true),
        _ => Err(Error::unsupported("processor of a component").found(architecture).allowed(if is_64_bit(machine) {
            format!("{own}, x86, wow64, msil, neutral")
        } else {
            format!("{own}, msil, neutral")
        })),
    }
}

/// An attribute that has to be there.
fn needed<'e>(element: &'e Element, name: &str) -> Said<&'e str> {
    element.filled(name).ok_or_else(|| format!("it has no {name}"))
}

/// A decimal number, or one in hexadecimal with `0x`.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u64::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn number_32(text: &str) -> Option<u32> {
    number(text)?.try_into().ok()
}

/// Bytes as pairs of hexadecimal digits.
fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.trim().as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

/// `true`, `false`, `1`, `0`, `yes`, `no`.
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// One of several words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Said<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("'{}' is not known; known are {}", shortened(text), known.join(", "))
    })
}

/// The parts of a list, without the white space around them.
fn list(text: &str) -> Vec<String> {
    text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A text as it is shown.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
