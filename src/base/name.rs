//! UTF-16 names, as NTFS, WIM and the registry store them.

use std::fmt;

/// A name in UTF-16 code units. Windows allows unpaired surrogates, so this is not always a `str`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[u16]>);

impl Name {
    /// From code units.
    pub fn new(units: impl Into<Box<[u16]>>) -> Self {
        Self(units.into())
    }

    /// From little-endian bytes; an odd last byte is dropped.
    pub fn from_le_bytes(bytes: &[u8]) -> Self {
        Self(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// The code units.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// How many code units there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no code units.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The code units as little-endian bytes.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }
}

/// What a file of Windows may be called instead of this name, or `None` if it can have it: NTFS would hold more names than its programs take
/// (Microsoft, "Naming Files, Paths, and Namespaces").
pub fn windows_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.encode_utf16().count() > 255 {
        Some("1 to 255 characters")
    } else if name.chars().any(|c| !windows_allows(c)) {
        Some("anything but < > : \" / \\ | ? * and control characters")
    } else if name.ends_with(['.', ' ']) {
        Some("another end than a dot or a space")
    } else if is_device(name) {
        Some("anything but the name of a device (CON, PRN, AUX, NUL, COM1, LPT1, ...)")
    } else {
        None
    }
}

/// Whether a character may be in a name of Windows.
pub fn windows_allows(c: char) -> bool {
    c >= ' ' && !"<>:\"/\\|?*".contains(c)
}

/// Whether Windows takes a name for that of a device, whatever its extension.
pub fn is_device(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |device: &str| {
        let number = stem.strip_prefix(device).unwrap_or_default();
        matches!(number, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "\u{b9}" | "\u{b2}" | "\u{b3}")
    };
    DEVICES.contains(&stem.as_str()) || numbered("COM") || numbered("LPT")
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl fmt::Display for Name {
    /// Lossy, and safe to print: unpaired surrogates and control characters become U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        char::decode_utf16(self.0.iter().copied()).try_for_each(|unit| {
            let c = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            fmt::Write::write_char(f, if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_is_choosier_than_ntfs() {
        for good in ["a", ".a", "a b", "console", "COM", "com10", "nul0", "Grüße", "a.", &"x".repeat(255)] {
            assert_eq!(windows_fault(good).is_some(), good == "a.", "{good}");
        }
        for bad in
            ["", "a:b", "a?", "tab\t", "a ", "..", "NUL", "nul.txt", "Com1", "lpt9.log", "COM\u{b2}", &"x".repeat(256)]
        {
            assert!(windows_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn keeps_what_is_not_text() {
        let name = Name::new([0x61, 0xD800, 0x0A]);
        assert_eq!(name.to_string(), "a\u{FFFD}\u{FFFD}");
        assert_eq!(Name::from_le_bytes(&name.to_le_bytes()), name);
        assert_eq!(Name::from("Windows").len(), 7);
    }
}
