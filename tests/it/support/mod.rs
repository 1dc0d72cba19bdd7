//! What several areas share.

pub(crate) mod tools;
