//! Whether boot programs can read a file as it is stored.

use super::Volume;
use super::lookup::Lookup;
use crate::verify::partitions::Content;
use crate::verify::{Finding, Findings, Level, Rule};
use crate::windows::About;

/// The first build whose loader reads more than XPRESS4K (Windows 10, version 1903).
const READS_ALL: u32 = 18362;
const XPRESS4K: u32 = 0;

/// Checks files that the boot manager or the loader reads. They have to be found through the directories, and must not be
/// encrypted; what the overlay filter compressed, old loaders can read in one form only.
pub(super) fn check(volume: &Volume<'_>, paths: &[String], level: Level, findings: &mut Findings) {
    if volume.content != Content::Ntfs {
        return;
    }
    let Ok(lookup) = Lookup::open(volume.window) else { return }; // a matter of the volume
    for path in paths.iter().filter(|path| volume.file(path).is_some()) {
        let (found, allowed) = match lookup.find(path) {
            Ok(Some(lies)) if lies.encrypted => ("encrypted".to_owned(), "a plain file"),
            Ok(Some(lies)) => match lies.wof {
                Some(algorithm) if algorithm != XPRESS4K && !reads_all(volume) => {
                    (format!("compressed by the overlay filter, algorithm {algorithm}"), "plain, or XPRESS4K")
                }
                _ => continue,
            },
            Ok(None) => ("a file that its directory does not list".to_owned(), "an entry in its directory"),
            Err(problem) => (problem.to_string(), "a file that can be read"),
        };
        let mut finding = Finding::new(Rule::BootFileCompressed, found).allowed(allowed).path(path).level(level);
        finding.place.partition = Some(volume.partition.number);
        findings.add(finding);
    }
}

fn reads_all(volume: &Volume<'_>) -> bool {
    let about = volume.tree.and_then(About::read);
    about.and_then(|about| about.version).is_some_and(|version| version.build >= READS_ALL)
}
