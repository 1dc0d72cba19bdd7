//! What a partition holds, by the first sector of it.

use std::fmt;

use crate::base::ReadAt;
use crate::format::{fat, partitions};

/// What is at the start of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An NTFS volume.
    Ntfs,
    /// A FAT volume.
    Fat,
    /// A volume that is encrypted as a whole.
    BitLocker,
    /// A ReFS volume.
    ReFs,
    /// Zeros.
    Empty,
    /// Something else, or what cannot be read.
    Unknown,
}

/// Looks at the first sector of a partition.
pub fn content(partition: &dyn ReadAt) -> Content {
    let mut sector = [0; 512];
    if partition.read_at(0, &mut sector).is_err() {
        return Content::Unknown;
    }
    match &sector[3..11] {
        _ if partitions::is_ntfs(&sector) => Content::Ntfs,
        b"-FVE-FS-" => Content::BitLocker,
        b"ReFS\0\0\0\0" => Content::ReFs,
        _ if fat::is_fat(&sector) => Content::Fat,
        _ if sector.iter().all(|byte| *byte == 0) => Content::Empty,
        _ => Content::Unknown,
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ntfs => "an NTFS volume",
            Self::Fat => "a FAT volume",
            Self::BitLocker => "a BitLocker volume",
            Self::ReFs => "a ReFS volume",
            Self::Empty => "no volume",
            Self::Unknown => "no volume that is known",
        })
    }
}
