//! Edits of images: what was asked for and nothing else, and never half of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nanovhd::base::ReadAt;
use nanovhd::image::opened::Opened;

use crate::spine::{detailed, foreign_volume};
use crate::support::program::{demo_wim, fail, succeed};
use crate::support::tools::{Tools, text};
use crate::support::trees::{Described, Leniency, describe};

const NEW: &str = r"\Windows\System32\hello.txt";

fn demo(disk: &Path, options: &[&str]) {
    succeed([&["demo", "--size=64M", "--output", text(disk)], options].concat());
}

/// A file of the host to be copied.
fn hello(folder: &Path) -> PathBuf {
    let path = folder.join("hello.txt");
    fs::write(&path, "Hello from outside\r\n".repeat(1000)).unwrap();
    path
}

fn copy(folder: &Path) -> String {
    format!("{}={NEW}", hello(folder).display())
}

/// The volume of an image and what our reader finds on it.
fn volume(image: &Path) -> (Arc<dyn ReadAt>, BTreeMap<String, Described>) {
    let opened = Opened::open(image).unwrap();
    let (partition, volume) = opened.volume(None).unwrap();
    let contents = volume.read().unwrap();
    assert_eq!(contents.lost, 0, "{:?}", contents.notes);
    (opened.partition(&partition).unwrap(), describe(&contents.tree, Leniency::default()))
}

fn bytes(reader: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; reader.len() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

fn disk(image: &Path) -> Vec<u8> {
    bytes(&Opened::open(image).unwrap().disk)
}

/// What wimlib captures of an image's volume.
fn captured(tools: &Tools, image: &Path) -> BTreeMap<String, Vec<String>> {
    let raw = image.with_extension("volume-alone");
    fs::write(&raw, bytes(&volume(image).0)).unwrap();
    let wim = image.with_extension("wim");
    tools.run("wimlib-imagex", &["capture", text(&raw), text(&wim), "--quiet", "--compress=none"]);
    let listing = detailed(tools, &wim);
    fs::remove_file(raw).unwrap();
    listing
}

/// Asserts that `after` is `before` and one file more.
fn only_the_new_file<V: std::fmt::Debug + PartialEq>(before: &BTreeMap<String, V>, mut after: BTreeMap<String, V>) {
    let new = after.keys().find(|path| path.replace('/', "\\") == NEW).cloned();
    assert!(after.remove(&new.expect("the new file")).is_some());
    assert_eq!(before.len(), after.len());
    for (path, was) in before {
        assert_eq!(after.get(path), Some(was), "{path}");
    }
}

#[test]
fn adding_a_file_adds_that_file_and_nothing_else() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "ntfsfix", "qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.vhd");
    demo(&source, &["--label=Nano"]);
    let vhdx = folder.path().join("dynamic.vhdx");
    tools.run("qemu-img", &["convert", "-f", "vpc", "-O", "vhdx", text(&source), text(&vhdx)]);
    let images =
        [("dynamic.vhd", &[][..]), ("fixed.vhd", &["--format=vhd-fixed"]), ("raw.img", &["--cluster-size=512"])];
    for (name, options) in images {
        demo(&folder.path().join(name), &[&["--label=Nano"], options].concat());
    }
    for name in ["dynamic.vhd", "fixed.vhd", "raw.img", "dynamic.vhdx"] {
        let image = folder.path().join(name);
        let old = fs::read(&image).unwrap();
        let (before, listed) = (volume(&image).1, captured(&tools, &image));
        let edited = folder.path().join(format!("edited-{name}"));
        succeed(["edit", text(&image), "--output", text(&edited), "--copy", &copy(folder.path())]);
        assert!(fs::read(&image).unwrap() == old, "{name}: the image was only read");

        let (raw, after) = volume(&edited);
        only_the_new_file(&before, after);
        only_the_new_file(&listed, captured(&tools, &edited));
        let raw = bytes(&raw);
        let ntfs = folder.path().join("volume");
        fs::write(&ntfs, raw).unwrap();
        tools.run("ntfsfix", &["-n", text(&ntfs)]);

        // Disk, boot record, label, serial number: all but the volume's inside.
        let (was, is) = (disk(&image), disk(&edited));
        assert_eq!(was.len(), is.len());
        assert!(was[..1 << 20] == is[..1 << 20], "{name}: in front of the volume");
        let boot = 1 << 20;
        assert_eq!(was[boot..boot + 0x30], is[boot..boot + 0x30], "{name}: parameters of the volume");
        assert_eq!(
            was[boot + 0x40..boot + 0x2000],
            is[boot + 0x40..boot + 0x2000],
            "{name}: serial number and boot code"
        );
        if name.ends_with("vhd") {
            let footer =
                |file: &Path| fs::read(file).unwrap().split_off(fs::metadata(file).unwrap().len() as usize - 512);
            assert_eq!(footer(&image), footer(&edited), "{name}: id, time and size");
        }
        if name.ends_with("vhdx") {
            tools.run("qemu-img", &["check", "-f", "vhdx", text(&edited)]);
        }

        // Once more, in its place: the same bytes, and the same name only.
        succeed(["edit", text(&image), "--copy", &copy(folder.path())]);
        assert!(fs::read(&image).unwrap() == fs::read(&edited).unwrap(), "{name}: in place is as anywhere");
    }
    let left = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0);
}

#[test]
fn an_edit_of_nothing_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.vhd");
    demo(&image, &[]);
    let before = fs::read(&image).unwrap();
    succeed(["edit", text(&image)]);
    assert!(fs::read(&image).unwrap() == before);
    let report = succeed(["edit", text(&image), "--delete=/bootmgr", "--dry-run"]);
    assert!(report.contains("delete") && report.contains("dry run"), "{report}");
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn volumes_of_others_keep_what_they_have() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "mkntfs", "ntfsfix"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = foreign_volume(&tools, folder.path());
    let (before, listed) = (volume(&image).1, captured(&tools, &image));
    succeed(["edit", text(&image), "--copy", &copy(folder.path())]);
    only_the_new_file(&before, volume(&image).1);
    only_the_new_file(&listed, captured(&tools, &image));
    tools.run("ntfsfix", &["-n", text(&image)]);
}

/// Sectors that no table speaks of, before and behind the partition, and a second partition.
#[test]
fn what_is_around_the_volume_stays() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    demo(&image, &[]);
    let mut bytes = fs::read(&image).unwrap();
    let len = bytes.len();
    bytes[512..1 << 20].fill(0xA5);
    bytes[len - (1 << 20) + 512..].fill(0x5A);
    bytes[100] ^= 0xFF; // boot code that is not ours
    fs::write(&image, &bytes).unwrap();
    succeed(["edit", text(&image), "--delete", r"\Windows\Boot", "--label=other", "--no-verify"]);
    let after = fs::read(&image).unwrap();
    assert_eq!(after.len(), len);
    assert!(after[..1 << 20] == bytes[..1 << 20]);
    assert!(after[len - (1 << 20)..] == bytes[len - (1 << 20)..]);
    let opened = Opened::open(&image).unwrap();
    let (_, volume) = opened.volume(None).unwrap();
    assert_eq!(volume.facts().label.to_string(), "other");
    assert!(volume.read().unwrap().tree.find(r"\Windows\Boot").is_none());
}

#[test]
fn others_read_what_a_reg_file_sets() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexget"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    demo(&image, &[]);
    let reg = folder.path().join("a.reg");
    let script = "Windows Registry Editor Version 5.00\r\n\r\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\disk]\r\n\"Start\"=dword:00000004\r\n\
        [HKEY_LOCAL_MACHINE\\SOFTWARE\\Nanovhd Ü\\Test]\r\n\"Text\"=\"a \\\"b\\\" c\"\r\n";
    let utf16: Vec<u8> = std::iter::once(0xFEFF).chain(script.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(&reg, utf16).unwrap();
    succeed(["edit", text(&image), "--reg", text(&reg)]);
    let raw = folder.path().join("volume");
    fs::write(&raw, bytes(&volume(&image).0)).unwrap();
    let value = |hive: &str, key: &str, name: &str| {
        let file = folder.path().join(hive);
        fs::write(&file, tools.run_for_bytes("ntfscat", &[text(&raw), &format!("Windows/System32/config/{hive}")]))
            .unwrap();
        tools.run("hivexget", &[text(&file), key, name]).trim().to_owned()
    };
    assert_eq!(value("SYSTEM", r"ControlSet001\Services\disk", "Start"), "4");
    assert_eq!(value("SOFTWARE", r"Nanovhd Ü\Test", "Text"), "a \"b\" c");
}

#[test]
fn builds_take_the_same_edits() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let build = |name: &str, edits: &[&str]| {
        let image = folder.path().join(name);
        succeed([&["build", "--wim", text(&wim), "--image=2", "--size=64M", "--output", text(&image)], edits].concat());
        image
    };
    let (plain, edited) = (build("plain.vhd", &[]), build("edited.vhd", &["--copy", &copy(folder.path())]));
    let (mut before, mut after) = (volume(&plain).1, volume(&edited).1);
    for files in [&mut before, &mut after] {
        assert!(files.remove(r"\Boot\BCD").is_some(), "the store, whose objects have ids of the disk's own");
    }
    only_the_new_file(&before, after);
    let signature = |image: &Path| disk(image)[440..444].to_vec();
    assert_ne!(signature(&plain), signature(&edited), "other disks have other identities");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.vhd");
    demo(&image, &[]);
    let before = fs::read(&image).unwrap();
    let big = folder.path().join("big");
    fs::File::create(&big).unwrap().set_len(80 << 20).unwrap();
    let big_copy = format!("{}=\\x", big.display());
    let other = folder.path().join("b.img");
    for (options, code, word) in [
        (&["--copy", &big_copy][..], 35, "bytes needed"),
        (&["--delete=none"], 30, "there is no"),
        (&["--output", text(&other)], 30, "container"),
        (&["--output", text(&image)], 12, "exists"),
        (&["--partition=3"], 30, "3"),
        (&["--copy=/no/such/file"], 10, "cannot be opened"),
    ] {
        let (found, complaint) = fail([&["edit", text(&image)], options].concat());
        assert_eq!(found, code, "{options:?}: {complaint}");
        assert!(complaint.contains(word), "{options:?}: {complaint}");
    }
    assert!(fs::read(&image).unwrap() == before);
    assert!(!other.exists());

    let writable = fs::metadata(&image).unwrap().permissions();
    let mut read_only = writable.clone();
    read_only.set_readonly(true);
    fs::set_permissions(&image, read_only).unwrap();
    let (found, complaint) = fail(["edit", text(&image), "--label=other"]);
    assert!(found == 12 && complaint.contains("read-only"), "{found}: {complaint}");
    fs::set_permissions(&image, writable).unwrap();
    assert!(fs::read(&image).unwrap() == before);
}

/// A program that is killed leaves the old image or the new one, and beside it at most a file that says what it was to be.
#[cfg(unix)]
#[test]
fn killed_at_any_moment_the_old_image_or_the_new_one_is_there() {
    use std::time::{Duration, Instant};

    use crate::support::program::nanovhd;

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.vhd");
    let bulk = folder.path().join("bulk");
    fs::write(&bulk, vec![0x42; 24 << 20]).unwrap();
    demo(&image, &[]);
    let old = fs::read(&image).unwrap();
    let copy = format!("{}=\\bulk", bulk.display());
    let edit = || nanovhd(["edit", text(&image), "--copy", &copy]);
    let start = Instant::now();
    assert!(edit().output().unwrap().status.success());
    let whole = start.elapsed();
    let new = fs::read(&image).unwrap();
    assert!(old != new);

    const MOMENTS: u32 = 40;
    let (mut kept, mut replaced, mut partial) = (0, 0, 0);
    for moment in 0..MOMENTS {
        fs::write(&image, &old).unwrap();
        let mut child = edit().stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_nanos((whole.as_nanos() * 6 / 5) as u64) * moment / MOMENTS);
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let is = fs::read(&image).unwrap();
        kept += u32::from(is == old);
        replaced += u32::from(is == new);
        assert!(is == old || is == new, "after moment {moment} of {MOMENTS}");
        for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if !["a.vhd", "bulk"].contains(&name.as_str()) {
                assert!(name.starts_with(".a.vhd.") && name.ends_with(".nanovhd-partial"), "{name}");
                partial += 1;
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    println!("{kept} times the old image, {replaced} times the new one; {partial} partial files");
    assert!(kept > 0 && partial > 0, "no moment was in the middle");
}
