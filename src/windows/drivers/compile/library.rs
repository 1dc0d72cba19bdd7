//! The INF file of a package and those of the image that it includes, and sections with what they need from others.

use std::rc::Rc;

use super::{Inbox, MAX_DEPTH, MAX_INCLUDED, MAX_WORK};
use crate::error::{Error, Result};
use crate::format::inf::{Entry, Inf};

/// What a line takes besides its text, about: the fields of the line, and the value that comes of it.
const LINE_COST: usize = 192;

/// An INF file that takes part.
pub(super) struct Source {
    /// Its name.
    pub name: String,
    pub inf: Inf,
    /// Whether it is the package's own, not one of the image.
    pub own: bool,
}

/// A line of a section, and whose it is.
#[derive(Clone)]
pub(super) struct Line {
    pub source: Rc<Source>,
    pub entry: Entry,
    /// Whether it is of a section that another one needs.
    pub needed: bool,
}

impl Line {
    /// What is wrong with it: names the line, and the file where it is not the package's own.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Error {
        let error = Error::corrupt(format_args!("line {}: {what}", self.entry.line));
        if self.source.own { error } else { error.context(&self.source.name) }
    }

    /// What is said about it: names the file and its line where that is not the package's own.
    pub(super) fn said(&self, text: String) -> String {
        match self.source.own {
            true => text,
            false => format!("{}, line {}: {text}", self.source.name, self.entry.line),
        }
    }

    /// A field with its strings replaced.
    pub(super) fn field(&self, index: usize) -> String {
        self.source.inf.expand(self.entry.field(index)).trim().to_owned()
    }

    /// The fields from one on that are not empty: names of sections.
    pub(super) fn names(&self, from: usize) -> Vec<String> {
        let fields = (from..self.entry.fields.len()).map(|index| self.field(index));
        fields.filter(|name| !name.is_empty()).collect()
    }
}

/// The files, and what has been read of them.
pub(super) struct Library<'a> {
    sources: Vec<Rc<Source>>,
    inbox: Inbox<'a>,
    /// Files that were included and that the image does not have, with who asked first.
    missing: Vec<(String, Line)>,
    /// Files included for the configuration at hand, in order, without repetitions.
    included: Vec<String>,
    /// What has been done, in bytes and lines; see [`MAX_WORK`].
    work: usize,
}

impl<'a> Library<'a> {
    pub(super) fn new(name: &str, inf: Inf, inbox: Inbox<'a>) -> Self {
        let own = Rc::new(Source { name: name.to_owned(), inf, own: true });
        Self { sources: vec![own], inbox, missing: Vec::new(), included: Vec::new(), work: 0 }
    }

    /// The package's own file.
    pub(super) fn own(&self) -> Rc<Source> {
        Rc::clone(&self.sources[0])
    }

    /// Files that were included since this was last asked.
    pub(super) fn take_included(&mut self) -> Vec<String> {
        std::mem::take(&mut self.included)
    }

    /// Files that were included and are not there.
    pub(super) fn take_missing(&mut self) -> Vec<(String, Line)> {
        std::mem::take(&mut self.missing)
    }

    /// Counts work done on an input, so that what refers to itself often enough comes to an end.
    pub(super) fn spend(&mut self, amount: usize) -> Result<()> {
        self.work = self.work.saturating_add(amount);
        if self.work > MAX_WORK {
            return Err(Error::unsupported("an INF file that repeats its sections this often")
                .found(format_args!("more than {MAX_WORK} bytes of lines"))
                .allowed(MAX_WORK));
        }
        Ok(())
    }

    /// The lines of a section, those of the sections that it needs first, as Windows processes them; `None` if there is no such section.
    pub(super) fn section(&mut self, source: &Rc<Source>, name: &str) -> Result<Option<Vec<Line>>> {
        let mut lines = Vec::new();
        let found = self.gather(source, name, &mut Vec::new(), &mut lines)?;
        Ok(found.then_some(lines))
    }

    fn gather(
        &mut self,
        source: &Rc<Source>,
        name: &str,
        within: &mut Vec<(String, String)>,
        lines: &mut Vec<Line>,
    ) -> Result<bool> {
        let Some(section) = source.inf.section(name) else { return Ok(false) };
        within.push((source.name.to_lowercase(), name.to_lowercase()));
        let needed = within.len() > 1;
        let line_of = |entry: &Entry| Line { source: Rc::clone(source), entry: entry.clone(), needed };
        for entry in section.all("Include") {
            self.include(&line_of(entry))?;
        }
        for entry in section.all("Needs") {
            let line = line_of(entry);
            for needed in line.names(0) {
                self.need(&line, &needed, within, lines)?;
            }
        }
        for entry in section.entries.iter().filter(|entry| !entry.is("Include") && !entry.is("Needs")) {
            self.spend(LINE_COST + source.inf.expanded_len(entry))?;
            lines.push(line_of(entry));
        }
        within.pop();
        Ok(true)
    }

    fn need(
        &mut self,
        line: &Line,
        needed: &str,
        within: &mut Vec<(String, String)>,
        lines: &mut Vec<Line>,
    ) -> Result<()> {
        self.spend(LINE_COST)?;
        let home = std::iter::once(&line.source).chain(&self.sources);
        let home = home.into_iter().find(|source| source.inf.section(needed).is_some()).cloned();
        let Some(home) = home else {
            let missing: Vec<&str> = self.missing.iter().map(|(name, _)| name.as_str()).collect();
            let error = line.fault("Needs: no such section").found(needed);
            return Err(match missing.as_slice() {
                [] => error,
                names => error.hint(format_args!("the image has no {}, which might have it", names.join(", "))),
            });
        };
        if within.contains(&(home.name.to_lowercase(), needed.to_lowercase())) {
            let chain: Vec<&str> = within.iter().map(|(_, section)| section.as_str()).chain([needed]).collect();
            return Err(line.fault("sections need each other in a circle").found(chain.join(" > ")));
        }
        if within.len() >= MAX_DEPTH {
            return Err(line.fault("sections that need sections").found(within.len()).allowed(MAX_DEPTH));
        }
        self.gather(&home, needed, within, lines).map(drop)
    }

    /// Opens the files of an `Include`. One that the image lacks is an error only if a section of it is needed.
    fn include(&mut self, line: &Line) -> Result<()> {
        for name in line.names(0) {
            self.spend(LINE_COST)?;
            if name.contains(['\\', '/', ':']) {
                return Err(line.fault("Include").found(&name).allowed("the name of an INF file of Windows"));
            }
            let is_it = |other: &str| other.eq_ignore_ascii_case(&name);
            if is_it(&self.sources[0].name) || self.missing.iter().any(|(missing, _)| is_it(missing)) {
                continue;
            }
            if self.sources.len() + self.missing.len() > MAX_INCLUDED {
                return Err(line.fault("INF files included").found("more").allowed(MAX_INCLUDED));
            }
            if !self.sources.iter().any(|source| is_it(&source.name)) {
                let Some(bytes) = (self.inbox)(&name)? else {
                    self.missing.push((name, line.clone()));
                    continue;
                };
                self.spend(bytes.len())?;
                let inf = Inf::parse(&bytes).map_err(|error| error.context(&name))?;
                self.sources.push(Rc::new(Source { name: name.clone(), inf, own: false }));
            }
            if !self.included.iter().any(|own| is_it(own)) {
                self.included.push(name);
            }
        }
        Ok(())
    }
}
