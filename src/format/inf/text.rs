//! The text of a file, whatever it is encoded in.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// What Windows-1252 has for the bytes 80h to 9Fh (Unicode consortium, CP1252.TXT); five are not assigned and stand for themselves.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// Decodes a file by its byte order mark; without one it is UTF-8 or, where it cannot be, Windows-1252. A file of UTF-16 without a mark,
/// which Windows takes for text by its zero bytes, is taken as such too.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Ok(String::from_utf8_lossy(rest)),
        [0xFF, 0xFE, rest @ ..] => Ok(Cow::Owned(wide(rest, u16::from_le_bytes))),
        [0xFE, 0xFF, rest @ ..] => Ok(Cow::Owned(wide(rest, u16::from_be_bytes))),
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Ok(Cow::Owned(wide(bytes, u16::from_le_bytes))),
        [b'M', b'Z' | b'S', ..] if bytes.contains(&0) => {
            Err(Error::corrupt("not an INF file").found("a program or cabinet").allowed("text"))
        }
        _ => Ok(std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(western(bytes)), Cow::Borrowed)),
    }
}

fn wide(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16_lossy(&units)
}

fn western(bytes: &[u8]) -> String {
    let char_of = |byte: &u8| match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(*byte),
    };
    bytes.iter().map(char_of).collect()
}
