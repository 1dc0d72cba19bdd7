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
use crate::error::{Error, Result};
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
/// The most lines that packages have in a queue.
const MAX_LINES: usize = 1024;
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

/// # Errors
/// [`Unsupported`](crate::error::Kind::Unsupported) for too many.
pub(super) fn to_bytes(entries: &[Entry]) -> Result<Vec<u8>> {
    let calls: Vec<String> = entries.iter().flat_map(Entry::lines).collect();
    check_lines(calls.len())?;
    let lines = TEMPLATE.lines().flat_map(|line| match line {
        "{packages}" => calls.iter().map(String::as_str).collect::<Vec<_>>(),
        _ => vec![line],
    });
    Ok(lines.flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes())
}

fn check_lines(lines: usize) -> Result<()> {
    if lines <= MAX_LINES {
        return Ok(());
    }
    Err(Error::unsupported("lines of packages that wait for the first start").found(lines).allowed(MAX_LINES))
}

/// What an earlier script installs, each name once.
///
/// # Errors
/// [`Unsupported`](crate::error::Kind::Unsupported) for too much.
pub(super) fn read(script: &[u8]) -> Result<Vec<Entry>> {
    let text = String::from_utf8_lossy(script);
    check_lines(text.lines().filter(|line| line.starts_with(PACKAGE) || line.starts_with(CALL)).count())?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut packages: Vec<String> = Vec::new();
    for line in text.lines() {
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
    Ok(entries)
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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "Made-A-Package~0~amd64~~10.0.1.2";

    /// All labels that are gone to are there, each once: `cmd.exe` would end the script at one that is not.
    #[test]
    fn labels_are_there() {
        let labels: Vec<&str> = TEMPLATE.lines().filter_map(|line| line.strip_prefix(':')).collect();
        assert_eq!(labels, ["add", "ask", "restart", "wait", "again", "now"]);
        let words: Vec<&str> = TEMPLATE.split_whitespace().collect();
        let targets = words.windows(2).filter(|pair| pair[0] == "goto").map(|pair| pair[1]);
        assert!(targets.clone().count() >= 4 && targets.clone().all(|target| labels.contains(&target)));
        assert!(TEMPLATE.is_ascii());
    }

    #[test]
    fn names_cannot_speak_to_the_shell() {
        for (name, safe) in [
            ("a.cab", "a.cab"),
            ("a\" & del *.cab", "a____del__.cab"),
            ("%TEMP%^!", "_TEMP___"),
            ("", "p_"),
            ("..", "p_"),
            ("nul.cab", "p_nul.cab"),
            ("-x.", "x"),
            ("gr\u{fc}n.cab", "gr_n.cab"),
        ] {
            assert_eq!(safe_name(name), safe, "{name}");
        }
        assert_eq!(safe_name(&format!("{}.cab", "x".repeat(300))).len(), MAX_NAME);
        let evil = format!(
            "call :add \"a\" & format c:\r\ncall :add \"..\\x\"\r\n{PACKAGE}{BASE}\r\n{PACKAGE}a & del\r\n{PACKAGE}a~b\r\n\
             call :add \"good.cab\" /IgnoreCheck\r\n{PACKAGE}{BASE}\r\n\r\ncall :add \"b.cab\"\r\ncall :add \"B.cab\"\r\n\
             call :add \"install.cmd\"\r\ncall :add \"b\"x\r\n"
        );
        let entry = |name: &str, packages: &[&str], ignore_check| {
            let packages = packages.iter().map(|id| (*id).to_owned()).collect();
            Entry { name: name.into(), packages, ignore_check }
        };
        let entries = read(&[evil.as_bytes(), b"\xFF"].concat()).unwrap();
        assert_eq!(entries, [entry("good.cab", &[BASE], true), entry("b.cab", &[], false)]);
        assert_eq!(read(&to_bytes(&entries).unwrap()).unwrap(), entries);
        assert!(read("call :add \"a.cab\"\r\n".repeat(MAX_LINES).as_bytes()).is_ok());
        assert!(read("call :add \"a.cab\"\r\n".repeat(MAX_LINES + 1).as_bytes()).is_err());
        assert!(to_bytes(&vec![entry("a.cab", &[BASE], false); MAX_LINES / 2 + 1]).is_err());
    }

    #[test]
    fn ids_are_ids() {
        assert!(is_id(BASE) && is_id("Package_for_KB1~31bf3856ad364e35~amd64~de-DE~1.0.0.0"));
        let long = format!("{}~0~amd64~~1.0.0.0", "a".repeat(MAX_ID));
        for text in [
            "",
            "a",
            "a~b~c~d",
            "~0~amd64~~1.0.0.0",
            "%A%~0~amd64~~1.0.0.0",
            "A~0~amd64~~01.0.0.0",
            "A B~0~amd64~~1.0.0.0",
            &long,
        ] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn what_takes_whose_place() {
        let entry = |name: &str, id: &str| {
            let packages = Some(id).filter(|id| !id.is_empty()).map(str::to_owned).into_iter().collect();
            Entry { name: name.into(), packages, ignore_check: false }
        };
        let old = entry("a.cab", BASE);
        let german = BASE.replace("~~", "~de-DE~");
        for (new, replaces) in [
            (entry("b.cab", BASE), true),
            (entry("A.CAB", ""), true),
            (entry("a.cab", &BASE.replace("10.", "11.")), true),
            (entry("b.cab", &BASE.replace("10.", "11.")), false),
            (entry("a.cab", &german), false),
            (entry("b.cab", ""), false),
        ] {
            assert_eq!(new.replaces(&old), replaces, "{new:?}");
        }
        assert!(entry("b.cab", &german).is_language_of(&old) && !old.is_language_of(&entry("b.cab", &german)));
        assert!(!entry("b.cab", &german.replace("-A-", "-B-")).is_language_of(&old) && !old.is_language_of(&old));
        let of = |id: &str| [identity_of_id(id).unwrap()];
        assert!(old.is_among(&of(BASE)) && old.is_among(&of(&BASE.replace("10.", "11."))));
        assert!(!old.is_among(&of(&BASE.replace("10.", "9."))) && !old.is_among(&of(&german)));
        assert!(!entry("a.cab", "").is_among(&of(BASE)));
    }
}
