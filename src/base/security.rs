//! Security descriptors made from their parts, in the self-relative form that NTFS and the registry store (MS-DTYP 2.4).

/// A security identifier: an authority and its sub-authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sid<'a> {
    /// 1 world, 3 creator, 5 NT.
    pub authority: u8,
    /// The numbers behind it.
    pub parts: &'a [u32],
}

impl<'a> Sid<'a> {
    /// `S-1-5-18`: the operating system.
    pub const LOCAL_SYSTEM: Sid<'static> = Sid::nt(&[18]);
    /// `S-1-5-32-544`.
    pub const ADMINISTRATORS: Sid<'static> = Sid::nt(&[32, 544]);
    /// `S-1-5-32-545`.
    pub const USERS: Sid<'static> = Sid::nt(&[32, 545]);
    /// The service that owns the files of Windows.
    pub const TRUSTED_INSTALLER: Sid<'static> =
        Sid::nt(&[80, 956_008_885, 3_418_522_649, 1_831_038_044, 1_853_292_631, 2_271_478_464]);

    /// `S-1-5-…`, at most 15 parts.
    pub const fn nt(parts: &'a [u32]) -> Self {
        Self { authority: 5, parts }
    }

    /// Revision, count, authority (48 bits, big-endian), sub-authorities (little-endian).
    pub fn to_bytes(self) -> Vec<u8> {
        let head = [1, self.parts.len() as u8, 0, 0, 0, 0, 0, self.authority];
        head.into_iter().chain(self.parts.iter().flat_map(|part| part.to_le_bytes())).collect()
    }
}

/// Access masks of files and directories.
pub mod mask {
    /// Everything.
    pub const FULL: u32 = 0x001F_01FF;
    /// Read and run.
    pub const READ_AND_RUN: u32 = 0x0012_00A9;
    /// Read.
    pub const READ: u32 = 0x0012_0089;
    /// Read and write.
    pub const READ_AND_WRITE: u32 = 0x0012_019F;
}

/// Flags of an access control entry: children of both kinds inherit it.
pub const INHERIT: u8 = 0x03;

/// A descriptor that allows; nothing that this program makes needs to deny or to audit.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<'a> {
    /// The owner.
    pub owner: Sid<'a>,
    /// The primary group.
    pub group: Sid<'a>,
    /// Whether entries of the parent are kept out.
    pub protected: bool,
    /// Who may do what: identifier, access mask, entry flags.
    pub allow: &'a [(Sid<'a>, u32, u8)],
}

impl Descriptor<'_> {
    /// The self-relative bytes, in the order of those that Windows makes when it formats: head, list, owner, group.
    pub fn to_bytes(&self) -> Vec<u8> {
        const SELF_RELATIVE: u16 = 0x8000;
        const DACL_PROTECTED: u16 = 0x1000;
        const DACL_PRESENT: u16 = 0x0004;
        const ACL_REVISION: u8 = 2;
        const HEAD: usize = 20;
        let control = SELF_RELATIVE | DACL_PRESENT | if self.protected { DACL_PROTECTED } else { 0 };
        let entries: Vec<u8> =
            self.allow.iter().flat_map(|&(sid, mask, flags)| allow_entry(&sid.to_bytes(), mask, flags)).collect();
        let (owner, group) = (self.owner.to_bytes(), self.group.to_bytes());
        let owner_at = HEAD + 8 + entries.len();

        let mut bytes = vec![1, 0];
        bytes.extend(control.to_le_bytes());
        for offset in [owner_at, owner_at + owner.len(), 0, HEAD] {
            bytes.extend((offset as u32).to_le_bytes());
        }
        bytes.extend([ACL_REVISION, 0]);
        for number in [8 + entries.len(), self.allow.len(), 0] {
            bytes.extend((number as u16).to_le_bytes());
        }
        bytes.extend(entries);
        bytes.extend(owner);
        bytes.extend(group);
        bytes
    }
}

fn allow_entry(sid: &[u8], mask: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0, flags];
    bytes.extend((8 + sid.len() as u16).to_le_bytes());
    bytes.extend(mask.to_le_bytes());
    bytes.extend(sid);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_a_descriptor_out_as_windows_does() {
        let read = |sid| (sid, mask::READ, 0);
        let descriptor = Descriptor {
            owner: Sid::ADMINISTRATORS,
            group: Sid::ADMINISTRATORS,
            protected: false,
            allow: &[read(Sid::LOCAL_SYSTEM), read(Sid::ADMINISTRATORS)],
        };
        // Security id 0x100 of a volume formatted by Windows 10.
        #[rustfmt::skip]
        let windows = [
            0x01, 0, 0x04, 0x80, 0x48, 0, 0, 0, 0x58, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 2, 0, 0x34, 0, 2, 0, 0, 0,
            0, 0, 0x14, 0, 0x89, 0, 0x12, 0, 1, 1, 0, 0, 0, 0, 0, 5, 0x12, 0, 0, 0,
            0, 0, 0x18, 0, 0x89, 0, 0x12, 0, 1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0,
            1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0, 1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0,
        ];
        assert_eq!(descriptor.to_bytes(), windows);
        let protected = Descriptor { protected: true, ..descriptor }.to_bytes();
        assert_eq!(protected[2..4], [0x04, 0x90]);
    }
}
