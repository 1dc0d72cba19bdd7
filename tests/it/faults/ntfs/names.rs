//! $STANDARD_INFORMATION, $FILE_NAME, and the way from the root to a file.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault, only};
use crate::support::surgeon::{Key, Node, kind, put, units};

const PAIR: &str = "long name with a short one.txt";
const SHORT: &str = "LONGNA~1.TXT";

/// Where the fields of a $FILE_NAME are.
const NAME_LEN: usize = 64;
const NAMESPACE: usize = 65;
const NAME: usize = 66;

/// Changes the name of a file that is alone in its directory, wherever it is kept.
fn rename(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let record = only(volume);
    volume.patch_name(record, "only", at, bytes);
    Where::Any(vec![Where::Record(record), Where::Record(volume.find(r"deep\er"))])
}

/// Changes a short name, wherever it is kept.
fn short(volume: &mut Surgeon, at: usize, character: &str) -> Where {
    let record = volume.find(r"pair\LONGNA~1.TXT");
    volume.patch_name(record, SHORT, NAME + 2 * at, &units(character));
    Where::Record(record)
}

/// Both names of the file that has one in each of two directories get a namespace.
fn apart(volume: &mut Surgeon, first: u8, second: u8) -> Where {
    let record = volume.find(r"pair\zz one\Apart.txt");
    volume.patch_name(record, "Apart.txt", NAMESPACE, &[first]);
    volume.patch_name(record, "APART.TXT", NAMESPACE, &[second]);
    Where::Record(record)
}

fn information(volume: &mut Surgeon, change: impl Fn(&mut Vec<u8>)) -> Where {
    let record = only(volume);
    let mut value = volume.value(record, kind::STANDARD_INFORMATION, "");
    change(&mut value);
    volume.set_value(record, kind::STANDARD_INFORMATION, "", &value);
    Where::Record(record)
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::StandardInformation, "64 bytes", |v| information(v, |value| value.truncate(64))),
    fault(Rule::StandardInformation, "16 bytes", |v| information(v, |value| value.truncate(16))).also(&[
        Rule::AttributeKind,
        Rule::EntryTimes,
        Rule::EntryFlags,
        Rule::SecurityId,
    ]),
    fault(Rule::StandardInformation, "none", |v| {
        let record = only(v);
        v.remove(record, kind::STANDARD_INFORMATION, "");
        Where::Record(record)
    })
    .also(&[Rule::AttributeKind, Rule::EntryTimes, Rule::EntryFlags, Rule::SecurityId]),
    fault(Rule::StandardInformation, "an unknown attribute", |v| {
        let record = only(v);
        v.set_file_attributes(record, |attributes| attributes | 0x0200_0000);
        Where::Record(record)
    }),
    fault(Rule::FileName, "an unknown namespace", |v| rename(v, NAMESPACE, &[4])),
    fault(Rule::FileName, "a slash", |v| rename(v, NAME + 2, &units("/"))),
    fault(Rule::FileName, "a colon", |v| rename(v, NAME + 2, &units(":"))),
    fault(Rule::FileName, "a zero", |v| rename(v, NAME + 2, &[0, 0])),
    fault(Rule::FileName, "no length", |v| {
        let record = only(v);
        v.patch_own_name(record, "only", NAME_LEN, &[0]);
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::FileName, "longer than its attribute", |v| {
        let record = only(v);
        v.patch_own_name(record, "only", NAME_LEN, &[200]);
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::FileName, "too short to be one", |v| {
        let record = only(v);
        let value = v.value(record, kind::FILE_NAME, "")[..60].to_vec();
        v.set_value(record, kind::FILE_NAME, "", &value);
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::AttributeKind, Rule::Unreachable, Rule::NotIndexed]),
    fault(Rule::Unreachable, "in a directory that is none", |v| {
        let (record, other) = (only(v), v.reference(v.find("plain.bin")));
        v.patch_own_name(record, "only", 0, &other.to_le_bytes());
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::NotIndexed, Rule::FileName]),
    fault(Rule::Unreachable, "in a record that is not there", |v| {
        let record = only(v);
        v.patch_own_name(record, "only", 0, &(1 << 48 | 0xFF_FFFFu64).to_le_bytes());
        Where::Record(record)
    })
    .also(&[Rule::IndexReference, Rule::NotIndexed, Rule::FileName]),
    fault(Rule::NamePair, "a long one alone", |v| {
        let record = v.find(r"pair\ZBOTH.TXT");
        v.patch_name(record, "ZBOTH.TXT", NAMESPACE, &[1]);
        Where::Record(record)
    }),
    fault(Rule::NamePair, "a short one alone", |v| {
        let record = v.find(r"pair\LONGNA~1.TXT");
        v.patch_name(record, PAIR, NAMESPACE, &[0]);
        Where::Record(record)
    }),
    fault(Rule::NamePair, "in two directories", |v| apart(v, 1, 2)),
    fault(Rule::NamePair, "two that are both", |v| apart(v, 3, 3)),
    fault(Rule::ShortName, "a plus", |v| short(v, 11, "+")),
    fault(Rule::ShortName, "a lower-case letter", |v| short(v, 11, "t")),
    fault(Rule::ShortName, "twelve characters without a dot", |v| short(v, 8, "1")),
    fault(Rule::ShortName, "a dot too early for its extension", |v| short(v, 6, ".")),
    fault(Rule::DuplicateName, "of two files", |v| {
        let record = v.find("case");
        v.patch(record, kind::STANDARD_INFORMATION, "", 40, &[0]);
        Where::Any(vec![Where::Record(record), Where::Named("case")])
    }),
    fault(Rule::IndexReference, "to another file", |v| {
        let other = v.reference(v.find("plain.bin"));
        entry(v, &other.to_le_bytes())
    })
    .also(&[Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::IndexReference, "to an earlier file in the record", |v| {
        let old = 9 << 48 | only(v);
        entry(v, &old.to_le_bytes())
    })
    .also(&[Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::IndexReference, "to a free record", |v| {
        let free = 1 << 48 | v.free_record();
        entry(v, &free.to_le_bytes())
    })
    .also(&[Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::IndexReference, "to a record past the end", |v| entry(v, &(1 << 48 | 0xFFFF_FFFFu64).to_le_bytes()))
        .also(&[Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::IndexReference, "to a record that extends another", |v| {
        let extent = v.holders(super::linked(v))[1];
        let reference = v.reference(extent);
        entry(v, &reference.to_le_bytes())
    })
    .also(&[Rule::NotIndexed, Rule::Unreachable]),
    fault(Rule::IndexReference, "by a name that the file does not have", |v| {
        let directory = v.find(r"deep\er");
        let mut new = v.entry_bytes(&v.entry(directory, Key::Name("only")));
        new[16 + NAME..16 + NAME + 2].copy_from_slice(&units("p"));
        let end = v.end_entry(directory, "$I30", Node::Root);
        v.insert_entry(&end, &new);
        Where::Record(directory)
    }),
    fault(Rule::NotIndexed, "the only name", |v| {
        let record = only(v);
        let entry = v.entry(v.find(r"deep\er"), Key::Name("only"));
        v.remove_entry(&entry);
        Where::Record(record)
    })
    .also(&[Rule::Unreachable]),
    fault(Rule::NotIndexed, "a short name", |v| {
        let record = v.find(r"pair\LONGNA~1.TXT");
        let entry = v.entry(v.find("pair"), Key::Name(SHORT));
        v.remove_entry(&entry);
        Where::Record(record)
    }),
    fault(Rule::NotIndexed, "one of two links", |v| {
        let record = v.find(r"pair\zz one\Apart.txt");
        let entry = v.entry(v.find(r"pair\zz other"), Key::Name("APART.TXT"));
        v.remove_entry(&entry);
        Where::Record(record)
    }),
    fault(Rule::NotIndexed, "a directory without an entry", |v| {
        let directory = v.find(r"deep\er");
        let records = vec![directory, only(v)];
        let entry = v.entry(v.find("deep"), Key::Name("er"));
        v.remove_entry(&entry);
        Where::Records(records)
    })
    .also(&[Rule::Unreachable]),
    fault(Rule::DirectoryCycle, "a directory in itself", |v| {
        let directory = v.find(r"deep\er");
        let reference = v.reference(directory).to_le_bytes();
        let old = v.entry(v.find("deep"), Key::Name("er"));
        let mut entry = v.remove_entry(&old);
        entry[16..24].copy_from_slice(&reference);
        v.patch_own_name(directory, "er", 0, &reference);
        let first = v.entry_of(directory, "$I30", Node::Root, 0);
        v.insert_entry(&first, &entry);
        Where::Record(directory)
    })
    .also(&[Rule::Unreachable]),
    fault(Rule::DirectoryCycle, "two directories in each other", |v| {
        let (outer, inner) = (v.find(r"pair\zz one"), v.find(r"pair\zz other"));
        // First the one goes into the other, where all is well; then the other into the one.
        for (name, directory, into) in [("zz other", inner, outer), ("zz one", outer, inner)] {
            let reference = v.reference(into).to_le_bytes();
            let old = v.entry(v.find("pair"), Key::Name(name));
            let mut entry = v.remove_entry(&old);
            entry[16..24].copy_from_slice(&reference);
            v.patch_own_name(directory, name, 0, &reference);
            let end = v.end_entry(into, "$I30", Node::Root);
            v.insert_entry(&end, &entry);
        }
        Where::Records(vec![outer, inner])
    })
    .also(&[Rule::Unreachable]),
    fault(Rule::EntryTimes, "in a leaf", |v| copy(v, r"many\name 00100", 8, 8)),
    fault(Rule::EntryTimes, "the time of the last change of the record", |v| copy(v, r"deep\er\only", 24, 8)),
    fault(Rule::EntrySizes, "size", |v| copy(v, r"many\name 00200", 48, 8)),
    fault(Rule::EntrySizes, "allocated size", |v| copy(v, "plain.bin", 40, 8)),
    fault(Rule::EntryFlags, "hidden", |v| copy_with(v, r"many\name 00201", 56, &0x22u32.to_le_bytes())),
    fault(Rule::EntryFlags, "no directory", |v| copy_with(v, r"deep\er", 56, &0u32.to_le_bytes())),
    fault(Rule::EntryTag, "another tag", |v| copy_with(v, "link one", 60, &0xA000_0003u32.to_le_bytes())),
    fault(Rule::EntryTag, "no tag", |v| copy_with(v, "link two", 60, &[0; 4])),
    fault(Rule::EntryTag, "another length of extended attributes", |v| copy_with(v, "extended", 60, &[1, 2])),
];

/// Changes the file reference of an entry.
fn entry(volume: &mut Surgeon, reference: &[u8]) -> Where {
    let directory = volume.find(r"deep\er");
    let record = only(volume);
    volume.patch_entry(directory, Key::Name("only"), 0, reference);
    Where::Records(vec![directory, record])
}

/// Changes what an entry says of a file by a little.
fn copy(volume: &mut Surgeon, path: &str, at: usize, len: usize) -> Where {
    let (directory, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let entry = volume.entry(volume.find(directory), Key::Name(name));
    let mut bytes = volume.entry_bytes(&entry)[16 + at..][..len].to_vec();
    let value = crate::support::surgeon::int(&bytes, 0, len) + 8;
    put(&mut bytes, 0, len, value);
    copy_with(volume, path, at, &bytes)
}

/// Changes what an entry says of a file to this.
fn copy_with(volume: &mut Surgeon, path: &str, at: usize, bytes: &[u8]) -> Where {
    let (directory, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let (record, directory) = (volume.find(path), volume.find(directory));
    volume.patch_entry(directory, Key::Name(name), 16 + at, bytes);
    Where::Records(vec![record, directory])
}
