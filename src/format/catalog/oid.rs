//! The object identifiers that catalogs and what is around them use.
//!
//! Sources: `wincrypt.h`, `wintrust.h` and `mscat.h` of the Windows SDK; RFC 5652 (CMS), RFC 3161 (time stamps), RFC 8017 (RSA), RFC 5280 (X.509).

use der::asn1::ObjectIdentifier;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($id);)*
    };
}

ids! {
    SIGNED_DATA = "1.2.840.113549.1.7.2";
    /// `szOID_CTL`: a list of what is trusted.
    TRUST_LIST = "1.3.6.1.4.1.311.10.1";
    /// `szOID_CATALOG_LIST`: such a list that is a catalog.
    CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1";
    /// `CAT_NAMEVALUE_OBJID`.
    NAME_VALUE = "1.3.6.1.4.1.311.12.2.1";
    /// `SPC_INDIRECT_DATA_OBJID`.
    INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4";
    /// `SPC_PE_IMAGE_DATA_OBJID`.
    PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15";

    CONTENT_TYPE = "1.2.840.113549.1.9.3";
    MESSAGE_DIGEST = "1.2.840.113549.1.9.4";
    SIGNING_TIME = "1.2.840.113549.1.9.5";
    COUNTER_SIGNATURE = "1.2.840.113549.1.9.6";
    /// `szOID_RFC3161_counterSign`.
    TIME_STAMP = "1.3.6.1.4.1.311.3.3.1";
    /// `szOID_NESTED_SIGNATURE`.
    NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1";
    /// `id-ct-TSTInfo`.
    TIME_STAMP_INFO = "1.2.840.113549.1.9.16.1.4";

    MD5 = "1.2.840.113549.2.5";
    SHA1 = "1.3.14.3.2.26";
    SHA256 = "2.16.840.1.101.3.4.2.1";
    SHA384 = "2.16.840.1.101.3.4.2.2";
    SHA512 = "2.16.840.1.101.3.4.2.3";

    RSA = "1.2.840.113549.1.1.1";
    MD5_WITH_RSA = "1.2.840.113549.1.1.4";
    SHA1_WITH_RSA = "1.2.840.113549.1.1.5";
    MGF1 = "1.2.840.113549.1.1.8";
    RSA_PSS = "1.2.840.113549.1.1.10";
    SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
    SHA384_WITH_RSA = "1.2.840.113549.1.1.12";
    SHA512_WITH_RSA = "1.2.840.113549.1.1.13";
    EC_KEY = "1.2.840.10045.2.1";
    /// What the identifiers of ECDSA with a hash begin with.
    ECDSA = "1.2.840.10045.4";

    COMMON_NAME = "2.5.4.3";
    ORGANIZATIONAL_UNIT = "2.5.4.11";
    ORGANIZATION = "2.5.4.10";

    ANY_USAGE = "2.5.29.37.0";
    CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
    TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
    /// `szOID_WHQL_CRYPTO`.
    HARDWARE_DRIVER = "1.3.6.1.4.1.311.10.3.5";
    /// Of signatures that nobody tested for.
    HARDWARE_DRIVER_ATTESTED = "1.3.6.1.4.1.311.10.3.5.1";
    /// Of drivers that have passed the tests of the Hardware Lab Kit.
    HARDWARE_DRIVER_EXTENDED = "1.3.6.1.4.1.311.10.3.39";
    /// `szOID_NT5_CRYPTO`.
    SYSTEM_COMPONENT = "1.3.6.1.4.1.311.10.3.6";
    /// `szOID_KP_LIFETIME_SIGNING`: signatures end with the certificate, time stamp or not.
    LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13";
}
