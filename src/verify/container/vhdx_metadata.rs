//! The rules of VHDX, from \[MS-VHDX\]: the metadata.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::FromBytes;

use super::{Report, used};
use crate::base::{Name, ReadAt};
use crate::format::vhdx::Parent;
use crate::format::vhdx::ondisk::{self, Item, LocatorHeader, LocatorPair, MetadataTable, TABLE_LEN};
use crate::verify::Rule;

const RULE: Rule = Rule::VhdxMetadata;

/// What the other checks have to know.
pub(super) struct Metadata {
    pub(super) disk_len: u64,
    pub(super) block_size: u64,
    pub(super) sector: u64,
    pub(super) is_differencing: bool,
    pub(super) parent: Option<Parent>,
}

/// What an item has to be.
struct Known {
    id: Uuid,
    name: &'static str,
    /// In bytes, where it is always the same.
    len: Option<u32>,
    flags: u32,
}

const ABOUT_FILE: u32 = ondisk::ITEM_REQUIRED;
const ABOUT_DISK: u32 = ondisk::ITEM_REQUIRED | ondisk::ITEM_DISK;

const KNOWN: [Known; 6] = [
    Known { id: ondisk::FILE_PARAMETERS, name: "file parameters", len: Some(8), flags: ABOUT_FILE },
    Known { id: ondisk::DISK_SIZE, name: "virtual disk size", len: Some(8), flags: ABOUT_DISK },
    Known { id: ondisk::DISK_ID, name: "virtual disk id", len: Some(16), flags: ABOUT_DISK },
    Known { id: ondisk::LOGICAL_SECTOR, name: "logical sector size", len: Some(4), flags: ABOUT_DISK },
    Known { id: ondisk::PHYSICAL_SECTOR, name: "physical sector size", len: Some(4), flags: ABOUT_DISK },
    Known { id: ondisk::PARENT_LOCATOR, name: "parent locator", len: None, flags: ABOUT_FILE },
];

/// Checks the region; the values, if they are such that blocks can be looked for.
pub(super) fn check(file: &dyn ReadAt, region: &Range<u64>, report: &mut Report<'_>) -> Option<Metadata> {
    let mut bytes = vec![0; TABLE_LEN];
    if let Err(error) = file.read_at(region.start, &mut bytes) {
        report.field(RULE, "metadata table", region.start, error, "readable");
        return None;
    }
    let (table, rest) = MetadataTable::ref_from_prefix(&bytes).ok()?;
    if table.signature != ondisk::METADATA_SIGNATURE {
        let found = format!("signature {:?}", String::from_utf8_lossy(&table.signature));
        report.field(RULE, "metadata table", region.start, found, "\"metadata\"");
        return None;
    }
    if table.reserved != 0 || used(&table.reserved_end) > 0 {
        report.field(RULE, "metadata table: reserved bytes", region.start + 8, "some used", "zeros");
    }
    let Ok((items, _)) = <[Item]>::ref_from_prefix_with_elems(rest, usize::from(table.entries.get())) else {
        let allowed = format!("at most {}", ondisk::MAX_ENTRIES);
        report.field(RULE, "metadata table: entries", region.start + 10, table.entries, allowed);
        return None;
    };
    check_items(items, region, report);
    let reader = Reader { file, region, items };
    check_values(&reader, report)
}

fn check_items(items: &[Item], region: &Range<u64>, report: &mut Report<'_>) {
    let mut places: Vec<(u64, u64)> = Vec::new();
    for (index, item) in (0..).zip(items) {
        let at = region.start + 32 + index * 32;
        let id = item.id.get();
        let flags = item.flags.get();
        let known = KNOWN.iter().find(|known| known.id == id && flags & ondisk::ITEM_USER == 0);
        let part = known.map_or_else(|| format!("item {id}"), |known| known.name.to_owned());
        let mut field = |offset: u64, found: String, allowed: &str| {
            report.field(RULE, &part, at + offset, found, allowed);
        };
        let (start, len) = (u64::from(item.at.get()), u64::from(item.len.get()));
        let is_inside = start >= TABLE_LEN as u64 && start + len <= region.end - region.start;
        if len > u64::from(ondisk::MAX_ITEM) || (len > 0 && !is_inside) || (len == 0 && start != 0) {
            field(16, format!("{len} bytes at {start:#x}"), "behind the table, inside the region, at most 1 MiB");
        }
        if flags & !(ondisk::ITEM_USER | ondisk::ITEM_DISK | ondisk::ITEM_REQUIRED) != 0 || item.reserved != 0 {
            field(
                24,
                format!("flags {flags:#x}, reserved {:#x}", item.reserved),
                "no flags but 1, 2 and 4; reserved 0",
            );
        }
        match known {
            Some(known) if known.len.is_some_and(|right| u64::from(right) != len) => {
                field(20, format!("{len} bytes"), &format!("{} bytes", known.len.unwrap_or_default()));
            }
            Some(known) if known.flags != flags & 7 => {
                field(24, format!("flags {flags:#x}"), &format!("{:#x}", known.flags));
            }
            None if flags & ondisk::ITEM_REQUIRED != 0 => {
                field(0, "unknown, and required".to_owned(), "items of the specification");
            }
            _ => {}
        }
        let is_same = |other: &Item| other.id == item.id && (other.flags.get() ^ flags) & ondisk::ITEM_USER == 0;
        if items.iter().take(index as usize).any(is_same) {
            report.field(RULE, &part, at, "twice in the table", "once");
        }
        if len > 0 {
            places.push((start, start + len));
        }
    }
    places.sort_unstable();
    for pair in places.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
        let found = format!("items at {:#x} and {:#x}", pair[0].0, pair[1].0);
        report.field(RULE, "metadata region", region.start + pair[1].0, found, "items apart from each other");
    }
}

struct Reader<'f> {
    file: &'f dyn ReadAt,
    region: &'f Range<u64>,
    items: &'f [Item],
}

impl Reader<'_> {
    fn bytes(&self, id: Uuid) -> Option<Vec<u8>> {
        let is_it = |item: &&Item| item.id.get() == id && item.flags.get() & ondisk::ITEM_USER == 0;
        let item = self.items.iter().find(is_it)?;
        let len = item.len.get();
        let at = self.region.start + u64::from(item.at.get());
        if len > ondisk::MAX_ITEM || at + u64::from(len) > self.region.end {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_at(at, &mut bytes).ok().map(|()| bytes)
    }

    /// A number of 4 or 8 bytes.
    fn number(&self, id: Uuid) -> Option<u64> {
        let bytes = self.bytes(id)?;
        match bytes.len() {
            4 => bytes.as_slice().try_into().ok().map(|bytes| u64::from(u32::from_le_bytes(bytes))),
            8 => bytes.as_slice().try_into().ok().map(u64::from_le_bytes),
            _ => None,
        }
    }
}

fn check_values(reader: &Reader<'_>, report: &mut Report<'_>) -> Option<Metadata> {
    let at = reader.region.start;
    for known in &KNOWN[..5] {
        if reader.bytes(known.id).is_none() {
            report.field(RULE, known.name, at, "none that can be read", "one");
        }
    }
    let parameters = reader.number(ondisk::FILE_PARAMETERS)?;
    let (block_size, flags) = (parameters & 0xFFFF_FFFF, (parameters >> 32) as u32);
    let is_differencing = flags & ondisk::HAS_PARENT != 0;
    if flags & !(ondisk::LEAVE_BLOCKS | ondisk::HAS_PARENT) != 0 {
        report.field(RULE, "file parameters: flags", at, format!("{flags:#x}"), "no others than 1 and 2");
    }
    let parent = check_locator(reader, is_differencing, report);
    let limits = u64::from(ondisk::MIN_BLOCK)..=u64::from(ondisk::MAX_BLOCK);
    let mut sound = true;
    if !block_size.is_power_of_two() || !limits.contains(&block_size) {
        report.field(RULE, "file parameters: block size", at, block_size, "a power of two from 1 MiB to 256 MiB");
        sound = false;
    }
    let sector = reader.number(ondisk::LOGICAL_SECTOR)?;
    for (name, found) in [("logical", Some(sector)), ("physical", reader.number(ondisk::PHYSICAL_SECTOR))] {
        if let Some(found) = found.filter(|found| ![512, 4096].contains(found)) {
            report.field(RULE, &format!("{name} sector size"), at, found, "512 or 4096");
            sound &= name != "logical";
        }
    }
    if reader.bytes(ondisk::DISK_ID).is_some_and(|id| used(&id) == 0) {
        report.field(RULE, "virtual disk id", at, "zero", "an id of its own");
    }
    let disk_len = reader.number(ondisk::DISK_SIZE)?;
    if disk_len == 0 || disk_len > ondisk::MAX_DISK || (sound && !disk_len.is_multiple_of(sector)) {
        let found = format!("{disk_len} bytes");
        report.field(Rule::VhdxSize, "virtual disk size", at, found, "whole sectors, at most 64 TiB");
        sound &= disk_len <= ondisk::MAX_DISK && disk_len > 0;
    }
    sound.then_some(Metadata { disk_len, block_size, sector, is_differencing, parent })
}

fn check_locator(reader: &Reader<'_>, is_differencing: bool, report: &mut Report<'_>) -> Option<Parent> {
    let at = reader.region.start;
    match (reader.bytes(ondisk::PARENT_LOCATOR), is_differencing) {
        (None, false) => None,
        (None, true) => {
            report.field(RULE, "parent locator", at, "none", "one, since the disk has a parent");
            None
        }
        (Some(_), false) => {
            report.field(RULE, "parent locator", at, "one", "none, since the disk has no parent");
            None
        }
        (Some(bytes), true) => {
            let parent = Parent::parse(&bytes);
            let parent = parent.map_err(|error| report.field(RULE, "parent locator", at, error, "a GUID and paths"));
            parent.inspect(|parent| check_texts(&bytes, parent, at, report)).ok()
        }
    }
}

/// What a locator says, which can be parsed.
fn check_texts(bytes: &[u8], parent: &Parent, at: u64, report: &mut Report<'_>) {
    let mut fault = |found: String, allowed: &str| {
        report.field(Rule::VhdxLocator, "parent locator", at, found, allowed);
    };
    let Ok((header, rest)) = LocatorHeader::ref_from_prefix(bytes) else { return };
    if header.reserved != 0 {
        fault(format!("reserved {:#x}", header.reserved), "zero");
    }
    let pairs = <[LocatorPair]>::ref_from_prefix_with_elems(rest, usize::from(header.pairs.get()));
    let Ok((pairs, _)) = pairs else { return };
    let mut keys = Vec::new();
    for pair in pairs {
        let (key_at, key_len) = (pair.key_at.get() as usize, usize::from(pair.key_len.get()));
        let key = Name::from_le_bytes(bytes.get(key_at..key_at.saturating_add(key_len)).unwrap_or_default());
        if key_len == 0 || pair.value_len == 0 || pair.key_at == 0 || pair.value_at == 0 {
            fault(format!("{key:?} with {} bytes", pair.value_len), "texts that are not empty, behind the header");
        } else if keys.contains(&key) {
            fault(format!("{key:?} twice"), "each key once");
        }
        keys.push(key);
    }
    let is_device = |path: &Option<Name>| path.as_ref().is_none_or(|path| path.to_string().starts_with(r"\\?\"));
    if parent.relative.is_none() && parent.volume.is_none() && parent.absolute.is_none() {
        fault("no path".to_owned(), "one of relative_path, volume_path and absolute_win32_path");
    } else if !is_device(&parent.absolute) || !is_device(&parent.volume) {
        fault("an absolute path of another form".to_owned(), r"paths that begin with \\?\");
    }
}
