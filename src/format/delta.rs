//! Packed files of Windows' component store: what is around a delta or compressed blocks, by the first four bytes.
//!
//! | begins with | is | read |
//! |---|---|---|
//! | `DCM\x01` | a delta against the *base manifest*, which is a resource of `wcp.dll`: manifests | yes |
//! | `DCN\x01` | a delta against nothing: updates' payload | yes |
//! | `DCS\x01` | LZMS in blocks: payload that is not in use | yes |
//! | `DCD\x01` | a delta against another version of the file, behind 8 bytes that say which | no: named |
//! | `DCH\x01`, `DCX\x01` | a header without contents; nobody knows | no: named |
//! | anything else | the file itself | as it is |
//!
//! All numbers of DCS are little-endian, of 32 bits:
//!
//! ```text
//! 4   count of blocks
//! 8   size of the file
//! 12  blocks: length of what follows of this block (a number and the data), size of the data when unpacked, data
//! ```
//!
//! Data that is as long as what comes out is stored, as in WIM files. Deltas are those of [`codec::pa30`](crate::codec::pa30).
//!
//! # Limits
//! The caller's, for what comes out; DCS in blocks of up to 1 GiB, and no more of them than there are times 4 KiB in the file, so that the time is linear
//! in its size.
//!
//! # Sources
//! The signatures and the layout of DCS are those of SXSEXP by hfiref0x. Manifests by Windows 10; DCS is made by nobody but Windows, and what the
//! tests unpack are chunks of LZMS by wimlib in blocks of their own.

use std::borrow::Cow;

use crate::base::bytes::u32_at;
use crate::codec::{lzms, pa30};
use crate::error::{Context, Error, Result};

/// The kinds of packed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AgainstBase,
    AgainstNothing,
    AgainstOther,
    Blocks,
    HeaderOnly,
    Unknown,
}

impl Kind {
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.first_chunk::<4>()? {
            b"DCM\x01" => Some(Self::AgainstBase),
            b"DCN\x01" => Some(Self::AgainstNothing),
            b"DCD\x01" => Some(Self::AgainstOther),
            b"DCS\x01" => Some(Self::Blocks),
            b"DCH\x01" => Some(Self::HeaderOnly),
            b"DCX\x01" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// Behind the signature.
const DATA_AT: usize = 4;
const FIRST_BLOCK_AT: usize = 12;
/// In front of a block's data.
const BLOCK_HEADER_LEN: usize = 8;
/// Each block starts anew, with all its tables.
const SMALLEST_BLOCKS: usize = 4096;

/// Whether a file is packed.
pub fn is_packed(bytes: &[u8]) -> bool {
    Kind::of(bytes).is_some()
}

/// The file itself, of up to `limit` bytes; `base` is the base manifest, if there is one.
///
/// # Errors
/// `Corrupt` or `Truncated` for what is no packed file but begins like one; `Unsupported` for kinds that cannot be unpacked, for a packed manifest without a
/// base, and for more than `limit` bytes.
pub fn unpack<'a>(bytes: &'a [u8], base: Option<&[u8]>, limit: usize) -> Result<Cow<'a, [u8]>> {
    let Some(kind) = Kind::of(bytes) else { return Ok(Cow::Borrowed(bytes)) };
    let delta = &bytes[DATA_AT..];
    match kind {
        Kind::AgainstBase => {
            let base = base.ok_or_else(|| {
                Error::unsupported("a packed manifest (DCM) without the base manifest that it is packed against")
                    .hint("the base manifest is in wcp.dll of the servicing stack, in Windows\\WinSxS\\*_microsoft-windows-servicingstack_*: give one with --servicing-stack")
            })?;
            pa30::apply(base, delta, limit).context(|| "packed manifest (DCM)").map(Cow::Owned)
        }
        Kind::AgainstNothing => pa30::apply(&[], delta, limit).context(|| "packed file (DCN)").map(Cow::Owned),
        Kind::Blocks => unpack_blocks(bytes, limit).context(|| "packed file (DCS)").map(Cow::Owned),
        Kind::AgainstOther => Err(Error::unsupported("a file packed as the difference to another version of it (DCD)")),
        Kind::HeaderOnly => Err(Error::unsupported("a packed file without contents (DCH)")),
        Kind::Unknown => Err(Error::unsupported("a file packed in an unknown way (DCX)")),
    }
}

fn unpack_blocks(bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
    let number = |at: usize| {
        let number = u32_at(bytes, at).ok_or_else(|| Error::truncated("a block's header").at(at as u64))?;
        Ok::<_, Error>(number as usize)
    };
    let (count, size) = (number(4)?, number(8)?);
    if size > limit {
        return Err(Error::unsupported("size of the file").at(8).found(size).allowed(limit));
    }
    if count > size.div_ceil(SMALLEST_BLOCKS) {
        return Err(Error::corrupt("count of blocks").at(4).found(count).allowed(size.div_ceil(SMALLEST_BLOCKS)));
    }
    let mut decoder = lzms::Decoder::new();
    let (mut out, mut at) = (Vec::new(), FIRST_BLOCK_AT);
    for _ in 0..count {
        let (len, unpacked) = (number(at)?, number(at + 4)?);
        if unpacked > size - out.len() {
            return Err(Error::corrupt("size of a block").at(at as u64 + 4).found(unpacked).allowed(size - out.len()));
        }
        let end = at.checked_add(4).and_then(|start| start.checked_add(len));
        let data = end.and_then(|end| bytes.get(at + BLOCK_HEADER_LEN..end));
        let data = data.ok_or_else(|| Error::truncated("length of a block").at(at as u64).found(len))?;
        match data.len() == unpacked {
            true => out.extend_from_slice(data),
            false => {
                let before = out.len();
                out.resize(before + unpacked, 0);
                let block = &mut out[before..];
                decoder.decode(data, block).map_err(|e| Error::from(e).at((at + BLOCK_HEADER_LEN) as u64))?;
            }
        }
        at += 4 + len;
    }
    match out.len() == size {
        true => Ok(out),
        false => Err(Error::corrupt("size of the file")
            .at(8)
            .found(size)
            .allowed(format_args!("{}, the sum of its blocks", out.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind as ErrorKind;

    /// A chunk by wimlib, and what was in it.
    const LZMS: &[u8] = include_bytes!("../../tests/data/lzms/few.lzms");

    fn few() -> Vec<u8> {
        b"few, few, few".repeat(5)
    }

    fn dcs(size: usize, blocks: &[(&[u8], usize)]) -> Vec<u8> {
        let mut bytes = [b"DCS\x01", &(blocks.len() as u32).to_le_bytes()[..], &(size as u32).to_le_bytes()].concat();
        for (data, unpacked) in blocks {
            bytes.extend_from_slice(&(data.len() as u32 + 4).to_le_bytes());
            bytes.extend_from_slice(&(*unpacked as u32).to_le_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    /// What is in [`two_blocks`].
    fn file() -> Vec<u8> {
        [&few()[..], &[7; 5000]].concat()
    }

    fn two_blocks() -> Vec<u8> {
        dcs(file().len(), &[(LZMS, few().len()), (&[7; 5000], 5000)])
    }

    #[test]
    fn plain_files_are_what_they_are() {
        for bytes in [&b""[..], b"DCM", b"<?xml version=\"1.0\"?>", b"MZ", b"DCM\x02PA30"] {
            assert!(!is_packed(bytes));
            assert!(matches!(unpack(bytes, None, 0).unwrap(), Cow::Borrowed(same) if same == bytes));
        }
    }

    #[test]
    fn blocks_follow_each_other() {
        assert!(is_packed(&two_blocks()));
        assert_eq!(unpack(&two_blocks(), None, file().len()).unwrap(), file());
        assert!(unpack(&dcs(0, &[]), None, 0).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        for (bytes, words) in [
            (&b"DCM\x01PA30"[..], "without the base manifest"),
            (b"DCD\x01\0\0\0\0\0\0\0\0PA30", "another version"),
            (b"DCH\x01", "without contents"),
            (b"DCX\x01", "unknown"),
        ] {
            let error = unpack(bytes, None, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(unpack(b"DCM\x01PA30", None, 0).unwrap_err().hint_text().unwrap().contains("--servicing-stack"));
        assert_eq!(unpack(&two_blocks(), None, file().len() - 1).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn damage_is_an_error() {
        let good = two_blocks();
        for len in 4..good.len() {
            assert!(unpack(&good[..len], None, 1 << 20).is_err(), "{len}");
        }
        for bit in 32..96 + 64 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A block that says to be longer or shorter takes something of the next; the sum is wrong, or it does not decode.
            assert!(unpack(&bytes, None, 1 << 20).is_err(), "{bit}");
        }
        let (other, rest) = ([7; 5000], file().len() - few().len());
        for blocks in [
            &[(LZMS, few().len())][..],
            &[(LZMS, few().len()), (&other, rest), (b"", 0)],
            &[(&LZMS[1..], few().len()), (&other, rest)],
        ] {
            assert!(unpack(&dcs(file().len(), blocks), None, 1 << 20).is_err());
        }
    }
}
