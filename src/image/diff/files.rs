//! Two files of one path.

use std::collections::HashMap;

use super::contents::{Digests, Verdict, streams};
use super::difference::{Area, Aspect, Aspects, Change, Detail, Difference, Fact};
use super::walk::{Met, Place, merge};
use super::{Side, Trouble, hives};
use crate::base::sddl;
use crate::error::Result;
use crate::format::hive::words::hexadecimal as hex;
use crate::image::reparse::Target;
use crate::tree::{Content, DescriptorId, ExtendedAttribute, Link, Node, Reparse, Stream, attributes};

/// Compares files as the walk meets them.
pub(super) struct Files<'c> {
    sides: [&'c Side; 2],
    ignore: Aspects,
    key_times: bool,
    digests: &'c Digests<'c>,
    /// What differs between two descriptors; most files share few of them.
    descriptors: HashMap<[Option<DescriptorId>; 2], Option<Detail>>,
    /// For each node of a side the node of the other one that it was first met with, plus one; 0 before that.
    partners: [Vec<u32>; 2],
    trouble: Trouble,
}

/// Attributes that follow from the rest, and are compared there.
const DERIVED: u32 = attributes::DIRECTORY | attributes::NORMAL | attributes::SPARSE | attributes::REPARSE_POINT;

impl<'c> Files<'c> {
    pub(super) fn new(sides: [&'c Side; 2], ignore: Aspects, key_times: bool, digests: &'c Digests<'c>) -> Self {
        let partners = sides.map(|side| vec![0; side.tree.nodes().len()]);
        Self { sides, ignore, key_times, digests, descriptors: HashMap::new(), partners, trouble: None }
    }

    /// The first thing that could not be read.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// Tells what differs between the two sides at a path.
    pub(super) fn met(&mut self, met: Met<'_, '_>, tell: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
        match met.places {
            [Some(a), Some(b)] => self.both(met.path, [a, b], tell),
            [Some(place), None] => tell(self.only(0, met.path, Change::Removed, place)),
            [None, Some(place)] => tell(self.only(1, met.path, Change::Added, place)),
            [None, None] => Ok(()),
        }
    }

    fn only(&self, side: usize, path: &str, change: Change, place: Place<'_>) -> Difference {
        let node = self.sides[side].tree.node(place.node);
        let fact = |aspect, fact| {
            if side == 0 { Detail::new(aspect, Some(fact), None) } else { Detail::new(aspect, None, Some(fact)) }
        };
        let mut details = vec![fact(Aspect::Kind, kind(node))];
        if !node.is_directory() {
            details.push(fact(Aspect::Size, Fact::Number(node.main().map_or(0, Content::len))));
        }
        if node.links() > 1 {
            details.push(fact(Aspect::HardLinks, Fact::Number(node.links().into())));
        }
        Difference::new(Area::Files, change, path).with(details)
    }

    fn both(
        &mut self,
        path: &str,
        places: [Place<'_>; 2],
        tell: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let nodes = [0, 1].map(|side| self.sides[side].tree.node(places[side].node));
        let mut details = Vec::new();
        if let [Some(a), Some(b)] = places.map(|place| place.link) {
            self.names(a, b, &mut details);
        }
        let known = self.linked(places, nodes, &mut details);
        if known {
            return self.changed(path, details, None, tell);
        }
        let [a, b] = nodes;
        self.metadata(a, b, &mut details);
        let main = self.streams(path, a, b, &mut details, tell)?;
        if main.differs && !self.ignore.contains(Aspect::Registry) {
            let pair = hives::Pair { sides: self.sides, places, ignore: self.ignore, key_times: self.key_times };
            return self.hive(path, &pair, details, tell);
        }
        self.changed(path, details, None, tell)
    }

    /// A file whose contents differ, as hives if they are such.
    fn hive(
        &self,
        path: &str,
        pair: &hives::Pair<'_>,
        mut details: Vec<Detail>,
        tell: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let (hives, note) = match hives::open(pair) {
            hives::Found::Hives(hives, note) => (hives, note),
            hives::Found::None => return self.changed(path, details, None, tell),
            hives::Found::Damaged(why) => return self.changed(path, details, Some(why), tell),
        };
        let mut file = Some(Difference::new(Area::Files, Change::Changed, path));
        hives::compare(&hives, pair, path, &mut |difference| {
            if let Some(file) = file.take() {
                let file = file.with(details.drain(..));
                tell(Difference { note: note.clone(), ..file })?;
            }
            tell(difference)
        })?;
        if file.is_none() {
            return Ok(());
        }
        details.retain(|detail| detail.of.is_some() || !matches!(detail.aspect, Aspect::Size | Aspect::Contents));
        self.changed(path, details, None, tell)?;
        tell(Difference { note, ..Difference::new(Area::Registry, Change::Same, path) })
    }

    fn changed(
        &self,
        path: &str,
        details: Vec<Detail>,
        note: Option<String>,
        tell: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        if details.is_empty() {
            return Ok(());
        }
        tell(Difference { note, ..Difference::new(Area::Files, Change::Changed, path).with(details) })
    }

    fn add(&self, details: &mut Vec<Detail>, detail: Detail) {
        if !self.ignore.contains(detail.aspect) && detail.a != detail.b {
            details.push(detail);
        }
    }

    fn names(&self, a: &Link, b: &Link, details: &mut Vec<Detail>) {
        self.add(details, Detail::texts(Aspect::NameCase, &a.name, &b.name));
        let short = |link: &Link| link.other_short().map(|name| Fact::Text(name.to_string()));
        self.add(details, Detail::new(Aspect::ShortName, short(a), short(b)));
    }

    /// Notes which nodes belong together; whether they have been compared already, under another name.
    fn linked(&mut self, places: [Place<'_>; 2], nodes: [&Node; 2], details: &mut Vec<Detail>) -> bool {
        let indices = places.map(|place| place.node.index());
        let before = [0, 1].map(|side| self.partners[side].get(indices[side]).copied().unwrap_or(0));
        let now = [indices[1] as u32 + 1, indices[0] as u32 + 1];
        if before == now {
            return true;
        }
        if before != [0, 0] {
            let [a, b] = nodes.map(|node| node.links().into());
            if !self.ignore.contains(Aspect::HardLinks) {
                details.push(Detail::numbers(Aspect::HardLinks, a, b));
            }
        }
        for side in [0, 1] {
            if let Some(partner) = self.partners[side].get_mut(indices[side]).filter(|partner| **partner == 0) {
                *partner = now[side];
            }
        }
        false
    }

    fn metadata(&mut self, a: &Node, b: &Node, details: &mut Vec<Detail>) {
        self.add(details, Detail::new(Aspect::Kind, Some(kind(a)), Some(kind(b))));
        let (from, to) = (a.attributes & !DERIVED, b.attributes & !DERIVED);
        self.add(details, Detail::numbers(Aspect::Attributes, from.into(), to.into()));
        for (aspect, from, to) in [
            (Aspect::Created, a.times.created, b.times.created),
            (Aspect::Modified, a.times.modified, b.times.modified),
            (Aspect::Changed, a.times.changed, b.times.changed),
            (Aspect::Accessed, a.times.accessed, b.times.accessed),
        ] {
            if from != to && !self.ignore.contains(aspect) {
                details.push(Detail::texts(aspect, from, to));
            }
        }
        details.extend(self.security(a.descriptor, b.descriptor));
        self.add(details, Detail::new(Aspect::ObjectId, object_id(a), object_id(b)));
        let (from, to) = (Some(Fact::Flag(a.case_sensitive)), Some(Fact::Flag(b.case_sensitive)));
        self.add(details, Detail::new(Aspect::CaseSensitivity, from, to));
        if !self.ignore.contains(Aspect::ExtendedAttribute) {
            extended(a, b, details);
        }
        if !self.ignore.contains(Aspect::Reparse) {
            details.extend(self.reparse(a, b));
        }
    }

    fn security(&mut self, a: Option<DescriptorId>, b: Option<DescriptorId>) -> Option<Detail> {
        if self.ignore.contains(Aspect::Security) {
            return None;
        }
        let sides = self.sides;
        let bytes = |side: usize, id: Option<DescriptorId>| Some(&*sides[side].tree.descriptors()[id?.index()]);
        let compare = || security(bytes(0, a), bytes(1, b));
        self.descriptors.entry([a, b]).or_insert_with(compare).clone()
    }

    fn reparse(&self, a: &Node, b: &Node) -> Option<Detail> {
        let same = match (&a.reparse, &b.reparse) {
            (None, None) => true,
            (Some(a), Some(b)) if a.tag == b.tag => matches!(self.digests.compare(&a.data, &b.data), Verdict::Same),
            _ => false,
        };
        let fact = |side: usize, reparse: &Option<Reparse>| {
            let reparse = reparse.as_ref()?;
            let target = Target::read(&self.sides[side].tree, reparse).unwrap_or(Target::Other(reparse.tag));
            Some(Fact::Text(format!("{:#010x} {target} ({} bytes)", reparse.tag, reparse.data.len())))
        };
        (!same).then(|| Detail::new(Aspect::Reparse, fact(0, &a.reparse), fact(1, &b.reparse)))
    }

    fn streams(
        &mut self,
        path: &str,
        a: &Node,
        b: &Node,
        details: &mut Vec<Detail>,
        tell: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<Main> {
        let nothing = Stream { name: Default::default(), content: Content::empty(), sparse: false };
        let mut main = Main { differs: false };
        for pair in streams(a, b) {
            let is_main = pair.iter().flatten().all(|stream| stream.name.is_empty());
            if is_main && a.is_directory() != b.is_directory() || !is_main && self.ignore.contains(Aspect::Stream) {
                continue;
            }
            let [from, to] = match pair {
                [Some(a), Some(b)] => [a, b],
                [a, b] if is_main => [a.unwrap_or(&nothing), b.unwrap_or(&nothing)],
                [a, b] => {
                    let name = a.or(b).map(|stream| stream.name.to_string()).unwrap_or_default();
                    let len = |stream: Option<&Stream>| stream.map(|stream| Fact::Number(stream.content.len()));
                    details.push(Detail::new(Aspect::Stream, len(a), len(b)).of(name));
                    continue;
                }
            };
            let named = |detail: Detail| if is_main { detail } else { detail.of(to.name.to_string()) };
            self.add(details, named(Detail::numbers(Aspect::Size, from.content.len(), to.content.len())));
            let sparse = [from, to].map(|stream| Some(Fact::Flag(stream.sparse)));
            let [from_sparse, to_sparse] = sparse;
            self.add(details, named(Detail::new(Aspect::Sparse, from_sparse, to_sparse)));
            if self.ignore.contains(Aspect::Contents) {
                continue;
            }
            match self.digests.compare(&from.content, &to.content) {
                Verdict::Same => {}
                Verdict::Different => {
                    main.differs |= is_main;
                    let sha1 =
                        |side, content| self.digests.known_sha1(side, content).map(|hash| Fact::Text(hex(&hash)));
                    details.push(named(Detail::new(Aspect::Contents, sha1(0, &from.content), sha1(1, &to.content))));
                }
                Verdict::Unknown(broken) => {
                    self.trouble.get_or_insert(broken.kind);
                    let stream = if is_main { String::new() } else { format!(":{}", to.name) };
                    let what = Difference::new(Area::Files, Change::Unknown, format!("{path}{stream}"));
                    tell(what.note(format!("contents cannot be read: {}", broken.text)))?;
                }
            }
        }
        Ok(main)
    }
}

/// What is to be known about two main streams.
struct Main {
    differs: bool,
}

fn kind(node: &Node) -> Fact {
    Fact::from(if node.is_directory() { "directory" } else { "file" })
}

/// In hexadecimal; without the identifiers of its birth (volume, object, domain) where they say nothing more: none, or the
/// identifier once more, as NTFS has it for one that was never copied.
fn object_id(node: &Node) -> Option<Fact> {
    let id = node.object_id.as_deref()?;
    let (own, birth) = id.split_at_checked(16).unwrap_or((id, &[]));
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let repeated = birth.get(16..32) == Some(own) && zero(&birth[..16]) && zero(&birth[32..]);
    Some(Fact::Text(hex(if zero(birth) || repeated { own } else { id })))
}

/// What differs between two descriptors: nothing if both mean the same.
pub(super) fn security(a: Option<&[u8]>, b: Option<&[u8]>) -> Option<Detail> {
    if a == b {
        return None;
    }
    let text = |bytes: &[u8]| sddl::to_text(bytes).unwrap_or_else(|| format!("no descriptor: {}", hex(bytes)));
    let (a, b) = (a.map(text), b.map(text));
    (a != b).then(|| Detail::new(Aspect::Security, a.map(Fact::Text), b.map(Fact::Text)))
}

fn extended(a: &Node, b: &Node, details: &mut Vec<Detail>) {
    let sorted = |node: &Node| {
        let mut attributes: Vec<ExtendedAttribute> = node.extended.clone();
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        attributes.into_iter()
    };
    if a.extended == b.extended {
        return;
    }
    for [from, to] in merge(sorted(a), sorted(b), |a, b| a.name.cmp(&b.name)) {
        if from == to {
            continue;
        }
        let name = from.as_ref().or(to.as_ref()).map(|attribute| String::from_utf8_lossy(&attribute.name).into_owned());
        let fact = |attribute: Option<ExtendedAttribute>| {
            attribute.map(|attribute| {
                let critical = if attribute.flags & 0x80 != 0 { "needed: " } else { "" };
                Fact::Text(format!("{critical}{}", hex(&attribute.value)))
            })
        };
        details.push(Detail::new(Aspect::ExtendedAttribute, fact(from), fact(to)).of(name.unwrap_or_default()));
    }
}
