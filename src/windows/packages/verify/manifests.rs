//! Manifests: unpacked, found in a catalog, named as their identity is, and their files as they say.

use std::sync::Arc;

use super::catalogs::{Catalog, Catalogs};
use crate::error::{Context, Error, Kind, Result};
use crate::format::assembly::{Element, Manifest, ManifestFile};
use crate::format::catalog::{FileDigest, hex};
use crate::format::delta;
use crate::windows::packages::bundle::File;
use crate::windows::packages::{Bundle, LeftOut, Payload};

/// The longest manifest, unpacked; the largest of Windows have some megabytes.
const MAX_MANIFEST: usize = 64 << 20;

/// A manifest that is what was signed.
#[derive(Debug, Clone)]
pub struct VerifiedManifest {
    /// What it is called, in lower case.
    pub keyform: String,
    /// What it says in general.
    pub manifest: Manifest,
    /// All of it, unpacked.
    pub bytes: Arc<[u8]>,
    /// The files that it brings.
    pub payload: Vec<Payload>,
    /// Files that it has and the bundle has not: they have to be in the store already.
    pub missing: Vec<String>,
}

/// What came of a manifest.
pub(super) enum Checked {
    /// All holds.
    Fine {
        /// It.
        manifest: Box<VerifiedManifest>,
        /// What nobody vouches for.
        issues: Vec<String>,
    },
    /// It cannot be unpacked here.
    Packed(LeftOut),
}

/// Checks one manifest with its files.
pub(super) fn verify(
    bundle: &Bundle,
    catalogs: &Catalogs,
    name: &str,
    packed: &[u8],
    base: Option<&[u8]>,
) -> Result<Checked> {
    let bytes = match delta::unpack(packed, base, MAX_MANIFEST) {
        Err(error) if error.kind() == Kind::Unsupported => {
            let why = match base {
                None => "it is packed against the base manifest of a servicing stack, which neither the image has nor --servicing-stack gives".into(),
                Some(_) => error.to_string(),
            };
            return Ok(Checked::Packed(LeftOut { what: name.to_owned(), line: 0, why }));
        }
        bytes => bytes?,
    };
    let digest = FileDigest::of(&bytes);
    if !catalogs.is_mute() && !catalogs.vouch_for(&digest) {
        return Err(Catalog::unlisted(&digest));
    }
    let manifest = Manifest::read(&Element::parse(&bytes)?)?;
    let keyform = manifest.identity.keyform();
    if name.strip_suffix(".manifest") != Some(&keyform) {
        return Err(Error::corrupt("a manifest that is called otherwise than its assembly").found(&keyform));
    }
    let mut verified =
        VerifiedManifest { keyform, manifest, bytes: bytes.into(), payload: Vec::new(), missing: Vec::new() };
    let mut issues = Vec::new();
    for file in &verified.manifest.files {
        let path = format!(r"{}\{}", verified.keyform, file.name.to_lowercase());
        let Some(found) = bundle.payload.get(&path) else {
            verified.missing.push(file.name.clone());
            continue;
        };
        if !check(file, found).context(|| path.clone())? && !catalogs.vouch_for(&digest_of(found)) {
            issues.push(format!("{path}: nobody says what its hash is"));
        }
        verified.payload.push(Payload { name: file.name.clone(), content: found.content.clone() });
    }
    Ok(Checked::Fine { manifest: Box::new(verified), issues })
}

/// Whether the manifest has a hash of the file; one that is wrong is an error.
fn check(file: &ManifestFile, found: &File) -> Result<bool> {
    let compare = |name: &str, expected: &[u8], found: &[u8]| {
        if expected == found {
            return Ok(true);
        }
        Err(Error::corrupt(format_args!("{name} of a file")).found(hex(found)).allowed(hex(expected)))
    };
    match (&file.sha256, &file.sha1) {
        (Some(sha256), _) => compare("SHA-256", sha256, &found.sha256),
        (None, Some(sha1)) => compare("SHA-1", sha1, &found.sha1),
        (None, None) => Ok(false),
    }
}

fn digest_of(file: &File) -> FileDigest {
    FileDigest { sha1: file.sha1, sha256: file.sha256, is_image: false, is_signed: false }
}
