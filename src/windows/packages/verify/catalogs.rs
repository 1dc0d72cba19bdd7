//! The catalogs of a bundle: who has signed them, and what they list.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{NAMED, VerifiedPackage, in_parallel};
use crate::base::words::some;
use crate::error::{Context, Error, Kind, Result};
use crate::format::catalog::{self, FileDigest};
use crate::windows::drivers::trust::SignatureKind;
use crate::windows::packages::Bundle;

/// The catalogs, by their names without `.cat`. Those of packages vouch for what they list, others for nothing.
pub(super) struct Catalogs(BTreeMap<String, Catalog>);

/// A catalog whose signature holds.
pub(super) struct Catalog {
    pub(super) name: String,
    pub(super) bytes: Arc<[u8]>,
    pub(super) kind: SignatureKind,
    pub(super) signer: Option<String>,
    pub(super) issues: Vec<String>,
    pub(super) remarks: Vec<String>,
    /// Whether it is that of a package: then [`verdict`](super::Verified::verdict) looks at who has signed it, and so what it lists counts.
    vouches: bool,
    digests: HashSet<Vec<u8>>,
    /// Whether it lists anything by its SHA-256; then its SHA-1s do not count.
    has_sha256: bool,
}

impl Catalogs {
    /// Reads all catalogs and checks their signatures. `update.cat` has to be the same as that of the package which `update.mum` is of; packages are
    /// compared where they are read.
    pub(super) fn read(bundle: &Bundle) -> Result<Self> {
        let documents: Vec<_> = bundle.documents.iter().filter(|(name, _)| name.ends_with(".cat")).collect();
        let catalogs = in_parallel(&documents, |(name, bytes)| Catalog::read(name, bytes).context(|| (*name).clone()))?;
        Ok(Self::new(catalogs))
    }

    fn new(catalogs: Vec<Catalog>) -> Self {
        let stem = |name: &str| name.strip_suffix(".cat").unwrap_or(name).to_owned();
        Self(catalogs.into_iter().map(|catalog| (stem(&catalog.name), catalog)).collect())
    }

    /// Lets the catalogs of packages vouch. Anybody can put another one beside them.
    pub(super) fn let_vouch(&mut self, packages: &[VerifiedPackage]) {
        let of_packages: HashSet<&[u8]> = packages.iter().filter_map(|package| package.catalog.as_deref()).collect();
        for catalog in self.0.values_mut() {
            catalog.vouches = of_packages.contains(&*catalog.bytes);
        }
    }

    /// Whether none of them vouches for anything.
    pub(super) fn is_mute(&self) -> bool {
        !self.0.values().any(|catalog| catalog.vouches)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Catalog> {
        self.0.values()
    }

    /// That of a package, by the name of its manifest without `.mum`.
    pub(super) fn of_package(&self, stem: &str) -> Option<&Catalog> {
        self.0.get(stem)
    }

    /// Whether one of them vouches for a file.
    pub(super) fn vouch_for(&self, digest: &FileDigest) -> bool {
        self.0.values().any(|catalog| catalog.vouches && catalog.has(digest))
    }
}

impl Catalog {
    fn read(name: &str, bytes: &Arc<[u8]>) -> Result<Self> {
        let catalog = catalog::Catalog::read(bytes)?;
        let members = &catalog.list().members;
        let mut read = Self {
            name: name.to_owned(),
            bytes: Arc::clone(bytes),
            kind: SignatureKind::None,
            signer: None,
            issues: Vec::new(),
            remarks: Vec::new(),
            vouches: false,
            digests: members.iter().map(|member| member.digest.clone()).collect(),
            has_sha256: members.iter().any(|member| member.hash == catalog::Hash::Sha256),
        };
        match catalog.verify() {
            Ok(verified) if verified.is_stamp_broken => {
                return Err(Error::corrupt("the time stamp of its signature does not hold")
                    .found(some(&verified.remarks, NAMED)));
            }
            Ok(verified) if verified.is_chain_broken => {
                let error = Error::corrupt("a certificate is not as its issuer has signed it");
                return Err(error.found(some(&verified.remarks, NAMED)));
            }
            Ok(verified) => {
                read.kind = SignatureKind::of(&verified);
                read.signer = verified.signer().map(|signer| signer.subject());
                read.issues = verified.issues;
                // All of Microsoft's have one; without it nobody can say whether the certificate was valid then.
                let stands_alone = verified.stamp.is_none();
                let texts = if stands_alone { &mut read.issues } else { &mut read.remarks };
                texts.extend(verified.remarks);
            }
            Err(error) if error.kind() == Kind::Unsupported => read.issues.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(read)
    }

    /// Whether it lists a file.
    pub(super) fn has(&self, digest: &FileDigest) -> bool {
        self.digests.contains(&digest.sha256[..]) || (!self.has_sha256 && self.digests.contains(&digest.sha1[..]))
    }

    /// What is said of a file that none of them vouches for.
    pub(super) fn unlisted(digest: &FileDigest) -> Error {
        Error::corrupt("it is not what was signed: no catalog of a package lists its SHA-256")
            .found(catalog::hex(&digest.sha256))
    }
}

#[cfg(test)]
impl Catalogs {
    /// Catalogs whose signatures held, with the files that they list.
    pub(super) fn signed(catalogs: &[(&str, SignatureKind, &[&[u8]])]) -> Self {
        let catalog = |(name, kind, files): &(&str, SignatureKind, &[&[u8]])| Catalog {
            name: (*name).to_owned(),
            bytes: name.as_bytes().into(),
            kind: *kind,
            signer: Some(format!("{kind:?}")),
            issues: Vec::new(),
            remarks: Vec::new(),
            vouches: false,
            digests: files.iter().map(|bytes| FileDigest::of(bytes).sha256.to_vec()).collect(),
            has_sha256: true,
        };
        Self::new(catalogs.iter().map(catalog).collect())
    }
}
