//! Two boot stores: their objects and elements, by the names that bcdedit gives them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use super::files::hex;
use super::registry;
use crate::error::Result;
use crate::format::bcd::{Device, Element, Object, Store, element_name, object_name};

/// Tells what differs, in the order of identifiers and codes.
pub(super) fn compare(a: &Store, b: &Store, file: &str, tell: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let difference = |change| Difference::new(Area::Boot, change, file);
    for (name, [from, to]) in both(&a.description, &b.description) {
        let fact =
            |value: Option<&crate::format::hive::Value>| value.map(|value| registry::fact(value.kind, &value.data));
        if from != to {
            let detail = Detail::new(Aspect::Boot, fact(from), fact(to));
            tell(difference(change(from, to)).key("(store)").value(name).with([detail]))?;
        }
    }
    for (id, [from, to]) in both(&a.objects, &b.objects) {
        let object = || difference(change(from, to)).key(identifier(id));
        let kind = |object: Option<&Object>| object.map(|object| Fact::Text(format!("{:#010x}", object.kind)));
        if kind(from) != kind(to) {
            tell(object().with([Detail::new(Aspect::Boot, kind(from), kind(to)).of("type")]))?;
        }
        let none = BTreeMap::new();
        let elements = |object: Option<&'_ Object>| object.map_or(&none, |object| &object.elements).clone();
        let kind = to.or(from).map_or(0, |object| object.kind);
        for (code, [from, to]) in both(&elements(from), &elements(to)) {
            if from != to {
                let name = element_name(kind, *code).map_or_else(|| format!("custom:{code:08x}"), str::to_owned);
                let detail = Detail::new(Aspect::Boot, from.map(element), to.map(element));
                tell(difference(change(from, to)).key(identifier(id)).value(name).with([detail]))?;
            }
        }
    }
    Ok(())
}

/// What two maps have, by key.
fn both<'m, K: Ord, V>(a: &'m BTreeMap<K, V>, b: &'m BTreeMap<K, V>) -> BTreeMap<&'m K, [Option<&'m V>; 2]> {
    a.keys().chain(b.keys()).map(|key| (key, [a.get(key), b.get(key)])).collect()
}

fn change<T>(a: Option<T>, b: Option<T>) -> Change {
    match (a, b) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Changed,
    }
}

fn identifier(id: &Uuid) -> String {
    object_name(id).map_or_else(|| id.braced().to_string(), |name| format!("{{{name}}}"))
}

fn element(element: &Element) -> Fact {
    Fact::Text(match element {
        Element::Device(device) => self::device(device),
        Element::String(text) => text.clone(),
        Element::Object(id) => identifier(id),
        Element::Objects(ids) => ids.iter().map(identifier).collect::<Vec<_>>().join(" "),
        Element::Integer(number) => format!("{number:#x}"),
        Element::Boolean(flag) => if *flag { "Yes" } else { "No" }.to_owned(),
        Element::Integers(numbers) => numbers.iter().map(|number| format!("{number:#x}")).collect::<Vec<_>>().join(" "),
        Element::Raw(value) => return registry::fact(value.kind, &value.data),
    })
}

fn device(device: &Device) -> String {
    match device {
        Device::Boot => "boot".to_owned(),
        Device::Locate { element } => format!("locate=custom:{element:08x}"),
        Device::MbrPartition { signature, offset } => format!("partition of disk {signature:#010x} at {offset:#x}"),
        Device::GptPartition { disk, partition } => format!("partition {partition} of disk {disk}"),
        Device::Raw(bytes) => hex(bytes),
    }
}
