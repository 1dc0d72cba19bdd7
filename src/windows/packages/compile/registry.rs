//! `registryKeys`: keys and values.
//!
//! ```text
//! registryKey [keyName, owner]                                            securityDescriptor, systemProtection, overridable
//!   registryValue [name, valueType, value, operationHint, mutable, owner]   overridable
//! ```
//!
//! | valueType | value |
//! |---|---|
//! | REG_SZ, REG_EXPAND_SZ | text with variables |
//! | REG_DWORD, REG_DWORD_BIG_ENDIAN | `0x0000000A` |
//! | REG_QWORD | its bytes, `0A00000000000000`, or `0xA` |
//! | REG_BINARY, REG_NONE, REG_RESOURCE_LIST, ... | bytes; REG_NONE has `""` for none at all |
//! | REG_MULTI_SZ | `"a","b"`, or one text |
//! | eight hexadecimal digits | the number of a type; bytes |
//!
//! A value that others may change (`mutable`) or say otherwise (`overridable`) is set where there is none. `operationHint="append"` adds texts to a
//! REG_MULTI_SZ (LocalSessionManager adds itself to a group of svchost that way).

use std::collections::BTreeSet;

use super::files::is_one_of;
use super::security::Object;
use super::{Change, Compiler, DEFAULT_USER, EffectKind, Said, hex, needed, number, number_32, shortened, truth};
use crate::format::assembly::Element;
use crate::format::hive::{Value, kind};
use crate::tree::Tree;
use crate::windows::registry::hives;

const MACHINE: &str = "HKEY_LOCAL_MACHINE";
pub(super) const SOFTWARE: &str = r"HKEY_LOCAL_MACHINE\SOFTWARE";
/// The user of whom whoever comes has a copy: `\Users\Default`.
const NEW_USERS: &str = r"HKEY_USERS\Default";
/// Where what is for new users goes if there is no hive of theirs.
const OF_SYSTEM: &str = r"HKEY_USERS\.DEFAULT";
/// The longest name of a key and of a value (Microsoft, "Registry element size limits").
const MAX_KEY: usize = 255;
const MAX_VALUE: usize = 16_383;
/// The deepest key, by the same.
const MAX_DEPTH: usize = 512;

/// What a REG_NONE without any bytes has in manifests, beside nothing.
const EMPTY: &str = r#""""#;

/// Hives below HKLM that are files; the one that is not, HARDWARE, Windows makes whenever it starts.
const HIVES: [&str; 7] = ["SYSTEM", "SOFTWARE", "SAM", "SECURITY", "DRIVERS", "COMPONENTS", "ELAM"];
/// Users that every Windows has.
const USERS: [&str; 4] = [".DEFAULT", "S-1-5-18", "S-1-5-19", "S-1-5-20"];

/// Keys below `SOFTWARE\Classes` that 32-bit programs have of their own (Microsoft, "Registry Keys Affected by WOW64": Windows 7 and later).
const CLASSES_APART: [&str; 5] = ["CLSID", "DirectShow", "Interface", "Media Type", "MediaFoundation"];
/// Keys below `SOFTWARE` that they share (there).
const SHARED: [&str; 48] = [
    r"Clients",
    r"Microsoft\COM3",
    r"Microsoft\Cryptography\Calais\Current",
    r"Microsoft\Cryptography\Calais\Readers",
    r"Microsoft\Cryptography\Services",
    r"Microsoft\CTF\SystemShared",
    r"Microsoft\CTF\TIP",
    r"Microsoft\DFS",
    r"Microsoft\Driver Signing",
    r"Microsoft\EnterpriseCertificates",
    r"Microsoft\EventSystem",
    r"Microsoft\MSMQ",
    r"Microsoft\Non-Driver Signing",
    r"Microsoft\Notepad\DefaultFonts",
    r"Microsoft\OLE",
    r"Microsoft\RAS",
    r"Microsoft\RPC",
    r"Microsoft\Shared Tools\MSInfo",
    r"Microsoft\SystemCertificates",
    r"Microsoft\TermServLicensing",
    r"Microsoft\Transaction Server",
    r"Microsoft\Windows\CurrentVersion\App Paths",
    r"Microsoft\Windows\CurrentVersion\Control Panel\Cursors\Schemes",
    r"Microsoft\Windows\CurrentVersion\Explorer\AutoplayHandlers",
    r"Microsoft\Windows\CurrentVersion\Explorer\DriveIcons",
    r"Microsoft\Windows\CurrentVersion\Explorer\KindMap",
    r"Microsoft\Windows\CurrentVersion\Group Policy",
    r"Microsoft\Windows\CurrentVersion\Policies",
    r"Microsoft\Windows\CurrentVersion\PreviewHandlers",
    r"Microsoft\Windows\CurrentVersion\Setup",
    r"Microsoft\Windows\CurrentVersion\Telephony\Locations",
    r"Microsoft\Windows NT\CurrentVersion\Console",
    r"Microsoft\Windows NT\CurrentVersion\FontDpi",
    r"Microsoft\Windows NT\CurrentVersion\FontLink",
    r"Microsoft\Windows NT\CurrentVersion\FontMapper",
    r"Microsoft\Windows NT\CurrentVersion\Fonts",
    r"Microsoft\Windows NT\CurrentVersion\FontSubstitutes",
    r"Microsoft\Windows NT\CurrentVersion\Gre_Initialize",
    r"Microsoft\Windows NT\CurrentVersion\Image File Execution Options",
    r"Microsoft\Windows NT\CurrentVersion\LanguagePack",
    r"Microsoft\Windows NT\CurrentVersion\NetworkCards",
    r"Microsoft\Windows NT\CurrentVersion\Perflib",
    r"Microsoft\Windows NT\CurrentVersion\Ports",
    r"Microsoft\Windows NT\CurrentVersion\Print",
    r"Microsoft\Windows NT\CurrentVersion\ProfileList",
    r"Microsoft\Windows NT\CurrentVersion\Time Zones",
    r"Policies",
    r"RegisteredApplications",
];

impl Compiler<'_> {
    pub(super) fn registry_keys(&mut self) {
        for key in self.document.children("registryKeys").flat_map(|keys| keys.children("registryKey")) {
            self.registry_key(key);
        }
    }

    fn registry_key(&mut self, element: &Element) {
        element.mark_attributes(|name| is_one_of(name, &["owner", "perUserVirtualization", "buildFilter"]));
        element.children("systemProtection").for_each(Element::mark_all);
        let named = element.attribute("keyName").unwrap_or_default();
        let said = needed(element, "keyName").and_then(|name| self.key(name));
        let Some(key) = self.or_leave(element, format_args!("registryKey {}", shortened(named)), said) else { return };
        let is_overridable = element.child("overridable").inspect(|mark| mark.mark_all()).is_some();
        let descriptor = self.descriptor(element, &key, Object::Key);
        let mut changes = vec![Change::Key { key: key.clone(), descriptor }];
        let mut names = Vec::new();
        for value in element.children("registryValue") {
            let name = value.attribute("name").unwrap_or_default();
            let what = format!("registryValue '{}' of {key}", shortened(name));
            let said = self.registry_value(value, &key, is_overridable);
            let Some(change) = self.or_leave(value, what, said) else { continue };
            names.push(if name.is_empty() { "(default)".to_owned() } else { shortened(name) });
            changes.push(change);
        }
        self.add(EffectKind::Registry, summary(&key, &names), changes);
    }

    fn registry_value(&self, element: &Element, key: &str, is_overridable: bool) -> Said<Change> {
        element.mark_attributes(|name| is_one_of(name, &["owner", "perUserVirtualization", "buildFilter"]));
        let is_overridable = element.child("overridable").inspect(|mark| mark.mark_all()).is_some() || is_overridable;
        let is_mutable = match element.filled("mutable") {
            Some(text) => truth(text).ok_or_else(|| format!("mutable is '{}'", shortened(text)))?,
            None => false,
        };
        let name = self.text(element.attribute("name").unwrap_or_default())?;
        if name.encode_utf16().count() > MAX_VALUE || name.contains('\0') {
            return Err("its name is too long for a value".to_owned());
        }
        let value = self.value(needed(element, "valueType")?, element.attribute("value").unwrap_or_default())?;
        let key = key.to_owned();
        match (element.filled("operationHint").map(str::to_ascii_lowercase).as_deref(), value) {
            (None | Some("replace"), Read::Texts(texts)) => {
                Ok(Change::Value { key, name, value: Value::multi_sz(texts), if_absent: is_mutable || is_overridable })
            }
            (None | Some("replace"), Read::Value(value)) => {
                Ok(Change::Value { key, name, value, if_absent: is_mutable || is_overridable })
            }
            (Some("append"), Read::Texts(texts)) => Ok(Change::Append { key, name, texts, first: false }),
            (Some("append"), Read::Value(_)) => Err("only to a REG_MULTI_SZ it is known how to append".to_owned()),
            (Some(other), _) => Err(format!("operationHint is '{}'; known are replace and append", shortened(other))),
        }
    }

    fn value(&self, kind: &str, text: &str) -> Said<Read> {
        let odd = |what: &str| format!("'{}' is no {what}", shortened(text));
        let bytes = || hex(text).ok_or_else(|| odd("row of bytes"));
        let value = match kind.to_ascii_uppercase().as_str() {
            "REG_SZ" => Value::sz(&self.sound_text(text)?),
            "REG_EXPAND_SZ" => Value::expand_sz(&self.sound_text(text)?),
            "REG_MULTI_SZ" => return Ok(Read::Texts(texts(&self.sound_text(text)?)?)),
            "REG_DWORD" | "REG_DWORD_LITTLE_ENDIAN" => {
                Value::dword(hexadecimal(text).ok_or_else(|| odd("0x........"))?)
            }
            "REG_DWORD_BIG_ENDIAN" => {
                let number: u32 = hexadecimal(text).ok_or_else(|| odd("0x........"))?;
                Value::new(kind::DWORD_BIG_ENDIAN, number.to_be_bytes())
            }
            "REG_QWORD" | "REG_QWORD_LITTLE_ENDIAN" => {
                Value::qword(quad(text).ok_or_else(|| odd("number of eight bytes"))?)
            }
            "REG_BINARY" => Value::binary(bytes()?),
            "REG_NONE" if text.trim() == EMPTY => Value::new(kind::NONE, []),
            "REG_NONE" => Value::new(kind::NONE, bytes()?),
            "REG_RESOURCE_LIST" => Value::new(8, bytes()?),
            "REG_FULL_RESOURCE_DESCRIPTOR" => Value::new(9, bytes()?),
            "REG_RESOURCE_REQUIREMENTS_LIST" => Value::new(10, bytes()?),
            numeric if numeric.len() == 8 => {
                let number = u32::from_str_radix(numeric, 16).ok().filter(|_| !numeric.starts_with('+'));
                Value::new(number.ok_or_else(|| format!("valueType '{numeric}' is not known"))?, bytes()?)
            }
            other => return Err(format!("valueType '{}' is not known", shortened(other))),
        };
        Ok(Read::Value(value))
    }

    /// A text for the registry, where a NUL ends every text.
    fn sound_text(&self, text: &str) -> Said<String> {
        self.text(text)
            .and_then(|text| if text.contains('\0') { Err("a text with a NUL".to_owned()) } else { Ok(text) })
    }

    /// A key as the plan names it, in a hive that the image has.
    pub(super) fn key(&self, name: &str) -> Said<String> {
        let key = self.named_key(name)?;
        match self.target.lacks.iter().find(|hive| is_at_or_below(&key, hive)) {
            Some(hive) => {
                Err(format!("the image has no file for the hive {hive}, which its Windows makes when it runs"))
            }
            None => Ok(key),
        }
    }

    fn named_key(&self, name: &str) -> Said<String> {
        let name = self.text(name)?;
        let parts: Vec<&str> = name.split('\\').filter(|part| !part.is_empty()).collect();
        let (root, below) = parts.split_first().ok_or("it names no key")?;
        if let Some(part) = below.iter().find(|part| part.encode_utf16().count() > MAX_KEY || part.contains('\0')) {
            return Err(format!("'{}' is no name of a key", shortened(part)));
        }
        if below.len() > MAX_DEPTH {
            return Err(format!("keys are at most {MAX_DEPTH} deep"));
        }
        let first = below.first().copied().unwrap_or_default();
        let of = |known: &'static [&'static str]| known.iter().find(|one| one.eq_ignore_ascii_case(first)).copied();
        let rest = below.get(1..).unwrap_or_default().join(r"\");
        let joined =
            |start: &str, rest: &str| if rest.is_empty() { start.to_owned() } else { format!(r"{start}\{rest}") };
        match root.to_ascii_uppercase().as_str() {
            "HKEY_LOCAL_MACHINE" | "HKLM" => match of(&HIVES) {
                Some("SOFTWARE") => Ok(joined(SOFTWARE, &self.below_software(&rest))),
                Some(hive) => Ok(joined(&format!(r"{MACHINE}\{hive}"), &rest)),
                None => Err(format!(r"no file holds HKEY_LOCAL_MACHINE\{}", shortened(first))),
            },
            "HKEY_CLASSES_ROOT" | "HKCR" => {
                Ok(joined(SOFTWARE, &self.below_software(&joined("Classes", &below.join(r"\")))))
            }
            "HKEY_CURRENT_CONFIG" | "HKCC" => {
                let start = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Hardware Profiles\Current";
                Ok(joined(start, &below.join(r"\")))
            }
            "HKEY_CURRENT_USER" | "HKCU" => Ok(joined(NEW_USERS, &below.join(r"\"))),
            "HKEY_USERS" | "HKU" => match of(&USERS) {
                Some(user) => Ok(joined(&format!(r"HKEY_USERS\{user}"), &rest)),
                None => Err(format!("'{}' is no user that every Windows has", shortened(first))),
            },
            _ => Err(format!("'{}' is no root of the registry", shortened(root))),
        }
    }

    /// Where a component finds a key below `SOFTWARE`.
    pub(super) fn below_software(&self, path: &str) -> String {
        if !self.is_guest || path.is_empty() || is_at_or_below(path, "Wow6432Node") {
            return path.to_owned();
        }
        if is_at_or_below(path, "Classes") {
            let below = path.get("Classes".len() + 1..).unwrap_or_default();
            let is_apart = CLASSES_APART.iter().any(|apart| is_at_or_below(below, apart));
            return if is_apart { format!(r"Classes\Wow6432Node\{below}") } else { path.to_owned() };
        }
        if SHARED.iter().any(|shared| is_at_or_below(path, shared)) {
            return path.to_owned();
        }
        format!(r"Wow6432Node\{path}")
    }
}

/// The hives that manifests may name and that no file of an image holds, as the keys that Windows shows them under.
pub(in crate::windows::packages) fn lacking(tree: &Tree) -> BTreeSet<String> {
    let present: BTreeSet<String> = hives(tree).into_iter().map(|(key, _)| key).collect();
    let machine = HIVES.iter().map(|hive| format!(r"{MACHINE}\{hive}"));
    let users = USERS.iter().map(|user| format!(r"HKEY_USERS\{user}"));
    let mut lacking: BTreeSet<String> = machine.chain(users).filter(|key| !present.contains(key)).collect();
    if tree.find(DEFAULT_USER).is_none() && lacking.contains(OF_SYSTEM) {
        lacking.insert(NEW_USERS.to_owned());
    }
    lacking
}

enum Read {
    Value(Value),
    Texts(Vec<String>),
}

fn is_at_or_below(path: &str, key: &str) -> bool {
    let start = path.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key));
    start && path[key.len()..].chars().next().is_none_or(|next| next == '\\')
}

/// One line for a key: its first values by name, and how many more.
fn summary(key: &str, names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => key.to_owned(),
        count if count > SHOWN => format!("{key}: {shown} and {} more", count - SHOWN),
        _ => format!("{key}: {shown}"),
    }
}

/// `0x0000000A`. Without the `0x` nobody can tell ten from sixteen.
fn hexadecimal(text: &str) -> Option<u32> {
    text.trim().get(..2).filter(|start| start.eq_ignore_ascii_case("0x")).and_then(|_| number_32(text))
}

/// Eight bytes in their order, or a number.
fn quad(text: &str) -> Option<u64> {
    match text.trim().get(..2) {
        Some(start) if start.eq_ignore_ascii_case("0x") => number(text),
        _ => Some(u64::from_le_bytes(hex(text)?.try_into().ok()?)),
    }
}

/// `"a","b"`, or one text without quotes.
pub(super) fn texts(text: &str) -> Said<Vec<String>> {
    let text = text.trim();
    let Some(mut rest) = text.strip_prefix('"') else {
        return Ok(Some(text).filter(|text| !text.is_empty()).map(str::to_owned).into_iter().collect());
    };
    let mut texts = Vec::new();
    loop {
        let end = rest.match_indices('"').map(|(at, _)| at).find(|at| {
            let after = rest[at + 1..].trim_start();
            after.is_empty() || after.starts_with(',')
        });
        let end = end.ok_or_else(|| format!("'{}' is no list of texts in quotes", shortened(text)))?;
        texts.push(rest[..end].to_owned());
        rest = rest[end + 1..].trim_start();
        match rest.strip_prefix(',').map(str::trim_start) {
            None => break,
            Some(next) => rest = next.strip_prefix('"').ok_or_else(|| format!("'{}' ends oddly", shortened(text)))?,
        }
    }
    match texts.iter().position(String::is_empty) {
        None => Ok(texts),
        Some(0) if texts.len() == 1 => Ok(Vec::new()),
        Some(_) => Err("an empty text among others would end the list for every reader".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_quotes() {
        let of = |text: &str| texts(text).unwrap();
        assert_eq!(of(r#""a","b c""#), ["a", "b c"]);
        assert_eq!(of(r#" "a" , "say "x" twice" "#), ["a", r#"say "x" twice"#]);
        assert_eq!(of(r"C:\a.exe"), [r"C:\a.exe"]);
        assert!(of("").is_empty() && of(r#""""#).is_empty());
        for text in [r#"""#, r#""a"#, r#""a","#, r#""a",b"#, r#""a","""#, r#""a""b"#] {
            assert!(texts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_say_what_they_are() {
        assert_eq!(hexadecimal("0x0000000A"), Some(10));
        assert_eq!(quad("0A88000000000000"), Some(0x880A));
        assert_eq!(quad("0x10"), Some(16));
        for text in ["10", "0x", "0x+1", "0x100000000", "", "x", "\u{e4}0x1"] {
            assert_eq!(hexadecimal(text), None, "{text}");
        }
        for text in ["", "0A", "0A880000000000000", "0A8800000000000G", "0x10000000000000000"] {
            assert_eq!(quad(text), None, "{text}");
        }
    }
}
