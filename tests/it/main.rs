//! The integration tests: the library and the program against tools that other people wrote.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and may say what it counted")]

mod bcd;
mod boot;
mod boot_fat;
mod capture;
mod convert;
mod corruptions;
mod demo;
mod diff;
mod edit;
mod faults;
mod flips;
mod fork;
mod hive;
mod look;
mod lzms;
mod media;
mod ntfs;
mod ntfs_read;
mod ntfs_tools;
mod package;
mod qcow2;
mod reg;
mod revise;
mod setup;
mod spine;
mod support;
mod trouble;
mod uefi;
mod vdi;
mod verify;
mod verify_clean;
mod vhd;
mod vhdx;
mod vmdk;
mod wim;
