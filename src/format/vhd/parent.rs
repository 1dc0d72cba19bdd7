//! What a differencing disk says about the disk that it lies on.

use uuid::Uuid;

use super::ondisk;
use crate::base::{Name, ReadAt};
use crate::error::{Error, Result};

/// No path of Windows is longer, in bytes of UTF-16.
pub(super) const MAX_PATH: u32 = 0x1_0000;

/// The disk below a differencing one, as that one knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Its paths, each with the code of its kind, in the order in which Windows tries them.
    pub(super) fn paths(&self) -> impl Iterator<Item = ([u8; 4], &Name)> {
        let relative = self.relative.iter().map(|path| (ondisk::PLATFORM_RELATIVE, path));
        relative.chain(self.absolute.iter().map(|path| (ondisk::PLATFORM_ABSOLUTE, path)))
    }

    /// Refuses one that there is no room for, or that nobody would find.
    pub(super) fn check(&self) -> Result<()> {
        let paths = self.relative.len() + self.absolute.len();
        if !(1..=ondisk::LOCATORS).contains(&paths) {
            return Err(Error::invalid("paths of a VHD's parent").found(paths).allowed("1 to 8"));
        }
        let longest = MAX_PATH as usize / 2;
        if let Some((_, path)) = self.paths().find(|(_, path)| !(1..=longest).contains(&path.len())) {
            return Err(Error::invalid("path of a VHD's parent")
                .found(format_args!("{} UTF-16 units", path.len()))
                .allowed(format_args!("1 to {longest}")));
        }
        if self.name.len() > ondisk::NAME_UNITS {
            return Err(Error::invalid("name of a VHD's parent")
                .found(format_args!("{} UTF-16 units", self.name.len()))
                .allowed(ondisk::NAME_UNITS));
        }
        Ok(())
    }

    /// The name as the header has it: big-endian, unlike the paths.
    pub(super) fn stored_name(&self) -> [u8; 2 * ondisk::NAME_UNITS] {
        let mut stored = [0; 2 * ondisk::NAME_UNITS];
        for (pair, unit) in stored.as_chunks_mut::<2>().0.iter_mut().zip(self.name.units()) {
            *pair = unit.to_be_bytes();
        }
        stored
    }

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
