//! What packages say of themselves.

use serde::Serialize;

use super::part::Part;
use crate::error::{Context, Error, Result};
use crate::format::assembly::{Element, Identity, PackageManifest};
use crate::windows::packages::{Bundle, Verified, verify};

/// The longest `update.mum` that is looked at; those of cumulative updates have some MiB.
const MAX_MANIFEST: u64 = 64 << 20;

/// A package by its own words.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// Where it is.
    pub source: String,
    /// The name of its file.
    pub file: String,
    /// The language that it is for, by its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder_language: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// How much its files hold.
    pub unpacked_bytes: u64,
    /// Its id.
    pub id: String,
    /// The same in its parts.
    pub identity: Identity,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Feature Pack`, `Language Pack`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_type: Option<String>,
    /// The packages one of which it belongs to.
    pub parents: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
    /// The capabilities that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// What reading all of a package tells, beyond its own words.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The ids of all packages in it, those that are nested in others last.
    pub packages: Vec<String>,
    /// Components and deployments.
    pub components: usize,
    /// Files of components.
    pub files: usize,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Why it would be refused as it is signed, and what then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

impl Part {
    /// What its manifest says. No more than that is unpacked, and nothing is checked.
    ///
    /// # Errors
    /// Those of the cabinet; [`Corrupt`](crate::error::Kind::Corrupt) for a manifest that is none.
    pub fn describe(&self) -> Result<Description> {
        let (tree, _) = self.files()?;
        let read = || -> Result<PackageManifest> {
            let content = tree.find("update.mum").and_then(|node| tree.node(node).main());
            let content = content.ok_or_else(|| Error::invalid("no package").found("no update.mum in it"))?;
            if content.len() > MAX_MANIFEST {
                return Err(Error::unsupported("length of a manifest").found(content.len()).allowed(MAX_MANIFEST));
            }
            let document = Element::parse(&tree.read(content)?).context(|| "update.mum")?;
            PackageManifest::read(&document).context(|| "update.mum")
        };
        let manifest = read().context(|| self.origin.clone())?;
        let parents = manifest.parents.iter().flat_map(|parent| &parent.identities);
        Ok(Description {
            source: self.origin.clone(),
            file: self.name.clone(),
            folder_language: self.language.clone(),
            bytes: self.bytes,
            unpacked_bytes: self.unpacked_len()?,
            id: manifest.identity.package_id(),
            display_name: manifest.display_name,
            description: manifest.description,
            release_type: manifest.release_type,
            parents: parents.map(Identity::package_id).collect(),
            features: manifest.updates.into_iter().map(|update| update.name).collect(),
            capabilities: manifest.capabilities,
            identity: manifest.identity,
        })
    }

    /// Reads all of it, and checks that it is what was signed. `base` is what manifests are packed against; who has signed it does not matter where
    /// that is allowed.
    ///
    /// # Errors
    /// Those of [`Bundle::read`] and [`verify`](crate::windows::packages::verify()).
    pub fn inspect(&self, base: Option<&[u8]>, allow_unsigned: bool) -> Result<Inspection> {
        self.verified(base).map(|(verified, remarks)| Inspection::of(&verified, remarks, allow_unsigned))
    }

    /// The same as it is, with remarks on files that were left out.
    pub(in crate::image) fn verified(&self, base: Option<&[u8]>) -> Result<(Verified, Vec<String>)> {
        let (tree, mut remarks) = self.files()?;
        let verified = verify(Bundle::read(self.origin.clone(), tree)?, base)?;
        remarks.extend(verified.remarks.iter().cloned());
        Ok((verified, remarks))
    }
}

impl Inspection {
    /// What checking came to.
    pub fn of(verified: &Verified, remarks: Vec<String>, allow_unsigned: bool) -> Self {
        // Its frame is the bundle, which whoever shows it has named.
        let words = |error: Error| {
            let text = error.to_string();
            let own = text.strip_prefix(&format!("{}: ", verified.bundle.origin)).unwrap_or(&text);
            error.hint_text().map_or_else(|| own.to_owned(), |hint| format!("{own}; {hint}"))
        };
        let mut packages: Vec<_> = verified.packages.iter().collect();
        packages.sort_by_key(|package| !package.is_top);
        Self {
            packages: packages.iter().map(|package| package.id.clone()).collect(),
            components: verified.manifests.len(),
            files: verified.bundle.payload.len(),
            signer: packages.first().and_then(|package| package.signer.clone()),
            refusal: verified.verdict(allow_unsigned).err().map(words),
            remarks,
        }
    }
}
