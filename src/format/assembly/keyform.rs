//! What assemblies are called in the component store: their identities as hashes and as names.
//!
//! ```text
//! keyform               amd64_openssh-client-components-onecore_31bf3856ad364e35_10.0.19041.1_none_b5ee49ccbbfbfddb
//! winners' keyform      amd64_microsoft-windows-defrag_31bf3856ad364e35_none_53ba52aa53599b43
//! deployment keyform    microsoft-o..-deployment_31bf3856ad364e35_10.0.19041.1_d3687ff0c0c3175d
//! ```
//!
//! Sources: the notes of haveSxS, manifestenum and Winter; all component folders of Windows' own packages come out as they are called.

use std::fmt::Write;

use super::Identity;

/// What names are mixed into an identity's hash with.
const MIX: u64 = 0x1_FFFF_FFF7;
/// How much of a package and its update is in the name of a value.
const CBS_LEN: usize = 60;
/// How much of a file's name is in the name of a value.
const FILE_LEN: usize = 25;

/// The hash of a text, without regard to case.
pub fn text_hash(text: &str) -> u64 {
    let mut lanes = [0u32; 4];
    for (at, unit) in text.to_lowercase().encode_utf16().enumerate() {
        let lane = &mut lanes[at % 4];
        *lane = lane.wrapping_mul(0x1003F).wrapping_add(unit.into());
    }
    const WEIGHTS: [u64; 4] = [0x1E5_FFFF_FD27, 0xFFFF_FFDC_0000_0051, MIX, 1];
    let weighted = lanes.iter().zip(WEIGHTS).map(|(lane, weight)| u64::from(*lane).wrapping_mul(weight));
    weighted.fold(0, u64::wrapping_add)
}

impl Identity {
    /// The hash of the identity, as keyforms have it.
    pub fn hash(&self) -> u64 {
        self.hash_with(Some(&self.version.to_string()))
    }

    fn hash_with(&self, version: Option<&str>) -> u64 {
        let attributes = [
            ("name", Some(self.name.as_str())),
            ("culture", Some(self.culture())),
            ("type", self.kind.as_deref()),
            ("version", version),
            ("publicKeyToken", Some(self.public_key_token.as_str())),
            ("processorArchitecture", Some(self.architecture.as_str())),
            ("versionScope", self.version_scope.as_deref()),
        ];
        let said = attributes.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.filter(|(_, value)| !value.is_empty() && !value.eq_ignore_ascii_case("none")).fold(
            0,
            |hash, (name, value)| {
                let attribute = text_hash(value).wrapping_add(MIX.wrapping_mul(text_hash(name)));
                attribute.wrapping_add(MIX.wrapping_mul(hash))
            },
        )
    }

    /// What the manifest and the folder of a component are called: `architecture_name_token_version_culture_hash`.
    pub fn keyform(&self) -> String {
        let [architecture, name, token, culture] = self.key_parts();
        format!("{architecture}_{name}_{token}_{}_{culture}_{:016x}", self.version, self.hash())
    }

    /// What all versions of a component are called together, in `SideBySide\Winners` and in `ComponentFamilies`.
    pub fn winners_keyform(&self) -> String {
        let [architecture, name, token, culture] = self.key_parts();
        format!("{architecture}_{name}_{token}_{culture}_{:016x}", self.hash_with(None))
    }

    /// What a deployment is called in `COMPONENTS`: `name_token_version_hash`.
    pub fn deployment_keyform(&self) -> String {
        let name = shortened(&key_name(&self.name), 24);
        format!("{name}_{}_{}_{:016x}", or_none(&self.public_key_token), self.version, self.hash())
    }

    fn key_parts(&self) -> [String; 4] {
        let name = shortened(&key_name(&self.name), 40);
        [
            or_none(&self.architecture),
            name,
            or_none(&self.public_key_token),
            shortened(&self.culture().to_lowercase(), 8),
        ]
    }

    /// The language; `none` for none, as keyforms have it.
    fn culture(&self) -> &str {
        if self.is_neutral() { "none" } else { &self.language }
    }

    /// The identity in words, as `COMPONENTS` has it.
    pub fn store_text(&self) -> String {
        let culture = if self.is_neutral() { "neutral" } else { &self.language };
        let mut text = format!("{}, Culture={culture}", self.name);
        let mut say = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(text, ", {name}={value}");
            }
        };
        say("Type", self.kind.as_deref().unwrap_or_default());
        say("Version", &self.version.to_string());
        say("PublicKeyToken", &self.public_key_token);
        say("ProcessorArchitecture", &self.architecture);
        match self.version_scope.as_deref() {
            Some(scope) if scope.eq_ignore_ascii_case("nonSxS") => say("versionScope", "NonSxS"),
            scope => say("versionScope", scope.unwrap_or_default()),
        }
        text
    }

    /// Whether the other one is the same in another version, or the same.
    pub fn is_same_but_version(&self, other: &Self) -> bool {
        let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let same_or_none = |one: &Option<String>, other: &Option<String>| {
            same(one.as_deref().unwrap_or_default(), other.as_deref().unwrap_or_default())
        };
        same(&self.name, &other.name)
            && same(&self.architecture, &other.architecture)
            && same(self.culture(), other.culture())
            && same(&self.public_key_token, &other.public_key_token)
            && same_or_none(&self.version_scope, &other.version_scope)
            && same_or_none(&self.kind, &other.kind)
    }
}

/// The name of a value that ties a deployment to an update of a package: `p!CBS_...` (pinned), `s!` (staged), `i!` (installed).
pub fn cbs_value_name(prefix: char, package_id: &str, update: &str) -> String {
    let whole = format!("{package_id}.{update}");
    let short: String = whole.to_lowercase().chars().take(CBS_LEN).collect();
    format!("{prefix}!CBS_{short}_{:016x}", text_hash(&whole))
}

/// The name of a value that stands for a file of a component.
pub fn file_value_name(name: &str) -> String {
    if name.chars().count() <= FILE_LEN {
        return format!("f!{name}");
    }
    let short: String = name.chars().take(FILE_LEN).collect();
    format!("f!{short}_{:016x}", text_hash(name))
}

/// A name as keyforms have it.
fn key_name(name: &str) -> String {
    let is_kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().filter(is_kept).collect::<String>().to_ascii_lowercase()
}

/// A text of that length at most: its two ends, with `..` between them.
fn shortened(text: &str, longest: usize) -> String {
    let length = text.chars().count();
    if length <= longest {
        return text.to_owned();
    }
    let side = (longest - 2) / 2;
    text.chars().take(side).chain("..".chars()).chain(text.chars().skip(length - side)).collect()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::assembly::Version;

    fn identity(name: &str, version: [u16; 4]) -> Identity {
        Identity {
            name: name.into(),
            version: Version(version),
            architecture: "amd64".into(),
            language: "neutral".into(),
            public_key_token: "31bf3856ad364e35".into(),
            version_scope: Some("nonSxS".into()),
            kind: None,
        }
    }

    /// Folders and manifests of the OpenSSH client's package for Windows 10 2004.
    #[test]
    fn keyforms_are_those_of_windows() {
        for (name, keyform) in [
            (
                "LibreSSL-Components-Onecore",
                "amd64_libressl-components-onecore_31bf3856ad364e35_10.0.19041.1_none_a51f330973ed5c23",
            ),
            (
                "Microsoft-OneCore-OpenSSH-ClientOnly-Deployment",
                "amd64_microsoft-onecore-o..ientonly-deployment_31bf3856ad364e35_10.0.19041.1_none_eaf25defb35c731d",
            ),
            (
                "OpenSSH-Common-Components-Onecore",
                "amd64_openssh-common-components-onecore_31bf3856ad364e35_10.0.19041.1_none_72978a504f1cdef7",
            ),
        ] {
            assert_eq!(identity(name, [10, 0, 19041, 1]).keyform(), keyform);
        }
        let deployment = identity("Microsoft-OneCore-LibreSSL-Deployment", [10, 0, 19041, 1]);
        assert_eq!(
            deployment.keyform(),
            "amd64_microsoft-onecore-libressl-deployment_31bf3856ad364e35_10.0.19041.1_none_d3687ff0c0c3175d"
        );
        assert_eq!(
            deployment.deployment_keyform(),
            "microsoft-o..-deployment_31bf3856ad364e35_10.0.19041.1_d3687ff0c0c3175d"
        );
    }

    /// As lists of what a program leaves behind in the registry have them, of Windows 10 1607 and of Visual C++ 2008.
    #[test]
    fn winners_have_no_version() {
        let winners = |name: &str, architecture: &str, language: &str| {
            let identity = identity(name, [10, 0, 14393, 0]);
            Identity { architecture: architecture.into(), language: language.into(), ..identity }.winners_keyform()
        };
        for (name, architecture, language, keyform) in [
            (
                "Microsoft-Windows-Defrag",
                "amd64",
                "neutral",
                "amd64_microsoft-windows-defrag_31bf3856ad364e35_none_53ba52aa53599b43",
            ),
            (
                "Microsoft-Windows-Defrag-AdminUI",
                "wow64",
                "none",
                "wow64_microsoft-windows-defrag-adminui_31bf3856ad364e35_none_786a779b48e543fa",
            ),
            (
                "Microsoft-Windows-CharMap.Resources",
                "amd64",
                "en-US",
                "amd64_microsoft-windows-charmap.resources_31bf3856ad364e35_en-us_e1439e3c41e7211b",
            ),
        ] {
            assert_eq!(winners(name, architecture, language), keyform);
        }
        let library = Identity {
            name: "Microsoft.VC90.CRT".into(),
            public_key_token: "1fc8b3b9a1e18e3b".into(),
            architecture: "x86".into(),
            version_scope: None,
            kind: Some("win32".into()),
            ..Identity::default()
        };
        assert_eq!(library.winners_keyform(), "x86_microsoft.vc90.crt_1fc8b3b9a1e18e3b_none_ea33c8f0b247cd77");
    }

    /// The component that scripts for updates of Windows 10 1607 put into images, with its `identity`.
    #[test]
    fn texts_are_those_of_the_store() {
        let component = identity("Microsoft-Windows-Security-SPP-Component-ExtendedSecurityUpdatesAI", [25, 10, 0, 0]);
        assert_eq!(
            component.keyform(),
            "amd64_microsoft-windows-s..edsecurityupdatesai_31bf3856ad364e35_25.10.0.0_none_eeb9d8760f514b22"
        );
        assert_eq!(
            component.winners_keyform(),
            "amd64_microsoft-windows-s..edsecurityupdatesai_31bf3856ad364e35_none_0e1abda7d0e42ef6"
        );
        assert_eq!(
            component.store_text(),
            "Microsoft-Windows-Security-SPP-Component-ExtendedSecurityUpdatesAI, Culture=neutral, Version=25.10.0.0, \
             PublicKeyToken=31bf3856ad364e35, ProcessorArchitecture=amd64, versionScope=NonSxS"
        );
    }

    #[test]
    fn names_of_values() {
        let package = "Microsoft-Windows-NetFx4-OC-Package~31bf3856ad364e35~amd64~~10.0.17763.1";
        assert_eq!(
            cbs_value_name('p', package, "NetFx4"),
            "p!CBS_microsoft-windows-netfx4-oc-package~31bf3856ad364e35~amd64~~_13acec2cc6eef42a"
        );
        assert_eq!(file_value_name("ssh.exe"), "f!ssh.exe");
        assert_eq!(file_value_name("windows.media.speech.uxres.dll"), "f!windows.media.speech.uxre_be5691ea15f31de0");
    }

    #[test]
    fn odd_identities_have_names_too() {
        let mut odd = identity("A name! with (odd) \u{e4} characters and no end of them", [1, 2, 3, 4]);
        odd.language = "sr-Latn-RS".into();
        odd.architecture.clear();
        odd.public_key_token.clear();
        let keyform = odd.keyform();
        assert!(keyform.starts_with("none_anamewithoddcharactersandnoendofthem_none_1.2.3.4_sr-..-rs_"), "{keyform}");
        assert_eq!(odd.store_text(), format!("{}, Culture=sr-Latn-RS, Version=1.2.3.4, versionScope=NonSxS", odd.name));
        assert!(odd.is_same_but_version(&Identity {
            version: Version([9, 0, 0, 0]),
            version_scope: Some("NONSXS".into()),
            ..odd.clone()
        }));
        assert!(!odd.is_same_but_version(&Identity { version_scope: None, ..odd.clone() }));
        assert_eq!(odd.versionless_package_id(), format!("{}~~~sr-Latn-RS~0.0.0.0", odd.name));
    }
}
