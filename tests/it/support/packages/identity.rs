//! Who an assembly is, and what follows from that: keyforms, by the formula that haveSxS and manifestenum describe.

/// Microsoft's public key token.
pub(crate) const TOKEN: &str = "31bf3856ad364e35";

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) language: String,
    pub(crate) token: String,
    pub(crate) kind: Option<&'static str>,
    pub(crate) scope: Option<&'static str>,
}

impl Id {
    /// Of a package.
    pub(crate) fn package(name: &str) -> Self {
        Self {
            name: name.into(),
            version: "10.0.14393.0".into(),
            architecture: "amd64".into(),
            language: "neutral".into(),
            token: TOKEN.into(),
            kind: None,
            scope: None,
        }
    }

    /// Of a component.
    pub(crate) fn component(name: &str) -> Self {
        Self { scope: Some("nonSxS"), ..Self::package(name) }
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    pub(crate) fn language(mut self, language: &str) -> Self {
        self.language = language.into();
        self
    }

    pub(crate) fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.into();
        self
    }

    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Reads one out of a document, by nothing but its text.
    pub(crate) fn of_xml(document: &str) -> Self {
        let at = document.find("<assemblyIdentity").expect("an identity");
        let element = document[at..].split('>').next().unwrap();
        let attribute = |name: &str| {
            let text = element.split(&format!(" {name}=\"")).nth(1)?;
            Some(text.split('"').next().unwrap().to_owned())
        };
        let known = |name: &str, values: &[&'static str]| {
            attribute(name).map(|found| *values.iter().find(|value| found == **value).expect("a known value"))
        };
        Self {
            name: attribute("name").unwrap(),
            version: attribute("version").unwrap(),
            architecture: attribute("processorArchitecture").unwrap(),
            language: attribute("language").unwrap(),
            token: attribute("publicKeyToken").unwrap(),
            kind: known("type", &["win32", "dualModeDriver"]),
            scope: known("versionScope", &["nonSxS", "NonSxS"]),
        }
    }

    /// As an element.
    pub(crate) fn xml(&self) -> String {
        let optional =
            |name: &str, value: Option<&str>| value.map(|value| format!(" {name}=\"{value}\"")).unwrap_or_default();
        format!(
            "<assemblyIdentity name=\"{}\" version=\"{}\" processorArchitecture=\"{}\" language=\"{}\" buildType=\"release\" \
             publicKeyToken=\"{}\"{}{} />",
            self.name,
            self.version,
            self.architecture,
            self.language,
            self.token,
            optional("versionScope", self.scope),
            optional("type", self.kind)
        )
    }

    /// `name~token~architecture~language~version`.
    pub(crate) fn package_id(&self) -> String {
        let language = if self.language == "neutral" { "" } else { &self.language };
        [&self.name, &self.token, &self.architecture, language, &self.version].join("~")
    }

    fn hash(&self, with_version: bool) -> u64 {
        let parts = [
            ("name", Some(self.name.as_str())),
            ("culture", Some(self.language.as_str()).filter(|language| *language != "neutral")),
            ("type", self.kind),
            ("version", Some(self.version.as_str()).filter(|_| with_version)),
            ("publickeytoken", Some(self.token.as_str())),
            ("processorarchitecture", Some(self.architecture.as_str())),
            ("versionscope", self.scope),
        ];
        let given = parts.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| *value != "none")?)));
        given.fold(0, |sum: u64, (name, value)| {
            let part = text_hash(value).wrapping_add(text_hash(name).wrapping_mul(0x1_FFFF_FFF7));
            sum.wrapping_mul(0x1_FFFF_FFF7).wrapping_add(part)
        })
    }

    fn culture(&self) -> String {
        if self.language == "neutral" { "none".into() } else { cut(&self.language, 8, 3) }
    }

    /// The name of its manifest and its folder.
    pub(crate) fn keyform(&self) -> String {
        let (name, culture) = (cut(&self.plain_name(), 40, 19), self.culture());
        let hash = format!("{:016x}", self.hash(true));
        [&self.architecture, &name, &self.token, &self.version, &culture, &hash]
            .map(String::as_str)
            .join("_")
            .to_lowercase()
    }

    /// Its key below `SideBySide\Winners`.
    pub(crate) fn winners_keyform(&self) -> String {
        let (name, culture) = (cut(&self.plain_name(), 40, 19), self.culture());
        let hash = format!("{:016x}", self.hash(false));
        [&self.architecture, &name, &self.token, &culture, &hash].map(String::as_str).join("_").to_lowercase()
    }

    /// Its key below `CanonicalData\Deployments`.
    pub(crate) fn deployment_keyform(&self) -> String {
        let (name, hash) = (cut(&self.plain_name(), 24, 11), format!("{:016x}", self.hash(true)));
        [&name, &self.token, &self.version, &hash].map(String::as_str).join("_").to_lowercase()
    }

    fn plain_name(&self) -> String {
        self.name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect()
    }
}

/// A text that is too long loses its middle.
fn cut(text: &str, most: usize, kept: usize) -> String {
    if text.len() <= most {
        return text.into();
    }
    format!("{}..{}", &text[..kept], &text[text.len() - kept..])
}

/// The hash of a text, without regard to case.
pub(crate) fn text_hash(text: &str) -> u64 {
    let mut sums = [0_u32; 4];
    for (index, byte) in text.to_lowercase().bytes().enumerate() {
        let sum = &mut sums[index % 4];
        *sum = sum.wrapping_mul(0x1003F).wrapping_add(u32::from(byte));
    }
    let factors = [0x1E5_FFFF_FD27, 0xFFFF_FFDC_0000_0051, 0x1_FFFF_FFF7, 1_u64];
    sums.iter().zip(factors).fold(0, |all, (sum, factor)| all.wrapping_add(u64::from(*sum).wrapping_mul(factor)))
}
