//! Where packages come from: what a user names, and which cabinets that is.
//!
//! | named | what is taken |
//! |---|---|
//! | a short name, `Containers` | of the medium's `NanoServer\Packages` the cabinet of that name, and those of the image's languages |
//! | a `.cab` with an `update.mum` | it |
//! | an `.msu` | the cabinets in it with an `update.mum`, in the order that its XML says |
//! | a folder with an `update.mum` | an unpacked package |
//! | another folder | all cabinets in it; of those in folders for languages the image's |
//!
//! What something is follows from what it holds, not from its name. A name without a separator and an extension is looked for on the medium
//! first, then on the host; any other on the host first. Short names are told apart without regard to case and hyphens; in full, with or
//! without `.cab`, they serve as well.
//!
//! # Languages
//! On the media of Windows Server 2016 the cabinet for a language is `NanoServer\Packages\en-us\NAME_en-us.cab`; those of its previews have
//! `en-us\NAME.cab`. It is put in behind the one that all languages share. Which languages the image has is known when its hives are
//! read: until then all are kept in mind, see [`PackageSource::parts`].
//!
//! # Limits
//! An `.msu` may unpack to 16 GiB; its cabinets go into temporary files. The new kind of `.msu` (since Windows 11 24H2), which is a WIM, is
//! refused by name.

mod describe;
mod msu;
mod name;
mod open;
mod part;

#[cfg(test)]
mod tests;

use std::fmt;

pub use describe::{Description, Inspection};
pub use name::{Shelf, Title, short_name};
pub use part::{Part, Raw};

/// Something that packages are taken from, opened: its directories are read, and no more.
#[derive(Clone)]
pub struct PackageSource {
    name: String,
    groups: Vec<Group>,
    notes: Vec<String>,
}

/// A cabinet, and those that belong to it.
#[derive(Clone, Default)]
struct Group {
    /// What all languages share.
    base: Option<Part>,
    /// What is for one.
    languages: Vec<Part>,
}

/// The parts for one image.
#[derive(Clone, Default)]
pub struct Picked {
    /// In the order in which they go in. Of a part for a language the one that all languages share comes right before.
    pub parts: Vec<Part>,
    /// What a user should know.
    pub warnings: Vec<String>,
}

impl fmt::Debug for PackageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageSource({:?})", self.name)
    }
}

impl PackageSource {
    /// What was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells this source from others, whatever the host calls it: of cabinets names, lengths and both ends, of unpacked packages names,
    /// lengths and catalogs.
    pub fn fingerprint(&self) -> Vec<u8> {
        let parts = self.groups.iter().flat_map(|group| group.base.iter().chain(&group.languages));
        parts.flat_map(|part| part.fingerprint()).copied().collect()
    }

    /// The parts for an image with these languages: `en-US`.
    pub fn parts(&self, languages: &[String]) -> Picked {
        let warnings = self.notes.iter().map(|note| format!("{}: {note}", self.name)).collect();
        let mut picked = Picked { parts: Vec::new(), warnings };
        for group in &self.groups {
            picked.parts.extend(group.base.iter().cloned());
            let is_of = |part: &&Part, wanted: &String| {
                part.language.as_ref().is_some_and(|language| language.eq_ignore_ascii_case(wanted))
            };
            let found = |wanted: &String| group.languages.iter().find(|part| is_of(part, wanted));
            match (languages, group.languages.as_slice()) {
                ([], [only]) => picked.parts.push(only.clone()),
                ([], [_, ..]) => picked.warnings.push(format!(
                    "{}: the image does not say which languages it has: none of {} is put in",
                    group.title(),
                    group.offers()
                )),
                _ => {
                    picked.parts.extend(languages.iter().filter_map(found).cloned());
                    let missing = languages.iter().filter(|wanted| found(wanted).is_none());
                    let missing: Vec<&str> = missing.map(String::as_str).collect();
                    if !missing.is_empty() && !group.languages.is_empty() {
                        picked.warnings.push(format!(
                            "{}: there is nothing for {}, only for {}",
                            group.title(),
                            missing.join(", "),
                            group.offers()
                        ));
                    }
                }
            }
        }
        picked
    }

    /// All parts, of whatever language; those that all languages share first.
    pub fn parts_of_all_languages(&self) -> Picked {
        let warnings = self.notes.iter().map(|note| format!("{}: {note}", self.name)).collect();
        let parts = self.groups.iter().flat_map(|group| group.base.iter().chain(&group.languages));
        Picked { parts: parts.cloned().collect(), warnings }
    }

    /// The languages that there are parts for.
    pub fn languages(&self) -> Vec<String> {
        let of_all = self.groups.iter().flat_map(|group| &group.languages).filter_map(|part| part.language.clone());
        let mut languages: Vec<String> = of_all.collect();
        languages.sort_by_key(|language| language.to_lowercase());
        languages.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        languages
    }
}

impl Group {
    fn title(&self) -> &str {
        self.base.iter().chain(&self.languages).next().map_or("", |part| &part.origin)
    }

    /// The languages that there are.
    fn offers(&self) -> String {
        self.languages.iter().filter_map(|part| part.language.as_deref()).collect::<Vec<_>>().join(", ")
    }
}
