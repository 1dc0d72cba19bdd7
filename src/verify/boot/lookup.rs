//! How a file lies on an NTFS volume, as boot programs find it: through the indexes of directories, from the root on.
//!
//! The files of a [`Tree`](crate::tree::Tree) have been found by their own records, and unpacked. Boot programs look names up in directories,
//! and BOOTMGR's boot record cannot unpack; so this walk is their own, in small: it scans the entries of a directory one after
//! the other, as boot records do, instead of descending by order. What a directory lists is kept for the next name in it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::base::{ReadAt, upcase};
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{I30, STRIDE, file, kind};

/// The longest directory that is read, in bytes: some 500,000 names.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Records that one file is spread over.
const MAX_RECORDS: usize = 4096;
/// Pieces that one stream is spread over.
const MAX_RUNS: usize = 1 << 20;
/// The reparse tag of files that the overlay filter has compressed.
const TAG_WOF: u32 = 0x8000_0017;

const COMPRESSED: u16 = 0x00FF;
const ENCRYPTED: u16 = 0x4000;
const SPARSE: u16 = 0x8000;

/// How the main stream of a file lies on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lies {
    /// Its length in bytes.
    pub(super) len: u64,
    /// Compressed by NTFS.
    pub(super) compressed: bool,
    /// Encrypted by NTFS.
    pub(super) encrypted: bool,
    /// With holes.
    pub(super) sparse: bool,
    /// Compressed by the overlay filter, with this algorithm: 0 XPRESS4K, 1 LZX, 2 XPRESS8K, 3 XPRESS16K.
    pub(super) wof: Option<u32>,
    /// How many pieces it is in; none where it lies in its record.
    pub(super) pieces: usize,
}

/// A volume whose `$MFT` has been found.
pub(super) struct Lookup<'v> {
    volume: &'v dyn ReadAt,
    cluster: u64,
    record: usize,
    mft: Vec<Run>,
    listings: RefCell<HashMap<u64, Rc<Listing>>>,
}

/// The names in a directory in upper case, with their records, in so far as they can be read.
#[derive(Default)]
struct Listing {
    records: HashMap<Vec<u16>, u64>,
    /// Why there may be more.
    broken: Option<String>,
}

/// Clusters in a row; a hole has no place.
#[derive(Clone, Copy)]
struct Run {
    lcn: Option<u64>,
    len: u64,
}

/// A part of an attribute, out of one record.
struct Part {
    kind: u32,
    name: Vec<u16>,
    flags: u16,
    lowest_vcn: u64,
    body: Body,
}

enum Body {
    Resident(Vec<u8>),
    Runs { pairs: Vec<u8>, len: u64 },
}

fn bad(what: &str) -> Error {
    Error::corrupt(format_args!("NTFS: {what}"))
}

impl<'v> Lookup<'v> {
    pub(super) fn open(volume: &'v dyn ReadAt) -> Result<Self> {
        let mut boot = [0; 512];
        volume.read_at(0, &mut boot)?;
        let sector = u64::from(u16_at(&boot, 0x0B).unwrap_or_default());
        let cluster = match boot[0x0D] {
            sectors @ 1..=0x80 => sector * u64::from(sectors),
            exponent @ 0xE1.. => sector << (256 - u32::from(exponent)),
            _ => 0,
        };
        let record = match boot[0x40].cast_signed() {
            clusters @ 1.. => cluster * u64::from(clusters.unsigned_abs()),
            exponent @ -12..=-9 => 1 << exponent.unsigned_abs(),
            _ => 0,
        };
        if !(512..=4 << 20).contains(&cluster) || !matches!(record, 512 | 1024 | 2048 | 4096) {
            return Err(bad("size of clusters or records").at(0x0D));
        }
        let lcn = u64_at(&boot, 0x30);
        let first = vec![Run { lcn, len: (record * 16).div_ceil(cluster) }];
        let mut lookup = Self { volume, cluster, record: record as usize, mft: first, listings: RefCell::default() };
        // What the record of $MFT itself says counts, and it says it in pieces where there are many.
        let own = lookup.parts_of(&lookup.read_record(u64::from(file::MFT))?)?;
        let own = own.into_iter().filter(|part| part.kind == kind::DATA && part.name.is_empty());
        lookup.mft = runs_of(own.collect())?.0;
        let whole = lookup.stream(u64::from(file::MFT), kind::DATA, &[])?;
        lookup.mft = runs_of(whole)?.0;
        Ok(lookup)
    }

    /// The file at a path, or nothing.
    pub(super) fn find(&self, path: &str) -> Result<Option<Lies>> {
        let mut at = u64::from(file::ROOT);
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            let name: Vec<u16> = part.encode_utf16().collect();
            match self.child(at, &name)? {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        self.lies(at).map(Some)
    }

    fn lies(&self, record: u64) -> Result<Lies> {
        let parts = self.all_parts(record)?;
        let wof = parts.iter().find(|part| part.kind == kind::REPARSE_POINT).and_then(|part| match &part.body {
            Body::Resident(value) if u32_at(value, 0) == Some(TAG_WOF) => u32_at(value, 20),
            _ => None,
        });
        let data: Vec<Part> =
            parts.into_iter().filter(|part| part.kind == kind::DATA && part.name.is_empty()).collect();
        let first = data.first().ok_or_else(|| bad("a file without data"))?;
        let flags = first.flags;
        let (pieces, len) = match &first.body {
            Body::Resident(value) => (0, value.len() as u64),
            Body::Runs { .. } => {
                let (runs, len) = runs_of(data)?;
                (pieces(&runs), len)
            }
        };
        let has = |bit: u16| flags & bit != 0;
        Ok(Lies { len, compressed: has(COMPRESSED), encrypted: has(ENCRYPTED), sparse: has(SPARSE), wof, pieces })
    }

    /// The record that a name in a directory leads to.
    fn child(&self, directory: u64, name: &[u16]) -> Result<Option<u64>> {
        let known = self.listings.borrow().get(&directory).cloned();
        let listing = known.unwrap_or_else(|| {
            let mut listing = Listing::default();
            listing.broken = self.list(directory, &mut listing.records).err().map(|problem| problem.to_string());
            let listing = Rc::new(listing);
            self.listings.borrow_mut().insert(directory, Rc::clone(&listing));
            listing
        });
        let name: Vec<u16> = name.iter().map(|unit| upcase::upcase(*unit)).collect();
        match (listing.records.get(&name), &listing.broken) {
            (Some(record), _) => Ok(Some(*record)),
            (None, Some(problem)) => Err(Error::corrupt(problem)),
            (None, None) => Ok(None),
        }
    }

    /// Reads all entries of a directory. Those before a block that cannot be read are found nevertheless.
    fn list(&self, directory: u64, records: &mut HashMap<Vec<u16>, u64>) -> Result<()> {
        let root = self.stream(directory, kind::INDEX_ROOT, I30)?;
        let Some(Part { body: Body::Resident(root), .. }) = root.first() else {
            return Err(bad("a directory without an index"));
        };
        list_node(root.get(16..).unwrap_or_default(), records);
        let blocks = self.stream(directory, kind::INDEX_ALLOCATION, I30)?;
        if blocks.is_empty() {
            return Ok(());
        }
        let block_len = u32_at(root, 8).unwrap_or_default() as usize;
        if !matches!(block_len, 512..=65_536) || !block_len.is_power_of_two() {
            return Err(bad("size of an index block").found(block_len));
        }
        let (runs, len) = runs_of(blocks)?;
        let used = self.bitmap(directory)?;
        let mut block = vec![0; block_len];
        for number in 0..len.min(MAX_DIRECTORY) / block_len as u64 {
            if used.get((number / 8) as usize).is_none_or(|byte| byte >> (number % 8) & 1 == 0) {
                continue; // what was in use once is still there
            }
            self.read(&runs, number * block_len as u64, &mut block)?;
            fix_up(&mut block, b"INDX")?;
            list_node(block.get(24..).unwrap_or_default(), records);
        }
        Ok(())
    }

    fn bitmap(&self, directory: u64) -> Result<Vec<u8>> {
        let parts = self.stream(directory, kind::BITMAP, I30)?;
        if let Some(Part { body: Body::Resident(bits), .. }) = parts.first() {
            return Ok(bits.clone());
        }
        let (runs, len) = runs_of(parts)?;
        let mut bits = vec![0; len.min(MAX_DIRECTORY / 512 / 8) as usize];
        self.read(&runs, 0, &mut bits)?;
        Ok(bits)
    }

    /// All parts of one attribute.
    fn stream(&self, record: u64, kind: u32, name: &[u16]) -> Result<Vec<Part>> {
        let mut parts = self.all_parts(record)?;
        parts.retain(|part| part.kind == kind && part.name == name);
        Ok(parts)
    }

    /// The attributes of a file in all of its records, in the order of their clusters.
    fn all_parts(&self, record: u64) -> Result<Vec<Part>> {
        let mut parts = self.parts_of(&self.read_record(record)?)?;
        let list = parts.iter().find(|part| part.kind == kind::ATTRIBUTE_LIST).map(|part| self.value(part));
        for other in list.transpose()?.map(|list| holders(&list)).unwrap_or_default() {
            if other != record {
                parts.extend(self.parts_of(&self.read_record(other)?)?);
            }
        }
        parts.sort_by_key(|part| part.lowest_vcn);
        Ok(parts)
    }

    /// The value of an attribute list.
    fn value(&self, part: &Part) -> Result<Vec<u8>> {
        const MAX_LIST: u64 = 256 << 10;
        match &part.body {
            Body::Resident(value) => Ok(value.clone()),
            Body::Runs { pairs, len } => {
                let mut runs = Vec::new();
                decode(pairs, &mut runs)?;
                let mut value = vec![0; (*len).min(MAX_LIST) as usize];
                self.read(&runs, 0, &mut value)?;
                Ok(value)
            }
        }
    }

    fn read_record(&self, number: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.record];
        let at = number.checked_mul(self.record as u64).ok_or_else(|| bad("record number").found(number))?;
        self.read(&self.mft, at, &mut bytes)?;
        fix_up(&mut bytes, b"FILE")?;
        if u16_at(&bytes, 22).is_none_or(|flags| flags & 1 == 0) {
            return Err(bad("a record that is not in use").found(number));
        }
        Ok(bytes)
    }

    fn parts_of(&self, record: &[u8]) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut at = usize::from(u16_at(record, 20).unwrap_or_default());
        while let Some(kind) = u32_at(record, at).filter(|kind| *kind != kind::END) {
            let len = u32_at(record, at + 4).unwrap_or_default() as usize;
            let bytes = at.checked_add(len).and_then(|end| record.get(at..end)).filter(|_| len >= 24);
            let bytes = bytes.ok_or_else(|| bad("length of an attribute").found(len))?;
            parts.push(Part::parse(kind, bytes).ok_or_else(|| bad("an attribute").found(format_args!("{kind:#x}")))?);
            at += len;
        }
        Ok(parts)
    }

    /// Reads from a stream; holes are zeros.
    fn read(&self, runs: &[Run], mut at: u64, mut buf: &mut [u8]) -> Result<()> {
        for run in runs {
            let run_len = run.len.saturating_mul(self.cluster);
            if at >= run_len {
                at -= run_len;
                continue;
            }
            let piece = (run_len - at).min(buf.len() as u64) as usize;
            let (head, rest) = buf.split_at_mut(piece);
            match run.lcn {
                Some(lcn) => {
                    let place = lcn.checked_mul(self.cluster).and_then(|place| place.checked_add(at));
                    self.volume.read_at(place.ok_or_else(|| bad("place of a run").found(lcn))?, head)?;
                }
                None => head.fill(0),
            }
            buf = rest;
            at = 0;
            if buf.is_empty() {
                return Ok(());
            }
        }
        if buf.is_empty() { Ok(()) } else { Err(bad("a stream that ends early")) }
    }
}

impl Part {
    fn parse(kind: u32, bytes: &[u8]) -> Option<Self> {
        let name_at = usize::from(u16_at(bytes, 10)?);
        let name = bytes.get(name_at..name_at + 2 * usize::from(bytes[9]))?;
        let name = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let (lowest_vcn, body) = if bytes[8] == 0 {
            let value_at = usize::from(u16_at(bytes, 20)?);
            let value = bytes.get(value_at..value_at.checked_add(u32_at(bytes, 16)? as usize)?)?;
            (0, Body::Resident(value.to_vec()))
        } else {
            let lowest = u64_at(bytes, 16)?;
            let pairs = bytes.get(usize::from(u16_at(bytes, 32)?)..)?.to_vec();
            // Only the first part of an attribute has sizes.
            let len = if lowest == 0 { u64_at(bytes, 48)? } else { 0 };
            (lowest, Body::Runs { pairs, len })
        };
        Some(Self { kind, name, flags: u16_at(bytes, 12)?, lowest_vcn, body })
    }
}

/// The records that an attribute list names, each once.
fn holders(list: &[u8]) -> BTreeSet<u64> {
    let mut records = BTreeSet::new();
    let mut at = 0;
    while let (Some(len), Some(holder)) = (u16_at(list, at + 4), u64_at(list, at + 16)) {
        records.insert(holder & 0xFFFF_FFFF_FFFF);
        if len < 26 || records.len() > MAX_RECORDS {
            break;
        }
        at += usize::from(len);
    }
    records
}

/// The runs of an attribute, and its length in bytes.
fn runs_of(parts: Vec<Part>) -> Result<(Vec<Run>, u64)> {
    let mut runs = Vec::new();
    let mut total = 0;
    for part in &parts {
        let Body::Runs { pairs, len } = &part.body else { return Err(bad("a stream that ought to be non-resident")) };
        total = total.max(*len);
        decode(pairs, &mut runs)?;
    }
    if runs.is_empty() && total > 0 { Err(bad("a stream without runs")) } else { Ok((runs, total)) }
}

/// Mapping pairs: a byte with two sizes, a length, a signed distance from the place of the run before.
fn decode(pairs: &[u8], runs: &mut Vec<Run>) -> Result<()> {
    let (mut at, mut lcn) = (0, 0i64);
    while let Some(sizes) = pairs.get(at).copied().filter(|byte| *byte != 0) {
        let (len_size, place_size) = (usize::from(sizes & 15), usize::from(sizes >> 4));
        let number = |from: usize, size: usize| -> Option<i64> {
            let bytes = pairs.get(from..from + size).filter(|_| (1..=8).contains(&size))?;
            let mut wide = if bytes[size - 1] & 0x80 == 0 { [0; 8] } else { [0xFF; 8] };
            wide[..size].copy_from_slice(bytes);
            Some(i64::from_le_bytes(wide))
        };
        let len = number(at + 1, len_size).and_then(|len| u64::try_from(len).ok()).filter(|len| *len > 0);
        let len = len.filter(|_| runs.len() < MAX_RUNS).ok_or_else(|| bad("length of a run"))?;
        let place = if place_size == 0 {
            None
        } else {
            let distance = number(at + 1 + len_size, place_size);
            let moved = distance.and_then(|distance| lcn.checked_add(distance)).filter(|lcn| *lcn >= 0);
            lcn = moved.ok_or_else(|| bad("place of a run"))?;
            Some(lcn.unsigned_abs())
        };
        runs.push(Run { lcn: place, len });
        at += 1 + len_size + place_size;
    }
    Ok(())
}

/// Runs that do not go on where the one before ended.
fn pieces(runs: &[Run]) -> usize {
    let mut count = 0;
    let mut end = None;
    for run in runs {
        count += usize::from(run.lcn.is_none() || run.lcn != end);
        end = run.lcn.and_then(|lcn| lcn.checked_add(run.len));
    }
    count
}

/// The names in a node up to its end, or to where it is damaged; the first of equal ones counts.
fn list_node(node: &[u8], records: &mut HashMap<Vec<u16>, u64>) {
    let mut at = u32_at(node, 0).map_or(usize::MAX, |first| first as usize);
    while let Some((name, record, len)) = entry_at(node, at) {
        records.entry(name).or_insert(record);
        at += len;
    }
}

/// The name of an entry in upper case, its record and the entry's length; nothing for the last one.
fn entry_at(node: &[u8], at: usize) -> Option<(Vec<u16>, u64, usize)> {
    const NAME_LEN: usize = 16 + 64;
    let entry = node.get(at..)?;
    let len = usize::from(u16_at(entry, 8)?);
    if u16_at(entry, 12)? & 2 != 0 || len < 16 {
        return None;
    }
    let name = entry.get(NAME_LEN + 2..)?.get(..2 * usize::from(*entry.get(NAME_LEN)?))?;
    let units = name.as_chunks::<2>().0.iter().map(|unit| upcase::upcase(u16::from_le_bytes(*unit)));
    Some((units.collect(), u64_at(entry, 0)? & 0xFFFF_FFFF_FFFF, len))
}

/// Puts the last words of all strides back.
fn fix_up(bytes: &mut [u8], magic: &[u8; 4]) -> Result<()> {
    let what = magic.escape_ascii();
    if !bytes.starts_with(magic) {
        return Err(bad("a record or block without its name").allowed(what));
    }
    let at = usize::from(u16_at(bytes, 4).unwrap_or_default());
    let torn = || bad("a torn record or block").found(magic.escape_ascii());
    let number = u16_at(bytes, at).ok_or_else(torn)?;
    for (stride, end) in (STRIDE..=bytes.len()).step_by(STRIDE).enumerate() {
        let right = u16_at(bytes, at + 2 + 2 * stride).ok_or_else(torn)?;
        if u16_at(bytes, end - 2) != Some(number) {
            return Err(torn());
        }
        bytes[end - 2..end].copy_from_slice(&right.to_le_bytes());
    }
    Ok(())
}
