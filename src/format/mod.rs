//! Floor 2: one place per on-disk format.

pub mod assembly;
pub mod bcd;
pub mod cab;
pub mod catalog;
pub mod certificate;
pub mod delta;
pub mod fat;
pub mod hive;
pub mod inf;
pub mod iso9660;
pub mod nsis;
pub mod ntfs;
pub mod partitions;
pub mod qcow2;
pub mod reg;
pub mod udf;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
pub mod wim;
