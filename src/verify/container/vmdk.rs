//! The rules of VMDK, from VMware's "Virtual Disk Format 5.0": header, footer and descriptor. Grains are in [`super::vmdk_grains`].

use zerocopy::IntoBytes;

use super::vmdk_grains::{Grains, Span};
use super::{Report, structure, used};
use crate::base::ReadAt;
use crate::format::vmdk::ondisk::{self, Header, Marker, SECTOR};
use crate::format::vmdk::{Descriptor, NO_PARENT, Variant};
use crate::verify::{Finding, Level, Rule};

const MIB: u64 = 1 << 20;
/// The largest disk that is looked at, in sectors: 64 TiB.
const MAX_CAPACITY: u64 = 1 << 37;
/// The largest grains, in sectors; VMware's own tools take up to 128.
const MAX_GRAIN: u64 = 2048;
/// The longest descriptor that is looked at, in sectors.
const MAX_DESCRIPTOR: u64 = 128;

pub(super) fn check(file: &dyn ReadAt, report: &mut Report<'_>) {
    let Some(header) = structure::<Header>(file, 0) else {
        return report.field(Rule::VmdkHeader, "header", 0, "cut short", "512 bytes");
    };
    if !check_header(&header, 0, Rule::VmdkHeader, "header", report) {
        return;
    }
    let capacity = header.capacity.get();
    if !(capacity * SECTOR).is_multiple_of(MIB) {
        report.field(Rule::VmdkSize, "header: capacity", 12, format!("{capacity} sectors"), "whole MiB");
    }
    if header.unclean != 0 {
        report.field(Rule::VmdkUnclean, "header: unclean shutdown", 72, header.unclean, 0);
    }
    let descriptor = check_descriptor(file, &header, report);
    let directory = match header.grain_directory.get() {
        ondisk::AT_END => match check_footer(file, &header, report) {
            Some(directory) => directory,
            None => return,
        },
        here => here,
    };
    let front = Span { sector: 0, count: 1 };
    Grains::new(file, &header, directory, [Some(front), descriptor]).check(report);
}

/// Whether the sizes are such that tables can be looked at.
fn check_header(header: &Header, at: u64, rule: Rule, what: &str, report: &mut Report<'_>) -> bool {
    let mut field = |name: &str, offset: u64, found: String, allowed: &str| {
        report.field(rule, &format!("{what}: {name}"), at + offset, found, allowed);
    };
    if header.magic != ondisk::MAGIC {
        field("magic", 0, format!("{:?}", String::from_utf8_lossy(&header.magic)), "\"KDMV\"");
        return false;
    }
    let (version, flags) = (header.version.get(), header.flags.get());
    if !(ondisk::VERSION..=ondisk::VERSION_STREAM).contains(&version) {
        field("version", 4, version.to_string(), "1 to 3");
        return false;
    }
    let packed = ondisk::FLAG_COMPRESSED | ondisk::FLAG_MARKERS;
    let known = ondisk::FLAG_LINE_ENDS | ondisk::FLAG_REDUNDANT | ondisk::FLAG_ZERO_GRAINS | packed;
    let is_packed = flags & packed != 0;
    let readable = flags & ondisk::FLAGS_INCOMPATIBLE & !packed == 0 && (!is_packed || flags & packed == packed);
    if flags & !known != 0 || !readable {
        field("flags", 8, format!("{flags:#x}"), "bits 0 to 2, and 16 and 17 together");
    }
    if flags & ondisk::FLAG_LINE_ENDS != 0 && header.line_ends != ondisk::LINE_ENDS {
        field(
            "line ends",
            73,
            format!("{:02x?}", header.line_ends),
            "0a 20 0d 0a: the file went through a text transfer",
        );
    }
    let compression = header.compression.get();
    let right = if is_packed { ondisk::DEFLATE } else { 0 };
    if compression != right {
        field("compression", 77, compression.to_string(), if is_packed { "1, deflate" } else { "0, none" });
    }
    if used(&header.reserved) > 0 {
        field("reserved bytes", 79, format!("{} of them used", used(&header.reserved)), "zeros");
    }
    let (capacity, grain) = (header.capacity.get(), header.grain.get());
    let mut possible = readable && (!is_packed || compression == ondisk::DEFLATE);
    if capacity == 0 || capacity > MAX_CAPACITY {
        field("capacity", 12, format!("{capacity} sectors"), "1 sector to 64 TiB");
        possible = false;
    }
    if !grain.is_power_of_two() || grain > MAX_GRAIN {
        field("sectors of a grain", 20, grain.to_string(), "a power of two, 128 as a rule");
        possible = false;
    }
    if u64::from(header.table_entries.get()) != ondisk::TABLE_ENTRIES {
        field("entries of a grain table", 44, header.table_entries.to_string(), "512");
        possible = false;
    }
    possible
}

/// Where the descriptor is.
fn check_descriptor(file: &dyn ReadAt, header: &Header, report: &mut Report<'_>) -> Option<Span> {
    let (sector, count) = (header.descriptor.get(), header.descriptor_len.get());
    let mut field = |name: &str, found: String, allowed: &str| {
        let part = format!("descriptor: {name}");
        report.field(Rule::VmdkDescriptor, &part, sector.saturating_mul(SECTOR), found, allowed);
    };
    let mut text = vec![0; (count.min(MAX_DESCRIPTOR) * SECTOR) as usize];
    let at = sector.checked_mul(SECTOR).filter(|_| sector > 0 && (1..=MAX_DESCRIPTOR).contains(&count));
    if at.is_none_or(|at| file.read_at(at, &mut text).is_err()) {
        field("place", format!("{count} sectors at sector {sector}"), "inside the file, up to 128 sectors");
        return None;
    }
    let descriptor = Descriptor::parse(&text);
    let hex = |id: Option<u32>| id.map_or("none".to_owned(), |id| format!("{id:08x}"));
    if [None, Some(u32::MAX), Some(u32::MAX - 1)].contains(&descriptor.cid) {
        field("CID", hex(descriptor.cid), "an id other than ffffffff and fffffffe");
    }
    if descriptor.parent_cid != Some(NO_PARENT) {
        field("parentCID", hex(descriptor.parent_cid), "ffffffff, for a disk of its own");
    }
    let is_packed = header.flags.get() & ondisk::FLAG_COMPRESSED != 0;
    let kind = if is_packed { Variant::StreamOptimized } else { Variant::Sparse }.create_type();
    let found = descriptor.create_type.unwrap_or_default();
    if !found.eq_ignore_ascii_case(kind) {
        field("createType", format!("'{found}'"), kind);
    }
    let capacity = header.capacity.get();
    match descriptor.extents.as_slice() {
        [extent] if extent.kind == "SPARSE" && extent.sectors == capacity => {}
        [extent] => field(
            "extent",
            format!("{} sectors, {}", extent.sectors, extent.kind),
            &format!("{capacity} sectors, SPARSE"),
        ),
        several => field("extents", format!("{} of them", several.len()), "one"),
    }
    if descriptor.adapter.is_none() {
        field("ddb.adapterType", "none".to_owned(), "ide, lsilogic, buslogic or legacyESX");
    }
    Some(Span { sector, count })
}

/// The sector of the directory, if the footer is one.
fn check_footer(file: &dyn ReadAt, header: &Header, report: &mut Report<'_>) -> Option<u64> {
    let end = file.len() / SECTOR * SECTOR;
    if end != file.len() {
        report.field(Rule::VmdkFooter, "length of the file", end, file.len(), "whole sectors");
    }
    let at = |back: u64| end.checked_sub(back * SECTOR);
    let (Some(before), Some(footer_at), Some(last)) = (at(3), at(2), at(1)) else {
        report.field(Rule::VmdkFooter, "footer", 0, "a file that ends before it", "a marker, the footer, a marker");
        return None;
    };
    let mut marker = |at: u64, what: &str, sectors: u64, kind: u32| {
        let found = structure::<Marker>(file, at);
        let is_right = |marker: &Marker| {
            (marker.sectors.get(), marker.len.get(), marker.kind.get()) == (sectors, 0, kind)
                && used(&marker.reserved) == 0
        };
        if !found.as_ref().is_some_and(is_right) {
            let words =
                |marker: Marker| format!("{} sectors, length {}, kind {}", marker.sectors, marker.len, marker.kind);
            let allowed = format!("{sectors} sectors, length 0, kind {kind}");
            report.field(Rule::VmdkFooter, what, at, found.map_or("nothing".to_owned(), words), allowed);
        }
    };
    marker(before, "marker of the footer", 1, ondisk::MARKER_FOOTER);
    marker(last, "end-of-stream marker", 0, ondisk::MARKER_END);
    let footer = structure::<Header>(file, footer_at)?;
    if !check_header(&footer, footer_at, Rule::VmdkFooter, "footer", report) {
        return None;
    }
    let as_header = Header { grain_directory: header.grain_directory, ..footer.clone() };
    let differing = as_header.as_bytes().iter().zip(header.as_bytes());
    if let Some(byte) = differing.enumerate().find(|(_, (one, other))| one != other).map(|(byte, _)| byte as u64) {
        let found = format!("differs from the header from byte {byte} on");
        report.field(Rule::VmdkFooter, "footer", footer_at + byte, found, "the same but for the grain directory");
    }
    let directory = footer.grain_directory.get();
    if let Some(at) = directory.checked_sub(1).and_then(|sector| sector.checked_mul(SECTOR)) {
        let entries = header.capacity.get().div_ceil(header.grain.get() * ondisk::TABLE_ENTRIES);
        let sectors = (entries * 4).div_ceil(SECTOR);
        // VirtualBox, which writes no length, is content without.
        let known = structure::<Marker>(file, at).is_some_and(|marker| {
            marker.kind == ondisk::MARKER_DIRECTORY && marker.len == 0 && [0, sectors].contains(&marker.sectors.get())
        });
        if !known {
            let finding = Finding::new(Rule::VmdkFooter, "no marker").part("marker of the grain directory").at(at);
            report.add(finding.allowed(format_args!("{sectors} sectors, length 0, kind 2")).level(Level::Warning));
        }
    }
    Some(directory)
}
