//! VHDXs read by qemu and libvhdi, and VHDXs that Hyper-V and qemu made read by us; all of them, and all VHDs, looked through by the checker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nanovhd::base::{Disk, ReadAt};
use nanovhd::format::vhdx::{BLOCK, Layout, MAX_DISK, Params, Variant, Vhdx, Writer};
use nanovhd::image::host::{InputFile, OutputFile};
use nanovhd::image::{Control, chain};
use nanovhd::verify::container::{self, Layer};
use nanovhd::verify::{Findings, Level, Rule};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::tools::{Tools, testdata, text};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that trip programs: not a whole number of blocks or MiB, one and several sector bitmaps' worth, the limit of a VHD.
const SIZES: [u64; 5] = [3 * MIB, 100 * MIB + 512, GIB, 127 * GIB, 2040 * GIB];

fn params() -> Params {
    Params {
        file_write: Uuid::from_u128(1 << 70),
        data_write: Uuid::from_u128(2 << 70),
        disk_id: Uuid::from_u128(3 << 70),
    }
}

/// Writes that touch a disk's ends and the border of two blocks.
fn writes(len: u64) -> Vec<(u64, Vec<u8>)> {
    let middle = len / 2 / BLOCK * BLOCK;
    let places = [(0, 512), (middle.saturating_sub(5000), 9000), (len - 512, 512)];
    let bytes = |seed: u64, len: u64| (0..len).map(|i| (i * 7 + seed) as u8 | 1).collect();
    places.iter().map(|(at, len)| (*at, bytes(*at, *len))).collect()
}

fn dynamic(len: u64) -> Layout {
    let used: Vec<_> = writes(len).iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect();
    Layout::dynamic(len, 512, &used).unwrap()
}

/// A VHDX in the folder, and the same disk as a raw file.
fn make(folder: &TempDir, layout: &Layout) -> (PathBuf, PathBuf) {
    let (vhdx, raw) = (folder.path().join("disk.vhdx"), folder.path().join("disk.raw"));
    let control = Control::default();
    let file = OutputFile::create(&vhdx, layout.file_len(), true, &control).unwrap();
    let raw_file = OutputFile::create(&raw, layout.disk_len(), true, &control).unwrap();
    let writer = Writer::new(layout.clone(), params(), &file).unwrap();
    for (at, bytes) in writes(layout.disk_len()) {
        writer.write_at(at, &bytes).unwrap();
        raw_file.write_at(at, &bytes).unwrap();
    }
    writer.finish().unwrap();
    file.keep().unwrap();
    raw_file.keep().unwrap();
    (vhdx, raw)
}

fn open(path: &Path) -> Vhdx<Arc<dyn ReadAt>> {
    Vhdx::open(Arc::new(InputFile::open(path).unwrap()) as Arc<dyn ReadAt>).unwrap()
}

/// What the checker finds in a file and those below it.
pub(crate) fn findings(path: &Path) -> Findings {
    let (layers, _) = chain::layers(path).unwrap();
    let layers: Vec<Layer<'_>> =
        layers.iter().map(|layer| Layer { name: layer.path.display().to_string(), file: &layer.file }).collect();
    let mut findings = Findings::default();
    container::check(&layers, &mut findings);
    findings
}

/// Nothing above a note.
pub(crate) fn assert_clean(path: &Path) {
    let findings = findings(path);
    let bad: Vec<String> =
        findings.kept().iter().filter(|finding| finding.level > Level::Note).map(ToString::to_string).collect();
    assert!(bad.is_empty(), "{}: {bad:#?}", path.display());
}

#[test]
fn qemu_reads_our_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = TempDir::new().unwrap();
        let (vhdx, raw) = make(&folder, &dynamic(len));
        let info = tools.run("qemu-img", &["info", "--output=json", "-f", "vhdx", text(&vhdx)]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], len);
        tools.run("qemu-img", &["check", "-f", "vhdx", text(&vhdx)]);
        assert_clean(&vhdx);
        // qemu does not know which blocks of a VHDX are absent, and reads all of them.
        if len <= GIB {
            tools.run("qemu-img", &["compare", "-f", "vhdx", "-F", "raw", text(&vhdx), text(&raw)]);
        }
    }
}

#[test]
fn qemu_reads_our_fixed_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in [3 * MIB, 100 * MIB + 512, GIB] {
        let folder = TempDir::new().unwrap();
        let (vhdx, raw) = make(&folder, &Layout::fixed(len, 512).unwrap());
        tools.run("qemu-img", &["check", "-f", "vhdx", text(&vhdx)]);
        tools.run("qemu-img", &["compare", "-f", "vhdx", "-F", "raw", text(&vhdx), text(&raw)]);
        assert_eq!(open(&vhdx).variant(), Variant::Fixed { block_size: BLOCK as u32 });
        assert_clean(&vhdx);
    }
}

#[test]
fn we_read_what_qemu_makes() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let len = 100 * MIB;
    let folder = TempDir::new().unwrap();
    let (_, raw) = make(&folder, &dynamic(len));
    let expected = std::fs::read(&raw).unwrap();
    for options in
        ["subformat=dynamic", "subformat=fixed", "subformat=dynamic,block_size=1M", "subformat=dynamic,block_size=256M"]
    {
        let theirs = folder.path().join(options);
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", "vhdx", "-o", options, text(&raw), text(&theirs)]);
        let vhdx = open(&theirs);
        assert_eq!(ReadAt::len(&vhdx), len);
        let mut disk = vec![1; len as usize];
        vhdx.read_at(0, &mut disk).unwrap();
        assert!(disk == expected, "{options}");
        assert_clean(&theirs);
    }
}

#[test]
fn libvhdi_reads_our_disks() {
    let Some(tools) = Tools::find(&["vhdiinfo"]) else { return };
    let folder = TempDir::new().unwrap();
    let (vhdx, _) = make(&folder, &dynamic(4 * GIB));
    let info = tools.run("vhdiinfo", &[text(&vhdx)]);
    assert!(info.contains("4294967296") && info.contains("Dynamic"), "{info}");
}

/// A sample of another program's, unpacked into the folder.
fn sample(folder: &TempDir, name: &str) -> Option<PathBuf> {
    let packed = testdata(Path::new("disks").join(format!("{name}.bz2")))?;
    let bytes = Tools::find(&["bzip2"])?.run_for_bytes("bzip2", &["-dc", text(&packed)]);
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Some(path)
}

/// All of a disk as a raw file, zeros left out.
fn unpack(disk: &dyn ReadAt, path: &Path) {
    let control = Control::default();
    let raw = OutputFile::create(path, disk.len(), true, &control).unwrap();
    let mut at = 0;
    while let Some(data) = disk.next_data(at).unwrap() {
        for start in data.clone().step_by(MIB as usize) {
            let mut piece = vec![0; MIB.min(data.end - start) as usize];
            disk.read_at(start, &mut piece).unwrap();
            if piece.iter().any(|byte| *byte != 0) {
                raw.write_at(start, &piece).unwrap();
            }
        }
        at = data.end;
    }
    raw.keep().unwrap();
}

#[test]
fn reads_a_disk_of_hyper_v_as_qemu_does() {
    let folder = TempDir::new().unwrap();
    let (Some(tools), Some(path)) = (Tools::find(&["qemu-img"]), sample(&folder, "iotest-dynamic-1G.vhdx")) else {
        return;
    };
    let raw = folder.path().join("raw");
    unpack(&open(&path), &raw);
    tools.run("qemu-img", &["compare", "-f", "vhdx", "-F", "raw", text(&path), text(&raw)]);
    assert_clean(&path);
}

#[test]
fn replays_a_log_as_qemu_does() {
    let folder = TempDir::new().unwrap();
    let name = "iotest-dirtylog-10G-4M.vhdx";
    let (Some(tools), Some(path)) = (Tools::find(&["qemu-img"]), sample(&folder, name)) else { return };
    let before = std::fs::read(&path).unwrap();
    let found = findings(&path);
    assert_eq!((found.count(Level::Error), found.count_of(Rule::VhdxLog)), (0, 1), "{:?}", found.kept());
    let raw = folder.path().join("raw");
    unpack(&open(&path), &raw);
    assert!(before == std::fs::read(&path).unwrap(), "the file stays as it is");
    tools.run("qemu-img", &["check", "-r", "all", "-f", "vhdx", text(&path)]);
    assert!(before != std::fs::read(&path).unwrap(), "now the log is replayed");
    tools.run("qemu-img", &["compare", "-f", "vhdx", "-F", "raw", text(&path), text(&raw)]);
    assert_clean(&path);
}

#[test]
fn vhds_of_windows_are_clean() {
    let folder = TempDir::new().unwrap();
    for name in ["hyperv2012r2-dynamic.vhd", "virtualpc-dynamic.vhd"] {
        let Some(path) = sample(&folder, name) else { return };
        assert_clean(&path);
    }
}

#[test]
fn vhds_of_qemu_are_clean() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = TempDir::new().unwrap();
    let (_, raw) = make(&folder, &dynamic(100 * MIB));
    for options in
        ["subformat=dynamic", "subformat=fixed", "subformat=dynamic,force_size=on", "subformat=fixed,force_size=on"]
    {
        let theirs = folder.path().join(options);
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", "vpc", "-o", options, text(&raw), text(&theirs)]);
        assert_clean(&theirs);
    }
}

#[test]
fn the_largest_disk_is_checked_in_no_time() {
    let folder = TempDir::new().unwrap();
    let (vhdx, _) = {
        let layout = Layout::dynamic(MAX_DISK, 4096, &[]).unwrap();
        let path = folder.path().join("large.vhdx");
        let control = Control::default();
        let file = OutputFile::create(&path, layout.file_len(), true, &control).unwrap();
        Writer::new(layout, params(), &file).unwrap().finish().unwrap();
        file.keep().unwrap();
        (path, ())
    };
    assert_clean(&vhdx);
    assert_eq!(open(&vhdx).next_data(0).unwrap(), None);
    assert_eq!(open(&vhdx).sector_size(), 4096);
}
