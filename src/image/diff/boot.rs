//! Two boot stores: their objects and elements, by the names that bcdedit gives them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use crate::error::Result;
use crate::format::bcd::text::{Words, element_label};
use crate::format::bcd::{Element, Object, Store};
use crate::format::hive::{Value, words};

/// No partition has a name that would mean the same on two disks.
const WORDS: Words<'static> = Words { verbose: false, partition: &|_| None };

/// Tells what differs, in the order of identifiers and codes.
pub(super) fn compare(a: &Store, b: &Store, file: &str, tell: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let difference = |change| Difference::new(Area::Boot, change, file);
    for (name, [from, to]) in both(&a.description, &b.description) {
        if from != to {
            let fact = |value: Option<&Value>| value.map(description);
            let detail = Detail::new(Aspect::Boot, fact(from), fact(to));
            tell(difference(change(from, to)).key("(store)").value(name).with([detail]))?;
        }
    }
    for (id, [from, to]) in both(&a.objects, &b.objects) {
        let kind = |object: Option<&Object>| object.map(|object| Fact::Text(format!("{:#010x}", object.kind)));
        if kind(from) != kind(to) {
            tell(
                difference(change(from, to)).key(identifier(id)).with([Detail::new(
                    Aspect::Boot,
                    kind(from),
                    kind(to),
                )
                .of("type")]),
            )?;
        }
        let (none, Some(object)) = (BTreeMap::new(), to.or(from)) else { continue };
        let of = |object: Option<&'_ Object>| object.map_or(&none, |object| &object.elements).clone();
        for (code, pair) in both(&of(from), &of(to)) {
            if pair[0] != pair[1] {
                let label = element_label(object.kind, *code);
                let told = difference(change(pair[0], pair[1])).key(identifier(id)).value(label);
                tell(told.with([elements(object, *code, pair)]))?;
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
    WORDS.id(id)
}

/// As bcdedit prints it; what it prints the same is told apart by its bytes.
fn elements(object: &Object, code: u32, pair: [Option<&Element>; 2]) -> Detail {
    let shown = |element: &Element| WORDS.element(object, code, element).join(" ");
    let [a, b] = pair.map(|element| element.map(shown));
    let [a, b] = if a == b { pair.map(|element| element.map(|element| format!("{element:?}"))) } else { [a, b] };
    Detail::new(Aspect::Boot, a.map(Fact::Text), b.map(Fact::Text))
}

/// A value of the store's own description.
fn description(value: &Value) -> Fact {
    let data = words::hexadecimal(&value.data);
    Fact::Value { kind: words::kind_name(value.kind).into_owned(), data, bytes: value.data.len() }
}
