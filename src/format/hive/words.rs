//! Keys and values as Windows' own tools write them: `reg query`, and regedit's `.reg` files.

use std::borrow::Cow;
use std::fmt::Write;

use super::{Hive, KeyId, Text, Value, ValueRef, kind};
use crate::base::Name;

/// What a type is called: `REG_SZ`; a number where it has no name.
pub fn kind_name(number: u32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        kind::NONE => "REG_NONE",
        kind::SZ => "REG_SZ",
        kind::EXPAND_SZ => "REG_EXPAND_SZ",
        kind::BINARY => "REG_BINARY",
        kind::DWORD => "REG_DWORD",
        kind::DWORD_BIG_ENDIAN => "REG_DWORD_BIG_ENDIAN",
        kind::LINK => "REG_LINK",
        kind::MULTI_SZ => "REG_MULTI_SZ",
        8 => "REG_RESOURCE_LIST",
        9 => "REG_FULL_RESOURCE_DESCRIPTOR",
        10 => "REG_RESOURCE_REQUIREMENTS_LIST",
        kind::QWORD => "REG_QWORD",
        other => return Cow::Owned(format!("REG_{other:#010x}")),
    })
}

/// A value's data in one line, as `reg query` shows it. What is no text of its type is shown as bytes.
pub fn data(value: &ValueRef<'_>) -> String {
    if let Some(text) = value.as_text() {
        return escaped(text.encode_utf16());
    }
    if let Some(texts) = value.as_texts() {
        let texts: Vec<String> = texts.iter().map(|text| escaped(text.encode_utf16())).collect();
        return texts.join("\\0");
    }
    match (value.as_dword(), value.as_qword()) {
        (Some(number), _) => format!("{number:#x}"),
        (_, Some(number)) => format!("{number:#x}"),
        _ => hexadecimal(&value.data),
    }
}

/// Bytes as digits without anything between them.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// A name fit for a terminal: control characters and unpaired surrogates as `\u{1b}`.
pub fn name(text: Text<'_>) -> String {
    escaped(text.units())
}

fn escaped(units: impl Iterator<Item = u16>) -> String {
    let mut text = String::new();
    for unit in char::decode_utf16(units) {
        let _ = match unit {
            Ok(c) if c.is_control() => write!(text, "\\u{{{:x}}}", u32::from(c)),
            Ok(c) => write!(text, "{c}"),
            Err(lone) => write!(text, "\\u{{{:x}}}", lone.unpaired_surrogate()),
        };
    }
    text
}

/// Whether the text that is shown of a value is all that its data hold.
pub fn is_faithful(value: &ValueRef<'_>) -> bool {
    let again = match value.kind {
        kind::SZ | kind::EXPAND_SZ => value.as_text().map(|text| Value::sz(&text)),
        kind::MULTI_SZ => value.as_texts().map(Value::multi_sz),
        kind::DWORD => value.as_dword().map(Value::dword),
        kind::QWORD => value.as_qword().map(Value::qword),
        kind::BINARY => return true,
        _ => None,
    };
    again.is_some_and(|again| again.data == *value.data)
}

/// Every key from `top` on down, parents before their children, with its path below `prefix`, which stands for `top`.
pub fn walk<E>(
    hive: &Hive,
    top: KeyId,
    prefix: &str,
    mut visit: impl FnMut(KeyId, &str) -> Result<(), E>,
) -> Result<(), E> {
    let mut path = prefix.to_owned();
    visit(top, &path)?;
    let mut open = vec![(path.len(), hive.subkeys(top))];
    while let Some((len, keys)) = open.last_mut() {
        path.truncate(*len);
        let Some(key) = keys.next() else {
            open.pop();
            continue;
        };
        path.push('\\');
        path.push_str(&name(hive.name(key)));
        visit(key, &path)?;
        open.push((path.len(), hive.subkeys(key)));
    }
    Ok(())
}

/// What a `.reg` file begins with.
pub const REG_HEADER: &str = "Windows Registry Editor Version 5.00\r\n";

/// A key with its values as a section of a `.reg` file. `path` is the whole path, in code units.
///
/// Names are written as they are: the format has no way to write a line end in one.
pub fn reg_section(hive: &Hive, key: KeyId, path: &[u16], out: &mut Vec<u16>) {
    let mut line: Vec<u16> = "\r\n[".encode_utf16().collect();
    line.extend(path);
    line.extend("]\r\n".encode_utf16());
    for value in hive.values(key) {
        if value.name.is_empty() {
            line.push(u16::from(b'@'));
        } else {
            quoted(value.name.units(), &mut line);
        }
        line.push(u16::from(b'='));
        reg_data(&value, &mut line);
        line.extend("\r\n".encode_utf16());
    }
    out.append(&mut line);
}

fn quoted(units: impl Iterator<Item = u16>, line: &mut Vec<u16>) {
    let (quote, backslash) = (u16::from(b'"'), u16::from(b'\\'));
    line.push(quote);
    for unit in units {
        if unit == quote || unit == backslash {
            line.push(backslash);
        }
        line.push(unit);
    }
    line.push(quote);
}

/// A string or a number where the format has a form for it, and that holds all of the data; bytes else.
fn reg_data(value: &ValueRef<'_>, line: &mut Vec<u16>) {
    let plain = is_faithful(value);
    match value.kind {
        kind::SZ if plain && !value.as_text().unwrap_or_default().contains(char::is_control) => {
            let units = Name::from_le_bytes(&value.data);
            quoted(units.units().iter().copied().take_while(|unit| *unit != 0), line);
        }
        kind::DWORD if plain => {
            line.extend(format!("dword:{:08x}", value.as_dword().unwrap_or_default()).encode_utf16());
        }
        kind => {
            let start = if kind == kind::BINARY { "hex:".to_owned() } else { format!("hex({kind:x}):") };
            reg_bytes(&start, &value.data, line);
        }
    }
}

/// Bytes with commas, in lines that end with a backslash before their 80th column, as regedit wraps them.
fn reg_bytes(start: &str, bytes: &[u8], line: &mut Vec<u16>) {
    const LAST: usize = 77;
    let begin = line.iter().rposition(|unit| *unit == u16::from(b'\n')).map_or(0, |at| at + 1);
    line.extend(start.encode_utf16());
    let mut column = line.len() - begin;
    for (index, byte) in bytes.iter().enumerate() {
        let last = index + 1 == bytes.len();
        line.extend(format!("{byte:02x}{}", if last { "" } else { "," }).encode_utf16());
        column += 3;
        if column >= LAST && !last {
            line.extend("\\\r\n  ".encode_utf16());
            column = 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileTime;

    fn sample() -> Hive {
        let mut hive = Hive::new("ROOT", FileTime(0)).unwrap();
        let key = hive.create_key("A\u{1}").unwrap();
        let values = [
            ("", Value::sz(r#"say "hi" \ "#)),
            ("text\u{7}", Value::sz("two\nlines")),
            ("expand", Value::expand_sz("%x%")),
            ("multi", Value::multi_sz(["a", "b"])),
            ("number", Value::dword(0x1f)),
            ("short", Value::new(kind::DWORD, [1, 2])),
            ("big", Value::qword(1 << 40)),
            ("bytes", Value::binary((0..40).collect::<Vec<u8>>())),
            ("odd", Value::new(0xFFFF_0012, [0xAB])),
            ("tail", Value::new(kind::SZ, [0x61, 0, 0, 0, 0x62, 0])),
        ];
        for (name, value) in values {
            hive.set_value(key, name, value).unwrap();
        }
        hive.create_key_at(key, "B").unwrap();
        hive
    }

    #[test]
    fn values_read_as_in_reg_query() {
        let hive = sample();
        let key = hive.open("A\u{1}").unwrap();
        let shown: Vec<String> = hive
            .values(key)
            .map(|value| {
                format!("{} {} {} {}", name(value.name), kind_name(value.kind), data(&value), is_faithful(&value))
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#" REG_SZ say "hi" \  true"#,
                r"text\u{7} REG_SZ two\u{a}lines true",
                "expand REG_EXPAND_SZ %x% true",
                r"multi REG_MULTI_SZ a\0b true",
                "number REG_DWORD 0x1f true",
                "short REG_DWORD 0102 false",
                "big REG_QWORD 0x10000000000 true",
                "bytes REG_BINARY 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F2021222324252627 true",
                "odd REG_0xffff0012 AB false",
                "tail REG_SZ a false",
            ]
        );
    }

    #[test]
    fn exports_as_regedit_does() {
        let hive = sample();
        let key = hive.open("A\u{1}").unwrap();
        let mut out = Vec::new();
        reg_section(&hive, key, &"HKEY_LOCAL_MACHINE\\X".encode_utf16().collect::<Vec<_>>(), &mut out);
        let text = String::from_utf16(&out).unwrap();
        let expected = [
            "",
            r"[HKEY_LOCAL_MACHINE\X]",
            r#"@="say \"hi\" \\ ""#,
            "\"text\u{7}\"=hex(1):74,00,77,00,6f,00,0a,00,6c,00,69,00,6e,00,65,00,73,00,00,00",
            r#""expand"=hex(2):25,00,78,00,25,00,00,00"#,
            r#""multi"=hex(7):61,00,00,00,62,00,00,00,00,00"#,
            r#""number"=dword:0000001f"#,
            r#""short"=hex(4):01,02"#,
            r#""big"=hex(b):00,00,00,00,00,01,00,00"#,
            r#""bytes"=hex:00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,11,12,13,14,15,\"#,
            "  16,17,18,19,1a,1b,1c,1d,1e,1f,20,21,22,23,24,25,26,27",
            r#""odd"=hex(ffff0012):ab"#,
            r#""tail"=hex(1):61,00,00,00,62,00"#,
            "",
        ];
        assert_eq!(text, expected.join("\r\n"));
    }

    #[test]
    fn walks_from_the_top() {
        let hive = sample();
        let mut paths = Vec::new();
        walk::<()>(&hive, hive.root(), "TOP", |_, path| {
            paths.push(path.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(paths[..3], ["TOP", r"TOP\A\u{1}", r"TOP\A\u{1}\B"]);
    }
}
