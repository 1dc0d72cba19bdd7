//! Security descriptors as text, in the language in which Windows writes them (MS-DTYP 2.5.1): `O:SYG:SYD:PAI(A;OICI;FA;;;SY)`.

mod parse;

pub use parse::from_text;

use std::fmt::Write;

use super::bytes::{u16_at, u32_at};

const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;

/// Well-known identifiers and their two letters (MS-DTYP 2.5.1.1). Those of a domain have no fixed value and stay in full.
const SIDS: [(&str, &str); 35] = [
    ("S-1-1-0", "WD"),
    ("S-1-3-0", "CO"),
    ("S-1-3-1", "CG"),
    ("S-1-3-4", "OW"),
    ("S-1-5-2", "NU"),
    ("S-1-5-4", "IU"),
    ("S-1-5-6", "SU"),
    ("S-1-5-7", "AN"),
    ("S-1-5-9", "ED"),
    ("S-1-5-10", "PS"),
    ("S-1-5-11", "AU"),
    ("S-1-5-12", "RC"),
    ("S-1-5-18", "SY"),
    ("S-1-5-19", "LS"),
    ("S-1-5-20", "NS"),
    ("S-1-5-33", "WR"),
    ("S-1-5-32-544", "BA"),
    ("S-1-5-32-545", "BU"),
    ("S-1-5-32-546", "BG"),
    ("S-1-5-32-547", "PU"),
    ("S-1-5-32-548", "AO"),
    ("S-1-5-32-549", "SO"),
    ("S-1-5-32-550", "PO"),
    ("S-1-5-32-551", "BO"),
    ("S-1-5-32-552", "RE"),
    ("S-1-5-32-554", "RU"),
    ("S-1-5-32-555", "RD"),
    ("S-1-5-32-556", "NO"),
    ("S-1-5-32-558", "MU"),
    ("S-1-5-32-559", "LU"),
    ("S-1-5-32-568", "IS"),
    ("S-1-15-2-1", "AC"),
    ("S-1-16-4096", "LW"),
    ("S-1-16-8192", "ME"),
    ("S-1-16-12288", "HI"),
];

const ACE_FLAGS: [(u8, &str); 7] =
    [(0x01, "OI"), (0x02, "CI"), (0x04, "NP"), (0x08, "IO"), (0x10, "ID"), (0x40, "SA"), (0x80, "FA")];

/// Masks that have a name as a whole.
const WHOLE_RIGHTS: [(u32, &str); 7] = [
    (0x001F_01FF, "FA"),
    (0x0012_0089, "FR"),
    (0x0012_0116, "FW"),
    (0x0012_00A0, "FX"),
    (0x000F_003F, "KA"),
    (0x0002_0019, "KR"),
    (0x0002_0006, "KW"),
];

/// Bits that have names of their own; a mask with any other bit is written as a number.
const RIGHTS: [(u32, &str); 17] = [
    (0x1000_0000, "GA"),
    (0x8000_0000, "GR"),
    (0x4000_0000, "GW"),
    (0x2000_0000, "GX"),
    (0x0000_0001, "CC"),
    (0x0000_0002, "DC"),
    (0x0000_0004, "LC"),
    (0x0000_0008, "SW"),
    (0x0000_0010, "RP"),
    (0x0000_0020, "WP"),
    (0x0000_0040, "DT"),
    (0x0000_0080, "LO"),
    (0x0000_0100, "CR"),
    (0x0001_0000, "SD"),
    (0x0002_0000, "RC"),
    (0x0004_0000, "WD"),
    (0x0008_0000, "WO"),
];

const MANDATORY_LABEL: u8 = 0x11;
const LABEL_RIGHTS: [(u32, &str); 3] = [(1, "NW"), (2, "NR"), (4, "NX")];

/// The whole of a self-relative descriptor as text; `None` for bytes that are none.
///
/// Entries of kinds that carry more than a mask and an identifier (object, callback and attribute entries) are written with all
/// their bytes in hexadecimal, which Windows does not read back.
pub fn to_text(descriptor: &[u8]) -> Option<String> {
    let control = u16_at(descriptor, 2).filter(|_| descriptor.first() == Some(&1))?;
    let mut text = String::new();
    for (letter, at) in [('O', 4), ('G', 8)] {
        if let Some(sid) = part(descriptor, at)? {
            let _ = write!(text, "{letter}:{}", named(&sid_text(sid)?));
        }
    }
    for (letter, present, at, flags) in [
        ('D', DACL_PRESENT, 16, [(0x1000, "P"), (0x0100, "AR"), (0x0400, "AI")]),
        ('S', SACL_PRESENT, 12, [(0x2000, "P"), (0x0200, "AR"), (0x0800, "AI")]),
    ] {
        if control & present == 0 {
            continue;
        }
        let _ = write!(text, "{letter}:");
        flags.iter().filter(|(bit, _)| control & bit != 0).for_each(|(_, name)| text.push_str(name));
        match part(descriptor, at)? {
            Some(acl) => entries(acl, &mut text)?,
            None => text.push_str("NO_ACCESS_CONTROL"),
        }
    }
    Some(text)
}

/// The owner of a self-relative descriptor: `S-1-5-18`; `None` where there is none.
pub fn owner(descriptor: &[u8]) -> Option<String> {
    sid_text(part(descriptor, 4)??)
}

/// A usual name of a well-known identifier.
pub fn account(sid: &str) -> Option<&'static str> {
    Some(match sid {
        "S-1-1-0" => "Everyone",
        "S-1-3-0" => "CREATOR OWNER",
        "S-1-5-18" => "SYSTEM",
        "S-1-5-19" => "LOCAL SERVICE",
        "S-1-5-20" => "NETWORK SERVICE",
        "S-1-5-32-544" => "Administrators",
        "S-1-5-32-545" => "Users",
        "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464" => "TrustedInstaller",
        _ => return None,
    })
}

/// What an offset in the descriptor's head leads to: nothing where it is zero.
fn part(descriptor: &[u8], at: usize) -> Option<Option<&[u8]>> {
    match u32_at(descriptor, at)? as usize {
        0 => Some(None),
        offset => descriptor.get(offset..).map(Some),
    }
}

/// Revision, count, authority (48 bits, big-endian), sub-authorities (little-endian).
fn sid_text(bytes: &[u8]) -> Option<String> {
    let authority = bytes.get(2..8)?.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut text = format!("S-{}-{authority}", bytes[0]);
    for index in 0..usize::from(bytes[1]) {
        let _ = write!(text, "-{}", u32_at(bytes, 8 + 4 * index)?);
    }
    Some(text)
}

fn named(sid: &str) -> &str {
    SIDS.iter().find(|(known, _)| *known == sid).map_or(sid, |(_, letters)| letters)
}

fn entries(acl: &[u8], text: &mut String) -> Option<()> {
    const HEAD: usize = 8;
    let mut at = HEAD;
    for _ in 0..u16_at(acl, 4)? {
        let size = usize::from(u16_at(acl, at.checked_add(2)?)?);
        let ace = acl.get(at..at.checked_add(size)?).filter(|ace| ace.len() >= HEAD)?;
        entry(ace, text)?;
        at += size;
    }
    Some(())
}

fn entry(ace: &[u8], text: &mut String) -> Option<()> {
    let kind = match ace[0] {
        0x00 => "A",
        0x01 => "D",
        0x02 => "AU",
        0x03 => "AL",
        MANDATORY_LABEL => "ML",
        0x13 => "SP",
        other => {
            let _ = write!(text, "({other:#04x};");
            ace.iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            text.push(')');
            return Some(());
        }
    };
    let _ = write!(text, "({kind};");
    ACE_FLAGS.iter().filter(|(bit, _)| ace[1] & bit != 0).for_each(|(_, name)| text.push_str(name));
    let _ = write!(text, ";{};;;{})", rights(ace[0], u32_at(ace, 4)?), named(&sid_text(ace.get(8..)?)?));
    Some(())
}

fn rights(kind: u8, mask: u32) -> String {
    let names = if kind == MANDATORY_LABEL { &LABEL_RIGHTS[..] } else { &RIGHTS[..] };
    if let Some((_, name)) = WHOLE_RIGHTS.iter().find(|(whole, _)| kind != MANDATORY_LABEL && *whole == mask) {
        return (*name).to_owned();
    }
    let known: u32 = names.iter().map(|(bit, _)| bit).sum();
    match mask {
        _ if mask & !known != 0 || mask == 0 => format!("{mask:#x}"),
        _ => names.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect(),
    }
}

/// The self-relative descriptor that a text stands for; `None` for a text that is none, and for what cannot be said without a domain or
/// a schema: abbreviations of a domain's accounts, and entries of other kinds than those that [`to_text`] names.
///
/// INF files and service programs have such texts (Microsoft, "Security descriptor string format").
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    const SELF_RELATIVE: u16 = 0x8000;
    const HEAD: usize = 20;
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = text.as_str();
    let mut control = SELF_RELATIVE;
    let mut parts: [Option<Vec<u8>>; 4] = [None, None, None, None]; // owner, group, SACL, DACL: as the head has them
    while !rest.is_empty() {
        let (letter, after) = rest.split_at_checked(1)?;
        let after = after.strip_prefix(':')?;
        let end = end_of_part(after);
        let (part, next) = after.split_at_checked(end)?;
        let (place, bytes) = match letter.to_ascii_uppercase().as_str() {
            "O" => (0, sid_bytes(part)?),
            "G" => (1, sid_bytes(part)?),
            "S" => (2, list_bytes(part, SACL_PRESENT, [0x2000, 0x0200, 0x0800], &mut control)?),
            "D" => (3, list_bytes(part, DACL_PRESENT, [0x1000, 0x0100, 0x0400], &mut control)?),
            _ => return None,
        };
        if parts[place].replace(bytes).is_some() {
            return None;
        }
        rest = next;
    }
    let mut head = vec![1, 0];
    head.extend(control.to_le_bytes());
    let mut body = Vec::new();
    for part in &parts {
        let offset = part.as_ref().filter(|bytes| !bytes.is_empty()).map_or(0, |_| HEAD + body.len());
        head.extend(u32::try_from(offset).ok()?.to_le_bytes());
        body.extend_from_slice(part.as_deref().unwrap_or_default());
    }
    head.extend(body);
    Some(head)
}

/// Where a part ends: before the letter of the next one, which a colon follows. Parentheses hold no colons that would count.
fn end_of_part(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return at.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

fn sid_bytes(text: &str) -> Option<Vec<u8>> {
    let known = SIDS.iter().find(|(_, letters)| letters.eq_ignore_ascii_case(text)).map(|(sid, _)| *sid);
    let mut numbers = known.unwrap_or(text).split('-');
    if !numbers.next()?.eq_ignore_ascii_case("S") || numbers.next()? != "1" {
        return None;
    }
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    };
    let authority = number(numbers.next()?).filter(|authority| *authority < 1 << 48)?;
    let parts: Vec<u32> = numbers.map(|part| u32::try_from(number(part)?).ok()).collect::<Option<_>>()?;
    let count = u8::try_from(parts.len()).ok().filter(|count| (1..=15).contains(count))?;
    let mut bytes = vec![1, count];
    bytes.extend_from_slice(authority.to_be_bytes().get(2..)?);
    parts.iter().for_each(|part| bytes.extend(part.to_le_bytes()));
    Some(bytes)
}

/// An access control list; nothing for one that is null.
fn list_bytes(text: &str, present: u16, [protected, asked, inherited]: [u16; 3], control: &mut u16) -> Option<Vec<u8>> {
    const REVISION: u8 = 2;
    *control |= present;
    let (mut flags, entries) = text.split_at_checked(text.find('(').unwrap_or(text.len()))?;
    if flags.eq_ignore_ascii_case("NO_ACCESS_CONTROL") {
        return entries.is_empty().then(Vec::new);
    }
    while !flags.is_empty() {
        let known = [("AR", asked), ("AI", inherited), ("P", protected)];
        let (name, bit) = known
            .into_iter()
            .find(|(name, _)| flags.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
        *control |= bit;
        flags = flags.get(name.len()..)?;
    }
    let mut body = Vec::new();
    let mut count = 0u16;
    let mut rest = entries;
    while !rest.is_empty() {
        let (entry, after) = rest.strip_prefix('(')?.split_once(')')?;
        body.extend(entry_bytes(entry)?);
        count = count.checked_add(1)?;
        rest = after;
    }
    let mut list = vec![REVISION, 0];
    for number in [u16::try_from(body.len() + 8).ok()?, count, 0] {
        list.extend(number.to_le_bytes());
    }
    list.extend(body);
    Some(list)
}

fn entry_bytes(text: &str) -> Option<Vec<u8>> {
    let fields: Vec<&str> = text.split(';').collect();
    let [kind, flags, rights, "", "", sid] = fields.as_slice() else { return None };
    let kind = match kind.to_ascii_uppercase().as_str() {
        "A" => 0x00,
        "D" => 0x01,
        "AU" => 0x02,
        "AL" => 0x03,
        "ML" => MANDATORY_LABEL,
        _ => return None,
    };
    let flags = pairs(flags, |name| Some(u32::from(ACE_FLAGS.iter().find(|(_, known)| *known == name)?.0)))?;
    let mask = match rights.get(..2).filter(|start| start.eq_ignore_ascii_case("0x")) {
        Some(_) => u32::from_str_radix(rights.get(2..)?, 16).ok()?,
        None => {
            let names = if kind == MANDATORY_LABEL { &LABEL_RIGHTS[..] } else { &RIGHTS[..] };
            let whole = if kind == MANDATORY_LABEL { &[][..] } else { &WHOLE_RIGHTS[..] };
            let all = || names.iter().chain(whole);
            pairs(rights, |name| all().find(|(_, known)| *known == name).map(|(mask, _)| *mask))?
        }
    };
    let sid = sid_bytes(sid)?;
    let mut bytes = vec![kind, u8::try_from(flags).ok()?];
    bytes.extend(u16::try_from(sid.len() + 8).ok()?.to_le_bytes());
    bytes.extend(mask.to_le_bytes());
    bytes.extend(sid);
    Some(bytes)
}

/// Names of two letters each, and the bits of all of them.
fn pairs(text: &str, bits: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    let text = text.to_ascii_uppercase();
    let (mut mask, mut rest) = (0, text.as_str());
    while !rest.is_empty() {
        let (name, after) = rest.split_at_checked(2)?;
        mask |= bits(name)?;
        rest = after;
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::security::{Descriptor, INHERIT, Sid, mask};

    fn sample() -> Vec<u8> {
        let allow = [
            (Sid::LOCAL_SYSTEM, mask::FULL, INHERIT),
            (Sid::USERS, mask::READ_AND_RUN, 0x10),
            (Sid::nt(&[21, 1, 2, 3, 500]), 0x0003_0000, 0),
            (Sid { authority: 1, parts: &[0] }, 0, 0),
        ];
        Descriptor { owner: Sid::TRUSTED_INSTALLER, group: Sid::ADMINISTRATORS, protected: true, allow: &allow }
            .to_bytes()
    }

    #[test]
    fn writes_what_windows_writes() {
        let text = to_text(&sample()).unwrap();
        let owner = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
        assert_eq!(
            text,
            format!("O:{owner}G:BAD:P(A;OICI;FA;;;SY)(A;ID;0x1200a9;;;BU)(A;;SDRC;;;S-1-5-21-1-2-3-500)(A;;0x0;;;WD)")
        );
        assert_eq!(super::owner(&sample()).unwrap(), owner);
        assert_eq!(account(owner), Some("TrustedInstaller"));
    }

    #[test]
    fn knows_labels_and_what_it_does_not_know() {
        // Head, a SACL with a mandatory label and an entry of an unknown kind; no DACL bytes though one is said to be there.
        let mut bytes = vec![1, 0, 0x14, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([2, 0, 36, 0, 2, 0, 0, 0]);
        bytes.extend([0x11, 0, 20, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 16, 0, 0x30, 0, 0]);
        bytes.extend([0x09, 0, 8, 0, 1, 2, 3, 4]);
        assert_eq!(to_text(&bytes).unwrap(), "D:NO_ACCESS_CONTROLS:(ML;;NW;;;HI)(0x09;0900080001020304)");
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(from_text(&to_text(&sample()).unwrap()).and_then(|bytes| to_text(&bytes)), to_text(&sample()));
        for text in [
            "D:P(A;;GA;;;SY)(A;;GRGX;;;BA)(A;OICI;0x1200a9;;;S-1-5-21-1-2-3-500)",
            "O:SYG:BAD:PARAI(D;;KA;;;WD)S:(AU;SAFA;FA;;;WD)(ML;;NWNR;;;HI)",
            "D:NO_ACCESS_CONTROL",
            "D:P",
        ] {
            let bytes = from_text(text).unwrap();
            assert_eq!(to_text(&bytes).unwrap(), text);
        }
        // The same bytes as another writer of descriptors gives, whatever order the parts are in.
        let spaced = from_text(" d:p (a;;fa;;;sy) ").unwrap();
        assert_eq!(to_text(&spaced).unwrap(), "D:P(A;;FA;;;SY)");
    }

    #[test]
    fn refuses_texts_that_are_none() {
        let many = format!("O:S-1-5{}", "-1".repeat(16));
        for text in [
            "x",
            "D",
            "D(A;;GA;;;SY)",
            "D:(A;;GA;;;SY",
            "D:(A;;GA;;;)",
            "D:(A;;G;;;SY)",
            "D:(A;;ZZ;;;SY)",
            "D:(OA;;GA;;;SY)",
            "D:X(A;;GA;;;SY)",
            "O:S-2-5-18",
            "O:S-1-5",
            "O:S-1-5-x",
            "O:DA",
            &many,
            "O:SYO:SY",
            "D:(A;;GA;{0};;SY)",
            "Ö:SY",
            "D:é",
            "D:(A;é;GA;;;SY)",
            ":",
            "::",
            "O:S-1-281474976710656-1",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn survives_hostile_bytes() {
        let good = sample();
        for len in 0..good.len() {
            let _ = to_text(&good[..len]);
            let _ = owner(&good[..len]);
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = to_text(&bytes);
        }
        assert_eq!(to_text(&[]), None);
        assert_eq!(to_text(&[0xFF; 64]), None);
    }
}
