//! Keys and values.

use super::How;
use crate::base::Name;
use crate::error::Result;
use crate::format::hive::{Value, kind};
use crate::windows::packages::image::{Image, texts};
use crate::windows::packages::journal::Place;
use crate::windows::packages::plan::{Change, ComponentPlan};

/// Messages name so many values one by one.
const NAMED: usize = 4;

/// Makes one change of the registry; others are not for here. Values that were something else before are added to `changed`.
pub(super) fn change(image: &mut Image<'_>, change: &Change, how: How, changed: &mut Vec<String>) -> Result<()> {
    match change {
        Change::Key { key, descriptor } => {
            let place = image.locate(key)?;
            image.make_key(&place, descriptor.as_deref()).map(|_| ())
        }
        Change::Value { key, name, value, if_absent } => {
            let place = image.locate(key)?;
            if (*if_absent || how == How::Complete) && image.value(&place, name)?.is_some() {
                return Ok(());
            }
            if let Some(before) = image.set_value(&place, name, value.clone())? {
                changed.push(format!(r"{key}\{name} (was {})", in_words(&before)));
            }
            Ok(())
        }
        Change::Append { key, name, texts, first } => {
            let place = image.locate(key)?;
            let before = image.value(&place, name)?;
            joined(before.as_ref(), texts, *first)
                .map_or(Ok(()), |value| image.set_value(&place, name, value).map(|_| ()))
        }
        Change::AppendPath { key, name, part, first } => {
            let place = image.locate(key)?;
            let before = image.value(&place, name)?;
            joined_path(before.as_ref(), part, *first)
                .map_or(Ok(()), |value| image.set_value(&place, name, value).map(|_| ()))
        }
        // What an installed component deletes may be there again for a reason.
        Change::DeleteValue { .. } | Change::DeleteKey { .. } if how == How::Complete => Ok(()),
        Change::DeleteValue { key, name } => {
            let place = image.locate(key)?;
            image.delete_value(&place, name)
        }
        Change::DeleteKey { key } => {
            let place: Place = image.locate(key)?;
            image.delete_key(&place)
        }
        Change::Directory { .. } | Change::Link { .. } | Change::File { .. } | Change::Driver { .. } => Ok(()),
    }
}

/// A list with texts that it lacks; nothing if it has them all.
fn joined(before: Option<&Value>, new: &[String], first: bool) -> Option<Value> {
    let mut list = before.map(texts).unwrap_or_default();
    let has = |list: &[String], text: &str| list.iter().any(|known| known.eq_ignore_ascii_case(text));
    let mut missing: Vec<String> = Vec::new();
    for text in new.iter().filter(|text| !text.is_empty()) {
        if !has(&list, text) && !has(&missing, text) {
            missing.push(text.clone());
        }
    }
    if missing.is_empty() && before.is_some() {
        return None;
    }
    if first {
        missing.append(&mut list);
        list = missing;
    } else {
        list.append(&mut missing);
    }
    Some(Value::multi_sz(&list))
}

/// A text of parts with one that it lacks; nothing if it has it.
fn joined_path(before: Option<&Value>, part: &str, first: bool) -> Option<Value> {
    let text = before.map(text).unwrap_or_default();
    if parts(&text).any(|known| is_same_part(known, part)) {
        return None;
    }
    let text = match (text.as_str(), first) {
        ("", _) => part.to_owned(),
        (text, true) => format!("{part};{text}"),
        (text, false) => format!("{};{part}", text.trim_end_matches(';')),
    };
    Some(with_text(before, &text))
}

/// The parts of a text such as `Path`.
pub(in crate::windows::packages) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|part| !part.is_empty())
}

/// Whether two parts name one folder.
pub(in crate::windows::packages) fn is_same_part(one: &str, other: &str) -> bool {
    one.trim_end_matches('\\').eq_ignore_ascii_case(other.trim_end_matches('\\'))
}

/// The text of a value.
pub(in crate::windows::packages) fn text(value: &Value) -> String {
    let units = Name::from_le_bytes(&value.data);
    let end = units.units().iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units.units()[..end])
}

/// A text of the type that the value has; REG_EXPAND_SZ for one that is not there.
pub(in crate::windows::packages) fn with_text(value: Option<&Value>, text: &str) -> Value {
    if value.is_some_and(|value| value.kind == kind::SZ) { Value::sz(text) } else { Value::expand_sz(text) }
}

fn in_words(value: &Value) -> String {
    match value.kind {
        kind::SZ | kind::EXPAND_SZ => format!("{:?}", text(value)),
        kind::MULTI_SZ => format!("{:?}", texts(value)),
        kind::DWORD => {
            let number = crate::base::bytes::u32_at(&value.data, 0);
            number.map_or_else(|| "no number".to_owned(), |number| format!("{number:#x}"))
        }
        _ => format!("{} bytes", value.data.len()),
    }
}

/// What a user should know of values that were there, if there were any.
pub(super) fn note(component: &ComponentPlan, changed: &[String]) -> Option<String> {
    let named = changed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match changed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = "sets values that were there; removing the package gives them back";
    (!changed.is_empty()).then(|| format!("{} {what}: {named}{more}", component.keyform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_join_a_list_once() {
        let list = Value::multi_sz(["a", "b"]);
        assert_eq!(
            joined(Some(&list), &["A".into(), "c".into(), "C".into()], false),
            Some(Value::multi_sz(["a", "b", "c"]))
        );
        assert_eq!(joined(Some(&list), &["c".into(), "d".into()], true), Some(Value::multi_sz(["c", "d", "a", "b"])));
        assert_eq!(joined(Some(&list), &["B".into()], true), None);
        assert_eq!(joined(None, &["x".into()], true), Some(Value::multi_sz(["x"])));
        assert_eq!(joined(Some(&Value::sz("a")), &["b".into()], false), Some(Value::multi_sz(["a", "b"])));
    }

    #[test]
    fn a_part_joins_a_path_once_and_the_type_stays() {
        let path = Value::expand_sz(r"%SystemRoot%;C:\A\;");
        assert_eq!(joined_path(Some(&path), r"c:\a", false), None);
        assert_eq!(joined_path(Some(&path), "B", false), Some(Value::expand_sz(r"%SystemRoot%;C:\A\;B")));
        assert_eq!(joined_path(Some(&Value::sz("A")), "B", true), Some(Value::sz("B;A")));
        assert_eq!(joined_path(None, "B", true), Some(Value::expand_sz("B")));
    }
}
