//! A volume of NTFS 3.1, rule by rule.
//!
//! The checker has a parser of its own, so that a mistake of the writer or of the reader is not made twice: of
//! [`format::ntfs`](crate::format::ntfs) it uses nothing but the structures and constants of `ondisk`.
//!
//! ```text
//! boot sector -> $MFT (one pass) -> attribute lists -> clusters -> system files -> $Secure -> directories -> names -> views -> streams
//! ```
//!
//! # What it costs
//!
//! `$MFT` is read once from start to end in pieces of 1 MiB, `$Bitmap`, `$Secure` and the indexes once, the journal once. Of a file's
//! contents nothing is read, but for streams that are compressed, which are decoded piece by piece.
//!
//! In memory there are, for each file in use, 80 bytes of facts, 24 for each of its names, 12 for each run of clusters and 4 for each slot of
//! `$MFT` around it: some 150 bytes for a file with a long and a short name. Clusters are kept as runs that are sorted, not as
//! a map of the volume, and bitmaps are read in pieces, so that the size of the volume does not matter.
//!
//! # What it survives
//!
//! Anything: offsets and lengths from the volume are checked before use, indexes have a limited depth and visit a block once,
//! and what is read beyond the first pass is limited to twice the volume's length: a volume whose streams share
//! clusters in order to be read again and again runs into that limit ([`Rule::SharedCluster`]).
//!
//! # Causes, not consequences
//!
//! Where a structure is too damaged to say what is in it, what depends on it is not checked: the clusters of a record that cannot be read
//! are not called leaked, the files of a broken directory not missing from it.
//!
//! # What Windows does otherwise
//!
//! Each leniency has its reason beside it. In short: unused records are zeroed or keep what was in them; entries of system
//! files in the root directory are as old as the format; entries of hard links are brought up to date only for the link that was used,
//! and the time of the last access nowhere at once.

mod attributes;
mod boot;
mod clusters;
mod context;
mod descriptor;
mod directories;
mod facts;
mod file;
mod index;
mod kinds;
mod lists;
mod log;
mod mft;
mod names;
mod record;
mod runs;
mod secure;
mod streams;
mod system;
#[cfg(test)]
mod tests;
mod views;

use super::{Finding, Findings, Rule};
use crate::base::ReadAt;
use context::{Context, Volume};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Records of `$MFT` that hold a file or directory.
    pub files: u64,
    /// Names of files, short ones included.
    pub names: u64,
    /// Clusters of the volume.
    pub clusters: u64,
}

/// Checks the volume that fills `volume` (a partition, its last sector included).
pub fn check(volume: &dyn ReadAt, findings: &mut Findings) -> Summary {
    let Some(geometry) = boot::check(volume, findings) else { return Summary::default() };
    let mut context = Context::new(Volume::new(volume, geometry), findings);
    let Some(records) = mft::find(&mut context) else { return Summary::default() };
    let mut facts = mft::pass(&mut context, records);
    lists::check(&mut context, &mut facts);
    clusters::check(&mut context, &mut facts);
    mft::check_bitmap(&mut context, &facts);
    system::check(&mut context, &facts);
    let descriptors = secure::check(&mut context);
    secure::check_users(&mut context, &facts, &descriptors);
    directories::check(&mut context, &mut facts);
    file::tell_stale(&mut context, &mut facts);
    names::check(&mut context, &facts);
    views::check(&mut context, &mut facts);
    streams::check(&mut context, &facts);
    if context.volume.is_exhausted() {
        let found = "more was to be read than the volume holds, and the checks were cut short";
        context.add(Finding::new(Rule::SharedCluster, found).allowed("streams that do not share their clusters"));
    }
    Summary {
        files: facts.files.len() as u64,
        names: facts.names.len() as u64,
        clusters: context.volume.geometry.clusters,
    }
}
