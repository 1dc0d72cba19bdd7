//! `$filehashes$.dat`: hashes of the files of a cabinet, as they are stored in it (a packed manifest's are those of the packed one).
//!
//! Text in UTF-16, in sections of which each lists all files: `[sha1]`, then `[sha256]` in packages of Windows 10. A line is
//! `path=hash,length`, both in hexadecimal.

use std::collections::BTreeMap;

use super::gather::Digest;
use crate::error::{Context, Error, Result};
use crate::format::catalog::hex;

/// Checks files against the list. Where not all of them were read, it may have others.
pub(super) fn check(list: &[u8], files: &BTreeMap<String, Digest>, are_all: bool) -> Result<()> {
    let text = text_of(list).ok_or_else(|| Error::corrupt("the list is no text").allowed("UTF-16 with its mark"))?;
    let mut section = None;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        if line.starts_with('[') {
            section = Some(Section::of(line).context(|| at(number))?);
            continue;
        }
        let section = section.ok_or_else(|| Error::corrupt("a line before the first section").context(at(number)))?;
        let (path, hash, len) = entry(line).context(|| at(number))?;
        let path = path.replace('/', "\\");
        match files.get(&path.to_lowercase()) {
            Some(file) => section.compare(file, hash, len).context(|| path)?,
            None if are_all => return Err(Error::corrupt("a file that is not there").context(path)),
            None => {}
        }
    }
    match section {
        Some(_) => Ok(()),
        None => Err(Error::corrupt("the list is empty")),
    }
}

#[derive(Clone, Copy)]
enum Section {
    Sha1,
    Sha256,
}

impl Section {
    fn of(line: &str) -> Result<Self> {
        match line.trim() {
            "[sha1]" => Ok(Self::Sha1),
            "[sha256]" => Ok(Self::Sha256),
            other => Err(Error::corrupt("section").found(other).allowed("[sha1], [sha256]")),
        }
    }

    fn compare(self, file: &Digest, hash: &str, len: u64) -> Result<()> {
        let (name, found) = match self {
            Self::Sha1 => ("SHA-1", hex(&file.sha1)),
            Self::Sha256 => ("SHA-256", hex(&file.sha256)),
        };
        if file.len != len {
            return Err(Error::corrupt("length of a file").found(file.len).allowed(len));
        }
        if !found.eq_ignore_ascii_case(hash) {
            return Err(Error::corrupt(format_args!("{name} of a file")).found(found).allowed(hash));
        }
        Ok(())
    }
}

/// Path, hash and length.
fn entry(line: &str) -> Result<(&str, &str, u64)> {
    let parts = line.rsplit_once('=').and_then(|(path, rest)| {
        let (hash, len) = rest.split_once(',')?;
        Some((path, hash, u64::from_str_radix(len.trim_end(), 16).ok()?))
    });
    parts.ok_or_else(|| Error::corrupt("line").found(format_args!("{line:?}")).allowed("path=hash,length"))
}

fn text_of(list: &[u8]) -> Option<String> {
    let (units, rest) = list.strip_prefix(b"\xFF\xFE")?.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

fn at(line: usize) -> String {
    format!("line {line}")
}
