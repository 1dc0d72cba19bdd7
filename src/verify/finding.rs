//! What a check found, and where.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Rule;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing, and nothing to act on.
    Note,
    /// Sound as far as Windows is concerned, but not as it should be.
    Warning,
    /// Windows, or the firmware, would refuse it, repair it or go wrong over it.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where something is; any part of it may be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    /// The number of the partition, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The path of the file, stream or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The number of the MFT record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The structure, field or element: `$INDEX_ROOT:$I30`, `BAT entry 7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The offset in bytes, in the volume where there is a partition, else in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// One rule that is broken in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is; that of the rule, unless this case is a milder one.
    pub level: Level,
    /// The rule.
    #[serde(rename = "code", serialize_with = "code")]
    pub rule: Rule,
    /// Where.
    pub place: Place,
    /// What is there.
    pub found: String,
    /// What would be right.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allowed: String,
}

fn code<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.code())
}

impl Finding {
    /// A finding of the rule's own level, about what was found.
    pub fn new(rule: Rule, found: impl fmt::Display) -> Self {
        Self { level: rule.level(), rule, place: Place::default(), found: found.to_string(), allowed: String::new() }
    }

    /// Says what would be right.
    #[must_use]
    pub fn allowed(mut self, allowed: impl fmt::Display) -> Self {
        self.allowed = allowed.to_string();
        self
    }

    /// Says which file, stream or key it is about.
    #[must_use]
    pub fn path(mut self, path: impl fmt::Display) -> Self {
        self.place.path = Some(path.to_string());
        self
    }

    /// Says which MFT record it is about.
    #[must_use]
    pub fn record(mut self, record: u64) -> Self {
        self.place.record = Some(record);
        self
    }

    /// Says which structure, field or element it is about.
    #[must_use]
    pub fn part(mut self, part: impl fmt::Display) -> Self {
        self.place.part = Some(part.to_string());
        self
    }

    /// Says at which offset it is.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.place.offset = Some(offset);
        self
    }

    /// Makes it of another level than its rule's.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

/// So many findings of one rule are kept; the rest is counted.
pub const KEPT_OF_A_RULE: usize = 50;

/// All that the checks found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// In the order in which they were found, at most [`KEPT_OF_A_RULE`] of each rule.
    findings: Vec<Finding>,
    /// How many of each rule were found.
    #[serde(skip)]
    of_rule: HashMap<Rule, usize>,
    errors: usize,
    warnings: usize,
    notes: usize,
    #[serde(skip)]
    partition: Option<u32>,
}

impl Findings {
    /// Takes a finding in.
    pub fn add(&mut self, mut finding: Finding) {
        match finding.level {
            Level::Error => self.errors += 1,
            Level::Warning => self.warnings += 1,
            Level::Note => self.notes += 1,
        }
        let of_rule = self.of_rule.entry(finding.rule).or_default();
        *of_rule += 1;
        if *of_rule <= KEPT_OF_A_RULE {
            finding.place.partition = finding.place.partition.or(self.partition);
            self.findings.push(finding);
        }
    }

    /// Names the partition that the next findings are about; `None` for the disk.
    pub fn set_partition(&mut self, number: Option<u32>) {
        self.partition = number;
    }

    /// Those that were kept, in the order in which they were found.
    pub fn kept(&self) -> &[Finding] {
        &self.findings
    }

    /// How many of a rule were found, kept or not.
    pub fn count_of(&self, rule: Rule) -> usize {
        self.of_rule.get(&rule).copied().unwrap_or_default()
    }

    /// How many of a level were found.
    pub fn count(&self, level: Level) -> usize {
        match level {
            Level::Error => self.errors,
            Level::Warning => self.warnings,
            Level::Note => self.notes,
        }
    }

    /// The worst level that was found.
    pub fn worst(&self) -> Option<Level> {
        [Level::Error, Level::Warning, Level::Note].into_iter().find(|level| self.count(*level) > 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let written = write!(f, "{between}{text}");
            between = ", ";
            written
        };
        if let Some(partition) = self.partition {
            part(f, format_args!("partition {partition}"))?;
        }
        if let Some(path) = &self.path {
            part(f, format_args!("{path}"))?;
        }
        if let Some(record) = self.record {
            part(f, format_args!("record {record}"))?;
        }
        if let Some(name) = &self.part {
            part(f, format_args!("{name}"))?;
        }
        if let Some(offset) = self.offset {
            part(f, format_args!("offset {offset:#x}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.level, self.rule.code())?;
        if self.place != Place::default() {
            write!(f, " {}", self.place)?;
        }
        write!(f, ": {}", self.found)?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_it_all() {
        let finding = Finding::new(Rule::LinkCount, "2 links")
            .allowed("1, as it has names")
            .path(r"\a")
            .record(64)
            .part("link count")
            .at(0x12);
        assert_eq!(
            finding.to_string(),
            r"error[ntfs-link-count] \a, record 64, link count, offset 0x12: 2 links; allowed: 1, as it has names"
        );
    }

    #[test]
    fn many_of_a_rule_are_counted() {
        let mut findings = Findings::default();
        for _ in 0..KEPT_OF_A_RULE + 10 {
            findings.add(Finding::new(Rule::LinkCount, "again"));
        }
        assert_eq!(findings.kept().len(), KEPT_OF_A_RULE);
        assert_eq!(findings.count_of(Rule::LinkCount), KEPT_OF_A_RULE + 10);
        assert_eq!(findings.count(Level::Error), KEPT_OF_A_RULE + 10);
        assert_eq!(findings.worst(), Some(Level::Error));
    }
}
