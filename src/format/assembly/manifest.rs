//! What every manifest says, whatever it is that it brings: who it is, what it needs, and which files it has.
//!
//! ```text
//! assembly
//!   assemblyIdentity
//!   deployment                                                    for one that only brings components
//!   dependency [discoverable, resourceType, optional]
//!     dependentAssembly [dependencyType] / assemblyIdentity
//!   file [name, ...]
//!     hash / Transforms; DigestMethod [Algorithm]; DigestValue    base64; older ones: file [hash, hashalg], in hexadecimal
//! ```
//!
//! Sources: the component store of Windows 10; Microsoft, "Assembly manifests"; the manifests of Windows' console and of ESE, in Microsoft's own
//! repositories, as they are before they are built.

use super::package::{identity_of_assembly, is_yes};
use super::{Element, Identity};
use crate::base::base64;
use crate::error::{Context, Error, Result};

/// The header of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Who it is.
    pub identity: Identity,
    /// Whether it brings components and is none.
    pub is_deployment: bool,
    /// What it brings or needs.
    pub dependencies: Vec<Dependency>,
    /// Its files.
    pub files: Vec<ManifestFile>,
}

/// An assembly that another one brings or needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Which; a language of `*` is any.
    pub identity: Identity,
    /// What it is to that one.
    pub kind: DependencyKind,
    /// `resourceType="Resources"`: what it says in some language. None of it has to be there.
    pub is_resource: bool,
    /// `optional`.
    pub is_optional: bool,
    /// Its line.
    pub line: u32,
}

/// What a dependency is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyKind {
    /// It comes with it.
    Install,
    /// It has to be there. That is meant too where nothing is said.
    Prerequisite,
    /// Something else.
    Other(String),
}

/// A file of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path in the component's folder.
    pub name: String,
    /// The SHA-256 of its contents.
    pub sha256: Option<[u8; 32]>,
    /// The SHA-1 of its contents.
    pub sha1: Option<[u8; 20]>,
    /// Its line.
    pub line: u32,
}

impl Manifest {
    /// Reads the header of a manifest; what it reads counts as read in the document.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for a document that has it wrong, [`Unsupported`](crate::error::Kind::Unsupported) for hashes
    /// of another kind than SHA-1 and SHA-256.
    pub fn read(document: &Element) -> Result<Self> {
        let identity = identity_of_assembly(document)?;
        let mut dependencies = Vec::new();
        for dependency in document.children("dependency") {
            Dependency::read(dependency, &mut dependencies).context(|| line(dependency))?;
        }
        let files = document.children("file").map(|file| ManifestFile::read(file).context(|| line(file)));
        let files = files.collect::<Result<_>>()?;
        let deployment = document.child("deployment");
        Ok(Self { identity, is_deployment: deployment.is_some(), dependencies, files })
    }

    /// A file by its name.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name.eq_ignore_ascii_case(name))
    }
}

impl Dependency {
    fn read(element: &Element, dependencies: &mut Vec<Self>) -> Result<()> {
        let resource = element.filled("resourceType");
        let is_resource = resource.is_some_and(|kind| kind.eq_ignore_ascii_case("Resources"));
        let is_optional = element.filled("optional").is_some_and(is_yes);
        // Whether it is looked for by itself, and in which builds of Windows it is said at all.
        element.mark_attributes(|name| {
            ["discoverable", "buildFilter"].iter().any(|silent| name.eq_ignore_ascii_case(silent))
        });
        for assembly in element.children("dependentAssembly") {
            let kind = match (assembly.filled("dependencyType"), resource) {
                (_, Some(other)) if !is_resource => DependencyKind::Other(format!("resourceType {other}")),
                (Some(kind), _) if kind.eq_ignore_ascii_case("install") => DependencyKind::Install,
                (None, _) => DependencyKind::Prerequisite,
                (Some(kind), _) if kind.eq_ignore_ascii_case("prerequisite") => DependencyKind::Prerequisite,
                (Some(kind), _) => DependencyKind::Other(kind.to_owned()),
            };
            let identity = assembly.child("assemblyIdentity");
            let identity = identity.ok_or_else(|| Error::corrupt("a dependency that names no assembly"))?;
            let line = identity.line();
            let identity = Identity::read(identity)?;
            dependencies.push(Self { identity, kind, is_resource, is_optional, line });
        }
        Ok(())
    }
}

impl ManifestFile {
    fn read(element: &Element) -> Result<Self> {
        let name = element.filled("name").ok_or_else(|| Error::corrupt("a file without a name"))?;
        let name = name.replace('/', "\\");
        let mut file = Self { name, sha256: None, sha1: None, line: element.line() };
        for hash in element.children("hash") {
            file.read_hash(hash).context(|| file.name.clone())?;
        }
        if let Some(digits) = element.filled("hash") {
            let kind = element.filled("hashalg").unwrap_or_default();
            let bytes = from_hex(digits).ok_or_else(|| Error::corrupt("hash of a file").found(digits));
            file.set(kind, &bytes?).context(|| file.name.clone())?;
        }
        Ok(file)
    }

    fn read_hash(&mut self, hash: &Element) -> Result<()> {
        let transforms = hash.children("Transforms").flat_map(|transforms| transforms.children("Transform"));
        for transform in transforms {
            let algorithm = transform.filled("Algorithm").unwrap_or_default();
            if !algorithm.ends_with("HashTransforms.Identity") {
                return Err(Error::unsupported("what a file is changed to before it is hashed").found(algorithm));
            }
        }
        let method = hash.child("DigestMethod").and_then(|method| method.filled("Algorithm")).unwrap_or_default();
        let value = hash.child("DigestValue").ok_or_else(|| Error::corrupt("a hash without a value"))?;
        let digest = base64::decode(value.text()).ok_or_else(|| Error::corrupt("hash of a file").found(value.text()));
        self.set(method, &digest?)
    }

    /// Takes a hash; by its length, where its kind is not said.
    fn set(&mut self, kind: &str, digest: &[u8]) -> Result<()> {
        let is = |name: &str| kind.len() >= name.len() && kind.to_ascii_lowercase().replace('-', "").ends_with(name);
        let wrong =
            || Error::corrupt("length of a hash").found(digest.len()).allowed("20 bytes for SHA-1, 32 for SHA-256");
        if is("sha256") || (kind.is_empty() && digest.len() == 32) {
            self.sha256 = Some(digest.try_into().map_err(|_| wrong())?);
        } else if is("sha1") || kind.is_empty() {
            self.sha1 = Some(digest.try_into().map_err(|_| wrong())?);
        } else {
            return Err(Error::unsupported("kind of a hash").found(kind).allowed("SHA-1, SHA-256"));
        }
        Ok(())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        Some((digit(0)? << 4 | digit(1)?) as u8)
    };
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn line(element: &Element) -> String {
    format!("line {}", element.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const MANIFEST: &str = r##"<assembly xmlns="urn:schemas-microsoft-com:asm.v3" xmlns:asmv2="urn:schemas-microsoft-com:asm.v2" xmlns:dsig="http://www.w3.org/2000/09/xmldsig#">
  <assemblyIdentity name="A" version="1.2.3.4" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" versionScope="nonSxS" />
  <dependency discoverable="no" resourceType="Resources">
    <dependentAssembly><assemblyIdentity name="A.Resources" version="1.2.3.4" language="*" /></dependentAssembly>
  </dependency>
  <dependency discoverable="yes" optional="yes">
    <dependentAssembly dependencyType="install"><assemblyIdentity name="B" version="1.2.3.4" /></dependentAssembly>
  </dependency>
  <dependency><dependentAssembly dependencyType="preRequisite"><assemblyIdentity name="C" /></dependentAssembly></dependency>
  <dependency><dependentOS /></dependency>
  <file name="sub/a.dll" destinationPath="$(runtime.system32)\">
    <asmv2:hash>
      <dsig:Transforms><dsig:Transform Algorithm="urn:schemas-microsoft-com:HashTransforms.Identity" /></dsig:Transforms>
      <dsig:DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha256" />
      <dsig:DigestValue>31wqm9Q385tw7sMR25hT6AGF43PIdwK93BwErNjoQo4=</dsig:DigestValue>
    </asmv2:hash>
  </file>
  <file name="old.dll" hash="DA39A3EE5E6B4B0D3255BFEF95601890AFD80709" hashalg="SHA1" />
  <file name="bare.dll" />
</assembly>"##;

    fn read(document: &str) -> Result<Manifest> {
        Manifest::read(&Element::parse(document.as_bytes())?)
    }

    #[test]
    fn reads_and_marks_the_header() {
        let document = Element::parse(MANIFEST.as_bytes()).unwrap();
        let manifest = Manifest::read(&document).unwrap();
        assert!(!manifest.is_deployment);
        let [resources, b, c] = &manifest.dependencies[..] else { panic!("{:?}", manifest.dependencies) };
        assert!(
            resources.is_resource
                && resources.identity.language == "*"
                && resources.kind == DependencyKind::Prerequisite
        );
        assert!(!b.is_resource && b.is_optional && b.kind == DependencyKind::Install);
        assert_eq!((&c.kind, c.line), (&DependencyKind::Prerequisite, 9));
        let file = manifest.file(r"SUB\A.dll").unwrap();
        assert_eq!(file.sha256.unwrap()[..4], [0xDF, 0x5C, 0x2A, 0x9B]);
        assert_eq!(manifest.file("old.dll").unwrap().sha1.unwrap()[..3], [0xDA, 0x39, 0xA3]);
        assert_eq!(manifest.file("bare.dll").unwrap().sha256, None);
        let other = read(&MANIFEST.replace("resourceType=\"Resources\"", "resourceType=\"Else\"")).unwrap();
        assert_eq!(other.dependencies[0].kind, DependencyKind::Other("resourceType Else".into()));
        let unread: Vec<_> = document.unread().into_iter().map(|unread| unread.path).collect();
        assert_eq!(unread, ["dependency/dependentOS", "file@destinationPath"]);
        assert!(
            read(&MANIFEST.replace("<dependency><dependentOS /></dependency>", "<deployment />"))
                .unwrap()
                .is_deployment
        );
    }

    #[test]
    fn wrong_hashes_are_told() {
        for (from, to, kind) in [
            ("joQo4=", "", Kind::Corrupt),
            ("31wqm", "31-qm", Kind::Corrupt),
            ("#sha256", "#sha512", Kind::Unsupported),
            ("#sha256", "#sha1", Kind::Corrupt),
            ("HashTransforms.Identity", "HashTransforms.Other", Kind::Unsupported),
            ("D80709", "D8070", Kind::Corrupt),
            ("D80709", "D807", Kind::Corrupt),
            ("D80709", "D8070\u{e4}", Kind::Corrupt),
            ("hashalg=\"SHA1\"", "hashalg=\"MD5\"", Kind::Unsupported),
            ("name=\"bare.dll\"", "", Kind::Corrupt),
            ("<assemblyIdentity name=\"C\" />", "", Kind::Corrupt),
        ] {
            assert!(MANIFEST.contains(from));
            assert_eq!(read(&MANIFEST.replace(from, to)).unwrap_err().kind(), kind, "{from} {to}");
        }
        assert_eq!(read("<other/>").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(read("<assembly/>").unwrap_err().kind(), Kind::Corrupt);
    }
}
