//! Names: their form, their pairs, and whether a way leads from the root to them.

use zerocopy::FromBytes;

use super::attributes::units;
use super::context::{Context, NAME_AT, NAMESPACE_AT, number_of};
use super::directories::is_below_extend;
use super::facts::{Facts, File, Resolved, state};
use super::file::hash_name;
use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::base::{Name, upcase};
use crate::format::ntfs::ondisk::{FileName as NameHeader, file, kind, namespace, record_flag};
use crate::verify::{Finding, Rule};

/// What is wrong with the value of a `$FILE_NAME`: the rule, what was found, what is allowed.
pub(super) fn fault(value: &[u8], root: bool) -> Option<(Rule, String, String)> {
    let wrong = |found: String, allowed: &str| Some((Rule::FileName, found, allowed.to_owned()));
    let Ok((header, name)) = NameHeader::read_from_prefix(value) else {
        return wrong(format!("{} bytes", value.len()), "66 and the name");
    };
    let len = usize::from(header.name_len);
    if name.len() != 2 * len || len == 0 {
        return wrong(format!("a name of {len} units in {} bytes", value.len()), "66 bytes and the name");
    }
    if header.namespace > namespace::WIN32_AND_DOS {
        return wrong(format!("namespace {}", header.namespace), "0 to 3");
    }
    let name = units(name);
    let dots = matches!(name.as_slice(), [0x2E] | [0x2E, 0x2E]);
    if dots != root || root && name.len() != 1 {
        return wrong(format!("{:?}", Name::new(name)), "\".\" for the root, and nothing else of that sort");
    }
    if let Some(unit) = name.iter().find(|unit| is_forbidden(**unit, header.namespace)) {
        return wrong(format!("{:?}, with {unit:#06x}", Name::new(name.clone())), "no characters that Windows forbids");
    }
    if header.namespace == namespace::DOS && !is_short(&name) {
        let found = format!("{:?}", Name::new(name));
        return Some((Rule::ShortName, found, "eight upper-case characters, and three after a dot".to_owned()));
    }
    None
}

/// No name has these; those that Windows' programs see have fewer characters yet.
fn is_forbidden(unit: u16, space: u8) -> bool {
    let ascii = u8::try_from(unit).unwrap_or(b'a');
    matches!(ascii, 0 | b'/' | b'\\' | b':')
        || space != namespace::POSIX && (ascii < 0x20 || matches!(ascii, b'"' | b'*' | b'<' | b'>' | b'?' | b'|'))
}

/// Whether a name has the form 8.3: upper case, and none of the characters that DOS does not know.
fn is_short(name: &[u16]) -> bool {
    let dot = name.iter().position(|unit| *unit == 0x2E).unwrap_or(name.len());
    let (base, extension) = name.split_at(dot);
    let extension = extension.get(1..).unwrap_or_default();
    let known = |unit: &u16| {
        let ascii = u8::try_from(*unit).unwrap_or(b'A');
        !matches!(ascii, 0..=0x20 | b'.' | b'+' | b',' | b';' | b'=' | b'[' | b']') && upcase::upcase(*unit) == *unit
    };
    (1..=8).contains(&base.len())
        && extension.len() <= 3
        && (dot == name.len() || !extension.is_empty())
        && base.iter().chain(extension).all(known)
}

/// What is wrong with the names of a file taken together.
pub(super) fn fault_of_pairs(names: &[&[u8]]) -> Option<String> {
    let of = |space: u8| names.iter().filter(move |name| name.get(NAMESPACE_AT) == Some(&space));
    let parent = |name: &&[u8]| u64_at(name, 0);
    let (long, short, both) =
        (of(namespace::WIN32).count(), of(namespace::DOS).count(), of(namespace::WIN32_AND_DOS).count());
    if long != short || long + both > 1 {
        return Some(format!("{long} long names, {short} short names, and {both} that are both"));
    }
    if of(namespace::WIN32).next().and_then(parent) != of(namespace::DOS).next().and_then(parent) {
        return Some("a short name in another directory than its long name".to_owned());
    }
    None
}

const SYMBOLIC_LINK: u32 = 0xA000_000C;
const MOUNT_POINT: u32 = 0xA000_0003;

/// What is wrong with the value of a `$REPARSE_POINT`, and what is allowed.
pub(super) fn fault_of_reparse_data(value: &[u8]) -> Option<(String, String)> {
    let (Some(tag), Some(len)) = (u32_at(value, 0), u16_at(value, 4)) else {
        return Some((format!("{} bytes", value.len()), "8 and the data".to_owned()));
    };
    // Tags that are not Microsoft's have a GUID before their data, which the length does not count.
    let guid = if tag >> 31 == 0 { 16 } else { 0 };
    if tag <= 1 {
        return Some((format!("tag {tag:#x}"), "one that is not reserved".to_owned()));
    }
    if value.len() != 8 + guid + usize::from(len) {
        return Some((
            format!("{len} bytes of data in a value of {}", value.len()),
            format!("{}", value.len().saturating_sub(8 + guid)),
        ));
    }
    None
}

/// What is wrong with the names in a symbolic link or mount point, which only whoever opens it reads.
pub(super) fn fault_of_link(value: &[u8]) -> Option<(String, String)> {
    let tag = u32_at(value, 0)?;
    let head = match tag {
        SYMBOLIC_LINK => 20,
        MOUNT_POINT => 16,
        _ => return None,
    };
    for at in [8, 12] {
        let (Some(offset), Some(len)) = (u16_at(value, at), u16_at(value, at + 2)) else {
            return Some((format!("{} bytes", value.len()), format!("{head} and two names")));
        };
        let end = head + usize::from(offset) + usize::from(len);
        if end > value.len() || offset % 2 != 0 || len % 2 != 0 {
            return Some((
                format!("a name up to byte {end} of {}", value.len()),
                "names inside of the data".to_owned(),
            ));
        }
    }
    None
}

/// Walks through `$EA`: the packed length and the number of those that are needed, or what is wrong.
pub(super) fn count_extended_attributes(value: &[u8]) -> Result<(u64, u64), String> {
    const NEEDED: u8 = 0x80;
    let (mut packed, mut need, mut at) = (0, 0, 0);
    while at < value.len() {
        let next = u32_at(value, at).ok_or("an entry cut off")? as usize;
        let head = value.get(at + 4..at + 8).ok_or("an entry cut off")?;
        let (flags, name_len, value_len) =
            (head[0], usize::from(head[1]), usize::from(u16::from_le_bytes([head[2], head[3]])));
        let len = 8 + name_len + 1 + value_len;
        let end = at + next;
        if name_len == 0 || flags & !NEEDED != 0 || next != len.next_multiple_of(4) || end > value.len() {
            return Err(format!(
                "an entry at {at} of {next} bytes, for a name of {name_len} and a value of {value_len}"
            ));
        }
        if value.get(at + 8 + name_len) != Some(&0) {
            return Err(format!("a name at {at} without a NUL after it"));
        }
        packed += 5 + name_len as u64 + value_len as u64;
        need += u64::from(flags & NEEDED != 0);
        at = end;
    }
    Ok((packed, need))
}

/// Checks that each name has its entry, and that a way leads from the root to each file.
pub(super) fn check(context: &mut Context<'_>, facts: &Facts) {
    let ways = Ways::new(facts);
    for (index, file) in facts.files.iter().enumerate() {
        let names = facts.names_of(file);
        for name in names {
            match facts.resolve(name.parent) {
                Resolved::File(parent) => {
                    let parent = &facts.files[parent as usize];
                    if !parent.is(state::DIRECTORY) && !parent.is(state::DAMAGED) {
                        orphan(context, file, name.parent, "no directory");
                    } else if parent.is(state::LISTED) && !name.seen {
                        not_indexed(context, file, name.parent, name.namespace, name.hash);
                    }
                }
                Resolved::Stale(sequence) => {
                    orphan(context, file, name.parent, &format!("a record whose sequence number is {sequence}"));
                }
                Resolved::Missing if facts.gaps && is_beyond(context, name.parent) => {}
                Resolved::Missing => orphan(context, file, name.parent, "a record that is not in use"),
                Resolved::Extension => orphan(context, file, name.parent, "a record that extends another"),
                Resolved::Unknown => {}
            }
        }
        let is_marked = file.record_flags & record_flag::EXTEND != 0 && !file.is(state::DAMAGED);
        if is_marked && !names.is_empty() && !is_below_extend(facts, file) {
            let finding = Finding::new(Rule::RecordFlags, format!("flags {:#x}", file.record_flags));
            let allowed = "4 for what lies below $Extend only";
            context.add_in_record(file.number, finding.allowed(allowed).part("record header").at(22));
        }
        if ways.begins_a_circle(index) {
            let finding = Finding::new(Rule::DirectoryCycle, "a directory that lies in itself");
            context.add(finding.allowed("a way from the root").record(u64::from(file.number)));
        }
    }
}

/// Whether a reference leads behind the records that could be read.
fn is_beyond(context: &Context<'_>, reference: u64) -> bool {
    number_of(reference).is_none_or(|number| u64::from(number) >= context.volume.records())
}

fn orphan(context: &mut Context<'_>, file: &File, parent: u64, what: &str) {
    let parent =
        number_of(parent).map_or_else(|| "an impossible record".to_owned(), |number| format!("record {number}"));
    let finding = Finding::new(Rule::Unreachable, format!("its directory is {parent}, {what}"));
    context.add(finding.allowed("a directory in use").record(u64::from(file.number)).part("$FILE_NAME"));
}

fn not_indexed(context: &mut Context<'_>, file: &File, parent: u64, space: u8, hash: u64) {
    let name = name_with(context, file.number, hash).map_or_else(String::new, |name| format!(" {name:?}"));
    let directory = number_of(parent).and_then(|number| context.path(number)).unwrap_or_default();
    let found = format!("the name{name} (namespace {space}) is not in its directory {directory}");
    let finding = Finding::new(Rule::NotIndexed, found).allowed("an entry");
    context.add(finding.record(u64::from(file.number)).part("$FILE_NAME"));
}

/// The name of a file that has this hash.
fn name_with(context: &Context<'_>, number: u32, hash: u64) -> Option<Name> {
    let mut loaded = context.volume.load(number)?;
    let attributes = loaded.attributes();
    let mut names = attributes.iter().filter(|a| a.kind == kind::FILE_NAME).filter_map(|a| a.resident());
    names.find_map(|value| {
        let (parent, space, name) = (u64_at(value, 0)?, *value.get(NAMESPACE_AT)?, value.get(NAME_AT..)?);
        (hash_name(parent, space, name) == hash).then(|| Name::new(units(name)))
    })
}

/// The ways from directories to the root.
struct Ways {
    /// For each file: whether the circle that its parents make begins with it.
    circles: Vec<u32>,
}

impl Ways {
    /// Follows the parents of each directory until it meets the root or a directory that was looked at.
    fn new(facts: &Facts) -> Self {
        const UNKNOWN: u32 = 0;
        let mut trail_of = vec![UNKNOWN; facts.files.len()];
        let mut circles = Vec::new();
        for start in 0..facts.files.len() {
            let trail = start as u32 + 1;
            let mut at = start;
            while trail_of[at] == UNKNOWN && facts.files[at].is(state::DIRECTORY) {
                trail_of[at] = trail;
                let file = &facts.files[at];
                if file.number == file::ROOT {
                    break;
                }
                let Some(parent) = facts.names_of(file).first().map(|name| facts.resolve(name.parent)) else { break };
                let Resolved::File(parent) = parent else { break };
                at = parent as usize;
                if trail_of[at] == trail && facts.files[at].number != file::ROOT {
                    circles.push(at as u32);
                    break;
                }
            }
        }
        circles.sort_unstable();
        Self { circles }
    }

    fn begins_a_circle(&self, index: usize) -> bool {
        self.circles.binary_search(&(index as u32)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_have_the_form_8_3() {
        let short = |text: &str| is_short(&text.encode_utf16().collect::<Vec<_>>());
        for good in ["A", "LONGNA~1.TXT", "$MFT", "A.B", "12345678.123", "É_-!#%&'()@^`{}~"[..9].trim_end()] {
            assert!(short(good) || good.chars().count() > 8, "{good}");
        }
        for bad in ["", ".", ".A", "A.", "a", "A B", "123456789", "A.1234", "A.B.C", "A+B", "A,B", "[A]"] {
            assert!(!short(bad), "{bad}");
        }
    }

    #[test]
    fn extended_attributes_are_counted() {
        let one = [16, 0, 0, 0, 0x80, 2, 3, 0, b'A', b'B', 0, 1, 2, 3, 0, 0];
        assert_eq!(count_extended_attributes(&one), Ok((10, 1)));
        assert_eq!(count_extended_attributes(&[one, one].concat()), Ok((20, 2)));
        for at in 0..11 {
            let mut evil = one;
            evil[at] ^= 0x41;
            assert!(count_extended_attributes(&evil).is_err() || matches!(at, 8 | 9), "{at}");
        }
    }
}
