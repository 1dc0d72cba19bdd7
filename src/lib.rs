//! nanovhd turns a Windows image file into a machine that boots: a WIM in, a bootable VHD out, in one process, without
//! Windows, administrator rights or mounts.
//!
//! # The house
//!
//! The crate is built in floors; a module uses lower floors only (`cargo xtask tidy` checks it).
//!
//! ```text
//! 6  cli       arguments, words, progress, exit codes; one file per command
//! 5  image     the host's files and all that is done with them: opened disks and their chains (opened, chain, source), media, lookups in
//!              trees, where drivers and packages come from, and a plan and its doing for build, edit, capture, convert, extract; diff;
//!              verify; the machines and their devices (target, coverage); the seed
//! 4  verify    whether an image is what Windows and the firmware take as clean; shares no code with the writers
//! 3  windows   a tree that is known to be a Windows: its hives, its boot files, its setup (name, password, WinRM, first start),
//!              drivers (compiled, ranked, stored), packages (verified, resolved, compiled to a plan, put in and taken out)
//! 2  format    one place per on-disk format
//!                wim              sources that fill a Tree, and back
//!                udf iso9660      installation media: a Tree of files that are read where they lie
//!                cab nsis         what drivers and packages come in
//!                hive bcd reg     documents: bytes <-> value (bcd lies on hive, the only sideways step)
//!                inf assembly     documents that say what drivers and packages are
//!                catalog          who signed which files
//!                delta            documents and files that Windows keeps packed in themselves
//!                certificate      a self-signed certificate and its PFX
//!                ntfs             Tree -> Plan -> Disk, and back
//!                fat              a Tree into an EFI system partition, and out of one
//!                partitions vhd vhdx vmdk vdi qcow2   what is around volumes; they know no Tree
//! 1  codec     xpress, lzx, lzms, lznt1, pa30: bytes -> bytes, no container, no I/O
//!    tree      names, metadata, where the bytes are; knows no on-disk format
//! 0  base      positioned I/O, checksums, time stamps, UTF-16 names and their order, security descriptors
//!    error     what is wrong, whose fault it is, what to do next
//! ```
//!
//! # The way data flows
//!
//! ```text
//! build    ISO/folder --udf, iso9660--> WIM/ESD/SWM --wim--> Tree --boot files, edits--> Tree --ntfs::Plan--> Disk (a Slice of a VHD) --verify--> its name
//! edit     disk --ntfs::read--> Tree --edits--> Tree --ntfs::Plan--> Disk (the rest copied around it) --verify--> the old one's place
//! capture  disk --ntfs::read--> Tree --wim::write--> WIM
//! look     WIM, disk, ISO --wim, ntfs::read, fat, udf--> Tree --> ls, cat, extract, reg, bcd, info; two of them: diff
//! convert  disk --vhd, vhdx--> sectors --vhd, vhdx--> disk; no Tree
//! pack     disk --convert--> file --package--> OVA, Vagrant box, compressed file
//! ```
//!
//! * **A [`tree::Tree`] holds no file contents.** Directory → link (name, short name) → node → content, which is bytes that an
//!   edit made, or a blob of a store with a known length, *unread*. Hard links are two links to one node. What a writer needs on
//!   its way (record numbers, extents) lives in the writer, indexed by node.
//! * **Plan first, write second.** All sizes are known from the source's metadata before the first byte is decompressed, so the
//!   whole volume and the whole disk file are laid out first. What cannot fit, or cannot be represented, is said before anything
//!   is written; `--dry-run` prints the plan.
//! * **Write in the source's order, on all cores.** A [`tree::BlobStore`] yields pieces of blobs from several threads, in the
//!   order in which it stores them. [`base::Disk::write_at`] takes `&self`: decoding, hashing and writing run in parallel without
//!   a lock on the hot path, because the plan has assigned every place. A blob that several files share is decompressed once and
//!   written to each of its places.
//! * **Fresh, not edited.** A volume is laid out anew. The one exception is [`format::ntfs::Revision`], which says what a differencing
//!   disk has to hold over its parent; that too is planned as a whole before anything is written, and needs no journal.
//! * **Reproducible.** The clock and chance enter in [`image`] only, as a timestamp and a [seed](image::seed::Seed). The same
//!   recipe and inputs give the same bytes on every machine.
//!
//! # Seams
//!
//! Three traits: [`base::ReadAt`], [`base::Disk`] and [`tree::BlobStore`] (with the [`tree::BlobSink`] that it feeds). Container formats are an enum and a `match`, not a
//! registry. Edits are functions on a `&mut Tree`, or on `&mut Windows` where there has to be one.
//!
//! # A format module
//!
//! `mod.rs` says what the format is, what is read and written of it, and where the facts come from. `ondisk.rs` has the structs and
//! constants, with sizes asserted at compile time, and does no I/O. `read.rs`, `write.rs` and `plan.rs`, or rooms of their kind, do the work. The on-disk type
//! is not the parsed type. A writer claims every region that it writes: an overlap or a gap is a bug that tests see.
//!
//! # Errors
//!
//! One [`error::Error`] with a [`error::Kind`] that says whose fault it is, and the exit code with it. No input may cause a panic,
//! an endless loop or an allocation beyond a stated limit. What is worth knowing but stops nothing is a value in a report.
//!
//! # Example
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use nanovhd::format::wim::Wim;
//! use nanovhd::image::{Control, ImagePlan, Recipe, Source, demo};
//!
//! # fn main() -> nanovhd::error::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let output = folder.path().join("nano.vhd");
//! let threads = NonZeroUsize::new(2).unwrap();
//! let wim = Wim::open(vec![Arc::new(demo::wim(threads)?)])?; // or image::source::open_wim("NanoServer.wim", None)
//! let source = Source::of_wim(&wim, "NanoServer.wim", "ServerDataCenterNano")?;
//! let recipe = Recipe::new(&output);
//! let plan = ImagePlan::new(source, &recipe)?;
//! println!("{} files", plan.summary().volume.files);
//! plan.build(threads, &Control::default())?;
//! # assert!(output.exists());
//! # Ok(())
//! # }
//! ```

pub mod base;
pub mod cli;
pub mod codec;
pub mod error;
pub mod format;
pub mod image;
pub mod tree;
pub mod verify;
pub mod windows;
