//! What a differencing disk says about the disk that it lies on.

use uuid::Uuid;
use zerocopy::{FromBytes, IntoBytes};

use super::ondisk;
use crate::base::Name;
use crate::error::{Error, Result};

/// Hyper-V writes five pairs of key and value; a locator may be 1 MiB long, and could hold some ten thousand.
const MAX_PAIRS: usize = 256;

/// No path of Windows is longer, in UTF-16 units; nor has a pair room for more.
const MAX_PATH: usize = 0x7FFF;

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

    /// The pairs of key and value, all that there are.
    fn pairs(&self) -> Vec<(&'static str, Name)> {
        let linkage = ["parent_linkage", "parent_linkage2"].into_iter().zip(&self.linkage);
        let linkage = linkage.map(|(key, id)| (key, Name::from(id.braced().to_string().as_str())));
        let paths =
            [("relative_path", &self.relative), ("volume_path", &self.volume), ("absolute_win32_path", &self.absolute)];
        let paths = paths.into_iter().filter_map(|(key, path)| path.clone().map(|path| (key, path)));
        linkage.chain(paths).collect()
    }

    /// Refuses what a locator cannot say, or what leads nowhere.
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=2).contains(&self.linkage.len()) {
            return Err(Error::invalid("linkage of a VHDX's parent").found(self.linkage.len()).allowed("1 or 2 GUIDs"));
        }
        let paths: Vec<&Name> = [&self.relative, &self.volume, &self.absolute].into_iter().flatten().collect();
        if paths.is_empty() {
            return Err(Error::invalid("a VHDX's parent without a path"));
        }
        match paths.iter().find(|path| !(1..=MAX_PATH).contains(&path.len())) {
            Some(path) => Err(Error::invalid("path of a VHDX's parent")
                .found(format_args!("{} UTF-16 units", path.len()))
                .allowed(format_args!("1 to {MAX_PATH}"))),
            None => Ok(()),
        }
    }

    /// The parent locator that says this; [`check`](Self::check) has been passed.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let pairs = self.pairs();
        let header = ondisk::LocatorHeader {
            kind: ondisk::LOCATOR_VHDX.into(),
            reserved: 0.into(),
            pairs: (pairs.len() as u16).into(),
        };
        let mut table = header.as_bytes().to_vec();
        let texts_at = table.len() + pairs.len() * size_of::<ondisk::LocatorPair>();
        let mut texts = Vec::new();
        for (key, value) in &pairs {
            let (key, value) = (Name::from(*key).to_le_bytes(), value.to_le_bytes());
            let key_at = texts_at + texts.len();
            let pair = ondisk::LocatorPair {
                key_at: (key_at as u32).into(),
                value_at: ((key_at + key.len()) as u32).into(),
                key_len: (key.len() as u16).into(),
                value_len: (value.len() as u16).into(),
            };
            table.extend_from_slice(pair.as_bytes());
            texts.extend(key);
            texts.extend(value);
        }
        table.extend(texts);
        table
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
