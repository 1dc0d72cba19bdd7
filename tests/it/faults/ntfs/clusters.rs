//! Runs, sizes, and who has which cluster.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault, streams};
use crate::support::surgeon::{Run, int, kind};

const SIZES: &[Rule] = &[Rule::AttributeSizes];

fn runs(volume: &Surgeon) -> Run {
    volume.runs(streams(volume), kind::DATA, "large")[0]
}

/// Gives the stream `large` these mapping pairs; the clusters that it had become free.
fn pairs(volume: &mut Surgeon, pairs: &[u8]) -> Where {
    let (record, (lcn, clusters)) = (streams(volume), runs(volume));
    volume.mark(lcn.unwrap(), clusters, false);
    volume.set_pairs(record, kind::DATA, "large", pairs);
    Where::Record(record)
}

/// Changes a size in the header of the stream `large`.
fn size(volume: &mut Surgeon, at: usize, change: impl Fn(&Surgeon, u64) -> u64) -> Where {
    let record = streams(volume);
    let old = int(&volume.attribute(record, kind::DATA, "large").raw, at, 8);
    let new = change(volume, old);
    volume.set_field(record, kind::DATA, "large", at, 8, new);
    Where::Record(record)
}

fn plain(volume: &Surgeon) -> (u64, u64) {
    let record = volume.find("plain.bin");
    (record, volume.runs(record, kind::DATA, "")[0].0.unwrap())
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::Runs, "past the end of the volume", |v| {
        let (clusters, (_, len)) = (v.clusters(), runs(v));
        let lcn = (clusters + 5).to_le_bytes();
        pairs(v, &[&[0x41, len as u8][..], &lcn[..4], &[0]].concat())
    })
    .also(SIZES),
    fault(Rule::Runs, "before the start of the volume", |v| {
        let (_, len) = runs(v);
        pairs(v, &[0x11, len as u8, 0x80, 0])
    })
    .also(SIZES),
    fault(Rule::Runs, "lengths of 15 bytes", |v| pairs(v, &[0xFF, 1, 2, 3, 0])).also(SIZES),
    fault(Rule::Runs, "a run of no clusters", |v| pairs(v, &[0x11, 0, 5, 0])).also(SIZES),
    fault(Rule::Runs, "a run of fewer than no clusters", |v| pairs(v, &[0x11, 0xF0, 5, 0])).also(SIZES),
    fault(Rule::Runs, "no runs", |v| pairs(v, &[0])).also(SIZES),
    fault(Rule::Runs, "no end", |v| {
        let (lcn, len) = runs(v);
        let lcn = lcn.unwrap().to_le_bytes();
        // Seven bytes and a run that begins in the eighth.
        let bytes = [&[0x51, len as u8][..], &lcn[..5], &[0x11]].concat();
        v.set_pairs(streams(v), kind::DATA, "large", &bytes);
        Where::Record(streams(v))
    })
    .also(&[Rule::AttributeSizes, Rule::ClusterLeak]),
    fault(Rule::Runs, "a higher last VCN", |v| size(v, 24, |_, vcn| vcn + 1)).also(SIZES),
    fault(Rule::Runs, "a lower last VCN", |v| size(v, 24, |_, vcn| vcn.wrapping_sub(1))).also(SIZES),
    fault(Rule::Runs, "the last VCN is negative", |v| size(v, 24, |_, _| u64::MAX - 1)).also(SIZES),
    fault(Rule::Runs, "a first VCN other than 0", |v| size(v, 16, |_, _| 1)).also(&[
        Rule::AttributeSizes,
        Rule::AttributeKind,
        Rule::AttributeList,
        Rule::ClusterLeak,
    ]),
    fault(Rule::AttributeSizes, "larger than allocated", |v| size(v, 48, |v, size| size + v.cluster as u64 * 2)),
    fault(Rule::AttributeSizes, "more initialised than there is", |v| size(v, 56, |_, size| size + 1)),
    fault(Rule::AttributeSizes, "more allocated than runs hold", |v| size(v, 40, |v, size| size + v.cluster as u64)),
    fault(Rule::AttributeSizes, "less allocated than runs hold", |v| size(v, 40, |_, size| size - 512)),
    fault(Rule::AttributeSizes, "not a size", |v| size(v, 48, |_, _| u64::MAX)),
    fault(Rule::AttributeSizes, "another total of a sparse stream", |v| {
        let record = v.find("sparse");
        v.set_field(record, kind::DATA, "", 64, 8, 65_536);
        Where::Record(record)
    })
    .also(&[Rule::EntrySizes]),
    fault(Rule::SharedCluster, "of two files", |v| {
        let ((plain, lcn), (own, len)) = (plain(v), runs(v));
        let record = streams(v);
        let mut runs = vec![(Some(lcn), 1), (own.map(|own| own + 1), len - 1)];
        runs.retain(|run| run.1 > 0);
        v.set_runs(record, kind::DATA, "large", &runs);
        Where::Records(vec![plain, record])
    }),
    fault(Rule::SharedCluster, "within a file", |v| {
        let (record, (own, len)) = (streams(v), runs(v));
        let own = own.unwrap();
        let runs =
            if len == 1 { vec![(Some(own), 1), (Some(own), 1)] } else { vec![(Some(own), len - 1), (Some(own), 1)] };
        v.set_runs(record, kind::DATA, "large", &runs);
        if len == 1 {
            v.set_field(record, kind::DATA, "large", 24, 8, 1);
            v.set_field(record, kind::DATA, "large", 40, 8, 2 * v.cluster as u64);
        }
        Where::Record(record)
    }),
    fault(Rule::SharedCluster, "of a file and $MFT", |v| {
        let (record, (own, len)) = (streams(v), runs(v));
        let lcn = int(&v.bytes, 0x30, 8);
        let mut runs = vec![(Some(lcn), 1), (own.map(|own| own + 1), len - 1)];
        runs.retain(|run| run.1 > 0);
        v.set_runs(record, kind::DATA, "large", &runs);
        Where::Records(vec![0, record])
    }),
    fault(Rule::ClusterBitmap, "a cluster of a file is free", |v| {
        let (record, lcn) = plain(v);
        v.set_bit(6, kind::DATA, "", lcn, false);
        Where::Any(vec![Where::Records(vec![6, record]), Where::Offset(lcn * v.cluster as u64, v.cluster as u64)])
    }),
    fault(Rule::ClusterBitmap, "the boot sector is free", |v| {
        v.set_bit(6, kind::DATA, "", 0, false);
        Where::Any(vec![Where::Records(vec![6, 7]), Where::Offset(0, v.cluster as u64)])
    }),
    fault(Rule::ClusterLeak, "a cluster of nobody", |v| {
        let lcn = v.free_clusters(1);
        v.set_bit(6, kind::DATA, "", lcn, true);
        Where::Any(vec![Where::Record(6), Where::Offset(lcn * v.cluster as u64, v.cluster as u64)])
    }),
    fault(Rule::BitmapTail, "a bit after the last cluster", |v| {
        let clusters = v.clusters();
        v.set_bit(6, kind::DATA, "", clusters, false);
        Where::Record(6)
    }),
    fault(Rule::BitmapTail, "the last bit of all", |v| {
        let last = v.clusters().next_multiple_of(64) - 1;
        v.set_bit(6, kind::DATA, "", last, false);
        Where::Record(6)
    }),
    fault(Rule::BitmapTail, "too few bits", |v| {
        let size = v.size(6, kind::DATA, "") - 8;
        v.set_field(6, kind::DATA, "", 48, 8, size);
        v.set_field(6, kind::DATA, "", 56, 8, size);
        Where::Record(6)
    })
    .also(&[Rule::EntrySizes, Rule::ClusterBitmap]),
];

fn fragmented(volume: &Surgeon) -> u64 {
    volume.find("fragmented")
}

/// Faults in a file that ntfs-3g wrote in many pieces.
pub(super) const FRAGMENTED: Faults = &[
    fault(Rule::SharedCluster, "a piece of a file with many", |v| {
        let record = fragmented(v);
        let runs = v.runs(record, kind::DATA, "");
        assert!(runs.len() > 10, "{} pieces", runs.len());
        let other = v.find("gap 0");
        let (lcn, clusters) = v.runs(other, kind::DATA, "")[0];
        assert!(clusters > 1);
        let stolen = runs[3].0.unwrap();
        v.set_runs(other, kind::DATA, "", &[(Some(stolen), 1), (lcn.map(|lcn| lcn + 1), clusters - 1)]);
        Where::Records(vec![record, other])
    }),
    fault(Rule::ClusterBitmap, "a piece of a file with many", |v| {
        let record = fragmented(v);
        let lcn = v.runs(record, kind::DATA, "")[5].0.unwrap();
        v.set_bit(6, kind::DATA, "", lcn, false);
        Where::Any(vec![Where::Records(vec![6, record]), Where::Offset(lcn * v.cluster as u64, v.cluster as u64)])
    }),
];
