//! The PFX file.
//!
//! ```text
//! PFX  version 3
//!      authSafe   data, of two ContentInfos:
//!                 encryptedData    SafeContents: certBag (localKeyId)
//!                 data             SafeContents: pkcs8ShroudedKeyBag (localKeyId, provider, machine's key set)
//!      macData    HMAC-SHA-1 over authSafe
//! ```

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use des::TdesEde3;
use hmac::{Hmac, KeyInit, Mac};
use rsa::rand_core::RngCore;
use sha1::{Digest, Sha1};

use super::der;
use crate::error::{Error, Kind, Result};

const DATA: &[u32] = &[1, 2, 840, 113_549, 1, 7, 1];
const ENCRYPTED_DATA: &[u32] = &[1, 2, 840, 113_549, 1, 7, 6];
const PBE_SHA1_3DES: &[u32] = &[1, 2, 840, 113_549, 1, 12, 1, 3];
const SHROUDED_KEY_BAG: &[u32] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 2];
const CERTIFICATE_BAG: &[u32] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u32] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const LOCAL_KEY_ID: &[u32] = &[1, 2, 840, 113_549, 1, 9, 21];
const SHA1: &[u32] = &[1, 3, 14, 3, 2, 26];
/// `szOID_PKCS_12_KEY_PROVIDER_NAME_ATTR`.
const PROVIDER: &[u32] = &[1, 3, 6, 1, 4, 1, 311, 17, 1];
/// `szOID_LOCAL_MACHINE_KEYSET`.
const MACHINE_KEY_SET: &[u32] = &[1, 3, 6, 1, 4, 1, 311, 17, 2];

/// What Windows itself uses.
const ITERATIONS: u32 = 2000;
const SALT: usize = 8;

pub(super) fn write(certificate: &[u8], key: &[u8], password: &str, salts: &mut impl RngCore) -> Result<Vec<u8>> {
    let password: Vec<u8> = password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let id = attribute(LOCAL_KEY_ID, &[der::octets(&Sha1::digest(certificate))]);
    let certificate_bag = bag(
        CERTIFICATE_BAG,
        &der::sequence(&[der::oid(X509_CERTIFICATE), der::explicit(0, &der::octets(certificate))]),
        std::slice::from_ref(&id),
    );
    let (algorithm, encrypted) = encrypt(&der::sequence(&[certificate_bag]), &password, salts)?;
    let certificates =
        der::sequence(&[der::small(0), der::sequence(&[der::oid(DATA), algorithm, der::implicit(0, &encrypted)])]);
    let (algorithm, shrouded) = encrypt(key, &password, salts)?;
    let provider = attribute(PROVIDER, &[der::bmp("Microsoft Software Key Storage Provider")]);
    let key_bag = bag(
        SHROUDED_KEY_BAG,
        &der::sequence(&[algorithm, der::octets(&shrouded)]),
        &[attribute(MACHINE_KEY_SET, &[]), id, provider],
    );
    let safe = der::sequence(&[
        der::sequence(&[der::oid(ENCRYPTED_DATA), der::explicit(0, &certificates)]),
        data(&der::sequence(&[key_bag])),
    ]);
    let mac = mac(&safe, &password, salts)?;
    Ok(der::sequence(&[der::small(3), data(&safe), mac]))
}

/// ContentInfo with plain data.
fn data(content: &[u8]) -> Vec<u8> {
    der::sequence(&[der::oid(DATA), der::explicit(0, &der::octets(content))])
}

fn bag(kind: &[u32], value: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut sorted = attributes.to_vec();
    sorted.sort(); // DER wants the parts of a SET OF in order
    der::sequence(&[der::oid(kind), der::explicit(0, value), der::set(&sorted)])
}

fn attribute(kind: &[u32], values: &[Vec<u8>]) -> Vec<u8> {
    der::sequence(&[der::oid(kind), der::set(values)])
}

fn salt(salts: &mut impl RngCore) -> [u8; SALT] {
    let mut salt = [0; SALT];
    salts.fill_bytes(&mut salt);
    salt
}

/// Encrypts with a key of its own; gives the AlgorithmIdentifier, and what became of `plain`.
fn encrypt(plain: &[u8], password: &[u8], salts: &mut impl RngCore) -> Result<(Vec<u8>, Vec<u8>)> {
    let salt = salt(salts);
    let key: [u8; 24] = derive(Purpose::Key, password, &salt);
    let vector: [u8; 8] = derive(Purpose::Vector, password, &salt);
    let cipher = cbc::Encryptor::<TdesEde3>::new(&key.into(), &vector.into());
    let parameters = der::sequence(&[der::octets(&salt), der::small(ITERATIONS)]);
    let algorithm = der::sequence(&[der::oid(PBE_SHA1_3DES), parameters]);
    Ok((algorithm, cipher.encrypt_padded_vec::<Pkcs7>(plain)))
}

/// MacData.
fn mac(safe: &[u8], password: &[u8], salts: &mut impl RngCore) -> Result<Vec<u8>> {
    let salt = salt(salts);
    let key: [u8; 20] = derive(Purpose::Mac, password, &salt);
    let mut mac = Hmac::<Sha1>::new_from_slice(&key)
        .map_err(|_| Error::new(Kind::BadResult, "the PFX cannot be authenticated"))?;
    mac.update(safe);
    let digest =
        der::sequence(&[der::sequence(&[der::oid(SHA1), der::null()]), der::octets(&mac.finalize().into_bytes())]);
    Ok(der::sequence(&[digest, der::octets(&salt), der::small(ITERATIONS)]))
}

/// What a key is derived for (RFC 7292, appendix B.3).
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Vector = 2,
    Mac = 3,
}

/// RFC 7292, appendix B.2, with SHA-1.
fn derive<const N: usize>(purpose: Purpose, password: &[u8], salt: &[u8]) -> [u8; N] {
    const BLOCK: usize = 64;
    let filled =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().cycle().take(bytes.len().div_ceil(BLOCK) * BLOCK).collect() };
    let mut input = [filled(salt), filled(password)].concat();
    let mut out = [0; N];
    for piece in out.chunks_mut(20) {
        let mut hash = Sha1::new().chain_update([purpose as u8; BLOCK]).chain_update(&input).finalize();
        for _ in 1..ITERATIONS {
            hash = Sha1::digest(hash);
        }
        piece.copy_from_slice(&hash[..piece.len()]);
        let addend: Vec<u8> = hash.iter().copied().cycle().take(BLOCK).collect();
        for block in input.chunks_mut(BLOCK) {
            let mut carry = 1; // block = block + addend + 1, as numbers of 512 bits
            for (digit, add) in block.iter_mut().zip(&addend).rev() {
                let sum = u16::from(*digit) + u16::from(*add) + carry;
                *digit = sum as u8;
                carry = sum >> 8;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_as_others_do() {
        // openssl kdf -keylen 24 -kdfopt digest:SHA1 -kdfopt hexpass:0073006d006500670000 -kdfopt hexsalt:0A58CF64530D823F
        //     -kdfopt iter:2000 -kdfopt id:1 PKCS12KDF
        #[rustfmt::skip]
        const OPENSSL: [u8; 24] = [
            0x2A, 0xF9, 0xF3, 0x0A, 0x4B, 0x72, 0x57, 0xC8, 0x21, 0x19, 0x12, 0x24,
            0x71, 0xBF, 0x20, 0x6C, 0x84, 0x72, 0x3D, 0xB8, 0x79, 0xA0, 0xE2, 0xFC,
        ];
        let password: Vec<u8> = "smeg".encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
        let salt = [0x0A, 0x58, 0xCF, 0x64, 0x53, 0x0D, 0x82, 0x3F];
        let key: [u8; 24] = derive(Purpose::Key, &password, &salt);
        assert_eq!(key, OPENSSL);
    }
}
