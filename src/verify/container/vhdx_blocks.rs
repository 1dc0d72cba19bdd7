//! The rules of VHDX, from \[MS-VHDX\]: the BAT and the blocks.

use std::ops::Range;

use super::Report;
use super::claims::Claims;
use crate::base::ReadAt;
use crate::verify::Rule;

const MIB: u64 = 1 << 20;
const SECTORS_PER_BITMAP: u64 = 1 << 23;
/// How many entries are read at once.
const PIECE: u64 = 0x2000;

/// The states of entries.
const NOT_PRESENT: u64 = 0;
const UNMAPPED: u64 = 3;
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;

/// A BAT and what has to be known to read it; the values are sound.
pub(super) struct Bat<'f> {
    pub(super) file: &'f dyn ReadAt,
    pub(super) region: Range<u64>,
    pub(super) disk_len: u64,
    pub(super) block_size: u64,
    pub(super) sector: u64,
    pub(super) is_differencing: bool,
}

pub(super) fn check(bat: &Bat<'_>, claims: &mut Claims, report: &mut Report<'_>) {
    let needed = bat.entries();
    let held = (bat.region.end - bat.region.start) / 8;
    if held < needed {
        let found = format!("room for {held} entries");
        report.field(Rule::VhdxBat, "BAT region", bat.region.start, found, format!("at least {needed}"));
    }
    let mut group = Group::default();
    let entries = needed.min(held);
    let mut bytes = vec![0; PIECE as usize * 8];
    for first in (0..entries).step_by(PIECE as usize) {
        let bytes = &mut bytes[..PIECE.min(entries - first) as usize * 8];
        let at = bat.region.start + first * 8;
        if let Err(error) = bat.file.read_at(at, bytes) {
            return report.field(Rule::VhdxBat, "BAT", at, error, "readable");
        }
        for (index, entry) in (first..).zip(bytes.as_chunks::<8>().0) {
            bat.check_entry(index, u64::from_le_bytes(*entry), &mut group, claims, report);
        }
        if report.is_enough(Rule::VhdxBat) || report.is_enough(Rule::VhdxBlockOverlap) {
            return;
        }
    }
}

/// What is known about the blocks before a sector bitmap.
#[derive(Default)]
struct Group {
    /// The first of them that needs the bitmap.
    needs_bitmap: Option<u64>,
}

impl Bat<'_> {
    /// Payload blocks to a sector bitmap.
    fn ratio(&self) -> u64 {
        SECTORS_PER_BITMAP * self.sector / self.block_size
    }

    fn entries(&self) -> u64 {
        let blocks = self.disk_len.div_ceil(self.block_size);
        if self.is_differencing {
            blocks.div_ceil(self.ratio()) * (self.ratio() + 1)
        } else {
            blocks + (blocks - 1) / self.ratio()
        }
    }

    fn check_entry(&self, index: u64, entry: u64, group: &mut Group, claims: &mut Claims, report: &mut Report<'_>) {
        let period = self.ratio() + 1;
        let is_bitmap = index % period == self.ratio();
        if entry == NOT_PRESENT && !is_bitmap {
            return;
        }
        let at = self.region.start + index * 8;
        let block = index - index / period;
        let part = |report: &mut Report<'_>, rule, found: String, allowed: &str| {
            let name = if is_bitmap {
                format!("BAT entry {index}, a sector bitmap")
            } else {
                format!("BAT entry {index}, block {block}")
            };
            report.field(rule, &name, at, found, allowed);
        };
        let state = entry & 7;
        if entry & 0xF_FFF8 != 0 {
            part(report, Rule::VhdxBat, format!("{entry:#018x}"), "reserved bits 3 to 19 zero");
        }
        let (is_known, allowed) = match (is_bitmap, self.is_differencing) {
            (true, true) => ([NOT_PRESENT, FULLY_PRESENT].contains(&state), "0 or 6"),
            (true, false) => (state == NOT_PRESENT, "0 in a disk without a parent"),
            (false, true) => (state <= UNMAPPED || state >= FULLY_PRESENT, "0 to 3, 6 or 7"),
            (false, false) => (state <= UNMAPPED || state == FULLY_PRESENT, "0 to 3, or 6"),
        };
        if !is_known {
            return part(report, Rule::VhdxBat, format!("state {state}"), allowed);
        }
        if is_bitmap {
            if let Some(block) = group.needs_bitmap.take().filter(|_| state != FULLY_PRESENT) {
                part(report, Rule::VhdxBat, format!("state {state}"), &format!("6, since block {block} needs it"));
            }
        } else if state == PARTIALLY_PRESENT {
            group.needs_bitmap.get_or_insert(block);
        }
        if state < FULLY_PRESENT {
            return; // a place that it may keep means nothing
        }
        let place = entry & !(MIB - 1);
        let len = if is_bitmap { MIB } else { self.block_size };
        let Some(end) = place.checked_add(len).filter(|end| place != 0 && *end <= self.file.len()) else {
            let allowed = format!("past the first MiB, before the file's end at {:#x}", self.file.len());
            return part(report, Rule::VhdxBat, format!("{len} bytes at {place:#x}"), &allowed);
        };
        if let Some(taken) = claims.claim(&(place..end)) {
            let found = format!("{len} bytes at {place:#x}, of which {taken:#x} is in use");
            part(report, Rule::VhdxBlockOverlap, found, "apart from everything else");
        }
    }
}
