//! FAT12, FAT16 and FAT32: what firmware starts from.
//!
//! | | read | written |
//! |---|---|---|
//! | volumes | FAT12, FAT16, FAT32, sectors of 512 to 4096 bytes | FAT32, where too short for it the others; sectors of 512 or 4096 bytes |
//! | names | long ones, and short ones with their case bits; bytes above 7Fh are taken as Latin-1 | long ones, with short ones that are made for them |
//! | times | as if they were UTC: FAT has the local time of an unknown place | UTC |
//! | attributes | read-only, hidden, system, archive | the same |
//!
//! ```text
//! | boot sector, reserved | FAT | FAT (copy) | root directory (FAT12/16) | clusters 2, 3, ... |
//! ```
//!
//! The FAT has one number for each cluster: the next one of its file, or an end. Which of the three kinds a volume is follows from
//! how many clusters it has, and from nothing else.
//!
//! The crate `fatfs` writes, over a disk in memory. It does not read: version 0.3 follows a directory that runs in a circle for ever,
//! and overflows (a panic, in builds that check it) at cluster numbers below 2 and at sizes that its boot sector may claim.
//!
//! # Limits
//! A directory has up to 65,536 entries, as the specification says, and a volume up to 2^20 files; what is beyond is left out,
//! with a note. A chain is never followed for longer than its file's length needs. What is written is held in memory: 512 MiB
//! of files, 8,192 of them, in a volume of up to 32 GiB.
//!
//! Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03.

mod boot_code;
mod contents;
mod finish;
mod ondisk;
mod read;
mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod write_tests;

pub use boot_code::boot_code;
pub use ondisk::is_fat;
pub use read::{Contents, Volume};
pub use write::{Image, MAX_BYTES, MAX_FILES, MAX_LEN, Options, Summary};
