//! A build with twenty packages of two thousand components against the same without: what they cost.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use nanovhd::base::base64;
use nanovhd::format::assembly::{Identity, Version};
use nanovhd::format::catalog::FileDigest;

use super::measure::on_top;
use super::output_folder;
use crate::shell::Result;

const PACKAGES: usize = 20;
/// Of each package.
const COMPONENTS: usize = 100;
/// Of each component.
const FILES: usize = 2;
const VALUES: usize = 4;
/// Seconds that they may take on top.
const BAR: f64 = 2.0;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\r\n\
                    <assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" manifestVersion=\"1.0\">\r\n";

/// What they cost on top of the demo's image, which knows of servicing.
pub(super) fn measure(ours: &Path, rounds: usize) -> Result<()> {
    let folder = output_folder()?;
    let packages = folder.path().join("packages");
    for number in 0..PACKAGES {
        package(&packages.join(format!("bench{number}")), number)?;
    }
    let what = format!("{PACKAGES} packages with {} components", PACKAGES * COMPONENTS);
    on_top(ours, folder.path(), rounds, &what, BAR, |build| {
        build.args(["--allow-unsigned", "--packages", "strict"]);
        for number in 0..PACKAGES {
            build.arg("--package").arg(packages.join(format!("bench{number}")));
        }
    })
}

/// A package as it comes out of its cabinet.
fn package(folder: &Path, number: usize) -> Result<()> {
    let identity = identity(&format!("Bench-{number}-Package"), false);
    let deployment = self::identity(&format!("Bench-{number}-Deployment"), true);
    let mut body = String::from("<deployment />\r\n");
    for part in 0..COMPONENTS {
        let component = component(folder, number, part)?;
        let _ = write!(
            body,
            "<dependency discoverable=\"no\"><dependentAssembly dependencyType=\"install\">{}</dependentAssembly></dependency>\r\n",
            xml(&component)
        );
    }
    fs::write(folder.join(format!("{}.manifest", deployment.keyform())), document(&deployment, &body))?;
    let body = format!(
        "<package identifier=\"Bench\" releaseType=\"Feature Pack\"><update name=\"Bench-{number}\"><component>{}</component></update></package>\r\n",
        xml(&deployment)
    );
    fs::write(folder.join("update.mum"), document(&identity, &body))?;
    Ok(())
}

/// A component: its manifest and its files.
fn component(folder: &Path, package: usize, number: usize) -> Result<Identity> {
    let identity = identity(&format!("Bench-{package}-Component-{number}"), true);
    let files = folder.join(identity.keyform());
    fs::create_dir_all(&files)?;
    let mut body = String::new();
    for file in 0..FILES {
        let name = format!("bench-{package}-{number}-{file}.txt");
        let bytes = name.repeat(100);
        fs::write(files.join(&name), &bytes)?;
        let digest = base64::encode(&FileDigest::of(bytes.as_bytes()).sha256);
        let _ = write!(
            body,
            "<file name=\"{name}\" destinationPath=\"$(runtime.system32)\\bench{package}\\\" sourceName=\"{name}\">\
             <asmv2:hash xmlns:asmv2=\"urn:schemas-microsoft-com:asm.v2\" xmlns:dsig=\"http://www.w3.org/2000/09/xmldsig#\">\
             <dsig:Transforms><dsig:Transform Algorithm=\"urn:schemas-microsoft-com:HashTransforms.Identity\" /></dsig:Transforms>\
             <dsig:DigestMethod Algorithm=\"http://www.w3.org/2000/09/xmldsig#sha256\" />\
             <dsig:DigestValue>{digest}</dsig:DigestValue></asmv2:hash></file>\r\n"
        );
    }
    let key = format!("HKEY_LOCAL_MACHINE\\SOFTWARE\\Bench\\{package}\\{number}");
    let _ = write!(body, "<registryKeys><registryKey keyName=\"{key}\">");
    for value in 0..VALUES {
        let _ = write!(
            body,
            "<registryValue name=\"Value{value}\" valueType=\"REG_SZ\" value=\"The value {value} of {number}\" />"
        );
    }
    body.push_str("</registryKey></registryKeys>\r\n");
    fs::write(folder.join(format!("{}.manifest", identity.keyform())), document(&identity, &body))?;
    Ok(identity)
}

fn identity(name: &str, is_component: bool) -> Identity {
    Identity {
        name: name.to_owned(),
        version: Version([10, 0, 14393, 0]),
        architecture: "amd64".to_owned(),
        language: "neutral".to_owned(),
        public_key_token: "31bf3856ad364e35".to_owned(),
        version_scope: is_component.then(|| "nonSxS".to_owned()),
        kind: None,
    }
}

fn document(identity: &Identity, body: &str) -> String {
    format!("{HEAD}{}\r\n{body}</assembly>\r\n", xml(identity))
}

fn xml(identity: &Identity) -> String {
    let scope = identity.version_scope.as_ref().map(|scope| format!(" versionScope=\"{scope}\"")).unwrap_or_default();
    format!(
        "<assemblyIdentity name=\"{}\" version=\"{}\" processorArchitecture=\"{}\" language=\"{}\" buildType=\"release\" publicKeyToken=\"{}\"{scope} />",
        identity.name, identity.version, identity.architecture, identity.language, identity.public_key_token
    )
}
