//! An image that exists, changed: read into a tree, edited, laid out afresh and put in the old one's place.
//!
//! ```text
//! image --opened--> volume --read--> Tree --Edits--> Tree --ntfs::Plan--> new file --check--> rename over the old one
//!                 everything around the volume ---------copied as it is--------^
//! ```
//!
//! The old file is only read until the new one is complete, checked and on the host's disk; then one rename puts it in place. A
//! program that is killed at any moment leaves one or the other, whole, and at worst a file `.NAME.XXXXXX.nanovhd-partial` beside it.
//!
//! # What stays
//!
//! * The container and its identity (a VHD's unique id and time; not what it says of its creator, which is us), the disk's size.
//! * Every byte outside of the volume: boot code, disk signature, partition tables, other partitions. Of growing formats only
//!   what is not zero is stored.
//! * Of the volume: its place and length, cluster and sector size, serial number, label, the time it was made, `$Boot` but for
//!   the places that depend on the layout, and of every file all that a [`Tree`] carries.
//!
//! # What does not
//!
//! What the running system makes anew: the journal (`$LogFile`, `$UsnJrnl`, `$TxF`), quotas, record numbers and the places of files,
//! which come out defragmented. Compressed files are stored plain (those of NTFS keep their attribute, those of WOF become ordinary
//! files), sparse ones in full. All of it is said before anything is written.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use super::disk_file::{DiskFile, Identity};
use super::edits::{self, Applied, Edits, Step};
use super::host::{self, InputFile, OutputFile, Stamp};
use super::opened::{Container, Opened};
use super::seed::Seed;
use super::{Control, build, source, verify};
use crate::base::{Disk, FileTime, Name, ReadAt, Slice, bytes};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs;
use crate::format::ntfs::read::{Facts, Volume};
use crate::format::qcow2::Qcow2;
use crate::format::vdi::{self, Vdi};
use crate::format::vhd::{self, Vhd};
use crate::format::vhdx::{self, Vhdx};
use crate::format::vmdk::{self, Vmdk};
use crate::tree::Tree;
use crate::windows::boot;

/// In pieces of this length it is decided what of a disk is worth keeping.
const PIECE: u64 = 1 << 20;
/// What is kept is written in parts of this length, those that are all zero left out.
const PART: usize = 1 << 16;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The image.
    pub image: PathBuf,
    /// Where the new image goes; `None` puts it in the old one's place.
    pub output: Option<PathBuf>,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// The partition of the volume; `None` finds the one of Windows.
    pub partition: Option<u32>,
    /// What is to be changed about its files.
    pub edits: Edits,
    /// Whether Windows is set to take drivers with test signatures.
    pub test_signing: bool,
    /// Another label.
    pub label: Option<String>,
    /// The moment of the change; else the newest modification time in the image.
    pub timestamp: Option<FileTime>,
    /// Whether a volume that was not left clean, or of which parts cannot be read, is taken as it lies on the disk.
    pub accept_dirty: bool,
    /// Whether the new image is checked before it gets its name.
    pub verify: bool,
}

/// An edit that is worked out to the last byte, with nothing written yet.
pub struct EditPlan {
    target: PathBuf,
    force: bool,
    in_place: bool,
    verify: bool,
    private: bool,
    image: PathBuf,
    stamp: Stamp,
    opened: Opened,
    tree: Tree,
    volume: ntfs::Plan,
    /// Where the volume is on the disk.
    place: Range<u64>,
    /// What of the disk around the volume is kept.
    kept: Vec<Range<u64>>,
    file: DiskFile,
    summary: Summary,
}

/// What an edit comes to, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The image that is changed.
    pub image: String,
    /// Where the new one goes.
    pub output: String,
    /// Whether that is the old one's place.
    pub in_place: bool,
    /// The container.
    pub format: &'static str,
    /// The length of the new file in bytes, holes included.
    pub file_bytes: u64,
    /// The number of the partition.
    pub partition: u32,
    /// What is done, in its order.
    pub steps: Vec<Step>,
    /// The volume as it will be.
    pub volume: ntfs::Summary,
    /// What the new volume will not carry although the old one has it.
    pub losses: Vec<String>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

impl EditPlan {
    /// Reads the image and lays the new one out. What does not fit, or cannot be, is said here, before anything is written.
    pub fn new(request: &Request) -> Result<Self> {
        let image = &request.image;
        let stamp = InputFile::open(image)?.stamp()?;
        let in_place = request.output.is_none();
        let target = match &request.output {
            Some(output) => output.clone(),
            // A link stays one: its file is replaced.
            None => image.canonicalize().map_err(|e| Error::io("cannot be found", e)).context(|| image.display())?,
        };
        let force = request.force || in_place;
        host::check_target(&target, force)?;
        if in_place {
            host::check_unprotected(&target)?;
        }

        let opened = Opened::open(image)?;
        request.output.as_deref().map_or(Ok(()), |output| opened.refuse_output(output))?;
        let identity = identity(&opened, request).context(|| image.display())?;
        check_extension(request, &identity)?;
        let (partition, volume) = opened.volume(request.partition)?;
        let facts = volume.facts();
        let place = place_of(&partition.range, facts).context(|| image.display())?;
        refuse_dirty(facts, request.accept_dirty).context(|| image.display())?;
        let contents = volume.read().context(|| image.display())?;
        if !request.accept_dirty {
            source::refuse_lost(contents.lost, &contents.notes).context(|| image.display())?;
        }
        let (mut tree, mut warnings) = (contents.tree, contents.notes);

        let now = request.timestamp.unwrap_or_else(|| build::newest(&tree));
        let Applied { mut steps, warnings: of_edits, private, needs_test_signing, first_start_bytes } =
            request.edits.apply(&mut tree, now)?;
        warnings.extend(of_edits);
        if request.test_signing {
            steps.push(allow_test_signing(&mut tree, now).context(|| image.display())?);
        } else if needs_test_signing {
            warnings.push(format!("{}: --test-signing does that", edits::TEST_SIGNING));
        }
        let mut options = options_of(&volume);
        if let Some(label) = request.label.as_deref().map(Name::from).filter(|label| *label != options.label) {
            steps.push(Step::Labelled { from: options.label.to_string(), to: label.to_string() });
            options.label = label;
        }
        if facts.dirty {
            warnings.push(
                "the volume was not left clean: changes that were still in its journal are not in the new one".into(),
            );
        }

        let volume_len = place.end - place.start;
        let plan =
            ntfs::Plan::new(&tree, volume_len, &options).map_err(|error| too_small(error).context(image.display()))?;
        warnings.extend(edits::little_room(first_start_bytes, plan.summary().free_bytes));
        let kept = kept_ranges(&opened.disk, &place).context(|| image.display())?;
        let used: Vec<Range<u64>> = kept
            .iter()
            .cloned()
            .chain(plan.used().into_iter().map(|range| place.start + range.start..place.start + range.end))
            .collect();
        let file = DiskFile::new(identity, opened.disk.len(), &used)?;
        let summary = Summary {
            image: image.display().to_string(),
            output: target.display().to_string(),
            in_place,
            format: identity.format().name(),
            file_bytes: file.len(),
            partition: partition.number,
            steps,
            losses: plan.summary().losses.clone(),
            volume: plan.summary().clone(),
            warnings,
        };
        let image = image.clone();
        let verify = request.verify;
        Ok(Self {
            target,
            force,
            in_place,
            verify,
            private,
            image,
            stamp,
            opened,
            tree,
            volume: plan,
            place,
            kept,
            file,
            summary,
        })
    }

    /// What it comes to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes the new image, checks it, and puts it in its place; returns its length. Any error leaves everything as it was.
    pub fn run(self, threads: NonZeroUsize, control: &Control) -> Result<u64> {
        let around: u64 = self.kept.iter().map(|range| range.end - range.start).sum();
        control.expect(around.saturating_add(self.summary.volume.data_bytes));
        if self.private {
            control.keep_private();
        }
        let output = OutputFile::create(&self.target, self.file.len(), self.force, control)?;
        let is_packed = self.file.is_packed();
        if self.in_place {
            output.take_permissions(&self.target)?;
        }
        self.file.write(&output, |disk| {
            self.copy_around(disk, control)?;
            let volume = Slice::of_disk(disk, self.place.clone())?;
            let written = self.volume.write(&self.tree, &volume, threads, &|bytes| control.advance(bytes));
            written.context(|| self.image.display())
        })?;
        drop((self.tree, self.volume)); // the check reads a tree of its own from what was written
        if self.verify {
            verify::changed(&output, &self.opened.disk).context(|| self.target.display())?;
        }
        let output = self.file.pack(output, threads, control)?;
        if self.in_place {
            output.take_permissions(&self.target)?;
        }
        if self.verify && is_packed {
            verify::packed(&output).context(|| self.target.display())?;
        }
        if InputFile::open(&self.image)?.stamp()? != self.stamp {
            let what = "the image changed while it was being read: a machine may be using it";
            return Err(Error::new(Kind::Io, what)
                .hint("shut the machine down, then run it again")
                .context(self.image.display()));
        }
        drop(self.opened); // Windows renames over no file that is open
        let len = Disk::len(&output);
        output.keep()?;
        Ok(len)
    }

    fn copy_around(&self, disk: &dyn Disk, control: &Control) -> Result<()> {
        let mut buffer = vec![0; PIECE as usize];
        for range in &self.kept {
            for at in range.clone().step_by(PIECE as usize) {
                let len = PIECE.min(range.end - at) as usize;
                let piece = &mut buffer[..len];
                self.opened.disk.read_at(at, piece).context(|| self.image.display())?;
                for (part_at, part) in (at..).step_by(PART).zip(piece.chunks(PART)) {
                    if !bytes::is_zero(part) {
                        disk.write_at(part_at, part)?;
                    }
                }
                control.advance(len as u64);
            }
        }
        Ok(())
    }
}

/// Sets the Windows in the volume's boot stores to test signing.
fn allow_test_signing(tree: &mut Tree, now: FileTime) -> Result<Step> {
    if boot::STORES.iter().all(|path| tree.find(path).is_none()) {
        return Err(Error::unsupported(
            "test signing is set in the boot store, which is on another partition: an edit changes one volume",
        )
        .hint("build with --test-signing, or say `bcdedit /set testsigning on` in the machine"));
    }
    let settings = boot::Settings { test_signing: true, ..boot::Settings::default() };
    let hives = settings.set_on_volume(tree, now)?;
    let what = match hives.first() {
        Some(hive) => format!("test signing on, in {}", hive.hive),
        None => "test signing is on already".to_owned(),
    };
    Ok(Step::SetUp { what })
}

/// What the new file is to be so that it counts as the old one. One that was a differencing disk becomes a disk of its own.
fn identity(opened: &Opened, request: &Request) -> Result<Identity> {
    let file = || InputFile::open(&request.image);
    match opened.container {
        Container::Raw => Ok(Identity::Raw),
        Container::Vhd(variant) => {
            let vhd = Vhd::open(file()?)?;
            let footer = vhd.footer();
            if footer.saved_state && !request.accept_dirty {
                return Err(Error::invalid(
                    "a suspended machine belongs to the disk, and would not find what it remembers",
                )
                .hint("start it and shut it down, or say --accept-dirty"));
            }
            let id = match variant {
                vhd::Variant::Differencing { .. } => flattened(footer.id, request)?,
                _ => footer.id,
            };
            let params = vhd::Params { created: FileTime::from_vhd(footer.timestamp), id };
            Ok(Identity::Vhd { fixed: variant == vhd::Variant::Fixed, params })
        }
        Container::Vhdx(variant) => {
            let vhdx = Vhdx::open(file()?)?;
            let disk_id = match variant {
                vhdx::Variant::Differencing { .. } => flattened(vhdx.disk_id(), request)?,
                _ => vhdx.disk_id(),
            };
            let seed = seed_of_change(vhdx.data_write_id(), request);
            let params =
                vhdx::Params { file_write: seed.guid("VHDX file"), data_write: seed.guid("VHDX data"), disk_id };
            let fixed = matches!(variant, vhdx::Variant::Fixed { .. });
            Ok(Identity::Vhdx { fixed, sector: vhdx.sector_size(), params })
        }
        Container::Vmdk(variant) => {
            let opened = Vmdk::open(file()?)?;
            let descriptor = opened.descriptor();
            // VMware and qemu give no such id. What they do give is the content's, and it is to be another now.
            let cid = descriptor.cid.unwrap_or_default().to_le_bytes();
            let id = descriptor.id.unwrap_or_else(|| Seed::from_parts([&b"edit"[..], &cid]).guid("VMDK"));
            let adapter = descriptor.adapter.as_deref().and_then(vmdk::Adapter::named);
            let stream = variant == vmdk::Variant::StreamOptimized;
            Ok(Identity::Vmdk { stream, id, adapter: adapter.unwrap_or(vmdk::Adapter::LsiLogic) })
        }
        Container::Vdi(variant) => {
            let vdi = Vdi::open(file()?)?;
            let seed = seed_of_change(vdi.modification(), request);
            let id = Some(vdi.id()).filter(|id| !id.is_nil()).unwrap_or_else(|| seed.guid("VDI"));
            let fixed = variant == vdi::Variant::Fixed;
            Ok(Identity::Vdi { fixed, params: vdi::Params { id, modification: seed.guid("VDI data") } })
        }
        Container::Qcow2 { snapshots: 1.. } if request.output.is_none() => {
            Err(Error::invalid("the file holds snapshots besides the active state, which the new one would not have")
                .hint("say --output to leave the old file as it is, or delete them: qemu-img snapshot -d NAME FILE"))
        }
        Container::Qcow2 { .. } => Ok(Identity::Qcow2 { compressed: Qcow2::open(file()?)?.has_compressed()? }),
    }
}

/// Disks that build on the old data, by the id that it had, have to notice that it is another now.
fn seed_of_change(id: Uuid, request: &Request) -> Seed {
    let edits = request.edits.fingerprint();
    let label = request.label.as_deref().unwrap_or_default();
    let parts = [&b"edit"[..], id.as_bytes(), label.as_bytes()].map(<[u8]>::to_vec);
    Seed::from_parts(parts.iter().chain(&edits).map(Vec::as_slice))
}

/// The id of a disk that is made of a differencing one and its parents; the old file, which stays, keeps its own.
fn flattened(id: Uuid, request: &Request) -> Result<Uuid> {
    if request.output.is_none() {
        return Err(Error::invalid(
            "a differencing disk holds changes to another file only, and cannot be edited in its place",
        )
        .hint("say --output to make a disk of its own out of it and its parents, or merge it into its parent first"));
    }
    Ok(Seed::from_parts([&b"flattened"[..], id.as_bytes()]).guid("disk"))
}

/// Refuses a name that promises another container.
fn check_extension(request: &Request, identity: &Identity) -> Result<()> {
    let Some(output) = &request.output else { return Ok(()) };
    let extension = output.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let fits = match extension.as_str() {
        "vhd" => matches!(identity, Identity::Vhd { .. }),
        "vhdx" => matches!(identity, Identity::Vhdx { .. }),
        "vmdk" => matches!(identity, Identity::Vmdk { .. }),
        "vdi" => matches!(identity, Identity::Vdi { .. }),
        "qcow2" => matches!(identity, Identity::Qcow2 { .. }),
        "img" | "raw" => matches!(identity, Identity::Raw),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(Error::invalid("an edit keeps the image's container, and the output's name promises another")
        .found(format_args!("'{extension}'"))
        .allowed(identity.format().name())
        .hint("give the output the image's extension; `nanovhd convert` changes the container")
        .context(output.display()))
}

/// Where the volume itself is: from the partition's start, as long as its boot sector says.
pub(super) fn place_of(partition: &Range<u64>, facts: &Facts) -> Result<Range<u64>> {
    let end = partition.start.checked_add(facts.len).filter(|end| *end <= partition.end);
    let end = end.ok_or_else(|| {
        Error::corrupt("length of the volume")
            .found(facts.len)
            .allowed(format_args!("at most {}, the partition's", partition.end - partition.start))
    })?;
    Ok(partition.start..end)
}

pub(super) fn refuse_dirty(facts: &Facts, accepted: bool) -> Result<()> {
    if !facts.dirty || accepted {
        return Ok(());
    }
    Err(Error::invalid("the volume was not left clean: what its journal still holds would be lost")
        .hint("start its Windows and shut it down (without \"fast startup\"), or say --accept-dirty to take the files as they lie"))
}

/// The options that make a volume like this one.
fn options_of(volume: &Volume) -> ntfs::Options {
    let facts = volume.facts();
    ntfs::Options {
        cluster_size: facts.cluster_size,
        sector_size: facts.sector_size,
        hidden_sectors: facts.hidden_sectors,
        serial: facts.serial,
        label: facts.label.clone(),
        created: facts.created,
        boot_code: facts.boot_code.clone().into(),
    }
}

fn too_small(error: Error) -> Error {
    match error.kind() {
        Kind::NoSpace => {
            error.hint("delete something too, or copy less; compressed and sparse files are stored in full")
        }
        _ => error,
    }
}

/// The ranges of the disk outside of `volume` that hold anything but zeros, in whole pieces. What a container does not have is not
/// looked at.
fn kept_ranges(disk: &dyn ReadAt, volume: &Range<u64>) -> Result<Vec<Range<u64>>> {
    let mut kept: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0; PIECE as usize];
    for around in [0..volume.start, volume.end..disk.len()] {
        let mut at = around.start;
        while at < around.end {
            let Some(data) = disk.next_data(at)?.filter(|data| data.start < around.end) else { break };
            let start = (data.start / PIECE * PIECE).max(at);
            let piece = start..((start / PIECE + 1) * PIECE).min(around.end);
            let piece_bytes = &mut buffer[..(piece.end - piece.start) as usize];
            disk.read_at(piece.start, piece_bytes)?;
            at = piece.end;
            match kept.last_mut() {
                _ if bytes::is_zero(piece_bytes) => {}
                Some(last) if last.end == piece.start => last.end = piece.end,
                _ => kept.push(piece),
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_not_kept() {
        let mut disk = vec![0; 8 * PIECE as usize + 512];
        for at in [0, 2 * PIECE - 1, 5 * PIECE, 8 * PIECE + 511] {
            disk[at as usize] = 1;
        }
        let kept = kept_ranges(&disk, &(PIECE + 512..5 * PIECE)).unwrap();
        assert_eq!(kept, [0..PIECE, 5 * PIECE..6 * PIECE, 8 * PIECE..8 * PIECE + 512]);
        assert_eq!(kept_ranges(&disk, &(0..ReadAt::len(&disk))).unwrap(), []);
    }

    #[test]
    fn a_volume_has_to_lie_within_its_partition() {
        let facts = |len| Facts { len, dirty: true, ..Facts::default() };
        assert_eq!(place_of(&(10..20), &facts(9)).unwrap(), 10..19);
        for len in [11, u64::MAX] {
            assert_eq!(place_of(&(10..20), &facts(len)).unwrap_err().kind(), Kind::Corrupt);
        }
        assert!(refuse_dirty(&facts(1), true).is_ok());
        assert_eq!(refuse_dirty(&facts(1), false).unwrap_err().kind(), Kind::Invalid);
    }
}
