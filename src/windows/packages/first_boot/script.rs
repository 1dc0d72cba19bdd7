//! The script of the queue, written and read back.
//!
//! ```text
//! :: package Microsoft-NanoServer-Guest-Package~31bf3856ad364e35~amd64~~10.0.14393.0
//! call :add "Microsoft-NanoServer-Guest-Package.cab" /IgnoreCheck
//! ```
//!
//! A package has one line for each id, then the call. Only lines that are just so count; a name or an id that the shell could take for more than letters
//! is not among them.

use super::FOLDER;
use crate::format::assembly::Identity;
use crate::windows::packages::installed::{identity_of_id, package_family};

pub(super) const TEMPLATE: &str = include_str!("../../../../templates/Packages.cmd");
pub(super) const SCRIPT: &str = "install.cmd";
/// Not `rem`, behind which percent signs and carets have a meaning.
const PACKAGE: &str = ":: package ";
const CALL: &str = "call :add ";
const IGNORE_CHECK: &str = "/IgnoreCheck";
/// The longest name that a package has in the queue.
const MAX_NAME: usize = 120;
/// The longest id. (The longest line that `cmd.exe` takes is 8191 characters.)
const MAX_ID: usize = 1024;

/// A package in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name of its file or folder.
    pub(super) name: String,
    /// The ids that it is known by.
    pub(super) packages: Vec<String>,
    /// Whether it goes in without regard to what it says of its parents.
    pub(super) ignore_check: bool,
}

impl Entry {
    pub(super) fn path(&self) -> String {
        format!(r"{FOLDER}\{}", self.name)
    }

    fn lines(&self) -> Vec<String> {
        let ids = self.packages.iter().map(|id| format!("{PACKAGE}{id}"));
        let options = if self.ignore_check { IGNORE_CHECK } else { "" };
        let call = format!("{CALL}\"{}\" {options}", self.name);
        ids.chain([call.trim_end().to_owned()]).collect()
    }

    fn identities(&self) -> Vec<Identity> {
        self.packages.iter().filter_map(|id| identity_of_id(id)).collect()
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.packages.iter().any(|own| own.eq_ignore_ascii_case(id))
    }

    /// Whether it has that name: of a package, or of its file with or without the ending.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let stem = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
        let of_packages = self.identities().iter().any(|identity| identity.name.eq_ignore_ascii_case(name));
        of_packages || [self.name.as_str(), stem].iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it takes the place of another one: it is the same package, or it has its name and is not known to be another.
    pub(super) fn replaces(&self, old: &Self) -> bool {
        if self.packages.iter().any(|id| old.has_id(id)) {
            return true;
        }
        let families = |entry: &Self| entry.identities().iter().map(package_family).collect::<Vec<_>>();
        let (own, others) = (families(self), families(old));
        let is_another = !own.is_empty() && !others.is_empty() && !own.iter().any(|family| others.contains(family));
        self.name.eq_ignore_ascii_case(&old.name) && !is_another
    }

    /// Whether it is the part for a language of another one.
    pub(super) fn is_language_of(&self, base: &Self) -> bool {
        let family = |identity: &Identity| package_family(&Identity { language: String::new(), ..identity.clone() });
        let bases: Vec<String> = base.identities().iter().filter(|base| base.is_neutral()).map(family).collect();
        let own = self.identities();
        !own.is_empty() && own.iter().all(|own| !own.is_neutral() && bases.contains(&family(own)))
    }

    /// Whether all that it is known by is among packages, in that version or a newer one.
    pub(super) fn is_among(&self, packages: &[Identity]) -> bool {
        let own = self.identities();
        let has = |own: &Identity| {
            let is_same = |other: &&Identity| package_family(other) == package_family(own);
            packages.iter().filter(is_same).any(|other| other.version >= own.version)
        };
        !own.is_empty() && own.iter().all(has)
    }
}

pub(super) fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let calls: Vec<String> = entries.iter().flat_map(Entry::lines).collect();
    let lines = TEMPLATE.lines().flat_map(|line| match line {
        "{packages}" => calls.iter().map(String::as_str).collect::<Vec<_>>(),
        _ => vec![line],
    });
    lines.flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes()
}

/// What an earlier script installs, each name once.
pub(super) fn read(script: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut packages: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(script).lines() {
        if let Some(id) = line.strip_prefix(PACKAGE) {
            packages.extend(Some(id).filter(|id| is_id(id)).map(str::to_owned));
            continue;
        }
        let packages = std::mem::take(&mut packages);
        let Some((name, ignore_check)) = call(line) else { continue };
        let is_new = !entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(name));
        if is_new && safe_name(name) == name && !name.eq_ignore_ascii_case(SCRIPT) {
            entries.push(Entry { name: name.to_owned(), packages, ignore_check });
        }
    }
    entries
}

/// What a line installs.
fn call(line: &str) -> Option<(&str, bool)> {
    let (name, options) = line.strip_prefix(CALL)?.strip_prefix('"')?.split_once('"')?;
    match options.trim() {
        "" => Some((name, false)),
        IGNORE_CHECK => Some((name, true)),
        _ => None,
    }
}

fn is_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._~-+".contains(c)
}

/// Whether a text is a package's id, and nothing that a batch file could take for more. One that is not is not written: such a package is
/// known by its file.
pub(super) fn is_id(text: &str) -> bool {
    let is_same = |identity: Identity| identity.package_id().eq_ignore_ascii_case(text);
    text.len() <= MAX_ID && text.chars().all(is_safe) && identity_of_id(text).is_some_and(is_same)
}

/// A name without anything that a batch file, or a list of options, would take for more than a letter.
pub(super) fn safe_name(name: &str) -> String {
    let mut name: String = name.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    let over = name.len().saturating_sub(MAX_NAME);
    name.drain(..over);
    let name = name.trim_start_matches(['-', '.']).trim_end_matches('.');
    if name.is_empty() || crate::base::name::windows_fault(name).is_some() { format!("p_{name}") } else { name.into() }
}

/// The name, or one like it that is not taken.
pub(super) fn free_name<'n>(name: &str, taken: impl Iterator<Item = &'n str>) -> String {
    let taken: Vec<&str> = taken.collect();
    let is_free = |name: &String| !taken.iter().any(|own| own.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number: u32| format!("{number}-{name}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}
