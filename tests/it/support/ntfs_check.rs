//! A strict check of an NTFS volume, straight from its bytes. It shares no code with the writer, and says all that it finds.

use std::collections::{BTreeMap, HashMap, HashSet};

/// An attribute, wherever it is.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) record: u64,
    pub(crate) kind: u32,
    pub(crate) name: Vec<u16>,
    pub(crate) instance: u16,
    pub(crate) flags: u16,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Resident(Vec<u8>),
    Outside { runs: Vec<(Option<u64>, u64)>, allocated: u64, size: u64, initialized: u64, total: Option<u64> },
}

/// A base record with the attributes of all of its records.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) sequence: u16,
    pub(crate) flags: u16,
    pub(crate) links: u16,
    pub(crate) attributes: Vec<Attribute>,
}

pub(crate) struct Volume<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) cluster: usize,
    pub(crate) record: usize,
    pub(crate) clusters: u64,
    pub(crate) files: BTreeMap<u64, File>,
    /// Directory record to (name, namespace, record).
    pub(crate) entries: HashMap<u64, Vec<(Vec<u16>, u8, u64)>>,
    /// Descriptors by id.
    pub(crate) descriptors: HashMap<u32, Vec<u8>>,
    pub(crate) problems: Vec<String>,
    upcase: Vec<u16>,
    owners: Vec<u32>,
    in_use: Vec<bool>,
    extents: HashMap<u64, (u64, u16)>,
}

fn int(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

const I30: [u16; 4] = [0x24, 0x49, 0x33, 0x30];

macro_rules! problem {
    ($volume:expr, $($text:tt)*) => { $volume.problems.push(format!($($text)*)) };
}

/// Reads and checks a volume.
pub(crate) fn check(bytes: &[u8]) -> Volume<'_> {
    let sector = int(bytes, 0x0B, 2) as usize;
    let cluster = bytes[0x0D] as usize * sector;
    let code = bytes[0x40] as i8;
    let record = if code > 0 { code as usize * cluster } else { 1 << -code };
    let total = int(bytes, 0x28, 8);
    let mut volume = Volume {
        bytes,
        cluster,
        record,
        clusters: total * sector as u64 / cluster as u64,
        files: BTreeMap::new(),
        entries: HashMap::new(),
        descriptors: HashMap::new(),
        problems: Vec::new(),
        upcase: Vec::new(),
        owners: Vec::new(),
        in_use: Vec::new(),
        extents: HashMap::new(),
    };
    volume.owners = vec![u32::MAX; volume.clusters as usize];
    if &bytes[3..11] != b"NTFS    " || bytes[0x1FE..0x200] != [0x55, 0xAA] || bytes[0x15] != 0xF8 {
        problem!(volume, "boot sector");
    }
    if (total + 1) * sector as u64 != bytes.len() as u64 {
        problem!(volume, "{total} sectors in {} bytes", bytes.len());
    } else if bytes[bytes.len() - sector..] != bytes[..sector] {
        problem!(volume, "backup boot sector");
    }
    volume.read_records();
    volume.check_lists();
    volume.check_clusters();
    volume.check_system();
    volume.check_secure();
    volume.check_directories();
    volume.check_files();
    volume.check_object_ids_and_reparse_points();
    volume
}

impl Volume<'_> {
    /// Undoes the update sequence.
    fn fix_up(&mut self, what: &str, buf: &mut [u8], usa: usize) {
        let (offset, count) = (int(buf, 4, 2) as usize, int(buf, 6, 2) as usize);
        if offset != usa || count != buf.len() / 512 + 1 {
            problem!(self, "{what}: update sequence at {offset}, {count} long");
            return;
        }
        let number = [buf[offset], buf[offset + 1]];
        if number == [0, 0] {
            problem!(self, "{what}: update sequence number 0");
        }
        for stride in 1..count {
            let end = stride * 512 - 2;
            if buf[end..end + 2] != number {
                problem!(self, "{what}: torn at stride {stride}");
            }
            buf.copy_within(offset + 2 * stride..offset + 2 * stride + 2, end);
        }
    }

    fn read_records(&mut self) {
        let before = self.problems.len();
        let start = int(self.bytes, 0x30, 8) as usize * self.cluster;
        let mut first = self.bytes[start..start + self.record].to_vec();
        let usa = int(&first, 4, 2) as usize;
        self.fix_up("record 0", &mut first, usa);
        let mft = self.attributes_of(0, &first);
        let data = mft.iter().find(|a| a.kind == 0x80).expect("$MFT has data").clone();
        let Value::Outside { runs, .. } = &data.value else { panic!("$MFT is outside of its record") };
        assert_eq!(runs[0].0, Some(int(self.bytes, 0x30, 8)));
        let table = self.read(&data);
        self.problems.truncate(before); // those of record 0 come again
        for (number, raw) in table.chunks_exact(self.record).enumerate() {
            self.read_record(number as u64, raw.to_vec());
        }
    }

    fn read_record(&mut self, number: u64, mut buf: Vec<u8>) {
        self.in_use.push(false);
        if buf.iter().all(|byte| *byte == 0) {
            return;
        }
        let what = format!("record {number}");
        if &buf[..4] != b"FILE" {
            return problem!(self, "{what}: no FILE record");
        }
        self.fix_up(&what, &mut buf, 48);
        let flags = int(&buf, 22, 2) as u16;
        if int(&buf, 42, 2) << 32 | int(&buf, 44, 4) != number {
            problem!(self, "{what}: says it is {} {}", int(&buf, 42, 2), int(&buf, 44, 4));
        }
        if int(&buf, 28, 4) as usize != self.record
            || int(&buf, 20, 2) as usize != if self.record == 1024 { 56 } else { 72 }
        {
            problem!(self, "{what}: sizes");
        }
        let attributes = self.attributes_of(number, &buf);
        if flags & 1 == 0 {
            if !attributes.is_empty() {
                problem!(self, "{what}: free, with attributes");
            }
            return;
        }
        *self.in_use.last_mut().unwrap() = true;
        let sequence = int(&buf, 16, 2) as u16;
        let expected = if (1..16).contains(&number) { number as u16 } else { 1 };
        if sequence != expected && number < 27 || sequence == 0 {
            problem!(self, "{what}: sequence {sequence}");
        }
        let base = int(&buf, 32, 8);
        let links = int(&buf, 18, 2) as u16;
        let owner = if base == 0 {
            let file = self.files.entry(number).or_default();
            (file.sequence, file.flags, file.links) = (sequence, flags, links);
            file
        } else {
            if links != 0 || flags != 1 {
                problem!(self, "{what}: an extent with {links} links and flags {flags}");
            }
            self.extents.insert(number, (base, sequence));
            self.files.entry(base & 0xFFFF_FFFF_FFFF).or_default()
        };
        owner.attributes.extend(attributes);
    }

    fn attributes_of(&mut self, number: u64, buf: &[u8]) -> Vec<Attribute> {
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut at = int(buf, 20, 2) as usize;
        let next_instance = int(buf, 40, 2) as u16;
        let mut instances = HashSet::new();
        while int(buf, at, 4) != 0xFFFF_FFFF {
            let len = int(buf, at + 4, 4) as usize;
            if len < 24 || !len.is_multiple_of(8) || at + len + 8 > buf.len() {
                problem!(self, "record {number}: attribute at {at} of length {len}");
                return attributes;
            }
            let attribute = self.attribute(number, &buf[at..at + len]);
            if !instances.insert(attribute.instance) || attribute.instance >= next_instance {
                problem!(self, "record {number}: instance {} of {next_instance}", attribute.instance);
            }
            if let Some(last) = attributes.last()
                && (last.kind, self.up(&last.name)) > (attribute.kind, self.up(&attribute.name))
            {
                problem!(self, "record {number}: attribute {:#x} after {:#x}", attribute.kind, last.kind);
            }
            attributes.push(attribute);
            at += len;
        }
        if int(buf, 24, 4) as usize != at + 8 {
            problem!(self, "record {number}: {} bytes used instead of {}", int(buf, 24, 4), at + 8);
        }
        if buf[at + 8..].contains(&0xD1) {
            problem!(self, "record {number}: something was not written");
        }
        attributes
    }

    fn attribute(&mut self, record: u64, raw: &[u8]) -> Attribute {
        let kind = int(raw, 0, 4) as u32;
        let (name_len, name_at) = (raw[9] as usize, int(raw, 10, 2) as usize);
        let name = if name_len > 0 { units(&raw[name_at..name_at + 2 * name_len]) } else { Vec::new() };
        let flags = int(raw, 12, 2) as u16;
        let instance = int(raw, 14, 2) as u16;
        let what = format!("record {record} attribute {kind:#x}");
        let value = if raw[8] == 0 {
            let (len, at) = (int(raw, 16, 4) as usize, int(raw, 20, 2) as usize);
            if at % 8 != 0 || (at + len).next_multiple_of(8) != raw.len() || (raw[22] == 1) != (kind == 0x30) {
                problem!(self, "{what}: value at {at}, {len} long, in {}", raw.len());
            }
            Value::Resident(raw[at..at + len].to_vec())
        } else {
            self.outside(&what, raw, flags)
        };
        Attribute { record, kind, name, instance, flags, value }
    }

    fn outside(&mut self, what: &str, raw: &[u8], flags: u16) -> Value {
        let (lowest, highest) = (int(raw, 16, 8), int(raw, 24, 8));
        let (allocated, size, initialized) = (int(raw, 40, 8), int(raw, 48, 8), int(raw, 56, 8));
        let mut runs = Vec::new();
        let (mut at, mut lcn, mut vcns) = (int(raw, 32, 2) as usize, 0i64, 0);
        let signed = |at: usize, len: usize| -> i64 {
            let value = int(raw, at, len) as i64;
            if len < 8 && value >> (8 * len - 1) & 1 == 1 { value - (1 << (8 * len)) } else { value }
        };
        while raw[at] != 0 {
            let (len, place) = ((raw[at] & 15) as usize, (raw[at] >> 4) as usize);
            let clusters = signed(at + 1, len);
            if clusters <= 0 || clusters as u64 > self.clusters {
                problem!(self, "{what}: run of {clusters}");
                break;
            }
            let delta = (place > 0).then(|| signed(at + 1 + len, place));
            lcn += delta.unwrap_or(0);
            runs.push((delta.map(|_| lcn as u64), clusters as u64));
            vcns += clusters as u64;
            at += 1 + len + place;
        }
        let unit = if flags & 0x8000 != 0 { 16 * self.cluster as u64 } else { self.cluster as u64 };
        if lowest != 0 || highest.wrapping_add(1) != vcns || allocated != vcns * self.cluster as u64 {
            problem!(self, "{what}: VCNs {lowest}..={highest}, {vcns} mapped, {allocated} allocated");
        }
        if initialized > size || size > allocated || allocated % unit != 0 || raw.len() - at > 8 {
            problem!(self, "{what}: {initialized} <= {size} <= {allocated}");
        }
        let total = (flags & 0x8001 != 0).then(|| int(raw, 64, 8));
        let real: u64 = runs.iter().filter(|run| run.0.is_some()).map(|run| run.1).sum();
        if total.is_some_and(|total| total != real * self.cluster as u64) {
            problem!(self, "{what}: total allocated");
        }
        Value::Outside { runs, allocated, size, initialized, total }
    }

    /// The bytes of an attribute.
    pub(crate) fn read(&self, attribute: &Attribute) -> Vec<u8> {
        match &attribute.value {
            Value::Resident(bytes) => bytes.clone(),
            Value::Outside { runs, size, initialized, .. } => {
                let mut bytes = Vec::new();
                for (lcn, clusters) in runs {
                    let len = *clusters as usize * self.cluster;
                    match lcn {
                        Some(lcn) if (*lcn as usize * self.cluster).saturating_add(len) <= self.bytes.len() => {
                            bytes.extend_from_slice(&self.bytes[*lcn as usize * self.cluster..][..len])
                        }
                        _ => bytes.resize(bytes.len() + len, 0),
                    }
                }
                bytes.truncate(*size as usize);
                bytes[*initialized as usize..].fill(0);
                bytes
            }
        }
    }

    /// All attributes of a kind and name.
    pub(crate) fn all(&self, record: u64, kind: u32, name: &[u16]) -> Vec<Attribute> {
        let file = self.files.get(&record);
        let found = file.into_iter().flat_map(|file| &file.attributes).filter(|a| a.kind == kind && a.name == name);
        found.cloned().collect()
    }

    /// The value of the one attribute of a kind and name.
    pub(crate) fn value(&self, record: u64, kind: u32, name: &str) -> Option<Vec<u8>> {
        let name: Vec<u16> = name.encode_utf16().collect();
        self.all(record, kind, &name).first().map(|attribute| self.read(attribute))
    }

    fn up(&self, name: &[u16]) -> Vec<u16> {
        name.iter().map(|unit| self.upcase.get(*unit as usize).copied().unwrap_or(*unit)).collect()
    }

    fn check_lists(&mut self) {
        self.upcase = self.value(10, 0x80, "").map(|bytes| units(&bytes)).unwrap_or_default();
        let records: Vec<u64> = self.files.keys().copied().collect();
        for record in records {
            let lists = self.all(record, 0x20, &[]);
            let file = &self.files[&record];
            if file.sequence == 0 {
                problem!(self, "record {record}: a base that is not in use");
                continue;
            }
            let reference = u64::from(file.sequence) << 48 | record;
            let mut holders: HashMap<u64, u64> = HashMap::from([(record, reference)]);
            for (extent, (base, sequence)) in self.extents.iter().filter(|(_, (base, _))| base & 0xFFFF_FFFF == record)
            {
                if *base != reference {
                    self.problems.push(format!("record {extent}: base {base:#x}"));
                }
                holders.insert(*extent, u64::from(*sequence) << 48 | extent);
            }
            let expected: HashSet<(u32, Vec<u16>, u64, u16)> = self.files[&record]
                .attributes
                .iter()
                .filter(|a| a.kind != 0x20)
                .map(|a| (a.kind, a.name.clone(), holders[&a.record], a.instance))
                .collect();
            match lists.as_slice() {
                [] if holders.len() == 1 => {}
                [list] if list.record == record => {
                    let listed = self.listed(record, &self.read(list));
                    if listed != expected {
                        problem!(self, "record {record}: attribute list");
                    }
                }
                _ => problem!(self, "record {record}: {} lists and {} records", lists.len(), holders.len()),
            }
        }
    }

    fn listed(&mut self, record: u64, list: &[u8]) -> HashSet<(u32, Vec<u16>, u64, u16)> {
        let mut found = HashSet::new();
        let mut last = (0, Vec::new());
        let mut at = 0;
        while at < list.len() {
            let (kind, len, name_len) = (int(list, at, 4) as u32, int(list, at + 4, 2) as usize, list[at + 6] as usize);
            let name = units(&list[at + 26..at + 26 + 2 * name_len]);
            if list[at + 7] != 26 || len != (26 + 2 * name_len).next_multiple_of(8) || int(list, at + 8, 8) != 0 {
                problem!(self, "record {record}: list entry at {at}");
                break;
            }
            let key = (kind, self.up(&name));
            if key < last {
                problem!(self, "record {record}: list order at {at}");
            }
            last = key;
            if !found.insert((kind, name, int(list, at + 16, 8), int(list, at + 24, 2) as u16)) {
                problem!(self, "record {record}: listed twice at {at}");
            }
            at += len;
        }
        found
    }

    fn check_clusters(&mut self) {
        let mut problems = Vec::new();
        for (record, file) in &self.files {
            for attribute in &file.attributes {
                let Value::Outside { runs, size, .. } = &attribute.value else { continue };
                for (lcn, clusters) in runs.iter().filter_map(|(lcn, clusters)| Some(((*lcn)?, *clusters))) {
                    let Some(owners) = self.owners.get_mut(lcn as usize..(lcn + clusters) as usize) else {
                        problems.push(format!("record {record}: run {lcn}+{clusters} out of bounds"));
                        continue;
                    };
                    if let Some(other) = owners.iter().find(|owner| **owner != u32::MAX) {
                        problems.push(format!("record {record} and {other}: cluster in {lcn}+{clusters}"));
                    }
                    owners.fill(*record as u32);
                }
                if let [(Some(lcn), clusters)] = runs.as_slice() {
                    let start = *lcn as usize * self.cluster;
                    let all = self.bytes.get(start..start + *clusters as usize * self.cluster).unwrap_or_default();
                    if *record != 9 && all.get(*size as usize..).is_some_and(|tail| tail.iter().any(|byte| *byte != 0))
                    {
                        problems
                            .push(format!("record {record}: bytes after the end of attribute {:#x}", attribute.kind));
                    }
                }
            }
        }
        self.problems.append(&mut problems);
        let bitmap = self.value(6, 0x80, "").unwrap_or_default();
        if bitmap.len() as u64 != self.clusters.div_ceil(64) * 8 {
            problem!(self, "$Bitmap of {} bytes", bitmap.len());
        }
        for cluster in 0..bitmap.len() * 8 {
            let bit = bitmap[cluster / 8] >> (cluster % 8) & 1 == 1;
            if bit != self.owners.get(cluster).is_none_or(|owner| *owner != u32::MAX) {
                problem!(self, "$Bitmap: cluster {cluster} is {bit}");
                break;
            }
        }
    }

    fn check_system(&mut self) {
        let bits = self.value(0, 0xB0, "").unwrap_or_default();
        let wrong = (0..bits.len() * 8)
            .find(|n| (bits[n / 8] >> (n % 8) & 1 == 1) != self.in_use.get(*n).copied().unwrap_or(false));
        if !bits.len().is_multiple_of(8) || bits.len() * 8 < self.in_use.len() || wrong.is_some() {
            problem!(self, "$MFT:$BITMAP: {} bytes, record {wrong:?}", bits.len());
        }
        let mft = self.value(0, 0x80, "").unwrap_or_default();
        let mirror = self.value(1, 0x80, "").unwrap_or_default();
        if mirror.len() < 4 * self.record || mirror.len() < self.cluster || mft[..mirror.len()] != mirror {
            problem!(self, "$MFTMirr of {} bytes", mirror.len());
        }
        let mirror_lcn = int(self.bytes, 0x38, 8);
        let at = |record: u64| match &self.all(record, 0x80, &[])[0].value {
            Value::Outside { runs, .. } => runs[0].0,
            Value::Resident(_) => None,
        };
        if at(1) != Some(mirror_lcn) || at(7) != Some(0) {
            problem!(self, "boot sector: mirror at {mirror_lcn}");
        }
        if self.value(7, 0x80, "").is_none_or(|boot| boot.len() != 8192) {
            problem!(self, "$Boot");
        }
        if self.value(3, 0x70, "") != Some(vec![0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0]) {
            problem!(self, "$VOLUME_INFORMATION");
        }
        let log = self.value(2, 0x80, "").unwrap_or_default();
        if log.len() < 1 << 18 || log.iter().any(|byte| *byte != 0xFF) {
            problem!(self, "$LogFile of {} bytes", log.len());
        }
        let bad: Vec<u16> = "$Bad".encode_utf16().collect();
        match self.all(8, 0x80, &bad).first().map(|a| (a.flags, a.value.clone())) {
            Some((0, Value::Outside { runs, size, initialized: 0, .. }))
                if runs == [(None, self.clusters)] && size == self.clusters * self.cluster as u64 => {}
            other => problem!(self, "$BadClus:$Bad: {other:?}"),
        }
        for number in 12..16 {
            let file = &self.files[&number];
            let kinds: Vec<u32> = file.attributes.iter().map(|a| a.kind).collect();
            if file.links != 0 || kinds != [0x10, 0x50, 0x80] {
                problem!(self, "record {number}: {kinds:x?}");
            }
        }
    }

    fn check_secure(&mut self) {
        const BLOCK: usize = 0x40000;
        let sds = self.value(9, 0x80, "$SDS").unwrap_or_default();
        let end = sds.len().saturating_sub(BLOCK);
        let mut by_id = Vec::new();
        let mut at = 0;
        while at < end {
            let len = if at % BLOCK + 20 > BLOCK { 0 } else { int(&sds, at + 16, 4) as usize };
            if len == 0 {
                if at % BLOCK == 0 {
                    problem!(self, "$SDS: nothing at {at:#x} of {end:#x}");
                    break;
                }
                at = at.next_multiple_of(BLOCK) + BLOCK; // the rest of the block, and its copy
                continue;
            }
            let entry = &sds[at..at + len];
            let (hash, id) = (int(entry, 0, 4) as u32, int(entry, 4, 4) as u32);
            let mut words = entry[20..].to_vec();
            words.resize(words.len().next_multiple_of(4), 0);
            let computed = words.chunks(4).fold(0u32, |h, w| h.rotate_left(3).wrapping_add(int(w, 0, 4) as u32));
            if int(entry, 8, 8) as usize != at
                || hash != computed
                || sds.get(at + BLOCK..at + BLOCK + len) != Some(entry)
            {
                problem!(self, "$SDS: entry {id:#x} at {at:#x}");
            }
            if !(at / BLOCK).is_multiple_of(2) || at / BLOCK != (at + len - 1) / BLOCK {
                problem!(self, "$SDS: entry {id:#x} crosses a block at {at:#x}");
            }
            if self.descriptors.insert(id, entry[20..].to_vec()).is_some() {
                problem!(self, "$SDS: id {id:#x} twice");
            }
            by_id.push((id, hash, entry[..20].to_vec()));
            at = (at + len).next_multiple_of(16);
            if at % BLOCK == 0 {
                at += BLOCK;
            }
        }
        by_id.sort();
        let ids: Vec<_> = by_id.iter().map(|(id, _, head)| [&id.to_le_bytes()[..], head].concat()).collect();
        let mut by_hash = by_id;
        by_hash.sort_by_key(|(id, hash, _)| (*hash, *id));
        let hashes: Vec<_> = by_hash
            .iter()
            .map(|(id, hash, head)| [&hash.to_le_bytes()[..], &id.to_le_bytes(), head].concat())
            .collect();
        for (name, collation, expected, len) in [("$SII", 0x10, ids, 40), ("$SDH", 0x12, hashes, 48)] {
            let found: Vec<_> =
                self.walk_index(9, name, 0, collation).into_iter().map(|raw| self.view_entry(&raw, len)).collect();
            if found != expected {
                problem!(self, "{name}: {} entries for {} descriptors", found.len(), expected.len());
            }
        }
    }

    /// Key and data of an entry of a view.
    fn view_entry(&mut self, raw: &[u8], len: usize) -> Vec<u8> {
        let (data_at, data_len, key_len) = (int(raw, 0, 2) as usize, int(raw, 2, 2) as usize, int(raw, 10, 2) as usize);
        if raw.len() != len || data_at != 16 + key_len && data_len > 0 {
            problem!(self, "view entry of {} bytes, data at {data_at}", raw.len());
        }
        [&raw[16..16 + key_len], &raw[data_at..data_at + data_len]].concat()
    }

    /// The entries of an index in order, without children numbers; checks its nodes.
    pub(crate) fn walk_index(&mut self, record: u64, name: &str, kind: u32, collation: u32) -> Vec<Vec<u8>> {
        let what = format!("record {record} index {name}");
        let Some(root) = self.value(record, 0x90, name) else {
            problem!(self, "{what}: none");
            return Vec::new();
        };
        let unit = if self.cluster > 4096 { 512 } else { self.cluster };
        if (int(&root, 0, 4) as u32, int(&root, 4, 4) as u32, int(&root, 8, 4)) != (kind, collation, 4096)
            || root[12] as usize != 4096 / unit
        {
            problem!(self, "{what}: root {:x?}", &root[..16]);
        }
        let allocation = self.value(record, 0xA0, name).unwrap_or_default();
        let bitmap = self.value(record, 0xB0, name).unwrap_or_default();
        let mut visited = vec![false; allocation.len() / 4096];
        let mut depths = HashSet::new();
        let mut entries = Vec::new();
        self.walk_node(&what, &root[16..], &allocation, (&mut visited, &mut depths, &mut entries), 0);
        if !allocation.len().is_multiple_of(4096) || bitmap.len() != visited.len().div_ceil(64) * 8 && record != 5 {
            problem!(self, "{what}: {} blocks, {} bytes of bitmap", visited.len(), bitmap.len());
        }
        for bit in 0..bitmap.len() * 8 {
            if (bitmap[bit / 8] >> (bit % 8) & 1 == 1) != visited.get(bit).copied().unwrap_or(false) {
                problem!(self, "{what}: bit {bit} of the bitmap");
                break;
            }
        }
        if depths.len() != 1 {
            problem!(self, "{what}: leaves at depths {depths:?}");
        }
        entries
    }

    #[allow(clippy::type_complexity)]
    fn walk_node(
        &mut self,
        what: &str,
        node: &[u8],
        allocation: &[u8],
        found: (&mut Vec<bool>, &mut HashSet<usize>, &mut Vec<Vec<u8>>),
        depth: usize,
    ) {
        let (visited, depths, entries) = found;
        let unit = if self.cluster > 4096 { 512 } else { self.cluster };
        let (mut at, used, allocated) = (int(node, 0, 4) as usize, int(node, 4, 4) as usize, int(node, 8, 4) as usize);
        let children = int(node, 12, 4) == 1;
        if depth == 0 && (at, used, allocated) != (16, node.len(), node.len())
            || depth > 0 && (at, allocated) != (40, 4072)
        {
            problem!(self, "{what}: node header {at} {used} {allocated}");
        }
        if !children {
            depths.insert(depth);
        }
        let first = at;
        loop {
            let len = int(node, at + 8, 2) as usize;
            let flags = int(node, at + 12, 2);
            if len < 16 || !len.is_multiple_of(8) || at + len > used || (flags & 1 == 1) != children || depth > 20 {
                return problem!(self, "{what}: entry at {at}, {len} long, flags {flags}");
            }
            if children {
                let vcn = int(node, at + len - 8, 8) as usize;
                let block = vcn * unit / 4096;
                if !(vcn * unit).is_multiple_of(4096) || visited.get(block).copied().unwrap_or(true) {
                    return problem!(self, "{what}: child {vcn}");
                }
                visited[block] = true;
                let mut buf = allocation[block * 4096..][..4096].to_vec();
                self.fix_up(what, &mut buf, 40);
                if &buf[..4] != b"INDX" || int(&buf, 16, 8) as usize != vcn {
                    return problem!(self, "{what}: block {vcn}");
                }
                self.walk_node(what, &buf[24..], allocation, (&mut *visited, &mut *depths, &mut *entries), depth + 1);
            }
            if flags & 2 == 2 {
                if at + len != used || int(node, at + 10, 2) != 0 || len != 16 + 8 * usize::from(children) {
                    problem!(self, "{what}: end at {at}, {used} used");
                }
                if at == first && depth > 0 {
                    problem!(self, "{what}: a block without entries");
                }
                return;
            }
            let mut entry = node[at..at + len - 8 * usize::from(children)].to_vec();
            let own_len = entry.len() as u16;
            entry[8..10].copy_from_slice(&own_len.to_le_bytes());
            entry[12] = 0;
            entries.push(entry);
            at += len;
        }
    }

    fn check_directories(&mut self) {
        let directories: Vec<u64> =
            self.files.iter().filter(|(_, file)| file.flags & 2 == 2).map(|(n, _)| *n).collect();
        let with_index: Vec<u64> =
            self.files.keys().copied().filter(|record| !self.all(*record, 0x90, &I30).is_empty()).collect();
        if directories != with_index {
            problem!(self, "directory flags");
        }
        let mut indexed: HashMap<(u64, Vec<u8>), usize> = HashMap::new();
        for directory in directories {
            let mut last: Option<(Vec<u16>, Vec<u16>)> = None;
            let mut list = Vec::new();
            for entry in self.walk_index(directory, "$I30", 0x30, 1) {
                let (reference, key_len) = (int(&entry, 0, 8), int(&entry, 10, 2) as usize);
                let key = entry[16..16 + key_len].to_vec();
                if entry.len() != (16 + key_len).next_multiple_of(8) || key_len != 66 + 2 * key[64] as usize {
                    problem!(self, "directory {directory}: lengths of an entry");
                }
                let parent = u64::from(self.files[&directory].sequence) << 48 | directory;
                if int(&key, 0, 8) != parent {
                    problem!(self, "directory {directory}: entry of directory {:#x}", int(&key, 0, 8));
                }
                let name = units(&key[66..]);
                let order = (self.up(&name), name.clone());
                if last.as_ref().is_some_and(|last| *last >= order) {
                    problem!(self, "directory {directory}: {} out of order", String::from_utf16_lossy(&name));
                }
                last = Some(order);
                list.push((name, key[65], reference & 0xFFFF_FFFF_FFFF));
                *indexed.entry((reference, key)).or_default() += 1;
            }
            self.entries.insert(directory, list);
        }
        // Every $FILE_NAME, byte for byte, is in the index of its parent exactly once, and nothing else is there.
        let mut problems = Vec::new();
        let (mut names, mut matched) = (0, 0);
        for (record, file) in &self.files {
            let reference = u64::from(file.sequence) << 48 | record;
            for name in file.attributes.iter().filter(|a| a.kind == 0x30) {
                let Value::Resident(key) = &name.value else { panic!("$FILE_NAME is resident") };
                names += 1;
                match indexed.get(&(reference, key.clone())) {
                    Some(1) => matched += 1,
                    count => problems.push(format!("record {record}: name with {count:?} entries")),
                }
            }
        }
        if indexed.len() != matched {
            problems.push(format!("{} index entries for {names} names", indexed.len()));
        }
        self.problems.append(&mut problems);
    }

    fn check_files(&mut self) {
        let mut problems = Vec::new();
        for (record, file) in &self.files {
            let of = |kind| file.attributes.iter().filter(move |a| a.kind == kind);
            let Some(Value::Resident(information)) = of(0x10).next().map(|a| &a.value) else {
                problems.push(format!("record {record}: no $STANDARD_INFORMATION"));
                continue;
            };
            let security = if information.len() == 72 { Some(int(information, 52, 4) as u32) } else { None };
            if security.map_or(of(0x50).count() != 1, |id| !self.descriptors.contains_key(&id)) {
                problems.push(format!("record {record}: security id {security:x?}"));
            }
            let unused = [36..40, 44..52, 56..72].into_iter().filter_map(|range| information.get(range)).flatten();
            if unused.chain(&information[41..44]).any(|byte| *byte != 0) || information[40] > 1 {
                problems.push(format!("record {record}: fields of $STANDARD_INFORMATION that are not in use"));
            }
            let names: Vec<&[u8]> = of(0x30)
                .filter_map(|a| match &a.value {
                    Value::Resident(key) => Some(key.as_slice()),
                    Value::Outside { .. } => None,
                })
                .collect();
            if names.len() != usize::from(file.links) || names.is_empty() != (12..16).contains(record) {
                problems.push(format!("record {record}: {} links, {} names", file.links, names.len()));
            }
            let count = |space: u8| names.iter().filter(|key| key[65] == space).count();
            if count(1) != count(2) || count(1) + count(3) > 1 {
                problems.push(format!("record {record}: namespaces"));
            }
            let parent_of = |space: u8| names.iter().find(|key| key[65] == space).map(|key| int(key, 0, 8));
            if parent_of(1) != parent_of(2) {
                problems.push(format!("record {record}: a short name elsewhere"));
            }
            problems.extend(self.check_duplicates(*record, file, information, &names));
        }
        self.problems.append(&mut problems);
    }

    fn check_duplicates(&self, record: u64, file: &File, information: &[u8], names: &[&[u8]]) -> Option<String> {
        let main = file.attributes.iter().find(|a| a.kind == 0x80 && a.name.is_empty());
        let (allocated, size) = match main.map(|a| &a.value) {
            None => (0, 0),
            Some(Value::Resident(bytes)) => (bytes.len().next_multiple_of(8) as u64, bytes.len() as u64),
            Some(Value::Outside { allocated, size, total, .. }) => (total.unwrap_or(*allocated), *size),
        };
        let directory = if file.flags & 2 == 2 { 0x1000_0000 } else { 0 };
        let mut attributes = int(information, 32, 4);
        let sparse = file.attributes.iter().any(|a| a.kind == 0x80 && a.flags & 0x8000 != 0);
        let reparse = file.attributes.iter().find(|a| a.kind == 0xC0).map(|a| self.read(a));
        if (attributes & 0x200 != 0) != sparse
            || (attributes & 0x400 != 0) != reparse.is_some()
            || attributes & 0x10 != 0
        {
            return Some(format!("record {record}: attributes {attributes:#x}"));
        }
        attributes |= directory;
        let packed = file.attributes.iter().find(|a| a.kind == 0xD0).map_or(0, |a| int(&self.read(a), 0, 2));
        let tag = reparse.map_or(packed, |data| int(&data, 0, 4));
        names.iter().find_map(|key| {
            let same = key[8..40] == information[..32]
                && int(key, 40, 8) == allocated
                && int(key, 48, 8) == size
                && int(key, 56, 4) == attributes
                && int(key, 60, 4) == tag;
            (!same).then(|| {
                format!("record {record}: duplicated information {key:x?} of {allocated} {size} {attributes:#x}")
            })
        })
    }

    fn check_object_ids_and_reparse_points(&mut self) {
        let (mut ids, mut tags) = (Vec::new(), Vec::new());
        for (record, file) in &self.files {
            let reference = (u64::from(file.sequence) << 48 | record).to_le_bytes();
            for attribute in &file.attributes {
                if attribute.kind == 0x40 && *record != 3 {
                    let mut id = self.read(attribute);
                    if id.len() == 16 {
                        id = [&id[..], &[0; 16], &id, &[0; 16]].concat();
                    }
                    ids.push([&id[..16], &reference, &id[16..]].concat());
                }
                if attribute.kind == 0xC0 {
                    let value = self.read(attribute);
                    let guid = if value[3] & 0x80 == 0 { 16 } else { 0 };
                    if int(&value, 4, 2) as usize + 8 + guid != value.len() {
                        self.problems.push(format!("record {record}: length in the reparse point"));
                    }
                    tags.push([&value[..4], &reference].concat());
                }
            }
        }
        let words = |key: &Vec<u8>, len: usize| key[..len].chunks(4).map(|word| int(word, 0, 4)).collect::<Vec<_>>();
        ids.sort_by_key(|key| words(key, 16));
        tags.sort_by_key(|key| words(key, 12));
        for (record, name, expected, len) in [(25, "$O", ids, 88), (26, "$R", tags, 32)] {
            let found: Vec<_> =
                self.walk_index(record, name, 0, 0x13).into_iter().map(|raw| self.view_entry(&raw, len)).collect();
            if found != expected {
                problem!(self, "{name}: {} entries for {}", found.len(), expected.len());
            }
        }
        let (owners, quotas) = (self.walk_index(24, "$O", 0, 0x11).len(), self.walk_index(24, "$Q", 0, 0x10).len());
        if (owners, quotas) != (1, 2) {
            problem!(self, "$Quota: {owners} and {quotas} entries");
        }
    }
}
