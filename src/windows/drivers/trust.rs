//! Whether a driver package is what its maker has given out, and whether Windows takes it from him.
//!
//! Windows recognizes a package by the catalog that its INF file names: that has the digests of all files, and who has signed it decides what becomes
//! of the package. On 64-bit Windows a kernel loads no driver without such a signature; since Windows 10 1607 and Server 2016, where Secure Boot is on,
//! it has to be one of Microsoft's hardware programme.
//!
//! | kind | recognized by | score | Windows takes it |
//! |---|---|---|---|
//! | part of Windows | usage 1.3.6.1.4.1.311.10.3.6, a root of Microsoft | 0D000003h | yes |
//! | tested hardware | usage ...10.3.5, a root of Microsoft | 0D000005h | yes |
//! | attested | usage ...10.3.5.1, a root of Microsoft | 0D000005h | yes; meant for Windows 10 and 11, not for servers |
//! | Microsoft's otherwise | a root of Microsoft, signs programs | 0D000004h | no driver of the kernel |
//! | cross-signed | Microsoft Code Verification Root | 0F000000h | without Secure Boot, and what was issued before July 2015 |
//! | a publisher | anybody else who does not vouch for himself | 80000000h | unknown here |
//! | self-made | a certificate that vouches for itself | 80000000h | with test signing |
//! | none | | 80000000h | no |
//!
//! The scores are `SIGNERSCORE_*` of the Windows SDK's `setupapi.h`. Of the two that this program could give to a signer whom it cannot follow to a
//! root, it gives the worse: Windows believes what its database says of a package.
//!
//! Sources: Microsoft, "Driver Signing Policy", "Signature Score", "Driver signing offerings", "TESTSIGNING boot configuration option"; packages in the
//! database of Windows 10 1709, where all of the hardware programme have the score 0D000005h.

use std::fmt;

use super::{Driver, Package, Signature};
use crate::base::words::some;
use crate::base::{FileTime, Machine};
use crate::error::{Context, Error, Result};
use crate::format::catalog::{Catalog, FileDigest, Hash, List, ObjectIdentifier, Top, Verified, hex, usage};
use crate::format::inf::{ProductType, TargetOs};

/// `SIGNERSCORE_*`.
pub mod score {
    /// A part of Windows.
    pub const INBOX: u32 = 0x0D00_0003;
    /// A signature of Microsoft's that says nothing more.
    pub const UNCLASSIFIED: u32 = 0x0D00_0004;
    /// The hardware programme.
    pub const WHQL: u32 = 0x0D00_0005;
    /// A publisher whom Windows trusts.
    pub const AUTHENTICODE: u32 = 0x0F00_0000;
    /// Nobody.
    pub const UNSIGNED: u32 = 0x8000_0000;
}

/// Messages name so many files one by one.
const NAMED: usize = 4;

/// What kind of signature a package has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// Microsoft's own, as parts of Windows have it.
    Windows,
    /// The hardware programme's, after tests.
    Hardware,
    /// The hardware programme's, for the asking.
    Attested,
    /// Microsoft's own, for another purpose.
    Microsoft,
    /// A publisher's for whom Microsoft has vouched.
    CrossSigned,
    /// A publisher's who cannot be followed to a root that is known here.
    Publisher,
    /// One whose certificate vouches for itself.
    SelfMade,
    /// No signature that holds.
    None,
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Windows => "a part of Windows",
            Self::Hardware => "signed by Microsoft's hardware programme",
            Self::Attested => "signed by Microsoft's hardware programme for its maker's word (attestation)",
            Self::Microsoft => "signed by Microsoft, not as a driver",
            Self::CrossSigned => "signed by a publisher for whom Microsoft has vouched (cross-signed)",
            Self::Publisher => "signed by a publisher who is not known here",
            Self::SelfMade => "signed with a self-made certificate",
            Self::None => "not signed",
        })
    }
}

impl SignatureKind {
    /// The kind of a signature that holds.
    pub fn of(verified: &Verified) -> Self {
        Self::by(verified.top, &verified.usages())
    }

    /// The kind by where the chain ends and what the signer may sign.
    fn by(top: Top, usages: &[ObjectIdentifier]) -> Self {
        // Certificates for attestation have the usage of the tested too; the other way round it does not happen.
        const KINDS: [(ObjectIdentifier, SignatureKind); 5] = [
            (usage::SYSTEM_COMPONENT, SignatureKind::Windows),
            (usage::HARDWARE_DRIVER_ATTESTED, SignatureKind::Attested),
            (usage::HARDWARE_DRIVER, SignatureKind::Hardware),
            (usage::HARDWARE_DRIVER_EXTENDED, SignatureKind::Hardware),
            (usage::CODE_SIGNING, SignatureKind::Microsoft),
        ];
        match top {
            Top::Root(root) if root.is_for_microsoft => {
                let kind = KINDS.iter().find(|(usage, _)| usages.contains(usage));
                kind.map_or(Self::Publisher, |(_, kind)| *kind) // a certificate for something else than programs
            }
            Top::Root(_) if usages.contains(&usage::CODE_SIGNING) => Self::CrossSigned,
            Top::Root(_) | Top::Missing => Self::Publisher,
            Top::Own => Self::SelfMade,
        }
    }

    /// Whether a 64-bit Windows loads drivers with it wherever it runs.
    pub fn is_enough(self) -> bool {
        matches!(self, Self::Windows | Self::Hardware | Self::Attested)
    }

    /// `SignerScore`.
    pub fn score(self) -> u32 {
        match self {
            Self::Windows => score::INBOX,
            Self::Hardware | Self::Attested => score::WHQL,
            Self::Microsoft => score::UNCLASSIFIED,
            Self::CrossSigned => score::AUTHENTICODE,
            Self::Publisher | Self::SelfMade | Self::None => score::UNSIGNED,
        }
    }
}

/// What the signature of a package is worth.
#[derive(Debug, Clone)]
pub struct Trust {
    /// What the database says of it.
    pub signature: Signature,
    /// What kind it is; that of the catalog's signature, even where the package is not what was signed.
    pub kind: SignatureKind,
    /// Who has signed the catalog, by his own word unless the kind says that he is known.
    pub signer: Option<String>,
    /// Those who vouch for him, up to the last one who is known, in words.
    pub vouched_by: Vec<String>,
    /// When it was signed, if somebody says so who is known.
    pub signed_at: Option<FileTime>,
    /// How many files of the package the catalog has.
    pub matched: usize,
    /// What makes the package one that Windows does not take, whoever has signed it. Each names its file.
    pub issues: Vec<String>,
    /// What else is worth knowing.
    pub remarks: Vec<String>,
    /// Programs of the kernel that have no signature at all, neither in a catalog nor inside.
    pub bare: Vec<String>,
    package: String,
    machine: Machine,
    /// The versions of Windows that the catalog says it is for: `_v100_X64_RS1`.
    windows: Vec<String>,
    /// The same as numbers, of its files.
    versions: Vec<(u32, u32)>,
}

/// Checks the signature of a package: the catalog that its INF file names, who has signed it, and whether the files are those that it lists.
///
/// # Errors
/// Only what keeps the package from being read. What is wrong with the signature is in the result: see [`Trust::verdict`].
pub fn check(package: &Package, driver: &Driver) -> Result<Trust> {
    let mut trust = Trust::of_nobody(package, driver);
    let mut files = read_files(package, driver, &mut trust)?;
    let catalog = match &driver.catalog {
        None => Err(Error::invalid(format_args!("{} names no catalog (CatalogFile)", driver.inf_name))),
        Some(name) => match package.read(name)? {
            None => {
                Err(Error::invalid(format_args!("{name}, the catalog that {} names, is not there", driver.inf_name)))
            }
            Some(bytes) => Ok((name, bytes)),
        },
    };
    let checked = catalog.and_then(|(name, bytes)| trust.check_catalog(&bytes, &mut files).context(|| name.clone()));
    if let Err(error) = checked {
        trust.kind = SignatureKind::None;
        trust.issues.insert(0, error.to_string());
    }
    trust.finish(&files);
    Ok(trust)
}

/// A file of the package.
struct File {
    path: String,
    digest: FileDigest,
    is_listed: bool,
}

impl File {
    /// Its name without folders.
    fn name(&self) -> &str {
        self.path.rsplit(['\\', '/']).next().unwrap_or(&self.path)
    }
}

/// All files but the catalog, which cannot list itself.
fn read_files(package: &Package, driver: &Driver, trust: &mut Trust) -> Result<Vec<File>> {
    let mut paths = vec![driver.inf_name.as_str()];
    let is_catalog = |path: &str| driver.catalog.as_ref().is_some_and(|catalog| catalog.eq_ignore_ascii_case(path));
    for path in driver.files.iter().filter(|path| !is_catalog(path)) {
        if !paths.iter().any(|known| known.eq_ignore_ascii_case(path)) {
            paths.push(path);
        }
    }
    let mut files = Vec::new();
    for path in paths {
        match package.read(path)? {
            Some(bytes) => files.push(File { path: path.to_owned(), digest: FileDigest::of(&bytes), is_listed: false }),
            None => trust.issues.push(format!("{path} is not there")),
        }
    }
    Ok(files)
}

impl Trust {
    fn of_nobody(package: &Package, driver: &Driver) -> Self {
        Self {
            signature: Signature { signer: None, score: score::UNSIGNED },
            kind: SignatureKind::None,
            signer: None,
            vouched_by: Vec::new(),
            signed_at: None,
            matched: 0,
            issues: Vec::new(),
            remarks: Vec::new(),
            bare: Vec::new(),
            package: format!(r"{}\{}", package.origin, driver.inf_name),
            machine: driver.machine,
            windows: Vec::new(),
            versions: Vec::new(),
        }
    }

    fn check_catalog(&mut self, bytes: &[u8], files: &mut [File]) -> Result<()> {
        let catalog = Catalog::read(bytes)?;
        let verified = catalog.verify()?;
        self.kind = SignatureKind::of(&verified);
        self.signer = verified.signer().map(|signer| signer.subject());
        self.vouched_by = verified.chain.iter().skip(1).map(|authority| authority.subject()).collect();
        if verified.top != Top::Own {
            self.vouched_by.push(verified.top_in_words());
        }
        self.signed_at = verified.stamp.map(|stamp| stamp.time);
        self.issues.extend(verified.issues);
        self.remarks.extend(verified.remarks);
        let list = catalog.list();
        self.note_targets(list);
        for file in files {
            match find(list, file) {
                Ok(()) => file.is_listed = true,
                Err(issue) => self.issues.push(issue),
            }
        }
        Ok(())
    }

    fn note_targets(&mut self, list: &List) {
        let windows =
            list.attribute("OS").unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        self.windows = windows.map(str::to_owned).collect();
        let versions =
            list.members.iter().filter_map(|member| member.attribute("OSAttr")).flat_map(|text| text.split(','));
        self.versions = versions.filter_map(version).collect();
        self.versions.sort_unstable();
        self.versions.dedup();
    }

    /// What follows from kind, issues and files.
    fn finish(&mut self, files: &[File]) {
        self.matched = files.iter().filter(|file| file.is_listed).count();
        let is_bare = |file: &&File| is_of_the_kernel(file) && !file.is_listed && !file.digest.is_signed;
        self.bare = files.iter().filter(is_bare).map(|file| file.path.clone()).collect();
        if self.issues.is_empty() && self.kind.score() != score::UNSIGNED {
            self.signature = Signature { signer: self.signer.clone(), score: self.kind.score() };
        }
    }

    /// Whether the package is what was signed, by somebody from whom every Windows takes it.
    pub fn is_enough(&self) -> bool {
        self.issues.is_empty() && self.kind.is_enough()
    }

    /// Whether a Windows with this package has to be set to test signing for its drivers to be loaded.
    ///
    /// 64-bit Windows only: 32-bit Windows loads drivers without a signature.
    pub fn needs_test_signing(&self) -> bool {
        self.machine != Machine::X86 && !self.is_enough()
    }

    /// Fine, or why a package for a 64-bit Windows is not taken, with the ways out.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for a package that is not what was signed, [`Unsupported`](crate::error::Kind::Unsupported) for one
    /// that nobody has signed from whom every Windows takes it.
    pub fn verdict(&self) -> Result<()> {
        if !self.needs_test_signing() {
            return Ok(());
        }
        let reason = self.reason();
        let error = if self.kind == SignatureKind::None || self.issues.is_empty() {
            Error::unsupported(reason)
        } else {
            Error::corrupt(reason)
        };
        Err(error.context(&self.package).hint(self.ways_out()))
    }

    /// What a user should know of a package that is taken, for the Windows that takes it.
    pub fn warnings(&self, target: &TargetOs) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.is_enough() {
            warnings.push(self.reason());
        }
        if self.needs_test_signing() && !self.bare.is_empty() {
            warnings.push(format!("{}: {}", NOT_EVEN_TESTED, some(&self.bare, NAMED)));
        }
        warnings.extend(self.remarks.iter().cloned());
        warnings.extend(self.other_targets(target));
        warnings
    }

    /// Why it is not enough.
    fn reason(&self) -> String {
        let signer = self.signer.as_deref().unwrap_or("nobody");
        match self.kind {
            _ if !self.issues.is_empty() => some(&self.issues, NAMED),
            SignatureKind::CrossSigned => format!(
                "{signer} has signed it ({}): Windows 10 1607 and later do not load it with Secure Boot",
                self.kind
            ),
            SignatureKind::SelfMade => format!("{signer} has signed it, and nobody vouches for {signer}"),
            _ => match self.vouched_by.last() {
                Some(last) => {
                    format!("{signer} has signed it ({}); the last one to vouch for him is {last}", self.kind)
                }
                None => self.kind.to_string(),
            },
        }
    }

    fn ways_out(&self) -> String {
        let mut ways = "take the package as Microsoft's hardware programme has signed it; or add --allow-unsigned --test-signing: \
             Windows then loads drivers that anybody has signed, and Secure Boot has to be off"
            .to_owned();
        if !self.bare.is_empty() {
            ways.push_str(&format!(" ({NOT_EVEN_TESTED}: {})", some(&self.bare, NAMED)));
        }
        ways
    }

    /// What the catalog says of other versions of Windows than the target.
    fn other_targets(&self, target: &TargetOs) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.versions.is_empty() && !self.versions.contains(&(target.major, target.minor)) {
            let versions: Vec<String> = self.versions.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
            let versions = versions.join(", ");
            remarks
                .push(format!("the catalog is for Windows {versions}, the image is {}.{}", target.major, target.minor));
        }
        let names = some(&self.windows, NAMED);
        if !self.windows.is_empty() && !self.windows.iter().any(|name| machine_of(name) == Some(target.machine)) {
            remarks.push(format!("the catalog is for other processors than {}: {names}", target.machine));
        }
        let is_server = |name: &String| name.to_ascii_lowercase().contains("server");
        if target.product != ProductType::Workstation && !self.windows.is_empty() && !self.windows.iter().any(is_server)
        {
            let meant = match self.kind {
                SignatureKind::Attested => ", and Microsoft means attestation for Windows 10 and 11",
                _ => "",
            };
            remarks.push(format!("the image is a server, and the catalog names none: {names}{meant}"));
        }
        remarks
    }
}

/// Test signing lets self-made certificates pass, not their absence (Microsoft, "TESTSIGNING boot configuration option").
const NOT_EVEN_TESTED: &str = "64-bit Windows does not load even with test signing what has no signature at all";

fn is_of_the_kernel(file: &File) -> bool {
    file.digest.is_image && file.name().to_ascii_lowercase().ends_with(".sys")
}

/// Whether the catalog lists a file. A member of the same name with the better hash has to be this very file.
fn find(list: &List, file: &File) -> Result<(), String> {
    let same_name = |name: Option<&str>| name.is_some_and(|name| name.eq_ignore_ascii_case(file.name()));
    let has =
        |hash: Hash, digest: &[u8]| list.members.iter().any(|member| member.hash == hash && member.digest == digest);
    let named = || list.members.iter().filter(|member| same_name(member.file()));
    let better = named().find(|member| member.hash == Hash::Sha256);
    if has(Hash::Sha256, &file.digest.sha256) || (better.is_none() && has(Hash::Sha1, &file.digest.sha1)) {
        return Ok(());
    }
    let path = &file.path;
    match better.or_else(|| named().next()) {
        None => Err(format!("{path} is not in the catalog: its SHA-256 is {}", hex(&file.digest.sha256))),
        Some(member) => {
            let found = if member.hash == Hash::Sha1 { &file.digest.sha1[..] } else { &file.digest.sha256 };
            Err(format!(
                "{path} is not the file that was signed: its digest is {}, that in the catalog {}",
                hex(found),
                hex(&member.digest)
            ))
        }
    }
}

/// The version in an `OSAttr`: `2:10.0`, where 2 is the platform of Windows NT.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("2:")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The processor in a name such as `_v100_X64_RS1`; those of 32-bit x86 often have none.
fn machine_of(name: &str) -> Option<Machine> {
    let name = name.to_ascii_uppercase();
    let machines =
        [("ARM64", Some(Machine::Arm64)), ("ARM", Some(Machine::Arm)), ("X64", Some(Machine::Amd64)), ("IA64", None)];
    machines.iter().find(|(part, _)| name.contains(part)).map_or(Some(Machine::X86), |(_, machine)| *machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::catalog::ROOTS;

    #[test]
    fn names_of_windows_tell_their_processors() {
        for (name, machine) in [
            ("_v100_X64_RS1", Some(Machine::Amd64)),
            ("Server_v100_ARM64", Some(Machine::Arm64)),
            ("7X64", Some(Machine::Amd64)),
            ("VistaX86", Some(Machine::X86)),
            ("_v100", Some(Machine::X86)),
            ("Server2008IA64", None),
        ] {
            assert_eq!(machine_of(name), machine, "{name}");
        }
        assert_eq!(version("2:10.0"), Some((10, 0)));
        assert_eq!(version(" 2:6.3"), Some((6, 3)));
        assert_eq!((version("1:4.1"), version("2:ten.0"), version("2:10")), (None, None, None));
    }

    #[test]
    fn kinds_follow_from_root_and_usage() {
        let root =
            |is_for_microsoft: bool| ROOTS.iter().find(|root| root.is_for_microsoft == is_for_microsoft).unwrap();
        let (microsoft, others) = (Top::Root(root(true)), Top::Root(root(false)));
        let code = usage::CODE_SIGNING;
        for (top, usages, kind) in [
            (microsoft, vec![code, usage::SYSTEM_COMPONENT], SignatureKind::Windows),
            (microsoft, vec![usage::HARDWARE_DRIVER, usage::HARDWARE_DRIVER_EXTENDED, code], SignatureKind::Hardware),
            (microsoft, vec![usage::HARDWARE_DRIVER, usage::HARDWARE_DRIVER_ATTESTED, code], SignatureKind::Attested),
            (microsoft, vec![code], SignatureKind::Microsoft),
            (microsoft, vec![], SignatureKind::Publisher),
            (others, vec![code, usage::HARDWARE_DRIVER], SignatureKind::CrossSigned),
            (others, vec![], SignatureKind::Publisher),
            (Top::Missing, vec![code, usage::HARDWARE_DRIVER], SignatureKind::Publisher),
            (Top::Own, vec![code, usage::SYSTEM_COMPONENT], SignatureKind::SelfMade),
        ] {
            assert_eq!(SignatureKind::by(top, &usages), kind, "{top:?} {usages:?}");
        }
    }

    #[test]
    fn only_known_signers_get_a_score() {
        use SignatureKind::*;
        let scores =
            [Windows, Hardware, Attested, Microsoft, CrossSigned, Publisher, SelfMade, None].map(SignatureKind::score);
        // SIGNERSCORE_INBOX, _WHQL, _UNCLASSIFIED, _AUTHENTICODE and _UNSIGNED of setupapi.h.
        assert_eq!(scores[..4], [0x0D00_0003, 0x0D00_0005, 0x0D00_0005, 0x0D00_0004]);
        assert_eq!(scores[4..], [0x0F00_0000, 0x8000_0000, 0x8000_0000, 0x8000_0000]);
    }
}
