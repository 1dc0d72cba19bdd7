//! VHDs read by qemu and libvhdi, and VHDs that Hyper-V and Virtual PC made read by us.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nanovhd::base::{Disk, FileTime, ReadAt};
use nanovhd::error::{Error, Result};
use nanovhd::format::vhd::{BLOCK, Layout, Params, Variant, Vhd, Writer};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::tools::{Tools, testdata, text};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sizes that trip programs: not a whole number of cylinders, blocks or MiB, the default of Windows' dialogs, the limit.
const SIZES: [u64; 6] = [3 * MIB, 100 * MIB, 100 * MIB + 512, 4 * GIB, 127 * GIB, 2040 * GIB];

/// A sparse file.
struct HostFile(Mutex<File>, u64);

impl HostFile {
    fn new(path: &Path, len: u64) -> Self {
        let file = File::create(path).expect("a file in a temporary folder");
        file.set_len(len).expect("a sparse file");
        Self(Mutex::new(file), len)
    }
}

impl Disk for HostFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        let mut file = self.0.lock().expect("not poisoned");
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(data)).map_err(|e| Error::io("write", e))
    }
}

/// Writes of a disk that touch its ends, the borders of blocks and a block's middle.
fn writes(len: u64) -> Vec<(u64, Vec<u8>)> {
    let middle = len / 2 / BLOCK * BLOCK;
    let places = [(0, 512), (middle.saturating_sub(5000), 9000), (len - 512, 512)];
    let bytes = |seed: u64, len: u64| (0..len).map(|i| (i * 7 + seed) as u8 | 1).collect();
    places.iter().map(|(at, len)| (*at, bytes(*at, *len))).collect()
}

/// A VHD in the folder, and the same disk as a raw file.
fn make(folder: &TempDir, layout: &Layout) -> (PathBuf, PathBuf) {
    let len = layout.disk_len();
    let (vhd, raw) = (folder.path().join("disk.vhd"), folder.path().join("disk.raw"));
    let params = Params {
        created: FileTime::from_unix(1_500_000_000).expect("in range"),
        id: Uuid::from_u128(0x0123_4567_89AB_4DEF_8123_4567_89AB_CDEF),
    };
    let writer = Writer::new(layout.clone(), params, HostFile::new(&vhd, layout.file_len())).expect("a VHD");
    let raw_file = HostFile::new(&raw, len);
    for (at, bytes) in writes(len) {
        writer.write_at(at, &bytes).expect("a planned write");
        raw_file.write_at(at, &bytes).expect("a write");
    }
    writer.finish().expect("a finished VHD");
    (vhd, raw)
}

fn dynamic(len: u64) -> Layout {
    let used: Vec<_> = writes(len).iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect();
    Layout::dynamic(len, &used).expect("a layout")
}

/// `qemu-img check` has nothing to say about VHDs; that every block is found in its place shows when they are compared.
fn check_with_qemu(tools: &Tools, vhd: &Path, raw: &Path, len: u64) {
    let info = tools.run("qemu-img", &["info", "--output=json", "-f", "vpc", text(vhd)]);
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["virtual-size"], len);
    tools.run("qemu-img", &["compare", "-f", "vpc", "-F", "raw", text(vhd), text(raw)]);
}

#[test]
fn qemu_reads_dynamic_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = TempDir::new().expect("a temporary folder");
        let (vhd, raw) = make(&folder, &dynamic(len));
        check_with_qemu(&tools, &vhd, &raw, len);
    }
}

#[test]
fn qemu_reads_fixed_disks() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    for len in SIZES {
        let folder = TempDir::new().expect("a temporary folder");
        let (vhd, raw) = make(&folder, &Layout::fixed(len).expect("a layout"));
        check_with_qemu(&tools, &vhd, &raw, len);
    }
}

#[test]
fn qemu_converts_what_we_write_and_we_read_what_it_makes() {
    let Some(tools) = Tools::find(&["qemu-img"]) else { return };
    let len = 100 * MIB + 512;
    let folder = TempDir::new().expect("a temporary folder");
    let (ours, raw) = make(&folder, &dynamic(len));
    for (subformat, variant) in [("dynamic", Variant::Dynamic { block_size: 2 << 20 }), ("fixed", Variant::Fixed)] {
        let theirs = folder.path().join(subformat);
        let options = format!("subformat={subformat},force_size=on");
        tools.run("qemu-img", &["convert", "-f", "vpc", "-O", "vpc", "-o", &options, text(&ours), text(&theirs)]);
        let vhd = Vhd::open(std::fs::read(&theirs).expect("their file")).expect("a VHD");
        assert_eq!(vhd.variant(), variant);
        let mut disk = vec![0; len as usize];
        vhd.read_at(0, &mut disk).expect("all of it");
        assert!(disk == std::fs::read(&raw).expect("the raw disk"), "{subformat}");
    }
}

#[test]
fn libvhdi_reads_our_disks() {
    let Some(tools) = Tools::find(&["vhdiinfo"]) else { return };
    for len in SIZES {
        let fixed = Layout::fixed(len).expect("a layout");
        for (layout, kind) in [(dynamic(len), "Dynamic"), (fixed, "Fixed")] {
            let folder = TempDir::new().expect("a temporary folder");
            let (vhd, _) = make(&folder, &layout);
            let info = tools.run("vhdiinfo", &[text(&vhd)]);
            assert!(info.contains(&format!("({len} bytes)")) || info.contains(&format!(": {len} bytes")), "{info}");
            assert!(info.contains("01234567-89ab-4def-8123-456789abcdef") && info.contains(kind), "{info}");
        }
    }
}

/// A sample of another program's, unpacked.
fn sample(name: &str) -> Option<Vec<u8>> {
    let packed = testdata(Path::new("disks").join(name))?;
    Some(Tools::find(&["bzip2"])?.run_for_bytes("bzip2", &["-dc", text(&packed)]))
}

#[test]
fn reads_a_disk_of_hyper_v() {
    let Some(bytes) = sample("hyperv2012r2-dynamic.vhd.bz2") else { return };
    let vhd = Vhd::open(&bytes).expect("a VHD");
    assert_eq!(ReadAt::len(&vhd), 127 * GIB);
    assert_eq!(vhd.variant(), Variant::Dynamic { block_size: 2 << 20 });
    assert_eq!(vhd.footer().creator, *b"win ");
    assert_eq!(vhd.footer().creator_version, 0x0006_0003);
    let mut sector = [1; 512];
    vhd.read_at(127 * GIB - 512, &mut sector).expect("the last sector");
    assert_eq!(sector, [0; 512]);
}

#[test]
fn reads_a_disk_of_virtual_pc() {
    let Some(bytes) = sample("virtualpc-dynamic.vhd.bz2") else { return };
    let vhd = Vhd::open(&bytes).expect("a VHD");
    assert_eq!(ReadAt::len(&vhd), 127 * GIB);
    assert_eq!(vhd.footer().geometry.capacity(), 136_363_130_880, "what its guests saw");
    assert_eq!(vhd.footer().creator, *b"vpc ");
    assert_eq!(vhd.footer().id, Uuid::from_u128(0x33EA_0013_6191_4D02_B93F_88AF_8429_6F85));
}

/// Apart from the creator's version, the time, the id and the checksum over them, an empty disk of ours is Hyper-V's.
#[test]
fn an_empty_disk_is_the_one_that_hyper_v_makes() {
    let Some(mut theirs) = sample("hyperv2012r2-dynamic.vhd.bz2") else { return };
    let layout = Layout::dynamic(127 * GIB, &[]).expect("a layout");
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("empty.vhd");
    let params = Params { created: FileTime(0), id: Uuid::nil() };
    let writer = Writer::new(layout.clone(), params, HostFile::new(&path, layout.file_len())).expect("a VHD");
    writer.finish().expect("a finished VHD");
    let mut ours = Vec::new();
    File::open(&path).and_then(|mut file| file.read_to_end(&mut ours)).expect("our file");
    for file in [&mut theirs, &mut ours] {
        let end = file.len() - 512;
        for footer in [0, end] {
            for own in [24..28, 32..36, 64..84] {
                file[footer + own.start..footer + own.end].fill(0);
            }
        }
    }
    assert!(ours == theirs);
}

#[test]
fn data_lies_on_whole_units_of_4_kib() {
    let folder = TempDir::new().expect("a temporary folder");
    let (path, _) = make(&folder, &dynamic(100 * MIB));
    let bytes = std::fs::read(path).expect("our file");
    assert_eq!(bytes.len() % 4096, 0);
    let table =
        bytes[1536..1536 + 50 * 4].chunks_exact(4).map(|entry| u32::from_be_bytes(entry.try_into().expect("4 bytes")));
    let blocks: Vec<u64> = table.filter(|sector| *sector != u32::MAX).map(|sector| u64::from(sector) * 512).collect();
    assert_eq!(blocks.len(), 4);
    assert!(blocks.iter().all(|bitmap| (bitmap + 512) % 4096 == 0), "{blocks:x?}");
}
