//! nanovhd: from a Windows image file to a machine that boots.

pub mod base;
pub mod cli;
pub mod codec;
pub mod error;
pub mod format;
pub mod image;
pub mod tree;
pub mod windows;
