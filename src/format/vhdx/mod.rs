//! VHDX: the disk container of Hyper-V since 2012.
//!
//! | variant      | read | write | |
//! |--------------|------|-------|---|
//! | fixed        | yes  | yes   | every block is in the file |
//! | dynamic      | yes  | yes   | blocks that hold nothing are left out |
//! | differencing | yes  | yes   | sectors over those of another file, the parent |
//! | with a log   | yes  | no    | the log is replayed in memory; the file stays as it is |
//!
//! ```text
//! | identifier | header 1 | header 2 | region table | its copy | ... | log | metadata | BAT | block | block | ...
//! 0            64 KiB     128 KiB    192 KiB        256 KiB          1 MiB: all that follows is in whole MiB
//! ```
//!
//! All integers are little-endian, and GUIDs have their first three fields so. Headers, region tables and log entries carry a
//! CRC-32C. Of the two headers the valid one with the higher sequence number counts; it says whether there is a log, and where.
//! A region table leads to the metadata (sizes, ids) and to the BAT (block allocation table). That has 64 bits for each block: a state, and the
//! block's place in MiB. After every 2^23 sectors' worth of payload blocks (the chunk ratio), there is one entry for the sector
//! bitmap of those blocks, which only a differencing disk has.
//!
//! # Limits
//!
//! The log may have 64 MiB (Hyper-V's have 1 MiB) and is read into memory only if it has to be replayed. The BAT's entries are read as
//! they are needed. Metadata and region tables have the sizes of the specification, 64 KiB each.
//!
//! # What real files do
//!
//! * Hyper-V puts the log at 1 MiB, the metadata behind it, then the BAT, and so do we. Its blocks have 32 MiB. In a differencing disk
//!   we make them 2 MiB long: what is changed is scattered.
//! * A file that was not closed has a log that names itself in the header. Hyper-V replays it when it attaches the disk; qemu does it only
//!   when the file is opened for writing.
//! * Blocks in the states "zero" and "unmapped" may keep their place in the file. They read as zeros here and in qemu, also over
//!   a parent.
//! * A differencing disk is made with its parent's metadata about the disk: sizes, sectors and the disk's id stay the same. It knows
//!   its parent by the data write GUID in that one's header.
//! * In a sector bitmap the first sector of a byte is its lowest bit, the other way round than in a VHD.
//!
//! Sources: Microsoft's \[MS-VHDX\], and files made by Hyper-V 2012 and qemu.

mod log;
mod metadata;
pub(crate) mod ondisk;
mod parent;
mod plan;
mod read;
mod write;

pub(crate) use log::{Replayed, State as LogState};
pub use ondisk::{MAX_DISK, SIGNATURE};
pub use parent::Parent;
pub use plan::{BLOCK, CHILD_BLOCK, Layout};
pub use read::{Variant, Vhdx};
pub use write::{Params, Writer};

#[cfg(test)]
mod tests;
