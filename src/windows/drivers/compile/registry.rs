//! `AddReg`, `DelReg` and `BitReg`: lines about keys and values, and what they come to below a configuration, below a service, or for
//! the registry at large.
//!
//! Flags are those of setupapi.h (Microsoft, "INF AddReg directive", "INF DelReg directive").

use super::folders::{self, Folder};
use super::library::Line;
use super::{Compiler, number};
use crate::base::Machine;
use crate::error::Result;
use crate::format::hive::{Value, kind};
use crate::windows::drivers::{ConfigurationValue, REPOSITORY, RegistryAction, RegistryChange, database_flag};

/// The data are bytes: the upper half of the flags is the type.
const BINARY: u32 = 0x0000_0001;
const NO_CLOBBER: u32 = 0x0000_0002;
/// The value goes, and where none is named the key.
const DELETE: u32 = 0x0000_0004;
const APPEND: u32 = 0x0000_0008;
const KEY_ONLY: u32 = 0x0000_0010;
/// Only over a value that is there.
const OVERWRITE_ONLY: u32 = 0x0000_0020;
const KEY_ONLY_COMMON: u32 = 0x0000_2000;
/// The key is that of 32-bit programs.
const VIEW_32: u32 = 0x0000_4000;
/// Of DelReg: the text goes from the list that the value is.
const DELETE_TEXT: u32 = 0x0001_8002;

/// The root of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// `HKR`: where it is depends on the section.
    Relative,
    /// Any other, as Windows spells it out.
    Absolute(&'static str),
}

impl Root {
    fn parse(text: &str) -> Option<Self> {
        let roots = [
            ("HKR", Self::Relative),
            ("HKLM", Self::Absolute("HKEY_LOCAL_MACHINE")),
            ("HKCR", Self::Absolute("HKEY_CLASSES_ROOT")),
            ("HKU", Self::Absolute("HKEY_USERS")),
            ("HKCU", Self::Absolute("HKEY_CURRENT_USER")),
        ];
        roots.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, root)| root)
    }
}

/// A line about the registry, understood.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub root: Root,
    /// The key below the root.
    pub key: String,
    pub what: What,
    /// Its line in the package's INF file.
    pub line: usize,
}

/// What it does to its key.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// The key is made.
    Make,
    /// A value is set; with [`NO_CLOBBER`] and [`APPEND`] as far as they are set.
    Set(String, Value, u32),
    DeleteValue(String),
    DeleteKey,
}

impl Compiler<'_> {
    /// What the sections of an `AddReg`, `DelReg` or `BitReg` do.
    pub(super) fn registry(&mut self, line: &Line) -> Result<Vec<Change>> {
        let directive = line.entry.first().to_owned();
        let mut changes = Vec::new();
        for name in line.names(0) {
            for line in self.referenced(line, &directive, &name)? {
                let change = if directive.eq_ignore_ascii_case("AddReg") {
                    self.add_line(&line)?
                } else if directive.eq_ignore_ascii_case("DelReg") {
                    self.delete_line(&line)
                } else {
                    self.note(&line, format!("[{name}]: bits of values are left to Windows"));
                    None
                };
                changes.extend(change);
            }
        }
        Ok(changes)
    }

    /// Changes below a configuration; what is not relative joins the changes of the registry.
    pub(super) fn below_configuration(&mut self, changes: Vec<Change>, folder: &str) -> Vec<ConfigurationValue> {
        let relative = self.relative(changes);
        relative.into_iter().map(|change| in_database(&change, folder)).collect()
    }

    /// The changes that are relative; others join the changes of the registry at large.
    pub(super) fn relative(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let mut relative = Vec::new();
        for change in changes {
            match change.root {
                Root::Relative => relative.push(change),
                Root::Absolute(root) => self.at_large(root, change),
            }
        }
        relative
    }

    fn at_large(&mut self, root: &str, change: Change) {
        let action = match change.what {
            What::Make => RegistryAction::Make,
            What::Set(name, value, flags) if flags & APPEND != 0 => RegistryAction::Append(name, texts(&value)),
            What::Set(name, value, flags) if flags & NO_CLOBBER != 0 => RegistryAction::SetIfAbsent(name, value),
            What::Set(name, value, _) => RegistryAction::Set(name, value),
            What::DeleteValue(name) => RegistryAction::DeleteValue(name),
            What::DeleteKey => RegistryAction::DeleteKey,
        };
        let change = RegistryChange { key: folders::join(root, &change.key), action, line: change.line };
        if self.seen_changes.insert(format!("{change:?}")) {
            self.changes.push(change);
        }
    }

    /// `root, key, value, flags, data...`
    fn add_line(&mut self, line: &Line) -> Result<Option<Change>> {
        let Some((root, key)) = self.root_and_key(line) else { return Ok(None) };
        let name = self.text(line, 2, false);
        let written = line.field(3);
        let flags = number(&written).unwrap_or_else(|| {
            if !written.is_empty() {
                self.note(line, format!("flags {written:?} are no number: taken as 0, as Windows does"));
            }
            0
        });
        let key = self.view(root, key, flags);
        let what = if flags & (KEY_ONLY | KEY_ONLY_COMMON) != 0 {
            What::Make
        } else if flags & DELETE != 0 {
            let Some(what) = self.deletion(line, &key, name) else { return Ok(None) };
            what
        } else if flags & OVERWRITE_ONLY != 0 {
            self.note(line, format!("{name}: is only to replace a value that is there (flag 20h): left to Windows"));
            return Ok(None);
        } else if name.is_empty() && line.entry.fields.len() <= 2 {
            What::Make
        } else {
            let value = self.value(line, flags)?;
            let kept = flags & (NO_CLOBBER | if value.kind == kind::MULTI_SZ { APPEND } else { 0 });
            What::Set(name, value, kept)
        };
        Ok(Some(Change { root, key, what, line: self.line_of(line) }))
    }

    /// `root, key, value, flags, text`
    fn delete_line(&mut self, line: &Line) -> Option<Change> {
        let (root, key) = self.root_and_key(line)?;
        let name = self.text(line, 2, false);
        let flags = number(&line.field(3)).unwrap_or(0);
        if flags & DELETE_TEXT == DELETE_TEXT {
            self.note(line, format!("{name}: that a text leaves the list is left to Windows"));
            return None;
        }
        let key = self.view(root, key, flags);
        let what = self.deletion(line, &key, name)?;
        Some(Change { root, key, what, line: self.line_of(line) })
    }

    /// The value goes, or where none is named the key; what names neither would take all that there is.
    fn deletion(&mut self, line: &Line, key: &str, name: String) -> Option<What> {
        if key.is_empty() && name.is_empty() {
            self.note(line, "names neither key nor value: left out".to_owned());
            return None;
        }
        Some(if name.is_empty() { What::DeleteKey } else { What::DeleteValue(name) })
    }

    fn root_and_key(&mut self, line: &Line) -> Option<(Root, String)> {
        let written = if line.entry.key.is_some() { String::new() } else { line.field(0) };
        let root = Root::parse(&written);
        if root.is_none() {
            let shown = line.entry.key.as_deref().unwrap_or(&written);
            self.note(line, format!("{shown}: no line about the registry (HKR, HKLM, HKCR, HKU, HKCU): left out"));
        }
        let key = self.text(line, 1, false);
        let parts: Vec<&str> = key.split('\\').filter(|part| !part.is_empty()).collect();
        Some((root?, parts.join(r"\")))
    }

    /// Below `HKLM\Software`, 32-bit programs of a 64-bit Windows have keys of their own.
    fn view(&self, root: Root, key: String, flags: u32) -> String {
        const SOFTWARE: &str = r"software\";
        let wide = self.target.machine != Machine::X86 && flags & VIEW_32 != 0;
        let below = key.get(..SOFTWARE.len()).filter(|start| start.eq_ignore_ascii_case(SOFTWARE));
        match (root, below) {
            (Root::Absolute("HKEY_LOCAL_MACHINE"), Some(_)) if wide => {
                format!(r"SOFTWARE\WOW6432Node\{}", &key[SOFTWARE.len()..])
            }
            _ => key,
        }
    }

    /// A field with strings and folders (`%12%`) in their places. In a value that programs expand a folder is `%SystemRoot%\...`, in
    /// others it is on `C:`, as it is in every Windows that started from a disk of its own.
    pub(super) fn text(&self, line: &Line, field: usize, expands: bool) -> String {
        let folder_of = |token: &str| {
            let path = match folders::folder(token.parse().ok()?, self.target.machine) {
                Folder::Image(path) => path,
                Folder::Store => format!(r"{}\{}", REPOSITORY, self.package_name),
                Folder::Unknown => return None,
            };
            Some(if expands { folders::in_registry(&path) } else { format!("C:{path}") })
        };
        line.source.inf.expand_with(line.entry.field(field), folder_of).into_owned()
    }

    fn value(&mut self, line: &Line, flags: u32) -> Result<Value> {
        let fields = 4..line.entry.fields.len();
        let kind = flags >> 16;
        Ok(match (flags & BINARY != 0, kind) {
            (false, 0) => Value::sz(&self.text(line, 4, false)),
            (false, 1) => {
                let texts: Vec<String> = fields.map(|field| self.text(line, field, true)).collect();
                Value::multi_sz(texts.iter().filter(|text| !text.is_empty()))
            }
            (false, 2) => Value::expand_sz(&self.text(line, 4, true)),
            (true, 1) => Value::dword(dword(line)?),
            (true, 2) => Value::new(kind::NONE, bytes(line)?),
            (true, 0) => Value::binary(bytes(line)?),
            (true, kind) => Value::new(kind, bytes(line)?),
            (false, kind) => {
                self.note(line, format!("type {kind} without flag 1: the data are taken as bytes"));
                Value::new(kind, bytes(line)?)
            }
        })
    }
}

/// The texts of a REG_MULTI_SZ, or the one text of a REG_SZ.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let units: Vec<u16> = value.data.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    units.split(|unit| *unit == 0).filter(|text| !text.is_empty()).map(String::from_utf16_lossy).collect()
}

/// As the database keeps it.
fn in_database(change: &Change, folder: &str) -> ConfigurationValue {
    let key = folders::join(folder, &change.key);
    let mark = |key: String, name: &str, flag: u32| ConfigurationValue {
        key,
        value: Some((name.to_owned(), Value::new(flag, Vec::new()))),
    };
    match &change.what {
        What::Make => ConfigurationValue { key, value: None },
        What::Set(name, value, flags) => {
            let no_clobber = if flags & NO_CLOBBER == 0 { 0 } else { database_flag::NO_CLOBBER };
            let append = if flags & APPEND == 0 { 0 } else { database_flag::APPEND };
            let value = Value::new(value.kind | no_clobber | append, value.data.clone());
            ConfigurationValue { key, value: Some((name.clone(), value)) }
        }
        What::DeleteValue(name) => mark(key, name, database_flag::DELETE_VALUE),
        What::DeleteKey => {
            let (parent, name) = key.rsplit_once('\\').unwrap_or(("", &key));
            mark(parent.to_owned(), name, database_flag::DELETE_KEY)
        }
    }
}

/// A number in one field, or four bytes.
fn dword(line: &Line) -> Result<u32> {
    let fields = line.entry.fields.len().saturating_sub(4);
    if fields == 4 {
        let bytes = bytes(line)?;
        return Ok(bytes.try_into().map_or(0, u32::from_le_bytes));
    }
    let text = line.field(4);
    let number = if text.is_empty() { Some(0) } else { number(&text) };
    number.ok_or_else(|| line.fault("REG_DWORD").found(text).allowed("a number, or four bytes"))
}

/// One byte in each field, in hexadecimal.
pub(super) fn bytes(line: &Line) -> Result<Vec<u8>> {
    let fields = (4..line.entry.fields.len()).map(|index| line.field(index)).filter(|text| !text.is_empty());
    fields
        .map(|text| {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
            u8::from_str_radix(digits, 16)
                .map_err(|_| line.fault("bytes of a value").found(&text).allowed("two hexadecimal digits for each"))
        })
        .collect()
}
