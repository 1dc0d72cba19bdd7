//! VDIs read by qemu and 7-Zip, and VDIs that qemu made read by us.

use std::path::{Path, PathBuf};

use nanovhd::base::ReadAt;
use nanovhd::format::vdi::{Layout, Params, Variant, Vdi, Writer};
use uuid::Uuid;

use crate::support::disks::{
    build_and_edit, check_with_qemu, fill, input, make, mixed, raw, read_all, used, write_with_qemu,
};
use crate::support::tools::{Tools, text};
use crate::vhdx::assert_clean;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that trip programs: no whole number of blocks, a map of several MiB, the sizes of real disks.
const SIZES: [u64; 6] = [3 * MIB, 100 * MIB + 512, 4 * GIB, 127 * GIB, 1 << 40, 2 << 40];

fn vdi(folder: &Path, layout: &Layout) -> PathBuf {
    let params = Params { id: Uuid::from_u128(1 << 70), modification: Uuid::from_u128(2 << 70) };
    make(folder, "disk.vdi", layout.file_len(), |file| {
        let writer = Writer::new(layout.clone(), params, file).unwrap();
        fill(&writer, layout.disk_len());
        writer.finish().unwrap();
    })
}

#[test]
fn qemu_reads_dynamic_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let ours = vdi(folder.path(), &Layout::dynamic(len, &used(len)).unwrap());
        check_with_qemu(&tools, "vdi", &ours, &raw(folder.path(), len), len);
        assert_clean(&ours);
    }
}

#[test]
fn qemu_reads_fixed_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let ours = vdi(folder.path(), &Layout::fixed(len).unwrap());
        check_with_qemu(&tools, "vdi", &ours, &raw(folder.path(), len), len);
        assert_clean(&ours);
    }
}

#[test]
fn seven_zip_reads_our_disks() {
    let Some(tools) = Tools::find(&["7z"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let len = 40 * MIB;
    let disk = std::fs::read(raw(folder.path(), len)).unwrap();
    for layout in [Layout::dynamic(len, &used(len)), Layout::fixed(len)] {
        let ours = vdi(folder.path(), &layout.unwrap());
        assert!(tools.run_for_bytes("7z", &["e", "-so", "-tvdi", text(&ours)]) == disk);
    }
}

#[test]
fn qemu_writes_into_our_disks() {
    let Some(tools) = Tools::find(&["qemu-img", "qemu-io"]) else { return };
    let len = 100 * MIB;
    for layout in [Layout::dynamic(len, &used(len)), Layout::fixed(len)] {
        let folder = tempfile::tempdir().unwrap();
        let (ours, raw) = (vdi(folder.path(), &layout.unwrap()), raw(folder.path(), len));
        write_with_qemu(&tools, "vdi", &ours, &raw, len);
        assert!(read_all(&Vdi::open(input(&ours)).unwrap()) == std::fs::read(&raw).unwrap());
        assert_clean(&ours);
    }
}

#[test]
fn a_vdi_is_built_edited_and_described() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for (format, kind) in [("vdi", "VDI, dynamic"), ("vdi-fixed", "VDI, fixed")] {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = build_and_edit(&tools, folder.path(), format, kind);
        let [before, after] = [before, after].map(|path| Vdi::open(input(&path)).unwrap());
        assert_eq!((before.id(), before.variant()), (after.id(), after.variant()), "an edit keeps the identity");
        assert_ne!(before.modification(), after.modification(), "and says that the contents changed");
    }
}

#[test]
fn disks_of_qemu_are_read() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = mixed();
    let raw = folder.path().join("raw");
    std::fs::write(&raw, &disk).unwrap();
    for (option, variant) in [("static=off", Variant::Dynamic), ("static=on", Variant::Fixed)] {
        let theirs = folder.path().join("theirs.vdi");
        tools.run("qemu-img", &["convert", "-f", "raw", "-O", "vdi", "-o", option, text(&raw), text(&theirs)]);
        let vdi = Vdi::open(input(&theirs)).unwrap();
        assert_eq!((vdi.variant(), ReadAt::len(&vdi)), (variant, disk.len() as u64));
        assert!(read_all(&vdi) == disk, "{option}");
        assert_clean(&theirs);
    }
}
