//! From a WIM that somebody else wrote to a volume that somebody else reads: nothing may be lost or added on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ntfs::NtfsReadSeek;

use crate::support::program::{demo_wim, succeed};
use crate::support::tools::{Tools, text};

const PARTITION: u64 = 1 << 20;
const DISK: u64 = 64 << 20;

/// A volume with everything that the demo has, made by ntfs-3g and wimlib.
pub(crate) fn foreign_volume(tools: &Tools, folder: &Path) -> PathBuf {
    let volume = folder.join("foreign.ntfs");
    fs::File::create(&volume).unwrap().set_len(DISK).unwrap();
    tools.run("mkntfs", &["--quiet", "--fast", "--force", "--label", "foreign", text(&volume)]);
    tools.run("wimlib-imagex", &["apply", text(&demo_wim(folder)), "2", text(&volume), "--quiet"]);
    volume
}

/// The volume of a disk that we built without a container.
fn volume_of(disk: &Path) -> PathBuf {
    let volume = disk.with_extension("ntfs");
    let mut input = fs::File::open(disk).unwrap();
    input.seek(SeekFrom::Start(PARTITION)).unwrap();
    let mut bytes = Vec::new();
    input.take(DISK - 2 * PARTITION).read_to_end(&mut bytes).unwrap();
    fs::write(&volume, bytes).unwrap();
    volume
}

/// Builds a disk from the first image of a WIM; gives its volume.
fn build(wim: &Path, disk: &Path, options: &[&str]) -> PathBuf {
    let size = DISK.to_string();
    succeed(
        [&["build", "--wim", text(wim), "--output", text(disk), "--format=raw", "--size", &size], options].concat(),
    );
    volume_of(disk)
}

/// All that wimlib shows of an image, by path, without what differs between any two WIMs (offsets, numbers of link groups).
pub(crate) fn detailed(tools: &Tools, wim: &Path) -> BTreeMap<String, Vec<String>> {
    let listing = tools.run("wimlib-imagex", &["dir", text(wim), "1", "--detailed"]);
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut files = BTreeMap::new();
    for block in listing.split("----------------------------------------------------------------------------\n").skip(1)
    {
        let lines: Vec<&str> = block.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let path = lines[0].split('"').nth(1).expect("a path").to_owned();
        let mut kept = Vec::new();
        for line in &lines[1..] {
            match line.split(" = ").next().unwrap_or_default().trim() {
                "Link Group ID" if !line.ends_with("0x0000000000000000") => {
                    groups.entry((*line).into()).or_default().push(path.clone())
                }
                "Link Group ID" | "Compressed size" | "Offset in WIM" | "Part Number" | "Reference Count" | "Flags" => {
                }
                name if name.starts_with("Flags") || name.contains("resource") || name.starts_with("Solid") => {}
                _ => kept.push((*line).to_owned()),
            }
        }
        files.insert(path, kept);
    }
    for paths in groups.values() {
        for path in paths {
            files.get_mut(path).unwrap().push(format!("one file: {}", paths.join(", ")));
        }
    }
    files
}

pub(crate) fn added_by_us(path: &str) -> bool {
    ["/bootmgr", "/BOOTNXT", "/Boot"].contains(&path) || path.starts_with("/Boot/")
}

#[test]
fn wimlib_finds_the_source_in_our_volume() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "mkntfs"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let foreign = foreign_volume(&tools, folder.path());
    let kinds: [(&str, &[&str]); 7] = [
        ("none", &["--compress=none"]),
        ("xpress", &["--compress=XPRESS"]),
        ("xpress4k", &["--compress=XPRESS", "--chunk-size=4K"]),
        ("lzx", &["--compress=LZX"]),
        ("lzx2m", &["--compress=LZX", "--chunk-size=2M"]),
        ("lzms", &["--compress=LZMS"]),
        ("solid", &["--solid"]),
    ];
    for (name, options) in kinds {
        let wim = folder.path().join(name).with_extension("wim");
        tools.run("wimlib-imagex", &[&["capture", text(&foreign), text(&wim), "--quiet"], options].concat());
        compare(&tools, &wim, &wim, &[]);
    }
    // Split: our program gets any one of the parts, wimlib needs the first and a pattern for the rest.
    let whole = folder.path().join("xpress.wim");
    let first = folder.path().join("split.swm");
    tools.run("wimlib-imagex", &["split", text(&whole), text(&first), "1", "--quiet"]);
    let second = folder.path().join("split2.swm");
    assert!(second.exists(), "the WIM is too small to be split");
    compare(&tools, &whole, &first, &[]);
    compare(&tools, &whole, &second, &["--cluster-size=64K"]);
    compare(&tools, &whole, &folder.path().join("split*.swm"), &["--cluster-size=512"]);
}

/// Builds from `source` and compares what wimlib captures of it with what it shows of `wim`.
fn compare(tools: &Tools, wim: &Path, source: &Path, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let volume = build(source, &folder.path().join("disk.img"), options);
    let back = folder.path().join("back.wim");
    tools.run("wimlib-imagex", &["capture", text(&volume), text(&back), "--compress=none", "--quiet"]);
    let expected = detailed(tools, wim);
    let found = detailed(tools, &back);
    for (path, lines) in &expected {
        assert_eq!(found.get(path), Some(lines), "{path} of {}", source.display());
    }
    let more: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path) && !added_by_us(path)).collect();
    assert!(more.is_empty(), "not in the source: {more:?}");
    assert!(found.contains_key("/Boot/BCD") && found.contains_key("/bootmgr"), "boot files are missing");
    times_are_exact(wim, &back);
}

/// wimlib shows whole seconds; the WIMs have all of each time, and both were written by wimlib.
fn times_are_exact(wim: &Path, back: &Path) {
    use nanovhd::image::source::open_wim;
    let tree = |path: &Path| open_wim(path, None).unwrap().tree(1).unwrap().tree;
    let (expected, found) = (tree(wim), tree(back));
    let paths = expected.paths(usize::MAX, |_, _| true);
    assert!(paths.len() > 300);
    for path in paths {
        let times = |tree: &nanovhd::tree::Tree| tree.find(&path).map(|node| tree.node(node).times);
        assert_eq!(times(&found), times(&expected), "{path}");
    }
}

#[test]
fn every_reader_takes_our_volume_without_complaint() {
    let names = ["wimlib-imagex", "mkntfs", "ntfsfix", "ntfsinfo", "fls", "fsntfsinfo", "grub-fstest"];
    let Some(tools) = Tools::find(&names) else { return };
    let folder = tempfile::tempdir().unwrap();
    let foreign = foreign_volume(&tools, folder.path());
    let wim = folder.path().join("source.wim");
    tools.run("wimlib-imagex", &["capture", text(&foreign), text(&wim), "--compress=XPRESS", "--quiet"]);
    for cluster_size in ["512", "4K", "64K"] {
        let disk = folder.path().join(format!("disk-{cluster_size}.img"));
        let volume = build(&wim, &disk, &["--cluster-size", cluster_size, "--label", "nano"]);

        let fixed = tools.run("ntfsfix", &["-n", text(&volume)]);
        assert!(fixed.contains("processed successfully") && !fixed.contains("FAILED"), "{fixed}");
        assert!(tools.run("ntfsinfo", &["-m", text(&volume)]).contains("Volume Name: nano"));
        let listed = tools.run("fls", &["-r", "-p", "-f", "ntfs", text(&volume)]);
        // libfsntfs finds no index blocks in volumes with other clusters, those of mkntfs included.
        let hierarchy = (cluster_size == "4K").then(|| tools.run("fsntfsinfo", &["-H", text(&volume)]));
        for file in ["Windows/System32/config/SYSTEM", "Users/Administrator/Desktop/Grüße.txt", "Boot/BCD"] {
            assert!(listed.contains(file), "fls does not list {file}");
            let name = file.rsplit('/').next().unwrap();
            assert!(hierarchy.as_ref().is_none_or(|listed| listed.contains(name)), "fsntfsinfo does not list {name}");
        }
        let grub =
            tools.run_for_bytes("grub-fstest", &[text(&disk), "cat", "(loop0,msdos1)/Windows/Boot/PCAT/bootmgr"]);
        assert_eq!(grub, nanovhd::image::demo::STAND_IN, "GRUB reads another boot manager");
        if cluster_size != "64K" {
            every_name_is_found(&volume); // the crate `ntfs` counts index blocks in clusters, which there are larger
        }
    }
}

/// Looks every name of the volume up through its index, as Windows would, and reads every stream to its end.
fn every_name_is_found(volume: &Path) {
    let mut file = std::io::BufReader::new(fs::File::open(volume).unwrap());
    let mut ntfs = ntfs::Ntfs::new(&mut file).unwrap();
    ntfs.read_upcase_table(&mut file).unwrap();
    let mut work = vec![ntfs.root_directory(&mut file).unwrap().file_record_number()];
    let mut names = 0;
    while let Some(number) = work.pop() {
        let directory = ntfs.file(&mut file, number).unwrap();
        let index = directory.directory_index(&mut file).unwrap();
        let mut listed = Vec::new();
        let mut entries = index.entries();
        while let Some(entry) = entries.next(&mut file) {
            let entry = entry.unwrap();
            let key = entry.key().unwrap().unwrap();
            listed.push((
                key.name().to_string_lossy(),
                entry.file_reference().file_record_number(),
                key.is_directory(),
                key.namespace(),
            ));
        }
        for (name, record, is_directory, namespace) in listed {
            let mut finder = index.finder();
            let found = ntfs::indexes::NtfsFileNameIndex::find(&mut finder, &ntfs, &mut file, &name).unwrap().unwrap();
            assert_eq!(found.file_reference().file_record_number(), record, "{name}");
            names += 1;
            let child = ntfs.file(&mut file, record).unwrap();
            let mut attributes = child.attributes();
            while let Some(item) = attributes.next(&mut file) {
                let item = item.unwrap();
                let attribute = item.to_attribute().unwrap();
                let mut value = attribute.value(&mut file).unwrap();
                let mut buffer = vec![0; 1 << 16];
                let sparse_metadata = record < 24; // $BadClus is as long as the volume
                while !sparse_metadata && value.read(&mut file, &mut buffer).unwrap() > 0 {}
            }
            let own = namespace != ntfs::structured_values::NtfsFileNamespace::Dos && record != number;
            if is_directory && own {
                work.push(record);
            }
        }
    }
    assert!(names > 300, "only {names} names");
}

#[test]
fn the_same_build_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let disk = |name: &str, options: &[&str]| {
        let path = folder.path().join(name);
        succeed([&["build", "--wim", text(&wim), "--output", text(&path), "--size=64M"], options].concat());
        fs::read(path).unwrap()
    };
    let first = disk("first.vhd", &[]);
    assert!(first == disk("second.vhd", &[]), "two builds differ");
    assert!(first != disk("labelled.vhd", &["--label=other"]), "the label changes nothing");
    assert!(first != disk("other-image.vhd", &["--image=2"]), "the image changes nothing");
    let seeded = disk("seeded.vhd", &["--seed=1"]);
    assert!(first != seeded && seeded == disk("seeded-again.vhd", &["--seed=1"]));
    assert!(first != disk("dated.vhd", &["--timestamp=2020-02-02T02:02:02Z"]));
    // The disk itself does not depend on its container.
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let raw = folder.path().join("converted.img");
    tools.run("qemu-img", &["convert", "-f", "vpc", "-O", "raw", text(&folder.path().join("first.vhd")), text(&raw)]);
    assert!(fs::read(raw).unwrap() == disk("raw.img", &[]), "the VHD holds another disk than the raw image");
}
