//! A disk out of one container into another.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::Serialize;

use super::disk_file::{DiskFile, Identity};
use super::host::{self, OutputFile, OutputStream};
use super::opened::{Container, Opened};
use super::seed::Seed;
use super::{Control, Format, verify};
use crate::base::{Disk, FileTime, ReadAt, bytes, layers};
use crate::error::{Context, Error, Result};
use crate::format::vhd::{self, Vhd};
use crate::format::{qcow2, vdi, vhdx, vmdk};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// How much is read at once.
const PIECE: u64 = MIB;
/// Of what is read, so much is looked at as one; what is all zeros is not written.
const CHUNK: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The disk.
    pub image: PathBuf,
    /// Where the new file goes.
    pub output: PathBuf,
    /// The new container.
    pub format: Format,
    /// When the new container says that it was made; else the old one's time.
    pub created: Option<FileTime>,
    /// Whether an existing output may be replaced.
    pub force: bool,
}

/// What a conversion comes to, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The disk that is read.
    pub image: String,
    /// The files that hold it: more than one for a differencing disk.
    pub layers: Vec<String>,
    /// The new file.
    pub output: String,
    /// Its container.
    pub format: Format,
    /// The size of the disk that is read, as a machine sees it.
    pub disk_bytes: u64,
    /// The size of the disk in the new file.
    pub new_disk_bytes: u64,
    /// The length of the new file in bytes, holes included; of a compressed one, that of the disk until it is written.
    pub file_bytes: u64,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

/// A conversion that is laid out, with nothing written yet.
pub struct Conversion<'r> {
    request: &'r Request,
    opened: Opened,
    file: DiskFile,
    summary: Summary,
}

impl<'r> Conversion<'r> {
    /// Opens the disk and, for a container that grows, finds out which of its blocks hold anything but zeros. What is absent in the
    /// source is not read.
    pub fn new(request: &'r Request, control: &Control) -> Result<Self> {
        host::check_target(&request.output, request.force)?;
        let opened = Opened::open(&request.image)?;
        opened.refuse_output(&request.output)?;
        let mut warnings = Vec::new();
        if let Container::Qcow2 { snapshots: 1.. } = opened.container {
            warnings.push("the file holds snapshots besides the active state, and they are not taken along".to_owned());
        }
        let disk_len = new_len(&opened, request.format, &mut warnings)?;
        let seed = seed_of(&opened, request.format)?;
        let created = request.created.map_or_else(|| created(&opened), Ok)?;
        let identity = Identity::derived(request.format, &seed, created, opened.sector_size);
        let used = match request.format {
            Format::Vhd => used_blocks(&opened.disk, vhd::BLOCK, control)?,
            Format::Vhdx => used_blocks(&opened.disk, vhdx::BLOCK, control)?,
            Format::Vmdk => used_blocks(&opened.disk, vmdk::GRAIN, control)?,
            Format::Vdi => used_blocks(&opened.disk, vdi::BLOCK, control)?,
            Format::Qcow2 => used_blocks(&opened.disk, qcow2::CLUSTER, control)?,
            Format::VhdFixed | Format::VhdxFixed | Format::VdiFixed | Format::Raw => Vec::new(),
            Format::VmdkStream | Format::Qcow2Compressed => Vec::new(),
        };
        let file = DiskFile::new(identity, disk_len, &used)?;
        let summary = Summary {
            image: request.image.display().to_string(),
            layers: opened.layers.iter().map(|layer| layer.path.display().to_string()).collect(),
            output: request.output.display().to_string(),
            format: request.format,
            disk_bytes: opened.disk.len(),
            new_disk_bytes: disk_len,
            file_bytes: file.len(),
            warnings,
        };
        Ok(Self { request, opened, file, summary })
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes the file: under a temporary name, and under its own once it is complete.
    pub fn run(&mut self, threads: NonZeroUsize, control: &Control) -> Result<()> {
        let Request { output, force, .. } = self.request;
        control.expect(self.opened.disk.len());
        let output = if self.file.is_packed() {
            let disk = Padded { disk: &self.opened.disk, len: self.summary.new_disk_bytes };
            self.file.pack_disk(&disk, OutputStream::create(output, *force, control)?, threads, control)?
        } else {
            let output = OutputFile::create(output, self.file.len(), *force, control)?;
            self.file.write(&output, |disk| copy(&self.opened.disk, disk, threads, control))?;
            output
        };
        verify::packed(&output)?;
        self.summary.file_bytes = Disk::len(&output);
        output.keep()
    }
}

/// A disk with zeros behind it.
struct Padded<'d> {
    disk: &'d dyn ReadAt,
    len: u64,
}

impl ReadAt for Padded<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        layers::read_or_zero(self.disk, at, buf)
    }

    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        self.disk.next_data(at)
    }
}

/// The length of the new disk: the old one's, in whole units of what the container takes.
///
/// Azure takes VHDs of whole MiB only, vSphere VMDKs, and VDIs have whole blocks: so they are padded with zeros, which an MBR does not mind. A GPT's backup
/// is in the last sector, and would no longer be: such a disk keeps its size.
fn new_len(opened: &Opened, format: Format, warnings: &mut Vec<String>) -> Result<u64> {
    let len = opened.disk.len();
    // Who wants whole MiB.
    let picky = match format {
        Format::Vhd | Format::VhdFixed => {
            Some(("VHD", "Azure will not take it", "whole MiB, as Hyper-V and Azure want it"))
        }
        Format::Vmdk | Format::VmdkStream => {
            Some(("VMDK", "vSphere will not take it", "whole MiB, as vSphere wants it"))
        }
        Format::Vdi | Format::VdiFixed => {
            Some(("VDI", "VirtualBox changes that when it resizes or clones it", "whole MiB, as VirtualBox wants it"))
        }
        _ => None,
    };
    if opened.sector_size != SECTOR as u32 {
        let what = format!("the disk has sectors of {} bytes", opened.sector_size);
        if let Some((container, ..)) = picky {
            return Err(Error::unsupported(format_args!("{what}, which no {container} has"))
                .hint("convert it to VHDX")
                .context(opened.path.display()));
        }
        if matches!(format, Format::Raw | Format::Qcow2 | Format::Qcow2Compressed) {
            let format = format.name();
            warnings.push(format!("{what}, which the {format} file does not tell: whoever opens it has to say so"));
        }
    }
    if format == Format::Raw {
        return Ok(len);
    }
    let beyond = || Error::unsupported("a disk larger than any container takes").found(len);
    let sector = u64::from(opened.sector_size);
    let sectors = len.checked_next_multiple_of(sector).ok_or_else(beyond)?;
    let whole = sectors.checked_next_multiple_of(MIB).ok_or_else(beyond)?;
    let padded = match picky {
        Some((_, consequence, _)) if whole != sectors && has_gpt(&opened.disk) => {
            warnings.push(format!("the disk has {len} bytes, not whole MiB: {consequence}"));
            sectors
        }
        Some(_) => whole,
        None => sectors,
    };
    if padded != len {
        let unit = picky.filter(|_| padded == whole).map_or("whole sectors", |(_, _, unit)| unit);
        warnings.push(format!("the disk has {len} bytes; {} zeros were added to make it {unit}", padded - len));
    }
    Ok(padded)
}

fn has_gpt(disk: &dyn ReadAt) -> bool {
    let mut signature = [0; 8];
    disk.read_at(SECTOR, &mut signature).is_ok() && &signature == b"EFI PART"
}

/// Ids follow from the disk's own and the new container. A raw disk has one in its partition table, which is at its start.
pub(super) fn seed_of(opened: &Opened, format: Format) -> Result<Seed> {
    let mut start = vec![0; opened.disk.len().min(2 * SECTOR) as usize];
    if opened.id.is_none() {
        opened.disk.read_at(0, &mut start).context(|| opened.path.display())?;
    }
    let id = opened.id.map_or(start, |id| id.as_bytes().to_vec());
    Ok(Seed::from_parts([&b"converted"[..], &id, &opened.disk.len().to_le_bytes(), format.name().as_bytes()]))
}

/// When the disk was made: a VHD says it, the others do not.
fn created(opened: &Opened) -> Result<FileTime> {
    let seconds = match (opened.container, opened.layers.first()) {
        (Container::Vhd(_), Some(layer)) => Vhd::open(&layer.file)?.footer().timestamp,
        _ => 0,
    };
    Ok(FileTime::from_vhd(seconds))
}

/// The ranges of whole blocks that hold anything but zeros, neighbours joined.
fn used_blocks(disk: &dyn ReadAt, block: u64, control: &Control) -> Result<Vec<Range<u64>>> {
    let len = disk.len();
    let mut used: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while let Some(data) = disk.next_data(at)? {
        let start = data.start / block * block;
        at = (start + block).min(len);
        control.check()?;
        control.at(start, len);
        if is_zero(disk, data.start..at)? {
            continue;
        }
        match used.last_mut() {
            Some(last) if last.end == start => last.end = at,
            _ => used.push(start..at),
        }
    }
    Ok(used)
}

/// Whether a range holds nothing but zeros; reads up to the first that is none.
fn is_zero(disk: &dyn ReadAt, range: Range<u64>) -> Result<bool> {
    let mut chunk = [0; CHUNK];
    for at in range.clone().step_by(CHUNK) {
        let chunk = &mut chunk[..(range.end - at).min(CHUNK as u64) as usize];
        disk.read_at(at, chunk)?;
        if !bytes::is_zero(chunk) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies all that is not zero.
fn copy(from: &dyn ReadAt, to: &dyn Disk, threads: NonZeroUsize, control: &Control) -> Result<()> {
    let next = Mutex::new(Pieces { disk: from, rest: 0..0 });
    let take = || next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let work = || -> Result<()> {
        let mut buf = vec![0; PIECE as usize];
        while let Some(piece) = take()? {
            control.check()?;
            let data = &mut buf[..(piece.end - piece.start) as usize];
            from.read_at(piece.start, data)?;
            for (at, chunk) in (piece.start..).step_by(CHUNK).zip(data.chunks(CHUNK)) {
                if !bytes::is_zero(chunk) {
                    to.write_at(at, chunk)?;
                }
            }
            control.at(piece.end, from.len());
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // A host that refuses a thread leaves more work for this one.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads.get()).filter_map(spawn).collect();
        let own = work();
        let outcomes =
            helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let outcomes: Vec<Result<()>> = outcomes.collect(); // all have ended
        own.and(outcomes.into_iter().collect())
    })
}

/// The parts of a disk that are to be read, piece by piece.
struct Pieces<'d> {
    disk: &'d dyn ReadAt,
    rest: Range<u64>,
}

impl Pieces<'_> {
    fn next(&mut self) -> Result<Option<Range<u64>>> {
        if self.rest.is_empty() {
            match self.disk.next_data(self.rest.end)? {
                None => return Ok(None),
                Some(data) => self.rest = data,
            }
        }
        // Pieces end on whole ones, so that they do not lie across blocks.
        let end = ((self.rest.start / PIECE + 1) * PIECE).min(self.rest.end);
        let piece = self.rest.start..end;
        self.rest.start = end;
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that knows where its data are, and fails where others are read.
    struct Holes(Vec<Range<u64>>);

    impl ReadAt for Holes {
        fn len(&self) -> u64 {
            100 * MIB
        }

        fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
            let end = at + buf.len() as u64;
            for (index, byte) in (at..end).zip(buf.iter_mut()) {
                *byte = u8::from(self.0.iter().any(|range| range.contains(&index)));
            }
            let touches = |range: &Range<u64>| {
                range.start / (2 * MIB) <= at / (2 * MIB) && end <= range.end.next_multiple_of(2 * MIB)
            };
            if self.0.iter().any(touches) { Ok(()) } else { Err(Error::invalid("read of a hole").at(at)) }
        }

        fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
            Ok(self.0.iter().find(|range| range.end > at).map(|range| range.start.max(at)..range.end))
        }
    }

    #[test]
    fn only_blocks_with_data_are_read_and_used() {
        let disk = Holes(vec![5 * MIB..5 * MIB + 3, 7 * MIB - 1..9 * MIB]);
        let used = used_blocks(&disk, 2 * MIB, &Control::default()).unwrap();
        assert!(matches!(used.as_slice(), [range] if *range == (4 * MIB..10 * MIB)), "{used:?}");
        let target = crate::base::MemoryDisk::new(100 << 20, 0);
        copy(&disk, &target, NonZeroUsize::new(3).unwrap(), &Control::default()).unwrap();
        let bytes = target.into_bytes();
        assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 3 + 2 * MIB + 1);
        assert_eq!((bytes[5 << 20], bytes[(9 << 20) - 1]), (1, 1));
    }

    #[test]
    fn an_interruption_ends_it() {
        let control = Control::default();
        control.interrupt();
        let disk = Holes(vec![5 * MIB..6 * MIB, 6 * MIB..9 * MIB]);
        assert!(used_blocks(&disk, 2 * MIB, &control).is_err());
        assert!(copy(&disk, &crate::base::MemoryDisk::new(100 << 20, 0), NonZeroUsize::MIN, &control).is_err());
    }
}
