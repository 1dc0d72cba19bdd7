//! A new store, as bcdboot makes one: a list of objects kept as data, and the settings of the image's BCD-Template over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use uuid::Uuid;

use super::names::{code, id_of_name};
use super::{Device, Element, Firmware, Object, Store};
use crate::error::{Context, Error, Result};

/// The class of elements that only templates have.
const TEMPLATE_CLASS: u32 = 4;
/// The class of objects that others inherit from.
const INHERITABLE_CLASS: u32 = 2;

/// What a new store is to say.
#[derive(Debug, Clone)]
pub struct NewStore<'a> {
    /// The firmware that will start the boot manager.
    pub firmware: Firmware,
    /// The OS loader, as `\Windows\system32\winload.exe`; [`Store::loader_path`] tells which one the image's template names.
    pub loader_path: &'a str,
    /// The folder of Windows, as `\Windows`.
    pub system_root: &'a str,
    /// What the boot menu shows, as `Windows Server`.
    pub description: &'a str,
    /// The language of the menus, as `en-US`.
    pub locale: &'a str,
    /// The partition of the boot manager. In place of a [`Device::Locate`], here and below, each device element gets one
    /// that names the path, or the system root, of its own object.
    pub boot_device: Device,
    /// The partition of Windows.
    pub os_device: Device,
    /// The identifier of the OS loader object.
    pub loader_id: Uuid,
    /// The identifier of the resume object.
    pub resume_id: Uuid,
    /// Whether the program that resumes from hibernation is there.
    pub resume: bool,
    /// Whether the memory diagnostic program is there.
    pub memdiag: bool,
    /// The image's `\Windows\System32\config\BCD-Template`, if it has one.
    pub template: Option<&'a Store>,
}

/// `templates/bcd.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    object: Vec<DataObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataObject {
    name: String,
    #[serde(rename = "type")]
    kind: u32,
    bios_template: Option<Uuid>,
    uefi_template: Option<Uuid>,
    #[serde(default)]
    fixed: Vec<String>,
    #[serde(default)]
    elements: BTreeMap<String, Setting>,
    #[serde(default)]
    bios: BTreeMap<String, Setting>,
    #[serde(default)]
    uefi: BTreeMap<String, Setting>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Setting {
    Flag(bool),
    Number(u64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<u64>),
}

static DATA: LazyLock<Result<Data, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../templates/bcd.toml")).map_err(|e: toml::de::Error| e.to_string())
});

fn data() -> Result<&'static Data> {
    DATA.as_ref().map_err(|e| Error::invalid(format_args!("templates/bcd.toml: {e}")))
}

impl DataObject {
    /// The template object that it is made from, where it has another identifier.
    fn template_id(&self, firmware: Firmware) -> Option<Uuid> {
        match firmware {
            Firmware::Bios => self.bios_template,
            Firmware::Uefi => self.uefi_template,
        }
    }

    fn settings(&self, firmware: Firmware) -> impl Iterator<Item = (&String, &Setting)> {
        let more = match firmware {
            Firmware::Bios => &self.bios,
            Firmware::Uefi => &self.uefi,
        };
        self.elements.iter().chain(more)
    }
}

impl Store {
    /// The OS loader that a BCD-Template names for a firmware, below a system root such as `\Windows`.
    pub fn loader_path(&self, firmware: Firmware, system_root: &str) -> Option<String> {
        self.program("$osloader", firmware, system_root)
    }

    /// The program that resumes from hibernation, likewise.
    pub fn resume_path(&self, firmware: Firmware, system_root: &str) -> Option<String> {
        self.program("$resume", firmware, system_root)
    }

    fn program(&self, name: &str, firmware: Firmware, system_root: &str) -> Option<String> {
        let object = data().ok()?.object.iter().find(|object| object.name == name)?;
        let relative = self.objects.get(&object.template_id(firmware)?)?.text(code::APPLICATION_RELATIVE_PATH)?;
        Some(format!("{system_root}{relative}"))
    }
}

/// Makes the store that bcdboot would make.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) if the list of objects that this program carries is wrong, or both identifiers
/// are the same.
pub fn new_store(request: &NewStore<'_>) -> Result<Store> {
    if request.loader_id == request.resume_id {
        return Err(
            Error::invalid("BCD store: identifiers of the loader and the resume object").found("twice the same")
        );
    }
    let mut maker = Maker { request, ids: BTreeMap::new(), omitted: BTreeSet::new() };
    let mut store = Store::default();
    maker.learn(&data()?.object)?;
    for object in &data()?.object {
        let id = maker.id(&object.name)?;
        if !maker.omitted.contains(&id) {
            let made = maker.object(object).context(|| format!("templates/bcd.toml: object {}", object.name))?;
            store.objects.insert(id, made);
        }
    }
    maker.inherit(&mut store);
    for object in store.objects.values_mut() {
        maker.tidy(object);
    }
    Ok(store)
}

struct Maker<'a> {
    request: &'a NewStore<'a>,
    /// From the identifiers of a template's objects to those of the objects made from them.
    ids: BTreeMap<Uuid, Uuid>,
    /// Objects whose programs are not there.
    omitted: BTreeSet<Uuid>,
}

impl Maker<'_> {
    fn learn(&mut self, objects: &[DataObject]) -> Result<()> {
        for object in objects {
            let id = self.id(&object.name)?;
            for template in [object.bios_template, object.uefi_template].into_iter().flatten() {
                self.ids.insert(template, id);
            }
        }
        if !self.request.resume {
            self.omitted.insert(self.request.resume_id);
        }
        if !self.request.memdiag {
            self.omitted.insert(self.id("memdiag")?);
        }
        Ok(())
    }

    /// The identifier of a role or well-known object.
    fn id(&self, name: &str) -> Result<Uuid> {
        match name {
            "$osloader" => Ok(self.request.loader_id),
            "$resume" => Ok(self.request.resume_id),
            _ => id_of_name(name).ok_or_else(|| Error::invalid("name of a BCD object").found(name)),
        }
    }

    /// An object of the list, with what the template says of it.
    fn object(&self, data: &DataObject) -> Result<Object> {
        let mut object = Object::new(data.kind);
        let mut given = data.fixed.iter().map(|name| parse_code(name)).collect::<Result<BTreeSet<u32>>>()?;
        for (name, setting) in data.settings(self.request.firmware) {
            let code = parse_code(name)?;
            if setting.is_given() {
                given.insert(code);
            }
            object.elements.insert(code, self.element(code, setting).context(|| format!("element {name}"))?);
        }
        if let Some(template) = self.template_of(data)? {
            let settings = template.elements.iter().filter(|(code, _)| !given.contains(code));
            object.elements.extend(settings.map(|(code, element)| (*code, element.clone())));
        }
        if let Some(relative) = object.text(code::APPLICATION_RELATIVE_PATH).filter(|_| !given.contains(&code::PATH)) {
            let path = format!("{}{relative}", self.request.system_root);
            object.elements.insert(code::PATH, Element::String(path));
        }
        Ok(object)
    }

    fn template_of(&self, data: &DataObject) -> Result<Option<&Object>> {
        let Some(template) = self.request.template else { return Ok(None) };
        let id = match data.template_id(self.request.firmware) {
            Some(id) => id,
            None => self.id(&data.name)?,
        };
        Ok(template.objects.get(&id))
    }

    /// The element that a setting of the list means.
    fn element(&self, code: u32, setting: &Setting) -> Result<Element> {
        let request = self.request;
        let form = code >> 24 & 0xF;
        Ok(match (form, setting) {
            (1, Setting::Text(text)) => Element::Device(placed(
                match text.as_str() {
                    "$boot-device" => &request.boot_device,
                    "$os-device" => &request.os_device,
                    _ => return Err(Error::invalid("device").found(text)),
                },
                code,
            )),
            (2, Setting::Text(text)) => Element::String(
                match text.as_str() {
                    "$loader-path" => request.loader_path,
                    "$system-root" => request.system_root,
                    "$description" => request.description,
                    "$locale" => request.locale,
                    text => text,
                }
                .to_owned(),
            ),
            (3, Setting::Text(name)) => Element::Object(self.id(name)?),
            (4, Setting::Texts(names)) => {
                Element::Objects(names.iter().map(|name| self.id(name)).collect::<Result<_>>()?)
            }
            (5, Setting::Number(number)) => Element::Integer(*number),
            (6, Setting::Flag(flag)) => Element::Boolean(*flag),
            (7, Setting::Numbers(numbers)) => Element::Integers(numbers.clone()),
            _ => return Err(Error::invalid("form of a setting").allowed(format_args!("format {form}"))),
        })
    }

    /// Adds what else the template has for others to inherit.
    fn inherit(&self, store: &mut Store) {
        for (id, object) in self.request.template.iter().flat_map(|template| &template.objects) {
            if object.kind >> 28 == INHERITABLE_CLASS {
                store.objects.entry(*id).or_insert_with(|| object.clone());
            }
        }
    }

    /// Drops what only templates have, and makes references point to what was made, or nowhere.
    fn tidy(&self, object: &mut Object) {
        object.elements.retain(|code, element| {
            if code >> 28 == TEMPLATE_CLASS {
                return false;
            }
            match element {
                Element::Object(id) => {
                    *id = self.made(*id);
                    !self.omitted.contains(id)
                }
                Element::Objects(ids) => {
                    ids.iter_mut().for_each(|id| *id = self.made(*id));
                    ids.retain(|id| !self.omitted.contains(id));
                    !ids.is_empty()
                }
                _ => true,
            }
        });
    }

    fn made(&self, id: Uuid) -> Uuid {
        self.ids.get(&id).copied().unwrap_or(id)
    }
}

impl Setting {
    /// Whether the caller decides it, and no template.
    fn is_given(&self) -> bool {
        match self {
            Self::Text(text) => text.starts_with('$'),
            Self::Texts(texts) => texts.iter().any(|text| text.starts_with('$')),
            _ => false,
        }
    }
}

/// The device for the element of that code: one that is to be located is found by the system root, or by the path.
fn placed(device: &Device, code: u32) -> Device {
    match (device, code) {
        (Device::Locate { .. }, code::OS_DEVICE) => Device::Locate { element: code::SYSTEM_ROOT },
        (Device::Locate { .. }, _) => Device::Locate { element: code::PATH },
        (device, _) => device.clone(),
    }
}

fn parse_code(name: &str) -> Result<u32> {
    u32::from_str_radix(name, 16).map_err(|_| Error::invalid("code of an element").found(name))
}
