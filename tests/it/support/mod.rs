//! What several areas share.

pub(crate) mod qemu;
pub(crate) mod tools;
pub(crate) mod volume;
