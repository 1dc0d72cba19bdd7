//! What a Windows volume has that a folder of files lacks: descriptors and short names.

use std::collections::BTreeMap;

use nanovhd::base::security::{Descriptor, Sid, mask};

/// How many different security descriptors there are.
pub(super) const DESCRIPTORS: u64 = 30;

/// A self-relative security descriptor, the `number`th of its kind: all of Windows' usual entries, and one for a service.
pub(super) fn descriptor(number: u32) -> Vec<u8> {
    let service = [80, 1000 + number, 2, 3, 4, 5];
    let allow = [
        (Sid::TRUSTED_INSTALLER, mask::FULL, 0),
        (Sid::ADMINISTRATORS, mask::READ_AND_RUN, 0),
        (Sid::LOCAL_SYSTEM, mask::READ_AND_RUN, 0),
        (Sid::USERS, mask::READ_AND_RUN, 0),
        (Sid::nt(&service), mask::READ_AND_RUN, 0),
    ];
    let owner = Sid::TRUSTED_INSTALLER;
    Descriptor { owner, group: owner, protected: false, allow: &allow }.to_bytes()
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
