//! What servicing knows of the made image: its components with their manifests, the packages that brought them, and the records of both in
//! `SOFTWARE` and `COMPONENTS`. The packages are called as those of Nano Server's edition are, so that packages for Nano Server take it for one.
//!
//! Nobody has signed them: there are no catalogs.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{MADE, filler, hash};
use crate::base::base64;
use crate::error::Result;
use crate::format::assembly::{Identity, Version, cbs_value_name, file_value_name};
use crate::format::hive::{Hive, Value};

/// The components with a file; there is a deployment beside them.
const COMPONENTS: usize = 160;
/// Every so many files are drivers.
const DRIVERS: usize = 8;
/// Every so many components are known to `SideBySide`, about as in Windows.
const WINNERS: usize = 4;

const VERSION: Version = Version([10, 0, 14393, 0]);
/// The token of components that nobody has signed.
const NO_TOKEN: &str = "0000000000000000";
/// Microsoft's, which the packages that others name as their parents have.
const TOKEN: &str = "31bf3856ad364e35";
const EDITION: &str = "Microsoft-NanoServer-Edition-Core-Package";
const UPDATE: &str = "nanovhd-demo";
/// States of packages: installed; and that of an owner.
const INSTALLED: u32 = 0x70;
const OWNER_INSTALLED: u32 = 0x0002_0070;

const SERVICING: &str = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";
const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\r\n\
    <assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" manifestVersion=\"1.0\" copyright=\"nanovhd\"";

/// A component of the store.
pub(super) struct Component {
    identity: Identity,
    /// Its manifest.
    pub(super) manifest: String,
    /// Its file, where it has one.
    pub(super) file: Option<File>,
}

/// A file of a component.
pub(super) struct File {
    /// Its name.
    pub(super) name: String,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// Whether it is a driver.
    pub(super) is_driver: bool,
}

/// A package: the name of its `.mum`, and what is in that.
pub(super) struct Package {
    identity: Identity,
    /// The document.
    pub(super) manifest: String,
}

/// The store, its packages and the hive that tells of them.
pub(super) struct Servicing {
    /// The components; the last one is the deployment that brings the others.
    pub(super) components: Vec<Component>,
    /// The neutral package of the edition and the one of its language.
    pub(super) packages: Vec<Package>,
}

impl Component {
    /// The name of its folder and its manifest.
    pub(super) fn keyform(&self) -> String {
        self.identity.keyform()
    }

    fn new(number: usize) -> Self {
        let name = format!("nanovhd-demo-component-{number:03}");
        let is_driver = number.is_multiple_of(DRIVERS);
        let file = format!("demo-component-{number:03}.{}", if is_driver { "sys" } else { "dll" });
        let bytes = filler(&file, (hash(number as u64) % 60_000) as usize);
        let identity = identity(&name, NO_TOKEN, "neutral", true);
        let place = if is_driver { "drivers" } else { "system32" };
        let manifest = format!(
            "{HEAD}>\r\n  {}\r\n  <file name=\"{file}\" destinationPath=\"$(runtime.{place})\\\" sourceName=\"{file}\">\r\n    \
             <asmv2:hash xmlns:asmv2=\"urn:schemas-microsoft-com:asm.v2\" xmlns:dsig=\"http://www.w3.org/2000/09/xmldsig#\">\r\n      \
             <dsig:Transforms><dsig:Transform Algorithm=\"urn:schemas-microsoft-com:HashTransforms.Identity\" /></dsig:Transforms>\r\n      \
             <dsig:DigestMethod Algorithm=\"http://www.w3.org/2000/09/xmldsig#sha256\" />\r\n      \
             <dsig:DigestValue>{}</dsig:DigestValue>\r\n    </asmv2:hash>\r\n  </file>\r\n</assembly>\r\n",
            element(&identity),
            base64::encode(&Sha256::digest(&bytes))
        );
        Self { identity, manifest, file: Some(File { name: file, bytes, is_driver }) }
    }

    fn deployment(of: &[Self]) -> Self {
        let identity = identity("nanovhd-demo-Deployment", NO_TOKEN, "neutral", true);
        let mut manifest = format!(
            "{HEAD}>\r\n  {}\r\n  <deployment xmlns=\"urn:schemas-microsoft-com:asm.v3\" />\r\n",
            element(&identity)
        );
        for part in of {
            let part = element(&part.identity);
            let _ = write!(
                manifest,
                "  <dependency discoverable=\"no\"><dependentAssembly dependencyType=\"install\">{part}</dependentAssembly></dependency>\r\n"
            );
        }
        manifest.push_str("</assembly>\r\n");
        Self { identity, manifest, file: None }
    }
}

impl Package {
    /// Its name, as files and keys have it.
    pub(super) fn id(&self) -> String {
        self.identity.package_id()
    }

    fn neutral(deployment: &Component) -> Self {
        let identity = identity(EDITION, TOKEN, "neutral", false);
        let manifest = format!(
            "{HEAD} description=\"A stand-in for Nano Server's edition, made by nanovhd\" displayName=\"nanovhd demo\">\r\n  {}\r\n  \
             <package identifier=\"{EDITION}\" releaseType=\"Product\">\r\n    \
             <update name=\"{UPDATE}\"><component>{}</component></update>\r\n  </package>\r\n</assembly>\r\n",
            element(&identity),
            element(&deployment.identity)
        );
        Self { identity, manifest }
    }

    fn english(neutral: &Self) -> Self {
        let identity = identity(EDITION, TOKEN, "en-US", false);
        let manifest = format!(
            "{HEAD} description=\"English for the made edition\" displayName=\"nanovhd demo, English\">\r\n  {}\r\n  \
             <package identifier=\"{EDITION}\" releaseType=\"Language Pack\">\r\n    \
             <parent integrate=\"separate\">{}</parent>\r\n  </package>\r\n</assembly>\r\n",
            element(&identity),
            element(&neutral.identity)
        );
        Self { identity, manifest }
    }
}

impl Servicing {
    pub(super) fn new() -> Self {
        let mut components: Vec<Component> = (0..COMPONENTS).map(Component::new).collect();
        components.push(Component::deployment(&components));
        let neutral = Package::neutral(&components[COMPONENTS]);
        let english = Package::english(&neutral);
        Self { components, packages: vec![neutral, english] }
    }

    /// The hive `COMPONENTS`.
    pub(super) fn hive(&self) -> Result<Hive> {
        let mut hive = Hive::new("COMPONENTS", MADE)?;
        hive.create_key(r"CanonicalData\Catalogs")?;
        let deployment = &self.components[COMPONENTS].identity;
        let owner = format!("c!{}", deployment.deployment_keyform());
        for component in &self.components {
            let key = hive.create_key(&format!(r"DerivedData\Components\{}", component.keyform()))?;
            hive.set_value(key, "identity", Value::binary(component.identity.store_text()))?;
            hive.set_value(key, "S256H", Value::binary(Sha256::digest(&component.manifest).to_vec()))?;
            hive.set_value(key, owner.as_str(), Value::binary([]))?;
            if let Some(file) = &component.file {
                hive.set_value(key, format!("f!{}", file_value_name(&file.name)).as_str(), Value::dword(1))?;
            }
        }
        let key = hive.create_key(&format!(r"CanonicalData\Deployments\{}", deployment.deployment_keyform()))?;
        hive.set_value(key, "appid", Value::binary(deployment.store_text()))?;
        let id = self.packages[0].id();
        let mut reference = (id.len() as u32).to_le_bytes().to_vec();
        reference.extend(1_u32.to_le_bytes());
        reference.extend(format!("{id}.{UPDATE}").bytes());
        for prefix in ['p', 's', 'i'] {
            let name = cbs_value_name(prefix, &id, UPDATE);
            hive.set_value(key, name.as_str(), Value::binary(reference.clone()))?;
        }
        Ok(hive)
    }

    /// Puts the records of packages and components into `SOFTWARE`.
    pub(super) fn record(&self, software: &mut Hive) -> Result<()> {
        let mut set = |key: &str, name: &str, value: Value| {
            let key = software.create_key(key)?;
            software.set_value(key, name, value)
        };
        for package in &self.packages {
            let id = package.id();
            let key = format!(r"{SERVICING}\Packages\{id}");
            set(&key, "InstallClient", Value::sz("DISM Package Manager Provider"))?;
            set(&key, "InstallName", Value::sz(&format!("{id}.mum")))?;
            set(&key, "InstallLocation", Value::sz(r"\\?\C:\packages\"))?;
            set(&key, "InstallUser", Value::sz("S-1-5-18"))?;
            set(&key, "InstallTimeHigh", Value::dword((MADE.0 >> 32) as u32))?;
            set(&key, "InstallTimeLow", Value::dword(MADE.0 as u32))?;
            set(&key, "CurrentState", Value::dword(INSTALLED))?;
            set(&key, "SelfUpdate", Value::dword(0))?;
            set(&key, "Visibility", Value::dword(1))?;
            set(&format!(r"{key}\Owners"), &id, Value::dword(OWNER_INSTALLED))?;
            let without_version = Identity { version: Version::default(), ..package.identity.clone() }.package_id();
            set(&format!(r"{SERVICING}\PackageIndex\{without_version}"), &id, Value::dword(INSTALLED))?;
        }
        for component in self.components.iter().step_by(WINNERS) {
            let keyform = component.identity.winners_keyform();
            let key = format!(r"Microsoft\Windows\CurrentVersion\SideBySide\Winners\{keyform}\10.0");
            set(&key, "", Value::sz(&VERSION.to_string()))?;
            set(&key, &VERSION.to_string(), Value::binary([1]))?;
        }
        for key in ["ComponentDetect", "PackageDetect", "UpdateDetect"] {
            software.create_key(&format!(r"{SERVICING}\{key}"))?;
        }
        Ok(())
    }
}

fn identity(name: &str, token: &str, language: &str, is_component: bool) -> Identity {
    Identity {
        name: name.into(),
        version: VERSION,
        architecture: "amd64".into(),
        language: language.into(),
        public_key_token: token.into(),
        version_scope: is_component.then(|| "nonSxS".into()),
        kind: None,
    }
}

fn element(identity: &Identity) -> String {
    let Identity { name, version, architecture, language, public_key_token, .. } = identity;
    let scope = identity.version_scope.as_ref().map(|scope| format!(" versionScope=\"{scope}\"")).unwrap_or_default();
    format!(
        "<assemblyIdentity name=\"{name}\" version=\"{version}\" processorArchitecture=\"{architecture}\" language=\"{language}\" \
         publicKeyToken=\"{public_key_token}\"{scope} />"
    )
}
