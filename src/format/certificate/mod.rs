//! A self-signed certificate for a server, and the PFX file (PKCS #12) in which Windows takes it together with its key.
//!
//! | | written | read |
//! |---|---|---|
//! | X.509 v3 certificate, RSA of 2048 bits, signed with SHA-256 by its own key | yes | no |
//! | PFX with one certificate and its key | yes | no |
//!
//! # Choices
//!
//! * RSA, because every program that speaks TLS takes it, and what there is of Windows servers with WinRM has it.
//! * The PFX is encrypted with `pbeWithSHAAnd3-KeyTripleDES-CBC` and authenticated with HMAC-SHA-1: Windows Server 2016 takes
//!   nothing newer (AES came with Windows 10 1709). That keeps nobody out for long; whoever keeps a PFX protects the file.
//! * The key's bag names the provider and the machine's key set, as files do that `Export-PfxCertificate` writes of a machine's key.
//! * It is valid from 2000 to 2049, whatever clocks say: nothing depends on when it was made.
//!
//! Everything follows from the entropy that the caller gives: the same 32 bytes make the same key, certificate and PFX.
//!
//! Sources: RFC 5280 (X.509), RFC 7292 (PKCS #12), RFC 5958 (PKCS #8), Microsoft's `wincrypt.h` for the attributes.

mod der;
mod pfx;

use std::fmt;

use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::{CryptoRng, Error as RngError, RngCore};
use rsa::signature::{SignatureEncoding, Signer};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

const BITS: usize = 2048;
/// The longest name that fits a CN (RFC 5280, `ub-common-name`).
const MAX_NAME: usize = 64;

const SHA256_WITH_RSA: &[u32] = &[1, 2, 840, 113_549, 1, 1, 11];
const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const ALTERNATIVE_NAME: &[u32] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
const SERVER_AUTHENTICATION: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];

/// A certificate that its own key has signed, with that key.
#[derive(Clone)]
pub struct SelfSigned {
    certificate: Vec<u8>,
    /// PKCS #8.
    key: Vec<u8>,
    entropy: [u8; 32],
}

impl fmt::Debug for SelfSigned {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").field("thumbprint", &self.thumbprint()).finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// Makes a key out of `entropy`, and a certificate for a server of that DNS name.
    ///
    /// # Errors
    /// [`Invalid`](Kind::Invalid) for a name that is no DNS name.
    pub fn new(name: &str, entropy: &[u8; 32]) -> Result<Self> {
        let is_dns = name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        if !is_dns || !(1..=MAX_NAME).contains(&name.len()) {
            return Err(Error::invalid("name of a certificate")
                .found(format_args!("{name:?}"))
                .allowed("1 to 64 letters, digits, hyphens and dots"));
        }
        let broken = |_| Error::new(Kind::BadResult, "the key of the certificate cannot be made");
        let key = RsaPrivateKey::new(&mut Stream::new(entropy, b"key"), BITS).map_err(|_| broken(()))?;
        let public = key.to_public_key().to_public_key_der().map_err(|_| broken(()))?;
        let private = key.to_pkcs8_der().map_err(|_| broken(()))?.as_bytes().to_vec();
        let mut serial = [0; 16];
        Stream::new(entropy, b"serial").fill_bytes(&mut serial);
        let to_be_signed = to_be_signed(name, &serial, public.as_bytes());
        let signature = SigningKey::<rsa::sha2::Sha256>::new(key).try_sign(&to_be_signed).map_err(|_| broken(()))?;
        let certificate = der::sequence(&[to_be_signed, algorithm(), der::bits(0, &signature.to_vec())]);
        Ok(Self { certificate, key: private, entropy: *entropy })
    }

    /// The certificate, without the key.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The SHA-1 of the certificate, by which Windows names it.
    pub fn thumbprint(&self) -> [u8; 20] {
        Sha1::digest(&self.certificate).into()
    }

    /// The PFX file, to be opened with a password.
    pub fn to_pfx(&self, password: &str) -> Result<Vec<u8>> {
        pfx::write(&self.certificate, &self.key, password, &mut Stream::new(&self.entropy, b"pfx"))
    }
}

fn algorithm() -> Vec<u8> {
    der::sequence(&[der::oid(SHA256_WITH_RSA), der::null()])
}

/// TBSCertificate. `public` is a SubjectPublicKeyInfo.
fn to_be_signed(name: &str, serial: &[u8; 16], public: &[u8]) -> Vec<u8> {
    const VERSION_3: u32 = 2;
    let subject = der::sequence(&[der::set(&[der::sequence(&[der::oid(COMMON_NAME), der::utf8(name)])])]);
    let validity = der::sequence(&[der::utc_time("000101000000Z"), der::utc_time("491231235959Z")]);
    let mut positive = *serial;
    positive[0] = positive[0] & 0x7F | 0x40; // of one length, and not negative
    der::sequence(&[
        der::explicit(0, &der::small(VERSION_3)),
        der::integer(&positive),
        algorithm(),
        subject.clone(),
        validity,
        subject,
        public.to_vec(),
        der::explicit(3, &extensions(name)),
    ])
}

fn extensions(name: &str) -> Vec<u8> {
    const DNS_NAME: u8 = 2;
    // The first and the third of nine bits: digitalSignature and keyEncipherment.
    const SIGNS_AND_WRAPS_KEYS: (u8, u8) = (5, 0b1010_0000);
    let (unused, usage) = SIGNS_AND_WRAPS_KEYS;
    let critical = |id: &[u32], value: Vec<u8>| der::sequence(&[der::oid(id), der::truth(), der::octets(&value)]);
    let plain = |id: &[u32], value: Vec<u8>| der::sequence(&[der::oid(id), der::octets(&value)]);
    der::sequence(&[
        critical(KEY_USAGE, der::bits(unused, &[usage])),
        critical(BASIC_CONSTRAINTS, der::sequence(&[])), // no authority
        plain(EXTENDED_KEY_USAGE, der::sequence(&[der::oid(SERVER_AUTHENTICATION)])),
        plain(ALTERNATIVE_NAME, der::sequence(&[der::implicit(DNS_NAME, name.as_bytes())])),
    ])
}

/// Bytes without end out of 32: SHA-256 of the entropy, the purpose and a counter.
struct Stream {
    start: Sha256,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Stream {
    fn new(entropy: &[u8; 32], purpose: &[u8]) -> Self {
        let start = Sha256::new().chain_update(b"nanovhd certificate 1\0").chain_update(entropy).chain_update(purpose);
        Self { start, counter: 0, block: [0; 32], used: 32 }
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                self.block = self.start.clone().chain_update(self.counter.to_le_bytes()).finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RngError> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_entropy_makes_the_same_certificate() {
        let [one, again, other] = [1, 1, 2].map(|seed| SelfSigned::new("web01", &[seed; 32]).unwrap());
        assert_eq!((one.der(), one.thumbprint()), (again.der(), again.thumbprint()));
        assert_eq!(one.to_pfx("x").unwrap(), again.to_pfx("x").unwrap());
        assert_ne!(one.thumbprint(), other.thumbprint());
        assert!(!format!("{one:?}").contains("key"));
        assert!(one.der().windows(5).any(|window| window == b"web01"));
    }

    #[test]
    fn refuses_what_is_no_name_of_a_machine() {
        for name in ["", "a b", "a,CN=b", "gr\u{fc}n", &"x".repeat(65)] {
            assert_eq!(SelfSigned::new(name, &[0; 32]).unwrap_err().kind(), Kind::Invalid, "{name}");
        }
    }
}
