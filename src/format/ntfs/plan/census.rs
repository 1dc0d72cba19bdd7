//! Who is in the tree and under which names: the order of records, the links of each file, the order of each directory.

use std::cmp::Ordering;

use super::Losses;
use crate::base::upcase;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::namespace;
use crate::tree::{Link, Node, NodeId, Tree};

/// No rank: a node that no path leads to.
const NONE: u32 = u32::MAX;
/// Entries of the root from here on are system files: see [`SYSTEM_NAMES`].
const SYSTEM_ENTRY: u32 = u32::MAX - 64;

/// The names that the root directory has on every volume, with their records.
pub(in super::super) const SYSTEM_NAMES: [(u32, &str); 12] = [
    (0, "$MFT"),
    (1, "$MFTMirr"),
    (2, "$LogFile"),
    (3, "$Volume"),
    (4, "$AttrDef"),
    (5, "."),
    (6, "$Bitmap"),
    (7, "$Boot"),
    (8, "$BadClus"),
    (9, "$Secure"),
    (10, "$UpCase"),
    (11, "$Extend"),
];

/// Whether the root directory has that name on every volume, so that no file can have it there.
pub fn is_system_name(name: &str) -> bool {
    SYSTEM_NAMES.iter().any(|(_, system)| system.eq_ignore_ascii_case(name))
}

/// A place at which a file hangs: which child of which directory.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Place {
    /// The directory, by rank.
    pub(in super::super) parent: u32,
    /// Index in its children.
    pub(in super::super) child: u32,
}

/// An entry of a directory's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Entry {
    /// A child's (long) name.
    Long(u32),
    /// A child's short name.
    Short(u32),
    /// An index into [`SYSTEM_NAMES`].
    System(usize),
}

impl Entry {
    fn pack(self) -> u32 {
        match self {
            Self::Long(child) => child << 1,
            Self::Short(child) => child << 1 | 1,
            Self::System(index) => SYSTEM_ENTRY + index as u32,
        }
    }

    fn unpack(packed: u32) -> Self {
        match packed.checked_sub(SYSTEM_ENTRY) {
            Some(index) => Self::System(index as usize),
            None if packed & 1 == 0 => Self::Long(packed >> 1),
            None => Self::Short(packed >> 1),
        }
    }
}

/// The tree's nodes in the order of their records: depth first, parents before children. Tables are indexed by that rank.
pub(in super::super) struct Census {
    order: Vec<NodeId>,
    /// By node.
    ranks: Vec<u32>,
    /// Where the places of a rank begin in `places`.
    place_starts: Vec<u32>,
    places: Vec<Place>,
    /// Where the children of a rank begin in `namespaces`.
    child_starts: Vec<u32>,
    /// Of each child's long name.
    namespaces: Vec<u8>,
    /// Where the entries of a rank begin in `entries`.
    entry_starts: Vec<u32>,
    /// Packed, in the order of the index.
    entries: Vec<u32>,
}

impl Census {
    pub(super) fn take(tree: &Tree, losses: &mut Losses) -> Result<Self> {
        let mut census = walk(tree)?;
        census.choose_namespaces(tree, losses);
        census.sort_directories(tree)?;
        Ok(census)
    }

    /// How many files there are, the root included.
    pub(in super::super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(in super::super) fn node(&self, rank: u32) -> NodeId {
        self.order[rank as usize]
    }

    pub(in super::super) fn rank(&self, node: NodeId) -> u32 {
        self.ranks[node.index()]
    }

    /// Where the file hangs; nowhere for the root.
    pub(in super::super) fn places(&self, rank: u32) -> &[Place] {
        span(&self.places, &self.place_starts, rank)
    }

    pub(in super::super) fn link<'t>(&self, tree: &'t Tree, place: Place) -> &'t Link {
        &tree.node(self.node(place.parent)).children()[place.child as usize]
    }

    /// The namespace of a link's long name. One with [`namespace::WIN32`] has its short name as a name of its own.
    pub(in super::super) fn namespace(&self, place: Place) -> u8 {
        self.namespaces[self.child_starts[place.parent as usize] as usize + place.child as usize]
    }

    /// How many names (`$FILE_NAME` attributes) the file has.
    pub(in super::super) fn name_count(&self, rank: u32) -> usize {
        let pair = |place: &&Place| self.namespace(**place) == namespace::WIN32;
        let places = self.places(rank);
        if rank == 0 { 1 } else { places.len() + places.iter().filter(pair).count() }
    }

    /// All links, the root's own not counted.
    pub(super) fn link_count(&self) -> usize {
        self.places.len()
    }

    /// The directory's entries in the order of its index.
    pub(in super::super) fn entries(&self, rank: u32) -> impl ExactSizeIterator<Item = Entry> + Clone {
        span(&self.entries, &self.entry_starts, rank).iter().map(|packed| Entry::unpack(*packed))
    }

    /// One of [`entries`](Self::entries).
    pub(in super::super) fn entry(&self, rank: u32, index: usize) -> Entry {
        Entry::unpack(span(&self.entries, &self.entry_starts, rank)[index])
    }

    /// Gives each file at most one name that serves DOS: Windows knows a short name for a file, not for each link.
    fn choose_namespaces(&mut self, tree: &Tree, losses: &mut Losses) {
        for rank in 0..self.len() as u32 {
            let places = self.places(rank);
            let flexible = |place: &&Place| !tree.node(self.node(place.parent)).case_sensitive;
            let pair = places.iter().filter(flexible).find(|place| separate_short(self.link(tree, **place)));
            let both = || places.iter().filter(flexible).find(|place| serves_both(self.link(tree, **place)));
            let chosen =
                pair.map(|p| (*p, namespace::WIN32)).or_else(|| both().map(|p| (*p, namespace::WIN32_AND_DOS)));

            let kept = usize::from(pair.is_some());
            let given = places.iter().filter(|place| self.link(tree, **place).other_short().is_some()).count();
            losses.short_names.add(given.saturating_sub(kept), self.node(rank));

            if let Some((place, namespace)) = chosen {
                let start = self.child_starts[place.parent as usize] as usize;
                self.namespaces[start + place.child as usize] = namespace;
            }
        }
    }

    fn sort_directories(&mut self, tree: &Tree) -> Result<()> {
        let mut packed = Vec::new();
        for rank in 0..self.len() as u32 {
            self.entry_starts.push(index(self.entries.len())?);
            let directory = tree.node(self.node(rank));
            if !directory.is_directory() {
                continue;
            }
            packed.clear();
            for child in 0..directory.children().len() as u32 {
                packed.push(Entry::Long(child).pack());
                if self.namespace(Place { parent: rank, child }) == namespace::WIN32 {
                    packed.push(Entry::Short(child).pack());
                }
            }
            if rank == 0 {
                packed.extend((0..SYSTEM_NAMES.len()).map(|index| Entry::System(index).pack()));
            }
            sort_entries(directory, &mut packed).map_err(|error| blame(tree, self.node(rank), error))?;
            self.entries.extend_from_slice(&packed);
        }
        self.entry_starts.push(index(self.entries.len())?);
        Ok(())
    }
}

/// Runs `body` on the name of an entry.
pub(in super::super) fn with_name<R>(directory: &Node, entry: Entry, body: impl FnOnce(&[u16]) -> R) -> R {
    match entry {
        Entry::Long(child) => body(directory.children()[child as usize].name.units()),
        Entry::Short(child) => {
            body(directory.children()[child as usize].short.as_ref().map_or(&[], |name| name.units()))
        }
        Entry::System(index) => {
            let mut units = [0; 8];
            let name = SYSTEM_NAMES[index].1;
            for (unit, wide) in units.iter_mut().zip(name.encode_utf16()) {
                *unit = wide;
            }
            body(&units[..name.len()])
        }
    }
}

/// Puts the path of a node in front of an error that it caused.
pub(in super::super) fn blame(tree: &Tree, node: NodeId, error: Error) -> Error {
    let path = tree.paths(1, |id, _| id == node).pop();
    error.context(path.unwrap_or_else(|| "\\".to_owned()))
}

fn span<'a, T>(items: &'a [T], starts: &[u32], rank: u32) -> &'a [T] {
    &items[starts[rank as usize] as usize..starts[rank as usize + 1] as usize]
}

fn index(len: usize) -> Result<u32> {
    u32::try_from(len).ok().filter(|len| *len < SYSTEM_ENTRY).ok_or_else(|| Error::unsupported("more than 2^32 names"))
}

fn walk(tree: &Tree) -> Result<Census> {
    let mut census = Census {
        order: Vec::new(),
        ranks: vec![NONE; tree.nodes().len()],
        place_starts: Vec::new(),
        places: Vec::new(),
        child_starts: Vec::new(),
        namespaces: Vec::new(),
        entry_starts: Vec::new(),
        entries: Vec::new(),
    };
    let mut found: Vec<(u32, Place)> = Vec::new();
    let mut stack = vec![(census.meet(tree, tree.root())?, 0)];
    while let Some((parent, child)) = stack.last_mut() {
        let place = Place { parent: *parent, child: *child };
        *child += 1;
        let Some(link) = tree.node(census.node(place.parent)).children().get(place.child as usize) else {
            stack.pop();
            continue;
        };
        check_name(link.name.units()).map_err(|error| blame(tree, link.node, error))?;
        let known = census.rank(link.node);
        let rank = if known == NONE { census.meet(tree, link.node)? } else { known };
        found.push((rank, place));
        if known == NONE && tree.node(link.node).is_directory() {
            stack.push((rank, 0));
        }
    }
    index(found.len())?;
    census.group_places(&found);
    Ok(census)
}

impl Census {
    fn meet(&mut self, tree: &Tree, node: NodeId) -> Result<u32> {
        let rank = index(self.order.len())?;
        self.order.push(node);
        self.ranks[node.index()] = rank;
        self.child_starts.push(index(self.namespaces.len())?);
        let children = tree.node(node).children().len();
        if children >= (SYSTEM_ENTRY / 2) as usize {
            return Err(blame(tree, node, Error::unsupported("more than 2^31 names in a directory")));
        }
        self.namespaces.resize(self.namespaces.len() + children, namespace::POSIX);
        Ok(rank)
    }

    /// Sorts places by rank, in the order in which they were found.
    fn group_places(&mut self, found: &[(u32, Place)]) {
        let mut starts = vec![0u32; self.order.len() + 1];
        for (rank, _) in found {
            starts[*rank as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        self.places = vec![Place { parent: 0, child: 0 }; found.len()];
        for (rank, place) in found {
            self.places[next[*rank as usize] as usize] = *place;
            next[*rank as usize] += 1;
        }
        self.place_starts = starts;
    }
}

/// Sorts by COLLATION_FILE_NAME, in which no two names may be the same.
fn sort_entries(directory: &Node, packed: &mut [u32]) -> Result<()> {
    let both = |a: u32, b: u32, compare: fn(&[u16], &[u16]) -> Ordering| {
        with_name(directory, Entry::unpack(a), |a| with_name(directory, Entry::unpack(b), |b| compare(a, b)))
    };
    packed.sort_unstable_by(|a, b| both(*a, *b, upcase::compare));
    for pair in packed.windows(2) {
        let system = pair.iter().any(|entry| *entry >= SYSTEM_ENTRY);
        let compare = if directory.case_sensitive && !system { upcase::compare } else { upcase::compare_ignoring_case };
        if both(pair[0], pair[1], compare).is_eq() {
            let name = with_name(directory, Entry::unpack(pair[0]), String::from_utf16_lossy);
            let what = if system {
                "a file with the name of an NTFS system file"
            } else {
                "two files of one name in a directory"
            };
            return Err(Error::unsupported(what).found(name));
        }
    }
    Ok(())
}

/// Windows' rule for names on NTFS.
pub(in super::super) fn check_name(units: &[u16]) -> Result<()> {
    let illegal = |unit: &u16| *unit < 0x20 || b"\"*/:<>?\\|".iter().any(|bad| u16::from(*bad) == *unit);
    match units.iter().find(|unit| illegal(unit)) {
        None => Ok(()),
        Some(unit) => Err(Error::unsupported("a character that no NTFS file name has")
            .found(format_args!("U+{unit:04X}"))
            .allowed("anything but \" * / : < > ? \\ | and control characters")),
    }
}

/// Whether the link's short name can stand as the DOS half of a pair.
pub(in super::super) fn separate_short(link: &Link) -> bool {
    link.other_short().is_some_and(|short| is_short(short.units()))
}

/// Whether the source says that the long name does for DOS as well.
pub(in super::super) fn serves_both(link: &Link) -> bool {
    link.short.is_some() && link.other_short().is_none() && is_short(link.name.units())
}

/// Whether a name has the form 8.3 of characters that DOS takes.
fn is_short(units: &[u16]) -> bool {
    let mut parts = units.split(|unit| *unit == u16::from(b'.'));
    let (base, extension) = (parts.next().unwrap_or_default(), parts.next());
    let character = |unit: &u16| *unit > 0x20 && !b"\"*+,/:;<=>?[\\]|".iter().any(|bad| u16::from(*bad) == *unit);
    (1..=8).contains(&base.len())
        && extension.is_none_or(|extension| (1..=3).contains(&extension.len()))
        && parts.next().is_none()
        && base.iter().chain(extension.unwrap_or_default()).all(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> bool {
        is_short(&text.encode_utf16().collect::<Vec<_>>())
    }

    #[test]
    fn knows_short_names() {
        for name in ["A", "BOOTMGR", "README.TXT", "PROGRA~1", "$MFTMirr", "12345678.123"] {
            assert!(short(name), "{name}");
        }
        for name in ["", ".", ".A", "A.", "123456789", "A.1234", "A.B.C", "A B", "A+B"] {
            assert!(!short(name), "{name}");
        }
    }

    #[test]
    fn entries_survive_packing() {
        for entry in [Entry::Long(0), Entry::Short(7), Entry::Long(SYSTEM_ENTRY / 2 - 1), Entry::System(11)] {
            assert_eq!(Entry::unpack(entry.pack()), entry);
        }
    }

    #[test]
    fn refuses_names_that_windows_cannot_open() {
        assert!(check_name(&[0x61, 0x3A, 0x62]).is_err());
        assert!(check_name(&[0x1F]).is_err());
        assert!(check_name(&[0xD800]).is_ok());
    }
}
