//! Packages: what a cabinet with an `update.mum` brings into a Windows, and what of it can be done without that Windows running.
//!
//! ```text
//! Bundle (a cabinet's files) --verify--> hashes hold --resolve--> which packages, which components, in which order
//!        --compile--> Plan: what each component changes, what cannot be done --apply--> Tree, hives, records
//! ```

pub mod apply;
pub mod base;
pub mod bundle;
pub mod compile;
pub mod first_boot;
mod image;
pub mod installed;
mod journal;
pub mod plan;
mod records;
pub mod remove;
pub mod resolve;
pub mod verify;

pub use apply::{Applied, NewPackage, apply};
pub use bundle::Bundle;
pub use compile::{Compiled, Target, compile};
pub use installed::{ComponentStore, Installed, InstalledPackage};
pub use plan::{Change, ComponentPlan, Effect, EffectKind, LeftOut, PackagePlan, Payload, Plan, Sums, UpdatePlan};
pub use remove::{Removed, remove};
pub use resolve::{Options, Planned, Problem, ProblemKind, plan};
pub use verify::{Verified, VerifiedManifest, VerifiedPackage, verify};
