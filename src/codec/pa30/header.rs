//! What a delta says about itself.

use super::MAGIC;
use super::bits::{Bits, TRUNCATED};
use crate::base::FileTime;
use crate::base::bytes::u64_at;
use crate::error::{Error, Result};

const BITS_AT: usize = 12;
/// A hash of the target has no more than 32 bytes (Microsoft, "DELTA_HASH structure").
const MAX_HASH_LEN: usize = 32;

/// The file types of Microsoft's "CreateDelta".
const RAW: u64 = 1;
const FILE_TYPES: [(u64, &str); 7] = [
    (0x02, "an i386 program"),
    (0x04, "an IA64 program"),
    (0x08, "an AMD64 program"),
    (0x10, "an i386 program with CLI 4"),
    (0x20, "an AMD64 program with CLI 4"),
    (0x40, "an ARM program with CLI 4"),
    (0x80, "an ARM64 program with CLI 4"),
];
/// In the set of file types: the delta undoes another.
const REVERSE: u64 = 0x100;

/// What a delta says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// When the target was last written to.
    pub time: FileTime,
    /// What kinds of files its maker reckoned with, and of which kind the source is.
    file_types: [u64; 2],
    /// How programs are transformed; of no meaning for others.
    pub flags: u64,
    /// How long the target is.
    pub target_len: u64,
    /// With which algorithm [`hash`](Self::hash) was made, by Windows' `ALG_ID`: 0 for none, 0x8003 for MD5, 0x8004 for SHA-1, 0x800C for SHA-256.
    pub hash_algorithm: u64,
    /// A hash of the target.
    pub hash: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header of a delta.
    ///
    /// # Errors
    /// `Corrupt` for what is none, `Unsupported` for kinds that cannot be applied.
    pub fn read(delta: &'a [u8]) -> Result<Self> {
        let (header, _) = Self::read_before(delta)?;
        Ok(header)
    }

    /// The header, and the bits behind it.
    pub(super) fn read_before(delta: &'a [u8]) -> Result<(Self, Bits<'a>)> {
        match delta.first_chunk::<4>() {
            Some(magic) if magic == MAGIC => {}
            Some(b"PA19") => return Err(Error::unsupported("a delta of the old kind, PA19")),
            Some(b"PA31") => return Err(Error::unsupported("a delta of a newer kind, PA31")),
            _ => return Err(Error::corrupt("a delta without its signature").at(0).allowed("PA30")),
        }
        let time = FileTime(u64_at(delta, 4).ok_or(TRUNCATED)?);
        let mut bits = Bits::new(delta.get(BITS_AT..).unwrap_or_default())?;
        let file_types = [bits.number()?, bits.number()?];
        let (flags, target_len, hash_algorithm) = (bits.number()?, bits.number()?, bits.number()?);
        let hash = bits.buffer()?;
        if hash.len() > MAX_HASH_LEN {
            return Err(Error::corrupt("hash of a delta's target").found(hash.len()).allowed("up to 32 bytes"));
        }
        let header = Self { time, file_types, flags, target_len, hash_algorithm, hash };
        header.check_kind()?;
        Ok((header, bits))
    }

    fn check_kind(&self) -> Result<()> {
        let [set, file_type] = self.file_types;
        if set & REVERSE != 0 {
            return Err(Error::unsupported("a delta that undoes another"));
        }
        if file_type == RAW {
            return Ok(());
        }
        let name = FILE_TYPES.iter().find(|(number, _)| *number == file_type);
        let what = name.map_or_else(|| format!("a file of type {file_type:#x}"), |(_, name)| (*name).to_owned());
        Err(Error::unsupported("what a delta is of").found(what).allowed("a file that is taken as it is (RAW)"))
    }
}
