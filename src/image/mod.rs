//! Floor 5: an image, from what is asked ([`Recipe`]) through what will be ([`ImagePlan`]) to the file.
//!
//! The clock, chance and the host's files enter here and nowhere below: as the recipe's timestamp, as a [`seed`], through
//! [`host`].

pub mod boot_store;
pub mod build;
pub mod capture;
pub mod chain;
pub mod content;
mod control;
pub mod convert;
pub mod coverage;
pub mod demo;
pub mod diff;
mod disk_file;
pub mod driver_source;
pub mod edit;
pub mod edits;
pub mod extract;
pub mod fork;
pub mod host;
pub mod host_files;
pub mod layout;
pub mod lookup;
pub mod media;
pub mod opened;
pub mod package;
pub mod package_source;
mod prepare;
mod recipe;
pub mod reparse;
mod scratch;
pub mod seed;
pub mod source;
pub mod target;
pub mod verify;

pub use build::{ImagePlan, Summary, build_all};
pub use control::Control;
pub use layout::{Firmware, Layout};
pub use media::Media;
pub use recipe::{Format, Recipe};
pub use source::{Choice, Input, Source};
pub use target::Target;
