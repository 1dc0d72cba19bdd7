//! Reparse points and extended attributes.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault};
use crate::support::surgeon::{int, kind, put};

const TAGS: &[Rule] = &[Rule::EntryTag, Rule::ReparseIndex];

fn reparse(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    let record = volume.find("link one");
    volume.patch(record, kind::REPARSE_POINT, "", at, bytes);
    Where::Record(record)
}

fn extended(volume: &mut Surgeon, kind: u32, at: usize, bytes: &[u8]) -> Where {
    let record = volume.find("extended");
    volume.patch(record, kind, "", at, bytes);
    Where::Record(record)
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::ReparsePoint, "another length", |v| reparse(v, 4, &[3])),
    fault(Rule::ReparsePoint, "longer than its attribute", |v| reparse(v, 4, &[0xFF, 0xFF])),
    fault(Rule::ReparsePoint, "no tag", |v| reparse(v, 0, &[0; 4])).also(TAGS),
    fault(Rule::ReparsePoint, "four bytes", |v| {
        let record = v.find("link one");
        let value = v.value(record, kind::REPARSE_POINT, "")[..4].to_vec();
        v.set_value(record, kind::REPARSE_POINT, "", &value);
        Where::Record(record)
    })
    .also(TAGS),
    fault(Rule::ReparsePoint, "that the file does not admit", |v| {
        let record = v.find("link one");
        v.set_file_attributes(record, |attributes| attributes & !0x400);
        Where::Record(record)
    }),
    fault(Rule::ReparsePoint, "that is not there", |v| {
        let record = super::only(v);
        v.set_file_attributes(record, |attributes| attributes | 0x400);
        Where::Record(record)
    }),
    fault(Rule::ExtendedAttributes, "a next one past the end", |v| extended(v, kind::EA, 0, &[0xFC, 0x7F])),
    fault(Rule::ExtendedAttributes, "a next one at the same place", |v| extended(v, kind::EA, 0, &[0; 4])),
    fault(Rule::ExtendedAttributes, "a next one at an odd place", |v| extended(v, kind::EA, 0, &[0x1D])),
    fault(Rule::ExtendedAttributes, "a long name", |v| extended(v, kind::EA, 5, &[200])),
    fault(Rule::ExtendedAttributes, "a long value", |v| extended(v, kind::EA, 6, &[0, 0x10])),
    fault(Rule::ExtendedAttributes, "a name without an end", |v| extended(v, kind::EA, 8 + 5, b"x")),
    fault(Rule::ExtendedAttributes, "another count of needed ones", |v| extended(v, kind::EA_INFORMATION, 2, &[0])),
    fault(Rule::ExtendedAttributes, "another length", |v| {
        let old = int(&v.value(v.find("extended"), kind::EA_INFORMATION, ""), 4, 4);
        let mut bytes = [0; 4];
        put(&mut bytes, 0, 4, old + 4);
        extended(v, kind::EA_INFORMATION, 4, &bytes)
    }),
    fault(Rule::ExtendedAttributes, "another packed length", |v| {
        let old = int(&v.value(v.find("extended"), kind::EA_INFORMATION, ""), 0, 2) as u16;
        extended(v, kind::EA_INFORMATION, 0, &(old + 1).to_le_bytes())
    })
    .also(&[Rule::EntryTag]),
    fault(Rule::ExtendedAttributes, "no $EA_INFORMATION", |v| {
        let record = v.find("extended");
        v.remove(record, kind::EA_INFORMATION, "");
        Where::Record(record)
    })
    .also(&[Rule::EntryTag, Rule::AttributeKind]),
    fault(Rule::ExtendedAttributes, "no $EA", |v| {
        let record = v.find("extended");
        v.remove(record, kind::EA, "");
        Where::Record(record)
    })
    .also(&[Rule::AttributeKind, Rule::EntryTag]),
];
