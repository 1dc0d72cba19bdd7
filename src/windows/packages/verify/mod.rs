//! Whether packages are what was signed, byte by byte, and by whom.
//!
//! ```text
//! signature --> <package id>.cat --> <package id>.mum                  its SHA-256
//!                                --> <keyform>.manifest, unpacked      its SHA-256 --> <keyform>\<file>    the SHA-256 that the manifest says
//!                                                                      its identity --> the keyform
//! ```
//!
//! | | here | Windows |
//! |---|---|---|
//! | a hash or a signature that does not hold, a manifest with another name than its identity's | error, whatever is allowed | error 800736CCh (ERROR_SXS_FILE_HASH_MISMATCH) and others |
//! | a manifest that no catalog of a package lists | error, if a package has one | the same |
//! | a catalog that is no package's | remark; it vouches for nothing, whoever has signed it | not looked at |
//! | a file of a manifest that is not in the bundle | noted ([`VerifiedManifest::missing`]) | taken from the store if it is there, else 800F081Fh (CBS_E_SOURCE_MISSING) |
//! | a file without a hash in its manifest, and in no catalog of a package | [`Verified::verdict`] | not known: no package of Microsoft's has one |
//! | payload that no manifest names | remark | not looked at |
//! | no catalogs; a signer who is not Microsoft | [`Verified::verdict`] | error 800B0100h (TRUST_E_NOSIGNATURE) and others |
//!
//! What no signature is over is checked as well where there is something to check it by: certificates by their issuers, time stamps by their own
//! signatures, all files by the list of hashes that some cabinets have. What is left is what nobody asks for, such as the version of a catalog's format.
//!
//! Windows' own packages are signed by "Microsoft Windows", whose certificate is for parts of Windows (1.3.6.1.4.1.311.10.3.6), below a root of
//! Microsoft's; some updates by "Microsoft Corporation", for programs. The hardware programme's certificates are below the same roots, but what they
//! sign is others' drivers: they do not count.

mod catalogs;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use catalogs::Catalogs;
use manifests::Checked;
pub use manifests::VerifiedManifest;

use super::bundle::express_error;
use super::{Bundle, LeftOut};
use crate::base::ordered::ordered;
use crate::base::words::some;
use crate::error::{Context, Error, Result};
use crate::format::assembly::{Element, Item, PackageManifest};
use crate::format::catalog::FileDigest;
use crate::windows::drivers::trust::SignatureKind;

/// Messages name so many files one by one.
const NAMED: usize = 4;

/// A bundle of which all hashes hold.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its files.
    pub bundle: Bundle,
    /// Its packages: those that are not nested in others first, then by their names.
    pub packages: Vec<VerifiedPackage>,
    /// Its manifests, by their keyforms in lower case.
    pub manifests: BTreeMap<String, VerifiedManifest>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
    /// What of it cannot be read here, and was not checked beyond the catalogs and the packages' own manifests: it takes its Windows to install it.
    pub unread: Vec<LeftOut>,
    /// What nobody has signed, though the packages are; and what else keeps Windows from taking it. Each names its file.
    pub issues: Vec<String>,
}

/// A package of the bundle.
#[derive(Debug, Clone)]
pub struct VerifiedPackage {
    /// Its id: `name~token~architecture~language~version`.
    pub id: String,
    /// What its manifest says.
    pub manifest: PackageManifest,
    /// Its manifest.
    pub mum: Arc<[u8]>,
    /// Its catalog; none for one that nobody has signed.
    pub catalog: Option<Arc<[u8]>>,
    /// Whether it is what the bundle is for, not nested in another package.
    pub is_top: bool,
    /// What kind of signature it has.
    pub kind: SignatureKind,
    /// Who has signed it, by his own word unless the kind says that he is known.
    pub signer: Option<String>,
}

/// Checks that all that is in a bundle is what was signed. `base` is what manifests are packed against ([`base`](super::base)).
///
/// # Errors
/// [`Corrupt`](crate::error::Kind::Corrupt) for whatever is not what it is said to be, with the name of the file,
/// [`Unsupported`](crate::error::Kind::Unsupported) for documents beyond the limits. Who has signed it is in the result: see [`Verified::verdict`].
pub fn verify(bundle: Bundle, base: Option<&[u8]>) -> Result<Verified> {
    let origin = bundle.origin.clone();
    verify_bundle(bundle, base).map_err(|error| error.context(origin))
}

fn verify_bundle(bundle: Bundle, base: Option<&[u8]>) -> Result<Verified> {
    let catalogs = Catalogs::read(&bundle)?;
    verify_with(bundle, catalogs, base)
}

fn verify_with(bundle: Bundle, mut catalogs: Catalogs, base: Option<&[u8]>) -> Result<Verified> {
    let packages = read_packages(&bundle, &catalogs)?;
    catalogs.let_vouch(&packages);
    let mut verified = Verified {
        bundle,
        packages,
        manifests: BTreeMap::new(),
        remarks: Vec::new(),
        unread: Vec::new(),
        issues: Vec::new(),
    };
    verified.note_catalogs(&catalogs);
    verified.note_express();
    if !verified.unread.is_empty() {
        return Ok(verified);
    }
    let documents: Vec<_> = verified.bundle.documents.iter().filter(|(name, _)| name.ends_with(".manifest")).collect();
    let manifests = in_parallel(&documents, |(name, bytes)| {
        manifests::verify(&verified.bundle, &catalogs, name, bytes, base).context(|| (*name).clone())
    })?;
    for checked in manifests {
        match checked {
            Checked::Fine { manifest, issues } => {
                verified.issues.extend(issues);
                verified.manifests.insert(manifest.keyform.clone(), *manifest);
            }
            Checked::Packed(left_out) => verified.unread.push(left_out),
        }
    }
    verified.note_payload();
    Ok(verified)
}

/// Does the same with each, on all cores; results are in their order, and so is the first error.
fn in_parallel<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> Result<O> + Sync) -> Result<Vec<O>> {
    let mut results = Vec::with_capacity(items.len());
    let mut next = items.iter();
    let take = |result| {
        results.push(result);
        Ok(())
    };
    ordered(available_parallelism().unwrap_or(NonZeroUsize::MIN), || Ok(next.next()), || &work, take)?;
    Ok(results)
}

/// All packages. `update.mum` is one of them; some bundles have it under that name only, some under the package's only.
fn read_packages(bundle: &Bundle, catalogs: &Catalogs) -> Result<Vec<VerifiedPackage>> {
    let documents: Vec<_> = bundle.documents.iter().filter(|(name, _)| name.ends_with(".mum")).collect();
    let mut packages: BTreeMap<String, VerifiedPackage> = BTreeMap::new();
    let read = in_parallel(&documents, |(name, mum)| read_package(name, mum, catalogs).context(|| (*name).clone()))?;
    for ((name, _), package) in documents.into_iter().zip(read) {
        let known = packages.get_mut(&package.id.to_lowercase());
        match known {
            Some(known) if !known.is_copied_as(&package) => {
                let error = Error::corrupt("two different manifests, or catalogs, of one package").found(&package.id);
                return Err(error.context(name));
            }
            Some(known) => known.join(package),
            None => drop(packages.insert(package.id.to_lowercase(), package)),
        }
    }
    let mut packages: Vec<VerifiedPackage> = packages.into_values().collect();
    find_top(&mut packages);
    packages.sort_by_key(|package| !package.is_top);
    Ok(packages)
}

/// Where nothing is called `update.mum`: the packages that no other one has in it.
fn find_top(packages: &mut [VerifiedPackage]) {
    if packages.iter().any(|package| package.is_top) {
        return;
    }
    let items = packages.iter().flat_map(|package| &package.manifest.updates).flat_map(|update| &update.items);
    let nested = items.filter_map(|item| match item {
        Item::Package { identity, .. } => Some(identity.package_id().to_lowercase()),
        _ => None,
    });
    let nested: BTreeSet<String> = nested.collect();
    let are_all_nested = packages.iter().all(|package| nested.contains(&package.id.to_lowercase()));
    packages
        .iter_mut()
        .for_each(|package| package.is_top = are_all_nested || !nested.contains(&package.id.to_lowercase()));
}

fn read_package(name: &str, mum: &Arc<[u8]>, catalogs: &Catalogs) -> Result<VerifiedPackage> {
    let stem = name.strip_suffix(".mum").unwrap_or(name);
    let catalog = catalogs.of_package(stem);
    if let Some(catalog) = catalog.filter(|catalog| !catalog.has(&FileDigest::of(mum))) {
        return Err(Error::corrupt(format_args!("it is not what was signed: {} does not list it", catalog.name)));
    }
    let manifest = PackageManifest::read(&Element::parse(mum)?)?;
    let id = manifest.identity.package_id();
    let is_top = stem == "update";
    if !is_top && !id.eq_ignore_ascii_case(stem) {
        return Err(Error::corrupt("a package manifest that is called otherwise than its package").found(id));
    }
    // A copy named otherwise has the catalog of the other name.
    let catalog = catalog.or_else(|| catalogs.of_package(&id.to_lowercase()));
    if let Some(catalog) = catalog.filter(|catalog| !catalog.has(&FileDigest::of(mum))) {
        return Err(Error::corrupt(format_args!("it is not what was signed: {} does not list it", catalog.name)));
    }
    Ok(VerifiedPackage {
        id,
        manifest,
        mum: Arc::clone(mum),
        catalog: catalog.map(|catalog| Arc::clone(&catalog.bytes)),
        is_top,
        kind: catalog.map_or(SignatureKind::None, |catalog| catalog.kind),
        signer: catalog.and_then(|catalog| catalog.signer.clone()),
    })
}

impl VerifiedPackage {
    /// Whether both are the same under two names; one of them may lack the catalog.
    fn is_copied_as(&self, other: &Self) -> bool {
        let has_both = self.catalog.is_some() && other.catalog.is_some();
        self.mum == other.mum && (!has_both || self.catalog == other.catalog)
    }

    fn join(&mut self, other: Self) {
        self.is_top |= other.is_top;
        if self.catalog.is_none() {
            let Self { catalog, kind, signer, .. } = other;
            (self.catalog, self.kind, self.signer) = (catalog, kind, signer);
        }
    }
}

impl Verified {
    /// The packages that the bundle is for.
    pub fn top(&self) -> impl Iterator<Item = &VerifiedPackage> {
        self.packages.iter().filter(|package| package.is_top)
    }

    /// Fine, or why Windows would not take the bundle, with the ways out.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Kind::Unsupported) for packages that Microsoft has not signed, unless that is allowed.
    pub fn verdict(&self, allow_unsigned: bool) -> Result<()> {
        if allow_unsigned {
            return Ok(());
        }
        let reason = match self.packages.iter().find(|package| !is_microsofts(package.kind)) {
            Some(package) => reason(package),
            None if self.issues.is_empty() => return Ok(()),
            None => some(&self.issues, NAMED),
        };
        Err(Error::unsupported(reason)
            .context(&self.bundle.origin)
            .hint("take the package as Microsoft has signed it; or add --allow-unsigned, if you know who has made it"))
    }

    fn note_catalogs(&mut self, catalogs: &Catalogs) {
        let ids: BTreeSet<String> = self.packages.iter().map(|package| package.id.to_lowercase()).collect();
        for catalog in catalogs.iter() {
            let stem = catalog.name.strip_suffix(".cat").unwrap_or(&catalog.name);
            if stem != "update" && !ids.contains(stem) {
                self.remarks.push(format!("{} is the catalog of no package that is here", catalog.name));
            }
            self.issues.extend(catalog.issues.iter().map(|issue| format!("{}: {issue}", catalog.name)));
        }
        let mut remarks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for catalog in catalogs.iter() {
            catalog.remarks.iter().for_each(|remark| remarks.entry(remark).or_default().push(catalog.name.clone()));
        }
        self.remarks.extend(remarks.into_iter().map(|(remark, names)| format!("{}: {remark}", some(&names, NAMED))));
    }

    /// Payload that is differences, by itself or as its package's manifest says.
    fn note_express(&mut self) {
        let said = self.packages.iter().find_map(|package| {
            let express = package.manifest.express.as_ref()?;
            Some((format!("{}.mum", package.id), express_error(express).to_string()))
        });
        let found = self.bundle.unread.clone().map(|why| ("payload".to_owned(), why)).or(said);
        self.unread.extend(found.map(|(what, why)| LeftOut { what, line: 0, why }));
    }

    /// Files that nothing names. What lies at the top is no payload: lists and descriptions for those who hand packages out.
    fn note_payload(&mut self) {
        let named = |path: &str| {
            let (keyform, name) = path.split_once('\\')?;
            self.manifests.get(keyform)?.manifest.file(name)
        };
        let is_stray = |path: &&String| path.contains('\\') && named(path).is_none();
        let stray: Vec<String> = self.bundle.payload.keys().filter(is_stray).cloned().collect();
        if !stray.is_empty() {
            self.remarks.push(format!("no manifest names these files, which are left out: {}", some(&stray, NAMED)));
        }
    }
}

/// Whether it is Microsoft itself who has signed it.
fn is_microsofts(kind: SignatureKind) -> bool {
    matches!(kind, SignatureKind::Windows | SignatureKind::Microsoft)
}

fn reason(package: &VerifiedPackage) -> String {
    match (&package.signer, package.kind) {
        (Some(signer), kind) => format!("{}.cat is signed by {signer}, not by Microsoft ({kind})", package.id),
        (None, _) if package.catalog.is_some() => format!("the signature of {}.cat cannot be checked", package.id),
        (None, _) => format!("nobody has signed {}: it has no catalog", package.id),
    }
}

#[cfg(test)]
mod tests;
