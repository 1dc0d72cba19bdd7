//! One FILE record: update sequence, header, and the headers of its attributes.

use zerocopy::FromBytes;

use super::attributes::{Attribute, Body};
use super::kinds::{self, Residence};
use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::base::upcase;
use crate::format::ntfs::ondisk::{
    NonResidentHeader, RecordHeader, ResidentHeader, STRIDE, attribute_flag, kind, record_flag,
};
use crate::verify::{Finding, Level, Rule};

/// Where the update sequence begins, behind the record's number.
const USA: usize = 48;
/// Where it began before NTFS 3.1 gave records their number. Volumes that were upgraded have such records.
const OLD_USA: usize = 42;
/// The end marker and the word after it.
const END_LEN: usize = 8;
/// What follows the header of a stream with holes: the total that is allocated.
const TOTAL_LEN: usize = 8;

/// What is in a slot of `$MFT`.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    /// All zero: never used.
    Empty,
    /// A record that is not in use, or was.
    Free,
    /// In use, as far as can be said, but not to be understood.
    Damaged,
    /// In use.
    Used(Record<'a>),
}

/// A record in use.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) head: Head,
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Whether `attributes` are all that the record has.
    pub(super) whole: bool,
}

/// What the header of a record says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) number: u32,
    pub(super) sequence: u16,
    pub(super) links: u16,
    pub(super) flags: u16,
    pub(super) base: u64,
}

/// Says what is wrong; offsets are in the record.
pub(super) type Faults<'a> = &'a mut dyn FnMut(Finding);

/// Undoes the update sequence of a record or block; `allowed` are the places where it may begin.
///
/// `Err` says in words what is wrong, and at which offset.
pub(super) fn fix_up(raw: &mut [u8], allowed: &[usize]) -> Result<(), (usize, String)> {
    let offset = usize::from(u16_at(raw, 4).unwrap_or(0));
    let count = usize::from(u16_at(raw, 6).unwrap_or(0));
    if !allowed.contains(&offset) {
        return Err((4, format!("update sequence at {offset} instead of {}", allowed[0])));
    }
    let strides = raw.len() / STRIDE;
    if count != strides + 1 {
        return Err((6, format!("{count} entries in the update sequence instead of {}", strides + 1)));
    }
    let number = u16_at(raw, offset).unwrap_or(0);
    if number == 0 {
        return Err((offset, "update sequence number 0".to_owned()));
    }
    for stride in 1..=strides {
        let end = stride * STRIDE - 2;
        let found = u16_at(raw, end).unwrap_or(0);
        if found != number {
            return Err((
                end,
                format!("stride {stride} ends with {found:#06x}, and the update sequence is {number:#06x}"),
            ));
        }
        let entry = offset + 2 * stride;
        raw.copy_within(entry..entry + 2, end);
    }
    Ok(())
}

/// Parses slot `number`, whose bytes are in `raw`, and undoes its update sequence there.
pub(super) fn parse<'a>(raw: &'a mut [u8], number: u32, faults: Faults<'_>) -> Slot<'a> {
    if raw.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    if !raw.starts_with(b"FILE") {
        let found = format!("{:?}", raw.get(..4).unwrap_or_default().escape_ascii().to_string());
        faults(Finding::new(Rule::RecordMagic, found).allowed("\"FILE\"").part("record header").at(0));
        return Slot::Damaged;
    }
    let in_use = u16_at(raw, 22).is_some_and(|flags| flags & record_flag::IN_USE != 0);
    if let Err((at, found)) = fix_up(raw, &[USA, OLD_USA]) {
        faults(Finding::new(Rule::Fixup, found).part("record header").at(at as u64));
        return if in_use { Slot::Damaged } else { Slot::Free };
    }
    let Ok((header, _)) = RecordHeader::read_from_prefix(raw) else { return Slot::Damaged };
    let old = usize::from(header.usa_offset.get()) == OLD_USA;
    if !in_use {
        return Slot::Free; // its number is not to be trusted: mkntfs leaves 0 in those that it prepares
    }
    check_number(&header, number, old, faults);
    let head = Head {
        number,
        sequence: header.sequence.get(),
        links: header.links.get(),
        flags: header.flags.get(),
        base: header.base.get(),
    };
    check_sequence(&head, faults);
    let raw = &*raw;
    let Some(first) = check_lengths(raw, &header, faults) else { return Slot::Damaged };
    let (attributes, whole) = Walk { raw, faults }.attributes(first, &header);
    Slot::Used(Record { head, attributes, whole })
}

fn check_number(header: &RecordHeader, number: u32, old: bool, faults: Faults<'_>) {
    if old {
        let finding = Finding::new(Rule::RecordNumber, "a record from before NTFS 3.1, without its number");
        return faults(finding.level(Level::Note).part("record header").at(44));
    }
    let found = u64::from(header.number_high.get()) << 32 | u64::from(header.number_low.get());
    if found != u64::from(number) {
        faults(Finding::new(Rule::RecordNumber, found).allowed(number).part("record header").at(42));
    }
}

fn check_sequence(head: &Head, faults: Faults<'_>) {
    let allowed = match head.number {
        0 => Some(1),
        1..16 => Some(head.number as u16),
        _ => None,
    };
    let sound = allowed.map_or(head.sequence != 0, |allowed| head.sequence == allowed);
    if !sound {
        let finding = Finding::new(Rule::RecordSequence, head.sequence).part("record header").at(16);
        faults(match allowed {
            Some(allowed) => finding.allowed(allowed),
            None => finding.allowed("not 0"),
        });
    }
}

/// Checks lengths and offsets of the header, and gives the offset of the first attribute.
fn check_lengths(raw: &[u8], header: &RecordHeader, faults: Faults<'_>) -> Option<usize> {
    let mut fault = |at: u64, found: String, allowed: String| {
        faults(Finding::new(Rule::RecordHeader, found).allowed(allowed).part("record header").at(at));
    };
    let first = usize::from(header.attributes_offset.get());
    let after_usa = usize::from(header.usa_offset.get()) + 2 * usize::from(header.usa_count.get());
    let allocated = header.allocated.get() as usize;
    if allocated != raw.len() {
        fault(28, format!("{allocated} bytes allocated"), format!("{}, the size of a record", raw.len()));
    }
    let used = header.used.get() as usize;
    if used > raw.len() || !used.is_multiple_of(8) {
        fault(24, format!("{used} bytes in use"), format!("a multiple of 8 up to {}", raw.len()));
    }
    if first != after_usa.next_multiple_of(8) {
        let allowed = format!("{}, after the update sequence", after_usa.next_multiple_of(8));
        fault(20, format!("attributes at {first}"), allowed);
        if first < after_usa || !first.is_multiple_of(8) || first + END_LEN > raw.len() {
            return None;
        }
    }
    Some(first)
}

/// On the way through the attributes of a record.
struct Walk<'a, 'f> {
    raw: &'a [u8],
    faults: Faults<'f>,
}

impl<'a> Walk<'a, '_> {
    fn attributes(mut self, first: usize, header: &RecordHeader) -> (Vec<Attribute<'a>>, bool) {
        let mut attributes: Vec<Attribute<'a>> = Vec::with_capacity(8);
        let mut whole = true;
        let mut at = first;
        loop {
            match u32_at(self.raw, at) {
                Some(kind::END) if at + END_LEN <= self.raw.len() => {
                    self.check_end(at);
                    self.check_used(at + END_LEN, header.used.get() as usize);
                    break;
                }
                Some(code) if code != 0 => {}
                _ => {
                    self.fault(Rule::RecordHeader, at, "no end marker", "FFFFFFFF after the last attribute");
                    whole = false;
                    break;
                }
            }
            let len = u32_at(self.raw, at + 4).unwrap_or(0) as usize;
            let bytes = at.checked_add(len).and_then(|end| self.raw.get(at..end));
            let Some(bytes) = bytes.filter(|_| len >= size_of::<ResidentHeader>() && len.is_multiple_of(8)) else {
                let allowed = format!("a multiple of 8, from 24 to {}", self.raw.len() - at);
                self.fault(Rule::AttributeHeader, at + 4, format!("an attribute of {len} bytes"), allowed);
                whole = false;
                break;
            };
            match self.attribute(at, bytes) {
                Some(attribute) => attributes.push(attribute),
                None => whole = false,
            }
            at += len;
        }
        self.check_order(&attributes);
        self.check_instances(&attributes, header.next_instance.get());
        (attributes, whole)
    }

    fn fault(&mut self, rule: Rule, at: usize, found: impl std::fmt::Display, allowed: impl std::fmt::Display) {
        (self.faults)(Finding::new(rule, found).allowed(allowed).part("record").at(at as u64));
    }

    /// Behind the end marker there is a zero, or what Windows writes as the length of the attribute that it is not.
    fn check_end(&mut self, at: usize) {
        const LENGTH: u32 = 0x1147_7982;
        let found = u32_at(self.raw, at + 4).unwrap_or(0);
        if ![0, LENGTH].contains(&found) {
            let finding = Finding::new(Rule::RecordHeader, format!("{found:#x} behind the end marker"));
            let allowed = format!("0, or {LENGTH:#x}");
            (self.faults)(finding.allowed(allowed).level(Level::Note).part("record").at(at as u64 + 4));
        }
    }

    fn check_used(&mut self, end: usize, used: usize) {
        if used != end && used <= self.raw.len() && used.is_multiple_of(8) {
            self.fault(
                Rule::RecordHeader,
                24,
                format!("{used} bytes in use"),
                format!("{end}, where the attributes end"),
            );
        }
    }

    /// The attribute whose bytes, header and all, are these; `None` where it cannot be understood.
    fn attribute(&mut self, at: usize, bytes: &'a [u8]) -> Option<Attribute<'a>> {
        let (header, _) = ResidentHeader::read_from_prefix(bytes).ok()?;
        let code = header.kind.get();
        let mut fault = |offset: usize, found: String, allowed: &str| {
            let finding = Finding::new(Rule::AttributeHeader, found).allowed(allowed).part(kinds::name(code));
            (self.faults)(finding.at((at + offset) as u64));
        };
        let name_at = usize::from(header.name_offset.get());
        let name_len = 2 * usize::from(header.name_len);
        let name = if name_len == 0 { Some(&[][..]) } else { bytes.get(name_at..name_at + name_len) };
        let least = if header.non_resident == 0 { size_of::<ResidentHeader>() } else { size_of::<NonResidentHeader>() };
        let Some(name) = name.filter(|_| name_len == 0 || name_at >= least) else {
            fault(10, format!("a name of {name_len} bytes at {name_at}"), "inside of the attribute, behind its header");
            return None;
        };
        let name_end = if name_len == 0 { 0 } else { name_at + name_len };
        // That of a name that is empty is 0 in records that ntfs.sys wrote, and the end of the header in those of the format.
        if name_len == 0 && ![0, least, least + TOTAL_LEN].contains(&name_at) {
            fault(10, format!("an empty name at {name_at}"), "0, or the end of the header");
        }
        let known = attribute_flag::SPARSE | COMPRESSED | ENCRYPTED;
        if header.flags.get() & !known != 0 {
            fault(12, format!("flags {:#06x}", header.flags.get()), "0001, 4000 and 8000");
        }
        let (body, value_at) = match header.non_resident {
            0 => resident(bytes, &header, &mut fault),
            1 => non_resident(bytes, header.flags.get(), &mut fault),
            other => {
                fault(8, format!("residence {other}"), "0 or 1");
                None
            }
        }?;
        if name_end > value_at {
            fault(10, format!("a name up to {name_end} over the value at {value_at}"), "before the value");
            return None;
        }
        Some(Attribute {
            at,
            kind: code,
            flags: header.flags.get(),
            instance: header.instance.get(),
            name,
            body,
            holder: 0,
        })
    }

    fn check_order(&mut self, attributes: &[Attribute<'_>]) {
        for pair in attributes.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            let order = a.kind.cmp(&b.kind).then_with(|| upcase::compare_ignoring_case(&a.units(), &b.units()));
            let order = order.then_with(|| a.lowest_vcn().cmp(&b.lowest_vcn()));
            if order.is_gt() {
                let found = format!("{} after {}", b.part(), a.part());
                let allowed = "attributes in the order of type, name and first VCN";
                (self.faults)(
                    Finding::new(Rule::AttributeOrder, found).allowed(allowed).part(b.part()).at(b.at as u64),
                );
                return;
            }
        }
    }

    fn check_instances(&mut self, attributes: &[Attribute<'_>], next: u16) {
        for (index, attribute) in attributes.iter().enumerate() {
            let twin = attributes[..index].iter().find(|other| other.instance == attribute.instance);
            let found = match twin {
                Some(twin) => format!("instance {}, as {} has it", attribute.instance, twin.part()),
                None if attribute.instance >= next => {
                    format!("instance {}, and the next is {next}", attribute.instance)
                }
                None => continue,
            };
            let finding = Finding::new(Rule::NextInstance, found).allowed("a number of its own below the next");
            (self.faults)(finding.part(attribute.part()).at(attribute.at as u64 + 14));
            return;
        }
    }
}

/// Attribute flags that the writer never sets.
pub(super) const COMPRESSED: u16 = 0x0001;
/// Encrypted by EFS.
pub(super) const ENCRYPTED: u16 = 0x4000;

/// Bytes of the headers of resident attributes and of others that have no meaning.
const RESERVED: usize = 23;
const NON_RESIDENT_RESERVED: std::ops::Range<usize> = 35..40;

type Parsed<'a> = Option<(Body<'a>, usize)>;

fn resident<'a>(bytes: &'a [u8], header: &ResidentHeader, fault: &mut dyn FnMut(usize, String, &str)) -> Parsed<'a> {
    let (at, len) = (usize::from(header.value_offset.get()), header.value_len.get() as usize);
    let value = at.checked_add(len).and_then(|end| bytes.get(at..end));
    let Some(value) = value.filter(|_| at >= size_of::<ResidentHeader>() && at.is_multiple_of(8)) else {
        fault(16, format!("a value of {len} bytes at {at}"), "inside of the attribute, at a multiple of 8");
        return None;
    };
    if (at + len).next_multiple_of(8) != bytes.len() {
        fault(
            4,
            format!("{} bytes for a value that ends at {}", bytes.len(), at + len),
            "no more than padding after it",
        );
    }
    if bytes[RESERVED] != 0 {
        fault(RESERVED, format!("{:#x} in a reserved byte", bytes[RESERVED]), "0");
    }
    let is_compressible = kinds::of(header.kind.get()).is_none_or(|kind| kind.residence != Residence::Resident);
    // A directory's flag says what is to become of new files in it.
    if header.flags.get() != 0 && !is_compressible && header.kind.get() != kind::INDEX_ROOT {
        fault(12, format!("flags {:#06x}", header.flags.get()), "0, for an attribute that is always in the record");
    }
    let indexed = header.kind.get() == kind::FILE_NAME;
    if header.indexed != u8::from(indexed) {
        let allowed = if indexed { "1 for a name" } else { "0" };
        fault(22, format!("{} for whether it is indexed", header.indexed), allowed);
    }
    Some((Body::Resident(value), at))
}

fn non_resident<'a>(bytes: &'a [u8], flags: u16, fault: &mut dyn FnMut(usize, String, &str)) -> Parsed<'a> {
    let Ok((header, _)) = NonResidentHeader::read_from_prefix(bytes) else {
        fault(4, format!("{} bytes", bytes.len()), "64 at least");
        return None;
    };
    let reserved = &bytes[NON_RESIDENT_RESERVED];
    if reserved.iter().any(|byte| *byte != 0) {
        fault(NON_RESIDENT_RESERVED.start, format!("{reserved:02x?} in reserved bytes"), "zeros");
    }
    let lowest = header.lowest_vcn.get();
    // Only the first piece of a stream has its sizes, and only there the total is.
    let has_total = lowest == 0 && flags & (COMPRESSED | attribute_flag::SPARSE) != 0;
    let least = size_of::<NonResidentHeader>() + if has_total { TOTAL_LEN } else { 0 };
    let runs_at = usize::from(header.runs_offset.get());
    let Some(pairs) = bytes.get(runs_at..).filter(|_| runs_at >= least) else {
        fault(32, format!("mapping pairs at {runs_at}"), "behind the header");
        return None;
    };
    let total = if has_total { u64_at(bytes, size_of::<NonResidentHeader>()) } else { None };
    let body = Body::NonResident {
        lowest,
        highest: header.highest_vcn.get(),
        allocated: header.allocated.get(),
        size: header.size.get(),
        initialized: header.initialized.get(),
        total,
        unit: header.compression_unit,
        pairs,
    };
    Some((body, runs_at))
}
