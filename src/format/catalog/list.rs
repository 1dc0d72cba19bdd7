//! What is signed: a list of members, each a file's digest with attributes (`CTL_INFO` of the Windows SDK).
//!
//! ```text
//! CertificateTrustList ::= SEQUENCE {
//!     version             INTEGER DEFAULT v1,
//!     subjectUsage        SEQUENCE OF OBJECT IDENTIFIER,   -- szOID_CATALOG_LIST
//!     listIdentifier      OCTET STRING OPTIONAL,
//!     sequenceNumber      INTEGER OPTIONAL,
//!     ctlThisUpdate       Time,
//!     ctlNextUpdate       Time OPTIONAL,
//!     subjectAlgorithm    AlgorithmIdentifier,             -- szOID_CATALOG_LIST_MEMBER or _MEMBER2
//!     trustedSubjects     SEQUENCE OF SEQUENCE { tag OCTET STRING, attributes SET OF Attribute } OPTIONAL,
//!     ctlExtensions   [0] EXPLICIT Extensions OPTIONAL }
//! ```
//!
//! A member's tag is its digest: the bytes themselves in lists of the second version, the digest's hexadecimal text in UTF-16 in those of the first.
//! The attribute `SPC_INDIRECT_DATA` has it together with its algorithm; members with SHA-1 in lists of the second version lack it.

use super::asn1::{Element, Fields, tag};
use super::crypto::Hash;
use super::oid;
use crate::base::FileTime;
use crate::error::{Error, Result};

/// Members of a catalog; those of whole Windows releases have some ten thousand.
const MAX_MEMBERS: usize = 1 << 18;

/// What a catalog lists.
#[derive(Debug, Clone)]
pub struct List {
    /// What tells it from others.
    pub identifier: Vec<u8>,
    /// When it was made.
    pub time: FileTime,
    /// Its members.
    pub members: Vec<Member>,
    /// What it says of itself: `OS`, `HWID1`, `Submission ID`, ...
    pub attributes: Vec<Attribute>,
}

/// A file by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The digest.
    pub digest: Vec<u8>,
    /// How it is made; by its length where nothing says so.
    pub hash: Hash,
    /// Whether it is that of a PE image, or of a file as it lies; unknown where nothing says so.
    pub is_image: Option<bool>,
    /// `File`, `OSAttr`, ...
    pub attributes: Vec<Attribute>,
}

/// A name with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The text.
    pub value: String,
}

fn named<'t>(attributes: &'t [Attribute], name: &str) -> Option<&'t str> {
    attributes
        .iter()
        .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_str())
}

impl Member {
    /// The name that the file had when the catalog was made.
    pub fn file(&self) -> Option<&str> {
        self.attribute("File")
    }

    /// The text of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        named(&self.attributes, name)
    }
}

impl List {
    /// The text of an attribute of the catalog.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        named(&self.attributes, name)
    }

    pub(super) fn read(element: &Element) -> Result<Self> {
        let mut fields = element.fields();
        fields.take_if(&[tag::INTEGER])?;
        let usage = fields.take(tag::SEQUENCE, "usage of the list")?;
        let mut usages = usage.fields();
        if usages.take(tag::OBJECT_IDENTIFIER, "usage of the list")?.oid()? != oid::CATALOG_LIST {
            return Err(Error::corrupt("list of what is trusted")
                .at(usage.offset)
                .found("another usage")
                .allowed("a catalog"));
        }
        let identifier = fields.take_if(&[tag::OCTET_STRING])?.map(|id| id.content.to_vec()).unwrap_or_default();
        fields.take_if(&[tag::INTEGER])?;
        let time = fields.any("time of the list")?.time()?;
        fields.take_if(&[tag::UTC_TIME, tag::GENERALIZED_TIME])?;
        fields.take(tag::SEQUENCE, "algorithm of the list")?;
        let members = match fields.take_if(&[tag::SEQUENCE])? {
            Some(members) => read_members(members.fields())?,
            None => Vec::new(),
        };
        let attributes = match fields.take_if(&[tag::CONTEXT_0])? {
            Some(extensions) => read_extensions(extensions.only("attributes of the catalog")?.fields())?,
            None => Vec::new(),
        };
        fields.end("list of the catalog")?;
        Ok(Self { identifier, time, members, attributes })
    }
}

fn read_members(mut fields: Fields) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    while let Some(member) = fields.advance()? {
        if members.len() == MAX_MEMBERS {
            return Err(Error::unsupported("catalog").at(member.offset).found("more members").allowed(MAX_MEMBERS));
        }
        members.push(Member::read(&member)?);
    }
    Ok(members)
}

/// The catalog's own attributes are extensions: an identifier, perhaps whether it matters, and a NAME_VALUE in an OCTET STRING.
fn read_extensions(mut fields: Fields) -> Result<Vec<Attribute>> {
    const BOOLEAN: u8 = 0x01;
    let mut attributes = Vec::new();
    while let Some(extension) = fields.advance()? {
        let mut parts = extension.fields();
        let kind = parts.take(tag::OBJECT_IDENTIFIER, "attribute of the catalog")?.oid()?;
        parts.take_if(&[BOOLEAN])?;
        let wrapped = parts.take(tag::OCTET_STRING, "attribute of the catalog")?;
        if kind == oid::NAME_VALUE {
            attributes.push(Attribute::read(&wrapped.only("attribute of the catalog")?)?);
        }
    }
    Ok(attributes)
}

impl Member {
    fn read(element: &Element) -> Result<Self> {
        let mut fields = element.fields();
        let label = fields.take(tag::OCTET_STRING, "tag of a member")?;
        let mut member = Self { digest: Vec::new(), hash: Hash::Sha1, is_image: None, attributes: Vec::new() };
        let mut indirect = None;
        if let Some(set) = fields.take_if(&[tag::SET])? {
            let mut attributes = set.fields();
            while let Some(attribute) = attributes.advance()? {
                let mut parts = attribute.fields();
                let kind = parts.take(tag::OBJECT_IDENTIFIER, "attribute of a member")?.oid()?;
                let values = parts.take(tag::SET, "values of a member's attribute")?;
                match kind {
                    oid::NAME_VALUE => member.attributes.push(Attribute::read(&values.only("attribute of a member")?)?),
                    oid::INDIRECT_DATA => indirect = Some(Indirect::read(&values.only("digest of a member")?)?),
                    _ => {} // what kind of provider has hashed it
                }
            }
        }
        fields.end("a member")?;
        match indirect {
            Some(indirect) => {
                (member.digest, member.hash) = (indirect.digest, indirect.hash);
                member.is_image = Some(indirect.is_image);
            }
            None => member.set_by_label(label.content),
        }
        Ok(member)
    }

    /// A label that is no digest matches no file.
    fn set_by_label(&mut self, label: &[u8]) {
        self.digest = digest_in_words(label).unwrap_or_else(|| label.to_vec());
        self.hash = match self.digest.len() {
            32 => Hash::Sha256,
            48 => Hash::Sha384,
            64 => Hash::Sha512,
            _ => Hash::Sha1,
        };
    }
}

/// The digest in a label of the first version: 40 or 64 digits in UTF-16, and a NUL.
fn digest_in_words(label: &[u8]) -> Option<Vec<u8>> {
    let text = utf16(label);
    if ![40, 64].contains(&text.len()) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2).map(|pair| str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// `SPC_INDIRECT_DATA_CONTENT`: what kind of file it is, and its digest.
struct Indirect {
    is_image: bool,
    hash: Hash,
    digest: Vec<u8>,
}

impl Indirect {
    fn read(element: &Element) -> Result<Self> {
        let mut fields = element.fields();
        let kind = fields
            .take(tag::SEQUENCE, "kind of a member")?
            .fields()
            .take(tag::OBJECT_IDENTIFIER, "kind of a member")?;
        let mut info = fields.take(tag::SEQUENCE, "digest of a member")?.fields();
        let algorithm =
            info.take(tag::SEQUENCE, "hash of a member")?.fields().take(tag::OBJECT_IDENTIFIER, "hash of a member")?;
        let digest = info.take(tag::OCTET_STRING, "digest of a member")?;
        let hash = Hash::by_id(&algorithm.oid()?).map_err(|error| error.at(algorithm.offset))?;
        Ok(Self { is_image: kind.oid()? == oid::PE_IMAGE_DATA, hash, digest: digest.content.to_vec() })
    }
}

impl Attribute {
    /// `CAT_NAMEVALUE`: a BMPString, flags, and an OCTET STRING with a text in UTF-16 and a NUL.
    fn read(element: &Element) -> Result<Self> {
        let mut fields = element.fields();
        let name = fields.take(tag::BMP_STRING, "name of an attribute")?.text().unwrap_or_default();
        fields.take(tag::INTEGER, "flags of an attribute")?;
        let value = fields.take(tag::OCTET_STRING, "value of an attribute")?;
        fields.end("attribute")?;
        Ok(Self { name, value: utf16(value.content).replace(char::is_control, "\u{FFFD}") })
    }
}

/// A text in little-endian UTF-16 up to its NUL.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_digests_in_both_versions() {
        let words = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(digest_in_words(&words(&"AB".repeat(20))).unwrap(), [0xAB; 20]);
        assert_eq!(digest_in_words(&words(&"0f".repeat(32))).unwrap(), [0x0F; 32]);
        for text in ["", "AB", &"xy".repeat(20), &"\u{e4}b".repeat(20)] {
            assert_eq!(digest_in_words(&words(text)), None);
        }
        assert_eq!(digest_in_words(&[0xAB; 20]), None);
        assert_eq!(utf16(&[b'a', 0, 0, 0xD8, b'b']), "a\u{FFFD}");
    }
}
