//! Data runs, and the bytes of the clusters that they name.

use std::sync::Arc;

use crate::base::ReadAt;
use crate::error::{Error, Result};

/// A run of clusters of a stream. It begins where the run before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first VCN after it.
    pub(super) end: u64,
    /// Where it lies, or [`HOLE`].
    pub(super) lcn: u64,
}

/// The place of a run that has none.
pub(super) const HOLE: u64 = u64::MAX;

/// No stream goes on behind this cluster, so that places in bytes do not overflow with clusters of 2 MiB.
const MAX_VCN: u64 = 1 << 42;

/// Decodes mapping pairs (`ntfs::runs` has their form) of a stream whose earlier runs, if any, are in `runs` already, on
/// a volume of so many `clusters`.
pub(super) fn decode(mut pairs: &[u8], clusters: u64, runs: &mut Vec<Run>) -> Result<()> {
    let wrong = |what: &str| Error::corrupt(format_args!("data runs: {what}"));
    let mut vcn = runs.last().map_or(0, |run| run.end);
    let mut lcn = 0i64;
    loop {
        let (&head, rest) = pairs.split_first().ok_or_else(|| wrong("no end mark"))?;
        if head == 0 {
            return Ok(());
        }
        let (len, rest) = take(rest, head & 0xF).ok_or_else(|| wrong("bytes of a length"))?;
        let (delta, rest) = take(rest, head >> 4).ok_or_else(|| wrong("bytes of a place"))?;
        pairs = rest;
        let len = len.unwrap_or(0);
        let end = u64::try_from(len).ok().and_then(|len| vcn.checked_add(len)).filter(|end| *end <= MAX_VCN);
        let end = end.ok_or_else(|| wrong("length of a run").found(len).allowed("0 to 2^42 clusters in all"))?;
        let len = end - vcn;
        let mut place = HOLE;
        if let Some(delta) = delta {
            lcn = lcn.wrapping_add(delta);
            place = u64::try_from(lcn).unwrap_or(HOLE);
            if place.checked_add(len).is_none_or(|end| end > clusters) {
                return Err(wrong("a run outside of the volume")
                    .found(format_args!("{len} clusters at {lcn}"))
                    .allowed(format_args!("clusters below {clusters}")));
            }
        }
        if len > 0 {
            runs.push(Run { end, lcn: place });
        }
        vcn = end;
    }
}

/// A signed number of so many bytes, `None` where it has none, and what follows it.
fn take(bytes: &[u8], len: u8) -> Option<(Option<i64>, &[u8])> {
    let (number, rest) = bytes.split_at_checked(usize::from(len))?;
    let Some(last) = number.last() else { return Some((None, rest)) };
    let mut whole = [if last & 0x80 == 0 { 0 } else { 0xFF }; 8];
    whole.get_mut(..number.len())?.copy_from_slice(number);
    Some((Some(i64::from_le_bytes(whole)), rest))
}

/// How many clusters of the runs lie somewhere.
pub(super) fn allocated(runs: &[Run]) -> u64 {
    let mut start = 0;
    let len = |run: &Run| {
        let len = if run.lcn == HOLE { 0 } else { run.end - start };
        start = run.end;
        len
    };
    runs.iter().map(len).fold(0, u64::saturating_add)
}

/// The volume, read by clusters.
#[derive(Clone)]
pub(super) struct Clusters {
    pub(super) volume: Arc<dyn ReadAt>,
    pub(super) size: u64,
}

impl Clusters {
    /// Fills `buf` with the bytes from `at` on that the runs hold; holes are zeros.
    pub(super) fn read(&self, runs: &[Run], at: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = at;
        let mut left = buf;
        while !left.is_empty() {
            let vcn = at / self.size;
            let index = runs.partition_point(|run| run.end <= vcn);
            let run = runs.get(index).ok_or_else(|| {
                Error::corrupt("data runs end before the stream").at(at).found(runs.last().map_or(0, |run| run.end))
            })?;
            let start = if index == 0 { 0 } else { runs[index - 1].end };
            let len = left.len().min(usize::try_from(run.end * self.size - at).unwrap_or(usize::MAX));
            let (now, later) = left.split_at_mut(len);
            if run.lcn == HOLE {
                now.fill(0);
            } else {
                self.volume.read_at(run.lcn * self.size + (at - start * self.size), now)?;
            }
            at += len as u64;
            left = later;
        }
        Ok(())
    }

    /// The same with zeros from `valid` on, the stream's initialized length.
    pub(super) fn read_valid(&self, runs: &[Run], valid: u64, at: u64, buf: &mut [u8]) -> Result<()> {
        let len = usize::try_from(valid.saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
        let (now, zeros) = buf.split_at_mut(len);
        zeros.fill(0);
        self.read(runs, at, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn decoded(pairs: &[u8], clusters: u64) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        decode(pairs, clusters, &mut runs).map(|()| runs)
    }

    #[test]
    fn reads_what_windows_writes() {
        let pairs = [0x21, 0x40, 0x55, 0x03, 0x21, 0x01, 0xD1, 0xFC, 0x02, 0xFF, 0x09, 0];
        let runs = [(0x40, 853), (0x41, 38), (0x41 + 0x9FF, HOLE)].map(|(end, lcn)| Run { end, lcn });
        assert_eq!(decoded(&pairs, 2559).unwrap(), runs);
        assert_eq!(allocated(&runs), 0x41);
        let mut more = runs.to_vec();
        decode(&[0x11, 1, 5, 0], 2559, &mut more).unwrap();
        assert_eq!(more[3], Run { end: 0x42 + 0x9FF, lcn: 5 }, "places of a later part count from 0");
    }

    #[test]
    fn refuses_what_leads_nowhere() {
        for (pairs, message) in [
            (&[][..], "no end mark"),
            (&[0x11, 1, 1], "no end mark"),
            (&[0x21, 1, 1], "bytes of a place"),
            (&[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], "bytes of a length"),
            (&[0x11, 0xFF, 1, 0], "length of a run: found -1"),
            (&[0x08, 0, 0, 0, 0, 0, 0, 0, 0x10, 0], "length of a run: found 1152921504606846976"),
            (&[0x11, 1, 0xFF, 0], "outside of the volume: found 1 clusters at -1, allowed: clusters below 100"),
            (&[0x11, 50, 51, 0], "outside of the volume: found 50 clusters at 51"),
            (&[0x81, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0], "outside of the volume"),
        ] {
            let error = decoded(pairs, 100).unwrap_err();
            assert!(error.kind() == Kind::Corrupt && error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn reads_across_runs() {
        let volume: Vec<u8> = (0..64).collect();
        let clusters = Clusters { volume: Arc::new(volume), size: 8 };
        let runs = [(1, 3), (2, HOLE), (4, 0)].map(|(end, lcn)| Run { end, lcn });
        let mut buf = [0xD1; 20];
        clusters.read(&runs, 6, &mut buf).unwrap();
        assert_eq!(buf, [30, 31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        clusters.read_valid(&runs, 18, 15, &mut buf[..5]).unwrap();
        assert_eq!(buf[..5], [0, 0, 1, 0, 0]);
        assert!(clusters.read(&runs, 31, &mut buf[..2]).is_err());
    }
}
