//! `nanovhd diff`.

use std::path::Path;

use serde::Serialize;

use super::args::Diff;
use super::{Env, exit, output, progress};
use crate::error::{Error, Result};
use crate::image::diff::{
    Area, Aspect, Aspects, Change, Comparison, Detail, Difference, Fact, Filter, Options, Side, Summary,
};
use crate::image::{Choice, Input};
use crate::tree::attributes;

/// So many characters of a fact are shown to people; scripts get all.
const SHOWN: usize = 100;
/// So many of them stand before the first one that differs.
const LEAD: usize = 12;

/// Compares, and tells by the exit code what came of it: 0 equal, 1 different, else why it could not be told.
pub(super) fn run(command: &Diff, json: bool, env: &mut Env<'_>) -> Result<u8> {
    let options = Options {
        ignore: command.ignore.iter().fold(Aspects::default(), |all, ignored| all.union(*ignored)),
        filter: Filter::new(&command.only, &command.exclude)?,
        key_times: command.times,
    };
    let first = Choice { image: command.image.as_deref(), partition: command.partition };
    let second = Choice {
        image: command.image_b.as_deref().or(first.image),
        partition: command.partition_b.or(first.partition),
    };
    let a = open(&command.a, first, env)?;
    let b = open(&command.b, second, env)?;
    let (threads, control) = (env.threads, &*env.control);
    let comparison = progress::with_bar("Comparing", env, || Comparison::new(&a, &b, &options, threads, control))?;
    let summary = match json {
        true => tell_scripts(&comparison, [&a.name, &b.name], env)?,
        false => tell_people(&comparison, command.brief, env)?,
    };
    Ok(match summary.trouble {
        Some(kind) => exit::code(kind),
        None => u8::from(!summary.is_equal()),
    })
}

/// Opens a side. One choice serves both sides, as far as it is about what a side is: a WIM has no partitions, a disk no images.
fn open(path: &Path, choice: Choice<'_>, env: &mut Env<'_>) -> Result<Side> {
    let input = Input::open(path, None)?;
    let choice = match input {
        Input::Wim(_) | Input::Media(_) => Choice { partition: None, ..choice },
        Input::Disk(_) => Choice { image: None, ..choice },
    };
    let (side, warnings) = Side::open(&input, &path.display().to_string(), choice)?;
    output::warnings(env, warnings.iter().map(|warning| format!("{}: {warning}", side.name)))?;
    Ok(side)
}

/// One JSON document, written as the differences come: there may be very many.
fn tell_scripts(comparison: &Comparison<'_>, names: [&str; 2], env: &mut Env<'_>) -> Result<Summary> {
    #[derive(Serialize)]
    struct Result<'s> {
        equal: bool,
        summary: &'s Summary,
    }
    let Env { stdout, control, .. } = env;
    let [a, b] = [compact(&names[0])?, compact(&names[1])?];
    output::line(*stdout, format_args!("{{\"a\": {a}, \"b\": {b}, \"differences\": ["))?;
    let mut separator = ' ';
    let summary = comparison.tell(control, &mut |difference| {
        output::line(*stdout, format_args!("{separator} {}", compact(difference)?))?;
        separator = ',';
        Ok(())
    })?;
    let end = compact(&Result { equal: summary.is_equal(), summary: &summary })?;
    output::line(*stdout, format_args!("], {}", end.trim_start_matches('{')))?;
    Ok(summary)
}

fn compact(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::io("the result cannot be printed", e.into()))
}

fn tell_people(comparison: &Comparison<'_>, brief: bool, env: &mut Env<'_>) -> Result<Summary> {
    let Env { stdout, control, .. } = env;
    let summary = comparison.tell(control, &mut |difference| match brief {
        false => output::line(*stdout, format_args!("{}", line(difference))),
        true if matches!(difference.area, Area::Registry | Area::Boot) => Ok(()),
        true => output::line(*stdout, format_args!("{} {}", sign(difference.change), difference.path)),
    })?;
    if !brief {
        output::line(*stdout, format_args!("{}", in_short(&summary)))?;
    }
    Ok(summary)
}

fn sign(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
        Change::Same => '=',
        Change::Unknown => '?',
    }
}

/// A difference as a line: within a file under it.
fn line(difference: &Difference) -> String {
    let sign = sign(difference.change);
    let of_a_file = matches!(difference.area, Area::Files | Area::Disk);
    let mut text = match difference.area {
        _ if difference.change == Change::Same => {
            format!("{sign} {}: a hive that means the same in other bytes", difference.path)
        }
        Area::Disk | Area::Files => format!("{sign} {}", difference.path),
        Area::Registry | Area::Boot => {
            let key = difference.key.as_deref().filter(|key| !key.is_empty()).unwrap_or("\\");
            let value = match (&difference.value, difference.area) {
                (None, _) => String::new(),
                (Some(name), Area::Boot) => format!(" {name}"),
                (Some(name), _) if name.is_empty() => " (default)".to_owned(),
                (Some(name), _) => format!(" \"{name}\""),
            };
            format!("    {sign} {key}{value}")
        }
    };
    // Of a file that only one side has, the name says enough.
    if !of_a_file || difference.change == Change::Changed {
        let details: Vec<String> = difference.details.iter().map(detail).collect();
        if !details.is_empty() {
            text = format!("{text}: {}", details.join(", "));
        }
    }
    if let Some(note) = &difference.note {
        text = format!("{text}{} {note}", if difference.details.is_empty() { ":" } else { ";" });
    }
    text
}

fn detail(detail: &Detail) -> String {
    let of = detail.of.as_deref();
    let [a, b] = pair(detail);
    let change = match (&detail.a, &detail.b) {
        (None, Some(_)) => format!("{b} added"),
        (Some(_), None) => format!("{a} removed"),
        _ => format!("{a} -> {b}"),
    };
    match (detail.aspect, of) {
        (Aspect::Contents, None) => "contents".to_owned(),
        (Aspect::Contents, Some(stream)) => format!("contents of :{stream}"),
        (Aspect::Stream, Some(stream)) if detail.a.is_none() => format!("stream :{stream} added ({b} bytes)"),
        (Aspect::Stream, Some(stream)) => format!("stream :{stream} removed ({a} bytes)"),
        (Aspect::Size | Aspect::Sparse, Some(stream)) => format!("{} of :{stream} {change}", detail.aspect.name()),
        (Aspect::ExtendedAttribute, of) => format!("extended attribute {} {change}", of.unwrap_or_default()),
        (Aspect::Registry | Aspect::Boot, None) => match (&detail.a, &detail.b) {
            (None, Some(_)) => b,
            (Some(_), None) => a,
            _ => format!("{a} -> {b}"),
        },
        (Aspect::Registry | Aspect::Boot | Aspect::Disk, Some(of)) => format!("{of} {change}"),
        (aspect, _) => format!("{} {change}", aspect.name()),
    }
}

/// How something is on both sides, in at most [`SHOWN`] characters each, around where they begin to differ.
fn pair(detail: &Detail) -> [String; 2] {
    let [a, b] = [&detail.a, &detail.b].map(|fact| fact.as_ref().map(|fact| words(detail.aspect, fact)));
    let (Some(a), Some(b)) = (&a, &b) else {
        return [a, b].map(|text| text.map_or_else(|| "none".into(), |t| cut(&t, 0)));
    };
    let long = a.chars().count().max(b.chars().count()) > SHOWN;
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let skipped = if long { same.saturating_sub(LEAD) } else { 0 };
    [cut(a, skipped), cut(b, skipped)]
}

fn cut(text: &str, skipped: usize) -> String {
    let shown: String = text.chars().skip(skipped).take(SHOWN).collect();
    let before = if skipped > 0 { "…" } else { "" };
    let after = if text.chars().count() > skipped + SHOWN { "…" } else { "" };
    format!("{before}{shown}{after}")
}

fn words(aspect: Aspect, fact: &Fact) -> String {
    match fact {
        Fact::Number(bits) if aspect == Aspect::Attributes => letters(*bits),
        Fact::Number(number) => number.to_string(),
        Fact::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Fact::Text(text) => text.clone(),
        Fact::Value { kind, data, bytes } if data.len() > SHOWN => format!("{kind} ({bytes} bytes) {data}"),
        Fact::Value { kind, data, .. } => format!("{kind} {data}"),
    }
}

/// Attributes as `attrib` shows them; those that have no letter as a number.
fn letters(bits: u64) -> String {
    const LETTERS: [(u32, char); 8] = [
        (attributes::READ_ONLY, 'R'),
        (attributes::HIDDEN, 'H'),
        (attributes::SYSTEM, 'S'),
        (attributes::ARCHIVE, 'A'),
        (0x1000, 'O'), // offline
        (attributes::COMPRESSED, 'C'),
        (attributes::NOT_CONTENT_INDEXED, 'I'),
        (attributes::ENCRYPTED, 'E'),
    ];
    let set = |bit: u32| bits & u64::from(bit) != 0;
    let mut text: String = LETTERS.iter().filter(|(bit, _)| set(*bit)).map(|(_, letter)| *letter).collect();
    let rest = LETTERS.iter().fold(bits, |rest, (bit, _)| rest & !u64::from(*bit));
    if rest != 0 {
        text += &format!("{}{rest:#x}", if text.is_empty() { "" } else { "+" });
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn in_short(summary: &Summary) -> String {
    let counts = [
        (summary.disk, "disk"),
        (summary.added, "added"),
        (summary.removed, "removed"),
        (summary.changed, "changed"),
        (summary.registry, "in hives"),
        (summary.boot, "in boot stores"),
        (summary.unknown, "unreadable"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let mut text = format!("{}: {}", if summary.is_equal() { "equal" } else { "different" }, told.join(", "));
    if told.is_empty() {
        text = "equal".to_owned();
    }
    text += &format!(" ({} paths compared", summary.compared);
    if !summary.not_compared.is_empty() {
        let names: Vec<&str> = summary.not_compared.iter().map(|aspect| aspect.name()).collect();
        text += &format!(", but not {}", names.join(", "));
    }
    text + ")"
}
