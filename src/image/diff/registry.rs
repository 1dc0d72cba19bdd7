//! Two hives, key by key.

use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use super::files::{hex, security};
use super::walk::merge;
use crate::error::Result;
use crate::format::hive::{Hive, KeyId, ValueRef, kind};

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
    let fact = |value: &ValueRef<'_>| fact(value.kind, &value.data);
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

/// Type and data for people.
pub(super) fn fact(kind: u32, data: &[u8]) -> Fact {
    let shown = &data[..data.len().min(SHOWN)];
    Fact::Value { kind: type_name(kind), data: readable(kind, shown), bytes: data.len() }
}

fn type_name(number: u32) -> String {
    const NAMES: [(u32, &str); 11] = [
        (kind::NONE, "REG_NONE"),
        (kind::SZ, "REG_SZ"),
        (kind::EXPAND_SZ, "REG_EXPAND_SZ"),
        (kind::BINARY, "REG_BINARY"),
        (kind::DWORD, "REG_DWORD"),
        (kind::DWORD_BIG_ENDIAN, "REG_DWORD_BIG_ENDIAN"),
        (kind::LINK, "REG_LINK"),
        (kind::MULTI_SZ, "REG_MULTI_SZ"),
        (8, "REG_RESOURCE_LIST"),
        (10, "REG_RESOURCE_REQUIREMENTS_LIST"),
        (kind::QWORD, "REG_QWORD"),
    ];
    let name = NAMES.iter().find(|(known, _)| *known == number);
    name.map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).to_owned())
}

/// Text and numbers as such, if nothing is lost by it; else the bytes.
fn readable(kind: u32, data: &[u8]) -> String {
    let as_is = || hex(data);
    match (kind, data) {
        (kind::DWORD, &[a, b, c, d]) => format!("{:#010x}", u32::from_le_bytes([a, b, c, d])),
        (kind::DWORD_BIG_ENDIAN, &[a, b, c, d]) => format!("{:#010x}", u32::from_be_bytes([a, b, c, d])),
        (kind::QWORD, data) => {
            data.try_into().map_or_else(|_| as_is(), |bytes| format!("{:#018x}", u64::from_le_bytes(bytes)))
        }
        (kind::SZ | kind::EXPAND_SZ, data) => text(data).and_then(terminated).map_or_else(as_is, |text| quoted(&text)),
        (kind::LINK, data) => text(data).filter(|text| !text.contains('\0')).map_or_else(as_is, |text| quoted(&text)),
        (kind::MULTI_SZ, data) => text(data).and_then(texts).unwrap_or_else(as_is),
        _ => as_is(),
    }
}

fn text(data: &[u8]) -> Option<String> {
    let units: Vec<u16> =
        data.chunks(2).map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?))).collect::<Option<_>>()?;
    String::from_utf16(&units).ok()
}

/// What is before the one NUL at the end.
fn terminated(text: String) -> Option<String> {
    text.strip_suffix('\0').filter(|text| !text.contains('\0')).map(str::to_owned)
}

fn texts(text: String) -> Option<String> {
    let list = match text.strip_suffix('\0')? {
        "" => return Some("[]".to_owned()),
        list => list.strip_suffix('\0')?,
    };
    let texts: Vec<&str> = list.split('\0').collect();
    let sound = texts.iter().all(|text| !text.is_empty());
    sound.then(|| format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", ")))
}

/// In quotes, with control characters escaped.
fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '"';
    let inner = text.chars().fold(String::with_capacity(text.len() + 2), |mut inner, c| {
        if plain(c) {
            inner.push(c)
        } else {
            inner.extend(c.escape_default())
        }
        inner
    });
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hive::Value;

    fn shown(value: &Value) -> String {
        readable(value.kind, &value.data)
    }

    #[test]
    fn shows_what_can_be_read_and_loses_nothing() {
        for (value, text) in [
            (Value::sz("a \"b\"\n"), r#""a \"b\"\n""#),
            (Value::sz(""), r#""""#),
            (Value::expand_sz(r"%x%\y"), r#""%x%\y""#),
            (Value::new(kind::SZ, *b"a\0"), "6100"),
            (Value::new(kind::SZ, *b"a\0\0\0b\0\0\0"), "6100000062000000"),
            (Value::new(kind::SZ, *b"a\0\0"), "610000"),
            (Value::new(kind::SZ, *b"\x00\xD8\0\0"), "00d80000"),
            (Value::new(kind::LINK, *b"a\0"), r#""a""#),
            (Value::multi_sz(["a", "b"]), r#"["a", "b"]"#),
            (Value::multi_sz::<&str>([]), "[]"),
            (Value::multi_sz(["a", "", "b"]), "6100000000006200000000 00".replace(' ', "").as_str()),
            (Value::dword(7), "0x00000007"),
            (Value::new(kind::DWORD, *b"\x01"), "01"),
            (Value::qword(7), "0x0000000000000007"),
            (Value::new(kind::QWORD, *b"\x01\x02"), "0102"),
            (Value::new(0xFFFF_0011, *b"\x01"), "01"),
        ] {
            assert_eq!(shown(&value), text, "{value:?}");
        }
        assert_eq!(type_name(0xFFFF_0011), "0xffff0011");
    }
}
