//! Disks for containers to hold, and containers made of them.

use std::path::{Path, PathBuf};

use nanovhd::base::{Disk, ReadAt};
use nanovhd::image::Control;
use nanovhd::image::host::{InputFile, OutputFile};

use super::program::succeed;
use super::tools::{Tools, text};

const MIB: u64 = 1 << 20;

/// Writes that touch a disk's ends, and 9000 bytes around its middle, where blocks meet.
pub(crate) fn writes(len: u64) -> Vec<(u64, Vec<u8>)> {
    let middle = len / 2 / (32 * MIB) * (32 * MIB);
    let places = [(0, 512), (middle.saturating_sub(5000), 9000), (len - 512, 512)];
    let bytes = |seed: u64, len: u64| (0..len).map(|i| (i * 7 + seed) as u8 | 1).collect();
    places.iter().map(|(at, len)| (*at, bytes(*at, *len))).collect()
}

/// The ranges of [`writes`].
pub(crate) fn used(len: u64) -> Vec<std::ops::Range<u64>> {
    writes(len).iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect()
}

/// A file of `len` bytes in the folder that `write` fills.
pub(crate) fn make(folder: &Path, name: &str, len: u64, write: impl FnOnce(&OutputFile<'_>)) -> PathBuf {
    let (path, control) = (folder.join(name), Control::default());
    let file = OutputFile::create(&path, len, true, &control).unwrap();
    write(&file);
    file.keep().unwrap();
    path
}

/// The disk of [`writes`] as a raw file.
pub(crate) fn raw(folder: &Path, len: u64) -> PathBuf {
    make(folder, "disk.raw", len, |file| fill(file, len))
}

/// Does the [`writes`].
pub(crate) fn fill(disk: &dyn Disk, len: u64) {
    for (at, bytes) in writes(len) {
        disk.write_at(at, &bytes).unwrap();
    }
}

pub(crate) fn input(path: &Path) -> InputFile {
    InputFile::open(path).unwrap()
}

/// A disk of everything: stretches of zeros, of text, of noise that nothing can shorten, and single bytes. It is no whole number of
/// clusters or MiB long.
pub(crate) fn mixed() -> Vec<u8> {
    let mut disk = vec![0; (21 << 20) + 3 * 512];
    let mut number = 7u64;
    for (index, piece) in disk.chunks_mut(24 << 10).enumerate() {
        match index * 13 % 7 {
            0 => piece.fill_with(|| {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                (number >> 24) as u8
            }),
            1 => piece[index] = 9,
            2 | 3 => piece.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"how now, brown cow?"[at / 3 % 19]),
            _ => {}
        }
    }
    *disk.last_mut().unwrap() = 5;
    disk
}

/// All of a disk's bytes, and where it says that there may be some; the rest has to be zeros.
pub(crate) fn read_all(disk: &impl ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; disk.len() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    let (mut at, mut rest) = (0, bytes.clone());
    while let Some(data) = disk.next_data(at).unwrap() {
        rest[data.start as usize..data.end as usize].fill(0);
        at = data.end;
    }
    assert!(rest.iter().all(|byte| *byte == 0), "data where there is said to be none");
    bytes
}

/// What qemu thinks of a file: sound, of that length, and with the same disk as a raw file.
pub(crate) fn check_with_qemu(tools: &Tools, driver: &str, file: &Path, raw: &Path, len: u64) {
    tools.run("qemu-img", &["check", "-f", driver, text(file)]);
    let info = tools.run("qemu-img", &["info", "--output=json", "-f", driver, text(file)]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], len);
    tools.run("qemu-img", &["compare", "-f", driver, "-F", "raw", text(file), text(raw)]);
}

/// qemu writes into a file, where there is something and where there is nothing, and into the raw file of the same disk; it still
/// thinks the same of both.
pub(crate) fn write_with_qemu(tools: &Tools, driver: &str, file: &Path, raw: &Path, len: u64) {
    for (driver, path) in [(driver, file), ("raw", raw)] {
        let commands = ["-c", "write -P 0x5A 60M 200k", "-c", "write -P 7 100 1k", "-c", "write -P 9 5M 3M"];
        tools.run("qemu-io", &[&["-f", driver], &commands[..], &[text(path)]].concat());
    }
    check_with_qemu(tools, driver, file, raw, len);
}

/// A disk is built in a format, described, and edited in its place, and keeps what it is. Gives the files before and after the edit.
pub(crate) fn build_and_edit(tools: &Tools, folder: &Path, format: &str, kind: &str) -> (PathBuf, PathBuf) {
    let driver = format.split('-').next().unwrap();
    let [raw, before, after, note] = ["raw", "before", "after", "note.txt"].map(|name| folder.join(name));
    std::fs::write(&note, "a note").unwrap();
    let demo = ["demo", "--size=96M", "--seed=7", "--force", "--output"];
    succeed([&demo[..], &[text(&raw), "--format=raw"]].concat());
    succeed([&demo[..], &[text(&before), "--format", format]].concat());
    check_with_qemu(tools, driver, &before, &raw, 96 * MIB);
    let report: serde_json::Value = serde_json::from_str(&succeed(["info", text(&before), "--json"])).unwrap();
    assert_eq!(report["container"], kind);
    std::fs::copy(&before, &after).unwrap();
    succeed(["edit", text(&after), "--copy", &format!("{}=\\", text(&note))]);
    assert_eq!(succeed(["cat", text(&after), r"\note.txt"]), "a note");
    for file in [&before, &after] {
        succeed(["verify", text(file)]);
        tools.run("qemu-img", &["check", "-f", driver, text(file)]);
    }
    (before, after)
}
