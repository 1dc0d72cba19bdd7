//! The integration tests: the library and the program against tools that other people wrote.

mod bcd;
mod boot;
mod hive;
mod lzms;
mod ntfs;
mod support;
mod vhd;
mod wim;
