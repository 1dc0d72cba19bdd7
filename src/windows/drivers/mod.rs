//! Drivers: what a driver package comes to for one Windows, and the rooms where Windows keeps such packages.
//!
//! ```text
//! package (INF, CAT, SYS, ...) --compile--> Driver --install--> files, DriverDatabase, Services, ... of a tree
//!                              --trust----> who signed it
//! database of a tree --list, match--> packages, the best driver of a device
//! ```
//!
//! A [`Driver`] is a value: everything that the INF asks for, resolved for a [`TargetOs`], nothing of it done yet.

pub mod apply;
pub mod compile;
pub mod database;
mod device_ids;
mod driver;
mod package;
pub mod rank;
mod store;
pub mod trust;

pub use compile::{compile, store_name};
pub use database::{Candidate, Database, Home, Installed, KnownConfiguration, KnownDevice};
pub use device_ids::{DeviceIds, Pci};
pub use driver::*;
pub use package::Package;
pub use store::{Added, Removed, Store};

pub use crate::format::inf::{ProductType, TargetOs};

/// Where the packages of the driver store lie.
pub const REPOSITORY: &str = r"\Windows\System32\DriverStore\FileRepository";
/// Where the INF files of Windows and published ones lie.
pub const INF_FOLDER: &str = r"\Windows\INF";
