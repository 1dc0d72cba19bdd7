//! The security descriptor that a new file gets from its directory (MS-DTYP 2.5.3.4, "Algorithm for Creating a Security
//! Descriptor"), where its maker names none.
//!
//! ```text
//! entry of the directory        on a new file             on a new directory
//! OI                            applies                   is passed on, does not apply (IO)
//! CI                            -                         applies and is passed on
//! OI CI                         applies                   applies and is passed on
//! with NP                       as above                  applies (if CI), is not passed on
//! ```
//!
//! Entries for CREATOR OWNER and CREATOR GROUP, and those with generic rights, apply with the new file's owner and group and with
//! the rights of files; what is passed on keeps them as they are. Everything inherited is marked so.

use super::bytes::{u16_at, u32_at};
use super::security::{Descriptor, Sid, mask};

/// Flags of an entry.
mod flag {
    /// Files inherit it.
    pub(super) const OBJECT: u8 = 0x01;
    /// Directories inherit it.
    pub(super) const CONTAINER: u8 = 0x02;
    /// Children do not pass it on.
    pub(super) const NO_PROPAGATE: u8 = 0x04;
    /// It does not apply where it stands.
    pub(super) const INHERIT_ONLY: u8 = 0x08;
    /// It came from above.
    pub(super) const INHERITED: u8 = 0x10;
    /// Those that say how it is inherited.
    pub(super) const ALL: u8 = 0x1F;
}

const SELF_RELATIVE: u16 = 0x8000;
const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
const DACL_AUTO_INHERITED: u16 = 0x0400;
const SACL_AUTO_INHERITED: u16 = 0x0800;

const HEAD: usize = 20;
const LIST_HEAD: usize = 8;
const ENTRY_HEAD: usize = 4;

const CREATOR_OWNER: Sid<'static> = Sid { authority: 3, parts: &[0] };
const CREATOR_GROUP: Sid<'static> = Sid { authority: 3, parts: &[1] };
/// Who owns what the operating system makes, and of which group it is: `O:BAG:SY`.
const OWNER: Sid<'static> = Sid::ADMINISTRATORS;
const GROUP: Sid<'static> = Sid::LOCAL_SYSTEM;

/// What a file or directory made by the operating system in a directory with the descriptor `parent` gets.
///
/// Its owner is Administrators, its group SYSTEM. Where nothing is to be inherited, SYSTEM and Administrators get everything, which
/// is what the system's token gives by default. `None` if `parent` is no sound self-relative descriptor.
pub fn inherit(parent: &[u8], is_directory: bool) -> Option<Vec<u8>> {
    let control = u16_at(parent, 2).filter(|control| parent[0] == 1 && control & SELF_RELATIVE != 0)?;
    let list = |present: u16, at: usize| -> Option<Option<List>> {
        match u32_at(parent, at)? as usize {
            offset if control & present != 0 && offset != 0 => List::inherited(parent, offset, is_directory).map(Some),
            _ => Some(None),
        }
    };
    let system = list(SACL_PRESENT, 12)?.filter(|list| list.count > 0);
    let Some(access) = list(DACL_PRESENT, 16)?.filter(|list| list.count > 0) else {
        let all = [(Sid::LOCAL_SYSTEM, mask::FULL, 0), (Sid::ADMINISTRATORS, mask::FULL, 0)];
        return Some(Descriptor { owner: OWNER, group: GROUP, protected: false, allow: &all }.to_bytes());
    };
    Some(assemble(system, &access))
}

/// Head, system list, access list, owner, group: the order in which Windows lays them out.
fn assemble(system: Option<List>, access: &List) -> Vec<u8> {
    let system_control = if system.is_some() { SACL_PRESENT | SACL_AUTO_INHERITED } else { 0 };
    let control = SELF_RELATIVE | DACL_PRESENT | DACL_AUTO_INHERITED | system_control;
    let system = system.map(|list| list.to_bytes()).unwrap_or_default();
    let access = access.to_bytes();
    let (owner, group) = (OWNER.to_bytes(), GROUP.to_bytes());
    let access_at = HEAD + system.len();
    let owner_at = access_at + access.len();
    let mut bytes = vec![1, 0];
    bytes.extend(control.to_le_bytes());
    for offset in [owner_at, owner_at + owner.len(), if system.is_empty() { 0 } else { HEAD }, access_at] {
        bytes.extend((offset as u32).to_le_bytes());
    }
    for part in [system, access, owner, group] {
        bytes.extend(part);
    }
    bytes
}

/// An access control list in the making.
struct List {
    revision: u8,
    count: u16,
    entries: Vec<u8>,
}

impl List {
    /// What is inherited of the list at `at`.
    fn inherited(descriptor: &[u8], at: usize, is_directory: bool) -> Option<Self> {
        let head = descriptor.get(at..at.checked_add(LIST_HEAD)?)?;
        let list = descriptor.get(at..at.checked_add(usize::from(u16_at(head, 2)?))?)?;
        let mut made = Self { revision: head[0], count: 0, entries: Vec::new() };
        let mut rest = list.get(LIST_HEAD..)?;
        for _ in 0..u16_at(head, 4)? {
            let len = usize::from(u16_at(rest, 2)?);
            let entry = rest.get(..len).filter(|_| len >= ENTRY_HEAD)?;
            rest = rest.get(len..)?;
            made.inherit(entry, is_directory)?;
        }
        Some(made)
    }

    fn inherit(&mut self, entry: &[u8], is_directory: bool) -> Option<()> {
        let flags = entry[1];
        let others = flags & !flag::ALL; // of audit entries: what is audited
        let has = |bit: u8| flags & bit != 0;
        if !is_directory {
            return if has(flag::OBJECT) { self.push(&effective(entry), others | flag::INHERITED) } else { Some(()) };
        }
        let onwards = flags & (flag::OBJECT | flag::CONTAINER);
        let passes_on = onwards != 0 && !has(flag::NO_PROPAGATE);
        let applied = effective(entry);
        match (has(flag::CONTAINER), passes_on) {
            (true, true) if applied == entry => self.push(entry, others | onwards | flag::INHERITED),
            // What applies here is not what is to be passed on: two entries.
            (true, true) => {
                self.push(&applied, others | flag::INHERITED)?;
                self.push(entry, others | onwards | flag::INHERIT_ONLY | flag::INHERITED)
            }
            (true, false) => self.push(&applied, others | flag::INHERITED),
            (false, true) => self.push(entry, others | onwards | flag::INHERIT_ONLY | flag::INHERITED),
            (false, false) => Some(()),
        }
    }

    fn push(&mut self, entry: &[u8], flags: u8) -> Option<()> {
        let at = self.entries.len();
        self.entries.extend_from_slice(entry);
        self.entries[at + 1] = flags;
        self.count += 1;
        let fits = LIST_HEAD + self.entries.len() <= usize::from(u16::MAX);
        fits.then_some(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.revision, 0];
        for number in [(LIST_HEAD + self.entries.len()) as u16, self.count, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.entries);
        bytes
    }
}

/// The entry as it applies to a new file: with the rights of files instead of generic ones, and for its owner and group. Entries of
/// other kinds than allow, deny and audit are taken as they are.
fn effective(entry: &[u8]) -> Vec<u8> {
    const BASIC: [u8; 3] = [0, 1, 2];
    const SID_AT: usize = 8;
    let (Some(mask), Some(sid), true) = (u32_at(entry, 4), entry.get(SID_AT..), BASIC.contains(&entry[0])) else {
        return entry.to_vec();
    };
    let sid = match sid {
        sid if sid == CREATOR_OWNER.to_bytes() => OWNER.to_bytes(),
        sid if sid == CREATOR_GROUP.to_bytes() => GROUP.to_bytes(),
        sid => sid.to_vec(),
    };
    let mut made = vec![entry[0], entry[1]];
    made.extend((SID_AT as u16 + sid.len() as u16).to_le_bytes());
    made.extend(rights_of_files(mask).to_le_bytes());
    made.extend(sid);
    made
}

/// Generic rights replaced by what they mean for files (MS-DTYP 2.4.3; the generic mapping of files).
fn rights_of_files(mask: u32) -> u32 {
    const GENERIC: [(u32, u32); 4] =
        [(0x8000_0000, 0x0012_0089), (0x4000_0000, 0x0012_0116), (0x2000_0000, 0x0012_00A0), (0x1000_0000, mask::FULL)];
    GENERIC
        .iter()
        .fold(mask, |rights, (generic, files)| if rights & generic != 0 { rights & !generic | files } else { rights })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::security::INHERIT;

    fn descriptor(allow: &[(Sid<'_>, u32, u8)]) -> Vec<u8> {
        Descriptor { owner: Sid::TRUSTED_INSTALLER, group: Sid::TRUSTED_INSTALLER, protected: true, allow }.to_bytes()
    }

    /// The entries of a descriptor: identifier, mask, flags.
    fn entries(descriptor: &[u8]) -> Vec<(Vec<u8>, u32, u8)> {
        let at = u32_at(descriptor, 16).unwrap() as usize;
        let mut rest = &descriptor[at + LIST_HEAD..];
        let count = u16_at(descriptor, at + 4).unwrap();
        (0..count)
            .map(|_| {
                let (entry, behind) = rest.split_at(usize::from(u16_at(rest, 2).unwrap()));
                rest = behind;
                (entry[8..].to_vec(), u32_at(entry, 4).unwrap(), entry[1])
            })
            .collect()
    }

    const GENERIC_ALL: u32 = 0x1000_0000;

    #[test]
    fn files_and_directories_inherit_what_is_meant_for_them() {
        // The forms of entries that C:\Windows has.
        let parent = descriptor(&[
            (Sid::TRUSTED_INSTALLER, mask::FULL, 0),
            (Sid::TRUSTED_INSTALLER, GENERIC_ALL, flag::CONTAINER | flag::INHERIT_ONLY),
            (Sid::LOCAL_SYSTEM, GENERIC_ALL, INHERIT | flag::INHERIT_ONLY),
            (Sid::USERS, mask::READ_AND_RUN, INHERIT),
            (CREATOR_OWNER, GENERIC_ALL, INHERIT | flag::INHERIT_ONLY),
        ]);
        let file = inherit(&parent, false).unwrap();
        assert_eq!(u16_at(&file, 2), Some(SELF_RELATIVE | DACL_PRESENT | DACL_AUTO_INHERITED));
        let (system, users, owner) = (GROUP.to_bytes(), Sid::USERS.to_bytes(), OWNER.to_bytes());
        let installer = Sid::TRUSTED_INSTALLER.to_bytes();
        assert_eq!(
            entries(&file),
            [
                (system.clone(), mask::FULL, flag::INHERITED),
                (users.clone(), mask::READ_AND_RUN, flag::INHERITED),
                (owner.clone(), mask::FULL, flag::INHERITED),
            ]
        );
        let passed = flag::INHERITED | INHERIT | flag::INHERIT_ONLY;
        let container = flag::INHERITED | flag::CONTAINER | flag::INHERIT_ONLY;
        let folder = inherit(&parent, true).unwrap();
        assert_eq!(
            entries(&folder),
            [
                (installer.clone(), mask::FULL, flag::INHERITED),
                (installer, GENERIC_ALL, container),
                (system.clone(), mask::FULL, flag::INHERITED),
                (system, GENERIC_ALL, passed),
                (users, mask::READ_AND_RUN, flag::INHERITED | INHERIT),
                (owner, mask::FULL, flag::INHERITED),
                (CREATOR_OWNER.to_bytes(), GENERIC_ALL, passed),
            ]
        );
        // What a folder has inherited, a file in it inherits just so.
        assert_eq!(entries(&inherit(&folder, false).unwrap()), entries(&file));
    }

    #[test]
    fn entries_end_where_they_say() {
        let once = flag::NO_PROPAGATE;
        let parent = descriptor(&[
            (Sid::USERS, mask::READ, flag::OBJECT),
            (Sid::LOCAL_SYSTEM, mask::FULL, INHERIT | once),
            (Sid::ADMINISTRATORS, mask::FULL, flag::OBJECT | once),
        ]);
        let folder = entries(&inherit(&parent, true).unwrap());
        let users = flag::INHERITED | flag::OBJECT | flag::INHERIT_ONLY;
        assert_eq!(
            folder,
            [(Sid::USERS.to_bytes(), mask::READ, users), (Sid::LOCAL_SYSTEM.to_bytes(), mask::FULL, flag::INHERITED),]
        );
    }

    #[test]
    fn without_anything_to_inherit_the_system_and_administrators_rule() {
        let file = inherit(&descriptor(&[(Sid::USERS, mask::READ, 0)]), false).unwrap();
        let expected = [(GROUP.to_bytes(), mask::FULL, 0), (OWNER.to_bytes(), mask::FULL, 0)];
        assert_eq!(entries(&file), expected);
    }

    #[test]
    fn hostile_descriptors_are_refused_or_survived() {
        let good = descriptor(&[(Sid::USERS, mask::READ, INHERIT), (CREATOR_OWNER, GENERIC_ALL, INHERIT)]);
        for len in 0..good.len() {
            let _ = inherit(&good[..len], true);
        }
        assert_eq!(inherit(&[], true), None);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = (inherit(&bytes, true), inherit(&bytes, false));
        }
        assert!(inherit(&good, true).is_some());
    }
}
