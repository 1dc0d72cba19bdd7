//! The catalog of a box: the JSON from which `vagrant box add` chooses a version and a provider.
//!
//! An entry is merged into what is there: a version and provider that exist are replaced, everything else stays as it is, unknown
//! members of objects too.

use serde_json::{Map, Value, json};

use super::Provider;
use crate::error::{Error, Result};

/// Vagrant reads no larger one.
pub const MAX_BYTES: usize = 20 << 20;

/// A box of a catalog.
#[derive(Debug, Clone)]
pub struct Entry<'e> {
    /// The box's name: `nano`, or `owner/nano`.
    pub name: &'e str,
    /// Its version: `1.0.0`.
    pub version: &'e str,
    /// Whose box it is.
    pub provider: Provider,
    /// The processor: `amd64`.
    pub architecture: &'e str,
    /// Where it is fetched from; a path without a scheme is one from the folder in which Vagrant is run.
    pub url: &'e str,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'e str,
}

/// Puts a box into a catalog, an empty one if there is none.
///
/// Fails if the catalog is no catalog, or that of another box; or if Vagrant would not take the version.
pub fn merge(catalog: Option<&[u8]>, entry: &Entry<'_>) -> Result<String> {
    check_version(entry.version)?;
    let mut root = match catalog {
        Some(bytes) => parse(bytes)?,
        None => Map::new(),
    };
    let name = root.entry("name").or_insert_with(|| json!(entry.name));
    if *name != entry.name {
        return Err(Error::invalid("the catalog is that of another box")
            .found(&*name)
            .allowed(format_args!("{:?}", entry.name))
            .hint("name another catalog, or the box as it is called there"));
    }
    let versions = array(root.entry("versions"), "versions")?;
    let version =
        find_or_push(versions, |version| version["version"] == entry.version, || json!({ "version": entry.version }));
    let version = version.as_object_mut().ok_or_else(|| malformed("versions"))?;
    let providers = array(version.entry("providers"), "providers")?;
    let same = |provider: &Value| {
        provider["name"] == entry.provider.name()
            && provider.get("architecture").is_none_or(|architecture| *architecture == entry.architecture)
    };
    let provider = find_or_push(providers, same, || json!({}));
    let provider = provider.as_object_mut().ok_or_else(|| malformed("providers"))?;
    for (member, value) in [
        ("name", json!(entry.provider.name())),
        ("url", json!(entry.url)),
        ("checksum_type", json!("sha256")),
        ("checksum", json!(entry.sha256)),
        ("architecture", json!(entry.architecture)),
    ] {
        provider.insert(member.to_owned(), value);
    }
    let text = format!("{:#}\n", Value::Object(root));
    if text.len() > MAX_BYTES {
        return Err(Error::unsupported("a catalog that is too large for Vagrant").found(text.len()).allowed(MAX_BYTES));
    }
    Ok(text)
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(root)) => Ok(root),
        Ok(_) => Err(malformed("an object")),
        Err(error) => Err(Error::corrupt(format_args!("the catalog is no JSON: {error}"))
            .hint("name another file, or remove this one")),
    }
}

fn malformed(what: &str) -> Error {
    Error::corrupt(format_args!("the catalog is not one of Vagrant's: {what}"))
        .hint("name another file, or remove this one")
}

fn array<'v>(member: serde_json::map::Entry<'v>, name: &str) -> Result<&'v mut Vec<Value>> {
    member.or_insert_with(|| json!([])).as_array_mut().ok_or_else(|| malformed(name))
}

fn find_or_push(values: &mut Vec<Value>, same: impl Fn(&Value) -> bool, new: impl FnOnce() -> Value) -> &mut Value {
    let at = values.iter().position(same).unwrap_or_else(|| {
        values.push(new());
        values.len() - 1
    });
    &mut values[at]
}

/// What RubyGems takes for a version: numbers, and after the first one letters too, with dots between them.
fn check_version(version: &str) -> Result<()> {
    let mut parts = version.split('.');
    let first = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let rest = parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if first && rest && version.len() <= 64 {
        return Ok(());
    }
    Err(Error::invalid("the box's version")
        .found(format_args!("'{version}'"))
        .allowed("numbers with dots between them, as 1.0.0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn entry<'e>(version: &'e str, provider: Provider, sha256: &'e str) -> Entry<'e> {
        Entry { name: "me/nano", version, provider, architecture: "amd64", url: "nano.box", sha256 }
    }

    #[test]
    fn entries_come_together() {
        let one = merge(None, &entry("1.0.0", Provider::HyperV, "11")).unwrap();
        let two = merge(Some(one.as_bytes()), &entry("1.0.0", Provider::Libvirt, "22")).unwrap();
        let three = merge(Some(two.as_bytes()), &entry("1.1.0", Provider::HyperV, "33")).unwrap();
        let four = merge(Some(three.as_bytes()), &entry("1.0.0", Provider::HyperV, "44")).unwrap();
        let catalog: Value = serde_json::from_str(&four).unwrap();
        assert_eq!(catalog["name"], "me/nano");
        let found: Vec<(String, String, String)> = catalog["versions"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|version| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let providers = version["providers"].as_array().unwrap().iter();
                providers.map(move |p| (text(&version["version"]), text(&p["name"]), text(&p["checksum"])))
            })
            .collect();
        let expected = [("1.0.0", "hyperv", "44"), ("1.0.0", "libvirt", "22"), ("1.1.0", "hyperv", "33")];
        assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }

    #[test]
    fn what_is_there_stays() {
        let old =
            br#"{"name":"me/nano","description":"mine","versions":[{"version":"1.0.0","status":"active","providers":
            [{"name":"hyperv","url":"old","size":7},{"name":"hyperv","architecture":"arm64","url":"arm"}]}]}"#;
        let new = merge(Some(old), &entry("1.0.0", Provider::HyperV, "11")).unwrap();
        let new: Value = serde_json::from_str(&new).unwrap();
        assert_eq!((&new["description"], &new["versions"][0]["status"]), (&json!("mine"), &json!("active")));
        let providers = &new["versions"][0]["providers"];
        assert_eq!((&providers[0]["url"], &providers[0]["size"]), (&json!("nano.box"), &json!(7)));
        assert_eq!(providers[1]["url"], "arm");
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        let entry = entry("1.0.0", Provider::HyperV, "11");
        for bad in ["", "[]", "{", r#"{"versions":3}"#, r#"{"versions":[{"version":"1.0.0","providers":{}}]}"#] {
            assert_eq!(merge(Some(bad.as_bytes()), &entry).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(merge(Some(deep.as_bytes()), &entry).unwrap_err().kind(), Kind::Corrupt);
        let other = merge(Some(br#"{"name":"you/nano"}"#), &entry).unwrap_err();
        assert_eq!(other.kind(), Kind::Invalid);
        // Entries that are no objects are somebody else's; they stay.
        assert!(merge(Some(br#"{"versions":[3]}"#), &entry).unwrap().contains('3'));
    }

    #[test]
    fn versions_are_those_of_rubygems() {
        for good in ["0", "1.0.0", "1.2.3.rc1", "14393.2724.20161001"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "v1", "1..0", "1.0-x", "1.0 ", "1.", "a.b"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
