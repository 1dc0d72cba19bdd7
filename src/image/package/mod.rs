//! Finished disks as what a platform takes at once: an OVA, a Vagrant box, a compressed file.
//!
//! | package | what it is | what it takes |
//! |---|---|---|
//! | [`Package::Plain`] | the disk's file, compressed if asked for | any container |
//! | [`Package::Ova`] | a tar of descriptor, disk and manifest (DSP0243), for VirtualBox or VMware | a stream-optimized VMDK |
//! | [`Package::Box`] | what `vagrant box add` takes: a compressed tar | VHD or VHDX for Hyper-V, a stream-optimized VMDK for VirtualBox, qcow2 for libvirt |
//!
//! # What receivers really do
//!
//! * VirtualBox takes the firmware from its own element `vbox:Machine` alone, and that has to name a disk by the `vbox:uuid` which
//!   the disk section gives it.
//! * Vagrant never has Hyper-V import the XML of a box: its script reads a dozen of its elements and makes a new machine from them,
//!   through PowerShell's view of XML, to which an element without an attribute is not one that has text. So all have one.
//! * Vagrant unpacks boxes with bsdtar, which knows gzip everywhere, and xz and zstd where it was built with them.
//! * Only the first disk of a box counts for Hyper-V, and `box.img` for libvirt: a package has one disk.
//!
//! All text comes from `templates/box`. Members have no owner, one time stamp, and names made of letters, digits and `._-`, so that
//! the same disk gives the same package.

mod archive;
pub mod catalog;
pub mod compress;
mod facts;
mod job;
mod next_steps;
mod ova;
pub mod pack;
mod target;
mod template;
mod vagrant;
mod wishes;

use std::io::{self, Write};
use std::num::NonZeroUsize;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use archive::Member;
pub use compress::Compression;
pub use facts::{Controller, MachineFacts, Nic, Os};
pub use job::{Catalog, Job, Made, Report};
pub use next_steps::{Place, next_steps};
use target::Platform;
pub use target::Provider;
pub use wishes::Wishes;

use super::{Control, Format, Target};
use crate::base::ReadAt;
use crate::error::{Error, Result};

/// What is made of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Package {
    /// Its file, as it is.
    Plain,
    /// An Open Virtualization Format archive.
    Ova,
    /// A Vagrant box.
    Box,
}

/// A disk that is finished: its file, as a container or as sectors.
pub struct Disk<'d> {
    /// The bytes of the file.
    pub file: &'d dyn ReadAt,
    /// What they are.
    pub format: Format,
    /// The size of the disk in them.
    pub disk_bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct Written {
    /// The members of an archive, in their order; none of a plain file.
    pub members: Vec<Member>,
    /// The length of what was written, compressed.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Package {
    /// The container that the disk is best in; of a plain disk any that the target takes.
    pub fn format(self, target: &Target) -> Option<Format> {
        match (self, Provider::of(target)) {
            (Self::Plain, _) | (Self::Box, None) => None,
            (Self::Box, Some(Provider::HyperV)) => Some(target.format),
            (Self::Ova, _) | (Self::Box, Some(Provider::VirtualBox)) => Some(Format::VmdkStream),
            (Self::Box, Some(Provider::Libvirt)) => Some(Format::Qcow2),
        }
    }

    /// How it is compressed when nobody says otherwise.
    pub fn default_compression(self) -> Compression {
        match self {
            Self::Plain | Self::Ova => Compression::None,
            Self::Box => Compression::Gzip,
        }
    }

    /// Refuses what the receiver would.
    pub fn check(self, target: &Target, compression: Compression) -> Result<()> {
        let name = &target.name;
        match (self, Platform::of(target)) {
            (Self::Ova, Platform::VirtualBox | Platform::Vmware) if compression == Compression::None => Ok(()),
            (Self::Ova, Platform::VirtualBox | Platform::Vmware) => {
                Err(Error::invalid("an OVA is never compressed as a whole; the disk in it is already")
                    .hint("leave --compress out"))
            }
            (Self::Ova, _) => Err(Error::invalid(format_args!("{name} takes no OVA"))
                .allowed("targets virtualbox and vmware")
                .hint("make a disk for it, or a box")),
            (Self::Box, _) if Provider::of(target).is_none() => {
                Err(Error::invalid(format_args!("there are no boxes for {name}"))
                    .allowed("targets hyperv-gen1, hyperv-gen2, virtualbox and kvm")
                    .hint("make a disk for it"))
            }
            (Self::Plain, Platform::Azure) if compression != Compression::None => {
                Err(Error::invalid("Azure takes no compressed disks").hint("leave --compress out"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a disk that the receiver would refuse.
    fn check_disk(self, disk: &Disk<'_>, target: &Target) -> Result<()> {
        target.check_size(disk.disk_bytes)?;
        match (self, self.format(target)) {
            (Self::Ova | Self::Box, Some(Format::VmdkStream)) if disk.format != Format::VmdkStream => {
                Err(wrong_format(disk.format, Format::VmdkStream))
            }
            (Self::Box, Some(Format::Qcow2)) if disk.format.extension() != "qcow2" => {
                Err(wrong_format(disk.format, Format::Qcow2))
            }
            _ => target.check_format(disk.format),
        }
    }
}

fn wrong_format(found: Format, wanted: Format) -> Error {
    Error::invalid("the disk is in a container that the package cannot have").found(found.name()).allowed(wanted.name())
}

/// Writes a package of one disk.
///
/// Fails if the receiver would not take it: a wrong container, a firmware or a device that the target does not have.
pub fn write(
    package: Package,
    disk: &Disk<'_>,
    facts: &MachineFacts,
    compression: Compression,
    threads: NonZeroUsize,
    out: &mut dyn Write,
    control: &Control,
) -> Result<Written> {
    package.check(facts.target, compression)?;
    facts.check()?;
    package.check_disk(disk, facts.target)?;
    let failed = |e| failure(control, e);
    let mut hashing = Hashing { out, hash: Sha256::new(), bytes: 0 };
    let mut compressor = compress::Compressor::new(&mut hashing, compression, threads).map_err(failed)?;
    control.expect(disk.file.len());
    let members = match package {
        Package::Plain => {
            archive::copy(disk.file, &mut compressor, control)?;
            Vec::new()
        }
        Package::Ova => ova::write(disk, facts, &mut compressor, control)?,
        Package::Box => vagrant::write(disk, facts, &mut compressor, control)?,
    };
    compressor.finish().map_err(failed)?;
    Ok(Written { members, bytes: hashing.bytes, sha256: hex(&hashing.hash.finalize()) })
}

/// Why a write failed: because it was asked to stop, or because of the host.
fn failure(control: &Control, error: io::Error) -> Error {
    control.check().err().unwrap_or_else(|| Error::io("the output cannot be written", error))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts and hashes what passes.
struct Hashing<'w> {
    out: &'w mut dyn Write,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(data)?;
        self.hash.update(&data[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
