//! Certificates (X.509) as far as signatures of catalogs need them.

use std::fmt;

use der::asn1::ObjectIdentifier;
use der::{Decode, Tagged};
use rsa::RsaPublicKey;
use sha1::{Digest, Sha1};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::asn1::{Element, tag, text};
use super::crypto::{Scheme, rsa_key};
use super::oid;
use super::roots::Root;
use crate::base::FileTime;
use crate::error::{Error, Result};

/// A certificate out of a catalog.
#[derive(Clone)]
pub struct Certificate {
    x509: x509_cert::Certificate,
    /// What its signature is over: TBSCertificate as it lies in the file.
    signed: Vec<u8>,
    thumbprint: [u8; 20],
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

impl Certificate {
    pub(super) fn read(element: &Element) -> Result<Self> {
        let bad = |why: der::Error| Error::corrupt("certificate").at(element.offset).found(why.kind()).allowed("X.509");
        let x509 = x509_cert::Certificate::from_der(element.whole).map_err(bad)?;
        let signed = element.fields().take(tag::SEQUENCE, "certificate")?.whole.to_vec();
        Ok(Self { x509, signed, thumbprint: Sha1::digest(element.whole).into() })
    }

    /// The common name of its owner, or what else names it.
    pub fn subject(&self) -> String {
        shown(&self.x509.tbs_certificate.subject)
    }

    /// The common name of who has issued it.
    pub fn issuer(&self) -> String {
        shown(&self.x509.tbs_certificate.issuer)
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> (FileTime, FileTime) {
        let validity = &self.x509.tbs_certificate.validity;
        let time = |time: &x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            FileTime::from_unix(seconds).unwrap_or(FileTime(u64::MAX))
        };
        (time(&validity.not_before), time(&validity.not_after))
    }

    /// Whether it is valid at a time.
    pub fn is_valid_at(&self, time: FileTime) -> bool {
        let (from, to) = self.validity();
        (from..=to).contains(&time)
    }

    /// Its extended key usages; none if it says nothing of them.
    pub fn usages(&self) -> Vec<ObjectIdentifier> {
        let usages = self.x509.tbs_certificate.get::<ExtendedKeyUsage>();
        usages.ok().flatten().map(|(_, usages)| usages.0).unwrap_or_default()
    }

    /// The SHA-1 of it in hexadecimal, by which Windows names it.
    pub fn thumbprint(&self) -> String {
        self.thumbprint.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether its owner has issued it.
    pub fn is_self_issued(&self) -> bool {
        self.x509.tbs_certificate.subject == self.x509.tbs_certificate.issuer
    }

    pub(super) fn is_issued_under(&self, issuer: &Name, serial: &[u8]) -> bool {
        self.x509.tbs_certificate.issuer == *issuer && self.x509.tbs_certificate.serial_number.as_bytes() == serial
    }

    pub(super) fn has_key_id(&self, id: &[u8]) -> bool {
        let own = self.x509.tbs_certificate.get::<SubjectKeyIdentifier>().ok().flatten();
        own.is_some_and(|(_, own)| own.0.as_bytes() == id)
    }

    /// Whether `other` names it as its issuer.
    pub(super) fn is_named_by(&self, other: &Self) -> bool {
        self.x509.tbs_certificate.subject == other.x509.tbs_certificate.issuer
    }

    /// Whether it may issue a certificate that `below` more authorities lie under.
    pub(super) fn may_issue(&self, below: usize) -> bool {
        let constraints = self.x509.tbs_certificate.get::<BasicConstraints>().ok().flatten();
        constraints
            .is_some_and(|(_, own)| own.ca && own.path_len_constraint.is_none_or(|most| below <= usize::from(most)))
    }

    pub(super) fn key(&self) -> Result<RsaPublicKey> {
        rsa_key(&self.x509.tbs_certificate.subject_public_key_info)
    }

    /// Whether the owner of `key` has signed it.
    pub(super) fn is_signed_with(&self, key: &RsaPublicKey) -> Result<bool> {
        // Inside and outside have to name the same algorithm (RFC 5280, 4.1.1.2).
        if self.x509.signature_algorithm != self.x509.tbs_certificate.signature {
            return Ok(false);
        }
        let Some(signature) = self.x509.signature.as_bytes() else { return Ok(false) };
        Scheme::of(&self.x509.signature_algorithm, None)?.holds(key, &self.signed, signature)
    }

    /// The root of Microsoft that it is.
    pub(super) fn as_root(&self) -> Option<&'static Root> {
        Root::find(self.key().ok().as_ref(), &self.thumbprint())
    }
}

/// The common name in a name, or the last unit or organization where there is none.
fn shown(name: &Name) -> String {
    let attribute = |id: ObjectIdentifier| {
        let values = name.0.iter().flat_map(|part| part.0.iter()).filter(|attribute| attribute.oid == id);
        values.filter_map(|attribute| text(attribute.value.tag().octet(), attribute.value.value())).next_back()
    };
    [oid::COMMON_NAME, oid::ORGANIZATIONAL_UNIT, oid::ORGANIZATION]
        .into_iter()
        .find_map(attribute)
        .unwrap_or_else(|| "somebody without a name".into())
}

/// An algorithm with its parameters.
pub(super) fn algorithm(element: &Element) -> Result<x509_cert::spki::AlgorithmIdentifierOwned> {
    let bad = |why: der::Error| Error::corrupt("algorithm").at(element.offset).found(why.kind());
    x509_cert::spki::AlgorithmIdentifierOwned::from_der(element.whole).map_err(bad)
}
