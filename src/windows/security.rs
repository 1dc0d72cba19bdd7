//! Security descriptors made from their parts, in the self-relative form that NTFS and the registry store.

/// A well-known security identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sid {
    /// `S-1-1-0`.
    Everyone,
    /// `S-1-3-0`: whoever made it.
    CreatorOwner,
    /// `S-1-5-11`.
    AuthenticatedUsers,
    /// `S-1-5-18`: the operating system.
    LocalSystem,
    /// `S-1-5-19`.
    LocalService,
    /// `S-1-5-20`.
    NetworkService,
    /// `S-1-5-32-544`.
    Administrators,
    /// `S-1-5-32-545`.
    Users,
    /// `S-1-5-80-956008885-…`: the service that owns the files of Windows.
    TrustedInstaller,
}

impl Sid {
    /// The binary form: revision, count, 48-bit authority (big-endian), sub-authorities.
    pub fn to_bytes(self) -> Vec<u8> {
        let (authority, rest): (u8, &[u32]) = match self {
            Self::Everyone => (1, &[0]),
            Self::CreatorOwner => (3, &[0]),
            Self::AuthenticatedUsers => (5, &[11]),
            Self::LocalSystem => (5, &[18]),
            Self::LocalService => (5, &[19]),
            Self::NetworkService => (5, &[20]),
            Self::Administrators => (5, &[32, 544]),
            Self::Users => (5, &[32, 545]),
            Self::TrustedInstaller => {
                (5, &[80, 956_008_885, 3_418_522_649, 1_831_038_044, 1_853_292_631, 2_271_478_464])
            }
        };
        let head = [1, rest.len() as u8, 0, 0, 0, 0, 0, authority];
        head.into_iter().chain(rest.iter().flat_map(|part| part.to_le_bytes())).collect()
    }
}

/// Access masks of files and directories.
pub mod mask {
    /// Everything.
    pub const FULL: u32 = 0x001F_01FF;
    /// Read, write, run, delete.
    pub const MODIFY: u32 = 0x0013_01BF;
    /// Read and run.
    pub const READ: u32 = 0x0012_00A9;
}

/// Flags of an access control entry: children of both kinds inherit it.
pub const INHERIT: u8 = 0x03;

/// A descriptor that allows; nothing that this program makes needs to deny or to audit.
#[derive(Debug, Clone)]
pub struct Descriptor<'a> {
    /// The owner.
    pub owner: Sid,
    /// The primary group.
    pub group: Sid,
    /// Whether entries of the parent are kept out.
    pub protected: bool,
    /// Who may do what: identifier, access mask, entry flags.
    pub allow: &'a [(Sid, u32, u8)],
}

impl Descriptor<'_> {
    /// The self-relative bytes (MS-DTYP 2.4.6): header, owner, group, discretionary list.
    pub fn to_bytes(&self) -> Vec<u8> {
        const SELF_RELATIVE: u16 = 0x8000;
        const DACL_PROTECTED: u16 = 0x1000;
        const DACL_PRESENT: u16 = 0x0004;
        let owner = self.owner.to_bytes();
        let group = self.group.to_bytes();
        let entries: Vec<u8> =
            self.allow.iter().flat_map(|&(sid, mask, flags)| allow_entry(sid, mask, flags)).collect();
        let control = SELF_RELATIVE | DACL_PRESENT | if self.protected { DACL_PROTECTED } else { 0 };

        let mut bytes = vec![1, 0];
        bytes.extend(control.to_le_bytes());
        let owner_at = 20;
        let group_at = owner_at + owner.len();
        let dacl_at = group_at + group.len();
        for offset in [owner_at, group_at, 0, dacl_at] {
            bytes.extend((offset as u32).to_le_bytes());
        }
        bytes.extend(owner);
        bytes.extend(group);
        bytes.extend([2, 0]); // ACL_REVISION
        bytes.extend((8 + entries.len() as u16).to_le_bytes());
        bytes.extend((self.allow.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(entries);
        bytes
    }
}

fn allow_entry(sid: Sid, mask: u32, flags: u8) -> Vec<u8> {
    let sid = sid.to_bytes();
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
    fn lays_a_descriptor_out_as_windows_reads_it() {
        let descriptor = Descriptor {
            owner: Sid::LocalSystem,
            group: Sid::Administrators,
            protected: true,
            allow: &[(Sid::Everyone, mask::READ, 0)],
        };
        // O:SYG:BAD:P(A;;0x1200a9;;;WD), assembled by hand after MS-DTYP 2.4.6.
        #[rustfmt::skip]
        let expected = [
            1, 0, 0x04, 0x90, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
            1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
            1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
            2, 0, 28, 0, 1, 0, 0, 0,
            0, 0, 20, 0, 0xA9, 0, 0x12, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
        ];
        assert_eq!(descriptor.to_bytes(), expected);
    }
}
