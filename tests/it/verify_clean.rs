//! Volumes that are clean, whoever made them: the strict checker finds nothing worse than a note.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use nanovhd::base::MemoryDisk;
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::Tree;
use nanovhd::verify::{Findings, Level, ntfs};

use crate::support::random_tree::random_tree;
use crate::support::tools::{Tools, text, windows_file};
use crate::support::volume::Volume;

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
        let mut found = findings(&build(&tree, &options), Level::Note);
        // The trees have symbolic links and mount points that say nothing sensible, and the writer keeps them.
        found.retain(|finding| !finding.starts_with("warning[ntfs-reparse-point]"));
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

/// Formats a volume of 96 MiB.
fn format(tools: &Tools, image: &Path, cluster: &str) {
    File::create(image).unwrap().set_len(96 << 20).unwrap();
    let options = ["-F", "-q", "-Q", "-s", "512", "-p", "2048", "-H", "255", "-S", "63", "-c", cluster];
    tools.run("mkntfs", &[&options[..], &[text(image)]].concat());
}

#[test]
fn volumes_of_mkntfs_and_wimlib_are_clean() {
    let Some(tools) = Tools::find(&["mkntfs", "wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    for directory in ["many", "deep/er/still"] {
        fs::create_dir_all(source.join(directory)).unwrap();
    }
    for number in 0..700 {
        fs::write(source.join(format!("many/a long name, number {number}")), vec![1; number * 11]).unwrap();
    }
    fs::hard_link(source.join("many/a long name, number 9"), source.join("deep/er/still/again")).unwrap();
    let wim = folder.path().join("one.wim");
    tools.run("wimlib-imagex", &["capture", text(&source), text(&wim), "--compress=none"]);
    for cluster in ["512", "4096", "65536"] {
        let image = folder.path().join(format!("volume-{cluster}"));
        format(&tools, &image, cluster);
        let found = findings(&fs::read(&image).unwrap(), Level::Warning);
        assert!(found.is_empty(), "formatted, clusters of {cluster}: {found:#?}");
        tools.run("wimlib-imagex", &["apply", text(&wim), "1", text(&image)]);
        let found = findings(&fs::read(&image).unwrap(), Level::Warning);
        assert!(found.is_empty(), "filled, clusters of {cluster}: {found:#?}");
    }
}

#[test]
fn a_volume_that_ntfs_3g_wrote_to_is_clean() {
    let Some(tools) = Tools::find(&Volume::TOOLS) else { return };
    for options in [&["-C"][..], &[]] {
        ntfs_3g_wrote(Volume::format(&tools, 4096, 96 << 20, options));
    }
}

fn ntfs_3g_wrote(volume: Volume<'_>) {
    let filled = volume.mounted(|root| {
        let many = root.join("many");
        fs::create_dir(&many).unwrap();
        for number in 0..900 {
            fs::write(many.join(format!("a file with a long name, number {number}")), format!("{number}")).unwrap();
        }
        for number in (0..900).step_by(3) {
            fs::remove_file(many.join(format!("a file with a long name, number {number}"))).unwrap();
        }
        for number in 0..40 {
            fs::hard_link(
                many.join("a file with a long name, number 1"),
                root.join(format!("a link of many, number {number}")),
            )
            .unwrap();
        }
        let (mut a, mut b) = (File::create(root.join("a")).unwrap(), File::create(root.join("b")).unwrap());
        for number in 0..300 {
            for file in [&mut a, &mut b] {
                file.write_all(&[number as u8; 4096]).and_then(|()| file.sync_all()).unwrap();
            }
        }
        fs::remove_file(root.join("b")).unwrap();
        let mut sparse = File::create(root.join("sparse")).unwrap();
        sparse.seek(SeekFrom::Start(9_000_000)).and_then(|_| sparse.write_all(&[1; 5000])).unwrap();
        fs::write(root.join("compressed"), "abcdefgh ".repeat(30_000)).unwrap();
        fs::write(root.join("cut"), "abcdefgh ".repeat(30_000)).unwrap();
        File::options().write(true).open(root.join("cut")).and_then(|file| file.set_len(100_000)).unwrap();
    });
    if filled.is_none() {
        return;
    }
    let found = findings(&volume.into_disk().volume, Level::Warning);
    // The disk has boot code of ours in its first sector, but not in the copy of it.
    let found: Vec<_> = found.iter().filter(|finding| !finding.starts_with("error[ntfs-boot-backup]")).collect();
    assert!(found.is_empty(), "{found:#?}");
}
