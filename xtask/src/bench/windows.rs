//! What a Windows volume has that a folder of files lacks: descriptors and short names.

use std::collections::BTreeMap;

/// How many different security descriptors there are.
pub(super) const DESCRIPTORS: u64 = 30;

/// A self-relative security descriptor, the `number`th of its kind: all of Windows' usual entries, and one for a service.
pub(super) fn descriptor(number: u32) -> Vec<u8> {
    const SELF_RELATIVE_WITH_DACL: u16 = 0x8004;
    const HEADER: u32 = 20;
    const FULL: u32 = 0x001F_01FF;
    const READ_AND_RUN: u32 = 0x0012_00A9;
    let system = sid(&[18]);
    let trusted_installer = sid(&[80, 956_008_885, 3_418_522_649, 1_831_038_044, 1_853_292_631, 2_271_478_464]);
    let service = sid(&[80, 1000 + number, 2, 3, 4, 5]);
    let entries = [
        ace(FULL, &trusted_installer),
        ace(READ_AND_RUN, &sid(&[32, 544])),
        ace(READ_AND_RUN, &system),
        ace(READ_AND_RUN, &sid(&[32, 545])),
        ace(READ_AND_RUN, &service),
    ];
    let acl_len = 8 + entries.iter().map(Vec::len).sum::<usize>();
    let owner_at = HEADER + acl_len as u32;
    let group_at = owner_at + trusted_installer.len() as u32;
    let mut bytes = vec![1, 0];
    bytes.extend(SELF_RELATIVE_WITH_DACL.to_le_bytes());
    bytes.extend([owner_at, group_at, 0, HEADER].iter().flat_map(|at| at.to_le_bytes()));
    bytes.extend([2, 0]);
    bytes.extend([acl_len as u16, entries.len() as u16, 0].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend(entries.iter().flatten());
    bytes.extend(&trusted_installer);
    bytes.extend(&trusted_installer);
    bytes
}

/// An SID of the authority NT.
fn sid(parts: &[u32]) -> Vec<u8> {
    let mut bytes = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, 5];
    bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    bytes
}

/// An entry that allows `mask`.
fn ace(mask: u32, sid: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((8 + sid.len() as u16).to_le_bytes());
    bytes.extend(mask.to_le_bytes());
    bytes.extend(sid);
    bytes
}

/// The 8.3 name of a file, unlike those of its folder that `taken` counts; `None` if it needs none.
pub(super) fn short_name(name: &str, taken: &mut BTreeMap<String, u32>) -> Option<String> {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    if (1..=8).contains(&stem.len()) && extension.len() <= 3 && stem.chars().chain(extension.chars()).all(|c| plain(&c))
    {
        return None;
    }
    let upper = |text: &str, len| text.to_uppercase().chars().filter(plain).take(len).collect::<String>();
    let mut start = upper(stem, 2);
    if start.is_empty() {
        start.push('_');
    }
    let extension = upper(extension, 3);
    let dot = if extension.is_empty() { "" } else { "." };
    let count = taken.entry(format!("{start}.{extension}")).or_default();
    *count += 1;
    Some(format!("{start}~{count}{dot}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_unlike_each_other() {
        let mut taken = BTreeMap::new();
        let mut short = |name| short_name(name, &mut taken);
        assert_eq!(short("kernel32.dll"), None);
        assert_eq!(short("kernelbase.dll").as_deref(), Some("KE~1.DLL"));
        assert_eq!(short("kernel.appcore.dll").as_deref(), Some("KE~2.DLL"));
        assert_eq!(short("__init__.py"), None);
        assert_eq!(short(".hidden").as_deref(), Some("_~1.HID"));
        assert_eq!(short("no extension").as_deref(), Some("NO~1"));
    }

    #[test]
    fn descriptors_differ_and_are_whole() {
        let all: Vec<_> = (0..DESCRIPTORS as u32).map(descriptor).collect();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1] && pair[0].len() == pair[1].len()));
        let at = |field: usize| u32::from_le_bytes(all[0][field..field + 4].try_into().unwrap()) as usize;
        assert_eq!(all[0][at(4)..at(8)], all[0][at(8)..]);
        assert_eq!(usize::from(u16::from_le_bytes(all[0][22..24].try_into().unwrap())), at(4) - 20);
    }
}
