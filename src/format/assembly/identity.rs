//! The identity of an assembly.

use serde::Serialize;

use super::Element;
use crate::base::Version;
use crate::error::{Error, Result};

/// Who an assembly is: `assemblyIdentity`.
///
/// Texts are as they were written; they are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `name`.
    pub name: String,
    /// `version`.
    pub version: Version,
    /// `processorArchitecture`: `amd64`, `x86`, `wow64`, `msil`, ...
    pub architecture: String,
    /// `language`: `neutral`, `en-US`, `*`.
    pub language: String,
    /// `publicKeyToken`.
    pub public_key_token: String,
    /// `versionScope`: `nonSxS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_scope: Option<String>,
    /// `type`: `win32`, `dualModeDriver`, ...
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl Identity {
    /// Reads an `assemblyIdentity`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) without a name, or with a version that is none.
    pub fn read(element: &Element) -> Result<Self> {
        let line = format_args!("line {}", element.line()).to_string();
        let text = |name: &str| element.filled(name).map(str::to_owned);
        let name = text("name").ok_or_else(|| Error::corrupt("an identity without a name").context(&line))?;
        let version = match element.filled("version") {
            None | Some("*") => Version::default(),
            Some(version) => Version::parse(version).ok_or_else(|| {
                Error::corrupt("version of an assembly")
                    .found(version)
                    .allowed("four numbers of at most 65535")
                    .context(&line)
            })?,
        };
        element.mark_attributes(|name| name.eq_ignore_ascii_case("buildType"));
        Ok(Self {
            name,
            version,
            architecture: text("processorArchitecture").unwrap_or_else(|| "neutral".into()),
            language: text("language").unwrap_or_else(|| "neutral".into()),
            public_key_token: text("publicKeyToken").unwrap_or_default(),
            version_scope: text("versionScope"),
            kind: text("type"),
        })
    }

    /// Whether it is of no language.
    pub fn is_neutral(&self) -> bool {
        ["", "neutral", "none"].iter().any(|none| self.language.eq_ignore_ascii_case(none))
    }

    /// `name~token~architecture~language~version`, as packages are called: no language for neutral ones.
    pub fn package_id(&self) -> String {
        self.package_id_of(self.version)
    }

    /// The same with the version 0.0.0.0, as `PackageIndex` calls all versions of a package.
    pub fn versionless_package_id(&self) -> String {
        self.package_id_of(Version::default())
    }

    fn package_id_of(&self, version: Version) -> String {
        let language = if self.is_neutral() { "" } else { &self.language };
        format!("{}~{}~{}~{language}~{version}", self.name, self.public_key_token, self.architecture)
    }
}
