//! The few forms of DER that certificates and PFX files are made of (ITU-T X.690).

/// Tags.
mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const UTF8_STRING: u8 = 0x0C;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const BMP_STRING: u8 = 0x1E;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const CONTEXT: u8 = 0x80;
    pub(super) const CONSTRUCTED: u8 = 0x20;
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        len @ 0..0x80 => bytes.push(len as u8),
        len => {
            let len = len.to_be_bytes();
            let significant = len.iter().position(|byte| *byte != 0).map_or(&len[..0], |first| &len[first..]);
            bytes.push(0x80 | significant.len() as u8);
            bytes.extend(significant);
        }
    }
    bytes.extend(content);
    bytes
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(tag::SEQUENCE, &parts.concat())
}

/// A SET OF; the parts have to be in order already.
pub(super) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(tag::SET, &parts.concat())
}

/// A number that is not negative, big-endian.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[first..];
    match digits.first() {
        Some(high) if *high < 0x80 => tagged(tag::INTEGER, digits),
        _ => tagged(tag::INTEGER, &[&[0], digits].concat()),
    }
}

pub(super) fn small(number: u32) -> Vec<u8> {
    integer(&number.to_be_bytes())
}

/// An object identifier, of at least two arcs.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    let (first, rest) = arcs.split_at(2);
    for arc in std::iter::once(first[0] * 40 + first[1]).chain(rest.iter().copied()) {
        let groups = (1..5).rev().filter(|group| arc >> (7 * group) != 0);
        content.extend(groups.map(|group| 0x80 | (arc >> (7 * group)) as u8));
        content.push((arc & 0x7F) as u8);
    }
    tagged(tag::OBJECT_IDENTIFIER, &content)
}

pub(super) fn null() -> Vec<u8> {
    tagged(tag::NULL, &[])
}

pub(super) fn truth() -> Vec<u8> {
    tagged(tag::BOOLEAN, &[0xFF])
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tagged(tag::OCTET_STRING, content)
}

/// A BIT STRING whose last `unused` bits do not count.
pub(super) fn bits(unused: u8, content: &[u8]) -> Vec<u8> {
    tagged(tag::BIT_STRING, &[&[unused], content].concat())
}

pub(super) fn utf8(text: &str) -> Vec<u8> {
    tagged(tag::UTF8_STRING, text.as_bytes())
}

/// UTF-16, big-endian.
pub(super) fn bmp(text: &str) -> Vec<u8> {
    tagged(tag::BMP_STRING, &text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>())
}

/// `YYMMDDhhmmssZ`.
pub(super) fn utc_time(text: &str) -> Vec<u8> {
    tagged(tag::UTC_TIME, text.as_bytes())
}

/// `[number] EXPLICIT`.
pub(super) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tagged(tag::CONTEXT | tag::CONSTRUCTED | number, content)
}

/// `[number] IMPLICIT`, of a type that is not constructed.
pub(super) fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    tagged(tag::CONTEXT | number, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_are_the_shortest() {
        assert_eq!(octets(&[7; 127])[..2], [4, 127]);
        assert_eq!(octets(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octets(&[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(small(0), [2, 1, 0]);
        assert_eq!(small(127), [2, 1, 127]);
        assert_eq!(small(128), [2, 2, 0, 128]);
        assert_eq!(integer(&[0, 0, 0x80, 1]), [2, 3, 0, 0x80, 1]);
        assert_eq!(oid(&[1, 2, 840, 113_549]), [6, 6, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D]);
    }
}
