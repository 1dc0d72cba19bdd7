//! The compiler: from an INF file to what it does to one Windows.
//!
//! Windows interprets an INF file when it installs a device. DISM does so for an image: it writes what came out into the driver database,
//! as configurations (one for each install section) with the values that devices, their drivers and services get. [`compile`] comes to
//! the same, and does nothing with it.
//!
//! ```text
//! [Manufacturer] --decoration--> [Models] --decoration--> [install]            -> Driver\...
//!                                                         [install.HW]         -> Device\..., filters, properties
//!                                                         [install.Services]   -> Services\..., services, event logs
//!                                                         [install.Wdf]        -> framework versions
//!                                                         [install.Interfaces] -> Interfaces\...
//! ```
//!
//! | directive | what becomes of it |
//! |---|---|
//! | `Include`, `Needs` | followed into the image's own INF files, in every section; what is needed comes first |
//! | `AddReg`, `DelReg` | values of the configuration; what is under HKLM, HKCR, HKU or HKCU is listed as changes of the registry |
//! | `CopyFiles` | files of the package, and copies to where they run |
//! | `AddService` | services, the null service, event logs, values |
//! | `AddProperty` | properties of the configuration |
//! | `AddInterface` | the interface's key; what its section says is left to Windows |
//! | `KmdfService`, `Umdf...` | the version of the framework in the service, drivers and policies of the device |
//! | `FeatureScore`, `ExcludeID`, `Reboot` | as said |
//! | all others | a [`Note`]: nothing is left out without one |
//!
//! # What the database keeps (seen in a SYSTEM hive of Windows 10 1709, 238 packages, 704 configurations)
//! * A configuration is named after the install section in the models line and its decoration as Windows spells it: `.NT`, `.NTamd64`.
//! * `ConfigScope` tells which sections there are: 1 always, 2 `.HW`, 4 `.Services`, 8 `.Interfaces`, 100h `.Wdf`. A null service
//!   (`AddService=,2`) has an empty `Service`.
//! * Values keep flags in their type: see [`database_flag`](super::database_flag). A key alone is a key without values.
//! * `UpperFilters`, `LowerFilters`, `Security`, `DeviceCharacteristics`, `UINumberDescFormat` and their like of `[install.HW]` are never
//!   values: they are filters of the configuration and properties of the device. `EnumPropPages32` of `[install]` is one, too.
//! * `Descriptors` have one entry for each id. An id that several models have belongs to the last of them, be it its hardware id or not
//!   (msports.inf: `*PNP0500` is described by the model of `*PNP0501`), while the strings are those of all models: no string is there
//!   that no description or manufacturer names.
//! * What a service section says is below `Services`, whether or not the service is the function driver; `BootFlags`, `Parameters\Wdf` and
//!   the event log are only in the service itself.
//! * Texts that Windows can look up again (`FriendlyName`) are kept there as `@cdrom.inf,%token%;text`, with the name under which the file
//!   is published. That name is not known here: they are plain texts.
//!
//! Values of network adapters that the network setup reads from the INF file by itself (`Characteristics`, `BusType`, `*IfType`, ...) are
//! nowhere in the database, and drivers whose class is not one of those that start at boot have no configuration there at all (seen in the
//! registry that LXD's distrobuilder took from images that DISM serviced: netkvm has none, viostor has one). That is for whoever writes.
//!
//! # Limits
//! [`MAX_WORK`] bytes of lines for all sections, however often they refer to each other; [`MAX_DEPTH`] sections that need each other;
//! [`MAX_INCLUDED`] included files.
//!
//! # Sources
//! Microsoft, "INF Directives" and "INF Sections" of the driver documentation; setupapi.h, devpropdef.h, devpkey.h and shlobj.h for numbers.

mod configuration;
mod files;
mod folders;
mod frameworks;
mod library;
mod properties;
mod registry;
mod services;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use super::{Configuration, Device, Driver, IdKind, Note, Package, RegistryChange, Service, TargetOs};
use crate::error::{Context, Error, Kind, Result};
use crate::format::inf::{Decoration, Header, Inf, Model};
use files::Files;
use library::{Library, Line};

/// Bytes of lines that are worked through, with their tokens replaced and 192 for each line: about half a million lines, which
/// should be more than any real driver comes to (none that large has been seen by this program). Memory is a small multiple of it.
pub const MAX_WORK: usize = 128 << 20;
/// Sections that need sections.
pub const MAX_DEPTH: usize = 32;
/// INF files of the image that one of a package leads to.
pub const MAX_INCLUDED: usize = 64;

/// Gives the bytes of an INF file of the image, by its name; `None` if it has none of that name.
pub type Inbox<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>;

/// Compiles a package for a Windows. `inbox` gives the INF files of that Windows, for `Include`.
///
/// # Errors
/// [`WrongMachine`](Kind::WrongMachine) for a package without models for the processor, [`Unsupported`](Kind::Unsupported) for one without
/// models for the version of Windows, both with what it is for; [`Corrupt`](Kind::Corrupt) for sections and files that are not there, for
/// sections that need each other, and for fields that make no sense. Each names its line.
pub fn compile(package: &Package, target: &TargetOs, inbox: Inbox<'_>) -> Result<Driver> {
    let inf = package.inf()?;
    let compiled = inf.header(target.machine).and_then(|header| {
        let models = inf.models(target);
        if models.is_empty() {
            return Err(not_for(&inf, target));
        }
        Compiler::new(package, target, inf, inbox).run(header, &models)
    });
    compiled.context(|| format!(r"{}\{}", package.origin, package.inf_name()))
}

/// The name of a package in the driver store: that of its INF file, its processor, and a hash of the INF file's bytes.
///
/// The hash is the base-39 polynomial of the bytes modulo 2^64, its bytes in the order of memory (checked against the folders of a
/// Windows 11 by the authors of gowim).
pub fn store_name(inf_name: &str, machine: crate::base::Machine, inf: &[u8]) -> String {
    let hash = inf.iter().fold(0_u64, |hash, byte| hash.wrapping_mul(39).wrapping_add(u64::from(*byte)));
    let mut name = format!("{}_{machine}_", inf_name.to_lowercase());
    for byte in hash.to_le_bytes() {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Why there are no models for a target.
fn not_for(inf: &Inf, target: &TargetOs) -> Error {
    let targets = inf.targets();
    let line = inf.section("Manufacturer").map_or(1, |section| section.line);
    let what = format!("line {line}: the INF file has no devices for this Windows");
    let own = format!("NT{}.{}.{}...{}", target.machine, target.major, target.minor, target.build);
    let machines = targets.iter().map(|text| Decoration::parse(text).and_then(|decoration| decoration.machine));
    // Models without a decoration are for x86 alone.
    let same_machine = machines
        .zip(&targets)
        .any(|(machine, text)| machine == Some(target.machine) || (machine.is_none() && !text.is_empty()));
    let shown: Vec<&str> =
        targets.iter().map(|text| if text.is_empty() { "x86 (no decoration)" } else { text.as_str() }).collect();
    let found = if shown.is_empty() { "no models at all".to_owned() } else { shown.join(", ") };
    let kind = if same_machine || targets.is_empty() { Kind::Unsupported } else { Kind::WrongMachine };
    Error::new(kind, what).found(found).allowed(own)
}

/// A configuration in the making.
struct Draft {
    configuration: Configuration,
    feature: u8,
}

struct Compiler<'a> {
    package: &'a Package,
    target: &'a TargetOs,
    package_name: String,
    library: Library<'a>,
    files: Files,
    services: Vec<Service>,
    service_index: HashMap<String, usize>,
    changes: Vec<RegistryChange>,
    seen_changes: HashSet<String>,
    strings: BTreeMap<String, String>,
    service_strings: BTreeMap<String, String>,
    notes: Vec<Note>,
    seen_notes: HashSet<(usize, String)>,
    /// How much of install sections was left to Windows.
    left: usize,
    /// The line of the model at hand: what is said about an included file is said there.
    model_line: usize,
}

impl<'a> Compiler<'a> {
    fn new(package: &'a Package, target: &'a TargetOs, inf: Inf, inbox: Inbox<'a>) -> Self {
        let library = Library::new(package.inf_name(), inf, inbox);
        let files = Files::new(&library.own(), target.machine);
        Self {
            package,
            target,
            package_name: store_name(package.inf_name(), target.machine, package.inf_bytes()),
            library,
            files,
            services: Vec::new(),
            service_index: HashMap::new(),
            changes: Vec::new(),
            seen_changes: HashSet::new(),
            strings: BTreeMap::new(),
            service_strings: BTreeMap::new(),
            notes: Vec::new(),
            seen_notes: HashSet::new(),
            left: 0,
            model_line: 1,
        }
    }

    fn run(mut self, header: Header, models: &[Model]) -> Result<Driver> {
        let mut drafts: Vec<Draft> = Vec::new();
        let mut by_install: HashMap<String, usize> = HashMap::new();
        let mut devices: HashMap<String, Device> = HashMap::new();
        let mut order = Vec::new();
        for model in models {
            self.model_line = model.line;
            self.check_model(model)?;
            let index = match by_install.get(&model.install.to_lowercase()) {
                Some(index) => *index,
                None => {
                    let draft = self.configuration(model)?;
                    by_install.insert(model.install.to_lowercase(), drafts.len());
                    drafts.push(draft);
                    drafts.len() - 1
                }
            };
            for device in self.devices(model, &drafts[index]) {
                let key = device.id.to_lowercase();
                if devices.insert(key.clone(), device).is_none() {
                    order.push(key);
                }
            }
        }
        self.say_what_else_there_is(&drafts, &header)?;
        let own = self.library.own();
        for target in own.inf.targets().iter().filter(|text| !text.is_empty() && Decoration::parse(text).is_none()) {
            let line = own.inf.section("Manufacturer").map_or(1, |section| section.line);
            self.note_at(
                line,
                format!("[Manufacturer]: {target} is no decoration that Windows of today knows: left out"),
            );
        }
        // One that is not there is told by whoever asks for the signature.
        if let Some(catalog) = header.catalog.as_ref().filter(|catalog| self.package.content(catalog).is_some()) {
            self.files.want(catalog);
        }
        self.files.want(self.package.inf_name());
        self.notes.sort_by_key(|note| note.line);
        let (files, copies) = self.files.finish();
        Ok(Driver {
            inf_name: self.package.inf_name().to_owned(),
            package_name: self.package_name,
            class: header.class,
            class_guid: header.class_guid,
            provider: header.provider,
            catalog: header.catalog,
            machine: self.target.machine,
            date: header.date,
            version: header.version,
            lockdown: header.lockdown,
            extension: header.extension,
            configurations: drafts.into_iter().map(|draft| draft.configuration).collect(),
            devices: order.iter().filter_map(|key| devices.remove(key)).collect(),
            strings: self.strings.into_iter().collect(),
            service_strings: self.service_strings.into_iter().collect(),
            files,
            copies,
            services: self.services,
            registry: self.changes,
            notes: self.notes,
        })
    }

    /// Refuses ids that no key of the database can be made of; notes texts that are not there.
    fn check_model(&mut self, model: &Model) -> Result<()> {
        for id in &model.ids {
            let is_key = !id.contains('%') && id.split('\\').all(|part| !part.is_empty());
            if !id.is_empty() && !is_key {
                return Err(Error::corrupt(format_args!("line {}: id of a device", model.line))
                    .found(id)
                    .allowed(r"BUS\ID, its tokens in [Strings]"));
            }
        }
        let own = self.library.own();
        for text in [&model.manufacturer, &model.description] {
            for token in own.inf.missing_tokens(text) {
                self.note_at(model.line, format!("%{token}% is not in [Strings]: shown as it is"));
            }
        }
        Ok(())
    }

    /// The ids of a model.
    fn devices(&mut self, model: &Model, draft: &Draft) -> Vec<Device> {
        let own = self.library.own();
        for text in [&model.manufacturer, &model.description] {
            let line = Line { source: std::rc::Rc::clone(&own), entry: Default::default(), needed: false };
            self.keep_strings(&line, text, false);
        }
        let device = |(index, id): (usize, &String)| Device {
            id: id.clone(),
            kind: if index == 0 { IdKind::Hardware } else { IdKind::Compatible },
            feature: draft.feature,
            // The first compatible id has 0, as has the hardware id.
            index: u16::try_from(index.saturating_sub(1)).unwrap_or(u16::MAX),
            configuration: draft.configuration.name.clone(),
            description: lower_tokens(&model.description),
            manufacturer: lower_tokens(&model.manufacturer),
        };
        model.ids.iter().enumerate().filter(|(_, id)| !id.is_empty()).map(device).collect()
    }

    /// The lines of a section that a directive names, in the file of that line.
    fn referenced(&mut self, line: &Line, directive: &str, name: &str) -> Result<Vec<Line>> {
        let found = self.library.section(&line.source, name)?;
        found.ok_or_else(|| line.fault(format_args!("{directive}: no such section")).found(format_args!("[{name}]")))
    }

    /// Keeps the texts of the tokens of a text.
    fn keep_strings(&mut self, line: &Line, text: &str, of_service: bool) {
        let kept = if of_service { &mut self.service_strings } else { &mut self.strings };
        for token in Inf::tokens(text) {
            if let Some(value) = line.source.inf.string(token) {
                kept.entry(token.to_lowercase()).or_insert_with(|| value.to_owned());
            }
        }
    }

    /// The line in the package's own file that a line stands for.
    fn line_of(&self, line: &Line) -> usize {
        if line.source.own { line.entry.line } else { self.model_line }
    }

    fn note(&mut self, line: &Line, text: String) {
        self.remark(self.line_of(line), line.said(text), false);
    }

    fn note_at(&mut self, line: usize, text: String) {
        self.remark(line, text, false);
    }

    /// Notes what Windows does itself when it finds the device.
    fn leave(&mut self, line: &Line, text: String) {
        self.left += 1;
        self.remark(self.line_of(line), line.said(text), true);
    }

    /// The same for what is no line of a section.
    fn leave_at(&mut self, line: usize, text: String) {
        self.remark(line, text, true);
    }

    fn remark(&mut self, line: usize, text: String, later: bool) {
        if self.seen_notes.insert((line, text.clone())) {
            self.notes.push(Note { line, text, later });
        }
    }

    /// Notes a directive that is not carried out.
    fn left_out(&mut self, line: &Line, section: &str) {
        let text = match &line.entry.key {
            Some(key) => format!("{key}: not known in {section}, left out"),
            None => format!("{}: a line without a directive in {section}, left out", line.entry.fields.join(",")),
        };
        self.note(line, text);
    }
}

/// A text with its tokens in lower case, as the database has them.
fn lower_tokens(text: &str) -> String {
    let mut lowered = String::new();
    for (index, part) in text.split('%').enumerate() {
        if index > 0 {
            lowered.push('%');
        }
        match index % 2 {
            0 => lowered.push_str(part),
            _ => lowered.push_str(&part.to_lowercase()),
        }
    }
    lowered
}

/// A number as INF files have them: decimal, hexadecimal with `0x`, negative.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Machine;

    #[test]
    fn packages_are_named_by_their_inf_files() {
        // h = (97 * 39 + 98) * 39 + 99, by hand.
        let hash = ((97_u64 * 39 + 98) * 39 + 99).to_le_bytes();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(store_name("Ab.inf", Machine::Amd64, b"abc"), format!("ab.inf_amd64_{hex}"));
        assert_eq!(store_name("a.inf", Machine::Arm64, b""), "a.inf_arm64_0000000000000000");
    }

    #[test]
    fn numbers_are_read_as_setupapi_reads_them() {
        let all = ["0", "0x10", "0XFF", "-1", " 7 ", "4294967295", "0xffffffff"];
        assert_eq!(all.map(number), [0, 16, 255, u32::MAX, 7, u32::MAX, u32::MAX].map(Some));
        for text in ["", "x", "0x", "4294967296", "0x100000000", "1 2", "--1"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn tokens_alone_are_lowered() {
        assert_eq!(lower_tokens("The %Big.One% of %ACME%"), "The %big.one% of %acme%");
        assert_eq!(lower_tokens("100% SURE"), "100% sure", "as odd as the text");
    }
}
