//! Who has which cluster, against `$Bitmap`.

use super::attributes::{Body, Extents, Stream};
use super::context::Context;
use super::facts::{Extent, Facts};
use super::record::{self, Slot};
use super::runs;
use crate::format::ntfs::ondisk::{file, kind};
use crate::verify::{Finding, Level, Rule};

/// `$Bitmap` is read in windows of this many bytes.
const WINDOW: usize = 1 << 20;

/// Checks that no cluster has two owners, and that `$Bitmap` marks those that have one.
pub(super) fn check(context: &mut Context<'_>, facts: &mut Facts) {
    facts.extents.sort_unstable();
    shared(context, &facts.extents);
    let Some(mut loaded) = context.volume.load(file::BITMAP) else { return };
    let attributes = loaded.attributes();
    let Some(Stream::NonResident(extents)) = context.volume.stream(&attributes, kind::DATA, "") else {
        return; // said by the checks of system files
    };
    Map { context, extents: &facts.extents, gaps: facts.gaps }.compare(&extents);
}

fn shared(context: &mut Context<'_>, extents: &[Extent]) {
    let mut last: Option<(Extent, u64)> = None;
    for extent in extents {
        let (start, end) = (u64::from(extent.lcn), u64::from(extent.lcn) + u64::from(extent.len));
        if let Some((other, other_end)) = last
            && start < other_end
        {
            let shared = format!("clusters {start} to {}", other_end.min(end) - 1);
            let owner = owner(context, other.record, start);
            let path = context.path(other.record).unwrap_or_default();
            let found = format!("{shared} belong to {owner} of record {} {path} too", other.record);
            let part = self::owner(context, extent.record, start);
            let finding = Finding::new(Rule::SharedCluster, found).allowed("one owner").part(part);
            context.add(finding.record(u64::from(extent.record)).at(context.volume.geometry.offset(start)));
        }
        if last.is_none_or(|(_, last_end)| end > last_end) {
            last = Some((*extent, end));
        }
    }
}

/// Which attribute of a record has that cluster.
fn owner(context: &Context<'_>, number: u32, lcn: u64) -> String {
    let unknown = || "a stream".to_owned();
    let Some(mut raw) = context.volume.raw_record(number) else { return unknown() };
    let Slot::Used(record) = record::parse(&mut raw, number, &mut |_| {}) else { return unknown() };
    let holds = |pairs: &[u8], lowest| {
        let mut found = Vec::new();
        let _ = runs::decode(pairs, lowest, context.volume.geometry.clusters, &mut found); // what can be decoded is enough
        found.iter().any(|run| run.lcn.is_some_and(|start| (start..start + run.len).contains(&lcn)))
    };
    let found = record.attributes.iter().find(|attribute| match attribute.body {
        Body::NonResident { lowest, pairs, .. } => holds(pairs, lowest),
        Body::Resident(_) => false,
    });
    found.map_or_else(unknown, |attribute| attribute.part())
}

struct Map<'c, 'v> {
    context: &'c mut Context<'v>,
    extents: &'c [Extent],
    gaps: bool,
}

/// A range of clusters that are marked wrongly, all in the same way.
struct Wrong {
    start: u64,
    end: u64,
    marked: bool,
}

impl Map<'_, '_> {
    fn compare(mut self, bitmap: &Extents) {
        let clusters = self.context.volume.geometry.clusters;
        let needed = clusters.div_ceil(64) * 8;
        if bitmap.size != needed {
            let found = format!("{} bytes", bitmap.size);
            self.fault(Rule::BitmapTail, found, format!("{needed}, for {clusters} clusters"), None, None);
        }
        let mut window = vec![0; WINDOW];
        let mut expected = vec![0; WINDOW];
        let mut wrong: Option<Wrong> = None;
        let mut next = 0;
        let mut at = 0;
        let end = bitmap.size.min(needed);
        while at < end {
            let len = (end - at).min(WINDOW as u64) as usize;
            if let Err(error) = self.context.volume.read_stream(bitmap, at, &mut window[..len]) {
                return self.fault(
                    Rule::ClusterBitmap,
                    error.to_string(),
                    "a bitmap that can be read".to_owned(),
                    None,
                    None,
                );
            }
            self.fill(&mut expected[..len], at * 8, &mut next);
            self.compare_window(&window[..len], &expected[..len], at * 8, &mut wrong);
            at += len as u64;
        }
        if let Some(wrong) = wrong.take() {
            self.tell(&wrong);
        }
    }

    /// Sets the bits of the clusters with an owner, from cluster `first` on; `next` is the first extent that is not done with.
    fn fill(&self, expected: &mut [u8], first: u64, next: &mut usize) {
        expected.fill(0);
        let end = first + expected.len() as u64 * 8;
        let mut index = *next;
        while let Some(extent) = self.extents.get(index).filter(|extent| u64::from(extent.lcn) < end) {
            let start = u64::from(extent.lcn);
            let extent_end = start + u64::from(extent.len);
            set_bits(expected, start.max(first) - first, extent_end.min(end).saturating_sub(first));
            index += 1;
        }
        // Extents are sorted by their start: one that reaches into the next window keeps all after it.
        while self.extents.get(*next).is_some_and(|extent| u64::from(extent.lcn) + u64::from(extent.len) <= end) {
            *next += 1;
        }
        let clusters = self.context.volume.geometry.clusters;
        if end > clusters {
            set_bits(expected, clusters.max(first) - first, end - first);
        }
    }

    fn compare_window(&mut self, found: &[u8], expected: &[u8], first: u64, wrong: &mut Option<Wrong>) {
        const CHUNK: usize = 4096;
        for (index, (found, expected)) in found.chunks(CHUNK).zip(expected.chunks(CHUNK)).enumerate() {
            if found == expected {
                continue;
            }
            for (byte, (found, expected)) in found.iter().zip(expected).enumerate() {
                let differs = found ^ expected;
                for bit in (0..8).filter(|bit| differs >> bit & 1 == 1) {
                    let cluster = first + ((index * CHUNK + byte) * 8 + bit) as u64;
                    self.note(cluster, found >> bit & 1 == 1, wrong);
                }
            }
        }
    }

    fn note(&mut self, cluster: u64, marked: bool, wrong: &mut Option<Wrong>) {
        let clusters = self.context.volume.geometry.clusters;
        match wrong {
            Some(wrong) if wrong.end == cluster && wrong.marked == marked && cluster != clusters => wrong.end += 1,
            _ => {
                if let Some(done) = wrong.replace(Wrong { start: cluster, end: cluster + 1, marked }) {
                    self.tell(&done);
                }
            }
        }
    }

    fn tell(&mut self, wrong: &Wrong) {
        let (start, last) = (wrong.start, wrong.end - 1);
        let range = if start == last { format!("cluster {start}") } else { format!("clusters {start} to {last}") };
        if start >= self.context.volume.geometry.clusters {
            let found = format!("bits {start} to {last} are clear");
            return self.fault(Rule::BitmapTail, found, "set bits after the last cluster".to_owned(), None, None);
        }
        let at = Some(self.context.volume.geometry.offset(start));
        if wrong.marked {
            // Where a record cannot be read, its clusters seem to be nobody's: that is not their fault.
            let level = self.gaps.then_some(Level::Note);
            let allowed = "clear bits for clusters that no stream has".to_owned();
            return self.fault(Rule::ClusterLeak, format!("{range} marked as in use"), allowed, at, level);
        }
        let owner =
            self.extents[..self.extents.partition_point(|extent| u64::from(extent.lcn) <= start)].last().copied();
        let who = owner.map_or_else(String::new, |extent| {
            let path = self.context.path(extent.record).unwrap_or_default();
            format!(", and {} of record {} {path} has them", self.owner(extent.record, start), extent.record)
        });
        self.fault(Rule::ClusterBitmap, format!("{range} marked as free{who}"), "set bits".to_owned(), at, None);
    }

    fn owner(&self, record: u32, lcn: u64) -> String {
        owner(self.context, record, lcn)
    }

    fn fault(&mut self, rule: Rule, found: String, allowed: String, at: Option<u64>, level: Option<Level>) {
        let mut finding = Finding::new(rule, found).allowed(allowed).record(u64::from(file::BITMAP)).part("$DATA");
        finding.place.offset = at;
        finding.level = level.unwrap_or(finding.level);
        self.context.add(finding);
    }
}

/// Sets bits `start..end`.
fn set_bits(bytes: &mut [u8], start: u64, end: u64) {
    if start >= end {
        return;
    }
    let (first, last) = ((start / 8) as usize, ((end - 1) / 8) as usize);
    let head = 0xFFu8 << (start % 8);
    let tail = 0xFFu8 >> (7 - (end - 1) % 8);
    if first == last {
        bytes[first] |= head & tail;
        return;
    }
    bytes[first] |= head;
    bytes[first + 1..last].fill(0xFF);
    bytes[last] |= tail;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_bits_are_set() {
        for (start, end) in [(0, 0), (0, 1), (3, 5), (7, 9), (0, 32), (5, 29), (8, 16)] {
            let mut bytes = [0; 4];
            set_bits(&mut bytes, start, end);
            for bit in 0..32 {
                assert_eq!(
                    bytes[bit / 8] >> (bit % 8) & 1 == 1,
                    (start..end).contains(&(bit as u64)),
                    "{start}..{end}"
                );
            }
        }
    }
}
