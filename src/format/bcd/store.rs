//! A store: objects with elements, out of a hive and into one.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Device, code, id_of_name};
use crate::base::FileTime;
use crate::error::{Context, Error, Result};
use crate::format::hive::{Hive, KeyId, Value, ValueRef, kind};

/// A boot configuration: what the boot manager reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The name of the hive's root key: `NewStoreRoot`, or `System` in a BCD-Template.
    pub root: String,
    /// The values of the key `Description` that say what kind of store it is.
    pub description: BTreeMap<String, Value>,
    /// The objects by identifier.
    pub objects: BTreeMap<Uuid, Object>,
}

/// A program to be started, or settings that others inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The type: 0x10200003 is an OS loader, ...
    pub kind: u32,
    /// The elements by code.
    pub elements: BTreeMap<u32, Element>,
}

/// A setting. The second digit of its code says which form it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// Format 1.
    Device(Device),
    /// Format 2.
    String(String),
    /// Format 3.
    Object(Uuid),
    /// Format 4.
    Objects(Vec<Uuid>),
    /// Format 5. Templates store fewer bytes; written are always 8.
    Integer(u64),
    /// Format 6.
    Boolean(bool),
    /// Format 7.
    Integers(Vec<u64>),
    /// A format without a name, or a value that its format does not allow: kept as it is.
    Raw(Value),
}

impl Default for Store {
    /// An empty store as the boot manager wants it.
    fn default() -> Self {
        let description =
            [("KeyName", Value::sz("BCD00000000")), ("System", Value::dword(1)), ("TreatAsSystem", Value::dword(1))];
        Self {
            root: "NewStoreRoot".into(),
            description: description.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            objects: BTreeMap::new(),
        }
    }
}

impl Store {
    /// Reads the store that a hive holds.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) if the hive has no key `Objects`, or objects and elements that are not named
    /// as such. Values of elements that make no sense are kept as [`Element::Raw`].
    pub fn read(hive: &Hive) -> Result<Self> {
        let missing = |what: &str| Error::corrupt(format_args!("BCD store: {what}")).found("nothing");
        let description = hive.open("Description").ok_or_else(|| missing("key Description"))?;
        let objects = hive.open("Objects").ok_or_else(|| missing("key Objects"))?;
        let mut store = Self {
            root: hive.name(hive.root()).to_string(),
            description: hive.values(description).map(|value| (value.name.to_string(), value.to_value())).collect(),
            objects: BTreeMap::new(),
        };
        for key in hive.subkeys(objects) {
            let name = hive.name(key).to_string();
            let id = parse_guid(&name)
                .ok_or_else(|| Error::corrupt("BCD store: name of an object").found(&name).allowed("{GUID}"))?;
            let object = Object::read(hive, key).context(|| format!("BCD object {name}"))?;
            store.objects.insert(id, object);
        }
        Ok(store)
    }

    /// Writes the store into a new hive, of the version that Windows uses for stores.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for an element whose form is not that of its code, or strings with a NUL.
    pub fn to_hive(&self, now: FileTime) -> Result<Hive> {
        let mut hive = Hive::new(&self.root, now)?;
        hive.set_minor_version(3)?;
        let description = hive.create_key("Description")?;
        for (name, value) in &self.description {
            hive.set_value(description, name.as_str(), value.clone())?;
        }
        let objects = hive.create_key("Objects")?;
        for (id, object) in &self.objects {
            let name = braced(id);
            let key = hive.create_subkey(objects, name.as_str())?;
            object.write(&mut hive, key).context(|| format!("BCD object {name}"))?;
        }
        Ok(hive)
    }
}

impl Store {
    /// The boot manager's object.
    pub fn boot_manager(&self) -> Option<&Object> {
        self.objects.get(&id_of_name("bootmgr")?)
    }

    /// What the boot menu shows.
    pub fn display_order(&self) -> &[Uuid] {
        match self.boot_manager().and_then(|manager| manager.elements.get(&code::DISPLAY_ORDER)) {
            Some(Element::Objects(ids)) => ids,
            _ => &[],
        }
    }

    /// What is started if nobody chooses.
    pub fn default_object(&self) -> Option<Uuid> {
        match self.boot_manager()?.elements.get(&code::DEFAULT)? {
            Element::Object(id) => Some(*id),
            _ => None,
        }
    }
}

impl Object {
    /// An object without elements.
    pub fn new(kind: u32) -> Self {
        Self { kind, elements: BTreeMap::new() }
    }

    /// The text of a string element.
    pub fn text(&self, code: u32) -> Option<&str> {
        match self.elements.get(&code)? {
            Element::String(text) => Some(text),
            _ => None,
        }
    }

    fn read(hive: &Hive, key: KeyId) -> Result<Self> {
        let description = hive.open_at(key, "Description").and_then(|key| hive.value(key, "Type"));
        let kind = description.and_then(|value| value.as_dword());
        let mut object = Self::new(kind.ok_or_else(|| Error::corrupt("Description\\Type").allowed("a REG_DWORD"))?);
        let Some(elements) = hive.open_at(key, "Elements") else { return Ok(object) };
        for key in hive.subkeys(elements) {
            let name = hive.name(key).to_string();
            // BCD-Templates spell some codes with capital digits.
            let code = u32::from_str_radix(&name, 16).ok().filter(|_| name.len() == 8 && !name.starts_with('+'));
            let code =
                code.ok_or_else(|| Error::corrupt("name of an element").found(&name).allowed("8 hexadecimal digits"))?;
            if let Some(value) = hive.value(key, "Element") {
                object.elements.insert(code, Element::read(code, &value));
            }
        }
        Ok(object)
    }

    fn write(&self, hive: &mut Hive, key: KeyId) -> Result<()> {
        let description = hive.create_subkey(key, "Description")?;
        hive.set_value(description, "Type", Value::dword(self.kind))?;
        let elements = hive.create_subkey(key, "Elements")?;
        for (code, element) in &self.elements {
            let name = format!("{code:08x}");
            let value = element.to_value(*code).context(|| format!("element {name}"))?;
            let key = hive.create_subkey(elements, name.as_str())?;
            hive.set_value(key, "Element", value)?;
        }
        Ok(())
    }
}

/// Sets one element in the hive of a store and leaves all else there as it is; tells whether the object is there to have it.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) for an element whose form is not that of its code.
pub fn set_element(hive: &mut Hive, object: &Uuid, code: u32, element: &Element) -> Result<bool> {
    let Some(key) = hive.open(&format!(r"Objects\{}", braced(object))) else { return Ok(false) };
    let value = element.to_value(code).context(|| format!("element {code:08x}"))?;
    let key = hive.create_key_at(key, &format!(r"Elements\{code:08x}"))?;
    hive.set_value(key, "Element", value)?;
    Ok(true)
}

/// The digit of an element's code that tells its form.
fn format_of(code: u32) -> u32 {
    code >> 24 & 0xF
}

impl Element {
    /// The element of that code out of its registry value.
    fn read(code: u32, value: &ValueRef<'_>) -> Self {
        let parsed = match (format_of(code), value.kind) {
            (1, kind::BINARY) => Some(Self::Device(Device::from_bytes(&value.data))),
            (2, kind::SZ) => value.as_text().map(Self::String),
            (3, kind::SZ) => value.as_text().and_then(|text| parse_guid(&text)).map(Self::Object),
            (4, kind::MULTI_SZ) => value
                .as_texts()
                .and_then(|texts| texts.iter().map(|text| parse_guid(text)).collect::<Option<_>>())
                .map(Self::Objects),
            (5, kind::BINARY) => short_integer(&value.data).map(Self::Integer),
            (6, kind::BINARY) => match *value.data {
                [byte @ 0..=1] => Some(Self::Boolean(byte == 1)),
                _ => None,
            },
            (7, kind::BINARY) if value.data.len().is_multiple_of(8) => {
                Some(Self::Integers(value.data.chunks_exact(8).filter_map(short_integer).collect()))
            }
            _ => None,
        };
        // Text that is no text, and data behind an end, must not be lost.
        let faithful = |element: &Self| match element {
            Self::String(_) | Self::Objects(_) => element.to_value(code).is_ok_and(|v| v.data.starts_with(&value.data)),
            _ => true,
        };
        parsed.filter(faithful).unwrap_or_else(|| Self::Raw(value.to_value()))
    }

    /// The registry value of an element of that code.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for an element whose form is not that of the code, and for a text with a NUL in it.
    pub fn to_value(&self, code: u32) -> Result<Value> {
        let (format, value) = match self {
            Self::Raw(value) => return Ok(value.clone()),
            Self::Device(device) => (1, Value::binary(device.to_bytes())),
            Self::String(text) if text.contains('\0') => {
                return Err(Error::invalid("text of an element").found("a NUL in it"));
            }
            Self::String(text) => (2, Value::sz(text)),
            Self::Object(id) => (3, Value::sz(&braced(id))),
            Self::Objects(ids) => (4, Value::multi_sz(ids.iter().map(braced))),
            Self::Integer(number) => (5, Value::binary(number.to_le_bytes())),
            Self::Boolean(flag) => (6, Value::binary([u8::from(*flag)])),
            Self::Integers(numbers) => {
                (7, Value::binary(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()))
            }
        };
        if format != format_of(code) {
            return Err(Error::invalid("form of an element").found(format).allowed(format_of(code)));
        }
        Ok(value)
    }
}

/// A little-endian number of 1 to 8 bytes.
fn short_integer(bytes: &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len()).filter(|_| !bytes.is_empty())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

/// As stores write identifiers: in lower case, with braces.
pub(super) fn braced(id: &Uuid) -> String {
    id.braced().to_string()
}

fn parse_guid(text: &str) -> Option<Uuid> {
    text.strip_prefix('{')?.strip_suffix('}').filter(|text| text.len() == 36)?.parse().ok()
}
