//! The grains of a VMDK: directories, tables, what they lead to, and the markers on the way through a stream.

use flate2::{Decompress, FlushDecompress, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::{Report, structure};
use crate::base::ReadAt;
use crate::format::vmdk::ondisk::{self, GrainMarker, Header, Marker, SECTOR, TABLE_ENTRIES, TABLE_LEN};
use crate::verify::{Finding, Level, Rule};

/// So many grains and tables are kept account of: those of 1 TiB of data.
const MAX_SPANS: usize = 1 << 24;

/// Entries of a grain directory that are read at once.
const PIECE: u64 = 0x400;

/// Sectors of the file that are somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) sector: u64,
    pub(super) count: u64,
}

/// What the tables are checked with.
pub(super) struct Grains<'f> {
    file: &'f dyn ReadAt,
    header: Header,
    /// In sectors.
    directory: u64,
    /// The second directory, where there is one.
    redundant: Option<u64>,
    is_packed: bool,
    /// Whole sectors in the file.
    sectors: u64,
    /// Where everything is, as (sector, count).
    spans: Vec<(u32, u32)>,
    /// Grains that the tables lead to.
    count: u64,
    inflate: Decompress,
}

impl<'f> Grains<'f> {
    pub(super) fn new(file: &'f dyn ReadAt, header: &Header, directory: u64, others: [Option<Span>; 2]) -> Self {
        let flags = header.flags.get();
        let redundant = (flags & ondisk::FLAG_REDUNDANT != 0).then(|| header.redundant_directory.get());
        let mut grains = Self {
            file,
            header: header.clone(),
            directory,
            redundant,
            is_packed: flags & ondisk::FLAG_COMPRESSED != 0,
            sectors: file.len() / SECTOR,
            spans: Vec::new(),
            count: 0,
            inflate: Decompress::new(true),
        };
        others.into_iter().flatten().for_each(|span| grains.claim(span));
        grains
    }

    fn claim(&mut self, span: Span) {
        if let (Ok(sector), Ok(count)) = (span.sector.try_into(), span.count.try_into())
            && self.spans.len() < MAX_SPANS
        {
            self.spans.push((sector, count));
        }
    }

    pub(super) fn check(mut self, report: &mut Report<'_>) {
        let grain = self.header.grain.get();
        let grains = self.header.capacity.get().div_ceil(grain);
        let tables = grains.div_ceil(TABLE_ENTRIES);
        if !self.check_directory(self.directory, tables, Rule::VmdkTable, "grain directory", 56, report) {
            return;
        }
        if let Some(redundant) = self.redundant {
            let what = "redundant grain directory";
            if !self.check_directory(redundant, tables, Rule::VmdkRedundant, what, 48, report) {
                self.redundant = None;
            }
        }
        for first in (0..tables).step_by(PIECE as usize) {
            let count = PIECE.min(tables - first);
            let Some(directory) = self.entries(self.directory, first, count, report) else { return };
            let redundant = self.redundant.and_then(|redundant| self.entries(redundant, first, count, report));
            for (table, sector) in (first..).zip(&directory) {
                self.check_table(table, *sector, grains, report);
                if let Some(other) = redundant.as_ref().and_then(|entries| entries.get((table - first) as usize)) {
                    self.check_redundant(table, *sector, *other, report);
                }
            }
            if [Rule::VmdkTable, Rule::VmdkGrain, Rule::VmdkRedundant].iter().any(|rule| report.is_enough(*rule)) {
                return;
            }
        }
        self.check_overlaps(report);
        if self.is_packed {
            self.check_markers(report);
        }
    }

    fn check_directory(
        &mut self,
        sector: u64,
        tables: u64,
        rule: Rule,
        what: &str,
        field: u64,
        report: &mut Report<'_>,
    ) -> bool {
        let count = (tables * 4).div_ceil(SECTOR);
        let is_inside = sector > 0 && sector.checked_add(count).is_some_and(|end| end <= self.sectors);
        if is_inside {
            self.claim(Span { sector, count });
        } else {
            let allowed = format!("inside the file of {} sectors", self.sectors);
            report.field(rule, what, field, format!("{count} sectors at sector {sector}"), allowed);
        }
        is_inside
    }

    /// Entries of a directory.
    fn entries(&self, directory: u64, first: u64, count: u64, report: &mut Report<'_>) -> Option<Vec<u32>> {
        let mut bytes = vec![0; count as usize * 4];
        let at = directory * SECTOR + first * 4;
        if let Err(error) = self.file.read_at(at, &mut bytes) {
            report.field(Rule::VmdkTable, "grain directory", at, error, "readable");
            return None;
        }
        Some(bytes.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect())
    }

    /// A grain table, if it is there and in the file.
    fn table(&self, sector: u32) -> Option<Vec<u32>> {
        let mut bytes = vec![0; TABLE_LEN as usize];
        self.file.read_at(u64::from(sector) * SECTOR, &mut bytes).ok()?;
        Some(bytes.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect())
    }

    fn check_table(&mut self, table: u64, sector: u32, grains: u64, report: &mut Report<'_>) {
        if sector == 0 {
            return;
        }
        let Some(entries) = self.table(sector) else {
            let at = self.directory * SECTOR + table * 4;
            let allowed = format!("a table in the file of {} sectors", self.sectors);
            return report.field(
                Rule::VmdkTable,
                &format!("grain directory entry {table}"),
                at,
                format!("sector {sector}"),
                allowed,
            );
        };
        self.claim(Span { sector: sector.into(), count: TABLE_LEN / SECTOR });
        let zero_grains = self.header.flags.get() & ondisk::FLAG_ZERO_GRAINS != 0;
        for (grain, entry) in (table * TABLE_ENTRIES..).zip(entries) {
            if entry == 0 || (zero_grains && entry == ondisk::ZERO_GRAIN) {
                continue;
            }
            let at = u64::from(sector) * SECTOR + grain % TABLE_ENTRIES * 4;
            let part = format!("grain table entry of grain {grain}");
            if report.is_enough(Rule::VmdkTable) || report.is_enough(Rule::VmdkGrain) {
                return;
            }
            if grain >= grains {
                report.field(Rule::VmdkTable, &part, at, format!("sector {entry}"), "0, past the disk's end");
                continue;
            }
            let overhead = self.header.overhead.get();
            if u64::from(entry) < overhead {
                let allowed = format!("sector {overhead} or later, where grains begin by the header");
                report.field(Rule::VmdkTable, &part, at, format!("sector {entry}"), allowed);
                continue;
            }
            self.count += 1;
            if self.is_packed {
                self.check_packed(grain, entry, at, &part, report);
            } else {
                self.check_plain(grain, entry, at, &part, report);
            }
        }
    }

    /// How many bytes of a grain are the disk's.
    fn len_of(&self, grain: u64) -> u64 {
        let size = self.header.grain.get();
        size.min(self.header.capacity.get() - grain * size) * SECTOR
    }

    fn check_plain(&mut self, grain: u64, sector: u32, at: u64, part: &str, report: &mut Report<'_>) {
        let needed = self.len_of(grain) / SECTOR;
        if u64::from(sector) + needed > self.sectors {
            let allowed = format!("a grain in the file of {} sectors", self.sectors);
            return report.field(Rule::VmdkTable, part, at, format!("sector {sector}"), allowed);
        }
        self.claim(Span { sector: sector.into(), count: needed });
    }

    fn check_packed(&mut self, grain: u64, sector: u32, at: u64, part: &str, report: &mut Report<'_>) {
        let size = self.header.grain.get() * SECTOR;
        let start = u64::from(sector) * SECTOR;
        let mut marker = GrainMarker::new_zeroed();
        if self.file.read_at(start, marker.as_mut_bytes()).is_err() {
            let allowed = format!("a grain in the file of {} sectors", self.sectors);
            return report.field(Rule::VmdkTable, part, at, format!("sector {sector}"), allowed);
        }
        let part = format!("grain {grain}");
        let len = u64::from(marker.len.get());
        let wanted = grain * self.header.grain.get();
        if marker.sector != wanted || len == 0 || len > 2 * size {
            let found = format!("a marker of sector {}, length {len}", marker.sector);
            let allowed = format!("sector {wanted}, 1 to {} bytes", 2 * size);
            return report.field(Rule::VmdkGrain, &part, start, found, allowed);
        }
        let mut packed = vec![0; len as usize];
        let read = self.file.read_at(start + size_of::<GrainMarker>() as u64, &mut packed);
        let mut data = Vec::with_capacity(size as usize);
        self.inflate.reset(true);
        let outcome = self.inflate.decompress_vec(&packed, &mut data, FlushDecompress::Finish);
        if read.is_err() || !matches!(outcome, Ok(Status::StreamEnd)) {
            return report.field(Rule::VmdkGrain, &part, start, format!("{len} bytes"), "zlib data of one grain");
        }
        if (data.len() as u64) < self.len_of(grain) || data.len() as u64 > size {
            let allowed = format!("{} to {size} bytes", self.len_of(grain));
            report.field(Rule::VmdkGrain, &part, start, format!("{} bytes in it", data.len()), allowed);
        }
        let count = (len + size_of::<GrainMarker>() as u64).div_ceil(SECTOR);
        self.claim(Span { sector: sector.into(), count });
    }

    /// Whether the other table of the same number leads to the same grains.
    fn check_redundant(&mut self, table: u64, sector: u32, other: u32, report: &mut Report<'_>) {
        let (one, two) = (self.table(sector), self.table(other));
        if other != 0 && other != sector && two.is_some() {
            self.claim(Span { sector: other.into(), count: TABLE_LEN / SECTOR });
        }
        let is_right = match (&one, &two) {
            _ if (sector == 0) != (other == 0) => false,
            (Some(one), Some(two)) => sector == 0 || (sector != other && one == two),
            (Some(_), None) => false,
            // There is nothing to compare with, and that was said.
            (None, _) => true,
        };
        if !is_right && !report.is_enough(Rule::VmdkRedundant) {
            let at = u64::from(other) * SECTOR;
            let allowed = format!("a copy of the table at sector {sector}");
            report.field(
                Rule::VmdkRedundant,
                &format!("redundant grain table {table}"),
                at,
                format!("sector {other}"),
                allowed,
            );
        }
    }

    fn check_overlaps(&mut self, report: &mut Report<'_>) {
        if self.spans.len() == MAX_SPANS {
            let note = Finding::new(Rule::VmdkOverlap, "so many grains that not all were looked at");
            report.add(note.part("grain tables").level(Level::Note));
        }
        self.spans.sort_unstable();
        let mut end = 0;
        for (sector, count) in &self.spans {
            let (start, count) = (u64::from(*sector), u64::from(*count));
            if start < end && !report.is_enough(Rule::VmdkOverlap) {
                let found = format!("{count} sectors at sector {start}");
                let allowed = format!("sector {end} or later, where what is before it ends");
                report.field(Rule::VmdkOverlap, "grains and tables", start * SECTOR, found, allowed);
            }
            end = end.max(start + count);
        }
    }

    /// Goes through a stream as somebody does who cannot go back.
    fn check_markers(&self, report: &mut Report<'_>) {
        let mut sector = self.header.overhead.get();
        let (mut seen, mut next) = (0, 0);
        let mut fault = |sector: u64, found: String, allowed: &str| {
            report.field(Rule::VmdkMarkers, "marker", sector.saturating_mul(SECTOR), found, allowed);
        };
        let size = self.header.grain.get();
        while sector < self.sectors {
            let Some(marker) = structure::<Marker>(self.file, sector * SECTOR) else { break };
            let len = u64::from(marker.len.get());
            if len > 0 {
                let place = marker.sectors.get();
                if place < next || !place.is_multiple_of(size) || len > 2 * size * SECTOR {
                    let found = format!("a grain of sector {place}, length {len}");
                    return fault(sector, found, "whole grains in the order of the disk");
                }
                seen += 1;
                next = place.saturating_add(size);
                sector += (len + size_of::<GrainMarker>() as u64).div_ceil(SECTOR);
                continue;
            }
            sector += 1;
            match (marker.kind.get(), marker.sectors.get()) {
                (ondisk::MARKER_END, 0) if seen == self.count => return,
                (ondisk::MARKER_END, 0) => {
                    return fault(sector - 1, format!("{seen} grains up to the end"), &format!("{}", self.count));
                }
                (ondisk::MARKER_TABLE, count) if count == TABLE_LEN / SECTOR => sector += count,
                (ondisk::MARKER_DIRECTORY, count) if count <= self.sectors => sector += count,
                (ondisk::MARKER_FOOTER, count) if count <= 1 => sector += 1,
                (kind, count) => {
                    return fault(
                        sector - 1,
                        format!("kind {kind}, {count} sectors"),
                        "a grain, or kind 0 to 3 with its sectors",
                    );
                }
            }
        }
        fault(self.sectors, "the end of the file".to_owned(), "an end-of-stream marker");
    }
}
