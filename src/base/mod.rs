//! Floor 0: positioned I/O, checksums, time stamps, UTF-16 names and the order that NTFS gives them, security descriptors, processors, versions.

pub mod base64;
pub mod blocks;
pub mod bytes;
pub mod crc32c;
pub mod extents;
pub mod filetime;
pub mod inherit;
pub mod io;
pub mod layers;
pub mod machine;
pub mod name;
pub mod near;
pub mod ordered;
pub mod sddl;
pub mod security;
pub mod sparse;
pub mod upcase;
pub mod version;
pub mod words;

pub use filetime::FileTime;
pub use io::{Disk, MemoryDisk, ReadAt, Slice};
pub use machine::Machine;
pub use name::Name;
pub use sparse::Sparse;
pub use version::Version;
