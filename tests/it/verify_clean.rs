//! Volumes that are clean, whoever made them: the strict checker finds nothing worse than a note.

use std::num::NonZeroUsize;

use nanovhd::base::MemoryDisk;
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::Tree;
use nanovhd::verify::{Findings, Level, ntfs};

use crate::support::random_tree::random_tree;
use crate::support::tools::windows_file;

/// What the checker finds, as text, from `least` on.
fn findings(volume: &[u8], least: Level) -> Vec<String> {
    let mut findings = Findings::default();
    let summary = ntfs::check(&volume, &mut findings);
    assert!(summary.files > 16, "{summary:?}: {:?}", findings.kept());
    findings.kept().iter().filter(|finding| finding.level >= least).map(ToString::to_string).collect()
}

fn build(tree: &Tree, options: &Options) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + (1 << 20)).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    let threads = NonZeroUsize::new(2).unwrap();
    Plan::new(tree, len, options).unwrap().write(tree, &disk, threads, &|_| {}).unwrap();
    disk.into_bytes()
}

#[test]
fn our_own_volumes_have_nothing_to_be_noted() {
    let sizes = [(512, 512), (512, 1024), (512, 4096), (512, 65536), (4096, 4096), (4096, 65536)];
    for (seed, (sector_size, cluster_size)) in (1..).zip(sizes.into_iter().cycle().take(18)) {
        let options = Options { sector_size, cluster_size, ..Options::default() };
        let tree = random_tree(seed, u64::from(cluster_size));
        let found = findings(&build(&tree, &options), Level::Note);
        assert!(found.is_empty(), "seed {seed}, clusters of {cluster_size}: {found:#?}");
    }
}

#[test]
fn volumes_of_windows_are_clean() {
    for name in ["ntfs/windows10-formatted-10MB.img.xz", "ntfs/windows10-lastaccess.ntfs.xz"] {
        let Some(volume) = windows_file(name) else { return };
        let found = findings(&volume, Level::Warning);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}
