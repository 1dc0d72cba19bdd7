//! FILE records, their headers, and the attributes in them.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault, linked, only, streams};
use crate::support::surgeon::{Attribute, int, kind, put};

/// What follows from a record that cannot be read: its names are lost.
const LOST: &[Rule] = &[Rule::IndexReference, Rule::MftBitmap];
/// What follows when the attributes of a record cannot be told.
const NO_ATTRIBUTES: &[Rule] =
    &[Rule::IndexReference, Rule::AttributeHeader, Rule::StandardInformation, Rule::AttributeKind, Rule::LinkCount];

/// Changes a field in the header of a plain file's record.
fn header(volume: &mut Surgeon, at: usize, len: usize, change: impl Fn(u64) -> u64) -> Where {
    let record = only(volume);
    let old = int(&volume.record(record), at, len);
    volume.set(record, at, len, change(old));
    Where::Record(record)
}

/// Changes a plain file's record as it lies on the volume.
fn raw(volume: &mut Surgeon, change: impl Fn(&mut [u8])) -> Where {
    let record = only(volume);
    let mut raw = volume.raw_record(record);
    change(&mut raw);
    volume.put_raw_record(record, &raw);
    Where::Record(record)
}

/// Changes a field in the header of the stream `first`, which is resident.
fn stream(volume: &mut Surgeon, name: &str, at: usize, len: usize, value: u64) -> Where {
    let record = streams(volume);
    volume.set_field(record, kind::DATA, name, at, len, value);
    Where::Record(record)
}

/// Puts two attributes of a record in each other's place.
fn swap(volume: &mut Surgeon, one: &Attribute, other: &Attribute) -> Where {
    assert_eq!(one.holder, other.holder);
    volume.edit(one.holder, |record| {
        let between = record[one.at + one.raw.len()..other.at].to_vec();
        let new = [&other.raw[..], &between, &one.raw].concat();
        record[one.at..one.at + new.len()].copy_from_slice(&new);
    });
    Where::Record(one.holder)
}

/// Puts the value of a resident attribute into a cluster.
fn move_out(volume: &mut Surgeon, base: u64, kind: u32) -> Where {
    let value = volume.value(base, kind, "");
    let old = volume.attribute(base, kind, "");
    let lcn = volume.free_clusters(1);
    let at = lcn as usize * volume.cluster;
    volume.bytes[at..at + value.len()].copy_from_slice(&value);
    volume.mark(lcn, 1, true);
    let mut raw = old.raw[..16].to_vec();
    raw.resize(64, 0);
    let fields =
        [(8, 1, 1), (10, 2, 64), (32, 2, 64), (40, 8, volume.cluster), (48, 8, value.len()), (56, 8, value.len())];
    for (at, len, value) in fields {
        put(&mut raw, at, len, value as u64);
    }
    let mut pairs = vec![0x41, 1];
    pairs.extend((lcn as u32).to_le_bytes());
    pairs.resize(8, 0);
    raw.extend(pairs);
    put(&mut raw, 4, 4, 72);
    volume.replace(&old, &raw);
    Where::Record(base)
}

/// Changes a byte or two of the attribute list of the file with many names: of its entry number `entry`.
fn list(volume: &mut Surgeon, entry: usize, at: usize, bytes: &[u8]) -> Where {
    let record = linked(volume);
    let value = volume.value(record, kind::ATTRIBUTE_LIST, "");
    let mut start = 0;
    for _ in 0..entry {
        start += int(&value, start + 4, 2) as usize;
    }
    volume.patch(record, kind::ATTRIBUTE_LIST, "", start + at, bytes);
    Where::Record(record)
}

/// The first record that extends the file with many names.
fn extent(volume: &Surgeon) -> (u64, Where) {
    let holders = volume.holders(linked(volume));
    (holders[1], Where::Records(holders))
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::Fixup, "a torn stride", |v| raw(v, |raw| raw[510] ^= 1)).also(LOST),
    fault(Rule::Fixup, "a torn last stride", |v| raw(v, |raw| *raw.last_mut().unwrap() ^= 1)).also(LOST),
    fault(Rule::Fixup, "an update sequence in another place", |v| raw(v, |raw| raw[4] = 0x31)).also(LOST),
    fault(Rule::Fixup, "an update sequence past the end", |v| raw(v, |raw| raw[4..6].fill(0xFF))).also(LOST),
    fault(Rule::Fixup, "a short update sequence", |v| raw(v, |raw| raw[6] = 2)).also(LOST),
    fault(Rule::RecordMagic, "BAAD", |v| raw(v, |raw| raw[..4].copy_from_slice(b"BAAD"))).also(LOST),
    fault(Rule::MftBitmap, "a record of zeros is marked", |v| {
        raw(v, |raw| raw.fill(0));
        Where::Records(vec![0, only(v)])
    })
    .also(&[Rule::IndexReference, Rule::RecordMagic]),
    fault(Rule::RecordHeader, "attributes in the update sequence", |v| header(v, 20, 2, |_| 0x30)).also(NO_ATTRIBUTES),
    fault(Rule::RecordHeader, "attributes past the end", |v| header(v, 20, 2, |_| 0xFFF8)).also(NO_ATTRIBUTES),
    fault(Rule::RecordHeader, "attributes at an odd place", |v| header(v, 20, 2, |at| at + 1)).also(NO_ATTRIBUTES),
    fault(Rule::RecordHeader, "more used than there is", |v| header(v, 24, 4, |used| used + 8)),
    fault(Rule::RecordHeader, "less used than there is", |v| header(v, 24, 4, |used| used - 8)).also(NO_ATTRIBUTES),
    fault(Rule::RecordHeader, "more used than allocated", |v| header(v, 24, 4, |_| 0x2000)).also(NO_ATTRIBUTES),
    fault(Rule::RecordHeader, "another allocated length", |v| header(v, 28, 4, |len| 2 * len)),
    fault(Rule::RecordHeader, "no end marker", |v| {
        let record = only(v);
        v.edit(record, |record| {
            let used = int(record, 24, 4) as usize;
            record[used - 8..used].fill(0);
        });
        Where::Record(record)
    })
    .also(NO_ATTRIBUTES),
    fault(Rule::RecordNumber, "low half", |v| header(v, 44, 4, |number| number + 1)),
    fault(Rule::RecordNumber, "high half", |v| header(v, 42, 2, |_| 1)),
    fault(Rule::RecordSequence, "zero", |v| header(v, 16, 2, |_| 0)).also(&[Rule::IndexReference, Rule::NotIndexed]),
    fault(Rule::RecordSequence, "$Boot's", |v| {
        v.set(7, 16, 2, 8);
        Where::Record(7)
    })
    .also(&[Rule::IndexReference, Rule::NotIndexed, Rule::SystemFile]),
    fault(Rule::RecordFlags, "a directory that is none", |v| header(v, 22, 2, |flags| flags | 2)).also(&[
        Rule::EntryFlags,
        Rule::IndexRoot,
        Rule::AttributeKind,
    ]),
    fault(Rule::RecordFlags, "none, but a directory", |v| {
        let record = v.find("empty");
        v.set(record, 22, 2, 1);
        Where::Record(record)
    })
    .also(&[Rule::EntryFlags, Rule::AttributeKind]),
    fault(Rule::RecordFlags, "no view index in $Secure", |v| {
        v.set(9, 22, 2, 1);
        Where::Record(9)
    })
    .also(&[Rule::SystemFile]),
    fault(Rule::NextInstance, "below those in use", |v| header(v, 40, 2, |_| 1)),
    fault(Rule::NextInstance, "an instance twice", |v| {
        let record = only(v);
        let instance = int(&v.attribute(record, kind::STANDARD_INFORMATION, "").raw, 14, 2);
        v.set_field(record, kind::DATA, "", 14, 2, instance);
        Where::Record(record)
    }),
    fault(Rule::LinkCount, "one more", |v| header(v, 18, 2, |links| links + 1)),
    fault(Rule::LinkCount, "without the short name", |v| {
        let record = v.find(r"pair\LONGNA~1.TXT");
        v.set(record, 18, 2, 1);
        Where::Record(record)
    }),
    fault(Rule::LinkCount, "none", |v| header(v, 18, 2, |_| 0)),
    fault(Rule::ExtentRecord, "of another file", |v| {
        let (extent, place) = extent(v);
        let other = v.reference(only(v));
        v.set(extent, 32, 8, other);
        place
    })
    .also(&[Rule::AttributeList]),
    fault(Rule::ExtentRecord, "of an earlier use of the base record", |v| {
        let (extent, place) = extent(v);
        v.set(extent, 32 + 6, 2, 7);
        place
    })
    .also(&[Rule::AttributeList]),
    fault(Rule::ExtentRecord, "that its base does not know", |v| {
        let (record, base) = (v.free_record(), v.reference(linked(v)));
        v.make_record(record, base, &[]);
        Where::Record(record)
    })
    .also(&[Rule::AttributeList]),
    fault(Rule::ExtentRecord, "of a file without attribute list", |v| {
        let (record, base) = (v.free_record(), v.reference(only(v)));
        v.make_record(record, base, &[]);
        Where::Record(record)
    }),
    fault(Rule::ExtentRecord, "of a free record", |v| {
        let record = v.free_record();
        v.make_record(record, 1 << 48 | (record + 1), &[]);
        Where::Record(record)
    }),
    fault(Rule::AttributeHeader, "an odd length", |v| {
        let record = streams(v);
        let len = v.attribute(record, kind::DATA, "first").raw.len() as u64;
        stream(v, "first", 4, 4, len + 4)
    })
    .also(&[Rule::RecordHeader, Rule::EntrySizes, Rule::ClusterLeak, Rule::AttributeKind]),
    fault(Rule::AttributeHeader, "no length", |v| stream(v, "first", 4, 4, 0))
        .also(&[Rule::RecordHeader, Rule::ClusterLeak]),
    fault(Rule::AttributeHeader, "longer than the record", |v| stream(v, "second", 4, 4, 0x1_0000))
        .also(&[Rule::RecordHeader]),
    fault(Rule::AttributeHeader, "neither resident nor not", |v| stream(v, "first", 8, 1, 2)),
    fault(Rule::AttributeHeader, "a name past the end", |v| stream(v, "second", 10, 2, 0x300)),
    fault(Rule::AttributeHeader, "a value past the end", |v| stream(v, "second", 20, 2, 0x300)),
    fault(Rule::AttributeHeader, "a value that is too long", |v| stream(v, "second", 16, 4, 0x300)),
    fault(Rule::AttributeHeader, "a value over the name", |v| stream(v, "second", 20, 2, 24)),
    fault(Rule::AttributeHeader, "unknown flags", |v| stream(v, "second", 12, 2, 0x0100)),
    fault(Rule::AttributeHeader, "an indexed stream", |v| stream(v, "second", 22, 1, 1)),
    fault(Rule::AttributeHeader, "a name that is not indexed", |v| {
        let record = only(v);
        v.set_field(record, kind::FILE_NAME, "", 22, 1, 0);
        Where::Record(record)
    }),
    fault(Rule::AttributeHeader, "runs past the end", |v| stream(v, "large", 32, 2, 0x300)).also(&[
        Rule::Runs,
        Rule::ClusterLeak,
        Rule::AttributeSizes,
    ]),
    fault(Rule::AttributeOrder, "streams", |v| {
        let record = streams(v);
        let (one, other) = (v.attribute(record, kind::DATA, "first"), v.attribute(record, kind::DATA, "second"));
        swap(v, &one, &other)
    }),
    fault(Rule::AttributeOrder, "types", |v| {
        let record = only(v);
        let (one, other) = (v.attribute(record, kind::FILE_NAME, ""), v.attribute(record, kind::DATA, ""));
        swap(v, &one, &other)
    }),
    fault(Rule::AttributeKind, "an unknown type", |v| stream(v, "second", 0, 4, 0x88)),
    fault(Rule::AttributeKind, "two main streams", |v| stream(v, "first", 9, 1, 0)).also(&[Rule::EntrySizes]),
    fault(Rule::AttributeKind, "a file without a main stream", |v| {
        let record = v.find("object one");
        v.remove(record, kind::DATA, "");
        Where::Record(record)
    })
    .also(&[Rule::EntrySizes]),
    fault(Rule::AttributeKind, "a long $VOLUME_INFORMATION", |v| {
        v.set_value(3, kind::VOLUME_INFORMATION, "", &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0]);
        Where::Record(3)
    })
    .also(&[Rule::VolumeInformation]),
    fault(Rule::AttributeKind, "a long object id", |v| {
        let record = v.find("object two");
        let value = [&v.value(record, kind::OBJECT_ID, "")[..], &[0; 0x100]].concat();
        v.set_value(record, kind::OBJECT_ID, "", &value);
        Where::Record(record)
    })
    .also(&[Rule::ObjectId]),
    fault(Rule::AttributeKind, "an object id that is not resident", |v| {
        let record = v.find("object one");
        move_out(v, record, kind::OBJECT_ID)
    })
    .also(&[Rule::ObjectId]),
    fault(Rule::FileName, "none", |v| {
        let record = only(v);
        v.remove(record, kind::FILE_NAME, "");
        v.set(record, 18, 2, 0);
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::Unreachable, Rule::AttributeKind, Rule::LinkCount]),
    fault(Rule::AttributeList, "another instance", |v| list(v, 5, 24, &[0x77, 0])),
    fault(Rule::AttributeList, "another type", |v| list(v, 1, 0, &[0x40])),
    fault(Rule::AttributeList, "another record", |v| {
        let other = v.reference(only(v)).to_le_bytes();
        list(v, 5, 16, &other)
    })
    .also(&[Rule::ExtentRecord]),
    fault(Rule::AttributeList, "another use of the record", |v| list(v, 5, 16 + 6, &[9, 0]))
        .also(&[Rule::ExtentRecord]),
    fault(Rule::AttributeList, "another VCN", |v| list(v, 5, 8, &[1])),
    fault(Rule::AttributeList, "an entry of no length", |v| list(v, 5, 4, &[0, 0])).also(&[Rule::ExtentRecord]),
    fault(Rule::AttributeList, "a name in another place", |v| list(v, 5, 7, &[200])),
    fault(Rule::AttributeList, "one entry less", |v| {
        let record = linked(v);
        let size = v.size(record, kind::ATTRIBUTE_LIST, "") - 32; // that of $DATA, which has no name
        v.set_field(record, kind::ATTRIBUTE_LIST, "", 48, 8, size);
        v.set_field(record, kind::ATTRIBUTE_LIST, "", 56, 8, size);
        Where::Record(record)
    }),
    fault(Rule::AttributeList, "entries out of order", |v| {
        let record = v.find("many streams");
        let value = v.value(record, kind::ATTRIBUTE_LIST, "");
        let mut entries = Vec::new();
        let mut at = 0;
        while at < value.len() {
            let len = int(&value, at + 4, 2) as usize;
            entries.push(value[at..at + len].to_vec());
            at += len;
        }
        let named = entries.iter().position(|entry| entry[6] > 0).unwrap();
        entries.swap(named + 3, named + 5);
        v.patch(record, kind::ATTRIBUTE_LIST, "", 0, &entries.concat());
        Where::Record(record)
    }),
];
