//! `$MFT`: found from the boot sector, and read record by record.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zerocopy::FromBytes;

use crate::base::ReadAt;
use crate::error::{Context, Error, Kind, Result};
use crate::format::ntfs::ondisk::{ListEntry, MAX_ATTRIBUTE_LIST, file, kind, record_of, reference, sequence_of};

use super::attribute::{Attribute, Extents, Part, join};
use super::boot::Boot;
use super::notes::Notes;
use super::record::{Form, Raw, Record, fix_up};
use super::runs::Clusters;

/// How many bytes of the table are read at once.
const PASS: usize = 1 << 20;
/// A file whose list names more records than this that cannot be had is given up.
const MAX_UNREAD: usize = 16;

/// The table of all records.
#[derive(Clone)]
pub(super) struct Mft {
    pub(super) boot: Boot,
    pub(super) clusters: Clusters,
    extents: Extents,
    /// How many records there are.
    pub(super) records: u32,
}

/// The records that a file needs are read for it one by one; the bytes of all attribute lists together are no more than the volume,
/// unless their clusters are shared, so that a damaged volume does not make the work grow without bound.
pub(super) struct ListBudget(u64);

/// A file with all of its attributes, from however many records.
pub(super) struct File {
    pub(super) number: u32,
    pub(super) sequence: u16,
    /// See [`record_flag`](crate::format::ntfs::ondisk::record_flag).
    pub(super) flags: u16,
    /// By type, name.
    pub(super) attributes: Vec<Attribute>,
}

impl File {
    /// All attributes of a type.
    pub(super) fn all(&self, kind: u32) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.kind == kind)
    }

    /// The attribute of that type and name.
    pub(super) fn find(&self, kind: u32, name: &str) -> Option<&Attribute> {
        self.all(kind).find(|attribute| attribute.name.units().iter().copied().eq(name.encode_utf16()))
    }
}

impl Mft {
    /// Finds the table. `notes` is told where the mirror had to help.
    pub(super) fn open(volume: Arc<dyn ReadAt>, notes: &mut Notes) -> Result<Self> {
        let boot = Boot::read(&*volume)?;
        let clusters = Clusters { volume, size: boot.cluster };
        let first = Self::first_record(&boot, &clusters, notes)?;
        let mut mft = Self { boot, clusters, extents: Extents::default(), records: 0 };
        mft.find_extents(&first).context(|| "$MFT")?;
        Ok(mft)
    }

    /// Record 0, or else its copy.
    fn first_record(boot: &Boot, clusters: &Clusters, notes: &mut Notes) -> Result<Vec<u8>> {
        let read = |lcn: u64| {
            let mut bytes = vec![0; boot.record];
            let at = lcn.checked_mul(boot.cluster).ok_or_else(|| Error::corrupt("place of the mirror").found(lcn))?;
            clusters.volume.read_at(at, &mut bytes)?;
            fix_up(&mut bytes, b"FILE").map_err(|error| error.context(format_args!("record 0 at {at:#x}")))?;
            Record::new(&bytes, file::MFT)?.ok_or_else(|| Error::corrupt("record 0 is not in use").at(at))?;
            Ok(bytes)
        };
        read(boot.mft_lcn).or_else(|error: Error| {
            if error.kind() == Kind::Io {
                return Err(error);
            }
            let bytes = read(boot.mirror_lcn).map_err(|_| again(&error).context("$MFT"))?;
            notes.say(format_args!("{error}: its copy in $MFTMirr was read instead"));
            Ok(bytes)
        })
    }

    /// The clusters of the table itself. Where they are listed in several records, each of those lies in the part that is
    /// known by then.
    fn find_extents(&mut self, first: &[u8]) -> Result<()> {
        let missing = || Error::corrupt("$MFT: its own first clusters are not in record 0");
        let record = Record::new(first, file::MFT)?.ok_or_else(missing)?;
        let raws = record.attributes()?;
        let own = |raw: &&Raw<'_>| raw.kind == kind::DATA && raw.name.is_empty();
        let Some(Form::NonResident { header, pairs }) = raws.iter().find(own).map(|raw| raw.form) else {
            return Err(missing());
        };
        self.extents = Extents::begin(0, &header, pairs, self.boot.clusters())?;
        self.count_records()?;
        if let Some(list) = raws.iter().find(|raw| raw.kind == kind::ATTRIBUTE_LIST) {
            let list = self.list_bytes(list, &mut self.list_budget())?;
            let mut entries = list_entries(&list)?;
            entries.retain(|entry| entry.kind == kind::DATA && entry.name.is_empty() && entry.lowest_vcn > 0);
            entries.sort_by_key(|entry| entry.lowest_vcn);
            for entry in entries {
                let bytes = self.extent_record(entry.holder, reference(file::MFT, record.header.sequence.get()))?;
                let raws = raws_of(&bytes, record_of(entry.holder) as u32)?;
                let Some(Form::NonResident { header, pairs }) = entry.find(&raws).map(|raw| raw.form) else {
                    return Err(entry.not_there());
                };
                self.extents.extend(&header, pairs, self.boot.clusters())?;
                self.count_records()?;
            }
        }
        self.extents.check(self.boot.clusters(), self.boot.cluster)
    }

    /// Counts the records in the clusters that are known so far.
    fn count_records(&mut self) -> Result<()> {
        let len = self.extents.initialized.min(self.extents.size).min(self.extents.held(self.boot.cluster));
        if len > self.clusters.volume.len() {
            return Err(Error::truncated("length of $MFT")
                .found(len)
                .allowed(format_args!("{} bytes, as long as the volume is", self.clusters.volume.len())));
        }
        let records = u32::try_from(len / self.boot.record as u64);
        self.records = records.map_err(|_| Error::unsupported("$MFT: more than 2^32 records"))?;
        Ok(())
    }

    /// Shows all records in order, as they lie on the volume.
    pub(super) fn each(&self, mut visit: impl FnMut(u32, &mut [u8]) -> Result<()>) -> Result<()> {
        let at_once = (PASS / self.boot.record) as u32;
        let mut buf = vec![0; at_once.min(self.records) as usize * self.boot.record];
        let mut number = 0;
        while number < self.records {
            let count = at_once.min(self.records - number);
            let bytes = &mut buf[..count as usize * self.boot.record];
            self.extents.read(&self.clusters, self.place(number), bytes).context(|| "$MFT")?;
            for record in bytes.chunks_exact_mut(self.boot.record) {
                visit(number, record)?;
                number += 1;
            }
        }
        Ok(())
    }

    fn place(&self, number: u32) -> u64 {
        u64::from(number) * self.boot.record as u64
    }

    /// One record, its update sequence undone.
    pub(super) fn record(&self, number: u64) -> Result<Vec<u8>> {
        let number = u32::try_from(number).ok().filter(|number| *number < self.records);
        let number = number.ok_or_else(|| Error::corrupt("a record behind the end of $MFT").allowed(self.records))?;
        let mut bytes = vec![0; self.boot.record];
        self.extents.read(&self.clusters, self.place(number), &mut bytes)?;
        fix_up(&mut bytes, b"FILE")?;
        Ok(bytes)
    }

    /// A system file, which has to be in use.
    pub(super) fn system_file(&self, number: u32) -> Result<File> {
        let bytes = self.record(number.into())?;
        let file = self.file(number, &bytes, &mut self.list_budget())?;
        file.ok_or_else(|| Error::corrupt("the record is not in use"))
    }

    /// The file of a record whose update sequence is undone; `None` if it is not in use or extends another one.
    pub(super) fn file(&self, number: u32, bytes: &[u8], budget: &mut ListBudget) -> Result<Option<File>> {
        let Some(record) = Record::new(bytes, number)? else { return Ok(None) };
        if record.header.base.get() != 0 {
            return Ok(None);
        }
        let raws = record.attributes()?;
        let (sequence, flags) = (record.header.sequence.get(), record.header.flags.get());
        let attributes = match raws.iter().find(|raw| raw.kind == kind::ATTRIBUTE_LIST) {
            None => self.join(raws.into_iter().map(Part::from).collect()),
            Some(list) => {
                let list = self.list_bytes(list, budget).context(|| "$ATTRIBUTE_LIST")?;
                self.listed(reference(number, sequence), &raws, &list).context(|| "$ATTRIBUTE_LIST")?
            }
        };
        Ok(Some(File { number, sequence, flags, attributes }))
    }

    fn join(&self, parts: Vec<Part<'_>>) -> Vec<Attribute> {
        join(parts, self.boot.clusters(), self.boot.cluster)
    }

    /// What may be read of attribute lists in one pass over the table.
    pub(super) fn list_budget(&self) -> ListBudget {
        ListBudget(self.clusters.volume.len())
    }

    pub(super) fn list_bytes(&self, list: &Raw<'_>, budget: &mut ListBudget) -> Result<Vec<u8>> {
        let Form::NonResident { header, pairs } = list.form else {
            let Form::Resident(bytes) = list.form else { return Ok(Vec::new()) };
            return Ok(bytes.to_vec());
        };
        let extents = Extents::begin(list.flags, &header, pairs, self.boot.clusters())?;
        extents.check(self.boot.clusters(), self.boot.cluster)?;
        budget.0 = budget.0.checked_sub(extents.size).ok_or_else(|| {
            Error::corrupt("attribute lists are longer than the volume, all together").found(extents.size)
        })?;
        extents.read_all(&self.clusters, MAX_ATTRIBUTE_LIST)
    }

    /// The attributes that a list names, which lie in the base record and others.
    fn listed(&self, base: u64, raws: &[Raw<'_>], list: &[u8]) -> Result<Vec<Attribute>> {
        let entries = list_entries(list)?;
        let mut records = BTreeMap::new();
        let mut unread = 0;
        for holder in entries.iter().map(|entry| entry.holder).filter(|holder| *holder != base) {
            let Slot::Vacant(place) = records.entry(holder) else { continue };
            let record = place.insert(self.extent_record(holder, base));
            if let Err(error) = record {
                unread += 1;
                if unread > MAX_UNREAD || error.kind() == Kind::Io {
                    return Err(again(error));
                }
            }
        }
        let mut held = BTreeMap::new();
        for (holder, record) in &records {
            let raws = record.as_ref().map_err(again);
            held.insert(*holder, raws.and_then(|bytes| raws_of(bytes, record_of(*holder) as u32)));
        }
        held.insert(base, Ok(raws.to_vec()));
        let mut seen = BTreeSet::new();
        let fresh = |entry: &&Listed<'_>| seen.insert((entry.holder, entry.instance));
        let parts = entries.iter().filter(fresh).map(|entry| {
            let raw = match held.get(&entry.holder) {
                Some(Ok(raws)) => entry.find(raws).ok_or_else(|| entry.not_there()),
                Some(Err(error)) => Err(again(error)),
                None => Err(entry.not_there()),
            };
            match raw {
                Ok(raw) => Part::from(*raw),
                Err(error) => Part {
                    kind: entry.kind,
                    name: entry.name,
                    lowest_vcn: entry.lowest_vcn,
                    raw: Err(error.context(format_args!("record {}", record_of(entry.holder)))),
                },
            }
        });
        Ok(self.join(parts.collect()))
    }

    /// A record that holds attributes of the file `base`.
    fn extent_record(&self, holder: u64, base: u64) -> Result<Vec<u8>> {
        let bytes = self.record(record_of(holder))?;
        let record = Record::new(&bytes, record_of(holder) as u32)?;
        let header = record.ok_or_else(|| Error::corrupt("the record is not in use"))?.header;
        if (header.base.get(), header.sequence.get()) != (base, sequence_of(holder)) {
            return Err(Error::corrupt("the record belongs to another file")
                .found(format_args!("base record {}", record_of(header.base.get())))
                .allowed(format_args!("base record {}", record_of(base))));
        }
        Ok(bytes)
    }
}

/// An error once more, for each thing that it befalls.
pub(super) fn again(error: &Error) -> Error {
    Error::new(error.kind(), error)
}

fn raws_of(bytes: &[u8], number: u32) -> Result<Vec<Raw<'_>>> {
    Record::new(bytes, number)?.ok_or_else(|| Error::corrupt("the record is not in use"))?.attributes()
}

/// An entry of an attribute list.
pub(super) struct Listed<'a> {
    kind: u32,
    name: &'a [u8],
    lowest_vcn: u64,
    /// A file reference.
    pub(super) holder: u64,
    instance: u16,
}

impl Listed<'_> {
    fn find<'r, 'b>(&self, raws: &'r [Raw<'b>]) -> Option<&'r Raw<'b>> {
        raws.iter().find(|raw| raw.kind == self.kind && raw.instance == self.instance)
    }

    fn not_there(&self) -> Error {
        Error::corrupt("the record lacks an attribute that the list names")
            .allowed(format_args!("type {:#x}, instance {}", self.kind, self.instance))
    }
}

pub(super) fn list_entries(list: &[u8]) -> Result<Vec<Listed<'_>>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let rest = &list[at..];
        let entry = ListEntry::read_from_prefix(rest).ok().and_then(|(head, _)| {
            let bytes = rest.get(..usize::from(head.len.get()))?;
            let name = bytes.get(usize::from(head.name_offset)..)?.get(..2 * usize::from(head.name_len));
            let name = if head.name_len == 0 { &[] } else { name? };
            Some((head, name))
        });
        let (head, name) = entry
            .filter(|(head, _)| usize::from(head.len.get()) >= size_of::<ListEntry>())
            .ok_or_else(|| Error::corrupt("an entry of the list").at(at as u64))?;
        entries.push(Listed {
            kind: head.kind.get(),
            name,
            lowest_vcn: head.lowest_vcn.get(),
            holder: head.holder.get(),
            instance: head.instance.get(),
        });
        at += usize::from(head.len.get());
    }
    Ok(entries)
}
