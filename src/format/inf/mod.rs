//! Setup information files (`.inf`): what a driver package says about itself.
//!
//! | | read |
//! |---|---|
//! | encodings | UTF-16 and UTF-8 with a byte order mark, ASCII, and bytes of Windows-1252 where they are no UTF-8 |
//! | lines | comments (`;`), continuation (`\`), quotes with `""`, entries with and without a key |
//! | sections | merged by name without regard to case, their order kept |
//! | `%token%` | from `[Strings]`; tokens that it lacks from `[Strings.0409]` or else the first `[Strings.LANGID]`; `%%` is a percent sign |
//! | decorations | `.NTarch.major.minor.product.suite.build` of models, `.NTarch` and `.NT` of install sections |
//!
//! An [`Inf`] is the text in order; what its directives do to a Windows is the business of [`windows::drivers`](crate::windows::drivers).
//! Every entry knows its line, so that whoever finds fault with one can say where it is.
//!
//! # Limits
//! 16 MiB for a file, which is five times the largest that graphics drivers have, and [`MAX_EXPANDED`] for the same with all its tokens
//! replaced: a few bytes of a file may stand for a long text, and often. Memory is a small multiple of these. SetupAPI has more limits
//! (255 characters for the name of a section, 4096 for a line); files beyond them are read, because nothing depends on them.
//!
//! # What SetupAPI does, and so does this
//! * A line is parted at its commas before tokens are replaced: a comma within a token's text parts nothing.
//! * A quote that is open at the end of a line ends there, and a backslash before it is a backslash (`"c:\"`).
//! * What is after the `]` of a section's name is no matter; of a token that is given twice the first text counts; the text of a token
//!   is the first field of its line, and tokens in it are not replaced.
//! * Texts with an unquoted `;` are cut at it; Ctrl-Z ends the file.
//!
//! # Sources
//! Microsoft, "General syntax rules for INF files", "INF Strings section", "INF Manufacturer section", "Combining platform extensions
//! with operating system versions"; the tests of Wine's setupapi, which were run on Windows; "seen" refers to the INF files of
//! virtio-win and of hardware makers.

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
pub use read::{MAX_EXPANDED, MAX_FILE};

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// A parsed file.
#[derive(Debug, Clone, Default)]
pub struct Inf {
    sections: Vec<Section>,
    by_name: HashMap<String, usize>,
    /// Tokens in lower case, without a language.
    strings: BTreeMap<String, String>,
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

/// What `FeatureScore = D0` says: hexadecimal, with or without `0x`.
pub fn feature_score(text: &str) -> Option<u8> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u8::from_str_radix(digits, 16).ok()
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

    /// All tokens in lower case with their texts, in the order of the tokens.
    pub fn strings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings.iter().map(|(token, text)| (token.as_str(), text.as_str()))
    }

    /// A text with its tokens replaced, `%%` by one percent sign. What is no token stays, as it does in Windows.
    pub fn expand<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.expand_with(text, |_| None)
    }

    /// The same, with a further meaning for tokens that no string stands for: `%12%` may be a folder.
    pub fn expand_with<'t>(&self, text: &'t str, further: impl Fn(&str) -> Option<String>) -> Cow<'t, str> {
        if !text.contains('%') {
            return Cow::Borrowed(text);
        }
        let mut expanded = String::new();
        for piece in Pieces(text) {
            match piece {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Token(token) => match self.string(token) {
                    Some(value) => expanded.push_str(value),
                    None => match further(token) {
                        Some(value) => expanded.push_str(&value),
                        None => expanded.extend(["%", token, "%"]),
                    },
                },
            }
        }
        Cow::Owned(expanded)
    }

    /// The tokens of a text.
    pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
        Pieces(text).filter_map(|piece| match piece {
            Piece::Token(token) => Some(token),
            Piece::Text(_) => None,
        })
    }

    /// The tokens of a text that no string stands for.
    pub fn missing_tokens<'t>(&self, text: &'t str) -> Vec<&'t str> {
        Self::tokens(text).filter(|token| self.string(token).is_none()).collect()
    }

    /// The install section that a model's name stands for on a target, as the name with its decoration: that with the processor
    /// (`.NTamd64`), with `.NT`, or plain, whichever comes first. Sections that belong to it (`.Services`) have this name before theirs.
    pub fn actual_section(&self, name: &str, target: &TargetOs) -> Option<String> {
        let decorations = [format!(".NT{}", target.machine), ".NT".to_owned(), String::new()];
        let names = decorations.iter().map(|decoration| format!("{name}{decoration}"));
        names.into_iter().find(|name| self.section(name).is_some())
    }
}

/// A text parted at its percent signs.
struct Pieces<'t>(&'t str);

enum Piece<'t> {
    Text(&'t str),
    Token(&'t str),
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some(after) = self.0.strip_prefix('%') else {
            let (text, rest) = self.0.split_at(self.0.find('%').unwrap_or(self.0.len()));
            self.0 = rest;
            return Some(Piece::Text(text));
        };
        let (piece, rest) = match after.split_once('%') {
            Some(("", rest)) => (Piece::Text("%"), rest),
            Some((token, rest)) => (Piece::Token(token), rest),
            None => (Piece::Text(self.0), ""),
        };
        self.0 = rest;
        Some(piece)
    }
}
