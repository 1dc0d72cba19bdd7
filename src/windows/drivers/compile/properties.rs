//! `AddProperty`, and values of `HKR` that are properties of a device: the database has them below `Properties\{set}\ID`, as the default
//! value of the key, with a type of FFFFxxxxh.

use uuid::Uuid;

use super::library::Line;
use super::registry::{Change, Root, What, texts};
use super::{Compiler, Draft, number};
use crate::base::sddl;
use crate::error::Result;
use crate::format::hive::Value;
use crate::windows::drivers::{ConfigurationValue, database_flag};

/// `DEVPROP_TYPE_*` of devpropdef.h.
mod kind {
    pub(super) const BYTE: u32 = 0x03;
    pub(super) const INT16: u32 = 0x04;
    pub(super) const UINT16: u32 = 0x05;
    pub(super) const INT32: u32 = 0x06;
    pub(super) const UINT32: u32 = 0x07;
    pub(super) const GUID: u32 = 0x0D;
    pub(super) const BOOLEAN: u32 = 0x11;
    pub(super) const STRING: u32 = 0x12;
    pub(super) const SECURITY_DESCRIPTOR: u32 = 0x13;
    pub(super) const BINARY: u32 = 0x1003;
    pub(super) const STRING_LIST: u32 = 0x2012;
}

/// `DEVPKEY_Device_*`.
const DEVICE: &str = "{a45c254e-df1c-4efd-8020-67d146a850e0}";
/// `DEVPKEY_Device_Driver*` and what belongs to it.
const DRIVER: &str = "{a8b865dd-2e3d-4094-ad97-e593a70c75d6}";
/// `DEVPKEY_DrvPkg_*`.
const PACKAGE: &str = "{cf73bb51-3abf-44a2-85e0-9a3dc7a12132}";

/// Values of `[install.HW]` that Windows keeps as properties of the device (devpkey.h; seen in Windows 10 1709: 51 times Security, 39
/// times DeviceCharacteristics, and never as a value).
const OF_HARDWARE: [(&str, &str, u32, u32); 7] = [
    ("FriendlyName", DEVICE, 14, kind::STRING),
    ("Security", DEVICE, 25, kind::SECURITY_DESCRIPTOR),
    ("DeviceType", DEVICE, 27, kind::UINT32),
    ("Exclusive", DEVICE, 28, kind::BOOLEAN),
    ("DeviceCharacteristics", DEVICE, 29, kind::UINT32),
    ("UINumberDescFormat", DEVICE, 31, kind::STRING),
    ("RemovalPolicy", DEVICE, 35, kind::UINT32),
];

/// The same of `[install]`: there "Security" stays a value (seen in microsoft_bluetooth_hfp_ag.inf).
const OF_DRIVER: [(&str, &str, u32, u32); 3] = [
    ("EnumPropPages32", DRIVER, 10, kind::STRING),
    ("ResourcePickerTags", DRIVER, 12, kind::STRING),
    ("ResourcePickerExceptions", DRIVER, 13, kind::STRING),
];

/// Names that `AddProperty` has for properties (Microsoft, "INF AddProperty directive").
const NAMES: [(&str, u32); 6] = [
    ("DeviceModel", 2),
    ("DeviceVendorWebsite", 3),
    ("DeviceDetailedDescription", 4),
    ("DeviceDocumentationLink", 5),
    ("DeviceIcon", 6),
    ("DeviceBrandingIcon", 7),
];

impl Compiler<'_> {
    /// `AddProperty`: `name, , , flags, value` or `{set}, id, type, flags, value`.
    pub(super) fn add_property(&mut self, draft: &mut Draft, line: &Line) -> Result<()> {
        for section in line.names(0) {
            for line in self.referenced(line, "AddProperty", &section)? {
                let value = self.property(&line)?;
                draft.configuration.values.extend(value);
            }
        }
        Ok(())
    }

    fn property(&mut self, line: &Line) -> Result<Option<ConfigurationValue>> {
        let name = line.field(0);
        if let Some((_, id)) = NAMES.iter().find(|(own, _)| own.eq_ignore_ascii_case(&name)) {
            let icons = name.to_ascii_lowercase().ends_with("icon");
            let kind = if icons { kind::STRING_LIST } else { kind::STRING };
            return Ok(self.encoded(line, kind)?.map(|value| in_database(PACKAGE, *id, value)));
        }
        let bad = || line.fault("property").found(&name).allowed("an id in braces, or a name such as DeviceModel");
        let set = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).ok_or_else(bad)?;
        let set = Uuid::try_parse(set).map_err(|_| bad())?;
        let numbers = number(&line.field(1)).zip(number(&line.field(2)));
        let (id, kind) = numbers.ok_or_else(|| {
            line.fault("property").found(line.entry.fields.join(",")).allowed("{set}, id, type, flags, value")
        })?;
        Ok(self.encoded(line, kind)?.map(|value| in_database(&set.braced().to_string(), id, value)))
    }

    /// The value of an `AddProperty`, from the fifth field on.
    fn encoded(&mut self, line: &Line, of: u32) -> Result<Option<Value>> {
        let first = self.text(line, 4, true);
        let number = |text: &str| {
            number(text).ok_or_else(|| line.fault("number of a property").found(text).allowed("a number of 32 bits"))
        };
        let data = match of {
            kind::BYTE => vec![number(&first)? as u8],
            kind::INT16 | kind::UINT16 => (number(&first)? as u16).to_le_bytes().to_vec(),
            kind::INT32 | kind::UINT32 => number(&first)?.to_le_bytes().to_vec(),
            kind::BOOLEAN => boolean(number(&first).map_or(first.eq_ignore_ascii_case("true"), |number| number != 0)),
            kind::STRING => Value::sz(&first).data,
            kind::STRING_LIST => {
                let texts: Vec<String> = (4..line.entry.fields.len()).map(|at| self.text(line, at, true)).collect();
                Value::multi_sz(texts.iter().filter(|text| !text.is_empty())).data
            }
            kind::GUID => {
                let guid = Uuid::try_parse(first.trim());
                guid.map_err(|_| line.fault("id of a property").found(&first))?.to_bytes_le().to_vec()
            }
            kind::BINARY => super::registry::bytes(line)?,
            other => {
                self.note(line, format!("property of type {other:#x}: left to Windows"));
                return Ok(None);
            }
        };
        Ok(Some(Value::new(database_flag::PROPERTY | of, data)))
    }

    /// Takes the properties and filters out of the relative changes of `[install.HW]` or `[install]`, and puts them where they belong.
    pub(super) fn take_properties(
        &mut self,
        draft: &mut Draft,
        changes: Vec<Change>,
        hardware: bool,
        line: &Line,
    ) -> Vec<Change> {
        let known: &[(&str, &str, u32, u32)] = if hardware { &OF_HARDWARE } else { &OF_DRIVER };
        let mut rest = Vec::new();
        for change in changes {
            let What::Set(name, value, flags) = &change.what else {
                rest.push(change);
                continue;
            };
            let own_key = change.root == Root::Relative && change.key.is_empty();
            let filters = match name.to_ascii_lowercase().as_str() {
                "upperfilters" if own_key && hardware => Some(&mut draft.configuration.upper_filters),
                "lowerfilters" if own_key && hardware => Some(&mut draft.configuration.lower_filters),
                _ => None,
            };
            let property = known.iter().find(|(own, ..)| own_key && own.eq_ignore_ascii_case(name));
            match (filters, property) {
                (Some(filters), _) => join_filters(filters, texts(value), flags),
                (None, Some((_, set, id, kind))) => match converted(value, *kind) {
                    Some(value) => draft.configuration.values.push(in_database(set, *id, value)),
                    None => {
                        let text = format!("{name}: {} is not understood, left out", texts(value).join(" "));
                        self.note(line, text);
                    }
                },
                (None, None) => rest.push(change),
            }
        }
        rest
    }
}

/// Filters join those that are there if they say so, and take their place if not.
fn join_filters(filters: &mut Vec<String>, new: Vec<String>, flags: &u32) {
    if *flags == 0 {
        filters.clear();
    }
    for filter in new {
        if !filters.iter().any(|own| own.eq_ignore_ascii_case(&filter)) {
            filters.push(filter);
        }
    }
}

fn boolean(value: bool) -> Vec<u8> {
    // DEVPROP_TRUE is -1.
    vec![if value { 0xFF } else { 0 }]
}

/// A value of the registry as that of a property.
fn converted(value: &Value, of: u32) -> Option<Value> {
    let dword = || value.data.first_chunk().copied().map(u32::from_le_bytes);
    let data = match of {
        kind::STRING => Value::sz(texts(value).first()?).data,
        kind::UINT32 => dword()?.to_le_bytes().to_vec(),
        kind::BOOLEAN => boolean(dword()? != 0),
        kind::SECURITY_DESCRIPTOR => sddl::from_text(texts(value).first()?)?,
        _ => return None,
    };
    Some(Value::new(database_flag::PROPERTY | of, data))
}

fn in_database(set: &str, id: u32, value: Value) -> ConfigurationValue {
    ConfigurationValue { key: format!(r"Properties\{set}\{id:04X}"), value: Some((String::new(), value)) }
}
