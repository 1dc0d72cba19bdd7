//! Cuts into an NTFS volume in memory: one field is changed, and what would change with it is put right again.
//!
//! It has a parser of its own, which believes everything that it reads: it works on good volumes only, and panics on others.

mod index;
mod runs;
mod secure;

pub(crate) use index::{Entry, Key, Node, entries};
pub(crate) use runs::Run;

/// Length of what an update sequence protects.
const STRIDE: usize = 512;
const FLAG_IN_USE: u64 = 1;

/// Type codes of attributes.
pub(crate) mod kind {
    pub(crate) const STANDARD_INFORMATION: u32 = 0x10;
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const FILE_NAME: u32 = 0x30;
    pub(crate) const OBJECT_ID: u32 = 0x40;
    pub(crate) const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(crate) const BITMAP: u32 = 0xB0;
    pub(crate) const REPARSE_POINT: u32 = 0xC0;
    pub(crate) const EA_INFORMATION: u32 = 0xD0;
    pub(crate) const EA: u32 = 0xE0;
    pub(crate) const END: u32 = 0xFFFF_FFFF;
}

/// The little-endian integer of `len` bytes at `at`.
pub(crate) fn int(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Puts one there.
pub(crate) fn put(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

/// A name as it is stored.
pub(crate) fn units(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// An attribute, or a segment of one, where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    /// The record that it is in.
    pub(crate) holder: u64,
    /// Where in that record.
    pub(crate) at: usize,
    pub(crate) kind: u32,
    pub(crate) name: String,
    /// All of it.
    pub(crate) raw: Vec<u8>,
}

impl Attribute {
    pub(crate) fn resident(&self) -> bool {
        self.raw[8] == 0
    }

    /// Where the value of a resident one begins in it.
    fn value_at(&self) -> usize {
        int(&self.raw, 20, 2) as usize
    }
}

/// A volume on the table.
#[derive(Clone)]
pub(crate) struct Surgeon {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sector: usize,
    pub(crate) cluster: usize,
    pub(crate) record_len: usize,
    mft: Vec<Run>,
    mirror: (usize, usize),
}

impl Surgeon {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let sector = int(&bytes, 0x0B, 2) as usize;
        let cluster = sector
            * match bytes[0x0D] {
                count @ 0..=0x80 => usize::from(count),
                exponent => 1 << (256 - usize::from(exponent)),
            };
        let record_len = match bytes[0x40] as i8 {
            count @ 1.. => count as usize * cluster,
            exponent => 1 << -exponent,
        };
        let first = vec![(Some(int(&bytes, 0x30, 8)), (record_len.div_ceil(cluster)) as u64)];
        let mirror = (int(&bytes, 0x38, 8) as usize * cluster, 0);
        let mut volume = Self { bytes, sector, cluster, record_len, mft: first, mirror };
        volume.mft = volume.runs(0, kind::DATA, "");
        volume.mirror.1 = volume.size(1, kind::DATA, "") as usize;
        volume
    }

    /// How many clusters the volume has.
    pub(crate) fn clusters(&self) -> u64 {
        int(&self.bytes, 0x28, 8) * self.sector as u64 / self.cluster as u64
    }

    /// Changes the boot sector, and its copy in the last sector.
    pub(crate) fn patch_boot(&mut self, at: usize, bytes: &[u8]) {
        let copy = self.bytes.len() - self.sector;
        for start in [0, copy] {
            self.bytes[start + at..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    // Records.

    /// A record as it lies on the volume.
    pub(crate) fn raw_record(&self, number: u64) -> Vec<u8> {
        self.read_runs(&self.mft, number as usize * self.record_len, self.record_len)
    }

    /// Puts one there, and into $MFTMirr if it is among the first.
    pub(crate) fn put_raw_record(&mut self, number: u64, raw: &[u8]) {
        let at = number as usize * self.record_len;
        let (mirror, len) = self.mirror;
        self.write_runs(&self.mft.clone(), at, raw);
        if at < len {
            self.bytes[mirror + at..][..raw.len()].copy_from_slice(raw);
        }
    }

    /// A record without its fixups.
    pub(crate) fn record(&self, number: u64) -> Vec<u8> {
        let mut raw = self.raw_record(number);
        assert!(raw.starts_with(b"FILE"), "no record {number}");
        undo_fixups(&mut raw);
        raw
    }

    /// Changes a record: `change` sees it without fixups.
    pub(crate) fn edit<R>(&mut self, number: u64, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut record = self.record(number);
        let result = change(&mut record);
        record.resize(self.record_len, 0);
        redo_fixups(&mut record);
        self.put_raw_record(number, &record);
        result
    }

    /// Changes a field of a record's header.
    pub(crate) fn set(&mut self, number: u64, at: usize, len: usize, value: u64) {
        self.edit(number, |record| put(record, at, len, value));
    }

    /// A reference to a record as it is.
    pub(crate) fn reference(&self, number: u64) -> u64 {
        int(&self.record(number), 16, 2) << 48 | number
    }

    /// The numbers of the records of a file, base first.
    pub(crate) fn holders(&self, base: u64) -> Vec<u64> {
        let mut holders = vec![base];
        let own = attributes_of(base, &self.record(base));
        if let Some(list) = own.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST) {
            let value = self.value_of(std::slice::from_ref(list));
            let mut at = 0;
            while at < value.len() {
                let holder = int(&value, at + 16, 6);
                if !holders.contains(&holder) {
                    holders.push(holder);
                }
                at += int(&value, at + 4, 2) as usize;
            }
        }
        holders
    }

    /// A free record that $MFT has room for, between those of the system and those of the user.
    pub(crate) fn free_record(&self) -> u64 {
        (32..64).find(|number| !self.bit(0, kind::BITMAP, "", *number)).expect("a free record")
    }

    // Attributes.

    /// All attributes of a file, from all of its records, segments by themselves.
    pub(crate) fn attributes(&self, base: u64) -> Vec<Attribute> {
        self.holders(base).into_iter().flat_map(|holder| attributes_of(holder, &self.record(holder))).collect()
    }

    /// All segments of an attribute, in order.
    pub(crate) fn segments(&self, base: u64, kind: u32, name: &str) -> Vec<Attribute> {
        let mut found: Vec<_> =
            self.attributes(base).into_iter().filter(|a| a.kind == kind && a.name == name).collect();
        if found.iter().all(|attribute| !attribute.resident()) {
            found.sort_by_key(|attribute| int(&attribute.raw, 16, 8));
        }
        found
    }

    /// The attribute of that type and name; its first segment if there are several.
    #[track_caller]
    pub(crate) fn attribute(&self, base: u64, kind: u32, name: &str) -> Attribute {
        let found = self.segments(base, kind, name).into_iter().next();
        found.unwrap_or_else(|| panic!("record {base} has no attribute {kind:#x} '{name}'"))
    }

    /// Changes a field in the header of an attribute.
    #[track_caller]
    pub(crate) fn set_field(&mut self, base: u64, kind: u32, name: &str, at: usize, len: usize, value: u64) {
        let attribute = self.attribute(base, kind, name);
        self.edit(attribute.holder, |record| put(record, attribute.at + at, len, value));
    }

    /// Puts `raw` (of whole 8 bytes; nothing to remove it) in the place of an attribute.
    pub(crate) fn replace(&mut self, attribute: &Attribute, raw: &[u8]) {
        let old = attribute.at..attribute.at + attribute.raw.len();
        self.edit(attribute.holder, |record| {
            let used = int(record, 24, 4) as usize + raw.len() - attribute.raw.len();
            assert!(used <= record.len(), "no room in record {}", attribute.holder);
            record.splice(old, raw.iter().copied());
            put(record, 24, 4, used as u64);
            record.resize(used, 0);
        });
    }

    /// Takes an attribute away.
    pub(crate) fn remove(&mut self, base: u64, kind: u32, name: &str) {
        let attribute = self.attribute(base, kind, name);
        self.replace(&attribute, &[]);
    }

    /// The value of an attribute.
    #[track_caller]
    pub(crate) fn value(&self, base: u64, kind: u32, name: &str) -> Vec<u8> {
        let segments = self.segments(base, kind, name);
        assert!(!segments.is_empty(), "record {base} has no attribute {kind:#x} '{name}'");
        self.value_of(&segments)
    }

    fn value_of(&self, segments: &[Attribute]) -> Vec<u8> {
        let first = &segments[0];
        if first.resident() {
            let at = first.value_at();
            return first.raw[at..at + int(&first.raw, 16, 4) as usize].to_vec();
        }
        let runs: Vec<Run> = segments.iter().flat_map(|segment| runs::decode(&segment.raw)).collect();
        self.read_runs(&runs, 0, int(&first.raw, 48, 8) as usize)
    }

    /// Changes bytes of a value in place.
    #[track_caller]
    pub(crate) fn patch(&mut self, base: u64, kind: u32, name: &str, at: usize, bytes: &[u8]) {
        let attribute = self.attribute(base, kind, name);
        self.patch_attribute(&attribute, at, bytes);
    }

    fn patch_attribute(&mut self, attribute: &Attribute, at: usize, bytes: &[u8]) {
        if attribute.resident() {
            let start = attribute.at + attribute.value_at() + at;
            self.edit(attribute.holder, |record| record[start..start + bytes.len()].copy_from_slice(bytes));
        } else {
            self.write_runs(&runs::decode(&attribute.raw), at, bytes);
        }
    }

    /// Gives a resident attribute another value.
    #[track_caller]
    pub(crate) fn set_value(&mut self, base: u64, kind: u32, name: &str, value: &[u8]) {
        let attribute = self.attribute(base, kind, name);
        assert!(attribute.resident());
        let mut raw = attribute.raw[..attribute.value_at()].to_vec();
        raw.extend(value);
        raw.resize(raw.len().next_multiple_of(8), 0);
        let len = raw.len() as u64;
        put(&mut raw, 4, 4, len);
        put(&mut raw, 16, 4, value.len() as u64);
        self.replace(&attribute, &raw);
    }

    /// A bit of a bitmap.
    pub(crate) fn bit(&self, base: u64, kind: u32, name: &str, bit: u64) -> bool {
        self.value(base, kind, name)[bit as usize / 8] >> (bit % 8) & 1 == 1
    }

    /// Sets or clears one.
    pub(crate) fn set_bit(&mut self, base: u64, kind: u32, name: &str, bit: u64, on: bool) {
        let old = self.value(base, kind, name)[bit as usize / 8];
        assert_ne!(old >> (bit % 8) & 1 == 1, on, "bit {bit} is {on} already");
        self.patch(base, kind, name, bit as usize / 8, &[old ^ 1 << (bit % 8)]);
    }

    // Names and what is copied into them.

    /// The record at a path.
    #[track_caller]
    pub(crate) fn find(&self, path: &str) -> u64 {
        path.split('\\')
            .filter(|part| !part.is_empty())
            .fold(5, |directory, part| self.entry(directory, Key::Name(part)).reference(self) & 0xFFFF_FFFF_FFFF)
    }

    /// The $FILE_NAME attributes of a file.
    pub(crate) fn names(&self, base: u64) -> Vec<Attribute> {
        self.attributes(base).into_iter().filter(|attribute| attribute.kind == kind::FILE_NAME).collect()
    }

    /// The $FILE_NAME attribute with that name.
    #[track_caller]
    pub(crate) fn name(&self, base: u64, name: &str) -> Attribute {
        let is = |attribute: &Attribute| {
            let value = &attribute.raw[attribute.value_at()..];
            text(&value[66..66 + 2 * usize::from(value[64])]) == name
        };
        let found = self.names(base).into_iter().find(is);
        found.unwrap_or_else(|| panic!("record {base} has no name '{name}'"))
    }

    /// Changes bytes of a $FILE_NAME, both in the file and in its directory's entry.
    #[track_caller]
    pub(crate) fn patch_name(&mut self, base: u64, name: &str, at: usize, bytes: &[u8]) {
        let attribute = self.name(base, name);
        let parent = int(&attribute.raw, attribute.value_at(), 6);
        self.patch_entry(parent, Key::Name(name), 16 + at, bytes);
        self.patch_attribute(&attribute, at, bytes);
    }

    /// Changes bytes of a $FILE_NAME in the file only.
    #[track_caller]
    pub(crate) fn patch_own_name(&mut self, base: u64, name: &str, at: usize, bytes: &[u8]) {
        let attribute = self.name(base, name);
        self.patch_attribute(&attribute, at, bytes);
    }

    /// Gives a file other attributes, in $STANDARD_INFORMATION and wherever they are copied to.
    pub(crate) fn set_file_attributes(&mut self, base: u64, change: impl Fn(u32) -> u32) {
        let changed = |bytes: &[u8], at| change(int(bytes, at, 4) as u32).to_le_bytes();
        let own = self.value(base, kind::STANDARD_INFORMATION, "");
        self.patch(base, kind::STANDARD_INFORMATION, "", 32, &changed(&own, 32));
        for name in self.names(base) {
            let value = self.value_of(std::slice::from_ref(&name));
            self.patch_name(base, &text(&value[66..]), 56, &changed(&value, 56));
        }
    }
}

/// The attributes that stand in a record.
fn attributes_of(holder: u64, record: &[u8]) -> Vec<Attribute> {
    let mut found = Vec::new();
    let mut at = int(record, 20, 2) as usize;
    while int(record, at, 4) as u32 != kind::END {
        let raw = record[at..at + int(record, at + 4, 4) as usize].to_vec();
        let (len, name_at) = (2 * usize::from(raw[9]), int(&raw, 10, 2) as usize);
        let name = if len == 0 { String::new() } else { text(&raw[name_at..name_at + len]) };
        let next = at + raw.len();
        found.push(Attribute { holder, at, kind: int(&raw, 0, 4) as u32, name, raw });
        at = next;
    }
    found
}

/// Puts the words that the update sequence replaced back to the ends of strides.
fn undo_fixups(block: &mut [u8]) {
    let usa = int(block, 4, 2) as usize;
    for stride in 1..=block.len() / STRIDE {
        let end = stride * STRIDE;
        assert_eq!(block[end - 2..end], block[usa..usa + 2], "a torn stride");
        block.copy_within(usa + 2 * stride..usa + 2 * stride + 2, end - 2);
    }
}

/// The other way.
fn redo_fixups(block: &mut [u8]) {
    let usa = int(block, 4, 2) as usize;
    for stride in 1..=block.len() / STRIDE {
        let end = stride * STRIDE;
        block.copy_within(end - 2..end, usa + 2 * stride);
        block.copy_within(usa..usa + 2, end - 2);
    }
}

impl Surgeon {
    /// A record that is in use and has these attributes, put where none is. Its bit in $MFT:$BITMAP is set.
    pub(crate) fn make_record(&mut self, number: u64, base: u64, attributes: &[u8]) {
        let first = (48 + 2 * (self.record_len / STRIDE + 1)).next_multiple_of(8);
        let mut record = vec![0; self.record_len];
        record[..4].copy_from_slice(b"FILE");
        let used = first + attributes.len() + 8;
        let header = [
            (4, 2, 48),
            (6, 2, self.record_len / STRIDE + 1),
            (16, 2, 1),
            (20, 2, first),
            (22, 2, FLAG_IN_USE as usize),
            (24, 4, used),
            (28, 4, self.record_len),
            (32, 8, base as usize),
            (40, 2, 8),
            (44, 4, number as usize),
            (48, 2, 1),
        ];
        for (at, len, value) in header {
            put(&mut record, at, len, value as u64);
        }
        record[first..first + attributes.len()].copy_from_slice(attributes);
        put(&mut record, used - 8, 4, u64::from(kind::END));
        redo_fixups(&mut record);
        self.put_raw_record(number, &record);
        self.set_bit(0, kind::BITMAP, "", number, true);
    }
}
