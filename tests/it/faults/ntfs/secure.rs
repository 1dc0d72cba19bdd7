//! Security descriptors.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault};
use crate::support::surgeon::{Node, entries, int, kind};

/// What follows from an entry of $SDS that cannot be read.
const INDEXES: &[Rule] = &[Rule::SecurityIdIndex, Rule::SecurityHashIndex];
const LOST: &[Rule] = &[
    Rule::SecurityIdIndex,
    Rule::SecurityHashIndex,
    Rule::SecurityId,
    Rule::SecurityHash,
    Rule::SecurityDescriptor,
    Rule::SecurityMirror,
];

/// A security id that a file alone has.
fn id(volume: &Surgeon) -> u32 {
    volume.security_id(volume.find(r"secured\file 050"))
}

/// Changes bytes of the descriptor of that id, in both copies.
fn descriptor(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let start = volume.sds_at(id(volume));
    volume.patch_sds(start + 20 + at, bytes);
    Where::Record(9)
}

/// Changes bytes of the descriptor that a reserved record has of its own.
fn own(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    volume.patch(12, kind::SECURITY_DESCRIPTOR, "", at, bytes);
    Where::Record(12)
}

/// Changes the header of an entry of $SDS, and what the indexes say of it.
fn header(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let id = id(volume);
    let start = volume.sds_at(id);
    volume.patch_sds_indexes(id, at, bytes);
    volume.patch_sds(start + at, bytes);
    Where::Record(9)
}

/// Moves an entry of $SDS half a unit of its alignment on, and says so wherever its place is told.
fn misalign(volume: &mut Surgeon) -> Where {
    let id = id(volume);
    let start = volume.sds_at(id);
    let stream = volume.value(9, kind::DATA, "$SDS");
    let len = int(&stream, start + 16, 4) as usize;
    let mut moved = [&[0; 8], &stream[start..start + len]].concat();
    let place = (start as u64 + 8).to_le_bytes();
    moved[16..24].copy_from_slice(&place);
    volume.patch_sds(start, &moved);
    volume.patch_sds_indexes(id, 8, &place);
    Where::Record(9)
}

/// An entry in a leaf of an index of $Secure.
fn leaf_entry(volume: &Surgeon, index: &'static str) -> crate::support::surgeon::Entry {
    let leaf = volume.leaves(9, index)[1];
    volume.entry_of(9, index, Node::Block(leaf), 3)
}

/// Adds an entry for a descriptor that is not there, in the last leaf.
fn extra(volume: &mut Surgeon, index: &'static str) -> Where {
    // The leaf with the highest key is the one whose block has room and no successor.
    let highest = |leaf: &usize| {
        let node = volume.node(9, index, Node::Block(*leaf));
        let ranges = entries(&node);
        int(&node, ranges[ranges.len() - 2].start + 16, 4)
    };
    let leaf = volume.leaves(9, index).into_iter().max_by_key(highest).unwrap();
    let last = entries(&volume.node(9, index, Node::Block(leaf))).len() - 2;
    let mut new = volume.entry_bytes(&volume.entry_of(9, index, Node::Block(leaf), last));
    let data = int(&new, 0, 2) as usize;
    let id_at = int(&new, 10, 2) as usize + 16 - 4;
    for at in [16, id_at, data, data + 4] {
        new[at..at + 4].copy_from_slice(&[0xF0, 0xFF, 0xFF, 0xFF]);
    }
    let end = volume.end_entry(9, index, Node::Block(leaf));
    volume.insert_entry(&end, &new);
    Where::Record(9)
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::SecurityStream, "an entry between two boundaries", misalign).also(LOST),
    fault(Rule::SecurityStream, "longer than its entries", |v| {
        let size = v.size(9, kind::DATA, "$SDS");
        for at in [48, 56] {
            v.set_field(9, kind::DATA, "$SDS", at, 8, size + 64);
        }
        Where::Record(9)
    }),
    fault(Rule::SecurityStream, "another place of its own", |v| header(v, 8, &[0x77])),
    fault(Rule::SecurityStream, "an entry of no length", |v| header(v, 16, &[0; 4])).also(LOST),
    fault(Rule::SecurityStream, "an entry past the end", |v| header(v, 16, &[0xFF, 0xFF, 0xFF, 0x7F])).also(LOST),
    fault(Rule::SecurityStream, "an entry that crosses a block", |v| header(v, 16, &0x4_0001u32.to_le_bytes()))
        .also(LOST),
    fault(Rule::SecurityStream, "an id twice", |v| {
        let other = v.security_id(v.find(r"secured\file 051"));
        let start = v.sds_at(id(v));
        v.patch_sds(start + 4, &other.to_le_bytes());
        Where::Record(9)
    })
    .also(&[Rule::SecurityIdIndex, Rule::SecurityHashIndex, Rule::SecurityId]),
    fault(Rule::SecurityMirror, "of a header", |v| {
        let start = v.sds_at(id(v));
        v.patch_sds_copy(start, &[0xAB, 0xCD]);
        Where::Record(9)
    }),
    fault(Rule::SecurityMirror, "of a descriptor", |v| {
        let start = v.sds_at(id(v));
        v.patch_sds_copy(start + 20 + 30, &[0xAB]);
        Where::Record(9)
    }),
    fault(Rule::SecurityMirror, "in the second pair of blocks", |v| {
        let start = v.sds_at(v.security_id(v.find(r"secured\large 005")));
        assert!(start >= 0x8_0000, "at {start:#x}");
        v.patch_sds_copy(start + 50_000, &[0xAB]);
        Where::Record(9)
    }),
    fault(Rule::SecurityHash, "another mask", |v| descriptor(v, 20 + 8 + 4, &[0xAA])),
    fault(Rule::SecurityHash, "another mask in the second pair of blocks", |v| {
        let start = v.sds_at(v.security_id(v.find(r"secured\large 005")));
        v.patch_sds(start + 20 + 20 + 8 + 24 * 2000 + 4, &[0xAA]);
        Where::Record(9)
    }),
    fault(Rule::SecurityHash, "another hash", |v| {
        let start = v.sds_at(id(v));
        v.patch_sds(start, &[0x12, 0x34]);
        Where::Record(9)
    })
    .also(INDEXES),
    fault(Rule::SecurityIdIndex, "no entry", |v| {
        let entry = leaf_entry(v, "$SII");
        v.remove_entry(&entry);
        Where::Record(9)
    }),
    fault(Rule::SecurityIdIndex, "another place", |v| {
        let entry = leaf_entry(v, "$SII");
        v.patch_entry_at(&entry, 20 + 8, &[0x70]);
        Where::Record(9)
    }),
    fault(Rule::SecurityIdIndex, "an entry of no descriptor", |v| extra(v, "$SII")),
    fault(Rule::SecurityHashIndex, "no entry", |v| {
        let entry = leaf_entry(v, "$SDH");
        v.remove_entry(&entry);
        Where::Record(9)
    }),
    fault(Rule::SecurityHashIndex, "another length", |v| {
        let entry = leaf_entry(v, "$SDH");
        v.patch_entry_at(&entry, 24 + 16, &[1]);
        Where::Record(9)
    }),
    fault(Rule::SecurityHashIndex, "an entry of no descriptor", |v| extra(v, "$SDH")),
    fault(Rule::SecurityId, "unknown", |v| {
        let record = super::only(v);
        v.patch(record, kind::STANDARD_INFORMATION, "", 52, &0x9999u32.to_le_bytes());
        Where::Record(record)
    }),
    fault(Rule::SecurityId, "none", |v| {
        let record = super::only(v);
        v.patch(record, kind::STANDARD_INFORMATION, "", 52, &[0; 4]);
        Where::Record(record)
    }),
    fault(Rule::SecurityDescriptor, "another revision", |v| own(v, 0, &[2])),
    fault(Rule::SecurityDescriptor, "absolute", |v| own(v, 3, &[0])),
    fault(Rule::SecurityDescriptor, "an owner past the end", |v| own(v, 4, &[0xFF, 0xFF])),
    fault(Rule::SecurityDescriptor, "a list past the end", |v| own(v, 16, &[0xFF, 0xFF])),
    fault(Rule::SecurityDescriptor, "a list that is too long", |v| {
        let list = int(&v.value(12, kind::SECURITY_DESCRIPTOR, ""), 16, 4) as usize;
        own(v, list + 2, &[0xFF, 0x7F])
    }),
    fault(Rule::SecurityDescriptor, "more entries than there are", |v| {
        let list = int(&v.value(12, kind::SECURITY_DESCRIPTOR, ""), 16, 4) as usize;
        own(v, list + 4, &[0xFF])
    }),
    fault(Rule::SecurityDescriptor, "a long SID", |v| {
        let owner = int(&v.value(12, kind::SECURITY_DESCRIPTOR, ""), 4, 4) as usize;
        own(v, owner + 1, &[200])
    }),
    fault(Rule::SecurityDescriptor, "in $Secure", |v| descriptor(v, 4, &[0xFF, 0xFF])).also(&[Rule::SecurityHash]),
    fault(Rule::SecurityUnused, "of a file that has another", |v| {
        let (record, other) = (v.find(r"secured\file 050"), v.security_id(v.find(r"secured\file 051")));
        v.patch(record, kind::STANDARD_INFORMATION, "", 52, &other.to_le_bytes());
        Where::Record(9)
    }),
];
