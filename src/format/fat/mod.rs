//! FAT12, FAT16 and FAT32, read: what firmware starts from.
//!
//! | | read | written |
//! |---|---|---|
//! | volumes | FAT12, FAT16, FAT32, sectors of 512 to 4096 bytes | no |
//! | names | long ones, and short ones with their case bits; bytes above 7Fh are taken as Latin-1 | no |
//! | times | as if they were UTC: FAT has the local time of an unknown place | no |
//! | attributes | read-only, hidden, system, archive | no |
//!
//! ```text
//! | boot sector, reserved | FAT | FAT (copy) | root directory (FAT12/16) | clusters 2, 3, ... |
//! ```
//!
//! The FAT has one number for each cluster: the next one of its file, or an end. Which of the three kinds a volume is follows from
//! how many clusters it has, and from nothing else.
//!
//! The crate `fatfs` is not used for this: version 0.3 follows a directory that runs in a circle for ever, and overflows (a
//! panic, in builds that check it) at cluster numbers below 2 and at sizes that its boot sector may claim. Tests write volumes
//! with it.
//!
//! # Limits
//! A directory has up to 65,536 entries, as the specification says, and a volume up to 2^20 files; what is beyond is left out,
//! with a note. A chain is never followed for longer than its file's length needs.
//!
//! Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03.

mod boot_code;
mod ondisk;
mod read;

#[cfg(test)]
mod tests;

pub use boot_code::make_bootable;
pub use ondisk::is_fat;
pub use read::{Contents, Volume};
