//! A fault for every rule: each is put into something good, and the checks have to name it, and little else.
//!
//! The faults follow from the rules and from the descriptions of the formats, not from the checks.

mod boot;
mod containers;
mod ntfs;
mod partitions;
mod qcow2;
mod vdi;
mod vmdk;
pub(crate) mod volumes;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};

use nanovhd::verify::{Finding, Findings, Level, Rule};

/// Where a fault is, and hence where at least one finding of its rule has to be.
#[derive(Debug, Clone)]
enum Where {
    /// In this MFT record.
    Record(u64),
    /// In one of these.
    Records(Vec<u64>),
    /// Within so many bytes from this offset.
    Offset(u64, u64),
    /// At a place with this in its path or part, in any case.
    Named(&'static str),
    /// In this partition.
    Partition(u32),
    /// In a partition.
    AnyPartition,
    /// At one of these.
    Any(Vec<Where>),
    /// Nowhere in particular: the image as a whole.
    Whole,
}

impl Where {
    fn fits(&self, finding: &Finding) -> bool {
        let place = &finding.place;
        let names = |text: &Option<String>, part: &str| {
            text.as_ref().is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
        };
        match self {
            Self::Record(record) => place.record == Some(*record),
            Self::Records(records) => place.record.is_some_and(|record| records.contains(&record)),
            Self::Offset(start, len) => place.offset.is_some_and(|at| (*start..start + len).contains(&at)),
            Self::Named(part) => names(&place.path, part) || names(&place.part, part),
            Self::Partition(number) => place.partition == Some(*number),
            Self::AnyPartition => place.partition.is_some(),
            Self::Any(places) => places.iter().any(|place| place.fits(finding)),
            Self::Whole => true,
        }
    }
}

/// One way to break one rule.
struct Fault<T: 'static> {
    rule: Rule,
    name: &'static str,
    /// Rules of level error that may be broken with it, because they follow from it.
    also: &'static [Rule],
    inject: fn(&mut T) -> Where,
    /// Whether a note is all that it deserves, though the rule is of another level.
    note: bool,
}

/// A fault that breaks one rule only.
const fn fault<T>(rule: Rule, name: &'static str, inject: fn(&mut T) -> Where) -> Fault<T> {
    Fault { rule, name, also: &[], inject, note: false }
}

impl<T> Fault<T> {
    const fn note(mut self) -> Self {
        self.note = true;
        self
    }

    const fn also(mut self, also: &'static [Rule]) -> Self {
        self.also = also;
        self
    }
}

/// Puts each fault into a copy of `good` and gives what the checks got wrong about it.
fn failures<T: Clone + Sync>(
    on: &str,
    good: &T,
    faults: &[Fault<T>],
    check: impl Fn(&T) -> Findings + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut broken = good.clone();
                let place = (fault.inject)(&mut broken);
                judge(fault, &place, &check(&broken))
            }));
            if let Some(failure) = judged.unwrap_or_else(|panic| Some(words_of(&*panic))) {
                found.push(format!("{}, {}, on {on}: {failure}", fault.rule.code(), fault.name));
            }
        }
        found
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// What a panic said, be it the check's or the surgeon's.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("PANIC: {}", text.unwrap_or("no words"))
}

/// What is wrong with what was found about a fault.
fn judge<T>(fault: &Fault<T>, place: &Where, findings: &Findings) -> Option<String> {
    let (rule, also) = (fault.rule, fault.also);
    let mut failure = String::new();
    let of_rule: Vec<_> = findings.kept().iter().filter(|finding| finding.rule == rule).collect();
    if of_rule.is_empty() {
        failure.push_str("not found");
        if let Some(other) = findings.kept().iter().find(|finding| finding.level > Level::Note) {
            let _ = write!(failure, ", but {other}");
        }
    } else if !of_rule.iter().any(|finding| place.fits(finding)) {
        let _ = write!(failure, "found, but not at {place:?}: {}", of_rule[0]);
    } else if rule.level() != Level::Note && !fault.note && of_rule.iter().all(|finding| finding.level == Level::Note) {
        let _ = write!(failure, "no more than a note: {}", of_rule[0]);
    }
    let others: BTreeSet<Rule> = findings
        .kept()
        .iter()
        .filter(|finding| finding.level == Level::Error && finding.rule != rule && !also.contains(&finding.rule))
        .map(|finding| finding.rule)
        .collect();
    for other in others {
        let example = findings.kept().iter().find(|finding| finding.rule == other).expect("one of them");
        let separator = if failure.is_empty() { "also " } else { "; also " };
        let _ = write!(failure, "{separator}{example} ({} of them)", findings.count_of(other));
    }
    (!failure.is_empty()).then_some(failure)
}

/// Something good has nothing above a note.
#[track_caller]
fn assert_clean(what: &str, findings: &Findings) {
    let bad: Vec<String> =
        findings.kept().iter().filter(|finding| finding.level > Level::Note).map(ToString::to_string).collect();
    assert!(bad.is_empty(), "{what}: {} findings\n{}", bad.len(), bad.join("\n"));
}

#[track_caller]
fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} faults\n{}", failures.len(), failures.join("\n"));
}

/// The rules that have a fault somewhere.
fn covered() -> BTreeSet<Rule> {
    let outside = containers::rules().chain(vmdk::rules()).chain(vdi::rules()).chain(qcow2::rules());
    let outside = outside.chain(partitions::rules());
    outside.chain(ntfs::rules()).chain(boot::rules()).collect()
}

#[test]
fn every_rule_has_a_fault() {
    let covered = covered();
    let missing: Vec<_> = Rule::ALL.iter().filter(|rule| !covered.contains(rule)).map(|rule| rule.code()).collect();
    assert!(missing.is_empty(), "rules that no fault breaks: {missing:?}");
}
