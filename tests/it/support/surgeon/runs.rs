//! Data runs, and the clusters that they name.

use super::{Surgeon, int, kind, put};

/// Where some clusters are (nowhere, if it is a hole), and how many there are.
pub(crate) type Run = (Option<u64>, u64);

/// The runs of a segment.
pub(super) fn decode(raw: &[u8]) -> Vec<Run> {
    let signed = |at: usize, len: usize| {
        let value = int(raw, at, len) as i64;
        let unused = 64 - 8 * len as u32;
        value << unused >> unused
    };
    let mut runs = Vec::new();
    let mut at = int(raw, 32, 2) as usize;
    let mut lcn = 0;
    while raw[at] != 0 {
        let (len, place) = (usize::from(raw[at] & 15), usize::from(raw[at] >> 4));
        lcn += if place > 0 { signed(at + 1 + len, place) } else { 0 };
        runs.push(((place > 0).then_some(lcn as u64), int(raw, at + 1, len)));
        at += 1 + len + place;
    }
    runs
}

/// Mapping pairs for runs, the closing zero included.
pub(crate) fn encode(runs: &[Run]) -> Vec<u8> {
    let minimal = |value: i64| (1..8).find(|len| value << (64 - 8 * len) >> (64 - 8 * len) == value).unwrap_or(8);
    let mut bytes = Vec::new();
    let mut last = 0;
    for (lcn, clusters) in runs {
        let len = minimal(*clusters as i64);
        let delta = lcn.map(|lcn| lcn as i64 - last);
        last = lcn.map_or(last, |lcn| lcn as i64);
        let place = delta.map_or(0, minimal);
        bytes.push((place << 4 | len) as u8);
        bytes.extend(&clusters.to_le_bytes()[..len]);
        bytes.extend(&delta.unwrap_or_default().to_le_bytes()[..place]);
    }
    bytes.push(0);
    bytes
}

impl Surgeon {
    /// The runs of all segments of an attribute.
    #[track_caller]
    pub(crate) fn runs(&self, base: u64, kind: u32, name: &str) -> Vec<Run> {
        self.segments(base, kind, name).iter().flat_map(|segment| decode(&segment.raw)).collect()
    }

    /// The size of a non-resident attribute.
    #[track_caller]
    pub(crate) fn size(&self, base: u64, kind: u32, name: &str) -> u64 {
        int(&self.attribute(base, kind, name).raw, 48, 8)
    }

    /// Gives an attribute of one segment other mapping pairs, whatever they mean. The bitmap is left alone.
    #[track_caller]
    pub(crate) fn set_pairs(&mut self, base: u64, kind: u32, name: &str, pairs: &[u8]) {
        let attribute = self.attribute(base, kind, name);
        let mut raw = attribute.raw[..int(&attribute.raw, 32, 2) as usize].to_vec();
        raw.extend(pairs);
        raw.resize(raw.len().next_multiple_of(8), 0);
        let len = raw.len() as u64;
        put(&mut raw, 4, 4, len);
        self.replace(&attribute, &raw);
    }

    /// Gives an attribute of one segment other runs, and $Bitmap the bits of those.
    #[track_caller]
    pub(crate) fn set_runs(&mut self, base: u64, kind: u32, name: &str, runs: &[Run]) {
        for (lcn, clusters) in self.runs(base, kind, name) {
            lcn.into_iter().for_each(|lcn| self.mark(lcn, clusters, false));
        }
        for (lcn, clusters) in runs.iter().copied() {
            lcn.into_iter().for_each(|lcn| self.mark(lcn, clusters, true));
        }
        self.set_pairs(base, kind, name, &encode(runs));
    }

    /// Marks those of these clusters that are not marked yet as used, or free.
    pub(crate) fn mark(&mut self, lcn: u64, clusters: u64, used: bool) {
        for cluster in lcn..(lcn + clusters).min(self.clusters()) {
            if self.bit(6, kind::DATA, "", cluster) != used {
                self.set_bit(6, kind::DATA, "", cluster, used);
            }
        }
    }

    /// The first of so many free clusters in a row, from the end of the volume.
    pub(crate) fn free_clusters(&self, count: u64) -> u64 {
        let bitmap = self.value(6, kind::DATA, "");
        let free = |cluster: u64| bitmap[cluster as usize / 8] >> (cluster % 8) & 1 == 0;
        let last = self.clusters() - count;
        (0..last).rev().find(|lcn| (*lcn..lcn + count).all(free)).expect("free clusters")
    }

    /// Where on the volume the byte at `at` of a stream lies, or nothing if in a hole.
    pub(super) fn place(&self, runs: &[Run], at: usize) -> Option<usize> {
        let mut left = at;
        for (lcn, clusters) in runs {
            let len = *clusters as usize * self.cluster;
            if left < len {
                return lcn.map(|lcn| lcn as usize * self.cluster + left);
            }
            left -= len;
        }
        panic!("{at} is past the end of the runs")
    }

    /// Reads a stream: piece by piece, as no piece of a cluster is torn.
    pub(super) fn read_runs(&self, runs: &[Run], at: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let from = at + bytes.len();
            let piece = (self.cluster - from % self.cluster).min(len - bytes.len());
            match self.place(runs, from) {
                Some(place) => bytes.extend_from_slice(&self.bytes[place..place + piece]),
                None => bytes.resize(bytes.len() + piece, 0),
            }
        }
        bytes
    }

    pub(super) fn write_runs(&mut self, runs: &[Run], at: usize, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let from = at + done;
            let piece = (self.cluster - from % self.cluster).min(bytes.len() - done);
            let place = self.place(runs, from).expect("not a hole");
            self.bytes[place..place + piece].copy_from_slice(&bytes[done..done + piece]);
            done += piece;
        }
    }
}
