//! `serviceData`: a service, as the service control manager reads it below `SYSTEM\CurrentControlSet\Services`.
//!
//! | attribute | value |
//! |---|---|
//! | type, start, errorControl, tag, sidType, launchProtected | Type, Start, ErrorControl, Tag, ServiceSidType, LaunchProtected: REG_DWORD |
//! | start="delayedAuto" | Start 2, DelayedAutoStart 1; "auto": Start 2, and DelayedAutoStart goes where it is |
//! | imagePath | ImagePath: REG_EXPAND_SZ |
//! | displayName, description, objectName, group | DisplayName, Description, ObjectName, Group: REG_SZ |
//! | dependOnService, dependOnGroup, requiredPrivileges | DependOnService, DependOnGroup, RequiredPrivileges: REG_MULTI_SZ |
//! | securityDescriptor | `Security\Security`: REG_BINARY |
//! | failureActions | FailureActions: REG_BINARY; RebootMessage, FailureCommand: REG_SZ |
//! | serviceTrigger | `TriggerInfo\0`, ... |
//!
//! ```text
//! FailureActions: u32 reset period (seconds; 0xFFFFFFFF never), u32 1 if there is a RebootMessage, u32 1 if there is a FailureCommand,
//!                 u32 count, u32 0x14, then count times u32 kind, u32 delay (milliseconds)
//! ```
//!
//! Sources: the services FrameServer, MessagingService, CNG, spectrum and MSiSCSI in the SYSTEM hive of a Windows 10, beside the manifests of the
//! first three in UFCase's collection; MS-SCMR 2.2.38 to 2.2.45.

use super::files::is_one_of;
use super::security::Object;
use super::triggers::trigger;
use super::{Change, Compiler, EffectKind, Said, list, needed, number_32, shortened, truth, word};
use crate::format::assembly::Element;
use crate::format::hive::Value;

const SERVICES: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services";
/// The longest name of a service (`MaxServiceNameLength` of MS-SCMR).
const MAX_NAME: usize = 256;
/// Triggers and failure actions of a service. MS-SCMR 2.2.54 has up to 64 triggers; nobody has more than a handful of actions.
const MOST: usize = 1024;

/// `start`: the number, whether it is delayed, and what it is called.
const STARTS: [(&str, (u32, bool, &str)); 6] = [
    ("boot", (0, false, "at boot")),
    ("system", (1, false, "at system start")),
    ("auto", (2, false, "automatic")),
    ("demand", (3, false, "manual")),
    ("disabled", (4, false, "disabled")),
    ("delayedAuto", (2, true, "automatic, delayed")),
];

/// `type`: the number, and what it is called.
const KINDS: [(&str, (u32, &str)); 8] = [
    ("kernelDriver", (0x01, "kernel driver")),
    ("fileSystemDriver", (0x02, "file system driver")),
    ("adapter", (0x04, "adapter")),
    ("recognizerDriver", (0x08, "recognizer driver")),
    ("win32OwnProcess", (0x10, "own process")),
    ("win32ShareProcess", (0x20, "shared process")),
    ("win32UserOwnProcess", (0x50, "own process of a user")),
    ("win32UserShareProcess", (0x60, "shared process of a user")),
];

const ERRORS: [(&str, u32); 4] = [("ignore", 0), ("normal", 1), ("severe", 2), ("critical", 3)];
const SIDS: [(&str, u32); 3] = [("none", 0), ("unrestricted", 1), ("restricted", 3)];
const PROTECTED: [(&str, u32); 4] = [("none", 0), ("windows", 1), ("windowsLight", 2), ("antimalwareLight", 3)];
const ACTIONS: [(&str, u32); 5] =
    [("none", 0), ("restartService", 1), ("reboot", 2), ("rebootComputer", 2), ("runCommand", 3)];

impl Compiler<'_> {
    pub(super) fn service(&mut self, data: &Element) {
        let name = shortened(data.attribute("name").unwrap_or_default());
        let said = self.service_values(data);
        let Some(service) = self.or_leave(data, format_args!("service {name}"), said) else { return };
        let key = format!(r"{SERVICES}\{}", service.name);
        let mut changes = vec![Change::Key { key: key.clone(), descriptor: None }];
        changes.extend(values(&key, service.values));
        if service.starts_at_once {
            changes.push(Change::DeleteValue { key: key.clone(), name: "DelayedAutoStart".into() });
        }
        if let Some(descriptor) = self.descriptor(data, &format!("service {name}"), Object::Service) {
            let key = format!(r"{key}\Security");
            changes.extend(values(&key, vec![("Security", Value::binary(descriptor.into_vec()))]));
        }
        for actions in data.children("failureActions") {
            let said = self.failure_actions(actions);
            let Some(said) = self.or_leave(actions, format_args!("failureActions of service {name}"), said) else {
                continue;
            };
            changes.extend(values(&key, said));
        }
        self.triggers(data, &name, &key, &mut changes);
        self.add(EffectKind::Service, service.what, changes);
    }

    fn service_values(&self, data: &Element) -> Said<Service> {
        // Whether it runs once it is installed: nothing runs here.
        data.mark_attributes(|name| is_one_of(name, &["startAfterInstall", "buildFilter"]));
        let name = needed(data, "name")?;
        if name.contains(['\\', '/', '\0']) || name.encode_utf16().count() > MAX_NAME {
            return Err(r"names of services have up to 256 characters, and no \ or /".to_owned());
        }
        let (start, is_delayed, start_word) = word(needed(data, "start")?, &STARTS)?;
        let (kind, kind_word) = word(needed(data, "type")?, &KINDS)?;
        let error_control = data.filled("errorControl").map_or(Ok(1), |text| word(text, &ERRORS))?;
        let mut values = vec![
            ("Type", Value::dword(kind)),
            ("Start", Value::dword(start)),
            ("ErrorControl", Value::dword(error_control)),
        ];
        if is_delayed {
            values.push(("DelayedAutoStart", Value::dword(1)));
        }
        let image = data.filled("imagePath").map(|path| self.text(path)).transpose()?;
        values.extend(image.iter().map(|path| ("ImagePath", Value::expand_sz(path))));
        const TEXTS: [(&str, &str); 4] = [
            ("displayName", "DisplayName"),
            ("description", "Description"),
            ("objectName", "ObjectName"),
            ("group", "Group"),
        ];
        for (attribute, value) in TEXTS {
            if let Some(text) = data.filled(attribute) {
                values.push((value, Value::sz(&self.text(text)?)));
            }
        }
        const LISTS: [(&str, &str); 3] = [
            ("dependOnService", "DependOnService"),
            ("dependOnGroup", "DependOnGroup"),
            ("requiredPrivileges", "RequiredPrivileges"),
        ];
        for (attribute, value) in LISTS {
            values.extend(data.filled(attribute).map(|text| (value, Value::multi_sz(list(text)))));
        }
        if let Some(tag) = data.filled("tag") {
            let tag = number_32(tag).ok_or_else(|| format!("tag is '{}'", shortened(tag)))?;
            values.push(("Tag", Value::dword(tag)));
        }
        for (attribute, value, words) in
            [("sidType", "ServiceSidType", &SIDS[..]), ("launchProtected", "LaunchProtected", &PROTECTED)]
        {
            if let Some(text) = data.filled(attribute) {
                values.push((value, Value::dword(word(text, words)?)));
            }
        }
        let account = data.filled("objectName").map(|account| format!(", {account}")).unwrap_or_default();
        let what =
            format!("service {name}: {}, {start_word}, {kind_word}{account}", image.as_deref().unwrap_or("no program"));
        Ok(Service { name: name.to_owned(), what, values, starts_at_once: start == 2 && !is_delayed })
    }

    fn failure_actions(&self, element: &Element) -> Said<Vec<(&'static str, Value)>> {
        let reset = match element.filled("resetPeriod") {
            None => 0,
            Some(text) if text.eq_ignore_ascii_case("INFINITE") => u32::MAX,
            Some(text) => number_32(text).ok_or_else(|| format!("resetPeriod is '{}'", shortened(text)))?,
        };
        let message = element.filled("rebootMessage").map(|text| self.text(text)).transpose()?;
        let command = element.filled("command").map(|text| self.text(text)).transpose()?;
        let mut actions = Vec::new();
        for action in element.children("actions").flat_map(|actions| actions.children("action")) {
            let delay = action.filled("delay").unwrap_or("0");
            actions.push(word(needed(action, "type")?, &ACTIONS)?);
            actions.push(number_32(delay).ok_or_else(|| format!("delay is '{}'", shortened(delay)))?);
        }
        if actions.len() > 2 * MOST {
            return Err(format!("more than {MOST} actions"));
        }
        let head = [reset, message.is_some().into(), command.is_some().into(), (actions.len() / 2) as u32, 0x14];
        let bytes: Vec<u8> = head.into_iter().chain(actions).flat_map(u32::to_le_bytes).collect();
        let mut values = vec![("FailureActions", Value::binary(bytes))];
        values.extend(message.map(|text| ("RebootMessage", Value::sz(&text))));
        values.extend(command.map(|text| ("FailureCommand", Value::sz(&text))));
        if let Some(text) = element.filled("nonCrashFailures") {
            let on = truth(text).ok_or_else(|| format!("nonCrashFailures is '{}'", shortened(text)))?;
            values.push(("FailureActionsOnNonCrashFailures", Value::dword(on.into())));
        }
        Ok(values)
    }

    fn triggers(&mut self, data: &Element, service: &str, key: &str, changes: &mut Vec<Change>) {
        let mut index = 0;
        for element in data.children("serviceTrigger") {
            let said = if index < MOST { trigger(element) } else { Err(format!("more than {MOST} triggers")) };
            let Some(trigger) = self.or_leave(element, format_args!("serviceTrigger of service {service}"), said)
            else {
                continue;
            };
            let key = format!(r"{key}\TriggerInfo\{index}");
            changes.extend(trigger.into_iter().map(|(name, value)| Change::Value {
                key: key.clone(),
                name,
                value,
                if_absent: false,
            }));
            index += 1;
        }
    }
}

struct Service {
    name: String,
    what: String,
    values: Vec<(&'static str, Value)>,
    /// Whether an older version's delay goes.
    starts_at_once: bool,
}

pub(super) fn values(key: &str, values: Vec<(&str, Value)>) -> Vec<Change> {
    let set = |(name, value): (&str, Value)| Change::Value {
        key: key.to_owned(),
        name: name.to_owned(),
        value,
        if_absent: false,
    };
    values.into_iter().map(set).collect()
}
