//! The other way: from text to a self-relative descriptor.

use super::{ACE_FLAGS, DACL_PRESENT, LABEL_RIGHTS, MANDATORY_LABEL, RIGHTS, SACL_PRESENT, SIDS, WHOLE_RIGHTS};

const SELF_RELATIVE: u16 = 0x8000;
/// How long the head of a descriptor is.
const HEAD: u32 = 20;
/// Sub-authorities of an identifier (`SID_MAX_SUB_AUTHORITIES`).
const MAX_PARTS: usize = 15;

/// A list as a descriptor holds it, with the bits of the descriptor that belong to it.
struct List {
    control: u16,
    bytes: Vec<u8>,
}

/// A descriptor from its text, as `ConvertStringSecurityDescriptorToSecurityDescriptor` lays it out: head, SACL, DACL, owner, group.
///
/// `None` for what is no such text, and for entries with more than a mask and an identifier (object and conditional entries).
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    let (mut owner, mut group) = (Vec::new(), Vec::new());
    let (mut dacl, mut sacl) = (None, None);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (part, after) = rest.split_at_checked(2)?;
        let end = end_of_part(after);
        let body = after[..end].trim();
        rest = &after[end..];
        match part {
            "O:" => owner = sid(body)?,
            "G:" => group = sid(body)?,
            "D:" => dacl = Some(list(body, DACL_PRESENT, 0x1000, 0x0100, 0x0400)?),
            "S:" => sacl = Some(list(body, SACL_PRESENT, 0x2000, 0x0200, 0x0800)?),
            _ => return None,
        }
    }
    let control = [&dacl, &sacl].into_iter().flatten().fold(SELF_RELATIVE, |control, list| control | list.control);
    let bytes = |list: Option<List>| list.map(|list| list.bytes).unwrap_or_default();
    let parts = [bytes(sacl), bytes(dacl), owner, group];
    let mut at = HEAD;
    let offsets = parts.each_ref().map(|part| {
        let offset = if part.is_empty() { 0 } else { at };
        at += part.len() as u32;
        offset
    });
    let [sacl_at, dacl_at, owner_at, group_at] = offsets;
    let mut descriptor = vec![1, 0];
    descriptor.extend(control.to_le_bytes());
    descriptor.extend([owner_at, group_at, sacl_at, dacl_at].iter().flat_map(|offset| offset.to_le_bytes()));
    descriptor.extend(parts.concat());
    Some(descriptor)
}

/// Where the next part begins: a letter and a colon that are not within an entry.
fn end_of_part(text: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'O' | b'G' | b'D' | b'S' if depth == 0 && bytes.get(at + 1) == Some(&b':') => return at,
            _ => {}
        }
    }
    text.len()
}

fn list(text: &str, present: u16, protected: u16, wanted: u16, inherited: u16) -> Option<List> {
    let (flags, entries) = text.split_at(text.find('(').unwrap_or(text.len()));
    let mut control = present;
    let mut flags = flags.trim();
    if flags == "NO_ACCESS_CONTROL" {
        return entries.is_empty().then(|| List { control, bytes: Vec::new() });
    }
    while !flags.is_empty() {
        let known = [("P", protected), ("AR", wanted), ("AI", inherited)];
        let (rest, bit) = known.iter().find_map(|(name, bit)| Some((flags.strip_prefix(name)?, bit)))?;
        control |= bit;
        flags = rest;
    }
    let mut bytes = Vec::new();
    let mut count = 0_u16;
    let mut rest = entries.trim();
    while !rest.is_empty() {
        let (entry, after) = rest.strip_prefix('(')?.split_once(')')?;
        bytes.extend(ace(entry)?);
        count = count.checked_add(1)?;
        rest = after.trim_start();
    }
    let size = u16::try_from(bytes.len() + 8).ok()?;
    let mut list = vec![2, 0];
    list.extend(size.to_le_bytes());
    list.extend(count.to_le_bytes());
    list.extend([0, 0]);
    list.extend(bytes);
    Some(List { control, bytes: list })
}

/// `kind;flags;rights;;;identifier`
fn ace(text: &str) -> Option<Vec<u8>> {
    let fields: Vec<&str> = text.split(';').map(str::trim).collect();
    let [kind, flags, rights, "", "", identifier] = *fields.as_slice() else { return None };
    let kind = match kind {
        "A" => 0x00,
        "D" => 0x01,
        "AU" => 0x02,
        "AL" => 0x03,
        "ML" => MANDATORY_LABEL,
        _ => return None,
    };
    let flags = letters(flags, &ACE_FLAGS.map(|(bit, name)| (u32::from(bit), name)))?;
    let mask = mask(rights, kind == MANDATORY_LABEL)?;
    let identifier = sid(identifier)?;
    let mut ace = vec![kind, u8::try_from(flags).ok()?];
    ace.extend(u16::try_from(8 + identifier.len()).ok()?.to_le_bytes());
    ace.extend(mask.to_le_bytes());
    ace.extend(identifier);
    Some(ace)
}

fn mask(text: &str, label: bool) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok();
    }
    if label {
        return letters(text, &LABEL_RIGHTS);
    }
    let all: Vec<(u32, &str)> = WHOLE_RIGHTS.into_iter().chain([(0x0002_0019, "KX")]).chain(RIGHTS).collect();
    letters(text, &all)
}

/// Pairs of letters, each with its bits.
fn letters(text: &str, known: &[(u32, &str)]) -> Option<u32> {
    let mut bits = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (pair, after) = rest.split_at_checked(2)?;
        bits |= known.iter().find(|(_, name)| *name == pair)?.0;
        rest = after;
    }
    Some(bits)
}

/// Two letters, or `S-1-5-32-544`.
fn sid(text: &str) -> Option<Vec<u8>> {
    let text = SIDS.iter().find(|(_, letters)| *letters == text).map_or(text, |(sid, _)| sid);
    let mut numbers = text.strip_prefix("S-1-")?.split('-');
    let authority = numbers.next()?;
    let authority: u64 = match authority.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => authority.parse().ok()?,
    };
    let parts = numbers.map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().ok()?;
    if authority >> 48 != 0 || parts.len() > MAX_PARTS {
        return None;
    }
    let mut bytes = vec![1, u8::try_from(parts.len()).ok()?];
    bytes.extend(&authority.to_be_bytes()[2..]);
    bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sddl::to_text;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "D:P(A;;GA;;;SY)",
            "O:SYG:BAD:PAI(A;OICI;FA;;;SY)(A;ID;0x1200a9;;;BU)S:AR(ML;;NWNR;;;HI)(AU;SAFA;SDRC;;;WD)",
            "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464D:NO_ACCESS_CONTROL",
            "D:(D;;0x0;;;S-1-5-21-1-2-3-500)",
        ] {
            assert_eq!(to_text(&from_text(text).unwrap()).as_deref(), Some(text));
        }
    }

    /// The bytes that Windows 10 has for `D:P(A;;GA;;;SY)(A;;GA;;;BA)` as a property of devices.
    #[test]
    fn lays_out_as_windows_does() {
        let bytes = from_text("D:P(A;;GA;;;SY)(A;;GA;;;BA)").unwrap();
        let head = [1, 0, 4, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0];
        let list = [2, 0, 0x34, 0, 2, 0, 0, 0];
        let system = [0, 0, 0x14, 0, 0, 0, 0, 0x10, 1, 1, 0, 0, 0, 0, 0, 5, 0x12, 0, 0, 0];
        let administrators = [0, 0, 0x18, 0, 0, 0, 0, 0x10, 1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0];
        assert_eq!(bytes, [&head[..], &list, &system, &administrators].concat());
    }

    #[test]
    fn refuses_other_texts() {
        for text in
            ["x", "D:(A;;GA;;;XX)", "D:(A;;GA;;;SY", "D:P(OA;;GA;1;;SY)", "O:S-1-5-99999999999", "D:(A;;ZZ;;;SY)", "Ö:"]
        {
            assert_eq!(from_text(text), None, "{text}");
        }
        let entries = "(A;;GA;;;SY)".repeat(10_000);
        assert_eq!(from_text(&format!("D:{entries}")), None, "a list has up to 64 KiB");
        let good = "O:SYG:BAD:PAI(A;OICI;FA;;;SY)(A;ID;0x1200a9;;;BU)";
        (0..good.len()).for_each(|len| drop(from_text(&good[..len])));
    }
}
