//! UDF, read: the file system of installation media, and of any DVD.
//!
//! | | read | written |
//! |---|---|---|
//! | revisions | 1.02 (Microsoft's media, `genisoimage -udf`) to 2.01 (`mkudffs`); what later ones add is refused by name | no |
//! | blocks | 512 bytes to 32 KiB | no |
//! | partitions | one or several of type 1 on one volume; virtual, sparable and metadata ones are refused by name | no |
//! | files | file entries and extended ones, of strategy 4; short, long and embedded allocation descriptors, and their extensions; hard links | no |
//! | unrecorded extents | read as zeros | no |
//! | names | OSTA compressed Unicode, 8 and 16 bits | no |
//! | times | with their time zone; without one as if they were UTC | no |
//! | named streams, symbolic links, devices | left out, with a note | no |
//!
//! ```text
//! | 32 KiB free | recognition sequence | ... | 256: anchor | descriptors, main and reserve | partition: file set, ICBs, files | ... |
//! ```
//!
//! The *anchor* says where the volume descriptors are, twice; those say where the partitions are and where, in one of them, the *file
//! set* begins, which names the root directory's *ICB* (information control block). An ICB has the length, the times and the
//! extents of a file. A directory is a file of *file identifiers*: name and ICB. Every descriptor begins with a tag that has a
//! checksum, a CRC and the block's own number; all three are checked (of file identifiers, which are not placed by blocks, the
//! first two). The reserve sequence is read where the main one is damaged.
//!
//! What real files do: a *bridge* (Microsoft's media, `genisoimage -udf`) is a UDF and an ISO 9660 volume over the same files. It is
//! to be read as UDF: Microsoft's have only a README in their ISO 9660 half, and there a file beyond 4 GiB has a wrong length, or none.
//!
//! The crates that read UDF are not used for this: `hadris-udf` is a release candidate, and `isomage` takes one extent for a file
//! and mistakes names and lengths. A medium comes from anywhere, and what reads it must neither panic, nor run in circles, nor take
//! more memory than it says.
//!
//! # Limits
//! Those of [`Builder`](crate::tree::medium::Builder); and a sequence of volume descriptors has at most 1024 of them. Each
//! extension of allocation descriptors and each directory is read once.
//!
//! Sources: ECMA-167, 3rd edition; OSTA's "Universal Disk Format Specification" 1.02 and 2.01; the Linux kernel's fs/udf.

mod icb;
mod ondisk;
mod read;
mod volume;

#[cfg(test)]
mod tests;

pub use volume::{Volume, is_udf};
