//! The integration tests: the library and the program against tools that other people wrote.

mod boot;
mod support;
mod vhd;
