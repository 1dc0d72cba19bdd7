//! Files that are hives on both sides: found by what they hold, read with their logs, compared by what they mean.

use super::contents::beginning;
use super::difference::{Aspect, Aspects, Difference};
use super::walk::Place;
use super::{Side, boot, registry};
use crate::base::Name;
use crate::error::{Context, Error, Result};
use crate::format::bcd::Store;
use crate::format::hive::{Hive, ReadOptions, Recovery};
use crate::tree::Content;

/// The longest file that is compared as a hive. Those of Windows have up to some 200 MB.
pub const HIVE_LIMIT: u64 = 512 << 20;

/// What every hive begins with.
const MAGIC: [u8; 4] = *b"regf";
/// Hives are as long as a multiple of this, and no shorter than two of them.
const BLOCK: u64 = 4096;

/// Two files of one path that are not the same.
pub(super) struct Pair<'c> {
    pub(super) sides: [&'c Side; 2],
    pub(super) places: [Place<'c>; 2],
    pub(super) ignore: Aspects,
    pub(super) key_times: bool,
}

/// What two files turned out to be.
pub(super) enum Found {
    /// At least one is no hive.
    None,
    /// Both are hives, but one cannot be read as such; why.
    Damaged(String),
    /// Both are hives.
    Hives(Box<[Hive; 2]>, Option<String>),
}

impl Pair<'_> {
    fn content(&self, side: usize) -> Option<&Content> {
        self.sides[side].tree.node(self.places[side].node).main()
    }

    /// Whether the file begins as a hive does. One that cannot be read is none: what is wrong with it is said elsewhere.
    fn is_hive(&self, side: usize) -> bool {
        let content = self.content(side);
        let beginning = content.and_then(|content| beginning::<4>(&self.sides[side].tree, content).ok());
        beginning.is_some_and(|bytes| bytes == MAGIC)
    }

    /// Reads a hive, and replays the logs beside it if it needs them.
    fn read(&self, side: usize) -> Result<Hive> {
        let (tree, place) = (&self.sides[side].tree, &self.places[side]);
        let bytes = self.content(side).map_or_else(|| Ok(Vec::new()), |content| tree.read(content))?;
        let mut logs = Vec::new();
        for extension in [".LOG", ".LOG1", ".LOG2"] {
            let name = place.link.map(|link| [link.name.units(), Name::from(extension).units()].concat());
            let log = name.and_then(|name| tree.child(place.directory, &name));
            if let Some(content) = log.and_then(|log| tree.node(log.node).main()).filter(|log| log.len() <= HIVE_LIMIT)
            {
                logs.push(tree.read(content).context(|| format!("its {extension}"))?);
            }
        }
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        Hive::read_with(bytes, ReadOptions { logs: &logs, accept_dirty: true })
    }
}

/// Looks whether both files are hives, and reads them.
pub(super) fn open(pair: &Pair<'_>) -> Found {
    let lengths = [0, 1].map(|side| pair.content(side).map_or(0, Content::len));
    // Of other files, few have such a length: their beginnings need not be read.
    let whole = |len: u64| len >= 2 * BLOCK && len.is_multiple_of(BLOCK);
    let Some(first) = [0, 1].into_iter().find(|side| whole(lengths[*side])) else { return Found::None };
    if !pair.is_hive(first) || !pair.is_hive(1 - first) {
        return Found::None;
    }
    if let Some(len) = lengths.into_iter().find(|len| *len > HIVE_LIMIT) {
        return Found::Damaged(Error::unsupported("size of a hive").found(len).allowed(HIVE_LIMIT).to_string());
    }
    let [a, b] = [0, 1].map(|side| pair.read(side).context(|| &pair.sides[side].name));
    match (a, b) {
        (Ok(a), Ok(b)) => {
            let ignored = |side: usize, hive: &Hive| {
                (hive.recovery() == Recovery::Ignored)
                    .then(|| format!("{}: dirty, and no log applies: compared as it is", pair.sides[side].name))
            };
            let notes: Vec<String> = [ignored(0, &a), ignored(1, &b)].into_iter().flatten().collect();
            Found::Hives(Box::new([a, b]), (!notes.is_empty()).then(|| notes.join("; ")))
        }
        (Err(error), _) | (_, Err(error)) => Found::Damaged(format!("compared as bytes: {error}")),
    }
}

/// Tells what differs between two hives: between two boot stores by objects and elements, but where that shows nothing, and of
/// all others by keys and values.
pub(super) fn compare(
    [a, b]: &[Hive; 2],
    pair: &Pair<'_>,
    path: &str,
    tell: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let mut told = false;
    if let (Ok(a), Ok(b), false) = (Store::read(a), Store::read(b), pair.ignore.contains(Aspect::Boot)) {
        boot::compare(&a, &b, path, &mut |difference| {
            told = true;
            tell(difference)
        })?;
    }
    if told {
        return Ok(());
    }
    let options = registry::Options { security: !pair.ignore.contains(Aspect::Security), times: pair.key_times };
    registry::compare([a, b], options, path, tell)
}
