//! An install section and the sections that belong to it.

use std::collections::HashSet;
use std::rc::Rc;

use super::library::{Line, Source};
use super::{Compiler, Draft, number};
use crate::error::{Error, Result};
use crate::format::inf::{self, Decoration, Header, Model};
use crate::windows::drivers::{Configuration, ConfigurationValue, FINISH_INSTALL};

/// `ConfigScope`: which sections there are.
mod scope {
    pub(super) const INSTALL: u32 = 0x1;
    pub(super) const HARDWARE: u32 = 0x2;
    pub(super) const SERVICES: u32 = 0x4;
    pub(super) const INTERFACES: u32 = 0x8;
    pub(super) const FRAMEWORKS: u32 = 0x100;
}

/// The feature score of an INF file that names none.
const FEATURE_SCORE: u8 = 0xFF;

/// Values of network adapters that the network setup takes from the INF file itself.
const OF_NETWORK_SETUP: [&str; 14] = [
    "Characteristics",
    "BusType",
    "*IfType",
    "*MediaType",
    "*PhysicalMediaType",
    "EthPhysicalMediaType",
    "*IfConnectorPresent",
    "*ConnectionType",
    "*DirectionType",
    "*AccessType",
    "*HardwareLoopback",
    "*NumaNodeId",
    "Port1FunctionNumber",
    "Port2FunctionNumber",
];

/// Sections that Windows works through when it installs a device, and that leave nothing in the database.
const LEFT_TO_WINDOWS: [(&str, &str); 8] = [
    (".LogConfigOverride", "resources of the device: left to Windows"),
    (".FactDef", "resources of the device: left to Windows"),
    (".PosDup", "resources of the device: left to Windows"),
    (".GeneralConfigData", "Windows 10 and later do not read it"),
    (".Events", "event providers: left to Windows"),
    (".Components", "software components: left to Windows, which makes devices of them that need drivers of their own"),
    (".Software", "software: left to Windows, which cannot install it without a network or on Nano Server"),
    (".COM", "COM servers: left to Windows"),
];

impl Compiler<'_> {
    /// The configuration of the install section that a model names.
    pub(super) fn configuration(&mut self, model: &Model) -> Result<Draft> {
        let own = self.library.own();
        let name = own.inf.actual_section(&model.install, self.target).ok_or_else(|| {
            Error::corrupt(format_args!("line {}: no such install section", model.line))
                .found(format_args!("[{}]", model.install))
                .allowed(format_args!("that name, with .NT{} or .NT behind it or without", self.target.machine))
        })?;
        let configuration = Configuration { name: name.clone(), scope: scope::INSTALL, ..Configuration::default() };
        let mut draft = Draft { configuration, feature: FEATURE_SCORE };
        let left_before = self.left;
        self.install(&mut draft, &own, &name)?;
        self.each(&own, &name, ".HW", |own, line| own.hardware(&mut draft, line)).map(|found| {
            draft.configuration.scope |= if found { scope::HARDWARE } else { 0 };
        })?;
        let has_coinstallers =
            self.each(&own, &name, ".CoInstallers", |own, line| own.coinstallers(&mut draft, line))?;
        self.each(&own, &name, ".Services", |own, line| own.services(&mut draft, line)).map(|found| {
            draft.configuration.scope |= if found { scope::SERVICES } else { 0 };
        })?;
        self.each(&own, &name, ".Interfaces", |own, line| own.interfaces(&mut draft, line)).map(|found| {
            draft.configuration.scope |= if found { scope::INTERFACES } else { 0 };
        })?;
        if self.frameworks(&mut draft, &own, &name)? {
            draft.configuration.scope |= scope::FRAMEWORKS;
        }
        self.each(&own, &name, ".Filters", |own, line| {
            own.filters(line);
            Ok(())
        })?;
        for (suffix, why) in LEFT_TO_WINDOWS {
            self.each(&own, &name, suffix, |own, line| {
                own.leave(line, format!("[{name}{suffix}] {}: {why}", line.entry.first()));
                Ok(())
            })?;
        }
        draft.configuration.included = self.library.take_included();
        for (file, line) in self.library.take_missing() {
            self.note(&line, format!("Include={file}: the image has no such file, and nothing of it is needed"));
        }
        merge(&mut draft.configuration.values);
        if has_coinstallers || self.left > left_before {
            draft.configuration.flags |= FINISH_INSTALL;
        }
        Ok(draft)
    }

    /// Does something for each line of a section that belongs to an install section; whether there is one.
    pub(super) fn each(
        &mut self,
        own: &Rc<Source>,
        name: &str,
        suffix: &str,
        mut act: impl FnMut(&mut Self, &Line) -> Result<()>,
    ) -> Result<bool> {
        let Some(lines) = self.library.section(own, &format!("{name}{suffix}"))? else { return Ok(false) };
        for line in &lines {
            act(self, line)?;
        }
        Ok(true)
    }

    fn install(&mut self, draft: &mut Draft, own: &Rc<Source>, name: &str) -> Result<()> {
        let lines = self.library.section(own, name)?.unwrap_or_default();
        for line in &lines {
            match line.entry.first().to_lowercase().as_str() {
                "copyfiles" => self.copy_files(line)?,
                "delfiles" | "renfiles" => self.delete_files(line),
                "addreg" | "delreg" | "bitreg" => self.registry_of(draft, line, "Driver", false)?,
                "addproperty" => self.add_property(draft, line)?,
                // "Only processed when specified directly in the DDInstall section" (INF FeatureScore directive).
                "featurescore" if !line.needed => draft.feature = feature_score(line)?,
                "featurescore" => {
                    self.note(line, "FeatureScore of a section that is needed: does not count".to_owned())
                }
                "excludeid" => draft.configuration.exclude_ids.extend(line.names(0)),
                "reboot" | "restart" => draft.configuration.reboot = true,
                "driverver" => self.note(line, "DriverVer of an install section: that of [Version] counts".to_owned()),
                _ => self.other_directive(line),
            }
        }
        Ok(())
    }

    fn other_directive(&mut self, line: &Line) {
        let directive = line.entry.first().to_owned();
        let lowered = directive.to_lowercase();
        let left = match lowered.as_str() {
            _ if OF_NETWORK_SETUP.iter().any(|own| own.eq_ignore_ascii_case(&directive)) => {
                Some("left to the network setup of Windows, which reads it from the INF file")
            }
            "logconfig" => Some("resources of the device: left to Windows"),
            "registerdlls" | "unregisterdlls" => Some("left to Windows: nothing of an image can run here"),
            "updateinis" | "updateinifields" | "ini2reg" => Some("changes of .ini files are left to Windows"),
            "profileitems" => Some("entries of the start menu are left to Windows"),
            "friendlynameformat" => Some("the name of the device is left to Windows"),
            _ => None,
        };
        if let Some(why) = left {
            return self.leave(line, format!("{directive}: {why}"));
        }
        let why = match lowered.as_str() {
            "delproperty" => "a new device has no property to delete",
            "copyinf" => "add that INF file as a driver of its own",
            "delservice" => "belongs into a section of services",
            _ => return self.left_out(line, "an install section"),
        };
        self.note(line, format!("{directive}: {why}"));
    }

    /// `AddReg` and its like: below a folder of the configuration, but for what is a property there.
    fn registry_of(&mut self, draft: &mut Draft, line: &Line, folder: &str, hardware: bool) -> Result<()> {
        let changes = self.registry(line)?;
        let changes = self.take_properties(draft, changes, hardware, line);
        let values = self.below_configuration(changes, folder);
        draft.configuration.values.extend(values);
        Ok(())
    }

    fn hardware(&mut self, draft: &mut Draft, line: &Line) -> Result<()> {
        match line.entry.first().to_lowercase().as_str() {
            "addreg" | "delreg" | "bitreg" => self.registry_of(draft, line, "Device", true),
            "addproperty" => self.add_property(draft, line),
            _ => {
                self.left_out(line, "a section of hardware");
                Ok(())
            }
        }
    }

    /// Co-installers are programs that run when a device is installed: their files are in the package, but nothing runs offline, and
    /// Windows 11 no longer runs them at all. The values that name them are left to Windows.
    fn coinstallers(&mut self, _: &mut Draft, line: &Line) -> Result<()> {
        match line.entry.first().to_lowercase().as_str() {
            "copyfiles" => self.copy_files(line),
            "addreg" => {
                let changes = self.registry(line)?;
                self.relative(changes);
                self.note(
                    line,
                    "a co-installer: Windows runs it when it installs the device, or not at all".to_owned(),
                );
                Ok(())
            }
            _ => {
                self.left_out(line, "a section of co-installers");
                Ok(())
            }
        }
    }

    fn services(&mut self, draft: &mut Draft, line: &Line) -> Result<()> {
        match line.entry.first().to_lowercase().as_str() {
            "addservice" => self.add_service(draft, line)?,
            "delservice" => {
                self.leave(line, format!("DelService={}: left to Windows, when it installs the device", line.field(0)));
            }
            _ => self.left_out(line, "a section of services"),
        }
        Ok(())
    }

    /// `AddInterface = {class}[, reference string[, flags]][, section]`
    fn interfaces(&mut self, draft: &mut Draft, line: &Line) -> Result<()> {
        if !line.entry.is("AddInterface") {
            self.left_out(line, "a section of interfaces");
            return Ok(());
        }
        let class = line.field(0);
        let id = class.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let id = id.and_then(|text| uuid::Uuid::try_parse(text).ok());
        let id =
            id.ok_or_else(|| line.fault("AddInterface").found(&class).allowed("the id of an interface, in braces"))?;
        draft
            .configuration
            .values
            .push(ConfigurationValue { key: format!(r"Interfaces\{}", id.braced()), value: None });
        if let Some(lines) = self.library.section(&line.source, &line.field(2)).ok().flatten() {
            self.store_files_of(&lines)?;
        }
        if line.entry.fields.iter().skip(1).any(|field| !field.is_empty()) {
            self.leave(
                line,
                format!("AddInterface={class}: its section is left to Windows, when it installs the device"),
            );
        }
        Ok(())
    }

    /// What `CopyFiles` of a section brings that Windows works through when it installs the device.
    fn store_files_of(&mut self, lines: &[Line]) -> Result<()> {
        lines.iter().filter(|line| line.entry.is("CopyFiles")).try_for_each(|line| self.store_files(line))
    }

    /// Declarative filters are known from Windows 10 1903 on, and the database's form of them is not known.
    fn filters(&mut self, line: &Line) {
        const FIRST: u32 = 18362;
        if !line.entry.is("AddFilter") {
            return self.left_out(line, "a section of filters");
        }
        let filter = line.field(0);
        match self.target.build < FIRST {
            true => self.note(line, format!("AddFilter={filter}: this Windows does not know filters of this kind")),
            false => self.leave(line, format!("AddFilter={filter}: left to Windows, when it installs the device")),
        }
    }

    /// Notes sections that belong to install sections and that are none of the known ones, and what no configuration shows.
    pub(super) fn say_what_else_there_is(&mut self, drafts: &[Draft], header: &Header) -> Result<()> {
        let own = self.library.own();
        let used: HashSet<String> = drafts.iter().map(|draft| draft.configuration.name.to_lowercase()).collect();
        for section in own.inf.sections() {
            let name = section.name.to_lowercase();
            let Some((install, suffix)) = name.rsplit_once('.').filter(|(install, _)| used.contains(*install)) else {
                continue;
            };
            let known = ["hw", "coinstallers", "services", "interfaces", "wdf", "filters", "security"];
            let left = LEFT_TO_WINDOWS.iter().any(|(own, _)| own[1..].eq_ignore_ascii_case(suffix));
            if !left && !known.contains(&suffix) && Decoration::parse(suffix).is_none() && !used.contains(&name) {
                let text = format!("[{}] belongs to [{install}], and is not known: left out", section.name);
                self.note_at(section.line, text);
            }
        }
        if own.inf.section("ControlFlags").is_some_and(|section| !section.entries.is_empty()) {
            let line = own.inf.section("ControlFlags").map_or(1, |section| section.line);
            self.leave_at(line, "[ControlFlags] is about lists that users choose from: left to Windows".to_owned());
        }
        if let Some(name) = own.inf.actual_section("ClassInstall32", self.target) {
            let lines = self.library.section(&own, &name)?.unwrap_or_default();
            self.store_files_of(&lines)?;
            if let Some(section) = own.inf.section(&name) {
                let text = format!("[{}] makes the class {}: left to Windows", section.name, header.class);
                self.leave_at(section.line, text);
            }
        }
        if header.extension.is_some() {
            for draft in drafts.iter().filter(|draft| draft.configuration.service.is_some()) {
                let text = format!(
                    "[{}]: an extension has no function driver of its own: Windows ignores it",
                    draft.configuration.name
                );
                self.note_at(1, text);
            }
        }
        Ok(())
    }
}

fn feature_score(line: &Line) -> Result<u8> {
    let text = line.field(0);
    inf::feature_score(&text).ok_or_else(|| line.fault("FeatureScore").found(&text).allowed("00 to FF"))
}

/// Of values of one name the last stays, in the place of the first, and each key alone is there once.
pub(super) fn merge(values: &mut Vec<ConfigurationValue>) {
    let mut places = std::collections::HashMap::new();
    let mut merged: Vec<ConfigurationValue> = Vec::new();
    for value in values.drain(..) {
        let name = value.value.as_ref().map(|(name, _)| name.to_lowercase());
        match places.entry((value.key.to_lowercase(), name)) {
            std::collections::hash_map::Entry::Occupied(place) => {
                let place: &usize = place.get();
                merged[*place] = value;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(value);
            }
        }
    }
    *values = merged;
}

/// A number as a field has it, or none where it is empty.
pub(super) fn optional_number(line: &Line, index: usize) -> Result<Option<u32>> {
    let text = line.field(index);
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || line.fault(line.entry.first()).found(&text).allowed("a number");
    number(&text).ok_or_else(bad).map(Some)
}
