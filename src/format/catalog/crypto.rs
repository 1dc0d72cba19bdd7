//! Hashes and signatures: what of them can be checked here.
//!
//! RSA with PKCS #1 v1.5 padding and SHA-1, SHA-256, SHA-384 or SHA-512; RSA with PSS padding and the SHA-2 hashes; keys of up to 4096 bits.
//! MD5 and ECDSA cannot, and are said to be what they are: no driver for Windows 8 or later needs either.

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use rsa::pkcs1::RsaPssParams;
use rsa::pkcs8::DecodePublicKey;
use rsa::traits::SignatureScheme;
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::oid;
use crate::error::{Error, Result};

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    pub(super) fn by_id(id: &ObjectIdentifier) -> Result<Self> {
        match *id {
            oid::SHA1 => Ok(Self::Sha1),
            oid::SHA256 => Ok(Self::Sha256),
            oid::SHA384 => Ok(Self::Sha384),
            oid::SHA512 => Ok(Self::Sha512),
            oid::MD5 => Err(uncheckable("MD5")),
            other => Err(uncheckable(other)),
        }
    }

    /// The hash of bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn pkcs1(self) -> Pkcs1v15Sign {
        // The DigestInfo of SHA-1 up to the hash (RFC 8017, 9.2, note 1).
        const SHA1: [u8; 15] =
            [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14];
        match self {
            Self::Sha1 => Pkcs1v15Sign { hash_len: Some(20), prefix: SHA1.into() },
            Self::Sha256 => Pkcs1v15Sign::new::<rsa::sha2::Sha256>(),
            Self::Sha384 => Pkcs1v15Sign::new::<rsa::sha2::Sha384>(),
            Self::Sha512 => Pkcs1v15Sign::new::<rsa::sha2::Sha512>(),
        }
    }

    fn pss(self, salt: usize) -> Result<Pss> {
        match self {
            Self::Sha1 => Err(uncheckable("RSA-PSS with SHA-1")),
            Self::Sha256 => Ok(Pss::new_with_salt::<rsa::sha2::Sha256>(salt)),
            Self::Sha384 => Ok(Pss::new_with_salt::<rsa::sha2::Sha384>(salt)),
            Self::Sha512 => Ok(Pss::new_with_salt::<rsa::sha2::Sha512>(salt)),
        }
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Pkcs1(Hash),
    Pss { hash: Hash, salt: u8 },
}

impl Scheme {
    /// By its identifier; `digest` is the hash where that says RSA alone, as Windows writes it into the infos of signers.
    pub(super) fn of(algorithm: &AlgorithmIdentifierOwned, digest: Option<Hash>) -> Result<Self> {
        match algorithm.oid {
            oid::RSA => digest.map(Self::Pkcs1).ok_or_else(|| uncheckable("RSA without a hash")),
            oid::SHA1_WITH_RSA => Ok(Self::Pkcs1(Hash::Sha1)),
            oid::SHA256_WITH_RSA => Ok(Self::Pkcs1(Hash::Sha256)),
            oid::SHA384_WITH_RSA => Ok(Self::Pkcs1(Hash::Sha384)),
            oid::SHA512_WITH_RSA => Ok(Self::Pkcs1(Hash::Sha512)),
            oid::RSA_PSS => Self::pss(algorithm),
            oid::MD5_WITH_RSA => Err(uncheckable("RSA with MD5")),
            other if other == oid::EC_KEY || other.to_string().starts_with(&oid::ECDSA.to_string()) => {
                Err(uncheckable("ECDSA"))
            }
            other => Err(uncheckable(other)),
        }
    }

    fn pss(algorithm: &AlgorithmIdentifierOwned) -> Result<Self> {
        let bad = |_| Error::corrupt("parameters of RSA-PSS");
        let parameters =
            algorithm.parameters.as_ref().ok_or_else(|| uncheckable("RSA-PSS with SHA-1"))?.to_der().map_err(bad)?;
        let parameters = RsaPssParams::from_der(&parameters).map_err(bad)?;
        let hash = Hash::by_id(&parameters.hash.oid)?;
        let masked_with = parameters.mask_gen.parameters.map(|hash| hash.oid);
        if parameters.mask_gen.oid != oid::MGF1 || masked_with != Some(parameters.hash.oid) {
            return Err(uncheckable("RSA-PSS with two hashes"));
        }
        Ok(Self::Pss { hash, salt: parameters.salt_len })
    }

    /// Whether the owner of `key` has made `signature` over `message`.
    pub(super) fn holds(self, key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> Result<bool> {
        let verdict = match self {
            Self::Pkcs1(hash) => hash.pkcs1().verify(key, &hash.of(message), signature),
            Self::Pss { hash, salt } => hash.pss(salt.into())?.verify(key, &hash.of(message), signature),
        };
        Ok(verdict.is_ok())
    }
}

/// The key of a certificate.
pub(super) fn rsa_key(key: &SubjectPublicKeyInfoOwned) -> Result<RsaPublicKey> {
    if key.algorithm.oid == oid::EC_KEY {
        return Err(uncheckable("an elliptic curve's key"));
    }
    let bad = || Error::unsupported("public key that cannot be used here").allowed("RSA of up to 4096 bits");
    let der = key.to_der().map_err(|_| bad())?;
    RsaPublicKey::from_public_key_der(&der).map_err(|_| bad())
}

fn uncheckable(what: impl std::fmt::Display) -> Error {
    Error::unsupported("signature that cannot be checked here").found(what).allowed("RSA with SHA-1 or SHA-2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_standards() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // FIPS 180-4, "abc".
        assert_eq!(hex(Hash::Sha1.of(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(Hash::Sha256.of(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((Hash::Sha384.of(b"").len(), Hash::Sha512.of(b"").len()), (48, 64));
    }

    #[test]
    fn says_what_it_cannot_check() {
        let of = |id: &str| {
            Scheme::of(&AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(id), parameters: None }, None)
        };
        assert_eq!(of("1.2.840.113549.1.1.11").unwrap(), Scheme::Pkcs1(Hash::Sha256));
        for (id, name) in [
            ("1.2.840.10045.4.3.2", "ECDSA"),
            ("1.2.840.113549.1.1.4", "RSA with MD5"),
            ("1.2.840.113549.1.1.10", "RSA-PSS with SHA-1"),
            ("1.2.840.113549.1.1.1", "RSA without a hash"),
            ("1.2.3.4", "1.2.3.4"),
        ] {
            assert!(of(id).unwrap_err().to_string().contains(&format!("found {name}")), "{id}");
        }
    }
}
