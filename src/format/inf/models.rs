//! `[Manufacturer]` and the models that it leads to: which devices a package is for.

use std::collections::HashSet;

use super::{Decoration, Entry, Inf, Section, TargetOs};
use crate::base::Machine;

/// A line of a models section: a device and how it is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its line.
    pub line: usize,
    /// The manufacturer as written, often a `%token%`.
    pub manufacturer: String,
    /// The device's description as written, often a `%token%`.
    pub description: String,
    /// The install section, without a decoration.
    pub install: String,
    /// The ids: the hardware id first, then compatible ids; `%tokens%` replaced. An empty first one says that there are compatible ids only
    /// (seen: input.inf); other empty ones say nothing.
    pub ids: Vec<String>,
}

impl Inf {
    /// The models for a target, of all manufacturers. Empty if the package is for other systems: then [`Inf::targets`] tells for which.
    /// A section that several manufacturers name belongs to the first.
    pub fn models(&self, target: &TargetOs) -> Vec<Model> {
        let mut models = Vec::new();
        let mut seen = HashSet::new();
        for manufacturer in self.manufacturers() {
            let Some(section) = self.models_section(manufacturer, target) else { continue };
            if !seen.insert(section.line) {
                continue;
            }
            for entry in section.entries.iter().filter(|entry| entry.key.is_some()) {
                let ids = entry.fields.iter().skip(1).map(|id| self.expand(id).trim().to_owned());
                models.push(Model {
                    line: entry.line,
                    manufacturer: manufacturer.first().to_owned(),
                    description: entry.first().to_owned(),
                    install: self.expand(entry.field(0)).into_owned(),
                    ids: ids.collect(),
                });
            }
        }
        models
    }

    /// The entries of `[Manufacturer]`.
    pub fn manufacturers(&self) -> impl Iterator<Item = &Entry> {
        self.section("Manufacturer").into_iter().flat_map(|section| &section.entries)
    }

    /// The decorations that manufacturers list, as written, without repetitions; an empty one stands for models without decoration.
    pub fn targets(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let listed = self.manufacturers().flat_map(|entry| {
            let mut listed: Vec<String> = entry
                .fields
                .iter()
                .skip(1)
                .map(|field| field.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect();
            if listed.is_empty() {
                listed.push(String::new());
            }
            listed
        });
        listed.filter(|target| seen.insert(target.to_lowercase())).collect()
    }

    /// The best of a manufacturer's sections that admit the target. One that is listed but not there still wins: an INF keeps a
    /// device from a system so ("an empty section").
    fn models_section(&self, manufacturer: &Entry, target: &TargetOs) -> Option<&Section> {
        let name = self.expand(match &manufacturer.key {
            Some(_) => manufacturer.field(0),
            None => manufacturer.first(),
        });
        let listed = manufacturer.fields.iter().skip(usize::from(manufacturer.key.is_some()));
        let listed = listed.filter_map(|text| Some((text.trim(), Decoration::parse(text)?)));
        let best =
            listed.filter(|(_, decoration)| decoration.admits(target)).max_by_key(|(_, decoration)| decoration.rank());
        match best {
            Some((text, _)) => self.section(&format!("{}.{text}", name.trim())),
            // Since Windows Server 2003 SP1 undecorated models are for x86 alone (INF Manufacturer section, remarks).
            None if target.machine != Machine::X86 => None,
            None => self.section(name.trim()),
        }
    }
}
