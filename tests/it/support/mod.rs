//! What several areas share.
#![allow(clippy::unwrap_used)] // as in tests

pub(crate) mod blobs;
pub(crate) mod catalog;
pub(crate) mod crc32;
pub(crate) mod disks;
pub(crate) mod ntfs_check;
pub(crate) mod pa30;
pub(crate) mod packages;
pub(crate) mod program;
#[path = "../../../src/windows/program_sample.rs"]
pub(crate) mod program_sample;
pub(crate) mod qemu;
pub(crate) mod random_tree;
pub(crate) mod surgeon;
pub(crate) mod tools;
pub(crate) mod trees;
pub(crate) mod udf;
pub(crate) mod volume;
