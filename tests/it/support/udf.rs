//! Files into a volume that mkudffs formatted, without a mount: a kernel that knows UDF is not everywhere.
//!
//! What lies where is found out from the volume's own descriptors, on the way that ECMA-167 describes; the space bitmap is left as it
//! is, which those who write would mind.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How the extents of a file are written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Short,
    Long,
}

/// A volume that is being filled.
pub(crate) struct UdfVolume {
    file: File,
    pub(crate) block: u64,
    /// Where the partition begins, in bytes.
    partition: u64,
    /// Descriptors of version 3 came with UDF 2.00.
    version: u16,
    root: u32,
    /// The next block that is taken; far behind what mkudffs wrote.
    next: u32,
}

/// Where a part of a file is: its first block, or none if it is not recorded; and its length in bytes.
pub(crate) type Extent = (Option<u32>, u64);

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl UdfVolume {
    pub(crate) fn open(path: &Path, block: u64) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut volume = Self { file, block, partition: 0, version: 0, root: 0, next: 4096 };
        let anchor = volume.at(256 * block);
        assert_eq!(anchor[..2], [2, 0], "no anchor");
        volume.version = u16::from(anchor[2]);
        let (len, start) = (u64::from(u32_at(&anchor, 16)), u64::from(u32_at(&anchor, 20)));
        let mut set = None;
        for number in start..start + len / block {
            let bytes = volume.at(number * block);
            match bytes[0] {
                5 => volume.partition = u64::from(u32_at(&bytes, 188)) * block,
                6 => set = Some(u32_at(&bytes, 252)),
                8 => break,
                _ => {}
            }
        }
        let set = volume.at(volume.partition + u64::from(set.unwrap()) * block);
        assert_eq!(set[..2], [0, 1], "no file set");
        volume.root = u32_at(&set, 404);
        volume
    }

    fn at(&mut self, place: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.block as usize];
        self.file.seek(SeekFrom::Start(place)).and_then(|_| self.file.read_exact(&mut bytes)).unwrap();
        bytes
    }

    fn write(&mut self, block: u32, bytes: &[u8]) {
        let place = self.partition + u64::from(block) * self.block;
        self.file.seek(SeekFrom::Start(place)).and_then(|_| self.file.write_all(bytes)).unwrap();
    }

    /// Takes so many blocks.
    pub(crate) fn take(&mut self, blocks: u64) -> u32 {
        let first = self.next;
        self.next += u32::try_from(blocks).unwrap();
        first
    }

    /// Writes bytes somewhere.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Extent {
        let block = self.take((bytes.len() as u64).div_ceil(self.block));
        self.write(block, bytes);
        (Some(block), bytes.len() as u64)
    }

    /// A body of so many bytes, tag included, sealed with one.
    fn sealed(&self, id: u16, location: u32, len: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (at, field) in fields {
            bytes[*at..*at + field.len()].copy_from_slice(field);
        }
        bytes[..2].copy_from_slice(&id.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.version.to_le_bytes());
        let crc = crc(&bytes[16..]);
        bytes[8..10].copy_from_slice(&crc.to_le_bytes());
        bytes[10..12].copy_from_slice(&((len - 16) as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&location.to_le_bytes());
        bytes[4] = bytes[..16].iter().fold(0, |sum, byte| u8::wrapping_add(sum, *byte));
        bytes
    }

    /// A file entry (extended ones came with UDF 2.00) in a block.
    fn entry(&mut self, block: u32, file_type: u8, form: u16, len: u64, descriptors: &[u8]) {
        let (id, base) = if self.version == 3 { (266, 216) } else { (261, 176) };
        let stamp = [0x00, 0x10, 0xE0, 0x07, 9, 26, 12, 0, 0, 0, 0, 0]; // 2016-09-26 12:00 UTC
        let form = (form | 1 << 5).to_le_bytes();
        let (size, count) = (len.to_le_bytes(), (descriptors.len() as u32).to_le_bytes());
        let blocks = len.div_ceil(self.block).to_le_bytes();
        let mut fields: Vec<(usize, &[u8])> =
            vec![(20, &[4]), (24, &[1]), (27, std::slice::from_ref(&file_type)), (34, &form), (48, &[1]), (56, &size)];
        fields.extend([(base - 4, &count[..]), (base, descriptors)]);
        match id {
            266 => fields.extend([
                (64, &size[..]),
                (72, &blocks),
                (80, &stamp),
                (92, &stamp),
                (104, &stamp),
                (116, &stamp),
            ]),
            _ => fields.extend([(64, &blocks[..]), (72, &stamp), (84, &stamp), (96, &stamp)]),
        }
        let entry = self.sealed(id, block, base + descriptors.len(), &fields);
        self.write(block, &entry);
    }

    /// A file in extents; `in_each` allocation descriptors stand together before they go on in a block of their own.
    pub(crate) fn file(&mut self, form: Form, extents: &[Extent], in_each: usize) -> u32 {
        // An extent has at most 2^30 - 1 bytes, and whole blocks unless it is the last.
        let most = (1 << 30) - self.block;
        let mut pieces = Vec::new();
        for (start, len) in extents {
            for at in (0..*len).step_by(most as usize) {
                let kind = if start.is_some() { 0 } else { 2 << 30 };
                let block = start.map_or(0, |start| start + (at / self.block) as u32);
                pieces.push((kind | (len - at).min(most) as u32, block));
            }
        }
        let len = extents.iter().map(|(_, len)| len).sum();
        let descriptor = |(len, block): (u32, u32)| {
            let short = [len.to_le_bytes(), block.to_le_bytes()].concat();
            if form == Form::Short { short } else { [short, vec![0; 8]].concat() }
        };
        let mut lists = pieces.chunks(in_each.max(1)).rev();
        let mut list: Vec<u8> = lists.next().unwrap_or_default().iter().copied().flat_map(descriptor).collect();
        for earlier in lists {
            let block = self.take(1);
            let count = (list.len() as u32).to_le_bytes();
            let extent = self.sealed(258, block, 24 + list.len(), &[(20, &count), (24, &list)]);
            self.write(block, &extent);
            list = earlier.iter().copied().flat_map(descriptor).collect();
            list.extend(descriptor((3 << 30 | self.block as u32, block)));
        }
        let icb = self.take(1);
        self.entry(icb, 5, if form == Form::Short { 0 } else { 1 }, len, &list);
        icb
    }

    /// A small file in its own file entry.
    pub(crate) fn embedded(&mut self, bytes: &[u8]) -> u32 {
        let icb = self.take(1);
        self.entry(icb, 5, 3, bytes.len() as u64, bytes);
        icb
    }

    /// A directory of files and, where it says so, directories.
    pub(crate) fn directory(&mut self, entries: &[(&str, bool, u32)]) -> u32 {
        let icb = self.take(1);
        self.fill(icb, entries);
        icb
    }

    /// The root directory, which is there already.
    pub(crate) fn root(&mut self, entries: &[(&str, bool, u32)]) {
        self.fill(self.root, entries);
    }

    fn fill(&mut self, icb: u32, entries: &[(&str, bool, u32)]) {
        let parent = std::iter::once((String::new(), 8 | 2, self.root));
        let entries =
            entries.iter().map(|(name, is_directory, icb)| ((*name).to_owned(), u8::from(*is_directory) << 1, *icb));
        let all: Vec<(String, u8, u32)> = parent.chain(entries).collect();
        let list = |location: u32, volume: &Self| -> Vec<u8> {
            all.iter().flat_map(|entry| volume.identifier(location, entry)).collect()
        };
        // The tags have the number of the block that they are in; a directory here is of one block.
        let bytes = list(icb, self);
        if bytes.len() + 216 <= self.block as usize {
            self.entry(icb, 4, 3, bytes.len() as u64, &bytes);
            return;
        }
        assert!(bytes.len() as u64 <= self.block, "a directory of more than a block");
        let block = self.take(1);
        let bytes = list(block, self);
        self.write(block, &bytes);
        let descriptor = [(bytes.len() as u32).to_le_bytes(), block.to_le_bytes()].concat();
        self.entry(icb, 4, 0, bytes.len() as u64, &descriptor);
    }

    fn identifier(&self, location: u32, (name, characteristics, icb): &(String, u8, u32)) -> Vec<u8> {
        let name: Vec<u8> = match name.chars().all(|c| (c as u32) < 256) {
            _ if name.is_empty() => Vec::new(),
            true => std::iter::once(8).chain(name.chars().map(|c| c as u8)).collect(),
            false => std::iter::once(16).chain(name.encode_utf16().flat_map(u16::to_be_bytes)).collect(),
        };
        let (len, block) = ((self.block as u32).to_le_bytes(), icb.to_le_bytes());
        let fields: [(usize, &[u8]); 5] =
            [(16, &[1, 0]), (18, &[*characteristics, name.len() as u8]), (20, &len), (24, &block), (38, &name)];
        self.sealed(257, location, (38 + name.len()).next_multiple_of(4), &fields)
    }
}
