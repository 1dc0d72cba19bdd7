//! Faults in qcow2 files, which are big-endian.

use std::io::Cursor;
use std::num::NonZeroUsize;

use nanovhd::base::{Disk, MemoryDisk};
use nanovhd::format::qcow2::{Layout, Writer, write_compressed};
use nanovhd::verify::Rule;

use super::Where;
use super::containers::{Chain, Faults, big, fault, put_big, try_all};
use crate::support::tools::{Tools, text};

const MIB: u64 = 1 << 20;
const CLUSTER: usize = 1 << 16;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    [BOTH, PLAIN, PACKED, SNAPSHOT].into_iter().flatten().map(|fault| fault.rule)
}

/// A disk of 20 MiB with three clusters of data, the last two in a row.
fn plain() -> Chain {
    let layout = Layout::new(20 * MIB, &[0..1, 9 * MIB..9 * MIB + CLUSTER as u64 + 1]).unwrap();
    let writer = Writer::new(layout.clone(), MemoryDisk::new(layout.file_len() as usize, 0)).unwrap();
    writer.write_at(0, &[0xA5; 4096]).unwrap();
    vec![writer.finish().unwrap().into_bytes()]
}

/// The same with clusters that are compressed.
fn packed() -> Chain {
    let mut disk = vec![0; 20 << 20];
    for at in [0, 9 << 20, (9 << 20) + CLUSTER] {
        disk[at..at + 300].fill(7);
    }
    let mut out = Cursor::new(Vec::new());
    write_compressed(&disk, NonZeroUsize::MIN, &mut out, &mut |_, _| Ok(())).unwrap();
    vec![out.into_inner()]
}

/// The plain one with a snapshot that qemu made, and nothing changed since. `None` where there is no qemu.
fn snapshot() -> Option<Chain> {
    let tools = Tools::find(&["qemu-img"])?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    std::fs::write(&path, &plain()[0]).unwrap();
    tools.run("qemu-img", &["snapshot", "-c", "before", text(&path)]);
    Some(vec![std::fs::read(&path).unwrap()])
}

fn header(chain: &mut Chain, at: usize, len: usize, value: u64) -> Where {
    put_big(&mut chain[0], at, len, value);
    Where::Offset(at as u64, len as u64)
}

fn word(chain: &Chain, at: usize) -> usize {
    (big(&chain[0], at, 8) & 0x00FF_FFFF_FFFF_FFFF) as usize
}

fn change(chain: &mut Chain, at: usize, change: impl Fn(u64) -> u64) -> Where {
    let value = change(big(&chain[0], at, 8));
    put_big(&mut chain[0], at, 8, value);
    Where::Offset(at as u64, 8)
}

/// Where the L1 table's first entry is.
fn l1(chain: &Chain) -> usize {
    word(chain, 40)
}

/// Where the L2 table has the entry for a cluster of the disk.
fn l2(chain: &Chain, cluster: usize) -> usize {
    word(chain, l1(chain)) + 8 * cluster
}

/// The second cluster of data is that of 9 MiB.
const SECOND: usize = 9 << 4;

/// Where the reference count of a cluster of the file is, by a place in it.
fn count(chain: &Chain, place: usize) -> usize {
    word(chain, word(chain, 48)) + 2 * (place / CLUSTER)
}

fn set_count(chain: &mut Chain, place: usize, value: u64) -> Where {
    let at = count(chain, place);
    put_big(&mut chain[0], at, 2, value);
    Where::Offset((place / CLUSTER * CLUSTER) as u64, CLUSTER as u64)
}

const BOTH: Faults = &[
    fault(Rule::Qcow2Header, "another version", |c| header(c, 4, 4, 4)),
    fault(Rule::Qcow2Header, "clusters that are too small", |c| header(c, 20, 4, 8)),
    fault(Rule::Qcow2Header, "clusters that are too large", |c| header(c, 20, 4, 22)),
    fault(Rule::Qcow2Header, "half a sector", |c| header(c, 24, 8, 20 * MIB - 100)),
    fault(Rule::Qcow2Header, "a disk that the L1 table does not reach", |c| {
        header(c, 24, 8, 1 << 40);
        Where::Offset(36, 4)
    }),
    fault(Rule::Qcow2Header, "an unknown cipher", |c| header(c, 32, 4, 3)),
    fault(Rule::Qcow2Header, "too long an L1 table", |c| header(c, 36, 4, 1 << 30)).also(&[Rule::Qcow2Header]),
    fault(Rule::Qcow2Header, "an L1 table within a cluster", |c| {
        let at = l1(c) as u64;
        header(c, 40, 8, at + 512)
    }),
    fault(Rule::Qcow2Header, "an L1 table past the end", |c| header(c, 40, 8, 1 << 40)),
    fault(Rule::Qcow2Header, "no refcount table", |c| header(c, 56, 4, 0)),
    fault(Rule::Qcow2Header, "a refcount table past the end", |c| header(c, 48, 8, 1 << 40)),
    fault(Rule::Qcow2Header, "snapshots nowhere", |c| {
        header(c, 64, 8, 1 << 40);
        header(c, 60, 4, 1)
    }),
    fault(Rule::Qcow2Header, "an unknown feature", |c| header(c, 72, 8, 1 << 40)),
    fault(Rule::Qcow2Header, "counts of 128 bits", |c| header(c, 96, 4, 7)),
    fault(Rule::Qcow2Header, "a header of no length", |c| header(c, 100, 4, 0)),
    fault(Rule::Qcow2Header, "a compression that is not announced", |c| {
        header(c, 104, 1, 1);
        header(c, 100, 4, 112);
        Where::Offset(104, 1)
    }),
    fault(Rule::Qcow2Header, "cut short", |c| {
        c[0].truncate(50);
        Where::Whole
    }),
    fault(Rule::Qcow2Marks, "corrupt", |c| {
        header(c, 79, 1, 2);
        Where::Offset(72, 8)
    }),
    fault(Rule::Qcow2Marks, "dirty", |c| {
        header(c, 79, 1, 1);
        Where::Offset(72, 8)
    }),
    fault(Rule::Qcow2Table, "reserved bits in the L1 table", |c| {
        let at = l1(c);
        change(c, at, |entry| entry | 1)
    }),
    fault(Rule::Qcow2Table, "an L2 table within a cluster", |c| {
        let at = l1(c);
        change(c, at, |entry| entry + 512)
    })
    .also(&[Rule::Qcow2Leak]),
    fault(Rule::Qcow2Table, "an L2 table past the end", |c| {
        let at = l1(c);
        change(c, at, |_| COPIED | 1 << 40)
    }),
    fault(Rule::Qcow2Table, "reserved bits in the refcount table", |c| {
        let at = word(c, 48);
        change(c, at, |entry| entry | 2)
    })
    .also(&[Rule::Qcow2Refcount, Rule::Qcow2Copied]),
    fault(Rule::Qcow2Table, "a refcount block past the end", |c| {
        let at = word(c, 48);
        change(c, at, |_| 1 << 40)
    })
    .also(&[Rule::Qcow2Refcount, Rule::Qcow2Copied]),
    fault(Rule::Qcow2Overlap, "an L2 table on the L1 table", |c| {
        let at = l1(c);
        change(c, at, |_| at as u64 | COPIED)
    })
    .also(&[Rule::Qcow2Refcount, Rule::Qcow2Table, Rule::Qcow2Copied]),
    fault(Rule::Qcow2Refcount, "a table that is not counted", |c| {
        let at = l1(c);
        set_count(c, at, 0)
    }),
    fault(Rule::Qcow2Leak, "a table that is counted twice", |c| {
        let at = l1(c);
        set_count(c, at, 2)
    }),
    fault(Rule::Qcow2Leak, "a cluster that nothing uses", |c| {
        let at = c[0].len();
        c[0].resize(at + CLUSTER, 0);
        set_count(c, at, 1)
    }),
    fault(Rule::Qcow2Copied, "an L2 table that says to be shared", |c| {
        let at = l1(c);
        change(c, at, |entry| entry & !COPIED)
    }),
];

const PLAIN: Faults = &[
    fault(Rule::Qcow2Table, "reserved bits in an L2 table", |c| {
        let at = l2(c, 0);
        change(c, at, |entry| entry | 2)
    }),
    fault(Rule::Qcow2Table, "data within a cluster", |c| {
        let at = l2(c, 0);
        change(c, at, |entry| entry + 512)
    }),
    fault(Rule::Qcow2Table, "data past the end", |c| {
        let at = l2(c, 0);
        change(c, at, |_| COPIED | 1 << 40)
    }),
    fault(Rule::Qcow2Overlap, "data on the header", |c| {
        let at = l2(c, 0);
        // A place of zero would be none.
        change(c, at, |_| COPIED | CLUSTER as u64)
    })
    .also(&[Rule::Qcow2Refcount]),
    fault(Rule::Qcow2Refcount, "two clusters in one place", |c| {
        let (first, second) = (l2(c, 0), l2(c, SECOND));
        let place = word(c, first);
        change(c, second, |_| COPIED | place as u64);
        Where::Offset(place as u64, CLUSTER as u64)
    }),
    fault(Rule::Qcow2Copied, "data that says to be shared", |c| {
        let at = l2(c, SECOND);
        change(c, at, |entry| entry & !COPIED)
    }),
    fault(Rule::Qcow2Copied, "shared data that does not say so", |c| {
        let (first, second) = (l2(c, 0), l2(c, SECOND));
        let place = word(c, first);
        set_count(c, place, 2);
        change(c, second, |_| COPIED | place as u64)
    }),
];

const PACKED: Faults = &[
    fault(Rule::Qcow2Table, "a compressed cluster past the end", |c| {
        let at = l2(c, 0);
        change(c, at, |_| COMPRESSED | 1 << 40)
    })
    .also(&[Rule::Qcow2Leak]),
    fault(Rule::Qcow2Table, "a compressed cluster in the header", |c| {
        let at = l2(c, 0);
        change(c, at, |_| COMPRESSED | 200)
    }),
    fault(Rule::Qcow2Refcount, "one compressed cluster too many", |c| {
        let (first, third) = (l2(c, 0), l2(c, SECOND + 2));
        let entry = big(&c[0], first, 8);
        change(c, third, |_| entry);
        Where::Offset(CLUSTER as u64, CLUSTER as u64)
    }),
    fault(Rule::Qcow2Copied, "a compressed cluster with the bit", |c| {
        let at = l2(c, SECOND);
        change(c, at, |entry| entry | COPIED)
    }),
];

/// Where the first entry of the table of snapshots is.
fn snapshots(chain: &Chain) -> usize {
    word(chain, 64)
}

const SNAPSHOT: Faults = &[
    fault(Rule::Qcow2Table, "a snapshot's L1 table past the end", |c| {
        let at = snapshots(c);
        change(c, at, |_| 1 << 40)
    })
    .also(&[Rule::Qcow2Leak]),
    fault(Rule::Qcow2Table, "a snapshot's L1 table of no sensible length", |c| {
        let at = snapshots(c);
        put_big(&mut c[0], at + 8, 4, 1 << 28);
        Where::Offset(at as u64, 40)
    }),
    fault(Rule::Qcow2Copied, "data that only the active state seems to have", |c| {
        let at = l2(c, 0);
        change(c, at, |entry| entry | COPIED)
    }),
    fault(Rule::Qcow2Refcount, "data that is counted once only", |c| {
        let place = word(c, l2(c, 0));
        set_count(c, place, 1)
    })
    .also(&[Rule::Qcow2Copied]),
];

#[test]
fn faults_of_qcow2_files_are_found() {
    try_all("a plain qcow2", &plain(), BOTH);
    try_all("a plain qcow2", &plain(), PLAIN);
    try_all("a compressed qcow2", &packed(), BOTH);
    try_all("a compressed qcow2", &packed(), PACKED);
}

#[test]
fn faults_of_snapshots_are_found() {
    let Some(good) = snapshot() else { return };
    try_all("a qcow2 with a snapshot", &good, SNAPSHOT);
}
