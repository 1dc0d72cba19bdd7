//! WIM, the Windows Imaging format: images of volumes whose files share one store of blobs, each kept once under its SHA-1.
//!
//! | | read | write |
//! |---|---|---|
//! | WIM, version 0x10D00 | yes | yes |
//! | ESD: solid resources, version 0xE00 | yes | no |
//! | SWM: split in parts | yes | no |
//! | no compression, XPRESS, LZX; all chunk sizes | yes | yes |
//! | LZMS | yes | no |
//! | several images, hard links, named streams, short names, reparse points, security descriptors, object ids, extended attributes | yes | yes |
//! | files encrypted by EFS | all but their contents | no |
//! | integrity table | on request | yes |
//! | encrypted ESD, pipable WIM, delta WIM | refused by name | no |
//!
//! A file is a header, then resources, then the blob table, the XML document and, sometimes, the integrity
//! table. Each image is a *metadata resource*: security descriptors, then directories, each a list of dentries that name
//! their streams by SHA-1. The blob table says where the blob of a SHA-1 lies.
//!
//! The layout is documented by Microsoft ("Windows Imaging File Format", 2007) and, with all that came later, by wimlib's
//! comments. What real files do:
//! * the XML may be missing or odd: images are counted by the header and numbered by the blob table;
//! * metadata resources with no references are leftovers (boot.wim of the Windows AIK); those that are left have to be as many as
//!   the header counts images, or else the WIM is refused, as each image would answer to another's index;
//! * one hard link group may hold different files (install.wim of Windows 7), so that members are compared by SHA-1;
//! * a main stream is named by its dentry or, beside others, by a stream entry without a name; which unnamed stream is the
//!   reparse point's follows from the order;
//! * an empty junction has no list of children, any other empty directory has one without entries;
//! * short names equal to their long names (NTFS captured by wimlib) mean that there is one name for both.
//!
//! Memory follows from the input: at most 1 GiB for a metadata resource, 512 MiB for a blob table, 32 MiB for the XML, while they
//! are read; then about 450 bytes for each file. Streaming takes two buffers of 256 KiB for each thread, more where chunks are
//! larger: for solid resources as many threads work as can have their chunks in 256 MiB, or one alone, whose chunk may have 1 GiB.

mod info;
mod integrity;
mod metadata;
mod ondisk;
mod resource;
mod store;
mod table;
mod write;
mod write_metadata;
mod xml;

use std::sync::Arc;

use uuid::Uuid;

pub use info::Summary;
pub use metadata::{Notes, Volume};
pub use resource::Compression;
pub use store::Sha1Hash;
pub use table::PartId;
pub use write::{Options, Written, write};
pub use xml::{ImageInfo, Version};

use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::tree::{BlobId, BlobStore};
use store::Store;
use table::Part;

/// The largest XML document that is read.
const XML_LIMIT: u64 = 32 << 20;
/// The largest metadata resource that is read: several million files.
const METADATA_LIMIT: u64 = 1 << 30;
/// More images than that are a damaged header.
const IMAGES_LIMIT: u32 = 0xFFFF;

/// An open WIM, ESD or set of SWM files.
pub struct Wim {
    parts: Vec<Part>,
    store: Arc<Store>,
    images: Vec<ImageInfo>,
    /// Whether the XML leaves no doubt which image it describes where.
    orderly: bool,
    /// One for each image.
    metadata: Vec<BlobId>,
    warnings: Vec<String>,
}

impl Wim {
    /// Opens a WIM by all of its parts, the first one first, the others in any order.
    pub fn open(parts: Vec<Arc<dyn ReadAt>>) -> Result<Self> {
        let parts = table::arrange(parts)?;
        let mut warnings = Vec::new();
        let first = &parts[0];
        // Before anything else is read: of an encrypted ESD, little beside the XML is legible.
        let xml = first.load(&first.header.xml, XML_LIMIT).and_then(|bytes| xml::parse(&bytes));
        let (named, encrypted) = match xml {
            Ok(xml) => (Some(xml.images), xml.encrypted),
            Err(error) => {
                warnings.push(format!("{error}; images have no names"));
                (None, false)
            }
        };
        if encrypted {
            return Err(Error::unsupported("an encrypted ESD, as Windows Update downloads them")
                .hint("decrypt it first, or use an ESD or WIM from installation media"));
        }
        let count = first.header.images.get();
        match count {
            0 => return Err(Error::new(Kind::NoSuchImage, "the WIM holds no images").at(0x2C)),
            1..=IMAGES_LIMIT => {}
            _ => {
                return Err(Error::corrupt("WIM header: number of images").at(0x2C).found(count).allowed(IMAGES_LIMIT));
            }
        }
        let table = table::read(&parts)?;
        warnings.extend(table.warnings);
        // Images are told apart by the order of their metadata resources alone: one more or less, and another image would
        // answer to an index.
        if table.metadata.len() != count as usize {
            return Err(Error::corrupt("WIM blob table: number of metadata resources that images use")
                .found(table.metadata.len())
                .allowed(format_args!("{count}, the number of images in the header"))
                .hint("the file is damaged: fetch it again"));
        }
        let (images, orderly) = number_images(named, count as usize);
        if !orderly {
            warnings.push("the XML does not describe each image once, in order".into());
        }
        Ok(Self { parts, store: Arc::new(table.store), images, orderly, metadata: table.metadata, warnings })
    }

    /// What is odd about the WIM, but no obstacle.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the XML says about each image; of an image that it does not name, the index alone.
    pub fn images(&self) -> &[ImageInfo] {
        &self.images
    }

    /// Random by custom; the same in all parts.
    pub fn guid(&self) -> Uuid {
        Uuid::from_bytes_le(self.parts[0].header.guid)
    }

    /// The blobs of all images.
    pub fn store(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.store) as Arc<dyn BlobStore>
    }

    /// The index of the image that `wanted` names: by its index from 1, or else by its name, display name, edition id or flags,
    /// ignoring case: first the whole of it, then a part that occurs in one image only. Where the XML does not describe each
    /// image once, in order, its names are no guide, and only an index will do.
    pub fn select(&self, wanted: &str) -> Result<usize> {
        let wanted = wanted.trim();
        if let Some(index) = wanted.parse().ok().filter(|index| (1..=self.images.len()).contains(index)) {
            return Ok(index);
        }
        if !self.orderly {
            return Err(Error::corrupt(format_args!(
                "WIM: the XML does not describe each image once, in order, so that no name tells which image \"{wanted}\" is"
            ))
            .allowed(format_args!("an index from 1 to {}", self.images.len()))
            .hint("choose the image by its index"));
        }
        let folded = wanted.to_lowercase();
        let matching = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let named = |info: &&ImageInfo| info.names().any(|name| matches(&name.to_lowercase()));
            self.images.iter().filter(named).map(|info| info.index).collect()
        };
        let mut found = matching(&|name| name == folded);
        if found.is_empty() && !folded.is_empty() {
            found = matching(&|name| name.contains(&folded));
        }
        match found.as_slice() {
            [index] => Ok(*index),
            [] => Err(self.no_such_image(format_args!("no image \"{wanted}\""))),
            several => {
                let several: Vec<String> = several.iter().map(usize::to_string).collect();
                Err(self.no_such_image(format_args!("\"{wanted}\" means several images ({})", several.join(", "))))
            }
        }
    }

    /// The error that no one image was named, with those that there are.
    pub(crate) fn no_such_image(&self, what: std::fmt::Arguments<'_>) -> Error {
        let describe = |info: &ImageInfo| {
            let name = info.name.as_deref().or(info.display_name.as_deref()).unwrap_or("(no name)");
            let edition = info.edition.as_deref().or(info.flags.as_deref());
            format!("{}: {name}{}", info.index, edition.map_or_else(String::new, |edition| format!(" [{edition}]")))
        };
        let images: Vec<String> = self.images.iter().map(describe).collect();
        Error::new(Kind::NoSuchImage, what).allowed(images.join("; "))
    }

    /// All files of the image with that index (from 1), their contents unread.
    pub fn tree(&self, index: usize) -> Result<Volume> {
        if !(1..=self.images.len()).contains(&index) {
            return Err(self.no_such_image(format_args!("no image {index}")));
        }
        let blob = self.metadata[index - 1];
        let size = self.store.blobs[blob.0 as usize].len;
        if size > METADATA_LIMIT {
            return Err(Error::unsupported("WIM: size of a metadata resource").found(size).allowed(METADATA_LIMIT));
        }
        let bytes = store::read_named(&self.store, blob, &format!("metadata of image {index}"))?;
        metadata::read(&bytes, &self.store).context(|| format!("image {index}"))
    }

    /// Checks every part that has an integrity table against it. `progress` gets the bytes checked and the bytes in all of a part,
    /// and stops the check by an error. Returns how many parts have a table.
    pub fn check_integrity(&self, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<usize> {
        let mut tables = 0;
        for (number, part) in (1..).zip(&self.parts) {
            let context = || if self.parts.len() > 1 { format!("part {number}") } else { "integrity check".into() };
            tables += usize::from(integrity::check(part, progress).context(context)?);
        }
        Ok(tables)
    }
}

/// One entry for each image that the header counts, by INDEX; by place where no other has that INDEX. Also whether the XML
/// describes each image once, in order, or none.
fn number_images(named: Option<Vec<ImageInfo>>, count: usize) -> (Vec<ImageInfo>, bool) {
    let mut images: Vec<Option<ImageInfo>> = (0..count).map(|_| None).collect();
    let mut orderly = named.as_ref().is_none_or(|named| named.len() == count);
    let mut unplaced = Vec::new();
    for (place, info) in named.into_iter().flatten().enumerate() {
        let wanted = info.index.wrapping_sub(1);
        orderly &= wanted == place;
        match images.get_mut(wanted) {
            Some(free @ None) => *free = Some(info),
            _ => unplaced.push((place, info)),
        }
    }
    for (place, info) in unplaced {
        if let Some(free @ None) = images.get_mut(place) {
            *free = Some(info);
        }
    }
    let number = |(index, info): (usize, Option<ImageInfo>)| ImageInfo { index, ..info.unwrap_or_default() };
    ((1..).zip(images).map(number).collect(), orderly)
}

#[cfg(test)]
mod tests;
