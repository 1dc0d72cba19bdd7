//! NTFS volumes that mkntfs formats and ntfs-3g fills, made bootable by our own code.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nanovhd::format::ntfs::{BOOT_CODE, BPB};
use nanovhd::format::partitions::mbr::{Mbr, Partition, TYPE_NTFS};
use tempfile::TempDir;

use super::tools::{Tools, text, unavailable};

/// Where the partition begins.
pub(crate) const FIRST_LBA: u32 = 2048;

const SECTOR: usize = 512;
const RECORD: usize = 1024;

/// A file with an NTFS volume in it.
pub(crate) struct Volume<'a> {
    tools: &'a Tools,
    folder: TempDir,
}

impl<'a> Volume<'a> {
    /// The programs that it takes, beside QEMU.
    pub(crate) const TOOLS: [&'static str; 5] = ["mkntfs", "ntfscp", "ntfsinfo", "ntfs-3g", "umount"];

    /// Formats a volume. `options` are mkntfs's.
    pub(crate) fn format(tools: &'a Tools, cluster: usize, len: u64, options: &[&str]) -> Self {
        let volume = Self { tools, folder: tempfile::tempdir().expect("a temporary folder") };
        let file = File::create(volume.path()).expect("a file in a temporary folder");
        file.set_len(len).expect("a sparse file");
        let (cluster, start) = (cluster.to_string(), FIRST_LBA.to_string());
        let geometry = ["-F", "-q", "-Q", "-s", "512", "-p", &start, "-H", "255", "-S", "63", "-c", &cluster];
        let path = volume.path();
        tools.run("mkntfs", &[&geometry, options, &[text(&path)]].concat());
        volume
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// Puts a file into the root directory, without a mount.
    pub(crate) fn copy(&self, name: &str, content: &[u8]) {
        let source = self.folder.path().join("source");
        fs::write(&source, content).expect("a file in a temporary folder");
        self.tools.run("ntfscp", &["-q", text(&self.path()), text(&source), name]);
    }

    /// Lets `fill` work in the mounted root directory. `None` where this machine cannot mount: the test is to return.
    #[must_use]
    pub(crate) fn mounted(&self, fill: impl FnOnce(&Path)) -> Option<()> {
        let mount = Mount::new(self)?;
        fill(mount.folder.path());
        mount.close();
        Some(())
    }

    /// What ntfsinfo says about a file, runs included.
    pub(crate) fn info(&self, which: &[&str]) -> String {
        let path = self.path();
        self.tools.run("ntfsinfo", &[&["-v"], which, &[text(&path)]].concat())
    }

    /// The number of a file's base record.
    pub(crate) fn record_number(&self, name: &str) -> usize {
        let info = self.info(&["-F", name]);
        let number = info.split_once("Dumping Inode ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        number.expect("ntfsinfo names the record")
    }

    /// The volume as it is, without a disk around it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the volume")
    }

    /// The whole disk: our MBR, one active partition with this volume and our boot record in it.
    pub(crate) fn into_disk(self) -> Disk {
        let mut volume = fs::read(self.path()).expect("the volume");
        let parameters = volume[BPB].to_vec();
        volume[..BOOT_CODE.len()].copy_from_slice(BOOT_CODE);
        volume[BPB].copy_from_slice(&parameters);
        let sectors = (volume.len() / SECTOR) as u32;
        let partition = Partition { active: true, kind: TYPE_NTFS, first_lba: FIRST_LBA, sectors };
        let mbr = Mbr { signature: 0x4E41_4E4F, partitions: [Some(partition), None, None, None] };
        let mbr = mbr.to_bytes(u64::from(FIRST_LBA + sectors)).expect("a good table").to_vec();
        Disk { mbr, volume }
    }
}

/// A disk as bytes, to be damaged at will.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) mbr: Vec<u8>,
    pub(crate) volume: Vec<u8>,
}

impl Disk {
    /// Writes it to a file, sparsely.
    pub(crate) fn write(&self, path: &Path) {
        const CHUNK: usize = 1 << 16;
        let mut file = File::create(path).expect("a file in a temporary folder");
        let start = u64::from(FIRST_LBA) * SECTOR as u64;
        file.write_all(&self.mbr).expect("the MBR is written");
        for (index, chunk) in self.volume.chunks(CHUNK).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                let at = start + (index * CHUNK) as u64;
                file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(chunk)).expect("the volume is written");
            }
        }
        file.set_len(start + self.volume.len() as u64).expect("the disk is extended");
    }

    /// The bytes per cluster.
    pub(crate) fn cluster(&self) -> usize {
        match self.volume[0x0D] {
            sectors @ 0..=0x80 => usize::from(sectors) * SECTOR,
            exponent => SECTOR << (256 - usize::from(exponent)),
        }
    }

    /// A FILE record of a volume whose $MFT is one piece. The last two bytes of each sector are not its own.
    pub(crate) fn record(&mut self, number: usize) -> &mut [u8] {
        let at = u64_at(&self.volume, 0x30) as usize * self.cluster() + number * RECORD;
        let record = &mut self.volume[at..at + RECORD];
        assert!(record.starts_with(b"FILE"), "no record {number}");
        record
    }

    /// An attribute of a FILE record, from its header to the record's end.
    pub(crate) fn attribute(&mut self, number: usize, kind: u32) -> &mut [u8] {
        let record = self.record(number);
        let mut at = usize::from(u16::from_le_bytes([record[0x14], record[0x15]]));
        while u32_at(record, at) != kind {
            assert_ne!(u32_at(record, at), u32::MAX, "record {number} has no attribute {kind:#x}");
            at += u32_at(record, at + 4) as usize;
        }
        &mut record[at..]
    }
}

/// The `u32` at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    nanovhd::base::bytes::u32_at(bytes, at).expect("within the bytes")
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    nanovhd::base::bytes::u64_at(bytes, at).expect("within the bytes")
}

/// A volume as a folder.
struct Mount<'a> {
    tools: &'a Tools,
    folder: TempDir,
    driver: Child,
    open: bool,
}

impl<'a> Mount<'a> {
    fn new(volume: &Volume<'a>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let beneath = folder.path().join("not mounted yet");
        fs::write(&beneath, "").expect("a file in a temporary folder");
        // In the foreground: when it ends, all is written.
        let mut driver = Command::new("ntfs-3g")
            .args(["-o", "no_detach,compression,big_writes"])
            .args([volume.path().as_path(), folder.path()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ntfs-3g starts");
        let deadline = Instant::now() + Duration::from_secs(20);
        while beneath.exists() {
            if let Some(status) = driver.try_wait().expect("a child") {
                unavailable(&format!("ntfs-3g cannot mount here: {status}"));
                return None;
            }
            assert!(Instant::now() < deadline, "ntfs-3g neither mounts nor ends");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { tools: volume.tools, folder, driver, open: true })
    }

    fn close(mut self) {
        self.tools.run("umount", &[text(self.folder.path())]);
        self.open = false;
        assert!(self.driver.wait().expect("a child").success(), "ntfs-3g failed");
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if self.open {
            // The test has failed already: leave nothing mounted, whatever else happens.
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
            let _ = self.driver.kill();
            let _ = self.driver.wait();
        }
    }
}
