//! From text to sections, entries and fields.

use std::collections::BTreeMap;

use super::{Entry, Inf, Section, text};
use crate::error::{Error, Result};

/// The longest file that is read.
pub const MAX_FILE: usize = 16 << 20;

/// The longest that all lines may be together when their tokens are replaced.
pub const MAX_EXPANDED: usize = 64 << 20;

/// The end of file of CP/M, at which the parser of Windows stops.
const CTRL_Z: char = '\u{1A}';

impl Inf {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Kind::Unsupported) for one that is too long, [`Corrupt`](crate::error::Kind::Corrupt) for one that is
    /// no text, has no sections or has lines before the first. Whether it describes a driver is asked by [`Inf::header`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_FILE {
            return Err(Error::unsupported("size of an INF file").found(bytes.len()).allowed(MAX_FILE));
        }
        let text = text::decode(bytes)?;
        let text = text.split(CTRL_Z).next().unwrap_or_default();
        let mut inf = Self::default();
        let mut current = None;
        for (line, text) in logical_lines(text) {
            let text = text.trim_matches(is_space);
            if text.is_empty() {
                continue;
            }
            if let Some(rest) = text.strip_prefix('[') {
                let name = rest.split_once(']').map(|(name, _)| name.trim_matches(is_space));
                let name = name.ok_or_else(|| {
                    Error::corrupt(format_args!("line {line}: the name of a section does not end"))
                        .found(text)
                        .allowed("]")
                })?;
                current = Some(inf.section_at(&unquoted(name), line));
                continue;
            }
            let section = current.ok_or_else(|| {
                Error::corrupt(format_args!("line {line}: no INF file"))
                    .found("text before the first section")
                    .allowed("[Version]")
            })?;
            inf.sections[section].entries.push(entry(text, line));
        }
        if inf.sections.is_empty() {
            return Err(Error::corrupt("no INF file").found("no section").allowed("[Version] and others"));
        }
        inf.collect_strings();
        inf.check_expanded()?;
        Ok(inf)
    }

    fn section_at(&mut self, name: &str, line: usize) -> usize {
        let next = self.sections.len();
        let index = *self.by_name.entry(name.to_lowercase()).or_insert(next);
        if index == next {
            self.sections.push(Section { name: name.to_owned(), line, entries: Vec::new() });
        }
        index
    }

    /// The strings without a language; for tokens that these lack, those of English or else of the first language that there is.
    fn collect_strings(&mut self) {
        const ENGLISH: &str = "strings.0409";
        let is_language = |section: &&Section| section.name.to_lowercase().starts_with("strings.");
        let localized = self.section(ENGLISH).or_else(|| self.sections.iter().find(is_language));
        let plain = self.section("strings");
        let mut strings = BTreeMap::new();
        for entry in [plain, localized].into_iter().flatten().flat_map(|section| &section.entries) {
            if let Some(key) = &entry.key {
                let token = key.trim_matches('%').to_lowercase();
                strings.entry(token).or_insert_with(|| entry.field(0).to_owned());
            }
        }
        self.strings = strings;
    }

    /// How long a line is, at most, when its tokens are replaced.
    pub(crate) fn expanded_len(&self, entry: &Entry) -> usize {
        let fields = entry.fields.iter().chain(&entry.key);
        let tokens = fields.clone().flat_map(|field| Self::tokens(field));
        let replaced: usize = tokens.map(|token| self.string(token).map_or(0, str::len)).sum();
        replaced + fields.map(String::len).sum::<usize>()
    }

    /// Every line becomes text once, at least, so that this is what the rest of the work is a small multiple of.
    fn check_expanded(&self) -> Result<()> {
        let mut total = 0_usize;
        for entry in self.sections.iter().flat_map(|section| &section.entries) {
            total = total.saturating_add(self.expanded_len(entry));
            if total > MAX_EXPANDED {
                return Err(Error::unsupported(format_args!(
                    "line {}: an INF file with its %tokens% replaced",
                    entry.line
                ))
                .found(format_args!("more than {MAX_EXPANDED} bytes"))
                .allowed(MAX_EXPANDED));
            }
        }
        Ok(())
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}

/// Lines without their comments, those that end in a backslash joined with the next; with the number of the first.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut lines = (1..).zip(text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')));
    std::iter::from_fn(move || {
        let (number, first) = lines.next()?;
        let mut logical = String::new();
        let mut physical = first;
        loop {
            let (content, quoted) = without_comment(physical);
            let trimmed = content.trim_end_matches(is_space);
            match trimmed.strip_suffix('\\').filter(|_| !quoted) {
                Some(content) => logical.push_str(content),
                None => {
                    logical.push_str(trimmed);
                    break;
                }
            }
            let Some((_, next)) = lines.next() else { break };
            physical = next;
        }
        Some((number, logical))
    })
}

/// What is before the comment of a line, and whether a quote is still open at its end.
fn without_comment(line: &str) -> (&str, bool) {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return (&line[..at], false),
            _ => {}
        }
    }
    (line, quoted)
}

/// Parts a line at its first `=` and its commas, as far as they are not within quotes.
fn entry(text: &str, line: usize) -> Entry {
    let mut entry = Entry { line, ..Entry::default() };
    let mut field = Field::default();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"', true);
            }
            '"' => {
                quoted = !quoted;
                field.quoted = true;
                field.solid = field.text.len();
            }
            '=' if !quoted && entry.key.is_none() && entry.fields.is_empty() => entry.key = Some(field.take()),
            ',' if !quoted => entry.fields.push(field.take()),
            _ => field.push(c, quoted),
        }
    }
    entry.fields.push(field.take());
    entry
}

/// A field that grows: spaces around it go, unless they are within quotes.
#[derive(Default)]
struct Field {
    text: String,
    /// How much of it stays whatever it is.
    solid: usize,
    quoted: bool,
}

impl Field {
    fn push(&mut self, c: char, quoted: bool) {
        if !quoted && is_space(c) && self.text.is_empty() && !self.quoted {
            return;
        }
        self.text.push(c);
        if quoted || !is_space(c) {
            self.solid = self.text.len();
        }
    }

    fn take(&mut self) -> String {
        let mut field = std::mem::take(self);
        field.text.truncate(field.solid);
        field.text
    }
}

fn unquoted(name: &str) -> String {
    entry(name, 0).fields.join(",")
}
