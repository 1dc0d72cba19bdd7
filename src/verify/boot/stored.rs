//! Whether boot programs can read a file as it is stored.

use std::cell::LazyCell;

use super::Volume;
use super::lookup::Lookup;
use crate::base::upcase;
use crate::format::hive::Hive;
use crate::tree::Tree;
use crate::verify::partitions::Content;
use crate::verify::{Finding, Findings, Level, Rule, windows};
use crate::windows::About;

/// The first build that has the overlay filter's compression, and a loader that reads it (Windows 10).
const READS_ANY: u32 = 10240;
/// The first build whose loader reads more than XPRESS4K (Windows 10, version 1903).
const READS_ALL: u32 = 18362;
const XPRESS4K: u32 = 0;

/// So many files are looked at; a Windows has some two hundred.
const MOST_FILES: usize = 4096;

/// Files below the folder of Windows that the loader reads, before any filter of the file system runs: folder, and of each kind of file
/// the beginning and ending of the name, in lower case. They are those that wimlib never compresses (`bootloader_pattern_strings`), but
/// for the loader, whose path the store has, and for drivers, of which those count that start at boot.
const READ_BY_LOADER: [(&str, &[(&str, &str)]); 10] = [
    ("", &[("bootstat.dat", "")]),
    (r"AppPatch", &[("drvmain.sdb", "")]),
    (r"Boot\EFI", &[("boot.stl", "")]),
    (r"Fonts", &[("vgaoem.fon", ""), ("vgasys.fon", "")]),
    (r"INF", &[("errata.inf", "")]),
    (r"System32\Boot", &[("winresume.", "")]),
    (r"System32\CodeIntegrity", &[("driver.stl", "")]),
    (r"System32\config", &[("", "")]),
    (
        r"System32",
        &[
            ("winresume.", ""),
            ("clfs.sys", ""),
            ("ntoskrnl.exe", ""),
            ("ntkrnlpa.exe", ""),
            ("hal", ".dll"),
            ("bootvid.dll", ""),
            ("ci.dll", ""),
            ("mcupdate_", ".dll"),
            ("pshed.dll", ""),
            ("apisetschema.dll", ""),
            ("api-ms-win", ".dll"),
            ("ext-ms-win", ".dll"),
            ("kernelbase.dll", ""),
            ("", ".nls"),
            ("kbd", ".dll"),
            ("kd", ".dll"),
        ],
    ),
    (r"System32\drivers", &[("clfs.sys", "")]),
];

/// The files of an installation that the loader reads: those that are always read, and the drivers that start at boot.
pub(super) fn read_by_loader(tree: &Tree, root: &str, system: Option<&Hive>) -> Vec<String> {
    let mut paths: Vec<String> = system.map(windows::boot_drivers).unwrap_or_default();
    for (folder, kinds) in READ_BY_LOADER {
        let folder = if folder.is_empty() { root.to_owned() } else { format!(r"{root}\{folder}") };
        let Some(directory) = tree.find(&folder) else { continue };
        for link in tree.node(directory).children() {
            let name = link.name.to_string().to_ascii_lowercase();
            if kinds.iter().any(|(beginning, ending)| name.starts_with(beginning) && name.ends_with(ending)) {
                paths.push(format!(r"{folder}\{}", link.name));
            }
        }
    }
    let folded = |path: &String| path.encode_utf16().map(upcase::upcase).collect::<Vec<_>>();
    paths.sort_by_cached_key(folded);
    paths.dedup_by_key(|path| folded(path));
    paths.truncate(MOST_FILES);
    paths
}

/// Checks files that the boot manager or the loader reads. They have to be found through the directories, and must not be
/// encrypted; what the overlay filter compressed, old loaders can read in one form only, or not at all.
pub(super) fn check(volume: &Volume<'_>, paths: &[String], level: Level, findings: &mut Findings) {
    if volume.content != Content::Ntfs {
        return;
    }
    let Ok(lookup) = Lookup::open(volume.window) else { return }; // a matter of the volume
    let build = LazyCell::new(|| Some(volume.tree.and_then(About::read)?.version?.build));
    for path in paths.iter().filter(|path| volume.file(path).is_some()) {
        let (found, allowed) = match lookup.find(path) {
            Ok(Some(lies)) if lies.encrypted => ("encrypted".to_owned(), "a plain file"),
            Ok(Some(lies)) => match lies.wof.and_then(|algorithm| fault_of_overlay(algorithm, *build)) {
                Some(fault) => fault,
                None => continue,
            },
            Ok(None) => ("a file that its directory does not list".to_owned(), "an entry in its directory"),
            Err(problem) => (problem.to_string(), "a file that can be read"),
        };
        let mut finding = Finding::new(Rule::BootFileCompressed, found).allowed(allowed).path(path).level(level);
        finding.place.partition = Some(volume.partition.number);
        findings.add(finding);
    }
}

/// Why the loader of that build cannot read what the overlay filter compressed so. One that is not known may be old.
fn fault_of_overlay(algorithm: u32, build: Option<u32>) -> Option<(String, &'static str)> {
    let allowed = match build {
        Some(..READS_ANY) => "a plain file",
        Some(READS_ALL..) => return None,
        _ if algorithm == XPRESS4K => return None,
        _ => "plain, or XPRESS4K",
    };
    Some((format!("compressed by the overlay filter, algorithm {algorithm}"), allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loader_reads_what_it_can() {
        let reads = |algorithm, build| fault_of_overlay(algorithm, build).is_none();
        assert_eq!([0, 1, 2, 3].map(|algorithm| reads(algorithm, Some(9600))), [false; 4]);
        assert_eq!([0, 1, 2, 3].map(|algorithm| reads(algorithm, Some(14393))), [true, false, false, false]);
        assert_eq!([0, 1, 2, 3].map(|algorithm| reads(algorithm, Some(18362))), [true; 4]);
        assert_eq!([0, 1].map(|algorithm| reads(algorithm, None)), [true, false]);
    }
}
