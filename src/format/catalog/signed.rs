//! Signed data (RFC 5652, in the form of PKCS #7 1.5): a catalog is one, and so is a time stamp.

use cms::cert::IssuerAndSerialNumber;
use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::asn1::{Element, Fields, tag};
use super::certificate::{Certificate, algorithm};
use super::crypto::{Hash, Scheme};
use super::oid;
use crate::error::{Error, Result};

/// Certificates in one piece of signed data; real ones have two to six.
const MAX_CERTIFICATES: usize = 64;
/// The largest certificate: each may be hashed once for everybody who could have issued it.
const MAX_CERTIFICATE: usize = 64 << 10;
/// Signers in one piece of signed data; real ones have one.
const MAX_SIGNERS: usize = 8;

/// `SignedData`.
#[derive(Debug)]
pub(super) struct SignedData<'a> {
    pub(super) content_type: ObjectIdentifier,
    /// What is signed. The hash is over what is in the element, without its tag and length.
    pub(super) content: Element<'a>,
    pub(super) certificates: Vec<Certificate>,
    /// Why certificates could not be read.
    pub(super) unread: Vec<Error>,
    pub(super) signers: Vec<Signer<'a>>,
}

/// `SignerInfo`.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    id: SignerId<'a>,
    digest: AlgorithmIdentifierOwned,
    attributes: Option<Element<'a>>,
    algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: &'a [u8],
    unsigned: Option<Element<'a>>,
    offset: u64,
}

#[derive(Debug)]
enum SignerId<'a> {
    Issued { issuer: Box<Name>, serial: Vec<u8> },
    KeyId(&'a [u8]),
}

impl<'a> SignedData<'a> {
    /// Reads a `ContentInfo` that has to be signed data.
    pub(super) fn read(info: &Element<'a>) -> Result<Self> {
        let mut fields = info.fields();
        let kind = fields.take(tag::OBJECT_IDENTIFIER, "kind of content")?;
        if kind.oid()? != oid::SIGNED_DATA {
            let error = Error::corrupt("kind of content").at(kind.offset).found(kind.oid()?);
            return Err(error.allowed(format_args!("signed data ({})", oid::SIGNED_DATA)));
        }
        let wrapped = fields.take(tag::CONTEXT_0, "signed data")?;
        let mut fields = wrapped.only("signed data")?.fields();
        fields.take(tag::INTEGER, "version of signed data")?;
        fields.take(tag::SET, "digest algorithms")?;
        let (content_type, content) = content(&fields.take(tag::SEQUENCE, "signed content")?)?;
        let mut data =
            Self { content_type, content, certificates: Vec::new(), unread: Vec::new(), signers: Vec::new() };
        if let Some(set) = fields.take_if(&[tag::CONTEXT_0])? {
            data.read_certificates(set.fields())?;
        }
        fields.take_if(&[tag::CONTEXT_1])?; // revocation lists: they are of when it was signed, and say nothing of today
        let mut signers = fields.take(tag::SET, "signers")?.fields();
        while let Some(signer) = signers.advance()? {
            if data.signers.len() == MAX_SIGNERS {
                return Err(Error::unsupported("signed data")
                    .at(signer.offset)
                    .found("more signers")
                    .allowed(MAX_SIGNERS));
            }
            data.signers.push(Signer::read(&signer)?);
        }
        fields.end("signed data")?;
        Ok(data)
    }

    fn read_certificates(&mut self, mut set: Fields<'a>) -> Result<()> {
        while let Some(element) = set.advance()? {
            if self.certificates.len() + self.unread.len() == MAX_CERTIFICATES {
                return Err(Error::unsupported("signed data")
                    .at(element.offset)
                    .found("more certificates")
                    .allowed(MAX_CERTIFICATES));
            }
            if element.whole.len() > MAX_CERTIFICATE {
                return Err(Error::unsupported("certificate")
                    .at(element.offset)
                    .found(element.whole.len())
                    .allowed(MAX_CERTIFICATE));
            }
            match Certificate::read(&element) {
                Ok(certificate) => self.certificates.push(certificate),
                Err(error) => self.unread.push(error),
            }
        }
        Ok(())
    }
}

fn content<'a>(element: &Element<'a>) -> Result<(ObjectIdentifier, Element<'a>)> {
    let mut fields = element.fields();
    let kind = fields.take(tag::OBJECT_IDENTIFIER, "type of the content")?.oid()?;
    let content = fields.take(tag::CONTEXT_0, "the content, which is not inside")?.only("signed content")?;
    fields.end("signed content")?;
    Ok((kind, content))
}

impl<'a> Signer<'a> {
    pub(super) fn read(element: &Element<'a>) -> Result<Self> {
        let mut fields = element.fields();
        fields.take(tag::INTEGER, "version of a signer")?;
        let id = fields.any("a signer's certificate")?;
        let id = match id.tag {
            tag::SEQUENCE => SignerId::issued(&id)?,
            _ => SignerId::KeyId(id.content),
        };
        let digest = algorithm(&fields.take(tag::SEQUENCE, "a signer's hash")?)?;
        let attributes = fields.take_if(&[tag::CONTEXT_0])?;
        let algorithm = algorithm(&fields.take(tag::SEQUENCE, "a signer's algorithm")?)?;
        let signature = fields.take(tag::OCTET_STRING, "signature")?.content;
        let unsigned = fields.take_if(&[tag::CONTEXT_1])?;
        fields.end("a signer")?;
        Ok(Self { id, digest, attributes, algorithm, signature, unsigned, offset: element.offset })
    }

    /// Whether it has signed `content`, which is of `kind`: its certificate, or what is wrong.
    pub(super) fn check<'c>(
        &self,
        kind: &ObjectIdentifier,
        content: &[u8],
        certificates: &'c [Certificate],
    ) -> Result<&'c Certificate> {
        let missing =
            || Error::corrupt("the certificate of its signer is not in it").at(self.offset).found(self.id.shown());
        let certificate = certificates.iter().find(|certificate| self.id.is_of(certificate)).ok_or_else(missing)?;
        let hash = Hash::by_id(&self.digest.oid)?;
        let signed = match &self.attributes {
            Some(attributes) => {
                self.check_attributes(kind, &hash.of(content))?;
                // They are signed as the SET that they are, not as the [0] as which they are written (RFC 5652, 5.4).
                let mut signed = attributes.whole.to_vec();
                signed.iter_mut().take(1).for_each(|first| *first = tag::SET);
                signed
            }
            None => content.to_vec(),
        };
        let scheme = Scheme::of(&self.algorithm, Some(hash))?;
        if scheme.holds(&certificate.key()?, &signed, self.signature)? {
            return Ok(certificate);
        }
        Err(Error::corrupt(format_args!("the signature is not one of {}", certificate.subject())).at(self.offset))
    }

    fn check_attributes(&self, kind: &ObjectIdentifier, digest: &[u8]) -> Result<()> {
        let bad = |what: &str| Error::corrupt(what.to_owned()).at(self.offset);
        let signed = self.attribute(&oid::MESSAGE_DIGEST)?.ok_or_else(|| bad("no digest is signed"))?;
        if signed.content != digest {
            return Err(bad("what is signed has been changed")
                .found(format_args!("digest {}", super::hex(digest)))
                .allowed(format_args!("{}, as signed", super::hex(signed.content))));
        }
        let signed = self.attribute(&oid::CONTENT_TYPE)?.map(|kind| kind.oid()).transpose()?;
        if signed.is_some_and(|signed| signed != *kind) {
            return Err(bad("the signature is for content of another type"));
        }
        Ok(())
    }

    /// The one value of a signed attribute.
    pub(super) fn attribute(&self, id: &ObjectIdentifier) -> Result<Option<Element<'a>>> {
        value(self.attributes.as_ref(), id)
    }

    /// The one value of an attribute that is not signed.
    pub(super) fn unsigned_attribute(&self, id: &ObjectIdentifier) -> Result<Option<Element<'a>>> {
        value(self.unsigned.as_ref(), id)
    }
}

fn value<'a>(attributes: Option<&Element<'a>>, id: &ObjectIdentifier) -> Result<Option<Element<'a>>> {
    let Some(attributes) = attributes else { return Ok(None) };
    let mut fields = attributes.fields();
    while let Some(attribute) = fields.advance()? {
        let mut parts = attribute.fields();
        if parts.take(tag::OBJECT_IDENTIFIER, "attribute")?.oid()? == *id {
            return parts.take(tag::SET, "values of an attribute")?.only("values of an attribute").map(Some);
        }
    }
    Ok(None)
}

impl SignerId<'_> {
    fn issued(element: &Element) -> Result<Self> {
        let bad = |why: der::Error| Error::corrupt("a signer's certificate").at(element.offset).found(why.kind());
        let id = IssuerAndSerialNumber::from_der(element.whole).map_err(bad)?;
        Ok(Self::Issued { issuer: Box::new(id.issuer), serial: id.serial_number.as_bytes().to_vec() })
    }

    fn is_of(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Issued { issuer, serial } => certificate.is_issued_under(issuer, serial),
            Self::KeyId(id) => certificate.has_key_id(id),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Issued { serial, .. } => format!("a signer with the serial number {}", super::hex(serial)),
            Self::KeyId(id) => format!("a signer with the key {}", super::hex(id)),
        }
    }
}
