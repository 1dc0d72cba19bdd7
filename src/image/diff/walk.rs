//! Two trees side by side, in the order of names.

use std::cmp::Ordering;
use std::fmt::Write;

use super::filter::{Verdict, Within};
use crate::base::upcase;
use crate::error::Result;
use crate::image::Control;
use crate::tree::{Link, NodeId, Tree};

/// A file or directory of one side.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    /// What it is.
    pub(super) node: NodeId,
    /// Its name; the root has none.
    pub(super) link: Option<&'t Link>,
    /// The directory that it is in; the root itself for the root.
    pub(super) directory: NodeId,
}

/// What both sides have at a path; one at least has something.
pub(super) struct Met<'w, 't> {
    /// Begins with `\`; as the first side spells it, if it has it.
    pub(super) path: &'w str,
    /// The first and the second side.
    pub(super) places: [Option<Place<'t>>; 2],
}

/// A directory that is being walked.
struct Level<'t> {
    directories: [Option<NodeId>; 2],
    pairs: std::vec::IntoIter<[Option<&'t Link>; 2]>,
    path_len: usize,
}

/// Shows everything that the filter lets through, parents before their children.
pub(super) fn walk<'t>(
    trees: [&'t Tree; 2],
    filter: &Within,
    control: &Control,
    visit: &mut dyn FnMut(Met<'_, 't>) -> Result<()>,
) -> Result<()> {
    let roots = trees.map(Tree::root);
    match filter.verdict("\\") {
        Verdict::Skip => return Ok(()),
        Verdict::Pass => {}
        Verdict::Take => {
            let places = roots.map(|node| Some(Place { node, link: None, directory: node }));
            visit(Met { path: "\\", places })?;
        }
    }
    let mut path = String::new();
    let mut levels = vec![level(trees, roots.map(Some), 0)];
    while let Some(Level { directories, pairs, path_len }) = levels.last_mut() {
        let Some(links) = pairs.next() else {
            levels.pop();
            control.check()?;
            continue;
        };
        path.truncate(*path_len);
        if let Some(link) = links.iter().flatten().next() {
            let _ = write!(path, "\\{}", link.name);
        }
        let verdict = filter.verdict(&path);
        if verdict == Verdict::Skip {
            continue;
        }
        let [a, b] = [0, 1].map(|side| {
            let (link, directory) = (links[side]?, directories[side]?);
            Some(Place { node: link.node, link: Some(link), directory })
        });
        if verdict == Verdict::Take {
            visit(Met { path: &path, places: [a, b] })?;
        }
        let nodes = [a, b].map(|place| place.map(|place| place.node));
        let below = [0, 1].map(|side| nodes[side].filter(|node| trees[side].node(*node).is_directory()));
        if below != [None, None] {
            levels.push(level(trees, below, path.len()));
        }
    }
    Ok(())
}

fn level<'t>(trees: [&'t Tree; 2], directories: [Option<NodeId>; 2], path_len: usize) -> Level<'t> {
    let [a, b] = [0, 1].map(|side| sorted(directories[side].map_or(&[], |node| trees[side].node(node).children())));
    Level { directories, pairs: pair(&a, &b).into_iter(), path_len }
}

fn sorted(links: &[Link]) -> Vec<&Link> {
    let mut links: Vec<&Link> = links.iter().collect();
    links.sort_by(|a, b| upcase::compare(a.name.units(), b.name.units()));
    links
}

/// Finds for each name of one directory its partner in the other: the same name, or else the only one that differs in nothing
/// but case.
fn pair<'t>(mut a: &[&'t Link], mut b: &[&'t Link]) -> Vec<[Option<&'t Link>; 2]> {
    let mut pairs = Vec::with_capacity(a.len().max(b.len()));
    loop {
        // In a case-sensitive directory several names may be the same but for case.
        let first = match (a.first(), b.first()) {
            (None, None) => return pairs,
            (Some(a), Some(b)) => {
                if upcase::compare_ignoring_case(a.name.units(), b.name.units()).is_le() {
                    *a
                } else {
                    *b
                }
            }
            (Some(only), None) | (None, Some(only)) => *only,
        };
        let alike = |links: &[&Link]| {
            links.iter().take_while(|link| upcase::same(link.name.units(), first.name.units())).count()
        };
        let (these, those);
        (these, a) = a.split_at(alike(a));
        (those, b) = b.split_at(alike(b));
        pair_alike(these, those, &mut pairs);
    }
}

/// The same for names that are the same but for case, in the order of their units.
fn pair_alike<'t>(a: &[&'t Link], b: &[&'t Link], pairs: &mut Vec<[Option<&'t Link>; 2]>) {
    let merged = merge(a.iter().copied(), b.iter().copied(), |a, b| a.name.cmp(&b.name));
    let lonely: Vec<_> = merged.iter().filter(|pair| lacks_one(pair)).copied().collect();
    match *lonely {
        [[Some(a), None], [None, Some(b)]] | [[None, Some(b)], [Some(a), None]] => {
            pairs.extend(merged.into_iter().filter(|pair| !lacks_one(pair)));
            pairs.push([Some(a), Some(b)]);
        }
        _ => pairs.extend(merged),
    }
}

fn lacks_one(pair: &[Option<&Link>; 2]) -> bool {
    pair.iter().any(Option::is_none)
}

/// Two sorted sequences side by side: what is equal stands together.
pub(super) fn merge<T>(
    a: impl Iterator<Item = T>,
    b: impl Iterator<Item = T>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Vec<[Option<T>; 2]> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    let mut merged = Vec::with_capacity(a.size_hint().0.max(b.size_hint().0));
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return merged,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => compare(a, b),
        };
        merged.push([a.next_if(|_| order.is_le()), b.next_if(|_| order.is_ge())]);
    }
}
