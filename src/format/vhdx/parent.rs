//! What a differencing disk says about the disk that it lies on.

use uuid::Uuid;
use zerocopy::FromBytes;

use super::ondisk;
use crate::base::Name;
use crate::error::{Error, Result};

/// Hyper-V writes five pairs of key and value; a locator may be 1 MiB long, and could hold some ten thousand.
const MAX_PAIRS: usize = 256;

/// The disk below a differencing one, as that one knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parent {
    /// What the parent's data write GUID may be: one, or two while the parent is being changed.
    pub linkage: Vec<Uuid>,
    /// The path from the child's folder, as Windows writes it.
    pub relative: Option<Name>,
    /// The path with the GUID of a volume, as Windows writes it.
    pub volume: Option<Name>,
    /// The path with a drive letter or of a share, as Windows writes it.
    pub absolute: Option<Name>,
}

impl Parent {
    /// Reads a parent locator.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let cut = || Error::truncated("VHDX parent locator").found(bytes.len());
        let (header, rest) = ondisk::LocatorHeader::read_from_prefix(bytes).map_err(|_| cut())?;
        if header.kind.get() != ondisk::LOCATOR_VHDX {
            return Err(Error::unsupported("VHDX parent locator: type").found(header.kind.get()));
        }
        let pairs = usize::from(header.pairs.get());
        if pairs > MAX_PAIRS {
            return Err(Error::unsupported("VHDX parent locator: pairs").found(pairs).allowed(MAX_PAIRS));
        }
        let (pairs, _) = <[ondisk::LocatorPair]>::ref_from_prefix_with_elems(rest, pairs).map_err(|_| cut())?;
        let text = |at: u32, len: u16| {
            let (at, len) = (at as usize, usize::from(len));
            bytes.get(at..at.checked_add(len)?).map(Name::from_le_bytes)
        };
        let mut parent = Self::default();
        for pair in pairs {
            let key = text(pair.key_at.get(), pair.key_len.get()).ok_or_else(cut)?;
            let value = text(pair.value_at.get(), pair.value_len.get()).ok_or_else(cut)?;
            match key.to_string().as_str() {
                "parent_linkage" | "parent_linkage2" => parent.linkage.push(parse_guid(&value)?),
                "relative_path" => parent.relative = Some(value),
                "volume_path" => parent.volume = Some(value),
                "absolute_win32_path" => parent.absolute = Some(value),
                _ => {} // what others may add is no obstacle
            }
        }
        if parent.linkage.is_empty() {
            return Err(Error::corrupt("VHDX parent locator: no parent_linkage"));
        }
        Ok(parent)
    }
}

/// A GUID in braces.
fn parse_guid(text: &Name) -> Result<Uuid> {
    let text = text.to_string();
    Uuid::try_parse(&text).map_err(|_| {
        Error::corrupt("VHDX parent locator: parent_linkage")
            .found(format_args!("{text:?}"))
            .allowed("a GUID in braces")
    })
}
