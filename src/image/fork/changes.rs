//! What is written to a disk, as far as it is not there already.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use crate::base::io::range_within;
use crate::base::{Disk, ReadAt, layers};
use crate::error::{Context, Error, Result};
use crate::image::Control;
use crate::image::host::{Guard, positioned};

/// The smallest sector; a page has a bit for each.
const SECTOR: usize = 512;
/// Changes are kept in pages of this length.
const PAGE: usize = 8 * SECTOR;
/// So much of the base is read and compared at once.
const PIECE: usize = 16 * PAGE;
/// So many bytes of pages are kept in memory; more go into a temporary file.
const IN_MEMORY: usize = 32 << 20;

/// A disk over another: sectors that are written and differ from the base's are kept, the others are forgotten. The base is only
/// read.
///
/// Takes up to 32 MiB of memory, and for each changed page of 4 KiB beyond them some 40 bytes: the rest is in a temporary file
/// that has no name, or goes when the program does.
pub(super) struct Changes<'b> {
    base: &'b dyn ReadAt,
    sector: usize,
    folder: PathBuf,
    kept: Mutex<Kept>,
    _guard: Guard<'b>,
}

#[derive(Default)]
struct Kept {
    pages: BTreeMap<u64, Page>,
    /// Bytes in memory.
    bytes: usize,
    spill: Option<Spill>,
}

struct Page {
    /// The sectors that differ from the base's, the first one in the lowest bit.
    own: u8,
    place: Place,
}

enum Place {
    Memory(Box<[u8; PAGE]>),
    Spilled(u64),
}

struct Spill {
    file: File,
    pages: u64,
}

impl<'b> Changes<'b> {
    /// Nothing changed yet, of a base with sectors of `sector` bytes, 512 or 4096. What does not fit into memory goes into `folder`.
    pub(super) fn new(base: &'b dyn ReadAt, sector: u32, folder: &Path, control: &'b Control) -> Self {
        let sector = sector as usize;
        debug_assert!(sector.is_multiple_of(SECTOR) && PAGE.is_multiple_of(sector));
        Self { base, sector, folder: folder.to_owned(), kept: Mutex::default(), _guard: Guard::new(control) }
    }

    /// The sectors that differ, in order.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (index, page) in &self.lock().pages {
            for run in own_runs(page.own) {
                let run = index * PAGE as u64 + run.start..index * PAGE as u64 + run.end;
                match ranges.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => ranges.push(run),
                }
            }
        }
        ranges
    }

    /// Writes the sectors that differ, and nothing else.
    pub(super) fn copy_to(&self, disk: &dyn Disk) -> Result<()> {
        self.for_each(|at, bytes| disk.write_at(at, bytes))
    }

    /// What tells these changes from others.
    pub(super) fn digest(&self) -> Result<[u8; 32]> {
        let mut hash = Sha256::new();
        self.for_each(|at, bytes| {
            hash.update(at.to_le_bytes());
            hash.update(bytes);
            Ok(())
        })?;
        Ok(hash.finalize().into())
    }

    fn for_each(&self, mut then: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let kept = self.lock();
        for (index, page) in &kept.pages {
            let bytes = kept.bytes_of(page)?;
            for run in own_runs(page.own) {
                then(index * PAGE as u64 + run.start, &bytes[run.start as usize..run.end as usize])?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes in what is written to whole sectors from `at` on: `old` is what the base has there, `new` the same with `data`, which
    /// begins `skip` bytes behind `at`, in its place.
    fn take(&self, at: u64, old: &[u8], new: &[u8], data: Range<usize>) -> Result<()> {
        let mut kept = self.lock();
        let pages = at / PAGE as u64..(at + new.len() as u64).div_ceil(PAGE as u64);
        if old == new && kept.pages.range(pages.clone()).next().is_none() {
            return Ok(());
        }
        for index in pages {
            let start = index * PAGE as u64;
            let part = start.max(at)..(start + PAGE as u64).min(at + new.len() as u64);
            let within = (part.start - start) as usize..(part.end - start) as usize;
            let part = (part.start - at) as usize..(part.end - at) as usize;
            let differing = self.differing(&old[part.clone()], &new[part.clone()], within.start);
            let Some((mut bytes, own)) = kept.page(index, differing)? else { continue };
            for sector in within.clone().step_by(SECTOR) {
                let bit = 1u8 << (sector / SECTOR);
                let from = part.start + (sector - within.start);
                let sector = sector..sector + SECTOR;
                if own & bit == 0 {
                    bytes[sector].copy_from_slice(&new[from..from + SECTOR]);
                } else {
                    // It has been written before: what is not written now stays as it was written then.
                    let written = from.max(data.start)..(from + SECTOR).min(data.end);
                    if !written.is_empty() {
                        let to = sector.start + (written.start - from);
                        bytes[to..to + written.len()].copy_from_slice(&new[written]);
                    }
                }
            }
            kept.put(index, own | differing, bytes, &self.folder)?;
        }
        Ok(())
    }

    /// Bits for the sectors that differ; the first one is at `within` in its page.
    fn differing(&self, old: &[u8], new: &[u8], within: usize) -> u8 {
        let bits = (1u16 << (self.sector / SECTOR)) - 1;
        let pairs = old.chunks(self.sector).zip(new.chunks(self.sector)).zip((within..).step_by(self.sector));
        let differing = pairs.filter(|((old, new), _)| old != new);
        differing.fold(0, |mask, (_, at)| mask | (bits << (at / SECTOR)) as u8)
    }
}

impl Kept {
    /// A page's bytes and which of its sectors are own; a fresh one if there is none and something differs.
    fn page(&self, index: u64, differing: u8) -> Result<Option<(Box<[u8; PAGE]>, u8)>> {
        match self.pages.get(&index) {
            Some(page) => Ok(Some((self.bytes_of(page)?, page.own))),
            None if differing == 0 => Ok(None),
            None => Ok(Some((Box::new([0; PAGE]), 0))),
        }
    }

    fn bytes_of(&self, page: &Page) -> Result<Box<[u8; PAGE]>> {
        match (&page.place, &self.spill) {
            (Place::Memory(bytes), _) => Ok(bytes.clone()),
            (Place::Spilled(slot), Some(spill)) => {
                let mut bytes = Box::new([0; PAGE]);
                positioned::read(&spill.file, &mut *bytes, slot * PAGE as u64)
                    .map_err(|e| Error::io("the temporary file for what is changed cannot be read", e))?;
                Ok(bytes)
            }
            (Place::Spilled(_), None) => Err(Error::invalid("a page of a temporary file that was never made")),
        }
    }

    fn put(&mut self, index: u64, own: u8, bytes: Box<[u8; PAGE]>, folder: &Path) -> Result<()> {
        let spilled = match self.pages.get(&index).map(|page| &page.place) {
            Some(Place::Spilled(slot)) => Some(*slot),
            Some(Place::Memory(_)) => None,
            None if self.bytes < IN_MEMORY => {
                self.bytes += PAGE;
                None
            }
            None => Some(self.new_slot(folder)?),
        };
        let place = match (spilled, &self.spill) {
            (Some(slot), Some(spill)) => {
                positioned::write(&spill.file, &*bytes, slot * PAGE as u64)
                    .map_err(|e| Error::io("the temporary file for what is changed cannot be written", e))?;
                Place::Spilled(slot)
            }
            _ => Place::Memory(bytes),
        };
        self.pages.insert(index, Page { own, place });
        Ok(())
    }

    /// A place in the temporary file, which is made when it is first needed.
    fn new_slot(&mut self, folder: &Path) -> Result<u64> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => {
                let file = tempfile::tempfile_in(folder).map_err(|e| Error::io("no temporary file can be made", e));
                none.insert(Spill { file: file.context(|| folder.display())?, pages: 0 })
            }
        };
        spill.pages += 1;
        Ok(spill.pages - 1)
    }
}

/// The stretches of a page that its bits say.
fn own_runs(own: u8) -> impl Iterator<Item = Range<u64>> {
    let runs = layers::runs(0..(PAGE / SECTOR) as u64, move |sector| own & (1 << sector) != 0);
    runs.filter(|(_, own)| *own).map(|(run, _)| run.start * SECTOR as u64..run.end * SECTOR as u64)
}

impl Disk for Changes<'_> {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<()> {
        let range = range_within(at, data.len(), self.base.len())?;
        let sector = self.sector as u64;
        let mut old = [0; PIECE];
        let mut new = [0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let piece = at..range.end.min((at / PIECE as u64 + 1) * PIECE as u64);
            let whole = piece.start / sector * sector..piece.end.next_multiple_of(sector).min(self.base.len());
            let old = &mut old[..(whole.end - whole.start) as usize];
            let new = &mut new[..old.len()];
            self.base.read_at(whole.start, old)?;
            new.copy_from_slice(old);
            let written = (piece.start - whole.start) as usize..(piece.end - whole.start) as usize;
            let from = (piece.start - range.start) as usize;
            new[written.clone()].copy_from_slice(&data[from..from + written.len()]);
            self.take(whole.start, old, new, written)?;
            at = piece.end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemoryDisk;

    const LEN: usize = 40 * PAGE;

    /// A disk that nothing repeats in.
    fn base() -> Vec<u8> {
        (0..LEN).map(|at| (at / 7 + at / 513) as u8).collect()
    }

    /// What the base becomes with the changes on it.
    fn merged(base: &[u8], changes: &Changes<'_>) -> Vec<u8> {
        let disk = MemoryDisk::new(base.len(), 0);
        disk.write_at(0, base).unwrap();
        changes.copy_to(&disk).unwrap();
        disk.into_bytes()
    }

    #[test]
    fn only_sectors_that_differ_are_kept() {
        let (base, control) = (base(), Control::default());
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::new(&base, 512, folder.path(), &control);
        changes.write_at(0, &base).unwrap();
        assert_eq!(changes.ranges(), []);
        let mut wanted = base.clone();
        for at in [1000, 5000, 5001, 4 * PAGE - 1, 4 * PAGE, LEN - 1] {
            wanted[at] ^= 0xFF;
        }
        changes.write_at(0, &wanted).unwrap();
        let page = PAGE as u64;
        let expected = [512..1024, 4608..5120, 4 * page - 512..4 * page + 512, LEN as u64 - 512..LEN as u64];
        assert_eq!(changes.ranges(), expected);
        assert!(merged(&base, &changes) == wanted);
    }

    #[test]
    fn parts_of_sectors_come_together() {
        let (base, control) = (base(), Control::default());
        let folder = tempfile::tempdir().unwrap();
        for sector in [512, 4096] {
            let changes = Changes::new(&base, sector, folder.path(), &control);
            let mut wanted = base.clone();
            let mut state = 1u32;
            for _ in 0..2000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize >> 8 & 0x1_FFFF;
                let len = (state as usize & 0xFF) * if state & 0x100 == 0 { 1 } else { 300 };
                let end = (at + len).min(LEN);
                let byte = (state >> 16) as u8;
                wanted[at..end].fill(byte);
                changes.write_at(at as u64, &vec![byte; end - at]).unwrap();
            }
            assert!(merged(&base, &changes) == wanted);
            assert!(changes.ranges().iter().all(|range| range.start % u64::from(sector) == 0));
        }
    }

    #[test]
    fn what_was_changed_can_become_what_it_was() {
        let (base, control) = (base(), Control::default());
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::new(&base, 512, folder.path(), &control);
        changes.write_at(100, &[0xAA; 50]).unwrap();
        changes.write_at(0, &base).unwrap();
        assert!(merged(&base, &changes) == base);
    }

    #[test]
    fn what_does_not_fit_into_memory_goes_into_a_file() {
        let len = IN_MEMORY + 64 * PAGE;
        let base = vec![1u8; len];
        let control = Control::default();
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::new(&base, 512, folder.path(), &control);
        let wanted: Vec<u8> = (0..len).map(|at| (at / 512) as u8 | 2).collect();
        changes.write_at(0, &wanted).unwrap();
        changes.write_at(len as u64 - 100, &[9; 100]).unwrap();
        assert!(changes.lock().spill.as_ref().is_some_and(|spill| spill.pages == 64));
        let merged = merged(&base, &changes);
        assert!(merged[..len - 100] == wanted[..len - 100] && merged[len - 100..] == [9; 100]);
    }

    #[test]
    fn threads_may_write_parts_of_one_sector() {
        let (base, control) = (vec![0u8; LEN], Control::default());
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::new(&base, 512, folder.path(), &control);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let changes = &changes;
                scope.spawn(move || {
                    for at in (thread..LEN).step_by(4).take(3000) {
                        changes.write_at(at as u64, &[thread as u8 + 1]).unwrap();
                    }
                });
            }
        });
        let merged = merged(&base, &changes);
        assert!((0..12000).all(|at| merged[at] as usize == at % 4 + 1));
    }

    #[test]
    fn writes_stay_inside() {
        let (base, control) = (base(), Control::default());
        let changes = Changes::new(&base, 512, Path::new("."), &control);
        assert!(changes.write_at(LEN as u64 - 1, &[1, 2]).is_err());
        assert!(changes.write_at(u64::MAX, &[1, 2]).is_err());
    }
}
