//! The integration tests: the library and the program against tools that other people wrote.

mod ntfs;
mod ntfs_tools;
mod support;
