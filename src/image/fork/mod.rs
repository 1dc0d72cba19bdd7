//! Disks that hold just what makes them differ from another: any number of children of one base.
//!
//! ```text
//! base --opened--> volume --read--> Tree --clone, Edits--> ntfs::Revision --write--> Changes --> differencing VHD or VHDX
//!                                     once                for each child             sectors that differ from the base's
//! ```
//!
//! The base is only read, and has to stay as it is from then on: a child is worth nothing without it. It may be a differencing disk
//! itself. All children are complete, checked with their chain and on the host's disk before the first one gets its name.
//!
//! # Ids
//!
//! What the machine sees stays the base's: the MBR's signature or the GUIDs of a GPT, by which its boot configuration finds the
//! partitions, the volume's serial number, and of a VHDX the disk's id (\[MS-VHDX\] 2.6.1.2 wants it copied). So a Windows that
//! attaches two children at once sets one of them offline; machines of their own never see each other's. What tells files apart is
//! fresh and follows from the base, what was changed and the child's file name: a VHD's unique id, a VHDX's file and data write
//! GUIDs.

mod changes;
mod parent;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::disk_file::{DiskFile, Identity, Parent};
use super::edit::{place_of, refuse_dirty};
use super::edits::{self, Applied, Edits, Step};
use super::host::{self, InputFile, OutputFile, Stamp};
use super::opened::{Container, Opened};
use super::seed::Seed;
use super::{Control, build, chain, verify};
use crate::base::{FileTime, Name, Slice};
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs;
use crate::format::vhd::{self, Vhd};
use crate::format::vhdx::{self, Vhdx};
use crate::tree::Tree;
use crate::verify::Rule;
use changes::Changes;
use parent::Paths;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The disk that the children lie on: a VHD or VHDX.
    pub base: PathBuf,
    /// What to make.
    pub children: Vec<Child>,
    /// Whether existing outputs may be replaced.
    pub force: bool,
    /// The partition of the volume; `None` finds the one of Windows.
    pub partition: Option<u32>,
    /// The moment of the changes; else the newest modification time in the base.
    pub timestamp: Option<FileTime>,
    /// Whether a base that was not left clean is taken as it lies on the disk.
    pub accept_dirty: bool,
    /// Whether the children are checked before they get their names.
    pub verify: bool,
}

/// A child, as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Child {
    /// Where it goes.
    pub output: PathBuf,
    /// What is to be changed about its files.
    pub edits: Edits,
    /// Another label.
    pub label: Option<String>,
}

/// What a fork comes to, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The base.
    pub base: String,
    /// The files that hold it: more than one if it is a differencing disk itself.
    pub layers: Vec<String>,
    /// The container of the base and of its children.
    pub format: &'static str,
    /// The size of the disk that a machine sees.
    pub disk_bytes: u64,
    /// The number of the partition.
    pub partition: u32,
    /// The children, in the order in which they were asked for.
    pub children: Vec<ChildSummary>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
}

/// What a child comes to.
#[derive(Debug, Clone, Serialize)]
pub struct ChildSummary {
    /// The file.
    pub output: String,
    /// The length of the file in bytes, holes included.
    pub file_bytes: u64,
    /// Bytes of sectors that differ from the base's.
    pub changed_bytes: u64,
    /// What was done, in its order.
    pub steps: Vec<Step>,
    /// What is worth knowing, though it stops nothing.
    pub warnings: Vec<String>,
    /// What it meant for the volume.
    pub volume: ntfs::RevisionSummary,
    /// What the child will not carry.
    pub losses: Vec<String>,
}

/// A base that has been read, for any number of children.
pub struct Fork<'r> {
    request: &'r Request,
    opened: Opened,
    stamps: Vec<(PathBuf, Stamp)>,
    tree: Tree,
    base: ntfs::Base,
    label: Name,
    /// Where the volume is on the disk.
    place: Range<u64>,
    partition: u32,
    now: FileTime,
    kind: BaseKind,
    warnings: Vec<String>,
}

/// What children have to know about the base's container.
enum BaseKind {
    Vhd { footer: vhd::Footer, modified: u32 },
    Vhdx { data_write: uuid::Uuid, disk_id: uuid::Uuid, physical_sector: u32 },
}

impl<'r> Fork<'r> {
    /// Opens and reads the base. What cannot be is said here as far as it does not depend on what a child is to be.
    pub fn new(request: &'r Request) -> Result<Self> {
        let name = || request.base.display();
        let opened = Opened::open(&request.base)?;
        let kind = BaseKind::of(&opened, request).context(name)?;
        check_outputs(request, &opened, &kind)?;
        if opened.layers.len() >= chain::MAX_LAYERS {
            let allowed = format!("{} files with the child", chain::MAX_LAYERS);
            return Err(Error::unsupported("a chain of differencing disks").allowed(allowed).context(name()));
        }
        let stamp = |layer: &super::opened::Layer| Ok((layer.path.clone(), InputFile::open(&layer.path)?.stamp()?));
        let stamps = opened.layers.iter().map(stamp).collect::<Result<_>>()?;
        let mut warnings = refuse_log(&opened, request.accept_dirty).context(name)?;
        let (partition, volume) = opened.volume(request.partition)?;
        let facts = volume.facts();
        let place = place_of(&partition.range, facts).context(name)?;
        refuse_dirty(facts, request.accept_dirty).context(name)?;
        if facts.dirty {
            warnings.push("the base's volume was not left clean: what is in its journal only is not used".into());
        }
        let contents = volume.read().context(name)?;
        let base = ntfs::Base::read(&volume, &contents).context(name)?;
        let label = facts.label.clone();
        warnings.extend(contents.notes);
        let tree = contents.tree;
        let now = request.timestamp.unwrap_or_else(|| build::newest(&tree));
        let partition = partition.number;
        Ok(Self { request, opened, stamps, tree, base, label, place, partition, now, kind, warnings })
    }

    /// Makes all children, several at a time, and then gives them their names. Any error leaves no child; without `write`, nothing is
    /// written at all.
    pub fn run(&self, write: bool, threads: NonZeroUsize, control: &Control) -> Result<Summary> {
        let children = &self.request.children;
        let workers = threads.get().min(children.len()).max(1);
        let each = NonZeroUsize::new(threads.get() / workers).unwrap_or(NonZeroUsize::MIN);
        let next = AtomicUsize::new(0);
        let made: Mutex<Vec<(usize, Made<'_>)>> = Mutex::default();
        let work = || -> Result<()> {
            while let Some((index, child)) = take(&next, children) {
                let child = self.child(child, write, each, control).context(|| child.output.display());
                // Nobody begins another one after a failure.
                let child = child.inspect_err(|_| next.store(children.len(), Ordering::Relaxed))?;
                let mut made = made.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                made.push((index, child));
                let done: u64 = made.iter().map(|(_, made)| made.summary.changed_bytes).sum();
                control.at(done, done / made.len() as u64 * children.len() as u64);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            // A host that refuses a thread leaves more work for this one.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (1..workers).filter_map(spawn).collect();
            let own = work();
            let join = |helper: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let outcomes: Vec<Result<()>> = helpers.into_iter().map(join).collect(); // all have ended
            own.and(outcomes.into_iter().collect::<Result<()>>())
        })?;
        self.check_unchanged()?;
        let mut made = made.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        made.sort_by_key(|(index, _)| *index);
        let mut summaries = Vec::new();
        for (_, made) in made {
            made.output.map_or(Ok(()), OutputFile::keep)?;
            summaries.push(made.summary);
        }
        Ok(self.summary(summaries))
    }

    fn summary(&self, children: Vec<ChildSummary>) -> Summary {
        Summary {
            base: self.request.base.display().to_string(),
            layers: self.opened.layers.iter().map(|layer| layer.path.display().to_string()).collect(),
            format: self.kind.name(),
            disk_bytes: self.opened.disk.len(),
            partition: self.partition,
            children,
            warnings: self.warnings.clone(),
        }
    }

    /// One child, up to its name.
    fn child<'c>(&self, child: &Child, write: bool, threads: NonZeroUsize, control: &'c Control) -> Result<Made<'c>> {
        let mut tree = self.tree.clone();
        let Applied { mut steps, mut warnings, private, needs_test_signing, first_start_bytes } =
            child.edits.apply(&mut tree, self.now)?;
        if private {
            control.keep_private();
        }
        warnings.extend(needs_test_signing.then(|| edits::TEST_SIGNING_LATER.to_owned()));
        let label = child.label.as_deref().map(Name::from).filter(|label| *label != self.label);
        if let Some(label) = &label {
            steps.push(Step::Labelled { from: self.label.to_string(), to: label.to_string() });
        }
        let folder = host::folder_of(&child.output);
        let changes = Changes::new(&self.opened.disk, self.opened.sector_size, folder, control);
        let volume = Slice::of_disk(&changes, self.place.clone())?;
        let revision = ntfs::Revision::new(&self.base, &tree, label.as_ref())?;
        revision.write(&tree, &volume, threads, &|_| {})?;

        warnings.extend(edits::little_room(first_start_bytes, revision.summary().free_bytes));
        let own = changes.ranges();
        let paths = Paths::new(&self.request.base, folder)?;
        let seed = self.seed(child, &changes, private)?;
        let (identity, parent) = self.kind.child(&seed, &paths, self.now, self.opened.sector_size);
        let file = DiskFile::differencing(identity, self.opened.disk.len(), &own, parent)?;
        let summary = ChildSummary {
            output: child.output.display().to_string(),
            file_bytes: file.len(),
            changed_bytes: own.iter().map(|range| range.end - range.start).sum(),
            steps,
            warnings,
            losses: revision.summary().losses.clone(),
            volume: revision.summary().clone(),
        };
        if !write {
            return Ok(Made { output: None, summary });
        }
        let output = OutputFile::create(&child.output, file.len(), self.request.force, control)?;
        file.write(&output, |disk| changes.copy_to(disk))?;
        if self.request.verify {
            verify::forked(&output, &self.opened)?;
        }
        Ok(Made { output: Some(output), summary })
    }

    /// Where a child's ids come from. No secret has a part in them: they stay when it is gone.
    fn seed(&self, child: &Child, changes: &Changes<'_>, private: bool) -> Result<Seed> {
        let base = self.kind.id();
        let name = child.output.file_name().unwrap_or_default().to_string_lossy();
        let edits = match private {
            true => child.edits.fingerprint(),
            false => vec![changes.digest()?.to_vec()],
        };
        let parts = [&b"fork"[..], base.as_bytes(), name.as_bytes()];
        Ok(Seed::from_parts(parts.into_iter().chain(edits.iter().map(Vec::as_slice))))
    }

    fn check_unchanged(&self) -> Result<()> {
        for (path, stamp) in &self.stamps {
            if InputFile::open(path)?.stamp()? != *stamp {
                return Err(Error::new(
                    Kind::Io,
                    "the base changed while it was being read: a machine may be using it",
                )
                .hint("shut the machine down, then run it again")
                .context(path.display()));
            }
        }
        Ok(())
    }
}

/// A child that is complete but for its name.
struct Made<'c> {
    output: Option<OutputFile<'c>>,
    summary: ChildSummary,
}

fn take<'c>(next: &AtomicUsize, children: &'c [Child]) -> Option<(usize, &'c Child)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    children.get(index).map(|child| (index, child))
}

impl BaseKind {
    fn of(opened: &Opened, request: &Request) -> Result<Self> {
        let file = InputFile::open(&request.base)?;
        match opened.container {
            Container::Vhd(_) => {
                let modified = file.stamp()?.modified;
                let footer = Vhd::open(file)?.footer().clone();
                if footer.saved_state && !request.accept_dirty {
                    let what = "a suspended machine belongs to the base, and its memory to no child";
                    return Err(Error::invalid(what).hint("start it and shut it down, or say --accept-dirty"));
                }
                let modified = modified.and_then(vhd_time).unwrap_or(footer.timestamp);
                Ok(Self::Vhd { footer, modified })
            }
            Container::Vhdx(_) => {
                let vhdx = Vhdx::open(file)?;
                Ok(Self::Vhdx {
                    data_write: vhdx.data_write_id(),
                    disk_id: vhdx.disk_id(),
                    physical_sector: vhdx.physical_sector_size(),
                })
            }
            _ => Err(Error::unsupported("a base that is neither VHD nor VHDX: only those have differencing disks that Windows reads")
                .hint("make one of it first with `nanovhd convert`; for QEMU alone, `qemu-img create -f qcow2 -b BASE -F FORMAT CHILD` makes children of any disk")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Vhd { .. } => "vhd",
            Self::Vhdx { .. } => "vhdx",
        }
    }

    /// What the base is known by.
    fn id(&self) -> uuid::Uuid {
        match self {
            Self::Vhd { footer, .. } => footer.id,
            Self::Vhdx { data_write, .. } => *data_write,
        }
    }

    /// Whether a file name promises a container of this kind; `avhd` and `avhdx` are what Hyper-V calls checkpoints.
    fn fits(&self, output: &Path) -> bool {
        let extension = output.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        extension == self.name() || extension.strip_prefix('a') == Some(self.name())
    }

    /// What a child is, and how it names its parent.
    fn child(&self, seed: &Seed, paths: &Paths, now: FileTime, sector: u32) -> (Identity, Parent) {
        match self {
            Self::Vhd { footer, modified } => {
                let params = vhd::Params { created: now, id: seed.guid("VHD") };
                let parent = vhd::Parent {
                    id: footer.id,
                    timestamp: *modified,
                    name: paths.name.clone(),
                    relative: paths.relative.iter().cloned().collect(),
                    absolute: paths.plain_absolute().into_iter().collect(),
                };
                (Identity::Vhd { fixed: false, params }, Parent::Vhd(parent))
            }
            Self::Vhdx { data_write, disk_id, physical_sector } => {
                let params = vhdx::Params {
                    file_write: seed.guid("VHDX file"),
                    data_write: seed.guid("VHDX data"),
                    disk_id: *disk_id,
                };
                let parent = vhdx::Parent {
                    linkage: vec![*data_write],
                    relative: paths.relative.clone(),
                    volume: None,
                    absolute: paths.absolute.clone(),
                };
                let parent = Parent::Vhdx { parent, physical_sector: *physical_sector };
                (Identity::Vhdx { fixed: false, sector, params }, parent)
            }
        }
    }
}

/// Seconds since 2000, as a VHD counts them.
fn vhd_time(time: SystemTime) -> Option<u32> {
    let seconds = i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    FileTime::from_unix(seconds).map(FileTime::to_vhd)
}

/// Hyper-V opens a parent for reading only, and so cannot replay its log.
fn refuse_log(opened: &Opened, accepted: bool) -> Result<Vec<String>> {
    let findings = verify::of_layers(opened);
    let with_log = findings.kept().iter().any(|finding| finding.rule == Rule::VhdxLog);
    match (with_log, accepted) {
        (false, _) => Ok(Vec::new()),
        (true, true) => Ok(vec!["the base's log was not replayed: Hyper-V may refuse its children until it is".into()]),
        (true, false) => Err(Error::invalid(
            "the base was not closed: its log still holds changes, which Hyper-V does not replay in a parent",
        )
        .hint("attach it once for writing and detach it, or say --accept-dirty")),
    }
}

/// Refuses outputs that cannot be, before any work is done.
fn check_outputs(request: &Request, opened: &Opened, kind: &BaseKind) -> Result<()> {
    let mut seen: Vec<(PathBuf, String)> = Vec::new();
    if request.children.is_empty() {
        return Err(Error::invalid("a fork without a child"));
    }
    for child in &request.children {
        let output = &child.output;
        host::check_target(output, request.force)?;
        opened.refuse_output(output)?;
        let folder = host::folder_of(output).canonicalize().unwrap_or_default();
        // As hosts see it that know no case.
        let file = (folder, output.file_name().unwrap_or_default().to_string_lossy().to_lowercase());
        if seen.contains(&file) {
            return Err(Error::invalid("two children of one name").context(output.display()));
        }
        seen.push(file);
        if !kind.fits(output) {
            return Err(Error::invalid("children have the base's container, and the output's name promises another")
                .allowed(format_args!(".{}", kind.name()))
                .context(output.display()));
        }
    }
    Ok(())
}
