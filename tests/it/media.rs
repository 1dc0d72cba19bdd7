//! Installation media: built from as they are, against the same build from the image file by itself; listed and read against 7z.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nanovhd::format::{iso9660, udf};
use nanovhd::image::Media;
use nanovhd::image::media::MediaKind;

use crate::support::program::{demo_wim, fail, nanovhd, succeed};
use crate::support::tools::{Tools, text};
use crate::support::udf::{Extent, Form, UdfVolume};

const GIB: u64 = 1 << 30;
/// How far the tables of a [`far_wim`] are behind its resources.
const FAR: u64 = 5 * GIB;
/// The bar for the memory of a build.
const PEAK_KB: u64 = 100_000;
const ODD_NAMES: [&str; 3] = ["Ünï dir", "file with a long name あ.txt", "no extension"];

/// The files of a medium for Windows Server 2016, as far as they matter, and a disk built from its image file by itself.
struct Scene {
    folder: tempfile::TempDir,
    wim: PathBuf,
    /// The second image of the WIM, built without a medium.
    expected: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wim = demo_wim(folder.path());
        let expected = folder.path().join("expected.img");
        build(&["--wim", text(&wim)], &expected);
        let expected = fs::read(expected).unwrap();
        Self { folder, wim, expected }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with the files of a medium, its image file still missing.
    fn files(&self, name: &str) -> PathBuf {
        let files = self.path(name);
        let packages = files.join("NanoServer").join("Packages");
        fs::create_dir_all(packages.join("en-us")).unwrap();
        fs::create_dir_all(files.join("sources")).unwrap();
        fs::write(packages.join("Microsoft-NanoServer-Guest-Package.cab"), "a cabinet").unwrap();
        fs::write(packages.join("en-us").join("Microsoft-NanoServer-Guest-Package_en-us.cab"), "another").unwrap();
        let odd = files.join(ODD_NAMES[0]);
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join(ODD_NAMES[1]), "read me").unwrap();
        fs::write(odd.join(ODD_NAMES[2]), vec![7; 5000]).unwrap();
        fs::write(files.join("empty.txt"), "").unwrap();
        files
    }

    fn nano_server(&self, name: &str) -> PathBuf {
        let files = self.files(name);
        fs::copy(&self.wim, files.join("NanoServer").join("NanoServer.wim")).unwrap();
        files
    }

    /// Builds the second image; the disk has to be the same, whatever it came from.
    fn check_build(&self, source: &[&str]) {
        let output = self.path("built.img");
        build(source, &output);
        assert!(fs::read(&output).unwrap() == self.expected, "{source:?} gives another disk");
        fs::remove_file(output).unwrap();
    }
}

fn build(source: &[&str], output: &Path) {
    let more = ["--image=datacenter", "--size=64M", "--format=raw", "--output", text(output)];
    succeed([&["build"], source, &more].concat());
}

/// A WIM whose tables lie 5 GiB behind its resources, with nothing between: a valid one, that has to be read beyond 4 GiB.
fn far_wim(wim: &Path, target: &Path) {
    let mut bytes = fs::read(wim).unwrap();
    let offset = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
    const BLOB_TABLE: usize = 0x30;
    const XML: usize = 0x48;
    const INTEGRITY: usize = 0x7C;
    let split = offset(&bytes, BLOB_TABLE).min(offset(&bytes, XML));
    for at in [BLOB_TABLE, XML] {
        let moved = offset(&bytes, at) + FAR;
        bytes[at + 8..at + 16].copy_from_slice(&moved.to_le_bytes());
    }
    bytes[INTEGRITY..INTEGRITY + 24].fill(0); // it is about the bytes in between, too
    let mut file = File::create(target).unwrap();
    file.write_all(&bytes[..split as usize]).unwrap();
    file.seek(SeekFrom::Start(split + FAR)).unwrap();
    file.write_all(&bytes[split as usize..]).unwrap();
}

/// Where a file has something else than zeros, in steps of a MiB.
fn stretches(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut found = Vec::new();
    // Those of a far WIM are within its first MiBs and its last ones.
    for at in (0..len).step_by(1 << 20).filter(|at| *at < 16 << 20 || *at + (16 << 20) > len) {
        let mut bytes = vec![0; (len - at).min(1 << 20) as usize];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).unwrap();
        if bytes.iter().any(|byte| *byte != 0) {
            found.push((at, bytes));
        }
    }
    found
}

/// Runs a program that prints a file, of which only what is not zeros is written to the disk.
fn keep_sparse(program: &str, args: &[&str], target: &Path) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = child.stdout.take().unwrap();
    let mut file = File::create(target).unwrap();
    let mut chunk = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let mut filled = 0;
        while filled < chunk.len() {
            match stream.read(&mut chunk[filled..]).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        if chunk[..filled].iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(len)).and_then(|_| file.write_all(&chunk[..filled])).unwrap();
        }
        len += filled as u64;
    }
    file.set_len(len).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {args:?}");
}

/// What 7z lists, by path: whether it is a folder, and its size.
fn listed_by_7z(tools: &Tools, kind: &str, medium: &Path) -> BTreeMap<String, (bool, u64)> {
    let listing = tools.run("7z", &["l", "-slt", kind, text(medium)]);
    let (_, entries) = listing.split_once("----------\n").expect("a list");
    let field = |block: &str, name: &str| -> Option<String> {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ").map(str::to_owned))
    };
    let entry = |block: &str| {
        let path = format!("\\{}", field(block, "Path")?.replace('/', "\\"));
        let folder = field(block, "Folder").as_deref() == Some("+");
        let size = field(block, "Size").and_then(|size| size.parse().ok()).unwrap_or(0);
        Some((path, (folder, if folder { 0 } else { size })))
    };
    entries.split("\n\n").filter_map(entry).collect()
}

fn listed_by_us(medium: &Path) -> BTreeMap<String, (bool, u64)> {
    let listing = succeed(["ls", "-R", "--json", text(medium)]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let entry = |file: &serde_json::Value| {
        let path = file["path"].as_str().unwrap().to_owned();
        (path, (file["directory"].as_bool().unwrap(), file["bytes"].as_u64().unwrap()))
    };
    listing.as_array().unwrap().iter().map(entry).collect()
}

/// Both list the same, and the small files have the same contents, apart from those that 7z cannot read.
fn compare_with_7z(tools: &Tools, kind: &str, medium: &Path, beyond_7z: &[&str]) -> usize {
    let (theirs, ours) = (listed_by_7z(tools, kind, medium), listed_by_us(medium));
    assert_eq!(ours, theirs, "{}", medium.display());
    let is_read = |path: &str, (folder, size): &(bool, u64)| !folder && *size < 1 << 23 && !beyond_7z.contains(&path);
    for (path, _) in ours.iter().filter(|(path, facts)| is_read(path, facts)) {
        let theirs = tools.run_for_bytes("7z", &["e", "-so", kind, text(medium), &path[1..].replace('\\', "/")]);
        let ours = nanovhd(["cat", text(medium), path]).output().unwrap();
        assert!(ours.status.success() && ours.stdout == theirs, "{path} of {}", medium.display());
    }
    ours.len()
}

fn genisoimage(tools: &Tools, options: &[&str], files: &Path, medium: &Path) {
    tools.run("genisoimage", &[&["-quiet", "-V", "NANO", "-o", text(medium)], options, &[text(files)]].concat());
}

#[test]
fn every_kind_of_medium_gives_the_same_disk() {
    let Some(tools) = Tools::find(&["genisoimage", "7z"]) else { return };
    let scene = Scene::new();
    let files = scene.nano_server("files");
    let kinds: [(&str, &str, &[&str]); 6] = [
        ("bridge", "-tudf", &["-udf", "-J"]),
        ("udf", "-tudf", &["-udf"]),
        ("joliet", "-tiso", &["-J", "-joliet-long"]),
        ("rock", "-tiso", &["-J", "-joliet-long", "-R"]),
        ("level1", "-tiso", &["-iso-level", "1"]),
        ("level4", "-tiso", &["-iso-level", "4"]),
    ];
    for (name, kind, options) in kinds {
        let medium = scene.path(name).with_extension("iso");
        genisoimage(&tools, options, &files, &medium);
        assert!(compare_with_7z(&tools, kind, &medium, &[]) >= 11, "{name}");
        scene.check_build(&["--media", text(&medium)]);
        scene.check_build(&["--wim", text(&medium)]);
        let told = succeed(["info", text(&medium)]);
        for word in [
            "label \"NANO\"",
            "SERVERDATACENTERNANO",
            "2 packages",
            if name == "udf" { "UDF 1.02" } else { "ISO 9660" },
        ] {
            assert!(told.contains(word), "{name} has no {word}: {told}");
        }
        if name != "level1" {
            assert!(told.contains(r"en-us") && told.contains("Guest-Package_en-us.cab"), "{told}");
        }
    }
    scene.check_build(&["--media", text(&files)]);
    scene.check_build(&["--wim", text(&files)]);
    let media = Media::open(&scene.path("udf.iso")).unwrap();
    assert_eq!(media.kind, MediaKind::Udf { revision: "1.02".into(), bridge: true });
    let packages = media.packages().unwrap();
    let languages: Vec<_> = packages.iter().map(|package| package.language.as_deref()).collect();
    assert_eq!(languages, [None, Some("en-us")]);
    assert_eq!(packages[1].bytes, 7);
    let mut bytes = [0; 7];
    media.file(&packages[1].file.to_uppercase()).unwrap().unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"another");
}

/// A WIM of more than 5 GiB on a bridge, in whose ISO 9660 half its length is wrong; and in several extents of ISO 9660's level 3.
#[test]
fn image_files_beyond_4_gib_are_read_where_they_lie() {
    let Some(tools) = Tools::find(&["genisoimage", "xorriso", "7z", "time"]) else { return };
    let scene = Scene::new();
    let files = scene.files("files");
    let wim = files.join("sources").join("install.wim");
    far_wim(&scene.wim, &wim);
    fs::write(files.join("zzz.txt"), "behind it").unwrap();
    let expected = stretches(&wim);
    assert!(expected.last().unwrap().0 >= FAR);
    scene.check_build(&["--wim", text(&wim)]);
    let bridge = ["-quiet", "-udf", "-J", "-allow-limited-size", text(&files)];
    let multi = ["-as", "mkisofs", "-quiet", "-iso-level", "3", "-J", "-joliet-long", text(&files)];
    for (program, args, kind) in [("genisoimage", &bridge[..], "-tudf"), ("xorriso", &multi[..], "-tiso")] {
        let medium = scene.path("large.iso");
        keep_sparse(program, args, &medium);
        let listed = listed_by_us(&medium);
        assert_eq!(listed[r"\sources\install.wim"].1, fs::metadata(&wim).unwrap().len(), "{program}");
        assert_eq!(listed, listed_by_7z(&tools, kind, &medium), "{program}");
        let file = Media::open(&medium).unwrap().file("sources/INSTALL.wim").unwrap().unwrap();
        for (at, expected) in &expected {
            let mut bytes = vec![0; expected.len()];
            file.read_at(*at, &mut bytes).unwrap();
            assert!(bytes == *expected, "{program}: another content at {at}");
        }
        assert_eq!(succeed(["cat", text(&medium), "zzz.txt"]), "behind it");
        scene.check_build(&["--media", text(&medium)]);
        check_peak(&tools, &medium, &scene.path("measured.img"));
        if program == "genisoimage" {
            // The other half of the bridge is there, and lies about the length.
            let half =
                iso9660::Volume::open(Arc::new(nanovhd::image::host::InputFile::open(&medium).unwrap())).unwrap();
            let files = half.read().unwrap();
            let node = files.tree.find("sources/install.wim").unwrap();
            assert!(files.tree.node(node).main().unwrap().len() < FAR);
        }
        fs::remove_file(medium).unwrap();
    }
}

/// A build from a medium takes less memory than the bar.
fn check_peak(tools: &Tools, medium: &Path, output: &Path) {
    let report = output.with_extension("peak");
    let build = ["build", "--media", text(medium), "--image=2", "--format=raw", "--output", text(output)];
    let program = env!("CARGO_BIN_EXE_nanovhd");
    tools.run("time", &[&["--format=%M", "--output", text(&report), program], &build[..]].concat());
    let peak: u64 = fs::read_to_string(report).unwrap().trim().parse().unwrap();
    println!("{}: peak memory {peak} kB", medium.display());
    assert!(peak < PEAK_KB, "{peak} kB");
    fs::remove_file(output).unwrap();
}

/// Volumes of mkudffs: all sizes of blocks, both kinds of file entries, all forms of extents.
#[test]
fn volumes_of_mkudffs_are_read() {
    let Some(tools) = Tools::find(&["mkudffs", "7z"]) else { return };
    let scene = Scene::new();
    let wim = fs::read(&scene.wim).unwrap();
    let kinds =
        [("512", "2.01"), ("512", "1.02"), ("1024", "2.00"), ("2048", "1.02"), ("2048", "2.01"), ("4096", "2.01")];
    for (block, revision) in kinds {
        let medium = scene.path("small.udf");
        File::create(&medium).unwrap().set_len(64 << 20).unwrap();
        let options = ["--media-type=hd", "--blocksize", block, "--udfrev", revision, "--label=NANO"];
        tools.run("mkudffs", &[&options[..], &[text(&medium)]].concat());
        let mut volume = UdfVolume::open(&medium, block.parse().unwrap());
        let unit = volume.block;
        let pieces: Vec<Extent> = wim
            .chunks(3 * unit as usize * 50)
            .map(|piece| {
                volume.take(2); // so that the next does not follow at once
                volume.data(piece)
            })
            .collect();
        let scattered = volume.file(Form::Long, &pieces, 4);
        let quarters = wim.chunks(wim.len().div_ceil(4).next_multiple_of(unit as usize));
        let quarters: Vec<Extent> = quarters.rev().map(|piece| volume.data(piece)).collect();
        let backwards = volume.file(Form::Short, &quarters.into_iter().rev().collect::<Vec<_>>(), 4);
        let (start, middle) = (volume.data(&vec![1; unit as usize]), volume.data(b"end"));
        let hole = volume.file(Form::Short, &[start, (None, 3 * unit), middle], 2);
        let small = volume.embedded(b"read me");
        let sources = volume.directory(&[
            ("install.wim", false, scattered),
            ("with a hole", false, hole),
            ("four.wim", false, backwards),
        ]);
        let odd = volume.directory(&[(ODD_NAMES[1], false, small), ("the same", false, small)]);
        volume.root(&[("SOURCES", true, sources), (ODD_NAMES[0], true, odd)]);
        // 7z knows neither extensions of allocation descriptors nor holes, and no other sizes of blocks.
        let beyond_7z = [r"\SOURCES\install.wim", r"\SOURCES\with a hole"];
        let count = match block {
            "512" | "2048" => compare_with_7z(&tools, "-tudf", &medium, &beyond_7z),
            _ => listed_by_us(&medium).len(),
        };
        assert_eq!(count, 7, "blocks of {block}, {revision}");
        let copy = nanovhd(["cat", text(&medium), r"sources\four.wim"]).output().unwrap();
        assert!(copy.status.success() && copy.stdout == wim, "blocks of {block}, {revision}");
        scene.check_build(&["--media", text(&medium)]);
        let expected = [vec![1; unit as usize], vec![0; 3 * unit as usize], b"end".to_vec()].concat();
        let media = Media::open(&medium).unwrap();
        assert!(media.notes().is_empty(), "{:?}", media.notes());
        assert_eq!(media.kind, MediaKind::Udf { revision: revision.into(), bridge: false });
        let mut bytes = vec![0xD1; expected.len()];
        media.file("Sources\\WITH a hole").unwrap().unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes == expected, "blocks of {block}, {revision}");
    }
    for (options, name) in [
        (["--media-type=cdr", "--udfrev=1.50"], "Virtual Partition"),
        (["--media-type=dvdrw", "--udfrev=2.01"], "Sparable Partition"),
    ] {
        let medium = scene.path("other.udf");
        File::create(&medium).unwrap().set_len(700 << 20).unwrap();
        tools.run("mkudffs", &[&options[..], &["--blocksize=2048", text(&medium)]].concat());
        let (code, complaint) = fail(["ls", text(&medium)]);
        assert!(code == 22 && complaint.contains(name), "{complaint}");
    }
}

/// A volume of mkudffs with a file of 5 GiB, and with a WIM of 5 GiB in pieces.
#[test]
fn a_volume_of_mkudffs_with_files_of_5_gib() {
    let Some(tools) = Tools::find(&["mkudffs", "7z", "time"]) else { return };
    let scene = Scene::new();
    let far = scene.path("far.wim");
    far_wim(&scene.wim, &far);
    let medium = scene.path("large.udf");
    File::create(&medium).unwrap().set_len(16 * GIB).unwrap();
    tools.run("mkudffs", &["--blocksize=2048", "--label=NANO", text(&medium)]);
    let mut volume = UdfVolume::open(&medium, 2048);
    // 5 GiB that are recorded, with marks at both ends and on both sides of 4 GiB.
    let large = volume.take(5 * GIB / volume.block);
    let marks: [(u64, &[u8]); 4] = [(0, b"head"), (4 * GIB - 4, b"last"), (4 * GIB, b"next"), (5 * GIB - 4, b"tail")];
    let large = {
        let place = |at: u64| (u64::from(large) + 257) * 2048 + at;
        let mut file = fs::OpenOptions::new().write(true).open(&medium).unwrap();
        for (at, mark) in marks {
            file.seek(SeekFrom::Start(place(at))).and_then(|_| file.write_all(mark)).unwrap();
        }
        volume.file(Form::Short, &[(Some(large), 5 * GIB)], 3)
    };
    // The WIM: what is nothing in it is not recorded.
    let len = fs::metadata(&far).unwrap().len();
    let mut extents: Vec<Extent> = Vec::new();
    let mut end = 0;
    for (at, bytes) in stretches(&far) {
        if at > end {
            extents.push((None, at - end));
        }
        volume.take(3);
        extents.push(volume.data(&bytes));
        end = at + bytes.len() as u64;
    }
    assert_eq!(end, len);
    let wim = volume.file(Form::Long, &extents, 2);
    let sources = volume.directory(&[("install.wim", false, wim), ("large.bin", false, large)]);
    volume.root(&[("sources", true, sources)]);
    assert_eq!(listed_by_us(&medium), listed_by_7z(&tools, "-tudf", &medium));
    let media = Media::open(&medium).unwrap();
    let file = media.file(r"sources\large.bin").unwrap().unwrap();
    assert_eq!(file.len(), 5 * GIB);
    for (at, mark) in marks {
        let mut bytes = [0; 4];
        file.read_at(at, &mut bytes).unwrap();
        assert_eq!(bytes, mark, "at {at}");
    }
    scene.check_build(&["--media", text(&medium)]);
    check_peak(&tools, &medium, &scene.path("measured.img"));
}

#[test]
fn the_image_file_is_chosen_as_it_says() {
    let Some(tools) = Tools::find(&["genisoimage", "wimlib-imagex"]) else { return };
    let scene = Scene::new();
    let files = scene.nano_server("files");
    let sources = files.join("sources");
    // Another WIM: with one image, which has another name.
    let install = sources.join("install.wim");
    tools.run("wimlib-imagex", &["export", text(&scene.wim), "2", text(&install), "Other datacenter", "--quiet"]);
    let medium = scene.path("two.iso");
    genisoimage(&tools, &["-udf", "-J"], &files, &medium);
    for source in [&medium, &files] {
        let output = scene.path("told.img");
        let command = |more: &[&str]| {
            let size = ["--size=64M", "--force", "--output", text(&output)];
            succeed([&["build", "--media", text(source), "--image=datacenter"], &size[..], more].concat())
        };
        assert!(command(&[]).contains(r"NanoServer\NanoServer.wim"));
        assert!(command(&["--wim", r"SOURCES/Install.WIM"]).contains("Other datacenter"));
        let (code, complaint) = fail([
            "build",
            "--media",
            text(source),
            "--wim",
            r"sources\instal.wim",
            "--output",
            text(&scene.path("no.img")),
        ]);
        assert!(code == 31 && complaint.contains("did you mean install.wim?"), "{complaint}");
        // Of an image on it, the files are those of the image; without, those of the medium.
        assert!(succeed(["ls", text(source), "--image=1"]).contains("Windows"));
        assert!(!succeed(["ls", text(source)]).contains("Windows"));
    }
    // Split, and of another case than Windows has it.
    fs::remove_dir_all(files.join("NanoServer")).unwrap();
    fs::remove_file(&install).unwrap();
    let plain = scene.path("plain.wim");
    tools.run("wimlib-imagex", &["export", text(&scene.wim), "all", text(&plain), "--compress=none", "--quiet"]);
    tools.run("wimlib-imagex", &["split", text(&plain), text(&sources.join("install.swm")), "3", "--quiet"]);
    assert!(sources.join("install2.swm").exists(), "the WIM is too small to be split");
    let expected = scene.path("split.img");
    build(&["--wim", text(&sources.join("install.swm"))], &expected);
    let expected = fs::read(expected).unwrap();
    let medium = scene.path("split.iso");
    genisoimage(&tools, &["-udf"], &files, &medium);
    fs::rename(&sources, files.join("SOURCES")).unwrap();
    for source in [&medium, &files] {
        let output = scene.path("from-parts.img");
        build(&["--media", text(source)], &output);
        assert!(fs::read(&output).unwrap() == expected, "{}", source.display());
        fs::remove_file(&output).unwrap();
        build(&["--media", text(source), "--wim", r"sources\INSTALL2.SWM"], &output);
        assert!(fs::read(&output).unwrap() == expected, "{}", source.display());
        fs::remove_file(output).unwrap();
        assert!(succeed(["info", text(source)]).contains(r"sources\install.swm"));
    }
}

/// A folder without image files is what becomes the volume.
#[test]
fn a_folder_is_a_volume() {
    let scene = Scene::new();
    let windows = scene.path("extracted");
    succeed(["extract", text(&scene.wim), "--image=2", "--output", text(&windows)]);
    let disk = scene.path("folder.img");
    let source = ["build", "--wim", text(&windows), "--size=64M", "--output", text(&disk)];
    let told = succeed(source);
    assert!(told.contains("ServerDataCenterNano"), "{told}");
    succeed(["verify", text(&disk)]);
    let only = [r"Windows\System32\config", r"Windows\System32\drivers"];
    for path in only {
        let listing = |source: &str, more: &[&str]| succeed([&["ls", "-R", source], more, &[path]].concat());
        assert_eq!(listing(text(&disk), &[]), listing(text(&scene.wim), &["--image=2"]));
    }
    let hive = r"Windows\System32\config\SOFTWARE";
    let bytes = |args: &[&str]| nanovhd([&["cat"], args, &[hive]].concat()).output().unwrap().stdout;
    assert_eq!(bytes(&[text(&disk)]), bytes(&[text(&scene.wim), "--image=2"]));
    assert_eq!(bytes(&[text(&windows)]), bytes(&[text(&scene.wim), "--image=2"]));
    // The same folder gives the same bytes.
    let first = fs::read(&disk).unwrap();
    fs::remove_file(&disk).unwrap();
    succeed(source);
    assert!(first == fs::read(&disk).unwrap(), "two builds differ");
    // What holds no Windows cannot start one.
    let files = scene.files("files");
    let (code, complaint) = fail(["build", "--wim", text(&files), "--output", text(&scene.path("no.img"))]);
    assert_eq!(code, 32, "{complaint}");
    let (code, complaint) = fail(["build", "--media", text(&files), "--output", text(&scene.path("no.img"))]);
    assert!(code == 31 && complaint.contains(r"sources\install.wim"), "{complaint}");
}

#[test]
fn requests_that_make_no_sense_are_explained() {
    let scene = Scene::new();
    let output = scene.path("no.img");
    let files = scene.nano_server("files");
    let out = ["--output", text(&output)];
    for (args, code, word) in [
        (vec!["build"], 2, "--media"),
        (vec!["build", "--media", text(&scene.wim)], 30, "--wim"),
        (vec!["build", "--media", "no-such.iso"], 10, "no-such.iso"),
        (vec!["build", "--media", text(&files), "--parts", "*.swm"], 2, "--parts"),
        (vec!["build", "--media", text(&files), "--image=9"], 31, "NanoServer.wim"),
    ] {
        let (found, complaint) = fail([&args[..], &out].concat());
        assert_eq!(found, code, "{args:?}: {complaint}");
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
    for args in [vec!["info", "--tree"], vec!["info", "--image=1"], vec!["ls", "--partition=1"]] {
        let (code, complaint) = fail([&args[..], &[text(&files)]].concat());
        assert_eq!(code, 30, "{complaint}");
    }
}

/// Media that are cut off, or have wrong bytes where their tables are: told, or harmless; never a panic.
#[test]
fn damage_is_told() {
    let Some(tools) = Tools::find(&["genisoimage"]) else { return };
    let scene = Scene::new();
    let files = scene.nano_server("files");
    let medium = scene.path("good.iso");
    genisoimage(&tools, &["-udf", "-J"], &files, &medium);
    let good = fs::read(&medium).unwrap();
    let cut = scene.path("cut.iso");
    for len in [0, 100, 40 << 10, 100 << 10, 600 << 10, good.len() / 2, good.len() - (1 << 20)] {
        fs::write(&cut, &good[..len]).unwrap();
        let (code, complaint) = fail(["build", "--media", text(&cut), "--output", text(&scene.path("no.img"))]);
        assert!([20, 21, 30, 31].contains(&code), "cut to {len}: {complaint}");
        assert!(complaint.contains("cut.iso"), "{complaint}");
    }
    // Its tables end before the WIM begins.
    let end = good.windows(8).position(|bytes| bytes == b"MSWIM\0\0\0").unwrap();
    let mut seed = 1u64;
    let mut refused = 0;
    for _ in 0..1500 {
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        let mut bad = good[..end].to_vec();
        // Most of it is zeros, which nobody reads.
        let at = loop {
            let at = (32 << 10) + next() % (end - (32 << 10));
            if bad[at / 16 * 16..][..16.min(end - at / 16 * 16)].iter().any(|byte| *byte != 0) {
                break at;
            }
        };
        bad[at] ^= 1 << (next() % 8);
        let bad: Arc<Vec<u8>> = Arc::new(bad);
        let udf = udf::Volume::open(bad.clone()).and_then(|volume| volume.read());
        let iso = iso9660::Volume::open(bad).and_then(|volume| volume.read());
        refused += usize::from(udf.is_err()) + usize::from(iso.is_err());
        for files in [udf, iso].into_iter().flatten() {
            for (_, content) in files.tree.contents().filter(|(_, content)| content.len() < 1 << 20) {
                let _ = files.tree.read(content);
            }
        }
    }
    assert!(refused > 0);
}
