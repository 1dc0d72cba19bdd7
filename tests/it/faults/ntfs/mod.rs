//! Faults in volumes.

mod clusters;
mod indexes;
mod metadata;
mod names;
mod records;
mod secure;
mod streams;
mod system;

use std::sync::LazyLock;

use nanovhd::verify::{Findings, Rule};

use super::{Fault, Where, assert_clean, assert_none, failures, volumes};
use crate::support::surgeon::Surgeon;

type Faults = &'static [Fault<Surgeon>];

/// A fault that breaks one rule only.
const fn fault(rule: Rule, name: &'static str, inject: fn(&mut Surgeon) -> Where) -> Fault<Surgeon> {
    super::fault(rule, name, inject)
}

/// Faults that can be put into a volume of our own writer.
const FAULTS: [Faults; 8] = [
    system::FAULTS,
    records::FAULTS,
    clusters::FAULTS,
    names::FAULTS,
    indexes::FAULTS,
    secure::FAULTS,
    metadata::FAULTS,
    streams::FAULTS,
];

static OURS: LazyLock<Surgeon> = LazyLock::new(|| volumes::ours(4096, 512));

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    FAULTS.into_iter().flatten().chain(streams::COMPRESSED).map(|fault| fault.rule)
}

fn check(volume: &Surgeon) -> Findings {
    let mut findings = Findings::default();
    nanovhd::verify::ntfs::check(&volume.bytes, &mut findings);
    findings
}

/// All faults of a table in one volume.
fn try_all(on: &str, good: &Surgeon, tables: &[Faults]) {
    assert_clean(on, &check(good));
    let found: Vec<_> = tables.iter().flat_map(|faults| failures(on, good, faults, check)).collect();
    assert_none(&found);
}

/// A file of a hundred bytes that are in its record, with nothing special.
fn only(volume: &Surgeon) -> u64 {
    volume.find(r"deep\er\only")
}

/// A file that has several streams, of which `large` is the one with clusters.
fn streams(volume: &Surgeon) -> u64 {
    volume.find("streams")
}

/// The file with so many names that it has an attribute list.
fn linked(volume: &Surgeon) -> u64 {
    volume.find(r"links\a hard link with quite a long name 000")
}

#[test]
fn faults_of_system_files_are_found() {
    try_all("4K clusters", &OURS, &[system::FAULTS]);
}

#[test]
fn faults_of_records_are_found() {
    try_all("4K clusters", &OURS, &[records::FAULTS]);
}

#[test]
fn faults_of_clusters_are_found() {
    try_all("4K clusters", &OURS, &[clusters::FAULTS]);
}

#[test]
fn faults_of_names_are_found() {
    try_all("4K clusters", &OURS, &[names::FAULTS]);
}

#[test]
fn faults_of_indexes_are_found() {
    try_all("4K clusters", &OURS, &[indexes::FAULTS]);
}

#[test]
fn faults_of_descriptors_are_found() {
    try_all("4K clusters", &OURS, &[secure::FAULTS]);
}

#[test]
fn faults_of_metadata_are_found() {
    try_all("4K clusters", &OURS, &[metadata::FAULTS]);
}

#[test]
fn faults_of_streams_are_found() {
    try_all("4K clusters", &OURS, &[streams::FAULTS]);
}

#[test]
fn all_faults_are_found_with_small_clusters() {
    try_all("512-byte clusters", &volumes::ours(512, 512), &FAULTS);
}

#[test]
fn all_faults_are_found_with_large_clusters_and_sectors() {
    try_all("64K clusters, 4K sectors", &volumes::ours(65_536, 4096), &FAULTS);
}

#[test]
fn faults_of_a_volume_by_ntfs_3g_are_found() {
    let Some(volume) = volumes::foreign() else { return };
    try_all("a volume that ntfs-3g filled", &volume, &[streams::COMPRESSED, clusters::FRAGMENTED]);
}
