//! A file as a node of a tree.

use zerocopy::FromBytes;

use crate::base::{FileTime, Name};
use crate::error::{Context, Error, Result};
use crate::format::ntfs::ondisk::{
    CASE_SENSITIVE, EaHeader, FileName, MAX_EA, MAX_REPARSE, ReparseHeader, StandardInformation, WOF_PROVIDER_FILE,
    WOF_PROVIDER_WIM, WOF_TAG, WofReparse, attribute_flag, kind, name_flag, record_flag,
};
use crate::tree::{Content, DescriptorId, ExtendedAttribute, Node, Reparse, StoreId, Stream, Times, Tree, attributes};

use super::attribute::{Attribute, Extents, Value};
use super::mft::{File, Mft, again};
use super::notes::Notes;
use super::secure::Descriptors;
use super::store::{Coding, PIECE, Table};
use super::unpack::Wof;

/// The longest descriptor that a file has for itself; those in `$Secure` cannot be longer than a block of it.
const MAX_DESCRIPTOR: u64 = 0x1_0000;
/// The longest stream that is read: what NTFS can hold in clusters of 4 KiB. A damaged length does not make anyone read forever.
const MAX_STREAM: u64 = 1 << 44;
/// Third-party tags are followed by a GUID, which the length in the header does not count.
const MICROSOFT_TAG: u32 = 0x8000_0000;
const GUID: usize = 16;
/// What `$STANDARD_INFORMATION` may have beyond the attributes that Windows shows.
const NOT_SHOWN: u32 = attributes::DIRECTORY | attributes::NORMAL | name_flag::DIRECTORY | name_flag::VIEW_INDEX;

/// A name that a file says it has.
pub(super) struct OwnName {
    /// A file reference.
    pub(super) parent: u64,
    pub(super) namespace: u8,
    pub(super) name: Name,
}

/// How many files there are of kinds that a tree shows as any other.
#[derive(Default)]
pub(super) struct Kinds {
    overlaid: u64,
    encrypted: u64,
    quotas: u64,
    without_descriptor: u64,
}

/// Makes nodes.
pub(super) struct Nodes<'a> {
    pub(super) mft: &'a Mft,
    pub(super) store: StoreId,
    pub(super) descriptors: Descriptors,
    pub(super) table: Table,
    pub(super) kinds: Kinds,
    /// Shared by all empty streams.
    pub(super) empty: Content,
}

impl Nodes<'_> {
    /// The node of a file; what is damaged about it is noted, or becomes a content that cannot be read.
    pub(super) fn node(&mut self, mut file: File, tree: &mut Tree, notes: &mut Notes) -> Result<Node> {
        let information = self.information(&file).context(|| "$STANDARD_INFORMATION")?;
        let times = information.times.map(|time| FileTime(time.get()));
        let times = Times { created: times[0], modified: times[1], changed: times[2], accessed: times[3] };
        let shown = information.attributes.get() & !NOT_SHOWN;
        let mut node = match file.flags & record_flag::DIRECTORY {
            0 => Node::file(shown, times, self.empty.clone()),
            _ => Node::directory(shown, times),
        };
        node.streams.clear();
        node.case_sensitive = information.version.get() & CASE_SENSITIVE != 0 && node.is_directory();
        node.descriptor = self.descriptor(&file, information.security.get(), tree, notes);
        self.kinds.quotas += u64::from(information.quota.get() != 0);
        let number = file.number;
        let mut report = |what: &str, error: Error| notes.lost(format_args!("record {number}: {what}: {error}"));
        if let Some(id) = file.all(kind::OBJECT_ID).next() {
            match self.object_id(id) {
                Ok(id) => node.object_id = Some(id),
                Err(error) => report("$OBJECT_ID", error),
            }
        }
        if let Some(list) = file.all(kind::EA).next() {
            match list.bytes(&self.mft.clusters, MAX_EA + 1).and_then(|bytes| extended(&bytes)) {
                Ok(list) => node.extended = list,
                Err(error) => report("$EA", error),
            }
        }
        let reparse = file.all(kind::REPARSE_POINT).next().map(|attribute| self.reparse(attribute)).transpose();
        match reparse {
            Ok(reparse) => self.streams(&mut file, &mut node, reparse, notes)?,
            Err(error) => {
                // It may have said that the contents are elsewhere.
                self.streams(&mut file, &mut node, None, notes)?;
                let error = error.context("$REPARSE_POINT");
                self.refuse_main(number, &mut node, &error)?;
                notes.lost(format_args!("record {number}: {error}"));
            }
        }
        node.streams.shrink_to_fit();
        Ok(node)
    }

    fn information(&self, file: &File) -> Result<StandardInformation> {
        let missing = || Error::corrupt("the attribute is missing");
        let attribute = file.all(kind::STANDARD_INFORMATION).next().ok_or_else(missing)?;
        let bytes = attribute.bytes(&self.mft.clusters, 0x100)?;
        let mut whole = [0; size_of::<StandardInformation>()];
        if bytes.len() < OLD_INFORMATION {
            return Err(Error::corrupt("length").found(bytes.len()).allowed("48 or 72"));
        }
        let len = bytes.len().min(whole.len());
        whole[..len].copy_from_slice(&bytes[..len]);
        StandardInformation::read_from_bytes(&whole).map_err(|_| missing())
    }

    /// By the id, else from the file itself, as volumes before NTFS 3.0 and some system files have it.
    fn descriptor(&mut self, file: &File, id: u32, tree: &mut Tree, notes: &mut Notes) -> Option<DescriptorId> {
        if let Some(bytes) = self.descriptors.get(id) {
            return Some(tree.add_descriptor(bytes));
        }
        let own = file.all(kind::SECURITY_DESCRIPTOR).next();
        match own.map(|own| own.bytes(&self.mft.clusters, MAX_DESCRIPTOR)) {
            Some(Ok(bytes)) => return Some(tree.add_descriptor(&bytes)),
            Some(Err(error)) => {
                notes.lost(format_args!("record {}: $SECURITY_DESCRIPTOR: {error}", file.number));
            }
            None if id != 0 => {
                notes.lost(format_args!("record {}: no security descriptor has id {id:#x}", file.number))
            }
            None => self.kinds.without_descriptor += 1,
        }
        None
    }

    fn object_id(&self, attribute: &Attribute) -> Result<Box<[u8]>> {
        let bytes = attribute.bytes(&self.mft.clusters, 0x100)?;
        match bytes.len() {
            64 => Ok((*bytes).into()),
            16.. => Ok(bytes[..16].into()), // the rest is in an index
            short => Err(Error::corrupt("length").found(short).allowed("16 or 64")),
        }
    }

    fn reparse(&self, attribute: &Attribute) -> Result<Reparse> {
        let bytes = attribute.bytes(&self.mft.clusters, MAX_REPARSE)?;
        let (head, data) = ReparseHeader::read_from_prefix(&bytes).map_err(|_| Error::corrupt("length"))?;
        let guid = if head.tag.get() & MICROSOFT_TAG == 0 { GUID } else { 0 };
        let len = usize::from(head.len.get()) + guid;
        let data =
            data.get(..len).ok_or_else(|| Error::corrupt("length of the data").found(len).allowed(data.len()))?;
        Ok(Reparse { tag: head.tag.get(), data: data.to_vec().into() })
    }

    /// All data streams, and what the reparse point makes of them.
    fn streams(&mut self, file: &mut File, node: &mut Node, reparse: Option<Reparse>, notes: &mut Notes) -> Result<()> {
        let number = file.number;
        let directory = node.is_directory();
        let mut data: Vec<Attribute> =
            file.attributes.extract_if(.., |attribute| attribute.kind == kind::DATA).collect();
        match reparse {
            Some(reparse) if reparse.tag == WOF_TAG && !directory => {
                node.attributes &= !attributes::REPARSE_POINT;
                self.overlaid(number, node, &reparse, &mut data)?;
            }
            other => node.reparse = other,
        }
        for attribute in data {
            let (name, main) = (attribute.name.clone(), attribute.name.is_empty());
            if node.streams.iter().any(|stream| stream.name == name) || (main && directory) {
                if !main {
                    notes.lost(format_args!("record {number}: a second {attribute}"));
                }
                continue;
            }
            if name.len() > 255 {
                notes.lost(format_args!("record {number}: a stream with a name of {} units", name.len()));
                continue;
            }
            let title = attribute.to_string();
            let sparse = attribute.flags & attribute_flag::SPARSE != 0;
            let stream = Stream { name, content: self.content(number, attribute).context(|| title)?, sparse };
            if main { node.streams.insert(0, stream) } else { node.streams.push(stream) }
        }
        if node.main().is_none() && !directory {
            node.streams.insert(0, Stream { name: Name::default(), content: self.empty.clone(), sparse: false });
        }
        Ok(())
    }
}

impl Nodes<'_> {
    /// A file whose contents the overlay filter keeps elsewhere: its main stream becomes what programs read from it.
    fn overlaid(&mut self, number: u32, node: &mut Node, reparse: &Reparse, data: &mut Vec<Attribute>) -> Result<()> {
        let mut take = |name: &str| {
            let of_name = |attribute: &Attribute| attribute.name.units().iter().copied().eq(name.encode_utf16());
            data.iter().position(of_name).map(|place| data.swap_remove(place))
        };
        let (main, packed) = (take(""), take(WOF_STREAM));
        let size = match main.as_ref().map(|main| &main.value) {
            Some(Value::Outside(extents)) => Ok(extents.size),
            Some(Value::Resident(bytes)) => Ok(bytes.len() as u64),
            Some(Value::Damaged(error)) => Err(again(error)),
            None => Ok(0),
        };
        let coding = size.and_then(|size| Ok((size, wof(reparse, packed)?)));
        let content = match coding {
            Ok((0, _)) => self.empty.clone(),
            Ok((size, coding)) => self.blob(number, size, coding, None)?,
            Err(error) => self.blob(number, 0, Coding::refused(&error), None)?,
        };
        self.kinds.overlaid += 1;
        if !data.iter().any(|attribute| attribute.flags & attribute_flag::SPARSE != 0) {
            node.attributes &= !attributes::SPARSE;
        }
        node.streams.push(Stream { name: Name::default(), content, sparse: false });
        Ok(())
    }

    /// Makes the main stream one that cannot be read.
    fn refuse_main(&mut self, number: u32, node: &mut Node, error: &Error) -> Result<()> {
        let len = node.main().map_or(0, Content::len);
        let content = self.blob(number, len, Coding::refused(error), None)?;
        if let Some(main) = node.streams.iter_mut().find(|stream| stream.name.is_empty()) {
            main.content = content;
        }
        Ok(())
    }

    fn content(&mut self, number: u32, attribute: Attribute) -> Result<Content> {
        match attribute.value {
            Value::Resident(bytes) if bytes.is_empty() => Ok(self.empty.clone()),
            Value::Resident(bytes) => Ok(Content::Bytes(bytes.into())),
            Value::Outside(extents) => {
                let coding = self.coding(&extents, attribute.flags).unwrap_or_else(|error| Coding::refused(&error));
                self.blob(number, extents.size, coding, Some(&extents))
            }
            Value::Damaged(error) => self.blob(number, 0, Coding::refused(&error), None),
        }
    }

    fn blob(&mut self, number: u32, len: u64, coding: Coding, extents: Option<&Extents>) -> Result<Content> {
        let (len, coding) = match len {
            0..=MAX_STREAM => (len, coding),
            _ => (0, Coding::refused(&Error::unsupported("length of a stream").found(len).allowed(MAX_STREAM))),
        };
        let blob = self.table.add(number, len, coding, extents)?;
        Ok(Content::Blob { store: self.store, blob, len })
    }

    /// How the bytes follow from the clusters.
    fn coding(&mut self, extents: &Extents, flags: u16) -> Result<Coding> {
        if flags & attribute_flag::ENCRYPTED != 0 {
            self.kinds.encrypted += 1;
            return Err(Error::unsupported("the stream is encrypted by EFS; its contents cannot be read")
                .hint("decrypt the file in Windows (cipher /d), or leave it out"));
        }
        match (flags & attribute_flag::COMPRESSION, extents.unit) {
            (0, _) | (_, 0) => Ok(Coding::Plain),
            (LZNT1, unit) => {
                let bytes =
                    self.mft.boot.cluster.checked_shl(unit.into()).filter(|bytes| (4096..=PIECE).contains(bytes));
                bytes.map(|bytes| Coding::Lznt1(bytes as u32)).ok_or_else(|| {
                    Error::unsupported("clusters that are compressed together")
                        .found(format_args!("2^{unit}"))
                        .allowed("4 to 256 KiB")
                })
            }
            (other, _) => Err(Error::unsupported("compression of a stream").found(other).allowed("1, LZNT1")),
        }
    }

    /// The names that a file says it has.
    pub(super) fn names(&self, file: &File, notes: &mut Notes) -> Vec<OwnName> {
        let mut names = Vec::new();
        for attribute in file.all(kind::FILE_NAME) {
            match attribute.bytes(&self.mft.clusters, MAX_FILE_NAME).and_then(|bytes| own_name(&bytes)) {
                Ok(name) => names.push(name),
                Err(error) => notes.lost(format_args!("record {}: $FILE_NAME: {error}", file.number)),
            }
        }
        names
    }
}

impl Kinds {
    /// Says what the tree does not.
    pub(super) fn note(&self, notes: &mut Notes) {
        notes.count(
            self.overlaid,
            "files are compressed by the overlay filter (CompactOS); the tree has them as plain files",
        );
        notes.count(self.encrypted, "streams are encrypted by EFS; their contents cannot be read");
        notes.count(self.quotas, "files are charged to a quota, which the tree does not carry");
        notes.count(self.without_descriptor, "files have no security descriptor");
    }
}

/// The shortest `$STANDARD_INFORMATION`, that of volumes before NTFS 3.0.
const OLD_INFORMATION: usize = 48;
/// The only compression that there is.
const LZNT1: u16 = 1;
/// With a name of 255 units.
const MAX_FILE_NAME: u64 = 0x242;
/// Where the overlay filter keeps the contents of a file.
const WOF_STREAM: &str = "WofCompressedData";

fn wof(reparse: &Reparse, packed: Option<Attribute>) -> Result<Coding> {
    let Content::Bytes(data) = &reparse.data else { return Err(Error::corrupt("reparse point of WOF")) };
    let wrong = |what: &str| Error::corrupt(format_args!("reparse point of WOF: {what}"));
    let (head, _) = WofReparse::read_from_prefix(data).map_err(|_| wrong("length").found(data.len()).allowed(16))?;
    match head.provider.get() {
        WOF_PROVIDER_FILE => {
            let packed = packed.ok_or_else(|| wrong("there is no stream WofCompressedData"))?;
            Ok(Coding::Wof(Box::new(Wof::new(head.algorithm.get(), packed.value)?)))
        }
        WOF_PROVIDER_WIM => Err(Error::unsupported("the file's contents are in a WIM file elsewhere (WIMBoot)")),
        other => Err(Error::unsupported("provider of a file behind WOF").found(other).allowed("2, compressed files")),
    }
}

/// The entries of `$EA`.
fn extended(mut bytes: &[u8]) -> Result<Vec<ExtendedAttribute>> {
    let wrong = || Error::corrupt("extended attributes");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = EaHeader::read_from_prefix(bytes).map_err(|_| wrong())?;
        let (name, rest) = rest.split_at_checked(head.name_len.into()).ok_or_else(wrong)?;
        let (&nul, rest) = rest.split_first().ok_or_else(wrong)?;
        let value = rest.get(..usize::from(head.value_len.get())).ok_or_else(wrong)?;
        if name.is_empty() || name.len() > 254 || nul != 0 {
            return Err(wrong().found(format_args!("a name of {} bytes", name.len())).allowed("1 to 254 and a NUL"));
        }
        found.push(ExtendedAttribute { flags: head.flags, name: name.into(), value: value.into() });
        let used = size_of::<EaHeader>() + name.len() + 1 + value.len();
        // A length of 0 ends a list in memory, and may have been copied from there.
        match head.len.get() as usize {
            0 => break,
            len if len < used => return Err(wrong().found(len).allowed(used)),
            len => bytes = bytes.get(len..).unwrap_or_default(),
        }
    }
    Ok(found)
}

fn own_name(bytes: &[u8]) -> Result<OwnName> {
    let (head, rest) = FileName::read_from_prefix(bytes)
        .map_err(|_| Error::corrupt("length").found(bytes.len()).allowed("66 or more"))?;
    let units = rest.get(..2 * usize::from(head.name_len));
    let units = units.ok_or_else(|| Error::corrupt("length of the name").found(head.name_len))?;
    Ok(OwnName { parent: head.parent.get(), namespace: head.namespace, name: Name::from_le_bytes(units) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_extended_attributes() {
        let one = [16, 0, 0, 0, 0x80, 1, 3, 0, b'A', 0, 1, 2, 3, 0, 0, 0];
        let both = [&one[..], &one].concat();
        let found = extended(&both).unwrap();
        assert_eq!(
            (found.len(), found[1].flags, &*found[1].name, &*found[1].value),
            (2, 0x80, &b"A"[..], &[1, 2, 3][..])
        );
        for len in 1..both.len() - 3 {
            if !(13..=16).contains(&len) {
                assert!(extended(&both[..len]).is_err(), "{len}");
            }
        }
        let mut endless = both;
        endless[0] = 0;
        assert_eq!(extended(&endless).unwrap().len(), 1);
        endless[0] = 8;
        assert!(extended(&endless).is_err());
    }
}
