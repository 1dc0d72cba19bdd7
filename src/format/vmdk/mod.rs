//! VMDK: the disk container of VMware, and the one that VirtualBox's boxes and appliances (OVA) carry.
//!
//! | kind (`createType`)                | read | write | |
//! |------------------------------------|------|-------|---|
//! | monolithicSparse                   | yes  | yes   | grains of 64 KiB, those that hold nothing are left out |
//! | streamOptimized                    | yes  | yes   | the same, compressed, each written once; what an OVA has |
//! | monolithicFlat, vmfs, split kinds  | no   | no    | a descriptor and the files that it names |
//! | COWD (ESX), snapshots' deltas      | no   | no    | changes over another disk |
//!
//! ```text
//! monolithicSparse | header | descriptor | redundant GD | its tables | GD | its tables | gap | grain | grain ... |
//!                  0        512          10752                                           ^
//!                                                                    a multiple of 64 KiB
//!
//! streamOptimized  | header | descriptor | gap | m grain | m grain ... | M table | m grain ... | M table | M GD | M footer | M |
//!                  0        512                65536                                                                          ^
//!                                                             m, M: markers, before grains and before all else;  end of stream
//! ```
//!
//! All integers are little-endian; all places and lengths are in sectors of 512 bytes, and in tables 32 bits wide. The grain directory
//! (GD) has an entry for each 32 MiB of the disk: where the grain table is that has an entry for each of its 512 grains. An entry of 0
//! stands for what is not there and reads as zeros. The descriptor is text: see [`Descriptor`].
//!
//! # Limits
//!
//! * A file ends before 2 TiB: sector numbers have 32 bits. So no disk can hold more, though it may be larger: up to 62 TiB, as vSphere
//!   has them. All tables of a sparse disk exist from the start: 128 MiB for each TiB, holes on most hosts.
//! * VMware's own disk library takes sparse disks below 2 TiB only; streams have no such limit, and qemu and VirtualBox none at all.
//! * vSphere wants whole MiB. This module accepts whole sectors; who asks for vSphere has to know.
//! * Disks of up to 64 TiB are read, with grains of up to 1 MiB and descriptors of up to 64 KiB.
//!
//! # What real files do
//!
//! * VMware writes, and wants, both directories with all their tables. Readers use the one that `grain_directory` leads to.
//! * The descriptor's extent names the file that it is in. VMware and libvmdk look for the contents under that name, so that it has
//!   to be right; qemu and VirtualBox do not.
//! * A stream's header has all ones for the place of the directory, and a copy of the header, the footer, has the true one: 1024 bytes
//!   before the end. VMware's `open-vmdk` goes back instead and has the tables in front. Both are read.
//! * VMware's `open-vmdk` compresses of a disk's last grain only what is within the disk; others fill it with zeros.
//! * The content id (`CID`) changes with each run of a machine. All ones is "none", one less "new": neither is written.
//! * The version is 1 for sparse disks and 3 for streams; qemu calls all streams 3, and VirtualBox wrote 1 for both.
//!
//! Sources: VMware's "Virtual Disk Format 5.0" technical note and `open-vmdk`, libvmdk's documentation of the format, and files made by
//! qemu.

pub(crate) mod descriptor;
pub(crate) mod ondisk;
mod plan;
mod read;
mod stream;
mod write;

pub use descriptor::{Adapter, Descriptor, Extent, NO_PARENT, Params, Variant};
pub use plan::{GRAIN, Layout, MAX_DISK};
pub use read::Vmdk;
pub use stream::write_stream;
pub use write::Writer;

#[cfg(test)]
mod tests;
