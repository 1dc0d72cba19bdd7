//! `nanovhd reg`.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::args::Reg;
use super::{Env, output};
use crate::base::near;
use crate::error::{Context, Error, Result};
use crate::format::hive::{Hive, KeyId, Recovery, ValueRef, words};
use crate::tree::Tree;
use crate::windows::registry::{self, Found};

/// Behind `nanovhd reg --help`.
pub(super) const HELP: &str = r"Keys:
  HKLM\SYSTEM, SOFTWARE, SAM, SECURITY, DRIVERS, COMPONENTS, BCD00000000   (CurrentControlSet is what Select\Default says)
  HKU\.DEFAULT, HKU\S-1-5-19, HKU\S-1-5-21-...   (the users' own, by the list of profiles), HKCR, HKCC
  SOURCE may also be a hive file itself: KEY is then the path within it, as it is with --hive. Such keys are shown where
  `reg load HKLM\NAME` would put them.
Logs beside a hive are replayed (in memory). Control characters in names and texts are shown as \u{1b}.";

pub(super) fn run(command: &Reg, json: bool, env: &mut Env<'_>) -> Result<()> {
    let Some(found) = find(command, json, env)? else { return Ok(()) };
    if found.hive.recovery() == Recovery::Ignored {
        output::warnings(env, [format!("{}: {}", found.file, recovery(&found.hive))])?;
    }
    if command.export {
        return export(&found, env);
    }
    let listing = Listing { found: &found, recursive: command.recursive, value: command.value.as_deref() };
    if let Some(name) = listing.value {
        check_value(&found, name)?;
    }
    if json { output::json(env, &listing) } else { listing.print(env) }
}

/// The key that is meant; nothing if none was named and the hives have been listed instead.
fn find(command: &Reg, json: bool, env: &mut Env<'_>) -> Result<Option<Found>> {
    let args = &command.source;
    let key = command.key.as_deref();
    if let Some(hive) = args.hive(&[("--hive", command.hive.is_some())])? {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return within(hive, args.name(), &name, key.unwrap_or_default()).map(Some);
    }
    let source = args.open(env)?;
    let name = || source.name.clone();
    match (&command.hive, key) {
        (Some(path), key) => {
            let missing = || Error::invalid("no such file").found(format_args!("'{path}'"));
            let hive =
                registry::read_hive(&source.tree, path).and_then(|hive| hive.ok_or_else(missing)).context(name)?;
            let file = path.rsplit(['\\', '/']).next().unwrap_or_default();
            within(hive, path.clone(), file, key.unwrap_or_default()).context(name).map(Some)
        }
        (None, Some(key)) => registry::open(&source.tree, key).context(name).map(Some),
        (None, None) => hives(&source.tree, json, env).context(name).map(|()| None),
    }
}

/// A key of a hive that is in no place of its own.
fn within(hive: Hive, file: String, name: &str, path: &str) -> Result<Found> {
    let key = registry::open_in(&hive, path).context(|| file.clone())?;
    let parts = path.split('\\').filter(|part| !part.is_empty());
    let shown = parts.fold(format!(r"HKEY_LOCAL_MACHINE\{name}"), |path, part| path + r"\" + part);
    Ok(Found { hive, key, shown, file })
}

/// Which hives an image has.
fn hives(tree: &Tree, json: bool, env: &mut Env<'_>) -> Result<()> {
    #[derive(Serialize)]
    struct Mounted {
        key: String,
        file: &'static str,
    }
    let hives: Vec<Mounted> = registry::hives(tree).into_iter().map(|(key, file)| Mounted { key, file }).collect();
    if json {
        return output::json(env, &hives);
    }
    if hives.is_empty() {
        return Err(Error::invalid("no hives where Windows has them")
            .hint("--hive takes the path of a hive that lies elsewhere"));
    }
    hives.iter().try_for_each(|hive| output::line(env.stdout, format_args!("{:<36} {}", hive.key, hive.file)))
}

fn check_value(found: &Found, name: &str) -> Result<()> {
    if found.hive.value(found.key, name).is_some() {
        return Ok(());
    }
    let names = found.hive.values(found.key).map(|value| words::name(value.name));
    let error = Error::invalid("no such value").found(format_args!("'{name}'"));
    let hint = near::did_you_mean(&near::nearest(name, names));
    let hint = hint.unwrap_or_else(|| "leave the value out to see all of the key's".into());
    Err(error.hint(hint).context(&found.shown))
}

struct Listing<'a> {
    found: &'a Found,
    recursive: bool,
    value: Option<&'a str>,
}

impl Listing<'_> {
    fn visit<E>(&self, mut visit: impl FnMut(KeyId, &str) -> std::result::Result<(), E>) -> std::result::Result<(), E> {
        let Found { hive, key, shown, .. } = self.found;
        if self.recursive { words::walk(hive, *key, shown, visit) } else { visit(*key, shown) }
    }

    fn values(&self, key: KeyId) -> impl Iterator<Item = ValueRef<'_>> {
        let wanted = move |value: &ValueRef<'_>| self.value.is_none_or(|name| value.name.is(name));
        self.found.hive.values(key).filter(wanted)
    }

    fn print(&self, env: &mut Env<'_>) -> Result<()> {
        let hive = &self.found.hive;
        let out = &mut *env.stdout;
        let mut first = true;
        self.visit(|key, path| {
            let mut values = self.values(key).peekable();
            // Where one value is wanted of many keys, those without it are not worth a line.
            if self.value.is_some() && values.peek().is_none() {
                return Ok(());
            }
            if !std::mem::take(&mut first) {
                output::line(out, format_args!(""))?;
            }
            output::line(out, format_args!("{path}"))?;
            for value in values {
                let name = if value.name.is_empty() { "(Default)".into() } else { words::name(value.name) };
                let line = format!("    {name}    {}    {}", words::kind_name(value.kind), words::data(&value));
                output::line(out, format_args!("{}", line.trim_end()))?;
            }
            if self.recursive || self.value.is_some() || hive.subkey_count(key) == 0 {
                return Ok(());
            }
            output::line(out, format_args!(""))?;
            let mut names = hive.subkeys(key).map(|key| words::name(hive.name(key)));
            names.try_for_each(|name| output::line(out, format_args!(r"{path}\{name}")))
        })
    }
}

#[derive(Serialize)]
struct KeyReport<'a> {
    key: &'a str,
    last_written: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    values: Vec<ValueReport>,
    subkeys: Vec<String>,
}

#[derive(Serialize)]
struct ValueReport {
    /// Empty for the default value.
    name: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
    /// All bytes, where `data` does not tell all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Number(u64),
    Text(String),
    Texts(Vec<String>),
}

impl ValueReport {
    fn new(value: &ValueRef<'_>) -> Self {
        let number = value.as_dword().map(u64::from).or_else(|| value.as_qword()).map(Data::Number);
        let text = || value.as_text().map(Data::Text).or_else(|| value.as_texts().map(Data::Texts));
        let data = number.or_else(text);
        let raw = (data.is_some() && !words::is_faithful(value)).then(|| words::hexadecimal(&value.data));
        Self {
            name: words::name(value.name),
            kind: words::kind_name(value.kind).into_owned(),
            data: data.unwrap_or_else(|| Data::Text(words::hexadecimal(&value.data))),
            raw,
        }
    }
}

/// The keys of a listing, one after the other.
struct Keys<'a>(&'a Listing<'a>);

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let hive = &self.0.found.hive;
        let mut list = serializer.serialize_seq(None)?;
        self.0.visit(|key, path| {
            list.serialize_element(&KeyReport {
                key: path,
                last_written: hive.last_written(key).to_string(),
                class: hive.class(key).map(|class| class.to_string()),
                values: self.0.values(key).map(|value| ValueReport::new(&value)).collect(),
                subkeys: hive.subkeys(key).map(|key| words::name(hive.name(key))).collect(),
            })
        })?;
        list.end()
    }
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Report<'a> {
            file: &'a str,
            recovery: String,
            keys: Keys<'a>,
        }
        Report { file: &self.found.file, recovery: recovery(&self.found.hive), keys: Keys(self) }.serialize(serializer)
    }
}

/// What had to be done before the hive could be read.
fn recovery(hive: &Hive) -> String {
    match hive.recovery() {
        Recovery::Clean => "clean".into(),
        Recovery::Entries(number) => {
            format!("replayed {}", if number == 1 { "1 log entry".into() } else { format!("{number} log entries") })
        }
        Recovery::Pages(number) => format!("replayed {}", output::count(number as usize, "log page")),
        _ => "dirty, and no log mends it".into(),
    }
}

/// The text of a `.reg` file: UTF-16 with a byte order mark, as regedit writes and reads it.
fn export(found: &Found, env: &mut Env<'_>) -> Result<()> {
    let bytes = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
    let mut units: Vec<u16> = std::iter::once(0xFEFF).chain(words::REG_HEADER.encode_utf16()).collect();
    let out = &mut *env.stdout;
    let mut path: Vec<u16> = found.shown.encode_utf16().collect();
    let hive = &found.hive;
    // (where the path ends, the keys that are left there)
    let mut open = vec![(path.len(), vec![found.key].into_iter())];
    let mut is_top = true;
    while let Some((len, keys)) = open.last_mut() {
        path.truncate(*len);
        let Some(key) = keys.next() else {
            open.pop();
            continue;
        };
        if !std::mem::take(&mut is_top) {
            path.push(u16::from(b'\\'));
            path.extend(hive.name(key).units());
        }
        words::reg_section(hive, key, &path, &mut units);
        if !output::raw(out, &bytes(&units))? {
            return Ok(());
        }
        units.clear();
        open.push((path.len(), hive.subkeys(key).collect::<Vec<_>>().into_iter()));
    }
    output::raw(out, &bytes(&"\r\n".encode_utf16().collect::<Vec<_>>())).map(|_| ())
}
