//! The making of a revision: what becomes of each file, then of directories and views, then of the system's files.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::btree::{Index, Values};
use super::changes::Changes;
use super::draft::{self, Draft, OwnName, Part};
use super::space::{Numbers, Space, cut};
use super::write::{Output, Settled, Stored};
use super::{Base, Summary};
use crate::base::Name;
use crate::error::{Context, Error, Result};
use crate::format::ntfs::geometry::Geometry;
use crate::format::ntfs::ondisk::{
    I30, ResidentHeader, file, kind, record_flag, record_of, reference, sequence_of, value_offset,
};
use crate::format::ntfs::plan::Losses;
use crate::format::ntfs::plan::census::blame;
use crate::format::ntfs::read::raw::{File, Outside, Records, Run, Value};
use crate::format::ntfs::write::record::{Head, RecordWriter, Segment, Title};
use crate::tree::{NodeId, Tree};

/// Longest attribute list that stays in the base record.
const MAX_RESIDENT_LIST: u64 = 256;
/// Longest bitmap of an index that is put into a record.
const MAX_RESIDENT_BITMAP: usize = 64;
/// No index, and no stream of descriptors, that is changed in its place is longer.
const MAX_METADATA: u64 = 256 << 20;
/// `$Bitmap` is changed in pages of this length.
const BITMAP_PAGE: u64 = 4096;

/// A change of an index.
pub(super) enum Edit {
    /// Takes out the entry with this key.
    Remove(Vec<u8>),
    /// Puts an entry in the place of the one with its key.
    Update(Vec<u8>),
    /// Puts in an entry.
    Insert(Vec<u8>),
}

impl Edit {
    fn order(&self) -> u8 {
        match self {
            Self::Remove(_) => 0,
            Self::Update(_) => 1,
            Self::Insert(_) => 2,
        }
    }
}

/// A revision in the making.
pub(super) struct Planner<'a> {
    pub(super) base: &'a Base,
    pub(super) tree: &'a Tree,
    pub(super) geometry: Geometry,
    space: Space,
    numbers: Numbers,
    /// The references of the tree's nodes.
    pub(super) references: Vec<u64>,
    /// References of files that are gone.
    dead: HashSet<u64>,
    pub(super) places: HashMap<NodeId, Vec<(NodeId, usize)>>,
    /// Files that change, by record.
    pub(super) drafts: BTreeMap<u32, Draft>,
    /// What becomes of the entries of directories, by record.
    entries: BTreeMap<u32, Vec<Edit>>,
    /// What becomes of those of `$Reparse:$R` and `$ObjId:$O`.
    pub(super) reparse: Vec<Edit>,
    pub(super) object_ids: Vec<Edit>,
    /// Records that are written.
    records: BTreeMap<u32, Vec<u8>>,
    pub(super) output: Output,
    pub(super) security: super::secure::Security,
    pub(super) losses: Losses,
    pub(super) summary: Summary,
}

impl<'a> Planner<'a> {
    pub(super) fn new(base: &'a Base, tree: &'a Tree) -> Self {
        let geometry = base.records.geometry();
        let mut references = base.references.clone();
        references.resize(tree.nodes().len(), 0);
        Self {
            base,
            tree,
            geometry,
            space: base.space.clone(),
            numbers: base.numbers.clone(),
            references,
            dead: HashSet::new(),
            places: HashMap::new(),
            drafts: BTreeMap::new(),
            entries: BTreeMap::new(),
            reparse: Vec::new(),
            object_ids: Vec::new(),
            records: BTreeMap::new(),
            output: Output { cluster: geometry.cluster, ..Output::default() },
            security: Default::default(),
            losses: Losses::default(),
            summary: Summary::default(),
        }
    }

    /// Settles everything.
    pub(super) fn run(mut self, label: Option<&Name>) -> Result<(Output, Summary)> {
        let Changes { removed, changed, added, places } = Changes::between(&self.base.tree, self.tree);
        self.places = places;
        (self.summary.added, self.summary.changed, self.summary.removed) =
            (added.len() as u64, changed.len() as u64, removed.len() as u64);
        self.dead = removed.iter().map(|id| self.references[id.index()]).collect();
        for id in removed {
            self.remove(self.references[id.index()])?;
        }
        for id in &added {
            let (number, sequence) = self.numbers.take(&self.base.records)?;
            self.references[id.index()] = reference(number, sequence);
        }
        for id in changed.into_iter().chain(added) {
            self.revise(id).map_err(|error| blame(self.tree, id, error))?;
        }
        self.edit_directories()?;
        self.edit_views()?;
        self.add_descriptors()?;
        if let Some(label) = label {
            self.relabel(label)?;
        }
        self.settle_all()?;
        self.grow_table()?;
        self.write_records()?;
        self.write_bitmap()?;
        self.empty_journal()?;
        self.output.check()?;
        self.summary.losses = self.losses.describe(self.tree);
        self.summary.free_bytes = self.geometry.bytes(self.space.free_clusters());
        let used: u64 = self.output.used().iter().map(|range| range.end - range.start).sum();
        self.summary.metadata_bytes = used.saturating_sub(self.summary.data_bytes);
        Ok((self.output, self.summary))
    }

    /// Takes a file away, with all that it has.
    fn remove(&mut self, reference: u64) -> Result<()> {
        let draft = Draft::of(self.base.records.file(record_of(reference) as u32)?);
        for name in draft.names()? {
            self.edit_entry(name.parent, Edit::Remove(super::node::entry_key(&name)));
        }
        self.forget(&draft, reference)?;
        for attribute in &draft.file.attributes {
            if let Value::Outside(outside) = &attribute.value {
                self.space.release(&outside.runs);
            }
        }
        self.space.release(&draft.file.list);
        self.release_record(draft.file.number, draft.file.sequence)?;
        for (number, sequence) in &draft.file.extensions {
            self.release_record(*number, *sequence)?;
        }
        Ok(())
    }

    /// Adds to what becomes of a directory, unless it goes.
    pub(super) fn edit_entry(&mut self, directory: u64, edit: Edit) {
        if !self.dead.contains(&directory) {
            self.entries.entry(record_of(directory) as u32).or_default().push(edit);
        }
    }

    /// Marks a record as free, in itself too.
    fn release_record(&mut self, number: u32, sequence: u16) -> Result<()> {
        let next = self.numbers.release(number, sequence);
        let mut bytes = self.base.records.bytes(number)?;
        bytes[16..18].copy_from_slice(&next.to_le_bytes());
        bytes[22] &= !(record_flag::IN_USE as u8);
        crate::format::ntfs::write::record::protect_again(&mut bytes);
        self.records.insert(number, bytes);
        Ok(())
    }

    /// Puts bytes that belong to the volume's structures into clusters: those of `old`, which hold `was`, and more where they do not do.
    /// What does not differ is not written.
    pub(super) fn store(&mut self, old: Outside, was: &[u8], bytes: &[u8]) -> Result<Outside> {
        let was = &was[..was.len().min(usize::try_from(old.initialized).unwrap_or(usize::MAX))];
        let mut runs = old.runs;
        if runs.iter().any(|run| run.lcn.is_none()) {
            return Err(Error::corrupt("holes in a stream of the file system's own"));
        }
        let cluster = self.geometry.cluster;
        let there: u64 = runs.iter().map(|run| run.clusters).sum();
        let wanted = self.geometry.clusters(bytes.len() as u64);
        self.space.extend(&mut runs, wanted.saturating_sub(there))?;
        let mut open: Option<(usize, usize)> = None;
        let pieces = bytes.len().div_ceil(cluster as usize);
        for piece in 0..=pieces {
            let start = piece * cluster as usize;
            let end = (start + cluster as usize).min(bytes.len());
            let same = piece == pieces || (was.len() >= end && was[start..end] == bytes[start..end]);
            match open {
                Some((from, to)) if same => {
                    let mut padded = bytes[from..to].to_vec();
                    padded.resize(padded.len().next_multiple_of(cluster as usize), 0);
                    self.output.put(&runs, from as u64, &padded);
                    open = None;
                }
                Some((from, _)) => open = Some((from, end)),
                None if !same => open = Some((start, end)),
                None => {}
            }
        }
        Ok(Outside { runs, size: bytes.len() as u64, initialized: bytes.len() as u64, unit: 0 })
    }

    /// Gives a content its clusters: those of `old`, cut or extended.
    pub(super) fn store_content(
        &mut self,
        content: &crate::tree::Content,
        old: Vec<Run>,
        clusters: u64,
    ) -> Result<Vec<Run>> {
        let mut runs = old;
        let over = cut(&mut runs, clusters);
        self.space.release(&over);
        let there: u64 = runs.iter().map(|run| run.clusters).sum();
        self.space.extend(&mut runs, clusters - there)?;
        self.summary.data_bytes = self.summary.data_bytes.saturating_add(content.len());
        self.output.contents.push(Stored { content: content.clone(), runs: runs.clone() });
        Ok(runs)
    }

    /// Gives back what an attribute had outside of the record.
    pub(super) fn release_value(&mut self, value: &Value) {
        if let Value::Outside(outside) = value {
            self.space.release(&outside.runs);
        }
    }

    /// Reads the value of an attribute that belongs to the volume's structures.
    pub(super) fn bytes_of(&self, value: &Value) -> Result<Vec<u8>> {
        match value {
            Value::Resident(bytes) => Ok(bytes.clone()),
            Value::Outside(outside) => self.base.records.read_all(outside, MAX_METADATA),
        }
    }

    /// The draft of a file that is on the base, or is new.
    pub(super) fn take_draft(&mut self, number: u32) -> Result<Draft> {
        match self.drafts.remove(&number) {
            Some(draft) => Ok(draft),
            None => Ok(Draft::of(self.base.records.file(number)?)),
        }
    }

    fn edit_directories(&mut self) -> Result<()> {
        for (number, edits) in std::mem::take(&mut self.entries) {
            let mut draft = self.take_draft(number)?;
            let edited = self.edit_index(&mut draft, I30, edits);
            edited.with_context(|| format!("index of the directory in record {number}"))?;
            self.drafts.insert(number, draft);
        }
        Ok(())
    }

    /// Changes an index of a file.
    pub(super) fn edit_index(&mut self, draft: &mut Draft, name: &[u16], mut edits: Vec<Edit>) -> Result<()> {
        let Values { root, .. } = draft.root(name)?;
        let allocation = draft.find(kind::INDEX_ALLOCATION, name).map(|attribute| attribute.value.clone());
        let bitmap = draft.find(kind::BITMAP, name).map(|attribute| attribute.value.clone());
        let blocks = match (&allocation, &bitmap) {
            (Some(allocation), Some(bitmap)) => Some((self.bytes_of(allocation)?, self.bytes_of(bitmap)?)),
            (None, None) => None,
            _ => return Err(Error::corrupt("$INDEX_ALLOCATION without $BITMAP, or the other way round")),
        };
        let before = Values { root, blocks };
        let mut index = Index::load(&self.geometry, before.clone(), self.room(draft, name))?;
        edits.sort_by_key(Edit::order); // stable
        for edit in edits {
            match edit {
                Edit::Remove(key) => _ = index.remove(&key),
                Edit::Update(entry) => {
                    if !index.replace(entry) {
                        return Err(Error::corrupt("an entry is missing"));
                    }
                }
                Edit::Insert(entry) => {
                    if !index.insert(entry) {
                        return Err(Error::unsupported("a key that is there already"));
                    }
                }
            }
        }
        let after = index.finish();
        if after == before {
            return Ok(());
        }
        let flags = draft.find(kind::INDEX_ROOT, name).map_or(0, |root| root.flags);
        draft.put(kind::INDEX_ROOT, name, flags, Value::Resident(after.root));
        let Some((new_allocation, new_bitmap)) = after.blocks else {
            for kind in [kind::INDEX_ALLOCATION, kind::BITMAP] {
                if let Some(gone) = draft.take(kind, name) {
                    self.release_value(&gone.value);
                }
            }
            return Ok(());
        };
        let (old_allocation, old_bitmap) = before.blocks.unwrap_or_default();
        let stored = self.store(outside_of(allocation), &old_allocation, &new_allocation)?;
        draft.put(kind::INDEX_ALLOCATION, name, 0, Value::Outside(stored));
        let bitmap = match bitmap {
            Some(Value::Outside(outside)) => Value::Outside(self.store(outside, &old_bitmap, &new_bitmap)?),
            _ if new_bitmap.len() > MAX_RESIDENT_BITMAP => {
                Value::Outside(self.store(Outside::default(), &[], &new_bitmap)?)
            }
            _ => Value::Resident(new_bitmap),
        };
        draft.put(kind::BITMAP, name, 0, bitmap);
        Ok(())
    }

    /// How long the root of an index may become: what the other attributes leave of the record.
    fn room(&self, draft: &Draft, name: &[u16]) -> usize {
        /// Of `$INDEX_ALLOCATION` and `$BITMAP` with short names, a few runs and a few blocks.
        const BLOCKS: usize = 160;
        let own = [kind::INDEX_ROOT, kind::INDEX_ALLOCATION, kind::BITMAP];
        let is_other = |attribute: &&crate::format::ntfs::read::raw::Attribute| {
            attribute.name != name || !own.contains(&attribute.kind)
        };
        let others = draft.file.attributes.iter().filter(is_other);
        let used: usize =
            others.flat_map(|attribute| draft::parts(attribute, 0, usize::MAX)).map(|part| part.len).sum();
        let head = value_offset(size_of::<ResidentHeader>(), name.len());
        let left = self.geometry.record_capacity().saturating_sub(used + head + BLOCKS) / 8 * 8;
        let was = draft.resident(kind::INDEX_ROOT, name).map_or(0, <[u8]>::len);
        left.max(was)
    }

    /// Gives the volume another label.
    fn relabel(&mut self, label: &Name) -> Result<()> {
        let mut draft = self.take_draft(file::VOLUME)?;
        draft.put(kind::VOLUME_NAME, &[], 0, Value::Resident(label.to_le_bytes()));
        self.drafts.insert(file::VOLUME, draft);
        Ok(())
    }

    fn settle_all(&mut self) -> Result<()> {
        for (number, draft) in std::mem::take(&mut self.drafts) {
            self.settle(draft).with_context(|| format!("record {number}"))?;
        }
        Ok(())
    }

    /// Deals the attributes of a file out to records.
    fn settle(&mut self, mut draft: Draft) -> Result<()> {
        draft.sort();
        if draft.before.as_ref().is_some_and(|before| same_attributes(before, &mut draft.file)) {
            return Ok(());
        }
        self.fit(&mut draft)?;
        let capacity = self.geometry.record_capacity();
        let mut parts = parts_of(&draft.file, capacity);
        let is_listed = parts.iter().map(|part| part.len).sum::<usize>() > capacity;
        let was = std::mem::take(&mut draft.file.list);
        if !is_listed {
            self.space.release(&was);
            draft::number(&draft.file.attributes, &mut parts, 1)?;
            return self.write_file(&draft.file, &parts, None);
        }
        if draft.file.number == file::MFT {
            return Err(Error::unsupported("$MFT in so many pieces that it cannot be extended"));
        }
        self.settle_listed(draft.file, parts, was)
    }

    fn settle_listed(&mut self, mut file: File, mut parts: Vec<Part>, was: Vec<Run>) -> Result<()> {
        use crate::format::ntfs::ondisk::MAX_ATTRIBUTE_LIST;
        use crate::format::ntfs::read::raw::Attribute;
        let capacity = self.geometry.record_capacity();
        let len = draft::list_len(&file.attributes, &parts);
        if len > MAX_ATTRIBUTE_LIST {
            return Err(Error::unsupported("a file with too many names and streams: length of its attribute list")
                .found(len)
                .allowed(format_args!("at most {MAX_ATTRIBUTE_LIST}")));
        }
        let mut list = Attribute {
            kind: kind::ATTRIBUTE_LIST,
            name: Vec::new(),
            flags: 0,
            instance: None,
            value: Value::Resident(vec![0; len as usize]),
        };
        if len > MAX_RESIDENT_LIST {
            let mut runs = was;
            let wanted = self.geometry.clusters(len);
            let over = cut(&mut runs, wanted);
            self.space.release(&over);
            let there: u64 = runs.iter().map(|run| run.clusters).sum();
            self.space.extend(&mut runs, wanted - there)?;
            list.value = Value::Outside(Outside { runs, size: len, initialized: len, unit: 0 });
        } else {
            self.space.release(&was);
        }
        let list_parts = draft::parts(&list, file.attributes.len(), capacity / 2);
        let taken = list_parts.iter().map(|part| part.len).sum();
        let count = draft::deal(&file.attributes, &mut parts, taken, capacity);
        while file.extensions.len() + 1 < count {
            file.extensions.push(self.numbers.take(&self.base.records)?);
        }
        for (number, sequence) in file.extensions.split_off(count - 1) {
            self.release_record(number, sequence)?;
        }
        draft::number(&file.attributes, &mut parts, count)?;
        let list_instance = parts.iter().filter(|part| part.holder == 0).map(|part| part.instance + 1).max();
        let holders: Vec<u64> = std::iter::once((file.number, file.sequence))
            .chain(file.extensions.iter().copied())
            .map(|(number, sequence)| reference(number, sequence))
            .collect();
        let bytes = draft::list(&file.attributes, &parts, &holders);
        match &mut list.value {
            Value::Resident(value) => *value = bytes,
            Value::Outside(outside) => {
                let mut padded = bytes;
                padded.resize(padded.len().next_multiple_of(self.geometry.cluster as usize), 0);
                self.output.put(&outside.runs, 0, &padded);
            }
        }
        let [mut list_part] = <[Part; 1]>::try_from(list_parts)
            .map_err(|_| Error::unsupported("an attribute list in too many pieces"))?;
        list_part.instance = list_instance.unwrap_or(0);
        file.attributes.push(list);
        // It stands behind $STANDARD_INFORMATION.
        let behind =
            parts.iter().take_while(|part| file.attributes[part.attribute].kind < kind::ATTRIBUTE_LIST).count();
        parts.insert(behind, list_part);
        self.write_file(&file, &parts, Some(&holders))
    }

    /// Moves values out of the record until the rest fits into it, or none is left that may lie elsewhere.
    pub(super) fn fit(&mut self, draft: &mut Draft) -> Result<()> {
        let capacity = self.geometry.record_capacity();
        let len = |file: &File| parts_of(file, capacity).iter().map(|part| part.len).sum::<usize>();
        while len(&draft.file) > capacity && self.move_out(draft)? {}
        Ok(())
    }

    /// Moves the longest value that may lie outside of the record there; gives whether there was one.
    fn move_out(&mut self, draft: &mut Draft) -> Result<bool> {
        /// What stands in the record for it.
        const LEFT: usize = 80;
        let candidates = draft.file.attributes.iter_mut().filter(|attribute| draft::may_leave(attribute));
        let len = |attribute: &crate::format::ntfs::read::raw::Attribute| match &attribute.value {
            Value::Resident(bytes) => bytes.len(),
            Value::Outside(_) => 0,
        };
        let longest = candidates.max_by_key(|attribute| len(attribute)).filter(|attribute| len(attribute) > LEFT);
        let Some(attribute) = longest else { return Ok(false) };
        let bytes = match &mut attribute.value {
            Value::Resident(bytes) => std::mem::take(bytes),
            Value::Outside(_) => return Ok(false),
        };
        let stored = self.store(Outside::default(), &[], &bytes)?;
        (attribute.flags, attribute.value) = (0, Value::Outside(stored));
        Ok(true)
    }

    /// Makes the records of a file.
    fn write_file(&mut self, file: &File, parts: &[Part], holders: Option<&[u64]>) -> Result<()> {
        let names = file.attributes.iter().filter(|attribute| attribute.kind == kind::FILE_NAME).count();
        let links = u16::try_from(names).map_err(|_| Error::unsupported("a file with more than 65535 names"))?;
        let own = [reference(file.number, file.sequence)];
        for (holder, reference) in holders.unwrap_or(&own).iter().enumerate() {
            let is_base = holder == 0;
            let head = Head {
                number: record_of(*reference) as u32,
                sequence: sequence_of(*reference),
                flags: if is_base { file.flags & !record_flag::IN_USE } else { 0 },
                links: if is_base { links } else { 0 },
                base: if is_base { 0 } else { own[0] },
            };
            let mut buf = vec![0; self.geometry.record];
            let mut record = RecordWriter::new(&mut buf, &self.geometry, head);
            for part in parts.iter().filter(|part| part.holder == holder) {
                self.write_part(&mut record, file, part);
            }
            record.finish();
            self.records.insert(head.number, buf);
        }
        if holders.is_none() {
            for (number, sequence) in &file.extensions {
                self.release_record(*number, *sequence)?;
            }
        }
        Ok(())
    }

    fn write_part(&self, record: &mut RecordWriter<'_>, file: &File, part: &Part) {
        let attribute = &file.attributes[part.attribute];
        let title =
            Title { kind: attribute.kind, name: &attribute.name, instance: part.instance, flags: attribute.flags };
        let outside = match &attribute.value {
            Value::Resident(bytes) => {
                record.resident(title, bytes);
                return;
            }
            Value::Outside(outside) => outside,
        };
        let segment = Segment {
            lowest_vcn: part.lowest_vcn,
            clusters: part.clusters,
            pairs: &part.pairs,
            compression_unit: outside.unit,
            ..Segment::default()
        };
        let first = Segment {
            allocated: self.geometry.bytes(outside.clusters()),
            size: outside.size,
            initialized: outside.initialized,
            total: draft::has_total(attribute.flags).then(|| self.geometry.bytes(outside.allocated())),
            ..segment
        };
        record.segment(title, if part.lowest_vcn == 0 { &first } else { &segment });
    }

    /// Makes `$MFT` longer, where new records need it, and brings its bitmap up to date.
    fn grow_table(&mut self) -> Result<()> {
        let mut draft = Draft::of(self.base.records.file(file::MFT)?);
        let len = self.geometry.record as u64;
        let grown = self.numbers.grown();
        if !grown.is_empty() {
            let size = u64::from(grown.end) * len;
            let Some(Value::Outside(data)) = draft.find_mut(kind::DATA, &[]).map(|data| &mut data.value) else {
                return Err(Error::corrupt("$MFT without its own clusters"));
            };
            let missing = self.geometry.clusters(size).saturating_sub(data.clusters());
            self.space.extend(&mut data.runs, missing)?;
            (data.size, data.initialized) = (data.size.max(size), data.initialized.max(size));
        }
        let bitmap = draft.find(kind::BITMAP, &[]).map(|bitmap| bitmap.value.clone());
        let bitmap = bitmap.ok_or_else(|| Error::corrupt("$MFT without $BITMAP"))?;
        let was = self.bytes_of(&bitmap)?;
        let mut bits = self.numbers.bits().to_vec();
        bits.resize(bits.len().max(was.len()).max((grown.end as usize).div_ceil(64) * 8), 0);
        if bits != was {
            let stored = self.store(outside_of(Some(bitmap)), &was, &bits)?;
            draft.put(kind::BITMAP, &[], 0, Value::Outside(stored));
        }
        for number in grown {
            if !self.records.contains_key(&number) {
                let mut buf = vec![0; self.geometry.record];
                let head = Head { number, sequence: 1, ..Head::default() };
                RecordWriter::new(&mut buf, &self.geometry, head).finish_unused();
                self.records.insert(number, buf);
            }
        }
        let data = draft.find(kind::DATA, &[]).map(|data| data.value.clone());
        self.settle(draft)?;
        self.table(data);
        Ok(())
    }

    /// Puts the records where the table has them.
    fn table(&mut self, data: Option<Value>) {
        let runs = outside_of(data).runs;
        let len = self.geometry.record as u64;
        for (number, bytes) in &self.records {
            self.output.put(&runs, u64::from(*number) * len, bytes);
        }
    }

    /// Keeps the copies of the first records up to date.
    fn write_records(&mut self) -> Result<()> {
        let mirrored = self.geometry.mirrored();
        if self.records.range(..mirrored).next().is_none() {
            return Ok(());
        }
        let mirror = Draft::of(self.base.records.file(file::MFT_MIRROR)?);
        let runs = outside_of(mirror.find(kind::DATA, &[]).map(|data| data.value.clone())).runs;
        for (number, bytes) in self.records.range(..mirrored) {
            self.output.put(&runs, u64::from(*number) * self.geometry.record as u64, bytes);
        }
        Ok(())
    }

    /// Marks clusters in `$Bitmap`.
    fn write_bitmap(&mut self) -> Result<()> {
        let mut pages: BTreeMap<u64, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
        let bitmap = &self.base.bitmap;
        for (range, is_taken) in self.space.changes() {
            let mut at = range.start;
            while at < range.end {
                let page = at / 8 / BITMAP_PAGE;
                let first = page * BITMAP_PAGE * 8;
                let end = range.end.min(first + BITMAP_PAGE * 8);
                let (_, bits) = match pages.entry(page) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        let len = bitmap.size.saturating_sub(page * BITMAP_PAGE).min(BITMAP_PAGE);
                        let mut bytes = vec![0; len as usize];
                        self.base.records.read(bitmap, page * BITMAP_PAGE, &mut bytes)?;
                        vacant.insert((bytes.clone(), bytes))
                    }
                };
                for bit in at - first..end - first {
                    let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
                    let Some(byte) = bits.get_mut(byte) else {
                        return Err(Error::corrupt("$Bitmap is too short").found(bitmap.size));
                    };
                    *byte = if *is_taken { *byte | mask } else { *byte & !mask };
                }
                at = end;
            }
        }
        let sector = self.geometry.sector as usize;
        for (page, (was, bits)) in pages {
            for (index, (was, bits)) in was.chunks(sector).zip(bits.chunks(sector)).enumerate() {
                if was != bits {
                    let mut whole = bits.to_vec();
                    whole.resize(sector, 0);
                    self.output.put(&bitmap.runs, page * BITMAP_PAGE + (index * sector) as u64, &whole);
                }
            }
        }
        Ok(())
    }

    /// Empties the journal, if anything changes and there is anything in it.
    fn empty_journal(&mut self) -> Result<()> {
        let is_changed = !self.output.settled.is_empty() || !self.output.contents.is_empty();
        if !is_changed || self.base.is_journal_empty {
            return Ok(());
        }
        for run in &self.base.journal.runs {
            let place = run.lcn.ok_or_else(|| Error::corrupt("$LogFile has holes"))?;
            let len = self.geometry.bytes(run.clusters);
            self.output.settled.insert(self.geometry.bytes(place), Settled::Ones(len));
        }
        Ok(())
    }
}

/// The parts of all attributes, of which two at least go into a record with that capacity.
fn parts_of(file: &File, capacity: usize) -> Vec<Part> {
    let attributes = file.attributes.iter().enumerate();
    attributes.flat_map(|(index, attribute)| draft::parts(attribute, index, capacity / 2)).collect()
}

/// The clusters of a value; none for one in the record.
pub(super) fn outside_of(value: Option<Value>) -> Outside {
    match value {
        Some(Value::Outside(outside)) => outside,
        _ => Outside::default(),
    }
}

/// Whether nothing about a file is new. The order of its attributes does not count.
fn same_attributes(before: &File, after: &mut File) -> bool {
    let mut before = Draft { file: before.clone(), before: None };
    before.sort();
    before.file == *after
}

/// Adds frames to errors, as [`Context`] does.
trait WithContext<T> {
    fn with_context(self, frame: impl FnOnce() -> String) -> Result<T>;
}

impl<T> WithContext<T> for Result<T> {
    fn with_context(self, frame: impl FnOnce() -> String) -> Result<T> {
        Context::context(self, frame)
    }
}

/// What a base has beside its files.
pub(super) struct BaseParts {
    pub(super) space: Space,
    pub(super) numbers: Numbers,
    pub(super) bitmap: Outside,
    pub(super) journal: Outside,
    pub(super) is_journal_empty: bool,
}

/// Reads what a base is made of.
pub(super) fn read_base(records: &Records) -> Result<BaseParts> {
    let stream = |number: u32, kind: u32| -> Result<Value> {
        let draft = Draft::of(records.file(number)?);
        let attribute = draft.find(kind, &[]).ok_or_else(|| Error::corrupt("an attribute of a system file is missing"));
        attribute.map(|attribute| attribute.value.clone()).context(|| format!("record {number}"))
    };
    let bitmap = outside_of(Some(stream(file::BITMAP, kind::DATA)?));
    let bits = match stream(file::MFT, kind::BITMAP)? {
        Value::Resident(bytes) => bytes,
        Value::Outside(outside) => records.read_all(&outside, MAX_METADATA * 2)?,
    };
    let journal = outside_of(Some(stream(file::LOG_FILE, kind::DATA)?));
    let is_empty = is_all_ones(records, &journal).context(|| "$LogFile")?;
    let (space, numbers) = (Space::read(records, &bitmap)?, Numbers::new(bits, records));
    Ok(BaseParts { space, numbers, bitmap, journal, is_journal_empty: is_empty })
}

fn is_all_ones(records: &Records, stream: &Outside) -> Result<bool> {
    let mut buf = vec![0; 1 << 16];
    let mut at = 0;
    while at < stream.size {
        let len = (stream.size - at).min(buf.len() as u64) as usize;
        records.read(stream, at, &mut buf[..len])?;
        if buf[..len].iter().any(|byte| *byte != 0xFF) {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}

/// Names of this list that are not in the other.
pub(super) fn without<'n>(names: &'n [OwnName], others: &'n [OwnName]) -> impl Iterator<Item = &'n OwnName> {
    names.iter().filter(|one| !others.iter().any(|other| other.parent == one.parent && other.name == one.name))
}
