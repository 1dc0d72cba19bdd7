//! ntfs

pub mod boot_code;
