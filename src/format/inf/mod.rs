//! Setup information files (`.inf`): what a driver package says about itself.
//!
//! | | read |
//! |---|---|
//! | encodings | UTF-16 and UTF-8 with a byte order mark, ASCII, and bytes of Windows-1252 where they are no UTF-8 |
//! | lines | comments (`;`), continuation (`\`), quotes with `""`, entries with and without a key |
//! | sections | merged by name without regard to case, their order kept |
//! | `%token%` | from `[Strings]`, with `[Strings.LANGID]` before it where a language is asked for; `%%` is a percent sign |
//! | decorations | `.NTarch.major.minor.product.suite.build` of models, `.NTarch` and `.NT` of install sections |
//!
//! An [`Inf`] is the text in order; what its directives do to a Windows is the business of [`windows::drivers`](crate::windows::drivers).
//! Every entry knows its line, so that whoever finds fault with one can say where it is.
//!
//! # Limits
//! 16 MiB for a file, which is five times the largest that graphics drivers have. Memory is a small multiple of the file.
//!
//! # Sources
//! Microsoft, "General syntax rules for INF files", "INF Manufacturer section", "Combining platform extensions with operating system
//! versions"; "seen" refers to the INF files of virtio-win and of hardware makers.

mod decoration;
mod header;
mod models;
mod read;
mod text;

#[cfg(test)]
mod tests;

pub use decoration::{Decoration, ProductType, TargetOs};
pub use header::Header;
pub use models::Model;
pub use read::MAX_FILE;

use std::borrow::Cow;
use std::collections::HashMap;

/// A parsed file.
#[derive(Debug, Clone, Default)]
pub struct Inf {
    sections: Vec<Section>,
    by_name: HashMap<String, usize>,
    /// Tokens in lower case, without a language.
    strings: HashMap<String, String>,
}

/// All lines of the sections of one name.
#[derive(Debug, Clone)]
pub struct Section {
    /// The name as the first one has it.
    pub name: String,
    /// The line of the first one, from 1.
    pub line: usize,
    /// What is in it.
    pub entries: Vec<Entry>,
}

/// A line of a section: `key = field, field`, or fields alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its line, from 1.
    pub line: usize,
    /// What is before the `=`, its quotes gone, its `%tokens%` as they are.
    pub key: Option<String>,
    /// The fields, their quotes gone, their `%tokens%` as they are. A line has at least one, which may be empty.
    pub fields: Vec<String>,
}

impl Entry {
    /// A field, empty where there is none.
    pub fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }

    /// Whether the key is this one, without regard to case.
    pub fn is(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }

    /// The key, or where there is none the first field: sections of names have either.
    pub fn first(&self) -> &str {
        self.key.as_deref().unwrap_or_else(|| self.field(0))
    }
}

impl Section {
    /// The entries with that key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.is(key))
    }

    /// The first entry with that key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.is(key))
    }
}

impl Inf {
    /// The section of that name, without regard to case.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.by_name.get(&name.to_lowercase()).map(|index| &self.sections[*index])
    }

    /// All sections, in the order of the file.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The text of a token, which is given without its percent signs.
    pub fn string(&self, token: &str) -> Option<&str> {
        self.strings.get(&token.to_lowercase()).map(String::as_str)
    }

    /// All tokens in lower case with their texts.
    pub fn strings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings.iter().map(|(token, text)| (token.as_str(), text.as_str()))
    }

    /// A text with its tokens replaced, `%%` by one percent sign. What is no token stays, as it does in Windows.
    pub fn expand<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.contains('%') {
            return Cow::Borrowed(text);
        }
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            expanded.push_str(before);
            rest = match after.split_once('%') {
                Some(("", rest)) => {
                    expanded.push('%');
                    rest
                }
                Some((token, rest)) => {
                    match self.string(token) {
                        Some(value) => expanded.push_str(value),
                        None => expanded.extend(["%", token, "%"]),
                    }
                    rest
                }
                None => {
                    expanded.push('%');
                    after
                }
            };
        }
        expanded.push_str(rest);
        Cow::Owned(expanded)
    }

    /// The tokens of a text that no string stands for.
    pub fn missing_tokens<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let parts: Vec<&str> = text.split('%').collect();
        let tokens = parts.iter().enumerate().filter(|(at, _)| at % 2 == 1 && at + 1 < parts.len());
        tokens.map(|(_, token)| *token).filter(|token| !token.is_empty() && self.string(token).is_none()).collect()
    }

    /// The install section that a model's name stands for on a target, with a suffix such as `.Services`: that decorated with the
    /// processor, with `.NT`, or plain, whichever comes first.
    pub fn install_section(&self, name: &str, suffix: &str, target: &TargetOs) -> Option<&Section> {
        let decorations = [format!(".NT{}", target.machine), ".NT".to_owned(), String::new()];
        decorations.iter().find_map(|decoration| self.section(&format!("{name}{decoration}{suffix}")))
    }
}
