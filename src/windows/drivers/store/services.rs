//! Services of packages, in the current control set.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Added, SYSTEM, Store, is_owner, own, service_key, set_if_absent, texts};
use crate::error::{Context, Error, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::format::inf::Inf;
use crate::windows::drivers::database::DATABASE;
use crate::windows::drivers::database::layout::Version;
use crate::windows::drivers::driver::{ConfigurationValue, Service};
use crate::windows::drivers::{Driver, Package};
use crate::windows::hive_files::HiveFile;

/// `Start` of a driver that the boot loader loads, and of one that the kernel starts.
const SYSTEM_START: u32 = 1;
/// `Type` of drivers of the kernel and of file systems, which have tags.
const DRIVER_TYPES: [u32; 2] = [1, 2];

/// In the type of a value in a configuration: the INF says FLG_ADDREG_NOCLOBBER.
const NO_CLOBBER: u32 = 0x0002_0000;
/// The INF says FLG_ADDREG_KEYONLY.
const KEY_ONLY: u32 = 0x0010_0000;
/// The bits that are the type itself.
const TYPE: u32 = 0x0000_FFFF;

/// Tags that Windows deals out; those from here on are chosen by hand (seen: 103h in "SCSI miniport").
const DEALT_TAGS: u32 = 0x100;

impl Store<'_> {
    pub(super) fn put_services(&mut self, package: &Package, driver: &Driver, added: &mut Added) -> Result<()> {
        let mut words = Words { package, driver, published: &added.published.clone(), inf: None };
        for service in &driver.services {
            self.put_service(service, &mut words, added).context(|| format!("service {}", service.name))?;
            added.services.push(service.name.clone());
        }
        Ok(())
    }

    fn put_service(&mut self, service: &Service, words: &mut Words<'_>, added: &mut Added) -> Result<()> {
        let newer = self.newer_owner(service, words);
        let set = self.set;
        let hive = self.hives.open(self.tree, SYSTEM)?;
        let services = hive.make_alike(set, "Services")?;
        let key = hive.make_sibling(services, &service.name)?;
        own(hive, key, words.published)?;
        if let Some(newer) = newer {
            added.notes.push(format!("service {} stays as {newer} has it, which is newer", service.name));
            return Ok(());
        }
        let tag = tag(hive.hive(), services, key, service)?;
        for (name, value) in values(service, tag, words)? {
            hive.set(key, name, value)?;
        }
        delete(hive, key, &service.deletions)?;
        for value in &service.values {
            set_flagged(hive, key, value, &mut added.notes)?;
        }
        // Setup leaves it behind for drivers that the machine it ran on did not need: `0 = 3` holds a driver back until PnP wants it, which
        // is too late for the disk that Windows is on.
        if service.start <= SYSTEM_START
            && let Some(start_override) = hive.hive().subkey(key, "StartOverride")
        {
            hive.delete_key(start_override)?;
            added
                .notes
                .push(format!("service {}: StartOverride, which would keep it from starting, is gone", service.name));
        }
        if let Some(sddl) = &service.security {
            let descriptor = crate::base::sddl::from_text(sddl);
            let descriptor =
                descriptor.ok_or_else(|| Error::invalid("security descriptor of a service").found(sddl))?;
            let security = hive.make_alike(key, "Security")?;
            hive.set(security, "Security", Value::binary(descriptor))?;
        }
        if let Some(log) = &service.event_log {
            let logs = hive.make_alike(services, "EventLog")?;
            let log_key = hive.make_sibling(logs, &log.log)?;
            let source = hive.make_sibling(log_key, &log.source)?;
            for value in &log.values {
                set_flagged(hive, source, value, &mut added.notes)?;
            }
        }
        Ok(())
    }

    /// Another package of the same INF that owns the service and is newer, by its published name: PnP will choose that one.
    fn newer_owner(&self, service: &Service, words: &Words<'_>) -> Option<String> {
        let system = self.hives.opened(SYSTEM)?.hive();
        let key = service_key(system, self.set, &service.name)?;
        let driver = words.driver;
        texts(system, key, "Owners").into_iter().filter(|owner| owner != words.published && is_owner(owner)).find(
            |owner| {
                self.package_of(owner).is_some_and(|(hive, package)| {
                    let inf = hive.value(package, "InfName").and_then(|value| value.as_text());
                    let version = hive.value(package, "Version").and_then(|value| Version::parse(&value.data));
                    inf.is_some_and(|inf| inf.eq_ignore_ascii_case(&driver.inf_name))
                        && version.is_some_and(|own| (own.date, own.version) > (driver.date, driver.version))
                })
            },
        )
    }

    /// The package that counts for a published name.
    pub(super) fn package_of(&self, published: &str) -> Option<(&Hive, KeyId)> {
        [super::SYSTEM, super::DRIVERS].into_iter().find_map(|path| {
            let hive = self.hives.opened(path)?.hive();
            let root = hive.open(DATABASE)?;
            let inf = hive.subkey(hive.subkey(root, "DriverInfFiles")?, published)?;
            let active = hive.value(inf, "Active")?.as_text()?;
            Some((hive, hive.subkey(hive.subkey(root, "DriverPackages")?, active.as_str())?))
        })
    }
}

/// The values of the key itself.
fn values(service: &Service, tag: Option<u32>, words: &mut Words<'_>) -> Result<Vec<(&'static str, Value)>> {
    let mut values = vec![
        ("Type", Value::dword(service.kind)),
        ("Start", Value::dword(service.start)),
        ("ErrorControl", Value::dword(service.error_control)),
        ("ImagePath", Value::expand_sz(&service.image_path)),
    ];
    for (name, text) in [("DisplayName", &service.display_name), ("Description", &service.description)] {
        if let Some(text) = text {
            values.push((name, Value::sz(&words.indirect(text)?)));
        }
    }
    let plain = [("Group", &service.group), ("ObjectName", &service.start_name)];
    values.extend(plain.into_iter().filter_map(|(name, text)| Some((name, Value::sz(text.as_ref()?)))));
    values.extend(tag.map(|tag| ("Tag", Value::dword(tag))));
    let (groups, names): (Vec<&str>, Vec<&str>) =
        service.dependencies.iter().map(String::as_str).partition(|name| name.starts_with('+'));
    if !names.is_empty() {
        values.push(("DependOnService", Value::multi_sz(names)));
    }
    if !groups.is_empty() {
        values.push(("DependOnGroup", Value::multi_sz(groups.iter().map(|group| group.trim_start_matches('+')))));
    }
    Ok(values)
}

/// The place of a driver among those of its group.
///
/// One that a service has stays. A new one is the number after the highest that is dealt out in the group, as DISM does it (seen: 21h
/// for viostor, the highest before being 20h). `GroupOrderList` is left alone, as DISM leaves it: it has room for more tags than there
/// are drivers, and what it does not name comes last.
fn tag(hive: &Hive, services: KeyId, own: KeyId, service: &Service) -> Result<Option<u32>> {
    let Some(group) = service.group.as_ref().filter(|_| DRIVER_TYPES.contains(&service.kind)) else {
        return Ok(service.tag);
    };
    let text = |key: KeyId, name: &str| hive.value(key, name).and_then(|value| value.as_text());
    let tag = |key: KeyId| hive.value(key, "Tag").and_then(|value| value.as_dword());
    let is_of_group = |key: &KeyId| text(*key, "Group").is_some_and(|own| own.eq_ignore_ascii_case(group));
    if service.tag.is_some() {
        return Ok(service.tag);
    }
    if let Some(tag) = tag(own).filter(|_| is_of_group(&own)) {
        return Ok(Some(tag));
    }
    let taken: BTreeSet<u32> = hive.subkeys(services).filter(is_of_group).filter_map(tag).collect();
    let highest = taken.range(..DEALT_TAGS).next_back().copied().unwrap_or(0);
    // All dealt out: whatever is free.
    let free = (highest + 1..DEALT_TAGS).chain(1..=u32::MAX).find(|tag| !taken.contains(tag));
    free.map(Some).ok_or_else(|| Error::invalid("no tag is free in the group").found(group))
}

/// Values and keys that the INF takes away.
fn delete(hive: &mut HiveFile, top: KeyId, deletions: &[(String, Option<String>)]) -> Result<()> {
    for (path, value) in deletions {
        let path = path.trim_matches('\\');
        match (hive.hive().open_at(top, path), value) {
            (Some(key), Some(name)) => hive.delete_value(key, name).map(|_| ())?,
            (Some(key), None) if key != top => hive.delete_key(key)?,
            _ => {}
        }
    }
    Ok(())
}

/// Does to a key what a value of a configuration stands for.
fn set_flagged(hive: &mut HiveFile, top: KeyId, value: &ConfigurationValue, notes: &mut Vec<String>) -> Result<()> {
    let key = hive.make_alike(top, &value.key).context(|| &value.key)?;
    let Some((name, value)) = &value.value else { return Ok(()) };
    let plain = || Value::new(value.kind & TYPE, value.data.clone());
    match value.kind & !TYPE {
        0 => hive.set(key, name, value.clone()),
        NO_CLOBBER => set_if_absent(hive, key, name, plain()),
        KEY_ONLY => Ok(()),
        flags => {
            notes.push(format!(
                "{}: value {name} is set without regard to its flags {flags:08X}h",
                hive.hive().path(key)
            ));
            hive.set(key, name, plain())
        }
    }
}

/// Texts of an INF.
struct Words<'a> {
    package: &'a Package,
    driver: &'a Driver,
    published: &'a str,
    /// Parsed when a token is not among the driver's strings.
    inf: Option<Inf>,
}

impl Words<'_> {
    /// A text as the registry has it: `@oem3.inf,%token%;text`, which follows the language of whoever reads it.
    fn indirect<'t>(&mut self, text: &'t str) -> Result<Cow<'t, str>> {
        let Some(token) = text.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) else {
            return Ok(if text.contains('%') {
                Cow::Owned(self.inf()?.expand(text).into_owned())
            } else {
                Cow::Borrowed(text)
            });
        };
        let known = self.driver.strings.iter().find(|(own, _)| own.eq_ignore_ascii_case(token));
        let resolved = match known {
            Some((_, text)) => text.clone(),
            None => self.inf()?.expand(text).into_owned(),
        };
        Ok(Cow::Owned(format!("@{},{text};{resolved}", self.published)))
    }

    fn inf(&mut self) -> Result<&Inf> {
        let inf = match self.inf.take() {
            Some(inf) => inf,
            None => self.package.inf()?,
        };
        Ok(self.inf.insert(inf))
    }
}

/// Whether a value may have come from an INF's AddReg: for what is taken out again.
pub(super) fn plain_kind(kind: u32) -> Option<u32> {
    match kind & !TYPE {
        0 | NO_CLOBBER => Some(kind & TYPE),
        _ => None,
    }
}

/// The names of the values that [`values`] sets.
pub(super) const OWN_VALUES: [&str; 12] = [
    "Type",
    "Start",
    "ErrorControl",
    "ImagePath",
    "DisplayName",
    "Description",
    "Group",
    "ObjectName",
    "Tag",
    "DependOnService",
    "DependOnGroup",
    "Owners",
];
