//! The answer file, `\Windows\Panther\unattend.xml`: what Windows reads on its first start.
//!
//! A file has one `settings` element for each pass, with components in it that know their processor:
//!
//! ```text
//! unattend
//!     settings pass="specialize"
//!         component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" …
//!             ComputerName
//!     settings pass="oobeSystem"
//!         component name="Microsoft-Windows-Shell-Setup" …
//!             TimeZone
//!             UserAccounts / AdministratorPassword / Value, PlainText
//! ```
//!
//! An image that was applied starts in `specialize` and goes on to `oobeSystem`; the other passes belong to Windows Setup, DISM and
//! sysprep. A password with `PlainText` false is base64 of UTF-16 with the name of its element added: nobody is kept from reading
//! it, so that the file itself has to be protected, and gone once it was used.
//!
//! Source: Microsoft, "Unattended Windows Setup Reference".

mod xml;

use self::xml::{Element, Node, UNATTEND};
use super::{ComputerName, Secret};
use crate::base::{base64, near};
use crate::error::{Error, Result};
use crate::tree::Tree;
use crate::windows::Machine;

/// Where Windows looks for it, once the folder in `BEFORE` has none.
pub const PATH: &str = r"\Windows\Panther\unattend.xml";

/// Where Windows looks first.
const BEFORE: [&str; 2] = [r"\Windows\Panther\Unattend\Unattend.xml", r"\Windows\Panther\Unattend\Autounattend.xml"];

/// Every pass there is, and whether an image that was applied runs it.
const PASSES: [(&str, bool); 7] = [
    ("windowsPE", false),
    ("offlineServicing", false),
    ("generalize", false),
    ("specialize", true),
    ("auditSystem", false),
    ("auditUser", false),
    ("oobeSystem", true),
];

const SHELL_SETUP: &str = "Microsoft-Windows-Shell-Setup";
const PUBLIC_KEY_TOKEN: &str = "31bf3856ad364e35";

/// Components that answer files are about, of those that come with Windows. Others are looked for in the image.
const COMPONENTS: [&str; 22] = [
    "Microsoft-Windows-Deployment",
    "Microsoft-Windows-DNS-Client",
    "Microsoft-Windows-ErrorReportingCore",
    "Microsoft-Windows-IE-ESC",
    "Microsoft-Windows-International-Core",
    "Microsoft-Windows-International-Core-WinPE",
    "Microsoft-Windows-LUA-Settings",
    "Microsoft-Windows-PnpCustomizationsNonWinPE",
    "Microsoft-Windows-PnpCustomizationsWinPE",
    "Microsoft-Windows-RemoteAssistance-Exe",
    "Microsoft-Windows-SQMApi",
    "Microsoft-Windows-Security-SPP",
    "Microsoft-Windows-Security-SPP-UX",
    "Microsoft-Windows-ServerManager-SvrMgrNc",
    "Microsoft-Windows-Setup",
    SHELL_SETUP,
    "Microsoft-Windows-TCPIP",
    "Microsoft-Windows-TerminalServices-LocalSessionManager",
    "Microsoft-Windows-TerminalServices-RDP-WinStationExtensions",
    "Microsoft-Windows-UnattendedJoin",
    "Networking-MPSSVC-Svc",
    "Microsoft-Windows-Wlansvc",
];

/// An answer file that was read and holds what one can hold.
#[derive(Debug, Clone)]
pub struct Unattend {
    root: Document,
}

/// Kept apart so that no passwords are printed with an [`Unattend`].
#[derive(Clone)]
struct Document(Element);

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Document(..)")
    }
}

impl Default for Unattend {
    /// One that answers nothing.
    fn default() -> Self {
        Self { root: Document(Element::new("unattend")) }
    }
}

impl Unattend {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for what is no answer file, with what stands in the wrong place;
    /// [`Unsupported`](crate::error::Kind::Unsupported) for more than 4 MiB or 64 levels.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let root = xml::parse(bytes)?;
        if !root.is("unattend") {
            return Err(Error::corrupt("root element of an answer file")
                .found(format_args!("{} of namespace {:?}", root.name, root.namespace))
                .allowed(format_args!("unattend of namespace {UNATTEND:?}")));
        }
        for element in root.elements().filter(|element| element.namespace == UNATTEND) {
            match element.name.as_str() {
                "settings" => check_settings(element)?,
                "servicing" => {}
                other => {
                    return Err(Error::corrupt("element of an answer file")
                        .found(other)
                        .allowed("settings, servicing"));
                }
            }
        }
        let passes: Vec<&str> = root.elements().filter_map(|element| element.attribute("pass")).collect();
        if let Some(twice) = passes.iter().enumerate().find(|(at, pass)| passes[..*at].contains(pass)) {
            return Err(Error::corrupt("a pass that has two settings elements")
                .found(twice.1)
                .allowed("one for each pass"));
        }
        Ok(Self { root: Document(root) })
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        xml::write(&self.root.0).into_bytes()
    }

    /// The file without what in it is secret: to tell it from others.
    pub fn public_text(&self) -> String {
        let mut public = self.root.0.clone();
        blank_secrets(&mut public);
        xml::write(&public)
    }

    /// Whether it has passwords in it, or the like.
    pub fn holds_secrets(&self) -> bool {
        fn secrets(element: &Element) -> bool {
            if is_secret(&element.name) { !element.text().is_empty() } else { element.elements().any(secrets) }
        }
        secrets(&self.root.0)
    }

    /// What of it an image will not follow, in words.
    ///
    /// # Errors
    /// [`WrongMachine`](crate::error::Kind::WrongMachine) for a component that is there for other processors only.
    pub(super) fn check(&self, machine: Machine, tree: &Tree) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for settings in self.root.0.elements().filter(|element| element.is("settings")) {
            let pass = settings.attribute("pass").unwrap_or_default();
            if !PASSES.iter().any(|(name, runs)| *name == pass && *runs) {
                warnings.push(format!(
                    "the answer file's pass {pass} has no effect: an image that was applied runs specialize and oobeSystem"
                ));
            }
            check_components(settings, pass, machine, tree, &mut warnings)?;
        }
        warnings.extend(
            BEFORE
                .iter()
                .filter(|path| tree.find(path).is_some())
                .map(|path| format!("the image has {path}, which Windows reads instead of {PATH}")),
        );
        Ok(warnings)
    }

    /// Names the machine. Tells what of the file that puts out of force.
    pub(super) fn set_computer_name(&mut self, name: &ComputerName, machine: Machine) -> Vec<String> {
        let name = name.to_string();
        let told = self.replaced("--computer-name", &["ComputerName"], Some(&name));
        self.shell_setup("specialize", machine, &["ComputerName"], &mut |element| element.set_text(&name));
        told
    }

    /// Sets the time zone. Tells what of the file that puts out of force.
    pub(super) fn set_time_zone(&mut self, zone: &str, machine: Machine) -> Vec<String> {
        let told = self.replaced("--time-zone", &["TimeZone"], Some(zone));
        self.shell_setup("oobeSystem", machine, &["TimeZone"], &mut |element| element.set_text(zone));
        told
    }

    /// Gives the built-in administrator a password. Tells what of the file that puts out of force.
    pub(super) fn set_admin_password(&mut self, password: &Secret, machine: Machine) -> Vec<String> {
        const NAME: &str = "AdministratorPassword";
        let told = self.replaced("the administrator's password", &["UserAccounts", NAME], None);
        let hidden = password.reveal().encode_utf16().chain(NAME.encode_utf16()).flat_map(u16::to_le_bytes);
        let hidden = base64::encode(&hidden.collect::<Vec<u8>>());
        self.shell_setup("oobeSystem", machine, &["UserAccounts", NAME], &mut |element| {
            element.at(&["Value"], &mut |value| value.set_text(&hidden));
            element.at(&["PlainText"], &mut |plain| plain.set_text("false"));
        });
        told
    }

    /// Takes a setting of Shell-Setup out of all passes. Tells where it was; what it was, if it was not `new` and may be said.
    fn replaced(&mut self, option: &str, path: &[&str], new: Option<&str>) -> Vec<String> {
        let (Some((name, folders)), mut told) = (path.split_last(), Vec::new()) else { return Vec::new() };
        for settings in self.root.0.elements_mut().filter(|element| element.is("settings")) {
            let pass = settings.attribute("pass").unwrap_or_default().to_owned();
            for component in settings.elements_mut().filter(|element| is_shell_setup(element)) {
                let mut holder = Some(&mut *component);
                for folder in folders {
                    holder = holder.and_then(|holder| holder.elements_mut().find(|child| child.is(folder)));
                }
                let Some(holder) = holder else { continue };
                for old in holder.elements().filter(|child| child.is(name)) {
                    match new {
                        None => told.push(format!("{option} replaces the answer file's {name} ({pass})")),
                        Some(new) if old.text() != new => {
                            told.push(format!(
                                "{option} {new:?} replaces the answer file's {name} {:?} ({pass})",
                                old.text()
                            ));
                        }
                        Some(_) => {}
                    }
                }
                holder.children.retain(|child| !matches!(child, Node::Element(element) if element.is(name)));
            }
        }
        told
    }

    /// Does something to a setting of Shell-Setup, made with all that has to be around it.
    fn shell_setup(&mut self, pass: &str, machine: Machine, path: &[&str], change: &mut dyn FnMut(&mut Element)) {
        let machine = machine.to_string();
        let component = || {
            Element::new("component")
                .with("name", SHELL_SETUP)
                .with("processorArchitecture", &machine)
                .with("publicKeyToken", PUBLIC_KEY_TOKEN)
                .with("language", "neutral")
                .with("versionScope", "nonSxS")
        };
        let is_ours = |element: &Element| {
            is_shell_setup(element)
                && element.attribute("processorArchitecture").is_some_and(|other| other.eq_ignore_ascii_case(&machine))
        };
        self.root.0.with_child(
            |element| element.is("settings") && element.attribute("pass") == Some(pass),
            || Element::new("settings").with("pass", pass),
            |settings| settings.with_child(is_ours, component, |component| component.at(path, change)),
        );
    }
}

fn is_shell_setup(element: &Element) -> bool {
    element.is("component") && element.attribute("name") == Some(SHELL_SETUP)
}

/// Whether what is in an element of that name is nobody's business: passwords, blobs that join a domain, product keys.
fn is_secret(name: &str) -> bool {
    name.ends_with("Password") || matches!(name, "AccountData" | "MachinePassword" | "ProductKey")
}

fn blank_secrets(element: &mut Element) {
    if is_secret(&element.name) {
        element.children.clear();
    }
    element.elements_mut().for_each(blank_secrets);
}

fn check_settings(settings: &Element) -> Result<()> {
    let pass = settings.attribute("pass").unwrap_or_default();
    if !PASSES.iter().any(|(name, _)| *name == pass) {
        let names = PASSES.map(|(name, _)| name);
        let error = Error::corrupt("pass of an answer file").found(format_args!("{pass:?}")).allowed(names.join(", "));
        return Err(match near::did_you_mean(&near::nearest(pass, names.iter().map(ToString::to_string))) {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    for component in settings.elements() {
        if !component.is("component") {
            return Err(Error::corrupt("element of a pass").found(&component.name).allowed("component").context(pass));
        }
        for attribute in ["name", "processorArchitecture"] {
            if component.attribute(attribute).is_none_or(str::is_empty) {
                return Err(Error::corrupt(format_args!("a component without {attribute}")).context(pass));
            }
        }
    }
    Ok(())
}

fn check_components(
    settings: &Element,
    pass: &str,
    machine: Machine,
    tree: &Tree,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let wanted = machine.to_string();
    let components: Vec<(&str, &str)> = settings
        .elements()
        .map(|component| {
            ["name", "processorArchitecture"].map(|name| component.attribute(name).unwrap_or_default()).into()
        })
        .collect();
    for (name, architecture) in &components {
        let suits = |other: &&(&str, &str)| other.0 == *name && other.1.eq_ignore_ascii_case(&wanted);
        if components.iter().find(suits).is_none() {
            return Err(Error::new(
                crate::error::Kind::WrongMachine,
                format_args!("the answer file's {name} is for another processor"),
            )
            .found(architecture)
            .allowed(&wanted)
            .hint("Windows would pass over it in silence: change processorArchitecture")
            .context(format_args!("pass {pass}")));
        }
        let warning = format!("the answer file's component {name} is unknown, here and to the image");
        if !COMPONENTS.contains(name) && !has_component(tree, &wanted, name) && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(())
}

/// Whether the image has a component of that name, by the names of its manifests
/// (`amd64_microsoft-windows-shell-setup_31bf3856ad364e35_…`), in which long names are shortened in the middle.
fn has_component(tree: &Tree, machine: &str, name: &str) -> bool {
    let Some(manifests) = tree.find(r"\Windows\WinSxS\Manifests") else { return false };
    let start = format!("{machine}_{}_", name.to_lowercase());
    tree.node(manifests).children().iter().any(|link| {
        let file = link.name.to_string().to_lowercase();
        file.starts_with(&start)
            || file.split_once("..").is_some_and(|(before, after)| {
                let after = after.split('_').next().unwrap_or_default();
                before.len() > machine.len() + 4 && start.starts_with(before) && name.to_lowercase().ends_with(after)
            })
    })
}

#[cfg(test)]
mod tests;
