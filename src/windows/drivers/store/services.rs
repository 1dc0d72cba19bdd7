//! Services of packages, in the current control set.

use std::collections::{BTreeSet, HashMap};

use super::{Added, SYSTEM, Store, is_owner, own, service_key, texts};
use crate::error::{Context, Error, Result};
use crate::format::hive::{Hive, KeyId, Value};
use crate::windows::drivers::database::DATABASE;
use crate::windows::drivers::database::layout::{VersionBlob, oem_number};
use crate::windows::drivers::{ConfigurationValue, Driver, Service};
use crate::windows::hive_files::HiveFile;

/// `Start` of a driver that the boot loader loads, and of one that the kernel starts.
const SYSTEM_START: u32 = 1;
/// `Type` of drivers of the kernel and of file systems, which have tags.
const DRIVER_TYPES: [u32; 2] = [1, 2];

/// Tags that Windows deals out; those from here on are chosen by hand (seen: 103h in "SCSI miniport").
const DEALT_TAGS: u32 = 0x100;

impl Store<'_> {
    pub(super) fn put_services(&mut self, driver: &Driver, added: &mut Added) -> Result<()> {
        for service in &driver.services {
            self.put_service(service, driver, added).context(|| format!("service {}", service.name))?;
            added.services.push(service.name.clone());
        }
        Ok(())
    }

    /// Puts a service as a package has it that owns it already.
    pub(super) fn put_service(&mut self, service: &Service, driver: &Driver, added: &mut Added) -> Result<()> {
        let newer = self.newer_owner(service, driver, &added.published);
        let set = self.set;
        let hive = self.hives.open(self.tree, SYSTEM)?;
        let services = hive.make_alike(set, "Services")?;
        if service.included_from.is_some()
            && let Some(key) = hive.hive().subkey(services, service.name.as_str())
        {
            // It is Windows' own. Where it notes owners the package becomes one (seen: oem6.inf of i8042prt); where it does not, removal
            // would take it away with its only owner.
            let has_owner = texts(hive.hive(), key, "Owners").iter().any(|owner| is_owner(owner));
            return if has_owner { own(hive, key, &added.published) } else { Ok(()) };
        }
        if let Some(key) = hive.hive().subkey(services, service.name.as_str())
            && !texts(hive.hive(), key, "Owners").iter().any(|owner| oem_number(owner).is_some())
            && hive.hive().value(key, "ImagePath").is_some()
        {
            let path = hive.hive().value(key, "ImagePath").and_then(|value| value.as_text()).unwrap_or_default();
            if !same_file(&path, &service.image_path) {
                added.notes.push(format!(
                    "service {} came with this Windows, for {path}, and stays as it is: Windows sets it anew when it finds the device",
                    service.name
                ));
                return Ok(());
            }
            added.notes.push(format!(
                "service {} came with this Windows: it is set anew, and stays so when the package is taken out",
                service.name
            ));
            // It must not go with its only owner.
            let has_owner = texts(hive.hive(), key, "Owners").iter().any(|owner| is_owner(owner));
            if has_owner {
                own(hive, key, &added.published)?;
            }
        } else {
            let key = hive.make_sibling(services, &service.name)?;
            own(hive, key, &added.published)?;
        }
        let key = hive.make_sibling(services, &service.name)?;
        if let Some(newer) = newer {
            added.notes.push(format!("service {} stays as {newer} has it, which is newer", service.name));
            return Ok(());
        }
        let others: Vec<String> =
            texts(hive.hive(), key, "Owners").into_iter().filter(|owner| *owner != added.published).collect();
        let before = hive.hive().value(key, "ImagePath").and_then(|value| value.as_text());
        if let Some(before) = before.filter(|before| !same_file(before, &service.image_path)) {
            let owners = others.join(", ");
            added.notes.push(format!(
                "service {} ran {before} for {owners}, and runs {} now",
                service.name, service.image_path
            ));
        }
        let tag = tag(hive.hive(), services, key, service, &mut self.tags)?;
        for (name, value) in values(service, tag, |text| driver.indirect(text, &added.published)) {
            hive.set(key, name, value)?;
        }
        delete(hive, key, &service.deletions)?;
        for value in &service.values {
            set_value(hive, key, value)?;
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
                set_value(hive, source, value)?;
            }
        }
        Ok(())
    }

    /// Another package of the same INF that owns the service and is newer, by its published name: PnP will choose that one.
    fn newer_owner(&self, service: &Service, driver: &Driver, published: &str) -> Option<String> {
        let system = self.hives.opened(SYSTEM)?.hive();
        let key = service_key(system, self.set, &service.name)?;
        texts(system, key, "Owners").into_iter().filter(|owner| owner != published && is_owner(owner)).find(|owner| {
            self.package_of(owner).is_some_and(|(hive, package)| {
                let inf = hive.value(package, "InfName").and_then(|value| value.as_text());
                let version = hive.value(package, "Version").and_then(|value| VersionBlob::parse(&value.data));
                inf.is_some_and(|inf| inf.eq_ignore_ascii_case(&driver.inf_name))
                    && version.is_some_and(|own| (own.date, own.version) > (driver.date, driver.version))
            })
        })
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

/// Whether two paths of drivers, as services have them, are of files of one name.
fn same_file(one: &str, other: &str) -> bool {
    let name = |path: &str| path.rsplit('\\').next().unwrap_or_default().to_lowercase();
    name(one) == name(other)
}

/// The values of the key itself.
fn values(service: &Service, tag: Option<u32>, indirect: impl Fn(&str) -> String) -> Vec<(&'static str, Value)> {
    let mut values = vec![
        ("Type", Value::dword(service.kind)),
        ("Start", Value::dword(service.start)),
        ("ErrorControl", Value::dword(service.error_control)),
        ("ImagePath", Value::expand_sz(&service.image_path)),
    ];
    for (name, text) in [("DisplayName", &service.display_name), ("Description", &service.description)] {
        if let Some(text) = text {
            values.push((name, Value::sz(&indirect(text))));
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
    values
}

/// The place of a driver among those of its group.
///
/// One that a service has stays. A new one is the number after the highest that is dealt out in the group, as DISM does it (seen: 21h
/// for viostor, the highest before being 20h). `GroupOrderList` is left alone, as DISM leaves it: it has room for more tags than there
/// are drivers, and what it does not name comes last.
fn tag(
    hive: &Hive,
    services: KeyId,
    own: KeyId,
    service: &Service,
    tags: &mut HashMap<String, BTreeSet<u32>>,
) -> Result<Option<u32>> {
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
    let taken = tags
        .entry(group.to_lowercase())
        .or_insert_with(|| hive.subkeys(services).filter(is_of_group).filter_map(tag).collect());
    let highest = taken.range(..DEALT_TAGS).next_back().copied().unwrap_or(0);
    // All dealt out: whatever is free.
    let free = (highest + 1..DEALT_TAGS).chain(1..=u32::MAX).find(|tag| !taken.contains(tag));
    let free = free.ok_or_else(|| Error::invalid("no tag is free in the group").found(group))?;
    taken.insert(free);
    Ok(Some(free))
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

/// A key or value below a service or source.
pub(super) fn set_value(hive: &mut HiveFile, top: KeyId, value: &ConfigurationValue) -> Result<()> {
    let key = hive.make_alike(top, &value.key).context(|| &value.key)?;
    match &value.value {
        Some((name, value)) => hive.set(key, name, value.clone()),
        None => Ok(()),
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
