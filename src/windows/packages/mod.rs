//! Packages: what a cabinet with an `update.mum` brings into a Windows, and what of it can be done without that Windows running.
//!
//! ```text
//! Bundle (a cabinet's files) --verify--> hashes hold --resolve--> which packages, which components, in which order
//!        --compile--> Plan: what each component changes, what cannot be done --apply--> Tree, hives, records
//! ```

pub mod bundle;
pub mod compile;
pub mod plan;

pub use bundle::Bundle;
pub use compile::{Compiled, Target, compile};
pub use plan::{Change, ComponentPlan, Effect, EffectKind, LeftOut, PackagePlan, Payload, Plan};
