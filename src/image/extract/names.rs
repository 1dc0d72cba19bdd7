//! Names that the host can have.

use std::ffi::OsString;

use crate::base::Name;
use crate::base::name::{is_device, windows_allows};

/// Whose rules a name has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// 255 bytes, no NUL and no slash.
    Unix,
    /// 255 UTF-16 units, none of the reserved characters, no name of a device, no dot or space at the end.
    Windows,
}

impl Rules {
    pub(super) const HOST: Self = if cfg!(windows) { Self::Windows } else { Self::Unix };
}

/// Long enough for any host.
const LONGEST: usize = 255;

/// The name as the host can have it, and whether that is another one.
pub(super) fn host_name(name: &Name, rules: Rules) -> (OsString, bool) {
    let text: String = char::decode_utf16(name.units().iter().copied())
        .map(|unit| match unit {
            Ok(c) if is_allowed(c, rules) => c,
            Ok(_) => '_',
            Err(_) => char::REPLACEMENT_CHARACTER,
        })
        .collect();
    let text = match rules {
        Rules::Windows => without_devices(text),
        Rules::Unix => text,
    };
    let text = shortened(text, rules);
    let changed = !name.units().iter().copied().eq(text.encode_utf16());
    (text.into(), changed)
}

fn is_allowed(c: char, rules: Rules) -> bool {
    match rules {
        Rules::Unix => !matches!(c, '\0' | '/'),
        Rules::Windows => windows_allows(c),
    }
}

/// Windows takes some names for devices, whatever their extension, and drops dots and spaces at the end.
fn without_devices(mut text: String) -> String {
    if text.ends_with(['.', ' ']) {
        text.pop();
        text.push('_');
    }
    if is_device(&text) { format!("_{text}") } else { text }
}

/// Cut to what the host allows, with a number that follows from the whole name, before the extension.
fn shortened(text: String, rules: Rules) -> String {
    let len = |text: &str| if rules == Rules::Windows { text.encode_utf16().count() } else { text.len() };
    if len(&text) <= LONGEST {
        return text;
    }
    // FNV-1a: no more than to tell names apart that begin alike.
    let hash = text.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let extension = text.rfind('.').map_or("", |dot| &text[dot..]);
    let extension = if extension.len() <= 16 { extension } else { "" };
    let end = format!("~{hash:08x}{extension}");
    let mut start = String::new();
    for c in text.chars() {
        start.push(c);
        if len(&start) + len(&end) > LONGEST {
            start.pop();
            break;
        }
    }
    start + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, rules: Rules) -> (String, bool) {
        let (name, changed) = host_name(&Name::from(name), rules);
        (name.into_string().unwrap(), changed)
    }

    #[test]
    fn windows_reserves_names() {
        for (name, allowed) in [
            ("a:b", "a_b"),
            ("x<>\"|?*\u{1}", "x_______"),
            ("end.", "end_"),
            ("end ", "end_"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1 .x", "_Com1 .x"),
            ("LPT²", "_LPT²"),
        ] {
            assert_eq!(host(name, Rules::Windows), (allowed.to_owned(), true), "{name}");
        }
        for name in ["CONSOLE", "COM", "COM10", "a b.c", ".x", "é"] {
            assert_eq!(host(name, Rules::Windows), (name.to_owned(), false));
            assert_eq!(host(name, Rules::Unix), (name.to_owned(), false));
        }
        assert_eq!(host("a:b?", Rules::Unix), ("a:b?".to_owned(), false));
    }

    #[test]
    fn what_is_no_text_becomes_text() {
        let (name, changed) = host_name(&Name::new([0x61, 0xD800]), Rules::Unix);
        assert_eq!((name.to_str(), changed), (Some("a\u{FFFD}"), true));
    }

    #[test]
    fn long_names_stay_apart() {
        let long = |last: &str| format!("{}{last}.txt", "ä".repeat(250));
        let (a, changed) = host(&long("a"), Rules::Unix);
        let (b, _) = host(&long("b"), Rules::Unix);
        assert!(changed && a != b && a.len() <= LONGEST && a.ends_with(".txt") && a.len() > 240);
        let windows = "ä".repeat(255);
        assert_eq!(host(&windows, Rules::Windows), (windows.clone(), false));
    }
}
