//! What a file is: its information control block.

use std::collections::HashSet;

use super::ondisk::{
    self, AllocationExtent, EXTENT_LEN, ExtendedFileEntry, FLAG_ARCHIVE, FLAG_SYSTEM, FLAG_TRANSFORMED,
    FLAGS_DESCRIPTORS, FileEntry, IcbTag, LbAddr, LongAd, ShortAd, TAG_ALLOCATION_EXTENT, TAG_EXTENDED_FILE_ENTRY,
    TAG_FILE_ENTRY,
};
use super::volume::Volume;
use crate::base::extents::Extents;
use crate::error::{Error, Result};
use crate::tree::{Times, attributes};

/// How the extents of a file are written down.
#[derive(Clone, Copy)]
enum Form {
    Short,
    Long,
}

/// A file or directory.
pub(super) struct Icb {
    pub(super) file_type: u8,
    pub(super) attributes: u32,
    pub(super) times: Times,
    pub(super) extents: Extents,
    /// Whether it has named streams.
    pub(super) has_streams: bool,
}

/// The two kinds of entries, as far as they are the same.
struct Entry {
    icb: IcbTag,
    len: u64,
    times: Times,
    has_streams: bool,
    /// Where the allocation descriptors are in the block.
    start: usize,
    descriptors_len: usize,
}

impl Icb {
    /// Reads the entry in a block. Extensions of its allocation descriptors must not be in `seen` yet, in which they are put.
    pub(super) fn read(volume: &Volume, at: LbAddr, seen: &mut HashSet<(u16, u32)>) -> Result<Self> {
        let (bytes, place) = volume.block(at)?;
        let entry = Entry::parse(&bytes, at, place)?;
        let strategy = entry.icb.strategy.get();
        if strategy != 4 {
            return Err(Error::unsupported("UDF: ICB strategy").at(place).found(strategy).allowed(4));
        }
        let flags = entry.icb.flags.get();
        if flags & FLAG_TRANSFORMED != 0 {
            return Err(Error::unsupported("UDF: a file in a transformed form").at(place));
        }
        let descriptors = entry
            .start
            .checked_add(entry.descriptors_len)
            .and_then(|end| bytes.get(entry.start..end))
            .ok_or_else(|| Error::corrupt("UDF: lengths in a file entry").at(place))?;
        let extents = match flags & FLAGS_DESCRIPTORS {
            0 => Walk::new(volume, at.partition.get(), Form::Short, entry.len).all(descriptors, seen),
            1 => Walk::new(volume, at.partition.get(), Form::Long, entry.len).all(descriptors, seen),
            3 if entry.len > descriptors.len() as u64 => {
                Err(Error::corrupt("UDF: length of an embedded file").found(entry.len).allowed(descriptors.len()))
            }
            3 => {
                let mut extents = Extents::default();
                let pushed = extents.push(Some(place + entry.start as u64), entry.len);
                pushed.map(|()| extents).ok_or_else(|| Error::corrupt("UDF: place of an embedded file"))
            }
            kind => Err(Error::unsupported("UDF: kind of allocation descriptors")
                .found(kind)
                .allowed("short (0), long (1) or embedded (3)")),
        };
        let flag = |bit, attribute| if flags & bit != 0 { attribute } else { 0 };
        Ok(Self {
            file_type: entry.icb.file_type,
            attributes: flag(FLAG_ARCHIVE, attributes::ARCHIVE) | flag(FLAG_SYSTEM, attributes::SYSTEM),
            times: entry.times,
            extents: extents.map_err(|error| error.at(place))?,
            has_streams: entry.has_streams,
        })
    }
}

impl Entry {
    fn parse(bytes: &[u8], at: LbAddr, place: u64) -> Result<Self> {
        match ondisk::tag(bytes, Some(at.block.get()), place)?.id.get() {
            TAG_FILE_ENTRY => {
                let entry: FileEntry = ondisk::body(bytes, place)?;
                Ok(Self {
                    icb: entry.icb,
                    len: entry.len.get(),
                    times: Times {
                        created: entry.modified.time(), // it has no other
                        modified: entry.modified.time(),
                        changed: entry.changed.time(),
                        accessed: entry.accessed.time(),
                    },
                    has_streams: false,
                    start: size_of::<FileEntry>().saturating_add(entry.attributes_len.get() as usize),
                    descriptors_len: entry.descriptors_len.get() as usize,
                })
            }
            TAG_EXTENDED_FILE_ENTRY => {
                let entry: ExtendedFileEntry = ondisk::body(bytes, place)?;
                Ok(Self {
                    icb: entry.icb,
                    len: entry.len.get(),
                    times: Times {
                        created: entry.created.time(),
                        modified: entry.modified.time(),
                        changed: entry.changed.time(),
                        accessed: entry.accessed.time(),
                    },
                    has_streams: entry.streams.len.get() & EXTENT_LEN != 0,
                    start: size_of::<ExtendedFileEntry>().saturating_add(entry.attributes_len.get() as usize),
                    descriptors_len: entry.descriptors_len.get() as usize,
                })
            }
            id => Err(Error::corrupt("UDF: kind of a descriptor")
                .at(place)
                .found(id)
                .allowed(format_args!("{TAG_FILE_ENTRY} or {TAG_EXTENDED_FILE_ENTRY}"))),
        }
    }
}

/// The way through the allocation descriptors of a file.
struct Walk<'v> {
    volume: &'v Volume,
    partition: u16,
    form: Form,
    len: u64,
    extents: Extents,
}

/// What one allocation descriptor says.
enum Step {
    Goes,
    /// Further descriptors are in this extent.
    Next(LbAddr),
    Ends,
}

impl<'v> Walk<'v> {
    fn new(volume: &'v Volume, partition: u16, form: Form, len: u64) -> Self {
        Self { volume, partition, form, len, extents: Extents::default() }
    }

    fn all(mut self, descriptors: &[u8], seen: &mut HashSet<(u16, u32)>) -> Result<Extents> {
        let mut next = self.list(descriptors)?;
        while let Some(at) = next {
            if !seen.insert((at.partition.get(), at.block.get())) {
                return Err(Error::corrupt("UDF: allocation descriptors of two files, or twice of one")
                    .found(format_args!("block {}", at.block.get())));
            }
            let (bytes, place) = self.volume.block(at)?;
            let extent: AllocationExtent =
                ondisk::descriptor(&bytes, TAG_ALLOCATION_EXTENT, Some(at.block.get()), place)?;
            let list = bytes.get(size_of::<AllocationExtent>()..).unwrap_or_default();
            let list = list.get(..extent.descriptors_len.get() as usize);
            let list = list.ok_or_else(|| Error::corrupt("UDF: length of allocation descriptors").at(place))?;
            next = self.list(list)?;
        }
        if self.extents.len() < self.len {
            return Err(Error::corrupt("UDF: a file whose extents end early")
                .found(format_args!("{} bytes", self.extents.len()))
                .allowed(format_args!("{} bytes", self.len)));
        }
        Ok(self.extents)
    }

    fn list(&mut self, descriptors: &[u8]) -> Result<Option<LbAddr>> {
        let size = match self.form {
            Form::Short => size_of::<ShortAd>(),
            Form::Long => size_of::<LongAd>(),
        };
        for bytes in descriptors.chunks_exact(size) {
            match self.step(bytes)? {
                Step::Goes => {}
                Step::Next(at) => return Ok(Some(at)),
                Step::Ends => break,
            }
        }
        Ok(None)
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step> {
        let (len, at) = match self.form {
            Form::Short => {
                let found: ShortAd = ondisk::body(bytes, 0)?;
                (found.len.get(), LbAddr { block: found.block, partition: self.partition.into() })
            }
            Form::Long => {
                let found: LongAd = ondisk::body(bytes, 0)?;
                (found.len.get(), found.at)
            }
        };
        let (kind, len) = (len >> 30, u64::from(len & EXTENT_LEN));
        // What is allocated behind the end of the file is not of it.
        let wanted = len.min(self.len - self.extents.len());
        match kind {
            _ if len == 0 => return Ok(Step::Ends),
            3 => return Ok(Step::Next(at)),
            0 if wanted > 0 => {
                let place = self.volume.place(at, wanted)?;
                self.push(Some(place), wanted)?;
            }
            // Not recorded, be it allocated or not.
            _ => self.push(None, wanted)?,
        }
        Ok(Step::Goes)
    }

    fn push(&mut self, at: Option<u64>, len: u64) -> Result<()> {
        self.extents.push(at, len).ok_or_else(|| Error::corrupt("UDF: length of a file"))
    }
}
