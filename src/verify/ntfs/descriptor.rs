//! Security descriptors in their self-relative form (MS-DTYP 2.4.6).

use crate::base::bytes::{u16_at, u32_at};

const HEAD: usize = 20;
const SELF_RELATIVE: u16 = 0x8000;
const SACL_PRESENT: u16 = 0x0010;
const DACL_PRESENT: u16 = 0x0004;
/// Sub-authorities of an identifier.
const MAX_PARTS: usize = 15;

/// What is wrong with a descriptor, in words.
pub(super) fn fault(bytes: &[u8]) -> Option<String> {
    check(bytes).err()
}

fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() < HEAD {
        return Err(format!("a descriptor of {} bytes", bytes.len()));
    }
    let control = u16_at(bytes, 2).unwrap_or(0);
    if bytes[0] != 1 || control & SELF_RELATIVE == 0 {
        return Err(format!("revision {} and control {control:#06x}", bytes[0]));
    }
    for (name, at) in [("owner", 4), ("group", 8)] {
        if let Some(offset) = offset(bytes, at, name)? {
            sid_len(&bytes[offset..]).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    for (name, at, present) in [("SACL", 12, SACL_PRESENT), ("DACL", 16, DACL_PRESENT)] {
        if let Some(offset) = offset(bytes, at, name)?.filter(|_| control & present != 0) {
            acl(&bytes[offset..]).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    Ok(())
}

/// A part's offset; `None` where the part is absent.
fn offset(bytes: &[u8], at: usize, name: &str) -> Result<Option<usize>, String> {
    let offset = u32_at(bytes, at).unwrap_or(0) as usize;
    match offset {
        0 => Ok(None),
        HEAD.. if offset < bytes.len() && offset.is_multiple_of(4) => Ok(Some(offset)),
        _ => Err(format!("{name} at {offset} of {} bytes", bytes.len())),
    }
}

fn sid_len(bytes: &[u8]) -> Result<usize, String> {
    let [revision, parts, ..] = *bytes else { return Err("an identifier cut off".to_owned()) };
    let len = 8 + 4 * usize::from(parts);
    if revision != 1 || usize::from(parts) > MAX_PARTS || len > bytes.len() {
        return Err(format!("an identifier of revision {revision} with {parts} parts in {} bytes", bytes.len()));
    }
    Ok(len)
}

fn acl(bytes: &[u8]) -> Result<(), String> {
    let (Some(len), Some(count)) = (u16_at(bytes, 2), u16_at(bytes, 4)) else {
        return Err("a list cut off".to_owned());
    };
    let revision = bytes[0];
    let Some(entries) = bytes.get(8..usize::from(len)).filter(|_| matches!(revision, 2..=4)) else {
        return Err(format!("a list of revision {revision} and {len} bytes"));
    };
    let mut rest = entries;
    for number in 1..=count {
        let len = u16_at(rest, 2).map_or(0, usize::from);
        let Some(entry) = rest.get(..len).filter(|_| len >= 8 && len.is_multiple_of(4)) else {
            return Err(format!("entry {number} of {count} with {len} bytes"));
        };
        // Allowed, denied, audit and alarm entries, those with a condition, and labels: a mask and an identifier.
        if matches!(entry[0], 0..=3 | 9 | 10 | 13 | 14 | 17..=20) {
            sid_len(&entry[8..]).map_err(|what| format!("entry {number}: {what}"))?;
        }
        rest = &rest[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::security::{Descriptor, INHERIT, Sid, mask};

    #[test]
    fn finds_what_is_cut_off_or_out_of_place() {
        let good = Descriptor {
            owner: Sid::ADMINISTRATORS,
            group: Sid::LOCAL_SYSTEM,
            protected: true,
            allow: &[(Sid::USERS, mask::READ, INHERIT), (Sid::LOCAL_SYSTEM, mask::FULL, 0)],
        }
        .to_bytes();
        assert_eq!(fault(&good), None);
        for len in 0..good.len() {
            assert!(fault(&good[..len]).is_some(), "{len} bytes");
        }
        for (at, byte) in [(0, 2), (3, 0), (4, 3), (5, 1), (16, 4), (20, 9), (22, 9), (24, 9), (30, 3), (37, 16)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(fault(&bad).is_some(), "byte {at}");
        }
    }
}
