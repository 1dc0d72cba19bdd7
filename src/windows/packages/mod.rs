//! Packages: what a cabinet with an `update.mum` brings into a Windows, and what of it can be done without that Windows running.
//!
//! ```text
//! Bundle (a cabinet's files) --verify--> hashes hold --resolve--> which packages, which components, in which order
//!        --compile--> Plan: what each component changes, what cannot be done --apply--> Tree, hives, records
//! ```

pub mod base;
pub mod bundle;
pub mod plan;
pub mod verify;
#[cfg(test)]
mod wcp_sample;

pub use bundle::Bundle;
pub use plan::{Change, ComponentPlan, Effect, EffectKind, LeftOut, PackagePlan, Payload, Plan};
pub use verify::{Verified, VerifiedManifest, VerifiedPackage, verify};
