//! The directory of a cabinet.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::FromBytes;

use super::ondisk::{self, Header, Reserve};
use crate::base::{FileTime, ReadAt};
use crate::codec::lzx::Window;
use crate::error::{Error, Result};

/// The longest cabinet: what a signed 32-bit offset reaches.
const MAX_LEN: u64 = (1 << 31) - 1;
/// What of the start of a cabinet is read for the header with all that it can reserve, and the names of a set.
const MAX_HEADER: usize = 0x1_0400;

/// A cabinet whose directory has been read.
pub struct Cabinet {
    pub(super) reader: Arc<dyn ReadAt>,
    /// Where the cabinet ends; the file may go on.
    pub(super) len: u64,
    /// Reserved bytes of each block.
    pub(super) reserve: usize,
    pub(super) folders: Vec<Folder>,
    files: Vec<File>,
}

/// A stream of blocks.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) data: u64,
    pub(super) blocks: u16,
    pub(super) compression: Compression,
    /// Its files in the order of what they hold.
    pub(super) files: Vec<usize>,
}

/// How a folder is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// Deflate, block by block, with the block before as dictionary.
    MsZip,
    /// LZX with that window.
    Lzx(Window),
}

/// A file in a cabinet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name as the cabinet has it, with `\` or `/` between folders. It may say anything.
    pub name: String,
    /// Its length.
    pub len: u64,
    /// When it was written, by a clock on the wall of whoever packed it; none if that is no date.
    pub modified: Option<FileTime>,
    /// `FILE_ATTRIBUTE_*`, and bits that only cabinets have.
    pub attributes: u16,
    /// Where it begins in its folder.
    pub(super) offset: u64,
}

impl File {
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }
}

/// Whether a file begins as a cabinet does.
pub fn is_cabinet(file: &dyn ReadAt) -> Result<bool> {
    let mut signature = [0; 4];
    if file.len() < size_of::<Header>() as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut signature)?;
    Ok(signature == *ondisk::SIGNATURE)
}

impl Cabinet {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) and [`Truncated`](crate::error::Kind::Truncated) with the offset;
    /// [`Unsupported`](crate::error::Kind::Unsupported) for Quantum, for a cabinet of a set, and for one of 2 GiB.
    pub fn open(reader: Arc<dyn ReadAt>) -> Result<Self> {
        let mut start = vec![0; usize::try_from(reader.len()).unwrap_or(MAX_HEADER).min(MAX_HEADER)];
        reader.read_at(0, &mut start)?;
        let (header, mut rest) = Header::read_from_prefix(&start).map_err(|_| too_short("header", 0))?;
        check_header(&header, reader.len())?;
        let len = u64::from(header.len.get());
        let mut reserve = Reserve { header: 0.into(), folder: 0, data: 0 };
        if header.flags.get() & ondisk::FLAG_RESERVE != 0 {
            (reserve, rest) = Reserve::read_from_prefix(rest).map_err(|_| too_short("header", 0x24))?;
            rest = rest.get(usize::from(reserve.header.get())..).ok_or_else(|| too_short("header", 0x28))?;
        }
        let folders = folders_at(&*reader, (start.len() - rest.len()) as u64, &header, &reserve, len)?;
        let mut cabinet = Self { reader, len, reserve: reserve.data.into(), folders, files: Vec::new() };
        cabinet.read_files(header.files.get().into(), header.file_count.get())?;
        cabinet.sort_files()?;
        Ok(cabinet)
    }

    /// All files, in the order of the directory.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// How much all files hold together.
    pub fn unpacked_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum() // 65535 times 32 bits
    }

    /// How each folder is packed.
    pub fn compressions(&self) -> impl Iterator<Item = Compression> {
        self.folders.iter().map(|folder| folder.compression)
    }

    fn read_files(&mut self, start: u64, count: u16) -> Result<()> {
        const RECORD: usize = size_of::<ondisk::File>();
        let mut at = start;
        let mut buffer = Vec::new(); // what lies from `at` on
        let mut used = 0;
        for _ in 0..count {
            if buffer.len() - used < RECORD + ondisk::MAX_NAME + 1 {
                const PIECE: u64 = 1 << 16;
                buffer.resize(self.len.saturating_sub(at).min(PIECE) as usize, 0);
                self.reader.read_at(at, &mut buffer)?;
                used = 0;
            }
            let here = buffer.get(used..).unwrap_or_default();
            let (record, rest) = ondisk::File::read_from_prefix(here).map_err(|_| too_short("record of a file", at))?;
            let name = rest.iter().take(ondisk::MAX_NAME + 1).position(|byte| *byte == 0);
            let name = name.and_then(|end| rest.get(..end)).filter(|name| !name.is_empty());
            let name = name
                .ok_or_else(|| Error::corrupt("cabinet: name of a file").at(at).allowed("1 to 255 bytes, and a NUL"))?;
            self.add_file(&record, name, at)?;
            let len = RECORD + name.len() + 1;
            used += len;
            at += len as u64;
        }
        Ok(())
    }

    fn add_file(&mut self, record: &ondisk::File, name: &[u8], at: u64) -> Result<()> {
        let index = record.folder.get();
        if index >= ondisk::FIRST_SHARED_FOLDER {
            return Err(of_set().at(at));
        }
        let count = self.folders.len();
        let folder = self.folders.get_mut(usize::from(index)).ok_or_else(|| {
            Error::corrupt("cabinet: folder of a file").at(at).found(index).allowed(format_args!("less than {count}"))
        })?;
        folder.files.push(self.files.len());
        self.files.push(File {
            name: decode_name(name, record.attributes.get() & ondisk::ATTRIBUTE_NAME_IS_UTF8 != 0),
            len: record.len.get().into(),
            modified: moment(record.date.get(), record.time.get()),
            attributes: record.attributes.get(),
            offset: record.offset.get().into(),
        });
        Ok(())
    }

    /// Puts the files of each folder into the order of what they hold, and refuses those that overlap.
    fn sort_files(&mut self) -> Result<()> {
        for folder in &mut self.folders {
            folder.files.sort_by_key(|index| self.files[*index].offset);
            let mut end = 0;
            for index in &folder.files {
                let file = &self.files[*index];
                if file.len > 0 && file.offset < end {
                    return Err(Error::corrupt("cabinet: files that overlap").found(&file.name));
                }
                end = end.max(file.range().end);
            }
        }
        Ok(())
    }
}

fn check_header(header: &Header, len: u64) -> Result<()> {
    if header.signature != *ondisk::SIGNATURE {
        return Err(Error::corrupt("not a cabinet").found(header.signature.escape_ascii()).allowed("MSCF"));
    }
    let [minor, major] = header.version;
    if major != ondisk::VERSION[1] {
        return Err(Error::unsupported("version of the cabinet")
            .at(0x18)
            .found(format_args!("{major}.{minor}"))
            .allowed("1.3"));
    }
    if header.flags.get() & (ondisk::FLAG_PREVIOUS | ondisk::FLAG_NEXT) != 0 {
        return Err(of_set().at(0x1E));
    }
    let own = u64::from(header.len.get());
    if own > MAX_LEN {
        return Err(Error::unsupported("size of a cabinet").at(0x08).found(own).allowed("less than 2 GiB"));
    }
    if own > len {
        return Err(Error::truncated("the cabinet is not all there").at(0x08).found(len).allowed(own));
    }
    Ok(())
}

fn folders_at(reader: &dyn ReadAt, at: u64, header: &Header, reserve: &Reserve, len: u64) -> Result<Vec<Folder>> {
    let record = size_of::<ondisk::Folder>() + usize::from(reserve.folder);
    let count = usize::from(header.folder_count.get());
    let wanted = record * count; // less than 2^25
    if at.saturating_add(wanted as u64) > len {
        return Err(too_short("records of folders", at));
    }
    let mut bytes = vec![0; wanted];
    reader.read_at(at, &mut bytes)?;
    let mut folders = Vec::with_capacity(count);
    for (number, bytes) in bytes.chunks_exact(record).enumerate() {
        let place = at + (number * record) as u64;
        let (folder, _) =
            ondisk::Folder::read_from_prefix(bytes).map_err(|_| too_short("record of a folder", place))?;
        folders.push(Folder {
            data: folder.data.get().into(),
            blocks: folder.blocks.get(),
            compression: compression(folder.compression.get()).map_err(|error| error.at(place + 6))?,
            files: Vec::new(),
        });
    }
    Ok(folders)
}

fn compression(code: u16) -> Result<Compression> {
    match code & ondisk::COMPRESSION_MASK {
        0 => Ok(Compression::None),
        1 => Ok(Compression::MsZip),
        2 => Err(Error::unsupported("cabinet: the compression").found("Quantum").allowed("none, MSZIP, LZX")),
        3 => {
            let order = code >> ondisk::WINDOW_SHIFT & ondisk::WINDOW_MASK;
            Window::of_order(order)
                .map(Compression::Lzx)
                .ok_or_else(|| Error::corrupt("cabinet: window of LZX").found(order).allowed("15 to 21"))
        }
        other => Err(Error::corrupt("cabinet: the compression").found(other).allowed("none, MSZIP, LZX")),
    }
}

fn of_set() -> Error {
    Error::unsupported("a cabinet of a set, whose files go on in other cabinets")
        .hint("unpack the whole set first, with `expand` on Windows or cabextract")
}

fn too_short(what: &str, at: u64) -> Error {
    Error::truncated(format_args!("cabinet: the {what} is not all there")).at(at)
}

/// The date and time of DOS, taken as UTC.
fn moment(date: u16, time: u16) -> Option<FileTime> {
    let part = |value: u16, shift: u16, bits: u16| (value >> shift & ((1 << bits) - 1)) as i8; // at most 7 bits
    let year = 1980 + (date >> 9) as i16;
    FileTime::from_civil(
        (year, part(date, 5, 4), part(date, 0, 5)),
        (part(time, 11, 5), part(time, 5, 6), part(time, 0, 5) * 2),
    )
}

/// What is not UTF-8 is in the code page of whoever packed it, which is not said; most are near Windows-1252.
fn decode_name(bytes: &[u8], utf8: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}
