//! The grammar of the command line.

mod edits;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(super) use edits::{CHILD_NAME, EditArgs, SetupArgs};

use super::values::{
    BootManagerArg, CompressArg, ControllerArg, FirmwareArg, FormatArg, LevelArg, NicArg, PackCompressArg, PackageArg,
    cluster_size, ems, ignored, label, memory, sector_size, size, switch, timestamp,
};
use crate::base::FileTime;
use crate::image::diff::Aspects;
use crate::windows::boot::Ems;

/// Turns a Windows image file (WIM, ESD, SWM) into a disk that boots. Needs no Windows, no administrator rights and no mounts.
#[derive(Debug, Parser)]
#[command(name = "nanovhd", version, after_help = super::exit::HELP)]
pub(super) struct Args {
    /// Print results (and errors) as JSON on standard output.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Command {
    Build(Build),
    Edit(Edit),
    Fork(Fork),
    Capture(Capture),
    Convert(Convert),
    Pack(Pack),
    #[command(alias = "inspect")]
    Info(Info),
    Ls(Ls),
    Cat(Cat),
    Extract(Extract),
    Reg(Reg),
    Bcd(Bcd),
    Drivers(Drivers),
    Packages(Packages),
    Verify(Verify),
    Diff(Diff),
    Demo(Demo),
}

/// Apply an image to a new disk and make it bootable.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(true).args(["wim", "media"]))]
pub(super) struct Build {
    /// The image file: WIM, ESD, or one part of a split WIM (the others are looked for beside it; 'install*.swm' works too); or a
    /// disk, whose Windows volume is taken; or a folder (or ISO) without image files, whose files become the volume. With --media,
    /// the path of an image file on it: sources\install.wim.
    #[arg(long, value_name = "FILE")]
    pub(super) wim: Option<PathBuf>,
    /// The installation medium: an ISO, or a folder with its files. Of it NanoServer\NanoServer.wim is taken, or else
    /// sources\install.wim, .esd or .swm.
    #[arg(long, value_name = "ISO|FOLDER")]
    pub(super) media: Option<PathBuf>,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN", conflicts_with = "media")]
    pub(super) parts: Option<String>,
    /// The image in it: an index, or a name or edition, or a part of one that only one image has.
    #[arg(long, value_name = "INDEX|NAME", default_value = "1")]
    pub(super) image: String,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Check the image file's integrity table first. (What is used is checked in any case, by its SHA-1.)
    #[arg(long)]
    pub(super) check_integrity: bool,
    /// Go on although parts of a source that is a disk cannot be read: they will be missing.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    #[command(flatten)]
    pub(super) disk: DiskArgs,
}

/// Change the files, the registry or the label of an image that exists. A new image is written, checked and put in the old one's
/// place; until then the old one is untouched.
#[derive(Debug, clap::Args)]
pub(super) struct Edit {
    /// The image: VHD, VHDX or the bare sectors of a disk or an NTFS volume.
    pub(super) image: PathBuf,
    /// Make a new file instead, and leave the image as it is.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The medium on which --package looks short names up: an ISO, or a folder with its files.
    #[arg(long, value_name = "ISO|FOLDER", requires = "package")]
    pub(super) media: Option<PathBuf>,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    /// Set Windows to take drivers with test signatures (bcdedit /set testsigning on), where the boot store is on the same volume.
    #[arg(long)]
    pub(super) test_signing: bool,
    /// Give the volume another label, at most 32 characters.
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub(super) label: Option<String>,
    /// The moment at which the changes are made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest
    /// modification time in the image.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Take the volume as it lies on the disk even if it was not left clean or parts of it cannot be read. What is in its journal only,
    /// and what cannot be read, is lost.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// Do not check the new image before it gets its name.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing --output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Make disks that hold just what makes them differ from a base: VHD on VHD, VHDX on VHDX.
///
/// The base is only read, and must not change from then on: its children need it as it is. In the arguments of edits and in the label,
/// {name} stands for the child's file name without its extension, so that several children can each have their own.
#[derive(Debug, clap::Args)]
pub(super) struct Fork {
    /// The disk that the children lie on; it may be a differencing disk itself.
    pub(super) base: PathBuf,
    /// The disks to make.
    #[arg(value_name = "CHILD", required = true)]
    pub(super) children: Vec<PathBuf>,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The medium on which --package looks short names up: an ISO, or a folder with its files.
    #[arg(long, value_name = "ISO|FOLDER", requires = "package")]
    pub(super) media: Option<PathBuf>,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    /// Give the volume another label, at most 32 characters.
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub(super) label: Option<String>,
    /// The moment at which the changes are made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest
    /// modification time in the base.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Take the base as it lies on the disk even if it was not left clean. What is in its journal only is lost.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// Do not check the children and their chain before they get their names.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace existing children.
    #[arg(long)]
    pub(super) force: bool,
}

/// Capture the volume of an image as a WIM.
#[derive(Debug, clap::Args)]
pub(super) struct Capture {
    /// The image: VHD, VHDX or the bare sectors of a disk or an NTFS volume.
    pub(super) image: PathBuf,
    /// The WIM to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The compression.
    #[arg(long, value_name = "TYPE", default_value = "lzx")]
    pub(super) compress: CompressArg,
    /// The image's name in the WIM. Without it the volume's label, or the product's name.
    #[arg(long, value_name = "TEXT")]
    pub(super) name: Option<String>,
    /// The image's description in the WIM.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// Leave nothing out. (Else page files, the hibernation file, the recycle bin and 'System Volume Information' are, as by DISM.)
    #[arg(long)]
    pub(super) all: bool,
    /// Go on although parts of the volume cannot be read: they will be missing.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// When the WIM was made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest modification time in the
    /// image.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// What `build` and `demo` share.
#[derive(Debug, clap::Args)]
pub(super) struct DiskArgs {
    /// The disk's size: bytes, or with a unit (4GiB, 4G: powers of 1024). Without it 4 GiB, or more if the image needs it.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) size: Option<u64>,
    /// The machine that it is for: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1, azure-gen2, kvm, vmware, raw. It sets firmware,
    /// partitions, container and boot settings, each of which can be set by itself too. Several give several disks from one reading
    /// of the image; then the output is what their names begin with.
    #[arg(long, value_name = "TARGET")]
    pub(super) target: Vec<String>,
    /// What is made of the disk; without it an output '*.ova' is an OVA, '*.box' is a box, and all else a disk.
    #[arg(long, value_name = "PACKAGE")]
    pub(super) pack: Option<PackageArg>,
    #[command(flatten)]
    pub(super) machine: MachineArgs,
    /// The container; without it the output's extension decides, or the target.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<FormatArg>,
    /// What starts the machine. Without it what the target has; or UEFI for a VHDX, and a BIOS for all else, as Microsoft's
    /// converter has it.
    #[arg(long, value_name = "FIRMWARE")]
    pub(super) firmware: Option<FirmwareArg>,
    /// Give what a BIOS starts a partition of its own.
    #[arg(long)]
    pub(super) separate_system: bool,
    /// The size of the EFI system partition (200 MiB), or of the one with what a BIOS starts (500 MiB).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) system_size: Option<u64>,
    /// The size of the Microsoft reserved partition on a UEFI disk (128 MiB); 0 for none.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) reserved_size: Option<u64>,
    /// Add a recovery partition of that size.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) recovery_size: Option<u64>,
    /// The size of the disk's sectors: 512, or 4096 in a VHDX or raw file.
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = sector_size)]
    pub(super) sector_size: u32,
    /// Windows and its boot programs talk on a serial port too: COM1 with 115200 baud, or what is said.
    #[arg(long, value_name = "PORT[,BAUD]", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = ems)]
    pub(super) ems: Option<Ems>,
    /// Let Windows take drivers with test signatures.
    #[arg(long)]
    pub(super) test_signing: bool,
    /// Whose signature the boot manager for UEFI is to have, where the image carries several.
    #[arg(long, value_name = "YEAR", default_value = "auto")]
    pub(super) boot_manager: BootManagerArg,
    /// The volume's label, at most 32 characters.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = label)]
    pub(super) label: String,
    /// The volume's cluster size: 512 to 64K.
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = cluster_size)]
    pub(super) cluster_size: u32,
    /// A number to derive the disk's ids from. Without it they follow from the image file, the chosen image and the options.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// The moment to write wherever a build writes "now": RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the
    /// image's own modification time.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not check the disk before it gets its name.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Put a disk into another container: VHD, VHDX or none, growing or fixed. A differencing disk is made one of its own.
#[derive(Debug, clap::Args)]
pub(super) struct Convert {
    /// The disk, in any container that can be read, with the parents of a differencing one.
    #[arg(value_name = "IMAGE")]
    pub(super) image: PathBuf,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The new container; without it the output's extension decides.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<FormatArg>,
    /// The moment to write as the disk's creation: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else that of the
    /// disk, else the year 2000.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Make of a disk what a platform imports: an OVA, a Vagrant box, or the platform's own kind of disk, compressed.
#[derive(Debug, clap::Args)]
pub(super) struct Pack {
    /// The disk, in any container that can be read.
    #[arg(value_name = "IMAGE")]
    pub(super) image: PathBuf,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The machine that it is for: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1, azure-gen2, kvm, vmware, raw.
    #[arg(long, value_name = "TARGET")]
    pub(super) target: String,
    /// What is made; without it an output '*.ova' is an OVA, '*.box' is a box, and all else a disk.
    #[arg(long, value_name = "PACKAGE")]
    pub(super) format: Option<PackageArg>,
    #[command(flatten)]
    pub(super) machine: MachineArgs,
    /// The time of all that is in it: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the year 2000.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// What `pack`, and a build that packs, say of the machine and of what is made for it.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// The machine's name. Without it that of the output.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its memory: bytes, or with a unit (2G). Without it 1 GiB.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(super) memory: Option<u32>,
    /// Its processors. Without it one.
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<u32>,
    /// Its network adapter. Without it e1000, for VMware e1000e.
    #[arg(long, value_name = "KIND")]
    pub(super) nic: Option<NicArg>,
    /// Its disk controller. Without it SATA. (Hyper-V has its own.)
    #[arg(long, value_name = "KIND")]
    pub(super) controller: Option<ControllerArg>,
    /// Secure Boot, on or off. Without it as the target has it, if the disk boots by UEFI.
    #[arg(long, value_name = "on|off", value_parser = switch)]
    pub(super) secure_boot: Option<bool>,
    /// How the result is compressed. Without it a box is with gzip, which every Vagrant unpacks, and a disk is not. An OVA never is.
    #[arg(long, value_name = "KIND")]
    pub(super) compress: Option<PackCompressArg>,
    /// Make FILE.sha256, too.
    #[arg(long)]
    pub(super) checksum: bool,
    /// List the box in a Vagrant catalog: a new one, or one that exists and is added to.
    #[arg(long, value_name = "FILE")]
    pub(super) catalog: Option<PathBuf>,
    /// The name of the box in the catalog, as 'owner/nano'. Without it the machine's.
    #[arg(long, value_name = "NAME", requires = "catalog", default_value = "", hide_default_value = true)]
    pub(super) box_name: String,
    /// The version of the box in the catalog.
    #[arg(long, value_name = "VERSION", requires = "catalog", default_value = "1.0.0")]
    pub(super) box_version: String,
    /// Where the box will be fetched from. Without it the output's name, for a Vagrant that is run in its folder.
    #[arg(long, value_name = "URL", requires = "catalog", default_value = "", hide_default_value = true)]
    pub(super) box_url: String,
}

/// What is looked into.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// What to look into: a WIM, ESD or one part of a split WIM, a VHD or VHDX, the bare sectors of a disk, or an NTFS volume; an ISO
    /// or a folder, and with --image the image file on it that a build would take. What it is follows from what it holds, not from
    /// its name.
    #[arg(value_name = "SOURCE")]
    pub(super) file: PathBuf,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN")]
    pub(super) parts: Option<String>,
    /// The image of a WIM: an index, or a name or edition, or a part of one that only one image has. Needed if it has several.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image: Option<String>,
    /// The partition of a disk, by its number. Without it the one that holds a Windows.
    #[arg(long, value_name = "N", conflicts_with = "image")]
    pub(super) partition: Option<u32>,
}

/// Show what a WIM, ESD or SWM holds, or what a disk is: its container, partitions, volumes, and the Windows on it; or which images
/// and packages an installation medium has.
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// List the files of each image too. (`nanovhd ls` tells more.)
    #[arg(long)]
    pub(super) tree: bool,
    /// Check a WIM's integrity table.
    #[arg(long)]
    pub(super) check_integrity: bool,
}

/// List files of an image.
#[derive(Debug, clap::Args)]
#[command(after_help = super::ls::HELP)]
pub(super) struct Ls {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The files or directories to list, with \ or / between names; * and ? match, case does not matter. Without one the root.
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<String>,
    /// Show attributes, size, modification time (UTC), number of links, short name, link targets and named streams.
    #[arg(short, long)]
    pub(super) long: bool,
    /// List what is below directories too, with full paths.
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,
    /// Show owners and security descriptors (SDDL); implies --long.
    #[arg(long)]
    pub(super) security: bool,
}

/// Write files of an image to standard output.
///
/// Contents are checked on the way (a WIM's against their SHA-1): if the exit code is not 0, what was written is not to be
/// trusted. With --json only errors are JSON.
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The files, one after the other; a named stream is PATH:STREAM.
    #[arg(value_name = "PATH[:STREAM]", required = true)]
    pub(super) paths: Vec<String>,
}

/// Copy files and folders of an image to the host.
#[derive(Debug, clap::Args)]
#[command(after_help = super::extract::HELP)]
pub(super) struct Extract {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// What to copy, with \ or / between names; * and ? match. Each comes into the folder under its last name; without one
    /// everything comes.
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<String>,
    /// The folder to copy into; it is made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Replace files that exist. (Folders that exist are filled in any case.)
    #[arg(long)]
    pub(super) force: bool,
    /// Copy named streams too: as such on Windows, elsewhere as files NAME:STREAM.
    #[arg(long)]
    pub(super) streams: bool,
}

/// Read the registry of an image, or of a hive file.
#[derive(Debug, clap::Args)]
#[command(after_help = super::reg::HELP)]
pub(super) struct Reg {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The key, as Windows shows it: HKLM\SYSTEM\CurrentControlSet\...; or, in a hive file or with --hive, its path within the
    /// hive. Without it: which hives there are, or the root of the hive.
    #[arg(value_name = "KEY")]
    pub(super) key: Option<String>,
    /// Only this value; '' is the default value.
    #[arg(value_name = "VALUE")]
    pub(super) value: Option<String>,
    /// Show everything below the key too.
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Take KEY to be a path within the hive that this file of the image is: Users\Default\NTUSER.DAT.
    #[arg(long, value_name = "PATH")]
    pub(super) hive: Option<String>,
    /// Write the text of a .reg file, as regedit does.
    #[arg(long, conflicts_with_all = ["json", "value"])]
    pub(super) export: bool,
}

/// List the driver packages of an image.
#[derive(Debug, clap::Args)]
#[command(after_help = super::drivers::HELP)]
pub(super) struct Drivers {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Packages to be shown in detail, by the names of their INF files: oem3.inf, disk.inf; or by the names of their folders in the
    /// driver store.
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// List the packages that came with Windows too.
    #[arg(long, conflicts_with = "names")]
    pub(super) all: bool,
}

/// List packages: those that a medium offers, those that an image has, or what is in a cabinet, an .msu or a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = super::packages::HELP)]
pub(super) struct Packages {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Only these packages of a medium, by their short names; of an image, by their ids or names. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub(super) package: Vec<String>,
    /// Judge the packages for this image: a WIM, a disk, a medium. --image, --partition and --parts are about it then.
    #[arg(long, value_name = "IMAGE")]
    pub(super) into: Option<PathBuf>,
    /// Print what the packages would change in the image, and what of them cannot be carried out without its Windows running.
    #[arg(long)]
    pub(super) plan: bool,
    /// Judge without regard to what packages say of those that they belong to.
    #[arg(long)]
    pub(super) ignore_check: bool,
    /// Judge packages that Microsoft has not signed as if it had.
    #[arg(long)]
    pub(super) allow_unsigned: bool,
    /// Unpack manifests with this wcp.dll, or the base manifest in it, where the image has no servicing stack of its own.
    #[arg(long, value_name = "FILE")]
    pub(super) servicing_stack: Option<PathBuf>,
    /// List those packages of an image too that are parts of others, or not installed.
    #[arg(long)]
    pub(super) all: bool,
}

/// Print a boot store as `bcdedit /enum all` does.
#[derive(Debug, clap::Args)]
#[command(after_help = super::bcd::HELP)]
pub(super) struct Bcd {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The store, as a path in the image, where it is not the one that the firmware would find.
    #[arg(long, value_name = "PATH")]
    pub(super) store: Option<String>,
    /// Print identifiers in full, as /v does, and not {bootmgr} and its like.
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// Show what differs between two images: files with their metadata, registry values, boot stores, disks.
///
/// Each of the two is a WIM, ESD or part of a split WIM, or a disk or NTFS volume, whichever it holds. Lines begin with + (only
/// in B), - (only in A), ~ (in both, but not the same), = (a hive that means the same in other bytes) or ? (it cannot be read).
/// The exit code is 0 if they are equal, 1 if they differ, and larger if that cannot be told.
#[derive(Debug, clap::Args)]
pub(super) struct Diff {
    /// The first image, as it was.
    #[arg(value_name = "A")]
    pub(super) a: PathBuf,
    /// The second image, as it is.
    #[arg(value_name = "B")]
    pub(super) b: PathBuf,
    /// The image in a WIM: an index, or a name or edition, or a part of one that only one image has. Needed if it has several.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image: Option<String>,
    /// The image in B, if it is to be another than in A.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image_b: Option<String>,
    /// The partition of a disk, by its number. Without it the one that holds a Windows.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The partition of B, if it is to be another than of A.
    #[arg(long, value_name = "N")]
    pub(super) partition_b: Option<u32>,
    /// Leave a kind of difference out: times (all four of files), or one of those that --json names: size, contents, created,
    /// modified, changed, accessed, attributes, security, short-name, streams, registry, bcd, disk, ...
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = ignored)]
    pub(super) ignore: Vec<Aspects>,
    /// Compare the times of registry keys too.
    #[arg(long)]
    pub(super) times: bool,
    /// Compare only this file, or this directory and what is below it. May be given several times.
    #[arg(long, value_name = "PATH")]
    pub(super) only: Vec<String>,
    /// Leave out files that match a pattern, and what is below them: '*.log' by name in any directory, '\Windows\Temp\*' by path
    /// ('**' crosses directories). May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// Tell only which files differ.
    #[arg(long)]
    pub(super) brief: bool,
}

/// Make a small Nano-like WIM out of nothing and build a disk from it.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// The disk to make. (The default one is replaced if it exists.)
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Keep the made WIM too, in this file.
    #[arg(long, value_name = "FILE")]
    pub(super) keep_wim: Option<PathBuf>,
    #[command(flatten)]
    pub(super) disk: DiskArgs,
}

/// Check an image on all levels: container, partitions, NTFS, the way to boot, Windows; with --target also whether the machine will
/// find its devices.
#[derive(Debug, clap::Args)]
#[command(after_help = super::coverage::HELP)]
pub(super) struct Verify {
    /// The image: VHD, VHDX, the bare sectors of a disk, or an NTFS volume; with --target also all else that `nanovhd reg` looks into.
    #[arg(required_unless_present = "list")]
    pub(super) image: Option<PathBuf>,
    /// Judge for this machine, too, whether each of its devices has its driver: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1,
    /// azure-gen2, kvm, vmware. Several are judged one after the other.
    #[arg(long, value_name = "TARGET", requires = "image")]
    pub(super) target: Vec<String>,
    /// Show the devices too that the machine shows only if it is told to.
    #[arg(long, requires = "target")]
    pub(super) all_devices: bool,
    /// The image of a WIM, for --target: an index, or a name or edition, or a part of one that only one image has.
    #[arg(long = "image", value_name = "INDEX|NAME", requires = "target", conflicts_with = "partition")]
    pub(super) select: Option<String>,
    /// Show findings of this level and above. (All count.)
    #[arg(long, value_name = "LEVEL", default_value = "note")]
    pub(super) level: LevelArg,
    /// Of the volumes check only this one, and not the way to boot.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// Print all rules instead: code, level, what each demands, and what happens else.
    #[arg(long, conflicts_with_all = ["image", "level", "partition", "target"])]
    pub(super) list: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn grammar_is_consistent() {
        Args::command().debug_assert();
    }
}
