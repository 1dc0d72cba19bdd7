//! qcow2 files read by qemu, libqcow and 7-Zip, and those that qemu made in all ways read by us.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use nanovhd::base::{ReadAt, Slice};
use nanovhd::error::{Kind, Result};
use nanovhd::format::qcow2::{Layout, MAX_DISK, Qcow2, Writer, write_compressed};
use nanovhd::image::Control;
use nanovhd::image::host::OutputStream;

use crate::support::disks::{
    build_and_edit, check_with_qemu, fill, input, make, mixed, raw, read_all, used, write_with_qemu,
};
use crate::support::program::{fail, succeed};
use crate::support::tools::{Tools, text};
use crate::vhdx::assert_clean;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that trip programs: no whole number of clusters, one and more L2 tables, the sizes of real disks.
const SIZES: [u64; 7] = [3 * MIB, 100 * MIB + 512, 512 * MIB, 513 * MIB, 127 * GIB, 1 << 40, 9 << 40];

fn plain(folder: &Path, len: u64) -> PathBuf {
    let layout = Layout::new(len, &used(len)).unwrap();
    make(folder, "plain.qcow2", layout.file_len(), |file| {
        let writer = Writer::new(layout.clone(), file).unwrap();
        fill(&writer, len);
        writer.finish().unwrap();
    })
}

fn compressed(folder: &Path, disk: &dyn ReadAt) -> PathBuf {
    let (path, control) = (folder.join("compressed.qcow2"), Control::default());
    let mut stream = OutputStream::create(&path, true, &control).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let len = write_compressed(disk, threads, &mut stream, &mut |_, _| Ok(())).unwrap();
    stream.keep().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
    path
}

#[test]
fn qemu_reads_our_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let (ours, raw) = (plain(folder.path(), len), raw(folder.path(), len));
        check_with_qemu(&tools, "qcow2", &ours, &raw, len);
        assert_clean(&ours);
        let packed = compressed(folder.path(), &Qcow2::open(input(&ours)).unwrap());
        check_with_qemu(&tools, "qcow2", &packed, &raw, len);
        assert_clean(&packed);
        assert!(std::fs::metadata(&packed).unwrap().len() < MIB);
    }
}

/// No host file system holds it raw.
#[test]
fn the_largest_disk_is_sound() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ours = plain(folder.path(), MAX_DISK);
    let packed = compressed(folder.path(), &Qcow2::open(input(&ours)).unwrap());
    for file in [&ours, &packed] {
        tools.run("qemu-img", &["check", "-f", "qcow2", text(file)]);
        assert_clean(file);
    }
    tools.run("qemu-img", &["compare", text(&ours), text(&packed)]);
}

#[test]
fn qemu_reads_compressed_disks_of_everything() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (disk, raw) = (mixed(), folder.path().join("raw"));
    std::fs::write(&raw, &disk).unwrap();
    let packed = compressed(folder.path(), &disk);
    check_with_qemu(&tools, "qcow2", &packed, &raw, disk.len() as u64);
    assert_clean(&packed);
    let theirs = folder.path().join("theirs.qcow2");
    tools.run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-c", text(&raw), text(&theirs)]);
    let [ours, theirs] = [&packed, &theirs].map(|path| std::fs::metadata(path).unwrap().len());
    println!("compressed: {ours} bytes, by qemu {theirs}");
    assert!(ours < theirs + theirs / 50 + 4 * 65536);
}

/// With every cluster of the file's first 2 GiB counted: more than one refcount block.
#[test]
fn long_files_have_several_refcount_blocks() {
    struct Half;
    impl ReadAt for Half {
        fn len(&self) -> u64 {
            3 * GIB
        }
        fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
            buf.iter_mut().zip(at..).for_each(|(byte, at)| *byte = (at >> 16) as u8 | 1);
            Ok(())
        }
        fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
            Ok((at < 5 * MIB).then_some(at..5 * MIB))
        }
    }
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(3 * GIB, std::slice::from_ref(&(0..5 * GIB / 2))).unwrap();
    let ours = make(folder.path(), "long.qcow2", layout.file_len(), |file| {
        let writer = Writer::new(layout.clone(), file).unwrap();
        let mut start = vec![0; 5 << 20];
        Half.read_at(0, &mut start).unwrap();
        nanovhd::base::Disk::write_at(&writer, 0, &start).unwrap();
        writer.finish().unwrap();
    });
    tools.run("qemu-img", &["check", "-f", "qcow2", text(&ours)]);
    assert_clean(&ours);
    let packed = compressed(folder.path(), &Half);
    tools.run("qemu-img", &["check", "-f", "qcow2", text(&packed)]);
    tools.run("qemu-img", &["compare", text(&ours), text(&packed)]);
}

#[test]
fn libqcow_reads_our_disks() {
    let Some(tools) = Tools::find(&["qcowinfo"]) else { return };
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let ours = plain(folder.path(), len);
        let packed = compressed(folder.path(), &Qcow2::open(input(&ours)).unwrap());
        for file in [ours, packed] {
            let info = tools.run("qcowinfo", &[text(&file)]);
            assert!(info.contains(&format!("({len} bytes)")) || info.contains(&format!(": {len} bytes")), "{info}");
        }
    }
}

#[test]
fn seven_zip_reads_our_disks() {
    let Some(tools) = Tools::find(&["7z"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let len = 600 * MIB;
    let ours = plain(folder.path(), len);
    let disk = std::fs::read(raw(folder.path(), len)).unwrap();
    assert!(tools.run_for_bytes("7z", &["e", "-so", "-tqcow", text(&ours)]) == disk);
    let disk = mixed();
    let packed = compressed(folder.path(), &disk);
    assert!(tools.run_for_bytes("7z", &["e", "-so", "-tqcow", text(&packed)]) == disk);
}

/// qemu's files with each option that changes what a reader meets, and whether clusters are compressed.
const MADE: [(&str, bool); 16] = [
    ("compat=1.1", false),
    ("compat=1.1", true),
    ("compat=0.10", false),
    ("compat=0.10", true),
    ("cluster_size=512", false),
    ("cluster_size=512", true),
    ("cluster_size=4k", false),
    ("cluster_size=4k", true),
    ("cluster_size=2M", false),
    ("cluster_size=2M", true),
    ("preallocation=metadata", false),
    ("preallocation=full", false),
    ("lazy_refcounts=on,refcount_bits=1", false),
    ("extended_l2=on", false),
    ("extended_l2=on,cluster_size=16k,refcount_bits=64", true),
    ("compression_type=zstd", true),
];

#[test]
fn disks_of_qemu_are_read() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (disk, raw) = (mixed(), folder.path().join("raw"));
    std::fs::write(&raw, &disk).unwrap();
    for (options, packed) in MADE {
        let theirs = folder.path().join("theirs.qcow2");
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
        args.extend(packed.then_some("-c"));
        args.extend([text(&raw), text(&theirs)]);
        tools.run("qemu-img", &args);
        let qcow2 = Qcow2::open(input(&theirs)).unwrap();
        assert!(read_all(&qcow2) == disk, "{options}");
        assert_clean(&theirs);
        // From odd places, in pieces that are no whole clusters.
        for at in (1..disk.len() as u64 - 70_000).step_by(999_983) {
            let mut piece = vec![0; 70_000];
            qcow2.read_at(at, &mut piece).unwrap();
            assert!(piece == disk[at as usize..at as usize + 70_000], "{options}, {at}");
        }
    }
}

#[test]
fn the_active_state_is_read_of_a_disk_with_snapshots() {
    let Some(tools) = Tools::find(&["qemu-img", "qemu-io"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, raw) = (mixed(), folder.path().join("raw"));
    std::fs::write(&raw, &disk).unwrap();
    for options in ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"] {
        let theirs = folder.path().join("theirs.qcow2");
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-o", options, text(&raw), text(&theirs)]);
        tools.run("qemu-img", &["snapshot", "-c", "before", text(&theirs)]);
        let commands = ["-c", "write -P 0x77 1M 100k", "-c", "write -z 5M 300k", "-c", "write -P 0x66 5130k 1k"];
        tools.run("qemu-io", &[&["-f", "qcow2"], &commands[..], &[text(&theirs)]].concat());
        disk[1 << 20..(1 << 20) + (100 << 10)].fill(0x77);
        disk[5 << 20..(5 << 20) + (300 << 10)].fill(0);
        disk[5130 << 10..5131 << 10].fill(0x66);
        let qcow2 = Qcow2::open(input(&theirs)).unwrap();
        assert_eq!(qcow2.internal_snapshots(), 1);
        assert!(read_all(&qcow2) == disk, "{options}");
        assert_clean(&theirs);
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let base = plain(folder.path(), 3 * MIB);
    let (child, data) = (folder.path().join("child.qcow2"), folder.path().join("data.raw"));
    let backing = ["-b", text(&base), "-F", "qcow2"];
    let external = format!("data_file={}", text(&data));
    let cases: [(&[&str], &str); 3] = [
        (&backing, "backing file"),
        (&["-o", &external, "3M"], "another file"),
        (
            &["--object", "secret,id=key,data=words", "-o", "encrypt.format=luks,encrypt.key-secret=key", "3M"],
            "encrypted",
        ),
    ];
    for (options, words) in cases {
        let (options, size): (Vec<&str>, Vec<&str>) = options.iter().partition(|option| **option != "3M");
        let args = [&["create", "-f", "qcow2"], &options[..], &[text(&child)], &size[..]].concat();
        tools.run("qemu-img", &args);
        let error = Qcow2::open(input(&child)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint_text().unwrap().contains("qemu-img convert"));
    }
}

#[test]
fn qemu_writes_into_our_disks() {
    let Some(tools) = Tools::find(&["qemu-img", "qemu-io"]) else { return };
    let len = 100 * MIB;
    for is_packed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (mut ours, raw) = (plain(folder.path(), len), raw(folder.path(), len));
        if is_packed {
            ours = compressed(folder.path(), &Qcow2::open(input(&ours)).unwrap());
        }
        write_with_qemu(&tools, "qcow2", &ours, &raw, len);
        assert!(read_all(&Qcow2::open(input(&ours)).unwrap()) == std::fs::read(&raw).unwrap());
        assert_clean(&ours);
    }
}

#[test]
fn a_qcow2_is_built_edited_and_described() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for (format, is_packed) in [("qcow2", false), ("qcow2-compressed", true)] {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = build_and_edit(&tools, folder.path(), format, "qcow2");
        for file in [before, after] {
            assert_eq!(Qcow2::open(input(&file)).unwrap().has_compressed().unwrap(), is_packed, "{format}");
        }
    }
}

#[test]
fn snapshots_are_not_lost_in_silence() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [disk, new, note] = ["disk.qcow2", "new.qcow2", "note"].map(|name| folder.path().join(name));
    std::fs::write(&note, "a note").unwrap();
    succeed(["demo", "--size=96M", "--output", text(&disk)]);
    tools.run("qemu-img", &["snapshot", "-c", "before", text(&disk)]);
    let copy = format!("{}=\\", text(&note));
    let (_, words) = fail(["edit", text(&disk), "--copy", &copy]);
    assert!(words.contains("snapshots") && words.contains("--output"), "{words}");
    succeed(["edit", text(&disk), "--copy", &copy, "--output", text(&new)]);
    assert_clean(&new);
    let report = succeed(["convert", text(&disk), "--output", text(&new), "--force", "--json"]);
    assert!(report.contains("snapshots"), "{report}");
    assert_eq!(Qcow2::open(input(&new)).unwrap().internal_snapshots(), 0);
    let info = succeed(["info", text(&disk)]);
    assert!(info.contains("internal snapshots"), "{info}");
}

/// The disk of a compressed file is the same to a reader of windows.
#[test]
fn windows_of_compressed_disks_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = mixed();
    let packed = Qcow2::open(input(&compressed(folder.path(), &disk))).unwrap();
    let window = Slice::of_reader(&packed, MIB + 100..9 * MIB).unwrap();
    assert!(read_all(&window) == disk[(1 << 20) + 100..9 << 20]);
}
