//! What is in the folders of a cabinet.

use flate2::{Decompress, FlushDecompress};
use zerocopy::FromBytes;

use super::ondisk::{DATA_LEN, Data};
use super::read::{Cabinet, Compression, File, Folder};
use crate::codec::Damaged;
use crate::codec::lzx::Frames;
use crate::error::{Context, Error, Result};

/// How much a block unpacks to at most.
const BLOCK: usize = 1 << 15;
/// What each block of MSZIP begins with.
const MSZIP_SIGNATURE: &[u8] = b"CK";

impl Cabinet {
    /// Unpacks the files that are `wanted`, and gives them to `sink` piece by piece: folder by folder, in each in the order of what is
    /// in it. A file without contents comes with one empty piece. Folders without wanted files are not read, nor the rest of one behind
    /// its last.
    pub fn unpack(
        &self,
        wanted: impl Fn(&File) -> bool,
        mut sink: impl FnMut(&File, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for (number, folder) in self.folders.iter().enumerate() {
            let files: Vec<usize> =
                folder.files.iter().copied().filter(|index| wanted(&self.files()[*index])).collect();
            self.unpack_folder(number, &files, &mut |index, piece| sink(&self.files()[index], piece))?;
        }
        Ok(())
    }

    /// The same of one folder: `files` are some of its files, in its order.
    pub(super) fn unpack_folder(
        &self,
        number: usize,
        files: &[usize],
        sink: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let folder = &self.folders[number];
        self.unpack_files(folder, files, sink).context(|| format!("cabinet, folder {number}"))
    }

    fn unpack_files(
        &self,
        folder: &Folder,
        files: &[usize],
        sink: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut files = files.iter().map(|index| (*index, &self.files()[*index])).peekable();
        while let Some((index, _)) = files.next_if(|(_, file)| file.len == 0) {
            sink(index, &[])?;
        }
        let Some((_, first)) = files.peek() else { return Ok(()) };
        let mut blocks = Blocks::new(self, folder);
        let mut start = 0u64; // where the block is in the folder
        let mut open = Some(first.range());
        for _ in 0..folder.blocks {
            let block = blocks.next()?;
            let end = start + block.len() as u64;
            while let (Some((index, file)), Some(left)) = (files.peek().copied(), &mut open) {
                if left.start >= end && file.len > 0 {
                    break;
                }
                let piece = left.start.saturating_sub(start)..left.end.min(end).saturating_sub(start);
                sink(index, block.get(piece.start as usize..piece.end as usize).unwrap_or_default())?;
                left.start = left.end.min(end);
                if !left.is_empty() {
                    break;
                }
                files.next();
                open = files.peek().map(|(_, file)| file.range());
            }
            if open.is_none() {
                return Ok(());
            }
            start = end;
        }
        // Empty files may be anywhere, the end included.
        match files.find(|(_, file)| file.len > 0) {
            Some((_, file)) => Err(Error::corrupt("a file that goes past the end of its folder")
                .found(format_args!("{:?}, to {}", file.name, file.range().end))
                .allowed(start)),
            None => Ok(()),
        }
    }
}

/// The blocks of a folder, one after the other.
struct Blocks<'c> {
    cabinet: &'c Cabinet,
    at: u64,
    packed: Vec<u8>,
    unpacker: Unpacker,
}

enum Unpacker {
    Stored,
    MsZip(Box<MsZip>),
    Lzx(Box<Frames>),
}

impl<'c> Blocks<'c> {
    fn new(cabinet: &'c Cabinet, folder: &Folder) -> Self {
        let unpacker = match folder.compression {
            Compression::None => Unpacker::Stored,
            Compression::MsZip => Unpacker::MsZip(Box::new(MsZip::new())),
            Compression::Lzx(window) => Unpacker::Lzx(Box::new(Frames::new(window))),
        };
        Self { cabinet, at: folder.data, packed: Vec::new(), unpacker }
    }

    fn next(&mut self) -> Result<&[u8]> {
        let at = self.at;
        let header_len = DATA_LEN + self.cabinet.reserve;
        self.read(header_len)?;
        let header = self.packed.clone();
        let (data, _) = Data::read_from_prefix(&header).map_err(|_| Error::truncated("a block of data").at(at))?;
        self.at += header_len as u64;
        self.read(data.packed.get().into())?;
        self.at += u64::from(data.packed.get());
        let expected = data.checksum.get();
        if expected != 0 {
            let found = checksum(&header[4..], checksum(&self.packed, 0));
            if found != expected {
                return Err(Error::corrupt("checksum of a block")
                    .at(at)
                    .found(format_args!("{found:08x}"))
                    .allowed(format_args!("{expected:08x}")));
            }
        }
        let len = usize::from(data.unpacked.get());
        if len == 0 || len > BLOCK {
            return Err(Error::corrupt("length of an unpacked block").at(at + 6).found(len).allowed("1 to 32768"));
        }
        let unpacked = match &mut self.unpacker {
            Unpacker::Stored => (self.packed.len() == len)
                .then_some(self.packed.as_slice())
                .ok_or(Damaged("a stored block of another length than it says")),
            Unpacker::MsZip(unpacker) => unpacker.unpack(&self.packed, len),
            Unpacker::Lzx(frames) => frames.decode(&self.packed, len),
        };
        unpacked.map_err(|damaged| Error::from(damaged).at(at))
    }

    /// Reads what is next into `packed`.
    fn read(&mut self, len: usize) -> Result<()> {
        if self.at.saturating_add(len as u64) > self.cabinet.len {
            return Err(Error::truncated("a block past the end of the cabinet").at(self.at));
        }
        self.packed.resize(len, 0);
        self.cabinet.reader.read_at(self.at, &mut self.packed)
    }
}

/// Deflate, anew in each block, with what the blocks before unpacked to as dictionary.
struct MsZip {
    inflate: Decompress,
    /// A stored block of deflate with the dictionary: the way to give one to a decoder that has no other.
    dictionary: Vec<u8>,
    scratch: Vec<u8>,
    output: Vec<u8>,
}

/// Before the bytes of a stored block: that it is not the last, and its length twice.
const STORED_HEADER: usize = 5;

impl MsZip {
    fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            dictionary: Vec::new(),
            scratch: vec![0; BLOCK],
            output: vec![0; BLOCK],
        }
    }

    fn unpack(&mut self, packed: &[u8], len: usize) -> Result<&[u8], Damaged> {
        let Some(deflated) = packed.strip_prefix(MSZIP_SIGNATURE) else {
            return Err(Damaged("a block of MSZIP without its signature"));
        };
        self.inflate.reset(false);
        if !self.dictionary.is_empty() {
            let known = self.inflate.decompress(&self.dictionary, &mut self.scratch, FlushDecompress::None);
            known.map_err(|_| Damaged("a dictionary that cannot be"))?;
        }
        let before = self.inflate.total_out();
        let output = &mut self.output[..len];
        let inflated = self.inflate.decompress(deflated, output, FlushDecompress::Finish);
        inflated.map_err(|_| Damaged("a block that deflate did not write"))?;
        if self.inflate.total_out() - before != len as u64 {
            return Err(Damaged("a block of MSZIP that is shorter than it says"));
        }
        self.keep(len);
        Ok(&self.output[..len])
    }

    /// Makes the last 32 KiB the dictionary of the next block.
    fn keep(&mut self, len: usize) {
        let mut window = self.dictionary.split_off(STORED_HEADER.min(self.dictionary.len()));
        window.extend_from_slice(&self.output[..len]);
        window.drain(..window.len().saturating_sub(BLOCK));
        let size = window.len() as u16; // at most 2^15
        self.dictionary.clear();
        self.dictionary.push(0);
        self.dictionary.extend(size.to_le_bytes());
        self.dictionary.extend((!size).to_le_bytes());
        self.dictionary.append(&mut window);
    }
}

/// Words XORed; what is left at the end comes the other way round.
fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(seed, |sum, word| sum ^ u32::from_le_bytes(*word));
    sum ^ rest.iter().fold(0, |last, byte| last << 8 | u32::from(*byte))
}
