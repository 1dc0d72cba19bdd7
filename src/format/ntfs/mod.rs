//! NTFS 3.1: a volume laid out afresh from a [`Tree`](crate::tree::Tree), and volumes that anyone made [`read`] into one.
//!
//! | | written | not written |
//! |---|---|---|
//! | volume | clusters of 512 bytes to 64 KiB, sectors of 512 and 4096, up to 2^32 - 1 clusters | |
//! | files | named streams, hard links, short names, reparse points, object ids, extended attributes, case-sensitive directories, attribute lists | EFS, transactions, change journal |
//! | streams | resident, contiguous, sparse (without holes unless all zero) | LZNT1 |
//! | indexes | `$I30`, `$SDH`, `$SII`, `$ObjId:$O`, `$Quota:$O` and `$Q`, `$Reparse:$R`, of any depth | |
//! | journal | "empty and clean": all ones; Windows fills it at the first mount | restart pages |
//!
//! # How a volume comes about
//!
//! ```text
//! Tree --census--> who has which name --attributes--> what each record holds --plan--> where everything lies --write--> Disk
//! ```
//!
//! A [`Revision`] is the other way to write: it changes files of a volume on the layout that this has, for disks that hold just what
//! differs from another.
//!
//! Everything follows from the lengths that the tree knows, so [`Plan::new`] settles the whole volume before a single blob
//! is read, and [`Plan::write`] writes each allocated byte once. The plan keeps only a few integers for each file; what a
//! record holds is worked out again, by the same function, when it is written.
//!
//! # Layout
//!
//! ```text
//! $Boot | $MFTMirr | $UpCase | $AttrDef | $Secure | $ObjId and $Reparse | $LogFile | $Bitmap |
//! directories and other metadata | contents from memory | blobs in their stores' order | $MFT:$BITMAP | $MFT | free ... | backup boot sector
//! ```
//!
//! Every stream is one run, and the free space is one run that begins right after the MFT, which is where Windows reserves
//! the zone into which the MFT grows. (Windows itself formats with the MFT 3 GiB, or a third of the volume, from the
//! start; no position but that of `$Boot` matters to it.)
//!
//! # Choices
//!
//! * A link with a short name of its own has both (namespaces 1 and 2); one whose short name is its long name has one for
//!   both (3); all others have namespace 0, as on volumes with 8.3 names turned off and as wimlib applies them. Windows
//!   knows one short name for a file, so that links beyond the first with a short name lose theirs.
//! * A node without a security descriptor gets Administrators and SYSTEM full, Users read and execute.
//! * A stream that its source calls sparse keeps its flag. Its bytes are allocated in full, because sources do not say where
//!   the holes are, unless they are in memory and all zero. The file attribute follows from the streams.
//! * The attribute "compressed" is kept where clusters allow compression (up to 4 KiB), and the data is stored plain: it
//!   then says that new data is to be compressed.
//! * `$LogFile` is 1/658 of the volume, as Windows makes it, with at least 4 and at most 64 MiB; it is 2 MiB, as on the
//!   smallest volumes of Windows, on volumes below 64 MiB and, if need be, where there is no space for more.
//!
//! # Sources
//!
//! The tables and rules are from public descriptions (libfsntfs' format specification, the comments of ntfs-3g, the Linux ntfs3
//! driver) and were compared with volumes that Windows 10 formatted.

mod boot;
mod boot_code;
mod geometry;
pub mod ondisk;
mod plan;
pub mod read;
mod revise;
mod runs;
mod write;

use std::borrow::Cow;

pub use boot_code::{BOOT_CODE, BPB};
pub use plan::census::is_system_name;
pub use plan::{Plan, Summary};
pub use revise::{Base, Revision, Summary as RevisionSummary};
pub use write::{Target, write_all};

use crate::base::{FileTime, Name};

/// What a volume is to be, apart from what it holds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes in a cluster: a power of two from the sector size to 65536.
    pub cluster_size: u32,
    /// Bytes in a sector: 512 or 4096.
    pub sector_size: u32,
    /// Where the partition begins on the disk, in sectors. BIOS boot needs it.
    pub hidden_sectors: u64,
    /// The volume's serial number.
    pub serial: u64,
    /// The volume's label, at most 32 code units.
    pub label: Name,
    /// The time at which the system files were made.
    pub created: FileTime,
    /// The content of `$Boot`, at most 8192 bytes, into which the writer puts the volume's parameters (0x03 to 0x54) and the
    /// signature (0x1FE). Empty for a volume that does not boot from a BIOS.
    pub boot_code: Cow<'static, [u8]>,
}

impl Default for Options {
    /// A data volume with 4 KiB clusters.
    fn default() -> Self {
        Self {
            cluster_size: 4096,
            sector_size: 512,
            hidden_sectors: 0,
            serial: 0,
            label: Name::default(),
            created: FileTime::default(),
            boot_code: Cow::Borrowed(&[]),
        }
    }
}
