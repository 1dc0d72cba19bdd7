//! Objects and elements as bcdedit prints them.

use uuid::Uuid;

use super::names::{choice_name, element_name, object_name};
use super::store::braced;
use super::{Device, Element, Object};
use crate::base::Name;
use crate::base::bytes::u32_at;

/// Where the partition of a device is, in words, if somebody knows: see [`Words::partition`].
pub type Resolve<'a> = &'a dyn Fn(&Device) -> Option<String>;

/// How things are named.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// Whether identifiers are printed in full, and not as `{bootmgr}`.
    pub verbose: bool,
    /// What is to stand for a partition that a device names by signature or identifiers; bcdedit has a drive letter there.
    pub partition: Resolve<'a>,
}

/// The name of an element, or `custom:25000011` where it has none.
pub fn element_label(object: u32, code: u32) -> String {
    element_name(object, code).map_or_else(|| format!("custom:{code:08x}"), str::to_owned)
}

impl Words<'_> {
    /// An identifier, with braces.
    pub fn id(&self, id: &Uuid) -> String {
        object_name(id).filter(|_| !self.verbose).map_or_else(|| braced(id), |name| format!("{{{name}}}"))
    }

    /// The lines of an element's value; an empty list has none.
    pub fn element(&self, object: &Object, code: u32, element: &Element) -> Vec<String> {
        match element {
            Element::Device(device) => vec![self.device(device)],
            Element::String(text) => vec![printable(text)],
            Element::Object(id) => vec![self.id(id)],
            Element::Objects(ids) => ids.iter().map(|id| self.id(id)).collect(),
            Element::Integer(number) => {
                vec![choice_name(object.kind, code, *number).map_or_else(|| number.to_string(), str::to_owned)]
            }
            Element::Boolean(flag) => vec![if *flag { "Yes" } else { "No" }.to_owned()],
            Element::Integers(numbers) => numbers.iter().map(|number| format!("{number:#x}")).collect(),
            Element::Raw(value) => vec![format!("unknown ({})", bytes(&value.data))],
        }
    }

    /// A device: `boot`, `partition=...`, `locate=custom:22000002`, `ramdisk=[boot]\sources\boot.wim,{...}`.
    pub fn device(&self, device: &Device) -> String {
        match device {
            Device::Boot => "boot".into(),
            Device::Locate { element } => format!("locate=custom:{element:08x}"),
            Device::MbrPartition { .. } | Device::GptPartition { .. } => {
                let known = (self.partition)(device);
                format!("partition={}", known.unwrap_or_else(|| unresolved(device)))
            }
            Device::Raw(raw) => self.ramdisk(raw).unwrap_or_else(|| format!("unknown ({})", bytes(raw))),
        }
    }

    /// A file that is loaded into memory and taken for a disk, with the object of its options.
    fn ramdisk(&self, raw: &[u8]) -> Option<String> {
        const TYPE_LOCAL: u32 = 0;
        const RAMDISK: u32 = 3;
        const PARENT: std::ops::Range<usize> = 0x44..0x8C;
        if u32_at(raw, 0x10)? != TYPE_LOCAL || u32_at(raw, 0x20)? != RAMDISK {
            return None;
        }
        // The disk that the file is on is a device without the identifier of its options.
        let parent = Device::from_bytes(&[&[0; 16], raw.get(PARENT)?].concat());
        if matches!(parent, Device::Raw(_)) {
            return None;
        }
        let path = Name::from_le_bytes(raw.get(PARENT.end..)?);
        let path = path.units().split(|unit| *unit == 0).next().unwrap_or_default();
        let parent = self.device(&parent);
        let parent = parent.strip_prefix("partition=").unwrap_or(&parent);
        let text = format!("ramdisk=[{parent}]{}", Name::new(path));
        let options = Uuid::from_bytes_le(raw.get(..16)?.try_into().ok()?);
        Some(if options.is_nil() { text } else { format!("{text},{}", self.id(&options)) })
    }
}

/// The identifiers of a partition that is nowhere to be seen.
fn unresolved(device: &Device) -> String {
    match device {
        Device::MbrPartition { signature, offset } => format!("disk {signature:08x}, byte {offset}"),
        Device::GptPartition { disk, partition } => format!("disk {}, partition {}", braced(disk), braced(partition)),
        _ => String::new(),
    }
}

fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

/// The beginning of some bytes.
fn bytes(data: &[u8]) -> String {
    const SHOWN: usize = 24;
    let digits: Vec<String> = data.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let more = if data.len() > SHOWN { " ..." } else { "" };
    format!("{} bytes: {}{more}", data.len(), digits.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Words<'static> = Words { verbose: false, partition: &|_| None };

    fn loader() -> Object {
        Object::new(0x1020_0003)
    }

    #[test]
    fn values_read_as_in_bcdedit() {
        let lines = |code, element: Element| NOWHERE.element(&loader(), code, &element);
        assert_eq!(lines(0x2500_0020, Element::Integer(1)), ["OptOut"]);
        assert_eq!(lines(0x2500_0020, Element::Integer(9)), ["9"]);
        assert_eq!(lines(0x2500_00c2, Element::Integer(1)), ["Standard"]);
        assert_eq!(lines(0x1600_0009, Element::Boolean(true)), ["Yes"]);
        assert_eq!(lines(0x1700_0077, Element::Integers(vec![0x1500_0075])), ["0x15000075"]);
        let inherit = Element::Objects(vec![super::super::id_of_name("globalsettings").unwrap(), Uuid::nil()]);
        assert_eq!(lines(0x1400_0006, inherit), ["{globalsettings}", "{00000000-0000-0000-0000-000000000000}"]);
        assert_eq!(lines(0x1200_0004, Element::String("a\u{1b}b".into())), ["a\u{FFFD}b"]);
        assert_eq!(element_label(0x1020_0003, 0x2500_0020), "nx");
        assert_eq!(element_label(0x1020_0003, 0x2500_1234), "custom:25001234");
    }

    #[test]
    fn devices_read_as_in_bcdedit() {
        let here = Words { partition: &|_| Some("1".into()), ..NOWHERE };
        let mbr = Device::MbrPartition { signature: 0x4E41_4E4F, offset: 1 << 20 };
        assert_eq!(NOWHERE.device(&Device::Boot), "boot");
        assert_eq!(NOWHERE.device(&Device::Locate { element: 0x2200_0002 }), "locate=custom:22000002");
        assert_eq!(NOWHERE.device(&mbr), "partition=disk 4e414e4f, byte 1048576");
        assert_eq!(here.device(&mbr), "partition=1");
        assert_eq!(NOWHERE.device(&Device::Raw(vec![1, 2])), "unknown (2 bytes: 01 02)");
        let mut ramdisk = vec![0; 0x44];
        ramdisk[..16].copy_from_slice(&super::super::id_of_name("ramdiskoptions").unwrap().to_bytes_le());
        ramdisk[0x20] = 3;
        ramdisk.extend(&Device::Boot.to_bytes()[16..]);
        ramdisk.extend(r"\sources\boot.wim".encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        assert_eq!(NOWHERE.device(&Device::from_bytes(&ramdisk)), r"ramdisk=[boot]\sources\boot.wim,{ramdiskoptions}");
        for len in 0..ramdisk.len() {
            let _ = NOWHERE.device(&Device::Raw(ramdisk[..len].to_vec()));
        }
    }
}
