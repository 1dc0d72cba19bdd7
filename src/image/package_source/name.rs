//! The packages of a medium or a folder by their names.

use std::collections::BTreeMap;

use super::part::has_extension;
use crate::base::near::{did_you_mean, nearest};
use crate::error::{Error, Result};
use crate::image::Media;
use crate::image::media::Package;

/// What New-NanoServerImage calls a package that has another name in its file.
const ALIASES: [(&str, &str); 2] = [("clustering", "failovercluster"), ("hyperv", "compute")];

/// The packages in a folder, each with those for its languages.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// In the order of their files' names.
    pub titles: Vec<Title>,
    /// Files that are not among them, and why.
    pub left_out: Vec<String>,
}

/// A package as files on a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    /// The name of the file without its extension: `Microsoft-NanoServer-Containers-Package`.
    pub stem: String,
    /// The cabinet for all languages.
    pub base: Option<Package>,
    /// The cabinets for one each.
    pub languages: Vec<Package>,
}

impl Shelf {
    /// The packages for Nano Server on a medium.
    pub fn of_medium(media: &Media) -> Result<Self> {
        Ok(Self::of(media.packages()?, |_| true))
    }

    /// The cabinets of a folder, and those of the folders in it that are called as languages are.
    pub(super) fn of_folder(folder: &Media) -> Result<Self> {
        Ok(Self::of(folder.packages_in("")?.unwrap_or_default(), is_language))
    }

    fn of(packages: Vec<Package>, is_language: impl Fn(&str) -> bool) -> Self {
        let mut titles: BTreeMap<String, Title> = BTreeMap::new();
        let mut left_out = Vec::new();
        for package in packages {
            let name = package.file.rsplit('\\').next().unwrap_or_default();
            let stem = name.get(..name.len().saturating_sub(4)).unwrap_or(name);
            let Some(language) = package.language.clone() else {
                let title = Title { stem: stem.to_owned(), base: Some(package.clone()), languages: Vec::new() };
                titles.insert(stem.to_lowercase(), title);
                continue;
            };
            if !is_language(&language) {
                left_out.push(format!("{}: left out: its folder is that of no language", package.file));
                continue;
            }
            let ending = format!("_{language}");
            let at = stem.len().saturating_sub(ending.len());
            let is_marked = stem.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(&ending));
            let stem = if is_marked { &stem[..at] } else { stem };
            let title = titles.entry(stem.to_lowercase());
            let none = || Title { stem: stem.to_owned(), base: None, languages: Vec::new() };
            title.or_insert_with(none).languages.push(package.clone());
        }
        Self { titles: titles.into_values().collect(), left_out }
    }

    /// The package of a name.
    pub fn find(&self, name: &str) -> Option<&Title> {
        let stem = if has_extension(name, "cab") { &name[..name.len() - 4] } else { name };
        let wanted = folded(short_name(stem));
        let wanted = ALIASES.iter().find(|(alias, _)| *alias == wanted).map_or(wanted, |(_, own)| (*own).to_owned());
        self.titles.iter().find(|title| title.stem.eq_ignore_ascii_case(stem)).or_else(|| {
            let mut found = self.titles.iter().filter(|title| folded(short_name(&title.stem)) == wanted);
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// That there is none of a name.
    pub fn no_such(&self, name: &str) -> Error {
        let names = || self.titles.iter().map(|title| short_name(&title.stem).to_owned());
        let error = Error::invalid("no such package on the medium").found(format_args!("'{name}'"));
        let hint = did_you_mean(&nearest(short_name(name), names()));
        match (self.titles.is_empty(), hint) {
            (true, _) => error.hint(
                r"there are none at all: only the medium of Windows Server 2016 has NanoServer\Packages. Name the path of a .cab or .msu",
            ),
            (false, Some(hint)) => error.hint(hint),
            (false, None) => error
                .allowed(names().collect::<Vec<_>>().join(", "))
                .hint("`nanovhd packages MEDIUM` says what they are; of what is not on the medium, name the path"),
        }
    }
}

/// What a package is called for short: its file's name without what all of them have.
pub fn short_name(stem: &str) -> &str {
    const BEGINNINGS: [&str; 3] = ["Microsoft-NanoServer-", "Microsoft-OneCore-", "Microsoft-Windows-"];
    const END: &str = "-Package";
    let starts = |prefix: &&&str| stem.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let begin = BEGINNINGS.iter().find(starts).map_or(0, |prefix| prefix.len());
    let rest = stem.get(begin..).unwrap_or(stem);
    let at = rest.len().saturating_sub(END.len());
    match rest.get(at..) {
        Some(end) if at > 0 && end.eq_ignore_ascii_case(END) => &rest[..at],
        _ => rest,
    }
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Whether a name is a language's, as in RFC 5646: `de`, `pt-BR`, `zh-Hans-CN`.
fn is_language(name: &str) -> bool {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default();
    let others = parts.clone().count();
    // Three letters alone are rather a word: `old`, `x64`.
    let is_first = match first.len() {
        2 => others <= 3,
        3 => (1..=3).contains(&others),
        _ => false,
    };
    let is_other = |part: &str| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric());
    is_first && first.chars().all(|c| c.is_ascii_alphabetic()) && parts.all(is_other)
}
