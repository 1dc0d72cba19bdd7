//! Floor 4: whether an image is what Windows and the firmware would take as clean, and what is wrong with it.
//!
//! The checks run level by level, from the container to the installation, and each is a function of its own that takes what is to
//! be looked at and adds what it finds to [`Findings`]. They share no code with the writers but the base types. No input
//! makes them fail: what cannot be read is a finding too.

pub mod boot;
pub mod container;
mod finding;
pub mod image;
pub mod ntfs;
pub mod partitions;
mod rules;
pub mod windows;

pub use finding::{Finding, Findings, KEPT_OF_A_RULE, Level, Place};
pub use rules::{Area, Rule};
