//! Forks: what they hold, read by libvhdi, 7-Zip, ntfs-3g and hivex; chains; what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nanovhd::base::ReadAt;
use nanovhd::image::host::{InputFile, OutputFile};
use nanovhd::image::opened::Opened;
use nanovhd::image::{Control, chain};
use sha2::{Digest, Sha256};

use crate::support::program::{fail, succeed};
use crate::support::qemu::{self, QEMU};
use crate::support::tools::{Tools, text, unavailable};
use crate::vhdx::assert_clean;

const MIB: u64 = 1 << 20;
const CONTAINERS: [&str; 2] = ["vhd", "vhdx"];

/// A base that a BIOS starts.
fn base(folder: &Path, container: &str) -> PathBuf {
    let base = folder.join(format!("base.{container}"));
    succeed(["demo", "--size=96M", "--firmware=bios", "--format", container, "--output", text(&base)]);
    base
}

/// The disk in a file and those below it, piece by piece.
fn for_each_piece(path: &Path, mut then: impl FnMut(u64, &[u8])) {
    let disk = Opened::open(path).unwrap().disk;
    let mut piece = vec![0; MIB as usize];
    for at in (0..disk.len()).step_by(MIB as usize) {
        let piece = &mut piece[..MIB.min(disk.len() - at) as usize];
        disk.read_at(at, piece).unwrap();
        then(at, piece);
    }
}

fn hash_of_disk(path: &Path) -> String {
    let mut hash = Sha256::new();
    for_each_piece(path, |_, piece| hash.update(piece));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_of_file(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

/// The hash of the disk that others make of a chain, the child first. `None` where there is none: the test is to return.
///
/// Of a VHD it is 7-Zip: libvhdi (20210425) takes all sectors of a bitmap's byte behind the first that is marked for the child's own.
fn hash_by_others(chain: &[&Path]) -> Option<String> {
    if chain[0].extension().is_some_and(|extension| extension == "vhdx") {
        return hash_by_libvhdi(chain);
    }
    let tools = Tools::find(&["7z"])?;
    // It looks for parents by their names, in the child's folder.
    let folder = tempfile::tempdir().unwrap();
    for file in chain {
        fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let child = folder.path().join(chain[0].file_name().unwrap());
    Some(hex(&Sha256::digest(tools.run_for_bytes("7z", &["x", "-so", "-tvhd", text(&child)]))))
}

/// The same by libvhdi.
fn hash_by_libvhdi(chain: &[&Path]) -> Option<String> {
    const SCRIPT: &str = "
import hashlib, pyvhdi, sys
files = []
for path in sys.argv[1:]:
    file = pyvhdi.file()
    file.open(path)
    files.append(file)
for child, parent in zip(files, files[1:]):
    child.set_parent(parent)
digest, left = hashlib.sha256(), files[0].get_media_size()
while left:
    piece = files[0].read_buffer(min(left, 1 << 20))
    assert piece
    digest.update(piece)
    left -= len(piece)
print(digest.hexdigest())
";
    // Debian's own, which has Debian's modules.
    let python = || Command::new("/usr/bin/python3");
    let has_module = python().args(["-c", "import pyvhdi"]).output().is_ok_and(|output| output.status.success());
    if !has_module {
        unavailable("missing python3-libvhdi");
        return None;
    }
    let output = python().args(["-c", SCRIPT]).args(chain).output().unwrap();
    assert!(output.status.success(), "{chain:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The volume of a disk as a file of its own.
fn volume(disk: &Path, to: &Path) {
    let opened = Opened::open(disk).unwrap();
    let (partition, _) = opened.volume(None).unwrap();
    let volume = opened.partition(&partition).unwrap();
    let control = Control::default();
    let file = OutputFile::create(to, volume.len(), true, &control).unwrap();
    let mut piece = vec![0; MIB as usize];
    for at in (0..volume.len()).step_by(MIB as usize) {
        let piece = &mut piece[..MIB.min(volume.len() - at) as usize];
        volume.read_at(at, piece).unwrap();
        if piece.iter().any(|byte| *byte != 0) {
            nanovhd::base::Disk::write_at(&file, at, piece).unwrap();
        }
    }
    file.keep().unwrap();
}

/// A value of the SYSTEM hive, by ntfs-3g and hivex.
fn system_value(tools: &Tools, disk: &Path, key: &str, name: &str) -> String {
    let (alone, hive) = (disk.with_extension("volume"), disk.with_extension("hive"));
    volume(disk, &alone);
    fs::write(&hive, tools.run_for_bytes("ntfscat", &[text(&alone), "Windows/System32/config/SYSTEM"])).unwrap();
    let value = tools.run("hivexget", &[text(&hive), key, name]).trim().to_owned();
    fs::remove_file(alone).unwrap();
    fs::remove_file(hive).unwrap();
    value
}

fn computer_name(tools: &Tools, disk: &Path) -> String {
    system_value(tools, disk, r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName")
}

#[test]
fn twenty_machines_of_one_base() {
    const COUNT: usize = 20;
    let Some(tools) = Tools::find(&["ntfscat", "hivexget", "ntfsfix"]) else { return };
    for container in CONTAINERS {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), container);
        let before = hash_of_file(&base);
        let lab = folder.path().join("lab");
        fs::create_dir(&lab).unwrap();
        let names: Vec<String> = (1..=COUNT).map(|number| format!("web{number:02}")).collect();
        let children: Vec<PathBuf> = names.iter().map(|name| lab.join(format!("{name}.{container}"))).collect();
        let mut arguments = vec!["fork", text(&base), "--json", "--computer-name", "{name}"];
        arguments.extend(children.iter().map(|child| text(child)));
        let start = Instant::now();
        let report: serde_json::Value = serde_json::from_str(&succeed(arguments)).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let sum = |what: &str| -> u64 {
            report["children"].as_array().unwrap().iter().map(|child| child[what].as_u64().unwrap()).sum()
        };
        let (changed, files) = (sum("changed_bytes"), sum("file_bytes"));
        println!(
            "{COUNT} {container} forks, each checked with its chain: {seconds:.2} s, {changed} bytes differ, files of {files} bytes"
        );
        assert!(changed / (COUNT as u64) < 2 * MIB, "a few hives and an answer file");
        assert_eq!(hash_of_file(&base), before, "the base is untouched");
        for (name, child) in names.iter().zip(&children) {
            assert_eq!(computer_name(&tools, child), *name);
            assert_clean(child);
            let findings = succeed(["verify", text(child), "--level=warning"]);
            assert!(findings.starts_with("0 errors, 0 warnings"), "{name}: {findings}");
        }
        let alone = folder.path().join("volume");
        volume(&children[7], &alone);
        tools.run("ntfsfix", &["-n", text(&alone)]);
        for child in [0, COUNT - 1].map(|index| &children[index]) {
            let Some(theirs) = hash_by_others(&[child, &base]) else { return };
            assert_eq!(hash_of_disk(child), theirs, "{}", child.display());
        }
    }
}

/// libvhdi finds the parent of a VHD by itself, by its name in the child's folder.
#[test]
fn libvhdi_knows_what_a_fork_is() {
    let Some(tools) = Tools::find(&["vhdiinfo"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for container in CONTAINERS {
        let base = base(folder.path(), container);
        let child = folder.path().join(format!("child.{container}"));
        succeed(["fork", text(&base), text(&child), "--label=other"]);
        let field = |path: &Path, name: &str| {
            let info = tools.run("vhdiinfo", &[text(path)]);
            let line = info.lines().find(|line| line.trim_start().starts_with(name));
            line.and_then(|line| line.split(": ").nth(1)).unwrap_or_default().trim().to_owned()
        };
        assert!(field(&child, "Disk type").contains("Differential"));
        assert_eq!(field(&child, "Parent identifier"), field(&base, "Identifier"));
        if container == "vhd" {
            assert_eq!(field(&child, "Parent filename"), "base.vhd");
        }
    }
}

#[test]
fn a_fork_of_a_fork_of_a_fork() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexget"]) else { return };
    for container in CONTAINERS {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), container);
        let deep = folder.path().join("a").join("b");
        fs::create_dir_all(&deep).unwrap();
        let note = folder.path().join("note.txt");
        fs::write(&note, vec![0x42; 300_000]).unwrap();
        let copy = format!("{}=\\note.txt", text(&note));
        let names = ["one", "two", "three"].map(|name| format!("{name}.{container}"));
        let [one, two, three] = [folder.path(), &deep, folder.path()];
        let chain = [one.join(&names[0]), two.join(&names[1]), three.join(&names[2])];
        succeed(["fork", text(&base), text(&chain[0]), "--computer-name=one", "--copy", &copy]);
        succeed(["fork", text(&chain[0]), text(&chain[1]), "--computer-name=two", "--delete=\\note.txt"]);
        succeed(["fork", text(&chain[1]), text(&chain[2]), "--computer-name=three", "--label=third"]);
        for (child, name) in chain.iter().zip(["one", "two", "three"]) {
            assert_eq!(computer_name(&tools, child), name);
            assert_clean(child);
            succeed(["verify", text(child)]);
        }
        assert!(succeed(["ls", text(&chain[0])]).contains("note.txt"));
        assert!(!succeed(["ls", text(&chain[2])]).contains("note.txt"));
        let (layers, missing) = chain::layers(&chain[2]).unwrap();
        assert!(missing.is_none() && layers.len() == 4);
        let Some(theirs) = hash_by_others(&[&chain[2], &chain[1], &chain[0], &base]) else { return };
        assert_eq!(hash_of_disk(&chain[2]), theirs);
    }
}

/// What the volume is laid out on is the base's own: without a change there is nothing to write.
#[test]
fn a_fork_without_changes_has_no_sectors() {
    for container in CONTAINERS {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), container);
        let child = folder.path().join(format!("child.{container}"));
        let report: serde_json::Value =
            serde_json::from_str(&succeed(["fork", "--json", text(&base), text(&child)])).unwrap();
        assert_eq!(report["children"][0]["changed_bytes"], 0);
        assert_eq!(hash_of_disk(&child), hash_of_disk(&base));
        assert_clean(&child);
    }
}

/// The boot chain of a fork, merged: qemu reads no parent of a VHDX, and of a VHD neither.
#[test]
fn a_fork_boots() {
    let Some(_) = Tools::find(&[QEMU]) else { return };
    for container in CONTAINERS {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), container);
        let (child, merged) = (folder.path().join(format!("child.{container}")), folder.path().join("merged.vhd"));
        let bulk = folder.path().join("bulk");
        fs::write(&bulk, vec![0x42; 3 << 20]).unwrap();
        let copy = format!("{}=\\", text(&bulk));
        succeed(["fork", text(&base), text(&child), "--computer-name=web01", "--copy", &copy]);
        succeed(["convert", text(&child), "--output", text(&merged)]);
        let outcome = qemu::boot(&merged, "vpc");
        assert!(outcome.is_ok(), "{container}: {outcome:#?}");
    }
}

#[test]
fn the_same_fork_gives_the_same_bytes_and_others_have_other_ids() {
    for container in CONTAINERS {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), container);
        let child = folder.path().join(format!("child.{container}"));
        let fork = |name: &str| {
            succeed(["fork", text(&base), text(&child), "--computer-name", name, "--force"]);
            (fs::read(&child).unwrap(), Opened::open(&child).unwrap().id)
        };
        let (first, again, other) = (fork("first"), fork("first"), fork("other"));
        assert!(first == again && first.0 != other.0, "{container}");
        let id = Opened::open(&base).unwrap().id;
        match container {
            "vhd" => assert!(first.1 != other.1 && first.1 != id),
            _ => assert!(first.1 == other.1 && first.1 == id, "what a machine sees of a VHDX stays"),
        }
    }
}

#[test]
fn names_go_into_paths_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), "vhdx");
    let children = ["web01", "web02"].map(|name| folder.path().join(format!("{name}.vhdx")));
    for name in ["web01", "web02"] {
        fs::write(folder.path().join(format!("{name}.conf")), format!("for {name}")).unwrap();
    }
    let copy = format!("{}=\\etc\\{{name}}.conf", text(&folder.path().join("{name}.conf")));
    let [first, second] = [text(&children[0]), text(&children[1])];
    succeed(["fork", text(&base), first, second, "--copy", &copy, "--label=disk {name}"]);
    for (child, name) in children.iter().zip(["web01", "web02"]) {
        assert_eq!(succeed(["cat", text(child), &format!(r"\etc\{name}.conf")]), format!("for {name}"));
        let (_, volume) = Opened::open(child).unwrap().volume(None).unwrap();
        assert_eq!(volume.facts().label.to_string(), format!("disk {name}"));
    }
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), "vhd");
    let raw = folder.path().join("raw.img");
    succeed(["convert", text(&base), "--output", text(&raw)]);
    let (child, other) = (folder.path().join("web01.vhd"), folder.path().join("WEB01.vhd"));
    let (wrong, bad, nowhere) =
        (folder.path().join("web02.vhdx"), folder.path().join("web_02.vhd"), folder.path().join("no").join("a.vhd"));
    let before = (hash_of_file(&base), fs::read_dir(folder.path()).unwrap().count());
    let [base_text, child_text] = [text(&base), text(&child)];
    for (arguments, code, word) in [
        (&[text(&raw), child_text][..], 22, "convert"),
        (&[base_text, child_text, text(&wrong)], 30, "promises another"),
        (&[base_text, child_text, text(&other)], 30, "one name"),
        (&[base_text, child_text, text(&nowhere)], 12, "folder"),
        (&[base_text, base_text, "--force"], 30, "read from"),
        (&[base_text, base_text], 12, "exists"),
        (&[base_text, child_text, text(&bad), "--computer-name={name}"], 30, "computer name"),
        (&[base_text, child_text, "--delete=\\none"], 30, "there is no"),
        (&[base_text, child_text, "--partition=3"], 30, "3"),
        (&[base_text, child_text, "--copy=/no/such/file"], 10, "cannot be opened"),
    ] {
        let (found, complaint) = fail([&["fork"], arguments].concat());
        assert!(complaint.contains(word), "{arguments:?}: {complaint}");
        assert_eq!(found, code, "{arguments:?}: {complaint}");
        assert_eq!((hash_of_file(&base), fs::read_dir(folder.path()).unwrap().count()), before, "{arguments:?}");
    }
    let report = succeed(["fork", base_text, child_text, "--computer-name=web01", "--dry-run"]);
    assert!(report.contains("dry run") && !child.exists(), "{report}");
}

/// One child of many that cannot be is the end of all of them.
#[test]
fn children_come_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), "vhdx");
    let children: Vec<PathBuf> = (0..8).map(|number| folder.path().join(format!("web{number}.vhdx"))).collect();
    for number in 0..7 {
        fs::write(folder.path().join(format!("web{number}")), "here").unwrap();
    }
    let before = fs::read_dir(folder.path()).unwrap().count();
    let copy = format!("{}=\\here", text(&folder.path().join("{name}")));
    let mut arguments = vec!["fork", text(&base), "--copy", &copy];
    arguments.extend(children.iter().map(|child| text(child)));
    let (_, complaint) = fail(arguments);
    assert!(complaint.contains("web7"), "{complaint}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}

/// A base that was edited after all is no longer the one that the child was made for.
#[test]
fn a_base_that_changed_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), "vhdx");
    let child = folder.path().join("child.vhdx");
    succeed(["fork", text(&base), text(&child), "--computer-name=child"]);
    succeed(["edit", text(&base), "--label=changed"]);
    let (_, complaint) = fail(["ls", text(&child)]);
    assert!(complaint.contains("not the disk that the differencing disk was made for"), "{complaint}");
}

/// More than is kept in memory.
#[test]
fn a_large_copy_goes_into_a_fork() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.vhd");
    succeed(["demo", "--size=256M", "--output", text(&base)]);
    let bulk = folder.path().join("bulk");
    let content: Vec<u8> = (0..60u32 << 18).flat_map(|word| (word ^ 0x5A5A_5A5A).to_le_bytes()).collect();
    fs::write(&bulk, &content).unwrap();
    let copy = format!("{}=\\bulk", text(&bulk));
    let child = folder.path().join("child.vhd");
    succeed(["fork", text(&base), text(&child), "--copy", &copy]);
    let back = folder.path().join("back");
    succeed(["extract", text(&child), "\\bulk", "--output", text(&back)]);
    assert!(fs::read(back.join("bulk")).unwrap() == content);
    assert!(InputFile::open(&child).unwrap().len() < 70 * MIB);
    if let Some(theirs) = hash_by_others(&[&child, &base]) {
        assert_eq!(hash_of_disk(&child), theirs);
    }
}
