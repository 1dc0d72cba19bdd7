//! Files of a tree by the paths that people type.
//!
//! Names are parted by `\` or `/`, a drive (`C:`) in front is allowed, case does not matter, and short names will do. In any part
//! `*` stands for any characters and `?` for one. A name that cannot be shown in full (unpaired surrogates, control characters) is
//! found by what is shown instead, with U+FFFD for each of them.

use crate::base::{Name, near, upcase};
use crate::error::{Error, Result};
use crate::tree::{Content, Link, NodeId, Tree};

/// A file or directory that was found.
#[derive(Debug, Clone)]
pub struct Found<'t> {
    /// Its path, as the tree spells it, with a leading `\`; `\` alone for the root.
    pub path: String,
    /// Its name in its directory; nothing for the root.
    pub link: Option<&'t Link>,
    /// What it is.
    pub node: NodeId,
}

impl<'t> Found<'t> {
    /// The root of a tree.
    pub fn root(tree: &'t Tree) -> Self {
        Self { path: r"\".into(), link: None, node: tree.root() }
    }

    /// What a link in this directory leads to.
    pub fn child(&self, link: &'t Link) -> Self {
        let folder = if self.link.is_none() { "" } else { &self.path };
        Self { path: format!(r"{folder}\{}", link.name), link: Some(link), node: link.node }
    }
}

/// Shows everything below a directory with its path, parents before their children, in the order in which Windows lists it.
pub fn walk<'t, E>(
    tree: &'t Tree,
    top: &Found<'t>,
    mut visit: impl FnMut(&str, &'t Link) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    // One path that grows and shrinks on the way, as in [`Tree::visit`].
    let mut path = if top.link.is_none() { String::new() } else { top.path.clone() };
    let mut open = vec![(path.len(), sorted(tree, top.node).into_iter())];
    while let Some((len, links)) = open.last_mut() {
        path.truncate(*len);
        let Some(link) = links.next() else {
            open.pop();
            continue;
        };
        path.push('\\');
        path.push_str(&link.name.to_string());
        visit(&path, link)?;
        if tree.node(link.node).is_directory() {
            open.push((path.len(), sorted(tree, link.node).into_iter()));
        }
    }
    Ok(())
}

/// The links of a directory in the order of NTFS.
pub fn sorted(tree: &Tree, directory: NodeId) -> Vec<&Link> {
    let mut links: Vec<&Link> = tree.node(directory).children().iter().collect();
    links.sort_by(|a, b| upcase::compare(a.name.units(), b.name.units()));
    links
}

/// All that a path with wildcards means, in order; at least one.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid) with the first part that is not there, and names that are near to it.
pub fn find_all<'t>(tree: &'t Tree, path: &str) -> Result<Vec<Found<'t>>> {
    let mut found = vec![Found::root(tree)];
    for part in parts(tree, path) {
        let mut next = Vec::new();
        for directory in &found {
            next.extend(in_directory(tree, directory, part));
        }
        if next.is_empty() {
            return Err(missing(tree, &found, part).context(path));
        }
        found = next;
    }
    Ok(found)
}

/// The one file or directory at a path.
///
/// # Errors
/// As [`find_all`]; also where wildcards match several.
pub fn find<'t>(tree: &'t Tree, path: &str) -> Result<Found<'t>> {
    let mut found = find_all(tree, path)?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (last, others) => {
            let shown = found.iter().take(3).chain(last.as_ref()).map(|found| found.path.as_str()).collect::<Vec<_>>();
            Err(Error::invalid("the path means several files")
                .found(format_args!("{} of them", others + 1))
                .allowed(format_args!("one, such as {}", shown.join(" or ")))
                .context(path))
        }
    }
}

/// A stream of a file, by `PATH` or `PATH:STREAM`; a type behind it (`:$DATA`) is allowed.
///
/// # Errors
/// As [`find`]; also for a stream that the file does not have, and for the main stream of a directory.
pub fn find_stream<'t>(tree: &'t Tree, path: &str) -> Result<(Found<'t>, &'t Content)> {
    // A name may have a colon in it where no Windows made it, so the whole is tried as a path first.
    let (found, stream) = match (find(tree, path), split_stream(path)) {
        (Ok(found), _) => (found, ""),
        (Err(error), None) => return Err(error),
        (Err(_), Some((path, stream))) => (find(tree, path)?, stream),
    };
    let node = tree.node(found.node);
    let wanted = Name::from(stream);
    let content = node.streams.iter().find(|candidate| upcase::same(candidate.name.units(), wanted.units()));
    if let Some(stream) = content {
        return Ok((found, &stream.content));
    }
    let names: Vec<String> =
        node.streams.iter().map(|stream| stream.name.to_string()).filter(|name| !name.is_empty()).collect();
    let error = match stream {
        "" if node.is_directory() => {
            Error::invalid("a directory, and no file").hint("`nanovhd ls` lists what is in it")
        }
        "" => Error::invalid("the file has no main stream"),
        _ => Error::invalid("no such stream").found(format_args!("'{stream}'")),
    };
    let error = if names.is_empty() { error } else { error.allowed(names.join(", ")) };
    Err(error.context(found.path))
}

/// The path and the name of a stream, if there is one behind the last name.
fn split_stream(path: &str) -> Option<(&str, &str)> {
    let name = path.rfind(['\\', '/']).map_or(0, |at| at + 1);
    let colon = name + path[name..].find(':')?;
    let stream = &path[colon + 1..];
    Some((&path[..colon], stream.strip_suffix(":$DATA").unwrap_or(stream)))
}

/// The names of a path, without the drive.
fn parts<'p>(tree: &Tree, path: &'p str) -> impl Iterator<Item = &'p str> {
    let mut parts = path.split(['\\', '/']).filter(|part| !part.is_empty()).peekable();
    let is_drive = |part: &&str| {
        matches!(part.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic()) && tree.find(part).is_none()
    };
    parts.next_if(is_drive);
    parts.filter(|part| *part != ".")
}

fn in_directory<'t>(tree: &'t Tree, directory: &Found<'t>, part: &str) -> Vec<Found<'t>> {
    let units: Vec<u16> = part.encode_utf16().collect();
    if let Some(link) = tree.child(directory.node, &units) {
        return vec![directory.child(link)];
    }
    if part.contains(['*', '?']) {
        let matches = |link: &&Link| {
            matches_pattern(&units, link.name.units())
                || link.other_short().is_some_and(|short| matches_pattern(&units, short.units()))
        };
        return sorted(tree, directory.node).into_iter().filter(matches).map(|link| directory.child(link)).collect();
    }
    if part.contains(char::REPLACEMENT_CHARACTER) {
        let shown = |link: &&Link| upcase::same(Name::from(link.name.to_string().as_str()).units(), &units);
        return sorted(tree, directory.node).into_iter().filter(shown).map(|link| directory.child(link)).collect();
    }
    Vec::new()
}

/// Whether a name matches a pattern: `*` for any units, `?` for one, the rest whatever its case.
fn matches_pattern(pattern: &[u16], name: &[u16]) -> bool {
    const ANY: u16 = b'*' as u16;
    const ONE: u16 = b'?' as u16;
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None; // behind the last star, and where it was tried last
    while n < name.len() {
        match pattern.get(p) {
            Some(&ANY) => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&unit) if unit == ONE || upcase::upcase(unit) == upcase::upcase(name[n]) => (p, n) = (p + 1, n + 1),
            _ => match &mut retry {
                Some((behind, tried)) => {
                    *tried += 1;
                    (p, n) = (*behind, *tried);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|unit| *unit == ANY)
}

fn missing(tree: &Tree, directories: &[Found<'_>], part: &str) -> Error {
    let error = Error::invalid("no such file or directory").found(format_args!("'{part}'"));
    let Some(directory) = directories.first() else { return error };
    if !directories.iter().any(|directory| tree.node(directory.node).is_directory()) {
        return Error::invalid("a file, and no directory").found(format_args!("'{part}' behind {}", directory.path));
    }
    let names = tree.node(directory.node).children().iter().map(|link| link.name.to_string());
    let hint = near::did_you_mean(&near::nearest(part, names));
    error.hint(hint.unwrap_or_else(|| format!("`nanovhd ls` lists what is in {}", directory.path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Stream, Times};

    fn sample() -> Tree {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let windows = tree.add_node(Node::directory(0, Times::default())).unwrap();
        tree.add_link(tree.root(), Link { name: "Windows".into(), short: None, node: windows }).unwrap();
        let mut long = Node::file(0, Times::default(), vec![1].into());
        long.streams.push(Stream { name: "Side".into(), content: vec![2, 2].into(), sparse: false });
        let long = tree.add_node(long).unwrap();
        tree.add_link(windows, Link { name: "Long name.txt".into(), short: Some("LONGNA~1.TXT".into()), node: long })
            .unwrap();
        for name in [Name::from("b.dll"), "A.DLL".into(), "a:b".into(), Name::new([0x78, 0xD800, 0x0A])] {
            let node = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
            tree.add_link(windows, Link { name, short: None, node }).unwrap();
        }
        tree
    }

    fn paths(tree: &Tree, path: &str) -> Vec<String> {
        find_all(tree, path).unwrap().into_iter().map(|found| found.path).collect()
    }

    #[test]
    fn finds_what_people_type() {
        let tree = sample();
        for path in [r"\windows\LONG NAME.TXT", "Windows/longna~1.txt", r"C:\Windows\.\Long*", r"w?nd*\*.txt"] {
            assert_eq!(paths(&tree, path), [r"\Windows\Long name.txt"], "{path}");
        }
        assert_eq!(paths(&tree, ""), [r"\"]);
        assert_eq!(paths(&tree, r"c:\"), [r"\"]);
        assert_eq!(paths(&tree, r"Windows\*.dll"), [r"\Windows\A.DLL", r"\Windows\b.dll"]);
        assert_eq!(paths(&tree, "Windows/x\u{FFFD}\u{FFFD}").len(), 1);
    }

    #[test]
    fn finds_streams() {
        let tree = sample();
        for (path, len) in [
            ("Windows/Long name.txt", 1),
            ("Windows/Long name.txt:side", 2),
            ("windows/LONGNA~1.TXT:Side:$DATA", 2),
            ("Windows/a:b", 0),
            ("Windows/Long name.txt::$DATA", 1),
        ] {
            assert_eq!(find_stream(&tree, path).unwrap().1.len(), len, "{path}");
        }
        let complaint = |path: &str| find_stream(&tree, path).unwrap_err().to_string();
        assert_eq!(
            complaint("Windows/Long name.txt:sid"),
            r"\Windows\Long name.txt: no such stream: found 'sid', allowed: Side"
        );
        assert_eq!(complaint("Windows"), r"\Windows: a directory, and no file");
        assert!(complaint("Windows/*.dll").contains("several"));
    }

    #[test]
    fn says_which_part_is_missing() {
        let tree = sample();
        let error = find(&tree, r"\Windws\System32").unwrap_err();
        assert_eq!(error.to_string(), r"\Windws\System32: no such file or directory: found 'Windws'");
        assert_eq!(error.hint_text(), Some("did you mean Windows?"));
        let error = find(&tree, r"Windows\b.dll\x").unwrap_err();
        assert_eq!(error.to_string(), r"Windows\b.dll\x: a file, and no directory: found 'x' behind \Windows\b.dll");
        assert_eq!(
            find(&tree, r"Windows\zzzzzz").unwrap_err().hint_text(),
            Some(r"`nanovhd ls` lists what is in \Windows")
        );
    }

    #[test]
    fn patterns_do_not_take_forever() {
        let name: Vec<u16> = vec![0x61; 255];
        let evil: Vec<u16> = "*a".repeat(120).encode_utf16().chain([0x62]).collect();
        assert!(!matches_pattern(&evil, &name));
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        for (pattern, name, is) in [
            ("*", "", true),
            ("", "", true),
            ("?", "", false),
            ("a*b*c", "AxxBxxC", true),
            ("a*b", "abx", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches_pattern(&units(pattern), &units(name)), is, "{pattern} {name}");
        }
    }
}
