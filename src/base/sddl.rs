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
