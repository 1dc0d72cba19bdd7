//! The file around a disk, and the files that it lies on: VHD, VHDX, VMDK, VDI, qcow2 or none.
//!
//! Everything is parsed here once more, from the specifications; with the readers the checks share the structures, the parsing of
//! a VHDX's parent locator and of a VMDK's descriptor, and the replay of a VHDX's log, with the writers nothing.
//!
//! # Limits
//!
//! Block tables are read piece by piece. To find what overlaps, a VHD costs 4 bytes for each block, at most 64 MiB; a VHDX one bit for each MiB of
//! its file, at most 32 MiB; a VMDK 8 bytes for each grain and table, at most 128 MiB; a VDI one bit for each block, at most 32 MiB;
//! a qcow2 5 bytes for each cluster of its file, at most 80 MiB. After `ENOUGH` findings of one rule, a table is not looked at any further.

mod claims;
mod qcow2;
mod qcow2_counts;
mod vdi;
mod vhd;
mod vhdx;
mod vhdx_blocks;
mod vhdx_metadata;
mod vmdk;
mod vmdk_grains;

use std::fmt;

use zerocopy::{FromBytes, IntoBytes};

use super::{Finding, Findings, Rule};
use crate::base::ReadAt;

/// So many findings of one rule end the look at a table: whoever has that many needs no more.
const ENOUGH: usize = 1000;

/// One file of a chain.
#[derive(Clone)]
pub struct Layer<'f> {
    /// What it is called, for people.
    pub name: String,
    /// Its bytes.
    pub file: &'f dyn ReadAt,
}

/// Checks the files of a chain, the child first. One file is a chain too; a parent that is not there is to be left out.
pub fn check(layers: &[Layer<'_>], findings: &mut Findings) {
    for (index, layer) in layers.iter().enumerate() {
        let name = (layers.len() > 1).then_some(layer.name.as_str());
        let mut report = Report { findings, name };
        let below = layers.get(index + 1);
        match kind_of(layer.file) {
            Kind::Vhdx => vhdx::check(layer.file, below, &mut report),
            Kind::Vhd => vhd::check(layer.file, below, &mut report),
            Kind::Vmdk => vmdk::check(layer.file, &mut report),
            Kind::Vdi => vdi::check(layer.file, &mut report),
            Kind::Qcow2 => qcow2::check(layer.file, &mut report),
            Kind::Foreign(name) => {
                let finding = Finding::new(Rule::Unreadable, format_args!("a {name} file"));
                let allowed = "VHD, VHDX, VMDK in one file, VDI, qcow2 or no container";
                report.add(finding.allowed(allowed).part("container").at(0));
            }
            Kind::Raw => check_raw(layer.file, &mut report),
        }
    }
}

/// What a file means to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vhdx,
    Vhd,
    Vdi,
    Qcow2,
    Vmdk,
    Foreign(&'static str),
    Raw,
}

/// One wrong byte in an identifier or a footer does not hide what a file is: its other marks are looked at too.
fn kind_of(file: &dyn ReadAt) -> Kind {
    let has = |at: Option<u64>, mark: &[u8]| {
        let mut found = vec![0; mark.len()];
        at.is_some_and(|at| file.read_at(at, &mut found).is_ok() && found == mark)
    };
    let ends = |len| has(file.len().checked_sub(len), b"conectix");
    if has(Some(0), b"vhdxfile") || (has(Some(0x1_0000), b"head") && has(Some(0x2_0000), b"head")) {
        return Kind::Vhdx;
    }
    if ends(512) || ends(511) || (has(Some(0), b"conectix") && has(Some(512), b"cxsparse")) {
        return Kind::Vhd;
    }
    if has(Some(0), b"KDMV") {
        return Kind::Vmdk;
    }
    if has(Some(0x40), &[0x7F, 0x10, 0xDA, 0xBE]) {
        return Kind::Vdi;
    }
    if has(Some(0), b"QFI\xFB") {
        return Kind::Qcow2;
    }
    let foreign: [(u64, &[u8], &str); 5] = [
        (0, b"COWD", "COWD"),
        (0, b"# Disk DescriptorFile", "VMDK descriptor"),
        (0, b"QED\0", "QED"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"WithouFreSpacExt", "Parallels"),
    ];
    let foreign = foreign.iter().find(|(at, mark, _)| has(Some(*at), mark));
    foreign.map_or(Kind::Raw, |(_, _, name)| Kind::Foreign(name))
}

fn check_raw(file: &dyn ReadAt, report: &mut Report<'_>) {
    if file.is_empty() {
        report.add(Finding::new(Rule::Unreadable, "an empty file").part("container"));
    } else if !file.len().is_multiple_of(512) {
        let found = Finding::new(Rule::RawSize, format_args!("{} bytes", file.len()));
        report.add(found.allowed("a multiple of 512").part("length of the file"));
    }
}

/// Where findings about one file go.
struct Report<'r> {
    findings: &'r mut Findings,
    /// The file's name, where there are several.
    name: Option<&'r str>,
}

impl Report<'_> {
    fn add(&mut self, finding: Finding) {
        self.findings.add(match self.name {
            Some(name) => finding.path(name),
            None => finding,
        });
    }

    /// A field that is not what it has to be.
    fn field(&mut self, rule: Rule, part: &str, at: u64, found: impl fmt::Display, allowed: impl fmt::Display) {
        self.add(Finding::new(rule, found).allowed(allowed).part(part).at(at));
    }

    /// Whether there is more of one rule than anybody reads.
    fn is_enough(&self, rule: Rule) -> bool {
        self.findings.count_of(rule) >= ENOUGH
    }
}

/// A structure from its place, unless it is past the end or cannot be read.
fn structure<T: FromBytes + IntoBytes>(file: &dyn ReadAt, at: u64) -> Option<T> {
    let mut value = T::new_zeroed();
    file.read_at(at, value.as_mut_bytes()).ok()?;
    Some(value)
}

/// How many bytes are not zero; reserved ones have to be.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte != 0).count()
}

#[cfg(test)]
mod tests;
