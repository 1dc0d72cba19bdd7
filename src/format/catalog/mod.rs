//! Catalogs (`.cat`): the signed lists of files by which Windows recognizes driver packages and its own files.
//!
//! A catalog is signed data (PKCS #7) whose content is a list of what is trusted (`szOID_CTL`) with the usage of a catalog. Each member is a file's
//! digest with attributes; the catalog has attributes of its own, such as the devices and the versions of Windows that it is for.
//!
//! ```text
//! ContentInfo signedData
//!   list    identifier, time, members (digest, File, OSAttr), attributes (OS, HWID1, ...)
//!   certificates of the signer and of those who vouch for him; the root is not in it
//!   signer  hash of the list, signature, time stamp
//! ```
//!
//! | | read | checked | written |
//! |---|---|---|---|
//! | lists of version 1 (digests in words) and 2 (in bytes) | yes | | no |
//! | digests: SHA-1 and SHA-256, of PE images and of files as they lie | yes | yes | |
//! | signatures: RSA with PKCS #1 or PSS padding, SHA-1 (PKCS #1 only) and SHA-2 | yes | yes | |
//! | signatures: ECDSA, or with MD5 | yes | no: an error says so | |
//! | chains up to a root of Microsoft (see [`ROOTS`]) | | yes, with that root's key | |
//! | other roots | | no: what Windows trusts besides is its own | |
//! | time stamps: RFC 3161 and countersignatures | yes | yes, up to a root of Microsoft | |
//! | a second signature inside the first | | no: said | |
//! | revocation | | no: that takes the net and a clock | |
//!
//! # What real catalogs do
//! Those of the hardware programme have, for each file, a member with its SHA-1 and one with its SHA-256, in one list of version 2; only the latter have
//! `SPC_INDIRECT_DATA`. They carry the signer's certificate and the authority's below the root, and a time stamp of RFC 3161 with two certificates
//! of its own. The info of the signer names RSA alone, the hash beside it. The attribute `OS` lists versions as `_v100_X64_RS1`, or
//! `Server_v100_X64` for servers; what has no processor in its name is for 32-bit x86.
//!
//! # Limits
//! 16 MiB for a catalog, 262144 members, 64 certificates of 64 KiB, 8 signers, 8 steps to a root, RSA keys of up to 4096 bits. A parsed list takes a
//! few times its bytes, never more than 100 MiB.
//!
//! # Sources
//! RFC 5652, RFC 3161, RFC 5280, RFC 8017; `wincrypt.h` and `mscat.h` of the Windows SDK; Microsoft, "Windows Authenticode Portable Executable Signature Format";
//! catalogs of virtio-win and of Windows 10.

mod asn1;
mod certificate;
mod crypto;
mod digest;
mod list;
mod oid;
mod roots;
mod signed;
mod verify;

pub use certificate::Certificate;
pub use crypto::Hash;
pub use der::asn1::ObjectIdentifier;
pub use digest::FileDigest;
pub use list::{Attribute, List, Member};
pub use roots::{ROOTS, Root};
pub use verify::{Stamp, Top, Verified};

use asn1::Fields;
use signed::SignedData;

use crate::error::{Error, Result};

/// The largest catalog; those of whole Windows releases have a few MiB.
pub const MAX_SIZE: usize = 16 << 20;

/// What a certificate may be used for, as far as drivers ask.
pub mod usage {
    use super::{ObjectIdentifier, oid};

    /// A driver that the hardware programme has signed (`szOID_WHQL_CRYPTO`).
    pub const HARDWARE_DRIVER: ObjectIdentifier = oid::HARDWARE_DRIVER;
    /// One that its maker has vouched for, without tests.
    pub const HARDWARE_DRIVER_ATTESTED: ObjectIdentifier = oid::HARDWARE_DRIVER_ATTESTED;
    /// One that has passed the tests of the Hardware Lab Kit.
    pub const HARDWARE_DRIVER_EXTENDED: ObjectIdentifier = oid::HARDWARE_DRIVER_EXTENDED;
    /// A part of Windows (`szOID_NT5_CRYPTO`).
    pub const SYSTEM_COMPONENT: ObjectIdentifier = oid::SYSTEM_COMPONENT;
    /// Any program.
    pub const CODE_SIGNING: ObjectIdentifier = oid::CODE_SIGNING;
}

/// A catalog.
#[derive(Debug)]
pub struct Catalog<'a> {
    data: SignedData<'a>,
    list: List,
}

impl<'a> Catalog<'a> {
    /// Reads a catalog; its signature is not checked yet.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) and [`Truncated`](crate::error::Kind::Truncated) with the offset of what is no catalog,
    /// [`Unsupported`](crate::error::Kind::Unsupported) for one beyond the limits.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > MAX_SIZE {
            let error = Error::unsupported("catalog").found(format_args!("{} bytes", bytes.len()));
            return Err(error.allowed(format_args!("{MAX_SIZE} bytes")));
        }
        let mut fields = Fields::new(bytes);
        let info = fields.take(asn1::tag::SEQUENCE, "catalog")?;
        fields.end("catalog")?;
        let data = SignedData::read(&info)?;
        if data.content_type != oid::TRUST_LIST {
            let error = Error::corrupt("catalog")
                .at(data.content.offset)
                .found(format_args!("signed data of type {}", data.content_type));
            return Err(error.allowed(format_args!("a list ({})", oid::TRUST_LIST)));
        }
        let list = List::read(&data.content)?;
        Ok(Self { data, list })
    }

    /// What it lists.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The certificates in it.
    pub fn certificates(&self) -> &[Certificate] {
        &self.data.certificates
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if it does not hold, [`Unsupported`](crate::error::Kind::Unsupported) if that cannot be checked here.
    pub fn verify(&self) -> Result<Verified> {
        verify::verify(&self.data, self.list.time)
    }

    /// The members that are this file.
    pub fn members_of(&self, digest: &FileDigest) -> impl Iterator<Item = &Member> {
        self.list.members.iter().filter(move |member| digest.is(&member.digest))
    }
}

/// Bytes in hexadecimal, as catalogs show them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn refuses_what_is_no_catalog() {
        for bytes in [&b""[..], b"MZ", &[0x30, 0x00], &[0x30, 0x03, 0x06, 0x01, 0x2A], &[0x30, 0x00, 0x00]] {
            let error = Catalog::read(bytes).unwrap_err();
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated), "{error}");
        }
        let error = Catalog::read(&vec![0; MAX_SIZE + 1]).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }

    /// A wrong digit in a key would make every signature of its owner look false.
    #[test]
    fn the_roots_have_keys_of_their_lengths() {
        use rsa::traits::PublicKeyParts;
        let bits = ROOTS.each_ref().map(|root| root.key().map(|key| key.size() * 8));
        assert_eq!(bits, [Some(4096), Some(4096), Some(4096), Some(2048), None]);
        assert!(ROOTS.iter().all(|root| root.thumbprint.len() == 40));
    }
}
