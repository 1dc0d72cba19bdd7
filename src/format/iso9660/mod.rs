//! ISO 9660, read: the older file system of optical media, with Joliet's names.
//!
//! | | read | written |
//! |---|---|---|
//! | levels | 1, 2, 3: files in several extents, beyond 4 GiB | no |
//! | names | Joliet's, where there are any; else those of the primary descriptor, without version (`;1`) and empty extension | no |
//! | Rock Ridge, El Torito, extended attribute records | passed over | no |
//! | interleaved files | refused by name | no |
//! | associated files | left out | no |
//! | times | with their time zone | no |
//! | attributes | hidden | no |
//!
//! ```text
//! | 32 KiB free | 16: volume descriptors (primary, Joliet's, an end) | path tables, directories, files |
//! ```
//!
//! A volume descriptor has the record of its root directory. A directory is a file of records (name, extent, length, flags), none of
//! which crosses a sector of 2 KiB. A file in several extents is several records of one name, all but the last with a flag. Joliet
//! is a second tree of directories over the same files, with names in UCS-2.
//!
//! What real files do: Microsoft's media, and others that are UDF volumes as well, are to be read as such
//! ([`udf`](crate::format::udf)). Names keep the case that they are recorded in; who looks for one disregards it.
//!
//! The crates that read ISO 9660 are not used for this: those that were looked at take one extent for a file, so that one beyond
//! 4 GiB comes out with a wrong length and no error, or follow directories that run in circles.
//!
//! # Limits
//! Those of [`Builder`](crate::tree::medium::Builder); 64 volume descriptors are looked at, and each directory is read once.
//!
//! Sources: ECMA-119, 4th edition; Microsoft's "Joliet Specification" of 1995; the Linux kernel's fs/isofs.

mod ondisk;
mod read;

#[cfg(test)]
mod tests;

pub use read::{Volume, is_iso9660};
