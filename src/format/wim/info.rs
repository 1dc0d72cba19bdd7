//! What a WIM says about itself as a whole.

use serde::Serialize;

use super::Wim;
use super::ondisk::{VERSION_SOLID, header_flags};
use super::resource::Compression;

/// A WIM as `info` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Random by custom; the same in all parts.
    pub guid: String,
    /// The version as the header has it.
    pub version: String,
    /// The compression of resources that are not solid.
    pub compression: Compression,
    /// Its chunk size; 0 without compression.
    pub chunk_size: u32,
    /// Whether solid resources are allowed, as in ESD files.
    pub solid: bool,
    /// How many parts there are.
    pub parts: usize,
    /// The length of all of them.
    pub bytes: u64,
    /// How many different blobs there are.
    pub blobs: usize,
    /// The length of what they unpack to.
    pub unpacked_bytes: u64,
    /// The image to boot from, if there is one.
    pub boot_index: Option<u32>,
    /// Whether each part has an integrity table.
    pub integrity: bool,
    /// Whether absolute link targets were made relative to the image.
    pub links_fixed: bool,
    /// How many images the header counts.
    pub image_count: u32,
}

impl Wim {
    /// What there is to say about the WIM.
    pub fn summary(&self) -> Summary {
        let header = &self.parts[0].header;
        let codec = self.parts[0].codec;
        Summary {
            guid: self.guid().to_string(),
            version: format!("{:#x}", header.version.get()),
            compression: codec.map_or(Compression::None, |codec| codec.compression),
            chunk_size: codec.map_or(0, |codec| codec.chunk_size() as u32),
            solid: header.version.get() == VERSION_SOLID,
            parts: self.parts.len(),
            bytes: sum(self.parts.iter().map(|part| part.reader.len())),
            blobs: self.store.by_hash.len(),
            unpacked_bytes: sum(self.store.by_hash.iter().map(|index| self.store.blobs[*index as usize].len)),
            boot_index: Some(header.boot_index.get()).filter(|index| (1..=header.images.get()).contains(index)),
            integrity: self.parts.iter().all(|part| part.header.integrity.size.get() != 0),
            links_fixed: header.flags.get() & header_flags::RP_FIX != 0,
            image_count: header.images.get(),
        }
    }
}

/// Hostile lengths may add up to more than there can be.
fn sum(lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.fold(0, u64::saturating_add)
}
