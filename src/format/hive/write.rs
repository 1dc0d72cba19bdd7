//! From a [`Hive`] to bytes: written anew, without the gaps that editing leaves, the same bytes for the same hive.
//!
//! A key's cells come in the order class, values, nodes of its subkeys, list of its subkeys; then the first subkey's follow.
//! Security cells come where they are first used. A bin holds 4096 bytes, or more for one cell that is longer.

use std::borrow::Cow;

use zerocopy::IntoBytes;

use super::Text;
use super::ondisk::*;
use super::store::{Hive, KeyId, SlotRef, View};
use crate::base::bytes::round_up;
use crate::base::upcase;
use crate::error::{Error, Result};

/// Elements of a leaf; more subkeys take several leaves below an index root. A leaf of this many fits into one bin of 4096
/// bytes (Windows allows about twice as many).
const LEAF: usize = (BLOCK - BIN_HEADER - CELL_HEADER - size_of::<ListHeader>()) / 8;
/// Bytes of a cell that hives without segmented data can have.
const MAX_OLD_CELL: usize = 1 << 20;

impl Hive {
    /// The hive as a primary file: clean, with both sequence numbers the same.
    ///
    /// Logs of the file that it replaces are stale from then on, and the caller's business: delete or empty them.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Kind::Unsupported) for more than 2 GiB, and for data of more than 1 MiB in a hive of
    /// minor version 3.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(self);
        let root = writer.tree()?;
        writer.close_bin();
        writer.link_security();
        Ok(writer.finish(root))
    }
}

struct Writer<'a> {
    hive: &'a Hive,
    out: Vec<u8>,
    /// Where the next cell goes; `out` ends with the bin that it is in.
    at: usize,
    /// For each descriptor of the hive: its cell and how many keys use it.
    security: Vec<Option<(u32, u32)>>,
    /// The security cells in the order of the file.
    ring: Vec<u32>,
}

/// What is noted in a key about the longest of its parts.
#[derive(Default)]
struct Largest {
    subkey_name: usize,
    subkey_class: usize,
    value_name: usize,
    value_data: usize,
}

impl<'a> Writer<'a> {
    fn new(hive: &'a Hive) -> Self {
        let mut out = Vec::with_capacity(hive.bytes.len().max(2 * BLOCK));
        out.resize(BLOCK, 0);
        Self { hive, out, at: BLOCK, security: vec![None; hive.descriptors.len()], ring: Vec::new() }
    }

    /// A new cell with room for `len` zero bytes: its offset.
    fn cell(&mut self, len: usize) -> Result<u32> {
        let too_big = || Error::unsupported("hive: size").found("more than 2 GiB of cells");
        let size = round_up((len + CELL_HEADER) as u64, CELL_ALIGN as u64).ok_or_else(too_big)? as usize;
        if self.out.len() - self.at < size {
            self.close_bin();
            self.open_bin(size);
        }
        let cell = u32::try_from(self.at - BLOCK).ok().filter(|_| self.out.len() - BLOCK < VOLATILE_BIT as usize);
        let cell = cell.ok_or_else(too_big)?;
        let header = (size as i32).wrapping_neg().to_le_bytes();
        self.out[self.at..self.at + CELL_HEADER].copy_from_slice(&header);
        self.at += size;
        Ok(cell)
    }

    fn open_bin(&mut self, cell: usize) {
        let start = self.out.len();
        let size = (BIN_HEADER + cell).next_multiple_of(BLOCK);
        self.out.resize(start + size, 0);
        let header = BinHeader {
            signature: HBIN,
            offset: ((start - BLOCK) as u32).into(),
            size: (size as u32).into(),
            reserved: [0; 8],
            timestamp: if start == BLOCK { self.hive.base.last_written } else { 0.into() },
            spare: 0.into(),
        };
        self.out[start..start + BIN_HEADER].copy_from_slice(header.as_bytes());
        self.at = start + BIN_HEADER;
    }

    /// Makes what is left of the bin a free cell.
    fn close_bin(&mut self) {
        let left = (self.out.len() - self.at) as i32;
        if left > 0 {
            self.out[self.at..self.at + CELL_HEADER].copy_from_slice(&left.to_le_bytes());
        }
        self.at = self.out.len();
    }

    /// Writes into a cell at `at` bytes behind its size field.
    fn put(&mut self, cell: u32, at: usize, bytes: &[u8]) {
        let start = BLOCK + cell as usize + CELL_HEADER + at;
        self.out[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn cell_of(&mut self, bytes: &[u8]) -> Result<u32> {
        let cell = self.cell(bytes.len())?;
        self.put(cell, 0, bytes);
        Ok(cell)
    }

    fn view(&self, key: KeyId) -> Result<View<'a>> {
        self.hive.view(key).ok_or_else(|| Error::invalid("hive: key without a node"))
    }

    /// Writes all keys; tells the root's cell.
    fn tree(&mut self) -> Result<u32> {
        let root = self.hive.root();
        let cell = self.key_cell(root)?;
        let mut pending = vec![(root, cell, NOWHERE)];
        while let Some((key, cell, parent)) = pending.pop() {
            let first = pending.len();
            self.key(key, cell, parent, &mut pending)?;
            pending[first..].reverse();
        }
        Ok(cell)
    }

    fn key_cell(&mut self, key: KeyId) -> Result<u32> {
        let view = self.view(key)?;
        self.cell(KEY_NODE_SIZE + stored_name(view.name, true).0.len())
    }

    /// Fills the cell of a key and writes all that belongs to it; its subkeys only get their cells and become pending.
    fn key(&mut self, key: KeyId, cell: u32, parent: u32, pending: &mut Vec<(KeyId, u32, u32)>) -> Result<()> {
        let view = self.view(key)?;
        let mut largest = Largest::default();
        let class = if view.class.is_empty() { NOWHERE } else { self.cell_of(view.class)? };
        let (mut values, value_list) = self.values(key, &mut largest)?;
        if view.flags & KEY_PREDEF_HANDLE != 0 {
            values = view.handle;
        }
        let first = pending.len();
        for subkey in self.hive.subkeys(key) {
            let subview = self.view(subkey)?;
            largest.subkey_name = largest.subkey_name.max(2 * subview.name.len());
            largest.subkey_class = largest.subkey_class.max(subview.class.len());
            pending.push((subkey, self.key_cell(subkey)?, cell));
        }
        let subkey_list = self.subkey_list(&pending[first..])?;
        let (name, compressed) = stored_name(view.name, true);
        let head = KeyNode {
            signature: KEY_NODE,
            flags: (view.flags & !KEY_COMP_NAME | if compressed { KEY_COMP_NAME } else { 0 }).into(),
            last_written: view.written.0.into(),
            access: view.access.into(),
            parent: parent.into(),
            subkeys: ((pending.len() - first) as u32).into(),
            volatile_subkeys: 0.into(),
            subkey_list: subkey_list.into(),
            volatile_subkey_list: NOWHERE.into(),
            values: values.into(),
            value_list: value_list.into(),
            security: self.security(key)?.into(),
            class: class.into(),
            largest_subkey_name: (largest.subkey_name as u16).into(),
            control: view.control.into(),
            largest_subkey_class: (largest.subkey_class as u32).into(),
            largest_value_name: (largest.value_name as u32).into(),
            largest_value_data: (largest.value_data as u32).into(),
            work_var: 0.into(),
            name_length: (name.len() as u16).into(),
            class_length: (view.class.len() as u16).into(),
        };
        self.put(cell, 0, head.as_bytes());
        self.put(cell, KEY_NODE_SIZE, &name);
        Ok(())
    }

    /// Writes the list of subkeys, whose cells are given; tells where it is.
    fn subkey_list(&mut self, subkeys: &[(KeyId, u32, u32)]) -> Result<u32> {
        match subkeys.len() {
            0 => Ok(NOWHERE),
            1..=LEAF => self.leaf(subkeys),
            _ => {
                let leaves = subkeys.chunks(LEAF).map(|part| self.leaf(part)).collect::<Result<Vec<_>>>()?;
                let count = u16::try_from(leaves.len())
                    .map_err(|_| Error::unsupported("hive: number of subkeys of one key").found(subkeys.len()))?;
                let mut list = ListHeader { signature: INDEX_ROOT, count: count.into() }.as_bytes().to_vec();
                list.extend(leaves.iter().flat_map(|leaf| leaf.to_le_bytes()));
                self.cell_of(&list)
            }
        }
    }

    /// A leaf as Windows writes it for the version: with name hints before 1.5, with hashes from then on.
    fn leaf(&mut self, subkeys: &[(KeyId, u32, u32)]) -> Result<u32> {
        let hashes = self.hive.minor_version() >= 5;
        let signature = if hashes { HASH_LEAF } else { FAST_LEAF };
        let mut list = ListHeader { signature, count: (subkeys.len() as u16).into() }.as_bytes().to_vec();
        for (key, cell, _) in subkeys {
            let name = self.view(*key)?.name;
            list.extend(cell.to_le_bytes());
            list.extend(if hashes { name_hash(name).to_le_bytes() } else { name_hint(name) });
        }
        self.cell_of(&list)
    }

    /// Writes the values of a key; tells their number and where their list is.
    fn values(&mut self, key: KeyId, largest: &mut Largest) -> Result<(u32, u32)> {
        let hive = self.hive;
        let mut list = Vec::new();
        for slot in hive.slots(key) {
            list.extend(self.value(slot, largest)?.to_le_bytes());
        }
        match list.len() {
            0 => Ok((0, NOWHERE)),
            len => Ok(((len / 4) as u32, self.cell_of(&list)?)),
        }
    }

    fn value(&mut self, slot: SlotRef<'a>, largest: &mut Largest) -> Result<u32> {
        let hive = self.hive;
        let text = hive.slot_name(slot);
        let (kind, data, flags, spare) = match slot {
            SlotRef::Set(value) => (value.kind, Cow::Borrowed(&*value.data), 0, 0),
            SlotRef::Stored(cell) => {
                let value = hive.cells().value(cell).and_then(|v| Some((v.head, hive.cells().data(v.head)?)));
                let (head, data) = value.ok_or_else(|| Error::corrupt("hive: value").at(u64::from(cell)))?;
                (head.kind.get(), data, head.flags.get(), head.spare.get())
            }
        };
        // An empty name is stored as it was, compressed or not; Windows itself leaves the flag off.
        let (name, compressed) = stored_name(text, flags & VALUE_COMP_NAME != 0);
        largest.value_name = largest.value_name.max(2 * text.len());
        largest.value_data = largest.value_data.max(data.len());
        let (size, place) = self.data(&data)?;
        let head = KeyValue {
            signature: KEY_VALUE,
            name_length: (name.len() as u16).into(),
            data_size: size.into(),
            data: place,
            kind: kind.into(),
            flags: (flags & !VALUE_COMP_NAME | if compressed { VALUE_COMP_NAME } else { 0 }).into(),
            spare: spare.into(),
        };
        let cell = self.cell(KEY_VALUE_SIZE + name.len())?;
        self.put(cell, 0, head.as_bytes());
        self.put(cell, KEY_VALUE_SIZE, &name);
        Ok(cell)
    }

    /// Writes a value's data; tells what goes into its size and its offset fields.
    fn data(&mut self, data: &[u8]) -> Result<(u32, [u8; 4])> {
        let size = data.len() as u32;
        if data.len() <= 4 {
            let mut place = [0; 4];
            place[..data.len()].copy_from_slice(data);
            return Ok((size | INLINE, place));
        }
        let cell = match (data.len() > SEGMENT, self.hive.minor_version()) {
            (true, 4..) => self.segments(data)?,
            (true, _) if data.len() > MAX_OLD_CELL => {
                return Err(Error::unsupported("hive: data of a value in version 1.3")
                    .found(format_args!("{size} bytes"))
                    .allowed(format_args!("{MAX_OLD_CELL} bytes")));
            }
            _ => self.cell_of(data)?,
        };
        Ok((size, cell.to_le_bytes()))
    }

    fn segments(&mut self, data: &[u8]) -> Result<u32> {
        let mut list = Vec::new();
        for segment in data.chunks(SEGMENT) {
            // Windows' cells of full segments have 4 bytes to spare, and hivex takes them off the last one too.
            let cell = self.cell(segment.len() + 4)?;
            self.put(cell, 0, segment);
            list.extend(cell.to_le_bytes());
        }
        let segments = u16::try_from(list.len() / 4)
            .map_err(|_| Error::unsupported("hive: data of a value").found(format_args!("{} bytes", data.len())))?;
        let list = self.cell_of(&list)?;
        self.cell_of(BigData { signature: BIG_DATA, segments: segments.into(), list: list.into() }.as_bytes())
    }

    /// The security cell of a key, which it now refers to.
    fn security(&mut self, key: KeyId) -> Result<u32> {
        let index = self.hive.get(key).map_or(NOWHERE, |entry| entry.security);
        let Some(descriptor) = self.hive.descriptor_bytes(index) else { return Ok(NOWHERE) };
        if let Some((cell, references)) = &mut self.security[index as usize] {
            *references += 1;
            return Ok(*cell);
        }
        let cell = self.cell(KEY_SECURITY_SIZE + descriptor.len())?;
        self.put(cell, KEY_SECURITY_SIZE, descriptor);
        self.security[index as usize] = Some((cell, 1));
        self.ring.push(index);
        Ok(cell)
    }

    /// Fills in the heads of the security cells, now that all uses are counted, and closes their ring.
    fn link_security(&mut self) {
        let used: Vec<(u32, u32, u32)> = self
            .ring
            .iter()
            .filter_map(|index| {
                let (cell, references) = self.security[*index as usize]?;
                Some((cell, references, self.hive.descriptor_bytes(*index)?.len() as u32))
            })
            .collect();
        for (i, &(cell, references, size)) in used.iter().enumerate() {
            let head = KeySecurity {
                signature: KEY_SECURITY,
                reserved: 0.into(),
                forward: used[(i + 1) % used.len()].0.into(),
                backward: used[(i + used.len() - 1) % used.len()].0.into(),
                references: references.into(),
                size: size.into(),
            };
            self.put(cell, 0, head.as_bytes());
        }
    }

    /// Fills in the base block.
    fn finish(mut self, root: u32) -> Vec<u8> {
        let mut base = self.hive.base.clone();
        base.secondary_sequence = base.primary_sequence;
        base.root.set(root);
        base.bins_size.set((self.out.len() - BLOCK) as u32);
        base.checksum.set(base.expected_checksum());
        self.out[..base.as_bytes().len()].copy_from_slice(base.as_bytes());
        self.out
    }
}

/// A name as it is stored, and whether that is one byte for each code unit.
fn stored_name(name: Text<'_>, compress_empty: bool) -> (Vec<u8>, bool) {
    if name.is_empty() {
        return (Vec::new(), compress_empty);
    }
    match name.units().map(|unit| u8::try_from(unit).ok()).collect::<Option<Vec<u8>>>() {
        Some(bytes) => (bytes, true),
        None => (name.units().flat_map(u16::to_le_bytes).collect(), false),
    }
}

/// What a hash leaf says of a name.
fn name_hash(name: Text<'_>) -> u32 {
    name.units().fold(0_u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(u32::from(upcase::upcase(unit))))
}

/// What a fast leaf says of a name: its first four characters, or nothing if one of them takes two bytes.
fn name_hint(name: Text<'_>) -> [u8; 4] {
    let mut hint = [0; 4];
    for (byte, unit) in hint.iter_mut().zip(name.units()) {
        match u8::try_from(unit) {
            Ok(unit) => *byte = unit,
            Err(_) => return [0; 4],
        }
    }
    hint
}
