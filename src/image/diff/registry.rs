//! Two hives, key by key.

use std::borrow::Cow;

use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use super::files::security;
use super::walk::merge;
use crate::error::Result;
use crate::format::hive::{Hive, KeyId, ValueRef, words};

/// What counts beside names, types and data.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Security descriptors of keys.
    pub(super) security: bool,
    /// When keys were last written.
    pub(super) times: bool,
}

/// So many bytes of a value's data are shown; longer data is told apart by where it begins to differ.
const SHOWN: usize = 64 << 10;

/// A key of one side or both, with its path.
struct Step {
    path: String,
    keys: [Option<KeyId>; 2],
}

/// Tells what differs, parents before their subkeys, in the order of names. The root's own name does not count: Windows
/// mounts a hive under a name of its own.
pub(super) fn compare(
    hives: [&Hive; 2],
    options: Options,
    file: &str,
    tell: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let mut steps = vec![Step { path: String::new(), keys: hives.map(|hive| Some(hive.root())) }];
    while let Some(Step { path, keys }) = steps.pop() {
        let difference = |change| Difference::new(Area::Registry, change, file).key(path.as_str());
        match keys {
            [Some(a), Some(b)] => {
                let details = key(hives, [a, b], options, path.is_empty());
                if !details.is_empty() {
                    tell(difference(Change::Changed).with(details))?;
                }
            }
            [Some(_), None] => tell(difference(Change::Removed))?,
            [None, _] => tell(difference(Change::Added))?,
        }
        for [a, b] in values(hives, keys) {
            if let Some((change, details)) = value(a.as_ref(), b.as_ref()) {
                let name = a.or(b).map(|value| value.name.to_string()).unwrap_or_default();
                tell(difference(change).value(name).with(details))?;
            }
        }
        let [a, b] = [0, 1].map(|side| {
            keys[side].into_iter().flat_map(move |key| hives[side].subkeys(key).map(move |key| (side, key)))
        });
        let name = |key: &(usize, KeyId)| hives[key.0].name(key.1);
        // The last one in comes out first.
        for pair in merge(a, b, |a, b| name(a).compare(&name(b))).into_iter().rev() {
            let Some(shown) = pair.iter().flatten().next().map(|key| name(key).to_string()) else { continue };
            let path = if path.is_empty() { shown } else { format!("{path}\\{shown}") };
            steps.push(Step { path, keys: pair.map(|key| key.map(|(_, key)| key)) });
        }
    }
    Ok(())
}

/// What differs between two keys apart from their values and subkeys.
fn key(hives: [&Hive; 2], keys: [KeyId; 2], options: Options, root: bool) -> Vec<Detail> {
    let [a, b] = [0, 1].map(|side| (hives[side], keys[side]));
    let mut details = Vec::new();
    let mut add = |detail: Detail| {
        if detail.a != detail.b {
            details.push(detail);
        }
    };
    if !root {
        add(Detail::texts(Aspect::NameCase, a.0.name(a.1), b.0.name(b.1)));
    }
    let class = |(hive, key): (&Hive, KeyId)| hive.class(key).map(|class| Fact::Text(class.to_string()));
    add(Detail::new(Aspect::Registry, class(a), class(b)).of("class"));
    let flags = |(hive, key): (&Hive, KeyId)| u64::from(hive.flags(key));
    add(Detail::numbers(Aspect::Registry, flags(a), flags(b)).of("flags"));
    if options.times {
        let written = |(hive, key): (&Hive, KeyId)| hive.last_written(key);
        add(Detail::texts(Aspect::Modified, written(a), written(b)));
    }
    if options.security {
        details.extend(security(a.0.descriptor(a.1), b.0.descriptor(b.1)));
    }
    details
}

/// The values of two keys side by side, by name; their order does not count.
fn values<'h>(hives: [&'h Hive; 2], keys: [Option<KeyId>; 2]) -> Vec<[Option<ValueRef<'h>>; 2]> {
    let sorted = |side: usize| {
        let mut values: Vec<ValueRef<'h>> = keys[side].map_or_else(Vec::new, |key| hives[side].values(key).collect());
        values.sort_by(|a, b| a.name.compare(&b.name));
        values.into_iter()
    };
    merge(sorted(0), sorted(1), |a, b| a.name.compare(&b.name))
}

fn value(a: Option<&ValueRef<'_>>, b: Option<&ValueRef<'_>>) -> Option<(Change, Vec<Detail>)> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let mut details = Vec::new();
            let [from, to] = [a, b].map(|value| value.name.to_name());
            if from != to {
                details.push(Detail::texts(Aspect::NameCase, from, to));
            }
            if a.kind != b.kind || a.data != b.data {
                let detail = Detail::new(Aspect::Registry, Some(fact(a)), Some(fact(b)));
                details.push(if detail.a == detail.b { detail.of(beyond(&a.data, &b.data)) } else { detail });
            }
            (!details.is_empty()).then_some((Change::Changed, details))
        }
        (Some(a), None) => Some((Change::Removed, vec![Detail::new(Aspect::Registry, Some(fact(a)), None)])),
        (None, Some(b)) => Some((Change::Added, vec![Detail::new(Aspect::Registry, None, Some(fact(b)))])),
        (None, None) => None,
    }
}

/// Where data begins to differ that looks the same as far as it is shown.
fn beyond(a: &[u8], b: &[u8]) -> String {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    format!("data from byte {same} on")
}

/// Type and data for people: text and numbers as such, if nothing is lost by it; else the bytes.
pub(super) fn fact(value: &ValueRef<'_>) -> Fact {
    let shown = ValueRef { data: Cow::Borrowed(&value.data[..value.data.len().min(SHOWN)]), ..value.clone() };
    let data = if words::is_faithful(&shown) { words::data(&shown) } else { words::hexadecimal(&shown.data) };
    Fact::Value { kind: words::kind_name(value.kind).into_owned(), data, bytes: value.data.len() }
}
