//! `AddService`: the service of a device, and the other services that an install section brings.
//!
//! ```text
//! [install.Services] AddService = name, flags, service, event log[, log, source]
//! [service]          DisplayName, ServiceType, StartType, ErrorControl, ServiceBinary, LoadOrderGroup, Dependencies, AddReg, ...
//! [event log]        AddReg
//! ```
//!
//! What a service's `AddReg` says about `HKR` is twice in a serviced image: below `Services\NAME`, and below the configuration, from where
//! Windows writes it again when it installs the device.

use super::folders::{self, Folder};
use super::library::Line;
use super::registry::{Change, What};
use super::{Compiler, Draft, number};
use crate::error::Result;
use crate::format::hive::Value;
use crate::windows::drivers::{ConfigurationValue, EventLog, REPOSITORY, Service};

/// The service is the device's function driver (`SPSVCINST_ASSOCSERVICE`).
const ASSOCIATED: u32 = 0x2;
/// `SERVICE_BOOT_START`.
const BOOT: u32 = 0;
/// `StartType` of a service that does not start, the highest there is.
const DISABLED: u32 = 4;
/// `SERVICE_KERNEL_DRIVER` and `SERVICE_FILE_SYSTEM_DRIVER`, and the bits of programs (`SERVICE_WIN32`).
const PROGRAMS: u32 = 0x30;

impl Compiler<'_> {
    /// `AddService = name, flags, section[, event log[, log[, source]]]`
    pub(super) fn add_service(&mut self, draft: &mut Draft, line: &Line) -> Result<()> {
        let (name, flags, section) = (line.field(0), line.field(1), line.field(2));
        let flags = match number(&flags) {
            Some(flags) => flags,
            None if flags.is_empty() => 0,
            None => return Err(line.fault("flags of AddService").found(flags).allowed("a number")),
        };
        if flags & ASSOCIATED != 0 {
            draft.configuration.service = Some(name.clone());
        }
        if name.is_empty() {
            if flags & ASSOCIATED == 0 {
                self.note(line, "AddService names no service: left out".to_owned());
            }
            return Ok(());
        }
        if name.contains(['\\', '/']) || name.len() > 256 {
            return Err(line.fault("name of a service").found(name).allowed(r"up to 256 characters, no \ or /"));
        }
        let mut service = self.service_section(draft, line, &name, &section)?;
        service.flags = flags;
        if !line.field(3).is_empty() {
            service.event_log = Some(self.event_log(line)?);
        }
        self.keep_service(line, service);
        Ok(())
    }

    fn service_section(&mut self, draft: &mut Draft, line: &Line, name: &str, section: &str) -> Result<Service> {
        let mut service = Service {
            name: name.to_owned(),
            included_from: (!line.source.own).then(|| line.source.name.clone()),
            line: self.line_of(line),
            ..Service::default()
        };
        let (mut kind, mut start, mut binary) = (None, None, None);
        for line in self.referenced(line, "AddService", section)? {
            let directive = line.entry.first().to_lowercase();
            match directive.as_str() {
                "servicetype" => kind = Some(self.service_number(&line)?),
                "starttype" => start = Some(self.service_number(&line)?),
                "errorcontrol" => service.error_control = self.service_number(&line)?,
                "servicebinary" => binary = Some(line.clone()),
                "displayname" => service.display_name = self.shown_text(&line),
                "description" => service.description = self.shown_text(&line),
                "loadordergroup" => service.group = Some(line.field(0)).filter(|group| !group.is_empty()),
                "startname" => service.start_name = Some(line.field(0)).filter(|account| !account.is_empty()),
                "dependencies" => service.dependencies = line.names(0),
                "security" => service.security = Some(line.field(0)).filter(|text| !text.is_empty()),
                "bootflags" => set(&mut service, "BootFlags", Value::dword(self.service_number(&line)?)),
                "servicesidtype" => set(&mut service, "ServiceSidType", Value::dword(self.service_number(&line)?)),
                "delayedautostart" => set(&mut service, "DelayedAutoStart", Value::dword(truth(&line))),
                "requiredprivileges" => set(&mut service, "RequiredPrivileges", Value::multi_sz(line.names(0))),
                "addreg" | "delreg" | "bitreg" => {
                    let changes = self.registry(&line)?;
                    let changes = self.relative(changes);
                    change_service(&mut service, &changes);
                    let values = self.below_configuration(changes, &format!(r"Services\{name}"));
                    draft.configuration.values.extend(values);
                }
                _ => self.left_out(&line, "a service section"),
            }
        }
        let lacks = |what: &str| line.fault(format_args!("[{section}] has no {what}"));
        service.kind = kind.ok_or_else(|| lacks("ServiceType"))?;
        service.start = start.ok_or_else(|| lacks("StartType"))?;
        if service.start > DISABLED {
            let what = line.fault(format_args!("[{section}]: StartType"));
            return Err(what
                .found(service.start)
                .allowed("0 (boot), 1 (system), 2 (automatic), 3 (demand), 4 (disabled)"));
        }
        service.image_path = self.image_path(&service, &binary.ok_or_else(|| lacks("ServiceBinary"))?)?;
        Ok(service)
    }

    fn service_number(&mut self, line: &Line) -> Result<u32> {
        let text = line.field(0);
        number(&text).ok_or_else(|| line.fault(line.entry.first()).found(text).allowed("a number"))
    }

    /// A text that Windows shows: its token stays, and the token's text is kept.
    fn shown_text(&mut self, line: &Line) -> Option<String> {
        let text = line.entry.field(0).trim();
        // The INF files of the image are not the one whose strings are kept.
        if !line.source.own {
            return Some(line.field(0)).filter(|text| !text.is_empty());
        }
        self.keep_strings(line, text, true);
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    /// `ServiceBinary = %12%\name.sys`, as `ImagePath` has it (seen in Windows 10 1709, 223 of 224 drivers that INF files installed): the
    /// boot loader knows paths below the system root alone, the kernel its own name for that.
    fn image_path(&self, service: &Service, line: &Line) -> Result<String> {
        let written = line.entry.field(0).trim();
        let bad = || line.fault("ServiceBinary").found(written).allowed(r"%12%\name.sys, %13%\name.sys");
        let parts = written.strip_prefix('%').and_then(|text| text.split_once('%'));
        // Without a number it is a path as the registry has it, or tokens that come to one.
        let Some((id, file)) = parts.and_then(|(id, file)| Some((id.parse().ok()?, file))) else {
            return Some(line.field(0)).filter(|path| !path.is_empty()).ok_or_else(bad);
        };
        let folder = match folders::folder(id, self.target.machine) {
            Folder::Image(path) => path,
            Folder::Store => folders::join(REPOSITORY, &self.package_name),
            Folder::Unknown => return Err(bad()),
        };
        let file = line.source.inf.expand(file);
        let (file, arguments) = match file.split_once(' ').filter(|_| service.kind & PROGRAMS != 0) {
            Some((file, arguments)) => (file.to_owned(), format!(" {arguments}")),
            None => (file.into_owned(), String::new()),
        };
        let file = folders::below(&file).filter(|file| !file.is_empty()).ok_or_else(bad)?;
        let path = format!(r"{folder}\{file}");
        let below_root = path.strip_prefix(r"\Windows\");
        Ok(match below_root {
            _ if service.kind & PROGRAMS != 0 => format!("{}{arguments}", folders::in_registry(&path)),
            Some(path) if service.start == BOOT => path.to_owned(),
            Some(path) => format!(r"\SystemRoot\{path}"),
            None => format!(r"\??\C:{path}"),
        })
    }

    /// The section of the event log, and the names of log and source behind it.
    fn event_log(&mut self, line: &Line) -> Result<EventLog> {
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let mut log = EventLog {
            log: or(line.field(4), "System"),
            source: or(line.field(5), &line.field(0)),
            values: Vec::new(),
        };
        for line in self.referenced(line, "AddService", &line.field(3))? {
            match line.entry.first().to_lowercase().as_str() {
                "addreg" | "delreg" | "bitreg" => {
                    let changes = self.registry(&line)?;
                    for change in self.relative(changes) {
                        match plain(&change) {
                            Some(value) => log.values.push(value),
                            None => {
                                self.note(&line, format!("{}: nothing to delete in a new event source", change.key))
                            }
                        }
                    }
                }
                _ => self.left_out(&line, "an event log section"),
            }
        }
        Ok(log)
    }

    /// Keeps a service; one that several configurations bring is one, with the values of all.
    fn keep_service(&mut self, line: &Line, service: Service) {
        let Some(index) = self.service_index.get(&service.name.to_lowercase()).copied() else {
            self.service_index.insert(service.name.to_lowercase(), self.services.len());
            self.services.push(service);
            return;
        };
        let own = &mut self.services[index];
        let same = (own.kind, own.start, own.error_control, &own.image_path, &own.group)
            == (service.kind, service.start, service.error_control, &service.image_path, &service.group);
        own.included_from = own.included_from.take().filter(|_| service.included_from.is_some());
        own.event_log = own.event_log.take().or(service.event_log);
        own.values.extend(service.values);
        own.deletions.extend(service.deletions);
        let first = own.line;
        if !same {
            self.note(line, format!("service {} is otherwise in line {first}, and that counts", service.name));
        }
    }
}

/// `true`, `yes` or a number.
fn truth(line: &Line) -> u32 {
    let text = line.field(0);
    u32::from(number(&text).is_some_and(|number| number != 0) || text.eq_ignore_ascii_case("true"))
}

fn set(service: &mut Service, name: &str, value: Value) {
    service.values.push(ConfigurationValue { key: String::new(), value: Some((name.to_owned(), value)) });
}

fn change_service(service: &mut Service, changes: &[Change]) {
    for change in changes {
        match (plain(change), &change.what) {
            (Some(value), _) => service.values.push(value),
            (None, What::DeleteValue(name)) => service.deletions.push((change.key.clone(), Some(name.clone()))),
            (None, _) => service.deletions.push((change.key.clone(), None)),
        }
    }
}

/// A key or value that is made, its type as the registry knows it; `None` for one that goes.
fn plain(change: &Change) -> Option<ConfigurationValue> {
    let value = match &change.what {
        What::Make => None,
        What::Set(name, value, _) => Some((name.clone(), value.clone())),
        What::DeleteValue(_) | What::DeleteKey => return None,
    };
    Some(ConfigurationValue { key: change.key.clone(), value })
}
