//! VDI: the disk container of VirtualBox.
//!
//! | variant      | read | write | |
//! |--------------|------|-------|---|
//! | dynamic      | yes  | yes   | blocks of 1 MiB, those that hold nothing are left out |
//! | fixed        | yes  | yes   | every block is in the file |
//! | differencing | no   | no    | a snapshot's changes to another file, which VirtualBox finds by its registry only; refused by name |
//! | undo         | no   | no    | never in use; refused by name |
//! | version 0    | no   | no    | of the first betas; refused by name |
//!
//! ```text
//! | header | gap | block map | gap | block 0 | block 1 | ...
//! 0              1 MiB           a multiple of 1 MiB
//! ```
//!
//! All integers are little-endian, and UUIDs have their first three fields so. The block map has 32 bits for each block of the disk: the
//! number of its place among the blocks of the file, or `FFFFFFFF` for a block that was never written, or `FFFFFFFE` for one of zeros.
//!
//! # Sizes
//!
//! The map counts whole blocks, and the file has them whole. A disk whose size is no multiple of 1 MiB ends within its last block; the
//! header says where. VirtualBox opens such a file, and makes them itself when it converts raw disks, but cuts or rounds the rest when it
//! resizes or clones the disk into other formats. This module takes whole sectors and keeps the size as it is; whoever chooses
//! a size should choose whole MiB.
//!
//! # Limits
//!
//! Disks of up to [`MAX_DISK`] are written, whose map takes 64 MiB. For reading, the map's entries are read as they are needed, and the
//! numbers of the format are the limit.
//!
//! # What real files do
//!
//! * Map and data begin on whole MiB since VirtualBox 4.3, and so they do here; before, and in qemu's files, on whole sectors.
//! * VirtualBox leaves both geometries zero but for the size of the sectors, which it checks; the machine's BIOS has its own idea.
//! * It refuses a file whose image or modification UUID is zero, and a second one with an image UUID that it knows.
//! * It appends a new block at the number that the header has for the allocated ones: that has to be right.
//! * Blocks that were never written read as whatever is there, says the format; as zeros, do all readers.
//! * In front of each block there may be room for data of the program's own ("block extra"). No known program uses it; it is skipped.
//! * qemu reads blocks of 1 MiB only.
//!
//! Sources: the description of VDI 1.1 in VirtualBox's forum, the constants that VirtualBox and qemu publish, and files made by qemu.

pub(crate) mod ondisk;
mod plan;
mod read;
mod write;

pub use ondisk::{SIGNATURE, SIGNATURE_AT};
pub use plan::{BLOCK, Layout, MAX_DISK};
pub use read::{Variant, Vdi};
pub use write::{Params, Writer};

#[cfg(test)]
mod tests;
