//! Floor 2: one place per on-disk format.

pub mod bcd;
pub mod certificate;
pub mod fat;
pub mod hive;
pub mod ntfs;
pub mod partitions;
pub mod reg;
pub mod vhd;
pub mod vhdx;
pub mod wim;
