//! The B+trees.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault};
use crate::support::surgeon::{Node, Run, entries, int, kind, put};

/// What is lost with a part of an index.
const LOST: &[Rule] = &[Rule::NotIndexed, Rule::Unreachable];
/// What follows from a tree that hangs together in another way.
const TORN: &[Rule] = &[
    Rule::NotIndexed,
    Rule::Unreachable,
    Rule::IndexOrder,
    Rule::IndexBitmap,
    Rule::IndexReference,
    Rule::DuplicateName,
];

const I30: &str = "$I30";
/// Where the header of a node is in a block.
const NODE: usize = 24;

fn many(volume: &Surgeon) -> u64 {
    volume.find("many")
}

/// Changes a field in the head of an index.
fn root(volume: &mut Surgeon, at: usize, len: usize, value: u64) -> Where {
    let record = many(volume);
    volume.patch(record, kind::INDEX_ROOT, I30, at, &value.to_le_bytes()[..len]);
    Where::Record(record)
}

/// Changes the second leaf of a directory.
fn leaf(volume: &mut Surgeon, change: impl FnOnce(&mut [u8])) -> Where {
    let record = many(volume);
    let leaf = volume.leaves(record, I30)[1];
    volume.edit_block(record, I30, leaf, change);
    Where::Record(record)
}

/// Changes that leaf as it lies on the volume.
fn raw_leaf(volume: &mut Surgeon, change: impl FnOnce(&mut [u8])) -> Where {
    let record = many(volume);
    let leaf = volume.leaves(record, I30)[1];
    let mut raw = volume.raw_block(record, I30, leaf);
    change(&mut raw);
    volume.put_raw_block(record, I30, leaf, &raw);
    Where::Record(record)
}

/// Changes entry number `entry` of that leaf; from the end if negative.
fn leaf_entry(volume: &mut Surgeon, entry: isize, change: impl FnOnce(&mut [u8])) -> Where {
    leaf(volume, |block| {
        let ranges = entries(&block[NODE..]);
        let entry = usize::try_from(entry).unwrap_or_else(|_| ranges.len().wrapping_add_signed(entry));
        change(&mut block[NODE..][ranges[entry].clone()]);
    })
}

/// Puts two neighbours in each other's place that are of one length.
fn swap(volume: &mut Surgeon, record: u64, index: &'static str, node: Node, at: usize) -> Where {
    let (one, other) = (volume.entry_of(record, index, node, at), volume.entry_of(record, index, node, at + 1));
    let (a, b) = (volume.entry_bytes(&one), volume.entry_bytes(&other));
    assert_eq!(a.len(), b.len());
    volume.patch_entry_at(&one, 0, &b);
    volume.patch_entry_at(&other, 0, &a);
    Where::Record(record)
}

/// A node above the leaves that has at least two entries with a key.
fn inner(volume: &Surgeon, record: u64) -> Node {
    let above =
        |node: &Node| !volume.is_leaf(record, I30, *node) && entries(&volume.node(record, I30, *node)).len() > 2;
    volume.nodes(record, I30).into_iter().find(above).expect("an index of two levels")
}

/// Changes an inner node, given the places of its entries.
fn above(volume: &mut Surgeon, change: impl FnOnce(&mut [u8], &[std::ops::Range<usize>])) -> Where {
    let record = many(volume);
    let node = inner(volume, record);
    volume.edit_node(record, I30, node, |node| {
        let ranges = entries(node);
        change(node, &ranges);
    });
    Where::Record(record)
}

/// Adds a block to the end of an index, with this content, and gives its number as a child.
fn grow(volume: &mut Surgeon, record: u64, content: impl FnOnce(u64) -> Vec<u8>) -> u64 {
    const BLOCK: u64 = 4096;
    let attribute = volume.attribute(record, kind::INDEX_ALLOCATION, I30);
    let (allocated, size) = (int(&attribute.raw, 40, 8), int(&attribute.raw, 48, 8));
    if size + BLOCK > allocated {
        let more = BLOCK.div_ceil(volume.cluster as u64);
        let mut runs: Vec<Run> = volume.runs(record, kind::INDEX_ALLOCATION, I30);
        runs.push((Some(volume.free_clusters(more)), more));
        volume.set_runs(record, kind::INDEX_ALLOCATION, I30, &runs);
        let clusters: u64 = runs.iter().map(|run| run.1).sum();
        volume.set_field(record, kind::INDEX_ALLOCATION, I30, 24, 8, clusters - 1);
        volume.set_field(record, kind::INDEX_ALLOCATION, I30, 40, 8, clusters * volume.cluster as u64);
    }
    for at in [48, 56] {
        volume.set_field(record, kind::INDEX_ALLOCATION, I30, at, 8, size + BLOCK);
    }
    let number = size / BLOCK;
    let unit = if volume.cluster > 4096 { 512 } else { volume.cluster as u64 };
    let vcn = size / unit;
    volume.put_raw_block(record, I30, number as usize, &content(vcn));
    volume.set_bit(record, kind::BITMAP, I30, number, true);
    vcn
}

/// An index block that has nothing but the closing entry, and a child.
fn chain(vcn: u64, child: u64) -> Vec<u8> {
    let mut block = vec![0; 4096];
    block[..4].copy_from_slice(b"INDX");
    let fields = [(4, 2, 40), (6, 2, 9), (16, 8, vcn), (24, 4, 40), (28, 4, 64), (32, 4, 4072), (36, 4, 1), (40, 2, 1)];
    for (at, len, value) in fields {
        put(&mut block, at, len, value);
    }
    for (at, len, value) in [(64 + 8, 2, 24), (64 + 12, 2, 3), (64 + 16, 8, child)] {
        put(&mut block, at, len, value);
    }
    for end in (512..=4096).step_by(512) {
        put(&mut block, end - 2, 2, 1);
    }
    block
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::IndexRoot, "of another attribute", |v| root(v, 0, 4, 0)).also(LOST),
    fault(Rule::IndexRoot, "another order", |v| root(v, 4, 4, 0x10)).also(LOST),
    fault(Rule::IndexRoot, "blocks of another length", |v| root(v, 8, 4, 2048)).also(LOST),
    fault(Rule::IndexRoot, "blocks of no length", |v| root(v, 8, 4, 0)).also(LOST),
    fault(Rule::IndexRoot, "blocks of another number of clusters", |v| {
        let old = v.value(many(v), kind::INDEX_ROOT, I30)[12];
        root(v, 12, 1, if old == 8 { 1 } else { 8 })
    })
    .also(LOST),
    fault(Rule::IndexRoot, "the order of a view", |v| {
        v.patch(9, kind::INDEX_ROOT, "$SII", 4, &[0x12]);
        Where::Record(9)
    })
    .also(&[Rule::SecurityIdIndex, Rule::SystemFile]),
    fault(Rule::Fixup, "a torn stride of an index block", |v| raw_leaf(v, |block| block[1022] ^= 1)).also(LOST),
    fault(Rule::Fixup, "an update sequence in another place of an index block", |v| {
        raw_leaf(v, |block| block[4] = 0xFF)
    })
    .also(LOST),
    fault(Rule::IndexBlock, "no INDX", |v| raw_leaf(v, |block| block[3] = b'Y')).also(LOST),
    fault(Rule::IndexBlock, "zeros", |v| raw_leaf(v, |block| block.fill(0))).also(LOST),
    fault(Rule::IndexBlock, "another number", |v| leaf(v, |block| block[16] ^= 1)).also(LOST),
    fault(Rule::IndexBlock, "entries in another place", |v| leaf(v, |block| block[NODE] += 4)).also(LOST),
    fault(Rule::IndexBlock, "entries past the end", |v| leaf(v, |block| put(block, NODE, 4, 0x2000))).also(LOST),
    fault(Rule::IndexBlock, "more used than there is", |v| leaf(v, |block| put(block, NODE + 4, 4, 5000))).also(LOST),
    fault(Rule::IndexEntry, "the closing one half outside", |v| {
        leaf(v, |block| {
            let used = int(block, NODE + 4, 4);
            put(block, NODE + 4, 4, used - 8);
        })
    })
    .also(&[Rule::NotIndexed, Rule::Unreachable, Rule::IndexBlock]),
    fault(Rule::IndexBlock, "another allocated length", |v| leaf(v, |block| put(block, NODE + 8, 4, 4000))).also(LOST),
    fault(Rule::IndexEntry, "an odd length", |v| leaf_entry(v, 3, |entry| entry[8] += 4)).also(LOST),
    fault(Rule::IndexEntry, "no length", |v| leaf_entry(v, 3, |entry| put(entry, 8, 2, 0))).also(LOST),
    fault(Rule::IndexEntry, "longer than the block", |v| leaf_entry(v, 3, |entry| put(entry, 8, 2, 0x1000))).also(LOST),
    fault(Rule::IndexEntry, "a key longer than the entry", |v| leaf_entry(v, 3, |entry| put(entry, 10, 2, 500)))
        .also(LOST),
    fault(Rule::IndexEntry, "a key shorter than its name", |v| leaf_entry(v, 3, |entry| entry[10] -= 2)).also(LOST),
    fault(Rule::IndexEntry, "a name longer than the key", |v| leaf_entry(v, 3, |entry| entry[16 + 64] += 1)).also(&[
        Rule::NotIndexed,
        Rule::Unreachable,
        Rule::IndexReference,
    ]),
    fault(Rule::IndexEntry, "a closing one too early", |v| leaf_entry(v, 3, |entry| put(entry, 12, 2, 2))).also(LOST),
    fault(Rule::IndexEntry, "no closing one", |v| leaf_entry(v, -1, |entry| put(entry, 12, 2, 0))).also(LOST),
    fault(Rule::IndexEntry, "a closing one with a key", |v| leaf_entry(v, -1, |entry| put(entry, 10, 2, 8))).also(LOST),
    fault(Rule::IndexEntry, "unknown flags", |v| leaf_entry(v, 3, |entry| put(entry, 12, 2, 8))).also(LOST),
    fault(Rule::IndexEntry, "data outside of an entry of a view", |v| {
        let id = v.security_id(v.find(r"secured\file 050"));
        let entry = v.sii(id);
        v.patch_entry_at(&entry, 0, &[200, 0]);
        Where::Record(9)
    })
    .also(&[Rule::SecurityIdIndex]),
    fault(Rule::IndexOrder, "in a leaf", |v| {
        let record = many(v);
        let leaf = v.leaves(record, I30)[1];
        swap(v, record, I30, Node::Block(leaf), 2)
    }),
    fault(Rule::IndexOrder, "by case", |v| {
        let record = v.find("case");
        swap(v, record, I30, Node::Root, 0)
    }),
    fault(Rule::IndexOrder, "between leaves", |v| {
        // The key above the leaves takes the place of one in the next leaf.
        let record = many(v);
        let node = inner(v, record);
        let above = v.entry_of(record, I30, node, 0);
        let bytes = v.entry_bytes(&above);
        let next = int(&v.entry_bytes(&v.entry_of(record, I30, node, 1)), bytes.len() - 8, 8);
        let unit = if v.cluster > 4096 { 512 } else { v.cluster };
        let below = v.entry_of(record, I30, Node::Block(next as usize * unit / 4096), 4);
        let own = v.entry_bytes(&below);
        let keys = 16..own.len();
        assert_eq!(own.len() + 8, bytes.len());
        v.patch_entry_at(&above, 0, &own[..8]);
        v.patch_entry_at(&above, 16, &own[keys.clone()]);
        v.patch_entry_at(&below, 0, &bytes[..8]);
        v.patch_entry_at(&below, 16, &bytes[keys]);
        Where::Record(record)
    }),
    fault(Rule::IndexOrder, "of security ids", |v| {
        let leaf = v.leaves(9, "$SII")[0];
        swap(v, 9, "$SII", Node::Block(leaf), 2)
    }),
    fault(Rule::IndexOrder, "of hashes", |v| {
        let leaf = v.leaves(9, "$SDH")[0];
        swap(v, 9, "$SDH", Node::Block(leaf), 2)
    }),
    fault(Rule::IndexOrder, "of object ids", |v| swap(v, 25, "$O", Node::Root, 0)),
    fault(Rule::IndexOrder, "of reparse points", |v| swap(v, 26, "$R", Node::Root, 1)),
    fault(Rule::IndexShape, "a block under two entries", |v| {
        above(v, |node, ranges| {
            let child = int(node, ranges[0].end - 8, 8);
            put(node, ranges[1].end - 8, 8, child);
        })
    })
    .also(TORN),
    fault(Rule::IndexShape, "a block that is not there", |v| {
        above(v, |node, ranges| put(node, ranges[1].end - 8, 8, 0xFFFF_FFF8))
    })
    .also(TORN)
    .also(&[Rule::NotIndexed, Rule::Unreachable, Rule::IndexBitmap, Rule::IndexBlock]),
    fault(Rule::IndexShape, "a leaf that says it has children", |v| leaf(v, |block| block[NODE + 12] = 1))
        .also(TORN)
        .also(&[Rule::NotIndexed, Rule::Unreachable, Rule::IndexEntry]),
    fault(Rule::IndexShape, "an inner node that says it has none", |v| above(v, |node, _| node[12] = 0))
        .also(TORN)
        .also(&[Rule::NotIndexed, Rule::Unreachable, Rule::IndexEntry, Rule::IndexBitmap]),
    fault(Rule::IndexShape, "an entry without its child", |v| above(v, |node, ranges| node[ranges[1].start + 12] = 0))
        .also(&[Rule::NotIndexed, Rule::Unreachable, Rule::IndexEntry, Rule::IndexBitmap]),
    fault(Rule::IndexShape, "a leaf that lies deeper", |v| {
        let record = many(v);
        let node = inner(v, record);
        let entry = v.entry_of(record, I30, node, 0);
        let bytes = v.entry_bytes(&entry);
        let child = int(&bytes, bytes.len() - 8, 8);
        let vcn = grow(v, record, |vcn| chain(vcn, child));
        v.patch_entry_at(&entry, bytes.len() - 8, &vcn.to_le_bytes());
        Where::Record(record)
    }),
    fault(Rule::IndexShape, "a block that is its own child", |v| {
        let record = many(v);
        let node = inner(v, record);
        let entry = v.entry_of(record, I30, node, 0);
        let len = v.entry_bytes(&entry).len();
        let vcn = grow(v, record, |vcn| chain(vcn, vcn));
        v.patch_entry_at(&entry, len - 8, &vcn.to_le_bytes());
        Where::Record(record)
    })
    .also(TORN),
    fault(Rule::IndexBitmap, "a block in use is not marked", |v| {
        let record = many(v);
        let leaf = v.leaves(record, I30)[1];
        v.set_bit(record, kind::BITMAP, I30, leaf as u64, false);
        Where::Record(record)
    }),
    fault(Rule::IndexBitmap, "a block that is not there", |v| {
        let record = many(v);
        v.set_bit(record, kind::BITMAP, I30, 63, true);
        Where::Record(record)
    }),
    fault(Rule::IndexBitmap, "a block that hangs nowhere", |v| {
        let record = many(v);
        grow(v, record, |vcn| chain(vcn, 0));
        Where::Record(record)
    }),
    fault(Rule::IndexBitmap, "of a view", |v| {
        let leaf = v.leaves(9, "$SDH")[0];
        v.set_bit(9, kind::BITMAP, "$SDH", leaf as u64, false);
        Where::Record(9)
    }),
    fault(Rule::ReparseIndex, "no entry", |v| {
        let entry = v.entry_of(26, "$R", Node::Root, 1);
        v.remove_entry(&entry);
        Where::Records(
            [v.find("link one"), v.find("link two"), v.find("overlay.txt"), v.find("third party"), 26].into(),
        )
    }),
    fault(Rule::ReparseIndex, "an entry of no file", |v| {
        let end = v.end_entry(26, "$R", Node::Root);
        let last = entries(&v.node(26, "$R", Node::Root)).len() - 2;
        let mut new = v.entry_bytes(&v.entry_of(26, "$R", Node::Root, last));
        new[16 + 4 + 4] = 0xFF; // the third byte of the record number
        v.insert_entry(&end, &new);
        Where::Record(26)
    }),
    fault(Rule::ObjectId, "no entry", |v| {
        let entry = v.entry_of(25, "$O", Node::Root, 0);
        v.remove_entry(&entry);
        Where::Any(vec![Where::Record(25), Where::Record(v.find("object one")), Where::Record(v.find("object two"))])
    }),
    fault(Rule::ObjectId, "an entry of another file", |v| {
        let other = v.reference(v.find("plain.bin"));
        let entry = v.entry_of(25, "$O", Node::Root, 0);
        v.patch_entry_at(&entry, 32, &other.to_le_bytes());
        Where::Any(vec![Where::Record(25), Where::Record(v.find("object one")), Where::Record(v.find("object two"))])
    }),
    // A file may keep its birth ids, and then they are those of its entry.
    fault(Rule::ObjectId, "other birth ids", |v| {
        let record = v.find("object two");
        let id = v.value(record, kind::OBJECT_ID, "");
        v.set_value(record, kind::OBJECT_ID, "", &[&id[..16], &[0x11; 48]].concat());
        Where::Records(vec![25, record])
    }),
];
