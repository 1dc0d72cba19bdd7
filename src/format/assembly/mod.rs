//! Assemblies: the XML documents of Windows' component store, `urn:schemas-microsoft-com:asm.v3` (and its predecessors, `asm.v1` and `asm.v2`).
//!
//! | document | file | says |
//! |---|---|---|
//! | package manifest | `update.mum`, `<package id>.mum` | which packages it is a part of, and which updates it has: deployments, nested packages, drivers |
//! | deployment manifest | `<keyform>.manifest` | which components come with it |
//! | component manifest | `<keyform>.manifest` | files, registry values, services, and all else that a component is |
//!
//! Documents are read whole ([`Element`]); whoever carries one out asks its elements and attributes for what they say, and what
//! nobody asked for is known at the end ([`Element::unread`]). That is how nothing is passed over in silence.
//!
//! Where the facts come from: the manifests of Windows 10 and Server packages themselves; the notes of manifestenum, haveSxS and Winter on
//! identities; UFCase's collection of manifests on their elements.

mod element;
mod identity;
mod keyform;
mod manifest;
mod package;

pub use crate::base::Version;
pub use element::{Element, Unread};
pub use identity::Identity;
pub use keyform::{cbs_value_name, file_value_name, text_hash};
pub use manifest::{Dependency, DependencyKind, Manifest, ManifestFile};
pub use package::{Compare, Condition, Item, PackageManifest, Parent, Update};
