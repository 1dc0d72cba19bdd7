//! Registry text files (`.reg`), as regedit exports and imports them.
//!
//! | | read |
//! |---|---|
//! | `Windows Registry Editor Version 5.00`, in UTF-16 with a byte order mark, or UTF-8 | yes |
//! | `REGEDIT4`, in ASCII | yes; text of other code pages is refused, because the file does not say which one |
//! | `[KEY]`, `[-KEY]`, `"name"=`, `@=` | yes |
//! | `"text"`, `dword:`, `hex:`, `hex(TYPE):`, `-` | yes |
//! | comments (`;`), lines continued by `\`, texts of several lines | yes |
//!
//! Everything is checked before anything is given: a file is taken whole or not at all. (regedit skips lines that it does not
//! understand, and says that all went well.)
//!
//! Limits: 64 MiB for a file. Memory is at most a small multiple of it.
//!
//! Source: Microsoft, "How to add, modify, or delete registry subkeys and values by using a .reg file" (KB 310516), and files that
//! regedit of Windows 10 exported.

use crate::error::{Error, Result};

/// The longest file that is read.
pub const MAX_FILE: usize = 64 << 20;

/// Type numbers that the syntax itself implies.
const SZ: u32 = 1;
const EXPAND_SZ: u32 = 2;
const BINARY: u32 = 3;
const DWORD: u32 = 4;
const MULTI_SZ: u32 = 7;

/// A section of the file: one key and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The key as written, from its root (`HKEY_LOCAL_MACHINE\SYSTEM\…`).
    pub key: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// What is to be done.
    pub action: Action,
}

/// What a [`Section`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The key goes, with all that is below it.
    DeleteKey,
    /// The key is made if it is not there, and these values are set or deleted.
    Set(Vec<Assignment>),
}

/// A line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The value's name; empty for the default value.
    pub name: String,
    /// Type and bytes as the registry stores them; `None` for a value that goes.
    pub data: Option<(u32, Vec<u8>)>,
}

/// Reads a file.
///
/// # Errors
/// [`Corrupt`](crate::error::Kind::Corrupt) with the line, [`Unsupported`](crate::error::Kind::Unsupported) for text of an unknown
/// code page and for files beyond [`MAX_FILE`].
pub fn parse(bytes: &[u8]) -> Result<Vec<Section>> {
    if bytes.len() > MAX_FILE {
        return Err(Error::unsupported("size of a .reg file").found(bytes.len()).allowed(MAX_FILE));
    }
    let text = decode(bytes)?;
    let mut lines = Lines { rest: &text, number: 0 };
    let header = lines.next().unwrap_or_default().trim();
    let unicode = match header {
        "Windows Registry Editor Version 5.00" => true,
        "REGEDIT4" => false,
        _ => {
            return Err(Error::corrupt("the first line of a .reg file")
                .found(format_args!("{:?}", header.chars().take(60).collect::<String>()))
                .allowed("\"Windows Registry Editor Version 5.00\" or \"REGEDIT4\"")
                .hint("regedit and `reg export` write such files"));
        }
    };
    if !unicode && !text.is_ascii() {
        return Err(Error::unsupported(
            "a REGEDIT4 file with characters beyond ASCII: it does not say of which code page",
        )
        .hint("save it as \"Windows Registry Editor Version 5.00\", in UTF-16 or UTF-8"));
    }
    let mut sections = Vec::new();
    while let Some(line) = lines.next() {
        let number = lines.number;
        read_line(line.trim_start(), &mut lines, unicode, &mut sections)
            .map_err(|error| error.context(format_args!("line {number}")))?;
    }
    Ok(sections)
}

fn decode(bytes: &[u8]) -> Result<String> {
    let wide = |big: bool, bytes: &[u8]| {
        let unit = |pair: &[u8]| {
            if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) }
        };
        String::from_utf16(&bytes.chunks_exact(2).map(unit).collect::<Vec<_>>())
            .map_err(|_| Error::corrupt("a .reg file that is not UTF-16, although it begins as such"))
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(false, rest),
        [0xFE, 0xFF, rest @ ..] => wide(true, rest),
        _ => {
            let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            String::from_utf8(text.to_vec()).map_err(|_| {
                Error::unsupported("a .reg file whose text is neither UTF-16 nor UTF-8")
                    .hint("save it in UTF-16, as regedit does")
            })
        }
    }
}

/// Lines without their ends, counted.
struct Lines<'t> {
    rest: &'t str,
    number: usize,
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.number += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

fn read_line<'t>(line: &'t str, lines: &mut Lines<'t>, unicode: bool, sections: &mut Vec<Section>) -> Result<()> {
    match line.chars().next() {
        None | Some(';') => Ok(()),
        Some('[') => {
            let number = lines.number;
            sections.push(section(line, number)?);
            Ok(())
        }
        Some('"' | '@') => {
            let assignment = assignment(line, lines, unicode)?;
            match sections.last_mut() {
                Some(Section { action: Action::Set(assignments), .. }) => {
                    assignments.push(assignment);
                    Ok(())
                }
                Some(_) => Err(Error::corrupt("a value of a key that is deleted")),
                None => Err(Error::corrupt("a value before the first key")),
            }
        }
        Some(_) => Err(Error::corrupt("a line that is neither key, value nor comment").found(short(line))),
    }
}

fn section(line: &str, number: usize) -> Result<Section> {
    let malformed = || Error::corrupt("a key").found(short(line)).allowed("[KEY] or [-KEY]");
    // Names of keys may hold brackets: the last one closes, with no more than a comment behind it.
    let end = line.rfind(']').ok_or_else(malformed)?;
    let behind = line[end + 1..].trim();
    let inner = &line[1..end];
    let (key, action) = match inner.strip_prefix('-') {
        Some(key) => (key, Action::DeleteKey),
        None => (inner, Action::Set(Vec::new())),
    };
    if key.is_empty() || !(behind.is_empty() || behind.starts_with(';')) {
        return Err(malformed());
    }
    Ok(Section { key: key.to_owned(), line: number, action })
}

fn assignment<'t>(line: &'t str, lines: &mut Lines<'t>, unicode: bool) -> Result<Assignment> {
    let (name, rest) = match line.strip_prefix('@') {
        Some(rest) => (String::new(), rest),
        None => quoted(line, lines)?,
    };
    let value = rest.trim_start().strip_prefix('=');
    let value =
        value.ok_or_else(|| Error::corrupt("a value without '=' behind its name").found(short(line)))?.trim_start();
    Ok(Assignment { name, data: data(value, lines, unicode)? })
}

fn data<'t>(value: &'t str, lines: &mut Lines<'t>, unicode: bool) -> Result<Option<(u32, Vec<u8>)>> {
    if value.starts_with('"') {
        let (text, rest) = quoted(value, lines)?;
        ends(rest)?;
        let bytes = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        return Ok(Some((SZ, bytes)));
    }
    if let Some(rest) = value.strip_prefix('-') {
        return ends(rest).map(|()| None);
    }
    let folded = value.to_ascii_lowercase();
    if let Some(digits) = folded.strip_prefix("dword:") {
        let digits = without_comment(digits);
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 8 && !digits.starts_with('+'));
        let number =
            number.ok_or_else(|| Error::corrupt("dword").found(short(digits)).allowed("1 to 8 hexadecimal digits"))?;
        return Ok(Some((DWORD, number.to_le_bytes().to_vec())));
    }
    let Some(rest) = folded.strip_prefix("hex") else {
        return Err(Error::corrupt("the data of a value")
            .found(short(value))
            .allowed("\"text\", dword:, hex:, hex(TYPE): or -"));
    };
    let (kind, digits) = match rest.strip_prefix('(') {
        None => (BINARY, rest.strip_prefix(':')),
        Some(rest) => {
            let (kind, rest) = rest.split_once(')').unwrap_or((rest, ""));
            let number = u32::from_str_radix(kind.strip_prefix("0x").unwrap_or(kind), 16);
            let number = number.map_err(|_| Error::corrupt("the type of a value").found(short(kind)))?;
            (number, rest.strip_prefix(':'))
        }
    };
    let digits = digits.ok_or_else(|| Error::corrupt("the data of a value: ':' is missing").found(short(value)))?;
    let bytes = hex(digits, lines)?;
    // In files of the old kind these are bytes of text, not UTF-16.
    let narrow = !unicode && [SZ, EXPAND_SZ, MULTI_SZ].contains(&kind);
    if narrow && !bytes.is_ascii() {
        return Err(Error::unsupported("text beyond ASCII in a REGEDIT4 file")
            .hint("save it as \"Windows Registry Editor Version 5.00\""));
    }
    let bytes = if narrow { bytes.into_iter().flat_map(|byte| [byte, 0]).collect() } else { bytes };
    Ok(Some((kind, bytes)))
}

/// Pairs of digits between commas, over as many lines as end in a backslash.
fn hex(first: &str, lines: &mut Lines<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut line = first;
    loop {
        let text = without_comment(line);
        let (text, continued) = text.strip_suffix('\\').map_or((text, false), |text| (text.trim_end(), true));
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let byte = u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() <= 2 && !pair.starts_with('+'));
            bytes.push(byte.ok_or_else(|| {
                Error::corrupt("a byte of a value").found(short(pair)).allowed("two hexadecimal digits")
            })?);
        }
        if !continued {
            return Ok(bytes);
        }
        line = lines.next().ok_or_else(|| Error::truncated("the data of a value: its next line is missing"))?;
    }
}

/// The text between the quotation mark at the start and its partner, and what is behind. Texts may hold line breaks.
fn quoted<'t>(line: &'t str, lines: &mut Lines<'t>) -> Result<(String, &'t str)> {
    let mut text = String::new();
    let mut at = &line[1..];
    loop {
        let mut characters = at.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => return Ok((text, &at[index + 1..])),
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => text.push('\\'),
                },
                other => text.push(other),
            }
        }
        text.push_str("\r\n");
        at = lines
            .next()
            .ok_or_else(|| Error::truncated("a text without its closing quotation mark").found(short(line)))?;
    }
}

fn without_comment(text: &str) -> &str {
    text.split_once(';').map_or(text, |(text, _)| text).trim()
}

fn ends(rest: &str) -> Result<()> {
    let rest = without_comment(rest);
    if rest.is_empty() { Ok(()) } else { Err(Error::corrupt("something behind a value's data").found(short(rest))) }
}

/// The beginning of a text, for messages.
fn short(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const HEADER: &str = "Windows Registry Editor Version 5.00\r\n\r\n";

    fn one(line: &str) -> Result<Assignment> {
        let sections = parse(format!("{HEADER}[HKEY_LOCAL_MACHINE\\A]\r\n{line}\r\n").as_bytes())?;
        match sections.into_iter().next().map(|section| section.action) {
            Some(Action::Set(mut assignments)) => Ok(assignments.remove(0)),
            other => panic!("{other:?}"),
        }
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn reads_what_regedit_writes() {
        let text = format!(
            "{HEADER}; a comment\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\A [x] B]\r\n@=\"default\"\r\n\"a\\\\b\\\"c\"=dword:0000001F ; why\r\n\
             \"bytes\"=hex:01,02,\\\r\n  ff\r\n\"gone\"=-\r\n\r\n[-HKEY_LOCAL_MACHINE\\SOFTWARE\\C]\r\n"
        );
        let expected = vec![
            Section {
                key: r"HKEY_LOCAL_MACHINE\SOFTWARE\A [x] B".into(),
                line: 4,
                action: Action::Set(vec![
                    Assignment { name: String::new(), data: Some((SZ, wide("default\0"))) },
                    Assignment { name: r#"a\b"c"#.into(), data: Some((DWORD, vec![0x1F, 0, 0, 0])) },
                    Assignment { name: "bytes".into(), data: Some((BINARY, vec![1, 2, 0xFF])) },
                    Assignment { name: "gone".into(), data: None },
                ]),
            },
            Section { key: r"HKEY_LOCAL_MACHINE\SOFTWARE\C".into(), line: 11, action: Action::DeleteKey },
        ];
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        let utf16 = [&[0xFF, 0xFE][..], &wide(&text)].concat();
        assert_eq!(parse(&utf16).unwrap(), expected);
        assert_eq!(parse(text.replace("\r\n", "\n").as_bytes()).unwrap(), expected);
    }

    #[test]
    fn reads_every_kind_of_data() {
        assert_eq!(
            one(r#""n"=hex(b):01,00,00,00,00,00,00,00"#).unwrap().data,
            Some((11, vec![1, 0, 0, 0, 0, 0, 0, 0]))
        );
        assert_eq!(one(r#""n"=HEX(ffff0012):"#).unwrap().data, Some((0xFFFF_0012, vec![])));
        assert_eq!(one("\"n\"=\"two\r\nlines\"").unwrap().data, Some((SZ, wide("two\r\nlines\0"))));
        assert_eq!(one(r#""n"="C:\new""#).unwrap().data, Some((SZ, wide("C:\\new\0"))), "as regedit takes it");
        assert_eq!(one(r#""Grüße"=-"#).unwrap().name, "Grüße");
    }

    #[test]
    fn old_files_hold_narrow_text() {
        let old = b"REGEDIT4\n[HKEY_LOCAL_MACHINE\\A]\n\"n\"=hex(2):61,00\n\"b\"=hex:61\n";
        let sections = parse(old).unwrap();
        let Action::Set(assignments) = &sections[0].action else { panic!() };
        assert_eq!(assignments[0].data, Some((EXPAND_SZ, vec![0x61, 0, 0, 0])));
        assert_eq!(assignments[1].data, Some((BINARY, vec![0x61])));
        let foreign = "REGEDIT4\n[HKEY_LOCAL_MACHINE\\A]\n\"ü\"=\"\"\n";
        assert_eq!(parse(foreign.as_bytes()).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (line, word) in [
            (r#""n"=dword:123456789"#, "dword"),
            (r#""n"=dword:+1"#, "dword"),
            (r#""n"=hex:1ff"#, "byte"),
            (r#""n"=hex:0g"#, "byte"),
            (r#""n"=hex(:"#, "type"),
            (r#""n"=sz:x"#, "allowed"),
            (r#""n" "x""#, "'='"),
            (r#""n"="x" y"#, "behind"),
            ("n=1", "neither"),
        ] {
            let error = one(line).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("line 4") && text.contains(word), "{line}: {text}");
        }
        assert!(parse(format!("{HEADER}\"n\"=\"x\"").as_bytes()).unwrap_err().to_string().contains("first key"));
        assert!(parse(format!("{HEADER}[-A]\n\"n\"=\"x\"").as_bytes()).is_err());
        for text in ["", "[HKEY_LOCAL_MACHINE]", "REGEDIT5"] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().kind(), Kind::Corrupt);
        }
    }

    #[test]
    fn hostile_files_are_survived() {
        let text = format!("{HEADER}[A\\B]\r\n\"a\\\"\"=hex(7):61,00,\\\r\n00,00\r\n@=\"x\r\ny\"\r\n[-C]\r\n");
        for len in 0..text.len() {
            let _ = parse(&text.as_bytes()[..len]);
        }
        for at in 0..text.len() {
            for byte in [0, b'"', b'\\', b'[', b'\n', 0xFF] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = parse(&bytes);
            }
        }
    }
}
