//! Files and folders of a tree, copied to the host.
//!
//! It goes in four steps: what will be made is listed, and checked against what is there already; contents are written into a
//! folder of their own beside their targets, in the store's order and on all cores, and are checked on the way; only then are
//! files given their names; symbolic links come last. So an interruption, a damaged source or a full disk leaves no half file
//! under any name but that of the temporary folder (`.extract.XXXXXX.nanovhd-partial`), which only a kill leaves behind.
//!
//! # What comes across
//! Contents, times (modified and read; made, where the host lets it be set), the read-only bit, hard links (as copies where the
//! host has none). Junctions and symbolic links become symbolic links where they lead to a place within the folder: a relative
//! one as it is, an absolute one only if the whole image is copied. Named streams come on request. Security descriptors, short
//! names, extended attributes, object ids and other attributes stay behind. What is left out or renamed is said.
//!
//! # What it keeps out of
//! It writes nowhere but below the output folder: names have no separators in them, a symbolic link in the way of a folder is an
//! error, and links that it makes itself are made when nothing is written any more. Nothing keeps another program from changing
//! the folder at the same moment.

mod names;
mod place;
mod plan;
mod stage;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;

use self::plan::Plan;
use super::Control;
use super::lookup::Found;
use crate::error::Result;
use crate::tree::Tree;

/// What the caller decides.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether files that exist are replaced.
    pub force: bool,
    /// Whether named streams come too: as such on Windows, elsewhere as files `NAME:STREAM`.
    pub streams: bool,
    /// How many threads to work on.
    pub threads: NonZeroUsize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files with contents of their own; streams count too.
    pub files: u64,
    /// Directories below the output folder, those that were there included.
    pub directories: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Symbolic links.
    pub symbolic_links: u64,
    /// Bytes in all files.
    pub bytes: u64,
    /// What was left out or renamed, in words.
    pub notes: Vec<String>,
}

/// Copies what was found into the folder `output`, each under its own name (of the root: all that is in it), which is made if
/// it is not there.
///
/// # Errors
/// [`BadOutput`](crate::error::Kind::BadOutput) if something is in the way, before anything is written.
pub fn extract(tree: &Tree, found: &[Found<'_>], output: &Path, options: Options, control: &Control) -> Result<Report> {
    let folder = stage::Folder::make(output, control)?;
    let plan = Plan::new(tree, found, options.streams, folder.ignores_case()?)?;
    plan.check(folder.output(), options.force)?;
    control.expect(plan.bytes());
    stage::write(&plan, &folder, options.threads, control)?;
    place::all(plan, folder, options.force, control)
}

/// How many notes of a kind are kept; the others are counted.
const KEPT: usize = 20;

/// Notes by what they are about.
#[derive(Debug, Default)]
struct Notes(BTreeMap<&'static str, (Vec<String>, usize)>);

impl Notes {
    /// `what` is a clause that begins with the kind of thing: "left out, as it leads out of the folder".
    fn add(&mut self, what: &'static str, which: impl FnOnce() -> String) {
        let (kept, count) = self.0.entry(what).or_default();
        *count += 1;
        if kept.len() < KEPT {
            kept.push(which());
        }
    }

    fn lines(self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, (kept, count)) in self.0 {
            let more = count - kept.len();
            lines.extend(kept.into_iter().map(|which| format!("{which}: {what}")));
            if more > 0 {
                lines.push(format!("{more} more: {what}"));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests;
