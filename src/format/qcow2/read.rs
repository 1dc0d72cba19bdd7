//! A qcow2 file, read as the disk that it holds.

use std::fmt;
use std::ops::Range;

use zerocopy::{FromZeros, IntoBytes};

use super::ondisk::{self, Header, PLACE, incompatible};
use super::plan::MAX_DISK;
use super::table::{ALL, Mapping, Shape};
use super::unpack::{self, Cache, Method};
use crate::base::ReadAt;
use crate::base::io::range_within;
use crate::error::{Context, Error, Result};

/// The longest L1 table, which is qemu's limit too.
const MAX_L1: u64 = 32 << 20;

/// How many entries of an L2 table are read at once.
const L2_PIECE: u64 = 512;
/// The same where only the first that says something is looked for.
const L1_PIECE: u64 = 512;

/// The disk in a qcow2 file. Holds no tables: their entries are read as they are needed.
pub struct Qcow2<R> {
    file: R,
    header: Header,
    shape: Shape,
    method: Method,
    cache: Cache,
}

impl<R> fmt::Debug for Qcow2<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<R: ReadAt> Qcow2<R> {
    /// Reads the header.
    ///
    /// Fails with [`Kind::Corrupt`](crate::error::Kind::Corrupt) or [`Kind::Truncated`](crate::error::Kind::Truncated) if it is no
    /// qcow2 or a damaged one, [`Kind::Unsupported`](crate::error::Kind::Unsupported) if it has features that are not read.
    pub fn open(file: R) -> Result<Self> {
        let header = read_header(&file)?;
        refuse_features(&header)?;
        let shape = Shape {
            cluster_bits: header.cluster_bits.get(),
            extended: header.incompatible.get() & incompatible::EXTENDED_L2 != 0,
            has_zeros: header.version.get() > 2,
        };
        check_tables(&header, shape, file.len())?;
        let method = if header.compression == ondisk::COMPRESSION_ZSTD { Method::Zstd } else { Method::Deflate };
        Ok(Self { cache: Cache::new(shape.cluster()), file, header, shape, method })
    }

    /// Whether a file means to be a qcow2: it has the magic number. What it says may still be wrong.
    pub fn is_qcow2(file: &R) -> bool {
        let mut found = [0; ondisk::MAGIC.len()];
        file.read_at(0, &mut found).is_ok() && found == ondisk::MAGIC
    }

    /// Version 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version.get()
    }

    /// Bytes per cluster, a power of two.
    pub fn cluster_size(&self) -> u32 {
        self.shape.cluster() as u32
    }

    /// How many states of the disk the file has besides the active one, which alone is read.
    pub fn internal_snapshots(&self) -> u32 {
        self.header.snapshots.get()
    }

    /// Whether any cluster is compressed. The tables are read up to the first one that is.
    pub fn has_compressed(&self) -> Result<bool> {
        let (len, mut at) = (self.len(), 0);
        while at < len {
            let mappings = self.mappings(at, len)?;
            let next = (at / self.shape.cluster() + mappings.count) * self.shape.cluster();
            let entries = mappings.entries.unwrap_or_default();
            if entries.iter().any(|(entry, _)| entry & ondisk::COMPRESSED != 0) {
                return Ok(true);
            }
            at = if entries.is_empty() { self.next_table(next)? } else { next };
        }
        Ok(false)
    }

    /// Whether reference counts may be wrong, which matters to who writes.
    pub fn is_dirty(&self) -> bool {
        self.header.incompatible.get() & incompatible::DIRTY != 0
    }

    /// Where the L2 table is that describes what is at `at`, and where the entry for it in the L1 table; no table, no data.
    fn table_of(&self, at: u64) -> Result<Option<u64>> {
        let entry_at = self.header.l1_at.get() + at / self.shape.reach() * 8;
        let mut entry = [0; 8];
        self.file.read_at(entry_at, &mut entry).context(|| "qcow2: L1 table")?;
        let place = u64::from_be_bytes(entry) & PLACE;
        if !place.is_multiple_of(self.shape.cluster()) || place + self.shape.cluster() > self.file.len() {
            return Err(Error::corrupt("qcow2: entry of the L1 table")
                .at(entry_at)
                .found(format_args!("{place:#x}"))
                .allowed(format_args!("a whole cluster of the file's {:#x} bytes", self.file.len())));
        }
        Ok((place != 0).then_some(place))
    }

    /// The mappings of as many clusters as are read at once, from that at `at` on and at most to `end`.
    fn mappings(&self, at: u64, end: u64) -> Result<Mappings> {
        let reach = self.shape.reach();
        let first = (at % reach) >> self.shape.cluster_bits;
        let to_end = end.div_ceil(self.shape.cluster()) - (at >> self.shape.cluster_bits);
        let count = to_end.min(self.shape.entries() - first);
        let Some(table) = self.table_of(at)? else {
            return Ok(Mappings { count, entries_at: 0, entries: None });
        };
        let count = count.min(L2_PIECE);
        let entry_len = self.shape.entry_len();
        let mut bytes = vec![0; (count * entry_len) as usize];
        let entries_at = table + first * entry_len;
        self.file.read_at(entries_at, &mut bytes).context(|| "qcow2: L2 table")?;
        let word = |bytes: &[u8], at: usize| {
            let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map_or(0, u64::from_be_bytes)
        };
        let entries = bytes.chunks_exact(entry_len as usize).map(|entry| (word(entry, 0), word(entry, 8)));
        Ok(Mappings { count, entries_at, entries: Some(entries.collect()) })
    }

    /// Reads a part of one cluster, whose entry is at `entry_at`.
    fn read_cluster(&self, entry: (u64, u64), entry_at: u64, within: u64, buf: &mut [u8]) -> Result<()> {
        match self.shape.mapping(entry.0, entry.1) {
            Mapping::Nothing => buf.fill(0),
            Mapping::Plain { place, .. } if !place.is_multiple_of(self.shape.cluster()) || place >= self.file.len() => {
                return Err(self.wrong_entry(entry_at, place));
            }
            Mapping::Plain { place, present: ALL } => self.read_plain(place + within, buf)?,
            Mapping::Plain { place, present } => self.read_subclusters(place, present, within, buf)?,
            Mapping::Compressed { place, len } => {
                let cluster = self.cache.get(entry.0, || self.unpack(entry_at, place, len))?;
                buf.copy_from_slice(&cluster[within as usize..within as usize + buf.len()]);
            }
        }
        Ok(())
    }

    fn wrong_entry(&self, entry_at: u64, place: u64) -> Error {
        Error::corrupt("qcow2: entry of an L2 table")
            .at(entry_at)
            .found(format_args!("{place:#x}"))
            .allowed(format_args!("a whole cluster of the file's {:#x} bytes", self.file.len()))
    }

    /// The last cluster of a file may be cut short: the rest is zeros.
    fn read_plain(&self, place: u64, buf: &mut [u8]) -> Result<()> {
        let there = self.file.len().saturating_sub(place).min(buf.len() as u64) as usize;
        let (data, zeros) = buf.split_at_mut(there);
        zeros.fill(0);
        if data.is_empty() { Ok(()) } else { self.file.read_at(place, data) }
    }

    fn read_subclusters(&self, place: u64, present: u32, within: u64, buf: &mut [u8]) -> Result<()> {
        let subcluster = self.shape.cluster() / 32;
        let mut at = within;
        let mut rest = buf;
        while !rest.is_empty() {
            let left = subcluster - at % subcluster;
            let (piece, behind) = rest.split_at_mut(left.min(rest.len() as u64) as usize);
            match present & 1 << (at / subcluster) {
                0 => piece.fill(0),
                _ => self.read_plain(place + at, piece)?,
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn unpack(&self, entry_at: u64, place: u64, len: u64) -> Result<Vec<u8>> {
        let there = self.file.len().saturating_sub(place).min(len);
        if there == 0 {
            return Err(Error::corrupt("qcow2: entry of an L2 table for a compressed cluster")
                .at(entry_at)
                .found(format_args!("{place:#x}"))
                .allowed(format_args!("a place in the file's {:#x} bytes", self.file.len())));
        }
        let mut packed = vec![0; there as usize];
        self.file.read_at(place, &mut packed)?;
        unpack::unpack(self.method, &packed, self.shape.cluster() as usize).map_err(|error| error.at(place))
    }

    /// The first place from `at` on, at the start of what an L2 table describes, that has one; the disk's length if none has.
    fn next_table(&self, at: u64) -> Result<u64> {
        let reach = self.shape.reach();
        let end = self.len().div_ceil(reach);
        let mut index = at.div_ceil(reach);
        let mut bytes = vec![0; L1_PIECE as usize * 8];
        while index < end {
            let bytes = &mut bytes[..L1_PIECE.min(end - index) as usize * 8];
            self.file.read_at(self.header.l1_at.get() + index * 8, bytes).context(|| "qcow2: L1 table")?;
            let entries = bytes.as_chunks::<8>().0;
            if let Some(found) = entries.iter().position(|entry| u64::from_be_bytes(*entry) & PLACE != 0) {
                return Ok((index + found as u64) * reach);
            }
            index += entries.len() as u64;
        }
        Ok(self.len())
    }
}

/// Clusters in a row.
struct Mappings {
    count: u64,
    /// Where the first entry is in the file.
    entries_at: u64,
    /// Entries with their bits for subclusters; none where the disk has nothing.
    entries: Option<Vec<(u64, u64)>>,
}

impl<R: ReadAt> ReadAt for Qcow2<R> {
    fn len(&self) -> u64 {
        self.header.disk_len.get()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let Range { start: mut at, end } = range_within(at, buf.len(), self.len())?;
        let cluster = self.shape.cluster();
        let mut rest = buf;
        while !rest.is_empty() {
            let mappings = self.mappings(at, end)?;
            let Some(entries) = mappings.entries else {
                let clusters_end = (at / cluster + mappings.count) * cluster;
                let (piece, behind) = rest.split_at_mut((clusters_end.min(end) - at) as usize);
                piece.fill(0);
                (at, rest) = (clusters_end.min(end), behind);
                continue;
            };
            for (entry_at, entry) in (mappings.entries_at..).step_by(self.shape.entry_len() as usize).zip(entries) {
                let within = at % cluster;
                let (piece, behind) = rest.split_at_mut((cluster - within).min(rest.len() as u64) as usize);
                self.read_cluster(entry, entry_at, within, piece)?;
                at += piece.len() as u64;
                rest = behind;
            }
        }
        Ok(())
    }

    fn next_data(&self, mut at: u64) -> Result<Option<Range<u64>>> {
        let (len, cluster) = (self.len(), self.shape.cluster());
        while at < len {
            let mappings = self.mappings(at, len)?;
            let first = at / cluster;
            let Some(entries) = mappings.entries else {
                at = self.next_table((first + mappings.count) * cluster)?;
                continue;
            };
            let is_there = |entry: &(u64, u64)| self.shape.mapping(entry.0, entry.1) != Mapping::Nothing;
            if let Some(start) = entries.iter().position(is_there) {
                let count = entries[start..].iter().take_while(|entry| is_there(entry)).count();
                let start = first + start as u64;
                return Ok(Some((start * cluster).max(at)..((start + count as u64) * cluster).min(len)));
            }
            at = (first + mappings.count) * cluster;
        }
        Ok(None)
    }
}

/// The header, with zeros for what an older one lacks.
fn read_header(file: &impl ReadAt) -> Result<Header> {
    let mut header = Header::new_zeroed();
    let whole = header.as_bytes().len();
    let version_2 = &mut header.as_mut_bytes()[..ondisk::HEADER_LEN_2 as usize];
    file.read_at(0, version_2).context(|| "qcow2 header")?;
    if header.magic != ondisk::MAGIC {
        return Err(Error::corrupt("qcow2 header: magic number").at(0).allowed("\"QFI\" and fb"));
    }
    let len = match header.version.get() {
        2 => return Ok(header),
        3 => {
            file.read_at(0, &mut header.as_mut_bytes()[..ondisk::HEADER_LEN_3 as usize]).context(|| "qcow2 header")?;
            header.header_len.get()
        }
        1 => return Err(Error::unsupported("a qcow of version 1").hint("qemu-img convert -O qcow2 makes a newer one")),
        other => return Err(Error::unsupported("qcow2 header: version").at(4).found(other).allowed("2 or 3")),
    };
    if len < ondisk::HEADER_LEN_3 || !len.is_multiple_of(8) {
        return Err(Error::corrupt("qcow2 header: length").at(100).found(len).allowed("104 or more, in eights"));
    }
    if len as usize >= whole {
        file.read_at(0, header.as_mut_bytes()).context(|| "qcow2 header")?;
    }
    Ok(header)
}

/// Refuses what is not read, by name.
fn refuse_features(header: &Header) -> Result<()> {
    const CONVERT: &str = "make a plain file of it: qemu-img convert -O qcow2 FILE NEW-FILE";
    let bits = header.incompatible.get();
    if bits & incompatible::CORRUPT != 0 {
        return Err(Error::unsupported("a qcow2 that is marked as corrupt")
            .at(72)
            .hint("qemu-img check -r all FILE repairs what it can and takes the mark away"));
    }
    if header.backing_at.get() != 0 {
        return Err(Error::unsupported("a qcow2 with a backing file").at(8).hint(CONVERT));
    }
    if bits & incompatible::EXTERNAL_DATA != 0 {
        return Err(Error::unsupported("a qcow2 whose data is in another file").at(72).hint(CONVERT));
    }
    if header.encryption.get() != 0 {
        return Err(Error::unsupported("an encrypted qcow2").at(32).found(header.encryption).hint(CONVERT));
    }
    let known = incompatible::DIRTY | incompatible::COMPRESSION_TYPE | incompatible::EXTENDED_L2;
    if bits & !known != 0 {
        return Err(Error::unsupported("qcow2 header: incompatible features")
            .at(72)
            .found(format_args!("{:#x} unknown", bits & !known))
            .hint(CONVERT));
    }
    if ![ondisk::COMPRESSION_DEFLATE, ondisk::COMPRESSION_ZSTD].contains(&header.compression) {
        return Err(Error::unsupported("qcow2 header: compression type")
            .at(104)
            .found(header.compression)
            .allowed("0 (deflate) or 1 (zstd)")
            .hint(CONVERT));
    }
    Ok(())
}

/// Refuses sizes and places that cannot be worked with. After it, no sum or product of them overflows.
fn check_tables(header: &Header, shape: Shape, file_len: u64) -> Result<()> {
    let allowed = if shape.extended { 14..=21 } else { 9..=21 };
    if !allowed.contains(&shape.cluster_bits) {
        return Err(Error::corrupt("qcow2 header: bits of a cluster")
            .at(20)
            .found(shape.cluster_bits)
            .allowed(format_args!("{} to 21 (2 MiB)", allowed.start())));
    }
    let disk_len = header.disk_len.get();
    if disk_len > MAX_DISK {
        return Err(Error::unsupported("qcow2 header: size of the disk")
            .at(24)
            .found(disk_len)
            .allowed(format_args!("at most {MAX_DISK} (64 TiB)")));
    }
    let needed = disk_len.div_ceil(shape.reach());
    if needed * 8 > MAX_L1 {
        return Err(Error::unsupported("qcow2: length of the L1 table").at(36).found(needed * 8).allowed(MAX_L1));
    }
    if u64::from(header.l1_entries.get()) < needed {
        return Err(Error::corrupt("qcow2 header: entries of the L1 table")
            .at(36)
            .found(header.l1_entries)
            .allowed(format_args!("at least {needed}")));
    }
    let l1_at = header.l1_at.get();
    if needed > 0 && (l1_at == 0 || !l1_at.is_multiple_of(shape.cluster())) {
        return Err(Error::corrupt("qcow2 header: place of the L1 table")
            .at(40)
            .found(format_args!("{l1_at:#x}"))
            .allowed("a whole cluster"));
    }
    match l1_at.checked_add(needed * 8) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(Error::truncated("qcow2: the L1 table is past the end of the file").at(l1_at)),
    }
}
