//! VHD: the disk container of Virtual PC, Hyper-V generation 1 and Azure.
//!
//! | variant      | read | write | |
//! |--------------|------|-------|---|
//! | fixed        | yes  | yes   | the disk's bytes, then a footer; the only kind that Azure takes |
//! | dynamic      | yes  | yes   | blocks of 2 MiB, those that hold nothing are left out |
//! | differencing | yes  | yes   | sectors over those of another file, the parent |
//!
//! ```text
//! fixed     | disk ....................................................... | footer |
//!
//! dynamic   | footer copy | header | BAT | gap | bitmap | block | gap | bitmap | block | gap | footer |
//!           0             512      1536                ^                         ^                    ^
//!                                                      multiples of 4 KiB from the file's start ------'
//! ```
//!
//! All integers are big-endian. A footer (512 bytes) says what the disk is; a dynamic one has a copy of it in front, for when
//! the end is lost. The BAT (block allocation table) has one 32-bit sector number for each block of the disk: where the block's
//! sector bitmap is, which its data follows at once, or all ones for a block that is not there and reads as zeros.
//!
//! # Alignment
//!
//! The bitmap of a 2 MiB block is one sector long. Blocks in a row without gaps would therefore all lie across the 4 KiB
//! sectors of today's disks, each guest write becoming two reads and two writes of the host (`Get-VHD` then shows
//! `Alignment: 0`). Like Hyper-V since 2012 we put the bitmap into the last sector of a 4 KiB unit, so that the data
//! begins on a 4 KiB boundary, and the footer likewise, so that the file ends on one. The gap costs 3.5 KiB per block, a hole
//! on most hosts. Aligning to 2 MiB would double the length of the file, which matters wherever a VHD is copied or uploaded
//! as a plain file; no host has units that large.
//!
//! # What real files do
//!
//! * The size that counts is the footer's `current_size`. Virtual PC shows its guests cylinders × heads × sectors, which is
//!   up to a cylinder less, and qemu does the same unless the creator is one that it knows to be exact. So we write the
//!   creator of Hyper-V, `win `, version 10.0, whose sizes qemu takes as they are.
//! * Hyper-V and Azure want whole MiB. This module accepts whole sectors; who asks for Azure has to know.
//! * The BAT ends with at least one unused entry, also where that takes a sector more. Hyper-V does so, and so do we: an empty
//!   disk is the same file, ids and times apart, as the one that Hyper-V makes.
//! * The bitmap of a dynamic disk's block says which sectors were written. Blocks are zeroed when they are made, so nothing
//!   depends on it, and readers (qemu, this one) do not look. We set all bits. In a differencing disk it decides which sectors
//!   are the parent's.
//! * Virtual PC stores the unique id with its fields big-endian, as the specification says, Hyper-V little-endian.
//! * The paths of a parent are UTF-16, little-endian in locators and big-endian in the header, with backslashes. A parent is known by
//!   its footer's unique id; its time stamp is the modification time of its file, which may change when that is copied, and is not
//!   compared.
//! * The room of a parent's path is counted in sectors by the specification, in bytes by Windows. We do as Windows does.
//! * Footers written before Virtual PC 2004 are 511 bytes long, without the last zero.
//!
//! Sources: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, and files made by Virtual PC 2007, Hyper-V
//! 2012 R2 and qemu.

pub(crate) mod ondisk;
mod parent;
mod plan;
mod read;
mod write;

pub use ondisk::{COOKIE, FOOTER_LEN, SECTOR};
pub use parent::Parent;
pub use plan::{BLOCK, Geometry, Layout, MAX_DISK};
pub use read::{Footer, Variant, Vhd};
pub use write::{Params, Writer};

#[cfg(test)]
mod tests;
