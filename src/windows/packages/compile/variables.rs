//! `$(runtime.system32)` and other variables.
//!
//! Folders have one place for the components of the Windows itself and another for 32-bit components of a 64-bit Windows. In paths they begin at the
//! root of the image; in texts that the registry gets, at the drive that the running Windows calls its own (`C:\Windows\System32\Spectrum.exe`, from
//! `$(runtime.system32)\Spectrum.exe`, is in the SYSTEM hive of a Windows 10).
//!
//! The names are those of Microsoft's documents on packages ("Windows universal OEM package schema"), without those that have no fixed place.

use std::collections::BTreeMap;

use super::{Compiler, Said, shortened};
use crate::format::assembly::Element;
use crate::format::ntfs;

/// The drive of the running Windows.
const DRIVE: &str = "C:";
/// The longest path: `UNICODE_STRING_MAX_CHARS`.
const MAX_PATH: usize = 32_767;
/// The longest name of a file, in UTF-16 units.
const MAX_NAME: usize = 255;
/// The longest text that may come of one that has variables. Values without any may be as long as they are.
const MAX_TEXT: usize = 64 << 10;

/// Folders: their names in lower case, where they are, and where they are for 32-bit components of a 64-bit Windows.
const FOLDERS: [(&str, &str, Option<&str>); 26] = [
    ("apppatch", r"\Windows\apppatch", None),
    ("bootdrive", "", None),
    ("commonfiles", r"\Program Files\Common Files", Some(r"\Program Files (x86)\Common Files")),
    ("documentsettings", r"\Users", None),
    ("documentssettings", r"\Users", None),
    ("drivers", r"\Windows\System32\drivers", Some(r"\Windows\SysWOW64\drivers")),
    ("fonts", r"\Windows\Fonts", None),
    ("help", r"\Windows\Help", None),
    ("inf", r"\Windows\INF", None),
    ("programdata", r"\ProgramData", None),
    ("programfiles", r"\Program Files", Some(r"\Program Files (x86)")),
    ("public", r"\Users\Public", None),
    ("servicing", r"\Windows\servicing", None),
    ("startmenu", r"\ProgramData\Microsoft\Windows\Start Menu", None),
    ("system", r"\Windows\System", None),
    ("system32", r"\Windows\System32", Some(r"\Windows\SysWOW64")),
    ("systemdrive", "", None),
    ("systemroot", r"\Windows", None),
    ("userprofile", r"\Users\Default", None),
    ("wbem", r"\Windows\System32\wbem", Some(r"\Windows\SysWOW64\wbem")),
    ("windir", r"\Windows", None),
    ("windows", r"\Windows", None),
    // Those that a 32-bit Windows has not, or not by these names.
    ("commonfilesx86", r"\Program Files (x86)\Common Files", None),
    ("programfilesx86", r"\Program Files (x86)", None),
    ("systemx86", r"\Windows\SysWOW64", None),
    ("syswow64", r"\Windows\SysWOW64", None),
];

/// Names that Windows takes for devices, with whatever ending.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

impl Compiler<'_> {
    /// A text, its folders as the running Windows knows them.
    pub(super) fn text(&self, text: &str) -> Said<String> {
        expand(text, |name| {
            Ok(match self.folder(name) {
                Some(folder) => format!("{DRIVE}{folder}"),
                None => self.string(name)?.to_owned(),
            })
        })
    }

    /// A path of the image, which has to begin with a folder: `\Windows\System32\OpenSSH`, nothing for the root.
    pub(super) fn path(&self, text: &str) -> Said<String> {
        if !text.starts_with("$(") {
            return Err(format!("'{}' begins with no folder of Windows", shortened(text)));
        }
        let path = expand(text, |name| {
            let folder = self.folder(name).ok_or_else(|| unknown(name))?;
            Ok(folder.to_owned())
        })?;
        let parts = sound(&path)?;
        if parts.is_empty() { Ok(parts) } else { not_of_the_volume(format!(r"\{parts}")) }
    }

    fn folder(&self, name: &str) -> Option<&'static str> {
        const OF_WOW64: [(&str, Option<&str>); 4] = [
            ("commonfilesx86", Some(r"\Program Files\Common Files")),
            ("programfilesx86", Some(r"\Program Files")),
            ("systemx86", None),
            ("syswow64", None),
        ];
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("runtime.")?;
        if !self.is_64_bit()
            && let Some((_, folder)) = OF_WOW64.iter().find(|(of_wow64, _)| *of_wow64 == name)
        {
            return *folder;
        }
        let (_, own, guest) = FOLDERS.iter().find(|(folder, ..)| *folder == name)?;
        Some(guest.filter(|_| self.is_guest).unwrap_or(own))
    }

    /// `$(string.id)`, `$(resourceString.id)`.
    fn string(&self, name: &str) -> Said<&str> {
        let lowered = name.to_lowercase();
        let id = lowered.strip_prefix("string.").or_else(|| lowered.strip_prefix("resourcestring."));
        let text = id.and_then(|id| self.strings.get(id));
        text.copied().ok_or_else(|| unknown(name))
    }
}

/// The texts of a manifest in a language; else those that it has first.
pub(super) fn strings<'d>(document: &'d Element, language: &str) -> BTreeMap<String, &'d str> {
    let mut tables: Vec<(&str, &Element)> = Vec::new();
    for resources in document.children("localization").flat_map(|found| found.children("resources")) {
        let culture = resources.attribute("culture").unwrap_or_default();
        tables.extend(resources.children("stringTable").map(|table| (culture, table)));
    }
    // The one that counts comes last.
    tables.reverse();
    tables.sort_by_key(|(culture, _)| culture.eq_ignore_ascii_case(language));
    let mut strings = BTreeMap::new();
    for string in tables.iter().flat_map(|(_, table)| table.children("string")) {
        if let (Some(id), Some(value)) = (string.attribute("id"), string.attribute("value")) {
            strings.insert(id.to_lowercase(), value);
        }
    }
    strings
}

fn unknown(name: &str) -> String {
    let lowered = name.to_ascii_lowercase();
    let name = shortened(name);
    if lowered.starts_with("dependentassembly.") {
        format!("$({name}) is the folder of another component in the store, which is known where that one is installed")
    } else if lowered.starts_with("build.") {
        format!("$({name}) is a variable of Microsoft's build, and not of any Windows")
    } else {
        format!("the variable $({name}) is not known")
    }
}

/// A text with what its variables mean.
fn expand(text: &str, mut meaning: impl FnMut(&str) -> Said<String>) -> Said<String> {
    let Some(_) = text.find("$(") else { return Ok(text.to_owned()) };
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("$(") {
        let (before, variable) = rest.split_at(at);
        let (name, after) = variable[2..].split_once(')').ok_or("a variable does not end")?;
        expanded += before;
        expanded += &meaning(name)?;
        rest = after;
        if expanded.len() > MAX_TEXT {
            return Err(format!("with its variables it is longer than {MAX_TEXT} bytes"));
        }
    }
    Ok(expanded + rest)
}

/// A path below some folder: names with a `\` between them, none at its ends. Nothing of it leads elsewhere, and nothing is a device.
pub(super) fn sound(path: &str) -> Said<String> {
    let parts: Vec<&str> = path.split(['\\', '/']).filter(|part| !part.is_empty()).collect();
    match parts.iter().find(|part| !is_sound(part)) {
        Some(part) => Err(format!("'{}' is no name of a file: '{}'", shortened(part), shortened(path))),
        None if path.len() > MAX_PATH => Err(format!("a path is longer than {MAX_PATH} bytes")),
        None => Ok(parts.join(r"\")),
    }
}

/// A path of the image, unless its first name is one that every volume has for itself.
pub(super) fn not_of_the_volume(path: String) -> Said<String> {
    match path.split('\\').nth(1).filter(|name| ntfs::is_system_name(name)) {
        Some(name) => Err(format!("'{name}' in the root is a name that the volume has for itself")),
        None => Ok(path),
    }
}

fn is_sound(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = ["COM", "LPT"].iter().find_map(|device| stem.strip_prefix(device));
    let is_port =
        numbered.is_some_and(|number| number.chars().count() == 1 && "0123456789\u{b9}\u{b2}\u{b3}".contains(number));
    !name.ends_with(['.', ' '])
        && !name.contains(|c: char| c < ' ' || r#":*?"<>|"#.contains(c))
        && !DEVICES.contains(&stem.as_str())
        && !is_port
        && name.encode_utf16().count() <= MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_image() {
        assert_eq!(sound(r"\a\\b/c.d\").as_deref(), Ok(r"a\b\c.d"));
        assert_eq!(sound("").as_deref(), Ok(""));
        for path in [
            "..",
            r"a\..\b",
            "a.",
            "a ",
            "c:",
            "x:stream",
            "*",
            "nul",
            "CON.txt",
            r"a\com1.log",
            "LPT\u{b9}",
            "a\0",
            "conin$ .x",
        ] {
            assert!(sound(path).is_err(), "{path:?}");
        }
        assert!(sound(&"a".repeat(256)).is_err());
        assert!(sound("console.txt").is_ok() && sound("com10").is_ok() && sound("com").is_ok());
    }

    #[test]
    fn names_of_the_volume_are_not_taken() {
        for path in [r"\$MFT", r"\$mft", r"\$Extend\a", r"\$BOOT"] {
            assert!(not_of_the_volume(path.into()).is_err(), "{path}");
        }
        for path in ["", r"\", r"\$MFTX", r"\a\$MFT", r"\$Recycle.Bin\a"] {
            assert_eq!(not_of_the_volume(path.into()).as_deref(), Ok(path));
        }
    }

    #[test]
    fn variables_end() {
        let twice = |name: &str| Ok(format!("<{name}>"));
        assert_eq!(expand("a$(b)c$(d)", twice).as_deref(), Ok("a<b>c<d>"));
        assert!(expand("$(b", twice).is_err());
        assert_eq!(expand("$()", twice).as_deref(), Ok("<>"));
        assert_eq!(expand("no variable $", twice).as_deref(), Ok("no variable $"));
        assert!(expand(&"$(a)".repeat(200), |_| Ok("b".repeat(4096))).is_err());
    }

    #[test]
    fn folders_are_in_order_of_their_kind() {
        let names: std::collections::BTreeSet<_> = FOLDERS.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), FOLDERS.len());
        assert!(FOLDERS.iter().all(|(name, ..)| name.to_ascii_lowercase() == **name));
    }
}
