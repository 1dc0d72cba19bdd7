//! Elements of DER (ITU-T X.690) where they lie: a signature is over bytes, not over what they mean.

use der::asn1::ObjectIdentifier;
use der::{AnyRef, Decode, Reader, SliceReader, Tagged};

use crate::base::FileTime;
use crate::error::{Error, Result};

/// Tags, as their first octet.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(in super::super) const UTF8_STRING: u8 = 0x0C;
    pub(in super::super) const UTC_TIME: u8 = 0x17;
    pub(in super::super) const GENERALIZED_TIME: u8 = 0x18;
    pub(in super::super) const BMP_STRING: u8 = 0x1E;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    /// `[0]` and `[1]`, constructed.
    pub(in super::super) const CONTEXT_0: u8 = 0xA0;
    pub(in super::super) const CONTEXT_1: u8 = 0xA1;
}

/// An element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// The octet of its tag.
    pub(super) tag: u8,
    /// What is in it.
    pub(super) content: &'a [u8],
    /// The same with tag and length.
    pub(super) whole: &'a [u8],
    /// Where it begins in the file.
    pub(super) offset: u64,
}

impl<'a> Element<'a> {
    /// What is in it, as elements.
    pub(super) fn fields(&self) -> Fields<'a> {
        let header = self.whole.len() - self.content.len();
        Fields { rest: self.content, offset: self.offset + header as u64 }
    }

    /// The one element in it.
    pub(super) fn only(&self, what: &str) -> Result<Element<'a>> {
        let mut fields = self.fields();
        let only = fields.any(what)?;
        fields.end(what)?;
        Ok(only)
    }

    pub(super) fn oid(&self) -> Result<ObjectIdentifier> {
        let id = (self.tag == tag::OBJECT_IDENTIFIER).then(|| ObjectIdentifier::from_bytes(self.content).ok());
        id.flatten().ok_or_else(|| self.wrong("object identifier"))
    }

    /// A text of one of the kinds that names and attributes are in.
    pub(super) fn text(&self) -> Option<String> {
        text(self.tag, self.content)
    }

    /// A UTCTime or a GeneralizedTime; fractions of a second do not count.
    pub(super) fn time(&self) -> Result<FileTime> {
        let text = str::from_utf8(self.content).unwrap_or_default();
        let time = match self.tag {
            // RFC 5280, 4.1.2.5.1: 50 to 99 are years of the 20th century.
            tag::UTC_TIME if text.get(..2).is_some_and(|year| year >= "50") => time(&format!("19{text}")),
            tag::UTC_TIME => time(&format!("20{text}")),
            tag::GENERALIZED_TIME => time(text),
            _ => None,
        };
        time.ok_or_else(|| {
            self.wrong("time").found(format_args!("{text:?}")).allowed("YYMMDDhhmmssZ or YYYYMMDDhhmmssZ")
        })
    }

    fn wrong(&self, what: &str) -> Error {
        Error::corrupt(what).at(self.offset)
    }
}

/// A text by the octet of its tag, without the characters that control terminals.
pub(super) fn text(tag: u8, content: &[u8]) -> Option<String> {
    let units = || content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let text = match tag {
        tag::BMP_STRING => String::from_utf16_lossy(&units().collect::<Vec<_>>()),
        tag::UTF8_STRING | 0x13 | 0x14 | 0x16 => String::from_utf8_lossy(content).into_owned(), // Printable, Teletex, IA5
        _ => return None,
    };
    Some(text.replace(char::is_control, "\u{FFFD}"))
}

fn time(text: &str) -> Option<FileTime> {
    let (seconds, fraction) = (text.get(..14)?, text.get(14..)?);
    let fraction = fraction.strip_suffix('Z')?;
    let is_fraction = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !seconds.bytes().all(|digit| digit.is_ascii_digit())
        || !(fraction.is_empty() || fraction.strip_prefix('.').is_some_and(is_fraction))
    {
        return None;
    }
    let two = |at: usize| seconds.get(at..at + 2)?.parse::<i8>().ok();
    let year = seconds.get(..4)?.parse().ok()?;
    FileTime::from_civil((year, two(4)?, two(6)?), (two(8)?, two(10)?, two(12)?))
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Fields<'a> {
    /// The elements of a file.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// The next element, if there is one.
    pub(super) fn advance(&mut self) -> Result<Option<Element<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let element = read(self.rest, self.offset)?;
        let (_, rest) = self.rest.split_at(element.whole.len());
        self.rest = rest;
        self.offset += element.whole.len() as u64;
        Ok(Some(element))
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self, what: &str) -> Result<Element<'a>> {
        self.advance()?.ok_or_else(|| Error::corrupt(what).at(self.offset).found("nothing"))
    }

    /// The next element, which has to be of that kind.
    pub(super) fn take(&mut self, tag: u8, what: &str) -> Result<Element<'a>> {
        let element = self.any(what)?;
        if element.tag == tag {
            return Ok(element);
        }
        let hex = |tag: u8| format!("tag {tag:02X}h");
        Err(element.wrong(what).found(hex(element.tag)).allowed(hex(tag)))
    }

    /// The next element if it is of one of those kinds.
    pub(super) fn take_if(&mut self, tags: &[u8]) -> Result<Option<Element<'a>>> {
        match self.rest.first() {
            Some(tag) if tags.contains(tag) => self.advance(),
            _ => Ok(None),
        }
    }

    /// That there is nothing more.
    pub(super) fn end(&self, what: &str) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt(what).at(self.offset).found(format_args!("{} bytes more", self.rest.len())))
    }
}

/// The element at the beginning of bytes that are at an offset of the file.
fn read(bytes: &[u8], offset: u64) -> Result<Element<'_>> {
    let bad = |why: der::Error| {
        let error = match why.kind() {
            der::ErrorKind::Incomplete { .. } => Error::truncated("ASN.1 element"),
            _ => Error::corrupt("ASN.1 element"),
        };
        error.at(offset).found(why.kind()).allowed("an element in DER")
    };
    let mut reader = SliceReader::new(bytes).map_err(bad)?;
    let any = AnyRef::decode(&mut reader).map_err(bad)?;
    let length = usize::try_from(reader.position()).map_err(bad)?;
    let whole = bytes.get(..length).ok_or_else(|| Error::truncated("ASN.1 element").at(offset))?;
    Ok(Element { tag: any.tag().octet(), content: any.value(), whole, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn elements_know_where_they_are() {
        let bytes = [0x30, 0x06, 0x02, 0x01, 0x07, 0x04, 0x01, 0xFF];
        let mut fields = Fields::new(&bytes);
        let mut inner = fields.take(tag::SEQUENCE, "outer").unwrap().fields();
        fields.end("file").unwrap();
        assert!(inner.take_if(&[tag::SET]).unwrap().is_none());
        assert_eq!(inner.take(tag::INTEGER, "number").unwrap().whole, [2, 1, 7]);
        let error = inner.take(tag::SET, "digest").unwrap_err();
        assert_eq!(error.to_string(), "digest: found tag 04h, allowed: tag 31h (at offset 0x5)");
        assert!(inner.advance().unwrap().is_none());
        assert!(inner.any("more").is_err());
    }

    #[test]
    fn refuses_what_is_no_der() {
        let indefinite: &[u8] = &[0x30, 0x80, 0x00, 0x00];
        let long_form: &[u8] = &[0x04, 0x81, 0x01, 0x00];
        for bytes in [
            &[0x30][..],
            &[0x30, 0x05, 0x00],
            &[0x04, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x1F, 0x81, 0x00, 0x00],
            indefinite,
            long_form,
        ] {
            let error = Fields::new(bytes).advance().unwrap_err();
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated), "{error}");
        }
    }

    #[test]
    fn times_of_both_kinds() {
        let time = |tag: u8, text: &str| {
            let whole: Vec<u8> = [&[tag, text.len() as u8], text.as_bytes()].concat();
            Fields::new(&whole).any("time").unwrap().time().map(|time| time.to_string()).ok()
        };
        assert_eq!(time(tag::UTC_TIME, "230722113900Z").unwrap(), "2023-07-22T11:39:00.0000000Z");
        assert_eq!(time(tag::UTC_TIME, "970110070000Z").unwrap(), "1997-01-10T07:00:00.0000000Z");
        assert_eq!(time(tag::GENERALIZED_TIME, "20230722114007.318Z").unwrap(), "2023-07-22T11:40:07.0000000Z");
        for text in ["", "230722113900", "231322113900Z", "2307221139Z", "+30722113900Z", "23072211390\u{e9}Z"] {
            assert_eq!(time(tag::UTC_TIME, text), None, "{text}");
        }
        for text in ["20230722114007.Z", "20230722114007.3a8Z", "20230722114007,3Z", "20230722254007Z"] {
            assert_eq!(time(tag::GENERALIZED_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn texts_cannot_speak_to_a_terminal() {
        assert_eq!(text(tag::UTF8_STRING, b"a\x1b[31mb").unwrap(), "a\u{FFFD}[31mb");
        assert_eq!(text(tag::BMP_STRING, &[0, b'O', 0, b'S', 0]).unwrap(), "OS");
        assert_eq!(text(tag::INTEGER, &[1]), None);
    }
}
