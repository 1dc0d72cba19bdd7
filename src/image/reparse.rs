//! Where symbolic links and junctions lead (MS-FSCC 2.1.2.4 and 2.1.2.5).

use crate::base::Name;
use crate::base::bytes::{u16_at, u32_at};
use crate::error::Result;
use crate::tree::{Reparse, Tree};

/// `IO_REPARSE_TAG_MOUNT_POINT`: junctions, and volumes mounted in a directory.
pub const MOUNT_POINT: u32 = 0xA000_0003;
/// `IO_REPARSE_TAG_SYMLINK`.
pub const SYMLINK: u32 = 0xA000_000C;
/// `IO_REPARSE_TAG_LX_SYMLINK`: a symbolic link of the subsystem for Linux.
pub const LX_SYMLINK: u32 = 0xA000_001D;

/// Reparse data is at most 16 KiB long.
const LIMIT: u64 = 16 << 10;

/// What a reparse point is, as far as people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A junction or symbolic link to an absolute path, such as `C:\Users`, or a volume mounted in a directory.
    Absolute(String),
    /// A symbolic link that is relative to its own directory, parts separated by `\`.
    Relative(String),
    /// Anything else, by its tag.
    Other(u32),
}

impl Target {
    /// Reads what a reparse point says. Data that make no sense for their tag are [`Other`](Self::Other).
    pub fn read(tree: &Tree, reparse: &Reparse) -> Result<Self> {
        let known = matches!(reparse.tag, MOUNT_POINT | SYMLINK | LX_SYMLINK) && reparse.data.len() <= LIMIT;
        let data = if known { tree.read(&reparse.data)? } else { Vec::new() };
        Ok(Self::parse(reparse.tag, &data).unwrap_or(Self::Other(reparse.tag)))
    }

    fn parse(tag: u32, data: &[u8]) -> Option<Self> {
        const RELATIVE: u32 = 1;
        let (names, flags) = match tag {
            MOUNT_POINT => (8, 0),
            SYMLINK => (12, u32_at(data, 8)?),
            LX_SYMLINK => {
                // A version of 2, then the target in UTF-8.
                let target = String::from_utf8(data.get(4..)?.to_vec()).ok()?;
                let target = if target.starts_with('/') { return None } else { target.replace('/', r"\") };
                return (u32_at(data, 0)? == 2).then_some(Self::Relative(target));
            }
            _ => return None,
        };
        let text = |at: usize| {
            let start = usize::from(u16_at(data, at)?).checked_add(names)?;
            let bytes = data.get(start..start.checked_add(usize::from(u16_at(data, at + 2)?))?)?;
            Some(Name::from_le_bytes(bytes).to_string())
        };
        let (substitute, print) = (text(0)?, text(4)?);
        let shown =
            if print.is_empty() { substitute.strip_prefix(r"\??\").unwrap_or(&substitute).to_owned() } else { print };
        match (shown.is_empty(), flags & RELATIVE != 0) {
            (true, _) => None,
            // The print name is for people: it is the other one that Windows follows.
            (_, true) => Some(Self::Relative(if substitute.is_empty() { shown } else { substitute })),
            (_, false) => Some(Self::Absolute(shown)),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absolute(path) | Self::Relative(path) => f.write_str(path),
            Self::Other(tag) => match tag_name(*tag) {
                Some(name) => f.write_str(name),
                None => write!(f, "reparse tag {tag:#010x}"),
            },
        }
    }
}

/// The name of a tag (`ntifs.h`, MS-FSCC 2.1.2.1).
fn tag_name(tag: u32) -> Option<&'static str> {
    Some(match tag {
        MOUNT_POINT => "MOUNT_POINT",
        SYMLINK => "SYMLINK",
        LX_SYMLINK => "LX_SYMLINK",
        0x8000_0007 => "SIS",
        0x8000_0008 => "WIM",
        0x8000_0009 => "CSV",
        0x8000_000A => "DFS",
        0x8000_0013 => "DEDUP",
        0x8000_0014 => "NFS",
        0x8000_0017 => "WOF",
        0x8000_0018 => "WCI",
        0x8000_001B => "APPEXECLINK",
        0x8000_0023 => "AF_UNIX",
        0x9000_001A..=0x9000_F01A if tag & 0xFFF == 0x01A => "CLOUD",
        0xC000_0004 => "HSM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(flags: Option<u32>, substitute: &str, print: &str) -> Vec<u8> {
        let (substitute, print) = (Name::from(substitute).to_le_bytes(), Name::from(print).to_le_bytes());
        let mut data = Vec::new();
        for number in [0, substitute.len(), substitute.len(), print.len()] {
            data.extend((number as u16).to_le_bytes());
        }
        data.extend(flags.iter().flat_map(|flags| flags.to_le_bytes()));
        [data, substitute, print].concat()
    }

    #[test]
    fn reads_links_of_each_kind() {
        let junction = data(None, r"\??\C:\Users", r"C:\Users");
        assert_eq!(Target::parse(MOUNT_POINT, &junction), Some(Target::Absolute(r"C:\Users".into())));
        let unnamed = data(None, r"\??\Volume{1}\", "");
        assert_eq!(Target::parse(MOUNT_POINT, &unnamed), Some(Target::Absolute(r"Volume{1}\".into())));
        let relative = data(Some(1), r"..\a", r"..\shown");
        assert_eq!(Target::parse(SYMLINK, &relative), Some(Target::Relative(r"..\a".into())));
        let linux = [&2u32.to_le_bytes()[..], b"../x/y"].concat();
        assert_eq!(Target::parse(LX_SYMLINK, &linux), Some(Target::Relative(r"..\x\y".into())));
        assert_eq!(Target::Other(0x8000_0017).to_string(), "WOF");
        assert_eq!(Target::Other(7).to_string(), "reparse tag 0x00000007");
    }

    #[test]
    fn survives_hostile_data() {
        for (tag, good) in [(MOUNT_POINT, data(None, r"\??\C:\a", "a")), (SYMLINK, data(Some(1), "a", "b"))] {
            for len in 0..good.len() {
                assert_eq!(Target::parse(tag, &good[..len]), None);
            }
            for bit in 0..good.len() * 8 {
                let mut bytes = good.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let _ = Target::parse(tag, &bytes);
            }
        }
        assert_eq!(Target::parse(SYMLINK, &data(Some(0), "", "")), None);
        assert_eq!(Target::parse(LX_SYMLINK, &[2, 0, 0, 0, 0xFF]), None);
    }
}
