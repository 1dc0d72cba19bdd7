//! What a differencing disk says about the disk that it lies on.

use uuid::Uuid;

use super::ondisk;
use crate::base::{Name, ReadAt};

/// No path of Windows is longer, in bytes of UTF-16.
const MAX_PATH: u32 = 0x1_0000;

/// The disk below a differencing one, as that one knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The unique id in the parent's footer, taken as [`Footer::id`](super::Footer::id) is.
    pub id: Uuid,
    /// When the parent was last written, in seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
    /// The parent's file name; some programs put a whole path here.
    pub name: Name,
    /// Paths from the child's folder, as Windows writes them (locators `W2ru`).
    pub relative: Vec<Name>,
    /// Absolute paths, as Windows writes them (locators `W2ku`).
    pub absolute: Vec<Name>,
}

impl Parent {
    /// Reads the locators that a header names. One that cannot be read is left out: the others may do.
    pub(super) fn read(file: &impl ReadAt, header: &ondisk::Header) -> Self {
        let mut parent = Self {
            id: Uuid::from_bytes(header.parent_id),
            timestamp: header.parent_timestamp.get(),
            name: unpadded(header.parent_name.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit))),
            relative: Vec::new(),
            absolute: Vec::new(),
        };
        for locator in &header.parent_locators {
            let paths = match locator.platform {
                ondisk::PLATFORM_RELATIVE => &mut parent.relative,
                ondisk::PLATFORM_ABSOLUTE => &mut parent.absolute,
                _ => continue,
            };
            paths.extend(read_path(file, locator));
        }
        parent
    }
}

/// The path of a locator. Its units are little-endian, alone among what a VHD holds.
fn read_path(file: &impl ReadAt, locator: &ondisk::Locator) -> Option<Name> {
    let len = locator.data_length.get();
    if len > MAX_PATH {
        return None;
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(locator.data_offset.get(), &mut bytes).ok()?;
    let path = unpadded(bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)));
    (!path.is_empty()).then_some(path)
}

/// The text before the first NUL.
fn unpadded(units: impl Iterator<Item = u16>) -> Name {
    Name::new(units.take_while(|unit| *unit != 0).collect::<Box<[u16]>>())
}
