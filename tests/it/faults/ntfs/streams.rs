//! Sparse and compressed streams.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault};
use crate::faults::volumes::{WOF_CHUNK, WOF_LEN};
use crate::support::surgeon::{int, kind};

const SPARSE: u32 = 0x200;
const COMPRESSED_FILE: u32 = 0x800;
const WOF: &str = "WofCompressedData";

fn overlay(volume: &Surgeon) -> u64 {
    volume.find("overlay.txt")
}

/// Changes the compressed stream of a file of the overlay filter.
fn chunk(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let record = overlay(volume);
    volume.patch(record, kind::DATA, WOF, at, bytes);
    Where::Record(record)
}

/// Changes the reparse point of that file.
fn provider(volume: &mut Surgeon, word: usize, value: u8) -> Where {
    let record = overlay(volume);
    volume.patch(record, kind::REPARSE_POINT, "", 8 + 4 * word, &[value]);
    Where::Record(record)
}

fn attributes(volume: &mut Surgeon, path: &str, change: impl Fn(u32) -> u32) -> Where {
    let record = volume.find(path);
    volume.set_file_attributes(record, change);
    Where::Record(record)
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::WofStream, "chunks out of order", |v| chunk(v, 0, &[0xFF, 0x70])),
    fault(Rule::WofStream, "a chunk past the end", |v| chunk(v, 8, &[0xFF, 0xFF, 0xFF, 0x7F])),
    fault(Rule::WofStream, "codes that are none", |v| {
        let chunks = WOF_LEN.div_ceil(WOF_CHUNK);
        chunk(v, 4 * (chunks - 1), &[0xFF; 256])
    }),
    fault(Rule::WofStream, "a stream without an end", |v| {
        let record = overlay(v);
        let old = v.size(record, kind::DATA, WOF);
        for at in [48, 56] {
            v.set_field(record, kind::DATA, WOF, at, 8, old - 100);
        }
        Where::Record(record)
    }),
    fault(Rule::WofStream, "no stream", |v| {
        let record = overlay(v);
        for (lcn, clusters) in v.runs(record, kind::DATA, WOF) {
            v.mark(lcn.unwrap(), clusters, false);
        }
        v.remove(record, kind::DATA, WOF);
        Where::Record(record)
    }),
    fault(Rule::WofStream, "an unknown algorithm", |v| provider(v, 3, 9)),
    fault(Rule::WofStream, "another version", |v| provider(v, 0, 7)),
    fault(Rule::WofStream, "an unknown provider", |v| provider(v, 1, 9)),
    fault(Rule::SparseFlag, "a sparse stream that the file does not admit", |v| {
        attributes(v, "sparse", |old| old & !SPARSE)
    }),
    fault(Rule::SparseFlag, "sparse without a sparse stream", |v| attributes(v, r"deep\er\only", |old| old | SPARSE)),
];

/// Faults in files that ntfs-3g compressed.
pub(super) const COMPRESSED: Faults = &[
    fault(Rule::CompressedStream, "a chunk without a signature", |v| lznt1(v, 0, &[0x10, 0x80])),
    fault(Rule::CompressedStream, "a match before the start", |v| lznt1(v, 2, &[0xFF, 0xFF, 0xFF])),
    fault(Rule::SparseFlag, "a compressed stream that the file does not admit", |v| {
        attributes(v, r"compressed\text", |old| old & !COMPRESSED_FILE)
    }),
    fault(Rule::AttributeSizes, "another total of a compressed stream", |v| {
        let record = v.find(r"compressed\text");
        let attribute = v.attribute(record, kind::DATA, "");
        let total = int(&attribute.raw, 64, 8);
        v.set_field(record, kind::DATA, "", 64, 8, total + v.cluster as u64);
        Where::Record(record)
    })
    .also(&[Rule::EntrySizes]),
    fault(Rule::AttributeSizes, "an unknown unit of compression", |v| {
        let record = v.find(r"compressed\text");
        v.set_field(record, kind::DATA, "", 34, 1, 9);
        Where::Record(record)
    })
    .also(&[Rule::CompressedStream]),
];

/// The first compressed unit of a file: its record, and where it is.
fn unit(volume: &Surgeon) -> (u64, u64) {
    let record = volume.find(r"compressed\text");
    let attribute = volume.attribute(record, kind::DATA, "");
    assert_eq!(int(&attribute.raw, 12, 2), 1, "not compressed");
    let (lcn, clusters) = volume.runs(record, kind::DATA, "")[0];
    assert!(clusters < 16, "the first unit is not compressed");
    (record, lcn.unwrap())
}

/// Changes bytes of the first compressed unit of a file.
fn lznt1(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let (record, lcn) = unit(volume);
    let start = lcn as usize * volume.cluster + at;
    volume.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    Where::Record(record)
}
