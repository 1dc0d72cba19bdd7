//! Security descriptors as text: the security descriptor definition language (MS-DTYP 2.5.1), for people to read and compare.
//!
//! What Windows prints as letters for a mask that has no name of its own is printed in hexadecimal, which Windows reads as
//! well. Entries that carry more than a mask and an identifier (conditions, object types) are given as bytes.

use std::fmt::{self, Write};

use super::bytes::{u16_at, u32_at};

/// The parts of a descriptor, each as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sddl {
    /// Who owns it; nothing where it has no owner.
    pub owner: Option<String>,
    /// The primary group.
    pub group: Option<String>,
    /// Who may do what: flags and entries; nothing where the descriptor has no such list.
    pub dacl: Option<String>,
    /// What is audited, and the integrity level.
    pub sacl: Option<String>,
}

const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
/// Bits of the control word that say how a list came about, as flags of the DACL; those of the SACL are one to the left.
const LIST_FLAGS: [(u16, &str); 3] = [(0x1000, "P"), (0x0100, "AR"), (0x0400, "AI")];

impl Sddl {
    /// Reads a self-relative descriptor; nothing if it is none, or points outside of itself.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if *bytes.first()? != 1 {
            return None;
        }
        let control = u16_at(bytes, 2)?;
        let part = |at: usize| u32_at(bytes, at).map(|offset| offset as usize);
        let identifier = |at: usize| match part(at)? {
            0 => Some(None),
            offset => sid(bytes.get(offset..)?).map(|(text, _)| Some(text)),
        };
        let list = |at: usize, present: u16, shift: u16| match (control & present, part(at)?) {
            (0, _) => Some(None),
            (_, 0) => Some(Some("NO_ACCESS_CONTROL".to_owned())),
            (_, offset) => acl(bytes.get(offset..)?).map(|entries| Some(flags(control >> shift) + &entries)),
        };
        Some(Self {
            owner: identifier(4)?,
            group: identifier(8)?,
            sacl: list(12, SACL_PRESENT, 1)?,
            dacl: list(16, DACL_PRESENT, 0)?,
        })
    }
}

impl fmt::Display for Sddl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, part) in [('O', &self.owner), ('G', &self.group), ('D', &self.dacl), ('S', &self.sacl)] {
            if let Some(part) = part {
                write!(f, "{letter}:{part}")?;
            }
        }
        Ok(())
    }
}

fn flags(control: u16) -> String {
    LIST_FLAGS.iter().filter(|(bit, _)| control & bit != 0).map(|(_, name)| *name).collect()
}

/// The entries of a list.
fn acl(bytes: &[u8]) -> Option<String> {
    let count = u16_at(bytes, 4)?;
    let mut rest = bytes.get(..usize::from(u16_at(bytes, 2)?))?.get(8..)?;
    let mut text = String::new();
    for _ in 0..count {
        let size = usize::from(u16_at(rest, 2)?);
        let (entry, later) = rest.split_at_checked(size)?;
        text += &ace(entry)?;
        rest = later;
    }
    Some(text)
}

fn ace(entry: &[u8]) -> Option<String> {
    const KINDS: [(u8, &str); 5] = [(0, "A"), (1, "D"), (2, "AU"), (3, "AL"), (0x11, "ML")];
    const FLAGS: [(u8, &str); 7] =
        [(0x01, "OI"), (0x02, "CI"), (0x04, "NP"), (0x08, "IO"), (0x10, "ID"), (0x40, "SA"), (0x80, "FA")];
    let (kind, bits) = (*entry.first()?, *entry.get(1)?);
    let flags: String = FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    let body = entry.get(4..)?;
    let name = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
    let plain = name.and_then(|name| {
        let (who, len) = sid(body.get(4..)?)?;
        let rights = rights(kind, u32_at(body, 0)?);
        (body.len() == 4 + len).then(|| format!("({name};{flags};{rights};;;{who})"))
    });
    Some(plain.unwrap_or_else(|| {
        let bytes = body.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        format!("({kind:#04x};{flags};{bytes})")
    }))
}

fn rights(kind: u8, mask: u32) -> String {
    const LABEL: u8 = 0x11;
    const NAMES: [(u32, &str); 10] = [
        (0x001F_01FF, "FA"),
        (0x0012_0089, "FR"),
        (0x0012_0116, "FW"),
        (0x0012_00A0, "FX"),
        (0x000F_003F, "KA"),
        (0x0002_0019, "KR"),
        (0x1000_0000, "GA"),
        (0x8000_0000, "GR"),
        (0x4000_0000, "GW"),
        (0x2000_0000, "GX"),
    ];
    const LABEL_POLICY: [(u32, &str); 3] = [(1, "NW"), (2, "NR"), (4, "NX")];
    if kind == LABEL && mask & !7 == 0 {
        return LABEL_POLICY.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect();
    }
    let name = NAMES.iter().find(|(known, _)| *known == mask);
    name.map_or_else(|| format!("{mask:#x}"), |(_, name)| (*name).to_owned())
}

/// Identifiers that have two letters.
const ALIASES: &[(&str, &str)] = &[
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
    ("S-1-5-32-544", "BA"),
    ("S-1-5-32-545", "BU"),
    ("S-1-5-32-546", "BG"),
    ("S-1-5-32-547", "PU"),
    ("S-1-5-32-549", "SO"),
    ("S-1-5-32-550", "PO"),
    ("S-1-5-32-551", "BO"),
    ("S-1-5-32-555", "RD"),
    ("S-1-5-32-556", "NO"),
    ("S-1-15-2-1", "AC"),
    ("S-1-16-4096", "LW"),
    ("S-1-16-8192", "ME"),
    ("S-1-16-12288", "HI"),
    ("S-1-16-16384", "SI"),
];

/// An identifier and its length in bytes.
fn sid(bytes: &[u8]) -> Option<(String, usize)> {
    let (revision, count) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let authority = bytes.get(2..8)?.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut text = format!("S-{revision}-{authority}");
    for part in 0..count {
        let _ = write!(text, "-{}", u32_at(bytes, 8 + 4 * part)?);
    }
    let alias = ALIASES.iter().find(|(known, _)| *known == text).map(|(_, alias)| (*alias).to_owned());
    Some((alias.unwrap_or(text), 8 + 4 * count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::security::{Descriptor, INHERIT, Sid, mask};

    fn sample() -> Vec<u8> {
        let descriptor = Descriptor {
            owner: Sid::TRUSTED_INSTALLER,
            group: Sid::LOCAL_SYSTEM,
            protected: true,
            allow: &[(Sid::ADMINISTRATORS, mask::FULL, INHERIT), (Sid::USERS, mask::READ_AND_RUN, 0)],
        };
        descriptor.to_bytes()
    }

    #[test]
    fn prints_as_windows_does() {
        let text = Sddl::parse(&sample()).unwrap().to_string();
        assert_eq!(
            text,
            "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:SY\
             D:P(A;OICI;FA;;;BA)(A;;0x1200a9;;;BU)"
        );
    }

    #[test]
    fn tells_apart_no_list_an_empty_one_and_labels() {
        let head = |control: u16, sacl: u32, dacl: u32| {
            let mut bytes = vec![1, 0];
            bytes.extend(control.to_le_bytes());
            bytes.extend([0, 0, sacl, dacl].iter().flat_map(|word| word.to_le_bytes()));
            bytes
        };
        assert_eq!(Sddl::parse(&head(0x8000, 0, 0)).unwrap().to_string(), "");
        assert_eq!(Sddl::parse(&head(0x8004, 0, 0)).unwrap().to_string(), "D:NO_ACCESS_CONTROL");
        let empty = [&head(0x8404, 0, 20)[..], &[2, 0, 8, 0, 0, 0, 0, 0]].concat();
        assert_eq!(Sddl::parse(&empty).unwrap().to_string(), "D:AI");
        #[rustfmt::skip]
        let label = [
            2, 0, 28, 0, 1, 0, 0, 0,
            0x11, 0, 20, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 16, 0, 0x30, 0, 0,
        ];
        assert_eq!(Sddl::parse(&[&head(0xA010, 20, 0)[..], &label].concat()).unwrap().to_string(), "S:P(ML;;NW;;;HI)");
    }

    #[test]
    fn entries_that_are_more_than_mask_and_identifier_are_kept_as_bytes() {
        #[rustfmt::skip]
        let list = [
            1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,
            2, 0, 32, 0, 1, 0, 0, 0,
            0, 0, 24, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, 0xAB, 0xCD, 0xEF, 1,
        ];
        assert_eq!(Sddl::parse(&list).unwrap().to_string(), "D:(0x00;;01000000010100000000000512000000abcdef01)");
    }

    #[test]
    fn damage_is_no_descriptor_and_no_panic() {
        let good = sample();
        for len in 0..good.len() {
            assert_eq!(Sddl::parse(&good[..len]), None, "{len}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _ = Sddl::parse(&bad);
            }
        }
    }
}
