//! Package manifests (`.mum`).
//!
//! ```text
//! assembly [description, displayName, ...]
//!   assemblyIdentity
//!   package [identifier, releaseType, restart, permanence, psfName]
//!     parent [integrate, disposition, buildCompare, revisionCompare]    the packages that it belongs to
//!       assemblyIdentity, ...
//!     installerAssembly                                                 the oldest servicing stack that can install it
//!     update [name, displayName, restart]                               a feature
//!       applicable [disposition] / detectUpdate / update; updateComponent [elevate] / assemblyIdentity
//!       selectable [disposition] / detectNone [default]
//!       component / assemblyIdentity                                    a deployment
//!       package [contained, integrate] / assemblyIdentity               a nested package
//!       driver [inf, ranking] / assemblyIdentity
//!     localizedStrings, customInformation, declareCapability, packageExtended [packageSize, allowedOffline]
//! ```
//!
//! Sources: the packages of OpenSSH for Windows 10 2004 and Windows 11 24H2, of Hyper-V for Windows 11 24H2, of updates for Windows 7 and 8.1;
//! UFCase's notes on the schema. Instructions for Windows 7 SP1 tell what `allowedOffline` does; the servicing stack that an update asks for is
//! what makes error 800F0823h.

use std::cmp::Ordering;

use super::{Element, Identity, Unread, Version};
use crate::error::{Context, Error, Result};

/// A package manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageManifest {
    /// Who it is.
    pub identity: Identity,
    /// `displayName`.
    pub display_name: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `identifier`: `KB777778`, or a name.
    pub identifier: Option<String>,
    /// `releaseType`: `Feature Pack`, `OnDemand Pack`, `Language Pack`, `Update`, ...
    pub release_type: Option<String>,
    /// `restart`: `possible`, `required`.
    pub restart: Option<String>,
    /// `permanence="permanent"`: it cannot be removed.
    pub is_permanent: bool,
    /// `allowedOffline="false"`: its maker wants it to be installed by the Windows that it is for.
    pub is_online_only: bool,
    /// The file that the payload is in as differences (`psfName`), or what else says that the payload is not whole.
    pub express: Option<String>,
    /// The oldest servicing stack that can install it; 6.0.0.0 is any.
    pub stack: Option<Identity>,
    /// The packages that it belongs to. Where there are several, each is one way: the client of OpenSSH names the editions Nano, client and
    /// server, of which no Windows is more than one, in Windows 10 with `disposition="detect"` and in Windows 11 24H2 without.
    pub parents: Vec<Parent>,
    /// Its features.
    pub updates: Vec<Update>,
    /// The capabilities that it is, as DISM has them: `OpenSSH.Client~~~~0.0.1.0`.
    pub capabilities: Vec<String>,
    /// `packageSize`, in bytes.
    pub size: Option<u64>,
    /// What is in it that is not known.
    pub unread: Vec<Unread>,
}

/// Packages of which an image has to have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parent {
    /// They; any of them suffices.
    pub identities: Vec<Identity>,
    /// `integrate`: `separate`, `hidden`, `delegate`.
    pub integrate: Option<String>,
    /// `disposition="detect"`.
    pub detect: bool,
    /// How the third part of the version has to be to that which is named here.
    pub build_compare: Compare,
    /// The same of the fourth part.
    pub revision_compare: Compare,
    /// `serviceCompare`, in packages for Windows 7 and 8.1, whose fourth part is the level of service and the build in one.
    pub service_compare: Option<Compare>,
}

/// How a part of a version has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// The same or more.
    #[default]
    GreaterOrEqual,
    /// The same.
    Equal,
    /// More.
    Greater,
    /// The same or less.
    LessOrEqual,
    /// Less.
    Less,
}

/// A feature of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Its name.
    pub name: String,
    /// `displayName`.
    pub display_name: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `restart`.
    pub restart: Option<String>,
    /// What comes with it.
    pub items: Vec<Item>,
    /// Whether a user may choose it.
    pub selectable: bool,
    /// Whether it is chosen if nobody does (`detectNone@default`), as far as what it needs is there. One that cannot be chosen always is.
    pub is_default: bool,
    /// `disposition` of `applicable` or else of `selectable`: `detect`, `staged`, `installed`.
    pub disposition: Option<String>,
    /// What it needs (`applicable`): all of it; nothing, for most.
    pub applicable: Vec<Condition>,
    /// What it is chosen by where nobody does (`selectable/detectUpdate`): one that was there in the Windows before.
    pub selected_by: Vec<Condition>,
}

/// What a feature needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A feature that is on.
    Update {
        /// The package that it is of; this one, if none is named.
        packages: Vec<Identity>,
        /// Its name.
        name: String,
    },
    /// A component that is there in any version, which this feature then replaces.
    Component {
        /// Which.
        identity: Identity,
        /// `elevate`: from which service it comes.
        elevate: Option<String>,
    },
}

/// What comes with a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A deployment.
    Component(Identity),
    /// A nested package.
    Package {
        /// Which.
        identity: Identity,
        /// `contained`: whether it goes with the package that names it.
        contained: bool,
        /// `integrate`: `hidden`, `separate`, `delegate`.
        integrate: Option<String>,
    },
    /// A driver.
    Driver {
        /// Its component.
        identity: Identity,
        /// Its INF file.
        inf: String,
        /// `ranking`.
        ranking: Option<String>,
    },
}

/// Attributes of the document and of the package that are information, or for the tools that make packages.
const SILENT: [&str; 11] = [
    "manifestVersion",
    "copyright",
    "company",
    "supportInformation",
    "creationTimeStamp",
    "lastUpdateTimeStamp",
    "buildFilter",
    "description",
    "displayName",
    "targetPartition",
    "binaryPartition",
];

impl PackageManifest {
    /// Reads a package manifest.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for a document that lacks what every package has, or has it wrong.
    pub fn read(document: &Element) -> Result<Self> {
        let identity = identity_of_assembly(document)?;
        let Some(package) = document.child("package") else {
            return Err(Error::corrupt("an assembly that is no package").found("no package element"));
        };
        let text = |element: &Element, name: &str| element.filled(name).map(str::to_owned);
        let mut manifest = Self {
            identity,
            display_name: text(document, "displayName"),
            description: text(document, "description"),
            identifier: text(package, "identifier"),
            release_type: text(package, "releaseType"),
            restart: text(package, "restart"),
            is_permanent: package
                .filled("permanence")
                .is_some_and(|permanence| permanence.eq_ignore_ascii_case("permanent")),
            express: text(package, "psfName"),
            ..Self::default()
        };
        for element in [document, package] {
            element.mark_attributes(|name| SILENT.iter().any(|silent| silent.eq_ignore_ascii_case(name)));
        }
        manifest.parents = package.children("parent").map(Parent::read).collect::<Result<_>>()?;
        manifest.stack = package.child("installerAssembly").map(Identity::read).transpose()?;
        manifest.updates = package.children("update").map(Update::read).collect::<Result<_>>()?;
        manifest.capabilities = package.children("declareCapability").flat_map(capabilities).collect();
        package.children("localizedStrings").for_each(Element::mark_all);
        package.children("customInformation").for_each(|information| manifest.read_information(information));
        package.children("packageExtended").for_each(|extended| manifest.read_extended(extended));
        manifest.unread = document.unread();
        Ok(manifest)
    }

    /// Information for whoever made the package; but that of updates says whether the payload is whole.
    fn read_information(&mut self, information: &Element) {
        if let Some(format) = information.filled("PackageFormat").filter(|format| format.eq_ignore_ascii_case("PSFX")) {
            self.express.get_or_insert_with(|| format.to_owned());
        }
        information.mark_all();
    }

    fn read_extended(&mut self, extended: &Element) {
        self.size = extended.filled("packageSize").and_then(|size| size.parse().ok()).or(self.size);
        self.is_online_only |= extended.filled("allowedOffline").is_some_and(|allowed| !is_yes(allowed));
        // How much room an update takes while it is put in, how Windows counts its successes, whether it wants to be alone.
        extended.mark_attributes(|_| true);
    }
}

impl Parent {
    fn read(element: &Element) -> Result<Self> {
        let compare = |name: &str| element.filled(name).map(|text| Compare::read(text, element)).transpose();
        let parent = Self {
            identities: element.children("assemblyIdentity").map(Identity::read).collect::<Result<_>>()?,
            integrate: element.filled("integrate").map(str::to_owned),
            detect: element.filled("disposition").is_some_and(|disposition| disposition.eq_ignore_ascii_case("detect")),
            build_compare: compare("buildCompare")?.unwrap_or_default(),
            revision_compare: compare("revisionCompare")?.unwrap_or_default(),
            service_compare: compare("serviceCompare")?,
        };
        if parent.identities.is_empty() {
            return Err(Error::corrupt("a parent that names no package").context(line(element)));
        }
        Ok(parent)
    }
}

impl Compare {
    fn read(text: &str, element: &Element) -> Result<Self> {
        let known = [
            ("GE", Self::GreaterOrEqual),
            ("EQ", Self::Equal),
            ("GT", Self::Greater),
            ("LE", Self::LessOrEqual),
            ("LT", Self::Less),
        ];
        let compare = known.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, compare)| *compare);
        compare.ok_or_else(|| {
            Error::unsupported("comparison of a parent's version")
                .found(text)
                .allowed("GE, EQ, GT, LE, LT")
                .context(line(element))
        })
    }

    /// Whether what is there, compared with what is named, will do.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::GreaterOrEqual => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::Greater => order.is_gt(),
            Self::LessOrEqual => order.is_le(),
            Self::Less => order.is_lt(),
        }
    }
}

impl Update {
    fn read(element: &Element) -> Result<Self> {
        let text = |name: &str| element.filled(name).map(str::to_owned);
        let name = text("name").ok_or_else(|| Error::corrupt("an update without a name").context(line(element)))?;
        let mut update = Self {
            name,
            display_name: text("displayName"),
            description: text("description"),
            restart: text("restart"),
            is_default: true,
            ..Self::default()
        };
        for applicable in element.children("applicable") {
            update.disposition = applicable.filled("disposition").map(str::to_owned);
            Condition::read_all(applicable, &mut update.applicable)?;
        }
        for selectable in element.children("selectable") {
            update.selectable = true;
            let disposition = selectable.filled("disposition").map(str::to_owned);
            update.disposition = update.disposition.take().or(disposition);
            for none in selectable.children("detectNone") {
                update.is_default = none.filled("default").is_none_or(is_yes);
            }
            Condition::read_all(selectable, &mut update.selected_by)?;
        }
        for item in element.all_children() {
            Item::read(item, &mut update.items)?;
        }
        Ok(update)
    }
}

impl Condition {
    fn read_all(element: &Element, conditions: &mut Vec<Self>) -> Result<()> {
        for detect in element.children("detectUpdate") {
            let parents = detect.children("parent").flat_map(|parent| parent.children("assemblyIdentity"));
            let packages = parents.map(Identity::read).collect::<Result<Vec<_>>>()?;
            for update in detect.children("update") {
                let name = update.filled("name");
                let name = name.ok_or_else(|| Error::corrupt("an update without a name").context(line(update)))?;
                conditions.push(Self::Update { packages: packages.clone(), name: name.to_owned() });
            }
        }
        for component in element.children("updateComponent") {
            let elevate = component.filled("elevate").map(str::to_owned);
            for identity in component.children("assemblyIdentity") {
                let identity = Identity::read(identity)?;
                conditions.push(Self::Component { identity, elevate: elevate.clone() });
            }
        }
        Ok(())
    }
}

impl Item {
    fn read(element: &Element, items: &mut Vec<Self>) -> Result<()> {
        let kinds = ["component", "package", "driver"];
        let Some(kind) = kinds.iter().find(|kind| element.is(kind)) else { return Ok(()) };
        element.mark();
        let mut identities = element.children("assemblyIdentity").peekable();
        if identities.peek().is_none() {
            return Err(Error::corrupt("a part of an update that has no identity").found(kind).context(line(element)));
        }
        for identity in identities {
            let identity = Identity::read(identity)?;
            items.push(match *kind {
                "component" => Self::Component(identity),
                "package" => Self::Package {
                    identity,
                    contained: element.filled("contained").is_some_and(is_yes),
                    integrate: element.filled("integrate").map(str::to_owned),
                },
                _ => {
                    let inf = element.filled("inf").map(str::to_owned);
                    let inf = inf.or_else(|| identity.name.strip_prefix("dual_").map(str::to_owned));
                    let ranking = element.filled("ranking").map(str::to_owned);
                    let inf =
                        inf.ok_or_else(|| Error::corrupt("a driver without an INF file").context(line(element)))?;
                    Self::Driver { identity, inf, ranking }
                }
            });
        }
        Ok(())
    }
}

/// The names of capabilities as DISM shows them; their versions are said from the right: `1.0` is 0.0.1.0.
fn capabilities(declared: &Element) -> Vec<String> {
    // What else is in it is for whoever looks for a capability's packages: languages, and the capabilities that usually go with it.
    declared.mark_all();
    let identities = declared.children("capability").flat_map(|capability| capability.children("capabilityIdentity"));
    let name = |identity: &Element| {
        let version = identity.filled("version").map(capability_version).unwrap_or_default();
        Some(format!("{}~~~{}~{version}", identity.filled("name")?, identity.filled("language").unwrap_or_default()))
    };
    identities.filter_map(name).collect()
}

fn capability_version(text: &str) -> String {
    let missing = 3usize.saturating_sub(text.matches('.').count());
    let version = Version::parse(&format!("{}{text}", "0.".repeat(missing)));
    version.map_or_else(|| text.to_owned(), |version| version.to_string())
}

/// The identity of a document that has to be an assembly.
pub(super) fn identity_of_assembly(document: &Element) -> Result<Identity> {
    if !document.is("assembly") {
        return Err(Error::corrupt("the document is no assembly").found(document.name()));
    }
    let identity = document.child("assemblyIdentity");
    Identity::read(identity.ok_or_else(|| Error::corrupt("an assembly without an identity"))?)
        .context(|| "assemblyIdentity")
}

/// `true`, `yes`, `1`.
pub(super) fn is_yes(text: &str) -> bool {
    ["true", "yes", "1"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

fn line(element: &Element) -> String {
    format!("line {}", element.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// Made after packages of Windows 10 and 11.
    const PACKAGE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v3" manifestVersion="1.0" description="What it does" displayName="A feature" copyright="c">
  <assemblyIdentity name="A-Package" version="10.0.14393.0" processorArchitecture="amd64" language="neutral" buildType="release" publicKeyToken="31bf3856ad364e35" />
  <package identifier="KB1" releaseType="Feature Pack" restart="possible" targetPartition="mainos" permanence="permanent">
    <parent buildCompare="GE" disposition="detect" integrate="separate" revisionCompare="EQ">
      <assemblyIdentity name="Edition-One" version="10.0.0.0" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" />
      <assemblyIdentity name="Edition-Two" version="10.0.0.0" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" />
    </parent>
    <parent integrate="delegate"><assemblyIdentity name="Foundation" version="10.0.14393.0" /></parent>
    <installerAssembly name="Microsoft-Windows-ServicingStack" version="10.0.14393.82" language="neutral" processorArchitecture="amd64" versionScope="nonSxS" publicKeyToken="31bf3856ad364e35" />
    <localizedStrings><string language="de-DE" displayName="Eins" /></localizedStrings>
    <mum2:customInformation xmlns:mum2="urn:schemas-microsoft-com:asm.v3"><mum2:phoneInformation phoneOwner="x" /></mum2:customInformation>
    <declareCapability><capability><capabilityIdentity name="A.Feature" version="1.0" language="en-US" /></capability></declareCapability>
    <update name="Plain">
      <component><assemblyIdentity name="A-Deployment" version="10.0.14393.0" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" versionScope="nonSxS" /></component>
      <package contained="false" integrate="hidden"><assemblyIdentity name="B-Package" version="10.0.14393.0" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" /></package>
      <driver inf="net.inf" ranking="1"><assemblyIdentity name="dual_net.inf" type="dualModeDriver" version="10.0.14393.0" /></driver>
    </update>
    <update name="Chosen" displayName="Choose" restart="required">
      <applicable disposition="detect">
        <detectUpdate><parent><assemblyIdentity name="Other" /></parent><update name="Other-All" /></detectUpdate>
        <updateComponent elevate="distribution"><assemblyIdentity name="Old" version="6.1.0.0" /></updateComponent>
      </applicable>
      <selectable disposition="staged"><detectNone default="false" /></selectable>
      <newThing />
    </update>
    <packageExtended packageSize="5301296" allowedOffline="false" />
  </package>
</assembly>"#;

    fn read(document: &str) -> Result<PackageManifest> {
        PackageManifest::read(&Element::parse(document.as_bytes())?)
    }

    #[test]
    fn reads_what_a_package_says() {
        let package = read(PACKAGE).unwrap();
        assert_eq!(package.identity.package_id(), "A-Package~31bf3856ad364e35~amd64~~10.0.14393.0");
        assert_eq!(
            (package.display_name.as_deref(), package.description.as_deref()),
            (Some("A feature"), Some("What it does"))
        );
        assert_eq!((package.size, package.is_permanent, package.is_online_only), (Some(5_301_296), true, true));
        assert_eq!(package.capabilities, ["A.Feature~~~en-US~0.0.1.0"]);
        assert_eq!(package.stack.as_ref().unwrap().version, Version([10, 0, 14393, 82]));
        let [first, second] = &package.parents[..] else { panic!("{:?}", package.parents) };
        assert_eq!((first.identities.len(), first.detect, second.detect), (2, true, false));
        assert_eq!((first.build_compare, first.revision_compare), (Compare::GreaterOrEqual, Compare::Equal));
        assert_eq!(second.integrate.as_deref(), Some("delegate"));
        let [plain, chosen] = &package.updates[..] else { panic!("{:?}", package.updates) };
        assert!(
            matches!(&plain.items[..], [Item::Component(a), Item::Package { identity: b, contained: false, .. }, Item::Driver { inf, .. }]
            if a.name == "A-Deployment" && b.name == "B-Package" && inf == "net.inf")
        );
        assert!(!plain.selectable && plain.is_default && plain.applicable.is_empty());
        assert!(chosen.selectable && !chosen.is_default && chosen.items.is_empty());
        assert!(
            matches!(&chosen.applicable[..], [Condition::Update { packages, name }, Condition::Component { identity, elevate }]
            if packages.len() == 1 && name == "Other-All" && identity.name == "Old" && elevate.as_deref() == Some("distribution"))
        );
        let unread: Vec<&str> = package.unread.iter().map(|unread| unread.path.as_str()).collect();
        assert_eq!(unread, ["package/update/newThing"]);
    }

    #[test]
    fn express_packages_are_told() {
        let psf = PACKAGE.replace("identifier=\"KB1\"", "identifier=\"KB1\" psfName=\"x.psf\"");
        assert_eq!(read(&psf).unwrap().express.as_deref(), Some("x.psf"));
        let psfx = PACKAGE.replace("<mum2:customInformation ", "<mum2:customInformation PackageFormat=\"PSFX\" ");
        assert_eq!(read(&psfx).unwrap().express.as_deref(), Some("PSFX"));
        assert_eq!(read(PACKAGE).unwrap().express, None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (from, to, kind) in [
            ("<package identifier", "<nothing identifier", Kind::Corrupt),
            ("buildCompare=\"GE\"", "buildCompare=\"about\"", Kind::Unsupported),
            ("version=\"10.0.14393.82\"", "version=\"10.0.14393.82.1\"", Kind::Corrupt),
            ("name=\"Chosen\"", "", Kind::Corrupt),
            ("<update name=\"Other-All\" />", "<update />", Kind::Corrupt),
            ("<assemblyIdentity name=\"Foundation\" version=\"10.0.14393.0\" />", "", Kind::Corrupt),
            ("inf=\"net.inf\"", "", Kind::Corrupt),
        ] {
            let document = PACKAGE.replace(from, to).replace(
                "</package>\n</assembly>",
                if from.starts_with("<package") { "</nothing></assembly>" } else { "</package></assembly>" },
            );
            let document = if from.starts_with("inf=") { document.replace("dual_net", "net") } else { document };
            assert_eq!(read(&document).unwrap_err().kind(), kind, "{from}");
        }
        for end in (0..PACKAGE.len()).step_by(7).filter(|end| PACKAGE.is_char_boundary(*end)) {
            assert!(read(&PACKAGE[..end]).is_err());
        }
    }

    #[test]
    fn comparisons_hold() {
        use Ordering::{Equal, Greater, Less};
        for (compare, expected) in [
            (Compare::GreaterOrEqual, [false, true, true]),
            (Compare::Equal, [false, true, false]),
            (Compare::Greater, [false, false, true]),
            (Compare::LessOrEqual, [true, true, false]),
            (Compare::Less, [true, false, false]),
        ] {
            assert_eq!([Less, Equal, Greater].map(|order| compare.holds(order)), expected);
        }
    }
}
