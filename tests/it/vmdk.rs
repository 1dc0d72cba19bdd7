//! VMDKs read by qemu and libvmdk, VMDKs of qemu read by us, and all of them looked through by the checker.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nanovhd::base::{Disk, ReadAt};
use nanovhd::format::vmdk::{Adapter, GRAIN, Layout, Params, Variant, Vmdk, Writer, write_stream};
use nanovhd::image::Control;
use nanovhd::image::host::{InputFile, OutputFile};
use nanovhd::verify::Rule;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::program::{fail, succeed};
use crate::support::tools::{Tools, text};
use crate::vhdx::{assert_clean, findings};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that trip programs: one table and a bit, whole grains but no whole MiB, around 2 GiB, a TiB, and what has tables of more than
/// one piece.
const SIZES: [u64; 4] = [3 * MIB, 33 * MIB + GRAIN, 2 * GIB, 1024 * GIB];

fn params(name: &str) -> Params {
    let id = Uuid::from_u128(0x6D64_6B76_0000_4000_8000_0000_0000_0001);
    Params { id, adapter: Adapter::LsiLogic, name: name.to_owned() }
}

/// Writes that touch a disk's ends, the border of two tables and what cannot be compressed.
fn writes(len: u64) -> Vec<(u64, Vec<u8>)> {
    let middle = len / 2 / (32 * MIB) * 32 * MIB;
    let places = [(0, 512), (middle.saturating_sub(5000), 9000), (len - 512, 512)];
    let text = |seed: u64, len: u64| (0..len).map(|i| (i * 7 + seed) as u8 | 1).collect::<Vec<u8>>();
    let mut state = len | 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let mut writes: Vec<_> = places.iter().map(|(at, len)| (*at, text(*at, *len))).collect();
    writes.push((MIB, (0..3 * GRAIN / 2).map(|_| noise()).collect()));
    writes
}

/// The same disk as a sparse file, as a stream and as a raw file, in a folder.
struct Made {
    folder: TempDir,
    sparse: PathBuf,
    stream: PathBuf,
    raw: PathBuf,
}

fn make(len: u64) -> Made {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (sparse, stream, raw) = (path("sparse.vmdk"), path("stream.vmdk"), path("disk.raw"));
    let used: Vec<_> = writes(len).iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect();
    let layout = Layout::sparse(len, &used).unwrap();
    let control = Control::default();
    let file = OutputFile::create(&sparse, layout.file_len(), true, &control).unwrap();
    let raw_file = OutputFile::create(&raw, len, true, &control).unwrap();
    let writer = Writer::new(layout, &params("sparse.vmdk"), &file).unwrap();
    for (at, bytes) in writes(len) {
        writer.write_at(at, &bytes).unwrap();
        raw_file.write_at(at, &bytes).unwrap();
    }
    writer.finish().unwrap();
    file.keep().unwrap();
    raw_file.keep().unwrap();
    let mut out = BufWriter::new(File::create(&stream).unwrap());
    let threads = NonZeroUsize::new(2).unwrap();
    write_stream(&open(&sparse), &params("stream.vmdk"), threads, &mut out, &mut |_, _| Ok(())).unwrap();
    out.flush().unwrap();
    Made { folder, sparse, stream, raw }
}

fn open(path: &Path) -> Vmdk<Arc<dyn ReadAt>> {
    Vmdk::open(Arc::new(InputFile::open(path).unwrap()) as Arc<dyn ReadAt>).unwrap()
}

fn qemu_info(tools: &Tools, path: &Path) -> serde_json::Value {
    serde_json::from_str(&tools.run("qemu-img", &["info", "--output=json", "-f", "vmdk", text(path)])).unwrap()
}

#[test]
fn qemu_reads_our_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let made = make(len);
        for (path, kind) in [(&made.sparse, "monolithicSparse"), (&made.stream, "streamOptimized")] {
            let info = qemu_info(&tools, path);
            assert_eq!(info["virtual-size"], len);
            let data = &info["format-specific"]["data"];
            assert_eq!((&data["create-type"], &data["cid"]), (&kind.into(), &0x6D64_6B76.into()), "{info}");
            assert_eq!(data["extents"][0]["cluster-size"], GRAIN);
            tools.run("qemu-img", &["check", "-f", "vmdk", text(path)]);
            tools.run("qemu-img", &["compare", "-f", "vmdk", "-F", "raw", text(path), text(&made.raw)]);
            assert_clean(path);
        }
    }
}

#[test]
fn qemu_writes_into_our_sparse_disks() {
    let Some(tools) = Tools::find(&["qemu-img", "qemu-io"]) else { return };
    let made = make(100 * MIB);
    tools.run("qemu-io", &["-f", "vmdk", "-c", "write -P 0x5A 60M 200k", "-c", "write -P 7 0 1k", text(&made.sparse)]);
    tools.run("qemu-io", &["-f", "raw", "-c", "write -P 0x5A 60M 200k", "-c", "write -P 7 0 1k", text(&made.raw)]);
    tools.run("qemu-img", &["check", "-f", "vmdk", text(&made.sparse)]);
    tools.run("qemu-img", &["compare", "-f", "vmdk", "-F", "raw", text(&made.sparse), text(&made.raw)]);
    assert_clean(&made.sparse);
    let raw = std::fs::read(&made.raw).unwrap();
    let mut disk = vec![1; raw.len()];
    open(&made.sparse).read_at(0, &mut disk).unwrap();
    assert!(disk == raw);
}

#[test]
fn we_read_what_qemu_makes() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let len = 100 * MIB;
    let made = make(len);
    let expected = std::fs::read(&made.raw).unwrap();
    for (options, variant) in [
        ("subformat=monolithicSparse", Variant::Sparse),
        ("subformat=monolithicSparse,adapter_type=lsilogic,zeroed_grain=on", Variant::Sparse),
        ("subformat=streamOptimized", Variant::StreamOptimized),
    ] {
        let theirs = made.folder.path().join("theirs.vmdk");
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", "-o", options, text(&made.raw), text(&theirs)]);
        let vmdk = open(&theirs);
        assert_eq!((ReadAt::len(&vmdk), vmdk.variant()), (len, variant), "{options}");
        let mut disk = vec![1; len as usize];
        vmdk.read_at(0, &mut disk).unwrap();
        assert!(disk == expected, "{options}");
        assert_clean(&theirs);
    }
}

/// A folder on which libvmdk shows a disk.
struct Mounted<'t> {
    tools: &'t Tools,
    point: TempDir,
}

impl<'t> Mounted<'t> {
    fn new(tools: &'t Tools, disk: &Path) -> Self {
        let point = TempDir::new().unwrap();
        tools.start("vmdkmount", &[text(disk), text(point.path())]);
        Self { tools, point }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        self.tools.run("fusermount3", &["-u", text(self.point.path())]);
    }
}

#[test]
fn libvmdk_reads_our_disks() {
    let Some(tools) = Tools::find(&["vmdkinfo", "vmdkmount", "fusermount3"]) else { return };
    if !Path::new("/dev/fuse").exists() {
        return crate::support::tools::unavailable("no /dev/fuse");
    }
    for len in [33 * MIB + GRAIN, 1024 * GIB] {
        let made = make(len);
        for (path, kind) in [(&made.sparse, "Monolithic sparse"), (&made.stream, "Stream optimized")] {
            let info = tools.run("vmdkinfo", &[text(path)]);
            assert!(info.contains(&format!("({len} bytes)")) && info.contains(kind), "{info}");
            assert!(info.contains("0x6d646b76"), "{info}");
            let mounted = Mounted::new(&tools, path);
            let disk = InputFile::open(&mounted.point.path().join("vmdk1")).unwrap();
            assert_eq!(ReadAt::len(&disk), len);
            for (at, bytes) in writes(len) {
                let start = at.saturating_sub(GRAIN);
                let mut found = vec![9; (at + bytes.len() as u64 + GRAIN).min(len) as usize - start as usize];
                let mut expected = found.clone();
                disk.read_at(start, &mut found).unwrap();
                InputFile::open(&made.raw).unwrap().read_at(start, &mut expected).unwrap();
                assert!(found == expected, "{kind}, {at:#x}");
            }
        }
    }
}

#[test]
fn other_kinds_are_refused_with_a_hint() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("out.raw");
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let path = folder.path().join(format!("{kind}.vmdk"));
        let option = format!("subformat={kind}");
        tools.run("qemu-img", &["create", "-f", "vmdk", "-o", &option, text(&path), "64M"]);
        let (code, words) = fail(["convert", text(&path), "--output", text(&to)]);
        assert_eq!(code, 22, "{words}");
        assert!(words.contains(kind) && words.contains("qemu-img convert"), "{words}");
        assert_eq!(findings(&path).count_of(Rule::Unreadable), 1);
    }
    let part = folder.path().join("twoGbMaxExtentSparse-s001.vmdk");
    let (code, words) = fail(["convert", text(&part), "--output", text(&to)]);
    assert!(code == 22 && words.contains("several files"), "{words}");
    // A delta over another disk.
    let (base, delta) = (folder.path().join("base.vmdk"), folder.path().join("delta.vmdk"));
    tools.run("qemu-img", &["create", "-f", "vmdk", text(&base), "64M"]);
    tools.run("qemu-img", &["create", "-f", "vmdk", "-b", text(&base), "-F", "vmdk", text(&delta)]);
    let (code, words) = fail(["convert", text(&delta), "--output", text(&to)]);
    assert!(code == 22 && words.contains("snapshot"), "{words}");
}

#[test]
fn a_vmdk_is_built_edited_and_described() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let note = path("note.txt");
    std::fs::write(&note, "a note").unwrap();
    succeed(["demo", "--size=96M", "--seed=7", "--output", text(&path("demo.img"))]);
    for (format, kind) in [("vmdk", "VMDK, sparse"), ("vmdk-stream", "VMDK, stream-optimized")] {
        let disk = path(&format!("{format}.vmdk"));
        succeed(["demo", "--size=96M", "--seed=7", "--format", format, "--output", text(&disk)]);
        tools.run("qemu-img", &["check", "-f", "vmdk", text(&disk)]);
        tools.run("qemu-img", &["compare", "-f", "vmdk", "-F", "raw", text(&disk), text(&path("demo.img"))]);
        let report: serde_json::Value = serde_json::from_str(&succeed(["info", text(&disk), "--json"])).unwrap();
        assert_eq!(report["container"], kind);
        succeed(["verify", text(&disk)]);
        let before = open(&disk).descriptor().clone();
        let copy = format!("{}=\\", text(&note));
        succeed(["edit", text(&disk), "--copy", &copy]);
        assert_eq!(succeed(["cat", text(&disk), r"\note.txt"]), "a note");
        assert_eq!(open(&disk).descriptor().id, before.id, "an edit keeps the identity");
        succeed(["verify", text(&disk)]);
        tools.run("qemu-img", &["check", "-f", "vmdk", text(&disk)]);
    }
}

#[test]
fn a_stream_is_made_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let (raw, to) = (folder.path().join("disk.raw"), folder.path().join("out.vmdk"));
    std::fs::write(&raw, vec![3; 700 + (1 << 20)]).unwrap();
    let report = succeed(["convert", text(&raw), "--output", text(&to), "--format=vmdk-stream", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["file_bytes"], std::fs::metadata(&to).unwrap().len());
    assert_eq!(report["new_disk_bytes"], 2 * MIB);
    let mut disk = vec![9; 2 << 20];
    open(&to).read_at(0, &mut disk).unwrap();
    assert!(
        disk[..700 + (1 << 20)].iter().all(|byte| *byte == 3) && disk[700 + (1 << 20)..].iter().all(|byte| *byte == 0)
    );
    assert_eq!(fail(["convert", text(&raw), "--output", text(&to), "--format=vmdk-stream"]).0, 12);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}
