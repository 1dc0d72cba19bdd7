//! Security descriptors by their names: `trustInfo/security/accessControl/securityDescriptorDefinitions`.
//!
//! Their entries have generic rights (`GA`, `GR`); what Windows stores has those of the object. An entry that a directory or key also hands down becomes
//! two: one that applies, and one for what is below, which keeps the generic rights (seen at `Services\FrameServer\parameters` of a Windows 10, whose
//! manifest has `(A;CI;GR;;;SY)`). Who names no owner gets SYSTEM, as whoever installs components.

use std::collections::BTreeMap;

use super::{Compiler, Said, shortened};
use crate::base::bytes::{u16_at, u32_at};
use crate::base::sddl;
use crate::base::security::Sid;
use crate::format::assembly::Element;

const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
const DACL_AUTO_INHERIT: u16 = 0x0100 | 0x0400;
const DACL_PROTECTED: u16 = 0x1000;
const HEAD: usize = 20;
const LIST_HEAD: usize = 8;
/// `OBJECT_INHERIT_ACE`, `CONTAINER_INHERIT_ACE`, `NO_PROPAGATE_INHERIT_ACE`, `INHERIT_ONLY_ACE`.
const INHERITANCE: u8 = 0x0F;
const TO_CHILDREN: u8 = 0x03;
const INHERIT_ONLY: u8 = 0x08;
/// Allow, deny and audit: the kinds with a mask and an identifier.
const BASIC: [u8; 3] = [0, 1, 2];
const GENERIC: u32 = 0xF000_0000;

/// A `securityDescriptorDefinition`.
pub(super) struct Definition<'d> {
    sddl: &'d str,
    /// `operationHint`: `replace`.
    hint: Option<&'d str>,
}

/// What a descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    File,
    Directory,
    Key,
    Service,
}

impl Object {
    /// What its generic rights are: read, write, execute, all (the generic mappings of files, keys and services; Microsoft, "File access rights
    /// constants", "Registry key security and access rights", "Service security and access rights").
    fn rights(self) -> [u32; 4] {
        match self {
            Self::File | Self::Directory => [0x0012_0089, 0x0012_0116, 0x0012_00A0, 0x001F_01FF],
            Self::Key => [0x0002_0019, 0x0002_0006, 0x0002_0019, 0x000F_003F],
            Self::Service => [0x0002_008D, 0x0002_0002, 0x0002_0170, 0x000F_01FF],
        }
    }

    fn has_children(self) -> bool {
        matches!(self, Self::Directory | Self::Key)
    }
}

/// The definitions of a manifest.
pub(super) fn definitions(document: &Element) -> BTreeMap<String, Definition<'_>> {
    let lists = document
        .children("trustInfo")
        .flat_map(|found| found.children("security"))
        .flat_map(|found| found.children("accessControl"))
        .flat_map(|found| found.children("securityDescriptorDefinitions"));
    let mut definitions = BTreeMap::new();
    for definition in lists.flat_map(|list| list.children("securityDescriptorDefinition")) {
        definition.mark_attributes(|name| {
            ["description", "buildFilter"].iter().any(|silent| name.eq_ignore_ascii_case(silent))
        });
        let hint = definition.filled("operationHint");
        if let (Some(name), Some(sddl)) = (definition.attribute("name"), definition.attribute("sddl")) {
            definitions.insert(name.to_lowercase(), Definition { sddl, hint });
        }
    }
    definitions
}

impl Compiler<'_> {
    /// The descriptor that an element names; none where it names none, and where all comes from above.
    pub(super) fn descriptor(&mut self, element: &Element, what: &str, object: Object) -> Option<Box<[u8]>> {
        let named = element.child("securityDescriptor")?;
        let said = self.named_descriptor(named, object);
        self.or_leave(named, format_args!("securityDescriptor of {what}"), said).flatten()
    }

    fn named_descriptor(&self, element: &Element, object: Object) -> Said<Option<Box<[u8]>>> {
        element.mark_attributes(|name| name.eq_ignore_ascii_case("buildFilter"));
        let name = element.attribute("name").unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        let definition = self.descriptors.get(&name.to_lowercase());
        let definition = definition.ok_or_else(|| format!("no descriptor is called '{}'", shortened(name)))?;
        match definition.hint {
            None => {}
            Some(hint) if hint.eq_ignore_ascii_case("replace") => {}
            Some(hint) => return Err(format!("operationHint '{}' of {name}: known is replace", shortened(hint))),
        }
        stored(definition.sddl, object).map_err(|why| format!("{name}: {why}"))
    }
}

/// A descriptor as Windows stores it for an object. None if all of it comes from above.
pub(super) fn stored(text: &str, object: Object) -> Said<Option<Box<[u8]>>> {
    // Some definitions say it in a word.
    if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("(inherit)") {
        return Ok(None);
    }
    let odd = || format!("'{}' is no descriptor that this program reads", shortened(text));
    let bytes = sddl::from_text(text).ok_or_else(odd)?;
    let control = u16_at(&bytes, 2).ok_or_else(odd)?;
    let dacl = entries(&bytes, control & DACL_PRESENT, 16).ok_or_else(odd)?;
    let sacl = entries(&bytes, control & SACL_PRESENT, 12).ok_or_else(odd)?;
    if control & DACL_PROTECTED == 0 && control & DACL_AUTO_INHERIT != 0 {
        return match dacl {
            Some(entries) if entries.is_empty() => Ok(None),
            _ => Err("entries of its own beside those from above".to_owned()),
        };
    }
    let lists = [sacl, dacl].map(|list| list.map(|entries| in_list(&entries, object)).transpose());
    let [sacl, dacl] = lists;
    let owner = sid(&bytes, 4).ok_or_else(odd)?;
    let group = sid(&bytes, 8).ok_or_else(odd)?;
    Ok(Some(assembled(control, &sacl?, &dacl?, &owner, &group)))
}

/// The entries of the list at an offset that stands at `at`; none if there is no list.
fn entries(bytes: &[u8], is_present: u16, at: usize) -> Option<Option<Vec<&[u8]>>> {
    let offset = u32_at(bytes, at)? as usize;
    if is_present == 0 || offset == 0 {
        return Some(None);
    }
    let count = u16_at(bytes, offset.checked_add(4)?)?;
    let mut rest = bytes.get(offset.checked_add(LIST_HEAD)?..)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, after) = rest.split_at_checked(usize::from(u16_at(rest, 2)?))?;
        u32_at(entry, 4)?;
        entries.push(entry);
        rest = after;
    }
    Some(Some(entries))
}

/// An identifier at an offset that stands at `at`; SYSTEM's where there is none.
fn sid(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    match u32_at(bytes, at)? as usize {
        0 => Some(Sid::LOCAL_SYSTEM.to_bytes()),
        offset => {
            let parts = usize::from(*bytes.get(offset.checked_add(1)?)?);
            bytes.get(offset..offset.checked_add(8 + 4 * parts)?).map(<[u8]>::to_vec)
        }
    }
}

/// A list with the rights of an object.
fn in_list(entries: &[&[u8]], object: Object) -> Said<Vec<u8>> {
    let entries: Vec<Vec<u8>> = entries.iter().flat_map(|entry| in_entries(entry, object)).collect();
    let too_long = || "a list of access rights is longer than 64 KiB".to_owned();
    let size = u16::try_from(LIST_HEAD + entries.iter().map(Vec::len).sum::<usize>()).map_err(|_| too_long())?;
    let count = u16::try_from(entries.len()).map_err(|_| too_long())?;
    let mut list = vec![2, 0];
    list.extend(size.to_le_bytes());
    list.extend(count.to_le_bytes());
    list.extend([0, 0]);
    list.extend(entries.concat());
    Ok(list)
}

fn in_entries(entry: &[u8], object: Object) -> Vec<Vec<u8>> {
    let (kind, flags, mask) = (entry[0], entry[1], u32_at(entry, 4).unwrap_or_default());
    if !BASIC.contains(&kind) || mask & GENERIC == 0 || flags & INHERIT_ONLY != 0 {
        return vec![entry.to_vec()];
    }
    let with = |flags: u8, mask: u32| {
        let mut entry = entry.to_vec();
        entry[1] = flags;
        entry[4..8].copy_from_slice(&mask.to_le_bytes());
        entry
    };
    let applies = with(flags & !INHERITANCE, own_rights(mask, object));
    if object.has_children() && flags & TO_CHILDREN != 0 {
        vec![applies, with(flags | INHERIT_ONLY, mask)]
    } else {
        vec![applies]
    }
}

fn own_rights(mask: u32, object: Object) -> u32 {
    const BITS: [u32; 4] = [0x8000_0000, 0x4000_0000, 0x2000_0000, 0x1000_0000];
    let meant = BITS.iter().zip(object.rights()).filter(|(bit, _)| mask & **bit != 0);
    meant.fold(mask & !GENERIC, |rights, (_, own)| rights | own)
}

/// Head, lists, owner, group: the order of those that Windows makes from text.
fn assembled(control: u16, sacl: &Option<Vec<u8>>, dacl: &Option<Vec<u8>>, owner: &[u8], group: &[u8]) -> Box<[u8]> {
    let parts = [sacl.as_deref().unwrap_or_default(), dacl.as_deref().unwrap_or_default(), owner, group];
    let mut at = HEAD;
    let offsets = parts.map(|part| {
        let offset = if part.is_empty() { 0 } else { at };
        at += part.len();
        offset as u32
    });
    let [sacl_at, dacl_at, owner_at, group_at] = offsets;
    let mut bytes = vec![1, 0];
    bytes.extend(control.to_le_bytes());
    bytes.extend([owner_at, group_at, sacl_at, dacl_at].iter().flat_map(|offset| offset.to_le_bytes()));
    bytes.extend(parts.concat());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sddl: &str, object: Object) -> Option<String> {
        stored(sddl, object).unwrap().map(|bytes| sddl::to_text(&bytes).unwrap())
    }

    /// The descriptors of `Services\FrameServer\parameters` in the SYSTEM hive of a Windows 10, and of its manifest.
    #[test]
    fn generic_rights_become_those_of_the_object() {
        let key = text("O:SYG:SYD:P(A;CI;GA;;;SY)(A;CI;GR;;;BU)(A;;KR;;;AU)", Object::Key).unwrap();
        assert_eq!(key, "O:SYG:SYD:P(A;;KA;;;SY)(A;CIIO;GA;;;SY)(A;;KR;;;BU)(A;CIIO;GR;;;BU)(A;;KR;;;AU)");
        let file = text("D:P(A;;GRGX;;;BU)(A;;FA;;;SY)S:(AU;FASA;0x000D0116;;;WD)", Object::File).unwrap();
        assert_eq!(file, "O:SYG:SYD:P(A;;0x1200a9;;;BU)(A;;FA;;;SY)S:(AU;SAFA;DCLCRPCRSDWDWO;;;WD)");
        let folder = text("D:P(A;OICI;GRGX;;;BU)(A;OICIIO;GA;;;CO)", Object::Directory).unwrap();
        assert_eq!(folder, "O:SYG:SYD:P(A;;0x1200a9;;;BU)(A;OICIIO;GRGX;;;BU)(A;OICIIO;GA;;;CO)");
        assert_eq!(
            text("D:(A;;GA;;;BA)", Object::Service).as_deref(),
            Some("O:SYG:SYD:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)")
        );
    }

    #[test]
    fn what_comes_from_above_is_none_of_its_own() {
        for sddl in ["", " (inherit) ", "O:SYG:SYD:AIS:"] {
            assert_eq!(text(sddl, Object::File), None, "{sddl}");
        }
        for sddl in ["x", "D:AI(A;;GA;;;SY)", "D:P(A;;GA;;;XX)", "D:P(inherit)", "D:P(OA;;GA;1;;SY)"] {
            assert!(stored(sddl, Object::Key).is_err(), "{sddl}");
        }
        let many = format!("D:P{}", "(A;CI;GA;;;SY)".repeat(3000));
        assert!(stored(&many, Object::Key).is_err());
    }
}
