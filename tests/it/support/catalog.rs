//! Makes catalogs with keys of its own: everything follows from the names, no clock, no chance.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use rsa::pkcs8::EncodePublicKey;
use rsa::rand_core::{CryptoRng, Error, RngCore};
use rsa::traits::SignatureScheme;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0C;
const UTC: u8 = 0x17;
const GENERALIZED: u8 = 0x18;
const BMP: u8 = 0x1E;

/// `szOID_PKIX_KP_CODE_SIGNING`, `szOID_WHQL_CRYPTO`, `szOID_PKIX_KP_TIMESTAMP_SIGNING`.
pub(crate) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
pub(crate) const WHQL: &str = "1.3.6.1.4.1.311.10.3.5";
pub(crate) const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";

const RSA_KEY: &str = "1.2.840.113549.1.1.1";
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";

/// An element of DER.
pub(crate) fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let len = content.len();
    let length = match len {
        0..0x80 => vec![len as u8],
        0x80..0x100 => vec![0x81, len as u8],
        0x100..0x1_0000 => vec![0x82, (len >> 8) as u8, len as u8],
        _ => vec![0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    };
    [vec![tag], length, content].concat()
}

fn oid(text: &str) -> Vec<u8> {
    let arcs: Vec<u64> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (0..5).rev().skip_while(|group| *group > 0 && arc >> (7 * group) == 0);
        content.extend(groups.map(|group| (arc >> (7 * group)) as u8 & 0x7F | if group > 0 { 0x80 } else { 0 }));
    }
    element(OID, &[content])
}

fn algorithm(id: &str) -> Vec<u8> {
    element(SEQUENCE, &[oid(id), vec![0x05, 0x00]])
}

fn small(number: u8) -> Vec<u8> {
    vec![INTEGER, 1, number]
}

/// A set in the order of DER.
fn set(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    element(SET, &parts)
}

fn name(common: &str) -> Vec<u8> {
    element(SEQUENCE, &[element(SET, &[element(SEQUENCE, &[oid("2.5.4.3"), element(UTF8, &[common.into()])])])])
}

/// A number that follows from a name.
fn serial(of: &str) -> Vec<u8> {
    let mut bytes = Sha256::digest(of)[..8].to_vec();
    bytes[0] = bytes[0] & 0x3F | 0x40;
    element(INTEGER, &[bytes])
}

/// Bytes without end out of a name.
struct Stream {
    name: String,
    count: u64,
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.count += 1;
        let hash = Sha256::digest(format!("{} {}", self.name, self.count));
        u64::from_le_bytes(hash[..8].try_into().unwrap())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Stream {}

fn stream(name: &str) -> Stream {
    Stream { name: name.into(), count: 0 }
}

/// The key of a name; making one takes a second.
fn key(name: &str) -> RsaPrivateKey {
    static KEYS: OnceLock<Mutex<HashMap<String, RsaPrivateKey>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
    keys.entry(name.into()).or_insert_with(|| RsaPrivateKey::new(&mut stream(name), 2048).unwrap()).clone()
}

fn sign(key: &RsaPrivateKey, message: &[u8]) -> Vec<u8> {
    let digest = rsa::sha2::Digest::finalize(rsa::sha2::Digest::chain_update(rsa::sha2::Sha256::default(), message));
    Pkcs1v15Sign::new::<rsa::sha2::Sha256>().sign(None::<&mut Stream>, key, &digest).unwrap()
}

fn sign_pss(key: &RsaPrivateKey, message: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(message);
    Pss::new::<rsa::sha2::Sha256>().sign(Some(&mut stream("salt")), key, &digest).unwrap()
}

/// Somebody with a key and a certificate.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    issuer: String,
    key: RsaPrivateKey,
    pub(crate) certificate: Vec<u8>,
}

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) usages: &'a [&'a str],
    pub(crate) is_authority: bool,
    /// From when to when it is valid.
    pub(crate) validity: (&'a str, &'a str),
}

impl Default for Purpose<'_> {
    fn default() -> Self {
        Self { usages: &[CODE_SIGNING], is_authority: false, validity: ("200101000000Z", "491231235959Z") }
    }
}

impl Identity {
    /// Somebody who vouches for himself.
    pub(crate) fn own(name: &str, purpose: Purpose) -> Self {
        Self::new(name, name, &key(name), purpose)
    }

    /// Somebody for whom this one vouches.
    pub(crate) fn vouch_for(&self, name: &str, purpose: Purpose) -> Self {
        Self::new(name, &self.name, &self.key, purpose)
    }

    fn new(own: &str, issuer: &str, issuer_key: &RsaPrivateKey, purpose: Purpose) -> Self {
        let key = key(own);
        let usages = element(SEQUENCE, &purpose.usages.iter().map(|usage| oid(usage)).collect::<Vec<_>>());
        let constraints = if purpose.is_authority { vec![0x01, 0x01, 0xFF] } else { Vec::new() };
        let extension = |id: &str, value: Vec<u8>| element(SEQUENCE, &[oid(id), element(OCTETS, &[value])]);
        let mut extensions = vec![extension("2.5.29.19", element(SEQUENCE, &[constraints]))];
        if !purpose.usages.is_empty() {
            extensions.push(extension("2.5.29.37", usages));
        }
        let (from, to) = purpose.validity;
        let signed = element(
            SEQUENCE,
            &[
                element(0xA0, &[small(2)]),
                serial(own),
                algorithm(SHA256_WITH_RSA),
                name(issuer),
                element(SEQUENCE, &[element(UTC, &[from.into()]), element(UTC, &[to.into()])]),
                name(own),
                key.to_public_key().to_public_key_der().unwrap().as_bytes().to_vec(),
                element(0xA3, &[element(SEQUENCE, &extensions)]),
            ],
        );
        let signature = element(BITS, &[vec![0], sign(issuer_key, &signed)]);
        let certificate = element(SEQUENCE, &[signed, algorithm(SHA256_WITH_RSA), signature]);
        Self { name: own.into(), issuer: issuer.into(), key, certificate }
    }

    /// Its certificate as PEM, for programs that want it so.
    pub(crate) fn pem(&self) -> String {
        let text = base64(&self.certificate);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }
}

/// Base64, as RFC 4648 has it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let letter = |index: usize| LETTERS[(bits >> (18 - 6 * index)) as usize & 63] as char;
        text.extend((0..4).map(|index| if index <= group.len() { letter(index) } else { '=' }));
    }
    text
}

/// A catalog to be made.
#[derive(Clone)]
pub(crate) struct Order<'a> {
    pub(crate) files: &'a [(&'a str, &'a [u8])],
    /// `OS`, `HWID1`, ...
    pub(crate) attributes: &'a [(&'a str, &'a str)],
    /// `OSAttr` of each file.
    pub(crate) version: &'a str,
    /// Digests in words, as lists of the first version have them; SHA-1 alone, without what says how they are made.
    pub(crate) is_old: bool,
    pub(crate) pss: bool,
    /// Those who vouch for the signer.
    pub(crate) authorities: &'a [&'a Identity],
    /// Who gives a time stamp, when, and over what: nothing stands for the signature.
    pub(crate) stamp: Option<(&'a Identity, &'a str, Option<&'a [u8]>)>,
    /// The time stamp in the older form.
    pub(crate) is_countersigned: bool,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self {
            files: &[],
            attributes: &[("OS", "_v100_X64,Server_v100_X64"), ("HWID1", r"pci\ven_1af4&dev_1000")],
            version: "2:10.0",
            is_old: false,
            pss: false,
            authorities: &[],
            stamp: None,
            is_countersigned: false,
        }
    }
}

impl Order<'_> {
    /// The catalog, signed by somebody.
    pub(crate) fn sign(&self, signer: &Identity) -> Vec<u8> {
        const LIST: &str = "1.3.6.1.4.1.311.10.1";
        let content = self.list();
        let signature_over = signed_attributes(LIST, inside(&content), None);
        let signature =
            if self.pss { sign_pss(&signer.key, &signature_over) } else { sign(&signer.key, &signature_over) };
        let unsigned = self.stamp.map(|(by, time, over)| {
            let over = over.unwrap_or(&signature);
            if self.is_countersigned { countersignature(by, time, over) } else { time_stamp(by, time, over) }
        });
        let mut certificates: Vec<Vec<u8>> = self.authorities.iter().map(|by| by.certificate.clone()).collect();
        certificates.push(signer.certificate.clone());
        certificates.extend(self.stamp.filter(|_| self.is_countersigned).map(|(by, ..)| by.certificate.clone()));
        let how = if self.pss { pss_algorithm() } else { algorithm(RSA_KEY) };
        let info = signer_info(signer, &signature_over, how, signature, unsigned);
        signed_data(LIST, content, certificates, info)
    }

    fn list(&self) -> Vec<u8> {
        let members = if self.is_old { "1.3.6.1.4.1.311.12.1.2" } else { "1.3.6.1.4.1.311.12.1.3" };
        let attributes: Vec<Vec<u8>> = self
            .attributes
            .iter()
            .map(|(name, value)| element(SEQUENCE, &[oid(NAME_VALUE), element(OCTETS, &[name_value(name, value)])]))
            .collect();
        element(
            SEQUENCE,
            &[
                element(SEQUENCE, &[oid("1.3.6.1.4.1.311.12.1.1")]),
                element(OCTETS, &[vec![7; 16]]),
                element(UTC, &["230722113900Z".into()]),
                algorithm(members),
                element(
                    SEQUENCE,
                    &self.files.iter().flat_map(|(name, bytes)| self.members(name, bytes)).collect::<Vec<_>>(),
                ),
                element(0xA0, &[element(SEQUENCE, &attributes)]),
            ],
        )
    }

    fn members(&self, name: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
        let hashed = left_in(bytes);
        let sha1 = Sha1::digest(&hashed).to_vec();
        let label = if self.is_old {
            let words: String = sha1.iter().map(|byte| format!("{byte:02X}")).collect();
            element(OCTETS, &[utf16(&words)])
        } else {
            element(OCTETS, &[sha1])
        };
        let about = || {
            let values = [("OSAttr", self.version), ("File", name)];
            values
                .map(|(name, value)| element(SEQUENCE, &[oid(NAME_VALUE), element(SET, &[name_value(name, value)])]))
                .to_vec()
        };
        let mut members = vec![element(SEQUENCE, &[label, set(about())])];
        if !self.is_old {
            let digest = Sha256::digest(&hashed).to_vec();
            let kind = if bytes.starts_with(b"MZ") { pe_image() } else { flat_file() };
            let info = element(SEQUENCE, &[algorithm(SHA256), element(OCTETS, std::slice::from_ref(&digest))]);
            let indirect = element(SEQUENCE, &[kind, info]);
            let indirect = element(SEQUENCE, &[oid("1.3.6.1.4.1.311.2.1.4"), element(SET, &[indirect])]);
            members.push(element(SEQUENCE, &[element(OCTETS, &[digest]), set([about(), vec![indirect]].concat())]));
        }
        members
    }
}

const NAME_VALUE: &str = "1.3.6.1.4.1.311.12.2.1";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";

/// `SPC_PE_IMAGE_DATA`: flags, and a file whose name is empty.
fn pe_image() -> Vec<u8> {
    let flags = element(BITS, &[vec![5, 0xA0]]);
    let file = element(0xA0, &[element(0xA2, &[vec![0x80, 0]])]);
    element(SEQUENCE, &[oid("1.3.6.1.4.1.311.2.1.15"), element(SEQUENCE, &[flags, file])])
}

/// `SPC_CAB_DATA`, with which other files are marked: a file whose name is empty.
fn flat_file() -> Vec<u8> {
    element(SEQUENCE, &[oid("1.3.6.1.4.1.311.2.1.25"), element(0xA2, &[vec![0x80, 0]])])
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn name_value(name: &str, value: &str) -> Vec<u8> {
    let name = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let flags = vec![INTEGER, 4, 0x10, 0x01, 0x00, 0x01];
    element(SEQUENCE, &[element(BMP, &[name]), flags, element(OCTETS, &[utf16(value)])])
}

/// What of a file is hashed: of a PE32+ image without a signature all but its checksum and the place of its certificates, padded to 8.
fn left_in(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(b"MZ") {
        return bytes.to_vec();
    }
    let header = u32::from_le_bytes(bytes[0x3C..0x40].try_into().unwrap()) as usize + 24;
    let (checksum, certificates) = (header + 64, header + 112 + 4 * 8);
    let mut left = [&bytes[..checksum], &bytes[checksum + 4..certificates], &bytes[certificates + 8..]].concat();
    left.resize(bytes.len().next_multiple_of(8) - 12, 0);
    left
}

/// What is in an element of more than 127 bytes.
fn inside(element: &[u8]) -> &[u8] {
    let header = if element[1] < 0x80 { 2 } else { 2 + usize::from(element[1] & 0x7F) };
    &element[header..]
}

fn signed_attributes(kind: &str, content: &[u8], time: Option<&str>) -> Vec<u8> {
    let attribute = |id: &str, value: Vec<u8>| element(SEQUENCE, &[oid(id), element(SET, &[value])]);
    let mut attributes = vec![
        attribute("1.2.840.113549.1.9.3", oid(kind)),
        attribute("1.2.840.113549.1.9.4", element(OCTETS, &[Sha256::digest(content).to_vec()])),
    ];
    attributes.extend(time.map(|time| attribute("1.2.840.113549.1.9.5", element(UTC, &[time.into()]))));
    set(attributes)
}

fn pss_algorithm() -> Vec<u8> {
    let masks = element(SEQUENCE, &[oid("1.2.840.113549.1.1.8"), algorithm(SHA256)]);
    let parameters = [element(0xA0, &[algorithm(SHA256)]), element(0xA1, &[masks]), element(0xA2, &[small(32)])];
    element(SEQUENCE, &[oid("1.2.840.113549.1.1.10"), element(SEQUENCE, &parameters)])
}

fn signer_info(
    signer: &Identity,
    signed: &[u8],
    how: Vec<u8>,
    signature: Vec<u8>,
    unsigned: Option<Vec<u8>>,
) -> Vec<u8> {
    let mut attributes = signed.to_vec();
    attributes[0] = 0xA0;
    let id = element(SEQUENCE, &[name(&signer.issuer), serial(&signer.name)]);
    let unsigned = unsigned.map(|attribute| element(0xA1, &[attribute])).unwrap_or_default();
    element(SEQUENCE, &[small(1), id, algorithm(SHA256), attributes, how, element(OCTETS, &[signature]), unsigned])
}

fn signed_data(kind: &str, content: Vec<u8>, certificates: Vec<Vec<u8>>, info: Vec<u8>) -> Vec<u8> {
    let content = element(SEQUENCE, &[oid(kind), element(0xA0, &[content])]);
    let mut certificates = set(certificates);
    certificates[0] = 0xA0;
    let data = [small(1), element(SET, &[algorithm(SHA256)]), content, certificates, element(SET, &[info])];
    element(SEQUENCE, &[oid("1.2.840.113549.1.7.2"), element(0xA0, &[element(SEQUENCE, &data)])])
}

/// RFC 3161, as an attribute that is not signed.
fn time_stamp(by: &Identity, time: &str, over: &[u8]) -> Vec<u8> {
    const INFO: &str = "1.2.840.113549.1.9.16.1.4";
    let imprint = element(SEQUENCE, &[algorithm(SHA256), element(OCTETS, &[Sha256::digest(over).to_vec()])]);
    let time = element(GENERALIZED, &[format!("20{time}").into_bytes()]);
    let info = element(SEQUENCE, &[small(1), oid("1.2.3.4"), imprint, small(9), time]);
    let attributes = signed_attributes(INFO, &info, None);
    let signature = sign(&by.key, &attributes);
    let info_of_signer = signer_info(by, &attributes, algorithm(RSA_KEY), signature, None);
    let token = signed_data(INFO, element(OCTETS, &[info]), vec![by.certificate.clone()], info_of_signer);
    element(SEQUENCE, &[oid("1.3.6.1.4.1.311.3.3.1"), element(SET, &[token])])
}

/// PKCS #9, as an attribute that is not signed.
fn countersignature(by: &Identity, time: &str, over: &[u8]) -> Vec<u8> {
    let attributes = signed_attributes("1.2.840.113549.1.7.1", over, Some(time));
    let signature = sign(&by.key, &attributes);
    let info = signer_info(by, &attributes, algorithm(RSA_KEY), signature, None);
    element(SEQUENCE, &[oid("1.2.840.113549.1.9.6"), element(SET, &[info])])
}

/// A program for 64-bit x86 with one section; bytes of it follow from a seed.
pub(crate) fn program(seed: u8, len: usize) -> Vec<u8> {
    let mut file = vec![0; 1024.max(len)];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3C, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes()); // the size of the optional header
    put(0x56, &0x22_u16.to_le_bytes());
    put(0x58, &0x20B_u16.to_le_bytes());
    put(0x58 + 32, &4096_u32.to_le_bytes());
    put(0x58 + 36, &512_u32.to_le_bytes());
    put(0x58 + 56, &8192_u32.to_le_bytes());
    put(0x58 + 60, &512_u32.to_le_bytes()); // the size of the headers
    put(0x58 + 108, &16_u32.to_le_bytes());
    put(0x148, b".text");
    put(0x148 + 8, &512_u32.to_le_bytes());
    put(0x148 + 12, &4096_u32.to_le_bytes());
    put(0x148 + 16, &512_u32.to_le_bytes());
    put(0x148 + 20, &512_u32.to_le_bytes());
    file[512..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u8).wrapping_mul(seed));
    file
}
