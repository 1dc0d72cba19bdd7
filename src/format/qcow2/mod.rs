//! qcow2: the disk container of QEMU and KVM.
//!
//! | variant              | read | write | |
//! |----------------------|------|-------|---|
//! | version 3            | yes  | yes   | clusters of 64 KiB when written, of 512 bytes to 2 MiB when read |
//! | version 2            | yes  | no    | `compat=0.10` |
//! | compressed, deflate  | yes  | yes   | cluster by cluster |
//! | compressed, zstd     | yes  | no    | |
//! | internal snapshots   | the active state | no | what they hold besides is left alone |
//! | extended L2 entries  | yes  | no    | clusters of 32 subclusters |
//! | dirty                | yes  | no    | only reference counts may be wrong, which reading does without |
//! | marked as corrupt    | no   | no    | refused by name |
//! | backing file         | no   | no    | refused by name |
//! | external data file   | no   | no    | refused by name |
//! | encrypted            | no   | no    | refused by name |
//!
//! ```text
//! plain       | header | refcount table | refcount blocks | L1 table | L2 tables | data clusters |
//! compressed  | header | data, compressed and not, and L2 tables as they become complete | L1 table | refcount blocks, table |
//!             0        64 KiB: everything begins on a whole cluster, but compressed data
//! ```
//!
//! All integers are big-endian. The L1 table has an entry for each L2 table, and that one for each cluster of the disk: where it is in
//! the file, in whole clusters; that it reads as zeros; or, if bit 62 is set, where its compressed form begins, at any byte, and how
//! many sectors of 512 bytes it touches besides the first. An L2 table is one cluster long. Each cluster of the file has a reference
//! count; bit 63 of an entry says that it is 1.
//!
//! # Compressed clusters
//!
//! Each is a raw deflate stream of one cluster, packed one behind the other into whole clusters of the file, of which each is counted
//! once for every compressed one that touches it. Clusters of zeros are left out, and what deflate does not shorten by a sector
//! at least is stored as it is. The encoder is the same on all hosts and knows no special instructions, so that the same disk gives the same
//! bytes anywhere; they do not depend on the number of threads either.
//!
//! # Limits
//!
//! Disks of up to 64 TiB ([`MAX_DISK`]); L1 tables of up to 32 MiB, qemu's limit too, which are not kept in memory: entries are read as they are
//! needed. A compressed cluster has at most twice a cluster's length in the file, and gives one cluster; the last few are kept, in
//! 4 MiB or two clusters. A zstd frame may want a window of at most 8 MiB. Writing compressed takes about 10 MiB for each thread, and 2 bytes for each
//! cluster of the file.
//!
//! # What real files do
//!
//! * qemu-img's files end where the last data do, within a cluster: what is missing of it are zeros.
//! * Header extensions name features and the format of backing files; nothing in them is needed for reading what is read here.
//! * A cluster that "reads as zeros" may have a place in the file, which was allocated in advance.
//! * qemu inflates with a window of 4 KiB, but a whole cluster at once into its place, where distances up to its length are good.
//!
//! Sources: "Qcow2 Image File Format" of QEMU's documentation, and files made by qemu 7.2.

mod compress;
pub(crate) mod ondisk;
mod plan;
mod read;
mod table;
mod unpack;
mod write;

pub use compress::write_compressed;
pub use ondisk::MAGIC;
pub use plan::{CLUSTER, Layout, MAX_DISK};
pub use read::Qcow2;
pub use write::Writer;

#[cfg(test)]
mod tests;
