//! Words that nobody but the new machine is to read.

use std::fmt;

use crate::error::{Error, Result};

/// The longest password that an account of Windows can have.
const MAX_UNITS: usize = 127;

/// A password. It has no way into a log, a message or a report: it does not print, not even with `{:?}`, and does not serialize.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Takes a text as a password.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for what no account can have; the message does not tell the text.
    pub fn new(text: &str) -> Result<Self> {
        let units = text.encode_utf16().count();
        if !(1..=MAX_UNITS).contains(&units) {
            return Err(Error::invalid("length of the password").found(units).allowed("1 to 127 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("the password has control characters in it"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The first line of a file: UTF-8, with or without a byte order mark, or UTF-16 with one.
    pub fn first_line(bytes: &[u8]) -> Result<Self> {
        let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
            String::from_utf16(&rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>()).ok()
        };
        let text = match bytes {
            [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
            [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
            _ => String::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).to_vec()).ok(),
        };
        let text = text.ok_or_else(|| {
            Error::invalid("the file with the password is no text").allowed("UTF-8, or UTF-16 with a byte order mark")
        })?;
        Self::new(text.split(['\r', '\n']).next().unwrap_or_default())
    }

    /// What it says, for the one place in the image where it has to stand.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether Windows' own rules for passwords would refuse it: fewer than three of lower case, upper case, digits and others.
    pub(super) fn is_weak(&self) -> bool {
        let has = |kind: fn(char) -> bool| usize::from(self.0.chars().any(kind));
        let kinds = has(char::is_lowercase) + has(char::is_uppercase) + has(char::is_numeric);
        kinds + has(|c| !c.is_alphanumeric()) < 3 || self.0.to_lowercase().contains("administrator")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_line_of_any_text() {
        let expected = Secret::new("Gr\u{fc}\u{df}e 1!").unwrap();
        let text = "Gr\u{fc}\u{df}e 1!\r\nsecond line";
        let wide = |unit: fn(u16) -> [u8; 2], mark: [u8; 2]| {
            mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect::<Vec<u8>>()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            text.replace("\r\n", "\n").into_bytes(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            wide(u16::to_le_bytes, [0xFF, 0xFE]),
            wide(u16::to_be_bytes, [0xFE, 0xFF]),
        ] {
            assert_eq!(Secret::first_line(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn refuses_what_no_account_has_and_tells_nothing() {
        for bytes in [&b""[..], b"\n", b"\xEF\xBB\xBF", b"pass\tword", b"p\xFFss", &[b'p'; 128]] {
            let error = Secret::first_line(bytes).unwrap_err();
            assert!(!error.to_string().contains("ppp") && !error.to_string().contains("pass\tword"), "{error}");
        }
        assert_eq!(format!("{:?}", Secret::new("hush").unwrap()), "Secret(..)");
    }

    #[test]
    fn knows_what_windows_refuses() {
        for (text, weak) in [
            ("password", true),
            ("Password", true),
            ("Passw0rd", false),
            ("pass w0rd", false),
            ("MyAdministrator1!", true),
        ] {
            assert_eq!(Secret::new(text).unwrap().is_weak(), weak, "{text}");
        }
    }
}
